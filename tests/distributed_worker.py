"""The processes of test_distributed.py: each runs the cases of `cases` one after another, in one process group, and writes a line of JSON for each

`torchrun distributed_worker.py FOLDER` is a process of torchrun's; `distributed_worker.py FOLDER 3:cases 2:late` forks worlds of 3 and 2 processes,
which then need not import everything again."""
import functools, gc, json, os, signal, sys, time, traceback, warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, torch, torch.distributed as dist
import torch._dynamo  # or each forked process imports it for its first optimizer, two seconds
from fastai import distributed as fastai_distributed
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner, Recorder
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from worlds import broadcast_on_cpu, fork_world
from fastai_auroc.all import AUROC, StreamingAUC, auroc_score, gather_rows
from fastai_auroc.distributed import all_reduce_sum, process_count
from fastai_auroc.metric import AveragePrecision

folder = Path(sys.argv[1]) if __name__ == '__main__' else None
dtypes = 'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool'.split()
rank,world = int(os.environ.get('RANK', 0)),int(os.environ.get('WORLD_SIZE', 0))
cases = {}

def case(*args, name=None, worlds=(2, 3), **kwargs):
    "Run the function in worlds of these sizes, with these arguments; it returns what it got and what scikit-learn or plain tensors say"
    def add(f):
        cases[name or f.__name__] = (partial(f, *args, **kwargs), worlds)
        return f
    return add

# Rows and counts

lengths = dict(unequal=(3, 5, 2), nothing_on_one=(4, 0, 3), nothing_on_the_first=(0, 6, 1), nothing_at_all=(0, 0, 0))

def parts(lengths, row, dtype, seed=0):
    "The rows of each process"
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, *row, generator=g)*40).abs().to(getattr(torch, dtype)) for n in lengths[:world]]

def told(*tensors): return [None if o is None else [str(o.dtype), list(o.shape), o.tolist()] for o in tensors]

for name,n in lengths.items():
    @case(n, name=f'gather {name}')
    def gathers(n):
        "Rows of several shapes at once, in the order of ranks"
        several = [parts(n, *o) for o in (((), 'float32'), ((4,), 'float64'), ((2, 3, 1, 2), 'int64'))]
        return told(*gather_rows(*(o[rank] for o in several))),told(*map(torch.cat, several))

for dtype in dtypes:
    @case(dtype, name=f'gather {dtype}')
    def gathers_dtype(dtype):
        several = [parts((3, 5, 2), row, dtype) for row in ((), (3,))]
        return told(*gather_rows(*(o[rank] for o in several))),told(*map(torch.cat, several))
    @case(dtype, name=f'add {dtype}')
    def adds_dtype(dtype):
        "The sum has the counts' own dtype"
        several = [parts((3, 3, 3), (2,), dtype)]
        several[0] = [(o % 8).to(o.dtype) for o in several[0]] if dtype != 'bool' else several[0]
        sums = [torch.stack(o).any(0) if dtype == 'bool' else torch.stack([a.double() for a in o]).sum(0).to(o[0].dtype) for o in several]
        return told(*all_reduce_sum(*(o[rank] for o in several))),told(*sums)

@case(lambda x: x, name='gather None', worlds=(2, 3, 4))
@case(lambda x: x.t().contiguous().t(), name='gather None, not contiguous')
def gathers_none(f):
    "A process that knows no shape gets the others' rows; a tensor that nobody has stays None"
    p = parts((3, 5, 2, 4), (4,), 'float32')
    mine = None if rank == 1 else f(p[rank])
    return told(*gather_rows(mine, None, p[rank])),told(torch.cat([o for i,o in enumerate(p) if i != 1]), None, torch.cat(p))

@case()
def gathers_mixed_dtypes():
    "To the dtype that holds them all"
    kinds = ['float32', 'int64', 'float64'][:world]
    p = [parts((3, 5, 2), (2,), k)[i] for i,k in enumerate(kinds)]
    want = torch.cat([o.to(torch.float64 if world == 3 else torch.float32) for o in p])
    q = [torch.tensor([i], dtype=torch.bool if i else torch.int16) for i in range(world)]
    return told(*gather_rows(p[rank], q[rank])),told(want, torch.cat([o.to(torch.int16) for o in q]))

@case()
def gathers_with_gradient():
    "The rows alone"
    p = parts((3, 5, 2), (2,), 'float32')
    return told(*gather_rows(p[rank].requires_grad_())),told(torch.cat([o.detach() for o in p]))

