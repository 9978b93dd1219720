"Thresholds by each rule, for either class, their tables and the report: against brute force and scikit-learn."
import json, math, numpy as np, pandas as pd, pytest, torch
from fractions import Fraction
from sklearn import metrics as sk
from test_interpret import applied, kinds
from test_losses_training import quietly
from test_plots import classes, noisy, tags
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.interpret import OperatingPoint, ROCInterpretation

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

limits = 0, .01, .1, .25, .5, .6, 2/3, .75, .8, .9, 1
rules = [{}, dict(f1=True), *(dict(max_fpr=o) for o in limits), *(dict(min_tpr=o) for o in limits),
    *(dict(min_precision=o) for o in limits), *(dict(cost_ratio=o) for o in (.01, .3, 1, 4, 50))]

def all_points(numbers, y):
    "(threshold, tp, fp) of each number as a threshold, and of one above all"
    cuts = sorted({*numbers}, reverse=True)
    if cuts[0] != np.inf: cuts = [np.inf, *cuts]
    over = [np.array([o >= t for o in numbers]) for t in cuts]
    return [(t, int((o & (y == 1)).sum()), int((o & (y == 0)).sum())) for t,o in zip(cuts, over)]

def best_by_definition(points, p, n, max_fpr=None, min_tpr=None, min_precision=None, cost_ratio=None, f1=False):
    "True and false positives of the best point, or None; `points` come from the highest threshold down"
    def precise(o): return o[1]+o[2] and o[1]/(o[1]+o[2]) >= min_precision
    if max_fpr is not None:
        points = [o for o in points if o[2]/n <= max_fpr]
        def key(o): return o[1],-o[2]
    elif min_tpr is not None:
        points = [o for o in points if o[1]/p >= min_tpr]
        def key(o): return -o[2],o[1]
    elif min_precision is not None:
        points = [o for o in points if precise(o)]
        def key(o): return o[1],-o[2]
    elif cost_ratio is not None:
        def key(o): return round(-(p-o[1])*cost_ratio - o[2], 9)
    elif f1:
        def key(o): return round(2*o[1]/(2*o[1] + o[2] + p-o[1]), 12)
    else:
        def key(o): return o[1]*n - o[2]*p
    return max(points, key=key)[1:] if points else None  # the first of equal ones

def of_first_class(outputs, activation, seen):
    "What a user compares with a threshold of the first class"
    p = seen(outputs)
    if isinstance(outputs, torch.Tensor) and outputs.ndim == 2: return outputs.softmax(1)[:,0]
    if isinstance(p, torch.Tensor): return 1 - (p if p.dtype.is_floating_point else p.double())
    return 1 - p.astype(np.float64)

@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('kind', kinds)
def test_rules(kind, which, recwarn):
    "The best by definition, whose counts the threshold gives to NumPy and to torch, for numbers of any dtype"
    make,activation,seen = kinds[kind]
    g = torch.Generator().manual_seed(1)
    for size in (2, 3, 5, 9, 30)*3:
        outputs,y = make(g, size),torch.randint(2, (size,), generator=g).numpy()
        y[:2] = 0,1
        interp = ROCInterpretation(outputs, y, activation)
        numbers = seen(outputs) if which else of_first_class(outputs, activation, seen)
        y = y if which else 1-y
        p,n = int((y == 1).sum()),int((y == 0).sum())
        points = all_points(numbers.tolist(), y)
        for rule in rules:
            want = best_by_definition(points, p, n, **rule)
            if want is None:
                with pytest.raises(ValueError, match='no threshold has a '): interp.operating_point(which=which, **rule)
                continue
            point = interp.operating_point(which=which, **rule)
            tp,fp = want
            np.testing.assert_array_equal(point[1:], (fp/n, tp/p, tp/(tp+fp) if tp+fp else np.nan), str(rule))
            np.testing.assert_array_equal(applied(numbers.tolist(), y, point.threshold), point[1:])
            np.testing.assert_array_equal(np.asarray(numbers >= point.threshold), [o >= point.threshold for o in numbers.tolist()])
    assert not recwarn.list

