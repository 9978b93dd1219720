"Columns and losses with options on fake CUDA tensors: batches wait for nothing, and the first thing that scoring waits for is its read."
import copy, pytest, torch
from fastai.data.load import DataLoader
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from torch._subclasses import FakeTensorMode
from test_device import FakeLearner, HostRead, NoWaiting, rand, randint
from test_gpu import gpu
from test_losses import backward_of
from fastai_auroc import epoch, scorers
from fastai_auroc.metric import AUROC, AveragePrecision
from fastai_auroc.row_groups import codes_of_rows

batches,bs = 3,64
n = batches*bs
read = "_to_copy from .'cuda'. to .'cpu'."

class NoWaitingForHost(NoWaiting):
    "The same, but what lies on the CPU may be sent without waiting"
    sent = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == '_to_copy' and args[0].device.type == 'cpu' and (kwargs or {}).get('non_blocking'):
            self.sent += 1
            return func(*args, **kwargs)
        return super().__torch_dispatch__(func, types, args, kwargs)

# A batch of outputs and targets, the loss, and the options of a column

def binary(loss=CrossEntropyLossFlat(), **kwargs): return rand(bs, 2),randint(2, bs),loss,kwargs
def half(**kwargs): return rand(bs, 2).half(),randint(2, bs),CrossEntropyLossFlat(),kwargs
def one_logit(**kwargs): return rand(bs, 1),rand(bs).round(),BCEWithLogitsLossFlat(),kwargs
def classes(**kwargs): return rand(bs, 5),randint(5, bs),CrossEntropyLossFlat(),kwargs
def labels(**kwargs): return rand(bs, 5),rand(bs, 5).round(),BCEWithLogitsLossFlat(),kwargs
def segments(**kwargs): return rand(bs, 3, 4, 4),randint(3, bs, 4, 4),CrossEntropyLossFlat(axis=1),dict(ignore_index=2, **kwargs)
def heads(**kwargs): return (rand(bs, 5), rand(bs, 2)),(randint(5, bs), randint(2, bs)),CrossEntropyLossFlat(),kwargs
def named(**kwargs): return dict(x=rand(bs, 5), y=rand(bs, 2)),dict(x=randint(5, bs), y=randint(2, bs)),CrossEntropyLossFlat(),kwargs

def last(outputs, targets): return outputs[-1],targets[-1]
def margins(outputs, targets): return outputs['y'].diff(dim=1),targets['y']

within = dict(groups=[None if i % 7 == 0 else f'site {i % 4}' for i in range(n)])
selects = dict(by_number=lambda **o: heads(select=1, **o), classes_by_number=lambda **o: heads(select=0, **o),
    by_key=lambda **o: named(select='y', **o), by_function=lambda **o: heads(select=last, **o),
    by_arithmetic=lambda **o: named(select=margins, activation='identity', **o))
aurocs = dict(groups_half=lambda: half(**within), groups_one_logit=lambda: one_logit(**within), groups_ignoring=lambda: binary(ignore_index=3, **within),
    groups_of_one=lambda: heads(select=1, **within), min_tpr=lambda: binary(min_tpr=.8), min_tpr_as_it_is=lambda: binary(min_tpr=.8, standardize=False),
    min_tpr_one_logit=lambda: one_logit(min_tpr=.5), min_tpr_classes=lambda: classes(min_tpr=.8), min_tpr_labels=lambda: labels(min_tpr=.8))
aurocs |= {f'groups_{o}':lambda o=o: binary(group_average=o, **within) for o in ('macro', 'weighted', 'pairs', 'min')}
aurocs |= {f'select_{k}':f for k,f in selects.items()}
precisions = dict(two_logits=binary, half=half, one_logit=one_logit, macro=classes, weighted=lambda: classes(average='weighted'),
    micro=lambda: classes(average='micro'), labels=labels, samples=lambda: labels(average='samples'), segments=segments,
    ignoring=lambda: binary(ignore_index=3)) | {f'select_{k}':f for k,f in selects.items()}
intervals = dict(binary=binary, classes=classes, classes_micro=lambda **o: classes(average='micro', **o), classes_ovo=lambda **o: classes(multi_class='ovo', **o),
    labels=labels, max_fpr=lambda **o: binary(max_fpr=.2, **o), min_tpr=lambda **o: binary(min_tpr=.8, **o), groups=lambda **o: binary(**within, **o),
    pairs_of_groups=lambda **o: binary(group_average='pairs', **within, **o), select=selects['by_number'], segments=segments)

