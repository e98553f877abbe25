"What people hand in, in every form that it comes in: the same numbers, or one line."
import csv
import io
from types import SimpleNamespace as NS

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from torch import nn
from torch.testing import assert_close

from diffusion_nbdev.arrays import as_numbers
from diffusion_nbdev.asking import ask
from diffusion_nbdev.cards import parts_of
from diffusion_nbdev.cli.real import file_rows
from diffusion_nbdev.cli.sample import csv_text
from diffusion_nbdev.data import SeededBatches, TensorData
from diffusion_nbdev.ddpm import diffusion_loss
from diffusion_nbdev.files import read_weights
from diffusion_nbdev.labelling import label_numbers
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.points import FileData, read_file
from diffusion_nbdev.recipes import build, recorded
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.starting import check_net
from diffusion_nbdev.training import LitDiffusion, fit
from diffusion_nbdev.unet import PointMLP

few = settings(max_examples=40, deadline=None)
sched = cosine_schedule(T=20)


def points(n=60): return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


# labels -----------------------------------------------------------------------
WORDS = dict(
    list=list, tuple=tuple, array=np.array, bytes=lambda c: np.array(c, dtype='S'),
    objects=lambda c: np.array(c, dtype=object), column=lambda c: np.array(c)[:, None],
    blanks=lambda c: [f' {word} ' for word in c], series=pd.Series,
    category=lambda c: pd.Series(c).astype('category'))
NUMBERS = dict(
    list=list, array=np.array, tensor=torch.tensor, short=lambda c: np.array(c, 'u1'),
    real=lambda c: np.array(c, float), texts=lambda c: [str(k) for k in c],
    objects=lambda c: np.array(c, dtype=object), column=lambda c: np.array(c)[:, None],
    series=pd.Series, nullable=lambda c: pd.Series(c, dtype='Int64'))


@few
@given(st.lists(st.sampled_from(['ant', 'Bee', 'none', 'c 1']), min_size=3, max_size=9),
       st.sampled_from(sorted(WORDS)))
def test_words_are_the_same_labels_in_any_form(c, form):
    found, names = label_numbers(WORDS[form](c), 'data')
    assert names == sorted(set(c)) and [names[k] for k in found] == c
    data = TensorData(points(len(c)), WORDS[form](c))
    assert data.units.classes == names and data.units.n_classes == len(names)


@few
@given(st.permutations([0, 1, 2, 2, 1]), st.sampled_from(sorted(NUMBERS)))
def test_numbers_are_the_same_labels_in_any_form(c, form):
    data = TensorData(points(5), NUMBERS[form](c))
    assert (data.units.n_classes, data.units.classes) == (3, [])
    seen = [k for part in data._rows.values() for k in part[1].tolist()]
    assert sorted(seen) == sorted(c)


@pytest.mark.parametrize('c, message', [
    (['a', None, 'a'], 'row 1 has no label'),
    (['a', 'a', float('nan')], 'row 2 has no label'),
    (['a', '', 'b'], 'row 1 has no label'), ([0, 1, -1], 'row 2 has -1'),
    ([0, .5, 1], 'row 1 has 0.5'), (np.eye(3), r'one-hot rows: c.argmax\(1\)'),
    (pd.Series([0, 1, 2], [2, 1, 0]), 'labels: their index is not')])
def test_a_row_without_a_label_is_named(c, message):
    x = pd.DataFrame(points(3).numpy(), columns=['a', 'b'])
    with pytest.raises(ValueError, match=message): TensorData(x, c)


def test_labels_that_the_units_do_not_have():
    two = Units([2], n_classes=2)
    with pytest.raises(ValueError, match='labels go up to 2, and the units say n_cl'):
        TensorData(points(3), [0, 1, 2], units=two)
    frame = pd.DataFrame(dict(a=[1., 2, 4], y=[0, 1, 0]))
    with pytest.raises(ValueError, match='labels: y is a column of the data as well'):
        TensorData(frame, frame['y'])


@pytest.mark.parametrize('save', [
    lambda path, x, c: np.savez(path.with_suffix('.npz'), x=x.numpy(), kind=c),
    lambda path, x, c: torch.save(
        dict(x=x.bfloat16(), kind=c), path.with_suffix('.pt'))])
