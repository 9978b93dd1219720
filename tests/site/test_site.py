"The built web site in a real browser: every page loads by itself alone, says all that its notebook says, links and search work, and nothing is cut off."
import ast, builtins, functools, html, http.server, inspect, json, re, shutil, symtable, threading
from pathlib import Path
from urllib.parse import urldefrag, urljoin
import pytest

sync_playwright = pytest.importorskip('playwright.sync_api').sync_playwright
markdown = pytest.importorskip('markdown').markdown
root = Path(__file__).parents[2]
site = root/'site'
browser_path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
if not browser_path: pytest.skip('no chromium on this machine: apt-get install chromium', allow_module_level=True)
pages = sorted(str(p.relative_to(site)) for p in site.rglob('*.html') if p.name != '404.html')
prefix = '/fastai_auroc'
wait = 60_000  # at most so long for what must come: a busy machine is slow

def page_of(path):
    name = re.sub(r'^\d+[a-z]?_', '', path.stem)
    return f'tutorials/{name}.html' if path.parent.name == 'tutorials' else f'{name}.html'

notebooks = {page_of(p):p for p in [*(root/'nbs').rglob('*.ipynb'), root/'benchmarks/peers.ipynb'] if '.ipynb_checkpoints' not in p.parts}
reference = [name for name,p in notebooks.items() if re.match(r'\d', p.name)]

class Handler(http.server.SimpleHTTPRequestHandler):
    "The site below its prefix, and its own page for what is not there, as GitHub Pages serve it"
    def translate_path(self, path): return super().translate_path(path.removeprefix(prefix))
    def send_error(self, code, message=None, explain=None):
        body = (site/'404.html').read_bytes()
        self.send_response(code)
        self.send_header('Content-Type', 'text/html')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass

@pytest.fixture(scope='session')
def address():
    "The site, served on this machine"
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}{prefix}/'
    server.shutdown()

@pytest.fixture(scope='session')
def browser():
    with sync_playwright() as p:
        running = p.chromium.launch(executable_path=browser_path, args=['--no-sandbox'])
        yield running
        running.close()

@pytest.fixture(scope='session')
def page(browser, address):
    "One page for all tests; what went wrong on it is in `faults`"
    page = browser.new_context(viewport=dict(width=1440, height=1000)).new_page()
    page.set_default_timeout(wait)
    page.faults = []
    page.on('console', lambda m: page.faults.append(m.text) if m.type in ('error', 'warning') else None)
    page.on('pageerror', lambda e: page.faults.append(str(e)))
    page.on('request', lambda r: None if r.url.startswith((address, 'data:', 'blob:')) else page.faults.append(f'asks {r.url}'))
    page.on('response', lambda r: page.faults.append(f'{r.status} {r.url}') if r.status >= 400 else None)
    return page

# Whatever is wider than its box and neither wraps nor scrolls, in light and dark; code and tables of parameters wrap
clipped = '''() => Object.fromEntries(['default', 'slate'].map(scheme => {
  document.body.dataset.mdColorScheme = scheme;
  const wrong = [], scrolls = o => ['auto', 'scroll'].includes(getComputedStyle(o).overflowX), name = o => `${o.tagName}.${o.className}: ${o.textContent.trim().slice(0, 60)}`;
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`page: ${document.documentElement.scrollWidth}`);
  for (const o of document.querySelectorAll('article pre, article pre code, article table, article td, article th, article .highlight, article .md-typeset__scrollwrap, article math[display=block]')) {
    if (getComputedStyle(o).display.startsWith('inline') && o.tagName == 'CODE') continue;
    const may_scroll = o.matches('.md-typeset__scrollwrap, pre.columns, math') && scrolls(o);
    if (o.scrollWidth > o.clientWidth + 1 && o.clientWidth && !may_scroll) wrong.push(name(o));
    if (!o.closest('.md-typeset__scrollwrap') && o.getBoundingClientRect().right > innerWidth + 1) wrong.push(`beyond the screen: ${name(o)}`);
  }
  return [scheme, wrong] }))'''