def error_of(f, *args, **kwargs):
    try: f(*args, **kwargs)
    except Exception as e: return [type(e).__name__, str(e)]

@case(gather_rows, name='gather shapes that differ')
@case(all_reduce_sum, name='add shapes that differ')
def shapes_differ(f):
    "An error everywhere, not only where the odd one is; the next call works"
    first = error_of(f, torch.zeros(3), torch.zeros(2, 3 + (rank == 1)))
    second = error_of(f, torch.zeros(3), torch.zeros(2, *[3]*(1 + rank)))
    shapes = [[(3,), (4,)], [(3, *[3]*i) for i in range(world)]]
    if f is all_reduce_sum: shapes = [[(2, *o) for o in s] for s in shapes]
    want = [['ValueError', f'processes must agree in the shape of their rows, got {s}'] for s in shapes]
    return [first, second, told(*f(torch.ones(1)))],[*want, told(torch.ones(world) if f is gather_rows else torch.full((1,), float(world)))]

@case()
def gathers_rows_of_no_width():
    p = parts((3, 5, 2), (0,), 'float32')
    return told(*gather_rows(p[rank])),told(torch.cat(p))

@case(gather_rows, name='gather failed')
@case(all_reduce_sum, name='add failed')
def failed(f):
    "One has failed: None for all, also where shapes differ; the next call works"
    x = torch.ones(2, 2 + rank)
    got = [told(*f(x, None if rank == 1 else x, failed=rank == 1)), told(*f(x, failed=True)), told(*f(torch.ones(1)))]
    return got,[[None]*2, [None], told(torch.ones(world) if f is gather_rows else torch.full((1,), float(world)))]

@case()
def adds_none():
    "A process without counts, a tensor that nobody has, a number, several dtypes, whole numbers that float64 would round"
    big,some = 2**53 + 1,[torch.full((2, 3), i + .5) for i in range(world)]
    got = all_reduce_sum(None if rank == 1 else torch.tensor([big]), None, some[rank], torch.tensor(rank + 1))
    alone = all_reduce_sum(None if rank == 1 else torch.tensor([big]), torch.tensor(rank))
    want = [torch.tensor([big*(world-1)]), torch.tensor(sum(range(world)))]
    return told(*got[1:], *alone, *all_reduce_sum(None, None)),told(None, torch.stack(some).sum(0), torch.tensor(sum(range(1, world+1))), *want, None, None)

@case()
def adds_unlike_dtypes():
    "Whole numbers stay exact beside single precision"
    big = 2**24 + 1
    return told(*all_reduce_sum(torch.tensor([big]), torch.tensor([.5]))),told(torch.tensor([big*world]), torch.tensor([.5*world]))

@case(worlds=(3,))
def subgroup():
    "Only the processes of a group are asked, also a group of one"
    pair,single = dist.new_group([0, 2]),dist.new_group([1])
    p = parts((3, 5, 2), (2,), 'float32')
    if rank == 1: return [process_count(single), told(*gather_rows(p[1], group=single), *all_reduce_sum(p[1], group=single))],[1, told(p[1], p[1])]
    got = process_count(pair),told(*gather_rows(p[rank], group=pair), *all_reduce_sum(p[rank].sum(0), group=pair))
    return got,[2, told(torch.cat([p[0], p[2]]), p[0].sum(0) + p[2].sum(0))]

# Standalone

@functools.cache
def adult():
    "Adult, 703 rows: inputs, a frame; its two classes take turns while both last"
    df = pd.read_csv(Path(__file__).parent.parent/'fastai_auroc'/'data'/'adult.csv.gz', index_col=0, skipinitialspace=True, nrows=5000).sample(703, random_state=0)
    df = df.iloc[np.argsort(df.groupby('income').cumcount().to_numpy(), kind='stable')]
    x = df[['age', 'education-num', 'hours-per-week']].to_numpy()
    return torch.tensor((x-x.mean(0))/x.std(0), dtype=torch.float32),df.assign(y=(df.income == '>50K').astype(int))

def share(*arrays, empty=None):
    "The part of this process: cut unevenly, and none for the process `empty`"
    who = np.arange(len(arrays[0]))**2 % 7 % world
    if empty is not None: who[who == empty] = (empty+1) % world
    return [torch.as_tensor(o[who == rank]) for o in arrays]

