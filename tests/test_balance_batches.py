"balance_batches with fastai 2: whose labels it reads, what trains on them, what stays as it was, and what is refused."
import copy, pickle
import numpy as np, pandas as pd, pytest, torch
from fastai.callback.core import Callback
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.data.core import DataLoaders, Datasets, TfmdLists
from fastai.data.load import DataLoader
from fastai.data.transforms import Categorize, ColReader, IndexSplitter, ItemGetter
from fastai.distributed import DistributedDL
from fastai.interpret import ClassificationInterpretation
from fastai.learner import Learner, load_learner
from fastai.losses import BCEWithLogitsLossFlat
from fastai.tabular.all import Categorify, TabularDataLoaders, TabularPandas, tabular_learner
from fastai.text.core import BaseTokenizer
from fastai.text.data import TextDataLoaders
from fastai.torch_core import set_seed
from fastai.vision.core import PILImage
from fastai.vision.data import ImageBlock, ImageDataLoaders, MaskBlock
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader as TorchLoader, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from fastai_auroc.all import AUROC, AUROCLoss, StratifiedBatchSampler, balance_batches

pytestmark = pytest.mark.usefixtures('one_thread')
kinds = pytest.mark.parametrize('balanced', [True, False])

n,n_valid,bs = 200,40,16
rng = np.random.default_rng(0)
labels = (rng.permutation(n) < 20).astype(int)  # 10 %
x = torch.tensor(rng.normal(size=(n, 3)), dtype=torch.float32)
parts = list(range(n-n_valid)),list(range(n-n_valid, n))
frame = pd.DataFrame(dict(a=x[:,0].numpy(), b=x[:,1].numpy(),
    words=[' '.join(['one two three four'.split()[i % 4]]*(1 + i*7 % 9)) for i in range(n)], name=np.where(labels, 'yes', 'no'),
    number=labels, three=np.arange(n) % 3, tags=np.where(labels, 'yes;odd', 'no')))
is_train = np.arange(n) < n-n_valid
quiet = dict(num_workers=0, device='cpu')

# Makers of DataLoaders, each with the labels of its training rows in the loader's order

def tabular(y_names, splits=parts, df=frame, **kwargs):
    to = TabularPandas(df, [Categorify], cont_names=['a', 'b'], y_names=y_names, splits=splits, **kwargs)
    return to.dataloaders(bs=bs)

def table(path): return tabular('name', y_block=CategoryBlock())
def table_of_numbers(path): return tabular('number')
def table_from_df(path):
    return TabularDataLoaders.from_df(frame, cont_names=['a', 'b'], y_names='name', y_block=CategoryBlock(),
        valid_idx=parts[1], bs=bs)
def table_in_another_order(path):
    "Rows are those of the split, not of the frame"
    return tabular('name', (parts[0][::-1], parts[1]), y_block=CategoryBlock())
def text(path):
    "Tokenising sorts the frame's rows by length, and the split takes others than those of the frame"
    return TextDataLoaders.from_df(frame, text_col='words', label_col='name', valid_idx=parts[1], bs=bs, seq_len=10,
        tok_tfm=BaseTokenizer(), **quiet)
def weighted(path):
    block = DataBlock((TransformBlock, CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1),
        splitter=IndexSplitter(parts[1]))
    return block.weighted_dataloaders(list(zip(x, labels.tolist())), np.ones(n), bs=bs, **quiet)
def block(path):
    return DataBlock((TransformBlock, CategoryBlock), get_x=lambda r: torch.tensor([r['a'], r['b']]).float(), get_y=ColReader('name'),
        splitter=IndexSplitter(parts[1])).dataloaders(frame, bs=bs, **quiet)
def two_inputs(path):
    return DataBlock((TransformBlock, TransformBlock, CategoryBlock), n_inp=2, getters=[ItemGetter(0), ItemGetter(0), ItemGetter(1)],
        splitter=IndexSplitter(parts[1])).dataloaders(list(zip(x, frame.name)), bs=bs, **quiet)
def datasets(path): return Datasets(range(n), [[lambda i: x[i]], [lambda i: frame.name[i], Categorize()]], splits=parts).dataloaders(bs=bs, **quiet)
def of_datasets(path):
    "`from_dsets` of two Datasets"
    d = Datasets(range(n), [[lambda i: x[i]], [lambda i: frame.name[i], Categorize()]], splits=parts)
    return DataLoaders.from_dsets(d.train, d.valid, bs=bs, **quiet)
