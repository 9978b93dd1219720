"Each loss as the `loss_func` of real fastai 1 Learners: training, and all that fastai 1 asks of a loss afterwards."
import gc, math, subprocess, sys, numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from fastai.basic_data import DataBunch
from fastai.basic_train import Learner, LearnerCallback, load_learner
from fastai.core import noop
from fastai.data_block import MultiCategoryList
from fastai.layers import BCEWithLogitsFlat, CrossEntropyFlat, LabelSmoothingCrossEntropy, MSELossFlat
from fastai.metrics import accuracy
from fastai.tabular import Categorify, FillMissing, Normalize, TabularList, tabular_learner
from fastai.text import AWD_LSTM, TextClasDataBunch, Tokenizer, awd_lstm_clas_config, text_classifier_learner
from fastai.train import ClassificationInterpretation
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import nn
from torch.utils.data import TensorDataset
from fastai_auroc.fastai1 import AUROC, AveragePrecision
from fastai_auroc.losses import AUMLoss, AUROCLoss, MixedLoss, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.samplers import StratifiedBatchSampler

losses = dict(aum=AUMLoss, margins=lambda **kwargs: AUMLoss(margins=True, **kwargs), dice=SoftDiceLoss, auroc=AUROCLoss, hinge=SquaredHingeAUCLoss)
every_loss = pytest.mark.parametrize('name', losses)

@pytest.fixture(scope='module', autouse=True)
def _in_no_time():
    "fastai 1 often collects garbage: among what these tests make, not among all modules"
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()

# The definitions, from all pairs and all thresholds

def sigmoid(x): return 1/(1 + np.exp(-x))
def gaps(s, y): return s[y == 1][:,None] - s[y == 0]
def least_hinges(s, y):
    if y.min() == y.max(): return 0.
    over = s[:,None] - s
    return (np.maximum(-over[y == 1], 0).mean(0) + np.maximum(over[y == 0], 0).mean(0)).min()
def dice(p, y): return 1 - (2*(p*y).sum() + 1)/((p**2).sum() + y.sum() + 1)
definitions = dict(aum=lambda s, y: least_hinges(sigmoid(s), y), margins=least_hinges, dice=lambda s, y: dice(sigmoid(s), y),
    auroc=lambda s, y: sigmoid(-gaps(s, y)).mean(), hinge=lambda s, y: (np.maximum(1-gaps(s, y), 0)**2).mean())

def scored(learn):
    "Margins in float64 and targets of the validation rows, as arrays, from raw outputs"
    outputs,targets = learn.get_preds(activ=noop)
    outputs = outputs.double().numpy()
    return outputs[:,1] - outputs[:,0],targets.numpy()

# Tabular

cats,conts,procs = ['education','marital-status','occupation'],['age','education-num','hours-per-week','capital-gain'],[FillMissing, Categorify, Normalize]

def items(df, path): return TabularList.from_df(df, path=path, cat_names=cats, cont_names=conts, procs=procs).split_by_idx(range(len(df)-1000, len(df)))

@pytest.fixture(scope='module')
def rows(adult, tmp_path_factory):
    "3,000 rows of Adult as a DataBunch, the last 1,000 for validation"
    data = items(adult.sample(3000, random_state=0), tmp_path_factory.mktemp('adult')).label_from_df(cols='income')
    return data.databunch(bs=128, val_bs=384, num_workers=0)

@pytest.fixture(scope='module')
def trained(rows):
    "A Learner on Adult trained with a loss, once, and its recorder"
    done = {}
    def get(name):
        if name not in done:
            np.random.seed(0)
            torch.manual_seed(0)
            learn = tabular_learner(rows, layers=[30], loss_func=losses[name](), metrics=accuracy, callback_fns=AUROC, silent=True)
            learn.fit(3, .01)
            done[name] = learn,learn.recorder
        return done[name]
    return get

@pytest.mark.parametrize('column,name', [(AUROC(max_fpr=.1), 'AUROC'), (AveragePrecision(), 'AveragePrecision'), (AUROC, 'AUROC')], ids=str)
def test_a_column_as_a_loss(column, name, adult_learner):
    "The error names the loss"
    with pytest.raises(TypeError, match=f'{name}.*as a loss use {name}Loss'): adult_learner(loss_func=column).fit(1)
    with pytest.raises(TypeError, match=f'not metrics or callbacks, got .*{name}.*as a loss use {name}Loss'): MixedLoss(CrossEntropyFlat(), column)

