"""The processes of the last tests of test_distributed.py: what cannot be brought together, and calls from threads

`gather_worker.py FOLDER 2 3` forks worlds of 2 and 3 processes, each of which runs all cases in one process group
and writes a line of JSON for each."""
import json, signal, sys, threading, time, traceback, warnings
from datetime import timedelta
from pathlib import Path
import numpy as np, torch, torch.distributed as dist
from worlds import fork_world
from fastai_auroc.distributed import all_reduce_sum, gather_rows

rank = world = 0
cases = {}

def case(name):
    "A function that returns what it got and what arithmetic or plain tensors say"
    def add(f):
        cases[name] = f
        return f
    return add

def told(*tensors): return [None if o is None else [str(o.dtype), list(o.shape), o.tolist()] for o in tensors]

def error_of(f, *args, **kwargs):
    "The kind of error and its message"
    try: f(*args, **kwargs)
    except Exception as e: return [type(e).__name__, str(e)]

def next_call():
    "That nothing of a failed call is left over: the ranks, and the sum of ones"
    return told(*gather_rows(torch.tensor([rank])), *all_reduce_sum(torch.ones(1)))

def after_all(): return told(torch.arange(world), torch.full((1,), float(world)))

def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.quantize_per_tensor(torch.rand(2), .1, 0, torch.quint8)

def nested(layout):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=layout)

def csr():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.eye(2).to_sparse_csr()

# What the last process gives where the others give a tensor, the error, and what the message says
def zeros(**kwargs): return lambda: torch.zeros(2, **kwargs)

makes = dict(sparse=lambda: torch.eye(2).to_sparse(), csr=csr, meta=zeros(device='meta'), quantised=quantised,
    nested=lambda: nested(torch.strided), jagged=lambda: nested(torch.jagged), complex64=zeros(dtype=torch.complex64),
    uint16=zeros(dtype=torch.uint16), number=lambda: torch.tensor(1.))
says = dict(csr='sparse', jagged='nested', number='axis of rows')
odd = {name:(make, 'ValueError', says.get(name, name)) for name,make in makes.items()}
odd |= {type(o).__name__:(lambda o=o: o, 'TypeError', type(o).__name__) for o in ([1, 2], np.zeros(2), 'abc')}
odd['lazy'] = torch.nn.parameter.UninitializedParameter, 'RuntimeError ValueError', 'uninitialized'

for kind in odd:
    for f in (gather_rows, all_reduce_sum):
        if f is all_reduce_sum and kind == 'number': continue
        @case(f'{f.__name__} {kind}')
        def refused(f=f, kind=kind):
            "All raise what the last process cannot send, and its number"
            make,error,says = odd[kind]
            last = rank == world-1
            got = error_of(f, torch.zeros(3), make() if last else torch.zeros(2)), error_of(f, make() if last else None)
            right = [o and [o[0] in error.split(), o[1].startswith(f'process {world-1}: '), says in o[1]] for o in got]
            return [right, next_call()],[[[True]*3]*2, after_all()]

def numbers(counts): return ', '.join(f'{n} in process {i}' for i,n in enumerate(counts))

for name,counts in dict(two=(1, 2, 1), none=(1, 0, 2), many=(60, 1, 60), some=(3, 3, 4)).items():
    for f in (gather_rows, all_reduce_sum):
        @case(f'{f.__name__} of different numbers of tensors, {name}')
        def other_number(f=f, counts=counts):
            got = error_of(f, *[torch.zeros(2)]*counts[rank])
            want = ['ValueError', f'processes must agree in the number of their tensors, got {numbers(counts[:world])}']
            return [got, next_call()],[want if len(set(counts[:world])) > 1 else None, after_all()]

@case('another function')
def another_function():
    got = error_of(gather_rows if rank else all_reduce_sum, torch.zeros(2))
    said = ', '.join(f"'{'gather_rows' if i else 'all_reduce_sum'}' in process {i}" for i in range(world))
    return [got, next_call()],[['ValueError', f'processes must agree in what they call, got {said}'], after_all()]

@case('the first collective has one size')
def first_collective():
    "Whatever there is to send, and of whatever shape"
    sent,gather = [],dist.all_gather
    def record(parts, x, group=None):
        sent.append((str(x.dtype), *x.shape))
        gather(parts, x, group=group)
    dist.all_gather = record
    try:
        firsts = []
        for tensors in ([], [torch.zeros(2)], [torch.zeros(2, 3, 1, 1, 1, 1, 1, 1)]*30, [torch.eye(2).to_sparse()]):
            for f in (gather_rows, all_reduce_sum):
                sent.clear()
                error_of(f, *tensors)
                firsts.append(list(sent[0]))
    finally: dist.all_gather = gather
    return firsts,[['torch.int64', 1]]*8

@case('many axes')
def many_axes():
    x = torch.arange(3.).reshape(3, *[1]*9)
    return told(*gather_rows(x), *all_reduce_sum(x)),told(torch.cat([x]*world), x*world)

@case('rows in unusual memory')
def unusual_memory():
    "With a gradient, expanded, every second column, transposed, of a subclass, without rows or columns on one process"
    base = torch.arange(12.).reshape(3, 4) + rank
    class Sub(torch.Tensor): pass
    makes = [lambda x: x.clone().requires_grad_(), lambda x: x.clone().requires_grad_()*1, lambda x: x[:1].expand(5, 4),
        lambda x: x[:,::2], lambda x: x.t(), lambda x: x.as_subclass(Sub)]
    mine = [*(f(base) for f in makes), base[:0] if rank == 1 else base, base[:,:0]]
    whole = [torch.arange(12.).reshape(3, 4) + i for i in range(world)]
    all_ = [torch.cat([f(o).detach().as_subclass(torch.Tensor) for o in whole]) for f in makes]
    got = gather_rows(*mine)
    rest = [torch.cat([o for i,o in enumerate(whole) if i != 1]), torch.zeros(3*world, 0)]
    sums = all_reduce_sum(*mine[:2])
    want = told(*all_, *rest, *[sum(whole)]*2)
    return [told(*got, *sums), [o.requires_grad for o in (*got, *sums)]],[want, [False]*10]

