"""Has a change made the package slower? Two source trees do the same work in turn.

    git worktree add ../before v0.1.0
    python benchmarks/pairs.py ../before .
        all pieces of work, 40 pairs of each
    python benchmarks/pairs.py ../before . --only import fit
        the pieces with one of these words in their name
    python benchmarks/pairs.py ../before . --pairs 2 --workers 1 --out x.json
        to see that it runs, and what it writes

What is compared is the second tree's time divided by the first's. It is processor time
of one thread, which other processes disturb less than the clock. Each tree has a
process of its own, with everything loaded and run once. The two take turns, and who
begins changes from pair to pair. Where memory comes to lie differs from process to
process and can cost a few per cent for as long as the process lives, so the pairs are
shared among several fresh pairs of processes. `import` starts two new ones for each
pair, and reads byte code, as it does after the first import.

The table shows the median of the ratios, an interval that holds it with a probability
of at least 95 % (between two order statistics: nothing is assumed of the distribution),
the smallest and the largest median of a pair of processes, and the seconds of both
trees. With `--most 1.03` the exit code is 1 if a median is above that.
"""
import argparse, compileall, contextlib, gc, json, logging, math, os, statistics
import subprocess, sys, tempfile, time, warnings
from pathlib import Path

# -- the pieces of work ----------------------------------------------------------------

PIECES = ['digits: 64, ddim, 3 steps', 'digits: 64, dpmpp_2m_sde, 3 steps',
          'points: 10,000, ddim, 5 steps', 'points: 100, ddpm, 200 steps',
          'digits: fit, 4 batches of 64', 'points: fit, 50 batches of 512']
IMPORT = 'import diffusion_nbdev.all'

def float32(call):
    "The argument for float32, where a tree's function knows one"
    import inspect
    known = 'precision' in inspect.signature(call).parameters
    return dict(precision='32') if known else {}

def sampling():
    "Pieces that draw"
    import torch
    from diffusion_nbdev.all import load
    digits, roll = load('mnist_cond'), load('swissroll')
    same = dict(num=64, c=torch.arange(64) % 10, **float32(digits.generate))
    jobs = [lambda: digits.generate('ddim', n=3, **same),
            lambda: digits.generate('dpmpp_2m_sde', n=3, **same),
            lambda: roll.generate('ddim', n=5, num=10_000),
            lambda: roll.generate('ddpm', n=200, num=100)]
    return dict(zip(PIECES, jobs))

def training(folder):
    "Pieces that train, from the first line of `fit` to its last"
    import torch
    from diffusion_nbdev import all as book
    from diffusion_nbdev.model import Model
    def fit(net, T, data, steps):
        model = Model(net, book.cosine_schedule(T), data=data.units)
        book.fit(book.LitDiffusion(model), data, folder=folder, max_steps=steps,
                 limit_val_batches=1, pictures=0, progress=False, **float32(book.fit))
    units = book.Units([1, 28, 28], 0.5, 0.5, 1., 10)
    x, c = torch.rand(1500, 1, 28, 28), torch.arange(1500) % 10
    points = torch.rand(20_000, 2)
    def digits():
        torch.manual_seed(0)
        net = book.UNet(channels=(48, 96, 128), patch=2, n_classes=10)
        fit(net, 1000, book.TensorData(x, c, units, batch_size=64), 4)
    def roll():
        torch.manual_seed(0)
        fit(book.PointMLP(dim=2), 500, book.TensorData(points, batch_size=512), 50)
    return dict(zip(PIECES[4:], [digits, roll]))

# -- one process of a tree -------------------------------------------------------------

def work():
    "Reads names of pieces, a line each, and answers each with processor seconds"
    import torch
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    warnings.simplefilter('ignore')
    answers, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        pieces = sampling() | training(folder)
        for line in sys.stdin:
            gc.collect()
            start = time.process_time()
            pieces[line.strip()]()
            print(time.process_time() - start, file=answers, flush=True)

