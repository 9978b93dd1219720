"The report of the benchmark of recipes against brute force and SciPy, on simulated runs. Nothing is trained here."
from itertools import product
from math import isnan, sqrt
import numpy as np, pandas as pd, pytest
from scipy import stats

@pytest.fixture
def report(load_benchmark): return load_benchmark('recipe_report')

def simulate(effects, sets=6, regimes=('plain',), splits=5, trials=3, seed=0, noise=.004, ties=False):
    "Raw runs in which the test value of a recipe is above that of cross-entropy by its effect; shuffled"
    rng = np.random.default_rng(seed)
    axes = [regimes, [f'set {i}' for i in range(sets)], ['cross-entropy', *effects], range(splits), range(trials)]
    runs = pd.MultiIndex.from_product(axes, names=['regime','set','recipe','split','trial']).to_frame(index=False)
    n = len(runs)
    for name in ('lr', 'weight_decay', 'dropout'): runs[name] = rng.uniform(size=n)
    where = runs[['regime','set','recipe']].apply(tuple, axis=1)
    by_set = {o:rng.normal(0, noise) for o in where.unique()}
    level = .8 + runs['set'].str[4:].astype(int)*.02 + runs.recipe.map({'cross-entropy':0., **effects}) + where.map(by_set)
    for metric in ('auroc', 'ap', 'top'):
        runs[f'{metric}_epoch'] = rng.integers(1, 13, n)
        valid = level + rng.normal(0, noise, n)
        runs[f'{metric}_valid'] = valid.round(2) if ties else valid
        runs[f'{metric}_test'] = level + rng.normal(0, noise, n)
    return runs.sample(frac=1, random_state=seed)

keys = ['regime','set','recipe','split']

@pytest.mark.parametrize('seed', range(3))
def test_choose_is_the_best_trial(report, seed):
    "Against a loop over rows, with ties, NaN and rows in any order"
    runs = simulate({'a':.01, 'b':0.}, sets=3, trials=5, seed=seed, ties=True)
    runs.loc[np.random.default_rng(seed).uniform(size=len(runs)) < .3, 'ap_valid'] = np.nan
    best,trials = {},{}
    for row in sorted(runs.to_dict('records'), key=lambda o: o['trial']):
        key = tuple(row[o] for o in keys)
        trials[key] = trials.get(key, 0) + 1
        if not isnan(row['ap_valid']) and (key not in best or row['ap_valid'] > best[key]['ap_valid']): best[key] = row
    found = report.choose(runs, 'ap')
    assert len(found) == len(best) and (found.metric == 'ap').all()
    for row in found.to_dict('records'):
        key = tuple(row[o] for o in keys)
        expected = best[key]
        assert row['trials'] == trials[key] == 5
        for name in ('trial', 'lr', 'weight_decay', 'dropout'): assert row[name] == expected[name]
        for name in ('epoch', 'valid', 'test'): assert row[name] == expected[f'ap_{name}']

def test_first_of_tied_trials(report):
    runs = simulate({'a':0.}, sets=1).assign(auroc_valid=.7)
    assert (report.choose(runs, 'auroc').trial == 0).all()

@pytest.mark.parametrize('valid', [np.nan, -np.inf])
def test_all_trials_diverged(report, valid):
    runs = simulate({'a':0.}, sets=1)
    runs.loc[(runs.recipe == 'a') & (runs.split == 2), ['auroc_valid','auroc_test']] = valid, np.nan
    paired = report.differences(report.choose(runs, 'auroc'))
    assert set(paired.split) == {0, 1, 3, 4} and (paired.left_out == 1).all()

def test_diverged_trial_is_not_chosen(report):
    runs = simulate({'a':0.}, sets=1)
    runs.loc[runs.trial == 0, ['auroc_valid','auroc_test']] = -np.inf, np.nan
    chosen = report.choose(runs, 'auroc')
    assert (chosen.trial > 0).all() and (chosen.trials == 3).all() and chosen.test.notna().all()

def unfinished_runs():
    "Splits 3 and 4 of a on set 1, and 0 of the reference there, are missing; set 2 has no reference; b lacks a trial of one split"
    runs = simulate({'a':.01, 'b':0.}, sets=3)
    on_1,on_2 = [runs['set'] == f'set {i}' for i in (1, 2)]
    missing = (on_1 & (runs.recipe == 'a') & (runs.split >= 3)) | (on_1 & (runs.recipe == 'cross-entropy') & (runs.split == 0))
    missing |= on_2 & (runs.recipe == 'cross-entropy')
    missing |= (runs['set'] == 'set 0') & (runs.recipe == 'b') & (runs.split == 1) & (runs.trial == 2)
    return runs[~missing]

