"Pictures and reports: their numbers, curves and thresholds against scikit-learn and brute force."
import pickle, warnings, matplotlib, numpy as np, pytest, torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, tabular_learner
from fastai.torch_core import noop, set_seed
from fractions import Fraction
from matplotlib import pyplot as plt
from types import SimpleNamespace
from scipy.special import expit, softmax
from sklearn import metrics as sk
from torch import nn
from test_losses import aum_def
from test_losses_training import as_dls, blobs, quietly
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.metric import AUROC
from fastai_auroc.plots import plot_aum, plot_roc
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.callbacks import ShowROCCallback

matplotlib.use('agg')

@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close('all')

pytestmark = pytest.mark.usefixtures('one_thread')

def noisy(n=80, seed=0, digits=1):
    "Scores with ties, and labels of which they know something"
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < .3).astype(int)
    return np.round(rng.normal(size=n)+y, digits),y

def classes(n=90, k=3, seed=0):
    "Softmax probabilities of k classes, and class numbers"
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    return softmax(rng.normal(size=(n,k)) + np.eye(k)[y], axis=1),y

def tags(n=90, k=3):
    p,y = classes(n, k)
    return expit(8*p-4),(p + np.random.default_rng(1).random((n,k))/2 > .5).astype(int)

def legend(ax): return [o.get_text() for o in ax.get_legend().get_texts()]
def number(v, low=None, high=None): return f'AUROC {v:.3f}' + ('' if low is None else f' ({low:.3f}–{high:.3f})')
def with_ci(s, y, level=.95): return number(sk.roc_auc_score(y, s), *map(float, auroc_ci(s, y, level=level)[1:3]))
def points(line): return np.stack(line.get_data())
def curves(ax): return [o for o in ax.lines if len(o.get_xdata()) and not is_diagonal(o)]
def is_diagonal(line): return line.get_linestyle() == ':' and np.array_equal(points(line), [[0, 1], [0, 1]])
def same_curve(line, y, s): return np.allclose(points(line), sk.roc_curve(y, s)[:2], rtol=0, atol=1e-12)

# plot_roc

@pytest.mark.parametrize('n', [10, 80, 500])
def test_one_curve(n):
    "scikit-learn's points and number, over the diagonal, on equal axes"
    s,y = noisy(n)
    ax = plot_roc(s, y)
    assert legend(ax) == [with_ci(s, y)]
    line, = curves(ax)
    assert same_curve(line, y, s)
    assert sum(map(is_diagonal, ax.lines)) == 1 and ax.get_aspect() == 1
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[0] <= 0 and ax.get_xlim()[1] >= 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('false positive rate', 'true positive rate')

def test_interval_in_the_legend():
    s,y = noisy()
    one,wide,none = (legend(plot_roc(s, y, **o))[0] for o in ({}, dict(level=.999), dict(ci=False)))
    assert one == with_ci(s, y) and wide == with_ci(s, y, .999) and none == number(sk.roc_auc_score(y, s))
    assert len({one, wide, none}) == 3

@pytest.mark.parametrize('s', [[.1, .2, .3, .4], [.4, .3, .2, .1], [.5]*4], ids=['perfect', 'reversed', 'all tied'])
def test_no_interval_where_the_variance_is_zero(s, capsys, recwarn):
    "`auroc_ci` warns that it is no certainty; a legend of one or more curves and the report show none"
    y = [0, 0, 1, 1]
    want = sk.roc_auc_score(y, s)
    assert legend(plot_roc(s, y)) == [number(want)] and legend(plot_roc(dict(a=s), y)) == [f'a: {number(want)}']
    columns = np.stack([s, s], 1),np.stack([y, y], 1)
    assert legend(plot_roc(*columns, average=None)) == [f'{c}: {number(want)}' for c in (0, 1)]
    for task in ((s, y), columns):
        ROCInterpretation(*task).print_report()
        assert capsys.readouterr().out.splitlines()[1].split()[3:5] == [f'{want:.3f}', '–']
    assert not recwarn.list
    with pytest.warns(UserWarning, match='no certainty'): auroc_ci(s, y)

