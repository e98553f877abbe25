"When a step is judged, and when somebody looks at what was said of it."
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffusion_nbdev.finite import BadNumbers, JudgedStep, judged

trainer = SimpleNamespace(global_step=0, precision_plugin=None)


@pytest.mark.parametrize('scaled, grad, bad', [
    (False, 1., False), (False, 0., False), (False, float('inf'), True),
    (True, 1., False), (True, 0., True), (True, float('inf'), False)])
def test_gradients(scaled, grad, bad):
    assert judged([torch.tensor(1.)], [torch.tensor([grad])], scaled)[0].item() is bad


def test_whole_numbers_of_steps_are_skipped():
    with pytest.raises(ValueError, match='skip = 1.5'): BadNumbers(1.5)


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('loss, grad', [(float('nan'), 1.), (1., float('inf'))])
def test_on_the_cpu_a_bad_step_is_seen_at_once(fused, loss, grad):
    net, watch = nn.Linear(1, 1), BadNumbers()
    net.bias.requires_grad_(False)
    net.weight.grad = torch.tensor([[grad]])
    watch.on_train_start(trainer, net)
    watch.losses, watch.rows = [torch.tensor(loss)], [torch.tensor([3])]
    adam = torch.optim.Adam([net.weight], fused=fused)
    with pytest.raises(FloatingPointError, match='step 1: .*rows of the batch: 3$'):
        watch.on_before_optimizer_step(trainer, net, adam)


@pytest.mark.parametrize('event', ['on_save_checkpoint', 'on_train_end'])
def test_nothing_bad_is_kept(event):
    watch, yes = BadNumbers(), torch.tensor(True)
    watch.watched = [JudgedStep(7, yes, torch.tensor([1.]), torch.tensor(1.), [])]
    last = [{}] * (event == 'on_save_checkpoint')
    with pytest.raises(FloatingPointError, match='step 7'):
        getattr(watch, event)(trainer, None, *last)
