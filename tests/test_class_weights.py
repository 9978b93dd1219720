"Weights of classes and labels: against the definition of each column, on all paths, and what is no weight."
import copy, io, pickle, re
import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from functools import partial
from torch import nn
from torch._subclasses import FakeTensorMode
from fastai_auroc.batch_loss import _found_in_arrays
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.metric import AUROC
from test_device import NoWaiting

pytestmark = pytest.mark.usefixtures('one_thread')

# The definitions of one column, from all pairs and all thresholds

def gaps(s, t): return s[t][:,None] - s[~t]
def hinge_def(s, t): return (1-gaps(s, t)).relu().square().mean()
def auroc_def(s, t): return (-gaps(s, t)/.5).sigmoid().mean()
def aum_def(s, t):
    over = s[:,None] - s
    return (torch.relu(-over[t]).mean(0) + torch.relu(over[~t]).mean(0)).min()

losses = dict(hinge=(SquaredHingeAUCLoss, hinge_def), auroc=(partial(AUROCLoss, .5), auroc_def), aum=(partial(AUMLoss, 'macro', True), aum_def))
every_loss = pytest.mark.parametrize('name', losses)

def log_odds(z): return torch.stack([z[:,c] - torch.cat([z[:,:c], z[:,c+1:]], 1).logsumexp(1) for c in range(z.shape[1])], 1)

def weighted_mean(name, scores, positive, known, weight):
    "Of the columns that have both classes (AUM: positives), from their definitions"
    total,by = scores.sum()*0,0.
    for c,w in enumerate(weight):
        s,t = scores[known[:,c],c],positive[known[:,c],c]
        if not w or not t.any() or (t.all() and name != 'aum'): continue
        by += w
        if not t.all(): total = total + w*losses[name][1](s, t)
    return total/by if by else total

def of_classes(name, z, y, weight, ignore=None):
    known = torch.ones_like(y, dtype=torch.bool) if ignore is None else y != ignore
    positive = torch.stack([y == c for c in range(z.shape[1])], 1)
    if name == 'aum':
        present = [w*bool(positive[known,c].any()) for c,w in enumerate(weight)]
        weight = present
    return weighted_mean(name, log_odds(z), positive, known[:,None].expand(z.shape), weight)

def both(value, z): return value.detach(),torch.autograd.grad(value, z)[0]

def assert_same(got, want, **kwargs):
    for x,y in zip(got, want): torch.testing.assert_close(x, y, **kwargs)

weights = [[1., 2., 5., 1.], [0., 1., 3., 0.], [.25]*4, [1e-3, 1., 100., 7.], [0., 0., 0., 1.]]

@every_loss
@pytest.mark.parametrize('weight', weights, ids=str)
@pytest.mark.parametrize('n', [2, 5, 40, 300])
def test_classes(name, weight, n):
    "Value and gradient are the weighted mean over the classes that have both; some have none"
    loss = losses[name][0](weight=weight)
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(n, 4, generator=g, dtype=torch.float64).requires_grad_()
        y = torch.randint(0, 2 + seed % 3, (n,), generator=g)
        want = of_classes(name, z, y, torch.tensor(weight).double().tolist())
        assert_same(both(loss(z, y), z), both(want, z), rtol=1e-7, atol=1e-9)

@every_loss
@pytest.mark.parametrize('weight', weights[:2], ids=str)
def test_paths_agree(name, weight):
    "Arrays where a batch is plain, tensors else; both give the definition, also in float32"
    loss,z = losses[name][0](weight=weight),torch.randn(30, 4, requires_grad=True)
    y = torch.arange(30) % 4
    assert _found_in_arrays(loss, z, y) is not None
    want = both(of_classes(name, z.double(), y, weight).float(), z)
    assert_same(both(loss(z, y), z), want, rtol=1e-4, atol=1e-6)
    assert_same(both(loss._by_tensors(z, y), z), want, rtol=1e-4, atol=1e-6)

@every_loss
def test_many_rows(name):
    "Where columns are taken one by one"
    z,y = torch.randn(6000, 3, dtype=torch.float64).requires_grad_(),torch.randint(0, 3, (6000,))
    got = both(losses[name][0](weight=[1, 0, 3])(z, y), z)
    assert_same(got, both(of_classes(name, z, y, [1., 0, 3.]), z), rtol=1e-5, atol=1e-8)

@every_loss
def test_labels(name):
    "Many labels, some of them unknown; a column of one class does not count"
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(25, 3, generator=g, dtype=torch.float64).requires_grad_()
        y = torch.randint(-1, 2, (25, 3), generator=g)
        y[:,2] = 0 if seed % 2 else y[:,2]
        loss = losses[name][0](multilabel=True, ignore_index=-1, weight=[2, 1, 4])
        want = weighted_mean(name, z, y == 1, y >= 0, [2., 1., 4.])
        assert_same(both(loss(z, y), z), both(want, z), rtol=1e-7, atol=1e-9)