@every_loss
def test_adult(name, trained, column, sk_auroc):
    "AUROC rises above .8, and the column is scikit-learn's number"
    learn,recorder = trained(name)
    auroc,lost = column(recorder, 'auroc'),[float(o) for o in recorder.losses]
    assert len(auroc) == 3 and all(map(math.isfinite, lost + [float(o) for o in recorder.val_losses]))
    assert np.mean(lost[-15:]) < np.mean(lost[:15])
    assert auroc[-1] > .8 and auroc[-1] == pytest.approx(sk_auroc(learn), rel=0, abs=1e-12)

@every_loss
def test_predictions(name, trained):
    "Probabilities of both classes, and a number for each row, whose mean is the loss of all rows as it is defined"
    learn,_ = trained(name)
    raw,_ = learn.get_preds(activ=noop)
    p,y,of_rows = learn.get_preds(with_loss=True)
    assert p.equal(learn.get_preds()[0]) and p.equal(raw.softmax(1)) and not p.equal(raw) and p.sum(1).sub(1).abs().max() < 1e-6
    assert of_rows.shape == (1000,) and of_rows.isfinite().all() and (of_rows >= 0).all() and learn.loss_func.reduction == 'mean'
    assert of_rows.double().mean().item() == pytest.approx(definitions[name](*scored(learn)), rel=1e-4)

@every_loss
def test_validate(name, trained):
    "The mean over batches, weighted by their rows, as fastai 1 has it; and the metrics"
    learn,recorder = trained(name)
    s,y = scored(learn)
    parts = [slice(0, 384),slice(384, 768),slice(768, 1000)]
    want = sum(definitions[name](s[o], y[o])*len(s[o]) for o in parts)/1000
    got = learn.validate()
    assert [float(o) for o in got] == pytest.approx([want, ((s > 0) == y).mean()], rel=1e-4)
    assert got[0] == pytest.approx(float(recorder.val_losses[-1]), rel=1e-6)

@every_loss
def test_interpretation(name, trained):
    learn,_ = trained(name)
    interp = ClassificationInterpretation.from_learner(learn)
    s,y = scored(learn)
    values,at = interp.top_losses(5)
    assert values.equal(interp.losses.sort(descending=True).values[:5]) and values.equal(interp.losses[at]) and interp.losses.shape == (1000,)
    matrix = confusion_matrix(y, s > 0)
    assert np.array_equal(interp.confusion_matrix(), matrix) and matrix.min() > 0

@every_loss
def test_show_results(name, trained, monkeypatch):
    (learn,_),shown = trained(name),[]
    monkeypatch.setattr('IPython.display.display', shown.append)
    learn.show_results(rows=4)
    assert len(shown) == 1 and 'prediction' in shown[0].data and shown[0].data.count('<tr') == 5

@every_loss
def test_export_and_predict(name, trained, adult, tmp_path):
    "A loaded Learner has the same loss, options included, and the same predictions, which are probabilities"
    learn,_ = trained(name)
    before,learn.path = learn.path,tmp_path
    learn.export()
    learn.path,loaded = before,load_learner(tmp_path)
    assert repr(loaded.loss_func) == repr(learn.loss_func) and type(loaded.loss_func) is type(learn.loss_func)
    assert ('margins=True' in repr(loaded.loss_func)) == (name == 'margins')
    for i in range(3):
        (label,number,p),(_,want,q) = (o.predict(adult.iloc[i]) for o in (loaded, learn))
        assert p.equal(q) and number == want == p.argmax() and p.sum() == pytest.approx(1, abs=1e-6) and str(label) == ['<=50K','>50K'][number]

