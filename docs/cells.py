"Shown cells as a reader's examples: checks become values, what is private is left out, and whatever an example needs stands above it"
import ast, re, symtable, textwrap

_hook = re.compile(r'(before|after)_(fit|epoch|train|validate|batch|pred|loss|backward|step|create)$|on_(train|epoch|batch)_(begin|end)$')
_named_tuple = '_asdict', '_replace', '_fields', '_'
width = 100  # of a line with its value

def is_private(name): return bool(_hook.match(name)) or name.startswith('_') and not name.startswith('__') and name not in _named_tuple

def mentions_private(node):
    names = ([getattr(o, 'id', None), getattr(o, 'attr', None), getattr(o, 'arg', None), getattr(o, 'name', None)] for o in ast.walk(node))
    return any(isinstance(o, str) and is_private(o) for found in names for o in found)

def _called(node):
    "The name of the function that a statement calls, if that is all it does"
    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ''

def is_check(node): return isinstance(node, ast.Assert) or bool(re.match(r'test_[a-z]+', _called(node)))

def _only_checks(node):
    "A check, or a loop of checks alone"
    return isinstance(node, ast.For) and all(map(_only_checks, node.body)) or is_check(node)

def _globals_of(table):
    "Names that inner scopes look up outside"
    found = set()
    for child in table.get_children(): found |= {o.get_name() for o in child.get_symbols() if o.is_global()} | _globals_of(child)
    return found

def _table(node): return symtable.symtable(ast.unparse(node), '', 'exec')

def bound_names(code):
    "Names that a module of code assigns or imports"
    return {o.get_name() for o in _table(code).get_symbols() if o.is_assigned() or o.is_imported()}

def _loaded(node):
    "Names that a statement or an expression looks up, also in inner scopes"
    table = _table(node)
    return {o.get_name() for o in table.get_symbols() if o.is_referenced()} | _globals_of(table)

def _used_names(nodes, bound):
    "Names that statements look up and that neither they nor `bound` have assigned before"
    bound,used = {*bound},set()
    for node in nodes:
        heads = [node.iter] if isinstance(node, ast.For) else [o.context_expr for o in node.items] if isinstance(node, ast.With) else None
        if heads is None:
            used |= _loaded(node) - bound
            bound |= bound_names(node)
            continue
        targets = [node.target] if isinstance(node, ast.For) else [o.optional_vars for o in node.items if o.optional_vars]
        inside = bound | {o.id for target in targets for o in ast.walk(target) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store)}
        used |= set().union(*map(_loaded, heads)) - bound
        used |= _used_names(node.body, inside) | _used_names(getattr(node, 'orelse', []), bound)
    return used

def _root(node):
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)): node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None

def _changed(node):
    "Names of objects that a statement may change in place"
    found = set()
    for o in ast.walk(node):
        targets = o.targets if isinstance(o, ast.Assign) else [o.target] if isinstance(o, (ast.AugAssign, ast.For)) else []
        if isinstance(o, ast.Expr) and isinstance(o.value, ast.Call) and isinstance(o.value.func, ast.Attribute): targets = [o.value.func]
        found |= {_root(x) for target in targets for x in ast.walk(target) if isinstance(x, (ast.Attribute, ast.Subscript))}
    return found - {None}

class Statement:
    "A statement of a shown cell, as a reader sees it; one with a private name is left out unless `private` is true"
    def __init__(self, text, nodes, lead='', private=False):
        self.lead,self.nodes = lead,nodes
        self.text,self.raises = _as_example(text, nodes)
        self.left_out = self.text is None and not self.raises
        try: code = ast.parse(self.text or '\n'.join(call for call,_ in self.raises))
        except SyntaxError: code = ast.parse(text)
        if not private and mentions_private(code): self.left_out = True
        self.binds = bound_names(code)
        self.uses = _used_names(code.body, set())
        self.changes = set().union(*map(_changed, code.body))
        self.is_import = all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in nodes)
        self.is_definition = all(isinstance(o, (ast.FunctionDef, ast.ClassDef)) for o in nodes)
        self.mentions = set(re.findall(r'[A-Za-z_]\w*', ' '.join(re.findall(r'# [=≈] (.*)', self.text or ''))))  # in the value of a check
        self.is_check = all(map(_only_checks, nodes))
        self.tells = bool(self.raises) or self.is_check and bool(self.text)
        self.shows = bool(self.text) and isinstance(nodes[-1], ast.Expr) and not is_check(nodes[-1])

def _one_line(text): return ' '.join(text.split())

def _with_value(code, value, sign='='):
    line = f'{code}  # {sign} {value}'
    return line if len(line) <= width else f'# {sign} {value}\n{code}' if len(value) < width else code

