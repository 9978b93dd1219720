"AveragePrecisionLoss against its definition: values, gradients, second derivatives, devices, and real Learners."
import copy, itertools, pickle, tracemalloc, warnings, numpy as np, pytest, torch, torch.autograd.functional as AF
from fastai.tabular.all import tabular_learner
from fastai.torch_core import TensorBase, noop, set_seed
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close
from fastai_auroc import smooth_ap
from fastai_auroc.metric import AUROC
from fastai_auroc.smooth_ap import _ap, _ap_by_pairs, _ap_torch, soft_ap_surrogate
from fastai_auroc.losses import AveragePrecisionLoss
from test_device import NoWaiting
from test_losses import backward_of, both_ways, classes_of, columns, outputs_of, rows_of, tasks
from test_losses_arrays import takes_arrays
from test_losses_options import says
from test_partial_loss import away_from_ties, batch_of, check_predictions, check_small_model, every_task, rare_rows, shapes  # chkstyle: ignore

pytestmark = pytest.mark.usefixtures('one_thread')

steady = settings(max_examples=80, deadline=None, derandomize=True)
nan = float('nan')
temperatures = pytest.mark.parametrize('T', [.05, .1, 1., 4.])

# By definition

def ap_def(s, y, T=.1):
    "One minus the mean of (1 + sigmoids of other positives)/(1 + sigmoids of all others), over the positives"
    others = ~torch.eye(len(s), dtype=torch.bool)[y]
    above = ((s - s[y][:,None])/T).sigmoid()*others
    return 1 - ((1 + above[:,y].sum(1))/(1 + above.sum(1))).mean()

def macro_def(cols, T=.1):
    "Mean over the columns that have both classes"
    each = [ap_def(s, y, T) for _,s,y in cols if y.any() and not y.all()]
    return torch.stack(each).mean() if each else 0*cols[0][1].sum()

def definition(y, T=.1, **flags): return lambda z: macro_def(columns(z, y, **flags), T)

def test_definition_row_by_row():
    "In plain loops"
    s,y = outputs_of(9).tolist(),[1, 0, 1, 1, 0, 0, 1, 0, 0]
    def sigmoid(x): return 1/(1 + np.exp(-x))
    precision = []
    for i in (o for o in range(9) if y[o]):
        up = {j:sigmoid((s[j]-s[i])/.7) for j in range(9) if j != i}
        precision.append((1 + sum(v for j,v in up.items() if y[j]))/(1 + sum(up.values())))
    want = 1 - np.mean(precision)
    assert AveragePrecisionLoss(.7)(torch.tensor(s), torch.tensor(y)).item() == pytest.approx(want, rel=1e-6)
    assert ap_def(torch.tensor(s).double(), torch.tensor(y) > 0, .7).item() == pytest.approx(want, rel=1e-6)

@pytest.mark.parametrize('n', [5, 50, 500])
def test_a_small_temperature_is_average_precision(n):
    "scikit-learn's number, of scores without ties"
    for seed in range(5):
        y = torch.rand(n, generator=torch.manual_seed(seed)) < .2
        y[0] = True
        s = torch.randperm(n, generator=torch.manual_seed(seed)).double() + y*n/5
        s = s.argsort().argsort().double()
        assert AveragePrecisionLoss(.01)(s, y).item() == pytest.approx(1 - average_precision_score(y, s), abs=1e-9)

# Value and gradient

@given(shape=shapes, T=st.sampled_from([.05, .5, 1., 4.]))
@steady
def test_value_and_gradient(shape, T):
    "In arrays and on tensors; one number a row"
    z,y = batch_of(*shape)
    loss = AveragePrecisionLoss(T)
    want,of_want = both_ways(definition(y, T), z)
    assert takes_arrays(loss, z, y)
    for f in (loss, loss._by_tensors):
        value,gradient = both_ways(f, z, y)
        assert_close(value, want, rtol=1e-9, atol=1e-12)
        assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    rows = AveragePrecisionLoss(T, reduction='none')
    value,gradient = both_ways(lambda z: rows(z, y).mean(), z)
    assert_close(value, want, rtol=1e-9, atol=1e-12)
    assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    assert (rows(z, y) >= 0).all()

