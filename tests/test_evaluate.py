"The parts of `diffusion evaluate`: which data, which judge, which runs."
from types import SimpleNamespace as NS

import pytest
import torch

from diffusion_nbdev.cli import evaluate as rooms
from diffusion_nbdev.cli.catalogue import samplers
from diffusion_nbdev.cli.evaluate import (
    asked_runs, chosen_judge, digit_judge, judged, maker, point_judge, real_rows,
    setting)
from diffusion_nbdev.cli.real import Real
from diffusion_nbdev.swissroll import swissroll


def model(shape=(2,), name='swissroll', n_classes=0):
    data = NS(shape=list(shape), name=name, classes=[])
    return NS(data=data, n_classes=n_classes, calls=9)


def asked(**more):
    usual = dict(n=None, metric=None, data=None, pairs=2, seeds=1, seed=0, c=None,
                 judge=None, weights='nowhere', trust=False)
    return NS(**{**usual, **more})


def test_real_data():
    assert maker('swissroll') is swissroll and maker('other') is None
    with pytest.raises(ValueError, match="no real data is known for 'other'"):
        real_rows(asked(weights='swissroll'), model(name='other'))


def test_points_are_judged_with_their_classes(monkeypatch):
    seen = []
    def score(points, draw, n, metric, *rest):
        seen.append((n, metric, points(3, 0)))
        return {}
    monkeypatch.setattr('diffusion_nbdev.metrics.score_points', score)
    monkeypatch.setattr('diffusion_nbdev.metrics.floor_of', lambda *a: 0.)
    def generate(n, seed, c): return c
    for args, n, metric in (asked(c='1'), 10_000, 'sliced_w2'), \
            (asked(n=30, metric='energy', c='all'), 30, 'energy'):
        point_judge(args, model(n_classes=2), swissroll)[0](generate)
        assert seen[-1][:2] == (n, metric)
        assert seen[-1][2].tolist() == ([1, 1, 1] if args.c == '1' else [0, 1, 0])


@pytest.mark.parametrize('n, fits', [(9, False), (10, True), (10_000, True),
                                     (10_001, False), (None, True)])
def test_how_many_images(n, fits):
    args, digits = asked(n=n), model((1, 28, 28), 'mnist', 10)
    if fits: assert digit_judge(args, digits)[1] == 'mnist'
    else:
        with pytest.raises(ValueError, match='must be from 10 to 10000'):
            digit_judge(args, digits)


def test_images_are_judged_in_their_range(monkeypatch):
    seen = []
    monkeypatch.setattr('diffusion_nbdev.judge.score_images',
                        lambda sets, c, seed: seen.extend([*sets, *c]))
    args = asked(n=12, seeds=2, seed=5)
    judge, _ = digit_judge(args, model((1, 28, 28), 'mnist', 10))
    judge(lambda n, seed, c: torch.tensor([-1., 0.25, seed / 10, 1.5]))
    assert seen[0].tolist() == [0., 0.25, 0.5, 1.]
    assert seen[1][2] == pytest.approx(0.6) and len(seen) == 4
    # labels of real digits, others for every set
    assert len(seen[2]) == len(seen[3]) == 12 and seen[2].tolist() != seen[3].tolist()
    for c, labels in ('3,5', [3, 5] * 6), ('all', [*range(10), 0, 1]):
        seen.clear()
        digit_judge(asked(n=12, c=c), model((1, 28, 28), 'mnist', 10))[0](
            lambda n, seed, c: torch.zeros(n))
        assert seen[1].tolist() == labels


def test_who_judges(monkeypatch):
    for name in 'digit_judge', 'point_judge', 'rows_judge', 'own_judge':
        monkeypatch.setattr(rooms, name, lambda *args, name=name: name)
    monkeypatch.setattr(rooms, 'real_rows', lambda args, model: None)
    digits = model((1, 28, 28), 'mnist', 10)
    assert chosen_judge(asked(), digits) == 'digit_judge'
    assert chosen_judge(asked(judge='own.safetensors'), digits) == 'own_judge'
    assert chosen_judge(asked(data='a.npz'), digits) == 'rows_judge'
    assert chosen_judge(asked(metric='energy'), digits) == 'rows_judge'
    # of another size, or of another name, they are not MNIST
    assert chosen_judge(asked(), model((1, 32, 32), 'mnist', 10)) == 'rows_judge'
    assert chosen_judge(asked(), model((1, 28, 28), 'letters', 10)) == 'rows_judge'
    assert chosen_judge(asked(), model()) == 'point_judge'
    assert chosen_judge(asked(data='a.csv'), model()) == 'rows_judge'


