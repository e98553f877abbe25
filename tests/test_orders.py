"Even steps are even to the last digits, and there are as many as it says."
import torch
from torch.testing import assert_close

from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.orders import even_times, flow_errors
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(1000)


def test_even_times():
    times = torch.tensor(even_times(sched, 7), dtype=torch.float64)
    halves = torch.arange(-3., 3.1, 6 / 7, dtype=torch.float64)
    assert_close(sched.log_snr(times) / 2, halves, rtol=1e-10, atol=1e-10)


def test_steps_double_from_20_to_160():
    z = torch.zeros(2, 1)
    calls, off = flow_errors(ddim, lambda x, t: x, sched, z, z)
    assert calls == [20, 40, 80, 160] and [len(o) for o in off] == [2] * 4
