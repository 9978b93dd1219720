"What is loaded by each room, and what the star imports bring and hide."
import subprocess, sys, textwrap
from fastai.losses import DiceLoss
import fastai_auroc, pytest
from fastai_auroc.losses import SoftDiceLoss
from fresh import run_code, run_fresh

plain = ('docstrings scores keys pairs tasks counts roc confidence distributed buckets streaming loss_options accumulators epoch derivatives surrogates smooth '
    'options batch_loss dice mixed top_losses losses strata samplers linesearch thresholds plots pr_plots report interpret history').split()
others = ['fastai', 'fastcore', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'IPython', 'torchvision', 'torch._dynamo']

def run(code):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

def run_after_libraries(code):
    "The same where PyTorch and the like are loaded before, but nothing of fastai"
    exitcode,printed = run_fresh(run_code, textwrap.dedent(code))
    assert exitcode == 0, printed
    return printed.split()

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

def test_a_plot_loads_what_draws_it():
    code = """
        import sys
        from fastai_auroc.plots import plot_roc
        print('matplotlib.pyplot' in sys.modules, 'sklearn' in sys.modules)
        print(type(plot_roc([.1, .4, .3], [0, 1, 1])).__name__)"""
    assert run(code) == ['False', 'False', 'Axes']

beyond_fastai = """
    import sys
    {}
    before = {{*sys.modules}}
    {}
    new = {{name.partition('.')[0] for name in {{*sys.modules}} - before}}
    print(*sorted(new - sys.stdlib_module_names), *(o for o in ('fastai.vision.learner', 'torch._dynamo') if o in sys.modules))"""

@pytest.mark.parametrize('theirs', ['tabular.all', 'text.all', 'collab'])
def test_star_import_loads_our_modules_alone(theirs):
    "Beside fastai's own no vision, no display of scikit-learn, no compiler of PyTorch, nothing"
    assert run(beyond_fastai.format(f'from fastai.{theirs} import *', 'from fastai_auroc.all import *')) == ['fastai_auroc']

def test_column_loads_our_modules_alone():
    "Beside what fastai's Learner needs"
    assert run(beyond_fastai.format('import fastai.learner', 'import fastai_auroc.metric')) == ['fastai_auroc']

def test_star_import_hides_two_names_of_fastai_only():
    "The wrapped vision_learner and unet_learner, and neither of them where vision was not imported"
    code = """
        plain,full = {}, {}
        exec('from fastai_auroc.all import *', plain)
        assert 'vision_learner' not in plain and 'unet_learner' not in plain
        import fastai.tabular.all, fastai.text.all, fastai.vision.all, fastai.collab
        theirs = {n for m in (fastai.tabular.all, fastai.text.all, fastai.vision.all, fastai.collab) for n in vars(m) if n[0] != '_'}
        exec('from fastai_auroc.all import *', full)
        print(*sorted(n for n in full if n in theirs))"""
    assert run_after_libraries(code) == ['unet_learner', 'vision_learner']

def test_star_import_of_all():
    "The line search is for linear models, no Learner uses it"
    names = run_after_libraries('import fastai_auroc.all as ours; print(*sorted(ours.__all__))')
    assert names == sorted('''AUROC AUMLoss AUROCLoss AveragePrecision AveragePrecisionLoss MixedLoss PartialAUCLoss ROCInterpretation
        ShowROCCallback SoftDiceLoss SquaredHingeAUCLoss StratifiedBatchSampler StreamingAUC ap_ci auc auc_roc_score aum auroc_ci
        auroc_score average_precision balance_batches bias_auroc compare_auroc disable_callback_fns enable_callback_fns
        gather_rows grouped_auroc history plot_aum plot_history plot_pr plot_roc power_mean pr_curve quantile_thresholds
        roc_curve soft_auroc'''.split())
    with_vision = run_after_libraries('import fastai.vision.all, fastai_auroc.all as ours; print(*sorted(ours.__all__))')
    assert with_vision == sorted([*names, 'unet_learner', 'vision_learner'])

def test_functions_of_vision_by_name():
    "They load vision if it is not loaded, and take `callback_fns`; other names are errors"
    code = """
        from fastai.tabular.all import *
        from fastai_auroc.all import vision_learner, unet_learner
        import fastai.vision.all as both, fastai_auroc.all as ours
        print(*[o is getattr(both, o.__name__) and hasattr(o, '__wrapped__') for o in (vision_learner, unet_learner)])
        try: ours.cnn_learner
        except AttributeError as e: print(e)"""
    assert ' '.join(run_after_libraries(code)) == "True True module 'fastai_auroc.all' has no attribute 'cnn_learner'"

def test_star_import_after_disabling():
    "Neither a second star import nor a look at the names enables again; `dir` knows vision's names, and no others are made up"
    code = """
        import fastai_auroc.all as ours
        from fastai.learner import Learner
        ours.disable_callback_fns()
        from fastai_auroc.all import *
        print(len(ours.__all__) > 20, hasattr(Learner.__init__, '__wrapped__'), 'vision_learner' in dir(ours), hasattr(ours, 'nope'))"""
    assert run_after_libraries(code) == ['True', 'False', 'True', 'False']

