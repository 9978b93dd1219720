"How the benchmark of recipes splits rows and trains networks side by side, against PyTorch's own layers, optimizer and a network alone"
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn
from torch.testing import assert_close

folder = Path(__file__).parent.parent/'benchmarks'
names = 'measuring','recipe_confirm','recipe_list','recipe_networks','recipe_peers','recipe_report','recipe_sets','recipe_training','recipes'

@pytest.fixture
def bench(load_benchmark):
    "The modules, as attributes"
    return SimpleNamespace(**{o: load_benchmark(o) for o in names})

def table_of(bench, n=400, columns=5, rate=None, share=.2):
    "Rows of numbers whose first column tells the classes apart a little"
    rng = np.random.default_rng(1)
    y = (rng.random(n) < share).astype('int64')
    x = rng.normal(size=(n, columns)).astype('float32')
    x[:,0] += y
    x[:,1] = np.arange(n) # names the row
    return bench.recipe_sets.Rows(torch.from_numpy(x), torch.from_numpy(y), 'made up', rate)

# --- Splits ---

def rows_in(parts): return [set(o[:,1].tolist()) for o in parts]

def parts_before_scaling(bench, rows, regime, split=3):
    y = rows.y.numpy()
    return [torch.as_tensor(o) for o in bench.recipe_sets.split_indices(rows, y, regime, np.random.default_rng(split))]

