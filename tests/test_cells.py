"Cells of tables as people write them."
import pytest

from diffusion_nbdev.cells import cells_of, cut, kind, merit, numeric, text_of


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path/'a.csv').write_bytes('x\nété\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'a.csv: not a text file in UTF-8 \(byte 2\)'):
        text_of(tmp_path/'a.csv')


@pytest.mark.parametrize('cell', ['1', '-.5', '1E-3', 'inf', '-INF'])
def test_numbers(cell): assert kind(cell) == 'number'


def test_a_blank_may_stand_before_a_quotation_mark():
    assert cut(['1, "a, b"'], ',') == ([['1', 'a, b']], [0])


def test_even_rows_come_first():
    lines = ['a,b', '1,2', '3,4']
    assert merit(lines, ',') > merit(lines, ';')
    # three lines of four are cut alike: the other one lacks a cell
    lines = ['a,b', '1,2', '3', '4,5', '6,7']
    assert merit(lines, ',') > merit(lines, ';') > merit(['"a'], ',')


def test_a_line_with_a_cell_too_few_is_named(tmp_path):
    (tmp_path/'a.csv').write_text('sep=;\n1;2;3\n4;5\n6;7;8\n')
    with pytest.raises(ValueError, match='a.csv, line 3: has 2 cells, others 3'):
        cells_of(tmp_path/'a.csv')


def test_more_numbers_than_words():
    assert numeric(['1', '2', 'a']) and not numeric(['1', 'a'])
