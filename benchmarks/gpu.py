"""What `speed.py --parts gpu` measures: the shipped net on one GPU, in a given time.

Every part shares what time is left with the parts after it, and says in `left_out`
which repetitions or comparisons it had to drop. What is compared runs in turn, A B C
A B C, and the device is waited for before each reading of the clock.
"""
import contextlib
import functools
import importlib.metadata
import inspect
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as L
import torch

from diffusion_nbdev.cli.catalogue import configs
from diffusion_nbdev.ddpm import diffusion_loss
from diffusion_nbdev.sampling import SAMPLERS, enter_all
from diffusion_nbdev.devices import computing
from diffusion_nbdev.judge import load_extractor, score_images
from diffusion_nbdev.pictures import STEMS, data_folder, idx_file
from diffusion_nbdev.model import Model, load, unit_images
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.data import TensorData
from diffusion_nbdev.training import LitDiffusion, fit

enter_all()
ROOT = Path(__file__).resolve().parent.parent
WEIGHTS, RECIPE = 'mnist_cond', 'mnist_cond_gpu'
PRECISIONS = dict(bfloat16='bf16', float32='32')
LEARNING = dict(lr=4e-3, warmup=200, times='logit_normal', drop_class=0.1)

FULL = SimpleNamespace(
    steps=20, rounds=5, backend='inductor',
    default=32_768, probe=1024,          # drawn by default; to guess the time
    batches={128: 512, 8192: 8192},      # samples at a time: how many are drawn
    rows=57_344, warm=20,                # whole batches; steps to warm up
    windows={64: 100, 1024: 56},         # batch: steps a repetition; 56 are an epoch
    agree=16, parts=(60_000, 10_000), recipe=())
TINY = SimpleNamespace(
    steps=4, rounds=2, backend='eager', default=8, probe=4, batches={2: 4},
    rows=40, warm=1, windows={4: 2}, agree=1, parts=(60, 20),
    recipe=('--trainer.max_steps', '2', '--trainer.accelerator', 'cpu', '--no_compile'))

# -- time ------------------------------------------------------------------------------

class OutOfTime(BaseException):
    "The budget is spent; no `except Exception` on the way may keep it"

class Bench:
    "Device, sizes, and a budget of seconds"
    def __init__(self, device, sizes, seconds):
        self.device, self.sizes = torch.device(device), sizes
        self.end, self.left_out = time.perf_counter() + seconds, []

    def left(self): return self.end - time.perf_counter()

    def skip(self, what, why):
        self.left_out.append(dict(what=what, why=why))
        print(f'  left out: {what}: {why}', flush=True)

    def sync(self):
        if self.device.type == 'cuda': torch.cuda.synchronize(self.device)

    def seconds(self, job):
        "How long a job takes, what it started on the device included"
        self.sync()
        start = time.perf_counter()
        job()
        self.sync()
        return time.perf_counter() - start

    def computing(self, precision): return computing(self.device, PRECISIONS[precision])

    @contextlib.contextmanager
    def alarm(self):
        "Raises OutOfTime in the block when the budget is spent; again if it gets lost"
        def stop(*_): raise OutOfTime
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(self.left(), 1e-3), 2.)
        try: yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

def spread(values):
    "Median, smallest, largest, and of how many"
    middle = statistics.median(values)
    return dict(median=middle, low=min(values), high=max(values), rounds=len(values))

def in_turn(bench, jobs, until, where):
    "Seconds of each job, in turn; the first round warms up and stands apart"
    first = {name: bench.seconds(job) for name, job in jobs.items()}
    found, most = {name: [] for name in jobs}, bench.sizes.rounds
    for k in range(most):
        start = time.perf_counter()
        if k and start + last > until:
            bench.skip(f'{where}: rounds {k + 1} to {most}', 'no time left for them')
            break
        for name, job in jobs.items(): found[name].append(bench.seconds(job))
        last = time.perf_counter() - start
    return {name: dict(spread(v), first=first[name]) for name, v in found.items()}

# -- sampling --------------------------------------------------------------------------

def classes(num): return torch.arange(num) % 10

def own_noise(sampler):
    "The sampler with torch's own noise, whatever `generate` hands it"
    @functools.wraps(sampler)
    def run(f, sched, x, noise=None, **options):
        return sampler(f, sched, x, noise=None, **options)
    return run

