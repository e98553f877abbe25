"""Each rule of tools/lint.py fails on a broken sample and is quiet on a sound one; so
do the checks around it."""
import base64, json, sys
from pathlib import Path

import pytest

import check, lint, readme

PNG = base64.b64encode(bytes.fromhex('89504e470d0a1a0a')).decode()
ROOT = Path(__file__).resolve().parent.parent

def md(s, **kw):
    return dict({'cell_type': 'markdown', 'metadata': {},
                 'source': s.splitlines(keepends=True)}, **kw)

def py(s, *outputs, **kw):
    return dict({'cell_type': 'code', 'metadata': {}, 'execution_count': None,
                 'outputs': list(outputs), 'source': s.splitlines(keepends=True)}, **kw)

def picture():
    return {'output_type': 'display_data', 'data': {'image/png': PNG}, 'metadata': {}}

def stream(name, text): return {'output_type': 'stream', 'name': name, 'text': [text]}
TITLE = md('# A title\n\n> One sentence.')
FIG = '#| label: fig-a-b\n#| fig-cap: "A line"\n#| fig-alt: "A line that rises"\nplot()'
EQ = md('Text.\n\n$$\na = b\n$$ {#eq-a-b}\n\nMore.')
CHECK = py('# checks eq-a-b\nassert 1 == 1')

def project(tmp, books, sidebar=None, bib='@misc{ho2020,\n  title = {T},\n}\n'):
    "A small project of notebooks: name -> cells."
    (tmp/'nbs').mkdir()
    for name, cells in books.items():
        cells = [dict({'id': f'c{i}'}, **c) for i, c in enumerate(cells)]
        nb = {'cells': cells,
              'metadata': {'kernelspec': {'display_name': 'python3',
                                          'language': 'python', 'name': 'python3'}},
              'nbformat': 4, 'nbformat_minor': 5}
        (tmp/'nbs'/f'{name}.ipynb').write_text(
            json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + '\n'
        )
    (tmp/'nbs'/'references.bib').write_text(bib)
    (tmp/'settings.ini').write_text('[DEFAULT]\nlib_name = diffusion_nbdev\n'
                                    'requirements = torch>=2.6\n'
                                    'dev_requirements = fastcore>=1\n')
    pages = sidebar if sidebar is not None else [f'{n}.ipynb' for n in books]
    (tmp/'_quarto.yml').write_text('website:\n  sidebar:\n    contents:\n'
                                   + ''.join(f'      - {p}\n' for p in pages))
    return tmp

def found(tmp, cells, rule, other=None, **kw):
    books = {'04_a': [TITLE, *cells],
             **{k: [TITLE, *v] for k, v in (other or {}).items()}}
    return [str(f) for f in lint.lint(project(tmp, books, **kw), [rule])[rule]]

