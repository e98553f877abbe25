"Columns of a table that are no coordinates."
import pytest

from diffusion_nbdev.doubts import counts_rows
from diffusion_nbdev.points import read_table


def test_only_a_column_without_a_name_counts_the_rows():
    assert counts_rows('', ['0', '1']) and counts_rows('Unnamed: 0', ['1', '2'])
    assert not counts_rows('k', ['0', '1']) and not counts_rows('', ['1', '1'])
    # what a selection or another order leaves of the numbers
    assert counts_rows('', ['1', '3']) and counts_rows('', ['3', '1', '2'])
    assert not counts_rows('', ['1', '3'], first=False)


def test_labels_alone_are_no_points(tmp_path):
    (tmp_path/'a.csv').write_text('kind\nred\nblue\n')
    with pytest.raises(ValueError, match='a.csv: no column is left for coordinates'):
        read_table(tmp_path/'a.csv', 'kind', header=True)
