"The code of each page runs as it stands, block after block, in an empty folder, as a reader would paste it."
import os, re, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).parents[2]
site = root/'site'
fastai1 = root/'.venv-fastai1/bin/python'
pages = sorted(str(p.relative_to(site).with_suffix('').with_suffix('')) for p in site.rglob('*.html.md'))
run_blocks = '''
import sys
from pathlib import Path
names = {'__name__':'__main__'}
for i,block in enumerate(Path(sys.argv[1]).read_text(encoding='utf-8').split('\\f'), 1): exec(compile(block, f'block {i}', 'exec'), names)
'''

def blocks(page):
    "The Python code of a page"
    return re.findall(r'^ *```python\n(.*?)^ *```$', (site/f'{page}.html.md').read_text(encoding='utf-8'), re.S | re.M)

def run(python, code, folder):
    (folder/'code.txt').write_text('\f'.join(code), encoding='utf-8')
    env = os.environ | dict(MPLBACKEND='Agg', PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1', TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1', PYTHONPATH=str(root))
    done = subprocess.run([python, '-c', run_blocks, 'code.txt'], cwd=folder, env=env, capture_output=True, text=True)
    lacks = re.search(r"ModuleNotFoundError: No module named '(\w+)", done.stderr)
    if lacks and lacks[1] not in ('fastai', 'fastai_auroc'): pytest.skip(f'needs {lacks[1]}')
    assert done.returncode == 0, done.stderr[-2000:]

@pytest.mark.slow
@pytest.mark.parametrize('page', [o for o in pages if blocks(o)])
def test_page_runs(page, tmp_path):
    "In the environment of fastai 1 what imports fastai 1, where there is one; without the packages that a page names it is skipped"
    of_fastai1 = [o for o in blocks(page) if page == 'fastai1' or 'from fastai.tabular import' in o]
    if of_fastai1 and not fastai1.exists(): pytest.skip('needs fastai 1: make setup-fastai1')
    others = [o for o in blocks(page) if o not in of_fastai1]
    if of_fastai1: run(fastai1, of_fastai1, tmp_path)
    if others: run(sys.executable, others, tmp_path)
