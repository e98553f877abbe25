"Objectives for few calls: goals, weights, scales and what is refused."
import inspect
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffusion_nbdev.ddim import ddim_step
from diffusion_nbdev.distill import (
    Consistency, Progressive, consistency, end_hat, path_ends, pseudo_huber)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.oracles import OracleNet, ring_mixture
from diffusion_nbdev.schedules import cosine_schedule, diffuse

sched = cosine_schedule(100)
ring = ring_mixture(sched)
teacher = Model(OracleNet(ring), sched, 'v', Units([2], n_classes=4))


class Guess(nn.Module):
    "One number for all answers"
    n_classes = 4
    def __init__(self):
        super().__init__()
        self.v = nn.Parameter(torch.tensor(0.5))

    def forward(self, xt, t, c=None):
        return self.v.expand_as(xt)


def student():
    return Model(Guess(), sched, 'v', Units([2], n_classes=4))


def some(n=6):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 2, generator=g), torch.randn(n, 2, generator=g)


def test_no_gradient_goes_through_the_ends_of_paths():
    weight = torch.ones(1, requires_grad=True)
    ends = path_ends(lambda x, t: weight * ring(x, t), sched, some()[0], 50.)
    assert not ends.requires_grad


def test_one_step_of_the_student_is_two_of_the_guided_teacher():
    objective = Progressive(teacher, 5, w=1.5)
    model = student()
    objective.prepare(model, 0.1)
    x0, eps = some()
    c = torch.tensor([0, 1, 2, 3, -1, 0])
    # in the steps from 100, 60 and 20, and for small noise in the last one
    t = torch.tensor([100, 81, 60, 41, 20, 1])
    found = objective(model, x0, c, t, eps)
    t, m, s = (torch.tensor(k) for k in ([100, 100, 60, 60, 20, 20],
                                         [90, 90, 50, 50, 10, 10],
                                         [80, 80, 40, 40, 0, 0]))
    xt = diffuse(sched, x0, t, eps)
    f = teacher.denoiser(c, w=1.5)
    xm = ddim_step(sched, xt, f(xt, t), t, m)[0]
    xs = ddim_step(sched, xm, f(xm, m), m, s)[0]
    # the step that the goal stands for ends where those two do
    goal = objective.goal(model, c, xt, t, m, s)
    assert_close(ddim_step(sched, xt, goal, t, s)[0], xs, rtol=1e-4, atol=1e-4)
    off = (end_hat(model, xt, t, c) - goal).square().mean(1)
    assert sched.snr(t[-1]) > 1 > sched.snr(t[0])
    assert_close(found, off * sched.snr(t).clamp(min=1).float())


def test_steps_are_whole_and_scales_above_0():
    with pytest.raises(ValueError, match='n = 2.5: must be a whole number'):
        Progressive(teacher, 2.5)
    with pytest.raises(ValueError, match='scale = 0: must be'):
        Consistency(scale=0)


def test_pairs_close_up_to_a_64th_where_nothing_is_named():
    assert inspect.signature(Consistency).parameters['last'].default == 1 / 64
    objective = Consistency()
    objective.at(1.)
    assert objective.now == 1 / 64


def test_scales_are_of_a_coordinate():
    x = torch.full((1, 9), 0.02)
    # 3 = sqrt(9) times what one coordinate with this scale gives
    one = math.hypot(0.02, 0.03) - 0.03
    assert_close(pseudo_huber(x, 0.03), torch.tensor([3 * one]))


def test_a_guess_at_time_1_is_not_the_end():
    noisy = []

    def noise(x, k):
        noisy.append(k)
        return torch.ones_like(x)

    states = list(consistency(lambda x, t: torch.zeros_like(x), sched,
                              torch.zeros(2, 1), times=[100, 1, 0], noise=noise))
    assert noisy == [1]
    assert_close(states[1], torch.full((2, 1), sched.noise(1.).item()))
    assert states[2].abs().max() == 0