@every_loss
def test_pixels_and_ignored_labels(name):
    z,y = torch.randn(3, 3, 4, 5, dtype=torch.float64).requires_grad_(),torch.randint(0, 3, (3, 4, 5))
    y[0] = 255
    loss = losses[name][0](ignore_index=255, weight=[1, 2, 0])
    want = of_classes(name, z.movedim(1, -1).reshape(-1, 3), y.flatten(), [1., 2., 0.], 255)
    assert_same(both(loss(z, y), z), both(want, z), rtol=1e-7, atol=1e-9)

@every_loss
def test_rows(name):
    "One number a row, whose mean is the loss, and has its gradient"
    z,y = torch.randn(20, 4, requires_grad=True),torch.arange(20) % 4
    maker = losses[name][0]
    rows = maker(weight=weights[0], reduction='none')(z, y)
    assert rows.shape == (20,)
    assert_same(both(rows.mean(), z), both(maker(weight=weights[0])(z, y), z))

@every_loss
@pytest.mark.parametrize('factor', [.5, 3., 1e-20, 1e20])
def test_only_proportions_count(name, factor):
    z,y = torch.randn(20, 3, requires_grad=True),torch.arange(20) % 3
    maker,w = losses[name][0],np.array([1., 2, 4])
    assert_same(both(maker(weight=w*factor)(z, y), z), both(maker(weight=w)(z, y), z), rtol=1e-5, atol=1e-7)
    assert_same(both(maker(weight=[factor]*3)(z, y), z), both(maker()(z, y), z), rtol=1e-5, atol=1e-7)

@every_loss
def test_without_weight_nothing_has_changed(name):
    "weight=None takes the way it took, and a weight that is set to None again does, too"
    z,y = torch.randn(20, 3, requires_grad=True),torch.arange(20) % 3
    loss = losses[name][0](weight=[1, 2, 3])
    loss.weight = None
    assert loss(z, y).equal(losses[name][0]()(z, y)) and 'weight' not in repr(loss)

@every_loss
def test_classes_that_weigh_nothing(name):
    "The loss is 0 where all classes of a batch have weight 0, even of NaN; it stays NaN where one counts"
    z,y = torch.randn(12, 4, requires_grad=True),torch.arange(12) % 2
    for reduction in ('mean', 'none'):
        value,gradient = both(losses[name][0](weight=[0, 0, 1, 1], reduction=reduction)(z, y).sum(), z)
        assert value == 0 and not gradient.any()
    labels = (torch.arange(24).reshape(12, 2) % 3 > 0).long()
    z = torch.randn(12, 2)
    z[3,0] = torch.nan
    loss = losses[name][0](weight=[0, 1], multilabel=True)
    assert loss(z, labels).isfinite()
    loss.weight = [1, 1]
    assert loss(z, labels).isnan()

def test_derivatives_of_both_orders():
    for name in ('hinge', 'auroc'):
        loss = losses[name][0](weight=[1, 2, 0])
        z,y = torch.randn(9, 3, dtype=torch.float64, requires_grad=True),torch.arange(9) % 3
        for f in (loss, loss._by_tensors):
            assert torch.autograd.gradcheck(lambda z: f(z, y), z) and torch.autograd.gradgradcheck(lambda z: f(z, y), z)
        direction = torch.randn(9, 3, dtype=torch.float64)
        jvp = torch.func.jvp(lambda z: loss(z, y), (z.detach(),), (direction,))[1]
        torch.testing.assert_close(jvp, (torch.autograd.grad(loss(z, y), z)[0]*direction).sum())
        hessian = torch.autograd.functional.hessian(lambda z: loss(z, y), z.detach())
        torch.testing.assert_close(torch.func.hessian(lambda z: loss(z, y))(z.detach()), hessian)

@every_loss
def test_vmap(name):
    loss,z,y = losses[name][0](weight=[1, 2, 4]),torch.randn(3, 8, 3),torch.arange(8) % 3
    got = torch.func.vmap(torch.func.grad(lambda z: loss(z, y)))(z)
    for g,x in zip(got, z): torch.testing.assert_close(g, torch.autograd.grad(loss(x.requires_grad_(), y), x)[0])

# What is no weight

@every_loss
@pytest.mark.parametrize('weight', [[1, -1, 1], [0, 0, 0], [1, torch.nan, 1], [1, torch.inf, 1], [[1, 2, 3]], 2.])
def test_invalid(name, weight):
    with pytest.raises(ValueError, match='weight must be a list of numbers, none below 0 and not all 0, got'): losses[name][0](weight=weight)
    loss = losses[name][0]()
    with pytest.raises(ValueError, match='weight must be a list of numbers'): loss.weight = weight

