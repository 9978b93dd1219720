"Several processes, joined by gloo, share the rows of StratifiedBatchSampler: in PyTorch, with accelerate, in fastai 2."
import functools, importlib.util, json
from pathlib import Path
import numpy as np, pytest

if importlib.util.find_spec('accelerate') is None:
    pytest.skip('fastai trains in several processes through accelerate, which is not installed', allow_module_level=True)

from sampler_worker import binary, bs, cases, epochs, full, labels, n
from worlds import run_once, run_python

here = Path(__file__).parent

@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    "What each process of a world read"
    @functools.cache
    def get(world):
        folder,code,stderr = run_once(tmp_path_factory, f'sampler{world}', lambda folder: run_python(here/'sampler_worker.py', folder, world))
        assert code == 0 and json.loads((folder/'codes.json').read_text()) == [0]*world, stderr
        return [json.loads((folder/f'{rank}.json').read_text()) for rank in range(world)]
    return get

def in_steps(read):
    "Rows in the order in which processes take them: all processes' first batches, then all second ones"
    return [row for epoch in zip(*read) for step in zip(*epoch) for batch in step for row in batch]

def draws(read): return np.bincount([row for process in read for epoch in process for batch in epoch for row in batch], minlength=n)

@pytest.mark.parametrize('world', [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', cases)
def test_processes(ranks, world, name):
    "No row comes again, to this process or another, before all rows of its class did; every batch holds every class"
    read = [o[name] for o in ranks(world)]
    y = binary if 'fastai' in name else labels[:full if name == 'accelerate by row' else n]
    assert not any(isinstance(o, str) for o in read), read
    if 'accelerate' in name:
        lengths,read = [o[0][0] for o in read],[o[1:] for o in read]
        assert lengths == [len(epoch) for o in read for epoch in o[:1]]
    sizes = {tuple(len(b) for b in epoch) for process in read for epoch in process}
    assert [len(process) for process in read] == [epochs]*world and len(sizes) == 1
    each,sizes = -(-n//world) if 'kept' in name or 'fastai' in name else n//world,sizes.pop()
    whole = any(o in name for o in ('kept', 'fastai', 'indices', 'by row'))
    if 'accelerate' in name: assert sizes == (bs,)*(len(y)//bs//world)
    else: assert sizes == (bs,)*(each//bs) + (each % bs,)*(whole and each % bs > 0)
    for process in read:
        for batch in (b for epoch in process for b in epoch if len(b) == bs):
            counts = np.bincount(y[batch], minlength=y.max()+1)
            assert counts.min() >= 1
            if 'natural' not in name: assert np.ptp(counts) <= 1
    for c in range(y.max()+1):
        assert np.ptp(draws(read)[:len(y)][y == c]) <= 1
        order,size = [row for row in in_steps(read) if y[row] == c],(y == c).sum()
        for i in range(0, len(order), size): assert len(set(order[i:i+size])) == len(order[i:i+size])
    if world > 1: assert read[0] != read[1]
