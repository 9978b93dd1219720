"What the project says about gains of losses and samplers stands on one page, from measurements, and nothing else says otherwise."
import ast, importlib.util, json, re
from pathlib import Path
import pytest

root = Path(__file__).parent.parent
page = root/'nbs/tutorials/which_loss.ipynb'

def cells(path, kind=None):
    "Sources of a notebook's cells"
    return [''.join(o['source']) for o in json.loads(path.read_text(encoding='utf-8'))['cells'] if kind in (None, o['cell_type'])]

def said(path):
    "What a file says to readers, on one line: the cells of a notebook, all of a text, the docstrings of a module"
    if path.suffix == '.ipynb': text = ' '.join(cells(path))
    elif path.suffix == '.py': text = ' '.join(ast.get_docstring(o) or '' for o in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(o, (ast.Module, ast.ClassDef, ast.FunctionDef)))
    else: text = path.read_text(encoding='utf-8')
    return re.sub(r'\s+', ' ', text).lower()

notebooks = sorted((root/'nbs').rglob('*.ipynb'))
texts = [o for o in [*notebooks, *root.glob('*.md'), *(root/'benchmarks').glob('*.md'), *(root/'fastai_auroc').glob('*.py'), *(root/'examples').glob('*.py')]
    if '.ipynb_checkpoints' not in o.parts]

@pytest.mark.parametrize('claim', [
    'probabilities meaningful', 'meaningful probabilities', 'balance the batches first', 'balanced batches gain as much', 'the safest of them',
    'may optimise auroc', 'so that auroc rises', 'or average precision, rises', 'is worth a try', 'recipe raised', 'improves auroc', 'boosts auroc',
    'two tasks, five seeds', 'compares them on two tasks', 'none does by itself on both', 'know when that pays', 'does no harm on probabilities',
    'cross-entropy little of rare classes', 'may gain something'])
def test_old_claims_are_gone(claim):
    "They rested on two data sets and five seeds, or on nothing"
    assert [str(o.relative_to(root)) for o in texts if claim in said(o)] == []

@pytest.mark.parametrize('name', ['index', '17f_mixed', '17g_top_losses', '18_losses', '20_samplers', '21_linesearch', 'tutorials/aum_mnist'])
def test_pages_lead_to_the_evidence(name): assert 'which_loss.' in said(root/f'nbs/{name}.ipynb')

def test_decision_table_comes_first():
    "Title, summary, table: who reads no further knows what to do"
    title,summary,table = re.split(r'\n\n+', cells(page)[0])[:3]
    assert title == '# Which loss should I use?' and summary.startswith('> After this page you can ') and '\n' not in summary
    head,line,*rows = table.split('\n')
    assert [o.strip() for o in head.strip('|').split('|')] == ['rows to train on', 'prevalence', 'you report', 'do', 'expected gain, with its 95 % interval']
    assert len(rows) >= 3 and all(o.count('|') == head.count('|') for o in [line, *rows])

@pytest.fixture
def pages(monkeypatch):
    "What builds the site"
    pytest.importorskip('latex2mathml')
    monkeypatch.syspath_prepend(root/'docs')
    spec = importlib.util.spec_from_file_location('pages', root/'docs/pages.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_page_is_on_the_site(pages):
    "Under its task, and so is every tutorial"
    nav = pages.navigation()
    assert [*nav['Which loss?']] == ['tutorials/which_loss']
    listed = {o for named in nav.values() for o in named if o.startswith('tutorials/')}
    assert listed == {f'tutorials/{o.stem}' for o in notebooks if o.parent.name == 'tutorials'}

def test_site_keeps_the_table(pages, tmp_path):
    "It follows title and summary"
    (tmp_path/'images').mkdir()
    text = pages.Writer(pages.Notebook(pages.nbformat.read(page, as_version=4)), 'tutorials/which_loss', tmp_path, None).write('which_loss.ipynb')
    first,second,third,_ = text.split('\n\n', 3)
    assert first == '# Which loss should I use?' and second.startswith('> ') and third.startswith('| rows to train on |')
    assert len(third.splitlines()) == len(re.split(r'\n\n+', cells(page)[0])[2].splitlines())

def test_site_has_pictures_of_its_own(pages, tmp_path):
    "A picture of the repository is copied to where the page looks for it"
    (tmp_path/'images').mkdir()
    text = pages._with_pictures('See ![a plot](https://github.com/fastai-auroc/fastai_auroc/raw/main/benchmarks/results/scorers.png).', tmp_path)
    assert text == 'See ![a plot](images/scorers.png){ .wide }.'
    assert (tmp_path/'images/scorers.png').read_bytes() == (root/'benchmarks/results/scorers.png').read_bytes()

def test_tutorials_read_no_results():
    "They run without the benchmarks, which the package does not hold"
    assert [o.stem for o in notebooks if o.parent.name == 'tutorials' and any('benchmarks' in code for code in cells(o, 'code'))] == []

def test_page_is_filled_in():
    "With numbers that the benchmark wrote, and with its pictures, which have a text for those who do not see them"
    text = '\n'.join(cells(page))
    assert 'TODO' not in text
    pictures = re.findall(r'!\[([^\]]+)\]\(https://github\.com/fastai-auroc/fastai_auroc/raw/main/([\w/.]+)\)', text)
    assert [o for _,o in pictures] == ['benchmarks/results/recipes.png', 'benchmarks/results/regimes.png'] and all((root/o).is_file() for _,o in pictures)
    gains = re.findall(r'[+-]?\.\d+ \([+-]?\.\d+ to [+-]?\.\d+\)', text)
    results = (root/'benchmarks/results/recipes.md').read_text(encoding='utf-8')
    assert gains and [o for o in gains if o not in results] == []
