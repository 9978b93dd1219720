"Time, error and peak memory of fastai_auroc against scikit-learn, torchmetrics, torcheval and fastai's RocAucBinary. Run: python benchmarks/scorers.py [--quick]"
import argparse, ctypes, gc, math, subprocess, sys, warnings
warnings.filterwarnings('ignore')  # peers' notes on half precision, and deprecations inside fastai

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace
import matplotlib, numpy as np, torch
matplotlib.use('Agg')

import matplotlib.pyplot as plt
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import RocAucBinary
from fastai.torch_core import to_detach
from sklearn import metrics as skm
from torcheval import metrics as tem
from torcheval.metrics import functional as tef
from torchmetrics import classification as tmm
from torchmetrics.functional import classification as tmf
from fastai_auroc.metric import AUROC
from fastai_auroc.plots import plot_roc
from fastai_auroc.pr import average_precision, pr_curve
from fastai_auroc.roc import auroc_score, roc_curve
from measuring import bullets, digits, machine, memory_status, seconds, start_peak, table, timed, times, use_threads, write, written_by

ours,sk,tm,te,fa = libs = 'fastai_auroc','scikit-learn','torchmetrics','torcheval','fastai'
sort_alone,as_float32 = beside = 'np.sort alone','as float32'  # no libraries, but what ours is to be held against
fastest = 'the fastest peer'
exact_mode = dict(thresholds=None, validate_args=False)  # torchmetrics: every score a threshold, arguments taken on trust
bs = 64

# --- Data, the same in every run ---

def two_normals(n, share=.2, k=None):
    "Scores of negatives around 0 and positives around 1.2, float32, and labels of which `share` are 1, int64"
    rng,shape = np.random.default_rng(42),n if k is None else (n, k)
    positive = rng.random(shape, dtype=np.float32) < share
    scores = rng.standard_normal(shape, dtype=np.float32)
    scores += np.float32(1.2)*positive
    return torch.from_numpy(scores),torch.from_numpy(positive.astype(np.int64))

def softmax_rows(n, k):
    "Probabilities of `k` classes, float32, and class numbers, each of which occurs"
    rng = np.random.default_rng(42)
    labels = rng.permutation(np.concatenate([np.arange(k), rng.integers(k, size=n-k)]))
    logits = rng.standard_normal((n, k), dtype=np.float32)
    logits[np.arange(n), labels] += 2
    return torch.from_numpy(logits).softmax(-1),torch.from_numpy(labels)

# --- Exact values, by counting pairs in integers ---

def exact_auroc(scores, positive):
    "AUROC from the whole number of pairs won and tied; the one rounding is that of the last division"
    p,q = np.sort(scores[positive]),np.sort(scores[~positive])
    wins = sum(int(np.searchsorted(q, p, side).sum()) for side in ('left', 'right'))
    return wins/(2*len(p)*len(q))

def exact_weighted(scores, positive, weights):
    "AUROC with weights, summed in extended precision"
    order = np.argsort(scores, kind='stable')
    s,y,w = scores[order],positive[order],weights[order].astype(np.longdouble)
    q,below,p,wp = s[~y],np.concatenate([[0], w[~y].cumsum()]),s[y],w[y]
    wins = sum((wp*below[np.searchsorted(q, p, side)]).sum() for side in ('left', 'right'))
    return float(wins/(2*wp.sum()*below[-1]))

def exact_precision(scores, positive, weights=None):
    "Average precision, the counts whole numbers or summed in extended precision, and so the mean"
    order = np.argsort(-scores, kind='stable')
    s,y = scores[order],positive[order]
    w = (np.ones(len(s)) if weights is None else weights[order]).astype(np.longdouble)
    end = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s)-1)
    tps = (w*y).cumsum()[end]
    return float((np.diff(tps, prepend=0)*(tps/w.cumsum()[end])).sum()/tps[-1])

def exact_macro(scores, positive): return math.fsum(exact_auroc(s, y) for s,y in zip(scores, positive))/len(scores)

