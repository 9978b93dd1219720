"Intervals from drawn samples: each sample is scikit-learn's number with the drawn weights, the jackknife leaves out, BCa is SciPy's, and 95 of 100 intervals hold."
import math, warnings
import numpy as np, pandas as pd, pytest, torch
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score
from fastai_auroc import resampling
from fastai_auroc.bootstrap import draw_weights, evaluate, plan_draws, task_statistic
from fastai_auroc.confidence import ap_ci, ap_ci_and_note, auroc_ci, auroc_ci_and_note, compare_auroc
from fastai_auroc.groups import grouped_auroc
from fastai_auroc.resampling import acceleration, p_value_of_replicates, resample_ap, resample_auroc, Sampling
from fastai_auroc.roc import auroc_score
from fastai_auroc.tasks import prepare_task

pytestmark = pytest.mark.filterwarnings('error')

def binary(n=80, seed=0, ties=True, share=.4):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) < max(2, round(share*n))).astype(int)
    s = y + rng.normal(size=n)
    return s.round(1) if ties else s,y

def multiclass(n=90, k=4, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[np.arange(k).repeat(3), rng.integers(k, size=n-3*k)])
    p = rng.dirichlet(np.ones(k), n) + .5*np.eye(k)[y]
    p = p.round(1) + .01 if ties else p
    return p/p.sum(1, keepdims=True),y

def multilabel(n=90, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < .4).astype(int)
    return (y + rng.normal(size=(n, k))).round(1),y

def row(x): return np.atleast_1d(np.asarray(x))

def drawn_rows(draws, replicates, seed):
    "Weights of units and of rows of some samples"
    weights = draw_weights(draws, replicates, np.random.default_rng(seed))
    return weights,weights[:,draws.unit]