def environment(tree):
    more = dict(PYTHONPATH=str(tree), OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    return {**os.environ, **more}

@contextlib.contextmanager
def worker(tree):
    "ask(piece) -> processor seconds, by a process that has the tree's package loaded"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with tempfile.TemporaryFile('w+') as errors, subprocess.Popen(
            [sys.executable, __file__, '--work'], stderr=errors, env=environment(tree),
            cwd=tempfile.gettempdir(), **pipes) as p:
        def ask(piece):
            with contextlib.suppress(BrokenPipeError):
                print(piece, file=p.stdin, flush=True)
            answer = p.stdout.readline()
            if answer: return float(answer)
            p.wait()
            errors.seek(0)
            sys.exit(f'{tree}: {piece}: {errors.read()[-2000:]}')
        yield ask
        p.stdin.close()

def imported(tree):
    "Processor seconds, user and system, of a fresh process that imports everything"
    p = subprocess.Popen([sys.executable, '-c', IMPORT], cwd=tempfile.gettempdir(),
                         env=environment(tree))
    _, status, used = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode: sys.exit(f'{tree}: {IMPORT}: exit code {p.returncode}')
    return used.ru_utime + used.ru_stime

# -- pairs -----------------------------------------------------------------------------

def pair(first, second, turn):
    "Ratio of second() to first(), and both; who is called first depends on the turn"
    if turn % 2: b, a = second(), first()
    else: a, b = first(), second()
    return b / a, a, b

def interval(ratios, miss=0.05):
    "The narrowest pair of order statistics that holds the median surely enough"
    x, n = sorted(ratios), len(ratios)
    def too_few(k):
        "Probability that at most k of the ratios lie below the median"
        return sum(math.comb(n, j) for j in range(k + 1)) / 2 ** n
    k = max((k for k in range(n // 2) if 2 * too_few(k) <= miss), default=0)
    return x[k], x[n - 1 - k]

def summary(groups):
    "What is kept of a piece: (ratio, first, second), a group for each two processes"
    rows = [row for group in groups for row in group]
    ratios, *seconds = zip(*rows)
    each = [statistics.median(ratio for ratio, _, _ in group) for group in groups]
    low, high = interval(ratios)
    return dict(median=statistics.median(ratios), low=low, high=high, pairs=len(rows),
                of_processes=[min(each), max(each)],
                seconds=[statistics.median(s) for s in seconds])

def shown(name, s):
    ends = '{:.3f} to {:.3f}'.format(*s['of_processes'])
    print(f"{name:<34}{s['median']:7.3f}  ({s['low']:.3f} to {s['high']:.3f})"
          f"{s['pairs']:4} pairs, {ends}; " + '{:.3f} {:.3f} s'.format(*s['seconds']),
          flush=True)

def compare(trees, pieces, pairs, workers):
    "Figures of each piece, shown after each pair of processes"
    found = {}
    if IMPORT in pieces:
        for tree in trees: imported(tree)
        jobs = [lambda tree=tree: imported(tree) for tree in trees]
        found[IMPORT] = [[pair(*jobs, turn) for turn in range(pairs)]]
        shown(IMPORT, summary(found[IMPORT]))
    pieces = [p for p in pieces if p != IMPORT]
    for p in pieces: found[p] = []
    for w in range(workers if pieces else 0):
        with worker(trees[0]) as first, worker(trees[1]) as second:
            for p in pieces:
                found[p].append([])
                for ask in (first, second): ask(p)           # once, to warm up
            for k in range(math.ceil(pairs / workers)):
                for p in pieces:
                    row = pair(lambda: first(p), lambda: second(p), k + w)
                    found[p][-1].append(row)
        print(f'after {w + 1} of {workers} pairs of processes', flush=True)
        for p in pieces: shown(p, summary(found[p]))
    return {p: summary(groups) for p, groups in found.items()}

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('trees', nargs='*', type=Path,
                   help='two folders that hold a diffusion_nbdev/: before, after')
    p.add_argument('--only', nargs='+', default=[''],
                   help='pieces with one of these in their name')
    p.add_argument('--pairs', type=int, default=40)
    p.add_argument('--workers', type=int, default=4,
                   help='fresh pairs of processes among which the pairs are shared')
    p.add_argument('--most', type=float, default=math.inf,
                   help='exit code 1 if a median is above')
    p.add_argument('--out', type=Path, help='JSON file for the figures')
    p.add_argument('--work', action='store_true', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work: return work()
    trees = [tree.resolve() for tree in a.trees]
    missing = [str(tree) for tree in trees if not (tree/'diffusion_nbdev').is_dir()]
    if len(trees) != 2 or missing:
        p.error('must be two folders with a diffusion_nbdev/, before and after'
                f'{": not " * bool(missing)}{", ".join(missing)}')
    if a.pairs < 1 or a.workers < 1: p.error('--pairs and --workers: at least 1')
    every = [IMPORT, *PIECES]
    pieces = [piece for piece in every if any(word in piece for word in a.only)]
    if not pieces: p.error(f'--only {" ".join(a.only)}: in no name of {every}')
    for tree in trees: compileall.compile_dir(tree/'diffusion_nbdev', quiet=1)
    found = compare(trees, pieces, a.pairs, a.workers)
    if a.out: a.out.write_text(json.dumps(found, indent=1) + '\n')
    return int(any(s['median'] > a.most for s in found.values()))

if __name__ == '__main__': sys.exit(main())
