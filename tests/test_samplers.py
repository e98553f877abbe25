"What a figure of a sampler does not show: how exact it is, and how often it asks."
import pytest
import torch

from diffusion_nbdev.multistep import dpmpp_3m, first_mean, moments
from diffusion_nbdev.samplers import between, dpmpp_2s, legs, levels
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

def test_the_last_state_is_the_last_answer():
    answers = []
    def f(x, t):
        answers.append(x * t)
        return answers[-1]
    *_, last = dpmpp_3m(f, SCHED, torch.ones(1, 2), times=[9, 7, 4, 2, 1, 0])
    assert torch.equal(last, answers[-1]) and len(answers) > 4

def test_a_first_step_looks_where_the_path_goes():
    "With x0_hat a line in lambda, whatever x is, the third look is on the exact path."
    x, asked, (t, s) = torch.ones(1, 1, dtype=torch.float64), [], (600., 300.)
    def clean(t): return SCHED.log_snr(torch.tensor([[t]], dtype=torch.float64)) / 2
    def f(x, t):
        asked.append((x, t))
        return clean(t)
    mean = first_mean(f, SCHED, x, clean(t), t, s, 3)
    (_, m), (there, m2) = asked
    path, fine = x, torch.linspace(t, m2, 401, dtype=torch.float64)
    line = SCHED.log_snr(fine) / 2
    for step, start, end in zip(legs(SCHED, fine.tolist()), line, line[1:]):
        path = step.a * path + step.b * (start + end) / 2
    torch.testing.assert_close(there, path, rtol=1e-5, atol=0)
    assert t > m > m2 > s and clean(t) < mean < clean(s)

def test_means_over_a_very_long_step():
    whole, first = moments(2, 500.)
    assert whole == pytest.approx(1) and 0.99 < first < 1

def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match='n = 2: unipc3 is of order 4 and needs at le'):
        SAMPLERS['unipc3'](lambda x, t: x, SCHED, torch.ones(1, 2), 2)

def test_which_draw_noise():
    enter_all()
    drawing = {name for name, made in SAMPLERS.items() if made.stochastic}
    assert drawing >= {'ddpm', 'dpmpp_2m_sde', 'euler_ancestral', 'sde', 'pc'}
    assert not drawing & {'ddim', 'dpmpp_2m', 'heun', 'ode'}
