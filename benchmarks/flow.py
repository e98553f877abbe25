"""One law, and straight lines: every churn on an exact density, three paths for one
net, couplings, reflow, and what a coupling does to labels.

    python benchmarks/flow.py
        all parts, about ten minutes of one core, into benchmarks/flow.json
    python benchmarks/flow.py --parts sibling --epochs 200
        two trainings as long as the configs have them
    python benchmarks/flow.py --tiny --out FILE
        half a minute, to see that it runs

churn     the exact denoiser of four clusters: excess of eight seeds
paths     one net on the paths vp, flow and ve, equal steps, each as its papers have it
velocity  a flow's velocities beside the closed form, on a training of its own
straight  independent pairs, pairs by optimal transport in a batch, reflow: curvature,
          and excess with 1, 2 and 50 calls
labels    four labelled clusters: pairs by optimal transport in a batch, within a class
          or across classes, and samples of each class
sibling   the configs swissroll and swissroll_flow, trained alike: excess of both

An excess is the mean of squared sliced W2 distances to fresh data, less the mean of
those between real sets; its error comes from the spread of both. Nothing is chosen by
these numbers.
"""
import argparse, importlib.metadata, json, os, platform, subprocess, sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.ddpm import diffusion_loss, draw_times
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.flow import flow_schedule, sde
from diffusion_nbdev.guidance import denoiser
from diffusion_nbdev.metrics import excess, sliced_w2
from diffusion_nbdev.model import load
from diffusion_nbdev.multistep import unipc2
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import oracle_net, ring_mixture, swissroll_oracle
from diffusion_nbdev.orders import small_mixture
from diffusion_nbdev.samplers import dpmpp_2m
from diffusion_nbdev.sampling import last
from diffusion_nbdev.schedules import cosine_schedule, diffuse, linear_schedule
from diffusion_nbdev.straight import (
    Preconditioned, coupled, curvature, edm_schedule, edm_weight)
from diffusion_nbdev.swissroll import swissroll, swissroll_units
from diffusion_nbdev.unet import PointMLP

def roll(n, seed): return swissroll_units.to_model(swissroll(n, seed))

def noises(n, seed): return SeededNoise(seed)(torch.empty(n, 2), 0)

def squared(x, y): return sliced_w2(x, y, n_proj=64) ** 2

def excess_of(made, real, seeds):
    "Excess of made(seed) over real(seed), and its standard error"
    floor = [squared(real(1000 + 2 * k), real(1001 + 2 * k)) for k in range(seeds)]
    found = [squared(made(k), real(500 + k)) for k in range(seeds)]
    value, error = excess(found, floor)
    return dict(excess=round(value, 6), error=round(error, 6))

def said(row):
    print(json.dumps(row), flush=True)
    return row

# -- every churn on an exact density ---------------------------------------------------

def churn(args):
    sched, n = linear_schedule(1000), 300 if args.tiny else 2000
    ring = ring_mixture(sched)
    f, real = small_mixture(ring), lambda seed: ring.sample(n, seed)[0]
    rows = []
    for value in (0., 0.5, 1., 2.):
        def made(seed):
            z = noises(n, seed)
            return last(sde(f, sched, z, n=100, noise=seed, churn=value)).float()
        rows.append(said(dict(churn=value, **excess_of(made, real, 8))))
    return dict(n=n, seeds=8, steps=100, rows=rows)

# -- training --------------------------------------------------------------------------

