"Several columns in one fit: the same twice is one, the same name alone is told; partials and odd outputs among them."
import copy, math, pickle, re, warnings, numpy as np, pytest, torch
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from functools import partial
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.callback.tracker import EarlyStoppingCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.tabular.all import Adam, accuracy, tabular_learner, trainable_params
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from fastai_auroc.all import AUROC, disable_callback_fns, enable_callback_fns

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)

@pytest.fixture(autouse=True)
def _callback_fns():
    enable_callback_fns()
    yield
    enable_callback_fns()

def fit(learn, n=1, **kwargs):
    "Train quietly; gives the warnings of ours"
    with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
        warnings.simplefilter('always')
        learn.fit(n, **kwargs)
    return [o for o in said if o.filename == 'fastai_auroc']

def cbs_of(learn):
    "Its callbacks but the progress bar, which no_bar takes out and puts back"
    return [o for o in learn.cbs if not isinstance(o, ProgressCallback)]

def names(learn): return list(learn.recorder.metric_names)[3:-1]

# The same twice

steps = [0., .125, .5, 1.]
twice = {'two classes': (dict(cbs=[AUROC, AUROC]), None), 'three': (dict(cbs=[AUROC, AUROC(), AUROC]), None),
    'callback_fns and fit': (dict(callback_fns=AUROC), AUROC), 'cbs and fit': (dict(cbs=AUROC()), lambda: AUROC()),
    'callback_fns and cbs': (dict(callback_fns=AUROC, cbs=AUROC), None), 'two in fit': ({}, lambda: [AUROC(), AUROC]),
    'metrics and cbs': (dict(metrics=[AUROC()], cbs=AUROC), None), 'metrics and fit': (dict(metrics=AUROC()), AUROC),
    'options': (dict(cbs=AUROC(average='weighted', max_fpr=.5)), lambda: AUROC(max_fpr=.5, average='weighted')),
    'thresholds': (dict(cbs=AUROC(thresholds=steps)), lambda: AUROC(thresholds=torch.tensor(steps).double()))}

@pytest.mark.parametrize('how', twice)
def test_the_same_twice_is_one_column(how, adult_learner, sk_auroc):
    "All read the one value, trackers too, and after the fit the Learner is as before"
    kwargs,late = twice[how]
    learn = adult_learner(**{'metrics': None, **kwargs})
    given,cbs,own = list(learn.metrics),cbs_of(learn),vars(learn).get('auroc')
    for epochs in 1,2:
        more = [] if late is None else late() if isinstance(late(), list) else [late()]
        said = fit(learn, epochs, cbs=[*more, EarlyStoppingCallback('auroc', patience=9)])
        values = [row[2] for row in learn.recorder.values]
        assert names(learn) == ['auroc'] and not said and len(values) == epochs
        assert 'options' in how or 'thresholds' in how or values[-1] == close(sk_auroc(learn))
        ours = [o for o in [*cbs, *more, *given] if isinstance(o, AUROC)]
        assert [o.value for o in ours] == [values[-1]]*len(ours)
        assert list(learn.metrics) == given and cbs_of(learn) == cbs and vars(learn).get('auroc') is own
    assert own is None or own.value == values[-1]

def test_one_instance_twice(adult_learner, sk_auroc):
    "A Learner's own callback may be given to its fit as well; it stays the Learner's"
    ours = AUROC()
    learn = adult_learner(metrics=None, cbs=ours)
    cbs = cbs_of(learn)
    for late in [ours],None,[ours, ours],None:
        assert not fit(learn, cbs=late) and names(learn) == ['auroc']
        value = learn.recorder.values[-1][2]
        assert cbs_of(learn) == cbs and ours.value == value == close(sk_auroc(learn))
        assert learn.auroc is ours and ours.learn is learn and not learn.metrics
    learn.remove_cb(ours)
    assert ours.learn is None and not any('auroc' in o for o in vars(learn))

def test_values_in_the_middle(adult_learner):
    "While they last, both are the same number, whichever one asks, and the attribute is the Learner's own"
    learn,late,read = adult_learner(metrics=None, cbs=AUROC),AUROC(),[]
    class Read(Callback):
        order = 60
        def after_batch(self):
            if not self.training: read.append((self.learn.auroc.value, late.value))
        def after_epoch(self): read.append((self.learn.auroc.value, late.value))
    own = learn.auroc
    fit(learn, 2, cbs=[late, Read()])
    assert len(read) == 2*6 and all(a == b or a != a and b != b for a,b in read) and len({a for a,b in read}) > 6
    assert learn.auroc is own and late.learn is None

