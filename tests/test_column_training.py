"AUROC through everything that can happen to it in the life of one fastai 2 process"
import copy, math, pickle, re, subprocess, sys, warnings, zipfile, numpy as np, pandas as pd, pytest, torch
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from fastai.callback.core import (Callback, CancelBackwardException, CancelBatchException, CancelEpochException, CancelFitException, CancelStepException,
    CancelTrainException, CancelValidException, FetchPredsCallback, event)
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import CSVLogger, ProgressCallback, ShowGraphCallback
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.learner import Learner, Recorder, load_learner
from fastai.tabular.all import accuracy, noop
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy
from fastai_auroc.all import AUROC, AveragePrecision, enable_callback_fns

@pytest.fixture(autouse=True)
def _callback_fns(): enable_callback_fns()

@pytest.fixture
def sample(adult): return adult.sample(620, random_state=0)

@pytest.fixture
def adult_dls(adult_dls): return partial(adult_dls, n=620)  # Five batches of 64 in training, five in validation, the last of 44

close = partial(pytest.approx, abs=1e-12, nan_ok=True)

def sk(rows):
    "scikit-learn's AUROC of batches of two logits and labels; NaN where there are none"
    if not rows: return math.nan
    outputs,targets = map(torch.cat, zip(*rows))
    return roc_auc_score(targets.flatten(), outputs[:,1].double() - outputs[:,0].double())

class Seen(Callback):
    "Keeps the batches that the model really saw: `passes` holds a list for each pass of training (True) and of validation (False)"
    order = -100
    def __init__(self): self.passes = {True: [], False: []}
    def before_train(self): self.passes[True].append([])
    def before_validate(self): self.passes[False].append([])
    def after_pred(self):
        pred, = self.pred if isinstance(self.pred, tuple) else (self.pred,)
        self.passes[bool(self.training)][-1].append((pred.detach().clone(), self.learn.y.clone()))

    def scores(self, train=False): return [sk(rows) for rows in self.passes[train]]

class Do(Callback):
    "Calls `f(learn)` at an event"
    def __init__(self, event_name, f, order=-50):
        self.f,self.order = f,order
        setattr(self, event_name, lambda: self.f(self.learn))

def raising(ex, event_name, when=lambda learn: True, **kwargs):
    "A callback that raises `ex` at an event of batches or epochs for which `when(learn)`"
    def f(learn):
        if when(learn): raise ex
    return Do(event_name, f, **kwargs)

class Wrapped(torch.nn.Module):
    "A model whose outputs go through `f(self, outputs)`"
    def __init__(self, body, f):
        super().__init__()
        self.body,self.f = body,f

    def forward(self, *xb): return self.f(self, self.body(*xb))

@contextmanager
def our_warnings(action='always'):
    "Collects the warnings that AUROC, or a callback that hides an attribute, gives inside"
    said = []
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter(action)
        yield said
    said += [str(w.message) for w in ws if 'AUROC' in str(w.message) or 'shadowing' in str(w.message)]

def table(learn):
    "Rows of the last fit's table that were validated, as dictionaries; of an epoch whose training was cancelled fastai leaves out the losses"
    names = list(learn.recorder.metric_names)[1:-1]
    return [dict(zip(names[-len(row):], row)) for row in learn.recorder.values if len(row) > 1]

def aurocs(learn, name='auroc'): return [row[name] for row in table(learn)]

@pytest.fixture(params=['metrics', 'cbs', 'callback_fns', 'fit'])
def spelled(request, adult_dls, adult_learner):
    "Makes a Learner with AUROC in one of the spellings, and the list of what its `fit` needs in `cbs`"
    def make(metrics=accuracy, bar=False, auroc=AUROC, **kwargs):
        ours,how = auroc(),request.param
        if how == 'metrics': metrics = [metrics, ours] if metrics else ours
        elif how != 'fit': kwargs[how] = [*kwargs.get(how, []), ours if how == 'cbs' else auroc]
        learn = adult_learner(kwargs.pop('dls', None) or adult_dls(), metrics, **kwargs)
        if not bar: learn.remove_cb(ProgressCallback)
        return learn,[ours] if how == 'fit' else []
    return make

in_two_ways = pytest.mark.parametrize('spelled', ['metrics', 'fit'], indirect=True)

@pytest.fixture
def right(sk_auroc):
    "Checks the table of the last fit: its columns, its length, its last AUROC against scikit-learn, and that the metrics are `given` ones"
    def check(learn, epochs=1, given=None, names=('accuracy', 'auroc')):
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', *names, 'time']
        values = aurocs(learn)
        assert len(values) == epochs and all(type(v) is float and 0 <= v <= 1 for v in values)
        assert given is None or list(learn.metrics) == given
        assert values[-1] == close(sk_auroc(learn))
        assert given is None or list(learn.metrics) == given
    return check

# Fits of every kind

@pytest.mark.parametrize('spelling', [dict(metrics=AUROC), dict(metrics=[AUROC()]), dict(cbs=AUROC()), dict(cbs=[AUROC]), dict(callback_fns=[AUROC]),
    dict(callback_fns=partial(AUROC, average='weighted')), dict(callback_fns=AUROC())], ids=str)
def test_other_spellings(adult_learner, right, spelling):
    learn = adult_learner(**{'metrics': None, **spelling})
    learn.fit(1)
    right(learn, names=['auroc'])

def test_two_fits(spelled, right):
    learn,ours = spelled()
    given = list(learn.metrics)
    with our_warnings() as said:
        for epochs in 2,1:
            learn.fit(epochs, cbs=ours)
            right(learn, epochs, given)
    assert not said

@pytest.mark.parametrize('way,epochs', [(lambda learn, cbs: learn.fit_one_cycle(2, cbs=cbs), 2), (lambda learn, cbs: learn.fine_tune(2, cbs=cbs), 2),
    (lambda learn, cbs: learn.fit_flat_cos(1, cbs=cbs), 1), (lambda learn, cbs: learn.fit_sgdr(1, 2, cbs=cbs), 2),
    (lambda learn, cbs: learn.fit(3, start_epoch=1, cbs=cbs), 2), (lambda learn, cbs: learn.fit(1, reset_opt=True, wd=.1, cbs=cbs), 1)],
    ids=['one_cycle', 'fine_tune', 'flat_cos', 'sgdr', 'start_epoch', 'reset_opt'])
