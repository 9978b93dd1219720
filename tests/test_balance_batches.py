"Balanced batches without a word about labels: what is read from a training set, what is installed, and how the rows lie."
import copy, numpy as np, pytest, subprocess, sys, torch
from pathlib import Path
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.data.core import DataLoaders, Datasets
from fastai.data.load import DataLoader
from fastai.data.transforms import Categorize, IndexSplitter, ItemGetter
from fastai.learner import Learner, load_learner
from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, TabularPandas, tabular_learner
from fastai.text.core import BaseTokenizer
from fastai.text.data import TextDataLoaders
from fastai.vision.all import ImageDataLoaders, PILImage
from hypothesis import given, settings, strategies as st
from test_sampler import Seen, labels_of, quietly, rare_rows
from torch import nn
from torch.utils.data import BatchSampler, DataLoader as TorchLoader, Sampler, Subset, TensorDataset
from fastai_auroc.losses import AUROCLoss
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches

pytestmark = pytest.mark.usefixtures('one_thread')
steady = settings(max_examples=60, deadline=None, derandomize=True)

# How the rows lie

def worst_slice(y, k):
    "The largest distance of a class's count in a slice from its share, over all slices, by running sums"
    worst = 0.
    for c in range(k):
        ahead = np.r_[0, np.cumsum(y == c)] - np.arange(len(y)+1)/k
        worst = max(worst, ahead.max()-ahead.min())  # the largest difference of two running sums is that of the worst slice
    return worst

@given(st.lists(st.integers(1, 120), min_size=2, max_size=6), st.integers(0, 80), st.integers(0, 99))
@steady
def test_any_slice_is_balanced(counts, more, seed):
    "Of any m consecutive rows each class has m/k within 2(1 - 1/k), wherever they begin"
    y,k = labels_of(counts),len(counts)
    for rows in (s := StratifiedBatchSampler(y, k+more, seed=seed)).get_idxs(), [i for b in s for i in b], list(s.rows):
        assert worst_slice(y[rows], k) <= 2*(1-1/k) + 1e-9
        for i in range(0, len(rows)-k+1, k): assert sorted(y[rows[i:i+k]]) == list(range(k))

def test_the_issue():
    "Batches of 64 read in slices of 32, which had one class each"
    y = labels_of([900, 100])
    rows = np.array(StratifiedBatchSampler(y, 64, seed=0).get_idxs())
    assert {y[rows[i:i+32]].sum() for i in range(0, 992, 32)} == {16}
    assert len({tuple(y[rows[i:i+2]]) for i in range(0, 1000, 2)}) == 2  # in random order within a group

@pytest.mark.parametrize('counts', [(900, 100), (500, 300, 200), (100,)*10])
@pytest.mark.parametrize('stride', [2, 3, 4, 8])
def test_a_strided_shard_has_every_class(counts, stride):
    "Each class is within six standard deviations of its share among every second, third, ... row"
    y,k = labels_of(counts),len(counts)
    for seed in range(5):
        rows = np.array(StratifiedBatchSampler(y, 60, seed=seed).get_idxs())
        for first in range(stride):
            shard = np.bincount(y[rows[first::stride]], minlength=k)
            assert (np.abs(shard - shard.sum()/k) <= 6*(shard.sum()/k*(1-1/k))**.5).all()

@given(st.lists(st.integers(1, 120), min_size=2, max_size=5), st.integers(0, 80), st.integers(0, 99))
@steady
def test_natural_batches(counts, more, seed):
    "One row of each class at least; within a batch the rows of a class lie evenly apart"
    y,bs = labels_of(counts),len(counts)+more
    for batch in StratifiedBatchSampler(y, bs, balanced=False, seed=seed):
        mine = y[batch]
        assert np.bincount(mine, minlength=len(counts)).min() >= 1
        for c,n in enumerate(np.bincount(mine)): assert np.abs(np.flatnonzero(mine == c)*n/len(mine) - np.arange(n)).max() <= len(counts) + 1

def test_a_million_rows():
    "In an order for each of two prevalences every row has a place"
    y = (np.arange(10**6) % 1000 == 0).astype(int)
    assert np.bincount(y[StratifiedBatchSampler(y, 64, seed=0).get_idxs()]).tolist() == [500_000, 500_000]
    assert y[StratifiedBatchSampler(y, 64, balanced=False, seed=0).get_idxs()].sum() == 15_625

