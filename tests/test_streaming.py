"`StreamingAUC` against the definitions written out as a sweep over thresholds, against scikit-learn's exact AUROC, and against Keras's names and manners."
import copy, inspect, io, numpy as np, pickle, pytest, torch, warnings
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import roc_auc_score
from torch._subclasses import FakeTensorMode
from fastai_auroc import scores
from fastai_auroc.buckets import Buckets, bucket_wins, count_buckets, quantile_thresholds, spaced_thresholds
from fastai_auroc.streaming import StreamingAUC
from test_device import HostRead, NoWaiting, rand, randint

steady = settings(max_examples=30, deadline=None, derandomize=True)
curves,methods = ['ROC', 'PR', 'PRGAIN'],['interpolation', 'majoring', 'minoring']
every_area = pytest.mark.parametrize('curve,method', [(c, m) for c in curves for m in methods])

pytestmark = pytest.mark.usefixtures('one_thread')

# The definitions

def cuts_of(T): return np.array([-1e-7, *(i/(T-1) for i in range(1, T-1)), 1+1e-7])

def over(a, b): return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)

def sweep(y, p, cuts, curve='ROC', method='interpolation', w=None):
    "Area under the curve of one column: positive is what lies above a threshold, asked for each threshold anew"
    y,p = np.asarray(y).reshape(-1) != 0,np.asarray(p).reshape(-1)
    if p.dtype not in (np.float32, np.float64): p = p.astype(np.float32)
    w = np.ones(len(y)) if w is None else np.asarray(w, float).reshape(-1)
    above = p > np.asarray(cuts).astype(p.dtype)[:,None]
    tp,fp = np.array([w[o & y].sum() for o in above]),np.array([w[o & ~y].sum() for o in above])
    pos,neg = w[y].sum(),w[~y].sum()
    if curve == 'PR' and method == 'interpolation':
        tpa,tpb,pa,pb = tp[:-1],tp[1:],(tp+fp)[:-1],(tp+fp)[1:]
        slope = over(tpa-tpb, pa-pb)
        log = np.log(np.where((pa > 0) & (pb > 0), pa, 1)/np.where((pa > 0) & (pb > 0), pb, 1))
        return over(slope*(tpa-tpb + (tpb - slope*pb)*log), pos).sum()
    if curve == 'ROC': x,h = over(fp, neg),over(tp, pos)
    elif curve == 'PR': x,h = over(tp, pos),over(tp, tp+fp)
    else:
        x = np.maximum(np.where(tp > 0, 1 - over(pos, neg)*over(pos-tp, tp), 0), 0)
        h = np.where(tp > 0, 1 - over(pos, neg)*over(fp, tp), 1)
    heights = dict(interpolation=(h[:-1]+h[1:])/2, minoring=np.minimum(h[:-1], h[1:]), majoring=np.maximum(h[:-1], h[1:]))
    return ((x[:-1]-x[1:])*heights[method]).sum()

