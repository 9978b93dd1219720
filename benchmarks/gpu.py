"Numbers, waiting, time and memory on a GPU, beside the CPU, torch.sort, torchmetrics and torcheval. Run on a CUDA machine: python benchmarks/gpu.py"
import argparse, contextlib, json, os, platform, random, subprocess, sys, tempfile, time, traceback, warnings
from datetime import date
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
import numpy as np, torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from fastai_auroc.buckets import BitBuckets
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.distributed import all_reduce_sum, gather_rows
from fastai_auroc.epoch import EpochAUROC, EpochAveragePrecision
from fastai_auroc.losses import AUMLoss, AUROCLoss, AveragePrecisionLoss, MixedLoss, PartialAUCLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.pr import average_precision, pr_curve
from fastai_auroc.roc import auroc_score, roc_curve
from fastai_auroc.row_groups import RowOrder
from fastai_auroc.streaming import StreamingAUC

root = Path(__file__).resolve().parent.parent
no_device = 'no CUDA device here: nothing was measured, and nothing was written'

# --- Waiting: CUDA itself raises at what waits, but for the one read ---

class Waits:
    "How often `read_once` copied, and how often something else waited after that"
    reads = later = 0

@contextlib.contextmanager
def no_waiting(on=True):
    "Raise at whatever waits for the device; `read_once` of what lies there may, and waiting after it is counted"
    waits = Waits()
    if not on:
        yield waits
        return
    rooms = [m for name,m in list(sys.modules.items()) if name.startswith('fastai_auroc.') and hasattr(m, 'read_once')]
    own = [m.read_once for m in rooms]
    def read(*tensors):
        if all(x.device.type == 'cpu' for x in tensors): return own[0](*tensors)
        torch.cuda.set_sync_debug_mode('default')
        try: return own[0](*tensors)
        finally:
            waits.reads += 1
            torch.cuda.set_sync_debug_mode('warn')

    for m in rooms: m.read_once = read
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode('error')
            yield waits
    finally:
        torch.cuda.set_sync_debug_mode('default')
        for m,f in zip(rooms, own): m.read_once = f
    waits.later = sum('synchronizing' in str(o.message) for o in caught)

# --- Cases: the same call for tensors of either device ---

def rows(n, k=None, seed=0, ties=False, dtype=torch.float32):
    "Scores and labels, the labels as class numbers; of one column where `k` is None"
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(0, k or 2, (n,), generator=rng)
    z = torch.randn(n, *([k] if k else []), generator=rng, dtype=torch.float64)
    z = z + (one_hot(y, k) if k else y)
    return (z.mul(8).round().div(8) if ties else z).to(dtype),y

def weights(n): return torch.rand(n, generator=torch.Generator().manual_seed(9))

def score(z, y, w=None, **kwargs): return auroc_score(z, y, sample_weight=w, **kwargs)

def precision(z, y, w=None, **kwargs): return average_precision(z, y, sample_weight=w, **kwargs)

def curve(z, y, w=None, kind=roc_curve, **kwargs):
    res = kind(z, y, sample_weight=w, **kwargs)
    return [o for c in (res if isinstance(res, list) else [res]) for o in c]

def column(*batches, size=64, kind=EpochAUROC, wrap=None, **kwargs):
    "A column's number of rows that come in batches, with `ci` also half its interval; the last step may wait"
    epoch = kind(**kwargs)
    for batch in zip(*(x.split(size) for x in batches)): epoch.add(*(wrap(*batch) if wrap else batch))
    epoch._epoch.note_order(RowOrder, list(range(len(batches[0]))), len(batches[0]))
    return lambda: epoch.score()[:2 if epoch.ci else 1]

def two_heads(z, y): return (z.flip(1), z), y

def named_heads(z, y): return dict(other=z.flip(1), own=z), dict(own=y, other=1-y)

def own_head(outputs, targets): return outputs['own'],targets['own']

def streamed(z, y, w=None, **kwargs):
    metric = StreamingAUC(from_logits=True, **kwargs)
    for i in range(0, len(z), 1000): metric.update_state(y[i:i+1000], z[i:i+1000], None if w is None else w[i:i+1000])
    return lambda: [metric.result(), *(metric.result_bounds() if metric.curve == 'ROC' else ())]

class LossAndGradient:
    "A loss as a case; it moves to the device before the batch, as fastai moves it before a fit"
    def __init__(self, loss): self.loss = loss

    def to(self, device): self.loss.to(device)

    def __call__(self, z, y):
        z = z.detach().requires_grad_()
        value = self.loss(z, y)
        value.mean().backward()
        return [value.detach(), z.grad]

def call(f, **kwargs): return lambda *xs: f(*xs, **kwargs)

def _many_labels(n, k): return (rows(n, k)[0], (torch.rand(n, k, generator=torch.Generator().manual_seed(3)) < .2).long())

