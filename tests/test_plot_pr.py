"Precision-recall pictures: their numbers and curves against scikit-learn."
import numpy as np, pytest, torch
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from scipy.special import softmax
from sklearn import metrics as sk
from test_plots import classes, noisy, points, tags
from fastai_auroc.confidence import ap_ci
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.plots import plot_roc
from fastai_auroc.pr import pr_curve
from fastai_auroc.pr_plots import decimate_steps, mean_pr_curve, plot_pr

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

def texts(ax): return [o.get_text().replace('\n', ' ') for o in ax.get_legend().get_texts()]
def is_chance(line): return line.get_linestyle() == ':'
def is_marker(line): return line.get_linestyle() == 'None'
def curves(ax): return [o for o in ax.lines if len(o.get_xdata()) and not is_chance(o) and not is_marker(o)]
def chances(ax): return [o.get_ydata()[0] for o in ax.lines if is_chance(o)]
def number(y, s, average='macro'): return f'AP {sk.average_precision_score(y, s, average=average):.3f}'

def same_curve(line, y, s):
    precision,recall,_ = sk.precision_recall_curve(y, s)
    ours = pr_curve(s, y)
    np.testing.assert_array_equal(points(line), [np.asarray(ours.recall), np.asarray(ours.precision)])
    return line.get_drawstyle() == 'steps-post' and np.allclose(points(line), [recall, precision], rtol=0, atol=1e-12)

@pytest.mark.parametrize('n', [10, 80, 500])
def test_one_curve(n, recwarn):
    "scikit-learn's points, number and steps, over the prevalence, on equal axes"
    s,y = noisy(n)
    ax = plot_pr(s, y)
    assert texts(ax) == [number(y, s), f'prevalence {y.mean():.3f}'] and chances(ax) == [pytest.approx(y.mean())]
    line, = curves(ax)
    assert same_curve(line, y, s) and ax.get_aspect() == 1 and ax.get_xlim() == ax.get_ylim()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('recall', 'precision') and not recwarn.list

def test_several_models():
    s,y = noisy()
    models = dict(before=np.random.default_rng(1).normal(size=len(y)), after=s)
    ax = plot_pr(models, y)
    assert texts(ax) == [*(f'{name}: {number(y, o)}' for name,o in models.items()), f'prevalence {y.mean():.3f}']
    assert all(same_curve(line, y, o) for line,o in zip(curves(ax), models.values())) and len(curves(ax)) == 2

def test_two_logits_and_half_precision():
    s,y = noisy()
    z = torch.tensor(np.stack([np.zeros_like(s), 100+s], 1))
    assert same_curve(*curves(plot_pr(z, torch.tensor(y), activation='softmax')), y, s)
    half = torch.tensor(s).half()
    assert same_curve(*curves(plot_pr(half, y)), y, half.double().numpy())

@pytest.mark.parametrize('make', [classes, tags])
@pytest.mark.parametrize('names', [None, ['cat', 'dog', 'owl']])
def test_many_classes(make, names):
    "Each class, micro and macro, all or one of them; the area under each curve is its number"
    p,y = make()
    onehot = y if y.ndim == 2 else np.eye(3, dtype=int)[y]
    each = [f'{name}: {number(onehot[:,c], p[:,c])}' for c,name in enumerate(names or '012')]
    micro,macro = (f'{o}: {number(onehot, p, o)}' for o in ('micro', 'macro'))
    ax = plot_pr(p, y, names=names)
    shares = onehot.mean(0)
    chance = [f'prevalence {shares[0]:.3f}'] if len({*shares}) == 1 else []
    assert texts(ax) == [micro, macro, *each, *chance]
    by_label = {o.get_label(): o for o in curves(ax)}
    assert same_curve(by_label[micro], onehot.ravel(), p.ravel()) and all(same_curve(by_label[t], onehot[:,c], p[:,c]) for c,t in enumerate(each))
    for text,line in by_label.items():
        recall,precision = points(line)
        assert f'AP {-(np.diff(recall)*precision[:-1]).sum():.3f}' in text
    for average,want,share in (('micro', micro, onehot.mean()), ('macro', macro, shares.mean())):
        ax = plot_pr(p, y, average=average)
        assert texts(ax) == [want, f'prevalence {share:.3f}'] and len(curves(ax)) == 1
    assert texts(plot_pr(p, y, names=names, average=None)) == [*each, *chance]

