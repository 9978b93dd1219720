"`AveragePrecision` as a column of a fastai 2 Learner, alone and beside `AUROC`, with which it keeps the outputs once"
import copy, math, pickle, re, numpy as np, pytest, torch
from functools import partial
from fastai.callback.core import Callback, CancelBatchException
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner, Recorder, load_learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.tabular.all import accuracy
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score
from test_column_twins import fit
from torch import nn
from fastai_auroc.all import AUROC, enable_callback_fns
from fastai_auroc.metric import AveragePrecision

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)

@pytest.fixture(autouse=True)
def _callback_fns(): enable_callback_fns()

def outputs_of(learn, **kwargs):
    "Raw outputs and targets of the validation set"
    with learn.no_bar(), learn.no_logging(): return [o.numpy() for o in learn.get_preds(act=lambda x: x, **kwargs)]

def truth(learn, **kwargs):
    "scikit-learn's AUROC and average precision of two logits"
    z,y = outputs_of(learn, **kwargs)
    margin = z[:,1].astype(float) - z[:,0].astype(float)
    return roc_auc_score(y.ravel(), margin),average_precision_score(y.ravel(), margin)

def last(learn, *names):
    "The last values of columns"
    table = list(learn.recorder.metric_names)[1:-1]
    return [learn.recorder.values[-1][table.index(name)] for name in names]

ways = dict(metrics=lambda: dict(metrics=AveragePrecision()), cbs=lambda: dict(cbs=AveragePrecision), made=lambda: dict(cbs=AveragePrecision()),
    callback_fns=lambda: dict(callback_fns=AveragePrecision), partial=lambda: dict(metrics=[accuracy, partial(AveragePrecision)]))

@pytest.mark.parametrize('how', [*ways, 'fit'])
def test_column(how, adult_learner):
    "scikit-learn's number in each epoch, however the column is passed"
    learn = adult_learner(**(ways[how]() if how in ways else {}))
    late = dict(cbs=AveragePrecision()) if how == 'fit' else {}
    for n in 1,2:
        assert not fit(learn, n, **late)
        assert last(learn, 'ap') == close(truth(learn)[1:])

def test_validate_and_attribute(adult_learner):
    learn = adult_learner(cbs=AveragePrecision(), metrics=[])
    fit(learn)
    with learn.no_bar(), learn.no_logging(): assert learn.validate()[-1] == pytest.approx(truth(learn)[1])
    assert isinstance(learn.ap, AveragePrecision) and learn.ap.name == 'ap'

averages = 'macro', 'micro', 'weighted', 'samples'

def many_columns(kind, average):
    "A Learner with K columns of outputs on random inputs"
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(200, 4, generator=rng)
    y = (torch.rand(200, 3, generator=rng) < .3).float() if kind == 'multilabel' else torch.randint(0, 3, (200,), generator=rng)
    if y.ndim == 2: y[torch.arange(200),torch.arange(200) % 3] = 1  # each row has a positive
    loaders = [DataLoader(list(zip(a, b)), bs=32, num_workers=0) for a,b in ((x[:100], y[:100]), (x[100:], y[100:]))]
    loss = BCEWithLogitsLossFlat() if kind == 'multilabel' else CrossEntropyLossFlat()
    return Learner(DataLoaders(*loaders), nn.Linear(4, 3), loss_func=loss, metrics=AveragePrecision(average))

@pytest.mark.parametrize('kind,average', [('multilabel', o) for o in averages] + [('multiclass', o) for o in averages[:3]])
def test_averages(kind, average):
    learn = many_columns(kind, average)
    assert not fit(learn)
    got = last(learn, 'ap')
    z,y = outputs_of(learn)
    if kind == 'multiclass':
        z = torch.tensor(z).double()
        z = z - torch.stack([z[:,[j for j in range(3) if j != k]].logsumexp(1) for k in range(3)], 1)
    assert got == pytest.approx([average_precision_score(np.eye(3)[y] if y.ndim == 1 else y, z, average=average)], abs=1e-9)

