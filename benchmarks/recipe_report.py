"""From the raw runs of recipes.py to tables and forest plots. No training.

A run is one training: `regime, set, recipe, split, trial, lr, weight_decay, dropout`, and for each metric `X_epoch, X_valid, X_test`: the epoch that is best on
validation by X, and both values there. Everything is compared with the reference on the same regime, set and split.
"""
from textwrap import fill
from typing import NamedTuple
import numpy as np, pandas as pd
from scipy.stats import t as student
from measuring import bullets, table

names = dict(auroc='AUROC', ap='average precision', top='area above 80 % true positives')
digits = dict(auroc=4, ap=3, top=3)
case = ['metric','regime','set','recipe']

# --- Statistics ---

def choose(runs, metric):
    "For each regime, set, recipe and split the trial that is best on validation; of ties the first trial, NaN never"
    where = ['regime','set','recipe','split']
    runs = runs.reset_index(drop=True)
    ranked = runs.dropna(subset=f'{metric}_valid').sort_values([f'{metric}_valid', 'trial'], ascending=[False, True])
    best = ranked.drop_duplicates(where).sort_index()
    best = best.rename(columns={f'{metric}_{o}':o for o in ('epoch', 'valid', 'test')})
    trials = runs.groupby(where).trial.nunique().rename('trials')  # a trial that diverged is a trial spent
    best = best.merge(trials, left_on=where, right_index=True).assign(metric=metric)
    return best[[*case, 'split','trial','trials','epoch','lr','weight_decay','dropout','valid','test']].reset_index(drop=True)

def differences(chosen, reference='cross-entropy'):
    "Test value minus that of `reference` on the same regime, set and split; `left_out`: splits that only one of the two has"
    where = ['metric','regime','set','split']
    chosen = chosen.dropna(subset='test')
    is_reference = chosen.recipe == reference
    base = chosen.loc[is_reference, [*where, 'test','trials']]
    res = chosen[~is_reference].merge(base, on=where, suffixes=('', '_reference'))
    counts = chosen.groupby(case).size()
    ours = pd.MultiIndex.from_frame(res[case])
    theirs = pd.MultiIndex.from_frame(res[case].assign(recipe=reference))
    paired = res.groupby(case).split.transform('size')
    left_out = counts.reindex(ours).to_numpy() + counts.reindex(theirs).to_numpy() - 2*paired
    return res.assign(difference=res.test - res.test_reference, left_out=left_out, uneven=res.trials != res.trials_reference)

def holm(p):
    "Holm's adjusted p-values; NaN is no test"
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)  # NaN comes last
    tests = np.isfinite(p).sum()
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order]*np.maximum(tests - np.arange(len(p)), 1)).clip(max=1)
    return adjusted

def with_interval(summary, error, df, by):
    "`summary` with 95 % intervals of its means by Student's t, p, and p adjusted over each group of `by`"
    half_width = student.ppf(.975, df)*error
    p = 2*student.sf((summary['mean']/error).abs(), df)
    res = summary.assign(half_width=half_width, low=summary['mean'] - half_width, high=summary['mean'] + half_width, p=p).reset_index()
    tests = res.groupby(by).p.transform('count')
    simultaneous = student.isf(.025/tests.clip(lower=1), df)*error.to_numpy()  # Bonferroni
    return res.assign(holm=res.groupby(by).p.transform(holm), simultaneous=simultaneous)

def per_set(paired, ratio=1/2):
    """Mean difference on each set, and its interval by the corrected resampled t (Nadeau and Bengio 2003); `ratio`: rows to test over rows to train.
    Splits of a set share rows, hence the variance of their mean is that of a split times 1/splits + `ratio`."""
    res = paired.groupby(case, sort=False).agg(mean=('difference', 'mean'), std=('difference', 'std'), splits=('difference', 'size'),
        left_out=('left_out', 'first'), uneven=('uneven', 'sum'))
    return with_interval(res, res['std']*(1/res.splits + ratio)**.5, res.splits - 1, ['metric','regime'])

def over_sets(paired):
    "Mean of the means of the sets, its interval by Student's t over sets, which are independent, and p adjusted over the recipes of a regime"
    means = paired.groupby(case, sort=False).difference.mean().reset_index(name='mean')
    res = means.assign(above=means['mean'] > 0).groupby(['metric','regime','recipe'], sort=False).agg(mean=('mean', 'mean'), std=('mean', 'std'),
        sets=('mean', 'size'), above=('above', 'sum'))
    return with_interval(res, res['std']/res.sets**.5, res.sets - 1, ['metric','regime'])

