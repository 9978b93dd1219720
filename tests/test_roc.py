"The numbers of scikit-learn wherever it defines them, a count of all pairs where it does not, and clear words where neither can."
import inspect, itertools, re, warnings
from fractions import Fraction
import numpy as np, pandas as pd, pytest, torch, sklearn.metrics as skm
from fastai.torch_core import TensorBase, TensorCategory
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from fastai_auroc import counts, roc
from fastai_auroc.roc import auc, auc_roc_score, auroc_score, roc_curve

pytestmark = pytest.mark.filterwarnings('error')   # where no warning is due, none may come
nan,inf = float('nan'),float('inf')
steady = settings(max_examples=60, deadline=None, derandomize=True)

def close(res, want, tol=1e-12):
    "`res` is a float64 CPU tensor in the shape of `want` and equal to it"
    want = np.asarray(want)
    assert type(res) is torch.Tensor and res.dtype == torch.float64 and res.device.type == 'cpu' and tuple(res.shape) == want.shape
    np.testing.assert_allclose(res.numpy(), want, rtol=0, atol=tol)

def warned(f, *args, **kwargs):
    "The result and the one warning, which must point to the line of the call"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    assert [(o.category, o.filename, o.lineno) for o in w] == [(UndefinedMetricWarning, __file__, inspect.getsourcelines(warned)[1] + 4)]
    return res,str(w[0].message)

def binary(seed, n=80, ties=False):
    "Scores between 0 and 1, and labels"
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    s = rng.beta(1+y, 2)
    return (s*8).round()/8 if ties else s, y

def multiclass(seed, n=90, k=4, ties=False):
    "Rows of probabilities, and class numbers, each of which occurs"
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[np.arange(k), rng.integers(0, k, n-k)])
    alpha = 1 + 2*np.eye(k)[y]
    return np.array([rng.multinomial(4, a/a.sum())/4 if ties else rng.dirichlet(a) for a in alpha]), y

def multilabel(seed, n=60, k=4, ties=False):
    "Scores and labels; each column and each row has both"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (n,k))
    y[:,1] = 1 - y[:,0]
    s = y + 2*rng.normal(size=(n,k))
    return s.round() if ties else s, y

data = dict(binary=binary, multiclass=multiclass, multilabel=multilabel)
averages = dict(binary=['macro'], multiclass=['macro', 'weighted', 'micro', None], multilabel=['macro', 'weighted', 'micro', 'samples', None])
every = [(task, average) for task,many in averages.items() for average in many]

def sk(s, y, average='macro', **kwargs):
    "scikit-learn's value, one-vs-rest"
    kwargs = dict(multi_class='ovr', **kwargs) if s.ndim == 2 and y.ndim == 1 else kwargs
    return roc_auc_score(y, s, average=average, **kwargs)

# -- against scikit-learn --

finite = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0., -0., .25, .5, 1.])
rows = st.lists(st.tuples(finite, st.booleans(), st.integers(1, 9)), min_size=2, max_size=50)
rows = rows.filter(lambda r: len({y for _,y,_ in r}) == 2)

@steady
@given(rows, st.sampled_from([None, 1., .9, .5, .123, 1e-3]), st.booleans(), st.sampled_from([(-1,), (-1,1)]), st.sampled_from(['f4', 'f8']))
def test_any_binary_task(rows, max_fpr, weighted, shape, dtype):
    s,y,w = (np.array(o) for o in zip(*rows))
    s,w = s.astype(dtype),w/7 if weighted else None
    close(auroc_score(s.reshape(shape), y, max_fpr=max_fpr, sample_weight=w), roc_auc_score(y, s, max_fpr=max_fpr, sample_weight=w),
        1e-12 if w is None and max_fpr is None else 1e-9)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', 'samples', None])
