"Exact denoisers: no variance below zero, whole numbers of parts, v as usual."
import pytest
import torch

from diffusion_nbdev.oracles import Mixture, OracleNet, oracle_net, swissroll_oracle
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(1000)
line = Mixture(sched, [[-1.], [1.]])


def test_rounding_makes_no_variance_negative():
    near = Mixture(sched, [[1e3], [1e3 + 1e-6], [1e3 - 1e-6]])
    x = 1e3 * sched.signal(500).item() + torch.linspace(-3, 3, 1000).double()[:, None]
    assert (near.posterior_var(x, 500) >= 0).all()


def test_half_a_part_of_a_roll():
    with pytest.raises(ValueError, match='K = 2.5: must be a whole number'):
        swissroll_oracle(sched, K=2.5)


def test_v_where_no_answer_is_named():
    assert OracleNet(line).pred == oracle_net(line).pred == 'v'
