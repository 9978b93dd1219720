"Build the web site into site/: notebooks become pages in the order of a reader, pages a site with the help of Zensical. Run: make docs"
import base64, html, json, re, shutil, subprocess, sys, tempfile
from pathlib import Path
import nbformat
from latex2mathml.converter import convert
from docstrings import rooms, split_raises, star_names
from reader import Notebook, Program, anchor, first_sections, for_users, make_card, room_of, see_also, short_example, summary, user_names

root = Path(__file__).resolve().parent.parent
base = 'https://fastai-auroc.github.io/fastai_auroc/'
repository = 'https://github.com/fastai-auroc/fastai_auroc/blob/main/'
version = re.search("__version__ = ['\"](.+)['\"]", (root/'fastai_auroc/__init__.py').read_text())[1]
# What a user wants to do, and the pages for that: rooms by the names of their modules, tutorials by those of their files
tasks = {}
tasks['Add the column'] = dict(metric='AUROC and AveragePrecision', callback_fns='callback_fns', tabular='Tabular data', text='Text', vision='Images',
    averaging='Why not average over batches?', kaggle='Kaggle')
tasks['Scores and curves'] = dict(roc='auroc_score and roc_curve', streaming='StreamingAUC', buckets='Count in constant memory')
tasks['Intervals and tests'] = dict(confidence='Confidence intervals and tests', intervals='Many classes and patients')
tasks['Precision-recall'] = dict(pr='average_precision and pr_curve', pr_plots='plot_pr', rare_events='Rare events')
tasks['Groups'] = dict(groups='Scores within groups', tutorial_groups='Groups and fairness')
tasks['Thresholds and plots'] = dict(plots='plot_roc and plot_aum', interpret='ROCInterpretation', callbacks='ShowROCCallback',
    history='history and plot_history', thresholds='Rules for thresholds', threshold='Choose a threshold')
tasks['Losses and samplers'] = dict(losses='Losses', top_losses='Losses of partial areas and average precision', mixed='MixedLoss', dice='SoftDiceLoss', samplers='balance_batches and StratifiedBatchSampler',
    linesearch='AUMLineSearch', aum_mnist='AUM on MNIST')
tasks['Which loss?'] = dict(which_loss='Which loss?')
tasks['fastai 1'] = dict(fastai1='The columns in fastai 1', fastai1_to_fastai2='From fastai 1 to fastai 2')
tasks['Many processes'] = dict(distributed='Rows of all processes')
tasks['Data sets'] = dict(datasets='Data sets')
tasks['Comparison with other libraries'] = dict(peers='Comparison with other libraries')

def _page(path):
    "Where a notebook's page is: numbers are for files, not for readers"
    name = re.sub(r'^\d+[a-z]?_', '', path.stem)
    return f'tutorials/{name}' if path.parent.name == 'tutorials' else name

def _notebooks():
    "The notebook of each page"
    paths = [root/'nbs/index.ipynb', *sorted((root/'nbs').glob('[0-9]*.ipynb')), *sorted((root/'nbs/tutorials').glob('*.ipynb')), root/'benchmarks/peers.ipynb']
    return {_page(o):o for o in paths}

notebooks = _notebooks()

def _page_of(name):
    "The page of an entry of `tasks`"
    return next(o for o in (name if name in notebooks and not name.startswith('tutorial_') else '', f"tutorials/{name.removeprefix('tutorial_')}") if o in notebooks)

def _title(page): return re.search('^# (.+)$', '\n'.join(o.source for o in nbformat.read(notebooks[page], as_version=4).cells[:3]), re.M)[1].replace('`', '')

def navigation():
    "Titles of sections, and of each the pages with their titles"
    res = {task:{_page_of(o):title for o,title in pages.items()} for task,pages in tasks.items()}
    named = {page for pages in res.values() for page in pages}
    left = [o for o in notebooks if o not in named and o != 'index']
    other = {o:_title(o) for o in left if o.startswith('tutorials/')}
    if other: res['Other tools'] = other
    res['How it works'] = {o:_title(o) for o in left if not o.startswith('tutorials/')}
    return res

