"Paths of a teacher: every tenth round without labels, own noise, a bar that counts."
from contextlib import contextmanager

import torch
from torch.testing import assert_close

import diffusion_nbdev.paths as paths
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.samplers import dpmpp_2m
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import OracleNet, ring_mixture
from diffusion_nbdev.paths import path_labels, teacher_paths, walk
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(100)
ring = ring_mixture(sched)
model = Model(OracleNet(ring), sched, 'v', Units([2], n_classes=4)).eval()
GRID = [100, 60, 20, 0]


def test_every_tenth_round_of_classes_is_hidden():
    c = path_labels(3, 70)
    hidden = [k for k in range(70) if k // 3 in (9, 19)]
    assert (c == -1).nonzero().flatten().tolist() == hidden
    seen = [k for k in range(70) if k not in hidden]
    assert c[seen].tolist() == [k % 3 for k in seen]


def test_a_path_begins_in_its_own_noise_and_goes_to_its_class():
    rows, c = torch.tensor([5, 2]), torch.tensor([0, 1, 2, 3, 0, 1])
    states = walk(model, GRID, c, rows, seed=7)
    x = SeededNoise(7, rows)(torch.zeros(2, 2), 0)
    run = dpmpp_2m(model.denoiser(c[rows]), sched, x, times=GRID)
    for mine, other in zip(states, run, strict=True):
        assert_close(mine, other.half(), rtol=0, atol=0)
    # without labels all classes are possible
    free = walk(model, GRID, None, rows, seed=7)
    run = dpmpp_2m(model.denoiser(None), sched, x, times=GRID)
    assert_close(free[-1], list(run)[-1].half(), rtol=0, atol=0)


def test_the_bar_is_of_the_sampler_and_counts_paths(monkeypatch):
    told, during = [], []

    @contextmanager
    def bar(make, num, shown):
        told.append((make.__name__, num, shown))
        class Bar:
            def update(self, n): told.append(n)
        yield Bar()

    @contextmanager
    def precision(model, asked):
        during.append(asked)
        yield

    monkeypatch.setattr(paths, 'sample_bar', bar)
    monkeypatch.setattr(paths, 'in_precision', precision)
    found = teacher_paths(model, 5, [100, 50], n=4, batch=2)
    assert told == [('dpmpp_2m', 5, False), 2, 2, 1] and during == [None]
    assert found.states.shape == (5, 2, 2) and found.c.tolist() == [0, 1, 2, 3, 0]