def test_several_models_of_many_classes():
    (p,y),(q,_) = classes(),classes(seed=1)
    onehot = np.eye(3)[y]
    assert texts(plot_pr(dict(p=p, q=q), y)) == [f'p: {number(onehot, p)}', f'q: {number(onehot, q)}', 'prevalence 0.333']
    assert len(curves(plot_pr(dict(p=p, q=q), y, average=None))) == 6

@pytest.mark.parametrize('seed', range(5))
def test_mean_curve(seed):
    "The mean over the curves of the precision at each recall, by brute force"
    rng = np.random.default_rng(seed)
    found = []
    for n in (5, 9, 30):
        y = np.append(1, rng.integers(0, 2, n))
        found.append(sk.precision_recall_curve(y, rng.integers(0, 9, n+1))[1::-1])
    recall,precision = mean_pr_curve(found)
    def at(curve, r): return curve[1][np.flatnonzero(curve[0] >= r)[-1]]
    np.testing.assert_allclose(precision, [np.mean([at(o, r) for o in found]) for r in recall])
    assert -(np.diff(recall)*precision[:-1]).sum() == pytest.approx(np.mean([-(np.diff(r)*p[:-1]).sum() for r,p in found]))

@pytest.mark.parametrize('prevalence', [.5, .02])
def test_thinned_points_are_points_of_the_curve(prevalence):
    "Few, with the lowest and the highest of each step"
    rng = np.random.default_rng(0)
    y = rng.random(200_000) < prevalence
    s = rng.normal(size=len(y)) + y
    precision,recall,_ = sk.precision_recall_curve(y, s)
    x,t = points(*curves(plot_pr(s, y)))
    assert len(x) < 9000 < len(recall) and (np.diff(x) <= 0).all()
    assert {*zip(np.round(x, 12), np.round(t, 12))} <= {*zip(np.round(recall, 12), np.round(precision, 12))}
    assert (x[0], t[0], x[-1], t[-1]) == pytest.approx((recall[0], precision[0], recall[-1], precision[-1]))
    for step in range(0, 2001, 50):
        inside,drawn = ((o*2000).astype(int) == step for o in (recall, x))
        assert (precision[inside].min(), precision[inside].max()) == pytest.approx((t[drawn].min(), t[drawn].max()))

def test_short_curves_are_drawn_as_they_are():
    x = np.linspace(1, 0, 2000)
    assert len(decimate_steps(x, x)[0]) == 2000

def test_undefined_curves(recwarn):
    "Without positives, or with NaN; without negatives the precision is 1"
    s,_ = noisy()
    assert texts(plot_pr(s, np.zeros(80)))[0] == 'AP undefined' and not curves(plot_pr(s, np.zeros(80)))
    assert texts(plot_pr(s, np.ones(80)))[0] == 'AP 1.000'
    p,y = classes()
    y = np.where(y == 2, 0, y)
    ax = plot_pr(p, y)
    each = [sk.average_precision_score(y == c, p[:,c]) for c in (0, 1)]
    assert {'2: AP undefined', f'macro: AP {np.mean(each):.3f}'} <= {*texts(ax)} and not chances(ax)
    p,y = tags()
    p[0,1] = np.nan
    assert {o for o in texts(plot_pr(p, y)) if 'undefined' in o} == {f'{o}: AP undefined' for o in ('1', 'micro', 'macro')}
    assert texts(plot_pr([], [])) == ['AP undefined'] and not recwarn.list

def test_ignored_labels_and_names_of_labels():
    s,y = noisy()
    kept = np.random.default_rng(5).random(80) > .2
    assert same_curve(*curves(plot_pr(s, np.where(kept, y, -1), ignore_index=-1)), y[kept], s[kept])
    assert same_curve(*curves(plot_pr(s, np.where(y, 'yes', 'no'), pos_label='yes')), y, s)
    assert texts(plot_pr(s, np.where(kept, y, -1), ignore_index=-1))[1] == f'prevalence {y[kept].mean():.3f}'
    with pytest.warns(UserWarning, match='no positive to draw') as w: plot_pr(s, np.where(y, 'yes', 'no'), pos_label='maybe')
    assert w[0].filename == __file__

def test_lines_of_equal_f1(tmp_path):
    "Each point of a line has its F1"
    ax = plot_pr(*noisy(), iso_f1=True)
    lines, = [o for o in ax.collections if isinstance(o, LineCollection)]
    assert [o.get_text() for o in ax.texts] == [f'F1 {o}' for o in (.2, .4, .6, .8)]
    for f1,(recall,precision) in zip((.2, .4, .6, .8), (o.T for o in lines.get_segments())):
        np.testing.assert_allclose(2*recall*precision/(recall+precision), f1)
        assert recall.max() == 1 and precision.max() == pytest.approx(1)
    ax.figure.savefig(tmp_path/'iso.png')
    plot_pr(*noisy(), iso_f1=True, ax=ax)
    assert len(ax.texts) == 4 and [o for o in ax.collections if isinstance(o, LineCollection)] == [lines]
    assert not plot_pr(*noisy()).collections

