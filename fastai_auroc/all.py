"Everything for a notebook: `from fastai_auroc.all import *`, after fastai's own star imports"
from importlib.metadata import PackageNotFoundError, version

try: _fastai = version('fastai')
except PackageNotFoundError as e: raise ImportError('fastai_auroc.all needs fastai: pip install fastai') from e
if _fastai.startswith('1.'): raise ImportError(f'fastai_auroc.all needs fastai 2, but fastai {_fastai} is installed: pip install "fastai>=2"')

import sys
from fastai_auroc.roc import auroc_score, auc_roc_score, roc_curve, auc
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.metric import AUROC, enable_callback_fns, disable_callback_fns

__all__ = ['auroc_score', 'auc_roc_score', 'roc_curve', 'auc', 'auroc_ci', 'compare_auroc', 'AUROC', 'enable_callback_fns', 'disable_callback_fns']

enable_callback_fns()
_vision = sys.modules.get('fastai.vision.learner')
if _vision is not None:
    vision_learner,unet_learner = _vision.vision_learner,_vision.unet_learner
    __all__ += ['vision_learner', 'unet_learner']
