"A subgroup against its background: the three AUROCs of Borkan et al. (2019), the competition's score, and power means."
import json, math
from decimal import Decimal, localcontext, MAX_EMAX, MIN_EMIN
from fractions import Fraction
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch._subclasses import FakeTensorMode
from fastai_auroc import groups as room
from fastai_auroc.groups import BiasAUROC, bias_auroc, bias_auroc_and_note, power_mean
from fastai_auroc.roc import auroc_score
from test_device import HostRead, NoWaiting, rand, randint

pytestmark = pytest.mark.filterwarnings('error')
nan,inf = math.nan,math.inf
steady = settings(max_examples=200, deadline=None, derandomize=True)

@pytest.fixture(params=['fast', 'general'])
def path(request, monkeypatch):
    "The CPU's own way, and the one of any device"
    if request.param == 'general':
        monkeypatch.setattr(room, '_count_groups_cpu', lambda *args: None)
        monkeypatch.setattr(room, 'positive_label', lambda *args: None)
    return request.param

def by_pairs(p, q): return nan if not len(p) or not len(q) else ((p[:,None] > q).mean() + (p[:,None] >= q).mean())/2

def expected(s, y, sub):
    "From the definitions"
    y,sub = y == 1,sub.astype(bool)
    return [by_pairs(s[a & y], s[b & ~y]) for a,b in ((sub, sub), (~sub, sub), (sub, ~sub))]

def check(s, y, sub, scores=None, targets=None, subgroup=None, **kwargs):
    got,note = bias_auroc_and_note(s if scores is None else scores, y if targets is None else targets, sub if subgroup is None else subgroup, **kwargs)
    want = expected(s, y, sub)
    assert isinstance(got, BiasAUROC) and all(type(o) is float for o in got)
    assert list(got) == pytest.approx(want, abs=1e-12, nan_ok=True)
    assert (note is None) == (not np.isnan(want).any())
    return got

drawn = st.lists(st.tuples(st.integers(-3, 3) | st.floats(-1e6, 1e6, width=32), st.integers(0, 1), st.integers(0, 1)), max_size=40)

@steady
@given(drawn, st.sampled_from(['f4', 'f8']))
def test_any_rows(rows, dtype):
    s,y,sub = (np.array(o) for o in zip(*rows, (0, 0, 0), (1, 1, 1)))
    for general in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if general: patch.setattr(room, '_count_groups_cpu', lambda *args: None)
            check(s.astype(dtype), y, sub)

@pytest.mark.parametrize('seed', range(40))
def test_scikit_learn_on_the_rows_of_each(seed, path):
    "As the competition's kernel selects them"
    rng = np.random.default_rng(seed)
    s,y,sub = rng.normal(size=300),rng.integers(0, 2, 300),rng.random(300) < .3
    if seed % 2: s = s.round(1)
    got = check(s, y, sub)
    for mask,value in zip((sub, sub & (y == 0) | ~sub & (y == 1), sub & (y == 1) | ~sub & (y == 0)), got):
        assert value == pytest.approx(roc_auc_score(y[mask], s[mask]), abs=1e-12)

@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'uint64', 'int8', 'int64', 'float16', 'bfloat16', 'float32', 'float64'])
def test_scores_of_any_type(dtype, path):
    rng = np.random.default_rng(0)
    ranks,y,sub = rng.integers(0, 2 if dtype == 'bool' else 7, 200),rng.integers(0, 2, 200),rng.integers(0, 2, 200)
    check(ranks, y, sub, torch.from_numpy(ranks.astype('u8') + np.uint64(2**63)) if dtype == 'uint64' else torch.tensor(ranks).to(getattr(torch, dtype)))

def test_infinite_scores(path):
    rng = np.random.default_rng(0)
    s = rng.choice([-inf, -1., 0., 1., inf], 200)
    check(s, rng.integers(0, 2, 200), rng.integers(0, 2, 200))

@pytest.mark.parametrize('form', [list, tuple, np.array, torch.tensor, pd.Series, lambda x: np.array(x)[:,None], lambda x: np.array(x, bool),
    lambda x: pd.Series(x, dtype=bool, index=np.arange(200)[::-1]),
    lambda x: torch.tensor(x).half(), lambda x: np.array(x, float), lambda x: pd.Series(x, dtype='boolean')], ids=range(11))
