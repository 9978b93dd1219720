"Infinite outputs: what they make of each loss by definition, on the CPU and as on a device."
import numpy as np, pytest, torch
from functools import partial
from torch.testing import assert_close
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from fastai_auroc.derivatives import _LogOdds
from fastai_auroc.smooth import _soft, _soft_torch
from fastai_auroc.surrogates import _aum, _aum_torch, _hinge
from test_losses import both_ways, classes_of, outputs_of

pytestmark = [pytest.mark.usefixtures('one_thread'), pytest.mark.filterwarnings('error')]
inf = float('inf')

def gaps_of(s, y):
    "Differences of each positive and each negative; equal infinities tie"
    s,y = np.array(s, dtype=float),np.array(y, dtype=bool)
    up,down = s[y][:,None],s[~y]
    with np.errstate(invalid='ignore'): return np.where(up == down, 0, up-down)

def smooth_def(s, y, T=1.):
    with np.errstate(over='ignore'): return (1/(1+np.exp(gaps_of(s, y)/T))).mean()
def hinge_def(s, y, margin=1.): return (np.maximum(0, margin-gaps_of(s, y))**2).mean()

def aum_def(s, y):
    "Widths between neighbours times the smaller rate; 0 times an infinite width is nothing"
    s,y = np.array(s, dtype=float),np.array(y, dtype=bool)
    total,levels = 0.,np.unique(s)
    for a,b in zip(levels, levels[1:]):
        rate = min((s[y] <= a).mean(), (s[~y] > a).mean())
        if rate: total += rate*(b-a)
    return total

definitions = dict(aum=(partial(AUMLoss, margins=True), aum_def), auroc=(AUROCLoss, smooth_def),
    cool=(partial(AUROCLoss, .1), partial(smooth_def, T=.1)), hinge=(SquaredHingeAUCLoss, hinge_def),
    wide_hinge=(partial(SquaredHingeAUCLoss, 4.), partial(hinge_def, margin=4.)))
every_loss = pytest.mark.parametrize('name', definitions)

right = [([-inf,0,1,.5], [0,1,1,0]), ([inf,0,1,.5], [1,1,0,0]), ([-inf,-inf,.2,.1,inf], [0,0,0,1,1]),
    ([-inf,inf], [0,1]), ([-inf]*3+[inf], [0,0,0,1]), ([-inf,-1e3,1e3], [0,1,0]), ([-inf,5,5,inf], [0,0,1,1])]
tied = [([-inf,-inf], [0,1]), ([inf,inf,inf], [0,1,1]), ([-inf]*4, [0,1,1,0])]
wrong = [([inf,0,1], [0,1,1]), ([-inf,0,1], [1,0,1]), ([inf,-inf], [0,1]), ([-inf,-inf,0,1], [0,1,0,1]),
    ([inf,inf,0,-1], [0,1,1,0]), ([-inf,inf,0,1], [1,0,1,0])]

def test_by_hand():
    "The reported case: among 0, 1 and the negative .5 half the positives are below, over a width of .5"
    s,y = torch.tensor([-inf, 0., 1., .5]),[0, 1, 1, 0]
    for way in (lambda s: aum(s, y), lambda s: AUMLoss(margins=True)(s, y)):
        value,gradient = both_ways(way, s)
        assert value == .25 and gradient.tolist() == [0, -.5, 0, .5]
    value,gradient = both_ways(lambda s: SquaredHingeAUCLoss()(s, y), s)
    assert value == (1.5**2 + .5**2)/4 and gradient.tolist() == [0, -.75, -.25, 1]
    assert soft_auroc(s, y).item() == pytest.approx((1 + 1 + 1/(1+np.exp(.5)) + 1/(1+np.exp(-.5)))/4)

@every_loss
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('s,y', [*right, *tied], ids=str)
def test_right_infinities(name, s, y, dtype):
    "Value of the definition, finite gradient, also row by row, for the loss and the kernels of a device"
    make,define = definitions[name]
    z = torch.tensor(s, dtype=dtype)
    want = define(z.double().numpy(), y)
    assert np.isfinite(want)
    value,gradient = both_ways(lambda z: make()(z, y), z)
    assert value.item() == pytest.approx(want, rel=1e-5, abs=1e-9) and gradient.isfinite().all()
    rows = make(reduction='none')(z, y)
    assert rows.isfinite().all() and rows.mean().item() == pytest.approx(want, rel=1e-5, abs=1e-9)
    mean_gradient = both_ways(lambda z: make(reduction='none')(z, y).mean(), z)[1]
    assert_close(mean_gradient, gradient, rtol=1e-2 if dtype.itemsize == 2 else 1e-5, atol=1e-9)

@every_loss
@pytest.mark.parametrize('s,y', wrong, ids=str)
def test_wrong_infinities(name, s, y):
    "An infinite loss, or pairs lost for sure, and gradients that stay finite"
    make,define = definitions[name]
    z,want = torch.tensor(s, dtype=torch.float64),define(s, y)
    value,gradient = both_ways(lambda z: make()(z, y), z)
    assert (want == inf) == (name in ('aum', 'hinge', 'wide_hinge')) and value.item() == pytest.approx(want)
    assert gradient.isfinite().all()
    z = z.requires_grad_()
    rows = make(reduction='none')(z, y)
    assert not rows.isnan().any() and rows.mean().item() == pytest.approx(want)
    assert_close(torch.autograd.grad(rows.mean(), z)[0], gradient)

