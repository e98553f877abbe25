"""Golden samples: numbers of before, so that moving code changes none.

    python tests/golden.py --record    write tests/golden.json anew
    python tests/golden.py             compare, as `tests/test_golden.py` does

A topic is a generator of entries (name, value). Of a value up to ten numbers are kept:
all of them, or eight spread over it, their mean and their root mean square. Objects are
looked up by name in all modules, so a function may move to another module freely; one
that gets another name is listed in `RENAMED`.
"""
import argparse, contextlib, importlib, inspect, io, itertools, json, math, pkgutil
import platform, runpy, sys, tempfile, time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

PACKAGE = 'diffusion_nbdev'
RENAMED = {}  # name in this file -> its name in the package
FILE = Path(__file__).with_suffix('.json')
TOLERANCE = 1e-5  # relative and absolute, on another machine than the recording one
# what is allowed everywhere
LEAST = {'measures/score_images': 1e-6, 'measures/score_images, two sets': 1e-6}
TOPICS = {}  # name -> generator function of entries

# Values other than the default. An option that is missing here stops the recording.
SAMPLER_OPTIONS = dict(var=0.5, eta=0.7, ahead='half', first=1, mean='eps', rtol=1e-5,
                       atol=1e-5, method='DOP853', churn=2., points=1, corrections=2)
GRID_OPTIONS = dict(lo=-4., hi=3., rho=5., small=0.3, large=1.5)
SCHEDULE_OPTIONS = dict(beta_1=3e-4, beta_T=0.015, offset=0.02, beta_max=0.9, start=-2.,
                        end=2.5, tau=0.8)
# that all samplers have
ARGUMENTS = 'f sched x n times noise start grad hook'.split()


# -- objects by name ------------------------------------------------------------------

def modules():
    "All modules of the package but those of the command line, whose names are its own"
    package = importlib.import_module(PACKAGE)
    for found in pkgutil.walk_packages(package.__path__, f'{PACKAGE}.'):
        part = found.name.split('.')[1]
        if part not in ('__main__', '_modidx', 'all', 'cli'):
            yield importlib.import_module(found.name)


def find(name):
    "The object of that name, in whatever module it lives; LookupError if not just one"
    name = RENAMED.get(name, name)
    held = [vars(m)[name] for m in modules() if name in getattr(m, '__all__', ())]
    if not held:
        raise LookupError(f'{name}: no module has it; if it was renamed, see RENAMED')
    if any(o is not held[0] for o in held):
        raise LookupError(f'{name}: several modules have objects of this name')
    return held[0]


def options_of(make, common, values):
    "Each option of a function with a value other than its default"
    for name in inspect.signature(make).parameters:
        if name not in common:
            yield name, {name: values[name]}


def samplers():
    "The package's samplers; not those that a test has registered"
    table = find('SAMPLERS').items()
    return {k: f for k, f in table if f.__module__.startswith(f'{PACKAGE}.')}


# -- numbers --------------------------------------------------------------------------

def flat(value):
    "The numbers in tensors, lists and dicts, one after the other; words are left out"
    if torch.is_tensor(value):
        return value.detach().flatten().tolist()
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, dict):
        return flat(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in flat(v)]
    return [] if value is None or isinstance(value, str) else [value]


def digested(value):
    "What is kept of a value: how many numbers there are, and ten of them; or a word"
    if isinstance(value, str):
        return [value]
    x = flat(value)
    if not x:
        raise ValueError('an entry without numbers')
    if len(x) <= 10:
        kept = x
    else:
        mean = math.fsum(x) / len(x)
        rms = math.sqrt(math.fsum(v * v for v in x) / len(x))
        kept = [x[round(k * (len(x) - 1) / 7)] for k in range(8)] + [mean, rms]
    return [len(x), *(v.hex() if isinstance(v, float) else int(v) for v in kept)]


def number(word):
    "The number that an entry's part stands for; None for a word"
    if not isinstance(word, str):
        return float(word)
    whole = word.lstrip('-')
    return float.fromhex(word) if whole[:2] == '0x' or whole in ('inf', 'nan') else None


def close(a, b, tolerance):
    "Whether two parts of an entry are the same, or near enough"
    if a == b:
        return True
    a, b = number(a), number(b)
    if not tolerance or a is None or b is None:
        return False
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


def difference(name, old, new, tolerance):
    "None, or a line that names the entry, the first number that differs, by how much"
    if len(old) > 1 and len(new) > 1 and old[0] != new[0]:
        return f'{name}: {new[0]} numbers, recorded {old[0]}'
    for k, (a, b) in enumerate(itertools.zip_longest(old, new)):
        if close(a, b, tolerance):
            continue
        x, y = (None if v is None else number(v) for v in (a, b))
        if x is None or y is None:
            return f'{name}: {b}, recorded {a}'
        where = f'{name}: number {k} of {len(old) - 1}'
        return f'{where} is {y!r}, recorded {x!r}, differs by {y - x:.3g}'


