"Linear models and LibAUC's recipes in benchmarks/recipe_peers.py, against scikit-learn and brute force. Nothing is timed."
import math
from types import SimpleNamespace
import numpy as np, pytest, torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

@pytest.fixture
def peers(load_benchmark): return load_benchmark('recipe_peers')

def rows(n, columns, seed, share=.2):
    "Columns that shift with the class, float32, and targets"
    rng = np.random.default_rng(seed)
    y = np.arange(n) < share*n
    x = rng.normal(size=(n, columns)) + np.outer(y, np.linspace(.2, .8, columns))
    return torch.tensor(x).float(),torch.tensor(y).long()

def task_of(columns, seed=0):
    "Training rows, which are the validation rows, too, so that scores tell what was reached; and other test rows"
    x,y = rows(150, columns, seed)
    test_x,test_y = rows(90, columns, seed+1)
    return SimpleNamespace(train_x=x, train_y=y, valid_x=x, valid_y=y, test_x=test_x, test_y=test_y)

def trial(weight_decay=.01, seed=0): return SimpleNamespace(lr=.001, weight_decay=weight_decay, dropout=0., seed=seed)

# --- Linear models ---

def test_weight_decays_cover_the_strengths(peers):
    assert peers.inverse_strength(1e-4) == pytest.approx(1e2)
    assert peers.inverse_strength(1e-2) == pytest.approx(.1)
    assert peers.inverse_strength(1.) == pytest.approx(1e-4)

@pytest.mark.parametrize('weight_decay', [1e-4, 1e-2, 1.])
def test_logistic_is_the_minimum_of_the_penalised_loss(peers, weight_decay):
    "The gradient of C times the sum of the losses and half the squared norm is zero, and scores are scikit-learn's"
    task = task_of(4)
    model = peers.fit_logistic(task, trial(weight_decay))
    x = task.train_x.double().numpy()
    p = 1/(1 + np.exp(-(x @ model.coef_[0] + model.intercept_[0])))
    gradient = peers.inverse_strength(weight_decay)*((p - task.train_y.numpy()) @ x) + model.coef_[0]
    assert abs(gradient).max() < .01*max(1, peers.inverse_strength(weight_decay))
    (valid,test), = peers.logistic(task, trial(weight_decay))
    theirs = LogisticRegression(C=10**(-4 - 1.5*math.log10(weight_decay)), max_iter=2000).fit(x, task.train_y.numpy())
    for ours,x in ((valid, task.valid_x), (test, task.test_x)):
        expected = theirs.decision_function(x.double().numpy()) - theirs.intercept_[0]
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('name', ['line_search', 'line_search_after_logistic'])
def test_two_columns_reach_the_greatest_auroc_of_all_directions(peers, name, seed):
    task = task_of(2, seed)
    y = task.train_y.numpy()
    seen = [roc_auc_score(y, valid.numpy()) for valid,_ in getattr(peers, name)(task, trial(seed=seed))]
    assert seen == sorted(seen)
    x = task.train_x.double().numpy()
    gaps = (x[y == 1][:,None] - x[y == 0]).reshape(-1, 2)
    angles = np.linspace(0, 2*math.pi, 2000, endpoint=False)
    greatest = (gaps @ [np.cos(angles), np.sin(angles)] > 0).mean(0).max()
    assert seen[-1] >= greatest - 1e-9

@pytest.mark.parametrize('seed', range(3))
def test_search_starts_at_logistic_regression_and_never_falls(peers, seed):
    task = task_of(6, seed)
    (valid,test), = peers.logistic(task, trial())
    found = peers.line_search_after_logistic(task, trial())
    assert torch.equal(found[0][0], valid) and torch.equal(found[0][1], test)
    assert 1 < len(found) <= 12
    seen = [roc_auc_score(task.train_y.numpy(), scores.numpy()) for scores,_ in found]
    assert (np.diff(seen) > -1e-9).all() and seen[-1] > seen[0]
    assert all(test.shape == (90,) and test.dtype == torch.float64 for _,test in found)