def test_first_class_of_a_learner(adult_learner):
    "Its probability is the first column of `get_preds`; 90 % of its rows are found"
    learn = adult_learner()
    quietly(learn, 'fit', 1)
    interp = ROCInterpretation.from_learner(learn)
    p,t = quietly(learn, 'get_preds')
    point = interp.operating_point(which='<=50K', min_tpr=.9)
    over,first = (p[:,0] >= point.threshold).numpy(),(t.flatten() == 0).numpy()
    assert point.tpr == over[first].mean() >= .9 and point.fpr == over[~first].mean() and point.precision == first[over].mean()

def test_several_classes():
    p,y = classes()
    interp = ROCInterpretation(p, y, names=['cat', 'dog', 'owl'])
    for c,name in enumerate(interp.names):
        numbers,label = p[:,c],(y == c).astype(int)
        for rule in rules:
            want = best_by_definition(all_points(numbers.tolist(), label), label.sum(), (1-label).sum(), **rule)
            if want is None: continue
            point = interp.operating_point(which=name, **rule)
            np.testing.assert_array_equal(point[1:3], (want[1]/(1-label).sum(), want[0]/label.sum()))

def test_best_precision_is_named():
    "Where none is high enough, the error names the best there is, which is reachable"
    s,y = -noisy()[0],noisy()[1]
    interp = ROCInterpretation(s, y)
    with pytest.raises(ValueError, match='no threshold has a precision of 0.99 or more: the best is ') as e: interp.operating_point(min_precision=.99)
    best = float(str(e.value).split()[-1])
    assert interp.operating_point(min_precision=best).precision == best
    assert best == max(tp/(tp+fp) for _,tp,fp in all_points(s.tolist(), y) if tp+fp)

@pytest.mark.parametrize('rule,says', [(dict(max_fpr=.1, cost_ratio=2), 'give max_fpr or cost_ratio, not both: got 0.1 and 2'),
    (dict(min_tpr=.1, f1=True), 'give min_tpr or f1, not both: got 0.1 and True'), (dict(max_fpr=0, min_tpr=0, min_precision=0), 'not all'),
    (dict(min_tpr=90), 'min_tpr must be a number from 0 to 1, got 90'), (dict(min_precision=-.1), 'min_precision must be.*got -0.1'),
    (dict(min_tpr='a'), "got 'a'"), (dict(min_tpr=True), 'got True'), (dict(min_precision=float('nan')), 'got nan'), (dict(f1='yes'), "f1 must be True or False, got 'yes'"),
    (dict(cost_ratio=0), 'cost_ratio must be a number above 0, got 0')], ids=str)
def test_faulty_rules(rule, says):
    with pytest.raises(ValueError, match=says): ROCInterpretation(*noisy()).operating_point(**rule)

@pytest.mark.parametrize('ratio', [1/3, .1, .3, 1.5, 3, 7, 10])
def test_equal_costs(ratio):
    "Of thresholds of equal cost the highest, though products and quotients of floats would round them apart"
    rng = np.random.default_rng(3)
    exact = Fraction(ratio).limit_denominator(100)
    for size in rng.integers(4, 60, 60):
        x,y = rng.normal(size=size).round(1),rng.integers(0, 2, size)
        y[:2] = 0,1
        points = all_points(x, y)
        tp,fp = max(points, key=lambda o: exact*o[1] - o[2])[1:]  # the first of equal ones
        point = ROCInterpretation(x, y).operating_point(cost_ratio=ratio)
        assert (point.tpr, point.fpr) == (tp/y.sum(), fp/(1-y).sum())

@pytest.mark.parametrize('ratio', [1e-300, 1e-9, math.pi, 1e9, 1e300])
def test_any_ratio_of_costs(ratio):
    x,y = noisy(200)
    point = ROCInterpretation(x, y).operating_point(cost_ratio=ratio)
    best = max(Fraction(ratio)*o[1] - o[2] for o in all_points(x, y))
    assert Fraction(ratio)*round(point.tpr*y.sum()) - round(point.fpr*(1-y).sum()) == best