@pytest.fixture(scope='session')
def look(page, address):
    "What only a browser can tell of a page, in one visit"
    @functools.cache
    def look(name):
        page.faults.clear()
        page.goto(address+name)
        page.wait_for_function('[...document.images].every(o => o.complete) && [...document.querySelectorAll("article table:not([class])")].every(o => o.closest(".md-typeset__scrollwrap"))', polling=50)
        page.add_style_tag(content='* { transition: none !important; animation: none !important }')
        found = page.evaluate('''() => ({
            pictures: [...document.images].every(o => o.alt && o.naturalWidth > 0),
            signature: document.querySelector('pre.signature')?.getBoundingClientRect().top + scrollY})''')
        found['layout'] = {}
        for width in (390, 820, 1440):
            page.set_viewport_size(dict(width=width, height=1000))
            page.wait_for_function(f'innerWidth == {width}', polling=50)
            for scheme,wrong in page.evaluate(clipped).items(): found['layout'][scheme, width] = wrong
        return found | dict(faults=[*page.faults])
    return look

def without_tags(text): return html.unescape(re.sub('<[^>]*>', '', text))

@functools.cache
def read(name):
    "What the file of a page says"
    whole = (site/name).read_text(encoding='utf-8')
    article = re.search(r'<article.*?</article>', whole, re.S)[0]
    links = {place:[urljoin(name, html.unescape(o)) for o in re.findall(r'<a [^>]*?href="?([^"\s>]+)', part)] for place,part in dict(links=whole, article_links=article).items()}
    code = [without_tags(o) for o in re.findall(r'<div class="[^"]*highlight[^"]*">.*?<code[^>]*>(.*?)</code>', article, re.S)]
    return dict(html=article, text=without_tags(article), h1=re.findall('<h1[^>]*>(.*?)</h1>', article, re.S), ids=re.findall(r'\bid="?([^"\s>]+)', whole), code=code,
        footer=without_tags(re.search('<footer.*</footer>', whole, re.S)[0]), **links)

def test_pages_are_all_there(): assert {*pages} == {*notebooks, 'names.html', 'changelog.html'} and len(pages) >= 60

@pytest.mark.parametrize('name', pages)
def test_page(name, look):
    "It loads without a fault and from nowhere else, has a title, and describes its pictures"
    found,text = look(name),read(name)['text']
    assert found['faults'] == [] and found['pictures']
    assert len(read(name)['h1']) == 1 and without_tags(read(name)['h1'][0]).strip()
    assert '#|' not in text and '$$' not in text and len(text) > 300

@pytest.mark.parametrize('name', pages)
def test_nothing_is_cut_off(name, look):
    "Code and tables wrap, or scroll in their own box, on a phone, a tablet and a screen, in light and dark"
    assert {key:wrong for key,wrong in look(name)['layout'].items() if wrong} == {}

def paragraphs(path):
    "Pieces of text of a notebook's Markdown without headings, formulas and white space"
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] != 'markdown': continue
        text = markdown(''.join(cell['source']), extensions=['tables', 'fenced_code'])
        text = re.sub(r'<h[1-6]>.*?</h[1-6]>', '\n', text, flags=re.S)
        for block in re.split(r'</?(?:p|li|ul|ol|td|th|tr|table|thead|tbody|blockquote|pre|div)\b[^>]*>', text):
            block = html.unescape(re.sub(r'<[^>]*>', '', block))
            for piece in re.split(r'\$\$.*?\$\$|\$[^$\n]+\$', block, flags=re.S):
                piece = re.sub(r'\s', '', piece).removesuffix(':')  # a full stop where what follows is not on the site
                if piece: yield piece

@pytest.mark.parametrize('name', notebooks)
def test_paragraphs(name):
    "Every paragraph of the notebook stands on its page, the introduction among them"
    text,wanted = re.sub(r'\s', '', read(name)['text']),[*paragraphs(notebooks[name])]
    assert len(wanted) > 1
    assert [o for o in wanted if o not in text] == []

@pytest.mark.parametrize('name', [*notebooks])
def test_what_is_announced(name):
    "After a text that ends in a colon comes code, a table, a list, a picture, a formula or a name with its parameters"
    found = re.findall(r':</p>\s*(<(\w+)[^>]*>.{0,300})', read(name)['html'], re.S)
    wrong = [text for text,tag in found if tag == 'p' and not re.match(r'<p[^>]*>\s*<(img|math)', text) or re.match(r'h\d', tag) and '<code' not in text.partition('</h')[0]]
    assert wrong == []