def test_ways_to_fit(spelled, right, way, epochs):
    learn,ours = spelled()
    given = list(learn.metrics)
    way(learn, ours)
    right(learn, epochs, given)

def test_every_epoch(spelled):
    learn,ours = spelled()
    learn.fit(3, 1e-2, cbs=[*ours, seen := Seen()])
    assert len(set(aurocs(learn))) == 3
    assert aurocs(learn) == close(seen.scores())

def test_one_instance_in_metrics_and_cbs(adult_learner, right):
    auroc = AUROC()
    learn = adult_learner(metrics=[accuracy, auroc], cbs=auroc)
    for _ in range(2):
        learn.fit(1)
        right(learn, given=[learn.metrics[0], auroc])

def test_without_recorder(adult_learner):
    "Nobody asks for the value then"
    learn = adult_learner(cbs=AUROC)
    learn.remove_cbs([Recorder, ProgressCallback])
    learn.fit(1)
    assert math.isnan(learn.auroc.value) and len(learn.metrics) == 1

def test_training_loop_is_shown(adult_learner, capsys):
    learn = adult_learner(cbs=AUROC(max_fpr=.5))
    learn.show_training_loop()
    assert 'AUROC(max_fpr=0.5)' in capsys.readouterr().out

def test_added_and_removed_between_fits(adult_learner, right):
    learn = adult_learner()
    for epochs in 1,2:
        learn.add_cb(AUROC())
        learn.fit(epochs)
        right(learn, epochs)
        learn.remove_cb(AUROC)
        learn.fit(1)
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'time']

def test_removed_for_a_while(adult_learner, right):
    learn = adult_learner(cbs=AUROC)
    with learn.removed_cbs(learn.auroc): learn.fit(1)
    assert 'auroc' not in learn.recorder.metric_names
    learn.fit(1)
    right(learn)

def test_metrics_set_between_fits(adult_learner, right):
    learn = adult_learner(cbs=AUROC)
    learn.fit(1)
    learn.metrics = None
    learn.fit(1)
    right(learn, names=['auroc'], given=[])

# Validation and predictions

def test_validate(spelled, sk_auroc, sample):
    learn,ours = spelled()
    given = list(learn.metrics)
    for _ in range(2):
        record = learn.validate(cbs=ours)
        assert type(record[2]) is float and record[2] == close(sk_auroc(learn))
        learn.fit(1, cbs=ours)
        test = learn.dls.test_dl(sample[:100], with_labels=True)
        for dl in learn.dls.train, test:
            seen = Seen()
            assert [learn.validate(dl=dl, cbs=[*ours, seen])[2]] == close(seen.scores())
        assert list(learn.metrics) == given

@in_two_ways
def test_validate_training_set(spelled):
    learn,ours = spelled()
    assert learn.validate(0, cbs=[*ours, seen := Seen()])[2] == close(seen.scores()[0])

@in_two_ways
@pytest.mark.parametrize('kwargs', [{}, dict(with_loss=True), dict(ds_idx=0), dict(with_input=True, with_decoded=True)], ids=str)
def test_get_preds_before_and_after(spelled, right, kwargs):
    "The same as from a Learner without AUROC"
    learn,ours = spelled()
    given,bare = list(learn.metrics),Learner(learn.dls, learn.model, loss_func=learn.loss_func)
    with our_warnings() as said:
        for _ in range(2):
            got,want = learn.get_preds(cbs=ours, **kwargs),bare.get_preds(**kwargs)
            assert torch.equal(got[-1], want[-1]) and len(got) == len(want)
            learn.fit(1, cbs=ours)
            right(learn, given=given)
    assert not said

@in_two_ways
def test_inner_get_preds(spelled, right):
    "As test time augmentation calls it: several passes between before_fit and after_fit"
    learn,ours = spelled()
    given,want = list(learn.metrics),[]
    for _ in range(2):
        with learn.added_cbs(ours):
            learn([event.before_fit, event.before_epoch])
            for o in range(2): want.append(learn.get_preds(inner=True)[0])
            learn(event.after_fit)
        assert list(learn.metrics) == given
    assert all(torch.equal(o, learn.get_preds()[0]) for o in want)
    learn.fit(1, cbs=ours)
    right(learn, given=given)

def test_predict_and_show_results(spelled, right, sample):
    learn,ours = spelled()
    given = list(learn.metrics)
    with our_warnings() as said:
        learn.fit(1, cbs=ours)
        _,label,probs = learn.predict(sample.iloc[0])
        assert label == probs.argmax()
        learn.show_results()
    assert not said
    learn.fit(1, cbs=ours)
    right(learn, given=given)

def test_lr_find(spelled, right):
    learn,ours = spelled()
    given = list(learn.metrics)
    with our_warnings() as said: assert learn.lr_find(num_it=20, show_plot=False).valley > 0
    assert not said and list(learn.metrics) == given
    learn.fit(1, cbs=ours)
    right(learn, given=given)

def test_fetch_preds(spelled, right):
    learn,ours = spelled(cbs=[FetchPredsCallback()])
    given = list(learn.metrics)
    for _ in range(2):
        learn.fit(2, cbs=[*ours, seen := Seen()])
        assert aurocs(learn) == close([sk(rows) for rows in seen.passes[False][::2]])
        assert len(seen.passes[False]) == 4 and len(learn.fetch_preds.preds[0]) == 300
    learn.remove_cb(FetchPredsCallback)
    learn.fit(1, cbs=ours)
    right(learn, given=given)

def test_fetch_preds_of_training_set(adult_learner):
    learn = adult_learner(cbs=[AUROC, FetchPredsCallback(ds_idx=0)])
    learn.fit(2, cbs=(seen := Seen()))
    assert aurocs(learn) == close(seen.scores()[::2])

# Copies, files, logs

def storages(file):
    "How many tensors' storages a file of torch.save holds"
    with zipfile.ZipFile(file) as f: return sum('/data/' in name for name in f.namelist())

