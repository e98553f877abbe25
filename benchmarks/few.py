"""Nets for few calls on exact ground: three objectives, and pairs by the ODE.

    python benchmarks/few.py                     all parts, into benchmarks/few.json:
        about ten minutes of a quiet core
    python benchmarks/few.py --parts line
    python benchmarks/few.py --tiny --out FILE   a minute, to see that it runs

roll     the shipped weights of the Swiss roll as teacher and as start, equal numbers of
         network calls in training: distance to the ends of the teacher's own paths,
         sample by sample, and excess over fresh data with 1, 2 and 4 calls
line     a mixture of two humps on a line, whose map is known: distance to it, by the
         width of the humps
choices  the same line: the step of the teacher, and how close pairs are in the end

An excess is the mean of squared sliced W2 distances to fresh data, less the mean of
those between real sets; its error comes from the spread of both. A step of training
counts three calls for a net that learns, and one for a net that is asked. Nothing is
chosen by these numbers.
"""
import argparse, copy, importlib.metadata, json, math, platform, sys, time
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from diffusion_nbdev.ddim import ddim_step
from diffusion_nbdev.distill import (
    Consistency, Progressive, end_hat, path_ends)
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.metrics import excess, sliced_w2
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.multistep import unipc2
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.sampling import SAMPLERS, last
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.swissroll import swissroll, swissroll_units
from diffusion_nbdev.unet import PointMLP

SECOND = -1.5, 0., 1.5 # log(signal/noise) at the second time

def said(row):
    print(json.dumps(row), flush=True)
    return row

