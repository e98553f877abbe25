"The figures that run in the page: their JavaScript, in an embedded V8, beside PyTorch."
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from py_mini_racer import MiniRacer

import lint
import live
import test_site
from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.ddpm import ddpm
from diffusion_nbdev.guidance import guided
from diffusion_nbdev.model import load
from diffusion_nbdev.multistep import heun
from diffusion_nbdev.oracles import Mixture, dataset_oracle, ring_mixture
from diffusion_nbdev.samplers import dpmpp_2m
from diffusion_nbdev.schedules import PREDS, SCHEDULES, x0_from
from diffusion_nbdev.grids import logsnr_times
from diffusion_nbdev.sampling import last, trailing_times

ROOT = Path(__file__).resolve().parent.parent
LIVE = ROOT/'nbs'/'live'


class Page:
    "What the page's modules know, in a V8 of its own"
    def __init__(self, *modules):
        self.v8 = MiniRacer()
        for name in modules:
            # an embedded V8 has scripts, no modules: all names in one room
            text = (LIVE/f'{name}.js').read_text()
            self.v8.eval(re.sub(r'(?m)^(import .*$|export )', '', text))

    def put(self, name, data):
        "Bytes, or numbers as float64, under a name"
        numbers = torch.is_tensor(data)
        body = data.double().numpy().tobytes() if numbers else data
        self.v8.eval(f'var {name} = new ArrayBuffer({len(body)})')
        self.v8.eval(name)[:] = body
        if numbers:
            self.v8.eval(f'{name} = new Float64Array({name})')

    def get(self, code, shape=(-1,)):
        "An array of the page"
        self.v8.eval(f'var out_ = Float64Array.from({code})')
        found = np.frombuffer(self.v8.eval('out_.buffer')).copy()
        return torch.from_numpy(found).view(shape)

    def seconds(self, code, times):
        "Processor time of the fastest of some runs: others may be at work beside"
        def once():
            begin = time.process_time()
            self.v8.eval(code)
            return time.process_time() - begin
        return min(once() for _ in range(times))


@pytest.fixture(scope='module')
def page():
    return Page('core', 'nets')


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b.double().reshape(a.shape), rtol=atol, atol=atol)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed),
                       dtype=torch.float64)


MADE = [('cosine', dict(T=500)), ('cosine', dict(T=60, offset=0.1)),
        ('linear', dict(T=200)), ('linear', dict(T=1000, beta_T=0.03)),
        ('sigmoid', dict(T=300, start=-2.5, end=4))]


@pytest.mark.parametrize('name, args', MADE)
def test_schedules(page, name, args):
    "At whole times, between them, below 1; and back from log-SNR to time"
    sched = SCHEDULES[name](**args)
    page.v8.eval(f'var s = SCHEDULES.{name}({json.dumps(args)})')
    early, late = torch.tensor([0., 1e-3, 0.4]), torch.linspace(1, sched.T, 97)
    t = torch.cat([early, late]).double()
    page.put('t', t)
    close(page.get('t.map(u => s.signal(u))'), sched.signal(t))
    close(page.get('t.map(u => s.noise(u))'), sched.noise(t))
    close(page.get('t.map(u => s.tAt(s.logSnr(u)))'), t)
    page.put('l', sched.log_snr(t[1:]))
    close(page.get('l.map(u => s.tAt(u))'), sched.t_at(sched.log_snr(t[1:])))


@pytest.mark.parametrize('pred', PREDS)
def test_algebra(page, pred):
    sched, xt, out = SCHEDULES['cosine'](100), randn(8, 2), randn(8, 2, seed=1)
    page.put('xt', xt)
    page.put('answer', out)
    page.v8.eval('var s = SCHEDULES.cosine({T: 100})')
    for t in (1, 37, 100):
        page.v8.eval(f"var [a, b] = x0Factors('{pred}', s.signal({t}), s.noise({t}))")
        close(page.get('blend(a, xt, b, answer)'), x0_from(sched, xt, out, t, pred))


def mixture(page, kind):
    "The same mixture here and there, as `mix`"
    sched = SCHEDULES['cosine'](200)
    page.v8.eval('var s = SCHEDULES.cosine({T: 200})')
    if kind == 'ring':
        page.v8.eval('var mix = ring(s, 5, 0.3)')
        return ring_mixture(sched, 5, 0.3)
    means, labels = randn(6, 3, seed=5), [0, 1, 0, 2, 1, 0]
    page.put('means', means.flatten())
    if kind == 'points':
        page.v8.eval('var mix = new Mixture(s, means, {D: 3})')
        return dataset_oracle(sched, means)
    stds, weights = [.1, .2, 0., .5, .3, .05], [1., 2, 3, 4, 5, 6]
    more = json.dumps(dict(D=3, std=stds, weights=weights, labels=labels))
    page.v8.eval(f'var mix = new Mixture(s, means, {more})')
    return Mixture(sched, means, stds, weights, labels)