def result(*args, times=1, **kwargs):
    "Result of a metric of `kwargs` after one update, warnings left aside"
    m = StreamingAUC(**kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for _ in range(times): m.update_state(*args)
        res = m.result()
    assert res.ndim == 0 and res.dtype == torch.float64 and res.device.type == 'cpu'
    return res.item()

def near(x, **kwargs): return pytest.approx(x, rel=1e-12, abs=1e-12, **kwargs)

# Values

y4,p4,w4 = [0, 0, 1, 1],[0, .5, .3, .9],[1, 2, 3, 4]

@pytest.mark.parametrize('curve,method,w,want', [
    ('ROC', 'interpolation', None, .75), ('ROC', 'interpolation', w4, .785714), ('ROC', 'majoring', w4, 1), ('ROC', 'minoring', w4, .571429),
    ('PR', 'interpolation', w4, .916613), ('PR', 'majoring', w4, 1), ('PR', 'minoring', w4, .3),
    ('PRGAIN', 'interpolation', w4, .5), ('PRGAIN', 'majoring', w4, 1), ('PRGAIN', 'minoring', w4, 0)])
def test_values(curve, method, w, want):
    "Those of Keras's tests"
    assert result(y4, p4, w, num_thresholds=3, curve=curve, summation_method=method) == pytest.approx(want, abs=5e-7)
    assert sweep(y4, p4, cuts_of(3), curve, method, w) == pytest.approx(want, abs=5e-7)

def test_precision_recall_gain(): assert result([0, 1, 0, 0], [.9, .6, .2, .1], num_thresholds=5, curve='PRGAIN') == pytest.approx(.8333, abs=5e-5)

def test_second_update():
    m = StreamingAUC()
    m.update_state([0, 1, 1, 1], [0, 1, 0, 0])
    assert m.result().item() == near(2/3)
    m.update_state([1, 1, 1, 1], [0, 1, 1, 0])
    assert m.result().item() == near(5/7)

def test_strictly_above():
    "A score at a threshold is not above it"
    assert result([0, 1], [.5, .51], num_thresholds=3) == 1 and result([0, 1], [.49, .5], num_thresholds=3) == .5

@pytest.mark.parametrize('T', [2, 3, 4, 5, 11, 200])
def test_thresholds(T):
    m = StreamingAUC(T)
    assert m.thresholds == spaced_thresholds(T).tolist() == pytest.approx(cuts_of(T).tolist(), rel=1e-15)
    assert m.num_thresholds == len(m.thresholds) == T and spaced_thresholds(T).dtype == np.float64

@pytest.mark.parametrize('kind', [list, tuple, np.array, lambda o: torch.tensor(o, dtype=torch.float64)], ids=['list', 'tuple', 'array', 'tensor'])
def test_thresholds_between(kind):
    m = StreamingAUC(thresholds=kind([.7, .1, .4]))
    assert m.thresholds == [-1e-7, .1, .4, .7, 1+1e-7] and m.num_thresholds == 5

@pytest.mark.parametrize('T', [3, 4, 5, 20, 200])
def test_logit_thresholds(T):
    "Ascending, as many as asked for, symmetric around one half, evenly spaced in log-odds"
    t = spaced_thresholds(T, 'logit')
    odds = np.log(t[1:-1]) - np.log1p(-t[1:-1])
    assert len(t) == T and (np.diff(t) > 0).all() and np.allclose(t + t[::-1], 1, atol=1e-15) and np.allclose(np.diff(odds, 2), 0, atol=1e-8)

def test_quantile_thresholds():
    "Parts of one size, whatever the shape and the order of the sample; repetitions are left out"
    s = np.random.default_rng(0).permutation(np.arange(1000)/1000)
    t = quantile_thresholds(s, 11)
    assert len(t) == 9 and isinstance(t, list) and t == sorted(set(t)) and set(t) <= set(s)
    assert np.abs(np.histogram(s, [0, *np.nextafter(t, 1), 1])[0] - 100).max() <= 1
    assert quantile_thresholds(torch.tensor(s).reshape(10, 100), 11) == t == quantile_thresholds(s.tolist(), 11)
    assert quantile_thresholds([.5]*10) == [.5] and quantile_thresholds([.1, .9], 2) == []

# The sweep

def on_and_between(cuts, dtype):
    "Scores at the thresholds, right beside them, halfway, and at the ends"
    inner = np.array([0, *cuts[1:-1][:8], *cuts[1:-1][-4:], 1]).astype(dtype)
    halves = (inner[:-1]+inner[1:])/2
    pool = np.concatenate([inner, halves, np.nextafter(inner, inner.dtype.type(0)), np.nextafter(inner, inner.dtype.type(1))])
    return np.unique(pool.clip(0, 1)).tolist()

@st.composite
def data(draw, columns=None, both=False):
    "Targets, scores, weights that add up without rounding, thresholds"
    given_ = draw(st.one_of(st.sampled_from([2, 3, 5, 11, 200]), st.lists(st.sampled_from([0, .1, .25, .3, 1/3, .5, .75, .9, 1]), max_size=5)))
    cuts = cuts_of(given_) if isinstance(given_, int) else np.array([-1e-7, *sorted(given_), 1+1e-7])
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16]))
    n = draw(st.integers(1, 14))
    shape = (n,) if columns is None else (n, draw(st.integers(1, columns)))
    def many(o): return draw(st.lists(o, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    p = np.array(many(st.sampled_from(on_and_between(cuts, dtype))), dtype).reshape(shape)
    y = np.array(many(st.booleans())).reshape(shape)
    w = np.array(many(st.integers(0, 12))).reshape(shape)/4
    if both: assume(all(((w*y).reshape(n, -1).sum(0) > 0) & ((w*~y).reshape(n, -1).sum(0) > 0)))
    return y,p,w,cuts,dict(num_thresholds=given_) if isinstance(given_, int) else dict(thresholds=given_)

@every_area
@given(st.data(), st.booleans(), st.sampled_from([int, float, bool]), st.sampled_from([list, np.asarray, torch.tensor]))
@steady
def test_sweep(curve, method, o, weighted, target, as_):
    "Scores on and between thresholds, in every precision, type and kind of target"
    y,p,w,cuts,kwargs = o.draw(data(both=curve == 'PRGAIN'))
    want = sweep(y, p.astype(np.float64) if as_ is list else p, cuts, curve, method, w if weighted else None)
    y,p,w = (x.tolist() if as_ is list else as_(x) for x in (y.astype(target), p, w))
    assert result(y, p, w if weighted else None, curve=curve, summation_method=method, **kwargs) == near(want)

@every_area
@given(st.data(), st.booleans(), st.sampled_from([None, 'n', 'n1', 'full']))
@steady
def test_sweep_of_labels(curve, method, o, label_weights, weights):
    "Mean of the areas of all columns"
    y,p,w,cuts,kwargs = o.draw(data(columns=3, both=curve == 'PRGAIN'))
    L = p.shape[1]
    if weights in ('n', 'n1'): w = np.broadcast_to(1 + w[:,:1], p.shape)
    lw = np.array([.5, 2, 3][:L]) if label_weights else np.ones(L)
    want = np.average([sweep(y[:,i], p[:,i], cuts, curve, method, None if weights is None else w[:,i]) for i in range(L)], weights=lw)
    w = dict([(None, None), ('n', w[:,0]), ('n1', w[:,:1]), ('full', w)])[weights]
    kwargs = dict(kwargs, curve=curve, summation_method=method, multi_label=True, num_labels=L)
    assert result(y, p, w, label_weights=lw.tolist() if label_weights else None, **kwargs) == near(want)

@every_area
@given(st.data(), st.booleans())
@steady
def test_sweep_of_flat_label_weights(curve, method, o, weighted):
    "Without `multi_label` they multiply the weights of all entries"
    y,p,w,cuts,kwargs = o.draw(data(columns=3, both=True))
    lw = np.array([.5, 2, 3][:p.shape[1]])
    want = sweep(y, p, cuts, curve, method, lw*(w if weighted else np.ones_like(w)))
    assert result(y, p, w if weighted else None, label_weights=lw, curve=curve, summation_method=method, **kwargs) == near(want)

def test_all_label_weights_zero(): assert result([[0, 1], [1, 0]], [[.1, .9], [.9, .1]], multi_label=True, label_weights=[0, 0]) == 0

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.int64, torch.bool, torch.uint8])
def test_other_dtypes(dtype):
    y,p = torch.tensor([0, 1, 1, 0, 1, 0]),torch.tensor([0., 1, 0, 1, 1, 0]).to(dtype)
    assert result(y, p) == near(sweep(y, p.double().numpy(), cuts_of(200))) == near(2/3)

@pytest.mark.parametrize('y_shape,p_shape', [((60,), (60,)), ((60,), (60, 1)), ((60, 1), (60,)), ((60, 1), (60, 1)), ((20, 3), (20, 3)), ((5, 3, 4), (5, 3, 4)),
    ((5, 1, 12), (5, 12)), ((5, 12), (5, 1, 12)), ((2, 3, 5, 2), (2, 3, 5, 2))])
def test_shapes(y_shape, p_shape):
    "Flat: one area of all entries, in their order"
    rng = np.random.default_rng(0)
    y,p,w = rng.integers(0, 2, 60),rng.random(60),rng.random(60)
    want,weighted = sweep(y, p, cuts_of(200)),sweep(y, p, cuts_of(200), w=w)
    y,p = y.reshape(y_shape),p.reshape(p_shape)
    assert result(y, p) == near(want) and result(y, p, w.reshape(p_shape)) == near(weighted)

