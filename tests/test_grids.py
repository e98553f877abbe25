"Grids: none goes below its end, an empty range is refused, all digits of float64."
import math

import pytest
import torch

from diffusion_nbdev.grids import logsnr_times, real_times, spread
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(1000)


def test_no_time_lies_below_the_end():
    log_snr = torch.tensor([-9., -2., 20., 40.]).double()
    times = real_times(sched, log_snr, 3, None, 10)
    assert times == [1000, pytest.approx(sched.t_at(log_snr[1]).item()), 10, 10]


def test_a_range_of_one_point_is_refused():
    top = sched.log_snr(700).item()
    with pytest.raises(ValueError, match='hi = '):
        logsnr_times(sched, 4, lo=top, hi=top)


def test_even_steps_to_the_last_digits():
    times = spread(sched, 4, lambda lam: lam.sigmoid(), start=900, end=100)
    lam = sched.log_snr(torch.tensor(times, dtype=torch.float64)) / 2
    steps = lam.sigmoid().diff()
    ends = [sched.log_snr(t).item() / 2 for t in (900, 100)]
    way = 1 / (1 + math.exp(-ends[1])) - 1 / (1 + math.exp(-ends[0]))
    assert steps.tolist() == pytest.approx([way / 4] * 4, rel=1e-11)
