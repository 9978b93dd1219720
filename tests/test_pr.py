"Average precision and its curve: scikit-learn's numbers and arrays by the fast ways and by the general one, the definition in fractions, and clear words where neither has a number."
import inspect, itertools, re, warnings
from fractions import Fraction
import numpy as np, pandas as pd, pytest, torch, sklearn.metrics as skm
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from torch._subclasses import FakeTensorMode
from test_device import HostRead, NoWaiting, rand, randint
from test_roc import binary, close, data, every, finite, multiclass, multilabel
from fastai_auroc import counts, pr
from fastai_auroc.pr import average_precision, average_precision_and_note, pr_curve

pytestmark = [pytest.mark.filterwarnings('error'), pytest.mark.usefixtures('one_thread')]
nan,inf = float('nan'),float('inf')
steady = settings(max_examples=80, deadline=None, derandomize=True)

def nothing(*args, **kwargs): return None

@pytest.fixture(params=['fast', 'general'])
def way(request, monkeypatch):
    "By the fast ways of the CPU, and by the way that devices take"
    if request.param == 'general':
        for name in ('_precisions_cpu', 'task_points_cpu'): monkeypatch.setattr(pr, name, nothing)
    return request.param

def warned(f, *args, **kwargs):
    "The result and the one warning, which must point to the line of the call"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    assert [(o.category, o.filename, o.lineno) for o in w] == [(UndefinedMetricWarning, __file__, inspect.getsourcelines(warned)[1] + 4)]
    return res,str(w[0].message)

def hot(s, y): return np.eye(s.shape[1], dtype=int)[y] if s.ndim == 2 and y.ndim == 1 else y

def sk(s, y, average='macro', **kwargs): return skm.average_precision_score(hot(s, y), s, average=average, **kwargs)

def by_definition(s, y, w=None):
    "For each positive the weight of the positives at or above it, of the rows at or above it; the mean in fractions"
    w = [Fraction(o) for o in (np.ones(len(s)) if w is None else w).tolist()]
    def above(t, rows): return sum((w[i] for i in rows if s[i] >= t), Fraction(0))
    positives = [i for i in range(len(s)) if y[i] and w[i]]
    return float(sum(w[i]*above(s[i], positives)/above(s[i], range(len(s))) for i in positives)/sum(w[i] for i in positives))

def same_curve(curve, want, tol=1e-12):
    assert all(o.dtype == torch.float64 and o.device.type == 'cpu' for o in curve)
    for got,of in zip(curve, want):
        assert got.shape == of.shape
        np.testing.assert_allclose(got.numpy(), of, rtol=0, atol=tol)

# -- against scikit-learn and the definition --

rows = st.lists(st.tuples(finite, st.booleans(), st.integers(0, 9)), min_size=1, max_size=50)
rows = rows.filter(lambda r: any(y and w for _,y,w in r))

@steady
@given(rows, st.booleans(), st.sampled_from([(-1,), (-1,1)]), st.sampled_from(['f4', 'f8']), st.booleans(), st.booleans())
def test_any_binary_task(rows, weighted, shape, dtype, drop, general):
    "Ties, zeros of either sign, weights of zero, one row, one class"
    s,y,w = (np.array(o) for o in zip(*rows))
    s,w = s.astype(dtype),w/7 if weighted else None
    with pytest.MonkeyPatch.context() as patch:
        if general:
            for name in ('_precisions_cpu', 'task_points_cpu'): patch.setattr(pr, name, nothing)
        got = average_precision(s.reshape(shape), y, sample_weight=w)
        curve = pr_curve(s.reshape(shape), y, sample_weight=w, drop_intermediate=drop)
    close(got, skm.average_precision_score(y, s, sample_weight=w))
    close(got, by_definition(s, y, w))
    same_curve(curve, skm.precision_recall_curve(y, s, sample_weight=w, drop_intermediate=drop))