@pytest.mark.parametrize('weight', [[1,3,2], (1.,3.,2.), np.array([1.,3.,2.]), torch.tensor([1.,3.,2.])], ids=['list','tuple','array','tensor'])
def test_weighted_dice(weight, task_data, tmp_path):
    "fastai 1 moves what a loss calls `weight` to the CPU when it asks for a number for each row"
    learn = Learner(task_data('three'), nn.Linear(1, 3), loss_func=SoftDiceLoss(weight=weight), silent=True)
    learn.path = tmp_path
    learn.fit(1)
    raw,y = learn.get_preds(activ=noop)
    of_rows = learn.get_preds(with_loss=True)[2]
    want = np.average([dice(raw.softmax(1)[:,c].double().numpy(), (y == c).numpy()) for c in range(3)], weights=[1,3,2])
    assert of_rows.shape == (96,) and of_rows.mean().item() == pytest.approx(want, rel=1e-5)
    ClassificationInterpretation.from_learner(learn)
    learn.validate()

@pytest.mark.parametrize('name', ['auroc', 'hinge'])
def test_weighted_pairs(name, task_data, column):
    "As many weights as classes, in training and in the losses of rows, whose mean is the weighted mean over classes"
    learn = Learner(task_data('three'), nn.Linear(1, 3), loss_func=losses[name](weight=[1,3,2]), callback_fns=AUROC, silent=True)
    learn.fit(5, .1)
    assert column(learn.recorder, 'auroc')[-1] > .6
    raw,y = learn.get_preds(activ=noop)
    odds = raw.double().log_softmax(1).numpy()
    odds -= np.log(-np.expm1(odds))
    of_rows = learn.get_preds(with_loss=True)[2]
    want = np.average([definitions[name](odds[:,c], (y == c).numpy().astype(int)) for c in range(3)], weights=[1,3,2])
    assert of_rows.shape == (96,) and of_rows.mean().item() == pytest.approx(want, rel=1e-4)
    assert learn.loss_func.weight.tolist() == [1,3,2]

def test_dice_by_image(task_data):
    "A loss for each image"
    learn = Learner(task_data('three_masks'), nn.Conv2d(1, 3, 3, padding=1), loss_func=SoftDiceLoss(include_background=False, per_sample=True), silent=True)
    learn.fit(2, .1)
    raw,y = learn.get_preds(activ=noop)
    p,want = raw.softmax(1).double().numpy(),[]
    for q,t in zip(p, y.numpy()): want.append(np.mean([dice(q[c], t == c) for c in (1, 2)]))
    assert learn.get_preds(with_loss=True)[2].numpy() == pytest.approx(np.array(want), rel=1e-4)

@pytest.mark.parametrize('name', ['margins', 'auroc'])
def test_warm_start(name, rows, column):
    "The loss of a Learner may be exchanged between fits"
    learn = tabular_learner(rows, layers=[30], loss_func=CrossEntropyFlat(), metrics=accuracy, callback_fns=AUROC, silent=True)
    learn.fit(1, .01)
    first = learn.validate()[0]
    learn.loss_func = losses[name]()
    assert learn.validate()[0] != first
    learn.fit(2, .003)
    assert column(learn.recorder, 'auroc')[-1] > .8

@every_loss
def test_labels(name, adult, tmp_path):
    "Several labels a row, each with a sigmoid of its own"
    df = adult.sample(2000, random_state=0).assign(rich=lambda o: (o.income == '>50K')*1, male=lambda o: (o.gender == 'Male')*1)
    data = items(df, tmp_path).label_from_df(cols=['rich','male'], label_cls=MultiCategoryList, one_hot=True).databunch(bs=128, num_workers=0)
    learn = tabular_learner(data, layers=[30], loss_func=losses[name](multilabel=True), callback_fns=AUROC, silent=True)
    learn.fit(2, .01)
    recorder,(raw,y) = learn.recorder,learn.get_preds(activ=noop)
    want = roc_auc_score(y.numpy(), raw.double().numpy())
    assert want > .75 and float(recorder.metrics[-1][-1]) == pytest.approx(want, rel=0, abs=1e-12)
    p,_,of_rows = learn.get_preds(with_loss=True)
    assert p.shape == (1000, 2) and p.equal(raw.sigmoid()) and of_rows.shape == (1000,) and of_rows.isfinite().all()
    _,labels,p = learn.predict(df.iloc[0])
    assert labels.tolist() == (p > .5).float().tolist() and 0 < p.min() and p.max() < 1

# Text

