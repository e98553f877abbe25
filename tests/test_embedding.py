"Sizes of the embedding of times and classes."
import torch
from torch.testing import assert_close

from diffusion_nbdev.embedding import Embedding, time_features


def test_waves_go_from_one_radian_a_step_to_the_longest():
    found = time_features(torch.tensor([2.]), 4, max_period=100.)
    want = torch.tensor([[2., .02]])
    assert_close(found, torch.cat([want.sin(), want.cos()], 1))
    # one wave alone is the shortest
    one = torch.tensor([[2.]])
    assert_close(time_features(one[0], 2), torch.cat([one.sin(), one.cos()], 1))


def test_a_row_for_each_class_and_one_for_none():
    assert not hasattr(Embedding(8), 'label')
    assert Embedding(8, 3).label.num_embeddings == 4
