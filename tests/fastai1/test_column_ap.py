"`AveragePrecision`, rows kept once, groups and `select` in fastai 1"
import copy, math, pickle, warnings, numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from fastai.basic_data import DataBunch
from fastai.basic_train import Learner, LearnerCallback, load_learner
from fastai.callbacks import SaveModelCallback
from fastai.core import noop
from fastai.metrics import accuracy
from fastai.text import AWD_LSTM, TextClasDataBunch, Tokenizer, awd_lstm_clas_config, text_classifier_learner
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader
from fastai_auroc.fastai1 import AUROC, AveragePrecision

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)

def fit(learn, n=1, **kwargs):
    "Train; gives the warnings of ours"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        learn.fit(n, **kwargs)
    return [o for o in said if o.filename == 'fastai_auroc']

def last(recorder, *names): return [float(recorder.metrics[-1][recorder.metrics_names.index(name)]) for name in names]

def margin_of(learn, **kwargs):
    z,y = learn.get_preds(activ=noop, **kwargs)
    return (z[:,1].double() - z[:,0].double()).numpy(),y.numpy()

ways = dict(metrics=lambda: dict(metrics=[accuracy, AveragePrecision()]), callback_fns=lambda: dict(callback_fns=AveragePrecision),
    partial=lambda: dict(callback_fns=partial(AveragePrecision, average='weighted')))

@pytest.mark.parametrize('how', [*ways, 'callbacks'])
def test_column(how, adult_learner):
    learn = adult_learner(**(ways[how]() if how in ways else {}))
    for n in 1,2:
        assert not fit(learn, n, callbacks=[AveragePrecision(learn)] if how == 'callbacks' else None)
        recorder = learn.recorder
        s,y = margin_of(learn)
        assert last(recorder, 'ap') == close([average_precision_score(y, s)])

def test_tracker_and_value(adult_learner, tmp_path):
    learn = adult_learner(callback_fns=[AveragePrecision, partial(SaveModelCallback, monitor='ap')])
    fit(learn, 3)
    recorder = learn.recorder
    best = max(float(m[recorder.metrics_names.index('ap')]) for m in recorder.metrics)
    s,y = margin_of(learn)
    assert average_precision_score(y, s) == close(best) and isinstance(learn.ap, AveragePrecision)

def test_errors_name_the_column(adult_learner):
    with pytest.raises(ValueError, match='AveragePrecision shows one number'): AveragePrecision(average=None)
    with pytest.raises(TypeError, match="AveragePrecision's first argument is the Learner"): AveragePrecision('weighted')
    with pytest.raises(ValueError, match='as a callback AveragePrecision needs its Learner'): adult_learner().fit(1, callbacks=[AveragePrecision()])

orders = {'auroc, ap': [AUROC, AveragePrecision], 'ap, auroc': [AveragePrecision, AUROC],
    'three': [partial(AUROC, max_fpr=.2, name='early'), AveragePrecision, AUROC]}

def columns_of(learn): return [o for o in (*learn.metrics, *vars(learn).values()) if isinstance(o, (AUROC, AveragePrecision))]

class Looks(LearnerCallback):
    "Notes how many epochs and rows the columns have, after the last batch"
    _order = 100
    def on_batch_end(self, train, **kwargs):
        if not train: self.seen = {id(o._epoch):o._epoch.n for o in columns_of(self.learn)}

@pytest.mark.parametrize('order', orders)
@pytest.mark.parametrize('how', ['metrics', 'callback_fns'])
def test_outputs_are_kept_once(order, how, adult_learner):
    given = orders[order]
    learn = adult_learner(**{'metrics':[], how:[o() for o in given] if how == 'metrics' else given})
    for n in 2,1:
        looks = Looks(learn)
        assert not fit(learn, n, callbacks=[looks])
        assert list(looks.seen.values()) == [300]
        recorder = learn.recorder
        s,y = margin_of(learn)
        assert last(recorder, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])
    if how == 'metrics': assert learn.validate()[1 + [o.name for o in learn.metrics].index('auroc')] == pytest.approx(roc_auc_score(y, s))

def test_a_metric_does_not_know_the_loss(adult_learner):
    "So it keeps its own, and both are right"
    learn = adult_learner(metrics=[AUROC()], callback_fns=AveragePrecision)
    looks = Looks(learn)
    assert not fit(learn, callbacks=[looks]) and list(looks.seen.values()) == [300]*2
    recorder = learn.recorder
    s,y = margin_of(learn)
    assert last(recorder, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])

class Validates(LearnerCallback):
    "In the middle of a validation, with other columns"
    def __init__(self, learn, **kwargs):
        super().__init__(learn)
        self.kwargs,self.got = kwargs,[]
    def on_batch_end(self, train, num_batch, **kwargs):
        if train or len(self.got): return
        self.got.append(0)
        self.got.append(self.learn.validate(**self.kwargs))