@pytest.fixture(scope='module')
def sms_data(sms, tmp_path_factory):
    "The beginnings of 400 messages"
    df = sms.sample(400, random_state=0).assign(text=lambda o: o.text.str[:60])
    return TextClasDataBunch.from_df(tmp_path_factory.mktemp('sms'), df[:240], df[240:], text_cols='text', label_cols='spam', tokenizer=Tokenizer(n_cpus=1),
        max_vocab=800, min_freq=2, bs=32, num_workers=0)

@every_loss
def test_sms(name, sms_data, column, sk_auroc):
    "AUROC rises above that of the untrained model; predictions and losses come in the order of the messages"
    config = {**awd_lstm_clas_config, **dict(emb_sz=20, n_hid=20, n_layers=1)}
    learn = text_classifier_learner(sms_data, AWD_LSTM, config=config, pretrained=False, drop_mult=.1, loss_func=losses[name](),
        callback_fns=AUROC, silent=True)
    before = sk_auroc(learn)
    learn.fit(3, .01 if name == 'dice' else .02)  # dice goes astray when hurried
    recorder,after = learn.recorder,sk_auroc(learn)
    assert column(recorder, 'auroc')[-1] == pytest.approx(after, rel=0, abs=1e-12) and after > max(before, .5) + .05
    raw,_ = learn.get_preds(activ=noop)
    p,y,of_rows = learn.get_preds(with_loss=True)
    assert p.sum(1).sub(1).abs().max() < 1e-6 and (p-raw.softmax(1)).abs().max() < 1e-6 and of_rows.shape == (160,)
    assert y.tolist() == [int(o) for o in sms_data.valid_ds.y.items]
    _,number,p = learn.predict('You have won a prize, call now')
    assert number == p.argmax() and p.sum() == pytest.approx(1, abs=1e-6)

# Models of other shapes

def blobs(n, *shape, k=2):
    "Noise, of which the class of an item, or of each of its pixels, can be read"
    y = torch.randint(0, k, (n, *shape))
    return y.float()[:,None] + .7*torch.randn(n, 1, *shape),y

def as_data(train, valid, bs, path=None, **kwargs):
    return DataBunch.create(TensorDataset(*train), TensorDataset(*valid), bs=bs, num_workers=0, pin_memory=False, path=path, **kwargs)

tasks = dict(segmentation=(lambda: blobs(24, 8, 8), lambda: nn.Conv2d(1, 2, 3, padding=1)),
    three_masks=(lambda: blobs(24, 8, 8, k=3), lambda: nn.Conv2d(1, 3, 3, padding=1)), two=(lambda: blobs(128), lambda: nn.Linear(1, 2)),
    three=(lambda: blobs(96, k=3), lambda: nn.Linear(1, 3)), one_output=(lambda: blobs(96), lambda: nn.Linear(1, 1)),
    one_column=(lambda: (lambda x, y: (x, y[:,None].float()))(*blobs(96)), lambda: nn.Linear(1, 1)),
    flat_output=(lambda: blobs(96), lambda: nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))))

@pytest.fixture
def task_data(tmp_path): return lambda task, bs=16: as_data(*[tasks[task][0]()]*2, bs, tmp_path)

@every_loss
@pytest.mark.parametrize('task', tasks)
def test_shapes_of_outputs(name, task, task_data, column):
    "Predictions are a softmax over more outputs, a sigmoid of one; the model has learnt, and each target has a loss"
    learn = Learner(task_data(task), tasks[task][1](), loss_func=losses[name](), callback_fns=AUROC, silent=True)
    learn.fit(10 if task == 'three_masks' else 5, .1)
    auroc = column(learn.recorder, 'auroc')[-1]
    raw,_ = learn.get_preds(activ=noop)
    p,y,of_rows = learn.get_preds(with_loss=True)
    assert p.equal(raw.softmax(1) if raw.ndim > 1 and raw.shape[1] > 1 else raw.sigmoid()) and p.shape == raw.shape and p.isfinite().all()
    assert of_rows.shape == (y.numel(),) and of_rows.isfinite().all() and auroc > .6
    if task == 'segmentation':  # the rows are the pixels, image by image: a positive loses the less the higher it stands
        lost = of_rows.view_as(y)[y == 1][(raw[:,1]-raw[:,0])[y == 1].argsort()]
        assert (lost.diff() <= 1e-7).all() and (name == 'dice' or lost[0] > lost[-1])