@pytest.mark.parametrize('p_shape', [(12,), (12, 1), (12, 3), (12, 12), (12, 3, 2)])
@pytest.mark.parametrize('w_shape', [(), (12,), (12, 1), 'full'])
def test_weights_of_rows(p_shape, w_shape):
    "A number serves all, a row's weight all its entries"
    if len(p_shape) == 3 and w_shape == (12, 1): w_shape = 12,1,1
    rng = np.random.default_rng(1)
    y,p,w = rng.integers(0, 2, p_shape),rng.random(p_shape),rng.random(p_shape if w_shape == 'full' else w_shape)
    wide = np.broadcast_to(w if w_shape == 'full' or not w_shape else w.reshape(12, *[1]*(len(p_shape)-1)), p_shape)
    assert result(y, p, w) == near(sweep(y, p, cuts_of(200), w=wide))
    if not w_shape: assert result(y, p, 3) == near(sweep(y, p, cuts_of(200)))

def test_non_contiguous_scores(recwarn):
    "Columns and slices are taken as they come, without a word from torch"
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        p = torch.rand(3, 40)
        y = (p + torch.rand(3, 40) > 1).T
        StreamingAUC(multi_label=True).update_state(y, p.T)
        got = [result(y, p.T, multi_label=True), result(y[::2], p.T[::2])]
    finally: torch.set_warn_always(always)
    assert got[0] == near(np.mean([sweep(y[:,i], p[i].numpy(), cuts_of(200)) for i in range(3)]))
    assert got[1] == near(sweep(y[::2], p.T[::2].numpy(), cuts_of(200)))
    assert not recwarn

# Logits

@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16])
def test_from_logits(dtype):
    "Converted in float64, extremes too"
    z = torch.cat([torch.randn(200)*4, torch.tensor([-1e4, 1e4, -100, 100, float('inf'), -float('inf'), 0])]).to(dtype)
    y = (z + torch.randn(207)*4 > 0).int()
    with np.errstate(over='ignore'): p = 1/(1+np.exp(-z.double().numpy()))
    for kwargs,cuts in ({}, cuts_of(200)),(dict(thresholds='logit'), spaced_thresholds(200, 'logit')):
        assert result(y, z, from_logits=True, **kwargs) == near(sweep(y, p, cuts))

def test_extreme_logits_are_told_apart():
    "Rare events: what float32's sigmoid would merge with 1 stays below it by logit thresholds"
    z,y = [-14., -12, -10, 8, 10, 12, 14],[0, 1, 0, 1, 0, 1, 1]
    assert result(y, z, from_logits=True, thresholds='logit') == near(roc_auc_score(y, z))

# Batches

@given(st.data(), st.booleans(), st.integers(0, 999))
@steady
def test_any_batches_in_any_order(o, multi_label, seed):
    "As one update, and as parts merged, with weights and without"
    y,p,w,_,kwargs = o.draw(data(columns=3))
    rng = np.random.default_rng(seed)
    order,cut = rng.permutation(len(p)),np.sort(rng.integers(0, len(p)+1, 3))
    for weights in None,w:
        kw = dict(kwargs, multi_label=multi_label)
        whole,parts,shares = StreamingAUC(**kw),StreamingAUC(**kw),[StreamingAUC(**kw) for _ in range(4)]
        whole.update_state(y, p, weights)
        for rows,share in zip(np.split(order, cut), shares):
            batch = y[rows],p[rows],None if weights is None else w[rows]
            for m in parts,share: m.update_state(*batch)
        empty = StreamingAUC(**kw)
        empty.merge_state([shares[2], StreamingAUC(**kw), *shares[:2], shares[3]])
        shares[0].merge_state(shares[1:])
        want = whole.state_dict()
        for m in parts,empty,shares[0]:
            assert torch.equal(m.state_dict()['counts'], want['counts']) and m.state_dict()['counts'].dtype == want['counts'].dtype
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                assert m.result() == whole.result()

def test_empty_batches():
    "An update without rows changes nothing"
    m = StreamingAUC()
    m.update_state([], [])
    m.update_state(y4, p4, w4)
    m.update_state(torch.zeros(0, 1), torch.zeros(0), torch.zeros(0))
    assert m.result().item() == result(y4, p4, w4)

def test_weighted_and_unweighted_batches():
    m = StreamingAUC()
    m.update_state(y4, p4)
    m.update_state(y4, p4, w4)
    m.update_state(y4, p4, .5)
    assert m.result().item() == near(sweep(y4, p4, cuts_of(200), w=np.array(w4)+1.5))

def test_update_does_not_change_its_inputs():
    y,p,w = torch.tensor(y4),torch.tensor(p4, requires_grad=True),torch.tensor(w4)
    before = [o.clone() for o in (y, p, w)]
    m = StreamingAUC(label_weights=[2.])
    m.update_state(y[:,None], p[:,None], w)
    assert all(torch.equal(a, b) for a,b in zip((y, p, w), before)) and not m.result().requires_grad

def test_no_updates():
    "0, as in Keras, with one warning; again after a reset"
    for kwargs in {},dict(curve='PR'),dict(curve='PRGAIN'),dict(multi_label=True),dict(thresholds='bits'):
        m = StreamingAUC(name='mine', **kwargs)
        for _ in range(2):
            m.reset_state()
            with pytest.warns(UserWarning, match='^mine: no rows were counted, and the area is 0, as in Keras$') as record:
                for _ in range(3): assert m.result().item() == 0
            assert len(record) == 1 and record[0].filename == __file__
    with pytest.warns(UserWarning, match='no rows were counted') as record: assert tuple(StreamingAUC().result_bounds()) == (0, 0)
    assert len(record) == 1

faulty = dict(scores=([0, 1, 1], [.2, 7, -1], None, r'2 of the scores are not in \[0, 1\], so the area is NaN; logits need from_logits=True'),
    targets=([0., np.nan, 1], [.2, .7, .8], None, '1 of the targets are NaN, so the area is NaN'),
    weights=([0, 1, 1], [.2, .7, .8], [1., -1, np.nan], '2 of the weights are negative or not finite, so the area is NaN'),
    all=([0., np.nan, 1, 1], [.2, 7, .8, 7], [1., -1, np.inf, 1],
        r'1 of the scores are not in \[0, 1\] and 1 of the targets are NaN and 1 of the weights are negative or not finite, .*; logits need from_logits=True'))