def differences(old, new, tolerance):
    "A line for each entry that is not as recorded, missing, or not recorded"
    out = [f'{k}: recorded, but no longer made' for k in old if k not in new]
    out += [f'{k}: not recorded' for k in new if k not in old]
    both = (k for k in old if k in new)
    found = (difference(k, old[k], new[k], allowed(k, tolerance)) for k in both)
    return out + [line for line in found if line]


# -- recording ------------------------------------------------------------------------

def machine():
    "What results depend on to the last bit"
    info = Path('/proc/cpuinfo')
    lines = info.read_text().split('\n\n')[0].splitlines() if info.is_file() else []
    facts = dict(map(str.strip, line.split(':', 1)) for line in lines if ':' in line)
    wanted = 'model name', 'cpu family', 'model'
    processor = ' '.join(facts[k] for k in wanted if k in facts) or platform.processor()
    return dict(processor=processor, torch=str(torch.__version__), numpy=np.__version__,
                capability=torch.backends.cpu.get_cpu_capability())


@contextlib.contextmanager
def one_thread():
    "One thread, float32 as it is, and the generator's state given back afterwards"
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def entries(topic):
    "name -> what is kept, for each entry of a topic"
    out = {}
    with one_thread():
        for name, value in TOPICS[topic]():
            if f'{topic}/{name}' in out:
                raise ValueError(f'{topic}/{name}: there are two entries of this name')
            out[f'{topic}/{name}'] = digested(value)
    return out


def read(path=FILE):
    "The recording: machine and entries"
    return json.loads(path.read_text(encoding='utf-8'))


def write(found, path=FILE):
    "One line an entry, so that a difference of two recordings can be read"
    compact = (json.dumps(v, separators=(',', ':')) for v in found.values())
    lines = ',\n'.join(f'{json.dumps(k)}: {v}' for k, v in zip(found, compact))
    text = f'{{"machine": {json.dumps(machine())},\n"entries": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding='utf-8')


def tolerance_for(recording):
    "0, every bit, on the machine that recorded; elsewhere rounding may differ"
    return 0. if recording['machine'] == machine() else TOLERANCE


def allowed(name, tolerance):
    "How far an entry may be off: roots of matrices differ from run to run"
    return max(tolerance, LEAST.get(name, 0.))


def topic(make):
    "Decorator: enters a generator of entries into TOPICS"
    TOPICS[make.__name__] = make
    return make


# -- what the entries are made from ---------------------------------------------------

def draw(*shape, seed=0, dtype=torch.float64):
    "Fixed normal numbers, from a generator that will never change and is not ours"
    x = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(x).to(dtype)


def own_noise(x, k):
    "Noise for a sampler, whatever the package's own generator does"
    return draw(*x.shape, seed=1000 + k, dtype=x.dtype)


def linear():
    return find('linear_schedule')()


def ring(std=0.4):
    return find('ring_mixture')(linear(), 4, std)


def filled(net, size=0.05):
    "The net with fixed numbers added to all weights: some of its layers start at zero"
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p += size * draw(*p.shape, seed=k, dtype=p.dtype)
    return net


def drawn(model, sampler='ddim', **options):
    "Samples in float32, also where the model would choose bfloat16"
    return model.generate(sampler, precision='32', **options)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def seeded(make, *args, **options):
    "A net as its constructor makes it, from one seed"
    torch.manual_seed(0)
    return make(*args, **options)


# -- topics ---------------------------------------------------------------------------

