"Reports and thresholds: their numbers against scikit-learn and brute force."
import numpy as np, pytest, torch
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, tabular_learner
from fastai.torch_core import noop, set_seed
from scipy.special import softmax
from sklearn import metrics as sk
from torch import nn
from test_losses_training import as_dls, blobs, quietly
from test_plots import classes, curves, legend, noisy, number, points, tags, with_ci
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss
from fastai_auroc.metric import AUROC
from fastai_auroc.plots import plot_aum, plot_roc
from fastai_auroc.interpret import ROCInterpretation

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

def adult_rows(adult, path, y_names='income'):
    names = [o for o in ('education', 'marital-status', 'occupation') if o != y_names]
    return TabularDataLoaders.from_df(adult.sample(900, random_state=0), path=path, procs=[Categorify, FillMissing, Normalize], cat_names=names,
        cont_names=['age', 'education-num', 'hours-per-week'], y_names=y_names, y_block=CategoryBlock(), valid_idx=list(range(500, 900)), bs=64)

def labelled(): return blobs(96, 3)[0][:,0],(torch.rand(96, 3) > .5).float()
def floats(x, y): return x,y.float()

# Task -> data, model, loss; the last has neither an activation nor class numbers
tasks = dict(three=(lambda: blobs(200, k=3), lambda: nn.Linear(1, 3), CrossEntropyLossFlat),
    masks=(lambda: blobs(12, 8, 8), lambda: nn.Conv2d(1, 2, 3, padding=1), lambda: CrossEntropyLossFlat(axis=1)),
    three_masks=(lambda: blobs(12, 8, 8, k=3), lambda: nn.Conv2d(1, 3, 3, padding=1), lambda: CrossEntropyLossFlat(axis=1)),
    one_output=(lambda: floats(*blobs(200)), lambda: nn.Linear(1, 1), BCEWithLogitsLossFlat),
    regression=(lambda: floats(*blobs(200)), lambda: nn.Linear(1, 1), MSELossFlat),
    labels=(labelled, lambda: nn.Linear(3, 3), BCEWithLogitsLossFlat), plain_labels=(labelled, lambda: nn.Linear(3, 3), nn.BCEWithLogitsLoss))

@pytest.fixture(scope='module')
def trained(adult, tmp_path_factory):
    "A Learner of a task after two epochs, made once, and the last value of its column, which `get_preds` makes fastai forget"
    done = {}
    def get(task):
        if task in done: return done[task]
        set_seed(0)
        if task == 'adult': learn = tabular_learner(adult_rows(adult, tmp_path_factory.mktemp('adult')), layers=[20], metrics=AUROC())
        else:
            data,model,loss = tasks[task]
            learn = Learner(as_dls(*data()), model(), loss_func=loss(), metrics=AUROC())
        quietly(learn, 'fit', 2, lr=.02)
        return done.setdefault(task, (learn, learn.recorder.values[-1][-1]))
    return get

def raw_rows(learn):
    "Raw outputs and targets, one row an item or a pixel; margins of two classes"
    z,y = quietly(learn, 'get_preds', act=noop)
    z,y = z.double().numpy(),y.numpy()
    z = np.moveaxis(z, 1, -1).reshape(-1, z.shape[1])
    if z.shape[1] == 2: return z[:,1]-z[:,0],y.ravel()
    return (z.ravel(), y.ravel()) if z.shape[1] == 1 else (z, y if y.shape == z.shape else y.ravel())

def sk_score(z, y): return sk.roc_auc_score(y, z if z.ndim == 1 or y.ndim == 2 else softmax(z, axis=1), multi_class='ovr')

@pytest.mark.parametrize('task', ['adult', *tasks])
def test_auroc_of_a_learner(task, trained):
    "That of scikit-learn on the raw outputs, and of the column; the curve too"
    learn,value = trained(task)
    interp,(z,y) = ROCInterpretation.from_learner(learn),raw_rows(learn)
    want = sk_score(z, y)
    assert float(interp.auroc()) == pytest.approx(want, abs=1e-9) == pytest.approx(value, abs=1e-9)
    ax = interp.plot_roc()
    if z.ndim == 1: assert legend(ax) == [with_ci(z, y)] and sk.auc(*points(*curves(ax))) == pytest.approx(want, abs=1e-3)
    else: assert f'macro: {number(want)}' in legend(ax) and len(curves(ax)) == 5

def across(): return CrossEntropyLossFlat(axis=1)
def as_one(y): return y[:,None].float()
def two_of(y): return torch.stack([y, 1-y], 1).float()

