"Outputs of every shape become rows, and rows become scores in the exact order of the probabilities."
from decimal import Context, Decimal, localcontext
from fractions import Fraction
import numpy as np, pytest, torch
from fastai.torch_core import TensorBase, TensorCategory, TensorImageBase
from sklearn.metrics import roc_auc_score
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from fastai_auroc.pairs import placements, partial_area, tied_runs
from fastai_auroc.roc import auroc_score, roc_curve
from fastai_auroc.scores import class_rows, count_non_probabilities, has_float64, ranking_scores, to_tensor

floats = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

def log_odds(row, c):
    "log p/(1-p) of class `c` in the softmax of `row`, to 60 digits; equal for equal probabilities"
    with localcontext(Context(prec=60)):
        others = sorted(Decimal(z) for j,z in enumerate(row) if j != c)
        return Decimal(row[c]) - others[-1] - sum((z-others[-1]).exp() for z in others).ln()

def all_log_odds(z): return [[log_odds(row, c) for c in range(len(row))] for row in z.double().tolist()]

def share(scores, positive):
    "Share of (positive, negative) pairs in the right order, from the definition; scores of any type that can be compared"
    rank = {s: i for i,s in enumerate(sorted(set(scores)))}
    pos,neg = ([rank[s] for s,p in zip(scores, positive) if bool(p) == want] for want in (True, False))
    return Fraction(sum(2*(a > b) + (a == b) for a in pos for b in neg), 2*len(pos)*len(neg))

# -- ranking scores --

@pytest.mark.parametrize('scale', [1., 40., 1e4])
@pytest.mark.parametrize('dtype', floats)
def test_two_logits_give_their_difference_rounded_once(dtype, scale):
    z = (torch.randn(400, 2)*scale).clamp(-1e4, 1e4).to(dtype)
    res = ranking_scores(z, torch.zeros(400), 'softmax')
    assert res.dtype == torch.float64
    assert res.tolist() == [float(Fraction(b) - Fraction(a)) for a,b in z.double().tolist()]

@pytest.mark.parametrize('scale', [1e-3, 1., 40., 1e4])
@pytest.mark.parametrize('k', [3, 5, 12])
@pytest.mark.parametrize('dtype', floats)
def test_log_odds_equal_big_number_arithmetic(dtype, k, scale):
    "Within a few roundings, and in the order of the exact numbers wherever these differ by more than that"
    z = (torch.randn(40, k)*scale).clamp(-1e4, 1e4).to(dtype)
    res,exact = ranking_scores(z, torch.zeros(40), 'softmax'),all_log_odds(z)
    assert res.dtype == torch.float64
    slack = 8*2**-53*max(1., z.double().abs().max().item())
    pairs = sorted((e, r) for es,rs in zip(exact, res.tolist()) for e,r in zip(es, rs))
    assert max(abs(float(e-Decimal(r))) for e,r in pairs) < slack
    assert all(r0 < r1 for (e0,r0),(e1,r1) in zip(pairs, pairs[1:]) if e1-e0 > 2*slack)

@pytest.mark.parametrize('k', [3, 10])
def test_log_odds_far_beyond_the_range_of_exp(k):
    "Probabilities that are exactly 0 and 1 in float64 keep their distances"
    step = torch.arange(50, dtype=torch.float64)
    z = torch.zeros(50, k, dtype=torch.float64)
    z[:,0],z[:,1] = 9_000 + step,-1e4 + step
    res = ranking_scores(z, torch.zeros(50), 'softmax')
    assert res.isfinite().all() and (z.softmax(1)[:,0] == 1).all() and (z.softmax(1)[:,1] == 0).all()
    assert (res[:,0].diff() == 1).all()
    assert res[:,1].tolist() == [float(log_odds(row, 1)) for row in z.tolist()]
    assert (res[:,1].diff().abs() < 1e-10).all()   # both logits rise by one a row

def test_infinite_logits_rank_at_the_ends():
    z = torch.tensor([[torch.inf, 0, 0], [0., 1, 2], [-torch.inf, 1, 1]])
    assert ranking_scores(z, torch.zeros(3), 'softmax')[:,0].tolist() == [torch.inf, pytest.approx(float(log_odds([0, 1, 2], 0))), -torch.inf]

