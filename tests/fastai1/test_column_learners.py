"The auroc column of every kind of fastai 1 Learner is scikit-learn's number on its raw outputs, whatever else is done with the Learner."
import copy, gc, io, math, pickle, types, weakref, numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from fastai.basic_data import DataBunch, DatasetType
from fastai.basic_train import Learner, LearnerCallback, load_learner
from fastai.core import noop
from fastai.layers import BCEWithLogitsFlat, CrossEntropyFlat, LabelSmoothingCrossEntropy
from fastai.metrics import accuracy
from fastai.text import AWD_LSTM, TextClasDataBunch, TextLMDataBunch, Tokenizer, awd_lstm_clas_config, awd_lstm_lm_config
from fastai.text import language_model_learner, text_classifier_learner
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score, roc_curve as sk_roc_curve
from torch import nn
from torch.utils.data import TensorDataset
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.fastai1 import AUROC
from fastai_auroc.roc import auroc_score, roc_curve

small = dict(emb_sz=20, n_hid=20, n_layers=2)  # An AWD_LSTM for a few hundred messages
ways = ['callback_fns', 'metrics', 'callbacks']
every_way = pytest.mark.parametrize('how', ways)

@pytest.fixture(scope='module', autouse=True)
def _in_no_time():
    "Models this small are slower with more than one thread, and fastai 1 often collects garbage: among what these tests make, not among all modules"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)

def with_auroc(make, how, *options, metrics=(), **kwargs):
    "A Learner from `make` with an AUROC for each of `options`, or one without, given as `how` says; `metrics` are its others"
    options,metrics = options or ({},),list(metrics)
    if how == 'callback_fns': return make(metrics=metrics, callback_fns=[partial(AUROC, **o) for o in options], **kwargs)
    if how == 'metrics': return make(metrics=metrics+[AUROC(**o) for o in options], **kwargs)
    learn = make(metrics=metrics, **kwargs)
    learn.callbacks += [AUROC(learn, **o) for o in options]
    return learn

def everywhere(make):
    "A Learner from `make` with an AUROC of other options in each place where one can be"
    learn = make(metrics=[accuracy, AUROC(average='weighted', name='metric')], callback_fns=[AUROC, partial(AUROC, max_fpr=.3, name='early')])
    learn.callbacks.append(AUROC(learn, max_fpr=.5, name='own'))
    return learn

all_columns = dict(average='weighted', name='metric'),dict(max_fpr=.5, name='own'),{},dict(max_fpr=.3, name='early')

def aurocs(learn): return [o for o in (*learn.metrics, *vars(learn).values()) if isinstance(o, AUROC)]
def the(learn): return aurocs(learn)[0]

def raw(learn, axis=1, dl=None):
    "Raw outputs in float64, straight from the model, a row for each item or pixel, and targets, as arrays"
    learn.model.eval()
    with torch.no_grad(): batches = [(learn.model(*(x if isinstance(x, list) else [x])), y) for x,y in dl or learn.data.valid_dl]
    outputs = torch.cat([o[0] if isinstance(o, tuple) else o for o,_ in batches]).double().numpy()
    targets = torch.cat([y for _,y in batches]).numpy()
    if outputs.ndim > 1: outputs = np.moveaxis(outputs, axis, -1).reshape(-1, outputs.shape[axis])
    if outputs.ndim > 1 and outputs.shape[1] == 1: outputs = outputs[:,0]
    return outputs,targets if targets.shape == outputs.shape else targets.reshape(-1)

def margin(outputs):
    "What a softmax ranks by, without its ties: the difference of two logits, the log-odds of more"
    if outputs.shape[1] == 2: return outputs[:,1] - outputs[:,0]
    return np.stack([outputs[:,c] - logsumexp(np.delete(outputs, c, 1), -1) for c in range(outputs.shape[1])], 1)

def sk_score(outputs, targets, **kwargs):
    "scikit-learn's number: two logits as their difference, more classes as a softmax in float64, columns with targets of their own as they are"
    if outputs.shape == targets.shape: return roc_auc_score(targets, outputs, **kwargs)
    if outputs.shape[1] == 2: return roc_auc_score(targets, margin(outputs), **kwargs)
    return roc_auc_score(targets, np.exp(outputs - logsumexp(outputs, -1, keepdims=True)), **{'multi_class':'ovr', **kwargs})

def exactly(x): return pytest.approx(x, rel=0, abs=1e-12)

