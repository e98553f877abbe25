"What a training is made of, without one."
import math
from types import SimpleNamespace as NS

import pytest
import torch
from torch import nn

from diffusion_nbdev.callbacks import SamplePictures
from diffusion_nbdev.data import TensorData
from diffusion_nbdev.model import Model
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.training import (
    EMA, LitDiffusion, TrainedGuidance, adamw, default_callbacks, fit)
from diffusion_nbdev.unet import PointMLP


def test_the_rate_changes_with_each_step():
    made = adamw(nn.Linear(1, 1), math.inf, 1e-3, 10, 'constant')
    assert made['lr_scheduler']['interval'] == 'step'
    group, = made['optimizer'].param_groups
    assert group['lr'] == pytest.approx(1e-4)


def test_an_objective_is_told_before_the_first_step():
    told = []
    lit = NS(_tell_objective=lambda: told.append(1), _scaled=lambda: False,
             hparams=NS(lr=1e-3, warmup=0, decay='constant', weight_decay=0.5),
             model=NS(net=nn.Linear(1, 1)), trainer=NS(estimated_stepping_batches=9))
    made = LitDiffusion.configure_optimizers(lit)
    assert told == [1] and made['optimizer'].defaults['weight_decay'] == 0.5


def test_the_weight_comes_after_a_share_of_a_training_with_an_end():
    away = TrainedGuidance(w=2., w_from=0.5)
    for share, weight in (0.49, 0.), (0.5, 2.), (1., 2.):
        away.at(share)
        assert away.now == weight
    with pytest.raises(ValueError, match='w_from = 0.5 .* no planned end'):
        away.at(None)
    TrainedGuidance(w=2.).at(None)


def test_what_every_training_gets():
    own = {type(c): c for c in default_callbacks()}
    assert own[EMA].decay == 0.999 and own[SamplePictures].every == 10
    assert EMA not in map(type, default_callbacks(ema=None))


def test_what_a_trainer_is_told(tmp_path):
    data = TensorData(torch.randn(20, 2), batch_size=20, held_out=0.2)
    net = PointMLP(width=4, depth=1)
    lit = LitDiffusion(Model(net, cosine_schedule(5), data=data.units))
    trainer = fit(lit, data, tmp_path, max_epochs=1, pictures=0, progress=False)
    # our batches know about processes
    assert not trainer._accelerator_connector.use_distributed_sampler
    # nothing is written of an `hp_metric` that nobody measures
    assert not trainer.logger._default_hp_metric
