"DeLong's intervals and test: the definition over all pairs, what they promise over many samples, and clear words where they have nothing to say."
from functools import partial
import inspect, math, warnings
from fractions import Fraction
from statistics import NormalDist
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from fastai_auroc.confidence import auroc_ci_and_note, check_interval, auroc_ci, compare_auroc
from fastai_auroc.delong import _delong_variance, _right_pairs
from fastai_auroc.roc import auroc_score
from test_device import HostRead, NoWaiting

pytestmark = pytest.mark.filterwarnings('error')   # where no warning is due, none may come
nan,inf = float('nan'),float('inf')
steady = settings(max_examples=40, deadline=None, derandomize=True)

def warned(f, *args, **kwargs):
    "The result and the one warning, which must point to the line of the call"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    assert [(o.category, o.filename, o.lineno) for o in w] == [(UndefinedMetricWarning, __file__, inspect.getsourcelines(warned)[1] + 4)]
    return res,str(w[0].message)

def quiet(f, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f(*args, **kwargs)

def numbers(res):
    "The fields of a result, which must be plain Python floats"
    assert all(type(o) is float for o in res)
    return res

def shares(s, y):
    "Structural components of positives and of negatives, as DeLong, DeLong & Clarke-Pearson define them"
    s,y = np.asarray(s, dtype=float),np.asarray(y)
    a,b = s[y == y.max()][:,None],s[y == y.min()]
    psi = (a > b) + .5*(a == b)
    return psi.mean(1),psi.mean(0)

def all_pairs(s, y):
    "AUROC and standard error"
    v,w = shares(s, y)
    return v.mean(),(v.var(ddof=1)/len(v) + w.var(ddof=1)/len(w))**.5

def all_pairs_of_two(a, b, y):
    "Difference and standard error from the 2 x 2 covariance matrices of the components"
    (va,wa),(vb,wb) = shares(a, y),shares(b, y)
    cov = np.cov(va, vb)/len(va) + np.cov(wa, wb)/len(wa)
    return va.mean()-vb.mean(),(cov[0,0] + cov[1,1] - 2*cov[0,1])**.5

def draw(kind, seed=0):
    "Scores and labels"
    rng = np.random.default_rng(seed)
    n,share = dict(random=(211, .4), tied=(300, .5), rare=(400, .01), common=(400, .99), few=(7, .5), two_values=(50, .3))[kind]
    y = rng.permutation(np.arange(n) < max(2, round(share*n))).astype(int)
    s = y + 1.5*rng.normal(size=n)
    return dict(tied=lambda: s.round(), two_values=lambda: (s > .5).astype(float)).get(kind, lambda: s)(),y

kinds = 'random','tied','rare','common','few','two_values'

# The definition

@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('seed', range(3))
def test_interval_is_the_definition(kind, seed):
    s,y = draw(kind, seed)
    res,(auroc,se) = numbers(auroc_ci(s, y)),all_pairs(s, y)
    assert res.auroc == pytest.approx(auroc, abs=1e-12) and res.se == pytest.approx(se, abs=1e-10)
    assert res.low == pytest.approx(max(0, auroc-1.959963984540054*se), abs=1e-10)
    assert res.high == pytest.approx(min(1, auroc+1.959963984540054*se), abs=1e-10)

@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('seed', range(3))
def test_comparison_is_the_definition(kind, seed):
    a,y = draw(kind, seed)
    b = a.round() + np.random.default_rng(seed+10).normal(size=len(y)).round()
    res,(difference,se) = numbers(compare_auroc(a, b, y)),all_pairs_of_two(a, b, y)
    assert res.difference == pytest.approx(difference, abs=1e-12) and res.se == pytest.approx(se, abs=1e-10)
    assert [res.auroc_a, res.auroc_b] == [auroc_score(a, y), auroc_score(b, y)]
    assert res.z == pytest.approx(difference/se, rel=1e-8)
    assert res.p_value == pytest.approx(2*NormalDist().cdf(-abs(difference/se)), abs=1e-9)
    assert [res.low, res.high] == pytest.approx(np.clip([difference-1.959963984540054*se, difference+1.959963984540054*se], -1, 1), abs=1e-9)

@steady
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40).filter(lambda o: 2 <= sum(y for _,y in o) <= len(o)-2))
def test_ties_as_defined(rows):
    s,y = map(np.array, zip(*rows))
    res,(auroc,se) = numbers(quiet(auroc_ci, s, y)),all_pairs(s, y)
    assert res.auroc == auroc_score(s, y) and res.auroc == pytest.approx(auroc, abs=1e-12) and res.se == pytest.approx(se, abs=1e-10)

