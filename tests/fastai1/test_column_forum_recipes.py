"The AUROC recipe that fastai's forum hands around, and its variants: each fails as it was reported there, and ours does not"
import math, re, warnings, numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from fastai.basic_data import DatasetType
from fastai.basic_train import Learner, LearnerCallback
from fastai.callback import Callback
from fastai.callbacks import CSVLogger, EarlyStoppingCallback, ReduceLROnPlateauCallback, SaveModelCallback
from fastai.metrics import accuracy
from fastai.torch_core import add_metrics
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from fastai_auroc.fastai1 import AUROC

class Recipe(LearnerCallback):
    "The recipe at its best"
    _order = -20
    def on_train_begin(self, **kwargs): self.learn.recorder.add_metric_names(['auroc'])
    def on_epoch_begin(self, **kwargs): self.output,self.target = [],[]
    def on_batch_end(self, last_output, last_target, train, **kwargs):
        if not train:
            self.output.append(last_output)
            self.target.append(last_target)

    def scores(self, output): return F.softmax(output, dim=1)[:,1]
    def result(self): return roc_auc_score(torch.cat(self.target), self.scores(torch.cat(self.output)))
    def on_epoch_end(self, last_metrics, **kwargs): return add_metrics(last_metrics, [self.result()])

class Unordered(Recipe): _order = 0

class OldCall(Recipe):
    def on_epoch_end(self, last_metrics, **kwargs): self.learn.recorder.add_metrics([self.result()])

class Repaired(Recipe):
    "Does not crash in `get_preds`"
    def __init__(self, learn):
        super().__init__(learn)
        self.output,self.target = [],[]

class NoSoftmax(Recipe):
    def scores(self, output): return output[:,1]

def batch_auroc(output, target): return torch.tensor(roc_auc_score(target, F.softmax(output, dim=1)[:,1]))

def fit(learn, *args, **kwargs):
    "Train; returns the Learner's Recorder, which `get_preds` replaces"
    learn.fit(*args, **kwargs)
    return learn.recorder

@pytest.fixture
def scored(adult_learner, sk_auroc, column):
    "Trains for an epoch with a recipe or with ours; the number of the table, and scikit-learn's"
    def run(cb, **kwargs):
        learn = adult_learner(callback_fns=cb, **kwargs)
        got, = column(fit(learn, 1), 'auroc')
        learn.callback_fns.pop()
        return got,sk_auroc(learn)
    return run

def test_where_the_recipe_works(scored):
    "Failures below are those of the recipe, not of how it is written here"
    got,want = scored(Recipe)
    assert got == pytest.approx(want, abs=1e-4) and .5 < want < .99

def test_no_column_without_the_order(adult_learner):
    "The Recorder has written the names and the numbers by then; a file gets the number under the name of another column"
    def lines(cb):
        learn = adult_learner(callback_fns=[cb, CSVLogger])
        recorder = fit(learn, 2)
        return recorder,[line.split(',') for line in learn.csv_logger.path.read_text().splitlines()]
    recorder,(header,*rows) = lines(Unordered)
    assert 'auroc' not in recorder.names and [len(row) for row in recorder.metrics] == [1,1]
    assert header == recorder.names and [len(row) for row in rows] == [6,6] and header.index('time') == 4 and 0 < float(rows[0][4]) < 1

    recorder,(header,*rows) = lines(AUROC)
    assert recorder.names[-2:] == ['auroc', 'time'] and [len(row) for row in recorder.metrics] == [2,2]
    assert header == recorder.names and [float(row[4]) for row in rows] == pytest.approx([row[1] for row in recorder.metrics], abs=6e-7)

def test_older_call(adult_learner, column, sk_auroc):
    with pytest.raises(AttributeError, match="'Learner' object has no attribute 'add_metrics'"): adult_learner(callback_fns=OldCall).fit(1)
    learn = adult_learner(callback_fns=AUROC)
    assert column(fit(learn, 1), 'auroc') == pytest.approx([sk_auroc(learn)], abs=1e-12)

