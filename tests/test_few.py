"What a net for few calls says of itself where nothing else is named."
from diffusion_nbdev.few import Few


def test_no_guidance_inside():
    assert Few(2).w == 0 and Few(2).sampler == 'consistency'
