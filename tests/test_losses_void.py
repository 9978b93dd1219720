"Labels that the losses leave out, and labels that are none: values by hand, and those of the rows that are left."
import numpy as np, pytest, torch
from functools import partial
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.testing import assert_close
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, given_columns, soft_auroc
from fastai_auroc.surrogates import _aum, _aum_torch, _hinge
from fastai_auroc.smooth import _soft, _soft_torch
from fastai_auroc.metric import AUROC
from test_device import NoWaiting
from test_losses import backward_of, both_ways, classes_of, outputs_of

pytestmark = pytest.mark.usefixtures('one_thread')

losses = dict(aum=AUMLoss, margins=lambda **kwargs: AUMLoss(margins=True, **kwargs),
    macro=lambda **kwargs: AUMLoss('macro', **kwargs), dice=SoftDiceLoss, auroc=AUROCLoss, hinge=SquaredHingeAUCLoss)
every_loss = pytest.mark.parametrize('name', losses)
nan = float('nan')

# Labels that are none

binary_losses = [(name, loss()) for name,loss in losses.items()] + [('aum()', aum), ('soft_auroc()', soft_auroc)]
every_binary_loss = pytest.mark.parametrize('loss', [o for _,o in binary_losses], ids=[o for o,_ in binary_losses])
integers = [torch.int8, torch.int16, torch.int32, torch.int64]

refused = [([0, 1, 1, 0, -100], -100), ([0, 1, 1, 0, -1], -1), ([0, 0, 0, 0, -1], -1), ([1, 1, 1, 1, -100], -100),
    ([-100]*5, -100), ([0, 0, -100, 0, 0], -100)]

@every_binary_loss
@pytest.mark.parametrize('kind', [*integers, torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('labels,void', refused, ids=str)
def test_void_labels_are_refused(loss, labels, void, kind):
    "Whatever their type; the message names the labels that were found and the way out"
    says = rf'must be 0 or 1 .*got .*labels .*{void}.*pass ignore_index={void}'
    with pytest.raises(ValueError, match=says): loss(outputs_of(5), torch.tensor(labels).to(kind))

@every_binary_loss
@pytest.mark.parametrize('kind', [torch.uint8, torch.int16, torch.int64, torch.uint16, torch.uint32, torch.uint64],
    ids=str)
def test_a_third_label_is_refused(loss, kind):
    for third,hint in ((255, '=255'), (2, '')):
        y = torch.tensor([0, 1, 1, 0, third]).to(kind)
        says = f'got 0 to {third} .*labels 0, 1, {third}.*ignore_index{hint}'
        with pytest.raises(ValueError, match=says): loss(outputs_of(5), y)

@every_binary_loss
@pytest.mark.parametrize('kind', [*integers, torch.float32], ids=str)
def test_minus_one_and_one_are_a_pair(loss, kind):
    "So are -1 alone, which a batch of them may be, and 0 and 255, as in a mask that is an image"
    z,y = outputs_of(8),torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])
    assert loss(z, (2*y-1).to(kind)) == loss(z, y) and loss(z, 255*y) == loss(z, y)
    assert loss(z, torch.full((8,), -1, dtype=kind)) == loss(z, torch.zeros(8))

@pytest.mark.parametrize('name', losses)
def test_labels_of_two_logits_and_of_many_labels(name):
    y = torch.tensor([0, 1, 1, 0, -1])
    with pytest.raises(ValueError, match='ignore_index=-1'): losses[name]()(outputs_of(5, 2), y)
    y = classes_of(5, 3)
    y[2,1] = -1
    with pytest.raises(ValueError, match='ignore_index=-1'): losses[name](multilabel=True)(outputs_of(5, 3), y)
    says = 'class numbers from 0 to 2, got -100 to 2.*ignore_index=-100'
    with pytest.raises(ValueError, match=says): losses[name]()(outputs_of(3, 3), torch.tensor([0, 2, -100]))

