"The rules of the house: rooms, names, lines and cells. `python tests/test_house.py` prints the figures."
import ast, json
from collections import defaultdict
from pathlib import Path
import pytest

root = Path(__file__).parent.parent
package = root/'fastai_auroc'
pages = sorted((root/'nbs').glob('[0-9]*.ipynb'))
rooms = [p.stem.split('_', 1)[1] for p in pages]  # in the order of their numbers
columns = 'AUROC','AveragePrecision'  # which each generation of fastai has a class of its own for

def source(room): return (package/f'{room}.py').read_text(encoding='utf-8')

trees = {room:ast.parse(source(room)) for room in rooms}

def is_private(name): return name.startswith('_') and not name.startswith('__')

def imports(tree):
    "(module of ours, name in it, what it is called here) of each import; None for the module itself"
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): found += [(o.name, None, o.asname or o.name) for o in node.names]
        if not isinstance(node, ast.ImportFrom): continue
        module = 'fastai_auroc.'*bool(node.level) + (node.module or '')
        for o in node.names:
            whole_module = module.strip('.') == 'fastai_auroc'
            found.append((f'fastai_auroc.{o.name}', None, o.asname or o.name) if whole_module else (module, o.name, o.asname or o.name))
    return [(module.split('.')[1], name, here) for module,name,here in found if module.startswith('fastai_auroc.')]

def private_names(tree):
    "Private names of other rooms that a module imports, or reaches through a room that it imports"
    found,known = [],set()
    for module,name,here in imports(tree):
        if name is None: known.add(here)
        elif is_private(name): found.append(f'{module}.{name}')
    for node in ast.walk(tree):
        place,name = None,''
        if isinstance(node, ast.Attribute): place,name = node.value,node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == 'getattr': place,name = node.args[0],getattr(node.args[1], 'value', '')
        if place and ast.unparse(place) in known and is_private(str(name)): found.append(ast.unparse(node))
    return found

def defined_twice(trees):
    "Functions and classes that are defined in more than one module, and in which"
    where = defaultdict(list)
    for room,tree in trees.items():
        for o in tree.body:
            if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name not in columns: where[o.name].append(room)
    return {name:found for name,found in where.items() if len(found) > 1}

def functions(tree): return [o for o in ast.walk(tree) if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef))]

def body_lines(function):
    "Lines of a function without its arguments and its docstring"
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return function.end_lineno - body[0].lineno + 1

def assignments(tree): return [o for o in ast.walk(tree) if isinstance(o, ast.Assign)]

def is_tuple(assignment): return any(isinstance(o, ast.Tuple) for o in assignment.targets)

def lines_of(room): return source(room).splitlines()

def share(which, of):
    which,of = list(which),list(of)
    return len(which)/len(of)

def figures():
    "What the rules are about, over all rooms"
    lines = [line for room in rooms for line in lines_of(room)]
    assigned = [o for tree in trees.values() for o in assignments(tree)]
    lengths = {f'{room}.{o.name}':body_lines(o) for room,tree in trees.items() for o in functions(tree)}
    longest_room = max(rooms, key=lambda room: len(lines_of(room)))
    longest = max(lengths, key=lengths.get)
    res = dict(rooms=len(rooms), lines=len(lines))
    res['lines over 120 columns'] = share((o for o in lines if len(o) > 120), lines)
    res['assignments to a tuple'] = share(filter(is_tuple, assigned), assigned)
    res['private names of other rooms'] = sum(len(private_names(tree)) for tree in trees.values())
    res['names defined twice'] = len(defined_twice(trees))
    res['lines of the longest room'] = len(lines_of(longest_room)),longest_room
    res['lines of the longest function body'] = lengths[longest],longest
    return res

def report():
    rows = [(name, f'{value:.1%}' if isinstance(value, float) else '{} ({})'.format(*value) if isinstance(value, tuple) else value)
        for name,value in figures().items()]
    return '\n'.join(f'{name:36}{value}' for name,value in rows)

# The rules