# Links

def _linked(text, up=''):
    "`text` with links to notebooks and to the site's own address turned into links between pages"
    text = re.sub(r'\]\(((?:\.\./)?(?:tutorials/)?)(\d+[a-z]?_)?(\w+)\.html(#[\w.-]+)?\)', lambda m: f"]({m[1]}{m[3]}.md{(m[4] or '').lower()})", text)
    text = re.sub(rf'\]\({re.escape(base)}([\w/]+)\.html(#[\w.-]+)?\)', lambda m: f"]({up}{m[1]}.md{(m[2] or '').lower()})", text)
    text = text.replace(f']({repository}benchmarks/peers.ipynb)', f']({up}peers.md)').replace(f']({repository}CHANGELOG.md)', f']({up}changelog.md)')
    return re.sub(rf'\]\({re.escape(repository)}nbs/(tutorials/)?(\d+[a-z]?_)?(\w+)\.ipynb\)', lambda m: f"]({up}{m[1] or ''}{m[3]}.md)", text)

def _address(name, module=None):
    "The page and place of a public name"
    room = room_of(name, module).name
    return f'{room}.md#{anchor(name)}'

_public = {name for room in rooms.values() for name in room.public}

def _with_names(text, page):
    "`text` in which names of ours in code marks are links to their pages"
    def linked(m):
        name = m[2]
        if name not in _public or m[1] or m[0].startswith('['): return m[0]
        address = _address(name)
        if address.partition('.md')[0] == page: return m[0]
        return f"[`{m[2]}{m[3]}`]({'../' if '/' in page else ''}{address})"
    def in_line(line):
        if line.startswith('#'): return line
        parts = re.split(r'(\[[^\]]*\]\([^)]*\))', line)  # links stay as they are
        return ''.join(o if o.startswith('[') and '](' in o else re.sub(r'(``)?`(\w+)((?:\(\))?)`', linked, o) for o in parts)
    blocks = re.split(r'(^```.*?^```$)', text, flags=re.M | re.S)
    return ''.join(o if o.startswith('```') else '\n'.join(map(in_line, o.split('\n'))) for o in blocks)

def _width(file):
    "The mark of a picture that a narrow screen scrolls, since its text would be too small"
    width = int.from_bytes(file.read_bytes()[16:20], 'big')  # in pixels, of a PNG
    return '{ .wide }' if width > 700 else ''

def _with_pictures(text, folder):
    "`text` with pictures of the repository copied into `folder`, since a page asks no other host"
    def copied(m):
        file = Path(shutil.copy(root/m[1], folder/'images'))
        return f'](images/{file.name}){_width(file)}'
    return re.sub(r'\]\(https://github\.com/fastai-auroc/fastai_auroc/raw/main/([\w/]+\.png)\)', copied, text)

def _with_formulas(text):
    "`text` with LaTeX as MathML, which needs no script"
    text = re.sub(r'\$\$(.+?)\$\$', lambda m: '\n' + convert(m[1].strip(), display='block') + '\n', text, flags=re.S)
    return re.sub(r'(?<![\\$`\w])\$([^$\n`]+)\$(?![\w`])', lambda m: f'<span>{convert(m[1])}</span>', text)  # Markdown takes a line that begins with <math> for a block

# Parts of a page

def _is_table(text):
    "Whether columns of a printed text stand below one another"
    return sum(bool(re.search(r'\S {2,}\S', line)) for line in text.splitlines()) > 1

def _joined(outputs):
    "Outputs in which texts printed one after another are one"
    res = []
    for o in outputs:
        goes_on = res and all(x['output_type'] == 'stream' for x in (o, res[-1])) and o['name'] == res[-1]['name']
        if goes_on: res[-1] = res[-1] | dict(text=res[-1]['text'] + o['text'])
        else: res.append(o)
    return res

