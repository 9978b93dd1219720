"Losses added up: values and gradients against the parts, rows, options, and real Learners of fastai 2."
import copy, io, pickle, re
import numpy as np, pytest, torch
from functools import partial
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, DiceLoss, FocalLossFlat, LabelSmoothingCrossEntropyFlat, MSELossFlat
from fastai.metrics import RocAucBinary
from fastai.tabular.all import accuracy, tabular_learner
from fastai.torch_core import noop, set_seed
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from fastai_auroc.epoch import EpochAUROC, loss_hints
from fastai_auroc.loss_options import infer_ignore_index
from fastai_auroc.losses import AUMLoss, AUROCLoss, MixedLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.metric import AUROC, AveragePrecision
from test_device import NoWaiting

pytestmark = pytest.mark.usefixtures('one_thread')

def ce(z, y): return F.cross_entropy(z, y)
def bce(z, y): return F.binary_cross_entropy_with_logits(z, y.float())
def per_pair(z, y):
    "Mean over classes of the share of pairs in wrong order, smooth, of log-odds, from all pairs"
    logits = torch.stack([z[:,c] - z[:,[o for o in range(z.shape[1]) if o != c]].logsumexp(1) for c in range(z.shape[1])], 1)
    columns = [(logits[:,c], y == c) for c in range(z.shape[1])] if z.shape[1] > 2 else [(z[:,1] - z[:,0], y == 1)]
    each = [(s[~t] - s[t][:,None]).sigmoid().mean() for s,t in columns if t.any() and not t.all()]
    return sum(each)/len(each) if each else z.sum()*0

# Value and gradient

firsts = dict(fastai=CrossEntropyLossFlat, module=nn.CrossEntropyLoss, function=lambda: F.cross_entropy, partial=lambda: partial(F.cross_entropy, reduction='mean'),
    own=lambda: ce)

@pytest.mark.parametrize('first', firsts)
@pytest.mark.parametrize('k', [2, 4])
@pytest.mark.parametrize('weights', [None, (1, .5), [.25, 2], torch.tensor([.5, .125]), np.array([3, 1])])
def test_value_and_gradient(first, k, weights):
    "Those of the weighted sum, as all pairs give it"
    mixed = MixedLoss(firsts[first](), AUROCLoss(), weights=weights)
    u,v = (1, 1) if weights is None else weights
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(17, k, generator=g, dtype=torch.float64).requires_grad_()
        y = torch.randint(0, k, (17,), generator=g)
        got = mixed(z, y)
        want = float(u)*ce(z, y) + float(v)*per_pair(z, y)
        close = dict(rtol=1e-5, atol=1e-6) if first == 'fastai' else dict(rtol=1e-12, atol=1e-12)  # fastai makes float32 of float64
        torch.testing.assert_close(got, want, **close)
        torch.testing.assert_close(*(torch.autograd.grad(o, z)[0] for o in (got, want)), **close)

def test_derivatives_of_both_orders():
    z,y = torch.randn(9, 3, dtype=torch.float64, requires_grad=True),torch.arange(9) % 3
    mixed = MixedLoss(nn.CrossEntropyLoss(), SquaredHingeAUCLoss(5.), AUROCLoss(), weights=(1, .5, 2))
    assert torch.autograd.gradcheck(lambda z: mixed(z, y), z) and torch.autograd.gradgradcheck(lambda z: mixed(z, y), z)
    mixed.reduction = 'none'
    def mean(z): return mixed(z, y).mean()
    assert torch.autograd.gradcheck(mean, z)

def test_three_parts_and_a_mixture_of_mixtures():
    z,y = torch.randn(12, 2),torch.arange(12) % 2
    parts = CrossEntropyLossFlat(),AUMLoss(),SoftDiceLoss()
    want = sum(w*o(z, y) for w,o in zip((1, 2, 3), parts))
    assert MixedLoss(*parts, weights=(1, 2, 3))(z, y).item() == pytest.approx(want.item(), rel=1e-6)
    nested = MixedLoss(MixedLoss(*parts[:2], weights=(1, 2)), parts[2], weights=(1, 3))
    assert nested(z, y).item() == pytest.approx(want.item(), rel=1e-6)
    nested.reduction = 'none'
    assert nested(z, y).shape == (12,) and nested(z, y).mean().item() == pytest.approx(want.item(), rel=1e-5)

