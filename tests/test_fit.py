"The parts of `diffusion fit`: configs, runs, weights, and what is said afterwards."
import json
import os
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace as NS

import pytest

import diffusion_nbdev.callbacks # noqa: F401, sets filters of warnings
from diffusion_nbdev import starting
from diffusion_nbdev.cli import fit as room
from diffusion_nbdev.cli.fit import (
    begin, calm, checked_config, is_checkpoint, line_to_go_on, load_into,
    measured_weights, newest, next_lines, resumed, same_net, shipped_weights,
    terminated, train, viewer, with_config)
from diffusion_nbdev.files import find_weights
from diffusion_nbdev.model import load


def test_configs_are_read_as_utf8(tmp_path, monkeypatch):
    path, asked = tmp_path/'a.yaml', []
    with monkeypatch.context() as m:
        m.setattr(Path, 'read_text',
                  lambda self, encoding=None: asked.append(encoding) or 'name: a')
        checked_config(path)
    assert asked == ['utf-8']
    path.write_bytes('name: Größe\n'.encode())
    checked_config(path)
    path.write_bytes(b'net: os.system\n')
    with pytest.raises(ValueError, match="net 'os.system' is not one of this package"):
        checked_config(path)
    argv = ['--config', str(path)]
    with pytest.raises(ValueError, match='refused unless you --trust'):
        with_config('fit', argv)
    assert with_config('fit', [*argv, '--trust']) == (argv, 'a')
    with pytest.raises(ValueError, match='fit what'): with_config('fit', [])


def test_sigterm_is_an_interruption_for_a_while():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_warnings_are_lines(capsys):
    before, show = list(warnings.filters), warnings.showwarning
    with calm():
        warnings.simplefilter('always')
        warnings.warn('one\ntwo')
    assert capsys.readouterr().err == 'diffusion: one two\n'
    assert warnings.filters == before and warnings.showwarning is show


@pytest.fixture
def runs(tmp_path, monkeypatch):
    "Runs 9 and 10, both with a checkpoint."
    import torch
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('DIFFUSION_RESUME', raising=False)
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    for k in 9, 10:
        folder = tmp_path/'run'/'a'/f'version_{k}'/'checkpoints'
        folder.mkdir(parents=True)
        torch.save({}, folder/'last.ckpt')
    yield tmp_path/'run'/'a'
    os.environ.pop('DIFFUSION_RESUME', None)


def test_the_newest_run_goes_on(runs, capsys):
    last = 'run/a/version_10/checkpoints/last.ckpt'
    assert str(newest('a')) == last
    assert resumed(['--resume', '--x', '1'], 'a') == [
        '--x', '1', '--ckpt_path', last,
        '--trainer.logger.init_args.version', 'version_10']
    assert os.environ['DIFFUSION_RESUME'] == last
    for given in '--ckpt_path=b', '--trainer.logger':
        with pytest.raises(ValueError, match='leave out'):
            resumed(['--resume', given], 'a')
    (runs/'version_10'/'checkpoints'/'last.ckpt').write_text('damaged')
    assert str(newest('a')) == 'run/a/version_9/checkpoints/last.ckpt'


def test_weights_of_another_prediction():
    model, other = load('swissroll'), load('swissroll')
    same_net(model, other, 'a')
    other.pred = 'eps'
    with pytest.raises(ValueError, match='weights that predict eps, the config says v'):
        same_net(model, other, 'a')
    assert load_into(model, 'swissroll', False) == find_weights('swissroll')


def test_where_a_training_begins(runs, capsys):
    last = str(runs/'version_9'/'checkpoints'/'last.ckpt')
    assert is_checkpoint(last) and not is_checkpoint(None)
    assert not is_checkpoint('swissroll')
    with pytest.raises(OSError, match='no such file'): is_checkpoint('none.ckpt')
    model = load('swissroll')
    def cli(path): return NS(config=NS(ckpt_path=path), model=NS(model=model))
    assert begin(cli(None), False) is None and begin(cli(last), False) == last
    first = next(iter(model.net.parameters()))
    before = first.detach().clone()
    first.data.zero_()
    assert begin(cli('swissroll'), False) is None
    assert (next(iter(model.net.parameters())) == before).all()
    assert 'starting from the weights swissroll' in capsys.readouterr().err