def check(learn, column, *options, others=(), axis=1, score=sk_score, last=('time',)):
    "After a fit each column ends in scikit-learn's number, which says something; the other metrics stand before, the time after"
    options = {o.get('name', 'auroc'):{k:v for k,v in o.items() if k != 'name'} for o in options or ({},)}
    assert learn.recorder.names == ['epoch','train_loss','valid_loss', *others, *options, *last]
    outputs,targets = raw(learn, axis)
    for name,kwargs in options.items():
        want = score(outputs, targets, **kwargs)
        assert .02 < want < .9999 and want != .5, name
        assert isinstance(learn.recorder.metrics[-1][learn.recorder.metrics_names.index(name)], float)
        assert column(learn.recorder, name)[-1] == exactly(want), name

class Watch(LearnerCallback):
    "Notes scikit-learn's number at the end of each epoch, from the model as it is then"
    def __init__(self, learn, axis=1):
        super().__init__(learn)
        self.axis,self.values = axis,[]
    def on_epoch_end(self, **kwargs): self.values.append(sk_score(*raw(self.learn, self.axis)))

def held(o):
    "The tensors that an object holds, directly or through what it holds"
    seen,todo = {},[vars(o)]
    while todo:
        o = todo.pop()
        if id(o) in seen or isinstance(o, (type, types.ModuleType, types.FunctionType)): continue
        seen[id(o)] = o
        todo += gc.get_referents(o)
    return [o for o in seen.values() if isinstance(o, torch.Tensor)]

# Tabular

adult_columns = {},dict(average='weighted', name='second'),dict(max_fpr=.3, name='early')

@pytest.mark.parametrize('how', [*ways, 'fit', 'fits'])
def test_tabular_learner(how, adult_learner, column):
    "Each epoch of each fit, on Adult, also with a callback for one fit, or one for all"
    learn = adult_learner() if 'fit' in how else with_auroc(adult_learner, how, metrics=[accuracy])
    given = AUROC(learn) if how == 'fits' else None
    for epochs in 3,1,2:
        watch = Watch(learn)
        learn.fit(epochs, callbacks=[watch] + [given or AUROC(learn)]*('fit' in how))
        assert column(learn.recorder, 'auroc') == exactly(watch.values) and len(watch.values) == epochs
        check(learn, column, others=['accuracy'])

@every_way
def test_each_instance_has_its_own_options(how, adult_learner, column):
    learn = with_auroc(adult_learner, how, *adult_columns, metrics=[accuracy])
    for _ in range(2):
        learn.fit(1)
        check(learn, column, *adult_columns, others=['accuracy'])

def test_bare_class_without_other_metrics(adult_learner, column):
    learn = adult_learner(metrics=None, callback_fns=AUROC)
    learn.fit_one_cycle(2, 1e-2)
    check(learn, column)

# Text

@pytest.fixture(scope='module')
def messages(sms, tmp_path_factory):
    "250 messages as a DataBunch, to classify or, with `kind=TextLMDataBunch`, to predict the next word"
    df = sms.sample(250, random_state=0)
    def make(kind=TextClasDataBunch, **kwargs):
        return kind.from_df(tmp_path_factory.mktemp('sms'), df[:150], df[150:], text_cols='text', label_cols='spam', tokenizer=Tokenizer(n_cpus=1),
            max_vocab=500, min_freq=2, bs=32, num_workers=0, **kwargs)
    return make

@pytest.fixture(scope='module')
def sms_data(messages): return messages()

@pytest.fixture
def sms_learner(sms_data):
    "Makes a small AWD_LSTM classifier that was not pretrained"
    config = {**awd_lstm_clas_config, **small}
    def make(**kwargs): return text_classifier_learner(sms_data, AWD_LSTM, config=config, pretrained=False, silent=True, **kwargs)
    return make

@every_way
def test_text_classifier_learner(how, sms_learner, column):
    "Also frozen, unfrozen, and with predictions in between"
    learn = with_auroc(sms_learner, how, metrics=[accuracy])
    for change,epochs in (learn.freeze, 2),(learn.unfreeze, 1):
        change()
        watch = Watch(learn)
        learn.fit(epochs, 1e-2, callbacks=[watch])
        assert column(learn.recorder, 'auroc') == exactly(watch.values) and len(watch.values) == epochs
        check(learn, column, others=['accuracy'])
        outputs,targets = learn.get_preds(activ=noop)
        assert sk_score(outputs.double().numpy(), targets.numpy()) == exactly(watch.values[-1]) and not held(the(learn))

def test_exported_text_classifier(sms_learner, column):
    learn = everywhere(sms_learner)
    learn.fit(1)
    learn.export()
    loaded,text = load_learner(learn.path),'free entry to win a prize , call now'
    assert loaded.predict(text)[2].tolist() == pytest.approx(learn.predict(text)[2].tolist(), abs=1e-6)
    loaded.data = learn.data
    loaded.fit(1)
    check(loaded, column, *all_columns, others=['accuracy'])

@pytest.fixture(scope='module')
def lm_data(messages): return messages(TextLMDataBunch, bptt=20)

