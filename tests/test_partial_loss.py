"PartialAUCLoss against its definition: values, gradients, ties at the cut, second derivatives, devices, and real Learners."
import copy, itertools, math, pickle, warnings, numpy as np, pandas as pd, pytest, torch, torch.autograd.functional as AF
from fractions import Fraction
from fastai.data.load import DataLoader
from fastai.data.core import DataLoaders
from fastai.learner import Learner, load_learner
from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, tabular_learner
from fastai.torch_core import TensorBase, noop, set_seed
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.testing import assert_close
from fastai_auroc.losses import AUROCLoss, PartialAUCLoss, SquaredHingeAUCLoss
from fastai_auroc.metric import AUROC
from fastai_auroc.top_pairs import ceil_share, partial_hinge_surrogate, partial_soft_surrogate
from test_device import NoWaiting
from test_losses import backward_of, both_ways, classes_of, columns, outputs_of, rows_of, tasks
from test_losses_arrays import takes_arrays
from test_losses_options import says

pytestmark = pytest.mark.usefixtures('one_thread')

steady = settings(max_examples=60, deadline=None, derandomize=True)
nan = float('nan')

# By definition

def ceiling(share, n): return max(1, math.ceil(Fraction(str(share))*n))

def losses_of(gap, option, value): return (value-gap).relu().square() if option == 'margin' else (-gap/value).sigmoid()

def chosen(s, y, max_fpr=None, min_tpr=None):
    "Positives and negatives that count, of one column"
    pos,neg = s[y],s[~y]
    if max_fpr is not None: return pos,neg.topk(ceiling(max_fpr, len(neg)))[0]
    return pos.topk(ceiling(Fraction(1) - Fraction(str(min_tpr)), len(pos)), largest=False)[0],neg

def partial_def(s, y, option='margin', value=1., **rate):
    pos,neg = chosen(s, y, **rate)
    return losses_of(pos[:,None] - neg, option, value).mean()

def macro_def(cols, **kwargs):
    "Mean over the columns that have both classes"
    each = [partial_def(s, y, **kwargs) for _,s,y in cols if y.any() and not y.all()]
    return torch.stack(each).mean() if each else 0*cols[0][1].sum()

hinges = dict(surrogate='squared_hinge')
kinds = dict(hinge=hinges, wide_hinge=dict(margin=3., **hinges), sigmoid=dict(), cool=dict(temperature=.2))
defined = dict(hinge=('margin', 1.), wide_hinge=('margin', 3.), sigmoid=('temperature', 1.), cool=('temperature', .2))
rates = [dict(max_fpr=.3), dict(min_tpr=.8), dict(max_fpr=.05), dict(min_tpr=.5)]
every_kind = pytest.mark.parametrize('kind', kinds)
every_rate = pytest.mark.parametrize('rate', rates, ids=str)

def make(kind, rate, **kwargs): return PartialAUCLoss(**rate, **kinds[kind], **kwargs)

def definition(kind, rate, y, **flags):
    option,value = defined[kind]
    return lambda z: macro_def(columns(z, y, **flags), option=option, value=value, **rate)

# How many

@pytest.mark.parametrize('share,n,want', [(.3, 10, 3), (.07, 100, 7), (.1, 30, 3), (.29, 100, 29), (1-.8, 10, 2), (1-.9, 1000, 100),
    (.3, 11, 4), (1/3, 3, 1), (5/6, 6, 5), (2/3, 9, 6), (1, 7, 7), (1e-9, 100, 0), (.001, 1, 1), (np.float32(.1), 10, 1), (.3, 0, 0)])
def test_ceiling(share, n, want):
    "Of the fraction that a float stands for"
    assert ceil_share(share, n) == want == ceil_share(share, torch.tensor([n])).item() == ceil_share(share, np.array([n])).item()

@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 5000))
@steady
def test_ceiling_of_fractions(a, b, n):
    share = Fraction(min(a, b), max(a, b))
    assert ceil_share(float(share), n) == math.ceil(share*n)
    if share < 1: assert ceil_share(1 - float(1-share), n) == math.ceil(share*n)

# Value and gradient

shapes = st.tuples(st.integers(2, 40), st.sampled_from([0, 1, 2, 3, 6]), st.integers(0, 10**6), st.sampled_from([.01, 1., 30.]))