# Outputs and their axis of classes, loss, and targets made of class numbers without that axis
shapes = {'mask of one logit': ((1, 8, 8), 0, BCEWithLogitsLossFlat, as_one), 'its targets without axis 1': ((1, 8, 8), 0, BCEWithLogitsLossFlat, torch.Tensor.float),
    'a mask of two pixels a row': ((1, 2, 2), 0, BCEWithLogitsLossFlat, as_one), 'a line of pixels': ((1, 8), 0, BCEWithLogitsLossFlat, torch.Tensor.float),
    'one logit, plain PyTorch': ((1, 8, 8), 0, nn.BCEWithLogitsLoss, as_one),
    'two logits': ((2, 8, 8), 0, across, torch.Tensor.long), 'two logits, targets with axis 1': ((2, 8, 8), 0, across, lambda y: y[:,None]),
    'three logits': ((3, 8, 8), 0, across, torch.Tensor.long), 'three logits, targets with axis 1': ((3, 8, 8), 0, across, lambda y: y[:,None]),
    'three logits, plain PyTorch': ((3, 8, 8), 0, nn.CrossEntropyLoss, torch.Tensor.long),
    'two labels': ((2, 8, 8), 0, BCEWithLogitsLossFlat, two_of), 'two labels of two pixels a row': ((2, 2, 2), 0, BCEWithLogitsLossFlat, two_of),
    'tokens': ((5, 3), 1, CrossEntropyLossFlat, torch.Tensor.long), 'as many tokens as classes': ((3, 3), 1, CrossEntropyLossFlat, torch.Tensor.long),
    'tokens along axis 2': ((3, 5), 0, across, torch.Tensor.long), 'one number': ((), 0, BCEWithLogitsLossFlat, torch.Tensor.float),
    'one column': ((1,), 0, BCEWithLogitsLossFlat, torch.Tensor.float), 'one column twice': ((1,), 0, BCEWithLogitsLossFlat, as_one),
    'two columns': ((2,), 0, CrossEntropyLossFlat, torch.Tensor.long)}

def shaped(kind, n=30):
    "A Learner whose model returns its inputs (a slope of 1), with outputs of some shape, and its scores and labels for scikit-learn"
    shape,axis,loss,as_targets = shapes[kind]
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, *shape, generator=rng)
    k = shape[axis] if shape else 1
    y = torch.randint(2 if as_targets is two_of else max(2, k), x.select(axis+1, 0).shape if shape else (n,), generator=rng)
    t = as_targets(y)
    z = x.movedim(axis+1, -1).reshape(-1, k) if shape else x
    labels = t.movedim(1, -1).reshape(-1, 2) if as_targets is two_of else t.flatten()
    z = (z[:,1]-z[:,0] if k == 2 and labels.ndim == 1 else z.flatten() if k == 1 else z).double().numpy()
    return Learner(as_dls(x, t), nn.PReLU(init=1.), loss_func=loss(), metrics=AUROC(name='column')),z,labels.numpy()

@pytest.mark.parametrize('kind', shapes)
def test_outputs_of_every_shape(kind):
    "As many classes as the outputs have, and the numbers of the column and of scikit-learn"
    learn,z,y = shaped(kind)
    want = sk_score(z, y)
    interp = ROCInterpretation.from_learner(learn)
    assert interp.scores.shape == z.shape and interp._ranked.num_classes == (1 if z.ndim == 1 else z.shape[1]) + (z.ndim == 1)
    assert float(interp.auroc()) == pytest.approx(want, abs=1e-12) == quietly(learn, 'validate')[1]
    s,positive = (z, y == 1) if z.ndim == 1 else (z[:,1], y[:,1] == 1) if y.ndim == 2 else (softmax(z, axis=1)[:,1], y == 1)
    row = interp.report().iloc[0 if z.ndim == 1 else 1]
    assert row.auroc == pytest.approx(sk.roc_auc_score(positive, s), abs=1e-12) and (row.positive, row.rows) == (positive.sum(), len(s))
    check_best(interp.operating_point(which=1), s, positive.astype(int))

def test_axis_of_a_learner():
    "Outputs and targets of one shape with three axes: the axis has to be said, as to the column"
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, 3, generator=rng)
    y = (torch.rand(30, 4, 3, generator=rng) < .5).float()
    learn = Learner(as_dls(x, y), nn.PReLU(init=1.), loss_func=BCEWithLogitsLossFlat(), metrics=[AUROC(axis=1, name='one'), AUROC(axis=2, name='two')])
    with pytest.raises(ValueError, match='pass axis=1 or axis=2'): ROCInterpretation.from_learner(learn)
    for axis,of_column in zip((1, 2), quietly(learn, 'validate')[1:]):
        want = sk.roc_auc_score(*(o.movedim(axis, -1).reshape(-1, x.shape[axis]) for o in (y, x)))
        assert float(ROCInterpretation.from_learner(learn, axis=axis).auroc()) == pytest.approx(want, abs=1e-12) == of_column

