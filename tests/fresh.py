"New processes that do not import PyTorch and the like again: forked from one that has, but has imported nothing of fastai or of this package"
import multiprocessing, os, sys, tempfile, warnings
from pathlib import Path

libraries = ['IPython.core.interactiveshell', 'PIL.Image', 'matplotlib.pyplot', 'pandas', 'scipy.stats', 'sklearn.linear_model', 'sklearn.metrics', 'torch',
    'torch._dynamo', 'torchvision']
forkserver = multiprocessing.get_context('forkserver')
forkserver.set_forkserver_preload(libraries)

def _quietly(output, work, args):
    "Call `work(*args)` without warnings; it and its own processes print into the file `output`"
    with open(output, 'wb') as f:
        for number in (1, 2): os.dup2(f.fileno(), number)
    multiprocessing.set_start_method(None, force=True)  # processes of its own start as elsewhere
    os.environ['PYTHONWARNINGS'] = 'ignore'
    warnings.simplefilter('ignore')
    work(*args)

def run_fresh(work, *args):
    "Call `work(*args)` in a new process; its exit code, and what it printed"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)/'output'
        process = forkserver.Process(target=_quietly, args=(output, work, args))
        process.start()
        process.join()
        return process.exitcode,output.read_text(encoding='utf-8')

def run_code(code, *argv):
    "Run a program as `python -c` would"
    sys.argv = ['-c', *argv]
    exec(compile(code, '<program>', 'exec'), {'__name__': '__main__'})