@case('a default device elsewhere')
def default_device():
    "The rows stay where they are"
    with torch.device('meta'):
        x = torch.arange(3, device='cpu') + rank
        got = gather_rows(None if rank == 1 else x, x.double(), None),all_reduce_sum(None if rank == 1 else x)
    p = [torch.arange(3) + i for i in range(world)]
    some = [o for i,o in enumerate(p) if i != 1]
    return told(*got[0], *got[1]),told(torch.cat(some), torch.cat(p).double(), None, torch.stack(some).sum(0))

@case('failed is no bool')
def failed_of_numpy():
    got = gather_rows(torch.zeros(2), failed=np.bool_(rank == 1))
    return [told(*got), next_call()],[[None], after_all()]

@case('a group')
def of_a_group():
    "Its members alone; the others say that they are none"
    pair = dist.new_group([0, 1])
    says = 'gather_rows must be called by processes of the group, and this one is not in it'
    if rank > 1: return error_of(gather_rows, torch.zeros(1), group=pair),['ValueError', says]
    return told(*gather_rows(torch.tensor([rank]), group=pair)),told(torch.tensor([0, 1]))

# Threads

threads_differ = 'processes must agree in the thread that calls, got '

def in_threads(f, names):
    "What `f` of each name returns or raises, in threads of these names that run at once"
    got = {}
    def run(name):
        try: got[name] = f(name)
        except Exception as e: got[name] = [type(e).__name__, str(e)]
    threads = [threading.Thread(target=run, args=(o,), name=o) for o in names]
    for o in threads: o.start()
    for o in threads: o.join()
    return got

@case('a thread')
def one_thread():
    got = in_threads(lambda _: told(*gather_rows(torch.tensor([rank]))), ['fit'])
    return got['fit'],told(torch.arange(world))

@case('threads in another order')
def other_order():
    "Calls that do not belong together raise in all processes, and no thread gets another one's rows"
    got,said = [],[[f"'thread{int((i == 0) == (turn == 1))}' in process {i}" for i in range(world)] for turn in (0, 1)]
    def rows(name): return told(*gather_rows(torch.tensor([int(name[-1])])))
    for i in (0, 1) if rank == 0 else (1, 0): got += in_threads(rows, [f'thread{i}']).values()
    return [got, next_call()],[[['ValueError', f"{threads_differ}{', '.join(o)}"] for o in said], after_all()]

@case('the main thread and another')
def main_and_other():
    def call(*_): return told(*gather_rows(torch.tensor([rank])))
    got = in_threads(call, ['fit'])['fit'] if rank else error_of(call)
    said = ', '.join(f"'{'fit' if i else 'the main thread'}' in process {i}" for i in range(world))
    return [got, next_call()],[['ValueError', threads_differ + said], after_all()]

@case('threads at once')
def at_once():
    "Each call gets the rows of its own thread, or says that threads have met; shapes and numbers of tensors differ"
    def f(name):
        i,res = int(name[-1]),[]
        for j in range(12):
            time.sleep(.002*((i + j + rank) % 3))
            def rows_of(r): return torch.full((r + 1, i + 1), 100*i + r)
            want = torch.cat([rows_of(r) for r in range(world)])
            try: rows = gather_rows(*[rows_of(rank)]*(i + 1))
            except ValueError as e: res.append(threads_differ in str(e))
            else: res.append(len(rows) == i + 1 and all(torch.equal(o, want) for o in rows))
        return res
    got = in_threads(f, ['t0', 't1', 't2'])
    return [got, next_call()],[{f't{i}':[True]*12 for i in range(3)}, after_all()]

@case('threads at once, one name')
def at_once_one_name():
    "The lock keeps the collectives of a call together: different shapes meet in an error, or each call gets its own"
    def f(_):
        i = threading.current_thread().number
        try: rows, = gather_rows(torch.full((2, i + 1), i))
        except ValueError as e: return 'shape of their rows' in str(e)
        return torch.equal(rows, torch.full((2*world, i + 1), i))
    got = []
    class Numbered(threading.Thread):
        def __init__(self, number): super().__init__(name='same', target=lambda: got.append(f(None)))
    threads = [Numbered(i) for i in range(3)]
    for i,o in enumerate(threads): o.number = i
    for o in threads: o.start()
    for o in threads: o.join()
    return [got, next_call()],[[True]*3, after_all()]

def run(folder, own_rank, size):
    "All cases, in one process of a world"
    global rank, world
    rank,world = own_rank,size
    signal.alarm(500)
    torch.set_num_threads(1)
    at = dict(init_method=f'file://{folder}/meeting-{world}', rank=rank, world_size=world)
    dist.init_process_group('gloo', timeout=timedelta(seconds=60), **at)
    for name,f in cases.items():
        try: got,want = f()
        except Exception: got,want = traceback.format_exc(),None
        line = json.dumps(dict(case=name, got=got, want=want))
        with open(folder/f'{world}-{rank}.jsonl', 'a') as out: out.write(line + '\n')
    dist.destroy_process_group()

if __name__ == '__main__':
    folder = Path(sys.argv[1])
    for size in map(int, sys.argv[2:]):
        codes = fork_world(size, lambda rank: run(folder, rank, size))
        (folder/f'{size}-codes.json').write_text(json.dumps(codes))
