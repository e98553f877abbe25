"Particles: where they begin on any path, and where their numbers are."
import pytest
import torch
from torch.testing import assert_close

import far
from diffusion_nbdev.measuring import masked
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import ring_mixture
from diffusion_nbdev.particles import comb, first_particles, renewed, twisted
from diffusion_nbdev.schedules import cosine_schedule, rescaled

somewhere = pytest.mark.skipif(not far.AVAILABLE, reason='no hook for a device')
sched = cosine_schedule(100)
look = masked(torch.tensor([1., 0.]), 0.1)


def test_first_particles_have_the_noise_of_the_path():
    z = SeededNoise(0)(torch.zeros(5, 2), 0)
    for path in 'vp', 've':
        there = rescaled(sched, path)
        size = 1. if path == 'vp' else there.noise(there.T).item()
        x = first_particles(there, look, 5, SeededNoise(0), torch.zeros(1))
        assert_close(x, size * z)
    assert size > 2


def test_no_tooth_beyond_the_last_particle():
    # rounding leaves the sum of the shares a little below 1
    log_w = torch.full((1, 3), 1.)
    share = log_w.softmax(1).cumsum(1)[0, -1]
    u = torch.nextafter(torch.ones(1), torch.zeros(1))
    found = comb(log_w, u)
    assert found.tolist() == [[0, 1, 2]] and share > 0.99
    many = comb(torch.zeros(1, 10_007), u)
    assert many.max() == 10_006


@somewhere
def test_particles_are_where_their_weights_are():
    with far.pretend('far') as device:
        log_w = torch.zeros(2, 3, device=device)
        assert comb(log_w, torch.full((2,), 0.5, device=device)).device == device
        found = renewed(log_w, torch.full((2,), 0.5, device=device), 1)
        assert found.rows.device == device
        ring = ring_mixture(sched)
        y = torch.zeros(2, 1, device=device)
        # exact denoisers of its kind compute on the CPU
        f = lambda x, t: ring(x.cpu(), t).to(x) + 0 * x
        assert twisted(f, sched, look, y, N=3, n=2).x.device == device