def train(model, objective, draw, steps, B, lr, seed=0):
    "A training without anything but the objective; seconds"
    torch.manual_seed(seed)
    net, start, T = model.net.train(), time.perf_counter(), model.sched.T
    optimizer = torch.optim.AdamW(net.parameters(), lr, weight_decay=0., fused=True)
    def rate(k): return min(1, (k + 1) / 50) * (1 + math.cos(math.pi * k / steps)) / 2
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    if hasattr(objective, 'prepare'): objective.prepare(model, 0.)
    for k in range(steps):
        if hasattr(objective, 'at'): objective.at(k / steps)
        x0 = draw(B)
        t = torch.randint(1, T + 1, (B,))
        loss = objective(model, x0, None, t, torch.randn_like(x0)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    net.eval()
    return round(time.perf_counter() - start, 1)

class Pairs:
    "Regression on ends that were computed before, Luhman and Luhman 2021"
    def __init__(self, z, ends): self.z, self.ends = z, ends

    def __call__(self, model, x0, c, t, eps):
        k = torch.randint(len(self.z), (len(x0),))
        out = end_hat(model, self.z[k], torch.full_like(t, model.sched.T), c)
        return (out - self.ends[k]).square().sum(1)

# -- the Swiss roll --------------------------------------------------------------------

def data(n, seed): return swissroll_units.to_model(swissroll(n, seed))

def noises(n, seed, dim=2): return SeededNoise(seed)(torch.empty(n, dim), 0)

def squared(x, y): return sliced_w2(x, y, n_proj=64) ** 2

def roll(args):
    teacher, calls = load('swissroll'), 300 if args.tiny else args.calls
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
                f = model.denoiser()
                return last(solve(f, sched, z, calls, noise=seed, **more))
        found = [squared(made(noises(n, k), k), data(n, 500 + k)) for k in range(seeds)]
        value, error = excess(found, floor)
        x = made(z, 7)
        off = (x - ends).norm(dim=1)
        return said(dict(
            what=name, calls=calls, excess=round(value, 6), error=round(error, 6),
            rms=round(off.square().mean().sqrt().item(), 4),
            median=round(off.median().item(), 4)))

    def student(): return Model(copy.deepcopy(teacher.net), sched, 'v', swissroll_units)
    rows = [scored('teacher', teacher.net, k, 'unipc2') for k in (2, 4, 20)]
    rows += [scored('teacher', teacher.net, 1, 'ddim')]
    costs = dict(distilled=6, data=4, progressive=5, pairs=3)
    seconds, lr, B = {}, 1e-3, 512

    model = student()
    objective = Consistency(teacher, last=1 / 4)
    seconds['distilled'] = train(model, objective, draw, calls // 6, B, lr)
    rows += [scored('distilled', model.net, k) for k in (1, 2, 4)]
    second = [scored('second time', model.net, None, times=[sched.T, t, 0])
              for t in (sched.t_at(2 * lam).item() for lam in SECOND)]
    for row, lam in zip(second, SECOND):
        row.update(lam=lam, calls=2)

    model = student()
    seconds['data'] = train(model, Consistency(last=1 / 64), draw, calls // 4, B, lr)
    rows += [scored('data', model.net, k) for k in (1, 2, 4)]

    model, before, rounds = student(), teacher, (16, 8, 4, 2, 1)
    seconds['progressive'] = 0
    for k in rounds:
        objective = Progressive(before, k)
        steps = calls // 5 // len(rounds)
        seconds['progressive'] += train(model, objective, draw, steps, B, lr)
        model.few = objective.few
        if k <= 4: rows += [scored('progressive', model.net, k, 'ddim')]
        before = copy.deepcopy(model)

    model, num = student(), 200 if args.tiny else 10_000
    start = time.perf_counter()
    some = noises(num, 5)
    with torch.no_grad(): aims = last(unipc2(f, sched, some, n=20))
    steps = (calls - 20 * math.ceil(num / B)) // 3
    seconds['pairs'] = time.perf_counter() - start
    seconds['pairs'] += train(model, Pairs(some, aims), draw, max(10, steps), B, lr)
    rows += [scored('pairs', model.net, 1)]
    floor_mean = sum(floor) / len(floor)
    return dict(calls=calls, batch=B, lr=lr, n=n, seeds=seeds, costs=costs,
                floor=round(floor_mean, 6), rows=rows, second=second,
                seconds={k: round(v) for k, v in seconds.items()})

# -- two humps on a line ---------------------------------------------------------------

class Humps(nn.Module):
    "The exact v of two humps at -1 and 1, in float32"
    def __init__(self, sched, std):
        super().__init__()
        self.sched, self.std = sched, std

    def forward(self, xt, t, c=None):
        signal, noise = (a.to(xt).reshape(-1, 1) for a in self.sched.coefficients(t))
        var = (signal * self.std) ** 2 + noise ** 2
        tanh = torch.tanh(signal * xt / var)
        x0 = tanh + signal * self.std ** 2 / var * (xt - signal * tanh)
        # v = (signal xt - x0) / noise
        return (signal * xt - x0) / noise

def quantiles(z, std, sched):
    "Where the flow leads: the same share of the data lies below"
    z = z.double()
    a, b = sched.signal(sched.T).item(), sched.noise(sched.T).item()
    def below(x, a, b):
        size = math.sqrt((a * std) ** 2 + b ** 2)
        halves = [torch.special.ndtr((x - m * a) / size) for m in (-1, 1)]
        return sum(halves) / 2
    want, low, high = below(z, a, b), -6 + 0 * z, 6 + 0 * z
    for _ in range(60):
        mid = (low + high) / 2
        under = below(mid, 1., 0.) < want
        low, high = torch.where(under, mid, low), torch.where(under, high, mid)
    return high.float()

class ByDDIM(Consistency):
    "The teacher's step is one of DDIM"
    def earlier(self, model, x0, c, xt, t, s, eps):
        with torch.no_grad():
            return ddim_step(model.sched, xt, self.teacher.denoiser()(xt, t), t, s)[0]

def on_line(name, std, objective, steps, seed=0):
    sched, units = cosine_schedule(500), Units([1])
    torch.manual_seed(seed)
    model = Model(PointMLP(dim=1, width=32, depth=2), sched, 'v', units)
    exact = Model(Humps(sched, std), sched, 'v', units)
    def draw(B):
        return (2. * torch.randint(2, (B, 1)) - 1) + std * torch.randn(B, 1)
    z = noises(4000, 1, 1)
    want = quantiles(z, std, sched)
    seconds = train(model, objective(exact), draw, steps, 1024, 4e-3, seed)
    with torch.no_grad(): got = end_hat(model, z, torch.tensor([sched.T]), None)
    rms = (got - want).square().mean().sqrt().item()
    grid = torch.linspace(-2, 2, 161)[:, None]
    with torch.no_grad(): curve = end_hat(model, grid, torch.tensor([sched.T]), None)
    return said(dict(what=name, std=std, steps=steps, rms=round(rms, 4),
                     seconds=seconds)) | dict(
        curve=[round(v, 3) for v in curve.flatten().tolist()])

def exact_pairs(std):
    def objective(exact):
        z = noises(20_000, 2, 1)
        return Pairs(z, quantiles(z, std, exact.sched))
    return objective

def line(args):
    steps, rows = 20 if args.tiny else 800, []
    def taught(exact): return Consistency(exact, last=1 / 4)
    for std in (0.4, 0.3, 0.1):
        rows.append(on_line('distilled', std, taught, steps))
        rows.append(on_line('pairs', std, exact_pairs(std), steps))
    rows.append(on_line('data', 0.4, lambda e: Consistency(last=1 / 32), steps))
    return dict(batch=1024, lr=4e-3, rows=rows)

def choices(args):
    steps, rows = 10 if args.tiny else 300, []
    for part in (2, 4, 8):
        def by_two(e): return Consistency(e, last=1 / part)
        rows.append(on_line(f'half-way, 1/{part}', 0.4, by_two, steps))
    for part in (4, 16):
        def by_one(e): return ByDDIM(e, last=1 / part)
        rows.append(on_line(f'DDIM, 1/{part}', 0.4, by_one, steps))
    def by_square(e): return Consistency(e, last=1 / 4, scale=10.)
    rows.append(on_line('half-way, 1/4, squares', 0.4, by_square, steps))
    for row in rows: del row['curve']
    return dict(batch=1024, lr=4e-3, rows=rows)

PARTS = dict(line=line, roll=roll, choices=choices)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--parts', nargs='+', default=list(PARTS), choices=PARTS)
    p.add_argument('--calls', type=int, default=3000, help='of a training on the roll')
    p.add_argument('--tiny', action='store_true')
    p.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.json'))
    args = p.parse_args()
    torch.set_num_threads(1)
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    for part in args.parts:
        about = dict(torch=importlib.metadata.version('torch'), tiny=args.tiny,
                     machine=platform.machine(), threads=1)
        found[part] = dict(about=about, **PARTS[part](args))
        with whole_file(args.out) as beside:
            beside.write_text(json.dumps(found) + '\n')
