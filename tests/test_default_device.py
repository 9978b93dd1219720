"Results are those of the inputs: a default device or default dtype that was set for other code changes nothing."
import ast, warnings, matplotlib, numpy as np, pytest, torch
from contextlib import contextmanager
from fastai.learner import AvgSmoothLoss, Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.torch_core import set_seed, tensor
from functools import partial
from matplotlib import pyplot as plt
from pathlib import Path
from test_losses_training import as_dls, quietly
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import dataloader
from fastai_auroc import all as everything, scores
from fastai_auroc.all import *
from fastai_auroc.linesearch import AUMLineSearch
from fastai_auroc.distributed import all_reduce_sum

matplotlib.use('agg')
pytestmark = pytest.mark.usefixtures('one_thread')

# Which calls make a tensor where none was

factories = '''tensor as_tensor asarray scalar_tensor zeros ones empty full eye arange range linspace logspace rand
    randn randint randperm normal empty_strided tril_indices triu_indices Generator bartlett_window
    blackman_window hamming_window hann_window kaiser_window fftfreq rfftfreq sparse_coo_tensor nested_tensor'''.split()

def dotted(f):
    "A name such as torch.fft.fftfreq; empty for what is no such name"
    if isinstance(f, ast.Name): return f.id
    head = dotted(f.value) if isinstance(f, ast.Attribute) else ''
    return f'{head}.{f.attr}' if head else ''

def sites(text):
    "Line and name of each call in Python code that makes a tensor without saying where"
    tree,res = ast.parse(text),[]
    froms = [o for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) and (o.module or '').split('.')[0] == 'torch']
    direct = {a.asname or a.name for o in froms for a in o.names}
    for o in ast.walk(tree):
        name = dotted(o.func) if isinstance(o, ast.Call) else ''
        head,_,last = name.rpartition('.')
        if last not in factories or not (head.split('.')[0] == 'torch' or last in direct and not head): continue
        if not any(k.arg in ('device', None) for k in o.keywords): res.append((o.lineno, name))
    return res

modules = sorted((Path(__file__).parent.parent/'fastai_auroc').glob('*.py'))

@pytest.mark.parametrize('module', modules, ids=lambda o: o.stem)
def test_device_is_named(module):
    "At each call that makes a tensor or a generator"
    assert not sites(module.read_text())

def test_sites():
    "What counts as such a call"
    code = '''from torch import zeros
a = torch.tensor(1.), torch.zeros(2, device='cpu'), zeros(3), np.zeros(3), x.new_zeros(2), torch.empty(2, **kwargs)
b = torch.Generator(), torch.zeros_like(x), torch.full((2,), 3., dtype=torch.float64), torch.fft.rfftfreq(4)'''
    lines,names = zip(*sites(code))
    assert lines == (2, 2, 3, 3, 3)
    assert sorted(names) == 'torch.Generator torch.fft.rfftfreq torch.full torch.tensor zeros'.split()

# Defaults of others

class NoDevice(TorchFunctionMode):
    "A default device that cannot make a tensor of any kind, as one that lacks float64 cannot make that"
    makers = [getattr(o, name) for o in (torch, torch.fft) for name in factories if hasattr(o, name)]
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.makers and not kwargs.get('device'): raise TypeError(f'{func.__name__}: no such dtype here')
        return func(*args, **kwargs)

@contextmanager
def defaults(device=None, dtype=torch.float32):
    torch.set_default_device(device)
    torch.set_default_dtype(dtype)
    try: yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)

places = dict(no_device=NoDevice, meta=partial(defaults, 'meta'))
places['meta_and_float16'] = partial(defaults, 'meta', torch.float16)
places |= {str(o)[6:]:partial(defaults, dtype=o) for o in (torch.float64, torch.float16, torch.bfloat16)}
of_fastai = [o for o in places if o != 'no_device']  # fastai and torch make tensors themselves in a fit

# What is called

