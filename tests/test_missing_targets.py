"A Learner in place of scores and targets: the error says what to write, and signatures show that targets are required."
import inspect, pytest
from fastai.losses import CrossEntropyLossFlat
from fastai.learner import Learner
from sklearn.metrics import roc_auc_score
from torch import nn
from test_losses_training import as_dls, blobs, quietly
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.plots import plot_roc
from fastai_auroc.pr_plots import plot_pr
from fastai_auroc.roc import auroc_score

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')
functions = dict(auroc_score=auroc_score, plot_roc=plot_roc, plot_pr=plot_pr, ROCInterpretation=ROCInterpretation)
everywhere = pytest.mark.parametrize('name', functions)

@pytest.fixture
def learn(): return Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat())

@everywhere
def test_a_learner(name, learn):
    "With or without targets; what the error says can be run"
    f = functions[name]
    way = 'ROCInterpretation.from_learner(learn)' if name == 'ROCInterpretation' else f'{name}(*learn.get_preds())'
    for args in ((learn,), (learn, [0, 1])):
        with pytest.raises(TypeError) as e: f(*args)
        assert str(e.value) == f'{name} takes scores and targets, got a Learner: {way} takes those of its validation set'
    with learn.no_bar(), learn.no_logging(): eval(way, functions | dict(learn=learn))

def test_the_number(learn):
    p,y = quietly(learn, 'get_preds')
    assert float(auroc_score(p, y)) == pytest.approx(roc_auc_score(y, p[:,1]), abs=1e-12)

@everywhere
def test_no_targets(name):
    "As Python says it; targets may be passed by name, and None is not taken for missing ones"
    f = functions[name]
    with pytest.raises(TypeError, match=fr"^{name}\(\) missing 1 required positional argument: 'targets'$"): f([.1, .2])
    with pytest.raises(TypeError, match='missing'): f()
    with pytest.raises((TypeError, ValueError)) as e: f([.1, .2], None)
    assert 'missing 1 required' not in str(e.value)
    f([.1, .2], targets=[0, 1])

@everywhere
def test_signature(name):
    found = inspect.signature(functions[name]).parameters
    assert found['targets'].default is inspect.Parameter.empty and list(found)[1] == 'targets' and found['activation'].default is None