@every_loss
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_wrong_number(name, reduction):
    z,y = torch.randn(9, 3),torch.arange(9) % 3
    told = 'weight must hold one number for each column: there are 3 columns, got 2'
    with pytest.raises(ValueError, match=told): losses[name][0](weight=[1, 2], reduction=reduction)(z, y)
    with pytest.raises(ValueError, match=told): losses[name][0](weight=[1, 2], reduction=reduction, multilabel=True)(z, (z > 0).long())

@every_loss
@pytest.mark.parametrize('shape', [(9,), (9, 1), (9, 2)])
@pytest.mark.parametrize('weight', [[1, 2], [3]])
def test_binary(name, shape, weight):
    "All pairs would weigh the same"
    with pytest.raises(ValueError, match='a binary task has one, in which each positive is compared with each negative.*omit weight'):
        losses[name][0](weight=weight)(torch.randn(shape), torch.arange(9) % 2)

def test_pooled():
    told = re.escape("weight is for average='macro': average='micro' makes one column of all classes")
    with pytest.raises(ValueError, match=told): AUMLoss(weight=[1, 2, 3])
    loss = AUMLoss('macro', weight=[1, 2, 3])
    loss.average = 'micro'
    with pytest.raises(ValueError, match=told): loss(torch.randn(9, 3), torch.arange(9) % 3)

# A module

@every_loss
def test_copies_and_dtypes(name):
    loss,z,y = losses[name][0](weight=(1, 2, 4)),torch.randn(9, 3),torch.arange(9) % 3
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    copies = copy.deepcopy(loss),pickle.loads(pickle.dumps(loss)),torch.load(file, weights_only=False)
    for res in (*copies, copy.deepcopy(loss).double(), copy.deepcopy(loss).half()):
        torch.testing.assert_close(res(z, y), loss(z, y), rtol=1e-6, atol=1e-7)
    assert loss.state_dict() == {} and 'weight=[1.0, 2.0, 4.0]' in repr(loss)
    assert loss.to('meta').weight.is_meta

@every_loss
def test_losses_saved_before(name):
    "Have no weight, and none is missed"
    loss,z,y = losses[name][0](),torch.randn(9, 3),torch.arange(9) % 3
    state = copy.deepcopy(vars(loss))
    del state['_buffers']['weight']
    old = type(loss).__new__(type(loss))
    old.__setstate__(state)
    assert old(z, y).equal(loss(z, y)) and old.weight is None

@every_loss
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_a_device_is_not_waited_for(name, reduction):
    "Weights are moved with the loss, as fastai does before a fit"
    loss = losses[name][0](weight=torch.ones(4), reduction=reduction)
    with FakeTensorMode() as mode:
        loss.weight = mode.from_tensor(loss.weight).to('cuda')
        z,y = torch.rand((64, 4), device='cuda', requires_grad=True),torch.randint(0, 4, (64,), device='cuda')
        with NoWaiting(): value = loss(z, y)
        assert value.device.type == 'cuda' and value.requires_grad

@every_loss
def test_compiled(name, compiler):
    loss,z,y = losses[name][0](weight=[1, 2, 4]),torch.randn(9, 3),torch.arange(9) % 3
    torch.testing.assert_close(torch.compile(loss, backend='eager')(z, y), loss(z, y))

@every_loss
def test_a_learner(name):
    y = torch.randint(0, 3, (300,))
    x = y.float()[:,None] + .5*torch.randn(300, 1)
    x = torch.cat([x, x.square()], 1)
    dls = DataLoaders(*[DataLoader(list(zip(x, y)), bs=50, shuffle=train) for train in (True, False)])
    learn = Learner(dls, nn.Linear(2, 3), loss_func=losses[name][0](weight=[1, 2, 1]), metrics=AUROC())
    with learn.no_bar(), learn.no_logging():
        learn.fit(5, lr=.1)
        p,_,of_rows = learn.get_preds(with_loss=True)
    assert learn.recorder.values[-1][-1] > .75 and p.shape == (300, 3) and of_rows.shape == (300,) and of_rows.isfinite().all()

def test_dice_keeps_its_errors():
    with pytest.raises(ValueError, match='one number for each column, and a binary task has one: there are 1 columns, got 2'):
        SoftDiceLoss(weight=[1, 2])(torch.randn(6, 2), torch.arange(6) % 2)

def test_weights_without_numbers_have_a_repr(): assert 'meta' in repr(AUROCLoss(weight=[1, 2, 3]).to('meta'))
