"What `restore` reads, measures and shows: every number of it, and what it refuses."
from types import SimpleNamespace as NS

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from diffusion_nbdev import plots
from diffusion_nbdev.cli.restore import (
    NOISE, asked_mask, draw_rows, given_pictures, measured, need_pictures, pixel_units,
    raw_pictures, shown_as)
from diffusion_nbdev.measuring import downsampled, masked
from diffusion_nbdev.model import Units
from diffusion_nbdev.noise import SeededNoise

SHAPE = 1, 4, 4


def digit(units=None, shape=SHAPE):
    return NS(data=units or Units(list(shape), mean=0.25, std=0.5, clip=None))


def test_a_picture_and_a_folder_are_read(tmp_path):
    pixels = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(pixels).save(tmp_path/'a.png')
    expected = torch.from_numpy(pixels.astype(int))[None, None]
    for path in tmp_path/'a.png', tmp_path:
        x = raw_pictures(path, 1, 4)
        assert x.dtype is torch.uint8 and torch.equal(x.long(), expected)


@pytest.mark.parametrize('off, taken', [
    (-0.0009, True), (1.0009, True), (-0.0011, False), (1.0011, False)])
def test_pictures_are_in_0_to_1_but_for_rounding(tmp_path, off, taken):
    x = torch.full((1, *SHAPE), 0.5)
    x[0, 0, 0, 0] = off
    torch.save(x, tmp_path/'x.pt')
    if taken:
        found = given_pictures(str(tmp_path/'x.pt'), SHAPE)
        assert found.min() >= 0 and found.max() <= 1
    else:
        with pytest.raises(ValueError, match='pictures go from'):
            given_pictures(str(tmp_path/'x.pt'), SHAPE)


def test_square_pictures_only():
    with pytest.raises(ValueError, match=r'shape \[1, 4, 6\]: must be square'):
        need_pictures(digit(shape=(1, 4, 6)))


def test_mean_and_std_in_this_order():
    assert pixel_units(digit()) == (0.25, 0.5)


def test_halves():
    seen = {name: asked_mask(name, SHAPE)[0] for name in
            ('left', 'right', 'top', 'bottom')}
    assert_close(seen['left'] + seen['right'], torch.ones(4, 4))
    assert_close(seen['top'] + seen['bottom'], torch.ones(4, 4))
    assert seen['left'][:, 0].tolist() == seen['top'][0].tolist() == [1.] * 4
    # where a picture has more columns than rows
    assert asked_mask('right', (1, 2, 6))[0].tolist() == 2 * [[0.] * 3 + [1.] * 3]


def test_a_mask_from_a_picture_has_numbers(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    pixels[1] = 255
    Image.fromarray(pixels).save(tmp_path/'m.png')
    mask = asked_mask(str(tmp_path/'m.png'), (3, 4, 4))
    assert mask.is_floating_point() and mask.shape == (3, 4, 4)
    assert mask.sum((0, 2)).tolist() == [0., 12., 0., 0.]


def test_noise_of_its_own_seed(tmp_path):
    assert NOISE == 0.02
    torch.save(torch.rand(2, *SHAPE), tmp_path/'x.pt')
    look, model = masked(torch.ones(SHAPE), 0.1), digit()
    args = NS(given=str(tmp_path/'x.pt'), whole=True, scale=None, seed=4)
    y, before = measured(args, model, look)
    x = torch.load(tmp_path/'x.pt')
    expected = look(model.data.to_model(x), SeededNoise(5))
    assert_close(y, expected)
    # shown as it is, in the units of the pictures
    assert_close(before, (expected * 0.5 + 0.25).view(2, *SHAPE))


def test_small_pictures_are_shown_as_bright_as_large_ones():
    look = downsampled(SHAPE, 2, 0.1)
    y = torch.full((1, 1, 2, 2), 0.5)
    shown = shown_as(look.adjoint(y), NS(scale=2))
    assert_close(shown, torch.full((1, *SHAPE), 0.5))
    assert shown_as(torch.tensor([-1., 1.5]), NS(scale=None)).tolist() == [0., 1.]


def test_a_picture_has_no_pixel_beyond_white(tmp_path, monkeypatch):
    seen = []

    def grid(x, ncols):
        seen.append(x)
        return torch.zeros(4, 4, 3)

    monkeypatch.setattr(plots, 'image_grid', grid)
    draw_rows(tmp_path/'a.png', torch.full((1, *SHAPE), 2.), torch.zeros(1, 1, *SHAPE))
    assert (seen[0].min(), seen[0].max()) == (-1, 1) and len(seen[0]) == 2
