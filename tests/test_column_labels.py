"Labels of every integer dtype and size are what they are in scikit-learn; batches may differ in dtype."
import numpy as np, pytest, torch
from functools import partial
from types import SimpleNamespace
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from torch import nn
from fastai_auroc.metric import AUROC

pytestmark = pytest.mark.usefixtures('one_thread')
close = partial(pytest.approx, rel=0, abs=1e-12)

@pytest.fixture(scope='module')
def binary(adult):
    "Two outputs made of hours and age, and whether the income is high, 500 people"
    df = adult.sample(500, random_state=1)
    return torch.tensor(df[['hours-per-week', 'age']].to_numpy('float32')),(df.income == '>50K').to_numpy()

def margin(outputs): return (outputs[:,1].double() - outputs[:,0].double()).numpy()

def value(outputs, targets, **kwargs):
    "The column's value of batches of uneven sizes; of a list of targets, each is a batch"
    sizes = [len(o) for o in targets] if isinstance(targets, list) else [1, 200, 7, 2, len(targets)-210]
    targets = targets if isinstance(targets, list) else targets.split(sizes)
    auroc = AUROC(**kwargs)
    for outputs,y in zip(outputs.split(sizes), targets): auroc.accumulate(SimpleNamespace(pred=outputs, y=y))
    return auroc.value

pairs = [(0, 40_000), (0, 65_535), (-40_000, 0), (0, 65_536), (-1, 65_535), (32_768, 65_536), (0, 2**31),
    (-2**40, 2**40), (-2**63, 2**63-1), (7, 8)]

@pytest.mark.parametrize('low,high', pairs)
@pytest.mark.parametrize('shape', ['(n,)', '(n,1)', 'one output'])
def test_pairs_of_labels(low, high, shape, binary):
    "Any two whole numbers: the larger is positive"
    outputs,rich = binary
    y = torch.tensor(np.where(rich, high, low))
    if shape == 'one output': got = value(outputs[:,1], y)
    else: got = value(outputs, y[:,None] if shape == '(n,1)' else y)
    assert got == close(roc_auc_score(rich, outputs[:,1] if shape == 'one output' else margin(outputs)))

@pytest.mark.parametrize('high', [1, 40_000, 65_535])
@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'float32',
    'float64'])
def test_dtypes(dtype, high, binary):
    outputs,rich = binary
    if dtype in ('uint8', 'int16'): high = min(high, 200)
    y = torch.tensor(np.where(rich, high, 0).astype(dtype))
    assert value(outputs, y) == close(roc_auc_score(rich, margin(outputs)))

@pytest.mark.parametrize('label,ignore', [(65_436, -100), (-100, 65_436), (32_768, -32_768), (65_791, 255),
    (2**32 - 100, -100), (2**32 + 1, 1)])
def test_a_label_that_wraps_to_the_ignored_one(label, ignore, binary):
    "Only rows of `ignore_index` itself are left out"
    outputs,rich = binary
    for ignored in False,True:
        y = np.where(rich, max(label, 0), min(label, 0))
        if ignored: y[::3] = ignore
        kept = y != ignore
        want = roc_auc_score(y[kept] == y[kept].max(), margin(outputs)[kept])
        assert value(outputs, torch.tensor(y), ignore_index=ignore) == close(want)

@pytest.mark.parametrize('thresholds', [None, 30])
@pytest.mark.parametrize('dtype,label,ignore', [('uint8', 156, -100), ('uint8', 44, 300), ('int16', 4464, 70_000),
    ('int8', 100, 356)])
def test_ignored_label_beyond_the_dtype(dtype, label, ignore, thresholds, binary):
    "A label that the dtype cannot hold occurs nowhere"
    outputs,rich = binary
    y = np.where(rich, max(label, 0), min(label, 0)).astype(dtype)
    s = margin(outputs)
    if thresholds: s = np.searchsorted(np.log(p := np.arange(1, 29)/29) - np.log1p(-p), s)
    assert value(outputs, torch.tensor(y), ignore_index=ignore, thresholds=thresholds) == close(roc_auc_score(rich, s))

kinds = dict(growing='uint8 int16 int32 int64', shrinking='int64 int32 uint8', unsigned='uint16 uint32 int16 uint8',
    widest='uint64 int64 uint16', floats='int64 float32 float16 uint16', bools='bool int64 uint8 bool')

