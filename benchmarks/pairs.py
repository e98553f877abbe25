"""Has a change made the package slower? Two source trees do the same pieces of work in turn, each in a process of its own.

    git worktree add ../before v0.1.0
    python benchmarks/pairs.py ../before .                       everything
    python benchmarks/pairs.py ../before . --only import fit     the pieces with one of these words in their name
    python benchmarks/pairs.py ../before . --pairs 2 --workers 1 --out x.json     to see that it runs, and where it writes

What is compared is the second tree's time divided by the first's. It is processor time of one thread, which other
processes disturb less than the clock; the two trees take turns within a pair, and who begins changes from pair to pair.
Where memory comes to lie differs from process to process and can cost a few per cent, for as long as the process lives:
the pairs are therefore shared among several fresh pairs of processes. `import` starts two new processes for each pair.

The table shows the median of the ratios, an interval that holds it with a probability of at least 95 % (between two
order statistics, so nothing is assumed of the distribution), and the medians of the first and the last of the pairs
of processes in order of size. With `--most 1.03` the exit code is 1 if a median is above that.
"""
import argparse, compileall, contextlib, gc, json, math, os, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path

# -- the pieces of work --------------------------------------------------------------------------------

def float32(call, name='32'):
    "The argument for float32, where a tree's function knows one"
    import inspect
    return dict(precision=name) if 'precision' in inspect.signature(call).parameters else {}

def sampling():
    "Pieces that draw"
    import torch
    from diffusion_nbdev.all import load
    digits, roll = load('mnist_cond'), load('swissroll')
    c, one = torch.arange(64) % 10, float32(digits.generate)
    return {'digits: 64, ddim, 3 steps': lambda: digits.generate('ddim', n=3, num=64, c=c, **one),
            'digits: 64, dpmpp_2m_sde, 3 steps': lambda: digits.generate('dpmpp_2m_sde', n=3, num=64, c=c, **one),
            'points: 10,000, ddim, 5 steps': lambda: roll.generate('ddim', n=5, num=10_000),
            'points: 100, ddpm, 200 steps': lambda: roll.generate('ddpm', n=200, num=100)}

def training(folder):
    "Pieces that train, from the first line of `fit` to its last"
    import torch
    from diffusion_nbdev import all as d
    from diffusion_nbdev.model import Model
    def fit(net, T, data, steps):
        lit = d.LitDiffusion(Model(net, d.cosine_schedule(T), data=data.units))
        d.fit(lit, data, folder=folder, max_steps=steps, limit_val_batches=1, pictures=0, progress=False, **one)
    one, units = float32(d.fit), d.Units([1, 28, 28], 0.5, 0.5, 1., 10)
    images, labels, points = torch.rand(1500, 1, 28, 28), torch.arange(1500) % 10, torch.rand(20_000, 2)
    def digits():
        torch.manual_seed(0)
        net = d.UNet(channels=(48, 96, 128), patch=2, n_classes=10)
        fit(net, 1000, d.TensorData(images, labels, units, batch_size=64), 4)
    def roll():
        torch.manual_seed(0)
        fit(d.PointMLP(dim=2), 500, d.TensorData(points, batch_size=512), 50)
    return {'digits: fit, 4 batches of 64': digits, 'points: fit, 50 batches of 512': roll}

PIECES = ['digits: 64, ddim, 3 steps', 'digits: 64, dpmpp_2m_sde, 3 steps', 'points: 10,000, ddim, 5 steps',
          'points: 100, ddpm, 200 steps', 'digits: fit, 4 batches of 64', 'points: fit, 50 batches of 512']
IMPORT = 'import diffusion_nbdev.all'

# -- one process of a tree -----------------------------------------------------------------------------

def work():
    "Reads names of pieces, a line each, and answers each with processor seconds"
    import logging, torch
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
    return {**os.environ, 'PYTHONPATH': str(tree), 'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1'}

@contextlib.contextmanager
def worker(tree):
    "ask(piece) -> processor seconds, by a process that has the tree's package loaded"
    with tempfile.TemporaryFile('w+') as errors, subprocess.Popen([sys.executable, __file__, '--work'], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True, cwd=tempfile.gettempdir(), env=environment(tree)) as p:
        def ask(piece):
            with contextlib.suppress(BrokenPipeError): print(piece, file=p.stdin, flush=True)
            answer = p.stdout.readline()
            if answer: return float(answer)
            p.wait()
            errors.seek(0)
            sys.exit(f'{tree}: {piece}: {errors.read()[-2000:]}')
        yield ask
        p.stdin.close()

