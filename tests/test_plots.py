"Pictures: their numbers and curves against scikit-learn and brute force."
import warnings, matplotlib, numpy as np, pytest, torch
from fractions import Fraction
from matplotlib import pyplot as plt
from scipy.special import expit, softmax
from sklearn import metrics as sk
from test_losses import aum_def
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.plots import plot_aum, plot_roc
from fastai_auroc.interpret import ROCInterpretation

matplotlib.use('agg')

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

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
    with pytest.warns(UserWarning, match='does not mean certainty'): auroc_ci(s, y)

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
    plt.close('all')
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
    x = ax.lines[0].get_xdata()[1:-1]  # thresholds at scores, without the margin on either side
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

@pytest.mark.parametrize('k', [1, 3])
def test_ignored_labels_of_a_curve(k):
    "Of one column, and of one label of several"
    p,y = tags(k=3) if k == 3 else noisy()
    y = np.where(np.random.default_rng(5).random(y.shape) < .2, -1, y)
    ax = plot_roc(p, y, ignore_index=-1, average=None)
    columns = zip(p.T, y.T) if k == 3 else [(p, y)]
    assert all(same_curve(line, b[b >= 0], a[b >= 0]) for line,(a,b) in zip(curves(ax), columns)) and len(curves(ax)) == k

@pytest.mark.parametrize('dtype', [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_labels(dtype):
    "Class numbers, and labels to leave out, of a tensor of any unsigned dtype"
    p,y = classes()
    labels = torch.tensor(y).to(dtype)
    assert legend(plot_roc(p, labels)) == legend(plot_roc(p, y))
    assert legend(plot_roc(p[:,1], labels, ignore_index=2)) == legend(plot_roc(p[y < 2,1], y[y < 2]))

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
