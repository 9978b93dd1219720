"Weights of any scale, and areas and rates within 0 and 1: on the CPU's fast path, on the general path, in curves."
import itertools, warnings
from fractions import Fraction
import numpy as np, pytest, sklearn.metrics as skm, torch
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from fastai_auroc import counts, roc
from fastai_auroc.pairs import area_of_points, partial_area
from fastai_auroc.roc import auc, auroc_score, roc_curve

pytestmark = pytest.mark.filterwarnings('error')   # NumPy's too
nan,inf = float('nan'),float('inf')
steady = settings(max_examples=150, deadline=None, derandomize=True)

@pytest.fixture(params=['fast', 'general'])
def path(request, monkeypatch):
    "The CPU's own way, and the one of any device"
    if request.param == 'general':
        monkeypatch.setattr(counts, '_count_cpu', lambda *args, **kwargs: None)
        monkeypatch.setattr(roc, 'task_points_cpu', lambda *args, **kwargs: None)
    return request.param

s,y,w = np.array([.1,.4,.35,.8,.5,.2]),np.array([0,0,1,1,1,0]),np.arange(1., 7)
several = np.stack([s, 1-s, s**2, np.cos(9*s)], 1)
classes,labels = np.array([0,1,2,3,1,0]),np.array([[0,1,0,1],[1,0,1,0],[1,1,0,0],[0,0,1,1],[1,0,0,1],[0,1,1,0]])
scales = [1e-162, 1e-200, 9.2e152, 1e154, 2.9e307, 5e-324, 2**-1060, 2.**1000]

# -- scale --

@pytest.mark.parametrize('scale', scales)
def test_scale_does_not_matter(scale, path):
    "17/18: of 3·... weighted pairs only (.35, .4) is lost, as scikit-learn has it for weights of any scale"
    assert roc_auc_score(y, s, sample_weight=w) == pytest.approx(17/18, abs=1e-15)
    assert auroc_score(s, y, sample_weight=w*scale).item() == pytest.approx(17/18, abs=1e-15)
    for r in (.1, .3, .9):
        assert auroc_score(s, y, sample_weight=w*scale, max_fpr=r).item() == pytest.approx(roc_auc_score(y, s, sample_weight=w, max_fpr=r), abs=1e-14)

@pytest.mark.parametrize('scale', scales)
@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples', None])
def test_scale_does_not_matter_for_columns(scale, average, path):
    want = roc_auc_score(labels, several, average=average, sample_weight=w)
    assert auroc_score(several, labels, average=average, sample_weight=w*scale).tolist() == pytest.approx(np.asarray(want).tolist(), abs=1e-14)
    if average == 'samples': return
    hot = np.eye(4)[classes]
    want = np.asarray(roc_auc_score(hot, several, average=average, sample_weight=w)).tolist()
    for scaled in (w, w*scale):
        assert auroc_score(several, classes, activation='identity', average=average, sample_weight=scaled).tolist() == pytest.approx(want, abs=1e-14)

@pytest.mark.parametrize('scale', scales)
def test_scale_does_not_matter_for_curves(scale, path):
    for ours,theirs in zip(roc_curve(s, y, sample_weight=w*scale), skm.roc_curve(y, s, sample_weight=w)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15, atol=0)

@pytest.mark.parametrize('up,down', itertools.product([1., 1e-300, 1e300, 1e-320], repeat=2))
def test_classes_of_different_scale(up, down, path):
    "scikit-learn divides positives by positives, and so do we"
    own = np.where(y == 1, w*up, w*down)
    for r in (None, .3):
        assert auroc_score(s, y, sample_weight=own, max_fpr=r).item() == pytest.approx(roc_auc_score(y, s, sample_weight=own, max_fpr=r), abs=1e-14)

def test_sums_beyond_the_largest_float(path):
    "Each weight fits into a float64, their sum does not"
    rng = np.random.default_rng(0)
    many,truth = rng.random(5000),rng.random(5000) < .3
    assert auroc_score(many, truth, sample_weight=np.full(5000, 1.7e308)).item() == pytest.approx(roc_auc_score(truth, many), abs=1e-12)

