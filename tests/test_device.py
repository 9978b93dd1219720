"What the batches and the scoring ask of a GPU, shown with fake CUDA tensors: no waiting and no copies before the single read at the end."
import pytest, torch, torch.nn.functional as F
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from fastai_auroc import scores
from fastai_auroc.metric import AUROC
from fastai_auroc.roc import auroc_score, roc_curve
from fastai_auroc.buckets import RowBuffer

class HostRead(BaseException):
    "The host wants to see a number that the device has yet to compute"

class NoWaiting(TorchDispatchMode):
    "Raise `HostRead` at anything for which the host of device `kind` waits: reads, copies to or from it, results whose size depends on values"
    waits = 'nonzero masked_select _unique unique_dim unique_consecutive _unique2 bincount equal is_nonzero _local_scalar_dense item'.split()

    def __init__(self, kind='cuda'):
        super().__init__()
        self.kind,self.n_ops = kind,0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        ins = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        on_device = [x for x in ins if x.device.type == self.kind]
        name = func.overloadpacket.__name__
        if on_device:
            self.n_ops += 1
            if name in self.waits: raise HostRead(name)
            if name in ('index', 'index_put', 'index_put_') and any(x.dtype == torch.bool for x in ins[1:]): raise HostRead(f'{name} by a mask')
            if name == 'repeat_interleave' and 'Tensor' in func._overloadname: raise HostRead(name)
        out = func(*args, **(kwargs or {}))
        outs = [x for x in tree_flatten(out)[0] if isinstance(x, torch.Tensor)]
        kinds = {x.device.type for x in ins if x.ndim or x.device.type == self.kind} | {x.device.type for x in outs}
        if self.kind in kinds and len(kinds) > 1: raise HostRead(f'{name} from {[x.device.type for x in ins]} to {[x.device.type for x in outs]}')
        return out

class FakeLearner:
    "Shows one batch to a metric"
    training,epoch,loss = False,0,None
    def __init__(self, pred, y, loss_func): self.pred,self.y,self.loss_func = pred,y,loss_func

def randint(high, *shape, **kwargs): return torch.randint(0, high, shape, device='cuda', **kwargs)
def rand(*shape, **kwargs): return torch.rand(shape, device='cuda', **kwargs)

def classes(**kwargs): return rand(64, 5),randint(5, 64),CrossEntropyLossFlat(),kwargs
def labels(**kwargs): return rand(64, 5),rand(64, 5).round(),BCEWithLogitsLossFlat(),kwargs
def binary(loss=CrossEntropyLossFlat(), **kwargs): return rand(64, 2),randint(2, 64),loss,kwargs

tasks = dict(
    two_logits=binary, half_precision=lambda: (rand(64, 2).half(), randint(2, 64, 1, dtype=torch.int8), CrossEntropyLossFlat(), {}),
    one_logit=lambda: (rand(64, 1), rand(64).round(), BCEWithLogitsLossFlat(), {}), partial=lambda: binary(F.cross_entropy, max_fpr=.1),
    unsigned=lambda: (rand(64, 2), randint(2, 64, dtype=torch.int32).to(torch.uint16), CrossEntropyLossFlat(), {}),
    mapping=lambda: (dict(loss=rand(), logits=rand(64, 2)), randint(2, 64), CrossEntropyLossFlat(), dict(ignore_index=-100)),
    probabilities=lambda: binary(F.nll_loss, activation='identity'), macro=classes, micro=lambda: classes(average='micro'),
    weighted=lambda: classes(average='weighted'), ovo=lambda: classes(multi_class='ovo'), multilabel=labels, samples=lambda: labels(average='samples'),
    segmentation=lambda: (rand(4, 3, 8, 8), randint(3, 4, 8, 8), CrossEntropyLossFlat(axis=1), dict(ignore_index=2)))

@pytest.mark.parametrize('task', tasks)
def test_metric_reads_once(task):
    "Three batches and the scoring: nothing waits but the very last step, the read of the counts"
    with FakeTensorMode():
        metric,batches = AUROC(**tasks[task]()[-1]),[FakeLearner(*tasks[task]()[:-1]) for _ in range(3)]
        kept = 256 if task == 'segmentation' else 64
        with NoWaiting() as mode:
            for b in batches: metric.accumulate(b)
            rows = metric._epoch.accumulator
            assert metric._epoch.failure is None and len(rows.outputs) == len(rows.targets) == 3*kept
            assert all(x.device.type == 'cuda' for o in (rows.outputs, rows.targets) for x in o.blocks)
            before = mode.n_ops
            with pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): metric.value
            assert before >= 3*2 and mode.n_ops > before + 10