@case(None, name='scores of all', worlds=(2, 3, 4))
@case(1, name='scores of all but one')
def scores_of_all(empty):
    x,df = adult()
    s,y,w = x[:,1].double().numpy(),df.y.to_numpy(),df.age.to_numpy(dtype=float)
    scores,targets,weights = gather_rows(*share(s, y, w, empty=empty))
    got = auroc_score(scores, targets),auroc_score(scores, targets, sample_weight=weights)
    return [o.item() for o in got],[roc_auc_score(y, s), roc_auc_score(y, s, sample_weight=w)]

def keras(y, p, w, t):
    "ROC area of a sweep over thresholds"
    t = np.concatenate([[-1e-7], np.arange(1, t-1)/(t-1), [1 + 1e-7]])
    tpr,fpr = ([(w[y == c]*(p[y == c] > o)).sum()/w[y == c].sum() for o in t] for c in (1, 0))
    return sum((fpr[i]-fpr[i+1])*(tpr[i]+tpr[i+1])/2 for i in range(len(t)-1))

@case(False, None, name='streaming')
@case(True, None, name='streaming with weights')
@case(False, 1, name='streaming, no updates on one')
@case(True, 0, name='streaming with weights, no updates on one')
def streams(weighted, empty):
    "The same however often it is asked, and itself left alone"
    x,df = adult()
    p,y,w = x[:,1].double().sigmoid().numpy(),df.y.to_numpy(),df.age.to_numpy(dtype=float)
    m = StreamingAUC(num_thresholds=50)
    mine = share(p, y, w, empty=empty)
    for ps,ys,ws in zip(*(o.split(40) for o in mine)):
        if len(ps): m.update_state(ys, ps, ws if weighted else None)
    own = m.result().item()
    twice = m.across_processes(),m.across_processes()
    total = twice[0].state_dict()['counts'].sum().item()
    w = w if weighted else np.ones(len(y))
    now = m.result().item()
    mine[2:] = mine[2:] if weighted else [torch.ones(len(mine[0]), dtype=torch.float64)]
    alone = 0 if rank == empty else keras(*(mine[i].numpy() for i in (1, 0, 2)), 50)
    want = keras(y, p, w, 50)
    return [*[o.result().item() for o in twice], total, int(abs(own - alone) < 1e-12), int(now == own)],[want, want, w.sum(), 1, 1]

@case()
def streams_nothing():
    "No updates anywhere"
    return [StreamingAUC().across_processes().result().item()],[0]

# Learners

class Sums(nn.Module):
    "Outputs that do not depend, in a single bit, on the batch that a row is in"
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-.3, .4, inputs*outputs).reshape(inputs, outputs).sin())
    def forward(self, x): return sum(x[:,i:i+1]*w.reshape(1, -1, *[1]*(x.ndim-2)) for i,w in enumerate(self.weight))

def data(kind, n):
    "Inputs, targets, number of outputs, loss"
    if kind in ('pixels', 'void'):
        images = torch.tensor(load_digits().images[:n], dtype=torch.float32)/16
        y = (images.roll((1, 1), (1, 2)) > .5).long()
        if kind == 'void': y[:,0] = 255
        return torch.stack([images, images.roll(1, 1), images.roll(1, 2)], 1),y,2,nn.CrossEntropyLoss(ignore_index=255)
    x,df = (o[:n] for o in adult())
    labels = np.stack([df.y, df.gender == 'Male', df.age > 40], 1)
    if kind == 'multilabel': return x,torch.tensor(labels, dtype=torch.float32),3,nn.BCEWithLogitsLoss()
    y = torch.tensor(df.y.to_numpy())
    if kind == 'multiclass': y = torch.tensor(df.relationship.astype('category').cat.codes.to_numpy()).long()
    if kind == 'quarters': y = torch.arange(n)*4//n  # each class lies with one process, or two
    if kind == 'few positives':
        x,y = x[y.argsort(descending=True, stable=True)],torch.zeros(n, dtype=torch.int64)
        y[:5] = 1
    if kind == 'one output': return x,y[:,None].float(),1,nn.BCEWithLogitsLoss()
    return x,y,2 if kind in ('two', 'few positives') else int(y.max()) + 1,nn.CrossEntropyLoss()

