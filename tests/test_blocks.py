"Rows where they belong, sums that lose nothing, and blocks of a bounded size."
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

import far
from diffusion_nbdev.blocks import blocks, distance2, level_at, state_rows, state_times
from diffusion_nbdev.mixtures import Components
from diffusion_nbdev.schedules import cosine_schedule

META = torch.device('meta')


@pytest.mark.parametrize('D', [1, 2, 16])
def test_distances_of_few_dimensions_are_exact(D):
    means = torch.tensor([[1e6], [-1e6]], dtype=torch.float64).expand(2, D)
    x, one = means[:1] + 2 ** -10, torch.ones(1, 1, dtype=torch.float64)
    expected = torch.tensor([[D * 2. ** -20]]).double()
    assert_close(distance2(x, one, means)[:, :1], expected, rtol=1e-12, atol=0)


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
@pytest.mark.parametrize('flavour, there', [('far', True), ('mps', False)])
def test_states_are_float64_where_a_device_knows_it(flavour, there):
    with far.pretend(flavour) as device:
        rows = state_rows(torch.zeros(2, 3, device=device), (3,))
        assert rows.dtype is torch.float64
        assert rows.device == (device if there else torch.device('cpu'))


def test_one_time_stays_and_many_go():
    assert state_times(9, 3., 2, META).device.type == 'cpu'
    assert state_times(9, torch.tensor([1, 2]), 2, META).device.type == 'meta'


def mixture(K, var, D=2):
    parts = Components(torch.zeros(K, D).double(), torch.tensor(var).double(),
                       torch.zeros(K).double(), torch.full((K,), -1))
    return SimpleNamespace(sched=cosine_schedule(9), shape=(D,), n_classes=0,
                           on=lambda device: parts)


def test_the_prior_is_the_height_of_a_density():
    m = mixture(2, [0.5, 4.])
    level = level_at(m.sched, torch.tensor(3), m.on('cpu'), 1)
    heights = Normal(0., level.var_t.sqrt()).log_prob(torch.zeros(1, 2).double())
    assert_close(level.prior, 2 * heights)


def test_points_without_noise_have_a_prior():
    m = mixture(1, [0.])
    assert level_at(m.sched, torch.tensor(0), m.on('cpu'), 1).prior.isfinite().all()


@pytest.mark.parametrize('K, rows', [(2, 4096), (100, 640), (2000, 64)])
def test_rows_of_a_block(K, rows):
    block = next(blocks(mixture(K, [1.]), torch.zeros(3, 2), 1, None))
    assert block.x.shape == (rows, 2)
