"AUROC where things go wrong: killed and interrupted trainings, no room on the device, thousands of epochs."
import functools, gc, signal, subprocess, sys, tracemalloc, warnings, pandas as pd, pytest, torch
from functools import partial
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from sklearn.metrics import roc_auc_score
from fastai_auroc import accumulators, epoch, scorers
from fastai_auroc.all import AUROC
from test_column_thresholds import leading

close = partial(pytest.approx, rel=0, abs=1e-12)
both = pytest.mark.parametrize('thresholds', [None, 'logit'], ids=['exact', 'thresholds'])

class Seen(Callback):
    "scikit-learn's number on what the model said in each validation, by buckets where there are thresholds"
    order = -100
    def __init__(self, thresholds=None): self.thresholds,self.values = thresholds,[]
    def before_validate(self): self.rows = []
    def after_pred(self):
        if not self.training: self.rows.append((self.pred.detach().clone(), self.learn.y.clone().flatten()))
    def after_validate(self): self.values.append(sk(*map(torch.cat, zip(*self.rows)), self.thresholds))

def sk(outputs, targets, thresholds=None):
    margin = outputs[:,1].double() - outputs[:,0].double()
    return roc_auc_score(targets, leading(margin) if thresholds else margin)

def quiet(learn, n=1, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, **kwargs)

def trained(learn, n=1, **kwargs):
    "Train, and give the warnings that speak of AUROC"
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        quiet(learn, n, **kwargs)
    return [str(w.message) for w in record if 'auroc' in str(w.message).lower()]

# Killed and interrupted

killed = """
import os, signal, sys, torch
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import SaveModelCallback
from fastai_auroc.all import AUROC

class Kill(Callback):
    def after_pred(self):
        if not self.training and self.epoch == 2 and self.iter == 2: os.kill(os.getpid(), signal.SIGKILL)

learn = torch.load(sys.argv[1], weights_only=False)
learn.fit(4, 1e-2, cbs=[SaveModelCallback('auroc', fname='best', with_opt=True), CSVLogger('killed.csv'), Kill()])
"""

@both
def test_killed_and_resumed(thresholds, adult_learner, adult_dls, column, tmp_path):
    "The best epoch before the kill is where a new process goes on, and its column is right"
    learn = adult_learner(adult_dls(620), None, cbs=AUROC(thresholds=thresholds))
    torch.save(learn, tmp_path/'learner.pkl')
    end = subprocess.run([sys.executable, '-W', 'ignore', '-c', killed, str(tmp_path/'learner.pkl')], cwd=tmp_path,
        capture_output=True, text=True, timeout=120)
    assert end.returncode == -signal.SIGKILL, end.stderr
    history = pd.read_csv(tmp_path/'killed.csv')
    assert history.columns[-2] == 'auroc' and history.epoch.tolist() == [0, 1] and history.auroc.between(.5, 1).all()

    learn.load('best')
    with learn.no_bar(), learn.no_logging(): assert learn.validate()[1] == pytest.approx(history.auroc.max(), abs=1e-5)
    said = trained(learn, 2, lr=1e-2, cbs=[seen := Seen(thresholds), SaveModelCallback('auroc', fname='best', with_opt=True)])
    assert column(learn, 'auroc') == close(seen.values) and len(seen.values) == 2 and not said
    assert [row[0] == row[0] for row in learn.recorder.values] == [True]*2 and len(set(seen.values)) == 2
    assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'auroc', 'time']
    with learn.no_bar(), learn.no_logging(): assert learn.validate()[1] == close(max(seen.values))

class Stop(Callback):
    "Interrupts the third batch of a validation"
    order = 90
    def after_loss(self):
        if not self.training and self.iter == 2: raise KeyboardInterrupt

@both
@pytest.mark.parametrize('spelling', ['metrics', 'cbs', 'fit'])
def test_interrupted_validation(thresholds, spelling, adult_learner, column):
    "The batches before the interrupt are in no later number, and the column stands there once"
    auroc = AUROC(thresholds=thresholds)
    learn = adult_learner(metrics=auroc if spelling == 'metrics' else None, **(dict(cbs=auroc) if spelling == 'cbs' else {}))
    ours = [auroc] if spelling == 'fit' else []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): quiet(learn, 2, cbs=[*ours, Stop()])
        assert not trained(learn, 2, cbs=[*ours, seen := Seen(thresholds)])
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'auroc', 'time']
        assert column(learn, 'auroc') == close(seen.values) and len(seen.values) == 2