def test_batches_of_one_class():
    "Only the other part has something to say"
    z,y = torch.randn(6, 2, requires_grad=True),torch.zeros(6, dtype=torch.long)
    loss = MixedLoss(nn.CrossEntropyLoss(), AUROCLoss(), weights=(1, 5))(z, y)
    assert loss.equal(ce(z, y)) and torch.autograd.grad(loss, z)[0].equal(torch.autograd.grad(ce(z, y), z)[0])

def test_half_precision_and_many_labels():
    z,y = torch.randn(20, 3, requires_grad=True),torch.randint(0, 2, (20, 3))
    mixed = MixedLoss(BCEWithLogitsLossFlat(), AUROCLoss(multilabel=True), weights=(1, .5))
    each = [(s[t == 0] - s[t == 1][:,None]).sigmoid().mean() for s,t in zip(z.T, y.T)]
    want = bce(z, y) + .5*sum(each)/3
    assert mixed(z, y).item() == pytest.approx(want.item(), rel=1e-6)
    assert mixed(z.bfloat16(), y).item() == pytest.approx(want.item(), rel=2e-2)
    assert mixed.decodes(mixed.activation(z)).equal(z.sigmoid() > .5)

# One number a row

@pytest.mark.parametrize('part', [*firsts, 'smoothed', 'focal'])
def test_rows_of_a_batch(part):
    "The parts of the rows, weighted; their mean is the loss, and has its gradient"
    loss = {**firsts, 'smoothed':LabelSmoothingCrossEntropyFlat, 'focal':FocalLossFlat}[part]()
    mixed,z,y = MixedLoss(loss, AUROCLoss(), weights=(1, .5)),torch.randn(15, 3, requires_grad=True),torch.arange(15) % 3
    whole = mixed(z, y)
    mixed.reduction = 'none'
    rows = mixed(z, y)
    mixed.reduction = 'mean'
    assert rows.shape == (15,) and mixed(z, y).equal(whole)
    assert rows.mean().item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(o, z)[0].as_subclass(torch.Tensor) for o in (rows.mean(), whole)))
    if part in ('fastai', 'module', 'function', 'partial'):
        torch.testing.assert_close(rows, F.cross_entropy(z, y, reduction='none') + .5*AUROCLoss(reduction='none')(z, y))

def test_rows_of_images():
    "fastai's cross-entropy goes through pixels in another order than the others, so an image is a row"
    z,y = torch.randn(4, 3, 6, 5),torch.randint(0, 3, (4, 6, 5))
    mixed = MixedLoss(CrossEntropyLossFlat(axis=1), nn.CrossEntropyLoss(), AUROCLoss(), weights=(1, 2, .5))
    mixed.reduction = 'none'
    of_pixels = AUROCLoss(reduction='none')(z, y).reshape(4, 30)
    torch.testing.assert_close(mixed(z, y), 3*F.cross_entropy(z, y, reduction='none').mean((1, 2)) + .5*of_pixels.mean(1))

def test_rows_of_texts():
    "Outputs (n, T, K) with the classes last"
    z,y = torch.randn(4, 6, 5),torch.randint(0, 5, (4, 6))
    mixed = MixedLoss(CrossEntropyLossFlat(), AUROCLoss(axis=-1))
    mixed.reduction = 'none'
    torch.testing.assert_close(mixed(z, y), F.cross_entropy(z.mT, y, reduction='none').mean(1) + AUROCLoss(axis=-1, reduction='none')(z, y).reshape(4, 6).mean(1))

