"Options of a loss set later, and the word about batches of one class."
import copy, pickle, pytest, torch, warnings
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from torch import nn
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss
from test_losses import classes_of, outputs_of

pytestmark = pytest.mark.usefixtures('one_thread')

nan = float('nan')

# Options

all_losses = [AUMLoss, SoftDiceLoss, AUROCLoss, SquaredHingeAUCLoss]
every_loss = pytest.mark.parametrize('make', all_losses)
no_sum = "reduction must be 'mean' or 'none', got 'sum': a loss of a whole batch is no sum over rows"
common = [('reduction', 'sum', no_sum), ('reduction', 'avg', "got 'avg'"), ('reduction', None, 'got None'),
    ('reduction', ['mean'], 'reduction must be'), ('axis', 'x', "axis must be a whole number, got 'x'"),
    ('multilabel', 'no', 'multilabel must be True or False'), ('ignore_index', 'void', 'must be one whole number')]
own = [(AUMLoss, 'average', 'binary', "average must be 'micro' or 'macro', got 'binary'"),
    (AUMLoss, 'margins', 'yes', 'margins must be True or False'), (AUROCLoss, 'temperature', '1', 'temperature'),
    (AUROCLoss, 'temperature', 0, 'temperature must be above 0, got 0'), (AUROCLoss, 'temperature', nan, 'got nan'),
    (SquaredHingeAUCLoss, 'margin', -1, 'margin must be above 0, got -1'), (SquaredHingeAUCLoss, 'margin', [1], 'got'),
    (SoftDiceLoss, 'smooth', -1, 'smooth must be a number not below 0'), (SoftDiceLoss, 'square', 'x', 'square must'),
    (SoftDiceLoss, 'weight', [-1, 1], 'none below 0'), (SoftDiceLoss, 'weight', 'a', 'weight')]
cases = [(make, *o) for make in all_losses for o in common] + own

@pytest.mark.parametrize('make,name,value,says', cases, ids=str)
def test_refused_whenever_set(make, name, value, says):
    "By the constructor and afterwards with the same words; what was there before stays"
    with pytest.raises((ValueError, TypeError), match=says): make(**{name:value})
    loss = make()
    before = repr(loss)
    with pytest.raises((ValueError, TypeError), match=says): setattr(loss, name, value)
    assert repr(loss) == before
    copied = pickle.loads(pickle.dumps(loss))
    with pytest.raises((ValueError, TypeError), match=says): setattr(copied, name, value)

@every_loss
def test_set_later(make):
    "As given at first"
    z,y = outputs_of(12, 3),classes_of(12, k=3)
    loss,other = make(),make(reduction='none', ignore_index=2)
    loss.reduction,loss.ignore_index = 'none',2
    assert loss(z, y).equal(other(z, y)) and repr(loss) == repr(other) and 'ignore_index=2' in repr(loss)
    loss.reduction,loss.ignore_index = 'mean',None
    assert loss(z, y).equal(make()(z, y)) and repr(loss) == repr(make()) and 'ignore_index' not in repr(loss)
    loss.axis = -1
    assert loss(z, y).equal(make(axis=-1)(z, y))

def test_own_options_set_later():
    z,y = outputs_of(12, 3),classes_of(12, k=3)
    later = {AUMLoss:dict(average='macro', margins=True), AUROCLoss:dict(temperature=.1),
        SquaredHingeAUCLoss:dict(margin=3), SoftDiceLoss:dict(smooth=0, square=False, weight=[1, 2, 3])}
    for make,kwargs in later.items():
        loss = make()
        for k,v in kwargs.items(): setattr(loss, k, v)
        assert loss(z, y).equal(make(**kwargs)(z, y)) and repr(loss) == repr(make(**kwargs)) and loss.state_dict() == {}
        for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), eval(repr(loss))):
            assert again(z, y).equal(loss(z, y)) and repr(again) == repr(loss)

@every_loss
def test_losses_saved_before(make):
    "Without an ignore_index, as old exports are"
    loss = make()
    del loss.__dict__['ignore_index']
    old = pickle.loads(pickle.dumps(loss))
    assert old.ignore_index is None and old(outputs_of(12), classes_of(12)) == make()(outputs_of(12), classes_of(12))

def test_moved():
    "Weights go where the loss goes"
    loss = SoftDiceLoss(weight=[1, 2, 3])
    assert loss.to('meta').weight.device.type == 'meta' and loss.to(torch.float64).weight.dtype == torch.float64

@every_loss
def test_other_default_device(make):
    "Results are where the outputs are"
    z,y = outputs_of(12, 3),classes_of(12, k=3)
    cases = [(z, y, {}), (z[:,0], y > 0, {}), (z[:,:2], y % 2, {}), (z, y, dict(ignore_index=2)),
        (z, (z > 0).long(), dict(multilabel=True))]
    for reduction in ('mean', 'none'):
        want = [make(reduction=reduction, **kwargs)(a, b) for a,b,kwargs in cases]
        torch.set_default_device('meta')
        try: got = [make(reduction=reduction, **kwargs)(a, b) for a,b,kwargs in cases]
        finally: torch.set_default_device(None)
        for a,b in zip(got, want): assert a.device.type == 'cpu' and a.equal(b)

