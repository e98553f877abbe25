"What the chapter on DDPM says of its losses and weights."
import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.ddpm import LOSSES, diffusion_loss, draw_times, min_snr
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(100)


def test_min_snr_cuts_at_five():
    "Hang et al. 2023; a squared error of x0 is worth the SNR itself"
    t = torch.tensor([1, 90])
    assert sched.snr(1) > 10 and sched.snr(90) < 5
    worth = min_snr()(sched, t, 'x0').tolist()
    assert worth == pytest.approx([5, sched.snr(90).item()])


@pytest.mark.parametrize('loss, value', [('mse', 4.), ('l1', 2.)])
def test_losses(loss, value):
    assert LOSSES.keys() == {'mse', 'l1'}
    x0 = torch.full((3, 2), 2.)
    net = lambda xt, t, c: torch.zeros_like(xt)
    found = diffusion_loss(net, sched, x0, pred='x0', loss=loss)
    assert_close(found, torch.tensor(value))


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
def test_times_are_drawn_where_the_data_are():
    seen = []
    def net(xt, t, c):
        seen.append(t.device)
        return xt
    with far.pretend('far') as device:
        diffusion_loss(net, sched, torch.randn(4, 2, device=device))
        assert seen == [device]


def test_the_weaker_net_is_asked_about_the_same_states():
    seen = []
    def net(xt, t, c):
        seen.append((xt, t))
        return xt
    diffusion_loss(net, sched, torch.randn(4, 2), c=torch.arange(4), w=1.)
    assert len(seen) == 2
    assert_close(*seen)


def test_times_are_drawn_in_double_precision():
    assert draw_times(10 ** 9, 1, u=0.1234567895).tolist() == [123456790]
