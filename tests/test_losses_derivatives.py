"Second derivatives of the losses, torch.func and torch.compile: against autograd through all pairs, and by hand."
import pytest, torch, torch.autograd.functional as AF
from functools import partial
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.testing import assert_close
from fastai_auroc.losses import AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from fastai_auroc.derivatives import _LogOdds
from fastai_auroc.smooth import _soft_product
from fastai_auroc.surrogates import _hinge_product
from test_device import NoWaiting
from test_losses import both_ways, by_definition, classes_of, columns, outputs_of

pytestmark = pytest.mark.usefixtures('one_thread')

# Names of test_losses: those whose definition there has second derivatives, and those piecewise linear
smooth = ['dice', 'auroc', 'cool', 'hinge', 'wide_hinge']
straight = ['micro', 'margins', 'macro', 'macro_margins']
tasks = dict(one=((7,), (7,), 2, {}), two=((7,2), (7,), 2, {}), three=((7,3), (7,), 3, {}), five=((8,5), (8,), 5, {}),
    labels=((6,3), (6,3), 2, dict(multilabel=True)), pixels=((1,3,2,3), (1,2,3), 3, {}))
every_task = pytest.mark.parametrize('task', tasks)

def of_task(task):
    z_shape,y_shape,k,kwargs = tasks[task]
    y = classes_of(*y_shape, k=k)
    y.view(-1)[:2] = torch.tensor([0, 1])
    return outputs_of(*z_shape),y,kwargs

def rows_of(z): return z if z.ndim < 3 else z.movedim(1, -1).reshape(-1, z.shape[1])

def definition(name, y, kwargs):
    labels = y if kwargs else y.reshape(-1)
    return lambda z: by_definition[name][1](columns(rows_of(z), labels, **kwargs))

def test_by_hand():
    "Of four margins whose pairs all lack some: 2 for each of a row's two pairs, over 4 pairs; -2/4 within a pair"
    z,y = torch.tensor([.1, .4, .35, .8], dtype=torch.float64),torch.tensor([0, 0, 1, 1])
    want = torch.tensor([[1, 0, -.5, -.5], [0, 1, -.5, -.5], [-.5, -.5, 1, 0], [-.5, -.5, 0, 1]], dtype=torch.float64)
    def f(z): return SquaredHingeAUCLoss()(z, y)
    for of in (hessian(f), jacrev(jacrev(f)), jacfwd(jacfwd(f))): assert_close(of(z), want)
    for vectorize in (False, True): assert_close(AF.hessian(f, z, vectorize=vectorize), want)
    leaf = z.float().requires_grad_()
    gradient, = torch.autograd.grad(f(leaf), leaf, create_graph=True)
    assert torch.autograd.grad(gradient[2], leaf)[0].tolist() == want[2].tolist()
    lack = torch.tensor([.75+.3, 1.05+.6, -.75-1.05, -.3-.6])
    assert_close(gradient.detach(), lack/2)

@pytest.mark.parametrize('name', smooth)
@every_task
def test_hessian(name, task):
    "As autograd finds it through the definition"
    z,y,kwargs = of_task(task)
    loss = by_definition[name][0](**kwargs)
    want = AF.hessian(definition(name, y, kwargs), z)
    assert want.abs().max() > .001
    def f(z): return loss(z, y)
    for h in (AF.hessian(f, z), hessian(f)(z)): assert_close(h, want, rtol=1e-8, atol=1e-10)

@pytest.mark.parametrize('name', smooth)
@every_task
def test_gradgradcheck(name, task):
    "Against finite differences, in both reductions"
    z,y,kwargs = of_task(task)
    for reduction in ('mean', 'none'):
        loss = by_definition[name][0](reduction=reduction, **kwargs)
        gradgradcheck(lambda z: loss(z, y).mean(), z.clone().requires_grad_())

