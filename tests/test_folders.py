"Folders and pictures with a few things in them that are not what they seem."
import warnings

import numpy as np
import pytest
from PIL import Image

from diffusion_nbdev.folders import (
    class_folders, flat, ground_colour, picture_files, read_picture)


def test_other_files_may_lie_beside_the_classes(tmp_path):
    for name in 'a', 'b': (tmp_path/name).mkdir()
    (tmp_path/'notes.txt').touch()
    assert [p.name for p in class_folders(tmp_path)] == ['a', 'b']


def test_sixteen_bits_are_rounded_to_eight():
    # one step of eight bits is 257: 254.498, 254.502
    deep = Image.fromarray(np.array([[0, 65406, 65407, 65535]], np.uint16))
    assert np.asarray(flat(deep, (0, 0, 0))).tolist() == [[0, 254, 255, 255]]


def test_a_wide_jpeg_keeps_its_lines(tmp_path):
    lines = np.repeat(np.uint8([0, 255] * 8), 4)[:, None].repeat(800, 1)
    Image.fromarray(lines).save(tmp_path/'a.jpg', quality=95)
    small = read_picture(tmp_path/'a.jpg', 16, 1)
    assert small.shape == (1, 16, 16) and small.std() > 60


def test_a_class_alone_is_said(tmp_path):
    for name in 'a', 'b':
        (tmp_path/name).mkdir()
        Image.new('L', (2, 2)).save(tmp_path/name/'x.png')
    with warnings.catch_warnings(action='error'):
        _, labels, names = picture_files(tmp_path)
    assert (labels, names) == ([0, 1], ['a', 'b'])
    (tmp_path/'b'/'x.png').unlink()
    (tmp_path/'b').rmdir()
    with pytest.warns(UserWarning, match='holds one folder only'):
        picture_files(tmp_path)


def test_a_ground_has_three_colours():
    assert ground_colour('#11223344') == (17, 34, 51)
    with pytest.raises(ValueError, match="background = 'whit': must be the name"):
        ground_colour('whit')