mixed = [.1, .7, .3, -.2, 2.5, 1.1, -.9]
rows_of_equal_probabilities = dict(two_tops=[[1., 1, 0], [0, 1, 1], [1, 0, 1]], three_tops=[[.5, .5, .5, -1], [-1, .5, .5, .5]], zeros=[[0.]*8],
    shifted=[[.25, 1, -3.5], [16.25, 17, 12.5], [-99.75, -99, -103.5]],
    permuted=[[mixed[i*j%7] for i in range(7)] for j in range(1, 7)], repeated=[mixed]*101)

@pytest.mark.parametrize('rows', rows_of_equal_probabilities.values(), ids=rows_of_equal_probabilities)
def test_equal_probabilities_are_equal_scores(rows):
    "Ties of the exact probabilities remain ties, within a row, between rows and wherever a row stands"
    z = torch.tensor(rows, dtype=torch.float32)
    res,exact = ranking_scores(z, torch.zeros(len(z)), 'softmax'),sum(all_log_odds(z), [])
    assert len(res.unique()) == len(set(exact)) < len(exact)

@pytest.mark.parametrize('k', range(3, 12))
def test_model_that_gives_every_row_the_same_has_an_auroc_of_one_half(k):
    for n in (k+1, 33, 101):
        y = torch.cat([torch.arange(k), torch.arange(n-k)//2 % k])
        for row in torch.randn(8, k): assert auroc_score(row.expand(n, k), y, activation='softmax', average=None).tolist() == [.5]*k
        assert auroc_score(torch.zeros(n, k), y, activation='softmax', average='micro') == .5

@pytest.mark.parametrize('k', [2, 3, 6])
@pytest.mark.parametrize('dtype,scale', [(torch.float16, 20), (torch.bfloat16, 40), (torch.float32, 90), (torch.float64, 400)])
def test_confident_logits_keep_their_auroc(dtype, scale, k):
    "Logits whose softmax makes ties are ranked as the exact probabilities of these very logits are"
    y = torch.arange(60) % k
    z = (torch.randn(60, k)*scale + scale*torch.eye(k)[y]).to(dtype)
    exact,res = list(zip(*all_log_odds(z)))[1 if k == 2 else 0:],auroc_score(z, y, activation='softmax', average=None)
    assert res.flatten().tolist() == [float(share(s, y == c)) for c,s in enumerate(exact, 1 if k == 2 else 0)]
    assert (auroc_score(z.softmax(1), y, average=None) != res).any()

@pytest.mark.parametrize('k', [3, 6])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_coarse_logits_keep_their_ties(dtype, k):
    "A few distinct logits: many rows have exactly the same probability for a class, though not the same logits"
    y,z = torch.arange(90) % k,torch.randint(-2, 3, (90,k)).to(dtype)
    exact = all_log_odds(z)
    assert auroc_score(z, y, activation='softmax', average=None).tolist() == [float(share(s, y == c)) for c,s in enumerate(zip(*exact))]
    pooled = float(share(sum(exact, []), torch.eye(k)[y].flatten()))
    assert auroc_score(z, y, activation='softmax', average='micro').item() == pooled

def test_softmax_of_two_labels_is_ranked_in_both_columns():
    z,y = torch.randn(50, 2)*300,torch.randint(0, 2, (50,2))
    margin = z[:,1].double() - z[:,0].double()
    torch.testing.assert_close(ranking_scores(z, y, 'softmax'), torch.stack([-margin, margin], 1), rtol=1e-12, atol=1e-12)

@pytest.mark.parametrize('activation', [None, 'sigmoid', 'identity'])
@pytest.mark.parametrize('dtype', [*floats, torch.int64, torch.bool])
def test_other_activations_rank_columns_as_they_are(activation, dtype):
    x = torch.randint(0, 2, (20,3)).to(dtype)
    y,two = torch.zeros(20),x[:,:2]
    for outputs,targets,want in [(x, y, x), (x, x, x), (x[:,0], y, x[:,0]), (two, y, x[:,1]), (two, two, two)]:
        res = ranking_scores(outputs, targets, activation)
        assert res.dtype == dtype and torch.equal(res, want)

@pytest.mark.parametrize('activation', ['Softmax', 'relu', '', 'auto', True])
def test_unknown_activation(activation):
    for f in (lambda **kw: ranking_scores(torch.rand(4, 3), torch.zeros(4), **kw), lambda **kw: auroc_score([.1, .2], [0, 1], **kw)):
        with pytest.raises(ValueError, match='activation must be one of .*softmax.*sigmoid.*identity') as e: f(activation=activation)
        assert repr(activation) in str(e.value)

# -- rows and classes --

layouts = [((6,3,4,5), (6,4,5), 1), ((6,3,7), (6,7), 1), ((6,7,3), (6,7), 2), ((6,4,5,3), (6,4,5), 3),
    ((20,3), (20,1), 1), ((20,3), (20,), 1), ((6,3,2,2,2), (6,2,2,2), 1)]

def flatten(outputs, shape, axis):
    "Rows of `outputs` in the order of targets of `shape`, one by one"
    return np.array([outputs[i[:axis] + (slice(None),) + i[axis:]] for i in np.ndindex(*shape)])

@pytest.mark.parametrize('activation', [None, 'softmax'])
@pytest.mark.parametrize('o,t,axis', layouts)
def test_each_pixel_or_token_is_a_row(o, t, axis, activation):
    rng,n = np.random.default_rng(0),int(np.prod(t))
    outputs = torch.tensor(rng.normal(size=o)*2)
    targets = rng.permutation(np.arange(n) % o[axis]).reshape(t)
    prob = outputs.softmax(axis)
    shape = t if len(t) < len(o) else t[:-1]
    want = roc_auc_score(targets.ravel(), flatten(prob.numpy(), shape, axis), multi_class='ovr')
    assert auroc_score(prob if activation is None else outputs, targets, activation=activation).item() == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('t', [(6,1,4,5), (6,4,5)])
@pytest.mark.parametrize('o', [(6,1,4,5), (6,4,5,1)])
def test_one_channel_is_binary(o, t):
    rng = np.random.default_rng(1)
    outputs,targets = rng.normal(size=o).round(1),rng.integers(0, 2, t)
    assert auroc_score(outputs, targets).item() == pytest.approx(roc_auc_score(targets.ravel(), outputs.ravel()), abs=1e-12)

def test_two_channels_are_binary():
    rng = np.random.default_rng(2)
    z,y = torch.tensor(rng.normal(size=(6,2,4,5))).float()*50,rng.integers(0, 2, (6,4,5))
    want = roc_auc_score(y.ravel(), (z[:,1].double() - z[:,0].double()).ravel())
    assert auroc_score(z, y, activation='softmax').item() == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples', None])
def test_targets_in_the_shape_of_the_outputs_are_multilabel(average):
    rng = np.random.default_rng(3)
    s,y = rng.normal(size=(6,3,4,5)).round(1),rng.integers(0, 2, (6,3,4,5))
    y[:,1] = 1 - y[:,0]   # each pixel has both labels
    want = roc_auc_score(flatten(y, (6,4,5), 1), flatten(s, (6,4,5), 1), average=average)
    assert auroc_score(s, y, average=average).tolist() == pytest.approx(want if average else list(want), abs=1e-12)

def test_class_axis_of_a_cube():
    "Where two axes would fit, the second is taken, unless another is asked for"
    x,t = torch.arange(64).reshape(4, 4, 4),torch.arange(16).reshape(4, 4)
    along1,along2 = (torch.from_numpy(flatten(x.numpy(), (4,4), axis)) for axis in (1, 2))
    assert torch.equal(class_rows(x, t)[0], along1)
    for kwargs in (dict(prefer=-1), dict(prefer=2), dict(axis=-1), dict(axis=2), dict(axis=2, prefer=1)):
        rows,labels = class_rows(x, t, **kwargs)
        assert torch.equal(rows, along2) and torch.equal(labels, torch.arange(16))
    for axis,want in ((1, along1), (-1, along2)): assert all(torch.equal(r, want) for r in class_rows(x, x, axis=axis))

@pytest.mark.parametrize('o,t,kwargs,says', [
    ((8,), (9,), {}, ['scores of shape (8,)', 'targets of shape (9,)', 'must have the shape']),
    ((8,3), (7,), {}, ['(8, 3)', '(7,)', 'class axis']),
    ((8,3), (8,2), {}, ['(8, 3)', '(8, 2)', 'class axis']),
    ((8,3,4), (8,5), {}, ['(8, 3, 4)', '(8, 5)', 'class axis']),
    ((8,3,4,4), (8,16), {}, ['(8, 3, 4, 4)', '(8, 16)']),
    ((8,), (8,3), {}, ['(8,)', '(8, 3)']),
    ((8,3,4), (8,4), dict(axis=-1), ['without axis -1', '(8, 3, 4)', '(8, 4)']),
    ((8,3), (8,), dict(axis=2), ['axis=2 is not an axis', '(8, 3)']),
    ((8,3,4), (8,3,4), {}, ['axis=1 or axis=2', '(8, 3, 4)']),
    ((), (), {}, ['at least one axis'])])
def test_shapes_that_do_not_match(o, t, kwargs, says):
    with pytest.raises(ValueError) as e: class_rows(torch.zeros(o), torch.zeros(t), **kwargs)
    assert all(s in str(e.value) for s in says), str(e.value)

# -- tensors, arrays, lists --

@pytest.mark.parametrize('kind', [TensorBase, TensorCategory, TensorImageBase])
def test_subclasses_and_gradients_are_left_behind(kind):
    x = kind(torch.rand(6, 3)).requires_grad_()
    res = to_tensor(x)
    assert type(res) is torch.Tensor and not res.requires_grad and res.data_ptr() == x.data_ptr()
    assert all(type(r) is torch.Tensor and not r.requires_grad for r in class_rows(x, kind(torch.zeros(6))))

@pytest.mark.parametrize('bad', ['abc', ['ham', 'spam'], [None, 1.], [b'0', b'1'], np.array(['2020-01-01'], 'datetime64[D]'), {'a': 1}, None, [1j]])
def test_what_holds_no_numbers_raises(bad):
    got = {'abc':"the text 'abc'", None:'None'}.get(bad) if bad is None or isinstance(bad, str) else type(bad).__name__
    says = f'targets must be a tensor, an array or a list of numbers, got {got}'
    with pytest.raises(TypeError, match=says): to_tensor(bad, 'targets')
    with pytest.raises(TypeError, match='scores must be'): auroc_score(bad, [0, 1])
    with pytest.raises(TypeError, match='targets must be'): auroc_score([.1, .2], bad)
    with pytest.raises(TypeError, match='sample_weight must be'): auroc_score([.1, .2], [0, 1], sample_weight=[bad])

@pytest.mark.parametrize('k', [2, 10, 1000])
@pytest.mark.parametrize('dtype', floats)
def test_probabilities_of_any_precision_pass_and_logits_do_not(dtype, k):
    z = torch.randn(200, k).to(dtype)
    assert count_non_probabilities(z.softmax(1)) == 0
    assert count_non_probabilities(z) > 190
    assert count_non_probabilities(torch.eye(k)[torch.arange(200)%k].to(dtype)) == 0

@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int64])
def test_one_hot_rows_are_probabilities(dtype): assert count_non_probabilities(torch.tensor([[1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 1, 0]]).to(dtype)) == 2