def exact_ovo(probs, labels):
    "Mean over pairs of classes, each pair ranked by the column of either"
    k,cols = probs.shape[1],np.ascontiguousarray(probs.T)
    rows = [np.flatnonzero(labels == c) for c in range(k)]
    def area(a, b): return exact_auroc(np.concatenate([cols[a][rows[a]], cols[a][rows[b]]]), np.arange(len(rows[a])+len(rows[b])) < len(rows[a]))
    return math.fsum(area(a, b) for a in range(k) for b in range(k) if a != b)/(k*(k-1))

# --- Work: what each library is asked to do, and the right answer ---

def sort_of(s, y, threads):
    "A sort of keys such as an exact score sorts on the CPU: the ordered bits of float32 scores, the label in the last one"
    bits = s.numpy().view(np.uint32)
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(2**31)) & np.uint32(2**32-2) | y.numpy().astype(np.uint32)
    parts,pool = np.array_split(keys, threads),ThreadPoolExecutor(threads)
    return (lambda: np.sort(keys)) if threads == 1 else lambda: list(pool.map(np.sort, parts))

def binary(n, k=None, dtype=torch.float32, probs=False, sort=None):
    "With `sort` threads that `np.sort` has, where its time is to be shown"
    s,y = two_normals(n)
    s = (s.sigmoid() if probs else s).to(dtype)
    yn = y.numpy()
    def theirs(): return s.numpy() if dtype != torch.bfloat16 else s.float().numpy()  # NumPy has no bfloat16
    work = {ours: lambda: auroc_score(s, y), sk: lambda: skm.roc_auc_score(yn, theirs()), tm: lambda: tmf.binary_auroc(s, y, **exact_mode),
        te: lambda: tef.binary_auroc(s, y)}
    if sort: work[sort_alone] = sort_of(s, y, sort)
    if dtype != torch.float32: work[as_float32] = lambda: auroc_score(s.float(), y)
    return work,exact_auroc(s.double().numpy(), yn == 1)

def weighted(n, k=None):
    s,y = two_normals(n)
    w = torch.from_numpy(np.random.default_rng(43).lognormal(size=n))
    sn,yn,wn = s.numpy(),y.numpy(),w.numpy()
    return {ours: lambda: auroc_score(s, y, sample_weight=w), sk: lambda: skm.roc_auc_score(yn, sn, sample_weight=wn),
        te: lambda: tef.binary_auroc(s, y, weight=w)},exact_weighted(sn, yn == 1, wn)

def curve(n, k=None):
    s,y = two_normals(n)
    sn,yn = s.numpy(),y.numpy()
    return {ours: lambda: roc_curve(s, y), sk: lambda: skm.roc_curve(yn, sn), tm: lambda: tmf.binary_roc(s, y, **exact_mode)},skm.roc_curve(yn, sn)

def precision(n, k=None, dtype=torch.float32, probs=False, share=.2):
    s,y = two_normals(n, share)
    s = (s.sigmoid() if probs else s).to(dtype)
    yn = y.numpy()
    def theirs(): return s.numpy() if dtype != torch.bfloat16 else s.float().numpy()
    return {ours: lambda: average_precision(s, y), sk: lambda: skm.average_precision_score(yn, theirs()),
        tm: lambda: tmf.binary_average_precision(s, y, **exact_mode), te: lambda: tef.binary_auprc(s, y)},exact_precision(s.double().numpy(), yn == 1)

def weighted_precision(n, k=None):
    s,y = two_normals(n)
    w = torch.from_numpy(np.random.default_rng(43).lognormal(size=n))
    sn,yn,wn = s.numpy(),y.numpy(),w.numpy()
    return {ours: lambda: average_precision(s, y, sample_weight=w), sk: lambda: skm.average_precision_score(yn, sn, sample_weight=wn)
        },exact_precision(sn, yn == 1, wn)