@every_loss
def test_what_is_left_is_looked_at(name):
    loss,z = losses[name](ignore_index=-100),outputs_of(5, 3)
    for outputs,y,says in ((z[:,0], [0, 1, 1, -1, -100], 'labels -1, 0, 1'), (z, [0, 1, 2, 3, -100], 'from 0 to 2')):
        with pytest.raises(ValueError, match=says): loss(outputs, torch.tensor(y))

@pytest.mark.parametrize('value', ['void', 1.5, nan, 2**63, 2**70, [0], True, float('inf')], ids=str)
def test_no_label(value):
    for make in (*losses.values(), partial(aum, [1., 2.], [0, 1]), partial(soft_auroc, [1., 2.], [0, 1])):
        with pytest.raises(ValueError, match='ignore_index must be one whole number'): make(ignore_index=value)

# Left out

def test_by_hand():
    "The case that was reported: with -100 as a negative it gave .4772"
    z,y = torch.tensor([.3, -.2, 1, .5, .1], dtype=torch.float64),torch.tensor([0, 1, 1, 0, -100])
    pairs = np.array([[-.2-.3, -.2-.5], [1-.3, 1-.5]])
    smooth,hinge = (1/(1+np.exp(pairs))).mean(),(np.maximum(0, 1-pairs)**2).mean()
    assert AUROCLoss(ignore_index=-100)(z, y).item() == pytest.approx(smooth, rel=1e-12) and round(1-smooth, 4) == .5
    assert soft_auroc(z, y, ignore_index=-100).item() == pytest.approx(1-smooth, rel=1e-12)
    assert SquaredHingeAUCLoss(ignore_index=-100)(z, y).item() == pytest.approx(hinge, rel=1e-12)
    area = pytest.approx(.5*(.5+.2))  # from -.2 to .3 to .5 one of two positives is below
    assert aum(z, y, ignore_index=-100).item() == AUMLoss(margins=True, ignore_index=-100)(z, y).item() == area
    p = 1/(1+np.exp(-z[:4].numpy()))
    dice = (2*p[[1,2]].sum()+1)/((p**2).sum()+3)
    assert SoftDiceLoss(ignore_index=-100)(z, y).item() == pytest.approx(1-dice, rel=1e-12)

# Task -> shapes of outputs and targets, K, keywords
tasks = dict(one=((40,), (40,), 2, {}), column=((40,1), (40,1), 2, {}), two=((40,2), (40,), 2, {}),
    three=((40,3), (40,), 3, {}), five=((60,5), (60,), 5, {}), pixels=((2,3,4,5), (2,4,5), 3, {}),
    mask=((2,1,4,5), (2,1,4,5), 2, {}), sequence=((4,10,3), (4,10), 3, dict(axis=-1)))

def make_task(task, void=-100, share=.3):
    "Outputs, targets with void labels, which of these count, keywords"
    z_shape,y_shape,k,kwargs = tasks[task]
    y = classes_of(*y_shape, k=k)
    counts = torch.rand(y_shape, generator=torch.manual_seed(3)) > share
    return outputs_of(*z_shape),torch.where(counts, y, void),counts,kwargs

def kept_of(z, y, counts, axis=1):
    "The rows that count, as a user would pick them"
    if z.ndim == 1: return z[counts],y[counts]
    rows = z.movedim(axis, -1).reshape(-1, z.shape[axis])
    return rows[counts.reshape(-1)],y.reshape(-1)[counts.reshape(-1)]

def garbage(z, y, counts, kwargs, value):
    "Outputs that are `value` where nothing counts"
    if z.ndim == 1: return torch.where(counts, z, value)
    axis = kwargs.get('axis', 1) % z.ndim
    if counts.shape != z.shape: counts = counts.reshape([d for i,d in enumerate(z.shape) if i != axis]).unsqueeze(axis)
    return torch.where(counts, z, value)