def test_by_hand():
    "Three positives 1, 3, 5 and two negatives 2, 3: of two pairs each the positives have 0, 1.5 and 2 right, of three pairs each the negatives 2 and 1.5"
    v,w = [Fraction(0), Fraction(3, 4), Fraction(1)],[Fraction(2, 3), Fraction(1, 2)]
    def var(x): return sum((o - sum(x)/len(x))**2 for o in x)/(len(x)-1)
    res,se = numbers(auroc_ci([1,3,5,2,3], [1,1,1,0,0])),float(var(v)/3 + var(w)/2)**.5
    assert res.auroc == 7/12 and res.se == pytest.approx(se, abs=1e-15) and res.se == pytest.approx((13/144 + 1/144)**.5, abs=1e-15)
    assert (res.low, res.high) == (0, 1)
    logit,reach = math.log(7/5),1.959963984540054*se/(35/144)
    res = numbers(auroc_ci([1,3,5,2,3], [1,1,1,0,0], method='logit'))
    assert [res.low, res.high] == pytest.approx([1/(1+math.exp(reach-logit)), 1/(1+math.exp(-reach-logit))], abs=1e-12)

def test_components_of_columns_at_once():
    "Both steps act along the last axis"
    s,y = zip(*(draw('tied', seed) for seed in range(4)))
    s,y = (torch.from_numpy(np.stack(o)) for o in (s, y))
    var = _delong_variance(_right_pairs(s, y == 1, y == 0), y == 1, y == 0)
    assert var.shape == (4,) and var.sqrt().tolist() == pytest.approx([all_pairs(*o)[1] for o in zip(s, y)], abs=1e-12)

def test_large_counts_stay_exact():
    "60,000 rows have 900 million pairs; the standard error agrees with that from SciPy's ranks"
    rng = np.random.default_rng(0)
    y = np.arange(60_000) % 2
    s = (y + rng.normal(size=len(y))).astype(np.float32).round(2)
    rank,p = rankdata(s),len(y)/2
    v,w = ((rank[y == k] - rankdata(s[y == k]))/p for k in (1, 0))
    res = numbers(auroc_ci(s, y))
    assert res.auroc == auroc_score(s, y) and res.se == pytest.approx((v.var(ddof=1)/p + w.var(ddof=1)/p)**.5, abs=1e-13)

# What must not matter, and what must

maps = dict(stretch=lambda s: 3*s+7, cube=lambda s: s**3, arctan=np.arctan, ranks=lambda s: np.unique(s, return_inverse=True)[1])

@pytest.mark.parametrize('name', maps)
@pytest.mark.parametrize('kind', ['random', 'tied'])
def test_increasing_maps(name, kind):
    s,y = draw(kind)
    assert auroc_ci(maps[name](s), y) == auroc_ci(s, y)
    assert numbers(compare_auroc(maps[name](s), s, y))[2:] == (0, 0, 0, 0, 0, 1)

@pytest.mark.parametrize('method', ['wald', 'logit'])
def test_permutation(method):
    s,y = draw('tied')
    i = np.random.default_rng(1).permutation(len(y))
    assert numbers(auroc_ci(s[i], y[i], method=method)) == pytest.approx(numbers(auroc_ci(s, y, method=method)), abs=1e-14)

@pytest.mark.parametrize('method', ['wald', 'logit'])
@pytest.mark.parametrize('flip', [lambda s, y: (s, 1-y), lambda s, y: (-s, y)])
def test_complement(flip, method):
    s,y = draw('tied')
    res,other = (numbers(auroc_ci(*o, method=method)) for o in ((s, y), flip(s, y)))
    assert [other.auroc, other.low, other.high, other.se] == pytest.approx([1-res.auroc, 1-res.high, 1-res.low, res.se], abs=1e-14)

