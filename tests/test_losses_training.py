"Each loss as the `loss_func` of real Learners: training, and all that fastai asks of a loss afterwards."
import matplotlib, numpy as np, pytest, torch
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.tabular.all import Categorify, CategoryBlock, FillMissing, Normalize, TabularDataLoaders, accuracy, tabular_learner
from fastai.text.data import TextDataLoaders
from fastai.text.learner import text_classifier_learner
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config
from fastai.torch_core import noop, set_seed
from torch import nn
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.metric import AUROC

losses = dict(aum=AUMLoss, margins=lambda **kwargs: AUMLoss(margins=True, **kwargs), dice=SoftDiceLoss, auroc=AUROCLoss, hinge=SquaredHingeAUCLoss)
every_loss = pytest.mark.parametrize('name', losses)
matplotlib.use('agg')

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(scope='module')
def rows(adult, tmp_path_factory):
    "DataLoaders of 3,000 rows of Adult, the last 1,000 for validation"
    return TabularDataLoaders.from_df(adult.sample(3000, random_state=0), path=tmp_path_factory.mktemp('adult'), procs=[Categorify, FillMissing, Normalize],
        cat_names=['education','marital-status','occupation'], cont_names=['age','education-num','hours-per-week','capital-gain'], y_names='income',
        y_block=CategoryBlock(), valid_idx=list(range(2000, 3000)), bs=256, val_bs=128)

def quietly(learn, f, *args, **kwargs):
    "What the Learner answers, without bars and tables"
    with learn.no_bar(), learn.no_logging(): return getattr(learn, f)(*args, **kwargs)

@pytest.fixture(scope='module')
def trained(rows):
    "A Learner on Adult trained by a loss, once"
    done = {}
    def get(name):
        if name not in done:
            set_seed(0)
            learn = done[name] = tabular_learner(rows, layers=[50], loss_func=losses[name](), metrics=[accuracy, AUROC()])
            quietly(learn, 'fit', 3, lr=.01)
        return done[name]
    return get

@every_loss
def test_adult(name, trained, column, sk_auroc):
    "AUROC rises above .8; the column knows it, to the digit, from the activation of the loss"
    learn = trained(name)
    auroc,trained_on = column(learn, 'auroc'),column(learn, 'train_loss')
    assert learn.metrics[1]._epoch.accumulator.hints.activation == 'softmax'
    assert all(np.isfinite(column(learn, o)).all() for o in ('train_loss', 'valid_loss', 'accuracy'))
    assert len(auroc) == 3 and trained_on[-1] < trained_on[0]
    assert auroc[-1] > .8 and auroc[-1] == pytest.approx(sk_auroc(learn), abs=1e-12)

@every_loss
def test_predictions(name, trained):
    "Probabilities of both classes, classes, and a number for each row"
    learn = trained(name)
    p,y,decoded,loss = quietly(learn, 'get_preds', with_loss=True, with_decoded=True)
    outputs,_ = quietly(learn, 'get_preds', act=noop)
    assert p.equal(outputs.softmax(1)) and p.sum(1).sub(1).abs().max() < 1e-6
    assert decoded.equal(p.argmax(1)) and decoded.dtype == torch.int64 and len(decoded.unique()) == 2
    assert loss.shape == (1000,) and loss.isfinite().all()
    each = [learn.loss_func(outputs[i:i+128], y[i:i+128]).item() for i in range(0, 1000, 128)]
    assert [o.mean().item() for o in loss.split(128)] == pytest.approx(each, rel=1e-4, abs=1e-6)
    assert learn.loss_func.reduction == 'mean'

@every_loss
def test_interpretation(name, trained):
    learn = trained(name)
    with learn.no_bar():
        interp = Interpretation.from_learner(learn)
        values,idx = interp.top_losses(5)
        *_,targets,_,of_rows = interp[idx]
        assert values.equal(interp.losses.sort(descending=True).values[:5]) and of_rows.equal(values) and len(targets) == 5
        matrix = ClassificationInterpretation.from_learner(learn).confusion_matrix()
    assert matrix.shape == (2, 2) and matrix.sum() == 1000

@every_loss
def test_show_results(name, trained, monkeypatch):
    learn,shown = trained(name),[]
    monkeypatch.setattr('IPython.display.display', shown.append)
    with learn.no_bar(): learn.show_results(max_n=3)
    assert 'income_pred' in shown[0].data and shown[0].data.count('<tr') == 4

@every_loss
def test_export_and_predict(name, trained, adult, tmp_path):
    "A loaded Learner has the same loss and the same predictions"
    learn,file = trained(name),tmp_path/'learner.pkl'
    learn.export(file)
    loaded = load_learner(file)
    assert repr(loaded.loss_func) == repr(learn.loss_func)
    for i in range(3):
        (row,label,p),(_,want,q) = (quietly(o, 'predict', adult.iloc[i]) for o in (loaded, learn))
        assert p.equal(q) and label == want == p.argmax() and p.sum() == pytest.approx(1, abs=1e-6)
    dl = loaded.dls.test_dl(adult.iloc[:40], with_labels=True)
    assert quietly(loaded, 'get_preds', dl=dl, with_loss=True)[2].shape == (40,)