def test_labels_of_several_dtypes_read_once():
    "Bringing them together waits for nothing"
    kinds = torch.uint16,torch.int64,torch.float32,torch.uint8
    with FakeTensorMode():
        metric,batches = AUROC(),[FakeLearner(rand(64, 2), randint(2, 64).to(o), F.cross_entropy) for o in kinds]
        with NoWaiting():
            for b in batches: metric.accumulate(b)
            targets = metric._epoch.accumulator.targets
            assert metric._epoch.failure is None and [o.dtype for o in targets.blocks] == list(kinds)
            with pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): metric.value
        joined, = targets.blocks
        assert joined.dtype == torch.float64 and joined.device.type == 'cuda'

counted = {k:o for k,o in tasks.items() if k not in ('partial', 'ovo', 'samples')}

@pytest.mark.parametrize('task', counted)
@pytest.mark.parametrize('rows', [2**16, 150, 50])
def test_counting_reads_once(task, rows, monkeypatch):
    "By leading bits: batches wait on the device, are counted there when there are enough of them, or at once where they are large, and nothing waits but the end"
    monkeypatch.setattr(RowBuffer, 'most_rows', rows)
    with FakeTensorMode():
        metric,batches = AUROC(thresholds='bits', **tasks[task]()[-1]),[FakeLearner(*tasks[task]()[:-1]) for _ in range(10)]
        with NoWaiting() as mode:
            for epoch in range(2):
                metric.reset()
                for b in batches[epoch*5:][:5]: metric.accumulate(b)
                assert metric._epoch.failure is None
                waiting = metric._epoch.accumulator.waiting
                assert waiting.used > 0 if rows == 2**16 else metric._epoch.accumulator.buckets.counts.device.type == 'cuda'
                assert all(o.device.type == 'cuda' for o in waiting.blocks)
            before = mode.n_ops
            with pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): metric.value
            assert before > 40 and mode.n_ops > before

@pytest.mark.parametrize('kwargs', [{}, dict(average=None), dict(sample_weight=True), dict(sample_weight=True, max_fpr=.5)])
@pytest.mark.parametrize('k', [2, 5])
def test_auroc_score_reads_once(kwargs, k):
    with FakeTensorMode():
        outputs,targets = rand(1000, k),randint(k, 1000)
        if 'sample_weight' in kwargs: kwargs = {**kwargs, 'sample_weight':rand(1000)}
        with NoWaiting() as mode, pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): auroc_score(outputs, targets, **kwargs)
        assert mode.n_ops > 20

@pytest.mark.parametrize('average', [None, 'micro', 'macro'])
@pytest.mark.parametrize('ignore_index', [None, 3])
def test_roc_curve_reads_once(average, ignore_index):
    with FakeTensorMode():
        outputs,targets = rand(1000, 5),randint(5, 1000)
        with NoWaiting(), pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): roc_curve(outputs, targets, average=average, ignore_index=ignore_index)

naive = dict(
    average_of_batches=lambda s, y: float((s*y).sum()), host_copy=lambda s, y: s.cpu(), boolean_index=lambda s, y: s[y > 0],
    masked_write=lambda s, y: s.index_put_((y > 0,), s.new_zeros(())), branch=lambda s, y: 1 if (y > 0).any() else 0,
    distinct=lambda s, y: s.unique_consecutive(), counted=lambda s, y: torch.bincount(y), upload=lambda s, y: s + torch.ones(64).to('cuda'))

@pytest.mark.parametrize('what', naive)
def test_the_proof_can_fail(what):
    "What one would write naively is caught by the same mode"
    with FakeTensorMode():
        outputs,targets = rand(64),randint(2, 64)
        with NoWaiting(), pytest.raises((HostRead, RuntimeError)) as e: naive[what](outputs, targets)
        assert e.type is HostRead

def test_devices_without_float64(monkeypatch):
    "Outputs on MPS (played by CUDA, since fake MPS tensors cannot be copied) are kept raw, and copied to the host once before they are scored"
    monkeypatch.setattr(scores, '_no_float64', {'cuda'})
    with FakeTensorMode():
        metric = AUROC()
        with NoWaiting():
            for _ in range(3): metric.accumulate(FakeLearner(*binary()[:3]))
            assert metric._epoch.failure is None
            assert {(o.device.type, o.dtype, o.shape[1]) for o in metric._epoch.accumulator.outputs.blocks} == {('cuda', torch.float32, 2)}
            with pytest.raises(HostRead, match="_to_copy from .'cuda'. to .'cpu'."): metric.value

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_real_gpu():
    "The same on hardware, where CUDA itself objects to waiting, and with the same value as on the host"
    pred,y = torch.randn(1000, 2),torch.randint(0, 2, (1000,))
    host,device = AUROC(),AUROC()
    host.accumulate(FakeLearner(pred, y, CrossEntropyLossFlat()))
    batch = FakeLearner(pred.cuda(), y.cuda(), CrossEntropyLossFlat())
    torch.cuda.set_sync_debug_mode('error')
    try: device.accumulate(batch)
    finally: torch.cuda.set_sync_debug_mode('default')
    assert device.value == host.value