@pytest.mark.parametrize('fitted', [False, True])
def test_get_preds(fitted, adult_learner):
    "A new callback is shown batches, but no epoch"
    learn = adult_learner(callback_fns=Recipe)
    if fitted: learn.fit(1)
    with pytest.raises(AttributeError, match="'Learner' object has no attribute 'output'"): learn.get_preds()

    learn = adult_learner(callback_fns=AUROC)
    if fitted: learn.fit(1)
    bare = Learner(learn.data, learn.model, silent=True)
    for ds_type in DatasetType.Valid,DatasetType.Fix: assert all(map(torch.equal, learn.get_preds(ds_type), bare.get_preds(ds_type)))

def rows_in(o):
    "How many rows of tensors `o` keeps"
    if isinstance(o, torch.Tensor): return len(o)
    return sum(map(rows_in, o if isinstance(o, (list, tuple)) else vars(o).values() if hasattr(o, '__dict__') else ()))

class Watch(Callback):
    "What a callback keeps before the epoch is scored"
    _order = -30
    def __init__(self, f): self.f,self.seen = f,[]
    def on_epoch_end(self, **kwargs): self.seen.append(rows_in(self.f()))

@pytest.mark.parametrize('where', ['callback_fns', 'callbacks'])
def test_history_after_get_preds(where, adult_learner):
    "600 rows for training, 300 for validation, outputs and targets"
    def run(cb):
        learn = adult_learner(callback_fns=cb if where == 'callback_fns' else None)
        if where == 'callbacks': learn.callbacks.append(cb(learn))
        def made(): return learn.auroc if cb is AUROC else learn.repaired
        watch = Watch(made)
        last = fit(learn, 2, callbacks=[watch]).metrics[-1][-1]
        kept = rows_in(made())
        learn.get_preds(DatasetType.Fix)
        return made(),last,watch.seen,[kept, rows_in(made())]
    recipe,last,seen,kept = run(Repaired)
    assert seen == [600,600] and kept == ([600,1200] if where == 'callback_fns' else [600,1800]) and abs(recipe.result() - last) > 1e-4
    auroc,last,seen,kept = run(AUROC)
    assert all(o >= 600 for o in seen) and kept == [0,0] and auroc.value == last and .5 < last < .99

@pytest.fixture
def by_label(adult, adult_data):
    "Adult with 300 rows for validation, ordered so that most batches hold one class"
    df = adult.sample(900, random_state=0)
    return adult_data(valid_idx=600 + np.argsort((df.income == '>50K').values[600:], kind='stable'), bs=32)

def test_batch_of_one_class(by_label, adult_learner, column, sk_auroc):
    "One such batch is enough for NaN"
    learn = adult_learner(by_label, metrics=[accuracy, batch_auroc])
    with pytest.warns(UndefinedMetricWarning, match='Only one class'): assert all(map(math.isnan, column(fit(learn, 2), 'batch_auroc')))

    learn = adult_learner(by_label, callback_fns=AUROC)
    assert sum(len(y.unique()) == 1 for _,y in learn.data.valid_dl) >= 8
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*(AUROC|one class)')
        got = column(fit(learn, 2), 'auroc')
    assert got[-1] == pytest.approx(sk_auroc(learn), abs=1e-12) and .5 < got[-1] < .99

@pytest.fixture
def one_class(adult, adult_data):
    "Adult with people for validation who all earn much"
    return adult_data(valid_idx=np.flatnonzero(adult.sample(900, random_state=0).income == '>50K')[:100])

def said_in(f, about):
    "What `f()` warns of, as far as it holds `about`"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        f()
    return [str(o.message) for o in said if about in str(o.message)]

