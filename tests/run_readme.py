"Run the Python blocks of README.md one after the other, as a reader would in one notebook: `python run_readme.py README.md` in any folder"
import re, sys
from pathlib import Path

def blocks(text):
    "Its Python code"
    return re.findall(r'^```python\n(.*?)^```$', text, re.S | re.M)

def run_blocks(text, rows=None, expected_fits=1):
    "Run the blocks of `text` with the names of those before, on the first `rows` of the data; each table of a training must have each column once"
    from fastai.learner import Learner
    from fastai_auroc import datasets
    fit,adult,tables = Learner.fit,datasets.adult,[]
    def recorded_fit(learn, *args, **kwargs):
        fit(learn, *args, **kwargs)
        tables.append(list(learn.recorder.metric_names))
        print(*tables[-1])
        assert len(set(tables[-1])) == len(tables[-1]), f'columns twice: {tables[-1]}'
        assert all(value == value for epoch in learn.recorder.values for value in epoch), f'NaN: {learn.recorder.values}'
    Learner.fit = recorded_fit
    datasets.adult = lambda: adult()[:rows]
    names = {'__name__':'__main__'}
    for i,block in enumerate(blocks(text), 1): exec(compile(block, f'README.md, Python block {i}', 'exec'), names)
    assert len(tables) >= expected_fits, f'{len(tables)} trainings'
    print('README runs')

if __name__ == '__main__': run_blocks(Path(sys.argv[1]).read_text(encoding='utf-8'), expected_fits=5)
