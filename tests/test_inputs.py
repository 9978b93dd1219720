"What may hold scores, labels and weights, and what raises: with our words, not with those of NumPy or PyTorch."
import subprocess, sys, textwrap
from decimal import Decimal
from fractions import Fraction
from functools import partial
import matplotlib, numpy as np, pandas as pd, pytest, torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from sklearn.metrics import roc_auc_score
from torch._subclasses import FakeTensorMode
from torch.utils.data import TensorDataset
from fastai_auroc import keys
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.keys import thread_map
from fastai_auroc.plots import plot_roc
from fastai_auroc.pr import average_precision
from fastai_auroc.roc import auc, auroc_score, roc_curve
from fastai_auroc.scores import to_tensor

matplotlib.use('Agg')
pytestmark = pytest.mark.filterwarnings('error')
s,y,w = np.array([.1, .4, .35, .8, .5, .2]),np.array([0, 0, 1, 1, 1, 0]),np.arange(1., 7)
want = 8/9  # of nine pairs, (.35, .4) alone is in the wrong order
scorers = [auroc_score, roc_curve, auroc_ci, lambda s, y, **kwargs: compare_auroc(s, s, y, **kwargs)]

# -- what works --

def boxed(a):
    "As objects, the way a mixed data frame hands them out"
    frame = pd.DataFrame(dict(name=list('abcdef'), number=a))
    return frame.values[:,1]

def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a

def unaligned(a): return np.frombuffer(b'\0' + a.tobytes(), np.uint8)[1:].view(a.dtype)

def field(a):
    "A column of records of twelve or more bytes"
    res = np.zeros(len(a), [('own', a.dtype), ('other', 'f4')])
    res['own'] = a
    return res['own']

wraps = dict(big_endian=lambda a: a.astype(a.dtype.newbyteorder('>')), objects=boxed, object_list=lambda a: boxed(a).tolist(),
    object_series=lambda a: pd.Series(boxed(a)), nullable=lambda a: pd.Series(a).convert_dtypes(), decimals=lambda a: [Decimal(str(o)) for o in a],
    fractions=lambda a: [Fraction(float(o)) for o in a], numpy_scalars=lambda a: list(a), zero_d=lambda a: [np.array(o) for o in a], read_only=read_only,
    unaligned=unaligned, field=field, backwards=lambda a: a[::-1].copy()[::-1], tensors=lambda a: [torch.tensor(float(o)) for o in a],
    gradients=lambda a: [torch.tensor(float(o), requires_grad=True) for o in a], tuple_of_tensors=lambda a: tuple(torch.tensor(o) for o in a),
    mixed_list=lambda a: [torch.tensor(a[0]), *a[1:].tolist()], mixed_tail=lambda a: [*a[:-1].tolist(), torch.tensor(a[-1])],
    half=lambda a: [torch.tensor(float(o)).half() for o in a], brain=lambda a: [torch.tensor(float(o), requires_grad=True).bfloat16() for o in a],
    memory=lambda a: memoryview(np.ascontiguousarray(a)), masked_away=lambda a: np.ma.array(a, mask=False).compressed())

@pytest.mark.parametrize('wrap', wraps.values(), ids=wraps)
def test_containers(wrap):
    assert auroc_score(wrap(s), y) == auroc_score(s, y) == auroc_score(s, wrap(y)) == want
    assert auroc_score(wrap(s), wrap(y), sample_weight=wrap(w)).item() == pytest.approx(roc_auc_score(y, s, sample_weight=w), abs=1e-15)
    assert auroc_ci(wrap(s), wrap(y)).auroc == want and compare_auroc(wrap(s), s, wrap(y)).difference == 0
    assert torch.equal(roc_curve(wrap(s), wrap(y)).tpr, roc_curve(s, y).tpr)

@pytest.mark.parametrize('dtype', ['>i2', '>i4', '>i8', '>u2', '>u4', '>u8', '>f2', '>f4', '>f8', '<f8', np.longlong, np.ulonglong, np.intc, np.uintc, 'u2',
    'u4', 'u8'], ids=str)
