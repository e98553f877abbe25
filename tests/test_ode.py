"The flow on other paths, tolerances, and the time of the last call."
import pytest
import torch
from torch.testing import assert_close

from diffusion_nbdev.ode import ode, ode_invert, slope
from diffusion_nbdev.oracles import Mixture
from diffusion_nbdev.sampling import last
from diffusion_nbdev.schedules import cosine_schedule, rescaled

sched = cosine_schedule(1000)
line = Mixture(sched, [[-1.], [1.]], 0.3)
x = torch.randn(50, 1, dtype=torch.float64)


def test_one_slope_on_every_path():
    for path in 'flow', 've':
        other = rescaled(sched, path)
        there = Mixture(other, [[-1.], [1.]], 0.3)
        for lam in -2., 0.5:
            expected = slope(line, sched, x, lam)
            assert_close(slope(there, other, x, lam), expected)


@pytest.mark.parametrize('name, bad', [('rtol', 1.5), ('rtol', 0.), ('atol', 0.),
                                       ('atol', 1.5)])
def test_tolerances_that_no_solver_keeps(name, bad):
    with pytest.raises(ValueError, match=f'{name} = {bad}: must be'):
        ode_invert(line, sched, x, **{name: bad})


def test_a_thousandth_where_no_tolerance_is_named():
    assert_close(last(ode(line, sched, x)),
                 last(ode(line, sched, x, rtol=1e-3, atol=1e-3)),
                 rtol=0, atol=0)


def test_the_last_call_is_at_the_last_time_above_0():
    seen = []

    def f(xt, t):
        seen.append(float(t))
        return line(xt, t)

    times = [1000, 600, 30, 0]
    last(ode(f, sched, x, n=3, times=times))
    assert seen[-1] == 30
