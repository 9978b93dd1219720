"`AUROC(groups=)` as a column of fastai 2: one label for each item of the validation set, whatever the order of its rows; `min_tpr`"
import copy, math, pickle, warnings, numpy as np, pandas as pd, pytest, torch
from functools import partial
from fastai.callback.core import Callback, CancelBatchException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.text.all import AWD_LSTM, TextDataLoaders, awd_lstm_clas_config, text_classifier_learner
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from test_column_twins import fit
from torch import nn
from fastai_auroc.all import AUROC
from fastai_auroc.metric import AveragePrecision

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)

def margin_of(learn, **kwargs):
    "Margins and targets of the validation set, in its order"
    with learn.no_bar(), learn.no_logging(): z,y = learn.get_preds(act=lambda x: x, **kwargs)
    return (z[:,1].double() - z[:,0].double()).flatten().numpy(),y.numpy().ravel()

def by_group(groups, y, s, average='macro'):
    "scikit-learn's AUROC within groups that have both classes"
    at = [np.flatnonzero(np.array([o == g for o in groups])) for g in dict.fromkeys(o for o in groups if o is not None)]
    at = [i for i in at if 0 < y[i].sum() < len(i)]
    values = [roc_auc_score(y[i], s[i]) for i in at]
    if average == 'min': return min(values)
    weights = dict(macro=[1]*len(at), weighted=[len(i) for i in at], pairs=[y[i].sum()*(1-y[i]).sum() for i in at])[average]
    return np.average(values, weights=weights)

def last(learn, *names):
    table = list(learn.recorder.metric_names)[1:-1]
    return [learn.recorder.values[-1][table.index(name)] for name in names]

def random_groups(n, k=5, seed=0): return np.random.default_rng(seed).integers(0, k, n)

kinds = dict(list=lambda g: [f'site {o}' for o in g], array=lambda g: g, tensor=torch.tensor, series=lambda g: pd.Series(g, index=g[::-1]),
    categorical=lambda g: pd.Series(pd.Categorical([f's{o}' for o in g])), floats=lambda g: g/2, tuples=lambda g: [(int(o), 'x') for o in g])

@pytest.mark.parametrize('kind', kinds)
def test_labels_of_any_kind(kind, adult_learner):
    g = random_groups(300)
    learn = adult_learner(metrics=AUROC(groups=kinds[kind](g)))
    for _ in range(2):
        said = fit(learn)
        assert len(said) == (kind in ('series', 'categorical')) and all('groups has another index than dls.valid.items' in str(o.message) for o in said)
        got = last(learn, 'auroc')
        s,y = margin_of(learn)
        assert got == close([by_group(g, y, s)])

rows_of_another = 'groups has another index than dls.valid.items'

@pytest.mark.parametrize('order', ['the same', 'sorted', 'shuffled', 'first rows', 'counted', 'twice', 'values'])
def test_index_of_a_series(order, adult_learner, adult_dls, adult):
    "Labels of the validation set are found by its index; for others there is one warning a fit, and the order is theirs"
    df = adult.sample(900, random_state=0)
    valid_idx = np.random.default_rng(0).permutation(900)[:300]
    df['site'] = random_groups(900)
    learn = adult_learner(adult_dls(valid_idx=list(valid_idx)))
    index = learn.dls.valid.items.index
    g = df.loc[index, 'site']
    assert g.tolist() == df.site.iloc[valid_idx].tolist() and not index.is_monotonic_increasing
    given = {'the same': g, 'sorted': g.sort_index(), 'shuffled': g.sample(300, random_state=1), 'first rows': df.site[:300], 'counted': g.reset_index(drop=True),
        'twice': pd.Series(g.to_numpy(), [3]*300), 'values': g.to_numpy()}[order]
    odd = order in ('first rows', 'counted', 'twice')
    want = df.site[:300] if order == 'first rows' else g
    column = AUROC(groups=given)
    for cbs in (column, AUROC(**column.options()), pickle.loads(pickle.dumps(column))):
        said = fit(learn, 2, cbs=cbs)
        assert len(said) == odd and all(rows_of_another in str(o.message) and o.category is UserWarning for o in said)
        got = last(learn, 'auroc')
        s,y = margin_of(learn)
        assert got == close([by_group(want.to_numpy(), y, s)])
    learn.metrics = AUROC(groups=df.site)
    said, = fit(learn)
    assert math.isnan(last(learn, 'auroc')[0]) and "such as df.loc[dls.valid.items.index, 'column']" in str(said.message)