def test_differences_are_paired(report):
    "Against a loop, with unfinished runs"
    chosen = report.choose(unfinished_runs(), 'auroc')
    value = {(o['set'], o.recipe, o.split):o.test for _,o in chosen.iterrows()}
    paired = report.differences(chosen)
    expected = {(s, r, k):value[s, r, k] - value[s, 'cross-entropy', k] for s,r,k in value if r != 'cross-entropy' and (s, 'cross-entropy', k) in value}
    assert {(o['set'], o.recipe, o.split):o.difference for _,o in paired.iterrows()} == pytest.approx(expected, abs=1e-15)
    left_out = paired.groupby(['set','recipe']).left_out.first().to_dict()
    assert left_out == {('set 0', 'a'):0, ('set 0', 'b'):0, ('set 1', 'a'):3, ('set 1', 'b'):1}
    assert paired.groupby(['set','recipe']).size().to_dict() == {('set 0', 'a'):5, ('set 0', 'b'):5, ('set 1', 'a'):2, ('set 1', 'b'):4}
    uneven = paired[paired.uneven]
    assert uneven[['set','recipe','split']].to_numpy().tolist() == [['set 0', 'b', 1]]

def test_another_reference(report):
    chosen = report.choose(simulate({'a':.01}, sets=2), 'auroc')
    ours,theirs = report.differences(chosen),report.differences(chosen, 'a')
    assert set(theirs.recipe) == {'cross-entropy'} and theirs.difference.sum() == pytest.approx(-ours.difference.sum())

def test_missing_test_value_is_left_out(report):
    chosen = report.choose(simulate({'a':.01}, sets=1), 'auroc')
    chosen.loc[(chosen.recipe == 'a') & (chosen.split == 2), 'test'] = np.nan
    paired = report.differences(chosen)
    assert len(paired) == 4 and (paired.left_out == 1).all() and paired.difference.notna().all()

def test_per_set_is_the_corrected_resampled_t(report):
    paired = report.differences(report.choose(simulate({'a':.01, 'b':0.}, sets=3), 'auroc'))
    for ratio in (1/2, 1/9):
        for _,row in report.per_set(paired, ratio).iterrows():
            d = paired[(paired['set'] == row['set']) & (paired.recipe == row.recipe)].difference.to_numpy()
            error = sqrt(d.var(ddof=1)*(1/len(d) + ratio))
            low,high = stats.t.interval(.95, len(d) - 1, loc=d.mean(), scale=error)
            assert (row.low, row.high, row['mean'], row.splits) == pytest.approx((low, high, d.mean(), len(d)))
            assert row.half_width == pytest.approx((high - low)/2)
            assert row.p == pytest.approx(2*stats.t.sf(abs(d.mean())/error, len(d) - 1))
    uncorrected = report.per_set(paired, 0).iloc[0]  # without the correction it is the t-test
    d = paired[(paired['set'] == uncorrected['set']) & (paired.recipe == uncorrected.recipe)]
    assert uncorrected.p == pytest.approx(stats.ttest_rel(d.test, d.test_reference).pvalue)

def test_over_sets_is_the_paired_t(report):
    paired = report.differences(report.choose(simulate(dict(a=.01, b=0., c=-.003), regimes=('plain', 'noise')), 'auroc'))
    means = paired.groupby(['regime','recipe','set'])[['test','test_reference']].mean()
    over = report.over_sets(paired)
    assert len(over) == 6
    for _,row in over.iterrows():
        o = means.loc[row.regime, row.recipe]
        res = stats.ttest_rel(o.test, o.test_reference)
        interval,wider = res.confidence_interval(.95),res.confidence_interval(1 - .05/3)
        assert (row.p, row.low, row.high) == pytest.approx((res.pvalue, interval.low, interval.high))
        assert (row['mean'] - row.simultaneous, row['mean'] + row.simultaneous) == pytest.approx((wider.low, wider.high))
        assert row.above == (o.test > o.test_reference).sum() and row.sets == 6
    for _,o in over.groupby('regime'): assert o.holm.to_numpy() == pytest.approx(report.holm(o.p))

def test_sets_count_the_same_with_fewer_splits(report):
    paired = report.differences(report.choose(unfinished_runs(), 'auroc'))
    row = report.over_sets(paired).set_index('recipe').loc['a']
    assert row['mean'] == pytest.approx(paired[paired.recipe == 'a'].groupby('set').difference.mean().mean()) and row.sets == 2

