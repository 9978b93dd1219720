"`select=`: models with several outputs, one column a head; by an index, a key, an attribute's name or a function"
import copy, math, pickle, numpy as np, pytest, torch
from collections import OrderedDict, namedtuple
from functools import partial
from types import SimpleNamespace
from fastai.callback.core import Callback, CancelBatchException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from sklearn.metrics import average_precision_score, roc_auc_score
from test_column_twins import fit
from torch import nn
from torch.nn import functional as F
from fastai_auroc.all import AUROC
from fastai_auroc.metric import AveragePrecision

close = partial(pytest.approx, rel=0, abs=1e-12, nan_ok=True)
Pair = namedtuple('Pair', 'a b')

class ModelOutput(OrderedDict):
    "Like that of transformers: a mapping whose items are attributes, too"
    def __getattr__(self, k):
        if k in self: return self[k]
        raise AttributeError(k)

def as_objects(a, b): return SimpleNamespace(a=a, b=b)

shapes = dict(tuple=lambda a,b: (a, b), list=lambda a,b: [a, b], mapping=lambda a,b: dict(a=a, b=b), named=Pair, object=as_objects,
    model_output=lambda a,b: ModelOutput(a=a, b=b), nested=lambda a,b: ((a,), dict(logits=b, hidden=a)))
keys = dict(tuple=(0, 1), list=(-2, -1), mapping=('a', 'b'), named=('a', 'b'), object=('a', 'b'), model_output=(0, 'b'), nested=(0, 1))