def precision_curve(n, k=None):
    s,y = two_normals(n)
    sn,yn = s.numpy(),y.numpy()
    return {ours: lambda: pr_curve(s, y), sk: lambda: skm.precision_recall_curve(yn, sn),
        tm: lambda: tmf.binary_precision_recall_curve(s, y, **exact_mode)},skm.precision_recall_curve(yn, sn)

def precision_of_classes(n, k):
    s,y = softmax_rows(n, k)
    sn,yn = s.numpy(),y.numpy()
    want = math.fsum(exact_precision(a, yn == c) for c,a in enumerate(np.ascontiguousarray(sn.T)))/k
    return {ours: lambda: average_precision(s, y), sk: lambda: skm.average_precision_score(yn, sn),
        tm: lambda: tmf.multiclass_average_precision(s, y, k, **exact_mode), te: lambda: tef.multiclass_auprc(s, y, num_classes=k)},want

def one_vs_rest(n, k):
    s,y = softmax_rows(n, k)
    sn,yn = s.numpy(),y.numpy()
    return {ours: lambda: auroc_score(s, y), sk: lambda: skm.roc_auc_score(yn, sn, multi_class='ovr'),
        tm: lambda: tmf.multiclass_auroc(s, y, k, **exact_mode), te: lambda: tef.multiclass_auroc(s, y, num_classes=k)
        },exact_macro(np.ascontiguousarray(sn.T), yn == np.arange(k)[:,None])

def one_vs_one(n, k):
    s,y = softmax_rows(n, k)
    sn,yn = s.numpy(),y.numpy()
    return {ours: lambda: auroc_score(s, y, multi_class='ovo'), sk: lambda: skm.roc_auc_score(yn, sn, multi_class='ovo')},exact_ovo(sn, yn)

def multilabel(n, k):
    s,y = two_normals(n, .1, k)
    s = s.sigmoid()
    sn,yn = s.numpy(),y.numpy()
    return {ours: lambda: auroc_score(s, y), sk: lambda: skm.roc_auc_score(yn, sn), tm: lambda: tmf.multilabel_auroc(s, y, k, **exact_mode),
        te: lambda: tef.binary_auroc(s.T, y.T, num_tasks=k).mean()},exact_macro(np.ascontiguousarray(sn.T), yn.T == 1)

def picture(n, _):
    "The area under the curve as it is drawn, with the picture; ours has DeLong's interval in its legend"
    s,y = two_normals(n)
    sn,yn = s.numpy(),y.numpy()
    def drawn(ax):
        ax.figure.canvas.draw()
        plt.close(ax.figure)
        return skm.auc(*max((o.get_data() for o in ax.lines), key=lambda o: len(o[0])))
    return {ours: lambda: drawn(plot_roc(s, y)), sk: lambda: drawn(skm.RocCurveDisplay.from_predictions(yn, sn).ax_)},exact_auroc(sn, yn == 1)

def two_logits(n):
    z,y = two_normals(n)
    other = torch.from_numpy(np.random.default_rng(44).standard_normal(n, dtype=np.float32))
    return torch.stack([other, other+z], 1),y

def metric_of(lib):
    "A new metric of `lib`, and a function that shows it a batch: two logits a row, as a Learner or a training loop would"
    if lib in (ours, fa):
        m = AUROC() if lib == ours else RocAucBinary()
        learn = SimpleNamespace(loss_func=CrossEntropyLossFlat(), training=False, to_detach=to_detach, recorder=SimpleNamespace(values=[]))
        def show(pred, y, loss):
            learn.pred,learn.y,learn.yb,learn.loss,learn.loss_grad = pred,y,(y,),loss,loss
            m.accumulate(learn)
    else:
        m = tmm.BinaryAUROC(**exact_mode) if lib == tm else tem.BinaryAUROC()
        def show(pred, y, loss): m.update(pred.softmax(-1)[:,1], y)
    m.reset()
    return m,show