def test_holm(report):
    assert report.holm([.01, .04, .03, .005]) == pytest.approx([.03, .06, .06, .02])  # .005*4, .01*3, .03*2, and .04*1 is raised to .06
    assert report.holm([.6, .5]) == pytest.approx([1, 1])
    assert report.holm([np.nan, .02, np.nan, .03]) == pytest.approx([np.nan, .04, np.nan, .04], nan_ok=True)
    assert np.isnan(report.holm([np.nan])).all()

@pytest.mark.parametrize('seed', range(5))
def test_holm_is_the_step_down_test(report, seed):
    "Adjusted p below a level is what Holm's steps reject at it"
    p = np.random.default_rng(seed).beta(.3, 3, 12)
    for level in (.01, .05, .2):
        rejected = set()
        for i,k in enumerate(np.argsort(p)):
            if p[k] > level/(12 - i): break
            rejected.add(k)
        assert set(np.flatnonzero(report.holm(p) <= level)) == rejected

def test_one_set_and_one_split(report):
    "No interval, and no error"
    summaries = report.summarize(simulate({'a':.01}, sets=1, splits=1))
    for o in (summaries.sets, summaries.over): assert o[['half_width','low','high','p','holm','simultaneous']].isna().all(axis=None) and o['mean'].notna().all()
    assert '–' in report.results_table(summaries) and 'no interval' in report.advice_row(summaries, 'a')

def test_recipe_equal_to_the_reference(report):
    "No difference, no spread: no test, and nothing is bold"
    runs = simulate({'a':0.}, noise=0)
    summaries = report.summarize(runs)
    assert (summaries.over['mean'] == 0).all() and summaries.over.holm.isna().all() and '**' not in report.results_tables(summaries)

def test_coverage_over_sets(report):
    "95 % of 300 simulated experiments, of six sets each, cover the effect"
    runs = simulate({'a':.002}, regimes=range(300), splits=4, trials=1, seed=1)
    over = report.summarize(runs, metrics=['auroc']).over
    covered = ((over.low < .002) & (over.high > .002)).mean()
    assert len(over) == 300 and .92 < covered < .98

def test_coverage_of_a_set(report):
    "Differences of splits correlate by n_test/(n_test + n_train) = 1/3 in Nadeau and Bengio's model, where their interval is exact"
    rng = np.random.default_rng(0)
    where = pd.DataFrame(list(product(['auroc'], range(2000), ['one'], ['a'], range(20))), columns=['metric','regime','set','recipe','split'])
    d = sqrt(1/3)*rng.normal(size=(2000, 1)) + sqrt(2/3)*rng.normal(size=(2000, 20))
    sets = report.per_set(where.assign(difference=d.ravel(), left_out=0, uneven=False))
    assert abs(((sets.low < 0) & (sets.high > 0)).mean() - .95) < .015

def test_known_effect_is_found(report):
    summaries = report.summarize(simulate(dict(a=.03, b=0., c=-.03), noise=.003))
    over = summaries.over[summaries.over.metric == 'auroc'].set_index('recipe')
    assert over.loc['a', 'low'] > .02 and over.loc['c', 'high'] < -.02 and (over.holm[['a','c']] < .05).all() and over.holm['b'] > .05
    lines = {o.split(' | ')[0].strip('| '):o for o in report.results_table(summaries).splitlines()}
    assert lines['a'].count('**') >= 2 and '6 of 6' in lines['a'] and '0 of 6' in lines['c'] and '**' not in lines['b']

# --- Texts ---

@pytest.mark.parametrize('x,k,text', [(.0042, 3, '+.004'), (-.0042, 3, '-.004'), (.0004, 3, '.000'), (-.0004, 3, '.000'), (-.0004, 4, '-.0004'), (0., 3, '.000'),
    (1.25, 2, '+1.25'), (-10.5, 1, '-10.5'), (float('nan'), 3, '–')])
def test_signed(report, x, k, text): assert report.signed(x, k) == text

def test_advice_row(report):
    summaries = report.summarize(simulate({'a':.01}))
    row = summaries.over[summaries.over.metric == 'ap'].iloc[0]
    assert report.advice_row(summaries, 'a', metric='ap') == f'+{row["mean"]:.3f} ({row.low:+.3f} to {row.high:+.3f})'.replace('0.', '.')
    wide = report.advice_row(summaries, 'a', metric='ap', digits=4, simultaneous=True)
    assert wide.endswith(f'{row["mean"] + row.simultaneous:+.4f})'.replace('0.', '.'))
    with pytest.raises(ValueError, match="No runs of recipe 'z'"): report.advice_row(summaries, 'z')