def _as_raised(call, source):
    "`test_fail` as what is called and the words of its error; None if that is not simple"
    words = [o.value for o in call.keywords if o.arg == 'contains']
    if not words or not isinstance(words[0], ast.Constant) or not call.args: return None
    first = call.args[0]
    if isinstance(first, ast.Lambda): code = ast.get_source_segment(source, first.body)
    else:
        given = next((ast.unparse(o.value)[1:-1].rstrip(',') for o in call.keywords if o.arg == 'args' and isinstance(o.value, ast.Tuple)), '')
        code = f'{ast.get_source_segment(source, first)}({given})'
    return _one_line(code),words[0].value

def _as_example(text, nodes):
    "(text, errors) of a statement: a check becomes the expression with its value, a failing call goes to the errors"
    source = textwrap.dedent(text)
    nodes = ast.parse(source).body
    if not any(is_check(o) for node in nodes for o in ast.walk(node)): return text,[]
    if len(nodes) > 1: return (None, []) if all(map(is_check, nodes)) else (text, [])
    node = nodes[0]
    part = lambda o: _one_line(ast.get_source_segment(source, o))
    if isinstance(node, ast.Assert):
        if isinstance(node.test, ast.BoolOp): return '\n'.join(f'{part(o)}  # True' for o in node.test.values),[]
        return f'{part(node.test)}  # True',[]
    if is_check(node):
        name,args = _called(node),node.value.args
        if name == 'test_fail':
            found = _as_raised(node.value, source)
            return (None, [found]) if found else (None, [])
        if name not in ('test_eq', 'test_close', 'test_is') or len(args) < 2: return None,[]
        if mentions_private(args[1]): return None,[]
        code,value = (part(o).strip() for o in args[:2])
        if isinstance(args[0], ast.Tuple) and code.startswith('('): code = code[1:-1]
        return _with_value(code, value, '≈' if name == 'test_close' else '='),[]
    return _without_checks(source, node),[]

def _without_checks(source, node):
    "A loop, function or `with` without the checks in it, a warning's cause excepted; None if nothing is left"
    lines,gone = source.splitlines(),set()
    def strip(o):
        if not hasattr(o, 'body') or not isinstance(o.body, list): return
        for child in o.body:
            if not is_check(child): strip(child)
            elif isinstance(o, ast.With) and _called(child) in ('test_eq', 'test_close') and child.lineno == child.end_lineno > o.lineno:
                line = lines[child.lineno-1]
                lines[child.lineno-1] = line[:child.col_offset] + _as_example(line.strip(), [child])[0]
            else: gone.update(range(child.lineno, child.end_lineno+1))
        if all(is_check(child) for child in o.body) and not isinstance(o, ast.With): gone.update(range(o.lineno, o.end_lineno+1))
    strip(node)
    left = '\n'.join(line for i,line in enumerate(lines, 1) if i not in gone)
    try: return left if left.strip() and ast.parse(left).body else None
    except SyntaxError: return None

def statements(source, private=False):
    "The statements of a cell; those that share a line are one"
    lines,res,end = source.splitlines(),[],0
    groups = []
    for node in ast.parse(source).body:
        first = min([node.lineno, *(o.lineno for o in getattr(node, 'decorator_list', []))])
        if groups and first <= groups[-1][1]: groups[-1] = groups[-1][0],node.end_lineno,[*groups[-1][2], node]
        else: groups.append((first, node.end_lineno, [node]))
    for first,last,nodes in groups:
        res.append(Statement('\n'.join(lines[first-1:last]), nodes, ''.join(o + '\n' for o in lines[end:first-1]), private))
        end = last
    return _joined(res)

def _joined(found):
    "A check of what the cell shows in the end becomes one with it"
    last = found[-1] if found else None
    for o in found[:-1]:
        code,sign,value = re.fullmatch(r'(.*?)(?:  # ([=≈]) (.*))?', o.text or '', re.S).groups()
        if not (last.shows and sign and code == last.text): continue
        last.text,last.mentions,o.left_out,o.text = o.text,o.mentions,True,None
    return [o for o in found if o.text is not None or o.raises or not is_check(o.nodes[0])]

def import_lines(source):
    "What each import of a source binds, as (name, line); a star import binds '*'"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for o in node.names: yield o.asname or o.name.partition('.')[0],(None, ast.unparse(ast.alias(o.name, o.asname)))
        if isinstance(node, ast.ImportFrom):
            for o in node.names: yield ('*' if o.name == '*' else o.asname or o.name),(node.module, ast.unparse(o))

def import_block(found):
    "Import statements of (module, name) pairs, star imports first"
    plain = [name for module,name in found if module is None]
    lines = [f"import {', '.join(plain)}"] if plain else []
    for module in dict.fromkeys(module for module,_ in found if module):
        names = ', '.join(name for m,name in found if m == module)
        line = f'from {module} import {names}'
        lines.append(line if len(line) <= width else f'from {module} import ({chr(10)}' + textwrap.fill(names, width, initial_indent='    ', subsequent_indent='    ') + ')')
    return sorted(lines, key=lambda line: not line.endswith('*'))
