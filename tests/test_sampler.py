"Batches that hold every class: the rows themselves, in PyTorch's and in fastai's loaders, and training at 2 % prevalence."
import copy, numpy as np, pandas as pd, pickle, pytest, re, torch
from fastai.callback.core import Callback
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.tabular.all import Categorify, FillMissing, Normalize, TabularDataLoaders, TabularPandas, range_of, tabular_learner
from fastai.text.core import BaseTokenizer
from fastai.text.data import TextDataLoaders
from fastai.text.learner import text_classifier_learner
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config
from fastai.torch_core import TensorCategory, set_seed
from hypothesis import given, settings, strategies as st
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader as TorchLoader, DistributedSampler, Sampler, TensorDataset
from fastai_auroc.losses import AUROCLoss, SquaredHingeAUCLoss
from fastai_auroc.samplers import StratifiedBatchSampler

steady = settings(max_examples=40, deadline=None, derandomize=True)
kinds = pytest.mark.parametrize('balanced', [True, False])

pytestmark = pytest.mark.usefixtures('one_thread')

def labels_of(counts, seed=0): return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

def tally(batch, y): return np.bincount(y[batch], minlength=y.max()+1)

# The rows

@given(st.lists(st.integers(1, 150), min_size=2, max_size=5), st.integers(0, 90), st.booleans(), st.integers(0, 99))
@steady
def test_every_batch_has_every_class(counts, more, balanced, seed):
    "Of the size asked for, or all rows where there are fewer; balanced counts differ by at most one"
    y,bs = labels_of(counts),len(counts)+more
    batches = list(sampler := StratifiedBatchSampler(y, bs, balanced, seed=seed))
    size = min(bs, len(y))
    assert len(batches) == len(sampler) == len(y)//size
    for batch in batches:
        mine = tally(batch, y)
        assert len(batch) == size and min(batch) >= 0 and mine.min() >= 1
        if balanced: assert np.ptp(mine) <= 1

@kinds
@pytest.mark.parametrize('prevalence', [.5, .2, .05, .02, .005, .001])
@pytest.mark.parametrize('bs', [2, 3, 17, 64])
def test_prevalence(prevalence, bs, balanced):
    y = labels_of([4000-round(4000*prevalence), round(4000*prevalence)])
    positives = np.array([tally(b, y)[1] for b in StratifiedBatchSampler(y, bs, balanced, seed=1)])
    want = bs/2 if balanced else max(1, bs*prevalence)
    assert len(positives) == 4000//bs and set(positives) <= {int(np.floor(want)), int(np.ceil(want))}

@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('counts,bs', [((4900, 100), 64), ((2400, 600), 64), ((630, 370), 30), ((500, 501), 7), ((700, 200, 100), 33), ((50, 60, 70, 80, 90), 51)])
def test_natural_shares(counts, bs, seed):
    "Over an epoch each class has the share that it has among the rows, to within rounding, where no class needs the minimum of one"
    y = labels_of(counts)
    sampler = StratifiedBatchSampler(y, bs, balanced=False, seed=seed)
    per_batch = np.array([tally(b, y) for b in sampler])
    want = np.array(counts)/sum(counts)*bs
    assert want.min() >= 1 and np.abs(per_batch - want).max() < 2
    assert np.abs(per_batch.sum(0) - want*len(sampler)).max() <= (1 if len(counts) == 2 else len(counts)-1)

@kinds
@pytest.mark.parametrize('epoch', [lambda s: [i for b in s for i in b], lambda s: s.get_idxs(), lambda s: list(s.rows)], ids=['batches', 'get_idxs', 'rows'])
@pytest.mark.parametrize('counts,bs', [((70, 30), 32), ((70, 30), 25), ((200, 7, 40), 50), ((3, 2), 64), ((500, 5), 64)])
def test_no_row_returns_before_its_class_is_exhausted(counts, bs, epoch, balanced):
    "Also across epochs, so that in the long run each row of a class comes as often as any other"
    y = labels_of(counts)
    sampler = StratifiedBatchSampler(y, bs, balanced, seed=3)
    seen = np.concatenate([epoch(sampler) for _ in range(12)])
    for c,n in enumerate(counts):
        mine = seen[y[seen] == c]
        assert np.ptp(np.bincount(mine, minlength=len(y))[y == c]) <= 1
        for i in range(0, len(mine), n): assert len(set(mine[i:i+n])) == len(mine[i:i+n])