@pytest.mark.parametrize('ties', [False, True])
def test_binary_shapes(ties, average):
    "One score a row, one column, or two columns of probabilities: one number, whatever the average"
    s,y = binary(0, ties=ties)
    for scores,labels in itertools.product([s, s[:,None], np.stack([1-s, s], 1)], [y, y[:,None]]):
        close(auroc_score(scores, labels, average=average), roc_auc_score(y, s))

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('k', [3, 7])
@pytest.mark.parametrize('task,average', every)
def test_averages(task, average, k, ties, weighted):
    for seed in range(4):
        s,y = data[task](seed, ties=ties, **({} if task == 'binary' else dict(k=k)))
        w = np.random.default_rng(seed).uniform(.1, 5, len(s)) if weighted else None
        close(auroc_score(s, y, average=average, sample_weight=w), sk(s, y, average, sample_weight=w), 1e-9 if weighted else 1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted'])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('k', [3, 7])
def test_one_against_one(k, ties, average):
    for seed in range(4):
        s,y = multiclass(seed, k=k, ties=ties)
        close(auroc_score(s, y, multi_class='ovo', average=average), roc_auc_score(y, s, multi_class='ovo', average=average))

def test_one_against_one_of_other_tasks_changes_nothing():
    for task in ('binary', 'multilabel'):
        s,y = data[task](0)
        close(auroc_score(s, y, multi_class='ovo'), sk(s, y))

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('max_fpr', [1e-3, .35, .999, 1])
@pytest.mark.parametrize('task,average', every)
def test_partial_areas(task, average, max_fpr, weighted):
    "Per class; for multiclass tasks, where scikit-learn has no partial area, column by column"
    for seed,ties in itertools.product(range(2), [False, True]):
        s,y = data[task](seed, ties=ties)
        w = np.random.default_rng(seed).uniform(.1, 5, len(s)) if weighted else None
        res = auroc_score(s, y, average=average, max_fpr=max_fpr, sample_weight=w)
        hot = np.eye(s.shape[1])[y] if task == 'multiclass' else y
        close(res, roc_auc_score(hot, s, average=average, max_fpr=max_fpr, sample_weight=w), 1e-9)

@pytest.mark.parametrize('max_fpr', [None, .3])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('task,average', every)
def test_columns_in_tiles(task, average, dtype, max_fpr, monkeypatch):
    "What does not fit into one go of the kernel is cut between columns, without a trace in the numbers"
    s,y = data[task](5, ties=True)
    want = auroc_score(s.astype(dtype), y, average=average, max_fpr=max_fpr)
    for tile in (1, 2*len(s), 3*len(s)+1):
        monkeypatch.setattr(counts, '_tile', tile)
        assert torch.equal(auroc_score(s.astype(dtype), y, average=average, max_fpr=max_fpr), want)
        if task == 'multiclass': close(auroc_score(s, y, multi_class='ovo'), roc_auc_score(y, s, multi_class='ovo'))

@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_more_pairs_than_fit_into_32_bits(dtype):
    rng = np.random.default_rng(0)
    y = rng.random(200_000) < .4
    s = torch.tensor(y + rng.normal(size=len(y))).to(dtype)
    assert 2*int(y.sum())*int((~y).sum()) > 2**33
    close(auroc_score(s, y), roc_auc_score(y, s.double()))

# -- ignored rows and entries --

ways = [*(dict(average=a) for a in averages['multiclass']), dict(multi_class='ovo'), dict(max_fpr=.3), dict(average='weighted', weighted=True)]

@pytest.mark.parametrize('filler', [None, nan, inf, 0.])
@pytest.mark.parametrize('kwargs', ways, ids=str)
@pytest.mark.parametrize('task', ['binary', 'multiclass'])
def test_ignored_rows_might_as_well_be_removed(task, kwargs, filler):
    "Whatever stands in them: padding and void pixels need be neither numbers nor probabilities"
    s,y = data[task](3, ties=True)
    rng,kwargs = np.random.default_rng(0),dict(kwargs)
    keep = rng.random(len(y)) < .7
    w = rng.uniform(.1, 5, len(y)) if kwargs.pop('weighted', False) else None
    hot = np.eye(s.shape[1])[y] if task == 'multiclass' and 'multi_class' not in kwargs else y
    want = roc_auc_score(hot[keep], s[keep], sample_weight=None if w is None else w[keep], **kwargs)
    if filler is not None: s[~keep] = filler
    for ignored in (-100, -1, 99, 255):
        close(auroc_score(s, np.where(keep, y, ignored), sample_weight=w, ignore_index=ignored, **kwargs), want, 1e-9)

@pytest.mark.parametrize('ignored', [-1, 255])
@pytest.mark.parametrize('average', averages['multilabel'])
def test_ignored_entries_of_multilabel_targets(average, ignored):
    "Each column, row or pool keeps its own entries"
    s,y = multilabel(4, n=80, k=6, ties=True)
    keep = np.random.default_rng(0).random(y.shape) < .8
    keep[:,:2] = True
    want = {c: roc_auc_score(y[k,c], s[k,c]) for c,k in enumerate(keep.T)}
    each,positives = list(want.values()),(y*keep).sum(0)
    want = dict(macro=np.mean(each), weighted=np.average(each, weights=positives), micro=roc_auc_score(y[keep], s[keep]),
        samples=np.mean([roc_auc_score(yi[k], si[k]) for yi,si,k in zip(y, s, keep)]))
    for filler in (s[~keep], nan, inf):
        s[~keep] = filler
        close(auroc_score(s, np.where(keep, y, ignored), ignore_index=ignored, average=average), want.get(average, each))

def test_ignore_index_beyond_the_range_of_the_labels():
    "A byte can neither be -100 nor 256 more than itself: nothing is left out"
    s,y = binary(0)
    for labels,ignored in ((2*y-1, 255), (y, -100), (y, 256), (y, 257)):
        close(auroc_score(s, torch.tensor(labels, dtype=torch.int8), ignore_index=ignored), roc_auc_score(y, s))
    void = torch.tensor([0, 1, 156], dtype=torch.uint8)
    with pytest.raises(ValueError, match='1 of 3 rows have others'): auroc_score([.1, .2, .3], void, ignore_index=-100)

# -- types of labels and scores --

def can_hold(dtype, values): return set(values) <= dict(bool={0,1}, uint8={0,1,2}).get(dtype, set(values))

dtypes = ['bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'float16', 'float32', 'float64']
label_types = [(values, dtype) for values in ((0,1), (-1,1), (1,2)) for dtype in dtypes if can_hold(dtype, values)]

@pytest.mark.parametrize('values,dtype', label_types)
def test_larger_of_two_labels_is_positive(values, dtype):
    s,y = binary(1, ties=True)
    labels = np.array(values)[y].astype(dtype)
    for targets in (labels, torch.tensor(labels), labels.tolist(), labels[:,None]): close(auroc_score(s, targets), roc_auc_score(labels, s))
    s,y = multilabel(1, ties=True)
    labels = np.array(values)[y].astype(dtype)
    for average in averages['multilabel']: close(auroc_score(s, labels, average=average), roc_auc_score(y, s, average=average))
    for value in values:
        one = np.full(len(s), value, dtype)
        assert f"no {'negative' if value > 0 else 'positive'} in the targets" in warned(auroc_score, s[:,0], one)[1]

@pytest.mark.parametrize('multi_class', ['ovr', 'ovo'])
@pytest.mark.parametrize('dtype', dtypes[1:])
def test_class_numbers_of_any_type(dtype, multi_class):
    s,y = multiclass(2, k=6)
    close(auroc_score(s, y.astype(dtype), multi_class=multi_class), roc_auc_score(y, s, multi_class=multi_class))

@pytest.mark.parametrize('multi_class', ['ovr', 'ovo'])
@pytest.mark.parametrize('dtype,k', [(torch.int8, 130), (torch.uint8, 260), (torch.bool, 3)])
def test_more_classes_than_a_label_can_count(dtype, k, multi_class):
    "Those that cannot occur are absent"
    s,y = np.random.default_rng(0).dirichlet(np.ones(k), 40),np.arange(40) % 2
    res,says = warned(auroc_score, s, torch.tensor(y).to(dtype), multi_class=multi_class)
    close(res, np.mean([roc_auc_score(y == c, s[:,c]) for c in (0,1)]))
    assert 'no positive for class 2' in says

@pytest.mark.parametrize('max_fpr', [None, .4])
@pytest.mark.parametrize('dtype', ['bfloat16', *dtypes])
def test_scores_of_any_type(dtype, max_fpr):
    "Ranked as numbers of their own type, without a detour"
    rng = np.random.default_rng(0)
    y = multilabel(0)[1]
    s = torch.tensor(np.maximum(y + rng.integers(-3, 4, y.shape), 0)).to(getattr(torch, dtype))
    for scores,labels in ((s[:,0], y[:,0]), (s, y)):
        want = roc_auc_score(labels, scores.double(), max_fpr=max_fpr)
        close(auroc_score(scores, labels, max_fpr=max_fpr), want, 1e-12 if max_fpr is None else 1e-9)

def test_integers_that_floats_cannot_tell_apart():
    s = torch.tensor([2**60, 2**60+1, 2**60+2, 2**60+3])
    assert len(s.double().unique()) == 1
    close(auroc_score(s, [0, 1, 0, 1]), .75)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_probabilities_of_low_precision(dtype):
    "Their rows sum to one only roughly, and they are ranked as what they are"
    s,y = multiclass(1, k=12)
    p = torch.tensor(s).to(dtype)
    two = p[:,:2]/p[:,:2].sum(1, keepdim=True)
    assert all((o.double().sum(1) != 1).any() for o in (p, two))
    close(auroc_score(p, y, average=None), [roc_auc_score(y == c, p[:,c].double()) for c in range(12)])
    close(auroc_score(two, y == 1), roc_auc_score(y == 1, two[:,1].double()))

def readonly(a):
    a = a.copy()
    a.flags.writeable = False
    return a

def grad(a): return torch.tensor(a, requires_grad=a.dtype.kind == 'f')

containers = dict(array=np.array, negative_strides=lambda a: np.ascontiguousarray(a[::-1])[::-1], readonly=readonly, fortran=np.asfortranarray,
    every_other=lambda a: np.repeat(a, 2, 0)[::2], nested_list=np.ndarray.tolist, tuple=lambda a: tuple(a.tolist()), tensor=torch.tensor,
    pandas=lambda a: (pd.DataFrame if a.ndim == 2 else pd.Series)(a, index=np.arange(len(a))[::-1]),
    base=lambda a: torch.tensor(a).as_subclass(TensorBase), category=lambda a: torch.tensor(a).as_subclass(TensorCategory),
    transposed=lambda a: torch.tensor(np.ascontiguousarray(a.T)).T if a.ndim == 2 else torch.tensor(a), leaf=grad, graph=lambda a: grad(a)*1)

@pytest.mark.parametrize('wrap', containers.values(), ids=containers)
@pytest.mark.parametrize('task', list(data))
def test_containers(task, wrap):
    s,y = data[task](6)
    w = np.random.default_rng(0).uniform(.1, 5, len(s))
    scores,labels,weights = map(wrap, (s, y, w))
    close(auroc_score(scores, labels, sample_weight=weights), sk(s, y, sample_weight=w), 1e-9)
    for wrapped,plain in ((scores, s), (labels, y), (weights, w)):
        assert np.array_equal(wrapped.detach().numpy() if isinstance(wrapped, torch.Tensor) else wrapped, plain), 'an argument was changed'

# -- against all pairs --

odd = [0., -0., inf, -inf, 5e-324, -5e-324, 2.2e-308, 1e-310, 1e308, -1e308, 1., 1+2**-52, .1]

def pairs(s, y, w=None):
    "The definition: the share of (positive, negative) pairs in the right order, ties counting half"
    w = [1]*len(s) if w is None else w
    p,n = ([(a, Fraction(b)) for a,b,c in zip(s, w, y) if bool(c) == want] for want in (True, False))
    won = sum(u*v*(2*(a > b) + (a == b)) for a,u in p for b,v in n)
    return Fraction(won, 2*sum(u for _,u in p)*sum(v for _,v in n))

@steady
@given(st.lists(st.tuples(st.sampled_from(odd) | st.floats(allow_nan=False), st.booleans(), st.integers(1, 5)), min_size=2, max_size=30))
def test_definition(rows):
    "Infinities at the ends, zero and minus zero tied, subnormals kept apart; equal to the last bit"
    rows += [(odd[len(rows)%len(odd)], True, 2), (0., False, 3)]
    s,y,w = map(list, zip(*rows))
    assert auroc_score(s, y).item() == float(pairs(s, y))
    assert auroc_score(s, y, sample_weight=w).item() == pytest.approx(float(pairs(s, y, w)), abs=1e-12)
    two = np.stack([s, s[::-1]], 1)
    assert auroc_score(two, np.stack([y, y], 1), average=None).tolist() == [float(pairs(c, y)) for c in two.T]

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_smallest_numbers_of_each_type(dtype):
    tiny = torch.finfo(dtype).smallest_normal
    s = torch.tensor([0., tiny/4, -tiny/4, -0., tiny/8, tiny, inf, -inf], dtype=dtype)
    assert len(s.unique()) == 7
    for y in itertools.product([0, 1], repeat=8):
        if 0 < sum(y) < 8: assert auroc_score(s, list(y)).item() == float(pairs(s.tolist(), y))

@steady
@given(rows, st.randoms(use_true_random=False))
def test_invariances(rows, random):
    "Of increasing maps, of the order of the rows, of their repetition; and what becomes of the complement"
    s,y,_ = (np.array(o) for o in zip(*rows))
    want = auroc_score(s, y)
    ranks = np.unique(s, return_inverse=True)[1]
    for mapped in (s*4, s*2.**-20, ranks, ranks**3. - 1e6, np.sinh(ranks/10), -1/(1.+ranks)): assert auroc_score(mapped, y) == want
    order = random.sample(range(len(s)), len(s))
    assert auroc_score(s[order], y[order]) == want
    for times in (2, 3): assert auroc_score(np.tile(s, times), np.tile(y, times)) == want
    close(auroc_score(s, y, sample_weight=np.full(len(s), 3.)), want)
    for other in (auroc_score(s, ~y), auroc_score(-s, y)): close(other, 1-want.item(), 1e-15)
    assert auroc_score(-s, ~y) == want

# -- numbers of the reference --

@pytest.mark.parametrize('s,y,want', [
    ([1, -1], [0, 1], 0), ([0, 0], [0, 1], .5), ([-1, 1], [0, 1], 1), ([2, -3.5, -1, 1.5], [0, 0, 1, 1], .5),
    ([1, 2, 3, 4], [0, 0, 1, 1], 1), ([7, 7, 7, 7], [0, 0, 1, 1], .5), ([4, 3, 2, 1], [0, 0, 1, 1], 0),
    ([0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1], Fraction(1, 3))])
def test_small_binary_tables(s, y, want):
    assert auroc_score(s, y).item() == float(want)
    logits = torch.tensor([[-a, a] for a in s])
    assert auroc_score(logits, y, activation='softmax').item() == float(want)

@pytest.mark.parametrize('s,micro,macro', [
    ([[1,0,0], [0,0,1], [0,1,0], [0,1,0]], 1, 1), ([[1,0,0]]*4, .4375, .5), ([[0,1,0], [0,1,0], [1,0,0], [1,0,0]], .25, Fraction(2, 9)),
    ([[.4,.3,.3], [.2,.1,.7], [.5,.2,.3], [.3,.4,.3]], .734375, Fraction(29, 36))], ids=['ideal', 'constant', 'anti-learning', 'fourth'])
def test_multiclass_table(s, micro, macro):
    for average,want in (('micro', micro), ('macro', macro)): close(auroc_score(s, [0,2,1,1], average=average), float(want), 1e-15)

def test_saturated_probabilities_lose_what_logits_keep():
    "13 of 14 pairs are won by the logits; in float32 their softmax and their sigmoid are all 1, which is one half"
    margin,y = torch.tensor([40., 38, 37, 36, 35, 34, 33, 32, 39]),[1, 1, 0, 0, 0, 0, 0, 0, 0]
    logits = torch.stack([torch.zeros(9), margin], 1)
    close(auroc_score(logits, y, activation='softmax'), 13/14)
    for activation in (None, 'sigmoid', 'identity'): close(auroc_score(margin, y, activation=activation), 13/14)
    for res in (auroc_score(logits.softmax(1), y), auroc_score(margin.sigmoid(), y)): close(res, .5)

@pytest.mark.parametrize('max_fpr,area', [(.25, 0), (.5, .125), (.75, .25), (.9, .4), (1, .5)])
def test_partial_area_by_hand(max_fpr, area):
    "Corners at (1/4, 0), (1/4, 1/2), (3/4, 1/2), (3/4, 1) and (1, 1); standardised after McClish: (1 + (area - low)/(high - low))/2"
    low = max_fpr**2/2
    close(auroc_score([.9, .8, .7, .7, .6, .5], [0, 1, 0, 0, 1, 0], max_fpr=max_fpr), .5*(1 + (area-low)/(max_fpr-low)))

def test_the_name_it_had_in_fastai_1(): assert auc_roc_score is auroc_score

# -- undefined values --

def pick(seed, classes, k=5):
    "A multiclass task in which only `classes` occur"
    s,y = multiclass(seed, k=k, n=120)
    keep = np.isin(y, classes)
    return s[keep],y[keep]

@pytest.mark.parametrize('s,y,kwargs,want,says', [
    ([.2,.3], [0,0], {}, nan, 'no positive in the targets, all 2 labels are 0'),
    ([.2,.3], [1,1], {}, nan, 'no negative in the targets, all 2 labels are 1'),
    ([.2,.3], [1,1], dict(max_fpr=.2), nan, 'no negative in the targets, all 2 labels are 1'),
    ([.2,.3], [1,1], dict(sample_weight=[1,2]), nan, 'no negative in the targets, all 2 labels are 1'),
    ([[.2,.8],[.7,.3]], [0,0], dict(average=None), nan, 'no positive in the targets, all 2 labels are 0'),
    ([.5], [1], {}, nan, 'no negative in the targets, the only label is 1'),
    ([.2,.3,.4], [0,1,0], dict(ignore_index=1), nan, 'no positive in the targets, all 2 labels are 0'),
    ([.2,nan,.3,nan], [0,1,1,0], {}, nan, '2 of 4 rows have NaN scores'),
    ([.2,nan,.3,.4], [0,1,1,0], dict(max_fpr=.5), nan, '1 of 4 rows have NaN scores'),
    ([[nan,.5],[.7,.3],[.1,.9]], [0,0,1], dict(activation='softmax'), nan, '1 of 3 rows have NaN scores'),
    ([[nan,.5,.5],[.7,.2,.1],[.1,.8,.1],[0,0,1]], [0,0,1,2], {}, nan, '1 of 4 rows have NaN scores'),
    ([[nan,.5,.5],[.7,.2,.1],[.1,.8,.1],[0,0,1]], [0,0,1,2], dict(multi_class='ovo'), nan, '1 of 4 rows have NaN scores'),
    ([[nan,0,0],[0,2,1],[1,3,1],[0,0,1]], [0,0,1,2], dict(activation='softmax'), nan, '1 of 4 rows have NaN scores'),
    ([[.1,nan],[.2,nan],[.3,1]], [[0,1],[1,1],[1,0]], dict(average=None), [1,nan], '2 of 3 rows have NaN scores'),
    ([[.1,nan],[.2,nan],[.3,1]], [[0,1],[1,1],[1,0]], dict(average=None, max_fpr=.5), [1,nan], '2 of 3 rows have NaN scores'),
    ([[.1,nan],[.2,nan],[.3,1]], [[0,1],[1,1],[1,0]], {}, nan, '2 of 3 rows have NaN scores'),
    ([[.1,nan],[.2,nan],[.3,1]], [[0,1],[1,1],[1,0]], dict(average='micro'), nan, '2 of 3 rows have NaN scores'),
    ([[.1,nan],[.2,nan],[.3,1]], [[0,1],[1,0],[1,0]], dict(average='samples'), nan, '2 of 3 rows have NaN scores'),
    ([[.1,.2],[.3,.4]], [[0,1],[1,1]], dict(average=None), [1,nan], 'no negative for label 1'),
    ([[.1,.2],[.3,.4]], [[0,0],[1,0]], dict(average='macro'), 1, 'no positive for label 1'),
    ([[.1,.2],[.3,.4]], [[0,1],[1,1]], dict(average='samples'), 1, 'no negative in row 1'),
    ([[.1,.2],[.3,.4]], [[0,0],[0,0]], dict(average='micro'), nan, 'no positive in the targets, all 4 labels are 0'),
    ([[.1,.2],[.3,.4]], [[1,1],[1,1]], {}, nan, 'no negative for label 0, 1'),
    ([], [], {}, nan, 'no rows'),
    (np.zeros((0,3)), [], dict(average=None), [nan]*3, 'no rows'),
    (np.zeros((0,3)), [], dict(multi_class='ovo'), nan, 'no rows'),
    (np.zeros((0,3)), np.zeros((0,3)), dict(average=None), [nan]*3, 'no rows'),
    (np.zeros((0,3)), np.zeros((0,3)), dict(average='samples', sample_weight=[]), nan, 'no rows'),
    ([.1,.2], [9,9], dict(ignore_index=9), nan, 'no row left in the targets'),
    (np.eye(3), [9,9,9], dict(ignore_index=9, average=None), [nan]*3, 'no row left for class 0, 1, 2'),
    (np.eye(3), [9,9,9], dict(ignore_index=9, multi_class='ovo'), nan, 'no row left for class 0, 1, 2'),
    (np.eye(3), np.full((3,3), 9), dict(ignore_index=9), nan, 'no row left for label 0, 1, 2'),
    (np.eye(3), np.array([[0,1,9]]*3), dict(ignore_index=9, average='weighted'), nan,
        'no positive for label 0; no negative for label 1; no row left for label 2'),
    (np.eye(3), [1,1,1], {}, nan, 'no positive for class 0, 2; no negative for class 1'),
    (np.eye(3), [1,1,1], dict(average=None), [nan]*3, 'no positive for class 0, 2; no negative for class 1'),
    (np.eye(3), [1,1,1], dict(multi_class='ovo'), nan, 'no positive for class 0, 2; no negative for class 1'),
    (np.eye(15)[[3,4]], [3,4], {}, 1, 'no positive for class 0, 1, 2, 5, 6, 7, 8, 9, 10, 11 and 3 more')])
def test_undefined(s, y, kwargs, want, says):
    "NaN, never 0 or one half, and one warning that says why"
    res,message = warned(auroc_score, s, y, **kwargs)
    close(res, want)
    assert message.startswith('AUROC ') and message.endswith(says), message
    assert ('is NaN:' in message) == bool(np.isnan(want).all())

def test_nan_and_absent_classes_are_both_named():
    "Two columns are NaN for two reasons"
    res,says = warned(auroc_score, [[nan,.2,.3], [.1,.3,.2]], [[0,0,1], [1,0,0]], average=None)
    close(res, [nan, nan, 1])
    assert '1 of 2 rows have NaN scores' in says and 'no positive for label 1' in says

@pytest.mark.parametrize('classes', [(0,1,3), (2,4), (1,2,3,4)])
def test_absent_classes_are_left_out(classes):
    s,y = pick(7, classes)
    each = np.array([roc_auc_score(y == c, s[:,c]) if c in classes else nan for c in range(5)])
    count = np.bincount(y, minlength=5)
    duels,sizes = [],[]
    for pair in itertools.combinations(classes, 2):
        rows = np.isin(y, pair)
        duels.append(np.mean([roc_auc_score(y[rows] == c, s[rows,c]) for c in pair]))
        sizes.append(rows.sum())
    ovr = dict(macro=np.nanmean(each), weighted=np.nansum(each*count)/len(y)) | {None: each}
    ovo = dict(macro=np.mean(duels), weighted=np.average(duels, weights=sizes))
    absent = ', '.join(str(c) for c in range(5) if c not in classes)
    for multi_class,average,want in [*(('ovr', *o) for o in ovr.items()), *(('ovo', *o) for o in ovo.items())]:
        res,says = warned(auroc_score, s, y, average=average, multi_class=multi_class)
        close(res, want)
        what = f'leaves columns out of the {average} average' if average else 'is NaN for some columns'
        assert says == f'AUROC {what}: no positive for class {absent}'
    close(auroc_score(s, y, average='micro'), roc_auc_score(np.eye(5)[y].ravel(), s.ravel()))   # a pool misses nobody

@pytest.mark.parametrize('max_fpr,weighted', [(None, False), (.3, False), (None, True)])
def test_absent_labels_and_rows_of_one_kind_are_left_out(max_fpr, weighted):
    s,y = multilabel(8, n=30, k=4, ties=True)
    y[:,2],y[3:6] = 1,1
    w = np.random.default_rng(0).uniform(.1, 5, 30) if weighted else None
    ok = [c for c in range(4) if 0 < y[:,c].sum() < 30]
    for average in ('macro', 'weighted'):
        res,says = warned(auroc_score, s, y, average=average, max_fpr=max_fpr, sample_weight=w)
        close(res, roc_auc_score(y[:,ok], s[:,ok], average=average, max_fpr=max_fpr, sample_weight=w), 1e-9)
        assert says == f'AUROC leaves columns out of the {average} average: no negative for label 2'
    mixed = np.array([0 < r.sum() < 4 for r in y])
    res,says = warned(auroc_score, s, y, average='samples', max_fpr=max_fpr, sample_weight=w)
    w = None if w is None else w[mixed]
    close(res, roc_auc_score(y[mixed], s[mixed], average='samples', max_fpr=max_fpr, sample_weight=w), 1e-9)
    assert 'no negative in row 3, 4, 5' in says and not mixed[3:6].any()

def test_rows_without_weight_do_not_count():
    s,y = binary(2, ties=True)
    w = np.arange(len(s)) % 3
    for kwargs in ({}, dict(max_fpr=.3)): close(auroc_score(s, y, sample_weight=w, **kwargs), roc_auc_score(y, s, sample_weight=w, **kwargs), 1e-9)
    assert 'no positive in the targets' in warned(auroc_score, s, y, sample_weight=1-y)[1]

@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples'])
def test_nan_weights_are_not_passed_over_in_silence(average):
    s,y = multilabel(0, n=20)
    with pytest.raises((ValueError, UserWarning), match='weight'): auroc_score(s, y, average=average, sample_weight=[nan]+[1]*19)

# -- errors --

three = torch.eye(3)

def arguments(message): return set(re.findall(r'\w+(?==)|ignore_index', message))

@pytest.mark.parametrize('s,y,kwargs,says', [
    ([.1,.2,.3], [0,1], {}, ['(3,)', '(2,)', 'shape']),
    (torch.zeros(4,3), [0,1,2], {}, ['(4, 3)', '(3,)', 'class axis']),
    (torch.zeros(4,3), torch.zeros(4,2), {}, ['(4, 3)', '(4, 2)', 'class axis']),
    (torch.zeros(4,3,5), torch.zeros(4,3,5), {}, ['(4, 3, 5)', 'for one score a pixel pass scores.flatten() and targets.flatten()']),
    (.5, 1, {}, ['at least one axis']),
    (three, [0,1,2], dict(average='mean'), ["'mean'", "'macro'", "'micro'", "'weighted'", "'samples'", 'None']),
    (three, [0,1,2], dict(average='samples'), ["'samples'", 'multiclass', "'macro'", "'micro'"]),
    (three, [0,1,2], dict(average='micro', multi_class='ovo'), ["'micro'", "'ovo'", "'macro'", "'weighted'"]),
    (three, [0,1,2], dict(average=None, multi_class='ovo'), ['None', "'ovo'", "'macro'", "'weighted'"]),
    (three, [0,1,2], dict(multi_class='raise'), ["'raise'", "'ovr'", "'ovo'"]),
    *[([.1,.2], [0,1], dict(max_fpr=r), ['max_fpr', '(0, 1]', repr(r)]) for r in (0, -.1, 1.1, nan, inf)],
    ([.1,.2], [0,1], dict(activation='relu'), ["'relu'", "'softmax'", "'sigmoid'", "'identity'"]),
    ([.1,.2,.3], [0,1,2], {}, ['targets', 'two different values', '1 of 3 rows', 'ignore_index']),
    ([.1,.2,.3,.4], [0,.5,1,1], {}, ['targets', 'two different values', '1 of 4 rows']),
    (three, [[0,1,.5],[1,0,1],[0,1,1]], {}, ['targets', 'two different values', '1 of 3 rows']),
    (three, [0,1,3], {}, ['targets', 'class numbers from 0 to 2', '1 of 3 rows', 'ignore_index']),
    (three, [0,-1,-1], {}, ['targets', 'class numbers from 0 to 2', '2 of 3 rows']),
    (three, [0,1,-1], dict(ignore_index=-100), ['targets', 'class numbers from 0 to 2', '1 of 3 rows']),
    (three, [0,1,1.5], {}, ['targets', 'class numbers from 0 to 2', '1 of 3 rows']),
    (three, [0,1,nan], {}, ['targets', 'class numbers from 0 to 2', '1 of 3 rows']),
    (three, [0,1,3], dict(multi_class='ovo'), ['targets', 'class numbers from 0 to 2', '1 of 3 rows']),
    ([[-1.,3],[.4,.6],[3,1]], [0,1,1], {}, ['probabilities', '2 of 3 rows', "activation='softmax'", "'identity'"]),
    ([[-1.,2,4],[.4,.5,.1],[3,1,1]], [0,1,2], {}, ['probabilities', '2 of 3 rows', "activation='softmax'", "'identity'"]),
    ([[-1.,2,4],[.4,.5,.1],[3,1,1]], [0,1,2], dict(multi_class='ovo'), ['probabilities', '2 of 3 rows', "activation='softmax'"]),
    ([.1,.2,.3], [0,1,1], dict(sample_weight=[1,2]), ['sample_weight', '3 rows', 'got 2']),
    (three, [0,1,2], dict(sample_weight=torch.ones(3,3)), ['sample_weight', '3 rows', 'got 9']),
    (three, [0,1,2], dict(sample_weight=[1,1,1], multi_class='ovo'), ['sample_weight', "'ovo'"]),
    (three, [0,1,2], dict(max_fpr=.5, multi_class='ovo'), ['max_fpr', "'ovo'"])])
def test_errors(s, y, kwargs, says):
    "What was given, what was wanted, and what to do, in terms of arguments that there are"
    with pytest.raises(ValueError) as e: auroc_score(s, y, **kwargs)
    message = str(e.value)
    assert all(o in message for o in says), message
    assert arguments(message) <= set(inspect.signature(auroc_score).parameters), message

@pytest.mark.parametrize('s,y', [(['a','b'], [0,1]), ([.1,.2], ['ham','spam']), (pd.Series(['a','b']), [0,1]), ([.1,.2], [None,1]), ('ab', [0,1])])
def test_text_is_no_score_and_no_label(s, y):
    name = 'scores' if y == [0,1] else 'targets'
    for f in (auroc_score, roc_curve):
        with pytest.raises(TypeError, match=f'{name} must be a tensor, an array or a list of numbers'): f(s, y)

def test_options_are_keywords():
    with pytest.raises(TypeError, match='positional'): auroc_score([.1,.2], [0,1], 'softmax')

def test_logits_of_many_classes_pass_with_an_activation():
    "'identity' ranks each column as it is, 'softmax' its probabilities"
    z,y = torch.randn(60, 4)*3,torch.arange(60) % 4
    close(auroc_score(z, y, activation='identity', average=None), [roc_auc_score(y == c, z[:,c]) for c in range(4)])
    close(auroc_score(z, y, activation='softmax', average=None), [roc_auc_score(y == c, z.double().softmax(1)[:,c]) for c in range(4)])
    close(auroc_score(z, y, activation='softmax', multi_class='ovo'), roc_auc_score(y, z.double().softmax(1), multi_class='ovo'))

# -- curves --

def same(curve, want, tol=0):
    "The three arrays of scikit-learn, in number, in place and in kind"
    assert type(curve) is roc.ROCCurve and curve._fields == ('fpr', 'tpr', 'thresholds')
    for res,theirs in zip(curve, want):
        assert type(res) is torch.Tensor and res.dtype == torch.float64 and res.device.type == 'cpu'
        if tol: np.testing.assert_allclose(res.numpy(), theirs, rtol=0, atol=tol)
        else: np.testing.assert_array_equal(res.numpy(), theirs)

@steady
@given(rows, st.booleans(), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_any_curve(rows, weighted, drop, dtype):
    s,y,w = (np.array(o) for o in zip(*rows))
    s,w = s.astype(dtype),w if weighted else None
    same(roc_curve(s, y, sample_weight=w, drop_intermediate=drop), skm.roc_curve(y, s, sample_weight=w, drop_intermediate=drop))

@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('ties', [False, True])
def test_curves(ties, dtype, drop):
    for seed in range(8):
        s,y = binary(seed, ties=ties)
        rng,s = np.random.default_rng(seed),s.astype(dtype)
        for w in (None, np.ones(len(s)), rng.integers(1, 6, len(s)), rng.integers(1, 6, len(s))/8):
            same(roc_curve(s, y, sample_weight=w, drop_intermediate=drop), skm.roc_curve(y, s, sample_weight=w, drop_intermediate=drop))
        w = rng.uniform(.1, 5, len(s))
        same(roc_curve(s, y, sample_weight=w, drop_intermediate=drop), skm.roc_curve(y, s, sample_weight=w, drop_intermediate=drop), 1e-12)

@pytest.mark.parametrize('drop', [False, True])
def test_rows_without_weight_are_no_points_of_a_curve(drop):
    for seed in range(4):
        s,y = binary(seed)
        w = np.random.default_rng(seed).integers(0, 3, len(s))
        same(roc_curve(s, y, sample_weight=w, drop_intermediate=drop), skm.roc_curve(y, s, sample_weight=w, drop_intermediate=drop))

def test_curve_of_two_columns():
    s,y = binary(0, ties=True)
    same(roc_curve(np.stack([1-s, s], 1), y), skm.roc_curve(y, s))
    logits = torch.tensor(np.random.default_rng(0).normal(size=(80,2))*50)
    same(roc_curve(logits, y, activation='softmax'), skm.roc_curve(y, logits[:,1]-logits[:,0]))
    same(roc_curve(s[:,None], 2*y-1), skm.roc_curve(2*y-1, s))

def test_infinite_scores_are_thresholds():
    curve = roc_curve([inf, 0., -0., -inf, 1.], [1, 1, 0, 0, 1])
    assert [c.tolist() for c in curve] == [[0., 0., 0., .5, 1.], [0., 1/3, 2/3, 1., 1.], [inf, inf, 1., 0., -inf]]

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('task', ['binary', 'multiclass', 'multilabel'])
def test_curves_without_ignored_labels(task, ties, weighted):
    "Those of the rows, or of the entries, that are left; ignored ones may be NaN"
    s,y = binary(1, ties=ties) if task == 'binary' else data[task](1, ties=ties)
    rng = np.random.default_rng(2)
    w,void = rng.integers(1, 6, len(s)) if weighted else None,rng.random(y.shape) < .2
    y = np.where(void, -100, y)
    s = np.where(void if s.ndim == y.ndim else void[:,None], nan, s)
    curves = roc_curve(s, y, sample_weight=w, ignore_index=-100)
    for c,curve in enumerate(curves if task != 'binary' else [curves]):
        scores,labels = (s, y) if task == 'binary' else (s[:,c], y[:,c] if y.ndim == 2 else y)
        kept = labels != -100
        same(curve, skm.roc_curve((labels == c if task == 'multiclass' else labels)[kept], scores[kept], sample_weight=None if w is None else w[kept]))

@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('task', ['multiclass', 'multilabel'])
def test_curves_of_many_columns(task, drop, ties, weighted):
    s,y = data[task](3, ties=ties)
    w = np.random.default_rng(0).integers(1, 6, len(s)) if weighted else None
    hot = np.eye(s.shape[1])[y] if task == 'multiclass' else y
    kwargs = dict(sample_weight=w, drop_intermediate=drop)
    curves = roc_curve(s, y, **kwargs)
    assert type(curves) is list and len(curves) == s.shape[1]
    for c,curve in enumerate(curves): same(curve, skm.roc_curve(hot[:,c], s[:,c], **kwargs))
    pooled = skm.roc_curve(hot.ravel(), s.ravel(), sample_weight=None if w is None else w.repeat(s.shape[1]), drop_intermediate=drop)
    same(roc_curve(s, y, average='micro', **kwargs), pooled)
    for average in ('micro', 'macro'):
        curve = roc_curve(s, y, average=average, **kwargs)
        close(auc(curve.fpr, curve.tpr), roc_auc_score(hot, s, average=average, sample_weight=w))

@pytest.mark.parametrize('drop', [False, True])
@pytest.mark.parametrize('ties', [False, True])
def test_macro_curve_is_the_mean_of_heights(ties, drop):
    "Just before and just after each false positive rate that a curve has"
    s,y = multiclass(9, k=5, ties=ties)
    theirs = [skm.roc_curve(y == c, s[:,c], drop_intermediate=drop)[:2] for c in range(5)]
    curve = roc_curve(s, y, average='macro', drop_intermediate=drop)
    grid = np.unique(np.concatenate([x for x,_ in theirs]))
    np.testing.assert_array_equal(curve.fpr, grid.repeat(2))
    for tpr,side in ((curve.tpr[::2], -1), (curve.tpr[1::2], 1)):
        np.testing.assert_allclose(tpr, np.mean([np.interp(grid + side*1e-10, *o) for o in theirs], 0), rtol=0, atol=1e-8)
    assert curve.tpr[0] == 0 and curve.tpr[-1] == 1 and (curve.tpr.diff() > -1e-15).all() and curve.thresholds.isnan().all()

def test_constant_prediction_has_a_straight_macro_curve():
    "In any order of the rows; drawn row by row it would have an area of .4444 or .5556"
    for y in itertools.permutations([0,2,1,1]):
        curve = roc_curve([[1.,0,0]]*4, y, average='macro')
        close(auc(curve.fpr, curve.tpr), .5)
        assert [o.tolist() for o in curve[:2]] == [[0,0,1,1]]*2

@pytest.mark.parametrize('y,says', [([0,0,0], 'no positive in the targets, all 3 labels are 0'), ([1,1,1], 'no negative in the targets, all 3 labels are 1')])
def test_curve_of_one_class_has_a_rate_that_is_nan(y, says):
    s = [.1,.3,.2]
    res,message = warned(roc_curve, s, y)
    with pytest.warns(UndefinedMetricWarning): same(res, skm.roc_curve(y, s, pos_label=1))
    assert message == f'roc_curve has NaN rates: {says}'

def test_curves_of_absent_classes():
    s,y = pick(7, (0,1,3))
    curves,says = warned(roc_curve, s, y)
    assert says == 'roc_curve has NaN rates: no positive for class 2, 4'
    for c in (0,1,3): same(curves[c], skm.roc_curve(y == c, s[:,c]))
    assert all(curves[c].tpr.isnan().all() and not curves[c].fpr.isnan().any() for c in (2,4))
    same(roc_curve(s, y, average='micro'), skm.roc_curve(np.eye(5)[y].ravel(), s.ravel()))

def test_macro_curve_leaves_absent_classes_out():
    "And says so: the curve itself has no NaN"
    s,y = pick(7, (0,1,3))
    curve,says = warned(roc_curve, s, y, average='macro')
    close(auc(curve.fpr, curve.tpr), np.mean([roc_auc_score(y == c, s[:,c]) for c in (0,1,3)]))
    assert 'no positive for class 2, 4' in says
    assert 'NaN' not in says

@pytest.mark.parametrize('s,y,kwargs,says', [
    ([], [], {}, ['needs rows']), ([.1,nan,.2,nan], [0,1,1,0], {}, ['2 of 4 rows have NaN scores']),
    ([.1,.2], [0,1], dict(average='weighted'), ["'weighted'", "'micro'", "'macro'"]),
    ([.1,.2,.3], [0,1], {}, ['(3,)', '(2,)']), ([.1,.2,.3], [0,1,2], {}, ['two different values', '1 of 3 rows']),
    (three, [0,1,3], {}, ['class numbers from 0 to 2', '1 of 3 rows']),
    (three*9, [0,1,2], {}, ['probabilities', '3 of 3 rows', "activation='softmax'"]),
    ([.1,.2], [0,1], dict(activation='relu'), ["'relu'", "'softmax'"]), ([.1,.2], [0,1], dict(sample_weight=[1]), ['sample_weight', 'got 1'])])
def test_errors_of_roc_curve(s, y, kwargs, says):
    "What was given, what was wanted, and what to do, in terms of arguments that there are"
    with pytest.raises(ValueError) as e: roc_curve(s, y, **kwargs)
    message = str(e.value)
    assert all(o in message for o in says), message
    assert arguments(message) <= set(inspect.signature(roc_curve).parameters), message

# -- areas --

@steady
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=30), st.booleans())
def test_area_under_any_curve(points, falling):
    x,y = map(np.array, zip(*points))
    x = np.sort(x)[::-1] if falling else np.sort(x)
    assert auc(x, y).item() == pytest.approx(skm.auc(x, y), rel=1e-12, abs=1e-9)
    close(auc(torch.tensor(x.copy()), y.tolist()), auc(x, y).item())

@pytest.mark.parametrize('x,y,want', [([0,1], [0,1], .5), ([1,0], [1,0], .5), ([0,0,1], [0,1,1], 1), ([3,3], [1,2], 0), ([2,1,1,0], [0,1,3,4], 4)])
def test_areas_by_hand(x, y, want): close(auc(x, y), want)

@pytest.mark.parametrize('x,y,says', [([0,1,.5], [0,1,1], 'x must be ascending or descending'), ([0], [0], 'got (1,) and (1,)'),
    ([0,1], [0,1,1], 'got (2,) and (3,)'), ([[0,1],[1,2]], [[0,1],[1,2]], 'got (2, 2) and (2, 2)')])
def test_errors_of_auc(x, y, says):
    with pytest.raises(ValueError) as e: auc(x, y)
    assert says in str(e.value)

def test_area_of_text():
    with pytest.raises(TypeError, match='y must be a tensor, an array or a list of numbers'): auc([0,1], ['a','b'])
