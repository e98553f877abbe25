"The parts of `diffusion sample`: where to, how many, with which net."
from types import SimpleNamespace as NS

import matplotlib.pyplot as plt
import pytest
import torch

from diffusion_nbdev.cli.main import make_parser
from diffusion_nbdev.cli.sample import (
    asked_classes, checked_out, checked_picture, checked_weight, csv_text, drawing,
    figure, how_many, knows_classes, machine, open_model, opened, progress, sample,
    timed)
from diffusion_nbdev.model import Units


def test_where_to(tmp_path):
    for name in 'a.pt', 'new/folder/a.PNG', 'a.csv':
        assert checked_out(tmp_path/name) == tmp_path/name
    assert sorted(p.name for p in tmp_path.iterdir()) == ['new']
    with pytest.raises(ValueError, match="unknown ending '.gif'"):
        checked_out(tmp_path/'a.gif')
    (tmp_path/'b.csv').mkdir()
    with pytest.raises(OSError, match='it is a folder'): checked_out(tmp_path/'b.csv')


def test_unknown_weights_are_answered_by_those_that_draw():
    said = "weights 'swissrol': did you mean 'swissroll'"
    with pytest.raises(ValueError, match=said): opened('swissrol', False)
    with pytest.raises(ValueError) as told: opened('tuning_juge', False)
    assert 'tuning_judge' not in str(told.value)


@pytest.mark.parametrize('wanted', [True, False])
def test_a_net_is_compiled_if_that_is_asked_for(monkeypatch, wanted):
    from diffusion_nbdev import devices
    compiled = []
    monkeypatch.setattr(devices, 'compile_forward',
                        lambda net, training: compiled.append((net, training)))
    model = NS(device=torch.device('cpu'), data=Units([2]), net='net',
               generate=lambda sampler, **how: (sampler, how))
    draw, said = drawing(NS(guide=None, trust=False, precision='32', compile=wanted,
                            batch_size=4, quiet=True, own={'mine.a': len}), model)
    assert compiled == [('net', False)] * wanted and '32' in said
    assert draw('ddim', n=3)[0] == 'ddim' and draw('mine.a')[0] is len
    assert draw('ddim', n=3)[1].items() >= dict(n=3, batch_size=4).items()


def test_threads():
    before = torch.get_num_threads()
    args = NS(weights='swissroll', device='cpu', threads=None, trust=False)
    assert open_model(args).device.type == 'cpu'
    with pytest.raises(ValueError, match='--threads 0'):
        open_model(NS(**{**vars(args), 'threads': 0}))
    open_model(NS(**{**vars(args), 'threads': 1}))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize('quiet, disabled, shown', [
    (False, '', True), (True, '', False), (False, '1', False)])
def test_progress(monkeypatch, quiet, disabled, shown):
    monkeypatch.setenv('TQDM_DISABLE', disabled)
    assert progress(NS(quiet=quiet)) is shown


def test_the_machine_in_words():
    model = NS(device=torch.device('cpu'))
    threads = f'cpu, {torch.get_num_threads()} threads, '
    assert machine(model, '32', False) == threads + 'float32'
    assert machine(model, '32', True) == threads + 'float32, compiled'
    assert machine(NS(device=torch.device('meta')), '32', False) == 'meta, float32'


def test_classes_need_a_net_that_knows_them():
    knows_classes(NS(c='1', w=2., guide=None), NS(n_classes=3))
    none = NS(n_classes=0)
    for c, w, guide in (None, None, None), (None, 2., 'weak'):
        knows_classes(NS(c=c, w=w, guide=guide), none)
    for c, w, said in ('1', None, '--class 1'), (None, 2., '--w 2.0'):
        with pytest.raises(ValueError, match=said):
            knows_classes(NS(c=c, w=w, guide=None), none)


def test_guidance_has_a_direction_and_a_weight():
    for w, c, guide in (None, None, None), (1., '2', None), (1., None, 'weak'):
        checked_weight(NS(w=w, c=c, guide=guide))
    with pytest.raises(ValueError, match='--w 1 needs a class'):
        checked_weight(NS(w=1., c=None, guide=None))
    with pytest.raises(ValueError, match='--guide weak needs a weight'):
        checked_weight(NS(w=None, c='2', guide='weak'))


def test_classes_in_turn():
    assert asked_classes(None, 3, 4) is None
    assert asked_classes('2,0', 3, 5).tolist() == [2, 0, 2, 0, 2]
    assert asked_classes('all', 3, 4).tolist() == [0, 1, 2, 0]
    with pytest.raises(ValueError, match='--class 3: must be from 0 to 2'):
        asked_classes('1,3', 3, 2)


def test_a_figure_is_gone_afterwards():
    before = plt.get_fignums()
    with figure() as ax:
        assert len(plt.get_fignums()) == len(before) + 1
        assert ax.figure.get_size_inches().tolist() == [4, 4]
    assert plt.get_fignums() == before


def test_how_many():
    assert how_many(None, Units([2])) == 1000 and how_many(None, Units([1, 4, 4])) == 64
    assert how_many(1, Units([2])) == 1
    with pytest.raises(ValueError, match='--n 0'): how_many(0, Units([2]))


def test_what_a_picture_can_show(tmp_path):
    out = tmp_path/'a.png'
    for shape in [2], [1, 4, 4], [3, 4, 4]: checked_picture(out, None, Units(shape))
    checked_picture(out, 3, Units([1, 4, 4]))
    for shape in [3], [2, 4, 4]:
        checked_picture(tmp_path/'a.csv', None, Units(shape))
        with pytest.raises(ValueError, match='make no picture'):
            checked_picture(out, None, Units(shape))
    with pytest.raises(ValueError, match='--columns 3'):
        checked_picture(out, 3, Units([2]))


def test_timed():
    x, seconds = timed(lambda a, b: a + b, 1, b=2)
    assert x == 3 and 0 <= seconds < 1


def test_samples_as_a_table(tmp_path):
    x, c = torch.tensor([[0.5, 1.]]), torch.tensor([3])
    units = Units([2], n_classes=4)
    assert csv_text(x, c, units) == 'x0,x1,c\n0.5,1,3\n'
    fine = csv_text(x.double() / 3, None, units)
    assert fine.split('\n')[1].startswith('0.16666666666')
    out = tmp_path/'a.csv'
    line = f'sample swissroll --n 3 --steps 2 --out {out} --quiet --device cpu'
    sample(make_parser('sample').parse_args(line.split()))
    lines = out.read_text().splitlines()
    assert lines[0] == 'x0,x1' and len(lines) == 4
