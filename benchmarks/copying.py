"""Copying or inventing: whether the copy test keeps its level, when a net begins to
recite, what patches explain, and what the shipped weights do.

    python benchmarks/copying.py
        all parts but the last, about twenty minutes of one core, into
        benchmarks/copying.json
    python benchmarks/copying.py --parts shipped --data DIR
        the shipped digits; DIR holds MNIST, as `diffusion fit --data.data_dir` has it
    python benchmarks/copying.py --tiny --out FILE
        half a minute, to see that it runs

level    real digits against real ones, 1,000 draws: how often the test calls them
         copiers at 5 %; and the oracles of n images
onset    8 x 8 digits, one small net, n images, fixed batch and constant rate: the
         update at which a share of the samples is nearer to the training set
width    the same for 100 images and nets of several widths
guided   a net of 100 images with classes, sampled with guidance of several weights
local    a convolutional net that sees patches of 5 x 5 pixels, beside the closed-form
         machine of patches, from the same noise
shipped  `mnist_cond` and `mnist_uncond`: samples nearer to 10,000 images trained on
         than to the 10,000 test images; beside them validation images, which no weight
         has learnt from
"""
import argparse, importlib.metadata, json, math, platform, subprocess, sys, time
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.stats import linregress, t as student
from sklearn.datasets import load_digits
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from diffusion_nbdev.copying import LocalMachine, copy_test
from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.embedding import Embedding, FiLM
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.guidance import denoiser
from diffusion_nbdev.model import load
from diffusion_nbdev.oracles import dataset_oracle
from diffusion_nbdev.pictures import MNISTData
from diffusion_nbdev.sampling import last
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.unet import PointMLP

SCHED = cosine_schedule(1000)

def seeded(seed): return torch.Generator().manual_seed(seed)

def shuffled(seed):
    "The bundled digits, 8 x 8 pixels in [-1, 1], in an order of their own for a seed"
    x = torch.from_numpy(load_digits().images)[:, None] / 8 - 1
    return x[torch.randperm(len(x), generator=seeded(seed))]

def row(found, **more):
    return dict(more, share=round(found.share, 4), std=round(found.std, 4),
                p=round(found.p, 4), num=found.num, n=found.n)

# -- the level of the test -------------------------------------------------------------

def level(args):
    rejected, shares, trials, n = 0, [], 20 if args.tiny else 1000, 200
    for seed in range(trials):
        found = copy_test(*shuffled(seed)[:3 * n].split(n), draws=199, seed=seed)
        rejected += found.p <= 0.05
        shares.append((found.share - 0.5) / found.std)
    oracles = []
    for few in (25, 50, 100, 200):
        x = shuffled(0)
        z = torch.randn(50 if args.tiny else 500, 1, 8, 8, dtype=torch.float64,
                        generator=seeded(1))
        y = last(ddim(dataset_oracle(SCHED, x[:few]), SCHED, z, n=50))
        oracles.append(row(copy_test(y, x[:few], x[few:2 * few])))
    shares = torch.tensor(shares)
    return dict(trials=trials, n=n, num=n, draws=199, rejected=rejected,
                rate=rejected / trials, z_mean=round(shares.mean().item(), 4),
                z_std=round(shares.std().item(), 4), oracles=oracles)

# -- when a net begins to copy ---------------------------------------------------------

NET, BATCH, RATE = dict(dim=64, width=128, depth=3), 64, 2e-3
# a look at 300 samples after 300 updates, and then after 1.3 times as many
FIRST, EACH, SAMPLES = 300., 1.3, 300
LEVELS = 0.8, 0.9

# of the labels, in training
DROP = 0.1

def updates(net, x, batch, rate, c=None):
    "Endless updates by the simple loss for v, with a constant rate"
    t = torch.arange(SCHED.T + 1)
    shape = -1, *[1] * (x.ndim - 1)
    signal, noise = (f(t).float().view(shape) for f in (SCHED.signal, SCHED.noise))
    adam = torch.optim.Adam(net.parameters(), rate, fused=True)
    while True:
        rows = torch.randint(len(x), (batch,))
        x0, known = x[rows], None
        if c is not None:
            known = torch.where(torch.rand(batch) < DROP, -1, c[rows])
        t = torch.randint(1, SCHED.T + 1, (batch,))
        eps = torch.randn_like(x0)
        xt, v = signal[t] * x0 + noise[t] * eps, signal[t] * eps - noise[t] * x0
        loss = (net(xt, t, known) - v).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield loss.item()

def crossing(steps, shares, at):
    """The update at which a share first reaches a level, between two looks on the scale
    of log updates; None if it never does"""
    for k, share in enumerate(shares):
        if share < at: continue
        if not k: return steps[0]
        part = (at - shares[k - 1]) / (share - shares[k - 1])
        return round(steps[k - 1] * (steps[k] / steps[k - 1]) ** part)