dtypes = torch.float64,torch.float32,torch.float16,torch.bfloat16,torch.int64,torch.int32,torch.int16,torch.int8,torch.uint8,torch.bool
unsigned = [getattr(torch, o) for o in ('uint16', 'uint32', 'uint64') if hasattr(torch, o)]

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('dtype', [*dtypes, *unsigned], ids=str)
def test_dtypes(dtype, weighted, way):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 300))
        raw = torch.from_numpy(rng.integers(0, (2, 5, 90)[seed % 3], n))
        z,s = raw.to(dtype),raw.to(dtype).double().numpy()
        y = (rng.random(n) < (.5, .1)[seed % 2]).astype(int)
        y[0] = 1
        w = rng.integers(0, 3, n) + np.eye(1, n)[0] if weighted else None
        close(average_precision(z, y, sample_weight=w), skm.average_precision_score(y, s, sample_weight=w))
        same_curve(pr_curve(z, y, sample_weight=w), skm.precision_recall_curve(y, s, sample_weight=w))

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_infinite_scores(dtype, way):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z = torch.from_numpy(rng.normal(size=60)).to(dtype)
        z[rng.integers(60, size=6)] = inf
        z[rng.integers(60, size=6)] = -inf
        y = np.append(1, rng.integers(0, 2, 59))
        ranks = np.unique(z.double().numpy(), return_inverse=True)[1]
        w = rng.random(60)
        close(average_precision(z, y), skm.average_precision_score(y, ranks))
        close(average_precision(z, y, sample_weight=w), skm.average_precision_score(y, ranks, sample_weight=w))
        same_curve(pr_curve(z, y)[:2], skm.precision_recall_curve(y, ranks)[:2])

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('k', [3, 7])
@pytest.mark.parametrize('task,average', every)
def test_averages(task, average, k, ties, weighted, way):
    for seed in range(4):
        s,y = data[task](seed, ties=ties, **({} if task == 'binary' else dict(k=k)))
        w = np.random.default_rng(seed).uniform(.1, 5, len(s)) if weighted else None
        close(average_precision(s, y, average=average, sample_weight=w), sk(s, y, average, sample_weight=w))

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', 'samples', None])
@pytest.mark.parametrize('ties', [False, True])
def test_binary_shapes(ties, average, way):
    "One score a row, one column, or two columns of probabilities: one number, whatever the average"
    s,y = binary(0, ties=ties)
    for scores,labels in itertools.product([s, s[:,None], np.stack([1-s, s], 1)], [y, y[:,None]]):
        close(average_precision(scores, labels, average=average), skm.average_precision_score(y, s))

@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', None])
@pytest.mark.parametrize('n,k', [(3000, 50), (3000, 4), (2500, 300)])
def test_many_classes(n, k, average, way):
    "Rare classes by positions, others by keys; class numbers above 127 and 255"
    rng = np.random.default_rng(0)
    y = np.append(np.arange(k), rng.integers(0, k, n-k))
    s = rng.dirichlet(np.ones(k), n).astype(np.float32)
    s[np.arange(n),y] += .05
    s /= s.sum(1, keepdims=True)
    close(average_precision(s, y, average=average), sk(s, y, average))
    if k < 100: close(average_precision(s, hot(s, y), average=average), sk(s, y, average))

def test_columns_in_tiles(monkeypatch, way):
    "What does not fit into one go is cut between columns, without a trace in the numbers"
    s,y = multilabel(5, ties=True)
    want = average_precision(s, y, average=None)
    for tile in (1, 2*len(s), 3*len(s)+1):
        monkeypatch.setattr(counts, '_tile', tile)
        assert torch.equal(average_precision(s, y, average=None), want)

# -- many rows: keys, halves, blocks and threads --

kinds = dict(normal=lambda s: s, ties=lambda s: s.round(), few=lambda s: (s*50).round()/50, sigmoid=lambda s: 1/(1+np.exp(-s)), same=lambda s: s*0)

@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('share', [.0005, .04, .3, .97])
@pytest.mark.parametrize('kind', kinds)
def test_runs_over_blocks(kind, share, threads):
    "Runs of ties within, at the end of and longer than a block of 65,536 keys"
    rng = np.random.default_rng(int(share*100))
    n = 600_000 if threads == 2 else 200_000
    y = rng.random(n) < share
    s = kinds[kind](rng.normal(size=n) + y)
    torch.set_num_threads(threads)
    for dtype in (np.float32, np.float64) if threads == 1 else (np.float32,):
        x = s.astype(dtype)
        close(average_precision(x, y), skm.average_precision_score(y, x))
        assert average_precision(y.astype(dtype), y) == 1
    torch.set_num_threads(1)

