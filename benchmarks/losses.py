"Time of the losses, forward and backward on one thread, against naive code with autograd and cross-entropy. Run: python benchmarks/losses.py"
import argparse, tracemalloc
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
import torch
from torch.nn.functional import cross_entropy, one_hot
from fastai_auroc.losses import SquaredHingeAUCLoss, aum, soft_auroc
from scorers import machine, seconds, table, times, use_threads

# --- The naive code, from the definitions, differentiated by autograd ---

def naive_column(s, positive):
    "AUM of one column as defined: rates at each distinct threshold, the smaller one times the gap to the next"
    t,order = s.sort()
    y,last = positive[order],torch.cat([t.diff() != 0, torch.tensor([True])])
    fnr,fpr = (y.cumsum(0)/y.sum())[last],1 - ((~y).cumsum(0)/(~y).sum())[last]
    return (torch.minimum(fnr, fpr)[:-1]*t[last].diff()).sum()

def lean_column(s, positive):
    "The same without a look for ties, whose gaps are zero"
    t,order = s.sort()
    y = positive[order].to(s.dtype)
    fnr,fpr = y.cumsum(0)/y.sum(),1 - (1-y).cumsum(0)/(1-y).sum()
    return (torch.minimum(fnr, fpr)[:-1]*t.diff()).sum()

def sorted_aum(scores, targets, average, column):
    positive = one_hot(targets, scores.shape[1]).bool()
    if average == 'micro': return column(scores.reshape(-1), positive.reshape(-1))
    return torch.stack([column(s, y) for s,y in zip(scores.T, positive.T)]).mean()

def all_pairs(scores, targets, f): return f(scores[targets == 1][:,None] - scores[targets == 0]).mean()

# --- Work: what is asked, and of whom ---

def rows_of(n, k):
    torch.manual_seed(42)
    targets = torch.randint(0, k, (n,))
    return (torch.randn(n, k) + one_hot(targets, k)).requires_grad_(),targets

def aum_work(n, k, average):
    scores,targets = rows_of(n, k)
    work = {'ours':lambda: aum(scores, targets, average)}
    work |= {name:partial(sorted_aum, scores, targets, average, column) for name,column in (('naive', naive_column), ('lean', lean_column))}
    if k > 2: work['cross-entropy'] = lambda: cross_entropy(scores, targets)
    return scores,work

def pair_work(n, share, ours, f):
    torch.manual_seed(42)
    targets = (torch.rand(n) < share).long()
    scores = (torch.randn(n) + targets).requires_grad_()
    return scores,{'ours':lambda: ours(scores, targets), 'naive':lambda: all_pairs(scores, targets, f)} if n < 10**5 else {'ours':lambda: ours(scores, targets)}

def soft(n, T, share=.5): return pair_work(n, share, lambda s, y: 1 - soft_auroc(s, y, T), lambda gap: (-gap/T).sigmoid())
def hinge(n): return pair_work(n, .5, SquaredHingeAUCLoss(), lambda gap: (1-gap).relu().square())

rows = [('AUM micro, 60,000 × 10', partial(aum_work, 60_000, 10, 'micro'), dict(naive=30, **{'cross-entropy':1})),
    ('AUM macro, 60,000 × 10', partial(aum_work, 60_000, 10, 'macro'), dict(naive=10, **{'cross-entropy':1})),
    ('AUM micro, 64 × 2', partial(aum_work, 64, 2, 'micro'), dict(naive=3)), ('AUM micro, 1,024 × 2', partial(aum_work, 1_024, 2, 'micro'), dict(naive=3)),
    ('smooth AUROC, 10,000, T = 1', partial(soft, 10**4, 1.), dict(naive=200)), ('smooth AUROC, 10,000, T = 0.1', partial(soft, 10**4, .1), dict(naive=200)),
    ('smooth AUROC, 1,000,000, T = 0.1', partial(soft, 10**6, .1), dict(time=.1)), ('squared hinge, 10,000', partial(hinge, 10**4), dict(naive=200))]

# --- Measuring ---

def measure(scores, work, budget=3., most=21):
    "Medians of forward plus backward, the libraries in turn; values and gradients"
    def run(f):
        scores.grad = None
        start = perf_counter()
        loss = f()
        loss.backward()
        return perf_counter()-start,loss.item(),scores.grad
    first = {name:run(f) for name,f in work.items()}
    number = {name:max(1, int(.005/t)) for name,(t,_,_) in first.items()}
    runs,got = {name:max(1, min(most, int(budget/(t*number[name])))) for name,(t,_,_) in first.items()},{name:[] for name in work}
    for i in range(max(runs.values())):
        for name,f in work.items():
            if i < runs[name]: got[name].append(sum(run(f)[0] for _ in range(number[name]))/number[name])
    return {name:median(o) for name,o in got.items()},first

def peak_of(f):
    "Bytes that NumPy and Python hold at the highest while `f` runs"
    tracemalloc.start()
    f()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path(__file__).resolve().parent/'results', help='folder for losses.md (benchmarks/results)')
    args = parser.parse_args()
    use_threads(1)
    lines = []
    for name,make,want in rows:
        scores,work = make()
        took,first = measure(scores, work)
        asked = [f'≤ {seconds(v)}' if k == 'time' else f'{v} × {k}' for k,v in want.items()]
        short = [f'{seconds(took["ours"]-v)} too long' if k == 'time' else f'{k} {100*(1-took[k]/took["ours"]/v):.0f}% short'
            for k,v in want.items() if (took['ours'] > v if k == 'time' else took[k] < v*took['ours'])]
        (_,value,gradient),other = first['ours'],first.get('naive')
        error = '–' if other is None else f'{abs(value-other[1]):.0e}, {((gradient-other[2]).abs().max()/other[2].abs().max()).item():.0e}'
        cells = [f'{seconds(took[k])}, **{times(took[k]/took["ours"])}**' if k in took else '–' for k in ('naive', 'lean', 'cross-entropy')]
        memory = f'{peak_of(lambda: work["ours"]().backward())/scores.shape[0]:.0f}' if name.startswith('smooth') else '–'
        lines.append([name, seconds(took['ours']), *cells, ', '.join(asked), '; '.join(short) or 'met', error, memory])
        print(lines[-1], flush=True)
    about = '\n'.join(f'- {o}' for o in [*machine(), f'{date.today()}, `python benchmarks/losses.py`'])
    text = f"""# Losses compared

{about}

Forward plus backward on given scores, one thread, medians of runs in turn; in bold, how many times as long as ours. Naive: the definition in PyTorch with autograd, by
distinct sorted thresholds or by all pairs; lean: sorted thresholds, tied ones apart. The last columns: difference of the values, difference of the gradients over the largest entry (float32 in the naive code; AUM has
kinks, where subgradients differ), and bytes a row that NumPy holds at the highest.

{table(['work', 'ours', 'naive', 'lean', 'cross-entropy', 'asked', 'met', 'value, gradient', 'bytes a row'], lines)}"""
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out/'losses.md').write_text(text, encoding='utf-8')

if __name__ == '__main__': main()
