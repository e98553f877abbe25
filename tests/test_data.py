"Data at the ends of what is allowed, and where training takes place."
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.arrays import as_numbers
from diffusion_nbdev.data import (
    RowsData, SeededBatches, TensorData, checked_rows, column_units, measured_units,
    split_data)

x = torch.arange(20.).reshape(10, 2)


def test_batches_of_one():
    assert RowsData(None, batch_size=1).batch_size == 1
    with pytest.raises(ValueError, match='batch_size = 0'): RowsData(None, batch_size=0)


def test_batches_of_whole_rows_begin_with_the_epoch():
    for make, what in ((RowsData, None), (SeededBatches, 9)):
        with pytest.raises(ValueError, match='batch_size = 2.5: must be a whole'):
            make(what, 2.5)
    told = []
    order = SeededBatches(4, 2, on_epoch=told.append)
    order.set_epoch(3)
    assert len(list(order)) == 2 and told == [3]


def test_small_constants_are_measured_by_1():
    with pytest.warns(UserWarning, match='1 of 2 columns'):
        _, stds = column_units(torch.tensor([[1., 0.5], [3., 0.5]]).double())
    assert stds[1] == 0.001


def test_the_usual_split_is_that_of_seed_0():
    usual, zero = TensorData(x), TensorData(x, seed=0)
    assert torch.equal(usual._rows['train'][0], zero._rows['train'][0])


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
def test_rows_lie_where_training_runs():
    data = TensorData(x, batch_size=4)
    with far.pretend('far') as device:
        data.trainer = SimpleNamespace(
            state=SimpleNamespace(status='running'), overfit_batches=0,
            strategy=SimpleNamespace(root_device=device))
        assert {len(b) for b in data.train_dataloader()} == {3}
        assert all(b[0].device == device for b in data.train_dataloader())


def test_a_constant_column_is_measured_by_its_own_value():
    # a thousandth of it: what a net leaves there is not seen
    table = torch.tensor([[1., 7., -3.], [3., 7., 3.]], dtype=torch.float64)
    with pytest.warns(UserWarning, match='1 of 3 columns'):
        means, stds = column_units(table)
    assert_close(means, [2., 7., 0.])
    assert_close(stds, [2 ** 0.5, 0.007, 18 ** 0.5], rtol=1e-5, atol=0)


def test_rows_that_are_all_alike():
    with pytest.raises(ValueError, match='all rows are equal'):
        measured_units(torch.tensor([[1., 2.]] * 3))


def test_data_carry_no_gradients():
    assert not as_numbers(torch.zeros(3, 1, requires_grad=True), 'data').requires_grad


def test_three_rows_are_enough():
    assert len(checked_rows(x[:3])[0]) == 3
    with pytest.raises(ValueError, match='at least 3 rows'): checked_rows(x[:2])


@pytest.mark.parametrize('held_out, sizes', [(0.01, (1, 1, 8)), (0.3, (3, 3, 4))])
def test_sizes_of_parts(held_out, sizes):
    parts = split_data(x, None, held_out)
    assert tuple(len(parts[k][0]) for k in ('val', 'test', 'train')) == sizes
