"Time of the losses beside cross-entropy, naive code and LibAUC. Run: python benchmarks/losses.py [--quick]"
import argparse, math, tracemalloc
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
import torch
from torch.nn.functional import cross_entropy, one_hot
from fastai_auroc.losses import AUMLoss, AUROCLoss, AveragePrecisionLoss, PartialAUCLoss, SoftDiceLoss, SquaredHingeAUCLoss, aum, soft_auroc
from measuring import bullets, factor, machine, multiple, seconds, table, use_threads, write, written_by

try: from libauc.losses import AUCMLoss, MultiLabelAUCMLoss, PairwiseAUCLoss
except ImportError: AUCMLoss = MultiLabelAUCMLoss = PairwiseAUCLoss = None

ours,ce,naive,lean,whole,min_max,pairs = columns = 'ours','cross-entropy','naive','lean','whole area','LibAUC min-max','LibAUC pairs'

# --- The naive code: definitions of one column, differentiated by autograd ---

def naive_aum(s, positive):
    "AUM as defined: rates at each distinct threshold, the smaller one times the gap to the next"
    t,order = s.sort()
    y = positive[order]
    last = torch.cat([t.diff() != 0, torch.tensor([True])])
    fnr = (y.cumsum(0)/y.sum())[last]
    fpr = 1 - ((~y).cumsum(0)/(~y).sum())[last]
    return (torch.minimum(fnr, fpr)[:-1]*t[last].diff()).sum()

def lean_aum(s, positive):
    "The same without a look for ties, whose gaps are zero"
    t,order = s.sort()
    y = positive[order].to(s.dtype)
    fnr = y.cumsum(0)/y.sum()
    fpr = 1 - (1-y).cumsum(0)/(1-y).sum()
    return (torch.minimum(fnr, fpr)[:-1]*t.diff()).sum()

def naive_dice(p, positive): return 1 - (2*(p*positive).sum() + 1)/(p.square().sum() + positive.sum() + 1)

def all_pairs(s, positive, f): return f(s[positive][:,None] - s[~positive]).mean()

def naive_auroc(s, positive): return all_pairs(s, positive, lambda gap: (-gap).sigmoid())

def naive_hinge(s, positive): return all_pairs(s, positive, lambda gap: (1-gap).relu().square())

def naive_partial(s, positive, f, share=.3):
    "All pairs of the positives and of that share of negatives that is highest"
    negatives = s[~positive]
    highest = negatives.topk(math.ceil(share*len(negatives))).values
    return f(s[positive][:,None] - highest).mean()

def naive_precision(s, positive, T=.1):
    "One minus the mean of (1 + sigmoids of other positives)/(1 + sigmoids of all others)"
    above = ((s - s[positive][:,None])/T).sigmoid()  # of a positive with itself .5
    return 1 - ((above[:,positive].sum(1) + .5)/(above.sum(1) + .5)).mean()

def of_margins(f, z, y):
    "The loss `f` of raw outputs: of the difference of two columns, or the mean over the classes that occur of their log-odds"
    if z.shape[1] == 2: return f(z[:,1] - z[:,0], y == 1)
    return torch.stack([f(s, y == c) for c,s in enumerate(z.softmax(1).logit().T) if (y == c).any()]).mean()

def of_probabilities(f, z, y):
    "The loss `f` of the probabilities of raw outputs, for two columns that of the second"
    if z.shape[1] == 2: return f((z[:,1] - z[:,0]).sigmoid(), y == 1)
    return torch.stack([f(p, y == c) for c,p in enumerate(z.softmax(1).T) if (y == c).any()]).mean()

def of_given(f, average, scores, y):
    "The loss `f` of K columns of scores as they are"
    positive = one_hot(y, scores.shape[1]).bool()
    if average == 'micro': return f(scores.reshape(-1), positive.reshape(-1))
    return torch.stack([f(s, p) for s,p in zip(scores.T, positive.T)]).mean()

# --- Work: what is asked, and of whom ---

