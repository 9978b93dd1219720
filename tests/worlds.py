"Worlds of processes on this machine, joined by gloo: forked, or started by torchrun"
import fcntl, json, os, subprocess, sys, torch, torch.distributed as dist, traceback
from pathlib import Path

root = Path(__file__).parent.parent
env = {**os.environ, 'OMP_NUM_THREADS':'1', 'PYTHONWARNINGS':'ignore', 'CUDA_VISIBLE_DEVICES':''}
if Path('/sys/class/net/lo').exists(): env['GLOO_SOCKET_IFNAME'] = 'lo'

def run_python(*args):
    "Run Python to its end; the limit is for what hangs, on however slow a machine"
    return subprocess.run([sys.executable, *map(str, args)], env=env, timeout=600, capture_output=True, text=True, cwd=root)

def run_world(size, *args):
    "Run a script in `size` processes of torchrun, which chooses a port itself: one found here could be taken by another test until it is used"
    alone = '--standalone', '--local_addr', '127.0.0.1'
    return run_python('-m', 'torch.distributed.run', *alone, '--nproc_per_node', size, *args)

def run_once(tmp_path_factory, name, run):
    "Let the first test process that asks call `run(folder)`, and others wait: the folder, how the program ended and what it said"
    shared = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: shared = shared.parent
    folder,end = shared/name,shared/f'{name}.json'
    with open(shared/f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not end.exists():
            folder.mkdir()
            res = run(folder)
            end.write_text(json.dumps([res.returncode, res.stderr]))
    return folder,*json.loads(end.read_text())

def fork_world(size, work):
    "Call `work(rank)` in `size` processes forked from this one; how they ended: 0, 3 after an exception, -n by signal n"
    pids = []
    for rank in range(size):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        code = 3
        try:
            work(rank)
            code = 0
        except Exception: traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

def broadcast_on_cpu(self, t, rank):
    "`_broadcast` of fastai's DistributedDL, without its `.cuda()`"
    t = torch.LongTensor(t)
    dist.broadcast(t, rank)
    return t.tolist()