rng = np.random.default_rng(0)
n = 90
y = rng.permutation(np.arange(n) % 2)
classes,tags = rng.permutation(np.arange(n) % 3),rng.integers(0, 2, (n, 3))
s = np.round(rng.normal(size=n) + y, 1)
z = np.round(rng.normal(size=(n, 3)) + np.eye(3)[classes], 1)
p = torch.tensor(z).softmax(1)
weights,void = rng.integers(1, 5, n)/4,np.where(np.arange(n) % 7, y, -1)
half = torch.tensor(np.tile(s, 1000)).half()  # above 2**16 rows they are counted otherwise
half_labels = torch.tensor(np.tile(y, 1000))
whole = (s*10).astype(int)
s_of = dict(array=s, list=s.tolist(), int64=torch.tensor(whole), int_list=whole.tolist())
s_of |= {str(o)[6:]:torch.tensor(s).to(o) for o in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}

calls = {}

def call(name=None, **variants):
    "Call the function with each variant's arguments"
    def add(f):
        for key,args in variants.items(): calls[f'{f.__name__} {key}'] = (name or f.__name__, f, args)
        return f
    return add

def task(o, t, **kwargs): return o, t, kwargs

binary = {k:task(o, y) for k,o in s_of.items()}
binary |= dict(half=task(half, half_labels), bfloat=task(half.bfloat16(), half_labels), floats=task(s, y.astype(float)),
    ignored=task(s, void, ignore_index=-1), tensors=task(torch.tensor(s), torch.tensor(y)))
two = dict(two_logits=z[:,:2], two_of_int=(z[:,:2]*10).astype(int))
binary |= {k:task(o, y, activation='softmax') for k,o in two.items()}
undefined = dict(one_class=task(s, np.ones(n)), nan=task(np.where(y, s, np.nan), y), none=task(s[:0], y[:0]))
columns = dict(classes=task(p, classes), logits=task(z, classes, activation='softmax'))
columns |= dict(labels=task(z, tags, activation='sigmoid'), halves=task(torch.tensor(z).half(), tags))
columns['ignored'] = task(p, np.where(classes == 1, -1, classes), ignore_index=-1)
columns['ignored_labels'] = task(z, np.where(z > 1, -1, tags), ignore_index=-1)
many = {f'{k} {average}':task(o, t, average=average, **kwargs) for average in ('macro', 'micro', None)
    for k,(o,t,kwargs) in columns.items()}
more = dict(weighted=task(s, y, sample_weight=weights), partial=task(s, y, max_fpr=.3))
more['both'] = task(s, y, sample_weight=weights, max_fpr=.3)
more['micro'] = task(p, classes, average='micro', sample_weight=weights)
more |= dict(by_rows=task(p, classes, average='weighted'), ovo=task(p, classes, multi_class='ovo'))
more['samples'] = task(z, tags, average='samples')
pictures = {k:o for k,o in (binary | undefined | many).items() if k != 'none'}

@call(**binary, **undefined, **many, **more)
def score(o, t, kwargs): return auroc_score(o, t, **kwargs)
@call(**{k:o for k,o in pictures.items() if k != 'nan'}, weighted=more['weighted'])
def curve(o, t, kwargs): return roc_curve(o, t, **kwargs)
@call(**binary, **undefined)
def interval(o, t, kwargs): return auroc_ci(o, t, **kwargs),auroc_ci(o, t, method='logit', **kwargs)
@call(**{k:o for k,o in (binary | undefined).items() if not o[2]})
def comparison(o, t, kwargs): return compare_auroc(o, o.flip(0) if isinstance(o, torch.Tensor) else o[::-1], t)
@call(**binary, **undefined, **many, weighted=more['weighted'], samples=more['samples'])
def precision(o, t, kwargs): return average_precision(o, t, **kwargs)
@call(**{k:o for k,o in pictures.items() if k != 'nan' and not k.endswith('macro')})
def precision_curve(o, t, kwargs): return pr_curve(o, t, **kwargs)
@call(above=task(s, y, min_tpr=.8), raw=task(s, y, min_tpr=.8, standardize=False), classes=task(p, classes, min_tpr=.8))
def partial_areas(o, t, kwargs): return auroc_score(o, t, **kwargs)
@call(**{k:o for k,o in binary.items() if k not in ('half', 'bfloat')})
def groups(o, t, kwargs):
    which = np.arange(n) % 3
    mean = grouped_auroc(o, t, which, average='pairs', **kwargs)
    each = grouped_auroc(o, t, which, average=None, **kwargs)
    biases = bias_auroc(o, t, which == 1, **kwargs)
    return mean,each,biases,power_mean(biases)
