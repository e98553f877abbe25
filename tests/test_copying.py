"Copies: the smallest chance, ten images are enough, and zeros of either sign."
import inspect

import pytest
import torch

from diffusion_nbdev.copying import copies_of, copy_test, null_shares, row_keys


def images(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def test_rows_are_told_apart_in_all_digits():
    zero, minus, tiny = (torch.tensor([[x]]).double() for x in (0., -0., 1e-20))
    assert row_keys(zero) == row_keys(minus) != row_keys(tiny)


def test_the_smallest_chance():
    train, held_out = images(10), images(10, 1)
    found = copy_test(train, train, held_out, draws=99)
    assert found.share == 1 and found.p == pytest.approx(1 / 100)


def test_ten_images_are_enough():
    train, held_out = images(10), images(10, 1)
    assert copies_of(train, train, held_out).n == 10
    assert copies_of(train[:9], train, held_out) is None
    assert copies_of(train, train[:9], held_out) is None


def test_a_thousand_halves_and_5000_images_where_no_number_is_named():
    assert len(null_shares(torch.rand(20).double())) == 1000
    assert inspect.signature(copies_of).parameters['most'].default == 5000
