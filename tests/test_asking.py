"A net on another device: no wait for a time, and labels are looked at all the same."
from types import SimpleNamespace

import pytest
import torch

import far
from diffusion_nbdev.asking import ask, label_source

pytestmark = pytest.mark.skipif(
    not far.AVAILABLE, reason='this torch has no hook for it')


def test_a_time_is_made_where_the_states_are():
    with far.pretend('far') as device:
        x = torch.zeros(2, 1, device=device)
        with far.waits() as seen:
            ask(lambda x, t, c: x + t[:, None], x, 0.5, None)
        assert seen == []


def test_labels_that_come_from_elsewhere_are_checked():
    net = SimpleNamespace(n_classes=3)
    with far.pretend('far') as device:
        own = label_source(net, torch.tensor(2, device=device))
        assert own(torch.zeros(4, 1)).tolist() == [2] * 4
        with pytest.raises(ValueError, match='label c = 7'):
            label_source(net, torch.tensor(7, device=device))