def score_cases():
    "By name: tensors, what to call with them, and how far numbers may differ, relatively"
    res = {}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool):
        z,y = rows(20_000, ties=True)
        z = z > 0 if dtype == torch.bool else (z*8+64).clamp(0, 255).to(dtype) if not dtype.is_floating_point else z.to(dtype)
        name = str(dtype).removeprefix('torch.')
        res[f'score, {name}'] = (z, y), score, 0
        res[f'score, {name}, max_fpr'] = (z, y), call(score, max_fpr=.1), 1e-12
        res[f'curve, {name}'] = (z, y), curve, 1e-12
    many = rows(5_000, 7)
    probabilities = many[0].softmax(-1),many[1]
    labels = _many_labels(5_000, 7)
    z,y = rows(20_000, ties=True)
    void = y.where(torch.arange(len(y)) % 5 > 0, 9)
    for name,ties in (('no ties', False), ('all tied', None)):
        zz = torch.zeros(20_000) if ties is None else rows(20_000)[0]
        res[f'score, {name}'] = (zz, y), score, 0
    infinite = z.clone()
    infinite[::7],infinite[3::7],infinite[5::7] = torch.inf,-torch.inf,-0.
    res['score, infinities and -0'] = (infinite, y), score, 0
    res['score, NaN in rows that are left out'] = (z.where(void != 9, torch.nan), void), call(score, ignore_index=9), 0
    res['score, one class'] = (z, torch.ones_like(y)), score, 0
    res['score, NaN'] = (z.where(z < 2, torch.nan), y), score, 0
    res['score, two logits'] = rows(20_000, 2), call(score, activation='softmax'), 0
    res['score, ignore_index'] = (z, void), call(score, ignore_index=9), 0
    res['score, pos_label'] = (z, y), call(score, pos_label=0), 0
    res['score, weights'] = (z, y, weights(len(y))), score, 1e-12
    res['score, weights, max_fpr'] = (z, y, weights(len(y))), call(score, max_fpr=.3), 1e-12
    res['score, weights of zero'] = (z, y, weights(len(y)).round()), score, 1e-12
    res['score, weights, ignore_index'] = (z, void, weights(len(y))), call(score, ignore_index=9), 1e-12
    for average in 'macro','weighted','micro',None:
        res[f'7 classes, {average}'] = probabilities, call(score, average=average), 1e-15
        res[f'7 labels, {average}'] = labels, call(score, average=average), 1e-15
        res[f'7 classes, {average}, weights'] = (*probabilities, weights(5_000)), call(score, average=average), 1e-12
        res[f'7 classes, {average}, max_fpr'] = probabilities, call(score, average=average, max_fpr=.2), 1e-12
    res['7 classes, logits'] = many, call(score, activation='softmax'), 1e-15
    res['7 classes, ignore_index'] = probabilities, call(score, ignore_index=3), 1e-15
    res['7 labels, samples'] = labels, call(score, average='samples'), 1e-15
    res['7 labels, ignore_index'] = labels, call(score, ignore_index=9), 1e-15
    for average in 'macro','weighted': res[f'7 classes, one-vs-one, {average}'] = probabilities, call(score, multi_class='ovo', average=average), 1e-15
    for average in 'macro','micro',None:
        res[f'curve, 7 classes, {average}'] = probabilities, call(curve, average=average), 1e-12
        res[f'curve, 7 labels, {average}'] = labels, call(curve, average=average), 1e-12
    res['curve, all points'] = (z, y), call(curve, drop_intermediate=False), 1e-12
    res['curve, weights'] = (z, y, weights(len(y))), call(curve, drop_intermediate=False), 1e-12
    res['curve, ignore_index'] = (z, void), call(curve, ignore_index=9), 1e-12
    for name,data in (('', (z, y)), (', weights', (z, y, weights(len(y)))), (', infinities', (infinite, y)), (', NaN', (z.where(z < 2, torch.nan), y))):
        res[f'average precision{name}'] = data, precision, 1e-12
        if name in ('', ', weights'): res[f'precision-recall curve{name}'] = data, call(curve, kind=pr_curve), 1e-12
    for average in 'macro','micro','weighted','samples',None: res[f'average precision, 7 labels, {average}'] = labels, call(precision, average=average), 1e-12
    res['average precision, 7 classes, logits'] = many, call(precision, activation='softmax'), 1e-12
    res['average precision, ignore_index'] = (z, void), call(precision, ignore_index=9), 1e-12
    other = rows(20_000, seed=5)[0] + z
    for method in 'wald','logit': res[f'interval, {method}'] = (z, y), call(auroc_ci, method=method), 1e-12
    res['interval, ignore_index'] = (z, void), call(auroc_ci, ignore_index=9), 1e-12
    res['comparison'] = (z, other, y), compare_auroc, 1e-9
    res['comparison, ignore_index'] = (z, other, void), call(compare_auroc, ignore_index=9), 1e-9
    return res