def test_passes_through_a_class_differ():
    "A class is shuffled anew, it does not go round in one order"
    y = labels_of([60, 40])
    sampler = StratifiedBatchSampler(y, 100, balanced=False, seed=0)
    one,two = ([i for i in b if y[i]] for b in (next(iter(sampler)), next(iter(sampler))))
    assert sorted(one) == sorted(two) == np.flatnonzero(y).tolist() and one != two

@given(st.lists(st.integers(1, 90), min_size=2, max_size=5), st.integers(0, 90), st.booleans())
@steady
def test_get_idxs(counts, more, balanced):
    "As many rows as targets, all valid, in batches with every class; the last, smaller one has as many classes as it has room for"
    y,bs = labels_of(counts),len(counts)+more
    sampler = StratifiedBatchSampler(y, bs, balanced, seed=0)
    for _ in range(2):
        rows = sampler.get_idxs()
        assert len(rows) == len(sampler.rows) == len(y) and {type(i) for i in rows} == {int} and min(rows) >= 0 and max(rows) < len(y)
        for i in range(0, len(rows), bs): assert len(set(y[rows[i:i+bs]])) == min(len(counts), len(rows[i:i+bs]))

def slices(order, k):
    "How far the counts of classes are from m/k, for every slice of m rows"
    before = np.concatenate([np.zeros((1, k)), np.cumsum(order[:,None] == np.arange(k), 0)])
    share = np.arange(len(order)+1)[:,None]/k
    return [np.abs(before[i:] - before[i] - share[:len(share)-i]).max() for i in range(len(order))]

@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(0, 40), st.integers(0, 99))
@steady
def test_any_slice_is_balanced(counts, more, seed):
    "To within 2(1 - 1/k), from any start, across batch ends; so is the share of each of several processes"
    k,y = len(counts),labels_of(counts)
    orders = [StratifiedBatchSampler(y, k+more, seed=seed),
        *(StratifiedBatchSampler(y, k+more, seed=seed, rank=o, num_replicas=2) for o in range(2))]
    for sampler in orders[:1 if len(y) < 2*k else 3]:
        for _ in range(2): assert max(slices(y[sampler.get_idxs()], k)) <= 2*(1 - 1/k) + 1e-9

@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(0, 40), st.integers(0, 99))
@steady
def test_whole_groups_hold_every_class_once(counts, more, seed):
    y,k = labels_of(counts),len(counts)
    order = y[StratifiedBatchSampler(y, k+more, seed=seed).get_idxs()]
    for i in range(0, len(order)-k+1, k): assert sorted(order[i:i+k]) == list(range(k))

def test_order_within_groups_is_random():
    "Each class has each place as often, neighbouring groups differ"
    for k,bs in ((2, 64), (2, 63), (3, 64), (3, 63), (5, 64)):
        y = labels_of([600]*k)
        groups = y[StratifiedBatchSampler(y, bs, seed=0).get_idxs()].reshape(-1, k)
        for place in groups.T: assert np.abs(np.bincount(place, minlength=k) - 600/k).max() < 150
        same = (groups[1:] == groups[:-1]).all(1).mean()
        assert same < .6 and len({tuple(o) for o in groups}) == {2:2, 3:6, 5:120}[k]

@given(st.lists(st.integers(20, 60), min_size=2, max_size=6), st.integers(2, 6), st.integers(0, 3), st.integers(0, 99))
@steady
def test_strided_shards_hold_every_class(counts, world, more, seed):
    "Every second row, every third one and so on: of a shard of a few dozen rows"
    y,k = labels_of(counts),len(counts)
    order = y[StratifiedBatchSampler(y, 8*k + more, seed=seed).get_idxs()]
    for start in range(world):
        shard = order[start::world]
        if len(shard) >= 8*k: assert set(shard) == set(range(k))

@pytest.mark.parametrize('read', [1, 7, 16, 32, 33, 64, 128])
@pytest.mark.parametrize('prevalence', [.5, .02])
def test_loader_of_another_batch_size(read, prevalence):
    "The reported case: read in slices of 32, a sampler for batches of 64 trained nothing"
    y = labels_of([5000-round(5000*prevalence), round(5000*prevalence)])
    order = y[StratifiedBatchSampler(y, 64, seed=0).get_idxs()]
    shares = [order[i:i+read].mean() for i in range(0, len(order)-read+1, read)]
    assert max(abs(o - .5) for o in shares) <= 1/read and (read == 1 or 0 < min(shares) and max(shares) < 1)

