"AUROC(ci=True): a second column with half the width of an interval, DeLong's or that of drawn samples."
import copy, warnings, numpy as np, pytest, torch
from functools import partial
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch.nn import functional as F
from fastai_auroc.all import AUROC, auroc_score
from fastai_auroc.metric import AveragePrecision
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.scorers import add_interval

@pytest.mark.parametrize('spelling', [dict(cbs=AUROC(ci=True)), dict(callback_fns=partial(AUROC, ci=True)), 'fit'], ids=['cbs', 'callback_fns', 'fit'])
def test_column(adult_learner, spelling):
    "Half the width of the interval stands after AUROC, over several fits, and leaves no trace"
    learn = adult_learner(**({} if spelling == 'fit' else spelling))
    given = list(learn.metrics)
    for _ in range(2):
        learn.fit(1, cbs=AUROC(ci=True) if spelling == 'fit' else None)
        assert list(learn.recorder.metric_names)[-4:] == ['accuracy', 'auroc', 'auroc_ci', 'time'] and list(learn.metrics) == given
        auroc,half = learn.recorder.values[-1][-2:]
        with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=lambda x: x)
        s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),targets.flatten().numpy() == 1
        wins = (s[y][:,None] > s[~y]) + .5*(s[y][:,None] == s[~y])
        se = (wins.mean(1).var(ddof=1)/y.sum() + wins.mean(0).var(ddof=1)/(~y).sum())**.5
        assert (auroc, half) == pytest.approx((wins.mean(), 1.959963984540054*se), abs=1e-10) and type(half) is float

def test_column_needs_a_callback(adult_learner):
    with pytest.raises(ValueError, match='has two columns, but a metric has one: pass it as cbs= or callback_fns='): adult_learner(metrics=AUROC(ci=True)).fit(1)
    with pytest.raises(ValueError, match='ci must be True or False'): AUROC(ci=.9)

def test_column_without_an_interval(adult_learner, adult_dls, adult):
    "One class only: both columns NaN, one warning"
    only = (adult.sample(900, random_state=0).income.to_numpy() == '>50K').nonzero()[0][:100].tolist()
    for dls,nan in [(adult_dls(valid_idx=only), [True, True])]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            learn = adult_learner(dls, cbs=AUROC(ci=True))
            learn.fit(2)
        assert [v != v for v in learn.recorder.values[-1][-2:]] == nan
        assert sum('AUROC' in str(o.message) for o in said) == 1

def sampled_half_width(f, y, s, n_boot=400, seed=1):
    "Half the width of a percentile interval: a loop over scikit-learn's numbers of rows drawn within each class"
    rng,classes = np.random.default_rng(seed),[np.flatnonzero(y == k) for k in np.unique(y)]
    values = [f(y[i], s[i]) for i in (np.concatenate([rng.choice(k, len(k)) for k in classes]) for _ in range(n_boot))]
    low,high = np.quantile(values, [.025, .975])
    return (high-low)/2

def three_classes(n=300):
    "Two thirds of a data set for validation, of three classes, and a linear model"
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (n,), generator=rng)
    x = torch.randn(n, 3, generator=rng) + F.one_hot(y, 3)
    loaders = [DataLoader(list(zip(x[i], y[i])), bs=64, num_workers=0) for i in (slice(100), slice(100, None))]
    return DataLoaders(*loaders),nn.Linear(3, 3),x[100:],y[100:].numpy()

@pytest.mark.parametrize('options', [{}, dict(average='weighted'), dict(multi_class='ovo')], ids=str)
def test_interval_of_several_classes(options):
    "From drawn samples, the same ones each time"
    dls,model,x,y = three_classes()
    seen = []
    for _ in range(2):
        torch.manual_seed(0)
        learn = Learner(dls, copy.deepcopy(model), loss_func=CrossEntropyLossFlat(), cbs=AUROC(ci=True, **options))
        with learn.no_bar(), learn.no_logging(): learn.fit(1, lr=0.)
        seen.append(list(learn.recorder.values[-1][-2:]))
    assert seen[0] == seen[1] and type(seen[0][1]) is float
    with torch.no_grad(): p = model(x).double().softmax(1).numpy()
    def score(y, p): return roc_auc_score(y, p, **{'multi_class':'ovr', **options})
    assert seen[0][0] == pytest.approx(score(y, p), abs=1e-9) and seen[0][1] == pytest.approx(sampled_half_width(score, y, p), rel=.2)

