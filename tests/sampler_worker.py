"One of several processes: saves the rows that a sampler gives it, and the targets that fastai's DistributedDL does."
import sys, numpy as np, torch, torch.distributed as dist
from pathlib import Path

rank,world,folder = int(sys.argv[1]),int(sys.argv[2]),Path(sys.argv[3])
dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)

from accelerate.data_loader import BatchSamplerShard
from fastai.data.core import DataLoaders
from fastai.distributed import DistributedDL
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches

y = np.random.default_rng(0).permutation(np.repeat([0, 1], [900, 100]))
sampler = StratifiedBatchSampler(y, 30)
assert (sampler.rank,sampler.num_replicas) == (rank, world)
np.save(folder/f'rows{rank}.npy', np.concatenate([b for _ in range(2) for b in sampler]))

shard = BatchSamplerShard(StratifiedBatchSampler(y, 30, seed=7), num_processes=world, process_index=rank, even_batches=False)
assert len(shard) >= 1000//30//world
np.save(folder/f'accelerate{rank}.npy', np.concatenate(list(shard)))

def broadcast(self, t, rank):
    "As fastai's, without `.cuda()`"
    t = torch.tensor(t)
    dist.broadcast(t, rank)
    return t.tolist()

DistributedDL._broadcast = broadcast
ds = [(torch.tensor([float(i)]), int(o)) for i,o in enumerate(y)]
dls = DataLoaders.from_dsets(ds, ds[:100], bs=30, num_workers=0, device='cpu')
balance_batches(dls)
np.save(folder/f'fastai{rank}.npy', torch.cat([b[-1] for b in DistributedDL(dls.train, rank=rank, world_size=world)]).numpy())
dist.destroy_process_group()