@pytest.mark.parametrize('how', ['callback_fns', 'callbacks'])
def test_language_model_is_refused_before_the_first_epoch(how, lm_data):
    config = {**awd_lstm_lm_config, **small}
    def make(**kwargs): return language_model_learner(lm_data, AWD_LSTM, config=config, pretrained=False, silent=True, **kwargs)
    learn = with_auroc(make, how)
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=r'vocabulary.*Perplexity\(\)'): learn.fit(1)
    assert all(p.equal(q) for p,q in zip(learn.model.parameters(), before))

# A Learner of one's own

@pytest.fixture(scope='module')
def digits():
    "scikit-learn's 1,797 images of digits, in [0, 1], (1797, 64), and their labels"
    x,y = load_digits(return_X_y=True)
    return torch.as_tensor(x/16).float(),torch.as_tensor(y)

@pytest.fixture
def digit_data(digits, tmp_path):
    "Makes a DataBunch of `n` images of the digits `which`, the last 40% for validation; `as_target` turns images and class numbers into targets"
    def make(which=(3,8), n=300, as_target=lambda x, y: y, as_input=noop, bs=32, num_workers=0):
        x,y = digits
        idx = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(y, which)))[:n]
        x,y = x[idx],as_target(x[idx], torch.as_tensor([which.index(o) for o in y[idx]]))
        x,cut = as_input(x),int(len(idx)*.6)
        sets = (TensorDataset(x[:cut], y[:cut]), TensorDataset(x[cut:], y[cut:])) if isinstance(y, torch.Tensor) else (y[:cut], y[cut:])
        return DataBunch.create(*sets, bs=bs, num_workers=num_workers, path=tmp_path, pin_memory=False)
    return make

@pytest.fixture
def digit_learner(digit_data):
    "Makes a linear Learner for the digits 3 and 8, or on the `data` that is given"
    def make(data=None, model=None, loss_func=None, **kwargs):
        return Learner(data or digit_data(), model or nn.Linear(64, 2), loss_func=loss_func or CrossEntropyFlat(), silent=True, **kwargs)
    return make

some = (0,2,3,4,5,6,7,9)

def as_numbers(x, y): return y
def as_float(x, y): return y.float()
def as_column(x, y): return y[:,None]
def as_float_column(x, y): return y.float()[:,None]
def as_kinds(x, y):
    "Whether one of `some` is even, prime, above four: never all, never none"
    y = torch.tensor(some)[y]
    return torch.stack([y % 2 == 0, torch.isin(y, torch.tensor([2,3,5,7])), y > 4], 1).float()
def as_mask(level, x, y): return (F.avg_pool2d(x.view(-1, 1, 8, 8), 3, 1, 1) > level).long()
def as_three(x, y): return as_mask(.25, x, y) + as_mask(.5, x, y)

def linear(n_out): return nn.Linear(64, n_out)
def squeezed(n_out): return nn.Sequential(nn.Linear(64, n_out), nn.Flatten(0))
def log_softmax(n_out): return nn.Sequential(nn.Linear(64, n_out), nn.LogSoftmax(-1))
def per_pixel(n_out): return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, n_out, 3, padding=1))

binary = {},dict(max_fpr=.3, name='early')
multiclass = {},dict(average='weighted', name='weighted'),dict(average='micro', name='micro'),dict(multi_class='ovo', name='ovo'),dict(
    multi_class='ovo', average='weighted', name='ovo_weighted')
multilabel = {},*(dict(average=o, name=o) for o in ('weighted', 'micro', 'samples'))
def two(loss_func, net=linear): return (3,8),net,2,loss_func,as_numbers,binary
def one(loss_func, as_target, net=linear): return (3,8),net,1,loss_func,as_target,binary
def more(which, loss_func): return which,linear,len(which),loss_func,as_numbers,multiclass
def labels(loss_func): return some,linear,3,loss_func,as_kinds,multilabel
def pixels(n_out, as_target, options): return (3,8),per_pixel,n_out,CrossEntropyFlat(axis=1),as_target,options

kinds = dict(two_logits=two(CrossEntropyFlat()), two_logits_torch=two(nn.CrossEntropyLoss()), two_logits_function=two(F.cross_entropy),
    label_smoothing=two(LabelSmoothingCrossEntropy()), log_probabilities=two(F.nll_loss, log_softmax),
    one_logit=one(BCEWithLogitsFlat(), as_float), one_logit_numbers=one(BCEWithLogitsFlat(), as_numbers),
    one_logit_column=one(BCEWithLogitsFlat(), as_column), one_logit_torch=one(nn.BCEWithLogitsLoss(), as_float_column),
    one_logit_squeezed=one(nn.BCEWithLogitsLoss(), as_float, squeezed), classes=more((3,5,8), CrossEntropyFlat()),
    classes_torch=more((1,3,5,8), nn.CrossEntropyLoss()), labels=labels(BCEWithLogitsFlat()), labels_torch=labels(nn.BCEWithLogitsLoss()),
    pixels=pixels(2, partial(as_mask, .4), binary), pixels_of_three=pixels(3, as_three, multiclass))