@pytest.mark.parametrize('task', ['two', 'three'])
@every_loss
def test_mixup(name, task, task_data, column, recwarn):
    "fastai 1 mixes the losses of two targets row by row; the column and predictions in the middle of it are those of the loss"
    class Look(LearnerCallback):
        def on_epoch_end(self, **kwargs):
            self.learn.model.eval()
            raw,wrapped = self.learn.model(x).detach(),self.learn.loss_func
            seen.append((type(wrapped).__name__, wrapped.crit.reduction, wrapped(raw, y).item(), raw, self.learn.pred_batch(batch=(x, y))))
    data,seen = task_data(task, 64),[]
    x,y = data.valid_ds.tensors
    learn = Learner(data, tasks[task][1](), loss_func=losses[name](), callback_fns=AUROC, silent=True).mixup()
    own = learn.loss_func
    learn.fit(12, .1, callbacks=[Look(learn)])
    assert learn.loss_func is own and own.reduction == 'mean'
    kind,reduction,value,raw,p = seen[-1]
    assert (kind, reduction) == ('MixUpLoss', 'none') and value == pytest.approx(own(raw, y).item(), rel=1e-5)
    assert not [o for o in recwarn if 'AUROC' in str(o.message)]
    scores = raw.double().softmax(1).numpy()
    want = roc_auc_score(y.numpy(), scores[:,1] if task == 'two' else scores, multi_class='ovr')
    assert column(learn.recorder, 'auroc')[-1] == pytest.approx(want, rel=0, abs=1e-12) and want > .7
    assert (p - raw.softmax(1)).abs().max() < 1e-6

@every_loss
def test_batches_of_one_class(name, tmp_path):
    "They neither break a fit nor, for pairs, move a model that has nothing to learn from them"
    x,y = blobs(128)
    order = y.sort().indices[:(y == 0).sum()]
    learn = Learner(as_data((x[order], y[order]), (x, y), 16, tmp_path), nn.Linear(1, 2), loss_func=losses[name](), callback_fns=AUROC, silent=True)
    learn.data.train_dl = learn.data.train_dl.new(shuffle=False)
    before = [p.clone() for p in learn.model.parameters()]
    learn.fit(1, .05, wd=0.)
    assert np.isfinite([float(o) for o in learn.recorder.losses + learn.recorder.val_losses + learn.recorder.metrics[-1]]).all()
    assert all(p.equal(q) for p,q in zip(learn.model.parameters(), before)) != (name == 'dice')

# Losses added up

mixtures = dict(cross_entropy=lambda: MixedLoss(CrossEntropyFlat(), AUROCLoss(), weights=(1, .5)),
    smoothing=lambda: MixedLoss(LabelSmoothingCrossEntropy(), SquaredHingeAUCLoss(), weights=(1, .1)),
    three=lambda: MixedLoss(nn.CrossEntropyLoss(), AUMLoss(), SoftDiceLoss()), functions=lambda: MixedLoss(mse_of_classes, F.cross_entropy))

def mse_of_classes(outputs, targets, reduction='mean'): return F.mse_loss(outputs[:,1].sigmoid(), targets.float(), reduction=reduction)

@pytest.mark.parametrize('name', mixtures)
def test_mixture(name, rows, column, sk_auroc, adult, tmp_path):
    "Training, the column, probabilities by the first part that fastai 1 knows, losses of rows, export"
    learn = tabular_learner(rows, layers=[30], loss_func=mixtures[name](), metrics=accuracy, callback_fns=AUROC, silent=True)
    learn.fit(3, .01)
    recorder,lost = learn.recorder,[float(o) for o in learn.recorder.losses]
    auroc = column(recorder, 'auroc')
    assert np.mean(lost[-15:]) < np.mean(lost[:15]) and auroc[-1] > .8 and auroc[-1] == pytest.approx(sk_auroc(learn), rel=0, abs=1e-12)
    raw,_ = learn.get_preds(activ=noop)
    p,y,of_rows = learn.get_preds(with_loss=True)
    assert p.equal(raw.softmax(1)) and of_rows.shape == (1000,) and learn.loss_func.reduction == 'mean'
    assert of_rows.mean().item() == pytest.approx(learn.loss_func(raw, y).item(), rel=1e-5)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.losses.equal(of_rows) and interp.confusion_matrix().sum() == 1000
    before,learn.path = learn.path,tmp_path
    learn.export()
    learn.path,loaded = before,load_learner(tmp_path)
    assert loaded.loss_func.weights == learn.loss_func.weights
    assert loaded.predict(adult.iloc[0])[2].equal(learn.predict(adult.iloc[0])[2])