def _output(o, name, folder, alt):
    "An output of a cell as Markdown"
    data = o.get('data', {})
    if 'image/png' in data:
        file = folder/'images'/f'{name}-{len(list((folder/"images").glob(f"{name}-*")))}.png'
        file.write_bytes(base64.b64decode(data['image/png']))
        return f'![{alt}](images/{file.name}){_width(file)}'
    page = data.get('text/html') or data.get('text/markdown', '')
    if '<table' in page: return '\n'.join(line.strip() for line in re.sub(r'<table[^>]*>', '<table>', re.search('<table.*</table>', page, re.S)[0]).splitlines())
    if '<style' in page: return ''
    if 'text/markdown' in data: return data['text/markdown']
    text = data.get('text/plain', o.get('text', ''))
    if text.startswith('<IPython.core.display'): return ''  # a progress bar that has gone
    return f'<pre class="output{" columns" if _is_table(text) else ""}">{html.escape(text.rstrip())}</pre>' if text.strip() else ''

def _inline(text): return re.sub(r'`([^`]+)`', r'<code>\1</code>', html.escape(text, quote=False))

def _table(kind, heads, rows):
    "A table that a narrow screen shows as a list: each entry tells its column"
    head = ''.join(f'<th>{o}</th>' for o in heads)
    def cells(row): return ''.join(f'<td data-column="{head}">{o}</td>' if o else '<td class="empty"></td>' for head,o in zip(heads, row))
    body = '\n'.join(f'<tr>{cells(row)}</tr>' for row in rows)
    return f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'

def _code(text): return f'<code>{html.escape(text, quote=False)}</code>' if text else ''

def _sentence(text): return text[:1].upper() + text[1:] if re.match(r'[a-z]+ ', text) else text

def _card(name, module, page):
    "What a reader must know of a public name: signature, what it does, its parameters"
    card = make_card(name, module)
    short,more,raised = _docstring_parts(card.text)
    parts = [f'<pre class="signature"><code>{html.escape(card.signature, quote=False)}</code></pre>', _with_names(short, page)]
    if more: parts.append(_with_names(more, page))
    rows = [(_code(o.name), _code(o.type), _code(o.default) or 'required'*(o.name[0] != '*'), _inline(_sentence(o.meaning))) for o in card.parameters]
    if card.is_record: parts.append(_table('parameters', ['Field', 'Type', 'Meaning'], [(a, b, d) for a,b,_,d in rows]))
    elif rows: parts.append(_table('parameters', ['Parameter', 'Type', 'Default', 'Meaning'], rows))
    if card.result and (card.result.type or card.result.meaning):
        parts.append(f'**Returns** {": ".join(filter(None, [_code(card.result.type), _inline(card.result.meaning)]))}')
    if raised: parts.append('**Raises** ' + '; '.join(f'`{error}` {when}' for error,when in raised))
    if card.methods: parts.append(_table('parameters', ['Method or attribute', 'What it does'], [_method_row(name, module, o) for o in card.methods]))
    return '\n\n'.join(parts)

def _docstring_parts(text):
    "A docstring as a sentence, further text and what raises"
    short,more,raised = split_raises(text)
    return ' '.join(short.split()) + ('' if short.endswith(('.', ':', '?')) else '.'),more,raised

def _method_row(name, module, method):
    card = make_card(f'{name}.{method}', module)
    return _code(card.signature.partition('.')[2]),_inline(summary(card.text))

def _errors(pairs):
    "What raises, and the words of the error"
    return _table('errors', ['Call', 'The error says'], [(_code(call), html.escape(words, quote=False)) for call,words in pairs]) if pairs else ''

