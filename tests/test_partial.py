"Areas above a true positive rate, standardised and raw: against scikit-learn on the mirrored data, and against trapezoids of its curve cut by hand."
import itertools
from fractions import Fraction
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score, roc_curve as sk_curve
from torch._subclasses import FakeTensorMode
from fastai_auroc import counts
from fastai_auroc.roc import auroc_and_note, auroc_score
from test_device import HostRead, NoWaiting, rand, randint

pytestmark = pytest.mark.filterwarnings('error')
nan,inf = float('nan'),float('inf')
steady = settings(max_examples=150, deadline=None, derandomize=True)

@pytest.fixture(params=['fast', 'general'])
def path(request, monkeypatch):
    "The CPU's own way, and the one of any device"
    if request.param == 'general': monkeypatch.setattr(counts, '_count_cpu', lambda *args, **kwargs: None)
    return request.param

def raw_from(standardised, r): return r*r/2 + (r - r*r/2)*(2*standardised - 1)

def mirrored(y, s, min_tpr, sample_weight=None, average='macro'):
    "scikit-learn's standardised area of the task of finding the negatives among the lowest of float scores"
    return roc_auc_score(1-np.asarray(y), -np.asarray(s, np.float64), max_fpr=1-min_tpr, sample_weight=sample_weight, average=average)

def trapezoids(y, s, min_tpr, sample_weight=None):
    "The area right of scikit-learn's curve from the height `min_tpr` on"
    fpr,tpr,_ = sk_curve(y, s, sample_weight=sample_weight, drop_intermediate=False)
    area = 0.
    for x0,x1,y0,y1 in zip(fpr, fpr[1:], tpr, tpr[1:]):
        if y1 <= min_tpr or y1 == y0: continue
        if y0 < min_tpr: x0,y0 = x0 + (x1-x0)*(min_tpr-y0)/(y1-y0),min_tpr
        area += (y1-y0)*((1-x0) + (1-x1))/2
    return area

def isic_2024(truth, prediction, min_tpr=.8):
    "The metric of the competition as it was published"
    v_gt = abs(truth-1)
    v_pred = np.array([1.0-x for x in prediction])
    max_fpr = abs(1-min_tpr)
    partial_auc_scaled = roc_auc_score(v_gt, v_pred, max_fpr=max_fpr)
    return .5*max_fpr**2 + (max_fpr - .5*max_fpr**2)/(1.0-.5)*(partial_auc_scaled-.5)

finite = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0., -0., .25, .5, 1.])
rows = st.lists(st.tuples(finite, st.booleans(), st.integers(1, 9)), min_size=2, max_size=50)
rows = rows.filter(lambda r: len({y for _,y,_ in r}) == 2)

@steady
@given(rows, st.sampled_from([.999, .9, .8, .5, .123, 1e-3]), st.booleans(), st.sampled_from(['f4', 'f8']))
def test_any_binary_task(rows, min_tpr, weighted, dtype):
    s,y,w = (np.array(o) for o in zip(*rows))
    s,y,w = s.astype(dtype),y.astype(int),w/7 if weighted else None
    kwargs = dict(min_tpr=min_tpr, sample_weight=w)
    for general in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if general: patch.setattr(counts, '_count_cpu', lambda *args, **kwargs: None)
            raw,standardised = (auroc_score(s, y, standardize=o, **kwargs).item() for o in (False, True))
        assert raw == pytest.approx(trapezoids(y, s, min_tpr, w), abs=1e-12)
        assert standardised == pytest.approx(mirrored(y, s, min_tpr, w), abs=1e-9)
        assert raw == pytest.approx(raw_from(standardised, 1-min_tpr), abs=1e-12)

@pytest.mark.parametrize('seed', range(20))
def test_the_competition(seed, path):
    rng = np.random.default_rng(seed)
    y = (rng.random(500) < .05).astype(int)
    y[:2] = 0,1
    s = 1/(1+np.exp(3-2*y-rng.standard_normal(500)))
    if seed % 2: s = s.round(2)
    got = auroc_score(s, y, min_tpr=.8, standardize=False).item()
    assert 0 <= got <= .2 and got == pytest.approx(isic_2024(y, s), abs=1e-12)
    two = np.stack([1-s, s], 1)
    assert auroc_score(two, y, min_tpr=.8, standardize=False).item() == pytest.approx(got, abs=1e-12)

# -- per class --

def multiclass(seed, n=60, k=4, ties=False):
    rng = np.random.default_rng(seed)
    s,y = rng.dirichlet(np.ones(k), n),np.append(np.arange(k), rng.integers(0, k, n-k))
    return (s.round(1) if ties else s),y

