"How recipes.py trains: networks side by side, each with its loss, and for each the best of twelve looks at validation"
import math
from collections.abc import Callable
from typing import Any, NamedTuple
import torch
from scipy.stats import qmc
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from fastai_auroc.pr import average_precision
from fastai_auroc.roc import auroc_score
from fastai_auroc.samplers import StratifiedBatchSampler
from recipe_networks import AdamW, build

looks = 12 # At validation, evenly spaced over the steps
metrics = ('auroc','ap','top')

class Trial(NamedTuple):
    "Options that are drawn anew for each split, and are the same for every recipe"
    lr: float
    weight_decay: float
    dropout: float
    steps: int
    seed: int

def draw_trials(split, number, longer=1):
    """Draws that fill the ranges evenly: learning rates .0005 to .1 and weight decays .0001 to 1 on a log scale, dropout 0 to .5

    Every second has 150 steps, the others have 600."""
    shares = qmc.LatinHypercube(3, rng=1_000 + split).random(number)
    steps = [150*longer, 600*longer]
    return [Trial(5e-4*200**a, 1e-4*1e4**b, c/2, steps[i % 2], 100*split + i) for i,(a, b, c) in enumerate(shares.tolist())]

class Mean(NamedTuple):
    "The mean probability of the networks of another recipe whose trials are best by validation"
    of: str # Name of the recipe, which is trained once for both
    number: int = 3 # Trials of a split

class Recipe(NamedTuple):
    "How to train"
    loss: Callable|None = None # Makes the loss of a task
    balanced: bool = False # As many rows of each class in a batch
    warm: int = 0 # Looks at the start that are trained by cross-entropy
    batch_size: int = 128
    average: float|None = None # Decay by step of a moving average of the weights, which is judged in their place
    peer: Callable|None = None # Sets up a stage by another library
    solve: Callable|None = None # Scores of validation and test by a method that is no stochastic descent

# --- Batches ---