# Training sets

def tabular(adult, sms, path):
    df = rare_rows(adult, 800, adult.income == adult.income.max(), .05)
    return TabularDataLoaders.from_df(df, path=path, procs=[Categorify, Normalize], cat_names=['education'], cont_names=['age'], y_names='income',
        y_block=CategoryBlock(), valid_idx=range(600, 800), bs=32)

def plain_targets(adult, sms, path):
    "A table whose target is a number, without a CategoryBlock"
    df = rare_rows(adult, 800, adult.income == adult.income.max(), .05)
    to = TabularPandas(df.assign(high=(df.income == adult.income.max()).astype(int)), procs=[Categorify, Normalize], cat_names=['education'],
        cont_names=['age'], y_names='high', splits=(list(range(600)), list(range(600, 800))))
    return to.dataloaders(bs=32, path=path)

def text(adult, sms, path):
    df = rare_rows(sms, 400, sms.spam == sms.spam.max(), .05).assign(text=lambda o: o.text.str[:40])
    return TextDataLoaders.from_df(df, path=path, text_col='text', label_col='spam', valid_idx=range(300, 400), bs=32, seq_len=20,
        tok_tfm=BaseTokenizer(), num_workers=0)

def vision(adult, sms, path):
    rng = np.random.default_rng(0)
    files = [path/f'{"rare" if i % 20 == 0 else "common"}_{i}.png' for i in range(120)]
    for file in files: PILImage.create(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file)
    return ImageDataLoaders.from_name_func(path, files, lambda o: o.split('_')[0], valid_pct=.2, seed=0, bs=16, num_workers=0)

def block(adult, sms, path):
    items = [(torch.randn(3), 'b' if i % 15 == 0 else 'a') for i in range(400)]
    data = DataBlock((TransformBlock, CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(300, 400)))
    return data.dataloaders(items, bs=32, num_workers=0)

def datasets(adult, sms, path):
    names = [f'{"xyz"[min(i % 10, 2)]}{i}' for i in range(300)]
    ds = Datasets(names, [[lambda o: torch.tensor([float(o[1:])])], [lambda o: o[0], Categorize()]], splits=(list(range(250)), list(range(250, 300))))
    return ds.dataloaders(bs=30, num_workers=0)

def pairs(adult, sms, path):
    ds = [(torch.randn(3), torch.tensor(int(i % 20 == 0))) for i in range(400)]
    return DataLoaders.from_dsets(ds[:300], ds[300:], bs=32, num_workers=0)

def of_tensors(adult, sms, path):
    ds = TensorDataset(torch.randn(400, 3), (torch.arange(400) % 20 == 0).long())
    return DataLoaders.from_dsets(ds, ds, bs=32, num_workers=0)

def subset(adult, sms, path):
    ds = TensorDataset(torch.randn(400, 3), (torch.arange(400) % 20 == 0).long())
    return DataLoaders.from_dsets(Subset(ds, range(399, 99, -1)), Subset(ds, range(100)), bs=32, num_workers=0)

def loaders(adult, sms, path):
    ds = [(torch.randn(3), int(i % 20 == 0)) for i in range(400)]
    return DataLoaders(DataLoader(ds, bs=32), DataLoader(ds, bs=32))  # one that does not shuffle

makers = dict(tabular=tabular, plain_targets=plain_targets, text=text, vision=vision, block=block, datasets=datasets, pairs=pairs,
    of_tensors=of_tensors, subset=subset, loaders=loaders)
every_maker = pytest.mark.parametrize('name', makers)

def targets_of(dl): return [b[-1].flatten().cpu().long() for b in dl]

def in_order(dl): return torch.cat(targets_of(dl.new(shuffle=False, drop_last=False)))