@pytest.mark.parametrize('task', tasks)
def test_shapes(task):
    "Of PyTorch and of fastai"
    z_shape,y_shape,k,kwargs = tasks[task]
    z,y = outputs_of(*z_shape),classes_of(*y_shape, k=k)
    value,gradient = both_ways(AveragePrecisionLoss(**kwargs), z, y)
    want,of_want = both_ways(lambda z: definition(y)(rows_of(z, y, kwargs.get('axis', 1))[0]), z)
    assert_close(value, want, rtol=1e-9, atol=1e-12)
    assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    subclass = AveragePrecisionLoss(**kwargs)(z.as_subclass(TensorBase), y)
    assert type(subclass) is torch.Tensor and subclass == value

@temperatures
def test_many_labels(T):
    z,y = outputs_of(40, 3),classes_of(40, 3)
    for got,want in zip(both_ways(AveragePrecisionLoss(T, multilabel=True), z, y), both_ways(definition(y, T, multilabel=True), z)):
        assert_close(got, want)

@temperatures
def test_left_out(T):
    "Rows of a label to ignore, and entries of many labels: whatever the model says there"
    for k in (0, 2, 4):
        z,y = batch_of(40, k, 3, 1.)
        void = torch.arange(40) % 3 == 2
        value,gradient = both_ways(AveragePrecisionLoss(T, ignore_index=-100), torch.where(void.view(-1, *[1]*(z.ndim-1)), nan, z), y.masked_fill(void, -100))
        want,of_want = both_ways(AveragePrecisionLoss(T), z[~void], y[~void])
        assert_close(value, want)
        assert_close(gradient[~void], of_want)
        assert not gradient[void].any()
        rows = AveragePrecisionLoss(T, ignore_index=-100, reduction='none')(z, y.masked_fill(void, -100))
        assert_close(rows[~void].mean(), want)
        assert not rows[void].any()
    z,y = outputs_of(40, 2),classes_of(40, 2)
    known = torch.rand(40, 2, generator=torch.manual_seed(4)) > .3
    each = [AveragePrecisionLoss(T)(z[known[:,c],c], y[known[:,c],c]) for c in range(2)]
    assert_close(AveragePrecisionLoss(T, multilabel=True, ignore_index=-1)(z, y.where(known, -1)), sum(each)/2)

@temperatures
def test_weights_of_classes(T):
    "In arrays and on tensors, of classes and of labels; a class that does not occur has none"
    weight,z,y = torch.tensor([1., 0, 3, .5]),outputs_of(40, 4),classes_of(40, k=3)
    each = torch.stack([ap_def(columns(z, y)[c][1], y == c, T) for c in range(3)])
    loss = AveragePrecisionLoss(T, weight=weight)
    assert takes_arrays(loss, z, y)
    for f in (loss, loss._by_tensors): assert_close(f(z, y), (each*weight[:3]).sum()/4)
    assert_close(both_ways(loss, z, y)[1], both_ways(loss._by_tensors, z, y)[1])
    labels = classes_of(40, 4)
    each = torch.stack([AveragePrecisionLoss(T)(z[:,c], labels[:,c]) for c in range(4)])
    assert_close(AveragePrecisionLoss(T, multilabel=True, weight=weight)(z, labels), (each*weight).sum()/weight.sum())
    with pytest.raises(ValueError, match='weight is for several columns'): AveragePrecisionLoss(weight=[1, 2])(z[:,0], y > 0)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('k', [0, 2, 5])
def test_narrow_outputs(dtype, k):
    z,y = batch_of(100, k, 3, 1.)
    z = z.to(dtype)
    value,gradient = both_ways(AveragePrecisionLoss(), z, y)
    want,of_want = both_ways(AveragePrecisionLoss()._by_tensors, z.double(), y)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert_close(value.double(), want, rtol=1e-5, atol=1e-7)
    assert_close(gradient.double(), of_want, rtol=2*torch.finfo(dtype).eps, atol=1e-5)

@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), T=st.sampled_from([.05, 1.]))
@steady
def test_ties(seed, n, T):
    "Tied rows of a class have the same gradient, in any order of the rows"
    z,y = outputs_of(n, seed=seed).round(),classes_of(n, seed=seed+1)
    y[:2] = torch.tensor([0, 1])
    loss = AveragePrecisionLoss(T)
    value,gradient = both_ways(loss, z, y)
    for got,want in zip((value, gradient), both_ways(definition(y, T), z)): assert_close(got, want, rtol=1e-9, atol=1e-12)
    order = torch.randperm(n, generator=torch.manual_seed(seed))
    moved,of_moved = both_ways(loss, z[order], y[order])
    assert_close(moved, value)
    assert_close(of_moved, gradient[order])
    for score,label in itertools.product(z.unique(), (0, 1)):
        tied = gradient[(z == score) & (y == label)]
        assert not len(tied) or (tied - tied[0]).abs().max() < 1e-12

