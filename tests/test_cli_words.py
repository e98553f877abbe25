"What the command line says, in this process: lists, configs, cards, help and errors."
import ast
import json
import re
import sys
from pathlib import Path

import pytest

from diffusion_nbdev.cli import catalogue, options
from diffusion_nbdev.cli.catalogue import (
    about_sampler, configs, find_config, grids, quick_cards, samplers, show)
from diffusion_nbdev.cli.main import COMMANDS, main, make_parser

DRAWING = '''weights grid class w guide interval rescale quantile clip seed batch-size
    device precision threads compile trust quiet eta var rtol'''.split()
GIVEN = '''weights in class w out seed batch-size device precision threads compile
    trust quiet'''.split()
OPTIONS = dict(
    sample=[*DRAWING, 'sampler', 'steps', 'n', 'out', 'columns'],
    evaluate=[*DRAWING, 'sampler', 'steps', 'sweep', 'n', 'metric', 'data',
              'labels', 'judge'],
    judge='''data out side channels held-out steps seed threads trust quiet'''.split(),
    restore=[*GIVEN, 'mask', 'blur', 'scale', 'noise', 'method', 'try', 'copies',
             'sampler', 'steps'],
    edit=[*GIVEN, 'start', 'to', 'blend', 'copies', 'steps'],
    list=['what'], init=['config'], card=['weights'],
    demo=['folder', 'n', 'epochs', 'quiet'])


def said(capsys, *argv, code=0):
    assert main(list(argv)) == code
    return capsys.readouterr()


def test_texts_are_read_and_written_as_utf8():
    "Wherever the package runs: the encoding stands beside each"
    plain = []
    for path in Path(options.__file__).parents[1].rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            name = getattr(getattr(node, 'func', None), 'attr', '')
            if name not in ('read_text', 'write_text'): continue
            if 'encoding' in [k.arg for k in node.keywords]: continue
            plain.append(f'{path.name}:{node.lineno}')
    assert not plain


def test_lists(capsys):
    short, whole = said(capsys, 'list').out, said(capsys, 'list', 'samplers').out
    for name in (*configs(), *quick_cards(), *samplers()): assert f'  {name} ' in short
    for path in configs().values():
        first = path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')
        assert ' '.join(first.split()) in ' '.join(short.split())
    heads = [line.split()[0] for line in short.splitlines() if line[0] != ' ']
    assert heads == ['configs', 'weights', 'samplers']
    assert re.findall(r'(?m)^\w+', whole) == ['samplers', 'grids']
    for name in grids(): assert f'  {name} ' in whole
    assert '--eta 0.0' in whole and max(map(len, short.splitlines())) <= 88
    assert re.findall(r'(?m)^\w+', said(capsys, 'list', 'configs').out) == ['configs']


def test_weights_say_what_they_are_for(capsys):
    text = ' '.join(said(capsys, 'list', 'weights').out.split())
    assert 'PointMLP with 134,482 weights, predicts v; diffusion card swissroll' in text
    assert 'a judge of mnist, as in diffusion evaluate --judge tuning_judge' in text


def test_no_weights_at_all(monkeypatch, capsys):
    monkeypatch.setattr(catalogue, 'quick_cards', dict)
    catalogue.list_weights()
    head, none = capsys.readouterr().out.splitlines()
    assert head.startswith('weights') and none == '  none'


@pytest.mark.parametrize('code, answer', [(None, 0), (0, 0), (3, 3)])
def test_exit_codes(monkeypatch, code, answer):
    def run(argv): raise SystemExit(code)
    monkeypatch.setattr('diffusion_nbdev.cli.main.run', run)
    assert main(['--version']) == answer


def test_what_a_sampler_costs():
    ddpm, ddim = (about_sampler(samplers()[k])[0] for k in ('ddpm', 'ddim'))
    assert 'stochastic' in ddpm and 'all steps by default' in ddpm
    assert 'deterministic' in ddim and '1 network call a step, 20 steps' in ddim
    assert '2 network calls a step' in about_sampler(samplers()['heun'])[0]


def test_later_lines_stand_below_the_first(capsys):
    show('name', 'word ' * 40)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.index('word') == 18 and {line.index('word') for line in others} == {18}


def test_configs(capsys, tmp_path):
    path = tmp_path/'own.yaml'
    path.touch()
    assert find_config(str(path)) == path and find_config('swissroll').is_file()
    text = configs()['swissroll'].read_text(encoding='utf-8')
    assert said(capsys, 'init', 'swissroll').out == text


def test_a_card(capsys):
    assert json.loads(said(capsys, 'card', 'swissroll').out)['pred'] == 'v'


@pytest.mark.parametrize('command', COMMANDS)
def test_every_option_has_a_name_and_a_meaning(command):
    assert {*COMMANDS} == {*OPTIONS}
    p = make_parser().commands[command]
    own = {a.dest if not a.option_strings else a.option_strings[-1][2:]: a
           for a in p._actions if a.dest != 'help'}
    assert {*OPTIONS[command]} <= own.keys()
    for name, a in own.items():
        assert a.help, name
        assert a.nargs == 0 or a.metavar or name == 'folder', name


def test_help(capsys):
    for argv in [], ['--help']:
        text = ' '.join(said(capsys, *argv).out.split())
        for name in (*COMMANDS, 'fit', 'validate', 'test'): assert f' {name} ' in text
        assert 'Denoising diffusion: train' in text and '--traceback' in text
    text = said(capsys, 'sample', '--help').out
    assert 'Draw samples and write them to a file.' in text
    assert re.fullmatch(r'diffusion \d+\.\d+\S*\n', said(capsys, '--version').out)


def test_defaults():
    args = make_parser('sample').parse_args(['sample', 'swissroll', '--w', '2'])
    assert (args.sampler, args.seed, args.w, args.trust) == (None, 0, 2., False)
    args = make_parser('demo').parse_args(['demo'])
    assert (args.folder, args.n, args.quiet) == ('run/demo', 10_000, False)


@pytest.mark.parametrize('argv, text', [
    (['sampel'], "diffusion: unknown command 'sampel': did you mean 'sample'"),
    (['list', 'configz'], "unknown list 'configz'"),
    (['sample', 'swissroll', '--stepz', '3'], "unknown option '--stepz'"),
    (['sample', 'swissroll', '--steps', 'a'], "'a': must be a whole number"),
    (['sample', 'swissroll', '--sampler', 'own.one'], 'refused unless you --trust it'),
    (['sample'], 'required: WEIGHTS')])
def test_a_mistake_is_one_line(capsys, argv, text):
    error = said(capsys, *argv, code=2).err
    assert text in error and error.count('\n') == 1


def test_which_errors_are_expected():
    class UnpicklingError(Exception): pass
    yes = ValueError(), OSError(), FloatingPointError(), UnpicklingError(), \
        RuntimeError('Error(s) in loading state_dict for Net')
    assert all(map(options.expected, yes))
    assert not any(map(options.expected, (RuntimeError('a'), TypeError(), KeyError())))


@pytest.mark.parametrize('text, kind, value', [
    ('0.5', 'float', 0.5), ('3', 'int', 3), ('TRUE', 'bool', True),
    ('false', 'bool', False)])
def test_kinds(text, kind, value):
    found = options.KINDS[kind](text)
    assert found == value and type(found) is type(value)
    with pytest.raises(Exception, match="'x': must be"): options.KINDS[kind]('x')


def test_the_current_folder_is_importable_for_a_while():
    before = list(sys.path)
    with options.importable(True): assert sys.path[:-1] == before
    assert sys.path == before
    with options.importable(False): assert sys.path == before
