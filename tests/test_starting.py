"What is looked at before a training, and how it is left."
import io
import tempfile

import lightning.pytorch as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

import far
from diffusion_nbdev.data import TensorData
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.starting import (
    check_answers, check_start, one_line, questions, run_place, trainer_of, undisturbed)
from diffusion_nbdev.unet import PointMLP


def test_a_net_is_asked_as_it_samples_and_left_as_it_trains():
    net = nn.Sequential(nn.Dropout(0.5))
    with undisturbed(net): assert not net.training and not net[0].training
    assert net.training and net[0].training


def test_the_only_class_and_none_are_asked_for():
    model = Model(PointMLP(2, width=8, n_classes=1), cosine_schedule(9),
                  data=Units([2], n_classes=1))
    assert questions(model)[0][2].tolist() == [0, -1]
    other = TensorData(torch.zeros(30, 3), units=Units([3]))
    with pytest.raises(ValueError, match='data: its shape is'):
        check_start(model, other)


def test_a_folder_is_made_and_written_to(tmp_path, monkeypatch):
    tried = []
    def file(dir=None, **more): return tried.append(dir) or io.StringIO()
    monkeypatch.setattr(tempfile, 'TemporaryFile', file)
    assert run_place(tmp_path/'a'/'b').is_dir() and tried == [tmp_path/'a'/'b']


def test_a_trainer_has_its_callbacks_and_refuses_in_one_line():
    options = dict(accelerator='cpu', logger=False, enable_progress_bar=False)
    mine = L.Callback()
    assert mine in trainer_of([mine], options).callbacks
    with pytest.raises(ValueError, match='^trainer: no such thing$'), one_line():
        raise MisconfigurationException('no such\n   thing')


def test_states_have_32_bits_and_answers_come_to_the_cpu(monkeypatch):
    model = Model(PointMLP(2, width=8), cosine_schedule(9), data=Units([2]))
    with monkeypatch.context() as m:
        m.setattr(torch, 'randn', lambda *a, generator: torch.zeros(*a).double())
        assert questions(model)[0][0].dtype is torch.float32
    if not far.AVAILABLE: pytest.skip('this torch has no hook for it')
    with far.pretend('far') as device:
        assert {a.device.type for a in check_answers(model.to(device))} == {'cpu'}