@dataclass
class Work:
    "A loss to call, and the tensors whose gradients its backward pass fills, first that of the scores"
    loss:callable
    leaves:list

    def run(self):
        "Seconds of forward plus backward, after the gradients were cleared; the value and the gradient"
        for o in self.leaves: o.grad = None
        start = perf_counter()
        loss = self.loss()
        loss.backward()
        return perf_counter()-start,loss.item(),self.leaves[0].grad

def batch(n, k, prevalence=None):
    "Raw outputs, whose own class is one higher on average, and class numbers, each as frequent or of two by prevalence"
    torch.manual_seed(42)
    targets = torch.randint(0, k, (n,)) if prevalence is None else (torch.rand(n) < prevalence).long()
    return (torch.randn(n, k) + one_hot(targets, k)).requires_grad_(),targets

def peers(outputs, targets, surrogate):
    "LibAUC's losses of given probabilities, or for pairs of given margins, which they take as one column, or for K classes as K"
    if AUCMLoss is None: return {}
    k = outputs.shape[1]
    shown = outputs.detach()
    margins = (shown[:,1:] - shown[:,:1]).requires_grad_()
    probs = (margins.sigmoid() if k == 2 else shown.softmax(1)).detach().requires_grad_()
    loss = AUCMLoss() if k == 2 else MultiLabelAUCMLoss(num_labels=k)
    labels = targets[:,None] if k == 2 else one_hot(targets, k)
    found = {min_max: Work(partial(loss, probs, labels), [probs, loss.a, loss.b, loss.alpha])}
    if surrogate and k == 2: found[pairs] = Work(partial(PairwiseAUCLoss(surrogate), margins, labels), [margins])
    return found

@dataclass
class Kind:
    "A module, naive code of its loss for a column, what LibAUC has beside it, and the module for the whole area"
    module:callable; by_hand:dict; peers:bool=True; surrogate:str|None=None; whole:callable=None

aum_by_hand = {name:partial(of_probabilities, f) for name,f in ((naive, naive_aum), (lean, lean_aum))}
kinds = dict(AUM=Kind(AUMLoss, aum_by_hand))
kinds['dice'] = Kind(SoftDiceLoss, {naive:partial(of_probabilities, naive_dice)}, peers=False)
kinds['AUROC'] = Kind(AUROCLoss, {naive:partial(of_margins, naive_auroc)}, surrogate='logistic')
kinds['hinge'] = Kind(SquaredHingeAUCLoss, {naive:partial(of_margins, naive_hinge)}, surrogate='squared_hinge')
of_pair = dict(squared_hinge=(lambda gap: (1-gap).relu().square(), SquaredHingeAUCLoss), sigmoid=(lambda gap: (-gap).sigmoid(), AUROCLoss))
for name,(f,of_all) in of_pair.items():
    by_hand = {naive:partial(of_margins, partial(naive_partial, f=f))}
    kinds[f'partial {name}'] = Kind(partial(PartialAUCLoss, .3, surrogate=name), by_hand, peers=False, whole=of_all)
kinds['AP'] = Kind(AveragePrecisionLoss, {naive:partial(of_margins, naive_precision)}, peers=False, whole=AUROCLoss)
kinds['AUM macro'] = Kind(partial(AUMLoss, 'macro'), aum_by_hand)

def module_work(kind, n, k, prevalence=None):
    "A module on a mini-batch of raw outputs, as a Learner calls it"
    outputs,targets = batch(n, k, prevalence)
    kind = kinds[kind]
    losses = {ours:kind.module(), ce:cross_entropy, **kind.by_hand}
    if kind.whole: losses[whole] = kind.whole()
    work = {name:Work(partial(loss, outputs, targets), [outputs]) for name,loss in losses.items()}
    return work | peers(outputs, targets, kind.surrogate) if kind.peers else work

def aum_work(average, n, k):
    "The function `aum` on given scores"
    scores,targets = batch(n, k)
    losses = {ours:partial(aum, average=average), ce:cross_entropy}
    losses |= {name:partial(of_given, f, average) for name,f in ((naive, naive_aum), (lean, lean_aum))}
    return {name:Work(partial(loss, scores, targets), [scores]) for name,loss in losses.items()}

