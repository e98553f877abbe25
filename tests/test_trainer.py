"What a training checks, keeps and counts, without a training."
import math
from types import SimpleNamespace as NS

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import nn

from diffusion_nbdev.agreeing import (
    check_data, check_same, made_of, weights_for_checkpoint)
from diffusion_nbdev.callbacks import RunningAverage, SaveWeights
from diffusion_nbdev.inputs import checked_batch
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.trainer import (
    GOLDEN, Computing, Evaluated, Trained, check_average, check_training,
    checked_losses, clip_gradients, end_finished, fitting, held_out_times,
    objective_recipe, share_done)
from diffusion_nbdev.unet import PointMLP

units = Units([2])


def model(**more):
    return Model(PointMLP(width=4, **more), cosine_schedule(5), data=units)


def objective(model, x0, c, t, eps): return eps


def hyper(**more):
    usual = dict(lr=1e-3, warmup=0, decay='cosine', drop_class=0., weight_decay=0.)
    return NS(**{**usual, **more})


@pytest.mark.parametrize('name, value', [
    ('lr', 0.), ('warmup', 1.5), ('decay', 'none'), ('drop_class', 2.),
    ('weight_decay', -1.)])
def test_hyperparameters(name, value):
    check_training(model(), objective, hyper())
    with pytest.raises(ValueError, match=name):
        check_training(model(), objective, hyper(**{name: value}))


def test_what_is_trained_and_what_for():
    with pytest.raises(ValueError, match='model is a Linear'):
        check_training(nn.Linear(1, 1), objective, hyper())
    with pytest.raises(ValueError, match='objective = 3'):
        check_training(model(), 3, hyper())
    for wrong in nn.MSELoss(), len, lambda x0, eps: 0:
        with pytest.raises(ValueError, match='must take model, x0, c, t, eps'):
            check_training(model(), wrong, hyper())


def test_an_objective_gives_losses():
    for losses in torch.zeros(3), torch.tensor(0.):
        assert checked_losses(losses, 3) is losses
    for wrong in 0, torch.zeros(3, 2), torch.zeros(2):
        said = r'objective gave .* must be losses \(3,\)'
        with pytest.raises(ValueError, match=said): checked_losses(wrong, 3)


def test_an_average_is_not_taken_for_the_weights():
    averaged, trainer = dict(averaging_state={}), NS(callbacks=[])
    check_average(trainer, {})
    check_average(NS(callbacks=[RunningAverage()]), averaged)
    with pytest.raises(ValueError, match='checkpoint: holds an average'):
        check_average(trainer, averaged)


def test_a_batch_holds_data():
    x0 = torch.zeros(2, 2)
    assert checked_batch(x0, None, 'rows', 'more') == (x0, None, 'rows')
    with pytest.raises(ValueError, match='a batch holds a str'): checked_batch('a')
    # of whole numbers, which nobody has brought into the model's units
    with pytest.raises(ValueError, match='a batch holds torch.uint8'):
        checked_batch(x0.byte())
    c = torch.zeros(2).long()
    assert checked_batch(x0, c)[1] is c
    for wrong in c[:, None], c[:1], ['a', 'b']:
        with pytest.raises(ValueError, match='labels in a batch of 2 are'):
            checked_batch(x0, wrong)


def test_data_in_other_units():
    check_data(model(), NS(units=units))
    check_data(model(), NS())
    with pytest.raises(ValueError, match='data: its std is 2.0, that of .* is 1'):
        check_data(model(), NS(units=Units([2], std=2.)))
    with pytest.raises(ValueError, match='data: its mean is 1.0, that of .* is 0'):
        check_data(model(), NS(units=Units([2], mean=1.)))


def test_names_of_columns_and_classes_may_be_missing():
    kinds = [dict(a='real', b='real'), dict(a='real', c='real'), {}]
    one, other, none = (Units([2], columns=k) for k in kinds)
    for ours, theirs in (one, none), (none, one):
        check_data(NS(net=nn.Identity(), data=ours), NS(units=theirs))
    with pytest.raises(ValueError, match='data: its columns'):
        check_data(NS(net=nn.Identity(), data=one), NS(units=other))
    # a net that takes no labels
    check_data(NS(net=nn.Identity(), data=Units([2], n_classes=2)), NS(units=none))