@pytest.mark.parametrize('order', [0, 1])
def test_interval_twice(order, adult_learner):
    "Half the width comes once, too; a column without an interval is another one"
    learn = adult_learner(metrics=None, cbs=AUROC(ci=True))
    assert not fit(learn, cbs=AUROC(ci=True)) and names(learn) == ['auroc', 'auroc_ci']
    said = fit(learn, cbs=[AUROC(), AUROC(ci=True)][::-1 if order else 1])
    assert sorted(names(learn)) == ['auroc', 'auroc', 'auroc_ci']
    assert len(said) == 1 and "called 'auroc'" in str(said[0].message)

def test_the_first_is_taken_away(adult_learner, sk_auroc):
    "Then the second is the column, under the name, and the first again once it is back"
    learn = adult_learner(metrics=None, cbs=[AUROC, AUROC])
    first,second = (o for o in learn.cbs if isinstance(o, AUROC))
    fit(learn)
    assert learn.auroc is first
    with learn.removed_cbs(first):
        fit(learn)
        assert names(learn) == ['auroc'] and learn.auroc is second and second.value == close(sk_auroc(learn))
    assert not fit(learn) and names(learn) == ['auroc']
    learn.remove_cb(AUROC)
    assert not any('auroc' in o for o in vars(learn)) and not learn.metrics
    fit(learn)
    assert names(learn) == []

def test_interrupted_then_once(adult_learner, sk_auroc):
    class Stop(Callback):
        def after_loss(self):
            if not self.training: raise KeyboardInterrupt
    learn = adult_learner(metrics=None, cbs=AUROC)
    own = learn.auroc
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt): fit(learn, cbs=[AUROC(), Stop()])
        assert learn.auroc is own and len(learn.cbs.filter(lambda o: isinstance(o, AUROC))) == 1
    assert not fit(learn, cbs=AUROC()) and names(learn) == ['auroc'] and learn.auroc.value == close(sk_auroc(learn))

@pytest.mark.parametrize('clone', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['deepcopy', 'pickle'])
def test_copies_have_columns_of_their_own(clone, adult_learner, sk_auroc):
    "A copy of a Learner with two shares nothing with it"
    half = dict(max_fpr=.5, name='half')
    learn = adult_learner(metrics=[accuracy, AUROC(**half)], cbs=[AUROC, AUROC, AUROC(**half)])
    fit(learn)
    before = [o.value for o in learn.cbs if isinstance(o, AUROC)]
    other = clone(learn)
    ours,theirs = ([o for o in [*l.cbs, *l.metrics] if isinstance(o, AUROC)] for l in (learn, other))
    assert len(ours) == len(theirs) == 4 and not {id(o) for o in ours} & {id(o) for o in theirs}
    assert not fit(other, 2, lr=.1)
    assert names(other) == ['accuracy', 'half', 'auroc']
    assert other.auroc.value == other.recorder.values[-1][-1] == close(sk_auroc(other))
    assert [o.value for o in learn.cbs if isinstance(o, AUROC)] == before and other.auroc.value != before[0]
    assert {id(o.learn) for o in theirs if o.learn is not None} == {id(other)}

def test_validate_and_predict_with_two(adult_learner, sk_auroc):
    learn = adult_learner(metrics=AUROC(), cbs=AUROC)
    with learn.no_bar(), learn.no_logging():
        record = learn.validate(cbs=AUROC())
        assert len(record) == 2 and record[1] == close(sk_auroc(learn)) == learn.auroc.value
        learn.get_preds()
    assert not fit(learn) and names(learn) == ['auroc'] and learn.auroc.value == close(sk_auroc(learn))

# The same name

def rename(name):
    def metric(outputs, targets): return outputs.sum()*0 + 1.
    metric.__name__ = name
    return metric

namesakes = [('accuracy', dict(metrics=accuracy)), ('valid_loss', {}), ('train_loss', {}), ('time', {}), ('epoch', {}),
    ('mine', dict(metrics=rename('mine'))), ('half_ci', dict(cbs=AUROC(ci=True, name='half')))]

@pytest.mark.parametrize('how', ['metrics', 'cbs', 'fit'])
@pytest.mark.parametrize('name,kwargs', namesakes, ids=[o[0] for o in namesakes])
def test_a_name_that_another_column_has(name, kwargs, how, adult_learner):
    "One warning a fit, as of two that are called alike, and the training goes on"
    ours = AUROC(name=name)
    kwargs = {k:[*(v if isinstance(v, list) else [v])] for k,v in kwargs.items()}
    if how != 'fit': kwargs[how] = [*kwargs.get(how, []), ours]
    learn = adult_learner(**{'metrics': None, **kwargs})
    for _ in range(2):
        said = fit(learn, 2, cbs=ours if how == 'fit' else None)
        assert len(said) == 1 and str(said[0].message).startswith(f'two columns are called {name!r}, ')
        assert list(learn.recorder.metric_names).count(name) == 2 and len(learn.recorder.values) == 2