# No room on the device

def full(): return torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB')

@pytest.fixture
def no_room(monkeypatch):
    """Blocks and joined rows find no room unless the CPU's memory is asked for, from the `after`-th request of an epoch on

    `where` names the functions that find none; `rows` is the most rows of a block."""
    def arrange(where, after=0, rows=None):
        real,asked = torch.Tensor.new_empty,[]
        def new_empty(x, *args, **kwargs):
            caller = sys._getframe(2)  # of the method that asks for room
            if caller.f_globals['__name__'] == 'fastai_auroc.accumulators' and caller.f_code.co_name in where and str(kwargs.get('device')) != 'cpu':
                asked.append(x.device)
                if len(asked) > after: raise full()
            return real(x, *args, **kwargs)
        monkeypatch.setattr(torch.Tensor, 'new_empty', new_empty)
        if rows: monkeypatch.setattr(accumulators.RowBlocks, 'most_bytes', 8*rows)
        return asked
    return arrange

def is_told(said):
    "One warning, which says what has happened and what to do"
    assert len(said) == 1 and all(o in said[0] for o in ('no room', "CPU's memory", "AUROC(thresholds='logit')"))

@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize('where,after,rows', [(['_open'], 0, None), (['_open'], 1, None), (['_open'], 0, 100), (['_open'], 2, 100), (['_open'], 3, 64),
    (['_open'], 5, 70), (['join'], 0, None), (['join'], 1, None), (['join'], 0, 100), (['join'], 1, 100),
    (['_open', 'join'], 0, 100), (['_open', 'join'], 3, 100)], ids=str)
def test_no_room_for_rows(where, after, rows, n, no_room, adult_learner, adult_dls, column):
    "The first block, a later one, the rows of scores or those of targets: the number stands"
    asked = no_room(where, after, rows)
    learn = adult_learner(adult_dls(620), None, cbs=AUROC)
    is_told(trained(learn, n, cbs=(seen := Seen())))
    assert len(asked) > after and len(seen.values) == n and column(learn, 'auroc') == close(seen.values)

def test_no_room_for_a_short_while(no_room, adult_learner, column, monkeypatch):
    "A fit later there is room again, and then none, which is said again"
    learn = adult_learner(metrics=None, cbs=AUROC)
    for _ in range(2):
        no_room(['_open'])
        is_told(trained(learn, 1, cbs=(seen := Seen())))
        assert column(learn, 'auroc') == close(seen.values)
        monkeypatch.undo()
        assert not trained(learn, 2, cbs=(seen := Seen())) and column(learn, 'auroc') == close(seen.values)

@pytest.mark.parametrize('times', [1, 3])
def test_no_room_to_score(times, adult_learner, column, monkeypatch):
    "In the scoring itself, in one or in each of three epochs"
    real,calls = scorers.auroc_and_note,[]
    def auroc_and_note(scores, *args, **kwargs):
        calls.append(scores)
        if len(calls) % 2 and len(calls) < 2*times: raise full()
        return real(scores, *args, **kwargs)
    monkeypatch.setattr(scorers, 'auroc_and_note', auroc_and_note)
    learn = adult_learner(metrics=None, cbs=AUROC)
    is_told(trained(learn, 3, cbs=(seen := Seen())))
    assert column(learn, 'auroc') == close(seen.values) and len(calls) == 3 + times

@both
def test_no_room_elsewhere(thresholds, adult_learner, column, monkeypatch):
    "NaN and a sentence for the epoch in which a batch could not be taken at all; the next one is right"
    where,name,which = (accumulators, 'counted_scores', 1) if thresholds else (epoch, 'class_rows', 2)
    real,calls = getattr(where, name),[]
    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == which: raise full()
        return real(*args, **kwargs)
    monkeypatch.setattr(where, name, fails)
    learn = adult_learner(metrics=None, cbs=AUROC(thresholds=thresholds))
    said = trained(learn, 3, cbs=(seen := Seen(thresholds)))
    assert len(said) == 1 and 'AUROC is NaN' in said[0] and 'out of memory' in said[0]
    first,*later = column(learn, 'auroc')
    assert first != first and later == close(seen.values[1:]) and len(later) == 2