def interval_cases():
    "Columns with `ci`: a binary task by DeLong's variance, the others by samples that are drawn on the CPU"
    one,seven = rows(1_000, 2),rows(1_000, 7)
    sites = [f'site {i % 5}' for i in range(1_000)]
    exact = [('two logits', one, {}), ('max_fpr', one, dict(max_fpr=.2)), ('min_tpr', one, dict(min_tpr=.8)), ('7 classes', seven, {})]
    exact += [(f'7 classes, {o}', seven, dict(average=o)) for o in ('weighted', 'micro')] + [('7 classes, one-vs-one', seven, dict(multi_class='ovo'))]
    exact += [('ignore_index', seven, dict(ignore_index=2)), ('7 labels', _many_labels(1_000, 7), {})]
    exact += [(f'groups, {o}', one, dict(groups=sites, group_average=o)) for o in ('macro', 'weighted', 'pairs', 'min')]
    exact += [('average precision', one, dict(kind=EpochAveragePrecision)), ('average precision, 7 classes', seven, dict(kind=EpochAveragePrecision))]
    return {f'column, interval, {name}': (data, call(column, ci=True, **kwargs), 1e-12) for name,data,kwargs in exact}

def option_cases():
    "Columns with options: groups, one of several outputs, above a true positive rate, average precision"
    two,seven,void = rows(5_000, 2),rows(5_000, 7),rows(5_000, 3)
    sites = [None if i % 11 == 0 else f'site {i % 5}' for i in range(5_000)]
    ap = dict(kind=EpochAveragePrecision)
    res = {f'groups, {o}': (two, dict(groups=sites, group_average=o)) for o in ('macro', 'weighted', 'pairs', 'min')}
    res['groups, ignore_index'] = (void[0][:,:2], void[1]), dict(groups=sites, ignore_index=2)
    res['groups, of one class'] = two, dict(groups=two[1].tolist())
    res['groups, half precision'] = rows(5_000, 2, dtype=torch.float16), dict(groups=list(range(50))*100)
    for k,data in ((2, two), (7, seven)): res[f'min_tpr, {k}'] = data, dict(min_tpr=.8)
    res['min_tpr, not standardised'] = two, dict(min_tpr=.8, standardize=False)
    for name,kind in (('AUROC', EpochAUROC), ('average precision', EpochAveragePrecision)):
        res[f'select by number, {name}'] = two, dict(select=1, wrap=two_heads, kind=kind)
        res[f'select by key, {name}'] = two, dict(select='own', wrap=named_heads, kind=kind)
        res[f'select by function, {name}'] = two, dict(select=own_head, wrap=named_heads, kind=kind)
    res['select and groups'] = two, dict(select=1, wrap=two_heads, groups=sites)
    res['average precision'] = two, ap
    res['average precision, half precision'] = rows(5_000, 2, dtype=torch.float16), ap
    for o in 'macro','weighted','micro': res[f'average precision, 7 classes, {o}'] = seven, dict(average=o, **ap)
    for o in 'macro','micro','samples': res[f'average precision, 7 labels, {o}'] = _many_labels(5_000, 7), dict(average=o, **ap)
    res['average precision, ignore_index'] = seven, dict(ignore_index=2, **ap)
    return {f'column, {name}': (data, call(column, **kwargs), 1e-12) for name,(data,kwargs) in res.items()}

def column_cases():
    "Columns and streaming metrics, in batches"
    res = option_cases() | interval_cases()
    two,seven,one = rows(5_000, 2),rows(5_000, 7),rows(5_000)
    exact = [('two logits', two, {}), ('7 classes', seven, {}), ('7 classes, micro', seven, dict(average='micro'))]
    exact += [('7 classes, one-vs-one', seven, dict(multi_class='ovo')), ('max_fpr', two, dict(max_fpr=.1)), ('interval', two, dict(ci=True))]
    exact += [('ignore_index', seven, dict(ignore_index=2)), ('half precision', rows(5_000, 2, dtype=torch.float16), {})]
    for name,data,kwargs in exact: res[f'column, {name}'] = data, call(column, **kwargs), 1e-12
    for name,data,kwargs in (('two logits', two, {}), ('7 classes', seven, {}), ('7 classes, micro', seven, dict(average='micro')), ('ignore_index', seven, dict(ignore_index=2))):
        res[f'column, bits, {name}'] = data, call(column, thresholds='bits', **kwargs), 1e-6
    res['column, 200 thresholds'] = two, call(column, thresholds=200), 1e-6
    res['streaming, bits'] = one, call(streamed, thresholds='bits'), 1e-12
    res['streaming, bits, weights'] = (*one, weights(5_000)), call(streamed, thresholds='bits'), 1e-9
    res['streaming, 200 thresholds'] = one, streamed, 1e-6
    for shape in 'PR','PRGAIN': res[f'streaming, {shape}'] = one, call(streamed, curve=shape), 1e-6
    res['streaming, 7 labels'] = _many_labels(5_000, 7), call(streamed, multi_label=True), 1e-6
    res['streaming, 7 labels, bits'] = _many_labels(5_000, 7), call(streamed, multi_label=True, thresholds='bits'), 1e-9
    return res

