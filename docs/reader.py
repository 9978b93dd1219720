"A notebook of the reference in the order of a reader: an example, each name with its parameters, examples, and at last how it works"
import ast, builtins, re
from typing import NamedTuple
from cells import bound_names, import_block, import_lines, is_private, statements
from docstrings import examples as docstring_examples, find_room, is_property, methods, read_parameters, read_result, rooms, split_raises, star_names

# Names for users that the star import does not bring
others = ['AUMLineSearch', 'adult', 'sms_spam', 'caravan', 'satellite', 'letter', 'AUROCInterval', 'APInterval', 'AUROCComparison', 'ROCCurve', 'PRCurve',
    'GroupedAUROC', 'BiasAUROC', 'OperatingPoint', 'find_operating_point', 'threshold_rule', 'tabulate_thresholds']
for_users = {*star_names, *others}
# The examples at the top of a page, by words of their cells, where it is not a short one or the first with an output
starts = dict(fastai1=['learn.fit_one_cycle(3, 1e-2)'], metric=['metrics=accuracy, cbs=AUROC)'], plots=['good=good, weak=weak'], pr_plots=['good=good, weak=weak'],
    history=['\nhistory(learn)', 'plot_history(learn);'], samplers=['balance_batches(people'], thresholds=['find_operating_point(p, positive, threshold_rule(min_tpr'])
first_names = dict(losses='AUMLoss')  # whose short example is at the top, where it is not the first of the page
first_sections = dict(samplers='balance_batches')  # the name whose section comes first

def user_names(module):
    "Names for users that a room defines, in its order"
    return [o for o in rooms[module].public if o in for_users] if module in rooms else []

def room_of(name, module=None): return rooms[module] if module in rooms and name in rooms[module].definitions else find_room(name)

def anchor(name): return name.lower()

def summary(docstring): return split_raises(docstring or '')[0]

class Card(NamedTuple):
    "What a reader must know of a function, a class or a method"
    name: str
    signature: str
    text: str
    parameters: list
    result: object
    methods: list
    is_record: bool

def _signature(name, parameters):
    parts = [f'{o.name}={o.default}' if o.default else o.name for o in parameters]
    return f"{name}({', '.join(parts)})"

def _keyword_only(node):
    "The first parameter that is given by name, as a signature marks it"
    a = getattr(node, 'args', None)
    return a.kwonlyargs[0].arg if a and a.kwonlyargs and not a.vararg else None

def make_card(name, module=None):
    "The card of a public name, or of a method `Class.method`"
    first,_,method = name.partition('.')
    room = room_of(first, module)
    node = room.definitions[first]
    if method: node = methods(node)[method]
    is_class = isinstance(node, ast.ClassDef)
    is_record = is_class and 'NamedTuple' in map(ast.unparse, node.bases)
    parameters = read_parameters(room, node)
    signature = name if not is_class and is_property(node) else _signature(name, parameters)
    by_name = _keyword_only(node)
    if by_name: signature = re.sub(rf'(?<=[( ]){by_name}\b', f'*, {by_name}', signature, count=1)
    listed = [o for o in methods(node) if not o.startswith('__') and not is_private(o)] if is_class and not is_record and first in for_users else []
    return Card(name, signature, ast.get_docstring(node) or '', parameters, None if is_class else read_result(room, node), listed, is_record)

class Cell(NamedTuple):
    "A cell of a notebook"
    number: int
    kind: str  # 'text', 'export', 'hidden', 'code' or 'method'
    source: str
    outputs: list
    show_source: bool

def _read_cells(nb):
    cells = []
    for i,cell in enumerate(nb.cells):
        lines = cell.source.splitlines()
        directives = [o.split()[1] if len(o.split()) > 1 else '' for o in lines if o.startswith('#|')]
        source = '\n'.join(o for o in lines if not o.startswith(('#|', '%%'))).strip()
        kind = 'text' if cell.cell_type != 'code' else 'export' if 'export' in directives else 'hidden' if 'hide' in directives or 'default_exp' in directives else 'code'
        if kind == 'code' and source.startswith('show_doc('): kind = 'method'
        show_output = kind == 'code' and 'hide_output' not in directives
        cells.append(Cell(i, kind, source, cell.get('outputs', []) if show_output else [], 'echo:' not in directives))
    return cells

