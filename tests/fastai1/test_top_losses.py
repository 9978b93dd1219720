"PartialAUCLoss and AveragePrecisionLoss in a fastai 1 Learner."
import pandas as pd, pytest
from fastai.basic_train import load_learner
from fastai.core import noop
from fastai.tabular import tabular_learner
from fastai.train import ClassificationInterpretation
from sklearn.metrics import average_precision_score, roc_auc_score
from fastai_auroc.fastai1 import AUROC
from fastai_auroc.losses import AveragePrecisionLoss, PartialAUCLoss

measures = dict(partial=(lambda: PartialAUCLoss(.3), lambda y, s: roc_auc_score(y, s, max_fpr=.3)),
    hinge=(lambda: PartialAUCLoss(min_tpr=.8, surrogate='squared_hinge'), lambda y, s: roc_auc_score(1-y, -s, max_fpr=.2)),
    precision=(AveragePrecisionLoss, average_precision_score))

@pytest.mark.parametrize('name', measures)
def test_adult(name, adult, adult_data, tmp_path):
    "At 2 % positives its measure rises; predictions are probabilities, also those of a loaded Learner"
    rich,poor = (adult[(adult.income == '>50K') == o].sample(frac=1, random_state=0) for o in (True, False))
    df = pd.concat([o[half*size:(half+1)*size] for half in (0, 1) for o,size in ((rich, 60), (poor, 2940))], ignore_index=True)
    make,measure = measures[name]
    learn = tabular_learner(adult_data(df=df, valid=3000, bs=256), layers=[30], loss_func=make(), callback_fns=AUROC, silent=True)
    def scored():
        raw,y = learn.get_preds(activ=noop)
        return measure(y.numpy(), (raw[:,1].double() - raw[:,0].double()).numpy())
    before = scored()
    learn.fit(4, .01)
    assert scored() > before + (.03 if name == 'precision' else .1)
    raw,_ = learn.get_preds(activ=noop)
    p,y,rows = learn.get_preds(with_loss=True)
    assert p.equal(raw.softmax(1)) and rows.shape == (3000,) and rows.isfinite().all() and (rows >= 0).all()
    assert rows.mean().item() == pytest.approx(learn.loss_func(raw, y).item(), rel=1e-4)
    assert ClassificationInterpretation.from_learner(learn).confusion_matrix().sum() == 3000
    learn.path = tmp_path
    learn.export()
    loaded = load_learner(tmp_path)
    assert repr(loaded.loss_func) == repr(learn.loss_func)
    (_,label,q),(_,want,other) = (o.predict(df.iloc[0]) for o in (loaded, learn))
    assert q.equal(other) and label == want == q.argmax()