def test_words_as_labels_in_files_of_arrays(save, tmp_path):
    save(tmp_path/'a', points(3), ['b', 'a', 'b'])
    path, = tmp_path.iterdir()
    found = read_file(path, labels='kind')
    assert found.classes == ['a', 'b'] and found.c.tolist() == [1, 0, 1]
    assert_close(found.x, points(3).double(), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match='holds no labels sort, there is x, kind'):
        read_file(path, labels='sort')
    # unasked, words may as well be names of rows
    np.savez(tmp_path/'b.npz', x=points(3), c=['b', 'a', 'b'])
    with pytest.raises(ValueError, match="labels are words: labels='c'"):
        read_file(tmp_path/'b.npz')
    assert read_file(tmp_path/'b.npz', labels='c').classes == ['a', 'b']
    # for a model that knows its classes
    units = Units([2], n_classes=3, classes=['a', 'b', 'c'])
    assert read_file(path, labels='kind', units=units).c.tolist() == [1, 0, 1]


# numbers ----------------------------------------------------------------------
KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
         torch.int16, torch.uint16, torch.uint8, torch.float8_e5m2, '>f4', '>i2', 'u4']


@few
@given(st.sampled_from(KINDS), st.lists(st.integers(0, 7), min_size=6, max_size=6))
def test_numbers_are_the_same_in_any_type(kind, values):
    x = torch.tensor(values).reshape(3, 2)
    typed = x.numpy().astype(kind) if isinstance(kind, str) else x.to(kind)
    assert torch.equal(as_numbers(typed, 'x').long(), x)


@few
@given(st.integers(2 ** 53 - 5, 2 ** 63 - 1), st.booleans())
def test_whole_numbers_beyond_float64(value, text):
    far = value > 2 ** 53
    if text:
        frame = dict(a=[str(value), '1', '0'])
        exact = value == int(float(value))
        if exact: assert read_file(frame).x[0, 0] == value
        else:
            with pytest.raises(ValueError, match='more digits than float64'):
                read_file(frame)
    elif far:
        with pytest.raises(ValueError, match='more than float64 tells apart'):
            TensorData(np.array([[value], [1], [0]]))
    else: assert TensorData(np.array([[value], [1], [0]])).units.shape == [1]