def _split_headings(text):
    "A text as (level, heading, what follows) pieces; level 0 without a heading"
    pieces,fenced = [[0, '', []]],False
    for line in text.splitlines():
        if line.startswith('```'): fenced = not fenced
        found = not fenced and re.fullmatch(r'(#{2,6}) (.+)', line)
        if found: pieces.append([len(found[1]), found[2], []])
        else: pieces[-1][2].append(line)
    pieces = [(level, heading, '\n'.join(lines).strip()) for level,heading,lines in pieces]
    return [o for o in pieces if o[0] or o[2]]

class Entry(NamedTuple):
    "A part of a page, under its headings"
    headings: tuple  # (level, text) pairs
    kind: str  # 'text', 'card' or 'code'
    content: object

class Notebook:
    "The parts of a notebook for its users, and those on how it works"
    def __init__(self, nb, module=None):
        self.module = module if module in rooms else None
        self.users = user_names(module) if self.module else []
        self.public = rooms[module].public if self.module else []
        self.cells = _read_cells(nb)
        i = next(o.number for o in self.cells if o.kind == 'text' and o.source.startswith('# '))
        self.title,self.summary,self.introduction = re.fullmatch(r'# ([^\n]+)(?:\n+> ([^\n]+))?\n*(.*)', self.cells[i].source, re.S).groups()
        self.cells[i] = self.cells[i]._replace(source=self.introduction)
        self._read_code()
        self._sort_parts()

    def _read_code(self):
        "Statements of shown cells, and what all imports bind; a tutorial shows private names, which are of other libraries"
        self.statements,self.imports,self.stars,self.own = {},{},[],set()
        for cell in self.cells:
            if cell.kind not in ('code', 'export', 'hidden'): continue
            try:
                for name,found in import_lines(cell.source):
                    if name != '*': self.imports.setdefault(name, found)
                    elif cell.kind == 'code': self.stars.append(found)
                if cell.kind == 'code': self.statements[cell.number] = [o for o in statements(cell.source, self.module is None) if not self._is_moved(o)]
                if cell.kind == 'export': self.own |= {name for o in statements(cell.source) if not o.is_import for name in o.binds}
            except SyntaxError: self.statements[cell.number] = None  # a command of IPython: shown as it is
        self.ordered = [o for n in sorted(self.statements) for o in self.statements[n] or []]
        self.order = {id(o):i for i,o in enumerate(self.ordered)}
        for o in self.ordered: o.needs = self._needed(o)
        for o in self.ordered: o.left_out = o.left_out or any(x.left_out and name in x.binds for x,name in o.needs)

    def _is_moved(self, statement):
        "Imports stand where a page needs them first; only a tutorial has them where it says so"
        return statement.is_import and (self.module is not None or 'fastcore.test' in statement.text)

    def _needed(self, statement):
        "(statement, name) pairs: what bound or changed the names that a statement uses"
        res = []
        for name in sorted(statement.uses):
            before = self.ordered[:self.order[id(statement)]]
            last = max((i for i,o in enumerate(before) if name in o.binds), default=None)
            if last is not None: res += [(o, name) for o in before[last:] if o is before[last] or name in o.changes]
        return res

    def _sort_parts(self):
        "Give each text, card and example to users or to how it works"
        self.entries,self.internals = [],[]
        segments = self._segments()
        inner = [self._is_inner(path, segment) for path,segment in segments]
        for i,(path,segment) in enumerate(segments):  # what shows nothing goes with what stands above it
            if i and path == segments[i-1][0] and inner[i-1] and _has_cells(segment) and not self._shows_anything(segment): inner[i] = True
        for i,(path,segment) in enumerate(segments):
            below = [o for o,(other,rest) in zip(inner, segments) if path and other[:len(path)] == path and _has_cells(rest)]
            self._sort_segment(path, segment, inner[i] if _has_cells(segment) else bool(below) and all(below))
        if self.users: self._shorten_introduction()

    def _segments(self):
        "The notebook as (headings, segment) pairs; a segment is text and the cells that follow it"
        res,path = [((), [])],()
        for cell in self.cells:
            if cell.kind == 'hidden': continue
            if cell.kind != 'text':
                res[-1][1].append(cell)
                continue
            for level,heading,text in _split_headings(cell.source):
                if level: path = *(o for o in path if o[0] < level),(level, heading)
                if level or _has_cells(res[-1][1]): res.append((path, []))
                if text: res[-1][1].append(text)
        return res

    def _shorten_introduction(self, most=700):
        "Of a long introduction all but the first paragraph comes after the public names"
        i = next((i for i,o in enumerate(self.entries) if o.headings), len(self.entries))
        introduction = self.entries[:i]
        if sum(len(o.content) for o in introduction if o.kind == 'text') < most or any(o.kind == 'card' for o in introduction): return
        first,rest = re.match(r'(.*?:\n\n```.*?\n```|.*?)(?:\n\n(.*))?$', introduction[0].content, re.S).groups('')
        if first.endswith(':'): first,rest = '',introduction[0].content  # what it announces goes with it
        later = [Entry(((2, 'Background'),), o.kind, o.content) for o in [introduction[0]._replace(content=rest), *introduction[1:]] if o.content]
        self.entries[:i] = [introduction[0]._replace(content=first), *later]

    def _names_in(self, cell):
        if cell.kind == 'method': return set(re.findall(r'\w+', cell.source))
        return {name for o in self.statements.get(cell.number) or [] if not o.left_out for name in o.uses}

    def _defined(self, cell):
        names = [o.name for o in ast.parse(cell.source).body if isinstance(o, (ast.FunctionDef, ast.ClassDef))] if cell.kind == 'export' else []
        return [o for o in names if o in self.public]

    def _is_internal(self, cell):
        "Whether an example shows functions that are not for users"
        names = self._names_in(cell)
        internal = {o for room in rooms.values() for o in room.public} - for_users
        return bool(names & internal) and not names & for_users

    def is_hidden(self, cell):
        "Whether an example is not on the page, since what is left of it would puzzle or show nothing"
        own = self.statements.get(cell.number) or []
        shows = cell.outputs and own and not own[-1].left_out
        left_out = [o for o in own if o.left_out]
        return bool(left_out) and (not all(o.is_check for o in left_out) or not shows and not any(o.tells for o in own if not o.left_out))

    def _shows_anything(self, segment):
        return any(o.kind in ('export', 'method') or self._names_in(o) and not self.is_hidden(o) for o in segment if isinstance(o, Cell))

    def _is_inner(self, path, segment):
        "Whether a segment is on how it works"
        cells = [o for o in segment if isinstance(o, Cell)]
        exports = [o for o in cells if o.kind == 'export' and not _defines_nothing(o.source)]
        defined = [name for o in cells for name in self._defined(o)]
        if not self.users or not path: return False
        if exports: return not set(defined) & set(self.users)
        return any(map(self._is_internal, cells)) and not any(self._names_in(o) & {*self.users} for o in cells)

    def _sort_segment(self, path, segment, inner):
        "Give the text, the cards and the examples of a segment their place"
        for o in segment:
            if isinstance(o, str): self._add(path, 'text', o, inner)
            elif o.kind == 'export':
                for name in self._defined(o): self._add(path, 'card', name, bool(self.users) and name not in self.users)
            elif o.kind == 'method': self._add(path, 'card', o.source[len('show_doc('):-1], inner)
            else: self._add(path, 'code', o, inner or bool(self.users) and self._is_internal(o))

    def _add(self, path, kind, content, inner): (self.internals if inner else self.entries).append(Entry(path, kind, content))

    def first_name(self):
        "The name whose short example is at the top of a page, if it has one"
        if self.module in starts: return None
        name = first_names.get(self.module, next((o for o in self.users if not make_card(o, self.module).is_record), None))
        return name if name and short_example(name, self.module) else None

    def start(self):
        "The cells of the examples at the top of a page"
        shown = [o.content for o in self.entries if o.kind == 'code' and o.content.outputs and self._names_in(o.content) & {*self.users}]
        if self.module in starts: return [next(o for o in shown if words in o.source) for words in starts[self.module]]
        return sorted(shown, key=_is_picture)[:1] if self.users else []