def batch_of(n, k, seed, scale):
    z = outputs_of(*((n, k) if k else (n,)), seed=seed)*scale
    y = classes_of(n, k=max(2, k), seed=seed+1)
    y[:2] = torch.tensor([0, 1])
    return z,y

@every_kind
@given(shape=shapes, rate=st.sampled_from(['max_fpr', 'min_tpr']), at=st.sampled_from([.01, .1, .25, .3, .5, .9, .99]))
@steady
def test_value_and_gradient(kind, shape, rate, at):
    "In arrays and on tensors"
    z,y = batch_of(*shape)
    loss = make(kind, {rate:at})
    want,of_want = both_ways(definition(kind, {rate:at}, y), z)
    assert takes_arrays(loss, z, y)
    for f in (loss, loss._by_tensors):
        value,gradient = both_ways(f, z, y)
        assert_close(value, want, rtol=1e-9, atol=1e-12)
        assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    assert_close(PartialAUCLoss(**{rate:at}, **kinds[kind], reduction='none')(z, y).mean(), want, rtol=1e-9, atol=1e-12)

@every_rate
@pytest.mark.parametrize('task', tasks)
def test_shapes(rate, task):
    "Of PyTorch and of fastai"
    z_shape,y_shape,k,kwargs = tasks[task]
    z,y = outputs_of(*z_shape),classes_of(*y_shape, k=k)
    value,gradient = both_ways(make('hinge', rate, **kwargs), z, y)
    def f(z): return definition('hinge', rate, y)(rows_of(z, y, kwargs.get('axis', 1))[0])
    want,of_want = both_ways(f, z)
    assert_close(value, want, rtol=1e-9, atol=1e-12)
    assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    subclass = make('hinge', rate, **kwargs)(z.as_subclass(TensorBase), y)
    assert type(subclass) is torch.Tensor and subclass == value

@every_kind
@every_rate
def test_many_labels(kind, rate):
    z,y = outputs_of(40, 3),classes_of(40, 3)
    value,gradient = both_ways(make(kind, rate, multilabel=True), z, y)
    want,of_want = both_ways(definition(kind, rate, y, multilabel=True), z)
    assert_close(value, want)
    assert_close(gradient, of_want)

@every_kind
@every_rate
def test_left_out(kind, rate):
    "Rows of a label to ignore, and entries of many labels: whatever the model says there"
    for k in (0, 2, 4):
        z,y = batch_of(40, k, 3, 1.)
        void = torch.arange(40) % 3 == 2
        loss = make(kind, rate, ignore_index=-100)
        value,gradient = both_ways(loss, torch.where(void.view(-1, *[1]*(z.ndim-1)), nan, z), y.masked_fill(void, -100))
        want,of_want = both_ways(make(kind, rate), z[~void], y[~void])
        assert_close(value, want)
        assert_close(gradient[~void], of_want)
        assert not gradient[void].any()
        rows = make(kind, rate, ignore_index=-100, reduction='none')(z, y.masked_fill(void, -100))
        assert_close(rows[~void].mean(), want)
        assert not rows[void].any()
    z,y = outputs_of(40, 2),classes_of(40, 2)
    known = torch.rand(40, 2, generator=torch.manual_seed(4)) > .3
    each = [make(kind, rate)(z[known[:,c],c], y[known[:,c],c]) for c in range(2)]
    assert_close(make(kind, rate, multilabel=True, ignore_index=-1)(z, y.where(known, -1)), sum(each)/2)

@every_kind
@every_rate
def test_weights_of_classes(kind, rate):
    "In arrays and on tensors, of classes and of labels; a class that does not occur has none"
    weight,z,y = torch.tensor([1., 0, 3, .5]),outputs_of(40, 4),classes_of(40, k=3)
    each = torch.stack([definition(kind, rate, (y == c).long())(columns(z, y)[c][1]) for c in range(3)])
    want = (each*weight[:3]).sum()/4
    loss = make(kind, rate, weight=weight)
    assert takes_arrays(loss, z, y)
    for f in (loss, loss._by_tensors): assert_close(f(z, y), want)
    assert_close(both_ways(loss, z, y)[1], both_ways(loss._by_tensors, z, y)[1])
    labels = classes_of(40, 4)
    each = torch.stack([make(kind, rate)(z[:,c], labels[:,c]) for c in range(4)])
    assert_close(make(kind, rate, multilabel=True, weight=weight)(z, labels), (each*weight).sum()/weight.sum())
    with pytest.raises(ValueError, match='weight is for several columns'): make(kind, rate, weight=[1, 2])(z[:,0], y > 0)