def interrupted(learn, event_name='before_batch', training=False, cbs=(), ex=KeyboardInterrupt, **kwargs):
    "A fit that is interrupted at the third batch"
    stop = raising(ex('stopped here'), event_name, lambda l: l.training == training and l.iter == 2, **kwargs)
    with pytest.raises(ex, match='stopped here'): learn.fit(2, cbs=[*cbs, stop])

@pytest.mark.parametrize('how', ['fresh', 'fitted', 'interrupted'])
def test_export(spelled, adult_learner, sk_auroc, sample, tmp_path, how):
    def prepare(learn, ours=()):
        if how == 'fitted': learn.fit(1, cbs=ours)
        if how == 'interrupted': interrupted(learn, cbs=ours)
        learn.export()
        return storages(tmp_path/'export.pkl')
    learn,ours = spelled()
    assert prepare(adult_learner()) == prepare(learn, ours)

    loaded = load_learner(tmp_path/'export.pkl')
    test = loaded.dls.test_dl(sample[:200], with_labels=True)
    want = learn.get_preds(dl=learn.dls.test_dl(sample[:200], with_labels=True))
    assert all(map(torch.equal, loaded.get_preds(dl=test), want))
    assert loaded.validate(dl=test, cbs=ours)[2] == close(sk_auroc(loaded, dl=test))
    loaded.dls = learn.dls
    for o in loaded,learn:
        o.fit(1, cbs=ours)
        assert list(o.recorder.metric_names).count('auroc') == 1
        assert aurocs(o)[0] == close(sk_auroc(o))

def test_save_and_load(spelled, right):
    learn,ours = spelled()
    learn.fit(1, cbs=ours)
    before = aurocs(learn)
    learn.save('small')
    learn.fit(1, 1e-1, cbs=ours)
    assert aurocs(learn) != before
    learn.load('small')
    assert [learn.validate(cbs=ours)[2]] == close(before)
    learn.fit(1, cbs=ours)
    right(learn)

@pytest.mark.parametrize('fitted', [False, True])
def test_deepcopy(spelled, right, fitted):
    learn,ours = spelled()
    if fitted: learn.fit(1, cbs=ours)
    other = copy.deepcopy(learn)
    assert not any(a is b for a in other.metrics for b in learn.metrics)
    if hasattr(learn, 'auroc'): assert other.auroc is not learn.auroc and other.auroc.learn is other and learn.auroc.learn is learn
    other.fit(2, 1e-1, cbs=ours)
    learn.fit(1, cbs=ours)
    assert aurocs(learn)[-1] != aurocs(other)[-1]
    right(other, 2)
    right(learn)

options = dict(average='weighted', max_fpr=.25, activation='identity', axis=-1, ignore_index=-100, name='pauc')

@pytest.mark.parametrize('clone', [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['copy', 'deepcopy', 'pickle'])
def test_clone_of_auroc_keeps_options(clone):
    auroc = AUROC(**options)
    auroc.accumulate(SimpleNamespace(pred=torch.tensor([[1., 2.], [2., 1.]]), y=torch.tensor([1, 0])))
    other = clone(auroc)
    assert all(getattr(other, k) == v for k,v in options.items()) and repr(other) == repr(auroc)
    assert math.isnan(other.value)

def test_pickle_holds_no_rows():
    auroc = AUROC()
    empty = len(pickle.dumps(auroc))
    auroc.accumulate(SimpleNamespace(pred=torch.randn(10000, 2), y=torch.randint(2, (10000,))))
    assert 0 < auroc.value < 1 and len(pickle.dumps(auroc)) <= empty + 100

def test_csv_logger(spelled):
    learn,ours = spelled()
    for epochs in 1,2:
        learn.fit(epochs, cbs=[*ours, log := CSVLogger(), seen := Seen()])
        df = pd.read_csv(learn.path/'history.csv')
        assert list(df) == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'auroc', 'time']
        assert list(df.auroc) == close(seen.scores())

@in_two_ways
def test_csv_logger_in_learner(spelled):
    learn,ours = spelled(cbs=[CSVLogger()])
    learn.fit(2, cbs=ours)
    want = aurocs(learn)
    learn.get_preds()
    assert list(learn.csv_logger.read_log().auroc) == close(want)

def test_show_graph(spelled, right):
    learn,ours = spelled(bar=True, cbs=[ShowGraphCallback()])
    learn.fit(2, cbs=ours)
    assert learn.show_graph.nb_batches == [5, 10]
    right(learn, 2)

def test_no_bar_and_no_logging(spelled, right, capsys):
    learn,ours = spelled(bar=True)
    capsys.readouterr()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=ours)
    assert not capsys.readouterr().out
    right(learn)
    learn.fit(1, cbs=ours)
    right(learn)

def test_progress_prints_six_decimals(spelled, capsys):
    learn,ours = spelled(bar=True)
    capsys.readouterr()
    learn.fit(2, cbs=ours)
    out,values = capsys.readouterr().out,aurocs(learn)
    assert out.count('auroc') == 1 and all(type(v) is float and f' {v:.6f} ' in out for v in values)

def test_repr():
    assert repr(AUROC()) == 'AUROC()'
    assert repr(AUROC(**options)) == "AUROC(average='weighted', max_fpr=0.25, activation='identity', axis=-1, ignore_index=-100, name='pauc')"
    assert eval(repr(AUROC(**options))).max_fpr == .25

def test_options_reach_the_value(spelled):
    learn,ours = spelled(auroc=partial(AUROC, max_fpr=.25, name='pauc'))
    learn.fit(1, cbs=[*ours, seen := Seen()])
    outputs,targets = map(torch.cat, zip(*seen.passes[False][0]))
    want = roc_auc_score(targets.flatten(), outputs[:,1].double() - outputs[:,0].double(), max_fpr=.25)
    assert aurocs(learn, 'pauc') == close([want]) and 'auroc' not in learn.recorder.metric_names

def test_to_fp32(spelled, right):
    learn,ours = spelled(cbs=[MixedPrecision()])
    learn.to_fp32()
    learn.fit(1, cbs=ours)
    right(learn)

