"Labels on another device are not looked at: that would be a wait."
import torch

from diffusion_nbdev.classes import checked_labels


def test_labels_elsewhere_are_not_looked_at():
    c = torch.zeros(2, dtype=torch.int32, device='meta')
    assert checked_labels(c, 2, 3).dtype is torch.long