def test_order_of_the_models():
    (a,y),(b,_) = draw('random', 0),draw('random', 1)
    res,back = numbers(compare_auroc(a, b, y)),numbers(compare_auroc(b, a, y))
    assert back == (res.auroc_b, res.auroc_a, -res.difference, res.se, -res.high, -res.low, -res.z, res.p_value)

def test_level():
    s,y = draw('random')
    for f in (lambda level: auroc_ci(s, y, level=level), lambda level: compare_auroc(s, s.round(), y, level=level)):
        narrow,wide = numbers(f(.5)),numbers(f(.99))
        assert wide.low < narrow.low < narrow.high < wide.high and wide.se == narrow.se
    assert (wide.high-wide.low)/(2*wide.se) == pytest.approx(2.5758293035489004)

def test_methods_agree_on_many_rows():
    rng = np.random.default_rng(0)
    y = np.arange(20_000) % 2
    s = y + rng.normal(size=len(y))
    assert numbers(auroc_ci(s, y)) == pytest.approx(numbers(auroc_ci(s, y, method='logit')), abs=1e-4)

@pytest.mark.parametrize('method', ['wald', 'logit'])
def test_intervals_stay_in_range(method):
    for seed in range(20):
        s,y = draw('few', seed)
        res = numbers(quiet(auroc_ci, 3*y+s, y, method=method, level=.999))
        assert 0 <= res.low <= res.auroc <= res.high <= 1

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32])
def test_dtypes(dtype):
    s,y = draw('tied')
    assert auroc_ci(torch.tensor(s).to(dtype), torch.tensor(y, dtype=torch.int8)) == auroc_ci(s, y)
    assert compare_auroc(torch.tensor(s).to(dtype), -s, y > 0) == compare_auroc(s, -s, y)

def test_infinities_and_zeros():
    s,y = [-inf, -0., 0., inf, inf, -inf],[0, 1, 0, 1, 0, 1]
    res = numbers(auroc_ci(s, y))
    assert [res.auroc, res.se] == pytest.approx(all_pairs(s, y), abs=1e-12)

@pytest.mark.parametrize('shape', [(-1,), (-1, 1)])
def test_lists_and_columns(shape):
    s,y = draw('tied')
    assert auroc_ci(s.reshape(shape).tolist(), y.tolist()) == auroc_ci(s, y)

def test_probabilities_and_logits():
    s,y = draw('tied')
    logits = torch.from_numpy(np.stack([1-s, s], 1)).float()
    want = auroc_ci(s, y)
    assert auroc_ci(logits, y, activation='softmax') == auroc_ci(logits, y, activation='identity') == want
    assert auroc_ci((logits/8).softmax(1), y) == want
    assert compare_auroc(logits, 2*logits, y, activation='softmax').p_value == 1
    with pytest.raises(ValueError, match=r"{} of 300 rows do not sum to one: pass activation='softmax'".format(300)): auroc_ci(3*logits, y)
    with pytest.raises(ValueError, match='do not sum to one'): compare_auroc((logits/8).softmax(1), 3*logits, y)

def test_logits_that_saturate():
    "Ranked by their difference in float64, where probabilities would be ones"
    s,y = draw('random')
    logits = torch.from_numpy(np.stack([np.full_like(s, -50.), 50+s], 1))
    assert auroc_ci(logits, y, activation='softmax').auroc == pytest.approx(all_pairs(s, y)[0], abs=1e-12)
    assert auroc_ci(logits, y, activation='softmax').se == pytest.approx(all_pairs(s, y)[1], abs=1e-10)

def test_ignored_rows():
    s,y = draw('tied')
    t = np.r_[y, [-1]*5]
    assert auroc_ci(np.r_[s, [nan, 9, 9, -9, 0]], t, ignore_index=-1) == auroc_ci(s, y)
    assert compare_auroc(np.r_[s, [nan]*5], np.r_[s.round(-1), [9]*5], t, ignore_index=-1) == compare_auroc(s, s.round(-1), y)