def test_rows_of_a_part_without_a_choice():
    "Its one number goes to each row; numbers that belong to no row are an error, after which the part is as it was"
    z,y = torch.randn(6, 2),torch.arange(6) % 2
    mixed = MixedLoss(nn.CrossEntropyLoss(), lambda z, y: z.square().mean())
    whole = mixed(z, y)
    mixed.reduction = 'none'
    torch.testing.assert_close(mixed(z, y).mean(), whole)
    wrong = AUROCLoss()
    wrong.forward = lambda z, y: torch.ones(4)
    mixed = MixedLoss(nn.CrossEntropyLoss(), wrong)
    mixed.reduction = 'none'
    with pytest.raises(ValueError, match=re.escape("for each of 6 items, got shape (4,) from AUROCLoss(")): mixed(z, y)
    assert wrong.reduction == 'mean'
    mixed = MixedLoss(DiceLoss(reduction='sum'), AUROCLoss())
    mixed.reduction = 'none'
    images,masks = torch.randn(2, 3, 4, 4),torch.randint(0, 3, (2, 4, 4))
    assert mixed(images, masks).shape == (2,) and mixed.losses[0].reduction == 'sum'

# Options

wrong_losses = [((), 'MixedLoss needs losses'), ((nn.CrossEntropyLoss, AUROCLoss()), 'write CrossEntropyLoss(), got the class CrossEntropyLoss'),
    ((CrossEntropyLossFlat,), 'write CrossEntropyLossFlat()'), (([AUROCLoss()],), 'takes losses one by one'), ((AUROCLoss(), (1, 2)), 'numbers as weights='),
    ((torch.ones(3, 2), torch.ones(3)), 'must be created before it is called'), ((AUROCLoss(), 'ce'), "got 'ce'"),
    ((AUROCLoss(), AUROC(max_fpr=.1)), 'not metrics or callbacks, got AUROC(max_fpr=0.1); as a loss use AUROCLoss()'),
    ((AveragePrecision,), 'got the class AveragePrecision; as a loss use AveragePrecisionLoss()'), ((partial(AUROC, max_fpr=.1),), 'got the class AUROC; as a loss use AUROCLoss()'),
    ((EpochAUROC(),), 'as a loss use AUROCLoss()'), ((RocAucBinary(),), 'not metrics or callbacks, got <fastai.metrics.AccumMetric'), ((MixUp(),), 'metrics or callbacks, got MixUp')]

@pytest.mark.parametrize('given, told', wrong_losses)
def test_what_is_no_loss(given, told):
    with pytest.raises(TypeError, match=re.escape(told)): MixedLoss(*given)

@pytest.mark.parametrize('weights', [(1,), (1, 2, 3), (1, -1), (1, np.nan), (np.inf, 1), (0, 0), ('1', 1), (True, 1), 1, 'ab', torch.tensor(1.), torch.ones(2, 1),
    nn.Parameter(torch.ones(2)), {1: 2, 3: 4}])
def test_what_are_no_weights(weights):
    told = 'weights must hold one number for each of 2 losses, finite, none below 0 and not all 0, got '
    with pytest.raises(ValueError, match=re.escape(told + repr(weights))): MixedLoss(ce, AUROCLoss(), weights=weights)
    mixed = MixedLoss(ce, AUROCLoss())
    with pytest.raises(ValueError, match=re.escape(told)): mixed.weights = weights
    assert mixed.weights == (1., 1.)

def test_weights_may_change():
    "A part of weight 0 is not asked"
    def never(z, y): raise AssertionError
    z,y = torch.randn(6, 2),torch.arange(6) % 2
    mixed = MixedLoss(ce, never, weights=(2, 0))
    assert mixed(z, y).equal(2*ce(z, y))
    mixed.weights = np.array([.5, 0])
    assert mixed(z, y).equal(.5*ce(z, y))

def test_reduction_is_checked():
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none', got 'sum'"): MixedLoss(ce).reduction = 'sum'

def test_repr():
    part = AUROCLoss(.5)
    mixed = MixedLoss(CrossEntropyLossFlat(), F.cross_entropy, part, weights=(1, .5, 2))
    assert repr(mixed) == f'MixedLoss(FlattenedLoss of CrossEntropyLoss(), cross_entropy, {part!r}, weights=(1.0, 0.5, 2.0))'