long_body = '\n'.join(f'    x{i} = {i}' for i in range(40))
# rule, cells, what the finding says
BAD = [
    ('directive', [py('#| exprot\nx = 1')], 'unknown directive'),
    ('directive', [py('#| Eval: false\nx = 1')], 'unknown directive'),
    ('directive', [py('#| eval : false\nx = 1')], 'at the start of the line'),
    ('directive', [py('#|export\nx = 1')], 'at the start of the line'),
    ('directive', [py('#| export:\nx = 1')], 'no colon'),
    ('directive', [py('#| echo\nx = 1')], 'needs a colon'),
    ('directive', [py('# a comment\n#| slow\nx = 1')], 'below the first line'),
    ('directive', [py('x = 1\n#| slow')], 'below the first line'),
    ('directive', [py('x = 1\n# | export')], 'below the first line'),
    ('directive', [py('#export\nx = 1')], 'is a comment'),
    ('directive', [py('#| fig-cap: A: b: c\nx = 1')], 'not valid YAML'),
    ('lines', [md('a\nb', source='a\nb')], 'one string'),
    ('lines', [py('', source=['a\nb'])], 'several lines'),
    ('ids', [md('a', id='z'), md('b', id='z')], 'used twice'),
    ('default_exp', [py('#| export\nx = 1')], 'no default_exp'),
    ('default_exp', [py('#| default_exp a'), py('#| default_exp b')],
     'second default_exp'),
    ('cell length',
     [py(f'#| default_exp a'), py(f'#| export\ndef f():\n{long_body}\n    return 1')],
     '41 lines'),
    ('cell length', [py('#| export\ndef f(:')], 'does not parse'),
    ('cell length',
     [py(f'#| export\ndef f{k}():\n' + '\n'.join(f'    x = {i}' for i in range(16)))
      for k in range(2)], '2 of 2 exported cells'),
    ('columns', [py(f"#| export\nx = '{'a' * 88}'")], '94 columns of exported code'),
    ('columns', [py('#| export\nx = 1  # ' + 'a' * 88)], 'columns of exported code'),
    ('columns', [py(f"x = '{'a' * 90}'\ny = '{'a' * 90}'")],
     '2 of 2 lines of code and output'),
    ('columns', [py(f"x = '{'a' * 120}'")], '126 columns, at most 120'),
    ('columns', [py('f()', stream('stdout', 'a' * 130))], '130 columns'),
    ('one thought', [py('#| export\nx = 1; y = 2')], 'two statements'),
    ('one thought', [py('#| export\nif x: y = 1; z = 2')], 'two statements'),
    ('one thought', [py('#| export\nf = lambda x: lambda y: x + y')],
     'a lambda in a lambda'),
    ('one thought', [py('#| export\nModel.f = _f')], 'write the class whole'),
    ('one thought', [py('#| export\nModel.f, Units.g = _f, _g')], 'Units.g is given'),
    ('exported cell', [py('#| export\n%timeit f()')], 'a magic'),
    ('exported cell', [py('#| export\n#| eval: false\nx = 1')], 'eval: false'),
    ('stored output', [py('1/0', {'output_type': 'error', 'ename': 'ZeroDivisionError',
                                  'evalue': 'division by zero', 'traceback': []})],
     'ZeroDivisionError'),
    ('stored output', [py('f()', stream('stderr', 'UserWarning'))], 'stderr'),
    ('stored output', [py('f()', stream('stdout', '10%\r20%'))], 'progress bar'),
    ('stored output', [py('show_doc(f)', stream('stdout', 'f'))], 'show_doc'),
    ('size', [py('f()', stream('stdout', 'x' * 500_001))], 'at most 500'),
    ('imports', [py('import os\nx = 1')], 'a cell of their own'),
    ('imports', [py('def f():\n    import os\n    return os\nprint(f())')],
     'a cell of their own'),
    ('declared', [py('#| export\nimport fastcore.test')],
     'does not require at run time'),
    ('declared', [py('def f(): from jax import numpy')], 'imports jax'),
    ('headings', [md('# Again')], 'second title'),
    ('headings', [md('## A\n\n#### B')], 'skips a level'),
    ('equation', [md('$$\na = b\n$$')], 'neither a label'),
    ('equation', [EQ], 'no cell below'),
    ('equation', [CHECK, EQ], 'no cell below'),
    ('equation', [EQ, py('# checks eq-a-b\nx = 1')], 'nothing is asserted'),
    ('equation', [EQ, py('#| slow\n# checks eq-a-b\nassert x')], 'tests skip'),
    ('equation', [CHECK], 'no equation of this notebook'),
    ('equation', [EQ, EQ, CHECK], 'is already in'),
    ('equation', [md('$$ a = b')], 'odd number'),
    ('equation', [md('\\begin{align}a\\end{align}')], 'between'),
    ('figure', [py('plot()', picture())], 'fig-alt'),
    ('figure', [py('#| label: fig-a\n#| fig-cap: "x"\nplot()', picture())], 'fig-alt'),
    ('figure', [py(FIG)], 'no picture is stored'),
    ('figure', [py(FIG, picture()), py(FIG, picture())], 'already in'),
    ('figure', [md('![](x.png)')], 'no alt text'),
    ('figure', [md('Text.\n\n![A caption](x.png)\n\nMore.')], 'only a caption'),
    ('figure', [md('<img src="x.png">')], 'no alt text'),
    ('reference', [md('As in @eq-none.')], 'no such label'),
    ('reference', [md('See [@nobody1999].')], 'not in references.bib'),
    ('reference', [md('[next](05_none.ipynb)')], 'no such file'),
    ('reference', [md('![a](gone.png)')], 'no such file'),
    ('reference', [md('[here](#nowhere)')], 'no such place'),
    ('reference', [md('[page](a.html)')], 'link to the notebook'),
    ('reference', [md('<img src="gone.gif" alt="a">')], 'no such file'),
    ('box', [md('::: {.callout-tip}\nnever closed')], 'never closed'),
    ('box', [md('closed\n\n:::')], 'not opened'),
    ('chapter size', [md('Words.')] * 20, 'no picture'),
    ('chapter size', [md('word ' * 3001), md('![a](b.png)')], ' words, at most 3000'),
    ('chapter size', [md('![a](b.png)'), *[py('1')] * 26],
     '26 cells of code are in sight'),
    ('chapter size', [*[md('Words.')] * 19, md('![a](b.png)')],
     'the first picture is cell 21 of 21'),
    ('in sight', [py('#| hide\nx = 1'), py('y = x')], '`x` comes from cell 2'),
    ('chapter end', [md('[next](04_a.ipynb)')], 'no folded solution'),
    ('chapter end', [md('::: {.callout-tip collapse="true" title="Solution"}\n'
                        'It is.\n:::')], 'no link to the next'),
]

