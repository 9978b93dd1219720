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

columns = dict(AUROC=9, AveragePrecision=6)  # how many options each has at least

@pytest.mark.parametrize('column', columns)
def test_fastai2_has_the_options_of_every_column(column):
    assert init_of('metric', column) is None  # it inherits them

@pytest.mark.parametrize('column', columns)
def test_fastai1_has_the_same_after_the_learner(column):
    learn,*options = options_of('fastai1', column)
    assert learn == ('learn', 'Learner | None', 'None')
    assert options == options_of('epoch', f'Epoch{column}') and len(options) >= columns[column]

def test_the_first_options_stay_where_they_were():
    names = [o[0] for o in options_of('epoch', 'EpochAUROC')]
    assert names[:9] == ['average', 'multi_class', 'max_fpr', 'activation', 'axis', 'ignore_index', 'thresholds', 'ci', 'name']

@pytest.mark.parametrize('column', columns)
def test_what_is_said_of_them_is_the_same(column):
    ours,theirs = comments_of('epoch', f'Epoch{column}'),comments_of('fastai1', column)
    assert 'Learner' in theirs.pop('learn')
    assert ours == theirs and list(ours) == [o[0] for o in options_of('epoch', f'Epoch{column}')]

@pytest.mark.parametrize('column', columns)
def test_they_are_told_to_the_column(column):
    "fastai 1's columns hand all of them on, in their order"
    text = ' '.join(init_of('fastai1', column)[0].split())
    names = ', '.join(o[0] for o in options_of('epoch', f'Epoch{column}'))
    assert f'Epoch{column}.__init__(self, {names})' in text

@pytest.mark.parametrize('column', columns)
def test_help_shows_them(column):
    "In the environment at hand"
    import inspect
    from fastai_auroc import epoch
    try: from fastai_auroc import metric
    except ImportError: pytest.skip('without fastai 2')
    names = [o[0] for o in options_of('epoch', f'Epoch{column}')]
    ours,base = getattr(metric, column),getattr(epoch, f'Epoch{column}')
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(base).parameters) == names == list(ours().options())