def test_ignored_rows(adult_learner):
    learn = adult_learner(metrics=[AveragePrecision(ignore_index=7), AUROC(ignore_index=7)])
    class Void(Callback):
        def after_loss(self):
            if not self.training: self.learn.yb = (torch.where(torch.arange(len(self.y))[:,None] % 5 == 0, 7, self.y.long()),)
    assert not fit(learn, cbs=Void())
    got = last(learn, 'auroc', 'ap')
    got = last(learn, 'ap', 'auroc')
    z,y = outputs_of(learn)
    kept = np.concatenate([np.arange(64) % 5 > 0]*5)[:300]
    margin = (z[:,1].astype(float) - z[:,0].astype(float))[kept]
    assert got == close([average_precision_score(y.ravel()[kept], margin), roc_auc_score(y.ravel()[kept], margin)])

def test_without_positives(adult_learner, adult_dls, adult):
    "NaN with one warning a fit, which names the column"
    df = adult.sample(900, random_state=0).reset_index(drop=True)
    learn = adult_learner(adult_dls(valid_idx=list(df.index[df.income != '>50K'][:100])), metrics=AveragePrecision())
    for _ in range(2):
        said, = fit(learn, 2)
        assert said.category is UndefinedMetricWarning and str(said.message).startswith('ap: average precision is NaN: ')
        assert math.isnan(last(learn, 'ap')[0])

def test_errors_name_the_column(adult_learner):
    with pytest.raises(ValueError, match='AveragePrecision shows one number.*average_precision'): AveragePrecision(None)
    with pytest.raises(ValueError, match="average must be one of .*, got 'mean'"): AveragePrecision('mean')
    with pytest.raises(TypeError, match=r"AveragePrecision is not a function of one batch.*metrics=AveragePrecision\(name='x'\)"):
        AveragePrecision(torch.zeros(2, 2), torch.zeros(2), name='x')
    for column in (AUROC(max_fpr=.1), AveragePrecision(name='x')):
        told = f'{re.escape(repr(column))} is a column of the training table.*as a loss use {type(column).__name__}Loss\\(\\)$'
        with pytest.raises(TypeError, match=told): column(torch.zeros(2, 2), torch.zeros(2))
        with pytest.raises(TypeError, match=told): column(torch.zeros(2, 2))
        with pytest.raises(TypeError, match=told): adult_learner(loss_func=column).fit(1)
    with pytest.raises(TypeError, match=r'as a loss use AUROCLoss\(\)$'): adult_learner(loss_func=AUROC).fit(1)
    with pytest.raises(TypeError, match=r"AveragePrecision\(\) got an unexpected keyword argument 'max_fpr'"): AveragePrecision(max_fpr=.1)
    learn = adult_learner(metrics=AveragePrecision())
    class Spoil(Callback):
        def after_loss(self): self.learn.pred = self.pred[:1].expand(7, 2)
    said, = fit(learn, cbs=Spoil())
    assert str(said.message).startswith('ap: AveragePrecision is NaN: ')
    learn = adult_learner(metrics=AveragePrecision())
    class Two(Callback):
        def after_loss(self): self.learn.pred = (self.pred, self.pred)
    said, = fit(learn, cbs=Two())
    assert 'AveragePrecision needs one tensor of outputs, got a tuple of 2: AveragePrecision(select=0) chooses one' in str(said.message)
    with pytest.raises(ValueError, match='give the AveragePrecision callback another name'): adult_learner(cbs=AveragePrecision(name='model'))

@pytest.mark.parametrize('tracker', [SaveModelCallback, EarlyStoppingCallback, ReduceLROnPlateau])
def test_trackers(tracker, adult_learner):
    learn = adult_learner(cbs=AveragePrecision)
    watching = tracker(monitor='ap')
    fit(learn, 3, cbs=watching)
    values = [v[list(learn.recorder.metric_names).index('ap')-1] for v in learn.recorder.values]
    assert watching.best == max(values)

def test_twins_and_namesakes(adult_learner):
    learn = adult_learner(cbs=[AveragePrecision, AveragePrecision()])
    assert not fit(learn) and list(learn.recorder.metric_names).count('ap') == 1
    learn = adult_learner(metrics=[AveragePrecision(), AveragePrecision('micro'), AUROC(name='ap')])
    said, = fit(learn)
    assert "two columns are called 'ap'" in str(said.message)

@pytest.mark.parametrize('clone', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['deepcopy', 'pickle'])
def test_copies(clone, adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()])
    fit(learn)
    other = clone(learn)
    for o in (other, learn):
        fit(o)
        assert last(o, 'auroc', 'ap') == close(truth(o))
        assert o.metrics[0]._epoch is o.metrics[1]._epoch
    assert other.metrics[0]._epoch is not learn.metrics[0]._epoch

