"""Docstrings for `help`, of the comments beside parameters: writes fastai_auroc/docstrings.json. Run: python docs/docstrings.py

The rooms are read, not imported; examples and what to see also come from docs/examples.txt."""
import ast, io, json, re, textwrap, tokenize
from collections import namedtuple
from pathlib import Path

root = Path(__file__).resolve().parent.parent
target = root/'fastai_auroc/docstrings.json'
by_hand = '__init__', '_modidx', 'all'  # which are no rooms

Parameter = namedtuple('Parameter', 'name type default meaning')
Parameter.__doc__ = "A parameter, a field or what is returned, all text; `default` is '' where there is none"

class Room:
    "What a module defines, and its comments by line"
    def __init__(self, path):
        source = path.read_text(encoding='utf-8')
        self.name = path.stem
        self.tree = ast.parse(source)
        self.comments = {o.start[0]:o.string.lstrip('# ') for o in tokenize.generate_tokens(io.StringIO(source).readline) if o.type == tokenize.COMMENT}
        self.definitions = {o.name:o for o in self.tree.body if isinstance(o, (ast.FunctionDef, ast.ClassDef))}
        listed = [o.value for o in self.tree.body if isinstance(o, ast.Assign) and ast.unparse(o.targets[0]) == '__all__']
        self.public = [o for o in ast.literal_eval(listed[0]) if o in self.definitions]

rooms = {o.stem:Room(o) for o in sorted((root/'fastai_auroc').glob('*.py')) if o.stem not in by_hand}
star_names = next(ast.literal_eval(o.value) for o in ast.parse((root/'fastai_auroc/all.py').read_text(encoding='utf-8')).body
    if isinstance(o, ast.Assign) and ast.unparse(o.targets[0]) == '__all__')

def find_room(name):
    "The room that defines a name; of two the one that is not for fastai 1"
    return next(room for room in rooms.values() if name in room.definitions and room.name != 'fastai1')

def methods(node): return {o.name:o for o in node.body if isinstance(o, ast.FunctionDef)}

def constructor(room, node):
    "(room, node) of the `__init__` of a class, or of the first of its bases with one; None without"
    if '__init__' in methods(node): return room,methods(node)['__init__']
    for base in map(ast.unparse, node.bases):
        where = room if base in room.definitions else next((o for o in rooms.values() if base in o.definitions), None)
        found = where and constructor(where, where.definitions[base])
        if found: return found

def type_text(annotation, meaning):
    """An annotation, also one in quotes, without modules, with numpydoc's word 'array_like'

    The word also stands where there is no annotation and the meaning tells a shape; '' if unknown."""
    if isinstance(annotation, ast.Constant) and annotation.value is not None: annotation = ast.parse(annotation.value, mode='eval').body
    if annotation is not None: return re.sub(r'\b[a-z_]\w*\.(?=\w)', '', ast.unparse(annotation)).replace('ArrayLike', 'array_like')
    return 'array_like' if re.search(r'\bshape\b', meaning) else ''

def make_parameter(room, node, name, default=None):
    "Of a node with an annotation, and a comment in its line"
    meaning = room.comments.get(node.lineno, '')
    return Parameter(name, type_text(node.annotation, meaning), '' if default is None else ast.unparse(default), meaning)

def read_fields(room, node):
    "The fields of a `NamedTuple`"
    return [make_parameter(room, o, o.target.id, o.value) for o in node.body if isinstance(o, ast.AnnAssign)]

def read_parameters(room, node):
    "The parameters of a function or a method, of a class those of its constructor"
    if isinstance(node, ast.ClassDef):
        if 'NamedTuple' in map(ast.unparse, node.bases): return read_fields(room, node)
        found = constructor(room, node)
        return read_parameters(*found) if found else []
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None]*(len(plain) - len(a.defaults)) + a.defaults
    res = [make_parameter(room, o, o.arg, default) for o,default in zip(plain, defaults) if o.arg not in ('self', 'cls')]
    if a.vararg: res.append(make_parameter(room, a.vararg, '*' + a.vararg.arg))
    res += [make_parameter(room, o, o.arg, default) for o,default in zip(a.kwonlyargs, a.kw_defaults)]
    return res + ([make_parameter(room, a.kwarg, '**' + a.kwarg.arg)] if a.kwarg else [])

def read_result(room, node):
    "What a function returns, a `Parameter` without a name; None if nothing is said of it"
    a = node.args
    taken = {o.lineno for o in [*a.args, *a.kwonlyargs, a.vararg, a.kwarg] if o}
    line = node.returns.end_lineno if node.returns else node.body[0].lineno - 1
    meaning = '' if node.returns is None and line in taken or line < node.lineno else room.comments.get(line, '')
    kind = '' if node.returns is None else type_text(node.returns, '')
    return Parameter('', kind, '', meaning) if kind or meaning else None