@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@every_kind
def test_narrow_outputs(kind, dtype):
    "Those of float16 and bfloat16 tie, at the cut, too"
    for k in (0, 2, 5):
        z,y = batch_of(100, k, 3, 1.)
        z = z.to(dtype)
        loss = make(kind, dict(max_fpr=.3))
        value,gradient = both_ways(loss, z, y)
        want,of_want = both_ways(loss._by_tensors, z.double(), y)
        assert value.dtype == torch.float32 and gradient.dtype == dtype
        assert_close(value.double(), want, rtol=1e-5, atol=1e-7)
        if k < 5: assert_close(gradient.double(), of_want, rtol=2*torch.finfo(dtype).eps, atol=1e-5)

@pytest.mark.parametrize('rate', [dict(max_fpr=1), dict(max_fpr=1.), dict(min_tpr=0), dict(min_tpr=0.)], ids=str)
def test_the_whole_area(rate):
    "To the digit what the losses of the whole area give"
    for k in (0, 2, 3):
        for n in (20, 400):
            z,y = batch_of(n, k, 5, 1.)
            for kind,other in (('wide_hinge', SquaredHingeAUCLoss(3.)), ('cool', AUROCLoss(.2))):
                for loss,whole in ((make(kind, rate), other), (make(kind, rate)._by_tensors, other._by_tensors)):
                    for got,want in zip(both_ways(loss, z, y), both_ways(whole, z, y)): assert got.equal(want)

@pytest.mark.parametrize('kind', ['hinge', 'cool'])
def test_one_row(kind):
    "A share so small that it is less than a row is one row; shares just below one are all rows but one"
    z,y = batch_of(30, 0, 1, 1.)
    option,value = defined[kind]
    pos,neg = z[y == 1],z[y == 0]
    assert_close(make(kind, dict(max_fpr=1e-7))(z, y), losses_of(pos - neg.max(), option, value).mean())
    assert_close(make(kind, dict(min_tpr=.99999))(z, y), losses_of(pos.min() - neg, option, value).mean())
    without = losses_of(pos[:,None] - neg.sort()[0][1:], option, value).mean()
    assert_close(make(kind, dict(max_fpr=1 - 1/len(neg)))(z, y), without)

# Ties at the cut

def mean_over_choices(s, y, option, value, max_fpr=None, min_tpr=None):
    "Value and gradient, averaged over all ways to break ties at the cut"
    sign,drawn,share = (1, ~y, Fraction(str(max_fpr))) if max_fpr is not None else (-1, y, 1 - Fraction(str(min_tpr)))
    x = sign*s
    rows = drawn.nonzero()[:,0]
    count = ceiling(share, len(rows))
    cut = x[rows].sort(descending=True)[0][count-1]
    above,tied = rows[x[rows] > cut].tolist(),rows[x[rows] == cut].tolist()
    found = []
    for some in itertools.combinations(tied, count-len(above)):
        mine = above + list(some)
        pos,neg = (y.nonzero()[:,0].tolist(), mine) if max_fpr is not None else (mine, (~y).nonzero()[:,0].tolist())
        found.append(both_ways(lambda s: losses_of(s[pos][:,None] - s[neg], option, value).mean(), s))
    return [torch.stack(o).mean(0) for o in zip(*found)]