def test_rows_off_by_more_than_scikit_learn_allows():
    p = torch.full((4,4), .25, dtype=torch.float64)
    p[:,0] += torch.tensor([0., 9e-6, 1.2e-5, -1.2e-5])
    assert count_non_probabilities(p) == 2

# -- other devices --

class Watch(TorchDispatchMode):
    "Writes down where each result lies"
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        res,name = func(*args, **(kwargs or {})),func.overloadpacket.__name__
        many = res if isinstance(res, (tuple, list)) else [res]
        self.seen += [(name, o.device.type, o.dtype) for o in many if isinstance(o, torch.Tensor)]
        return res

calls = [(auroc_score, (64,), (64,), {}), (auroc_score, (64,2), (64,), {}), (auroc_score, (64,2), (64,), dict(activation='softmax', max_fpr=.2)),
    (auroc_score, (64,5), (64,), dict(activation='softmax', ignore_index=-100)), (auroc_score, (64,5), (64,), dict(multi_class='ovo')),
    (auroc_score, (64,5), (64,), dict(average='micro', sample_weight=[1.]*64)), (auroc_score, (64,5), (64,5), dict(average='samples')),
    (auroc_score, (64,5), (64,5), dict(average=None, ignore_index=-1, max_fpr=.5)),
    (auroc_score, (8,5,4,4), (8,4,4), dict(average='weighted', activation='softmax')),
    (roc_curve, (64,), (64,), {}), (roc_curve, (64,5), (64,), dict(activation='softmax', average='micro', sample_weight=[1.]*64))]

