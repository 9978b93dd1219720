"help() of the columns of fastai 1 tells each option, and their examples run."
import doctest, importlib.util, inspect, io, pydoc
from contextlib import redirect_stdout
from pathlib import Path
import pytest
from fastai.basic_train import Learner
import fastai_auroc.all as ours
from fastai_auroc import fastai1

root = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('make_docstrings', root/'docs/docstrings.py')
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

def words(text): return ' '.join(text.replace('|', ' ').split())

@pytest.mark.parametrize('path', made.docstrings()['fastai1'])
def test_help(path):
    "The docstring of the file, with each parameter and its meaning"
    obj = fastai1
    for name in path.split('.'): obj = getattr(obj, name)
    text = words(pydoc.plain(pydoc.render_doc(obj)))
    assert words(made.docstrings()['fastai1'][path]) in text
    for o in made.parameters(obj): assert o.meaning and words(o.meaning[1:]) in text

@pytest.mark.parametrize('column', [ours.AUROC, ours.AveragePrecision])
def test_options(column):
    "In the order of the signature, beside an example and what to see also"
    assert column.__module__ == 'fastai_auroc.fastai1'
    assert [o.name for o in made.parameters(column)] == list(inspect.signature(column).parameters)
    assert '\nSee Also\n' in column.__doc__ and '\nExamples\n' in column.__doc__

def test_names_of_the_star_import():
    "Those of both generations have an example, too"
    assert all('\nExamples\n' in getattr(ours, name).__doc__ for name in ours.__all__)

def test_examples_run(monkeypatch):
    "One after the other, as the second goes on with the data of the first; Learners print no tables"
    fit = Learner.fit
    def fit_silently(*args, **kwargs):
        with redirect_stdout(io.StringIO()): return fit(*args, **kwargs)
    monkeypatch.setattr(Learner, 'fit', fit_silently)
    text = '\n'.join(made.examples[f'fastai1.{o}'][1] for o in ('AUROC', 'AveragePrecision'))
    printed = []
    test = doctest.DocTestParser().get_doctest(text + '\n', {}, 'fastai1', None, 0)
    res = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=printed.append)
    assert res.attempted and not res.failed, ''.join(printed)