# Without an answer

def why(s, y, words): return s,y,'AUROC is NaN: ' + words

undefined = dict(no_rows=why([], [], 'there are no rows'), no_positive=why([.1,.2], [0,0], 'no positive in the targets, all 2 labels are 0'),
    no_negative=why([.1,.2,.3], [1,1,1], 'no negative in the targets, all 3 labels are 1'), nan=why([.1,nan,.3,.4], [0,1,0,1], '1 of 4 rows have NaN scores'),
    nan_and_one_class=why([nan,nan], [0,0], '2 of 2 rows have NaN scores; no positive in the targets, all 2 labels are 0'))

@pytest.mark.parametrize('s,y,words', undefined.values(), ids=undefined)
@pytest.mark.parametrize('method', ['wald', 'logit'])
def test_undefined_in_the_words_of_auroc_score(s, y, words, method):
    res,message = warned(auroc_ci, s, y, method=method)
    assert all(math.isnan(o) for o in numbers(res)) and message == words == warned(auroc_score, s, y)[1]

@pytest.mark.parametrize('s,y,words', undefined.values(), ids=undefined)
def test_undefined_comparison(s, y, words):
    res,message = warned(compare_auroc, s, np.zeros(len(s)), y)
    assert all(math.isnan(o) for i,o in enumerate(numbers(res)) if i != 1) and message == words.replace('scores', 'scores_a')

def test_nan_of_one_model():
    res,message = warned(compare_auroc, [.1,.2,.3,.4], [.1,nan,nan,.3], [0,1,0,1])
    assert message == 'AUROC is NaN: 2 of 4 rows have NaN scores_b'
    assert res.auroc_a == .75 and all(math.isnan(o) for o in numbers(res)[1:])

def test_all_rows_ignored():
    for f,scores in ((auroc_ci, [[.1, .2]]), (compare_auroc, [[.1, .2], [.3, .4]])):
        assert warned(f, *scores, [-1, -1], ignore_index=-1)[1] == 'AUROC is NaN: no row left in the targets'

@pytest.mark.parametrize('y,who', [([0,0,1,0], 'one positive'), ([1,0,1,1], 'one negative'), ([-1,0,1,-1], 'one positive and one negative')])
def test_one_row_of_a_class(y, who):
    "The area is defined, its variance is not"
    s,kwargs = [.3,.2,.9,.1],dict(ignore_index=-1)
    words = f'AUROC interval is NaN: only {who} in the targets, but a variance needs two'
    res,message = warned(auroc_ci, s, y, **kwargs)
    assert message == words and res.auroc == auroc_score(s, y, **kwargs) and all(math.isnan(o) for o in numbers(res)[1:])
    res,message = warned(compare_auroc, s, s, y, **kwargs)
    assert message == words and res.auroc_a == res.auroc_b and res.difference == 0 and all(math.isnan(o) for o in numbers(res)[3:])

@pytest.mark.parametrize('s,auroc', [([1,2,3,4], 1), ([4,3,2,1], 0), ([5,5,5,5], .5)])
@pytest.mark.parametrize('method', ['wald', 'logit'])
def test_a_single_point(s, auroc, method):
    res,message = warned(auroc_ci, s, [0,0,1,1], method=method)
    assert numbers(res) == (auroc, auroc, auroc, 0) and message.startswith(f'AUROC interval is the single point {auroc:g}: ')

def test_no_variance_but_a_difference():
    res,message = warned(compare_auroc, [1,2,3,4], [4,3,2,1], [0,0,1,1])
    assert numbers(res) == (1, 0, 1, 0, 1, 1, inf, 0) and message.startswith('the p-value of an AUROC difference of 1 is 0 because')
    assert warned(compare_auroc, [4,3,2,1], [1,2,3,4], [0,0,1,1])[0].z == -inf

def test_same_scores():
    s,y = draw('tied')
    assert numbers(compare_auroc(s, s, y))[2:] == (0, 0, 0, 0, 0, 1)
    assert numbers(compare_auroc([1,2,3,4], [1,2,3,4], [0,0,1,1])) == (1, 1, 0, 0, 0, 0, 0, 1)

