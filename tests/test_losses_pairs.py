"The forms for arrays of the smooth AUROC and the squared hinge against all pairs in float64, and against the general form."
from functools import partial
import numpy as np, pytest, torch
from scipy.special import expit
from fastai_auroc import pairs, smooth
from fastai_auroc.batch_loss import batch_columns
from fastai_auroc.smooth import _largest_grid, _soft_by_pairs, _soft_on_grid, _soft_torch, soft_auroc_surrogate
from fastai_auroc.surrogates import _hinge, _hinge_by_pairs, hinge_surrogate

def soft_of(margin, T): return expit(-margin/T),-expit(-margin/T)*expit(margin/T)/T

def hinge_of(margin, wanted):
    lack = np.maximum(0, wanted-margin)
    return lack**2,-2*lack

def all_pairs(s, positive, judge):
    "Mean over pairs and its gradient, in float64"
    s,gradient = s.astype(np.float64),np.zeros(len(s))
    loss,slope = judge(s[positive][:,None] - s[~positive])
    gradient[positive],gradient[~positive] = slope.sum(1)/slope.size,-slope.sum(0)/slope.size
    return loss.mean(),gradient

def all_columns(z, y, judge):
    "Mean over the columns of both classes, and its gradient"
    defined = [k for k in range(z.shape[1]) if 0 < (y == k).sum() < len(y)]
    value,gradient = 0.,np.zeros(z.shape)
    for k in defined:
        of_column,gradient[:,k] = all_pairs(z[:,k], y == k, judge)
        value += of_column/len(defined)
    return value,gradient/max(1, len(defined))

surrogate_of = {'soft':(soft_auroc_surrogate, soft_of), 'hinge':(hinge_surrogate, hinge_of)}
options = [('soft', o) for o in (.01, .1, 1., 3., 10.)] + [('hinge', o) for o in (.1, 1., 10.)]
every_option = pytest.mark.parametrize('name,option', options)
dtypes = pytest.mark.parametrize('dtype', [np.float32, np.float64])

def made(name, option):
    make,judge = surrogate_of[name]
    return make(option),lambda margin: judge(margin, option)

def close(res, want, dtype):
    "Value within 1e-6, gradient within 1e-5 of the largest entry; float64 within 1e-6 on the grid"
    single = dtype == np.float32
    assert isinstance(res[0], float) and res[0] == pytest.approx(want[0], rel=1e-6, abs=1e-6 if single else 1e-7)
    assert res[1].shape == want[1].shape and np.abs(res[1]-want[1]).max() <= (1e-5 if single else 1e-6)*np.abs(want[1]).max() + 1e-15

kinds = dict(normal=lambda s, rng: s, wide=lambda s, rng: 30*s, tied=lambda s, rng: (2*s).round()/2, heavy=lambda s, rng: s**3,
    far=lambda s, rng: s + 1e4, outliers=lambda s, rng: np.where(rng.random(s.shape) < .1, rng.choice([-1e4, 1e4], s.shape), s))

def labels_of(n, rng): return np.append(rng.random(n-2) < rng.choice([.05, .5, .9]), [False, True])

@every_option
@dtypes
@pytest.mark.parametrize('kind', kinds)
def test_one_column(name, option, dtype, kind):
    surrogate,judge = made(name, option)
    rng = np.random.default_rng(0)
    for n in [2, 3, 64, 700, 1500, *rng.integers(2, 100, 15)]:
        s,positive = kinds[kind](rng.standard_normal(n), rng).astype(dtype),labels_of(n, rng)
        close(surrogate.binary(s, positive), all_pairs(s, positive, judge), dtype)

@every_option
@dtypes
@pytest.mark.parametrize('kind', kinds)
def test_classes(name, option, dtype, kind):
    surrogate,judge = made(name, option)
    rng = np.random.default_rng(1)
    for n,k in [(64, 10), (200, 100), (90, 3), (2, 3), *zip(rng.integers(2, 60, 8), rng.integers(3, 300, 8))]:
        z,y = kinds[kind](rng.standard_normal((n, k)), rng).astype(dtype),rng.integers(0, k, n)
        y[:2] = 0,k-1
        close(surrogate.classes(z, y), all_columns(z, y, judge), dtype)

