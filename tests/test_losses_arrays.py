"Small batches, worked out in arrays: against the definitions, and everything else goes by tensors."
import copy, warnings, numpy as np, pytest, torch
from fastai.torch_core import TensorBase, TensorCategory
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from fastai_auroc import losses
from fastai_auroc.derivatives import array_log_odds, plain_array, softmax_log_odds
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from test_losses import aum_def, both_ways, by_definition, classes_of, columns, outputs_of

pytestmark = pytest.mark.usefixtures('one_thread')

in_arrays = ['micro', 'margins', 'macro', 'macro_margins', 'dice']
steady = settings(max_examples=60, deadline=None, derandomize=True)

class _ByTensors(Exception): pass

def takes_arrays(loss, z, y):
    "Whether a loss never asks for its general way"
    class Watched(type(loss)):
        def _by_tensors(self, *_, **__): raise _ByTensors
    watched = copy.deepcopy(loss)
    watched.__class__ = Watched
    try: watched(z, y)
    except _ByTensors: return False
    return True

shapes = st.tuples(st.integers(2, 30), st.sampled_from([0, 1, 2, 3, 6]), st.integers(0, 10**6), st.sampled_from([.01, 1., 30.]))

def batch_of(n, k, seed, scale, dtype=torch.float64):
    "Outputs (n,), or (n, k), and labels of two classes at least"
    z = outputs_of(*((n, k) if k else (n,)), seed=seed)*scale
    y = classes_of(n, k=max(2, k), seed=seed+1)
    y[:2] = torch.tensor([0, 1])
    return z.to(dtype),y

@pytest.mark.parametrize('name', in_arrays)
@given(shape=shapes)
@steady
def test_value_and_gradient(name, shape):
    "Are those of the definition in float64, and of the general way"
    z,y = batch_of(*shape)
    make,define = by_definition[name]
    loss = make()
    value,gradient = both_ways(loss, z, y)
    want,_ = both_ways(lambda z: define(columns(z, y)), z)
    general,of_general = both_ways(loss._by_tensors, z, y)
    assert_close(value, want, rtol=1e-9, atol=1e-12)
    assert_close(general, want, rtol=1e-9, atol=1e-12)
    assert_close(gradient, of_general, rtol=1e-8, atol=1e-11)
    assert takes_arrays(loss, z, y)

@given(shape=shapes, digits=st.integers(0, 1), average=st.sampled_from(['micro', 'macro']))
@steady
def test_ties(shape, digits, average):
    "AUM of given scores that tie: the value by definition, a subgradient, and the one of the general way"
    n,k,seed,scale = shape
    z,y = batch_of(n, k, seed, scale)
    z = z.round(decimals=digits)
    def f(z): return aum(z, y, average)
    value,gradient = both_ways(f, z)
    cols = [(z.flatten(), y > 0)] if k < 2 else [(z[:,c], y == c) for c in range(k) if (y == c).any()]
    if average == 'micro' and k > 1: cols = [(z.reshape(-1), (y[:,None] == torch.arange(k)).reshape(-1))]
    assert_close(value, sum(aum_def(*o) for o in cols)/len(cols), rtol=1e-9, atol=1e-12)
    _,of_general = both_ways(lambda z: aum(z, y, average, ignore_index=-7), z)
    assert_close(gradient, of_general, rtol=1e-9, atol=1e-12)
    for step in outputs_of(3, *z.shape, seed=seed): assert f(z + step) >= value + (step*gradient).sum() - 1e-9

@given(seed=st.integers(0, 10**6), smooth=st.sampled_from([0, .5, 2]), square=st.booleans(), weighted=st.booleans())
@steady
def test_options_of_dice(seed, smooth, square, weighted):
    z,y = batch_of(12, 3, seed, 1.)
    loss = SoftDiceLoss(smooth=smooth, square=square, weight=[1, 0, 2.5] if weighted else None)
    p = z.softmax(1)
    t = torch.eye(3, dtype=torch.float64)[y]
    dice = (2*(p*t).sum(0) + smooth)/((p**(1 + square)).sum(0) + t.sum(0) + smooth)
    w = torch.tensor([1, 0, 2.5] if weighted else [1, 1, 1], dtype=torch.float64)
    value,gradient = both_ways(loss, z, y)
    assert_close(value, ((1-dice)*w).sum()/w.sum(), rtol=1e-9, atol=0)
    assert_close(gradient, both_ways(loss._by_tensors, z, y)[1], rtol=1e-6, atol=1e-9)
    assert takes_arrays(loss, z, y)

