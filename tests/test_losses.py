"The losses against their definitions: values, gradients, faults and devices."
import copy, pickle, re, tracemalloc, numpy as np, pytest, torch
from functools import partial
from fastai.losses import DiceLoss
from fastai.torch_core import TensorBase, TensorCategory, TensorMask
from hypothesis import given, settings, strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from test_device import NoWaiting
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import gradcheck
from torch.testing import assert_close
from torch.utils._pytree import tree_flatten
from fastai_auroc import scores, smooth
from fastai_auroc.losses import AUMLoss, AUROCLoss, MixedLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from fastai_auroc.derivatives import _LogOdds
from fastai_auroc.smooth import _pairs_torch, _soft_by_pairs, _soft_on_grid
from fastai_auroc.surrogates import _aum, _aum_torch

steady = settings(max_examples=80, deadline=None, derandomize=True)
nan = float('nan')

pytestmark = pytest.mark.usefixtures('one_thread')

# By definition, in float64, for autograd

def aum_def(s, y):
    "The sum over consecutive thresholds t = -s of min(FPR, FNR)·Δt; ties add intervals of no width"
    if y.all() or not y.any(): return 0*s.sum()
    t = (-s).sort().values
    def share(mine): return torch.searchsorted((-s[mine]).detach().sort().values, t.detach(), right=True).double()/mine.sum()
    return (torch.minimum(share(~y), 1-share(y))[:-1]*t.diff()).sum()

def pairs_def(s, y, f): return f(s[y][:,None] - s[~y]).mean()
def hinge_def(s, y, margin=1.): return pairs_def(s, y, lambda gap: (margin-gap).relu().square())
def lost_def(s, y, T=1.): return pairs_def(s, y, lambda gap: (-gap/T).sigmoid())
def dice_def(p, y, smooth=1.): return 1 - (2*p[y].sum() + smooth)/((p*p).sum() + y.sum() + smooth)

def columns(z, y, multilabel=False):
    "For each question of outputs (n,) or (n, K): probabilities, margins and which rows are positive"
    k,z = (1 if z.ndim == 1 else z.shape[1]),z.double()
    if multilabel and k > 1: return [(z[:,c].sigmoid(), z[:,c], y[:,c] > 0) for c in range(k)]
    if k == 1: return [(z.flatten().sigmoid(), z.flatten(), y.flatten() > 0)]
    if k == 2: return [(z.softmax(1)[:,1], z[:,1]-z[:,0], y.flatten() > 0)]
    others = [[o for o in range(k) if o != c] for c in range(k)]
    return [(z.softmax(1)[:,c], z[:,c] - z[:,others[c]].logsumexp(1), y.flatten() == c) for c in range(k)]

def mean_over(cols, f, kept): return sum(f(*o) for o in kept)/len(kept) if (kept := [o for o in cols if kept(o[2])]) else cols[0][0].sum()*0
def both(y): return y.any() and not y.all()
def pooled(cols, which, f): return f(torch.cat([o[which] for o in cols]), torch.cat([o[2] for o in cols]))

def macro_of(f, which, kept): return lambda cols: mean_over(cols, lambda *o: f(o[which], o[2]), kept)

# Loss -> how to make it, and its definition from `columns`
by_definition = dict(micro=(AUMLoss, lambda cols: pooled(cols, 0, aum_def)), margins=(partial(AUMLoss, margins=True), lambda cols: pooled(cols, 1, aum_def)),
    macro=(partial(AUMLoss, 'macro'), macro_of(aum_def, 0, torch.any)), macro_margins=(partial(AUMLoss, 'macro', True), macro_of(aum_def, 1, torch.any)),
    dice=(SoftDiceLoss, macro_of(dice_def, 0, lambda y: True)), auroc=(AUROCLoss, macro_of(lost_def, 1, both)),
    cool=(partial(AUROCLoss, .2), macro_of(partial(lost_def, T=.2), 1, both)), hinge=(SquaredHingeAUCLoss, macro_of(hinge_def, 1, both)),
    wide_hinge=(partial(SquaredHingeAUCLoss, 3.), macro_of(partial(hinge_def, margin=3.), 1, both)))
every_loss = pytest.mark.parametrize('name', by_definition)
makers = {name: make for name,(make,_) in by_definition.items()}
public = ['micro', 'margins', 'dice', 'auroc', 'hinge']

# Task -> shapes of outputs and of targets, number of classes, keywords of the loss
tasks = dict(one=((40,), (40,), 1, {}), one_and_column=((40,), (40,1), 1, {}), column=((40,1), (40,), 1, {}), columns=((40,1), (40,1), 1, {}),
    two=((40,2), (40,), 2, {}), two_and_column=((40,2), (40,1), 2, {}), three=((40,3), (40,), 3, {}), square=((5,5), (5,), 5, {}),
    last=((40,3), (40,), 3, dict(axis=-1)), sequence=((4,10,3), (4,10), 3, dict(axis=-1)), square_sequence=((4,3,3), (4,3), 3, dict(axis=-1)),
    by_axis=((4,10,3), (4,10), 3, dict(axis=2)), pixels=((2,3,4,5), (2,4,5), 3, {}), two_pixels=((2,2,4,5), (2,1,4,5), 2, {}),
    square_pixels=((2,2,2,2), (2,2,2), 2, {}), one_pixel=((2,1,4,5), (2,4,5), 1, {}), pixel_columns=((2,1,4,5), (2,1,4,5), 1, {}),
    one_image=((1,3,4,5), (1,4,5), 3, {}), one_two_image=((1,2,4,5), (1,1,4,5), 2, {}))
labels = dict(labels=((40,3), (40,3), dict(multilabel=True)), two_labels=((40,2), (40,2), dict(multilabel=True)), label=((40,1), (40,), dict(multilabel=True)),
    pixel_labels=((2,3,4,5), (2,3,4,5), dict(multilabel=True)), last_labels=((2,4,5,3), (2,4,5,3), dict(multilabel=True, axis=-1)),
    sequence_labels=((4,10,3), (4,10,3), dict(multilabel=True, axis=-1)), channel_labels=((4,3,10), (4,3,10), dict(multilabel=True, axis=1)))

def outputs_of(*shape, seed=0, dtype=torch.float64): return torch.randn(shape, generator=torch.manual_seed(seed), dtype=torch.float64).to(dtype)
def classes_of(*shape, k=2, seed=1): return torch.randint(0, max(2, k), shape, generator=torch.manual_seed(seed))

def rows_of(z, y, axis=1, multilabel=False):
    "Rows of classes, as a user would flatten them"
    if z.ndim == 1: return z,y
    k = z.shape[axis]
    return z.movedim(axis, -1).reshape(-1, k),(y.movedim(axis, -1).reshape(-1, k) if multilabel and y.shape == z.shape else y)

