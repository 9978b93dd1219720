"The general way, which devices take, on the CPU: against scikit-learn and all pairs, with every dtype, ties, infinities, and NaN in rows that are left out."
import math, numpy as np, pytest, torch
from sklearn import metrics as skm
from fastai_auroc import counts, delong, pr, roc
from fastai_auroc.confidence import auroc_ci
from fastai_auroc.roc import auroc_score, roc_curve

@pytest.fixture(autouse=True)
def general_way(monkeypatch):
    "The fast ways find nothing to do"
    def nothing(*args, **kwargs): return None
    for room,name in ((counts, '_count_cpu'), (roc, 'task_points_cpu'), (delong, '_components_cpu'),
        (pr, '_precisions_cpu'), (pr, 'task_points_cpu')): monkeypatch.setattr(room, name, nothing)

dtypes = torch.float32,torch.float64,torch.float16,torch.bfloat16,torch.int64,torch.int32,torch.uint8,torch.bool
finite = dict(posinf=1e6, neginf=-1e6)

def rows(seed, dtype, ignore):
    "Scores, targets, weights; and scores, labels and weights of the rows that count, as arrays"
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 60))
    z = torch.from_numpy(rng.integers(0, (3, 8, 60)[seed % 3], n)).to(dtype)
    y = torch.from_numpy(rng.integers(0, 2, n))
    y[:4] = torch.tensor([0, 1, 0, 1])
    kept = torch.from_numpy(rng.random(n) > .3*ignore)
    kept[:4] = True
    if dtype.is_floating_point:
        z[::3] = (math.inf, -math.inf, -0.)[seed % 3]
        z[~kept] = (math.nan, math.inf, -math.inf)[seed % 3]
    w = rng.integers(0, 3, n)*rng.random(n)
    w[:4] = 1
    return z,y.masked_fill(~kept, 7),w,z[kept].double().nan_to_num(**finite).numpy(),y[kept].numpy(),w[kept]

@pytest.mark.parametrize('ignore', [False, True])
@pytest.mark.parametrize('dtype', dtypes, ids=str)
def test_binary(dtype, ignore):
    for seed in range(25):
        z,t,w,s,y,kept_w = rows(seed, dtype, ignore)
        kwargs = dict(ignore_index=7) if ignore else {}
        assert auroc_score(z, t, **kwargs) == pytest.approx(skm.roc_auc_score(y, s), abs=1e-13)
        assert auroc_score(z, t, max_fpr=.3, **kwargs) == pytest.approx(skm.roc_auc_score(y, s, max_fpr=.3), abs=1e-12)
        weighted = auroc_score(z, t, sample_weight=w, **kwargs)
        assert weighted == pytest.approx(skm.roc_auc_score(y, s, sample_weight=kept_w), abs=1e-12)
        for drop in (True, False):
            curve,want = roc_curve(z, t, drop_intermediate=drop, **kwargs),skm.roc_curve(y, s, drop_intermediate=drop)
            assert len(curve.fpr) == len(want[0])
            for got,of in zip(curve, want): assert np.allclose(got.nan_to_num(**finite)[1:], of[1:], rtol=0, atol=1e-15)
        pairs = (s[y == 1][:,None] > s[y == 0])*1. + (s[y == 1][:,None] == s[y == 0])*.5
        variance = pairs.mean(1).var(ddof=1)/pairs.shape[0] + pairs.mean(0).var(ddof=1)/pairs.shape[1]
        assert auroc_ci(z, t, **kwargs).se == pytest.approx(variance**.5, abs=1e-12)

@pytest.mark.parametrize('kwargs', [{}, dict(average='weighted'), dict(average='micro'), dict(multi_class='ovo')])
@pytest.mark.parametrize('dtype', [torch.int64, torch.uint8])
def test_classes(dtype, kwargs):
    "NaN in rows that are left out changes nothing"
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y = np.append(range(4), rng.integers(0, 4, 40))
        p = torch.from_numpy(rng.integers(1, 6, (44, 4))).double()
        p /= p.sum(1, keepdim=True)
        want = skm.roc_auc_score(y, p.numpy(), **{'multi_class':'ovr', **kwargs})
        t = torch.from_numpy(y).to(dtype)
        assert auroc_score(p, t, **kwargs) == pytest.approx(want, abs=1e-12)
        p = torch.cat([p, torch.full((9, 4), math.nan, dtype=p.dtype)])
        t = torch.cat([t, torch.full((9,), 9, dtype=dtype)])
        assert auroc_score(p, t, ignore_index=9, activation='identity', **kwargs) == pytest.approx(want, abs=1e-12)

def test_labels_with_entries_to_leave_out():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = np.vstack([np.zeros(3, int), np.ones(3, int), rng.integers(0, 2, (40, 3))])
        void = rng.random(labels.shape) < .2
        void[:2] = False
        s = torch.from_numpy(rng.integers(0, 9, labels.shape)).double()
        each = [skm.roc_auc_score(labels[~v,j], s[~v,j]) for j,v in enumerate(void.T)]
        s[torch.from_numpy(void)] = math.nan
        assert auroc_score(s, np.where(void, -1, labels), ignore_index=-1, average=None).tolist() == pytest.approx(each, abs=1e-13)

def test_nan_rows_are_counted_for_the_warning():
    s = torch.tensor([.1, math.nan, .3, math.nan, math.nan])
    with pytest.warns(UserWarning, match='2 of 5 rows have NaN scores'): value = auroc_score(s, [0, 1, 1, 0, 7], ignore_index=7)
    assert value.isnan()
