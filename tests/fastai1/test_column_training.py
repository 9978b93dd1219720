"The columns that AUROC adds to fastai 1's training table: what they are called, where they stand, what numbers they hold"
import itertools, math, re, subprocess, sys, warnings, numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from functools import partial
from fastai.basic_data import DataBunch, DatasetType
from fastai.basic_train import Learner, LearnerCallback
from fastai.callback import Callback
from fastai.callbacks import CSVLogger
from fastai.metrics import accuracy, error_rate
from fastai.tabular import Categorify, Normalize, TabularList, tabular_learner
from fastai.text import AWD_LSTM, TextLMDataBunch, awd_lstm_lm_config, language_model_learner
from fastai.torch_core import add_metrics
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from torch.utils.data import TensorDataset
from fastai_auroc.fastai1 import AUROC

class Seen(Callback):
    "Keeps raw outputs, in float64, and targets of each epoch's validation"
    _order = -100
    def __init__(self): self.epochs = []
    def on_epoch_begin(self, **kwargs): self.epochs.append([])
    def on_batch_end(self, last_output, last_target, train, **kwargs):
        if not train: self.epochs[-1].append((last_output.double().numpy(), last_target.numpy()))

    def scored(self, f): return [f(*map(np.concatenate, zip(*rows))) for rows in self.epochs if rows]

class Other(LearnerCallback):
    "A column in the way that fastai 1 users write one: how many rows were validated"
    _order = -20
    def __init__(self, learn, name='rows'):
        super().__init__(learn)
        self.name,self.n = name,0
    def on_train_begin(self, **kwargs): self.learn.recorder.add_metric_names([self.name])
    def on_epoch_begin(self, **kwargs): self.n = 0
    def on_batch_end(self, last_target, train, **kwargs): self.n += 0 if train else len(last_target)
    def on_epoch_end(self, last_metrics, **kwargs): return add_metrics(last_metrics, [self.n])

class Do(Callback):
    "Calls `f(**state)` at an event"
    def __init__(self, event, f, order=0):
        self._order = order
        setattr(self, f'on_{event}', f)

def skip_validation(*epochs): return Do('epoch_begin', lambda epoch, **kwargs: {'skip_validate': epoch in epochs})

def fit(learn, epochs=1, callbacks=(), **kwargs):
    "Train; returns what the model put out"
    seen = Seen()
    learn.fit(epochs, callbacks=[*callbacks, seen], **kwargs)
    return seen

def margin_auroc(outputs, targets, **kwargs): return roc_auc_score(targets, outputs[:,1] - outputs[:,0], **kwargs)
def right(outputs, targets): return (outputs.argmax(-1) == targets).mean()
def rows(outputs, targets): return len(targets)

truths = dict(accuracy=right, error_rate=lambda *o: 1-right(*o), rows=rows, again=rows, auroc=margin_auroc, auc=margin_auroc)

def check(recorder, seen, truths):
    "Columns have the names of `truths` in their order, once, and in each epoch the number that its function computes"
    names = list(truths)
    assert recorder.names == ['epoch', 'train_loss', 'valid_loss', *names, 'time'] and recorder.metrics_names == names
    assert recorder.metrics and [len(row) for row in recorder.metrics] == [len(names) for rows in seen.epochs if rows]
    for name,got in zip(names, zip(*recorder.metrics)):
        if truths[name] is margin_auroc: assert all(type(o) is float and .02 < o < .9999 for o in got)
        tol = 1e-6 if torch.is_tensor(got[0]) else 1e-12  # fastai's own are float32
        assert [float(o) for o in got] == pytest.approx(seen.scored(truths[name]), abs=tol), name

def columns(*names): return {name:truths[name] for name in names}

places = [dict(callback_fns='auroc'), dict(callback_fns='auc auroc'), dict(callbacks='auroc'), dict(fit='auroc'), dict(fit='auroc auc'),
    dict(metrics='accuracy auroc'), dict(metrics='auroc accuracy'), dict(metrics='accuracy auroc error_rate'), dict(metrics='auc accuracy auroc'),
    dict(metrics='auroc accuracy', callback_fns='auc'), dict(metrics='accuracy auc', fit='auroc'), dict(metrics='auc', callbacks='auroc'),
    dict(callback_fns='auroc', fit='auc'), dict(callbacks='auc', callback_fns='auroc')]