@pytest.mark.parametrize('average', ['macro', 'weighted', 'pairs', 'min'])
@pytest.mark.parametrize('how', ['metrics', 'cbs'])
def test_averages(average, how, adult_learner):
    g = random_groups(300, 7)
    learn = adult_learner(**{'metrics':[], how:[AUROC(), AUROC(groups=g, group_average=average, name='within'), AveragePrecision()]})
    fit(learn, 2)
    got = last(learn, 'auroc', 'within')
    s,y = margin_of(learn)
    assert got == close([roc_auc_score(y, s), by_group(g, y, s, average)])
    assert len({id(o._epoch) for o in learn.metrics or learn.cbs if isinstance(o, (AUROC, AveragePrecision))}) == 1

def test_rows_without_a_group_and_groups_of_one_class(adult_learner):
    g = [None if i % 7 == 0 else 'north' if i % 2 else 'south' for i in range(300)]
    g[1] = 'island'
    learn = adult_learner(metrics=AUROC(groups=g))
    said, = fit(learn, 2)
    got = last(learn, 'auroc')
    s,y = margin_of(learn)
    assert got == close([by_group(g, y, s)]) and said.category is UndefinedMetricWarning
    assert "'island'" in str(said.message) and 'leaves 1 of 3 groups out of the macro average' in str(said.message)

@pytest.mark.parametrize('n', [299, 301, 0])
def test_another_length(n, adult_learner):
    "NaN with one warning that names both numbers; other columns are not concerned"
    learn = adult_learner(metrics=[AUROC(groups=random_groups(n)), AUROC(name='all')])
    said, = fit(learn, 2)
    assert f'groups has {n} labels, but the validation set has 300 items' in str(said.message) and said.category is UndefinedMetricWarning
    got = last(learn, 'auroc', 'all')
    s,y = margin_of(learn)
    assert math.isnan(got[0]) and got[1] == close(roc_auc_score(y, s))

def test_other_sets(adult_learner, adult):
    "NaN, whatever their length: nobody knows which groups their items are in"
    g = random_groups(300)
    learn = adult_learner(metrics=AUROC(groups=g))
    fit(learn)
    other = adult.sample(1300, random_state=1)
    short,same = learn.dls.test_dl(other[:250], with_labels=True),learn.dls.test_dl(other[:300], with_labels=True)
    def validate(**kwargs):
        with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
            warnings.simplefilter('always')
            learn.metrics[0]._warned = False
            return learn.validate(**kwargs)[-1],' '.join(str(o.message) for o in said)
    value,said = validate(dl=short)
    assert math.isnan(value) and 'groups has 300 labels, but the validation set has 250 items' in said
    assert math.isnan(validate(ds_idx=0)[0])
    value,said = validate(dl=same)
    assert math.isnan(value) and 'these are other items than those of dls.valid, though there are as many' in said
    value,said = validate(dl=learn.dls.valid.new(get_idxs=lambda: list(range(300))[::-1]))
    assert value == close(by_group(g, *margin_of(learn)[::-1])) and not said
    s,y = margin_of(learn)
    assert validate()[0] == close(by_group(g, y, s))

def test_training_set_of_the_same_length(adult_learner, adult_dls):
    learn = adult_learner(adult_dls(n=600, valid=300), metrics=AUROC(groups=random_groups(300)))
    learn.recorder.train_metrics = True
    said, = fit(learn)
    assert 'these are the items of training' in str(said.message)
    got = last(learn, 'train_auroc', 'valid_auroc')
    s,y = margin_of(learn)
    assert math.isnan(got[0]) and got[1] == close(by_group(random_groups(300), y, s))
    with learn.no_bar(), learn.no_logging(): assert math.isnan(learn.validate(ds_idx=0)[-1])

# The order of rows

@pytest.mark.parametrize('kind', ['shuffled', 'some', 'dropped'])
def test_order_of_a_loader(kind, adult_learner, adult_dls):
    "Whichever it was in this epoch"
    dls = adult_dls()
    options = dict(shuffled=dict(shuffle=True), some=dict(get_idxs=lambda: list(range(250, 100, -3))), dropped=dict(drop_last=True))[kind]
    dls.loaders[1] = dls.valid.new(**options)
    g,seen = random_groups(300, 3),{}
    class Rows(Callback):
        order = Recorder.order - 1
        def before_validate(self): self.rows = []
        def after_batch(self):
            if not self.training: self.rows.append((self.pred.detach().double(), self.y.flatten()))
        def after_validate(self): seen['order'] = list(self.dl._DataLoader__idxs)
    rows = Rows()
    learn = adult_learner(dls, metrics=AUROC(groups=g))
    for _ in range(2):
        assert not fit(learn, cbs=rows)
        z,y = map(torch.cat, zip(*rows.rows))
        order = seen['order'][:len(y)]
        assert last(learn, 'auroc') == close([by_group(g[order], y.numpy(), (z[:,1]-z[:,0]).numpy())])
    assert len(y) == dict(shuffled=300, some=50, dropped=256)[kind]

