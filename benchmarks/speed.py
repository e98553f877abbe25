"""How fast: training against a bare loop and against others' nets, sampling, start-up,
memory. Ratios within one run are what counts.

    python benchmarks/speed.py
        all parts, about half an hour on two cores, into benchmarks/speed.json
    python benchmarks/speed.py --parts startup memory
        only some of: train sample startup memory growth compile profile
    python benchmarks/speed.py --rounds 1 --steps 3
        a minute, to see that it runs; give it another --out
    python benchmarks/speed.py --parts gpu
        five minutes on one GPU, into benchmarks/speed_gpu.json; needs no other library,
        no download

train    images a second, in float32 and bfloat16: `fit` with the digits' recipe, a bare
         loop over the same net and batches, a plain full-resolution U-Net, and the nets
         of other libraries (peers.py), at their documented channels and at as many
         weights as ours
sample   seconds for a batch of digits: DDIM with 20 and 10 steps, the network calls in
         it alone, 1000 ancestral steps of the plain U-Net
startup  seconds from the shell prompt: `python -c pass`, `import torch`,
         `diffusion --help`, `import diffusion_nbdev.all`, one point
memory   largest resident set of a process that trains, that draws 100,000 points, that
         draws 10,000 digits
growth   how cost grows: with batch, side of the image and channels in training, with
         steps and samples in sampling, with processes
compile  `--compile`: what it costs once, what it saves each call, and after how many
         samples it has paid
profile  where the time of a training step and of a sampling step goes, by operator
gpu      only if asked for: sampling and `fit` beside bare calls and a bare loop, eager
         and compiled, agreement with the CPU, copies and waits, a whole training;
         `--seconds` are shared among these, and the file says what was left out;
         `--tiny` does it in miniature on the CPU

What is compared runs in turn, A B C A B C, and the medians are kept with the smallest
and the largest. Nothing else should be running.
"""
import argparse, contextlib, importlib.metadata, json, os, platform, statistics
import subprocess, sys, tempfile, time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START = time.perf_counter()
sys.path[:0] = [str(ROOT), str(ROOT/'benchmarks')]
os.environ['TQDM_DISABLE'] = '1'
from peers import available

def precisions(bfloat16):
    "Name and whether autocast is on, of what is worth measuring"
    return [('float32', False), ('bfloat16', True)][:2 if bfloat16 else 1]

def interleaved(jobs, rounds):
    "Seconds of each job, job by job in turn: name -> median, smallest, largest"
    found = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items(): found[name].append(job())
    out = {name: dict(median=statistics.median(v), low=min(v), high=max(v),
                      rounds=rounds) for name, v in found.items()}
    for name, v in out.items():
        label = name if isinstance(name, str) else ': '.join(name)
        print(f"{label:<60}{v['median']:10.4f}  "
              f"({v['low']:.4f} to {v['high']:.4f})", flush=True)
    return out

# -- training --------------------------------------------------------------------------

NET = dict(channels=(48, 96, 128), patch=2, n_classes=10)
PLAIN = dict(channels=(32, 64, 128), blocks=2, n_classes=10)

def images(n=4096):
    import torch
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 1, 28, 28), generator=g, dtype=torch.uint8)
    return x, torch.randint(0, 10, (n,), generator=g)

