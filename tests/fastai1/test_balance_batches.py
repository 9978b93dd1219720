"balance_batches with fastai 1: whose labels it reads, what trains on them, what stays as it was, and what is refused."
import copy, numpy as np, pandas as pd, pytest, torch
from fastai.basic_data import DataBunch, DatasetType
from fastai.basic_train import Learner, LearnerCallback
from fastai.core import Category, ItemBase
from fastai.data_block import CategoryList, ItemList
from fastai.distributed import OurDistributedSampler
from fastai.tabular import FloatList, TabularList, tabular_learner
from fastai.text import AWD_LSTM, TextClasDataBunch, TextLMDataBunch, Tokenizer, awd_lstm_clas_config
from fastai.text import text_classifier_learner
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from fastai_auroc.all import AUROC, AUROCLoss, StratifiedBatchSampler, balance_batches
from fastai_auroc.losses import SquaredHingeAUCLoss

n,n_valid,bs = 200,40,16
rng = np.random.default_rng(0)
labels = (rng.permutation(n) < 20).astype(int)  # 10 %
x = torch.tensor(rng.normal(size=(n, 3)), dtype=torch.float32)
valid = list(range(n-n_valid, n))
words = 'one two three four'.split()
frame = pd.DataFrame(dict(a=x[:,0].numpy(), b=x[:,1].numpy(), text=[' '.join([words[i % 4]]*(1 + i*7 % 9)) for i in range(n)],
    name=np.where(labels, 'yes', 'no'), three=np.arange(n) % 3, tags=np.where(labels, 'yes;odd', 'no')))
kinds = pytest.mark.parametrize('balanced', [True, False])

def items(path): return TabularList.from_df(frame, path=path, cont_names=['a', 'b']).split_by_idx(valid)

def table(path): return items(path).label_from_df(cols='name').databunch(bs=bs, num_workers=0)

def text(path):
    return TextClasDataBunch.from_df(path, frame[:-n_valid], frame[-n_valid:], text_cols='text', label_cols='name',
        tokenizer=Tokenizer(n_cpus=1), bs=bs)

class Rows(Dataset):
    "Pairs, and nothing else"
    def __init__(self, rows): self.rows = rows
    def __len__(self): return len(self.rows)
    def __getitem__(self, i): return x[self.rows[i]],int(labels[self.rows[i]])

def tensors(path):
    parts = [TensorDataset(x[o], torch.tensor(labels[o])) for o in (slice(n-n_valid), slice(n-n_valid, n))]
    return DataBunch.create(*parts, path=path, bs=bs, num_workers=0)

def pairs(path): return DataBunch.create(Rows(range(n-n_valid)), Rows(valid), path=path, bs=bs, num_workers=0)

class Picture(ItemBase):
    def __init__(self, i): self.obj,self.data = i,torch.full((3, 4, 4), float(i))

class Pictures(ItemList):
    "As ImageList, which needs torchvision: an item is opened when it is asked for"
    opened = 0
    def get(self, i):
        Pictures.opened += 1
        return Picture(super().get(i))

def pictures(path): return Pictures(np.arange(n), path=path).split_by_idx(valid)

makers = [table, text, tensors, pairs]
every_maker = pytest.mark.parametrize('make', makers, ids=lambda f: f.__name__)

def targets_of(dl): return [y.flatten().long() for _,y in dl]

