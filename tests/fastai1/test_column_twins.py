"Several columns in one fit of fastai 1; classes, partials, language models, copies, odd outputs and labels"
import copy, math, re, warnings, numpy as np, pytest, torch, torch.nn.functional as F
from collections import OrderedDict, namedtuple
from functools import partial
from fastai.basic_data import DataBunch
from fastai.basic_train import Learner, LearnerCallback
from fastai.layers import CrossEntropyFlat
from fastai.metrics import accuracy
from fastai.text import AWD_LSTM, TextLMDataBunch, awd_lstm_lm_config, language_model_learner
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import TensorDataset
from fastai_auroc.fastai1 import AUROC

def without_addresses(o): return re.sub(" at 0x[0-9a-f]+", "", str(o))  # names that are the same in each process

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)

def fit(learn, n=1, **kwargs):
    "Train; gives the warnings of ours"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn.fit(n, **kwargs)
    return [o for o in said if o.filename == 'fastai_auroc']

def names(learn): return learn.recorder.names[3:-1]
def numbers(learn): return [float(o) for o in learn.recorder.metrics[-1]]

# The same twice

def both_callbacks(learn): learn.callbacks += [AUROC(learn), AUROC(learn)]
def one_callback(learn): learn.callbacks.append(AUROC(learn))

fns,metric = dict(callback_fns=AUROC),dict(metrics=AUROC())
twice = {'callback_fns and fit': (fns, None, 1), 'two callback_fns': (dict(callback_fns=[AUROC, AUROC]), None, 0),
    'two callbacks': ({}, both_callbacks, 0), 'callbacks and fit': ({}, one_callback, 1), 'two in fit': ({}, None, 2),
    'callbacks and callback_fns': (fns, one_callback, 0), 'metrics and callback_fns': ({**metric, **fns}, None, 0),
    'metrics and fit': (metric, None, 1), 'everywhere': ({**metric, **fns}, both_callbacks, 2)}

@pytest.mark.parametrize('how', twice)
def test_the_same_twice_is_one_column(how, adult_learner, sk_auroc):
    "All have its one value, and the next fit is as before"
    kwargs,change,n_late = twice[how]
    learn = adult_learner(**{'metrics': None, **kwargs})
    if change: change(learn)
    given = [list(o) for o in (learn.metrics, learn.callbacks, learn.callback_fns)]
    for epochs in 1,2:
        late = [AUROC(learn) for _ in range(n_late)]
        assert not fit(learn, epochs, callbacks=late)
        assert names(learn) == ['auroc'] and [len(o) for o in learn.recorder.metrics] == [1]*epochs
        value, = numbers(learn)
        ours = [o for o in [*learn.metrics, *learn.callbacks, *late, *vars(learn).values()] if isinstance(o, AUROC)]
        assert [o.value for o in ours] == [value]*len(ours) and learn.auroc.value == value == close(sk_auroc(learn))
        assert [list(o) for o in (learn.metrics, learn.callbacks, learn.callback_fns)] == given
    assert len(learn.validate()) == 2 - (how in ('callback_fns and fit', 'two callback_fns', 'two in fit'))

def test_one_instance_twice(adult_learner, sk_auroc):
    learn = adult_learner(metrics=None)
    ours = AUROC(learn, ci=True)
    learn.callbacks.append(ours)
    for late in [ours],None,[ours, ours],None:
        assert not fit(learn, 2, callbacks=late) and names(learn) == ['auroc', 'auroc_ci']
        assert [len(o) for o in learn.recorder.metrics] == [2, 2] and ours.value == numbers(learn)[0] == close(sk_auroc(learn))

def test_interval_twice(adult_learner):
    learn = adult_learner(metrics=None, callback_fns=partial(AUROC, ci=True))
    assert not fit(learn, callbacks=[AUROC(learn, ci=True)]) and names(learn) == ['auroc', 'auroc_ci']
    said = fit(learn, callbacks=[AUROC(learn)])
    assert names(learn) == ['auroc', 'auroc_ci', 'auroc'] and len(said) == 1

def test_values_part_again(adult_learner):
    "A column that stood aside has a value of its own once the other is elsewhere"
    learn = adult_learner(metrics=AUROC())
    late = AUROC(learn)
    fit(learn, callbacks=[late])
    first,before = learn.metrics[0],late.value
    assert first.value == before
    learn.metrics = []
    fit(learn, 1, lr=1e-1, callbacks=[late])
    assert names(learn) == ['auroc'] and late.value == numbers(learn)[0] != before == first.value