def test_axes_and_style():
    s,y = noisy()
    _,(left,right) = plt.subplots(1, 2)
    assert plot_pr(s, y, ax=right, color='tomato', lw=3) is right and not left.lines
    line, = curves(right)
    assert (line.get_color(), line.get_linewidth()) == ('tomato', 3) and {o.get_color() for o in right.lines if is_chance(o)} == {'grey'}
    plot_pr(-s, y, ax=right, label='mine')
    assert len(curves(right)) == 2 and len(chances(right)) == 1
    assert texts(right) == [number(y, s), f'prevalence {y.mean():.3f}', f'mine: {number(y, -s)}']
    with plt.style.context('dark_background'): ax = plot_pr(*classes())
    assert {o.get_color() for o in curves(ax) if o.get_label().startswith('m')} == {'white'}

@pytest.mark.parametrize('f', [plot_pr, plot_roc])
def test_curves_on_the_same_axes(f):
    "Those drawn before stay in the legend, with their points and whatever their names are"
    s,y = noisy()
    point = ROCInterpretation(s, y).operating_point()
    ax = f(s, y, label='_first', point=point)
    ax.plot([0, 1], [1, 0], label='$mine')
    ax.plot([0, 1], [.5, .5])
    before = texts(ax)
    f(dict(second=-s), y, ax=ax)
    found = texts(ax)
    assert found[:len(before)] == before and before[0].startswith('_first: A') and before[-1].startswith('threshold')
    assert found[len(before)] == r'\$mine' and found[len(before)+1].startswith('second: A') and len(found) == len(before)+2

def test_faults():
    s,y = noisy()
    with pytest.raises(ValueError, match="average.*'weighted'"): plot_pr(s, y, average='weighted')
    with pytest.raises(ValueError, match=r'\(80,\).*\(79,\)'): plot_pr(s, y[1:])
    with pytest.raises(ValueError, match='b: .*scores of shape'): plot_pr(dict(a=s, b=s[1:]), y)
    with pytest.raises(ValueError, match='names.*3 classes, got 2'): plot_pr(*classes(), names=['a', 'b'])
    with pytest.raises(ValueError, match='dict.*empty'): plot_pr({}, y)
    with pytest.raises(TypeError, match='ax must be matplotlib axes, got Figure'): plot_pr(s, y, ax=plt.Figure())
    plt.close('all')
    for bad in (.5, [.5], 'x', (.3, .1, .8, .5)):
        for f in (plot_pr, plot_roc):
            with pytest.raises(TypeError, match='point must be an OperatingPoint or a list of them, got'): f(s, y, point=bad)
    assert not plt.get_fignums()

@pytest.mark.parametrize('f', [plot_pr, plot_roc])
def test_models_and_options_of_lines(f):
    "What several models are, and which options a plot has"
    s,y = noisy()
    for models in ([s, s], (s, s), [torch.from_numpy(s)]*2, [s.tolist(), s], [classes()[0]]*2):
        with pytest.raises(ValueError, match='several models are a dict of scores by name, got a .* of 2; as one model: '): f(models, y)
    with pytest.raises(ValueError, match='^targets must have the shape'): f(classes()[0].tolist(), y)
    told = f.__name__ + " has no option {!r}: it takes its own options and those of matplotlib's plot{}$"
    for option,hint in dict(colour=", did you mean 'color'\\?", title='; ax.set_title sets it', which='').items():
        with pytest.raises(TypeError, match=told.format(option, hint)): f(s, y, **{option:'red'})
        with pytest.raises(TypeError, match=told.format(option, hint)): f(dict(a=s), y, **{option:'red'})
    with pytest.raises(ValueError, match="'none of them' is not a valid"): f(s, y, color='none of them')
    assert curves(f(s, y, c='red', lw=3, linestyle='--', dash_capstyle='round'))[-1].get_color() == 'red'
    plt.close('all')

def test_interval_in_the_legend():
    "The seeded one of `ap_ci`; undefined curves have none"
    s,y = noisy()
    low,high = map(float, ap_ci(s, y, seed=0)[1:3])
    assert texts(plot_pr(s, y, ci=True))[0] == f'{number(y, s)} ({low:.3f}–{high:.3f})'
    assert texts(plot_pr(s, y*0, ci=True))[0] == 'AP undefined'
    with pytest.raises(ValueError, match='level.*2'): plot_pr(s, y, level=2)

