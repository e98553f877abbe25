"A classifier of pictures: its sizes, and how much it turns them."
import warnings

import pytest
import torch

from diffusion_nbdev.classifier import PictureNet, jolted, picture_level, planned_steps


@pytest.mark.parametrize('side, levels', [(4, 1), (8, 1), (16, 2), (28, 2), (32, 3)])
def test_levels_halve_a_picture_down_to_four_pixels(side, levels):
    x = torch.zeros(2, 3, side, side)
    net = PictureNet([3, side, side], 2).eval()
    assert len(net.body) == levels
    assert net.body(x).shape[2] == net.body(x).shape[3] == -(-side // 2 ** levels)
    assert picture_level(3, 5)(x).shape == (2, 5, side // 2, side // 2)


def test_pictures_are_moved_alike_both_ways():
    "By up to 7 % of their size: a blot in the middle is found elsewhere"
    far = torch.linspace(-1, 1, 41)
    blot = (-50 * (far ** 2 + far[:, None] ** 2)).exp().expand(1000, 1, 41, 41)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        there = jolted(blot, torch.Generator().manual_seed(0))[:, 0]
    whole = there.sum((1, 2))
    for axis in 1, 2:
        middle = (there.sum(3 - axis) * far).sum(1) / whole
        # uniform up to twice 7 %, in units of half a picture
        assert 0.13 < middle.abs().max() < 0.19
        assert middle.std().item() == pytest.approx(0.14 / 3 ** 0.5, rel=0.08)


def test_twenty_rounds_within_bounds():
    assert [planned_steps(n) for n in (64, 3200, 10 ** 6)] == [500, 1000, 4000]
