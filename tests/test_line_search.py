"Steps of exactly the best length for AUM: against brute force over all crossings, on separable data, and against SGD."
import copy, pickle, numpy as np, pytest, torch
from fastai.torch_core import set_seed
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_losses import aum_def
from torch import nn
from torch.testing import assert_close
from fastai_auroc.linesearch import AUMLineSearch, _least
from fastai_auroc.losses import aum

pytestmark = pytest.mark.usefixtures('one_thread')

# The least value of straight pieces

def pieces(slopes, offsets):
    "The largest of straight lines, as `_least` looks at it, and where it looked"
    a,b,looks = np.asarray(slopes, float),np.asarray(offsets, float),[]
    def look(x):
        looks.append(x)
        i = (a*x + b).argmax()
        return a[i]*x + b[i],a[i],looks[-1]
    return look,looks

def least_by_kinks(slopes, offsets):
    "The least value from 0 on: it is at 0 or where two lines meet"
    a,b = np.asarray(slopes, float),np.asarray(offsets, float)
    i,j = np.triu_indices(len(a), 1)
    with np.errstate(all='ignore'): x = (b[j]-b[i])/(a[i]-a[j])
    x = np.r_[0, x[np.isfinite(x) & (x > 0)]]
    return (x[:,None]*a + b).max(1).min()

def random_lines(k, seed, scale=1.):
    "Lines that fall at 0 and rise in the end"
    rng = np.random.default_rng(seed)
    a,b = rng.normal(size=k),rng.normal(size=k)
    a[b.argmax()],a[b.argmin()] = -abs(a[b.argmax()]) - .1,abs(a[b.argmin()]) + .1
    return a,b*scale

@pytest.mark.parametrize('scale', [1e-6, 1., 1e6])
@pytest.mark.parametrize('k', [2, 3, 10, 100])
def test_least(k, scale):
    "Exact, in 30 looks besides one for each doubling"
    for seed in range(40):
        a,b = random_lines(k, seed, scale)
        look,looks = pieces(a, b)
        x,value,more = _least(look)
        slack = dict(rtol=1e-9, atol=1e-14*max(1, scale))
        assert np.isclose(value, least_by_kinks(a, b), **slack) and np.isclose((a*x + b).max(), value, **slack)
        assert more in looks and look(more)[1] >= 0
        assert len(looks) <= 30 + max(0, np.log2(max(looks)))

far = [([-1, 1], [0, -2e6], 1e6), ([-1, 0, 1], [0, -1e6, -3e6], None), ([-3, 2], [1, 1], 0.), ([-1, 1], [1e6, -1e6], 1e6), ([-1, 1e6], [0, -1e6], None)]
flat = [([-1, 0, 1], [0, -1, -5], None), ([0, 1], [0, -1], 0.), ([-1, 0], [0, -3], None), ([-1, 0], [1, 0], None), ([0, 0], [2, 2], None)]
ties = [([-1, -1, 1, 1], [0, 0, -4, -4], 2.), ([-2, -1, 0, 1, 2], [2, 1, 0, -1, -2], 1.), ([-1]*50 + [1]*50, [3]*50 + [-3]*50, 3.)]
start = [([1, 2], [0, -1], 0.), ([3], [7], 0.), ([-1, 1e-9], [-5, 0], 0.), ([.5, 4], [1, -9], 0.), ([-5, 1], [0, 0], 0.)]

@pytest.mark.parametrize('slopes,offsets,at', far + flat + ties + start)
def test_least_at_the_edges(slopes, offsets, at):
    "Far away, with a flat bottom, with ties and at the start; in few looks each"
    look,looks = pieces(slopes, offsets)
    x,value,_ = _least(look)
    assert np.isclose(value, least_by_kinks(slopes, offsets), rtol=1e-9, atol=1e-12) and x >= 0
    assert at is None or np.isclose(x, at, rtol=1e-9, atol=1e-12)
    assert len(looks) <= 40

def test_least_with_a_steep_end():
    "Two thousand pieces that grow exponentially"
    t = np.linspace(0, 1, 2000)
    a,b = np.r_[-1, 40*np.exp(40*t)],np.r_[0, np.exp(40*t)*(1-40*t) - 5]
    look,looks = pieces(a, b)
    assert np.isclose(_least(look)[1], least_by_kinks(a[:120], b[:120]), rtol=1e-9) and len(looks) <= 80

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

def sd_of(s, y, average): return torch.cat([o - o.mean() for o,_ in rows_of(s, y, average)]).square().mean().sqrt()

def values_of(model): return [p.detach().clone() for p in model.parameters()]

def same(model, values): return all(p.equal(v) for p,v in zip(model.parameters(), values))

every_average = pytest.mark.parametrize('average', average_of)