@topic
def schedules():
    made = {}
    for name, make in find('SCHEDULES').items():
        made[name] = make()
        made[f'{name}, few'] = make(T=50)
        for option, value in options_of(make, ('T',), SCHEDULE_OPTIONS):
            made[f'{name}, {option}'] = make(**value)
    made['betas'] = find('schedule_from_betas')([0.1, 0.2, 0.5, 0.7])
    made['one'] = find('schedule_from_betas')([0.3])
    coefficients = 'signal noise alpha_bar beta snr log_snr'.split()
    for name, sched in made.items():
        T = sched.T
        times = [0.5, 1., 0.3 * T + 0.7 / T, 0.7 * T, T]
        times = torch.tensor(times, dtype=torch.float64)
        whole = torch.tensor([1, T // 2 + 1, T]).clamp(max=T)
        yield f'{name}/table', sched.table[1:]
        changed = ', ' in name  # the coefficients are functions of the table alone
        for part in coefficients[:2] if changed else coefficients:
            at = getattr(sched, part)
            yield f'{name}/{part}', [at(times), at(whole), at(1), at(T - 0.25)]
        share = torch.arange(6, dtype=torch.float64) / 5
        between = sched.table[-1] + share * (sched.table[1] + 3 - sched.table[-1])
        yield f'{name}/t_at', [sched.t_at(between), sched.t_at(sched.table[-1].item())]


@topic
def predictions():
    sched = linear()
    for dtype in (torch.float64, torch.float32):
        x0, eps, out = (draw(3, 2, seed=k, dtype=dtype) for k in range(3))
        kind = str(dtype).removeprefix('torch.')
        for where, t in dict(number=300, real=300.5, each=torch.tensor([1, 400, 1000]),
                             reals=torch.tensor([0.5, 400.25, 999.])).items():
            xt = find('diffuse')(sched, x0, t, eps)
            yield f'{kind}/{where}/diffuse', xt
            for pred in find('PREDS'):
                name = f'{kind}/{where}/{pred}'
                yield f'{name}/target', find('target')(sched, x0, eps, t, pred)
                yield f'{name}/x0_from', find('x0_from')(sched, xt, out, t, pred)
                yield f'{name}/eps_from', find('eps_from')(sched, xt, out, t, pred)
                if kind == 'float64':
                    yield f'{name}/x0_weight', find('x0_weight')(sched, t, pred)
                    yield f'{name}/min_snr', find('min_snr')(2.)(sched, t, pred)


@topic
def steps():
    sched, xt, x0 = linear(), draw(3, 2), draw(3, 2, seed=1)
    each = torch.tensor([1000, 500, 2]), torch.tensor([700, 100, 1])
    pairs = dict(number=(700, 400), real=(700.5, 0.5), last=(1, 0), each=each)
    ddim_step, reverse_var = find('ddim_step'), find('reverse_var')
    for where, (t, s) in pairs.items():
        yield f'{where}/posterior', find('posterior')(sched, xt, x0, t, s)
        for eta in (0., 0.6, 1.):
            yield f'{where}/ddim_step, {eta}', ddim_step(sched, xt, x0, t, s, eta)
        for var in (*find('VARIANCES'), 0.3):
            yield f'{where}/reverse_var, {var}', reverse_var(sched, t, s, var)
    yield 'posterior of the step before', find('posterior')(sched, xt, x0, 700)
    images = 2 * draw(3, 1, 4, 4, seed=2)
    for clip, quantile in ((None, None), (1., None), ((-0.5, 1.), None), (1., 0.9)):
        name = f'threshold, {clip}, {quantile}'
        yield name, find('threshold')(images, clip, quantile)


@topic
def denoisers():
    oracle = ring()
    sched, xt, c = oracle.sched, draw(4, 2), torch.tensor([0, 3, -1, 1])
    other = find('ring_mixture')(sched, 4, 0.7)
    each = torch.tensor([900, 500, 20, 1])
    cases = dict(
        plain=dict(), label=dict(c=2), labels=dict(c=c), w=dict(c=c, w=1.5),
        interval=dict(c=c, w=1.5, interval=(100, 600)), clip=dict(clip=0.8),
        pair=dict(clip=(-0.5, 1.)), quantile=dict(clip=0.5, quantile=0.8),
        rescale=dict(c=c, w=2., rescale=0.7))
    for pred in find('PREDS'):
        net = find('oracle_net')(oracle, pred)
        weak = find('oracle_net')(other, pred)
        guided = dict(guide=weak, w=1.2)
        for name, options in {**cases, 'guide': guided,
                              'guide and labels': dict(guided, c=c)}.items():
            f = find('denoiser')(net, sched, pred, **options)
            yield f'{pred}/{name}', [f(xt, 500), f(xt, 300.5), f(xt, each), f.calls]
    torch.manual_seed(5)
    yield 'eps_error', find('eps_error')(sched, oracle, 0.2)(xt, 400)


@topic
def oracles():
    sched = linear()
    points, groups = draw(6, 2, seed=3), torch.tensor([0, 1, 2, 0, 1, 2])
    made = dict(
        gauss=find('gaussian_oracle')(sched, torch.tensor([0.5, -1.]), 0.7),
        ring=ring(), ring_shares=find('ring_mixture')(sched, 3, 0.2, [1., 2., 3.]),
        roll=find('swissroll_oracle')(sched),
        roll_units=find('swissroll_oracle')(sched, 0.8, 0.2, 40, 0.1, 1.04),
        points=find('dataset_oracle')(sched, points, groups),
        many=find('Mixture')(sched, draw(5, 1, 5, 5, seed=4), 0.3, [1, 2, 1, 2, 1.]))
    each = torch.tensor([2, 300, 1000])
    for name, oracle in made.items():
        xt = draw(3, *oracle.shape, seed=5)
        labels = [None] if not oracle.n_classes else [None, torch.tensor([0, 2, -1])]
        for c in labels:
            given = name if c is None else f'{name}, labels'
            for where, t in dict(number=350, real=20.5, each=each).items():
                yield f'{given}/{where}/x0_hat', oracle(xt, t, c)
                yield f'{given}/{where}/score', oracle.score(xt, t, c)
                yield f'{given}/{where}/log_density', oracle.log_density(xt, t, c)
                yield f'{given}/{where}/posterior_var', oracle.posterior_var(xt, t, c)
            yield f'{given}/sample', list(oracle.sample(3, 7, c))
        yield f'{name}/float32', oracle(xt.float(), 350)
    for pred in find('PREDS'):
        net = find('oracle_net')(made['ring'], pred)
        yield f'net, {pred}', net(draw(3, 2), each, torch.tensor([1, -1, 3]))


@topic
def grids():
    sched, short, oracle = linear(), find('cosine_schedule')(T=40), ring()
    ours = {k: g for k, g in find('GRIDS').items() if g.__module__.startswith(PACKAGE)}
    for name, grid in ours.items():
        yield f'{name}/times', [*grid(sched, 8), *grid(short, 5)]
        yield f'{name}/one', grid(sched, 1)
        yield f'{name}/all', grid(short, 40)
        states = find('dpmpp_2m')(oracle, sched, draw(3, 2), 6, name)
        yield f'{name}/samples', find('last')(states)
        for option, value in options_of(grid, 'sched n start end'.split(),
                                        GRID_OPTIONS):
            yield f'{name}/{option}', grid(sched, 8, **value)


@topic
def solvers():
    oracle, cosine = ring(), find('cosine_schedule')(T=30)
    other, last, x = find('ring_mixture')(cosine, 3, 0.3), find('last'), draw(3, 2)
    for name, sampler in samplers().items():
        common = dict(noise=own_noise, n=6)
        states = sampler(oracle, oracle.sched, x, **common)
        yield f'{name}/path', [torch.stack(list(states)), states.calls]
        single = sampler(oracle, oracle.sched, x.float(), **common)
        yield f'{name}/float32', last(single)
        yield f'{name}/cosine', last(sampler(other, cosine, x, **common))
        given = [1000, 800.5, 300, 20, 0]
        states = sampler(oracle, oracle.sched, x, times=given, noise=own_noise)
        yield f'{name}/given', last(states)
        part = sampler(oracle, oracle.sched, x, times=given[1:], noise=own_noise)
        yield f'{name}/from below T', last(part)
        for option, value in options_of(sampler, ARGUMENTS, SAMPLER_OPTIONS):
            states = sampler(oracle, oracle.sched, x, **common, **value)
            yield f'{name}/{option}', [last(states), states.calls]
    for noise in (3, torch.Generator().manual_seed(3), None):
        torch.manual_seed(4)
        states = find('ddpm')(oracle, oracle.sched, x, n=5, noise=noise)
        yield f'ddpm/noise, {type(noise).__name__}', last(states)
    for refine in (0, 1, 2):
        back = find('ddim_invert')(oracle, oracle.sched, x, n=8, refine=refine)
        yield f'ddim_invert/refine {refine}', [torch.stack(list(back)), back.calls]
    a, b = draw(3, 5, seed=1), draw(3, 5, seed=2)
    yield 'slerp', find('slerp')(a, b, 0.3)
    each = torch.tensor([0., 0.4, 1.], dtype=torch.float64)
    yield 'slerp, each', find('slerp')(a, b, each)
    yield 'slerp, parallel', find('slerp')(a, 2 * a, 0.25)


@topic
def shipped_points():
    model = find('load')('swissroll')
    for name in samplers():
        x = drawn(model, name, num=3, seed=1)
        yield name, [x, model.calls]
    yield 'start', drawn(model, num=3, n=5, seed=2 ** 40, batch_size=2, clip=None)
    yield 'net', model.net(draw(3, 2, dtype=torch.float32), torch.tensor([5, 100, 900]))
    yield 'weights', weights(model.net)


@topic
def shipped_digits():
    load, c = find('load'), torch.tensor([1, 5, 7])
    model, same = load('mnist_cond'), dict(num=3, n=3, seed=1)
    for name in samplers():
        rough = dict(rtol=0.3, atol=0.3) if name == 'ode' else {}
        yield name, drawn(model, name, c=c, **same, **rough)
    cases = dict(w=dict(w=2.), interval=dict(w=2., interval=(200, 700)),
                 rescale=dict(w=2., rescale=0.7), quantile=dict(w=2., quantile=0.95),
                 guide=dict(w=1., guide=load('mnist_weak')), eta=dict(eta=1.),
                 grid=dict(times='visible'), unclipped=dict(clip=None))
    for name, options in cases.items():
        yield f'ddim, {name}', drawn(model, c=c, **same, **options)
    yield 'no label', drawn(model, **same)
    yield 'uncond', drawn(load('mnist_uncond'), **same)
    x = draw(2, 1, 28, 28, dtype=torch.float32)
    with torch.no_grad():
        yield 'net', model.net(x, torch.tensor([50, 600]), torch.tensor([3, -1]))


def net_cases():
    "Small nets: name -> maker, arguments, shape of a sample, labels"
    unet, mlp = find('UNet'), find('PointMLP')
    small, c = dict(channels=(8, 16), emb_dim=16, heads=2), torch.tensor([0, -1, 2])
    changes = {
        'plain': {}, 'patch': dict(patch=2), 'no attention': dict(attention=False),
        'add': dict(skip='add'), 'blocks': dict(blocks=2), 'labels': dict(n_classes=3),
        'three levels': dict(channels=(8, 8, 16)), 'one level': dict(channels=(8,)),
        'colour': dict(in_channels=3), 'answer': dict(out_channels=2),
        **{f'norm {k}': dict(norm=k) for k in find('NORMS')},
        **{f'upsample {k}': dict(upsample=k) for k in find('UPSAMPLE')}}
    for name, options in changes.items():
        shape = (options.get('in_channels', 1), 9, 12)
        labels = c if 'n_classes' in options else None
        yield f'UNet/{name}', unet, {**small, **options}, shape, labels
    yield 'PointMLP/plain', mlp, dict(width=16), (2,), None
    yield 'PointMLP/labels', mlp, dict(dim=3, width=16, n_classes=3), (3,), c
    yield 'PointMLP/deep', mlp, dict(width=16, depth=5, emb_dim=20), (2,), None


@topic
def nets():
    for name, make, options, shape, c in net_cases():
        net = seeded(make, **options)
        yield f'{name}/start', weights(net)
        filled(net).eval()
        x = draw(3, *shape, dtype=torch.float32)
        with torch.no_grad():
            yield f'{name}/each', net(x, torch.tensor([1, 300, 1000]), c)
            yield f'{name}/one time', net(x, torch.tensor([20.5]), c)
            yield f'{name}/float64', net.double()(x.double(), torch.tensor([300]), c)
    net = filled(seeded(find('UNet'), channels=(8, 16), emb_dim=16, dropout=0.4))
    torch.manual_seed(3)
    x = draw(3, 1, 8, 8, dtype=torch.float32)
    yield 'UNet/dropout', net.train()(x, torch.tensor([300]))
    net = filled(seeded(find('UNet'), channels=(8,), emb_dim=16, norm='batch'))
    yield 'UNet/norm batch, training', net.train()(x, torch.tensor([300]))
    small = filled(seeded(find('UNet'), channels=(8, 16), emb_dim=16))
    large = seeded(find('UNet'), channels=(8, 16), emb_dim=16, blocks=2)
    grown = find('grow')(large, small.state_dict())
    yield 'UNet/grown', grown(x, torch.tensor([300]))
    times = torch.tensor([0., 1.5, 700.])
    yield 'time_features', find('time_features')(times, 8)
    yield 'time_features, float64', find('time_features')(times.double(), 8, 100.)
    embed = filled(seeded(find('Embedding'), 8, 3))
    yield 'Embedding', embed(times, torch.tensor([2, -1, 0]), 3)
    yield 'Embedding, one', embed(40, None, 3)
    film = filled(seeded(find('FiLM'), 4, 8))
    e = draw(3, 8, seed=1, dtype=torch.float32)
    yield 'FiLM', film(draw(3, 4, 2, 2, dtype=torch.float32), e)
    judge = seeded(find('DigitNet'), width=4, dim=8).eval()
    yield 'DigitNet', filled(judge)(draw(2, 1, 28, 28, dtype=torch.float32))


@topic
def losses():
    sched, min_snr = linear(), find('min_snr')
    cases = {f'{p}, {k}': dict(pred=p, loss=k) for p in find('PREDS') for k in
             find('LOSSES')}
    cases |= {f'times {k}': dict(times=k) for k in find('TIMES')}
    cases |= {f'gamma, {p}': dict(pred=p, weight=min_snr(3.)) for p in find('PREDS')}
    cases |= dict(w=dict(w=1.5), each=dict(reduce=False))
    wanted = 'UNet/labels', 'PointMLP/plain', 'PointMLP/labels'
    for name, make, options, shape, c in net_cases():
        if name not in wanted:
            continue
        net, weak = (filled(seeded(make, **options), size) for size in (0.05, 0.03))
        x0 = draw(3, *shape, dtype=torch.float32)
        more = dict(guide=dict(w=0.7, guide=weak))
        eps = draw(*x0.shape, seed=1, dtype=torch.float32)
        given = dict(t=torch.tensor([1, 400, 1000]), eps=eps)
        for case, options in {**cases, **more}.items():
            if case == 'w' and c is None:
                continue
            fixed = {} if 'times' in options else given
            torch.manual_seed(2)
            net.zero_grad()
            loss = find('diffusion_loss')(net, sched, x0, c, **fixed, **options)
            loss.mean().backward()
            squares = (p.grad.double().square().sum() for p in net.parameters())
            yield f'{name}/{case}', [loss, sum(squares).sqrt()]


@topic
def measures():
    x, y = draw(60, 2, seed=1), 1.1 * draw(60, 2, seed=2) + 0.2
    z, features = draw(45, 2, seed=3), [draw(n, 6, seed=n) for n in (50, 40)]
    for name, metric in find('METRICS').items():
        yield name, [metric(x, y), metric(x, z), metric(x[:1], y)]
    yield 'sliced_w2, options', find('sliced_w2')(x, y, n_proj=7, seed=5)
    yield 'w2_squared', [find('w2_squared')(x.T, y.T), find('w2_squared')(x.T, z.T)]
    yield 'directions', find('directions')(3, 4, 5)
    yield 'frechet', find('frechet')(*features)
    yield 'kid', [find('kid')(*features), find('kid')(features[0], features[0] + 0.1)]
    shares = [find('precision_recall')(*features, k=k) for k in (1, 3, 5)]
    yield 'precision_recall', shares
    yield 'radii', find('radii')(features[0])
    yield 'excess', [*find('excess')([9., 4.], [4., 1., 2.])]

    def real(n, seed):
        return draw(n, 2, seed=seed)

    def made(n, seed):
        return 1.2 * draw(n, 2, seed=100 + seed)
    for name in find('METRICS'):
        score = find('score_points')(made, real, 50, name, seeds=2, pairs=3)
        yield f'score_points, {name}', score
    floor = find('floor_of')('sliced_w2', real, 30, 4, n_proj=9)
    yield 'floor_of', [floor.draws, floor.value, floor.std]
    pictures = (0.3 * draw(12, 1, 28, 28, seed=4) + 0.4).clamp(0, 1)
    yield 'score_images', find('score_images')(pictures, torch.arange(12) % 10)
    both, c = [pictures, 1 - pictures], torch.arange(12) % 10
    yield 'score_images, two sets', find('score_images')(both, c)
    net = find('load_extractor')().net
    yield 'digit_features', find('digit_features')(net, pictures[:3])
    yield 'image_grid', find('image_grid')(2 * pictures[:6] - 1, 3)


@topic
def noises():
    SeededNoise, x = find('SeededNoise'), torch.empty(5, 2, dtype=torch.float64)
    cases = itertools.product((0, 7, 2 ** 62), (0, 127, 5000), (0, 1, 999))
    for seed, start, step in cases:
        name = f'seed {seed}, from {start}, step {step}'
        yield name, SeededNoise(seed, start)(x, step)
    yield 'images', SeededNoise(1)(torch.empty(2, 1, 6, 6), 3)
    for times in find('TIMES'):
        torch.manual_seed(1)
        yield f'draw_times, {times}', find('draw_times')(1000, 10, times=times)
        yield f'draw_times, {times}, u', find('draw_times')(50, 9, 0.3, times)


def rows_of(loader):
    "Row numbers of all batches of an epoch"
    return [batch[2] for batch in loader]


@topic
def batches():
    yield 'seed_of', [find('seed_of')(0, 'order', 3), find('seed_of')(1)]
    rates = [(0, 100, 10), (9, 100, 10), (50, 100, 0), (100, 100, 0), (5, math.inf, 0)]
    yield 'lr_factor', [find('lr_factor')(*r) for r in rates]
    yield 'lr_factor, constant', find('lr_factor')(3, 10, 8, 'constant')
    order = find('SeededBatches')(11, 4, seed=3)
    for epoch in range(2):
        order.set_epoch(epoch)
        yield f'SeededBatches, epoch {epoch}', list(order)
    yield 'SeededBatches, in order', list(find('SeededBatches')(11, 4, shuffle=False))
    halves = [find('parts')(torch.arange(11), 2, rank, 2) for rank in range(2)]
    yield 'parts', halves
    x, c = draw(20, 3, seed=1) * 2 + 1, torch.arange(20) % 3
    units = find('measured_units')(x, c)
    yield 'measured_units', vars(units)
    yield 'units', [units.to_model(x), units.to_data(x)]
    data = find('TensorData')(x, c, batch_size=6, held_out=0.15, seed=2)
    for part in ('train', 'val', 'test'):
        loader = getattr(data, f'{part}_dataloader')()
        yield f'TensorData/{part}', [batch[:2] for batch in loader]
        yield f'TensorData/{part}, rows', rows_of(loader)
    roll = find('swissroll')
    yield 'swissroll', [roll(4, 3), roll(2, 2 ** 40, 0.2, 0.3)]
    for fresh in (True, False):
        data = find('SwissRollData')(20, 6, fresh, 8, seed=4)
        loader = data.train_dataloader()
        first = [batch[0] for batch in loader]
        loader.sampler.set_epoch(1)
        second = [batch[0] for batch in loader]
        yield f'SwissRollData, fresh {fresh}', [first, second]
        yield f'SwissRollData, fresh {fresh}, held out', [
            batch[0] for part in (data.val_dataloader(), data.test_dataloader())
            for batch in part]
    yield 'digits', list(find('digits')())
    angle = torch.tensor([0.2, -1., 3.])
    yield 'rotate', find('rotate')(draw(3, 1, 7, 7).clamp(-1, 1), angle.double())
    for degrees in (0., 20.):
        data = find('MNISTData')('digits', batch_size=16, degrees=degrees, seed=1)
        data.setup()
        x, c, rows = next(iter(data.train_dataloader()))
        yield f'MNISTData, {degrees}', [x, c, rows]
        yield f'MNISTData, {degrees}, labels and rows', [c, rows]


@topic
def files():
    with tempfile.TemporaryDirectory() as folder:
        yield from files_in(Path(folder))


def files_in(folder):
    x, c = draw(5, 2, seed=1), torch.tensor([0, 1, 2, 1, 0])
    table = torch.cat([x[:, :1], c[:, None], x[:, 1:]], 1).tolist()
    text = '\n'.join(','.join(repr(v) for v in row) for row in table)
    (folder/'plain.csv').write_text(text)
    (folder/'named.csv').write_text('a,kind,b\n' + text)
    np.savez(folder/'both.npz', x=x.numpy(), c=c.numpy())
    torch.save(dict(x=x, c=c), folder/'both.pt')
    torch.save(x, folder/'alone.pt')
    for path in sorted(folder.iterdir()):
        labels = 'kind' if path.stem == 'named' else None
        yield f'read_points, {path.name}', find('read_points')(path, labels)
    data = find('FileData')(folder/'both.npz', batch_size=2)
    yield 'FileData', [batch[:2] for batch in data.train_dataloader()]

    header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2])
    (folder/'images').write_bytes(header + bytes(range(10, 22)))
    yield 'read_idx', find('read_idx')(folder/'images')

    # Weights that are exact everywhere, so that the digest is the same on all machines.
    net = find('PointMLP')(width=8)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.arange(p.numel()).view_as(p) % 64 / 64 - 0.5)
    units = find('Units')([2], 0.25, 2., 3., 0, 'points')
    model = find('Model')(net, find('cosine_schedule')(T=100), 'eps', units)
    yield 'digest', find('digest')(net.state_dict())
    for half in (False, True):
        path = model.save(folder/'model.safetensors', half=half)
        loaded = find('load')(path)
        yield f'save, half {half}', loaded.card['sha256']
        yield f'load, half {half}', drawn(loaded, n=4, num=3, seed=1)
        yield f'card, half {half}', [loaded.card[k] for k in ('data', 'format', 'half')]
        yield f'recipe, half {half}', json.dumps(loaded.card['sched']['init_args'])
    model.sched = find('Schedule')(model.sched.table)
    loaded = find('load')(model.save(folder/'bare.safetensors'))
    yield 'a schedule without a recipe', loaded.sched.table[1:]


