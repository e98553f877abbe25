"Tables as programs write them: the right values, or one line that names the row."
import csv
import io
import string
import tempfile
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, assume, given, settings, strategies as st
from torch.testing import assert_close

from diffusion_nbdev.cells import kind
from diffusion_nbdev.cli.main import main
from diffusion_nbdev.encoding import DISGUISED
from diffusion_nbdev.data import TensorData
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.points import FileData, read_file
from diffusion_nbdev.schedules import cosine_schedule
from diffusion_nbdev.training import LitDiffusion, fit
from diffusion_nbdev.unet import PointMLP

# what a table says in plain ASCII, and what needs quotation marks or an encoding
LETTERS = st.text(string.ascii_letters + ' ,;|"\'-éß量', min_size=1, max_size=8)
WORDS = LETTERS.map(str.strip).filter(
    lambda w: kind(w) == 'word' and not DISGUISED.match(w))
REALS = st.decimals(-1000, 1000, places=2).map(lambda v: f'{v:f}').filter(
    lambda v: not v.endswith('.00'))
WHOLES = st.integers(-50, 50).map(str)
CELLS = dict(real=REALS, whole=WHOLES,
             words=st.sampled_from(['red', 'dark, blue', 'grün']))


def family(n):
    "n inputs, and no search for the smallest that fails"
    return settings(max_examples=n, deadline=None, phases=[Phase.reuse, Phase.generate])


@st.composite
def tables(draw):
    "Columns by name, as cells; the kind of each"
    n = draw(st.integers(4, 12))
    names = draw(st.lists(WORDS, min_size=2, max_size=5, unique=True))
    # a column of numbers tells a header from a row
    more, any_kind = len(names) - 1, st.sampled_from(list(CELLS))
    kinds = ['real', *draw(st.lists(any_kind, min_size=more, max_size=more))]
    columns = {name: draw(st.lists(CELLS[what], min_size=n, max_size=n))
               for name, what in zip(names, kinds)}
    return columns, dict(zip(names, kinds))