def test_what_to_type_next(runs):
    run, own = runs/'version_9', runs/'mine'
    line = f'diffusion fit --config {run}/config.yaml --resume'
    assert line_to_go_on(run, False) == line
    (runs/'version_10').rename(own)
    last = own/'checkpoints'/'last.ckpt'
    assert line_to_go_on(own, True).endswith(f'config.yaml --ckpt_path {last} --trust')
    assert line_to_go_on(runs, False) is None
    board = type('TensorBoardLogger', (), {})()
    assert viewer(board, run) == f'tensorboard --logdir {runs.parent}'
    assert viewer(object(), run) is None
    lit = NS(model=NS(few=None))
    trainer = NS(fast_dev_run=False, loggers=[board, object()], lightning_module=lit)
    assert next_lines(trainer, run, False) == []
    (run/'model.safetensors').touch()
    lines = next_lines(trainer, run, True)
    assert lines[0] == f'diffusion sample {run} --sampler ddim --steps 20 --trust'
    assert len(lines) == 4 and lines[-1].startswith('tensorboard')
    # a net for few calls is asked for as many, by its own sampler
    lit.model.few = NS(calls=4)
    assert next_lines(trainer, run, False)[:2] == [
        f'diffusion {command} {run} --steps 4' for command in ('sample', 'evaluate')]
    assert next_lines(NS(fast_dev_run=True, loggers=[]), run, False) == []


def test_a_training_starts_where_it_was_told(tmp_path, monkeypatch):
    seen, lit = [], NS(model='model')
    monkeypatch.setattr(starting, 'check_start', lambda *a: seen.append(a))
    trainer = NS(callbacks=[], log_dir=str(tmp_path),
                 fit=lambda *a, **k: seen.append((a, k)))
    cli = NS(trainer=trainer, model=lit, datamodule='data')
    assert train(cli, 'last.ckpt', False) == tmp_path
    # looked at first, as by `fit` in Python
    assert seen == [('model', 'data'), (
        (lit, 'data'), dict(ckpt_path='last.ckpt', weights_only=True))]


def test_weights_that_are_measured(capsys):
    model = load('swissroll')
    with pytest.raises(ValueError, match="none are shipped for 'mine'"):
        shipped_weights('test', model, 'mine', [])
    with pytest.raises(ValueError, match='bring their own net'):
        shipped_weights('test', model, 'swissroll', ['--model.net.width=3'])
    cli, model.net = NS(model=NS(model=model), config=NS(ckpt_path=None)), None
    assert measured_weights('test', cli, 'swissroll', [], False) is None
    assert model.net is not None
    assert 'weights   swissroll, shipped' in capsys.readouterr().err


@pytest.mark.parametrize('first', [True, False])
def test_the_first_process_says_what_to_do_next(monkeypatch, capsys, first):
    made = NS(trainer=NS(is_global_zero=first))
    monkeypatch.setattr('diffusion_nbdev.cli.experiment.experiment', lambda *a: made)
    monkeypatch.setattr(room, 'begin', lambda cli, trust: 'a.ckpt')
    monkeypatch.setattr(room, 'train', lambda cli, path, trust: f'run from {path}')
    monkeypatch.setattr(room, 'next_lines', lambda *a: ['one', 'two'])
    room.fit(['--config', 'swissroll'])
    said = 'weights   run from a.ckpt/model.safetensors', 'next:', '  one', '  two'
    assert capsys.readouterr().out.splitlines() == [*said] * first


def test_what_is_measured_is_json(monkeypatch, capsys):
    def validate(model, data, ckpt_path, **how):
        return [dict(model=model, data=data, path=ckpt_path)]
    made = NS(trainer=NS(is_global_zero=True, validate=validate), model='net',
              datamodule='rows')
    monkeypatch.setattr('diffusion_nbdev.cli.experiment.experiment', lambda *a: made)
    asked = []
    monkeypatch.setattr(room, 'measured_weights', lambda *a: asked.extend(a) or 'w')
    room.measure('validate', ['--config', 'swissroll', '--trust'])
    command, cli, name, argv, trust = asked
    assert (command, cli, name, trust) == ('validate', made, 'swissroll', True)
    assert argv[0] == '--config'
    assert json.loads(capsys.readouterr().out) == dict(
        model='net', data='rows', path='w')