@pytest.mark.parametrize('name', ['margins', 'auroc'])
def test_warm_start(name, rows, column):
    "The loss of a Learner may be exchanged between fits"
    learn = tabular_learner(rows, layers=[50], loss_func=CrossEntropyLossFlat(), metrics=AUROC())
    quietly(learn, 'fit', 1, lr=.01)
    before = column(learn, 'auroc')[-1]
    learn.loss_func = losses[name]()
    quietly(learn, 'fit', 2, lr=.003)
    assert column(learn, 'auroc')[-1] > max(.8, before - .005)

@pytest.fixture(scope='module')
def messages(sms, tmp_path_factory):
    "DataLoaders of the beginnings of 400 messages"
    df = sms.sample(400, random_state=0).assign(text=lambda o: o.text.str[:60])
    return TextDataLoaders.from_df(df, path=tmp_path_factory.mktemp('sms'), text_col='text', label_col='spam',
        valid_pct=.4, seed=0, bs=64, seq_len=20)

@every_loss
def test_sms(name, messages, column, sk_auroc):
    "AUROC rises above that of the untrained model"
    config = {**awd_lstm_clas_config, 'emb_sz':20, 'n_hid':20, 'n_layers':1}
    learn = text_classifier_learner(messages, AWD_LSTM, config=config, pretrained=False, seq_len=20, loss_func=losses[name](), metrics=AUROC(), drop_mult=.1)
    before = sk_auroc(learn)
    quietly(learn, 'fit', 3, lr=.02)
    assert column(learn, 'auroc')[-1] == pytest.approx(sk_auroc(learn), abs=1e-12)
    assert sk_auroc(learn) > max(before, .5) + .05
    label,number,p = quietly(learn, 'predict', 'You have won a prize, call now')
    assert number == p.argmax() and p.sum() == pytest.approx(1, abs=1e-6)
    assert quietly(learn, 'get_preds', with_loss=True)[2].shape == (160,)

# Models of pixels and of other shapes

def as_dls(x, y, bs=16): return DataLoaders(*[DataLoader(list(zip(x, y)), bs=bs, shuffle=train) for train in (True, False)])

def blobs(n, *shape, k=2):
    "Noise, of which the class of an item, or of each of its pixels, can be read"
    y = torch.randint(0, k, (n, *shape))
    return y.float()[:,None] + .7*torch.randn(n, 1, *shape),y

tasks = dict(segmentation=(lambda: blobs(24, 8, 8), lambda: nn.Conv2d(1, 2, 3, padding=1), {}),
    three_masks=(lambda: blobs(24, 8, 8, k=3), lambda: nn.Conv2d(1, 3, 3, padding=1), {}), three=(lambda: blobs(96, k=3), lambda: nn.Linear(1, 3), {}),
    one_output=(lambda: blobs(96), lambda: nn.Linear(1, 1), {}), flat_output=(lambda: blobs(96), lambda: nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)), {}),
    labels=(lambda: (blobs(96, 3)[0][:,0], (torch.rand(96, 3) > .5).long()), lambda: nn.Linear(3, 3), dict(multilabel=True)))

@every_loss
@pytest.mark.parametrize('task', tasks)
def test_shapes_of_outputs(name, task):
    "One pass moves the model, and predictions have the shape of the targets"
    data,model,kwargs = tasks[task]
    x,y = data()
    learn = Learner(as_dls(x, y), model(), loss_func=losses[name](**kwargs), metrics=AUROC())
    before = [p.clone() for p in learn.model.parameters()]
    quietly(learn, 'fit', 5, lr=.2)
    assert not all(p.equal(q) for p,q in zip(learn.model.parameters(), before)) and all(p.isfinite().all() for p in learn.model.parameters())
    p,t,decoded,loss = quietly(learn, 'get_preds', with_loss=True, with_decoded=True)
    assert loss.shape == (len(x),) and loss.isfinite().all() and decoded.numel() == t.numel() and 0 <= p.min() <= p.max() <= 1
    if p.shape[1:2] in ((2,), (3,)) and task != 'labels': assert p.sum(1).sub(1).abs().max() < 1e-5 and decoded.shape == t.shape
    if task != 'labels': assert learn.recorder.values[-1][-1] > .6

@every_loss
def test_mixup(name):
    "fastai mixes the losses of two targets row by row, then trains on their mean"
    x,y = blobs(128)
    learn = Learner(as_dls(x, y, bs=64), nn.Linear(1, 2), loss_func=losses[name](), metrics=AUROC(), cbs=MixUp())
    quietly(learn, 'fit', 10, lr=.3)
    assert learn.loss_func.reduction == 'mean' and learn.recorder.values[-1][-1] > .7

@every_loss
def test_batches_of_one_class(name):
    "A batch of negatives only neither breaks a fit nor moves what has nothing to say"
    x,y = blobs(128)
    order = y.sort().indices
    dls = DataLoaders(DataLoader(list(zip(x[order], y[order])), bs=16), DataLoader(list(zip(x, y)), bs=64))
    learn = Learner(dls, nn.Linear(1, 2), loss_func=losses[name](), metrics=AUROC())
    quietly(learn, 'fit', 1, lr=.05)
    assert all(p.isfinite().all() for p in learn.model.parameters()) and np.isfinite(learn.recorder.values[-1]).all()