# digits -----------------------------------------------------------------------
@few
@given(st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_samples_have_the_digits_of_the_table(k, named, seed):
    x = np.random.default_rng(seed).normal(5, 2, (30, 2)).round(k)
    rows = [f'{a:.{k}f},{b:.1f}' for a, b in x]
    rows[0] = f'1.{"1" * k},2.5'
    lines = [*['height,weight'] * named, *rows]
    found = TableOf('\n'.join(lines))
    units = found.units
    drawn = units.to_data(torch.randn(50, 2))
    # numbers, and what is written of them
    assert_close(drawn[:, 0], drawn[:, 0].round(decimals=k), rtol=0, atol=0)
    table = list(csv.reader(io.StringIO(csv_text(drawn, None, units))))[1:]
    digits = [max(len(row[i].partition('.')[2]) for row in table) for i in (0, 1)]
    assert digits[0] <= k and digits[1] == 1
    # and the rows themselves come back as they were
    again = units.to_data(units.to_model(found.x))
    assert_close(again.numpy()[1:, 0], x[1:, 0], rtol=0, atol=1e-9)


def TableOf(text):
    import tempfile
    from pathlib import Path
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'a.csv'
        path.write_text(text)
        data = FileData(path)
        return NS(units=data.units, x=read_file(path).x)


def test_a_table_of_words_is_compared_as_the_model_knows_it(tmp_path):
    table = tmp_path/'a.csv'
    table.write_text('\n'.join(f'{k % 7}.5,{"abc"[k % 3]},{"xy"[k % 2]}'
                               for k in range(40)))
    data = FileData(table, labels='3', header=False)
    net = PointMLP(dim=4, width=8, depth=1, n_classes=2)
    model = Model(net, sched, 'v', data.units)
    # fewer words than the model knows, and no header either
    (tmp_path/'b.csv').write_text('1.5,b,y\n2.5,c,x\n0.5,b,y')
    x, c, _ = file_rows(tmp_path/'b.csv', None, model, dict(header=False, labels='3'))
    assert x.tolist() == [[1.5, 0, 1, 0], [2.5, 0, 0, 1], [.5, 0, 1, 0]]
    assert c.tolist() == [1, 0, 1]


# nets -------------------------------------------------------------------------
class Wrong(nn.Module):
    "Answers with another shape that torch would broadcast"
    n_classes = 0

    def __init__(self, shape):
        super().__init__()
        self.a, self.shape = nn.Linear(2, 2), shape

    def forward(self, xt, t, c=None):
        B = len(xt) if self.shape[0] else 1
        out = self.a(xt).mean((0, 1)) + xt.new_zeros(B, *self.shape[1:])
        return out


@few
@given(st.sampled_from([(1, 1), (0, 2), (0, 1), (1, 2, 1), (1, 1, 2)]))
def test_an_answer_of_another_shape_is_never_broadcast(shape):
    net = recorded(type('Wrong', (Wrong,), dict(__init__=Wrong.__init__)))(shape)
    model = Model(net, sched, 'v', Units([2]))
    for asked in (lambda: check_net(model), lambda: ask(net, points(3), 1, None),
                  lambda: diffusion_loss(net, sched, points(3))):
        said = r'returned .* for states of shape \(\d, 2\)'
        with pytest.raises(ValueError, match=said): asked()


@recorded
class Shared(nn.Module):
    "One matrix under two names, made with arguments of any name"
    n_classes = 0

    def __init__(self, dim=2, **more):
        super().__init__()
        self.a = nn.Linear(dim, dim, **more)
        self.b = self.a

    def forward(self, xt, t, c=None): return self.b(self.a(xt))


def test_what_a_net_uses_twice_is_kept_twice(tmp_path):
    net = Shared(bias=False)
    assert net.recipe['init_args'] == dict(dim=2, bias=False)
    assert build(net.recipe).a.bias is None
    model = Model(net, sched, 'v', Units([2]))
    check_net(model)
    path = model.save(tmp_path/'a.safetensors')
    assert sorted(read_weights(path)[0]) == ['a.weight', 'b.weight']
    assert_close(load(path).generate(num=3, n=3), model.eval().generate(num=3, n=3))


@pytest.mark.parametrize('facts, message', [
    (dict(when={1}), 'the card of .* cannot be written: when'),
    (dict(net='mine'), 'net is in the card already')])
def test_facts_that_no_card_holds(facts, message, tmp_path):
    model = Model(Shared(), sched, 'v', Units([2]))
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path/'a.safetensors', **facts)


