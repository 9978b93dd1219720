"help() tells what a name does, each of its options, what it returns and raises, what to see also and an example that runs."
import ast, doctest, importlib, importlib.util, inspect, json, pickle, pydoc, subprocess, sys
from functools import partial
from pathlib import Path
from typing import get_type_hints
import pytest
from fastai.basics import defaults
from fastai.callback.progress import ProgressCallback
from fastai.torch_core import set_seed
from fastcore.docments import docments
from nbdev.showdoc import show_doc
from numpy.testing import assert_equal
import fastai_auroc.all as ours
from fastai_auroc import docstrings

root = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('make_docstrings', root/'docs/docstrings.py')
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

def words(text): return ' '.join(text.split())

def public():
    "(room, path, object) of each function and class that a room's `__all__` names, and of their public methods"
    for name in made.rooms:
        if name == 'fastai1': continue  # which needs an environment of its own
        room = importlib.import_module(f'fastai_auroc.{name}')
        for o in room.__all__:
            obj = getattr(room, o)
            if not callable(obj) or getattr(obj, '__module__', '') != room.__name__: continue
            yield f'{name}.{o}',obj
            if not inspect.isclass(obj): continue
            methods = [m for m,f in vars(obj).items() if not m.startswith('_') and callable(getattr(f, '__func__', f))]
            fields = getattr(obj, '_fields', ())
            yield from ((f'{name}.{o}.{m}', getattr(obj, m)) for m in methods if m not in fields)

everything = dict(public())
of_all = {name:getattr(ours, name) for name in ours.__all__ if not name.endswith('_learner')}

def test_file_is_what_docments_say():
    "python docs/docstrings.py changes nothing"
    assert made.target.read_text(encoding='utf-8') == made.as_text(), 'run python docs/docstrings.py'

def test_nothing_public_is_left_out():
    "All names of rooms are looked at, and the file has no others"
    known = {f'{room}.{path}' for room,texts in json.loads(made.as_text()).items() for path in texts if room != 'fastai1'}
    assert known <= {*everything} and len(everything) > 350
    assert {obj.__qualname__ for obj in of_all.values()} <= {o.partition('.')[2] for o in known} | {'disable_callback_fns'}

def signature_of(obj):
    "Parameters as Python has them; of a class of ours without a constructor none"
    plain_class = inspect.isclass(obj) and not hasattr(obj, '_fields')
    if plain_class and made.constructor(*made.definition(obj)) is None: return []
    found = inspect.signature(obj.__init__ if plain_class else obj).parameters.values()
    return [o for o in found if o.name not in ('self', 'cls')]

@pytest.mark.parametrize('name', everything)
def test_every_parameter_has_a_meaning(name):
    "In the order of the signature, with its default; and fastcore reads the same from comments, whatever docstrings say"
    obj = everything[name]
    found = made.parameters(obj)
    given = signature_of(obj)
    assert all(o.meaning for o in found), [o.name for o in found if not o.meaning]
    assert [o.name.strip('*') for o in found] == [o.name for o in given]
    for o,g in zip(found, given):
        assert (o.default == '') == (g.default is g.empty)
        try: default = ast.literal_eval(o.default)
        except (SyntaxError, ValueError): continue
        assert_equal(default, g.default)
    if hasattr(obj, '_fields') or not given: return
    read = docments(obj, returns=False, args_kwargs=True)
    assert [o.meaning for o in found] == [words(read[o.name.strip('*')]) for o in found]

@pytest.mark.parametrize('name', [*everything, *of_all])
def test_help(name):
    "Of a function, of a method, of a class with the options of its constructor"
    obj = everything[name] if name in everything else of_all[name]
    text = words(pydoc.plain(pydoc.render_doc(obj)).replace('|', ' '))
    for o in made.parameters(obj):
        about = ', '.join(filter(None, [o.type.replace('|', ' '), o.default and f'default {o.default}']))
        meaning = o.meaning[0].upper() + o.meaning[1:]
        assert words(f"{o.name}{' : ' if about else ''}{about} {meaning}".replace('|', ' ')) in text, o.name
    doc = inspect.getdoc(obj)
    assert doc.splitlines()[0] and (len(doc.splitlines()) == 1 or not doc.splitlines()[1])
    if name not in of_all: return
    for part in ('See Also', 'Examples'): assert f"\n{part}\n{'-'*len(part)}\n" in doc
    assert '>>> ' in doc

@pytest.mark.parametrize('name', of_all)
def test_see_also_names_what_there_is(name):
    "Each with the first line of its docstring, and none twice or itself"
    names = made.examples[of_all[name].__qualname__][0]
    assert len({*names}) == len(names) and of_all[name].__qualname__ not in names and {*names} <= {*of_all}
    for o in names: assert f'\n{o} : {inspect.getdoc(of_all[o]).splitlines()[0]}' in of_all[name].__doc__

def test_signatures_show_options():
    "Not *args and **kwargs, but where any number of things is meant"
    stars = {(name, o.name) for name,obj in of_all.items() for o in inspect.signature(obj).parameters.values() if o.kind in (o.VAR_POSITIONAL, o.VAR_KEYWORD)}
    assert stars == {('gather_rows', 'tensors'), ('MixedLoss', 'losses'), ('plot_roc', 'kwargs'), ('plot_pr', 'kwargs')}

def methods_of_all():
    "Of classes, without the hooks that fastai calls"
    for name,obj in of_all.items():
        if not inspect.isclass(obj): continue
        methods = [(m, f) for m,f in vars(obj).items() if not m.startswith(('_', 'before_', 'after_'))]
        yield from ((f'{name}.{m}', getattr(f, '__func__', f)) for m,f in methods if inspect.isfunction(getattr(f, '__func__', f)))

