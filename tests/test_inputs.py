"Times go to the layer that sees them; sizes at the ends of what is allowed."
import pytest
import torch

from diffusion_nbdev.inputs import check_sizes, check_unet, checked_batch, time_rows


def test_a_number_becomes_a_time_where_the_layer_is():
    weight = torch.empty(1, device='meta')
    assert time_rows(0.5, weight, 4).device == weight.device
    assert time_rows(torch.zeros(4), weight, 4).device == weight.device


def test_sizes_are_whole():
    check_sizes(width=1)
    with pytest.raises(ValueError, match='width = 2.5: must be a whole number'):
        check_sizes(width=2.5)


def test_one_to_five_levels():
    for n in 1, 5: check_unet(1, 1, [8] * n, 1, 1, 0.)
    for n in 0, 6:
        with pytest.raises(ValueError, match='one to five'):
            check_unet(1, 1, [8] * n, 1, 1, 0.)


def test_a_batch_may_have_labels_of_its_length():
    x = torch.zeros(3, 2)
    assert checked_batch(x) == (x, None, None)
    c = torch.arange(3)
    assert checked_batch(x, c, c)[1] is c
    for wrong, said in (c[:, None], r'\(3, 1\)'), ([0, 1, 2], 'a list'):
        with pytest.raises(ValueError, match=f'labels in a batch of 3 are {said}'):
            checked_batch(x, wrong)