@given(st.lists(st.integers(1, 150), min_size=2, max_size=5), st.integers(0, 90), st.integers(0, 99))
@steady
def test_natural_order_is_spread(counts, more, seed):
    "A slice of a batch has each class in proportion: each stretch of 1/m of it has about one of the class's m rows"
    y,k,bs = labels_of(counts),len(counts),len(counts)+more
    for batch in StratifiedBatchSampler(y, bs, balanced=False, seed=seed):
        classes,mine = y[batch],tally(batch, y)
        before = np.cumsum(classes[:,None] == np.arange(k), 0)
        assert np.abs(before - mine*np.arange(1, len(batch)+1)[:,None]/len(batch)).max() <= k

@given(st.lists(st.integers(1, 150), min_size=2, max_size=5), st.integers(0, 90), st.integers(0, 99))
@steady
def test_natural_batches(counts, more, seed):
    "One of each class at least; a class whose share is more has its share of what the others leave, rounded up or down"
    y,k = labels_of(counts),len(counts)
    sampler = StratifiedBatchSampler(y, k+more, balanced=False, seed=seed)
    per_batch = np.array([tally(b, y) for _ in range(3) for b in sampler])
    size,share,few = sampler.batch_size,np.array(counts)/sum(counts),set()
    while True:  # Classes that need their one row take it from the others
        rest = sum(share[c] for c in range(k) if c not in few)
        want = [1 if c in few else share[c]/rest*(size - len(few)) for c in range(k)]
        more_few = {c for c in range(k) if want[c] < 1 - 1e-9}
        if not more_few: break
        few |= more_few
    assert per_batch.min() >= 1 and (per_batch.sum(1) == size).all()
    assert (per_batch >= np.floor(np.array(want) - 1e-6)).all() and (per_batch <= np.ceil(np.array(want) + 1e-6)).all()
    assert np.abs(per_batch.sum(0)/3 - np.array(want)*len(sampler)).max() <= 1 + 1e-6

# Epochs and processes

epochs_of = [lambda s: [i for b in s for i in b], lambda s: s.get_idxs(), lambda s: list(s.rows)]

@kinds
@pytest.mark.parametrize('epoch', epochs_of, ids=['batches', 'get_idxs', 'rows'])
@pytest.mark.parametrize('counts,bs', [((70, 30), 32), ((70, 31), 25), ((200, 7, 40), 50), ((3, 2), 4)])
def test_set_epoch(counts, bs, epoch, balanced):
    "Any epoch is what it would have been after all those before it"
    y = labels_of(counts)
    one,other = (StratifiedBatchSampler(y, bs, balanced, seed=3) for _ in range(2))
    in_turn = [epoch(one) for _ in range(9)]
    for i in (0, 5, 3, 8, 8):
        other.set_epoch(i)
        assert epoch(other) == in_turn[i]
    other.set_epoch(4)
    assert [epoch(other), epoch(other)] == in_turn[4:6] and len({tuple(o) for o in in_turn}) == 9

@kinds
@pytest.mark.parametrize('drop_last', [True, False])
@pytest.mark.parametrize('epoch', epochs_of, ids=['batches', 'get_idxs', 'rows'])
@pytest.mark.parametrize('counts,bs,world',
    [((70, 30), 16, 2), ((71, 32), 7, 3), ((200, 7, 40), 50, 2), ((90, 90, 1), 8, 4), ((60, 43), 64, 2)])
