"Tables as numbers: large ones, many words, columns without names, decimals."
from types import SimpleNamespace as NS

import pytest

from diffusion_nbdev.encoding import (
    Cells, encoded, is_frame, numbers, same_columns, words_of)


def table(named=True, **columns):
    n = len(next(iter(columns.values())))
    return Cells(columns, [f'line {k + 1}' for k in range(n)], 'a table', named)


@pytest.mark.parametrize('sign', ['', '-'])
def test_whole_numbers_that_float64_cannot_hold(sign):
    held, lost = 2 ** 53, 2 ** 53 + 1
    cells = table(a=[f'{sign}{held}', '3'])
    assert numbers(cells, 'a')[0] == float(f'{sign}{held}')
    cells = table(a=[f'{sign}{lost}', '3'])
    with pytest.raises(ValueError, match='more digits than float64 can hold'):
        numbers(cells, 'a')


@pytest.mark.parametrize('n', [100, 101])
def test_a_hundred_words_are_the_most(n):
    cells = table(b=[f'word{k % n:03d}' for k in range(3 * n)])
    if n == 100: assert len(words_of(cells, 'b')) == 100
    else:
        with pytest.raises(ValueError, match='has 101 different words'):
            words_of(cells, 'b')


def test_columns_without_names_are_those_of_the_model_in_turn():
    cells = table(False, a=['1', '3'], b=['2', '4'])
    names, units = list(cells.columns), NS(columns={'p': 'real', 'q': 'whole'})
    found = same_columns(cells, names, units)
    assert found == dict(zip(names, ['real', 'whole']))
    with pytest.raises(ValueError, match='has no column'):
        same_columns(cells, names[:1], units)


def test_decimals_are_counted():
    cells = table(a=['1.25', '2.50', '3.75'], b=['0.5', '1.5', '2.5'])
    assert encoded(cells).decimals == dict(a=2, b=1)


def test_what_has_columns_alone_is_no_table():
    assert is_frame({}) and is_frame(NS(columns=[], dtypes=[]))
    assert not is_frame(NS(columns=[])) and not is_frame(NS(dtypes=[]))