class Summaries(NamedTuple):
    "What tables and plots are made from"
    reference: str     # the recipe that all are compared with
    base: pd.DataFrame # its mean test value for each metric, regime and set
    sets: pd.DataFrame # per_set
    over: pd.DataFrame # over_sets

def summarize(runs, reference='cross-entropy', metrics=tuple(names)):
    "Summaries of all regimes and `metrics`"
    chosen = pd.concat([choose(runs, o) for o in metrics], ignore_index=True)
    base = chosen[chosen.recipe == reference].groupby(['metric','regime','set'], sort=False).test.mean().reset_index(name='mean')
    paired = differences(chosen, reference)
    return Summaries(reference, base, per_set(paired), over_sets(paired))

# --- Tables ---

def plain(x, digits=3):
    "`x` without a leading zero"
    if np.isnan(x): return '–'
    text = f'{x:.{digits}f}'
    return text[1:] if text.startswith('0.') else text

def signed(x, digits=3):
    "`x` with its sign, unless it is rounded to zero"
    sign = '+' if x > 0 else '-' if x < 0 else ''
    text = plain(abs(x), digits)
    return sign*bool(text.strip('.0–')) + text

def with_limits(row, digits=3, simultaneous=False):
    "A mean with its interval: '+.004 (+.001 to +.007)'"
    half_width = row.simultaneous if simultaneous else row.half_width
    mean = signed(row['mean'], digits)
    if np.isnan(half_width): return f'{mean} (no interval)'
    return f'{mean} ({signed(row["mean"] - half_width, digits)} to {signed(row["mean"] + half_width, digits)})'

def advice_row(summaries, recipe, regime='plain', metric='auroc', digits=3, simultaneous=False):
    "Expected gain with its 95 % interval over sets, as text"
    over = summaries.over
    row = over[(over.metric == metric) & (over.regime == regime) & (over.recipe == recipe)]
    if row.empty: raise ValueError(f'No runs of recipe {recipe!r} and of {summaries.reference!r} beside it, in regime {regime!r} by {metric!r}')
    return with_limits(row.iloc[0], digits, simultaneous)

def p_value(p): return '< .001' if p < .001 else plain(p)

def strong(text, p): return f'**{text}**' if p < .05 else text

def set_cell(row, digits):
    text = signed(row['mean'], digits)
    return strong(text if np.isnan(row.half_width) else f'{text} ± {plain(row.half_width, digits)}', row.holm)

def results_table(summaries, metric='auroc', regime='plain', recipes=None, sets=None):
    "Markdown: differences from the reference by recipe and set; bold where Holm's adjusted p is below .05"
    base,cells,over = [o[(o.metric == metric) & (o.regime == regime)] for o in (summaries.base, summaries.sets, summaries.over)]
    if base.empty: return 'No runs yet.\n'
    base = base.set_index('set')['mean']
    over = over.set_index('recipe')
    sets = list(base.index) if sets is None else [o for o in sets if o in base.index]
    recipes = [o for o in (over.index if recipes is None else recipes) if o in over.index]
    k = digits[metric]
    text = {(o['set'], o.recipe):set_cell(o, k) for _,o in cells.iterrows()}
    rows = [[summaries.reference, *(plain(base[o], k) for o in sets), plain(base[sets].mean(), k), '', '']]
    for name in recipes:
        row = over.loc[name]
        total = strong(with_limits(row, k), row.holm)
        rows.append([name, *(text.get((o, name), '–') for o in sets), total, p_value(row.holm), f'{row.above} of {row.sets}'])
    return table(['recipe', *sets, 'mean of the sets', 'p (Holm)', 'sets above'], rows)

def unfinished(summaries, metric='auroc'):
    "What the tables lack, as lines of a list"
    sets = summaries.sets[summaries.sets.metric == metric]
    lines = []
    for column,words in (('left_out', 'splits without a counterpart are left out'), ('uneven', 'splits have more trials of the one than of the other')):
        for regime,o in sets[sets[column] > 0].groupby('regime', sort=False):
            counts = o.groupby('recipe', sort=False)[column].sum()
            lines.append(f'{regime}: {counts.sum()} {words} ({", ".join(f"{name} {n}" for name,n in counts.items())})')
    return lines