@pytest.mark.parametrize('options', [dict(max_fpr=.3), dict(min_tpr=.6), dict(max_fpr=.3, standardize=False)], ids=str)
def test_interval_of_a_partial_area(options, adult_learner):
    learn = adult_learner(cbs=AUROC(ci=True, **options))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    value,half = learn.recorder.values[-1][-2:]
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=lambda x: x)
    s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),targets.flatten().numpy()
    def score(y, s): return auroc_score(s, y, **options).item()
    assert value == pytest.approx(score(y, s), abs=1e-12) and half == pytest.approx(sampled_half_width(score, y, s), rel=.2)

def test_interval_within_groups(adult_learner):
    g = np.random.default_rng(0).integers(0, 3, 300)
    learn = adult_learner(cbs=AUROC(ci=True, groups=g))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    value,half = learn.recorder.values[-1][-2:]
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=lambda x: x)
    s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),targets.flatten().numpy()
    def score(y, rows): return np.mean([roc_auc_score(y[rows[:,1] == k], rows[rows[:,1] == k,0]) for k in range(3)])
    rows = np.stack([s, g], 1)
    assert value == pytest.approx(score(y, rows), abs=1e-12) and half == pytest.approx(sampled_half_width(score, y, rows), rel=.25)

@pytest.mark.parametrize('average', ['macro', 'weighted'])
def test_interval_of_average_precision(average, adult_learner):
    learn = adult_learner(metrics=[], cbs=[AUROC(), AveragePrecision(average, ci=True)])
    seen = []
    for _ in range(2):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, lr=0.)
        assert list(learn.recorder.metric_names)[3:] == ['auroc', 'ap', 'ap_ci', 'time']
        seen.append(list(learn.recorder.values[-1][-2:]))
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=lambda x: x)
    s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),targets.flatten().numpy()
    assert seen[1] == pytest.approx([average_precision_score(y, s), sampled_half_width(average_precision_score, y, s)], rel=.2)
    with pytest.raises(ValueError, match=r'AveragePrecision\(ci=True\) has two columns'): adult_learner(metrics=AveragePrecision(ci=True)).fit(1)

def several_classes(k, **kwargs):
    "A Learner of `k` classes, and raw outputs and targets of its validation set"
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(160, 4, generator=rng)
    y = torch.randint(0, k, (160,), generator=rng)
    loaders = [DataLoader(list(zip(x[i], y[i])), bs=32, num_workers=0) for i in (slice(60), slice(60, None))]
    learn = Learner(DataLoaders(*loaders), nn.Linear(4, k), loss_func=CrossEntropyLossFlat(), cbs=kwargs.pop('cbs'))
    return learn,x[60:],y[60:]

stated = [dict(), dict(average='weighted'), dict(average='micro'), dict(multi_class='ovo')]

@pytest.mark.parametrize('options', stated, ids=str)
def test_the_stated_samples(options):
    "The interval is that of 1,000 samples from seed 0, which anybody can draw again"
    learn,x,y = several_classes(3, cbs=AUROC(ci=True, **options))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    value,half = learn.recorder.values[-1][-2:]
    with torch.no_grad(): z = learn.model(x)
    want = auroc_ci(z, y, activation='softmax', method='bootstrap', n_boot=1000, seed=0, **options)
    assert (value, half) == pytest.approx((want.auroc, (want.high-want.low)/2), abs=1e-12)

@pytest.mark.parametrize('column', [AUROC, AveragePrecision])
def test_an_average_without_an_interval(column):
    with pytest.raises(ValueError, match="average='samples' has no interval"): column(average='samples', ci=True)

def test_both_notes():
    "Where the interval is missing, its reason stands beside what is said of the number"
    def fails(): raise ValueError('there are too few rows')
    res = add_interval(.5, 'a class is left out', fails)
    assert (res.value, res.note) == (.5, 'a class is left out; there are too few rows') and np.isnan(res.half_width)
    assert add_interval(float('nan'), 'one class', fails).note == 'one class'
    for why,note in ((None, 'the interval is a single point, which does not mean certainty'), ('all samples agree', 'all samples agree')):
        res = add_interval(1., None, lambda: (0., why))
        assert np.isnan(res.half_width) and (res.value, res.note) == (1, note)
    assert add_interval(.5, None, lambda: (.1, None)).note is None and add_interval(.5, 'left out', lambda: (.1, 'too')).note == 'left out'
