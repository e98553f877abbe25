"`evaluate` on runs of one's own, and `judge`: good is told from bad."
import contextlib
import io
import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_nbdev.cli.evaluate import copied_rows, measure_of, rows_judge
from diffusion_nbdev.cli.judge import (
    checked_pictures, labels_of, opened_judge, own_judge, picture_parts,
    pictures_judged, upright)
from diffusion_nbdev.cli.main import main
from diffusion_nbdev.cli.real import Real
from diffusion_nbdev.data import TensorData
from diffusion_nbdev.judge import load_extractor
from diffusion_nbdev.model import Model, Units, unit_images
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.unet import PointMLP, UNet

CONFIG = '''
model:
  net:
    class_path: diffusion_nbdev.unet.PointMLP
    init_args: {dim: 3, width: 16, depth: 1, n_classes: 2}
  sched: {class_path: diffusion_nbdev.schedules.cosine_schedule, init_args: {T: 20}}
  pred: v
data:
  class_path: diffusion_nbdev.points.FileData
  init_args: {path: pets.csv, labels: kind, held_out: 0.2}
ema: null
pictures: 0
trainer: {max_epochs: 1, enable_progress_bar: false}
'''


def typed(folder, line):
    "What is printed, what is said, and the exit code"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with contextlib.chdir(folder):
            code = main(line.split())
    return out.getvalue(), err.getvalue(), code


def scores(folder, line):
    out, err, code = typed(folder, line)
    assert code == 0, err
    return json.loads(out)


def one_line(folder, line, message):
    out, err, code = typed(folder, line)
    assert code == 2 and out == '' and message in err, err
    assert err.startswith('diffusion: ') and err.count('\n') == 1, err

# -- tables -------------------------------------------------------------------


def pets(n, seed=0):
    "Age, pay and share of n cats and dogs: columns of different sizes, two related"
    rng = np.random.default_rng(seed)
    c = np.arange(n) % 2
    age = 40 + 15 * rng.normal(size=n) + 20 * c
    pay = 900 * age + 5000 * rng.normal(size=n)
    return np.stack([age, pay, rng.normal(size=n) / 10], 1), c


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "A folder with a table of pets, and a run that was trained on it"
    folder = tmp_path_factory.mktemp('pets')
    x, c = pets(600)
    kinds = np.array(['cat', 'dog'])
    lines = [f'{a:.3f},{b:.1f},{s:.5f},{kinds[k]}' for (a, b, s), k in zip(x, c)]
    (folder/'pets.csv').write_text('age,pay,share,kind\n' + '\n'.join(lines))
    (folder/'c.yaml').write_text(CONFIG)
    out, err, code = typed(folder, 'fit --config c.yaml')
    assert code == 0, err
    # the command that it prints
    line = next(line for line in out.splitlines() if 'diffusion evaluate' in line)
    (folder/'line').write_text(line.strip().removeprefix('diffusion '))
    return folder


def test_the_command_that_fit_prints_works(run):
    found = scores(run, (run/'line').read_text() + ' --seeds 1 --pairs 2')
    assert found['data'].startswith('240 rows of run/c/version_0/config.yaml')
    assert found['n'] == 120 and found['calls'] == 20 and 'warning' not in found
    # a net of one epoch is bad, and every number says so
    assert found['excess'] > found['floor'] ** 2
    assert found['two_sample']['value'] > found['two_sample']['floor'] + 0.1
    # and bad samples are no copies
    copies = found['copies']
    assert copies['n'] == 240 and copies['num'] == 120 and copies['p'] > 0.01
    assert set(found['classes']) == {'cat', 'dog'}
    assert found['classes']['dog']['mean_shift']['column'] in ('age', 'pay', 'share')


def test_files_with_labels_and_classes_by_name(run):
    x, c = pets(200, seed=1)
    names = np.array(['cat', 'dog'])[c]
    rows = '\n'.join(f'{a},{b},{s},{k}' for (a, b, s), k in zip(x, names))
    (run/'other.csv').write_text('age,pay,share,kind\n' + rows)
    np.savez(run/'other.npz', x=x, c=c)
    line = 'evaluate run/c --steps 2 --seeds 1 --pairs 1 --data'
    table, arrays = (scores(run, f'{line} other.{e}') for e in ('csv', 'npz'))
    assert table['n'] == arrays['n'] == 100
    assert table['value'] == pytest.approx(arrays['value'], rel=1e-6)
    dogs = scores(run, f'{line} other.csv --class dog')
    assert dogs['n'] == 50 and set(dogs['classes']) == {'dog'}


