"Steps of the greatest AUROC along a half turn: against brute force, against logistic regression, and as an optimizer."
import copy, pickle, numpy as np, pandas as pd, pytest, torch
from shared_fixtures import data
from fastai.torch_core import set_seed
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_losses import aum_def
from torch import nn
from torch.testing import assert_close
from fastai_auroc.linesearch import AUMLineSearch

pytestmark = pytest.mark.usefixtures('one_thread')

# One step

average_of = dict(binary=1, micro=3, macro=3)

def problem(k=1, n=60, d=4, seed=0, noise=1., dtype=torch.float32):
    "Rows and their classes, with some noise"
    g = torch.manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    z = x @ torch.randn(d, max(k, 2), generator=g, dtype=torch.float64) + noise*torch.randn(n, max(k, 2), generator=g, dtype=torch.float64)
    return (x + .5).to(dtype),z.argmax(1)

def linear(d, k=1, bias=True, seed=0, dtype=torch.float32):
    set_seed(seed)
    return nn.Linear(d, k, bias=bias, dtype=dtype)

def rows_of(s, y, average):
    "The questions: scores and positives of each"
    s = s.detach().double()
    if average == 'binary': return [(s.flatten(), y > 0)]
    onehot = nn.functional.one_hot(y, s.shape[1]) > 0
    return [(s.flatten(), onehot.flatten())] if average == 'micro' else list(zip(s.T, onehot.T))

def aum_of(s, y, average): return torch.stack([aum_def(*o) for o in rows_of(s, y, average) if o[1].any()]).mean()

def auroc_of(s, y, average):
    "Mean of scikit-learn's AUROC over the questions with both classes"
    return np.mean([roc_auc_score(p, o) for o,p in rows_of(s, y, average) if 0 < p.sum() < len(p)])

def values_of(model): return [p.detach().clone() for p in model.parameters()]

def same(model, values): return all(p.equal(v) for p,v in zip(model.parameters(), values))

def vector_of(model): return nn.utils.parameters_to_vector(model.parameters()).detach()

def greatest_in_plane(x, y, model, w, v, average):
    "The greatest AUROC of a half turn from `w` through `v` to `-w`, of the middles between neighbouring crossings"
    other = copy.deepcopy(model)
    def scores(u):
        nn.utils.vector_to_parameters(u.clone(), other.parameters())
        return other(x).detach()
    d = v - (v @ w)/(w @ w)*w
    def gaps(s): return [(o[p][:,None] - o[~p]).flatten().numpy() for o,p in rows_of(s, y, average)]
    pairs = gaps(scores(w)),gaps(scores(d/d.norm()*w.norm()))
    crossings = np.unique(np.concatenate([[0, np.pi], *(np.arctan2(a, -b) % np.pi for a,b in zip(*pairs))]))
    def auroc(t): return np.mean([np.sign(a*np.cos(t) + b*np.sin(t)).mean()/2 + .5 for a,b in zip(*pairs) if len(a)])
    wide = np.diff(crossings) > 1e-12  # crossings at one place differ by rounding
    return max(auroc(t) for t in ((crossings[1:]+crossings[:-1])/2)[wide])

every_average = pytest.mark.parametrize('average', average_of)

@every_average
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('seed', range(3))
def test_step_by_brute_force(average, bias, seed):
    "AUROC after a step is the greatest in the plane of old and new parameters; norm, angle and both numbers are as said"
    x,y = problem(k := average_of[average], n=36 if k == 1 else 15, seed=seed, noise=3., dtype=torch.float64)
    model = linear(4, k, bias, seed, torch.float64)
    opt = AUMLineSearch(model.parameters(), average)
    for i in range(20):
        w,before = vector_of(model),auroc_of(model(x), y, average)
        value = opt.step(lambda: (model(x), y))
        v,after = vector_of(model),auroc_of(model(x), y, average)
        assert_close(torch.tensor(value, dtype=torch.float64), aum_of(model(x), y, average), rtol=1e-9, atol=1e-12)
        assert abs(opt.auroc - after) < 1e-12
        if not opt.size: break
        assert after > before and abs(after - greatest_in_plane(x, y, model, w, v, average)) < 1e-9
        assert_close(v.norm(), w.norm(), rtol=1e-12, atol=0)
        assert_close(torch.tensor(opt.size, dtype=torch.float64), torch.arccos((v @ w)/(w @ w)), rtol=1e-6, atol=1e-7)
    assert i >= 2 and opt.size == 0 and v.equal(w)