def of_lists(path):
    rows = list(zip(x, torch.tensor(labels)))
    return DataLoaders.from_dsets(rows[:-n_valid], rows[-n_valid:], bs=bs, **quiet)
def pair_of(i): return x[i],torch.tensor(labels[i])
def tfmd_lists(path): return TfmdLists(range(n), pair_of, splits=parts).dataloaders(bs=bs, **quiet)
def bools(path):
    rows = [(a, bool(b)) for a,b in zip(x, labels)]
    return DataLoaders(DataLoader(rows[:-n_valid], bs=bs, shuffle=True), DataLoader(rows[-n_valid:], bs=bs))
def ones_by_one(path):
    "Targets of shape (1,), floats, as for binary cross-entropy"
    rows = list(zip(x, torch.tensor(labels)[:,None].float()))
    return DataLoaders(DataLoader(rows[:-n_valid], bs=bs, shuffle=True, drop_last=True), DataLoader(rows[-n_valid:], bs=bs))
def tensors(path):
    ds = TensorDataset(x, torch.tensor(labels))
    return DataLoaders.from_dsets(Subset(ds, parts[0]), Subset(ds, parts[1]), bs=bs, **quiet)
def joined(path):
    ds = TensorDataset(x, torch.tensor(labels))
    return DataLoaders.from_dsets(ConcatDataset([Subset(ds, parts[0][:50]), Subset(ds, parts[0][50:])]),
        Subset(ds, parts[1]), bs=bs, **quiet)

class Photos:
    "A dataset as those of torchvision: `targets` beside the images"
    transform = target_transform = None
    opened = 0
    def __init__(self, rows): self.rows,self.targets = rows,labels[rows].tolist()
    def __len__(self): return len(self.rows)
    def __getitem__(self, i):
        Photos.opened += 1
        return x[self.rows[i]],self.targets[i]

Photos.__getitem__.__module__ = 'torchvision.datasets'  # whose items have the targets as they are

def torchvision(path): return DataLoaders.from_dsets(Photos(parts[0]), Photos(parts[1]), bs=bs, **quiet)

@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Folder of images, named after their labels"
    folder = tmp_path_factory.mktemp('pictures')
    grey = [np.full((4, 4, 3), i, dtype=np.uint8) for i in range(n)]
    for i,name in enumerate(frame.name): Image.fromarray(grey[i]).save(folder/f'{name}_{i:03}.png')
    return folder

makers = [table, table_of_numbers, table_from_df, table_in_another_order, text, weighted, block, two_inputs, datasets,
    of_datasets, of_lists, tfmd_lists, bools, ones_by_one, tensors, joined, torchvision]
every_maker = pytest.mark.parametrize('make', makers, ids=lambda f: f.__name__)

def targets_of(dl): return [b[-1].flatten().long() for b in dl]

def in_order(dls):
    "Targets of the training rows, read by fastai from the first to the last"
    return torch.cat(targets_of(dls.train.new(shuffle=False, drop_last=False, get_idxs=lambda: list(range(dls.train.n)))))

def rows_of(dl): return list(dl.get_idxs())