def curve(n, seed, most, width=NET['width']):
    "The share of one training at every look, until it is above the highest level"
    x = shuffled(100 + seed)
    train, held_out = x[:n].flatten(1), x[n:2 * n].flatten(1)
    torch.manual_seed(seed)
    net = PointMLP(**dict(NET, width=width))
    steps, shares, look = [], [], FIRST
    for k, _ in enumerate(updates(net, train.float(), BATCH, RATE), 1):
        if k < look: continue
        look *= EACH
        net.eval()
        z = torch.randn(SAMPLES, 64)
        y = last(ddim(denoiser(net, SCHED), SCHED, z, n=20)).double()
        net.train()
        steps.append(k)
        shares.append(round(copy_test(y, train, held_out, draws=1).share, 4))
        print(n, width, seed, k, shares[-1], flush=True)
        if shares[-1] > max(LEVELS) or k >= most: break
    return dict(n=n, seed=seed, steps=steps, shares=shares,
                **{f'at_{a}': crossing(steps, shares, a) for a in LEVELS})

def slope(rows, at):
    "Exponent of updates against n, 95 % interval over trainings; None for too few"
    pairs = [(math.log(r['n']), math.log(r[at])) for r in rows if r[at]]
    if len({a for a, _ in pairs}) < 2 or len(pairs) < 3: return None
    fit = linregress(*zip(*pairs))
    half = student.ppf(0.975, len(pairs) - 2) * fit.stderr
    return dict(slope=round(fit.slope, 3), low=round(fit.slope - half, 3),
                high=round(fit.slope + half, 3), trainings=len(pairs))

def there(args, part, **what):
    "The trainings that the file has already, if it was made in this way"
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    old = found.get(part, {})
    return old['rows'] if old and {**old, **what} == old else []

HOW = dict(net=f'PointMLP{NET}', batch=BATCH, rate=RATE, samples=SAMPLES)

def onset(args):
    rows, sizes = there(args, 'onset', **HOW), (25, 50) if args.tiny else args.sizes
    for seed in range(1 if args.tiny else args.seeds):
        for n in sizes:
            if any((r['n'], r['seed']) == (n, seed) for r in rows): continue
            start = time.process_time()
            found = curve(n, seed, 200 if args.tiny else args.most)
            rows.append(dict(found, seconds=round(time.process_time() - start, 1)))
            keep(args, 'onset', onset_of(rows))
    return onset_of(rows)

def onset_of(rows):
    return dict(HOW, rows=rows, fits={f'{a:g}': slope(rows, f'at_{a}') for a in LEVELS})

# -- what a wider net does, and guidance -----------------------------------------------

# beside the 128 of the part onset
WIDTHS = 32, 256

def width(args):
    "Curves of 100 images for nets of several widths"
    n = 25 if args.tiny else 100
    rows = there(args, 'width', n=n, **HOW)
    for seed in range(1 if args.tiny else args.seeds):
        for wide in WIDTHS:
            if any((r['width'], r['seed']) == (wide, seed) for r in rows): continue
            start = time.process_time()
            found = curve(n, seed, 200 if args.tiny else args.most, wide)
            net = PointMLP(**dict(NET, width=wide))
            weights = sum(p.numel() for p in net.parameters())
            rows.append(dict(found, width=wide, weights=weights,
                             seconds=round(time.process_time() - start, 1)))
            keep(args, 'width', dict(HOW, n=n, rows=rows))
    return dict(HOW, n=n, rows=rows)

LOOKS, GUIDANCE = (500, 1000, 2000, 4000, 8000), (0., 1., 3.)

def guided(args):
    "Shares under guidance, of nets of 100 images that know their classes"
    rows, n, looks = [], 25 if args.tiny else 100, (20, 40) if args.tiny else LOOKS
    for seed in range(1 if args.tiny else args.seeds):
        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=seeded(100 + seed))
        x, c = shuffled(100 + seed).flatten(1), torch.from_numpy(digits.target)[order]
        torch.manual_seed(seed)
        net = PointMLP(**NET, n_classes=10)
        for k, _ in enumerate(updates(net, x[:n].float(), BATCH, RATE, c[:n]), 1):
            if k not in looks: continue
            net.eval()
            z, asked = torch.randn(SAMPLES, 64), torch.arange(SAMPLES) % 10
            for w in GUIDANCE:
                f = denoiser(net, SCHED, c=asked, w=w)
                y = last(ddim(f, SCHED, z, n=20)).double()
                found = copy_test(y, x[:n], x[n:2 * n])
                rows.append(row(found, seed=seed, updates=k, w=w))
                print(rows[-1], flush=True)
            net.train()
            if k == max(looks): break
    return dict(drop_class=DROP, rows=rows)

# -- what patches explain --------------------------------------------------------------

class LocalNet(nn.Module):
    """Two convolutions of 3 x 3 and two of 1 x 1: every pixel of the answer comes from
    5 x 5 pixels of the state"""
    n_classes = 0
    def __init__(self, width=48):
        super().__init__()
        self.embed = Embedding(40)
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(2 * width, 1, 1)
        self.film = nn.ModuleList(FiLM(w, 40) for w in (width, width, 2 * width))
    def forward(self, xt, t, c=None):
        e, h = self.embed(t, c, len(xt)), xt
        for layer, film in zip((self.first, self.second, self.third), self.film):
            h = F.silu(film(layer(h), e))
        return self.out(h)