@every_loss
@pytest.mark.parametrize('task', tasks)
@pytest.mark.parametrize('value', [None, nan, float('inf'), -1e30], ids=str)
def test_rows_that_are_left(name, task, value):
    "Value and gradient are theirs; nothing of the others gets in, whatever they are"
    z,y,counts,kwargs = make_task(task)
    if value is not None: z = garbage(z, y, counts, kwargs, value)
    got,gradient = both_ways(losses[name](ignore_index=-100, **kwargs), z, y)
    rows,labels = kept_of(z, y, counts, kwargs.get('axis', 1))
    want,want_gradient = both_ways(losses[name](), rows, labels)
    assert_close(got, want, rtol=1e-12, atol=1e-14)
    axis = kwargs.get('axis', 1)
    flat = gradient if z.ndim == 1 else gradient.movedim(axis, -1).reshape(-1, z.shape[axis])
    assert_close(flat[counts.reshape(-1)], want_gradient, rtol=1e-11, atol=1e-14)
    assert (flat[~counts.reshape(-1)] == 0).all()

@every_loss
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels'])
def test_one_number_a_row(name, task):
    "0 for rows left out, as in PyTorch's cross-entropy; the mean over the others is the loss, and so is its gradient"
    z,y,counts,kwargs = make_task(task)
    z = garbage(z, y, counts, kwargs, nan)
    rows = losses[name](ignore_index=-100, reduction='none', **kwargs)(z, y)
    assert rows.shape == (y.numel(),) and (rows[~counts.reshape(-1)] == 0).all()
    want = losses[name](reduction='none')(*kept_of(z, y, counts))
    assert_close(rows[counts.reshape(-1)], want, rtol=1e-11, atol=1e-14)
    each = losses[name](ignore_index=-100, reduction='none', **kwargs)
    mean_gradient = both_ways(lambda z: each(z, y)[counts.reshape(-1)].mean(), z)[1]
    assert_close(mean_gradient, both_ways(losses[name](ignore_index=-100, **kwargs), z, y)[1], rtol=1e-11, atol=1e-14)

def many_labels(n=40, k=3, void=-1):
    y,counts = classes_of(n, k),torch.rand((n, k), generator=torch.manual_seed(5)) > .3
    counts[7] = False
    return outputs_of(n, k),torch.where(counts, y, void),counts