@pytest.mark.parametrize('name', in_arrays)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('k', [0, 2, 5])
def test_narrow_outputs(name, dtype, k):
    z,y = batch_of(50, k, 3, 1., dtype)
    loss = by_definition[name][0]()
    value,gradient = both_ways(loss, z, y)
    want,of_want = both_ways(loss._by_tensors, z, y)
    assert value.dtype == want.dtype == torch.float32 and gradient.dtype == dtype
    assert_close(value, want, rtol=1e-5, atol=1e-7)
    if 'margins' not in name or dtype == torch.float32:  # half precision makes ties of log-odds that rounding breaks
        assert_close(gradient, of_want, rtol=2*torch.finfo(dtype).eps, atol=1e-5)

@pytest.mark.parametrize('name', in_arrays)
def test_plain_shapes(name):
    "Of PyTorch and of fastai, whose subclasses of tensors no result is"
    loss = by_definition[name][0]()
    z,y = batch_of(20, 2, 0, 1.)
    one,three = z[:,0],batch_of(20, 3, 0, 1.)
    cases = [(one, y), (one[:,None], y), (one, y[:,None]), (one[:,None], y[:,None]), (z, y), (z, y[:,None]), three, (one, y.bool()),
        (z, y.float()), (three[0], three[1].float()), (z, y.tolist()), (z, y.numpy()), (z.T.contiguous().T, y.byte())]
    for a,b in cases:
        assert takes_arrays(loss, a, b)
        fastai = loss(a.as_subclass(TensorBase), b.as_subclass(TensorCategory) if isinstance(b, torch.Tensor) else b)
        assert type(fastai) is torch.Tensor and fastai == loss(a, b)
        assert_close(fastai, loss._by_tensors(a, b))
    leaf = z.clone().as_subclass(TensorBase).requires_grad_()
    loss(leaf, y.as_subclass(TensorCategory)).backward()
    assert_close(leaf.grad.as_subclass(torch.Tensor), both_ways(loss, z, y)[1])

class _Modes(TorchDispatchMode):
    def __torch_dispatch__(self, f, types, args=(), kwargs=None): return f(*args, **(kwargs or {}))

@pytest.mark.parametrize('name', in_arrays)
def test_others_go_by_tensors(name):
    "What is not plain, or looked into"
    make = by_definition[name][0]
    z,y = batch_of(12, 3, 0, 1.)
    def with_(x, value):
        x = x.clone()
        x[0] = value
        return x
    odd = [(z, torch.zeros(12, dtype=torch.long)), (with_(z, torch.nan), y), (with_(z, torch.inf), y), (with_(z, 1e300), y), (z.T, y)]
    for a,b in odd[:-1]: assert not takes_arrays(make(), a, b)
    assert not takes_arrays(make(axis=0), z.T, y)
    assert not takes_arrays(make(ignore_index=1), z, y) and takes_arrays(make(ignore_index=-100), z, y)
    assert not takes_arrays(make(reduction='none'), z, y) and not takes_arrays(make(multilabel=True), z, z > 0)
    assert not takes_arrays(make(), z.numpy(), y) and not takes_arrays(make(), z.to('meta'), y)
    with _Modes(): assert not takes_arrays(make(), z, y)
    with forward_ad.dual_level(): assert not takes_arrays(make(), z, y)
    seen = []
    torch.func.vmap(lambda z: seen.append(plain_array(z)) or z)(z)
    assert seen == [None]
    for wrong in (with_(y, 7), with_(y, -1), with_(y.float(), .5), with_(y.float(), torch.nan)):
        with pytest.raises(ValueError, match='targets must be'): make()(z, wrong)
        with pytest.raises(ValueError, match='targets'): make()(z, wrong[:5])

@pytest.mark.parametrize('make', [AUMLoss, AUROCLoss, SquaredHingeAUCLoss, SoftDiceLoss])
@pytest.mark.parametrize('k', [0, 2, 4])
def test_graph(make, k):
    "Of autograd: a leaf, a module, no gradient, two backward passes, a change in place, hooks, and a graph of the gradient"
    z,y = batch_of(16, k, 5, 1.)
    loss = make()
    want = both_ways(loss._by_tensors, z, y)[1]
    assert not loss(z, y).requires_grad
    leaf = z.clone().requires_grad_()
    with torch.no_grad(): assert not loss(leaf, y).requires_grad
    value = loss(leaf, y)
    value.backward(torch.tensor(3., dtype=z.dtype), retain_graph=True)
    value.backward()
    assert_close(leaf.grad, 4*want)
    with pytest.raises(RuntimeError, match='second time'): value.backward()
    calls = []
    leaf = z.clone().requires_grad_()
    leaf.register_hook(lambda g: calls.append(1) or 2*g)
    gradient, = torch.autograd.grad(loss(leaf, y), leaf, create_graph=True)
    assert_close(gradient.detach(), 2*want)
    assert calls == [1]
    out = z.clone().requires_grad_()*1
    value = loss(out, y)
    if k == 2:
        with torch.no_grad(): out.mul_(2)
        value.backward()

