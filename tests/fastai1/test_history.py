"The epochs of a fit of fastai 1 as a data frame and as a picture."
import matplotlib, numpy as np, pytest
from functools import partial
from fastai.metrics import accuracy
from fastai_auroc.fastai1 import AUROC
from fastai_auroc.history import history, plot_history

matplotlib.use('agg')

def test_epochs_of_a_fit(adult_learner):
    "The numbers of fastai's table under its names, with the ends of the interval"
    learn = adult_learner(metrics=accuracy, callback_fns=[partial(AUROC, ci=True)])
    learn.fit(3, 1e-2)
    recorder = learn.recorder
    frame = history(learn)
    names = [o for o in recorder.names if o not in ('epoch', 'time')]
    assert list(frame) == [*names, 'auroc_low', 'auroc_high'] and names == ['train_loss', 'valid_loss', 'accuracy', 'auroc', 'auroc_ci']
    np.testing.assert_array_equal(frame[names[2:]], [[float(o) for o in row] for row in recorder.metrics])
    np.testing.assert_array_equal(frame.valid_loss, [float(o) for o in recorder.val_losses])
    ends = np.cumsum(recorder.nb_batches)
    np.testing.assert_array_equal(frame.train_loss, [float(recorder.losses[i-1]) for i in ends])
    assert frame.index.tolist() == [0, 1, 2] and frame.index.name == 'epoch' and {str(o) for o in frame.dtypes} == {'float64'}
    np.testing.assert_allclose(frame.auroc_low, (frame.auroc - frame.auroc_ci).clip(0))
    line, = plot_history(learn).lines
    assert line.get_ydata().tolist() == frame.auroc.tolist()
    learn.fit(1)
    assert len(history(learn)) == 1

@pytest.mark.parametrize('what', ['nothing', 'get_preds'])
def test_without_epochs(adult_learner, what):
    learn = adult_learner(callback_fns=AUROC)
    if what == 'get_preds':
        learn.fit(1)
        learn.get_preds()
    with pytest.raises(ValueError, match='no epochs'): history(learn)

def test_without_metrics_or_validation(adult_learner):
    learn = adult_learner(metrics=None)
    learn.fit(2)
    assert list(history(learn)) == ['train_loss', 'valid_loss'] and len(history(learn)) == 2
    learn.data.valid_dl = None
    learn.fit(2)
    frame = history(learn)
    assert frame.train_loss.notna().all() and len(frame) == 2 and ('valid_loss' not in frame or frame.valid_loss.isna().all())

def test_epochs_without_validation(adult_learner):
    "Which of them were validated fastai does not keep"
    learn = adult_learner(metrics=accuracy)
    learn.fit(3)
    del learn.recorder.val_losses[1], learn.recorder.metrics[1]
    frame = history(learn)
    assert len(frame) == 3 and frame.train_loss.notna().all() and frame[['valid_loss', 'accuracy']].isna().all().all()