# Each sample is scikit-learn's number with the same weights

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('ties', [True, False])
@pytest.mark.parametrize('max_fpr', [None, .01, .1, .5, 1])
def test_binary_samples(seed, ties, max_fpr):
    s,y = binary(seed=seed, ties=ties)
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 20, seed)
    found = evaluate(task_statistic(prepare_task(s, y), draws, max_fpr=max_fpr), weights)[:,0]
    want = [roc_auc_score(y, s, sample_weight=w, max_fpr=max_fpr) for w in rows]
    again = [roc_auc_score(np.repeat(y, w), np.repeat(s, w), max_fpr=max_fpr) for w in rows]
    np.testing.assert_allclose(found, want, atol=1e-12)
    np.testing.assert_allclose(found, again, atol=1e-12)

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('options', [dict(min_tpr=.8), dict(min_tpr=.3, standardize=False), dict(max_fpr=.2, standardize=False)])
def test_partial_samples(seed, options):
    s,y = binary(seed=seed)
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 20, seed)
    found = evaluate(task_statistic(prepare_task(s, y), draws, **options), weights)[:,0]
    np.testing.assert_allclose(found, [auroc_score(s, y, sample_weight=w, **options) for w in rows], atol=1e-12)
    if 'min_tpr' in options and options.get('standardize', True):   # the mirrored problem
        np.testing.assert_allclose(found, [roc_auc_score(1-y, -s, sample_weight=w, max_fpr=1-options['min_tpr']) for w in rows], atol=1e-12)

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro'])
def test_multiclass_samples(seed, average):
    p,y = multiclass(seed=seed)
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 10, seed)
    statistic = task_statistic(prepare_task(p, y), draws, 'micro' if average == 'micro' else 'ovr', average)
    want = [roc_auc_score(np.repeat(y, w), np.repeat(p, w, 0), multi_class='ovr', average=average) for w in rows]
    np.testing.assert_allclose(evaluate(statistic, weights)[:,0], want, atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted'])
def test_one_vs_one_samples(average):
    p,y = multiclass()
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 10, 0)
    want = [roc_auc_score(np.repeat(y, w), np.repeat(p, w, 0), multi_class='ovo', average=average) for w in rows]
    np.testing.assert_allclose(evaluate(task_statistic(prepare_task(p, y), draws, 'ovo', average), weights)[:,0], want, atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
@pytest.mark.parametrize('precision', [False, True])
def test_multilabel_samples(average, precision):
    s,y = multilabel()
    draws = plan_draws(np.zeros(len(y), int))
    weights,rows = drawn_rows(draws, 10, 0)
    layout = 'micro' if average == 'micro' else 'ovr'
    found = evaluate(task_statistic(prepare_task(s, y), draws, layout, average, precision=precision), weights)
    score = average_precision_score if precision else roc_auc_score
    want = [np.reshape(score(np.repeat(y, w, 0), np.repeat(s, w, 0), average=average), -1) for w in rows]
    np.testing.assert_allclose(found, want, atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
@pytest.mark.parametrize('options', [dict(max_fpr=.2), dict(max_fpr=.2, standardize=False), dict(min_tpr=.6), dict(min_tpr=.6, standardize=False)], ids=str)
@pytest.mark.parametrize('make', [multiclass, multilabel])
def test_partial_samples_of_columns(make, options, average):
    "And the jackknife, for which one row has no weight"
    s,y = make()
    found = resample_auroc(dict(scores=s), y, Sampling(None, 100, 0, True), average=average, **options)
    block = np.random.default_rng(0).integers(2**63, size=(2, 2))
    rows = draw_weights(found.draws, 64, np.random.default_rng(block[0]))[:10,found.draws.unit]
    def score(w): return row(auroc_score(s, y, average=average, sample_weight=w, **options))
    np.testing.assert_allclose(found.replicates[0][:10], [score(w) for w in rows], atol=1e-12)
    np.testing.assert_allclose(found.left_out[0][found.draws.unit[:10]], [score(w) for w in 1-np.eye(10, len(y))], atol=1e-12)

@pytest.mark.parametrize('seed', range(4))
def test_precision_samples(seed):
    s,y = binary(seed=seed, share=.1)
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 20, seed)
    found = evaluate(task_statistic(prepare_task(s, y), draws, precision=True), weights)[:,0]
    np.testing.assert_allclose(found, [average_precision_score(y, s, sample_weight=w) for w in rows], atol=1e-12)

@pytest.mark.parametrize('kind', ['int64', 'float16', 'bfloat16', 'bool', 'uint8', 'infinite'])
def test_dtypes(kind):
    s,y = binary(ties=False)
    scores = torch.tensor(s)
    if kind == 'infinite': scores[scores > 1] = math.inf
    elif kind == 'bool': scores = scores > .5
    elif kind == 'uint8': scores = (20*scores+100).byte()
    else: scores = (10*scores).to(getattr(torch, kind)) if kind == 'int64' else scores.to(getattr(torch, kind))
    draws = plan_draws(y)
    weights,rows = drawn_rows(draws, 5, 0)
    found = evaluate(task_statistic(prepare_task(scores, y), draws), weights)[:,0]
    np.testing.assert_allclose(found, [auroc_score(scores, y, sample_weight=w) for w in rows], atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'pairs', 'min', None])
def test_group_samples(average):
    "Of rows drawn within group and class"
    s,y = binary(120)
    groups = np.random.default_rng(1).integers(5, size=120)
    found = resample_auroc(dict(scores=s), y, Sampling(n_boot=100, seed=0), groups=groups, group_average=average)
    draws = found.draws
    assert len(np.unique(draws.starts)) == 10
    block = np.random.default_rng(0).integers(2**63, size=(2, 2))   # two blocks of at most 64 samples
    rows = draw_weights(draws, 64, np.random.default_rng(block[0]))[:,draws.unit]
    for values,w in list(zip(found.replicates[0], rows))[:10]:
        want = grouped_auroc(np.repeat(s, w), np.repeat(y, w), np.repeat(groups, w), average=average)
        np.testing.assert_allclose(values, row(want if average else want.auroc), atol=1e-12)

# What is drawn

def test_classes_keep_their_rows():
    _,y = multiclass()
    _,rows = drawn_rows(plan_draws(y), 50, 0)
    for c in range(4): assert (rows[:,y == c].sum(1) == (y == c).sum()).all()
    assert (rows.sum(1) == len(y)).all() and rows.std() > .5