losses = {'AUM':AUMLoss, 'AUM macro':lambda: AUMLoss(average='macro'), 'dice':SoftDiceLoss, 'AUROC':AUROCLoss,
    'AUROC, T = 0.1':lambda: AUROCLoss(temperature=.1), 'squared hinge':SquaredHingeAUCLoss, 'partial area, FPR':lambda: PartialAUCLoss(max_fpr=.3),
    'partial area, TPR':lambda: PartialAUCLoss(min_tpr=.5), 'partial hinge':lambda: PartialAUCLoss(max_fpr=.3, surrogate='squared_hinge'),
    'smooth average precision':AveragePrecisionLoss}
batches = (64, 2), (1024, 2), (4096, 2), (64, 10), (256, 100)

def loss_cases():
    res = {}
    for name,make in losses.items():
        for n,k in batches: res[f'{name}, {n} × {k}'] = rows(n, k), LossAndGradient(make()), 2e-5
        res[f'{name}, one column'] = rows(256), LossAndGradient(make()), 2e-5
        res[f'{name}, ties'] = rows(256, 2, ties=True), LossAndGradient(make()), 2e-5
    return res

def pixels(n, k, size=16):
    "Images of so many classes, and the class of each pixel"
    z,y = rows(n*size*size, k)
    return z.reshape(n, size, size, k).movedim(-1, 1).contiguous(),y.reshape(n, size, size)

def loss_option_cases():
    "Losses with options, as they are and with one number a row"
    w,four,images = [1., .5, 2., 0.],rows(256, 4),pixels(4, 3)
    void = images[0],images[1].where(images[1] > 0, 255)
    makers = {f'{name}, weight':(four, partial(kind, weight=w, **options)) for name,kind,options in [('AUROC', AUROCLoss, {}),
        ('squared hinge', SquaredHingeAUCLoss, {}), ('AUM', AUMLoss, dict(average='macro')), ('dice', SoftDiceLoss, {}),
        ('partial area, FPR', PartialAUCLoss, dict(max_fpr=.3)), ('partial area, TPR', PartialAUCLoss, dict(min_tpr=.5)),
        ('smooth average precision', AveragePrecisionLoss, {})]}
    makers |= {f'{name}, ignore_index':(four, partial(kind, ignore_index=2, **options)) for name,kind,options in [
        ('partial area, FPR', PartialAUCLoss, dict(max_fpr=.3)), ('partial area, TPR', PartialAUCLoss, dict(min_tpr=.5)),
        ('smooth average precision', AveragePrecisionLoss, {})]}
    for name,options in {'no background':dict(include_background=False), 'per image':dict(per_sample=True), 'no squares':dict(square=False, smooth=0),
        'no background, per image':dict(include_background=False, per_sample=True), 'no background, weight':dict(include_background=False, weight=[1., 3.]),
        'per image, weight':dict(per_sample=True, weight=[0., 1., 3.])}.items():
        makers[f'dice, {name}'] = images,partial(SoftDiceLoss, **options)
        makers[f'dice, {name}, void'] = void,partial(SoftDiceLoss, ignore_index=255, **options)
    def entropy(reduction='mean', weight=None): return nn.CrossEntropyLoss(reduction=reduction, weight=None if weight is None else torch.tensor(weight))
    def mixed(*others, reduction='mean', weight=None, **kwargs):
        res = MixedLoss(entropy(weight=weight), *others, **kwargs)
        res.reduction = reduction
        return res
    makers['mixture'] = four,partial(mixed, AUROCLoss(), weights=(1, .5))
    makers['mixture, weight'] = four,partial(mixed, AUROCLoss(weight=w), SquaredHingeAUCLoss(weight=w), weight=w, weights=torch.tensor([1., .5, .25]))
    makers['mixture of all'] = rows(256, 2),partial(mixed, AUMLoss(), SoftDiceLoss(), AveragePrecisionLoss(), PartialAUCLoss(max_fpr=.3))
    makers['mixture, images'] = images,partial(mixed, SoftDiceLoss(include_background=False))
    return {f'{name}, {reduction}': (data, LossAndGradient(make(reduction=reduction)), 2e-5) for name,(data,make) in makers.items()
        for reduction in ('mean', 'none')}

def all_cases(): return score_cases() | column_cases() | loss_cases() | loss_option_cases()

def flat(x):
    "All numbers of tensors, floats and lists of both, float64 tensors on the CPU"
    if callable(x): return flat(x())
    if isinstance(x, torch.Tensor): return [x.detach().cpu().double()]
    if isinstance(x, (list, tuple)): return [o for i in x for o in flat(i)]
    return [torch.tensor(float(x), dtype=torch.float64)]

def distance(got, want):
    "How far numbers are apart, over the largest wanted one; infinite where shapes or NaNs differ"
    if [o.shape for o in got] != [o.shape for o in want]: return float('inf')
    worst = 0.
    for a,b in zip(got, want):
        same = (a == b) | (a.isnan() & b.isnan())
        if same.all(): continue
        gap = (a-b).abs()[~same].max().item()
        worst = max(worst, gap/b[b.isfinite()].abs().max().clamp(min=1e-300).item() if gap == gap else float('inf'))
    return worst