def test_ranks(counts, bs, world, epoch, drop_last, balanced):
    "As many rows for each, none twice before all of its class were drawn, with the seeds that processes get by themselves"
    y,shares,options = labels_of(counts),[[] for _ in range(world)],dict(num_replicas=world, drop_last=drop_last)
    samplers = [StratifiedBatchSampler(y, bs, balanced, rank=o, **options) for o in range(world)]
    for _ in range(7):
        for share,sampler in zip(shares, samplers): share.append(epoch(sampler))
        assert len({len(o[-1]) for o in shares}) == 1
    rows = len(y)//world if drop_last else -(-len(y)//world)
    size = min(bs, rows)
    if epoch is epochs_of[0] and drop_last: rows -= rows % size
    assert len(shares[0][0]) == rows and {len(o) for o in samplers} == {rows//size if drop_last else -(-rows//bs)}
    for c,m in enumerate(counts):
        drawn = np.bincount(np.concatenate([o for share in shares for o in share]), minlength=len(y))[y == c]
        assert np.ptp(drawn) <= 1
        steps = [o[start:start+size] for epoch in zip(*shares) for start in range(0, rows, size) for o in epoch]
        steps = [i for step in steps for i in step if y[i] == c]
        for i in range(0, len(steps), m): assert len(set(steps[i:i+m])) == len(steps[i:i+m])
    for share in shares:
        for order in share:
            for i in range(0, len(order), bs):
                mine = tally(order[i:i+bs], y)
                if mine.sum() >= len(counts): assert mine.min() >= 1 and (not balanced or np.ptp(mine) <= 1)

def test_rank_errors():
    y = labels_of([50, 50])
    for kwargs,says in ((dict(rank=2, num_replicas=2), 'rank must be one of 0 to 1, .*got 2'),
        (dict(rank=-1), 'rank must be 0 or more, got -1'), (dict(rank=1.), 'rank must be a whole number'),
        (dict(num_replicas=0), 'num_replicas must be 1 or more, got 0'), (dict(seed=-1), 'seed must be 0 or more')):
        with pytest.raises(ValueError, match=says): StratifiedBatchSampler(y, **kwargs)
    for kwargs,says in ((dict(num_replicas=2), 'rank must be one of 0 to 1.*got None'),
        (dict(rank=1), 'rank must be one of 0 to 0'),
        (dict(rank=0, num_replicas=60), '100 rows are too few for 60 processes')):
        with pytest.raises(ValueError, match=says): list(StratifiedBatchSampler(y, **kwargs))
    with pytest.raises(ValueError, match='epoch must be 0 or more, got -1'): StratifiedBatchSampler(y).set_epoch(-1)

def test_seed():
    y = labels_of([80, 20])
    def epochs(seed): return (s := StratifiedBatchSampler(y, 16, seed=seed)).get_idxs() + s.get_idxs()
    assert epochs(1) == epochs(1) != epochs(2)
    set_seed(5)
    one,other = epochs(None),epochs(None)
    set_seed(5)
    assert epochs(None) == one != other
    before = np.random.get_state()[1].copy()
    epochs(1)
    assert (np.random.get_state()[1] == before).all()

numbers = dict(tensor=torch.tensor, floats=lambda y: torch.tensor(y).float(), bools=lambda y: y > 0, array=np.array,
    narrow=lambda y: y.astype(np.uint8), half=lambda y: torch.tensor(y).half(), bfloat16=lambda y: torch.tensor(y).bfloat16(),
    unsigned=lambda y: torch.tensor(y).to(torch.uint16), list=lambda y: y.tolist(), category=lambda y: TensorCategory(torch.tensor(y)),
    column=lambda y: y[:, None], other=lambda y: y * 7.5 - 3, series=lambda y: pd.Series(y, index=range(5, 5 + len(y))))

@pytest.mark.parametrize('kind', numbers)
def test_kinds_of_labels(kind):
    y = labels_of([80, 20])
    assert StratifiedBatchSampler(numbers[kind](y), 16, seed=0).get_idxs() == StratifiedBatchSampler(y, 16, seed=0).get_idxs()

@pytest.mark.parametrize('targets,bs,error,text', [([1, 1, 1], 64, ValueError, 'two classes or more, got one class, 1'),
    ([], 64, ValueError, 'two classes or more, got no labels'), ([0, 1, 2], 2, ValueError, 'batch of 2 has no room for a row of each of the 3 classes'),
    ([0, 1], 0, ValueError, 'batch of 0'), (['0', '1'], 64, TypeError, 'targets must be a tensor, an array or a list of numbers, got list of strings'),
    ([True, True], 64, ValueError, 'got one class, True')])
def test_errors(targets, bs, error, text):
    with pytest.raises(error, match=re.escape(text)): StratifiedBatchSampler(targets, bs)

def test_repr():
    assert repr(StratifiedBatchSampler(labels_of([80, 20]), 16)) == 'StratifiedBatchSampler({0: 80, 1: 20}, batch_size=16, balanced=True)'
    more = dict(seed=3, rank=0, num_replicas=2, drop_last=False)
    full = repr(StratifiedBatchSampler([0, 1]*4, 4, **more))
    assert full.endswith('balanced=True, seed=3, rank=0, num_replicas=2, drop_last=False)')
    assert repr(StratifiedBatchSampler([.5, 2, 2], balanced=False)) == 'StratifiedBatchSampler({0.5: 1, 2.0: 2}, batch_size=3, balanced=False)'

@pytest.mark.parametrize('workers', [0, 2])
def test_torch_loader(workers):
    y = torch.from_numpy(labels_of([980, 20]))
    sampler = StratifiedBatchSampler(y, 64, seed=0)
    ds = TensorDataset(torch.arange(1000), y)
    by_batch = TorchLoader(ds, batch_sampler=sampler, num_workers=workers)
    by_row = TorchLoader(ds, sampler=sampler.rows, batch_size=64, num_workers=workers)
    assert len(by_batch) == 15 and len(by_row) == 16
    for dl in (by_batch, by_row):
        one,two = list(dl),list(dl)
        assert len(one) == len(two) == len(dl) and not one[0][0].equal(two[0][0])
        assert all(len(i) == 64 and yb.sum() == 32 for i,yb in one[:15]) and all(yb.equal(y[i]) for i,yb in one+two)

@pytest.mark.parametrize('workers', [0, 1])
def test_a_loader_draws_each_row_of_a_class_once(workers):
    "Loaders with workers make two iterators an epoch, of which they read one"
    y = torch.from_numpy(labels_of([60, 20]))
    dl = TorchLoader(TensorDataset(torch.arange(80), y), batch_sampler=StratifiedBatchSampler(y, 20), num_workers=workers)
    drawn = torch.cat([i for _ in range(3) for i,_ in dl])
    assert sorted(i.item() for i in drawn if not y[i]) == sorted(np.flatnonzero(y == 0).tolist()*2)

def test_last_batch():
    y = labels_of([70, 30])
    for kwargs,sizes in ((dict(), [32]*3), (dict(drop_last=False), [32]*3 + [4])):
        sampler = StratifiedBatchSampler(y, 32, **kwargs)
        assert [len(o) for o in sampler] == sizes and len(sampler) == len(sizes)
        assert len(list(TorchLoader(y, batch_sampler=sampler))) == len(sizes)

def test_is_a_sampler():
    "Of PyTorch, with what Lightning and accelerate look for"
    sampler = StratifiedBatchSampler(labels_of([70, 30]), 32)
    assert isinstance(sampler, Sampler) and isinstance(sampler.rows, Sampler) and isinstance(sampler.sampler, Sampler)
    assert (sampler.batch_size, sampler.drop_last) == (32, True)
    sampler.sampler.set_epoch(3)
    one = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == one
    # Lightning makes another one of a DistributedSampler, batch_size and drop_last, and reports a TypeError
    with pytest.raises(TypeError, match=r'got a DistributedSampler.*use_distributed_sampler=False'):
        type(sampler)(DistributedSampler(range(100), 2, 0), batch_size=sampler.batch_size, drop_last=sampler.drop_last)

@pytest.mark.parametrize('again', [copy.deepcopy, copy.copy, lambda o: pickle.loads(pickle.dumps(o))],
    ids=['deepcopy', 'copy', 'pickle'])
def test_copies_go_on_from_the_same_epoch(again):
    sampler = StratifiedBatchSampler(labels_of([70, 30]), 32)
    list(sampler)
    other = again(sampler)
    assert list(other) == list(sampler) and list(other.rows) == list(sampler.rows)

def test_accelerate():
    "In one process; several are in test_sampler_processes.py"
    accelerate = pytest.importorskip('accelerate')
    y = torch.from_numpy(labels_of([280, 20]))
    for way in (dict(batch_sampler=StratifiedBatchSampler(y, 16)),
        dict(sampler=StratifiedBatchSampler(y, 16).rows, batch_size=16)):
        dl = accelerate.Accelerator(cpu=True).prepare(TorchLoader(TensorDataset(torch.arange(300), y), **way))
        one,two = list(dl),list(dl)
        assert len(one) == len(dl) and not one[0][0].equal(two[0][0])
        assert all(yb.sum() == 8 for _,yb in one+two if len(yb) == 16)

def test_default_device():
    "Labels and rows stay on the CPU"
    y = torch.from_numpy(labels_of([70, 30]))
    want = StratifiedBatchSampler(y, 32, seed=0).get_idxs()
    torch.set_default_device('meta')
    try: assert StratifiedBatchSampler(y, 32, seed=0).get_idxs() == want
    finally: torch.set_default_device(None)

# fastai's loaders

procs,cat_names,cont_names = [Categorify, FillMissing, Normalize],['education','marital-status','occupation'],['age','education-num','hours-per-week']

def rare_rows(df, n, is_positive, share=.02):
    "`n` rows, of which `share` are positive"
    p = round(n*share)
    return pd.concat([df[~is_positive].sample(n-p, random_state=0), df[is_positive].sample(p, random_state=0)]).sample(frac=1, random_state=1)

def tabular(adult, sms, path):
    df = rare_rows(adult, 1300, adult.income == adult.income.max())
    dls = TabularDataLoaders.from_df(df, path=path, procs=procs, cat_names=cat_names, cont_names=cont_names, y_names='income', y_block=CategoryBlock(),
        valid_idx=range(1000, 1300), bs=64)
    return tabular_learner(dls, layers=[20]),dls.train.ys.values

def text(adult, sms, path):
    df = rare_rows(sms, 360, sms.spam == sms.spam.max()).assign(text=lambda o: o.text.str[:30])
    dls = TextDataLoaders.from_df(df, path=path, text_col='text', label_col='spam', valid_idx=range(300, 360), bs=64,
        seq_len=20, tok_tfm=BaseTokenizer(), num_workers=0)
    config = {**awd_lstm_clas_config, 'emb_sz': 8, 'n_hid': 10, 'n_layers': 1}
    return text_classifier_learner(dls, AWD_LSTM, config=config, pretrained=False, seq_len=20),[int(o) for o in dls.train_ds.tls[1]]

def plain(adult, sms, path):
    df = rare_rows(adult, 1000, adult.income == adult.income.max())
    x,y = torch.tensor(StandardScaler().fit_transform(df[cont_names])).float(),[int(o) for o in df.income == adult.income.max()]
    ds = list(zip(x, torch.tensor(y)))
    dls = DataLoaders(DataLoader(ds, bs=64, shuffle=True), DataLoader(ds[:200], bs=64))
    return Learner(dls, nn.Linear(3, 2), CrossEntropyLossFlat(), path=path),y

makers = dict(tabular=tabular, text=text, plain=plain)
class Seen(Callback):
    "Keeps the targets of the training batches"
    def before_fit(self): self.targets = []
    def before_batch(self):
        if self.training: self.targets.append(self.yb[0].flatten().cpu())

def quietly(learn, f, *args, **kwargs):
    "What the Learner answers, without bars and tables"
    with learn.no_bar(), learn.no_logging(): return getattr(learn, f)(*args, **kwargs)

@pytest.mark.parametrize('name', makers)
def test_fastai(name, adult, sms, tmp_path, capsys):
    "Each batch of a fit has both classes, there are as many as before, and all else that fastai does with the loaders goes on"
    learn,targets = makers[name](adult, sms, tmp_path)
    y = torch.tensor(np.array(targets).flatten().tolist())
    assert .01 < y.float().mean() <= .03
    train,seen,n = learn.dls.train,Seen(),len(learn.dls.train)
    quietly(learn, 'fit', 1, cbs=seen)
    assert len(seen.targets) == n and not all(o.any() for o in seen.targets)
    before = quietly(learn, 'get_preds', ds_idx=0)
    sampler = StratifiedBatchSampler(targets, 64)
    train.get_idxs = sampler.get_idxs
    after = quietly(learn, 'get_preds', ds_idx=0)
    assert after[0].equal(before[0]) and after[1].flatten().equal(y) and before[1].equal(after[1])
    quietly(learn, 'fit', 2, cbs=seen)
    assert len(seen.targets) == 2*n and len(train) == n and all(o.any() and not o.all() for o in seen.targets)
    assert all(o.sum() == 32 for o in seen.targets if len(o) == 64)
    valid,again = quietly(learn, 'get_preds'),quietly(learn, 'get_preds', ds_idx=0)
    assert len(valid[0]) == len(learn.dls.valid_ds) and again[1].flatten().equal(y)
    with learn.no_bar(): assert learn.lr_find(num_it=8, show_plot=False).valley > 0
    if name != 'plain':
        capsys.readouterr()
        learn.dls.show_batch(max_n=3)
        assert capsys.readouterr().out
    if name == 'plain': return  # fastai exports no loaders of a list
    valid = quietly(learn, 'get_preds')
    learn.export(tmp_path/'learner.pkl')
    assert train.get_idxs == sampler.get_idxs
    loaded = load_learner(tmp_path/'learner.pkl')
    assert quietly(loaded, 'get_preds', dl=learn.dls.valid)[0].equal(valid[0])

# Training at 2 % prevalence

@pytest.fixture(scope='module')
def rare(adult):
    "3,000 rows of Adult with 60 positives, then 1,000 with the natural share"
    positive = adult.income == adult.income.max()
    train = rare_rows(adult, 3000, positive)
    return pd.concat([train, adult.drop(train.index).sample(1000, random_state=0)])

@pytest.fixture
def table(rare):
    return TabularPandas(rare, procs=procs, cat_names=cat_names, cont_names=[*cont_names, 'capital-gain'], y_names='income', y_block=CategoryBlock(),
        splits=(range_of(3000), list(range(3000, 4000))))

def even_weights(y): return (1/np.bincount(y))[y]

def without_positives(dl, epochs=2): return np.mean([not b[-1].any() for _ in range(epochs) for b in dl])

def test_plain_batches_lack_positives(table):
    "A quarter of them: .98 to the 64th is .27; with weights or the sampler none"
    y = table.train.ys.values.flatten()
    assert y.sum() == 60
    assert .15 < without_positives(table.dataloaders(bs=64).train) < .4
    dls = table.dataloaders(bs=64, dl_kwargs=[{'wgts': even_weights(y)}, {}])
    assert without_positives(dls.train) == 0
    dls = table.dataloaders(bs=64)
    dls.train.get_idxs = StratifiedBatchSampler(y, 64, balanced=False).get_idxs
    assert without_positives(dls.train) == 0

every_loss = pytest.mark.parametrize('loss', [AUROCLoss, SquaredHingeAUCLoss])

@every_loss
@pytest.mark.parametrize('how', ['weights', 'balanced', 'natural'])
def test_training(how, loss, table, tmp_path, sk_auroc):
    y = table.train.ys.values.flatten()
    dls = table.dataloaders(bs=64, path=tmp_path, dl_kwargs=[{'wgts': even_weights(y)} if how == 'weights' else {}, {}])
    if how != 'weights': dls.train.get_idxs = StratifiedBatchSampler(y, 64, balanced=how == 'balanced').get_idxs
    learn = tabular_learner(dls, layers=[50], loss_func=loss())
    quietly(learn, 'fit', 2, lr=.01, cbs=(seen := Seen()))
    assert all(o.any() and not o.all() for o in seen.targets) and len(seen.targets) == 92
    assert sk_auroc(learn) > .8

@every_loss
@pytest.mark.parametrize('how', ['weights', 'sampler'])
def test_training_of_a_block(how, loss, rare, tmp_path, sk_auroc):
    "Weights and sampler where rows are no table"
    x = torch.tensor(StandardScaler().fit_transform(rare[[*cont_names, 'capital-gain']].assign(
        married=rare['marital-status'].str.startswith('Married-civ')))).float().clamp(-3, 3)
    y = (rare.income == rare.income.max()).values.astype(int)
    block = DataBlock((TransformBlock, CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(3000, 4000)))
    items = list(zip(x, y.tolist()))
    if how == 'weights': dls = block.weighted_dataloaders(items, np.r_[even_weights(y[:3000]), np.zeros(1000)], bs=64, num_workers=0)
    else:
        dls = block.dataloaders(items, bs=64, num_workers=0)
        dls.train.get_idxs = StratifiedBatchSampler(y[:3000], 64).get_idxs
    learn = Learner(dls, nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 2)), loss(), path=tmp_path)
    quietly(learn, 'fit', 1, lr=.02, cbs=(seen := Seen()))
    assert all(o.any() and not o.all() for o in seen.targets) and len(seen.targets) == 46
    assert sk_auroc(learn) > .8
