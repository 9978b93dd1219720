"Small real Learners of fastai 1, shared by its tests."
import sys, warnings
warnings.filterwarnings('ignore', module='fastai|spacy|thinc|torch')
from pathlib import Path
import numpy as np, pytest, torch
from fastai.basic_data import DatasetType
from fastai.core import noop
from fastai.metrics import accuracy
from fastai.tabular import Categorify, FillMissing, Normalize, TabularList, tabular_learner

sys.path.append(str(Path(__file__).parents[1]))  # this folder is run by itself, so pytest adds only it
from shared_fixtures import adult, adult_small, margin_auroc, sms  # chkstyle: ignore

@pytest.fixture(autouse=True, scope='session')
def _one_thread():
    "Models this small only wait for other threads, for minutes where the machine has other work"
    torch.set_num_threads(1)

@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(0)
    torch.manual_seed(0)

@pytest.fixture
def adult_data(adult, tmp_path):
    "Makes a DataBunch of `n` rows of Adult, the last `valid` of them, or those at `valid_idx`, for validation; saves under a temporary path"
    def make(n=900, valid=300, valid_idx=None, bs=64, df=None):
        df = adult.sample(n, random_state=0) if df is None else df
        items = TabularList.from_df(df, path=tmp_path, cat_names=['education','marital-status','occupation'],
            cont_names=['age','education-num','hours-per-week'], procs=[FillMissing,Categorify,Normalize])
        valid_idx = range(len(df)-valid, len(df)) if valid_idx is None else valid_idx
        return items.split_by_idx(valid_idx).label_from_df(cols='income').databunch(bs=bs, num_workers=0)
    return make

@pytest.fixture
def adult_learner(adult_data):
    "Makes a small tabular Learner on Adult; keywords go to `tabular_learner`, `data` may be given"
    def make(data=None, metrics=accuracy, **kwargs): return tabular_learner(data or adult_data(), layers=[20], metrics=metrics, silent=True, **kwargs)
    return make

@pytest.fixture
def sk_auroc():
    "scikit-learn's AUROC of a Learner's raw outputs on a binary task: two logits are differenced in float64"
    def score(learn, ds_type=DatasetType.Valid):
        outputs,targets = learn.get_preds(ds_type, activ=noop)
        return margin_auroc(outputs, targets)
    return score

@pytest.fixture
def column():
    "The values of a column of a fit's table, one an epoch; take `learn.recorder` before `get_preds` replaces it"
    def get(recorder, name): return [float(m[recorder.metrics_names.index(name)]) for m in recorder.metrics]
    return get