@pytest.mark.parametrize('rule, cells, says', BAD, ids=[f'{r}-{s}' for r, _, s in BAD])
def test_broken(tmp_path, rule, cells, says):
    fs = found(tmp_path, cells, rule)
    assert any(says in f for f in fs), fs
    assert all(f.startswith('nbs/04_a.ipynb') and '\n' not in f and rule in f
               for f in fs), fs

END = md('::: {.callout-tip collapse="true" title="Solution"}\nIt is.\n:::\n\n'
         '[next](04_a.ipynb)')
GOOD = [
    [md('::: {.callout-warning}\nA box around a cell:'), py('x = 1'),
     md(':::\n\n```\n::: in code\n```')],
    [py('#| default_exp a'), py('#| export\nimport os, sys, torch'),
     py('from fastcore.test import test_fail'),
     py('#| exports\ndef f(\n    a, # A number\n): # Itself\n    "Gives `a` back."\n'
        '    return a')],
    [py('#| slow\n#| label: fig-a-b\n#| fig-cap: "A: b"\n#| fig-alt: "A line"\n'
        'plot()  # a comment', picture())],
    [py('x = 1  # |x| is one\n# |x - 1| is none')],
    [py('"""\n#| not a directive\n"""\nx = "#| nor this"')],
    [py(FIG.replace('"A line that rises"', '\n#|   - "A line"'), picture())],
    [EQ, md('$$\na = c\n$$\n\n<!-- step -->\n\nand `$$`, and\n```\n$$ code $$\n```\n'
            'by @eq-a-b, [@ho2020, eq. 4] and @fig-a-b'), CHECK, py(FIG, picture())],
    [md('## A heading, `code`\n\n'
        'see [it](#a-heading-code), [out](https://example.com/#x) and a@b.org, '
        '`@sampler`, ![alt](references.bib)'), md('### B')],
    [py('#| hide\nplot()', picture())],
    [py('x = 1'), py('#| hide\nx, y = 2, 3'),
     py('z = x\ndef f(y):\n    return [y for z in y]')],
]

@pytest.mark.parametrize('cells', GOOD)
def test_sound(tmp_path, cells):
    root = project(tmp_path, {'04_a': [TITLE, *cells, END]})
    assert [str(f) for fs in lint.lint(root).values() for f in fs] == []