@pytest.fixture
def small_learner(tmp_path):
    "Makes a linear Learner of tensors"
    def make(x, y, loss_func, model=None, **kwargs):
        data = DataBunch.create(TensorDataset(x[:100], y[:100]), TensorDataset(x[100:], y[100:]), bs=32,
            num_workers=0, path=tmp_path)
        return Learner(data, model or nn.Linear(3, 2), loss_func=loss_func, silent=True, **kwargs)
    return make

def sigmoid_loss(outputs, targets): return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, 3).float())
sigmoid_loss.activation = torch.sigmoid

def test_metric_is_told_the_loss(small_learner, adult_small):
    "The column that stays is that of the loss, which the callback knows; without it the metric is what it was"
    x,y = adult_small[0],(adult_small[0][:,0] > 0).long() + (adult_small[0][:,0] > 1).long()
    learn = small_learner(x, y, sigmoid_loss, nn.Linear(3, 3), metrics=AUROC(), callback_fns=AUROC)
    def want(f):
        z = f(learn.model(x[100:]).detach().double())
        return np.mean([roc_auc_score(y[100:] == c, z[:,c]) for c in range(3)])
    fit(learn)
    assert numbers(learn) == close([want(lambda z: z)]) and want(lambda z: z) != want(lambda z: z.softmax(1))
    learn.callback_fns.pop()
    fit(learn)
    assert numbers(learn) == close([want(lambda z: z.softmax(1))])

# The same name

@pytest.mark.parametrize('how', ['metrics', 'callback_fns', 'fit'])
@pytest.mark.parametrize('name', ['accuracy', 'valid_loss', 'train_loss', 'epoch', 'time', 'half_ci', 'other'])
def test_a_name_that_another_column_has(name, how, adult_learner):
    "One warning a fit, as of two that are called alike, and the training goes on"
    metrics,fns = [accuracy],[partial(AUROC, ci=True, name='half'), partial(AUROC, max_fpr=.5, name='other')]
    if how == 'metrics': metrics.append(AUROC(name=name))
    if how == 'callback_fns': fns.append(partial(AUROC, name=name))
    learn = adult_learner(metrics=metrics, callback_fns=fns)
    for _ in range(2):
        said = fit(learn, 2, callbacks=[AUROC(learn, name=name)] if how == 'fit' else None)
        assert len(said) == 1 and str(said[0].message).startswith(f'two columns are called {name!r}, ')
        assert learn.recorder.names.count(name) == 2 and len(learn.recorder.metrics) == 2

def test_two_metrics_of_one_name(adult_learner):
    learn = adult_learner(metrics=[AUROC(), AUROC()])
    assert len(fit(learn)) == 1 and names(learn) == ['auroc', 'auroc'] and len(set(numbers(learn))) == 1

# Classes and partials

@pytest.mark.parametrize('given,says', [(AUROC, 'metrics=AUROC()'), ([accuracy, AUROC], 'metrics=AUROC()'),
    (partial(AUROC, name='x'), "metrics=AUROC(name='x')"),
    (partial(AUROC, average='weighted', max_fpr=.1), "metrics=AUROC(average='weighted', max_fpr=0.1)")], ids=without_addresses)
def test_class_or_partial_as_metric(given, says, adult_learner):
    learn = adult_learner(metrics=given)
    with pytest.raises(TypeError, match=re.escape(f'write {says}')): learn.fit(1)

def test_class_as_callback(adult_learner):
    learn = adult_learner()
    for f in lambda: learn.fit(1, callbacks=[AUROC]),lambda: learn.validate(callbacks=[AUROC]):
        with pytest.raises(TypeError, match=re.escape('callbacks=[AUROC(learn)], or callback_fns=AUROC')): f()
    learn.callbacks.append(AUROC)
    with pytest.raises(TypeError, match=re.escape('callbacks=[AUROC(learn)], or callback_fns=AUROC')): learn.fit(1)

# Language models

@pytest.fixture(scope='module')
def lm_data(sms, tmp_path_factory):
    return TextLMDataBunch.from_df(tmp_path_factory.mktemp('lm'), sms[:100], sms[100:140], text_cols='text', bs=8,
        bptt=20, num_workers=0)