@pytest.mark.parametrize('name', [*notebooks])
def test_no_section_is_empty(name):
    "Below each heading there is something before the next of its level or above"
    parts = re.findall(r'<h([1-6])|<(p|pre|table|ul|ol|div|blockquote)\b', re.sub(r'<p class="?source.*', '', read(name)['html'], flags=re.S))
    levels = [int(level or 9) for level,_ in parts] + [0]
    assert not [i for i,(level,after) in enumerate(zip(levels, levels[1:])) if after <= level < 9]

@pytest.mark.parametrize('name,shown', [('plots', '<img'), ('pr_plots', '<img'), ('history', '<table.*<img'), ('samplers', r'\[\[32, 32\]'), ('thresholds', r'OperatingPoint\(threshold=0\.35')])
def test_first_screen(name, shown):
    "The first example shows the picture, the frame, or what a batch holds"
    assert re.search(shown, read(f'{name}.html')['html'].partition('<h2')[0], re.S)

@pytest.mark.parametrize('name', reference)
def test_prose_names_nothing_private(name):
    prose = re.findall(r'<(?:p|li|td)[^>]*>(.*?)</(?:p|li|td)>', read(name)['html'], re.S)
    assert not [o for text in prose for o in re.findall(r'<code>(_[a-z]\w*)', text)]

def test_introductions():
    "The decision table stands below its page's title; `test_paragraphs` finds what the others say there"
    assert re.search('</blockquote>.*?<table', read('tutorials/which_loss.html')['html'], re.S)

def test_links():
    "Each link to the site leads to a page that is there, and to a place on it"
    ids = {name:{*read(name)['ids']} for name in pages}
    links = {(name, o) for name in pages for o in read(name)['links'] if '://' not in o}
    assert len(links) > 100
    lost = [(name, o) for name,o in links for path,place in [urldefrag(o)] if (path or 'index.html') not in ids or place and place not in ids[path or 'index.html']]
    assert lost == []

@functools.cache
def public_names():
    "Names for users, with the page of each"
    found = {}
    for line in (site/'names.html.md').read_text(encoding='utf-8').splitlines():
        m = re.match(r'- \[`(\w+)`\]\((\w+)\.html\.md#([\w.]+)\)(?: \(`fastai_auroc\.\w+`\))?: (.+)', line)
        if m: found.setdefault(m[1], (f'{m[2]}.html', m[3], m[4]))
    return found

def test_all_names():
    "All that the star import brings stands in the list, and leads to a heading"
    from fastai_auroc import all as everything
    names = {*everything.__all__} - {'vision_learner', 'unet_learner'} | {'AUMLineSearch', 'adult', 'letter', 'AUROCInterval'}
    assert names - public_names().keys() == set() and len(names) > 40
    for name,(page,place,meaning) in public_names().items():
        assert place in read(page)['ids'] and len(meaning) > 10, name
        assert name in read('names.html')['text']

def card(found, place):
    "The part of a page below a name, down to the next heading"
    return re.search(rf'<h\d id="{re.escape(place)}">(.*?)(?=<h[1-6] id|\Z)', found, re.S)[1]

def test_parameters():
    "Each parameter of a public name is a row of a table: name, type, default, meaning"
    from fastai_auroc import all as everything
    for name in {*everything.__all__} - {'vision_learner', 'unet_learner', 'auc_roc_score'}:
        page,place,_ = public_names()[name]
        part = card(read(page)['html'], place)
        signature = html.unescape(re.sub('<[^>]*>', '', re.search('<pre class="signature">(.*?)</pre>', part, re.S)[1]))
        rows = [[html.unescape(re.sub('<[^>]*>', '', o)) for o in re.findall(r'<td[^>]*>(.*?)</td>', row, re.S)] for row in re.findall('<tr>(.*?)</tr>', part, re.S)]
        rows = {row[0].lstrip('*'):row for row in rows if len(row) == 4}
        for o in inspect.signature(getattr(everything, name)).parameters.values():
            assert o.name in signature and rows[o.name][3], (name, o.name)
            if o.kind not in (o.VAR_POSITIONAL, o.VAR_KEYWORD): assert (rows[o.name][2] == 'required') == (o.default is o.empty) and rows[o.name][2], (name, o.name)

