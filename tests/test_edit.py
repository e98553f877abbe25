"The command that edits pictures, with an editor that does hardly anything."
from types import SimpleNamespace

import torch

import diffusion_nbdev.editing
from diffusion_nbdev.cli.edit import one_by_one, through_latents


def test_a_bar_unless_it_shall_be_quiet(capfd, monkeypatch):
    monkeypatch.delenv('TQDM_DISABLE', raising=False)
    for quiet in True, False:
        args = SimpleNamespace(quiet=quiet)
        found = one_by_one(args, 'blend', lambda k: torch.tensor([k]), 3)
        assert found.tolist() == [0, 1, 2]
        assert ('blend' in capfd.readouterr().err) is not quiet


def test_a_walk_from_each_picture_to_the_next(monkeypatch):
    def line(model, x, y, shares, c, steps):
        return torch.stack([x + share * (y - x) for share in shares])
    monkeypatch.setattr(diffusion_nbdev.editing, 'blended', line)
    args = SimpleNamespace(to=None, blend=3, steps=2, quiet=True)
    x = torch.tensor([0., 4., 6.]).view(3, 1, 1, 1)
    found = through_latents(args, None, x, None)
    assert found.flatten().tolist() == [0, 2, 4, 4, 5, 6]
