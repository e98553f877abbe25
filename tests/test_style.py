"Figures of the size that was asked for, and samples as images."
import matplotlib.image
import pytest
import torch
from torch.testing import assert_close

from diffusion_nbdev.style import (
    as_images, one_panel, plain_tensor, save_figure, subplots)


def test_a_panel_has_its_size_and_its_layout():
    figure = one_panel(3., 1.5).figure
    assert figure.get_size_inches().tolist() == [3., 1.5]
    assert subplots(1, 2)[0].get_layout_engine() is not None


def test_what_is_no_tensor():
    said = 'points must be a tensor or an array, got str'
    with pytest.raises(ValueError, match=said): plain_tensor('a', 'points')


def test_channels_that_are_no_colours_stand_side_by_side():
    x = torch.stack([torch.full((3, 4), k / 2 - 0.5) for k in (0., 1.)])[None]
    assert_close(as_images(x), torch.cat([x[:, 0], x[:, 1]], -1)[:, None])


@pytest.mark.parametrize('low, high', [(-1., 1.), (0., 1.), (-7., 3.)])
def test_images_span_their_range(low, high):
    x = torch.linspace(low, high, 16).reshape(1, 1, 4, 4)
    assert_close(as_images(x).flatten(), torch.linspace(-1, 1, 16))


def test_a_picture_is_cut_to_what_is_drawn(tmp_path):
    axes = one_panel(4., 4.)
    axes.set_position((0.4, 0.4, 0.2, 0.2))
    axes.set_in_layout(False)
    axes.figure.set_layout_engine('none')
    whole = save_figure(axes, tmp_path/'a.png', dpi=50)
    assert max(matplotlib.image.imread(whole).shape[:2]) < 150
