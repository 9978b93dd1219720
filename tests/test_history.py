"The epochs of a fit as a data frame and as a picture, in fastai 2; those of fastai 1 are in tests/fastai1."
import json, subprocess, sys, numpy as np, pandas as pd, pytest
from fastai.callback.core import Callback, CancelTrainException, CancelValidException
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy
from matplotlib import pyplot as plt
from torch import nn
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.history import history, plot_history
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.metric import AUROC
from test_losses_training import as_dls, blobs, quietly

pytestmark = pytest.mark.usefixtures('one_thread', 'close_figures')

def learner(metrics=None, **kwargs):
    "With accuracy and an AUROC with its interval, or with other metrics"
    if metrics is None: metrics,kwargs = [accuracy],dict(cbs=AUROC(ci=True))
    return Learner(as_dls(*blobs(200)), nn.Linear(1, 2), loss_func=nn.CrossEntropyLoss(), metrics=metrics, **kwargs)

def test_epochs_of_a_fit():
    "fastai's names and numbers, and the ends of the interval that `auroc_ci` finds"
    learn = learner()
    quietly(learn, 'fit', 3, lr=.1)
    values,names = learn.recorder.values,list(learn.recorder.metric_names)[1:-1]
    frame = history(learn)
    assert list(frame) == ['train_loss', 'valid_loss', 'accuracy', 'auroc', 'auroc_ci', 'auroc_low', 'auroc_high'] == names + ['auroc_low', 'auroc_high']
    np.testing.assert_array_equal(frame[names], np.array([list(o) for o in values]))
    assert frame.index.name == 'epoch' and frame.index.tolist() == [0, 1, 2] and {str(o) for o in frame.dtypes} == {'float64'}
    z,y = quietly(learn, 'get_preds', act=lambda x: x)
    _,low,high,_ = auroc_ci(z, y, activation='softmax')
    assert (frame.auroc_low.iloc[-1], frame.auroc_high.iloc[-1]) == pytest.approx((float(low), float(high)), abs=1e-9)
    assert json.loads(frame.to_json())['auroc']['2'] == pytest.approx(frame.auroc[2])

def test_ends_stay_between_0_and_1():
    learn = learner()
    quietly(learn, 'fit', 1)
    learn.recorder.values[0][-2:] = .99,.05
    assert history(learn).loc[0, ['auroc_low', 'auroc_high']].tolist() == pytest.approx([.94, 1])

def test_the_last_fit():
    "A new fit begins anew; fits are joined by pandas"
    learn = learner()
    quietly(learn, 'fit', 2)
    first = history(learn)
    quietly(learn, 'fit', 3)
    second = history(learn)
    assert len(second) == 3
    both = pd.concat([first, second], ignore_index=True)
    line, = plot_history(both).lines
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4] and line.get_ydata().tolist() == both.auroc.tolist()

def test_interpretation_leaves_the_history():
    learn = learner()
    quietly(learn, 'fit', 2)
    before,smooth = history(learn),list(learn.recorder.losses)
    ROCInterpretation.from_learner(learn)
    pd.testing.assert_frame_equal(history(learn), before)
    assert learn.recorder.losses == smooth and len(learn.recorder.lrs) == len(smooth)
    quietly(learn, 'fit', 1)
    assert len(history(learn)) == 1

@pytest.mark.parametrize('what', ['nothing', 'get_preds', 'validate', 'no learner'])
def test_without_epochs(what):
    learn = nn.Linear(1, 1) if what == 'no learner' else learner()
    if what in ('get_preds', 'validate'):
        quietly(learn, 'fit', 1)
        quietly(learn, what)
    for f in (history, plot_history):
        with pytest.raises(ValueError, match='no epochs.*after fit, and before validate or get_preds'): f(learn)
    assert not plt.get_fignums()

@pytest.mark.parametrize('kwargs', [dict(train_metrics=True), dict(add_time=False), dict(train_metrics=True, valid_metrics=False)], ids=str)
def test_recorders(kwargs):
    learn = learner([AUROC()] if 'train_metrics' not in kwargs else [accuracy])
    learn.remove_cb(Recorder)
    learn.add_cb(Recorder(**kwargs))
    quietly(learn, 'fit', 2)
    frame = history(learn)
    names = [o for o in learn.recorder.metric_names if o not in ('epoch', 'time')]
    assert list(frame) == names and not frame.isna().any().any() and len(frame) == 2

class Cancel(Callback):
    def __init__(self, train): self.train = train
    def before_batch(self):
        if self.epoch != 1 or self.training != self.train: return
        raise CancelTrainException if self.train else CancelValidException

@pytest.mark.parametrize('train', [False, True])
def test_cancelled_parts_are_missing(train):
    learn = learner([AUROC()], cbs=Cancel(train))
    quietly(learn, 'fit', 3)
    frame = history(learn)
    missing = ['train_loss'] if train else ['valid_loss', 'auroc']
    assert frame.loc[1].isna().tolist() == [o in missing for o in frame] and not frame.loc[[0, 2]].isna().any().any()