@pytest.mark.parametrize('name', smooth)
def test_with_labels_left_out(name):
    z,y,_ = of_task('five')
    y[2:5] = -100
    loss = by_definition[name][0](ignore_index=-100)
    gradgradcheck(lambda z: loss(z, y), z.clone().requires_grad_())
    h,kept = AF.hessian(lambda z: loss(z, y), z),y >= 0
    assert not h[~kept].any() and not h[:,:,~kept].any()
    assert_close(h[kept][:,:,kept], AF.hessian(definition(name, y[kept], {}), z[kept]), rtol=1e-8, atol=1e-10)

@pytest.mark.parametrize('T', [.1, 1., 5.])
@pytest.mark.parametrize('k', [1, 3])
def test_soft_auroc(T, k):
    y = classes_of(7, k=k)
    y[:2] = torch.tensor([0, 1])
    z = outputs_of(*((7, k) if k > 1 else (7,))).requires_grad_()
    gradgradcheck(partial(soft_auroc, targets=y, temperature=T), z)

@pytest.mark.parametrize('k', [3, 6])
@pytest.mark.parametrize('scale', [1., 20.])
def test_log_odds(k, scale):
    "Also of confident outputs, where differences of probabilities are lost"
    z,pull = scale*outputs_of(5, k),outputs_of(5, k, seed=4)
    others = [[o for o in range(k) if o != c] for c in range(k)]
    def defined(z): return (pull*torch.stack([z[:,c] - z[:,others[c]].logsumexp(1) for c in range(k)], 1)).sum()
    assert_close(AF.hessian(lambda z: (pull*_LogOdds.apply(z)).sum(), z), AF.hessian(defined, z), rtol=1e-7, atol=1e-10)
    if scale == 1.: gradgradcheck(_LogOdds.apply, z.requires_grad_())

def test_third_derivatives():
    z,y = outputs_of(5),torch.tensor([0, 1, 1, 0, 1])
    want = jacrev(hessian(definition('auroc', y, {})))(z)
    assert want.abs().max() > .001
    assert_close(jacrev(hessian(lambda z: AUROCLoss()(z, y)))(z), want)
    assert_close(jacfwd(hessian(lambda z: AUROCLoss()(z, y)))(z), want)

