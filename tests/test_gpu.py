"The cases of benchmarks/gpu.py: on a GPU each number is the CPU's or scikit-learn's and nothing waits before the read (marker `gpu`); elsewhere fake CUDA tensors show the latter."
import importlib.util, subprocess, sys, warnings
from pathlib import Path
import numpy as np, pytest, torch
from sklearn import metrics as skm
from torch import nn
from torch._subclasses import FakeTensorMode
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.groups import grouped_auroc
from fastai_auroc.losses import AUROCLoss, AveragePrecisionLoss, MixedLoss, PartialAUCLoss
from fastai_auroc.pr import average_precision, pr_curve
from fastai_auroc.roc import auroc_score, roc_curve

root = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('gpu', root/'benchmarks/gpu.py')
gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)
cases = gpu.all_cases()
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')

def on_gpu(test): return pytest.mark.gpu(needs_gpu(test))

@on_gpu
@pytest.mark.parametrize('name', cases)
def test_as_on_the_cpu(name):
    "The same number, without waiting for the device before `read_once`, which is called once at most"
    inputs,f,tolerance = cases[name]
    distance,waits = gpu.check(inputs, f, 'cuda')
    assert distance <= tolerance and waits.reads <= 2  # an interval beside a column's number is a read of its own

dtypes = torch.float64,torch.float32,torch.float16,torch.bfloat16,torch.int32,torch.uint8

@on_gpu
@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('dtype', dtypes, ids=str)
def test_as_scikit_learn(dtype, seed):
    "Scores with many ties, and their curve"
    rng = torch.Generator().manual_seed(seed)
    y = (torch.rand(3000, generator=rng) < (.5, .1, .01)[seed % 3]).long()
    y[:2] = torch.tensor([0, 1])
    z = ((torch.randn(3000, generator=rng) + y)*4 + 20).clamp(0, 60).to(dtype)
    w = torch.rand(3000, generator=rng, dtype=torch.float64)
    s,on = z.double().numpy(),[x.cuda() for x in (z, y, w)]
    assert auroc_score(on[0], on[1]) == pytest.approx(skm.roc_auc_score(y, s), abs=1e-14)
    assert auroc_score(on[0], on[1], max_fpr=.2) == pytest.approx(skm.roc_auc_score(y, s, max_fpr=.2), abs=1e-12)
    assert auroc_score(on[0], on[1], sample_weight=on[2]) == pytest.approx(skm.roc_auc_score(y, s, sample_weight=w), abs=1e-12)
    assert average_precision(on[0], on[1]) == pytest.approx(skm.average_precision_score(y, s), abs=1e-13)
    assert average_precision(on[0], on[1], sample_weight=on[2]) == pytest.approx(skm.average_precision_score(y, s, sample_weight=w), abs=1e-12)
    for got,want in zip(roc_curve(on[0], on[1]), skm.roc_curve(y, s)): assert np.allclose(got, want, rtol=0, atol=1e-14)
    for got,want in zip(pr_curve(on[0], on[1]), skm.precision_recall_curve(y, s)): assert np.allclose(got, want, rtol=0, atol=1e-14)
    pairs = (s[y == 1][:,None] > s[y == 0])*1. + (s[y == 1][:,None] == s[y == 0])*.5
    variance = pairs.mean(1).var(ddof=1)/pairs.shape[0] + pairs.mean(0).var(ddof=1)/pairs.shape[1]
    if y.sum() > 1: assert auroc_ci(on[0], on[1]).se == pytest.approx(variance**.5, rel=1e-10)

@on_gpu
@pytest.mark.parametrize('kwargs', [{}, dict(average='weighted'), dict(multi_class='ovo'), dict(average='micro')])
def test_classes_as_scikit_learn(kwargs):
    z,y = gpu.rows(2000, 5, ties=True)
    p = z.double().softmax(-1)
    want = skm.roc_auc_score(y, p, **dict(dict(multi_class='ovr'), **kwargs))
    assert auroc_score(p.cuda(), y.cuda(), **kwargs) == pytest.approx(want, abs=1e-12)

class Heads(nn.Module):
    "Three classes, and two"
    def __init__(self):
        super().__init__()
        self.three,self.two = nn.Linear(4, 3),nn.Linear(4, 2)

    def forward(self, x): return self.three(x),self.two(x)

class HeadsLoss(nn.Module):
    "A loss for each head, with weights that have to move"
    def __init__(self):
        super().__init__()
        w = [1., .5, 2.]
        self.three = MixedLoss(nn.CrossEntropyLoss(weight=torch.tensor(w)), AUROCLoss(weight=w), AveragePrecisionLoss(weight=w), weights=(1, .5, .5))
        self.two = MixedLoss(nn.CrossEntropyLoss(), PartialAUCLoss(min_tpr=.5))

    def forward(self, outputs, three, two): return self.three(outputs[0], three) + self.two(outputs[1], two)