@pytest.fixture
def placed(adult_learner):
    "Makes a Learner with AUROC under the names, and in the places, of `where`; also gives what its `fit` needs, and the columns in their order"
    def make(where, **kwargs):
        metrics,*cbs = [where.get(o, '').split() for o in ('metrics', 'callbacks', 'callback_fns', 'fit')]
        metrics = metrics or ['accuracy']
        learn = adult_learner(metrics=[dict(accuracy=accuracy, error_rate=error_rate).get(o) or AUROC(name=o) for o in metrics],
            callback_fns=[partial(AUROC, name=o) for o in cbs[1]], **kwargs)
        learn.callbacks = [AUROC(learn, name=o) for o in cbs[0]]
        return learn,lambda: [AUROC(learn, name=o) for o in cbs[2]],columns(*metrics, *sum(cbs, []))
    return make

@pytest.mark.parametrize('where', places, ids=lambda o: '-'.join(f'{k}={v}' for k,v in o.items()))
def test_every_place(where, placed, sk_auroc):
    "The same in each fit, and nothing stays behind in the Learner's lists"
    learn,late,truths = placed(where)
    given = [list(o) for o in (learn.metrics, learn.callbacks, learn.callback_fns)]
    for epochs in 2,1:
        seen = fit(learn, epochs, late(), lr=1e-2)
        assert len(learn.recorder.metrics) == len(seen.epochs) == epochs
        check(learn.recorder, seen, truths)
        assert [learn.metrics, learn.callbacks, learn.callback_fns] == given
    ours = [o for name,o in zip(truths, learn.recorder.metrics[-1]) if name.startswith('au')]
    assert ours == pytest.approx([sk_auroc(learn)]*len(ours), abs=1e-12)

@pytest.mark.parametrize('given', [dict(callback_fns=AUROC), dict(callback_fns=[AUROC]), dict(callback_fns=partial(AUROC, average='weighted')),
    dict(metrics=AUROC()), dict(metrics=[AUROC()])], ids=['callback_fns', 'list of callback_fns', 'partial', 'metrics', 'list of metrics'])
def test_every_spelling(given, adult_learner, sk_auroc):
    learn = adult_learner(**{'metrics':None, **given})
    seen = fit(learn, 2)
    check(learn.recorder, seen, columns('auroc'))
    last = learn.recorder.metrics[-1][0]
    assert last == pytest.approx(sk_auroc(learn), abs=1e-12)
    assert 'metrics' in given or learn.auroc.value == last

@pytest.mark.parametrize('to', ['callbacks', 'callback_fns', 'metrics'])
def test_appended(to, adult_learner):
    learn = adult_learner()
    fit(learn)
    getattr(learn, to).append(AUROC if to == 'callback_fns' else AUROC(learn))
    seen = fit(learn, 2)
    check(learn.recorder, seen, columns('accuracy', 'auroc'))
    assert learn.auroc.value == learn.recorder.metrics[-1][-1]

def test_for_one_fit(adult_learner):
    learn = adult_learner()
    seen = fit(learn, 1, [AUROC(learn)])
    check(learn.recorder, seen, columns('accuracy', 'auroc'))
    seen = fit(learn)
    check(learn.recorder, seen, columns('accuracy'))

def test_made_anew_for_each_fit(adult_learner):
    learn,made = adult_learner(callback_fns=AUROC),[]
    for _ in range(2):
        fit(learn)
        made.append(learn.auroc)
    assert made[0] is not made[1] and made[1].value == learn.recorder.metrics[-1][-1]

def test_one_instance_as_metric_and_callback(adult_learner):
    learn = adult_learner()
    learn.metrics.append(AUROC(learn))
    learn.callbacks.append(learn.auroc)
    seen = fit(learn, 2)
    check(learn.recorder, seen, columns('accuracy', 'auroc'))
    assert learn.auroc.value == learn.recorder.metrics[-1][-1]

def printed(out):
    "Rows of the table that fastprogress printed"
    return [o for o in map(str.split, out.splitlines()) if o and (o[0] == 'epoch' or o[0].isdigit())]

