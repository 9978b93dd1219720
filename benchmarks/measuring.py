"What the benchmarks share: the machine in words, threads, clocks, memory, what is asked of a row, and tables"
import os, platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
import torch
from threadpoolctl import threadpool_limits

results = Path(__file__).resolve().parent/'results'

# --- The machine ---

def use_threads(k):
    "Let BLAS and OpenMP, NumPy's and PyTorch's, use `k` threads"
    threadpool_limits(k)
    torch.set_num_threads(k)

def versions(*packages):
    "The versions of those that are installed"
    found = []
    for name in packages:
        try: found.append(f'{name} {version(name)}')
        except PackageNotFoundError: continue
    return found

def machine(*packages):
    "The processor, its instruction set and the versions, as lines of a list; `packages` are named beside those that all use"
    try: cpu = next(o.split(':')[1].strip() for o in Path('/proc/cpuinfo').read_text().splitlines() if o.startswith('model name'))
    except (OSError, StopIteration): cpu = platform.processor() or platform.machine()
    load = f', load {os.getloadavg()[0]:.1f} at the start' if hasattr(os, 'getloadavg') else ''
    instructions = torch.backends.cpu.get_cpu_capability().replace('AVX', 'AVX-').replace('AVX-2', 'AVX2')
    installed = versions('numpy', 'torch', 'scikit-learn', *packages, 'fastai', 'fastai_auroc')
    hardware = f'CPU: {cpu}, {instructions}, {os.cpu_count()} cores{load}'
    return [hardware, ', '.join([f'Python {platform.python_version()}', *installed])]

# --- Clocks and memory ---

def timed(f, number=1):
    "Seconds a call, processor seconds a call, and what the last call returned"
    cpu,start = process_time(),perf_counter()
    for _ in range(number): res = f()
    return (perf_counter()-start)/number,(process_time()-cpu)/number,res

def memory_status(name):
    "Bytes that Linux states for this process: 'VmRSS:' now, 'VmHWM:' at the highest"
    return int(next(o for o in Path('/proc/self/status').read_text().splitlines() if o.startswith(name)).split()[1])*1024

def start_peak():
    "Let 'VmHWM:' start anew, and return what the process holds"
    Path('/proc/self/clear_refs').write_text('5')
    return memory_status('VmRSS:')

# --- Words and tables ---

def seconds(t):
    "`t` with three digits and its unit"
    unit,scale = next((u, s) for u,s in (('s', 1), ('ms', 1e-3), ('µs', 1e-6)) if t >= s or u == 'µs')
    x = t/scale
    return f'{x:.{2 if x < 10 else 1 if x < 100 else 0}f} {unit}'

def times(x): return f'{x:.{2 if x < 3 else 1 if x < 10 else 0}f} ×'
def digits(e): return '0' if e == 0 else f'{e:.0e}'

def factor(x):
    "A round `x` as a factor, or as a fraction"
    return f'{x:g} ×' if x >= 1 else f'1/{1/x:g} ×'

def multiple(x):
    "A measured `x` as a factor; below a third as a fraction, which says more than zeros"
    return times(x) if x > .34 else f'1/{1/x:.{1 if x > .1 else 0}f} ×'

def table(head, rows): return '\n'.join('| ' + ' | '.join(map(str, o)) + ' |' for o in (head, ['---']*len(head), *rows)) + '\n'

def bullets(lines): return '\n'.join(f'- {o}' for o in lines)

def written_by(command, quick=False): return f"{date.today()}, `python benchmarks/{command}{' --quick' if quick else ''}`"

def write(text, out, name, quick=False):
    "Print a report, and write it into the folder `out`; None is benchmarks/results, or with `quick` nowhere"
    print(text)
    if out is None and quick: return None
    out = out or results
    out.mkdir(parents=True, exist_ok=True)
    (out/name).write_text(text, encoding='utf-8')
    return out
