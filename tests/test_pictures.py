"Digits that need no download, and what is said where one fails."
from pathlib import Path

from diffusion_nbdev.data import Rows, SeededBatches
from diffusion_nbdev.pictures import MNISTData, not_downloaded, rows_of


def test_a_long_reason_is_cut():
    said = str(not_downloaded('mnist', Path('folder'), 'stem', RuntimeError('a' * 500)))
    assert 'a' * 400 + '.' in said and 'a' * 401 not in said


def test_parts_of_the_digits():
    parts = rows_of('digits', Path('nowhere'), 0.2, 3)
    sizes = {k: len(x) for k, (x, _) in parts.items()}
    assert sizes == dict(val=359, test=359, train=1079)


def test_only_pictures_that_are_to_be_turned_are_turned():
    for degrees in 0., 10.:
        data, order = MNISTData('digits', degrees=degrees), SeededBatches(4, 2)
        data.renewed(Rows(None, None, None), order)
        assert (order.on_epoch is not None) is (degrees > 0)
