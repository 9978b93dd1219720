"""The columns of both generations of fastai have the same options: names, order, defaults, types and what is said of them

They are read from the exported modules, since no environment has both generations."""
import ast, re
from pathlib import Path
import pytest

package = Path(__file__).parents[1]/'fastai_auroc'

def init_of(module, cls):
    "The source of the `__init__` of a class, and its syntax tree; None if it has none"
    text = (package/f'{module}.py').read_text(encoding='utf-8')
    found, = [o for o in ast.parse(text).body if isinstance(o, ast.ClassDef) and o.name == cls]
    init = next((o for o in found.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'), None)
    return None if init is None else (ast.get_source_segment(text, init),init)

def options_of(module, cls):
    "Name, type and default of each parameter but `self`"
    args = init_of(module, cls)[1].args
    assert not (args.posonlyargs or args.kwonlyargs or args.vararg or args.kwarg) and len(args.defaults) == len(args.args) - 1
    defaults = [ast.unparse(o) for o in args.defaults]
    return [(o.arg, o.annotation and ast.unparse(o.annotation), value) for o,value in zip(args.args[1:], defaults)]

def comments_of(module, cls):
    "What is said of each parameter"
    text = init_of(module, cls)[0]
    return dict(re.findall(r'^ +(\w+)[^#\n]*, +# (.*)$', text[:text.index('):')], re.M))

def test_fastai2_has_the_options_of_every_column():
    assert init_of('metric', 'AUROC') is None  # it inherits them

def test_fastai1_has_the_same_after_the_learner():
    learn,*options = options_of('fastai1', 'AUROC')
    assert learn == ('learn', None, 'None')
    assert options == options_of('epoch', 'EpochAUROC') and len(options) == 9

def test_what_is_said_of_them_is_the_same():
    ours,theirs = comments_of('epoch', 'EpochAUROC'),comments_of('fastai1', 'AUROC')
    assert 'Learner' in theirs.pop('learn')
    assert ours == theirs and list(ours) == [o[0] for o in options_of('epoch', 'EpochAUROC')]

def test_they_are_told_to_the_column():
    "fastai 1's `AUROC` hands all of them on, in their order"
    text = init_of('fastai1', 'AUROC')[0]
    names = ', '.join(o[0] for o in options_of('epoch', 'EpochAUROC'))
    assert f'EpochAUROC.__init__(self, {names})' in text

def test_help_shows_them():
    "In the environment at hand"
    import inspect
    from fastai_auroc.epoch import EpochAUROC
    try: from fastai_auroc.metric import AUROC
    except ImportError: pytest.skip('without fastai 2')
    names = [o[0] for o in options_of('epoch', 'EpochAUROC')]
    assert list(inspect.signature(AUROC).parameters) == list(inspect.signature(EpochAUROC).parameters) == names == list(AUROC().options())
