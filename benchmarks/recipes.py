"""Which loss, which sampler, when: recipes against cross-entropy with the same tuning, on splits of many sets. Run: python benchmarks/recipes.py

It goes on where it stopped. Writes recipes.csv.gz (every training), recipes.md (tables), recipes.png and regimes.png (forest plots)."""
import argparse, gzip, multiprocessing, os, warnings
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import cache
from itertools import islice
from pathlib import Path
from time import monotonic
import pandas as pd
from tqdm import tqdm
from measuring import bullets, machine, results, use_threads, written_by
from recipe_confirm import confirmation_sets, missing_packages
from recipe_list import controls, families, few, recipes, regimes, unseen
from recipe_peers import libauc_missing
from recipe_report import forest_plot, regime_plot, regimes_table, results_tables, summarize
from recipe_sets import sets, split_task
from recipe_training import Mean, draw_trials, looks, train

all_sets = sets | confirmation_sets()
together = 5 # Splits whose networks are trained side by side
quick = dict(splits=5, trials=2, regimes=['plain'], sets=['satellite', 'letter Z'], recipes=['cross-entropy', 'balanced batches', 'AUROCLoss',
    'mixed AUROCLoss', 'squared hinge, balanced'])

# --- One unit: a recipe on some splits of a set, all trials ---

@cache
def rows_of(name): return all_sets[name]()

means = {name: o for name,o in recipes.items() if isinstance(o, Mean)} # Scored where the recipe that they average is trained

def run_unit(regime, where, recipe, splits, number):
    "A row for each trial of each split, of the recipe and of the means of its trials"
    tasks = [split_task(rows_of(where), regimes[regime], o) for o in splits]
    trials = [draw_trials(o, number, regimes[regime].longer) for o in splits]
    averaged = {name: o.number for name,o in means.items() if o.of == recipe and o.number <= number}
    found = train(tasks, recipes[recipe], splits, trials, regimes[regime].linear, averaged.values())
    places = [dict(split=split, trial=i) for split,of_split in zip(splits, trials) for i in range(len(of_split))]
    options = [dict(lr=o.lr, weight_decay=o.weight_decay, dropout=o.dropout, steps=o.steps) for of_split in trials for o in of_split]
    return [dict(regime=regime, set=where, recipe=name) | a | b | c for name,columns in zip([recipe, *averaged], found)
        for a,b,c in zip(places, options, columns)]

def start_worker():
    use_threads(1)
    warnings.simplefilter('ignore')

# --- All units ---

def append(rows, file):
    "Add `rows` to a compressed file in one write, so that a stop leaves whole rows"
    text = pd.DataFrame(rows).to_csv(index=False, header=not file.exists(), float_format='%.5g')
    with file.open('ab') as f: f.write(gzip.compress(text.encode()))

def can_run(args):
    "Recipes and sets whose packages are installed, and which are not"
    notes = []
    recipe_names = [o for o in args.recipes if not (libauc_missing() and o in families['LibAUC'])]
    set_names = [o for o in args.sets if not (missing_packages() and o not in sets)]
    if len(recipe_names) < len(args.recipes): notes.append(libauc_missing())
    if len(set_names) < len(args.sets): notes.append(missing_packages())
    return recipe_names,set_names,notes

def read_runs(file):
    "All trainings in `file`; of one that was run twice the last"
    return pd.read_csv(file).drop_duplicates(['regime','set','recipe','split','trial'], keep='last')

def open_units(args, file):
    "What is asked for and not in `file` with as many trials, some splits at a time"
    done = set()
    if file.exists():
        trials = read_runs(file).groupby(['regime','set','recipe','split']).size()
        done = set(trials[trials == args.trials].index)
    recipe_names,set_names,notes = can_run(args)
    for o in notes: print(o)
    recipe_names = [o for o in recipe_names if o not in means or means[o].number <= args.trials]
    units = []
    for start in range(0, args.splits, together):
        splits = range(start, min(start + together, args.splits))
        for name in args.regimes:
            asked = [(name, where, recipe) for where in regimes[name].sets if where in set_names
                for recipe in regimes[name].recipes or recipes if recipe in recipe_names]
            open_ones = [o for o in asked if any((*o, split) not in done for split in splits)]
            units += [(*o, list(splits)) for o in dict.fromkeys((*names, means[o].of if o in means else o) for *names,o in open_ones)]
    return units

def run(args, file):
    "Run what is open, until the time is over"
    # Large arrays come and go at each step: glibc is to keep their memory, which the workers read from here at their start
    for name in ('MMAP', 'TRIM'): os.environ.setdefault(f'MALLOC_{name}_THRESHOLD_', str(2**32))
    end = monotonic() + 60*args.minutes
    units = open_units(args, file)
    bar = tqdm(total=len(units), smoothing=.01)
    waiting = iter(units)
    with ProcessPoolExecutor(args.workers, multiprocessing.get_context('spawn'), start_worker) as pool:
        running = {pool.submit(run_unit, *o, args.trials) for o in islice(waiting, args.workers + 1)}
        while running:
            done,running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                append(future.result(), file)
                bar.update()
            if monotonic() < end: running |= {pool.submit(run_unit, *o, args.trials) for o in islice(waiting, len(done))}
    bar.close()

