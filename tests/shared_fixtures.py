"What the tests of both generations of fastai share: the data, and scikit-learn's number for two logits"
from pathlib import Path
import pandas as pd, pytest, torch
from sklearn.metrics import roc_auc_score

data = Path(__file__).parent.parent/'fastai_auroc'/'data'

@pytest.fixture(scope='session')
def adult():
    "Adult census income, all 32,561 rows"
    return pd.read_csv(data/'adult.csv.gz', index_col=0, skipinitialspace=True)

@pytest.fixture(scope='session')
def sms():
    "SMS Spam Collection, all 5,574 messages"
    return pd.read_csv(data/'sms-spam.csv.gz', index_col=0)

@pytest.fixture(scope='module')
def adult_small(adult):
    "Three standardised numbers of 300 people, and their incomes"
    df = adult.sample(300, random_state=0)
    x = torch.tensor(df[['age', 'education-num', 'hours-per-week']].to_numpy('float32'))
    return (x - x.mean(0))/x.std(0),torch.tensor((df.income == '>50K').to_numpy()).long()

def margin_auroc(outputs, targets):
    "scikit-learn's AUROC of a binary task's raw outputs: two logits are differenced in float64"
    margin = outputs[:,1].double() - outputs[:,0].double() if outputs.ndim == 2 and outputs.shape[1] == 2 else outputs
    return roc_auc_score(targets.flatten(), margin.flatten())