def multilabel(seed, n=60, k=4, ties=False):
    rng = np.random.default_rng(seed)
    s,y = rng.random((n, k)),rng.integers(0, 2, (n, k))
    y[:2],y[:,0],y[:,1] = np.eye(2, dtype=int)[:,[0,1]*(k//2)],0,1   # both kinds in each column and row
    return (s.round(1) if ties else s),y

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('task', [multiclass, multilabel])
def test_averages(task, average, weighted, path):
    "Column by column, weighted by the positives of each, not by those of the mirrored task"
    for seed,ties,min_tpr in itertools.product(range(3), [False, True], [.1, .8]):
        s,y = task(seed, ties=ties)
        if task is multilabel: y[:,:2] = np.random.default_rng(seed+9).integers(0, 2, (len(y), 2))
        w = np.random.default_rng(seed).uniform(.1, 5, len(s)) if weighted else None
        hot = np.eye(s.shape[1], dtype=int)[y] if task is multiclass else y
        if average == 'micro': want = mirrored(hot.ravel(), s.ravel(), min_tpr, None if w is None else w.repeat(4))
        else:
            each = [mirrored(hot[:,c], s[:,c], min_tpr, w) for c in range(4)]
            support = hot.sum(0) if w is None else w @ hot
            want = each if average is None else np.average(each, weights=support if average == 'weighted' else None)
        got = auroc_score(s, y, activation='identity', average=average, min_tpr=min_tpr, sample_weight=w)
        assert got.tolist() == pytest.approx(np.asarray(want).tolist(), abs=1e-9)

@pytest.mark.parametrize('standardize', [False, True])
def test_samples(standardize, path):
    s,y = multilabel(0)
    w = np.arange(1., len(s)+1)
    each = np.array([trapezoids(yi, si, .6) if not standardize else mirrored(yi, si, .6) for si,yi in zip(s, y)])
    kwargs = dict(average='samples', min_tpr=.6, standardize=standardize)
    assert auroc_score(s, y, **kwargs).item() == pytest.approx(each.mean(), abs=1e-9)
    assert auroc_score(s, y, sample_weight=w, **kwargs).item() == pytest.approx(np.average(each, weights=w), abs=1e-9)

@pytest.mark.parametrize('task', [multiclass, multilabel])
@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
def test_raw_areas_up_to_a_false_positive_rate(task, average, path):
    "The standardization of scikit-learn's number undone, column by column"
    s,y = task(3)
    if task is multilabel: y[:,:2] = np.random.default_rng(1).integers(0, 2, (len(y), 2))
    hot = np.eye(4, dtype=int)[y] if task is multiclass else y
    want = raw_from(roc_auc_score(hot, s, max_fpr=.3, average=average), .3)
    got = auroc_score(s, y, activation='identity', average=average, max_fpr=.3, standardize=False)
    assert got.tolist() == pytest.approx(np.asarray(want).tolist(), abs=1e-9)

# -- types of scores: none may be negated naively --

@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32', 'int64', 'float16', 'bfloat16', 'float32', 'float64'])
def test_any_dtype_with_its_extremes(dtype, path):
    "The least and the greatest number of each type, beside others"
    kind = getattr(torch, dtype)
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 2 if dtype == 'bool' else 7, 80)
    y = ((ranks + rng.integers(-2, 3, 80)) > (0 if dtype == 'bool' else 3)).astype(int)
    if dtype == 'bool': values = [False, True]
    elif kind.is_floating_point: values = [-inf, -1, -torch.finfo(kind).tiny, 0, torch.finfo(kind).tiny, 1, inf]
    else:
        low,high = torch.iinfo(kind).min,torch.iinfo(kind).max
        values = [low, low+1, low+2, low//2+high//2, high-2, high-1, high]
    if dtype == 'uint64': s = torch.from_numpy(np.array(values, 'u8')[ranks])
    else: s = torch.tensor(values, dtype=kind)[torch.from_numpy(ranks)]
    before = s.clone()
    for min_tpr in (.2, .8):
        got = auroc_score(s, y, min_tpr=min_tpr).item()
        assert got == pytest.approx(mirrored(y, ranks, min_tpr), abs=1e-9)
        assert auroc_score(s, y, min_tpr=min_tpr, standardize=False).item() == pytest.approx(trapezoids(y, ranks, min_tpr), abs=1e-12)
    assert torch.equal(s.view(torch.uint8), before.view(torch.uint8))

def test_zeros_of_either_sign_tie(path):
    s,y = [0., -0., 0., -0.],[0, 1, 1, 0]
    assert auroc_score(s, y, min_tpr=.5).item() == .5

def test_integers_that_floats_cannot_tell_apart(path):
    s = torch.tensor([2**60, 2**60+1, 2**60+2, 2**60+3])
    assert auroc_score(s, [0, 1, 0, 1], min_tpr=.5, standardize=False).item() == pytest.approx(.25, abs=1e-15)

@pytest.mark.parametrize('kind', ['half', 'bfloat16'])
def test_many_rows_in_half_precision(kind):
    rng = np.random.default_rng(0)
    y = (rng.random(70_000) < .1).astype(int)
    s = getattr(torch.tensor(y + rng.normal(size=len(y))), kind)()
    assert auroc_score(s, y, min_tpr=.8).item() == pytest.approx(mirrored(y, s.double(), .8), abs=1e-9)

# -- edges --

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('min_tpr', [0, 0., 5e-324, 1e-30, np.float32(0)])
def test_from_nothing_on_it_is_the_whole_area(min_tpr, weighted, path):
    "With either value of `standardize`; a rate too small to be taken from one is no rate"
    rng = np.random.default_rng(0)
    s,y,w = rng.random(200),rng.integers(0, 2, 200),rng.random(200) if weighted else None
    want = roc_auc_score(y, s, sample_weight=w)
    for standardize in (False, True):
        assert auroc_score(s, y, min_tpr=min_tpr, standardize=standardize, sample_weight=w).item() == pytest.approx(want, abs=1e-12)
    assert auroc_score(s, y, min_tpr=0, sample_weight=w) == auroc_score(s, y, sample_weight=w)

@pytest.mark.parametrize('options', [{}, dict(max_fpr=1), dict(min_tpr=0)], ids=str)
@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples', None])
def test_without_a_bound_nothing_is_standardised(options, average, path):
    s,y = multilabel(1)
    y[:,:2] = np.random.default_rng(3).integers(0, 2, (len(y), 2))
    keep = (y.min(1) == 0) & (y.max(1) == 1)
    s,y = s[keep],y[keep]
    for w in (None, np.arange(1., len(s)+1)):
        plain,same = (auroc_score(s, y, average=average, sample_weight=w, **o) for o in ({}, dict(options, standardize=False)))
        assert torch.allclose(plain, same, rtol=0, atol=1e-15)

drawn = st.lists(st.tuples(st.booleans(), st.floats(1e-300, 1e300) | st.sampled_from([.1, 1/3, 1., 5e-324, 1.7e308])), min_size=2, max_size=30)
drawn = drawn.filter(lambda rows: len({y for y,_ in rows}) == 2)

@steady
@given(drawn, st.floats(0, 1-2**-53) | st.sampled_from([.1, .8, .41, 1-2**-53]), st.booleans())
def test_perfect_is_exact(rows, min_tpr, weighted):
    "One, or 1 - `min_tpr`, whatever the weights; and a reversed ranking has no area"
    y,w = map(np.array, zip(*rows))
    up = y*100. + np.arange(len(y)) % 7
    kwargs = dict(min_tpr=min_tpr, sample_weight=w if weighted else None)
    for general in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if general: patch.setattr(counts, '_count_cpu', lambda *args, **kwargs: None)
            assert auroc_score(up, y, **kwargs) == 1
            assert auroc_score(up, y, standardize=False, **kwargs) == 1-min_tpr
            assert auroc_score(-up, y, standardize=False, **kwargs) == 0

@pytest.mark.parametrize('weighted', [False, True])
def test_rows_to_ignore(weighted, path):
    "Their scores may be NaN, and at either end"
    rng = np.random.default_rng(0)
    s,y,w = rng.random(90).round(1),rng.integers(0, 2, 90),rng.random(90)
    keep = rng.random(90) < .7
    noisy,truth = np.where(keep, s, rng.choice([nan, inf, -inf, .5], 90)),np.where(keep, y, -100)
    own = w if weighted else None
    got = auroc_score(noisy, truth, ignore_index=-100, min_tpr=.6, sample_weight=own).item()
    assert got == pytest.approx(mirrored(y[keep], s[keep], .6, w[keep] if weighted else None), abs=1e-9)
    s,y = rng.random((90, 3)),rng.integers(0, 2, (90, 3))
    keep = rng.random((90, 3)) < .7
    got = auroc_score(np.where(keep, s, nan), np.where(keep, y, -1), ignore_index=-1, min_tpr=.6, average=None, sample_weight=own)
    want = [mirrored(y[k,c], s[k,c], .6, w[k] if weighted else None) for c,k in enumerate(keep.T)]
    assert got.tolist() == pytest.approx(want, abs=1e-9)

@pytest.mark.parametrize('labels,says', [([0]*4, 'no positive in the targets'), ([1]*4, 'no negative in the targets')])
def test_one_class(labels, says, path):
    "Named as it is, not as it is in the mirrored task"
    with pytest.warns(UndefinedMetricWarning, match=says) as record: assert auroc_score([.1,.2,.3,.4], labels, min_tpr=.8).isnan()
    assert len(record) == 1 and record[0].filename == __file__

def test_an_absent_class_and_nan(path):
    s,y = multiclass(0)
    y = np.where(y == 3, 2, y)
    with pytest.warns(UndefinedMetricWarning, match='AUROC is NaN for some columns: no positive for class 3'):
        each = auroc_score(s, y, min_tpr=.5, average=None)
    assert each[3].isnan() and each[:3].tolist() == pytest.approx([mirrored(y == c, s[:,c], .5) for c in range(3)], abs=1e-9)
    value,note = auroc_and_note([.2, nan, .3, .4], [0, 1, 1, 0], min_tpr=.5)
    assert value.isnan() and note == 'AUROC is NaN: 1 of 4 rows have NaN scores'
    value,note = auroc_and_note([], [], min_tpr=.5)
    assert value.isnan() and note == 'AUROC is NaN: there are no rows'

def test_positive_label_of_text():
    y = np.array([0, 1, 0, 1, 1, 0])
    s = np.array([.1, .4, .35, .8, .2, .3])
    names = ['yes' if o else 'no' for o in y]
    assert auroc_score(s, names, pos_label='yes', min_tpr=.5).item() == pytest.approx(mirrored(y, s, .5), abs=1e-12)

def test_bounds_in_fractions():
    "Of any size; one that is 0 or 1 as a float is none"
    y,s = np.array([0, 1, 0, 1, 1, 0]),np.array([.1, .4, .35, .8, .2, .3])
    for name in ('max_fpr', 'min_tpr'): assert auroc_score(s, y, **{name:Fraction(1, 4)}) == auroc_score(s, y, **{name:.25})
    assert auroc_score(s, y, min_tpr=Fraction(1, 10**400)) == auroc_score(s, y)
    for kwargs in (dict(max_fpr=Fraction(1, 10**400)), dict(max_fpr=10**400), dict(min_tpr=1 - Fraction(1, 10**20)), dict(min_tpr=10**400)):
        with pytest.raises(ValueError, match=rf'{list(kwargs)[0]} must be None or in '): auroc_score(s, y, **kwargs)

@pytest.mark.parametrize('kwargs,says', [*((dict(min_tpr=o), r'min_tpr must be None or in \[0, 1\), got ') for o in (1, 1., -.1, nan, inf, '.8', True)),
    (dict(min_tpr=.8, max_fpr=.1), r'choose one of them, got max_fpr=0.1 and min_tpr=0.8'), (dict(min_tpr=0, max_fpr=1), 'choose one'),
    *((dict(standardize=o), 'standardize must be True or False, got ') for o in (None, 'no', 1, 0.))], ids=str)
def test_options_that_do_not_fit(kwargs, says):
    for f in (auroc_score, auroc_and_note):
        with pytest.raises(ValueError, match=says): f([.1, .9], [0, 1], **kwargs)

def test_one_against_one_has_no_such_area():
    with pytest.raises(ValueError, match="min_tpr has no meaning with multi_class='ovo'"): auroc_score(*multiclass(0), multi_class='ovo', min_tpr=.8)

@pytest.mark.parametrize('k', [2, 5])
@pytest.mark.parametrize('kwargs', [{}, dict(average=None), dict(average='micro'), dict(sample_weight=True), dict(standardize=False)], ids=str)
def test_a_device_is_read_once(kwargs, k):
    with FakeTensorMode():
        outputs,targets = rand(1000, k),randint(k, 1000)
        if 'sample_weight' in kwargs: kwargs = {**kwargs, 'sample_weight':rand(1000)}
        with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): auroc_score(outputs, targets, min_tpr=.8, **kwargs)
        assert mode.n_ops > 20

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int64', 'float16', 'float32', 'float64'])
def test_on_a_real_gpu(dtype):
    rng = np.random.default_rng(0)
    ranks,y,w = rng.integers(0, 100, 500),rng.integers(0, 2, 500),rng.random(500)
    s = torch.tensor(ranks).to(getattr(torch, dtype)).cuda()
    for own in (None, w):
        got = auroc_score(s, torch.tensor(y).cuda(), min_tpr=.8, sample_weight=own).item()
        assert got == pytest.approx(mirrored(y, ranks, .8, own), abs=1e-9)