def test_integers_and_floats_of_any_make(dtype):
    scores = np.array([1, 4, 3, 8, 5, 2], dtype)
    assert auroc_score(scores, y) == want == auroc_score(s, y.astype(dtype))
    assert auroc_score(s, y, sample_weight=np.full(6, 3, dtype)) == want

odd_shapes = dict(one_column=lambda: np.random.rand(4, 1)[:,::-1], one_row=lambda: np.random.rand(1, 4)[::-1], one=lambda: np.random.rand(1)[::-1],
    cube=lambda: np.random.rand(4, 1, 1)[:,::-1,::-1], empty=lambda: np.random.rand(0, 3)[:,::-1], both=lambda: np.random.rand(4, 3)[::-1,::-1],
    step=lambda: np.random.rand(9)[::-2], broadcast=lambda: np.broadcast_to(np.arange(3.), (2, 3)),
    wide_step=lambda: np.zeros(1, [('a', 'f8'), ('b', 'f4')])['a'], zero_d=lambda: np.array(3.), scalar=lambda: np.float64(3),
    transposed=lambda: np.random.rand(3, 4).T)

@pytest.mark.parametrize('make', odd_shapes.values(), ids=odd_shapes)
def test_strides(make):
    "Axes of length one may run backwards, which NumPy does not call a gap"
    a = make()
    res = to_tensor(a)
    assert res.shape == a.shape and np.array_equal(res.numpy(), a)
    res += 1   # and the copy is the tensor's own where it must be, or can be written to

def test_reported_shape():
    scores = np.random.rand(4, 1)[:,::-1]
    assert auroc_score(scores, [0, 1, 0, 1]) == roc_auc_score([0, 1, 0, 1], scores[:,0])
    assert auroc_score(scores, np.array([[0], [1], [0], [1]])[:,::-1], sample_weight=np.ones((4, 1))[:,::-1]) == roc_auc_score([0, 1, 0, 1], scores[:,0])

def test_memory_is_shared():
    a = np.arange(3.)
    assert to_tensor(a).data_ptr() == a.ctypes.data

@pytest.mark.parametrize('dtype', [o for o in ('uint16', 'uint32', 'uint64') if hasattr(torch, o)])
def test_unsigned_tensors(dtype):
    scores = torch.tensor([1, 4, 3, 8, 5, 2]).to(getattr(torch, dtype))
    assert auroc_score(scores, y) == want and auroc_score(s, torch.from_numpy(y).to(getattr(torch, dtype))) == want
    assert auroc_score(s, y, sample_weight=scores).item() == pytest.approx(roc_auc_score(y, s, sample_weight=[1, 4, 3, 8, 5, 2]), abs=1e-15)
    p = torch.eye(3)[[0, 1, 2, 1, 0, 0]]
    assert auroc_score(p, torch.tensor([0, 1, 2, 1, 0, 2]).to(getattr(torch, dtype))) == auroc_score(p, [0, 1, 2, 1, 0, 2])

def test_tensors_of_a_device_in_lists():
    with FakeTensorMode():
        x = to_tensor([torch.rand((), device='cuda'), torch.tensor(1.)])
        assert x.device.type == 'cuda' and x.shape == (2,)
        assert to_tensor([[torch.rand((), device='cuda')]*2]*3).shape == (3, 2)

def test_nested_lists_of_tensors():
    rows = [[torch.tensor(.2, requires_grad=True), torch.tensor(.8)], [.6, torch.tensor(.4)], [.7, .3]]
    assert auroc_score(rows, [1, 0, 0]) == 1
    assert not to_tensor([torch.tensor(1.), torch.tensor(2.)], grad=True).requires_grad
    assert to_tensor([torch.ones((), requires_grad=True)], grad=True).requires_grad

# -- what raises --