@pytest.mark.parametrize('fns', list(itertools.permutations([AUROC, Other, CSVLogger])), ids=lambda fns: '-'.join(o.__name__ for o in fns))
def test_other_columns_the_file_and_the_table(fns, adult_data, capsys):
    "Columns stand in the same order everywhere, whatever the order of the callbacks, and numbers under their names"
    learn = tabular_learner(adult_data(), layers=[20], metrics=accuracy, callback_fns=fns, silent=False)
    for epochs in 1,2:
        seen = fit(learn, epochs, [Other(learn, 'again')])
        check(learn.recorder, seen, columns('accuracy', 'rows', 'again', 'auroc'))
        file,table = pd.read_csv(learn.path/'history.csv'),printed(capsys.readouterr().out)
        assert list(file.columns) == table[0] == learn.recorder.names and len(file) == len(table)-1 == epochs
        for i,row in enumerate(learn.recorder.metrics):
            want = dict(zip(learn.recorder.metrics_names, map(float, row)))
            assert {name:float(o) for name,o in zip(table[0], table[i+1]) if name in want} == pytest.approx(want, abs=6e-7)
            assert file.loc[i, list(want)].to_dict() == pytest.approx(want, abs=6e-7)
            assert all(re.fullmatch(r'\d\d:\d\d', o) for o in (file.time[i], table[i+1][-1]))

@pytest.mark.parametrize('how', ['callback_fns', 'fit'])
def test_interval(how, adult_learner):
    "Two columns: AUROC, and half the width of DeLong's interval from all pairs"
    learn = adult_learner(**({} if how == 'fit' else dict(callback_fns=[partial(AUROC, ci=True), Other])))
    def half_width(outputs, targets):
        s,y = outputs[:,1] - outputs[:,0],targets == 1
        wins = (s[y][:,None] > s[~y]) + .5*(s[y][:,None] == s[~y])
        return 1.959963984540054*(wins.mean(1).var(ddof=1)/y.sum() + wins.mean(0).var(ddof=1)/(~y).sum())**.5
    for _ in range(2):
        seen = fit(learn, 2, [AUROC(learn, ci=True), Other(learn)] if how == 'fit' else [])
        check(learn.recorder, seen, {**columns('accuracy', 'rows', 'auroc'), 'auroc_ci': half_width})

def test_interval_needs_a_callback(adult_learner):
    learn = adult_learner(metrics=[accuracy, AUROC(ci=True)])
    for f in partial(learn.fit, 1),learn.validate:
        with pytest.raises(ValueError, match=re.escape('pass it as callback_fns=partial(AUROC, ci=True), not as metrics=')): f()

# Options

@pytest.fixture
def bands(adult, tmp_path):
    "Makes a Learner, linear in age, education and hours, for targets `f(df)` of 900 people; `n_out` outputs go through `turn`"
    df = adult.sample(900, random_state=0).reset_index(drop=True)
    x = df[['age', 'education-num', 'hours-per-week']]
    x = torch.tensor(((x - x.mean())/x.std()).values).float()
    def make(f, loss_func, n_out, turn=torch.nn.Identity(), **kwargs):
        y = torch.tensor(np.asarray(f(df))).long()
        data = DataBunch.create(TensorDataset(x[:600], y[:600]), TensorDataset(x[600:], y[600:]), bs=64, path=tmp_path, num_workers=0)
        return Learner(data, torch.nn.Sequential(torch.nn.Linear(3, n_out), turn), loss_func=loss_func, silent=True, **kwargs)
    return make

def probabilities(outputs): return np.exp(outputs - logsumexp(outputs, -1, keepdims=True))
def soft_auroc(outputs, targets, **kwargs): return roc_auc_score(targets, probabilities(outputs), **{'multi_class':'ovr', **kwargs})
def raw_auroc(outputs, targets): return np.mean([roc_auc_score(targets == c, outputs[:,c]) for c in range(outputs.shape[1])])

def test_binary_options(adult_learner):
    options = dict(early=.3, very_early=.05)
    learn = adult_learner(callback_fns=[partial(AUROC, max_fpr=o, name=name) for name,o in options.items()])
    seen = fit(learn, 2)
    check(learn.recorder, seen, {**columns('accuracy'), **{name:partial(margin_auroc, max_fpr=o) for name,o in options.items()}})

in_both_lists = pytest.mark.parametrize('how', ['callback_fns', 'metrics'])

def as_list(how, fns): return {how: [f() for f in fns] if how == 'metrics' else fns}

