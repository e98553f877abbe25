"A run of a sampler, without any: gradients, calls, answers that are not finite."
import inspect

import pytest
import torch

from diffusion_nbdev.sampling import SAMPLERS, Run, enter_all


def one_step(f):
    "Two states, the second what a denoiser makes of the first."
    x = yield torch.ones(1, 1, requires_grad=True)
    yield f(2 * x, 1.)


def test_a_run_has_no_gradients_and_counts_its_calls():
    run = Run(one_step, lambda x, t: x, [2, 1])
    first, second = run
    assert first.requires_grad and not second.requires_grad
    assert second.item() == 2 and run.calls == 1


def test_an_answer_that_is_not_finite_ends_a_run():
    run = Run(one_step, lambda x, t: x / 0, [2, 1])
    next(run)
    with pytest.raises(ValueError, match='finite'): next(run)


def test_twenty_steps_by_default():
    enter_all()
    assert inspect.signature(SAMPLERS['ddim']).parameters['n'].default == 20