def judged(generate, classes=('cat', 'dog'), **more):
    "What `evaluate` says of a generator of pets, by classes or of all of them alone"
    x, c = (torch.from_numpy(v) for v in pets(2000, seed=2))
    units = Units([3], n_classes=len(classes), classes=[*classes],
                  columns=dict(age='real', pay='real', share='real'))
    net = PointMLP(dim=3, width=8, n_classes=len(classes))
    model = Model(net, cosine_schedule(10), data=units)
    real = Real(x, c if classes else None, 'pets', list(units.columns), units.classes)
    asked = Namespace(n=300, metric=None, pairs=2, seeds=1, seed=0, c=None, **more)
    judge, _ = rows_judge(asked, model, real)
    if classes: return judge(generate)
    return judge(lambda n, seed, _: generate(n, seed, torch.arange(n) % 2))


def fresh(n, seed, c):
    x, kinds = pets(2 * n, seed=100 + seed)
    # of the classes that are asked for
    pools = [list(x[kinds == k]) for k in (0, 1)]
    return torch.from_numpy(np.array([pools[k].pop() for k in c.tolist()]))


def test_good_samples_are_as_good_as_real_rows():
    found = judged(fresh)
    assert found['units'] == 'standard deviations of the columns'
    assert found['excess'] < found['floor'] ** 2 and found['mean_shift']['value'] < 0.2
    assert 0.8 < found['std_ratio']['value'] < 1.25
    assert abs(found['two_sample']['value'] - 0.5) < 0.08
    assert found['nearest_row']['value'] > 0.7 * found['nearest_row']['floor']


def spoilt(change, **classes):
    def generate(n, seed, c):
        return change(fresh(n, seed, c), c)
    return judged(generate, **classes)


def test_each_fault_is_told_by_its_number():
    def loose(x, c):
        x = x.clone()
        for k in (0, 1):
            here = (c == k).nonzero()[:, 0]
            x[here, 1] = x[here[torch.randperm(len(here))], 1]
        return x
    def narrow(x, c):
        centre = torch.tensor([[0, 0, x[:, 2].mean()]])
        return centre + (x - centre) * torch.tensor([1, 1, 0.5])

    wrong = spoilt(loose, classes=())
    assert wrong['correlation_gap']['value'] > 3 * wrong['correlation_gap']['floor']
    assert wrong['two_sample']['value'] > 0.7 > 0.2 > wrong['mean_shift']['value']
    wrong = spoilt(narrow, classes=())
    assert wrong['std_ratio'] == dict(wrong['std_ratio'], column='share')
    assert wrong['std_ratio']['value'] < 0.6
    wrong = spoilt(lambda x, c: x + torch.tensor([0, 1e4, 0]), classes=())
    assert wrong['mean_shift']['column'] == 'pay' and wrong['mean_shift']['value'] > 0.4
    # one class only: the other is as it should be
    wrong = spoilt(lambda x, c: x + (c == 1)[:, None] * torch.tensor([30., 0, 0]))
    shift = {k: v['mean_shift']['value'] for k, v in wrong['classes'].items()}
    assert shift['dog'] > 1.5 > 0.3 > shift['cat']


def test_rows_by_heart_are_told():
    x, c = (torch.from_numpy(v) for v in pets(2000, seed=2))
    def copies(n, seed, asked):
        return torch.stack([x[c == k][i % 500] for i, k in enumerate(asked)])
    found = judged(copies, classes=())
    assert found['nearest_row']['value'] < 0.9 * found['nearest_row']['floor']


def test_recited_rows_of_the_training_are_told():
    x, c = (torch.from_numpy(v) for v in pets(2000, seed=2))
    train = torch.from_numpy(pets(500, seed=3)[0])
    real = Real(x, c, 'pets', train=train)
    scale = measure_of(real)[0]
    recited = copied_rows([train[:200], train[200:]], real, scale)['copies']
    assert recited['share'] == pytest.approx(1) and recited['p'] < 0.01
    assert recited['n'] == 500 and recited['num'] == 500
    own = copied_rows([torch.from_numpy(pets(500, seed=4)[0])], real, scale)['copies']
    assert abs(own['share'] - 0.5) < 4 * own['std']
    assert copied_rows([train], real.only({0}), scale) == {}


def test_few_rows_of_a_run_are_joined_by_training_rows_and_this_is_said(run):
    line = f'evaluate run/c --steps 1 --seeds 1 --pairs 1 --n 20 --data few.yaml'
    text = (run/'c.yaml').read_text().replace('0.2', '0.1')
    (run/'few.yaml').write_text(text)
    out, err, code = typed(run, line)
    assert code == 0 and '120 of 600 rows were held out, too few to judge by' in err
    assert 'training' in json.loads(out)['data']
    assert 'too few' in json.loads(out)['warning']