def test_a_name_of_training_metrics(adult_learner):
    "With train_metrics the names that may clash are others"
    learn = adult_learner(metrics=AUROC(name='loss'))
    assert not fit(learn)
    learn.recorder.train_metrics = True
    assert len(fit(learn)) == 2 and list(learn.recorder.metric_names).count('train_loss') == 2

def test_other_options_under_one_name(adult_learner):
    learn = adult_learner(metrics=AUROC(max_fpr=.5), cbs=AUROC)
    said = fit(learn)
    assert names(learn) == ['auroc', 'auroc'] and len(said) == 1 and said[0].category is UserWarning

# Partials

@pytest.mark.parametrize('given', [partial(AUROC, name='x'), [accuracy, partial(AUROC, name='x')],
    partial(AUROC, average='weighted', name='x')], ids=['alone', 'among', 'with options'])
def test_partial_as_metric(given, adult_dls, sk_auroc):
    learn = tabular_learner(adult_dls(), layers=[20], metrics=given)
    for _ in range(2):
        fit(learn)
        assert names(learn)[-1] == 'x' and learn.recorder.values[-1][-1] == close(sk_auroc(learn))

def test_partial_as_positional_argument(adult_dls, sk_auroc):
    dls = adult_dls()
    body = tabular_learner(dls, layers=[20]).model
    learn = Learner(dls, body, CrossEntropyLossFlat(), Adam, 1e-3, trainable_params, partial(AUROC, name='a'),
        [accuracy, partial(AUROC, name='b')])
    fit(learn)
    assert names(learn) == ['accuracy', 'b', 'a']
    assert learn.a.value == learn.recorder.values[-1][-1] == close(sk_auroc(learn))

@pytest.mark.parametrize('given', [partial(AUROC), [partial(AUROC, name='area')]], ids=str)
def test_partial_as_callback(given, adult_dls, sk_auroc):
    learn = tabular_learner(adult_dls(), layers=[20], cbs=given)
    fit(learn)
    assert names(learn) == [o.name for o in learn.cbs if isinstance(o, AUROC)]
    assert learn.recorder.values[-1][-1] == close(sk_auroc(learn))

def test_partials_of_others_stay(adult_dls):
    "What is no column is fastai's, and metrics that nobody gave stay none"
    top = partial(accuracy, axis=-1)
    learn = tabular_learner(adult_dls(), layers=[20], metrics=[top])
    assert learn.metrics[0].func is top and not fit(learn) and names(learn) == ['accuracy']
    assert list(tabular_learner(adult_dls(), layers=[20]).metrics) == []

def with_setter(dls, metrics):
    learn = tabular_learner(dls, layers=[20])
    learn.metrics = metrics
    return learn

def disabled(dls, metrics):
    disable_callback_fns()
    return tabular_learner(dls, layers=[20], metrics=metrics)

@pytest.mark.parametrize('make', [with_setter, disabled])
@pytest.mark.parametrize('given,says', [(partial(AUROC, name='x'), "metrics=AUROC(name='x')"),
    (partial(AUROC), 'metrics=AUROC()'),
    (partial(AUROC, average='weighted', max_fpr=.1), "metrics=AUROC(average='weighted', max_fpr=0.1)"),
    (partial(AUROC, 'weighted'), "metrics=AUROC('weighted')")],
    ids=str)
def test_partial_where_fastai_calls_it(given, says, make, adult_dls):
    "Behind fastai's own words, what to write"
    with pytest.raises(TypeError, match=re.escape(says)): fit(make(adult_dls(), given))

def test_called_with_a_batch():
    for args in (torch.zeros(4, 2), torch.zeros(4)),(dict(logits=torch.zeros(4, 2)),
        torch.zeros(4)),((torch.zeros(4, 2),), torch.zeros(4)):
        with pytest.raises(TypeError, match=re.escape('write metrics=AUROC()')): AUROC(*args)
    with pytest.raises(TypeError, match=re.escape("write metrics=AUROC(average='weighted')")):
        AUROC(torch.zeros(4, 2), torch.zeros(4), average='weighted')
    assert len(AUROC('macro', 'ovr', None, 'auto', None, None, torch.tensor([0, .5, 1.])).thresholds) == 3

# Outputs that hold the logits

