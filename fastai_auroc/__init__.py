"""An exact AUROC column for any fastai Learner, with losses and plots

`from fastai_auroc import AUROC` takes a single name, and `from fastai_auroc.all import *`, after fastai's own star imports, all of
them. Nothing is loaded before it is asked for: the columns load fastai, whose Learners then take `callback_fns`; `auroc_score`
and the like load PyTorch alone."""
__version__ = "0.0.1"

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each name as in all.py, for type checkers and editors
    from fastai_auroc import datasets as datasets
    from fastai_auroc.metric import AUROC as AUROC, AveragePrecision as AveragePrecision
    from fastai_auroc.all import *  # type: ignore[assignment]
    from fastai_auroc.all import vision_learner as vision_learner, unet_learner as unet_learner
else:
    # Where each name is; fastai_auroc.all knows the columns of the fastai that is installed, and enables callback_fns
    _places = dict(all='AUROC AveragePrecision enable_callback_fns disable_callback_fns vision_learner unet_learner',
        roc='auroc_score auc_roc_score roc_curve auc bias_auroc grouped_auroc', pr='average_precision pr_curve', groups='power_mean',
        confidence='ap_ci auroc_ci compare_auroc', distributed='gather_rows', buckets='quantile_thresholds', streaming='StreamingAUC',
        losses='aum soft_auroc AUMLoss AUROCLoss AveragePrecisionLoss MixedLoss PartialAUCLoss SoftDiceLoss SquaredHingeAUCLoss',
        samplers='StratifiedBatchSampler balance_batches', plots='plot_roc plot_aum', pr_plots='plot_pr', interpret='ROCInterpretation',
        callbacks='ShowROCCallback', history='history plot_history')
    _places = {name:module for module,names in _places.items() for name in names.split()}

    def _missing(name):
        "The error for an unknown name, with the one that is meant if it is near"
        from difflib import get_close_matches
        suggestions = [f'. Did you mean: {near!r}?' for near in get_close_matches(name, __dir__(), n=1)]
        return AttributeError(f'module {__name__!r} has no attribute {name!r}' + ''.join(suggestions), name=name)

    def __getattr__(name):
        "A public name from its module, `datasets`, or the names of a star import"
        from importlib import import_module
        if name == 'datasets': return import_module(f'{__name__}.datasets')
        if name == '__all__': return import_module(f'{__name__}.all').__all__
        if name not in _places: raise _missing(name)
        module = import_module(f'{__name__}.{_places[name]}')
        return module if name == _places[name] else getattr(module, name)  # the module history can be called

    def __dir__(): return sorted({*globals(), *_places, 'datasets'} - {'TYPE_CHECKING'})
