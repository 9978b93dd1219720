"Recipes of LibAUC in the place of our loss, optimizer and sampler; linear models by scikit-learn and AUMLineSearch"
import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple
import numpy as np, torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from fastai_auroc.linesearch import AUMLineSearch

# --- LibAUC: what its own trainer does, in the terms of our training loop ---

class Peer(NamedTuple):
    "What a LibAUC recipe puts in the place of our loss, optimizer and batches; the learning rate follows our schedule"
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] # of outputs (n, 2), targets (n,) and row numbers (n,)
    optimizer: Optimizer
    batches: Iterator[Tensor] # row numbers of one batch after another, without end
    after_epoch: Callable[[float], None] # to be told which share of the training is done

def libauc_missing():
    "A sentence, if LibAUC is not installed"
    if find_spec('libauc'): return ''
    return 'LibAUC is not installed: its recipes are left out (pip install --no-deps libauc)'

# Learning rates are drawn for Adam, between .0005 and .1. PESG is a kind of SGD, and gradients of a squared loss of
# sigmoids are small. LibAUC trains with .1, in many more steps than ours; in ours the best were 1 to 2 on satellite and
# more on messages. So 200 times the range of Adam, .1 to 20. The others are Adam themselves.
pesg_lr = 200
# Weight decay is drawn for AdamW, between 1e-4 and 1. LibAUC adds it to the gradient, before Adam divides by its size;
# its examples take 1e-5 to 2e-4.
added_decay = .01

def margins(outputs): return outputs[:,1:] - outputs[:,:1]

def probabilities(outputs):
    "What LibAUC's trainer gives to each of its losses, shape (n, 1)"
    return margins(outputs).sigmoid()

def check_rows(rows, targets, all_targets):
    "Raise where LibAUC would take the running means of other rows and say nothing"
    if rows.dtype != torch.int64: raise TypeError(f'row numbers are int64, got {rows.dtype}')
    if rows.shape != targets.shape:
        raise ValueError(f'each row needs its number: {tuple(rows.shape)} numbers for {tuple(targets.shape)} targets')
    if rows.min() < 0 or not all_targets[rows].equal(targets):
        raise ValueError('the targets are not those of the training rows of these numbers')

def dual_batches(
    targets:Tensor, # 1 for a positive, shape (n,)
    batch_size:int,
    share:float, # of positives in a batch
    seed:int,
) -> Iterator[Tensor]:
    "Row numbers of LibAUC's sampler, in batches without end"
    from libauc.sampler import DualSampler
    batch_size = min(batch_size, len(targets)) # fewer rows than that make an epoch without a batch
    # It seeds and uses NumPy's global generator, which is put back after each epoch
    others = np.random.get_state()
    sampler = DualSampler(None, batch_size, labels=targets.cpu().numpy(), sampling_rate=share, random_seed=seed)
    own = np.random.get_state()
    np.random.set_state(others)
    while True:
        others = np.random.get_state()
        np.random.set_state(own)
        rows = torch.from_numpy(np.fromiter(sampler, np.int64))
        own = np.random.get_state()
        np.random.set_state(others)
        yield from rows.to(targets.device).split(batch_size)

def at_half_and_three_quarters(act):
    "`after_epoch` that calls `act` at two points of the training"
    left = [.5, .75]
    def after_epoch(share):
        while left and share > left[0] - 1e-6:
            left.pop(0)
            act()
    return after_epoch

def peer_of(
    criterion:nn.Module, # Loss of LibAUC
    optimizer:Optimizer,
    batches:Iterator[Tensor],
    all_targets:Tensor, # of the training rows
    scores:Callable[[Tensor], Tensor]=probabilities, # of outputs
    after_epoch:Callable[[float], None]=lambda share: None,
) -> Peer:
    "A recipe of its parts"
    def loss(outputs, targets, rows):
        check_rows(rows, targets, all_targets)
        return criterion(scores(outputs), targets[:,None], index=rows)
    return Peer(loss, optimizer, batches, after_epoch)

# Each is set up by the same call; `steps` is for recipes that plan with it, which none of LibAUC's does

def aucm_pesg(model, targets, lr, weight_decay, steps, batch_size, seed):
    "The min-max margin loss, as LibAUC's examples have it; they take .2 or .5 positives; .5 did better on satellite"
    from libauc.losses import AUCMLoss
    from libauc.optimizers import PESG
    # Not version='v2': LibAUC 2.0.1 divides the sum over the negatives by the number of all rows there
    aucm = AUCMLoss(margin=1., device=targets.device)
    optimizer = PESG(model.parameters(), aucm, lr=pesg_lr*lr, weight_decay=added_decay*weight_decay, epoch_decay=3e-3,
        momentum=.9, verbose=False, device=targets.device)
    # As in LibAUC's examples, what `epoch_decay` pulls to becomes the mean of the weights since the last such moment
    after_epoch = at_half_and_three_quarters(optimizer.update_regularizer)
    return peer_of(aucm, optimizer, dual_batches(targets, batch_size, .5, seed), targets, after_epoch=after_epoch)