@pytest.mark.parametrize('call', ['fit', 'fit_one_cycle', 'lr_find', 'validate'])
@pytest.mark.parametrize('how', ['metrics', 'callback_fns', 'callbacks'])
def test_language_model_is_refused_before_the_first_epoch(how, call, lm_data):
    config = {**awd_lstm_lm_config, 'emb_sz':20, 'n_hid':20, 'n_layers':2}
    metrics,fns = [accuracy, *[AUROC()]*(how == 'metrics')],AUROC if how == 'callback_fns' else None
    learn = language_model_learner(lm_data, AWD_LSTM, config=config, pretrained=False, silent=True, metrics=metrics,
        callback_fns=fns)
    if how == 'callbacks': learn.callbacks.append(AUROC(learn))
    before,seen = [p.clone() for p in learn.model.parameters()],[]
    hook = learn.model.register_forward_pre_hook(lambda *args: seen.append(1))
    if how == 'callback_fns' and call == 'validate': return learn.validate()  # fastai 1 calls none there
    epochs = [1] if 'fit' in call else []
    with pytest.raises(ValueError, match=r'vocabulary.*Perplexity\(\)'): getattr(learn, call)(*epochs)
    assert not seen and all(map(torch.equal, before, learn.model.parameters()))
    hook.remove()
    learn.get_preds()

# Copies

@pytest.mark.parametrize('fitted', [False, True])
@pytest.mark.parametrize('how', ['callbacks', 'callback_fns', 'metrics', 'all'])
def test_copied_learner(how, fitted, adult_learner, sk_auroc):
    "The copy's callback belongs to the copy, and shares nothing with the one that was copied"
    every = how == 'all'
    learn = adult_learner(metrics=[AUROC(max_fpr=.5, name='m')] if every or how == 'metrics' else [],
        callback_fns=[partial(AUROC, name='f')] if every or how == 'callback_fns' else None)
    mine = dict(a='macro', b='weighted') if every or how == 'callbacks' else {}
    learn.callbacks += [AUROC(learn, average=average, name=name) for name,average in mine.items()]
    if fitted: fit(learn)
    before = {k:o.value for k,o in vars(learn).items() if isinstance(o, AUROC)}
    other = copy.deepcopy(learn)
    for o in other.callbacks: assert o.learn is other and getattr(other, o.name) is o and o not in learn.callbacks
    for o in learn.callbacks: assert o.learn is learn and getattr(learn, o.name) is o
    assert [repr(o) for o in other.callbacks] == [repr(o) for o in learn.callbacks]
    fit(other, 2, lr=1e-1)
    expect = [name for name,where in dict(m='metrics', a='callbacks', b='callbacks', f='callback_fns').items()
        if how in ('all', where)]
    assert names(other) == expect
    whole = [o for name,o in zip(names(other), numbers(other)) if name != 'm']
    assert whole == close([sk_auroc(other)]*len(whole))
    assert {k:o.value for k,o in vars(learn).items() if isinstance(o, AUROC)} == close(before)
    fit(learn)
    assert names(learn) == expect
    for twice in copy.deepcopy(other),copy.deepcopy(copy.deepcopy(learn)):
        fit(twice)
        assert names(twice) == expect and all(o.learn is twice for o in twice.callbacks)

def test_copied_in_the_middle_of_a_validation(adult_learner, sk_auroc):
    learn,copies = adult_learner(),[]
    class Copy(LearnerCallback):
        def on_batch_end(self, train, **kwargs):
            if not train and not copies: copies.append(copy.deepcopy(learn))
    learn.callbacks.append(AUROC(learn))
    fit(learn, callbacks=[Copy(learn)])
    for o in learn,*copies:
        fit(o)
        assert numbers(o)[-1] == close(sk_auroc(o)) and o.auroc.learn is o

def test_copied_callback_alone(adult_learner):
    "Without its Learner a copy has none, and says how to get one"
    learn = adult_learner()
    lone = copy.deepcopy(AUROC(learn, name='a'))
    assert lone.learn is None and repr(lone) == "AUROC(name='a')"
    with pytest.raises(ValueError, match='as a callback AUROC needs its Learner'): learn.fit(1, callbacks=[lone])

# Outputs that hold the logits

class ModelOutput(OrderedDict):
    "transformers' SequenceClassifierOutput: keys, attributes and numbers give the same"
    def __getattr__(self, k):
        if k in self: return self[k]
        raise AttributeError(k)
    def __getitem__(self, k): return super().__getitem__(k) if isinstance(k, str) else tuple(self.values())[k]

Pair = namedtuple('Pair', 'logits aux')
shapes = dict(output=lambda z: ModelOutput(logits=z), with_loss=lambda z: ModelOutput(loss=z.sum(), logits=z),
    mapping=lambda z: dict(logits=z), one=lambda z: dict(out=z), namedtuple=lambda z: Pair(z, z*0))