@pytest.mark.parametrize('call', [1, 2, 3])
def test_no_room_to_turn_rows(call, adult_learner, column, monkeypatch):
    "Where logits become ranking scores after the last batch: a number in the CPU's memory, or NaN and a sentence, and nothing wrong"
    real,calls = accumulators.ranking_scores,[]
    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == call: raise full()
        return real(*args, **kwargs)
    monkeypatch.setattr(accumulators, 'ranking_scores', fails)
    learn = adult_learner(metrics=None, cbs=AUROC)
    said = trained(learn, 3, cbs=(seen := Seen()))
    values = column(learn, 'auroc')
    assert len(said) == 1 and ('no room' in said[0] or 'out of memory' in said[0])
    assert sum(v != v for v in values) <= 1 and [v for v in values if v == v] == close([w for v,w in zip(values, seen.values) if v == v])

# Thousands of epochs

class Tiny(torch.nn.Linear):
    "A model of one layer"
    def __init__(self): super().__init__(4, 2)

def tiny_learner(adult, **kwargs):
    "48 rows of Adult, half of them for validation"
    df = adult.groupby('income').sample(24, random_state=0).sample(48, random_state=0)
    x = torch.tensor(df[['age', 'education-num', 'hours-per-week', 'capital-gain']].to_numpy('float32'))
    rows = list(zip((x - x.mean(0))/(x.std(0) + 1), torch.tensor((df.income == '>50K').to_numpy()).long()))
    dls = DataLoaders(DataLoader(rows[:24], bs=24), DataLoader(rows[24:], bs=12))
    return Learner(dls, Tiny(), loss_func=CrossEntropyLossFlat(), metrics=None, **kwargs)

def count_tensors():
    gc.collect()
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

def on_device(): return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0

def growth(learn, epochs, each=5):
    "Bytes, tensors and bytes of the device that `epochs` epochs of fits, each followed by a `validate`, leave behind"
    def run(n):
        for _ in range(n//each):
            learn.fit(each, 1e-3)
            learn.validate()
        return count_tensors(),on_device()
    with learn.no_bar(), learn.no_logging():
        run(2*each)
        tracemalloc.start()
        try:
            tensors,device = run(2*each)
            before,_ = tracemalloc.get_traced_memory()
            later = run(epochs)
            return tracemalloc.get_traced_memory()[0] - before,later[0] - tensors,later[1] - device
        finally: tracemalloc.stop()

@pytest.fixture(scope='module')
def of_fastai(adult):
    "Bytes that fastai itself leaves behind, measured once for each number of epochs"
    return functools.cache(lambda epochs: growth(tiny_learner(adult), epochs)[0])

@both
@pytest.mark.parametrize('epochs', [75, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_leaks(thresholds, epochs, adult, of_fastai):
    "No tensor more, and a few tens of kilobytes more at most than without AUROC"
    grown,tensors,device = growth(tiny_learner(adult, cbs=AUROC(thresholds=thresholds)), epochs)
    assert grown - of_fastai(epochs) < (30_000 if epochs < 100 else 40_000) and tensors == 0 and device == 0

def test_a_leak_would_be_seen(adult):
    "The same measurement of a callback that keeps a few bytes and a tensor of each validation"
    class Leak(Callback):
        kept = []
        def after_validate(self): self.kept.append((torch.zeros(3), bytes(1500)))
    grown,tensors,_ = growth(tiny_learner(adult, cbs=[AUROC(), Leak()]), 30)
    assert tensors == 36 and grown > 36*1500

def test_one_long_fit(adult):
    "The Recorder keeps losses and a row for each epoch: with AUROC one number longer"
    sizes,tensors,n = [],[],60
    for cbs in None,AUROC(),AUROC(thresholds='logit'):
        learn = tiny_learner(adult, cbs=cbs)
        quiet(learn, 3)
        before = count_tensors()
        tracemalloc.start()
        try:
            quiet(learn, n)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        finally: tracemalloc.stop()
        tensors.append(count_tensors() - before)
    assert len(set(tensors)) == 1 and max(sizes) - sizes[0] < n*100 + 20_000
