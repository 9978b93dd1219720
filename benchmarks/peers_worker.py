"One of the processes of peers.ipynb: each library's AUROC of rows that are spread over all. Run: torchrun --nproc-per-node=2 peers_worker.py"
import os, warnings
warnings.filterwarnings('ignore')
os.environ['KERAS_BACKEND'] = 'torch'
import json, keras, numpy as np, torch, torch.distributed as dist
from fastai import distributed
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import RocAucBinary
from libauc.metrics import auc_roc_score
from sklearn.metrics import roc_auc_score
from torch import nn
from torcheval.metrics import BinaryAUROC
from torcheval.metrics.toolkit import sync_and_compute
from torchmetrics.classification import BinaryAUROC as TorchmetricsAUROC
from fastai_auroc.metric import AUROC

def broadcast(self, t, rank):
    "fastai's, which moves its random seed to a GPU first"
    t = torch.LongTensor(t)
    dist.broadcast(t, rank)
    return t.tolist()

class Same(nn.Module):
    "A model whose outputs are its inputs"
    def __init__(self):
        super().__init__()
        self.unused,self.device = nn.Parameter(torch.zeros(1)),torch.device('cpu')
    def forward(self, x): return x + 0*self.unused

def in_learner(metric, logits, targets):
    "The metric of a fastai Learner that is distributed over the processes and validates these rows"
    rows = list(zip(torch.stack([torch.zeros_like(logits), logits], 1), targets))
    dls = DataLoaders(*(TfmdDL(rows, bs=64) for _ in range(2)))
    learn = Learner(dls, Same(), loss_func=CrossEntropyLossFlat(), metrics=metric)
    with learn.distrib_ctx(sync_bn=False, cpu=True), learn.no_bar(), learn.no_logging(): return learn.validate()[1]

def accumulated(metric, scores, targets):
    metric.update(scores, targets)
    return metric

def keras_auc(scores, targets):
    metric = keras.metrics.AUC()
    metric.update_state(targets, scores)
    return metric.result()

if __name__ == '__main__':
    dist.init_process_group('gloo')
    distributed.DistributedDL._broadcast = broadcast
    rng = np.random.default_rng(42)
    y = torch.tensor(rng.random(1001) < .2).long()
    logits = torch.tensor(rng.normal(size=1001), dtype=torch.float32) + 1.2*y - 2
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    s,part,labels = logits.sigmoid(),logits[mine].sigmoid(),y[mine]
    found = dict(right=roc_auc_score(y, s.double()))
    found['fastai_auroc'] = in_learner(AUROC(), logits, y)
    found['scikit-learn'] = roc_auc_score(labels, part)
    found['torchmetrics'] = accumulated(TorchmetricsAUROC(), part, labels).compute()
    found['torcheval'] = sync_and_compute(accumulated(BinaryAUROC(), part, labels))
    found['keras'] = keras_auc(part, labels)
    found['libauc'] = auc_roc_score(labels.numpy(), part.numpy())
    found['fastai'] = in_learner(RocAucBinary(), logits, y)
    if dist.get_rank() == 0: print(json.dumps({o:float(v) for o,v in found.items()}))
    dist.destroy_process_group()
