"What is loaded by each room, and what the star imports bring and hide."
import subprocess, sys, textwrap
from fastai.losses import DiceLoss
import pytest
from fastai_auroc.losses import SoftDiceLoss

plain = ('scores keys pairs tasks roc confidence distributed buckets streaming accumulators epoch derivatives surrogates smooth '
    'losses strata samplers linesearch').split()
others = ['fastai', 'fastcore', 'sklearn', 'scipy', 'pandas', 'matplotlib']

def run(code):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

@pytest.fixture(scope='module')
def loaded():
    "Which other libraries each of the rooms is the first to load, when all are imported in turn"
    code = f"""
        import importlib, sys
        seen = set()
        for room in {plain}:
            importlib.import_module('fastai_auroc.' + room)
            new = {{o for o in {others} if o in sys.modules}} - seen
            seen |= new
            print(f'{{room}}:' + ','.join(sorted(new)))"""
    return dict(o.split(':') for o in run(code))

@pytest.mark.parametrize('room', plain)
def test_needs_only_torch_and_numpy(loaded, room): assert loaded[room] == ''

def test_plots_need_no_fastai():
    assert run("import sys, fastai_auroc.plots, fastai_auroc.interpret; print('fastai' in sys.modules)") == ['False']

def test_star_import_hides_two_names_of_fastai_only():
    "The wrapped vision_learner and unet_learner, and neither of them where vision was not imported"
    code = """
        plain,full = {}, {}
        exec('from fastai_auroc.all import *', plain)
        import fastai.tabular.all, fastai.text.all, fastai.vision.all, fastai.collab
        theirs = {n for m in (fastai.tabular.all, fastai.text.all, fastai.vision.all, fastai.collab) for n in vars(m) if n[0] != '_'}
        import sys; del sys.modules['fastai_auroc.all']
        exec('from fastai_auroc.all import *', full)
        print(*sorted(n for n in full if n in theirs))"""
    assert run(code) == ['unet_learner', 'vision_learner']

def test_star_import_of_all():
    "The line search is for linear models, no Learner uses it"
    names = run('import fastai_auroc.all as ours; print(*sorted(ours.__all__))')
    assert names == sorted('''AUROC AUMLoss AUROCLoss ROCInterpretation ShowROCCallback SoftDiceLoss SquaredHingeAUCLoss
        StratifiedBatchSampler StreamingAUC auc auc_roc_score aum auroc_ci auroc_score balance_batches compare_auroc
        disable_callback_fns enable_callback_fns gather_rows plot_aum plot_roc quantile_thresholds roc_curve
        soft_auroc unet_learner vision_learner'''.split())

def test_star_imports_of_losses_do_no_harm():
    "fastai's own dice stays what it is"
    space = {}
    exec('from fastai.losses import *; from fastai_auroc.losses import *', space)
    assert space['DiceLoss'] is DiceLoss and space['SoftDiceLoss'] is SoftDiceLoss