# Trackers

@pytest.fixture(params=['learner', 'fit'])
def tracked(request, spelled):
    "Fits a Learner in which `tracker` sits in the Learner or in `fit(cbs=)`; leaves it without tracker"
    def fit(tracker, epochs, lr=None, cbs=()):
        inside = request.param == 'learner'
        learn,ours = spelled(cbs=[tracker] if inside else [])
        learn.fit(epochs, lr, cbs=[*ours, *cbs] if inside else [tracker, *ours, *cbs])
        if inside: learn.remove_cb(tracker)
        return learn
    return fit

def test_save_model_callback(tracked, sk_auroc):
    "The last epoch is made the worst by turning the model upside down, so the best one must come back"
    spoil = Do('before_validate', lambda learn: learn.epoch == 2 and learn.model.layers[-1][0].weight.data.neg_())
    learn = tracked(SaveModelCallback(monitor='auroc'), 3, 1e-2, [spoil])
    values = aurocs(learn)
    assert values[2] < max(values) == close(sk_auroc(learn))

@in_two_ways
def test_early_stopping(tracked):
    learn = tracked(EarlyStoppingCallback(monitor='auroc', min_delta=1., patience=2), 6)
    assert len(aurocs(learn)) == 3

@in_two_ways
def test_reduce_lr_on_plateau(tracked):
    learn = tracked(ReduceLROnPlateau(monitor='auroc', min_delta=1.), 3, 1e-2)
    assert len(aurocs(learn)) == 3 and learn.opt.hypers[-1]['lr'] == pytest.approx(1e-4)

# More than one Recorder, more than one AUROC

def add_recorder(learn): learn.add_cb(Recorder(train_metrics=True))
def swap_recorder(learn): learn.remove_cb(Recorder).add_cb(Recorder(train_metrics=True))
def switch_recorder(learn): learn.recorder.train_metrics = True

@in_two_ways
@pytest.mark.parametrize('record', [add_recorder, swap_recorder, switch_recorder])
@pytest.mark.parametrize('skipped', [(), (0,), (3,), (0, 1, 4)], ids=str)
def test_train_metrics(spelled, record, skipped):
    "Rows of cancelled training batches are left out, the shuffled rest is scored as trained"
    learn,ours = spelled(metrics=None)
    record(learn)
    skip = raising(CancelBatchException, 'before_batch', lambda l: l.training and l.iter in skipped)
    with our_warnings() as said: learn.fit(3, cbs=[*ours, skip, seen := Seen()])
    assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'train_auroc', 'valid_loss', 'valid_auroc', 'time'] and not said
    assert [sum(len(y) for _,y in rows) for rows in seen.passes[True]] == [64*(5-len(skipped))]*3
    assert aurocs(learn, 'train_auroc') == close(seen.scores(True))
    assert aurocs(learn, 'valid_auroc') == close(seen.scores())

def test_train_metrics_alone(adult_learner):
    learn = adult_learner(metrics=None, cbs=AUROC)
    learn.remove_cb(Recorder)
    learn.add_cb(Recorder(train_metrics=True, valid_metrics=False))
    learn.fit(1, cbs=(seen := Seen()))
    assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'auroc', 'time']
    assert aurocs(learn) == close(seen.scores(True))

def test_value_read_by_many(spelled):
    "A second Recorder and a callback read the value too, before and after the batch that changes it"
    read = []
    value = lambda learn: learn.metrics[-1].value
    spy = [Do(e, lambda learn: read.append((value(learn), value(learn))), order=55) for e in ('after_validate', 'after_epoch')]
    mid = Do('after_batch', lambda learn: learn.training or value(learn), order=55)
    learn,ours = spelled()
    learn.add_cb(Recorder(add_time=False))
    learn.fit(2, cbs=[*ours, *spy, mid, seen := Seen()])
    assert [v for o in read for v in o] == close(np.repeat(seen.scores(), 4).tolist())
    assert [[row[3] for row in o.values] for o in learn.cbs if isinstance(o, Recorder)] == [close(seen.scores())]*2

def test_three_instances(adult_learner):
    learn = adult_learner(metrics=[accuracy, AUROC()], cbs=AUROC(max_fpr=.5, name='half'), callback_fns=partial(AUROC, activation='identity', name='second'))
    for _ in range(2):
        with our_warnings() as said: learn.fit(1, cbs=(seen := Seen()))
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'auroc', 'half', 'second', 'time'] and not said
        outputs,targets = map(torch.cat, zip(*seen.passes[False][0]))
        want = [roc_auc_score(targets.flatten(), x.double(), max_fpr=m) for x,m in ((outputs[:,1]-outputs[:,0].double(), None),
            (outputs[:,1]-outputs[:,0].double(), .5), (outputs[:,1], None))]
        assert [table(learn)[0][o] for o in ('auroc', 'half', 'second')] == close(want)

def test_two_metrics_of_one_name(adult_learner, sk_auroc):
    "What stands twice in the list of metrics is shown twice"
    learn = adult_learner(metrics=[AUROC(), AUROC()])
    for _ in range(2):
        learn.fit(1)
        got = list(learn.recorder.values[-1][2:])
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'auroc', 'auroc', 'time']
        assert got == close([sk_auroc(learn)]*2)

@pytest.mark.parametrize('name', ['fit', 'model', 'metrics', 'recorder', 'x'])
@pytest.mark.parametrize('how', ['cbs', 'callback_fns', 'fit'])
def test_name_that_hides_an_attribute(adult_learner, right, name, how):
    auroc = AUROC(name=name)
    learn = adult_learner(cbs=AUROC)
    with pytest.raises(ValueError, match=f"name='{name}' would hide an attribute"):
        if how == 'fit': learn.fit(1, cbs=auroc)
        else: adult_learner(**{how: auroc})
    assert auroc not in learn.cbs
    learn.fit(1)
    right(learn)

