"Seconds that an import of the package takes after fastai or PyTorch. Run: python benchmarks/imports.py [--quick]"
import argparse, subprocess, sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from measuring import bullets, machine, seconds, table, write, written_by

@dataclass
class Row:
    before:str; then:str; most:float|None = None

all_of_ours = 'from fastai_auroc.all import *'
rows = [Row('from fastai.tabular.all import *', all_of_ours, .3), Row('from fastai.vision.all import *', all_of_ours, .3)]
rows += [Row('import torch', f'from fastai_auroc.{o}') for o in ('roc import auroc_score', 'losses import AUMLoss')]

script = '''from time import perf_counter
_start = perf_counter()
{before}
_middle = perf_counter()
{then}
print(_middle-_start, perf_counter()-_middle)'''

def took(row):
    "Seconds of both imports in a process of their own"
    code = script.format(before=row.before, then=row.then)
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True)
    return [float(o) for o in done.stdout.split()[-2:]]

def verdict(row, t):
    "What is asked, and whether it is met"
    if row.most is None: return '–','–'
    return f'≤ {seconds(row.most)}','met' if t <= row.most else f'{seconds(t-row.most)} too long'

def measure(rows, turns):
    "Lines of the table: medians of processes that take turns, after one of each that fills the file cache"
    for row in rows: took(row)
    found = [[took(row) for row in rows] for _ in range(turns)]
    lines = []
    for row,runs in zip(rows, zip(*found)):
        before,ours = (median(o) for o in zip(*runs))
        lines.append([f'`{row.before}`', seconds(before), f'`{row.then}`', seconds(ours), *verdict(row, ours)])
    return lines

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='after fastai.tabular alone, and once; writes no file without --out')
    parser.add_argument('--out', type=Path, help='folder for imports.md (benchmarks/results)')
    args = parser.parse_args()
    about = [*machine(), written_by('imports.py', args.quick)]
    turns = 1 if args.quick else 7
    text = f"""# Import

{bullets(about)}

Each line is a process of its own: it imports what stands first, then the package. Medians of {turns}, the lines in
turn, after a process each that fills the file cache.

{table(['first', 'takes', 'then', 'takes', 'asked', 'met'], measure(rows[:1] if args.quick else rows, turns))}"""
    write(text, args.out, 'imports.md', args.quick)

if __name__ == '__main__': main()