@every_kind
@given(seed=st.integers(0, 10**6), n=st.integers(2, 14), digits=st.integers(0, 1), rate=st.sampled_from(rates[:2] + [dict(max_fpr=.6)]))
@steady
def test_ties(kind, seed, n, digits, rate):
    "Rows at the cut share: the value is that of any choice, the gradient the mean over all of them"
    z,y = outputs_of(n, seed=seed).round(decimals=digits),classes_of(n, seed=seed+1)
    y[:2] = torch.tensor([0, 1])
    want,of_want = mean_over_choices(z, y > 0, *defined[kind], **rate)
    loss = make(kind, rate)
    for f in (loss, loss._by_tensors):
        value,gradient = both_ways(f, z, y)
        assert_close(value, want, rtol=1e-9, atol=1e-12)
        assert_close(gradient, of_want, rtol=1e-8, atol=1e-11)
    order = torch.randperm(n, generator=torch.manual_seed(seed))
    moved,of_moved = both_ways(loss, z[order], y[order])
    assert_close(moved, value)
    assert_close(of_moved, gradient[order])
    rows = make(kind, rate, reduction='none')(z, y)
    assert_close(rows.mean(), value)
    assert_close(make(kind, rate, reduction='none')(z[order], y[order]), rows[order])

@pytest.mark.parametrize('kind', ['hinge', 'wide_hinge'])
@every_rate
def test_subgradient(kind, rate):
    "The hinge is convex, and so is the mean over its highest rows, tied or not"
    for seed in range(20):
        z,y = outputs_of(15, seed=seed).round(decimals=seed % 2),classes_of(15, seed=seed+1)
        y[:2] = torch.tensor([0, 1])
        value,gradient = both_ways(make(kind, rate), z, y)
        for scale in (.01, .3, 3):
            for step in outputs_of(10, 15, seed=seed)*scale: assert make(kind, rate)(z + step, y) >= value + step @ gradient - 1e-9

@every_kind
@every_rate
def test_constant_model(kind, rate):
    "All rows of a class get the same gradient, which moves the classes apart"
    y = torch.arange(40) % 4 == 0
    for z in (torch.zeros(40), torch.full((40, 2), .3)):
        value,gradient = both_ways(make(kind, rate), z, y)
        g = gradient if z.ndim == 1 else gradient[:,1]
        assert_close(value, losses_of(torch.tensor(0.), *defined[kind]))
        assert (g[y] < 0).all() and (g[~y] > 0).all() and len(g[y].unique()) == 1 == len(g[~y].unique())
        assert_close(g[y].sum(), -g[~y].sum())
        assert make(kind, rate)(z - gradient, y) < value
    three = torch.zeros(30, 3)
    value,gradient = both_ways(make(kind, rate), three, torch.arange(30) % 3)
    assert make(kind, rate)(three - gradient, torch.arange(30) % 3) < value

# Extreme and missing numbers

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@every_kind
@every_rate
def test_extreme_margins(kind, rate, dtype):
    for k in (0, 2, 3):
        z,y = batch_of(30, k, 2, 1.)
        for extreme in (z.sign()*1e4, z*1e3, z.sign()*torch.arange(30).view(-1, *[1]*(z.ndim-1))*300):
            value,gradient = both_ways(make(kind, rate), extreme.to(dtype), y)
            assert value.isfinite() and gradient.isfinite().all()
            rows = make(kind, rate, reduction='none')(extreme.to(dtype), y)
            assert_close(rows.mean(), value, rtol=1e-4, atol=1e-6)

@pytest.mark.parametrize('rate', rates[:2], ids=str)
def test_infinite(rate):
    "In order they cost nothing, in wrong order all that the pair loss can; NaN stays NaN"
    z,y = outputs_of(12),torch.arange(12) % 2
    right,wrong = (torch.where(y == o, torch.inf, z) for o in (1, 0))
    for kind in kinds:
        for z_right in (right, -wrong): assert both_ways(make(kind, rate), z_right, y)[0] < 1e-20
    assert both_ways(make('hinge', rate), wrong, y)[0] == torch.inf
    assert_close(both_ways(make('sigmoid', rate), wrong, y)[0], torch.tensor(1., dtype=torch.float64))
    for row in range(12):
        broken = z.clone()
        broken[row] = nan
        for kind in ('hinge', 'sigmoid'): assert make(kind, rate)(broken, y).isnan()