def column_work(loss, f, n):
    "A loss of one column of margins, beside all pairs where they fit into memory"
    torch.manual_seed(42)
    targets = (torch.rand(n) < .5).long()
    scores = (torch.randn(n) + targets).requires_grad_()
    work = {ours: Work(partial(loss, scores, targets), [scores])}
    if n < 10**5: work[naive] = Work(lambda: all_pairs(scores, targets == 1, f), [scores])
    return work

def smooth_work(T, n): return column_work(lambda s, y: 1 - soft_auroc(s, y, T), lambda gap: (-gap/T).sigmoid(), n)
def hinge_work(n): return column_work(SquaredHingeAUCLoss(), lambda gap: (1-gap).relu().square(), n)

# --- The rows, with the figures to reach ---

@dataclass
class Row:
    name:str; make:callable
    most:dict = field(default_factory=dict)  # Reference: how many times as long as it ours may take; 'time': seconds

asked = {('AUM', 64):{ce:2.5}, ('dice', 64):{ce:2.5}, ('AUROC', 64):{naive:1, ce:4}, ('hinge', 64):{naive:1, ce:4},
    ('AUM', 1_024):{ce:1.7}, ('dice', 1_024):{ce:1.7}, ('AUROC', 1_024):{naive:1/3}, ('AUROC', 4_096):{naive:1/10}}
asked_of_classes = {10:{'AUROC':8, 'hinge':6, 'AUM macro':6}, 100:{'AUROC':30, 'hinge':25, 'AUM macro':15}}

def mini_batches():
    "Losses of two columns, and of K classes"
    rows = []
    for n in (64, 256, 1_024, 4_096):
        for kind in ('AUM', 'dice', 'AUROC', 'hinge'):
            never_slower = {naive:1} if kind in ('AUROC', 'hinge') else {}
            rows.append(Row(f'{kind}, {n:,} × 2', partial(module_work, kind, n, 2), asked.get((kind, n), never_slower)))
    for n,k in ((64, 10), (256, 100)):
        for kind,most in asked_of_classes[k].items():
            name = f'{kind}, {n:,} × {k}'
            rows.append(Row(name, partial(module_work, kind, n, k), {ce:most}))
    return [*rows, *batches_of_the_top()]

def batches_of_the_top():
    "Losses of a part of the ranking, beside those of all of it"
    rows = []
    for kind in ('partial squared_hinge', 'partial sigmoid', 'AP'):
        for n,k,prevalence in ((64, 2, None), (1_024, 2, None), (1_024, 2, .02), (64, 10, None)):
            most = {naive:1} if kind == 'AP' and n == 1_024 and prevalence is None else {whole:1.3}
            name = f'{kind}, {n:,} × {k}' + (f', {100*prevalence:g} %' if prevalence else '')
            rows.append(Row(name, partial(module_work, kind, n, k, prevalence), most))
    return rows

def large_batches():
    "Functions of given scores"
    rows = []
    for average,most in (('micro', 1/30), ('macro', 1/10)):
        rows.append(Row(f'aum {average}, 60,000 × 10', partial(aum_work, average, 60_000, 10), {naive:most, ce:1}))
    rows += [Row(f'smooth AUROC, 10,000, T = {T:g}', partial(smooth_work, T, 10**4), {naive:1/200}) for T in (1., .1)]
    rows.append(Row('smooth AUROC, 1,000,000, T = 0.1', partial(smooth_work, .1, 10**6), {'time':.1}))
    return [*rows, Row('squared hinge, 10,000', partial(hinge_work, 10**4), {naive:1/200})]

# --- Measuring ---

def alternate(work, budget, most):
    "Medians in seconds of losses that are called in turn, each as often as `budget` seconds allow"
    once = sum(min(o.run()[0] for _ in range(3)) for o in work)  # which warms up as well
    calls = max(3, min(most, int(budget/once)))
    took = [[o.run()[0] for o in work] for _ in range(calls)]
    return [median(o) for o in zip(*took)]

def measure(work, budget, most):
    "Seconds of ours and of the reference, for each reference, with which ours takes turns alone"
    references = [o for o in work if o != ours]
    if not references: return {ours: alternate([work[ours]], budget, most)*2}
    return {o: alternate([work[ours], work[o]], budget, most) for o in references}