def test_other_sets_of_a_learner(trained, adult, sk_auroc):
    "The training set, and a DataLoader of other rows"
    learn,_ = trained('adult')
    z,y = quietly(learn, 'get_preds', ds_idx=0, act=noop)
    want = sk.roc_auc_score(y, z[:,1].double()-z[:,0].double())
    assert float(ROCInterpretation.from_learner(learn, ds_idx=0).auroc()) == pytest.approx(want, abs=.02) != sk_auroc(learn)
    dl = learn.dls.test_dl(adult.iloc[:200], with_labels=True)
    interp = ROCInterpretation.from_learner(learn, dl=dl)
    assert len(interp.targets) == 200 and float(interp.auroc()) == pytest.approx(sk_auroc(learn, dl=dl), abs=1e-12)

def test_names_of_a_learner(adult, tmp_path):
    "Its vocabulary names the classes in legend, report and operating point"
    learn = tabular_learner(adult_rows(adult, tmp_path, 'relationship'), layers=[20])
    quietly(learn, 'fit', 1)
    interp = ROCInterpretation.from_learner(learn)
    assert interp.names == list(learn.dls.vocab) and 'Husband' in interp.names
    assert {o.split(':')[0] for o in legend(interp.plot_roc())} == {'micro', 'macro', *interp.names}
    z,y = raw_rows(learn)
    c = interp.names.index('Husband')
    fpr,tpr,_ = sk.roc_curve(y == c, softmax(z, axis=1)[:,c])
    assert interp.operating_point(which='Husband') == interp.operating_point(which=c)
    best = interp.operating_point(which='Husband')
    assert best.tpr-best.fpr == pytest.approx((tpr-fpr).max())