@pytest.mark.parametrize('s,y', [*right, *tied, *wrong], ids=str)
def test_kernels_of_a_device(s, y):
    columns,positive = torch.tensor([s, [0.]*len(s)], dtype=torch.float64),torch.tensor([y, y]).bool()
    for cpu,device,kwargs in ((_aum, _aum_torch, {}), (_soft, _soft_torch, dict(T=.3))):
        ours,theirs = cpu(columns, positive, **kwargs),device(columns, positive, **kwargs)
        for a,b in zip(ours[:2], theirs): assert_close(a, b, rtol=1e-9, atol=1e-12)

@every_loss
def test_nan_stays_nan(name):
    z = torch.tensor([-inf, 0., float('nan'), inf, 1.])
    for y in ([0, 1, 0, 1, 0], [0, 1, 1, 1, 0]): assert definitions[name][0]()(z, y).isnan()

@pytest.mark.parametrize('n', [40, 3000])
@pytest.mark.parametrize('f', [_aum, _soft, _hinge])
def test_nan_in_one_column(f, n):
    "The other column has its value and gradient, few rows or many"
    s,y = torch.stack([outputs_of(n)]*2),torch.stack([classes_of(n) > 0]*2)
    want,want_gradient,_ = f(s[:1], y[:1])
    for at in (0, 1):
        columns = s.clone()
        columns[at,0] = float('nan')
        value,gradient,_ = f(columns, y)
        assert value[at].isnan()
        assert value[1-at].equal(want[0]) and gradient[1-at].equal(want_gradient[0])

@every_loss
@pytest.mark.parametrize('n', [3000, 6000])
def test_many_rows(name, n):
    "On a grid and by keys; a masked row does not send all pairs to be looked at one by one"
    s,y = outputs_of(n),classes_of(n)
    s = s + y
    s[torch.arange(0, n, 50)] = -inf
    y[torch.arange(0, n, 50)] = 0
    make,define = definitions[name]
    value,gradient = both_ways(lambda z: make()(z, y), s)
    assert value.item() == pytest.approx(define(s.numpy(), y.numpy()), rel=1e-6, abs=1e-9) and gradient.isfinite().all()
    assert gradient[::50].abs().max() < 1e-12

def test_many_rows_with_a_nan_take_no_time():
    s,y = outputs_of(400_000),classes_of(400_000)
    s[5] = float('nan')
    assert AUROCLoss()(s, y).isnan()

classes = dict(margins=partial(AUMLoss, 'macro', True), probabilities=partial(AUMLoss, 'macro'), auroc=AUROCLoss,
    hinge=SquaredHingeAUCLoss)

@pytest.mark.parametrize('name', classes)
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_masked_class(name, reduction):
    "A class whose logits are -∞ is out: loss and gradient are those of the others"
    z,y = outputs_of(30, 4),classes_of(30, k=3)
    masked = z.clone()
    masked[:,3] = -inf
    loss = classes[name](reduction=reduction)
    value,gradient = both_ways(lambda z: loss(z, y).mean(), masked)
    want,want_gradient = both_ways(lambda z: loss(z, y).mean(), z[:,:3])
    assert_close(value, want)
    assert_close(gradient[:,:3], want_gradient)
    assert not gradient[:,3].any()

@pytest.mark.parametrize('loss', [AUMLoss(margins=True), AUMLoss(), SoftDiceLoss()], ids=repr)
def test_masked_class_pooled(loss):
    "As if its logits were very low"
    z,y = outputs_of(30, 4),classes_of(30, k=3)
    low,masked = z.clone(),z.clone()
    low[:,3],masked[:,3] = -1e6,-inf
    got,want = (both_ways(lambda z: loss(z, y), o) for o in (masked, low))
    for a,b in zip(got, want): assert_close(a, b, rtol=1e-6, atol=1e-9)

@pytest.mark.parametrize('name', [*classes, 'pooled', 'dice'])
def test_certain_class(name):
    "Of one row the right class has ∞: as if it were very high"
    z,y = outputs_of(30, 4),classes_of(30, k=4)
    high,certain = z.clone(),z.clone()
    high[0,y[0]],certain[0,y[0]] = 1e6,inf
    loss = (classes | dict(pooled=AUMLoss, dice=SoftDiceLoss))[name]()
    got,want = (both_ways(lambda z: loss(z, y), o) for o in (certain, high))
    for a,b in zip(got, want): assert_close(a, b, rtol=1e-6, atol=1e-9)

def test_masked_row_of_one_class():
    "All but one class out: its log-odds are ∞, and every gradient finite"
    z = torch.tensor([[1., -inf, -inf], [.3, .2, -inf], [0., 1., 2.]], requires_grad=True)
    odds = _LogOdds.apply(z)
    assert odds[0].tolist() == [inf, -inf, -inf] and not odds.isnan().any()
    AUMLoss('macro', True)(z, torch.tensor([0, 1, 2])).backward()
    assert z.grad.isfinite().all()

def test_second_derivatives():
    "A negative at -∞ has no pull on what lacks no margin to it"
    z,y = torch.tensor([-inf, .1, .4, .35, .8], dtype=torch.float64),torch.tensor([0, 0, 0, 1, 1])
    for f in (SquaredHingeAUCLoss(), AUROCLoss()):
        h = torch.autograd.functional.hessian(lambda z: f(z, y), z)
        want = torch.autograd.functional.hessian(lambda z: f(z, y[1:]), z[1:])*2/3
        assert_close(h[1:,1:], want, rtol=1e-9, atol=1e-12)
        assert h[0].abs().max() < 1e-12
    assert _hinge(z[None], (y > 0)[None])[0].item() == pytest.approx(.52875*2/3)