def test_texts_sorted_by_length(sms, tmp_path):
    df = sms.sample(400, random_state=0)
    dls = TextDataLoaders.from_df(df, path=tmp_path, text_col='text', label_col='spam', seq_len=20, valid_pct=.4, seed=1, bs=16)
    small = dict(emb_sz=8, n_hid=8, n_layers=1)
    g = random_groups(160, 2)
    learn = text_classifier_learner(dls, AWD_LSTM, config={**awd_lstm_clas_config, **small}, pretrained=False, seq_len=20, metrics=AUROC(groups=g))
    assert not fit(learn)
    got = last(learn, 'auroc')
    s,y = margin_of(learn, reorder=True)
    assert list(dls.valid.get_idxs()) != list(range(160)) and got == close([by_group(g, y, s)])

def pixels(n=20, size=4, bs=6, **kwargs):
    "A Learner with a row for each pixel"
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(n, 3, size, size, generator=rng)
    y = ((x[:,0] + torch.randn(n, size, size, generator=rng)) > 0).long()
    loader = DataLoader(list(zip(x, y)), bs=bs, num_workers=0)
    train = DataLoader(list(zip(x[:12], y[:12])), bs=bs, num_workers=0, shuffle=True)
    return Learner(DataLoaders(train, loader), nn.Conv2d(3, 2, 1), loss_func=CrossEntropyLossFlat(axis=1), **kwargs),x,y

def test_an_item_of_several_rows():
    "All pixels of an image are of its group"
    g = ['a', 'b', 'c', 'd']*5
    learn,x,y = pixels(metrics=AUROC(groups=g))
    assert not fit(learn)
    with torch.no_grad(): z = learn.model(x).double()
    assert last(learn, 'auroc') == close([by_group(np.repeat(g, 16), y.numpy().ravel(), (z[:,1]-z[:,0]).numpy().ravel())])
    learn,*_ = pixels(metrics=AUROC(groups=np.repeat(g, 16)))
    said, = fit(learn)
    assert 'groups has 320 labels, but the validation set has 20 items' in str(said.message)

@pytest.mark.parametrize('cancelled', [[0], [2], [4], [0, 1, 2, 3]])
def test_a_batch_left_out(cancelled, adult_learner):
    "Whose rows they are is unknown: NaN, not a wrong number"
    class Skip(Callback):
        def before_batch(self):
            if not self.training and self.iter in cancelled: raise CancelBatchException()
    learn = adult_learner(metrics=[AUROC(groups=random_groups(300)), AUROC(name='all')])
    said, = fit(learn, cbs=Skip())
    assert 'so their groups are unknown' in str(said.message) and 'labels for 300 items' in str(said.message)
    got = last(learn, 'auroc', 'all')
    assert math.isnan(got[0]) and not math.isnan(got[1])

def test_pixels_of_which_half_are_left_out():
    "Half of the rows of all items are not all rows of half of the items"
    class Skip(Callback):
        def before_batch(self):
            if not self.training and self.iter in (0, 2): raise CancelBatchException()
    learn,*_ = pixels(bs=5, metrics=AUROC(groups=['a', 'b']*10))
    said, = fit(learn, cbs=Skip())
    assert '160 rows, so their groups are unknown' in str(said.message) and math.isnan(last(learn, 'auroc')[0])

def test_loader_that_does_not_tell(adult_small):
    "One of PyTorch, and one of an iterable set"
    x,y = adult_small
    rows = list(zip(x[100:], y[100:]))
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self): return iter(rows)
    valid = DataLoader(Stream(), bs=32, num_workers=0, n=200)
    learn = Learner(DataLoaders(DataLoader(rows, bs=32, num_workers=0), valid), nn.Linear(3, 2), loss_func=CrossEntropyLossFlat(),
        metrics=AUROC(groups=random_groups(200)))
    said, = fit(learn)
    assert 'does not tell the order of its items' in str(said.message) and math.isnan(last(learn, 'auroc')[0])

class Held:
    "Inputs in an object"
    def __init__(self, x): self.x = x

inputs = dict(object=Held, number_first=lambda x: dict(temperature=torch.tensor(1.), x=x), text_first=lambda x: dict(kind='age', x=x), tensor=lambda x: x)