def accumulate(n, k=None):
    z,y = two_logits(n)
    batches = [(z[i:i+bs].clone(), y[i:i+bs].clone(), torch.zeros(())) for i in range(0, n, bs)]
    def epoch(lib):
        m,show = metric_of(lib)
        for b in batches: show(*b)
        return m
    wide = z.double().numpy()
    return {lib: lambda lib=lib: epoch(lib) for lib in (ours, fa, tm, te)},exact_auroc(wide[:,1]-wide[:,0], y.numpy() == 1)

# --- The rows, with the figures to reach ---

@dataclass
class Row:
    work:str; make:callable; n:int; k:int|None=None; threads:int=1
    want:dict=field(default_factory=dict)  # Library: how many times as long as ours it should take at least; 'time', 'error': how much ours may be
    kwargs:dict=field(default_factory=dict)
    time:dict=field(default_factory=dict); error:dict=field(default_factory=dict); runs:dict=field(default_factory=dict); cores:float=0.

    @property
    def key(self): return self.work,self.n,self.k,self.threads
    @property
    def size(self): return f'{self.n:,}' + (f' × {self.k:,}' if self.k else '')

fast,no_slower = {sk:40, tm:20, te:20, 'error':2e-16},{fastest:1}
halves = {'float16':torch.float16, 'bfloat16':torch.bfloat16}

def large_rows():
    "Binary tasks of many rows; halves also where a sort as float32 is about as fast as their histogram"
    rows = [Row('binary float32', binary, 10**4)]
    rows += [Row('binary float32', binary, 10**e, want=fast, kwargs=dict(sort=1)) for e in (5, 6, 7)]
    rows += [Row('binary float32, probabilities', binary, 10**7, want=fast, kwargs=dict(probs=True))]
    rows += [Row('binary float32', binary, 10**e, threads=2, want={sk:60, 'error':2e-16}, kwargs=dict(sort=2)) for e in (6, 7)]
    for n,want in ((2**17, {as_float32:1}), (10**6, {as_float32:1}), (10**7, {as_float32:1, sk:150})):
        rows += [Row(f'binary {name}', binary, n, want=want, kwargs=dict(dtype=dtype)) for name,dtype in halves.items()]
    rows += [Row('binary float32, float64 weights', weighted, 10**7, want={sk:10}), Row('roc_curve float32', curve, 10**7, want={sk:15})]
    return [*rows, Row('plot_roc float32', picture, 10**6)]

def wide_rows():
    "Tasks of many columns"
    rows = [Row('one-vs-rest macro', one_vs_rest, 50_000, 100, 2, {sk:50, tm:30, te:30})]
    rows += [Row('one-vs-rest macro', one_vs_rest, 50_000, 1_000, 2, {tm:30, te:30})]
    return [*rows, Row('one-vs-one macro', one_vs_one, 50_000, 100, want={sk:100}), Row('multilabel macro', multilabel, 50_000, 100, want={sk:40})]

def precision_rows():
    "Average precision and its curve; rare positives are one in a thousand"
    want = {sk:30, tm:20, 'error':1e-15}
    rows = [Row('average precision float32', precision, 10**3, want=no_slower)]
    rows += [Row('average precision float32', precision, 10**e, want=want) for e in (6, 7)]
    rows += [Row('average precision float32', precision, 10**7, threads=2, want={sk:40})]
    rows += [Row('average precision float32, probabilities', precision, 10**7, want=want, kwargs=dict(probs=True))]
    rows += [Row('average precision float32, rare positives', precision, 10**e, want=want, kwargs=dict(share=.001)) for e in (6, 7)]
    rows += [Row(f'average precision {name}', precision, 10**7, want={sk:100}, kwargs=dict(dtype=dtype)) for name,dtype in halves.items()]
    rows += [Row('average precision float32, float64 weights', weighted_precision, 10**7, want={sk:10})]
    rows += [Row('pr_curve float32', precision_curve, 10**7, want={sk:10})]
    return [*rows, Row('average precision one-vs-rest macro', precision_of_classes, 50_000, 100, 2, {sk:30, tm:20})]