@pytest.mark.parametrize('name,obj', [*of_all.items(), *methods_of_all()])
def test_signatures_show_types(name, obj):
    "Of all parameters but those passed on; types in quotes are found, so fastai's `doc` and nbdev's `show_doc` work"
    signature = inspect.signature(obj)
    given = [o for o in signature.parameters.values() if o.name not in ('self', 'cls') and o.kind != o.VAR_KEYWORD]
    untyped = [o.name for o in given if o.annotation is o.empty]
    assert not untyped
    assert 'numpy._typing' not in str(signature) and len(str(signature)) < 1000
    assert get_type_hints(obj.__init__ if inspect.isclass(obj) else obj) is not None  # names in quotes are found
    assert show_doc(obj)._repr_markdown_()

def test_functions_say_what_they_return():
    "All but two, which return nothing"
    silent = [name for name,obj in of_all.items() if inspect.isfunction(obj) and inspect.signature(obj).return_annotation is inspect.Signature.empty]
    assert silent == ['enable_callback_fns', 'disable_callback_fns']


# Examples

@pytest.fixture(scope='module')
def of_auroc():
    "What the example of `AUROC` leaves, which others go on with"
    set_seed(0)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        for o in doctest.DocTestParser().get_examples(made.examples['AUROC'][1]): exec(o.source, names)
    return names

def quiet(patch):
    "Learners print no tables"
    patch.setattr(defaults, 'callbacks', [o for o in defaults.callbacks if o is not ProgressCallback])
    patch.setattr('fastai.learner.print', lambda *_: None, raising=False)

@pytest.mark.parametrize('name', [o for o in made.examples if not o.startswith('fastai1.')])
def test_example_runs(name, of_auroc, monkeypatch):
    "As `doctest` runs it, in an empty namespace"
    quiet(monkeypatch)
    text = made.examples[name][1]
    names = dict(of_auroc) if 'as for AUROC' in text else {}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    printed = []
    test = doctest.DocTestParser().get_doctest(text + '\n', names, name, None, 0)
    try: res = doctest.DocTestRunner(optionflags=flags).run(test, out=printed.append)
    finally: ours.enable_callback_fns(load_vision=False)
    assert res.attempted and not res.failed, ''.join(printed)

def test_every_example_has_its_name():
    "And no other one, but methods of these classes"
    of_methods = {o for o in made.examples if not o.startswith('fastai1.') and '.' in o}
    assert {*made.examples} - of_methods - {'fastai1.AUROC', 'fastai1.AveragePrecision'} == {obj.__qualname__ for obj in of_all.values()}
    for o in of_methods:
        name,_,method = o.partition('.')
        doc = inspect.getdoc(getattr(of_all[name], method))
        assert made.examples[o][1] in doc and '\nSee Also\n' in doc

# How they get there

@pytest.mark.parametrize('name', [o for o in made.rooms])
def test_every_room_ends_with_it(name):
    assert (root/f'fastai_auroc/{name}.py').read_text(encoding='utf-8').splitlines()[-1] == 'document(globals())'

def test_no_file_or_a_broken_one(monkeypatch):
    "Docstrings stay short"
    def missing(*_): raise FileNotFoundError
    for read in (missing, lambda *_: None, lambda *_: b'{"roc": {', lambda *_: b'\xff'):
        monkeypatch.setattr(docstrings, 'get_data', read)
        docstrings.read_docstrings.cache_clear()
        assert docstrings.read_docstrings() == {}
    docstrings.read_docstrings.cache_clear()
    monkeypatch.undo()
    assert docstrings.read_docstrings()['roc']

def test_names_that_are_gone(monkeypatch):
    "Also what is now something else, and what has no docstring to replace"
    class Kept:
        "Short"
        def method(self): "Short"
        @classmethod
        def made(cls): "Short"
        @staticmethod
        def static(): "Short"
        @property
        def value(self): "Short"
        def silent(self): pass

    def silent(): pass
    names = dict(__name__='fastai_auroc.roc', Kept=Kept, number=3, nothing=None, silent=silent, text='Short')
    paths = 'gone', 'gone.method', 'number', 'number.real', 'nothing', 'silent', 'text', 'text.upper', 'Kept', *(f'Kept.{o}' for o in
        ('method', 'made', 'static', 'value', 'silent', 'gone'))
    monkeypatch.setattr(docstrings, 'read_docstrings', lambda: dict(roc=dict.fromkeys(paths, 'Long')))
    docstrings.document(names)
    assert [o.__doc__ for o in (Kept, Kept.method, Kept.made, Kept.static, Kept.value, Kept.silent, silent)] == [
        'Long', 'Long', 'Long', 'Long', 'Short', None, None]
    docstrings.document(dict(names, __name__='__main__'))

def test_python_without_docstrings():
    "python -OO"
    code = 'from fastai_auroc.roc import auroc_score; from fastai_auroc.streaming import StreamingAUC as S; print(auroc_score.__doc__, S.__doc__, S.result.__doc__)'
    done = subprocess.run([sys.executable, '-OO', '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['None']*3, done.stderr

def test_what_else_is_as_before():
    "Pickles, partials, and classes of users with docstrings of their own or none"
    class Own(ours.AUROC): "Mine"
    class Silent(ours.AUROC): pass
    assert Own.__doc__ == 'Mine' and Silent.__doc__ is None and inspect.signature(Own) == inspect.signature(ours.AUROC)
    assert pickle.loads(pickle.dumps(ours.auroc_score)) is ours.auroc_score and pickle.loads(pickle.dumps(ours.AUROC)) is ours.AUROC
    assert repr(ours.AUROC(max_fpr=.1)) == 'AUROC(max_fpr=0.1)'
    assert 'average' in inspect.signature(partial(ours.auroc_score, max_fpr=.1)).parameters