def truth(outputs, y, cuts=None):
    "scikit-learn's AUROC of raw outputs; with `cuts`, of the number of thresholds below"
    if outputs.ndim > 2: outputs,y = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])[y.flatten() != 255],y[y != 255]
    z,y = outputs.double(),y.numpy()
    if y.ndim == 2: s = z
    elif z.shape[1] == 2: s = z[:,1:] - z[:,:1]
    else: s = torch.stack([z[:,k] - z[:,[i for i in range(z.shape[1]) if i != k]].logsumexp(1) for k in range(z.shape[1])], 1)
    s = s.numpy()
    if cuts is not None: s = np.searchsorted(cuts, s)
    y = y if y.ndim == 2 else y[:,None] == np.arange(s.shape[1]) if s.shape[1] > 1 else y[:,None]
    return float(np.mean([roc_auc_score(a, b) for a,b in zip(y.T, s.T)]))

def half_width(outputs, y):
    "Half of DeLong's interval of two outputs"
    s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),y.numpy() == 1
    wins = (s[y][:,None] > s[~y]) + .5*(s[y][:,None] == s[~y])
    return 1.959963984540054*float(wins.mean(1).var(ddof=1)/y.sum() + wins.mean(0).var(ddof=1)/(~y).sum())**.5

class Expect(Callback):
    "What `f` says of the outputs for the whole validation set, in each epoch"
    def __init__(self, f, x, y): self.f,self.x,self.targets,self.seen = f,x,y,[]
    def after_validate(self):
        with torch.no_grad(): self.seen.append(self.f(getattr(self.model, 'module', self.model)(self.x), self.targets))

def make(kind, n, metrics=None, cbs=(), f=truth, bs=8, num_workers=0, **kwargs):
    "A Learner that validates on `n` rows and trains on up to 40 of them, and what to expect of it"
    x,y,outputs,loss = data(kind, n)
    rows = list(zip(x, y))
    expect = Expect(f, x, y)
    train,valid = TfmdDL(rows[:40], bs=bs, shuffle=True, num_workers=num_workers),TfmdDL(rows, bs=bs, num_workers=num_workers)
    dls = DataLoaders(train, valid, device='cpu')
    return Learner(dls, Sums(3, outputs), loss_func=loss, metrics=metrics, cbs=[*cbs, expect], lr=.3, path=folder, **kwargs),expect

def fit(learn, epochs=1, **kwargs):
    "The columns of each epoch between valid_loss and time"
    with learn.distrib_ctx(sync_bn=False, cpu=True), learn.no_bar(), learn.no_logging(): learn.fit(epochs, **kwargs)
    return [list(o)[2:] for o in learn.recorder.values]

def alone(learn):
    "The metrics of the Learner without the other processes"
    with learn.no_bar(), learn.no_logging(): return list(learn.validate())[1:]

def flat(rows): return [o for row in rows for o in row]

tasks = {'two':(703, 65, 5, 4), 'one output':(65,), 'multiclass':(703,), 'quarters':(65, 4), 'multilabel':(65,), 'pixels':(10, 4), 'few positives':(65,)}

for kind,sizes in tasks.items():
    for n in sizes:
        @case(kind, n, name=f'{kind}, {n} rows', worlds=(2, 3, 4) if n < 6 else (2, 3))
        def learner(kind, n):
            "The column and, after training, the same Learner in one process"
            learn,expect = make(kind, n, AUROC(), f=single_output if kind == 'one output' else truth, bs=64 if n == 703 else 8)
            got = fit(learn)
            return flat(got) + alone(learn),expect.seen

def single_output(outputs, y): return roc_auc_score(y[:,0], outputs[:,0])

for name,spelling in dict(cbs=dict(cbs=[AUROC()]), cls=dict(cbs=[AUROC]), callback_fns=dict(callback_fns=AUROC)).items():
    @case(spelling, name=f'as {name}')
    def spelled(spelling):
        learn,expect = make('two', 65, **spelling)
        return flat(fit(learn)),expect.seen

@case()
def as_cbs_of_fit():
    learn,expect = make('two', 65)
    return flat(fit(learn, cbs=AUROC())),expect.seen

@case()
def loaders_with_workers():
    learn,expect = make('two', 65, AUROC(), num_workers=1)
    return flat(fit(learn)),expect.seen

@case(worlds=(2, 3, 4))
def several_epochs():
    learn,expect = make('two', 65, AUROC())
    return flat(fit(learn, 3)),expect.seen

class Flattens(Callback):
    "Each pixel becomes a row of outputs and targets"
    def before_batch(self): self.learn.yb = (self.y.flatten(),)
    def after_pred(self): self.learn.pred = self.pred.movedim(1, -1).reshape(-1, 2)