def test_names_of_masks():
    "The codes of a MaskBlock name the classes of pixels"
    from fastai.vision.all import DataBlock, ImageBlock, IndexSplitter, MaskBlock, PILImage, PILMask
    rng = np.random.default_rng(0)
    def image(i): return PILImage.create(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
    def mask(i): return PILMask.create(rng.integers(0, 3, (8, 8)).astype(np.uint8))
    for codes in (['sky', 'tree', 'road'], None):
        block = DataBlock((ImageBlock, MaskBlock(codes=codes)), get_x=image, get_y=mask, splitter=IndexSplitter(range(4)))
        learn = Learner(block.dataloaders(list(range(8)), bs=2), nn.Conv2d(3, 3, 1), CrossEntropyLossFlat(axis=1))
        interp = ROCInterpretation.from_learner(learn)
        assert interp.names == codes
    with pytest.raises(ValueError, match='below 3'): interp.operating_point(which='tree')

def every_point(s, y):
    "Rates of each threshold, by brute force"
    over = s >= np.append(np.unique(s), np.inf)[:,None]
    return over[:,y == 0].mean(1),over[:,y == 1].mean(1)

asked = [{}, *(dict(max_fpr=o) for o in (0, .01, .05, .1, .3, .5, .9, 1)), *(dict(cost_ratio=o) for o in (.01, .3, 1, 4, 50))]

def check_best(point, s, y, max_fpr=None, cost_ratio=None):
    "No threshold would do better"
    check_best_of(point, *every_point(s, y), (y == 1).sum(), (y == 0).sum(), max_fpr, cost_ratio)

def check_best_of(point, fpr, tpr, p, q, max_fpr=None, cost_ratio=None):
    "The same for the rates of all thresholds, and the numbers of positives and negatives"
    if max_fpr is not None:
        assert point.fpr <= max_fpr and point.tpr == pytest.approx(tpr[fpr <= max_fpr].max(), abs=1e-12)
        assert point.fpr == pytest.approx(fpr[np.isclose(tpr, point.tpr)].min(), abs=1e-12)
    else:
        def cost(fpr, tpr): return fpr+1-tpr if cost_ratio is None else cost_ratio*p*(1-tpr) + q*fpr
        assert cost(point.fpr, point.tpr) == pytest.approx(cost(fpr, tpr).min(), rel=1e-9, abs=1e-12)

def check_applied(point, p, y):
    "The threshold on probabilities gives the rates that were promised"
    over = p >= point.threshold
    got = over[y == 0].mean(),over[y == 1].mean(),(y[over] == 1).mean() if over.any() else np.nan
    assert got == pytest.approx(point[1:], abs=1e-12, nan_ok=True)

@pytest.mark.parametrize('kwargs', asked, ids=str)
@pytest.mark.parametrize('task', ['adult', 'masks', 'one_output', 'regression'])
def test_operating_point(task, kwargs, trained):
    "The best of all thresholds, also when applied to what `get_preds` says"
    learn,_ = trained(task)
    point = ROCInterpretation.from_learner(learn).operating_point(**kwargs)
    check_best(point, *raw_rows(learn), **kwargs)
    p,y = quietly(learn, 'get_preds')
    check_applied(point, (p[:,1] if p.shape[1] == 2 else p).flatten().numpy(), y.flatten().numpy())

@pytest.mark.parametrize('kwargs', asked, ids=str)
@pytest.mark.parametrize('task', ['three', 'labels'])
def test_operating_point_of_a_class(task, kwargs, trained):
    learn,_ = trained(task)
    interp,(z,y) = ROCInterpretation.from_learner(learn),raw_rows(learn)
    s,p = softmax(z, axis=1) if task == 'three' else z,quietly(learn, 'get_preds')[0].numpy()
    for c in range(3):
        point,mine = interp.operating_point(which=c, **kwargs),(y[:,c] if y.ndim == 2 else y == c).astype(int)
        check_best(point, s[:,c], mine, **kwargs)
        check_applied(point, p[:,c], mine)

@pytest.mark.parametrize('max_fpr', [0, .1, .5, 1])
def test_operating_point_of_scores_as_they_are(max_fpr):
    "With activation 'identity', and with ties"
    s,y = noisy(200)
    point = ROCInterpretation(s, y, 'identity').operating_point(max_fpr=max_fpr)
    check_best(point, s, y, max_fpr)
    check_applied(point, s, y)

def test_faults_of_operating_point(recwarn):
    (s,y),(p,c) = noisy(),classes()
    interp,many = ROCInterpretation(s, y, 'identity'),ROCInterpretation(np.log(p), c, 'softmax', ['cat', 'dog', 'owl'])
    with pytest.raises(ValueError, match='not both.*0.1.*2'): interp.operating_point(.1, 2)
    for bad in (-.1, 1.5, float('nan')):
        with pytest.raises(ValueError, match=f'max_fpr.*{bad}'): interp.operating_point(max_fpr=bad)
    for bad in (0, -1, float('nan')):
        with pytest.raises(ValueError, match=f'cost_ratio.*{bad}'): interp.operating_point(cost_ratio=bad)
    with pytest.raises(ValueError, match="which.*3 classes.*'cat', 'dog', 'owl'"): many.operating_point()
    for bad in (3, -1, 'cow'):
        with pytest.raises(ValueError, match=f'which.*3.*{bad}'): many.operating_point(which=bad)
    with pytest.raises(ValueError, match='positives and negatives'): ROCInterpretation(s, np.ones(80), 'identity').operating_point()
    with pytest.raises(ValueError, match='positives and negatives'): ROCInterpretation(p, np.where(c == 2, 0, c), names='abc').operating_point(which='c')
    with pytest.raises(ValueError, match="activation.*'relu'"): ROCInterpretation(s, y, 'relu')
    with pytest.raises(ValueError, match=r'\(80,\).*\(79,\)'): ROCInterpretation(s, y[1:])
    assert not recwarn.list

def test_report(capsys, recwarn):
    "A row for each class, the macro average below; a class that does not occur is undefined"
    p,y = classes()
    y = np.where(y == 2, 0, y)
    ROCInterpretation(np.log(p), y, 'softmax', ['cat', 'dog', 'owl']).print_report()
    out,err = capsys.readouterr()
    head,*rows = out.splitlines()
    assert all(o in head for o in ('positive', 'AUROC', 'threshold', 'fpr', 'tpr', 'precision')) and not err
    assert [o.split()[0] for o in rows] == ['cat', 'dog', 'owl', 'macro'] and 'undefined' in rows[2] and 'undefined' not in rows[0]+rows[1]+rows[3]
    for c,row in enumerate(rows[:2]):
        fpr,tpr,_ = sk.roc_curve(y == c, p[:,c])
        auroc,low,high,_ = map(float, auroc_ci(p[:,c], y == c))
        _,n,total,value,interval,*best = row.split()
        assert (int(n), int(total)) == ((y == c).sum(), 90) and value == f'{sk.roc_auc_score(y == c, p[:,c]):.3f}' and interval == f'{low:.3f}–{high:.3f}'
        assert float(best[2])-float(best[1]) == pytest.approx((tpr-fpr).max(), abs=2e-3)
    assert rows[3].split()[-1] == f'{np.mean([sk.roc_auc_score(y == c, p[:,c]) for c in (0, 1)]):.3f}'

def test_report_of_a_learner(trained, capsys):
    learn,_ = trained('adult')
    ROCInterpretation.from_learner(learn).print_report(digits=4)
    z,y = raw_rows(learn)
    *_,row = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == ['>50K', str(y.sum()), '400', f'{sk.roc_auc_score(y, z):.4f}']

def test_report_of_one_class(capsys):
    ROCInterpretation([.1, .2, .3], [0, 0, 0], 'identity').print_report()
    assert capsys.readouterr().out.splitlines()[-1].split()[:6] == ['1', '0', '3', 'undefined', 'one', 'class']

def test_report_of_a_model_worse_than_chance(capsys):
    "The threshold inf is explained, and has no precision; one that is inf since the positives are is not"
    ROCInterpretation([.9, .8, .3, .2], [0, 0, 1, 1], names=['no', 'yes']).print_report()
    *_,row,note = capsys.readouterr().out.splitlines()
    assert row.split()[-5:] == ['–', 'inf', '0.000', '0.000', '–'] and note.startswith('threshold inf: no threshold is above the diagonal') and note.endswith('for yes')
    p,y = classes()
    ROCInterpretation(np.full_like(p, .25), y, 'softmax').print_report()
    assert capsys.readouterr().out.splitlines()[-1].endswith('for 0, 1, 2')
    for s in ([.1, .2, .8, .9], [.1, .2, .8, np.inf], [0, 1, np.inf, np.inf]):
        ROCInterpretation(s, [0, 0, 1, 1], 'identity').print_report()
        assert 'diagonal' not in capsys.readouterr().out

def test_repr(trained):
    got = repr(ROCInterpretation.from_learner(trained('adult')[0]))
    assert got == "ROCInterpretation(scores of shape (400,), targets of shape (400,), activation='softmax')"

def void(n=12, k=2):
    x,y = blobs(n, 8, 8, k=k)
    return x,y.masked_fill(torch.rand(y.shape) < .2, 255)

def void_learner(k=2, **kwargs):
    return Learner(as_dls(*void(k=k)), nn.Conv2d(1, k, 3, padding=1), loss_func=CrossEntropyLossFlat(axis=1, ignore_index=255), **kwargs)

@pytest.mark.parametrize('k', [2, 3])
def test_void_pixels(k, capsys):
    "The loss function's ignore_index holds for curves, numbers, report and thresholds"
    learn = void_learner(k)
    quietly(learn, 'fit', 1, lr=.05)
    interp,(z,y) = ROCInterpretation.from_learner(learn),raw_rows(learn)
    kept = y != 255
    z,y = z[kept],y[kept]
    assert kept.mean() < .9 and float(interp.auroc()) == pytest.approx(sk_score(z, y), abs=1e-9)
    s = z if k == 2 else softmax(z, axis=1)[:,1]
    assert with_ci(s, y == 1) in ' '.join(legend(interp.plot_roc()))
    check_best(interp.operating_point(which=1), s, (y == 1).astype(int))
    interp.print_report()
    assert f'{len(y)}' in capsys.readouterr().out
    assert curves(interp.plot_roc(average='micro'))

def test_labels_are_checked():
    "By the rules of `auroc_score`, before there is a report"
    s,y = noisy()
    for f in (ROCInterpretation, plot_roc, plot_aum):
        with pytest.raises(ValueError, match='two different values.*80 rows'): f(s, np.arange(80) % 3)
    assert ROCInterpretation(s, y+1).operating_point()[1:] == ROCInterpretation(s, y).operating_point()[1:]
    with pytest.raises(ValueError, match='do not sum to one'): ROCInterpretation(*quiet_logits())
    with pytest.raises(ValueError, match='names.*2 classes, got 3'): ROCInterpretation(s, y, names='abc')

def quiet_logits():
    p,y = classes()
    return np.log(p)*2,y

def test_nan_is_undefined(capsys, recwarn):
    "In one column it takes that curve and the averages"
    p,y = tags()
    p[0,1] = np.nan
    texts = legend(plot_roc(p, y))
    assert {o for o in texts if 'undefined' in o} == {'1: AUROC undefined', 'micro: AUROC undefined', 'macro: AUROC undefined'} and len(texts) == 5
    interp = ROCInterpretation(p, y)
    interp.print_report()
    rows = capsys.readouterr().out.splitlines()
    assert 'undefined' in rows[2] and 'NaN' in rows[2] and rows[-1].split()[-1] == 'nan' and 'undefined' not in rows[1]+rows[3]
    with pytest.raises(ValueError, match='1 of 90 scores are NaN'): interp.operating_point(which=1)
    with pytest.raises(ValueError, match='finite.*1 of 80'): plot_aum(np.where(np.arange(80) == 3, np.inf, noisy()[0]), noisy()[1])
    assert not recwarn.list

# Thresholds

def test_threshold_separates():
    "Where neighbours are an ulp apart, infinite, or of one probability"
    up = np.nextafter(1, 2)
    for s in ([0, 1, up, 2], [-np.inf, -np.inf, 1, 2]):
        point = ROCInterpretation(s, [0, 0, 1, 1]).operating_point()
        check_applied(point, np.array(s), np.array([0, 0, 1, 1]))
        assert point.tpr == 1 and point.fpr == 0
    margins,y = torch.tensor([40., 41, 42, 43]),np.array([0, 0, 1, 1])
    outputs = torch.stack([-margins/2, margins/2], 1)
    point = ROCInterpretation(outputs, y, 'softmax').operating_point()
    check_applied(point, outputs.softmax(1)[:,1].numpy(), y)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('kwargs', asked, ids=str)
def test_threshold_of_outputs_in_half_precision(kwargs, dtype):
    "The best that their few probabilities allow"
    g = torch.Generator().manual_seed(0)
    y = (torch.rand(5000, generator=g) < .5).long()
    z = torch.randn(5000, 2, generator=g)
    z[:,1] += 1.5*y
    z = z.to(dtype)
    p = z.softmax(1)[:,1]
    point = ROCInterpretation(z, y, 'softmax').operating_point(**kwargs)
    check_best(point, p.double().numpy(), y.numpy(), **kwargs)
    over = p >= point.threshold
    assert (over[y == 0].double().mean().item(), over[y == 1].double().mean().item()) == pytest.approx(point[1:3], abs=1e-12)

def applied(numbers, y, threshold):
    "False positive rate, true positive rate and precision of what is at or above the threshold, compared one by one"
    over = np.array([o >= threshold for o in numbers])
    precision = (y[over] == 1).mean() if over.any() else np.nan
    return (over & (y == 0)).sum()/(y == 0).sum(),(over & (y == 1)).sum()/(y == 1).sum(),precision

def extremes(g, n):
    "Few values, among them infinite ones, both zeros, subnormals and neighbours"
    values = [np.inf, -np.inf, 0., -0., 1., np.nextafter(1, 2), 5e-324, -5e-324, 1e308, -1e308, 1e-310, .5]
    which = torch.randint(12, (n,), generator=g)[torch.randint(n, (n,), generator=g)]
    return torch.tensor(values, dtype=torch.float64)[which]

def large(g, n, low=-2**63, high=2**63-1):
    "Whole numbers that float64 cannot tell apart"
    offset = [2**53, 2**62, low, high-8, -2**53 if low else 2**54][torch.randint(5, (1,), generator=g)]
    return [offset + o for o in torch.randint(8, (n,), generator=g).tolist()]

def in_dtype(dtype): return lambda g, n: extremes(g, n).to(dtype)
def rounded(dtype, *columns): return lambda g, n: (torch.randn(n, *columns, generator=g)*40).round().to(dtype)
def same(x): return x
def integers(g, n): return torch.randint(-9, 9, (n,), generator=g)
def second(z): return z.softmax(1)[:,1]

# Kind -> outputs of n rows, their activation, and what a user compares with the threshold
floats_ = torch.float64, torch.float32, torch.float16, torch.bfloat16
kinds = {str(o)[6:]:(in_dtype(o), 'identity', same) for o in floats_}
kinds |= {f'softmax of {o}':(rounded(o, 2), 'softmax', second) for o in floats_}
kinds |= {f'sigmoid of {o}':(rounded(o), 'sigmoid', torch.sigmoid) for o in floats_}
kinds['sigmoid of int'] = integers, 'sigmoid', lambda z: z.double().sigmoid()
kinds['int64'] = lambda g, n: torch.tensor(large(g, n)), 'identity', same
kinds['list of int'] = large, 'identity', np.asarray
kinds['uint64'] = lambda g, n: np.array(large(g, n, 0, 2**64-1), dtype=np.uint64), 'identity', same
kinds['int8'] = lambda g, n: torch.randint(-128, 128, (n,), generator=g).to(torch.int8), None, same
kinds['bool'] = lambda g, n: torch.rand(n, generator=g) < .5, None, same
kinds['probabilities'] = lambda g, n: torch.randint(5, (n,), generator=g)/4, None, same

no_threshold = 'no threshold has a false positive rate of .* negatives have the score inf'

@pytest.mark.parametrize('kind', kinds)
def test_threshold_gives_the_rates(kind, capsys, recwarn):
    "Exactly those that are stated, to NumPy and to torch, or no threshold does; also the one that the report shows"
    make,activation,seen = kinds[kind]
    g = torch.Generator().manual_seed(0)
    for n in (2, 3, 5, 9, 30)*6:
        outputs,y = make(g, n),torch.randint(2, (n,), generator=g).numpy()
        y[:2] = 0,1
        interp,p = ROCInterpretation(outputs, y, activation),seen(outputs)
        numbers = p.tolist()
        cuts = sorted({*numbers, np.inf})
        fpr,tpr = np.array([applied(numbers, y, t)[:2] for t in cuts]).T
        for kwargs in asked:
            if 'max_fpr' in kwargs and not (fpr <= kwargs['max_fpr']).any():
                assert np.inf in numbers
                with pytest.raises(ValueError, match=no_threshold): interp.operating_point(**kwargs)
                continue
            point = interp.operating_point(**kwargs)
            np.testing.assert_array_equal(applied(numbers, y, point.threshold), point[1:])
            np.testing.assert_array_equal(np.asarray(p >= point.threshold), [o >= point.threshold for o in numbers])
            if isinstance(p, torch.Tensor) and p.dtype != torch.bfloat16:
                np.testing.assert_array_equal(p.numpy() >= point.threshold, [o >= point.threshold for o in numbers])
            check_best_of(point, fpr, tpr, (y == 1).sum(), (y == 0).sum(), **kwargs)
        interp.print_report()
        *_,shown,a,b,_ = capsys.readouterr().out.splitlines()[1].split()
        shown = float(shown) if shown == 'inf' or type(numbers[0]) is float else int(shown)
        got = applied(numbers, y, shown)
        assert got[:2] == interp.operating_point()[1:3] and (a, b) == tuple(f'{o:.3f}' for o in got[:2])
    assert not recwarn.list

@pytest.mark.parametrize('scores', [[np.inf, np.inf, 0], [np.inf, -np.inf, 0], [np.inf]*3], ids=str)
def test_negatives_of_infinite_score(scores, recwarn):
    "Above them there is no threshold; any other question has an answer that holds"
    y = [0, 1, 1]
    interp = ROCInterpretation(scores, y, 'identity')
    says = no_threshold.replace('.*', '0.0 or less: 1 of 1')
    with pytest.raises(ValueError, match=says): interp.operating_point(max_fpr=0)
    for kwargs in ({}, dict(max_fpr=1), dict(cost_ratio=.01), dict(cost_ratio=100)):
        point = interp.operating_point(**kwargs)
        assert applied(scores, np.array(y), point.threshold) == point[1:] and point.fpr == 1
    assert not recwarn.list

def test_threshold_of_large_numbers():
    "Whole numbers that a float would round keep their neighbours apart, by hand"
    for dtype,low in ((np.int64, 2**53), (np.int64, -2**63), (np.uint64, 2**64-2)):
        point = ROCInterpretation(np.array([low, low+1], dtype=dtype), [0, 1], 'identity').operating_point()
        assert point == (low+1, 0, 1, 1) and type(point.threshold) is int
    assert ROCInterpretation([10, 20], [0, 1], 'identity').operating_point().threshold == 15

def test_softmax_of_many_labels():
    "The threshold is one for the softmax, by which the columns are ranked"
    z,y = torch.randn(60, 3),(torch.rand(60, 3) < .4).long()
    interp,p = ROCInterpretation(z, y, 'softmax'),z.softmax(1).numpy()
    for c in range(3): check_applied(interp.operating_point(which=c), p[:,c], y[:,c].numpy())

@pytest.mark.parametrize('n', [40, 3000])
def test_threshold_of_saturated_outputs(n):
    "The promise holds for the float32 probabilities, whatever can be told apart"
    g = torch.Generator().manual_seed(n)
    y = (torch.rand(n, generator=g) < .4).long()
    outputs = torch.stack([torch.zeros(n), 14 + 4*torch.randn(n, generator=g) + 3*y], 1)
    interp,p = ROCInterpretation(outputs, y, 'softmax'),outputs.softmax(1)[:,1].numpy()
    for kwargs in asked: check_applied(interp.operating_point(**kwargs), p, y.numpy())

@pytest.mark.parametrize('cost', [1e308, float('inf')])
def test_priceless_positives(cost, recwarn):
    s,y = noisy(200)
    point = ROCInterpretation(s, y).operating_point(cost_ratio=cost)
    check_applied(point, s, y)
    assert point.tpr == 1 and point.fpr == (s[y == 0] >= s[y == 1].min()).mean() and not recwarn.list

def steady(sign):
    "A model whose outputs rise with its input, or fall"
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, sign)
    return model

