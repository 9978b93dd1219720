"Two columns of scores stand in the sorted order of the labels: with `pos_label` its own column is ranked, as scikit-learn's `predict_proba[:,i]` is"
import numpy as np, pandas as pd, pytest, torch, warnings
import matplotlib
matplotlib.use('Agg')
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve
from torch._subclasses import FakeTensorMode
from fastai_auroc import tasks
from fastai_auroc.all import *
from fastai_auroc.inputs import _flip_where, _order_of_columns, binary_labels, put_positive_last
from fastai_auroc.plots import RankedScores
from test_device import HostRead, NoWaiting, rand, randint

pairs = dict(text=('ill', 'ok'), bytes=(b'ill', b'ok'), bool=(False, True), whole=(0, 1), negative=(-1, 1), below=(-2, -1), float=(.5, 2.5),
    large=(2**53, 2**53+1))

def draw(rng, n, pair):
    "Rows of two columns that do not mirror each other, and labels of both classes"
    labels = np.array(pair, object)[rng.permutation(np.arange(n) % 2)]
    p = rng.integers(0, 6, n)/8
    p += (labels == pair[1])*rng.integers(0, 3, n)/16
    return np.stack([1-p, p], 1),labels

def kinds(labels, pair):
    "The same labels in several containers"
    yield list(labels)
    yield labels
    yield np.array(labels.tolist())
    yield pd.Series(labels.tolist())
    yield pd.Series(labels.tolist()).to_numpy()[:,None]
    if isinstance(pair[0], str): yield pd.Series(labels.tolist(), dtype='category')
    if isinstance(pair[0], (bool, int, float)): yield torch.tensor(labels.tolist())
    if pair == (0, 1):
        for dtype in (torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.bool, *(getattr(torch, o) for o in ('uint16', 'uint64') if hasattr(torch, o))):
            yield torch.tensor(labels.astype(int)).to(dtype)

@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('name', pairs)
def test_scores_of_both_columns(name, which):
    "AUROC and average precision of any kind of label equal those of scikit-learn on the label's column"
    pair,rng = pairs[name],np.random.default_rng(which)
    for _ in range(6):
        p,labels = draw(rng, int(rng.integers(4, 60)), pair)
        is_positive,column,weight = np.array([o == pair[which] for o in labels]),p[:,which],rng.random(len(p))
        for targets in kinds(labels, pair):
            assert auroc_score(p, targets, pos_label=pair[which]).item() == pytest.approx(roc_auc_score(is_positive, column), abs=1e-12)
            assert average_precision(p, targets, pos_label=pair[which]).item() == pytest.approx(average_precision_score(is_positive, column), abs=1e-12)
        want = roc_auc_score(is_positive, column, sample_weight=weight)
        assert auroc_score(p, labels, pos_label=pair[which], sample_weight=weight).item() == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('which', [0, 1])
def test_curves_of_both_columns(which):
    "Points and thresholds are those of the label's column"
    rng = np.random.default_rng(2+which)
    for _ in range(20):
        p,labels = draw(rng, int(rng.integers(4, 60)), (0, 1))
        labels = labels.astype(int)
        curve,(fpr,tpr,thresholds) = roc_curve(p, labels, pos_label=which),sklearn_roc_curve(labels, p[:,which], pos_label=which)
        np.testing.assert_allclose(torch.stack(curve), np.stack([fpr, tpr, thresholds]), atol=1e-12)
        precision,recall,thresholds = precision_recall_curve(labels, p[:,which], pos_label=which)
        curve = pr_curve(p, labels, pos_label=which)
        np.testing.assert_allclose(curve.precision[-len(precision):], precision, atol=1e-12)
        np.testing.assert_allclose(curve.recall[-len(recall):], recall, atol=1e-12)
        np.testing.assert_allclose(curve.thresholds[-len(thresholds):], thresholds, atol=1e-12)

@pytest.mark.parametrize('activation', ['softmax', 'sigmoid', 'identity'])
@pytest.mark.parametrize('which', [0, 1])
def test_activations(activation, which):
    "A softmax ranks the margin to the other column, everything else the label's own column"
    rng = np.random.default_rng(3)
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.uint16, np.uint64):
        z,labels = rng.integers(0, 9, (40, 2)).astype(dtype),rng.permutation(np.arange(40) % 2)
        x = z.astype(float)
        column = x[:,which] - x[:,1-which] if activation == 'softmax' else x[:,which]
        assert auroc_score(z, labels, activation=activation, pos_label=which).item() == pytest.approx(roc_auc_score(labels == which, column), abs=1e-12)

def test_large_unsigned_scores():
    "Of 64 bits, which PyTorch does not sort"
    z = np.array([[2**63+1, 5], [3, 2**63], [2**64-1, 7], [1, 1]], np.uint64)
    for which in (0, 1):
        want = roc_auc_score(np.array([0, 1, 1, 0]) == which, z[:,which].argsort().argsort())
        assert auroc_score(z, [0, 1, 1, 0], activation='identity', pos_label=which).item() == want