def _signs(parts):
    "What the signs mean that stand where a notebook checks a value"
    signs = [o for o in '=≈' if any(f'# {o} ' in part for part in parts)]
    return '' if not signs else '. After ' + ' and '.join(f'<code># {o}</code>' for o in signs) + ' stands what the expression is equal to, which the notebook checks.'

class Writer:
    "Writes the parts of a notebook, in the order in which they are given"
    def __init__(self, notebook, page, folder, title):
        self.notebook,self.page,self.folder = notebook,page,folder
        self.title = title if notebook.users else notebook.title
        self.name,self.up = Path(page).name,'../' if '/' in page else ''
        self.program,self.parts,self.alt,self.named,self.announced,self.said = Program(notebook),[],self.name,set(),None,[]

    def text(self, source):
        self._end_sentence()
        self.parts.append(_with_names(_with_formulas(_linked(_with_pictures(source, self.folder), self.up)), self.page))
        if source.endswith(':'): self.announced = len(self.parts)-1

    def _end_sentence(self):
        "A text that announces what is not on the page, such as an example with private names, ends in a full stop"
        i,self.announced = self.announced,None
        if i is not None and not any(self.parts[i+1:]): self.parts[i] = self.parts[i].removesuffix(':') + '.'

    def heading(self, level, text, name=None):
        if not name: self._end_sentence()
        self.alt = re.sub(r'\[`?([^`\]]*)`?\]\([^)]*\)', r'\1', text).replace('`', '')
        self.parts.append(f"{'#'*level} {_with_formulas(_linked(text, self.up))}" + (f' {{ #{anchor(name)} }}' if name else ''))

    def card(self, name, level, has_heading=False):
        beside = ' in fastai 1' if self.page == 'fastai1' and name in for_users else ''  # another class has this name
        if not has_heading: self.heading(level, f"`{name.rpartition('.')[2]}`{beside}", name)
        self.parts.append(_card(name, self.notebook.module, self.page))
        also = ', '.join(self._link(o) for o in see_also(name, self.notebook.module))
        if also: self.parts.append(_with_names(f'**See also** {also}', self.page))
        if name != self.notebook.first_name(): self.short_example(name)
        self.named.add(name)

    def _link(self, name):
        "A name in code marks, which leads to its place if that is on this page"
        here = any(o.kind == 'card' and o.content == name for o in [*self.notebook.entries, *self.notebook.internals])
        return f'[`{name}`](#{anchor(name)})' if here else f'`{name}`'

    def example(self, cell, brief=False):
        code,errors,complete = self.program.example(cell, brief)
        if code and cell.show_source: self.parts.append(f'```python\n{code}\n```')
        if code and complete or not cell.show_source: self.parts += [_linked(_output(o, self.name, self.folder, f'Picture: {self.alt}'), self.up) for o in _joined(cell.outputs)]
        self.parts.append(_errors(errors))

    def short_example(self, name):
        for code,output in short_example(name, self.notebook.module):
            self.parts.append(f'```python\n{code}\n```')
            self.program.note(code)
            if output: self.parts.append(f'<pre class="output">{html.escape(output)}</pre>')

    def _of_name(self, heading):
        "The public name that a heading consists of, if it has a card on this page"
        name = heading.strip('`')
        return name if any(o.kind == 'card' and o.content == name for o in self.notebook.entries) else None

    def entries(self, entries, shift=0, inside=False):
        "All parts, each below its headings"
        seen = []
        for headings,kind,content in entries:
            for level,text in headings:
                if (level, text) in seen: continue
                seen.append((level, text))
                name = None if inside else self._of_name(text)
                shown = f'Inside {text}' if inside and self._of_name(text) else text
                self.heading(min(level + shift, 6), shown, name)
                if name and name not in self.named: self.card(name, level, True)
            if kind == 'text': self.text(content)
            elif kind == 'code' and content not in self.said: self.example(content)
            elif kind == 'card' and content not in self.named: self.card(content, self._card_level(headings, shift, content))

    def _card_level(self, headings, shift, name):
        depth = headings[-1][0] if headings else 1
        first = name in for_users and headings and self._of_name(headings[0][1]) and '.' not in name and not make_card(name, self.notebook.module).is_record
        return 2 if first and not shift else min(depth + shift, 5) + 1

    def start(self, entries):
        "The examples at the top; those that stand right below a card are not said again"
        if self.notebook.first_name(): return self.short_example(self.notebook.first_name())
        cells = self.notebook.start()
        below_card = [o for before,o in zip(entries, entries[1:]) if before.kind == 'card' and before.headings == o.headings]
        self.said = [o.content for o in below_card if o.kind == 'code' and o.content in cells]
        for o in cells: self.example(o, o not in self.said)

    def write(self, source):
        "The page of the notebook"
        notebook = self.notebook
        self.parts.append(f'# {self.title}\n\n> {_with_names(notebook.summary or "", self.page)}')
        entries = _cards_first(notebook.entries, first_sections.get(notebook.module)) if notebook.users else notebook.entries
        self.start(entries)
        self.entries(entries)
        if notebook.internals:
            self.heading(2, 'How it works')
            self.entries(notebook.internals, 1, True)
        self._end_sentence()
        self.parts.append(f'<p class="source">Source of this page: <a href="{repository}{source}">{source}</a>{_signs(self.parts)}</p>')
        return '\n\n'.join(_without_empty_sections(filter(None, self.parts))) + '\n'