def imported(tree):
    "Processor seconds, user and system, of a fresh process that imports everything"
    p = subprocess.Popen([sys.executable, '-c', IMPORT], cwd=tempfile.gettempdir(), env=environment(tree))
    _, status, used = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode: sys.exit(f'{tree}: {IMPORT}: exit code {p.returncode}')
    return used.ru_utime + used.ru_stime

# -- pairs ---------------------------------------------------------------------------------------------

def pair(first, second, turn):
    "Ratio of second() to first(), and both; which is called first depends on the turn"
    if turn % 2: b, a = second(), first()
    else: a, b = first(), second()
    return b / a, a, b

def interval(ratios, miss=0.05):
    "Two order statistics that hold the median with probability 1 - miss or more, or the smallest and the largest"
    x, n = sorted(ratios), len(ratios)
    below = lambda k: sum(math.comb(n, j) for j in range(k + 1)) / 2 ** n    # fewer than k + 1 lie below the median
    k = max((k for k in range(n // 2) if 2 * below(k) <= miss), default=0)
    return x[k], x[n - 1 - k]

def summary(groups):
    "What is kept of a piece: groups of (ratio, first, second), a group for each pair of processes"
    ratios = [r for group in groups for r, _, _ in group]
    each = sorted(statistics.median(r for r, _, _ in group) for group in groups)
    low, high = interval(ratios)
    first, second = (statistics.median(x[k] for group in groups for x in group) for k in (1, 2))
    return dict(median=statistics.median(ratios), low=low, high=high, pairs=len(ratios), of_processes=[each[0], each[-1]], seconds=[first, second])

def shown(name, s):
    ends = '{:.3f} to {:.3f}'.format(*s['of_processes'])
    print(f"{name:<40}{s['median']:7.3f}  ({s['low']:.3f} to {s['high']:.3f})  {s['pairs']:4} pairs  {ends}  {s['seconds'][0]:.3f} s, {s['seconds'][1]:.3f} s", flush=True)

def compare(trees, pieces, pairs, workers):
    found = {}
    if IMPORT in pieces:
        for tree in trees: imported(tree)
        found[IMPORT] = [[pair(lambda: imported(trees[0]), lambda: imported(trees[1]), k) for k in range(pairs)]]
        shown(IMPORT, summary(found[IMPORT]))
    pieces = [p for p in pieces if p != IMPORT]
    for w in range(workers if pieces else 0):
        with worker(trees[0]) as first, worker(trees[1]) as second:
            for p in pieces:
                for ask in (first, second): ask(p)                           # once, to warm up
            for k in range(math.ceil(pairs / workers)):
                for p in pieces:
                    if not k: found.setdefault(p, []).append([])
                    found[p][-1].append(pair(lambda: first(p), lambda: second(p), k + w))
        print(f'after {w + 1} of {workers} pairs of processes', flush=True)
        for p in pieces: shown(p, summary(found[p]))
    return {p: summary(groups) for p, groups in found.items()}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('trees', nargs='*', type=Path, help='two folders that hold a diffusion_nbdev/: before, after')
    p.add_argument('--only', nargs='+', default=[''], help='pieces with one of these in their name')
    p.add_argument('--pairs', type=int, default=40)
    p.add_argument('--workers', type=int, default=4, help='fresh pairs of processes among which the pairs are shared')
    p.add_argument('--most', type=float, default=math.inf, help='exit code 1 if a median is above')
    p.add_argument('--out', type=Path, help='JSON file for the figures')
    p.add_argument('--work', action='store_true', help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.work: return work()
    trees = [tree.resolve() for tree in a.trees]
    missing = [str(tree) for tree in trees if not (tree/'diffusion_nbdev').is_dir()]
    if len(trees) != 2 or missing: p.error(f'must be two folders with a diffusion_nbdev/, before and after{": not " * bool(missing)}{", ".join(missing)}')
    pieces = [piece for piece in [IMPORT, *PIECES] if any(word in piece for word in a.only)]
    if not pieces: p.error(f'--only {" ".join(a.only)}: in no name of {", ".join([IMPORT, *PIECES])}')
    # as after the first import, which leaves byte code behind where it may
    for tree in trees: compileall.compile_dir(tree/'diffusion_nbdev', quiet=1)
    found = compare(trees, pieces, a.pairs, a.workers)
    if a.out: a.out.write_text(json.dumps(found, indent=1) + '\n')
    return int(any(s['median'] > a.most for s in found.values()))

if __name__ == '__main__': sys.exit(main())
