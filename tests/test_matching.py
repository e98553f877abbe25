"A second net that learns by itself, on any device; what is compared and where from."
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import far
from diffusion_nbdev.matching import (
    Crowds, DistributionMatching, SecondNet, Starts, same_draws, starts,
    times_in_log_snr)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.paths import Paths
from diffusion_nbdev.schedules import cosine_schedule, diffuse, target
from diffusion_nbdev.unet import PointMLP

sched = cosine_schedule(100)
somewhere = pytest.mark.skipif(not far.AVAILABLE, reason='no hook for a device')


def small(n_classes=0):
    torch.manual_seed(1)
    units = Units([2], n_classes=n_classes)
    return Model(PointMLP(2, 8, 1, n_classes), sched, 'v', units).eval()


def batch(n=8):
    g = torch.Generator().manual_seed(0)
    y, eps = torch.randn(2, n, 2, generator=g)
    return y, torch.arange(10, 10 + 10 * n, 10), eps


def test_times_are_spread_evenly():
    t = times_in_log_snr(sched, -4., 4., 40)
    step = 8 / 40
    gaps = sched.log_snr(t.sort(descending=True).values).diff()
    # rounding to whole times moves each by half a time at most
    room = sched.log_snr(t).sub(sched.log_snr((t - 1).clamp(min=1))).abs().max().item()
    assert gaps.max() < step + room and gaps.min() >= 0 and len(t.unique()) > 20


def test_a_second_net_learns_and_its_model_stays_as_it_was():
    model = small()
    before = [p.clone() for p in model.net.parameters()]
    second = SecondNet(model, lr=0.01)
    assert second.model.training and not model.training
    y, t, eps = batch()

    def loss():
        with torch.no_grad():
            out = second.model.net(diffuse(sched, y, t, eps), t)
            return (out - target(sched, y, eps, t, 'v')).square().mean().item()

    first = loss()
    for _ in range(50): second.learn(y, None, t, eps)
    assert loss() < 0.5 * first
    for p, q in zip(model.net.parameters(), before, strict=True):
        assert_close(p, q, rtol=0, atol=0)


def test_gradients_are_cut_to_length_1():
    second = SecondNet(small(), lr=0.)
    y, t, eps = batch()
    second.learn(1000 * y, None, t, eps)
    length = torch.stack([p.grad.norm() for p in second.model.net.parameters()]).norm()
    assert length.item() == pytest.approx(1, rel=1e-3)


@somewhere
def test_a_second_net_moves_with_its_memory():
    second = SecondNet(small(), lr=0.01)
    second.learn(*batch()[:1], None, *batch()[1:])
    with far.pretend('far') as device:
        second.to(device)
        assert second.model.device == device
        moved = [s['exp_avg'].device for s in second.adam.state.values()]
        assert moved and set(moved) == {device}


@somewhere
def test_what_is_compared_is_where_the_samples_are():
    with far.pretend('far') as device:
        crowds = Crowds(small(), [100.], 2, 0.01, (-5., 3.))
        crowds.paths = Paths(torch.zeros(2, 1, 2), torch.zeros(2, 2), None)
        crowds.ready(device)
        assert crowds.real.device == crowds.fake.model.device == device
        t, eps = crowds.noise(torch.zeros(3, 2, device=device))
        assert t.device == eps.device == device


def test_labels_that_the_data_lack_are_not_asked_for():
    paths = Paths(torch.zeros(4, 2, 2), torch.ones(4, 2), torch.arange(4))
    x0, k = torch.zeros(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    assert isinstance(s := starts(paths, sched, [100., 50.], x0, None, k, (1., 2.)),
                      Starts) and s.c is None


def test_draws_without_gradients_are_those_of_seed_0():
    g = torch.Generator().manual_seed(0)
    expected = torch.rand(3, generator=g)
    with torch.no_grad(), same_draws():
        assert torch.equal(torch.rand(3), expected)


def test_the_second_net_learns_where_there_are_gradients_only():
    crowds = Crowds(small(), [100.], 2, 0.1, (-5., 3.))
    weights = lambda: [p.clone() for p in crowds.fake.model.net.parameters()]
    y, before = batch()[0], weights()
    crowds.gap(y, None)
    same = zip(before, weights(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    crowds.gap(y.requires_grad_(), None)
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(), strict=True))


def objective(**options):
    model = small()
    made = DistributionMatching(model, [[100, 0]], paths=4, **options)
    made.prepare(model, 0.)
    return model, made


def test_the_teacher_is_a_copy_that_does_not_learn():
    model, made = objective()
    assert not any(p.requires_grad for p in made.crowds.real.net.parameters())
    assert all(p.requires_grad for p in model.net.parameters())
    with pytest.raises(ValueError, match='paths = 2.5: must be a whole number'):
        DistributionMatching(model, [[100, 0]], paths=2.5)


class Answer(nn.Module):
    "The same answer to everything, which can learn"
    n_classes = 0
    def __init__(self):
        super().__init__()
        self.v = nn.Parameter(torch.zeros(2))

    def forward(self, xt, t, c=None):
        return self.v.expand_as(xt)


def test_the_gradient_is_the_gap(monkeypatch):
    _, made = objective(follow=0., follow_later=0., match=3.)
    gap = torch.tensor([[1., -2.]]).expand(4, 2)
    monkeypatch.setattr(made.crowds, 'gap', lambda y, c: gap)
    model = Model(Answer(), sched, 'v', Units([2]))
    x0, t = torch.zeros(4, 2), torch.tensor([1, 30, 60, 90])
    loss = made(model, x0, None, t, x0)
    loss.mean().backward()
    # at T all of the answer, with its sign turned, is the end; 2 coordinates
    assert_close(model.net.v.grad, -3 * gap[0] / 2, rtol=1e-3, atol=1e-3)