def record(device, f, o, t, kwargs):
    "What happens with fake tensors on `device` until a value must be read"
    with FakeTensorMode(), Watch() as r:
        x,y = torch.zeros(o, device=device),torch.zeros(t, dtype=torch.long, device=device)
        r.seen.clear()
        with pytest.raises((DataDependentOutputException, RuntimeError), match='_local_scalar_dense|numpy|nonzero'): f(x, y, **kwargs)
    return r.seen

@pytest.mark.parametrize('f,o,t,kwargs', calls)
def test_device_without_float64_never_computes_in_it(f, o, t, kwargs):
    "Apple's MPS: ranking scores are formed on the CPU, and nothing there is float64"
    seen = record('mps', f, o, t, kwargs)
    assert [s for s in seen if s[1:] == ('mps', torch.float64)] == []
    assert {s[1] for s in seen if s[0] == 'sort'} <= {'cpu'} and ('_to_copy', 'cpu') in {s[:2] for s in seen}

@pytest.mark.parametrize('f,o,t,kwargs', calls)
def test_other_devices_are_read_once_at_the_end(f, o, t, kwargs):
    seen = record('cuda', f, o, t, kwargs)
    back = [i for i,s in enumerate(seen) if s[:2] == ('_to_copy', 'cpu')]
    assert len(back) == 1 and {s[1] for s in seen if s[0] == 'sort'} == {'cuda'}
    assert {s[0] for s in seen[back[0]+1:]} <= {'unbind', 'detach', 'alias', 'view', 'split_with_sizes'}  # which copy nothing

