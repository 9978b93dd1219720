"Which label is the positive one: text, objects, numbers of any size, and what is said where none can be."
import enum, inspect
from fractions import Fraction
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, sklearn.metrics as skm, torch
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch._subclasses import FakeTensorMode
from test_device import HostRead, NoWaiting
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.plots import plot_roc
from fastai_auroc.roc import auroc_score, roc_curve
from fastai_auroc.inputs import binary_labels, distinct_labels, equals, to_tensor

pytestmark = pytest.mark.filterwarnings('error')
rng = np.random.default_rng(0)
y = rng.permutation(np.arange(80) % 3 == 0)
s = (y + rng.normal(size=80)).round(1)
want = roc_auc_score(y, s)

def drawn(ax):
    "The AUROC in the legend"
    text = ax.get_legend().get_texts()[0].get_text()
    plt.close('all')
    return text.split()[1]

scorers = dict(auroc_score=auroc_score, roc_curve=lambda s, y, **kwargs: skm.auc(*roc_curve(s, y, **kwargs)[:2]),
    auroc_ci=lambda s, y, **kwargs: auroc_ci(s, y, **kwargs).auroc, first=lambda s, y, **kwargs: compare_auroc(s, -s, y, **kwargs).auroc_a,
    second=lambda s, y, **kwargs: 1-compare_auroc(s, -s, y, **kwargs).auroc_b)

@pytest.fixture(params=scorers)
def scorer(request): return scorers[request.param]

class Kind(enum.Enum): no,yes = 0,1

two = dict(text=['benign', 'malignant'], backwards=['yes', 'no'], bools=[False, True], numbers=[0, 1], turned=[1, 0], signs=[1, -1], floats=[.5, .25],
    far=[2, 7],
    bytes=[b'a', b'b'], objects=[Kind.no, Kind.yes], mixed=['none', 1], large=[2**63+1, 2**63], wide=[2**53+1, 2**53])
def plain(a): return a.view(f'{a.dtype.kind}{a.itemsize}')  # the name of 64 bits that PyTorch knows

wraps = dict(list=lambda a: a.tolist(), tuple=lambda a: tuple(a.tolist()), objects=lambda a: a, array=lambda a: np.array(a.tolist()), series=pd.Series,
    category=lambda a: pd.Series(a).astype('category'), categorical=lambda a: pd.Categorical(a), frame=lambda a: pd.DataFrame(dict(label=a)),
    column=lambda a: a[:,None], tensor=lambda a: torch.from_numpy(plain(np.array(a.tolist()))))

def made(labels, wrap):
    "Rows of two labels"
    res = np.empty(len(y), object)
    res[:] = [labels[int(o)] for o in y]
    return wraps[wrap](res)

@pytest.mark.parametrize('wrap', wraps)
@pytest.mark.parametrize('labels', two.values(), ids=two)
def test_positive_label(labels, wrap, scorer):
    "Rows that equal it are positive, whatever its rank and type, and all others negative"
    numbers = all(isinstance(o, (bool, int, float)) for o in labels)
    if wrap == 'tensor' and not numbers: pytest.skip('no tensor holds these')
    if wrap == 'array' and labels == two['mixed']: pytest.skip('NumPy makes them text')
    if wrap in ('category', 'categorical') and labels == two['mixed']: pytest.skip('pandas cannot sort them')
    targets = made(labels, wrap)
    assert float(scorer(s, targets, pos_label=labels[1])) == pytest.approx(want, abs=1e-12)
    assert float(scorer(s, targets, pos_label=labels[0])) == pytest.approx(1-want, abs=1e-12)
    if numbers and not isinstance(labels[0], float): assert float(scorer(s, targets)) == pytest.approx(want if labels[1] > labels[0] else 1-want, abs=1e-12)