@pytest.mark.parametrize('line, message', [
    ('run/c --n 121', 'at most 120'),
    ('run/c --plot a.jpg', '--plot a.jpg: must end in .png'),
    ('run/c --data nowhere.csv', 'cannot read nowhere.csv'),
    ('run/c --data .', 'is a folder of pictures, samples have shape [3]'),
    ('run/c --data thin.csv', 'thin.csv'),
    ('run/c --data strange.csv', 'strange.csv'),
    ('run/c --data thin.csv --labels sort', 'sort'),
    ('run/c --judge nowhere.safetensors', 'cannot read nowhere.safetensors'),
    ('run/c --class cow', '--class cow: must be one of cat, dog'),
])
def test_a_mistake_is_one_line(run, line, message):
    (run/'thin.csv').write_text('age,kind\n' + '1,cat\n2,dog\n' * 9)
    (run/'strange.csv').write_text('age,pay,share,kind\n' + '1,2,.1,cow\n'
                                   '2,1,.2,dog\n' * 9)
    one_line(run, f'evaluate {line} --steps 1', message)


def test_a_table_that_has_moved_is_named(run):
    (run/'pets.csv').rename(run/'gone.csv')
    one_line(run, 'evaluate run/c --steps 1', 'pets.csv')
    (run/'gone.csv').rename(run/'pets.csv')

# -- pictures -----------------------------------------------------------------


def bars(n, side=12, seed=0):
    "Lying (0) and standing (1) bars in any colour, bytes (n, side, side, 3)"
    rng = np.random.default_rng(seed)
    x, c = np.full((n, side, side, 3), 255, np.uint8), np.arange(n) % 2
    for k in range(n):
        at = rng.integers(2, side - 4)
        x[k, at:at + 3, 1:-1] = rng.integers(0, 180, 3)
        if c[k]:
            x[k] = x[k].transpose(1, 0, 2).copy()
    return x, c


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "A folder with pictures of two classes and their judge"
    folder = tmp_path_factory.mktemp('bars')
    for k, (x, c) in enumerate(zip(*bars(160))):
        kind = folder/'bars'/('standing' if c else 'lying')
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(kind/f'{k}.png')
    line = 'judge --data bars --out j.safetensors --side 12 --held-out 0.25 --steps 60'
    out, err, code = typed(folder, f'{line} --quiet')
    assert code == 0, err
    return folder


def picture_model(classes=('lying', 'standing'), shape=(3, 12, 12)):
    net = UNet(in_channels=shape[0], channels=[8], n_classes=2)
    return Model(net, cosine_schedule(10), data=unit_images(shape, classes=classes))


def seen(folder, generate, **given):
    asked = dict(judge=str(folder/'j.safetensors'), data=None, n=None, seeds=2, seed=0,
                 c=None, **given)
    judge, _ = own_judge(Namespace(**asked), picture_model())
    return judge(generate)


def drawn(n, seed, c):
    x, own = (torch.from_numpy(v) for v in bars(4 * n, seed=50 + seed))
    x = x.permute(0, 3, 1, 2) / 255
    return torch.stack([x[own == k][i] for i, k in enumerate(c.tolist())])


def test_a_judge_reads_what_is_asked_for(pictures):
    good = seen(pictures, drawn)
    swapped = seen(pictures, lambda n, seed, c: drawn(n, seed, 1 - c))
    assert good['accuracy'] > 0.95 and good['accuracy_real'] > 0.95
    assert swapped['accuracy'] < 0.05 and swapped['class_shares'] == pytest.approx(
        dict(lying=0.5, standing=0.5), abs=0.35)
    assert good['sets'] == 2 and good['n'] == 10 and good['draws'] == 4
    assert set(good['accuracy_by_class']) == {'lying', 'standing'}
    noise = seen(pictures, lambda n, seed, c: torch.rand(n, 3, 12, 12))
    assert noise['frechet_excess'] > 5 * good['frechet']
    assert noise['frechet_excess'] > 5 * noise['frechet_excess_se']
    assert good['frechet_excess'] < 4 * good['frechet_excess_se']
    assert noise['precision'] < 0.1 < 0.5 < good['precision']


def test_evaluate_takes_the_judge(pictures):
    picture_model().save(pictures/'m.safetensors')
    line = 'evaluate m.safetensors --judge j.safetensors --steps 1 --n 20 --seeds 1'
    found = scores(pictures, f'{line} --plot figures.png')
    assert (pictures/'figures.png').stat().st_size > 2000
    assert found['n'] == 20 and 0 <= found['accuracy'] <= 1
    assert found['frechet'] > found['frechet_floor']
    card = scores(pictures, 'card j.safetensors')
    assert card['data']['classes'] == ['lying', 'standing']
    assert card['metrics']['accuracy'] > 0.95 and card['metrics']['n'] == 80