def pairwise(model, targets, lr, weight_decay, steps, batch_size, seed):
    "The logistic loss of pairs, its default; of raw margins as in its documentation: of sigmoids it is nearly linear"
    from libauc.losses import PairwiseAUCLoss
    optimizer = AdamW(model.parameters(), lr, weight_decay=weight_decay)
    return peer_of(PairwiseAUCLoss(), optimizer, dual_batches(targets, batch_size, .5, seed), targets, margins)

def partial_area(model, targets, lr, weight_decay, steps, batch_size, seed):
    """Two-way partial area of the lowest fifth of the positives against all negatives

    That is the area above 80 % true positives itself. The one-way losses bound false positives, and `tpAUC_KL_Loss`
    weighs hard rows more without a bound. A number is kept for each row; those of positives are used. The dual steps
    are those of LibAUC's example: with the default, a hundred times as large, average precision suffers."""
    from libauc.losses import pAUCLoss
    from libauc.optimizers import STACO
    criterion = pAUCLoss('STACO', data_length=len(targets), theta_0=.2, theta_1=1., alpha=1e-3, beta_0=1e-3,
        beta_1=1e-3, device=targets.device)
    added = added_decay*weight_decay
    optimizer = STACO(model.parameters(), mode='adam', lr=lr, weight_decay=added, device=targets.device)
    return peer_of(criterion, optimizer, dual_batches(targets, batch_size, .5, seed), targets)

def average_precision(model, targets, lr, weight_decay, steps, batch_size, seed):
    "The squared hinge of average precision, with margin and memory of LibAUC's examples; a number is kept for each row"
    from libauc.losses import APLoss
    from libauc.optimizers import SOAP
    criterion = APLoss(len(targets), gamma=.1, margin=.6, device=targets.device)
    added = added_decay*weight_decay
    optimizer = SOAP(model.parameters(), mode='adam', lr=lr, weight_decay=added, verbose=False, device=targets.device)
    return peer_of(criterion, optimizer, dual_batches(targets, batch_size, .5, seed), targets)

# --- Linear models: scores of validation and test after each look, float64, of shape (n,) ---

# Looks at AUMLineSearch come after so many steps: its first ones change most, and it often ends before the thirtieth
steps_before_look = 0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 26, 33

def inverse_strength(weight_decay):
    "`C` of logistic regression between 1e2 and 1e-4 for a weight decay between 1e-4 and 1"
    return 10**(-4 - 1.5*math.log10(weight_decay))

def fit_logistic(task, trial):
    "Logistic regression of scikit-learn"
    x = task.train_x.double().cpu().numpy()
    model = LogisticRegression(C=inverse_strength(trial.weight_decay), max_iter=2000)
    return model.fit(x, task.train_y.cpu().numpy())

def scores_of(weights, task):
    "Validation and test scores of one weight for each column"
    return tuple(x.double().cpu() @ weights for x in (task.valid_x, task.test_x))

def logistic(task, trial) -> list[tuple[Tensor, Tensor]]:
    "One look: scores of logistic regression less its intercept"
    return [scores_of(torch.from_numpy(fit_logistic(task, trial).coef_[0]), task)]

def search_from(start, task):
    "Scores of the start and after more and more steps of AUMLineSearch on all training rows, until no direction helps"
    x = task.train_x.double().cpu()
    y = task.train_y.cpu()
    weights = start.clone().requires_grad_()
    optimizer = AUMLineSearch([weights])
    seen = [scores_of(start, task)]
    for step in range(1, steps_before_look[-1] + 1):
        optimizer.step(lambda: (x @ weights, y))
        ended = optimizer.size == 0
        if ended or step in steps_before_look: seen.append(scores_of(weights.detach(), task))
        if ended: break
    return seen

def line_search(task, trial) -> list[tuple[Tensor, Tensor]]:
    "From random weights, by the trial's seed; nothing else of the trial matters"
    generator = torch.Generator().manual_seed(trial.seed)
    return search_from(torch.randn(task.train_x.shape[1], generator=generator, dtype=torch.float64), task)

def line_search_after_logistic(task, trial) -> list[tuple[Tensor, Tensor]]:
    "From logistic regression of the trial's strength, which is the first look, as a user who has fitted it would do"
    return search_from(torch.from_numpy(fit_logistic(task, trial).coef_[0]), task)
