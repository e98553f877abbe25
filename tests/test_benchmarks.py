"The measurements of a GPU, in miniature on the CPU: they run, and their figures fit."
import contextlib
import io
import json
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent
CODE = """import os, runpy, sys
os.environ['CUDA_VISIBLE_DEVICES'] = ''
sys.path.insert(0, 'benchmarks')
runpy.run_path('benchmarks/speed.py', run_name='__main__')"""

def speed(*more):
    return warm.run(['--parts', 'gpu', *more], ROOT, CODE)

@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    "The file that the command writes, beside a part that was there before"
    out = tmp_path_factory.mktemp('project')/'benchmarks'/'speed_gpu.json'
    out.parent.mkdir()
    out.write_text('{"train": {"kept": 1}}')
    p = speed('--tiny', '--out', str(out))
    assert p.returncode == 0, p.stderr[-2000:]
    return out

@pytest.fixture(scope='module')
def found(stored): return json.loads(stored.read_text())['gpu']

def spreads(x):
    "All the medians with their smallest and largest, wherever they stand"
    if isinstance(x, dict) and 'median' in x: yield x
    elif isinstance(x, dict):
        for value in x.values(): yield from spreads(value)

def test_file_says_what_where_and_with_which_code(stored, found):
    assert json.loads(stored.read_text())['train'] == {'kept': 1}
    about = found['about']
    assert about['device'] == 'cpu' and about['chip'] and about['code']
    assert about['command'].endswith('--tiny') and about['versions']['torch']
    parts = 'sample fit agreement copies recipe sample_compiled fit_compiled'.split()
    assert [k for k in found if k not in ('about', 'left_out')] == parts

def test_nothing_fails_and_nothing_is_dropped_silently(found):
    left = {x['what']: x['why'] for x in found['left_out']}
    assert not any(why.startswith('failed') for why in left.values()), left
    assert found['recipe']['there'] or 'recipe' in left
    for part in ('sample', 'sample_compiled', 'fit', 'fit_compiled'):
        rounds = [s['rounds'] for s in spreads(found[part])]
        assert rounds and (all(r == 2 for r in rounds) or left)

def test_figures_are_positive_and_in_order(found):
    some = list(spreads(found))
    assert some and all(0 < s['low'] <= s['median'] <= s['high'] for s in some)
    for part in ('sample', 'sample_compiled'):
        for group in found[part]['groups'].values():
            for s in group['found'].values():
                assert s['rate'] * s['median'] == pytest.approx(group['num'])
    first = found['sample']['default']
    assert first['rate'] * first['seconds'] == pytest.approx(first['num'])

def test_ratios_are_those_of_the_medians(found):
    for part, key, base in (('sample', 'share_of_bare', 'bare calls'),
                            ('sample_compiled', 'share_of_compiled_bare',
                             'bare calls, compiled')):
        for group in found[part]['groups'].values():
            rows = group['found']
            for job, share in group[key].items():
                assert share == pytest.approx(rows[job]['rate'] / rows[base]['rate'])
    for part in ('fit', 'fit_compiled'):
        for row in found[part]['batches'].values():
            fit, bare = row['found']['fit'], row['found']['bare loop']
            share = fit['median'] / bare['median']
            assert row['share_of_bare'] == pytest.approx(share)

def test_samplers_agree_with_themselves(found):
    from diffusion_nbdev.sampling import SAMPLERS, enter_all
    enter_all()
    assert set(found['agreement']['found']) == set(SAMPLERS)
    assert found['agreement']['largest'] == 0

def test_chapter_shows_what_is_stored(stored, tmp_path, monkeypatch):
    book = json.loads((ROOT/'nbs'/'13_performance.ipynb').read_text())
    source, = (''.join(c['source']) for c in book['cells'] if c['id'] == 'perf-gpu')
    def shown(folder):
        monkeypatch.chdir(folder)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(source, dict(json=json, Path=Path))
        return said.getvalue()
    nbs, empty = stored.parent.parent/'nbs', tmp_path/'nbs'
    for folder in (nbs, empty): folder.mkdir()
    assert shown(empty).startswith('not measured yet')
    lines = shown(nbs).splitlines()
    assert max(map(len, lines)) <= 88
    for word in ('bfloat16', 'float32', 'compiled', 'fit', 'agree', 'left out'):
        assert any(word in line for line in lines), word

def test_without_a_gpu_one_line_says_so():
    p = speed()
    assert p.returncode == 2 and p.stdout == ''
    line, = p.stderr.splitlines()
    assert 'no CUDA GPU' in line and '--tiny' in line

def test_spent_budget_is_said(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    import gpu
    found = gpu.gpu(tiny=True, budget=-1, command='')
    assert set(found) == {'about', 'left_out'}
    assert [x['what'] for x in found['left_out']] == list(gpu.PARTS)
    assert {x['why'] for x in found['left_out']} == {'cut off: the budget was spent'}

def test_the_onset_of_copying_is_read_off_its_curves(monkeypatch):
    "Shares that rise along a straight line over log updates, and a power that is known"
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    import copying
    assert copying.crossing([100, 1000], [0.5, 0.9], 0.7) == pytest.approx(316, abs=1)
    assert copying.crossing([100, 1000], [0.7, 0.9], 0.7) == 100
    assert copying.crossing([100, 1000], [0.5, 0.6], 0.7) is None
    rows = [dict(n=n, at=7 * n ** 1.5) for n in (50, 100, 200)]
    fit = copying.slope(rows, 'at')
    assert fit['slope'] == fit['low'] == fit['high'] == 1.5
    assert copying.slope([*rows[:2], dict(n=200, at=None)], 'at') is None