@pytest.mark.parametrize('kwargs', [{}, dict(thresholds='bits'), dict(multi_label=True), dict(label_weights=[2.])], ids=['cuts', 'bits', 'labels', 'label weights'])
@pytest.mark.parametrize('fault', faulty)
def test_the_fault_is_named(fault, kwargs):
    "Scores, targets or weights, whichever it is, over several updates and in a merged metric; counts of unknown origin name all three"
    y,p,w = (o and torch.tensor(o)[:,None] for o in faulty[fault][:3])
    says = faulty[fault][3]
    m,both,loaded = (StreamingAUC(**kwargs) for _ in range(3))
    m.update_state(y, p, w)
    m.update_state([[0]], [[.1]])  # a good one
    both.merge_state([m])
    for o in m,both,pickle.loads(pickle.dumps(m)):
        with pytest.warns(UserWarning, match=f'^auc: {says}$'): assert o.result().isnan()
    loaded.load_state_dict(m.state_dict())
    with pytest.warns(UserWarning, match='of the scores .*, or their weights are negative or not finite, or their targets NaN'): assert loaded.result().isnan()
    m.reset_state()
    assert m([[0], [1]], [[.1], [.8]]) > .99

@pytest.mark.parametrize('reset', ['reset_state', 'reset_states'])
def test_reset(reset):
    m = StreamingAUC(multi_label=True)
    m.update_state([[0, 1], [1, 0]], [[.1, .9], [.8, .7]])
    getattr(m, reset)()
    assert m.result().item() == 0
    assert m([[0, 1, 1], [1, 0, 0]], [[.1, .9, .4], [.8, .7, .5]]).item() == near(2/3)

def test_call_updates_then_tells_all():
    m = StreamingAUC(3)
    assert m(y4, p4, sample_weight=w4).item() == near(result(y4, p4, w4, num_thresholds=3))
    assert m(y4, p4).item() == near(sweep(y4, p4, cuts_of(3), w=np.array(w4)+1)) and m.result() == m.result()

# Counts

def test_counts_are_exact_beyond_float32():
    "Where Keras's float32 counts stall, at 2 to the 24, one row more is one more"
    m = StreamingAUC(3)
    m.update_state([0, 0, 1, 1], [.1, .7, .2, .9])
    state = m.state_dict()
    m.load_state_dict(dict(state, counts=state['counts']*2**40))
    for _ in range(3): m.update_state([1], [.8])
    counts = m.state_dict()['counts']
    assert counts.dtype == torch.int64 and counts.tolist() == [[0, 2**40, 2**40, 0], [0, 2**40, 2**40+3, 0]]
    p = 2**41+3
    assert m.result().item() == pytest.approx((2**40*(.5*2**40 + 2**40+3) + 2**40*.5*(2**40+3))/p/2**41, rel=1e-14)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.int32])
def test_weights_are_float64(dtype):
    m = StreamingAUC()
    m.update_state(y4, p4, torch.tensor([2**24, 1, 1, 1]).to(dtype) if dtype != torch.float16 else torch.ones(4).half())
    for _ in range(3): m.update_state([0], [0.], torch.tensor([1.]).to(dtype))
    counts = m.state_dict()['counts']
    assert counts.dtype == torch.float64 and counts[0].sum().item() == (2**24+4 if dtype != torch.float16 else 5)

@given(st.data(), st.booleans())
@steady
def test_count_buckets(o, weighted):
    "Row by row, thresholds below each score counted by hand"
    y,p,w,cuts,_ = o.draw(data(columns=3))
    p = p.astype(np.float64)
    got = count_buckets(torch.tensor(p), torch.tensor(y), torch.tensor(cuts), torch.tensor(w) if weighted else None)
    want = np.zeros((p.shape[1], 2, len(cuts)+1))
    for i,j in np.ndindex(p.shape): want[j,int(y[i,j]),sum(p[i,j] > t for t in cuts)] += w[i,j] if weighted else 1
    assert got.dtype == (torch.float64 if weighted else torch.int64) and np.array_equal(got.numpy(), want)
    flat = count_buckets(torch.tensor(p[:,0]), torch.tensor(y[:,0]), torch.tensor(cuts), torch.tensor(w[:,0]) if weighted else None)
    assert np.array_equal(flat.numpy(), want[0])

def test_bucket_wins():
    "Pairs by brute force over buckets, in integers"
    counts = torch.randint(0, 9, (4, 2, 6))
    for i,(won,p,n) in enumerate(zip(*(o.tolist() for o in bucket_wins(counts)))):
        neg,pos = counts[i].tolist()
        assert won == sum(a*b*(2 if j > k else j == k) for j,a in enumerate(pos) for k,b in enumerate(neg)) and (p, n) == (sum(pos), sum(neg))

def test_bucket_wins_of_very_many_rows():
    "More pairs than int64 can count, as 16,384 images of 512 by 512 pixels have"
    won,p,n = (float(o) for o in bucket_wins(torch.tensor([[2**32, 2**31], [2**31, 2**32]])))
    assert (p, n) == (3*2.**31, 3*2.**31) and won == pytest.approx(2**31*2**32 + 2**32*(2*2**32 + 2**31), rel=1e-12)

def test_buckets():
    b = Buckets(np.array([-np.inf, 0, np.inf]), -np.inf, np.inf)
    assert b.counts is None
    b.add(torch.tensor([-3., 0, 2, np.nan]), torch.tensor([True, False, True, False]))
    b.add(torch.tensor([1, 2], dtype=torch.float16), torch.tensor([True, False]))
    assert b.counts.tolist() == [[0, 1, 1, 1], [0, 1, 2, 0]] and b.improper.item() == 1
    b.reset()
    assert b.counts is None and b.improper is None

# Bounds

def rare(n, prevalence=.01, gap=1.4, seed=0):
    "Events whose scores all lie far below one half"
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) < n*prevalence)
    return y,1/(1+np.exp(-(rng.normal(size=n)*.7 + gap*y - 6.5)))

