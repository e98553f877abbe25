"The roll as data."
import torch

from diffusion_nbdev.swissroll import SwissRollData


def test_points_are_those_of_seed_0_unless_another_is_asked_for():
    usual, zero, one = (SwissRollData(n_train=9, n_val=9, **seed)
                        for seed in ({}, dict(seed=0), dict(seed=1)))
    assert torch.equal(usual.draw(9, 'train', 0), zero.draw(9, 'train', 0))
    assert not torch.equal(usual.draw(9, 'train', 0), one.draw(9, 'train', 0))