@dataclass
class ModelOutput(OrderedDict):
    "transformers' SequenceClassifierOutput: attributes, keys and numbers give the same, and what is None is no key"
    loss: torch.Tensor = None
    logits: torch.Tensor = None
    hidden_states: tuple = None
    def __post_init__(self):
        for name in 'loss','logits','hidden_states':
            if (o := getattr(self, name)) is not None: OrderedDict.__setitem__(self, name, o)
    def __getitem__(self, k): return dict(self.items())[k] if isinstance(k, str) else tuple(self.values())[k]

Pair = namedtuple('Pair', 'logits aux')
class Plain:
    "An object with logits"
    def __init__(self, logits): self.logits = logits

shapes = dict(output=lambda z: ModelOutput(logits=z), with_loss=lambda z: ModelOutput(z.sum(), z, (z, z)), plain=Plain,
    mapping=lambda z: dict(logits=z), mapping_with_loss=lambda z: dict(loss=z.sum(), logits=z),
    one=lambda z: dict(out=z), namedtuple=lambda z: Pair(z, z*0), listed=lambda z: [ModelOutput(logits=z)])

def logits_of(o):
    o = o[0] if isinstance(o, list) else o
    return o['out'] if isinstance(o, dict) and 'out' in o else o['logits'] if isinstance(o, dict) else o.logits

class Wrap(nn.Linear):
    "A linear model whose logits come in `shape`"
    def __init__(self, shape):
        super().__init__(3, 2)
        self.shape = shape
    def forward(self, x): return self.shape(super().forward(x))

def small_learner(data, shape, loss_func, **kwargs):
    rows = list(zip(*data))
    dls = DataLoaders(DataLoader(rows[:100], bs=32, shuffle=True), DataLoader(rows[100:], bs=32))
    return Learner(dls, Wrap(shape), loss_func=loss_func, **kwargs)

def raw(learn, data):
    with torch.no_grad(): z = nn.functional.linear(data[0][100:], learn.model.weight, learn.model.bias).double()
    return z[:,1] - z[:,0]

@pytest.mark.parametrize('how', ['metrics', 'cbs'])
@pytest.mark.parametrize('shape', shapes)
def test_outputs_that_hold_logits(shape, how, adult_small):
    learn = small_learner(adult_small, shapes[shape], lambda o, y: F.cross_entropy(logits_of(o), y), **{how:AUROC()})
    for _ in range(2):
        assert not fit(learn)
        assert learn.recorder.values[-1][-1] == close(roc_auc_score(adult_small[1][100:], raw(learn, adult_small)))

@pytest.mark.parametrize('shape', ['output', 'mapping', 'plain'])
def test_cancelled_batch_of_such_outputs(shape, adult_small):
    "A batch that was cancelled shows the outputs before it, which do not count twice"
    from fastai.callback.core import CancelBatchException
    class Skip(Callback):
        def before_batch(self):
            if not self.training and self.iter in (0, 2): raise CancelBatchException()
    learn = small_learner(adult_small, shapes[shape], lambda o, y: F.cross_entropy(logits_of(o), y), cbs=AUROC)
    fit(learn, 2, cbs=Skip())
    kept = np.r_[32:64, 96:200]
    want = roc_auc_score(adult_small[1][100:][kept], raw(learn, adult_small)[kept])
    assert learn.recorder.values[-1][-1] == close(want)

several = dict(tuple=(lambda z: (z.sum(), z), 'a tuple of 2', 'AUROC(select=0)'), list=(lambda z: [z, z, z], 'a list of 3', 'AUROC(select=0)'),
    mapping=(lambda z: dict(out=z, aux=z), 'a dict of 2 (out, aux)', "AUROC(select='out')"))

@pytest.mark.parametrize('how', ['metrics', 'cbs'])
@pytest.mark.parametrize('kind', several)
def test_several_outputs(kind, how, adult_small):
    "NaN and one warning, which says how to choose; done so the column is right"
    shape,what,how_to = several[kind]
    def loss_func(o, y): return F.cross_entropy(list(o.values() if isinstance(o, dict) else o)[-1], y)
    learn = small_learner(adult_small, shape, loss_func, **{how:AUROC()})
    said, = fit(learn, 2)
    assert all(math.isnan(row[-1]) for row in learn.recorder.values) and said.category is UndefinedMetricWarning
    assert f'one tensor of outputs, got {what}' in str(said.message) and how_to in str(said.message)
    class Choose(Callback):
        def after_loss(self): self.learn.pred = self.pred['out'] if isinstance(self.pred, dict) else self.pred[-1]
    assert not fit(learn, cbs=Choose())
    assert learn.recorder.values[-1][-1] == close(roc_auc_score(adult_small[1][100:], raw(learn, adult_small)))