@every_maker
@pytest.mark.parametrize('balanced', [True, False])
def test_installed(name, balanced, adult, sms, tmp_path):
    "Every batch of the loader and of those made from it has every class; predictions see all rows in order"
    dls = makers[name](adult, sms, tmp_path)
    before,k = in_order(dls.train),len(in_order(dls.train).unique())
    assert name == 'datasets' or any(len(b.unique()) < k for _ in range(20) for b in targets_of(dls.train))
    sampler = balance_batches(dls, balanced)
    assert isinstance(sampler, StratifiedBatchSampler) and sampler.batch_size == dls.train.bs and sampler.balanced == balanced
    assert sampler.counts.tolist() == before.bincount().tolist()
    for dl in (dls.train, dls.train, dls.train.new(), dls.train.new(drop_last=True), copy.copy(dls.train)):
        seen = targets_of(dl)
        assert len(seen) == len(dl) and all(len(b.unique()) == k for b in seen if len(b) == dl.bs)
        if balanced: assert all(int(b.bincount().max()-b.bincount().min()) <= 1 for b in seen if len(b) == dl.bs)
    if balanced:
        for b in targets_of(dls.train.new(bs=10)): assert len(b) < 10 or b.bincount().max()-b.bincount().min() <= 2
    assert in_order(dls.train).equal(before)
    again = balance_batches(dls, not balanced)
    assert again is not sampler and dls.train.shuffle_fn is again

def test_from_dls_is_the_same(adult, sms, tmp_path):
    dls = tabular(adult, sms, tmp_path)
    sampler = StratifiedBatchSampler.from_dls(dls, seed=3)
    one = torch.cat(targets_of(dls.train))
    assert balance_batches(dls, seed=3) is not sampler and torch.cat(targets_of(dls.train)).equal(one)

def test_images_stay_closed(adult, sms, tmp_path):
    "Labels come from names: files that are gone do not matter"
    dls = vision(adult, sms, tmp_path)
    for file in tmp_path.glob('*.png'): file.unlink()
    assert balance_batches(dls).counts.sum() == 96

def test_a_learner(adult, sms, tmp_path):
    "trains on balanced batches, finds a learning rate, predicts its training set in order, is copied and exported"
    dls = tabular(adult, sms, tmp_path)
    y = torch.from_numpy(dls.train.ys.to_numpy().flatten()).long()
    balance_batches(dls)
    learn = tabular_learner(dls, layers=[10], loss_func=AUROCLoss())
    quietly(learn, 'fit', 2, cbs=(seen := Seen()))
    assert len(seen.targets) == 2*18 and all(b.sum() == 16 for b in seen.targets)
    assert quietly(learn, 'get_preds', ds_idx=0)[1].flatten().equal(y)
    twin = copy.deepcopy(learn)
    quietly(twin, 'fit', 1, cbs=(seen := Seen()))
    assert len(seen.targets) == 18 and all(b.sum() == 16 for b in seen.targets)
    with learn.no_bar(): assert learn.lr_find(num_it=5, show_plot=False).valley > 0
    valid = quietly(learn, 'get_preds')[0]
    learn.export(tmp_path/'learner.pkl')
    assert quietly(load_learner(tmp_path/'learner.pkl'), 'get_preds', dl=learn.dls.valid)[0].equal(valid)

def many_labels(adult, sms, path):
    data = DataBlock((TransformBlock, MultiCategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(20)))
    return data.dataloaders([(torch.randn(3), ['a', 'b'][:1+i % 2]) for i in range(60)], bs=8, num_workers=0)

def regression(adult, sms, path):
    data = DataBlock((TransformBlock, RegressionBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(20)))
    return data.dataloaders([(torch.randn(3), i/7) for i in range(60)], bs=8, num_workers=0)

def two_targets(adult, sms, path):
    blocks = TransformBlock,CategoryBlock,CategoryBlock
    data = DataBlock(blocks, n_inp=1, getters=[ItemGetter(0), ItemGetter(1), ItemGetter(1)], splitter=IndexSplitter(range(20)))
    return data.dataloaders([(torch.randn(3), i % 2) for i in range(60)], bs=8, num_workers=0)

def weighted_table(adult, sms, path):
    df = rare_rows(adult, 800, adult.income == adult.income.max(), .05)
    to = TabularPandas(df, procs=[Categorify, Normalize], cat_names=['education'], cont_names=['age'], y_names='income', y_block=CategoryBlock(),
        splits=(list(range(600)), list(range(600, 800))))
    return to.dataloaders(bs=32, dl_kwargs=[dict(wgts=np.arange(600)), {}])