def test_an_operating_point_prints_six_digits():
    point = OperatingPoint(1/3, 2/3, 1., math.nan)
    assert repr(point) == 'OperatingPoint(threshold=0.333333, fpr=0.666667, tpr=1, precision=nan)' and point.threshold == 1/3
    assert repr(OperatingPoint(2**53+1, 0., 1., 1.)).startswith('OperatingPoint(threshold=9007199254740993, ')

def test_an_operating_point_is_plain_numbers():
    "Of four fields, which `json` takes, as whole numbers are whole"
    for s in (noisy()[0], noisy()[0].astype(np.float32), (noisy()[0]*10).astype(np.int64)):
        point = ROCInterpretation(s, noisy()[1]).operating_point(f1=True)
        assert point._fields == ('threshold', 'fpr', 'tpr', 'precision') and {type(o) for o in point[1:]} == {float}
        assert type(point.threshold) is (int if s.dtype == np.int64 else float)
        assert OperatingPoint(**json.loads(json.dumps(point._asdict()))) == point and round(point.tpr, 2) == pytest.approx(point.tpr, abs=.006)
        assert repr(point).startswith('OperatingPoint(threshold=') and len(repr(point)) < 130

# Tables

columns = ['threshold', 'tp', 'fp', 'fn', 'tn', 'tpr', 'fpr', 'precision', 'f1']

def check_table(table, numbers, y):
    "Each row is what a user finds who applies its threshold"
    assert list(table) == columns
    for row in table.itertuples():
        over = np.asarray(numbers >= row.threshold)
        tp,fp = (over & (y == 1)).sum(),(over & (y == 0)).sum()
        assert (row.tp, row.fp, row.fn, row.tn) == (tp, fp, (y == 1).sum()-tp, (y == 0).sum()-fp)
        assert row.tpr == tp/(y == 1).sum() and row.fpr == fp/(y == 0).sum() and row.f1 == pytest.approx(sk.f1_score(y == 1, over), abs=1e-12)
        np.testing.assert_array_equal(row.precision, tp/(tp+fp) if tp+fp else np.nan)

@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('kind', kinds)
def test_table_of_all_thresholds(kind, which):
    make,activation,seen = kinds[kind]
    g = torch.Generator().manual_seed(2)
    for n in (2, 5, 40):
        outputs,y = make(g, n),torch.randint(2, (n,), generator=g).numpy()
        y[:2] = 0,1
        numbers = seen(outputs) if which else of_first_class(outputs, activation, seen)
        table = ROCInterpretation(outputs, y, activation).threshold_table(which, n=None)
        y = y if which else 1-y
        check_table(table, numbers, y)
        assert len(table) == len({*numbers.tolist()}) and table.threshold.is_monotonic_decreasing and table.tpr.iloc[-1] == table.fpr.iloc[-1] == 1

@pytest.mark.parametrize('n', [1, 3, 20])
@pytest.mark.parametrize('rows', [30, 5000])
def test_table_in_steps(n, rows):
    "Of the true positive rate: each the highest threshold that reaches it"
    s,y = noisy(rows, digits=9)
    interp = ROCInterpretation(s, y)
    table = interp.threshold_table(n=n)
    check_table(table, s, y)
    assert len(table) == min(n, y.sum()) or len(table) < n
    every = interp.threshold_table(n=None)
    wanted = [every[every.tp*n >= k*y.sum()].iloc[0] for k in range(1, n+1)]
    want = pd.DataFrame(wanted).drop_duplicates().reset_index(drop=True).astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(table, want)

@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_table_of_given_thresholds(dtype):
    "In the given order, compared as torch compares them"
    s,y = noisy(300)
    s = torch.tensor(s).to(dtype)
    given = [.7, -np.inf, .1, 0, 1.3, np.inf, -.2, .25]
    table = ROCInterpretation(s, y).threshold_table(thresholds=given)
    assert table.threshold.tolist() == given
    check_table(table, s, y)

