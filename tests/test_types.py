"What a type checker says: nothing of a user's code, a typo, little of the package."
import importlib.util, json, re, subprocess, sys
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).resolve().parent.parent
MOST = 30  # diagnostics of the package that are ignored, each with a reason


def said_of(tmp_path, **files):
    "Diagnostics of basedpyright in basic mode, by file"
    config = dict(typeCheckingMode='basic', pythonVersion='3.10',
                  include=['.', str(ROOT/'diffusion_nbdev')], extraPaths=[str(ROOT)])
    for name, text in files.items():
        (tmp_path/f'{name}.py').write_text(text, encoding='utf-8')
    (tmp_path/'pyrightconfig.json').write_text(json.dumps(config))
    command = [sys.executable, '-m', 'basedpyright', '--outputjson', '--pythonpath',
               sys.executable, '-p', str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    found = {}
    for d in json.loads(out)['generalDiagnostics']:
        if d['severity'] != 'error': continue
        line = (f"{Path(d['file']).name}:{d['range']['start']['line'] + 1}: "
                f"{d['message'].splitlines()[0]}")
        found.setdefault(Path(d['file']), []).append(line)
    return found


def readme_code():
    "The Python of the README, in one piece"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    return '\n'.join(re.findall(r'```python\n(.*?)```', text, flags=re.S))


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    if not importlib.util.find_spec('basedpyright'):
        pytest.skip('basedpyright is not installed')
    user = (ROOT/'tests'/'user'/'script.py').read_text(encoding='utf-8')
    typo = user.replace('model.generate(ddim', 'model.generat(ddim')
    assert typo != user
    return said_of(tmp_path_factory.mktemp('types'), user=user, typo=typo,
                   readme=readme_code())


def of(found, name):
    return [l for path, lines in found.items() if path.stem == name for l in lines]


def test_users_code_is_fine(found): assert of(found, 'user') == []
def test_readme_is_fine(found): assert of(found, 'readme') == []


def test_typo_is_found(found):
    "In its line; what is said there is that `nn.Module.__getattr__` gives a tensor"
    lines = (ROOT/'tests'/'user'/'script.py').read_text(encoding='utf-8').splitlines()
    at, = (i for i, line in enumerate(lines, 1) if 'model.generate(ddim' in line)
    said = of(found, 'typo')
    assert [line.split()[0] for line in said] == [f'typo.py:{at}:'], said


def test_package(found):
    inside = [l for path, lines in found.items()
              if path.is_relative_to(ROOT/'diffusion_nbdev') for l in lines]
    assert inside == [], '\n'.join(inside)


def test_what_is_ignored_has_a_reason():
    ignored = []
    for path in sorted((ROOT/'diffusion_nbdev').rglob('*.py')):
        for line in path.read_text(encoding='utf-8').splitlines():
            if 'pyright: ignore' not in line and 'type: ignore' not in line: continue
            why = re.search(r'pyright: ignore\[\w+\]\s+# \w+', line)
            assert why, f'{path.name}: {line.strip()}'
            ignored.append(line)
    assert len(ignored) <= MOST


def test_users_script_runs(tmp_path):
    code = (f'import sys; sys.path.insert(0, {str(ROOT/"tests"/"user")!r}); '
            f'import script; print(script.main({str(tmp_path)!r}))')
    out = warm.run([], tmp_path, code)
    assert out.returncode == 0, out.stderr[-500:]
    assert float(out.stdout.split()[-1]) < 1e6, out.stderr[-500:]


def test_help_says_what_every_argument_means():
    import inspect
    import diffusion_nbdev.all as everything
    silent, asked = [], 0
    for name in everything.__all__:
        thing = getattr(everything, name)
        if not callable(thing) or not thing.__module__.startswith('diffusion_nbdev'):
            continue
        texts = [inspect.getdoc(x) or ''
                 for x in (thing, getattr(thing, '__init__', None)) if x]
        parameters = list(inspect.signature(thing).parameters)
        asked += len(parameters)
        # one line for each, or a list of names that share one
        silent += [f'{name}: {p}' for p in parameters if not any(
            re.search(rf'^\s+(\*?\w+, )*\*?{p}(, \w+)*: \S', t, flags=re.M)
            for t in texts
        )]
    assert asked > 200 and silent == []
