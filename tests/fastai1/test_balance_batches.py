"Balanced batches in fastai 1: labels and batch size are read from a DataBunch, and training uses them."
import pandas as pd, pytest, torch
from fastai.basic_data import DataBunch, DatasetType
from fastai.data_block import FloatList, MultiCategoryList
from fastai.tabular import Categorify, Normalize, TabularList, tabular_learner
from fastai.text import TextClasDataBunch, TextLMDataBunch, Tokenizer
from torch.utils.data import TensorDataset
from fastai_auroc.losses import AUROCLoss
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches

def rare_table(adult, n=800, positives=40):
    rich = adult.income == '>50K'
    return pd.concat([adult[rich].sample(positives, random_state=0), adult[~rich].sample(n-positives, random_state=0)]).sample(frac=1, random_state=0)

def table(adult, sms, path, cols='income', **kwargs):
    lists = TabularList.from_df(rare_table(adult), path=path, cat_names=['education'], cont_names=['age'], procs=[Categorify, Normalize])
    return lists.split_by_idx(range(600, 800)).label_from_df(cols=cols, **kwargs).databunch(bs=32, num_workers=0)

def text(adult, sms, path):
    df = pd.concat([sms[sms.spam == 1][:20], sms[sms.spam == 0][:280]]).assign(text=lambda o: o.text.str[:40])
    return TextClasDataBunch.from_df(path, df, df[:64], text_cols='text', label_cols='spam', tokenizer=Tokenizer(n_cpus=1), bs=32, num_workers=0)

def tensors(adult, sms, path):
    ds = TensorDataset(torch.randn(400, 3), (torch.arange(400) % 20 == 0).long())
    return DataBunch.create(ds, ds, bs=32, num_workers=0, path=path)

makers = dict(table=table, text=text, tensors=tensors)

def targets_of(dl): return [y.flatten().cpu() for _,y in dl]

@pytest.mark.parametrize('name', makers)
@pytest.mark.parametrize('balanced', [True, False])
def test_installed(name, balanced, adult, sms, tmp_path):
    "Every batch has both classes; loaders made from it keep the sampler; the fixed loader shows all rows in order"
    data = makers[name](adult, sms, tmp_path)
    fixed = torch.cat(targets_of(data.fix_dl)) if name != 'text' else None
    assert any(not b.any() for _ in range(20) for b in targets_of(data.train_dl))
    n,sampler = len(data.train_dl),balance_batches(data, balanced)
    assert isinstance(sampler, StratifiedBatchSampler) and sampler.batch_size == 32 and sampler.balanced == balanced
    for dl in (data.train_dl, data.train_dl.new(), data.dl(DatasetType.Train)):
        seen = targets_of(dl)
        assert len(seen) == n and all(b.any() and not b.all() for b in seen if len(b) == 32)
        if balanced: assert all(b.sum() == 16 for b in seen if len(b) == 32)
    if fixed is not None: assert torch.cat(targets_of(data.fix_dl)).equal(fixed)
    assert balance_batches(data, not balanced) is not sampler
    assert all(b.any() and not b.all() for b in targets_of(data.train_dl) if len(b) == 32)

def test_training(adult, sms, tmp_path):
    data = table(adult, sms, tmp_path)
    balance_batches(data, seed=0)
    learn = tabular_learner(data, layers=[10], loss_func=AUROCLoss(), silent=True)
    learn.fit(2, .01)
    assert all(0 < float(o) < 1 for o in learn.recorder.losses)
    with pytest.raises(TypeError, match=r'got a Learner: pass learn\.data'): balance_batches(learn)

def numbers(adult, sms, path): return table(adult, sms, path, 'hours-per-week', label_cls=FloatList, log=True)

def many(adult, sms, path):
    df = rare_table(adult).assign(rich=lambda o: (o.income == '>50K').astype(float), old=lambda o: (o.age > 40).astype(float))
    lists = TabularList.from_df(df, path=path, cat_names=['education'], cont_names=['age'], procs=[Categorify, Normalize]).split_by_idx(range(600, 800))
    return lists.label_from_df(cols=['rich', 'old'], label_cls=MultiCategoryList, one_hot=True).databunch(bs=32, num_workers=0)

def language_model(adult, sms, path):
    df = sms[:100]
    return TextLMDataBunch.from_df(path, df, df, text_cols='text', tokenizer=Tokenizer(n_cpus=1), bs=8, num_workers=0)

@pytest.mark.parametrize('make', [numbers, many, language_model])
def test_refused(make, adult, sms, tmp_path):
    data = make(adult, sms, tmp_path)
    before = data.train_dl
    with pytest.raises(ValueError, match='cannot read one class a row'): balance_batches(data)
    assert data.train_dl is before