@every_way
@pytest.mark.parametrize('kind', kinds)
def test_plain_learner(kind, how, digit_data, digit_learner, column):
    which,net,n_out,loss_func,as_target,options = kinds[kind]
    learn = with_auroc(digit_learner, how, *options, data=digit_data(which, as_target=as_target), model=net(n_out), loss_func=loss_func)
    for _ in range(2):
        learn.fit(1)
        check(learn, column, *options)

@every_way
def test_class_axis_is_that_of_the_loss(how, digit_data, digit_learner, column):
    "As many rows and columns of pixels as classes, which are in the last axis: only the loss can tell, or the option"
    class Last(nn.Module):
        def forward(self, x): return x.movedim(1, -1)
    def top(x, y): return as_mask(.3, x, y)[:,0,2:4,2:4]
    def cut(x): return x.view(-1, 1, 8, 8)[:,:,2:4,2:4]
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1), Last())
    data = digit_data(some, 900, as_target=top, as_input=cut)
    options = dict(axis=-1) if how == 'metrics' else {}
    learn = with_auroc(digit_learner, how, options, data=data, model=net, loss_func=CrossEntropyFlat())
    learn.fit(1)
    check(learn, column, axis=-1)

@pytest.mark.parametrize('net,loss_func', [(linear, CrossEntropyFlat()), (log_softmax, F.nll_loss)], ids=['logits','logs'])
@pytest.mark.parametrize('k', [2, 3])
@every_way
def test_overconfident_outputs(how, k, net, loss_func, digit_data, digit_learner):
    "Where probabilities are ties of 0 and 1 the ranking is still that of the raw outputs"
    learn = with_auroc(digit_learner, how, data=digit_data(range(10), 600, lambda x, y: y % k), model=net(k), loss_func=loss_func)
    learn.fit(1, 30.)
    outputs,targets = raw(learn)
    odds = margin(outputs)
    want = roc_auc_score(targets, odds) if k == 2 else np.mean([roc_auc_score(targets == c, odds[:,c]) for c in range(k)])
    assert .6 < want < .999 and ((p := learn.get_preds()[0]) == 0).sum() + (p == 1).sum() > .3*p.numel()
    assert the(learn).value == exactly(want)

def test_worker_processes(digit_data, digit_learner, column):
    learn = digit_learner(digit_data(num_workers=2), callback_fns=AUROC)
    learn.fit(1)
    check(learn, column)

@every_way
def test_mixup(how, digit_data, digit_learner, column):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    learn = with_auroc(digit_learner, how, data=digit_data((3,5,8), as_input=lambda x: x.view(-1, 1, 8, 8)), model=net).mixup()
    for _ in range(2):
        learn.fit(1)
        check(learn, column)

@every_way
@pytest.mark.parametrize('loss_fp32', [True, False])
def test_half_precision(loss_fp32, how, digit_data, digit_learner, column):
    learn = with_auroc(digit_learner, how, data=digit_data(n=357)).to_fp16(loss_fp32=loss_fp32)
    watch = Watch(learn)
    learn.fit(2, 1e-2, callbacks=[watch])
    assert next(learn.model.parameters()).dtype == torch.float16 and column(learn.recorder, 'auroc') == exactly(watch.values)
    check(learn, column)
    learn.to_fp32()
    learn.fit(1)
    check(learn, column)

# What else is done with a Learner

@every_way
def test_validate(how, adult_learner, adult_data):
    "Before any fit: the number where fastai 1 calls the callback, which it does not do for callback_fns, and nothing on the Learner changes"
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    before = {k:len(v) if isinstance(v, list) else id(v) for k,v in vars(learn).items()}
    results = [learn.validate(), learn.validate(), learn.validate(learn.data.train_dl)]
    assert {k:len(v) if isinstance(v, list) else id(v) for k,v in vars(learn).items()} == before and not hasattr(learn, 'recorder')
    outputs,targets = raw(learn)
    assert results[0] == results[1] and float(results[0][1]) == pytest.approx((outputs.argmax(1) == targets).mean())
    if how == 'callback_fns': assert [len(o) for o in results] == [2]*3
    else: assert results[0][2:] == [exactly(sk_score(outputs, targets))] and len(results[2]) == 3 and not held(the(learn))