@pytest.mark.parametrize('parts, want', [([AUROCLoss()], None), ([CrossEntropyLossFlat(), AUROCLoss()], -100), ([AUROCLoss(ignore_index=7), FocalLossFlat()], 7),
    ([CrossEntropyLossFlat(ignore_index=255), AUROCLoss(ignore_index=255)], 255), ([partial(F.cross_entropy, ignore_index=3), AUROCLoss(ignore_index=3.)], 3)])
def test_label_to_leave_out(parts, want): assert MixedLoss(*parts).ignore_index == infer_ignore_index(MixedLoss(*parts)) == want

def test_different_labels_to_leave_out():
    told = 'must leave out the same label: pass ignore_index to each, got -100 by FlattenedLoss of CrossEntropyLoss(), 255 by AUROCLoss('
    with pytest.raises(ValueError, match=re.escape(told)): MixedLoss(CrossEntropyLossFlat(), AUROCLoss(ignore_index=255))

def test_label_to_leave_out_leaves_it_out():
    z,y = torch.randn(3, 3, 4, 4),torch.randint(0, 3, (3, 4, 4))
    y[:,0] = 255
    mixed = MixedLoss(CrossEntropyLossFlat(axis=1, ignore_index=255), AUROCLoss(ignore_index=255))
    want = MixedLoss(CrossEntropyLossFlat(axis=1), AUROCLoss())(z[:,:,1:], y[:,1:])
    assert mixed(z, y).item() == pytest.approx(want.item(), rel=1e-6)

def test_what_a_column_is_told():
    "By the first part that knows"
    hints = loss_hints(MixedLoss(F.cross_entropy, BCEWithLogitsLossFlat(axis=3), AUROCLoss()))
    assert hints.activation == 'identity' and hints.axis == 3 and hints.ignore_index == -100
    assert loss_hints(MixedLoss(CrossEntropyLossFlat(axis=1), BCEWithLogitsLossFlat())).activation == 'softmax'
    plain = loss_hints(MixedLoss(F.cross_entropy, bce))
    assert plain.activation is None and plain.axis is None
    assert MixedLoss(nn.CrossEntropyLoss(), AUROCLoss()).y_int and not MixedLoss(BCEWithLogitsLossFlat(), MSELossFlat()).y_int
    assert not hasattr(MixedLoss(ce), 'activation') and not hasattr(MixedLoss(ce), 'decodes')

# A module

def test_parts_are_children():
    "Weights of classes move and are saved with it; those of fastai's losses, too"
    w = torch.tensor([1., 2.])
    mixed = MixedLoss(CrossEntropyLossFlat(weight=w), nn.CrossEntropyLoss(weight=w), AUROCLoss(), ce)
    assert {type(o) for o in mixed.children()} == {nn.CrossEntropyLoss, AUROCLoss} and list(mixed.state_dict()) == ['0.weight', '1.weight']
    mixed.double()
    z,y = torch.randn(6, 2, dtype=torch.float64),torch.arange(6) % 2
    assert mixed.losses[0].func.weight.dtype == mixed.losses[1].weight.dtype == torch.float64
    mixed.weights = 0,1,1,1  # fastai makes float32 of float64 outputs
    assert mixed(z, y).item() == pytest.approx((F.cross_entropy(z, y, weight=w.double()) + per_pair(z, y) + ce(z, y)).item(), rel=1e-12)
    mixed.to('meta')
    assert mixed.losses[0].func.weight.is_meta
    assert not mixed.eval().losses[2].training

@pytest.mark.parametrize('copied', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o)), lambda o: torch.load(saved(o), weights_only=False)])
def test_copies(copied):
    mixed = MixedLoss(CrossEntropyLossFlat(weight=torch.tensor([1., 2.])), partial(F.cross_entropy, label_smoothing=.1), AUROCLoss(), weights=(1, 2, .5))
    z,y = torch.randn(6, 2),torch.arange(6) % 2
    res = copied(mixed)
    assert res(z, y).equal(mixed(z, y)) and res.weights == mixed.weights
    assert next(res.children()) is res.losses[0].func is not mixed.losses[0].func
    res.double()
    assert mixed.losses[0].func.weight.dtype == torch.float32 and res.losses[0].func.weight.dtype == torch.float64

def saved(x):
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return file