def test_plot():
    for labels in (two['text'], two['turned'], two['objects']):
        targets = made(labels, 'list')
        assert drawn(plot_roc(s, targets, pos_label=labels[1])) == f'{want:.3f}'
        assert drawn(plot_roc(s, targets, pos_label=labels[0], ci=False)) == f'{1-want:.3f}'
    assert inspect.signature(plot_roc).parameters['pos_label'].kind is inspect.Parameter.KEYWORD_ONLY
    with pytest.raises(ValueError, match='pos_label is for binary tasks'): plot_roc(np.eye(3), list('abc'), pos_label='a')
    with pytest.warns(UndefinedMetricWarning, match="no positive to draw, since pos_label='x' is none of the labels 'a', 'b'"):
        plot_roc([.1, .2], ['a', 'b'], pos_label='x')
    plt.close('all')

def test_reported_case():
    "Breast cancer, where the first row is malignant and 'malignant' is the last in sorted order: .9749, not .0251"
    x,truth = load_breast_cancer(return_X_y=True)
    targets = np.where(truth == 0, 'malignant', 'benign').tolist()
    expected = roc_auc_score(targets, x[:,20])
    assert expected > .9
    assert auroc_score(x[:,20], targets, pos_label='malignant').item() == pytest.approx(expected, abs=1e-12)

@pytest.mark.parametrize('wrap', ['list', 'tuple', 'array', 'series', 'category', 'categorical'])
@pytest.mark.parametrize('first', ['benign', 'malignant'])
def test_hint_is_code_that_works(wrap, first, scorer):
    "It names the label that scikit-learn takes as positive, also where another comes first"
    order = np.argsort([o != first for o in made(two['text'], 'list')], kind='stable')
    targets,scores = wraps[wrap](made(two['text'], 'objects')[order]),s[order]
    with pytest.raises(TypeError, match=r"strings: pass pos_label='malignant'$"): scorer(scores, targets)
    with pytest.raises(TypeError, match='strings: pass .*targets.*$') as e: to_tensor(targets, 'targets')  # where there is no `pos_label`
    code = str(e.value).rsplit('pass ', 1)[1]
    assert float(scorer(scores, eval(code))) == pytest.approx(roc_auc_score(np.asarray(targets), scores), abs=1e-12)

def test_hint_for_classes():
    p,names = rng.dirichlet(np.ones(3), 30),[('bird', 'cat', 'dog')[i % 3] for i in range(30)]
    with pytest.raises(TypeError, match='as class numbers, in sorted order, they are (.*)$') as e: auroc_score(p, names)
    targets = eval(str(e.value).rsplit('they are ', 1)[1], dict(np=np, targets=names))
    assert auroc_score(p, targets).item() == pytest.approx(roc_auc_score(names, p, multi_class='ovr'), abs=1e-12)

def test_hint_is_for_targets_only():
    for args,kwargs in (((['a', 'b'], [0, 1]), {}), (([.1, .2], [0, 1]), dict(sample_weight=['a', 'b']))):
        with pytest.raises(TypeError, match='of strings$'): auroc_score(*args, **kwargs)
    for f in (roc_curve, auroc_ci, lambda s, y: compare_auroc(s, s, y)):
        with pytest.raises(TypeError, match='of strings$'): f(['a', 'b'], [0, 1])

@pytest.mark.parametrize('ignored', [-100, 0, 1, 7])
@pytest.mark.parametrize('positive', [0, 1, 5])
def test_with_ignored_labels(ignored, positive, scorer):
    "Several labels are negative, one is left out"
    labels = rng.permutation(np.arange(80) % 4)
    labels = np.array([ignored, positive, 2, 3])[labels]
    if ignored == positive:
        with pytest.raises(ValueError, match='pos_label and ignore_index must differ'): scorer(s, labels, pos_label=positive, ignore_index=ignored)
        return
    keep = labels != ignored
    expected = roc_auc_score(labels[keep] == positive, s[keep])
    for targets in (labels, torch.tensor(labels), labels.astype(float), labels.astype(object), torch.tensor(labels).to(torch.int8)):
        assert float(scorer(s, targets, pos_label=positive, ignore_index=ignored)) == pytest.approx(expected, abs=1e-12)