def test_places_are_drawn_evenly():
    draws = plan_draws(np.array([0]*3 + [1]*7))
    weights = draw_weights(draws, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(weights.mean(0), 1, atol=.04)

def test_clusters_are_drawn_whole():
    rng = np.random.default_rng(0)
    y,clusters = rng.integers(2, size=60),rng.integers(12, size=60)
    draws = plan_draws(y, clusters)
    _,rows = drawn_rows(draws, 50, 0)
    for c in range(12): assert (rows[:,clusters == c] == rows[:,clusters == c][:,:1]).all()
    assert len(draws.sizes) == 12 and (draws.starts == 0).all()
    assert np.unique(rows[:,y == 1].sum(1)).size > 3   # the numbers of positives differ

def test_pure_clusters_are_drawn_within_classes():
    y = np.array([0,0,0,1,1,1,0,0])
    draws = plan_draws(y, np.array([3,3,1,0,2,2,4,4]))
    weights,rows = drawn_rows(draws, 50, 0)
    assert sorted(np.unique(draws.starts, return_counts=True)[1]) == [2, 3]
    for pure in ([3,4,5], [0,1,2,6,7]): assert (np.unique(weights[:,np.unique(draws.unit[pure])].sum(1)).size == 1)

def test_seeds_and_threads():
    s,y = binary(3000, ties=False)
    found = auroc_ci(s, y, method='bca', n_boot=300, seed=3)
    threads = torch.get_num_threads()
    try:
        for k in (1, 2, 3):
            torch.set_num_threads(k)
            assert auroc_ci(s, y, method='bca', n_boot=300, seed=3) == found
    finally: torch.set_num_threads(threads)
    assert auroc_ci(s, y, method='bca', n_boot=300, seed=np.random.default_rng(3)) == found
    assert auroc_ci(s, y, method='bca', n_boot=300, seed=4) != found != auroc_ci(s, y, method='bca', n_boot=300)

def test_inputs_stay_as_they_are():
    p,y = (torch.from_numpy(o) for o in multiclass())
    before = p.clone(),y.clone()
    auroc_ci(p.T.contiguous().T, y, method='bca', n_boot=100)
    assert torch.equal(p, before[0]) and torch.equal(y, before[1])

# The jackknife, against leaving out

def without_each(f, units):
    "`f` of the rows of all units but one"
    return [f(np.flatnonzero(units != u)) for u in np.unique(units)]

def jackknifed(found, units):
    "The jackknife in the order of the units' labels"
    return found.left_out[0][[found.draws.unit[np.flatnonzero(units == u)[0]] for u in np.unique(units)]]

@pytest.mark.parametrize('clusters', [False, True])
@pytest.mark.parametrize('options', [{}, dict(max_fpr=.2), dict(max_fpr=.2, standardize=False), dict(min_tpr=.7)])
@pytest.mark.parametrize('seed', range(3))
def test_jackknife_binary(clusters, options, seed):
    s,y = binary(60, seed)
    units = np.random.default_rng(seed).integers(15, size=60) if clusters else np.arange(60)
    found = resample_auroc(dict(scores=s), y, Sampling(units if clusters else None, 100, 0, True), **options)
    want = without_each(lambda i: float(auroc_score(s[i], y[i], **options)), units)
    np.testing.assert_allclose(jackknifed(found, units)[:,0], want, atol=1e-12)

@pytest.mark.parametrize('clusters', [False, True])
@pytest.mark.parametrize('options', [{}, dict(average='weighted'), dict(average='micro'), dict(multi_class='ovo'), dict(multi_class='ovo', average='weighted'),
    dict(average=None), dict(max_fpr=.3), dict(max_fpr=.3, average='micro')], ids=str)
def test_jackknife_multiclass(clusters, options):
    p,y = multiclass(60, 3)
    units = np.random.default_rng(0).integers(15, size=60) if clusters else np.arange(60)
    found = resample_auroc(dict(scores=p), y, Sampling(units if clusters else None, 100, 0, True), **options)
    want = without_each(lambda i: row(auroc_score(p[i], y[i], **options)), units)
    np.testing.assert_allclose(jackknifed(found, units), want, atol=1e-12)

@pytest.mark.parametrize('clusters', [False, True])
@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', None])
def test_jackknife_precision(clusters, average):
    s,y = multilabel(60)
    units = np.random.default_rng(0).integers(15, size=60) if clusters else np.arange(60)
    found = resample_ap(dict(scores=s), y, Sampling(units if clusters else None, 100, 0, True), average=average)
    want = without_each(lambda i: np.reshape(average_precision_score(y[i], s[i], average=average), -1), units)
    np.testing.assert_allclose(jackknifed(found, units), want, atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'pairs', 'min', None])