@pytest.mark.parametrize('scores,targets,shape', [(torch.rand(6,3), [0,1,2,0,1,2], r'\(6, 3\)'), (torch.rand(4,2), torch.ones(4,2), r'\(4, 2\)'), (torch.rand(2,3,4), torch.zeros(2,4), r'\(2, 3, 4\)')])
def test_binary_tasks_only(scores, targets, shape):
    says = f"for binary tasks, got scores{{}} of shape {shape}: pass method='bootstrap'"
    with pytest.raises(ValueError, match=says.format('') + ', for each class with average=None$'): auroc_ci(scores, targets)
    with pytest.raises(ValueError, match=says.format('') + ', for each class with average=None$'): auroc_ci(scores, targets, method='logit')
    with pytest.raises(ValueError, match=says.format('_a') + '$'): compare_auroc(scores, scores, targets)

@pytest.mark.parametrize('given,words', [(dict(n_boot=200), 'n_boot'), (dict(seed=3), 'seed'), (dict(n_boot=2000, seed=0), 'n_boot and seed')])
def test_options_of_drawn_samples(given, words):
    "They raise where no samples are drawn; without them there are 2,000 samples, as before"
    s,y = draw('tied')
    calls = [partial(auroc_ci, s, y, method=o) for o in ('delong', 'logit')] + [partial(auroc_ci, s, y), partial(compare_auroc, s, -s, y)]
    for f in calls:
        with pytest.raises(ValueError, match=f"draws no samples, got {words}: pass method='bootstrap' or 'bca'$"): f(**given)
    for method in ('bootstrap', 'bca'):
        assert auroc_ci(s, y, method=method, seed=0) == auroc_ci(s, y, method=method, seed=0, n_boot=2000)
        assert compare_auroc(s, -s, y, method=method, seed=0) == compare_auroc(s, -s, y, method=method, seed=0, n_boot=2000)

def test_errors():
    for level in (0, 1, 95, -.5, nan):
        with pytest.raises(ValueError, match='level must be between 0 and 1'): auroc_ci([1,2], [0,1], level=level)
        with pytest.raises(ValueError, match='level must be between 0 and 1'): compare_auroc([1,2], [1,2], [0,1], level=level)
    with pytest.raises(ValueError, match="method must be 'delong', 'logit', 'bootstrap' or 'bca', got 'normal'"): auroc_ci([1,2], [0,1], method='normal')
    with pytest.raises(ValueError, match="method must be"): check_interval(.9, None)
    with pytest.raises(ValueError, match='of two different values, but 1 of 3 rows have others: got 0, 1, 2; .* ignore_index'): auroc_ci([1,2,3], [0,1,2])
    with pytest.raises(ValueError, match=r'got scores of shape \(3,\) and targets of shape \(2,\)'): compare_auroc([1,2], [1,2,3], [0,1])
    with pytest.raises(ValueError, match='activation must be one of'): auroc_ci([1,2], [0,1], activation='relu')
    with pytest.raises(TypeError, match='positional argument'): auroc_ci([1,2], [0,1], 'softmax')

def test_for_the_metric():
    "The value and its warning, without warning"
    s,y = draw('random')
    assert auroc_ci_and_note(s, y) == (auroc_ci(s, y), None)
    assert auroc_ci_and_note([.1,.2], [0,0])[1] == 'AUROC is NaN: no positive in the targets, all 2 labels are 0'

# What is promised: true values in 95 of 100 samples, false alarms in 5

def samples(n_pos, n_neg, auroc, repeats, corr=None):
    "Binormal scores with a known AUROC, of one model or of two equally good ones whose errors go together"
    rng = np.random.default_rng(0)
    y = np.arange(n_pos+n_neg) < n_pos
    shift = 2**.5*NormalDist().inv_cdf(auroc)
    noise = rng.normal(size=(repeats, 1 if corr is None else 2, len(y)))
    if corr is not None: noise[:,1] = corr*noise[:,0] + (1-corr**2)**.5*noise[:,1]
    return noise + shift*y,y