def test_pixels_alone_come_with_a_warning(pictures):
    picture_model().save(pictures/'m.safetensors')
    line = 'evaluate m.safetensors --data bars --steps 1 --n 20 --seeds 1 --pairs 1'
    found = scores(pictures, line)
    assert 'pixels say little' in found['note'] and found['value'] > found['floor']


def test_a_judge_of_a_file_of_any_channels(pictures):
    rng = np.random.default_rng(0)
    c = np.arange(80) % 2
    x = rng.integers(0, 60, (80, 2, 8, 10)) + 150 * c[:, None, None, None]
    np.savez(pictures/'two.npz', x=x.astype(np.uint8), c=c)
    out, err, code = typed(pictures, 'judge --data two.npz --out two.safetensors '
                                     '--held-out 0.25 --steps 30 --quiet')
    assert code == 0 and out.startswith('2 classes, 100.0% of 40'), err


@pytest.mark.parametrize('line, message', [
    ('judge --data nowhere --quiet', 'nowhere: is not a folder'),
    ('judge --data bars --out j.pt', '--out j.pt: must end in .safetensors'),
    ('judge --data bars --channels 2', 'channels = 2: must be'),
    ('judge --data bars --steps 0 --side 12', 'steps'),
    ('evaluate m.safetensors', 'no real data is known'),
    ('evaluate m.safetensors --judge j.safetensors --n 3',
     '--n 3: must be from 10 to 40'),
    ('evaluate m.safetensors --judge j.safetensors --data bars', 'leave it out'),
    ('evaluate wide.safetensors --judge j.safetensors', 'judges pictures of shape'),
    ('evaluate cats.safetensors --judge j.safetensors',
     'its classes are lying, standing'),
    ('evaluate m.safetensors --judge m.safetensors', 'not an extractor'),
])
def test_a_mistake_about_pictures_is_one_line(pictures, line, message):
    picture_model().save(pictures/'m.safetensors')
    picture_model(shape=(3, 8, 8)).save(pictures/'wide.safetensors')
    picture_model(('cat', 'dog')).save(pictures/'cats.safetensors')
    one_line(pictures, line, message)


@pytest.mark.parametrize('off', [-0.0015, 1.0015])
def test_pictures_are_in_0_to_1_but_for_rounding(off):
    x = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    x[0, 0, 0, 0] = -0.001 if off < 0 else 1.001
    checked_pictures(x, 'here')
    x[0, 0, 0, 0] = off
    with pytest.raises(ValueError, match='here: pictures go from'):
        checked_pictures(x, 'here')


def test_a_class_without_a_training_picture_is_said():
    x, c = torch.rand(30, 1, 8, 8), torch.arange(30) % 3
    data = TensorData(x, c)
    rows, labels = data._rows['train']
    data._rows['train'] = rows[labels != 1], labels[labels != 1]
    with pytest.raises(ValueError, match='of 3 classes 2 are in the training pictures'):
        picture_parts(data, 'here')


def test_pictures_that_were_turned_are_no_reference():
    x, c = torch.rand(8, 1, 2, 2), torch.arange(8) % 4
    found, labels = upright(x, c, True)
    assert torch.equal(found, x[::4]) and labels.tolist() == [0, 0]


def test_the_shipped_judge_is_of_digits():
    model = Model(UNet(channels=[8], n_classes=10), cosine_schedule(10),
                  data=unit_images((1, 28, 28), n_classes=10))
    assert opened_judge('reporting_judge', model).test.shape[1] == 64


def test_labels_are_those_asked_for_or_those_of_real_pictures():
    model, real = picture_model(), torch.tensor([1, 1, 1])
    assert labels_of(Namespace(c=None), model, real, 4, 0).tolist() == [1] * 4
    assert labels_of(Namespace(c='0'), model, real, 4, 0).tolist() == [0] * 4
    assert labels_of(Namespace(c=None), model, None, 4, 0).tolist() == [0, 1, 0, 1]


def test_samples_are_cut_to_what_pictures_are(pictures):
    good = seen(pictures, drawn)
    bright = seen(pictures, lambda n, seed, c: 3 * drawn(n, seed, c) - 1)
    cut = seen(pictures, lambda n, seed, c: (3 * drawn(n, seed, c) - 1).clamp(0, 1))
    assert bright == cut != good


def test_a_judge_of_quarter_turns_says_nothing_of_classes(pictures):
    ex = load_extractor(pictures/'j.safetensors')
    sets = [torch.rand(12, 3, 12, 12) for _ in range(2)]
    found = pictures_judged(ex, sets, None, [], 0)
    assert found['sets'] == 2 and 'class_shares' not in found