def check(inputs, f, device):
    "Distance of the device's numbers from the CPU's, and what it waited for"
    move = getattr(f, 'to', lambda device: None)  # of what has tensors of its own
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        move('cpu')
        want = flat(f(*inputs))
        inputs = [x.to(device) for x in inputs]
        move(device)
        with no_waiting(device != 'cpu') as waits:
            got = f(*inputs)
            if device != 'cpu': torch.cuda.set_sync_debug_mode('warn')
            if callable(got): got = got()
        return distance(flat(got), want),waits

# --- Measuring ---

class Clock:
    "Seconds of a call, of the device by events, and bytes that it takes at the most"
    def __init__(self, device): self.device = device

    def once(self, f):
        if self.device == 'cpu':
            start = time.perf_counter()
            f()
            return time.perf_counter()-start
        start,end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        f()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)/1000

    def median(self, f, budget=.25, most=100):
        for _ in range(2): took = self.once(f)
        return median(self.once(f) for _ in range(max(3, min(most, int(budget/max(took, 1e-6))))))

    def peak(self, f):
        "Bytes beyond those that are there"
        if self.device == 'cpu': return 0
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        res = f()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

def seconds(t): return '–' if t is None else f'{t*1e6:.0f} µs' if t < 1e-3 else f'{t*1e3:.2f} ms' if t < 1 else f'{t:.2f} s'

def table(head, lines):
    lines = [head, ['---']*len(head), *lines]
    return '\n'.join('| ' + ' | '.join(map(str, o)) + ' |' for o in lines) + '\n'

def say(*args): print(*args, flush=True)

def attempt(f, *args):
    "What `f` returns; None where it raises, with the traceback on the screen"
    try: return f(*args)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        if torch.cuda.is_available(): torch.cuda.empty_cache()

# --- Parts: each returns a piece of the page ---

def part_numbers(device, quick):
    "Every number against the CPU"
    wrong,worst,waited = [],{},{}
    cases = all_cases()
    for name,(inputs,f,tolerance) in cases.items():
        res = attempt(check, inputs, f, device)
        kind = name.split(',')[0]
        if res is None or not res[0] <= tolerance:
            wrong.append([name, 'raised' if res is None else f'{res[0]:.0e}', f'{tolerance:.0e}'])
            say('WRONG', *wrong[-1])
        if res is None: continue
        worst[kind] = max(worst.get(kind, 0), res[0])
        waited[kind] = max(waited.get(kind, (0, 0)), (res[1].reads, res[1].later))
    text = f'{len(cases)} cases, {len(cases)-len(wrong)} as on the CPU.\n\n'
    text += table(['kind', 'largest difference', 'reads by `read_once`', 'other waits, all after the rows are in'], [[k, f'{v:.0e}', *waited[k]] for k,v in worst.items()])
    return text + ('\nNot as on the CPU:\n\n' + table(['case', 'difference', 'allowed'], wrong) if wrong else '')

def library(name):
    "A module, or None where it is not installed"
    try: return import_module(name)
    except ImportError: say(f'{name} is not installed')

def peers(kind, z, y, w=None):
    "What other libraries do, by name, each a function of no arguments"
    tm,te,k = library('torchmetrics.functional.classification'),library('torcheval.metrics.functional'),z.shape[-1]
    exact = dict(thresholds=None, validate_args=False)
    of_tm = dict(curve=lambda: tm.binary_roc(z, y, **exact), labels=lambda: tm.multilabel_auroc(z, y, k, **exact),
        classes=lambda: tm.multiclass_auroc(z, y, k, **exact), score=lambda: tm.binary_auroc(z, y, **exact))
    of_te = dict(labels=lambda: te.binary_auroc(z.T, y.T, num_tasks=k), classes=lambda: te.multiclass_auroc(z, y, num_classes=k),
        score=lambda: te.binary_auroc(z, y), weights=lambda: te.binary_auroc(z, y, weight=w))
    return {name:o[kind] for name,o,m in (('torchmetrics', of_tm, tm), ('torcheval', of_te, te)) if m and kind in o}

def probabilities(n, k=None, device='cpu', dtype=torch.float32):
    "Probabilities and labels, made on the device"
    y = torch.randint(0, k or 2, (n,), device=device)
    z = torch.randn(n, *([k] if k else []), device=device)
    if k: z.scatter_add_(1, y[:,None], torch.ones(n, 1, device=device))
    else: z += y
    return (z.softmax(-1) if k else z.sigmoid()).to(dtype),y

def exact_score(z, y, w, kind):
    "The area by NumPy and Python, float64 sums of pairs counted in integers; None for other kinds"
    if kind not in ('score', 'weights') or len(z) > 10**7: return None
    s,y = z.double().cpu().numpy(),y.cpu().numpy()
    w = np.ones(len(y)) if w is None else w.double().cpu().numpy()
    _,at = np.unique(s, return_inverse=True)
    p,q = (np.bincount(at, w*(y == c)).astype(np.longdouble) for c in (1, 0))
    return float((p*(2*q.cumsum()-q)).sum()/(2*p.sum()*q.sum()))