@pytest.mark.parametrize('name', surrogate_of)
@pytest.mark.parametrize('size', [16, 500])
def test_tiles(name, size, monkeypatch):
    "In whatever pieces"
    surrogate,_ = made(name, 1.)
    rng = np.random.default_rng(2)
    s,positive,z,y = rng.standard_normal(70),labels_of(70, rng),rng.standard_normal((70, 5)),rng.integers(0, 5, 70)
    want = surrogate.binary(s, positive),surrogate.classes(z, y)
    monkeypatch.setattr(pairs, '_tile_bytes', size*8)
    for a,b in zip((surrogate.binary(s, positive), surrogate.classes(z, y)), want):
        assert a[0] == pytest.approx(b[0], rel=1e-12)
        np.testing.assert_allclose(a[1], b[1], rtol=1e-10, atol=1e-15)

@every_option
@dtypes
def test_as_the_general_form(name, option, dtype):
    "Both forms judge the same batch alike"
    surrogate,_ = made(name, option)
    rng = np.random.default_rng(3)
    z,y = rng.standard_normal((60, 7)).astype(dtype),rng.integers(0, 6, 60)
    columns,positive,_ = batch_columns(torch.from_numpy(z), torch.from_numpy(y))
    values,gradient,_ = surrogate.value(columns, positive)
    value,of_classes = surrogate.classes(z, y)
    assert value == pytest.approx(values[:6].mean().item(), rel=1e-6)
    for s,y,v,g in zip(columns.numpy(), positive.numpy(), values[:6], gradient):
        one = surrogate.binary(np.ascontiguousarray(s), y)
        assert one[0] == pytest.approx(v.item(), rel=1e-6)
        np.testing.assert_allclose(one[1], g, rtol=0, atol=1e-5*np.abs(one[1]).max())
    np.testing.assert_allclose(of_classes[:,:6].T, gradient[:6].numpy()/6, rtol=0, atol=1e-5*np.abs(of_classes).max())
    assert not of_classes[:,6].any()

@pytest.mark.filterwarnings('error')
@every_option
@dtypes
def test_nothing_to_compare_or_no_number(name, option, dtype):
    "One class or infinite loss: nothing is said, or what the general form says; no warning"
    surrogate,_ = made(name, option)
    s = np.array([0, 1, 2, 3], dtype)
    for positive in (np.zeros(4, bool), np.ones(4, bool)):
        res = surrogate.binary(s, positive)
        assert res is None or res[0] == 0 and not res[1].any()
    z = np.zeros((4, 3), dtype)
    assert surrogate.classes(z, np.zeros(4, int)) is None and surrogate.classes(z[:0], np.zeros(0, int)) is None
    huge = np.array([-1, 1, -1, 1], dtype)*np.finfo(dtype).max
    res = surrogate.binary(huge, np.array([True, True, False, False]))
    assert res is None or 0 <= res[0] <= 1 or dtype == np.float32 and res[0] > 1e70
    z = np.stack([huge, -huge, huge], 1)
    res = surrogate.classes(z, np.array([0, 1, 2, 0]))
    assert res is None or 0 <= res[0] <= 1

@dtypes
@pytest.mark.parametrize('T', [1e-45, 1e-39, 1e-30, 1e30, 1e45])
def test_extreme_temperatures(T, dtype):
    "A tie is half wrong at any temperature"
    s,positive = np.array([0, 0, 1, -1], dtype),np.array([True, False, True, False])
    want = .5 if T > 1 else .125
    assert soft_auroc_surrogate(T).binary(s, positive)[0] == pytest.approx(want)
    z,y = np.stack([s, -s, s], 1),np.array([0, 1, 2, 0])
    res = soft_auroc_surrogate(T).classes(z, y)
    assert res is None if not 1e-31 < T < 1e31 else res[0] == pytest.approx(all_columns(z, y, partial(soft_of, T=T))[0])