@temperatures
def test_constant_model(T):
    "About one minus the prevalence; all rows of a class get the same gradient, which moves the classes apart"
    y = torch.arange(40) % 4 == 0
    for z in (torch.zeros(40), torch.full((40, 2), .3)):
        value,gradient = both_ways(AveragePrecisionLoss(T), z, y)
        g = gradient if z.ndim == 1 else gradient[:,1]
        assert_close(value, torch.tensor(1 - 5.5/20.5))
        assert (g[y] < 0).all() and (g[~y] > 0).all() and g[y].std() < 1e-7 and g[~y].std() < 1e-7
        assert AveragePrecisionLoss(T)(z - .01*gradient, y) < value

# Extreme and missing numbers

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@temperatures
def test_extreme_margins(dtype, T):
    for k in (0, 2, 3):
        z,y = batch_of(30, k, 2, 1.)
        for extreme in (z.sign()*1e4, z*1e3, z.sign()*torch.arange(30).view(-1, *[1]*(z.ndim-1))*300):
            value,gradient = both_ways(AveragePrecisionLoss(T), extreme.to(dtype), y)
            assert value.isfinite() and gradient.isfinite().all()
            assert_close(AveragePrecisionLoss(T, reduction='none')(extreme.to(dtype), y).mean(), value, rtol=1e-4, atol=1e-6)

@pytest.mark.parametrize('T', [1e-60, 1e-30, 1e30, 1e60])
def test_extreme_temperatures(T):
    "Which float32 does not hold"
    for k in (0, 4):
        z,y = batch_of(30, k, 2, 1.)
        value,gradient = both_ways(AveragePrecisionLoss(T), z.float(), y)
        assert_close(value.double(), definition(y, T)(z), rtol=1e-4, atol=1e-6)
        assert gradient.isfinite().all()
        s,positive = (z if k == 0 else z[:,0]).float()[None],y[None] == 0
        assert_close(_ap_torch(s, positive, T=T)[0].double(), _ap(s, positive, T=T)[0], rtol=1e-5, atol=1e-6)

@temperatures
def test_infinite(T):
    "In order they cost nothing; equal ones tie; NaN stays NaN"
    z,y = outputs_of(12),torch.arange(12) % 2
    right = torch.where(y == 1, torch.inf, z)
    s = torch.tensor([torch.inf, 1., -torch.inf, 2., torch.inf, -1.], dtype=torch.float64)
    far = s.nan_to_num(posinf=1e3, neginf=-1e3)
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    for f in (lambda s, y: AveragePrecisionLoss(T)(s, y), lambda s, y: _ap_torch(s[None], y[None] == 1, T=T)[0][0]):
        assert f(right, y) < 1e-20
        assert_close(f(s, labels), f(far, labels), rtol=1e-9, atol=1e-12)
        for row in range(12):
            broken = z.clone()
            broken[row] = nan
            assert f(broken, y).isnan()

@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_one_class(reduction):
    "0 with gradient 0; also of no rows"
    for y in (torch.zeros(8), torch.ones(8), torch.full((8,), -1)):
        leaf = outputs_of(8).requires_grad_()
        value = AveragePrecisionLoss(reduction=reduction, ignore_index=-1)(leaf, y)
        value.sum().backward()
        assert not value.any() and not leaf.grad.any() and value.shape == ((8,) if reduction == 'none' else ())
        kept = y >= 0
        assert not any(o.any() for o in _ap_torch(leaf.detach()[None], (y > 0)[None], (kept & (y == 0))[None]))
    empty = AveragePrecisionLoss(reduction=reduction)(torch.zeros(0, requires_grad=True), torch.zeros(0))
    assert empty.shape == ((0,) if reduction == 'none' else ()) and not empty.any()
    missing,z = torch.tensor([0, 0, 0, 1, 1, 1]),outputs_of(6, 3)
    assert_close(AveragePrecisionLoss()(z, missing), definition(missing)(z))

