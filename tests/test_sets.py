"Blocks of a bounded size, exact distances of points, and images without gradients."
import torch

from diffusion_nbdev.sets import (
    block_rows, check_digits, shared_rows, sum_of_distances)


def test_blocks_hold_eight_megabytes():
    assert block_rows(torch.empty(1000, 2)) * 1000 * 8 == 8_000_000


def test_distances_far_from_the_origin():
    x = torch.tensor([[1e8, 0.]], dtype=torch.float64)
    y = torch.tensor([[1e8, 1.], [1e8, 2.]], dtype=torch.float64)
    assert sum_of_distances(x, y) == 3


def test_images_are_numbers_alone():
    images = torch.zeros(1, 1, 28, 28, requires_grad=True)
    assert not check_digits(images).requires_grad


def test_zeros_of_either_sign_are_the_same():
    zero, minus = torch.tensor([[0.]]).double(), torch.tensor([[-0.]]).double()
    assert shared_rows(zero, minus) == shared_rows(minus, zero) == 1
    assert shared_rows(zero, zero + 1e-20) == 0