def test_validate_with_arguments(adult_learner):
    learn = adult_learner()
    dl = learn.data.fix_dl
    want = exactly(sk_score(*raw(learn, dl=dl)))
    assert learn.validate(dl, metrics=[AUROC()])[1:] == [want]
    assert learn.validate(dl, callbacks=[AUROC(learn)])[2:] == [want]
    learn.fit(1)
    names = list(learn.recorder.names)
    learn.validate(callbacks=[AUROC(learn)])
    assert learn.recorder.names == names == ['epoch','train_loss','valid_loss','accuracy','time'] and not hasattr(learn.recorder, '_added_met_names')

asides = dict(get_preds=lambda learn, row: learn.get_preds(), train_preds=lambda learn, row: learn.get_preds(DatasetType.Train, with_loss=True),
    test_preds=lambda learn, row: (learn.data.add_test(learn.data.valid_ds.x), learn.get_preds(DatasetType.Test)),
    predict=lambda learn, row: learn.predict(row), pred_batch=lambda learn, row: learn.pred_batch(),
    show_results=lambda learn, row: learn.show_results(rows=2), interpret=lambda learn, row: learn.interpret(),
    validate=lambda learn, row: learn.validate(), lr_find=lambda learn, row: learn.lr_find(num_it=12),
    save=lambda learn, row: learn.load(learn.save('aside', return_path=True).stem), export=lambda learn, row: learn.export(),
    purge=lambda learn, row: learn.purge(), purge_but_optimizer=lambda learn, row: learn.purge(clear_opt=False))

@pytest.mark.parametrize('aside', asides)
def test_fits_before_and_after(aside, adult_learner, adult, column):
    "Done before the first fit and after it, an aside leaves no rows behind, and the columns of both fits are right"
    learn = everywhere(adult_learner)
    for n in range(2):
        asides[aside](learn, adult.iloc[0])
        assert len(aurocs(learn)) >= 2 and not any(held(o) for o in aurocs(learn))
        learn.fit(1)
        check(learn, column, *all_columns, others=['accuracy'])
        assert len(learn.recorder.metrics) == 1
    values = {o.name:o.value for o in aurocs(learn)}
    learn.get_preds()
    learn.predict(adult.iloc[0])
    assert {o.name:o.value for o in aurocs(learn)} == values and values['auroc'] == exactly(sk_score(*raw(learn)))

@every_way
def test_lr_find_has_no_number(how, adult_learner, column):
    "Nothing is validated, so that no row of metrics is written; the fit after it has its column"
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    learn.lr_find(num_it=12)
    assert len(learn.recorder.losses) == 12 and learn.recorder.metrics == []
    learn.fit(2)
    check(learn, column, others=['accuracy'])

class Nested(LearnerCallback):
    "Calls `what` at the end of each epoch, as callbacks do that make columns of their own; keeps the Recorder, which `get_preds` replaces"
    def __init__(self, learn, what, order):
        super().__init__(learn)
        self.what,self._order = what,order
    def on_train_begin(self, **kwargs): self.fitted = self.learn.recorder
    def on_epoch_end(self, **kwargs): self.what(self.learn)

def train_preds(learn): return learn.get_preds(DatasetType.Train)
def train_validate(learn): return learn.validate(learn.data.train_dl)

@pytest.mark.parametrize('order', [-20, 0])
@pytest.mark.parametrize('what', [train_preds, train_validate])
@every_way
def test_nested_calls(how, what, order, adult_learner, column):
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    nested,watch = Nested(learn, what, order),Watch(learn)
    learn.fit(3, 1e-2, callbacks=[watch, nested])
    assert column(nested.fitted, 'auroc') == exactly(watch.values) and len(watch.values) == 3
    assert what is train_validate or the(learn).value == exactly(watch.values[-1])

def test_saved_weights_have_their_number(adult_learner):
    learn = adult_learner(callback_fns=AUROC)
    learn.fit(1)
    first = learn.auroc.value
    learn.save('first')
    learn.fit(2, 1e-2)
    second = learn.auroc.value
    learn.load('first')
    assert learn.validate(callbacks=[AUROC(learn)])[2] == exactly(first) != second

@pytest.fixture
def much(adult_learner): return everywhere(adult_learner)

def test_exported_learner_predicts_and_fits(much, adult, column):
    much.fit(1)
    much.export()
    loaded = load_learner(much.path)
    assert repr([*loaded.metrics[1:], *loaded.callbacks]) == "[AUROC(average='weighted', name='metric'), AUROC(max_fpr=0.5, name='own')]"
    for i in range(5): assert loaded.predict(adult.iloc[i])[2].tolist() == pytest.approx(much.predict(adult.iloc[i])[2].tolist(), abs=1e-6)
    loaded.data = much.data
    for _ in range(2):
        loaded.fit(1)
        check(loaded, column, *all_columns, others=['accuracy'])