@topic
def trainings():
    with tempfile.TemporaryDirectory() as folder:
        yield from trainings_in(Path(folder))


def trained(folder, name, data, net, model=None, resume=None, **options):
    "A short training on the CPU: the module, and entries of losses and final weights"
    from lightning.pytorch.loggers import CSVLogger
    lit_options = options.pop('lit', {})
    model = find('Model')(net, linear(), options.pop('pred', 'v'), data.units)
    lit, history = find('LitDiffusion')(model, **lit_options), find('History')()
    find('fit')(lit, data, pictures=0, progress=False, callbacks=[history],
                resume=resume, logger=CSVLogger(folder, name), accelerator='cpu',
                devices=1, precision='32-true', num_sanity_val_steps=0, **options)
    return [('losses', [v.item() for _, v in history.train]),
            ('validation', [v for _, v in history.val]), ('weights', weights(net)),
            ('samples', drawn(lit.model, n=3, num=2, seed=1))]


def trainings_in(folder):
    def points():
        data = find('SwissRollData')(48, 12, batch_size=8, seed=1)
        return data, seeded(find('PointMLP'), width=16)
    lit = dict(lr=3e-3, warmup=5, seed=3)
    same = dict(ema=0.9, max_steps=30)
    for name, value in trained(folder, 'roll', *points(), lit=lit, **same):
        yield f'points/{name}', value
    lit = dict(lit, decay='constant')
    for name, value in trained(folder, 'whole', *points(), lit=lit, **same):
        yield f'points, constant/{name}', value
    trained(folder, 'part', *points(), lit=lit, **{**same, 'max_steps': 15})
    checkpoint = find('newest_checkpoint')(folder/'part')
    found = trained(folder, 'rest', *points(), lit=lit, resume=checkpoint, **same)
    for name, value in found:
        yield f'points, resumed/{name}', value

    x, c = draw(40, 2, seed=1), torch.arange(40) % 3
    data = find('TensorData')(x, c, batch_size=8)
    net = seeded(find('PointMLP'), width=16, n_classes=3)
    away = find('TrainedGuidance')(w=1., w_from=0.5, loss='l1', gamma=5.)
    lit = dict(lit, objective=away, weight_decay=0.01)
    found = trained(folder, 'labels', data, net, lit=lit, pred='x0', ema=None,
                    max_steps=12, gradient_clip_val=1.)
    for name, value in found:
        yield f'labels/{name}', value

    data = find('MNISTData')('digits', batch_size=8, degrees=10., seed=1)
    net = seeded(find('UNet'), channels=(8, 16), emb_dim=16, n_classes=10, patch=2)
    lit = dict(warmup=2, times='logit_normal', seed=2)
    found = trained(folder, 'digits', data, net, lit=lit, ema=0.9, max_steps=5,
                    limit_val_batches=2, val_check_interval=5)
    for name, value in found:
        yield f'digits/{name}', value