def test_step_of_whole_numbers():
    "Many rows and crossings coincide"
    g = torch.manual_seed(5)
    x,y = torch.randint(-2, 3, (80, 3), generator=g).double(),torch.randint(2, (80,), generator=g)
    model = linear(3, bias=False, dtype=torch.float64)
    with torch.no_grad(): model.weight.copy_(torch.tensor([1., -2, 1]))
    opt = AUMLineSearch(model.parameters())
    w,before = vector_of(model),auroc_of(model(x), y, 'binary')
    opt.step(lambda: (model(x), y))
    after = auroc_of(model(x), y, 'binary')
    assert after > before and abs(after - greatest_in_plane(x, y, model, w, vector_of(model), 'binary')) < 1e-9

@pytest.mark.parametrize('outlier', [None, 1e4])
def test_step_with_many_pairs(outlier, monkeypatch):
    "Where not all crossings are sorted, AUROC is within .0005 of the greatest, also with a column of a heavy tail"
    x,y = problem(n=300, noise=3., dtype=torch.float64)
    if outlier: x[:5,0] *= outlier
    model = linear(4, dtype=torch.float64)
    w,opt = vector_of(model),AUMLineSearch(model.parameters())
    monkeypatch.setattr('fastai_auroc.linesearch._max_pairs', 100)
    opt.step(lambda: (model(x), y))
    found,best = auroc_of(model(x), y, 'binary'),greatest_in_plane(x, y, model, w, vector_of(model), 'binary')
    assert best - 5e-4 <= found <= best + 1e-12

@every_average
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_many_steps(average, bias, dtype):
    "AUROC never falls, and the norm stays"
    x,y = problem(k := average_of[average], n=120, seed=2, dtype=dtype)
    model = linear(4, k, bias, 1, dtype)
    opt,norm,areas = AUMLineSearch(model.parameters(), average),vector_of(model).norm(),[auroc_of(model(x), y, average)]
    for _ in range(60):
        value = opt.step(lambda: (model(x), y))
        areas.append(auroc_of(model(x), y, average))
        assert abs(value - aum_of(model(x), y, average)) <= 1e-6
        if not opt.size: break
    assert (np.diff(areas) >= 0).all() and areas[-1] > areas[0] + .1 and opt.size == 0
    assert_close(vector_of(model).norm(), norm, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0)
    assert all(p.dtype == dtype and p.requires_grad and p.is_leaf for p in model.parameters())

@pytest.mark.parametrize('scale', [1e-9, 1e6])
def test_scale(scale):
    "Parameters or columns of another scale end at the same AUROC"
    x,y = problem(n=200, noise=2., dtype=torch.float64)
    areas = []
    for of_weights,of_rows in ((1., 1.), (scale, 1.), (1., scale)):
        model = linear(4, bias=False, dtype=torch.float64)
        model.weight.data *= of_weights
        opt = AUMLineSearch(model.parameters())
        for _ in range(10): opt.step(lambda: (model(x*of_rows), y))
        areas.append(opt.auroc)
    goal = roc_auc_score(y, LogisticRegression().fit(x, y).decision_function(x))
    assert min(areas) > goal - 1e-3 and np.ptp(areas) < 1e-3

@every_average
def test_separable(average):
    k = average_of[average]
    x,y = problem(k, n=60, d=3 if k == 1 else 6, noise=0.)
    if k > 1: x = torch.cat([x, 4*nn.functional.one_hot(y, k).float()], 1)
    model = linear(x.shape[1], k)
    opt = AUMLineSearch(model.parameters(), average)
    value = min(opt.step(lambda: (model(x), y)) for _ in range(300))
    assert value == aum_of(model(x), y, average) == 0
    assert all(roc_auc_score(p, s) == 1 for s,p in rows_of(model(x), y, average))
    kept = values_of(model)
    assert opt.step(lambda: (model(x), y)) == 0 and opt.size == 0 and opt.auroc == 1 and same(model, kept)

@pytest.mark.parametrize('dtype', [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.float32], ids=str)
@every_average
def test_dtypes_of_targets(average, dtype):
    "Unsigned integers, which PyTorch cannot compare, are labels like any"
    x,y = problem(k := average_of[average])
    given = y if k == 1 or dtype not in (torch.bool, torch.float32) else nn.functional.one_hot(y, k)
    models = linear(4, k),linear(4, k)
    opts = [AUMLineSearch(m.parameters(), average) for m in models]
    for _ in range(3): assert opts[0].step(lambda: (models[0](x), given.to(dtype))) == opts[1].step(lambda: (models[1](x), given))
    assert same(models[0], values_of(models[1])) and opts[0].auroc > .5