class InOrder(FakeLearner):
    "Shows one batch of a validation set, whose loader tells the order of its items"
    training = False
    def __init__(self, dl, *batch):
        super().__init__(*batch)
        self.dl = dl

@pytest.fixture
def accumulated(monkeypatch):
    "A column that has seen three batches without waiting, under the mode that watches"
    dl = DataLoader(range(n), bs=bs, num_workers=0)
    assert len(list(dl)) == batches
    def make(kind, case):
        with FakeTensorMode(): shown = [case() for _ in range(batches)]
        column = kind(**shown[0][-1])
        with FakeTensorMode(allow_non_fake_inputs=True):
            learners = [InOrder(dl, *o[:-1]) for o in shown]
            with NoWaiting() as mode:
                for o in learners: column.accumulate(o)
            kept = column._epoch.accumulator
            assert column._epoch.failure is None and len(kept.outputs) == len(kept.targets) == column._epoch.n >= n and mode.n_ops >= 2*batches
            assert all(x.device.type == 'cuda' for o in (kept.outputs, kept.targets) for x in o.blocks)
        if getattr(column, 'groups', None) is not None:  # whose labels are on the CPU, and no fakes
            codes = codes_of_rows(column.groups, column._epoch.order, n)
            assert torch.equal(codes, column.groups.codes) and codes.min() == -1
            found = column.groups.labels(codes)
            monkeypatch.setattr(epoch, 'codes_of_rows', lambda *args: codes)
            monkeypatch.setattr(column.groups, 'labels', lambda codes: found)
        return column
    return make

def score_until_read(column):
    "The first thing that waits is a copy, by `read_once`; the mode that watched"
    with FakeTensorMode(allow_non_fake_inputs=True), NoWaitingForHost() as mode:
        with pytest.raises(HostRead, match=read) as e: column.score()
    assert 'read_once' in [o.name for o in e.traceback]
    return mode

def check_reads_once(column):
    "Nothing but the groups is sent to the device"
    mode = score_until_read(column)
    assert mode.n_ops > 10 and mode.sent == (getattr(column, 'groups', None) is not None)

@pytest.mark.parametrize('case', aurocs)
def test_auroc_reads_once(case, accumulated): check_reads_once(accumulated(AUROC, aurocs[case]))

@pytest.mark.parametrize('case', precisions)
def test_average_precision_reads_once(case, accumulated): check_reads_once(accumulated(AveragePrecision, precisions[case]))

ci = [(AUROC, k) for k in intervals] + [(AveragePrecision, k) for k in ('binary', 'classes', 'classes_micro', 'labels', 'select', 'segments')]

@pytest.mark.parametrize('kind,case', ci, ids=[f'{o.__name__}-{k}' for o,k in ci])
def test_an_interval_reads_once_more(kind, case, accumulated, monkeypatch):
    "The number waits for its read first, and once that is there, the interval for its own"
    column = accumulated(kind, lambda: intervals[case](ci=True))
    check_reads_once(column)
    number = torch.tensor(.5, device='cpu'),None
    for o in ('auroc_and_note', 'grouped_auroc_and_note', 'average_precision_and_note'): monkeypatch.setattr(scorers, o, lambda *args, **kwargs: number)
    assert score_until_read(column).sent == 0

@pytest.mark.parametrize('what', [lambda o, t: (o[0][t[0] > 0], t[0]), lambda o, t: (o[0].cpu(), t[0].cpu()), lambda o, t: (o[0][:int(t[0].max())], t[0])],
    ids=['mask', 'copy', 'size'])
def test_the_proof_can_fail(what, accumulated):
    "A `select` that waits is seen"
    with pytest.raises(HostRead): accumulated(AUROC, lambda: heads(select=what))

losses = {k:o for k,o in gpu.loss_cases().items() if k.startswith(('partial', 'smooth')) and '4096' not in k} | gpu.loss_option_cases()

@pytest.mark.parametrize('name', losses)
def test_losses_wait_for_nothing(name):
    "Forward and backward, with weights that were moved before"
    inputs,case,_ = losses[name]
    loss = copy.deepcopy(case.loss)
    with FakeTensorMode(allow_non_fake_inputs=True):
        z,y = (torch.empty(o.shape, dtype=o.dtype, device='cuda') for o in inputs)
        z.requires_grad_()
        loss.to('cuda')
        with NoWaiting() as mode:
            value = loss(z, y)
            gradient = backward_of(value.mean())[z]
        assert value.device.type == gradient.device.type == 'cuda' and gradient.shape == z.shape and gradient.dtype == z.dtype
    assert mode.n_ops > 15