mixed_tasks = dict(segmentation=(lambda: MixedLoss(CrossEntropyFlat(axis=1), AUROCLoss()), lambda x: x.softmax(1)),
    three_masks=(lambda: MixedLoss(CrossEntropyFlat(axis=1), SoftDiceLoss()), lambda x: x.softmax(1)),
    one_column=(lambda: MixedLoss(BCEWithLogitsFlat(), AUROCLoss()), torch.sigmoid), three=(lambda: MixedLoss(nn.NLLLoss(), AUROCLoss()), torch.exp))

@pytest.mark.parametrize('task', mixed_tasks)
def test_mixture_of_other_shapes(task, task_data, column):
    loss_func,activation = mixed_tasks[task]
    model = nn.Sequential(tasks[task][1](), *[nn.LogSoftmax(1)]*(task == 'three'))  # NLLLoss takes the logarithms of probabilities
    learn = Learner(task_data(task), model, loss_func=loss_func(), callback_fns=AUROC, silent=True)
    learn.fit(5, .1)
    auroc = column(learn.recorder, 'auroc')[-1]
    raw,_ = learn.get_preds(activ=noop)
    p,y,of_rows = learn.get_preds(with_loss=True)
    assert p.equal(activation(raw)) and of_rows.shape == (len(y),) and of_rows.isfinite().all() and auroc > .6

def test_mixture_with_mixup(task_data, column):
    learn = Learner(task_data('two', 64), nn.Linear(1, 2), loss_func=MixedLoss(CrossEntropyFlat(), AUROCLoss()), callback_fns=AUROC, silent=True).mixup()
    own = learn.loss_func
    learn.fit(12, .1)
    assert learn.loss_func is own and own.reduction == 'mean' and column(learn.recorder, 'auroc')[-1] > .7

# Batches with both classes

class Seen(LearnerCallback):
    "Notes the positives and the rows of each training batch"
    def on_train_begin(self, **kwargs): self.batches = []
    def on_batch_begin(self, last_target, train, **kwargs):
        if train: self.batches.append((int(last_target.sum()), len(last_target)))