@pytest.mark.parametrize('reduction', ['mean', 'none'])
@pytest.mark.parametrize('first', [nn.CrossEntropyLoss, lambda: F.cross_entropy])
def test_a_device_is_not_waited_for(first, reduction):
    "On fake CUDA tensors"
    mixed = MixedLoss(first(), AUROCLoss(), weights=torch.tensor([1., .5]))
    mixed.reduction = reduction
    with FakeTensorMode():
        z,y = torch.rand((64, 4), device='cuda', requires_grad=True),torch.randint(0, 4, (64,), device='cuda')
        with NoWaiting():
            loss = mixed(z, y)
            assert loss.device.type == 'cuda' and loss.shape == ((64,) if reduction == 'none' else ()) and loss.requires_grad

def test_compiled(compiler):
    z,y = torch.randn(8, 3),torch.arange(8) % 3
    mixed = MixedLoss(nn.CrossEntropyLoss(), AUROCLoss(), SoftDiceLoss(), weights=(1, .5, 1))
    torch.testing.assert_close(torch.compile(mixed, backend='eager')(z, y), mixed(z, y))

def test_torch_func():
    z,y = torch.randn(4, 8, 3),torch.arange(8) % 3
    mixed = MixedLoss(nn.CrossEntropyLoss(), AUROCLoss(), weights=(1, .5))
    got = torch.func.vmap(torch.func.grad(lambda z: mixed(z, y)))(z)
    for g,x in zip(got, z):
        x.requires_grad_()
        torch.testing.assert_close(g, torch.autograd.grad(ce(x, y) + .5*per_pair(x, y), x)[0])

# Real Learners

def quietly(learn, f, *args, **kwargs):
    "What the Learner answers, without bars and tables"
    with learn.no_bar(), learn.no_logging(): return getattr(learn, f)(*args, **kwargs)

def squeezed(z, y, reduction='mean'): return F.cross_entropy(z, y.flatten().long(), label_smoothing=.1, reduction=reduction)

mixtures = dict(cross_entropy=lambda: MixedLoss(CrossEntropyLossFlat(), AUROCLoss(), weights=(1, .5)),
    unnamed=lambda: MixedLoss(lambda z, y: F.cross_entropy(z, y.flatten().long()), AUROCLoss(), weights=(1, .5)),
    function=lambda: MixedLoss(squeezed, AUMLoss()),
    focal=lambda: MixedLoss(FocalLossFlat(), SquaredHingeAUCLoss(), weights=(1, .1)), smoothed=lambda: MixedLoss(LabelSmoothingCrossEntropyFlat(), AUROCLoss()))

@pytest.mark.parametrize('name', mixtures)
def test_tabular_learner(name, adult_dls, column, sk_auroc, monkeypatch, tmp_path, adult):
    "Training, the column, predictions, rows, Interpretation, show_results, export"
    set_seed(0)
    learn = tabular_learner(adult_dls(1500, 500), layers=[30], loss_func=mixtures[name](), metrics=[accuracy, AUROC()])
    quietly(learn, 'fit', 3, lr=.01)
    auroc,lost = column(learn, 'auroc'),column(learn, 'train_loss')
    assert lost[-1] < lost[0] and auroc[-1] > .8 and auroc[-1] == pytest.approx(sk_auroc(learn), abs=1e-12)
    p,y,decoded,loss = quietly(learn, 'get_preds', with_loss=True, with_decoded=True)
    outputs,_ = quietly(learn, 'get_preds', act=noop)
    assert p.equal(outputs.softmax(1)) and decoded.equal(p.argmax(1)) and loss.shape == (500,) and loss.isfinite().all()
    each = [learn.loss_func(outputs[i:i+64], y[i:i+64]).item() for i in range(0, 500, 64)]
    assert [o.mean().item() for o in loss.split(64)] == pytest.approx(each, rel=1e-4)
    with learn.no_bar():
        interp = Interpretation.from_learner(learn)
        assert interp.top_losses(5)[0].equal(interp.losses.sort(descending=True).values[:5])
        assert ClassificationInterpretation.from_learner(learn).confusion_matrix().sum() == 500
        shown = []
        monkeypatch.setattr('IPython.display.display', shown.append)
        learn.show_results(max_n=3)
    assert 'income_pred' in shown[0].data
    if name == 'unnamed': return  # a lambda cannot be pickled
    learn.export(tmp_path/'learner.pkl')
    loaded = load_learner(tmp_path/'learner.pkl')
    assert loaded.loss_func.weights == learn.loss_func.weights
    assert quietly(loaded, 'predict', adult.iloc[0])[2].equal(quietly(learn, 'predict', adult.iloc[0])[2])