@pytest.mark.parametrize('kwargs', [dict(name='roc auc'), dict(name=''), dict(name='1st'), dict(name=None), dict(average='macr'), dict(average=None),
    dict(multi_class='one'), dict(max_fpr=0), dict(max_fpr=1.1), dict(max_fpr=-.1), dict(activation='tanh'), dict(activation=None),
    dict(average='samples', multi_class='ovo'), dict(average='micro', multi_class='ovo'), dict(max_fpr=.1, multi_class='ovo')], ids=str)
def test_wrong_options_raise_at_once(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))): AUROC(**kwargs)

def test_unknown_option(): pytest.raises(TypeError, AUROC, averag='macro')

def test_the_form_of_fastai1(adult_learner):
    "In fastai 2 no Learner comes first"
    learn = adult_learner()
    with pytest.raises(TypeError, match=r"in fastai 2 AUROC takes no Learner: pass cbs=AUROC\(max_fpr=0.1, name='x'\) to it"): AUROC(learn, max_fpr=.1, name='x')
    with pytest.raises(TypeError, match=r'AveragePrecision takes no Learner: pass cbs=AveragePrecision\(\) to it'): learn.add_cb(AveragePrecision(learn))

# Cancelled batches, epochs and fits

skips = {'first':(0,), 'middle':(2,), 'last':(4,), 'two first':(0, 1), 'every other':(1, 3), 'all':(0, 1, 2, 3, 4)}

@in_two_ways
@pytest.mark.parametrize('event_name', ['before_batch', 'after_pred', 'after_loss'])
@pytest.mark.parametrize('which', skips)
def test_cancelled_validation_batches(spelled, right, event_name, which):
    learn,ours = spelled(metrics=None)
    given = list(learn.metrics)
    skip = raising(CancelBatchException, event_name, lambda l: not l.training and l.iter in skips[which])
    with our_warnings() as said: learn.fit(2, cbs=[*ours, skip, seen := Seen()])
    kept = 5 - len(skips[which]) if event_name == 'before_batch' else 5
    assert [len(rows) for rows in seen.passes[False]] == [kept, kept]
    assert aurocs(learn) == close(seen.scores()) and not said
    learn.fit(1, cbs=ours)
    right(learn, names=['auroc'], given=given)

@in_two_ways
@pytest.mark.parametrize('valid', [300, 320])
@pytest.mark.parametrize('before', ['nothing', 'fit', 'validate', 'get_preds'])
def test_cancelled_first_batch_of_validate(spelled, adult_dls, before, valid):
    "Outputs that an earlier pass left behind, of the same number of rows or not, do not count"
    learn,ours = spelled(metrics=None, dls=adult_dls(valid=valid))
    skip = raising(CancelBatchException, 'before_batch', lambda l: l.iter == 0)
    if before == 'fit': learn.fit(1, cbs=ours)
    elif before != 'nothing': getattr(learn, before)(cbs=ours)
    with our_warnings() as said: record = learn.validate(cbs=[*ours, skip, seen := Seen()])
    assert [record[1]] == close(seen.scores()) and not said

@in_two_ways
@pytest.mark.parametrize('valid', [300, 320])
@pytest.mark.parametrize('frozen', [False, True])
def test_cancelled_first_batch_without_training(spelled, adult_dls, frozen, valid):
    "As above, where the epoch before left outputs, or frozen parameters gave them no gradient"
    learn,ours = spelled(metrics=None, dls=adult_dls(valid=valid))
    if frozen and not ours: pytest.skip('a plain metric does not see what training leaves behind; the notebook says so')
    if frozen:
        learn.create_opt()
        learn.model.requires_grad_(False)
        stop = raising(CancelBackwardException, 'before_backward')
    else: stop = raising(CancelTrainException, 'before_train')
    skip = raising(CancelBatchException, 'before_batch', lambda l: not l.training and l.epoch == 1 and l.iter == 0)
    with our_warnings() as said: learn.fit(2, cbs=[*ours, stop, skip, seen := Seen()])
    assert [len(rows) for rows in seen.passes[False]] == [5, 4]
    assert aurocs(learn) == close(seen.scores()) and not said

def test_frozen_model(spelled, right):
    "Outputs without gradient in training and validation"
    learn,ours = spelled()
    learn.create_opt()
    learn.model.requires_grad_(False)
    learn.fit(2, cbs=[*ours, raising(CancelBackwardException, 'before_backward'), raising(CancelStepException, 'before_step')])
    right(learn, 2)

in_train = lambda l: l.training and l.iter == 3
in_valid = lambda l: not l.training and l.iter == 2
second = lambda l: l.epoch == 1
always = lambda l: True
cancels = [(CancelBatchException, 'before_batch', in_train, 3), (CancelBatchException, 'after_loss', in_train, 3),
    (CancelBackwardException, 'before_backward', in_train, 3), (CancelBackwardException, 'before_backward', always, 3),
    (CancelStepException, 'before_step', in_train, 3), (CancelStepException, 'before_step', always, 3),
    (CancelTrainException, 'before_train', always, 3), (CancelTrainException, 'before_batch', in_train, 3), (CancelTrainException, 'after_loss', in_train, 3),
    (CancelValidException, 'before_validate', second, 2), (CancelValidException, 'before_batch', in_valid, 0), (CancelValidException, 'after_loss', in_valid, 0),
    (CancelEpochException, 'before_epoch', second, 2), (CancelEpochException, 'before_batch', in_train, 0), (CancelEpochException, 'after_pred', in_valid, 0),
    (CancelFitException, 'before_fit', always, 0), (CancelFitException, 'before_epoch', second, 1), (CancelFitException, 'before_batch', in_train, 0),
    (CancelFitException, 'after_loss', in_valid, 0), (CancelFitException, 'before_validate', second, 1), (CancelFitException, 'after_epoch', second, 2)]
cancels = [(*o, 55) for o in cancels] + [(*o, -50) for o in cancels if o[1] in ('before_fit', 'before_train', 'before_validate')]