def both_ways(f, z, *args):
    "Value and gradient"
    z = z.detach().clone().requires_grad_()
    value = f(z, *args)
    return value.detach(),torch.autograd.grad(value, z)[0]

def check(name, z, y, kwargs, want_z=None, want_y=None, **tol):
    "Value and gradient are those of the definition; outputs and targets are left alone"
    make,define = by_definition[name]
    kept = z.clone(),y.clone()
    value,gradient = both_ways(make(**kwargs), z, y)
    flags = dict(multilabel=kwargs.get('multilabel', False))
    def defined(z): return define(columns(*rows_of(z, y if want_y is None else want_y, kwargs.get('axis', 1), **flags), **flags))
    want,want_gradient = both_ways(defined, (z if want_z is None else want_z).double())
    assert value.ndim == 0 and value > 0 and want_gradient.abs().max() > 0
    assert_close(value.double(), want, **{**dict(rtol=1e-9, atol=1e-12), **tol})
    assert_close(gradient.double(), want_gradient, **{**dict(rtol=1e-8, atol=1e-11), **tol})
    assert z.equal(kept[0]) and y.equal(kept[1])

@every_loss
@pytest.mark.parametrize('task', tasks)
def test_value_and_gradient(name, task):
    "Of each shape of outputs and targets, with autograd through the definition"
    z_shape,y_shape,k,kwargs = tasks[task]
    check(name, outputs_of(*z_shape), classes_of(*y_shape, k=k), kwargs)

@every_loss
@pytest.mark.parametrize('task', labels)
def test_many_labels(name, task):
    z_shape,y_shape,kwargs = labels[task]
    check(name, outputs_of(*z_shape), classes_of(*y_shape), kwargs)

@every_loss
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_narrow_outputs(name, dtype):
    "Computed in float32 or wider from the outputs as they are; a gradient fits its output"
    z,y = outputs_of(60, 3, dtype=dtype),classes_of(60, k=3)
    tol = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=2*torch.finfo(dtype).eps, atol=1e-4)
    if name not in ('micro', 'macro', 'margins', 'macro_margins') or dtype == torch.float32: check(name, z, y, {}, **tol)
    value,gradient = both_ways(makers[name](), z, y)
    assert gradient.dtype == dtype and value.dtype == torch.float32
    assert value == makers[name]()(z.float(), y)

@pytest.mark.parametrize('name', public)
@pytest.mark.parametrize('kind', [torch.int8, torch.uint8, torch.int32, torch.float32, torch.float64, torch.bool], ids=str)
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'labels'])
def test_types_of_targets(name, kind, task):
    z_shape,y_shape,*_ = ({**tasks, **labels})[task]
    z,y,kwargs = outputs_of(*z_shape),classes_of(*y_shape, k=3 if task == 'three' else 2),dict(multilabel=task == 'labels')
    if kind == torch.bool and task == 'three': return
    check(name, z, y.to(kind), kwargs, want_y=y)

@every_loss
def test_tensor_subclasses(name):
    "What fastai hands over: subclasses, which no result is, and gradients get through them"
    z,y = outputs_of(2, 3, 4, 5),classes_of(2, 4, 5, k=3)
    for wrap,kind in ((TensorBase, TensorMask), (TensorBase, TensorCategory), (torch.Tensor, TensorMask)):
        leaf = z.clone().requires_grad_()
        value = makers[name]()(leaf.as_subclass(wrap), y.as_subclass(kind))
        value.backward()
        want,gradient = both_ways(makers[name](), z, y)
        assert type(value) is torch.Tensor and value == want and leaf.grad.as_subclass(torch.Tensor).equal(gradient)

# Values that are known

table = [([0,1], [1,-1], 2, [1,-1], [1,-1]), ([0,1], [0,0], 0, [0,-1], [1,0]), ([0,1], [-1,1], 0, [0,0], [0,0]),
    ([0,0,1,1], [2,-3.5,-1,1.5], 1.5, [.5,0,-.5,0], None), ([0,0,1,1], [1,2,3,4], 0, [0,0,0,0], None),
    ([0,0,1,1], [.3]*4, 0, [.25,.25,-.25,-.25], None), ([0,0,1,1], [4,3,2,1], 2, [.5,.5,-.5,-.5], None)]

def one_sided(s, y, way, eps=2**-10):
    "Derivatives of the definition in each score towards `way`: exact where gaps are wider than `eps`"
    at = aum_def(s, y)
    return torch.stack([(aum_def(s + way*eps*e, y)-at)/(way*eps) for e in torch.eye(len(s), dtype=s.dtype)])

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('targets,scores,value,left,right', table)
def test_reference_aum(targets, scores, value, left, right, dtype):
    s,y = torch.tensor(scores, dtype=torch.float64),torch.tensor(targets).bool()
    middle = torch.tensor(left if right is None else [(a+b)/2 for a,b in zip(left, right)], dtype=torch.float64)
    sides = one_sided(s, y, -1),one_sided(s, y, 1)
    if right is not None: assert [o.tolist() for o in sides] == [left, right]
    assert_close(sum(sides)/2, middle)
    for way in (lambda s: aum(s, y), lambda s: aum(s, targets), lambda s: aum(s[:,None], y, 'micro'), lambda s: AUMLoss(margins=True)(s, y)):
        got,gradient = both_ways(way, s.to(dtype))
        assert got == value and got.dtype == dtype
        assert_close(gradient.double(), middle)

toys = dict(ideal=([[1,0,0],[0,0,1],[0,1,0],[0,1,0]], 0, 0), constant=([[1,0,0]]*4, .375, 0), anti=([[0,1,0],[0,1,0],[1,0,0],[1,0,0]], .5, .5556),
    some=([[.4,.3,.3],[.2,.1,.7],[.5,.2,.3],[.3,.4,.3]], .05, .0277778))

@pytest.mark.parametrize('toy', toys)
def test_reference_toys(toy):
    s,micro,macro = toys[toy]
    assert [aum(s, [0,2,1,1], 'micro'), aum(s, [0,2,1,1], 'macro')] == [pytest.approx(micro, abs=1e-6), pytest.approx(macro, abs=5e-5)]