def as_dls(x, y, bs=16): return DataLoaders(*[DataLoader(list(zip(x, y)), bs=bs, shuffle=train) for train in (True, False)])

def blobs(n, *shape, k=2):
    "Noise, of which the class of an item, or of each of its pixels, can be read"
    y = torch.randint(0, k, (n, *shape))
    return y.float()[:,None] + .7*torch.randn(n, 1, *shape),y

def many():
    x,y = blobs(96, 3)
    return x[:,0],y

tasks = dict(segmentation=(lambda: blobs(24, 8, 8), lambda: nn.Conv2d(1, 2, 3, padding=1), lambda: MixedLoss(CrossEntropyLossFlat(axis=1), AUROCLoss())),
    masks=(lambda: blobs(24, 8, 8, k=3), lambda: nn.Conv2d(1, 3, 3, padding=1), lambda: MixedLoss(FocalLossFlat(axis=1), SoftDiceLoss(), DiceLoss(reduction='mean'))),
    one_output=(lambda: blobs(96), lambda: nn.Linear(1, 1), lambda: MixedLoss(BCEWithLogitsLossFlat(), AUROCLoss())),
    labels=(many, lambda: nn.Linear(3, 3), lambda: MixedLoss(BCEWithLogitsLossFlat(), AUROCLoss(multilabel=True), weights=(1, .5))))

@pytest.mark.parametrize('task', tasks)
def test_other_shapes(task):
    data,model,loss = tasks[task]
    x,y = data()
    learn = Learner(as_dls(x, y), model(), loss_func=loss(), metrics=AUROC())
    quietly(learn, 'fit', 4, lr=.1)
    assert learn.recorder.values[-1][-1] > .6 and np.isfinite(learn.recorder.values[-1]).all()
    p,t,decoded,lost = quietly(learn, 'get_preds', with_loss=True, with_decoded=True)
    assert lost.shape == (len(x),) and lost.isfinite().all() and decoded.numel() == t.numel()
    if task in ('one_output', 'labels'): assert decoded.equal(p > .5)
    else: assert decoded.equal(p.argmax(1)) and p.sum(1).sub(1).abs().max() < 1e-5

def test_mixup():
    "fastai mixes the losses of two targets row by row, then trains on their mean"
    x,y = blobs(128)
    learn = Learner(as_dls(x, y, bs=64), nn.Linear(1, 2), loss_func=MixedLoss(CrossEntropyLossFlat(), AUROCLoss()), metrics=AUROC(), cbs=MixUp())
    quietly(learn, 'fit', 10, lr=.3)
    assert learn.loss_func.reduction == 'mean' and learn.recorder.values[-1][-1] > .7

@pytest.mark.parametrize('weights', [[torch.tensor(1.), torch.tensor(.5)], (torch.tensor(1), np.float32(.5)), torch.tensor([1, .5]).half()])
def test_tensors_as_weights(weights): assert MixedLoss(nn.CrossEntropyLoss(), AUROCLoss(), weights=weights).weights == (1., .5)

def test_learned_weights_are_no_numbers():
    with pytest.raises(ValueError, match='one number for each of 2 losses'):
        MixedLoss(nn.CrossEntropyLoss(), AUROCLoss(), weights=[torch.ones((), requires_grad=True), 1])

def test_partial_of_a_class():
    with pytest.raises(TypeError, match=re.escape('write CrossEntropyLoss(), got the class CrossEntropyLoss')):
        MixedLoss(partial(nn.CrossEntropyLoss, label_smoothing=.1), AUROCLoss())