def _without_empty_sections(parts):
    "Parts of a page without headings that have nothing below them"
    parts = [(o, len(found[0]) if (found := re.match('#+(?= )', o)) else 0 if o.startswith('<p class="source"') else 9) for o in parts]
    below = [level for _,level in parts[1:]] + [0]
    kept = [part for part,after in zip(parts, below) if part[1] in (0, 9) or after > part[1]]
    return [o for o,_ in kept] if len(kept) == len(parts) else _without_empty_sections(o for o,_ in kept)

def _cards_first(entries, first=None):
    "Sections with public names before those without, that of the name `first` before all; a record below what returns it"
    groups = {}
    for o in entries: groups.setdefault(o.headings[:1], []).append(o)
    has_card = {key:any(o.kind == 'card' for o in group) for key,group in groups.items()}
    def place(key): return 0 if not key else 1 if any(o.content == first for o in groups[key]) else 2 if has_card[key] else 3
    return [o for key in sorted(groups, key=place) for o in groups[key]]

config = '''[project]
site_name = "fastai_auroc"
site_description = "An exact, epoch-level AUROC column for any fastai Learner"
site_url = "{base}"
copyright = "fastai_auroc {version}"
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
extra_css = ["style.css"]
nav = [
{nav}
]
[project.theme]
language = "en"
font = false
features = ["content.code.copy", "navigation.footer", "navigation.top", "navigation.tracking", "search.highlight", "toc.follow"]
[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Switch to dark mode"
[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Switch to light mode"
[project.markdown_extensions]
attr_list = {{}}
md_in_html = {{}}
tables = {{}}
toc.permalink = true
pymdownx.highlight.anchor_linenums = false
pymdownx.superfences = {{}}
'''

def _all_names(nav):
    "A page of all public names, one line each, by task"
    parts = ['# All names', f'> What fastai_auroc {version} offers, by task']
    parts.append('`from fastai_auroc.all import *` brings all names but those marked by the module that has them. Each name leads to its parameters and examples.')
    for task,pages in nav.items():
        rows = []
        for page in pages:
            for name in sorted(user_names(page), key=lambda o: make_card(o, page).is_record):
                where = f' (`fastai_auroc.{page}`)' if name not in star_names or page == 'fastai1' else ''
                text = summary(make_card(name, page).text)
                rows.append(f"- [`{name}`]({page}.md#{anchor(name)}){where}: {text}")
                if name == 'auroc_score': rows.append(f'- [`auc_roc_score`]({page}.md#{anchor(name)}): another name of `auroc_score`, that of fastai 1')
        if rows: parts += [f'## {task}', '\n'.join(rows)]
    return '\n\n'.join(parts) + '\n'

