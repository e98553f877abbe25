"""Two tables of scikit-learn, raw, learnt by the config `table` as it stands, and
compared with the rows that were learnt from.

    python benchmarks/tables.py         three seeds of both, some minutes on one core
    python benchmarks/tables.py --seeds 1 --only wine --out other.json
    python benchmarks/tables.py --fit --trainer.max_epochs=100    to `diffusion fit`

A table goes through files: CSV, `diffusion fit`, `diffusion sample`, CSV. Of columns
the worst of all classes counts:
mean      difference of the means, in standard deviations of the class
std       relative difference of the standard deviations, less two standard errors
corr      mean absolute difference of the correlations, all pairs and classes; and of
          the class that is worst
forest    accuracy of a random forest that tells real rows from as many samples, five
          folds, five times, less that of half the real rows against the other half
nearest   median distance of a sample to the nearest real row, over that of a real row
          to the nearest other one, columns in their standard deviations: below 1 rows
          are repeated, above 1 samples are too wide
"""
import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestNeighbors

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from diffusion_nbdev import __version__
from diffusion_nbdev.cli.main import main
from diffusion_nbdev.points import FileData, read_file

TABLES = dict(wine=load_wine, cancer=load_breast_cancer)
# what is wanted: at most so much
WANTED = dict(mean=0.1, std=0.1, corr=0.05, forest=0.1)


def write_table(name, path):
    "A table as a spreadsheet would hold it: names above, the class as a word"
    found = TABLES[name]()
    with open(path, 'w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow([*found.feature_names, 'kind'])
        for row, label in zip(found.data.tolist(), found.target):
            rows.writerow([*(f'{v:g}' for v in row), found.target_names[label]])


@contextmanager
def inside_folder():
    "Work in a folder that is gone afterwards"
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try: yield
        finally: os.chdir(before)


def shell(*words):
    "A command of the package, without what it prints"
    with open(os.devnull, 'w') as nothing, redirect_stdout(nothing):
        if main([str(word) for word in words]): raise SystemExit(f'failed: {words}')


def samples(run, data, n, seed):
    "Samples of each class in its share, from their files"
    _, c = data._rows['train']
    found = []
    for k, name in enumerate(data.units.classes):
        share, out = round(n * (c == k).double().mean().item()), f'{k}.csv'
        shell('sample', run, '--class', name, '--n', share, '--seed', seed,
              '--out', out)
        found.append(read_file(out, 'kind', units=data.units))
    return torch.cat([s.x for s in found]), torch.cat([s.c for s in found])


def drawn(name, n, seed, options):
    "Training rows, samples, the classes of both, and the seconds of a core"
    with inside_folder():
        write_table(name, 't.csv')
        start = time.process_time()
        shell('fit', '--config', 'table', '--data.path=t.csv', '--data.labels=kind',
              f'--seed_everything={seed}', *options)
        middle = time.process_time()
        data = FileData('t.csv', 'kind', seed=seed)
        y, d = samples(next(Path('run').glob('*/version_0')), data, n, seed)
        seconds = dict(fit=middle - start, sample=time.process_time() - middle)
    rows = [v.numpy() for v in (*data._rows['train'], y, d)]
    return rows, {f'{k}_seconds': round(v, 1) for k, v in seconds.items()}


def moments(x, c, y, d):
    "Means, standard deviations and correlations"
    mean, std, corr = [], [], []
    for k in np.unique(c):
        a, b = x[c == k], y[d == k]
        wide = a.std(0, ddof=1)
        kurtosis = (((a - a.mean(0)) / wide) ** 4).mean(0)
        error = np.sqrt((kurtosis - 1) / (4 * len(a)))
        mean.append(np.abs(b.mean(0) - a.mean(0)) / wide)
        std.append(np.abs(b.std(0, ddof=1) / wide - 1) - 2 * error)
        pairs = np.triu_indices(a.shape[1], 1)
        gap = np.corrcoef(a.T)[pairs] - np.corrcoef(b.T)[pairs]
        corr.append(np.abs(gap).mean())
    return dict(mean=np.max(mean), std=np.max(std), corr=np.mean(corr),
                corr_worst=np.max(corr))


def told_apart(a, b, seed):
    "Accuracy of a forest that tells two sets of equally many rows"
    both, first = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    trees = RandomForestClassifier(100, random_state=seed)
    return cross_val_score(trees, both, first, cv=folds).mean()


def forest(x, c, y, d, repeats=5):
    "Real rows against samples of the same classes, and against real rows"
    rng, ours, real = np.random.default_rng(0), [], []
    a, b = np.column_stack([x, c]), np.column_stack([y, d])
    for k in range(repeats):
        some = [rng.choice(np.flatnonzero(d == label), (c == label).sum(), False)
                for label in np.unique(c)]
        ours.append(told_apart(a, b[np.concatenate(some)], k))
        halves = rng.permutation(len(a))[:len(a) // 2 * 2].reshape(2, -1)
        real.append(told_apart(*a[halves], k))
    ours, real = np.mean(ours), np.mean(real)
    return dict(forest=ours - real, forest_samples=ours, forest_real=real)


def nearest(x, y):
    "Distances to the nearest real row; the share below the smallest 5 % of real rows'"
    wide = x.std(0)
    found = NearestNeighbors(n_neighbors=2).fit(x / wide)
    real = found.kneighbors(x / wide)[0][:, 1]
    ours = found.kneighbors(y / wide, 1)[0][:, 0]
    return dict(nearest=np.median(ours) / np.median(real),
                very_near=np.mean(ours < np.quantile(real, 0.05)))


def scores(x, c, y, d):
    "All of it, rounded, and whether it is what is wanted"
    found = {**moments(x, c, y, d), **forest(x, c, y, d), **nearest(x, y)}
    found = {name: round(float(v), 3) for name, v in found.items()}
    return dict(**found, reached=all(found[k] <= most for k, most in WANTED.items()))


def arguments():
    "What was typed"
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
            about = dict(table=name, rows=len(rows[0]), seed=seed)
            results.append({**about, **scores(*rows), **seconds})
            print(json.dumps(results[-1]), flush=True)
    about = dict(version=__version__, torch=torch.__version__, samples=args.n,
                 python=platform.python_version(), wanted=WANTED, fit=args.fit)
    text = json.dumps(dict(about=about, results=results), indent=1)
    Path(args.out).write_text(text + '\n', encoding='utf-8')