@pytest.mark.parametrize('whole', [False, True])
def test_jackknife_groups(average, whole):
    s,y = binary(100)
    groups = np.random.default_rng(2).integers(6, size=100)
    units = groups if whole else np.arange(100)
    found = resample_auroc(dict(scores=s), y, Sampling(units if whole else None, 100, 0, True), groups=groups, group_average=average)
    if whole and average is None: return
    def score(i):
        res = grouped_auroc(s[i], y[i], groups[i], average=average)
        return row(res if average else res.auroc)
    np.testing.assert_allclose(jackknifed(found, units), without_each(score, units), atol=1e-12)

# BCa and percentiles, against SciPy

@pytest.mark.parametrize('seed', range(3))
def test_bca_is_scipys(seed):
    "On the same samples: two, one of either class"
    s,y = binary(50, seed)
    found = resample_auroc(dict(scores=s), y, Sampling(None, 1000, 0, True))
    values = found.replicates[0][:,0]
    def area(a, b, axis=-1): return np.mean((a[...,:,None] > b[...,None,:]) + .5*(a[...,:,None] == b[...,None,:]), axis=(-2, -1))
    a,b = s[y == 1],s[y == 0]
    want = stats.bootstrap((a, b), area, n_resamples=0, bootstrap_result=stats._resampling.BootstrapResult(None, values, None), method='BCa')
    res = auroc_ci(s, y, method='bca', n_boot=1000, seed=0)
    assert [res.low, res.high] == pytest.approx(list(want.confidence_interval), abs=1e-12)
    assert res.se == pytest.approx(want.standard_error, abs=1e-14)
    plain = stats.bootstrap((a, b), area, n_resamples=0, bootstrap_result=stats._resampling.BootstrapResult(None, values, None), method='percentile')
    res = auroc_ci(s, y, method='bootstrap', n_boot=1000, seed=0)
    assert [res.low, res.high] == pytest.approx(list(plain.confidence_interval), abs=1e-12)

@pytest.mark.parametrize('seed', range(3))
def test_bca_of_average_precision_is_scipys(seed):
    s,y = binary(40, seed, ties=seed > 0)
    def precision(a, b, axis=-1): return average_precision_score(np.repeat([1, 0], [len(a), len(b)]), np.r_[a, b])
    values = resample_ap(dict(scores=s), y, Sampling(None, 1000, 0)).replicates[0][:,0]
    drawn = stats._resampling.BootstrapResult(None, values, None)
    want = stats.bootstrap((s[y == 1], s[y == 0]), precision, n_resamples=0, bootstrap_result=drawn, method='BCa', vectorized=False)
    res = ap_ci(s, y, n_boot=1000, seed=0)
    assert [res.low, res.high] == pytest.approx(list(want.confidence_interval), abs=1e-12)

def test_acceleration_of_one_stratum():
    "The textbook formula: sum of cubes over six times the sum of squares to the power of 1.5"
    x = np.random.default_rng(0).exponential(size=30)
    d = x.mean() - x
    draws = plan_draws(np.zeros(30, int))
    assert acceleration(x, draws) == pytest.approx((d**3).sum()/(6*(d**2).sum()**1.5))
    assert acceleration(np.ones(30), draws) == 0 == acceleration(np.full(30, np.nan), draws)

# Agreement with what is known

def test_standard_error_is_delongs():
    s,y = binary(2000, ties=False)
    res = auroc_ci(s, y, method='bootstrap', n_boot=4000, seed=0)
    want = auroc_ci(s, y)
    assert res.auroc == want.auroc and res.se == pytest.approx(want.se, rel=.04)
    assert [res.low, res.high] == pytest.approx([want.low, want.high], abs=.15*want.se)

def test_paired_difference_is_delongs():
    s,y = binary(2000, ties=False)
    other = s + .3*np.random.default_rng(1).normal(size=2000)
    want = compare_auroc(s, other, y)
    for method in ('bootstrap', 'bca'):
        res = compare_auroc(s, other, y, method=method, n_boot=4000, seed=0)
        assert res.auroc_a == want.auroc_a and res.difference == pytest.approx(want.difference, abs=1e-15)
        assert res.se == pytest.approx(want.se, rel=.05) and res.z == pytest.approx(res.difference/res.se)
        assert [res.low, res.high] == pytest.approx([want.low, want.high], abs=.25*want.se)
    back = compare_auroc(other, s, y, method='bootstrap', n_boot=4000, seed=0)
    res = compare_auroc(s, other, y, method='bootstrap', n_boot=4000, seed=0)
    assert [back.difference, back.low, back.high, back.se, back.p_value] == pytest.approx([-res.difference, -res.high, -res.low, res.se, res.p_value])