def small_rows():
    "Tasks of a thousand rows, where calls cost more than rows"
    rows = [Row('binary float32', binary, 10**3, want=no_slower)]
    rows += [Row(f'binary {name}', binary, 10**3, want=no_slower, kwargs=dict(dtype=dtype)) for name,dtype in halves.items()]
    rows += [Row('binary float32, float64 weights', weighted, 10**3, want=no_slower), Row('roc_curve float32', curve, 10**3, want=no_slower)]
    rows += [Row('one-vs-rest macro', one_vs_rest, 10**3, 10, 2, no_slower), Row('one-vs-one macro', one_vs_one, 10**3, 10, want=no_slower)]
    return [*rows, Row('multilabel macro', multilabel, 10**3, 10, want=no_slower)]

def all_rows():
    batches = Row('accumulate two logits', accumulate, 2_000*bs, want={fa:1, tm:1, te:1, 'time':10e-6})
    return [*small_rows(), *large_rows(), *wide_rows(), *precision_rows(), batches]

def quick_rows():
    "The same kinds of work on fewer rows and columns, of which nothing is asked"
    rows = {}
    for r in all_rows():
        size = r.n,r.k
        if r.n > 10**3 and r.k: r.n,r.k = r.n//10,r.k//2
        r.n = 200*bs if r.make is accumulate else min(r.n, 10**6)
        if size != (r.n, r.k) and r.make is not accumulate: r.want = {}
        rows.setdefault(r.key, r)
    return list(rows.values())

# --- Measuring ---

def as_arrays(x): return [np.asarray(a, dtype=np.float64) for a in x]

def error(got, want):
    "Distance of a number from the exact one; of a curve, between its points where they are the same, otherwise between the areas"
    if not isinstance(want, tuple): return abs(float(got.value if hasattr(got, 'accumulate') else got.compute() if hasattr(got, 'compute') else got) - want)
    got,want = as_arrays(got),as_arrays(want)
    if all(a.shape == b.shape for a,b in zip(got, want)): return max(float(np.abs(a-b)[a != b].max(initial=0)) for a,b in zip(got, want))
    return abs(skm.auc(*got[:2]) - skm.auc(*want[:2]))

def measure(row, budget, most):
    "Fill in `row`: a warm-up each, then the libraries in turn, each as often as `budget` seconds allow; medians"
    use_threads(row.threads)
    work,want = row.make(row.n, row.k, **row.kwargs)
    first,per,spent = {},row.n//bs if row.make is accumulate else 1,[0., 0.]
    for lib,f in work.items():
        try: t,_,res = timed(f)
        except Exception as e: print(f'  {lib} cannot do {row.work}: {type(e).__name__}: {e}', file=sys.stderr)
        else:
            first[lib] = t if t > .5 else timed(f)[0]
            if lib != sort_alone: row.error[lib] = error(res, want)
        res = None
    number = {lib: max(1, int(.005/t)) for lib,t in first.items()}
    runs = {lib: min(most, int(budget/(t*number[lib]))) for lib,t in first.items()}
    times,rounds = {lib: [] for lib in first},max(runs.values())
    gc.collect()
    for i in range(rounds):
        for lib in first:
            if (i+1)*runs[lib]//rounds == i*runs[lib]//rounds: continue
            wall,cpu,_ = timed(work[lib], number[lib])
            times[lib].append(wall)
            if lib == ours: spent = [spent[0]+wall, spent[1]+cpu]
    row.time = {lib: median(times[lib] or [first[lib]])/per for lib in first}
    row.runs = {lib: max(1, len(times[lib])) for lib in first}
    row.cores = spent[1]/spent[0] if spent[0] else 0.

# --- Peak memory, each in a process of its own ---