def test_reference_pairs():
    s,y = torch.tensor([.9,.8,.1,.2]),torch.tensor([1,1,0,0])
    for T,want,digits in ((1., .6680, 5e-5), (.1, .99884, 5e-6)):
        assert soft_auroc(s, y, T) == pytest.approx(want, abs=digits) and AUROCLoss(T)(s, y) == pytest.approx(1-want, abs=digits)
    assert soft_auroc(s, y) == soft_auroc(s, y, 1.) == soft_auroc(s.numpy(), y.numpy())
    assert_close(soft_auroc(s.tolist(), y.tolist()).float(), soft_auroc(s, y))
    hinge = SquaredHingeAUCLoss()(torch.tensor([.1,.4,.35,.8], dtype=torch.float64), torch.tensor([0,0,1,1]))
    assert hinge == pytest.approx(.52875, abs=1e-12)

# AUM

few = st.sampled_from([-1., -.5, -0., 0., .5, 1., 3.])
numbers = st.floats(-1000, 1000, width=32) | st.floats(-2**99, 2**99, width=32) | few

@st.composite
def problems(draw, elements=few | numbers, k=st.integers(1, 4), dtypes=(torch.float32, torch.float64)):
    "Scores of shape (n, K), often tied, and class numbers, or for K = 1 labels"
    n,k = draw(st.integers(1, 25)),draw(k)
    source = draw(st.sampled_from([few, elements]))
    s = torch.tensor(draw(st.lists(source, min_size=n*k, max_size=n*k)), dtype=torch.float64).reshape(n, k).to(draw(st.sampled_from(dtypes)))
    return s,torch.tensor(draw(st.lists(st.integers(0, max(1, k-1)), min_size=n, max_size=n)))

def questions(s, y): return [(s[:,c].double(), y > 0 if s.shape[1] == 1 else y == c) for c in range(s.shape[1])]

def aum_of(average, s, y):
    "AUM by definition"
    cols = questions(s, y)
    if average == 'micro': return aum_def(*map(torch.cat, zip(*cols)))
    cols = [o for o in cols if o[1].any()]
    return sum(aum_def(*o) for o in cols)/len(cols) if cols else torch.zeros((), dtype=torch.float64)

def scale_of(s): return max(1e-30, s.double().abs().max().item())

@steady
@given(problems(), st.sampled_from(['micro','macro']))
def test_aum_is_its_definition(problem, average):
    s,y = problem
    got = [aum(s, y, average), *([aum(s[:,0], y), aum(s, y)] if s.shape[1] == 1 else [])]
    want = aum_of(average, s, y).item()
    for o in got: assert o.dtype == s.dtype and o.item() == pytest.approx(want, rel=4*torch.finfo(s.dtype).eps, abs=1e-13*scale_of(s))

@steady
@given(problems())
def test_host_is_the_kernel(problem):
    "Keys and partitions find what sorting finds"
    s,positive = problem[0].T,torch.stack([o[1] for o in questions(*problem)])
    (value,gradient,_),(want,want_gradient,_) = _aum(s, positive),_aum_torch(s, positive)
    assert_close(value, want, rtol=4*torch.finfo(s.dtype).eps, atol=1e-13*scale_of(s))
    assert_close(gradient.double(), want_gradient, rtol=0, atol=2*torch.finfo(s.dtype).eps)

@steady
@given(problems(elements=few, k=st.just(1), dtypes=[torch.float64]))
def test_gradient_at_ties(problem):
    "Between the one-sided derivatives, zero in sum, alike for tied rows of a class"
    s,y = problem[0][:,0],problem[1] > 0
    gradient = both_ways(aum, s, y)[1]
    assert (one_sided(s, y, -1)-1e-9 <= gradient).all() and (gradient <= one_sided(s, y, 1)+1e-9).all()
    assert abs(gradient.sum().item()) < 1e-12
    for v in s.unique():
        for mine in (y, ~y):
            tied = gradient[(s == v) & mine]
            assert not len(tied) or (tied == tied[0]).all()

@steady
@given(problems(k=st.just(1), dtypes=[torch.float64]), st.data())
def test_convex(problem, data):
    "A subgradient supports AUM from below, everywhere"
    s,y = problem[0][:,0],problem[1]
    there = s + torch.tensor(data.draw(st.lists(numbers, min_size=len(s), max_size=len(s))), dtype=torch.float64) if data.draw(st.booleans()) else -s
    value,gradient = both_ways(aum, s, y)
    assert aum(there, y) >= value + (gradient*(there-s)).sum() - 1e-12*max(scale_of(s), scale_of(there))

@steady
@given(problems(), st.sampled_from(['micro','macro']), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(problem, average, random):
    s,y = problem
    order = random.sample(range(len(s)), len(s))
    (value,gradient),(there,other) = both_ways(partial(aum, average=average), s, y),both_ways(partial(aum, average=average), s[order], y[order])
    assert_close(there, value, rtol=4*torch.finfo(s.dtype).eps, atol=1e-13*scale_of(s))
    assert_close(other, gradient[order], rtol=0, atol=4*torch.finfo(s.dtype).eps)
    assert_close(gradient.sum(), gradient.new_zeros(()), rtol=0, atol=25*torch.finfo(s.dtype).eps)

@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('share', [.5, .01])
def test_aum_of_many_rows(dtype, ties, share):
    "More rows than a block of the host holds, accumulated in float64 whatever their type"
    s,y = outputs_of(70_000, dtype=dtype),torch.rand(70_000, generator=torch.manual_seed(3)) < share
    s = (4*(s+.8*y)).round()/4 if ties else (s.argsort().argsort() + 14_000.5*y)/len(s)  # distinct in float32 too
    s = s.to(dtype)
    value,gradient = both_ways(aum, s, y)
    leaf = s.double().requires_grad_()
    want = aum_def(leaf, y)
    assert value.item() == pytest.approx(want.item(), rel=2*torch.finfo(dtype).eps)
    assert abs(gradient.double().sum()) < (1e-4 if dtype == torch.float32 else 1e-10)
    if not ties: assert_close(gradient.double(), torch.autograd.grad(want, leaf)[0], rtol=torch.finfo(dtype).eps, atol=1e-3/len(s))

def test_signed_zeros_tie():
    for dtype in (torch.float32, torch.float64):
        value,gradient = both_ways(aum, torch.tensor([-0., 0., 0., -0.], dtype=dtype), [0, 0, 1, 1])
        assert value == 0 and gradient.tolist() == [.25, .25, -.25, -.25]

def test_scores_too_wide_for_keys():
    "Of both signs and nearly all magnitudes"
    s,y = torch.tensor([-1e-45, 1e-45, 3e38, -3e38, 1., -1.]),torch.tensor([1,0,0,1,0,1]).bool()
    assert aum(s, y).item() == pytest.approx(aum_def(s.double(), y).item(), rel=1e-6)

@pytest.mark.parametrize('labels', [[0,2], [-1,1], [-.5,.5], [False,True]], ids=str)
def test_what_is_above_zero_is_positive(labels):
    y = classes_of(30)
    assert aum(outputs_of(30), torch.tensor(labels)[y]) == aum(outputs_of(30), y) > 0

# Derivatives by finite differences

@pytest.mark.parametrize('average,shape,y_shape', [('binary', (9,), (9,)), ('micro', (6,3), (6,)), ('macro', (6,3), (6,)), ('micro', (6,3), (6,3))])
def test_gradcheck_aum(average, shape, y_shape):
    gradcheck(partial(aum, targets=classes_of(*y_shape, k=shape[-1] if len(y_shape) < len(shape) else 2), average=average), outputs_of(*shape).requires_grad_())

@pytest.mark.parametrize('T', [.1, 1., 10.])
@pytest.mark.parametrize('shape,k', [((9,), 1), ((6,3), 3)])
def test_gradcheck_soft_auroc(shape, k, T):
    gradcheck(partial(soft_auroc, targets=classes_of(shape[0], k=k), temperature=T), outputs_of(*shape).requires_grad_())

@pytest.mark.parametrize('T', [.2, 1., 10.])
def test_differences_on_the_grid(T):
    "The derivatives on the grid are those of the kernel, interpolated: the values, which are interpolated too, change by as much"
    s,y,step = outputs_of(12).numpy(),(classes_of(12) > 0).numpy(),1e-3*T
    gradient = _soft_on_grid(s, y, T)[1]
    want = [(_soft_on_grid(s+e, y, T)[0] - _soft_on_grid(s-e, y, T)[0])/(2*step) for e in step*np.eye(12)]
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-5*np.abs(gradient).max())