def within(share, want, n, sd=3.3): return abs(share-want) <= sd*(want*(1-want)/n)**.5

@pytest.mark.parametrize('auroc,method', [(.6, 'wald'), (.8, 'logit')])
def test_coverage(auroc, method):
    s,y = samples(80, 120, auroc, 700)
    drawn = [numbers(auroc_ci(o[0], y, method=method)) for o in s]
    held = np.mean([o.low <= auroc <= o.high for o in drawn])
    assert within(held, .95, len(s)), held
    assert np.mean([o.se for o in drawn]) == pytest.approx(np.std([o.auroc for o in drawn]), rel=.08)

def test_coverage_near_one():
    "Few positives and an AUROC of 0.95: the logit interval is the better one"
    s,y = samples(20, 80, .95, 500)
    wald,logit = (np.mean([o.low <= .95 <= o.high for o in (quiet(auroc_ci, x[0], y, method=method) for x in s)]) for method in ('wald', 'logit'))
    assert logit > wald + .03 and within(logit, .94, len(s)), (wald, logit)

@pytest.mark.parametrize('corr', [0, .9])
def test_size_of_the_paired_test(corr):
    "Equally good models: one in twenty is called different, whatever their correlation, and p is uniform"
    s,y = samples(70, 80, .8, 700, corr)
    p = np.array([float(compare_auroc(*o, y).p_value) for o in s])
    assert within((p < .05).mean(), .05, len(s)) and within((p < .5).mean(), .5, len(s)), ((p < .05).mean(), (p < .5).mean())

def test_the_unpaired_test_hardly_ever_sees_a_difference():
    s,y = samples(70, 80, .8, 100, .95)
    z = [(a.auroc-b.auroc)/(a.se**2+b.se**2)**.5 for a,b in ([numbers(auroc_ci(x, y)) for x in o] for o in s)]
    assert np.std(z) < .5

def test_the_paired_test_finds_what_is_there():
    s,y = samples(70, 80, .8, 100, .95)
    s[:,0] += .2*y
    found = np.mean([float(compare_auroc(*o, y).p_value) < .05 for o in s])
    assert found > .5

# On a device

tasks = dict(one_score=lambda: torch.rand(64, device='cuda'), half=lambda: torch.rand(64, device='cuda').half(), two=lambda: torch.rand(64, 2, device='cuda'))

@pytest.mark.parametrize('task', tasks)
@pytest.mark.parametrize('kwargs', [{}, dict(ignore_index=3), dict(activation='softmax')])
def test_reads_once(task, kwargs):
    with FakeTensorMode():
        scores,targets = tasks[task](),torch.randint(0, 2, (64,), device='cuda')
        for f in (auroc_ci, lambda *args, **kwargs: compare_auroc(scores, *args, **kwargs)):
            with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): f(scores, targets, **kwargs)
            assert mode.n_ops > 40

def test_scores_on_another_device_than_the_targets():
    "Targets and the second model's scores join the first model's"
    with FakeTensorMode():
        a,b,targets = torch.rand(64, device='cuda'),torch.rand(64),torch.randint(0, 2, (64,))
        right = _right_pairs(a, *(x.to(a.device) for x in (targets == 1, targets == 0)))
        assert right.device.type == 'cuda' and right.dtype == torch.int64
        for f in (lambda: auroc_ci(a, targets), lambda: compare_auroc(a, b, targets)):
            with pytest.raises(DataDependentOutputException): f()   # only the counts on the host are asked for
        with pytest.raises(RuntimeError, match=r'\.numpy\(\) is not supported'): compare_auroc(b, a, targets)   # all is on the host already

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_real_gpu():
    s,y = (torch.from_numpy(o) for o in draw('tied'))
    assert numbers(auroc_ci(s.cuda(), y)) == pytest.approx(numbers(auroc_ci(s, y)), abs=1e-14)
    assert numbers(compare_auroc(s.cuda(), -s, y)) == pytest.approx(numbers(compare_auroc(s, -s, y)), abs=1e-14)