@in_both_lists
def test_averages(how, bands):
    options = dict(macro={}, weighted=dict(average='weighted'), micro=dict(average='micro'), ovo=dict(multi_class='ovo'),
        ovo_weighted=dict(multi_class='ovo', average='weighted'))
    fns = [partial(AUROC, name=name, **o) for name,o in options.items()]
    def status(df): return df['marital-status'].map({'Married-civ-spouse':0, 'Never-married':1}).fillna(2)
    learn = bands(status, F.cross_entropy, 3, **as_list(how, fns))
    seen = fit(learn, 2)
    check(learn.recorder, seen, {name:partial(soft_auroc, **o) for name,o in options.items()})
    assert len({round(o, 4) for o in learn.recorder.metrics[-1]}) == len(options)

def sigmoid_loss(outputs, targets): return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, outputs.shape[1]).float())
sigmoid_loss.activation = torch.sigmoid

@in_both_lists
@pytest.mark.parametrize('loss_func', [F.cross_entropy, sigmoid_loss])
def test_activation(how, loss_func, bands):
    "'auto' asks the loss, which a plain metric cannot see"
    fns = [AUROC, partial(AUROC, activation='softmax', name='soft'), partial(AUROC, activation='identity', name='raw')]
    learn = bands(lambda df: (df.age > 30)*1 + (df.age > 45), loss_func, 3, **as_list(how, fns))
    seen = fit(learn)
    auto = raw_auroc if loss_func is sigmoid_loss and how == 'callback_fns' else soft_auroc
    check(learn.recorder, seen, dict(auroc=auto, soft=soft_auroc, raw=raw_auroc))
    assert abs(learn.recorder.metrics[0][1] - learn.recorder.metrics[0][2]) > 1e-4

@in_both_lists
def test_ignore_index(how, bands):
    "Rows of people between 35 and 40 have no label"
    learn = bands(lambda df: np.where(df.age.between(35, 40), -1, df.income == '>50K'), partial(F.cross_entropy, ignore_index=-1), 2,
        **as_list(how, [partial(AUROC, ignore_index=-1)]))
    seen = fit(learn, 2)
    assert 20 < np.mean(seen.scored(lambda o, t: (t == -1).sum())) < 100
    check(learn.recorder, seen, dict(auroc=lambda o, t: margin_auroc(o[t != -1], t[t != -1])))

@in_both_lists
def test_axis(how, bands):
    "Where outputs have two axes of the same length, only `axis` can tell which holds the classes"
    def above(df): return np.stack([(df[c] > df[c].median()) + 0 for c in ('age', 'education-num', 'hours-per-week')], 1)
    def loss_func(outputs, targets): return F.cross_entropy(outputs.movedim(2, 1), targets)
    learn = bands(lambda df: above(df) + (df.age.values[:,None] > 50), loss_func, 9, torch.nn.Unflatten(1, (3,3)),
        **as_list(how, [partial(AUROC, axis=a, name=f'axis_{a}') for a in (1, 2)]))
    def truth(a): return lambda outputs, targets: soft_auroc(np.moveaxis(outputs, a, -1).reshape(-1, 3), targets.reshape(-1))
    seen = fit(learn)
    check(learn.recorder, seen, {f'axis_{a}':truth(a) for a in (1, 2)})

wrong = [(dict(name='roc auc'), "name must be a word to name a column and an attribute, got 'roc auc'"), (dict(name=None), 'got None'),
    (dict(name='1st'), "name must be a word to name a column and an attribute, got '1st'"), (dict(name=''), 'name must be a word'),
    (dict(average='macr'), "average must be one of ('macro', 'micro', 'weighted', 'samples'), got 'macr'"),
    (dict(average=None), 'average=None is not possible: auroc_score(..., average=None) returns one for each class'),
    (dict(multi_class='one'), "multi_class must be 'ovr' or 'ovo', got 'one'"), (dict(max_fpr=0), 'max_fpr must be None or in (0, 1], got 0'),
    (dict(max_fpr=1.1), 'max_fpr must be None or in (0, 1], got 1.1'),
    (dict(activation=None), "activation must be one of ('auto', 'softmax', 'sigmoid', 'identity'), got None"), (dict(activation='tanh'), "'tanh'"),
    (dict(average='micro', multi_class='ovo'), "average must be one of ('macro', 'weighted') with multi_class='ovo', got 'micro'"),
    (dict(max_fpr=.1, multi_class='ovo'), "max_fpr has no meaning with multi_class='ovo'"),
    (dict(ci=1, max_fpr=.1), 'ci must be True or False, with an interval of 95%, got 1')]