def timed_fit(net, precision, steps, batch):
    "Images a second of `fit`, from the fifth step to the last"
    import lightning.pytorch as L
    from diffusion_nbdev.model import Model, unit_images
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.training import LitDiffusion, fit
    class Clock(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 5: self.start = time.perf_counter()
            if trainer.global_step == steps + 5: self.end = time.perf_counter()
    x, c = images()
    units, clock = unit_images([1, 28, 28], n_classes=10), Clock()
    lit = LitDiffusion(Model(net, cosine_schedule(1000), 'v', units), lr=4e-3,
                       warmup=200, times='logit_normal')
    with tempfile.TemporaryDirectory() as tmp:
        fit(lit, TensorData(x, c, units, batch_size=batch), tmp, pictures=0,
            progress=False, callbacks=[clock], max_steps=steps + 5, limit_val_batches=0,
            precision=precision)
    return steps * batch / (clock.end - clock.start)

def timed_loop(loss, params, autocast, steps, batch, lr=4e-3):
    "Images a second of a bare loop: loss of a batch, backward, Adam"
    import torch
    x, c = images()
    adam = torch.optim.AdamW(params, lr, weight_decay=0., fused=True)
    for k in range(steps + 5):
        if k == 5: start = time.perf_counter()
        rows = torch.randint(0, len(x), (batch,))
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            value = loss(x[rows].float() / 127.5 - 1, c[rows])
        adam.zero_grad()
        value.backward()
        adam.step()
    return steps * batch / (time.perf_counter() - start)

def train(args):
    import torch
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.ddpm import diffusion_loss
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.unet import UNet
    sched, batch, weights = cosine_schedule(1000), 64, {}
    def net(recipe):
        torch.manual_seed(0)
        return UNet(**recipe)
    def ours(recipe, autocast):
        n = net(recipe)
        return timed_loop(lambda x, c: diffusion_loss(n, sched, x, c, 'v'),
                          n.parameters(), autocast, args.steps, batch)
    def theirs(name, peer, autocast):
        torch.manual_seed(0)
        net, steps = peer(autocast, batch)
        weights[name] = sum(p.numel() for p in net.parameters())
        for _ in range(5): next(steps)
        start = time.perf_counter()
        for _ in range(args.steps): next(steps)
        return args.steps * batch / (time.perf_counter() - start)
    weights.update({name: sum(p.numel() for p in net(recipe).parameters())
                    for name, recipe in dict(digits=NET, plain=PLAIN).items()})
    jobs, others = {}, available()
    def fitted(autocast):
        precision = 'bf16-mixed' if autocast else '32-true'
        return timed_fit(net(NET), precision, args.steps, batch)
    for precision, autocast in precisions(bfloat16_pays()):
        jobs |= {f'fit, {precision}': partial(fitted, autocast),
                 f'bare loop, {precision}': partial(ours, NET, autocast),
                 f'plain U-Net, {precision}': partial(ours, PLAIN, autocast)}
        jobs |= {f'{name}, {precision}': partial(theirs, name, peer, autocast)
                 for name, peer in others.items()}
    return dict(unit='images a second', batch=batch, weights=weights,
                found=interleaved(jobs, args.rounds))

# -- sampling --------------------------------------------------------------------------

def sample(args):
    import torch
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.ddpm import ddpm
    from diffusion_nbdev.guidance import denoiser
    from diffusion_nbdev.sampling import last
    from diffusion_nbdev.ddim import ddim
    from diffusion_nbdev.model import load
    from diffusion_nbdev.noise import SeededNoise
    from diffusion_nbdev.unet import UNet
    # as `generate` takes digits
    model, batch, T = load('mnist_uncond'), 128, 1000
    torch.manual_seed(0)
    plain = UNet(channels=(32, 64, 128), blocks=2).eval()
    z = torch.randn(batch, 1, 28, 28)
    f, far = model.denoiser(), denoiser(plain, model.sched, 'eps', clip=1.)
    def clocked(job, scale=1., fast=False):
        def run():
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=fast):
                start = time.perf_counter()
                job()
            return scale * (time.perf_counter() - start)
        return run
    def calls(n):
        for t in range(n): model.net(z, torch.tensor([500 + t]))
    steps = list(range(T, T - 21, -1)) # 20 of the 1000 steps, one after the other
    def ancestral(): last(ddpm(far, model.sched, z, times=steps))
    def short(n): last(ddim(f, model.sched, z, n=n))
    def seeded():
        start = SeededNoise(0)(z, 0)
        last(ddim(f, model.sched, start, n=20, eta=1., noise=SeededNoise(0)))
    jobs = {'1000 ancestral steps of the plain U-Net, float32':
            clocked(ancestral, T / 20)}
    for name, fast in precisions(bfloat16_pays()):
        jobs |= {
            f'DDIM, 20 steps, {name}': clocked(partial(short, 20), fast=fast),
            f'DDIM, 10 steps, {name}': clocked(partial(short, 10), fast=fast),
            f'20 network calls, {name}': clocked(partial(calls, 20), fast=fast),
            f'DDIM, 20 steps, noise by sample, {name}': clocked(seeded, fast=fast),
        }
    for job in list(jobs.values())[1:]: job() # once, to warm up
    weights = dict(digits=sum(p.numel() for p in model.net.parameters()),
                   plain=sum(p.numel() for p in plain.parameters()))
    return dict(unit='seconds', batch=batch, weights=weights,
                found=interleaved(jobs, args.rounds),
                scaled='20 of the 1000 ancestral steps are timed, '
                       'and count fifty times')

