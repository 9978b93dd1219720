"Write README.md, and its picture, from the saved nbs/index.ipynb: what `#| hide` hides stays out, of `#| echo: false` cells only the output is shown."
import re, sys
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parent.parent

def _table(html):
    "A Markdown table from fastai's training table"
    rows = [re.findall('<t[hd]>(.*?)</t[hd]>', row) for row in re.findall('<tr>(.*?)</tr>', html)]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], ['---']*len(rows[0]), *rows[1:]])

def _visible(cell):
    "`cell` as the page shows it, None if it is hidden"
    directives = [line for line in cell.source.splitlines() if line.startswith('#|')]
    if '#| hide' in directives: return None
    cell.source = '\n'.join(line for line in cell.source.splitlines() if line not in directives)
    if '#| echo: false' in directives: cell.metadata.tags = ['echo-false']
    for o in cell.get('outputs', []):
        if '<table' in o.get('data', {}).get('text/html', ''): o.data = {'text/markdown':_table(o.data['text/html'])}
    cell.outputs = [o for o in cell.get('outputs', []) if 'text/html' not in o.get('data', {})]
    return cell

def readme():
    "The text of README.md and its pictures, a dict of names and bytes"
    nb = nbformat.read(root/'nbs/index.ipynb', as_version=4)
    nb.cells = [c for c in map(_visible, nb.cells) if c is not None and (c.source or c.get('outputs'))]
    nb.metadata.language_info = dict(name='python')
    exporter = MarkdownExporter(config=Config(NbConvertBase=dict(display_data_priority=['image/png', 'text/markdown', 'text/plain']),
        TagRemovePreprocessor=dict(enabled=True, remove_input_tags=['echo-false'])))
    text,resources = exporter.from_notebook_node(nb, resources=dict(unique_key='readme', output_files_dir='docs/images'))
    text = text.replace('![png]', '![ROC curve of the model on the validation set, above the diagonal of chance]')
    text = re.sub(r'\n +\n', '\n\n', text)
    while '\n\n\n' in text: text = text.replace('\n\n\n', '\n\n')
    return text.strip()+'\n',resources['outputs']

if __name__ == '__main__':
    text,pictures = readme()
    (root/'README.md').write_text(text, encoding='utf-8')
    for name,data in pictures.items():
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(data)
    sys.stdout.write(f"README.md and {', '.join(pictures)} written\n")