def shuffled_batches(n, size, seed):
    "Rows of each batch, without end"
    size = min(size, n)
    generator = torch.Generator().manual_seed(seed)
    while True: yield from torch.randperm(n, generator=generator)[:n//size*size].split(size)

def balanced_batches(targets, size, seed):
    sampler = StratifiedBatchSampler(targets, min(size, len(targets)), seed=seed)
    while True: yield from map(torch.tensor, sampler)

def batches_of(task, recipe, balanced, split):
    "Batches of a split, the same for all its trials"
    if balanced: return balanced_batches(task.train_y, recipe.batch_size, split)
    return shuffled_batches(len(task.train_y), recipe.batch_size, split)

# --- What is kept of a training ---

def measure(scores, targets, weight=None, only=metrics):
    "AUROC, average precision and the area above 80 % true positives; NaN where scores are not finite"
    if not scores.isfinite().all(): return dict.fromkeys(only, math.nan)
    measures = dict(auroc=lambda: auroc_score(scores, targets), ap=lambda: average_precision(scores, targets, sample_weight=weight),
        top=lambda: auroc_score(scores, targets, min_tpr=.8))
    return {o: measures[o]().item() for o in only}

class Look(NamedTuple):
    "The best look at validation so far"
    number: int # From 1
    value: float # On validation
    valid_scores: torch.Tensor
    test_scores: Callable # Gives them, later

class Best:
    "The look that is best on validation, for each metric"
    def __init__(self, task):
        self.task = task
        self.found = dict.fromkeys(metrics)

    def look(self, number, valid_scores, keep):
        "`keep` is called where validation is better than before, and returns a function that gives the test scores"
        valid = measure(valid_scores, self.task.valid_y)
        better = [o for o in metrics if not math.isnan(valid[o]) and (self.found[o] is None or valid[o] > self.found[o].value)]
        kept = keep() if better else None
        for o in better: self.found[o] = Look(number, valid[o], valid_scores, kept)

    def result(self):
        "Columns of a run"
        tested = {}
        row = {}
        for name,found in self.found.items():
            if found is None:
                row |= {f'{name}_epoch': 0, f'{name}_valid': math.nan, f'{name}_test': math.nan}
                continue
            if found.number not in tested: tested[found.number] = measure(found.test_scores(), self.task.test_y, self.task.test_weight)
            row |= {f'{name}_epoch': found.number, f'{name}_valid': found.value, f'{name}_test': tested[found.number][name]}
        return row

def mean_result(bests, number):
    "Columns of a run that scores by the mean probability of the trials of a split that are best on validation, each at its best look"
    task = bests[0].task
    row = {}
    for name in metrics:
        found = sorted([o.found[name] for o in bests if o.found[name] is not None], key=lambda o: o.value)[-number:]
        if not found: return bests[0].result()
        valid = torch.stack([o.valid_scores for o in found]).double().sigmoid().mean(0)
        test = torch.stack([o.test_scores() for o in found]).double().sigmoid().mean(0)
        row |= {f'{name}_epoch': max(o.number for o in found), f'{name}_valid': measure(valid, task.valid_y, only=[name])[name],
            f'{name}_test': measure(test, task.test_y, task.test_weight, [name])[name]}
    return row

# --- Training side by side ---

class Bench(NamedTuple):
    "Networks side by side, with the split, the trial and the best looks of each"
    tasks: list # Of each split
    split_of: torch.Tensor # Place of the split of each network
    trials: list # Of each network
    model: nn.Module
    best: list # Of each network

def bench_of(tasks, trials, linear):
    "A network for each trial of each split; `trials` holds a list for each split"
    split_of = torch.tensor([i for i,o in enumerate(trials) for _ in o])
    flat = [o for of_split in trials for o in of_split]
    torch.manual_seed(flat[0].seed)
    words = 1 + max(int(o.max()) for task in tasks for o in (task.train_x, task.valid_x, task.test_x))
    model = build(tasks[0].train_x, words, [o.dropout for o in flat], linear)
    return Bench(tasks, split_of, flat, model, [Best(tasks[i]) for i in split_of])

def scores_of(outputs): return outputs[...,1] - outputs[...,0]

@torch.no_grad()
def scores_of_one(model, which, x):
    "Scores of the rows `x` by one network"
    model.eval()
    outputs = model(x[None], slice(which, which + 1))
    model.train()
    return scores_of(outputs)[0]

def keeper(model, which, x):
    "A function that copies a network and returns one that gives its scores of `x`, later"
    def keep():
        params = {name: p.detach()[which:which + 1].clone() for name,p in model.named_parameters()}
        return lambda: scores_of(torch.func.functional_call(model.eval(), params, (x[None],)))[0].detach()
    return keep

def look(bench, model, number):
    for i,best in enumerate(bench.best):
        task = best.task
        best.look(number, scores_of_one(model, i, task.valid_x), keeper(model, i, task.test_x))

class Stage(NamedTuple):
    "What the steps need until the next stage"
    losses: list # Of each network: functions of outputs, targets and row numbers
    optimizer: Any
    batches: list # Of each split: row numbers of each batch, without end
    after_look: Callable # Called with the share of the training that is done

def without_rows(loss): return lambda outputs, targets, rows: loss(outputs, targets)

def cross_entropy_stage(bench, recipe, splits):
    optimizer = AdamW(bench.model.parameters(), [o.lr for o in bench.trials], [o.weight_decay for o in bench.trials])
    batches = [batches_of(task, recipe, False, split) for task,split in zip(bench.tasks, splits)]
    return Stage([without_rows(nn.CrossEntropyLoss())]*len(bench.trials), optimizer, batches, lambda share: None)

def own_stage(bench, recipe, splits, first):
    "What the recipe says"
    batches = first.batches
    if recipe.balanced: batches = [batches_of(task, recipe, True, split) for task,split in zip(bench.tasks, splits)]
    losses = [without_rows(recipe.loss(task)) for task in bench.tasks]
    return first._replace(losses=[losses[i] for i in bench.split_of], batches=batches)

class PeerOptimizer:
    "An optimizer of another library, with the pace of ours"
    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.rates = [o['lr'] for o in optimizer.param_groups]
        self.pace = 1.

    def step(self):
        for group,rate in zip(self.optimizer.param_groups, self.rates): group['lr'] = rate*self.pace
        self.optimizer.step()

    def zero_grad(self): self.optimizer.zero_grad()

def peer_stage(bench, recipe, steps):
    "What another library says, for one network"
    trial = bench.trials[0]
    peer = recipe.peer(bench.model, bench.tasks[0].train_y, trial.lr, trial.weight_decay, steps, recipe.batch_size, trial.seed)
    return Stage([peer.loss], PeerOptimizer(peer.optimizer), [peer.batches], peer.after_epoch)

def pace_at(done):
    "Share of the learning rate: a tenth of the training to rise, then a cosine to 0"
    return min(10*done, (1 + math.cos(math.pi*done))/2)

def step_all(bench, stage):
    "One step of all networks, each by its own loss"
    rows = torch.stack([next(o) for o in stage.batches])[bench.split_of]
    x,y = [torch.stack(o) for o in zip(*((bench.tasks[i].train_x[r], bench.tasks[i].train_y[r]) for i,r in zip(bench.split_of, rows)))]
    outputs = bench.model(x)
    values = [loss(*o) for loss,*o in zip(stage.losses, outputs.unbind(), y, rows)]
    sum(values).backward()
    stage.optimizer.step()
    stage.optimizer.zero_grad()

def train_networks(bench, recipe, splits):
    "Train, and look at validation twelve times, but not while cross-entropy warms up"
    steps = bench.trials[0].steps
    stage = cross_entropy_stage(bench, recipe, splits)
    average = AveragedModel(bench.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average)) if recipe.average else None
    for number in range(looks):
        first,last = steps*number//looks,steps*(number + 1)//looks
        if number == recipe.warm: stage = peer_stage(bench, recipe, steps - first) if recipe.peer else own_stage(bench, recipe, splits, stage)
        for step in range(first, last):
            stage.optimizer.pace = pace_at((step + .5)/steps)
            step_all(bench, stage)
            if average: average.update_parameters(bench.model)
        stage.after_look((number + 1)/looks)
        if number >= recipe.warm: look(bench, average.module if average else bench.model, number + 1)
    return bench.best