def test_signatures():
    "A public name stands on its page with its documented arguments, those of fastai 1 among them"
    text = read('roc.html')['text']
    assert 'max_fpr' in text and 'Standardised partial area up to this false positive rate' in text
    assert 'StreamingAUC.update_state(' in read('streaming.html')['text']
    text = read('fastai1.html')['text']
    assert 'AUROC(learn=None' in text and 'Label of rows to leave out' in text

for_users = [f'{o}.html' for o in ('metric', 'fastai1', 'callback_fns', 'roc', 'streaming', 'confidence', 'pr', 'pr_plots', 'groups', 'plots', 'interpret', 'callbacks', 'history',
    'losses', 'top_losses', 'mixed', 'dice', 'samplers', 'linesearch', 'distributed', 'datasets')]

@pytest.mark.parametrize('name', for_users)
def test_for_users(name, look):
    "A page begins with an example, soon comes the first name, and how it works comes last"
    text = read(name)['html']
    start,signature = (re.search(o, text).start() for o in ('class="[^"]*highlight', 'class="signature"'))
    assert start < signature and look(name)['signature'] < 1600
    sections = re.findall(r'<h2 id="([\w.-]+)"', text)
    if 'how-it-works' in sections: assert sections[-1] == 'how-it-works'

@pytest.mark.parametrize('name', reference)
def test_examples(name):
    "No check, hook or private name, and whatever an example needs stands above it"
    found = read(name)
    code = '\n'.join(found['code'])
    for word in ('test_eq(', 'test_close(', 'test_fail(', 'fastcore.test', 'before_fit(', 'after_batch('): assert word not in code
    shown = re.sub(r"""'''.*?'''|'[^']*'|"[^"]*"|#.*""", '', code, flags=re.S)
    assert {o for o in re.findall(r'(?<![\w.])_[a-z]\w*|\._[a-z]\w*', shown)} <= {'._asdict', '._replace', '._fields'}
    assert not [o for o in found['ids'] if re.match(r'_[a-z]|before_|after_', o) and not o.startswith('__')]
    known,star = {*dir(builtins)},False
    for block in found['code']:
        try: ast.parse(block)
        except SyntaxError: continue  # a command of a shell
        star |= bool(re.search(r'^from [\w.]+ import \*', block, re.M))
        table = symtable.symtable(re.sub(r'^from [\w.]+ import \*.*$', '', block, flags=re.M), '', 'exec')
        def outer(o): return {x.get_name() for x in o.get_symbols() if x.is_global()} | {x for child in o.get_children() for x in outer(child)}
        used = {o.get_name() for o in table.get_symbols() if o.is_referenced()} | {x for child in table.get_children() for x in outer(child)}
        known |= {o.get_name() for o in table.get_symbols() if o.is_assigned() or o.is_imported()}
        assert star or used <= known, (used - known, block)

def test_docstrings():
    "Names in prose link to their pages, and the modules' own docstrings to what is there"
    assert 'roc.html#auroc_score' in read('confidence.html')['article_links']
    addresses = {re.search(r'Docs: https://[^/]+/fastai_auroc/(\S+?)"*$', p.read_text(), re.M)[1] for p in (root/'fastai_auroc').glob('*.py') if 'Docs: ' in p.read_text()}
    assert len(addresses) >= 11 and all(len((site/o).read_text()) > 1000 for o in addresses)

def test_table_of_peers(page, address):
    "Each case has an entry for each library, and the table begins on the first screen"
    page.set_viewport_size(dict(width=1440, height=1000))
    page.goto(address+'peers.html')
    table = page.locator('article table').first
    rows = table.locator('tr')
    assert [o.strip() for o in rows.first.locator('th').all_inner_texts()][2:] == ['fastai_auroc','scikit-learn','torchmetrics','torcheval','keras','libauc','fastai']
    assert rows.count() >= 13 and '' not in table.locator('tr:not(:last-child) td').all_inner_texts()
    assert table.bounding_box()['y'] < 400

def test_private_names_of_other_libraries():
    "A tutorial shows what it sets in another library, and names nothing private of ours"
    assert any('fastai.callback.wandb._format_config = settings_as_text' in o for o in read('tutorials/eco_wandb.html')['code'])
    ours = {o for p in (root/'fastai_auroc').glob('*.py') for o in re.findall(r'^(?:def|class) (_\w+)', p.read_text(encoding='utf-8'), re.M)}
    shown = {name:{*re.findall(r'\b_\w+', '\n'.join(read(name)['code']))} for name in pages if name.startswith('tutorials/') or name == 'peers.html'}
    assert len(ours) > 100 and {name:found & ours for name,found in shown.items() if found & ours} == {}

