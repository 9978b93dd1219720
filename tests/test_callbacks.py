"The live curve of a Learner: the number and the points of its column."
import pickle, warnings, numpy as np, pytest, torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat, MSELossFlat
from matplotlib import pyplot as plt
from types import SimpleNamespace
from scipy.special import softmax
from sklearn import metrics as sk
from torch import nn
from test_losses_training import as_dls, blobs, quietly
from test_plots import curves, is_diagonal, legend, number, points, same_curve
from test_interpret import raw_rows, sk_score, tasks, void_learner
from fastai_auroc.metric import AUROC
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.callbacks import ShowROCCallback
from fastai_auroc.history import history

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

def test_column_of_a_perfect_ranking(recwarn):
    "An interval of a single point is none, with the sentence of `auroc_ci`, once a fit; nor has the picture of the epoch one"
    x = torch.arange(-20., 20)[:,None]
    dls,show = as_dls(x, (x[:,0] > 0).long()),ShowROCCallback()
    learn = Learner(dls, nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), cbs=AUROC(ci=True))
    with torch.no_grad(): learn.model.weight.copy_(torch.tensor([[-1.], [1.]]))
    quietly(learn, 'fit', 2, lr=0., cbs=show)
    assert learn.recorder.values[-1][-2] == 1 and legend(show.ax) == ['epoch 1: AUROC 1.000']
    frame = history(learn)
    assert np.isnan([learn.recorder.values[-1][-1], *frame.auroc_low, *frame.auroc_high]).all()
    assert len([o for o in recwarn.list if 'does not mean certainty' in str(o.message)]) == 1

def test_curve_of_each_epoch(adult_learner, column, sk_auroc):
    "The last in colour, with the number of the column; no figure stays open"
    show = ShowROCCallback()
    learn = adult_learner(metrics=AUROC(), cbs=show)
    quietly(learn, 'fit', 3)
    assert legend(show.ax) == [f"epoch 2: {number(column(learn, 'auroc')[-1])}"]
    lines = curves(show.ax)
    assert len(lines) == 3 and [o.get_color() == lines[-1].get_color() for o in lines] == [False, False, True]
    assert [sk.auc(*points(o)) for o in lines] == pytest.approx(column(learn, 'auroc'), abs=1e-9)
    assert any(map(is_diagonal, show.ax.lines)) and show.ax.get_aspect() == 1 and not plt.get_fignums()
    assert sk.auc(*points(lines[-1])) == pytest.approx(sk_auroc(learn))
    quietly(learn, 'fit', 1)
    assert len(curves(show.ax)) == 1 and legend(show.ax)[0].startswith('epoch 0: ')

def test_callback_of_a_single_fit(adult_learner, recwarn):
    "Without an AUROC column; pictures bring no warnings of matplotlib"
    learn,show = adult_learner(),ShowROCCallback(figsize=(4,3))
    quietly(learn, 'fit', 2, cbs=show)
    assert len(curves(show.ax)) == 2 and tuple(show.fig.get_size_inches()) == (4, 3) and show not in learn.cbs
    assert not [o for o in recwarn.list if 'legend' in str(o.message)]

def test_callback_shows_one_picture(adult_learner, monkeypatch):
    "The first epoch shows it, the later ones redraw it"
    shown,redrawn = [],[]
    class Handle:
        def update(self, fig): redrawn.append(fig)
    def display(fig, display_id): return shown.append(fig) or Handle()
    monkeypatch.setattr('IPython.display.display', display)
    quietly(adult_learner(cbs=ShowROCCallback()), 'fit', 1)
    assert not shown, 'in a terminal there is nothing to show it'
    monkeypatch.setattr('IPython.get_ipython', lambda: SimpleNamespace(kernel=None))
    show = ShowROCCallback()
    quietly(adult_learner(cbs=show), 'fit', 3)
    assert shown == [show.fig] and redrawn == [show.fig]*2

def test_callback_waits_outside_training(adult_learner, capsys):
    "`lr_find` and `get_preds` show nothing, and leave the picture of the fit alone"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    quietly(learn, 'lr_find', num_it=5, show_plot=False)
    quietly(learn, 'get_preds')
    assert 'Figure' not in capsys.readouterr().out and not plt.get_fignums()
    quietly(learn, 'fit', 2)
    fig,label = show.fig,legend(show.ax)
    capsys.readouterr()
    quietly(learn, 'get_preds')
    ROCInterpretation.from_learner(learn)
    quietly(learn, 'lr_find', num_it=5, show_plot=False)
    assert 'Figure' not in capsys.readouterr().out and not plt.get_fignums()
    assert show.fig is fig and legend(show.ax) == label and len(show.curves) == 2

def test_callback_of_one_class(adult, adult_dls, adult_learner):
    "Says undefined, and training goes on"
    poorer = adult.income.mode()[0]
    poor = np.flatnonzero((adult.sample(900, random_state=0).income == poorer).to_numpy())[:200].tolist()
    assert len(poor) == 200
    show = ShowROCCallback()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter('always')
        learn = adult_learner(adult_dls(valid_idx=poor), cbs=show)
        quietly(learn, 'fit', 2)
    assert len(learn.recorder.values) == 2 and legend(show.ax) == ['epoch 1: AUROC undefined'] and not curves(show.ax)

