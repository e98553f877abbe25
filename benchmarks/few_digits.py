"""Digits in one, two and four calls: what each way of training is worth in equal time,
when the second call is best asked, and what the shipped weights `mnist_few` score.

    python benchmarks/few_digits.py --data DIR
        all parts, half an hour on one core, into benchmarks/few_digits.json
    python benchmarks/few_digits.py --parts times report
        only some of them; the rest of the file stays
    python benchmarks/few_digits.py --data DIR --seconds 2 --paths 99 --n 200 --out F
        two minutes, to see that it runs

ways    `mnist_cond` as teacher and as start, each way trained for the same processor
        time of one thread, beside what its paths took; by the tuning judge
times   the shipped weights with two calls, by the time of the second; by the tuning
        judge, which has seen training images only
report  the shipped weights with one, two, three and four calls, and their teacher with
        twenty, before the reporting judge and the test images, which chose nothing
unnamed the shipped weights without a label, one set, before the reporting judge
first   seconds from a loaded model to the first digit, the same in one process: median
        of rounds in turn

DIR holds the data set, as `diffusion fit --data.data_dir` has it.
"""
import argparse, copy, json, statistics, sys, time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/'benchmarks')]
import mnist
from diffusion_nbdev.distill import Consistency
from diffusion_nbdev.judge import JUDGES, digit_features, frechet, load_extractor
from diffusion_nbdev.matching import DistributionMatching, teacher_paths
from diffusion_nbdev.metrics import excess
from diffusion_nbdev.model import load
from diffusion_nbdev.pictures import MNISTData
from diffusion_nbdev.training import average_weights, drop_labels, lr_factor

ROWS = [[1000, 0], [1000, 520, 0], [1000, 844, 700, 0], [1000, 844, 700, 520, 0]]
TIMES = [1000, 844, 700, 520]
# calls -> times at which nets of all ways are asked
ASKED = {1: [1000, 0], 2: [1000, 700, 0], 4: [1000, 844, 700, 520, 0]}

def matching(**options):
    return DistributionMatching('mnist_cond', ROWS, **options)

# name -> its objective, learning rate; with 4e-4 consistency is twice as far off
WAYS = {
    'consistency':        (lambda: Consistency('mnist_cond'), 1e-4),
    'ends of paths':      (lambda: matching(match=0., follow=1.), 4e-4),
    'matching':           (lambda: matching(follow=0., follow_later=0.), 4e-4),
    'matching and paths': (matching, 4e-4),
}

def batches(data, B=64):
    "Real digits for ever, in the model's units, and their labels"
    g = torch.Generator().manual_seed(0)
    x, c = data._rows['train']
    while True:
        rows = torch.randint(len(x), (B,), generator=g)
        yield x[rows].float() / 127.5 - 1, drop_labels(c[rows], 0.1)

def trained(objective, paths, data, seconds, lr):
    "So much processor time of one thread: the averaged model, and how many steps"
    torch.manual_seed(0)
    model = load('mnist_cond')
    model.net.train()
    objective.prepare(model, 0.1)
    if hasattr(objective, 'crowds'): objective.crowds.paths = paths
    opt = torch.optim.AdamW(model.net.parameters(), lr, weight_decay=0., fused=True)
    average = copy.deepcopy(model)
    averages, weights = list(average.net.parameters()), list(model.net.parameters())
    start, k, share = time.process_time(), 0, 0.
    for x0, c in batches(data):
        share = (time.process_time() - start) / seconds
        if share >= 1: break
        for group in opt.param_groups:
            group['lr'] = lr * lr_factor(round(1000 * share), 1000, 50)
        if hasattr(objective, 'at'): objective.at(share)
        t = mnist.ddpm.draw_times(1000, len(x0))
        with torch.autocast('cpu', torch.bfloat16, enabled=bool(mnist.bfloat16_pays())):
            loss = objective(model, x0, c, t, torch.randn_like(x0)).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        with torch.no_grad(): average_weights(averages, weights, k, 0.998)
        k += 1
    average.few = objective.few
    return average.eval(), k

def seen(model, judge, n, num, seed, times=None):
    "Figures by a judge; the classes asked for are those of a set of real digits"
    options = {} if times is None else dict(times=times)
    x, c = mnist.drawn(model, judge, 'consistency', None if times else n, num, seed,
                       **options)
    f = digit_features(judge.net, x)
    found = {k: round(v, 5) for k, v in judge.measure(f).items()}
    gap = excess([frechet(f, judge.test)], judge.floor(num)['frechet'])
    return dict(calls=n, num=num, seed=seed, **found,
                accuracy=(judge.classes(f) == c).double().mean().item(),
                excess=round(gap.value, 5))

