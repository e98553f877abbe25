"Rows beside real ones: in units of the real ones, a column."
import pytest
import torch

from diffusion_nbdev.compared import mean_shift, nearest_row


def test_shifts_are_in_units_of_the_real_rows():
    y = torch.tensor([[-1., 0.], [1., 0.5], [-1., 1.], [1., 0.5]]).double()
    x = 10 * y + torch.tensor([3., 0.])
    off, column = mean_shift(x, y)
    # means of x are 3 and 5, in stds of y
    std = y.std(0)
    assert (off, column) == (pytest.approx(4.5 / std[1].item()), 1)


def test_the_nearest_row_is_as_far_as_one_column():
    y = 100. * torch.arange(5.).double()[:, None].expand(5, 4)
    far = nearest_row(y + 0.5, y)
    assert far == pytest.approx(0.5 / y[:, 0].std().item())
