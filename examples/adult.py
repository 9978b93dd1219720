"Train a tabular classifier on the Adult census data with an AUROC column, check it against scikit-learn, and draw the ROC curve."
import warnings
warnings.filterwarnings('ignore')  # deprecations inside fastai and its dependencies

from pathlib import Path
import matplotlib
matplotlib.use('Agg')
from fastai.tabular.all import *
from fastai_auroc.all import *
from fastai_auroc import datasets
from sklearn.metrics import roc_auc_score

root = Path(__file__).resolve().parent.parent
adult = datasets.adult()
cats = ['workclass','education','marital-status','occupation','relationship','race','gender','native-country']
conts = ['age','education-num','capital-gain','capital-loss','hours-per-week']

set_seed(42)
valid = RandomSplitter(valid_pct=.2, seed=42)(range_of(adult))[1]
dls = TabularDataLoaders.from_df(adult, path=root, procs=[Categorify, FillMissing, Normalize], cat_names=cats, cont_names=conts, y_names='income',
    y_block=CategoryBlock(), valid_idx=list(valid), bs=256)
print(f'Adult census income: {len(dls.train_ds):,} people to learn from, {len(dls.valid_ds):,} to validate on; who earns more than $50,000?\n')

learn = tabular_learner(dls, layers=[100], metrics=accuracy, callback_fns=AUROC)
learn.fit_one_cycle(5, 1e-2)
auroc = learn.recorder.values[-1][-1]

with learn.no_bar(), learn.no_logging(): logits,targets = learn.get_preds(act=noop)
theirs = roc_auc_score(targets, logits[:,1].double()-logits[:,0].double())
print(f"\nauroc column, last epoch:    {auroc:.15f}\nscikit-learn, all outputs:   {theirs:.15f}")
if abs(auroc-theirs) > 1e-12: raise SystemExit('They differ.')
print('They agree.')

ax = plot_roc(logits, targets, activation='softmax')
ax.set_title('Adult census income, validation set')
ax.figure.savefig('roc.png', dpi=120)
print(f"\nThe ROC curve is in {Path('roc.png').resolve()}")