def test_batches_of_one_class():
    "Ten in a row are told of once"
    z,loss = outputs_of(6, dtype=torch.float32).requires_grad_(),AveragePrecisionLoss()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(9): loss(z, torch.zeros(6))
    with pytest.warns(UserWarning, match=says) as caught:
        for _ in range(30): loss(z, torch.zeros(6))
    assert len(caught) == 1 and caught[0].filename == __file__

# Options

def test_options():
    z,y = batch_of(20, 3, 0, 1.)
    for wrong in (0, -1, '1', nan, None, True):
        with pytest.raises(ValueError, match='temperature must be above 0'): AveragePrecisionLoss(wrong)
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none', got 'sum'"): AveragePrecisionLoss(reduction='sum')
    with pytest.raises(TypeError, match='AveragePrecisionLoss must be created'): AveragePrecisionLoss(z, y)
    loss = AveragePrecisionLoss(ignore_index=2)
    loss.temperature = .2
    assert loss(z, y) == AveragePrecisionLoss(.2, ignore_index=2)(z, y) and loss.state_dict() == {}
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), eval(repr(loss))):
        assert again(z, y) == loss(z, y) and repr(again) == repr(loss)
    assert_close(loss.activation(z), z.softmax(1))
    assert loss.decodes(loss.activation(z)).equal(z.argmax(1))

# Derivatives

@temperatures
@every_task
def test_second_derivatives(T, task):
    "Against finite differences, and against autograd through the definition"
    z,y,kwargs = away_from_ties(task)
    for reduction in ('mean', 'none'):
        loss = AveragePrecisionLoss(T, reduction=reduction, **kwargs)
        if T < .5: continue  # too steep for finite differences
        gradcheck(lambda z: loss(z, y).mean(), z.clone().requires_grad_())
        gradgradcheck(lambda z: loss(z, y).mean(), z.clone().requires_grad_())
    loss = AveragePrecisionLoss(T, **kwargs)
    want = AF.hessian(definition(y, T, **kwargs), z)
    assert want.abs().max() > 1e-4
    for h in (AF.hessian(lambda z: loss(z, y), z), hessian(lambda z: loss(z, y))(z)): assert_close(h, want, rtol=1e-7, atol=1e-9)

def test_third_derivatives():
    z,y,_ = away_from_ties('one')
    want = jacrev(hessian(definition(y)))(z)
    assert want.abs().max() > .001
    for way in (jacrev, jacfwd): assert_close(way(hessian(lambda z: AveragePrecisionLoss()(z, y)))(z), want)

def test_hessian_with_labels_left_out():
    z,y,_ = away_from_ties('three')
    y[2:4] = -100
    h,kept = AF.hessian(lambda z: AveragePrecisionLoss(ignore_index=-100)(z, y), z),y >= 0
    assert not h[~kept].any() and not h[:,:,~kept].any()
    assert_close(h[kept][:,:,kept], AF.hessian(definition(y[kept]), z[kept]), rtol=1e-8, atol=1e-10)

@pytest.mark.parametrize('tile', [1, 100, 2**22])
def test_tiles_of_a_device(tile, monkeypatch):
    "And of second derivatives: the same numbers, whatever the size of a tile; rows that do not count are left out"
    monkeypatch.setattr(smooth_ap, '_tile', tile)
    s,v = outputs_of(3, 40),outputs_of(3, 40, seed=4)
    positive,counts = (torch.rand(3, 40, generator=torch.manual_seed(i)) > .6 for i in (1, 2))
    for T,negative in itertools.product((.3, 1.), (None, ~positive & counts)):
        mine = positive if negative is None else positive & counts
        for got,want in zip(_ap_torch(s, mine, negative, T), _ap(s, mine, True, negative, T)): assert_close(got, want, rtol=1e-9, atol=1e-12)
        def f(s): return sum(ap_def(a[b | c], b[b | c], T) for a,b,c in zip(s, mine, ~mine if negative is None else negative))
        want = AF.hvp(f, s, v)[1]
        assert_close(soft_ap_surrogate(T).hessian_product(s, mine, negative, v), want, rtol=1e-8, atol=1e-10)
    assert_close(_ap_torch(s.float(), positive, T=.3)[1].double(), _ap(s, positive, T=.3)[1], rtol=1e-4, atol=1e-6)