@pytest.mark.parametrize('kind', [torch.int64, torch.int8, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', ['macro', 'dice', 'auroc', 'hinge'])
def test_entries_of_many_labels(name, kind):
    "Each column is that of its own rows; the loss is the mean over columns"
    z,y,counts = many_labels()
    got,gradient = both_ways(losses[name](multilabel=True, ignore_index=-1), torch.where(counts, z, nan), y.to(kind))
    each = [both_ways(losses[name](), z[counts[:,c],c], y[counts[:,c],c]) for c in range(3)]
    assert_close(got, torch.stack([o[0] for o in each]).mean(), rtol=1e-12, atol=1e-14)
    for c,(_,want) in enumerate(each): assert_close(gradient[counts[:,c],c], want/3, rtol=1e-11, atol=1e-14)
    assert (gradient[~counts] == 0).all()
    rows = losses[name](multilabel=True, ignore_index=-1, reduction='none')(torch.where(counts, z, nan), y.to(kind))
    assert rows[7] == 0 and rows.sum()/counts.any(1).sum() == pytest.approx(got.item(), rel=1e-9)

def test_entries_of_many_labels_in_one():
    "Micro: all entries that have a label are one column"
    z,y,counts = many_labels()
    for kwargs,scores in ((dict(margins=True), z), ({}, z.sigmoid())):
        got,gradient = both_ways(AUMLoss(multilabel=True, ignore_index=-1, **kwargs), torch.where(counts, z, nan), y)
        want,want_gradient = both_ways(lambda z: aum(z if kwargs else z.sigmoid(), y[counts]), z[counts])
        assert_close(got, want) and assert_close(gradient[counts], want_gradient)
        assert (gradient[~counts] == 0).all()
        assert_close(aum(scores, y, 'micro', ignore_index=-1), want)
    each = [soft_auroc(z[counts[:,c],c], y[counts[:,c],c]) for c in range(3)]
    assert_close(soft_auroc(z, y, ignore_index=-1), torch.stack(each).mean())

@pytest.mark.parametrize('average', ['micro', 'macro'])
def test_functions_leave_out(average):
    z,y,counts,_ = make_task('five')
    assert_close(aum(z, y, average, ignore_index=-100), aum(z[counts], y[counts], average))
    assert_close(soft_auroc(z, y, .3, ignore_index=-100), soft_auroc(z[counts], y[counts], .3))

@every_loss
def test_a_class_may_be_left_out(name):
    "Then its column is that of an absent class"
    z,y = outputs_of(50, 4),classes_of(50, k=4)
    assert_close(losses[name](ignore_index=0)(z, y), losses[name]()(z[y != 0], y[y != 0]), rtol=1e-12, atol=1e-14)

@every_loss
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_nothing_is_left(name, reduction):
    for z in (outputs_of(6), outputs_of(6, 2), outputs_of(6, 3)):
        z = z.requires_grad_()
        value = losses[name](ignore_index=-1, reduction=reduction)(z, torch.full((6,), -1))
        value.sum().backward()
        assert not value.any() and not z.grad.any()

@every_loss
def test_nothing_to_leave_out(name):
    z,y = outputs_of(30, 3),classes_of(30, k=3)
    for label in (-100, 255, 300, -2**62): assert losses[name](ignore_index=label)(z, y.byte()) == losses[name]()(z, y)

@pytest.mark.parametrize('kind,label', [(torch.uint8, 156), (torch.uint8, 255), (torch.int8, -100), (torch.int8, 100),
    (torch.bfloat16, 256), (torch.float16, 2048)], ids=str)
def test_labels_do_not_wrap(kind, label):
    "156 is -100 in eight bits, 257 is 256 in bfloat16, and neither is meant"
    z,y = outputs_of(6),torch.tensor([0, 1, 0, 1, 1, 0])
    marked = y.clone().to(kind)
    marked[2] = label
    for other in (label-256, label+256, label+1):
        with pytest.raises(ValueError, match='ignore_index'): AUROCLoss(ignore_index=other)(z, marked)
    kept = torch.tensor([0, 1, 3, 4, 5])
    assert AUROCLoss(ignore_index=label)(z, marked) == AUROCLoss()(z[kept], y[kept])

def test_many_rows():
    "More than a block of the CPU holds, on a grid and by keys"
    n = 70_000
    y = torch.where(torch.rand(n, generator=torch.manual_seed(2)) < .2, 255, classes_of(n))
    z = outputs_of(n, dtype=torch.float32) + (y == 1)
    counts = y != 255
    for name in ('margins', 'auroc', 'hinge'):
        got,gradient = both_ways(losses[name](ignore_index=255), torch.where(counts, z, nan), y.byte())
        want,want_gradient = both_ways(losses[name](), z[counts], y[counts])
        assert_close(got, want, rtol=1e-6, atol=1e-9)
        assert_close(gradient[counts], want_gradient, rtol=1e-4, atol=1e-9)

# Of a device

def of_columns(ignore):
    columns,positive,_ = given_columns(outputs_of(50, 3), classes_of(50, k=3), 'macro')
    counts = torch.rand(50, generator=torch.manual_seed(8)) > .4
    return torch.where(counts, columns, 0),positive & counts,~positive & counts,counts

def test_kernels_of_a_device():
    "The same as on the CPU, and as of the rows that are left"
    s,positive,negative,counts = of_columns(True)
    for cpu,device in ((_aum, _aum_torch), (_soft, _soft_torch)):
        ours,theirs = cpu(s, positive, True, negative),device(s, positive, negative)
        for a,b in zip(ours[:2], theirs): assert_close(a, b, rtol=1e-9, atol=1e-12)
        assert not theirs[1][:,~counts].any()
    for f,kwargs in ((_aum, {}), (_soft, dict(T=.5)), (_hinge, dict(margin=2.))):
        value,gradient,parts = f(s, positive, True, negative, **kwargs)
        want = f(s[:,counts], positive[:,counts], True, **kwargs)
        for a,b in zip((value, gradient[:,counts], parts[:,counts]), want): assert_close(a, b, rtol=1e-9, atol=1e-12)
        assert not gradient[:,~counts].any() and not parts[:,~counts].any()

@every_loss
@pytest.mark.parametrize('task', ['one', 'two', 'three', 'pixels', 'labels'])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_never_waits_for_a_device(name, task, reduction):
    multilabel = task == 'labels'
    z_shape,y_shape,k,kwargs = ((40,3), (40,3), 2, dict(multilabel=True)) if multilabel else tasks[task]
    with FakeTensorMode(allow_non_fake_inputs=True):
        z,y = torch.rand(z_shape, device='cuda', requires_grad=True),torch.randint(0, k, y_shape, device='cuda')
        with NoWaiting() as mode:
            value = losses[name](ignore_index=-1, reduction=reduction, **kwargs)(z, y).mean()
            gradient = backward_of(value)[z]
    assert mode.n_ops > 15 and gradient.shape == z.shape and gradient.device.type == 'cuda'

# Types of targets

wide = [o for o in ('uint16', 'uint32', 'uint64') if hasattr(torch, o)]

@every_loss
@pytest.mark.parametrize('form', ['tensor', 'array'])
@pytest.mark.parametrize('kind', [*wide, 'bool', 'int8', 'uint8', 'int16', 'int32', 'float16', 'bfloat16', 'float32',
    'float64'])
def test_types_of_targets(name, kind, form):
    "One logit, two, three classes and many labels; of NumPy's types, too"
    many = dict(multilabel=True)
    shapes = [((40,), (40,), 2, {}), ((40,2), (40,), 2, {}), ((40,3), (40,), 3, {}), ((40,3), (40,3), 2, many)]
    for z_shape,y_shape,k,kwargs in shapes:
        if k == 3 and kind == 'bool': continue
        z,y = outputs_of(*z_shape),classes_of(*y_shape, k=k)
        if form == 'array' and kind == 'bfloat16': continue
        targets = y.numpy().astype(kind) if form == 'array' else y.to(getattr(torch, kind))
        for reduction in ('mean', 'none'):
            loss = losses[name](reduction=reduction, **kwargs)
            assert loss(z, targets).equal(loss(z, y))
        if not kwargs and z.ndim == 1:
            assert aum(z, targets) == aum(z, y) and soft_auroc(z, targets) == soft_auroc(z, y)
            if kind != 'bool': assert losses[name](ignore_index=1)(z, targets) == losses[name](ignore_index=1)(z, y)

@pytest.mark.skipif('uint64' not in wide, reason='needs uint64')
@every_loss
def test_large_uint64(name):
    loss,z = losses[name](),outputs_of(3)
    for y in (np.array([0, 2**63, 0], dtype=np.uint64), np.array([1, 2**64-1, 2], dtype=np.uint64)):
        with pytest.raises(ValueError, match=r'labels below 2\*\*63'): loss(z, torch.from_numpy(y))
    assert loss(z, np.array([0, 2**63-1, 0], dtype=np.uint64)) == loss(z, [0, 1, 0])

# A Learner

def test_segmentation(column):
    "Images whose borders are void train a fit, whose AUROC rises, and give a number for each pixel"
    y = torch.randint(0, 2, (24, 8, 8))
    x = y[:,None] + .7*torch.randn(24, 1, 8, 8)
    y[:,0] = 255
    dls = DataLoaders(*[DataLoader(list(zip(x, y)), bs=8, shuffle=train) for train in (True, False)])
    for name in ('auroc', 'hinge', 'aum', 'dice'):
        loss,column_of = losses[name](ignore_index=255),AUROC(ignore_index=255)
        learn = Learner(dls, nn.Conv2d(1, 2, 3, padding=1), loss_func=loss, metrics=column_of)
        with learn.no_bar(), learn.no_logging():
            learn.fit(8, lr=.1)
            auroc = column(learn, 'auroc')[-1]
            *_,rows = learn.get_preds(with_loss=True)
        assert auroc > .6 and learn.loss_func.reduction == 'mean'
        assert rows.shape == (24,) and rows.isfinite().all()