tasks = ['Add the column', 'Scores and curves', 'Intervals and tests', 'Precision-recall', 'Groups', 'Thresholds and plots', 'Losses and samplers', 'Which loss?', 'fastai 1',
    'Many processes', 'Comparison with other libraries', 'How it works', 'All names', 'Changelog']

def test_navigation(page, address):
    "By task; every page is reached, knows its neighbours, its version and its source"
    page.goto(address)
    shown = [o.strip() for o in page.locator('nav.md-nav--primary > ul > li > a, nav.md-nav--primary > ul > li > label, nav.md-nav--primary > ul > li > .md-nav__link').all_inner_texts()]
    assert [o for o in shown if o in tasks] == [o for i,o in enumerate(tasks) if o not in tasks[:i]]
    reached = {urldefrag(o)[0] or 'index.html' for o in read('index.html')['links'] if '://' not in o}
    assert {*pages} <= reached
    version = re.search("__version__ = ['\"](.+)['\"]", (root/'fastai_auroc/__init__.py').read_text())[1]
    for name,path in notebooks.items():
        found = read(name)
        source = [o for o in found['article_links'] if '/blob/main/' in o and o.endswith(str(path.relative_to(root)))]
        assert len(source) >= 1 and version in found['footer'], name
        assert name == 'index.html' or 'Previous' in found['footer'] and 'Next' in found['footer'], name
    assert '## ' in (root/'CHANGELOG.md').read_text() and 'Keep a Changelog' in read('changelog.html')['text']

@pytest.mark.parametrize('path', ['nowhere.html', 'no/such/page/at/all.html'])
def test_lost(path, page, address):
    "A page that is not there says so from any path, looks like the others and leads to them"
    page.goto(address+path)
    assert page.locator('h1').inner_text() == 'Page not found'
    links = page.evaluate('[...document.querySelectorAll("a[href], link[href]")].map(o => o.href)')
    own = [urldefrag(o)[0] for o in links if o.startswith(address)]
    assert len(own) > 60 and all((site/(o[len(address):] or 'index.html')).exists() for o in own if o != page.url)
    assert not [o for o in links if o.startswith('http://127') and not o.startswith(address)]
    page.locator('article a', has_text='all names').click()
    page.wait_for_url('**/names.html')

@pytest.fixture
def search(page, address):
    "Waits for what a word finds; results come from another thread, letter by letter, and their links tell the whole word"
    page.goto(address+'names.html')
    box = page.locator('input[placeholder=Search]')
    box.wait_for(state='attached')  # the script has run
    page.keyboard.press('Control+k')
    def search(word, where=''):
        box.fill(word)
        found = page.locator(f'a[href*="{where}?h={word}"]').first
        found.wait_for()
        return found.get_attribute('href')
    return search

def test_search(search, page, address):
    "AUROC is fastai 2's class, and each public name finds its page"
    assert search('AUROC').startswith(f'{address}metric.html?h=AUROC')
    for name,(where,*_) in public_names().items(): search(name, f'{address}{where}')
    assert search('StratifiedBatchSampler').startswith(f'{address}samplers.html?h=StratifiedBatchSampler')
    page.keyboard.press('Enter')
    page.wait_for_url('**/samplers.html*')

def test_search_is_for_users():
    "Of what is inside only the pages are found"
    items = json.loads((site/'search.json').read_text(encoding='utf-8'))['items']
    internals = [o for o in items if o['path'] == ['How it works']]
    assert len(internals) > 15 and all('#' not in o['location'] for o in internals)
    assert [o['location'] for o in items if o['location'].endswith('#auroc_and_note')] == []

def test_dark_mode(browser, address):
    "The site follows the system's colours"
    colours = set()
    for scheme in ('light', 'dark'):
        page = browser.new_context(color_scheme=scheme).new_page()
        page.goto(address)
        page.wait_for_function(f'document.body.dataset.mdColorScheme == "{dict(light="default", dark="slate")[scheme]}"', timeout=wait)
        colours.add(page.evaluate('getComputedStyle(document.body).backgroundColor'))
        page.context.close()
    assert len(colours) == 2