def test_column_of_a_perfect_ranking(recwarn):
    "The half width 0 comes with the sentence of `auroc_ci`, once a fit; the picture of the epoch has no interval"
    x = torch.arange(-20., 20)[:,None]
    dls,show = as_dls(x, (x[:,0] > 0).long()),ShowROCCallback()
    learn = Learner(dls, nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), cbs=AUROC(ci=True))
    with torch.no_grad(): learn.model.weight.copy_(torch.tensor([[-1.], [1.]]))
    quietly(learn, 'fit', 2, lr=0., cbs=show)
    assert learn.recorder.values[-1][-2:] == [1, 0] and legend(show.ax) == ['epoch 1: AUROC 1.000']
    assert len([o for o in recwarn.list if 'no certainty' in str(o.message)]) == 1

def test_decimals_of_a_narrow_interval(capsys):
    "As many as tell its ends apart: never 1.000 (1.000–1.000)"
    n = 300_000
    s,y = np.arange(n),(np.arange(n) >= n//2).astype(int)
    s[n//2-4:n//2+4] = s[n//2+3:n//2-5:-1]
    auroc,low,high,_ = map(float, auroc_ci(s, y))
    assert f'{low:.3f}' == f'{high:.3f}' == f'{auroc:.3f}' == '1.000' and low < auroc < high
    text, = legend(plot_roc(s, y))
    d = len(text.split()[1]) - 2
    assert text == f'AUROC {auroc:.{d}f} ({low:.{d}f}–{high:.{d}f})'
    assert f'{low:.{d}f}' != f'{high:.{d}f}' and f'{low:.{d-1}f}' == f'{high:.{d-1}f}'
    ROCInterpretation(s, y).print_report()
    assert capsys.readouterr().out.splitlines()[1].split()[3:5] == [f'{auroc:.{d}f}', f'{low:.{d}f}–{high:.{d}f}']

def test_two_logits():
    "Two logits are ranked by their difference, also where the softmax saturates"
    s,y = noisy()
    z = np.stack([np.zeros_like(s), 100+s], 1)
    ax = plot_roc(torch.tensor(z), torch.tensor(y), activation='softmax')
    assert legend(ax) == [with_ci(s, y)]
    assert same_curve(*curves(ax), y, s)

def test_axes_and_line_style():
    s,y = noisy()
    _,(left,right) = plt.subplots(1, 2)
    assert plot_roc(s, y, ax=right, color='tomato', lw=3, alpha=.5) is right
    line, = curves(right)
    assert (line.get_color(), line.get_linewidth(), line.get_alpha()) == ('tomato', 3, .5)
    assert not left.lines and len(plt.get_fignums()) == 1

def test_several_models():
    "A curve for each, on the same rows, in their order"
    s,y = noisy()
    models = dict(before=np.random.default_rng(1).normal(size=len(y)), after=s)
    ax = plot_roc(models, y)
    assert legend(ax) == [f'{name}: {with_ci(o, y)}' for name,o in models.items()]
    assert all(same_curve(line, y, o) for line,o in zip(curves(ax), models.values())) and len(curves(ax)) == 2
    assert sum(map(is_diagonal, ax.lines)) == 1

def test_several_models_of_many_classes():
    "The macro average of each, or each class of each"
    (p,y),(q,_) = classes(),classes(seed=1)
    a,b = (sk.roc_auc_score(y, o, multi_class='ovr') for o in (p, q))
    assert legend(plot_roc(dict(p=p, q=q), y)) == [f'p: {number(a)}', f'q: {number(b)}']
    texts = legend(plot_roc(dict(p=p, q=q), y, average=None, names='abc'))
    assert texts == [f'{m} {c}: {with_ci(o[:,i], y == i)}' for m,o in (('p', p), ('q', q)) for i,c in enumerate('abc')]

def averages(p, y, names='012'):
    "Legend entries by scikit-learn, and curves of micro and of each class"
    onehot = y if y.ndim == 2 else np.eye(p.shape[1])[y]
    micro,macro = (sk.roc_auc_score(onehot, p, average=o) for o in ('micro', 'macro'))
    each = [(f'{name}: {with_ci(p[:,c], onehot[:,c])}', onehot[:,c], p[:,c]) for c,name in enumerate(names)]
    return (f'micro: {number(micro)}', onehot.ravel(), p.ravel()),f'macro: {number(macro)}',each

@pytest.mark.parametrize('make', [classes, tags])
@pytest.mark.parametrize('names', [None, ['cat', 'dog', 'owl']])
def test_many_classes(make, names):
    "Of class numbers or of many labels: each class, micro and macro, all or one of them"
    p,y = make()
    (micro,*pooled),macro,each = averages(p, y, names or '012')
    ax = plot_roc(p, y, names=names)
    assert sorted(legend(ax)) == sorted([micro, macro, *(o[0] for o in each)])
    by_label = {o.get_label(): o for o in curves(ax)}
    assert same_curve(by_label[micro], *pooled) and all(same_curve(by_label[label], *o) for label,*o in each)
    area = sk.auc(*points(by_label[macro]))
    assert number(area) in macro
    for average,want in (('micro', [micro]), ('macro', [macro]), (None, [o[0] for o in each])):
        ax = plot_roc(p, y, names=names, average=average)
        assert legend(ax) == want and len(curves(ax)) == len(want)

def test_more_classes_than_a_legend_holds(recwarn):
    "Each has its curve; the averages, the three lowest and the highest have their entries"
    p,y = classes(200, 20)
    ax = plot_roc(p, y)
    each = [sk.roc_auc_score(y == c, p[:,c]) for c in range(20)]
    order = np.argsort(each)
    assert len(curves(ax)) == 22 and {o.split(':')[0] for o in legend(ax)} == {'micro', 'macro', *(str(c) for c in (*order[:3], order[-1]))}
    ax = plot_roc(p, y, average=None)
    assert len(curves(ax)) == 20 and all(same_curve(line, y == c, p[:,c]) for c,line in enumerate(curves(ax)))
    assert not recwarn.list

def test_million_rows():
    "The curve is thinned, the number is not"
    rng = np.random.default_rng(0)
    y = rng.random(10**6) < .1
    s = rng.normal(size=10**6) + y
    ax = plot_roc(s, y, ci=False)
    want = sk.roc_auc_score(y, s)
    assert legend(ax) == [number(want)]
    x,t = points(*curves(ax))
    assert len(x) < 5000 and abs(sk.auc(x, t) - want) < 1e-3
    assert (x[0], t[0], x[-1], t[-1]) == (0, 0, 1, 1) and (np.diff(x) >= 0).all() and (np.diff(t) >= 0).all()

@pytest.mark.parametrize('n', [3000, 200_000])
def test_thinned_points_are_points_of_the_curve(n):
    s,y = noisy(n, digits=12)
    exact = set(zip(*(np.round(o, 12) for o in sk.roc_curve(y, s, drop_intermediate=False)[:2])))
    assert set(zip(*np.round(points(*curves(plot_roc(s, y, ci=False))), 12))) <= exact

@pytest.mark.parametrize('label', [0, 1])
def test_one_class(label, recwarn):
    s,_ = noisy()
    ax = plot_roc(s, np.full(len(s), label))
    assert legend(ax) == ['AUROC undefined'] and not curves(ax) and not recwarn.list

def test_absent_class(recwarn):
    "Is undefined, and left out of the macro average; the others have their curves"
    p,y = classes()
    y = np.where(y == 2, 0, y)
    ax = plot_roc(p, y)
    texts = legend(ax)
    each = [sk.roc_auc_score(y == c, p[:,c]) for c in (0, 1)]
    assert '2: AUROC undefined' in texts and f'macro: {number(np.mean(each))}' in texts and not recwarn.list
    assert len(curves(ax)) == 4 and '2: AUROC undefined' not in [o.get_label() for o in curves(ax)]

def test_faults_of_plot_roc():
    s,y = noisy()
    with pytest.raises(ValueError, match="average.*'weighted'"): plot_roc(s, y, average='weighted')
    with pytest.raises(ValueError, match=r'\(80,\).*\(79,\)'): plot_roc(s, y[1:])
    with pytest.raises(ValueError, match="b: .*scores of shape"): plot_roc(dict(a=s, b=s[1:]), y)
    with pytest.raises(ValueError, match='names.*3 classes, got 2'): plot_roc(*classes(), names=['a', 'b'])
    with pytest.raises(ValueError, match='dict.*empty'): plot_roc({}, y)
    with pytest.raises(ValueError, match='no label='): plot_roc(dict(a=s), y, label='b')
    with pytest.raises(ValueError, match='names.*2 classes, got 1'): plot_roc(s, y, names=['a'])
    with pytest.raises(ValueError, match='level.*7'): plot_roc(*classes(), average='macro', level=7)
    with pytest.raises(TypeError, match='ax must be matplotlib axes, got Figure'): plot_roc(s, y, ax=plt.Figure())
    with pytest.raises(AttributeError, match='colour'): plot_roc(s, y, colour='red')
    with pytest.raises(ValueError, match='level.*2'): plot_roc(s, y, level=2)
    assert not plt.get_fignums()

# plot_aum

def shaded(ax):
    "Area of the shaded polygon, by the shoelace formula"
    x,y = ax.collections[0].get_paths()[0].vertices.T
    return abs((x*np.roll(y, -1) - y*np.roll(x, -1)).sum())/2

@pytest.mark.parametrize('n', [10, 80, 500])
@pytest.mark.parametrize('logits', [False, True])
def test_plot_aum(n, logits):
    "The legend and the shaded area are the AUM by definition"
    s,y = noisy(n)
    want = aum_def(torch.tensor(s), torch.tensor(y) > 0).item()
    ax = plot_aum(np.stack([-s/2, s/2], 1), y, activation='softmax') if logits else plot_aum(s, y)
    assert want > 0 and f'AUM {want:.4g}' in legend(ax)
    assert shaded(ax) == pytest.approx(want, rel=1e-9)
    assert {'false positive rate', 'false negative rate'} < set(legend(ax))

def test_rates_of_plot_aum():
    "Each rate, at a threshold between two scores"
    s,y = noisy()
    rates = {o.get_label(): o for o in plot_aum(s, y).lines}
    for t in (-1.05, .05, .55, 1.25):
        for name,want in (('false positive rate', (s[y == 0] > t).mean()), ('false negative rate', (s[y == 1] <= t).mean())):
            x,r = points(rates[name])
            assert r[np.searchsorted(x, t, 'right')-1] == pytest.approx(want, abs=1e-12)

def test_plot_aum_on_given_axes():
    s,y = noisy()
    _,(left,right) = plt.subplots(1, 2)
    assert plot_aum(s, y, ax=right) is right and not left.lines and len(plt.get_fignums()) == 1

def rescaled(s):
    "Whole numbers or floats as exact fractions of their reach, counted from the least, and the reach"
    s = [Fraction(o) for o in np.asarray(s).tolist()]
    reach = max(s)-min(s)
    return np.array([float((o-min(s))/reach) for o in s]),reach

wide = np.array([-1., -.25, .5, .75, 1, -.5])
steps = np.arange(6.)
extreme = {'1e308':wide*1e308, 'float max':wide*np.finfo(float).max, '1e-300':wide*1e-300, 'subnormal':steps*5e-324,
    '1e250':steps*1e250, 'two sizes':[-1e308, -5e307, 1e308, 1e-300, 0, 2], 'offset 1e12':steps + 1e12,
    'offset 1e16':2*steps + 1e16, 'offset -1e300':-1e300*(1 - steps*2e-16), 'offset 1e308':1e308*(1 + steps*2e-16)}
extreme |= {'int64':2**62 + np.arange(6), 'negative int64':-2**63 + np.arange(6)}
extreme |= {'uint64':np.uint64(2**64-1) - np.arange(6, dtype=np.uint64)[::-1],
    'all of int64':np.array([-2**63, -2**62, 0, 1, 2**62, 2**63-1]), 'float32':np.float32(wide*3e38)}

@pytest.mark.parametrize('name', extreme)
def test_plot_aum_of_extreme_scores(name, tmp_path):
    "The picture shows the overlap, and the number is the AUM by definition of the rescaled scores; nobody warns"
    s,y = extreme[name],np.array([0, 1, 0, 1, 0, 1])
    scaled,reach = rescaled(s)
    part = aum_def(torch.tensor(scaled), torch.tensor(y) > 0).item()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ax = plot_aum(s, y)
        ax.figure.savefig(tmp_path/'aum.png')
    number, = [o.split()[1] for o in legend(ax) if o.startswith('AUM')]
    assert part > 0 and abs(Fraction(number)/(Fraction(part)*reach) - 1) < 1e-3
    low,high = ax.get_xlim()
    x = ax.lines[0].get_xdata()[1:-1]  # thresholds at scores, without the room on either side
    assert shaded(ax)/(x[-1]-x[0]) == pytest.approx(part, rel=1e-6) and x[-1]-x[0] > .8*(high-low)

@pytest.mark.parametrize('value', [1e308, -np.finfo(float).max, 5e-324, 1e-300, 0, 1e16])
def test_plot_aum_of_one_score(value, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ax = plot_aum([value]*4, [0, 1, 0, 1])
        ax.figure.savefig(tmp_path/'aum.png')
    assert 'AUM 0' in legend(ax)

@pytest.mark.parametrize('n', [2001, 2002, 10000])
def test_plot_aum_of_many_rows(n):
    "Thinned to 2,001 thresholds at most, and hardly another picture"
    s,y = noisy(n, digits=12)
    ax = plot_aum(s, y)
    assert shaded(ax) == pytest.approx(aum_def(torch.tensor(s), torch.tensor(y) > 0).item(), rel=.02)
    assert len(ax.lines[0].get_xdata()) <= 2003

def test_faults_of_plot_aum():
    s,y = noisy()
    with pytest.raises(ValueError, match=r'binary.*\(90, 3\)'): plot_aum(*classes())
    with pytest.raises(ValueError, match='positives only'): plot_aum(s, np.ones(80))
    with pytest.raises(ValueError, match='no positives'): plot_aum(s, np.zeros(80))
    with pytest.raises(ValueError, match='no positives'): plot_aum(s[:0], y[:0])
    with pytest.raises(ValueError, match=r'\(80,\).*\(79,\)'): plot_aum(s, y[1:])
    assert not plt.get_fignums()

# ROCInterpretation

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

def test_repr(trained):
    got = repr(ROCInterpretation.from_learner(trained('adult')[0]))
    assert got == "ROCInterpretation(scores of shape (400,), targets of shape (400,), activation='softmax')"

# ShowROCCallback

def test_curve_of_each_epoch(adult_learner, column, sk_auroc):
    "The last in colour, with the number of the column; no figure stays open"
    show = ShowROCCallback()
    learn = adult_learner(metrics=AUROC(), cbs=show)
    quietly(learn, 'fit', 3)
    assert legend(show.ax) == [f"epoch 2: {number(column(learn, 'auroc')[-1])}"]
    lines = curves(show.ax)
    assert len(lines) == 3 and [o.get_color() == lines[-1].get_color() for o in lines] == [False, False, True]
    assert [sk.auc(*points(o)) for o in lines] == pytest.approx(column(learn, 'auroc'), abs=1e-9)
    assert any(map(is_diagonal, show.ax.lines)) and show.ax.get_aspect() == 1 and not plt.get_fignums()
    assert sk.auc(*points(lines[-1])) == pytest.approx(sk_auroc(learn))
    quietly(learn, 'fit', 1)
    assert len(curves(show.ax)) == 1 and legend(show.ax)[0].startswith('epoch 0: ')

def test_callback_of_a_single_fit(adult_learner, recwarn):
    "Without an AUROC column; pictures bring no warnings of matplotlib"
    learn,show = adult_learner(),ShowROCCallback(figsize=(4,3))
    quietly(learn, 'fit', 2, cbs=show)
    assert len(curves(show.ax)) == 2 and tuple(show.fig.get_size_inches()) == (4, 3) and show not in learn.cbs
    assert not [o for o in recwarn.list if 'legend' in str(o.message)]

def test_callback_shows_one_picture(adult_learner, monkeypatch):
    "The first epoch shows it, the later ones redraw it"
    shown,redrawn = [],[]
    class Handle:
        def update(self, fig): redrawn.append(fig)
    def display(fig, display_id): return shown.append(fig) or Handle()
    monkeypatch.setattr('fastai_auroc.callbacks.display', display)
    quietly(adult_learner(cbs=ShowROCCallback()), 'fit', 1)
    assert not shown, 'in a terminal there is nothing to show it'
    monkeypatch.setattr('fastai_auroc.callbacks.get_ipython', lambda: SimpleNamespace(kernel=None))
    show = ShowROCCallback()
    quietly(adult_learner(cbs=show), 'fit', 3)
    assert shown == [show.fig] and redrawn == [show.fig]*2

def test_callback_waits_outside_training(adult_learner, capsys):
    "`lr_find` and `get_preds` show nothing, and leave the picture of the fit alone"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    quietly(learn, 'lr_find', num_it=5, show_plot=False)
    quietly(learn, 'get_preds')
    assert 'Figure' not in capsys.readouterr().out and not plt.get_fignums()
    quietly(learn, 'fit', 2)
    fig,label = show.fig,legend(show.ax)
    capsys.readouterr()
    quietly(learn, 'get_preds')
    ROCInterpretation.from_learner(learn)
    quietly(learn, 'lr_find', num_it=5, show_plot=False)
    assert 'Figure' not in capsys.readouterr().out and not plt.get_fignums()
    assert show.fig is fig and legend(show.ax) == label and len(show.curves) == 2

def test_callback_of_one_class(adult, adult_dls, adult_learner):
    "Says undefined, and training goes on"
    poorer = adult.income.mode()[0]
    poor = np.flatnonzero((adult.sample(900, random_state=0).income == poorer).to_numpy())[:200].tolist()
    assert len(poor) == 200
    show = ShowROCCallback()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter('always')
        learn = adult_learner(adult_dls(valid_idx=poor), cbs=show)
        quietly(learn, 'fit', 2)
    assert len(learn.recorder.values) == 2 and legend(show.ax) == ['epoch 1: AUROC undefined'] and not curves(show.ax)

@pytest.mark.parametrize('task', ['three', 'three_masks', 'labels', 'one_output'])
def test_callback_of_other_tasks(task, column):
    "The macro average of many classes"
    data,model,loss = tasks[task]
    show = ShowROCCallback()
    learn = Learner(as_dls(*data()), model(), loss_func=loss(), metrics=AUROC(), cbs=show)
    quietly(learn, 'fit', 2, lr=.05)
    value = column(learn, 'auroc')[-1]
    assert legend(show.ax) == [f'epoch 1: {number(value)}'] and len(curves(show.ax)) == 2
    assert sk.auc(*points(curves(show.ax)[-1])) == pytest.approx(value, abs=1e-9) == pytest.approx(sk_score(*raw_rows(learn)), abs=1e-9)

def test_callback_leaves_a_validation_alone(adult_learner):
    "`validate` after a fit neither draws nor forgets"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    quietly(learn, 'fit', 2)
    fig,label = show.fig,legend(show.ax)
    quietly(learn, 'validate')
    assert show.fig is fig and legend(show.ax) == label and len(show.curves) == 2

def broken():
    "A model whose outputs turn to NaN"
    return Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), lr=1e30)

def regression(): return Learner(as_dls(torch.randn(64, 1), torch.randn(64)), nn.Linear(1, 1), loss_func=MSELossFlat())

@pytest.mark.parametrize('make', [broken, regression])
def test_callback_ends_no_training(make, recwarn):
    "What has no curve is undefined, with one warning a fit"
    show,learn = ShowROCCallback(),make()
    quietly(learn, 'fit', 3, cbs=show)
    assert len(learn.recorder.values) == 3 and legend(show.ax) == ['epoch 2: AUROC undefined'] and show.curves[-1] is None
    assert len([o for o in recwarn.list if 'AUROC is NaN' in str(o.message)]) == 1

def void(n=12, k=2):
    x,y = blobs(n, 8, 8, k=k)
    return x,y.masked_fill(torch.rand(y.shape) < .2, 255)

def void_learner(k=2, **kwargs):
    return Learner(as_dls(*void(k=k)), nn.Conv2d(1, k, 3, padding=1), loss_func=CrossEntropyLossFlat(axis=1, ignore_index=255), **kwargs)

@pytest.mark.parametrize('options', [dict(average='micro'), dict(max_fpr=.2, name='auroc_20'), {}], ids=str)
def test_callback_shows_the_number_of_the_column(options, column):
    "Its options and its void rows"
    show,learn = ShowROCCallback(),void_learner(3, metrics=AUROC(ignore_index=255, **options))
    learn.add_cb(show)
    quietly(learn, 'fit', 1, lr=.05)
    name = options.get('name', 'auroc')
    assert legend(show.ax) == [f"epoch 0: {name if name != 'auroc' else 'AUROC'} {column(learn, name)[-1]:.3f}"]
    z,y = raw_rows(learn)
    z,y = softmax(z[y != 255], axis=1),y[y != 255]
    if 'average' in options: assert same_curve(*curves(show.ax), np.eye(3)[y].ravel(), z.ravel())

class Interrupts(Callback):
    def after_batch(self): raise KeyboardInterrupt

def test_callback_after_an_interrupted_search(adult_learner):
    "An `lr_find` that was stopped does not silence the next fit"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    with pytest.raises(KeyboardInterrupt), learn.added_cbs(Interrupts()): quietly(learn, 'lr_find', num_it=5, show_plot=False)
    quietly(learn, 'fit', 2)
    assert len(show.curves) == 2

class Predicts(Callback):
    order = 80
    def after_epoch(self): self.learn.get_preds(inner=True)

@pytest.mark.parametrize('metrics', [None, AUROC()], ids=['alone', 'with a column'])
def test_callback_of_a_fit_that_predicts(metrics, adult_learner):
    show = ShowROCCallback()
    learn = adult_learner(metrics=metrics, cbs=[show, Predicts()])
    quietly(learn, 'fit', 3)
    assert len(show.curves) == 3

@pytest.mark.parametrize('options', [{}, dict(average='micro')], ids=str)
def test_callback_beside_counts(options, recwarn):
    "Of a column that counts between thresholds it takes the other options, of a Learner without a column the loss function's"
    show,learn = ShowROCCallback(),void_learner(3, metrics=AUROC(thresholds='logit', ignore_index=255, **options) if options else None)
    learn.add_cb(show)
    quietly(learn, 'fit', 1, lr=.05)
    z,y = raw_rows(learn)
    z,y = softmax(z[y != 255], axis=1),y[y != 255]
    want = sk.roc_auc_score(y, z, multi_class='ovr', average=options.get('average', 'macro'))
    assert legend(show.ax) == [f'epoch 0: AUROC {want:.3f}'] and not [o for o in recwarn.list if 'AUROC is NaN' in str(o.message)]

def test_callback_is_not_exported(adult_learner, tmp_path):
    "A pickle has neither figure nor rows"
    learn = adult_learner(cbs=ShowROCCallback())
    quietly(learn, 'fit', 1)
    back = pickle.loads(pickle.dumps(learn.show_roc))
    assert back.fig is None and back.curves == [] and back._auroc is None and back.figsize == (5, 5)
    with pytest.raises(ValueError, match='figsize.*5'): ShowROCCallback(figsize=5)

# Labels to leave out

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

@pytest.mark.parametrize('k', [1, 3])
def test_ignored_labels_of_a_curve(k):
    "Of one column, and of one label of several"
    p,y = tags(k=3) if k == 3 else noisy()
    y = np.where(np.random.default_rng(5).random(y.shape) < .2, -1, y)
    ax = plot_roc(p, y, ignore_index=-1, average=None)
    columns = zip(p.T, y.T) if k == 3 else [(p, y)]
    assert all(same_curve(line, b[b >= 0], a[b >= 0]) for line,(a,b) in zip(curves(ax), columns)) and len(curves(ax)) == k

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

# NaN

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
        *_,shown,a,b,_ = capsys.readouterr().out.splitlines()[-1].split()
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

@pytest.mark.parametrize('model,loss,act', [(nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()), nn.BCELoss(), noop), (nn.Linear(1, 1), nn.BCEWithLogitsLoss(), noop),
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
    "Numbers of any kind; a binary task has one question"
    p,y = classes()
    many = ROCInterpretation(p, y, names=['cat', 'dog', 'owl'])
    assert len({many.operating_point(which=o) for o in ('dog', 1, np.int64(1), torch.tensor(1))}) == 1
    binary = ROCInterpretation.from_learner(trained('adult')[0])
    assert binary.operating_point() == binary.operating_point(which=1) == binary.operating_point(which='>50K')
    for bad in (0, '<=50K', 'nonsense', True):
        with pytest.raises(ValueError, match="one question.*'>50K'"): binary.operating_point(which=bad)
    for name in ('max_fpr', 'cost_ratio'):
        with pytest.raises(ValueError, match=f"{name} must be a number.*'a'"): binary.operating_point(**{name:'a'})
    for bad in ('x', 0, 2.5):
        with pytest.raises(ValueError, match='digits'): binary.print_report(digits=bad)

def test_sets_without_rows_or_labels(adult, adult_learner):
    learn = adult_learner()
    with pytest.raises(ValueError, match='no labels.*with_labels=True'): ROCInterpretation.from_learner(learn, dl=learn.dls.test_dl(adult.iloc[:50].drop(columns='income')))
    with pytest.raises(ValueError, match='ds_idx must be below 2.*got 2'): ROCInterpretation.from_learner(learn, ds_idx=2)
    with pytest.raises(TypeError, match='a Learner of fastai 2, got a Linear'): ROCInterpretation.from_learner(nn.Linear(1, 1))

# What matplotlib makes of it

def test_names_are_shown_as_they_are(tmp_path):
    s,y = noisy()
    ax = plot_roc({'_hidden':s, 'cost $5 vs $10':-s, '<$5_{x$':s}, y)
    assert [o.split(':')[0].replace('\\', '') for o in legend(ax)] == ['_hidden', 'cost $5 vs $10', '<$5_{x$']
    ax.figure.savefig(tmp_path/'names.png')

def test_legend_beside_the_curves(tmp_path):
    "Many entries stand to the right, inside the picture; axes that were given keep theirs"
    p,y = classes(300, 8)
    ax = plot_roc(p, y, names=[f'a rather long name {i}' for i in range(8)])
    ax.figure.savefig(tmp_path/'beside.png')
    box,legend_box = (o.get_window_extent() for o in (ax, ax.get_legend()))
    assert legend_box.x0 >= box.x1 and legend_box.x1 <= ax.figure.bbox.x1 and box.width == pytest.approx(box.height)
    assert tuple(plot_roc(p, y, figsize=(7, 4)).figure.get_size_inches()) == (7, 4)
    fig,ax = plt.subplots()
    width = fig.get_figwidth()
    plot_roc(p, y, ax=ax)
    assert fig.get_figwidth() == width

def test_style_of_lines():
    "Averages stand out on any background; one diagonal, however often axes are drawn on; aliases of options do"
    p,y = classes()
    with plt.style.context('dark_background'): ax = plot_roc(p, y)
    assert {o.get_color() for o in curves(ax) if o.get_label().startswith('m')} == {'white'}
    s,t = noisy()
    ax = plot_roc(-s, t, ax=plot_roc(s, t, label='mine', c='red', linestyle='--'))
    assert sum(map(is_diagonal, ax.lines)) == 1 and len(curves(ax)) == 2
    assert (curves(ax)[0].get_color(), curves(ax)[0].get_linestyle(), curves(ax)[0].get_label()) == ('red', '--', f'mine: {with_ci(s, t)}')