@every_rate
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_one_class(rate, reduction):
    "0 with gradient 0; also of no rows"
    for kind in ('hinge', 'sigmoid'):
        for y in (torch.zeros(8), torch.ones(8), torch.full((8,), -1)):
            leaf = outputs_of(8).requires_grad_()
            value = make(kind, rate, reduction=reduction, ignore_index=-1)(leaf, y)
            value.sum().backward()
            assert not value.any() and not leaf.grad.any() and value.shape == ((8,) if reduction == 'none' else ())
        empty = make(kind, rate, reduction=reduction)(torch.zeros(0, requires_grad=True), torch.zeros(0))
        assert empty.shape == ((0,) if reduction == 'none' else ()) and not empty.any()
    missing = torch.tensor([0, 0, 0, 1, 1, 1])
    z = outputs_of(6, 3)
    assert_close(make('hinge', rate)(z, missing), definition('hinge', rate, missing)(z))

@pytest.mark.parametrize('rate', rates[:2], ids=str)
def test_batches_of_one_class(rate):
    "Ten in a row are told of once"
    batch = outputs_of(6, dtype=torch.float32),torch.zeros(6)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(9): make('hinge', rate)(batch[0].requires_grad_(), batch[1])
    loss = make('hinge', rate)
    with pytest.warns(UserWarning, match=says) as caught:
        for _ in range(30): loss(batch[0].requires_grad_(), batch[1])
    assert len(caught) == 1 and caught[0].filename == __file__

# Options

wrong = [(dict(max_fpr=0), r'max_fpr must be None or in \(0, 1\], got 0'), (dict(max_fpr=30), 'got 30'), (dict(max_fpr='1'), 'max_fpr'),
    (dict(max_fpr=nan), 'got nan'), (dict(min_tpr=1.), r'min_tpr must be None or in \[0, 1\), got 1.0'), (dict(min_tpr=-.1), 'min_tpr'),
    (dict(max_fpr=True), 'got True'), (dict(max_fpr=.3, surrogate='hinge'), "must be 'sigmoid' or 'squared_hinge', got 'hinge'"),
    (dict(max_fpr=.3, margin=0), 'margin must be above 0'), (dict(max_fpr=.3, temperature=-1), 'temperature must be above 0'),
    (dict(max_fpr=.3, reduction='sum'), "reduction must be 'mean' or 'none'"), (dict(), 'got max_fpr=None and min_tpr=None'),
    (dict(max_fpr=.3, min_tpr=.8), 'and not both: got max_fpr=0.3 and min_tpr=0.8'), (dict(max_fpr=.3, axis='x'), 'axis')]

@pytest.mark.parametrize('kwargs,says', wrong, ids=str)
def test_wrong_options(kwargs, says):
    with pytest.raises(ValueError, match=says): PartialAUCLoss(**kwargs)
    if len(kwargs) == 1 and 'got 0.3' not in says:
        loss = PartialAUCLoss(.3)
        with pytest.raises(ValueError, match=says): setattr(loss, *next(iter(kwargs.items())))

def test_set_later():
    "Checked when set; that there is one rate, when called"
    z,y = batch_of(20, 2, 0, 1.)
    loss = PartialAUCLoss(.3)
    loss.min_tpr = .8
    with pytest.raises(ValueError, match='and not both: got max_fpr=0.3 and min_tpr=0.8'): loss(z, y)
    loss.max_fpr = None
    loss.surrogate = 'squared_hinge'
    assert loss(z, y) == PartialAUCLoss(min_tpr=.8, surrogate='squared_hinge')(z, y)
    loss.surrogate,loss.temperature = 'sigmoid',.5
    assert loss(z, y) == PartialAUCLoss(min_tpr=.8, temperature=.5)(z, y)
    with pytest.raises(TypeError, match='PartialAUCLoss must be created'): PartialAUCLoss(z, y)

def test_copies():
    z,y = batch_of(20, 3, 0, 1.)
    for kind,rate in itertools.product(kinds, rates):
        loss = make(kind, rate, ignore_index=2)
        assert loss.state_dict() == {} and f"{next(iter(rate))}={next(iter(rate.values()))}" in repr(loss)
        for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), eval(repr(loss))):
            assert again(z, y) == loss(z, y) and repr(again) == repr(loss)

def test_activation():
    loss,z = PartialAUCLoss(.3),outputs_of(5, 2)
    assert_close(loss.activation(z), z.softmax(1))
    assert loss.decodes(loss.activation(z)).equal(z.argmax(1)) and loss.decodes(loss.activation(z[:,0])).equal(z[:,0] > 0)

# Derivatives

