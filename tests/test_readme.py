"README.md holds for who pastes it: its code runs in sequence, and what it says of fastai's own metrics is so."
import json, os, re
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.metrics import APScoreBinary, RocAuc, RocAucBinary, RocAucMulti
from fastai.optimizer import SGD
from fastai.torch_core import to_detach
from sklearn.metrics import roc_auc_score
from fastai_auroc.metric import AUROC
from fresh import run_fresh
from run_readme import blocks, run_blocks

root = Path(__file__).parent.parent
readme = (root/'README.md').read_text(encoding='utf-8')

def _run_readme(folder):
    os.chdir(folder)
    torch.set_num_threads(1)
    run_blocks(readme, rows=3000, expected_fits=5)

def test_readme_runs_in_sequence(tmp_path):
    "Each block with the names of those before, in an empty folder; no training has a column twice"
    exitcode,printed = run_fresh(_run_readme, tmp_path)
    assert exitcode == 0 and 'README runs' in printed, printed

def test_readme_needs_nothing_but_the_package():
    "No block reads a file of the repository or asks the internet"
    code = '\n'.join(blocks(readme))
    assert len(blocks(readme)) >= 6 and 'datasets.adult()' in code
    assert not re.search(r'read_csv|\.\./|untar_data|URLs|pretrained', code)

def test_readme_leads_with_both_generations():
    "Side by side, before the first code"
    head,row = readme.split('```')[0],[o.strip() for o in re.search(r'^\| the column in every fit \|.*$', readme, re.M)[0].strip('|').split('|')]
    assert '| | fastai 2 | fastai 1 |' in head
    assert row[1:] == ['`metrics=AUROC()` or `cbs=AUROC()`', '`callback_fns=AUROC`']

@pytest.mark.parametrize('path', [p for p in [*sorted((root/'nbs').rglob('*.ipynb')), root/'benchmarks/peers.ipynb'] if '.ipynb_checkpoints' not in p.parts],
    ids=lambda p: p.stem)
def test_saved_tables(path):
    "Tables of trainings in saved outputs have each column once, and a row for each epoch: no failing fit has left an empty one"
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        for html in (''.join(o.get('data', {}).get('text/html', '')) for o in cell.get('outputs', ())):
            if '<th>epoch</th>' not in html or 'fastprogress' not in html: continue
            columns = re.findall('<th>(.*?)</th>', html)
            assert len(set(columns)) == len(columns) and html.count('<tr>') >= 2, f'{path.name}: {columns}'

class Fixed(torch.nn.Module):
    "A model that gives what `outputs` makes of a batch"
    def __init__(self, outputs):
        super().__init__()
        self.outputs,self.nothing = outputs,torch.nn.Parameter(torch.zeros(1))
    def forward(self, x): return self.outputs(x) + 0*self.nothing

@pytest.fixture(scope='module')
def rows():
    "Two logits of each of 1,000 rows, and their labels"
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    return torch.tensor(rng.normal(size=(1000, 2)) + np.eye(2)[y], dtype=torch.float32),torch.tensor(y)

def last_row(x, y, metrics, outputs=lambda x: x, loss=None):
    "The columns of a Learner's table after an epoch, a list of pairs"
    loader = DataLoader(list(zip(x, y)), bs=64)
    learn = Learner(DataLoaders(loader, loader), Fixed(outputs), loss_func=loss or CrossEntropyLossFlat(), metrics=metrics, opt_func=SGD)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.)
    return list(zip(learn.recorder.metric_names[3:-1], learn.recorder.values[-1][2:]))

def exact(x, y): return roc_auc_score(y, (x[:,1].double() - x[:,0].double()))

def test_fastai_gives_the_same_number(rows):
    "Its metrics keep all batches"
    x,y = rows
    (_, theirs),(_, ours) = last_row(x, y, [RocAucBinary(), AUROC()])
    assert theirs == pytest.approx(exact(x, y), abs=1e-4) and ours == pytest.approx(exact(x, y), abs=1e-12)