@pytest.mark.parametrize('ignored', [-100, 0, 1, 2, 7])
@pytest.mark.parametrize('which', [0, 1])
def test_ignored_labels(ignored, which):
    "Labels to leave out are no part of the order, and no third label"
    rng = np.random.default_rng(4)
    pair = [o for o in (0, 1, 2, 3) if o != ignored][:2]
    labels = np.array([*pair, ignored])[rng.permutation(np.arange(60) % 3)]
    p,kept = rng.random((60, 1)),labels != ignored
    p = np.concatenate([1-p, p], 1)
    p[~kept] = np.nan
    want = roc_auc_score(labels[kept] == pair[which], p[kept,which])
    for targets in (labels, labels.astype(float), torch.tensor(labels), labels.astype(object)):
        assert auroc_score(p, targets, activation='identity', pos_label=pair[which], ignore_index=ignored).item() == pytest.approx(want, abs=1e-12)
    text = [ignored if o == ignored else 'ab'[pair.index(o)] for o in labels]
    assert auroc_score(p, text, activation='identity', pos_label='ab'[which], ignore_index=ignored).item() == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('which', [0, 1])
def test_intervals_groups_and_tests(which):
    "Every function with `pos_label` ranks the same column"
    rng = np.random.default_rng(5)
    p,labels = draw(rng, 80, ('ill', 'ok'))
    q,_ = draw(rng, 80, ('ill', 'ok'))
    positive,label,groups,sub = labels == ('ill', 'ok')[which],('ill', 'ok')[which],rng.integers(0, 3, 80),rng.random(80) < .5
    s,r = p[:,which],q[:,which]
    assert auroc_ci(p, labels, pos_label=label) == auroc_ci(s, positive)
    assert auroc_ci(p, labels, pos_label=label, method='bootstrap', n_boot=100, seed=0) == auroc_ci(s, positive, method='bootstrap', n_boot=100, seed=0)
    assert ap_ci(p, labels, pos_label=label, n_boot=100, seed=0) == ap_ci(s, positive, n_boot=100, seed=0)
    assert auroc_ci(p, labels, pos_label=label).auroc == pytest.approx(roc_auc_score(positive, s), abs=1e-12)
    for method in (dict(), dict(method='bca', n_boot=100, seed=0)):
        assert compare_auroc(p, q, labels, pos_label=label, **method) == compare_auroc(s, r, positive, **method)
        assert compare_auroc(p, r, labels, pos_label=label, **method) == compare_auroc(s, r, positive, **method)  # of one column beside two
    want = np.mean([roc_auc_score(positive[groups == g], s[groups == g]) for g in range(3)])
    assert grouped_auroc(p, labels, groups, pos_label=label).item() == pytest.approx(want, abs=1e-12)
    assert bias_auroc(p, labels, sub, pos_label=label) == bias_auroc(s, positive, sub)

@pytest.mark.parametrize('which', [0, 1])
def test_plots(which):
    "Curve and number in the legend"
    p,labels = draw(np.random.default_rng(6), 60, ('ill', 'ok'))
    label = ('ill', 'ok')[which]
    for plot,value in ((plot_roc, roc_auc_score), (plot_pr, average_precision_score)):
        ax = plot(p, labels, pos_label=label)
        assert f'{value(labels == label, p[:,which]):.3f}' in ax.get_legend().get_texts()[0].get_text()
    ranked = RankedScores(p, labels, pos_label=label)
    assert ranked.scores.tolist() == p[:,which].tolist() and ranked.positive[0].tolist() == (labels == label).tolist()

def thresholds_of(p, labels, positive):
    with pytest.warns(UserWarning): return roc_curve(p, labels, pos_label=positive, drop_intermediate=False).thresholds[1:].tolist()

@pytest.mark.parametrize('name', pairs)
@pytest.mark.parametrize('which', [0, 1])
def test_one_class(name, which):
    "A single label is the larger one if it is above zero, as without `pos_label`; text is compared with `pos_label`, so that alone it is the larger one"
    pair,p = pairs[name],np.array([[.9, .1], [.2, .8], [.4, .6]])
    column,others = np.sort(p[:,which])[::-1].tolist(),np.array([pair[1-which]]*3, object)
    with pytest.warns(UserWarning, match='no positive in the targets, since'): assert auroc_score(p, others, pos_label=pair[which]).isnan()
    if name in ('text', 'bytes', 'bool', 'whole', 'negative'): assert thresholds_of(p, others, pair[which]) == column
    if name in ('bool', 'whole', 'negative'): assert thresholds_of(p, [pair[which]]*3, pair[which]) == column
    assert average_precision(p, [pair[which]]*3, pos_label=pair[which]).item() == 1

def test_absent_label():
    with pytest.warns(UserWarning, match='pos_label=5 is none of the labels 0, 1'): assert auroc_score(np.eye(2), [0, 1], pos_label=5).isnan()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert auroc_score(np.zeros((0, 2)), [], pos_label=0).isnan()

