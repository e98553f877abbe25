"Tables of log-SNR: copies, other devices, and what float32 leaves out."
import math

import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.tables import checked_table, float64, moved, table_on

needs_far = pytest.mark.skipif(
    not far.AVAILABLE, reason='this torch has no hook for it')


def test_a_table_is_a_copy():
    x = torch.tensor([math.inf, 1., 0.], dtype=torch.float64)
    table = checked_table(x)
    x[1] = 5
    assert table.tolist() == [math.inf, 1., 0.]


@needs_far
@pytest.mark.parametrize('flavour', far.FLAVOURS)
def test_numbers_come_and_go(flavour):
    with far.pretend(flavour) as device:
        there = moved(torch.arange(3.), device)
        assert there.device == device
        assert float64(there).device.type == 'cpu'


@needs_far
def test_what_the_first_part_leaves_out_is_in_the_second():
    table = torch.tensor([math.inf, 1 / 3, -math.pi, -20.1], dtype=torch.float64)
    with far.pretend('mps') as device:
        high, low = (x.cpu().double() for x in table_on(table, device))
    assert (high - table)[1:].abs().max() > 1e-9
    assert_close(high + low, table, rtol=1e-14, atol=0)