def test_two_notebooks(tmp_path):
    "Rules that look at several notebooks at once."
    a = [py('#| default_exp a'), py('#| export\nfrom diffusion_nbdev.b import g'), EQ,
         CHECK]
    b = [py('#| default_exp b'), md('By @eq-a-b.')]
    root = project(tmp_path, {'04_a': [TITLE, *a], '05_b': [TITLE, *b],
                              '06_b': [TITLE, py('#| default_exp b')]},
                   sidebar=['04_a.ipynb', '05_b.ipynb', '07_gone.ipynb'])
    res = {k: [str(f) for f in v] for k, v in lint.lint(root).items()}
    assert 'imports b, which is chapter' in res['import order'][0]
    assert '[text](04_a.ipynb#eq-a-b)' in res['reference'][0]
    assert 'nbs/05_b.ipynb' in res['reference'][0]
    assert 'already taken by nbs/05_b.ipynb' in res['default_exp'][0]
    assert 'same page' in res['names'][0]
    assert ['07_gone' in s or '06_b' in s for s in res['sidebar']] == [True, True]

def test_plots_imports_nothing_of_ours(tmp_path):
    root = project(tmp_path,
                   {'01_a': [TITLE, py('#| default_exp a')],
                    '90_plots': [TITLE, py('#| default_exp plots'),
                                 py('#| export\nfrom diffusion_nbdev.a import f')]})
    assert 'nothing of ours' in str(lint.lint(root, ['import order']))

def module(name, *imports, test=''):
    "A notebook of one module that imports others of ours."
    lines = ['#| export', *(f'from diffusion_nbdev.{m} import f' for m in imports)]
    cells = [TITLE, py(f'#| default_exp {name}'), py('\n'.join(lines))]
    return cells + [py(f'from diffusion_nbdev.{test} import g')] * bool(test)

@pytest.mark.parametrize('books, says', [
    ({'04_a': module('a', 'b'), '05_b': module('b')},
     'nbs/04_a.ipynb, cell 3 (id c2): import order: imports b, which is chapter 05'),
    ({'04_a': module('a'), '83_s': module('s', 'a')}, 'nbs/83_s.ipynb, cell 3 (id c2): '
     'import order: imports a, which is chapter 04: the workshop imports no chapter'),
    ({'04_a': module('a', 'cli'), '91_cli': module('cli')},
     'imports cli, which brings the whole package together'),
    ({'83_s': module('s', 'all'), '92_all': module('all')},
     'imports all, which brings the whole package together'),
    ({'83_s': module('s', 'u'), '84_u': module('u', 'v'), '85_v': module('v', 's')},
     'imports go in a circle: s -> u -> v -> s'),
    ({'07_model': module('model', 's'), '83_s': module('s', 'model')},
     'imports go in a circle: model -> s -> model')
])
def test_layers(tmp_path, books, says):
    """A chapter imports lower chapters and the workshop, the workshop itself; nothing
    imports itself by detours."""
    root = project(tmp_path, books)
    fs = [str(f) for f in lint.lint(root, ['import order'])['import order']]
    assert len(fs) == 1 and says in fs[0], fs

def test_layers_kept(tmp_path):
    "What the layers allow; cells that are not exported import what they like."
    books = {'01_schedules': module('schedules'),
             '04_a': module('a', 'schedules', 's', 'plots', test='b'),
             '05_b': module('b', 'a'), '07_model': module('model'),
             '83_s': module('s', 'u', 'model', test='b'), '84_u': module('u'),
             '90_plots': module('plots', test='b'), '91_cli': module('cli', 'b', 's'),
             '92_all': module('all', 'a', 'b', 's', 'plots')}
    assert lint.lint(project(tmp_path, books), ['import order'])['import order'] == []

def test_workshop_has_no_exercises(tmp_path):
    books = {n: [TITLE, md('Prose.')] for n in ('79_a', '80_b')}
    found = lint.lint(project(tmp_path, books), ['chapter end'])['chapter end']
    assert {f.file for f in found} == {'nbs/79_a.ipynb'}

