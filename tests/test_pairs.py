"Fast counts on the CPU against the general way, on the same inputs, and the general way against all pairs."
import multiprocessing, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from fastai_auroc import counts, keys, roc
from sklearn.metrics import roc_auc_score, roc_curve
from fastai_auroc.keys import count_column_cpu, count_columns_cpu, pack_keys, points_cpu, unpack_keys
from fastai_auroc.pairs import area_of_points, count_class_pairs_cpu, doubled_area, partial_area, placements, placements_cpu
from fastai_auroc.counts import _count_torch, _count_cpu
from fastai_auroc.roc import auroc_score

dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32, torch.bool]
special = [0., -0., 1., -1., np.inf, -np.inf, 5e-324, -5e-324, 1e-45, -1e-45, 2.**-14, 65504., -65504., 1+2**-23, 1., 3.4e38, -3.4e38, .1, -.1]

def values(n, rng, kind):
    "Scores of several kinds, float64"
    return dict(normal=lambda: rng.normal(size=n), positive=lambda: rng.random(n), negative=lambda: -rng.random(n), tied=lambda: rng.integers(-3, 4, n)/2.,
        rounded=lambda: rng.normal(size=n).round(2), constant=lambda: np.full(n, .3), special=lambda: rng.choice(special, n),
        finite=lambda: rng.choice([o for o in special if np.isfinite(o)], n), wide=lambda: rng.normal(size=n)*10.**rng.integers(-30, 30, n),
        infinite=lambda: rng.choice([np.inf, -np.inf, 0., 1.], n), whole=lambda: rng.integers(-100, 100, n).astype(float))[kind]()

kinds = ['normal', 'positive', 'negative', 'tied', 'rounded', 'constant', 'special', 'finite', 'wide', 'infinite', 'whole']

def by_all_pairs(s, y):
    s = s.double()
    return int((2*(s[y][:,None] > s[~y]) + (s[y][:,None] == s[~y])).sum()),int(y.sum())

def weighted_pairs(s, y, w):
    "Twice the weight of the pairs won, a pair weighing the product of its rows"
    s,w = s.double(),w.double()
    right = 2.*(s[y][:,None] > s[~y]) + (s[y][:,None] == s[~y])
    return float((w[y][:,None] * w[~y] * right).sum())

def cast(x, dtype): return torch.from_numpy(x if dtype.is_floating_point else np.clip(x, -100, 100)).to(dtype)

@pytest.mark.filterwarnings('ignore:AUROC is NaN')
@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('dtype', dtypes, ids=str)
def test_one_column(dtype, kind):
    "Keys, placements and all pairs count the same, at any size and prevalence"
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 17, 300):
        for prevalence in (.02, .5, .9):
            s,y = cast(values(n, rng, kind), dtype),torch.from_numpy(rng.random(n) < prevalence)
            want = by_all_pairs(s, y)
            assert (int(placements(s, y)[~y].sum()), int(y.sum())) == want
            assert count_column_cpu(s, y) in (want, None if kind in ('special', 'finite', 'wide', 'infinite') else want)
            labels = torch.where(y, 5, 2)
            assert int(2*auroc_score(s, labels).nan_to_num()*want[1]*(n-want[1]) + .5) == want[0]  # through keys or not

def test_keys_hold_what_scores_span():
    "Only scores that use nearly all magnitudes on both sides of zero have no keys"
    y = np.zeros(3, bool)
    for dtype,tiny,huge in ((np.float32, 1e-45, 3e38), (np.float64, 5e-324, 1e308)):
        assert pack_keys(np.array([-tiny, 0, huge], dtype), y) is None
        fit = [tiny, 0, huge], [-huge, -1, huge], [-tiny, 0, tiny], [0, 0, 0], [-0., -1, -2], [-1, 0, 1e6]
        assert all(pack_keys(np.array(s, dtype), y) is not None for s in fit)
    assert pack_keys(np.array([-1, np.nan, 1]), y) is None

@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.sampled_from([np.float32, np.float64]))
def test_keys_lose_nothing(data, size):
    "Whatever fits into keys comes back from them, in their order"
    s = data.draw(arrays(size, st.integers(1, 40), elements=st.floats(width=8*np.dtype(size).itemsize, allow_nan=False)))
    packed = pack_keys(s, np.arange(len(s)) % 2)
    if packed is None: return
    keys,offset = packed
    assert np.array_equal(unpack_keys(keys, offset), s) and np.array_equal(keys & 1, np.arange(len(s)) % 2)
    keys.sort()
    assert np.array_equal(unpack_keys(keys, offset), np.sort(s))

