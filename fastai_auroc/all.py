"Everything for a notebook: `from fastai_auroc.all import *`, after fastai's own star imports, of either generation"
from importlib.metadata import PackageNotFoundError, version

try: _fastai = version('fastai')
except PackageNotFoundError as e: raise ImportError('fastai_auroc.all needs fastai: pip install fastai') from e

import sys
from fastai_auroc.roc import auroc_score, auc_roc_score, roc_curve, auc
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.distributed import gather_rows
from fastai_auroc.buckets import quantile_thresholds
from fastai_auroc.streaming import StreamingAUC
from fastai_auroc.losses import aum, AUMLoss, AUROCLoss, soft_auroc, SoftDiceLoss, SquaredHingeAUCLoss
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches
from fastai_auroc.plots import plot_roc, plot_aum
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.callbacks import ShowROCCallback

# What is exported beside fastai 2
__all__ = ['AUROC', 'auroc_score', 'auc_roc_score', 'roc_curve', 'auc', 'auroc_ci', 'compare_auroc', 'StreamingAUC',
    'quantile_thresholds', 'gather_rows', 'enable_callback_fns', 'disable_callback_fns',
    'aum', 'soft_auroc', 'AUMLoss', 'SoftDiceLoss', 'AUROCLoss', 'SquaredHingeAUCLoss', 'StratifiedBatchSampler', 'balance_batches',
    'plot_roc', 'plot_aum', 'ROCInterpretation', 'ShowROCCallback']

if _fastai.startswith('1.'):
    from fastai_auroc.fastai1 import AUROC
    # fastai 1 has an auc_roc_score, a roc_curve and callback_fns of its own, and other callbacks
    __all__ = ['AUROC', 'auroc_score', 'auc', 'auroc_ci', 'compare_auroc', 'StreamingAUC', 'quantile_thresholds', 'gather_rows',
        'aum', 'soft_auroc', 'AUMLoss', 'SoftDiceLoss', 'AUROCLoss', 'SquaredHingeAUCLoss', 'StratifiedBatchSampler', 'balance_batches',
        'plot_roc', 'plot_aum', 'ROCInterpretation']
else:
    from fastai_auroc.metric import AUROC  # type: ignore[assignment]
    from fastai_auroc.callback_fns import enable_callback_fns, disable_callback_fns
    enable_callback_fns()
    _vision = sys.modules.get('fastai.vision.learner')
    if _vision is not None:
        vision_learner = _vision.vision_learner
        unet_learner = _vision.unet_learner
        __all__ += ['vision_learner', 'unet_learner']