# -- start-up and memory, in processes of their own ------------------------------------

ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'TQDM_DISABLE': '1'}

def process(*args, cwd, **env): # seconds, and what it printed as errors
    start = time.perf_counter()
    p = subprocess.run([sys.executable, *args], cwd=cwd, env={**ENV, **env},
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if p.returncode: sys.exit(f'{" ".join(args)}: {p.stderr[-2000:]}')
    return time.perf_counter() - start, p.stderr

# Linux counts it for the process itself; wait4 includes the parent's before exec
PEAK = """import re, runpy, sys
kind, what, *sys.argv[1:] = sys.argv[1:]
try: exec(what) if kind == '-c' else runpy.run_module(what, run_name='__main__')
finally:
    status = open('/proc/self/status').read()
    print(re.search(r'VmHWM:\\s+(\\d+)', status)[1], file=sys.stderr)
"""

def startup(args):
    lines = {'python -c pass': ('-c', 'pass'), 'import torch': ('-c', 'import torch'),
             'diffusion --help': ('-m', 'diffusion_nbdev', '--help'),
             'diffusion list': ('-m', 'diffusion_nbdev', 'list'),
             'import diffusion_nbdev.all': ('-c', 'import diffusion_nbdev.all'),
             'diffusion sample swissroll --n 1':
             ('-m', 'diffusion_nbdev', 'sample', 'swissroll', '--n', '1'),
             'diffusion sample mnist_cond --n 100':
             ('-m', 'diffusion_nbdev', 'sample', 'mnist_cond', '--n', '100')}
    with tempfile.TemporaryDirectory() as tmp:
        def seconds(line): return process(*line, cwd=tmp)[0]
        # read from disk once
        for line in lines.values(): seconds(line)
        jobs = {name: partial(seconds, line) for name, line in lines.items()}
        return dict(unit='seconds', found=interleaved(jobs, max(args.rounds, 3)))

def memory(args):
    lines = {'import torch': ('-c', 'import torch'),
             'fit, the digits\' recipe, batch 64':
             ('-c', f'import sys; sys.path.insert(0, {str(ROOT / "benchmarks")!r})\n'
              'from speed import *\nfrom diffusion_nbdev.unet import UNet\n'
              'timed_fit(UNet(**NET), "bf16-mixed", 30, 64)'),
             'sample 100,000 points':
             ('-m', 'diffusion_nbdev', 'sample', 'swissroll', '--n', '100000',
              '--steps', '10', '--out', 'x.npz'),
             'sample 10,000 digits':
             ('-m', 'diffusion_nbdev', 'sample', 'mnist_uncond', '--n', '10000',
              '--steps', '5', '--out', 'x.npz')}
    with tempfile.TemporaryDirectory() as tmp:
        def peak(line):
            said = process('-c', PEAK, *line, cwd=tmp)[1]
            return int(said.split()[-1]) / 1024
        jobs = {name: partial(peak, line) for name, line in lines.items()}
        return dict(unit='MB, largest resident set', found=interleaved(jobs, 1))

# -- growth, compilation, profile ------------------------------------------------------

def growth(args):
    import torch
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.ddpm import diffusion_loss
    from diffusion_nbdev.model import load
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.unet import UNet
    fast = bool(bfloat16_pays())
    sched = cosine_schedule(1000)
    model = load('mnist_uncond')
    def step(batch=64, side=28, channels=NET['channels']):
        torch.manual_seed(0)
        net, x = UNet(channels=channels, patch=2), torch.randn(batch, 1, side, side)
        adam = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
        def run():
            start = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled=fast):
                loss = diffusion_loss(net, sched, x)
            loss.backward()
            adam.step()
            adam.zero_grad()
            return time.perf_counter() - start
        run()
        return lambda: statistics.median(run() for _ in range(max(3, args.steps // 5)))
    def draw(num=64, n=10):
        def run():
            start = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled=fast):
                model.generate('ddim', n=n, num=num)
            return time.perf_counter() - start
        return run
    def processes(k): # what 20 steps of each process take, start-up taken off
        line = ['-m', 'diffusion_nbdev', 'fit', '--config', 'mnist_cond', '--data.name',
                'digits', '--trainer.accelerator', 'cpu', '--trainer.devices', str(k),
                '--trainer.strategy', 'ddp', '--trainer.callbacks', 'null',
                '--pictures', '0', '--trainer.limit_val_batches', '0',
                '--trainer.enable_progress_bar', 'false', '--trainer.max_epochs', '50',
                '--trainer.max_steps']
        with tempfile.TemporaryDirectory() as tmp:
            return (process(*line, '40', cwd=tmp, OMP_NUM_THREADS='1')[0]
                    - process(*line, '20', cwd=tmp, OMP_NUM_THREADS='1')[0])
    groups = {
        'batch of a training step': {str(b): step(batch=b) for b in (16, 64, 256)},
        'side of its images, batch 16': {f'{s} pixels': step(16, s)
                                         for s in (14, 28, 56)},
        'channels of its net': {str(c): step(channels=c)
                                for c in ((24, 48, 64), (48, 96, 128), (96, 192, 256))},
        'steps, 64 samples': {str(n): draw(n=n) for n in (5, 10, 20)},
        'samples, 10 steps': {str(num): draw(num) for num in (64, 128, 256)},
        'processes of one thread, 20 training steps in each': {
            str(k): lambda k=k: processes(k) for k in (1, 2)
        }
    }
    found = interleaved({(group, name): job for group, jobs in groups.items()
                         for name, job in jobs.items()}, args.rounds)
    return dict(unit='seconds',
                found={group: {name: found[group, name] for name in jobs}
                       for group, jobs in groups.items()})

def compiled(args):
    import torch
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.model import load
    # as `generate` takes digits
    model, batch = load('mnist_uncond'), 128
    z, t, out = torch.randn(batch, 1, 28, 28), torch.tensor([500]), {}
    fast = bool(bfloat16_pays())
    def call(net):
        def run():
            start = time.perf_counter()
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=fast):
                net(z, t)
            return time.perf_counter() - start
        return run
    plain, fused = call(model.net), call(torch.compile(model.net))
    plain()
    try:
        first = fused()
    except Exception as e:
        sys.exit(f'compile: this machine cannot ({str(e).splitlines()[0]})')
    found = interleaved({'a network call': plain, 'a compiled network call': fused},
                        max(args.rounds, 5))
    saved = (found['a network call']['median']
             - found['a compiled network call']['median'])
    once = first - found['a compiled network call']['median']
    calls = once / saved if saved > 0 else None
    print(f'compiling takes {first:.1f} s, pays after {calls and round(calls)} calls')
    return dict(unit='seconds', batch=batch, first=first, calls_to_pay=calls,
                samples_to_pay=calls and calls * batch / 20, steps=20, found=found)

def profile(args):
    import torch
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.ddim import ddim
    from diffusion_nbdev.ddpm import diffusion_loss
    from diffusion_nbdev.sampling import last
    from diffusion_nbdev.model import load
    from diffusion_nbdev.noise import SeededNoise
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.unet import UNet
    fast = bool(bfloat16_pays())
    sched = cosine_schedule(1000)
    model = load('mnist_uncond')
    torch.manual_seed(0)
    net, x = UNet(**NET), torch.randn(64, 1, 28, 28)
    c = torch.arange(64) % 10
    adam = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    f = model.denoiser()
    def train_step():
        with torch.autocast('cpu', torch.bfloat16, enabled=fast):
            loss = diffusion_loss(net, sched, x, c)
        loss.backward()
        adam.step()
        adam.zero_grad()
    def sample_steps():
        with torch.autocast('cpu', torch.bfloat16, enabled=fast):
            last(ddim(f, model.sched, SeededNoise(0)(x, 0), n=20, eta=1.,
                      noise=SeededNoise(0)))
    out = {}
    rounds = max(1, args.steps // 5)
    for name, job, times in (
        ('a training step, batch 64', train_step, args.steps),
        ('20 steps of DDIM, batch 64, eta = 1', sample_steps, rounds),
    ):
        job()
        only = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=only) as p:
            for _ in range(times): job()
        rows = sorted(p.key_averages(), key=lambda r: -r.self_cpu_time_total)
        total = sum(r.self_cpu_time_total for r in rows)
        out[name] = [dict(operator=r.key, share=round(r.self_cpu_time_total / total, 4),
                          calls=round(r.count / times, 1)) for r in rows[:12]]
        for r in out[name]:
            print(f"{r['operator']:50s}{r['share']:7.1%}{r['calls']:8.1f}", flush=True)
    return dict(unit='share of the processor time in operators', found=out)

def gpu(args):
    import gpu
    command = ("python benchmarks/speed.py --parts gpu --seconds "
               f"{args.seconds:g}{' --tiny' * args.tiny}")
    return gpu.gpu(args.tiny, args.seconds - (time.perf_counter() - START) - 2, command)

def without_gpu(args):
    "Say in one line what is missing, before anything else is done"
    import torch
    if 'gpu' in args.parts and not args.tiny and not torch.cuda.is_available():
        print('--parts gpu: there is no CUDA GPU here; --tiny runs the same on the CPU',
              file=sys.stderr)
        return True
    return False

PARTS = dict(train=train, sample=sample, startup=startup, memory=memory, growth=growth,
             compile=compiled, profile=profile, gpu=gpu)

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, help='benchmarks/speed.json if not given; '
                   'of the part gpu, benchmarks/speed_gpu.json')
    p.add_argument('--parts', nargs='+', choices=PARTS,
                   default=[part for part in PARTS if part != 'gpu'])
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--steps', type=int, default=40,
                   help='training steps that are timed')
    p.add_argument('--seconds', type=float, default=300, help='gpu: time for all of it')
    p.add_argument('--tiny', action='store_true', help='gpu: in miniature, on the CPU, '
                   'to see that it runs; give it an --out')
    args = p.parse_args()
    if without_gpu(args): sys.exit(2)
    from diffusion_nbdev.devices import bfloat16_pays
    from diffusion_nbdev.files import whole_file
    import torch
    for part in args.parts:
        start = time.perf_counter()
        result = PARTS[part](args)
        name = 'speed_gpu.json' if part == 'gpu' else 'speed.json'
        out = args.out or ROOT/'benchmarks'/name
        commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT,
                                capture_output=True, text=True).stdout.strip()
        about = dict(command=f'python benchmarks/speed.py --parts {part} '
                             f'--rounds {args.rounds} --steps {args.steps}',
                     seed=0, seconds=round(time.perf_counter() - start), commit=commit,
                     machine=f'{platform.machine()}, {torch.get_num_threads()} threads'
                             f', {bfloat16_pays() or "no fast bfloat16"}',
                     versions={})
        for name in ('torch', 'lightning', 'numpy', 'diffusers',
                     'denoising-diffusion-pytorch', 'smalldiffusion'):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                about['versions'][name] = importlib.metadata.version(name)
        found = json.loads(out.read_text()) if out.exists() else {}
        found[part] = {'about': about, **result}
        with whole_file(out) as beside:
            beside.write_text(json.dumps(found, indent=1) + '\n')

if __name__ == '__main__': main()
