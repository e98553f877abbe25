"Rows that samples are compared with: which, and with which labels."
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import diffusion_nbdev
from diffusion_nbdev.cli.real import (
    Real, arguments_of, config_rows, file_rows, folder_rows, held_out_rows)
from diffusion_nbdev.model import Units

CONFIGS = Path(diffusion_nbdev.__file__).parent/'configs'
UNITS = Units([2], n_classes=2)


def data(**sizes):
    "A data module whose loaders hold so many rows, with labels of 32 bits"
    def loader(n): return lambda: [(torch.zeros(n, 2), torch.ones(n).int())]
    return SimpleNamespace(**{f'{k}_dataloader': loader(n) for k, n in sizes.items()})


def test_the_rows_of_a_class_keep_their_labels():
    x, c = torch.arange(6.).view(3, 2), torch.tensor([0, 1, 0])
    some = Real(x, c, 'here', train=x).only({0})
    assert some.c.tolist() == [0, 0] and some.x.tolist() == [[0, 1], [4, 5]]
    assert some.train is None and some.said == 'here'


@pytest.mark.parametrize('val, parts', [(199, 'validation, test'), (200, 'validation')])
def test_two_hundred_rows_are_enough(val, parts):
    found = held_out_rows(data(val=val, test=5, train=3), UNITS, 'd')
    n = val + 5 * ('test' in parts)
    assert found.said == f'{n} rows of d ({parts})' and not found.warning
    assert found.c.dtype is torch.int64 and len(found.c) == n and len(found.train) == 3


def test_rows_that_a_config_holds_out():
    model = SimpleNamespace(data=Units([2]))
    found = config_rows(CONFIGS/'swissroll.yaml', model, trust=False)
    assert found.x.shape[1:] == (2,) and '(validation' in found.said
    model.data = Units([3])
    with pytest.raises(ValueError, match=r'rows have shape \[2\], samples \[3\]'):
        config_rows(CONFIGS/'swissroll.yaml', model, trust=False)


def test_bytes_are_from_0_to_255(tmp_path):
    white = torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)
    torch.save(dict(x=white), tmp_path/'a.pt')
    model = SimpleNamespace(data=Units([1, 2, 2]))
    x, c, names = file_rows(tmp_path/'a.pt', None, model, {})
    assert x.dtype is torch.float32 and (x == 1).all() and c is None


def test_pictures_of_a_folder_are_square(tmp_path):
    model = SimpleNamespace(data=Units([1, 4, 6]))
    with pytest.raises(ValueError, match=r'samples have shape \[1, 4, 6\]'):
        folder_rows(tmp_path, model, {})


def test_what_a_config_says_of_its_data(tmp_path):
    config = tmp_path/'config.yaml'
    for text, want in [('data: {init_args: {labels: kind}}', dict(labels='kind')),
                       ('data: {class_path: a.B}', {}), ('name: x', {})]:
        config.write_text(text)
        assert arguments_of(config) == want