@pytest.mark.parametrize('f', scorers)
def test_lists_of_batches(f):
    "Batches of one size used to become many labels: 1.0 for .875"
    scores,labels = [torch.tensor([.1, .4]), torch.tensor([.35, .8]), torch.tensor([.5, .2])],[torch.tensor([0, 1])]*3
    for kind in (list, tuple):
        with pytest.raises(ValueError, match=r'join batches by torch.cat\(scores'): f(kind(scores), kind(labels))
        with pytest.raises(ValueError, match=r'join batches by torch.cat\(targets\)'): f(torch.cat(scores), kind(labels))
    uneven = [*scores, torch.tensor([.1])]
    for bad in (uneven, [torch.rand(3, 2)]*2, [torch.rand(1)]*6, [.1, torch.rand(2)], [[torch.rand(1)]], [torch.rand(2, requires_grad=True)]):
        with pytest.raises(ValueError, match='join batches by torch.cat'): f(bad, y)
    expected = auroc_score(torch.cat(scores), torch.cat(labels))
    assert expected == 6/9 == pytest.approx(roc_auc_score([0, 1]*3, [.1, .4, .35, .8, .5, .2]))

def test_lists_of_arrays_are_rows():
    "As in scikit-learn"
    rows = [np.array([.1, .9]), np.array([.4, .2]), np.array([.7, .3])]
    labels = [np.array([0, 1]), np.array([1, 0]), np.array([1, 0])]
    assert auroc_score(rows, labels) == roc_auc_score(np.array(labels), np.array(rows))

masked = dict(array=np.ma.array(s, mask=[0, 0, 0, 0, 0, 1]), nothing=np.ma.array(s), list_of_rows=[np.ma.array([.1, .2], mask=[0, 1])]*6,
    constant=[*s[:5], np.ma.masked],
    list_from_it=list(np.ma.array(s, mask=[0, 0, 0, 0, 0, 1])), nested=[[o, np.ma.masked] for o in s], tuple=(np.ma.array([1]),))

@pytest.mark.parametrize('bad', masked.values(), ids=masked)
def test_masks(bad):
    for f in scorers:
        for args in ((bad, y), (s, bad)):
            with pytest.raises(TypeError, match=r'must be without a mask.*\.compressed\(\)'): f(*args)
        with pytest.raises(TypeError, match=r'targets must be without a mask.*targets\.compressed\(\)'): f(s, bad, pos_label=1)
    for f in scorers[:2]:
        with pytest.raises(TypeError, match=r'sample_weight\.compressed\(\)'): f(s, y, sample_weight=bad)
    with pytest.raises(TypeError, match=r'compressed\(\)'): auc(bad, s)

def quantised():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.quantize_per_tensor(torch.tensor(s).float(), .1, 0, torch.qint8)

def nested(layout):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.nested.nested_tensor([torch.rand(2), torch.rand(4)], layout=layout)

odd = dict(longdouble=(lambda: s.astype('longdouble'), "np.asarray({}, 'float64')"), complex=(lambda: s+0j, 'of complex128'),
    complex_tensor=(lambda: torch.tensor(s)+0j, 'take .real or .abs()'), sparse=(lambda: torch.tensor(s).to_sparse(), 'call .to_dense()'),
    quantised=(quantised, 'call .dequantize()'), nested=(lambda: nested(torch.strided), 'torch.cat({}.unbind())'),
    jagged=(lambda: nested(torch.jagged), 'torch.cat({}.unbind())'), date=(lambda: np.array(['2020-01-01']*6, 'M8[D]'), 'of datetime64[D]'),
    duration=(lambda: np.arange(6).astype('m8[s]'), 'of timedelta64[s]'), nothing=(lambda: [.1, .2, None, .4, .5, None], 'of object, 2 of 6 missing'),
    missing=(lambda: pd.Series([.1, .2, .3, .4, .5, pd.NA]), 'of object, 1 of 6 missing'),
    large=(lambda: [1, 2, 3, 4, 5, 2**70], 'with more than 64 bits'),
    both_ends=(lambda: [-1, 2, 3, 4, 5, 2**63], 'with more than 64 bits'), records=(lambda: np.zeros(6, [('a', 'f8')]), 'got ndarray of'),
    mapping=(lambda: {'a':1}, 'list of numbers, got dict'), thing=(lambda: [object()]*6, 'got list of object'),
    **{o:(lambda o=o: torch.tensor(s).to(getattr(torch, o)), 'call .float()') for o in ('float8_e4m3fn', 'float8_e5m2', 'float8_e4m3fnuz') if hasattr(torch, o)})

