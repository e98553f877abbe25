"Editing: what is known, without guidance as usual, and a classifier as it was shipped."
import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.editing import (
    NoisyDigitNet, check_known, classified, drawn_from, noisy_classifier)
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.oracles import OracleNet, ring_mixture
from diffusion_nbdev.schedules import cosine_schedule

sched = cosine_schedule(100)
model = Model(OracleNet(ring_mixture(sched)), sched, 'v',
              Units([2], n_classes=4, clip=3.))


@pytest.mark.parametrize('off', [-3.00015, 3.00015])
def test_known_numbers_are_where_the_data_are(off):
    known = torch.tensor([[True, False]])
    check_known(torch.tensor([[off * 0.99998, 9.]]), known, model)
    with pytest.raises(ValueError, match='must be from -3 to 3'):
        check_known(torch.tensor([[off, 0.]]), known, model)


def test_no_guidance_where_none_is_asked_for():
    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert_close(drawn_from(model, z, 1, n=5), drawn_from(model, z, 1, 0., n=5),
                 rtol=0, atol=0)


@pytest.mark.skipif(not far.AVAILABLE, reason='this torch has no hook for it')
def test_a_class_goes_where_the_states_are():
    with far.pretend('far') as device:
        f = classified(lambda xt, t: xt, sched, lambda xt, t: xt, 1)
        assert f(torch.zeros(3, 2, device=device), 50).device == device


def test_ten_digits():
    assert NoisyDigitNet().n_classes == 10


def test_the_shipped_classifier_computes_in_32_bits():
    dtypes = {p.dtype for p in noisy_classifier().parameters()}
    assert dtypes == {torch.float32}
