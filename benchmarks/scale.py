"Exact scores and counts by rows: time, memory, accuracy, two processes. Run: python benchmarks/scale.py [--quick]"
import argparse, gc, json, os, subprocess, sys, tempfile, time
from pathlib import Path
from statistics import median
import torch, torch.distributed as dist
from fastai_auroc.buckets import BitBuckets
from fastai_auroc.epoch import EpochAUROC
from fastai_auroc.distributed import all_reduce_sum, gather_rows
from fastai_auroc.groups import grouped_auroc_and_note
from fastai_auroc.roc import auroc_score
from fastai_auroc.streaming import StreamingAUC
from measuring import bullets, machine, memory_status, seconds, start_peak, table, timed, times, use_threads, write, written_by

piece,small = 2**16,64
modes = {'exact':dict(), 'bits':dict(thresholds='bits')}
most_ns,most_mb,most_s = 6,20,10e-6  # of counting: nanoseconds a row, megabytes, seconds a batch of 64
most_grouped = 5  # how many times as long as the ungrouped score

def two_logits(n, seed, share=.2):
    "Outputs and targets of `n` rows"
    rng = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=rng) < share).long()
    z = torch.randn(n, 2, generator=rng)
    z[:,1] += y
    return z,y

def batches_of(n, size):
    "Pieces of `n` rows, each a list of batches of `size` rows"
    for i in range(0, n, piece): yield list(zip(*(o.split(size) for o in two_logits(min(piece, n-i), i))))

def new_column(mode):
    "A column, once another one has warmed up"
    warm = EpochAUROC(**modes[mode])
    warm.add(*two_logits(1000, 0))
    warm.compute()
    return EpochAUROC(**modes[mode])

def add_all(column, batches):
    "Seconds to add batches"
    start = time.perf_counter()
    for o in batches: column.add(*o)
    return time.perf_counter()-start

def one(mode, n, size):
    "Seconds to keep and to score `n` rows that come in batches of `size`, most bytes held, the value and its bound"
    use_threads(1)
    epoch = new_column(mode)
    gc.collect()
    two_logits(piece, 0)
    before = start_peak()
    kept = sum(add_all(epoch, o) for o in batches_of(n, size))
    start = time.perf_counter()
    value = epoch.compute()
    return dict(keep=kept, score=time.perf_counter()-start, peak=memory_status('VmHWM:')-before, value=value, bound=epoch.bound)