@pytest.mark.parametrize('kwargs', [{}, dict(metrics=[]), dict(metrics=[AveragePrecision(), AUROC()])], ids=['the same', 'none', 'others'])
def test_validation_inside_another(kwargs, adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()])
    fit(learn, 2, callbacks=[Validates(learn, **kwargs)])
    recorder = learn.recorder
    s,y = margin_of(learn)
    assert last(recorder, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])

def test_interrupted(adult_learner):
    class Stops(LearnerCallback):
        def on_batch_end(self, train, **kwargs):
            if not train: raise KeyboardInterrupt
    learn = adult_learner(metrics=[], callback_fns=[AUROC, AveragePrecision])
    with pytest.raises(KeyboardInterrupt): fit(learn, callbacks=[Stops(learn)])
    fit(learn)
    recorder = learn.recorder
    s,y = margin_of(learn)
    assert last(recorder, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])

def test_copies_and_export(adult_learner):
    learn = adult_learner(metrics=[AUROC(), AveragePrecision()], callback_fns=partial(AUROC, groups=['a', 'b']*150, name='within'))
    fit(learn)
    other = copy.deepcopy(learn)
    fit(other)
    recorder = other.recorder
    s,y = margin_of(other)
    assert last(recorder, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])
    learn.export()
    loaded = load_learner(learn.path)
    assert repr(loaded.metrics) == '[AUROC(), AveragePrecision()]'
    assert pickle.loads(pickle.dumps(AveragePrecision(average='weighted'))).options() == AveragePrecision(average='weighted').options()

# Groups

def by_group(groups, y, s):
    at = [np.flatnonzero(np.array(groups) == g) for g in dict.fromkeys(groups)]
    return np.mean([roc_auc_score(y[i], s[i]) for i in at if 0 < y[i].sum() < len(i)])

groups = np.random.default_rng(0).choice(['north', 'south', 'west'], 300).tolist()

@pytest.mark.parametrize('how', ['metrics', 'callback_fns'])
def test_groups(how, adult_learner):
    given = dict(metrics=[AUROC(groups=groups)]) if how == 'metrics' else dict(callback_fns=[AUROC, partial(AUROC, groups=groups, name='within')])
    learn = adult_learner(**given)
    assert not fit(learn, 2)
    recorder = learn.recorder
    s,y = margin_of(learn)
    assert last(recorder, 'auroc' if how == 'metrics' else 'within') == close([by_group(groups, y, s)])

def test_groups_of_another_length(adult_learner):
    learn = adult_learner(metrics=[AUROC(groups=groups[1:])])
    said, = fit(learn, 2)
    assert 'groups has 299 labels, but the validation set has 300 items' in str(said.message) and math.isnan(last(learn.recorder, 'auroc')[0])

def test_shuffled_items(adult_learner):
    learn = adult_learner(metrics=[], callback_fns=partial(AUROC, groups=groups))
    learn.data.valid_dl = learn.data.valid_dl.new(shuffle=True)
    said, = fit(learn)
    assert 'the loader has a RandomSampler' in str(said.message) and math.isnan(last(learn.recorder, 'auroc')[0])

def validate(learn, *args):
    "Values of the metrics, and the warnings of ours"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        values = learn.validate(*args)[1:]
    return [float(o) for o in values],' '.join(str(o.message) for o in said if o.filename == 'fastai_auroc')

def test_batches_of_a_sampler(adult_learner):
    "Its order is not that of the loader's own sampler, which nobody asks: NaN, not a wrong number"
    learn = adult_learner(metrics=[AUROC(groups=groups), AUROC(name='all')])
    backwards = [list(range(i, max(-1, i-50), -1)) for i in range(299, -1, -50)]
    learn.data.valid_dl.dl = DataLoader(learn.data.valid_ds, batch_sampler=backwards, collate_fn=learn.data.valid_dl.dl.collate_fn)
    said, = fit(learn)
    recorder = learn.recorder
    assert 'the loader has a list' in str(said.message) and math.isnan(last(recorder, 'auroc')[0])
    assert not math.isnan(last(recorder, 'all')[0])

def bunch_of(x, y, k=100, **kwargs):
    "The first `k` rows for training"
    return DataBunch(*(DataLoader(torch.utils.data.TensorDataset(x[i], y[i]), 32) for i in (slice(k), slice(k, None))), **kwargs)