def peak(job, lib, n):
    "Bytes a row that `lib` adds to what the process holds with the data in place, at the highest"
    use_threads(1)
    def ready(n):
        if job == 'score':
            s,y = two_normals(n)
            sn,yn = s.numpy(),y.numpy()
            return {ours: lambda: auroc_score(s, y), sk: lambda: skm.roc_auc_score(yn, sn), tm: lambda: tmf.binary_auroc(s, y, **exact_mode),
                te: lambda: tef.binary_auroc(s, y)}[lib]
        z,y = two_logits(n)
        def epoch():
            m,show = metric_of(lib)
            for i in range(0, n, bs): show(z[i:i+bs].clone(), y[i:i+bs].clone(), torch.zeros(()))  # a Learner's batches are new tensors
            return float(m.value)
        return epoch
    for _ in range(2): ready(1_000)()
    f = ready(n)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = start_peak()
    f()
    return (memory_status('VmHWM:')-before)/n

jobs = dict(score=('auroc_score, binary float32', (ours, sk, tm, te), 5), metric=('AUROC, accumulate in batches of 64 and value', (ours, fa), 20))

def peaks(n):
    "Bytes a row for each job and library; without those that this system does not tell"
    res = {}
    for job,(_,which,_) in jobs.items():
        for lib in which:
            out = subprocess.run([sys.executable, __file__, '--peak', job, lib, str(n)], capture_output=True, text=True)
            if out.returncode == 0: res[job,lib] = float(out.stdout.split()[-1])
            else: print(f'  no peak of {lib}: {out.stderr.splitlines()[-1:]}', file=sys.stderr)
    return res

# --- The report ---

def short_of(row, what, least):
    "By how much `what` is not `least` times as slow as ours, or None"
    peers = {**row.time, fastest:min((t for lib,t in row.time.items() if lib in libs[1:]), default=math.nan)}
    if what not in peers: return f'{what} not compared'
    ratio = peers[what]/row.time[ours]
    return None if ratio >= least else f'{what} {1-ratio/least:.0%} short'

def verdict(row):
    "What is asked of `row`, and whether it is met, or by how much not"
    asked,missed = [],[]
    for what,least in row.want.items():
        if what == 'error':
            asked.append(f'error ≤ {digits(least)}')
            if row.error[ours] > least: missed.append(f'error {digits(row.error[ours])}')
        elif what == 'time':
            asked.append(f'≤ {seconds(least)}')
            if row.time[ours] > least: missed.append(f'{seconds(row.time[ours]-least)} too long')
        else:
            asked.append(f'{least} × {what}')
            missed.append(short_of(row, what, least))
    missed = list(filter(None, missed))
    if missed and sort_alone in row.time: missed.append(f'{sort_alone} would have {times(row.time[sk]/row.time[sort_alone])} {sk}')
    return ', '.join(asked) or '–','–' if not asked else '; '.join(missed) or 'met'

def time_table(rows):
    peers = [lib for lib in (*libs[1:], *beside) if any(lib in r.time for r in rows)]
    def cell(r, lib): return f'{seconds(r.time[lib])}, **{times(r.time[lib]/r.time[ours])}**' if lib in r.time else '–'
    return table(['work', 'n', 'threads', ours, *peers, 'asked', 'met', 'error'],
        [[r.work, r.size, r.threads, seconds(r.time[ours]), *(cell(r, lib) for lib in peers), *verdict(r), digits(r.error[ours])] for r in rows])

def error_table(rows):
    def cell(r, lib): return f'{digits(r.error[lib])} ({r.runs[lib]})' if lib in r.time else '–'
    return table(['work', 'n', 'threads', *libs, 'cores busy'],
        [[r.work, r.size, r.threads, *(cell(r, lib) for lib in libs), f'{r.cores:.1f}' if r.cores else '–'] for r in rows])

