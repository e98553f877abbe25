"""On another device: nothing fails, the numbers are the CPU's, nobody waits in vain.

No machine that tests this project has an accelerator, so `far.py` pretends to be one.
"""
import contextlib
import copy
import functools
import re
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import far
from diffusion_nbdev.ddim import ddim, ddim_invert, ddim_step, slerp
from diffusion_nbdev.ddpm import (
    LOSSES, TIMES, diffusion_loss, min_snr, posterior, reverse_var, x0_weight)
from diffusion_nbdev.guidance import denoiser, threshold
from diffusion_nbdev.judge import (
    Extractor, digit_features, load_extractor, score_images)
from diffusion_nbdev.metrics import energy_distance, sliced_w2
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import (
    OracleNet, dataset_oracle, gaussian_oracle, ring_mixture, swissroll_oracle)
from diffusion_nbdev.sampling import GRIDS, SAMPLERS, enter_all, last
from diffusion_nbdev.schedules import (
    PREDS, cosine_schedule, diffuse, eps_from, target, x0_from)
from diffusion_nbdev.unet import PointMLP, UNet

enter_all()
T = 50
close = functools.partial(assert_close, atol=2e-4, rtol=2e-4, check_dtype=False)


def test_the_hook_of_pytorch_is_there():
    # older versions skip the tests below, and newer ones must not do so unnoticed
    version = tuple(map(int, torch.__version__.split('.')[:2]))
    assert far.AVAILABLE or version < (2, 14), f'torch has no {far.HOOK} any more'


@pytest.fixture(params=far.FLAVOURS)
def device(request):
    if not far.AVAILABLE:
        pytest.skip(f'torch {torch.__version__} has no {far.HOOK}')
    with far.pretend(request.param) as there:
        yield there


@contextlib.contextmanager
def no_waits(at_most=0, but=()):
    "Fail if there are more waits inside, and say where they come from"
    with far.waits() as seen:
        yield
    seen = [line for line in seen if not any(b in line for b in but)]
    lines = '\n  '.join(seen)
    assert len(seen) <= at_most, f'{len(seen)} waits, not {at_most}:\n  {lines}'


def looks(n):
    "How often a sampler of n steps may look whether its numbers are finite"
    return n // 10 + 1


def awake(net):
    "A net whose last layer does not start at zero"
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net


def points(n_classes=0, pred='v', clip=3., T=T, seed=0):
    torch.manual_seed(seed)
    net = awake(PointMLP(width=16, depth=1, n_classes=n_classes, emb_dim=8))
    data = Units([2], mean=0.3, std=1.5, clip=clip, n_classes=n_classes)
    return Model(net, cosine_schedule(T), pred, data).eval()


def pictures(n_classes=0):
    torch.manual_seed(0)
    net = awake(UNet(1, channels=[8, 16], n_classes=n_classes, emb_dim=8))
    data = Units([1, 8, 8], mean=0.5, std=0.5, clip=1., n_classes=n_classes)
    return Model(net, cosine_schedule(T), 'v', data).eval()


def moved(model, device):
    return copy.deepcopy(model).to(device)


