"The built web site in a real browser: every page loads by itself alone, links and search work, pictures are described, a phone can show it."
import functools, http.server, re, shutil, threading
from pathlib import Path
from urllib.parse import urldefrag
import pytest

sync_playwright = pytest.importorskip('playwright.sync_api').sync_playwright
root = Path(__file__).parents[2]
site = root/'site'
browser_path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
if not browser_path: pytest.skip('no chromium on this machine: apt-get install chromium', allow_module_level=True)
pages = sorted(str(p.relative_to(site)) for p in site.rglob('*.html') if p.name != '404.html')

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='session')
def address():
    "The site, served on this machine"
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()

@pytest.fixture(scope='session')
def browser():
    with sync_playwright() as p:
        running = p.chromium.launch(executable_path=browser_path, args=['--no-sandbox'])
        yield running
        running.close()

@pytest.fixture
def visit(browser, address):
    "Opens a page; what went wrong on it is in `faults`"
    contexts = []
    def go(name, width=1280, **kwargs):
        context = browser.new_context(viewport=dict(width=width, height=900), **kwargs)
        contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on('console', lambda m: page.faults.append(m.text) if m.type in ('error', 'warning') else None)
        page.on('pageerror', lambda e: page.faults.append(str(e)))
        page.on('request', lambda r: None if r.url.startswith((address, 'data:', 'blob:')) else page.faults.append(f'asks {r.url}'))
        page.on('response', lambda r: page.faults.append(f'{r.status} {r.url}') if r.status >= 400 else None)
        page.goto(address+name)
        page.wait_for_load_state('networkidle')
        return page
    yield go
    for o in contexts: o.close()

def test_pages_are_all_there():
    notebooks = [p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    assert len(pages) == len(notebooks)+1 >= 20 and 'peers.html' in pages

@pytest.mark.parametrize('name', pages)
def test_page(name, visit):
    "It loads without a fault and from nowhere else, has a title, and describes its pictures"
    page = visit(name)
    assert page.faults == []
    assert page.locator('h1').count() == 1 and page.locator('h1').inner_text().strip()
    assert page.evaluate('[...document.images].every(o => o.alt && o.naturalWidth > 0)')
    text = page.locator('article').inner_text()
    assert '#|' not in text and '$$' not in text and len(text) > 300

def test_introductions(visit):
    "What a notebook says below its title comes before the first heading; of one page that is a table"
    for name,text in dict(losses='flat almost everywhere', samplers='more than a quarter of all batches').items():
        assert text in visit(f'{name}.html').locator('article').inner_text(), name
    page = visit('tutorials/which_loss.html')
    assert page.locator('blockquote ~ *, blockquote ~ div > table').first.locator('xpath=descendant-or-self::table').count() == 1

@pytest.mark.parametrize('name', pages)
def test_phone(name, visit):
    "Nothing but code and wide tables is wider than the screen"
    page = visit(name, width=390)
    assert page.evaluate('document.documentElement.scrollWidth') <= 390 and page.faults == []

def test_links(visit, address):
    "Each link to the site leads to a page that is there, and to a place on it"
    ids,links = {},set()
    for name in pages:
        page = visit(name)
        ids[name] = set(page.evaluate('[...document.querySelectorAll("[id]")].map(o => o.id)'))
        links |= {(name, o) for o in page.evaluate('[...document.querySelectorAll("article a[href], nav a[href]")].map(o => o.href)') if o.startswith(address)}
    assert len(links) > 100
    lost = [(name, o) for name,o in links for path,place in [urldefrag(o[len(address):])]
        if (path or 'index.html') not in ids or place and place not in ids[path or 'index.html']]
    assert lost == []

def test_signatures(visit):
    "A public name stands on its page with its documented arguments"
    text = visit('roc.html').locator('article').inner_text()
    assert 'max_fpr' in text and 'Standardised partial area up to this false positive rate' in text
    assert 'def update_state' in visit('streaming.html').locator('article').inner_text()

def test_signature_of_fastai1(visit):
    text = visit('fastai1.html').locator('article').inner_text()
    if (root/'.venv-fastai1').exists(): assert 'def AUROC(' in text and 'Label of rows to leave out' in text

def test_docstrings(visit, address):
    "Names in docstrings link to their pages, and so do the modules' own docstrings"
    links = visit('confidence.html').evaluate('[...document.querySelectorAll("article a[href]")].map(o => o.href)')
    assert f'{address}roc.html#auroc_score' in links
    addresses = {re.search(r'Docs: https://[^/]+/fastai_auroc/(\S+?)"*$', p.read_text(), re.M)[1] for p in (root/'fastai_auroc').glob('*.py') if 'Docs: ' in p.read_text()}
    assert len(addresses) >= 11 and all(len((site/o).read_text()) > 1000 for o in addresses)

def test_table_of_peers(visit):
    "Each case has an entry for each library"
    page = visit('peers.html')
    rows = page.locator('table').last.locator('tr')
    assert [o.strip() for o in rows.first.locator('th').all_inner_texts()][2:] == ['fastai_auroc','scikit-learn','torchmetrics','torcheval','keras','libauc','fastai']
    assert rows.count() >= 13 and '' not in page.locator('table').last.locator('tr:not(:last-child) td').all_inner_texts()

def test_search(visit):
    page = visit('index.html')
    page.keyboard.press('Control+k')
    page.keyboard.type('StratifiedBatchSampler', delay=10)
    # Results come from another thread, letter by letter: wait until the first is one of the whole word
    page.locator('a[href*="?h="]').first.filter(has_text='StratifiedBatchSampler').wait_for(timeout=30_000)
    page.keyboard.press('Enter')
    page.wait_for_url('**/samplers.html*', timeout=30_000)

def test_dark_mode(visit):
    "The site follows the system's colours"
    colour = 'getComputedStyle(document.body).backgroundColor'
    light,dark = (visit('index.html', color_scheme=o).evaluate(colour) for o in ('light', 'dark'))
    assert light != dark
