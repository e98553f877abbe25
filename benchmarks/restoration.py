"""Restoration on posteriors that are known: how far each method is from the truth, how
well it is calibrated, what it costs; and half digits, judged by a reader.

    python benchmarks/restoration.py
        the parts `ring`, `particles`, `evidence` and `cost`, some minutes of one core,
        into benchmarks/restoration.json
    python benchmarks/restoration.py --parts halves --data DIR
        half digits of the test images; DIR holds MNIST, as `diffusion fit` has it
    python benchmarks/restoration.py --tiny --out FILE
        half a minute, to see that it runs

ring       the ring of four Gaussians, one number measured, three levels of noise:
           squared sliced distance to exact samples, less the mean of that of two exact
           sets, with its standard error over measurements; rank histograms of what was
           not measured; calls, products and seconds
particles  twisted Monte Carlo, over particles and steps, against exact samples
evidence   its estimate of the evidence of a Gaussian chain, over the truth
cost       what a call with a product, and one without gradients, costs in plain calls
halves     test digits of which the left half is shown: known pixels, the class that is
           read where the half determines it, and the variety where it does not
"""
import argparse, importlib.metadata, json, math, platform, sys, time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from diffusion_nbdev.ddpm import ddpm, posterior
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.judge import digit_features, load_extractor
from diffusion_nbdev.measuring import by_matrix, masked
from diffusion_nbdev.metrics import sliced_w2
from diffusion_nbdev.model import load
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import gaussian_oracle, ring_mixture
from diffusion_nbdev.particles import twisted
from diffusion_nbdev.pictures import MNISTData
from diffusion_nbdev.restoration import (
    Posterior, dps, mmps, pigdm, projected, replaced)
from diffusion_nbdev.sampling import checked_times, last
from diffusion_nbdev.schedules import cosine_schedule

SCHED = cosine_schedule(1000)
RING = ring_mixture(SCHED)
A = torch.tensor([[1., 0.5]], dtype=torch.float64)
LEVELS = 0.1, 0.25, 0.5

def mean_error(values):
    "Mean and standard error"
    values = torch.tensor(values, dtype=torch.float64)
    error = values.std() / len(values) ** 0.5 if len(values) > 1 else values[0]
    return round(values.mean().item(), 6), round(error.item(), 6)

def noise_of(n, seed, dtype=torch.float64):
    return SeededNoise(seed)(torch.empty(n, 2, dtype=dtype), 0)

# -- the ring --------------------------------------------------------------------------

METHODS = dict( # name -> wrapper of the denoiser
    projected=lambda look, y: projected(RING, SCHED, look, y),
    dps=lambda look, y: dps(RING, SCHED, look, y),
    pigdm=lambda look, y: pigdm(RING, SCHED, look, y),
    mmps=lambda look, y: mmps(RING, SCHED, look, y, most=1))

def drawn(name, look, y, n, seed):
    "Samples of a method, calls and products for each"
    if name == 'exact':
        return Posterior(RING, look, y).sample(n, seed), 0, 0
    if name == 'particles':
        groups = y.expand(math.ceil(n / 256), 1)
        found = twisted(RING, SCHED, look, groups, 256, 100, seed=seed)
        return found.x.flatten(0, 1)[:n], 100, 100
    f = METHODS[name](look, y)
    x = last(ddpm(f, SCHED, noise_of(n, seed), n=100, noise=seed))
    products = getattr(f, 'products', 0)
    return x, 100, 100 * products

def excess_of(x, truth, n, seed):
    "Squared distance to exact samples, less the mean of that of two exact sets"
    right = truth.sample(n, 10_000 + seed)
    floors = [sliced_w2(truth.sample(n, 20_000 + 10 * seed + k), right) ** 2
              for k in range(4)]
    return sliced_w2(x.double(), right) ** 2 - sum(floors) / len(floors)

ACROSS = torch.tensor([-0.5, 1.], dtype=torch.float64) / 1.25 ** 0.5

def rank_of(x0, x):
    "Which share of the samples lies below the truth, along what was not measured"
    return ((x.double() @ ACROSS) < (x0 @ ACROSS)).double().mean().item()

def histogram(ranks, bins=8):
    return torch.tensor(ranks).mul(bins).floor().clamp(max=bins - 1).long().bincount(
        minlength=bins).tolist()

def chi2(counts):
    "Of a flat histogram; its mean is one less than the bins"
    want = sum(counts) / len(counts)
    return round(sum((c - want) ** 2 for c in counts) / want, 2)