def test_parts_are_half_a_quarter_and_a_quarter_of_each_class(bench):
    rows = table_of(bench)
    parts = parts_before_scaling(bench, rows, bench.recipe_sets.Regime(''))
    assert sorted(torch.cat(parts).tolist()) == list(range(400))
    for label in (0, 1):
        n = int((rows.y == label).sum())
        assert [int((rows.y[o] == label).sum()) for o in parts] == [n//2, n*3//4 - n//2, n - n*3//4]

def test_positives_that_are_thinned_out_are_reported_on_with_the_share_of_training(bench):
    rows = table_of(bench, rate=.05)
    task = bench.recipe_sets.split_task(rows, bench.recipe_sets.Regime(''), 0)
    assert abs(task.train_y.float().mean() - .05) < .01 and abs(task.valid_y.float().mean() - .05) < .02
    assert int(task.train_y.sum() + task.valid_y.sum() + task.test_y.sum()) == int(rows.y.sum())
    weighted = (task.test_weight*task.test_y).sum()/task.test_weight.sum()
    assert_close(weighted, task.train_y.float().mean())

def test_a_number_of_positives_in_all(bench):
    task = bench.recipe_sets.split_task(table_of(bench), bench.recipe_sets.Regime('', positives=30), 0)
    assert (int(task.train_y.sum()), int(task.valid_y.sum())) == (20, 10)

def test_noise_flips_labels_but_those_reported_on(bench):
    rows = table_of(bench, 8_000)
    clean,noisy = [bench.recipe_sets.split_task(rows, bench.recipe_sets.Regime('', noise=o), 0) for o in (0., .2)]
    assert torch.equal(clean.train_x, noisy.train_x) and torch.equal(clean.test_y, noisy.test_y)
    for a,b in ((clean.train_y, noisy.train_y), (clean.valid_y, noisy.valid_y)): assert abs((a != b).float().mean() - .2) < .03

def test_shift_moves_the_positives_reported_on_and_no_others(bench):
    rows = table_of(bench, 4_000)
    rows = rows._replace(x=rows.x[:,[0, 2, 3]]*torch.tensor([1., 5., 1.]))
    rows.x[:,2] = rows.x[:,1] + rows.x[:,2]/10 # two columns that go together: the first principal component
    task = bench.recipe_sets.split_task(rows, bench.recipe_sets.Regime('', shift=True), 0)
    moved = (task.test_x[task.test_y == 1].mean(0) - task.train_x[task.train_y == 1].mean(0)).abs()
    kept = (task.test_x[task.test_y == 0].mean(0) - task.train_x[task.train_y == 0].mean(0)).abs()
    assert moved[1] > .5 and kept.max() < .15
    assert (task.valid_x[task.valid_y == 1].mean(0) - task.train_x[task.train_y == 1].mean(0)).abs().max() < .2

def test_columns_are_scaled_by_training_and_new_words_are_none(bench):
    scaled = bench.recipe_sets.scaled
    x = torch.randn(50, 3)*7 + 2
    x[:,2] = 1.
    train,other = scaled(x, [torch.randn(20, 3)])
    assert_close(train[:,:2].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    assert_close(train[:,:2].std(0), torch.ones(2))
    assert train.isfinite().all() and other.isfinite().all()
    assert scaled(torch.tensor([[1, 3, 0]]), [torch.tensor([[1, 2, 7]])])[1].tolist() == [[1, 0, 0]]

def test_a_split_of_digits_is_for_one_class(bench):
    digits = bench.recipe_sets.Rows(torch.rand(500, 1, 28, 28), torch.arange(500) % 10, 'digits')
    task = bench.recipe_sets.split_task(digits, bench.recipe_sets.Regime(''), 13)
    assert int(task.train_y.sum() + task.valid_y.sum() + task.test_y.sum()) == 50

@pytest.mark.parametrize('name, rows, share', [('Adult 2 %', 32_561, .241), ('SMS', 4_837, .132), ('caravan', 9_822, .06), ('satellite', 6_435, .097),
    ('letter Z', 20_000, .037)])
def test_sets_have_their_rows_and_positives(bench, name, rows, share):
    x,y,*_ = bench.recipe_sets.sets[name]()
    assert len(x) == len(y) == rows and abs(y.float().mean() - share) < .001
    assert x.dtype == (torch.int64 if name == 'SMS' else torch.float32) and x.float().isfinite().all()

def test_rare_levels_and_no_numbers_are_left_out(bench):
    frame = pd.DataFrame(dict(number=[0.]*199 + [1.], level=['a']*100 + ['b']*99 + ['c']))
    rows = bench.recipe_sets.table_rows(frame, [0, 1]*100, 'made up')
    assert torch.equal(rows.x, torch.tensor([[0., 1, 0]]*100 + [[0., 0, 1]]*99 + [[1., 0, 0]]))
    assert torch.equal(bench.recipe_sets.table_rows(frame[['number']], [0, 1]*100, 'made up').x, rows.x[:,:1])

# --- Networks ---

def test_layers_are_those_of_pytorch(bench):
    torch.manual_seed(0)
    networks = bench.recipe_networks
    x = torch.rand(2, 6, 1, 28, 28)
    model = networks.Convolutions([0., 0.]).eval()
    for i in (0, 1):
        first,second,last = nn.Conv2d(1, 8, 4, 4), nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(256, 2)
        with torch.no_grad():
            first.weight.copy_(model.first.weight[i].T.view(8, 1, 4, 4))
            second.weight.copy_(model.second.weight[i].T.view(16, 8, 3, 3))
            last.weight.copy_(model.last.weight[i].T)
            for layer,ours in ((first, model.first), (second, model.second), (last, model.last)): layer.bias.copy_(ours.bias[i,0])
        expected = last(second(first(x[i]).relu()).relu().permute(0, 2, 3, 1).flatten(1))
        assert_close(model(x)[i], expected)
        assert_close(model(x[i:i+1], slice(i, i + 1))[0], expected)

def test_bags_are_means_of_words_but_none(bench):
    model = bench.recipe_networks.Bags([0., 0., 0.], 9).eval()
    x = torch.tensor([[[1, 2, 0], [0, 0, 0], [8, 8, 3]]]).expand(3, 3, 3)
    for i in range(3):
        means = nn.functional.embedding_bag(x[i], model.vectors[i], mode='mean', padding_idx=0)
        assert_close(model(x)[i], model.layers(means[None], slice(i, i + 1))[0])

def test_optimizer_is_adamw_with_options_of_each_network(bench):
    torch.manual_seed(0)
    start = torch.randn(3, 4, 2)
    lr,decay = [.01, .1, .03],[0., .5, .01]
    params = [start.clone().requires_grad_()]
    ours = bench.recipe_networks.AdamW(params, lr, decay)
    alone = [start[i].clone().requires_grad_() for i in range(3)]
    theirs = [torch.optim.AdamW([p], a, weight_decay=b) for p,a,b in zip(alone, lr, decay)]
    for step in range(20):
        ours.pace = (step + 1)/20
        params[0].grad = torch.randn(3, 4, 2)
        for i,(p, optimizer) in enumerate(zip(alone, theirs)):
            p.grad = params[0].grad[i].clone()
            optimizer.param_groups[0]['lr'] = lr[i]*ours.pace
            optimizer.step()
        ours.step()
    for i in range(3): assert_close(params[0].detach()[i], alone[i].detach(), rtol=1e-4, atol=1e-6)

def test_dropout_drops_the_share_of_each_network(bench):
    drop = bench.recipe_networks.Dropouts([0., .5])
    x = torch.ones(2, 100, 100)
    dropped = drop(x)
    assert torch.equal(dropped[0], x[0]) and abs((dropped[1] == 0).float().mean() - .5) < .03 and dropped[1].max() == 2
    assert torch.equal(drop.eval()(x), x)

# --- Training ---

def trained(bench, recipe, splits, number=2, linear=False, **more):
    rows = table_of(bench, 600)
    tasks = [bench.recipe_sets.split_task(rows, bench.recipe_sets.Regime(''), o) for o in splits]
    trials = [[o._replace(dropout=0., **more) for o in bench.recipe_training.draw_trials(s, number)] for s in splits]
    return bench.recipe_training.train(tasks, recipe, splits, trials, linear)[0]

@pytest.mark.parametrize('name', ['cross-entropy', 'balanced batches', 'AUROCLoss', 'squared hinge, balanced', 'mixed AUROCLoss', 'AUM, scaled margins',
    'logit-adjusted', 'averaged weights', 'partial area, warm start', 'AUROCLoss, batches of 512'])
def test_networks_side_by_side_learn_as_one_alone_does(bench, name, monkeypatch):
    "Also with the start of PyTorch: a network of the bench is the same whoever stands beside it"
    recipe = bench.recipe_list.recipes[name]
    starts = {}
    build = bench.recipe_training.build

    def same_start(x, words, dropout, linear):
        "Networks start from numbers that depend on their place among both splits only"
        model = build(x, words, dropout, linear)
        generator = torch.Generator().manual_seed(5)
        for key,p in model.named_parameters():
            start = starts.setdefault(key, torch.randn(4, *p.shape[1:], generator=generator)*.3)
            p.data = start[place:place + len(p)].clone()
        return model
    monkeypatch.setattr(bench.recipe_training, 'build', same_start)
    place = 0
    together = trained(bench, recipe, [4, 9], steps=48)
    alone = []
    for split in (4, 9):
        alone += trained(bench, recipe, [split], steps=48)
        place += 2
    for a,b in zip(together, alone):
        for key in ('auroc_valid', 'auroc_test', 'ap_test', 'top_test'): assert abs(a[key] - b[key]) < 2e-3, key

def test_it_learns(bench):
    "More than by chance, and about as well as the best direction, which is the first column"
    for name in ('cross-entropy', 'AUROCLoss, balanced'):
        rows = trained(bench, bench.recipe_list.recipes[name], [0])
        assert all(o['auroc_test'] > .65 for o in rows)

def test_numbers_are_those_of_scikit_learn(bench):
    rng = np.random.default_rng(0)
    y = rng.random(500) < .2
    scores = rng.normal(size=500).astype('float32') + y
    weight = rng.random(500)
    found = bench.recipe_training.measure(*map(torch.from_numpy, (scores.astype('float32'), y.astype('int64'), weight)))
    assert abs(found['auroc'] - roc_auc_score(y, scores)) < 1e-9
    assert abs(found['ap'] - average_precision_score(y, scores, sample_weight=weight)) < 1e-9
    # Above 80 % true positives: AUROC up to 20 % false positives of the task with sides changed, standardised the same way
    assert abs(found['top'] - roc_auc_score(~y, -scores, max_fpr=.2)) < 1e-9
    scores[3] = np.nan
    assert all(np.isnan(o) for o in bench.recipe_training.measure(torch.from_numpy(scores), torch.from_numpy(y.astype('int64'))).values())

def test_best_is_by_validation_alone(bench, monkeypatch):
    "The test value is that of the look which is best on validation, for each metric by itself; what is NaN never wins"
    task = SimpleNamespace(valid_y='valid', test_y='test', test_weight=None)
    monkeypatch.setattr(bench.recipe_training, 'measure', lambda scores, *args: scores)
    best = bench.recipe_training.Best(task)
    nan = float('nan')
    for i,(auroc, ap, top) in enumerate([(nan, .5, nan), (.7, .9, nan), (.9, .2, nan), (.8, .9, nan)]):
        best.look(i + 1, dict(auroc=auroc, ap=ap, top=top), lambda i=i: lambda: dict(auroc=i, ap=i, top=i))
    row = best.result()
    assert [row[o] for o in ('auroc_epoch', 'auroc_valid', 'auroc_test', 'ap_epoch', 'ap_test')] == [3, .9, 2, 2, 1]
    assert row['top_epoch'] == 0 and np.isnan(row['top_test']) and np.isnan(row['top_valid'])

def test_mean_is_that_of_probabilities_of_the_best_trials_at_their_best_looks(bench):
    rng = np.random.default_rng(3)
    y = torch.from_numpy((rng.random(300) < .3).astype('int64'))
    task = SimpleNamespace(valid_y=y, test_y=y, test_weight=None)
    scores = torch.from_numpy(rng.normal(size=(4, 3, 300))) + y
    bests = [bench.recipe_training.Best(task) for _ in range(4)]
    for best,of_trial in zip(bests, scores):
        for i,o in enumerate(of_trial): best.look(i + 1, o, lambda o=o: lambda: o)
    row = bench.recipe_training.mean_result(bests, 2)
    def auroc(o): return roc_auc_score(y, o)
    chosen = sorted([max(of_trial, key=auroc) for of_trial in scores], key=auroc)[-2:]
    expected = roc_auc_score(y, sum(1/(1 + np.exp(-o.numpy())) for o in chosen))
    assert abs(row['auroc_test'] - expected) < 1e-9 and abs(row['auroc_valid'] - expected) < 1e-9

def test_trials_fill_the_ranges_and_are_the_same_for_every_recipe(bench):
    draw = bench.recipe_training.draw_trials
    assert draw(3, 4) == draw(3, 4) != draw(4, 4)
    trials = [o for s in range(50) for o in draw(s, 4)]
    log = np.log10
    for values,low,high in ((log([o.lr for o in trials]), log(.0005), log(.1)), (log([o.weight_decay for o in trials]), -4., 0.),
        ([o.dropout for o in trials], 0., .5)):
        assert low <= min(values) < low + .1*(high - low) and high - .1*(high - low) < max(values) <= high
    quarters = sorted(int(4*np.log(o.lr/5e-4)/np.log(200)) for o in draw(7, 4))
    assert quarters == [0, 1, 2, 3] and [o.steps for o in draw(7, 4)] == [150, 600, 150, 600]

def test_pace_rises_and_falls(bench):
    paces = [bench.recipe_training.pace_at(o) for o in np.linspace(0, 1, 101)]
    top = int(np.argmax(paces))
    assert paces[0] == 0 and paces[-1] < 1e-9 and .05 <= top/100 <= .1 and all(np.diff(paces[top:]) <= 0)

# --- The command ---

def test_it_goes_on_where_it_stopped(bench, tmp_path, monkeypatch):
    "Rows of a stopped run are kept, what is open is run, and a second run finds nothing to do"
    file = tmp_path/'recipes.csv.gz'
    args = SimpleNamespace(splits=7, trials=1, regimes=['plain'], sets=['satellite'], recipes=['cross-entropy', 'AUROCLoss'])
    row = dict(regime='plain', set='satellite', recipe='cross-entropy')
    bench.recipes.append([row | dict(split=o, trial=0, auroc_test=.5) for o in (0, 1, 2, 3, 4, 5)], file)
    open_units = bench.recipes.open_units(args, file)
    assert sorted(open_units) == [('plain', 'satellite', 'AUROCLoss', [0, 1, 2, 3, 4]), ('plain', 'satellite', 'AUROCLoss', [5, 6]),
        ('plain', 'satellite', 'cross-entropy', [5, 6])]
    for regime,where,recipe,splits in open_units:
        names = dict(regime=regime, set=where, recipe=recipe)
        bench.recipes.append([names | dict(split=o, trial=0, auroc_test=.5) for o in splits], file)
    assert bench.recipes.open_units(args, file) == [] and len(bench.recipes.read_runs(file)) == 14
    args.recipes.append('mean of three')
    assert bench.recipes.open_units(args, file) == [] # of one trial there is none
    args.trials = 2
    assert len(bench.recipes.open_units(args, file)) == 4

def test_a_mean_is_scored_where_its_networks_are_trained(bench, tmp_path):
    "One unit gives the rows of both, and whoever asks for either gets both"
    file = tmp_path/'recipes.csv.gz'
    args = SimpleNamespace(splits=1, trials=3, regimes=['linear model'], sets=['satellite'], recipes=['mean of three', 'cross-entropy'])
    (unit,) = bench.recipes.open_units(args, file)
    assert unit == ('linear model', 'satellite', 'cross-entropy', [0])
    rows = bench.recipes.run_unit(*unit, args.trials)
    assert [o['recipe'] for o in rows] == ['cross-entropy']*3 + ['mean of three']*3 and len({o['auroc_test'] for o in rows[3:]}) == 1
    assert max(o['auroc_valid'] for o in rows[:3]) != rows[3]['auroc_valid']
    bench.recipes.append(rows[:3], file)
    assert bench.recipes.open_units(args, file) == [unit]
    bench.recipes.append(rows[3:], file)
    assert bench.recipes.open_units(args, file) == []

def test_every_recipe_stands_in_one_family_and_regimes_name_sets_and_recipes_that_exist(bench):
    recipes,regimes = bench.recipe_list.recipes,bench.recipe_list.regimes
    assert len(recipes) == sum(map(len, bench.recipe_list.families.values()))
    for name,regime in regimes.items():
        assert len(regime.expected) > 20 and set(regime.sets) <= set(bench.recipes.all_sets)
        assert 'cross-entropy' in regime.recipes and set(regime.recipes) <= set(recipes)

@pytest.mark.slow
def test_quick_run_writes_runs_tables_and_plot(tmp_path):
    import subprocess
    command = [sys.executable, '-W', 'ignore', str(folder/'recipes.py'), '--quick', '--out', str(tmp_path), '--workers', '2']
    subprocess.run(command, check=True, capture_output=True)
    runs = pd.read_csv(tmp_path/'quick'/'recipes.csv.gz')
    assert len(runs) == 2*5*5*2 and (runs.auroc_test > .8).all()
    assert '# Which loss' in (tmp_path/'quick'/'recipes.md').read_text(encoding='utf-8') and (tmp_path/'quick'/'recipes.png').stat().st_size > 10_000