def test_subgroups_of_any_kind(form):
    rng = np.random.default_rng(0)
    s,y,sub = rng.random(200),rng.integers(0, 2, 200),rng.integers(0, 2, 200)
    check(s, y, sub, subgroup=form(sub.tolist()))

def test_logits_text_and_ignored_rows(path):
    rng = np.random.default_rng(0)
    z,y,sub = rng.normal(size=(200, 2)),rng.integers(0, 2, 200),rng.integers(0, 2, 200)
    margin = z[:,1]-z[:,0]
    check(margin, y, sub, z, activation='softmax')
    check(margin, y, sub, margin, np.array(['fine', 'toxic'])[y], pos_label='toxic')
    check(margin, 1-y, sub, margin, np.array(['fine', 'toxic'])[y], pos_label='fine')
    keep = rng.random(200) < .7
    noisy,truth = np.where(keep, margin, rng.choice([nan, inf, -inf], 200)),np.where(keep, y, -100)
    got,note = bias_auroc_and_note(noisy, truth, sub, ignore_index=-100)
    assert list(got) == pytest.approx(expected(margin[keep], y[keep], sub[keep]), abs=1e-12) and note is None

@pytest.mark.parametrize('subgroup,targets,value,why', [
    ([1, 1, 1, 1], [0, 1, 0, 1], (1, nan, nan), 'bpsn, bnsp: no positive in the background; no negative in the background'),
    ([0, 0, 0, 0], [0, 1, 0, 1], (nan, nan, nan), 'subgroup, bpsn, bnsp: no positive in the subgroup; no negative in the subgroup'),
    ([1, 0, 0, 0], [0, 1, 0, 1], (nan, 1, nan), 'subgroup, bnsp: no positive in the subgroup'),
    ([0, 1, 0, 0], [0, 1, 0, 1], (nan, nan, 1), 'subgroup, bpsn: no negative in the subgroup'),
    ([1, 0, 1, 0], [0, 0, 0, 0], (nan, nan, nan), 'subgroup, bpsn, bnsp: no positive in the subgroup; no positive in the background')])
def test_undefined(subgroup, targets, value, why, path):
    with pytest.warns(UndefinedMetricWarning) as record: got = bias_auroc([.1, .9, .2, .8], targets, subgroup)
    assert list(got) == pytest.approx(value, nan_ok=True)
    assert [str(o.message) for o in record] == ['bias AUROC is NaN for ' + why] and record[0].filename == __file__

def test_nan_scores(path):
    "A row of the subgroup is in two of the three; a row of the background in one"
    s,y,sub = np.array([.1, .9, .2, .8, .3, .7, .4, .6]),np.array([0, 1]*4),np.array([1]*4 + [0]*4)
    for i,which in ((0, 'subgroup, bpsn'), (1, 'subgroup, bnsp'), (4, 'bnsp'), (5, 'bpsn')):
        broken = s.copy()
        broken[i] = nan
        got,note = bias_auroc_and_note(broken, y, sub)
        assert note == f'bias AUROC is NaN for {which}: 1 of 8 rows have NaN scores'
        assert [name for name,o in got._asdict().items() if math.isnan(o)] == which.split(', ')

def test_no_rows():
    got,note = bias_auroc_and_note([], [], [])
    assert all(map(math.isnan, got)) and note == 'bias AUROC is NaN: there are no rows'

@pytest.mark.parametrize('subgroup,error,says', [([1, 0], ValueError, 'subgroup must hold one label for each of 4 rows, got 2'),
    ([0, .5, 1, .3], ValueError, r'subgroup must be True or False \(or 1 and 0\) for each row, but 2 of 4 are neither.*subgroup >= .5'),
    ([0, 1, 2, 1], ValueError, '1 of 4 are neither'), ([0, nan, 1, 1], ValueError, '1 of 4 are neither'), (['a', 'b', 'a', 'a'], TypeError, 'subgroup must be'),
    (pd.Series([True, None, False, True], dtype='boolean'), TypeError, 'subgroup must be.*1 of 4 missing'), (None, TypeError, 'subgroup must be')], ids=range(7))