@pytest.mark.parametrize('kind', ['ring', 'points', 'unlike'])
def test_oracles(page, kind):
    "Denoiser, score and density, of all classes and of one, far out and near"
    mix = mixture(page, kind)
    xt = torch.cat([randn(40, *mix.shape), 8*randn(5, *mix.shape)])
    page.put('xt', xt)
    for t in (1, 20, 150, 200):
        for c in (-1, *range(mix.n_classes)):
            page.v8.eval(f'var found = mix.at(xt, {t}, {c})')
            close(page.get('found.x0'), mix(xt, t, c))
            close(page.get('found.score'), mix.score(xt, t, c))
            close(page.get('found.logq'), mix.log_density(xt, t, c))
    close(page.get('mix.at(xt, 0).x0'), xt)


STEPS = [('ddim', ddim, {}), ('ddim', ddim, dict(eta=0.6)), ('ddpm', ddpm, {}),
         ('dpmpp2m', dpmpp_2m, {}), ('heun', heun, {})]


@pytest.mark.parametrize('name, sampler, options', STEPS)
@pytest.mark.parametrize('n', [2, 16, 40])
def test_samplers(page, name, sampler, options, n):
    "Every state on the way, with the same noise, on both grids"
    mix = mixture(page, 'ring')
    x, fresh = randn(30, 2, seed=2), randn(n + 1, 30, 2, seed=3)
    page.put('x', x)
    page.put('fresh', fresh.flatten())
    more = 'noise: (size, k) => fresh.subarray(k * size, k * size + size)'
    given = {k: v for k, v in options.items()}
    if name != 'dpmpp2m' and name != 'heun':
        given['noise'] = lambda x, k: fresh[k]
    for grid, times in (('trailing', trailing_times(mix.sched, n)),
                        ('evenLogSnr', logsnr_times(mix.sched, n))):
        page.v8.eval(f'var times = {grid}(s, {n})')
        close(page.get('times'), torch.tensor(times, dtype=torch.float64))
        page.v8.eval(f'var path = [...{name}(mix.denoiser(), s, x, times, '
                     f'{{...{json.dumps(options)}, {more}}})]')
        states = list(sampler(mix, mix.sched, x, n=n, times=times, **given))
        assert page.v8.eval('path.length') == len(states) == n + 1
        for k, state in enumerate(states):
            close(page.get(f'path[{k}]'), state, 1e-9)


def test_guidance(page):
    mix = mixture(page, 'ring')
    xt = randn(20, 2)
    page.put('xt', xt)
    f = guided(lambda x, t: mix(x, t, 3), mix, 2.5)
    page.v8.eval('var f = guided(mix.denoiser(3), mix.denoiser(), 2.5)')
    close(page.get('f(xt, 80)'), f(xt, 80))


def test_noise(page):
    "Normal, and the same again for the same seed"
    page.v8.eval('var z = normals(40000, uniforms(7))')
    z = page.get('z')
    assert page.v8.eval('normals(5, uniforms(7)).every((v, i) => v === z[i])')
    assert not page.v8.eval('normals(5, uniforms(8)).some((v, i) => v === z[i])')
    from scipy.stats import kstest
    assert kstest(z.numpy(), 'norm').pvalue > 1e-3
    assert abs(torch.corrcoef(z.view(2, -1))[0, 1]) < 0.03
    assert abs(torch.corrcoef(torch.stack([z[1:], z[:-1]]))[0, 1]) < 0.02

# -- the nets, with the files that the page loads --------------------------------------


@pytest.fixture(scope='module', params=list(live.NAMES))
def nets(request, page):
    "A net in the page under the name `m`, and here with the same 16-bit weights"
    page.put('file', (LIVE/'weights'/f'{request.param}.safetensors').read_bytes())
    page.v8.eval('var m = model(file)')
    ours = load(live.NAMES[request.param])
    ours.net.load_state_dict({k: v.half() for k, v in ours.net.state_dict().items()})
    return page, ours


def test_nets(nets):
    "The whole net, at whole and real times, for labels and without"
    page, ours = nets
    digits = ours.n_classes > 0
    x = randn(1 if digits else 33, *ours.data.shape).float()
    page.put('x', x)
    for t, c in ((1, 3), (370, 9), (123.4, 0), (ours.sched.T, -1)):
        label = torch.tensor([c]) if digits else None
        with torch.no_grad():
            want = ours.net(x, torch.tensor([t]), label)
        close(page.get(f'm.net(x, {t}, {c})'), want, 1e-4)
        page.v8.eval(f'var f = m.denoiser({c})')
        close(page.get(f'f(x, {t})'), ours.denoiser(label)(x, t), 1e-4)


