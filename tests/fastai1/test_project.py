"With fastai 1 the notebook runs, and each module loads what it needs, or says what it lacks."
import importlib, os, shutil, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).parents[2]

def _run(*args, **kwargs):
    "Run a program of this environment, and return its exit status and what it printed"
    args = [Path(sys.executable).parent/args[0], *args[1:]]
    env = {**os.environ, 'PYTHONWARNINGS':'ignore', 'OMP_NUM_THREADS':'1'}  # Threads would only hinder one another
    done = subprocess.run(args, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    return done.returncode,done.stdout

def _python(code):
    "What a script prints in a process of its own"
    status,printed = _run(Path(sys.executable).name, '-c', code)
    assert status == 0, printed
    return printed

@pytest.fixture
def copy(tmp_path):
    "The project's sources in a folder of their own: notebooks export modules"
    ignore = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    for name in ('nbs', 'fastai_auroc'): shutil.copytree(root/name, tmp_path/name, ignore=ignore)
    shutil.copy(root/'pyproject.toml', tmp_path/'pyproject.toml')
    return tmp_path

def test_notebook_runs(copy):
    status,printed = _run('nbdev-test', 'nbs/13_fastai1.ipynb', cwd=copy)
    assert status == 0 and 'Success' in printed, printed

def test_numbers_need_no_fastai():
    "Only the columns do"
    modules = ['fastai_auroc', *(f'fastai_auroc.{o}' for o in ('scores', 'keys', 'pairs', 'tasks', 'roc', 'confidence', 'distributed',
        'buckets', 'streaming', 'accumulators', 'epoch', 'derivatives', 'surrogates', 'smooth', 'losses', 'strata', 'samplers', 'linesearch', 'plots',
        'interpret'))]
    code = f"import importlib, sys\nfor o in {modules}: importlib.import_module(o); print(o, 'fastai' in sys.modules)"
    assert _python(code).split() == [o for name in modules for o in (name, 'False')]

def test_column_of_the_other_generation():
    "Its import says which module of fastai 2 is missing"
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'fastai\.") as error: importlib.import_module('fastai_auroc.metric')
    assert error.value.name.startswith('fastai.')

def test_star_import():
    "The column of this generation, and none of fastai 1's names but AUROC changes"
    lines = ['from fastai.tabular import *', 'before = dict(globals())', 'from fastai_auroc.all import *', 'import fastai_auroc.all as ours',
        'print(AUROC.__module__, *sorted(o for o in ours.__all__ if o in before), *sorted(set(globals()) - set(before) - {"before", "ours"}))']
    assert _python('\n'.join(lines)).split() == ['fastai_auroc.fastai1', 'AUROC', *'''AUMLoss AUROCLoss AveragePrecision AveragePrecisionLoss MixedLoss
        PartialAUCLoss ROCInterpretation SoftDiceLoss SquaredHingeAUCLoss StratifiedBatchSampler StreamingAUC ap_ci auc aum auroc_ci auroc_score
        average_precision balance_batches bias_auroc compare_auroc gather_rows grouped_auroc history plot_aum plot_history plot_pr plot_roc power_mean
        pr_curve quantile_thresholds soft_auroc'''.split()]

def test_names_of_the_package():
    "Each is that of the star import; the package alone loads nothing, and `history` is a module that can be called"
    code = '''import sys, fastai_auroc
print('torch' in sys.modules, 'fastai' in sys.modules, 'pandas' in sys.modules)
from fastai_auroc import AUROC
import fastai_auroc.all as ours
print(AUROC.__module__, *[o for o in ours.__all__ if getattr(fastai_auroc, o) is not getattr(ours, o)])
space = {}
exec('from fastai_auroc import *', space)
print({*space} - {'__builtins__'} == {*ours.__all__} <= {*dir(fastai_auroc)}, callable(fastai_auroc.history), len(fastai_auroc.datasets.sms_spam()))
try: fastai_auroc.enable_callback_fns
except AttributeError as e: print(e)'''
    assert _python(code).splitlines() == ['False False False', 'fastai_auroc.fastai1 history', 'True True 4837',
        "module 'fastai_auroc.all' has no attribute 'enable_callback_fns'"]

def test_star_import_without_fastai():
    code = '''import importlib.metadata as metadata, sys
def version(name, known=metadata.version):
    if name == 'fastai': raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version,sys.modules['fastai'] = version,None
try: from fastai_auroc.all import *
except ImportError as e: print(type(e).__name__, e)
from fastai_auroc.roc import auroc_score
print(auroc_score([.1, .9], [0, 1]).item())
import fastai_auroc
for name in 'AUROC', '__all__', 'auc':
    try: print(getattr(fastai_auroc, name).__name__)
    except ImportError as e: print(name, e)'''
    wanted = 'fastai_auroc.all needs fastai: pip install fastai'
    assert _python(code).splitlines() == [f'ImportError {wanted}', '1.0', f'AUROC {wanted}', f'__all__ {wanted}', 'auc']