def counting(n, size, rounds=30):
    "Seconds a row to add batches of `size` to columns of each mode, which take turns, and what one takes beyond the other"
    use_threads(1)
    columns = {mode:new_column(mode) for mode in modes}
    took = {mode:[] for mode in modes}
    for i,batches in enumerate(batches_of(n//piece*piece, size)):
        for mode in list(modes)[::1 if i%2 else -1]: took[mode].append(add_all(columns[mode], batches))
        columns['exact'].reset()
    rounds = min(rounds, len(took['exact']))
    step = len(took['exact'])//rounds  # a round is so many pieces that the buffer is counted in each
    by_round = {mode:[sum(o[i*step:(i+1)*step])/(step*piece) for i in range(rounds)] for mode,o in took.items()}
    res = {mode:median(o) for mode,o in by_round.items()}
    res['beyond'] = median(bits-exact for exact,bits in zip(*by_round.values()))
    return res

def pair(rank, n, meeting):
    "What one of two processes, each with half of the rows, needs to bring them together and to score all, and to add up counts"
    use_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    z,y = two_logits(n//2, rank)
    s,buckets = z[:,1].double() - z[:,0].double(),BitBuckets()
    buckets.add(s, y == 1)
    took = {}
    for name,f in dict(gather=lambda: gather_rows(s, y.short()), add=lambda: all_reduce_sum(buckets.counts)).items():
        best = []
        for _ in range(5):
            dist.barrier()
            start = time.perf_counter()
            res = f()
            best.append(time.perf_counter()-start)
        took[name] = sorted(best)[2]
        if name == 'gather': rows = res
    start = time.perf_counter()
    auroc_score(*rows, activation='identity')
    took['score'] = time.perf_counter()-start
    dist.destroy_process_group()
    return took

def call(*args):
    "What this file, started anew, says"
    env = {**os.environ, 'GLOO_SOCKET_IFNAME':'lo', 'OMP_NUM_THREADS':'1'}
    command = [sys.executable, '-W', 'ignore', __file__, '--call', *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

def answer(started): return json.loads(started.communicate()[0].splitlines()[-1])

def time_and_memory(sizes, size):
    rows = []
    for n in sizes:
        got = {mode: answer(call('one', mode, n, size)) for mode in modes}
        cells = []
        for o in got.values(): cells += [f"{o['keep']/n*1e9:.1f} ns", seconds(o['score']), f"{o['peak']/2**20:,.0f} MB"]
        rows.append([f'{n:,}', *cells, f"{abs(got['exact']['value'] - got['bits']['value']):.0e}", f"{got['bits']['bound']:.0e}"])
        print(rows[-1], flush=True)
    columns = [f'{mode}, {what}' for mode in modes for what in ('keep a row', 'score', 'memory')]
    return table(['rows', *columns, 'difference', 'bound'], rows)

def met(value, most, show):
    "The value, what is asked, and whether it is met, in one cell"
    return f'{show(value)} (≤ {show(most)}: ' + ('met)' if value <= most else f'{show(value-most)} too much)')

def counting_table(n):
    "What counting costs beyond keeping, with small batches"
    took = answer(call('counting', n, small))
    memory = answer(call('one', 'bits', n, small))['peak']
    cells = [f'{n:,}', seconds(took['exact']*small), met(took['bits']*small, most_s, seconds)]
    cells.append(met(took['beyond']*1e9, most_ns, lambda x: f'{x:.1f} ns'))
    cells.append(met(memory/2**20, most_mb, lambda x: f'{x:.0f} MB'))
    return table(['rows', 'a batch kept', 'a batch counted', 'counted beyond kept, a row', 'memory'], [cells])

def groups(n, rounds=15):
    "What AUROC within groups takes beside that of all rows, the two in turn; medians of processor time"
    z,y = two_logits(n, 42)
    rows = []
    for dtype in torch.float32,torch.float64:
        s = z[:,1].to(dtype)
        for number in 10,10**3,10**5:
            group = torch.randint(number, (n,), generator=torch.Generator().manual_seed(0))
            calls = lambda: auroc_score(s, y),lambda: grouped_auroc_and_note(s, y, group)
            took = [[timed(f)[1] for f in calls] for _ in range(rounds)]
            alone,grouped = map(median, zip(*took))
            cell = met(grouped/alone, most_grouped, times)
            rows.append([f'{n:,}', str(dtype).removeprefix('torch.'), f'{number:,}', seconds(alone), seconds(grouped), cell])
            print(rows[-1], flush=True)
    return table(['rows', 'scores', 'groups', '`auroc_score`', '`grouped_auroc`', 'times as long'], rows)

def spreads(n):
    "Errors of counts where logits are small, large, or far from 0"
    rows = []
    for share in .3,.001:
        rng = torch.Generator().manual_seed(0)
        y = torch.rand(n, generator=rng) < share
        base = torch.randn(len(y), generator=rng, dtype=torch.float64) + y
        for mean,spread in (0, 1e-6), (0, 1e-3), (0, .02), (0, .3), (0, 3), (0, 200), (0, 1e5), (0, 1e6), (-5, .3), (-5, .02):
            z,cells = base*spread + mean,[]
            exact = auroc_score(z, y).item()
            for kind in 'bits','logit':
                auc = StreamingAUC(thresholds=kind, from_logits=True)
                auc.update_state(y, z)
                low,high = auc.result_bounds()
                cells += [f'{abs(auc.result()-exact):.0e}', f'{(high-low)/2:.0e}']
            rows.append([f'{share:.1%}', f'{mean}', f'{spread:g}', f'{exact:.4f}', *cells])
    return table(['positives', 'mean', 'spread', 'exact', 'bits: error', 'bound', '200, logit: error', 'bound'], rows)

def accuracy(n):
    "Errors of counts between thresholds, of common and of rare events"
    rows = []
    for share,shift in ((.2, 0.), (.001, -7.)):
        z,y = two_logits(n, 42, share)
        p = (z[:,1].double() - z[:,0].double() + shift).sigmoid()
        exact = auroc_score(p, y).item()
        for t in (50, 200, 1_000, 10_000):
            cells = []
            for kind in (None, 'logit'):
                auc = StreamingAUC(t, thresholds=kind)
                auc.update_state(y, p)
                low,high = auc.result_bounds()
                cells += [f'{abs(auc.result()-exact):.0e}', f'{high-low:.0e}']
            rows.append([f'{share:.1%}', f'{t:,}', *cells])
        auc = StreamingAUC(thresholds='bits')
        auc.update_state(y, p)
        low,high = auc.result_bounds()
        rows.append([f'{share:.1%}', 'bits', f'{abs(auc.result()-exact):.0e}', f'{high-low:.0e}', '', ''])
    return table(['positives', 'thresholds', 'evenly: error', 'bounds apart', 'logit: error', 'bounds apart'], rows)

def two_processes(sizes):
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            started = [call('pair', rank, n, f'{folder}/meeting') for rank in range(2)]
            took = [answer(o) for o in started]
        worst = {k: max(o[k] for o in took) for k in took[0]}
        rows.append([f'{n:,}', seconds(worst['gather']), seconds(worst['score']), seconds(worst['add'])])
        print(rows[-1], flush=True)
    return table(['rows', 'gather scores and labels', 'score all, in each', 'add up counts of 2²⁰ buckets'], rows)

jobs = dict(one=one, pair=pair, counting=counting)

def do(name, *args):
    "What a process that `call` started does"
    print(json.dumps(jobs[name](*(int(o) if o.isdigit() else o for o in args))))

def report(sizes, about):
    most = min(sizes[-1], 10**7)
    some = min(most, 10**6)
    return f"""# Scale

{bullets(about)}

## Time and memory

A binary task, two float32 logits a row, one thread. Exact: all outputs are kept, and scored at the end. Bits:
`AUROC(thresholds='bits')`, 2²⁰ buckets by leading bits. Keep: all batches together, by row; memory: what the process
grew by at the most, a batch of rows included; difference: between both values; bound: what the counted column says of
it. Batches of 65,536:

{time_and_memory(sizes, piece)}
Batches of {small}, where calling torch for each batch is nearly all of the cost:

{time_and_memory([n for n in sizes if n <= 10**7], small)}
## Counting small batches

Batches of {small} rows, one thread. A column that keeps all outputs and one that counts them take turns at each
{piece:,} rows; medians of thirty rounds. Beyond kept: what the counted column takes longer, its buffer included; in
brackets what is asked. Memory: as above.

{counting_table(most)}
## Groups

AUROC within groups of whole-number labels, and of all rows, one thread, the two in turn: medians of processor time; in
brackets what is asked.

{groups(some)}
## Accuracy by leading bits

{2*some:,} rows of one normal logit, the means of both classes one standard deviation (the spread) apart: distance of
`StreamingAUC` from the exact AUROC, and half of the distance between its bounds.

{spreads(2*some)}
## Accuracy by thresholds

{some:,} rows: distance of `StreamingAUC` from the exact AUROC, and how far its bounds are apart. Rare events have small
probabilities, and even spacing has few thresholds there.

{accuracy(some)}
## Two processes

`gather_rows` of float64 scores and int16 labels, half of them in each of two processes on this machine (gloo over its
own network), the score of all rows in each process while the other does the same, and `all_reduce_sum` of the counts.
Medians of five, the slower process.

{two_processes([n for n in sizes if n <= 10**7])}"""

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='300,000 rows; writes no file without --out')
    parser.add_argument('--out', type=Path, help='folder for scale.md (benchmarks/results)')
    parser.add_argument('--most', type=int, default=10**8, help='rows of the largest set (100,000,000)')
    parser.add_argument('--call', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call: return do(*args.call)
    use_threads(1)
    sizes = [3*10**5] if args.quick else [10**e for e in (5, 6, 7, 8) if 10**e <= args.most]
    write(report(sizes, [*machine(), written_by('scale.py', args.quick)]), args.out, 'scale.md', args.quick)

if __name__ == '__main__': main()