@pytest.mark.parametrize('weight', [w.astype(np.float32)*np.float32(1e-38), w.astype(np.float32)*np.float32(5e37), (w*2**61).astype(np.uint64),
    [2**63]*6, torch.tensor(w).half(), torch.tensor(w).bfloat16(), w.astype('>f8'), (w*1000).astype(np.uint16)], ids=range(8))
def test_weights_of_any_type(weight, path):
    plain = np.asarray(weight.float() if isinstance(weight, torch.Tensor) else weight, dtype=np.float64)
    assert auroc_score(s, y, sample_weight=weight).item() == pytest.approx(roc_auc_score(y, s, sample_weight=plain), abs=1e-14)

@pytest.mark.parametrize('kwargs', [{}, dict(max_fpr=.3), dict(average='micro'), dict(average='samples'), dict(average='weighted')], ids=str)
@pytest.mark.parametrize('bad', [inf, -inf, nan, -1.])
def test_what_is_no_weight_gives_an_error_alone(bad, kwargs, path):
    "No warning before it, at whatever end of the scale the others are"
    for scale in (1, 1e300, 1e-300):
        own = w*scale
        own[2] = bad
        for f in (auroc_score, roc_curve):
            if f is roc_curve and kwargs: continue
            for scores,truth in ((s, y), (several, labels)):
                with pytest.raises(ValueError, match='sample_weight must be finite and not negative, but 1 of 6 are not'):
                    f(scores, truth, sample_weight=own, **kwargs)

@pytest.mark.parametrize('bad', [inf, nan, -1., 1e308])
def test_weights_of_ignored_rows_do_not_matter(bad, path):
    keep = y >= 0
    keep[[1,4]] = False
    own,truth = np.where(keep, w, bad),np.where(keep, y, -100)
    for r in (None, .4):
        assert auroc_score(s, truth, sample_weight=own, ignore_index=-100, max_fpr=r).item() == pytest.approx(roc_auc_score(y[keep], s[keep],
            sample_weight=w[keep], max_fpr=r), abs=1e-14)
    for ours,theirs in zip(roc_curve(s, truth, sample_weight=own, ignore_index=-100), skm.roc_curve(y[keep], s[keep], sample_weight=w[keep])):
        np.testing.assert_array_equal(ours, theirs)
    many = np.where(keep[:,None], labels, -100)
    for average in ('macro', 'micro', 'weighted'):
        want = roc_auc_score(labels[keep], several[keep], average=average, sample_weight=w[keep])
        assert auroc_score(several, many, average=average, sample_weight=own, ignore_index=-100).item() == pytest.approx(want, abs=1e-14)

@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples'])
def test_no_weight_at_all(average, path):
    for scores,truth in ((s, y), (several, labels)):
        with pytest.warns(UndefinedMetricWarning, match='AUROC is NaN: no row with a weight'):
            assert auroc_score(scores, truth, average=average, sample_weight=np.zeros(6)).isnan()
    with pytest.warns(UndefinedMetricWarning, match='roc_curve has NaN rates: no row with a weight'): roc_curve(s, y, sample_weight=np.zeros(6))

# -- range --

def test_reported_cases(path):
    assert auroc_score([0,2,1], [0,1,0], sample_weight=[.4,.1,.1]) == 1
    assert auroc_score(range(8), [0,0,0,1,1,1,1,1], max_fpr=.41) == 1

weights = st.floats(0, 1e3) | st.floats(1e-300, 1e300) | st.sampled_from([.1, .2, .3, 1/3, .7, 1., 5e-324, 1.7e308])
drawn = st.lists(st.tuples(st.integers(0, 5), st.booleans(), weights), min_size=2, max_size=30)
drawn = drawn.filter(lambda rows: all(any(c == o and v > 0 for _,o,v in rows) for c in (False, True)))