def test_table_of_a_point():
    "A threshold that was chosen has its row"
    p,y = classes()
    interp = ROCInterpretation(p, y, names='abc')
    point = interp.operating_point(which='b', min_tpr=.8)
    row = interp.threshold_table('b', [point.threshold]).iloc[0]
    assert tuple(row[o] for o in point._fields) == point and row.tp/(row.tp+row.fn) == point.tpr

    chosen = [point, .5, interp.operating_point(which='b')]
    table = interp.threshold_table('b', [point.threshold, .5, chosen[2].threshold])
    pd.testing.assert_frame_equal(interp.threshold_table('b', chosen), table)
    pd.testing.assert_frame_equal(interp.threshold_table('b', iter(chosen)), table)
    pd.testing.assert_frame_equal(interp.threshold_table('b', point), table[:1])

def test_table_of_one_threshold():
    "A number stands for a list of it, of whatever kind"
    x,y = noisy()
    interp = ROCInterpretation(x, y)
    for one in (.5, np.float64(.5), np.array(.5), torch.tensor(.5), {.5}, pd.Series([.5])): check_table(interp.threshold_table(thresholds=one), x, y)

def test_thresholds_of_truth_values():
    "Whole numbers, which the report and the table show as such"
    x,y = noisy()
    interp = ROCInterpretation(x > .3, y)
    table = interp.threshold_table()
    assert table.threshold.tolist() == [1, 0] and table.threshold.dtype == interp.report().threshold.dtype == np.int64
    check_table(table, x > .3, y)

def test_table_of_whole_numbers():
    x,y = np.array([1, 2, 2, 2**53+1, 2**53]),np.array([0, 1, 0, 1, 0])
    interp = ROCInterpretation(x, y, 'identity')
    assert interp.threshold_table().threshold.tolist() == [2**53+1, 2**52+1, 2, 1] and interp.threshold_table().threshold.dtype == np.int64
    check_table(interp.threshold_table(thresholds=[1.5, 2, 3.2, -np.inf, np.inf]), x, y)
    for dtype in (np.uint8, np.int8, np.uint64):
        x = np.array([3, 200, 90, 100]).astype(dtype)
        check_table(ROCInterpretation(x, y[:4], 'identity').threshold_table(thresholds=[-1, 3, 90.5, 300, 2**70]), x, y[:4])

def test_faulty_tables():
    s,y = noisy()
    interp = ROCInterpretation(s, y)
    for n in (0, -1, 2.5, 'a', True):
        with pytest.raises(ValueError, match='n must be a whole number above 0, or None, got'): interp.threshold_table(n=n)
    for bad in ([np.nan], ['a'], [None]):
        with pytest.raises(ValueError, match='thresholds must be numbers, got'): interp.threshold_table(thresholds=bad)
    with pytest.raises(ValueError, match='positives and negatives'): ROCInterpretation(s, y*0).threshold_table()
    with pytest.raises(ValueError, match='1 of 80 scores are NaN'): ROCInterpretation(np.where(np.arange(80) == 3, np.nan, s), y).threshold_table()
    with pytest.raises(ValueError, match='say which of the 3 classes'): ROCInterpretation(*classes()).threshold_table()
    assert list(interp.threshold_table(thresholds=[])) == columns and not len(interp.threshold_table(thresholds=[]))

# The report

@pytest.mark.parametrize('make', [classes, tags])
def test_report_in_numbers(make):
    p,y = make()
    interp = ROCInterpretation(p, y, names=['cat', 'dog', 'owl'])
    report = interp.report()
    onehot = y if y.ndim == 2 else np.eye(3, dtype=int)[y]
    assert list(report.index) == ['cat', 'dog', 'owl', 'macro average']
    assert list(report) == ['positive', 'rows', 'auroc', 'low', 'high', 'ap', 'threshold', 'fpr', 'tpr', 'precision']
    for c,name in enumerate(interp.names):
        row = report.loc[name]
        assert (row.positive, row.rows) == (onehot[:,c].sum(), 90)
        assert row.auroc == pytest.approx(sk.roc_auc_score(onehot[:,c], p[:,c])) and row.ap == pytest.approx(sk.average_precision_score(onehot[:,c], p[:,c]))
        assert (row.low, row.high) == pytest.approx(tuple(map(float, auroc_ci(p[:,c], onehot[:,c])[1:3])))
        assert tuple(row[list(OperatingPoint._fields)]) == interp.operating_point(which=name)
    last = report.loc['macro average']
    assert last.auroc == pytest.approx(sk.roc_auc_score(onehot, p, average='macro')) and last.ap == pytest.approx(sk.average_precision_score(onehot, p))
    assert last.drop(['auroc', 'ap']).isna().all()
    assert {str(report[o].dtype) for o in ('positive', 'rows')} == {'Int64'} and json.loads(report.to_json())['rows']['macro average'] is None