def error(f, want):
    "How far a number is from the exact one, as text; nothing where that is not known"
    if want is None: return ''
    off = abs(float(f()) - want)
    return '; exact' if off < 3e-16 else f'; off by {off:.0e}'

def score_work(quick):
    "Name, kind of peer, rows, columns, dtype, options"
    sizes = (10**4, 10**5) if quick else (10**4, 10**5, 10**6, 10**7, 10**8)
    most = sizes[-1] if quick else 10**7
    for n in sizes: yield f'score, {n:,}','score',n,None,torch.float32,{}
    for dtype in torch.float64,torch.float16,torch.bfloat16: yield f"score, {most:,}, {str(dtype)[6:]}",'score',most,None,dtype,{}
    yield f'score with weights, {most:,}','weights',most,None,torch.float32,dict(weighted=True)
    yield f'score up to max_fpr, {most:,}',None,most,None,torch.float32,dict(max_fpr=.1)
    for n,k in ((1000, 10), (500, 100)) if quick else ((10**6, 10), (50_000, 1000)):
        yield f'{k:,} classes, {n:,}','classes',n,k,torch.float32,{}
        yield f'{k:,} labels, {n:,}','labels',n,k,torch.float32,dict(labels=True)
    n = 1000 if quick else 10**6
    yield f'10 classes, {n:,}, micro',None,n,10,torch.float32,dict(average='micro')
    yield f'10 classes, {n:,}, one-vs-one',None,n,10,torch.float32,dict(multi_class='ovo')
    for n in sizes[1:4]: yield f'curve, {n:,}','curve',n,None,torch.float32,dict(f=roc_curve)
    yield f'interval, {most:,}',None,most,None,torch.float32,dict(f=auroc_ci)

def part_scores(device, quick):
    "Time and memory of the scorers"
    clock,lines = Clock(device),[]
    def line(name, kind, n, k, dtype, options):
        options = dict(options)
        z,y = probabilities(n, k, device, dtype)
        if options.pop('labels', False): y = (torch.rand(z.shape, device=device) < .2).long()
        w = torch.rand(n, device=device) if options.pop('weighted', False) else None
        f = options.pop('f', auroc_score)
        if w is not None: options['sample_weight'] = w
        def ours(): return f(z, y, **options)
        took = clock.median(ours)
        theirs = peers(kind, z, y, w)
        other = {name:attempt(clock.median, g) for name,g in theirs.items()}
        by_sort = clock.median(lambda: z.T.contiguous().sort(-1) if k else z.sort())
        rows = n*(k or 1)
        memory = [clock.peak(o)/rows for o in (ours, lambda: z.sort())]
        want = exact_score(z, y, w, kind)
        def against(t): return '–' if t is None else f'{seconds(t)}, **{t/took:.1f} ×**'
        def peer(name): return against(other[name]) + error(theirs[name], want) if other.get(name) else '–'
        lines.append([name, seconds(took) + error(ours, want), against(by_sort), peer('torchmetrics'), peer('torcheval'), *(f'{o:.0f}' for o in memory)])
        say(lines[-1])

    for o in score_work(quick): attempt(line, *o)
    return table(['work', 'ours', 'torch.sort', 'torchmetrics', 'torcheval', 'ours, bytes a score', 'torch.sort, bytes'], lines)

