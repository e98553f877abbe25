"A picture of several runs: room for each of them, and dots enough to print it."
from types import SimpleNamespace

import pytest

from diffusion_nbdev import style
from diffusion_nbdev.cli import experiment as making, real
from diffusion_nbdev.cli.pictured import PICTURED, draw_scores


def test_more_runs_have_more_room(monkeypatch, tmp_path):
    seen, drawn = [], style.subplots

    def subplots(*a, panel, **options):
        seen.append(panel)
        return drawn(*a, panel=panel, **options)

    monkeypatch.setattr(style, 'subplots', subplots)
    monkeypatch.setattr(style, 'save_figure', lambda fig, path, **how: seen.append(how))
    result = dict.fromkeys(PICTURED, 0.5) | dict(sampler='ddim', calls=9, sets=1)
    for k in 1, 3: draw_scores([result] * k, tmp_path/'a.png')
    (one, height), how, (three, same), _ = seen
    assert three - one == pytest.approx(0.6) and one > 2 and height == same
    assert how == dict(dpi=200)


def test_data_are_made_ready_for_training_and_for_tests(monkeypatch, tmp_path):
    done = []
    data = SimpleNamespace(prepare_data=lambda: done.append('prepared'),
                           setup=done.append)
    made = SimpleNamespace(datamodule=data)
    monkeypatch.setattr(making, 'experiment', lambda *a, **k: made)
    assert real.data_of(tmp_path/'config.yaml', trust=True) is data
    assert done == ['prepared', 'fit', 'test']