@pytest.mark.parametrize('cut', [0, 1, 2, 5])
@pytest.mark.parametrize('labels', ['one', 'other', 'both'])
def test_ties_at_the_end_of_a_block(cut, labels):
    rng = np.random.default_rng(cut)
    n = 3*2**16
    s = np.arange(n, dtype=np.float32)
    y = (rng.random(n) < .4) if labels == 'both' else (np.arange(n) // 2**16 % 2 == (labels == 'one'))
    for edge in (2**16, 2**17): s[edge-cut:edge+cut+1] = s[edge]
    for sign in (1, -1): close(average_precision(sign*s, y), skm.average_precision_score(y, sign*s))

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('share', [.001, .3])
def test_half_precision(dtype, share):
    "From 65,536 rows on by a histogram; zeros of either sign, infinities"
    rng = np.random.default_rng(0)
    for n in (2**16 - 1, 2**16, 150_000):
        y = rng.random(n) < share
        z = torch.from_numpy(rng.normal(size=n) + y).to(dtype)
        z[rng.integers(n, size=900)] = -0.
        z[rng.integers(n, size=900)] = 0.
        z[rng.integers(n, size=9)] = inf
        ranks = np.unique(z.double().numpy(), return_inverse=True)[1]
        for x in (z, torch.stack([z, z], 1)[:,1]): close(average_precision(x, y), skm.average_precision_score(y, ranks))
        assert average_precision(torch.from_numpy(y).to(dtype), y) == 1
    z[7] = nan
    assert warned(average_precision, z, y)[0].isnan()

def test_all_magnitudes(way):
    "Scores that have no keys"
    rng = np.random.default_rng(0)
    s = (rng.choice([-1., 1.], 5000)*10**rng.uniform(-44, 38, 5000)).astype(np.float32)
    y = rng.random(5000) < .4
    close(average_precision(s, y), skm.average_precision_score(y, s))

@pytest.mark.parametrize('n', [3, 1000, 70_000])
def test_a_perfect_ranking(n, way):
    "Is exactly 1, whatever rounding does to sums of weights"
    rng = np.random.default_rng(n)
    y = np.append([0, 1], rng.random(n) < .3).astype(int)
    s = rng.random(n+2) + y
    for w in (None, rng.random(n+2), 1e-300*rng.random(n+2), 1e290*rng.random(n+2)):
        assert average_precision(s, y, sample_weight=w) == 1 and average_precision(np.round(s), y, sample_weight=w) <= 1

@pytest.mark.parametrize('factor', [1e-300, 1e-8, 1e8, 1e290])
def test_the_unit_of_weights_does_not_matter(factor, way):
    s,y = binary(1, ties=True)
    w = np.random.default_rng(0).random(len(s))
    close(average_precision(s, y, sample_weight=w*factor), average_precision(s, y, sample_weight=w))

# -- logits --

def test_saturated_probabilities(way):
    "Logits are ranked by their differences, of which a softmax in float32 leaves ties"
    rng = np.random.default_rng(0)
    y = rng.random(2000) < .3
    margin = (60 + 10*rng.normal(size=2000) + 10*y).astype(np.float32)
    logits = torch.from_numpy(np.stack([np.zeros_like(margin), margin], 1))
    want = skm.average_precision_score(y, margin)
    close(average_precision(logits, y, activation='softmax'), want)
    close(average_precision(margin, y, activation='sigmoid'), want)
    assert abs(average_precision(logits.softmax(1), y) - want) > .1
    third = torch.cat([logits, torch.full((2000, 1), -400.)], 1)
    close(average_precision_and_note(third, y.astype(int), 'softmax', None)[0][1], want)
    same_curve(pr_curve(logits, y, activation='softmax'), skm.precision_recall_curve(y, margin.astype(float)))

def test_logits_must_be_named():
    with pytest.raises(ValueError, match="do not sum to one: pass activation='softmax'"): average_precision(torch.randn(9, 4), [0, 1, 2, 3]*2 + [0])

# -- labels --

@pytest.mark.parametrize('low,high', [(-1, 1), (1, 2), (0, 255), (False, True), (0., 1.), (-3., 2.5)])
def test_the_larger_label_is_positive(low, high, way):
    s,y = binary(2)
    labels = np.where(y == 1, high, low)
    for form in (labels, labels.tolist(), torch.from_numpy(labels), pd.Series(labels)):
        close(average_precision(s, form), skm.average_precision_score(y, s))
        close(average_precision(s, form, pos_label=low), skm.average_precision_score(1-y, s))
        same_curve(pr_curve(s, form), skm.precision_recall_curve(y, s))

def test_text(way):
    s,y = binary(3)
    names = np.where(y == 1, 'sick', 'healthy')
    close(average_precision(s, names, pos_label='sick'), skm.average_precision_score(names, s, pos_label='sick'))
    same_curve(pr_curve(s, names, pos_label='healthy'), skm.precision_recall_curve(names, s, pos_label='healthy'))
    with pytest.raises(TypeError, match="pass pos_label='sick'"): average_precision(s, names)

@pytest.mark.parametrize('void', [-1, 255])
@pytest.mark.parametrize('average', [None, 'macro', 'micro', 'weighted', 'samples'])
def test_ignored_rows_and_entries(average, void, way):
    rng = np.random.default_rng(0)
    for seed,weighted in itertools.product(range(4), [False, True]):
        s,y = binary(seed, ties=True)
        w = rng.random(len(s)) if weighted else None
        left_out = rng.random(len(s)) < .3
        kept_w = w[~left_out] if weighted else None
        bad = np.where(left_out, (nan, inf, -inf, 0)[seed], s)
        close(average_precision(bad, np.where(left_out, void, y), average=average, sample_weight=w, ignore_index=void),
            skm.average_precision_score(y[~left_out], s[~left_out], sample_weight=kept_w))
        same_curve(pr_curve(bad, np.where(left_out, void, y), sample_weight=w, ignore_index=void),
            skm.precision_recall_curve(y[~left_out], s[~left_out], sample_weight=kept_w))
        s,y = multiclass(seed, ties=True)
        left_out = np.append([False]*4, rng.random(len(s)-4) < .3)
        if average != 'samples':
            want = sk(s[~left_out], y[~left_out], average)
            close(average_precision(np.where(left_out[:,None], nan, s), np.where(left_out, void, y), average=average, ignore_index=void), want)
        s,y = multilabel(seed, ties=True)
        void_entries = rng.random(s.shape) < .2
        void_entries[:,:2] = False
        each = [skm.average_precision_score(b[~v], a[~v]) for a,b,v in zip(s.T, y.T, void_entries.T)]
        got = average_precision(np.where(void_entries, nan, s), np.where(void_entries, void, y), average=average, ignore_index=void)
        if average is None: close(got, each)
        if average == 'macro': close(got, np.mean(each))
        if average == 'micro': close(got, skm.average_precision_score(y[~void_entries], s[~void_entries]))
        if average == 'samples': close(got, np.mean([skm.average_precision_score(b[~v], a[~v]) for a,b,v in zip(s, y, void_entries)]))

def test_further_axes(way):
    "Segmentation: a score for each pixel"
    rng = np.random.default_rng(0)
    s,y = rng.dirichlet(np.ones(3), (4, 5, 6)),rng.integers(0, 3, (4, 5, 6))
    close(average_precision(np.moveaxis(s, -1, 1), y), sk(s.reshape(-1, 3), y.reshape(-1)))

# -- undefined --

def test_no_positive(way):
    value,note = warned(average_precision, [.2, .3], [0, 0])
    assert value.isnan() and note == 'average precision is NaN: no positive in the targets, all 2 labels are 0'
    curve,note = warned(pr_curve, [.2, .3], [0, 0])
    assert curve.recall.isnan().all() and curve.recall.shape == (3,) and note == 'pr_curve has NaN recall: no positive in the targets, all 2 labels are 0'
    same_curve([curve.precision, curve.thresholds], [np.array([0., 0, 1]), np.array([.2, .3])])

def test_no_negative(way):
    "Each threshold has a precision of 1, as in scikit-learn"
    close(average_precision([.2, .3, .3], [1, 1, 1]), skm.average_precision_score([1, 1, 1], [.2, .3, .3]))
    same_curve(pr_curve([.2, .3, .3], [1, 1, 1]), skm.precision_recall_curve([1, 1, 1], [.2, .3, .3]))

def test_no_positive_with_a_weight(way):
    value,note = warned(average_precision, [.2, .3], [0, 1], sample_weight=[1, 0])
    assert value.isnan() and note == 'average precision is NaN: no positive in the targets'
    value,note = warned(average_precision, [.2, .3], [0, 1], sample_weight=[0, 0])
    assert value.isnan() and note == 'average precision is NaN: no row with a weight in the targets'
    curve,_ = warned(pr_curve, [.2, .3], [0, 1], sample_weight=[0, 0])
    assert curve.recall.isnan().all() and len(curve.thresholds) == 0

@pytest.mark.parametrize('average', ['macro', 'weighted', None])
def test_absent_classes(average, way):
    "Are left out of an average, where scikit-learn counts 0"
    s,y = multiclass(0, k=5)
    kept = y != 2
    s,y = s[kept],y[kept]
    each = [skm.average_precision_score(y == c, s[:,c]) for c in (0, 1, 3, 4)]
    if average == 'weighted': return close(average_precision_and_note(s, y, average=average)[0], np.average(each, weights=np.bincount(y)[[0, 1, 3, 4]]))
    value,note = warned(average_precision, s, y, average=average)
    if average is None:
        assert note == 'average precision is NaN for some columns: no positive for class 2'
        assert value[2].isnan()
        close(value[[0, 1, 3, 4]], each)
    else:
        assert note == 'average precision leaves columns out of the macro average: no positive for class 2'
        close(value, np.mean(each))

def test_rows_without_labels(way):
    s,y = multilabel(0)
    y[3] = 0
    kept = np.arange(len(y)) != 3
    value,note = warned(average_precision, s, y, average='samples')
    assert note == 'average precision leaves columns out of the samples average: no positive in row 3'
    close(value, sk(s[kept], y[kept], 'samples'))

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
def test_nan_scores(average, way):
    s,y = multilabel(0)
    s[5,1] = nan
    value,note = warned(average_precision, s, y, average=average)
    assert note.endswith('1 of 60 rows have NaN scores')
    if average is None:
        assert value.isnan().tolist() == [False, True, False, False]
        close(value[[0, 2, 3]], [skm.average_precision_score(y[:,c], s[:,c]) for c in (0, 2, 3)])
    else: assert value.isnan()
    with pytest.raises(ValueError, match='pr_curve cannot rank NaN: 1 of 60 rows'): pr_curve(s, y)

def test_no_rows():
    value,note = warned(average_precision, [], [])
    assert value.isnan() and note == 'average precision is NaN: there are no rows'
    value,_ = warned(average_precision, np.empty((0, 3)), np.empty(0, int), average=None)
    assert value.shape == (3,) and value.isnan().all()
    with pytest.raises(ValueError, match='pr_curve needs rows, got none$'): pr_curve([], [])
    with pytest.raises(ValueError, match='got none, without those of ignore_index=-1'): pr_curve([.1, .2], [-1, -1], ignore_index=-1)
    with pytest.raises(ValueError, match='got none, without those of ignore_index=-1'): pr_curve(np.ones((2, 2)), np.full((2, 2), -1), ignore_index=-1)
    assert warned(average_precision, [.1, .2], [-1, -1], ignore_index=-1)[0].isnan()

def test_a_note_instead_of_a_warning():
    value,note = average_precision_and_note([.2, .3], [0, 0])
    assert value.isnan() and note
    assert average_precision_and_note([.2, .3], [0, 1], None, 'macro', [1, 2], -1)[1] is None

# -- errors --

errors = [(dict(average='mean'), 'average must be one of'), (dict(ignore_index=.5), 'ignore_index must be one whole number'),
    (dict(sample_weight=[1, -1, 1]), '1 of 3 are not'), (dict(sample_weight=[1, nan, inf]), '2 of 3 are not'),
    (dict(sample_weight=[1, 1]), 'one weight for each of 3 rows, got 2'), (dict(activation='tanh'), 'activation')]

@pytest.mark.parametrize('kwargs,words', errors, ids=str)
@pytest.mark.parametrize('f', [average_precision, pr_curve])
def test_bad_options(f, kwargs, words, way):
    with pytest.raises(ValueError, match=re.escape("average must be 'micro' or None, got 'mean'") if f is pr_curve and 'average' in kwargs else words):
        f([.1, .2, .3], [0, 1, 1], **kwargs)

@pytest.mark.parametrize('f', [average_precision, pr_curve])
def test_bad_labels(f, way):
    with pytest.raises(ValueError, match='targets must be of two different values'): f([.1, .2, .3], [0, 1, 2])
    with pytest.raises(ValueError, match='class numbers from 0 to 2'): f(np.full((4, 3), 1/3), [0, 1, 2, 3])
    with pytest.raises(ValueError, match='have NaN'): f([.1, .2, .3], [0, 1, nan])
    with pytest.raises(ValueError, match='pos_label is for binary tasks'): f(np.full((4, 3), 1/3), [0, 1, 2, 2], pos_label=1)
    with pytest.raises(ValueError): f([.1, .2, .3], [0, 1])

def test_averages_of_other_tasks():
    s,y = multiclass(0)
    with pytest.raises(ValueError, match=re.escape("'weighted', None) for a multiclass task, got 'samples'")): average_precision(s, y, average='samples')
    for average in ('macro', 'weighted', 'samples'):
        with pytest.raises(ValueError, match="average must be 'micro' or None"): pr_curve(s, y, average=average)

# -- curves of many columns --

@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('task', ['multiclass', 'multilabel'])
def test_curves(task, weighted, drop, way):
    for seed in range(4):
        s,y = data[task](seed, ties=seed % 2 == 0)
        w = np.random.default_rng(seed).uniform(0, 5, len(s)) if weighted else None
        curves,labels = pr_curve(s, y, sample_weight=w, drop_intermediate=drop),hot(s, y)
        assert len(curves) == 4
        for c,curve in enumerate(curves): same_curve(curve, skm.precision_recall_curve(labels[:,c], s[:,c], sample_weight=w, drop_intermediate=drop))
        micro = pr_curve(s, y, sample_weight=w, drop_intermediate=drop, average='micro')
        pooled = None if w is None else w.repeat(4)
        same_curve(micro, skm.precision_recall_curve(labels.ravel(), s.ravel(), sample_weight=pooled, drop_intermediate=drop))

def test_the_area_in_steps_is_the_average_precision(way):
    for seed in range(5):
        s,y = binary(seed, ties=True)
        curve = pr_curve(s, y)
        close(-(curve.recall.diff()*curve.precision[:-1]).sum(), average_precision(s, y).numpy())

def test_thresholds_of_uint64(way):
    if not hasattr(torch, 'uint64'): pytest.skip('PyTorch has no uint64')
    z = torch.tensor([1, 2**62, 3, 7]).to(torch.uint64)
    assert pr_curve(z, [0, 1, 1, 0]).thresholds.tolist() == [1, 3, 7, 2.**62]

# -- tensors of all kinds --

def test_inputs_stay_as_they_are(way):
    rng = np.random.default_rng(0)
    for n in (50, 5000):
        s,y,w = rng.normal(size=(n, 3)),rng.integers(0, 2, (n, 3)),rng.random(n)
        before = s.copy(),y.copy(),w.copy()
        for kwargs in ({}, dict(sample_weight=w), dict(average='micro'), dict(average='samples')):
            average_precision_and_note(s, y, **kwargs)
            average_precision_and_note(s[:,0], y[:,0], **{**kwargs, 'average':'macro'})
        pr_curve(s, y)
        for a,b in zip((s, y, w), before): np.testing.assert_array_equal(a, b)

def test_views_and_gradients(way):
    s,y = multilabel(0, n=4000)
    want = sk(s, y, None)
    z = torch.from_numpy(s)
    for x in (z.T.contiguous().T, z.clone().requires_grad_(), z.repeat_interleave(2, 1)[:,::2], z.flip(0).flip(0)):
        close(average_precision(x, torch.from_numpy(y), average=None), want)
        with torch.no_grad(): close(average_precision(x[:,1], y[:,1]), want[1])
        with torch.inference_mode(): close(average_precision(x[:,2]*1, y[:,2]), want[2])
    assert not average_precision(z.clone().requires_grad_(), torch.from_numpy(y)).requires_grad

# -- on a device --

device_tasks = dict(binary=lambda: (rand(1000), randint(2, 1000)), two=lambda: (rand(1000, 2), randint(2, 1000)),
    half=lambda: (rand(1000).half(), randint(2, 1000)), classes=lambda: (rand(1000, 5), randint(5, 1000)),
    labels=lambda: (rand(1000, 5), randint(2, 1000, 5)), integers=lambda: (randint(9, 1000), randint(2, 1000)))

@pytest.mark.parametrize('kwargs', [{}, dict(average=None), dict(average='micro'), dict(average='samples'), dict(weighted=True), dict(ignore_index=1)])
@pytest.mark.parametrize('task', device_tasks)
def test_reads_once(task, kwargs):
    "Nothing waits but the read of the numbers"
    if task == 'classes' and kwargs.get('average') == 'samples': return
    with FakeTensorMode():
        s,y = device_tasks[task]()
        kwargs = {k:o for k,o in kwargs.items() if k != 'weighted'} | (dict(sample_weight=rand(1000)) if 'weighted' in kwargs else {})
        with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): average_precision(s, y, **kwargs)
        assert mode.n_ops > 20

@pytest.mark.parametrize('average', [None, 'micro'])
@pytest.mark.parametrize('task', device_tasks)
def test_curve_reads_before_it_waits(task, average):
    with FakeTensorMode():
        s,y = device_tasks[task]()
        with NoWaiting(), pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): pr_curve(s, y, average=average)