def test_shapes():
    names = np.where(y, 'yes', 'no')
    for scores in (s[:,None], np.stack([-s, s], 1)): assert auroc_score(scores, names, activation='softmax', pos_label='yes').item() == pytest.approx(want)
    for targets in (names[:,None], pd.DataFrame(dict(y=names))): assert auroc_score(s[:,None], targets, pos_label='yes').item() == pytest.approx(want)
    image = names.reshape(4, 4, 5)
    assert auroc_score(s.reshape(4, 1, 4, 5), image, pos_label='yes').item() == pytest.approx(want)

@pytest.mark.parametrize('scores,targets', [(np.eye(3), ['a', 'b', 'c']), (np.eye(3), np.eye(3)), (np.eye(2), np.eye(2)), (np.eye(3), [0, 1, 2])], ids=range(4))
def test_binary_tasks_only(scores, targets):
    for f in (auroc_score, roc_curve, auroc_ci):
        with pytest.raises(ValueError, match=r'pos_label is for binary tasks.*got scores of shape \(\d, \d\)'): f(scores, targets, pos_label=1)

@pytest.mark.parametrize('bad', [['a'], ('a', 'b'), {'a'}, np.array(['a']), float('nan'), pd.NA, torch.ones(2)], ids=str)
def test_one_label(bad, scorer):
    with pytest.raises(ValueError, match='pos_label must be one label, got'): scorer(s, y, pos_label=bad)

@pytest.mark.parametrize('targets,positive,says', [(['a', 'b', 'a'], 'B', "pos_label='B' is none of the labels 'a', 'b'"),
    ([0, 1, 0], '1', "pos_label='1' is none of the labels 0, 1"),
    ([0, 1, 0], 2, 'pos_label=2 is none of the labels 0, 1'), ([0., .5, 0], 1, 'pos_label=1 is none of the labels 0, 0.5'),
    ([2, 3, 4], 2**70, 'is none of the labels 2, 3, 4'),
    ([True, False, True], 'x', "pos_label='x' is none of the labels False, True"), (torch.tensor([0, 1, 0]), 3, 'pos_label=3 is none of the labels 0, 1')])
def test_positive_label_that_does_not_occur(targets, positive, says):
    "A fold without positives is NaN as always, and the warning says which labels there are, for those who misspelt"
    for f in (auroc_score, roc_curve, auroc_ci, lambda s, y, **kwargs: compare_auroc(s, s, y, **kwargs)):
        with pytest.warns(UndefinedMetricWarning) as seen: f([.1, .2, .3], targets, pos_label=positive)
        message = str(seen[0].message)
        assert len(seen) == 1 and 'no positive in the targets, since ' in message and says in message

def test_fold_of_one_label():
    "Told by the label, not by its size"
    with pytest.warns(UndefinedMetricWarning, match='no negative in the targets, all 2 labels are 0$'): auroc_score([.1, .2], [0, 0], pos_label=0)
    with pytest.warns(UndefinedMetricWarning, match="no negative in the targets, all 2 labels are 'a'$"): auroc_score([.1, .2, .3], ['a', 'a', 7], pos_label='a', ignore_index=7)
    with pytest.warns(UndefinedMetricWarning, match='no positive in the targets, since pos_label=1 is none of the labels 0'):
        auroc_score([.1, .2], [0, 0], pos_label=1)
    with pytest.warns(UndefinedMetricWarning, match='no positive in the targets, since pos_label=1 is none of the labels 5'):
        auroc_score([.1, .2], [5, 5], pos_label=1)

@pytest.mark.parametrize('targets', [['a', None, 'b'], ['a', float('nan'), 'b'], pd.Series(['a', pd.NA, 'b']), np.array(['a', np.nan, 'b'], object)],
    ids=range(4))
def test_missing_labels(targets, scorer):
    "They are neither positive nor negative"
    with pytest.raises(ValueError, match='targets must be labels, but 1 of 3 are missing'): scorer(np.array([.1, .2, .3]), targets, pos_label='a')

def test_nan_among_numbers(scorer):
    with pytest.raises(ValueError, match='1 of 3 rows have NaN'): scorer(np.array([.1, .2, .3]), [0, np.nan, 1], pos_label=1)