@pytest.mark.parametrize('kwargs,says', wrong, ids=lambda o: str(o) if isinstance(o, dict) else '')
def test_wrong_options_raise_when_made(kwargs, says, adult_learner):
    learn = adult_learner(callback_fns=partial(AUROC, **kwargs))
    for make in AUROC,partial(AUROC, learn):
        with pytest.raises(ValueError, match=re.escape(says)): make(**kwargs)
    with pytest.raises(ValueError, match=re.escape(says)): learn.fit(1)

def test_unknown_option(): pytest.raises(TypeError, AUROC, averag='macro')

@pytest.mark.parametrize('name', ['fit', 'model', 'metrics', 'recorder', 'opt', 'callback_fns'])
@pytest.mark.parametrize('how', ['callback_fns', 'fit'])
def test_name_that_hides_an_attribute(how, name, adult_learner):
    learn = adult_learner(callback_fns=partial(AUROC, name=name) if how == 'callback_fns' else None)
    with pytest.raises(ValueError, match=f'name={name!r} would hide an attribute of the Learner: give the AUROC callback another name'):
        learn.fit(1, callbacks=[AUROC(learn, name=name)] if how == 'fit' else None)
    if how == 'callback_fns': learn.callback_fns.pop()
    seen = fit(learn, 1, [AUROC(learn)])
    check(learn.recorder, seen, columns('accuracy', 'auroc'))

@pytest.mark.parametrize('how', ['fit', 'callbacks'])
def test_callback_without_learner(how, adult_learner):
    learn = adult_learner()
    if how == 'callbacks': learn.callbacks.append(AUROC())
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=re.escape('AUROC needs its Learner: callbacks=[AUROC(learn)], or callback_fns=AUROC')):
        learn.fit(1, callbacks=[AUROC()] if how == 'fit' else None)
    assert all(map(torch.equal, before, learn.model.parameters()))
    learn.callbacks = []
    seen = fit(learn, 1, [AUROC(learn)])
    check(learn.recorder, seen, columns('accuracy', 'auroc'))

def test_repr(adult_learner):
    auroc,learn = AUROC(average='weighted'),adult_learner()
    learn.metrics.append(auroc)
    learn.callbacks.append(AUROC(learn, max_fpr=.1, name='pauc'))
    assert repr(AUROC()) == repr(AUROC(learn)) == 'AUROC()' and repr(auroc) == "AUROC(average='weighted')"
    shown = repr(learn)
    assert repr(auroc) in shown and "AUROC(max_fpr=0.1, name='pauc')" in shown

def test_attribute_that_it_lacks(adult_learner):
    "Is not looked up in the Learner, as fastai's callbacks do"
    with pytest.raises(AttributeError, match="'AUROC' object has no attribute 'loss_func'"): AUROC(adult_learner()).loss_func

# Epochs without validation, and passes inside of an epoch

in_three_places = pytest.mark.parametrize('where', [dict(callback_fns='auroc'), dict(callbacks='auroc'), dict(metrics='auroc accuracy')],
    ids=['callback_fns', 'callbacks', 'metrics'])

@in_three_places
def test_skipped_validation(where, placed):
    "What was not validated has no numbers, and the other epochs have theirs"
    learn,_,truths = placed(where)
    learn.callback_fns.append(CSVLogger)
    seen = fit(learn, 4, [skip_validation(1, 3)])
    assert [len(o) > 0 for o in seen.epochs] == [True,False]*2 and len(learn.recorder.metrics) == 2
    check(learn.recorder, seen, truths)
    lines = [line.split(',') for line in (learn.path/'history.csv').read_text().splitlines()[1:]]
    assert [line[2] == '#na#' for line in lines] == [False,True]*2 and [len(line) for line in lines] == [6,4]*2
    assert 'metrics' in where or math.isnan(learn.auroc.value)
    seen = fit(learn, 1)
    check(learn.recorder, seen, truths)