@pytest.mark.parametrize('room', rooms)
def test_no_private_name_of_another_room(room): assert not private_names(trees[room])

def test_no_name_in_two_rooms(): assert not defined_twice(trees)

@pytest.mark.parametrize('room', rooms)
def test_imports_come_from_rooms_before(room): assert {module for module,_,_ in imports(trees[room])} <= set(rooms[:rooms.index(room)])

@pytest.mark.parametrize('room', rooms)
def test_length_of_a_room(room): assert len(lines_of(room)) <= 450

@pytest.mark.parametrize('room', rooms)
def test_length_of_functions(room):
    "A body of more than 25 lines has stages that want a name"
    assert not {o.name:body_lines(o) for o in functions(trees[room]) if body_lines(o) > 25}

def test_lines_and_assignments():
    print(report())
    seen = figures()
    assert seen['lines over 120 columns'] <= .02 and seen['assignments to a tuple'] <= .12, report()

def exported(page):
    "The cells of a notebook as (is exported, source), without Markdown and what is hidden"
    cells = json.loads(page.read_text(encoding='utf-8'))['cells']
    code = [''.join(o['source']) for o in cells if o['cell_type'] == 'code']
    return [(o.startswith('#| export'), o) for o in code]

def code_lines(cell):
    "Lines of a cell without directives, comments, empty lines and docstrings"
    tree = ast.parse(cell)
    documents = [o.body[0] for o in ast.walk(tree) if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(o)]
    left_out = {i for o in documents for i in range(o.lineno, o.end_lineno+1)}
    return [s for i,s in enumerate(cell.splitlines(), 1) if s.strip() and not s.strip().startswith('#') and i not in left_out]

@pytest.mark.parametrize('page', pages, ids=rooms)
def test_cells(page):
    "No exported cell is over 40 lines, but one that holds a class, which stands whole"
    for export,cell in exported(page):
        whole_class = any(isinstance(o, ast.ClassDef) for o in ast.parse(cell).body) if export else False
        assert not export or whole_class or len(code_lines(cell)) <= 40, cell.splitlines()[:3]

def without_example(page):
    "Exported definitions that are followed by another exported cell, not by an example, a shown error or a check"
    cells = [(export, cell) for export,cell in exported(page) if not cell.startswith('#| default_exp')]
    defines = [export and any(isinstance(o, (ast.FunctionDef, ast.ClassDef)) for o in ast.parse(cell).body) for export,cell in cells]
    return [cell.splitlines()[1] for (_,cell),(next_export,_),is_definition in zip(cells, cells[1:], defines) if is_definition and next_export]

@pytest.mark.parametrize('page', pages, ids=rooms)
def test_examples_follow_definitions(page): assert not without_example(page)

# The rules can fail

def test_private_names_are_seen():
    code = '''
from fastai_auroc import roc, keys as k
from .pairs import _runs, placements
import fastai_auroc.scores as scores
roc._count(1), k._span, getattr(scores, '_labels'), placements._x, roc.__name__'''
    assert sorted(private_names(ast.parse(code))) == sorted(['pairs._runs', 'roc._count', 'k._span', "getattr(scores, '_labels')"])

def test_second_definitions_are_seen():
    found = dict(a=ast.parse('def f(): pass\nclass AUROC: pass'), b=ast.parse('class f: pass\nclass AUROC: pass\ndef g(): pass'))
    assert defined_twice(found) == {'f':['a', 'b']}

def test_figures_are_counted():
    tree = ast.parse('a,b = 1,2\nc = 3\nd = e = 4\nd,e = e,d\ndef f(\n    x,\n):\n    "Document"\n    return 1\n')
    assert [is_tuple(o) for o in assignments(tree)] == [True, False, False, True] and body_lines(functions(tree)[0]) == 1
    assert code_lines('#| export\n"Text"\ndef f():\n    "Document"\n\n    # say\n    return 1') == ['"Text"', 'def f():', '    return 1']

if __name__ == '__main__': print(report())