@pytest.mark.parametrize('task', ['three', 'three_masks', 'labels', 'one_output'])
def test_callback_of_other_tasks(task, column):
    "The macro average of many classes"
    data,model,loss = tasks[task]
    show = ShowROCCallback()
    learn = Learner(as_dls(*data()), model(), loss_func=loss(), metrics=AUROC(), cbs=show)
    quietly(learn, 'fit', 2, lr=.05)
    value = column(learn, 'auroc')[-1]
    assert legend(show.ax) == [f'epoch 1: {number(value)}'] and len(curves(show.ax)) == 2
    assert sk.auc(*points(curves(show.ax)[-1])) == pytest.approx(value, abs=1e-9) == pytest.approx(sk_score(*raw_rows(learn)), abs=1e-9)

def test_callback_leaves_a_validation_alone(adult_learner):
    "`validate` after a fit neither draws nor forgets"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    quietly(learn, 'fit', 2)
    fig,label = show.fig,legend(show.ax)
    quietly(learn, 'validate')
    assert show.fig is fig and legend(show.ax) == label and len(show.curves) == 2

def broken():
    "A model whose outputs turn to NaN"
    return Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), lr=1e30)

def regression(): return Learner(as_dls(torch.randn(64, 1), torch.randn(64)), nn.Linear(1, 1), loss_func=MSELossFlat())

@pytest.mark.parametrize('make', [broken, regression])
def test_callback_ends_no_training(make, recwarn):
    "What has no curve is undefined, with one warning a fit"
    show,learn = ShowROCCallback(),make()
    quietly(learn, 'fit', 3, cbs=show)
    assert len(learn.recorder.values) == 3 and legend(show.ax) == ['epoch 2: AUROC undefined'] and show.curves[-1] is None
    assert len([o for o in recwarn.list if 'AUROC is NaN' in str(o.message)]) == 1

@pytest.mark.parametrize('options', [dict(average='micro'), dict(max_fpr=.2, name='auroc_20'), {}], ids=str)
def test_callback_shows_the_number_of_the_column(options, column):
    "Its options and its void rows"
    show,learn = ShowROCCallback(),void_learner(3, metrics=AUROC(ignore_index=255, **options))
    learn.add_cb(show)
    quietly(learn, 'fit', 1, lr=.05)
    name = options.get('name', 'auroc')
    assert legend(show.ax) == [f"epoch 0: {name if name != 'auroc' else 'AUROC'} {column(learn, name)[-1]:.3f}"]
    z,y = raw_rows(learn)
    z,y = softmax(z[y != 255], axis=1),y[y != 255]
    if 'average' in options: assert same_curve(*curves(show.ax), np.eye(3)[y].ravel(), z.ravel())

class Interrupts(Callback):
    def after_batch(self): raise KeyboardInterrupt

def test_callback_after_an_interrupted_search(adult_learner):
    "An `lr_find` that was stopped does not silence the next fit"
    show = ShowROCCallback()
    learn = adult_learner(cbs=show)
    with pytest.raises(KeyboardInterrupt), learn.added_cbs(Interrupts()): quietly(learn, 'lr_find', num_it=5, show_plot=False)
    quietly(learn, 'fit', 2)
    assert len(show.curves) == 2

class Predicts(Callback):
    order = 80
    def after_epoch(self): self.learn.get_preds(inner=True)

@pytest.mark.parametrize('metrics', [None, AUROC()], ids=['alone', 'with a column'])
def test_callback_of_a_fit_that_predicts(metrics, adult_learner):
    show = ShowROCCallback()
    learn = adult_learner(metrics=metrics, cbs=[show, Predicts()])
    quietly(learn, 'fit', 3)
    assert len(show.curves) == 3

@pytest.mark.parametrize('options', [{}, dict(average='micro')], ids=str)
def test_callback_beside_counts(options, recwarn):
    "Of a column that counts between thresholds it takes the other options, of a Learner without a column the loss function's"
    show,learn = ShowROCCallback(),void_learner(3, metrics=AUROC(thresholds='logit', ignore_index=255, **options) if options else None)
    learn.add_cb(show)
    quietly(learn, 'fit', 1, lr=.05)
    z,y = raw_rows(learn)
    z,y = softmax(z[y != 255], axis=1),y[y != 255]
    want = sk.roc_auc_score(y, z, multi_class='ovr', average=options.get('average', 'macro'))
    assert legend(show.ax) == [f'epoch 0: AUROC {want:.3f}'] and not [o for o in recwarn.list if 'AUROC is NaN' in str(o.message)]

def test_callback_is_not_exported(adult_learner, tmp_path):
    "A pickle has neither figure nor rows"
    learn = adult_learner(cbs=ShowROCCallback())
    quietly(learn, 'fit', 1)
    back = pickle.loads(pickle.dumps(learn.show_roc))
    assert back.fig is None and back.curves == [] and back._auroc is None and back.figsize == (5, 5)
    with pytest.raises(ValueError, match='figsize.*5'): ShowROCCallback(figsize=5)