def away_from_ties(task):
    z_shape,y_shape,k,kwargs = dict(one=((7,), (7,), 2, {}), two=((7,2), (7,), 2, {}), three=((8,3), (8,), 3, {}),
        labels=((6,3), (6,3), 2, dict(multilabel=True)))[task]
    y = classes_of(*y_shape, k=k)
    y.view(-1)[:2] = torch.tensor([0, 1])
    return outputs_of(*z_shape),y,kwargs

every_task = pytest.mark.parametrize('task', ['one', 'two', 'three', 'labels'])

@every_kind
@every_task
@pytest.mark.parametrize('rate', rates[:2], ids=str)
def test_second_derivatives(kind, task, rate):
    "Against finite differences, and against autograd through the definition"
    z,y,kwargs = away_from_ties(task)
    for reduction in ('mean', 'none'):
        loss = make(kind, rate, reduction=reduction, **kwargs)
        gradcheck(lambda z: loss(z, y).mean(), z.clone().requires_grad_())
        gradgradcheck(lambda z: loss(z, y).mean(), z.clone().requires_grad_())
    loss = make(kind, rate, **kwargs)
    want = AF.hessian(definition(kind, rate, y, **kwargs), z)
    for h in (AF.hessian(lambda z: loss(z, y), z), hessian(lambda z: loss(z, y))(z)): assert_close(h, want, rtol=1e-8, atol=1e-10)

def test_third_derivatives():
    z,y,_ = away_from_ties('one')
    for rate in rates[:2]:
        want = jacrev(hessian(definition('sigmoid', rate, y)))(z)
        assert want.abs().max() > .001
        for way in (jacrev, jacfwd): assert_close(way(hessian(lambda z: make('sigmoid', rate)(z, y)))(z), want)

@pytest.mark.parametrize('kind', ['hinge', 'sigmoid'])
def test_hessian_of_ties(kind):
    "Rows at the cut weigh what they share"
    z,y = torch.tensor([1., .5, .7, .7, .7, 0., 2.], dtype=torch.float64),torch.tensor([1, 1, 0, 0, 0, 0, 0])
    option,value = defined[kind]
    weight = torch.tensor([1/3, 1/3, 1/3, 0, 1], dtype=torch.float64)/2
    def weighted(z): return (losses_of(z[:2,None] - z[2:], option, value)*weight).sum()/2
    assert_close(make(kind, dict(max_fpr=.4))(z, y), weighted(z))
    assert_close(AF.hessian(lambda z: make(kind, dict(max_fpr=.4))(z, y), z), AF.hessian(weighted, z))
    assert_close(AF.hessian(lambda z: make(kind, dict(min_tpr=.6))(z, 1-y), -z), AF.hessian(weighted, z))

@every_kind
@every_task
def test_func(kind, task):
    "grad, jvp and vmap"
    z,y,kwargs = away_from_ties(task)
    for rate in rates[:2]:
        loss = make(kind, rate, **kwargs)
        def f(z): return loss(z, y)
        value,want = both_ways(f, z)
        assert_close(grad(f)(z), want)
        v = outputs_of(*z.shape, seed=6)
        assert_close(jvp(f, (z,), (v,)), (value, (want*v).sum()))
        several = torch.stack([z, -z, 2*z])
        assert_close(vmap(f)(several), torch.stack([f(o) for o in several]))
        assert_close(vmap(grad(f))(several), torch.stack([both_ways(f, o)[1] for o in several]))

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('k', [2, 3])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_compiled(k, reduction):
    "Value and gradient of a model and its loss, compiled together"
    torch._dynamo.reset()
    model,loss,x,y = nn.Linear(4, k),PartialAUCLoss(.3, reduction=reduction),outputs_of(30, 4, dtype=torch.float32),classes_of(30, k=k)
    def run(f):
        model.zero_grad()
        value = f(x, y)
        value.mean().backward()
        return value.detach(),model.weight.grad.clone()
    def step(x, y): return loss(model(x), y)
    for got,want in zip(run(torch.compile(step, backend='aot_eager')), run(step)): assert_close(got, want, rtol=1e-5, atol=1e-7)

# Devices