def part_ways(args):
    judge = load_extractor(JUDGES['tuning'])
    data = MNISTData(data_dir=args.data)
    data.setup()
    start = time.process_time()
    paths = teacher_paths(load('mnist_cond'), args.paths, TIMES)
    made = dict(seconds=args.seconds, paths=args.paths, rows=[],
                paths_seconds=round(time.process_time() - start),
                judge=judge.card['sha256'][:12],
                floor=statistics.mean(judge.floor(args.n)['frechet']))
    # the rows of other ways stay, and what is said of their paths
    if args.only:
        made = json.loads(args.out.read_text())['ways']
        del made['about']
    old = {name: [r for r in made['rows'] if r['way'] == name] for name in WAYS}
    for name, (make, lr) in WAYS.items():
        if args.only and name not in args.only: continue
        model, steps = trained(make(), paths, data, args.seconds, lr)
        old[name] = [
            dict(way=name, steps=steps, lr=lr,
                 **seen(model, judge, n, args.n, 1000, ASKED[n]))
            for n in (1, 2, 4)]
        print(json.dumps(old[name]), flush=True)
    return dict(made, rows=sum(old.values(), []))

def part_times(args):
    judge, model, rows = load_extractor(JUDGES['tuning']), load('mnist_few'), []
    for second in TIMES[1:]:
        row = seen(model, judge, 2, args.n, 1000, [1000, second, 0])
        rows.append(dict(second=second, **row))
        print(json.dumps(rows[-1]), flush=True)
    return dict(judge=judge.card['sha256'][:12], weights=model.card['sha256'][:12],
                rows=rows)

def part_report(args):
    judges = [load_extractor(JUDGES[name]) for name in ('reporting', 'tuning')]
    runs = [dict(weights='mnist_few', steps=n, sampler='consistency')
            for n in (1, 2, 3, 4)]
    runs.append(dict(weights='mnist_cond', steps=20, sampler='dpmpp_2m_sde'))
    rows = []
    for seed in range(mnist.REPORTING, mnist.REPORTING + args.seeds):
        for run in runs:
            rows.append(mnist.reported(run, seed, judges, args.n))
            print(json.dumps(rows[-1]), flush=True)
    names = 'mnist_few', 'mnist_cond'
    used = {name: load(name).card['sha256'][:12] for name in names}
    return dict(judges=[j.card['sha256'][:12] for j in judges], weights=used,
                **mnist.report_of(rows, judges, args.n))

def part_unnamed(args):
    judge, model, rows = load_extractor(JUDGES['reporting']), load('mnist_few'), []
    for n in (1, 2, 4):
        x = model.generate(n=n, num=args.n, seed=1)
        f = digit_features(judge.net, x.clamp(0, 1))
        gap = excess([frechet(f, judge.test)], judge.floor(args.n)['frechet'])
        found = {k: round(v, 5) for k, v in judge.measure(f).items()}
        rows.append(dict(calls=n, num=args.n, seed=1, **found,
                         excess=round(gap.value, 5)))
        print(json.dumps(rows[-1]), flush=True)
    return dict(judge=judge.card['sha256'][:12], weights=model.card['sha256'][:12],
                rows=rows)

def part_first(args, rounds=15):
    "All in turn, so that what else the machine does meets all of them"
    runs = [('mnist_few', 'consistency', 1), ('mnist_few', 'consistency', 4),
            ('mnist_cond', 'dpmpp_2m_sde', 20), ('mnist_cond', 'ddim', 50)]
    models, took = {r[0]: load(r[0]) for r in runs}, {r: [] for r in runs}
    for k in range(rounds + 1):
        for run in runs:
            start = time.perf_counter()
            models[run[0]].generate(run[1], n=run[2], num=1, c=3, seed=k)
            # the first round compiles and allocates
            if k: took[run].append(time.perf_counter() - start)
    return dict(rounds=rounds, rows=[
        dict(weights=w, sampler=s, calls=n, seconds=round(statistics.median(v), 4))
        for (w, s, n), v in took.items()])

PARTS = dict(ways=part_ways, times=part_times, report=part_report,
             unnamed=part_unnamed, first=part_first)

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', help='folder of the data set')
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'few_digits.json')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    p.add_argument('--only', nargs='+', choices=WAYS, help='ways: only these')
    p.add_argument('--seconds', type=float, default=180,
                   help='ways: processor time of each training')
    p.add_argument('--paths', type=int, default=8000, help='ways: paths of the teacher')
    p.add_argument('--seeds', type=int, default=4, help='report: sets of samples')
    p.add_argument('--n', type=int, default=2000, help='samples')
    p.add_argument('--threads', type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    for part in args.parts:
        args.start = time.perf_counter()
        write_part(args, part, PARTS[part](args))

def write_part(args, part, result):
    about = mnist.about_part(args, part)
    about['command'] = about['command'].replace('mnist.py', 'few_digits.py')
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    found[part] = dict(about=about, **result)
    with mnist.whole_file(args.out) as beside:
        beside.write_text(json.dumps(found, indent=1) + '\n')

if __name__ == '__main__': main()