def test_two_outputs():
    "Their difference is a linear score"
    x,y = problem()
    model = linear(4, 2)
    opt = AUMLineSearch(model.parameters())
    def scores():
        z = model(x)
        return z[:,1]-z[:,0]
    goal = roc_auc_score(y, LogisticRegression().fit(x, y).decision_function(x))
    for _ in range(30): opt.step(lambda: (scores(), y))
    assert abs(opt.auroc - auroc_of(scores(), y, 'binary')) < 1e-12 and opt.auroc > goal - .01

def test_one_column():
    "Scores of shape (n, 1) are those of shape (n,)"
    x,y = problem()
    models = linear(4),linear(4)
    opts = [AUMLineSearch(m.parameters()) for m in models]
    for _ in range(5): assert opts[0].step(lambda: (models[0](x), y)) == opts[1].step(lambda: (models[1](x)[:,0], y[:,None]))
    assert same(models[0], values_of(models[1]))

def test_one_parameter():
    "A column of the wrong sign is turned round, one of the right sign stays"
    x,y = problem(d=1)
    right = roc_auc_score(y, x[:,0])
    for sign in (-1., 1.):
        w = torch.tensor([sign if right > .5 else -sign], requires_grad=True)
        opt = AUMLineSearch([w])
        opt.step(lambda: (x @ w, y))
        assert abs(opt.auroc - max(right, 1-right)) < 1e-12 and w.abs() == 1 and (opt.size > 0) == (sign < 0)

@pytest.mark.parametrize('max_pairs', [2**20, 100], ids=['sorted', 'searched'])
@pytest.mark.parametrize('column', [1, 2], ids=['one', 'doubled'])
@pytest.mark.parametrize('seed', range(11))
def test_no_auroc_of_rounding(seed, column, max_pairs, monkeypatch):
    "Where weights cancel, the order of float32 scores is that of their rounding: AUROC is that of the weights in float64"
    monkeypatch.setattr('fastai_auroc.linesearch._max_pairs', max_pairs)
    torch.manual_seed(seed)
    y = torch.arange(500) % 3 == 0
    x = y[:,None].float() + torch.randn(500, 1)
    best = roc_auc_score(y, x)
    x = torch.cat([x, 2*x][:column], 1)
    model = nn.Linear(column, 1)
    opt = AUMLineSearch(model.parameters())
    for _ in range(10):
        opt.step(lambda: (model(x), y))
        if not opt.size: break
    w,b = (p.detach().double() for p in model.parameters())
    assert abs(opt.auroc - roc_auc_score(y, x.double() @ w[0] + b)) < 1e-12 and abs(opt.auroc - best) < 1e-12

# Against logistic regression

def caravan():
    df = pd.read_csv(data/'caravan.csv.gz')
    x = df.drop(columns='CARAVAN').apply(lambda o: o if o.dtype.kind in 'if' else o.astype('category').cat.codes)
    return x.values,df.CARAVAN.values

def half_of_adult():
    df = pd.read_csv(data/'adult.csv.gz', index_col=0, skipinitialspace=True)[::2]
    columns = ['age','education-num','hours-per-week','capital-gain','capital-loss']
    return df[columns].values,(df.income == '>50K').astype(int).values

def cancer(k=30):
    x,y = load_breast_cancer(return_X_y=True)
    return x[:,:k],y

tables = dict(adult=half_of_adult, caravan=caravan, cancer=cancer, cancer5=lambda: cancer(5))

@pytest.fixture(scope='module', params=tables)
def table(request):
    "Standardised columns, labels, logistic regression of them, and its AUROC"
    x,y = tables[request.param]()
    x = StandardScaler().fit_transform(x)
    by_logistic = LogisticRegression(max_iter=2000).fit(x, y)
    return torch.tensor(x).float(),torch.tensor(y),by_logistic,roc_auc_score(y, by_logistic.decision_function(x))

@pytest.mark.parametrize('seed', range(4))
def test_random_start(table, seed):
    "In a hundred steps within .01 of logistic regression, without a step down, from starts of either size"
    x,y,_,goal = table
    torch.manual_seed(seed)
    model = nn.Linear(x.shape[1], 1)
    if seed % 2: nn.init.normal_(model.weight)
    opt,areas = AUMLineSearch(model.parameters()),[roc_auc_score(y, model(x).detach()[:,0])]
    for _ in range(100):
        opt.step(lambda: (model(x)[:,0], y))
        areas.append(roc_auc_score(y, model(x).detach()[:,0]))
        if not opt.size: break
    assert areas[-1] >= goal - .01 and np.diff(areas).min() >= -1e-12

