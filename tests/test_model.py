"A model's parts: what is left out, what is refused, and what is handed on."
import contextlib
from types import SimpleNamespace as NS

import numpy as np
import pytest
import torch
from torch import nn

from diffusion_nbdev import generating
from diffusion_nbdev import model as room
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.unet import PointMLP

X = torch.tensor([[0.5, -2.], [3., 0.]])


def points(**more):
    return Model(PointMLP(width=4, depth=1, **more), cosine_schedule(5),
                 data=Units([2], n_classes=more.get('n_classes', 0)))


def test_units_of_which_nothing_is_said_change_nothing():
    units = Units([2])
    assert units.to_model(X).equal(X) and units.to_data(X).equal(X)
    assert units.n_classes == 0


@pytest.mark.parametrize('wrong', [
    dict(std=0.), dict(mean=float('nan')), dict(clip=-1.), dict(n_classes=-1)])
def test_units_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))): Units([2], **wrong)


def test_a_prediction_that_nobody_knows():
    with pytest.raises(ValueError, match='prediction'):
        Model(PointMLP(width=4), cosine_schedule(5), 'w', Units([2]))


class Plain(nn.Module):
    def forward(self, xt, t, c=None): return xt


def test_a_net_that_says_nothing_of_classes_has_none():
    assert Model(Plain(), cosine_schedule(5), data=Units([2])).n_classes == 0


def test_samples_are_computed_as_asked_under_the_name_of_the_sampler(monkeypatch):
    seen, inside = [], []

    @contextlib.contextmanager
    def computing(device, precision):
        seen.append((device.type, precision))
        inside.append(1)
        yield
        inside.pop()

    class Bar(contextlib.nullcontext):
        def __init__(self, **what):
            super().__init__()
            seen.append((what['desc'], what['total'], what['disable']))
            assert not inside
        def update(self, n): assert inside

    monkeypatch.setattr(generating, 'computing', computing)
    monkeypatch.setattr(generating, 'tqdm', Bar)
    monkeypatch.setattr(room, 'collected', lambda *what: len(inside))
    assert points().generate('ddim', n=2, num=3, precision='32', progress=True) == 1
    assert seen == [('ddim', 3, False), ('cpu', '32')]


def test_a_model_is_exported_to_a_path(monkeypatch):
    monkeypatch.setattr(room, 'export_model', lambda model, path: (model, path))
    model = points()
    assert model.export('net.onnx') == (model, 'net.onnx')


def test_weights_for_other_classes(tmp_path):
    path = points(n_classes=2).save(tmp_path/'two.safetensors')
    three = load(path, n_classes=3)
    assert three.n_classes == three.data.n_classes == 3
    assert load(path).n_classes == 2


def test_units_of_numpy_are_plain_numbers():
    units = Units([2], mean=np.float32(0.5), std=np.array([1., 2.]))
    assert type(units.mean) is float and units.std == [1., 2.]
    assert type(units.std) is list


def test_numbers_of_a_table_come_back_with_their_decimals():
    columns = {'a': 'real', 'b': 'whole'}
    units = Units([2], columns=columns, decimals={'a': 1})
    found = units.to_data(torch.tensor([[0.123, 1.7]]))
    assert found.tolist() == [[pytest.approx(0.1), 2.]]


def test_what_later_chapters_are_asked(monkeypatch):
    asked = []

    def answer(*args, **options):
        asked.append((args, options))
        return NS(nats='nats')

    monkeypatch.setattr(room, 'chapter', lambda name: NS(
        inpainted=lambda *a, **o: answer(name, *a, **o),
        of_model=lambda *a, **o: answer(name, *a, **o)))
    model, mask = points(), torch.ones(2)
    model.inpaint(X, mask)
    model.inpaint(X, mask, 3, 7, n=5)
    assert model.log_likelihood(X, 3, n=9) == 'nats'
    assert [([*map(id, a)], o) for a, o in asked] == [
        ([*map(id, a)], o) for a, o in (
            (('editing', model, X, mask, None, 0), {}),
            (('editing', model, X, mask, 3, 7), dict(n=5)),
            (('likelihood', model, X, 3), dict(n=9)))]
