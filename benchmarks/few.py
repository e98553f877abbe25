"""A net for few calls on exact ground: the Swiss roll, distilled from the shipped net.

    python benchmarks/few.py                     into benchmarks/few.json
    python benchmarks/few.py --tiny --out FILE   half a minute, to see that it runs

roll     `Consistency` with the shipped weights as teacher and as start: distance to the
         ends of the teacher's own paths, sample by sample, and excess over fresh data
second   the same with two calls, by log(signal/noise) at the second time

An excess is the mean of squared sliced W2 distances to fresh data, less the mean of
those between real sets; its error comes from the spread of both. A step of training
counts three calls for the net that learns, one for its goal and two for the teacher.
Nothing is chosen by these numbers.
"""
import argparse, copy, importlib.metadata, json, math, sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from diffusion_nbdev.distill import Consistency, path_ends
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.metrics import excess, sliced_w2
from diffusion_nbdev.model import Model, load
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.sampling import SAMPLERS, enter_all, last
from diffusion_nbdev.swissroll import swissroll, swissroll_units

enter_all()
SECOND = -1.5, 0., 1.5 # log(signal/noise) at the second time

def said(row):
    print(json.dumps(row), flush=True)
    return row

def train(model, objective, draw, steps, B, lr, seed=0):
    "A training without anything but the objective"
    torch.manual_seed(seed)
    net, T = model.net.train(), model.sched.T
    optimizer = torch.optim.AdamW(net.parameters(), lr, weight_decay=0., fused=True)
    def rate(k): return min(1, (k + 1) / 50) * (1 + math.cos(math.pi * k / steps)) / 2
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    objective.prepare(model, 0.)
    for k in range(steps):
        objective.at(k / steps)
        x0 = draw(B)
        t = torch.randint(1, T + 1, (B,))
        loss = objective(model, x0, None, t, torch.randn_like(x0)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    net.eval()

def data(n, seed): return swissroll_units.to_model(swissroll(n, seed))

def noises(n, seed): return SeededNoise(seed)(torch.empty(n, 2), 0)

def squared(x, y): return sliced_w2(x, y, n_proj=64) ** 2

def roll(args):
    teacher, calls = load('swissroll'), 300 if args.tiny else 3000
    n, seeds = (500, 2) if args.tiny else (4000, 3)
    sched, f = teacher.sched, teacher.denoiser()
    z = noises(500 if args.tiny else 1000, 99)
    ends = path_ends(f, sched, z, sched.T, tol=1e-4)
    pool = data(20_000, 1)
    def draw(B): return pool[torch.randint(len(pool), (B,))]
    floor = [squared(data(n, 1000 + 2 * k), data(n, 1001 + 2 * k))
             for k in range(seeds)]

    def scored(name, net, calls, sampler='consistency', **more):
        model, solve = Model(net, sched, 'v', swissroll_units), SAMPLERS[sampler]
        def made(z, seed):
            with torch.no_grad():
                run = solve(model.denoiser(), sched, z, calls, noise=seed, **more)
                return last(run)
        found = [squared(made(noises(n, k), k), data(n, 500 + k)) for k in range(seeds)]
        value, error = excess(found, floor)
        off = (made(z, 7) - ends).norm(dim=1)
        return said(dict(what=name, calls=calls, excess=round(value, 6),
                         error=round(error, 6),
                         rms=round(off.square().mean().sqrt().item(), 4),
                         median=round(off.median().item(), 4)))

    rows = [scored('teacher', teacher.net, k, 'unipc2') for k in (2, 4, 20)]
    rows += [scored('teacher', teacher.net, 1, 'ddim')]
    model = Model(copy.deepcopy(teacher.net), sched, 'v', swissroll_units)
    train(model, Consistency(teacher, last=1 / 4), draw, calls // 6, 512, 1e-3)
    rows += [scored('distilled', model.net, k) for k in (1, 2, 4)]
    times = [[sched.T, sched.t_at(2 * lam).item(), 0] for lam in SECOND]
    second = [dict(scored('second time', model.net, None, times=row), lam=lam)
              for lam, row in zip(SECOND, times)]
    return dict(calls=calls, batch=512, lr=1e-3, n=n, seeds=seeds, rows=rows,
                second=second)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--tiny', action='store_true')
    p.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.json'))
    args = p.parse_args()
    torch.set_num_threads(1)
    about = dict(torch=importlib.metadata.version('torch'), tiny=args.tiny, threads=1)
    found = dict(about=about, roll=roll(args))
    with whole_file(args.out) as beside: beside.write_text(json.dumps(found) + '\n')
