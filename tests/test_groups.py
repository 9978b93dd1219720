"AUROC within groups: against scikit-learn group by group, and against all pairs counted one by one."
import datetime, itertools, math
from fractions import Fraction
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch._subclasses import FakeTensorMode
from fastai_auroc import groups as room
from fastai_auroc.groups import GroupedAUROC, group_codes, grouped_auroc, grouped_auroc_and_note
from fastai_auroc.roc import auroc_score
from test_device import HostRead, NoWaiting, rand, randint

pytestmark = pytest.mark.filterwarnings('error')
nan,inf = math.nan,math.inf
steady = settings(max_examples=200, deadline=None, derandomize=True)
averages = 'macro', 'weighted', 'pairs', 'min'

@pytest.fixture(params=['fast', 'general'])
def path(request, monkeypatch):
    "The CPU's own way, and the one of any device"
    if request.param == 'general':
        monkeypatch.setattr(room, '_count_groups_cpu', lambda *args: None)
        monkeypatch.setattr(room, 'positive_label', lambda *args: None)
    return request.param

def all_pairs(s, y):
    "Twice the pairs in the right order, ties counting once, and positives and negatives"
    p,q = s[y == 1],s[y != 1]
    won,tied = (p[:,None] > q).sum(),(p[:,None] == q).sum()
    return 2*int(won)+int(tied),len(p),len(q)

def expected(s, y, g):
    "For each group in sorted order: label, 2U, positives, negatives"
    return [(o, *all_pairs(s[g == o], y[g == o])) for o in np.unique(g)]

def summed_up(rows, average):
    "One number from exact fractions"
    defined = [(Fraction(u, 2*p*q), p, q, u) for _,u,p,q in rows if p and q]
    if not defined: return nan
    if average == 'min': return float(min(a for a,*_ in defined))
    if average == 'pairs': return float(Fraction(sum(u for *_,u in defined), 2*sum(p*q for _,p,q,_ in defined)))
    weights = [p+q if average == 'weighted' else 1 for _,p,q,_ in defined]
    return float(sum(w*a for w,(a,*_) in zip(weights, defined))/sum(weights))

def quiet(*args, **kwargs): return grouped_auroc_and_note(*args, **kwargs)[0]

def check(s, y, g, scores=None, groups=None, targets=None, **kwargs):
    "All averages and the table, given plain arrays to expect from and what to pass"
    rows = expected(s, y, g)
    args = s if scores is None else scores,y if targets is None else targets,g if groups is None else groups
    for average in averages:
        got = quiet(*args, average=average, **kwargs)
        assert got.shape == () and got.dtype == torch.float64 and got.device.type == 'cpu'
        assert got.item() == pytest.approx(summed_up(rows, average), abs=1e-12, nan_ok=True)
    table = quiet(*args, average=None, **kwargs)
    assert isinstance(table, GroupedAUROC) and isinstance(table.groups, list)
    assert [x.dtype for x in table[1:]] == [torch.float64, torch.int64, torch.int64]
    assert table.positives.tolist() == [p for *_,p,_ in rows] and table.negatives.tolist() == [q for *_,q in rows]
    assert table.auroc.tolist() == pytest.approx([u/(2*p*q) if p and q else nan for _,u,p,q in rows], abs=0, rel=1e-15, nan_ok=True)
    return table

