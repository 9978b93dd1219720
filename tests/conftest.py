"Small real Learners of fastai 2, shared by the tests."
import importlib, numpy as np, pytest, random, sys, torch
from itertools import groupby
from pathlib import Path
from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, accuracy, noop, set_seed, tabular_learner
from matplotlib import pyplot as plt
from shared_fixtures import adult, adult_small, margin_auroc, sms  # chkstyle: ignore

def pytest_collection_modifyitems(items):
    "Notebooks, which take longest, come before other tests file by file, tutorials first: none is left to run alone at the end"
    notebooks = [o for o in items if o.originalname == 'test_notebook_runs']
    files = [list(group) for _,group in groupby((o for o in items if o.originalname != 'test_notebook_runs'), lambda o: o.path)]
    each = -(-len(notebooks)//max(len(files), 1))
    items[:] = [o for file in files for o in [*(notebooks.pop() for _ in range(min(each, len(notebooks)))), *file]] + notebooks[::-1]

@pytest.fixture(autouse=True)
def _seed():
    "fastai's `set_seed(0)`; without a GPU by hand, since PyTorch notes for a later one who asked, a millisecond before each test"
    if torch.cuda.is_available(): set_seed(0)
    else:
        random.seed(0)
        np.random.seed(0)
        torch.default_generator.manual_seed(0)

@pytest.fixture(scope='module')
def one_thread():
    "For modules whose inputs are so small that more threads only get into each other's way"
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)

@pytest.fixture(scope='module')
def load_benchmark():
    "Imports a module of benchmarks/ by its name; after the tests of a file all of them are forgotten"
    folder = Path(__file__).parent.parent/'benchmarks'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module
    for path in folder.glob('*.py'): sys.modules.pop(path.stem, None)

@pytest.fixture
def compiler():
    "How often a function may be compiled is counted over all tests of a process"
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()

@pytest.fixture
def close_figures():
    yield
    plt.close('all')

@pytest.fixture
def adult_dls(adult, tmp_path):
    "Makes DataLoaders of `n` rows of Adult, the last `valid` of them for validation, or those at `valid_idx`; saves under a temporary path"
    def make(n=900, valid=300, valid_idx=None, bs=64, **kwargs):
        df = adult.sample(n, random_state=0)
        if valid_idx is None: valid_idx = list(range(n-valid, n))
        return TabularDataLoaders.from_df(df, path=tmp_path, procs=[Categorify, FillMissing, Normalize], cat_names=['education','marital-status','occupation'],
            cont_names=['age','education-num','hours-per-week'], y_names='income', y_block=CategoryBlock(), valid_idx=valid_idx, bs=bs, **kwargs)
    return make

@pytest.fixture
def adult_learner(adult_dls):
    "Makes a small tabular Learner on Adult; keywords go to `tabular_learner`, `dls` may be given"
    def make(dls=None, metrics=accuracy, **kwargs): return tabular_learner(dls or adult_dls(), layers=[20], metrics=metrics, **kwargs)
    return make

@pytest.fixture
def sk_auroc():
    "scikit-learn's AUROC of a Learner's raw outputs on a binary task: two logits are differenced in float64"
    def score(learn, **kwargs):
        with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=noop, **kwargs)
        return margin_auroc(outputs, targets)
    return score

@pytest.fixture
def column():
    "The values of a column of the training table, one for each epoch of the last fit"
    def get(learn, name): return [v[list(learn.recorder.metric_names)[1:].index(name)] for v in learn.recorder.values]
    return get