def test_results_tables(report):
    summaries = report.summarize(unfinished_runs())
    text = report.results_tables(summaries)
    assert [o for o in text.splitlines() if o.startswith('#')] == ['## AUROC', '### plain', '## average precision', '### plain',
        '## area above 80 % true positives', '### plain', '## Unfinished']
    assert '- plain: 4 splits without a counterpart are left out (' in text and 'b 1' in text
    head,_,reference,*rows = report.results_table(summaries, sets=['set 1', 'set 0', 'set 2'], recipes=['b', 'a', 'z']).splitlines()
    assert head == '| recipe | set 1 | set 0 | mean of the sets | p (Holm) | sets above |'
    base = summaries.base[summaries.base.metric == 'auroc'].set_index('set')['mean']
    assert reference == f'| cross-entropy | {base["set 1"]:.4f} | {base["set 0"]:.4f} | {base.mean():.4f} |  |  |'.replace('0.', '.')
    assert [o.split(' | ')[0] for o in rows] == ['| b', '| a']
    cell = summaries.sets[(summaries.sets.metric == 'auroc') & (summaries.sets['set'] == 'set 0') & (summaries.sets.recipe == 'a')].iloc[0]
    assert f'{cell["mean"]:+.4f} ± {cell.half_width:.4f}'.replace('0.', '.') in rows[1]

def test_a_set_without_a_recipe(report):
    runs = simulate({'a':.01, 'b':0.}, sets=2)
    text = report.results_table(report.summarize(runs[(runs.recipe != 'b') | (runs['set'] == 'set 0')]))
    assert next(o for o in text.splitlines() if o.startswith('| b')).split(' | ')[2] == '–'

# --- Plots ---

def is_white(file):
    from matplotlib.image import imread
    return (imread(file)[0, 0, :3] == 1).all()

def test_forest_plot(report, tmp_path):
    effects = {'loss x, alone':-.3, 'loss x, mixed':.03, 'loss y':0.}
    summaries = report.summarize(simulate(effects, noise=.003))
    text = report.forest_plot(summaries, tmp_path/'forest.png', families={'loss x':['loss x, alone', 'loss x, mixed']})
    assert is_white(tmp_path/'forest.png')
    assert text.startswith('Forest plot of 3 recipes. Mean difference from cross-entropy over up to 6 sets')
    for metric,k in report.digits.items():
        gain,loss = [report.advice_row(summaries, f'loss x, {o}', metric=metric, digits=k) for o in ('mixed', 'alone')]
        assert f'better: loss x, mixed {gain}. Worse: loss x, alone {loss}. No difference shown: 1 of 3 recipes' in text

def test_far_recipe_does_not_stretch_the_axis(report):
    over = pd.DataFrame(dict(mean=[-.3, .002, .001, 0], low=[-.31, -.001, -.002, np.nan], high=[-.29, .005, .004, np.nan]))
    left,right = report.limits(over)
    assert -.003 < left < -.002 and .005 < right < .006

def test_regimes_table(report):
    "A row for each regime, with what the table of all recipes says"
    summaries = report.summarize(simulate({'a':.03, 'b':0.}, regimes=('plain', 'noise'), noise=.003))
    head,line,*rows = report.regimes_table(summaries, 'a').splitlines()
    assert head == '| regime | AUROC | average precision | area above 80 % true positives | sets |' and len(rows) == 2
    for name,row in zip(('plain', 'noise'), rows):
        regime,*cells,sets = [o.strip() for o in row.strip('|').split('|')]
        assert (regime, sets) == (name, '6')
        assert cells == [f'**{report.advice_row(summaries, "a", name, o, report.digits[o])}**' for o in ('auroc', 'ap', 'top')]

def test_regime_plot(report, tmp_path):
    runs = simulate({'a':.03, 'b':0.}, regimes=('plain', 'noise', 'empty'), noise=.003)
    summaries = report.summarize(runs[(runs.regime != 'empty') | (runs.recipe == 'cross-entropy')])
    text = report.regime_plot(summaries, ['a', 'b'], tmp_path/'regimes.png', ['noise', 'plain', 'empty'])
    assert text.startswith('Forest plot of 2 recipes in 2 regimes.') and text.count('better: a in noise, plain') == 3
    assert is_white(tmp_path/'regimes.png')

def test_plot_of_one_set(report, tmp_path):
    summaries = report.summarize(simulate({'a':.01, 'b':0.}, sets=1, splits=1))
    assert 'No difference shown: 2 of 2 recipes' in report.forest_plot(summaries, tmp_path/'one.png') and (tmp_path/'one.png').exists()