def ring(args):
    n, sets = (200, 2) if args.tiny else (2000, 6)
    trials, few = (8, 50) if args.tiny else (200, 100)
    rows = []
    for std in LEVELS:
        look = by_matrix(A, std=std)
        x0 = RING.sample(max(sets, trials), 77, dtype=torch.float64)[0]
        y = look(x0, 78)
        for name in ('exact', *METHODS, 'particles'):
            found, start = [], time.process_time()
            for k in range(sets):
                x, calls, products = drawn(name, look, y[k:k + 1], n, k)
                truth = Posterior(RING, look, y[k:k + 1])
                found.append((x, truth))
            seconds = time.process_time() - start
            gaps = [excess_of(x, truth, n, k) for k, (x, truth) in enumerate(found)]
            excess, error = mean_error(gaps)
            counts = histogram(ranks_of(name, look, x0[:trials], y[:trials], few))
            rows.append(dict(std=std, method=name, excess=excess, error=error, n=n,
                             sets=sets, calls=calls, products=products,
                             seconds=round(seconds / sets, 3), ranks=counts,
                             chi2=chi2(counts)))
            print(rows[-1], flush=True)
    return dict(steps=100, rows=rows)

def ranks_of(name, look, x0, y, few):
    "Ranks of the truth among samples, for many measurements at once"
    trials = len(x0)
    if name == 'exact':
        return [rank_of(x0[i], Posterior(RING, look, y[i:i + 1]).sample(few, 500 + i))
                for i in range(trials)]
    if name == 'particles':
        found = twisted(RING, SCHED, look, y, few, 100, seed=500)
        return [rank_of(a, b) for a, b in zip(x0, found.x)]
    f = METHODS[name](look, y.repeat_interleave(few, 0))
    x = last(ddpm(f, SCHED, noise_of(few * trials, 5), n=100, noise=5))
    return [rank_of(a, b) for a, b in zip(x0, x.split(few))]

# -- particles -------------------------------------------------------------------------