def both(f):
    "The value by the CPU's fast path and by that of any device"
    with pytest.MonkeyPatch.context() as patch:
        fast = f()
        patch.setattr(counts, '_count_cpu', lambda *args, **kwargs: None)
        patch.setattr(roc, 'task_points_cpu', lambda *args, **kwargs: None)
        return fast,f()

@steady
@given(drawn, st.none() | st.floats(1e-300, 1) | st.sampled_from([.1, .3, .41, .7, 1-2**-53, 5e-324]))
def test_perfect_and_reversed(rows, max_fpr):
    "Exactly one, and for the whole area exactly zero, whatever the weights; with `max_fpr` McClish's value of no area"
    _,truth,own = map(np.array, zip(*rows))
    up = truth*100. + np.arange(len(truth)) % 7
    for weight in (None, own):
        for res in both(lambda: auroc_score(up, truth, sample_weight=weight, max_fpr=max_fpr).item()): assert res == 1
        for res in both(lambda: auroc_score(-up, truth, sample_weight=weight, max_fpr=max_fpr).item()):
            if max_fpr is None: assert res == 0
            else: assert res == pytest.approx(.5*(1 - (max_fpr/2)/(1-max_fpr/2)), abs=1e-15)

@steady
@given(drawn, st.none() | st.floats(1e-6, 1))
def test_never_outside(rows, max_fpr):
    "The range is that of the definition in fractions, and both paths are close to it"
    scores,truth,own = map(np.array, zip(*rows))
    for weight in (None, own):
        for res in both(lambda: auroc_score(scores, truth, sample_weight=weight, max_fpr=max_fpr).item()): assert 0 <= res <= 1
    pos,neg = ([(int(a), Fraction(float(v))) for a,t,v in zip(scores, truth, own) if t == kind] for kind in (True, False))
    won = sum(v*u*(2*(a > b) + (a == b)) for a,v in pos for b,u in neg)
    exact = float(won/(2*sum(v for _,v in pos)*sum(u for _,u in neg)))
    for res in both(lambda: auroc_score(scores, truth, sample_weight=own).item()): assert res == pytest.approx(exact, abs=1e-13)

@steady
@given(drawn)
def test_rates_rise_from_nothing_to_one(rows):
    scores,truth,own = map(np.array, zip(*rows))
    for drop in (False, True):
        for curve in both(lambda: roc_curve(scores, truth, sample_weight=own, drop_intermediate=drop)):
            for rate in curve[:2]: assert rate[0] == 0 and rate[-1] == 1 and (rate.diff() >= 0).all()
            area = auc(curve.fpr, curve.tpr)
            assert 0 <= area <= 1 and area.item() == pytest.approx(auroc_score(scores, truth, sample_weight=own).item(), abs=1e-12)
    up = truth + scores/10.
    for curve in both(lambda: roc_curve(up, truth, sample_weight=own)): assert auc(curve.fpr, curve.tpr) == 1 and auc(curve.fpr.flip(0), curve.tpr.flip(0)) == 1
    for curve in both(lambda: roc_curve(-up, truth, sample_weight=own)): assert auc(curve.fpr, curve.tpr) == 0