def test_same_ranks_differ_by_nothing():
    s,y = binary(ties=False)
    for method in ('bootstrap', 'bca'):   # without a warning, as from DeLong's test
        res = compare_auroc(s, np.exp(s), y, method=method, n_boot=100, seed=0)
        assert res == compare_auroc(s, np.exp(s), y) and res[2:] == (0, 0, 0, 0, 0, 1)
    p,t = multiclass()
    t = np.where(t == 3, 0, t)
    assert said(compare_auroc, p, p, t, method='bootstrap', n_boot=100)[1].startswith('AUROC leaves columns out of the macro average')
    res,message = said(compare_auroc, [1,2,3,4], [4,3,2,1], [0,0,1,1], method='bootstrap', n_boot=100)
    assert res.z == math.inf and 'single point 1' in message

def test_p_value(): assert p_value_of_replicates(np.r_[np.ones(97), -1, np.nan, 0]) == pytest.approx(2*3/100)

def test_compare_other_scores():
    p,y = multiclass(200, 3)
    worse = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    for kwargs in ({}, dict(multi_class='ovo'), dict(average='micro'), dict(max_fpr=.2), dict(clusters=np.arange(200)//2)):
        res = compare_auroc(p, worse, y, method='bootstrap', n_boot=300, seed=0, **kwargs)
        assert res.low > 0 and res.p_value == pytest.approx(2/301) and all(type(o) is float for o in res)
    with pytest.raises(ValueError, match='one number for each model'): compare_auroc(p, worse, y, method='bootstrap', average=None)

def test_copies_in_clusters():
    "Each row four times: too narrow by half, unless the copies are a cluster"
    s,y = binary(300, ties=False)
    i = np.arange(300).repeat(4)
    one = auroc_ci(s, y, method='bootstrap', seed=0)
    assert auroc_ci(s[i], y[i], method='bootstrap', seed=0).se == pytest.approx(one.se/2, rel=.1)
    for clusters in (i, [f'patient {o:03}' for o in i], pd.Series(i), torch.from_numpy(i)):
        assert auroc_ci(s[i], y[i], method='bootstrap', clusters=clusters, seed=0).se == pytest.approx(one.se, abs=1e-12)

def test_users_are_weighted_by_how_often_they_are_drawn():
    s,y = binary(100)
    users = np.random.default_rng(2).integers(6, size=100)
    each = grouped_auroc(s, y, users, average=None).auroc.numpy()
    res = auroc_ci(s, y, method='bootstrap', groups=users, clusters=users, n_boot=5000, seed=0)
    assert res.auroc == pytest.approx(each.mean()) and res.se == pytest.approx(each.std()/6**.5, rel=.05)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'pairs', 'min'])
def test_samples_without_a_user_to_judge(average):
    "Six users, of whom one has clicks and other rows: a sample without him has no number, the others have his"
    users = np.arange(60)//10
    y = np.where(users == 0, np.arange(60) % 2, users % 2)
    s = np.random.default_rng(0).normal(size=60)
    found = resample_auroc(dict(scores=s), y, Sampling(users, 200, 0, True), groups=users, group_average=average)
    for values in found.replicates[0][:,0],found.left_out[0][:,0]:
        assert np.isnan(values).any() and (np.isnan(values) | (abs(values - roc_auc_score(y[:10], s[:10])) < 1e-12)).all()

# Options and inputs

@pytest.mark.parametrize('kwargs', [dict(average='macro'), dict(average='weighted'), dict(average='micro'), dict(multi_class='ovo'), dict(max_fpr=.2)], ids=str)
def test_value_is_that_of_the_score(kwargs):
    p,y = multiclass()
    for method in ('bootstrap', 'bca'):
        res = auroc_ci(p, y, method=method, n_boot=200, seed=0, **kwargs)
        assert res.auroc == auroc_score(p, y, **kwargs) and res.low < res.auroc < res.high and all(type(o) is float for o in res)

def test_one_interval_a_class():
    p,y = multiclass()
    res = auroc_ci(p, y, method='bca', average=None, n_boot=200, seed=0)
    assert all(o.shape == (4,) and o.dtype == torch.float64 and o.device.type == 'cpu' for o in res)
    torch.testing.assert_close(res.auroc, auroc_score(p, y, average=None))
    assert (res.low < res.auroc).all() and (res.auroc < res.high).all() and 'auroc=[0.' in repr(res)