def test_which_runs():
    assert asked_runs(NS(sampler=None, steps=None, sweep=False)) == [('ddim', None)]
    both = asked_runs(NS(sampler='ddim,ddpm', steps='5,7', sweep=False))
    assert both == [('ddim', 5), ('ddim', 7), ('ddpm', 5), ('ddpm', 7)]
    every = asked_runs(NS(sampler=None, steps=None, sweep=True))
    assert len(every) == 4 * len(samplers())


def test_one_run():
    drawn = []
    def draw(sampler, **options): drawn.append((sampler, options))
    def judge(generate):
        generate(40, 3, None)
        return dict(value=0.5)
    found = judged(asked(), model(), judge, draw, 'ddim', 7, dict(eta=1.))
    assert found.pop('seconds') >= 0 and found == dict(calls=9, value=0.5)
    own = dict(n=7, c=None, eta=1.)
    assert drawn == [('ddim', dict(own, num=1, seed=0)),
                     ('ddim', dict(own, num=40, seed=3))]


def test_what_is_recorded():
    table = dict(ddim=dict(steps=20), ddpm=dict(steps=None))
    args = NS(weights='w', guide=None, table=table)
    options = dict(times=swissroll, eta=1)
    assert setting(args, 'real', 'ddim', None, options, 100) == dict(
        weights='w', data='real', sampler='ddim', steps=20, grid='swissroll', eta=1)
    args.guide = 'weak'
    assert setting(args, 'real', 'ddpm', None, {}, 100) == dict(
        weights='w', data='real', sampler='ddpm', steps=100, guide='weak')
    assert setting(args, 'real', 'ddim', 5, {}, 100)['steps'] == 5


def test_as_many_rows_as_is_usual():
    many = Real(torch.zeros(30_000, 2), None, 'rows')
    assert rooms.rows_asked(asked(), model(), many)[1] == 10_000
    pictures = Real(torch.zeros(6000, 1, 2, 2), None, 'pictures')
    assert rooms.rows_asked(asked(), model((1, 2, 2)), pictures)[1] == 2000
    few = Real(torch.zeros(50, 2), None, 'rows')
    assert rooms.rows_asked(asked(), model(), few)[1] == 25


def test_two_rows_have_scales():
    rows = torch.tensor([[0., 0.], [1., 1000.]])
    assert 'columns' in rooms.measure_of(Real(rows, None, ''))[1]
    assert rooms.measure_of(Real(rows[:1], None, ''))[1] == 'of the data'


@pytest.mark.parametrize('sizes', [(9, 10), (10, 9)])
def test_nine_rows_are_too_few_for_columns(sizes):
    x, y = (torch.randn(n, 2) for n in sizes)
    enough = torch.randn(10, 2)
    found = rooms.side_by_side([(x, y, None)], [(enough, enough, None)], ['a', 'b'])
    assert found == {}


def test_two_thousand_images_are_usual():
    assert rooms.asked_images(asked(), 10_000) == 2000
    assert rooms.asked_images(asked(), 1500) == 1500


def test_each_class_says_how_many_rows_it_has():
    x, c = torch.randn(9, 2), torch.tensor([0] * 4 + [1] * 5)
    pairs = [(x, x, c, c)]
    found = rooms.class_by_class(pairs, pairs, Real(x, c, '', ['a', 'b'], ['cat']))
    assert found == {'cat': dict(n=4), '1': dict(n=5)}


def test_seconds_are_those_of_one_judgement():
    found = judged(asked(), model(), lambda generate: {}, lambda *a, **o: None,
                   'ddim', 7, {})
    assert 0 <= found['seconds'] < 60
