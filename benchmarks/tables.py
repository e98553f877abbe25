"""Two tables of scikit-learn, raw, learnt by the config `table` as it stands, and compared with the rows that were learnt from.

    python benchmarks/tables.py              both tables, three seeds, some minutes on one core, into benchmarks/tables.json
    python benchmarks/tables.py --seeds 1 --only wine --out other.json
    python benchmarks/tables.py --fit --trainer.max_epochs=100    whatever follows --fit goes to `diffusion fit`

A table goes through its file: CSV, `diffusion fit`, `diffusion sample`, CSV. By class, against the training rows:
mean      largest difference of a column's means, in standard deviations of the class
std       largest relative difference of a column's standard deviations, less two standard errors of the real one
corr      mean absolute difference of the correlations, of the class that is worst
forest    accuracy of a random forest that tells real rows from as many samples, five folds, several times; beside it that of
          one half of the real rows against the other
nearest   median distance of a sample to the nearest real row, over that of a real row to the nearest other one (columns in
          their standard deviations): below 1 the rows are repeated, above 1 the samples are too wide
"""
import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import chdir, redirect_stdout
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestNeighbors

from diffusion_nbdev import __version__
from diffusion_nbdev.cli.main import main
from diffusion_nbdev.points import FileData, read_file

TABLES = dict(wine=load_wine, cancer=load_breast_cancer)
# what is wanted: at most, of nearest within
WANTED = dict(mean=0.1, std=0.1, corr=0.05, forest=0.1, nearest=(0.9, 1.1))


def write_table(name, path):
    "A table as a spreadsheet would hold it: names above, the class as a word"
    found = TABLES[name]()
    with open(path, 'w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow([*found.feature_names, 'kind'])
        for row, label in zip(found.data.tolist(), found.target):
            rows.writerow([*(f'{v:g}' for v in row), found.target_names[label]])


def shell(*words):
    "A command of the package; its output is not wanted"
    with open(os.devnull, 'w') as nothing, redirect_stdout(nothing):
        if main([str(word) for word in words]): raise SystemExit(f'failed: {words}')


def drawn(name, n, seed, options):
    "Training rows and samples with their classes, and the seconds of CPU that each step took"
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        write_table(name, 't.csv')
        start = time.process_time()
        shell('fit', '--config', 'table', '--data.path=t.csv', '--data.labels=kind', f'--seed_everything={seed}', *options)
        middle = time.process_time()
        run = next(Path('run').glob('*/version_0'))
        data = FileData('t.csv', 'kind', seed=seed)
        x, c = data._rows['train']
        samples = []
        for k, name in enumerate(data.units.classes):
            share = round(n * (c == k).double().mean().item())
            shell('sample', run, '--class', name, '--n', share, '--seed', seed + k, '--out', f'{k}.csv')
            samples.append(read_file(f'{k}.csv', 'kind', units=data.units))
        end = time.process_time()
    y, d = torch.cat([s.x for s in samples]), torch.cat([s.c for s in samples])
    return (x.numpy(), c.numpy(), y.numpy(), d.numpy()), dict(fit_seconds=middle - start, sample_seconds=end - middle)


def moments(x, c, y, d):
    "Means, standard deviations and correlations, the worst of all classes and columns"
    mean, std, corr = [], [], []
    for k in np.unique(c):
        a, b = x[c == k], y[d == k]
        wide = a.std(0, ddof=1)
        z = (a - a.mean(0)) / wide
        error = np.sqrt(((z ** 4).mean(0) - 1) / (4 * len(a)))
        mean.append(np.abs(b.mean(0) - a.mean(0)) / wide)
        std.append(np.abs(b.std(0, ddof=1) / wide - 1) - 2 * error)
        pairs = np.triu_indices(a.shape[1], 1)
        corr.append(np.abs(np.corrcoef(a.T)[pairs] - np.corrcoef(b.T)[pairs]).mean())
    return dict(mean=np.max(mean), std=np.max(std), corr=np.max(corr))


def told_apart(a, b, seed):
    "Accuracy of a forest that tells two sets of equally many rows"
    both, of = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_score(RandomForestClassifier(100, random_state=seed), both, of, cv=folds).mean()


def forest(x, c, y, d, repeats=5):
    "Real rows against samples of the same classes, and half of them against the other half"
    rng, real, floor = np.random.default_rng(0), [], []
    rows = np.column_stack([x, c])
    for k in range(repeats):
        some = np.concatenate([rng.choice(np.flatnonzero(d == label), (c == label).sum(), replace=False) for label in np.unique(c)])
        real.append(told_apart(rows, np.column_stack([y, d])[some], k))
        half = rng.permutation(len(rows))[:len(rows) // 2 * 2].reshape(2, -1)
        floor.append(told_apart(*rows[half], k))
    return dict(forest=np.mean(real) - np.mean(floor), forest_samples=np.mean(real), forest_real=np.mean(floor))


def nearest(x, y):
    "Median distance to the nearest real row, over that between real rows; how many samples are nearer than 95 % of those"
    wide = x.std(0)
    found = NearestNeighbors(n_neighbors=2).fit(x / wide)
    real = found.kneighbors(x / wide)[0][:, 1]
    ours = found.kneighbors(y / wide, 1)[0][:, 0]
    return dict(nearest=np.median(ours) / np.median(real), nearest_5=np.mean(ours < np.quantile(real, 0.05)))


def scores(x, c, y, d):
    "All of it, rounded, and whether it is what is wanted"
    found = {**moments(x, c, y, d), **forest(x, c, y, d), **nearest(x, y)}
    found = {name: round(float(v), 3) for name, v in found.items()}
    lo, hi = WANTED['nearest']
    good = all(found[name] <= most for name, most in WANTED.items() if name != 'nearest')
    return dict(**found, reached=good and lo <= found['nearest'] <= hi)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', choices=TABLES)
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--n', type=int, default=10_000)
    p.add_argument('--out', default=str(ROOT/'benchmarks'/'tables.json'))
    p.add_argument('--fit', nargs=argparse.REMAINDER, default=[])
    return p.parse_args()


if __name__ == '__main__':
    args, results = arguments(), []
    os.environ['TQDM_DISABLE'] = '1'
    torch.set_num_threads(1)
    for name in [args.only] if args.only else TABLES:
        for seed in range(args.seeds):
            rows, seconds = drawn(name, args.n, seed, args.fit)
            seconds = {k: round(v, 1) for k, v in seconds.items()}
            results.append(dict(table=name, rows=len(rows[0]), seed=seed, **scores(*rows), **seconds))
            print(json.dumps(results[-1]), flush=True)
    about = dict(version=__version__, torch=torch.__version__, python=platform.python_version(), samples=args.n, wanted=WANTED, fit=args.fit)
    Path(args.out).write_text(json.dumps(dict(about=about, results=results), indent=1) + '\n', encoding='utf-8')