def test_left_out_rows_are_not_drawn():
    s,y = binary()
    padded = np.r_[s, [9, 9, 9]],np.r_[y, [-1]*3]
    want = auroc_ci(s, y, method='bca', n_boot=200, seed=0)
    assert auroc_ci(*padded, method='bca', n_boot=200, seed=0, ignore_index=-1) == want
    clusters = np.arange(len(s)+3)//2
    assert auroc_ci(*padded, method='bca', n_boot=200, seed=0, ignore_index=-1, clusters=clusters) == \
        auroc_ci(s, y, method='bca', n_boot=200, seed=0, clusters=clusters[:-3])
    names = np.where(y, 'yes', 'no')
    assert auroc_ci(s, names, pos_label='yes', method='bca', n_boot=200, seed=0) == want

def test_left_out_entries_of_labels():
    s,y = multilabel()
    y[::4,0] = -1
    kept = y[:,0] >= 0
    res = auroc_ci(s, y, method='bootstrap', average=None, ignore_index=-1, n_boot=200, seed=0)
    assert res.auroc[0] == pytest.approx(roc_auc_score(y[kept,0], s[kept,0])) and res.low[0] < res.auroc[0] < res.high[0]

def test_rows_without_a_group():
    s,y = binary()
    groups = np.arange(80) % 3
    with_none = [None]*5 + groups[5:].tolist()
    res = auroc_ci(s, y, method='bootstrap', groups=with_none, n_boot=200, seed=0)
    assert res == auroc_ci(s[5:], y[5:], method='bootstrap', groups=groups[5:], n_boot=200, seed=0)

def test_average_precision():
    s,y = binary(400, share=.2)
    res = ap_ci(s, y, seed=0)
    assert res.ap == pytest.approx(average_precision_score(y, s)) and res.low < res.ap < res.high and all(type(o) is float for o in res)
    assert ap_ci_and_note(s, y, seed=0) == (res, None) and ap_ci(s, y, method='bootstrap', seed=0).se == res.se
    p,t = multiclass()
    assert ap_ci(p, t, average=None, seed=0, n_boot=200).high.shape == (4,)

# Without an answer

def said(f, *args, **kwargs):
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    assert [(o.category, o.filename) for o in w] == [(UndefinedMetricWarning, __file__)]
    return res,str(w[0].message)

nan = math.nan

@pytest.mark.parametrize('s,y,words', [([], [], 'AUROC is NaN: there are no rows'), ([.1,.2], [0,0], 'AUROC is NaN: no positive in the targets'),
    ([.1,nan,.3,.4], [0,1,0,1], 'AUROC is NaN: 1 of 4 rows have NaN scores'), ([.1,.2,.15], [0,1,0], 'AUROC interval is NaN: only one row of a class')])
def test_undefined(s, y, words):
    for method in ('bootstrap', 'bca'):
        res,message = said(auroc_ci, s, y, method=method)
        assert message.startswith(words) and all(map(math.isnan, res[1:])) and (res.auroc == auroc_ci_and_note(s, y)[0].auroc or math.isnan(res.auroc))
        res,message = said(compare_auroc, s, s, y, method=method)
        assert message.startswith(words) and all(map(math.isnan, res[3:]))

@pytest.mark.parametrize('a,b,words', [([nan,2,3,4], [1,2,3,4], 'rows have NaN scores_a'), ([1,2,3,4], [1,nan,nan,4], 'rows have NaN scores_b')])
@pytest.mark.parametrize('kwargs', [{}, dict(groups=[0,0,0,0]), dict(max_fpr=.5)], ids=str)
def test_undefined_model(a, b, words, kwargs):
    res,message = said(compare_auroc, a, b, [0,1,0,1], method='bootstrap', **kwargs)
    assert words in message and message.count('NaN scores') == 1 and math.isnan(res.auroc_a) != math.isnan(res.auroc_b) and all(map(math.isnan, res[2:]))

def test_single_point():
    res,message = said(auroc_ci, [1,2,3,4], [0,0,1,1], method='bca')
    assert res == (1, 1, 1, 0) and message == 'AUROC interval is the single point 1: all samples agree, which does not mean certainty'