def test_a_training_goes_on_with_the_same():
    own = made_of(model())
    check_same(own, own)
    check_same(dict(own, prediction=None), own)
    check_same(own, dict(own, net=None))
    said = 'its prediction is eps, that of the model is v'
    with pytest.raises(ValueError, match=said):
        check_same(dict(own, prediction='eps'), own)


def test_what_the_checkpoint_says_comes_first():
    lit = NS(model=model(), hparams=dict(lr=0.1),
             _trainer=NS(callbacks=[], state=NS(fn='fit')))
    with pytest.raises(ValueError, match='its prediction is eps'):
        Trained.on_load_checkpoint(lit, dict(made_of=dict(prediction='eps')))
    Trained.on_load_checkpoint(lit, {})
    # the optimiser's own state would win over another learning rate
    with pytest.raises(ValueError, match='its lr is 0.2, that of the model is 0.1'):
        Trained.on_load_checkpoint(lit, dict(made_of=dict(lr=0.2)))
    # to be measured, it need not be trained alike
    found = dict(made_of=dict(lr=0.2), averaging_state={})
    lit._trainer.state.fn = 'validate'
    Trained.on_load_checkpoint(lit, found)
    lit._trainer = None
    Trained.on_load_checkpoint(lit, found)


def test_weights_are_no_checkpoint():
    weights_for_checkpoint(None)
    with pytest.raises(OSError, match='cannot read last.ckpt: no such file'):
        weights_for_checkpoint('last.ckpt')
    with pytest.raises(ValueError, match='holds weights'):
        weights_for_checkpoint('model.safetensors')


def test_a_finished_training_is_ended_once(monkeypatch):
    ended, saving, average = [], SaveWeights(), RunningAverage()
    for c in saving, average:
        monkeypatch.setattr(c, 'on_train_end', lambda *a, c=c: ended.append(c))
    trainer = NS(callbacks=[average, saving], max_epochs=3,
                 fit_loop=NS(epoch_progress=NS(current=NS(completed=3))))
    end_finished(trainer, None)
    assert ended == []
    saving.start = 1.
    with pytest.warns(UserWarning, match='3 epochs were done, and max_epochs is 3'):
        end_finished(trainer, None)
    assert ended == [saving, average]


def test_callbacks_that_can_be_there():
    own = [LearningRateMonitor(), ModelCheckpoint(), SaveWeights()]
    assert fitting(own, {}) == own
    assert fitting(own, dict(logger=True, enable_checkpointing=True)) == own
    assert fitting(own, dict(logger=False)) == own[1:]
    assert fitting(own, dict(enable_checkpointing=False)) == [own[0], own[2]]


def test_how_an_objective_is_named():
    assert objective_recipe(NS(recipe={'class_path': 'a'})) == {'class_path': 'a'}
    assert objective_recipe(math.sqrt) == 'math.sqrt'
    assert objective_recipe(nn.MSELoss()) == 'torch.nn.modules.loss.MSELoss'


def test_times_of_the_golden_ratio():
    assert GOLDEN == round(2 ** 31 * (5 ** 0.5 - 1))
    i = torch.arange(1000)
    share = (i.double() * (5 ** 0.5 - 1) / 2) % 1
    off = held_out_times(100, i) - (1 + (100 * share).long())
    assert (off != 0).sum() <= 1 # one at a boundary


class Counted(Evaluated):
    def __init__(self):
        super().__init__()
        self.model, self.rows = model(), []
        self.hparams['seed'] = 0
    def _loss(self, x0, c, t, eps):
        self.rows.append((t, eps))
        return x0.mean()