def _points(s, y, w=None):
    "Distinct scores from the greatest down, with the weight of positives and of negatives down to each, as defined"
    w,t = (np.ones(len(s)) if w is None else w),np.unique(s[slice(None) if w is None else w > 0])[::-1]
    return t,*(np.array([w[(s >= o) & mine].sum() for o in t]) for mine in (y, ~y))

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64, torch.int8], ids=str)
def test_points(dtype, kind, weighted):
    "Points of the curve as defined, and the areas under them as pairs and the general way have them"
    rng = np.random.default_rng(5)
    for n in (1, 2, 17, 300):
        s,y = cast(values(n, rng, kind), dtype),torch.from_numpy(rng.random(n) < .4)
        w = torch.from_numpy(rng.integers(0, 3, n)*rng.random(n)) if weighted else None
        res = points_cpu(s, y, weight=w)
        if res is None: assert kind in ('special', 'finite', 'wide', 'infinite') and not weighted
        else:
            defined = _points(s.double().numpy(), y.numpy(), w if w is None else w.numpy())
            for ours,want in zip(res, defined): np.testing.assert_allclose(ours, want, rtol=1e-14, atol=1e-14)
            p,q = (o[-1] if len(o) else 0 for o in res[1:])
            if not p or not q: continue
            own = torch.ones(n) if w is None else w
            np.testing.assert_allclose(doubled_area(*res[1:]), weighted_pairs(s, y, own), rtol=1e-12)
            for r in (.1, .6): np.testing.assert_allclose(area_of_points(*res[1:], r), partial_area(s, own*y, own*~y, r), atol=1e-12)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('kind', ['normal', 'rounded'])
@pytest.mark.parametrize('threads', [1, 2])
def test_points_of_many_rows(dtype, kind, threads):
    "Across blocks, the curve is scikit-learn's; with weights but for the rounding, since releases of it differ in the order of ties"
    rng = np.random.default_rng(6)
    n = 8*keys.block_size + 3
    s,y,w = cast(values(n, rng, kind), dtype),torch.from_numpy(rng.random(n) < .3),torch.from_numpy(rng.random(n))
    for weight in (None, w):
        t,tps,fps = points_cpu(s, y, weight=weight, threads=threads)
        fpr,tpr,thresholds = roc_curve(y, s, sample_weight=weight, drop_intermediate=False)
        assert np.array_equal(t, thresholds[1:])
        for ours,theirs in ((tps, tpr), (fps, fpr)): np.testing.assert_allclose(ours/ours[-1], theirs[1:], rtol=0 if weight is None else 1e-12)
        want = roc_auc_score(y, s, sample_weight=weight)
        assert abs(doubled_area(tps, fps)/(2*float(tps[-1])*float(fps[-1])) - want) < 1e-12

@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('dtype', dtypes, ids=str)
def test_each_row(dtype, kind):
    rng = np.random.default_rng(7)
    s,y = cast(values(300, rng, kind), dtype),torch.from_numpy(rng.random(300) < .3)
    assert torch.equal(placements_cpu(s, y), placements(s, y))

def _count_in_child(s, y, queue): queue.put(count_columns_cpu(s, y, threads=2))

@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork')
def test_forked_processes_have_threads_of_their_own():
    "A process forked after the parent has used threads, as a DataLoader's worker is, does not wait for the parent's"
    s,y = torch.randn(2**16, 20),torch.arange(2**16) % 20
    want,context = count_columns_cpu(s, y, threads=2),multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    child = context.Process(target=_count_in_child, args=(s, y, queue), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0 and queue.get() == want

@pytest.mark.parametrize('threads', [1, 2, 3])
@pytest.mark.parametrize('kind', ['normal', 'positive', 'tied', 'rounded', 'wide'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64], ids=str)
def test_many_rows(dtype, kind, threads):
    "Across blocks and threads, where runs of ties cross their borders"
    rng = np.random.default_rng(1)
    n = 9*keys.block_size + 5
    s,y = cast(values(n, rng, kind), dtype),torch.from_numpy(rng.random(n) < .3)
    res = count_column_cpu(s, y, threads=threads)
    if kind == 'wide' and dtype != torch.float16: assert res is None or dtype == torch.float64
    if res is not None: assert res == (int(placements(s, y)[~y].sum()), int(y.sum()))

@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.sampled_from([np.float16, np.float32, np.float64]))
def test_any_floats(data, size):
    s = data.draw(arrays(size, st.integers(2, 40), elements=st.floats(width=8*np.dtype(size).itemsize, allow_nan=False)))
    y = data.draw(arrays(bool, len(s)))
    res,want = count_column_cpu(torch.from_numpy(s), torch.from_numpy(y)),by_all_pairs(torch.from_numpy(s), torch.from_numpy(y))
    assert res in (want, None)
    assert (int(placements(torch.from_numpy(s), torch.from_numpy(y))[~torch.from_numpy(y)].sum()), int(y.sum())) == want