def test_export(adult_learner, tmp_path):
    learn = adult_learner(cbs=[AUROC, AveragePrecision('weighted')])
    fit(learn)
    learn.export('model.pkl')
    loaded = load_learner(learn.path/'model.pkl')
    assert repr(loaded.ap) == "AveragePrecision(average='weighted')"
    assert (learn.path/'model.pkl').stat().st_size < 10**6

# Kept once

def kept(columns): return {id(o._epoch.accumulator) for o in columns}

orders = {'auroc, ap': lambda: [AUROC(), AveragePrecision()], 'ap, auroc': lambda: [AveragePrecision(), AUROC()],
    'three': lambda: [AUROC(max_fpr=.2, name='early'), AveragePrecision(), AUROC()]}

@pytest.mark.parametrize('order', orders)
@pytest.mark.parametrize('how', ['metrics', 'cbs', 'mixed'])
def test_outputs_are_kept_once(order, how, adult_learner):
    "By whichever comes first, and both numbers are scikit-learn's"
    columns = orders[order]()
    given = dict(metrics=columns[:1], cbs=columns[1:]) if how == 'mixed' else {**dict(metrics=[]), how:columns}
    learn = adult_learner(**given)
    for n in 2,1:
        assert not fit(learn, n)
        assert last(learn, 'auroc', 'ap') == close(truth(learn))
        assert len(kept(columns)) == 1 and columns[0]._epoch.n == 300 and len(columns[0]._epoch.accumulator.outputs) == 300

@pytest.mark.parametrize('other', [dict(activation='softmax'), dict(axis=1), dict(select=lambda o,y: (o, y)), dict(thresholds='bits')])
def test_others_keep_their_own(other, adult_learner):
    columns = [AUROC(), AUROC(**other, name='other')]
    learn = adult_learner(metrics=columns)
    assert not fit(learn)
    assert columns[0]._epoch is not columns[1]._epoch and columns[0]._epoch.n == columns[1]._epoch.n == 300
    assert last(learn, 'auroc', 'other') == close([truth(learn)[0]]*2) or 'thresholds' in other

def test_values_in_the_middle(adult_learner):
    "Of the rows so far, whoever asks first"
    class Reads(Callback):
        order = Recorder.order + 1
        def __init__(self): self.wrong,self.rows,self.n = [],[],0
        def before_validate(self): self.rows = []
        def after_batch(self):
            if self.training: return
            self.rows.append((self.pred.detach().double(), self.y.flatten()))
            z,y = map(torch.cat, zip(*self.rows))
            want = roc_auc_score(y, z[:,1]-z[:,0]),average_precision_score(y, z[:,1]-z[:,0])
            metrics = self.learn.metrics if self.iter % 2 else self.learn.metrics[::-1]
            got = {m.name:m.value for m in metrics}
            self.n += 1
            if (got['auroc'], got['ap']) != close(want): self.wrong.append((got, want))
    learn,reads = adult_learner(metrics=[AUROC(), AveragePrecision()]),Reads()
    fit(learn, 2, cbs=reads)
    assert reads.n == 10 and not reads.wrong and last(learn, 'auroc', 'ap') == close(truth(learn))

class Leaves(Callback):
    "Takes a column out in the middle of a validation"
    order = Recorder.order - 10
    def __init__(self, column): self.column = column
    def before_batch(self):
        if not self.training and self.iter == 2 and self.column in self.learn.cbs: self.learn.remove_cb(self.column)

@pytest.mark.parametrize('which', [0, 1])
def test_one_leaves_in_the_middle(which, adult_learner):
    "The other goes on"
    columns = [AUROC(), AveragePrecision()]
    learn = adult_learner(metrics=[], cbs=columns)
    fit(learn, cbs=Leaves(columns[which]))
    stays = columns[1-which]
    assert stays.value == close(truth(learn)[1-which])
    fit(learn)
    assert stays.value == close(truth(learn)[1-which]) and len(learn.recorder.metric_names) == 5

@pytest.mark.parametrize('which', [0, 1])
def test_without_one(which, adult_learner):
    columns = [AUROC(), AveragePrecision()]
    learn = adult_learner(metrics=[], cbs=columns)
    with learn.removed_cbs([columns[which]]): fit(learn)
    assert columns[1-which].value == close(truth(learn)[1-which])
    fit(learn)
    assert last(learn, 'auroc', 'ap') == close(truth(learn)) and len(kept(columns)) == 1

