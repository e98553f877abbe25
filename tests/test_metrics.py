"Distances of points: seeds of all sizes, and the scatter of two."
import pytest
import torch

from diffusion_nbdev.metrics import sliced_w2, spread


def test_two_values_scatter():
    assert spread([1., 3.]) == pytest.approx(2 ** 0.5) and spread([1.]) is None


def test_seeds_have_63_bits():
    x = torch.zeros(3, 2)
    assert sliced_w2(x, x, seed=2 ** 63 - 1) == 0
    with pytest.raises(ValueError, match='seed'): sliced_w2(x, x, seed=2 ** 63)
