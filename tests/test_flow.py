"One law at its edges: steps into t = 0, the ends of the dial, calls that are paid."
import math

import pytest
import torch
from torch.testing import assert_close

from diffusion_nbdev import straight
from diffusion_nbdev.flow import (
    END, divergence, flow_schedule, growth, kept_share, langevin, partly_fresh, pc, sde)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.oracles import ring_mixture
from diffusion_nbdev.sampling import last
from diffusion_nbdev.schedules import cosine_schedule, rescaled
from diffusion_nbdev.straight import (
    Coupled, Preconditioned, Reflow, coupled, curvature)
from diffusion_nbdev.training import LitDiffusion

sched = cosine_schedule(100)
mix = ring_mixture(sched)
z = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def never(x, k):
    raise AssertionError('noise was drawn')


def test_what_a_step_keeps():
    assert kept_share(0., math.inf) == 1 and kept_share(2., math.inf) == 0
    assert kept_share(0.5, 2.) == pytest.approx(math.exp(-1))


def test_into_zero_there_is_no_noise():
    mean, sigma = partly_fresh(sched, z, mix(z, 5), 5, 0, 0.3)
    assert sigma == 0
    assert_close(mean, mix(z, 5), rtol=0, atol=0)
    last(pc(mix, sched, z, times=[5, 0], noise=never))


def test_without_churn_nothing_is_drawn():
    for solve in (sde, pc):
        last(solve(mix, sched, z, n=8, noise=never, churn=0.))


def test_calls_of_a_corrector():
    for corrections in (1, 3):
        run = pc(mix, sched, z, n=6, noise=1, corrections=corrections)
        last(run)
        assert run.calls == 6 + 5 * corrections


def test_a_walk_that_keeps_everything_or_nothing():
    assert_close(langevin(mix, sched, z, 40, 0., 7 * z), z)
    fresh = sched.signal(40) * mix(z, 40) + sched.noise(40) * z
    assert_close(langevin(mix, sched, z, 40, 700., z), fresh)


def test_growth_on_each_path():
    t = torch.tensor([1., 17.3, 100.], dtype=torch.float64)
    noise = {path: rescaled(sched, path).noise(t) for path in ('vp', 'flow', 've')}
    assert_close(growth(sched, t), noise['vp'] ** 2)
    assert_close(growth(rescaled(sched, 'flow'), t), noise['flow'])
    assert_close(growth(rescaled(sched, 've'), t), 0 * t)


def test_the_end_of_the_straight_path():
    flow = flow_schedule(4)
    assert flow.table[-1] == END and flow.path == 'flow'
    assert flow.noise(4) == 1 and 0 < flow.signal(4) < 1e-16
    assert_close(flow.signal(torch.arange(5)),
                 torch.tensor([1., 0.75, 0.5, 0.25, 0.], dtype=torch.float64))
    assert flow.recipe['class_path'] == 'diffusion_nbdev.flow.flow_schedule'


def test_coupling_keeps_each_class_to_itself():
    x0, c = torch.tensor([[0.], [1.], [10.], [11.]]), torch.tensor([0, 1, 0, 1])
    eps = torch.tensor([[5.], [0.], [-5.], [1.]])
    assert coupled(x0, eps).flatten().tolist() == [-5., 0., 1., 5.]
    assert coupled(x0, eps, c).flatten().tolist() == [-5., 0., 5., 1.]


def test_objectives_are_known_by_their_recipes():
    assert Coupled().recipe['class_path'] == 'diffusion_nbdev.straight.Coupled'
    objective = Reflow('swissroll', n=3)
    assert objective.recipe['init_args'] == dict(teacher='swissroll', n=3, loss='mse')
    with pytest.raises(ValueError, match="path = 'vp': Reflow needs the path 'flow'"):
        LitDiffusion(objective.teacher, objective=objective)


def test_a_divergence_has_gradients_where_they_are_wanted():
    x = torch.tensor([[1., 2.]], requires_grad=True)
    slope, = torch.autograd.grad(divergence(x ** 3, x).sum(), x)
    assert_close(slope, 6 * x.detach())


def test_fifty_steps_are_usual_and_nothing_is_left_at_the_end():
    assert len(list(pc(mix, sched, z, noise=0))) == 51
    assert math.exp(END / 2) == pytest.approx(4.2e-18, rel=0.1)


def test_a_net_without_classes_has_none():
    assert Preconditioned(torch.nn.Linear(2, 2), sched).n_classes == 0


def test_times_of_a_curvature_are_even_to_the_last_digits(monkeypatch):
    asked = []

    def unipc2(f, sched, eps, times):
        asked.extend(times)
        return [eps * t for t in times]

    monkeypatch.setattr(straight, 'unipc2', unipc2)
    curvature(mix, flow_schedule(100), z, n=3)
    assert asked == pytest.approx([100, 200 / 3, 100 / 3, 0], rel=1e-14)


def test_a_teacher_does_not_drop_out():
    net = torch.nn.Sequential(torch.nn.Dropout(0.5))
    net.forward = lambda xt, t, c=None: net[0](xt)
    teacher = Model(net, cosine_schedule(100), 'v', Units([2])).train()
    reflow = Reflow(teacher, n=2)
    eps = torch.ones(50, 2)
    assert_close(reflow.partners(eps), reflow.partners(eps), rtol=0, atol=0)
    assert not net[0].training