@st.composite
def dialects(draw):
    "How a program writes a table"
    separator = draw(st.sampled_from(',;\t|'))
    return dict(
        separator=separator,
        decimal=draw(st.sampled_from('.,' if separator == ';' else '.')),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        end=draw(st.sampled_from(['\n', '\r\n'])),
        codec=draw(st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16'])),
        index=draw(st.sampled_from(['', 'pandas', 'R'])),
        above=draw(st.sampled_from(['', '# made by an instrument\n', '\n\n'])),
        stated=draw(st.booleans()), ending=draw(st.sampled_from(['csv', 'CSV', 'txt'])))


def write(folder, columns, d, header=True):
    "A table in a dialect, and the line of each row"
    out = io.StringIO()
    rows = csv.writer(out, delimiter=d['separator'], quoting=d['quoting'],
                      lineterminator=d['end'])
    names = list(columns)
    if header: rows.writerow(['', *names] if d['index'] == 'pandas' else names)
    for k, row in enumerate(zip(*columns.values())):
        if d['decimal'] == ',':
            row = [v.replace('.', ',') if kind(v) == 'number' else v for v in row]
        rows.writerow([str(k), *row] if d['index'] else row)
    top = d['above'] + f'sep={d["separator"]}\n' * d['stated']
    path = Path(folder)/f't.{d["ending"]}'
    path.write_bytes((top + out.getvalue()).encode(d['codec']))
    first = top.count('\n') + 1 + header
    return path, range(first, first + len(next(iter(columns.values()))))


def coordinates(columns, kinds):
    "What a net should be told of a table, written down once more"
    out = []
    for name, cells in columns.items():
        if kinds[name] == 'words':
            for word in sorted(set(cells)):
                out.append([float(cell == word) for cell in cells])
        else: out.append([float(cell) for cell in cells])
    return torch.tensor(out, dtype=torch.float64).T


def quietly(f, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f(*args, **options)


@family(150)
@given(tables(), dialects())
def test_any_dialect_gives_the_same_table(table, d):
    columns, kinds = table
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write(folder, columns, d)
        found = quietly(read_file, path)
    assert list(found.columns) == list(columns)
    assert_close(found.x, coordinates(columns, kinds))
    for name, cells in columns.items():
        if kinds[name] == 'words': assert found.columns[name] == sorted(set(cells))
        if kinds[name] == 'whole': assert found.columns[name] == 'whole'


@family(60)
@given(tables(), dialects())
def test_without_names_no_row_vanishes(table, d):
    columns, kinds = table
    d = {**d, 'index': ''}
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write(folder, columns, d, header=False)
        found = quietly(read_file, path, header=False)
        assert_close(found.x, coordinates(columns, kinds))
        try: found = quietly(read_file, path)
        except ValueError as e:
            assert 'say header=True' in str(e)
        else: assert_close(found.x, coordinates(columns, kinds))


@family(100)
@given(tables(), dialects(), st.data())
def test_one_wrong_cell_is_named_by_its_line(table, d, data):
    columns, kinds = table
    name = data.draw(st.sampled_from(list(columns)))
    k = data.draw(st.integers(0, len(columns[name]) - 1))
    bad = {'real': ['', 'n/a', 'NaN', 'x', '1.2.3', 'inf', '12 kg'],
           'words': ['', 'n/a', '1,000', '7', '2024-05-01']}
    what = 'words' if kinds[name] == 'words' else 'real'
    cell = data.draw(st.sampled_from(bad[what]))
    columns = {**columns, name: [*columns[name]]}
    columns[name][k] = cell
    with tempfile.TemporaryDirectory() as folder:
        path, lines = write(folder, columns, d)
        with pytest.raises(ValueError) as e: quietly(read_file, path)
    message = str(e.value)
    assert '\n' not in message
    assert f'line {lines[k]}, column {name}: ' in message, message


@family(60)
@given(tables(), dialects(), st.data())
def test_a_line_with_a_cell_too_few_or_too_many_is_named(table, d, data):
    columns, kinds = table
    with tempfile.TemporaryDirectory() as folder:
        path, lines = write(folder, columns, {**d, 'quoting': csv.QUOTE_ALL})
        rows = path.read_bytes().decode(d['codec']).split('\n')
        line = data.draw(st.sampled_from(lines))
        row = rows[line - 1].rstrip('\r')
        longer, shorter = row + d['separator'] + '"1"', row[:row.rindex(d['separator'])]
        rows[line - 1] = data.draw(st.sampled_from([longer, shorter]))
        # a row that is cut within a word has a mark that does not close
        assume(rows[line - 1].count('"') % 2 == 0)
        path.write_bytes('\n'.join(rows).encode(d['codec']))
        with pytest.raises(ValueError, match=f'line {line}: has [0-9]+ cells, others'):
            quietly(read_file, path)


LABELS = dict(
    whole=(st.integers(0, 2).map(str), None),
    word=(st.sampled_from(['star', 'disk, far']), None),
    fraction=(REALS, 'whole numbers from 0, or words'),
    negative=(st.just('-1'), 'whole numbers from 0, or words'))


@family(100)
@given(tables(), dialects(), st.sampled_from(list(LABELS)), st.data())
def test_labels_are_whole_or_words_or_refused(table, d, what, data):
    columns, kinds = table
    cells, refused = LABELS[what]
    n = len(next(iter(columns.values())))
    own = data.draw(st.lists(cells, min_size=n, max_size=n))
    assume('sort' not in columns)
    with tempfile.TemporaryDirectory() as folder:
        path, _ = write(folder, {**columns, 'sort': own}, d)
        if refused:
            with pytest.raises(ValueError, match=refused):
                quietly(read_file, path, 'sort')
            return
        found = quietly(read_file, path, 'sort')
    assert_close(found.x, coordinates(columns, kinds))
    assert found.label == 'sort'
    if what == 'whole': assert found.c.tolist() == [int(v) for v in own]
    else: assert [found.classes[k] for k in found.c] == own


@family(40)
@given(tables(), st.data())
def test_a_table_comes_back_from_its_units(table, data):
    columns, kinds = table
    n = len(next(iter(columns.values())))
    own = data.draw(st.lists(st.sampled_from(['star', 'disk']), min_size=n, max_size=n))
    assume('sort' not in columns)
    frame = {**{name: cells if kinds[name] == 'words' else [float(v) for v in cells]
                for name, cells in columns.items()}, 'sort': own}
    data = quietly(FileData, frame, labels='sort')
    found = quietly(read_file, frame, labels='sort')
    # as a net would see it, with what it may leave of whole numbers and words
    x = data.units.to_data(data.units.to_model(found.x))
    back = data.units.table(x, found.c)
    assert list(back) == list(frame)
    for name, cells in frame.items():
        if kinds.get(name) != 'real': assert back[name] == cells
        else: assert_close(back[name], cells, rtol=1e-9, atol=1e-9)
    again = quietly(read_file, back, labels='sort', units=data.units)
    assert_close(again.x, found.x)
    assert again.c.tolist() == found.c.tolist()


TABLE = dict(
    size=[round(0.37 * k % 5 + 0.1, 2) for k in range(40)],
    rooms=[k % 7 for k in range(40)],
    town=[('Ulm', 'Bonn, west', 'Köln')[k % 3] for k in range(40)],
    new=[k % 5 == 0 for k in range(40)],
    sort=[('star', 'disk, far')[k % 2] for k in range(40)])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A few steps on a table with words, whole numbers and named classes; its file"
    folder = tmp_path_factory.mktemp('trained')
    with open(folder/'t.csv', 'w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(TABLE)
        rows.writerows(zip(*TABLE.values()))
    data = FileData(folder/'t.csv', labels='sort')
    net = PointMLP(data.units.shape[0], 16, 1, data.units.n_classes)
    lit = LitDiffusion(Model(net, cosine_schedule(50), 'v', data.units))
    fit(lit, data, folder=folder, max_steps=3, progress=False)
    return data, lit.model, lit.model.save(folder/'m.safetensors')


def test_names_travel_with_the_weights(trained):
    data, model, path = trained
    again = load(path)
    assert again.data == data.units
    assert again.data.columns == dict(size='real', rooms='whole', new=['False', 'True'],
                                      town=['Bonn, west', 'Köln', 'Ulm'])
    assert again.data.classes == ['disk, far', 'star'] and again.data.label == 'sort'
    # files of models whose data has no names say nothing of them, as before
    assert load('swissroll').data.columns == {}
    assert load('mnist_cond').data.classes == []
    plain = Model(model.net, model.sched, 'v', Units(model.data.shape, n_classes=2))
    assert set(load(plain.save(path.with_name('p.safetensors'))).card['data']) == {
        'shape', 'mean', 'std', 'clip', 'n_classes', 'name'}


def test_classes_go_by_name(trained):
    _, model, _ = trained
    draw = partial(model.generate, n=3, num=4, seed=1)
    assert draw(c='star').equal(draw(c=1))
    assert draw(c=['star', 'disk, far'] * 2).equal(draw(c=[1, 0, 1, 0]))
    state, t = torch.randn(4, model.data.shape[0]), 20
    assert model.denoiser('star')(state, t).equal(model.denoiser(1)(state, t))
    with pytest.raises(ValueError, match="unknown class 'sta': did you mean 'star'"):
        draw(c='sta')


def test_the_shell_writes_the_table_that_went_in(trained, capsys):
    data, model, path = trained
    out = path.with_name('drawn.csv')
    assert main(['sample', str(path), '--class', 'star', '--n', '9', '--steps', '3',
                 '--out', str(out)]) == 0
    with open(out, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['size', 'rooms', 'town', 'new', 'sort'] and len(rows) == 9
    for row in rows:
        assert row['sort'] == 'star' and row['new'] in ('True', 'False')
        assert row['town'] in TABLE['town'] and str(int(row['rooms'])) == row['rooms']
    # what was drawn can be learnt from, or compared, in the units of the model
    found = read_file(out, labels='sort', units=data.units)
    assert_close(found.x.float(), model.generate(n=3, num=9, c=1), rtol=1e-5, atol=1e-5)
    assert main(['sample', str(path), '--class', 'sta', '--out', str(out)]) == 2
    assert '--class sta: must be one of disk, far, star' in capsys.readouterr().err


def test_a_data_frame_is_its_table():
    pandas = pytest.importorskip('pandas')
    frame = pandas.DataFrame(TABLE)
    want, found = read_file(TABLE, 'sort'), read_file(frame, 'sort')
    assert found.x.equal(want.x) and found.known == want.known
    apart = TensorData(frame.drop(columns='sort'), frame['sort']).units
    assert apart == FileData(frame, labels='sort').units
    frame['code'] = pandas.Categorical([7, 12] * 20)
    assert read_file(frame, 'sort').columns['code'] == ['12', '7']
    frame['code'] = pandas.array([None, *range(39)], dtype='Int64')
    frame.index = [f'r{k}' for k in range(40)]
    with pytest.raises(ValueError, match='row r0, column code: a value is missing'):
        read_file(frame, 'sort')


def test_labels_that_are_never_used_are_not_drawn():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        table = {'a': [k / 7 for k in range(30)], 'c': [1, 2, 4] * 10}
        units = FileData(table, 'c').units
    assert 'no row has the label 0, 3' in str(said[0].message)
    assert units.n_classes == 5 and units.classes == ['', '1', '2', '', '4']
    model = Model(PointMLP(1, 8, 1, 5), cosine_schedule(50), 'v', units)
    with pytest.raises(ValueError, match='label c = 3: no row of the data had it'):
        model.generate(c=3)
    assert model.generate(n=2, num=2, c=[4, 1]).shape == (2, 1)


def test_the_config_needs_no_sizes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['fit', '--config', 'table']) == 2
    assert 'cannot read table.csv: no such file' in capsys.readouterr().err
    with open('t.csv', 'w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerows([TABLE, *zip(*TABLE.values())])
    assert main(['fit', '--config', 'table', '--data.path', 't.csv', '--data.labels',
                 'sort', '--trainer.max_epochs', '2']) == 0
    run, = Path('run').glob('*/version_0')
    net = load(run).net
    assert (net.dim, net.n_classes, net.start.out_features) == (7, 2, 64)
    # its weights can be trained on with other classes
    other = load(run, n_classes=5)
    assert other.data.n_classes == 5 and other.data.classes == []


def test_other_names_are_not_trained_on(trained):
    data, model, _ = trained
    table = {**TABLE, 'sort': [{'star': 'a'}.get(v, 'b') for v in TABLE['sort']]}
    with pytest.raises(ValueError, match="data: its classes is .'a', 'b'., that of"):
        fit(LitDiffusion(model), FileData(table, 'sort'), max_steps=1, progress=False)
    # in the model's units they are refused one by one, and more rows of its own are not
    with pytest.raises(ValueError, match="'[ab]' is not among the classes disk, far"):
        FileData(table, 'sort', units=data.units)
    more = FileData({k: v[:9] for k, v in TABLE.items()}, 'sort', units=data.units)
    assert more.units == data.units