@every_average
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('seed', range(3))
def test_step_by_brute_force(average, bias, seed):
    "The length is where AUM is least of all places where two scores cross; value and standard deviation are as said"
    x,y = problem(k := average_of[average], n=36 if k == 1 else 15, seed=seed, noise=3., dtype=torch.float64)
    model = linear(4, k, bias, seed, torch.float64)
    opt,seen = AUMLineSearch(model.parameters(), average),[]
    def closure():
        seen.append(model(x))
        return seen[-1],y
    for i in range(6):
        seen.clear()
        value = opt.step(closure)
        if not value: break  # nothing is left to be gained
        s,along = seen[0].detach(),seen[1].detach()  # first at the start, then along the direction
        crossings = [torch.zeros(1, dtype=torch.float64)]
        for (a,_),(b,_) in zip(rows_of(s, y, average), rows_of(along, y, average)):
            j,l = torch.triu_indices(len(a), len(a), 1)
            c = (a[j]-a[l])/(b[l]-b[j])
            crossings.append(c[c.isfinite() & (c > 0)])
        values = torch.stack([aum_of(s + c*along, y, average) for c in torch.cat(crossings)])
        assert_close(aum_of(s + opt.size*along, y, average), values.min(), rtol=1e-9, atol=1e-12)
        near = torch.cat(crossings)[values <= values.min() + 1e-10]
        assert (near.min()*(1-1e-6) - 1e-9) <= opt.size <= (near.max()*(1+1e-6) + 1e-9)
        assert_close(torch.tensor(value, dtype=torch.float64), aum_of(model(x), y, average), rtol=1e-9, atol=1e-12)
        assert_close(sd_of(model(x), y, average), sd_of(s, y, average), rtol=1e-9, atol=0)
        if not i: assert opt.size > 0 and value < aum_of(s, y, average)
    assert i >= 2

@every_average
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_many_steps(average, bias, dtype):
    "AUM over the standard deviation never rises, and falls far; what is returned is AUM"
    x,y = problem(k := average_of[average], n=120, seed=2, dtype=dtype)
    model,slack = linear(4, k, bias, 1, dtype),1e-5 if dtype == torch.float32 else 1e-9
    opt = AUMLineSearch(model.parameters(), average)
    sd,ratios = sd_of(model(x), y, average),[]
    for _ in range(60):
        ratios.append(aum_of(model(x), y, average)/sd_of(model(x), y, average))
        value = opt.step(lambda: (model(x), y))
        assert abs(value - aum_of(model(x), y, average)) <= slack*sd
        assert_close(sd_of(model(x), y, average), sd, rtol=60*slack, atol=0)
    assert (torch.stack(ratios).diff() <= slack).all() and ratios[-1] < .6*ratios[0]
    assert all(p.dtype == dtype and p.requires_grad and p.is_leaf for p in model.parameters())

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
    assert opt.step(lambda: (model(x), y)) == 0 and same(model, kept)

def test_two_outputs():
    "Their difference is a linear score"
    x,y = problem()
    model = linear(4, 2)
    opt = AUMLineSearch(model.parameters())
    def scores():
        z = model(x)
        return z[:,1]-z[:,0]
    first = aum_of(scores(), y, 'binary')
    for _ in range(30): value = opt.step(lambda: (scores(), y))
    assert np.isclose(value, aum_of(scores(), y, 'binary'), rtol=1e-4) and value < .7*first

def test_one_column():
    "Scores of shape (n, 1) are those of shape (n,)"
    x,y = problem()
    models = linear(4),linear(4)
    opts = [AUMLineSearch(m.parameters()) for m in models]
    for _ in range(5): assert opts[0].step(lambda: (models[0](x), y)) == opts[1].step(lambda: (models[1](x)[:,0], y[:,None]))
    assert same(models[0], values_of(models[1]))

# Against SGD

@pytest.fixture(scope='module')
def cancer():
    "Five features of scikit-learn's breast cancer data"
    x,y = load_breast_cancer(return_X_y=True)
    return torch.tensor(StandardScaler().fit_transform(x[:,:5])).float(),torch.tensor(y)

@pytest.mark.parametrize('seed', range(2))
def test_against_sgd(seed, cancer):
    "100 steps are at least as good as 1,000 of SGD at the best of its learning rates, in AUM for scores of standard deviation one"
    x,y = cancer
    def ratio(model): return (aum_of(model(x), y, 'binary')/sd_of(model(x), y, 'binary')).item()
    searched = linear(5, seed=seed)
    start,opt = ratio(searched),AUMLineSearch(searched.parameters())
    for _ in range(100): opt.step(lambda: (searched(x), y))
    by_sgd = []
    for lr in (.01, .1, 1.):
        model = linear(5, seed=seed)
        sgd = torch.optim.SGD(model.parameters(), lr=lr)
        for _ in range(1000):
            sgd.zero_grad()
            aum(model(x), y).backward()
            sgd.step()
        by_sgd.append(ratio(model))
    assert min(by_sgd) < .5*start and ratio(searched) <= min(by_sgd)*1.001
    assert roc_auc_score(y, searched(x).detach()[:,0]) > .98

# Use as an optimizer

@pytest.mark.parametrize('bs', [40, 32], ids=['even', 'uneven'])
def test_batches(bs, cancer):
    "Each step may have rows of its own, and fewer in the last batch"
    x,y = (o[:160] for o in cancer)
    model = linear(5)
    opt,before = AUMLineSearch(model.parameters()),aum_of(model(x), y, 'binary')
    for _ in range(3):
        for i in torch.randperm(160).split(bs+1 if bs == 32 else bs): opt.step(lambda: (model(x[i]), y[i]))
    assert all(p.isfinite().all() for p in model.parameters()) and aum_of(model(x), y, 'binary') < before

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

def test_unused_parameters():
    "Those that the scores do not depend on do no harm"
    x,y = problem()
    one,other,spare = linear(4),linear(4),nn.Parameter(torch.ones(3))
    assert np.allclose(further(AUMLineSearch([*one.parameters(), spare]), one, x, y), further(AUMLineSearch(other.parameters()), other, x, y))
    assert spare.isfinite().all()

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
    sigmoid=(lambda: nn.Sequential(linear(4), nn.Sigmoid()), 'outputs as they are'), zeros=(lambda: constant(0.), 'all scores are the same'),
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