@case(worlds=(2, 3, 4))
def flattened_pixels():
    "Padding is counted in items, which here have 64 rows"
    learn,expect = make('pixels', 5, AUROC(), [Flattens])
    return flat(fit(learn)),expect.seen

@case()
def ignored_pixels():
    learn,expect = make('void', 10, AUROC(ignore_index=255))
    return flat(fit(learn)) + alone(learn),expect.seen

def inner(t):
    p = np.arange(1, t-1)/(t-1)
    return np.concatenate([[-np.inf], np.log(p) - np.log1p(-p), [np.inf]])

for kind,n in (('two', 703), ('two', 65), ('two', 5), ('two', 4), ('multiclass', 703), ('multilabel', 65), ('pixels', 10)):
    @case(kind, n, name=f'thresholds, {kind}, {n} rows', worlds=(2, 3, 4) if n < 6 else (2, 3))
    def thresholds(kind, n):
        "Counts of whole numbers: exactly that of one process, and scikit-learn's of scores in buckets"
        learn,expect = make(kind, n, AUROC(thresholds=30), f=partial(truth, cuts=inner(30)), bs=64 if n == 703 else 8)
        got = flat(fit(learn))
        one = alone(learn)
        return [*got, int(one == got)],[*expect.seen[:1], 1]

for kind,n in (('two', 703), ('two', 5), ('multiclass', 703), ('multilabel', 65), ('void', 10)):
    @case(kind, n, name=f'leading bits, {kind}, {n} rows', worlds=(2, 3, 4) if n < 6 else (2, 3))
    def leading_bits(kind, n):
        "Exactly that of one process, and scikit-learn's within the bound"
        options = dict(ignore_index=255) if kind == 'void' else {}
        column = AUROC(thresholds='bits', **options)
        learn,expect = make(kind, n, column, bs=64 if n == 703 else 8)
        got = flat(fit(learn))
        near = abs(got[0] - expect.seen[0]) <= column.bound + 1e-12 and column.bound < .005
        return [int(near), int(got == alone(learn))],[1, 1]

@case(2, name='labels that counting takes for one class, spoilt', worlds=(2, 3))
def one_sided_labels(low):
    "NaN in each process, though some may have seen nothing wrong"
    learn,_ = make('two', 65, AUROC(thresholds='bits'), [Doubles()])
    return flat(fit(learn)),[np.nan]

@case()
def thresholds_with_ignored_pixels():
    learn,expect = make('void', 10, AUROC(thresholds=30, ignore_index=255), f=partial(truth, cuts=inner(30)))
    return flat(fit(learn)),expect.seen

@case()
def interval():
    learn,expect = make('two', 65, cbs=[AUROC(ci=True)], f=lambda o,y: [truth(o, y), half_width(o, y)])
    return flat(fit(learn, 2)),flat(expect.seen)

@case()
def several_columns():
    def f(outputs, y): return [truth(outputs, y), truth(outputs, y), truth(outputs, y, inner(30))]
    learn,expect = make('two', 65, AUROC(), [AUROC(name='a'), AUROC(thresholds=30, name='b')], f)
    return flat(fit(learn)),flat(expect.seen)

def both(outputs, y): return [truth(outputs, y), average_precision_score(y, outputs[:,1].double() - outputs[:,0].double())]

for how in 'metrics','cbs':
    for n in 703,65,5,4:
        @case(how, n, name=f'average precision and AUROC as {how}, {n} rows', worlds=(2, 3, 4) if n < 6 else (2, 3))
        def kept_once(how, n):
            "Both have the rows of all processes, and each process keeps its own once"
            columns = [AUROC(), AveragePrecision()]
            learn,expect = make('two', n, **{how:columns}, f=both, bs=64 if n == 703 else 1 if n == 4 else 8)
            got = flat(fit(learn, 2))
            return [*got, int(len({id(o._epoch) for o in columns if o._epoch.n}) <= 1)],[*flat(expect.seen), 1]

def within(groups, outputs, y):
    "scikit-learn's AUROC within groups, the mean over those of both classes"
    s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),y.numpy()
    at = [groups == g for g in np.unique(groups)]
    return float(np.mean([roc_auc_score(y[i], s[i]) for i in at if 0 < y[i].sum() < i.sum()]))