def particles(args):
    look, y = by_matrix(A, std=0.25), torch.tensor([[0.9]], dtype=torch.float64)
    truth = Posterior(RING, look, y)
    sets, total = (2, 256) if args.tiny else (6, 4096)
    rows = []
    for n in (25, 50) if args.tiny else (25, 100, 400):
        for N in (4, 256) if args.tiny else (4, 32, 256, 4096):
            gaps, seconds = [], time.process_time()
            for k in range(sets):
                groups = y.expand(max(1, total // N), 1)
                x = twisted(RING, SCHED, look, groups, N, n, seed=k).x.flatten(0, 1)
                gaps.append(excess_of(x, truth, len(x), k))
            excess, error = mean_error(gaps)
            seconds = round(time.process_time() - seconds, 1)
            rows.append(dict(n=n, N=N, excess=excess, error=error, samples=len(x),
                             sets=sets, seconds=seconds))
            print(rows[-1], flush=True)
    return dict(rows=rows)

def gaussian_chain(data, n):
    "Mean and variance of what n steps make of one Gaussian"
    mean, var = torch.zeros(1, 2, dtype=torch.float64), 1.
    times = checked_times(SCHED, n, 'noise')
    for t, s in zip(times, times[1:]):
        here, there = torch.zeros_like(mean), torch.ones_like(mean)
        low, fresh = posterior(SCHED, here, data(here, t), t, s)
        high, _ = posterior(SCHED, there, data(there, t), t, s)
        slope = (high - low)[0, 0].item()
        mean, var = low + slope * mean, slope ** 2 * var + fresh.item()
    return mean, var

def evidence(args):
    data = gaussian_oracle(SCHED, torch.tensor([0.5, -0.3]), 0.6)
    look, y = by_matrix(A, std=0.3), torch.tensor([[1.2]], dtype=torch.float64)
    mean, var = gaussian_chain(data, 10)
    total = (var * A @ A.T + 0.3 ** 2).sqrt()
    truth = torch.distributions.Normal(mean @ A.T, total).log_prob(y).item()
    rows = []
    for N in (1, 2, 8, 64):
        repeats = 100 if args.tiny else 200_000 // N
        found = twisted(data, SCHED, look, y.expand(repeats, 1), N, 10, seed=N)
        ratio, error = mean_error((found.log_evidence - truth).exp().tolist())
        rows.append(dict(N=N, ratio=ratio, error=error, repeats=repeats))
        print(rows[-1], flush=True)
    return dict(log_evidence=round(truth, 6), rows=rows)

# -- what it costs ---------------------------------------------------------------------

def seconds_of(f, x, t, repeats):
    "The median of single calls"
    found = []
    for _ in range(repeats):
        start = time.process_time()
        with torch.no_grad():
            f(x, t)
        found.append(time.process_time() - start)
    return sorted(found)[repeats // 2]

def cost(args):
    torch.set_num_threads(1)
    model, (B, repeats) = load('mnist_cond'), (2, 3) if args.tiny else (16, 15)
    half = torch.zeros(1, 28, 28)
    half[:, :, :14] = 1
    f, z = model.denoiser(clip=None), torch.randn(B, 1, 28, 28)
    look = masked(half, std=0.1)
    y = look(torch.rand(B, 1, 28, 28), 0)
    makers = dict(
        plain=f, projected=projected(f, model.sched, look, y),
        replaced=replaced(f, half, z), dps=dps(f, model.sched, look, y),
        pigdm=pigdm(f, model.sched, look, y),
        mmps=mmps(f, model.sched, look, y, most=2))
    rows = []
    for name, g in makers.items():
        plain_now = seconds_of(f, z, 500, repeats)
        seconds = seconds_of(g, z, 500, repeats)
        products = getattr(g, 'products', 0)
        rows.append(dict(method=name, products=products,
                         plain_calls=round(seconds / plain_now, 3),
                         for_each_product=round(seconds / plain_now / products, 3)
                         if products else None))
        print(rows[-1], flush=True)
    return dict(batch=B, rows=rows)

# -- half digits -----------------------------------------------------------------------

def halves(args):
    mnist = MNISTData(data_dir=args.data)
    mnist.setup()
    few = 8 if args.tiny else 100
    x, c = (a[:few] for a in mnist._rows['test'])
    train, labels = mnist._rows['train']
    x = x.float().view(-1, 1, 28, 28) / 255
    half = torch.zeros(1, 28, 28)
    half[:, :, :14] = 1
    seen = half.flatten().bool()
    train = train.float().view(-1, 784) / 255
    near = torch.cdist(x.flatten(1)[:, seen], train[:, seen])
    votes = labels[near.topk(20, largest=False).indices]
    share = (votes == c[:, None]).double().mean(1)
    # the half determines the class: 19 of the 20 nearest training halves have it
    sure = share >= 0.95
    model, judge = load('mnist_cond'), load_extractor()
    def read(x):
        return judge.classes(digit_features(judge.net, x.clamp(0, 1)))
    found, start = {}, time.process_time()
    drawn = model.inpaint(x, half, seed=0, precision='32')
    seconds = time.process_time() - start
    said, whole = read(drawn), read(x)
    found['known pixels off by at most'] = (drawn - x).mul(half).abs().max().item()
    found['determined'] = int(sure.sum())
    found['read like the whole, determined'] = round(
        (said == whole)[sure].double().mean().item(), 4)
    found['read like the whole, all'] = round((said == whole).double().mean().item(), 4)
    found['calls'], found['products'] = model.calls, model.calls
    found['seconds'] = round(seconds, 1)
    some, own = x[:few // 2], c[:few // 2]
    labelled = model.inpaint(some, half, c=own, seed=1, precision='32')
    found['label kept'] = round((read(labelled) == own).double().mean().item(), 4)
    # variety: of halves that leave a choice, the classes that the nearest halves have
    open_ones = (share < 0.75).nonzero()[:, 0][:4 if args.tiny else 10]
    repeats, hits, wanted, near_hits, spread = 8, 0, 0, 0, []
    for i in open_ones.tolist():
        some = model.inpaint(x[i:i + 1].repeat(repeats, 1, 1, 1), half, seed=2,
                             precision='32')
        there = set(read(some).tolist())
        classes, counts = votes[i].unique(return_counts=True)
        often = set(classes[counts >= 4].tolist())
        hits, wanted = hits + len(often & there), wanted + len(often)
        near_hits += len(there & set(classes.tolist())) / len(there)
        spread.append(some[:, :, :, 14:].std(0).mean().item())
    found['open halves'] = len(open_ones)
    found['completions of each'] = repeats
    found['recall of classes of a fifth or more of the neighbours'] = round(
        hits / max(wanted, 1), 4)
    found['share of drawn classes among the neighbours'] = round(
        near_hits / max(len(open_ones), 1), 4)
    found['std of unknown pixels between completions'] = round(
        sum(spread) / max(len(spread), 1), 4)
    for name, value in found.items():
        print(f'{name}: {value}', flush=True)
    return dict(n=few, found=found)

# --------------------------------------------------------------------------------------

PARTS = dict(ring=ring, particles=particles, evidence=evidence, cost=cost,
             halves=halves)

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS)[:4])
    p.add_argument('--data', help='folder of data sets, for halves')
    p.add_argument('--tiny', action='store_true')
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'restoration.json')
    args = p.parse_args()
    out = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.parts:
        out[name] = PARTS[name](args)
        out[name]['torch'] = importlib.metadata.version('torch')
        out[name]['machine'] = platform.machine()
        # after each part, so that an interrupted run has what was done
        with whole_file(args.out) as beside:
            beside.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__':
    main()