def peak_of(f):
    "Bytes that NumPy and Python hold at the highest while `f` runs"
    tracemalloc.start()
    f()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most

def verdict(took, most):
    "What is asked, and whether it is met, or by how much not"
    wanted = [f'≤ {seconds(limit)}' if name == 'time' else f'≤ {factor(limit)} {name}' for name,limit in most.items()]
    over = {name: took[ours][0]/limit-1 if name == 'time' else took[name][0]/took[name][1]/limit-1 for name,limit in most.items()}
    missed = [f'{name} {math.ceil(100*x)}% over' for name,x in over.items() if x > 0]
    return ', '.join(wanted) or '–','–' if not most else '; '.join(missed) or 'met'

def difference(work):
    "How far value and gradient are from the naive code, the gradient over its largest entry"
    if naive not in work: return '–'
    _,value,gradient = work[ours].run()
    _,other,theirs = work[naive].run()
    return f'{abs(value-other):.0e}, {((gradient-theirs).abs().max()/theirs.abs().max()).item():.0e}'

def line_of(row, budget, most):
    "Cells of the table"
    work = row.make()
    took = measure(work, budget, most)
    cells = [f'{seconds(took[o][1])}, **{multiple(took[o][0]/took[o][1])}**' if o in took else '–' for o in columns[1:]]
    memory = f'{peak_of(work[ours].run)/len(work[ours].leaves[0]):.0f}' if row.name.startswith('smooth') else '–'
    return [row.name, seconds(next(iter(took.values()))[0]), *cells, *verdict(took, row.most), difference(work), memory]

def report(lines, about):
    return f"""# Losses compared

{bullets(about)}

Forward plus backward on one thread, medians. Ours and one reference take turns, call by call, then ours and the next
one; gradients are cleared before each call. In bold, ours as a multiple of the reference; the first column is ours
beside the first reference.

`n × 2` and `n × K`: modules with their defaults (AUM macro: `AUMLoss('macro')`) on raw outputs that need a gradient, as
a Learner calls them. `aum` gets scores and takes them as they are; the last rows get one column of margins. Naive: the
definition in PyTorch with autograd, by distinct sorted thresholds or by all pairs, class after class; lean: sorted
thresholds, tied ones apart. Partial: `PartialAUCLoss(.3)`; AP: `AveragePrecisionLoss()`; beside both stands, as whole
area, the loss of all pairs that is ours, too. With a percentage that share of two classes is positive. LibAUC: min-max is `AUCMLoss`, or `MultiLabelAUCMLoss` for K classes, on given
probabilities; pairs is `PairwiseAUCLoss`, on given margins, with its logistic surrogate beside AUROC and its squared
hinge beside hinge. Only their forward and backward pass counts, not the step of the optimizer that `AUCMLoss` needs,
nor the way from outputs to probabilities or margins. Beside AUM stands AUCMLoss, too, which has another aim: LibAUC has
no AUM.

Difference: of the value from that of the naive code, and of the gradient, over its largest entry (the naive code is in
float32; AUM has kinks, where subgradients differ). Bytes a row: what NumPy holds at the highest.

{table(['work', *columns, 'asked', 'met', 'difference', 'bytes a row'], lines)}"""

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='mini-batches only, and fewer turns; writes no file without --out')
    parser.add_argument('--out', type=Path, help='folder for losses.md (benchmarks/results)')
    args = parser.parse_args()
    use_threads(1)
    about = [*machine('libauc'), written_by('losses.py', args.quick)]
    if AUCMLoss is None: about.append("LibAUC is not installed: `pip install --no-deps 'libauc>=2'` adds its columns")
    rows,budget,most = (mini_batches(), .05, 100) if args.quick else (mini_batches()+large_batches(), 2., 500)
    lines = []
    for row in rows:
        lines.append(line_of(row, budget, most))
        print(lines[-1], flush=True)
    write(report(lines, about), args.out, 'losses.md', args.quick)

if __name__ == '__main__': main()