def part_batches(device, quick):
    "What a batch costs, on the CPU's side and on the device's"
    tmm,tem = library('torchmetrics.classification'),library('torcheval.metrics')
    clock,lines,count = Clock(device),[],50 if quick else 1000
    for size in (64, 1024, 65_536):
        z = torch.randn(size, 2, device=device)
        y = torch.randint(0, 2, (size,), device=device)
        tm = tmm and tmm.BinaryAUROC(thresholds=None, validate_args=False)
        te = tem and tem.BinaryAUROC()
        kept,bits,cuts = EpochAUROC(),EpochAUROC(thresholds='bits'),EpochAUROC(thresholds=200)
        work = {'kept':lambda: kept.add(z, y), 'bits':lambda: bits.add(z, y), '200 thresholds':lambda: cuts.add(z, y),
            'torchmetrics':tm and (lambda: tm.update(z.softmax(-1)[:,1], y)), 'torcheval':te and (lambda: te.update(z.softmax(-1)[:,1], y))}
        took = {}
        n = max(1, min(count, 4*10**7//size))
        def of_many(f):
            def several():
                for _ in range(n): f()
            several()
            return clock.once(several)/n
        for name,f in work.items(): took[name] = attempt(of_many, f) if f else None
        lines.append([f'{size:,}', *(seconds(o) for o in took.values())])
        say(lines[-1])
    return table(['rows of a batch', *took], lines)

def naive_pairs(z, y):
    "1 - the smooth AUROC, over all pairs, as it is often written"
    s = z[:,1] - z[:,0]
    return torch.sigmoid(s[y == 0] - s[y == 1][:,None]).mean()

def part_losses(device, quick):
    "Time of the losses, forward and backward"
    clock,lines = Clock(device),[]
    for n,k in batches:
        z,y = (x.to(device) for x in rows(n, k))
        z.requires_grad_()
        def backward(loss):
            def f():
                z.grad = None
                loss(z, y).backward()
            return f
        took = {name:attempt(clock.median, backward(make())) for name,make in losses.items()}
        took['cross-entropy'] = clock.median(backward(cross_entropy))
        took['naive pairs'] = attempt(clock.median, backward(naive_pairs)) if k == 2 else None
        lines.append([f'{n:,} × {k}', *(seconds(o) for o in took.values())])
        say(lines[-1])
    return table(['batch', *took], lines)

def part_training(device, quick):
    "An epoch of a real Learner with and without the column"
    import pandas as pd
    from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, RandomSplitter, TabularDataLoaders
    from fastai.tabular.all import accuracy, noop, range_of, set_seed, tabular_learner
    from fastai_auroc.metric import AUROC
    from sklearn.metrics import roc_auc_score
    set_seed(0)
    df = pd.read_csv(root/'fastai_auroc/data/adult.csv.gz', index_col=0, skipinitialspace=True).head(2000 if quick else None)
    splits = RandomSplitter(seed=0)(range_of(df))
    with tempfile.TemporaryDirectory() as folder:
        dls = TabularDataLoaders.from_df(df, path=folder, procs=[Categorify, FillMissing, Normalize], cat_names=['workclass', 'education', 'marital-status', 'occupation'],
            cont_names=['age', 'education-num', 'hours-per-week'], y_names='income', y_block=CategoryBlock(), valid_idx=list(splits[1]), bs=256, device=torch.device(device))
        learners = {'accuracy':[accuracy], 'and AUROC()':[accuracy, AUROC()], "and AUROC(thresholds='bits')":[accuracy, AUROC(thresholds='bits')]}
        learners = {name:tabular_learner(dls, layers=[200, 100], metrics=metrics) for name,metrics in learners.items()}
        took,took_valid,values = {k:[] for k in learners},{k:[] for k in learners},{}
        def seconds_of(f):
            if device != 'cpu': torch.cuda.synchronize()
            start = time.perf_counter()
            f()
            if device != 'cpu': torch.cuda.synchronize()
            return time.perf_counter()-start
        for i in range(2 if quick else 11):
            for name,learn in random.Random(i).sample(sorted(learners.items()), len(learners)):
                with learn.no_bar(), learn.no_logging():
                    epoch = seconds_of(lambda: learn.fit(1))
                    valid = seconds_of(learn.validate)
                if i: took[name].append(epoch),took_valid[name].append(valid)
                values[name] = learn.recorder.values[-1][-1]
            say(f'epoch {i}', {k: f'{o[-1]:.3f} s' for k,o in took.items() if o}, values)
        learn = learners['and AUROC()']
        with learn.no_bar(), learn.no_logging():
            z,y = learn.get_preds(act=noop)
            column = learn.validate()[-1]
        sk = roc_auc_score(y.flatten().cpu(), (z[:,1].double()-z[:,0].double()).cpu())
    def spread(x): return f'{seconds(median(x))} ({seconds(sorted(x)[len(x)//4])} to {seconds(sorted(x)[-1-len(x)//4])})'
    def beside(x, base): return f'{100*(median(a/b for a,b in zip(x, base))-1):+.1f} %'
    def cells(k): return spread(took[k]),beside(took[k], took['accuracy']),spread(took_valid[k]),beside(took_valid[k], took_valid['accuracy'])
    found = table(['metrics', 'epoch', 'beside accuracy alone', 'validation', 'beside accuracy alone'], [[k, *cells(k)] for k in learners])
    return f'{found}\nThe column: {column:.16f}, scikit-learn\'s roc_auc_score of the same outputs: {sk:.16f}.\n'

def worker(rank, world, backend, meeting):
    "One of several processes, each with a part of the rows: prints a line of JSON"
    import torch.distributed as dist
    cuda = torch.cuda.is_available()
    if cuda: torch.cuda.set_device(rank % torch.cuda.device_count())
    device = 'cuda' if cuda else 'cpu'
    where = dict(device_id=torch.device('cuda', torch.cuda.current_device())) if backend == 'nccl' else {}
    dist.init_process_group(backend, init_method=f'file://{meeting}', rank=rank, world_size=world, **where)
    z,y = rows(10_001, 2)
    mine = slice(rank*len(y)//world, (rank+1)*len(y)//world)
    res = {}
    for name,options in dict(kept={}, bits=dict(thresholds='bits')).items():
        alone,shared = EpochAUROC(**options),EpochAUROC(**options)
        alone.add(z, y)
        for batch in zip(*(x[mine].to(device).split(64) for x in (z, y))):
            shared.add(*batch)
            shared._epoch.share()
        res[name] = shared.compute(),alone.compute()
    s = torch.randn(10**6, device=device)
    counts = BitBuckets()
    counts.add(s, s > 0)
    for name,f in dict(gather=lambda: gather_rows(s, s > 0), add=lambda: all_reduce_sum(counts.counts)).items():
        f()
        dist.barrier()
        start = time.perf_counter()
        f()
        if cuda: torch.cuda.synchronize()
        res[name] = time.perf_counter()-start
    say(json.dumps(res))
    dist.destroy_process_group()

def run_world(world, backend):
    env = {**os.environ, 'GLOO_SOCKET_IFNAME':'lo', 'NCCL_SOCKET_IFNAME':'lo', 'PYTHONPATH':os.pathsep.join([str(root), *sys.path])}
    with tempfile.TemporaryDirectory() as folder:
        args = [sys.executable, '-W', 'ignore', __file__, '--worker']
        started = [subprocess.Popen([*args, f'{rank},{world},{backend},{folder}/meeting'], env=env, stdout=subprocess.PIPE, text=True) for rank in range(world)]
        try: said = [o.communicate(timeout=120)[0] for o in started]
        finally:
            for o in started: o.kill()
    return [json.loads(o.strip().splitlines()[-1]) for o in said]

def part_processes(device, quick):
    "The column of several processes"
    import torch.distributed as dist
    devices = torch.cuda.device_count()
    worlds = [(2, 'gloo')]
    if device != 'cpu' and dist.is_nccl_available(): worlds += [(min(devices, 8), 'nccl')]
    lines = []
    for world,backend in worlds:
        got = attempt(run_world, world, backend)
        if got is None: lines.append([backend, world, 'failed', '', '', ''])
        else:
            equal = ['yes' if all(o[k][0] == o[k][1] for o in got) else f'{got[0][k]}' for k in ('kept', 'bits')]
            lines.append([backend, world, *equal, *(seconds(max(o[k] for o in got)) for k in ('gather', 'add'))])
        say(lines[-1])
    note = '' if devices > 1 else '\nThere was one device, which NCCL does not let two processes share: two processes spoke over gloo, NCCL ran with one.\n'
    return table(['backend', 'processes', 'kept: as one process', 'bits: as one process', 'gather 10⁶ scores and labels of each', 'add 2²⁰ counts'], lines) + note

parts = dict(Numbers=part_numbers, Scores=part_scores, Batches=part_batches, Losses=part_losses, Training=part_training, Processes=part_processes)
about = dict(
    Numbers="""
Each call ran on the CPU and on the device, there under `torch.cuda.set_sync_debug_mode('error')` up to the read at the end. A difference is relative to the
largest number of a result; AUROCs without weights are allowed none.""",
    Scores="""
One call with its read, float32 probabilities unless said otherwise, medians by CUDA events; in bold how many times as long as ours. Behind the time of a binary
score, how far it is from the exact number (pairs counted in integers; with weights sums in extended precision): exact is below 3e-16. Memory: most bytes
allocated during the call, for each score.""",
    Batches="""
What a batch of two float32 logits costs, many in a row, the device's work included. torchmetrics and torcheval get the softmax of the second column.""",
    Losses='Forward and backward, medians by CUDA events.',
    Training="""
A tabular Learner on the Adult data, batches of 256; ten epochs of each, in turn and in an order drawn anew: medians, in brackets the quartiles; the median of the
ratios to the same round of accuracy alone.""",
    Processes='The column of rows in several processes, compared with one process that has them all.')

def installed(name):
    try: return f'{name} {version(name)}'
    except PackageNotFoundError: return f'{name}: not there'

def machine():
    card = torch.cuda.get_device_properties(0)
    return [f'{card.name}, {card.total_memory/2**30:.0f} GB, {torch.cuda.device_count()} in all; CUDA {torch.version.cuda}',
        f'Python {platform.python_version()}, {", ".join(map(installed, ("torch", "numpy", "fastai", "torchmetrics", "torcheval", "scikit-learn")))}',
        f'{date.today()}, `python benchmarks/gpu.py`']

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=root/'benchmarks/results/gpu.md', help='file to write (benchmarks/results/gpu.md)')
    parser.add_argument('--only', nargs='+', choices=parts, default=list(parts), help='which parts to run')
    parser.add_argument('--dry-run', action='store_true', help='run small work on the CPU, to see that all of this runs; writes nothing')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        rank,world,*rest = args.worker.split(',')
        return worker(int(rank), int(world), *rest)
    if not (args.dry_run or torch.cuda.is_available()): return say(no_device)
    device = 'cpu' if args.dry_run else 'cuda'
    text = '' if args.dry_run else '# On a GPU\n\n' + '\n'.join(f'- {o}' for o in machine())
    say(text)
    for name in args.only:
        start = time.perf_counter()
        found = attempt(parts[name], device, args.dry_run)
        say(f'\n## {name}\n\n{about[name].strip()}\n\n{found}\n({time.perf_counter()-start:.0f} s)')
        text += f'\n\n## {name}\n\n{about[name].strip()}\n\n{found or "This part failed."}'.rstrip()
        if args.dry_run: continue
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + '\n', encoding='utf-8')

if __name__ == '__main__': main()