@in_two_ways
@pytest.mark.parametrize('ex,event_name,when,complete,order', cancels, ids=[f'{o[0].__name__[6:-9]}-{o[1]}-{i}' for i,o in enumerate(cancels)])
def test_cancel(spelled, right, ex, event_name, when, complete, order):
    "Of three epochs the validated ones have scikit-learn's value on the rows evaluated in them, and the next fit is as if nothing had been"
    learn,ours = spelled()
    given = list(learn.metrics)
    with our_warnings() as said: learn.fit(3, cbs=[*ours, raising(ex, event_name, when, order=order), seen := Seen()])
    if event_name != 'before_fit':
        whole = [sk(rows) for rows in seen.passes[False] if len(rows) == 5]
        assert len(table(learn)) == complete and aurocs(learn) == close(whole[:complete])
    assert not said and list(learn.metrics) == given
    learn.fit(1, cbs=ours)
    right(learn, given=given)

@pytest.mark.parametrize('ex', [CancelValidException, CancelEpochException, CancelFitException])
def test_value_of_a_cancelled_validation(adult_learner, ex):
    "The table has no value for it, the metric has that of the rows so far"
    learn = adult_learner(metrics=(auroc := AUROC()))
    learn.fit(1, cbs=[raising(ex, 'before_batch', in_valid), seen := Seen()])
    assert not table(learn) and auroc.value == close(seen.scores()[0])

@in_two_ways
@pytest.mark.parametrize('skipped', [(), (0,), (1,), (3,)], ids=str)
def test_one_tensor_updated_in_place(spelled, adult_dls, skipped):
    "A model that returns the very same tensor for every batch is not mistaken for cancelled batches, and earlier rows stay what they were"
    def in_place(self, out):
        if self.training: return out
        self.buffer = self.buffer.copy_(out) if hasattr(self, 'buffer') else out.clone()
        return self.buffer
    learn,ours = spelled(metrics=None, dls=adult_dls(valid=256))
    learn.model = Wrapped(learn.model, in_place)
    skip = raising(CancelBatchException, 'before_batch', lambda l: not l.training and l.iter in skipped)
    learn.fit(2, cbs=[*ours, skip, seen := Seen()])
    assert [len(rows) for rows in seen.passes[False]] == [4-len(skipped)]*2
    assert aurocs(learn) == close(seen.scores())

@in_two_ways
def test_cancelled_batch_of_a_tuple(spelled):
    "Outputs may come in a tuple of one"
    learn,ours = spelled(metrics=None, loss_func=lambda pred, y: cross_entropy(pred[0], y.flatten().long()))
    learn.model = Wrapped(learn.model, lambda self, out: (out,))
    skip = raising(CancelBatchException, 'before_batch', lambda l: not l.training and l.iter == 2)
    learn.fit(2, cbs=[*ours, skip, seen := Seen()])
    assert aurocs(learn) == close(seen.scores())

def with_grad(f):
    def _f(*args):
        with torch.enable_grad(): return f(*args)
    return _f

@in_two_ways
@pytest.mark.parametrize('where', ['model', 'model and loss', 'callback'])
def test_gradients_in_validation(spelled, where):
    "Users who need gradients while validating, for saliency or penalties, lose no rows"
    def graded(self, out):
        assert out.requires_grad
        return out
    learn,ours = spelled(metrics=None)
    body = learn.model
    learn.model = Wrapped(body, graded)
    cbs = [*ours, seen := Seen()]
    if where == 'callback': cbs.append(Do('before_validate', lambda learn: torch.set_grad_enabled(True)))
    else: body.forward = with_grad(body.forward)
    if where == 'model and loss': learn.loss_func = with_grad(learn.loss_func)
    with our_warnings() as said: learn.fit(2, cbs=cbs)
    assert [len(rows) for rows in seen.passes[False]] == [5, 5]
    assert aurocs(learn) == close(seen.scores()) and not said

# Interrupts

@pytest.mark.parametrize('ex,event_name', [(KeyboardInterrupt, 'before_batch'), (RuntimeError, 'after_loss')])
@pytest.mark.parametrize('training', [True, False], ids=['train', 'valid'])
def test_interrupt_then_fit(spelled, right, ex, training, event_name):
    learn,ours = spelled()
    given = list(learn.metrics)
    for _ in range(2): interrupted(learn, event_name, training, ours, ex)
    for epochs,cbs in (1, ours), (2, [AUROC() for _ in ours]):
        with our_warnings() as said: learn.fit(epochs, cbs=cbs)
        assert not said
        right(learn, epochs, given)

@in_two_ways
@pytest.mark.parametrize('event_name,order', [('before_fit', -50), ('before_fit', 55), ('before_epoch', 55), ('before_validate', 55), ('after_validate', -50),
    ('after_validate', 55), ('after_epoch', 55), ('after_fit', -50), ('after_fit', 55)])
def test_interrupt_between_batches(spelled, right, event_name, order):
    learn,ours = spelled()
    given = list(learn.metrics)
    with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=[*ours, raising(KeyboardInterrupt, event_name, order=order)])
    learn.fit(1, cbs=ours)
    right(learn, given=given)

@pytest.mark.parametrize('pass_name', ['validate', 'get_preds', 'lr_find'])
def test_interrupted_pass_then_fit(spelled, right, pass_name):
    learn,ours = spelled()
    given = list(learn.metrics)
    stop = raising(KeyboardInterrupt, 'after_loss', lambda l: l.iter == 2)
    with pytest.raises(KeyboardInterrupt), learn.added_cbs([*ours, stop]): getattr(learn, pass_name)()
    learn.fit(1, cbs=ours)
    right(learn, given=given)

def test_removed_after_interrupt(adult_learner):
    learn = adult_learner(cbs=AUROC)
    interrupted(learn)
    learn.remove_cb(AUROC)
    learn.fit(1)
    assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'time']

def test_interrupted_instance_in_another_learner(adult_learner, right):
    "`fit(cbs=auroc)` is interrupted, then the same instance serves another Learner"
    auroc,learns = AUROC(),[adult_learner(), adult_learner()]
    interrupted(learns[0], cbs=[auroc])
    for learn in learns[::-1]:
        learn.fit(1, cbs=auroc)
        right(learn)

def test_validate_after_interrupt(spelled, sk_auroc):
    learn,ours = spelled()
    interrupted(learn, cbs=ours)
    record = learn.validate(cbs=ours)
    assert len(record) == 3 and record[2] == close(sk_auroc(learn))

