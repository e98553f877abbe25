"Batches and data in other units than the model's."
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffusion_nbdev.agreeing import check_data, check_foreign, known_batch
from diffusion_nbdev.model import Units


def model_of(net=None, **units):
    units = Units([1], **units)
    return SimpleNamespace(net=net or nn.Linear(1, 1), data=units, n_classes=0)


@pytest.mark.parametrize('clip, most', [(None, 10), (2., 6)])
def test_how_far_a_batch_may_go(clip, most):
    model = model_of(clip=clip)
    for sign in 1, -1:
        check_foreign(model, torch.full((2, 1), sign * (most - 0.1)), None)
        with pytest.raises(ValueError, match=f'values up to {most + 0.1}, the bound'):
            check_foreign(model, torch.full((2, 1), sign * (most + 0.1)), None)


def test_the_first_batch_of_a_foreign_loader_is_looked_at():
    lit, far = SimpleNamespace(model=model_of()), torch.full((2, 1), 99.)
    with pytest.raises(ValueError, match='values up to 99'): known_batch(lit, far)
    # with row numbers it is one of ours
    assert known_batch(lit, (far, torch.ones(2), torch.arange(2)))[0] is far
    known_batch(lit, [torch.zeros(2, 1)])
    assert known_batch(lit, far)[0] is far


def test_data_that_say_less_than_the_model_are_in_its_units():
    a, b = (model_of(columns={name: 'real'}) for name in 'ab')
    check_data(a, SimpleNamespace(units=Units([1])))
    with pytest.raises(ValueError, match='data: its columns is'):
        check_data(a, SimpleNamespace(units=b.data))
    # a net that says nothing of classes
    check_data(model_of(n_classes=3), SimpleNamespace(units=Units([1])))