def solve(task, recipe, trial):
    "By a method that is no stochastic descent"
    best = Best(task)
    for i,(valid, test) in enumerate(recipe.solve(task, trial)): best.look(i + 1, valid, lambda test=test: lambda: test)
    return best

def best_looks(tasks, recipe, splits, trials, linear=False):
    "`Best` of each trial of each split; `tasks`, `splits` and `trials` have an entry for each split"
    if recipe.solve: return [[solve(task, recipe, o) for o in of_split] for task,of_split in zip(tasks, trials)]
    if recipe.peer: return [[train_networks(bench_of([task], [[o]], linear), recipe, [split])[0] for o in of_split]
        for task,split,of_split in zip(tasks, splits, trials)]
    found = [{} for _ in tasks]
    for steps in sorted({o.steps for of_split in trials for o in of_split}):
        alike = [[o for o in of_split if o.steps == steps] for of_split in trials]
        bench = bench_of(tasks, alike, linear)
        for i,trial,best in zip(bench.split_of, bench.trials, train_networks(bench, recipe, splits)): found[i][trial] = best
    return [[of_split[o] for o in in_order] for of_split,in_order in zip(found, trials)]

def train(tasks, recipe, splits, trials, linear=False, means=()):
    """Columns of the row of each trial of each split, in a list for the recipe, and in one for each of `means`: numbers of trials to average

    All trials of a split have the same mean, which fills their rows."""
    bests = best_looks(tasks, recipe, splits, trials, linear)
    averaged = [[mean_result(of_split, number) for of_split in bests for _ in of_split] for number in means]
    return [[o.result() for of_split in bests for o in of_split], *averaged]
