"The project is what its notebooks say: modules and README.md are theirs, they are clean, and they run."
import ast, importlib.util, json, os, shutil, subprocess, sys
from pathlib import Path
import pytest
from fresh import run_fresh

root = Path(__file__).parent.parent
notebooks = sorted((root/'nbs').rglob('*.ipynb'))

def _nbdev(command, path, *args):
    "Run a command of nbdev, as a contributor would, and return what it printed"
    env = {**os.environ, 'PYTHONWARNINGS':'ignore'}
    done = subprocess.run([Path(sys.executable).parent/command, *args], cwd=path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout

@pytest.fixture
def copy(tmp_path):
    "The project's sources in a folder of their own"
    for name in ('nbs', 'fastai_auroc', 'pyproject.toml'):
        if (root/name).is_dir(): shutil.copytree(root/name, tmp_path/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
        else: shutil.copy(root/name, tmp_path/name)
    return tmp_path

def _files(path, pattern): return {str(p.relative_to(path)):p.read_text(encoding='utf-8') for p in path.rglob(pattern) if '.ipynb_checkpoints' not in p.parts}

def test_modules_are_the_notebooks(copy):
    "nbdev-export changes nothing"
    _nbdev('nbdev-export', copy)
    assert _files(copy/'fastai_auroc', '*.py') == _files(root/'fastai_auroc', '*.py')

def test_notebooks_are_clean(copy):
    "nbdev-clean changes nothing"
    _nbdev('nbdev-clean', copy)
    assert _files(copy/'nbs', '*.ipynb') == _files(root/'nbs', '*.ipynb')

def test_readme_is_the_index():
    "make readme changes nothing"
    spec = importlib.util.spec_from_file_location('readme', root/'docs/readme.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text,pictures = module.readme()
    assert (root/'README.md').read_text(encoding='utf-8') == text
    assert pictures and all((root/name).read_bytes() == data for name,data in pictures.items())

of_fastai2 = [p for p in notebooks if p.stem != '13_fastai1']  # which runs in fastai 1's environment

def _run_notebook(path):
    "What the command nbdev-test does"
    from nbdev.test import nbdev_test
    os.chdir(root)
    nbdev_test(str(path))

def _missing_packages(path):
    "Packages that a notebook imports and this environment lacks; what is no Python, as magics are, imports none"
    names = set()
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        try: tree = ast.parse(''.join(cell['source'])*(cell['cell_type'] == 'code'))
        except SyntaxError: continue
        names |= {o.name for node in ast.walk(tree) if isinstance(node, ast.Import) for o in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return sorted({name for name in (o.partition('.')[0] for o in names) if importlib.util.find_spec(name) is None})

def test_packages_of_pages_about_other_libraries():
    "Only these may be missing, and each such page imports the library that it is about"
    lacking = {p.stem:_missing_packages(p) for p in of_fastai2}
    assert {*lacking} >= {f'eco_{o}' for o in 'accelerate csvlogger huggingface optuna tensorboard timm tsai wandb'.split()}
    assert not [o for o,names in lacking.items() if names and not o.startswith('eco_')]
    assert {o for names in lacking.values() for o in names} <= {'optuna', 'optuna_integration', 'tensorboard', 'timm', 'transformers', 'tsai', 'wandb'}

@pytest.mark.parametrize('path', of_fastai2, ids=lambda p: p.stem)
def test_notebook_runs(path):
    if path.stem.startswith('eco_') and (names := _missing_packages(path)): pytest.skip(f"make ecosystem installs {', '.join(names)}")
    exitcode,printed = run_fresh(_run_notebook, path)
    assert exitcode == 0 and 'Success' in printed, printed

def test_outputs_hold_no_paths():
    "Saved outputs name no folder of the machine that made them"
    for path,text in (_files(root/'nbs', '*.ipynb') | _files(root/'benchmarks', '*.ipynb')).items():
        assert str(root) not in text and str(Path.home()) not in text and 'site-packages' not in text, path

@pytest.mark.parametrize('path', [*root.glob('nbs/tutorials/*.ipynb'), root/'benchmarks/peers.ipynb'], ids=lambda p: p.stem)
def test_tutorial_says_what_it_is_for(path):
    "In its first lines; and all of it was run"
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    assert '\n> After this page you ' in ''.join(cells[0]['source'])
    assert all(o['execution_count'] is None for o in cells if o['cell_type'] == 'code') and sum(len(o.get('outputs', ())) for o in cells) >= 3
