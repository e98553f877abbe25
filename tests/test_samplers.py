"What a figure of a sampler does not show: how exact it is, and how often it asks."
import pytest
import torch

from diffusion_nbdev.samplers import between, dpmpp_2s, levels
from diffusion_nbdev.sampling import SAMPLERS, enter_all
from diffusion_nbdev.schedules import linear_schedule
from diffusion_nbdev.stochastic import dpmpp_2m_sde

SCHED = linear_schedule()

def test_levels_and_the_time_between_in_float64():
    t = torch.tensor([700.3, 10.7], dtype=torch.float64)
    want = [pytest.approx(pair, rel=1e-14) for pair in
            zip(SCHED.signal(t).tolist(), SCHED.noise(t).tolist())]
    assert levels(SCHED, t.tolist()) == want
    m = between(SCHED, *t.tolist(), share=0.25)
    high, low = SCHED.log_snr(t).tolist()
    found = SCHED.log_snr(torch.tensor(m, dtype=torch.float64)).item()
    assert found == pytest.approx(high + (low - high) / 4, abs=1e-9)

def asked(sampler, times, **own):
    "The times at which a sampler asks its denoiser."
    seen = []
    def f(x, t):
        seen.append(t)
        return x / 2
    states = list(sampler(f, SCHED, torch.ones(1, 2), times=times, **own))
    assert len(states) == len(times)
    return seen

def test_a_look_ahead_into_every_step_but_the_last():
    seen = asked(dpmpp_2s, [9, 1, .5, 0])
    assert len(seen) == 5 and seen[::2] == [9, 1, .5]
    assert 1 < seen[1] < 9 and .5 < seen[3] < 1

def test_no_noise_is_drawn_into_the_last_state():
    steps = []
    def noise(x, k):
        steps.append(k)
        return torch.zeros_like(x)
    asked(dpmpp_2m_sde, [9, 1, .5, 0], noise=noise)
    assert steps == [1, 2]

def test_which_draw_noise():
    enter_all()
    drawing = {name for name, made in SAMPLERS.items() if made.stochastic}
    assert drawing >= {'ddpm', 'dpmpp_2m_sde', 'euler_ancestral', 'sde', 'pc'}
    assert not drawing & {'ddim', 'dpmpp_2m', 'heun', 'ode'}