def even(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y,(rng.random(n) + y*.4)/1.4

def tied(n, seed=0): return (lambda y, p: (y, p.round(1)))(*even(n, seed))

@pytest.mark.parametrize('make', [even, tied, rare])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('thresholds', [None, 'logit'])
def test_bounds(make, weighted, thresholds):
    "Bracket scikit-learn's exact AUROC, and the tighter the more thresholds"
    widths = []
    for seed in range(4):
        y,p = make(2000, seed=seed)
        w = np.random.default_rng(9).random(2000) if weighted else None
        exact,row = roc_auc_score(y, p, sample_weight=w),[]
        for T in 2,3,5,9,17,65,257:
            m = StreamingAUC(T, thresholds=thresholds, summation_method='majoring')
            m.update_state(y, p, w)
            low,high = m.result_bounds()
            assert 0 <= low <= exact+1e-12 and exact-1e-12 <= high <= 1+1e-12 and high == m.result()
            row.append((high-low).item())
        widths.append(row)
    mean = np.mean(widths, 0)
    assert mean[0] == near(1) and mean[-1] < mean[0] and (np.diff(mean)[-2:] <= 1e-12).all()

@pytest.mark.parametrize('T', [3, 5, 9, 17, 33, 65])
def test_bounds_shrink(T):
    "Each doubling keeps all thresholds and adds others, so bounds never widen"
    y,p = even(500)
    coarse,fine = StreamingAUC(T),StreamingAUC(2*T-1)
    for m in coarse,fine: m.update_state(y, p)
    (a, b),(c, d) = coarse.result_bounds(),fine.result_bounds()
    assert a <= c+1e-12 and d <= b+1e-12 and d-c < b-a

def test_bounds_of_labels():
    "Between which the mean of the exact areas lies"
    rng = np.random.default_rng(3)
    y,lw = rng.integers(0, 2, (500, 3)),[1, 2, 5]
    p = (rng.random((500, 3)) + y*[.1, .3, .5])/1.5
    m = StreamingAUC(20, multi_label=True, label_weights=lw)
    m.update_state(y, p)
    exact = roc_auc_score(y, p, average=None)@np.array(lw)/8
    low,high = m.result_bounds()
    assert m.result_bounds().low < exact < m.result_bounds().high and high-low < .1

@pytest.mark.parametrize('curve', ['PR', 'PRGAIN'])
def test_only_roc_has_bounds(curve):
    with pytest.raises(ValueError, match=f"curve='{curve}'"): StreamingAUC(curve=curve).result_bounds()

@pytest.mark.parametrize('prevalence', [.01, .002])
@pytest.mark.parametrize('how', ['logit', 'quantile'])
def test_rare_events(how, prevalence):
    "Even thresholds put nearly all into few buckets; these keep the AUROC to .003, and the bounds tell"
    y,p = rare(20_000, prevalence)
    exact = roc_auc_score(y, p)
    poor,good = StreamingAUC(),StreamingAUC(thresholds=how if how == 'logit' else quantile_thresholds(p[:2000]))
    for m in poor,good: m.update_state(y, p)
    width = [(o.high-o.low).item() for o in (poor.result_bounds(), good.result_bounds())]
    assert abs(poor.result().item()-exact) > .1 and abs(good.result().item()-exact) < .003 and width[1] < width[0]/10

# State

kinds = dict(plain={}, many=dict(num_thresholds=7, curve='PR', summation_method='minoring', name='pr', from_logits=True),
    labels=dict(multi_label=True, num_labels=2, label_weights=[1., 3.]), given=dict(thresholds=[.1, 1/3, .7]), logit=dict(thresholds='logit', num_thresholds=9),
    bits=dict(thresholds='bits'), bits_of_labels=dict(thresholds='bits', multi_label=True, from_logits=True, curve='PR'),
    equal=dict(thresholds=[.5, .5, .2]), none=dict(thresholds=[]), array=dict(thresholds=np.array([.3, .6]), label_weights=torch.tensor([1, 2])))

def filled(kind, n=40, seed=0):
    "A metric that has seen `n` rows of two columns"
    rng = np.random.default_rng(seed)
    m = StreamingAUC(**kinds[kind])
    m.update_state(rng.integers(0, 2, (n, 2)), rng.random((n, 2)), rng.random(n))
    return m

@pytest.mark.parametrize('kind', kinds)
def test_config(kind):
    "Plain values, of which another one like it is made, without its counts"
    m = filled(kind)
    config = m.get_config()
    other = StreamingAUC.from_config(pickle.loads(pickle.dumps(config)))
    assert set(config)-{'thresholds'} == set(inspect.signature(StreamingAUC).parameters)-{'thresholds'}
    assert other.get_config() == config and other.thresholds == m.thresholds and repr(other) == repr(m) and other.result().item() == 0
    assert all(o is None or isinstance(o, (int, str, list)) for o in config.values())
    other.merge_state([m])
    assert other.result() == m.result()

def by_torch_save(m):
    file,other = io.BytesIO(),StreamingAUC.from_config(m.get_config())
    torch.save(m.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other

@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('copied', [by_torch_save, lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=['torch.save', 'pickle', 'deepcopy'])
def test_copies(kind, copied):
    "Go on where the original was, on their own"
    m,fresh = filled(kind),copied(StreamingAUC(**kinds[kind]))
    other,before = copied(m),m.result().item()
    assert fresh.result().item() == 0 and other.result().item() == before and other.get_config() == m.get_config()
    def total(o): return o.state_dict()['counts'].sum().item()
    more,rows = ([[0, 1], [1, 0]], [[.9, .1], [.2, .8]], 5.),total(m)
    other.update_state(*more)
    assert m.result().item() == before and total(m) == rows < total(other)
    m.update_state(*more)
    assert torch.equal(m.state_dict()['counts'], other.state_dict()['counts']) and m.result() == other.result()

def test_state_is_a_snapshot():
    "Later updates change neither what was stored nor what was loaded from it"
    m = filled('plain')
    state = m.state_dict()
    other,kept = StreamingAUC(),copy.deepcopy(state)
    other.load_state_dict(state)
    for o in m,other: o.update_state([1, 0], [.2, .3])
    assert all(torch.equal(state[k], kept[k]) for k in kept) and m.result() == other.result()

def test_loading_replaces():
    m = filled('plain', seed=1)
    m.load_state_dict(filled('plain').state_dict())
    assert m.result() == filled('plain').result()
    m.load_state_dict(StreamingAUC().state_dict())
    assert m.result().item() == 0

def test_repr():
    assert repr(StreamingAUC()) == 'StreamingAUC()'
    assert repr(StreamingAUC(curve='PR', num_thresholds=50)) == "StreamingAUC(num_thresholds=50, curve='PR')"
    assert repr(StreamingAUC(thresholds='bits', from_logits=True)) == "StreamingAUC(from_logits=True, thresholds='bits')"
    assert repr(StreamingAUC(thresholds='logit', from_logits=True)) == "StreamingAUC(from_logits=True, thresholds='logit')"
    assert 'thresholds=[0.1, 0.5]' in repr(StreamingAUC(thresholds=[.5, .1])) and len(repr(StreamingAUC(thresholds=np.linspace(0, 1, 999)))) < 200

# Warnings

nan = float('nan')

@pytest.mark.parametrize('bad', [[nan], [-.1], [1.1], [nan, -3, 7], [float('inf'), -float('inf')]])
@pytest.mark.parametrize('weighted', [False, True])
def test_improper_scores(bad, weighted):
    "The result is NaN until the next reset, and one warning says how many there are and what may help"
    m = StreamingAUC(name='mine')
    m.update_state([0, 1]*5 + [1]*len(bad), [.2, .8]*5 + bad, 2. if weighted else None)
    with pytest.warns(UserWarning, match=fr'^mine: {len(bad)} of the scores .*from_logits') as record:
        for _ in range(3): assert m.result().isnan()
        assert m(y4, p4).isnan() and all(o.isnan() for o in m.result_bounds())
    assert len(record) == 1
    other = StreamingAUC()
    other.merge_state([m])
    with pytest.warns(UserWarning, match=f'{len(bad)} of the scores'): assert other.result().isnan()
    m.reset_state()
    assert m(y4, p4).item() == result(y4, p4)

def test_the_ends_are_proper(recwarn):
    for dtype in torch.float16,torch.float32,torch.float64: assert StreamingAUC()([0, 1], torch.tensor([0, 1], dtype=dtype)).item() == 1
    assert not recwarn

def test_no_logits_are_improper():
    with pytest.warns(UserWarning, match='1 of the scores'): assert StreamingAUC(from_logits=True)([0, 1, 1], [-3., 5, nan]).isnan()

@pytest.mark.parametrize('y', [[0, 0, 0], [1, 1, 1]])
def test_missing_class(y):
    "0, as in Keras, with one warning; a new epoch warns anew, and it ends when the class comes"
    m = StreamingAUC(name='mine')
    for _ in range(2):
        m.reset_state()
        with pytest.warns(UserWarning, match='^mine: .*no positives or no negatives') as record:
            for _ in range(3): assert m(y, [.1, .5, .9]).item() == 0
            assert tuple(m.result_bounds()) == (0, 0)
        assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert m([1-o for o in y], [.1, .5, .9]).item() == near(.5)

def test_missing_class_of_a_label():
    "Counts as 0 in the mean"
    m = StreamingAUC(multi_label=True)
    m.update_state([[0, 1], [1, 1]], [[.1, .3], [.9, .4]])
    with pytest.warns(UserWarning, match='column'): assert m.result().item() == .5

def test_without_negatives_precision_is_perfect():
    "As in Keras: precision is 1 everywhere, and no warning claims that this counts as 0"
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        assert StreamingAUC(curve='PR')([1, 1], [.5, .6]).item() == sweep([1, 1], [.5, .6], cuts_of(200), 'PR') == 1
    assert not any('area of 0' in str(o.message) for o in record)

def test_a_warning_does_not_hide_another():
    "A first batch without positives is no reason to be silent about scores that spoil the result"
    m = StreamingAUC()
    with pytest.warns(UserWarning, match='no positives'): m([0, 0], [.1, .2])
    m.update_state([1, 0], [.5, nan])
    with pytest.warns(UserWarning, match='1 of the scores'): assert m.result().isnan()

@pytest.mark.parametrize('ask', [lambda m: m.result(), lambda m: m.result_bounds(), lambda m: m([0], [.1])], ids=['result', 'result_bounds', 'call'])
def test_warnings_point_at_the_caller(ask):
    m = StreamingAUC()
    m.update_state([0], [.1])
    with pytest.warns(UserWarning) as record: ask(m)
    assert [o.filename for o in record] == [__file__]

# Errors

@pytest.mark.parametrize('kwargs,got', [
    (dict(num_thresholds=1), '1'), (dict(num_thresholds=0), '0'), (dict(num_thresholds=-3), '-3'), (dict(num_thresholds=2.5), r'2\.5'), (dict(num_thresholds=True), 'True'),
    (dict(num_thresholds='many'), "'many'"), (dict(num_thresholds=None), 'None'), (dict(curve='AUC'), "'AUC'"), (dict(curve=None), 'None'),
    (dict(summation_method='middle'), "'middle'"), (dict(summation_method=3), '3'), (dict(thresholds='even'), "'even'"),
    (dict(thresholds=[.2, 1.5]), r'1\.5'), (dict(thresholds=[-.1, .5]), r'-0\.1'), (dict(thresholds=[nan]), 'nan'),
    (dict(label_weights=[1, -2]), '-2'), (dict(label_weights=[[1, 2]]), r'\[\[1, 2\]\]'), (dict(label_weights=3), '3'), (dict(label_weights=[nan, 1]), 'nan')])
def test_bad_settings(kwargs, got):
    "The error names the argument and what was given"
    with pytest.raises(ValueError, match=f'{list(kwargs)[0]}.*{got}'): StreamingAUC(**kwargs)

@pytest.mark.parametrize('kwargs', [dict(thresholds=['a']), dict(thresholds=[None]), dict(label_weights=['a', 'b']), dict(label_weights='ab')])
def test_settings_that_are_no_numbers(kwargs):
    with pytest.raises(TypeError, match=f'{list(kwargs)[0]}.*(list|str)'): StreamingAUC(**kwargs)

def test_unknown_argument():
    with pytest.raises(TypeError, match='n_thresholds'): StreamingAUC(n_thresholds=3)

rows3 = [[0, 1, 1], [1, 0, 0]],[[.1, .2, .3], [.4, .5, .6]]

@pytest.mark.parametrize('kwargs,args,error,match', [
    ({}, ([0, 1], [.1, .2, .3]), ValueError, r'y_true.*\(2,\).*\(3,\)'), ({}, ([[0, 1], [1, 0], [0, 0]], [[.1, .2, .3]]*2), ValueError, r'y_true.*\(3, 2\).*\(2, 3\)'),
    ({}, ([0, 1], rows3[1]), ValueError, r'y_true.*\(2,\).*\(2, 3\)'), ({}, (1, [.1, .2]), ValueError, r'y_true.*\(\).*\(2,\)'),
    ({}, ([0, 1], [.1, .2], [1, 2, 3]), ValueError, r'sample_weight.*\(3,\).*\(2,\)'), ({}, (*rows3, [1, 2, 3]), ValueError, r'sample_weight.*\(3,\).*\(2, 3\)'),
    ({}, (*rows3, [[1, 2]]*2), ValueError, r'sample_weight.*\(2, 2\).*\(2, 3\)'), ({}, (['a', 'b'], [.1, .2]), TypeError, 'y_true.*list'),
    ({}, ([0, 1], None), TypeError, 'y_pred.*None'), ({}, (None, [.1]), TypeError, 'y_true.*None'), ({}, ([0, 1], [.1, .2], 'heavy'), TypeError, "sample_weight.*got the text 'heavy'"),
    (dict(multi_label=True), ([0, 1], [.1, .2]), ValueError, r'multi_label.*\(2,\)'), (dict(multi_label=True), (np.zeros((2, 3, 4)),)*2, ValueError, r'multi_label.*\(2, 3, 4\)'),
    (dict(label_weights=[1, 2]), ([0, 1], [.1, .2]), ValueError, r'label_weights.*\(2,\)'), (dict(label_weights=[1, 2]), rows3, ValueError, 'label_weights.*2.*3 columns'),
    (dict(multi_label=True, label_weights=[1, 2]), rows3, ValueError, 'label_weights.*2.*3 columns'),
    (dict(multi_label=True, num_labels=2), rows3, ValueError, 'num_labels=2.*3 columns')])
def test_bad_updates(kwargs, args, error, match):
    "The error names the argument and the shapes, and nothing is counted"
    m = StreamingAUC(**kwargs)
    with pytest.raises(error, match=match): m.update_state(*args)
    with pytest.raises(error, match=match): m(*args)
    assert m.state_dict()['counts'] is None

def test_number_of_columns_must_not_change():
    m = StreamingAUC(multi_label=True)
    m.update_state(*rows3)
    before = m.result()
    with pytest.raises(ValueError, match=r'columns.*\(2, .*after \(3, '): m.update_state([[0, 1]], [[.1, .2]])
    assert m.result() == before

@pytest.mark.parametrize('one,other,match', [
    ({}, dict(num_thresholds=100), 'thresholds.*num_thresholds=100'), (dict(thresholds=[.2, .5]), dict(thresholds=[.2, .6]), r'thresholds.*0\.6.*0\.5'),
    ({}, dict(thresholds='logit'), "thresholds.*'logit'"), ({}, dict(multi_label=True), 'multi_label')])
def test_what_cannot_be_merged(one, other, match):
    "Raises, and leaves the metric as it was, also where another could be merged"
    m,good,bad = StreamingAUC(**one),StreamingAUC(**one),StreamingAUC(**other)
    for o in m,good: o.update_state(y4, p4)
    bad.update_state(*([[o] for o in x] for x in (y4, p4)))
    with pytest.raises(ValueError, match=match): m.merge_state([good, bad])
    assert torch.equal(m.state_dict()['counts'], good.state_dict()['counts'])
    if 'multi_label' not in other:
        with pytest.raises(ValueError, match='thresholds'): m.load_state_dict(bad.state_dict())
        assert torch.equal(m.state_dict()['counts'], good.state_dict()['counts'])

def test_merging_other_columns():
    "Raises before anything is added"
    m,good,bad = (StreamingAUC(multi_label=True) for _ in range(3))
    for o in m,good: o.update_state(*rows3)
    bad.update_state([[0, 1]], [[.1, .2]])
    with pytest.raises(ValueError, match='columns'): m.merge_state([good, bad])
    assert m.state_dict()['counts'].sum() == 6

@pytest.mark.parametrize('one,other', [({}, dict(multi_label=True)), (dict(multi_label=True), {}), (dict(multi_label=True), dict(multi_label=True, num_labels=2)),
    (dict(multi_label=True), dict(multi_label=True, label_weights=[1, 2]))])
def test_loading_other_columns(one, other):
    "Raises, since there would be no sense in the result"
    m = StreamingAUC(**one)
    m.update_state(*rows3)
    with pytest.raises(ValueError): StreamingAUC(**other).load_state_dict(m.state_dict())

def test_merging_other_settings():
    "Counts are the same whatever is made of them"
    a,b = StreamingAUC(curve='PR', summation_method='minoring'),StreamingAUC(from_logits=True)
    p = np.array([.1, .6, .3, .8])
    b.update_state(y4, np.log(p/(1-p)))
    a.merge_state([b])
    assert a.result().item() == near(sweep(y4, p, cuts_of(200), 'PR', 'minoring'))

@pytest.mark.parametrize('scores', [[], [nan, .5], [-.1], [3.]])
def test_quantiles_need_probabilities(scores):
    with pytest.raises(ValueError, match='scores must be probabilities'): quantile_thresholds(scores)

@pytest.mark.parametrize('T', [1, 0, -1, 2.5, True, 'x'])
def test_quantiles_need_a_number(T):
    with pytest.raises(ValueError, match=f'num_thresholds.*{T}'): quantile_thresholds([.1, .2], T)

# Keras

def test_keras_signatures():
    "Names, order and defaults of Keras's, but for `dtype`"
    def args(f): return {k:o.default for k,o in inspect.signature(f).parameters.items() if k != 'self'}
    want = dict(num_thresholds=200, curve='ROC', summation_method='interpolation', name='auc', thresholds=None, multi_label=False, num_labels=None,
        label_weights=None, from_logits=False)
    assert list(args(StreamingAUC).items()) == list(want.items())
    assert list(args(StreamingAUC.update_state)) == list(args(StreamingAUC.__call__)) == ['y_true', 'y_pred', 'sample_weight']
    assert args(StreamingAUC.update_state)['sample_weight'] is args(StreamingAUC.__call__)['sample_weight'] is None
    assert not args(StreamingAUC.result) and not args(StreamingAUC.reset_state) and not args(StreamingAUC.get_config)
    assert list(args(StreamingAUC.merge_state)) == ['metrics'] and list(args(StreamingAUC.from_config)) == ['config']

def test_targets_come_first():
    "Which matters: the other way round .3 would be positive as much as .9"
    assert StreamingAUC()([0, 1, 0], [.3, .9, .1]).item() == 1

def test_defaults_are_attributes():
    m = StreamingAUC()
    assert (m.num_thresholds, m.curve, m.summation_method, m.name, m.multi_label, m.num_labels, m.label_weights, m.from_logits) == (
        200, 'ROC', 'interpolation', 'auc', False, None, None, False)

# Devices

class NoCopies(NoWaiting):
    "Also single numbers are not to be copied one by one: from the CPU's memory that waits as a large copy does"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == '_to_copy' and torch.device((kwargs or {}).get('device') or args[0].device).type != args[0].device.type:
            raise HostRead(f"_to_copy from ['{args[0].device.type}'] to ['{torch.device(kwargs['device']).type}']")
        return super().__torch_dispatch__(func, types, args, kwargs)

def fake(): return FakeTensorMode(allow_non_fake_inputs=True)

def updates(n=3, dtype=torch.float32): return [(randint(2, 64, 3), rand(64, 3).to(dtype)) for _ in range(n)]

on_device = dict(
    plain=({}, None), weights_of_rows=({}, lambda: rand(64)), weights_of_all=({}, lambda: rand(64, 3)), labels=(dict(multi_label=True), None),
    labels_with_weights=(dict(multi_label=True, label_weights=[1, 2, 3]), lambda: rand(64, 1)), logits=(dict(from_logits=True), None),
    flat_label_weights=(dict(label_weights=[1, 2, 3]), None), flat_label_weights_and_weights=(dict(label_weights=[1, 2, 3]), lambda: rand(64)),
    number=({}, lambda: 2.), bits=(dict(thresholds='bits'), None), bits_of_logits=(dict(thresholds='bits', from_logits=True), lambda: rand(64)),
    bits_of_labels=(dict(thresholds='bits', multi_label=True, label_weights=[1, 2, 3]), None),
    logit_thresholds=(dict(thresholds='logit'), None), given_thresholds=(dict(thresholds=[.1, .5]), None))

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('case', on_device)
def test_updates_do_not_wait(case, dtype):
    "After the first, which takes the thresholds to the device, updates neither wait nor copy; the result is one read"
    kwargs,weight = on_device[case]
    m = StreamingAUC(**kwargs)
    with fake():
        batches = [(*o, None if weight is None else weight()) for o in updates(dtype=dtype)]
        m.update_state(*batches[0])
        with NoCopies() as mode:
            for o in batches[1:]: m.update_state(*o)
            assert mode.n_ops > 8 and {o.device.type for o in m.state_dict().values()} == {'cuda'}
            with pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): m.result()

@pytest.mark.parametrize('case', on_device)
def test_the_first_update_reads_nothing(case):
    "It copies to the device alone"
    kwargs,weight = on_device[case]
    m = StreamingAUC(**kwargs)
    with fake():
        y,p = updates()[0]
        w = None if weight is None else weight()
        class NoReading(NoWaiting):
            "Copies to the device may pass"
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if func.overloadpacket.__name__ == '_to_copy' and args[0].device.type == 'cpu': return func(*args, **(kwargs or {}))
                return super().__torch_dispatch__(func, types, args, kwargs)
        with NoReading() as mode: m.update_state(y, p, w)
        assert mode.n_ops > 5 and m.state_dict()['counts'].device.type == 'cuda'

@pytest.mark.parametrize('thresholds', [None, 'bits'])
def test_a_new_epoch_does_not_wait(thresholds):
    "The thresholds stay on the device"
    m = StreamingAUC(thresholds=thresholds)
    with fake():
        a,b,_ = updates()
        m.update_state(*a)
        with NoWaiting():
            m.reset_state()
            m.update_state(*b)

@pytest.mark.parametrize('resume', ['load_state_dict', 'merge_state'])
@pytest.mark.parametrize('thresholds', [None, 'bits'])
def test_a_resumed_epoch_does_not_wait(resume, thresholds):
    "Counts from the CPU go to the device with the first update, not back and forth with each"
    old,m = StreamingAUC(thresholds=thresholds),StreamingAUC(thresholds=thresholds)
    old.update_state(y4, p4)
    getattr(m, resume)(old.state_dict() if resume == 'load_state_dict' else [old])
    with fake():
        a,b,c = updates()
        m.update_state(*a)
        with NoWaiting():
            for o in b,c: m.update_state(*o)

def test_buckets_do_not_wait():
    "In the Learner, too"
    b = Buckets(np.array([-np.inf, 0, np.inf]), -np.inf, np.inf)
    with fake():
        b.add(rand(64), rand(64) > .5)
        with NoWaiting() as mode:
            y,p = rand(64) > .5,rand(64)
            b.add(p, y)
            b.add(p, y, p > .3)
            assert mode.n_ops > 8

@pytest.mark.parametrize('kwargs', [{}, dict(multi_label=True), dict(label_weights=[1, 2, 3])], ids=['flat', 'labels', 'label_weights'])
def test_logits_on_a_device_without_float64(kwargs, monkeypatch):
    "As Apple's MPS: scores, targets and weights go to the CPU together"
    m,devices = StreamingAUC(from_logits=True, **kwargs),[]
    monkeypatch.setattr(scores, '_no_float64', {'cuda'})
    monkeypatch.setattr(Buckets, 'add', lambda self, *rows: devices.append({o.device.type for o in rows if o is not None}))
    with fake():
        y,p = updates()[0]
        for w in None,2.,rand(64): m.update_state(y, p, w)
    assert devices == [{'cpu'}]*3

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('case', on_device)
def test_on_a_real_gpu(case):
    "CUDA itself objects to waiting, and counts are those of the CPU"
    kwargs,weight = on_device[case]
    on_cpu,device = StreamingAUC(**kwargs),StreamingAUC(**kwargs)
    for i in range(3):
        y,p,w = torch.randint(0, 2, (64, 3)).cuda(),torch.rand(64, 3).cuda(),weight and weight()
        if i: torch.cuda.set_sync_debug_mode('error')
        try: device.update_state(y, p, w)
        finally: torch.cuda.set_sync_debug_mode('default')
        on_cpu.update_state(*(o.cpu() if isinstance(o, torch.Tensor) else o for o in (y, p, w)))
    assert torch.allclose(device.state_dict()['counts'].cpu(), on_cpu.state_dict()['counts'], rtol=1e-14) and device.result().item() == near(on_cpu.result().item())

@pytest.mark.parametrize('thresholds', [None, 'bits'])
def test_merging_with_itself_while_empty(thresholds):
    "The counts of the others, once"
    full,empty = StreamingAUC(thresholds=thresholds),StreamingAUC(thresholds=thresholds)
    full.update_state([0, 1, 1, 0], [.1, .9, .3, .4])
    empty.merge_state([full, empty])
    assert empty.state_dict()['counts'].equal(full.state_dict()['counts'])

@pytest.mark.parametrize('thresholds', [None, 'bits'])
@pytest.mark.parametrize('shape', [(2, 5), (3, 2**20), (1, 2**20), (2, 1), (5,), (1, 1, 2, 2**20)])
def test_state_of_another_shape(thresholds, shape):
    auc = StreamingAUC(thresholds=thresholds)
    state = dict(auc.state_dict(), counts=torch.ones(shape, dtype=torch.long), improper=torch.tensor(0))
    with pytest.raises(ValueError, match='the stored state must have counts of shape'): auc.load_state_dict(state)
    assert auc.state_dict()['counts'] is None
