"Callbacks by themselves, without a training around them."
import logging
import warnings
from types import SimpleNamespace as NS

import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn

from diffusion_nbdev.callbacks import (
    NOTICES, History, RunningAverage, SamplePictures, SaveWeights, StepBar,
    averaged_model, logs_now, points_picture, quiet, run_folder, training_bar,
    training_facts)


class Copying(RunningAverage):
    "The simplest average: the last weights."
    def average(self, averages, weights, k):
        self.seen = k
        for a, w in zip(averages, weights): a.data.copy_(w)


def averaging():
    "An average of a layer with a buffer, as Lightning would have set it up."
    average, live = Copying(), nn.BatchNorm1d(1)
    with torch.no_grad(): live.weight.fill_(3.)
    live.running_mean.fill_(5.)
    average._average_model = NS(module=nn.BatchNorm1d(1), n_averaged=torch.tensor(0))
    average._latest_update_step = 0
    average.on_train_start(None, live)
    return average, live


def test_an_average_must_say_how():
    with pytest.raises(NotImplementedError): RunningAverage().average([], [], 0)
    assert not RunningAverage()._use_buffers


def test_a_step_of_the_average():
    average, live = averaging()
    other = average._average_model.module
    average.on_train_batch_end(NS(global_step=0), live)
    assert other.weight.item() == 1 and average.count == 0
    average.on_train_batch_end(NS(global_step=1), live)
    assert other.weight.item() == 3 and other.running_mean.item() == 5
    assert average.count == 1 and average.seen == 0 and average._latest_update_step == 1


def test_an_average_travels_with_its_count(monkeypatch):
    for event in 'save', 'load':
        monkeypatch.setattr(WeightAveraging, f'on_{event}_checkpoint', lambda *a: None)
    average, live = averaging()
    average.count = 7
    average.on_save_checkpoint(None, live, {})
    assert average._average_model.n_averaged.item() == 7
    average.on_load_checkpoint(None, live, dict(averaging_state=dict(n_averaged=4)))
    assert average.count == 4
    average.on_load_checkpoint(None, live, {})
    assert average.count == 0
    RunningAverage().on_save_checkpoint(None, live, {})


def test_averages_change_places_and_back(monkeypatch):
    swaps = []
    monkeypatch.setattr(WeightAveraging, '_swap_models', lambda *a: swaps.append(a))
    average, live = averaging()
    average.on_exception(None, live, None)
    assert swaps == []
    average._swap_models(live)
    assert average._swapped and len(swaps) == 1
    average.on_exception(None, live, None)
    assert not average._swapped and len(swaps) == 2


def test_whose_weights_are_shown():
    average, live = RunningAverage(), NS(model='live')
    trainer = NS(callbacks=[History(), average])
    assert average.averaged() is None and averaged_model(trainer, live) == 'live'
    average._average_model = NS(module=NS(model='average'))
    assert averaged_model(trainer, live) == 'average'
    average._swapped = True
    assert averaged_model(trainer, live) == 'live'


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('due', [False, True])
def test_when_losses_are_logged(last, due):
    progress = NS(batch_progress=NS(is_last_batch=last))
    trainer = NS(fit_loop=NS(epoch_loop=progress),
                 _logger_connector=NS(should_update_logs=due))
    assert logs_now(trainer) == (last or due)


def test_one_coordinate_is_drawn_on_a_line():
    assert points_picture(torch.randn(9, 1)).shape == (320, 320, 3)


def test_pictures_when_they_are_due():
    assert SamplePictures(num=1).num == 1
    with pytest.raises(ValueError, match='num = 0'): SamplePictures(num=0)
    for epoch, first in (0, True), (1, False):
        # would ask for a model
        trainer = NS(current_epoch=epoch, max_epochs=9, is_global_zero=first)
        SamplePictures(every=2).on_train_epoch_end(trainer, None)


def test_where_a_run_is_kept(tmp_path):
    assert run_folder(NS(callbacks=[], log_dir=str(tmp_path))) == tmp_path
    assert run_folder(NS(callbacks=[], log_dir=None)) is None


def test_facts_of_a_training():
    hparams = type('Hyperparameters', (dict,), dict(seed=3))(seed=3)
    module = NS(hparams=hparams, device='cpu')
    facts = training_facts(NS(global_step=40, current_epoch=2), module, 'finished', 0.)
    assert (facts['steps'], facts['epochs'], facts['seed']) == (40, 2, 3)
    assert facts['how'] == 'finished' and facts['hyperparameters'] == dict(seed=3)


def test_an_interrupted_training_says_so():
    told, weights = [], SaveWeights()
    weights.save = lambda *a: told.append(a)
    weights.on_exception(NS(sanity_checking=True), 'module', KeyboardInterrupt())
    trainer = NS(sanity_checking=False)
    weights.on_exception(trainer, 'module', KeyboardInterrupt())
    assert told == [(trainer, 'module', 'interrupted: KeyboardInterrupt')]


def test_lightning_is_quiet_only_for_a_while():
    log = logging.getLogger('lightning.pytorch')
    before = log.level
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        with quiet():
            assert log.level == logging.ERROR
            for text in NOTICES: warnings.warn(text)
    assert log.level == before and not seen


def running(**more):
    progress = NS(batch_progress=NS(is_last_batch=True))
    return NS(**dict(dict(
        estimated_stepping_batches=10, global_step=4, is_global_zero=True,
        fit_loop=NS(epoch_loop=progress), sanity_checking=False,
        callback_metrics=dict(val_loss=torch.tensor(0.25))), **more))


def test_a_bar_starts_where_a_training_goes_on():
    assert training_bar(running(), False).disable
    bar = training_bar(running(), True)
    assert (bar.total, bar.n) == (10, 4)
    bar.close()
    bar = training_bar(running(estimated_stepping_batches=float('inf')), True)
    assert bar.total is None and bar.n == 4 and not bar.disable
    bar.close()


@pytest.mark.parametrize('on, first', [(True, True), (True, False), (False, True)])
def test_the_bar_of_one_process(on, first):
    step_bar = StepBar()
    step_bar.enable() if on else step_bar.disable()
    step_bar.on_train_start(running(is_global_zero=first), None)
    assert step_bar.bar.disable is not (on and first)
    step_bar.bar.close()


@pytest.mark.parametrize('end', ['on_train_end', 'on_exception'])
def test_a_bar_shows_both_losses_and_is_closed(end):
    step_bar, module = StepBar(), NS(_last_loss=torch.tensor(0.5))
    step_bar.on_train_start(running(), module)
    step_bar.on_validation_end(running(sanity_checking=True), module)
    step_bar.on_validation_end(running(callback_metrics={}), module)
    assert step_bar.val == {}
    step_bar.on_validation_end(running(), module)
    step_bar.on_train_batch_end(running(global_step=5), module, None, None, 0)
    assert step_bar.bar.postfix == 'train_loss=0.5000, val_loss=0.2500'
    assert step_bar.bar.n == 5
    getattr(step_bar, end)(running(), module, *[None] * (end == 'on_exception'))
    assert step_bar.bar.disable