def judged(s, y, **kwargs):
    "Counts of the fast and of the general path, where the fast one has any"
    fast,(general,*notes) = _count_cpu(s, y, **kwargs),_count_torch(s, y, **kwargs)
    assert fast is None or not any(notes)
    return fast,general.tolist()

@pytest.mark.parametrize('kwargs', [{}, dict(layout='micro'), dict(layout='ovo'), dict(ignore_index=1), dict(layout='ovo', ignore_index=1)], ids=str)
@pytest.mark.parametrize('kind', ['normal', 'tied', 'constant', 'infinite'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32, torch.float64, torch.int8], ids=str)
@pytest.mark.parametrize('k,n', [(3, 50), (40, 2000), (70, 200)])
def test_classes(dtype, kind, k, n, kwargs):
    "Each class against the rest, all pooled, one against one; some classes rare, one frequent, some absent"
    rng = np.random.default_rng(2)
    s,y = cast(values(n*k, rng, kind), dtype).reshape(n, k),torch.from_numpy(np.where(rng.random(n) < .3, 0, rng.integers(0, k, n)))
    fast,general = judged(s, y, **kwargs)
    assert fast == general or (fast is None and kind == 'infinite')

@pytest.mark.parametrize('micro', [False, True])
@pytest.mark.parametrize('kind', ['normal', 'tied', 'infinite'])
@pytest.mark.parametrize('labels', [torch.bool, torch.int64, torch.float32, torch.uint8], ids=str)
def test_labels(kind, labels, micro):
    rng = np.random.default_rng(3)
    s,y = cast(values(4000, rng, kind), torch.float32).reshape(100, 40),torch.from_numpy(rng.random((100, 40)) < np.linspace(.01, .9, 40)).to(labels)
    fast,general = judged(s, y, layout='micro' if micro else 'ovr')
    assert fast == general or (fast is None and kind == 'infinite')

@pytest.mark.parametrize('s,y', [([.1, .2], [1, 1]), ([.1, .2, .3], [0, 1, 2]), ([.1, np.nan], [0, 1]), ([.1, .2, .3], [0, .5, 1]),
    ([-1e-45, 1, 3e38], [0, 1, 1]), ([-np.inf, 1, np.inf], [0, 1, 1])], ids=str)
def test_what_the_fast_path_leaves_to_the_general_one(s, y):
    "Few rows need no keys, so these are many"
    assert _count_cpu(torch.tensor(s).repeat(2**11), torch.tensor(y).repeat(2**11)) is None

@pytest.mark.parametrize('labels', [[0., 1, 2], [0, 1, 3], [-1, 0, 1]])
def test_class_numbers_the_fast_path_leaves_to_the_general_one(labels): assert _count_cpu(torch.rand(3, 3), torch.tensor(labels)) is None

def test_inputs_are_not_changed():
    "Sorting happens on copies"
    s,m,y = torch.randn(500),torch.randn(500, 40),torch.randint(0, 2, (500,))
    s0,m0 = s.clone(),m.clone()
    auroc_score(s, y)
    for kwargs in ({}, dict(average='micro'), dict(multi_class='ovo')): auroc_score(m, torch.arange(500) % 40, activation='identity', **kwargs)
    assert torch.equal(s, s0) and torch.equal(m, m0)

@pytest.mark.parametrize('f', [count_columns_cpu, count_class_pairs_cpu])
def test_layouts(f):
    "Transposed and sliced matrices count like copies of them"
    m,y = torch.randn(60, 200),torch.arange(200) % 30
    copied = f(m[::2].T.contiguous(), y)
    assert torch.equal(torch.as_tensor(copied), torch.as_tensor(f(m[::2].T, y)))
    assert counts._count_cpu(m[::2].T, y, layout='ovo' if f is count_class_pairs_cpu else 'ovr') is not None