def test_which_way_is_cheaper():
    "Pairs for few rows, the grid for many; twice as many pairs of float32 as of float64"
    def least_rows(itemsize, points): return next(n for n in range(2, 10_000, 2) if _largest_grid(n, n*n//4, itemsize) >= points)
    assert 256 < least_rows(4, 132) < 512 and 128 < least_rows(8, 132) < least_rows(4, 132) < least_rows(4, 1_300) < 1_024
    assert _largest_grid(64, 1_024, 8) <= 0 and _largest_grid(10**6, 10**6, 8) <= 0
    assert _largest_grid(10**6, 10**11, 4) == 2**23

@pytest.mark.parametrize('n,forbidden', [(64, '_soft_on_grid'), (256, '_soft_on_grid'), (1_024, '_soft_by_pairs'), (4_096, '_soft_by_pairs')])
def test_the_cheaper_way_is_taken(n, forbidden, monkeypatch):
    monkeypatch.setattr(smooth, forbidden, None)
    rng = np.random.default_rng(4)
    s,positive = rng.standard_normal(n).astype(np.float32),np.arange(n) % 2 == 0
    close(soft_auroc_surrogate(1.).binary(s, positive), all_pairs(s, positive, partial(soft_of, T=1.)), np.float32)

@pytest.mark.parametrize('T', [.01, .1, 1., 10.])
@pytest.mark.parametrize('kind', kinds)
def test_the_grid_is_all_pairs(kind, T):
    "At any size, rows' sums included"
    rng = np.random.default_rng(5)
    for n in (2, 64, 500):
        s,positive = kinds[kind](rng.standard_normal(n), rng),labels_of(n, rng)
        on_grid,by_pairs = (f(s, positive, T, rows=True) for f in (_soft_on_grid, _soft_by_pairs))
        assert on_grid[0] == pytest.approx(by_pairs[0], rel=1e-6, abs=1e-7)
        for a,b in zip(on_grid[1:], by_pairs[1:]): np.testing.assert_allclose(a, b, rtol=0, atol=1e-6*np.abs(b).max() + 1e-12)

@pytest.mark.parametrize('tile', [2**22, 300, 7, 70])
def test_a_device_in_float32(tile, monkeypatch):
    "Pairs of float32 scores are judged in float32, columns in blocks, and summed in float64"
    monkeypatch.setattr(smooth, '_tile', tile)
    rng = np.random.default_rng(6)
    z,y = rng.standard_normal((33, 5)).astype(np.float32),rng.integers(0, 4, 33)
    columns,positive,_ = batch_columns(torch.from_numpy(z), torch.from_numpy(y))
    counts = torch.from_numpy(rng.random(positive.shape) < .8)
    values,gradient,parts = _soft_torch(columns, positive & counts, ~positive & counts, T=.3)
    assert values.dtype == gradient.dtype == parts.dtype == torch.float64
    for s,p,c,v,g in zip(columns.numpy(), positive.numpy(), counts.numpy(), values, gradient.numpy()):
        if not (p & c).any(): continue
        want = all_pairs(s[c], p[c], partial(soft_of, T=.3))
        assert v.item() == pytest.approx(want[0], rel=1e-6) and not g[~c].any()
        np.testing.assert_allclose(g[c], want[1], rtol=0, atol=1e-5*np.abs(want[1]).max())
    assert values[4] == 0 and not gradient[4].any()

def test_a_grid_where_it_is_reused():
    "Spectra are kept; a second batch, and another temperature, give what the first call gave"
    rng = np.random.default_rng(7)
    s,positive = rng.standard_normal(500),labels_of(500, rng)
    first = _soft_on_grid(s, positive, 1., rows=True)
    other = _soft_on_grid(2*s, positive, 2., rows=True)
    again = _soft_on_grid(s, positive, 1., rows=True)
    assert first[0] == again[0] == other[0]
    for a,b,c in zip(first[1:], again[1:], (2*other[1], other[2])):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)

@pytest.mark.parametrize('seed', range(60))
def test_a_device_judges_pairs_of_the_hinge(seed):
    "As all pairs in float64 where scores are finite, and as the sort, also with infinite scores and rows that do not count"
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((3, rng.integers(2, 30))).round(rng.integers(0, 9))
    positive = rng.random(s.shape) < .5
    wanted = rng.choice([.5, 1., 3.])
    value,gradient,_ = _hinge_by_pairs(torch.from_numpy(s), torch.from_numpy(positive), margin=wanted)
    for x,p,v,g in zip(s, positive, value, gradient):
        want,slope = all_pairs(x, p, partial(hinge_of, wanted=wanted)) if 0 < p.sum() < len(p) else (0., np.zeros(len(p)))
        assert v.item() == pytest.approx(want, rel=1e-12)
        np.testing.assert_allclose(g.numpy(), slope, rtol=1e-12, atol=1e-12)
    s[rng.random(s.shape) < .2] = np.inf
    s[rng.random(s.shape) < .1] = -np.inf
    counts = rng.random(s.shape) < .8
    args = [torch.from_numpy(o) for o in (s, positive & counts, ~positive & counts)]
    by_sort = _hinge(args[0], args[1], negative=args[2], margin=wanted)
    for a,b in zip(_hinge_by_pairs(*args, margin=wanted)[:2], by_sort): torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