@pytest.mark.parametrize('given', [dict(callback_fns=AUROC), dict(metrics=[AUROC()])], ids=['callback_fns', 'metrics'])
def test_validation_set_of_one_class(given, one_class, adult_learner, column):
    "NaN for both; scikit-learn warns in every epoch, ours once in each fit and says what is missing"
    learn = adult_learner(one_class, callback_fns=Recipe)
    assert len(said_in(lambda: learn.fit(3), 'Only one class')) == 3 and all(map(math.isnan, column(learn.recorder, 'auroc')))

    learn = adult_learner(one_class, **given)
    before = [p.clone() for p in learn.model.parameters()]
    for epochs in 3,1,2:
        said = said_in(lambda: learn.fit(epochs), 'AUROC')
        assert len(said) == 1 and said[0].startswith('auroc: AUROC is NaN') and 'no negative' in said[0]
        assert len(learn.recorder.metrics) == epochs and all(map(math.isnan, column(learn.recorder, 'auroc')))
        assert all(map(math.isfinite, learn.recorder.val_losses))
    assert not any(map(torch.equal, before, learn.model.parameters()))

def test_softmax_forgotten(scored):
    "One of two logits ranks differently from their difference"
    got,want = scored(NoSoftmax)
    assert abs(got - want) > 1e-3
    got,want = scored(AUROC)
    assert got == pytest.approx(want, abs=1e-12)

@pytest.mark.parametrize('bs', [32, 64])
def test_mean_of_batches(bs, adult_data, adult_learner, column, sk_auroc):
    "Other pairs are compared in small batches, and other pairs only"
    learn = adult_learner(adult_data(bs=bs), metrics=[batch_auroc, AUROC()])
    assert all(len(y.unique()) == 2 for _,y in learn.data.valid_dl)
    recorder,want = fit(learn, 1),sk_auroc(learn)
    assert abs(column(recorder, 'batch_auroc')[0] - want) > 1e-3 and column(recorder, 'auroc') == pytest.approx([want], abs=1e-12)

class Confident(torch.nn.Module):
    "`body` with logits a hundred times as large"
    def __init__(self, body):
        super().__init__()
        self.body = body
    def forward(self, *xb): return 100*self.body(*xb)

def test_confident_outputs(adult_learner, column, sk_auroc):
    "float32 softmax makes ties of 0 and 1"
    learn = adult_learner(callback_fns=[Recipe, partial(AUROC, name='exact')])
    learn.model = Confident(learn.model)
    recorder = fit(learn, 2, 1e-3)
    learn.callback_fns.pop(1)
    p,_ = learn.get_preds()
    assert ((p == 0) | (p == 1)).float().mean() > .1
    want = sk_auroc(learn)
    assert abs(column(recorder, 'auroc')[-1] - want) > 1e-3 and column(recorder, 'exact')[-1] == pytest.approx(want, abs=1e-12)

# NaN, and callbacks that follow the column

class Spoil(Callback):
    "Multiplies outputs in validation, in each epoch by another number: -1 turns the ranking around, NaN leaves none"
    _order = -100
    def __init__(self, factors): self.factors = factors
    def on_loss_begin(self, last_output, epoch, train, **kwargs): return None if train else {'last_output': last_output*self.factors[epoch]}

class Weights(LearnerCallback):
    "Keeps the model's weights at the end of each epoch"
    _order = 10
    def __init__(self, learn):
        super().__init__(learn)
        self.epochs = []
    def on_epoch_end(self, **kwargs): self.epochs.append(weights(self.learn))

def weights(learn): return torch.cat([o.flatten().double() for o in learn.model.state_dict().values()])

nan = math.nan

@pytest.fixture(params=['callback_fns', 'metrics'])
def tracked(request, adult_learner):
    "Makes a Learner with our column, and a function that fits it while its outputs are spoilt by `factors`"
    def make():
        learn = adult_learner(**(dict(callback_fns=AUROC) if request.param == 'callback_fns' else dict(metrics=[accuracy, AUROC()])))
        def run(factors, *callbacks):
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', message='auroc: AUROC is NaN')
                return fit(learn, len(factors), .1, callbacks=[*callbacks, Spoil(factors)])
        return learn,run
    return make