def command(*args):
    "Run the command line in this process"
    with mock.patch.object(sys, 'argv', ['diffusion', *args]):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                runpy.run_module(PACKAGE, run_name='__main__')
            except SystemExit as e:
                if e.code:
                    raise RuntimeError(f'{args} ended with {e.code}') from None


@topic
def commands():
    same = '--device', 'cpu', '--precision', '32', '--quiet'
    with tempfile.TemporaryDirectory() as folder:
        out = f'{folder}/x.csv'
        command('sample', 'swissroll', '--n', '3', '--out', out, *same)
        yield 'sample swissroll', np.loadtxt(out, delimiter=',', skiprows=1)
        options = '--sampler', 'ddpm', '--steps', '7', '--var', 'beta', '--seed', '5'
        command('sample', 'swissroll', '--n', '3', '--out', out, *options, *same)
        yield 'sample swissroll, ddpm', np.loadtxt(out, delimiter=',', skiprows=1)
        out = f'{folder}/x.npz'
        options = '--class', '3,7', '--w', '1.5', '--steps', '3', '--grid', 'visible'
        command('sample', 'mnist_cond', '--n', '3', '--out', out, *options, *same)
        with np.load(out) as found:
            yield 'sample mnist_cond', found['x']
            yield 'sample mnist_cond, labels', found['c']


# -- the command ----------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--record', action='store_true', help=f'write {FILE.name} anew')
    parser.add_argument('topics', nargs='*', metavar='TOPIC', help=', '.join(TOPICS))
    args = parser.parse_args()
    if args.record and args.topics:
        parser.error('a recording is of all topics')
    found = {}
    for name in args.topics or TOPICS:
        start = time.perf_counter()
        new = entries(name)
        print(f'{name:<15} {len(new):>4} entries {time.perf_counter() - start:>6.1f} s')
        found |= new
    if args.record:
        write(found)
        print(f'{len(found)} entries, {FILE.stat().st_size:,} bytes: {FILE}')
        return 0
    recording = read()
    topics = args.topics or list(TOPICS)
    old = {k: v for k, v in recording['entries'].items() if k.split('/')[0] in topics}
    lines = differences(old, found, tolerance_for(recording))
    print(*lines, f'{len(found)} entries, {len(lines)} differ', sep='\n')
    return int(bool(lines))


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    raise SystemExit(main())