def test_interrupted(adult_learner):
    columns = [AUROC(), AveragePrecision()]
    learn = adult_learner(metrics=columns)
    class Stop(Callback):
        def before_batch(self):
            if not self.training and self.iter == 2: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=Stop())
    learn.remove_cbs([o for o in learn.cbs if isinstance(o, Stop)])
    fit(learn, 2)
    assert last(learn, 'auroc', 'ap') == close(truth(learn)) and len(kept(columns)) == 1

@pytest.mark.parametrize('how', ['metrics', 'cbs'])
@pytest.mark.parametrize('cancelled', [[0], [2], [0, 1, 4], [4]])
def test_cancelled_batches(cancelled, how, adult_learner):
    learn = adult_learner(**{'metrics':[], how:[AUROC(), AveragePrecision()]})
    class Skip(Callback):
        def before_batch(self):
            if not self.training and self.iter in cancelled: raise CancelBatchException()
    fit(learn, 2, cbs=Skip())
    got = last(learn, 'auroc', 'ap')
    z,y = outputs_of(learn)
    rows = np.concatenate([np.arange(64*i, min(300, 64*i+64)) for i in range(5) if i not in cancelled])
    margin = (z[:,1].astype(float) - z[:,0].astype(float))[rows]
    assert got == close([roc_auc_score(y.ravel()[rows], margin), average_precision_score(y.ravel()[rows], margin)])

def test_training_metrics(adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()])
    learn.recorder.train_metrics = True
    class Rows(Callback):
        order = Recorder.order - 1
        def before_train(self): self.rows = []
        def after_batch(self):
            if self.training: self.rows.append((self.pred.detach().double(), self.y.flatten()))
    rows = Rows()
    fit(learn, cbs=rows)
    z,y = map(torch.cat, zip(*rows.rows))
    want = roc_auc_score(y, z[:,1]-z[:,0]),average_precision_score(y, z[:,1]-z[:,0])
    assert last(learn, 'train_auroc', 'train_ap') == close(want) and last(learn, 'valid_auroc', 'valid_ap') == close(truth(learn))

def test_one_is_reset_alone(adult_learner):
    "It has rows of its own then, and the other all of them"
    columns = [AUROC(), AveragePrecision()]
    class Resets(Callback):
        order = Recorder.order - 10
        def before_batch(self):
            if not self.training and self.iter == 2: self.learn.metrics[0].reset()
    learn = adult_learner(metrics=columns)
    fit(learn, cbs=Resets())
    got = last(learn, 'auroc', 'ap')
    z,y = outputs_of(learn)
    margin = z[:,1].astype(float) - z[:,0].astype(float)
    assert got == close([roc_auc_score(y.ravel()[128:], margin[128:]), average_precision_score(y.ravel(), margin)])

def test_outputs_without_weak_references(adult_learner):
    "They can't be told apart, so each column keeps its own"
    class Hidden:
        __slots__ = 'z',
        def __init__(self, z): self.z = z
    first = lambda o,y: (o.z, y)
    columns = [AUROC(select=first), AveragePrecision(select=first)]
    learn = adult_learner(metrics=columns)
    class Hides(Callback):
        order = Recorder.order - 1
        def after_batch(self): self.learn.pred = Hidden(self.pred)
    assert not fit(learn, cbs=Hides())
    assert last(learn, 'auroc', 'ap') == close(truth(learn)) and len(kept(columns)) == 2

def test_a_failure_is_of_both(adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()])
    class Spoil(Callback):
        def after_loss(self):
            if not self.training and self.iter == 2 and not self.epoch: self.learn.pred = self.pred[:,:1]
    said = fit(learn, cbs=Spoil())
    assert [str(o.message).split(' is NaN')[0] for o in said] == ['auroc: AUROC', 'ap: AveragePrecision'] and np.isnan(last(learn, 'auroc', 'ap')).all()
    assert not fit(learn) and last(learn, 'auroc', 'ap') == close(truth(learn))

def test_half_precision(adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()])
    class Halves(Callback):
        order = Recorder.order - 1
        def after_batch(self):
            if not self.training: self.learn.pred = self.pred.half()
    fit(learn, cbs=Halves())
    got = last(learn, 'auroc', 'ap')
    z,y = outputs_of(learn)
    z = z.astype('float16').astype(float)
    assert got == close([roc_auc_score(y.ravel(), z[:,1]-z[:,0]), average_precision_score(y.ravel(), z[:,1]-z[:,0])])
