"Requests for an end, and the files of a training, without any training."
import signal
import time
from types import SimpleNamespace as NS

import pytest
from lightning.pytorch.plugins.io import TorchCheckpointIO

from diffusion_nbdev.ending import (
    EndRequest, LastCheckpoint, any_process, checkpoint_due, end_signals, in_validation,
    keep_previous, prepare_folder, write_last)
from diffusion_nbdev.resume import WholeCheckpoints


@pytest.fixture
def handlers():
    "As in a shell, whatever has started the tests."
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
    before = {n: signal.getsignal(n) for n in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield {n: signal.getsignal(n) for n in numbers}
    signal.setitimer(signal.ITIMER_REAL, 0)
    for n, handler in before.items(): signal.signal(n, handler)


def test_a_job_in_the_background_does_not_hear_ctrl_c(handlers):
    assert signal.SIGINT in end_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.SIGINT not in end_signals() and signal.SIGTERM in end_signals()


def test_a_request_is_answered_or_ends_by_itself(handlers):
    request = EndRequest(patience=60)
    request.listen()
    # nothing runs: at once
    with pytest.raises(KeyboardInterrupt, match='SIGTERM'):
        signal.raise_signal(signal.SIGTERM)
    request.asked, request.running = None, True
    signal.raise_signal(signal.SIGINT)
    assert request.made and 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    with pytest.raises(KeyboardInterrupt, match='SIGINT'): request.end()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    # the second time nobody waits
    with pytest.raises(KeyboardInterrupt): signal.raise_signal(signal.SIGINT)
    request.alarm(60)
    request.restore()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0 and not request.running
    assert {n: signal.getsignal(n) for n in handlers} == handlers


def test_one_process_is_enough():
    seen = {}
    def reduce(yes, all):
        seen.update(all=all)
        return yes
    assert any_process(NS(world_size=1), True)
    any_process(NS(world_size=2, strategy=NS(reduce_boolean_decision=reduce)), True)
    assert seen == dict(all=False)


@pytest.mark.parametrize('more, yes', [
    ({}, True), (dict(validating=False), False), (dict(state=NS(fn='validate')), False),
    (dict(world_size=2), False), (dict(global_step=0), False)])
def test_in_validation(more, yes):
    loop = NS(epoch_loop=NS(_should_accumulate=lambda: False))
    trainer = dict(validating=True, state=NS(fn='fit'), world_size=1, global_step=3,
                   fit_loop=loop)
    assert in_validation(NS(**{**trainer, **more})) is yes


def test_the_one_before_is_a_copy_of_the_same_time(tmp_path):
    last = tmp_path/'last.ckpt'
    keep_previous(last)
    assert list(tmp_path.iterdir()) == []
    last.write_text('state')
    keep_previous(last)
    previous = tmp_path/'previous.ckpt'
    assert previous.read_text() == 'state'
    assert previous.stat().st_mtime_ns == last.stat().st_mtime_ns


def trainer_of(fn='fit', first=True, **more):
    return NS(strategy=NS(checkpoint_io=TorchCheckpointIO()), is_global_zero=first,
              state=NS(fn=fn), world_size=1, **more)


@pytest.mark.parametrize('fn, first, left', [
    ('fit', True, []), ('fit', False, ['.a.ckpt']), ('test', True, ['.a.ckpt'])])
def test_half_written_files_go(tmp_path, fn, first, left):
    (tmp_path/'.a.ckpt').touch()
    trainer = trainer_of(fn, first)
    prepare_folder(trainer, tmp_path)
    assert isinstance(trainer.strategy.checkpoint_io, WholeCheckpoints)
    assert [p.name for p in tmp_path.iterdir()] == left


@pytest.mark.parametrize('first', [True, False])
def test_one_process_keeps_the_one_before(tmp_path, first):
    last, saved = tmp_path/'last.ckpt', []
    last.touch()
    checkpoint = NS(format_checkpoint_name=lambda metrics: str(last),
                    _save_checkpoint=lambda trainer, path: saved.append(path))
    write_last(trainer_of(first=first), checkpoint)
    assert saved == [str(last)] and (tmp_path/'previous.ckpt').exists() is first


@pytest.mark.parametrize('step, every, seconds, due', [
    (6, 3, 9., True), (7, 3, 9., False), (6, 0, 9., False), (7, 0, -1., True)])
def test_when_a_checkpoint_is_due(step, every, seconds, due):
    assert checkpoint_due(trainer_of(global_step=step), every, seconds) is due


def test_the_life_of_a_request(tmp_path, handlers, monkeypatch):
    with pytest.raises(ValueError, match='every = 1.5'): LastCheckpoint(every=1.5)
    last, done = LastCheckpoint(), []
    # Lightning listens anew in between
    for moment in last.on_fit_start, last.on_sanity_check_start:
        moment(None, None)
        assert signal.getsignal(signal.SIGTERM) == last.request.hear
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before = time.monotonic()
    last.on_train_start(None, None)
    assert last.request.running and last.saved >= before
    last.on_train_end(trainer_of(), None)
    assert not last.request.running
    last.teardown(None, None, 'fit')
    assert signal.getsignal(signal.SIGTERM) == handlers[signal.SIGTERM]


def test_a_checkpoint_when_a_minute_is_over_and_after_an_epoch(monkeypatch):
    saved, now, last = [], [0.], LastCheckpoint(minutes=1)
    monkeypatch.setattr(last, 'save', saved.append)
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    loop = NS(epoch_loop=NS(_should_accumulate=lambda: False))
    trainer = trainer_of(global_step=7, fit_loop=loop)
    for now[0], so_far in (59.5, []), (60.5, [trainer]):
        last.on_train_batch_end(trainer, None, None, None, 0)
        assert saved == so_far
    last.on_train_epoch_end(trainer, None)
    assert saved == [trainer, trainer]


def test_a_folder_is_prepared(tmp_path, monkeypatch):
    from lightning.pytorch.callbacks import ModelCheckpoint
    monkeypatch.setattr(ModelCheckpoint, 'setup', lambda *a: None)
    last = LastCheckpoint()
    last.dirpath = str(tmp_path)
    (tmp_path/'.a.ckpt').touch()
    last.setup(trainer_of(), None, 'fit')
    assert list(tmp_path.iterdir()) == []
