"The ends of a range belong to it, unless they are said not to."
import pytest

from diffusion_nbdev.checks import in_range


def test_ends():
    assert in_range('x', 0, 0, 1) == 0 and in_range('x', 1, 0, 1) == 1
    for x in 0, 1:
        with pytest.raises(ValueError, match='strictly between 0 and 1'):
            in_range('x', x, 0, 1, inside=True)