@call(array=task(s, y), tensors=task(torch.tensor(s), torch.tensor(y)), classes=task(p, classes))
def sampled(o, t, kwargs):
    options = dict(n_boot=100, seed=1)
    both = compare_auroc(o, o*o, t, method='bootstrap', **options) if o.ndim == 1 else None
    return auroc_ci(o, t, method='bootstrap', **options),auroc_ci(o, t, method='bca', **options),ap_ci(o, t, **options),both
@call(list=([0., .5, 1.], [0., 1., 1.]), ints=([0, 1, 2], [0, 1, 1]), half=(torch.arange(3).half(), [0, 1, 1]))
def trapezoids(x, heights): return auc(x, heights)

units = 1/(1 + np.exp(-s))
units_of = {k:o.sigmoid() for k,o in s_of.items() if isinstance(o, torch.Tensor)}
units_of |= dict(array=units, list=units.tolist())
@call('StreamingAUC', **{f'{curve} {k}':(k, dict(curve=curve)) for curve in ('ROC', 'PR', 'PRGAIN') for k in units_of},
    logit=('array', dict(thresholds='logit')), bits=('array', dict(thresholds='bits')),
    given=('array', dict(thresholds=[.2, .5])), empty=(None, {}),
    logits=('float16', dict(from_logits=True)), w=('array', dict(weight=weights)), one=('float32', dict(weight=2)))
def streaming(key, options):
    m = StreamingAUC(**{k:o for k,o in options.items() if k != 'weight'})
    if key: m.update_state(y, (s_of if m.from_logits else units_of)[key], options.get('weight'))
    other = StreamingAUC.from_config(m.get_config())
    other.load_state_dict(m.state_dict())
    other.merge_state(m)
    return m.result(),other.result(),other.across_processes().result(),m.result_bounds() if m.curve == 'ROC' else None
@call('StreamingAUC', mean=(True, None), weights=(True, [1, 2, 3]), entries=(False, [1, 2, 3]))
def streaming_labels(multi_label, label_weights):
    m = StreamingAUC(multi_label=multi_label, label_weights=label_weights)
    return m(tags, p),m.result()
@call(array=(units,), half=(torch.tensor(units).half(),))
def quantiles(x): return quantile_thresholds(x, 20)
@call('gather_rows', some=(torch.tensor(s), None))
def alone(*tensors): return gather_rows(*tensors),all_reduce_sum(*tensors)

kinds = AUMLoss, SoftDiceLoss, AUROCLoss, SquaredHingeAUCLoss, AveragePrecisionLoss
losses = dict(aum=lambda **_: aum, soft_auroc=lambda **_: soft_auroc, AUMLoss_macro=partial(AUMLoss, average='macro'))
losses |= {o.__name__:o for o in kinds} | {f'{o.__name__}_rows':partial(o, reduction='none') for o in kinds}
losses |= dict(PartialAUCLoss=partial(PartialAUCLoss, max_fpr=.3), MixedLoss=lambda **o: MixedLoss(AUROCLoss(**o), AUMLoss(**o)))
batches = dict(classes=(z, classes), two=(z[:,:2], y), one=(s, y), labels=(z, tags))
batches['many_rows'] = np.tile(s, 40),np.tile(y, 40)

columns_of = {name:('one', 'many_rows') if name in ('aum', 'soft_auroc') else tuple(batches) for name in losses}

@call('losses', **{f'{name} {task} {str(dtype)[6:]}':(name, task, dtype) for name in losses for task in columns_of[name]
    for dtype in (torch.float32, torch.float64, torch.float16)})
def loss(name, task, dtype):
    "Value and gradient"
    o,t = (torch.from_numpy(o) for o in batches[task])
    o = o.to(dtype).requires_grad_()
    f = losses[name](**dict(multilabel=True) if task == 'labels' else {})
    res = f(o, t)
    res.mean().backward()
    rest = [f.activation(o), f.decodes(o)] if hasattr(f, 'decodes') else []
    return res,o.grad,*rest