@pytest.mark.parametrize('name', ['auroc', 'hinge'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_many_rows(name, dtype):
    "A product with the Hessian, of rows whose value is read off a grid; in tiles, for all pairs would take much memory"
    n = 3000
    z,y = outputs_of(n, dtype=dtype).requires_grad_(),classes_of(n)
    v = outputs_of(n, seed=5, dtype=dtype)
    def product(f, z):
        gradient, = torch.autograd.grad(f(z), z, create_graph=True)
        return torch.autograd.grad(gradient @ v.to(z.dtype), z)[0]
    got = product(lambda z: by_definition[name][0]()(z, y), z)
    leaf = z.detach().double().requires_grad_()
    assert got.dtype == dtype
    rtol = 1e-4 if dtype == torch.float32 else 1e-8
    assert_close(got.double(), product(definition(name, y, {}), leaf), rtol=rtol, atol=1e-9)

@pytest.mark.parametrize('name', smooth)
def test_gradient_penalty(name):
    "The gradient of a loss and the squared norm of its gradient in the inputs, as trained by some"
    x,y,net = outputs_of(9, 4),classes_of(9, k=3),nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    def trained(f):
        leaf = x.clone().requires_grad_()
        value = f(net(leaf))
        of_inputs, = torch.autograd.grad(value, leaf, create_graph=True)
        return torch.autograd.grad(value + of_inputs.square().sum(), list(net.parameters()))
    got,want = trained(lambda z: by_definition[name][0]()(z, y)),trained(definition(name, y, {}))
    for a,b in zip(got, want): assert_close(a, b, rtol=1e-8, atol=1e-11)

@pytest.mark.parametrize('name', smooth)
def test_a_graph_alone_changes_no_gradient(name):
    z,y,_ = of_task('three')
    leaf = z.clone().requires_grad_()
    loss = by_definition[name][0]()
    with_graph,without = (torch.autograd.grad(loss(leaf, y), leaf, create_graph=o)[0] for o in (True, False))
    assert with_graph.equal(without)

@pytest.mark.parametrize('name', straight)
@every_task
def test_aum_says_that_it_has_none(name, task):
    "One sentence instead of zeros, when second derivatives are asked for, not before"
    z,y,kwargs = of_task(task)
    loss = by_definition[name][0](**kwargs)
    leaf = z.clone().requires_grad_()
    gradient, = torch.autograd.grad(loss(leaf, y), leaf, create_graph=True)
    assert gradient.equal(torch.autograd.grad(loss(leaf, y), leaf)[0])
    def f(z): return loss(z, y)
    says = 'AUM is piecewise linear: its second derivative'
    with pytest.raises(NotImplementedError, match=says): gradient.square().sum().backward()
    for way in (partial(AF.hessian, f), hessian(f), jacfwd(jacfwd(f))):
        with pytest.raises(NotImplementedError, match=says): way(z)

@pytest.mark.parametrize('product', [_soft_product, _hinge_product])
def test_never_waits_for_a_device(product):
    "Products with the Hessian, and their derivatives"
    with FakeTensorMode():
        s,v,positive = (torch.rand(3, 40, device='cuda') for _ in range(3))
        positive,counts = positive > .5,torch.rand(3, 40, device='cuda') > .3
        with NoWaiting() as mode:
            for negative in (None, ~positive & counts): assert product(s, positive, negative, v).device.type == 'cuda'
    assert mode.n_ops > 40

# torch.func

@pytest.mark.parametrize('name', [*smooth, *straight])
@every_task
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_func(name, task, reduction):
    "grad, vjp, jvp and vmap, over outputs and over labels, give what autograd and loops do"
    z,y,kwargs = of_task(task)
    loss = by_definition[name][0](reduction=reduction, **kwargs)
    def f(z): return loss(z, y).mean()
    value,want = both_ways(f, z)
    assert_close(grad(f)(z), want, rtol=1e-10, atol=1e-13)
    assert_close(vjp(f, z)[1](torch.tensor(2., dtype=torch.float64))[0], 2*want, rtol=1e-10, atol=1e-13)
    v = outputs_of(*z.shape, seed=6)
    assert_close(jvp(f, (z,), (v,)), (value, (want*v).sum()), rtol=1e-9, atol=1e-13)
    several,flipped = torch.stack([z, -z, 2*z]),torch.stack([y, y.flip(0), y])
    def same(got, want): assert_close(got, torch.stack(want), rtol=1e-9, atol=1e-13)
    def of(z, y): return loss(z, y).mean()
    same(vmap(lambda z: loss(z, y))(several), [loss(o, y) for o in several])
    same(vmap(loss)(several, flipped), [loss(a, b) for a,b in zip(several, flipped)])
    same(vmap(grad(of))(several, flipped), [both_ways(of, a, b)[1] for a,b in zip(several, flipped)])

@pytest.mark.parametrize('name', ['auroc', 'hinge', 'micro', 'dice'])
def test_func_with_labels_left_out(name):
    z,y,_ = of_task('five')
    y[2:5] = -100
    loss = by_definition[name][0](ignore_index=-100)
    assert_close(grad(lambda z: loss(z, y))(z), both_ways(lambda z: loss(z, y), z)[1], rtol=1e-10, atol=1e-13)
    got,want = vmap(loss)(torch.stack([z, -z]), torch.stack([y, y])),torch.stack([loss(z, y), loss(-z, y)])
    assert_close(got, want, rtol=1e-10, atol=1e-13)

def test_functions_under_func():
    z,y = outputs_of(9),classes_of(9)
    for f in (aum, soft_auroc): assert_close(grad(lambda z: f(z, y))(z), both_ways(lambda z: f(z, y), z)[1])

@pytest.mark.parametrize('name', ['auroc', 'hinge', 'micro'])
def test_ensemble(name):
    "Several models at once, as in PyTorch's tutorial"
    models = [nn.Linear(4, 3).double() for _ in range(3)]
    params,buffers = stack_module_state(models)
    x,y,loss = outputs_of(20, 4),classes_of(20, k=3),by_definition[name][0]()
    def of_one(params, buffers): return loss(functional_call(models[0], (params, buffers), (x,)), y)
    got = vmap(grad(of_one))(params, buffers)
    for i,m in enumerate(models):
        want = torch.autograd.grad(loss(m(x), y), list(m.parameters()))
        for (key,_),of_one in zip(m.named_parameters(), want): assert_close(got[key][i], of_one)

def test_forward_mode():
    "Without torch.func"
    import torch.autograd.forward_ad as fwAD
    z,y = outputs_of(7),torch.tensor([0, 1, 1, 0, 1, 0, 1])
    v = outputs_of(7, seed=3)
    for name in ('auroc', 'hinge', 'micro'):
        loss = by_definition[name][0]()
        with fwAD.dual_level(): tangent = fwAD.unpack_dual(loss(fwAD.make_dual(z, v), y)).tangent
        assert_close(tangent, (both_ways(lambda z: loss(z, y), z)[1]*v).sum())
        if name != 'micro': gradcheck(lambda z: loss(z, y), z.clone().requires_grad_(), check_forward_ad=True)

# torch.compile

def compiled_and_eager(make, k, backend, **kwargs):
    torch._dynamo.reset()
    model,loss,x,y = nn.Linear(4, k),make(),outputs_of(30, 4, dtype=torch.float32),classes_of(30, k=k)
    def step(x, y): return loss(model(x), y)
    def run(f):
        model.zero_grad()
        value = f(x, y)
        value.mean().backward()
        return value.detach(),model.weight.grad.clone()
    return run(torch.compile(step, backend=backend, **kwargs)),run(step)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['micro', 'margins', 'macro', 'dice', 'auroc', 'hinge'])
@pytest.mark.parametrize('k', [2, 3])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_compiled(name, k, reduction):
    "Value and gradient of a model and its loss, compiled together"
    both = compiled_and_eager(lambda: by_definition[name][0](reduction=reduction), k, 'aot_eager')
    for got,want in zip(*both): assert_close(got, want, rtol=1e-5, atol=1e-7)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['micro', 'auroc', 'hinge', 'dice'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_the_loss_compiled(name, reduction):
    "Alone, twice, in both reductions; labels to leave out; labels that are none are not looked at"
    torch._dynamo.reset()
    z,y = outputs_of(30, 3, dtype=torch.float32),classes_of(30, k=3)
    y[:5] = -1
    loss = by_definition[name][0](reduction=reduction, ignore_index=-1)
    compiled = torch.compile(loss, backend='eager')
    for scale in (1, 2): assert_close(compiled(scale*z, y), loss(scale*z, y))
    for wrong in (torch.full((30,), 7), y-5): assert compiled(z, wrong).isfinite().all()

@pytest.mark.filterwarnings('ignore')
def test_fullgraph():
    "Dice is one graph; the others, worked out by hand, break it"
    torch._dynamo.reset()
    z,y = outputs_of(30, 3, dtype=torch.float32),classes_of(30, k=3)
    for reduction in ('mean', 'none'):
        loss = SoftDiceLoss(reduction=reduction)
        assert_close(torch.compile(loss, backend='eager', fullgraph=True)(z, y), loss(z, y))
    for name in ('micro', 'auroc', 'hinge'):
        compiled = torch.compile(by_definition[name][0](), backend='eager', fullgraph=True)
        with pytest.raises(Exception, match='(?s)torch.compiler.disable|_measure|_softmax_log_odds'): compiled(z, y)
