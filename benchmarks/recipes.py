"Validation AUROC of each loss alone, with balanced batches, after cross-entropy and mixed with it. Run: python benchmarks/recipes.py"
import argparse, re
from collections import Counter
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, torch
from fastai.callback.core import Callback, CancelValidException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.tabular.model import TabularModel, get_emb_sz
from fastai.tabular.all import Categorify, Normalize, TabularPandas
from fastai.torch_core import set_seed
from fastcore.foundation import L
from scipy.stats import t as student
from torch import nn
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.samplers import StratifiedBatchSampler
from fastai_auroc.roc import auroc_score
from measuring import bullets, machine, table, use_threads, written_by

data = Path(__file__).resolve().parents[1]/'fastai_auroc'/'data'
rates,epochs,warm,bs = (.002, .01),8,3,128

# --- Two tasks: training rows, and two sets held out, to choose by and to report on ---

def adult(seed):
    "Adult at 2 % prevalence, 300 positives in 15,000 rows; held out is all the rest"
    df = pd.read_csv(data/'adult.csv.gz', index_col=0, skipinitialspace=True).sample(frac=1, random_state=seed).reset_index(drop=True)
    high = df.income == df.income.max()
    train = np.concatenate([np.flatnonzero(high)[:300], np.flatnonzero(~high)[:14_700]])
    cats = ['education','marital-status','occupation']
    conts = ['age','education-num','hours-per-week','capital-gain']
    rest = np.setdiff1d(np.arange(len(df)), train)
    to = TabularPandas(df.assign(**{c: df[c].astype(str) for c in cats}, **{c: df[c].astype('float32') for c in conts}), procs=[Categorify, Normalize],
        cat_names=cats, cont_names=conts, splits=(L(train.tolist()), L(rest.tolist())))
    make = partial(TabularModel, get_emb_sz(to), len(conts), 2, [64])
    x,y = [torch.from_numpy(to.items[o].to_numpy(dtype)) for o,dtype in ((cats, 'int64'), (conts, 'float32'))],torch.from_numpy(high[to.items.index].to_numpy().astype('int64'))
    return make,x,y,len(train)

class Bag(nn.Module):
    "Mean of word vectors, and one hidden layer"
    def __init__(self, words):
        super().__init__()
        self.words,self.layers = nn.EmbeddingBag(words, 32, mode='mean', padding_idx=0),nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x): return self.layers(self.words(x))

def sms(seed):
    "The SMS spam collection, 1,000 messages to train on, of which 13 % are spam"
    df = pd.read_csv(data/'sms-spam.csv.gz', index_col=0).sample(frac=1, random_state=seed)
    words = [re.findall(r"[a-z']+|\d+|[^\w\s]", o.lower())[:64] for o in df.text]
    number = {w: i+1 for i,w in enumerate(w for w,m in Counter(w for o in words[:1000] for w in o).items() if m > 1)}
    x = torch.zeros(len(df), 64, dtype=torch.int64)
    for row,o in zip(x, words): row[:len(o)] = torch.tensor([number.get(w, 0) for w in o])
    return partial(Bag, len(number)+1),[x],torch.tensor(df.spam.to_numpy(dtype='int64')),1000

# --- Losses and recipes ---

class Mixed(nn.Module):
    "Cross-entropy plus another loss"
    def __init__(self, loss):
        super().__init__()
        self.loss,self.ce = loss,CrossEntropyLossFlat()

    def forward(self, outputs, targets): return self.ce(outputs, targets) + self.loss(outputs, targets)

losses = {'cross-entropy':CrossEntropyLossFlat, 'dice':SoftDiceLoss, 'AUM':AUMLoss, 'AUM, margins':partial(AUMLoss, margins=True), 'AUROCLoss':AUROCLoss,
    'squared hinge':SquaredHingeAUCLoss}
recipes = 'alone','balanced batches','after cross-entropy','mixed','mixed, balanced'

class Watch(Callback):
    "In place of a validation, AUROC of both held-out sets after each epoch"
    def __init__(self, x, y, where): self.x,self.y,self.where,self.seen = x,y,where,[]

    def before_validate(self):
        with torch.no_grad(): outputs = self.model.eval()(*self.x)
        self.seen.append([auroc_score(outputs[o], self.y[o], activation='softmax').item() for o in self.where])
        raise CancelValidException