# Batches of one class

pairwise = pytest.mark.parametrize('make', [AUMLoss, AUROCLoss, SquaredHingeAUCLoss])
says = 'ten batches in a row had rows of one class only.*balance_batches'

def told(loss, batches, requires_grad=True):
    "After which batch the loss warned"
    at = []
    for i,(z,y) in enumerate(batches):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            loss(z.requires_grad_(requires_grad), y)
        at += [i+1]*len(caught)
        for w in caught:
            assert w.category is UserWarning and w.filename == __file__
            for part in (type(loss).__name__, 'ten batches', 'balance_batches(dls)'): assert part in str(w.message)
    return at

def shown(k, n): return outputs_of(*((n, k) if k > 1 else (n,)), dtype=torch.float32)
def negatives(k=1, n=6): return shown(k, n),torch.zeros(n, dtype=torch.long)
def mixed(k=1, n=6): return shown(k, n),torch.arange(n) % max(2, k)

@pairwise
@pytest.mark.parametrize('k', [1, 2])
@pytest.mark.parametrize('reduction', ['mean', 'none'])
def test_told_once(make, k, reduction):
    loss = make(reduction=reduction)
    assert told(loss, [negatives(k)]*9 + [mixed(k)] + [negatives(k)]*9) == [] and told(loss, [mixed(k)]) == []
    positives = negatives(k)[0],torch.ones(6)
    assert told(loss, [negatives(k), positives]*20) == [10]
    assert told(loss, [negatives(k)]*20 + [mixed(k)] + [negatives(k)]*20) == []

@pairwise
def test_not_told(make):
    "Of batches in validation, of none at all, of ones that are in order or tied, or in evaluation mode"
    assert told(make(), [negatives()]*30, requires_grad=False) == []
    loss = make()
    with torch.no_grad(): assert told(loss, [negatives()]*30) == []
    assert told(make().eval(), [negatives()]*30) == []
    assert told(make(), [(torch.zeros(0), torch.zeros(0))]*30) == []
    assert told(make(), [(torch.tensor([-50., 50.]), torch.tensor([0, 1]))]*30) == []
    assert told(make(), [(torch.zeros(4), torch.arange(4) % 2)]*30) == []
    assert told(SoftDiceLoss(), [negatives()]*30) == []

@pytest.mark.parametrize('make', [lambda: AUMLoss('macro'), AUROCLoss, SquaredHingeAUCLoss])
def test_of_several_classes(make):
    "Where no column has both"
    assert told(make(), [negatives(4)]*12) == [10] and told(make(), [mixed(4)]*12) == []
    rare = outputs_of(6, 4, dtype=torch.float32),torch.tensor([0, 0, 0, 0, 0, 3])
    assert told(make(), [rare]*12) == []

@pairwise
def test_of_many_labels_and_left_out_ones(make):
    z = outputs_of(6, 3, dtype=torch.float32)
    loss = make(multilabel=True)
    if make is not AUMLoss: assert told(loss, [(z, torch.tensor([[0, 1, 0]]*6))]*12) == [10]
    assert told(make(), [(z[:,0], torch.tensor([0, 1, 0, 0, 0, 0]))]*12) == []
    assert told(make(ignore_index=1), [(z[:,0], torch.tensor([0, 1, 0, 0, 0, 0]))]*12) == [10]

@pairwise
def test_counts_on_in_a_copy(make):
    loss = make()
    assert told(loss, [negatives()]*6) == []
    for again in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert told(again, [negatives()]*6) == [4]
        assert told(copy.deepcopy(again), [negatives()]*20) == []
        assert told(pickle.loads(pickle.dumps(again)), [negatives()]*20) == []
    assert repr(loss) == repr(make())

@pytest.mark.filterwarnings('ignore')
def test_not_told_under_compile():
    torch._dynamo.reset()
    compiled = torch.compile(AUROCLoss(), backend='eager')
    assert told(compiled, [negatives()]*12) == []

def sorted_dls(bs=8):
    y = torch.arange(160) // 80
    x = y.float()[:,None] + torch.randn(160, 1)
    return DataLoaders(*[DataLoader(list(zip(x, y)), bs=bs) for _ in range(2)])

@pairwise
def test_in_a_learner(make):
    "Rows sorted by their label, not shuffled: every batch is of one class; a validation of such batches is none of it"
    learn = Learner(sorted_dls(), nn.Linear(1, 2), loss_func=make())
    with learn.no_bar(), learn.no_logging():
        with pytest.warns(UserWarning, match=says) as caught: learn.fit(3)
        assert len([w for w in caught if 'ten batches' in str(w.message)]) == 1
        learn = Learner(sorted_dls(), nn.Linear(1, 2), loss_func=make())
        with warnings.catch_warnings():
            warnings.filterwarnings('error', message='.*ten batches')
            for _ in range(3): learn.validate()
            learn.get_preds(with_loss=True)