def peak_table(found, n):
    def met(job, most): return '–' if (job,ours) not in found else 'met' if found[job,ours] <= most else f'{found[job,ours]-most:.1f} too many'
    return table(['work', 'n', *libs, 'asked', 'met'], [[name, f'{n:,}', *(f'{found[job,lib]:.1f}' if (job,lib) in found else '–' for lib in libs),
        f'≤ {most}', met(job, most)] for job,(name,_,most) in jobs.items()])

def report(rows, found, n, about, took):
    scores,batches = [r for r in rows if r.make is not accumulate],[r for r in rows if r.make is accumulate]
    return f"""# Scorers compared

{bullets(about)}
- {took/60:.0f} minutes, written by the command; `n × K` is rows × columns

## Time

Medians; in bold, how many times as long as {ours} a library takes. Threads are those given to PyTorch, OpenMP and BLAS.
A dash: the library has no such function. `np.sort` alone: the keys of the same scores, float32 bits with the label in
the last one, on as many threads, of which two sort a half each, without the partition before that; a
score that sorts can't be faster. As float32: `auroc_score` of the half-precision scores cast to float32.

{time_table(scores)}
## Accumulating

Time of one batch of {bs} rows with two logits, on the way to a metric's value; `n` is the length of the epoch.

{time_table(batches)}
## Memory

Bytes a row that are added at the peak to a process that holds the data; for the metric, what it has accumulated included.

{peak_table(found, n)}
## Errors and runs

Distance from the exact value, counted in integers (with weights: in extended precision), and in brackets the number of
runs behind a median, after a warm-up; the warm-up itself where another run was too long. For `roc_curve` the largest
difference from a number of scikit-learn's curve; where the points are others, the difference of the areas. For
`plot_roc`, beside `RocCurveDisplay` and with the picture, it is that of the drawn curve, which ours thins; the number
in its legend is exact. Cores busy: processor time over time while {ours} ran.

{error_table(rows)}"""

def plot(rows, file):
    "Time against n of the binary rows on one thread, both axes logarithmic"
    rows = sorted((r for r in rows if (r.work, r.threads) == ('binary float32', 1)), key=lambda r: r.n)
    fig,ax = plt.subplots(figsize=(7, 4.5))
    for lib,color,marker in zip(libs, ('#d62728', '#1f77b4', '#2ca02c', '#9467bd'), 'osD^'):
        n,t = zip(*((r.n, r.time[lib]) for r in rows if lib in r.time))
        ax.loglog(n, t, color=color, marker=marker, markersize=5, lw=2.5 if lib == ours else 1.5, label=lib)
    ax.set(xlabel='rows', ylabel='seconds', title='Exact binary AUROC of float32 scores, one thread')
    ax.grid(alpha=.3)
    for side in ('top', 'right'): ax.spines[side].set_visible(False)
    ax.legend(frameon=False)
    fig.savefig(file, dpi=150, bbox_inches='tight')

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='fewer rows, a minute or two; writes no file unless --out says where')
    parser.add_argument('--out', type=Path, help='folder for scorers.md and scorers.png (benchmarks/results)')
    parser.add_argument('--only', default='', help='only work with this in its name, such as precision; prints the times, writes no file')
    parser.add_argument('--peak', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak: return print(peak(*args.peak[:2], int(args.peak[2])))
    about,start = [*machine('torchmetrics', 'torcheval'), written_by('scorers.py', args.quick)],perf_counter()
    rows,n,budget,most = (quick_rows(), 10**6, .15, 5) if args.quick else (all_rows(), 10**7, 4., 21)
    rows = [r for r in rows if args.only in r.work]
    with torch.no_grad():
        for r in rows:
            print(f'{r.work}, {r.size}, threads: {r.threads}', file=sys.stderr)
            measure(r, budget, most)
    if args.only: return print(time_table(rows))
    print('peak memory', file=sys.stderr)
    text = report(rows, peaks(n), n, about, perf_counter()-start)
    out = write(text, args.out, 'scorers.md', args.quick)
    if out: plot(rows, out/'scorers.png')

if __name__ == '__main__': main()