def test_default_is_keyword_and_none():
    for f in (auroc_score, roc_curve, auroc_ci, compare_auroc, plot_roc):
        o = inspect.signature(f).parameters['pos_label']
        assert o.default is None and o.kind is inspect.Parameter.KEYWORD_ONLY

def test_weights_and_partial_area_with_a_positive_label():
    w = rng.random(80)
    names = np.where(y, 'yes', 'no')
    for kwargs in (dict(sample_weight=w), dict(max_fpr=.3), dict(sample_weight=w, max_fpr=.3)):
        assert auroc_score(s, names, pos_label='yes', **kwargs).item() == pytest.approx(roc_auc_score(y, s, **kwargs), abs=1e-12)
    for ours,theirs in zip(roc_curve(s, names, pos_label='yes'), skm.roc_curve(names, s, pos_label='yes')): np.testing.assert_array_equal(ours, theirs)
    three = np.array(['a', 'b', 'c'])[np.arange(80) % 3]
    for ours,theirs in zip(roc_curve(s, three, pos_label='a'), skm.roc_curve(three == 'a', s)): np.testing.assert_array_equal(ours, theirs)

@pytest.mark.parametrize('kwargs', [{}, dict(ignore_index=2)], ids=str)
def test_nobody_waits_for_labels_on_a_device(kwargs):
    with FakeTensorMode():
        scores,targets = torch.rand(100, device='cuda'),torch.randint(0, 3, (100,), device='cuda')
        for f in (auroc_score, roc_curve, auroc_ci):
            with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): f(scores, targets, pos_label=1, **kwargs)
            assert mode.n_ops > 20

# -- numbers of any size --

sizes = [(2**63, 2**63+1), (0, 2**63), (1, 2**64-1), (2**63-1, 2**63), (2**64-2, 2**64-1), (2**53, 2**53+1), (-2**63, 2**63-1), (-2**53-1, -2**53)]

@pytest.mark.parametrize('low,high', sizes)
def test_larger_of_two_large_labels(low, high, scorer):
    "Neither wrapped nor rounded: as uint64 or int64, in lists and as objects"
    kind = np.uint64 if high >= 2**63 else np.int64
    labels = np.where(y, np.array(high, kind), np.array(low, kind))
    assert labels.dtype == kind and len(np.unique(labels)) == 2
    for targets in (labels, labels.astype(object), labels.tolist(), torch.from_numpy(labels), labels.astype(labels.dtype.newbyteorder())):
        assert float(scorer(s, targets)) == pytest.approx(want, abs=1e-12)
    many = np.stack([labels, labels[::-1]], 1)
    for average in ('macro', 'micro'):
        expected = roc_auc_score(np.stack([y, y[::-1]], 1), np.stack([s, s], 1), average=average)
        assert auroc_score(np.stack([s, s], 1), many, average=average).item() == pytest.approx(expected, abs=1e-12)
    for void in (5, high-2):
        if void not in (low, high): assert float(scorer(np.append(s, 9), np.append(labels, kind(void)), ignore_index=void)) == pytest.approx(want, abs=1e-12)

def test_plots_of_large_labels():
    for low,high in ((2**63, 2**63+1), (0, 2**64-1)): assert drawn(plot_roc(s, np.where(y, np.uint64(high), np.uint64(low)), ci=False)) == f'{want:.3f}'

def test_one_large_label():
    for value,says in ((2**63, 'no negative'), (2**64-1, 'no negative'), (0, 'no positive')):
        array = np.array([value]*3, np.uint64)
        for targets in (array, torch.from_numpy(array)):
            with pytest.warns(UndefinedMetricWarning, match=says): auroc_score([.1, .2, .3], targets)