def test_report_is_what_is_printed(capsys):
    s,y = noisy()
    interp = ROCInterpretation(s, y, names=['no', 'yes'])
    row = interp.report().loc['yes']
    interp.print_report(digits=4)
    name,positive,rows,auroc,interval,_,*rates = capsys.readouterr().out.splitlines()[-1].split()
    assert (name, int(positive), int(rows), auroc) == ('yes', row.positive, row.rows, f'{row.auroc:.4f}')
    assert interval == f'{row.low:.4f}–{row.high:.4f}' and rates == [f'{row[o]:.4f}' for o in ('fpr', 'tpr', 'precision')]
    json.loads(interp.report().to_json())

def test_digits_of_the_report(capsys):
    "More than a float has are zeros or its binary rest; truth values are no number"
    s,y = noisy()
    ROCInterpretation(s, y).print_report(digits=20)
    text = capsys.readouterr().out.split()[-4]
    assert float(text) == ROCInterpretation(s, y).report().threshold.iloc[0] and len(text) > 18
    for bad in (True, 0, 1.5, 'a'):
        with pytest.raises(ValueError, match='digits must be a whole number above 0, got'): ROCInterpretation(s, y).print_report(digits=bad)

@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('digits', [1, 3, 5])
def test_decimals_of_printed_thresholds(seed, digits, capsys):
    "The same number for all classes, `digits` or more; each separates the probabilities as the exact threshold does"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 50)
    p = rng.dirichlet(np.ones(4), 50)*rng.choice([1, 1, .5], 50)[:,None] + np.eye(4)[y]*.2
    p /= p.sum(1, keepdims=True)
    interp = ROCInterpretation(p, y, 'identity')
    interp.print_report(digits)
    shown = [row.split()[5] for row in capsys.readouterr().out.splitlines()[1:5]]
    assert len({len(o.partition('.')[2]) for o in shown}) == 1 and len(shown[0].partition('.')[2]) >= digits
    for c,text in enumerate(shown): np.testing.assert_array_equal(p[:,c] >= float(text), p[:,c] >= interp.operating_point(which=c).threshold)

def test_report_of_what_is_undefined(recwarn):
    "One class, NaN, no rows, and a perfect ranking, which has no interval"
    p,y = tags()
    p[0,1] = np.nan
    y[:,2] = 0
    report = ROCInterpretation(p, y).report()
    assert report.auroc.isna().tolist() == [False, True, True, True] and report.ap.isna().tolist() == [False, True, True, True]
    assert report.positive.tolist()[:3] == y.sum(0).tolist()
    assert ROCInterpretation([], []).report().rows.tolist() == [0]
    perfect = ROCInterpretation([.1, .2, .8, .9], [0, 0, 1, 1]).report().iloc[0]
    assert perfect.auroc == perfect.ap == 1 and np.isnan(perfect.low) and np.isnan(perfect.high)
    only = ROCInterpretation([.1, .2], [1, 1]).report().iloc[0]
    assert np.isnan(only.auroc) and only.ap == 1 and only.positive == 2
    assert not recwarn.list

def test_thresholds_of_whole_numbers_in_the_report():
    x = np.array([[2**53, 2**53+1, 3], [5, 6, 7]]).T
    report = ROCInterpretation(x, np.array([[0, 1, 0], [0, 0, 1]]).T, 'identity').report()
    assert report.threshold.tolist()[:2] == [2**53+1, 7]