@every_task
def test_func(task):
    "grad, jvp and vmap"
    z,y,kwargs = away_from_ties(task)
    def f(z): return AveragePrecisionLoss(**kwargs)(z, y)
    value,want = both_ways(f, z)
    assert_close(grad(f)(z), want)
    v,several = outputs_of(*z.shape, seed=6),torch.stack([z, -z, 2*z])
    assert_close(jvp(f, (z,), (v,)), (value, (want*v).sum()))
    assert_close(vmap(f)(several), torch.stack([f(o) for o in several]))
    assert_close(vmap(grad(f))(several), torch.stack([both_ways(f, o)[1] for o in several]))

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('k', [2, 3])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_compiled(k, reduction):
    "Value and gradient of a model and its loss, compiled together"
    torch._dynamo.reset()
    model,loss,x,y = nn.Linear(4, k),AveragePrecisionLoss(reduction=reduction),outputs_of(30, 4, dtype=torch.float32),classes_of(30, k=k)
    def step(x, y): return loss(model(x), y)
    def run(f):
        model.zero_grad()
        value = f(x, y)
        value.mean().backward()
        return value.detach(),model.weight.grad.clone()
    for got,want in zip(run(torch.compile(step, backend='aot_eager')), run(step)): assert_close(got, want, rtol=1e-5, atol=1e-7)

# Devices and large batches

@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_never_waits_for_a_device(task, reduction):
    z_shape,y_shape,k,kwargs = tasks[task]
    for ignored in (dict(), dict(ignore_index=-1)):
        with FakeTensorMode(allow_non_fake_inputs=True):
            z,y = torch.rand(z_shape, device='cuda', requires_grad=True),torch.randint(0, max(2, k), y_shape, device='cuda')
            with NoWaiting() as mode:
                value = AveragePrecisionLoss(reduction=reduction, **ignored, **kwargs)(z, y).mean()
                gradient = backward_of(value)[z]
        assert mode.n_ops > 15 and gradient.shape == z.shape and gradient.device.type == 'cuda'

def test_products_never_wait():
    with FakeTensorMode():
        s,v,positive = (torch.rand(3, 40, device='cuda') for _ in range(3))
        positive,counts = positive > .5,torch.rand(3, 40, device='cuda') > .3
        with NoWaiting() as mode:
            for negative in (None, ~positive & counts): assert soft_ap_surrogate(1.).hessian_product(s, positive, negative, v).device.type == 'cuda'
    assert mode.n_ops > 40

@pytest.mark.parametrize('n,share', [(3000, .02), (3000, .5), (20_000, .01)])
def test_many_rows(n, share):
    "In tiles, in float32"
    s,y = outputs_of(n),torch.rand(n, generator=torch.manual_seed(1)) < share
    value,gradient = both_ways(AveragePrecisionLoss(), s.float(), y)
    want,of_want = both_ways(definition(y), s.float().double())
    assert_close(value.double(), want, rtol=1e-5, atol=0)
    assert_close(gradient.double(), of_want, rtol=1e-3, atol=1e-8)

def test_memory():
    "10⁸ pairs in the memory of a few tiles"
    s,y = outputs_of(20_000, dtype=torch.float32).numpy(),np.arange(20_000) % 4 == 0
    tracemalloc.start()
    _ap_by_pairs(s, y, 1.)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6

def test_many_classes():
    "Where columns are better judged one by one"
    z,y = batch_of(1500, 3, 7, 1.)
    for got,want in zip(both_ways(AveragePrecisionLoss(), z, y), both_ways(definition(y), z)): assert_close(got, want, rtol=1e-7, atol=1e-11)

# Learners

def test_learner(rare_rows, tmp_path):
    "At 2 % positives average precision rises; what fastai asks of a loss afterwards works"
    set_seed(0)
    learn = tabular_learner(rare_rows, layers=[30], loss_func=AveragePrecisionLoss(), metrics=AUROC())
    def precision():
        with learn.no_bar(), learn.no_logging(): raw,y = learn.get_preds(act=noop)
        return average_precision_score(y, raw[:,1].double() - raw[:,0].double())
    before = precision()
    with learn.no_bar(), learn.no_logging(): learn.fit(3, lr=.01)
    assert before < .05 and precision() > .08
    check_predictions(learn, tmp_path)

@pytest.mark.parametrize('k', [1, 2, 3])
def test_small_models(k):
    "One output, two and three; autocast in bfloat16"
    check_small_model(k, AveragePrecisionLoss())
