"The data sets of the package: what is in them, whence they are, and that they ship."
import os, re, shutil, subprocess, sys, zipfile
from pathlib import Path
import pytest
from fastai_auroc import datasets

root = Path(__file__).parent.parent
folder = root/'fastai_auroc'/'data'

# Name, file, shape, target, its positive label, positives, dtype kinds (O: text)
tables = [('adult', 'adult', (32561, 14), 'income', '>50K', 7841, 'iO'), ('sms_spam', 'sms-spam', (4837, 2), 'spam', 1, 638, 'iO'),
    ('caravan', 'caravan', (9822, 86), 'CARAVAN', 1, 586, 'ifO'), ('letter', 'letter', (20000, 17), 'lettr', 'Z', 734, 'fO'),
    ('satellite', 'satellite', (6435, 37), 'classes', 'damp grey soil', 626, 'fO')]

def kind(dtype): return dtype.kind if dtype.kind in 'iufb' else 'O'

def test_every_function_and_file_is_here():
    assert {o[0] for o in tables} == {*datasets.__all__}
    assert {f'{o[1]}.csv.gz' for o in tables} == {o.name for o in folder.glob('*.gz')}

@pytest.mark.parametrize('name,file,shape,target,positive,positives,kinds', tables, ids=[o[0] for o in tables])
def test_tables(name, file, shape, target, positive, positives, kinds):
    "Shape, dtypes, positives, source and licence; docstring and README name the same"
    make = getattr(datasets, name)
    df = make()
    assert df.shape == shape and {kind(o) for o in df.dtypes} == {*kinds}
    assert (df[target] == positive).sum() == positives
    assert df.attrs['source'].startswith('UCI Machine Learning Repository, ') and df.attrs['licence'] == 'CC BY 4.0'
    assert 'UCI Machine Learning Repository, CC BY 4.0.' in make.__doc__
    row, = [o for o in (folder/'README.md').read_text().splitlines() if o.startswith(f'| {file}.csv.gz |')]
    assert row.endswith('| CC BY 4.0 |') and re.sub('[()]', '', df.attrs['source'].rpartition(', ')[2]) in row

def test_satellite_and_letter_numbers():
    "Whole numbers in the documented ranges, none missing, and 6 and 26 classes"
    for df,target,classes,ends in ((datasets.satellite(), 'classes', 6, (27, 157)), (datasets.letter(), 'lettr', 26, (0, 15))):
        x = df.drop(columns=target)
        assert (x.dtypes == 'float64').all() and not df.isna().any().any()
        assert (x == x.round()).all().all() and (x.min().min(), x.max().max()) == ends
        assert df[target].nunique() == classes and df.index.equals(df.reset_index(drop=True).index)

def test_files_ship_in_the_wheel(tmp_path):
    "Built from a copy, for a build leaves files beside the sources"
    for o in ('pyproject.toml', 'setup.py', 'settings.ini', 'MANIFEST.in', 'README.md', 'LICENSE'): shutil.copy(root/o, tmp_path)
    shutil.copytree(root/'fastai_auroc', tmp_path/'fastai_auroc', ignore=shutil.ignore_patterns('__pycache__'))
    done = subprocess.run([sys.executable, '-c', 'from setuptools.build_meta import build_wheel; build_wheel("dist")'], cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH':''}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    wheel, = (tmp_path/'dist').glob('*.whl')
    names = {*zipfile.ZipFile(wheel).namelist()}
    assert {f'fastai_auroc/data/{o.name}' for o in folder.iterdir()} | {'fastai_auroc/docstrings.json'} <= names