def alike(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

def summary(x):
    x = torch.tensor(x)
    error = x.std() / len(x) ** 0.5
    return dict(mean=round(x.mean().item(), 4), error=round(error.item(), 4),
                median=round(x.median().item(), 4))

def local(args):
    n, num = 100, 10 if args.tiny else 100
    steps = 30 if args.tiny else args.updates
    x = shuffled(200)
    train, held_out = x[:n], x[n:2 * n]
    torch.manual_seed(0)
    net, start, losses = LocalNet(), time.process_time(), []
    for k, loss in enumerate(updates(net, train.float(), 32, RATE), 1):
        losses.append(loss)
        if k == steps: break
    net.eval()
    seconds = round(time.process_time() - start, 1)
    z = torch.randn(num, 1, 8, 8, generator=seeded(1))
    drawn = last(ddim(denoiser(net, SCHED), SCHED, z, n=20)).double()
    rows, pictures = [], dict(net=drawn)
    for side in (3, 5, 7, 15):
        y = last(ddim(LocalMachine(SCHED, train, side), SCHED, z.double(), n=20))
        pictures[f'patches of {side}'] = y
        own = [alike(a, b) for a, b in zip(drawn, y)]
        other = [alike(a, b) for a, b in zip(drawn, y.roll(1, 0))]
        rows.append(dict(side=side, own=summary(own), other=summary(other),
                         copies=row(copy_test(y, train, held_out))))
        print(rows[-1], flush=True)
    shown = {k: ((y[:8, 0].clamp(-1, 1) + 1) * 127.5).round().int().flatten(1).tolist()
             for k, y in pictures.items()}
    loss = sum(losses[-100:]) / len(losses[-100:])
    return dict(net='two convolutions of 3 x 3, two of 1 x 1, width 48', n=n, num=num,
                updates=steps, batch=32, rate=RATE, seconds=seconds,
                loss=round(loss, 4), calls=20, rows=rows,
                copies=row(copy_test(drawn, train, held_out)), shown=shown)

# -- the shipped weights ---------------------------------------------------------------

RUNS = ('mnist_cond', {}), ('mnist_uncond', {}), ('mnist_cond', dict(w=4.))

def shipped(args):
    if not args.data: sys.exit('shipped: needs --data DIR, the folder of MNIST')
    data = MNISTData(data_dir=args.data)
    data.setup()
    train, held_out, test = (data._rows[part][0].double() / 255
                             for part in ('train', 'val', 'test'))
    n, num = (200, 20) if args.tiny else (10_000, args.n)
    train = train[torch.randperm(len(train), generator=seeded(0))[:n]]
    test, rows = test[:n], []
    def add(x, **what):
        rows.append(row(copy_test(x, train, test), **what))
        print(rows[-1], flush=True)
    add(held_out[:num], what='validation images')
    for name, options in RUNS:
        model = load(name)
        c = torch.arange(num) % 10 if model.n_classes else None
        x = model.generate('ddim', n=20, num=num, c=c, seed=1, **options).clamp(0, 1)
        add(x, what=name, sampler='ddim', calls=model.calls, **options)
    return dict(rows=rows)

PARTS = dict(level=level, onset=onset, width=width, guided=guided, local=local,
             shipped=shipped)

def keep(args, part, result):
    "A part into the file, beside what others have written meanwhile"
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    options = dict(onset=['--seeds', str(args.seeds), '--most', str(args.most)],
                   shipped=['--data', 'DIR'], guided=['--seeds', str(args.seeds)])
    options['width'] = options['onset']
    options['local'] = ['--updates', str(args.updates)]
    options['shipped'] += ['--n', str(args.n)]
    command = ['python', 'benchmarks/copying.py', '--parts', part,
               *options.get(part, []), *(['--tiny'] if args.tiny else [])]
    about = dict(command=' '.join(command), commit=commit,
                 machine=f'{platform.machine()}, 1 thread',
                 versions={k: importlib.metadata.version(k)
                           for k in ('torch', 'scikit-learn', 'numpy')})
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    found[part] = dict(about=about, **result)
    with whole_file(args.out) as beside:
        beside.write_text(json.dumps(found, indent=1) + '\n')

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', help='folder of the data set')
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'copying.json')
    p.add_argument('--parts', nargs='+', choices=PARTS,
                   default=[part for part in PARTS if part != 'shipped'])
    p.add_argument('--sizes', nargs='+', type=int, default=[50, 100, 200],
                   help='onset: images trained on')
    p.add_argument('--seeds', type=int, default=3,
                   help='onset: trainings of each size')
    p.add_argument('--most', type=int, default=60_000, help='onset: updates at most')
    p.add_argument('--updates', type=int, default=3000,
                   help='local: updates of the net')
    p.add_argument('--n', type=int, default=1000, help='shipped: samples')
    p.add_argument('--tiny', action='store_true', help='a little of everything')
    args = p.parse_args()
    torch.set_num_threads(1)
    for part in args.parts: keep(args, part, PARTS[part](args))

if __name__ == '__main__': main()
