"What surrounds a sampler: units, types, wrappers, and how far it has come."
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.generating import (
    along, check_classes, coordinates, drawing, like_sampler, own_options, own_states,
    plain_net, resolved, sample_bar)
from diffusion_nbdev.model import Units

# what is meant here -> what other libraries call it
ELSEWHERE = dict(
    n='steps num_steps num_inference_steps', num='num_samples n_samples size',
    batch_size='batch', c='label labels class_labels y', times='grid', seed='generator',
    w='guidance guidance_scale cfg')


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


def test_options_of_other_libraries_are_understood():
    for meant, names in ELSEWHERE.items():
        for name in names.split():
            with pytest.raises(ValueError, match=f'{name!r}: did you mean {meant!r}'):
                own_options(ddim, {name: 1})


def test_units_hold_plain_numbers():
    units = Units([np.int64(2)], mean=torch.tensor([1., 2.]), std=np.float32(0.5))
    kinds = [type(v) for v in (units.shape[0], units.mean, units.std)]
    assert kinds == [int, list, float]
    with pytest.raises(ValueError, match='odds = 0.3'): Units([2], odds=0.3)


@pytest.mark.parametrize('known', [-1, 1.5])
def test_a_number_of_classes_that_no_net_can_have(known):
    with pytest.raises(ValueError, match=f'n_classes of the net = {known}'):
        check_classes(SimpleNamespace(n_classes=known), known)


def test_what_is_no_sampler():
    with pytest.raises(ValueError, match='sampler one: must be a generator function'):
        def one(f, sched, x): return x
        like_sampler(one)


def test_data_to_start_from():
    units = Units([1], clip=2.)
    assert own_states(units, np.array([[255], [0]], 'u1')).tolist() == [[1.], [0.]]
    assert own_states(units, [[5.]]).tolist() == [[5.]]
    with pytest.raises(ValueError, match='x lies 7 standard deviations from the mean'):
        own_states(units, [[7.]])


def test_a_bar_counts_samples():
    bar = sample_bar(ddim, 7, shown=False)
    assert bar.disable
    bar = sample_bar(ddim, 7, shown=True)
    bar.close()
    assert (bar.total, bar.unit, bar.desc) == (7, 'sample', 'ddim')