def noise(shape=(5, 2), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sampled(model, name, x, n=6, **options):
    "The last state, and no more waits on the way than allowed"
    options.setdefault('noise', 3)
    f = model.denoiser()
    states = SAMPLERS[name](f, model.sched, x, n=n, **options)
    with no_waits(1_000 if name == 'ode' else looks(n)):
        return last(states)


@functools.cache
def sampled_here(make, name, shape=(5, 2), **options):
    "On the CPU, once for both flavours of the device"
    return sampled(make(), name, noise(shape), **options)


def same_here_and_there(make, device, name, shape=(5, 2), **options):
    x = noise(shape)
    there = sampled(moved(make(), device), name, x.to(device), **options)
    assert there.device == device and there.dtype == x.dtype
    close(there.cpu(), sampled_here(make, name, shape, **options))


# --- the pretended device itself


def test_waits_are_counted(device):
    x, y = torch.randn(4, 2, device=device), torch.randn(4, 2)
    k = torch.arange(2, device=device)
    waiting = dict(
        item=lambda: x.sum().item(), bool=lambda: bool(x.sum() > 0),
        int=lambda: int(k[0]), text=lambda: f'{x.sum():g}', list=lambda: x.tolist(),
        cpu=lambda: x.cpu(), to=lambda: y.to(device), fill=lambda: x.copy_(y),
        tensor=lambda: torch.tensor([1., 2.], device=device),
        as_tensor=lambda: torch.as_tensor(y, device=device),
        back=lambda: y.copy_(x), mask=lambda: x[x > 0], nonzero=lambda: x.nonzero(),
        equal=lambda: torch.equal(x, x), allclose=lambda: torch.allclose(x, x),
        unique=lambda: k.unique(), rows=lambda: x[torch.arange(2)],
        select=lambda: torch.masked_select(x, x > 0),
    )
    for name, f in waiting.items():
        with far.waits() as seen:
            f()
        assert len(seen) == 1, (name, seen)
        assert 'test_devices.py' in seen[0], seen


def test_what_is_no_wait(device):
    x, y = torch.randn(4, 2, device=device), torch.randn(4, 2)
    with no_waits():
        x + torch.full((4, 1), 2., device=device) + torch.arange(2, device=device)
        x * torch.tensor(2., dtype=torch.float64) + torch.tensor(1)
        torch.where(x > 0, x, 1.).isfinite().all()
        y.to(device, non_blocking=True)
        x[torch.arange(2, device=device)] + x[:2] + x[0, 1]
        torch.quantile(x.abs(), 0.9, dim=1)
        torch.cat([x, x]).chunk(2)[0].std(1)
        nn.functional.silu(nn.Linear(2, 3, device=device)(x)).sum().backward()


def test_devices_do_not_mix(device):
    x, y = torch.randn(4, 2, device=device), torch.randn(4, 2)
    k = torch.arange(2, device=device)
    for wrong in (lambda: x + y, lambda: torch.cat([x, y]), lambda: x @ y.T,
                  lambda: y[k], lambda: torch.where(y > 0, x, x),
                  lambda: x.__setitem__(slice(2), y[:2].T @ y[:2] + x),
                  lambda: nn.functional.embedding(torch.tensor(1), x)):
        with pytest.raises(RuntimeError, match='same device'):
            wrong()
    with pytest.raises(TypeError, match='numpy'):
        x.numpy()
    with pytest.raises(RuntimeError, match='generator'):
        torch.randn(3, generator=torch.Generator(), device=device)


def test_its_random_numbers_are_its_own(device):
    def draw(where):
        torch.manual_seed(0)
        return torch.randn(3, device=where), torch.randn(3)
    (here, after_here), (there, after_there) = draw('cpu'), draw(device)
    assert not torch.equal(here, there.cpu()) and torch.equal(here, after_there)
    assert torch.equal(there, draw(device)[0])
    torch.get_device_module(device).manual_seed(7)
    again = torch.randn(3, device=device)
    torch.get_device_module(device).manual_seed(7)
    assert torch.equal(again, torch.randn(3, device=device))


def test_one_flavour_knows_no_float64(device):
    wrong = (lambda: torch.zeros(2, dtype=torch.float64, device=device),
             lambda: torch.zeros(2, device=device).double(),
             lambda: torch.zeros(2, dtype=torch.float64).to(device))
    for f in wrong:
        if device.type == 'mps':
            with pytest.raises(TypeError, match='float64'):
                f()
        else:
            assert f().dtype is torch.float64
    # the number is cast before it moves
    assert torch.zeros(2).double().to(device, torch.float32).device == device


# --- schedules and the algebra of a step


def times_of(device):
    "Every way to say when, at which two devices must agree"
    long = torch.tensor([1, 7, 20, 49, 50])
    real = torch.tensor([1., 0.5, 20.25, 49.9, 50.])
    return dict(
        number=(7, 7), real=(7.25, 7.25), zero_dim=(long[1], long[1]),
        one=(long[1:2], long[1:2]), cpu=(long, long),
        zero_dim_there=(long[1].to(device), long[1]),
        one_there=(long[1:2].to(device), long[1:2]),
        there=(long.to(device), long), real_there=(real.to(device), real))


FUNCTIONS = ('log_snr', 'signal', 'noise', 'alpha_bar', 'snr', 'beta')


@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions_of_a_schedule(device, name):
    here, there = cosine_schedule(T), cosine_schedule(T).to(device)
    for what, (t, same) in times_of(device).items():
        want = torch.as_tensor(getattr(here, name)(same))
        f = getattr(there, name)
        got = torch.as_tensor(f(t))
        assert got.shape == want.shape, what
        if what == 'there' or what == 'real_there':
            # looked up where the states are; the second time without a wait
            assert got.device == device, what
            with no_waits():
                f(t)
        else:
            with no_waits():
                f(7)
        close(got.cpu().double(), want.double(), msg=what)


def test_time_of_a_log_snr(device):
    here, there = cosine_schedule(T), cosine_schedule(T).to(device)
    for x in (0.3, torch.tensor(0.3), torch.tensor([3., -2., 0.1])):
        close(torch.as_tensor(there.t_at(x)).cpu(), torch.as_tensor(here.t_at(x)))
    x = torch.tensor([3., -2., 0.1])
    close(torch.as_tensor(there.t_at(x.to(device))).cpu(), here.t_at(x))


def test_the_master_of_a_schedule_survives_a_journey(device):
    t = torch.arange(T + 1)
    want = cosine_schedule(T).log_snr(t)
    assert want.dtype is torch.float64
    for way in (lambda m: m.to(device).cpu(), lambda m: m.to(device).half().cpu(),
                lambda m: m.half().to(device).float().to('cpu'),
                lambda m: copy.deepcopy(m.to(device)).cpu()):
        model = way(points())
        assert torch.equal(model.sched.log_snr(t), want)
    there = points().to(device)
    assert torch.equal(there.sched.log_snr(t).cpu(), want)
    assert float(there.sched.signal(7)) == float(cosine_schedule(T).signal(7))


def steps():
    "The functions of one step: name -> f(sched, x, y, t)"
    found = dict(
        diffuse=lambda sched, x, y, t: diffuse(sched, x, t, y),
        posterior=lambda sched, x, y, t: posterior(sched, x, y, t),
        ddim_step=lambda sched, x, y, t: ddim_step(sched, x, y, t, 0, 0.5),
        ddim_back=lambda sched, x, y, t: ddim_step(sched, x, y, t, t / 2),
        variance=lambda sched, x, y, t: reverse_var(sched, t, t - 1, 0.3),
        weight=lambda sched, x, y, t: x0_weight(sched, t, 'v'),
        min_snr=lambda sched, x, y, t: min_snr()(sched, t, 'eps'),
    )
    for pred in PREDS:
        for f in (target, x0_from, eps_from):
            def step(sched, x, y, t, f=f, pred=pred):
                return f(sched, x, y, t, pred)
            found[f'{f.__name__} {pred}'] = step
    return found


@pytest.mark.parametrize('name', steps())
def test_one_step(device, name):
    f = steps()[name]
    here, there = cosine_schedule(T), cosine_schedule(T).to(device)
    x, y = noise(), noise(seed=1)
    for what, (t, same) in times_of(device).items():
        if 'real' in what and name in ('posterior', 'variance'):
            continue
        want = f(here, x, y, same)
        there_x, there_y = x.to(device), y.to(device)
        got = f(there, there_x, there_y, t)
        if what in ('number', 'real', 'zero_dim', 'there', 'real_there'):
            with no_waits():
                f(there, there_x, there_y, t)
        many = isinstance(want, tuple)
        for a, b in zip(got, want) if many else [(got, want)]:
            a, b = torch.as_tensor(a), torch.as_tensor(b)
            if a.dim() > 1:
                assert a.device == device and a.dtype == x.dtype, what
            close(a.cpu(), b.to(a.dtype), msg=lambda m: f'{what}: {m}')


def test_shapes_alone():
    # on `meta` there are no numbers, so whoever looks at one fails
    sched, x = cosine_schedule(T), torch.empty(5, 2, device='meta')
    for t in (7, 7.25):
        for y in (diffuse(sched, x, t, x), target(sched, x, x, t),
                  x0_from(sched, x, x, t), eps_from(sched, x, x, t),
                  posterior(sched, x, x, t, 3)[0], ddim_step(sched, x, x, t, 3)[0]):
            assert y.shape == x.shape and y.device.type == 'meta'
    with torch.device('meta'):
        net, unet = PointMLP(width=16, n_classes=3), UNet(1, channels=[8, 16])
    c, t = (torch.empty(5, dtype=d, device='meta') for d in (torch.long, torch.float32))
    assert net(x, t, c).shape == x.shape
    image = torch.empty(5, 1, 8, 8, device='meta')
    assert unet(image, t).shape == image.shape


# --- nets and denoisers


@pytest.mark.parametrize('make', [points, pictures])
def test_nets(device, make):
    here = make(n_classes=3)
    there = moved(here, device)
    shape = (4, *here.data.shape)
    x, c, t = noise(shape), torch.tensor([0, 1, 2, -1]), torch.tensor([1, 7, 20, 50])
    want, y = here.net(x, t, c), x.to(device)
    t_there, c_there = t.to(device), c.to(device)
    with no_waits():
        got = there.net(y, t_there, c_there)
        there.net(y, t_there, None)
    close(got.cpu(), want)
    with no_waits():
        got = there.net(y, 7, None)
    close(got.cpu(), here.net(x, 7, None))
    with no_waits():
        got = there.net(y, 7.5, None)
    close(got.cpu(), here.net(x, 7.5, None))


CLASSES = torch.tensor([0, 1, 2, -1, 0])
GUIDANCE = dict(
    none=dict(), label=dict(c=1), labels=dict(c=CLASSES), no_clip=dict(clip=None),
    guided=dict(c=1, w=2.), each=dict(c=CLASSES, w=2.), less=dict(c=CLASSES, w=-0.5),
    interval=dict(c=CLASSES, w=2., interval=(5, 30)),
    interval_of_reals=dict(c=1, w=2., interval=(5.5, 29.5)),
    rescaled=dict(c=CLASSES, w=2., rescale=0.7),
    quantile=dict(c=CLASSES, w=2., clip=1., quantile=0.8),
    pair=dict(clip=(-1., 0.5)), by_guide=dict(guide=True, w=2.),
    by_guide_and_label=dict(guide=True, c=CLASSES, w=2., rescale=0.3),
    all=dict(c=CLASSES, w=2., interval=(5, 30), rescale=0.5, clip=1., quantile=0.9),
)


def guides(options, device=None):
    "The options of a denoiser; with a guide, and labels on the device where asked for"
    options = dict(options)
    if options.get('guide'):
        options['guide'] = points(n_classes=3, seed=7)
        if device is not None:
            options['guide'].to(device)
    return options


@pytest.mark.parametrize('kind', GUIDANCE)
def test_guidance(device, kind):
    model, x = points(n_classes=3), noise()
    here = model.denoiser(**guides(GUIDANCE[kind]))
    y, options = x.to(device), guides(GUIDANCE[kind], device)
    # labels of the CPU are checked, and moved, when the denoiser is made or first asked
    there = moved(model, device).denoiser(**options)
    each = torch.tensor([1, 7, 20, 49, 50])
    for what, t, same in (('number', 7, 7), ('real', 20.5, 20.5), ('late', 40, 40),
                          ('there', each.to(device), each)):
        want, got = here(x, same), there(y, t)
        assert got.device == device and got.dtype == x.dtype
        close(got.cpu(), want, msg=lambda m: f'{what}: {m}')
        assert there.calls == here.calls
        # one look, at most, whether any time lies in the interval
        with no_waits(what == 'there' and 'interval' in GUIDANCE[kind]):
            there(y, t)


def test_labels_from_the_device(device):
    model, x = points(n_classes=3), noise()
    want = model.denoiser(c=CLASSES, w=1.)(x, 7)
    f = moved(model, device).denoiser(c=CLASSES.to(device), w=1.)
    y = x.to(device)
    close(f(y, 7).cpu(), want)
    with no_waits():
        f(y, 7)
    with pytest.raises(ValueError, match='label c = 3'):
        moved(model, device).denoiser(c=torch.tensor([0, 3], device=device))(y[:2], 7)


@pytest.mark.parametrize('options', [dict(clip=1.), dict(clip=(-0.5, 1.)),
                                     dict(clip=0.5, quantile=0.7)])
def test_thresholds(device, options):
    x = noise((4, 1, 3, 3))
    y = x.to(device)
    with no_waits():
        got = threshold(y, **options)
    close(got.cpu(), threshold(x, **options))


# --- samplers


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('name', SAMPLERS)
def test_samplers_on_every_grid(device, name, grid):
    same_here_and_there(points, device, name, times=grid)


@pytest.mark.parametrize('name', SAMPLERS)
def test_samplers_look_every_ten_steps(device, name):
    same_here_and_there(points, device, name, n=25)


OPTIONS = [
    ('ddim', dict(eta=0.5)), ('ddim', dict(eta=1., noise=None)),
    ('ddpm', dict(var='beta')),
    ('ddpm', dict(n=T)), ('heun', dict(mean='eps')),
    ('dpmpp_2s', dict(ahead='half')), ('dpmpp_3m', dict(first=1)),
    ('dpmpp_3m', dict(first=3)), ('unipc3', dict(first=1)), ('deis', dict(first=3)),
    ('euler_ancestral', dict(eta=0.3)), ('euler_ancestral', dict(eta=0.)),
    ('ode', dict(method='RK23')), ('ddim', dict(times=(50, 33.5, 20, 10, 5, 2.5, 0))),
    ('dpmpp_2m_sde', dict(noise=SeededNoise(4))),
]


@pytest.mark.parametrize('name, options', OPTIONS,
                         ids=[f'{n}-{"-".join(o)}' for n, o in OPTIONS])
def test_options_of_samplers(device, name, options):
    if options.get('noise', 0) is None:
        # the device draws numbers of its own
        x = noise().to(device)
        assert sampled(moved(points(), device), name, x, **options).isfinite().all()
    else:
        same_here_and_there(points, device, name, **options)


def test_noise_from_a_generator_of_the_cpu(device):
    def generator():
        return torch.Generator().manual_seed(5)
    x, model = noise(), points()
    want = sampled(model, 'ddpm', x, noise=generator())
    got = sampled(moved(model, device), 'ddpm', x.to(device), noise=generator())
    close(got.cpu(), want)


@pytest.mark.parametrize('name', ['ddim', 'ddpm', 'dpmpp_2m', 'unipc3', 'dpmpp_2m_sde'])
def test_samplers_of_pictures(device, name):
    same_here_and_there(pictures, device, name, (2, 1, 8, 8))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_narrow_numbers(device, dtype):
    model = points().to(dtype)
    want = model.generate('ddim', n=6, num=5, seed=3)
    got = moved(model, device).generate('ddim', n=6, num=5, seed=3)
    assert got.dtype == want.dtype
    assert_close(got, want, atol=0.1, rtol=0.1)


def test_a_bad_number_is_noticed_at_the_next_look(device):
    def f(x, t):
        return torch.where(torch.full_like(x, t) <= 10, torch.nan, 0 * x)
    x, sched = noise().to(device), cosine_schedule(T)
    with pytest.raises(ValueError, match='not finite'):
        last(ddim(f, sched, x, n=6))
    with pytest.raises(ValueError, match='not finite'):
        last(ddim(f, sched.to(device), x, n=25))


@pytest.mark.parametrize('refine', [0, 1])
def test_inversion(device, refine):
    model, x = points(), 0.5 * noise()
    there = moved(model, device)
    want = last(ddim_invert(model.denoiser(), model.sched, x, n=6, refine=refine))
    y = x.to(device)
    states = ddim_invert(there.denoiser(), there.sched, y, n=6, refine=refine)
    with no_waits(looks(6)):
        got = last(states)
    close(got.cpu(), want)


def test_slerp(device):
    a, b, u = noise(), noise(seed=1), torch.linspace(0, 1, 5)
    y, z = a.to(device), b.to(device)
    with no_waits():
        got = slerp(y, z, 0.3)
    close(got.cpu(), slerp(a, b, 0.3))
    for where in ('cpu', device):
        close(slerp(y, z, u.to(where)).cpu(), slerp(a, b, u))
    # no way is the shortest: to one's own opposite, or to oneself
    for b in (-a, a):
        got = slerp(y, b.to(device), 0.5).cpu()
        assert got.isfinite().all()
        close(got, slerp(a, b, 0.5))


def test_generate(device):
    model = points(n_classes=3)
    there = moved(model, device)
    c = [0, 1, 2, -1, 0]
    for options in (dict(), dict(c=1), dict(c=c, w=1.5), dict(sampler='ddpm'),
                    dict(c=CLASSES, w=1.5, interval=(5, 30), rescale=0.5),
                    dict(c=CLASSES, w=1., clip=1., quantile=0.9),
                    dict(sampler='dpmpp_2m_sde', times='angle')):
        want = model.generate(n=6, num=5, seed=3, **options)
        with no_waits(4): # starting noise, labels, a look, the result
            got = there.generate(n=6, num=5, seed=3, **options)
        assert got.device.type == 'cpu' and there.calls == model.calls
        close(got, want)
        close(there.generate(n=6, num=5, seed=3, batch_size=2, **options), want)
    want = model.generate(n=6, num=5, seed=3, c=CLASSES, w=1.)
    close(there.generate(n=6, num=5, seed=3, c=CLASSES.to(device), w=1.), want)


def test_generate_with_a_guide(device):
    model, guide = points(n_classes=3), points(n_classes=3, seed=7)
    options = dict(n=6, num=5, c=1, w=1.)
    want = model.generate(**options, guide=guide)
    close(moved(model, device).generate(**options, guide=moved(guide, device)), want)


# --- oracles


def oracles(sched):
    means = noise((6, 1, 4, 4))
    return dict(gaussian=gaussian_oracle(sched, torch.tensor([1., -1.]), 0.5),
                ring=ring_mixture(sched), swissroll=swissroll_oracle(sched, K=60),
                dataset=dataset_oracle(sched, means, torch.tensor([0, 1, 2, 0, 1, 2])))


@pytest.mark.parametrize('name', ['gaussian', 'ring', 'swissroll', 'dataset'])
def test_oracles(device, name):
    here, there = (oracles(cosine_schedule(T))[name] for _ in range(2))
    there.sched.to(device)
    x = noise((5, *here.shape))
    each = torch.tensor([1, 7, 20, 49, 50])
    classes = [None, 1, CLASSES] if here.n_classes else [None]
    for c in classes:
        c_there = c.to(device) if torch.is_tensor(c) else c
        for t, same in ((7, 7), (7.5, 7.5), (each.to(device), each), (each, each),
                        (each[1:2].to(device), each[1:2])):
            for f in ('__call__', 'log_density', 'score', 'posterior_var'):
                want = getattr(here, f)(x, same, c)
                got = getattr(there, f)(x.to(device), t, c_there)
                assert got.device == device and got.dtype == x.dtype
                assert_close(got.cpu(), want, atol=1e-3, rtol=1e-3)
    assert torch.equal(there.sample(5, seed=1)[0], here.sample(5, seed=1)[0])


@pytest.mark.parametrize('pred', PREDS)
def test_oracles_in_the_place_of_a_net(device, pred):
    here, there = (OracleNet(ring_mixture(cosine_schedule(T)), pred) for _ in range(2))
    there.to(device)
    x = noise()
    each = torch.tensor([1, 7, 20, 49, 50])
    for t, same in ((7, 7), (each.to(device), each)):
        got = there(x.to(device), t, CLASSES.to(device))
        assert got.device == device and got.dtype == x.dtype
        assert_close(got.cpu(), here(x, same, CLASSES), atol=1e-3, rtol=1e-3)
    sched = cosine_schedule(T).to(device)
    f, g = (denoiser(net, sched, pred, c=1, w=0.5) for net in (here, there))
    want = last(ddim(f, cosine_schedule(T), x, n=6))
    got = last(ddim(g, sched, x.to(device), n=6))
    assert_close(got.cpu(), want, atol=1e-3, rtol=1e-3)


# --- losses and training


LOSS = [*[dict(pred=pred) for pred in PREDS], *[dict(loss=loss) for loss in LOSSES],
        dict(weight=min_snr()), dict(weight=x0_weight, reduce=False), dict(c=CLASSES),
        dict(c=CLASSES, w=1.), dict(c=CLASSES, w=1., guide=True),
        dict(w=1., guide=True)]


@pytest.mark.parametrize('options', LOSS,
                         ids=['-'.join(f'{k}={v}' if isinstance(v, str) else k
                                       for k, v in o.items()) for o in LOSS])
def test_losses(device, options):
    def trained(where):
        model, a = points(n_classes=3).to(where), dict(options)
        if a.get('guide'):
            a['guide'] = points(n_classes=3, seed=7).net.to(where)
        a = {k: v.to(where) if torch.is_tensor(v) else v for k, v in a.items()}
        x, eps = noise().to(where), noise(seed=1).to(where)
        t = torch.tensor([1, 7, 20, 49, 50]).to(where)
        # a table may go to the device the first time
        for most in (1_000, 0):
            model.net.zero_grad()
            with no_waits(most):
                loss = diffusion_loss(model.net, model.sched, x, t=t, eps=eps, **a)
                loss.sum().backward()
        grads = {k: p.grad.cpu().clone() for k, p in model.net.named_parameters()
                 if p.grad is not None}
        # also with times and noise of its own
        with no_waits():
            diffusion_loss(model.net, model.sched, x, **a).sum().backward()
        return loss.detach(), grads
    (want, grads), (got, there) = trained('cpu'), trained(device)
    assert got.device == device
    close(got.cpu(), want)
    assert there.keys() == grads.keys()
    for k in grads:
        close(there[k], grads[k])


@pytest.mark.parametrize('times', TIMES)
def test_drawn_times(device, times):
    model = points().to(device)
    x = noise().to(device)
    diffusion_loss(model.net, model.sched, x, times=times)
    with no_waits():
        loss = diffusion_loss(model.net, model.sched, x, times=times)
    assert loss.device == device


def listener(seen):
    "A callback that notes the waits of each training step since the one before"
    import lightning.pytorch as L

    class Listener(L.Callback):
        def __init__(self):
            self.steps, self.before = {}, 0

        def on_train_batch_end(self, trainer, *args):
            self.steps[trainer.global_step] = seen[self.before:]
            self.before = len(seen)

    return Listener()


def lightning_on(device):
    "What makes Lightning's Trainer accept the pretended device"
    from lightning.pytorch.accelerators import Accelerator
    from lightning.pytorch.strategies import SingleDeviceStrategy

    class Pretended(Accelerator):
        def setup_device(self, device): pass
        def teardown(self): pass
        def get_device_stats(self, device): return {}
        @staticmethod
        def parse_devices(devices): return devices
        @staticmethod
        def get_parallel_devices(devices): return [device]
        @staticmethod
        def auto_device_count(): return 1
        @staticmethod
        def is_available(): return True
        @staticmethod
        def name(): return device.type

    return dict(strategy=SingleDeviceStrategy(device, accelerator=Pretended()))


def trained(where, folder, resume=None, epochs=1, batch_size=16, heard=None, **options):
    "A training on 180 labelled points, with validation and a picture after each epoch"
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.training import LitDiffusion, fit
    x = noise((224, 2), seed=2) * torch.tensor([1., 0.3])
    data = TensorData(x, torch.arange(224) % 3, batch_size=batch_size, held_out=0.1)
    torch.manual_seed(0)
    net = awake(PointMLP(width=16, depth=1, n_classes=3, emb_dim=8))
    model = Model(net, cosine_schedule(T), 'v', data.units)
    lit = LitDiffusion(model, warmup=5, **options)
    there = dict(accelerator='cpu') if where == 'cpu' else lightning_on(where)
    trainer = fit(lit, data, folder, pictures=1, progress=False, max_epochs=epochs,
                  callbacks=[] if heard is None else [heard], resume=resume, **there)
    return lit, trainer


def weights(model):
    return {k: v.detach().cpu() for k, v in model.net.state_dict().items()}


def guided():
    from diffusion_nbdev.training import TrainedGuidance
    away = TrainedGuidance(w=1., w_from=0.5, loss='l1', gamma=5.)
    return dict(times='logit_normal', objective=away)


TRAINING = dict(plain=dict, guided=guided)


@pytest.mark.parametrize('kind', TRAINING)
def test_training(device, kind, tmp_path):
    with far.waits() as seen:
        ear = listener(seen)
        options = dict(batch_size=8, heard=ear, **TRAINING[kind]())
        _, trainer = trained(device, tmp_path, **options)
    assert trainer.global_step == 23 and sorted(ear.steps) == list(range(1, 24))
    # every 20 steps something is logged and the losses are looked at; so they are when
    # an epoch ends, and Lightning itself waits for each batch on its way to `mps`
    due = {1, 20, 23}
    waits = [f'step {k}: {line}' for k, lines in ear.steps.items() for line in lines
             if k not in due and 'apply_func.py' not in line]
    some = '\n  '.join(waits[:20])
    assert not waits, f'{len(waits)} waits between two logs:\n  {some}'
    # the file holds the averaged weights, and they sample
    model = load(next(tmp_path.rglob('model.safetensors')))
    want = model.generate(n=6, num=5, c=1)
    close(moved(model, device).generate(n=6, num=5, c=1), want)
    assert next(tmp_path.rglob('last.ckpt')).is_file()
    assert {'train_loss', 'val_loss'} <= set(trainer.callback_metrics)


def test_training_on_turned_digits(device, tmp_path):
    from diffusion_nbdev.pictures import MNISTData
    from diffusion_nbdev.training import LitDiffusion, fit
    data = MNISTData('digits', batch_size=50, held_out=0.4, degrees=5.)
    data.setup()
    torch.manual_seed(0)
    net = UNet(1, channels=[4, 8], patch=4, n_classes=10, emb_dim=8)
    lit = LitDiffusion(Model(net, cosine_schedule(T), 'v', data.units), warmup=5)
    with far.waits() as seen:
        ear = listener(seen)
        trainer = fit(lit, data, tmp_path, pictures=0, progress=False, max_epochs=2,
                      limit_val_batches=1, gradient_clip_val=1., callbacks=[ear],
                      **lightning_on(device))
    # an epoch begins with an order and angles, and ends with a validation
    due = {1, 8, 9, 16}
    waits = [f'step {k}: {line}' for k, lines in ear.steps.items() for line in lines
             if k not in due]
    assert sorted(ear.steps) == list(range(1, 17))
    assert not waits, '\n  '.join(waits[:20])
    # they lie there as bytes, and only while the training lasts
    rows = trainer.train_dataloader.dataset
    assert rows.x.device == rows.c.device == device and rows.x.dtype is torch.uint8
    assert next(iter(data.train_dataloader()))[0].device.type == 'cpu'


def test_training_is_that_of_the_cpu(device, tmp_path):
    here, _ = trained('cpu', tmp_path/'here')
    with far.lent_numbers():
        there, trainer = trained(device, tmp_path/'there')
    assert trainer.global_step == 12
    assert_close(weights(there.model), weights(here.model), atol=2e-3, rtol=2e-3)


def test_training_goes_on(device, tmp_path):
    options = dict(epochs=2, batch_size=32, decay='constant')
    whole, _ = trained(device, tmp_path/'whole', **options)
    trained(device, tmp_path/'parts', **{**options, 'epochs': 1})
    last = next((tmp_path/'parts').rglob('last.ckpt'))
    parts, trainer = trained(device, tmp_path/'parts', resume=last, **options)
    assert trainer.global_step == 12
    assert_close(weights(parts.model), weights(whole.model), atol=1e-3, rtol=1e-3)
    # on the CPU too
    _, trainer = trained('cpu', tmp_path/'home', resume=last, **options)
    assert trainer.global_step == 12


def test_bad_numbers_are_named(device, tmp_path, monkeypatch):
    from diffusion_nbdev import training
    whole = training.diffusion_loss

    def broken(net, sched, x0, c, *args, **options):
        loss = whole(net, sched, x0, c, *args, **options)
        return loss * torch.where((c == 1).any() & (x0[0, 0] > 0), torch.nan, 1.)
    monkeypatch.setattr(training, 'diffusion_loss', broken)
    with pytest.raises(FloatingPointError, match=r'step \d+: the loss is nan.*rows'):
        trained(device, tmp_path)


# --- metrics, files


def test_metrics(device):
    x, y = noise((200, 2)), noise((200, 2), seed=1)
    for metric in (sliced_w2, energy_distance):
        want = pytest.approx(metric(x, y), rel=1e-4)
        assert metric(x.to(device), y.to(device)) == want
        assert metric(x.to(device), y) == want


def test_features_of_pictures(device):
    x = noise((12, 1, 28, 28)).sigmoid()
    ex = load_extractor()
    want = digit_features(ex.net, x)
    there = copy.deepcopy(ex.net).to(device)
    for pictures in (x, x.to(device)):
        got = digit_features(there, pictures)
        assert got.device.type == 'cpu'
        close(got, want, atol=1e-3)
    assert Extractor.classes(ex, want.to(device)).equal(ex.classes(want))


def test_scores_of_pictures(device):
    x = noise((12, 1, 28, 28)).sigmoid()
    c = torch.arange(12) % 10
    want = score_images(x, c)
    got = score_images(x.to(device), c.to(device))
    assert got.keys() == want.keys() and got['accuracy'] == want['accuracy']
    assert got['frechet'] == pytest.approx(want['frechet'], rel=1e-4)


def test_files(device, tmp_path):
    model = points(n_classes=3)
    model.net.recipe = PointMLP(width=16, depth=1, n_classes=3, emb_dim=8).recipe
    here, there = model.save(tmp_path/'a.safetensors'), tmp_path/'b.safetensors'
    moved(model, device).save(there)
    assert here.read_bytes() == there.read_bytes()
    again = load(there)
    assert again.device.type == 'cpu'
    close(again.to(device).generate(n=6, num=5, c=1), model.generate(n=6, num=5, c=1))
    torch.save(moved(model, device).state_dict(), tmp_path/'c.pt')
    found = torch.load(tmp_path/'c.pt', map_location='cpu', weights_only=True)
    for k, v in model.state_dict().items():
        assert torch.equal(found[k], v), k


# --- what a device does not have


@pytest.mark.parametrize('name', ['nowhere', 'cuda:77', 'cuda:-2', 'meta:x'])
def test_devices_that_do_not_exist(name, tmp_path, capfd):
    from diffusion_nbdev.cli.main import main
    path = points().save(tmp_path/'a.safetensors')
    assert main(['sample', str(path), '--n', '2', '--device', name]) == 2
    said = capfd.readouterr().err
    assert said.count('\n') == 1 and name in said and 'cpu' in said, said


def test_dtypes_that_the_device_does_not_know(device):
    model = points().double()
    if device.type == 'mps':
        with pytest.raises((TypeError, ValueError), match='float64'):
            moved(model, device)
        return
    want = model.generate(n=6, num=5, seed=3)
    got = moved(model, device).generate(n=6, num=5, seed=3)
    assert got.dtype is torch.float64
    assert_close(got, want)


class Hungry(nn.Module):
    "A net for which the memory of the device does not suffice"
    def __init__(self, net, most):
        super().__init__()
        self.net, self.most, self.n_classes, self.asked = net, most, net.n_classes, []

    def forward(self, xt, t, c=None):
        self.asked.append(len(xt))
        if len(xt) > self.most:
            raise torch.OutOfMemoryError('tried to allocate 20.00 GiB')
        return self.net(xt, t, c)


def hungry(most, device):
    model = points(n_classes=3)
    return Model(Hungry(model.net, most), model.sched, 'v', model.data).to(device)


@pytest.mark.parametrize('options', [dict(), dict(batch_size=16), dict(c=1, w=1.)])
def test_memory_that_does_not_suffice(device, options):
    want = points(n_classes=3).generate(n=6, num=16, seed=3, **options)
    model = hungry(16 if 'w' in options else 8, device)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        got = model.generate(n=6, num=16, seed=3, **options)
    close(got, want)
    said = [str(w.message) for w in said if 'memory' in str(w.message)]
    assert len(said) == 1 and '\n' not in said[0] and re.search(r'\b8\b', said[0]), said
    # what did not fit once is not tried again
    assert sum(b > model.net.most for b in model.net.asked) == 1


def test_memory_for_a_few(device):
    want = points(n_classes=3).generate(n=6, num=11, seed=3)
    model = hungry(2, device)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        close(model.generate(n=6, num=11, seed=3), want)
    assert max(model.net.asked[-3:]) <= 2


def test_memory_for_none(device):
    with warnings.catch_warnings(), pytest.raises(ValueError, match='memory') as e:
        warnings.simplefilter('ignore')
        hungry(0, device).generate(n=6, num=4)
    assert '\n' not in str(e.value)