@pytest.mark.parametrize('train', [False, True])
def test_cancelled_parts_of_equal_length(train):
    "With metrics of the training set, too, or without any, both parts of an epoch have as many values"
    for metrics in ([accuracy], []):
        learn = learner(metrics, cbs=Cancel(train))
        learn.remove_cb(Recorder)
        learn.add_cb(Recorder(train_metrics=True))
        quietly(learn, 'fit', 3)
        frame = history(learn)
        assert frame.loc[1].isna().tolist() == [o.startswith('train_' if train else 'valid_') for o in frame]
        assert not frame.loc[[0, 2]].isna().any().any()

def test_metrics_that_are_not_computed():
    "A Recorder without those of the validation set names them all the same"
    learn = learner([AUROC()])
    learn.remove_cb(Recorder)
    learn.add_cb(Recorder(valid_metrics=False))
    quietly(learn, 'fit', 2)
    frame = history(learn)
    assert frame.train_loss.tolist() == [o[0] for o in learn.recorder.values] and frame.auroc.isna().all()

def test_a_metric_with_the_name_of_a_training_column():
    def train_share(preds, targets): return preds.mean()
    learn = learner([train_share], cbs=Cancel(True))
    quietly(learn, 'fit', 3)
    assert history(learn).loc[1].isna().tolist() == [True, False, False]

def test_two_columns_of_one_name():
    "The second has a number, and each its own interval"
    learn = learner([accuracy, accuracy], cbs=[AUROC(), AUROC(ci=True, activation='identity')])
    quietly(learn, 'fit', 2)
    assert list(learn.recorder.metric_names)[3:8] == ['accuracy', 'accuracy', 'auroc', 'auroc', 'auroc_ci']
    frame = history(learn)
    assert list(frame)[2:] == ['accuracy', 'accuracy_2', 'auroc', 'auroc_2', 'auroc_2_ci', 'auroc_2_low', 'auroc_2_high']
    np.testing.assert_array_equal(frame.iloc[:,:-2], np.array([list(o) for o in learn.recorder.values]))
    ax = plot_history(learn)
    assert [o.get_label() for o in ax.lines] == ['auroc', 'auroc_2'] and len(bands(ax)) == 1

# The picture

def bands(ax): return [o.get_paths()[0].vertices for o in ax.collections]

def test_picture():
    "The column and its band, from the end of the interval to the other; epochs are whole"
    learn = learner()
    quietly(learn, 'fit', 4)
    frame,ax = history(learn),plot_history(learn)
    line, = ax.lines
    assert line.get_ydata().tolist() == frame.auroc.tolist() and (ax.get_xlabel(), ax.get_ylabel()) == ('epoch', 'auroc')
    corners, = bands(ax)
    assert {*map(tuple, np.round(corners, 9))} == {(i, round(frame[o][i], 9)) for o in ('auroc_low', 'auroc_high') for i in range(4)}
    assert all(o == int(o) for o in ax.get_xticks()) and ax.get_legend() is None

def test_picture_of_chosen_columns():
    learn = learner()
    quietly(learn, 'fit', 2)
    _,(left,right) = plt.subplots(1, 2)
    assert plot_history(learn, ['valid_loss', 'auroc'], ax=right) is right and not left.lines
    assert [o.get_label() for o in right.lines] == ['valid_loss', 'auroc'] == [o.get_text() for o in right.get_legend().get_texts()]
    assert plot_history(learn, 'accuracy').lines[0].get_ydata().tolist() == history(learn).accuracy.tolist()
    with pytest.raises(ValueError, match=r"columns must be some of \['train_loss'.*got 'f1'"): plot_history(learn, ['f1'])
    with pytest.raises(TypeError, match='ax must be matplotlib axes, got Figure'): plot_history(learn, ax=plt.Figure())

def test_picture_of_one_epoch():
    learn = learner()
    quietly(learn, 'fit', 1)
    ax = plot_history(learn)
    assert [o for o in ax.get_xticks() if ax.get_xlim()[0] <= o <= ax.get_xlim()[1]] == [0]

def test_picture_of_other_names():
    "A column is found by its interval; without one it is to be named"
    learn = learner([], cbs=AUROC(ci=True, name='area'))
    quietly(learn, 'fit', 1)
    ax = plot_history(learn)
    assert ax.get_ylabel() == 'area' and len(ax.collections) == 1  # a bar, as one epoch has no band
    frame = history(learn)[['train_loss', 'area']]
    with pytest.raises(ValueError, match=r"no column 'auroc' or 'ap', and none with an interval: choose columns= of \['train_loss', 'area'\]"): plot_history(frame)

def test_imports_no_fastai():
    code = "import sys, fastai_auroc.history; print([o for o in ('fastai', 'pandas', 'matplotlib') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