def test_class_of_one_row():
    p,y = multiclass()
    y = np.where(y == 3, 0, y)
    y[0] = 3
    res,message = said(auroc_ci, p, y, method='bootstrap', seed=0, n_boot=200)
    assert message == 'AUROC interval is too narrow: 1 of 4 strata have a single row, as all samples do' and res.low < res.high

def test_samples_without_a_class():
    "Few clusters with positives: those samples are left out, and counted"
    rng = np.random.default_rng(0)
    clusters = np.arange(80)//10
    y = ((clusters < 2) & (rng.random(80) < .5)).astype(int)
    res,message = said(auroc_ci, y + rng.normal(size=80), y, method='bootstrap', clusters=clusters, seed=0, n_boot=1000)
    left_out = int(message.split(' of ')[0].split()[-1])
    assert 60 < left_out < 150 and message.endswith('of 1000 samples, in which a class is missing') and res.low < res.high  # (3/4)**8 = 10 %

def test_undefined_classes_stay_out():
    p,y = multiclass()
    y = np.where(y == 3, 0, y)
    res,message = said(auroc_ci, p, y, method='bca', average=None, seed=0, n_boot=200)
    assert message.startswith('AUROC is NaN for some columns: no positive for class 3') and math.isnan(res.low[3]) and not res.low[:3].isnan().any()
    res,message = said(auroc_ci, p, y, method='bca', seed=0, n_boot=200)
    assert 'leaves columns out of the macro average' in message and res.low < res.auroc < res.high

def test_errors():
    s,y = binary()
    p,t = multiclass()
    for n_boot in (99, 100., '200', True, nan):
        with pytest.raises(ValueError, match='n_boot must be a whole number of at least 100'): auroc_ci(s, y, method='bootstrap', n_boot=n_boot)
    assert ap_ci(s, y, n_boot=None, seed=0) == ap_ci(s, y, n_boot=2000, seed=0)
    for seed in (-1, 1.5, 'a', True):
        with pytest.raises(ValueError, match='seed must be a whole number'): ap_ci(s, y, seed=seed)
    for kwargs,given in ((dict(max_fpr=.1), 'max_fpr'), (dict(min_tpr=.8), 'min_tpr'), (dict(clusters=y), 'clusters'), (dict(groups=y, max_fpr=.1), 'max_fpr and groups')):
        for method in ('delong', 'logit', 'wald'):
            with pytest.raises(ValueError, match=f"got {given}: pass method='bootstrap'"): auroc_ci(s, y, method=method, **kwargs)
        with pytest.raises(ValueError, match=f"got {given}: pass method='bootstrap'"): compare_auroc(s, s, y, **kwargs)
    with pytest.raises(ValueError, match="pass method='bootstrap', for each class with average=None"): auroc_ci(p, t)
    with pytest.raises(TypeError, match='clusters must be a list, an array'): auroc_ci(s, y, method='bootstrap', clusters='abc')
    with pytest.raises(ValueError, match='clusters must hold one label for each of 80 rows, got 3'): auroc_ci(s, y, method='bootstrap', clusters=[1,2,3])
    with pytest.raises(ValueError, match='1 of 80 rows have none'): auroc_ci(s, y, method='bootstrap', clusters=[None]+list(y[1:]))
    with pytest.raises(ValueError, match='no partial area'): auroc_ci(s, y, method='bootstrap', groups=y, max_fpr=.1)
    with pytest.raises(ValueError, match='no interval by drawn samples'): auroc_ci(*multilabel(), method='bootstrap', average='samples')
    with pytest.raises(ValueError, match="method must be 'delong', 'bootstrap' or 'bca', got 'logit'"): compare_auroc(s, s, y, method='logit')
    with pytest.raises(ValueError, match="'bootstrap' or 'bca' for average precision, got 'delong'"): ap_ci(s, y, method='delong')
    with pytest.raises(ValueError, match='level must be'): ap_ci(s, y, level=95)
    with pytest.raises(ValueError, match='average must be one of'): auroc_ci(p, t, method='bootstrap', average='mean')
    with pytest.raises(ValueError, match='do not sum to one'): auroc_ci(3*p, t, method='bootstrap')

# What is promised

def binormal(rng, y, shift, noise=None): return shift*y + (rng.normal(size=len(y)) if noise is None else noise)