@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=[pytest.mark.gpu, needs_gpu])])
def test_columns_of_a_learner(device):
    "Of both heads, of groups, above a true positive rate, with intervals: what the same outputs give on the CPU"
    pytest.importorskip('fastai.callback.progress')  # of `no_bar`
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai_auroc.metric import AUROC, AveragePrecision
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=rng)
    three,two = (x[:,0] + torch.randn(500, generator=rng)).clamp(-1, 1).round().long() + 1,(x[:,1] + torch.randn(500, generator=rng) > 0).long()
    items = list(zip(x, three, two))
    sites = [f'site {i % 4}' if i % 9 else None for i in range(200)]
    options = dict(a=dict(select=1), b=dict(select=0), c=dict(select=1, groups=sites), d=dict(select=1, min_tpr=.8), e=dict(select=1, max_fpr=.2))
    columns = [AUROC(name=k, **o) for k,o in options.items()] + [AveragePrecision(select=i, name=k) for i,k in enumerate('fg')]
    intervals = [AUROC(select=0, ci=True, name='h'), AUROC(select=1, groups=sites, ci=True, name='i'), AveragePrecision(select=1, ci=True, name='j')]
    dls = DataLoaders(*(DataLoader(o, bs=64, num_workers=0, device=torch.device(device)) for o in (items[:300], items[300:])), device=torch.device(device))
    dls.n_inp = 1
    model,kept = Heads(),[]
    def keep(model, inputs, outputs):
        if not model.training: kept.append([o.detach().cpu() for o in outputs])

    model.register_forward_hook(keep)
    learn = Learner(dls, model, loss_func=HeadsLoss(), metrics=columns, cbs=intervals)
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn.fit(2)
    assert not [str(o.message) for o in said if o.filename == 'fastai_auroc']
    got = dict(zip(list(learn.recorder.metric_names)[1:-1], learn.recorder.values[-1]))
    z3,z2 = map(torch.cat, zip(*kept[-4:]))
    y3,y2 = three[300:],two[300:]
    p = z3.double().softmax(1)
    margin = z2[:,1].double() - z2[:,0].double()
    of_groups = [i for i in range(200) if sites[i] is not None]
    def close(x): return pytest.approx(float(x), abs=1e-12)
    assert got['a'] == close(skm.roc_auc_score(y2, margin)) and got['b'] == got['h'] == close(skm.roc_auc_score(y3, p, multi_class='ovr'))
    assert got['c'] == got['i'] == close(grouped_auroc(margin[of_groups], y2[of_groups], [sites[i] for i in of_groups]))
    assert got['d'] == close(auroc_score(margin, y2, min_tpr=.8)) and got['e'] == close(skm.roc_auc_score(y2, margin, max_fpr=.2))
    assert got['f'] == close(np.mean([skm.average_precision_score(y3 == c, p[:,c]) for c in range(3)]))
    assert got['g'] == got['j'] == close(skm.average_precision_score(y2, margin))
    for name,column in zip('hij', intervals):
        alone = type(column)(**{**column.options(), 'select':None, 'activation':'softmax'})
        alone._epoch.order = column._epoch.order
        alone.add_tensors(*((z3, y3) if name == 'h' else (z2, y2)))
        assert got[f'{name}_ci'] == close(alone.score().half_width) and 0 < got[f'{name}_ci'] < .3

@on_gpu
def test_the_guard_can_fail():
    "CUDA raises where something waits before the read"
    x = torch.rand(10, device='cuda')
    with pytest.raises(RuntimeError, match='synchronizing'), gpu.no_waiting(): x.sum().item()
    assert x.sum().item() > 0  # and lets it afterwards

class Read(Exception):
    "A case has come to where it may wait"

@pytest.mark.parametrize('name', gpu.score_cases() | gpu.column_cases())  # tests/test_losses.py does so with losses
def test_fake_device_waits_for_nothing(name, monkeypatch):
    "With fake CUDA tensors: where values are looked at before the read, or sizes depend on them, PyTorch raises"
    def read(*tensors): raise Read
    for room in [m for k,m in sys.modules.items() if k.startswith('fastai_auroc.') and hasattr(m, 'read_once')]: monkeypatch.setattr(room, 'read_once', read)
    inputs,f,_ = cases[name]
    with warnings.catch_warnings(), FakeTensorMode():
        warnings.simplefilter('ignore')
        fakes = [torch.empty(x.shape, dtype=x.dtype, device='cuda') for x in inputs]
        if name.startswith(('score', 'curve', 'average', 'precision', 'interval', 'comparison', '7')):
            with pytest.raises(Read): f(*fakes)
        else: f(*fakes)  # a column or a metric before its result

def test_page_says_whether_it_was_run():
    "And without a GPU the script writes nothing"
    page = root/'benchmarks/results/gpu.md'
    text = page.read_text(encoding='utf-8')
    assert ('was not run' in text) != ('CUDA' in text.split('##')[0] and 'numpy' in text)
    if torch.cuda.is_available(): return
    done = subprocess.run([sys.executable, '-W', 'ignore', root/'benchmarks/gpu.py'], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and gpu.no_device in done.stdout and page.read_text(encoding='utf-8') == text