def test_file_holds_no_rows(much):
    "Exported in the middle of a validation, when all columns hold rows, a Learner takes as much room as before the first fit"
    def size():
        file = io.BytesIO()
        much.export(file)
        return len(file.getvalue())
    class Save(LearnerCallback):
        def on_batch_end(self, train, num_batch, **kwargs):
            if not train: sizes.append((size(), [len(held(o)) for o in (much.metrics[1], much.own, much.auroc, much.early)]))
    sizes,before = [],size()
    much.fit(1, callbacks=[Save(much)])
    assert len(sizes) == 5 and all(abs(now-before) < 300 and all(rows) for now,rows in sizes)

def test_objects_are_their_options(adult_learner):
    "Copied or pickled in the middle of a validation, a column has no rows, no value and no Learner"
    learn = adult_learner(callback_fns=partial(AUROC, max_fpr=.5, name='early'))
    class Copy(LearnerCallback):
        def on_batch_end(self, train, **kwargs):
            if not (train or copies): copies.extend(f(o) for o in (learn.early, lone) for f in (copy.copy, copy.deepcopy, pickled))
    def pickled(o): return pickle.loads(pickle.dumps(o))
    lone,copies = AUROC(None, 'micro', activation='identity', axis=-1, ignore_index=255),[]
    learn.fit(1, callbacks=[Copy(learn)])
    assert [repr(o) for o in copies] == [
        *["AUROC(max_fpr=0.5, name='early')"]*3, *["AUROC(average='micro', activation='identity', axis=-1, ignore_index=255)"]*3]
    assert all(not held(o) and o.learn is None and math.isnan(o.value) and len(pickle.dumps(o)) < 400 for o in copies)

@pytest.mark.parametrize('how', ['callback_fns', 'metrics'])
def test_copied_learner(how, adult_learner, column):
    "It has a column of its own; only `learn.callbacks` stay with the Learner that was copied, as fastai 1 has it"
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    learn.fit(1)
    value,other = the(learn).value,copy.deepcopy(learn)
    other.fit(1, 1e-2)
    check(other, column, others=['accuracy'])
    check(learn, column, others=['accuracy'])
    assert the(learn).value == value != the(other).value

@pytest.mark.parametrize('silent', [False, True])
@pytest.mark.parametrize('add_time', [False, True])
@every_way
def test_table(how, add_time, silent, adult_data, column, capsys):
    data = adult_data()
    def make(**kwargs): return Learner(data, Tabular(), silent=silent, add_time=add_time, **kwargs)
    learn = with_auroc(make, how, metrics=[accuracy])
    for _ in range(2):
        capsys.readouterr()
        learn.fit(1)
        names = ['epoch','train_loss','valid_loss','accuracy','auroc'] + ['time']*add_time
        printed = capsys.readouterr().out
        assert (' '.join(names) in ' '.join(printed.split())) != silent and (f'{the(learn).value:.6f}' in printed) != silent
        check(learn, column, others=['accuracy'], last=['time']*add_time)

class Tabular(nn.Module):
    "A linear model of Adult's three numbers"
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    def forward(self, cats, conts): return self.layer(conts)

class Stop(LearnerCallback):
    "Raises `error` at the second batch of a validation"
    def __init__(self, learn, error):
        super().__init__(learn)
        self.error,self.rows = error,[]
    def on_batch_end(self, train, **kwargs):
        if train: return
        self.rows.append(len(held(the(self.learn))))
        if len(self.rows) == 2: raise self.error

@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
@every_way
def test_interrupt(how, error, adult_learner, column):
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    for _ in range(2):
        stop = Stop(learn, error)
        with pytest.raises(error): learn.fit(1, callbacks=[stop])
        assert all(stop.rows) and len(stop.rows) == 2 and not held(the(learn))
        learn.get_preds()
        assert not held(the(learn))
        learn.fit(1)
        check(learn, column, others=['accuracy'])

@pytest.mark.parametrize('how', ['metrics', 'callbacks'])
def test_interrupted_validate(how, adult_learner, column):
    "fastai 1 tells nobody that `validate` has ended, but predictions are not added to its rows, and the next numbers are right"
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    with pytest.raises(KeyboardInterrupt): learn.validate(callbacks=[Stop(learn, KeyboardInterrupt)])
    def rows(): return {hash(o[:500].numpy().tobytes()) for o in held(the(learn))}
    before = rows()
    learn.get_preds()
    assert rows() <= before
    assert learn.validate()[2] == exactly(sk_score(*raw(learn)))
    learn.fit(1)
    check(learn, column, others=['accuracy'])