def test_what_is_no_subgroup(subgroup, error, says):
    with pytest.raises(error, match=says): bias_auroc([.1, .9, .2, .8], [0, 1, 0, 1], subgroup)

@pytest.mark.parametrize('subgroup', [['a', 'b', 'a', 'b'], np.array(['a', 'b', 'a', 'b']), pd.Series(['a', 'b', 'a', 'b'])], ids=range(3))
def test_names_of_subgroups(subgroup):
    "The error says how to compare them, and so it works"
    with pytest.raises(TypeError, match=r"of strings: compare it with a label, as in np.asarray\(subgroup\) == 'b'$"): bias_auroc([.1, .9, .2, .8], [0, 1, 0, 1], subgroup)
    check(np.array([.1, .9, .2, .8]), np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]), subgroup=np.asarray(subgroup) == 'b')

def test_a_positive_label_that_is_none(path):
    got,note = bias_auroc_and_note([.1, .2, .3], ['no', 'yes', 'no'], [1, 0, 0], pos_label='ja')
    assert all(map(math.isnan, got)) and note == ('bias AUROC is NaN for subgroup, bpsn, bnsp: no positive in the subgroup; no positive in the background, '
        "since pos_label='ja' is none of the labels 'no', 'yes'")

def test_many_classes_and_wrong_targets():
    with pytest.raises(ValueError, match='AUROC by subgroup is for binary tasks'): bias_auroc(np.eye(3), [0, 1, 2], [0, 1, 1])
    with pytest.raises(ValueError, match='1 of 4 rows have others: got 0, 1, 7'): bias_auroc([.1, .9, .2, .8], [0, 1, 1, 7], [0, 1, 0, 1])

def test_numbers_that_one_can_use():
    got = bias_auroc([.9, .8, .2, .1], [1, 0, 1, 0], [1, 1, 0, 0])
    assert json.loads(json.dumps(got._asdict())) == dict(subgroup=1, bpsn=0, bnsp=1) and round(got.bpsn, 2) == 0
    assert pd.DataFrame([got]).dtypes.eq(float).all() and repr(got) == 'BiasAUROC(subgroup=1, bpsn=0, bnsp=1)'

def test_a_device_is_read_once():
    with FakeTensorMode():
        for kwargs,classes in ((dict(), 2), (dict(ignore_index=2), 3)):
            with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): bias_auroc(rand(1000), randint(classes, 1000), randint(2, 1000) > 0, **kwargs)
            assert mode.n_ops > 40

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_real_gpu():
    rng = np.random.default_rng(0)
    s,y,sub = rng.normal(size=500).round(1),rng.integers(0, 2, 500),rng.integers(0, 2, 500)
    for subgroup in (sub, torch.tensor(sub).cuda()): check(s, y, sub, torch.tensor(s).cuda(), torch.tensor(y).cuda(), subgroup)

def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(0)
    s,y,sub = torch.rand(100),torch.randint(0, 2, (100,)),torch.rand(100) < .4
    kept = [o.clone() for o in (s, y, sub)]
    check(s.numpy(), y.numpy(), sub.numpy(), s, y, sub)
    assert all(torch.equal(a, b) for a,b in zip(kept, (s, y, sub)))
    check(s[::2].numpy(), y[::2].numpy(), sub[::2].numpy(), s[::2], y[::2], sub[::2])

# -- power means --

@steady
@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=20), st.sampled_from([-5, -1, -.5, .5, 1, 2, 5]))
def test_power_means(values, power):
    "As the competition's kernel has them; between the least and the greatest; all equal values stay"
    got = power_mean(values, power)
    assert type(got) is float and got == pytest.approx(np.power(np.sum(np.power(values, float(power)))/len(values), 1/power), rel=1e-12)
    assert min(values)*(1-1e-12) <= got <= max(values)*(1+1e-12)
    assert power_mean(values[:1]*5, power) == pytest.approx(values[0], rel=1e-12)

