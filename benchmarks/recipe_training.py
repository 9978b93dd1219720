"How recipes.py trains: a small network, one trial of learning rate, weight decay and dropout, and the best of twelve looks at validation"
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
import numpy as np, torch
from scipy.stats import qmc
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from fastai_auroc.pr import average_precision
from fastai_auroc.roc import auroc_score
from fastai_auroc.samplers import StratifiedBatchSampler

looks,steps = 12,50 # How often validation is looked at, and after how many steps
metrics = ('auroc','ap','top')

class Trial(NamedTuple):
    "Options that are drawn anew for each split, and are the same for every recipe"
    lr: float
    weight_decay: float
    dropout: float
    seed: int

def draw_trials(split, number):
    "Draws that fill the ranges evenly: learning rates .003 to .06 and weight decays .0001 to 1 on a log scale, dropout 0 to .5"
    shares = qmc.LatinHypercube(3, rng=1_000 + split).random(number)
    return [Trial(3e-3*20**a, 1e-4*1e4**b, c/2, 100*split + i) for i,(a, b, c) in enumerate(shares.tolist())]

class Recipe(NamedTuple):
    "How to train"
    loss: Callable|None = None # Makes the loss of a task
    balanced: bool = False # As many rows of each class in a batch
    warm: int = 0 # Looks at the start that are trained by cross-entropy
    batch_size: int = 128
    average: float|None = None # Decay by step of a moving average of the weights, which is judged in their place
    peer: Callable|None = None # Sets up a stage by another library
    solve: Callable|None = None # Scores of validation and test by a method that is no stochastic descent

# --- Models ---

class Bag(nn.Module):
    "Mean of word vectors, and one hidden layer"
    def __init__(self, words, dropout):
        super().__init__()
        self.words = nn.EmbeddingBag(words, 16, mode='mean', padding_idx=0)
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x): return self.layers(self.words(x))

def build(task, dropout, linear):
    "A network for the kind of rows"
    x = task.train_x
    if x.dtype == torch.int64: return Bag(max(int(o.max()) for o in (x, task.valid_x, task.test_x)) + 1, dropout)
    if x.ndim > 2: return nn.Sequential(nn.Conv2d(1, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(32*4*4, 2))
    if linear: return nn.Linear(x.shape[1], 2)
    return nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 2))

# --- Batches ---

def shuffled_batches(n, size):
    "Rows of each batch, without end"
    size = min(size, n)
    while True: yield from torch.randperm(n)[:n//size*size].split(size)

def balanced_batches(targets, size, seed):
    sampler = StratifiedBatchSampler(targets, min(size, len(targets)), seed=seed)
    while True: yield from map(torch.tensor, sampler)

# --- Training ---

def pace_at(done):
    "Share of the learning rate: a tenth of the training to rise, then a cosine to 0"
    return min(10*done, (1 + math.cos(math.pi*done))/2)

@torch.no_grad()
def scores_of(model, x):
    model.eval()
    outputs = model(x)
    model.train()
    return outputs[:,1] - outputs[:,0]

def measure(scores, targets, weight=None):
    "AUROC, average precision and the area above 80 % true positives; NaN where scores are not finite"
    if not scores.isfinite().all(): return dict.fromkeys(metrics, math.nan)
    return dict(auroc=auroc_score(scores, targets).item(), ap=average_precision(scores, targets, sample_weight=weight).item(),
        top=auroc_score(scores, targets, min_tpr=.8).item())

class Best:
    "Test scores at the look that is best on validation, for each metric"
    def __init__(self, task):
        self.task = task
        self.found = {o: (0, -math.inf, None) for o in metrics}

    def look(self, number, valid_scores, test_scores):
        "`test_scores` is a function, called where validation is better than before"
        valid = measure(valid_scores, self.task.valid_y)
        better = [o for o in metrics if valid[o] > self.found[o][1]]
        test = test_scores() if better else None
        for o in better: self.found[o] = (number, valid[o], test)

    def result(self):
        "Columns of a run"
        row = {}
        for name,(number, valid, test) in self.found.items():
            value = math.nan if test is None else measure(test, self.task.test_y, self.task.test_weight)[name]
            row |= {f'{name}_epoch': number, f'{name}_valid': valid, f'{name}_test': value}
        return row

class Stage(NamedTuple):
    "What the steps need until the next stage"
    loss: Callable # Of outputs, targets and row numbers
    optimizer: torch.optim.Optimizer
    batches: Iterator # Row numbers of each batch, without end
    after_look: Callable # Called with the share of the training that is done
    rates: list # Learning rates of the optimizer's groups at their highest

def without_rows(loss): return lambda outputs, targets, rows: loss(outputs, targets)

def first_stage(task, recipe, trial, model):
    "Cross-entropy on shuffled batches"
    optimizer = torch.optim.AdamW(model.parameters(), trial.lr, weight_decay=trial.weight_decay, fused=True)
    batches = shuffled_batches(len(task.train_y), recipe.batch_size)
    return Stage(without_rows(nn.CrossEntropyLoss()), optimizer, batches, lambda share: None, [trial.lr])

def own_stage(task, recipe, trial, model, first, steps):
    "What the recipe says"
    if recipe.peer:
        peer = recipe.peer(model, task.train_y, trial.lr, trial.weight_decay, steps, recipe.batch_size, trial.seed)
        return Stage(*peer, [o['lr'] for o in peer.optimizer.param_groups])
    batches = first.batches
    if recipe.balanced: batches = balanced_batches(task.train_y, recipe.batch_size, trial.seed)
    return first._replace(loss=without_rows(recipe.loss(task)), batches=batches)

def train_look(task, model, stage, paces, average):
    "Steps until the next look at validation, one for each pace"
    for pace in paces:
        rows = next(stage.batches)
        for group,rate in zip(stage.optimizer.param_groups, stage.rates): group['lr'] = rate*pace
        stage.loss(model(task.train_x[rows]), task.train_y[rows], rows).backward()
        stage.optimizer.step()
        stage.optimizer.zero_grad()
        if average: average.update_parameters(model)

def train_network(task, recipe, trial, linear, best):
    "Train, and look at validation twelve times"
    torch.manual_seed(trial.seed)
    model = build(task, trial.dropout, linear)
    stage = first_stage(task, recipe, trial, model)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average)) if recipe.average else None
    paces = np.array_split([pace_at((o + .5)/(looks*steps)) for o in range(looks*steps)], looks)
    for number,of_look in enumerate(paces):
        if number == recipe.warm: stage = own_stage(task, recipe, trial, model, stage, (looks - number)*steps)
        train_look(task, model, stage, of_look, average)
        stage.after_look((number + 1)/looks)
        judged = average.module if average else model
        best.look(number + 1, scores_of(judged, task.valid_x), lambda: scores_of(judged, task.test_x))

def train(task, recipe, trial, linear=False):
    "One training: columns of its row"
    best = Best(task)
    if not recipe.solve: train_network(task, recipe, trial, linear, best)
    else:
        for i,(valid, test) in enumerate(recipe.solve(task, trial)): best.look(i + 1, valid, lambda: test)
    return best.result()