def test_saturated_outputs(rows):
    "fastai's softmax makes ties; its number is that of the ties"
    x,y = 40*rows[0] + torch.tensor([0, 40]),rows[1]
    (_, theirs),(_, ours) = last_row(x, y, [RocAucBinary(), AUROC()])
    assert theirs == pytest.approx(roc_auc_score(y, x.softmax(1)[:,1]), abs=1e-12) and theirs < exact(x, y) - .05
    assert ours == pytest.approx(exact(x, y), abs=1e-12)

def test_nan_ends_a_training_with_fastai(rows):
    x,y = rows
    def broken(x): return torch.where(x > 3, float('nan'), x)
    with pytest.raises(ValueError, match='NaN'): last_row(x, y, RocAucBinary(), broken)
    with pytest.warns(UserWarning, match='NaN scores'): (_, ours), = last_row(x, y, AUROC(), broken)
    assert np.isnan(ours)

def test_missing_class_ends_a_training_with_fastai(rows):
    "Three columns, but no row of the third class"
    x,y = torch.cat([rows[0], rows[0][:,:1]-1], 1),rows[1]
    with pytest.raises(ValueError, match='[Nn]umber of classes'): last_row(x, y, RocAuc())
    with pytest.warns(UserWarning, match='no positive for class 2'): (_, ours), = last_row(x, y, AUROC())
    p = x.double().softmax(1)
    assert ours == pytest.approx(np.mean([roc_auc_score(y == k, p[:,k]) for k in (0, 1)]), abs=1e-9)

def test_one_logit(rows):
    "fastai's softmax of one column is 1 for all"
    x,y = rows
    (_, theirs),(_, ours) = last_row(x, y[:,None].float(), [RocAucBinary(), AUROC()], lambda x: x[:,1:]-x[:,:1], BCEWithLogitsLossFlat())
    assert theirs == .5 and ours == pytest.approx(roc_auc_score(y, x[:,1]-x[:,0]), abs=1e-12)

def test_names(rows):
    "fastai's three have one name, and take no other"
    assert [o().name for o in (RocAucBinary, RocAuc, RocAucMulti)] == ['roc_auc_score']*3
    with pytest.raises(TypeError): RocAucBinary(name='mine')
    assert [name for name,_ in last_row(*rows, [RocAucBinary(), RocAucBinary(max_fpr=.1)])] == ['roc_auc_score']*2
    assert [name for name,_ in last_row(*rows, [AUROC(), AUROC(max_fpr=.1, name='auroc_10')])] == ['auroc', 'auroc_10']

def test_fastai_copies_each_batch(rows):
    "To the CPU and from all processes, as its default arguments say"
    told = []
    def detach(b, cpu=True, gather=True):
        told.append((cpu, gather))
        return to_detach(b)
    metric = RocAucBinary()
    metric.reset()
    for _ in range(3): metric.accumulate(SimpleNamespace(pred=rows[0], y=rows[1], to_detach=detach))
    assert told == [(True, True)]*6
    defaults = Learner.to_detach.__defaults__
    assert defaults == (True, True)

def test_average_precision_of_fastai_takes_no_classes(rows):
    x,y = torch.cat([rows[0], rows[0][:,:1]-1], 1),rows[1].clone()
    y[:300] = 2
    with pytest.raises(ValueError): last_row(x, y, APScoreBinary())

def test_functions_are_averaged(rows):
    "A plain function as a metric is the mean over batches, weighted by their sizes"
    x,y = rows
    def auc(p, t): return roc_auc_score(t, p[:,1]-p[:,0])
    (_, mean), = last_row(x, y, auc)
    parts = [(len(t), roc_auc_score(t, p[:,1]-p[:,0])) for p,t in zip(x.split(64), y.split(64))]
    assert mean == pytest.approx(sum(n*a for n,a in parts)/len(x), abs=1e-9) and abs(mean - exact(x, y)) > 1e-4