def definition(obj):
    "(room, node) of a function, a class or a method of ours"
    room = rooms[obj.__module__.rpartition('.')[2]]
    first,*rest = obj.__qualname__.split('.')
    node = room.definitions[first]
    for name in rest: node = methods(node)[name]
    return room,node

def parameters(obj):
    "Each parameter of a function or method of ours, or of a class's constructor, as (name, type, default, meaning)"
    return read_parameters(*definition(obj))

# Text

def split_raises(text):
    "A docstring as summary, further text and a list of (exception, when): what is said of it moves to the list"
    summary,_,more = text.partition('\n\n')
    summary,_,when = summary.partition('; raises ')
    raised = ['raises ' + when] if when else []
    paragraphs = []
    for paragraph in re.split(r'\n\n', more):
        sentences = re.split(r"(?<=\.)\s+(?=[A-Z'`])", paragraph)
        found = [o for o in sentences if re.match(r'Raises .*`\w+Error`', o, re.S)]
        raised += [' '.join(o.split()).removesuffix('.') for o in found]
        if found: paragraph = textwrap.fill(' '.join(' '.join(o for o in sentences if o not in found).split()), 79, break_on_hyphens=False)
        if paragraph: paragraphs.append(paragraph)
    pairs = [o for sentence in raised for o in re.findall(r'`(\w+Error)` (.+?)(?=[,;]? (?:and )?`\w+Error`|$)', sentence)]
    return summary,'\n\n'.join(paragraphs),pairs

def entry(head, meaning):
    "A name and its type, and below it what it means"
    return head + ('\n' + textwrap.fill(meaning[0].upper() + meaning[1:], 79, initial_indent='    ', subsequent_indent='    ', break_on_hyphens=False) if meaning else '')

def parameter_entry(o):
    about = ', '.join(filter(None, [o.type, o.default and f'default {o.default}']))
    return entry(f'{o.name} : {about}' if about else o.name, o.meaning)

def imports_of(example):
    "Lines that an example begins with, but one that goes on where another ended"
    if any(re.search('import|as for AUROC', line) for line in example): return []
    return ['>>> import torch']*any(re.match(r'>>> .*\btorch\.', line) for line in example) + ['>>> from fastai_auroc.all import *']

def read_examples():
    "What to see also and an example, by name, from docs/examples.txt"
    res = {}
    for block in (root/'docs/examples.txt').read_text(encoding='utf-8').strip().split('\n\n'):
        head,*example = block.splitlines()
        name,_,see = head.partition(': ')
        res[name] = see.split(', ') if see else [], '\n'.join(imports_of(example) + example)
    return res

examples = read_examples()

def summary_of(name):
    "The first line of what is said of a function, of a class or, as 'StreamingAUC.result', of a method"
    first,_,method = name.partition('.')
    node = find_room(first).definitions[first]
    return split_raises(ast.get_docstring(methods(node)[method] if method else node))[0]

def compose(room, path, node):
    "The docstring of a definition"
    summary,more,raised = split_raises(ast.get_docstring(node))
    is_class = isinstance(node, ast.ClassDef)
    fields = is_class and constructor(room, node) is None
    result = None if is_class else read_result(room, node)
    see,example = examples.get(f'{room.name}.{path}', examples.get(path, ([], '')))
    sections = {'Attributes' if fields else 'Parameters': [parameter_entry(o) for o in read_parameters(room, node)]}
    sections['Returns'] = [entry(result.type, result.meaning) if result.type else result.meaning] if result else []
    sections['Raises'] = [entry(name, when) for name,when in raised]
    sections['See Also'] = [f'{o} : {summary_of(o)}' for o in see]
    sections['Examples'] = [example] if example else []
    parts = ['\n'.join([title, '-'*len(title), *lines]) for title,lines in sections.items() if lines]
    return '\n\n'.join(filter(None, [summary, more, *parts]))

def public_definitions(room):
    "(path, node) of what a room's `__all__` names, and of the public methods of its classes"
    for name in room.public:
        node = room.definitions[name]
        yield name,node
        if not isinstance(node, ast.ClassDef): continue
        yield from ((f'{name}.{method}', o) for method,o in methods(node).items() if not method.startswith('_') and not is_property(o))

def is_property(node): return any(ast.unparse(o).partition('.')[2] == 'setter' or ast.unparse(o) == 'property' for o in node.decorator_list)

def docstrings():
    "By room and name the docstrings that say more than those in the source"
    res = {}
    for room in rooms.values():
        texts = {path:compose(room, path, node) for path,node in public_definitions(room) if ast.get_docstring(node)}
        res[room.name] = {path:text for path,text in texts.items() if '\n---' in text}
    return {name:o for name,o in res.items() if o}

def as_text(): return json.dumps(docstrings(), indent=1, ensure_ascii=False) + '\n'

if __name__ == '__main__':
    text = as_text()
    target.write_text(text, encoding='utf-8')
    print(f'{sum(map(len, json.loads(text).values()))} docstrings in {target.relative_to(root)}')