class Wrap(nn.Linear):
    "A linear model whose logits come in `shape`"
    def __init__(self, shape):
        super().__init__(3, 2)
        self.shape = shape
    def forward(self, x): return self.shape(super().forward(x))

def raw(learn, x):
    z = F.linear(x[100:], learn.model.weight, learn.model.bias).detach().double()
    return z[:,1] - z[:,0]

@pytest.mark.parametrize('how', ['metrics', 'callback_fns'])
@pytest.mark.parametrize('shape', shapes)
def test_outputs_that_hold_logits(shape, how, small_learner, adult_small):
    x,y = adult_small
    key = 'out' if shape == 'one' else 'logits'
    def loss_func(o, y): return F.cross_entropy(o[key] if isinstance(o, dict) else o.logits, y)
    learn = small_learner(x, y, loss_func, Wrap(shapes[shape]), **{how: AUROC() if how == 'metrics' else AUROC})
    for _ in range(2): assert not fit(learn) and numbers(learn) == close([roc_auc_score(y[100:], raw(learn, x))])

class First(AUROC):
    "Ranks the first of several outputs"
    def on_batch_end(self, last_output, **kwargs):
        chosen = last_output['out'] if isinstance(last_output, dict) else last_output[0]
        return super().on_batch_end(last_output=chosen, **kwargs)

@pytest.mark.parametrize('shape,what,which', [(lambda z: (z, z), 'a tuple of 2', '0'),
    (lambda z: dict(out=z, aux=z), 'a dict of 2 (out, aux)', "'out'")])
def test_several_outputs(shape, what, which, small_learner, adult_small):
    "NaN and one warning, which says how to choose; done so the column is right"
    x,y = adult_small
    def loss_func(o, y): return F.cross_entropy(list(o.values() if isinstance(o, dict) else o)[0], y)
    learn = small_learner(x, y, loss_func, Wrap(shape), metrics=AUROC())
    said, = fit(learn, 2)
    assert math.isnan(numbers(learn)[0]) and said.category is UndefinedMetricWarning
    how_to = f'AUROC(select={which}) chooses one'
    assert what in str(said.message) and how_to in str(said.message)
    learn.metrics = [First()]
    assert not fit(learn) and numbers(learn) == close([roc_auc_score(y[100:], raw(learn, x))])

# Labels

@pytest.mark.parametrize('how', ['metrics', 'callback_fns'])
@pytest.mark.parametrize('low,high', [(0, 40_000), (0, 65_535), (-40_000, 0), (0, 65_536), (-2**40, 2**40)])
def test_large_labels(low, high, how, small_learner, adult_small):
    x,y = adult_small
    ours = {how: AUROC() if how == 'metrics' else AUROC}
    learn = small_learner(x, y.new_tensor([low, high])[y], lambda o, y: o.square().mean(), **ours)
    assert not fit(learn) and numbers(learn) == close([roc_auc_score(y[100:], raw(learn, x))])

def test_a_label_that_wraps_to_the_ignored_one(small_learner, adult_small):
    x,y = adult_small
    labels = y.new_tensor([0, 65_436])[y]
    labels[::3] = -100
    kept = labels[100:] != -100
    learn = small_learner(x, labels, lambda o, y: o.square().mean(), callback_fns=partial(AUROC, ignore_index=-100))
    assert not fit(learn) and numbers(learn) == close([roc_auc_score(y[100:][kept], raw(learn, x)[kept])])

@pytest.mark.parametrize('loss_func', [CrossEntropyFlat(ignore_index=7), partial(F.cross_entropy, ignore_index=7),
    nn.CrossEntropyLoss(ignore_index=7)], ids=without_addresses)
def test_labels_that_the_loss_leaves_out(loss_func, small_learner, adult_small):
    "The warning names ignore_index, with which the column is right"
    x,y = adult_small
    labels = y.where(torch.arange(300)%3 > 0, torch.tensor(7))
    kept = labels[100:] != 7
    learn = small_learner(x, labels, loss_func, callback_fns=AUROC)
    said, = fit(learn, 2)
    assert math.isnan(numbers(learn)[0]) and 'AUROC(ignore_index=7)' in str(said.message)
    learn.callback_fns[-1] = partial(AUROC, ignore_index=7)
    assert not fit(learn) and numbers(learn) == close([roc_auc_score(y[100:][kept], raw(learn, x)[kept])])
