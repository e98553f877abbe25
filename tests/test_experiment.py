"The parts of an experiment: what a config and the command line leave open."
import importlib
import inspect
import sys
from types import SimpleNamespace as NS

import pytest
from jsonargparse import ArgumentParser, Namespace

from diffusion_nbdev.callbacks import SamplePictures, StepBar
from diffusion_nbdev.cli.experiment import (
    SaveConfig, add_options, anew, nothing_typed, own_callbacks, trainer_defaults,
    unet_of, where)
from diffusion_nbdev.ending import LastCheckpoint
from diffusion_nbdev.finite import BadNumbers
from diffusion_nbdev.training import EMA, fit


def test_the_shell_has_the_defaults_of_python():
    parser = ArgumentParser()
    add_options(parser)
    typed, python = parser.get_defaults(), inspect.signature(fit).parameters
    for name in 'ema pictures checkpoint_steps skip_bad_steps compile'.split():
        assert typed[name] == python[name].default, name
    assert not typed.resume and typed.ckpt_path is None


def test_precision_is_chosen_for_a_training_alone():
    trainer = Namespace(accelerator='cpu', devices=1, strategy='auto', precision=None)
    assert where(trainer, [2], training=True)['precision'] == '32-true'
    assert 'precision' not in where(trainer, [2], training=False)


def config(**trainer):
    usual = dict(logger=None, enable_checkpointing=None, callbacks=None,
                 enable_progress_bar=None)
    return Namespace(ema=0.9, pictures=3, checkpoint_steps=7, skip_bad_steps=2,
                     compile=False, trainer=Namespace(**{**usual, **trainer}))


def test_what_a_config_says_of_callbacks():
    made = {type(c): c for c in own_callbacks(config())}
    assert made[EMA].decay == 0.9 and made[SamplePictures].every == 3
    assert made[LastCheckpoint].every == 7 and made[BadNumbers].skip == 2
    assert StepBar in made
    for own in dict(enable_progress_bar=False), dict(callbacks=[StepBar()]):
        assert StepBar not in map(type, own_callbacks(config(**own)))


def test_a_config_says_nothing_of_how_it_was_begun():
    def begun(logger):
        return Namespace(ckpt_path='a.ckpt', resume=True,
                         trainer=Namespace(logger=logger))
    given = begun(Namespace(init_args=Namespace(name='a', version='version_3')))
    new = anew(given)
    assert new.ckpt_path is None and new.resume is False
    assert new.trainer.logger.init_args == Namespace(name='a', version=None)
    assert given.resume and given.trainer.logger.init_args.version == 'version_3'
    assert anew(begun(False)).trainer == Namespace(logger=False)


@pytest.mark.parametrize('first', [True, False])
def test_the_first_process_writes_the_config(tmp_path, first):
    parser = NS(dump=lambda config, skip_none: f'resume: {config.resume}\n')
    own = NS(parser=parser, config=Namespace(ckpt_path=None, resume=True))
    trainer = NS(is_global_zero=first, callbacks=[], log_dir=str(tmp_path), loggers=[])
    SaveConfig.on_fit_start(own, trainer, None)
    path = tmp_path/'config.yaml'
    assert path.is_file() == first
    assert not first or path.read_text() == 'resume: False\n'
    trainer.log_dir = None
    SaveConfig.on_fit_start(own, trainer, None)


def test_where_a_training_is_logged(monkeypatch):
    monkeypatch.delenv('TQDM_DISABLE', raising=False)
    usual = trainer_defaults(True, 'mine')
    module, _, name = usual['logger']['class_path'].rpartition('.')
    logger = getattr(importlib.import_module(module), name)
    made = logger(**usual['logger']['init_args'])
    assert made.log_dir.startswith(f'{usual["default_root_dir"]}/mine/version_')
    assert usual['use_distributed_sampler'] is False
    assert 'enable_progress_bar' not in usual
    other = trainer_defaults(False, 'mine')
    assert other['logger'] is other['enable_progress_bar'] is False
    monkeypatch.setenv('TQDM_DISABLE', '1')
    assert trainer_defaults(True, 'mine')['enable_progress_bar'] is False


def test_lightning_sees_no_arguments_of_the_process(monkeypatch):
    typed = ['diffusion', 'fit', '--config', 'swissroll']
    monkeypatch.setattr(sys, 'argv', typed)
    with nothing_typed(): assert sys.argv == ['diffusion']
    assert sys.argv is typed


@pytest.mark.parametrize('shape, patch, channels', [
    ([1, 16, 12], 1, [48, 96, 128]), ([1, 28, 28], 2, [48, 96, 128]),
    ([3, 40, 40], 2, [48, 96, 128]), ([3, 64, 64], 4, [96, 144, 176])])
def test_a_net_is_as_wide_as_its_pictures_need(shape, patch, channels):
    made = unet_of(shape, 3).recipe['init_args']
    assert (made['patch'], made['channels']) == (patch, channels)
    assert made['n_classes'] == 3 and made['in_channels'] == shape[0]