# Batches and validation sets

@in_two_ways
@pytest.mark.parametrize('valid,kwargs,rows', [(129, dict(val_bs=64), 1), (60, dict(val_bs=1), 1), (61, dict(val_bs=2), 1), (300, dict(val_bs=300), 300),
    (60, dict(val_bs=7), 4)], ids=str)
def test_batch_sizes(spelled, adult_dls, right, valid, kwargs, rows):
    learn,ours = spelled(dls=adult_dls(valid=valid, **kwargs))
    learn.fit(2, cbs=[*ours, seen := Seen()])
    assert len(seen.passes[False][0][-1][0]) == rows and sum(len(y) for _,y in seen.passes[False][0]) == valid
    assert aurocs(learn) == close(seen.scores())
    right(learn, 2)

def test_batches_of_one_class(spelled, adult_dls, sample, right):
    by_label = np.argsort((sample.income == sample.income.max()).values[320:], kind='stable') + 320
    learn,ours = spelled(dls=adult_dls(valid_idx=by_label.tolist(), val_bs=8))
    with our_warnings() as said: learn.fit(1, cbs=[*ours, seen := Seen()])
    assert sum(len(y.unique()) == 1 for _,y in seen.passes[False][0]) >= 37 and not said
    right(learn)

def one_class(sample, label): return np.flatnonzero((sample.income == sorted(sample.income.unique())[label]).values)[:150].tolist()

@in_two_ways
@pytest.mark.parametrize('label,lack', [(0, 'no positive'), (1, 'no negative')])
def test_one_class_in_validation(spelled, adult_dls, sample, label, lack):
    "NaN in every epoch, one warning a fit, and training goes on"
    learn,ours = spelled(dls=adult_dls(valid_idx=one_class(sample, label)))
    weights = [p.clone() for p in learn.model.parameters()]
    for kwargs in dict(n_epoch=3), dict(n_epoch=1), dict(n_epoch=1), dict(n_epoch=3, start_epoch=1), dict(n_epoch=2):
        with our_warnings() as said: learn.fit(**kwargs, cbs=ours)
        rows = table(learn)
        assert len(rows) == kwargs['n_epoch'] - kwargs.get('start_epoch', 0)
        assert all(type(row['auroc']) is float and math.isnan(row['auroc']) and math.isfinite(row['valid_loss']) for row in rows)
        assert len(said) == 1 and lack in said[0], kwargs
    assert not all(map(torch.equal, weights, learn.model.parameters()))
    for _ in range(2):
        with our_warnings() as said: assert math.isnan(learn.validate(cbs=ours)[2])
        assert len(said) == 1 and lack in said[0]

@in_two_ways
def test_warns_again_under_default_filters(spelled, adult_dls, sample):
    "Python shows a warning of one place and text once: each fit must still show its own"
    learn,ours = spelled(dls=adult_dls(valid_idx=one_class(sample, 0)))
    with our_warnings('default') as said:
        for _ in range(3): learn.fit(2, cbs=ours)
    assert len(said) == 3

def test_warnings_of_two_instances(adult_learner, adult_dls, sample):
    "Each says its name"
    learn = adult_learner(adult_dls(valid_idx=one_class(sample, 0)), cbs=[AUROC(), AUROC(name='half', max_fpr=.5)])
    with our_warnings() as said: learn.fit(2)
    assert [o.split(':')[0] for o in said] == ['auroc', 'half']

@in_two_ways
def test_empty_validation_set(spelled, adult_dls):
    learn,ours = spelled(dls=adult_dls(valid_idx=[]))
    for _ in range(2):
        learn.fit(2, cbs=ours)
        assert len(learn.dls.valid) == 0 and aurocs(learn) == close([math.nan]*2)

@in_two_ways
def test_unlabelled_test_set(spelled, right, sample):
    learn,ours = spelled()
    test = learn.dls.test_dl(sample[:100].drop(columns='income'))
    with our_warnings() as said:
        for _ in range(2):
            outputs,targets = learn.get_preds(dl=test, cbs=ours)
            assert len(outputs) == 100 and targets is None
            assert math.isnan(learn.validate(dl=test, cbs=ours)[2])
            learn.fit(1, cbs=ours)
            right(learn)
    assert not said

@in_two_ways
def test_labelled_test_set(spelled, sk_auroc, sample):
    learn,ours = spelled()
    test = learn.dls.test_dl(sample[:333], with_labels=True)
    outputs,targets = learn.get_preds(dl=test, act=noop, cbs=ours)
    assert learn.validate(dl=test, cbs=ours)[2] == close(roc_auc_score(targets.flatten(), outputs[:,1].double() - outputs[:,0].double()))

@in_two_ways
def test_outputs_with_nan(spelled):
    "Two rows of each of the five batches; the value comes back with the next fit"
    def spoil(self, out):
        if not self.training and self.bad: out[:2,0] = math.nan
        return out
    learn,ours = spelled()
    learn.model = Wrapped(learn.model, spoil)
    for bad in True,False,True:
        learn.model.bad = bad
        with our_warnings() as said: learn.fit(2, cbs=[*ours, seen := Seen()])
        assert aurocs(learn) == close([math.nan]*2 if bad else seen.scores())
        assert len(said) == bad and all('10 of 300 rows' in o and 'NaN' in o for o in said)

@in_two_ways
def test_warning_in_a_later_epoch_of_a_later_fit(spelled):
    "Outputs turn NaN from an epoch on: each fit says so once"
    learn,ours = spelled()
    for good in 0,1,2:
        nan = Do('after_pred', lambda l: l.training or l.epoch < good or setattr(l, 'pred', l.pred*math.nan))
        with our_warnings() as said: learn.fit(4, cbs=[*ours, nan])
        assert [math.isnan(o) for o in aurocs(learn)] == [False]*good + [True]*(4-good)
        assert len(said) == 1 and '300 of 300 rows' in said[0], good

@in_two_ways
def test_equal_outputs(spelled):
    learn,ours = spelled()
    learn.model = Wrapped(learn.model, lambda self, out: out*0 + 1.)
    with our_warnings() as said: learn.fit(1, cbs=ours)
    assert aurocs(learn) == [.5] and not said

