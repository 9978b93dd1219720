"Everything for a notebook: `from fastai_auroc.all import *`, after fastai's own star imports, of either generation"
from importlib.metadata import PackageNotFoundError, version

try: _fastai = version('fastai')
except PackageNotFoundError as e: raise ImportError('fastai_auroc.all needs fastai: pip install fastai') from e

import sys
from importlib import import_module as _import_module
from typing import Any, cast, TYPE_CHECKING
from fastai_auroc.roc import auroc_score, auc_roc_score, roc_curve, auc, bias_auroc, grouped_auroc
from fastai_auroc.pr import average_precision, pr_curve
from fastai_auroc.groups import power_mean
from fastai_auroc.confidence import ap_ci, auroc_ci, compare_auroc
from fastai_auroc.distributed import gather_rows
from fastai_auroc.buckets import quantile_thresholds
from fastai_auroc.streaming import StreamingAUC
from fastai_auroc.losses import aum, AUMLoss, AUROCLoss, AveragePrecisionLoss, MixedLoss, PartialAUCLoss, SoftDiceLoss
from fastai_auroc.losses import soft_auroc, SquaredHingeAUCLoss
from fastai_auroc.samplers import StratifiedBatchSampler, balance_batches
from fastai_auroc.plots import plot_roc, plot_aum
from fastai_auroc.pr_plots import plot_pr
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.callbacks import ShowROCCallback
from fastai_auroc.history import history, plot_history

# What is exported beside fastai 2
__all__ = ['AUROC', 'AveragePrecision', 'auroc_score', 'auc_roc_score', 'roc_curve', 'auc', 'average_precision', 'pr_curve',
    'grouped_auroc', 'bias_auroc', 'power_mean', 'auroc_ci', 'ap_ci', 'compare_auroc', 'StreamingAUC', 'quantile_thresholds',
    'gather_rows', 'enable_callback_fns', 'disable_callback_fns', 'aum', 'soft_auroc', 'AUMLoss', 'AUROCLoss',
    'SquaredHingeAUCLoss', 'SoftDiceLoss', 'PartialAUCLoss', 'AveragePrecisionLoss', 'MixedLoss', 'StratifiedBatchSampler',
    'balance_batches', 'plot_roc', 'plot_pr', 'plot_aum', 'ROCInterpretation', 'ShowROCCallback',
    'history', 'plot_history']

if _fastai.startswith('1.'):
    from fastai_auroc.fastai1 import AUROC, AveragePrecision
    # fastai 1 has an auc_roc_score, a roc_curve and callback_fns of its own, and other callbacks
    _of_fastai2 = 'auc_roc_score', 'roc_curve', 'enable_callback_fns', 'disable_callback_fns', 'ShowROCCallback'
    __all__ = [o for o in __all__ if o not in _of_fastai2]
else:
    from fastai_auroc.metric import AUROC, AveragePrecision  # type: ignore[assignment]
    from fastai_auroc.callback_fns import enable_callback_fns, disable_callback_fns, renew_callback_fns as _renew
    enable_callback_fns(load_vision=False)
    _names = __all__
    _of_vision = ['vision_learner', 'unet_learner']
    del __all__  # so that each star import asks __getattr__

    if TYPE_CHECKING: vision_learner = unet_learner = cast(Any, None)
    else:
        def __getattr__(name):
            "Names of a star import, with those of fastai's vision if that is loaded by then; and what these two are"
            known = '__all__',*_of_vision
            if name not in known: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
            vision = None if name == '__all__' else _import_module('fastai.vision.learner')
            _renew()
            if vision: return getattr(vision, name)
            return _names + (_of_vision if 'fastai.vision.learner' in sys.modules else [])

        def __dir__(): return sorted({*globals(), '__all__', *_of_vision})