def test_settings_are_read_once_a_rule(tmp_path, monkeypatch):
    "Not once for each import: that took most of the time."
    calls, read = [], lint.root_lib
    monkeypatch.setattr(lint, 'root_lib', lambda root: calls.append(root) or read(root))
    lint.lint(project(tmp_path, {'04_a': [TITLE, *[py('import os, sys')] * 20]}),
              ['declared', 'import order'])
    assert len(calls) == 2

def test_columns_of_code_in_no_notebook(tmp_path):
    "88 columns pass in tools, benchmarks and tests, 89 do not; other folders are free."
    root = project(tmp_path, {'04_a': [TITLE]})
    files = 'benchmarks/b.py elsewhere/a.py tests/user/c.py tools/a.py'.split()
    for f in files:
        (root/f).parent.mkdir(parents=True)
        (root/f).write_text('\n'.join(['x = 1', '#' * 88, '#' * 89]) + '\n')
    found = [str(f).partition(' columns, ')[0]
             for f in lint.lint(root, ['columns'])['columns']]
    assert sorted(found) == [f'{f}: columns: line 3: 89'
                             for f in files if not f.startswith('elsewhere')]

@pytest.mark.parametrize('first', [md('# A title'),
                                   md('# A title\n\n> One.\n\nMore prose.'),
                                   md('Prose.'), py('x = 1')])
def test_title(tmp_path, first):
    assert len(lint.lint(project(tmp_path, {'04_a': [first]}), ['title'])['title']) == 1

def test_pages_that_are_no_notebooks(tmp_path):
    """Links and boxes of a .qmd page are checked too, and it must be in the sidebar;
    the front matter keeps its lines."""
    root = project(tmp_path, {'04_a': [TITLE, END]})
    (root/'nbs'/'b.qmd').write_text('---\ntitle: "B"\n---\n\n[gone](05_gone.ipynb), '
                                    '[here](04_a.ipynb)\n\n::: {.callout-tip}\n')
    (root/'nbs'/'404.qmd').write_text('---\ntitle: "No such page"\n---\n\n'
                                      '[home](04_a.ipynb)\n')
    res = {k: [str(f) for f in v] for k, v in lint.lint(root).items() if v}
    assert set(res) == {'reference', 'box', 'sidebar'}, res
    assert all(len(v) == 1 and 'nbs/b.qmd' in v[0] for v in res.values()), res

def test_site_files(tmp_path):
    root = project(tmp_path, {'04_a': [TITLE, END]})
    (root/'nbs'/'light.scss').write_text('')
    with (root/'_quarto.yml').open('a') as f:
        f.write('  favicon: icon.png\nbibliography: references.bib\nformat:\n  html:\n'
                '    theme:\n      light: [cosmo, light.scss]\n'
                '      dark: [darkly, dark.scss]\n    css: styles.css\n')
    named = 'metadata-files: [../_quarto.yml, ../gone.yml]\n'
    (root/'nbs'/'_quarto.yml').write_text(named)
    words = [str(f).split(': ')[-1].split()[0].rstrip(':')
             for f in lint.lint(root, ['site files'])['site files']]
    assert words == ['styles.css', 'icon.png', 'dark.scss', 'no']

def test_every_rule_has_a_broken_sample():
    assert set(lint.RULES) == {r for r, *_ in BAD} | {'title', 'names', 'import order',
                                                      'sidebar', 'site files'}

def test_code_lines():
    src = '''
@deco
def f(
    a, # one
    b, # two
): # three
    """Two
    lines."""
    # a comment

    return [a,
            b]
x = 1'''
    assert lint.code_lines(src) == 4  # the decorator, two lines of return, x

def sample_readme(tmp):
    bib = ('@misc{ho2020,\n  author = {Ho, J. and Jain, A. and Abbeel, P.},\n'
           '  year = {2020}, url = {https://arxiv.org/abs/2006.11239}\n}\n')
    cells = [TITLE, md('See [one](01_a.ipynb), [home](../LICENSE) and [@ho2020].\n\n'
                       '```sh\nmake demo [x](y)\n```'),
             py('#| echo: false\n' + FIG.replace('a-b', 'home'), picture()),
             py('#| hide\nimport os'), py('1 + 1', {'output_type': 'execute_result',
                                                    'data': {'text/plain': ['2']}})]
    return project(tmp, {'index': cells}, bib=bib)