# --- Results ---

def about(runs, quick):
    "What was run, as lines of a list"
    splits = Counter(runs.groupby(['regime','set','recipe']).split.nunique())
    counts = ', '.join(f'{k} splits of {n} pairs of set and recipe' for k,n in sorted(splits.items(), reverse=True))
    return [*machine('scipy', 'pandas', 'libauc'), written_by('recipes.py', quick), f'{len(runs):,} trainings: {counts}; {runs.trial.max() + 1} trials each']

def expectations(shown): return '\n'.join(f'- **{o}.** {regimes[o].expected}' for o in shown)

def beside_others(runs):
    "Markdown: regimes on unseen sets alone, linear models beside logistic regression, and recipes beside what differs from them in one thing"
    parts = []
    confirms = [where in unseen and where not in regimes[name].lead for name,where in zip(runs.regime, runs['set'])]
    others = runs[confirms]
    if others.regime.nunique() > 1:
        of_others = summarize(others)
        parts += ['# Regimes on the sets that had no part in choosing\n\nNo gain in the same regime had been seen on them before. Bold: p < .05 by Holm over the recipes of a regime.\n', *(f'## {o}\n\n{regimes_table(of_others, o)}' for o in few[1:])]
    linear = runs[runs.regime == 'linear model']
    if not linear.empty: parts.append(f"# Beside logistic regression\n\n{results_tables(summarize(linear, 'logistic regression'))}")
    if others.empty: return ''.join(parts)
    parts.append('# One recipe beside another, on the same sets\n\nEach row is one comparison, and p is not adjusted.\n')
    for recipe,reference in controls.items():
        both = others[others.recipe.isin([recipe, reference])]
        if both.recipe.nunique() == 2: parts.append(f'## {recipe}: beside {reference}\n\n{regimes_table(summarize(both, reference), recipe)}')
    return ''.join(f'\n{o}' for o in parts)

def report(runs, out, quick=False):
    "Write tables and plots"
    summaries = summarize(runs)
    shown = [o for o in regimes if o in set(runs.regime)]
    alts = [forest_plot(summaries, out/'recipes.png', shown[0], families)]
    if len(shown) > 1: alts.append(regime_plot(summaries, few[1:], out/'regimes.png', shown[1:]))
    figures = '\n\n'.join(f'![{alt}]({name}.png)' for alt,name in zip(alts, ('recipes', 'regimes')))
    text = f"""# Which loss, which sampler, when

{bullets(about(runs, quick))}

Difference from cross-entropy on the same splits, on rows that served neither training nor choice. Half of the rows train, a quarter chooses learning
rate, weight decay, dropout, steps (150 or 600) and at which of {looks} looks to stop, each by the measure that is reported, and a quarter reports;
positives that are thinned out report, too, with weights that give them the share they have in training. Every recipe has the same trials.

- Intervals are of 95 %: of a set by the corrected resampled t-test (Nadeau & Bengio 2003), which is approximate, since parts of thinned sets and of MNIST
  overlap less than it assumes; of the mean of the sets by Student's t over sets.
- p is adjusted by Holm over the recipes of one regime and measure; bold is below .05. The cells of single sets are adjusted over all cells of their table.
- The area above 80 % true positives is standardised (McClish): .5 is chance, 1 perfect.
- Noise flips labels of either class with the same probability, in the rows that train and choose: of few positives with 10 % noise most labelled positives are false.
- Logit-adjusted cross-entropy of two classes differs from cross-entropy only by where its bias starts.

## What was expected, written before the first run

After a look at five splits the range of learning rates was widened, the steps became an option, and the regimes got more sets; the expectations stayed.

{expectations(shown)}

{figures}

{results_tables(summaries, shown, list(recipes))}{beside_others(runs)}"""
    (out/'recipes.md').write_text(text, encoding='utf-8')

def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=results, help='folder of the results (benchmarks/results)')
    parser.add_argument('--splits', type=int, default=20)
    parser.add_argument('--trials', type=int, default=8, help='draws of learning rate, weight decay and dropout for each recipe and split')
    parser.add_argument('--regimes', nargs='+', default=list(regimes), choices=list(regimes))
    parser.add_argument('--sets', nargs='+', default=list(all_sets), choices=list(all_sets))
    parser.add_argument('--recipes', nargs='+', default=list(recipes), choices=list(recipes))
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes (as many as cores)')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='stop after so many minutes; the next run goes on')
    parser.add_argument('--quick', action='store_true', help='two sets and five recipes, in two minutes, into a folder quick')
    args = parser.parse_args()
    if args.quick:
        vars(args).update(quick)
        args.out = args.out/'quick'
    return args

def main():
    args = options()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out/'recipes.csv.gz'
    run(args, file)
    report(read_runs(file), args.out, args.quick)

if __name__ == '__main__': main()