@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.bfloat16, torch.float16, torch.float32, torch.float64]
    + [getattr(torch, o) for o in ('uint16', 'uint32') if hasattr(torch, o)], ids=str)
def test_labels_of_any_dtype(dtype):
    "What labels are made of does not matter, on any path"
    s,y = torch.randn(300, generator=torch.manual_seed(0)),torch.arange(300) % 2
    several = torch.randint(0, 2, (30, 10), generator=torch.manual_seed(1))
    two,many = torch.stack([1-s.sigmoid(), s.sigmoid()], 1),s.reshape(30, 10)
    def same(scores, labels, **kwargs): return torch.equal(auroc_score(scores, labels.to(dtype), **kwargs), auroc_score(scores, labels, **kwargs))
    assert same(s, y) and same(two, y) and same(s, y, max_fpr=.5) and same(s, y, sample_weight=torch.ones(300)) and same(many, several)
    assert all(torch.equal(a, b) for a,b in zip(roc.roc_curve(s, y.to(dtype)), roc.roc_curve(s, y)))
    if dtype == torch.bool: return
    for kwargs in ({}, dict(multi_class='ovo'), dict(average='micro'), dict(max_fpr=.5)): assert same(many, torch.arange(30) % 10, activation='softmax', **kwargs)

def by_bisection(s, y):
    "2U and the number of positives, from the definition in float64, which holds all of these dtypes"
    s,y = s.double().numpy(),y.numpy()
    wanted,others = np.sort(s[y]),np.sort(s[~y])
    return sum(int(others.searchsorted(wanted, side).sum()) for side in ('left', 'right')),len(wanted)

few,many = 2**11,2**16  # from so many rows on there are keys; histograms of half precision

@pytest.mark.parametrize('n', [few-1, few, few+1, many-1, many, many+1])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_where_the_method_changes(dtype, n):
    "Bisection, keys and histograms count the same pairs, whatever stands for the labels, and leave the inputs as they are"
    rng = np.random.default_rng(n)
    for kind in ('normal', 'positive', 'negative', 'tied', 'rounded', 'constant'):
        s,y = cast(values(n, rng, kind), dtype),torch.from_numpy(rng.random(n) < .3)
        before,want = s.clone(),by_bisection(s, y)
        assert count_column_cpu(s, y) == count_column_cpu(s, torch.where(y, 7, 3), 7) == want
        assert torch.equal(s, before)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_every_value_of_half_precision(dtype):
    "All 65,536 patterns of bits but NaN, zeros of both signs and infinities among them, in random order"
    rng = np.random.default_rng(3)
    bits = torch.from_numpy(np.tile(rng.permutation(2**16), 3).astype(np.uint16).view(np.int16))
    every = bits.view(dtype)
    s = every[~every.isnan()]
    y = torch.from_numpy(rng.random(len(s)) < .2)
    assert len(s) >= many and count_column_cpu(s, y) == by_bisection(s, y)
    for nan in (0x7fff, -1):  # of either sign, with all bits of the fraction
        odd = torch.tensor([nan], dtype=torch.int16).view(dtype)
        assert count_column_cpu(torch.cat([s, odd]), torch.cat([y, y[:1]])) is None

@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('row', [0, 70_000, -1])
def test_magnitudes_next_to_zero(dtype, row):
    "Scores beyond 2 leave no room for the smallest magnitudes, wherever one of them stands; zeros and others have keys"
    rng = np.random.default_rng(4)
    s,y = 4*rng.normal(size=140_000).astype(dtype),rng.random(140_000) < .3
    skipped = (np.abs(s).max().view(f'u{s.itemsize}') - dtype(2).view(f'u{s.itemsize}') + 1).view(dtype)  # the offset
    beyond,least = np.nextafter(skipped, dtype(1)),np.nextafter(dtype(0), dtype(1))
    for x,fits in ((0., True), (-0., True), (skipped, False), (-skipped, False), (beyond, True), (least, False)):
        s[row] = x
        packed = pack_keys(s, y)
        assert (packed is not None) == fits
        if fits:
            assert np.array_equal(unpack_keys(*packed), s)
            assert count_column_cpu(torch.from_numpy(s), torch.from_numpy(y)) == by_bisection(torch.from_numpy(s), torch.from_numpy(y))
