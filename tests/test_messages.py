"What a user who errs is told: what was given, what was wanted, what to do."
import re, warnings
import matplotlib, numpy as np, pandas as pd, pytest, torch
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn
from test_losses_training import as_dls, blobs, quietly
from fastai_auroc.confidence import auroc_ci, compare_auroc
from fastai_auroc.linesearch import AUMLineSearch
from fastai_auroc.losses import AUMLoss, AUROCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from fastai_auroc.samplers import StratifiedBatchSampler
from fastai_auroc.interpret import ROCInterpretation
from fastai_auroc.metric import AUROC
from fastai_auroc.plots import plot_aum, plot_roc
from fastai_auroc.pr import average_precision
from fastai_auroc.pr_plots import plot_pr
from fastai_auroc.scores import class_rows
from fastai_auroc.distributed import all_reduce_sum, gather_rows
from fastai_auroc.roc import auroc_score, bias_auroc, grouped_auroc, roc_curve
from fastai_auroc.streaming import StreamingAUC

matplotlib.use('Agg')

s,y = torch.linspace(0, 1, 20),torch.arange(20) % 2
c,outputs = torch.arange(20) % 3,torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
scorers = [auroc_score, roc_curve, auroc_ci, lambda s, y, **kwargs: compare_auroc(s, s, y, **kwargs)]

@pytest.mark.parametrize('f', scorers)
@pytest.mark.parametrize('args,kwargs,says', [((y, s), {}, 'scores come first, targets second'), ((s, c), {}, 'got 0, 1, 2; .* K classes need scores of shape'),
    ((s, y.float().masked_fill(y > 0, torch.nan)), {}, '10 of 20 rows have NaN'), ((s, [*'ab']*10), {}, "targets .* list of strings: pass pos_label='b'$"),
    ((s, pd.Series([*'ab']*10).astype('category')), {}, "Series of strings: pass pos_label='b'$"), (([[.1, .2], [.3]], [0, 1]), {}, 'scores must be .* lists of equal lengths'),
    ((s+0j, y), {}, 'scores must be real numbers'), ((s.to_sparse(), y), {}, 'dense tensor'), ((s, torch.arange(20)), {}, r'got 0, 1, 2, 3, 4 and 15 more')])
def test_labels_and_scores(f, args, kwargs, says):
    with pytest.raises((TypeError, ValueError), match=says): f(*args, **kwargs)

@pytest.mark.parametrize('f,code', [(lambda y: ROCInterpretation(s, y), "targets == 'b'"), (StratifiedBatchSampler, "targets == 'b'"), (lambda y: AUROCLoss()(s, y), "targets == 'b'"),
    (lambda y: soft_auroc(s, y), "targets == 'b'"), (lambda y: StreamingAUC().update_state(y, s), "y_true == 'b'"), (lambda y: plot_aum(s, y), "targets == 'b'")])
def test_text_where_there_is_no_pos_label(f, code):
    "Only the advice that can be followed"
    with pytest.raises(TypeError, match=f'strings: pass {code}$'): f(np.array([*'ab']*10))

@pytest.mark.parametrize('bad,got', [(None, 'None'), ('Female', "the text 'Female'"), (b'x', "the text b'x'"), (pd.NA, '<NA>'), (np.array(None), 'None'), (1j, '1j'), (nn.Linear(1, 1), 'Linear')])
def test_what_was_given(bad, got):
    for args in ((bad, y), (s, bad)):
        with pytest.raises(TypeError, match=f'must be a tensor, an array or a list of numbers, got {got}$'): auroc_score(*args)

pairs = [(outputs, c), (outputs.numpy(), c.numpy()), [outputs, c], (outputs, c, s), (s[:,None], y[:,None].float()), (s, y)]

@pytest.mark.parametrize('pair', pairs, ids=['tensors', 'arrays', 'list', 'with losses', 'one column', 'no column'])
@pytest.mark.parametrize('f', scorers)
def test_scores_with_their_targets(f, pair):
    "What get_preds returns is two arguments; batches of scores are still told to be joined"
    with pytest.raises(ValueError, match=r'if these are \(scores, targets\), pass each of them, as in auroc_score\(\*learn.get_preds\(\)') as e: f(pair, c)
    assert ('torch.cat' in str(e.value)) == (pair[0].shape == pair[1].shape)
    with pytest.raises(ValueError, match='if these are'): f(outputs, pair)
    with pytest.raises(ValueError, match='join batches by torch.cat') as e: f([s[:10], s[10:]], y)
    assert 'get_preds' not in str(e.value)