def test_a_state_that_no_file_holds():
    model = Model(Shared(), sched, 'v', Units([2]))
    model.net.register_buffer('z', torch.ones(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match='net: z of its state is torch.complex64'):
        parts_of(model)


# what generate is given -------------------------------------------------------
def drawing():
    torch.manual_seed(0)
    units = Units([2], [5., 9.], [1., 2.], 3., 3, classes=['cat', 'dog', 'cow'])
    net = PointMLP(dim=2, width=8, depth=1, n_classes=3)
    return Model(net, sched, 'v', units).eval()


FORMS = dict(
    names=['dog', 'cow'], array=np.array(['dog', 'cow']), tuple=('dog', 'cow'),
    objects=np.array(['dog', 'cow'], dtype=object), series=pd.Series(['dog', 'cow']),
    labels=[1, 2], tensor=torch.tensor([1, 2]), range=range(1, 3),
    numbers=np.array([1, 2], 'i2'), mixed=np.array([1, 2], dtype=object))


@pytest.mark.parametrize('form', FORMS)
def test_classes_in_any_form(form):
    model = drawing()
    want = model.generate(num=2, n=2, c=[1, 2])
    assert torch.equal(model.generate(num=2, n=2, c=FORMS[form]), want)


@pytest.mark.parametrize('c', [{0, 1}, ['cat', None], [None, None], 1.5, [[0], [1, 2]]])
def test_what_is_no_class(c):
    with pytest.raises(ValueError, match='class|label'):
        drawing().generate(num=2, n=2, c=c)


def test_data_to_start_from_in_any_form():
    model, x = drawing(), torch.tensor([[5., 9.], [6., 10.]])
    want = model.generate(n=2, x=x, start=5)
    for given_x in x.numpy(), x.tolist(), x.double(), x.long(), pd.DataFrame(x.numpy()):
        assert_close(model.generate(n=2, x=given_x, start=5), want)
    for wrong in x * 100, x * float('nan'), x + 1j, [['a', 'b']]:
        with pytest.raises(ValueError, match='x (is of type|lies) '):
            model.generate(n=2, x=wrong, start=5)


@pytest.mark.parametrize('options, message', [
    (dict(sampler=dict), 'sampler dict: must be'),
    (dict(guide='x', w=1, c=0), 'guide is a str: must be a Model'),
    (dict(sampler=lambda x: x), 'sampler <lambda>: must be a generator function'),
    (dict(interval=5, w=1, c=0), 'interval = 5: must be two times')])
def test_what_generate_does_not_take(options, message):
    with pytest.raises(ValueError, match=message): drawing().generate(**options)


# going on ---------------------------------------------------------------------
@few
@given(st.integers(5, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 40))
def test_rows_of_a_resumed_epoch_are_counted(n, before, after, stop):
    first, rest = SeededBatches(n, before), SeededBatches(n, after)
    done = [row for batch in list(first)[:stop] for row in batch.tolist()]
    if len(done) == n: return
    rest.start = len(done)
    todo = [row for batch in rest for row in batch.tolist()]
    assert sorted(done + todo) == list(range(n))


def training(folder, data=None, model=None, **options):
    data = data or TensorData(points(), batch_size=16)
    torch.manual_seed(0)
    net = PointMLP(dim=2, width=8, depth=1, n_classes=data.units.n_classes)
    lit = LitDiffusion(model or Model(net, sched, 'v', data.units),
                       **options.pop('lit', dict(warmup=1)))
    usual = dict(pictures=0, progress=False, max_epochs=2)
    return fit(lit, data, folder, **{**usual, **options})


def test_a_training_goes_on_with_batches_of_another_size(tmp_path):
    # 48 rows: an epoch, and two of three batches of the next
    stopped = training(tmp_path, max_epochs=None, max_steps=5, checkpoint_steps=1)
    last = f'{stopped.log_dir}/checkpoints/last.ckpt'
    units = TensorData(points()).units

    def other(n=60, **options):
        return TensorData(points(n), units=units, **{'batch_size': 16, **options})

    on = training(tmp_path, other(batch_size=8), resume=last, max_epochs=3)
    assert on.global_step == 5 + 2 + 6
    for wrong, message in [
        (dict(data=other(seed=1)), 'its seed of the data is 0, here it is 1'),
        (dict(data=other(40)), 'its number of training rows is 48, here it is 32'),
        (dict(lit=dict(lr=0.1, warmup=1)), 'its lr is 0.001, that of the model is 0.1'),
        (dict(ema=None), 'holds an average of the weights'),
    ]:
        with pytest.raises(ValueError, match=message):
            training(tmp_path, resume=last, **wrong)
    for path, message in [(tmp_path, 'it is a folder'), (__file__, 'not a whole'),
                          ('no.ckpt', 'no such file')]:
        with pytest.raises(OSError, match=message): training(tmp_path, resume=path)


def test_callbacks_and_folders_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    own = ModelCheckpoint(monitor='val_loss', filename='mine')
    done = training('~/runs', callbacks=own, max_epochs=1)
    kept = tmp_path/'runs/model/version_0'
    assert done.log_dir == str(kept) and (kept/'model.safetensors').is_file()
    assert {p.name for p in (kept/'checkpoints').iterdir()} >= {
        'best.ckpt', 'last.ckpt', 'mine.ckpt'}
    for options, kind, message in [
        (dict(callbacks='x'), ValueError, "callbacks: 'x' is none"),
        (dict(callbacks=[Timer(), 3]), ValueError, 'callbacks: 3 is none'),
        (dict(limit_train_batches=.01), ValueError, 'trainer: You requested to check'),
        (dict(gradient_clip_algorithm='x'), ValueError, 'trainer: `gradient_clip'),
        (dict(precision=64), ValueError, 'precision = 64: must be 32'),
        (dict(folder=__file__), OSError, f'cannot write {__file__}'),
    ]:
        folder = options.pop('folder', tmp_path/'other')
        with pytest.raises(kind, match=message): training(folder, **options)
    assert training(tmp_path/'none', max_steps=0, callbacks=None).global_step == 0
