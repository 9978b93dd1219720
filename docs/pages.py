"Build the web site into site/: notebooks become pages with the help of nbdev, pages a site with the help of Zensical. Run: make docs"
import base64, html, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path
import nbformat, yaml
from latex2mathml.converter import convert

root = Path(__file__).resolve().parent.parent
base = 'https://fastai-auroc.github.io/fastai_auroc/'
fastai1 = root/'.venv-fastai1/bin/python'  # whose page has signatures where this is
tutorials = dict(tabular='Tabular', text='Text', vision='Vision', which_loss='Which loss should I use?', aum_mnist='AUM on MNIST', averaging='Why not average over batches?',
    rare_events='Rare events', threshold='Choosing a threshold', groups='Groups and fairness', intervals='Intervals for many classes and patients',
    fastai1_to_fastai2='fastai 1 to fastai 2', kaggle='Kaggle')

def _page(name):
    "Where a notebook's page is: numbers are for files, not for readers"
    return re.sub(r'^\d+[a-z]?_', '', name)

def _keep_introduction(path):
    "Give what follows the title and the summary of a notebook a cell of its own: nbdev drops what is left of theirs"
    nb = nbformat.read(path, as_version=4)
    i = next((i for i,o in enumerate(nb.cells) if o.cell_type == 'markdown' and o.source.startswith('# ')), None)
    if i is None: return
    title,rest = re.fullmatch(r'(# [^\n]+(?:\n+> [^\n]+)?)\n*(.*)', nb.cells[i].source, re.S).groups()
    if not rest: return
    nb.cells[i].source = title
    nb.cells.insert(i+1, nbformat.v4.new_markdown_cell(rest))
    nbformat.write(nb, path)

def _linked(text, up=''):
    "`text` with links to notebooks and to the site's own address turned into links between pages"
    text = re.sub(r'\]\(((?:\.\./)?(?:tutorials/)?)(\d+[a-z]?_)?(\w+)\.html(#[\w.-]+)?\)', lambda m: f"]({m[1]}{m[3]}.md{m[4] or ''})", text)
    text = re.sub(rf'\]\({re.escape(base)}([\w/]+)\.html(#[\w.-]+)?\)', lambda m: f"]({up}{m[1]}.md{(m[2] or '').lower()})", text)
    text = text.replace('fastai1.md#auroc', 'metric.md#auroc')  # of two classes of one name nbdev knows the last
    repo = r'https://github\.com/fastai-auroc/fastai_auroc/blob/main/nbs/'
    text = text.replace('](https://github.com/fastai-auroc/fastai_auroc/blob/main/benchmarks/peers.ipynb)', f']({up}peers.md)')
    return re.sub(rf'\]\({repo}(tutorials/)?(\d+[a-z]?_)?(\w+)\.ipynb\)', lambda m: f"]({up}{m[1] or ''}{m[3]}.md)", text)

def _with_pictures(text, folder):
    "`text` with pictures of the repository copied into `folder`, since a page asks no other host"
    def copied(m): return f"](images/{Path(shutil.copy(root/m[1], folder/'images')).name})"
    return re.sub(r'\]\(https://github\.com/fastai-auroc/fastai_auroc/raw/main/([\w/]+\.png)\)', copied, text)

def _with_formulas(text):
    "`text` with LaTeX as MathML, which needs no script"
    text = re.sub(r'\$\$(.+?)\$\$', lambda m: '\n' + convert(m[1].strip(), display='block') + '\n', text, flags=re.S)
    return re.sub(r'(?<![\\$`\w])\$([^$\n`]+)\$(?![\w`])', lambda m: convert(m[1]), text)

def _output(o, name, folder, alt):
    "An output of a cell as Markdown"
    data = o.get('data', {})
    if 'image/png' in data:
        file = folder/'images'/f'{name}-{len(list((folder/"images").glob(f"{name}-*")))}.png'
        file.write_bytes(base64.b64decode(data['image/png']))
        return f'![{alt}](images/{file.name})'
    page = data.get('text/html') or data.get('text/markdown', '')
    if '<table' in page: return '\n'.join(line.strip() for line in re.sub(r'<table[^>]*>', '<table>', re.search('<table.*</table>', page, re.S)[0]).splitlines())
    if '<style' in page: return ''
    if 'text/markdown' in data: return data['text/markdown'].replace('->__main__.', '->')
    text = data.get('text/plain', o.get('text', ''))
    if text.startswith('<IPython.core.display'): return ''  # a progress bar that has gone
    return f'<pre class="output">{html.escape(text.rstrip())}</pre>' if text.strip() else ''

