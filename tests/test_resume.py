"Counters of Lightning's loops set to a place, without any training."
from types import SimpleNamespace as NS

import pytest

from diffusion_nbdev.resume import (
    Place, begin_epoch, check_order, order_of, set_batches, set_epochs, skip_rows)


def counts(): return NS(ready=9, started=9, processed=9, completed=9)
def values(c): return c.ready, c.started, c.processed, c.completed


def test_one_more_epoch_is_begun_inside_it():
    loop = NS(epoch_progress=NS(total=counts(), current=counts()))
    set_epochs(loop, 4, True)
    assert values(loop.epoch_progress.total) == values(loop.epoch_progress.current) \
        == (5, 5, 4, 4)
    set_epochs(loop, 4, False)
    assert values(loop.epoch_progress.current) == (4, 4, 4, 4)


@pytest.mark.parametrize('done, last', [(3, False), (8, True)])
def test_batches(done, last):
    progress = NS(total=counts(), current=counts(), is_last_batch=None)
    progress.total.ready = progress.total.started = 10
    set_batches(NS(batch_progress=progress), done, 8)
    assert values(progress.total) == (9,) * 4
    assert values(progress.current) == (done,) * 4
    assert progress.is_last_batch is last


def test_an_epoch_begins_afresh():
    def loop(**more): return NS(_restarting=True, _restart_stage='x', **more)
    fit = loop(epoch_loop=loop(val_loop=loop()), restarting=True)
    begin_epoch(fit)
    assert not fit.restarting
    for one in fit, fit.epoch_loop, fit.epoch_loop.val_loop:
        assert not one._restarting and one._restart_stage == 'none'


def test_samplers_skip_rows_or_say_that_they_cannot():
    able = NS(sampler=NS(start=0))
    skip_rows([able], 1, 30, 3)
    assert able.sampler.start == 30
    with pytest.warns(UserWarning) as told: skip_rows([NS(sampler=[]), able], 1, 20, 2)
    assert len(told) == 1 and 'a list cannot start inside' in str(told[0].message)
    assert 'starts over at batch 2 of epoch 1' in str(told[0].message)
    assert able.sampler.start == 20


def test_the_order_of_rows_is_known_and_compared():
    ours, foreign = NS(sampler=NS(n=48, seed=1, batch_size=16)), NS(sampler=[])
    own = order_of([foreign, ours])
    assert own == {'number of training rows': 48, 'seed of the data': 1,
                   'rows of a batch': 16} and order_of([foreign]) == {}
    check_order(own, own), check_order(own, {}), check_order({}, own)
    # batches may be of another size: rows are counted
    check_order(own, {**own, 'rows of a batch': 8})
    for what, value in [('number of training rows', 24), ('seed of the data', 2)]:
        with pytest.raises(ValueError, match=f'its {what} is {own[what]}, here it is'):
            check_order(own, {**own, what: value})


def test_what_is_validated():
    place = Place()
    assert place.validated is False
    place.on_validation_end(NS(sanity_checking=True), None)
    assert place.validated is False
    place.on_validation_end(NS(sanity_checking=False), None)
    assert place.validated is True
    place.on_train_batch_start(None, None, None, 0)
    assert place.validated is False
    trainer = NS(fit_loop=NS(epoch_loop=NS(_restarting=True)))
    place.on_train_epoch_end(trainer, None)
    assert trainer.fit_loop.epoch_loop._restarting is False