@every_way
def test_memory(how, adult_learner):
    "A fit leaves neither outputs nor rows nor the callback of the fit before"
    class Refer(LearnerCallback):
        def on_batch_end(self, last_output, train, **kwargs):
            refs.append(weakref.ref(last_output))
            rows.append(len(held(the(self.learn))) > 0)
    learn = with_auroc(adult_learner, how, metrics=[accuracy])
    refs,rows = [],[]
    learn.fit(2, callbacks=[Refer(learn)])
    gc.collect()
    assert len(refs) == 2*(9+5) and not any(r() is not None for r in refs) and rows == ([False]*9 + [True]*5)*2
    assert not held(the(learn))
    old = weakref.ref(the(learn))
    learn.fit(1)
    gc.collect()
    assert (old() is None) == (how == 'callback_fns')

def notes(seen): return [str(w.message) for w in seen if 'AUROC' in str(w.message)]

class Broken(nn.Linear):
    "A model whose outputs in evaluation are NaN, of the first `rows` of a batch, while `bad`"
    bad,rows = True,1
    def forward(self, x):
        res = super().forward(x)
        if self.bad and not self.training: res[:self.rows] = math.nan
        return res

@pytest.mark.parametrize('rows', [1, 32])
@every_way
def test_nan_outputs(how, rows, digit_learner, column):
    "NaN with one warning a fit, while the training goes on; once the outputs are numbers again, so is the column"
    model = Broken(64, 2)
    model.rows = rows
    learn = with_auroc(digit_learner, how, model=model, metrics=[accuracy])
    count = 4*rows if rows == 1 else 120
    for _ in range(2):
        with pytest.warns(UserWarning) as seen: learn.fit(2)
        assert notes(seen) == [f'auroc: AUROC is NaN: {count} of 120 rows have NaN scores']
        assert len(column(learn.recorder, 'auroc')) == 2 and all(map(math.isnan, column(learn.recorder, 'auroc')))
        assert all(map(math.isfinite, column(learn.recorder, 'accuracy')))
    class Mend(LearnerCallback):
        def on_epoch_begin(self, epoch, **kwargs): model.bad = epoch == 0
    with pytest.warns(UserWarning): learn.fit(2, callbacks=[Mend(learn)])
    assert math.isnan(column(learn.recorder, 'auroc')[0])
    check(learn, column, others=['accuracy'])

class Pair(nn.Linear):
    def forward(self, x): return (super().forward(x),)*2

class Uneven(nn.Linear):
    "A model that forgets a class in a small batch"
    def forward(self, x): return super().forward(x)[:,:2 if len(x) < 32 else 3]

def any_loss(outputs, *targets): return (outputs if isinstance(outputs, torch.Tensor) else outputs[0]).mean()
def as_two(x, y): return [(a, (b, b)) for a,b in zip(x, y)]

wrong = r'targets must have the shape of the outputs, with or without their class axis: got outputs of shape '
shapes = dict(columns=(nn.Linear(64, 3), lambda x, y: F.one_hot(y, 2), wrong + r'\(32, 3\) and targets of shape \(32, 2\)'),
    rows=(nn.Linear(64, 2), lambda x, y: y[:,None].expand(-1, 5), wrong + r'\(32, 2\) and targets of shape \(32, 5\)'),
    one_number=(nn.Sequential(nn.Linear(64, 1), nn.Flatten(0)), lambda x, y: y[:,None].expand(-1, 2), r'\(32,\) and targets of shape \(32, 2\)'),
    two_outputs=(Pair(64, 2), as_numbers, 'needs one tensor of outputs, got a tuple of 2'),
    two_targets=(nn.Linear(64, 2), as_two, 'needs one tensor of targets, got a list of 2'),
    uneven=(Uneven(64, 3), as_numbers, r'batches must agree in shape, got rows of shape \(2,\) after \(3,\)'),
    classes=(nn.Linear(64, 3), lambda x, y: y+2, r'targets must be class numbers from 0 to 2, but \d+ of 120 rows have others'))

@pytest.mark.parametrize('shape', shapes)
@every_way
def test_wrong_shapes(how, shape, digit_data, digit_learner, column):
    "NaN, and one warning that says why, while the training goes on"
    model,as_target,why = shapes[shape]
    learn = with_auroc(digit_learner, how, data=digit_data(as_target=as_target), model=copy.deepcopy(model), loss_func=any_loss)
    with pytest.warns(UserWarning, match=f'^auroc: AUROC is NaN: .*{why}') as seen: learn.fit(2)
    assert len(notes(seen)) == 1 and len(learn.recorder.val_losses) == 2
    assert len(column(learn.recorder, 'auroc')) == 2 and all(map(math.isnan, column(learn.recorder, 'auroc')))

@pytest.mark.parametrize('how', ['callback_fns', 'callbacks'])
def test_interval(how, adult_learner, column):
    "The second column is half the width of DeLong's interval"
    learn = with_auroc(adult_learner, how, dict(ci=True), metrics=[accuracy])
    learn.fit(1)
    assert learn.recorder.names == ['epoch','train_loss','valid_loss','accuracy','auroc','auroc_ci','time']
    outputs,targets = raw(learn)
    auroc,se = delong(margin(outputs), targets)
    assert [column(learn.recorder, name)[0] for name in ('auroc', 'auroc_ci')] == [exactly(auroc), pytest.approx(norm.ppf(.975)*se, rel=1e-9)]