@pytest.mark.parametrize('groups', [c, c.tolist(), c.float(), np.array([*'abc', 'd'])[c], [*'ab']*10], ids=['tensor', 'list', 'floats', 'text', 'two texts'])
@pytest.mark.parametrize('f,name', [(grouped_auroc, 'groups'), (bias_auroc, 'subgroup')])
def test_groups_in_the_place_of_targets(f, name, groups):
    "The order of the arguments, and nothing about many classes, which these functions do not take"
    with pytest.raises((TypeError, ValueError), match=rf'^targets must .*; the arguments are \(scores, targets, {name}\) in this order$') as e: f(s, groups, y)
    assert 'CategoryBlock' not in str(e.value) and 'as class numbers' not in str(e.value)
    with pytest.raises(ValueError, match=f'{name} must hold one label for each of 20 rows, got 3$'): f(s, y, [0, 1, 1])

def test_a_learner_is_no_scores():
    learn = Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat())
    with pytest.raises(TypeError, match=r'got Learner: pass scores and targets, as in auroc_score\(\*learn.get_preds\(\)\)'): auroc_score(learn, y)

@pytest.mark.parametrize('f', [*scorers, average_precision, plot_roc, plot_pr, soft_auroc, aum, plot_aum])
def test_masks(f):
    "One score a pixel: the advice gives the number of the pixels, and no option is named that there is not"
    scores,mask = torch.rand(2, 5, 4),torch.randint(0, 2, (2, 5, 4))
    with pytest.raises(ValueError, match=r'for one score a pixel pass scores.flatten\(\) and targets.flatten\(\), or scores of shape \(n, 1, H, W\)') as e: f(scores, mask)
    assert 'axis=' not in str(e.value) and 'flatten the others' in str(e.value)
    assert auroc_score(scores.flatten(), mask.flatten()) == auroc_score(scores[:,None], mask)

@pytest.mark.parametrize('f', [class_rows, ROCInterpretation])
def test_masks_where_there_is_an_axis(f):
    with pytest.raises(ValueError, match='one score a pixel pass scores.flatten.* for labels along an axis pass axis=1 or axis=2'): f(torch.rand(2, 5, 4), torch.randint(0, 2, (2, 5, 4)))

@pytest.mark.parametrize('f', scorers)
@pytest.mark.parametrize('bad', [[0, 1], 'x', 1.5, True])
def test_ignore_index_is_a_label(f, bad):
    with pytest.raises(ValueError, match=f'ignore_index must be one whole number, got {re.escape(repr(bad))}'): f(s, y, ignore_index=bad)
    with pytest.raises(ValueError, match='ignore_index must be one whole number'): AUROC(ignore_index=bad)

@pytest.mark.parametrize('f,kwargs,says', [(auroc_score, dict(max_fpr='.1'), "max_fpr must be None or in .*'.1'"), (auroc_ci, dict(level='.95'), "level.*'.95'"),
    (auroc_ci, dict(level=None), 'level.*None'), (soft_auroc, dict(temperature='1'), "temperature must be above 0, got '1'")])
def test_numbers(f, kwargs, says):
    with pytest.raises(ValueError, match=says): f(s, y, **kwargs)

