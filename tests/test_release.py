"What a user installs: a wheel that works in an empty environment, with types that mypy understands."
import os, re, shutil, subprocess, sys, tarfile, zipfile
from pathlib import Path
import numpy as np, pandas as pd, pytest
from sklearn.metrics import roc_auc_score
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
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from fastai_auroc.samplers import StratifiedBatchSampler
from fastai_auroc.buckets import quantile_thresholds
from fastai_auroc.streaming import StreamingAUC
from fastai_auroc.distributed import gather_rows
from fastai_auroc.plots import plot_roc
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.metric import AUROC
import fastai_auroc

scores,targets = torch.rand(10),torch.arange(10) % 2
reveal_type(auroc_score(scores, targets))
reveal_type(aum(scores, targets))
reveal_type(StreamingAUC(3).result())
reveal_type(AUROC(max_fpr=.1, name='part').value)
reveal_type(fastai_auroc.AUROC(ci=True).value)
reveal_type(fastai_auroc.auc([0, 1], [0, 1]))
fastai_auroc.datasets.adult().income
auroc_score([.1, .9], np.array([0, 1]), average=None, max_fpr=.5, sample_weight=None)
curve,interval,both = roc_curve(scores, targets),auroc_ci(scores, targets, level=.9),compare_auroc(scores, scores, targets)
losses = [AUMLoss('macro', margins=True), AUROCLoss(.5), SoftDiceLoss(weight=[1, 2, 3]), SquaredHingeAUCLoss(2)]
batches = list(StratifiedBatchSampler(targets, batch_size=4, seed=1))
StreamingAUC(thresholds=quantile_thresholds(scores, 5)).update_state([0, 1], [.2, .4], sample_weight=2)
plot_roc({'a': scores}, targets, ax=None, lw=1)
ROCInterpretation(scores, targets).operating_point(max_fpr=.1).threshold
gather_rows(scores, targets)
auroc_score(scores, targets, max_fpr='a')
fastai_auroc.AURC
'''

@pytest.fixture(scope='module')
def mypy(tmp_path_factory):
    "What mypy says of the program and of the package"
    file = tmp_path_factory.mktemp('types')/'program.py'
    file.write_text(program)
    return subprocess.run([sys.executable, '-m', 'mypy', '--follow-imports=silent', '--ignore-missing-imports', file, 'fastai_auroc'], cwd=root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

def test_types(mypy):
    "mypy knows the public names, here and in the package, and finds the two mistakes"
    lines = [o for o in mypy.splitlines() if 'program.py:' in o]
    revealed = [o.split('"')[1].split('.')[-1] for o in lines if 'Revealed type' in o]
    assert revealed == ['Tensor','Tensor','Tensor','float','float','Tensor'], mypy
    errors = [o for o in lines if ': error:' in o]
    assert len(errors) == 2 and 'max_fpr' in errors[0] and 'maybe "AUROC"?' in errors[1], mypy

def test_package_passes_mypy(mypy): assert 'Found 2 errors in 1 file ' in mypy

def test_one_version():
    "It stands in fastai_auroc/__init__.py alone, and CITATION.cff and the changelog need none before a release"
    project = pytest.importorskip('tomllib').loads((root/'pyproject.toml').read_text())
    assert 'version' in project['project']['dynamic'] and project['tool']['setuptools']['dynamic']['version'] == {'attr':'fastai_auroc.__version__'}
    assert not [p for p in ('settings.ini','setup.py','CITATION.cff') if __version__ in (root/p).read_text()]

def kaggle(folder, inputs, python=sys.executable, **env):
    "Run the Kaggle notebook in `folder`, where /kaggle/input is `inputs`; what it printed, and the submission"
    folder.mkdir()
    text = (root/'nbs/tutorials/kaggle.ipynb').read_text(encoding='utf-8')
    assert text.count('/kaggle/input') == 1
    (folder/'notebook.ipynb').write_text(text.replace('/kaggle/input', str(inputs)), encoding='utf-8')
    env = {k:v for k,v in os.environ.items() if k != 'PYTHONPATH'} | dict(PYTHONWARNINGS='ignore', IPYTHONDIR=str(folder)) | env
    return run(python, '-m', 'IPython', '--colors=NoColor', 'notebook.ipynb', cwd=folder, env=env),pd.read_csv(folder/'submission.csv')

def test_kaggle_competition(tmp_path):
    "With a competition's files the submission is in the order of its sample, under its names, and ranks"
    inputs,rng = tmp_path/'input'/'playground',np.random.default_rng(0)
    inputs.mkdir(parents=True)
    n = 9000
    df = pd.DataFrame(dict(id=np.arange(n)+7, Balance=rng.normal(size=n), Age=rng.integers(18, 90, n), Geography=rng.choice(['France','Spain'], n)))
    exited = (rng.random(n) < 1/(1+np.exp(1 - 2*df.Balance - (df.Geography == 'Spain')))).astype(int)
    df[:6000].assign(Exited=exited[:6000]).to_csv(inputs/'train.csv', index=False)
    df[6000:].to_csv(inputs/'test.csv', index=False)
    df[6000:][['id']].assign(Exited=.5).to_csv(inputs/'sample_submission.csv', index=False)
    sent = kaggle(tmp_path/'working', tmp_path/'input')[1]
    assert list(sent) == ['id','Exited'] and sent.id.tolist() == list(range(6007, 9007)) and sent.Exited.between(0, 1).all()
    assert roc_auc_score(exited[6000:], sent.Exited) > .75

@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    "The wheel, and the Python of an empty environment with the wheel's requirements and IPython, but without the wheel"
    folder = tmp_path_factory.mktemp('wheel')
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', folder, root)
    wheel, = folder.glob('*.whl')
    run(sys.executable, '-m', 'venv', folder/'env')
    python = folder/'env'/'bin'/'python'
    run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wheel, 'ipython', 'nbformat')
    run(python, '-m', 'pip', 'uninstall', '--quiet', '--yes', 'fastai_auroc')
    return wheel,python

def files_of_a_wheel(wheel): return {o:zipfile.ZipFile(wheel).read(o) for o in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in o}

@pytest.mark.slow
def test_source_distribution(installed, tmp_path):
    "It has the data and the licence, and makes the wheel that the sources make"
    run(sys.executable, '-m', 'build', '--sdist', '--outdir', tmp_path, root)
    sdist, = tmp_path.glob('*.tar.gz')
    with tarfile.open(sdist) as f:
        names = {o.partition('/')[2] for o in f.getnames()}
        f.extractall(tmp_path, filter='data')
    assert {'README.md', 'LICENSE', 'settings.ini', 'setup.py', 'pyproject.toml', 'fastai_auroc/py.typed'} <= names
    assert {f'fastai_auroc/data/{o.name}' for o in (root/'fastai_auroc'/'data').iterdir()} <= names
    run(sys.executable, '-m', 'build', '--wheel', '--outdir', tmp_path, tmp_path/sdist.name.removesuffix('.tar.gz'))
    wheel, = tmp_path.glob('*.whl')
    assert files_of_a_wheel(wheel) == files_of_a_wheel(installed[0])

@pytest.mark.slow
def test_environment_is_empty(installed, tmp_path):
    "The package is that of the wheel, and neither the sources nor this environment are on the path"
    wheel,python = installed
    run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--force-reinstall', '--no-deps', wheel)
    env = {k:v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    code = 'import fastai_auroc, sys; print(fastai_auroc.__file__, len(fastai_auroc.datasets.adult()), *sys.path, sep="\\n")'
    where,rows,*path = run(python, '-c', code, cwd=tmp_path, env=env).splitlines()
    assert Path(where).is_relative_to(python.parent.parent) and rows == '32561'
    assert not [o for o in path if Path(o).is_relative_to(root) or Path(o).is_relative_to(sys.prefix)]

@pytest.mark.slow
def test_kaggle_offline(installed, tmp_path):
    "Without the internet the notebook installs the attached wheel, and takes its data"
    wheel,python = installed
    (tmp_path/'input'/'mine').mkdir(parents=True)
    shutil.copy(wheel, tmp_path/'input'/'mine')
    printed,sent = kaggle(tmp_path/'working', tmp_path/'input', python, PIP_NO_INDEX='1')
    assert len(sent) == 6512 and float(re.search(r'AUROC of the submission: ([.0-9]+)', printed)[1]) > .9
    run(python, '-c', 'import fastai_auroc', cwd=tmp_path)

@pytest.mark.slow
def test_wheel_in_an_empty_environment(installed, tmp_path):
    "The demo runs from the wheel, far from the sources"
    wheel,python = installed
    names = zipfile.ZipFile(wheel).namelist()
    assert 'fastai_auroc/py.typed' in names and __version__ in wheel.name
    assert {f'fastai_auroc/data/{o.name}' for o in (root/'fastai_auroc'/'data').iterdir()} <= {*names}
    run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--force-reinstall', '--no-deps', wheel)
    shutil.copytree(root/'examples', tmp_path/'elsewhere'/'examples')
    env = {k:v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    assert 'They agree.' in run(python, 'examples/adult.py', cwd=tmp_path/'elsewhere', env=env) and (tmp_path/'elsewhere'/'roc.png').exists()

@pytest.mark.slow
def test_readme_in_an_empty_environment(installed, tmp_path):
    "All Python blocks of README run in sequence from the wheel, in a folder that holds nothing but README and what runs it"
    wheel,python = installed
    run(python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--force-reinstall', '--no-deps', wheel)
    for name in ('README.md', 'tests/run_readme.py'): shutil.copy(root/name, tmp_path)
    env = {k:v for k,v in os.environ.items() if k != 'PYTHONPATH'} | dict(MPLBACKEND='Agg')
    assert 'README runs' in run(python, 'run_readme.py', 'README.md', cwd=tmp_path, env=env)
