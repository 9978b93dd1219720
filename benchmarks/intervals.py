"Time of 2,000 bootstrap samples against a loop over scikit-learn. Run: python benchmarks/intervals.py [--quick]"
import argparse, warnings
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from fastai_auroc.confidence import ap_ci, auroc_ci, compare_auroc
from measuring import bullets, machine, seconds, table, times, use_threads, write, written_by

n,n_boot,asked = 10_000,2_000,30  # rows, samples, and how many times as fast as the loop
rng = np.random.default_rng(42)

def two_classes(share):
    positive = rng.random(n) < share
    return rng.normal(size=n) + 1.2*positive,positive.astype(int)

def softmax_rows(k):
    labels = rng.integers(k, size=n)
    z = np.exp(rng.normal(size=(n, k)) + 2*np.eye(k)[labels])
    return z/z.sum(1, keepdims=True),labels

@dataclass
class Row:
    "An interval of ours, and the same number of some drawn rows by scikit-learn"
    name:str; ours:object; theirs:object; draw:object = lambda: rng.integers(n, size=n)

def rows():
    scores,y = two_classes(.3)
    rare_scores,rare = two_classes(.05)
    patients = np.arange(n)//5
    of_patient = np.arange(n).reshape(-1, 5)
    options = dict(method='bootstrap', n_boot=n_boot, seed=42)
    def whole_patients(): return of_patient[rng.integers(len(of_patient), size=len(of_patient))].reshape(-1)
    res = [Row('binary', lambda: auroc_ci(scores, y, **options), lambda i: roc_auc_score(y[i], scores[i])),
        Row('binary, BCa', lambda: auroc_ci(scores, y, **options | dict(method='bca')), lambda i: roc_auc_score(y[i], scores[i])),
        Row('binary, up to a rate of .1', lambda: auroc_ci(scores, y, max_fpr=.1, **options), lambda i: roc_auc_score(y[i], scores[i], max_fpr=.1)),
        Row('binary, 2,000 clusters of five rows', lambda: auroc_ci(scores, y, clusters=patients, **options), lambda i: roc_auc_score(y[i], scores[i]), whole_patients),
        Row('two models', lambda: compare_auroc(scores, -scores, y, **options), lambda i: (roc_auc_score(y[i], scores[i]), roc_auc_score(y[i], -scores[i]))),
        Row('average precision, 5 % positives', lambda: ap_ci(rare_scores, rare, **options), lambda i: average_precision_score(rare[i], rare_scores[i]))]
    for k in (3, 5, 10):
        p,labels = softmax_rows(k)
        res.append(Row(f'macro, {k} classes', lambda p=p, labels=labels: auroc_ci(p, labels, **options),
            lambda i, p=p, labels=labels: roc_auc_score(labels[i], p[i], multi_class='ovr')))
    return res

def ours(row, threads, repeats):
    "Seconds of the fastest of some runs"
    use_threads(threads)
    took = []
    for _ in range(repeats):
        start = perf_counter()
        row.ours()
        took.append(perf_counter()-start)
    use_threads(1)
    return min(took)

def loop(row, samples):
    "Seconds of a loop over `n_boot` samples, from the median of some of them"
    took = []
    for _ in range(samples):
        start = perf_counter()
        row.theirs(row.draw())
        took.append(perf_counter()-start)
    return float(np.median(took))*n_boot

def measure(rows, samples, repeats):
    "Lines of the table"
    lines = []
    for row in rows:
        reference = loop(row, samples)
        one,two = (ours(row, threads, repeats) for threads in (1, 2))
        met = 'met' if reference >= asked*two else f'{asked*two/reference-1:.0%} too slow'
        lines.append([row.name, seconds(reference), seconds(one), seconds(two), times(reference/one), times(reference/two), f'≥ {asked} ×', met])
    return lines

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='fewer rows of the table and fewer repeats; writes no file without --out')
    parser.add_argument('--out', type=Path, help='folder for intervals.md (benchmarks/results)')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    use_threads(1)
    about = [*machine(), written_by('intervals.py', args.quick)]
    samples,repeats = (10, 1) if args.quick else (50, 3)
    chosen = rows()[::4] if args.quick else rows()
    head = ['interval', 'loop over scikit-learn', 'ours, one thread', 'two threads', 'times as fast, one thread', 'two threads', 'asked', 'met']
    text = f"""# Intervals

{bullets(about)}

{n:,} rows, {n_boot:,} samples. The loop draws rows, takes them and scores them with scikit-learn on one thread; its time is {n_boot:,} times
the median of {samples} samples. Ours is the whole call, from scores and labels to the interval, the fastest of {repeats}. What is asked is of two
threads.

{table(head, measure(chosen, samples, repeats))}"""
    write(text, args.out, 'intervals.md', args.quick)

if __name__ == '__main__': main()