def weighted(adult, sms, path):
    data = DataBlock((TransformBlock, CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(20)))
    return data.weighted_dataloaders([(torch.randn(3), i % 2) for i in range(60)], np.arange(60), bs=8, num_workers=0)

def language_model(adult, sms, path):
    return TextDataLoaders.from_df(sms[:60].assign(text=lambda o: o.text.str[:40]), path=path, text_col='text', is_lm=True, bs=4, seq_len=10,
        tok_tfm=BaseTokenizer(), num_workers=0)

def one_class(adult, sms, path): return DataLoaders.from_dsets([(torch.randn(3), 1)]*50, [(torch.randn(3), 1)]*50, bs=8, num_workers=0)

def names(adult, sms, path): return DataLoaders.from_dsets([(torch.randn(3), 'ab'[i % 2]) for i in range(50)], [], bs=8, num_workers=0)

def inputs_alone(adult, sms, path): return DataLoaders.from_dsets([torch.randn(3)]*50, [], bs=8, num_workers=0)

def stream(adult, sms, path): return DataLoaders(DataLoader((i for i in range(9)), bs=8), DataLoader([(1, 2)], bs=8))

@pytest.mark.parametrize('make,says', [(many_labels, 'as many labels or pixels do'), (regression, 'regression'), (two_targets, '2 targets'),
    (weighted, 'WeightedDL draws its rows by weight'), (weighted_table, 'TabWeightedDL draws its rows by weight'), (language_model, 'a language model has no classes'),
    (one_class, 'two classes or more'), (names, 'no numbers'), (inputs_alone, 'no pairs of input and target'), (stream, 'no numbered rows')])
def test_refused(make, says, adult, sms, tmp_path):
    dls = make(adult, sms, tmp_path)
    before = dls.train.shuffle
    with pytest.raises(ValueError, match=says): balance_batches(dls)
    assert dls.train.shuffle == before and 'shuffle_fn' not in vars(dls.train)

def test_no_dls(adult, sms, tmp_path):
    learn = Learner(pairs(adult, sms, tmp_path), nn.Linear(3, 2), nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match=r'got a Learner: pass learn\.dls'): balance_batches(learn)
    with pytest.raises(TypeError, match='got a TfmdDL'): balance_batches(learn.dls.train)
    with pytest.raises(TypeError, match='got a list'): balance_batches([0, 1])

@pytest.mark.parametrize('how', ['get_idxs', 'shuffle_fn', 'batch_sampler'])
def test_labels_of_another_set(how, tmp_path):
    "Those of all rows instead of the training rows: an error when the first epoch begins"
    ds = [(torch.randn(3), torch.tensor(i % 2)) for i in range(800)]
    dls = DataLoaders.from_dsets(ds[:600], ds[600:], bs=32, num_workers=0, path=tmp_path)
    everyone = [int(y) for _,y in ds]
    sampler = StratifiedBatchSampler(everyone, 32)
    if how == 'get_idxs': dls.train.get_idxs = sampler.get_idxs
    elif how == 'shuffle_fn': dls.train.shuffle_fn = sampler
    loader = dls.train if how != 'batch_sampler' else TorchLoader(TensorDataset(torch.zeros(600)), batch_sampler=sampler)
    with pytest.raises(ValueError, match='made from 800 labels, but the loader has 600 rows'): next(iter(loader))
    if how == 'batch_sampler': return
    learn = Learner(dls, nn.Linear(3, 2), AUROCLoss())
    with pytest.raises(ValueError, match='balance_batches'): quietly(learn, 'fit', 1)

# PyTorch and several processes

def test_torch_protocol():
    y = labels_of([900, 100])
    sampler = StratifiedBatchSampler(y, 64, seed=0)
    assert isinstance(sampler, Sampler) and isinstance(sampler.rows, Sampler)
    assert len(list(BatchSampler(sampler.rows, 64, False))) == 16 and len(sampler) == len(list(sampler)) == 15
    loose = StratifiedBatchSampler(y, 64, seed=0, drop_last=False)
    sizes = [len(b) for b in loose]
    assert len(loose) == len(sizes) == 16 and sizes == [64]*15 + [40]
    assert all(y[b].sum()*2 == len(b) for b in loose)

