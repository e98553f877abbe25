"Rules for devices that need no device."
import pytest
import torch
from tqdm import tqdm

import far
from diffusion_nbdev import devices


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
def test_the_finest_type_of_a_device():
    for flavour, dtype in ('far', torch.float64), ('mps', torch.float32):
        with far.pretend(flavour) as device:
            assert devices.finest.__wrapped__(device) is dtype


def test_memory_is_given_back_and_named(monkeypatch):
    done = []
    monkeypatch.setattr(devices, 'free_memory', lambda device: 2 ** 21)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: done.append(1))
    assert devices.make_room('cuda') == ': 2 MiB are free' and done == [1]


def test_nothing_is_collected_from_nothing():
    bar = tqdm(total=0, disable=True)
    assert len(devices.collected(None, bar, [2], 'cpu')) == 0