@pytest.mark.parametrize('name', [*makers, 'weighted', 'plain'])
@pytest.mark.parametrize('k', [1, 4])
def test_gradcheck_losses(name, k):
    if name == 'weighted': loss = SoftDiceLoss(weight=[1.]*(k if k > 2 else 1), smooth=0)
    elif name == 'plain': loss = SoftDiceLoss(square=False)
    else: loss = makers[name]()
    gradcheck(lambda z: loss(z, classes_of(7, k=k)), outputs_of(*((7, k) if k > 1 else (7,))).requires_grad_())

@pytest.mark.parametrize('scale', [1., 30., 300.])
@pytest.mark.parametrize('k', [2, 3, 8])
def test_log_odds(k, scale):
    "Value and gradient as from the definition in float64, confident outputs included, and half of the digits in float32"
    z,pull = scale*outputs_of(50, k),outputs_of(50, k, seed=2)
    leaf,other = z.clone().requires_grad_(),z.clone().requires_grad_()
    want = torch.stack([other[:,c] - other[:,[o for o in range(k) if o != c]].logsumexp(1) for c in range(k)], 1)
    res = _LogOdds.apply(leaf)
    assert_close(res, want, rtol=1e-12, atol=1e-12)
    assert_close(torch.autograd.grad(res, leaf, pull)[0], torch.autograd.grad(want, other, pull)[0], rtol=1e-9, atol=1e-11)
    single = z.float().requires_grad_()
    assert_close(_LogOdds.apply(single).double(), want.detach(), rtol=1e-5, atol=1e-4)
    if scale == 1.: gradcheck(_LogOdds.apply, z[:5].clone().requires_grad_())

# The smooth AUROC against all pairs

