"Columns of a table that are no coordinates."
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_nbdev.doubts import counts_rows
from diffusion_nbdev.points import loaded, read_table


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


def test_files_of_objects_are_told_from_broken_ones(tmp_path):
    np.save(tmp_path/'a.npy', np.array([dict(a=1)], dtype=object), allow_pickle=True)
    with pytest.raises(OSError, match='it holds objects, which could run code'):
        loaded(tmp_path/'a.npy')
    torch.save(Path('x'), tmp_path/'a.pt')
    with pytest.raises(OSError, match='it holds more than tensors and lists, which'):
        loaded(tmp_path/'a.pt')
    np.save(tmp_path/'b.npy', np.arange(9.))
    (tmp_path/'b.npy').write_bytes((tmp_path/'b.npy').read_bytes()[:-1])
    with pytest.raises(OSError, match=r'not a readable .npy file \(ValueError: '):
        loaded(tmp_path/'b.npy')
