"What surrounds a sampler: units, types, wrappers, and how far it has come."
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffusion_nbdev.generating import along, coordinates, drawing, plain_net, resolved


def test_a_number_for_each_coordinate():
    assert coordinates('mean', [1., 2.], [3, 2]) == [1., 2.]
    with pytest.raises(ValueError, match='mean: 1 numbers for 2 coordinates'):
        coordinates('mean', [1.], [3, 2])


def test_a_net_on_several_devices_is_refused():
    # made by hand, since a real one looks for devices
    wrapped = nn.DataParallel.__new__(nn.DataParallel)
    with pytest.raises(ValueError, match='DataParallel: must be the plain module'):
        plain_net(wrapped)
    net = nn.Linear(1, 1)
    assert plain_net(net) is net


@pytest.mark.parametrize('x, units', [
    (torch.float64, torch.float64), (torch.float16, torch.float16),
    (torch.uint8, torch.float32)])
def test_units_have_the_type_of_real_data(x, units):
    assert along([1., 2.], torch.zeros(3, 2, dtype=x)).dtype is units


@pytest.mark.parametrize('mean, dtype', [(8e3, torch.float32), (1e4, torch.float64)])
def test_float64_where_neighbours_are_a_thousandth_apart(mean, dtype):
    assert resolved(torch.zeros(1, 2), [0., mean], 1.).dtype is dtype


def test_progress_is_told_in_samples():
    class States(list):
        times, calls = [4, 3, 2, 1, 0], 4
    model = SimpleNamespace(n_classes=0, sched=None,
                            data=SimpleNamespace(to_data=lambda z: z, classes=[]))
    told, two = [], torch.zeros(2, 1)
    draw = drawing(model, lambda *a, **k: States([two] * 5), lambda c: None,
                   lambda *a: two, num=9, seed=0)
    assert draw(6, 8, told.append) is two
    assert told == [6, 6, 7, 7, 8] and model.calls == 4