def train(task, name, recipe, seed, lr):
    "AUROC on both held-out sets after each epoch"
    make,x,y,n = task
    set_seed(seed)
    dl = DataLoader(n=n, bs=bs, shuffle=True, drop_last=True, indexed=True, create_item=lambda i: i, create_batch=lambda i: (*(o[i] for o in x), y[i]))
    dls = DataLoaders(dl, dl)
    if 'balanced' in recipe: StratifiedBatchSampler(y[:n], bs).install(dls)
    loss,watch = losses[name](),Watch(x, y, torch.arange(n, len(y)).chunk(2))
    learn = Learner(dls, make(), loss_func=Mixed(loss) if 'mixed' in recipe else loss)
    with learn.no_bar(), learn.no_logging():
        if recipe == 'after cross-entropy':
            learn.loss_func = CrossEntropyLossFlat()
            learn.fit_one_cycle(warm, lr, cbs=watch)
            learn.loss_func = loss
        learn.fit_one_cycle(epochs - len(watch.seen), lr, cbs=watch)
    return watch.seen

# --- Results ---

def run(tasks, seeds, file):
    "A row for each training: AUROC where the first held-out set says the epoch and the learning rate are best; rows in `file` are not run again"
    done = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=['task','loss','recipe','seed','chosen','auroc','lr','epoch'])
    for seed in range(seeds):
        for where,make in tasks.items():
            task = make(seed)
            for name in losses:
                for recipe in recipes if name != 'cross-entropy' else recipes[:2]:
                    if len(done.query('task == @where and loss == @name and recipe == @recipe and seed == @seed')): continue
                    best = max((chosen, auroc, lr, i+1) for lr in rates for i,(chosen, auroc) in enumerate(train(task, name, recipe, seed, lr)))
                    done.loc[len(done)] = [where, name, recipe, seed, *best]
                    done.to_csv(file, index=False, float_format='%.6g')
                    print(*done.iloc[-1], flush=True)
    return done

def summary(done, where):
    "Cells of a table: mean AUROC of a loss by a recipe, and how far it is from cross-entropy alone on the same seeds, with a 95% interval"
    wide = done[done.task == where].pivot(index='seed', columns=['loss','recipe'], values='auroc')
    ce = wide['cross-entropy','alone']
    def cell(name, recipe):
        if (name, recipe) not in wide: return '–'
        gain = wide[name,recipe] - ce
        reach = student.ppf(.975, len(gain)-1)*gain.std()/len(gain)**.5
        if name == 'cross-entropy' and recipe == 'alone': return f'{ce.mean():.4f}'
        return f'{wide[name,recipe].mean():.4f} ({gain.mean():+.4f} ± {reach:.4f})'
    return [[name, *(cell(name, recipe) for recipe in recipes)] for name in losses]

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path(__file__).resolve().parent/'results', help='folder for recipes.csv and recipes.md (benchmarks/results)')
    parser.add_argument('--seeds', type=int, default=5)
    args = parser.parse_args()
    use_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    tasks = {'Adult':adult, 'SMS':sms}
    done = run(tasks, args.seeds, args.out/'recipes.csv')
    about = bullets([*machine(), written_by('recipes.py')])
    tables = '\n\n'.join(f'## {make.__doc__}\n\n{table(["loss", *recipes], summary(done, where))}' for where,make in tasks.items())
    text = f"""# What each loss does to AUROC

{about}

AUROC on rows held out, mean of {done.seed.nunique()} seeds (each with its own split and start); in brackets the difference from cross-entropy alone on the same seeds,
with its 95% interval (Student's t). {epochs} epochs of Adam by `fit_one_cycle`, batches of {bs}; epoch and learning rate (of {", ".join(map(str, rates))}) are those that
are best on one half of the rows held out, AUROC is that on the other half. After cross-entropy: {warm} epochs of it, then {epochs-warm} of the loss.
Mixed: cross-entropy plus the loss. Balanced: `StratifiedBatchSampler`, as many rows of each class in a batch.

{tables}
"""
    (args.out/'recipes.md').write_text(text, encoding='utf-8')

if __name__ == '__main__': main()