def train(net, sched, pred, pairs, steps, seed, weight=None, lr=4e-3, B=256,
          times='uniform'):
    "A net from scratch, Adam; the learning rate rises for 5 % of the steps, then falls"
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.05)
    for k in range(steps):
        x0, eps, c = pairs(B)
        t = draw_times(sched.T, B, times=times)
        loss = diffusion_loss(net, sched, x0, c, pred, weight=weight, t=t, eps=eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(), rate.step()
    return net.eval()

def small_net(seed, n_classes=0):
    torch.manual_seed(1000 + seed)
    return PointMLP(dim=2, width=64, depth=3, n_classes=n_classes)

def independent(data):
    def pairs(B):
        x0 = data[torch.randint(len(data), (B,))]
        return x0, torch.randn_like(x0), None
    return pairs

def by_transport(data):
    draw = independent(data)
    def pairs(B):
        x0, eps, _ = draw(B)
        return x0, coupled(x0, eps), None
    return pairs

# -- one net on three paths ------------------------------------------------------------

def paths(args):
    steps, seeds, n = (60, 2, 300) if args.tiny else (400, 4, 5000)
    rows = []
    kinds = [(name, 'uniform') for name in ('vp', 'flow', 've')]
    for name, times in (*kinds, ('flow', 'logit_normal')):
        for seed in range(seeds):
            data, net = roll(100_000, 77 + seed), small_net(seed)
            if name == 'vp':
                sched, pred, weight = cosine_schedule(500), 'v', None
            elif name == 'flow':
                sched, pred, weight = flow_schedule(500), 'flow', None
            else:
                sched, pred, weight = edm_schedule(500), 'x0', edm_weight
                net = Preconditioned(net, sched)
            net = train(net, sched, pred, independent(data), steps, seed, weight,
                        times=times)
            f = denoiser(net, sched, pred=pred, clip=2.5)
            def made(k):
                z = sched.noise(sched.T).item() * noises(n, k)
                return last(dpmpp_2m(f, sched, z, n=40, times='logsnr'))
            found = excess_of(made, lambda k: roll(n, k), 4)
            what = dict(path=name, pred=pred, times=times, seed=seed)
            rows.append(said(dict(**what, **found)))
    return dict(n=n, steps=steps, batch=256, calls=40, rows=rows)

# -- velocities beside the closed form -------------------------------------------------

def velocity(args):
    steps, n = (60, 300) if args.tiny else (4000, 20_000)
    sched, seed = flow_schedule(500), 100
    pairs = independent(roll(100_000, 177))
    net = train(small_net(seed), sched, 'flow', pairs, steps, seed)
    exact = oracle_net(swissroll_oracle(sched, std=swissroll_units.std), 'flow')
    rows, off, size = [], 0., 0.
    for k, t in enumerate(range(25, 501, 25)):
        x0 = roll(n, 300 + k)
        xt = diffuse(sched, x0, t, noises(n, 300 + k))
        with torch.no_grad():
            want = exact(xt, t)
            wrong = (net(xt, torch.tensor([t])) - want).square().mean().item()
        want = want.square().mean().item()
        off, size = off + wrong, size + want
        rows.append(said(dict(u=t / 500, rms=round((wrong / want) ** 0.5, 4))))
    rms = round((off / size) ** 0.5, 4)
    return dict(n=n, steps=steps, batch=256, rms=rms, rows=rows)

# -- couplings and reflow --------------------------------------------------------------

def measured(net, sched, n, what, seed):
    f = denoiser(net, sched, pred='flow')
    bend = curvature(f, sched, noises(min(n, 2000), 900))
    row = dict(what=what, seed=seed, curvature=round(bend, 5))
    for calls in (1, 2, 50):
        def made(k):
            return last(ddim(f, sched, noises(n, k), n=calls, times='trailing'))
        row[f'{calls} calls'] = excess_of(made, lambda k: roll(n, k), 4)
    return said(row)

def straight(args):
    steps, seeds, n = (60, 1, 300) if args.tiny else (1500, 3, 5000)
    sched, rows = flow_schedule(500), []
    for seed in range(seeds):
        data = roll(100_000, 277 + seed)
        first = train(small_net(seed), sched, 'flow', independent(data), steps, seed)
        rows.append(measured(first, sched, n, 'independent', seed))
        eps = noises(200 if args.tiny else 20_000, 700 + seed)
        f = denoiser(first, sched, pred='flow')
        x0 = last(unipc2(f, sched, eps, n=30, times='trailing'))
        def pairs(B):
            k = torch.randint(len(x0), (B,))
            return x0[k], eps[k], None
        again = train(small_net(seed), sched, 'flow', pairs, steps, seed)
        rows.append(measured(again, sched, n, 'reflow', seed))
        net = train(small_net(seed), sched, 'flow', by_transport(data), steps, seed)
        rows.append(measured(net, sched, n, 'transport', seed))
    return dict(n=n, steps=steps, batch=256, rows=rows)

# -- what a coupling does to labels ----------------------------------------------------

def labels(args):
    steps, seeds, n = (60, 1, 300) if args.tiny else (1000, 1, 5000)
    sched, rows = flow_schedule(500), []
    ring = ring_mixture(sched)
    for seed in range(seeds):
        data, own = ring.sample(100_000, 30 + seed)
        def pairs(B, how):
            k = torch.randint(len(data), (B,))
            x0, c, eps = data[k], own[k], torch.randn(B, 2)
            if how == 'across classes': eps = coupled(x0, eps)
            if how == 'within a class': eps = coupled(x0, eps, c)
            return x0, eps, c
        for how in ('independent', 'across classes', 'within a class'):
            net = train(small_net(seed, 4), sched, 'flow', lambda B: pairs(B, how),
                        steps, seed)
            f = denoiser(net, sched, pred='flow', c=0)
            def made(k):
                return last(dpmpp_2m(f, sched, noises(n, k), n=40, times='trailing'))
            found = excess_of(made, lambda k: ring.sample(n, k, c=0)[0], 4)
            rows.append(said(dict(pairs=how, seed=seed, **found)))
    return dict(n=n, steps=steps, batch=256, rows=rows)

# -- two configs -----------------------------------------------------------------------

def trained(name, epochs, args):
    "A model of a packaged config, trained by the command line"
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        few = ['--data.n_train', '2000'] if args.tiny else []
        command = [sys.executable, '-m', 'diffusion_nbdev', 'fit', '--config', name,
                   '--trainer.max_epochs', str(epochs), '--pictures', '0', *few]
        subprocess.run(command, cwd=folder, check=True, capture_output=True,
                       env={**os.environ, 'PYTHONPATH': str(ROOT)})
        weights, = Path(folder).rglob('model.safetensors')
        return load(str(weights))

def sibling(args):
    n, seeds, epochs = (300, 2, 1) if args.tiny else (10_000, 4, args.epochs)
    rows = []
    for name in ('swissroll', 'swissroll_flow'):
        model = trained(name, epochs, args)
        for sampler, calls in (('ddim', 50), ('dpmpp_2m', 20)):
            def made(k):
                return model.generate(sampler, n=calls, num=n, seed=k)
            found = excess_of(made, swissroll, seeds)
            rows.append(said(dict(config=name, sampler=sampler, calls=calls, **found)))
    return dict(n=n, seeds=seeds, epochs=epochs, rows=rows)

PARTS = dict(churn=churn, paths=paths, velocity=velocity, straight=straight,
             labels=labels, sibling=sibling)

def keep(args, part, result):
    "A part into the file, beside what others have written meanwhile"
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    command = ['python', 'benchmarks/flow.py', '--parts', part,
               *(['--epochs', str(args.epochs)] if part == 'sibling' else []),
               *(['--tiny'] if args.tiny else [])]
    about = dict(command=' '.join(command), commit=commit,
                 machine=f'{platform.machine()}, 1 thread',
                 versions={k: importlib.metadata.version(k)
                           for k in ('torch', 'scipy', 'numpy')})
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    found[part] = dict(about=about, **result)
    with whole_file(args.out) as beside:
        beside.write_text(json.dumps(found, indent=1) + '\n')

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'flow.json')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=[*PARTS])
    p.add_argument('--epochs', type=int, default=20,
                   help='sibling: length of a training; the configs have 200')
    p.add_argument('--tiny', action='store_true', help='a little of everything')
    args = p.parse_args()
    torch.set_num_threads(1)
    for part in args.parts: keep(args, part, PARTS[part](args))

if __name__ == '__main__': main()