def test_the_seed_of_a_trial_gives_the_random_start(peers):
    task = task_of(6)
    before = task.train_x.clone()
    first,again,other = (peers.line_search(task, trial(seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a[1], b[1]) for a,b in zip(first, again, strict=True))
    assert not torch.equal(first[0][1], other[0][1])
    assert torch.equal(task.train_x, before)

def test_a_perfect_start_is_the_end(peers):
    "No direction can raise an AUROC of 1: the start and what was there when the search ended"
    task = task_of(2)
    task.train_x[:,0] = task.valid_x[:,0] = task.train_y*10.
    found = peers.line_search_after_logistic(task, trial())
    assert len(found) == 2 and torch.equal(*(valid for valid,_ in found))

def test_a_sentence_says_that_libauc_is_missing(peers, monkeypatch):
    monkeypatch.setattr(peers, 'find_spec', lambda name: None)
    assert 'its recipes are left out' in peers.libauc_missing()
    monkeypatch.setattr(peers, 'find_spec', lambda name: 'there')
    assert peers.libauc_missing() == ''

# --- LibAUC ---

names = 'aucm_pesg','pairwise','partial_area','average_precision'

@pytest.fixture
def libauc_peers(peers):
    pytest.importorskip('libauc')
    return peers

@pytest.mark.parametrize('name', names)
def test_recipe_learns(libauc_peers, name):
    x,y = rows(600, 6, 0, .1)
    others,other_y = rows(2000, 6, 1, .1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    peer = getattr(libauc_peers, name)(model, y, .01, 1e-3, 120, 64, 0)
    def auroc():
        with torch.no_grad(): outputs = model(others)
        return roc_auc_score(other_y, outputs[:,1] - outputs[:,0])
    start = auroc()
    for step in range(120):
        numbers = next(peer.batches)
        loss = peer.loss(model(x[numbers]), y[numbers], numbers)
        assert loss.shape in ((), (1,)) and loss.isfinite().all()
        loss.backward()
        peer.optimizer.step()
        peer.optimizer.zero_grad()
        if step % 10 == 9: peer.after_epoch((step+1)/120)
    assert auroc() > max(start + .1, .72)

def test_batches_hold_the_share_of_positives_and_all_rows(libauc_peers):
    _,y = rows(500, 1, 0, .1)
    np.random.seed(7)
    batches = libauc_peers.dual_batches(y, 50, .2, 0)
    drawn = [next(batches) for _ in range(40)]
    assert all(o.dtype == torch.int64 and len(o) == 50 and y[o].sum() == 10 for o in drawn)
    assert set(torch.cat(drawn).tolist()) == set(range(500))
    after = np.random.random()
    np.random.seed(7)
    assert np.random.random() == after
    again = libauc_peers.dual_batches(y, 50, .2, 0)
    assert all(torch.equal(o, next(again)) for o in drawn)

def test_few_positives_are_repeated(libauc_peers):
    _,y = rows(500, 1, 0, .01)
    batches = libauc_peers.dual_batches(y, 128, .5, 0)
    assert all(y[next(batches)].sum() == 64 for _ in range(20))

@pytest.mark.parametrize('name', names)
def test_wrong_row_numbers_raise(libauc_peers, name):
    x,y = rows(100, 3, 0)
    model = nn.Linear(3, 2)
    peer = getattr(libauc_peers, name)(model, y, .01, 1e-3, 10, 20, 0)
    numbers = next(peer.batches)
    outputs = model(x[numbers])
    with pytest.raises(TypeError, match='int64, got torch.int32'): peer.loss(outputs, y[numbers], numbers.int())
    with pytest.raises(ValueError, match='each row needs its number'): peer.loss(outputs, y[numbers], numbers[:5])
    with pytest.raises(ValueError, match='not those of the training rows'): peer.loss(outputs, y[numbers], numbers.flip(0))
    with pytest.raises(ValueError, match='not those of the training rows'): peer.loss(outputs, y[numbers], numbers - 100)

def test_pesg_pulls_to_the_mean_of_the_weights_since_the_last_time(libauc_peers):
    x,y = rows(100, 3, 0)
    model = nn.Linear(3, 2)
    peer = libauc_peers.aucm_pesg(model, y, .01, 1e-3, 12, 20, 0)
    seen = []
    for step in range(12):
        numbers = next(peer.batches)
        peer.loss(model(x[numbers]), y[numbers], numbers).backward()
        peer.optimizer.step()
        peer.optimizer.zero_grad()
        seen.append(model.weight.detach().clone())
        peer.after_epoch((step+1)/12)
        if step+1 in (6, 9): torch.testing.assert_close(peer.optimizer.model_ref[0], torch.stack(seen[-6 if step == 5 else -3:]).mean(0))
    assert peer.optimizer.T == 3

def test_min_max_loss_is_the_published_one(libauc_peers):
    "Yuan et al. (2021): squares of both classes around their means, and the margin with its dual variable"
    x,y = rows(100, 3, 0)
    model = nn.Linear(3, 2)
    peer = libauc_peers.aucm_pesg(model, y, .01, 1e-3, 10, 20, 0)
    group = peer.optimizer.param_groups[0]
    for name,value in (('a', .3), ('b', .1), ('alpha', .7)): group[name].data.fill_(value)
    numbers = next(peer.batches)
    outputs = model(x[numbers])
    p = outputs.softmax(1)[:,1]
    positives,negatives = p[y[numbers] == 1],p[y[numbers] == 0]
    share = len(positives)/len(p)
    squares = (positives - .3).square().mean() + (negatives - .1).square().mean()
    expected = share*(1-share)*(squares + 1.4*(1 + negatives.mean() - positives.mean()) - .49)
    torch.testing.assert_close(peer.loss(outputs, y[numbers], numbers).squeeze(), expected)