@pytest.mark.parametrize('kind', kinds)
def test_dtype_changes_between_batches(kind, binary):
    outputs,rich = binary
    parts = zip(np.split(rich.astype(int), [100, 101, 300, 400]), kinds[kind].split()*2)
    targets = [torch.tensor(o.astype(dtype)) for o,dtype in parts]
    assert value(outputs, targets) == close(roc_auc_score(rich, margin(outputs)))

def test_large_labels_beside_floats(binary):
    "2**24 and 2**24 + 1 are one number in float32, which PyTorch would promote to"
    outputs,rich = binary
    y = np.where(rich, 2**24 + 1, 2**24)
    assert (y[:100] == 2**24).any() and (y[:100] > 2**24).any()
    parts = [torch.tensor(y[:200]), torch.tensor(y[200:]).double()]
    assert value(outputs, parts) == close(roc_auc_score(rich, margin(outputs)))
    zero = [torch.tensor(y[:200]), torch.zeros(300)]
    with pytest.warns(UserWarning, match='targets must be of two different values'): assert np.isnan(value(outputs,
        zero))

def test_read_in_between(binary):
    "After a value was read, later batches of another dtype still count"
    outputs,rich = binary
    auroc = AUROC()
    for part,dtype in (slice(0, 200), 'uint16'),(slice(200, 300), 'int64'),(slice(300, 500), 'uint32'):
        y = np.where(rich, 65_535, 0)[part].astype(dtype)
        auroc.accumulate(SimpleNamespace(pred=outputs[part], y=torch.tensor(y)))
        assert auroc.value == close(roc_auc_score(rich[:part.stop], margin(outputs)[:part.stop]))

@pytest.mark.parametrize('dtype', ['int64', 'int32', 'uint32'])
def test_seventy_thousand_classes(dtype):
    "Class numbers beyond 2**16 stay what they are"
    rng = np.random.default_rng(0)
    k,which = 70_000,np.array([0, 1, 4_464, 32_768, 65_535, 65_536, 69_999])
    y = rng.permutation(np.repeat(which, 6))
    z = rng.normal(size=(len(y), k)).astype(np.float32)
    z[np.arange(len(y)),y] += 1.5
    odds = z[:,which].astype(float)
    total = logsumexp(z.astype(float), 1, keepdims=True)
    odds = odds - total - np.log1p(-np.exp(odds - total))
    want = np.mean([roc_auc_score(y == c, odds[:,i]) for i,c in enumerate(which)])
    assert .6 < want < .99
    parts = [torch.tensor(o.astype(dtype)) for o in np.split(y, [10, 11, 30])]
    with pytest.warns(UserWarning, match='leaves columns out'): assert value(torch.tensor(z), parts) == close(want)

def test_in_a_learner(binary):
    "The table's number, epoch after epoch"
    outputs,rich = binary
    rows = list(zip(outputs/100, torch.tensor(np.where(rich, 40_000, -65_536))))
    dls = DataLoaders(DataLoader(rows[:100], bs=32), DataLoader(rows[100:], bs=32))
    learn = Learner(dls, nn.Linear(2, 2), loss_func=lambda o, y: o.square().mean(), metrics=AUROC(),
        cbs=AUROC(ci=True, name='b'))
    with learn.no_bar(), learn.no_logging():
        for _ in range(2):
            learn.fit(1)
            with torch.no_grad(): want = roc_auc_score(rich[100:], margin(learn.model(outputs[100:]/100)))
            assert list(learn.recorder.values[-1][2:4]) == close([want, want])

def test_kept_on_a_foreign_default_device(binary):
    "Rows stay where they are, whatever the default device"
    outputs,rich = binary
    auroc,y = AUROC(),torch.tensor(np.where(rich, 65_536, 0))
    torch.set_default_device('meta')
    try:
        for part in slice(0, 200),slice(200, 500):
            auroc.accumulate(SimpleNamespace(pred=outputs[part], y=y[part], loss_func=CrossEntropyLossFlat()))
    finally: torch.set_default_device(None)
    assert auroc.value == close(roc_auc_score(rich, margin(outputs)))
