"""The processes of test_sampler_processes.py: the rows that each reads in each case and epoch, as JSON

`sampler_worker.py FOLDER 2` forks a world of 2 processes, which write FOLDER/RANK.json and FOLDER/codes.json, how they ended."""
import json, os, signal, sys
from datetime import timedelta
from pathlib import Path
import numpy as np, torch, torch.distributed as dist
import torch._dynamo  # or each forked process imports it for its first optimizer, two seconds
from accelerate import Accelerator, DataLoaderConfiguration
from fastai import distributed as fastai_distributed
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from worlds import broadcast_on_cpu, fork_world
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches

n,bs,epochs = 221,12,5  # 18 batches and a rest
labels = (np.random.default_rng(0).permutation(n) < 31).astype(int) + 2*(np.arange(n) % 40 == 7)
labels[labels == 3] = 2
binary = (labels == 1).astype(int)
rank = 0
full = n//bs*bs

def rows(y): return TensorDataset(torch.arange(len(y)), torch.tensor(y))

def read(loader):
    "Rows of each batch in each epoch"
    return [[b[0].tolist() for b in loader] for _ in range(epochs)]

def sampler(y=labels, **kwargs): return StratifiedBatchSampler(y, bs, **kwargs)

def by_batch(**kwargs): return read(DataLoader(rows(labels), batch_sampler=sampler(**kwargs)))

def by_row(**kwargs): return read(DataLoader(rows(labels), sampler=sampler(**kwargs).rows, batch_size=bs))

def indices(**kwargs):
    s = sampler(**kwargs)
    order = [s.get_idxs() for _ in range(epochs)]
    return [[o[i:i+bs] for i in range(0, len(o), bs)] for o in order]

def workers(): return read(DataLoader(rows(labels), batch_sampler=sampler(), num_workers=1))

def one_process_alone():
    "What only the first process makes and reads blocks nobody"
    if rank == 0: list(sampler())
    return by_batch()

def out_of_step():
    "One has read more, then all say which epoch it is"
    s,res = sampler(),[]
    for epoch in range(epochs):
        if rank == 1: list(s)
        s.set_epoch(epoch)
        res.append(list(s))
    return res

def made_before(): return [list(early) for _ in range(epochs)]

def accelerated(way, **kwargs):
    "accelerate shares the batches out"
    config = DataLoaderConfiguration(**kwargs)
    y = labels if way == 'batch' else labels[:full]
    how = dict(batch_sampler=sampler(y))
    if way == 'row': how = dict(sampler=sampler(y).rows, batch_size=bs, drop_last=True)
    loader = Accelerator(cpu=True, dataloader_config=config).prepare(DataLoader(rows(y), **how))
    seen = read(loader)
    return [[len(loader)], *seen]

class Seen(Callback):
    "Rows of the training batches, which are the first column"
    def before_fit(self): self.seen = []
    def before_train(self): self.seen.append([])
    def before_batch(self):
        if self.training: self.seen[-1].append(self.xb[0][:,0].long().tolist())

def fastai(how, balanced=True):
    "A Learner in `distrib_ctx`, whose loaders share out what they get"
    items = list(zip(torch.arange(n)[:,None].float(), torch.tensor(binary)))
    dls = DataLoaders(*(TfmdDL(items, bs=bs, shuffle=o, num_workers=0) for o in (True, False)), device='cpu')
    if how == 'installed': balance_batches(dls, balanced)
    else: dls.train.get_idxs = StratifiedBatchSampler(binary, bs, balanced).get_idxs
    learn = Learner(dls, nn.Linear(1, 2), nn.CrossEntropyLoss(), lr=0., cbs=(seen := Seen()))
    with learn.distrib_ctx(sync_bn=False, cpu=True), learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return seen.seen

cases = {'by batch': by_batch, 'by row': by_row, 'indices': indices, 'in workers': workers, 'one process alone': one_process_alone,
    'out of step': out_of_step, 'made before the group': made_before, 'seed': lambda: by_batch(seed=7),
    'natural': lambda: by_batch(balanced=False), 'natural by row': lambda: by_row(balanced=False),
    'last kept': lambda: by_batch(drop_last=False), 'natural, last kept': lambda: by_batch(balanced=False, drop_last=False),
    'accelerate': lambda: accelerated('batch'), 'accelerate by row': lambda: accelerated('row'),
    'accelerate dispatches': lambda: accelerated('batch', dispatch_batches=True), 'fastai': lambda: fastai('installed'),
    'fastai by hand': lambda: fastai('by hand'), 'fastai natural': lambda: fastai('installed', False)}

def run(folder, own_rank, world):
    "One process of a world, which finds what torchrun would have put into its environment"
    global rank, early
    signal.alarm(500)
    rank = own_rank
    os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT='1')
    fastai_distributed.DistributedDL._broadcast = broadcast_on_cpu
    np.random.seed(rank)  # Processes that nobody seeded alike
    early = sampler()
    at = dict(init_method=f'file://{folder}/meeting', rank=rank, world_size=world)
    dist.init_process_group('gloo', timeout=timedelta(seconds=60), **at)
    torch.set_num_threads(1)
    got = {}
    for name,f in cases.items():
        try: got[name] = f()
        except Exception as e: got[name] = f'{type(e).__name__}: {e}'
    (folder/f'{rank}.json').write_text(json.dumps(got))
    dist.destroy_process_group()

if __name__ == '__main__':
    folder,world = Path(sys.argv[1]),int(sys.argv[2])
    codes = fork_world(world, lambda rank: run(folder, rank, world))
    (folder/'codes.json').write_text(json.dumps(codes))