def test_readme(tmp_path):
    root = sample_readme(tmp_path)
    assert 'README.md is missing' in readme.differences(root)
    readme.write(root)
    assert readme.differences(root) == []
    text = (root/'README.md').read_text()
    for s in ('# A title\n\n> One sentence.', '(nbs/01_a.ipynb)', '(LICENSE)',
              '([Ho et al. 2020](https://arxiv.org/abs/2006.11239))',
              'make demo [x](y)', '![A line that rises](index_files/fig-home.png)',
              '```python\n1 + 1\n```', '```text\n2\n```'):
        assert s in text, s
    assert 'import os' not in text and '#|' not in text
    (root/'README.md').write_text(text.replace('sentence', 'sentence!'))
    (root/'index_files'/'old.png').write_bytes(b'')
    assert [d.split(',')[0].split(':')[0] for d in readme.differences(root)] == [
        'README.md', 'index_files/old.png is in no cell of nbs/index.ipynb']

class Quiet(check.Tally):
    "Keeps what a tally would print."
    def __init__(self): super().__init__(); self.said = []
    def ok(self, text='', n=1): self.passed += n
    def bad(self, text, n=1): self.failed += n; self.said.append(text)

def test_sync(tmp_path):
    "A stale module, an orphan, a missing one and an unclean notebook are each named."
    root = project(tmp_path, {'04_a': [TITLE, py('#| default_exp a'),
                                       py('#| export\ndef f(): return 1')]})
    for n in ('settings.ini',): (root/n).write_text((ROOT/n).read_text())
    env = check.environment(tmp_path/'ipython')
    code, out = check.run([sys.executable, '-c', check.EXPORT], 100,
                          dict(env, PYTHONPATH=str(root)), root)
    assert code == 0, out
    lib = root/'diffusion_nbdev'
    def say():
        t = Quiet(); check.sync(t, env, root); return t
    t = say(); assert (t.passed, t.failed) == (2, 0), t.said
    (lib/'a.py').write_text((lib/'a.py').read_text().replace('return 1', 'return 2'))
    (lib/'orphan.py').write_text('')
    (lib/'__init__.py').unlink()
    nb = root/'nbs'/'04_a.ipynb'
    tagged = nb.read_text().replace('"metadata": {},', '"metadata": {"tags": []},', 1)
    nb.write_text(tagged)
    t = say()
    assert len(t.said) == 4 and t.passed == 0, t.said
    assert 'a.py: package in step: line' in ''.join(t.said)
    assert '04_a.ipynb cell c2' in ''.join(t.said)
    assert 'orphan.py: package in step: no notebook exports it' in ''.join(t.said)
    assert '__init__.py: package in step: missing' in ''.join(t.said)
    assert 'nbs/04_a.ipynb: clean notebook' in ''.join(t.said)

def test_notebook_runs(tmp_path):
    "A failing cell is named by its number, a slow one skipped, an endless one stopped."
    books = {'01_bad': [TITLE, py('x = 1'), py('assert x == 2, "x is one"')],
             '02_slow': [TITLE, py('#| slow\n1/0')],
             '03_long': [TITLE, py('import time'), py('time.sleep(100)')]}
    root = project(tmp_path, books)
    (root/'settings.ini').write_text((ROOT/'settings.ini').read_text())
    env, t = check.environment(tmp_path/'ipython'), Quiet()
    bad, slow, long = lint.notebooks(root)
    check.notebook(t, bad, 100, env, '')
    check.notebook(t, slow, 100, env, '')
    assert t.passed == 1
    assert 'nbs/01_bad.ipynb, cell 3: notebook runs' in t.said[0]
    assert 'x is one' in t.said[0]
    check.notebook(t, slow, 100, env, 'slow')
    check.notebook(t, long, 3, env, '')
    assert 'ZeroDivisionError' in t.said[1] and 'not done after 3 s' in t.said[2]