# Numbers, with the NumPy of fastai 1's time

def delong(scores, targets):
    "AUROC and its standard error from all pairs"
    p,q = scores[targets == 1],scores[targets == 0]
    right = (p[:,None] > q) + .5*(p[:,None] == q)
    return right.mean(),math.sqrt(right.mean(1).var(ddof=1)/len(p) + right.mean(0).var(ddof=1)/len(q))

def scores_of(n, dtype, kind):
    "Scores, also as float64 array, targets and whole weights, of which some are 0; ties have zeros of both signs"
    rng = np.random.default_rng(n)
    y = rng.random(n) < min(.4, 300/n)
    z = rng.normal(y*.8, 1)
    z = dict(signed=z, positive=np.exp(z), ties=np.round(2*z)/2)[kind]
    scores = torch.as_tensor(z).to(dtype)
    return scores,scores.double().numpy(),y.astype(int),rng.integers(0, 5, n)

dtypes = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
scores_kinds = pytest.mark.parametrize('kind', ['signed', 'positive', 'ties'])
sizes = pytest.mark.parametrize('n', [1500, 2**16+999])

@pytest.fixture(params=[1, 2], ids=['one thread','two threads'])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)

@dtypes
@scores_kinds
@sizes
def test_score_numbers(n, kind, dtype, threads):
    scores,s,y,w = scores_of(n, dtype, kind)
    for max_fpr in None,.2,1.:
        for weight in None,w:
            want = roc_auc_score(y, s, max_fpr=max_fpr, sample_weight=weight)
            for form in [scores, scores[:,None]] + ([] if dtype == torch.bfloat16 else [scores.numpy()]):
                assert auroc_score(form, torch.as_tensor(y), max_fpr=max_fpr, sample_weight=weight).item() == exactly(want)

@dtypes
@scores_kinds
@sizes
def test_curve_numbers(n, kind, dtype):
    scores,s,y,w = scores_of(n, dtype, kind)
    for weight,drop in (None, True),(None, False),(w, True),(w, False):
        got,want = (f(*a, sample_weight=weight, drop_intermediate=drop) for f,a in ((roc_curve, (scores, y)), (sk_roc_curve, (y, s))))
        for a,b in zip(got, want): np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-12)

@dtypes
@scores_kinds
@sizes
def test_interval_numbers(n, kind, dtype):
    scores,s,y,_ = scores_of(n, dtype, kind)
    auroc,se = delong(s, y)
    reach = norm.ppf(.95)*se
    assert list(auroc_ci(scores, y, level=.9)) == pytest.approx([auroc, auroc-reach, auroc+reach, se], rel=1e-9)

def columns_of(k=5, n=400):
    "Logits, class numbers that depend on them, and labels for each column, of which every row has some"
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, k))*3
    y,labels = (z + rng.gumbel(size=(n, k))*4).argmax(1),z + rng.normal(size=(n, k))*5 > 1
    labels[np.arange(n),y],labels[np.arange(n),(y+1) % k] = True,False
    return z,y,labels.astype(int),rng.integers(1, 5, n)

@pytest.mark.parametrize('multi_class,average', [*(('ovr', o) for o in ('macro', 'weighted', 'micro', None)), ('ovo', 'macro'), ('ovo', 'weighted')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_multiclass_numbers(dtype, multi_class, average):
    z,y,_,w = columns_of()
    logits = torch.as_tensor(z).to(dtype)
    p = logits.softmax(-1)
    for weight in [None] + [w]*(multi_class == 'ovr'):
        def want(p): return roc_auc_score(y, p, multi_class=multi_class, average=average, sample_weight=weight)
        for scores,activation,sk in (p, None, p.double().numpy()),(logits, 'softmax', logits.double().softmax(-1).numpy()):
            got = auroc_score(scores, y, activation=activation, multi_class=multi_class, average=average, sample_weight=weight)
            np.testing.assert_allclose(got.numpy(), want(sk), rtol=0, atol=1e-12)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro', 'samples', None])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64], ids=str)
def test_multilabel_numbers(dtype, average):
    z,_,labels,w = columns_of()
    scores = torch.as_tensor(z).to(dtype)
    for max_fpr,weight in (None, None),(None, w),(.3, None):
        want = roc_auc_score(labels, scores.double().numpy(), average=average, max_fpr=max_fpr, sample_weight=weight)
        got = auroc_score(scores, labels, activation='sigmoid', average=average, max_fpr=max_fpr, sample_weight=weight)
        np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-12)