def test_accelerate():
    from accelerate import Accelerator
    y = torch.from_numpy(labels_of([900, 100]))
    dl = Accelerator(cpu=True).prepare(TorchLoader(TensorDataset(torch.arange(1000), y), batch_sampler=StratifiedBatchSampler(y, 64, seed=0)))
    assert len(dl) == 15 and all(yb.sum() == 32 for _,yb in dl)

def test_lightning():
    "Tries to make the sampler anew from another one, and hears what to do"
    sampler = StratifiedBatchSampler([0, 1]*50, 10)
    with pytest.raises(TypeError, match='use_distributed_sampler=False'): type(sampler)(sampler.rows, batch_size=10, drop_last=True)

def test_set_epoch():
    "The order depends on the seed and the epoch alone, and each epoch has another"
    y = labels_of([900, 100])
    one,other = StratifiedBatchSampler(y, 64, seed=1),StratifiedBatchSampler(y, 64, seed=1)
    list(one)
    def epoch(s, i): return s.set_epoch(i) or list(s)
    assert epoch(one, 3) == epoch(other, 3) != epoch(one, 4)

@pytest.mark.parametrize('balanced', [True, False])
@pytest.mark.parametrize('counts', [(700, 300), (950, 50), (400, 90, 10)])
@pytest.mark.parametrize('world', [2, 3])
def test_shares_of_processes(world, counts, balanced):
    "Taken together, no row of a class comes twice before all have come; each process has batches with every class, and as many"
    y,k = labels_of(counts),len(counts)
    parts = [[b for _ in range(3) for b in s] for s in (StratifiedBatchSampler(y, 30, balanced, rank=r, num_replicas=world) for r in range(world))]
    assert len({len(p) for p in parts}) == 1 and len(parts[0]) == 3*(sum(counts)//world//30)
    assert all(len(set(y[b])) == k for p in parts for b in p)
    rows = [np.concatenate(p) for p in parts]
    for c,n in enumerate(counts):
        drawn = np.stack([o[y[o] == c] for o in rows], 1).reshape(-1)  # in the order of time
        for i in range(0, len(drawn), n): assert len(set(drawn[i:i+n])) == len(drawn[i:i+n])

@pytest.mark.parametrize('rank,num_replicas', [(2, 2), (0, 0), (-1, 2), (.5, 2), (0, 1.5)])
def test_wrong_ranks(rank, num_replicas):
    with pytest.raises(ValueError, match='rank|num_replicas'): StratifiedBatchSampler([0, 1]*50, 4, rank=rank, num_replicas=num_replicas)

@pytest.mark.parametrize('world', [2, 3])
def test_processes(world, tmp_path):
    "Real processes of gloo, which find rank and number by themselves; fastai and accelerate share out the order of one"
    worker = Path(__file__).with_name('sampler_worker.py')
    runs = [subprocess.Popen([sys.executable, worker, str(rank), str(world), tmp_path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(world)]
    printed = [run.communicate(timeout=120)[0] for run in runs]
    assert all(run.returncode == 0 for run in runs), printed
    y = labels_of([900, 100])
    parts = [np.load(tmp_path/f'rows{rank}.npy') for rank in range(world)]
    for c,n in enumerate((900, 100)):
        drawn = np.stack([o[y[o] == c] for o in parts], 1).reshape(-1)
        for i in range(0, len(drawn), n): assert len(set(drawn[i:i+n])) == len(drawn[i:i+n])
    for part in parts: assert all(y[part[i:i+30]].sum() == 15 for i in range(0, len(part), 30))
    batches = [np.load(tmp_path/f'accelerate{rank}.npy').reshape(-1, 30) for rank in range(world)]
    assert sum(map(len, batches)) == 33//world*world and all((y[o].sum(1) == 15).all() for o in batches)
    negatives = np.concatenate([o[y[o] == 0] for o in batches])
    assert len(negatives) == len(set(negatives)) == 33//world*world*15
    shares = [np.load(tmp_path/f'fastai{rank}.npy') for rank in range(world)]
    assert sum(map(len, shares)) > 1000 - 30*world
    for share in shares: assert worst_slice(share, 2) <= 1.5