def made_by(wrap, data, loaders=2, **kwargs):
    "A Learner whose model takes what `wrap` makes of a batch of inputs"
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 2)
        def forward(self, x): return self.body(x['x'] if isinstance(x, dict) else getattr(x, 'x', x))
    def create(rows):
        x,y = zip(*rows)
        return wrap(torch.stack(x)),torch.stack(y)
    rows = list(zip(*data))
    dls = [DataLoader(o, bs=32, num_workers=0, create_batch=create, n_inp=1) for o in (rows[:100], rows[100:])]
    return Learner(DataLoaders(*dls[:loaders]), Takes(), loss_func=CrossEntropyLossFlat(), **kwargs),dls

def margin_of_small(learn, x):
    with torch.no_grad(): z = learn.model.body(x).double()
    return (z[:,1] - z[:,0]).numpy()

@pytest.mark.parametrize('wrap', inputs.values(), ids=inputs)
def test_inputs_of_any_kind(wrap, adult_small):
    "How many items a batch has is told by the outputs"
    x,y = adult_small
    learn,_ = made_by(wrap, adult_small, metrics=[AUROC(), AUROC(groups=random_groups(200), name='within')])
    assert not fit(learn)
    s,y = margin_of_small(learn, x[100:]),y[100:].numpy()
    assert last(learn, 'auroc', 'within') == close([roc_auc_score(y, s), by_group(random_groups(200), y, s)])

changes = dict(two_together=lambda o,y: (torch.cat([o, o]), torch.cat([y, y])), half=lambda o,y: (o[::2], y[::2]),
    more=lambda o,y: (torch.cat([o, o[::2]]), torch.cat([y, y[::2]])))

@pytest.mark.parametrize('change', changes.values(), ids=changes)
def test_rows_that_select_makes(change, adult_small):
    "Two heads one after the other are not two rows of each item"
    learn,_ = made_by(lambda x: x, adult_small, metrics=[AUROC(select=change), AUROC(groups=random_groups(200), select=change, name='within')])
    said, = fit(learn)
    assert 'so their groups are unknown' in str(said.message)
    whole,within = last(learn, 'auroc', 'within')
    assert 0 < whole < 1 and math.isnan(within)

class Backwards(DataLoader):
    def sample(self): return iter(range(self.n-1, -1, -1))

class ShortFirst(DataLoader):
    def create_batches(self, samples): return super().create_batches(sorted(samples, key=lambda i: i % 7))

@pytest.mark.parametrize('kind', [Backwards, ShortFirst, 'sample'])
def test_loaders_that_draw_in_their_own_way(kind, adult_small):
    "What `get_idxs` says is not what they give: NaN, not a wrong number"
    x,y = adult_small
    rows = list(zip(x[100:], y[100:]))
    options = dict(sample=lambda: iter(range(199, -1, -1))) if kind == 'sample' else {}
    valid = (DataLoader if kind == 'sample' else kind)(rows, bs=32, num_workers=0, **options)
    learn,dls = made_by(lambda x: x, adult_small, metrics=[AUROC(), AUROC(groups=random_groups(200), name='within')])
    learn.dls.loaders[1] = valid
    said, = fit(learn)
    whole,within = last(learn, 'auroc', 'within')
    assert 'does not tell the order of its items' in str(said.message) and math.isnan(within)
    assert whole == close(roc_auc_score(y[100:], margin_of_small(learn, x[100:])))

def test_sets_without_a_length_and_one_loader(adult_small):
    "An order that cannot be told concerns groups alone"
    x,y = adult_small
    class Endless:
        def __init__(self, start): self.start = start
        def __getitem__(self, i): return x[self.start+i],y[self.start+i]
    learn,dls = made_by(lambda x: x, adult_small, loaders=1, metrics=[AUROC(), AUROC(groups=random_groups(200), name='within')])
    endless = DataLoader(Endless(100), bs=32, num_workers=0, n=200, get_idxs=lambda: list(range(200)))
    whole = roc_auc_score(y[100:], margin_of_small(learn, x[100:]))
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging():
        warnings.simplefilter('ignore')
        got = learn.validate(dl=endless)[-2:]
        assert got[0] == close(whole) and math.isnan(got[1])
        got = learn.validate(dl=dls[1])[-2:]
    assert list(got) == close([whole, by_group(random_groups(200), y[100:].numpy(), margin_of_small(learn, x[100:]))])

