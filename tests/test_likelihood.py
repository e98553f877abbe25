"What `evaluate --likelihood` computes: means, errors, units, and what it passes on."
import inspect
import math
from types import SimpleNamespace as NS

import pytest
import torch
from torch.distributions import Normal
from torch.testing import assert_close

import far
from diffusion_nbdev import bound, likelihood
from diffusion_nbdev.cli.likelihood import (
    chain_scores, flow_scores, in_units, mean_and_error, probe_error, spread)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import Schedule, cosine_schedule
from diffusion_nbdev.unet import PointMLP

model = Model(PointMLP(2, 4, 1), cosine_schedule(10), data=Units([2])).eval()


def test_the_error_of_a_mean():
    assert mean_and_error(torch.tensor([1., 3., 5., 7.])) == pytest.approx(
        (4, (20 / 3) ** 0.5 / 2))


def test_five_decimals_are_kept():
    found = in_units(torch.tensor([0.123456, 0.123456]), 1, 0)
    assert found == dict(nats=0.12346, error=0.)


def test_probes_of_rows_are_averaged():
    error = torch.tensor([3., 4.]) * 2 ** 0.5
    # root of the mean square, over the root of their number
    assert probe_error(error, 10, 0) == pytest.approx(5 / 2 ** 0.5, abs=1e-6)
    bits = 5 / 2 ** 0.5 / (10 * math.log(2))
    assert probe_error(error, 10, 256) == pytest.approx(bits, abs=1e-6)


def test_bytes_are_spread_over_their_steps():
    y = spread(torch.zeros(1000, 1), 0, 256)
    assert y.dtype is torch.float64 and 0 <= y.min() and y.max() < 1 / 256


def test_guidance_is_passed_on(monkeypatch):
    asked = {}

    def of_model(*args, **options):
        asked.update(options)
        return NS(nats=torch.zeros(2), calls=1, error=torch.zeros(2))

    monkeypatch.setattr(likelihood, 'of_model', of_model)
    args = NS(guide=None, w=None, seed=0, batch_size=None, steps=None, probes=None,
              low=None, clip=None, interval=(1, 5), rescale=0.5, trust=False)
    flow_scores(args, model, torch.zeros(2, 2), None, 0)
    assert asked['guidance'] == dict(interval=(1, 5), rescale=0.5, guide=None)
    assert asked['n'] == 25


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
def test_a_bound_is_computed_where_the_model_is(monkeypatch):
    seen, whole = [], bound.chain_bound

    def chain_bound(f, sched, z, *args, **options):
        seen.append(z.device)
        return whole(f, sched, z, *args, **options)

    monkeypatch.setattr(bound, 'chain_bound', chain_bound)
    y, args = torch.randn(3, 2, dtype=torch.float64), NS(chain=4, w=None, seed=0)
    here = chain_scores(args, model, y, None, 0)
    with far.pretend('far') as device:
        there = chain_scores(args, model.to(device), y, None, 0)
    model.to('cpu')
    assert [d.type for d in seen] == ['cpu'] * 2 + ['far'] * 2
    assert there['beta']['nats'] == pytest.approx(here['beta']['nats'], rel=1e-3)


def test_what_is_usual():
    assert (likelihood.FEW, likelihood.SOME) == (8, 4)
    assert {k: order for k, (_, order) in likelihood.METHODS.items()} == dict(rk4=4,
                                                                             rk8=8)
    assert inspect.signature(likelihood.carried).parameters['exact'].default is True


def test_a_grid_is_even_in_its_own_measure():
    angles = torch.tensor(likelihood.phi_grid(0.01, 1.5, 6), dtype=torch.float64)
    steps = (angles / likelihood.BEND).asinh().diff()
    assert len(angles) == 7 and steps.std() < 1e-9


def early_end():
    "A schedule whose end still has a quarter of the data's variance"
    return Schedule([math.inf, *torch.linspace(6., -1., 10).tolist()])


def test_the_end_has_the_variance_that_is_left():
    sched = early_end()
    signal, noise = sched.coefficients(sched.T)
    x = torch.tensor([[0.7]])
    expected = Normal(0., (4 * signal ** 2 + noise ** 2).sqrt().item()).log_prob(x)
    assert_close(likelihood.gaussian_end(sched, std=2.)(x), expected[:, 0])


def test_a_bit_is_half_of_the_density():
    nats = torch.tensor([0., 3 * math.log(2)])
    assert_close(likelihood.bits_per_dim(nats, 3), torch.tensor([8., 7.]))


def test_gradients_are_on_inside():
    with torch.no_grad():
        v, found = likelihood.traced(lambda x, t: 0.5 * x, cosine_schedule(10),
                                     torch.ones(1, 2), 0.5, torch.ones(1, 1, 2))
    assert found.shape == (1, 1) and found.abs() > 0 and not v.requires_grad


def test_one_row_and_the_moments_of_others():
    x, like = torch.zeros(1, 2), torch.tensor([[0., 0.], [2., 20.]])
    there = Model(model.net, early_end(), data=Units([2]))
    found = likelihood.of_model(there, x, n=4, like=like)
    other = likelihood.of_model(there, x, n=4, like=like + 3)
    assert found.nats.shape == (1,) and found.nats != other.nats