@pytest.mark.parametrize('model,loss,act', [(nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()), nn.BCELoss(), noop),
    (steady(1), nn.BCEWithLogitsLoss(), noop), (steady(-1), nn.BCEWithLogitsLoss(), noop),
    (nn.Linear(1, 2), nn.CrossEntropyLoss(), lambda x: x.softmax(1)[:,1]),
    (nn.Sequential(nn.Linear(1, 2), nn.LogSoftmax(1)), nn.NLLLoss(), lambda x: x.exp()[:,1])])
def test_losses_without_activation(model, loss, act):
    "The threshold is on the scale of what `get_preds` returns, or of its softmax"
    x,y = blobs(200)
    one = not isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))
    learn = Learner(as_dls(x, y.float()[:,None] if one else y), model, loss_func=loss)
    p,t = quietly(learn, 'get_preds')
    check_applied(ROCInterpretation.from_learner(learn).operating_point(), act(p).flatten().numpy(), t.flatten().numpy())

def test_which_class(trained):
    "Numbers of any kind; a binary task has two"
    p,y = classes()
    many = ROCInterpretation(p, y, names=['cat', 'dog', 'owl'])
    assert len({many.operating_point(which=o) for o in ('dog', 1, np.int64(1), torch.tensor(1))}) == 1
    binary = ROCInterpretation.from_learner(trained('adult')[0])
    assert binary.operating_point() == binary.operating_point(which=1) == binary.operating_point(which='>50K')
    assert binary.operating_point(which=0) == binary.operating_point(which='<=50K') != binary.operating_point()
    for bad in (2, -1, 'nonsense', True, 0.):
        with pytest.raises(ValueError, match="^which must be a number below 2 or one of .*'>50K'.*got"): binary.operating_point(which=bad)
    for bad in (3, -1, 'dgo', True, 1.):
        with pytest.raises(ValueError, match=r"^which must be a number below 3 or one of \['cat', 'dog', 'owl'\], got"): many.plot_roc(bad)
        with pytest.raises(ValueError, match='^which must be a number below 3, got'): ROCInterpretation(p, y).plot_pr(bad)
        with pytest.raises(ValueError, match='^which must be a number below 2, got'): ROCInterpretation(p[:,0], y == 0).threshold_table(bad)
    for name in ('max_fpr', 'cost_ratio'):
        with pytest.raises(ValueError, match=f"{name} must be a number.*'a'"): binary.operating_point(**{name:'a'})
    for bad in ('x', 0, 2.5):
        with pytest.raises(ValueError, match='digits'): binary.print_report(digits=bad)