@pytest.mark.parametrize('sign', [1, -1], ids=['from', 'against'])
def test_start_at_logistic_regression(table, sign):
    "No loss, and from the opposite none in a few steps"
    x,y,by_logistic,goal = table
    model = nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(sign*by_logistic.coef_))
        model.bias.copy_(torch.from_numpy(sign*by_logistic.intercept_))
    opt = AUMLineSearch(model.parameters())
    for _ in range(5): opt.step(lambda: (model(x)[:,0], y))
    assert roc_auc_score(y, model(x).detach()[:,0]) >= goal - 1e-5

def test_heavy_tails():
    "Columns of other units, two of them with heavy tails, do not lead astray"
    x,y = half_of_adult()
    goal = roc_auc_score(y, LogisticRegression(max_iter=5000).fit(x, y).decision_function(x))
    x,y = torch.tensor(x).float(),torch.tensor(y)
    for seed in range(2):
        torch.manual_seed(seed)
        w = torch.randn(5).requires_grad_()
        opt = AUMLineSearch([w])
        for _ in range(20): opt.step(lambda: (x @ w, y))
        assert roc_auc_score(y, (x @ w).detach()) >= goal - .01

def test_three_classes():
    "Macro: no class loses against logistic regression by more than the mean of .01"
    x,y = problem(3, n=900, d=6, noise=2.)
    goal = np.mean([roc_auc_score(y == c, LogisticRegression().fit(x, y == c).decision_function(x)) for c in range(3)])
    model = linear(6, 3)
    opt = AUMLineSearch(model.parameters(), 'macro')
    for _ in range(15): opt.step(lambda: (model(x), y))
    assert auroc_of(model(x), y, 'macro') >= goal - .01

# Use as an optimizer

@pytest.mark.parametrize('bs', [40, 32], ids=['even', 'uneven'])
def test_batches(bs):
    "Each step may have rows of its own, and fewer in the last batch"
    x,y = problem(n=160, d=5)
    model = linear(5)
    opt,before = AUMLineSearch(model.parameters()),auroc_of(model(x), y, 'binary')
    for _ in range(3):
        for i in torch.randperm(160).split(bs+1 if bs == 32 else bs): opt.step(lambda: (model(x[i]), y[i]))
    assert all(p.isfinite().all() for p in model.parameters()) and auroc_of(model(x), y, 'binary') > before + .1

def further(opt, model, x, y, n=4): return [opt.step(lambda: (model(x), y)) for _ in range(n)]

def test_state_dict():
    "Goes on where it was"
    x,y = problem(seed=3, dtype=torch.float64)
    model = linear(4, dtype=torch.float64)
    opt = AUMLineSearch(model.parameters())
    further(opt, model, x, y)
    other = copy.deepcopy(model)
    again = AUMLineSearch(other.parameters())
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert further(again, other, x, y) == further(opt, model, x, y) and same(model, values_of(other))

@pytest.mark.parametrize('how', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['copy', 'pickle'])
def test_copies(how):
    "An optimizer and its model, copied together, go on alike"
    x,y = problem(seed=3)
    model = linear(4)
    opt = AUMLineSearch(model.parameters())
    further(opt, model, x, y)
    other,again = how((model, opt))
    assert again.average == 'binary' and again.size == opt.size
    assert further(again, other, x, y) == further(opt, model, x, y) and same(model, values_of(other))

def test_groups():
    "Several groups of parameters are one vector, and stay where they lie"
    x,y = problem(seed=3)
    one,other = linear(4),linear(4)
    opts = AUMLineSearch(one.parameters()),AUMLineSearch([dict(params=[other.weight]), dict(params=[other.bias])])
    at = [p.data_ptr() for p in other.parameters()]
    assert further(opts[0], one, x, y) == further(opts[1], other, x, y) and same(one, values_of(other))
    assert at == [p.data_ptr() for p in other.parameters()]

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    "AUROC of the rounded scores rises and never falls"
    x,y = problem(n=200, dtype=dtype)
    model = linear(4, dtype=dtype)
    opt,areas = AUMLineSearch(model.parameters()),[auroc_of(model(x), y, 'binary')]
    for _ in range(10):
        opt.step(lambda: (model(x), y))
        areas.append(auroc_of(model(x), y, 'binary'))
    assert np.diff(areas).min() >= 0 and areas[-1] > areas[0] + .1