@pytest.mark.parametrize('make,says', [(lambda: AUROC(ci=.9), r'ci must be True or False.*95%.*0\.9'), (lambda: AUROC(axis='x'), "axis must be a whole number or None, got 'x'"),
    (lambda: AUROC('auroc'), r"average must be one of \('macro', 'micro', 'weighted', 'samples'\), got 'auroc'"), (lambda: AUROC(max_fpr='.1'), 'max_fpr'),
    (lambda: AUROC(thresholds=2), 'thresholds must be 3 or more'), (lambda: AUROC(threshold=2), r'AUROC\(\) got an unexpected'),
    (lambda: AUROCLoss(temperature='1'), 'temperature must be above 0'), (lambda: SquaredHingeAUCLoss(margin=[1]), r'margin must be above 0, got \[1\]'),
    (lambda: AUROCLoss(multilabel='no'), "multilabel must be True or False, got 'no'"), (lambda: AUROCLoss(axis='x'), 'axis must be a whole number'),
    (lambda: SoftDiceLoss(smooth=-1), 'smooth must be a number not below 0'), (lambda: SoftDiceLoss(smooth='x'), 'smooth'),
    (lambda: SoftDiceLoss(weight=3.), 'weight must be a list'), (lambda: SoftDiceLoss(weight='a'), 'weight must be'), (lambda: SoftDiceLoss(weight=[0, 0]), 'not all 0'),
    (lambda: SoftDiceLoss(weight=[-1, 1]), 'none below 0'), (lambda: StreamingAUC(thresholds=[200]), 'how many there are is num_thresholds')])
def test_options(make, says):
    with pytest.raises((TypeError, ValueError), match=says): make()

losses = [AUMLoss, AUROCLoss, SquaredHingeAUCLoss, SoftDiceLoss]

@pytest.mark.parametrize('loss', losses)
def test_loss_classes_are_made_first(loss):
    "Also as `loss_func=AUROCLoss` of a Learner"
    with pytest.raises(TypeError, match=rf'{loss.__name__} must be created.*{loss.__name__}\(\)\(outputs, targets\)'): loss(s, y)
    with pytest.raises(TypeError, match=rf'loss_func={loss.__name__}\(\)'): quietly(Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=loss), 'fit', 1)

@pytest.mark.parametrize('loss', losses)
def test_losses_look_at_labels(loss):
    "Positives of two kinds, and class numbers out of range"
    for bad in (y+1, s+1):
        with pytest.raises(ValueError, match='must be 0 or 1 .*, got 1 to 2'): loss()(s, bad)
    with pytest.raises(ValueError, match='must be 0 or 1 .*, got 0 to 2'): loss()(s, c)
    for scores,bad in ((s, y/y), (outputs, c*torch.nan)):
        with pytest.raises(ValueError, match='some are NaN'): loss()(scores, bad)
    with pytest.raises(ValueError, match='class numbers from 0 to 2'): loss()(outputs, c*.5)
    for bad,got in ((c+1, '1 to 3'), (c-100, '-100 to -98'), (c*9, '0 to 18')):
        with pytest.raises(ValueError, match=f'class numbers from 0 to 2, got {got}'): loss()(outputs, bad)
    for labels in (y, y*2-1, y*2, y > 0, torch.ones(20), y.float()): assert loss()(s, labels).isfinite()

def test_weight_by_position(): assert SoftDiceLoss(1., True, torch.tensor([1., 2, 3]))(outputs, c) == SoftDiceLoss(weight=[1, 2, 3])(outputs, c)

def test_labels_are_no_break_of_a_compiled_graph():
    "Under torch.compile nobody looks"
    loss = torch.compile(SoftDiceLoss(), backend='eager', fullgraph=True)
    assert loss(outputs, c) == SoftDiceLoss()(outputs, c)

def test_functions_look_at_labels():
    for f in (aum, soft_auroc):
        with pytest.raises(ValueError, match='must be 0 or 1'): f(s, y+1)
    with pytest.raises(ValueError, match='class numbers from 0 to 2'): aum(outputs, c+5, 'macro')

@pytest.mark.parametrize('targets,batch_size,says', [(torch.ones(20, 3), 4, r'one label a row.*\(20, 3\)'), (s.masked_fill(s > .5, torch.nan), 64, '10 of 20 are NaN'),
    ([0.]*10, 4, 'two classes or more, got one class, 0$'), ([], 4, 'two classes or more, got no labels$'),
    (y, 4.5, 'batch_size must be a whole number, got 4.5'), (y, '64', "batch_size must be a whole number, got '64'")])
def test_sampler(targets, batch_size, says):
    with pytest.raises(ValueError, match=says): StratifiedBatchSampler(targets, batch_size)