@call('losses', **{name:(name,) for name in losses if name not in ('aum', 'soft_auroc')})
def loss_of_kept_rows(name):
    "Labels left out"
    o,t = torch.from_numpy(s).requires_grad_(),torch.from_numpy(void)
    res = losses[name](ignore_index=-1)(o, t)
    res.mean().backward()
    return res,o.grad

@call('StratifiedBatchSampler', ints=(y,), tensor=(torch.tensor(classes),))
def rows(t): return StratifiedBatchSampler(t, batch_size=16, seed=0).get_idxs()

def drawn(ax):
    "Points, legend and axis of a picture"
    return [o.get_xydata() for o in ax.lines],[o.get_text() for o in ax.get_legend().get_texts()],ax.get_xlabel()

@call(**pictures)
def plot(o, t, kwargs): return drawn(plot_roc(o, t, **kwargs))
@call(**{k:o for k,o in pictures.items() if k != 'nan'})
def plot_of_precision(o, t, kwargs): return drawn(plot_pr(o, t, **kwargs))
@call(**{k:o for k,o in binary.items() if k != 'ignored'}, huge=task(np.sign(s)*1e308, y))
def plot_of_aum(o, t, kwargs): return drawn(plot_aum(o, t, **kwargs))
@call('ROCInterpretation', **binary, **{f'columns of {k}':o for k,o in columns.items()},
    sigmoid=task(torch.tensor(s).half(), y, activation='sigmoid'), sigmoid_of_int=task(whole, y, activation='sigmoid'))
def thresholds(o, t, kwargs):
    interp = ROCInterpretation(o, t, **kwargs)
    interp.print_report()
    which = 2 if interp.scores.ndim > 1 else 1
    points = [interp.operating_point(which=which, **k) for k in ({}, dict(max_fpr=.2), dict(cost_ratio=3))]
    return points,interp.auroc(),drawn(interp.plot_roc())

def flat(x):
    "Numbers, with dtypes and devices of tensors"
    if isinstance(x, torch.Tensor):
        numbers = x.detach().double().flatten().tolist() if x.device.type == 'cpu' else ['unknown']
        return [str(x.dtype), str(x.device), x.requires_grad, *numbers]
    if isinstance(x, np.ndarray): return [str(x.dtype), *x.flatten().tolist()]
    if isinstance(x, (list, tuple)): return [type(x).__name__, *(o for part in x for o in flat(part))]
    return [x]

known = {}

@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
    plt.close('all')

def same(a, b):
    "The same numbers, NaN among them, dtypes and devices"
    return len(a) == len(b) and all(x == y or x != x and y != y for x,y in zip(a, b))

@pytest.mark.parametrize('place', places)
@pytest.mark.parametrize('name', calls)
def test_functions(name, place, capsys):
    "Numbers, dtypes, devices, pictures and reports are those without it"
    _,f,args = calls[name]
    if name not in known: known[name] = flat(f(*args)),capsys.readouterr().out
    with places[place](): got = f(*args)
    assert same(flat(got), known[name][0]) and capsys.readouterr().out == known[name][1]

def test_all_functions_are_called():
    "Those of a star import are above or below"
    below = {'AUROC', 'AveragePrecision', 'history', 'plot_history', 'ShowROCCallback', 'AUMLineSearch', 'balance_batches', 'auc_roc_score'}
    below |= {'enable_callback_fns', 'disable_callback_fns', 'unet_learner', 'vision_learner'}
    mine = {*losses, *(name for called,f,_ in calls.values() for name in (called, *f.__code__.co_names))}
    assert set(everything.__all__) <= mine | below

# Learners

def on_cpu(f):
    def g(*args, **kwargs):
        with torch.device('cpu'): return f(*args, **kwargs)
    return g

@pytest.fixture
def careful(monkeypatch):
    "torch's loaders, fastai's smooth loss and its order of predictions follow the default device, and fail there"
    it = dataloader._BaseDataLoaderIter
    monkeypatch.setattr(it, '__init__', on_cpu(it.__init__))
    monkeypatch.setattr(AvgSmoothLoss, 'reset', on_cpu(AvgSmoothLoss.reset))
    monkeypatch.setattr('fastai.learner.tensor', on_cpu(tensor))

