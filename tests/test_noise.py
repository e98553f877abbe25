"Where noise is drawn, and how much of it at once."
import torch

from diffusion_nbdev.noise import KEPT, drawn_from, steps_at_once


def test_many_numbers_are_drawn_for_fewer_steps():
    # numbers come in fours: eight a sample
    assert steps_at_once(torch.zeros(1024, 7)) == KEPT // (1024 * 8) == 8
    assert steps_at_once(torch.zeros(KEPT, 1)) == 1


def test_a_generator_draws_where_it_is():
    x, generator = torch.zeros(3, 2), torch.Generator()
    want = drawn_from(generator.manual_seed(3))(x, 1)
    # whatever PyTorch's default
    with torch.device('meta'):
        got = drawn_from(generator.manual_seed(3))(x, 1)
    assert torch.equal(got, want)
