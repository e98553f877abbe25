"What `evaluate --likelihood` computes: means, errors, units, and what it passes on."
import math
from types import SimpleNamespace as NS

import pytest
import torch

import far
from diffusion_nbdev import bound, likelihood
from diffusion_nbdev.cli.likelihood import (
    chain_scores, flow_scores, in_units, mean_and_error, probe_error, spread)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import cosine_schedule
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