def test_read_in_the_middle(adult_learner):
    g,wrong = random_groups(300, 2),[]
    class Reads(Callback):
        order = Recorder.order + 1
        def before_validate(self): self.rows = []
        def after_batch(self):
            if self.training: return
            self.rows.append((self.pred.detach().double(), self.y.flatten()))
            z,y = map(torch.cat, zip(*self.rows))
            want = by_group(g[:len(y)], y.numpy(), (z[:,1]-z[:,0]).numpy())
            if self.learn.metrics[0].value != close(want): wrong.append(self.iter)
    learn = adult_learner(metrics=AUROC(groups=g))
    assert not fit(learn, 2, cbs=Reads()) and not wrong

# Options

@pytest.mark.parametrize('options,text', [(dict(thresholds='bits'), "with thresholds='bits'"), (dict(max_fpr=.1), 'with max_fpr=0.1'),
    (dict(min_tpr=.8), 'with min_tpr=0.8'), (dict(multi_class='ovo'), "with multi_class='ovo'"), (dict(average='micro'), "with average='micro'"),
    (dict(group_average='mean'), 'group_average must be one of')])
def test_options_that_do_not_go_together(options, text):
    with pytest.raises(ValueError, match=text): AUROC(groups=[1, 2], **options)

def test_group_average_alone_and_no_labels():
    with pytest.raises(ValueError, match='needs groups='): AUROC(group_average='pairs')
    with pytest.raises(TypeError, match='groups must be a list'): AUROC(groups='hospital')

def test_several_classes():
    "AUROC within groups is for binary tasks: NaN, with a warning that says so"
    rng = torch.Generator().manual_seed(0)
    rows = list(zip(torch.randn(60, 3, generator=rng), torch.randint(0, 3, (60,), generator=rng)))
    loader = DataLoader(rows, bs=16, num_workers=0)
    dls = DataLoaders(DataLoader(rows, bs=16, num_workers=0), loader)
    learn = Learner(dls, nn.Linear(3, 3), loss_func=CrossEntropyLossFlat(), metrics=AUROC(groups=random_groups(60)))
    said, = fit(learn)
    assert 'AUROC by groups is for binary tasks' in str(said.message) and math.isnan(last(learn, 'auroc')[0])

def test_twins_copies_and_repr(adult_learner):
    g = random_groups(300)
    learn = adult_learner(metrics=[], cbs=[AUROC(groups=g), AUROC(groups=list(g))])
    assert not fit(learn) and list(learn.recorder.metric_names)[3:-1] == ['auroc']
    assert repr(learn.auroc) == 'AUROC(groups=<300 in 5 groups>)'
    learn = adult_learner(metrics=AUROC(groups=g, group_average='pairs'))
    fit(learn)
    for other in copy.deepcopy(learn),pickle.loads(pickle.dumps(learn)):
        fit(other)
        got = last(other, 'auroc')
        s,y = margin_of(other)
        assert got == close([by_group(g, y, s, 'pairs')]) and other.metrics[0].groups == learn.metrics[0].groups

# Partial areas

partial_areas = [dict(min_tpr=.8), dict(min_tpr=.8, standardize=False), dict(max_fpr=.2, standardize=False), dict(max_fpr=.2), dict(min_tpr=0)]

@pytest.mark.parametrize('options', partial_areas, ids=str)
def test_partial_areas(options, adult_learner):
    "scikit-learn's standardised partial area, of mirrored scores for min_tpr"
    learn = adult_learner(metrics=[AUROC(**options), AUROC(name='whole')])
    assert not fit(learn)
    got = last(learn, 'auroc')[0]
    s,y = margin_of(learn)
    m = options.get('max_fpr') or 1 - options['min_tpr']
    want = roc_auc_score(y, s, max_fpr=m) if 'max_fpr' in options else roc_auc_score(1-y, -s, max_fpr=m)
    if not options.get('standardize', True): want = m*m/2 + (m - m*m/2)*(want - .5)/.5
    assert got == pytest.approx(want, abs=1e-12) and learn.metrics[0]._epoch is learn.metrics[1]._epoch

@pytest.mark.parametrize('options,text', [(dict(min_tpr=1), r'min_tpr must be None or in \[0, 1\)'), (dict(min_tpr=.5, max_fpr=.5), 'choose one of them'),
    (dict(min_tpr=.5, thresholds='bits'), 'no min_tpr'), (dict(min_tpr=.5, multi_class='ovo'), "no meaning with multi_class='ovo'"),
    (dict(standardize=1), 'standardize must be True or False')])
def test_options_of_partial_areas(options, text):
    with pytest.raises(ValueError, match=text): AUROC(**options)