def _has_cells(segment): return any(isinstance(o, Cell) for o in segment)

def _is_picture(cell): return any('image/png' in o.get('data', {}) for o in cell.outputs)

def _defines_nothing(source): return all(isinstance(o, (ast.Import, ast.ImportFrom, ast.Expr)) for o in ast.parse(source).body)

def see_also(name, module=None): return docstring_examples.get(f'{module}.{name}', docstring_examples.get(name, ([], '')))[0]

def short_example(name, module=None):
    "The example of a docstring as (code, output) pairs; none where it goes on from that of `AUROC`, trains or draws"
    text = docstring_examples.get(f'{module}.{name}', docstring_examples.get(name, ([], '')))[1]
    if 'as for AUROC' in text or '>>> ax = ' in text or 'learn' in text.replace('from_learner(learn)', ''): return []
    blocks = []
    for line in text.splitlines():
        if line.startswith(('>>> ', '... ')):
            if not blocks or blocks[-1][1]: blocks.append(([], []))
            blocks[-1][0].append(line[4:])
        else: blocks[-1][1].append(line)
    return [('\n'.join(code), '\n'.join(output)) for code,output in blocks]

class Program:
    "Examples in the order of a page: each statement after what it needs"
    def __init__(self, notebook): self.notebook,self.bound,self.done,self.imported,self.missing = notebook,{},set(),set(),set()

    def _add(self, statement, res):
        for o,name in statement.needs:
            if self.bound.get(name) is not o if name in o.binds else id(o) not in self.done: self._add(o, res)
        if statement in res: return
        res.append(statement)
        self.done.add(id(statement))
        for name in statement.binds: self.bound[name] = statement

    def note(self, code):
        "An example that is not of the notebook stands above: its names have its values"
        self.bound |= dict.fromkeys(bound_names(ast.parse(code)))

    def _import(self, used):
        "Import statements of names that nothing above has bound"
        if self.notebook.module is None: return []
        known,found = self.notebook.imports,[]
        for name in sorted(used - self.bound.keys() - self.imported - {*dir(builtins)}):
            if name in self.notebook.own: found.append((f'fastai_auroc.{self.notebook.module}', name))
            elif name in known: found.append(known[name])
            elif self.notebook.stars:
                found += [o for o in self.notebook.stars if o not in self.imported]
                self.imported |= {*self.notebook.stars}
            else: self.missing.add(name)
            self.imported.add(name)
        order = {o:i for i,o in enumerate(dict.fromkeys([*self.notebook.stars, *known.values()]))}
        return import_block(sorted(dict.fromkeys(found), key=lambda o: order.get(o, len(order))))

    def example(self, cell, brief=False):
        "(code, errors, whether its last value is shown) of a cell; `brief`: without its checks"
        own = self.notebook.statements.get(cell.number)
        if own is None: return cell.source,[],True
        if self.notebook.is_hidden(cell): return '',[],False
        res = []
        for o in own:
            if not o.left_out and self._is_used(o) and not (brief and o.is_check): self._add(o, res)
        shown = [o for o in res if o.text]
        imports = self._import({name for o in shown for name in o.uses})
        code = ''.join((o.lead if o in own else '') + o.text + '\n' for o in shown).strip('\n')
        if imports: code = '\n'.join(imports) + ('\n\n' + code if code else '')
        return code,[pair for o in res for pair in o.raises],bool(own) and own[-1] in res

    def _is_used(self, statement):
        "Functions and classes that only checks called are not shown"
        later = self.notebook.ordered[self.notebook.order[id(statement)]+1:]
        return not statement.is_definition or any(statement.binds & (o.uses | o.mentions) and not o.left_out for o in later)