def results_tables(summaries, regimes=None, recipes=None, sets=None):
    "Markdown: `results_table` of each metric and regime under headings, and what is unfinished"
    regimes = summaries.base.regime.unique() if regimes is None else regimes
    parts = [f'## {names[metric]}\n\n' + '\n'.join(f'### {o}\n\n{results_table(summaries, metric, o, recipes, sets)}' for o in regimes)
        for metric in summaries.base.metric.unique()]
    lines = unfinished(summaries)
    return '\n'.join(parts) + (f'\n## Unfinished\n\n{bullets(lines)}\n' if lines else '')

def regimes_table(summaries, recipe):
    "Markdown: differences of one recipe from the reference, by regime and metric; bold where Holm's adjusted p is below .05"
    over = summaries.over[summaries.over.recipe == recipe].set_index(['regime','metric'])
    regimes = over.index.unique('regime')
    metrics = over.index.unique('metric')
    cells = {key:strong(with_limits(row, digits[key[1]]), row.holm) for key,row in over.iterrows()}
    sets = over.groupby('regime').sets.max()
    return table(['regime', *(names[o] for o in metrics), 'sets'], [[o, *(cells[o, metric] for metric in metrics), sets[o]] for o in regimes])

# --- Plots ---

better,worse,neutral = '#0072b2','#d55e00','#333333'

def limits(over):
    "Ends of an axis that holds 0 and all intervals, but not those three times as far off as the middle one"
    ends = over[['low','high']].where(over.low.notna(), over['mean'], axis=0)
    far = 3*ends.abs().max(axis=1).median()
    low,high = min(ends.low[ends.low >= -far].min(), 0),max(ends.high[ends.high <= far].max(), 0)
    pad = .06*max(high - low, 1e-4)
    return low - pad, high + pad

def place(ax, x, y, marker, **style):
    "Markers at `x`; those beyond the axis are arrows at its edge"
    left,right = ax.get_xlim()
    x = np.atleast_1d(x)
    for kind,where in (('<', x < left), ('>', x > right), (marker, (x >= left) & (x <= right))):
        if where.any(): ax.plot(x[where].clip(left, right), np.full(where.sum(), y), kind, clip_on=False, **style)

def draw_row(ax, y, row, dots, k):
    "The mean with its interval, and faint dots below for the sets; a mean beyond the axis as a number"
    left,right = ax.get_xlim()
    is_sure = row.holm < .05
    color = neutral if not is_sure else better if row['mean'] > 0 else worse
    place(ax, dots, y + .32, 'o', color=neutral, alpha=.35, ms=3.2, mew=0, zorder=2)
    ends = np.array([row.low, row.high])
    place(ax, ends[(ends < left) | (ends > right)], y, '', color=color, ms=5, mew=0, zorder=3)
    if row.high >= left and row.low <= right: ax.plot(ends.clip(left, right), [y, y], color=color, lw=2.6, solid_capstyle='butt', zorder=3)
    place(ax, row['mean'], y, 'o', color=color, mfc=color if is_sure else 'white', ms=6.5, mew=1.5, zorder=4)
    if left <= row['mean'] <= right: return
    side,offset,align = (left, 8, 'left') if row['mean'] < left else (right, -8, 'right')
    ax.annotate(signed(row['mean'], k), (side, y), (offset, 0), textcoords='offset points', va='center', ha=align, fontsize=8.5, color=color, zorder=5,
        bbox=dict(fc='white', ec='none', pad=1))