class TwoHeads(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.a,self.b,self.shape = nn.Linear(3, 2),nn.Linear(3, 2),shape
    def forward(self, x): return shapes[self.shape](self.a(x), self.b(x))

def heads_of(o, shape):
    if shape in ('tuple', 'list', 'named'): return o
    if shape == 'nested': return o[0][0],o[1]['logits']
    return (o['a'], o['b']) if shape in ('mapping', 'model_output') else (o.a, o.b)

def cross_entropies(o, *targets, shape): return sum(F.cross_entropy(z, y) for z,y in zip(heads_of(o, shape), targets if len(targets) > 1 else targets*2))

def make(data, shape='tuple', several_targets=True, **kwargs):
    "A Learner of two heads on 100 rows, validated on 200"
    x,y = data
    rows = list(zip(x, y, 1-y if several_targets == 'opposite' else (x[:,0] > 0).long())) if several_targets else list(zip(x, y))
    loaders = [DataLoader(o, bs=32, num_workers=0, n_inp=1) for o in (rows[:100], rows[100:])]
    dls = DataLoaders(*loaders)
    dls.n_inp = 1
    return Learner(dls, TwoHeads(shape), loss_func=partial(cross_entropies, shape=shape), **kwargs)

def margins(learn, data):
    "Margins of both heads, of the validation set"
    with torch.no_grad(): heads = learn.model.a(data[0][100:]),learn.model.b(data[0][100:])
    return [(z[:,1].double() - z[:,0].double()).numpy() for z in heads]

def targets_of(data, several=True): return data[1][100:].numpy(),((data[0][100:,0] > 0).long() if several else data[1][100:]).numpy()

def last(learn, *names):
    table = list(learn.recorder.metric_names)[1:-1]
    return [learn.recorder.values[-1][table.index(name)] for name in names]

two_targets = [(shape, (0, 1)) for shape in shapes if shape != 'object']  # an attribute's name is none of a pair of targets

@pytest.mark.parametrize('shape,which,several', [(*o, True) for o in two_targets] + [(*o, False) for o in keys.items()], ids=str)
@pytest.mark.parametrize('how', ['metrics', 'cbs'])
def test_one_column_a_head(shape, which, several, how, adult_small):
    "Each has the number of its own head and targets, and columns of one head keep the outputs once"
    first,second = which
    columns = [AUROC(select=first, name='auroc_a'), AUROC(select=second, name='auroc_b'), AveragePrecision(select=second)]
    learn = make(adult_small, shape, several, **{how:columns})
    for n in 1,2:
        assert not fit(learn, n)
        (a,b),(y,z) = margins(learn, adult_small),targets_of(adult_small, several)
        assert last(learn, 'auroc_a', 'auroc_b', 'ap') == close([roc_auc_score(y, a), roc_auc_score(z, b), average_precision_score(z, b)])
        assert columns[1]._epoch is columns[2]._epoch and columns[0]._epoch is not columns[1]._epoch

def second_head(o, y): return o.b,y[1]

@pytest.mark.parametrize('select', [lambda o,y: (o.b, y[1]), second_head], ids=['lambda', 'function'])
def test_function(select, adult_small):
    learn = make(adult_small, 'object', metrics=AUROC(select=select))
    assert not fit(learn, 2)
    assert last(learn, 'auroc') == close([roc_auc_score(targets_of(adult_small)[1], margins(learn, adult_small)[1])])

def test_function_that_leaves_rows_out(adult_small):
    "Items without a label"
    def labelled(o, y):
        keep = y[1] == 1
        return o[0][keep],y[0][keep]
    learn = make(adult_small, metrics=AUROC(select=labelled))
    assert not fit(learn)
    y,keep = targets_of(adult_small)
    assert last(learn, 'auroc') == close([roc_auc_score(y[keep == 1], margins(learn, adult_small)[0][keep == 1])])

def test_targets_in_a_mapping(adult_small):
    learn = make(adult_small, 'mapping', metrics=[AUROC(select='a', name='auroc_a'), AUROC(select='b', name='auroc_b')])
    class Names(Callback):
        def after_loss(self): self.learn.yb = (dict(zip('ab', self.y)),)
    assert not fit(learn, cbs=Names())
    (a,b),(y,z) = margins(learn, adult_small),targets_of(adult_small)
    assert last(learn, 'auroc_a', 'auroc_b') == close([roc_auc_score(y, a), roc_auc_score(z, b)])

wrong = [(dict(select=2), 'select=2 chooses no part of the outputs, got a tuple of 2'),
    (dict(select='c'), "select='c' chooses no part of the outputs, got a tuple of 2"), (dict(select=lambda o,y: o[0]), 'select must return outputs and targets'),
    (dict(select=lambda o,y: (o, y[0])), r'AUROC needs one tensor of outputs, got a tuple of 2: AUROC\(select=0\) chooses one'),
    (dict(select=lambda o,y: o.nothing), "has no attribute 'nothing'")]

@pytest.mark.parametrize('options,text', wrong, ids=[o[1][:30] for o in wrong])
def test_what_chooses_nothing(options, text, adult_small):
    "NaN with one warning that says why; other columns go on"
    learn = make(adult_small, metrics=[AUROC(**options), AUROC(select=0, name='right')])
    said, = fit(learn, 2)
    import re
    assert re.search(text, str(said.message))
    got = last(learn, 'auroc', 'right')
    assert math.isnan(got[0]) and got[1] == close(roc_auc_score(targets_of(adult_small)[0], margins(learn, adult_small)[0]))

there_is = dict(mapping='a dict of 2 (a, b)', named='a Pair of 2 (a, b)', object='a SimpleNamespace (a, b)', model_output='a ModelOutput of 2 (a, b)', list='a list of 2')

@pytest.mark.parametrize('shape', there_is)
def test_what_there_is_is_told(shape, adult_small):
    learn = make(adult_small, shape, False, metrics=AUROC(select='c'))
    said, = fit(learn, 2)
    assert str(said.message) == f"auroc: AUROC is NaN: select='c' chooses no part of the outputs, got {there_is[shape]}"

def test_one_output_needs_no_choice(adult_learner):
    learn = adult_learner(metrics=AUROC(select=0))
    said, = fit(learn)
    assert 'there is only one tensor of outputs and one of targets' in str(said.message)

@pytest.mark.parametrize('select', [True, 1.5, [0], torch.tensor(0), {}], ids=str)
def test_what_is_no_choice(select):
    with pytest.raises(ValueError, match='select must be an index, a key'): AUROC(select=select)

@pytest.mark.parametrize('how', ['metrics', 'cbs'])
@pytest.mark.parametrize('shape', ['tuple', 'mapping', 'named'])
def test_cancelled_batches(shape, how, adult_small):
    "The outputs before them do not count twice"
    class Skip(Callback):
        def before_batch(self):
            if not self.training and self.iter in (0, 2): raise CancelBatchException()
    learn = make(adult_small, shape, False, **{how:[AUROC(select=keys[shape][1]), AveragePrecision(select=keys[shape][1])]})
    fit(learn, 2, cbs=Skip())
    rows = np.r_[32:64, 96:200]
    y,s = targets_of(adult_small, False)[1][rows],margins(learn, adult_small)[1][rows]
    assert last(learn, 'auroc', 'ap') == close([roc_auc_score(y, s), average_precision_score(y, s)])

def test_activation_of_a_head(adult_small):
    "A loss that says nothing leaves 'auto' to the targets: class numbers mean softmax, which three columns show"
    x,y = adult_small
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a,self.b = nn.Linear(3, 3),nn.Linear(3, 1)
        def forward(self, x): return self.a(x),self.b(x)[:,0]
    k = y + (x[:,1] > 1).long()
    loaders = [DataLoader(list(zip(x[i], k[i], y[i].float())), bs=32, num_workers=0, n_inp=1) for i in (slice(100), slice(100, None))]
    dls = DataLoaders(*loaders)
    dls.n_inp = 1
    loss = lambda o, k, y: F.cross_entropy(o[0], k) + F.binary_cross_entropy_with_logits(o[1], y)
    learn = Learner(dls, Heads(), loss_func=loss, metrics=[AUROC(select=0, name='classes'), AUROC(select=1, name='yes')])
    assert not fit(learn)
    with torch.no_grad(): a,b = (o.double() for o in learn.model(x[100:]))
    want = roc_auc_score(k[100:], a.softmax(1), multi_class='ovr'),roc_auc_score(y[100:], b)
    assert last(learn, 'classes', 'yes') == pytest.approx(want, abs=1e-9)

def test_repr_copies_and_export(adult_small, tmp_path):
    assert repr(AUROC(select='a', name='x')) == "AUROC(name='x', select='a')" and '<lambda>' not in repr(AUROC())
    learn = make(adult_small, metrics=AUROC(select=1))
    fit(learn)
    for other in copy.deepcopy(learn),pickle.loads(pickle.dumps(learn)):
        fit(other)
        assert last(other, 'auroc') == close([roc_auc_score(targets_of(adult_small)[1], margins(other, adult_small)[1])])
    with pytest.raises((pickle.PicklingError, AttributeError)): pickle.dumps(AUROC(select=lambda o,y: (o, y)))  # as with any lambda in a Learner
    assert pickle.loads(pickle.dumps(AUROC(select=second_head))).select is second_head