def test_one_class_first():
    "A batch without negatives teaches nothing, and the next one is checked all the same"
    x,y = problem()
    model,net = linear(4),network()
    opt = AUMLineSearch(model.parameters())
    opt.step(lambda: (model(x), torch.ones_like(y)))
    assert opt.size == 0 and np.isnan(opt.auroc)
    opt.step(lambda: (model(x), y))
    assert opt.size > 0
    opt = AUMLineSearch(net.parameters())
    opt.step(lambda: (net(x), torch.ones_like(y)))
    with pytest.raises(ValueError, match='linear in the parameters'): opt.step(lambda: (net(x), y))

def test_unused_parameters():
    "Those that the scores do not depend on do no harm"
    x,y = problem()
    one,other,spare = linear(4),linear(4),nn.Parameter(torch.ones(3))
    assert np.allclose(further(AUMLineSearch([*one.parameters(), spare]), one, x, y), further(AUMLineSearch(other.parameters()), other, x, y))
    assert spare.equal(torch.ones(3))

@pytest.mark.parametrize('frozen', ['weight', 'bias'])
def test_frozen_parameters(frozen):
    "What must not move does not: it is refused by a `ValueError`"
    x,y = problem()
    model = linear(4)
    getattr(model, frozen).requires_grad_(False)
    kept = values_of(model)
    with pytest.raises(ValueError): AUMLineSearch(model.parameters()).step(lambda: (model(x), y))
    assert same(model, kept)

@pytest.mark.parametrize('classes', [0, 1])
@every_average
def test_one_class(average, classes):
    "Nothing to learn: 0, and the parameters stay"
    x,y = problem()
    model = linear(4, average_of[average])
    y = torch.full_like(y, classes)
    targets = y if average == 'binary' else torch.full((len(y), 3), classes)
    opt,kept = AUMLineSearch(model.parameters(), average),values_of(model)
    value = opt.step(lambda: (model(x), targets))
    assert type(value) is float and value == 0 and same(model, kept)

# Errors, after which the parameters are what they were

def network(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
def constant(bias):
    model = linear(4)
    nn.init.zeros_(model.weight)
    nn.init.constant_(model.bias, bias)
    return model
def shifted():
    model = linear(4)
    nn.init.constant_(model.bias, 2.)
    return model

wrong = dict(network=(network, 'linear in the parameters'), offset=(shifted, 'give it all parameters'), columns=(lambda: linear(4, 2), r'shape \(61, 2\)'),
    sigmoid=(lambda: nn.Sequential(linear(4), nn.Sigmoid()), 'return the outputs unchanged'), zeros=(lambda: constant(0.), 'all scores are the same'),
    constant=(lambda: constant(.1), 'all scores are the same'), large=(lambda: constant(-7.7e5), 'all scores are the same'))

@pytest.mark.parametrize('name', wrong)
def test_errors(name):
    x,y = problem(n=61)
    make,text = wrong[name]
    set_seed(1)
    model = make()
    opt,kept = AUMLineSearch([model.weight] if name == 'offset' else model.parameters()),values_of(model)
    with pytest.raises(ValueError, match=text): opt.step(lambda: (model(x), y))
    assert same(model, kept)

marks = dict(unlabelled=('binary', -100, 'must be 0 or 1'), third=('binary', 2, 'must be 0 or 1'), missing=('binary', torch.nan, 'some are NaN'),
    no_class=('macro', -100, 'class numbers from 0 to 2'))

@pytest.mark.parametrize('name', marks)
def test_rows_without_a_label(name):
    "The message names no argument that AUMLineSearch does not have"
    average,mark,text = marks[name]
    x,y = problem(k := average_of[average])
    model = linear(4, k)
    y = y.float() if mark != mark else y
    y[:2] = mark
    with pytest.raises(ValueError, match=f'{text}.*: the closure must leave such rows out$') as e:
        AUMLineSearch(model.parameters(), average).step(lambda: (model(x), y))
    assert 'ignore_index' not in str(e.value) and 'nan_to_num' not in str(e.value)

def test_unknown_average():
    with pytest.raises(ValueError, match="'binary', 'micro' or 'macro', got 'weighted'"): AUMLineSearch(linear(4).parameters(), 'weighted')

def test_error_of_the_closure():
    "The parameters are back also where the closure itself fails along the way"
    x,y = problem()
    model,calls = linear(4),[]
    kept = values_of(model)
    def closure():
        calls.append(0)
        if len(calls) == 2: raise KeyError('rows')
        return model(x),y
    with pytest.raises(KeyError): AUMLineSearch(model.parameters()).step(closure)
    assert same(model, kept)