def bare_calls(bench, net, batch, num, precision):
    "As many calls of the net as DDIM makes, and nothing else"
    z = torch.randn(batch, 1, 28, 28, device=bench.device)
    c, n = classes(batch).to(bench.device), bench.sizes.steps
    at = [1000 - 1000 * k // n for k in range(n)]
    times = [torch.tensor([t], device=bench.device) for t in at]
    def run():
        with torch.no_grad(), bench.computing(precision):
            for _ in range(num // batch):
                for t in times: net(z, t, c)
    return run

def on_device(bench): return load(WEIGHTS).to(bench.device)

def compiled(bench):
    "The model with its net compiled anew, for one shape of input at a time"
    torch.compiler.reset()
    model = on_device(bench)
    model.net.compile(backend=bench.sizes.backend, dynamic=False)
    return model

def by_default(bench, until):
    "`generate` with nothing chosen but number and classes"
    model, s = on_device(bench), bench.sizes
    draw = lambda num: lambda: model.generate(num=num, c=classes(num))
    bench.seconds(draw(s.probe))
    each, num = bench.seconds(draw(s.probe)) / s.probe, s.default
    room = (until - time.perf_counter()) / 2
    if each * num > room:
        num = max(1, int(room / each / s.probe)) * s.probe
        bench.skip(f'generate by default: {s.default - num:,} of its {s.default:,} '
                   'samples', f'{each * 1e3:.2f} ms a sample are too slow for them')
    first, second = bench.seconds(draw(num)), bench.seconds(draw(num))
    return dict(num=num, first=first, seconds=second, rate=num / second)

def draws(bench, model, sampler, batch, num, precision):
    options = dict(n=bench.sizes.steps, num=num, c=classes(num), batch_size=batch,
                   precision=PRECISIONS[precision])
    return lambda: model.generate(sampler, **options)

def rated(found, num):
    "Samples a second beside the seconds"
    return {name: dict(v, rate=num / v['median']) for name, v in found.items()}

def ratio(found, a, b): return found[a]['median'] / found[b]['median']

def groups(bench): # the precision of practice first, large batches before small ones
    return [(p, *pair) for p in PRECISIONS
            for pair in sorted(bench.sizes.batches.items(), reverse=True)]

def sample(bench, until, out):
    "Eager sampling: generate beside bare calls, noise by sample beside torch's own"
    now = time.perf_counter()
    out.update(unit='seconds', weights=WEIGHTS, steps=bench.sizes.steps, groups={})
    out['default'] = by_default(bench, now + (until - now) / 2)
    model, todo, sde = on_device(bench), groups(bench), SAMPLERS['dpmpp_2m_sde']
    for k, (precision, batch, num) in enumerate(todo):
        now = time.perf_counter()
        each = now + (until - now) / (len(todo) - k)
        name = f'{precision}, batch {batch}'
        job = functools.partial(draws, bench, model, batch=batch, num=num,
                                precision=precision)
        found = in_turn(bench, {
            'bare calls': bare_calls(bench, model.net, batch, num, precision),
            'ddim': job('ddim'),
            'dpmpp_2m_sde': job('dpmpp_2m_sde'),
            'dpmpp_2m_sde, torch\'s noise': job(own_noise(sde)),
        }, each, f'sampling, {name}')
        share = {s: ratio(found, 'bare calls', s) for s in ('ddim', 'dpmpp_2m_sde')}
        noise = ratio(found, 'dpmpp_2m_sde', 'dpmpp_2m_sde, torch\'s noise')
        out['groups'][name] = dict(precision=precision, batch=batch, num=num,
            found=rated(found, num), share_of_bare=share, seeded_over_torch=noise)

def sample_compiled(bench, until, out):
    "Bare calls of the compiled net, and DDIM through it, beside the eager ones"
    out.update(unit='seconds', weights=WEIGHTS, steps=bench.sizes.steps, groups={})
    eager, cost = on_device(bench), 0
    for precision, batch, num in groups(bench):
        name = f'{precision}, batch {batch}'
        if time.perf_counter() + cost > until:
            bench.skip(f'sampling, compiled, {name}', 'no time left to compile for it')
            continue
        start = time.perf_counter()
        model = compiled(bench)
        found = in_turn(bench, {
            'bare calls, compiled': bare_calls(bench, model.net, batch, num, precision),
            'bare calls': bare_calls(bench, eager.net, batch, num, precision),
            'ddim': draws(bench, eager, 'ddim', batch, num, precision),
            'ddim, compiled': draws(bench, model, 'ddim', batch, num, precision),
        }, until, f'sampling, compiled, {name}')
        cost = time.perf_counter() - start
        share = {s: ratio(found, 'bare calls, compiled', s)
                 for s in ('bare calls', 'ddim', 'ddim, compiled')}
        out['groups'][name] = dict(precision=precision, batch=batch, num=num,
            found=rated(found, num), share_of_compiled_bare=share)

# -- training --------------------------------------------------------------------------

def images(num):
    "Random bytes in MNIST's shape, and labels"
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (num, 1, 28, 28), generator=g, dtype=torch.uint8)
    return x, torch.randint(0, 10, (num,), generator=g)

def training_net(bench, compile):
    net = load(WEIGHTS).net.train()
    if compile: net.compile(backend=bench.sizes.backend, dynamic=False)
    return net

def by_fit(bench, compile):
    "What `fit` is asked for: bfloat16, and to compile the net where it does so itself"
    takes = inspect.signature(fit).parameters
    own = compile and bench.sizes.backend == 'inductor' and 'compile' in takes
    precision = PRECISIONS['bfloat16'] if 'precision' in takes else 'bf16-mixed'
    net = training_net(bench, compile and not own)
    return net, dict(precision=precision, **({'compile': True} if own else {}))

def bare_loop(bench, batch, compile):
    "A training step and nothing else: rows taken on the device, AdamW, average"
    net = training_net(bench, compile).to(bench.device)
    x, c = (part.to(bench.device) for part in images(bench.sizes.rows))
    sched, weights = cosine_schedule(1000), list(net.parameters())
    adam = torch.optim.AdamW(weights, LEARNING['lr'], weight_decay=0., fused=True)
    average = [w.detach().clone() for w in weights]
    def step():
        rows = torch.randint(0, len(x), (batch,), device=bench.device)
        hidden = torch.rand(batch, device=bench.device) < LEARNING['drop_class']
        t = 1 + (1000 * torch.randn(batch, device=bench.device).sigmoid()).long()
        x0, own = x[rows].float() / 127.5 - 1, torch.where(hidden, -1, c[rows])
        with bench.computing('bfloat16'):
            loss = diffusion_loss(net, sched, x0, own, 'v', t=t.clamp(max=1000))
        adam.zero_grad()
        loss.backward()
        adam.step()
        torch._foreach_lerp_(average, [w.detach() for w in weights], 1 - 0.999)
    return step

class Windows(L.Callback):
    "Times windows of a fit's steps, and after each one as many steps of another loop"
    def __init__(self, bench, steps, other, until):
        self.bench, self.steps, self.other, self.until = bench, steps, other, until
        self.fit, self.bare, self.start, self.images = [], [], None, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.images += len(batch[0])
        done = trainer.global_step - self.bench.sizes.warm
        if done < 0 or done % self.steps: return
        self.bench.sync()
        now = time.perf_counter()
        if self.start is not None: self.fit.append(self.images / (now - self.start))
        if self.start is not None: self.bare.append(self.other())
        enough, now = len(self.fit) >= self.bench.sizes.rounds, time.perf_counter()
        round_of = 0 if self.start is None else now - self.start
        late = bool(self.fit) and now + round_of > self.until
        if enough or late: trainer.should_stop = True
        self.start, self.images = time.perf_counter(), 0

def run_fit(bench, batch, compile, callback):
    "Random images through `fit`, in bfloat16, with its average of the weights"
    k = max(1, bench.sizes.rows // 500)
    x, c = images(bench.sizes.rows + 2 * k)
    units = unit_images([1, 28, 28], n_classes=10)
    data = TensorData(x, c, units, batch, held_out=(k + 0.5) / len(x))
    net, options = by_fit(bench, compile)
    lit = LitDiffusion(Model(net, cosine_schedule(1000), 'v', units), **LEARNING)
    steps = bench.sizes.warm + callback.steps * bench.sizes.rounds
    kind = 'gpu' if bench.device.type == 'cuda' else 'cpu'
    with tempfile.TemporaryDirectory() as folder:
        fit(lit, data, folder, pictures=0, progress=False, callbacks=[callback],
            max_steps=steps, limit_val_batches=0, accelerator=kind,
            devices=1, **options)

def training(bench, until, out, compile):
    s, cost = bench.sizes, 0
    out.update(unit='images a second', precision='bfloat16', rows=s.rows, batches={})
    todo = sorted(s.windows.items(), reverse=True)
    for k, (batch, steps) in enumerate(todo):
        name = f'fit{", compiled" * compile}, batch {batch}'
        now = time.perf_counter()
        if now + cost > until:
            bench.skip(name, 'no time left for it')
            continue
        each = now + (until - now) / (len(todo) - k)
        torch.compiler.reset()
        one = bare_loop(bench, batch, compile)
        def window(count=steps):
            return batch * count / bench.seconds(lambda: [one() for _ in range(count)])
        window(s.warm)
        watch = Windows(bench, steps, window, each)
        run_fit(bench, batch, compile, watch)
        lost, cost = s.rounds - len(watch.fit), time.perf_counter() - now
        if lost: bench.skip(f'{name}: {lost} of {s.rounds} rounds', 'no time left')
        found = {'fit': spread(watch.fit), 'bare loop': spread(watch.bare)}
        out['batches'][str(batch)] = dict(steps=steps, found=found, all_seconds=cost,
            share_of_bare=ratio(found, 'fit', 'bare loop'))

# -- agreement, copies, a whole training -----------------------------------------------

def agreement(bench, until, out):
    "Every sampler in float32, without TF32, on both: the largest difference of a pixel"
    num, n = bench.sizes.agree, bench.sizes.steps
    models = load(WEIGHTS), on_device(bench)
    out.update(unit='of pixels from 0 to 1', num=num, found={}, calls={})
    for name, sampler in SAMPLERS.items():
        if out['found'] and time.perf_counter() > until:
            bench.skip(f'agreement with the CPU: {name}', 'no time left for it')
            continue
        steps = None if sampler.adaptive else n
        def draw(model):
            x = model.generate(name, n=steps, num=num, c=classes(num), precision='32')
            return x.double(), model.calls
        (a, calls), (b, other) = (draw(m) for m in models)
        out['found'][name] = (a - b).abs().max().item()
        out['calls'][name] = [calls, other]
    out['largest'] = max(out['found'].values())

SEEN = { # what is counted -> how the profiler's names of it begin
    'copies to the device': ('Memcpy HtoD',),
    'copies from the device': ('Memcpy DtoH',),
    'waits for the device': ('cudaStreamSynchronize', 'cudaDeviceSynchronize',
                             'cudaEventSynchronize'),
    'values read by Python': ('aten::_local_scalar_dense',)}

def copies(bench, until, out):
    "What a sampling step copies and waits for: 2n steps less n, over n"
    on = torch.profiler.ProfilerActivity
    kinds = [on.CPU, *([on.CUDA] if bench.device.type == 'cuda' else [])]
    model, n = on_device(bench), bench.sizes.steps
    num = min(bench.sizes.batches)
    def seen(sampler, steps):
        with torch.profiler.profile(activities=kinds) as p:
            model.generate(sampler, n=steps, num=num, c=classes(num), batch_size=num)
            bench.sync()
        rows = p.key_averages()
        return {what: sum(r.count for r in rows if r.key.startswith(keys))
                for what, keys in SEEN.items()}
    out.update(unit='a step', batch=num, found={})
    for sampler in ('ddim', 'dpmpp_2m_sde'):
        one, two = seen(sampler, n), seen(sampler, 2 * n)
        out['found'][sampler] = {what: (two[what] - one[what]) / n for what in SEEN}

def write_idx(path, x):
    head = bytes([0, 0, 8, x.ndim]) + b''.join(k.to_bytes(4, 'big') for k in x.shape)
    path.write_bytes(head + x.contiguous().numpy().tobytes())

def random_mnist(bench, root):
    "Random bytes in files named and laid out as MNIST's"
    folder = root/'MNIST'/'raw'
    folder.mkdir(parents=True)
    for k, num in enumerate(bench.sizes.parts):
        x, c = images(num)
        write_idx(folder/STEMS[2 * k], x[:, 0])
        write_idx(folder/STEMS[2 * k + 1], c.to(torch.uint8))
    return root

def recipe(bench, until, out, name=RECIPE):
    "The whole training as a process of its own, as the shell would start it"
    out.update(config=name, there=name in configs())
    if not out['there']:
        return bench.skip('recipe', f'not there: the package has no config {name}')
    folder, tiny = data_folder(), bool(bench.sizes.recipe)
    real = not tiny and all(idx_file(folder/'MNIST'/'raw', stem) for stem in STEMS)
    out['data'] = 'MNIST' if real else 'random bytes: only the times mean anything'
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'TQDM_DISABLE': '1'}
    with tempfile.TemporaryDirectory() as tmp:
        data = folder if real else random_mnist(bench, Path(tmp)/'data')
        line = [sys.executable, '-m', 'diffusion_nbdev', 'fit', '--config', name,
                '--data.data_dir', str(data), *bench.sizes.recipe]
        start = time.perf_counter()
        p = subprocess.run(line, cwd=tmp, env=env, capture_output=True, text=True)
        if p.returncode: raise RuntimeError(p.stderr.strip()[-300:])
        out['seconds'] = time.perf_counter() - start
        model = load(Path(tmp)/'run')
    about = model.card['training']
    out.update({f'training_{k}': about[k] for k in ('seconds', 'steps', 'epochs')})
    if not real: return
    # classes as often as in real images
    model, c = model.to(bench.device), load_extractor().held_out_labels[:2000]
    x = model.generate('dpmpp_2m_sde', n=20, num=len(c), c=c, seed=1).clamp(0, 1)
    out.update(drawn='dpmpp_2m_sde, 20 steps', score=score_images(x, c))

# -- all of it -------------------------------------------------------------------------

PARTS = { # name -> (function, weight in sharing the time that is left), in this order
    'sample': (sample, 6),
    'fit': (functools.partial(training, compile=False), 4),
    'agreement': (agreement, 2),
    'copies': (copies, 1),
    'recipe': (recipe, 5),
    'sample_compiled': (sample_compiled, 5),
    'fit_compiled': (functools.partial(training, compile=True), 6)}

def one_line(*command):
    "What a program prints, or nothing if it is not there or fails"
    with contextlib.suppress(OSError):
        p = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return p.stdout.strip().splitlines()[0] if p.stdout.strip() else ''
    return ''

def versions(*names):
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found

def about(bench, command):
    "The machine, the software, the code"
    cuda = bench.device.type == 'cuda'
    chip = torch.cuda.get_device_properties(bench.device) if cuda else None
    query = ('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')
    package = versions('diffusion_nbdev').get('diffusion_nbdev', 'unknown')
    return dict(
        command=command, device=bench.device.type,
        chip=chip.name if cuda else platform.machine(),
        memory_gib=round(chip.total_memory / 2 ** 30, 1) if cuda else None,
        driver=one_line(*query) if cuda else None, cuda=torch.version.cuda,
        tf32=dict(matmul=torch.backends.cuda.matmul.allow_tf32,
                  cudnn=torch.backends.cudnn.allow_tf32),
        versions=versions('torch', 'lightning', 'numpy'), package=package,
        code=one_line('git', 'describe', '--always', '--dirty') or package,
        code_date=one_line('git', 'log', '-1', '--format=%cs'),
        threads=torch.get_num_threads())

def measured(bench, found):
    "All parts, each with its share of the time that is left"
    todo = list(PARTS)
    while todo:
        if bench.left() <= 0: raise OutOfTime
        name, start = todo[0], time.perf_counter()
        part, weight = PARTS[name]
        share = weight / sum(PARTS[k][1] for k in todo)
        print(f'{name}: up to {bench.left() * share:.0f} s', flush=True)
        out = found[name] = {}
        try: part(bench, start + bench.left() * share, out)
        except Exception as e:
            said = str(e).strip().splitlines() or ['']
            bench.skip(name, f'failed: {type(e).__name__}: {said[-1][:200]}')
        out['all_seconds'] = time.perf_counter() - start
        todo.pop(0)

def gpu(tiny, budget, command):
    "The figures, ready for JSON"
    start, device = time.perf_counter(), 'cpu' if tiny else 'cuda'
    bench = Bench(device, TINY if tiny else FULL, budget)
    found = {}
    try:
        with bench.alarm(): measured(bench, found)
    except OutOfTime:
        for name in PARTS:
            done = 'all_seconds' in found.get(name, {})
            if not done: bench.skip(name, 'cut off: the budget was spent')
    seconds = round(time.perf_counter() - start, 1)
    said = dict(about(bench, command), seconds=seconds)
    return dict(about=said, left_out=bench.left_out, **found)