def test_several_targets(adult_small):
    x,y = adult_small
    learn = small_learner((x, y, y), lambda z: z, lambda o, a, b: F.cross_entropy(o, a), metrics=AUROC())
    learn.dls.n_inp = 1
    said, = fit(learn)
    assert 'one tensor of targets, got a tuple of 2' in str(said.message)
    assert 'AUROC(select=0) chooses one' in str(said.message)
    class Choose(Callback):
        def after_loss(self): self.learn.yb = (self.y[0],)
    assert not fit(learn, cbs=Choose())
    assert learn.recorder.values[-1][-1] == close(roc_auc_score(y[100:], raw(learn, adult_small)))

# Labels that the loss leaves out

void_losses = dict(module=nn.CrossEntropyLoss(ignore_index=7), flat=CrossEntropyLossFlat(ignore_index=7),
    partial=partial(F.cross_entropy, ignore_index=7), function=F.cross_entropy)

@pytest.mark.parametrize('loss', void_losses)
@pytest.mark.parametrize('kept', ['both', 'one'])
def test_labels_that_the_loss_leaves_out(loss, kept, adult_small):
    "They make the column NaN, or a number of other pairs: the warning names ignore_index, with which it is right"
    x,y = adult_small
    label = -100 if loss == 'function' else 7
    y = y.where(torch.arange(300)%3 > 0, label) if kept == 'both' else torch.where(y == 1, 1, label)
    y[:100] = adult_small[1][:100]
    learn = small_learner((x, y), lambda z: z, void_losses[loss], metrics=AUROC())
    said, = fit(learn, 2)
    assert f'AUROC(ignore_index={label})' in str(said.message)
    assert math.isnan(learn.recorder.values[-1][-1]) == (kept == 'both')
    assert said.category is (UndefinedMetricWarning if kept == 'both' else UserWarning)
    learn.metrics = AUROC(ignore_index=label)
    said = fit(learn)
    z,t = raw(learn, adult_small),y[100:]
    if kept == 'one': assert 'no negative' in str(said[0].message)
    else: assert learn.recorder.values[-1][-1] == close(roc_auc_score(t[t != label], z[t != label])) and not said

def test_no_such_label_no_word(adult_small):
    learn = small_learner(adult_small, lambda z: z, void_losses['function'], metrics=AUROC())
    assert not fit(learn)

# Warnings

def test_category_of_undefined_values(adult_learner, adult_dls, adult):
    "scikit-learn's, so that one filter serves both"
    only = (adult.sample(900, random_state=0).income.to_numpy() == '>50K').nonzero()[0][:100].tolist()
    for kwargs in dict(metrics=AUROC()),dict(cbs=AUROC(ci=True), metrics=None),dict(metrics=AUROC(thresholds=20)):
        said, = fit(adult_learner(adult_dls(valid_idx=only), **kwargs))
        assert said.category is UndefinedMetricWarning and issubclass(said.category, UserWarning)
        assert 'no negative' in str(said.message)

def test_value_in_the_middle_does_not_warn(adult_learner, adult_dls, adult):
    "Rows so far may be of one class; that is no news, and the epoch still says its own"
    rich = (adult.sample(900, random_state=0).income == '>50K').to_numpy()
    by_label = [*np.flatnonzero(~rich)[:200].tolist(), *np.flatnonzero(rich)[:100].tolist()]
    class Read(Callback):
        order,seen = 60,[]
        def after_batch(self):
            if not self.training: self.seen.append(self.learn.metrics[0].value)
    learn = adult_learner(adult_dls(valid_idx=by_label), metrics=AUROC())
    assert not fit(learn, cbs=Read()) and math.isnan(Read.seen[0]) and Read.seen[-1] == learn.recorder.values[-1][-1]
    one = adult_learner(adult_dls(valid_idx=by_label[:100]), metrics=AUROC())
    assert len(fit(one, 2, cbs=Read())) == 1

def test_ci_as_metric_is_refused_before_the_first_epoch(adult_learner):
    learn = adult_learner(metrics=[accuracy, AUROC(ci=True)])
    given,seen = cbs_of(learn),[]
    learn.model.register_forward_pre_hook(lambda *args: seen.append(1))
    for _ in range(2):
        with pytest.raises(ValueError, match='has two columns, but a metric has one'): fit(learn)
    assert not seen and cbs_of(learn) == given
    learn.metrics = accuracy
    fit(learn)
    assert names(learn) == ['accuracy']
