"Measurements: their noise, their width, where they are computed, and adjoints."
import math

import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.measuring import (
    Measurement, blurred, check_adjoint, masked, need_gradient)

somewhere = pytest.mark.skipif(not far.AVAILABLE, reason='no hook for a device')


def test_the_noise_is_that_of_step_0():
    asked = []

    def noise(x, k):
        asked.append(k)
        return torch.ones_like(x)

    look = masked(torch.ones(2), 0.5)
    assert look(torch.zeros(1, 2), noise).tolist() == [[0.5, 0.5]] and asked == [0]


def test_a_blur_has_its_width():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    spot = blurred((1, 41, 41), 2.).forward(point)[0, 0]
    at = torch.arange(-20, 21).double()
    # cut at three standard deviations, where 0.3 % are missing
    assert math.sqrt((spot.sum(1) * at ** 2).sum()) == pytest.approx(2, rel=0.02)


def test_the_vectors_of_a_check_are_always_the_same():
    seen = []

    def forward(x):
        seen.append(x)
        return x

    for state in 0, 1:
        torch.manual_seed(state)
        check_adjoint(forward, lambda y: y, [3])
    assert_close(seen[0], seen[1], rtol=0, atol=0)


def test_nothing_is_its_own_adjoint():
    zero = lambda x: torch.zeros_like(x)
    assert check_adjoint(zero, zero, [3]) == (3,)


def test_only_answers_with_a_gradient_are_taken():
    x = torch.zeros(1, requires_grad=True)
    assert need_gradient(x) is x
    with pytest.raises(ValueError, match='has no gradient'): need_gradient(x.detach())


def test_a_gap_is_in_the_numbers_of_the_data():
    look = Measurement(lambda x: x, lambda y: y, (2,))
    assert look.gap(torch.zeros(1, 2), torch.ones(1, 2).double()).dtype is torch.float32


@somewhere
def test_a_measurement_is_where_the_data_are():
    look = masked(torch.tensor([1., 0.]), 0.1)
    with far.pretend('far') as device:
        x = torch.ones(3, 2, device=device)
        assert look.forward(x).device == device
        assert look.gap(x, torch.zeros(3, 1)).device == device