def test_rows_without_numbers_are_counted():
    with pytest.raises(NotImplementedError): Evaluated()._loss(None, None, None, None)
    lit, x = Counted(), torch.arange(10.).reshape(5, 2)
    lit.on_validation_epoch_start()
    for part in x[:3], x[3:]: lit.validation_step(part, 0)
    given = Counted()
    given.on_validation_epoch_start()
    given.validation_step((x, None, torch.arange(5)), 0)
    for k in 0, 1:
        counted = torch.cat([r[k] for r in lit.rows])
        torch.testing.assert_close(counted, given.rows[0][k])
    lit._trainer = given._trainer = NS(world_size=1)
    assert lit._mean() == given._mean() == x.mean()


def test_as_many_samples_as_the_batch_has_rows(monkeypatch):
    asked, lit = [], Counted()
    monkeypatch.setattr(Model, 'generate', lambda self, **k: asked.append(k))
    lit.predict_step(torch.zeros(3, 2), 0)
    lit.predict_step(torch.zeros(3, 2), 1)
    assert [k['num'] for k in asked] == [3, 3] and asked[0]['c'] is None
    assert asked[0]['seed'] != asked[1]['seed']


def test_nothing_is_compiled_unless_it_is_said(): assert not Computing().compile


@pytest.mark.parametrize('most, how, grads', [
    (None, None, [3., 4.]), (0, None, [3., 4.]), (1., None, [0.6, 0.8]),
    (3.5, 'value', [3., 3.5]), (1., 'norm', [0.6, 0.8])])
def test_gradients_are_made_smaller(most, how, grads):
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([[3., 4.]])
    clip_gradients(net, most, how)
    torch.testing.assert_close(net.weight.grad[0], torch.tensor(grads))


def test_the_share_of_a_training():
    def at(fn='fit', steps=8.):
        return share_done(NS(
            state=NS(fn=fn), estimated_stepping_batches=steps, global_step=2))
    assert share_done(None) == at('validate') == 1.
    assert at() == 0.25 and at(steps=0) == 2 and at(steps=math.inf) is None


def test_an_exception_puts_settings_back():
    computing, done = Computing(), []
    computing.set.callback(done.append, 1)
    computing.on_exception(None, None, None)
    assert done == [1]


def test_losses_are_told_to_the_bar_and_to_all_processes(monkeypatch):
    told, lit = [], Counted()
    lit.log = lambda name, value, **k: told.append((name, float(value), k))
    lit._mean = lambda: torch.tensor(0.5)
    lit.on_validation_epoch_end()
    lit.on_test_epoch_end()
    both = dict(prog_bar=True, sync_dist=True)
    assert told == [('val_loss', 0.5, both), ('test_loss', 0.5, both)]
    monkeypatch.setattr('diffusion_nbdev.trainer.logs_now', lambda trainer: True)
    module = NS(trainer=None, log=lit.log)
    assert Trained._told(module, torch.tensor(2., requires_grad=True), 7).requires_grad
    assert told[2:] == [('train_loss', 2., dict(prog_bar=True, batch_size=7))]
    assert not module._last_loss.requires_grad


def test_the_mean_over_two_processes():
    lit, device = Counted(), torch.device('cpu')
    reduce = lambda both, reduce_op: both + torch.tensor([9., 1.]).double()
    lit._trainer = NS(world_size=2, strategy=NS(reduce=reduce))
    lit._sums, lit._seen = [torch.tensor(1.), torch.tensor(2.)], 3
    assert lit.device == device and lit._mean() == (1 + 2 + 9) / (3 + 1)


def test_scaled_gradients():
    for scaler, yes in ('a scaler', True), (None, False):
        plugin = NS(scaler=scaler)
        assert Trained._scaled(NS(trainer=NS(precision_plugin=plugin))) is yes
    assert not Trained._scaled(NS(trainer=NS(precision_plugin=NS())))


def test_lightning_has_them_clipped():
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([[3., 4.]])
    lit = NS(model=NS(net=net))
    Trained.configure_gradient_clipping(lit, None, 3.5, 'value')
    assert net.weight.grad.tolist() == [[3., 3.5]]