def _nav_lines(nav):
    lines = ['  { "Home" = "index.md" },']
    for task,pages in nav.items():
        if len(pages) == 1 and task in pages.values(): lines.append(f'  {{ "{task}" = "{[*pages][0]}.md" }},')
        else: lines += [f'  {{ "{task}" = [', *(f'    {{ "{title}" = "{page}.md" }},' for page,title in pages.items()), '  ] },']
    return '\n'.join([*lines, '  { "All names" = "names.md" },', '  { "Changelog" = "changelog.md" },'])

def _for_search(items, first):
    """What search looks at, and ranks: it prefers words that stand early in the path

    What is inside of "How it works" is left to the pages, so names for users come before others. `first` comes before
    pages whose titles match as well."""
    inside = {}
    for o in items:
        page = o['location'].partition('#')[0]
        of_internals = o['path'][:1] == ['How it works']
        if of_internals: o['path'] = o['path'][:1]
        if page == first: o['path'] = o['path'][-1:]
        if not inside.get(page): yield o
        inside[page] = inside.get(page) or of_internals or (o['level'] == 2 and o['title'] == 'How it works')

def build(work):
    "Build everything in the folder `work`, then put the site into site/"
    pages = work/'pages'
    for folder in (pages, pages/'tutorials'): (folder/'images').mkdir(parents=True)
    shutil.copy(root/'docs/style.css', pages)
    nav = navigation()
    titles = {page:title for named in nav.values() for page,title in named.items()}
    for page,path in notebooks.items():
        notebook = Notebook(nbformat.read(path, as_version=4), page)
        writer = Writer(notebook, page, (pages/page).parent, titles.get(page))
        (pages/f'{page}.md').write_text(writer.write(str(path.relative_to(root))), encoding='utf-8')
        if writer.program.missing: print(f'{page}: nothing binds {sorted(writer.program.missing)}')
    (pages/'names.md').write_text(_all_names(nav), encoding='utf-8')
    (pages/'changelog.md').write_text(_linked((root/'CHANGELOG.md').read_text(encoding='utf-8')), encoding='utf-8')
    (work/'zensical.toml').write_text(config.format(base=base, version=version, nav=_nav_lines(nav)), encoding='utf-8')
    subprocess.run([Path(sys.executable).with_name('zensical'), 'build', '--clean'], cwd=work, check=True)
    index = work/'site/search.json'
    found = json.loads(index.read_text(encoding='utf-8'))
    found['items'] = [*_for_search(found['items'], 'metric.html')]
    index.write_text(json.dumps(found, ensure_ascii=False), encoding='utf-8')
    lost = work/'site/404.html'
    text,place = lost.read_text(encoding='utf-8'),'/' + base.split('/', 3)[3]
    said = f'<h1>Page not found</h1>\n<p>It may have moved: see <a href="{place}index.html">the home page</a>, <a href="{place}names.html">all names</a>, or search.</p>'
    lost.write_text(re.sub('<h1>404[^<]*</h1>', said, text), encoding='utf-8')
    shutil.rmtree(root/'site', ignore_errors=True)
    for page in pages.rglob('*.md'):  # where the docstrings of modules point to
        text = re.sub(r'\]\(([\w./]+)\.md([)#])', r'](\1.html.md\2', page.read_text(encoding='utf-8'))
        (work/'site'/page.relative_to(pages)).with_suffix('.html.md').write_text(text, encoding='utf-8')
    shutil.copytree(work/'site', root/'site')

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder: build(Path(folder))
    print(f"{len(list((root/'site').rglob('*.html')))} pages in site/")
