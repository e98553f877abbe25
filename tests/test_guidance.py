"What trained guidance asks of a net that knows no labels."
import torch

from diffusion_nbdev.guidance import weak_answer
from diffusion_nbdev.unet import PointMLP


def test_a_weak_answer_without_labels():
    net, xt, t = PointMLP(2, width=8), torch.randn(3, 2), torch.tensor([4, 5, 6])
    found = weak_answer(net, True, xt, t, None)
    assert torch.equal(found, net(xt, t)) and not found.requires_grad