# Data that AUROC cannot score: training goes on

def any_loss(pred, *targets): return (pred[0] if isinstance(pred, tuple) else pred).square().mean()

def relabel(label):
    def f(learn):
        y = learn.y.clone().long()
        y[0] = label
        learn.yb = y,
    return f

def odd_width(self, out):
    self.calls = getattr(self, 'calls', 0) + 1
    return out if self.calls%2 else torch.cat([out, out], 1)

def widen(learn): learn.yb = torch.cat([learn.y, learn.y], 1),
def double(learn): learn.yb = learn.y,learn.y

bad = [(2, relabel(2), None, 'targets must be of two different values'), (3, relabel(3), None, 'class numbers from 0 to 2, but 5 of 300 rows'),
    (3, relabel(-1), None, 'class numbers from 0 to 2, but 5 of 300 rows'), (3, widen, None, r'outputs of shape \(64, 3\) and targets of shape \(64, 2\)'),
    (2, None, lambda self, out: out[1:], r'outputs of shape \(63, 2\) and targets of shape \(64, 1\)'), (2, None, lambda self, out: out.mean(), 'one axis'),
    (2, None, lambda self, out: (out, out), 'one tensor of outputs, got a tuple of 2'), (2, double, None, 'one tensor of targets, got a tuple of 2'),
    (2, None, odd_width, 'AUROC is NaN')]
kinds = ['third label', 'class too large', 'class negative', 'wide targets', 'fewer outputs', 'one number', 'tuple', 'two targets', 'uneven columns']

@in_two_ways
@pytest.mark.parametrize('n_out,targets,outputs,why', bad, ids=kinds)
def test_cannot_be_scored(spelled, n_out, targets, outputs, why):
    learn,ours = spelled(metrics=None, loss_func=any_loss, n_out=n_out)
    if outputs: learn.model = Wrapped(learn.model, outputs)
    if targets: ours = [*ours, Do('before_batch', lambda l: l.training or targets(l))]
    for epochs in 3,1:
        with our_warnings() as said: learn.fit(epochs, cbs=ours)
        rows = table(learn)
        assert len(rows) == epochs and all(math.isnan(row['auroc']) and math.isfinite(row['valid_loss']) for row in rows)
        assert len(said) == 1 and re.search(why, said[0])

# Worker processes

_workers = '''
import resource, sys, pandas as pd, torch
import fastai.callback.progress
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner, Metric
from sklearn.metrics import roc_auc_score
from fastai_auroc.metric import AUROC

class Naive(Metric):
    "Keeps views of the targets"
    name = 'naive'
    def reset(self): self.targets = []
    def accumulate(self, learn): self.targets.append(learn.y)
    value = property(lambda self: float(len(self.targets)))

df = pd.read_csv(sys.argv[1], index_col=0, skipinitialspace=True, nrows=1100)
x = torch.tensor(df[['age', 'education-num', 'hours-per-week']].values/100., dtype=torch.float)
y = torch.tensor(df.income.str.startswith('>').values).long()
rows = list(zip(x, y))
dls = DataLoaders(DataLoader(rows[:64], bs=64), DataLoader(rows, bs=1, num_workers=2))
_,hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
for metric in AUROC(),Naive():
    learn = Learner(dls, model, torch.nn.functional.cross_entropy, metrics=metric)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    with torch.no_grad(): outputs = torch.cat([model(o[None]) for o in x]).double()
    print(learn.recorder.values[-1][-1], roc_auc_score(y, outputs[:,1] - outputs[:,0]), flush=True)
'''

@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere tensors of workers are shared without file handles')
def test_workers_do_not_exhaust_file_handles(tmp_path):
    "1,100 batches of two worker processes with 400 file handles: enough for AUROC, too few for a metric that keeps views of them"
    data = Path(__file__).parent.parent/'fastai_auroc'/'data'/'adult.csv.gz'
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', _workers, data], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert run.stdout.count('\n') == 1, run.stderr  # The naive metric came to no value
    value,want = map(float, run.stdout.split())
    assert value == close(want)
    assert run.returncode != 0 and re.search('Too many open files|ancdata|ancillary', run.stderr)

# By hand, with nothing but outputs and targets

@pytest.fixture
def batches(adult):
    "Uneven batches of two logits, made of hours and age, and of incomes"
    df = adult.sample(500, random_state=1)
    outputs = torch.tensor(df[['hours-per-week', 'age']].values, dtype=torch.float)
    targets = torch.tensor((df.income == df.income.max()).values).long()
    return list(zip(*(x.split([1, 200, 7, 2, 290]) for x in (outputs, targets))))

def test_by_hand(batches):
    "The value can be read at any time, any number of times, and goes on with more batches"
    auroc,learn = AUROC(),SimpleNamespace()
    auroc.reset()
    assert math.isnan(auroc.value)
    for _ in range(2):
        for i,(learn.pred,learn.y) in enumerate(batches):
            auroc.accumulate(learn)
            if i: assert auroc.value == auroc.value == close(sk(batches[:i+1]))
        assert type(auroc.value) is float
        auroc.reset()
    assert math.isnan(auroc.value)

def test_by_hand_one_batch_again(batches):
    "After `reset` the very same tensors count again"
    auroc,learn = AUROC(),SimpleNamespace(pred=batches[1][0], y=batches[1][1])
    for _ in range(3):
        auroc.reset()
        auroc.accumulate(learn)
        assert auroc.value == close(sk(batches[1:2]))

def test_by_hand_in_place(batches):
    "One buffer for outputs and targets, filled anew for every batch"
    outputs,targets = map(torch.cat, zip(*batches))
    auroc,learn = AUROC(),SimpleNamespace(pred=torch.zeros(50, 2), y=torch.zeros(50, dtype=torch.long))
    for o,t in zip(outputs.split(50), targets.split(50)):
        learn.pred.copy_(o)
        learn.y.copy_(t)
        auroc.accumulate(learn)
    assert auroc.value == close(sk([(outputs, targets)]))
