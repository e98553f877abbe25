"Two source trees against each other: the statistics, and that slower is called slower."
import random
import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'benchmarks'))
import pairs

def test_interval_holds_the_median_as_often_as_it_says():
    draw = random.Random(0)
    for n in (8, 15, 30):
        runs = [pairs.interval([draw.gauss(1, 1) for _ in range(n)])
                for _ in range(2000)]
        held = statistics.mean(low <= 1 <= high for low, high in runs)
        # of 2,000 runs, two standard errors below 95 %
        assert held > 0.94, n
        # and no wider than it must be
        assert held < 0.997, n

def test_few_pairs_have_all_of_them_as_interval():
    assert pairs.interval([1.2, 0.9, 1.1]) == (0.9, 1.2)

def test_second_is_compared_with_first_whoever_begins():
    order = []
    def job(name, took):
        return lambda: order.append(name) or took
    for turn in (0, 1):
        assert pairs.pair(job('first', 2.), job('second', 3.), turn) == (1.5, 2., 3.)
    assert order == ['first', 'second', 'second', 'first']

def test_summary_keeps_what_differs_between_processes():
    s = pairs.summary([[(1., 2., 2.), (1.1, 2., 2.2)], [(1.3, 1., 1.3)] * 2])
    assert s['pairs'] == 4 and s['median'] == pytest.approx(1.2)
    assert s['of_processes'] == pytest.approx([1.05, 1.3])
    assert s['seconds'] == pytest.approx([1.5, 1.65])

@pytest.mark.parametrize('line, says', [
    ('.', 'must be two folders'), ('. benchmarks', 'not '),
    ('. . --only breakfast', 'in no name of')])
def test_wrong_lines_are_one_line(line, says, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['pairs.py', *line.split()])
    with pytest.raises(SystemExit) as stop: pairs.main()
    assert stop.value.code == 2 and says in capsys.readouterr().err.splitlines()[-1]

def test_exit_code_says_whether_it_is_too_slow(monkeypatch, capsys):
    took = dict(nbs=1., tests=2.)
    monkeypatch.setattr(pairs, 'imported', lambda tree: took[tree.name])
    monkeypatch.setattr(pairs.Path, 'is_dir', lambda path: True)
    monkeypatch.setattr(pairs.compileall, 'compile_dir', lambda *args, **kwargs: None)
    for most, code in (('1.9', 1), ('2.1', 0)):
        line = f'pairs.py {ROOT/"nbs"} {ROOT/"tests"} --only import --pairs 3'
        line = f'{line} --most {most}'
        monkeypatch.setattr(sys, 'argv', line.split())
        assert pairs.main() == code
        assert '  2.000  (2.000 to 2.000)' in capsys.readouterr().out

@pytest.mark.slow
def test_a_tree_against_itself(capsys):
    found = pairs.compare([ROOT, ROOT], [pairs.PIECES[3], pairs.PIECES[5]], 2, 1)
    assert all(0.2 < s['median'] < 5 and s['pairs'] == 2 for s in found.values())
    # what the pieces are called is what a worker knows
    assert set(found) <= set(pairs.PIECES)
