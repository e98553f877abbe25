"The parts of `diffusion demo`."
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from diffusion_nbdev.cli import demo
from diffusion_nbdev.cli.demo import curve, kept_states, one_thread, say_done, two_sets
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.swissroll import swissroll
from diffusion_nbdev.unet import PointMLP

model = Model(PointMLP(width=4), cosine_schedule(100), data=Units([2], std=2.)).eval()


def test_one_thread_for_a_while():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with one_thread(): assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_states_are_those_of_a_seed():
    states, again = (kept_states(model, 3, False) for _ in range(2))
    assert [*states] == [100, 50, 25, 10, 2, 0]
    for t in states: assert_close(states[t], again[t], rtol=0, atol=0)
    sets = two_sets(model, states[0], 4)
    assert_close(sets['DDPM, 100 steps'], 2 * states[0])
    ddim = sets['DDIM, 20 steps']
    assert_close(ddim, model.generate('ddim', n=20, num=4, seed=0), rtol=0, atol=0)


def test_steps_of_the_bar(monkeypatch):
    seen = []
    def bar(path, **how): return seen.append(how) or path
    monkeypatch.setattr('tqdm.auto.tqdm', bar)
    for wanted in True, False: kept_states(model, 1, wanted)
    both = dict(total=101, desc='sampling', unit='step')
    assert seen == [dict(both, disable=False), dict(both, disable=True)]


def test_one_floor_for_all_sets(monkeypatch, capsys):
    from diffusion_nbdev import metrics
    asked, floor_of = [], metrics.floor_of
    def counted(*what, **more): return asked.append(what) or floor_of(*what, **more)
    monkeypatch.setattr(metrics, 'floor_of', counted)
    good, bad = swissroll(50, seed=9), torch.zeros(50, 2)
    demo.print_scores(dict(good=good, bad=bad), 50)
    assert len(asked) == 1
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == 'good' and second.split()[0] == 'bad'
    assert float(first.split()[1]) < float(second.split()[1])
    assert first.split()[2] == second.split()[2]


def test_figures_say_what_is_in_them(monkeypatch):
    drawn = []
    # an axes, or a figure
    def seen(ax, path): drawn.append((path, getattr(ax, 'figure', ax).axes))
    monkeypatch.setattr('diffusion_nbdev.style.save_figure', seen)
    demo.draw_sets('sets', dict(data=torch.zeros(5, 2), ddim=torch.ones(5, 2)))
    history = SimpleNamespace(train=[(k, 1.) for k in range(1, 101)], val=[(100, 2.)])
    demo.draw_losses('losses', history)
    times = [*range(7)]
    demo.draw_strip('strip', [torch.zeros(5, 2)] * 7, times)
    (_, sets), (_, (losses,)), (_, strip) = drawn
    assert [ax.get_title() for ax in sets] == ['data', 'ddim']
    assert {ax.get_xlim() for ax in sets} == {(-3, 3)}
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert labels == ['training', 'validation']
    assert [ax.get_title() for ax in strip] == [f't = {t}' for t in times]


def test_the_demo_draws_points_that_no_training_has_seen(monkeypatch, tmp_path):
    found = SimpleNamespace(model=SimpleNamespace(model=model),
                            trainer=SimpleNamespace(log_dir='run/1'))
    monkeypatch.setattr(demo, 'trained', lambda epochs: (found, 'history'))
    monkeypatch.setattr(demo, 'print_scores', lambda sets, n: None)
    def draw(folder, *what): return drawn.extend(what) or []
    monkeypatch.setattr(demo, 'draw_demo', draw)
    drawn = []
    demo.demo(SimpleNamespace(folder=tmp_path, epochs=None, n=3, quiet=True))
    _, fresh, states, sets, history = drawn
    assert_close(fresh, swissroll(4000, seed=2 ** 31), rtol=0, atol=0)
    assert 0 in states and len(states[0]) == 3 and history == 'history'
    assert [*sets] == ['DDPM, 100 steps', 'DDIM, 20 steps']


def test_blocks_of_a_curve():
    points = [(k, float(k)) for k in range(1, 6)]
    assert curve(points, 2) == ([2, 4, 5], [1.5, 3.5, 5.])
    assert curve(points) == ([1, 2, 3, 4, 5], [1., 2., 3., 4., 5.])


def test_what_is_drawn(monkeypatch, tmp_path):
    drawn = {}
    for name in 'strip', 'sets', 'losses':
        def keep(path, *what): drawn[path.stem] = what
        monkeypatch.setattr(demo, f'draw_{name}', keep)
    states = {t: torch.full((1, 2), float(t)) for t in (50, 100, 0)}
    real, sets = torch.ones(1, 2), dict(ddim=torch.zeros(1, 2))
    paths = demo.draw_demo(tmp_path, model, real, states, sets, 'history')
    assert [p.stem for p in paths] == ['forward', 'reverse', 'samples', 'loss']
    assert drawn['forward'][1] == [0, 50, 100] and drawn['reverse'][1] == [100, 50, 0]
    assert [x[0, 0].item() for x in drawn['reverse'][0]] == [100, 50, 0]
    assert_close(drawn['forward'][0][0], model.data.to_model(real))
    assert [*drawn['samples'][0]] == ['data', 'ddim'] and drawn['loss'] == ('history',)


def test_where_everything_is(capsys):
    say_done([Path('a.png'), Path('b.png')], 'run/1', 7.4)
    assert capsys.readouterr().out.splitlines() == [
        '', 'Pictures:', '  a.png', '  b.png',
        'The run: run/1 (tensorboard --logdir run)', '7 s']


@pytest.mark.parametrize('epochs, typed', [
    (None, []), (3, ['--trainer.max_epochs', '3'])])
def test_a_training_of_so_many_epochs(monkeypatch, epochs, typed):
    seen = []
    def experiment(command, argv, name):
        seen.append(argv)
        raise KeyboardInterrupt
    monkeypatch.setattr('diffusion_nbdev.cli.experiment.experiment', experiment)
    with pytest.raises(KeyboardInterrupt): demo.trained(epochs)
    assert seen[0][2:] == [*demo.SHORT, *typed]
