"The list of faults still fits the package, the machinery tells caught from survived, and the stored score is of this list."
import json, sys
from pathlib import Path

import pytest

import check, lint, mutate
from test_lint import TITLE, project, py

ROOT = Path(__file__).resolve().parent.parent

def test_every_fault_can_be_planted():
    assert mutate.rotten(mutate.FAULTS) == []
    assert len(mutate.FAULTS) >= 30
    assert {f.module for f in mutate.FAULTS} <= mutate.chapters().keys()

def test_the_stored_score_is_of_this_list():
    score = json.loads(mutate.STORE.read_text(encoding='utf-8'))
    scored = {r['name'] for r in score['results']}
    assert mutate.UNSCORED <= {f.name for f in mutate.FAULTS}
    assert [r['name'] for r in score['results']] == [f.name for f in mutate.FAULTS if f.name in scored or f.name not in mutate.UNSCORED], 'run make mutate'
    assert [r['name'] for r in score['results'] if not r['caught']] == []
    assert score['caught'] == score['faults'] == len(scored)

def small(tmp, test='assert double(3) == 6'):
    "A project of one chapter with one function."
    cells = [TITLE, py('#| default_exp twice'), py('#| export\ndef double(x): return 2 * x'), py(test)]
    root = project(tmp, {'01_twice': cells})
    (root/'diffusion_nbdev').mkdir()
    (root/'diffusion_nbdev'/'twice.py').write_text('def double(x): return 2 * x\n')
    return root

def fault(old='2 * x', new='3 * x', name='thrice', module='twice', count=1): return mutate.Fault(name, module, old, new, count)

def test_a_fault_goes_into_module_and_notebook(tmp_path):
    files = mutate.planted(fault(), small(tmp_path))
    assert files['diffusion_nbdev/twice.py'] == 'def double(x): return 3 * x\n'
    assert 'return 3 * x' in files['nbs/01_twice.ipynb'] and 'return 2 * x' not in files['nbs/01_twice.ipynb']

@pytest.mark.parametrize('bad, message', [
    (fault(old='4 * x'), '0 times, not 1'), (fault(count=2), '1 times, not 2'), (fault(new='2 * x'), 'changes nothing'),
    (fault(module='thrice'), 'no module thrice'), (fault(new='2 * ('), 'does not compile')])
def test_a_rotten_fault_is_an_error(tmp_path, bad, message):
    found = mutate.rotten([bad], small(tmp_path))
    assert len(found) == 1 and message in found[0]
    assert 'there twice' in mutate.rotten([fault(), fault()], tmp_path)[0]

def test_caught_survived_undecided(tmp_path):
    env = check.environment(tmp_path/'profile')
    for name, test, f, caught in [('a', 'assert double(3) == 6', fault(), True), ('b', 'assert double(0) == 0', fault(), False),
                                  ('c', 'assert double(3) == 6', fault('def double(x): return 2 * x', 'double = nothing'), False)]:
        (tmp_path/name).mkdir()
        root = small(tmp_path/name, test)
        res = mutate.trial(f, root, env, {'01_twice': 100})
        assert res['caught'] is caught, res
        assert ('undecided' in res) is (name == 'c')
        if caught: assert (res['chapter'], res['cell'], res['statement'], res['how']) == ('01_twice', 4, test, 'AssertionError')