@pytest.mark.parametrize('labels,positive', [([0, 1, 2, 1], 1), ([0, 1, 2, 1], 0), ([0, 1, 2, 1], 2), ([0, 1, 2, 1], 5), (['a', 'b', 'c', 'a'], 'b'), (['a', 'b', 'c', 'a'], 'x')])
def test_third_label(labels, positive):
    "Two columns are not three classes; one column alone is still compared with all others"
    p = np.full((4, 2), .5)
    calls = [auroc_score, average_precision, roc_curve, pr_curve, auroc_ci, ap_ci, plot_roc, plot_pr]
    calls += [lambda p, y, **kw: compare_auroc(p, p, y, **kw), lambda p, y, **kw: grouped_auroc(p, y, [0]*4, **kw)]
    calls.append(lambda p, y, **kw: bias_auroc(p, y, [0, 1]*2, **kw))
    for f in calls:
        with pytest.raises(ValueError, match='scores of two columns belong to two labels, but targets hold .*pass the one column that belongs to it'): f(p, labels, pos_label=positive)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert auroc_score(p[:,1], labels, pos_label=positive).item() == .5 or positive in (5, 'x')

def test_third_label_that_marks_void_rows():
    with pytest.raises(ValueError, match='if 255 marks rows to leave out, pass ignore_index=255'): auroc_score(np.eye(2)[[0, 1, 1]], [0, 1, 255], pos_label=0)
    with pytest.raises(ValueError, match='NaN'): auroc_score(np.eye(2)[[0, 1, 1]], [0, 1, np.nan], pos_label=0)

def test_no_wait_on_a_device():
    "The order is found on the device; nothing waits but the single read"
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.float32):
        for f in (auroc_score, average_precision, auroc_ci):
            for ignore_index in (None, 7):
                with FakeTensorMode():
                    p,y = rand(100, 2),randint(2, 100).to(dtype)
                    with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): f(p, y, pos_label=0, ignore_index=ignore_index)
                    assert mode.n_ops > 20

def as_on_a_device(outputs, marked, targets, pos_label, ignore_index=None):
    "What `put_positive_last` does on a GPU, on the CPU"
    if outputs.ndim == 1: return outputs,marked
    first,third = _order_of_columns(marked, targets, pos_label, ignore_index)
    return _flip_where(outputs, first),marked.masked_fill(third, torch.nan)

def test_way_of_a_device(monkeypatch):
    "By a mask in place of a branch: the same columns; for a third label, which becomes NaN, the error comes after the read"
    rng = np.random.default_rng(7)
    for _ in range(100):
        labels = torch.tensor(rng.choice([-1, 0, 1, 2], 2, replace=False))[torch.tensor(rng.integers(0, 2, 9))]
        z,pos = torch.tensor(rng.random((9, 2))),int(rng.choice(labels.numpy()))
        marked = binary_labels(labels, pos)
        for got,want in zip(as_on_a_device(z, marked, labels, pos), put_positive_last(z, marked, labels, pos)): assert torch.equal(got, want)
    monkeypatch.setattr(tasks, 'put_positive_last', as_on_a_device)
    p = np.full((4, 2), .5)
    for labels,positive in (([0, 1, 2, 1], 1), ([0, 1, 2, 1], 0), ([0, 1, 2, 1], 5), (['a', 'b', 'c', 'a'], 'b'), ([0, 1, 255, 1], 1)):
        for f in (auroc_score, average_precision, roc_curve, pr_curve, auroc_ci, lambda p, y, **kw: grouped_auroc(p, y, [0]*4, **kw)):
            for kwargs in ({}, dict(ignore_index=-1)):
                with pytest.raises(ValueError, match='scores of two columns belong to two labels, but targets hold'): f(p, labels, pos_label=positive, **kwargs)
    with pytest.raises(ValueError, match='1 of 4 rows have NaN'): auroc_score(p, [0, 1, 1, np.nan], pos_label=0)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu():
    rng = np.random.default_rng(8)
    for which in (0, 1):
        p,labels = draw(rng, 200, (0, 1))
        labels = labels.astype(int)
        want = roc_auc_score(labels == which, p[:,which])
        for dtype in (torch.int64, torch.uint8, torch.bool, torch.float32, torch.uint64):
            y = torch.tensor(labels).to(dtype)
            for targets in (y, y.cuda()):
                assert auroc_score(torch.tensor(p).cuda(), targets, pos_label=which).item() == pytest.approx(want, abs=1e-12)
            assert auroc_score(torch.tensor(p), y.cuda(), pos_label=which).item() == pytest.approx(want, abs=1e-12)
        text = ['ill' if o == 0 else 'ok' for o in labels]
        assert auroc_score(torch.tensor(p).cuda(), text, pos_label=('ill', 'ok')[which]).item() == pytest.approx(want, abs=1e-12)
        whole = torch.tensor(p*64).long().to(torch.uint64)
        want = roc_auc_score(labels == which, (p*64)[:,which])
        assert auroc_score(whole.cuda(), labels, activation='identity', pos_label=which).item() == pytest.approx(want, abs=1e-12)
    for f in (auroc_score, roc_curve, auroc_ci, average_precision, plot_roc):
        with pytest.raises(ValueError, match='scores of two columns belong to two labels, but targets hold 0, 1, 2'):
            f(torch.full((4, 2), .5).cuda(), torch.tensor([0, 1, 2, 1]).cuda(), pos_label=2)