for n in 703,65:
    for order in 'in order','reversed':
        @case(n, order, name=f'groups, {n} rows {order}')
        def groups_of_rows(n, order):
            "Each process knows the groups of its own rows; equal to one process"
            groups = np.random.default_rng(0).integers(0, 3, n)
            learn,expect = make('two', n, [AUROC(groups=[f'site {o}' for o in groups]), AUROC(name='b')], f=lambda o,y: [within(groups, o, y), truth(o, y)],
                bs=64 if n == 703 else 8)
            if order == 'reversed': learn.dls.loaders[1].get_idxs = lambda: list(range(n))[::-1]
            return flat(fit(learn)) + alone(learn),flat(expect.seen)

@case(name='labels of groups, spoilt')
def too_few_groups():
    "NaN in each process"
    learn,_ = make('two', 65, AUROC(groups=[0]*64))
    return flat(fit(learn)),[np.nan]

class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.a,self.b = Sums(3, 2),Sums(3, 2)
        with torch.no_grad(): self.b.weight.mul_(torch.tensor([1., -2.]))
    def forward(self, x): return dict(a=self.a(x), b=(self.b(x),))

@case()
def several_outputs():
    "Padding is left out of each"
    columns = [AUROC(select=o, name=o) for o in 'ab']
    x,y,_,loss = data('two', 65)
    learn,expect = make('two', 65, columns, f=lambda o,y: [truth(o['a'], y), truth(o['b'][0], y)])
    learn.model,learn.loss_func = TwoHeads(),lambda o,y: loss(o['a'], y) + loss(o['b'][0], y)
    return flat(fit(learn)) + alone(learn),flat(expect.seen)

@case()
def training_rows():
    "In training, which shuffles, padding is left out as well"
    learn,expect = make('two', 65, AUROC())
    learn.recorder.train_metrics = True
    with learn.distrib_ctx(sync_bn=False, cpu=True), learn.no_bar(), learn.no_logging(): learn.fit(2, lr=0.)
    x,y = data('two', 65)[:2]
    with torch.no_grad(): train = truth(learn.model(x[:40]), y[:40])
    i = list(learn.recorder.metric_names).index('train_auroc') - 1
    return [v for o in learn.recorder.values for v in (o[i], o[-1])],[v for o in expect.seen for v in (train, o)]

@case()
def validates_in_context():
    "`validate` without a fit"
    learn,_ = make('two', 65, AUROC())
    x,y = data('two', 65)[:2]
    learn.remove_cb(Expect)
    fit(learn)
    with torch.no_grad(): want = truth(learn.model(x), y)
    learn.model.device = torch.device('cpu')  # which DistributedTrainer asks of a model outside of fit
    with learn.distrib_ctx(sync_bn=False, cpu=True), learn.no_bar(), learn.no_logging(): got = list(learn.validate())[1:]
    return got,[want]

