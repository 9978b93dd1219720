"AUROC(ci=True): a second column with half the width of DeLong's interval."
import warnings
from functools import partial
import pytest
from fastai.tabular.all import Categorify, CategoryBlock, Normalize, TabularDataLoaders
from fastai_auroc.all import AUROC

@pytest.mark.parametrize('spelling', [dict(cbs=AUROC(ci=True)), dict(callback_fns=partial(AUROC, ci=True)), 'fit'], ids=['cbs', 'callback_fns', 'fit'])
def test_column(adult_learner, spelling):
    "Half the width of the interval stands after AUROC, over several fits, and leaves no trace"
    learn = adult_learner(**({} if spelling == 'fit' else spelling))
    given = list(learn.metrics)
    for _ in range(2):
        learn.fit(1, cbs=AUROC(ci=True) if spelling == 'fit' else None)
        assert list(learn.recorder.metric_names)[-4:] == ['accuracy', 'auroc', 'auroc_ci', 'time'] and list(learn.metrics) == given
        auroc,half = learn.recorder.values[-1][-2:]
        with learn.no_bar(), learn.no_logging(): outputs,targets = learn.get_preds(act=lambda x: x)
        s,y = (outputs[:,1].double() - outputs[:,0].double()).numpy(),targets.flatten().numpy() == 1
        wins = (s[y][:,None] > s[~y]) + .5*(s[y][:,None] == s[~y])
        se = (wins.mean(1).var(ddof=1)/y.sum() + wins.mean(0).var(ddof=1)/(~y).sum())**.5
        assert (auroc, half) == pytest.approx((wins.mean(), 1.959963984540054*se), abs=1e-10) and type(half) is float

def test_column_needs_a_callback(adult_learner):
    with pytest.raises(ValueError, match='has two columns, but a metric has one: pass it as cbs= or callback_fns='): adult_learner(metrics=AUROC(ci=True)).fit(1)
    with pytest.raises(ValueError, match='no interval with max_fpr'): AUROC(ci=True, max_fpr=.1)

def test_column_without_an_interval(adult_learner, adult_dls, adult):
    "One class only: both columns NaN, one warning; many classes: AUROC stands, its interval is NaN"
    only = (adult.sample(900, random_state=0).income.to_numpy() == '>50K').nonzero()[0][:100].tolist()
    many = TabularDataLoaders.from_df(adult.sample(900, random_state=0), procs=[Categorify, Normalize], cat_names=['workclass'], cont_names=['age'],
        y_names='race', y_block=CategoryBlock(), valid_idx=list(range(300)), bs=64)
    for dls,nan in ((adult_dls(valid_idx=only), [True, True]), (many, [False, True])):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            learn = adult_learner(dls, cbs=AUROC(ci=True))
            learn.fit(2)
        assert [v != v for v in learn.recorder.values[-1][-2:]] == nan
        assert sum('AUROC' in str(o.message) for o in said) == 1
