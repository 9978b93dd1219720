"An exact AUROC column for any fastai Learner, with losses and plots: `from fastai_auroc.all import *`, after fastai's own star imports"
__version__ = "0.0.1"
