"What a user installs: a wheel that works in an empty environment, with types that mypy understands."
import os, shutil, subprocess, sys, zipfile
from pathlib import Path
import pytest
from fastai_auroc import __version__

root = Path(__file__).parent.parent

def run(*args, **kwargs):
    "What a program prints"
    done = subprocess.run(list(map(str, args)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    assert done.returncode == 0, done.stdout
    return done.stdout

program = '''
import numpy as np, torch
from fastai_auroc.roc import auroc_score, roc_curve, auc
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.losses import aum, soft_auroc, AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, StratifiedBatchSampler
from fastai_auroc.streaming import StreamingAUC, quantile_thresholds
from fastai_auroc.processes import gather_rows
from fastai_auroc.plots import plot_roc, ROCInterpretation
from fastai_auroc.metric import AUROC

scores,targets = torch.rand(10),torch.arange(10) % 2
reveal_type(auroc_score(scores, targets))
reveal_type(aum(scores, targets))
reveal_type(StreamingAUC(3).result())
reveal_type(AUROC(max_fpr=.1, name='part').value)
auroc_score([.1, .9], np.array([0, 1]), average=None, max_fpr=.5, sample_weight=None)
curve,interval,both = roc_curve(scores, targets),auroc_ci(scores, targets, level=.9),compare_auroc(scores, scores, targets)
losses = [AUMLoss('macro', margins=True), AUROCLoss(.5), SoftDiceLoss(weight=[1, 2, 3]), SquaredHingeAUCLoss(2)]
batches = list(StratifiedBatchSampler(targets, batch_size=4, seed=1))
StreamingAUC(thresholds=quantile_thresholds(scores, 5)).update_state([0, 1], [.2, .4], sample_weight=2)
plot_roc({'a': scores}, targets, ax=None, lw=1)
ROCInterpretation(scores, targets).operating_point(max_fpr=.1).threshold
gather_rows(scores, targets)
auroc_score(scores, targets, max_fpr='a')
'''

def test_types(tmp_path):
    "mypy knows the public names, and finds the one mistake"
    (tmp_path/'program.py').write_text(program)
    done = subprocess.run([sys.executable, '-m', 'mypy', '--follow-imports=silent', '--ignore-missing-imports', 'program.py'], cwd=tmp_path, text=True,
        env={**os.environ, 'MYPYPATH':str(root)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = done.stdout.splitlines()
    revealed = [o.split('"')[1].split('.')[-1] for o in lines if 'Revealed type' in o]
    assert revealed == ['Tensor','Tensor','Tensor','float'], done.stdout
    errors = [o for o in lines if ': error:' in o]
    assert len(errors) == 1 and 'max_fpr' in errors[0], done.stdout

def test_one_version():
    "It stands in fastai_auroc/__init__.py alone, and CITATION.cff and the changelog need none before a release"
    project = pytest.importorskip('tomllib').loads((root/'pyproject.toml').read_text())
    assert 'version' in project['project']['dynamic'] and project['tool']['setuptools']['dynamic']['version'] == {'attr':'fastai_auroc.__version__'}
    assert not [p for p in ('settings.ini','setup.py','CITATION.cff') if __version__ in (root/p).read_text()]

@pytest.mark.slow
def test_wheel_in_an_empty_environment(tmp_path):
    "The README's program runs from the wheel, far from the sources"
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', tmp_path, root)
    wheel, = tmp_path.glob('*.whl')
    assert 'fastai_auroc/py.typed' in zipfile.ZipFile(wheel).namelist() and __version__ in wheel.name
    run(sys.executable, '-m', 'venv', tmp_path/'env')
    python = tmp_path/'env'/'bin'/'python'
    run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wheel)
    for name in ('examples','data'): shutil.copytree(root/name, tmp_path/'elsewhere'/name)
    env = {k:v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    assert 'They agree.' in run(python, 'examples/adult.py', cwd=tmp_path/'elsewhere', env=env) and (tmp_path/'elsewhere'/'roc.png').exists()