@pytest.mark.parametrize('balanced', [True, False])
def test_stratified_batches(balanced, adult, tmp_path, sk_auroc):
    "At 2% every batch has both classes, there are as many as before, and a fit reaches an AUROC of .75"
    rich,poor = ((adult[(adult.income == '>50K') == o]).sample(frac=1, random_state=0) for o in (True, False))
    df = pd.concat([pd.concat([rich[:50], poor[:2450]]).sample(frac=1, random_state=0), rich[50:250], poor[2450:3250]])
    data = items(df, tmp_path).label_from_df(cols='income').databunch(bs=64, num_workers=0)
    targets = data.train_ds.y.items
    assert targets.mean() == .02
    def fit():
        learn = tabular_learner(data, layers=[30], loss_func=AUROCLoss(), metrics=accuracy, silent=True)
        seen = Seen(learn)
        learn.fit(3, .01, callbacks=[seen])
        return learn,np.array(seen.batches)
    usual,before = len(data.train_dl),fit()[1]
    assert len(before) == 3*usual == 3*(2500//64) and (before[:,0] == 0).any()
    data.train_dl = data.train_dl.new(shuffle=False, sampler=StratifiedBatchSampler(targets, 64, balanced=balanced).rows)
    learn,after = fit()
    assert len(data.train_dl) == usual and len(after) == 3*usual and (after[:,1] == 64).all() and (after[:,0] > 0).all() and (after[:,0] < 64).all()
    assert (after[:,0] == 32).all() if balanced else after[:,0].max() <= 3
    assert sk_auroc(learn) > .75

# The losses of others

class WithActivation(nn.Module):
    "A loss of one's own, of which fastai 1 asks nothing"
    def forward(self, outputs, targets): return outputs.square().mean()
    def activation(self, x): return x.softmax(1)

def identity(x): return x
def softmax(x): return x.softmax(1)
others = dict(cross_entropy=(CrossEntropyFlat, softmax), cross_entropy_torch=(nn.CrossEntropyLoss, softmax), nll=(nn.NLLLoss, torch.exp),
    bce=(BCEWithLogitsFlat, torch.sigmoid), bce_torch=(nn.BCEWithLogitsLoss, torch.sigmoid), smoothing=(LabelSmoothingCrossEntropy, identity),
    mse=(MSELossFlat, identity), own=(WithActivation, identity), cross_entropy_function=(lambda: F.cross_entropy, softmax),
    bce_function=(lambda: F.binary_cross_entropy_with_logits, torch.sigmoid), mse_function=(lambda: F.mse_loss, identity))

@pytest.mark.parametrize('other', others)
def test_other_losses(other, task_data):
    "They keep the activation that fastai 1 gives them"
    loss_func,activation = others[other]
    learn = Learner(task_data('three'), nn.Linear(1, 3), loss_func=loss_func(), silent=True)
    assert learn.get_preds()[0].equal(activation(learn.get_preds(activ=noop)[0]))

in_a_process = """
import importlib, sys, types, warnings
warnings.filterwarnings('ignore')
import fastai, numpy as np, torch
from pathlib import Path
from fastai import basic_train
from fastai.basic_train import Learner
from fastai.core import noop
from fastai.data_block import ItemList
from fastai.layers import CrossEntropyFlat
from sklearn.datasets import load_digits
from torch import nn
if BEFORE: from fastai_auroc.fastai1 import AUROC
try: import fastai.vision
except Exception:  # torchvision is of another build; the parts used here do without
    package = types.ModuleType('fastai.vision')
    package.__path__ = [str(Path(fastai.__file__).parent/'vision')]
    sys.modules['fastai.vision'] = package
from fastai.vision import tta
from fastai.vision.image import Image
from fastai.vision.transform import get_transforms
import fastai_auroc.fastai1 as ours
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss
ours = importlib.reload(importlib.reload(ours))
look_up = basic_train._loss_func2activ
print('\\nfound', look_up is tta._loss_func2activ, look_up.__wrapped__.__module__, hasattr(look_up.__wrapped__, '__wrapped__'))

x,y = load_digits(return_X_y=True)
x,y = (o[np.isin(y, [3, 8])] for o in (torch.as_tensor(x/16).float().view(-1, 1, 8, 8).repeat(1, 3, 1, 1), y))
class Pictures(ItemList):
    def get(self, i): return Image(x[self.items[i]])
lists = Pictures(np.arange(64), path=sys.argv[1]).split_by_idx(range(32, 64)).label_from_func(lambda i: y[i])
data = lists.transform(get_transforms(max_rotate=0., max_zoom=1., max_lighting=0., max_warp=0.), size=8).databunch(bs=16, num_workers=0)
for loss_func in AUMLoss(), AUMLoss(margins=True), SoftDiceLoss(), AUROCLoss(), SquaredHingeAUCLoss(), CrossEntropyFlat():
    np.random.seed(0); torch.manual_seed(0)
    learn = Learner(data, nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), loss_func=loss_func, silent=True, callback_fns=ours.AUROC)
    learn.fit(2, .01)
    raws = torch.stack(list(learn.tta_only(activ=noop)))
    each,plain = torch.stack(list(learn.tta_only())),learn.get_preds()[0]
    p,targets = learn.TTA()
    of_rows = learn.TTA(with_loss=True)[2]
    print('\\nfound', (each - raws.softmax(-1)).abs().max().item() < 1e-5, (p - .4*plain - .6*each.mean(0)).abs().max().item() < 1e-5,
        (p.sum(1) - 1).abs().max().item() < 1e-5, list(of_rows.shape))
"""

@pytest.mark.parametrize('before', [True, False], ids=['before','after'])
def test_augmented_predictions(before, tmp_path):
    "`TTA` averages probabilities whichever is imported first; a module imported again wraps fastai 1's function, not its wrapper"
    done = subprocess.run([sys.executable, '-c', in_a_process.replace('BEFORE', str(before)), tmp_path], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    found = [o for o in done.stdout.splitlines() if o.startswith('found')]
    assert found == ['found True fastai.basic_train False'] + ['found True True True [32]']*6