def data(task):
    "Inputs, targets, number of outputs and loss"
    x = torch.tensor(z).float()
    if task == 'classes': return x,torch.tensor(classes),3,CrossEntropyLossFlat()
    if task == 'one': return x,torch.tensor(y)[:,None].float(),1,BCEWithLogitsLossFlat()
    if task == 'labels': return x,torch.tensor(tags).float(),3,BCEWithLogitsLossFlat()
    return x,torch.tensor(y),2,dict(two=CrossEntropyLossFlat(), loss=AUROCLoss(), plain=nn.CrossEntropyLoss())[task]

def learner(task, **kwargs):
    set_seed(0)
    x,t,k,loss = data(task)
    return Learner(as_dls(x, t), nn.Linear(3, k), loss_func=loss, **kwargs)

def train(task, options, place):
    "The table of two epochs, the picture and the thresholds"
    learn,show = learner(task, metrics=AUROC(**options)),ShowROCCallback()
    extra = [AUROC(ci=True, name='other')] if task in ('two', 'one') and not options else []
    with place():
        quietly(learn, 'fit', 2, lr=.1, cbs=[show, *extra])
        interp = ROCInterpretation.from_learner(learn)
        point = interp.operating_point(which=1)
    return flat([[list(o) for o in learn.recorder.values], drawn(show.ax), point])

options_of = dict(classes=[{}, dict(average='micro'), dict(multi_class='ovo'), dict(thresholds='logit')],
    two=[{}, dict(max_fpr=.3), dict(thresholds=50), dict(ignore_index=-1), dict(thresholds='bits')],
    one=[{}, dict(thresholds='logit')], labels=[{}, dict(average='samples')], loss=[{}], plain=[{}])
fits = [(k, o) for k,v in options_of.items() for o in v]

@pytest.mark.parametrize('place', [o for o in of_fastai if '16' not in o])
@pytest.mark.parametrize('task,options', fits, ids=str)
def test_columns(task, options, place, careful):
    "The table of a fit, the live curve, and what is read off the Learner after it"
    assert same(train(task, options, places[place]), train(task, options, defaults))

@pytest.mark.parametrize('place', of_fastai)
@pytest.mark.parametrize('task,options', fits, ids=str)
def test_validation(task, options, place, careful):
    "The same of a validation, which fastai manages under any default dtype"
    learn = learner(task, metrics=AUROC(**options))
    want = quietly(learn, 'validate')[1]
    with places[place](): got = quietly(learn, 'validate')[1]
    assert got == want and type(got) is float and want == want

@pytest.mark.parametrize('place', of_fastai)
@pytest.mark.parametrize('since', [0, 2], ids=['from the first batch', 'at the end'])
def test_column_without_room(place, since, careful, monkeypatch):
    "A device without room: rows are kept on the CPU, not on the default device, which has none either"
    learn = learner('classes', metrics=AUROC())
    want = quietly(learn, 'validate')[1]
    new_empty,asked = torch.Tensor.new_empty,[]
    def full(self, *args, **kwargs):
        asked.append(kwargs.get('device'))
        if asked[-1] is None and len(asked) > since: raise torch.OutOfMemoryError('no room')
        return new_empty(self, *args, **kwargs)
    monkeypatch.setattr(torch.Tensor, 'new_empty', full)
    with places[place](): got = quietly(learn, 'validate')[1]
    assert got == want and None in asked and len(asked) > 2

@pytest.mark.parametrize('place', places)
def test_devices_without_float64(place, monkeypatch):
    "Scoring on such a device's behalf happens on the CPU"
    monkeypatch.setattr(scores, '_no_float64', {'cpu'})
    logits,column = torch.from_numpy(z).float(),s_of['float32']
    def all_():
        score = auroc_score(logits, classes, activation='softmax')
        return flat([score, auroc_ci(column, y), StreamingAUC()(y, column.sigmoid())])
    want = all_()
    with places[place](): assert same(all_(), want)

@pytest.mark.parametrize('place', places)
def test_line_search(place):
    "A step of a linear model"
    def steps():
        w = torch.nn.Parameter(torch.tensor([.1, -.2, .3], device='cpu', dtype=torch.float64))
        opt = AUMLineSearch([w])
        for _ in range(3): opt.step(lambda: (torch.from_numpy(z) @ w, torch.from_numpy(y)))
        return flat(w.data)
    want = steps()
    with places[place](): assert same(steps(), want)
