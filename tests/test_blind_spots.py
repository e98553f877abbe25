"Chances of two-sample figures are right, and the figures see what they are said to see"
import functools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from diffusion_nbdev.blind_spots import (
    density_coverage, expected_coverage, frechet_infinite, permutation_p)
from diffusion_nbdev.compared import two_sample_p
from diffusion_nbdev.judge import frechet, kid, precision_recall
from diffusion_nbdev.metrics import (
    energy_distance, mmd_squared, score_points, sliced_w2)
from diffusion_nbdev.sets import partition_p

DIGITS = torch.from_numpy(load_digits().data) / 16


def density_off(x, y):
    return abs(density_coverage(x, y)[0] - 1)


# larger is worse
FIGURES = {
    'sliced_w2': functools.partial(sliced_w2, n_proj=32),
    'energy': energy_distance,
    'mmd, narrow': functools.partial(mmd_squared, h=0.5),
    'mmd, wide': functools.partial(mmd_squared, h=2.),
    'kid': kid, 'frechet': frechet, 'density': density_off,
    'precision': lambda x, y: -precision_recall(x, y)[0],
    'recall': lambda x, y: -precision_recall(x, y)[1],
    'coverage': lambda x, y: -density_coverage(x, y)[1],
}


def halves(seed, n=100):
    "Two sets of digits without a common one"
    order = torch.randperm(len(DIGITS), generator=torch.Generator().manual_seed(seed))
    return DIGITS[order[:n]], DIGITS[order[n:2 * n]]


def rejected(figure, times):
    "Share of comparisons of real with real that come out at 5 % or below"
    p = [permutation_p(FIGURES[figure], *halves(k), draws=19) for k in range(times)]
    return np.mean(np.array(p) <= 0.05)


def test_real_against_real_is_seldom_called_different():
    assert rejected('energy', 80) <= 0.15
    p = [two_sample_p(*halves(k, 40))[1] for k in range(20)]
    assert np.mean(np.array(p) <= 0.05) <= 0.25


@pytest.mark.slow
@pytest.mark.parametrize('figure', FIGURES)
def test_a_thousand_real_pairs(figure):
    assert 0.03 <= rejected(figure, 1000) <= 0.07


@pytest.mark.slow
def test_a_thousand_real_pairs_and_a_classifier():
    p = [two_sample_p(*halves(k))[1] for k in range(1000)]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def roll(n, seed, shift=0.):
    g = torch.Generator().manual_seed(seed)
    u = 5 * torch.rand(n, generator=g).double() + 2
    return torch.stack([u * u.cos(), u * u.sin()], 1) / 3 + shift


@pytest.mark.parametrize('shift, least, most', [(0., 0.02, 0.08), (0.5, 0.95, 1.)])
def test_the_chance_of_a_score(shift, least, most):
    "Generated sets beside those of the floor: exact, and not blind"
    def made(n, seed): return roll(n, 10 ** 6 + seed, shift)
    p = [score_points(made, roll, 60, seed=100 * k, n_proj=16)['p_value']
         for k in range(300 if not shift else 40)]
    assert least <= np.mean(np.array(p) <= 0.05) <= most


@pytest.mark.parametrize('sets, floors', [(1, 8), (3, 5), (16, 5)])
def test_smallest_chances(sets, floors):
    p = partition_p([9.] * sets, list(range(floors)))
    assert p == pytest.approx(1 / [9, 56, 20349][[1, 3, 16].index(sets)])


def test_an_extrapolation_needs_points():
    x, y = halves(0, 384)
    assert frechet_infinite(x, y) < frechet(x, y)
    with pytest.raises(ValueError, match='in 3 parts of 64 dimensions, = 383: must be'):
        frechet_infinite(x[:383], y)


def test_the_first_set_is_asked_about_first():
    x, y = halves(0, 10)
    seen = []
    permutation_p(lambda a, b: seen.append((len(a), len(b))) or 0., x, y[:7], draws=2)
    assert seen == [(10, 7)] * 3


def test_what_is_usual():
    assert expected_coverage(50, 60) == expected_coverage(50, 60, 5)
    x, y = halves(0, 400)
    assert frechet_infinite(x, y) == frechet_infinite(x, y, seed=0)
    assert frechet_infinite(x, y) != frechet_infinite(x, y, seed=1)