def test_changed_in_place():
    "Before a second derivative, which would be that of other outputs"
    z,y = batch_of(16, 2, 5, 1.)
    out = z.clone().requires_grad_()*1
    value = SoftDiceLoss()(out, y)
    with torch.no_grad(): out.mul_(2)
    with pytest.raises(RuntimeError, match='changed in place'): torch.autograd.grad(value, out, create_graph=True)

def test_changed_targets():
    "A second derivative would be that of other targets"
    z,y = batch_of(16, 2, 5, 1.)
    out = z.clone().requires_grad_()
    y = torch.as_tensor(y).clone()
    value = AUROCLoss()(out, y)
    y.copy_(1-y)
    with pytest.raises(RuntimeError, match='targets were changed in place'): torch.autograd.grad(value, out, create_graph=True)

def test_beyond_float32():
    "As by tensors: infinite"
    z,y = batch_of(16, 2, 5, 1.)
    z = z.float()
    assert SquaredHingeAUCLoss(margin=1e20)(z.clone().requires_grad_(), y).item() == float('inf')
    assert SquaredHingeAUCLoss(margin=1e20)(z, y).item() == float('inf')

def test_inference_tensor():
    "It has no version to compare, so the general way takes it"
    z,y = batch_of(16, 2, 5, 1.)
    with torch.inference_mode(): inferred = (z*1).requires_grad_()
    assert_close(AUROCLoss()(inferred, y).detach().clone(), AUROCLoss()(z, y))

def test_no_warning():
    "Of NumPy, for finite numbers of any size"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for dtype in (torch.float32, torch.float64):
            for scale in (1e-40, 1e-3, 1e3, 1e10, 1e14, 1e30):
                for k in (0, 2, 5):
                    z,y = batch_of(30, k, 1, 1.)
                    for name in in_arrays:
                        value,gradient = both_ways(by_definition[name][0](), (z*scale).to(dtype), y)
                        assert value.isfinite() and gradient.isfinite().all()

@given(seed=st.integers(0, 10**6), k=st.integers(3, 7), scale=st.sampled_from([1e-3, 1., 20., 200.]))
@steady
def test_log_odds(seed, k, scale):
    "And their way back, as by tensors; rows that are permutations of each other tie"
    z = outputs_of(9, k, seed=seed)*scale
    g = outputs_of(9, k, seed=seed+1)
    found,way_back = array_log_odds(z.numpy())
    want = softmax_log_odds(z)
    leaf = z.clone().requires_grad_()
    of_want, = torch.autograd.grad(softmax_log_odds(leaf), leaf, g)
    assert_close(torch.from_numpy(found), want, rtol=1e-12, atol=1e-12)
    assert_close(torch.from_numpy(way_back(g.numpy())), of_want, rtol=1e-9, atol=1e-11)
    order = np.random.default_rng(seed).permutation(k)
    assert np.array_equal(array_log_odds(z.numpy()[:,order])[0], found[:,order])

def test_counts_batches():
    "A plain batch ends a row of batches without a pair"
    loss = AUMLoss()
    z,y = batch_of(8, 2, 0, 1.)
    leaf = nn.Parameter(z)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(3):
            for _ in range(9): loss(leaf, torch.zeros_like(y))
            assert loss._idle == 9
            with torch.no_grad(): loss(leaf, y)
            assert loss._idle == 9
            loss(leaf, y)
            assert loss._idle == 0

def test_soft_auroc_and_declining(monkeypatch):
    "A surrogate without a form for arrays, or one that declines, goes by tensors"
    z,y = batch_of(20, 0, 0, 1.)
    want = soft_auroc(z, y)
    found = []
    make = losses.soft_auroc_surrogate
    def declining(T):
        surrogate = make(T)
        surrogate.binary = lambda s, positive: found.append(1)
        return surrogate
    monkeypatch.setattr(losses, 'soft_auroc_surrogate', declining)
    assert_close(soft_auroc(z, y), want)
    assert_close(AUROCLoss()(z, y), 1-want)
    assert found == [1, 1]