class Reads(Callback):
    "Reads the value after each batch of a validation, as a live plot does: that of the rank's own rows so far"
    order = Recorder.order + 1
    def __init__(self, who=None, cuts=None): self.who,self.cuts,self.wrong,self.n_read = who,cuts,[],0
    def before_validate(self): self.rows = []
    def after_batch(self):
        if self.training: return
        self.rows.append((self.pred.detach(), self.y))
        outputs,y = map(torch.cat, zip(*self.rows))
        share = -(-self.dl.n//world)
        real = min(len(y), max(0, self.dl.n - rank*share))
        if self.who not in (None, rank): return
        want = truth(outputs[:real], y[:real], self.cuts) if len(y[:real].unique()) > 1 else np.nan
        for m in self.learn.metrics[::-1]:
            self.n_read += 1
            if not np.isclose(m.value, want, rtol=0, atol=1e-12, equal_nan=True): self.wrong.append(self.iter)

read_by = {'all':None, 'the first':0, 'the last':-1}
for who,n,bs in [*((who, n, 1) for who in read_by for n in (5, 4)), ('all', 65, 8), ('the first', 65, 8)]:
    for how in 'metrics','cbs':
        @case(who, n, bs, how, name=f'{how} read in the middle by {who}, {n} rows',
            worlds=(2, 3, 4) if n == 5 else (2, 3))
        def read_in_the_middle(who, n, bs, how):
            "Nobody waits, where the last batch of a rank is all padding and where columns are read in another order"
            reads = Reads(world-1 if who == 'the last' else read_by[who])
            columns = [AUROC(), AUROC(name='b')]
            where = dict(metrics=columns, cbs=[reads]) if how == 'metrics' else dict(cbs=[*columns, reads])
            learn,expect = make('two', n, bs=bs, f=lambda o,y: [truth(o, y)]*2, **where)
            got = flat(fit(learn, 2))
            mine = reads.who in (None, rank)
            assert (reads.n_read > 3) == mine
            return [*got, len(reads.wrong)],[*flat(expect.seen), 0]

@case(worlds=(2, 3))
def counted_and_read_in_the_middle():
    reads = Reads(cuts=inner(30))
    learn,expect = make('two', 5, AUROC(thresholds=30), [reads], f=partial(truth, cuts=inner(30)), bs=1)
    return [*flat(fit(learn, 2)), len(reads.wrong)],[*expect.seen, 0]

class ReadsAtTheEnd(Callback):
    "Before the Recorder does, and after the epoch"
    def __init__(self): self.seen = []
    def after_validate(self): self.seen.append(self.learn.metrics[0].value)
    def after_epoch(self): self.seen.append(self.learn.metrics[0].value)

@case(worlds=(2, 3))
def read_at_the_end():
    "Everywhere the value of all rows"
    reads = ReadsAtTheEnd()
    learn,expect = make('two', 5, AUROC(), [reads], bs=1)
    got = flat(fit(learn, 2))
    return [*got, *reads.seen],[*expect.seen, *np.repeat(expect.seen, 2).tolist()]

class Validates(Callback):
    "Validates within the first batch of training, as callbacks do that look in every so many batches"
    def __init__(self): self.seen = []
    def after_batch(self):
        if not self.training or self.iter: return
        dl,n_iter = self.learn.dl,self.learn.n_iter
        self.learn._do_epoch_validate()
        self.seen.append(self.learn.metrics[0].value)
        self.learn.dl,self.learn.n_iter,self.learn.training,self.learn.iter = dl,n_iter,True,0
        self.model.train()

@case(worlds=(2, 3))
def validates_in_the_middle():
    "A whole validation inside a training batch is of all rows, though that batch is under way"
    validates = Validates()
    learn,expect = make('two', 65, AUROC(), [validates])
    got = flat(fit(learn))
    return [got[-1], *validates.seen],[expect.seen[-1], expect.seen[0]]

large = dict(large=(0, 40_000, ['int64']*3), unsigned=(0, 65_535, ['uint16']*3),
    differ=(0, 65_535, ['uint16', 'int64', 'uint32']), negative=(-40_000, 65_536, ['int64']*3))
for name,args in large.items():
    @case(*args, name=f'labels, {name}', worlds=(2, 3))
    def labels_beyond_int16(low, high, kinds):
        "Labels of each rank's own dtype"
        class Relabels(Callback):
            def after_loss(self): self.learn.yb = (torch.where(self.y > 0, high, low).to(getattr(torch, kinds[rank])),)
        learn,expect = make('two', 65, AUROC(), [Relabels()])
        return flat(fit(learn)),expect.seen

class Doubles(Callback):
    "Another positive label on rank 1, in all but the first batch, once fastai is done with the loss"
    def after_loss(self):
        if not self.training and rank == 1 and self.iter: self.learn.yb = (self.y*2,)

class Spoils(Callback):
    "Changes targets or outputs on rank 1, in the second batch of validation, once fastai is done with the loss"
    def __init__(self, what, epochs=(0, 1, 2)): self.what,self.epochs = what,epochs
    def after_loss(self):
        if self.training or rank != 1 or self.iter != 1 or self.epoch not in self.epochs: return
        if self.what == 'targets': self.learn.yb = (torch.zeros(len(self.y), 7),)
        if self.what == 'nan': self.learn.pred = self.pred*torch.nan
        if self.what == 'no tensor': self.learn.pred = (self.pred, self.pred)

class Widens(Callback):
    "A third output on rank 1, once fastai is done with the loss"
    def after_loss(self):
        if not self.training and rank == 1: self.learn.pred = torch.cat([self.pred]*2, 1)[:,:3]

for what in ('targets', 'no tensor', 'nan'):
    for t in (None, 30, 'bits'):
        @case(what, t, name=f'{what} spoilt' + (f', thresholds {t}' if t else ''))
        def spoilt(what, t):
            "NaN everywhere in that epoch, and the next ones are right"
            learn,expect = make('two', 65, AUROC(thresholds=t), [Spoils(what, [0])], partial(truth, cuts=inner(t) if t == 30 else None))
            got = flat(fit(learn, 2))
            if t == 'bits': return [got[0], int(abs(got[1] - expect.seen[1]) < 1e-3)],[np.nan, 1]
            return got,[np.nan, expect.seen[1]]

for t in (None, 30):
    @case(t, name='outputs differ between processes' + (', thresholds' if t else ''))
    def outputs_differ(t):
        learn,_ = make('two', 65, AUROC(thresholds=t), [Widens])
        return flat(fit(learn)),[np.nan]

@case()
def saves_the_best():
    "Each rank sees the same value, and all load the same model"
    best = SaveModelCallback(with_opt=False, monitor='auroc', fname=f'best{world}')
    learn,expect = make('two', 65, AUROC())
    got = flat(fit(learn, 4, cbs=best))
    x,y = data('two', 65)[:2]
    with torch.no_grad(): loaded = truth(learn.model(x), y)
    return [*got, best.best, loaded],[*expect.seen, max(expect.seen), max(expect.seen)]

# Worlds

def write(job, **kwargs):
    with open(folder/f'{job}-{rank}.jsonl', 'a') as f: f.write(json.dumps(kwargs) + '\n')

def run_cases(job):
    for name,(f,worlds) in cases.items():
        if world not in worlds: continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            try: got,want = f()
            except Exception: got,want = traceback.format_exc(),None
        write(job, case=name, got=got, want=want, said=[str(o.message) for o in caught if o.filename == 'fastai_auroc'])

odd = dict(complex=torch.zeros(2, dtype=torch.complex64), uint16=torch.zeros(2, dtype=torch.uint16), axes=torch.zeros([1]*9),
    number=torch.tensor(1.))

def run_odd(job, kind):
    "What cannot be sent from one process must not leave the others waiting, or mix up the next call"
    error_of(gather_rows, odd[kind] if rank == 1 else torch.zeros(1))
    write(job, got=told(*gather_rows(torch.tensor([rank]))))

def limit_waiting(timeout):
    "From now on; a shorter time-out from the start would be one for slow machines, too"
    dist.distributed_c10d._get_default_group()._get_backend(torch.device('cpu'))._set_default_timeout(timeout)

def wait_for_error(of):
    while not (folder/f'{world}-late-{of}.jsonl').exists(): time.sleep(.05)

class Stops(Callback):
    "Rank 1 ends, or is late, in mid-validation: before fastai brings the losses of a batch together, or after the last of them"
    order = Recorder.order + 1
    def __init__(self, how, at_end=True): self.how,self.at_end = how,at_end
    def after_pred(self): self._stop(not self.at_end and self.iter == 1)
    def after_batch(self): self._stop(self.at_end and self.iter == self.n_iter-1)
    def _stop(self, now):
        if self.training or not now: return
        if self.how == 'late': wait_for_error(of=0) if rank == 1 else limit_waiting(timedelta(seconds=2))
        elif rank == 1: os._exit(1)

def run_stopping(job, how, at_end=True, **kwargs):
    learn,_ = make('two', 65, AUROC(**kwargs), [Stops(how, at_end)])
    write(job, error=error_of(fit, learn))

jobs = dict(cases=run_cases, dies=partial(run_stopping, how='dies'), dies_counting=partial(run_stopping, how='dies', thresholds=30),
    dies_early=partial(run_stopping, how='dies', at_end=False), late=partial(run_stopping, how='late'),
    **{f'odd_{kind}':partial(run_odd, kind=kind) for kind in odd})

def run(job, **kwargs):
    "One process of a world"
    signal.alarm(500)
    gc.freeze()  # or collections, which accelerate asks for, touch all that was imported
    torch.set_num_threads(1)
    fastai_distributed.DistributedDL._broadcast = broadcast_on_cpu
    dist.init_process_group('gloo', timeout=timedelta(seconds=60), **kwargs)
    jobs[job](f'{world}-{job}')
    if job == 'cases': dist.destroy_process_group()

def run_forked(job, own_rank, size):
    "One process of a forked world, which finds what torchrun would have put into its environment"
    global rank, world
    rank,world = own_rank,size
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT='1')
    run(job, init_method=f'file://{folder}/meeting-{world}-{job}', rank=rank, world_size=world)

if __name__ == '__main__':
    if world: run('cases')
    else:
        for spec in sys.argv[2:]:
            size,job = spec.split(':')
            codes = fork_world(int(size), lambda rank: run_forked(job, rank, int(size)))
            (folder/f'{size}-{job}-codes.json').write_text(json.dumps(codes))