def _write(nb, name, folder, up=''):
    "Write a notebook as a page into `folder`"
    parts,heading = [],name
    for cell in nb.cells:
        if cell.cell_type == 'raw':
            about = yaml.safe_load(cell.source.strip().strip('-'))
            parts.append(f"# {about['title']}\n\n> {about.get('description', '')}")
            continue
        if cell.cell_type == 'markdown':
            found = re.findall('^#+ (.+)$', cell.source, re.M)
            if found: heading = re.sub(r'\[`?([^`\]]*)`?\]\([^)]*\)', r'\1', found[-1]).strip('`')
            parts.append(_with_formulas(_linked(_with_pictures(cell.source, folder), up)))
            continue
        directives = [line for line in cell.source.splitlines() if line.startswith('#|')]
        if any(o.split()[1] in ('hide', 'export', 'default_exp') for o in directives): continue
        source = '\n'.join(line for line in cell.source.splitlines() if line not in directives).strip()
        if source and not any('echo: false' in o for o in directives): parts.append(f'```python\n{source}\n```')
        if not any('hide_output' in o for o in directives): parts += [_linked(_output(o, name, folder, f'Picture: {heading}'), up) for o in cell.get('outputs', [])]
    (folder/f'{name}.md').write_text('\n\n'.join(filter(None, parts))+'\n', encoding='utf-8')

config = '''[project]
site_name = "fastai_auroc"
site_description = "An exact, epoch-level AUROC column for any fastai Learner"
site_url = "{base}"
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
features = ["content.code.copy", "navigation.top", "navigation.tracking", "search.highlight", "toc.follow"]
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

def build(work):
    "Build everything in the folder `work`, then put the site into site/"
    for name in ('nbs', 'fastai_auroc'): shutil.copytree(root/name, work/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', 'docstrings.json'))
    shutil.copy(root/'pyproject.toml', work)
    for path in (work/'nbs').rglob('*.ipynb'): _keep_introduction(path)
    process = 'from nbdev.serve import proc_nbs; proc_nbs('
    if fastai1.exists(): subprocess.run([fastai1, '-W', 'ignore', '-c', process + "file_re='13_fastai1')"], cwd=work, check=True, env=os.environ | {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD':'1'})
    subprocess.run([sys.executable, '-W', 'ignore', '-c', process + "skip_file_re='13_fastai1')"], cwd=work, check=True)
    pages = work/'pages'
    for folder in (pages, pages/'tutorials'): (folder/'images').mkdir(parents=True)
    shutil.copy(root/'docs/style.css', pages)
    modules = sorted(p.stem for p in (root/'nbs').glob('[0-9]*.ipynb'))
    for name in ['index', *modules, *(f'tutorials/{o}' for o in tutorials)]:
        done,source = work/'_proc'/f'{name}.ipynb',work/'nbs'/f'{name}.ipynb'
        nb = nbformat.read(done if done.exists() else source, as_version=4)
        folder = pages/'tutorials' if '/' in name else pages
        _write(nb, _page(Path(name).name), folder, '../' if '/' in name else '')
    _write(nbformat.read(root/'benchmarks/peers.ipynb', as_version=4), 'peers', pages)
    nav = ['  { "Home" = "index.md" },', '  { "Tutorials" = [', *(f'    {{ "{title}" = "tutorials/{o}.md" }},' for o,title in tutorials.items()), '  ] },',
        '  { "Reference" = [', *(f'    {{ "{_page(o)}" = "{_page(o)}.md" }},' for o in modules), '  ] },', '  { "Peers" = "peers.md" },']
    (work/'zensical.toml').write_text(config.format(base=base, nav='\n'.join(nav)), encoding='utf-8')
    subprocess.run([Path(sys.executable).with_name('zensical'), 'build', '--clean'], cwd=work, check=True)
    shutil.rmtree(root/'site', ignore_errors=True)
    for page in pages.rglob('*.md'):  # where nbdev's docstrings of modules point to
        text = re.sub(r'\]\(([\w./]+)\.md([)#])', r'](\1.html.md\2', page.read_text(encoding='utf-8'))
        (work/'site'/page.relative_to(pages)).with_suffix('.html.md').write_text(text, encoding='utf-8')
    shutil.copytree(work/'site', root/'site')

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder: build(Path(folder))
    print(f"{len(list((root/'site').rglob('*.html')))} pages in site/")
