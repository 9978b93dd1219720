"Dice by image and without the background, against the formula that MONAI publishes for its DiceLoss."
import copy, re
import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat, DiceLoss
from torch import nn
from torch._subclasses import FakeTensorMode
from fastai_auroc.losses import MixedLoss, SoftDiceLoss
from fastai_auroc.metric import AUROC
from test_device import NoWaiting

pytestmark = pytest.mark.usefixtures('one_thread')

def monai(p, t, smooth, square, background, by_image, weight=None, known=None):
    "f = 1 - (2·|p∘t| + smooth) / (|t| + |p| + smooth) of each image and class, or each class of the batch, entry by entry; p and t are (n, K, pixels)"
    known = np.ones(p.shape, bool) if known is None else known
    found = []
    for image in range(len(p)) if by_image else [slice(None)]:
        losses,weights = [],[]
        for c in range(0 if background else 1, p.shape[1]):
            on = known[image,c]
            if by_image and not on.any(): continue
            x,y = p[image,c][on],t[image,c][on]
            pred = (x**2 if square else x).sum()
            total = y.sum() + pred + smooth
            losses.append(1 - ((2*(x*y).sum() + smooth)/total if total else 0.))
            weights.append(1. if weight is None else weight[c if background else c-1])
        if losses: found.append(np.average(losses, weights=weights))
    return np.mean(found),found

def softmax(z): return np.exp(z)/np.exp(z).sum(1, keepdims=True)
def one_hot(y, k): return (y[:,None] == np.arange(k)[:,None]).astype(float)

options = [dict(include_background=b, per_sample=s) for b in (True, False) for s in (True, False)]
every_option = pytest.mark.parametrize('option', options, ids=str)
smooths = [dict(smooth=1e-5, square=False), dict(smooth=1., square=True), dict(smooth=0., square=False)]

def batch(n=4, k=3, shape=(5, 6), seed=0, absent=True):
    "Outputs and class numbers of images; in the first one a class is missing"
    g = torch.Generator().manual_seed(seed)
    z = 2*torch.randn(n, k, *shape, generator=g, dtype=torch.float64)
    y = torch.randint(0, k, (n, *shape), generator=g)
    if absent: y[0][y[0] == k-1] = 0
    return z,y

@every_option
@pytest.mark.parametrize('how', smooths, ids=str)
@pytest.mark.parametrize('k', [3, 5])
@pytest.mark.parametrize('shape', [(5, 6), (7,), (2, 3, 4)], ids=str)
def test_classes(option, how, k, shape):
    for seed in range(3):
        z,y = batch(k=k, shape=shape, seed=seed)
        p,t = softmax(z.flatten(2).numpy()),one_hot(y.flatten(1).numpy(), k)
        want,each = monai(p, t, how['smooth'], how['square'], *option.values())
        loss = SoftDiceLoss(**how, **option)
        assert loss(z, y).item() == pytest.approx(want, rel=1e-10)
        loss.reduction = 'none'
        assert loss(z, y).tolist() == pytest.approx(each if option['per_sample'] else [want]*y.numel(), rel=1e-10)

@every_option
def test_weights(option):
    "One for each column that counts"
    z,y = batch(k=4)
    weight = [1., 0., 2., 3.][:4 if option['include_background'] else 3]
    want,_ = monai(softmax(z.flatten(2).numpy()), one_hot(y.flatten(1).numpy(), 4), 1., True, *option.values(), weight=weight)
    assert SoftDiceLoss(weight=weight, **option)(z, y).item() == pytest.approx(want, rel=1e-7)
    with pytest.raises(ValueError, match=f'there are {len(weight)} columns, got 5'): SoftDiceLoss(weight=[1]*5, **option)(z, y)

@every_option
def test_labels_and_ignored_entries(option):
    "Many labels with a sigmoid each; an image without a known pixel of a label does not count for it, nor one without any"
    for seed in range(4):
        g = torch.Generator().manual_seed(seed)
        z,y = batch(n=4, seed=seed)[0],torch.randint(-1, 2, (4, 3, 5, 6), generator=g)
        y[1,2],y[2] = -1,-1
        known,t = (y >= 0).flatten(2).numpy(),(y == 1).flatten(2).double().numpy()
        want,each = monai(z.sigmoid().flatten(2).numpy(), t, 1., True, *option.values(), known=known)
        loss = SoftDiceLoss(multilabel=True, ignore_index=-1, **option)
        assert loss(z, y).item() == pytest.approx(want, rel=1e-10)
        loss.reduction = 'none'
        rows = loss(z, y)
        if option['per_sample']: assert rows[2] == 0 and rows[[0, 1, 3]].tolist() == pytest.approx(each) and rows[[0, 1, 3]].mean().item() == pytest.approx(want)