def test_averages_of_perfect_columns(path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    up,own = np.eye(5)[truth] + rng.random((200, 5))/9,rng.random(200)
    for average,weight in itertools.product(['macro', 'weighted', 'micro'], [None, own]):
        for r in (None, .37): assert auroc_score(up, truth, activation='identity', average=average, sample_weight=weight, max_fpr=r) == 1
    for average in ('macro', 'weighted'): assert auroc_score(up, truth, activation='identity', average=average, multi_class='ovo') == 1
    mean = roc_curve(up, truth, activation='identity', average='macro', sample_weight=own)
    assert mean.tpr.max() == 1 and auc(mean.fpr, mean.tpr) == 1

def test_a_mean_curve_never_rises_above_one():
    rng = np.random.default_rng(1)
    for k in (3, 7, 11):
        truth = rng.permutation(np.arange(40*k) % k)
        mean = roc_curve(rng.random((40*k, k)) + np.eye(k)[truth], truth, activation='identity', average='macro', sample_weight=rng.random(40*k))
        assert (mean.tpr <= 1).all() and (mean.tpr >= 0).all()

def test_order_of_addition_on_a_device_does_not_matter(monkeypatch):
    "A GPU adds in an order of its own: sums that are off in their last bits still give exactly one, and none above"
    plain = torch.Tensor.cumsum
    def shaken(x, *args, **kwargs):
        res = plain(x, *args, **kwargs)
        return res*(1 + 2**-50*torch.arange(res.shape[-1]).cos()) if res.dtype == torch.float64 else res
    monkeypatch.setattr(torch.Tensor, 'cumsum', shaken)
    rng = np.random.default_rng(0)
    for r in (.2, .41, 1.):
        truth,own = torch.from_numpy(rng.random(500) < .3),torch.from_numpy(rng.random(500))
        up = truth + torch.from_numpy(rng.random(500))/2
        assert partial_area(up, truth*own, ~truth*own, r) == r and partial_area(-up, truth*own, ~truth*own, r) == 0

def test_points_by_hand():
    "Corners at (1/4, 1/2) and (1, 1), weights that are no fractions of two"
    tps,fps = np.array([.05, .1]),np.array([.1, .4])
    for r,want in ((1., 1/16 + 9/16), (.25, 1/16), (.5, 1/16 + .25*(1/2+2/3)/2)): assert area_of_points(tps, fps, r) == pytest.approx(want, abs=1e-15)

# -- auc --

def test_area_of_what_is_not_defined():
    cases = ([0, .5, 1], [0, nan, 1], '1 of 3 y'),([0, nan, 1], [0, .5, 1], '1 of 3 x'),([nan]*3, [nan]*3, '3 of 3 x and 3 of 3 y'),([0, inf, inf], [0, 1, 1], '2 of 3 x')
    for x,heights,says in cases:
        with pytest.warns(UndefinedMetricWarning, match=f'the area is NaN: {says} are NaN or infinite'): assert auc(x, heights).isnan()

def test_area_of_a_curve_without_positives():
    "It has NaN rates, and so no area"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        curve = roc_curve([.1, .2, .3], [0, 0, 0])
        assert auc(curve.fpr, curve.tpr).isnan()
    assert [o.category for o in seen] == [UndefinedMetricWarning]*2

@pytest.mark.parametrize('row', [0, 70_000, -1])
@pytest.mark.parametrize('wrong', [float('nan'), float('inf'), -1.])
def test_a_wrong_weight_in_any_block(wrong, row):
    "A weight that is none raises, also behind the first 65,536 rows"
    n = 150_000
    s,y,w = torch.rand(n),torch.arange(n) % 2,torch.ones(n).double()
    w[row] = wrong
    for f in (auroc_score, roc_curve):
        with pytest.raises(ValueError, match=f'sample_weight must be finite and not negative, but 1 of {n} are not'): f(s, y, sample_weight=w)

@pytest.mark.parametrize('seed', range(20))
def test_few_rows_as_all_pairs(seed):
    "Fewer than 2,048 rows are searched, not sorted into a curve; the oracle is the definition in extended precision"
    rng = np.random.default_rng(seed)
    for n in rng.integers(2, 300, 20):
        scores = rng.standard_normal(n).round(1 if seed % 2 else 8)
        if seed % 3 == 0: scores[rng.random(n) < .1] = rng.choice([-np.inf, np.inf])
        if seed % 5 == 0: scores = scores.astype(np.float32)
        labels = np.append([0, 1], rng.random(n-2) < .3)
        weight = rng.random(n)*10.**rng.integers(-300, 300 if seed % 4 == 0 else -290)
        weight[2:][rng.random(n-2) < .3] = 0
        pairs = np.multiply.outer(weight[labels == 1].astype(np.longdouble), weight[labels == 0])
        own,other = scores[labels == 1][:,None],scores[labels == 0]
        exact = float((pairs*((own > other) + .5*(own == other))).sum()/pairs.sum())
        assert abs(auroc_score(scores, labels, sample_weight=weight).item() - exact) < 1e-15