@pytest.mark.parametrize('room,names', [('losses', 'aum soft_auroc AUMLoss AUROCLoss SquaredHingeAUCLoss SoftDiceLoss MixedLoss PartialAUCLoss AveragePrecisionLoss'),
    ('roc', 'auroc_score auc_roc_score roc_curve auc grouped_auroc bias_auroc')])
def test_all_of_a_kind_come_from_one_room(room, names):
    "Whichever room defines them, star imports bring them, too"
    space = {}
    exec(f'from fastai_auroc.{room} import *', space)
    assert {*names.split()} <= {*space}

def test_star_imports_of_losses_do_no_harm():
    "fastai's own dice stays what it is"
    space = {}
    exec('from fastai.losses import *; from fastai_auroc.losses import *', space)
    assert space['DiceLoss'] is DiceLoss and space['SoftDiceLoss'] is SoftDiceLoss

def test_package_alone_loads_nothing():
    "Neither PyTorch nor fastai, pandas or any other library, nor a module of ours; `dir` and unknown names load nothing either"
    code = """
        import sys
        before = {*sys.modules}
        import fastai_auroc
        dir(fastai_auroc), hasattr(fastai_auroc, 'AURC'), fastai_auroc.__version__
        new = {*sys.modules} - before
        print(*sorted(o for o in new if o.partition('.')[0] not in sys.stdlib_module_names))"""
    assert run(code) == ['fastai_auroc']

def test_numbers_by_name_need_no_fastai():
    assert run("import sys\nfrom fastai_auroc import auroc_score\nprint(auroc_score([.1, .9], [0, 1]).item(), 'fastai' in sys.modules)") == ['1.0', 'False']

def test_every_name_comes_from_the_package():
    "The very object that the star import brings, of fastai's vision, too; `history` is a module that can be called"
    code = """
        import fastai_auroc
        names = [o for o in dir(fastai_auroc) if o[0] != '_']
        from fastai_auroc import AUROC
        print(AUROC.__module__)
        import fastai.vision.all, fastai_auroc.all as ours
        print(*[o for o in ours.__all__ if getattr(fastai_auroc, o) is not getattr(ours, o)])
        print(*sorted({*names} ^ {*ours.__all__}))
        space = {}
        exec('from fastai_auroc import *', space)
        print({*space} - {'__builtins__'} == {*ours.__all__})"""
    assert run_after_libraries(code) == ['fastai_auroc.metric', 'history', 'datasets', 'True']

def test_history_is_a_function_and_a_module():
    "Whichever is asked for first: Python lets the name of a loaded module hide one of the package"
    code = """
        from types import SimpleNamespace
        import fastai_auroc
        learn = SimpleNamespace(recorder=SimpleNamespace(metric_names=['epoch', 'auroc', 'time'], add_time=True, losses=[.5], iters=[1], values=[[.75]]))
        print(fastai_auroc.history(learn).auroc[0])
        import fastai_auroc.history as module
        from fastai_auroc.history import history, plot_history
        print(fastai_auroc.history(learn).equals(history(learn)), fastai_auroc.history is module, module.plot_history is fastai_auroc.plot_history)"""
    assert run_after_libraries(code) == ['0.75', 'True', 'True', 'True']

def test_column_by_name_enables_callback_fns():
    "As the star import does"
    code = """
        from fastai_auroc import AUROC
        from fastai.learner import Learner
        print(hasattr(Learner.__init__, '__wrapped__'))"""
    assert run_after_libraries(code) == ['True']

def test_modules_and_data_by_name():
    code = """
        import fastai_auroc
        print(len(fastai_auroc.datasets.sms_spam()))
        from fastai_auroc import metric, datasets
        import fastai_auroc.pr
        print(metric.__name__, datasets is fastai_auroc.datasets, fastai_auroc.pr.pr_curve is fastai_auroc.pr_curve)"""
    assert run_after_libraries(code) == ['4837', 'fastai_auroc.metric', 'True', 'True']

@pytest.mark.parametrize('name,suggestion', [('AURC', ". Did you mean: 'AUROC'?"), ('auroc_scores', ". Did you mean: 'auroc_score'?"), ('dataset', ". Did you mean: 'datasets'?"),
    ('nothing_like_it', '')])
def test_unknown_names(name, suggestion):
    with pytest.raises(AttributeError) as error: getattr(fastai_auroc, name)
    assert str(error.value) == f"module 'fastai_auroc' has no attribute '{name}'{suggestion}" and error.value.name == name
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'fastai_auroc'"): exec(f'from fastai_auroc import {name}')
    assert not hasattr(fastai_auroc, name)

def test_a_traceback_suggests_once():
    done = subprocess.run([sys.executable, '-c', 'import fastai_auroc; fastai_auroc.AURC'], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count('Did you mean') == 1