# Points on the curves, and a Learner's pictures

def markers(ax): return [(*o.get_xdata(), *o.get_ydata()) for o in ax.lines if is_marker(o)]

def test_points_lie_on_the_curves():
    s,y = noisy()
    interp = ROCInterpretation(s, y)
    chosen = [interp.operating_point(**o) for o in (dict(min_tpr=.9), dict(f1=True), dict(max_fpr=.1))]
    roc,pr = interp.plot_roc(point=chosen),interp.plot_pr(point=chosen)
    assert markers(roc) == [(o.fpr, o.tpr) for o in chosen] and markers(pr) == [(o.tpr, o.precision) for o in chosen]
    for ax in (roc, pr):
        on = {*zip(*np.round(points(curves(ax)[0]), 9))}
        # scikit-learn leaves out points inside of straight pieces of a ROC curve
        assert all(tuple(np.round(o, 9)) in on or ax is roc and abs(np.interp(o[0], *points(curves(ax)[0])) - o[1]) < 1e-9 for o in markers(ax))
    one = chosen[0]
    assert texts(interp.plot_roc(point=one))[1] == f'threshold {one.threshold:.3g}: fpr {one.fpr:.3f}, tpr {one.tpr:.3f}'
    assert texts(interp.plot_pr(point=one))[2] == f'threshold {one.threshold:.3g}: recall {one.tpr:.3f}, precision {one.precision:.3f}'
    assert not markers(interp.plot_roc()) and not markers(interp.plot_pr(point=[]))

def test_one_class_of_several():
    p,y = classes()
    interp = ROCInterpretation(np.log(p), y, 'softmax', ['cat', 'dog', 'owl'])
    for which,c in (('dog', 1), (2, 2)):
        for ax,draw in ((interp.plot_roc(which), sk.roc_curve), (interp.plot_pr(which), sk.precision_recall_curve)):
            a,b,_ = draw(y == c, p[:,c])
            want = [a, b] if draw is sk.roc_curve else [b, a]
            np.testing.assert_allclose(points(curves(ax)[0]), want, atol=1e-12)
            assert texts(ax)[0].startswith(interp.names[c]) and len(curves(ax)) == 1
    point = interp.operating_point(which='dog', min_precision=.5)
    assert markers(interp.plot_pr('dog', point=point)) == [(point.tpr, point.precision)]

@pytest.mark.parametrize('dtype', [np.float64, np.float32, np.int64, np.uint8, np.uint64, bool])
def test_first_class_of_two(dtype):
    "Its curves, on which its operating point lies"
    s,y = noisy()
    s = (s > .5) if dtype is bool else (20*s+100).astype(dtype)
    interp = ROCInterpretation(s, y, names=['no', 'yes'])
    precision,recall,_ = sk.precision_recall_curve(1-y, -s.astype(float))
    for which in (0, 'no'):
        ax = interp.plot_pr(which)
        np.testing.assert_allclose(points(curves(ax)[0]), [recall, precision], atol=1e-12)
        assert texts(ax) == [f'no: {number(1-y, -s.astype(float))}', f'prevalence {(1-y).mean():.3f}']
    fpr,tpr,_ = sk.roc_curve(1-y, -s.astype(float))
    np.testing.assert_allclose(points(curves(interp.plot_roc('no'))[0]), [fpr, tpr], atol=1e-12)
    np.testing.assert_array_equal(points(curves(interp.plot_pr('yes'))[0]), points(curves(interp.plot_pr())[0]))

def test_plot_of_many_labels_with_ignored_ones():
    p,y = tags()
    y = np.where(np.random.default_rng(5).random(y.shape) < .2, -1, y)
    interp = ROCInterpretation(p, y, 'identity', ignore_index=-1)
    for c in range(3):
        kept = y[:,c] >= 0
        assert same_curve(*curves(interp.plot_pr(c)), y[kept,c], p[kept,c])
    assert len(curves(interp.plot_pr())) == 5

def test_softmax_of_logits_is_ranked_not_rounded():
    "Saturated probabilities do not blunt the curve"
    s,y = noisy()
    z = np.stack([np.zeros_like(s), 100+s], 1)
    assert softmax(z, axis=1)[:,1].min() == 1 and same_curve(*curves(ROCInterpretation(z, y, 'softmax').plot_pr()), y, s)
