"What is usual for bounds: 256 levels, and digits as logarithms of odds, not turned."
import inspect

from torch import nn

from diffusion_nbdev.bound import LevelNet, LikelihoodLoss, OddsDigits
from diffusion_nbdev.schedules import cosine_schedule


def test_256_levels():
    assert LikelihoodLoss().levels == 256


def test_levels_end_a_millionth_of_the_odds_from_0_and_1():
    sched = cosine_schedule(100)
    usual, named = (LevelNet(nn.Identity(), sched, **more)
                    for more in ({}, dict(odds=1e-6)))
    assert usual.bins == named.bins
    assert usual.bins != LevelNet(nn.Identity(), sched, odds=1e-3).bins


def test_digits_are_not_turned():
    data = OddsDigits('digits')
    assert data.degrees == 0 and data.units.odds == 1e-6
    assert inspect.signature(OddsDigits).parameters['held_out'].default == 0.05