def draw(summaries, blocks, file):
    "A panel for each metric; `blocks`: a heading, or None, and rows of label, regime and recipe"
    from matplotlib.figure import Figure
    metrics = list(summaries.over.metric.unique())
    lines = [o for heading,rows in blocks for o in ([(heading, None, None)] if heading else []) + rows]
    fig = Figure(figsize=(9, .235*len(lines) + 1.2), facecolor='white', layout='constrained')
    fig.get_layout_engine().set(w_pad=.08)
    axes = fig.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    over = summaries.over.set_index(['metric','regime','recipe'])
    dots = {key:o.to_numpy() for key,o in summaries.sets.groupby(['metric','regime','recipe'])['mean']}
    for ax,metric in zip(axes, metrics):
        rows = {y:(metric, *o[1:]) for y,o in enumerate(lines) if (metric, *o[1:]) in dots}
        style_axes(ax, names[metric])
        if rows: ax.set_xlim(limits(over.loc[list(rows.values())]))
        for y,key in rows.items(): draw_row(ax, y, over.loc[key], dots[key], digits[metric])
    axes[0].set_ylim(len(lines) - .3, -.6)
    label_rows(axes[0], lines)
    fig.supxlabel(f'Difference from {summaries.reference}; right of 0 is better. Bar: 95 % interval over sets. Small dots: sets.\n'
        "Filled: p < .05 by Holm's adjustment for many recipes. An arrow: beyond the axis.", fontsize=9)
    fig.savefig(file, dpi=200)

def style_axes(ax, title):
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    ax.set_title(fill(title, 18), fontsize=9.5)
    ax.spines[['top','right','left']].set_visible(False)
    ax.axvline(0, color=neutral, lw=1, zorder=1)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x,_: '0' if abs(x) < 1e-9 else signed(x, 4).rstrip('0')))
    ax.tick_params(axis='x', labelsize=8.5)
    ax.tick_params(axis='y', length=0, pad=8)
    ax.grid(axis='x', color='#e4e4e4', lw=.8, zorder=0)

def label_rows(ax, lines):
    ax.set_yticks(range(len(lines)), [o[0] for o in lines], fontsize=9)
    for text,(_,regime,_) in zip(ax.get_yticklabels(), lines):
        if regime is None: text.set_fontweight('bold')

def listed(items): return '; '.join(items) or 'none'

def alt_text(summaries, over, describe):
    "What a plot shows, for readers who do not see it; `describe` says it of the rows above, below and all of one metric"
    parts = []
    for metric in over.metric.unique():
        o = over[over.metric == metric]
        is_sure = o.holm < .05
        parts.append(f"{names[metric]}: {describe(o[is_sure & (o['mean'] > 0)], o[is_sure & (o['mean'] < 0)], o)}.")
    return (f'Mean difference from {summaries.reference} over up to {over.sets.max()} sets with its 95 % interval; '
        f"better and worse: p < .05 by Holm's adjustment. {' '.join(parts)}")

def describe_recipes(above, below, rows):
    def say(o): return listed(f'{row.recipe} {with_limits(row, digits[row.metric])}' for _,row in o.sort_values('mean', ascending=False).iterrows())
    return f'better: {say(above)}. Worse: {say(below)}. No difference shown: {len(rows) - len(above) - len(below)} of {len(rows)} recipes'

def describe_regimes(above, below, rows):
    def say(o): return listed(f'{recipe} in {", ".join(regimes)}' for recipe,regimes in o.groupby('recipe', sort=False).regime)
    return f'better: {say(above)}. Worse: {say(below)}. No difference shown: {len(rows) - len(above) - len(below)} of {len(rows)} rows'

def forest_plot(summaries, file, regime='plain', families=None):
    "Draw the recipes of a regime, best first by the first metric, within `families` (recipes of each family) if given; returns the alt text"
    family_of = {name: family for family,members in (families or {}).items() for name in members}
    over = summaries.over[summaries.over.regime == regime]
    ranked = over[over.metric == over.metric.iloc[0]].sort_values('mean', ascending=False).recipe
    groups = {}
    for o in ranked: groups.setdefault(family_of.get(o, 'other' if families else None), []).append((o, regime, o))
    draw(summaries, list(groups.items()), file)
    return f'Forest plot of {len(ranked)} recipes. {alt_text(summaries, over, describe_recipes)}'

def regime_plot(summaries, recipes, file, regimes=None):
    "Draw a few `recipes` in each regime; returns the alt text"
    regimes = summaries.over.regime.unique() if regimes is None else regimes
    over = pd.concat([summaries.over[summaries.over.regime == o] for o in regimes])
    over = over[over.recipe.isin(recipes)]
    present = set(zip(over.regime, over.recipe))
    blocks = [(o, [(name, o, name) for name in recipes if (o, name) in present]) for o in regimes]
    blocks = [o for o in blocks if o[1]]
    draw(summaries, blocks, file)
    return f'Forest plot of {len(recipes)} recipes in {len(blocks)} regimes. {alt_text(summaries, over, describe_regimes)}'