@pytest.mark.parametrize('make,way', odd.values(), ids=odd)
def test_our_own_words(make, way):
    bad = make()
    for f in scorers:
        for args,name in (((bad, y), 'scores'), ((s, bad), 'targets')):
            with pytest.raises(TypeError, match=f'{name}.* must be ') as e: f(*args)
            assert way.format(name) in str(e.value).replace('scores_a', 'scores'), str(e.value)
    for f in scorers[:2]:
        with pytest.raises(TypeError, match='sample_weight must be') as e: f(s, y, sample_weight=bad)
        assert way.format('sample_weight') in str(e.value)

@pytest.mark.parametrize('make', [lambda: 3., lambda: np.array(3.), lambda: torch.tensor(3.), lambda: np.float32(3)])
def test_single_numbers(make):
    for f in scorers:
        with pytest.raises(ValueError, match='scores must have at least one axis'): f(make(), y)

# -- messages about targets --

@pytest.mark.parametrize('f', scorers)
def test_regression(f):
    truth = np.random.default_rng(0).normal(size=113)
    says = ('targets must be of two different values, but 111 of 113 rows have others: got .* and 108 more; '
        r'this looks like regression; AUROC needs two classes, such as targets > (\S+)$')
    with pytest.raises(ValueError, match=says) as e: f(np.arange(113.), truth)
    assert eval(str(e.value).rsplit('such as ', 1)[1], dict(targets=truth)).mean() == pytest.approx(.5, abs=.01)

@pytest.mark.parametrize('f', scorers)
@pytest.mark.parametrize('void', [-1, -100, 255])
def test_void_labels(f, void):
    "The rows that are odd are counted, not those between the least and the greatest, and what to do stands there"
    truth = np.append(np.arange(110) % 2, [void]*3)
    for targets in (truth, truth.astype(float), torch.tensor(truth)):
        says = f'but 3 of 113 rows have others: got .*; to leave {void} out, pass ignore_index={void};'
        with pytest.raises(ValueError, match=says): f(np.arange(113.), targets)
        f(np.arange(113.), targets, ignore_index=void)

@pytest.mark.parametrize('f', scorers)
def test_missing_labels(f):
    truth = np.append(np.arange(110) % 2, [np.nan]*3)
    says = 'but 3 of 113 rows have NaN: to leave them out, make them -100 with nan_to_num, and pass ignore_index=-100$'
    with pytest.raises(ValueError, match=says): f(np.arange(113.), truth)
    f(np.arange(113.), np.nan_to_num(truth, nan=-100), ignore_index=-100)
    with pytest.raises(ValueError, match='make them -1 with nan_to_num, and pass ignore_index=-1$'): f(np.arange(113.), truth, ignore_index=-1)

def test_odd_rows_of_many_labels():
    labels = np.random.default_rng(0).integers(0, 2, (50, 4))
    labels[[3, 7],[1, 2]] = -1
    with pytest.raises(ValueError, match='but 2 of 50 rows have others: got -1, 0, 1; to leave -1 out, pass ignore_index=-1$'):
        auroc_score(np.random.rand(50, 4), labels)

def test_class_numbers_with_one_score():
    with pytest.raises(ValueError, match=r'K classes need scores of shape \(n, K\), and from fastai targets of a CategoryBlock'):
        auroc_score(np.arange(9.), np.arange(9) % 3)

@pytest.mark.parametrize('f', scorers)
def test_many_odd_rows_take_no_time(f):
    with pytest.raises(ValueError, match='this looks like regression'): f(torch.rand(200_000), torch.rand(200_000))

def learner_of(**kwargs):
    rows = torch.randn(64, 3),torch.arange(64) % 2
    return Learner(DataLoaders.from_dsets(*[TensorDataset(*rows)]*2, bs=32, device='cpu'), torch.nn.Linear(3, 2), cbs=[], **kwargs)

