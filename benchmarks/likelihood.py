"""How likely the shipped weights find the test images of MNIST, in bits for each pixel.

    python benchmarks/likelihood.py --data DIR
        all parts, about an hour on one core, into benchmarks/likelihood.json
    python benchmarks/likelihood.py --data DIR --parts bits --weights mnist_uncond
        only some of the parts, for some weights; the rest of the file stays
    python benchmarks/likelihood.py --data DIR --parts short --weights RUN --name NAME
        a training of your own, under a name of its own
    python benchmarks/likelihood.py --data DIR --n 8
        a minute, to see that it runs; give it another --out

bits    the first n test images, dequantised by uniform noise, along the probability
        flow; mnist_cond is told the labels
steps   the first images again, with the same noise and twice the steps: what the number
        of steps leaves out
low     the first images with the data taken for states at other times
bound   the variational bound of the chain of all steps, on the bytes themselves where
        the net sees them evenly spaced, else on dequantised data
others  images that are no digits, or digits that have been moved
short   the first 200 images; not among the parts that are taken if none is named

DIR holds the data set, as `diffusion fit --data.data_dir` has it.
"""
import argparse, json, math, sys, time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from diffusion_nbdev.bound import chain_bound
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.likelihood import bits_per_dim, log_volume, of_model
from diffusion_nbdev.model import load
from diffusion_nbdev.pictures import read_images
from diffusion_nbdev.quantised import dequantised

D = 784
WEIGHTS = 'mnist_uncond', 'mnist_cond', 'mnist_likelihood'

def images(data, part='t10k'):
    "Images in [0, 1], and their labels"
    x, c = read_images(Path(data)/'MNIST'/'raw', part)
    return x.float() / 255, c

def spread(x, seed=0):
    "Dequantised, with noise that belongs to the seed"
    u = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return dequantised(x, u)

def summary(bits):
    return dict(bits=round(bits.mean().item(), 4),
                error=round((bits.std() / len(bits) ** 0.5).item(), 4),
                std=round(bits.std().item(), 4))

def labels(model, c): return c if model.n_classes else None

def measured(model, x, c, like, n=15, probes=1, low=1, batch=100):
    "Bits for each pixel: the mean, its standard error over images, and how"
    start = time.process_time()
    out = of_model(model, spread(x).double(), labels(model, c), like=like, n=n,
                   probes=probes, low=low, batch_size=batch)
    bits = bits_per_dim(out.nats, D)
    signal, noise = model.sched.coefficients(low)
    of_probes = (out.error.square().mean().sqrt() / (D * math.log(2))).item()
    return dict(**summary(bits), n=len(x), calls=out.calls, probes=probes,
                error_of_probes=None if probes == 1 else round(of_probes, 5),
                low=low, sigma_low=round((noise / signal).item(), 5),
                dequantisation='uniform, 256 levels',
                minutes=round((time.process_time() - start) / 60, 2)), bits

def bits(model, x, c, like, n):
    out, each = measured(model, x[:n], c[:n], like)
    edges = torch.linspace(each.min(), each.max(), 25)
    counts = torch.histogram(each.float(), edges.float()).hist.int().tolist()
    return dict(weights=model.card['sha256'][:12], **out,
                first_100=summary(each[:100]), histogram=dict(
        first=round(each.min().item(), 4), last=round(each.max().item(), 4),
        counts=counts))

def steps(model, x, c, like, n):
    few = min(n, 50)
    return [measured(model, x[:few], c[:few], like, n=k, probes=2)[0] for k in (15, 30)]

def low(model, x, c, like, n):
    few = min(n, 50)
    return [measured(model, x[:few], c[:few], like, low=t)[0] for t in (1, 4, 8, 32)]

def bound(model, x, c, like, n):
    "The chain's ledger: from the noise, by four stretches of time, of the last step"
    few, sched, out = min(n, 20), model.sched, []
    x, c = x[:few], labels(model, c[:few])
    even = not model.data.odds
    z = model.data.to_model(x if even else spread(x))
    kept = {} if even else dict(volume=log_volume(model.data, spread(x)))
    for var in ('beta', 'posterior'):
        found = chain_bound(model.denoiser(c, clip='data'), sched, z, n=100, var=var,
                            times='logsnr', step=2 / 255 if even else None)
        total = found.total - kept.get('volume', 0.)
        each = total / (D * math.log(2)) + (0 if even else 8)
        terms = found.steps.mean(1) / (D * math.log(2))
        early = torch.tensor(found.times[:-2]) > sched.T / 2
        out.append(dict(
            var=var, **summary(each), n=few, steps=len(found.times) - 1,
            of=('bytes' if even else 'dequantised bytes'),
            of_noise=round((found.end.mean() / (D * math.log(2))).item(), 5),
            upper_half=round(terms[early].sum().item(), 4),
            lower_half=round(terms[~early].sum().item(), 4)))
    return out

def others(model, x, c, like, n):
    "Mean bits of sets that are no test digits"
    few = min(n, 50)
    x, c = x[:few], c[:few]
    g = torch.Generator().manual_seed(1)
    sets = dict(test=x, moved=x.roll((6, 6), (2, 3)), upside_down=x.flip(2),
                inverted=1 - x, black=torch.zeros_like(x),
                noise=(255 * torch.rand(x.shape, generator=g)).round() / 255)
    return {k: measured(model, v, c, like)[0]['bits'] for k, v in sets.items()}

def short(model, x, c, like, n):
    "The first images alone, and how many the training has seen"
    seen = model.card['training']['steps']
    return dict(measured(model, x[:200], c[:200], like)[0], steps_of_training=seen)

PARTS = dict(bits=bits, steps=steps, low=low, bound=bound, others=others, short=short)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--data', required=True)
    p.add_argument('--weights', nargs='+', default=WEIGHTS)
    p.add_argument('--name', help='for the file; else that of the weights')
    p.add_argument('--parts', nargs='+', default=list(PARTS)[:-1],
                   choices=list(PARTS))
    p.add_argument('--n', type=int, default=1000)
    p.add_argument('--out', default=str(ROOT/'benchmarks'/'likelihood.json'))
    args = p.parse_args()
    x, c = images(args.data)
    like = spread(images(args.data, 'train')[0][:10_000], seed=1)
    for name in args.weights:
        model = load(name)
        for part in args.parts:
            found = PARTS[part](model, x, c, like, args.n)
            path = Path(args.out)
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept.setdefault(args.name or Path(name).stem, {})[part] = found
            with whole_file(path) as f: f.write_text(json.dumps(kept, indent=1) + '\n')
            print(name, part, found if part != 'bits' else {
                k: v for k, v in found.items() if k != 'histogram'}, flush=True)

if __name__ == '__main__': main()