def test_special_power_means():
    assert power_mean([.25, 1], 0) == pytest.approx(.5)
    assert power_mean([0, 1]) == 0 and power_mean([0, 1], 0) == 0
    assert math.isnan(power_mean([nan, .5])) and power_mean(torch.tensor([.5, .5])) == pytest.approx(.5)
    assert power_mean(pd.Series([.5, .5])) == pytest.approx(.5)
    with pytest.raises(ValueError, match='power_mean needs values, got none'): power_mean([])

def exact_mean(values, power):
    with localcontext() as context:
        context.prec,context.Emax,context.Emin = 60,MAX_EMAX,MIN_EMIN
        return float((sum(Decimal(o)**Decimal(power) for o in values)/len(values))**(1/Decimal(power)))

@pytest.mark.parametrize('power', [-1e9, -2000, -5, -1e-6, -1e-12, 1e-12, .3, 2, 900, 1e9])
def test_power_means_of_any_size(power):
    "Powers would overflow, vanish, or all be near 1"
    for values in ([.8, .9], [.1, .9, .9], [1e-200, 3e-200], [1e200, 2e200], [1e-310, 1], [.7]*3):
        assert power_mean(values, power) == pytest.approx(exact_mean(values, power), rel=1e-12, abs=0)

def test_the_ends_of_power_means():
    assert power_mean([.3, .9, .4], -inf) == .3 and power_mean([.3, .9, .4], inf) == .9
    assert power_mean([0, .5], 2) == pytest.approx(.125**.5) and power_mean([0, 0], 2) == 0 and power_mean([inf, 1], -1) == 2
    assert power_mean([.2, .4], Fraction(1, 2)) == pytest.approx(power_mean([.2, .4], .5)) and math.isnan(power_mean([nan, .5], inf))

@pytest.mark.parametrize('power', ['-5', None, nan, True, [1]])
def test_what_is_no_power(power):
    with pytest.raises(ValueError, match=r'power must be a number, got '): power_mean([.5, .6], power)

def test_power_means_of_negative_values():
    for power in (-5, 0, 2):
        with pytest.raises(ValueError, match='power_mean needs values that are not negative, but 1 of 2 are'): power_mean([-.1, .5], power)

# -- the competition --

def jigsaw(df, subgroups, model, label):
    "The published kernel of the competition (Jigsaw Unintended Bias in Toxicity Classification), its functions in one"
    def compute_auc(y_true, y_pred): return roc_auc_score(y_true, y_pred)
    def subgroup_auc(o): return compute_auc(df[df[o]][label], df[df[o]][model])
    def bpsn_auc(o):
        examples = pd.concat([df[df[o] & ~df[label]], df[~df[o] & df[label]]])
        return compute_auc(examples[label], examples[model])
    def bnsp_auc(o):
        examples = pd.concat([df[df[o] & df[label]], df[~df[o] & ~df[label]]])
        return compute_auc(examples[label], examples[model])
    def mean_of(series, p=-5): return np.power(sum(np.power(series, p))/len(series), 1/p)
    bias_score = np.average([mean_of([f(o) for o in subgroups]) for f in (subgroup_auc, bpsn_auc, bnsp_auc)])
    return .25*compute_auc(df[label], df[model]) + (1-.25)*bias_score

@pytest.mark.parametrize('seed', range(10))
def test_the_competition(seed):
    rng = np.random.default_rng(seed)
    names = ['male', 'female', 'black', 'white', 'muslim']
    df = pd.DataFrame({o:rng.random(2000) < .2 for o in names})
    df['toxic'] = rng.random(2000) < .15
    df['model'] = 1/(1+np.exp(3 - 2*df.toxic - df[names].to_numpy() @ rng.normal(size=5) - rng.normal(size=2000)))
    biases = pd.DataFrame([bias_auroc(df.model, df.toxic, df[o]) for o in names])
    got = (auroc_score(df.model, df.toxic).item() + sum(power_mean(biases[o]) for o in BiasAUROC._fields))/4
    assert got == pytest.approx(jigsaw(df, names, 'model', 'toxic'), abs=1e-12)