def test_function_as_a_metric():
    "The message names the class where fastai calls the function, and only there"
    for f in (auroc_score, average_precision, partial(auroc_score, average=None)):
        learn = learner_of(loss_func=CrossEntropyLossFlat(), metrics=f)
        with pytest.raises(ValueError, match=r"pass activation='softmax' for logits.*as a metric of a Learner use AUROC\(\)"), learn.no_bar(), learn.no_logging(): learn.fit(1)
    for f in (auroc_score, roc_curve, auroc_ci, average_precision, plot_roc, ROCInterpretation):
        with pytest.raises(ValueError, match="pass activation='softmax' for logits, or 'identity' to rank each column as it is$"): f(torch.randn(9, 2), torch.arange(9) % 2)

def test_function_as_a_loss():
    "A score has no gradient"
    learn = learner_of(loss_func=auroc_score)
    with pytest.raises(ValueError, match=r'do not sum to one: as a metric use AUROC\(\), as a loss use AUROCLoss\(\), since a score of ranks has no gradient$'), learn.no_bar(), learn.no_logging(): learn.fit(1)
    with pytest.raises(ValueError, match=r"pass activation='softmax' for logits, or 'identity' .*; as a loss use AUROCLoss\(\)"):
        auroc_score(torch.randn(9, 2, requires_grad=True), torch.arange(9) % 2)

@pytest.mark.parametrize('k,digits', [(2, 1), (3, 2), (7, 3), (50, 3)])
def test_rounded_probabilities(k, digits):
    "A softmax of probabilities would be the wrong advice; the advice given ranks as scikit-learn does"
    p = np.random.default_rng(k).dirichlet(np.ones(k), 400).round(digits)
    p[:,0] += .02*(k == 2)
    labels = np.arange(400) % k
    for f in (auroc_score, average_precision, roc_curve):
        with pytest.raises(ValueError, match="rows do not sum to one: for rounded probabilities pass activation='identity', which ranks each column as it is$"): f(p, labels)
    want = np.mean([roc_auc_score(labels == c, p[:,c]) for c in ([1] if k == 2 else range(k))])
    assert auroc_score(p, labels, activation='identity').item() == pytest.approx(want, abs=1e-12)
    with pytest.raises(ValueError, match="pass activation='softmax' for logits"): auroc_score(p*3, labels)

# -- imports and threads --