@every_kind
@pytest.mark.parametrize('rate', rates[:2], ids=str)
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_never_waits_for_a_device(kind, rate, task, reduction):
    z_shape,y_shape,k,kwargs = tasks[task]
    for ignored in (dict(), dict(ignore_index=-1)):
        with FakeTensorMode(allow_non_fake_inputs=True):
            z,y = torch.rand(z_shape, device='cuda', requires_grad=True),torch.randint(0, max(2, k), y_shape, device='cuda')
            with NoWaiting() as mode:
                value = make(kind, rate, reduction=reduction, **ignored, **kwargs)(z, y).mean()
                gradient = backward_of(value)[z]
        assert mode.n_ops > 15 and gradient.shape == z.shape and gradient.device.type == 'cuda'

@pytest.mark.parametrize('surrogate', [partial_hinge_surrogate, partial_soft_surrogate])
@pytest.mark.parametrize('of_positives', [True, False])
def test_products_never_wait(surrogate, of_positives):
    "With the Hessian"
    with FakeTensorMode():
        s,v,positive = (torch.rand(3, 40, device='cuda') for _ in range(3))
        positive,counts = positive > .5,torch.rand(3, 40, device='cuda') > .3
        with NoWaiting() as mode:
            for negative in (None, ~positive & counts):
                product = surrogate(1., .3, of_positives).hessian_product(s, positive, negative, v)
                assert product.device.type == 'cuda' and product.shape == s.shape
    assert mode.n_ops > 40

def test_kernels_of_a_device(monkeypatch):
    "What a device runs gives the same numbers"
    from fastai_auroc import smooth, surrogates
    z,y = outputs_of(3, 60),torch.rand(3, 60, generator=torch.manual_seed(1)) > .7
    counts = torch.rand(3, 60, generator=torch.manual_seed(2)) > .2
    for of_positives in (False, True):
        cases = [(partial_hinge_surrogate(2., .3, of_positives), lambda *o: surrogates._hinge_by_pairs(*o, margin=2.))]
        cases.append((partial_soft_surrogate(.5, .3, of_positives), lambda *o: smooth._soft_torch(*o, T=.5)))
        for ours,device in cases:
            want = ours.value(z, y & counts, False, ~y & counts)
            with monkeypatch.context() as m:
                m.setattr(ours.value.keywords['surrogate'], 'value', lambda columns, positive, rows, negative: device(columns, positive, negative))
                got = ours.value(z, y & counts, False, ~y & counts)
            for a,b in zip(got[:2], want[:2]): assert_close(a, b, rtol=1e-9, atol=1e-12)
            assert not got[1][~counts].any()

# Large batches

@pytest.mark.parametrize('n', [3000, 20_000])
def test_many_rows(n):
    "Of a sort and of a grid, in float32"
    s,y = outputs_of(n),torch.arange(n) % 50 == 0
    for kind,rate in itertools.product(('hinge', 'sigmoid'), rates[:2]):
        value,gradient = both_ways(make(kind, rate), s.float(), y)
        want,of_want = both_ways(definition(kind, rate, y), s.float().double())
        assert_close(value.double(), want, rtol=1e-5, atol=0)
        assert_close(gradient.double(), of_want, rtol=1e-3, atol=1e-8)

def test_many_classes():
    "Where columns are better judged one by one"
    z,y = batch_of(1500, 3, 7, 1.)
    for kind,rate in itertools.product(('hinge', 'sigmoid'), rates[:2]):
        value,gradient = both_ways(make(kind, rate), z, y)
        want,of_want = both_ways(definition(kind, rate, y), z)
        assert_close(value, want, rtol=1e-7, atol=0)
        assert_close(gradient, of_want, rtol=1e-5, atol=1e-9)

@pytest.mark.parametrize('T', [1e-60, 1e-30, 1e30, 1e60])
def test_extreme_temperatures(T):
    "Which float32 does not hold"
    for k in (0, 4):
        z,y = batch_of(30, k, 2, 1.)
        value,gradient = both_ways(PartialAUCLoss(.3, temperature=T), z.float(), y)
        want = macro_def(columns(z, y), option='temperature', value=T, max_fpr=.3)
        assert_close(value.double(), want, rtol=1e-4, atol=1e-6)
        assert gradient.isfinite().all()

# Learners