@kinds
@every_maker
def test_labels_and_batches(make, balanced, tmp_path):
    "Each batch of the loader holds both classes, with as many rows and batches as before"
    data = make(tmp_path)
    before,targets = len(data.train_dl),[data.train_ds[i][1] for i in range(n-n_valid)]
    y = [int(o.data if make in (table, text) else o) for o in targets]
    sampler = balance_batches(data, balanced, seed=3)
    assert isinstance(sampler, StratifiedBatchSampler) and sampler.batch_size == bs and sampler.balanced is balanced
    assert sampler.counts.tolist() == np.bincount(y).tolist() == np.bincount(labels[:-n_valid]).tolist()
    for _ in range(2):
        batches = targets_of(data.train_dl)
        assert len(batches) == len(data.train_dl) == before and data.train_dl.drop_last
        for b in batches: assert len(b) == bs and (b.sum() == bs//2 if balanced else b.sum() in (1, 2, 3))
    fixed = targets_of(data.fix_dl)
    assert sorted(torch.cat(fixed).tolist()) == sorted(y)[:len(torch.cat(fixed))]
    assert len(torch.cat(targets_of(data.valid_dl))) == n_valid

@every_maker
def test_from_dls_installs_too(make, tmp_path):
    data = make(tmp_path)
    assert type(StratifiedBatchSampler.from_dls(data)) is StratifiedBatchSampler
    assert all(b.sum() == bs//2 for b in targets_of(data.train_dl))

def test_images_are_not_opened(tmp_path):
    data = pictures(tmp_path).label_from_func(lambda i: frame.name[i]).databunch(bs=bs, num_workers=0)
    Pictures.opened = 0
    sampler = balance_batches(data)
    assert not Pictures.opened and sampler.counts.tolist() == np.bincount(labels[:-n_valid]).tolist()
    assert all(b.sum() == bs//2 for b in targets_of(data.train_dl))

def test_new_loaders_keep_it(tmp_path):
    "For training; not those that read the rows in order"
    data = table(tmp_path)
    y = data.train_ds.y.items
    balance_batches(data)
    def balanced(dl, size=bs): return all(abs(2*b.sum() - len(b)) <= 2 for b in targets_of(dl)) and dl.batch_size == size
    train = data.train_dl
    for dl in (train.new(), train.new().new(), train.new(shuffle=True), train.new(num_workers=0)): assert balanced(dl)
    assert balanced(data.train_dl.new(batch_size=10), 10) and balanced(data.train_dl.new().new(batch_size=7), 7)
    for dl in (train.new(shuffle=False, drop_last=False), train.new(drop_last=False).new(shuffle=False)):
        assert torch.cat(targets_of(dl)).tolist() == y.tolist()
    own = data.train_dl.new(sampler=[3, 1, 2], drop_last=False)
    assert torch.cat(targets_of(own)).tolist() == y[[3, 1, 2]].tolist()
    assert balanced(data.train_dl.new(shuffle=False, sampler=OurDistributedSampler(data.train_ds, 1, 0)))
    data.batch_size = 10
    assert balanced(data.train_dl, 10)

def test_natural_shares_follow_the_batch_size(tmp_path):
    data = table(tmp_path)
    balance_batches(data, balanced=False, seed=0)
    assert all(1 <= b.sum() < 8 for _ in range(3) for b in targets_of(data.train_dl.new(batch_size=8)))
    data.batch_size = 8
    assert all(1 <= b.sum() < 8 for _ in range(3) for b in targets_of(data.train_dl))

def test_the_second_replaces_the_first(tmp_path):
    data = table(tmp_path)
    balance_batches(data)
    balance_batches(data, balanced=False)
    assert all(b.sum() in (1, 2, 3) for b in [*targets_of(data.train_dl), *targets_of(data.train_dl.new())])
    balance_batches(data)
    assert all(b.sum() == bs//2 for b in [*targets_of(data.train_dl), *targets_of(data.train_dl.new())])

def test_copies_go_their_own_way(tmp_path):
    data = table(tmp_path)
    balance_batches(data, seed=0)
    other = copy.deepcopy(data)
    assert [b.tolist() for b in targets_of(other.train_dl)] == [b.tolist() for b in targets_of(data.train_dl)]
    other.batch_size = 4
    assert other.train_dl.new().batch_size == 4 and data.train_dl.new().batch_size == bs
    assert all(b.sum() == 2 for b in targets_of(other.train_dl.new()))

class Flipped(TensorDataset):
    def __getitem__(self, i):
        a,b = super().__getitem__(i)
        return a,1-b

class Reversed(Rows):
    "Stores other labels than it gives"
    target_transform = None
    @property
    def targets(self): return [1-int(labels[i]) for i in self.rows]

class Other(CategoryList):
    def get(self, i): return Category(1-self.items[i], self.classes[1-self.items[i]])

changed = dict(tensors=lambda path: Flipped(x, torch.tensor(labels)), targets=lambda path: Reversed(range(n)),
    categories=lambda path: items(path).label_from_df(cols='name', label_cls=Other).train)

@pytest.mark.parametrize('name', changed)
def test_labels_are_those_that_a_dataset_gives(name, tmp_path):
    "Where its items have others than it stores, they are read"
    ds = changed[name](tmp_path)
    want = [int(getattr(o, 'data', o)) for o in (ds[i][1] for i in range(len(ds)))]
    data = DataBunch.create(ds, ds, path=tmp_path, bs=bs, num_workers=0)
    assert balance_batches(data).counts.tolist() == np.bincount(want).tolist()
    assert all(b.sum() == bs//2 for b in targets_of(data.train_dl))

class Seen(LearnerCallback):
    "Targets of the training batches"
    def on_train_begin(self, **kwargs): self.targets = []
    def on_batch_begin(self, last_target, train, **kwargs):
        if train: self.targets.append(last_target.flatten().long().cpu())

def learner(make, data, loss):
    kwargs = dict(loss_func=loss, silent=True)
    if make is table: return tabular_learner(data, layers=[8], callback_fns=AUROC, **kwargs)
    if make is not text: return Learner(data, nn.Linear(3, 2), callback_fns=AUROC, **kwargs)
    config = {**awd_lstm_clas_config, 'emb_sz':8, 'n_hid':10, 'n_layers':1}
    return text_classifier_learner(data, AWD_LSTM, config=config, pretrained=False, bptt=10, callback_fns=AUROC, **kwargs)

@pytest.mark.parametrize('loss', [AUROCLoss, SquaredHingeAUCLoss])
@every_maker
def test_training(make, loss, tmp_path):
    "Each batch of a fit is balanced, and predictions for the training rows are what they were"
    data = make(tmp_path)
    learn,size = learner(make, data, loss()),len(data.train_dl)
    before = learn.get_preds(DatasetType.Fix)
    balance_batches(data)
    after = learn.get_preds(DatasetType.Fix)
    assert before[0].equal(after[0]) and before[1].equal(after[1])
    seen = Seen(learn)
    learn.fit(3, callbacks=[seen])
    assert len(seen.targets) == 3*size and all(o.sum() == bs//2 for o in seen.targets)
    assert len(learn.get_preds()[0]) == n_valid

class Validated(LearnerCallback):
    "Targets of the batches that a Learner validates"
    def on_train_begin(self, **kwargs): self.targets = []
    def on_batch_begin(self, last_target, train, **kwargs):
        if not train: self.targets.append(last_target.flatten().long().cpu())

@pytest.mark.parametrize('by_hand', [False, True])
@every_maker
def test_validation_of_the_training_rows(make, by_hand, tmp_path):
    "In their order, each once, also for predictions; between epochs that it leaves as they are"
    data = make(tmp_path)
    y = torch.tensor([int(getattr(o, 'data', o)) for o in (data.train_ds[i][1] for i in range(n-n_valid))])
    sampler = StratifiedBatchSampler(y, bs, seed=0)
    if by_hand: data.train_dl = data.train_dl.new(shuffle=False, sampler=sampler.rows)
    else: sampler.install(data)
    learn,m = learner(make, data, AUROCLoss()),len(data.train_dl)*bs
    learn.validate(data.train_dl, callbacks=[seen := Validated(learn)])
    assert torch.cat(seen.targets).equal(y[:m]) and learn.get_preds(DatasetType.Train)[1].long().equal(y[:m])
    learn.fit(1, callbacks=[trained := Seen(learn)])
    assert all(b.sum() == bs//2 for b in trained.targets)
    learn.validate(data.train_dl, callbacks=[seen])
    assert torch.cat(seen.targets).equal(y[:m]) and sampler.epoch == 1

# Refusals

def block(label): return lambda path: label(items(path)).databunch(bs=bs, num_workers=0)
def bunch(y): return lambda path: DataBunch.create(TensorDataset(x, y), TensorDataset(x, y), path=path, bs=bs, num_workers=0)
def language_model(path):
    return TextLMDataBunch.from_df(path, frame[:-n_valid], frame[-n_valid:], text_cols='text',
        tokenizer=Tokenizer(n_cpus=1), bs=4, bptt=10)

refused = dict(multilabel=(block(lambda o: o.label_from_df(cols='tags', label_delim=';')), 'target of shape \\(3,\\)'),
    regression=(block(lambda o: o.label_from_df(cols='b', label_cls=FloatList)), '160 different numbers, as in'),
    several=(block(lambda o: o.label_from_df(cols=['a', 'b'], label_cls=FloatList)), 'a target of shape'),
    language_model=(language_model, 'cannot balance'), no_labels=(block(lambda o: o.label_empty()), 'cannot balance'),
    one_class=(bunch(torch.ones(n).long()), 'two classes or more, got one class, 1'),
    masks=(bunch(torch.zeros(n, 4, 4)), 'one label a row.*\\(200, 4, 4\\)'), decimals=(bunch(x[:, 0]), 'as in regression'))

@pytest.mark.parametrize('name', refused)
def test_refusals(name, tmp_path):
    make,says = refused[name]
    data = make(tmp_path)
    before = data.train_dl
    with pytest.raises(ValueError, match=says): balance_batches(data)
    assert data.train_dl is before

def test_masks_of_images_are_refused(tmp_path):
    "After one was opened"
    data = pictures(tmp_path).label_from_func(lambda i: i, label_cls=Pictures).databunch(bs=bs, num_workers=0)
    Pictures.opened = 0
    with pytest.raises(ValueError, match=r'a target of shape \(3, 4, 4\)'): balance_batches(data)
    assert Pictures.opened == 1

def test_no_data_bunch(tmp_path):
    data = table(tmp_path)
    for o in (data.train_dl, data.train_ds, labels, None):
        says = "dls must be fastai 2's DataLoaders or fastai 1's DataBunch, got " + type(o).__name__
        with pytest.raises(TypeError, match=says): balance_batches(o)
    learn = learner(table, data, AUROCLoss())
    with pytest.raises(TypeError, match=r'got Learner: give it .*fastai 1: learn.data'): balance_batches(learn)

def test_labels_of_other_rows(tmp_path):
    "By `install` at once, by hand in the first epoch"
    data = table(tmp_path)
    sampler = StratifiedBatchSampler(labels, bs)
    with pytest.raises(ValueError, match='labels of 200 rows, but the training set has 160'): sampler.install(data)
    data.train_dl = data.train_dl.new(shuffle=False, sampler=sampler.rows)
    learn = learner(table, data, AUROCLoss())
    with pytest.raises(ValueError, match='labels of 200 rows, but the loader reads 160'): learn.fit(1)
