"Several real processes, joined by gloo: rows and counts come together, and each process sees the AUROC of the whole validation set."
import functools, importlib.util, json
from pathlib import Path
import numpy as np, pytest

if importlib.util.find_spec('accelerate') is None:
    pytest.skip('fastai trains in several processes through accelerate, which is not installed', allow_module_level=True)

import gather_worker
from distributed_worker import cases, jobs
from worlds import run_once, run_python, run_world

worker = Path(__file__).parent/'distributed_worker.py'

def lines(path): return [json.loads(o) for o in path.read_text().splitlines()] if path.exists() else []

@pytest.fixture(scope='module')
def torchrun(tmp_path_factory):
    "What each process of a world that torchrun starts wrote down"
    @functools.cache
    def get(world):
        folder,code,stderr = run_once(tmp_path_factory, f'torchrun{world}', lambda folder: run_world(world, worker, folder))
        return [lines(folder/f'{world}-cases-{rank}.jsonl') for rank in range(world)],code,stderr
    return get

sizes = dict(late=2, **{o:2 for o in jobs if o.startswith('odd')}, **{o:3 for o in jobs if o.startswith('dies')})

@pytest.fixture(scope='module')
def forked(tmp_path_factory):
    "The same of worlds that one process forks, and how their processes ended"
    args = '3:cases', '4:cases', *(f'{n}:{job}' for job,n in sizes.items())
    folder,_,stderr = run_once(tmp_path_factory, 'forked', lambda folder: run_python(worker, folder, *args))
    def get(world, job='cases'):
        codes = folder/f'{world}-{job}-codes.json'
        assert codes.exists(), stderr
        return [lines(folder/f'{world}-{job}-{rank}.jsonl') for rank in range(world)],json.loads(codes.read_text())
    return get

def check(name, ranks):
    "Each process got what it wanted, all the same, and warned only where it should"
    seen = [o for r in ranks for o in r if o['case'] == name]
    assert len(seen) == len(ranks)
    for o in seen:
        assert o['want'] is not None, o['got']
        if all(isinstance(v, (int, float)) for v in o['want']): np.testing.assert_allclose(o['got'], o['want'], rtol=0, atol=1e-12)
        else: assert o['got'] == o['want']
        assert [m.split(': ')[:2] for m in o['said']] == [['auroc', 'AUROC is NaN']]*('spoilt' in name or 'differ between' in name)
    if name != 'subgroup': assert len({json.dumps(o['got']) for o in seen}) == 1

def of_worlds(*worlds):
    return [pytest.param(w, name, id=f'{w}-{name}', marks=marks) for w,marks in worlds for name,(_,fits) in cases.items() if w in fits]

@pytest.mark.parametrize('world, name', of_worlds((2, ()), (3, pytest.mark.slow)))
def test_torchrun(torchrun, world, name):
    ranks,code,stderr = torchrun(world)
    assert code == 0, stderr
    check(name, ranks)

@pytest.mark.parametrize('world, name', of_worlds((3, ()), (4, ())))
def test_forked(forked, world, name):
    ranks,codes = forked(world)
    assert codes == [0]*world
    check(name, ranks)

ours = 'could not bring the validation sets of all processes together: one of them has ended, or did not get here'

@pytest.mark.parametrize('job, says', [('dies', ours), ('dies_counting', ours), ('dies_early', 'Connection')])
def test_death(forked, job, says):
    "A process ends in mid-validation: the others do with an error, by themselves, ours or, if they still bring together losses, gloo's"
    ranks,codes = forked(3, job)
    assert codes == [0, 1, 0] and not ranks[1]
    for rank in (0, 2):
        (kind,message), = [o['error'] for o in ranks[rank]]
        assert kind == 'RuntimeError' and says in message

def test_late(forked):
    "A process that comes later than the time-out: the other has ended with an error, and it does, too"
    ranks,codes = forked(2, 'late')
    assert codes == [0, 0]
    for r in ranks: assert [o['error'][0] for o in r] == ['RuntimeError'] and ours in r[0]['error'][1]

@pytest.mark.parametrize('job', [o for o in jobs if o.startswith('odd')])
def test_odd_tensor(forked, job):
    "What cannot be sent from one process leaves no other waiting: the next call gives its own rows"
    ranks,codes = forked(2, job)
    assert codes == [0, 0]
    for r in ranks: assert r == [dict(got=[['torch.int64', [2], [0, 1]]])]

@pytest.fixture(scope='module')
def gathered(tmp_path_factory):
    "What each process of a world wrote down that runs the cases of gather_worker.py, and how they ended"
    folder,_,stderr = run_once(tmp_path_factory, 'gathered', lambda folder: run_python(gather_worker.__file__, folder, 2, 3))
    def get(world):
        codes = folder/f'{world}-codes.json'
        assert codes.exists(), stderr
        ranks = [{o['case']:o for o in lines(folder/f'{world}-{rank}.jsonl')} for rank in range(world)]
        return ranks,json.loads(codes.read_text()),stderr
    return get

@pytest.mark.parametrize('world', [2, 3])
@pytest.mark.parametrize('name', gather_worker.cases)
def test_what_processes_give(gathered, world, name):
    "Odd tensors, numbers of tensors and threads: the right rows, or the same error in each process, which goes on"
    ranks,codes,stderr = gathered(world)
    assert codes == [0]*world, stderr
    for r in ranks:
        assert name in r and r[name]['want'] is not None, r.get(name)
        assert r[name]['got'] == r[name]['want']

alone = """
import sys
sys.modules['accelerate'] = None
import torch
from fastai.callback import progress
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from torch import nn
from fastai_auroc.all import AUROC, auroc_score, gather_rows
x,y = (torch.tensor(o) for o in load_breast_cancer(return_X_y=True))
rows = list(zip(((x-x.mean(0))/x.std(0)).float(), y))
learn = Learner(DataLoaders(*(TfmdDL(o, bs=64, num_workers=0) for o in (rows[:300], rows[300:]))), nn.Linear(30, 2), loss_func=nn.CrossEntropyLoss(),
    metrics=AUROC(), cbs=AUROC(thresholds='logit', name='counted'))
with learn.no_bar(), learn.no_logging():
    learn.fit(1)
    z,y = learn.get_preds(act=lambda x: x)
score = roc_auc_score(y, z[:,1].double() - z[:,0].double())
assert all(abs(o - score) < tol for o,tol in zip(learn.recorder.values[-1][-2:], (1e-12, 1e-2), strict=True)), (learn.recorder.values, score)
assert abs(auroc_score(*gather_rows(z[:,1].double() - z[:,0].double(), y)) - score) < 1e-12
try: import accelerate
except ImportError: print('trained without accelerate')
"""

def test_without_accelerate():
    res = run_python('-c', alone)
    assert res.returncode == 0 and 'trained without accelerate' in res.stdout, res.stderr