@pytest.fixture(scope='module')
def rare_rows(adult, tmp_path_factory):
    "DataLoaders of Adult with 2 % positives: 5,000 rows, and 5,000 for validation"
    rich,poor = (adult[(adult.income == '>50K') == o].sample(frac=1, random_state=0) for o in (True, False))
    df = pd.concat([o[half*size:(half+1)*size] for half in (0, 1) for o,size in ((rich, 100), (poor, 4900))], ignore_index=True)
    return TabularDataLoaders.from_df(df, path=tmp_path_factory.mktemp('adult'), procs=[Categorify, FillMissing, Normalize],
        cat_names=['education','marital-status','occupation'], cont_names=['age','education-num','hours-per-week'], y_names='income',
        y_block=CategoryBlock(), valid_idx=list(range(5000, 10_000)), bs=512, val_bs=1000)

def partial_area(learn, **rate):
    "scikit-learn's standardised partial area of the raw outputs"
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=noop)
    margin = (outputs[:,1].double() - outputs[:,0].double()).numpy()
    if 'max_fpr' in rate: return roc_auc_score(targets, margin, max_fpr=rate['max_fpr'])
    return roc_auc_score(1-targets, -margin, max_fpr=1-rate['min_tpr'])

def check_predictions(learn, tmp_path):
    "What fastai asks of a trained loss: probabilities, decisions, losses of rows, an export"
    with learn.no_bar(), learn.no_logging():
        p,y,decoded,rows = learn.get_preds(with_loss=True, with_decoded=True)
        raw,_ = learn.get_preds(act=noop)
    assert p.equal(raw.softmax(1)) and decoded.equal(p.argmax(1)) and rows.shape == (5000,) and rows.isfinite().all()
    each = [learn.loss_func(raw[i:i+1000], y[i:i+1000]).item() for i in range(0, 5000, 1000)]
    assert [o.mean().item() for o in rows.split(1000)] == pytest.approx(each, rel=1e-4, abs=1e-6)
    learn.export(tmp_path/'learner.pkl')
    assert repr(load_learner(tmp_path/'learner.pkl').loss_func) == repr(learn.loss_func)

def check_small_model(k, loss):
    "`k` outputs learn; autocast in bfloat16"
    y = torch.randint(0, max(2, k), (96,))
    x = y.float()[:,None] + .7*torch.randn(96, 1)
    dls = DataLoaders(*[DataLoader(list(zip(x, y)), bs=32, shuffle=o) for o in (True, False)])
    learn = Learner(dls, nn.Linear(1, k), loss_func=loss, metrics=AUROC())
    with learn.no_bar(), learn.no_logging(): learn.fit(5, lr=.1)
    assert learn.recorder.values[-1][-1] > .6
    with torch.autocast('cpu', dtype=torch.bfloat16): value = learn.loss_func(learn.model(x), y)
    value.backward()
    assert value.dtype == torch.float32 and learn.model.weight.grad.isfinite().all()

@pytest.mark.parametrize('rate', rates[:2], ids=str)
@pytest.mark.parametrize('kind', ['hinge', 'sigmoid'])
def test_learner(kind, rate, rare_rows, tmp_path):
    "At 2 % positives the partial area rises; what fastai asks of a loss afterwards works"
    set_seed(0)
    learn = tabular_learner(rare_rows, layers=[30], loss_func=make(kind, rate), metrics=AUROC())
    before = partial_area(learn, **rate)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, lr=.01)
    assert partial_area(learn, **rate) > max(before, .5) + .1
    check_predictions(learn, tmp_path)

@pytest.mark.parametrize('k', [1, 2, 3])
def test_small_models(k):
    "One output, two and three; autocast in bfloat16"
    check_small_model(k, PartialAUCLoss(.3))

def test_repr_names_the_options_that_act():
    loss = PartialAUCLoss(.3)
    assert repr(loss) == "PartialAUCLoss(axis=1, multilabel=False, reduction='mean', max_fpr=0.3, surrogate='sigmoid', temperature=1.0)"
    loss.surrogate,loss.max_fpr,loss.min_tpr,loss.ignore_index = 'squared_hinge',None,.8,255
    assert repr(loss) == ("PartialAUCLoss(axis=1, multilabel=False, reduction='mean', ignore_index=255, min_tpr=0.8, surrogate='squared_hinge', "
        'margin=1.0)')