def all_pairs(s, y, T):
    "Smooth AUROC and its gradient in float64, in blocks of positives"
    s,up,down,gradient,total = s.double().numpy(),np.flatnonzero(y),np.flatnonzero(~y),np.zeros(len(y)),0.
    for b in np.array_split(up, len(up)*len(down)//2_000_000 + 1):
        won = expit((s[b][:,None] - s[down])/T)
        slope = won*expit((s[down] - s[b][:,None])/T)/T
        total += won.sum()
        gradient[b] += slope.sum(1)
        gradient[down] -= slope.sum(0)
    pairs = len(up)*len(down)
    return total/pairs,torch.from_numpy(gradient/pairs)

def with_one(s, value):
    s = s.clone()
    s[7] = value
    return s

def spread_out(n, T=.01):
    "Gaps so wide that no grid holds them; each hundredth row close to the one above"
    s = torch.cumsum(.5 + .5*torch.rand(n, generator=torch.manual_seed(5), dtype=torch.float64), 0)[torch.randperm(n, generator=torch.manual_seed(6))]
    s[::100] = s[1::100] + .003
    return s,torch.arange(n) % 100 == 0

def labelled(f=lambda s: s, share=.3):
    def make(n):
        y = torch.rand(n, generator=torch.manual_seed(4)) < share
        return f(outputs_of(n) + y),y
    return make

some = dict(normal=labelled(), rare=labelled(share=.01), tied=labelled(lambda s: (2*s).round()/2), high=labelled(lambda s: with_one(s, 1e6)),
    low=labelled(lambda s: with_one(s, -1e4)), heavy=labelled(lambda s: s*s*s), far=labelled(lambda s: s + 1e5), confident=labelled(lambda s: 30*s))

def check_soft(s, y, T):
    (value,gradient),(want,want_gradient) = both_ways(soft_auroc, s, y, T),all_pairs(s, y, T)
    assert 0 < want < 1 and value.item() == pytest.approx(want, abs=1e-6)
    assert (gradient-want_gradient).abs().max() <= 1e-6*want_gradient.abs().max()

@pytest.mark.parametrize('T', [.01, .1, 1., 10.])
@pytest.mark.parametrize('kind,n', [*[(kind, n) for kind in some for n in (100, 2600)], ('normal', 5000), ('heavy', 5000)])
def test_soft_auroc_is_all_pairs(kind, n, T): check_soft(*some[kind](n), T)

@pytest.mark.parametrize('T', [.01, 1.])
def test_rare_positives_on_the_grid(T): check_soft(*some['rare'](12_000), T)

def test_float32_on_the_grid():
    s,y = some['normal'](4000)
    value,gradient = both_ways(soft_auroc, s.float(), y, .3)
    want,want_gradient = all_pairs(s.float(), y, .3)
    assert value.dtype == gradient.dtype == torch.float32 and value.item() == pytest.approx(want, abs=1e-6)
    assert (gradient-want_gradient).abs().max() <= 1e-6*want_gradient.abs().max()

def test_scores_too_spread_out_for_a_grid():
    s,y = spread_out(12_000)
    assert _soft_on_grid(s.numpy(), y.numpy(), .01) is None
    check_soft(s, y, .01)

def test_million_rows(monkeypatch):
    "Never by pairs, in memory that grows as the rows do; copies of a set weigh nothing"
    monkeypatch.setattr(smooth, '_soft_by_pairs', None)
    s,y = some['normal'](1000)
    want,gradient = all_pairs(s, y, .1)
    peaks = []
    for times in (250, 1000):
        many = s.repeat(times).requires_grad_()
        tracemalloc.start()
        value = soft_auroc(many, y.repeat(times), .1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    value.backward()
    assert value.item() == pytest.approx(want, abs=1e-6)
    assert (times*many.grad[-1000:]-gradient).abs().max() <= 1e-6*gradient.abs().max()
    assert peaks[1] < 4.2*peaks[0] and peaks[1] < 300*10**6

# The squared hinge against all pairs

def check_hinge(s, y, margin, rel=1e-9):
    (value,gradient),(want,want_gradient) = both_ways(SquaredHingeAUCLoss(margin), s, y),both_ways(partial(hinge_def, margin=margin), s.double(), y)
    assert value.item() == pytest.approx(want.item(), rel=rel, abs=1e-14)
    assert (gradient-want_gradient).abs().max() <= rel*want_gradient.abs().max() + 1e-14

@pytest.mark.parametrize('margin', [.1, 1., 10.])
@pytest.mark.parametrize('kind', ['normal', 'rare', 'tied', 'heavy', 'confident'])
@pytest.mark.parametrize('n', [2, 100, 3000])
def test_hinge_is_all_pairs(kind, n, margin):
    s,y = some[kind](n)
    y[:2] = torch.tensor([False, True])
    check_hinge(s, y, margin)

@pytest.mark.parametrize('margin', [.1, 1., 10.])
@pytest.mark.parametrize('offset', [-1e4, 1e6, 1e8])
def test_hinge_far_from_zero(offset, margin):
    "A shift of all scores changes nothing but their last digits"
    s,y = some['normal'](300)
    check_hinge(s + offset, y, margin)

@pytest.mark.parametrize('positive', [False, True])
@pytest.mark.parametrize('value', [1e4, -1e4, 1e6, -1e6, 1e8, -1e8])
def test_hinge_of_outliers(value, positive):
    "One score far off, which for its pairs is all right or all wrong, costs the others no more than digits"
    s,y = some['normal'](300)
    y[7] = positive
    check_hinge(with_one(s, value), y, 1., rel=1e-6)

def test_hinge_of_separated_classes():
    "Where all margins are kept nothing is left, and just inside of the margin little"
    y = torch.arange(40) % 2 == 1
    s = outputs_of(40).tanh() + 4.*y
    value,gradient = both_ways(SquaredHingeAUCLoss(1.), s, y)
    assert abs(value) < 1e-12 and gradient.abs().max() < 1e-12
    check_hinge(y + 1e-5*outputs_of(40), y, 1., rel=1e-4)

# One number a row

def by_row(name, task):
    "Outputs and targets of a task, and the loss as a mean and row by row"
    z_shape,y_shape,k,kwargs = tasks.get(task) or (*labels[task][:2], 2, labels[task][2])
    return outputs_of(*z_shape),classes_of(*y_shape, k=k),makers[name](**kwargs),makers[name](reduction='none', **kwargs)

@every_loss
@pytest.mark.parametrize('task', [*tasks, 'labels', 'pixel_labels'])
def test_one_number_a_row(name, task):
    "As many as there are rows or pixels; their mean is the loss"
    z,y,loss,each = by_row(name, task)
    rows = each(z, y)
    assert rows.shape == (z.numel()//(1 if z.ndim == 1 else z.shape[loss.axis]),) and (rows >= 0).all()
    assert_close(rows.mean(), loss(z, y), rtol=1e-9, atol=1e-12)

@every_loss
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels', 'labels'])
def test_rows_train_as_their_mean(name, task):
    "The gradient of the mean of rows is that of the loss: fastai's MixUp trains on rows"
    z,y,loss,each = by_row(name, task)
    assert_close(both_ways(lambda z: each(z, y).mean(), z)[1], both_ways(loss, z, y)[1], rtol=1e-8, atol=1e-11)

@pytest.mark.parametrize('name', ['micro', 'macro', 'margins', 'auroc', 'hinge'])
@pytest.mark.parametrize('k', [1, 2, 3])
def test_rows_are_told_apart(name, k):
    "Each row keeps its number when rows are moved, and a row has a larger one where it is wrong"
    z,y = outputs_of(*((30, k) if k > 1 else (30,))),classes_of(30, k=k).index_fill(0, torch.tensor([4]), 1)
    loss,order = makers[name](reduction='none'),torch.randperm(30, generator=torch.manual_seed(9))
    rows = loss(z, y)
    assert len(rows.unique()) > 5
    assert_close(loss(z[order], y[order]), rows[order], rtol=1e-9, atol=1e-12)
    right = torch.tensor(9. if k == 1 else [-9., 9., *[-9.]*(k-2)], dtype=z.dtype)
    good,bad = (loss(torch.cat([z[:4], o[None], z[5:]]), y)[4] for o in (right, -right))
    assert bad > good and good < .1

@pytest.mark.parametrize('make,f', [(partial(AUROCLoss, .3), lambda gap: expit(-gap/.3)), (SquaredHingeAUCLoss, lambda gap: np.maximum(0, 1-gap)**2)],
    ids=['auroc','hinge'])
@pytest.mark.parametrize('kind,n', [('normal', 60), ('tied', 60), ('normal', 5000), ('rare', 5000), ('tied', 5000), ('heavy', 5000)])
def test_rows_of_pairs(make, f, kind, n):
    "Half of each pair's loss goes to each of its rows, though with many rows no pair is looked at"
    s,y = some[kind](n)
    lost = f(s[y].numpy()[:,None] - s[~y].numpy())
    want = torch.empty_like(s)
    want[y],want[~y] = (torch.from_numpy(.5*n*lost.sum(axis)/lost.size) for axis in (1, 0))
    assert_close(make(reduction='none')(s, y), want, rtol=1e-6, atol=1e-6*want.mean().item())

def test_pairs_on_the_host_are_those_of_a_device(monkeypatch):
    monkeypatch.setattr(smooth, '_tile', 300)
    s,y = some['tied'](100)
    _,slope,loss = _soft_by_pairs(s.numpy(), y.numpy(), T=.5, rows=True)
    for a,b in zip((loss, slope), _pairs_torch(s[None], y[None], T=.5)): assert_close(torch.from_numpy(a), b[0], rtol=1e-12, atol=1e-12)

@every_loss
@pytest.mark.parametrize('shape,y_shape', [((0,), (0,)), ((0,2), (0,)), ((0,3), (0,)), ((0,3,4,5), (0,4,5))])
def test_empty_batch(name, shape, y_shape):
    "Nothing is lost, and no row has a number"
    z,y = outputs_of(*shape).requires_grad_(),classes_of(*y_shape)
    makers[name]()(z, y).backward()
    assert z.grad.shape == z.shape and makers[name](reduction='none')(z, y).shape == (0,)

@every_loss
def test_pixels_keep_their_image(name):
    "fastai averages the numbers of an image by their place, first image first"
    z,y = outputs_of(2, 3, 4, 5),classes_of(2, 4, 5, k=3)
    loss = makers[name](reduction='none')
    assert_close(loss(z, y).view(2, -1).mean(1).flip(0), loss(z.flip(0), y.flip(0)).view(2, -1).mean(1), rtol=1e-9, atol=1e-12)

# Faults: nothing to compare, and outputs at the end of what floats hold

@pytest.mark.parametrize('name', [*public, 'macro', 'macro_margins'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
@pytest.mark.parametrize('k', [1, 2, 3])
@pytest.mark.parametrize('which', ['zeros', 'ones', 'one_row', 'last'])
def test_one_class(name, reduction, k, which):
    "Finite, and without positives or negatives there is no pair to pull on"
    n = 1 if which == 'one_row' else 8
    z = outputs_of(*((n, k) if k > 1 else (n,)), dtype=torch.float32).requires_grad_()
    y = torch.full((n,), dict(zeros=0, ones=1, one_row=1, last=max(1, k-1))[which])
    value = makers[name](reduction=reduction)(z, y)
    assert value.isfinite().all()
    value.mean().backward()
    assert z.grad.isfinite().all()
    if name != 'dice' and (k < 3 or name in ('auroc', 'cool', 'hinge', 'wide_hinge', 'macro', 'macro_margins')):
        assert not value.any() and not z.grad.any()

def test_soft_auroc_of_one_class():
    for y in ([0]*5, [1]*5): assert soft_auroc(outputs_of(5), y) == 1 and aum(outputs_of(5), y) == 0

@pytest.mark.parametrize('name', ['macro', 'macro_margins', 'auroc', 'hinge'])
def test_absent_classes(name):
    "The mean is over the classes that occur"
    z,y = outputs_of(30, 5),torch.tensor([0, 3, 4])[classes_of(30, k=3)]
    check(name, z, y, {})
    check(name, z, torch.full((30,), 2).index_fill(0, torch.tensor([3]), 0), {})

extreme = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

@every_loss
@pytest.mark.parametrize('dtype', extreme, ids=str)
@pytest.mark.parametrize('k', [1, 3])
def test_large_outputs(name, dtype, k):
    "Right or wrong by 10,000, all of one kind or mixed"
    n = 40
    for seed,sign in enumerate((1, -1, outputs_of(n, k).sign())):
        y = classes_of(n, k=k, seed=seed)
        towards = (2.*y-1)[:,None] if k == 1 else 2.*nn.functional.one_hot(y, k)-1
        z = (1e4*sign*towards).to(dtype).squeeze(-1).requires_grad_()
        value = makers[name]()(z, y)
        value.backward()
        assert value.isfinite() and z.grad.isfinite().all()
        rows = makers[name](reduction='none')(z.detach(), y)
        assert rows.isfinite().all() and rows.mean().item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)

@every_loss
@pytest.mark.parametrize('k', [1, 2, 3])
def test_nan_stays_nan(name, k):
    "A broken model is no good model"
    z = outputs_of(*((20, k) if k > 1 else (20,)))
    z[3] = nan
    assert makers[name]()(z, classes_of(20, k=k)).isnan()

@every_loss
@pytest.mark.parametrize('k', [1, 2, 3])
def test_autocast(name, k):
    "In narrow precision all that is lost is what the model loses"
    model,y = nn.Linear(4, k),classes_of(50, k=k)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        z = model(outputs_of(50, 4, dtype=torch.float32))
        value = makers[name]()(z, y if k > 1 else y[:,None])
    value.backward()
    assert z.dtype == torch.bfloat16 and value.dtype == torch.float32
    assert value == makers[name]()(z.detach().float(), y) and value > 0
    assert model.weight.grad.isfinite().all() and model.weight.grad.any()

@every_loss
@pytest.mark.parametrize('k', [1, 2, 3])
def test_constant_model_starts(name, k):
    "All outputs are equal, and yet one step raises AUROC"
    x = outputs_of(200, 3)
    y = (x[:,0] + .5*outputs_of(200, seed=8) > 0).long() if k < 3 else (x + .5*outputs_of(200, 3, seed=8)).argmax(1)
    model = nn.Linear(3, k).double()
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    def auroc():
        z = model(x).detach()
        return roc_auc_score(y, z[:,-1]-z[:,0] if k < 3 else z.softmax(1), multi_class='ovr') if k > 1 else roc_auc_score(y, z[:,0])
    assert auroc() == .5
    value = makers[name]()(model(x), y)
    value.backward()
    assert model.weight.grad.abs().max() > 1e-3
    with torch.no_grad():
        for p in model.parameters(): p -= .1*p.grad
    assert auroc() > .8

# Activation and classes

@every_loss
@pytest.mark.parametrize('task', [*tasks, *labels])
def test_activation_and_decodes(name, task):
    "Probabilities that sum to one over the classes that the loss looks at, or a sigmoid; class numbers, or labels"
    z_shape,y_shape,kwargs = labels[task] if task in labels else (*tasks[task][:2], tasks[task][3])
    z,loss = outputs_of(*z_shape),makers[name](**kwargs)
    p = loss.activation(z)
    axis = kwargs.get('axis', 1)
    single = task in labels or z.ndim == 1 or z.shape[axis] == 1
    assert p.equal(z.sigmoid() if single else z.softmax(axis)) and loss.decodes(p).equal(z > 0 if single else z.argmax(axis))

@every_loss
def test_single_outputs_of_the_last_axis(name):
    "Outputs of shape (n,) have no class axis, wherever others have it"
    z,loss = outputs_of(40),makers[name](axis=-1)
    assert loss.activation(z).equal(z.sigmoid()) and loss.decodes(z.sigmoid()).equal(z > 0)

@every_loss
def test_axis_is_not_another_one(name):
    "Classes are where the loss was told, as its activation has them, or it says that they are not there"
    with pytest.raises(ValueError, match=r'axis.*\(4, 10, 3\).*\(4, 10\)'): makers[name](axis=1)(outputs_of(4, 10, 3), classes_of(4, 10, k=3))

# Dice

narrow = dict(check_dtype=False, rtol=1e-5, atol=1e-6)  # fastai's DiceLoss computes in float32

def dice_by_hand(p, t, smooth, square): return 1 - (2*(p*t).sum() + smooth)/(((p*p) if square else p).sum() + t.sum() + smooth)

@pytest.mark.parametrize('square', [False, True])
@pytest.mark.parametrize('smooth', [0., 1e-6, 1.])
@pytest.mark.parametrize('k', [2, 3, 4])
def test_dice_is_fastais_on_one_image(k, smooth, square):
    "For two classes of their positive one, which is all that ours has a column for"
    z,y = outputs_of(1, k, 6, 7),classes_of(1, 6, 7, k=k)
    def theirs(z, y): return DiceLoss(smooth=smooth, reduction='none', square_in_union=square)(z, y)[0,(1 if k == 2 else slice(None))].mean()
    ours = SoftDiceLoss(smooth=smooth, square=square)
    for got,want in zip(both_ways(ours, z, y), both_ways(theirs, z, y)): assert_close(got, want.as_subclass(torch.Tensor), **narrow)

def test_dice_of_a_batch_is_not_the_mean_over_images():
    "fastai's dice is one for each image, ours for the batch: an image without a class differs most"
    z,y = outputs_of(2, 3, 6, 7),classes_of(2, 6, 7, k=3)
    y[0] = 0
    each = torch.stack([SoftDiceLoss()(z[i:i+1], y[i:i+1]) for i in range(2)]).mean()
    assert_close(DiceLoss(smooth=1., reduction='mean', square_in_union=True)(z, y).as_subclass(torch.Tensor), each, **narrow)
    p = z.softmax(1)
    assert_close(SoftDiceLoss()(z, y), torch.stack([dice_by_hand(p[:,c], (y == c).double(), 1., True) for c in range(3)]).mean())
    assert (SoftDiceLoss()(z, y) - each).abs() > .02

def test_dice_of_a_classifier_is_not_the_mean_probability():
    "As fastai's is on outputs of shape (n, 2), where the sum over pixels is over nothing"
    z,y = outputs_of(50, 2),classes_of(50)
    p = z.softmax(1)
    assert_close(DiceLoss(reduction='mean', smooth=0.)(z, y).as_subclass(torch.Tensor), 1-p.gather(1, y[:,None]).mean(), **narrow)
    assert_close(SoftDiceLoss(smooth=0., square=False)(z, y), dice_by_hand(p[:,1], y.double(), 0., False))

@pytest.mark.parametrize('form', [list, tuple, np.array, torch.tensor, lambda w: torch.tensor(w, dtype=torch.float64)], ids=['list','tuple','array','float32','float64'])
@pytest.mark.parametrize('weight', [[1., 2., 5.], [0., 1., 3.], [2., 2., 2.]], ids=str)
def test_class_weights(weight, form):
    z,y = outputs_of(30, 3),classes_of(30, k=3)
    each = [dice_by_hand(z.softmax(1)[:,c], (y == c).double(), 1., True) for c in range(3)]
    assert_close(SoftDiceLoss(weight=form(weight))(z, y), sum(w*d for w,d in zip(weight, each))/sum(weight))
    assert_close(SoftDiceLoss(weight=form(weight), reduction='none')(z, y), SoftDiceLoss(weight=form(weight))(z, y).expand(30))

# Devices and compilers

fakes = {task: (*tasks[task][:3], tasks[task][3]) for task in ('one', 'column', 'two', 'three', 'sequence', 'pixels', 'two_pixels')}
fakes |= {task: (*labels[task][:2], 2, labels[task][2]) for task in ('labels', 'pixel_labels')}

def backward_of(value):
    "The gradient of each leaf: the steps of autograd one by one, for its engine needs a driver for CUDA tensors, fake ones included"
    order,grads,leaves = [],{value.grad_fn: {0: torch.ones_like(value)}},{}
    def visit(node):
        if node in order: return
        for child,_ in node.next_functions: child is None or visit(child)
        order.append(node)
    visit(value.grad_fn)
    for node in reversed(order):
        into = grads[node]
        if hasattr(node, 'variable'): leaves[node.variable] = into[0]
        else:
            res = getattr(node, 'apply', node)(*(into.get(i) for i in range(max(into)+1)))  # steps of our own are no functions
            for (child,i),g in zip(node.next_functions, res if isinstance(res, tuple) else (res,)):
                if child is None or g is None: continue
                meta,there = child._input_metadata[i],grads.setdefault(child, {})
                g = g.sum_to_size(meta.shape).to(meta.dtype)  # as the engine does with what was broadcast or promoted
                there[i] = there[i] + g if i in there else g
    return leaves

def on_fake_device(loss, task, mode, dtype=torch.float32):
    "Forward and backward; how many steps the device was given in each"
    z_shape,y_shape,k,_ = fakes[task]
    with FakeTensorMode(allow_non_fake_inputs=True):
        z,y = torch.rand(z_shape, device='cuda', dtype=dtype, requires_grad=True),torch.randint(0, max(2, k), y_shape, device='cuda')
        with mode:
            value = loss(z, y).mean()
            forward = mode.n_ops
            assert value.requires_grad
            gradient = backward_of(value)[z]
        assert value.device.type == gradient.device.type == 'cuda' and gradient.shape == z.shape and gradient.dtype == dtype
    return forward,mode.n_ops - forward

@every_loss
@pytest.mark.parametrize('task', fakes)
def test_never_waits_for_a_device(name, task):
    forward,backward = on_fake_device(makers[name](**fakes[task][3]), task, NoWaiting())
    assert forward > 10 and backward > 1

@every_loss
@pytest.mark.parametrize('task', ['one', 'three', 'pixels'])
def test_rows_never_wait_for_a_device(name, task): on_fake_device(makers[name](reduction='none', **fakes[task][3]), task, NoWaiting())

@every_loss
def test_narrow_outputs_never_wait_for_a_device(name): on_fake_device(makers[name](), 'three', NoWaiting(), torch.float16)

def test_weights_never_wait_for_a_device():
    "Weights are moved with the loss, as fastai does before a fit, and not copied in each step"
    loss = SoftDiceLoss(weight=torch.ones(3))
    with FakeTensorMode() as mode: loss.weight = mode.from_tensor(loss.weight).to('cuda')
    on_fake_device(loss, 'three', NoWaiting())

class NoFloat64(NoWaiting):
    "Raise at float64 on the device, which MPS has not"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        assert (torch.float64, self.kind) not in {(o.dtype, o.device.type) for o in tree_flatten(out)[0] if isinstance(o, torch.Tensor)}, func
        return out

@every_loss
@pytest.mark.parametrize('task', ['one', 'three', 'two_pixels', 'pixel_labels'])
def test_devices_without_float64(name, task, monkeypatch):
    "MPS, played by CUDA: all in float32, and still on the device"
    monkeypatch.setattr(scores, '_no_float64', {'cuda'})
    on_fake_device(makers[name](**fakes[task][3]), task, NoFloat64())

@pytest.mark.parametrize('what', [lambda z: z.max().item(), lambda z: z[z > 0], lambda z: z.cpu()])
def test_the_proof_can_fail(what):
    with pytest.raises(BaseException, match=r'item|_local_scalar_dense|mask|index|nonzero|_to_copy'): on_fake_device(lambda z, y: what(z).sum(), 'one', NoWaiting())

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@every_loss
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels'])
def test_on_a_real_gpu(name, task):
    "Where CUDA itself objects to waiting; value and gradient as on the host"
    z_shape,y_shape,k,kwargs = tasks[task]
    z,y = outputs_of(*z_shape, dtype=torch.float32),classes_of(*y_shape, k=k)
    want,want_gradient = both_ways(makers[name](**kwargs), z, y)
    z,y,loss = z.cuda().requires_grad_(),y.cuda(),makers[name](**kwargs).cuda()
    torch.cuda.set_sync_debug_mode('error')
    try:
        value = loss(z, y)
        value.backward()
    finally: torch.cuda.set_sync_debug_mode('default')
    assert_close(value.detach().cpu(), want, rtol=1e-5, atol=1e-6)
    assert_close(z.grad.cpu(), want_gradient, rtol=1e-4, atol=1e-6)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name,backend', [*[(name, 'aot_eager') for name in public], ('micro', 'eager'), ('auroc', 'eager')])
def test_compiled(name, backend, k=3):
    "A model and its loss, compiled together"
    torch._dynamo.reset()
    model,loss,x,y = nn.Linear(4, k),makers[name](),outputs_of(50, 4, dtype=torch.float32),classes_of(50, k=k)
    def step(x, y): return loss(model(x), y)
    def run(f):
        model.zero_grad()
        value = f(x, y)
        value.backward()
        return value.detach(),model.weight.grad.clone()
    for got,want in zip(run(torch.compile(step, backend=backend)), run(step)): assert_close(got, want, rtol=1e-5, atol=1e-7)

# Use

of_three = outputs_of(4, 3),classes_of(4, k=3)
options = [(AUMLoss, dict(average='binary'), "average must be 'micro' or 'macro', got 'binary'"), (AUMLoss, dict(reduction='sum'), "must be 'mean' or 'none', got 'sum'"),
    (SoftDiceLoss, dict(reduction='avg'), "reduction must be 'mean' or 'none', got 'avg'"), (AUROCLoss, dict(temperature=0), 'temperature must be above 0, got 0'),
    (AUROCLoss, dict(temperature=nan), 'temperature must be above 0, got nan'), (SquaredHingeAUCLoss, dict(margin=-2), 'margin must be above 0, got -2'),
    (SquaredHingeAUCLoss, dict(margin=nan), 'margin must be above 0, got nan')]
wrong = [(sentence, partial(loss, **kwargs)) for loss,kwargs,sentence in options]
wrong += [("average must be 'binary', 'micro' or 'macro', got 'mean'", lambda: aum(*of_three, 'mean')), (r"'binary'.*\(4, 3\).*'micro'.*'macro'", lambda: aum(*of_three)),
    ('temperature must be above 0, got -1.0', lambda: soft_auroc(*of_three, -1.)), ('weight.*3 columns, got 2', lambda: SoftDiceLoss(weight=[1., 2.])(*of_three)),
    ('weight.*1 columns, got 2', lambda: SoftDiceLoss(weight=[1., 2.])(outputs_of(4, 2), classes_of(4))), ('weight.*3 columns, got 4', lambda: SoftDiceLoss(weight=torch.ones(4))(*of_three))]

@pytest.mark.parametrize('sentence,call', wrong, ids=[o[0] for o in wrong])
def test_wrong_arguments(sentence, call):
    with pytest.raises(ValueError, match=sentence): call()

@every_loss
def test_wrong_shapes(name):
    "What was given is named, and what was wanted"
    for o,t in (((5,3), (4,)), ((5,3), (5,2)), ((5,), (4,)), ((2,3,4,5), (2,5,4)), ((5,), (5,2))):
        with pytest.raises(ValueError, match=f'targets must have the shape.*{re.escape(str(o))}.*{re.escape(str(t))}'): makers[name]()(outputs_of(*o), classes_of(*t))
    loss = makers[name]()
    way = rf'{type(loss).__name__}\(multilabel=True\)$'
    with pytest.raises(ValueError, match=r'targets of shape \(5, 3\).*are multilabel: pass ' + way): loss(outputs_of(5, 3), classes_of(5, 3))
    told = r'targets have the shape of the outputs, \(2, 3, 4\): for one score a pixel give outputs of shape \(2, 1, 3, 4\), for labels pass ' + way
    with pytest.raises(ValueError, match=told): loss(outputs_of(2, 3, 4), classes_of(2, 3, 4))
    z,y = outputs_of(2, 3, 4),classes_of(2, 3, 4) > 0
    if type(loss) is not SoftDiceLoss: torch.testing.assert_close(loss(z[:,None], y), loss(z.flatten(), y.flatten()))
    with pytest.raises(ValueError, match=way): MixedLoss(nn.BCEWithLogitsLoss(), loss)(outputs_of(5, 3), torch.rand(5, 3).round())

kept = [AUMLoss(), AUMLoss('macro', margins=True, axis=-1), SoftDiceLoss(smooth=0, square=False, weight=[1., 2., 3.]), AUROCLoss(.1, reduction='none'),
    SquaredHingeAUCLoss(2., axis=-1)]

@pytest.mark.parametrize('loss', kept, ids=repr)
@pytest.mark.parametrize('how', [lambda o: pickle.loads(pickle.dumps(o)), copy.copy, copy.deepcopy, lambda o: eval(repr(o))], ids=['pickle','copy','deepcopy','repr'])
def test_survives(loss, how):
    "Of the same kind, with the same options, and the same value"
    again = how(loss)
    assert type(again) is type(loss) and again is not loss and repr(again) == repr(loss)
    assert again(outputs_of(20, 3), classes_of(20, k=3)).equal(loss(outputs_of(20, 3), classes_of(20, k=3)))

def test_repr_names_all_options():
    assert repr(AUMLoss('macro', margins=True)) == "AUMLoss(axis=1, multilabel=False, reduction='mean', average='macro', margins=True)"