def test_nan_in_the_table(tracked, column):
    "'nan' for what is not defined, '#na#' for what was not computed"
    learn,run = tracked()
    class Skip(Callback):
        def on_epoch_begin(self, epoch, **kwargs): return {'skip_validate': epoch == 1}
    recorder = run((nan,1,1), CSVLogger(learn), Skip())
    assert [math.isnan(o) for o in column(recorder, 'auroc')] == [True,False]
    rows = [line.split(',') for line in learn.csv_logger.path.read_text().splitlines()[1:]]
    assert rows[0][4] == 'nan' and rows[1][2] == '#na#' and float(rows[2][4]) == pytest.approx(column(recorder, 'auroc')[1], abs=6e-7)

@pytest.mark.parametrize('factors,saved', [((-1,1,nan,-1), [0,1]), ((nan,-1,nan,1,-1), [1,3]), ((1,-1,nan), [0])], ids=str)
def test_save_model(factors, saved, tracked, column, capsys):
    "The best epoch's weights are saved and loaded at the end; NaN is never better"
    learn,run = tracked()
    kept = Weights(learn)
    recorder = run(factors, SaveModelCallback(learn, monitor='auroc'), kept)
    values,found = column(recorder, 'auroc'),re.findall(r'Better model found at epoch (\d+) with auroc value: (\S+)\.\n', capsys.readouterr().out)
    assert [(int(i), float(o)) for i,o in found] == [(i, values[i]) for i in saved]
    assert saved[-1] == np.nanargmax(values) and weights(learn).equal(kept.epochs[saved[-1]]) and not weights(learn).equal(kept.epochs[-1])

def test_save_model_where_all_is_nan(tracked):
    "It loads nothing; after an earlier fit has left a file it loads that"
    learn,run = tracked()
    kept,file = Weights(learn),learn.path/learn.model_dir/'bestmodel.pth'
    run((nan,nan), SaveModelCallback(learn, monitor='auroc'), kept)
    assert not file.exists() and weights(learn).equal(kept.epochs[-1])

    run((1,-1), SaveModelCallback(learn, monitor='auroc'))
    best,written = weights(learn),file.read_bytes()
    run((nan,nan), SaveModelCallback(learn, monitor='auroc'), kept)
    assert file.read_bytes() == written and weights(learn).equal(best) and not best.equal(kept.epochs[-1])

@pytest.mark.parametrize('factors,epochs', [((1,-1,-1,1), 3), ((-1,1,-1,-1,1), 4), ((nan,nan,nan), 2), ((1,nan,-1,1), 3), ((nan,1,nan,nan,1), 4),
    ((nan,-1,nan,1), 4)], ids=str)
def test_early_stopping(factors, epochs, tracked, column):
    "Two epochs without improvement are the end; an epoch of NaN is one"
    learn,run = tracked()
    values = column(run(factors, EarlyStoppingCallback(learn, monitor='auroc', patience=1)), 'auroc')
    assert [nan if math.isnan(o) else np.sign(o-.5) for o in values] == pytest.approx(factors[:epochs], nan_ok=True)

@pytest.mark.parametrize('factors,times', [((1,-1,-1), 2), ((-1,1,-1), 1), ((nan,nan,1), 2), ((1,nan), 1), ((nan,-1,1), 1)], ids=str)
def test_reduce_lr(factors, times, tracked, column):
    "Each epoch without improvement divides the rate by five; an epoch of NaN is one"
    learn,run = tracked()
    values = column(run(factors, ReduceLROnPlateauCallback(learn, monitor='auroc', patience=0)), 'auroc')
    assert len(values) == len(factors) and learn.opt.lr == pytest.approx(.1/5**times)