drawn = st.lists(st.tuples(st.integers(-3, 3) | st.floats(-1e6, 1e6, width=32), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=60)

@steady
@given(drawn, st.sampled_from(['f4', 'f8']))
def test_any_rows(rows, dtype):
    s,y,g = (np.array(o) for o in zip(*rows))
    s = s.astype(dtype)
    y = np.append(y, [0, 1])   # both labels occur
    s,g = np.append(s, s[:1].repeat(2)),np.append(g, [6, 6])
    for general in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if general: patch.setattr(room, '_count_groups_cpu', lambda *args: None)
            assert check(s, y, g).groups == np.unique(g).tolist()

@pytest.mark.parametrize('seed', range(60))
def test_scikit_learn_group_by_group(seed, path):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(40, 400))
    s,y,g = rng.normal(size=n),rng.integers(0, 2, n),rng.integers(0, n//15, n)
    if seed % 3: s = s.round(seed % 3 - 1)
    if seed % 5 == 0: s[:4] = inf,-inf,inf,-inf
    if seed % 7 == 0: s = s.astype('f4')
    both = [o for o in np.unique(g) if 0 < y[g == o].sum() < (g == o).sum()]
    each = [roc_auc_score(y[g == o], np.clip(s[g == o].astype(float), -1e300, 1e300)) for o in both]
    assert quiet(s, y, g).item() == pytest.approx(np.mean(each), abs=1e-12)
    assert quiet(s, y, g, average='min').item() == pytest.approx(min(each), abs=1e-12)
    assert quiet(s, y, g, average='weighted').item() == pytest.approx(np.average(each, weights=[(g == o).sum() for o in both]), abs=1e-12)
    pairs = [y[g == o].sum()*(1-y[g == o]).sum() for o in both]
    assert quiet(s, y, g, average='pairs').item() == pytest.approx(np.average(each, weights=pairs), abs=1e-12)
    assert not path == 'fast' or check(s, y, g)

def test_one_group_is_the_plain_score(path):
    rng = np.random.default_rng(0)
    s,y = rng.normal(size=500).round(1),rng.integers(0, 2, 500)
    for average in averages: assert grouped_auroc(s, y, ['all']*500, average=average) == auroc_score(s, y)

def test_a_group_for_each_row():
    with pytest.warns(UndefinedMetricWarning) as record: assert grouped_auroc([.1, .2, .3], [0, 1, 0], [1, 2, 3]).isnan()
    assert [str(o.message) for o in record] == ['grouped AUROC is NaN: no positive in groups 1, 3; no negative in group 2']

@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32', 'int64', 'float16', 'bfloat16', 'float32', 'float64'])
def test_scores_of_any_type(dtype, path):
    kind = getattr(torch, dtype)
    rng = np.random.default_rng(0)
    ranks,y,g = rng.integers(0, 2 if dtype == 'bool' else 7, 300),rng.integers(0, 2, 300),rng.integers(0, 20, 300)
    if dtype == 'bool': values = [False, True]
    elif kind.is_floating_point: values = [-inf, -1, -torch.finfo(kind).tiny, 0, torch.finfo(kind).tiny, 1, inf]
    else:
        low,high = torch.iinfo(kind).min,torch.iinfo(kind).max
        values = [low, low+1, low+2, low//2+high//2, high-2, high-1, high]
    s = torch.from_numpy(np.array(values, 'u8')[ranks]) if dtype == 'uint64' else torch.tensor(values, dtype=kind)[torch.from_numpy(ranks)]
    before = s.clone()
    check(ranks, y, g, s)
    assert torch.equal(s.view(torch.uint8), before.view(torch.uint8))

@pytest.mark.parametrize('dtype', ['float32', 'float64'])
def test_scores_that_differ_in_their_last_bit(dtype, path):
    "Whatever there is in the leading bits of a key, in many rows, with zeros of both signs"
    rng = np.random.default_rng(0)
    s = np.ones(5000, dtype)
    for _ in range(5): s = np.where(rng.random(5000) < .5, np.nextafter(s, np.array(2, dtype)), s)
    s = np.where(rng.random(5000) < .1, -s, s)
    s[::10],s[5::10] = 0,-0.
    check(s, rng.integers(0, 2, 5000), rng.integers(0, 300, 5000))

@pytest.mark.parametrize('labels', [[0, 1], [-1, 1], [1, 2], [0., 1.], [.5, 7.25], [False, True], [2**40, 2**41]])
def test_labels_of_any_kind(labels, path):
    rng = np.random.default_rng(0)
    s,y,g = rng.random(200),rng.integers(0, 2, 200),rng.integers(0, 9, 200)
    check(s, y, g, targets=np.array(labels)[y])
    names = np.array(['no', 'yes'])[y]
    check(s, y, g, targets=names, pos_label='yes')
    check(s, 1-y, g, targets=names, pos_label='no')

def test_two_columns_and_logits(path):
    rng = np.random.default_rng(0)
    z,y,g = rng.normal(size=(200, 2)),rng.integers(0, 2, 200),rng.integers(0, 9, 200)
    check(z[:,1]-z[:,0], y, g, z, activation='softmax')
    prob = torch.tensor(z).softmax(1)
    check(prob[:,1].numpy(), y, g, prob)
    check(z[:,0], y, g, z[:,:1])
    with pytest.raises(ValueError, match="do not sum to one: pass activation='softmax'"): grouped_auroc(z, y, g)

def test_further_axes(path):
    rng = np.random.default_rng(0)
    s,y,g = rng.random((6, 1, 5, 4)),rng.integers(0, 2, (6, 5, 4)),rng.integers(0, 4, (6, 5, 4))
    check(s.ravel(), y.ravel(), g.ravel(), s, g, y)

@pytest.mark.parametrize('ignore_index', [-100, 0, 2, 255])
def test_rows_to_ignore(ignore_index, path):
    "Their scores may be NaN; a group may lose all of its rows"
    rng = np.random.default_rng(0)
    s,g = rng.random(300).round(1),rng.integers(0, 30, 300)
    y = rng.integers(0, 2, 300) + (1 if ignore_index == 0 else 0)
    keep = (rng.random(300) < .7) & (g != 5)
    noisy,truth = np.where(keep, s, rng.choice([nan, inf, -inf, .5], 300)),np.where(keep, y, ignore_index)
    rows = expected(s[keep], (y == y.max())[keep], g[keep])
    for average in averages:
        got = quiet(noisy, truth, g, average=average, ignore_index=ignore_index).item()
        assert got == pytest.approx(summed_up(rows, average), abs=1e-12)
    table,note = grouped_auroc_and_note(noisy, truth, g, average=None, ignore_index=ignore_index)
    assert table.groups == list(range(30)) and table.auroc[5].isnan() and table.positives[5] == table.negatives[5] == 0
    assert 'no row left in group 5' in note
    assert table.positives.tolist() == [int(((y == y.max()) & keep & (g == o)).sum()) for o in range(30)]

# -- groups of any kind --

strings = ['b', 'c', 'a', 'b', 'a', 'c', 'b', 'a']
plain = np.unique(strings, return_inverse=True)[1]
years = pd.to_datetime(['2020-01-01', '2021-01-01', '2022-01-01'])
text = dict(strings=strings, array=np.array(strings), objects=np.array(strings, object), bytes=[o.encode() for o in strings], tuple=tuple(strings))
of_pandas = dict(series=pd.Series(strings, index=list('zyxwvuts')), shuffled=pd.Series(strings, index=[3, 1, 1, 0, 9, 9, 2, -1]), index=pd.Index(strings),
    categorical=pd.Categorical(strings), category=pd.Series(strings).astype('category'), string_dtype=pd.Series(strings, dtype='string'),
    nullable=pd.Series(plain, dtype='Int64'), times=pd.Series(years)[plain], zoned=pd.Series(years.tz_localize('UTC'))[plain])
numbers = dict(ints=[int(o) for o in plain], int8=plain.astype('i1'), uint64=plain.astype('u8')+2**63, far_apart=np.array([-2**63, 0, 2**63-1])[plain],
    floats=np.array([-.5, 0, 7.])[plain], infinite=np.array([-inf, 0, inf])[plain], big_endian=plain.astype('>i4'), strided=np.repeat(plain, 2)[::2])
tensors = dict(half=torch.tensor(plain).half(), bfloat16=torch.tensor(plain).bfloat16(), tensor=torch.tensor(plain), column=torch.tensor(plain)[:,None],
    uint16=torch.tensor(plain).to(torch.uint16), tensors=[torch.tensor(o) for o in plain.tolist()])
others = dict(dates=np.array(['2020-01-01', '2021-01-01', '2022-01-01'], 'M8[D]')[plain], days=[datetime.date(2020, 1, 1+int(o)) for o in plain],
    spans=np.array([1, 2, 3], 'm8[s]')[plain], tuples=[('x', int(o)) for o in plain], fractions=[Fraction(int(o), 7) for o in plain])
kinds = {**text, **of_pandas, **numbers, **tensors, **others}

@pytest.mark.parametrize('kind', kinds)
def test_codes(kind):
    codes,labels = group_codes(kinds[kind])
    assert codes.dtype == torch.int64 and codes.tolist() == plain.tolist() and isinstance(labels, list) and len(labels) == 3
    given = list(kinds[kind]) if not isinstance(kinds[kind], torch.Tensor) else kinds[kind].reshape(-1).tolist()
    assert all(labels[c] == o for c,o in zip(plain.tolist(), given))
    s,y = np.arange(8.)[::-1],np.array([1, 0, 1, 0, 0, 1, 1, 0])
    check(s, y, plain, groups=kinds[kind])

def test_labels_are_python_objects():
    "Which JSON and messages show as they are"
    for kind,what in dict(strings=str, array=str, ints=int, int8=int, floats=float, tensor=int, half=float, nullable=int, uint64=int).items():
        assert {type(o) for o in group_codes(kinds[kind])[1]} == {what}
    assert group_codes(np.array([True, False]))[1] == [False, True] and type(group_codes(torch.tensor([True]))[1][0]) is bool

def test_categories_keep_their_order():
    sizes = pd.Categorical(['s', 'l', 'm', 's', None], categories=['s', 'm', 'l', 'xl'], ordered=True)
    for groups in (sizes, pd.Series(sizes), pd.CategoricalIndex(sizes)):
        codes,labels = group_codes(groups)
        assert codes.tolist() == [0, 2, 1, 0, -1] and labels == ['s', 'm', 'l']
    assert group_codes(pd.Categorical([None, None], categories=['a']))[1] == []

def test_labels_without_an_order_come_as_they_appear():
    codes,labels = group_codes(['b', 1, ('x',), 'b', 1])
    assert codes.tolist() == [0, 1, 2, 0, 1] and labels == ['b', 1, ('x',)]
    codes,labels = group_codes(['c', 'b', 'a', 1, 'c'])   # a sort in place would have begun before it failed
    assert codes.tolist() == [0, 1, 2, 3, 0] and labels == ['c', 'b', 'a', 1]

def test_scalars_of_numpy_in_a_list():
    "Their labels are Python's, and a warning shows them as such"
    for scalars,what in ((np.array(strings), str), (np.array([o.encode() for o in strings]), bytes), (plain, int), (plain.astype('f4'), float), (plain == 1, bool)):
        codes,labels = group_codes(list(scalars))
        assert {type(o) for o in labels} == {what} and [labels[c] for c in codes] == scalars.tolist()
    _,note = grouped_auroc_and_note([.1, .2, .3], [0, 1, 0], list(np.array(['a', 'a', 'b'])))
    assert note == "grouped AUROC leaves 1 of 2 groups out of the macro average: no positive in group 'b'"

@pytest.mark.parametrize('dtype', ['Int64', 'UInt64'])
def test_large_numbers_beside_missing_ones(dtype):
    "A float would not tell them apart"
    ids = [2**60+1, None, 2**60, 2**60+1, 2**60+2]
    codes,labels = group_codes(pd.Series(ids, dtype=dtype, index=[4, 4, 1, 0, 7]))
    assert codes.tolist() == [1, -1, 0, 1, 2] and labels == [2**60, 2**60+1, 2**60+2] and {type(o) for o in labels} == {int}

def test_an_index_of_several_levels():
    "Its rows are tuples, as they are to groupby"
    index = pd.MultiIndex.from_arrays([['b', 'a', 'b', 'b'], [1, 2, 1, 0]], names=['clinic', 'year'])
    codes,labels = group_codes(index)
    assert codes.tolist() == [2, 0, 2, 1] and labels == [('a', 2), ('b', 0), ('b', 1)]

def test_objects_of_pandas_are_numbered_as_those_of_a_list():
    rng = np.random.default_rng(0)
    for values in (['x', 'y', None, 'z'], [('u', 1), ('u', 2), nan], [1, 'a', None], [datetime.date(2020, 1, 1), None], [2**70, 1, None], [Fraction(1, 3), .5, nan]):
        drawn = [values[i] for i in rng.integers(0, len(values), 50)]
        codes,labels = group_codes(pd.Series(drawn, dtype=object, index=rng.integers(0, 9, 50)))
        want,names = group_codes(drawn)
        assert torch.equal(codes, want) and labels == names
    with pytest.raises(TypeError, match="groups must be labels such as text, numbers or tuples: unhashable type: 'list'"): group_codes(pd.Series([[1], [2]]))

absent = dict(none=['a', None, 'b', 'a', None], nan=['a', nan, 'b', 'a', float('nan')], mixed=np.array(['a', nan, 'b', 'a', np.float32(nan)], object),
    series=pd.Series(['a', None, 'b', 'a', nan]), category=pd.Categorical(['a', None, 'b', 'a', None]),
    na=pd.array(['a', pd.NA, 'b', 'a', pd.NA], dtype='string'), nullable=pd.array([1, None, 2, 1, None], dtype='Int64'),
    floats=np.array([1, nan, 2, 1, nan]), tensor=torch.tensor([1, nan, 2, 1, nan]), masked=np.ma.array([1, 7, 2, 1, 7], mask=[0, 1, 0, 0, 1]),
    nat=np.array(['2020', 'NaT', '2021', '2020', 'NaT'], 'M8[D]'))

@pytest.mark.parametrize('kind', absent)
def test_rows_without_a_group_are_left_out(kind, path):
    "As pandas' groupby does"
    codes,labels = group_codes(absent[kind])
    assert codes.tolist() == [0, -1, 1, 0, -1] and len(labels) == 2
    table,note = grouped_auroc_and_note([.1, .9, .5, .3, .2], [0, 0, 1, 1, 1], absent[kind], average=None)
    assert table.auroc.tolist() == pytest.approx([1, nan], nan_ok=True) and table.positives.tolist() == [1, 1] and table.negatives.tolist() == [1, 0]
    assert note.startswith('grouped AUROC is NaN for 1 of 2 groups: no negative in group')

def test_no_row_with_a_group(path):
    for average in averages:
        value,note = grouped_auroc_and_note([.1, .9], [0, 1], [None, None], average=average)
        assert value.isnan() and note == 'grouped AUROC is NaN: there are no rows with a group'
    table,note = grouped_auroc_and_note([.1, .9], [0, 1], [nan, nan], average=None)
    assert table.groups == [] and table.auroc.shape == table.positives.shape == (0,)

def test_no_rows():
    value,note = grouped_auroc_and_note([], [], [])
    assert value.isnan() and note == 'grouped AUROC is NaN: there are no rows'
    assert grouped_auroc_and_note([], [], [], average=None)[0].groups == []

@pytest.mark.parametrize('groups,says', [([1, 2], 'groups must hold one label for each of 3 rows, got 2'), (np.zeros((3, 2)), 'for each of 3 rows, got 6'),
    (pd.DataFrame(dict(a=[1, 2, 3], b=[1, 2, 3])), 'for each of 3 rows, got 6'), (torch.zeros(4), 'for each of 3 rows, got 4')], ids=range(4))
def test_wrong_number_of_groups(groups, says):
    with pytest.raises(ValueError, match=says): grouped_auroc([.1, .2, .3], [0, 1, 0], groups)

@pytest.mark.parametrize('groups,says', [('abc', 'got str'), (7, 'got int'), (None, 'got NoneType'), ({1, 2}, 'got set'), (map(str, [1]), 'got map'),
    ([[1], [2], [3]], "unhashable type: 'list'"), (torch.zeros(3, dtype=torch.complex64), 'groups must be real numbers')], ids=range(7))
def test_what_names_no_groups(groups, says):
    with pytest.raises(TypeError, match=says): grouped_auroc([.1, .2, .3], [0, 1, 0], groups)

@pytest.mark.parametrize('average', ['mean', 'micro', '', 0, ['macro']])
def test_unknown_averages(average):
    with pytest.raises(ValueError, match=r"average must be one of \('macro', 'weighted', 'pairs', 'min', None\) for groups, got "):
        grouped_auroc([.1, .2], [0, 1], [0, 0], average=average)

def test_many_classes():
    for targets in ([0, 1, 2], np.eye(3)):
        with pytest.raises(ValueError, match=r'AUROC by groups is for binary tasks, got scores of shape \(3, 3\): take one class at a time'):
            grouped_auroc(np.eye(3), targets, [1, 1, 1])

def test_wrong_targets(path):
    with pytest.raises(ValueError, match='1 of 4 rows have others: got 0, 1, 7'): grouped_auroc([.1, .2, .3, .4], [0, 1, 1, 7], [0]*4)
    with pytest.raises(ValueError, match='1 of 4 rows have NaN'): grouped_auroc([.1, .2, .3, .4], [0, 1, 1, nan], [0]*4)

# -- undefined --

def test_groups_of_one_class(path):
    s,y,g = [.1, .2, .3, .4, .5, .6, .7],[0, 1, 0, 0, 1, 1, 0],['a', 'a', 'b', 'b', 'c', 'd', 'd']
    for average in averages:
        with pytest.warns(UndefinedMetricWarning) as record: value = grouped_auroc(s, y, g, average=average)
        assert value == (.5 if average in ('macro', 'weighted', 'pairs') else 0)
        assert len(record) == 1 and record[0].filename == __file__
        assert str(record[0].message) == f"grouped AUROC leaves 2 of 4 groups out of the {average} average: no positive in group 'b'; no negative in group 'c'"
    with pytest.warns(UndefinedMetricWarning, match="grouped AUROC is NaN for 2 of 4 groups: no positive in group 'b'; no negative in group 'c'"):
        table = grouped_auroc(s, y, g, average=None)
    assert table.auroc.tolist() == pytest.approx([1, nan, nan, 0], nan_ok=True) and table.groups == list('abcd')

def test_a_few_of_many_are_named(path):
    y = np.zeros(100, int)
    y[:2] = 0,1
    _,note = grouped_auroc_and_note(np.arange(100.), y, np.arange(100)//2)
    assert note == 'grouped AUROC leaves 49 of 50 groups out of the macro average: no positive in groups 1, 2, 3, 4, 5 and 44 more'

def test_a_positive_label_that_is_none(path):
    value,note = grouped_auroc_and_note([.1, .2], ['no', 'yes'], [1, 1], pos_label='ja')
    assert value.isnan() and note == "grouped AUROC is NaN: no positive in group 1, since pos_label='ja' is none of the labels 'no', 'yes'"

def test_nan_scores(path):
    "A group with NaN is NaN, and so is every average"
    s,y,g = [.1, .2, nan, .4, .5, nan],[0, 1, 0, 1, 0, 0],['a', 'a', 'b', 'b', 'c', 'c']
    for average in averages:
        value,note = grouped_auroc_and_note(s, y, g, average=average)
        assert value.isnan() and note == "grouped AUROC is NaN: 2 rows have NaN scores, in groups 'b', 'c'; no positive in group 'c'"
    table,note = grouped_auroc_and_note(s, y, g, average=None)
    assert table.auroc.tolist() == pytest.approx([1, nan, nan], nan_ok=True) and note.startswith('grouped AUROC is NaN for 2 of 3 groups: 2 rows have NaN scores')
    value,note = grouped_auroc_and_note(s, y, ['a', 'a', None, 'b', 'b', None])
    assert value == .5 and note is None   # rows of no group

# -- size --

@pytest.mark.parametrize('dtype', ['f4', 'f8', 'f2'])
@pytest.mark.parametrize('threads', [1, 2])
def test_many_rows(dtype, threads):
    rng = np.random.default_rng(0)
    n = 2**19+7
    s,y,g = rng.normal(size=n).astype(dtype),rng.random(n) < .1,rng.integers(0, 40_000, n)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try: table = quiet(s, y, g, average=None)
    finally: torch.set_num_threads(before)
    want = room._count_groups_torch(room.one_vs_rest(torch.tensor(s), torch.tensor(y)), torch.tensor(g), 40_000)
    assert torch.equal(table.positives, want.positives) and torch.equal(table.negatives, want.negatives)
    ok = want.positives*want.negatives > 0
    assert torch.equal(table.auroc[ok], want.doubled_u[ok].double()/(2*want.positives*want.negatives)[ok]) and table.auroc[~ok].isnan().all()
    for o in rng.integers(0, 40_000, 20):
        u,p,q = all_pairs(s[g == o], y[g == o])
        assert (want.doubled_u[o], want.positives[o], want.negatives[o]) == (u, p, q)

def test_more_pairs_than_32_bits_count():
    rng = np.random.default_rng(0)
    y = rng.random(300_000) < .4
    s,g = y + rng.normal(size=len(y)),rng.random(300_000) < .1
    check_one = quiet(s, y, g, average=None)
    for i,o in enumerate((False, True)): assert check_one.auroc[i] == auroc_score(s[g == o], y[g == o])
    assert check_one.groups == [False, True]

def test_inputs_stay_as_they_are_and_need_no_order():
    rng = np.random.default_rng(0)
    s,y,g = rng.normal(size=400),rng.integers(0, 2, 400),rng.integers(-5, 5, 400)
    kept = [o.copy() for o in (s, y, g)]
    check(s, y, g)
    assert all((a == b).all() for a,b in zip(kept, (s, y, g)))
    check(s[::2], y[::2], g[::2])
    logits = torch.tensor(np.stack([-s, s]), requires_grad=True)
    check(s, y, g, logits.T, activation='softmax')
    with torch.no_grad(): check(s, y, g, torch.tensor(s, dtype=torch.float64))

# -- devices --

@pytest.mark.parametrize('groups', ['strings', 'int64', 'int32', 'uint8', 'float32', 'bool', 'float16'])
@pytest.mark.parametrize('average', ['macro', 'pairs', None])
@pytest.mark.parametrize('ignore_index', [None, 2])
def test_a_device_is_read_once(groups, average, ignore_index):
    "With labels of groups from the CPU, and with those of a tensor on the device"
    with FakeTensorMode():
        s,y = rand(1000),randint(2 if ignore_index is None else 3, 1000)
        if groups != 'strings': g = randint(9, 1000).to(getattr(torch, groups))
    if groups == 'strings': g = ['a', 'b', None, 'c']*250
    codes = group_codes(g) if groups == 'strings' else None
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        if codes: patch.setattr(room, 'send', lambda x, device: randint(3, 1000))   # the upload, which does not wait
        with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."):
            grouped_auroc(s, y, g, average=average, ignore_index=ignore_index)
        assert mode.n_ops > 30

@pytest.mark.parametrize('dtype', ['int64', 'int16', 'uint8', 'bool', 'float32', 'float64', 'float16'])
def test_labels_numbered_on_a_device(dtype):
    "The same codes and labels as on the CPU, and as pandas has them"
    rng = np.random.default_rng(0)
    for seed,n in itertools.product(range(5), (1, 2, 50)):
        g = torch.tensor(rng.integers(0, 9, n)).to(getattr(torch, dtype))
        if g.is_floating_point(): g = g.masked_fill(torch.tensor(rng.random(n) < .2), nan)
        codes,labels = room._number_on_device(g)
        want,names = group_codes(g)
        assert torch.equal(codes, want) and labels[:len(names)].to(g.dtype).tolist() == names and codes.max() == len(names)-1
        theirs,_ = pd.factorize(g.double().numpy(), sort=True)
        assert codes.tolist() == theirs.tolist()

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_real_gpu():
    rng = np.random.default_rng(0)
    s,y,g = torch.tensor(rng.normal(size=5000)),torch.tensor(rng.integers(0, 2, 5000)),torch.tensor(rng.integers(0, 300, 5000))
    for groups in (g, g.cuda(), g.tolist()):
        a,b = quiet(s.cuda(), y.cuda(), groups, average=None),quiet(s, y, g, average=None)
        assert a.groups == b.groups and all(torch.equal(x, z) for x,z in zip(a[1:], b[1:]))