def held(f, truth, repeats=500):
    "How often intervals of `f`, a function of a number, hold the true value"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UndefinedMetricWarning)
        found = [f(i) for i in range(repeats)]
    return np.mean([o.low <= truth <= o.high for o in found])

normal = stats.norm

@pytest.mark.slow
@pytest.mark.parametrize('method', ['bootstrap', 'bca'])
def test_coverage_binary(method):
    y = np.arange(200) < 80
    def interval(i): return auroc_ci(binormal(np.random.default_rng(i), y, 1.2), y, method=method, n_boot=1000, seed=i)
    assert .92 <= held(interval, normal.cdf(1.2/2**.5)) <= .975

@pytest.mark.slow
@pytest.mark.parametrize('method', ['bootstrap', 'bca'])
def test_coverage_macro(method):
    "Three columns of scores with areas of their own"
    y = np.arange(240) % 3
    shifts = np.array([.6, 1.2, 1.8])
    def interval(i):
        rng = np.random.default_rng(i)
        scores = np.eye(3)[y]*shifts + rng.normal(size=(240, 3))
        return auroc_ci(scores, y, activation='identity', method=method, n_boot=1000, seed=i)
    assert .92 <= held(interval, normal.cdf(shifts/2**.5).mean()) <= .975

@pytest.mark.slow
@pytest.mark.parametrize('method', ['bootstrap', 'bca'])
def test_coverage_precision(method):
    y = np.arange(1000) < 250
    grid = np.linspace(-8, 10, 200_001)
    tpr,fpr = normal.sf(grid-1.2),normal.sf(grid)
    truth = (.25*tpr/(.25*tpr + .75*fpr)*normal.pdf(grid-1.2)).sum()*(grid[1]-grid[0])
    def interval(i): return ap_ci(binormal(np.random.default_rng(i), y, 1.2), y, method=method, n_boot=600, seed=i)
    assert .92 <= held(interval, truth) <= .975

@pytest.mark.slow
@pytest.mark.parametrize('method', ['bootstrap', 'bca'])
def test_coverage_clusters(method):
    "Five rows of each of 80 patients, who share most of their noise; the naive interval is far too narrow"
    patient = np.arange(400)//5
    y = patient % 2
    def draw(i):
        rng = np.random.default_rng(i)
        return binormal(rng, y, 1.2, (.8**.5*rng.normal(size=80))[patient] + .2**.5*rng.normal(size=400))
    truth = normal.cdf(1.2/2**.5)
    assert .92 <= held(lambda i: auroc_ci(draw(i), y, method=method, clusters=patient, n_boot=1000, seed=i), truth) <= .975
    assert held(lambda i: auroc_ci(draw(i), y, method=method, n_boot=300, seed=i), truth, 200) < .8

# On a device

class OnDevice(torch.Tensor):
    "Says that it is on a device, and cannot be computed with, only copied"
    @property
    def device(self): return torch.device('cuda')
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.device.__get__: return torch.device('cuda')
        raise AssertionError(f'{func} of a tensor on a device')

@pytest.mark.parametrize('kwargs', [{}, dict(clusters=True), dict(groups=True), dict(max_fpr=.2)], ids=str)
@pytest.mark.parametrize('f', [auroc_ci, compare_auroc, ap_ci])
def test_reads_once(f, kwargs, monkeypatch):
    "All inputs in one copy; the rest happens on the CPU"
    if f is ap_ci and set(kwargs) - {'clusters'}: return
    s,y = map(torch.from_numpy, binary())
    def inputs(send):
        rows = {k:send(torch.arange(80) % 3) for k,v in kwargs.items() if v is True}
        return [send(s)]*(1 + (f is compare_auroc)) + [send(y)],kwargs | rows
    copies = []
    def read(*tensors):
        if any(type(o) is OnDevice for o in tensors): copies.append(len(tensors))
        return [o.as_subclass(torch.Tensor) if type(o) is OnDevice else o for o in tensors]
    monkeypatch.setattr(resampling, 'read_once', read)
    monkeypatch.setattr(resampling, 'to_tensor', lambda x, name: x)
    given,options = inputs(lambda x: x)
    want = f(*given, method='bootstrap', n_boot=100, seed=0, **options)
    given,options = inputs(lambda x: x.as_subclass(OnDevice))
    assert f(*given, method='bootstrap', n_boot=100, seed=0, **options) == want and copies == [len(given) + len(options) - ('max_fpr' in options)]