def test_a_sample_of_a_net(nets):
    "The same noise becomes the same picture, or the same points"
    page, ours = nets
    digits = ours.n_classes > 0
    x = randn(1 if digits else 50, *ours.data.shape, seed=4).float()
    page.put('x', x)
    label = 7 if digits else None
    page.v8.eval(f'var path = [...ddim(m.denoiser({7 if digits else -1}), m.sched, x, '
                 'trailing(m.sched, 8))]')
    want = last(ddim(ours.denoiser(label), ours.sched, x, n=8, times='trailing'))
    close(page.get('path.at(-1)'), want, 1e-3)


def test_weights_in_step():
    assert live.differences() == []
    sizes = {n: (LIVE/'weights'/f'{n}.safetensors').stat().st_size for n in live.NAMES}
    assert sizes['digits'] <= 3_200_000 and sizes['roll'] <= 300_000


def test_speed(page):
    "Script time of a frame: at most four times what a quiet core may take"
    page.v8.eval('var mix = ring(SCHEDULES.cosine({T: 500}))')
    page.v8.eval('var big = normals(4000, uniforms(1))')
    ten = 'for (let i = 0; i < 10; i++) mix.at(big, 200 + i)'
    assert page.seconds(ten, 5) / 10 < 4 * 8e-3
    for name, size, calls, most in (('roll', 1000, 1, 50e-3), ('digits', 784, 10, 1)):
        page.put('file', (LIVE/'weights'/f'{name}.safetensors').read_bytes())
        page.v8.eval(f'var m = model(file), big = normals({size}, uniforms(1))')
        code = f'for (let i = 0; i < {calls}; i++) m.denoiser()(big, 100 + i)'
        assert page.seconds(code, 4) < 4 * most, name


def test_size():
    "Plain modules, few lines, nothing from elsewhere"
    text = {f.name: f.read_text() for f in sorted(LIVE.glob('*.js'))}
    assert sum(t.count('\n') for t in text.values()) <= 600
    for name, t in text.items():
        assert not re.search(r'https?:|//[a-z]+\.|\beval\b|innerHTML', t), name
        assert set(re.findall(r"from '([^']+)'", t)) <= {f'./{n}' for n in text}, name
        assert max(map(len, t.splitlines())) <= 120, name


def blocks():
    "Every figure of the book that moves: its page, its name, the text around it"
    for book in lint.notebooks(ROOT):
        for cell in book.prose:
            for name in re.findall('data-live="([^"]+)"', cell.source):
                yield book.path.name, name, cell.source
    text = (ROOT/'nbs'/'play.qmd').read_text()
    for part in re.split('(?m)^(?=:::.*data-live)', text)[1:]:
        yield 'play.qmd', re.search('data-live="([^"]+)"', part)[1], part


def test_figures_of_the_pages():
    "Each is known, says what stands there without scripts, and has a still picture"
    known = set(re.findall(r'(?m)^  (\w+): \{ name: ', (LIVE/'figures.js').read_text()))
    found = list(blocks())
    assert known == {name for page, name, _ in found if page == 'play.qmd'}
    chapters = dict(density='00_theory', schedule='01_schedules', draw='02_oracles',
                    paths='05_ddim', guidance='11_mnist_cond', race='12_samplers',
                    digit='index', roll='index')
    assert {(f'{page}.ipynb', name) for name, page in chapters.items()} == {
        (page, name) for page, name, _ in found if page != 'play.qmd'}
    for page, name, text in found:
        if page == 'play.qmd':
            assert f'images/live-{name}.png' in text and 'scripts' in text, name
        else:
            assert 'above' in text, page
    readme = (ROOT/'README.md').read_text()
    assert 'data-live' not in readme and ':::' not in readme


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_pens(theme):
    "WCAG: 3 for what is drawn, on the ground of the page"
    text = (ROOT/'nbs'/'styles.css').read_text()
    at = dict(light=':root', dark=r'body\.quarto-dark')[theme]
    pens = re.findall('--live-[0-9]: (#[0-9a-f]{6})',
                      re.search(rf'{at} {{ (--live[^}}]*)}}', text)[1])
    assert len(pens) == 3
    for pen in pens:
        assert test_site.contrast(pen, test_site.scss(theme)['body-bg']) >= 3, pen


def test_site_has_them():
    "What pages ask for is among the site's resources; modules come with a figure only"
    site = yaml.safe_load((ROOT/'_quarto.yml').read_text())
    files = [p for p in LIVE.rglob('*') if p.is_file()]
    want = {p.relative_to(ROOT/'nbs').as_posix() for p in files}
    assert want <= set(site['project']['resources'])
    script = site['format']['html']['include-after-body']['text']
    assert "if (document.querySelector('[data-live]')) import('./live/live.js" in script