def test_other_sets(adult_small):
    "NaN, whatever their length: nobody knows which groups their items are in"
    x,y = adult_small
    own = groups[:150]
    learn = Learner(bunch_of(x, y, 150), nn.Linear(3, 2), loss_func=nn.CrossEntropyLoss(), silent=True, metrics=[AUROC(groups=own)])
    fit(learn)
    texts = 'these are the items of training', 'these are other items than those of data.valid_ds', 'groups has 150 labels, but the validation set has 200 items'
    loaders = learn.data.train_dl,bunch_of(x, y, 150).valid_dl,bunch_of(x, y).valid_dl
    for dl,text in zip(loaders, texts):
        (value,),said = validate(learn, dl)
        assert math.isnan(value) and text in said
    (value,),said = validate(learn)
    s,y = margin_of(learn)
    assert value == close(by_group(own, y, s)) and not said

def test_inputs_of_any_kind(adult_small):
    "How many items a batch has is told by the outputs"
    x,y = adult_small
    class Held:
        def __init__(self, x): self.x = x
        def to(self, *args, **kwargs): return self
        cpu = to
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 2)
        def forward(self, held): return self.body(held.x)
    def collate(rows):
        x,y = zip(*rows)
        return Held(torch.stack(x)),torch.stack(y)
    learn = Learner(bunch_of(x, y, collate_fn=collate), Takes(), loss_func=nn.CrossEntropyLoss(), silent=True,
        metrics=[AUROC(), AUROC(groups=groups[:200], name='within')])
    assert not fit(learn)
    with torch.no_grad(): z = learn.model.body(x[100:]).double()
    s,y = (z[:,1] - z[:,0]).numpy(),y[100:].numpy()
    assert last(learn.recorder, 'auroc', 'within') == close([roc_auc_score(y, s), by_group(groups[:200], y, s)])

def test_texts_sorted_by_length(sms, tmp_path):
    df = sms.sample(250, random_state=0)
    data = TextClasDataBunch.from_df(tmp_path, df[:150], df[150:], text_cols='text', label_cols='spam', tokenizer=Tokenizer(n_cpus=1), bs=16, num_workers=0)
    own = groups[:100]
    config = {**awd_lstm_clas_config, 'emb_sz':8, 'n_hid':8, 'n_layers':1}
    learn = text_classifier_learner(data, AWD_LSTM, config=config, pretrained=False, silent=True, metrics=[], callback_fns=partial(AUROC, groups=own))
    assert not fit(learn)
    recorder = learn.recorder
    s,y = margin_of(learn, ordered=True)
    assert list(data.valid_dl.dl.sampler) != list(range(100)) and last(recorder, 'auroc') == close([by_group(own, y, s)])

# Several outputs

class Heads(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.a,self.b,self.shape = nn.Linear(3, 2),nn.Linear(3, 2),shape
    def forward(self, x): return self.shape(self.a(x), self.b(x))

class Rows(torch.utils.data.Dataset):
    "Inputs and two targets"
    def __init__(self, x, y): self.x,self.y = x,y
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i],(self.y[i], (self.x[i,0] > 0).long())

@pytest.mark.parametrize('shape,keys', [(lambda a,b: (a, b), (0, 1)), (lambda a,b: dict(a=a, b=b), (0, 1))], ids=['tuple', 'mapping'])
@pytest.mark.parametrize('how', ['metrics', 'callback_fns'])
def test_one_column_a_head(shape, keys, how, adult_small, tmp_path):
    x,y = adult_small
    data = DataBunch.create(Rows(x[:100], y[:100]), Rows(x[100:], y[100:]), bs=32, num_workers=0, path=tmp_path)
    def loss_func(o, *targets): return sum(F.cross_entropy(z, y) for z,y in zip(o.values() if isinstance(o, dict) else o, targets))
    def second(o, y): return o['b'] if isinstance(o, dict) else o[1],y[1]
    columns = [partial(AUROC, select=keys[0], name='auroc_a'), partial(AUROC, select=keys[1], name='auroc_b'), partial(AveragePrecision, select=second)]
    learn = Learner(data, Heads(shape), loss_func=loss_func, silent=True, **{how:[o() for o in columns] if how == 'metrics' else columns})
    assert not fit(learn, 2)
    with torch.no_grad(): a,b = ((z[:,1].double() - z[:,0].double()).numpy() for z in (learn.model.a(x[100:]), learn.model.b(x[100:])))
    other = (x[100:,0] > 0).numpy()
    assert last(learn.recorder, 'auroc_a', 'auroc_b', 'ap') == close([roc_auc_score(y[100:], a), roc_auc_score(other, b), average_precision_score(other, b)])

def test_partial_areas(adult_learner):
    learn = adult_learner(metrics=[AUROC(min_tpr=.8), AUROC(max_fpr=.2, standardize=False, name='raw')])
    assert not fit(learn)
    recorder = learn.recorder
    s,y = margin_of(learn)
    want = roc_auc_score(1-y, -s, max_fpr=.2),roc_auc_score(y, s, max_fpr=.2)
    assert last(recorder, 'auroc', 'raw') == pytest.approx([want[0], .02 + .18*(want[1]-.5)/.5], abs=1e-12)