def test_large_class_numbers():
    "No class numbers, unless they are to be ignored"
    labels = np.array([0, 1, 2, 1, 2**64-1], np.uint64)
    p = np.array([[.8,.1,.1], [.2,.5,.3], [.1,.3,.6], [.3,.3,.4], [.1,.1,.8]])
    with pytest.raises(ValueError, match='class numbers from 0 to 2, but 1 of 5 rows have others: got 0, 1, 2, 18446744073709551615'): auroc_score(p, labels)
    assert auroc_score(p, labels, ignore_index=2**64-1).item() == pytest.approx(roc_auc_score([0, 1, 2, 1], p[:4], multi_class='ovr'), abs=1e-12)

@pytest.mark.parametrize('bad', [2**70, -2**64, 1e300, 10**400, float('inf'), 2**64])
def test_ignore_index_of_more_than_64_bits(bad, scorer):
    with pytest.raises(ValueError, match='ignore_index must be one whole number, got'): scorer(s, y, ignore_index=bad)

@pytest.mark.parametrize('ignored', [2**63, 2**64-1, 2**40, -2**63, 300, 255., np.int64(7), np.uint8(200)], ids=str)
def test_ignore_index_that_no_label_can_be(ignored, scorer):
    for dtype in (torch.int8, torch.uint8, torch.int64, torch.float32, torch.bool, torch.bfloat16):
        assert float(scorer(s, torch.from_numpy(y).to(dtype), ignore_index=ignored)) == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('dtype', [np.int64, np.uint64])
@pytest.mark.parametrize('start', [2**53, 2**60, 2**62, 2**63-9, 2**63, 2**64-20])
def test_whole_scores_that_floats_cannot_tell_apart(start, dtype, scorer):
    "Twelve in a row, of which float64 makes a few; the share of pairs by hand"
    if start+12 > np.iinfo(dtype).max: pytest.skip('too large')
    order = np.random.default_rng(1).permutation(12)
    scores,labels = np.array([start+int(i) for i in order], dtype),order % 3 == 1
    pos,neg = order[labels],order[~labels]
    share = Fraction(int((pos[:,None] > neg).sum()), len(pos)*len(neg))
    if scorer in (scorers['first'], scorers['second']): scorer = lambda s, y: compare_auroc(s, np.zeros(12), y).auroc_a
    assert float(scorer(scores, labels)) == pytest.approx(float(share), abs=1e-15)
    for kwargs in (dict(sample_weight=np.ones(12)), dict(max_fpr=1-2**-50)):
        assert auroc_score(scores, labels, **kwargs).item() == pytest.approx(float(share), abs=1e-12)
    curve,theirs = roc_curve(scores, labels, drop_intermediate=False),skm.roc_curve(labels, order, drop_intermediate=False)
    for ours,rates in zip(curve[:2], theirs): np.testing.assert_array_equal(ours, rates)
    np.testing.assert_array_equal(curve.thresholds[1:], np.sort(scores)[::-1].astype(np.float64))

# -- the helpers --

@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
    torch.float64]
    + [getattr(torch, o) for o in ('uint16', 'uint32', 'uint64') if hasattr(torch, o)], ids=str)
def test_equals_compares_as_python_does(dtype):
    labels = torch.tensor([0, 1, 1, 0]).to(dtype)
    values = 0,1,True,False,2,-1,.5,1.,255,256,-1000,2**31,2**63,2**64,2**64-1,'a',None,float('inf'),float('nan'),np.int8(1),np.bool_(True)
    for value in values: assert equals(labels, value).tolist() == [o == value for o in labels.double().tolist()]

def test_distinct_labels_are_sorted():
    assert distinct_labels(torch.tensor([3, 1, 3])) == [1, 3] and distinct_labels([]) == []
    assert distinct_labels(['b', 'a', 'b']) == ['a', 'b']
    assert distinct_labels(torch.tensor([1.5, .5]).bfloat16()) == [.5, 1.5]
    assert distinct_labels(np.array([2**63+1, 2**63], np.uint64)) == [2**63, 2**63+1]

def test_marked_labels_lie_where_the_targets_do():
    with FakeTensorMode(): assert binary_labels(torch.zeros(3, device='cuda'), 1).device.type == 'cuda'
    assert binary_labels([], 'a').shape == (0,)