def test_sets_without_rows_or_labels(adult, adult_learner):
    learn = adult_learner()
    with pytest.raises(ValueError, match='no labels.*with_labels=True'): ROCInterpretation.from_learner(learn, dl=learn.dls.test_dl(adult.iloc[:50].drop(columns='income')))
    with pytest.raises(ValueError, match='ds_idx must be below 2.*got 2'): ROCInterpretation.from_learner(learn, ds_idx=2)
    with pytest.raises(TypeError, match='a Learner of fastai 2, got a Linear'): ROCInterpretation.from_learner(nn.Linear(1, 1))

losses_of_labels = [((24, 4, 4, 3), AUROCLoss(axis=3, multilabel=True)), ((24, 4, 4, 3), AUMLoss(axis=-1, multilabel=True)),
    ((24, 3, 4), AUROCLoss(multilabel=True)), ((24, 3, 4), SoftDiceLoss(axis=2, multilabel=True))]

@pytest.mark.parametrize('shape,loss', losses_of_labels, ids=range(len(losses_of_labels)))
def test_axis_of_a_loss_for_several_labels(shape, loss):
    "Outputs and targets have one shape, so only the loss tells which axis holds the labels; the column asks it, too"
    axis = loss.axis % len(shape)
    k = shape[axis]
    rng = torch.Generator().manual_seed(0)
    of_labels = torch.arange(k, dtype=torch.float).reshape([k if i == axis else 1 for i in range(len(shape))])
    x = torch.randn(shape, generator=rng) + 2*of_labels
    y = (torch.rand(shape, generator=rng) < (of_labels+1)/(k+2)).float()
    learn = Learner(as_dls(x, y), nn.PReLU(init=1.), loss_func=loss, metrics=AUROC())
    want = sk.roc_auc_score(*(o.movedim(axis, -1).reshape(-1, k) for o in (y, x)))
    assert quietly(learn, 'validate')[-1] == pytest.approx(want, abs=1e-6)
    assert float(ROCInterpretation.from_learner(learn).auroc()) == pytest.approx(want, abs=1e-6)