def test_reprs():
    "Short, and of what one asks about"
    assert repr(StratifiedBatchSampler(torch.arange(100) % 50, 64)).count(':') == 10
    assert repr(StratifiedBatchSampler(y, 4).rows) == "StratifiedBatchSampler({0: 10, 1: 10}, batch_size=4, balanced=True).rows"
    assert repr(auroc_ci(s, y)).startswith('AUROCInterval(auroc=0.55, low=0.') and 'p_value=1)' in repr(compare_auroc(s, s, y))

def closures():
    model = nn.Linear(3, 1)
    z = outputs*1.
    return dict(alone=(lambda: model(z), 'function that returns scores and targets, got Tensor from it'), no_function=((model(z), y), 'got tuple'),
        swapped=(lambda: (y, model(z)[:,0]), 'scores without a gradient'), nan=(lambda: (model(z)[:,0]*torch.nan, y), 'not finite: 20 of 20')),model

@pytest.mark.parametrize('kind', ['alone', 'no_function', 'swapped', 'nan'])
def test_line_search(kind):
    made,model = closures()
    closure,says = made[kind]
    with pytest.raises((TypeError, ValueError), match=says): AUMLineSearch(model.parameters()).step(closure)

def test_streaming():
    metric = StreamingAUC()
    for bad in (-s, torch.full((20,), torch.nan), -1, -torch.arange(20)):
        metric.reset_state()
        metric.update_state(y, s, bad)
        with pytest.warns(UserWarning, match='weights are negative or not finite'): assert metric.result().isnan()
    other = StreamingAUC()
    other.update_state(y, s)
    metric.reset_state()
    metric.merge_state(other)
    assert metric.result() == other.result()
    with pytest.raises(TypeError, match='must be StreamingAUCs, got 3'): metric.merge_state([3])
    for bad in ({}, None, [1]):
        with pytest.raises(ValueError, match='must be what state_dict'): metric.load_state_dict(bad)

@pytest.mark.parametrize('f', [gather_rows, all_reduce_sum])
def test_one_process_passes_tensors_on(f):
    assert f(s, None) == (s, None)
    for bad in ([s], 3):
        with pytest.raises(TypeError, match=f'take tensors, one by one, got {type(bad).__name__}'): f(bad)

@pytest.mark.parametrize('f', scorers)
def test_message_without_the_ignored_label(f):
    "It is neither listed nor advised"
    with pytest.raises(ValueError, match=r'got 0, 1, 2; K classes need') as e: f(s, torch.where(c == 2, 255, y) + (torch.arange(20) == 3), ignore_index=255)
    assert 'ignore_index' not in str(e.value)

@pytest.mark.parametrize('shape', [(20,), (20, 3)])
def test_curve_of_nothing(shape):
    with pytest.raises(ValueError, match='needs rows, got none, without those of ignore_index=255'): roc_curve(torch.rand(shape), torch.full(shape, 255), ignore_index=255)

@pytest.mark.parametrize('own', [dict(metrics=AUROC()), dict(cbs=[AUROC(), AUROC(max_fpr=.1)]), dict(metrics=[AUROC(), AUROC(max_fpr=.1)])],
    ids=['metric and callback', 'two callbacks', 'two metrics'])
def test_two_columns_of_one_name(own):
    "Both are there; a warning says that a monitor cannot tell them apart"
    learn = Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), **own)
    if own.get('metrics') and not isinstance(own['metrics'], list): learn.add_cb(AUROC(max_fpr=.1))
    with pytest.warns(UserWarning, match="two columns are called 'auroc'.*name="): quietly(learn, 'fit', 1)
    assert list(learn.recorder.metric_names).count('auroc') == 2
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        quietly(Learner(as_dls(*blobs(64)), nn.Linear(1, 2), loss_func=CrossEntropyLossFlat(), cbs=[AUROC(), AUROC(max_fpr=.1, name='part')]), 'fit', 1)

def test_ignore_index_beyond_half_precision():
    "Wrong labels of float16 are named without a warning of NumPy's that the label to leave out is larger than they can be"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(ValueError, match='got 0, 1, 3'):
            auroc_score(torch.rand(3), torch.tensor([0., 1, 3]).half(), ignore_index=2**63-1)