@in_three_places
def test_empty_validation_set(where, placed, adult, tmp_path):
    items = TabularList.from_df(adult[:300], path=tmp_path, cat_names=['education'], cont_names=['age'], procs=[Categorify,Normalize])
    data = items.split_none().label_from_df(cols='income').databunch(bs=64, num_workers=0)
    learn,_,truths = placed(where, data=data)
    before = [p.clone() for p in learn.model.parameters()]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        seen = fit(learn, 2, [CSVLogger(learn)])
    assert data.empty_val and seen.epochs == [[],[]] and learn.recorder.metrics == [] and not [o for o in said if 'AUROC' in str(o.message)]
    assert learn.recorder.names == ['epoch', 'train_loss', 'valid_loss', *truths, 'time']
    lines = [line.split(',') for line in (learn.path/'history.csv').read_text().splitlines()]
    assert lines[0] == learn.recorder.names and all(line[2] == '#na#' and len(line) == 4 for line in lines[1:])
    assert not any(map(torch.equal, before, learn.model.parameters()))

passes = {'get_preds in training': ('batch_end', lambda learn: learn.get_preds(DatasetType.Fix)),
    'get_preds at the end': ('epoch_end', lambda learn: learn.get_preds(DatasetType.Fix)),
    'validate in training': ('batch_end', lambda learn: learn.validate())}

@in_three_places
@pytest.mark.parametrize('which', passes)
def test_pass_inside_of_an_epoch(which, where, placed):
    "Another callback lets the model predict, or validates, before the epoch is scored: the column is that of the epoch, and so is the value"
    (learn,_,truths),(event,f),recorders = placed(where),passes[which],[]
    def inner(train, num_batch, **kwargs):
        if event == 'epoch_end' or (train and num_batch == 3): f(learn)
    note = Do('train_begin', lambda **kwargs: recorders.append(learn.recorder), order=-5)
    seen = fit(learn, 2, [note, Do(event, inner, order=-20)])
    check(recorders[0], seen, truths)
    ours = learn.metrics[0] if 'metrics' in where else learn.auroc
    assert ours.value == pytest.approx(seen.scored(margin_auroc)[-1], abs=1e-12)

@pytest.mark.parametrize('which', [*passes, 'validate at the end'])
def test_pass_inside_of_a_counted_epoch(which, adult_learner):
    "What an inner validation counts is not added to the outer one's, whose memory it leaves alone"
    (event,f),learn,recorders = passes.get(which, ('epoch_end', lambda learn: learn.validate())),adult_learner(),[]
    def inner(train, num_batch, **kwargs):
        if event == 'epoch_end' or (train and num_batch == 3): f(learn)
    column,note = AUROC(learn, thresholds='bits'),Do('train_begin', lambda **kwargs: recorders.append(learn.recorder), order=-5)
    learn.callbacks = [column]  # which an inner `validate` calls, too
    seen = fit(learn, 2, [note, Do(event, inner, order=-20)])
    values = [float(o[-1]) for o in recorders[0].metrics]
    assert len(values) == 2 and values == pytest.approx(seen.scored(margin_auroc), abs=1e-3) and 0 < column.bound < 1e-3

# What is refused, and what is imported

@pytest.mark.parametrize('how', ['callback_fns', 'callbacks', 'fit'])
def test_language_model_is_refused_before_the_first_epoch(how, sms, tmp_path):
    data = TextLMDataBunch.from_df(tmp_path, sms[:100], sms[100:140], text_cols='text', bs=8, bptt=20, num_workers=0)
    config = {**awd_lstm_lm_config, 'emb_sz':20, 'n_hid':20, 'n_layers':2}
    learn = language_model_learner(data, AWD_LSTM, config=config, pretrained=False, metrics=accuracy, silent=True,
        callback_fns=AUROC if how == 'callback_fns' else None)
    if how == 'callbacks': learn.callbacks.append(AUROC(learn))
    before,seen = [p.clone() for p in learn.model.parameters()],Seen()
    with pytest.raises(ValueError, match=r'vocabulary.*Perplexity\(\)'): learn.fit(1, callbacks=[seen, *([AUROC(learn)] if how == 'fit' else [])])
    assert not seen.epochs and all(map(torch.equal, before, learn.model.parameters()))

def test_star_import_after_fastai(tmp_path):
    "Ours takes the place of fastai 1's AUROC, and of nothing else"
    code = '''
from fastai.tabular import *
theirs = dict(globals())
from fastai_auroc.all import *
print(AUROC.__module__, theirs['AUROC'].__module__, callable(theirs['AUROC']))
print(*(k for k,v in theirs.items() if globals()[k] is not v))
print(roc_curve is theirs['roc_curve'], auc_roc_score.__module__)'''
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.stdout.splitlines() == ['fastai_auroc.fastai1 fastai.metrics True', 'AUROC', 'True fastai.metrics'], run.stderr