def python(code):
    done = subprocess.run([sys.executable, '-W', 'ignore::FutureWarning', '-c', textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(),done.stderr

def test_warnings_load_scikit_learn_when_they_are_given():
    out,err = python("""
        import sys, fastai_auroc.scores, fastai_auroc.pairs, fastai_auroc.roc, fastai_auroc.confidence
        from fastai_auroc.roc import auroc_score
        auroc_score([.1, .2], [0, 1])
        print('sklearn' in sys.modules)
        auroc_score([.1, .2], [0, 0])
        print('sklearn' in sys.modules)""")
    assert out == ['False', 'True'] and 'UndefinedMetricWarning: AUROC is NaN: no positive' in err

@pytest.mark.parametrize('error', ['ImportError', 'ValueError'])
def test_warnings_without_scikit_learn(error):
    "Missing, or broken"
    out,err = python(f"""
        import sys, warnings
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] == 'sklearn': raise {error}('no scikit-learn here')
        sys.meta_path.insert(0, Missing())
        from fastai_auroc.roc import auc, auroc_score, roc_curve
        from fastai_auroc.confidence import auroc_ci, compare_auroc
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            for f in (auroc_score, roc_curve, auroc_ci): f([.1, .2], [0, 0])
            compare_auroc([.1, .2], [.1, .2], [0, 0])
            auc([0, 1], [0, float('nan')])
        print(*(o.category.__name__ for o in seen))""")
    assert out == ['UserWarning']*5

late = """
    import threading, time, torch
    from fastai_auroc.roc import auroc_score
    from fastai_auroc.keys import thread_map
    torch.set_num_threads(2)
    scores,labels = torch.arange(2.**20),torch.arange(2**20) >= 2**19
    matrix,classes = scores.reshape(-1, 32),torch.arange(2**15) % 32
    {before}
    def score():
        {wait}
        print(auroc_score(scores, labels).item(), flush=True)
        print(auroc_score(matrix, classes, activation='identity').item(), flush=True)
        try: thread_map(lambda i: [].remove(i) if i else next(iter([])), range(2), 2)
        except (ValueError, StopIteration, RuntimeError) as e: print(type(e).__name__, flush=True)
    {start}"""

@pytest.mark.parametrize('before', ['', 'auroc_score(scores, labels)'], ids=['first', 'pool_there'])
@pytest.mark.parametrize('start', ['threading.Thread(target=score).start()', 'import atexit; atexit.register(score)'], ids=['thread', 'atexit'])
def test_scoring_after_the_main_thread_has_ended(before, start):
    "Where no thread can be started any more, one does the work"
    wait = 'threading.main_thread().join(); time.sleep(.2)' if 'Thread' in start else 'pass'
    out,_ = python(late.format(before=before, wait=wait, start=start))
    perfect,mean,error = out
    assert float(perfect) == 1 and float(mean) == pytest.approx(.5, abs=.05) and error in ('ValueError', 'StopIteration')

class NoThreads:
    "A pool that cannot start a thread, but has put the work into its queue"
    def __init__(self, given): self.given,self.queue = given,[]
    def submit(self, f):
        self.queue.append(f)
        if not self.given: raise RuntimeError("can't start new thread")
        self.given -= 1
        return type('Future', (), dict(cancel=lambda self: True))()

@pytest.mark.parametrize('given', [0, 1])
def test_no_piece_of_work_is_done_twice(given, monkeypatch):
    pool,seen = NoThreads(given),[]
    monkeypatch.setattr(keys, '_pool', lambda *args: pool)
    assert thread_map(lambda i: seen.append(i) or i*i, range(5), 3) == [0, 1, 4, 9, 16]
    for work in pool.queue: work()   # by a thread that was busy with something else
    assert seen == [0, 1, 2, 3, 4]

@pytest.mark.parametrize('threads', [1, 2, 3])
def test_errors_of_the_work_come_through(threads):
    def fail(i): raise RuntimeError(f'of {i}')
    with pytest.raises(RuntimeError, match='of '): thread_map(fail, range(4), threads)
    assert thread_map(lambda i: i+1, iter(range(4)), threads) == [1, 2, 3, 4] and thread_map(len, [], threads) == []

# -- default devices --

def test_results_do_not_follow_the_default_device():
    "Everything that scores, under a default device that holds no numbers"
    names,p = np.where(y, 'yes', 'no'),np.eye(3)[[0, 1, 2, 0, 1, 2]]
    torch.set_default_device('meta')
    try:
        results = [auroc_score(s, y), auroc_score(s.astype(np.float16), y), auroc_score(s, y, max_fpr=.5, sample_weight=w),
            auroc_score(p, [0, 1, 2, 0, 1, 1]), auroc_score(s, names, pos_label='yes'), auroc_score(p, [0, 1, 2, 0, 1, 1], average='micro'),
            auroc_score(p, [0, 1, 2, 0, 1, 1], average='micro', sample_weight=w), auroc_score(p, [0, 1, 2, 0, 1, 1], multi_class='ovo'),
            auroc_score(p, p, average='samples', sample_weight=w), auroc_score(p, [0, 1, 2, 0, 1, 9], average=None, ignore_index=9),
            auroc_score(np.zeros(2**17, np.float16), np.arange(2**17) % 2), *roc_curve(s, y),
            *roc_curve(p, [0, 1, 2, 0, 1, 1], average='macro'), auc([0, 1], [0, 1]), auroc_score(s, y.astype(np.uint64)+np.uint64(2**63)),
            auroc_score(np.array([1, 4, 3, 8, 5, 2], np.int64), y), *roc_curve(np.array([1, 4, 3, 8, 5, 2], np.int64), y, sample_weight=w)]
        floats = [*auroc_ci(s, y), *compare_auroc(s, -s, y), *auroc_ci(p, [0, 1, 2, 1, 2, 0], method='bca', n_boot=100, seed=0)]
    finally: torch.set_default_device(None)
    assert all(type(o) is float for o in floats)
    assert all(o.device.type == 'cpu' and o.dtype == torch.float64 for o in results) and results[0] == want and results[4] == want