@every_option
def test_ignored_pixels(option):
    "Value and gradient are those of the other pixels"
    z,y = batch()
    y[:,0] = 255
    y[3] = 255
    z[:,:,0] = torch.nan
    known = (y != 255).flatten(1).numpy()[:,None].repeat(3, 1)
    want,_ = monai(softmax(z.flatten(2).numpy()), one_hot(y.flatten(1).numpy(), 3), 1., True, *option.values(), known=known)
    z.requires_grad_()
    value = SoftDiceLoss(ignore_index=255, **option)(z, y)
    assert value.item() == pytest.approx(want, rel=1e-10)
    gradient = torch.autograd.grad(value, z)[0]
    assert gradient.isfinite().all() and not gradient[:,:,0].any() and not gradient[3].any() and gradient[:3,:,1:].any()

def test_all_pixels_ignored():
    z,y = batch()
    value = SoftDiceLoss(ignore_index=255, per_sample=True)(z.requires_grad_(), torch.full_like(y, 255))
    assert value == 0 and not torch.autograd.grad(value, z)[0].any()

@pytest.mark.parametrize('smooth', [0., 1e-5, 1.])
def test_absent_class(smooth):
    "Neither there nor predicted it costs nothing, unless smooth=0; where it is predicted it costs"
    z,y = torch.tensor([30., 0, -900]).repeat(1, 4, 1).mT[...,None].double(),torch.zeros(1, 4, 1, dtype=torch.long)
    loss = SoftDiceLoss(smooth=smooth, square=False, per_sample=True, weight=[0, 0, 1])
    assert loss(z, y).item() == pytest.approx(0. if smooth else 1.)
    assert loss(z*0, y).item() == pytest.approx(1 - smooth/(4/3 + smooth))

@pytest.mark.parametrize('per_sample', [True, False])
@pytest.mark.parametrize('background', [True, False])
def test_two_channels(background, per_sample):
    "One question: the background is left out either way"
    z,y = batch(k=2)
    want,_ = monai(softmax(z.flatten(2).numpy()), one_hot(y.flatten(1).numpy(), 2), 1., True, False, per_sample)
    assert SoftDiceLoss(include_background=background, per_sample=per_sample)(z, y).item() == pytest.approx(want, rel=1e-10)

def test_one_channel():
    "By image as any other; without the background there is nothing left"
    z,y = torch.randn(4, 1, 5, 6, dtype=torch.float64),torch.randint(0, 2, (4, 5, 6))
    want,_ = monai(z.sigmoid().flatten(2).numpy(), y.reshape(4, 1, 30).double().numpy(), 1., True, True, True)
    assert SoftDiceLoss(per_sample=True)(z, y).item() == pytest.approx(want, rel=1e-10)
    told = 'include_background=False is for two outputs or more: a single output has no column of the background'
    for kwargs,targets in (({}, y), (dict(multilabel=True), y[:,None]), (dict(per_sample=True), y)):
        with pytest.raises(ValueError, match=told): SoftDiceLoss(include_background=False, **kwargs)(z, targets)
    for outputs in (torch.randn(6), torch.randn(6, 1)):
        with pytest.raises(ValueError, match=told): SoftDiceLoss(include_background=False)(outputs, torch.arange(6) % 2)

def test_outputs_without_pixels():
    for z,y in ((torch.randn(6, 3), torch.arange(6) % 3), (torch.randn(6), torch.arange(6) % 2), (torch.randn(6, 2), torch.arange(6) % 2)):
        told = re.escape(f'per_sample=True is for outputs with pixels to sum over, such as (n, K, height, width), got shape {tuple(z.shape)}: omit it')
        with pytest.raises(ValueError, match=told): SoftDiceLoss(per_sample=True)(z, y)

