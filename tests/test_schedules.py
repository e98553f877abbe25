"What the chapter on schedules says of their names, defaults and bounds."
import pytest
import torch

from diffusion_nbdev.schedules import (
    SCHEDULES, cosine_schedule, like, linear_schedule, rescaled, sigmoid_schedule)


def test_a_schedule_names_its_path_where_it_is_not_the_usual_one():
    sched = cosine_schedule(10)
    assert 'path' not in repr(sched)
    assert repr(rescaled(sched, 'flow')).endswith(', path flow)')


def test_makers():
    names = {'linear', 'quadratic', 'cosine', 'sigmoid', 'sigmoid_signal'}
    assert SCHEDULES.keys() == names
    assert {make().T for make in SCHEDULES.values()} == {1000}
    # Ho et al. 2020, section 4
    ends = linear_schedule().beta(torch.tensor([1, 1000]))
    torch.testing.assert_close(ends, torch.tensor([1e-4, 0.02]).double())


@pytest.mark.parametrize('tau', [0., 1.5e6])
def test_temperatures_out_of_range(tau):
    with pytest.raises(ValueError, match='tau'): sigmoid_schedule(5, tau=tau)


def test_one_number_stays_where_it_is():
    x = torch.empty(2, 3, device='meta')
    assert like(torch.tensor(2.), x).device.type == 'cpu'