def test_ranking_scores_of_a_device_without_float64():
    with FakeTensorMode():
        for device,exact in (('mps', False), ('cuda', True), ('cpu', True)):
            z,y = torch.zeros(8, 3, device=device),torch.zeros(8, device=device)
            res = ranking_scores(z, y, 'softmax')
            assert has_float64(z) == exact and res.dtype == torch.float64 and (res.device == z.device) == exact
            assert count_non_probabilities(z).device == z.device

# -- pairs --

@pytest.mark.parametrize('shape', [(0,), (1,), (40,), (3,40), (2,3,10)])
def test_tied_runs_against_a_search(shape):
    x = torch.randint(-3, 4, shape).float().sort(-1).values
    start,end = tied_runs(x)
    assert torch.equal(start, torch.searchsorted(x, x, side='left')) and torch.equal(end, torch.searchsorted(x, x, side='right'))

def test_placements_against_all_pairs():
    s,positive = torch.randint(-4, 5, (3,50)).float(),torch.rand(3, 50) < .4
    above = 2*(s[:,None] > s[...,None]) + (s[:,None] == s[...,None]).long()   # [column, row, other]
    res = placements(s, positive)
    assert res.dtype == torch.int64 and torch.equal(res, (above * positive[:,None]).sum(-1))

def test_partial_area_against_weighted_pairs():
    "Up to a rate of 1, the weight of the pairs won over that of all"
    s,positive,w = torch.randint(-4, 5, (3,50)).float(),torch.rand(3, 50) < .4,torch.randint(1, 5, (50,))
    above = 2*(s[:,None] > s[...,None]) + (s[:,None] == s[...,None]).long()   # [column, row, other]
    won = ((above * positive[:,None] * w).sum(-1) * ~positive * w).sum(-1)
    own,other = positive*w,~positive*w
    torch.testing.assert_close(partial_area(s, own, other, 1.), won/(2.*own.sum(-1)*other.sum(-1)).double(), rtol=1e-12, atol=0)

@pytest.mark.parametrize('max_fpr', [.1, .37, 1.])
def test_partial_area_is_scikit_learns_before_it_is_standardised(max_fpr):
    rng = np.random.default_rng(0)
    s,y = rng.normal(size=(4,50)).round(1),rng.integers(0, 2, (4,50))
    res = partial_area(torch.tensor(s), torch.tensor(y), torch.tensor(1-y), max_fpr)
    low = max_fpr**2/2
    for a,si,yi in zip(res.tolist(), s, y): assert .5*(1 + (a-low)/(max_fpr-low)) == pytest.approx(roc_auc_score(yi, si, max_fpr=max_fpr), abs=1e-12)
