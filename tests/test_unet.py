"Parts of the net: sizes that are refused, pixels between pixels, what is joined."
import pytest
import torch
from torch.nn.functional import interpolate
from torch.testing import assert_close

from diffusion_nbdev.unet import TableNet, interpolated, joined


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match='coordinates = 0: must be'):
        TableNet(0, width=4)


def test_pixels_between_pixels():
    x = torch.randn(1, 2, 4, 4)
    up = interpolated(2, 3, 'bilinear')
    between = interpolate(up[0](x), scale_factor=2., mode='bilinear')
    assert_close(up(x), between)


def test_what_was_kept_is_added_or_stands_behind():
    h, kept = torch.ones(1, 2, 4, 4), torch.full((1, 2, 3, 4), 2.)
    assert_close(joined(h, kept, 'add'), torch.full((1, 2, 3, 4), 3.))
    assert joined(h, kept, 'cat')[0, :, 0, 0].tolist() == [1., 1., 2., 2.]