def test_classifiers_without_the_first_class():
    "Rows are pixels here; plain batches, too, leave the arrays for it"
    z,y = torch.randn(20, 3),torch.arange(20) % 3
    want,_ = monai(softmax(z.T[None].double().numpy()), one_hot(y[None].numpy(), 3), 1., True, False, False)
    assert SoftDiceLoss(include_background=False)(z, y).item() == pytest.approx(want, rel=1e-5)

def test_axis():
    z,y = batch()
    loss = SoftDiceLoss(include_background=False, per_sample=True)
    assert SoftDiceLoss(axis=-1, include_background=False, per_sample=True)(z.movedim(1, -1), y).item() == pytest.approx(loss(z, y).item(), rel=1e-12)

@pytest.mark.parametrize('square', [True, False])
def test_by_image_it_is_fastais(square):
    z,y = batch()
    theirs = DiceLoss(smooth=1., reduction='mean', square_in_union=square)(z.float(), y).item()
    assert SoftDiceLoss(square=square, per_sample=True)(z, y).item() == pytest.approx(theirs, rel=1e-5)

@every_option
def test_derivatives_of_both_orders(option):
    z,y = batch(n=2, shape=(2, 2))
    y[0,0,0] = 255
    z.requires_grad_()
    for reduction in ('mean', 'none'):
        loss = SoftDiceLoss(ignore_index=255, weight=[1, 2, 3][:3 if option['include_background'] else 2], reduction=reduction, **option)
        assert torch.autograd.gradcheck(lambda z: loss(z, y).mean(), z) and torch.autograd.gradgradcheck(lambda z: loss(z, y).mean(), z)

@pytest.mark.parametrize('name', ['include_background', 'per_sample'])
@pytest.mark.parametrize('value', [1, None, 'yes'])
def test_options_are_checked(name, value):
    with pytest.raises(ValueError, match=f'{name} must be True or False'): SoftDiceLoss(**{name:value})

def test_losses_saved_before():
    loss = SoftDiceLoss()
    state = copy.deepcopy(vars(loss))
    for o in ('include_background', 'per_sample'): del state[o]
    old = SoftDiceLoss.__new__(SoftDiceLoss)
    old.__setstate__(state)
    z,y = batch()
    assert old(z, y).equal(loss(z, y))

def test_empty_batch():
    z = torch.zeros(0, 3, 4, 4, requires_grad=True)
    value = SoftDiceLoss(per_sample=True)(z, torch.zeros(0, 4, 4, dtype=torch.long))
    assert value == 0 and value.requires_grad

@every_option
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_a_device_is_not_waited_for(option, reduction):
    loss = SoftDiceLoss(reduction=reduction, ignore_index=255, **option)
    with FakeTensorMode():
        z,y = torch.rand((4, 3, 8, 8), device='cuda', requires_grad=True),torch.randint(0, 3, (4, 8, 8), device='cuda')
        with NoWaiting(): value = loss(z, y)
        assert value.device.type == 'cuda' and value.requires_grad

@every_option
def test_compiled(option, compiler):
    z,y = batch()
    loss = SoftDiceLoss(**option)
    torch.testing.assert_close(torch.compile(loss, backend='eager', fullgraph=True)(z, y), loss(z, y))

@pytest.mark.parametrize('mixed', [True, False])
def test_a_learner(mixed):
    "Images whose classes can be read off them"
    y = torch.randint(0, 3, (32, 8, 8))
    x = y.float()[:,None] + .4*torch.randn(32, 1, 8, 8)
    dls = DataLoaders(*[DataLoader(list(zip(x, y)), bs=8, shuffle=train) for train in (True, False)])
    dice = SoftDiceLoss(smooth=1e-5, square=False, include_background=False, per_sample=True)
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    learn = Learner(dls, model, loss_func=MixedLoss(CrossEntropyLossFlat(axis=1), dice) if mixed else dice, metrics=AUROC())
    with learn.no_bar(), learn.no_logging():
        learn.fit(8, lr=.05)
        p,_,decoded,of_images = learn.get_preds(with_loss=True, with_decoded=True)
    assert learn.recorder.values[-1][-1] > .75 and of_images.shape == (32,) and decoded.shape == (32, 8, 8)