@kinds
@every_maker
def test_labels_and_batches(make, balanced, tmp_path):
    "Labels are those of the loader's rows, and each batch of the size the loader has holds both classes"
    set_seed(0)
    dls = make(tmp_path)
    before,y = len(dls.train),in_order(dls)
    drop_last = dls.train.drop_last
    sampler = balance_batches(dls, balanced, seed=3)
    assert isinstance(sampler, StratifiedBatchSampler) and sampler.balanced is balanced
    assert sampler.batch_size == bs == dls.train.bs
    assert sampler.counts.tolist() == torch.bincount(y).tolist()
    if make is not text: assert sampler.counts.tolist() == np.bincount(labels[:-n_valid]).tolist()
    rows = rows_of(dls.train)
    assert len(rows) == n-n_valid
    for _ in range(2):
        batches = targets_of(dls.train)
        assert len(batches) == len(dls.train) == before and dls.train.drop_last == drop_last
        for b in batches: assert len(b) == bs and (b.sum() == bs//2 if balanced else b.sum() in (1, 2, 3))
    rows = rows_of(dls.train)
    for i in range(0, len(rows), bs): assert 0 < y[rows[i:i+bs]].sum() < bs
    in_loader = dls.train.new(get_idxs=lambda: rows)
    assert torch.cat(targets_of(in_loader)).equal(y[rows][:len(in_loader)*bs])

@every_maker
def test_from_dls_installs_too(make, tmp_path):
    dls = make(tmp_path)
    sampler = StratifiedBatchSampler.from_dls(dls, seed=1)
    assert type(sampler) is StratifiedBatchSampler
    assert all(b.sum() == bs//2 for b in targets_of(dls.train))
    again = copy.deepcopy(dls)
    balance_batches(again, seed=1)
    StratifiedBatchSampler.from_dls(dls, seed=1)
    assert rows_of(dls.train) == rows_of(again.train)

def test_labels_row_by_row(tmp_path):
    "Row by row: those of the frame, of the split in its order, of the text that the loader has in that row"
    for make in (table, table_in_another_order, text, datasets):
        dls = make(tmp_path)
        balance_batches(dls)
        want = labels[parts[0][::-1] if make is table_in_another_order else parts[0]]
        if make is text: want = (dls.train_ds.items.name == 'yes').to_numpy().astype(int)
        rows = rows_of(dls.train)
        assert all(want[rows[i:i+bs]].sum() == bs//2 for i in range(0, len(rows), bs))

def test_several_classes(tmp_path):
    dls = tabular('three', y_block=CategoryBlock())
    balance_batches(dls)
    assert all(sorted(torch.bincount(b, minlength=3).tolist()) == [5, 5, 6] for b in targets_of(dls.train))

def image_dls(pictures, **kwargs):
    block = DataBlock((ImageBlock, CategoryBlock), get_items=lambda p: sorted(p.iterdir(), key=lambda o: o.stem[-3:]),
        get_y=lambda o: o.stem.split('_')[0], splitter=IndexSplitter(parts[1]), **kwargs)
    return block.dataloaders(pictures, bs=bs, **quiet)

def test_images_are_not_opened(pictures, monkeypatch):
    opened,create = [],PILImage.create
    dls = image_dls(pictures)
    monkeypatch.setattr(PILImage, 'create',
        classmethod(lambda cls, *args, **kwargs: opened.append(1) or create(*args, **kwargs)))
    sampler = balance_batches(dls)
    assert not opened and sampler.counts.tolist() == np.bincount(labels[:-n_valid]).tolist()
    assert all(b.sum() == bs//2 for b in targets_of(dls.train))

def test_images_by_name(pictures):
    dls = ImageDataLoaders.from_name_func(pictures, sorted(pictures.iterdir()), lambda o: o.split('_')[0], seed=0,
        bs=bs, **quiet)
    balance_batches(dls)
    assert all(b.sum() == bs//2 for b in targets_of(dls.train))

def test_torchvision_images_are_not_opened(tmp_path):
    dls = torchvision(tmp_path)
    Photos.opened = 0
    balance_batches(dls)
    assert not Photos.opened

# Datasets that store other labels than they give

class Flipped(TensorDataset):
    def __getitem__(self, i):
        a,b = super().__getitem__(i)
        return a,1-b

class IsOne(Photos):
    "Of three stored classes, one against the others"
    def __getitem__(self, i): return x[self.rows[i]],int(self.targets[i] == 1)

class Joint(Photos):
    "Transforms of both, as `torchvision.transforms.v2` has them"
    transforms = staticmethod(lambda image, target: (image, 1-target))
    def __getitem__(self, i): return self.transforms(*super().__getitem__(i))

class Negative(Datasets):
    def __getitem__(self, i): return super().__getitem__(i)[0],1-super().__getitem__(i)[1]

def three(rows):
    ds = IsOne(rows)
    ds.targets = [int(i % 20 == 3) + 2*int(i % 20 == 5) for i in rows]
    return ds

def folder(root, **kwargs):
    "torchvision's own class"
    for name in ('no', 'yes'):
        (root/name).mkdir(exist_ok=True)
        for i in range(60 if name == 'no' else 9): Image.fromarray(np.full((4, 4, 3), i, dtype=np.uint8)).save(root/name/f'{i}.png')
    return ImageFolder(root, **kwargs)

def pixels(image): return torch.tensor(np.array(image)).float()

def flip_both(image, target): return pixels(image),1-target

def flipped(path): return Flipped(x, torch.tensor(labels))
def classes(path): return three(range(n))
def part(path): return Subset(flipped(path), range(120))
def partly(path): return ConcatDataset([flipped(path), TensorDataset(x, torch.tensor(labels))])
def joint(path): return Joint(range(n))
def target_transform(path): return folder(path, transform=pixels, target_transform=lambda y: 1-y)
def subclass(path):
    class Own(ImageFolder):
        def __getitem__(self, i): return flip_both(*super().__getitem__(i))
    return Own(folder(path).root)
def pipeline(path): return Negative(range(n), [[lambda i: x[i]], [lambda i: int(labels[i])]], splits=parts).train

changed = [flipped, classes, part, partly, joint, target_transform, subclass, pipeline]

@pytest.mark.parametrize('make', changed, ids=lambda f: f.__name__)
def test_labels_are_those_that_a_dataset_gives(make, tmp_path):
    "Where its items have others than it stores, they are read"
    ds = make(tmp_path)
    want = [int(ds[i][-1]) for i in range(len(ds))]
    dls = DataLoaders.from_dsets(ds, ds, bs=bs, **quiet)
    sampler = balance_batches(dls)
    assert sampler.classes.tolist() == [0, 1] and sampler.counts.tolist() == np.bincount(want).tolist()
    assert all(b.sum() == bs//2 for b in targets_of(dls.train))

def test_torchvision_folders_are_not_opened(tmp_path, monkeypatch):
    "Its own class tells its labels, also beside a transform of images"
    ds = folder(tmp_path, transform=pixels)
    monkeypatch.setattr(ds, 'loader', lambda path: pytest.fail('opened'))
    dls = DataLoaders.from_dsets(ds, ds, bs=bs, **quiet)
    assert balance_batches(dls).counts.tolist() == [60, 9]

def test_a_class_of_ones_own_is_asked_for_some_rows(tmp_path):
    class Own(Photos):
        asked = []
        def __getitem__(self, i):
            self.asked.append(i)
            return super().__getitem__(i)
    many = Own(np.arange(2000) % n)
    dls = DataLoaders.from_dsets(many, many, bs=bs, **quiet)
    assert balance_batches(dls).counts.tolist() == np.bincount(labels[many.rows]).tolist()
    assert len(many.asked) <= 128 and {many.targets[i] for i in many.asked} == {0, 1}

def test_stored_labels_stand_for_items_without_one(tmp_path):
    class Named(Photos):
        def __getitem__(self, i): return dict(zip('xy', super().__getitem__(i)))
    dls = DataLoaders.from_dsets(Named(parts[0]), Named(parts[1]), bs=bs, **quiet)
    assert balance_batches(dls).counts.tolist() == np.bincount(labels[:-n_valid]).tolist()

# Other loaders made of it

def test_new_loaders_keep_it(tmp_path):
    "For training; not those that read the rows in order, or other rows"
    dls = table(tmp_path)
    y = in_order(dls)
    balance_batches(dls, seed=0)
    def balanced(dl, size=bs): return all(abs(2*b.sum() - len(b)) <= 2 for b in targets_of(dl)) and dl.bs == size
    for dl in (dls.train.new(), dls.train.new().new().new(), dls.train.new(bs=bs), dls.train.new(shuffle=True),
        dls.train.new(dls.train_ds), dls.train.new(num_workers=0)):
        assert balanced(dl) and rows_of(dl) != rows_of(dl) and len(rows_of(dl)) == n-n_valid
    assert balanced(dls.train.new(bs=10), 10) and balanced(dls.train.new().new(bs=7), 7)
    for dl in (dls.train.new(shuffle=False), dls.train.new(shuffle=False, drop_last=False),
        dls.train.new().new(shuffle=False), dls.train.new(shuffle=False).new()):
        assert rows_of(dl) == list(range(n-n_valid)) and type(dl) is type(dls.train)
    assert torch.cat(targets_of(dls.train.new(shuffle=False, drop_last=False))).equal(y)
    assert rows_of(dls.train.new(get_idxs=lambda: [3, 1])) == [3, 1]
    assert rows_of(dls.train.new(dls.valid_ds, shuffle=False)) == list(range(n_valid))
    assert max(rows_of(dls.train.new(dls.valid_ds))) < n_valid
    assert rows_of(dls.test_dl(frame[:7])) == list(range(7))
    assert rows_of(dls.valid) == list(range(n_valid))

def test_natural_shares_follow_the_batch_size_of_the_new_loader(tmp_path):
    dls = table(tmp_path)
    balance_batches(dls, balanced=False, seed=0)
    for size in (8, 11, 32):
        dl = dls.train.new(bs=size)
        assert all(1 <= b.sum() < len(b) for _ in range(3) for b in targets_of(dl) if len(b) == size)

def test_natural_shares_follow_a_batch_size_that_is_set(tmp_path):
    dls = table(tmp_path)
    balance_batches(dls, balanced=False, seed=0)
    dls.train.bs = 8
    assert all(1 <= b.sum() < 8 for _ in range(3) for b in targets_of(dls.train))

def test_text_loaders_keep_it(tmp_path):
    dls = text(tmp_path)
    res = dls.train.res
    balance_batches(dls)
    for dl in (dls.train.new(), dls.train.new(bs=8)): assert all(2*b.sum() == len(b) for b in targets_of(dl)) and list(dl.res) == list(res)
    assert sorted(rows_of(dls.train.new(shuffle=False))) == list(range(n-n_valid))

def test_the_second_replaces_the_first(tmp_path):
    dls = table(tmp_path)
    balance_batches(dls)
    natural = balance_batches(dls, balanced=False)
    assert all(b.sum() in (1, 2, 3) for b in [*targets_of(dls.train), *targets_of(dls.train.new())])
    assert natural.epoch == 2
    assert rows_of(dls.train.new(shuffle=False)) == list(range(n-n_valid))
    balance_batches(dls)
    assert all(b.sum() == bs//2 for b in [*targets_of(dls.train), *targets_of(dls.train.new())])

@pytest.mark.parametrize('again', [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['deepcopy', 'pickle'])
def test_copies(again, tmp_path):
    "Go their own way, in the same order"
    dls = table(tmp_path)
    balance_batches(dls, seed=0)
    other = again(dls)
    assert other.train is not dls.train and rows_of(other.train) == rows_of(dls.train)
    rows_of(other.train)
    assert rows_of(other.train.new()) != rows_of(dls.train)
    assert other.train.new(bs=4).bs == 4 and rows_of(other.train.new(shuffle=False)) == list(range(n-n_valid))
    other.train.bs = 4
    assert other.train.new().bs == 4 and dls.train.new().bs == bs

# What a Learner does with it

class Seen(Callback):
    "Targets of the training batches"
    def before_fit(self): self.targets = []
    def before_batch(self):
        if self.training: self.targets.append(self.yb[0].flatten().long().cpu())

def quietly(learn, f, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): return getattr(learn, f)(*args, **kwargs)

def learner(make, path):
    dls = make(path)
    dls.path = path
    if make in (table, table_from_df): return tabular_learner(dls, layers=[8], loss_func=AUROCLoss(), metrics=AUROC())
    model = nn.Linear(3, 1 if make is ones_by_one else 2)
    return Learner(dls, model, AUROCLoss() if make is not ones_by_one else BCEWithLogitsLossFlat(), metrics=AUROC(), path=path)

@pytest.mark.parametrize('make', [table, weighted, datasets, of_lists, tfmd_lists, ones_by_one, tensors],
    ids=lambda f: f.__name__)
def test_training(make, tmp_path):
    learn = learner(make, tmp_path)
    train,y,size = learn.dls.train,in_order(learn.dls),len(learn.dls.train)
    before = quietly(learn, 'get_preds', ds_idx=0)
    balance_batches(learn.dls)
    after = quietly(learn, 'get_preds', ds_idx=0)
    assert after[0].equal(before[0]) and after[1].flatten().long().equal(y)
    quietly(learn, 'fit', 3, cbs=(seen := Seen()))
    assert len(seen.targets) == 3*size and all(o.sum() == bs//2 for o in seen.targets) and learn.dls.train is train
    after = quietly(learn, 'get_preds', ds_idx=0)
    assert after[1].flatten().long().equal(y) and len(quietly(learn, 'get_preds')[0]) == n_valid
    assert len(quietly(learn, 'get_preds', dl=learn.dls.train.new(shuffle=False, drop_last=False))[0]) == n-n_valid
    with learn.no_bar(): assert learn.lr_find(num_it=6, show_plot=False).valley > 0
    quietly(learn, 'fit_one_cycle', 1, cbs=(seen := Seen()))
    assert all(o.sum() == bs//2 for o in seen.targets)

@pytest.mark.parametrize('by_hand', [False, True])
def test_predictions_of_the_training_loader_itself(by_hand, tmp_path):
    "Its rows in their order, each once; so does test-time augmentation"
    learn = learner(bools, tmp_path)
    y,want = in_order(learn.dls),quietly(learn, 'get_preds', ds_idx=0)[0]
    if by_hand: learn.dls.train.get_idxs = StratifiedBatchSampler(y, bs).get_idxs
    else: balance_batches(learn.dls)
    assert not learn.dls.train.drop_last
    got = quietly(learn, 'get_preds', dl=learn.dls.train)
    assert got[0].equal(want) and got[1].flatten().long().equal(y)
    quietly(learn, 'fit', 1, cbs=(seen := Seen()))
    assert all(o.sum() == bs//2 for o in seen.targets)
    assert quietly(learn, 'get_preds', dl=learn.dls.train)[1].flatten().long().equal(y)

class Validated(Callback):
    "Targets of the batches that a Learner validates"
    def before_validate(self): self.targets = []
    def before_batch(self):
        if not self.training: self.targets.append(self.yb[0].flatten().long().cpu())

@pytest.mark.parametrize('by_hand', [False, True])
@pytest.mark.parametrize('make', [bools, table, datasets], ids=lambda f: f.__name__)
def test_validation_of_the_training_rows(make, by_hand, tmp_path):
    "In their order, each once, as predictions; with and without a bar, between epochs that it leaves as they are"
    learn = learner(make, tmp_path)
    train,y = learn.dls.train,in_order(learn.dls)
    sampler = StratifiedBatchSampler(y, bs, seed=0)
    if by_hand: train.get_idxs = sampler.get_idxs
    else: sampler.install(learn.dls)
    with learn.no_logging(): learn.validate(ds_idx=0, cbs=(seen := Validated()))
    assert torch.cat(seen.targets).equal(y[:len(train)*bs])
    quietly(learn, 'fit', 1, cbs=(trained := Seen()))
    value = quietly(learn, 'validate', ds_idx=0, cbs=(seen := Validated()))
    assert torch.cat(seen.targets).equal(y[:len(train)*bs]) and sampler.epoch == 1
    assert all(b.sum() == bs//2 for b in trained.targets)
    same = train.new(shuffle=False, get_idxs=lambda: list(range(n-n_valid)))
    assert list(value) == list(quietly(learn, 'validate', dl=same))

@pytest.mark.parametrize('world', [2, 3])
def test_validation_of_the_training_rows_in_several_processes(world, tmp_path, monkeypatch):
    monkeypatch.setattr(DistributedDL, '_broadcast', lambda self, t, rank: list(t))
    monkeypatch.setattr('fastai_auroc.samplers.process_count', lambda: world)
    learn = learner(bools, tmp_path)
    y,each = in_order(learn.dls),-(-(n-n_valid)//world)
    balance_batches(learn.dls)
    for rank in range(world):
        quietly(learn, 'validate', dl=DistributedDL(learn.dls.train, rank, world), cbs=(seen := Validated()))
        assert torch.cat(seen.targets).tolist() == np.resize(y, world*each)[rank*each:(rank+1)*each].tolist()

def test_augmented_predictions(pictures):
    "fastai's `tta` makes its loader with a misspelt `shuffle`"
    dls = image_dls(pictures)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), AUROCLoss())
    want = quietly(learn, 'get_preds', ds_idx=0)
    balance_batches(dls)
    got = quietly(learn, 'tta', ds_idx=0, n=2)
    torch.testing.assert_close(got[0], want[0])
    assert got[1].equal(want[1])

def test_interpretation_and_export(tmp_path, capsys):
    learn = learner(table, tmp_path)
    y = in_order(learn.dls)
    balance_batches(learn.dls)
    quietly(learn, 'fit', 1)
    with learn.no_bar(): matrix = ClassificationInterpretation.from_learner(learn, ds_idx=0).confusion_matrix()
    assert matrix.sum(1).tolist() == torch.bincount(y).tolist()
    learn.dls.show_batch(max_n=2)
    learn.dls.train.show_batch(max_n=2, unique=True)
    assert capsys.readouterr().out
    assert all(b.sum() == bs//2 for b in targets_of(learn.dls.train))
    want = quietly(learn, 'get_preds')[0]
    learn.export(tmp_path/'learner.pkl')
    assert all(b.sum() == bs//2 for b in targets_of(learn.dls.train))
    loaded = load_learner(tmp_path/'learner.pkl')
    assert quietly(loaded, 'get_preds', dl=loaded.dls.test_dl(frame[-n_valid:]))[0].equal(want)
    assert len(learn.dls.new_empty().train.dataset) == 0

@pytest.mark.parametrize('workers', [1, 2])
def test_workers(workers, tmp_path):
    rows = list(zip(x, torch.tensor(labels)))
    dls = DataLoaders.from_dsets(rows[:-n_valid], rows[-n_valid:], bs=bs, num_workers=workers, device='cpu')
    balance_batches(dls)
    one,two = targets_of(dls.train),targets_of(dls.train)
    assert all(b.sum() == bs//2 for b in one+two) and len(one) == len(two) == len(dls.train)

@pytest.mark.parametrize('world', [2, 3])
@kinds
def test_distributed_loaders(balanced, world, tmp_path, monkeypatch):
    "fastai's DistributedDL shares out the order of one process, once"
    monkeypatch.setattr(DistributedDL, '_broadcast', lambda self, t, rank: list(t))
    monkeypatch.setattr('fastai_auroc.samplers.process_count', lambda: world)
    dls = table(tmp_path)
    y = in_order(dls)
    sampler = balance_batches(dls, balanced)
    seen = np.zeros(n-n_valid, dtype=int)
    for epoch in range(5):
        shares = []
        for rank in range(world):
            sampler.set_epoch(epoch)
            shares.append(DistributedDL(dls.train, rank, world).get_idxs())
        each = -(-(n-n_valid)//world)
        assert [len(o) for o in shares] == [each]*world
        for share in shares:
            for i in range(0, each, bs): assert 0 < y[share[i:i+bs]].sum() < len(share[i:i+bs])
        seen += np.bincount(np.concatenate(shares), minlength=n-n_valid)
        assert np.ptp(seen[y == 0]) <= 1 and np.ptp(seen[y == 1]) <= 1

# Refusals

class Unlimited(IterableDataset):
    def __iter__(self): yield from zip(x, torch.tensor(labels))

def pairs(y): return DataLoaders.from_dsets(list(zip(x, y)), list(zip(x, y)), bs=bs, **quiet)

def block_of(y_block, get_y, n_inp=None, blocks=None):
    return DataBlock(blocks or (TransformBlock, y_block), get_x=lambda r: torch.tensor([r['a'], r['b']]).float(), get_y=get_y, n_inp=n_inp,
        splitter=IndexSplitter(parts[1])).dataloaders(frame, bs=bs, **quiet)

def loaders_of(rows, **kwargs): return DataLoaders(DataLoader(rows, **kwargs), DataLoader(rows, **kwargs))

refused = {}

def says(message):
    "The DataLoaders that the function makes are refused with this message"
    def add(make): refused[make.__name__] = make,message
    return add

@says(r'target of shape \(3,\) where one label is wanted')
def multilabel(): return block_of(MultiCategoryBlock, ColReader('tags', label_delim=';'))

@says('its targets are 160 different numbers, as in regression')
def regression_block(): return block_of(RegressionBlock, ColReader('b'))

@says('its targets are 160 different numbers, as in regression')
def regression(): return tabular('b')

@says('its targets are 7 different numbers, as in regression.*CategoryBlock')
def whole_numbers(): return tabular('age', df=frame.assign(age=np.arange(n) % 7))

@says(r'one label a row.*\(160, 2\)')
def several_columns(): return tabular(['number', 'three'])

@says(r'one label a row.*\(160, 0\)')
def no_column(): return tabular(None)

@says('its rows have 2 targets')
def two_targets():
    return block_of(None, [ColReader('name'), ColReader('three')], n_inp=1, blocks=(TransformBlock, CategoryBlock, CategoryBlock))

@says('target')
def language_model():
    tokens = dict(is_lm=True, seq_len=10, tok_tfm=BaseTokenizer())
    return TextDataLoaders.from_df(frame, text_col='words', valid_idx=parts[1], bs=4, **tokens, **quiet)

@says('two classes or more, got one class, 1')
def one_class(): return pairs(torch.ones(n).long())

@says('a batch of 16 has no room for a row of each of the 20 classes')
def more_classes(): return pairs(torch.arange(n) % 20)

@says('a target of type str where a number is wanted')
def strings(): return pairs(frame.name)

@says('a target of type NoneType')
def nothing(): return pairs([None]*n)

@says('2 of 200 are NaN')
def missing(): return pairs(torch.tensor([torch.nan, torch.nan, *labels[2:]]))

@says(r'a target of shape \(4, 4\)')
def masks(): return pairs(torch.zeros(n, 4, 4))

@says('no pairs of input and target, but Tensor')
def inputs_only(): return loaders_of(x, bs=bs)

@says('no pairs of input and target, but dict')
def mappings(): return loaders_of([dict(x=a, y=0) for a in x], bs=bs)

@says('has no length')
def unlimited(): return loaders_of(Unlimited(), bs=bs)

@says('no batch size')
def prebatched(): return loaders_of(list(zip(x, labels)), bs=None)

@says('200 labels, but 150 rows')
def fewer_rows(): return loaders_of(TensorDataset(x, torch.tensor(labels)), bs=bs, n=150)

def rows_with(target): return Datasets(range(n), [[lambda i: x[i]], [target]], splits=parts)

@says('PartialDL chooses 3 batches itself')
def partial(): return rows_with(lambda i: int(labels[i])).partial_dataloaders(50, bs=bs, **quiet)

@says('reading its rows failed with KeyError: 100')
def failing():
    rows = rows_with(lambda i: {o:labels[o] for o in range(100)}[i])
    return DataLoaders(DataLoader(rows.train, bs=bs, shuffle=True), DataLoader(rows.valid, bs=bs))

@pytest.mark.parametrize('way', [balance_batches, StratifiedBatchSampler.from_dls], ids=['balance_batches', 'from_dls'])
@pytest.mark.parametrize('name', refused)
def test_refusals(name, way):
    "Say what was found, and leave the loaders as they were"
    make,says = refused[name]
    dls = make()
    own = dls.train.get_idxs
    with pytest.raises(ValueError, match=says): way(dls)
    assert dls.train.get_idxs == own and 'new' not in vars(dls.train)

def test_masks_of_images_are_refused(pictures, monkeypatch):
    "After the first was opened"
    dls = DataBlock((ImageBlock, MaskBlock), get_items=lambda p: sorted(p.iterdir()),
        splitter=IndexSplitter(parts[1])).dataloaders(pictures, bs=bs, **quiet)
    with pytest.raises(ValueError, match='a target of type PILMask where a number is wanted'): balance_batches(dls)

def test_no_data_loaders(tmp_path):
    dls = table(tmp_path)
    for o in (dls.train, dls.train_ds, labels, None, 3, DataLoaders()):
        says = "DataLoaders or fastai 1's DataBunch, got " + type(o).__name__
        with pytest.raises(TypeError, match=says): balance_batches(o)
    learn = learner(table, tmp_path)
    with pytest.raises(TypeError, match='got TabularLearner: give it learn.dls'): balance_batches(learn)
    loader = TorchLoader(TensorDataset(x, torch.tensor(labels)), batch_size=bs)
    dls = DataLoaders(loader, loader)
    says = r'got torch.*DataLoader: one of PyTorch takes batch_sampler='
    with pytest.raises(TypeError, match=says): balance_batches(dls)

# By hand

def test_install(tmp_path):
    dls = table(tmp_path)
    y = in_order(dls)
    sampler = StratifiedBatchSampler(y, bs)
    assert sampler.install(dls) is sampler and all(b.sum() == bs//2 for b in targets_of(dls.train.new()))
    for wrong in (labels, labels[:100]):
        says = f'labels of {len(wrong)} rows, but the training set has 160'
        with pytest.raises(ValueError, match=says): StratifiedBatchSampler(wrong, bs).install(dls)
    shared = StratifiedBatchSampler(y, bs, rank=0, num_replicas=2)
    with pytest.raises(ValueError, match='leave out rank and num_replicas'): shared.install(dls)
    with pytest.raises(TypeError, match='must be fastai'): sampler.install(dls.train)

@pytest.mark.parametrize('wrong', [labels, labels[:100]], ids=['more', 'fewer'])
@pytest.mark.parametrize('make', [table, of_lists, datasets], ids=lambda f: f.__name__)
def test_labels_of_other_rows_end_the_first_epoch(make, wrong, tmp_path):
    learn = learner(make, tmp_path)
    learn.dls.train.get_idxs = StratifiedBatchSampler(wrong, bs).get_idxs
    says = f'labels of {len(wrong)} rows, but the loader reads 160: targets must be the labels of the training rows'
    with pytest.raises(ValueError, match=says): quietly(learn, 'fit', 1)

@pytest.mark.parametrize('by_hand', [False, True])
def test_a_loader_that_is_cut_later(by_hand, tmp_path):
    "The same error with `balance_batches` as by hand"
    learn = learner(table, tmp_path)
    sampler = StratifiedBatchSampler(in_order(learn.dls), bs)
    if by_hand: learn.dls.train.get_idxs = sampler.get_idxs
    else: balance_batches(learn.dls)
    learn.dls.train.n = 100
    with pytest.raises(ValueError, match='labels of 160 rows, but the loader reads 100: targets must be the labels'): quietly(learn, 'fit', 1)

@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('way', ['batch_sampler', 'sampler'])
def test_labels_of_other_rows_end_the_first_epoch_of_torch(way, workers):
    sampler = StratifiedBatchSampler(labels, bs)
    kwargs = dict(batch_sampler=sampler) if way == 'batch_sampler' else dict(sampler=sampler.rows, batch_size=bs)
    dl = TorchLoader(Subset(TensorDataset(x, torch.tensor(labels)), parts[0]), num_workers=workers, **kwargs)
    with pytest.raises(ValueError, match='labels of 200 rows, but the loader reads 160'): list(dl)
