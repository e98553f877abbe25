"""The rules of the house, checked without Quarto and without running anything.

    python tools/lint.py                 every rule on every notebook
    python tools/lint.py nbs/04_ddpm.ipynb   findings in that notebook only

A finding is one line: file, cell, rule, what is wrong. `tests/test_lint.py` shows each
rule failing on a broken sample. To add a rule, write a generator under `@rule` and a
sample beside the others.
"""
import ast, io, json, re, sys, tokenize
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 500_000
# An exported cell, the share of exported cells that may be longer than SHORT lines, a
# module: lines of code.
MAX_LINES, SHORT, LONG_SHARE, MAX_MODULE = 25, 15, 0.1, 350
# Columns of code; cells that are not exported may have a few lines that are wider, none
# of them very wide.
WIDTH, WIDE_SHARE, MAX_WIDTH = 88, 0.02, 120
# Code that is in no notebook.
FOLDERS = ('tools', 'benchmarks', 'tests')

# -- notebooks as the rules see them ---------------------------------------------------

@dataclass
class Cell:
    i: int            # position in the notebook, from 0
    raw: dict         # as stored
    @property
    def id(self): return self.raw.get('id', '?')
    @property
    def kind(self): return self.raw.get('cell_type')
    @property
    def is_code(self): return self.kind == 'code'
    @property
    def source(self):
        s = self.raw.get('source', '')
        return s if isinstance(s, str) else ''.join(s)
    @property
    def outputs(self): return self.raw.get('outputs', [])
    @property
    def directives(self):
        "The leading `#|` lines, name -> the text after it."
        d, last = {}, ''
        for l in self.source.splitlines():
            if not l.strip(): continue
            m = re.match(r'\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)$', l)
            if m and not re.match(r'#\|( {2,}| *- )', l):
                last = m[1]
                d[last] = m[2].strip()
            elif last and re.match(r'#\|', l):
                d[last] += l[2:].strip().lstrip('- ')
            elif not re.match(r'\s*#\s*\|', l):
                break
        return d
    @property
    def exported(self):
        return bool({'export', 'exports', 'exporti'} & set(self.directives))
    @property
    def skipped(self):
        "Never run by a plain test run."
        d = self.directives
        return (bool({'slow', 'gpu', 'notest'} & set(d))
                or d.get('eval', '').lower() == 'false')
    def tree(self):
        try: return ast.parse(re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', self.source))
        except SyntaxError: return None

@dataclass
class Book:
    path: Path
    root: Path
    nb: dict
    cells: list = field(default_factory=list)
    def __post_init__(self):
        self.cells = [Cell(i, c) for i, c in enumerate(self.nb.get('cells', []))]
    @property
    def name(self): return self.path.relative_to(self.root).as_posix()
    @property
    def stem(self): return self.path.stem
    @property
    def number(self):
        m = re.match(r'(\d+)', self.stem)
        return int(m[1]) if m else None
    @property
    def module(self):
        for c in self.cells:
            if c.is_code and 'default_exp' in c.directives:
                return c.directives['default_exp'].split()[0]
    @property
    def code(self): return [c for c in self.cells if c.is_code]
    @property
    def prose(self): return [c for c in self.cells if c.kind == 'markdown']

@dataclass
class Finding:
    file: str
    cell: str
    rule: str
    text: str
    def __str__(self):
        return (f'{self.file}, {self.cell}: {self.rule}: {self.text}' if self.cell
                else f'{self.file}: {self.rule}: {self.text}')

def notebooks(root=ROOT):
    "Every notebook under nbs/, read."
    return [Book(p, Path(root), json.loads(p.read_text(encoding='utf-8')))
            for p in sorted((Path(root)/'nbs').rglob('*.ipynb'))
            if not any(q.startswith(('.', '_')) for q in p.relative_to(root).parts)]

def pages(root):
    "Pages of the site that are no notebooks (.qmd), as notebooks of one cell."
    for p in sorted((Path(root)/'nbs').rglob('*.qmd')):
        if any(q.startswith(('.', '_')) for q in p.relative_to(root).parts): continue
        text = re.sub(r'(?s)\A---\n.*?\n---\n', lambda m: '\n' * m[0].count('\n'),
                      p.read_text(encoding='utf-8'))
        cell = {'cell_type': 'markdown', 'id': '-',
                'source': text.splitlines(keepends=True)}
        yield Book(p, Path(root), {'cells': [cell]})

RULES = {}
def rule(name):
    """Register a rule: a generator over (book, cell or None, message), given all
    notebooks and the root."""
    def deco(f): RULES[name] = f; return f
    return deco

def lint(root=ROOT, rules=None, only=None):
    """Findings of `rules` (all of them by default) in the project at `root`; `only`:
    names of notebooks to report on."""
    root = Path(root).resolve()
    books, res = notebooks(root), {}
    for name in rules or RULES:
        file = lambda b: b if isinstance(b, str) else b.name
        cell = lambda c: '' if c is None else f'cell {c.i + 1} (id {c.id})'
        res[name] = [Finding(file(b), cell(c), name, m)
                     for b, c, m in RULES[name](books, root)]
        if only: res[name] = [f for f in res[name] if f.file in only]
    return res

# -- small readers ---------------------------------------------------------------------

def comments(src):
    "Comment tokens of a code cell: (line number from 0, column, text)."
    try:
        return [(t.start[0] - 1, t.start[1], t.string)
                for t in tokenize.generate_tokens(io.StringIO(src).readline)
                if t.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return [(i, len(l) - len(l.lstrip()), l.strip())
                for i, l in enumerate(src.splitlines()) if l.lstrip().startswith('#')]

def plain(md):
    "Markdown without code: fenced blocks and inline code are blank, lines stay."
    md = re.sub(r'(?ms)^([ \t]*)(```+|~~~+).*?^[ \t]*\2[`~]*[ \t]*$',
                lambda m: '\n' * m[0].count('\n'), md)
    return re.sub(r'(`+)(?!`).+?(?<!`)\1(?!`)', ' ', md)

def no_math(md): return re.sub(r'\$\$.*?\$\$|\$[^$\n]+\$', ' ', md, flags=re.S)
def shown(c):
    return ('hide' not in c.directives
            and c.directives.get('include', '').lower() != 'false')

def brief(s, n=60):
    s = ' '.join(s.split())
    return s if len(s) <= n else s[:n - 3] + '...'

def pictures(c):
    return [k for o in c.outputs for k in o.get('data', {}) if k.startswith('image/')]

# -- directives ------------------------------------------------------------------------

NBDEV = {'default_exp', 'export', 'exports', 'exporti', 'hide', 'hide_line',
         'filter_stream', 'exec_doc', 'slow', 'gpu', 'notest'}
QUARTO = {'eval', 'echo', 'output', 'include', 'warning', 'error', 'label', 'fig-cap',
          'fig-alt', 'fig-subcap', 'fig-width', 'fig-height', 'fig-align', 'fig-column',
          'tbl-cap', 'tbl-subcap', 'lst-cap', 'lst-label', 'layout', 'layout-ncol',
          'layout-nrow', 'column', 'code-fold', 'code-summary', 'code-overflow',
          'code-line-numbers', 'classes', 'cap-location', 'fig-cap-location',
          'tbl-cap-location'}

@rule('directive')
def _directive(books, root):
    """Directives stand at the very top, spelt `#| name` (ours) or `#| name: value`
    (Quarto's); any other spelling is silently ignored."""
    import yaml
    for b in books:
        for c in b.code:
            top, quarto = True, []
            lines = c.source.splitlines()
            found = {i: t for i, col, t in comments(c.source) if re.match(r'#\s*\|', t)}
            for i, l in enumerate(lines):
                if i not in found:
                    if l.strip() and not l.lstrip().startswith('%%'):
                        m = (re.fullmatch(r'#\s*([a-z_]+)\s*', l.strip()) if top
                             else None)
                        if m and m[1] in NBDEV:
                            yield (b, c, f'`{l.strip()}` is a comment; '
                                   f'the directive is `#| {m[1]}`')
                        top = False
                    continue
                t = found[i]
                if (re.search(r'#\|\s*hide_line\s*$', t)
                    and not l.lstrip().startswith('#')):
                    continue
                if not top or not l.lstrip().startswith('#'):
                    # `# |x| is a norm` is a comment
                    word = re.match(r'#\s+\|\s*([\w-]+)', t)
                    if not word or word[1] in NBDEV | QUARTO:
                        yield (b, c, f'`{brief(t)}` below the first line of code or '
                               'comment is ignored')
                    top = False
                    continue
                m = re.fullmatch(r'#\| ([\w-]+)(:?)(?: +(.*))?', l.rstrip())
                # a value that goes on
                if re.match(r'#\| {2,}|#\| *- ', l): quarto.append(l[3:]); continue
                if not m or (m[3] or '').startswith(':'):
                    yield (b, c, f'`{brief(t)}`: write `#| name` or `#| name: value`, '
                           'at the start of the line')
                    continue
                name, colon = m[1], m[2]
                if name in NBDEV and colon:
                    yield b, c, f'`#| {name}:` must have no colon'
                elif name in QUARTO and not colon:
                    yield b, c, f'`#| {name}` needs a colon and a value'
                elif name not in NBDEV | QUARTO:
                    yield b, c, f'unknown directive `{brief(t)}`'
                if name in QUARTO and colon: quarto.append(l[3:])
            try:
                d = yaml.safe_load('\n'.join(quarto)) or {}
                for k, v in d.items() if isinstance(d, dict) else ():
                    if v is None: yield b, c, f'`#| {k}:` has no value'
            except yaml.YAMLError:
                yield (b, c, 'the `#| name: value` lines are not valid YAML: '
                       'put the value in double quotes')

# -- files and cells -------------------------------------------------------------------

@rule('lines')
def _lines(books, root):
    """A cell's source is stored as a list of lines; Quarto joins a plain string without
    its newlines."""
    for b in books:
        for c in b.cells:
            s = c.raw.get('source')
            if isinstance(s, str) and s:
                yield b, c, 'the source is one string, not a list of lines'
            elif isinstance(s, list) and any('\n' in l[:-1] for l in s):
                yield b, c, 'one entry of the source holds several lines'

@rule('ids')
def _ids(books, root):
    "Every cell has an id of its own in its notebook."
    for b in books:
        seen = set()
        for c in b.cells:
            if 'id' not in c.raw: yield b, c, 'no cell id: run nbdev_clean'
            elif c.id in seen: yield b, c, f'the id {c.id} is used twice'
            seen.add(c.id)

@rule('default_exp')
def _default_exp(books, root):
    """One notebook, one module, and no two notebooks with the same: the later would win
    silently."""
    owner = {}
    for b in books:
        ds = [c for c in b.code if 'default_exp' in c.directives]
        if len(ds) > 1: yield b, ds[1], 'a second default_exp'
        if b.module in owner and b.module:
            yield (b, ds[0],
                   f'default_exp {b.module} is already taken by {owner[b.module]}')
        elif b.module:
            owner[b.module] = b.name
        if not ds:
            c = next((c for c in b.code if c.exported), None)
            if c: yield b, c, 'exports, but the notebook has no default_exp'

@rule('names')
def _names(books, root):
    """Pages are named after the notebook without its number, so two that differ only
    there overwrite each other."""
    seen = {}
    for b in books:
        k = re.sub(r'^\d+[a-zA-Z0-9]*_', '', b.path.name.lower())
        if k in seen: yield b, None, f'same page as {seen[k]}'
        seen[k] = b.name

def code_lines(src):
    "Lines of code in a cell: no blanks, comments, docstrings or signatures."
    tree = ast.parse(src)
    keep = {i + 1 for i, l in enumerate(src.splitlines())
            if l.strip() and not l.lstrip().startswith('#')}
    for n in ast.walk(tree):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if n.body[0].lineno > n.lineno:
                keep -= set(range(n.lineno, n.body[0].lineno))
            d = n.body[0]
            if (isinstance(d, ast.Expr) and isinstance(d.value, ast.Constant)
                and isinstance(d.value.value, str)):
                keep -= set(range(d.lineno, d.end_lineno + 1))
    return len(keep)

@rule('cell length')
def _length(books, root):
    """An exported cell is at most 25 lines of code, few are over 15, a module is at
    most 350; signatures, docstrings, comments and blanks are not counted in cells."""
    sizes, last = [], None
    for b in books:
        for c in b.code:
            if not c.exported: continue
            try: n = code_lines(c.source)
            except SyntaxError as e:
                if not re.search(r'(?m)^\s*[%!]', c.source):
                    yield b, c, f'does not parse: {e.msg}'
                continue
            sizes.append(n)
            last = b, c
            if n > MAX_LINES:
                yield b, c, f'{n} lines of exported code, at most {MAX_LINES}: split it'
    long = sum(n > SHORT for n in sizes)
    if long > max(1, LONG_SHARE * len(sizes)):
        yield (*last, f'{long} of {len(sizes)} exported cells have more than {SHORT} '
               f'lines: at most {LONG_SHARE:.0%}')
    for path in sorted((root/root_lib(root)).rglob('*.py')):
        if path.name.startswith('_'): continue
        n = sum(bool(l.strip()) and not l.startswith('# %%')
                for l in path.read_text(encoding='utf-8').splitlines())
        if n > MAX_MODULE:
            yield (path.relative_to(root).as_posix(), None,
                   f'{n} lines, at most {MAX_MODULE}: make two of it')

def printed(c):
    texts = [o.get('text', o.get('data', {}).get('text/plain', '')) for o in c.outputs]
    return [l for t in texts for l in ''.join(t).splitlines()]

@rule('columns')
def _columns(books, root):
    """Code fits the page: 88 columns where it is exported and in tools, benchmarks and
    tests; nearly always in other cells, and in what they print."""
    for path in (p for folder in FOLDERS for p in sorted((root/folder).rglob('*.py'))):
        for n, l in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            if len(l) > WIDTH:
                yield (path.relative_to(root).as_posix(), None,
                       f'line {n}: {len(l)} columns, at most {WIDTH}: {brief(l)}')
    for b in books:
        lines = wide = 0
        for c in b.code:
            if 'colab' in c.id: continue
            over = [l for l in c.source.splitlines() if len(l) > WIDTH]
            if c.exported:
                for l in over:
                    yield (b, c, f'{len(l)} columns of exported code, at most {WIDTH}: '
                           f'{brief(l)}')
                continue
            rest = [l for l in c.source.splitlines() if not l.startswith('#|')]
            if shown(c): rest += printed(c)
            lines, wide = lines + len(rest), wide + sum(len(l) > WIDTH for l in rest)
            for l in rest:
                if len(l) > MAX_WIDTH:
                    yield b, c, f'{len(l)} columns, at most {MAX_WIDTH}: {brief(l)}'
        if wide > max(1, WIDE_SHARE * lines):
            yield (b, None, f'{wide} of {lines} lines of code and output are over '
                   f'{WIDTH} columns: at most {WIDE_SHARE:.0%}')

@rule('one thought')
def _thought(books, root):
    """Exported code has one statement a line, no lambda in a lambda, and no method
    given to a class afterwards."""
    for b in books:
        for c in b.code:
            t = c.tree() if c.exported else None
            if t is None: continue
            classes = {n.name for n in ast.walk(t) if isinstance(n, ast.ClassDef)}
            for n in ast.walk(t):
                for body in (getattr(n, k, [])
                             for k in ('body', 'orelse', 'finalbody')):
                    if not isinstance(body, list): continue
                    for one, other in zip(body, body[1:]):
                        if one.end_lineno == other.lineno:
                            yield (b, c, f'two statements in line {other.lineno}: '
                                   f'{brief(ast.unparse(other))}')
                inner = (m for m in ast.walk(n) if m is not n)
                if isinstance(n, ast.Lambda) and any(
                        isinstance(m, ast.Lambda) for m in inner):
                    yield b, c, f'a lambda in a lambda: {brief(ast.unparse(n))}'
            for n in t.body:
                if not isinstance(n, ast.Assign): continue
                for x in [y for z in n.targets
                          for y in (z.elts if isinstance(z, ast.Tuple) else [z])]:
                    if (isinstance(x, ast.Attribute) and isinstance(x.value, ast.Name)
                        and x.value.id[:1].isupper() and not x.value.id.isupper()):
                        yield (b, c, f'{ast.unparse(x)} is given to a class '
                               'afterwards: write the class whole')

@rule('exported cell')
def _exported(books, root):
    """An exported cell has no magics (they break the module) and no `eval: false` (it
    breaks the site)."""
    for b in books:
        for c in b.code:
            if not c.exported: continue
            if c.tree() is not None and re.search(r'(?m)^\s*(%%?\w|!\w)', c.source):
                try: ast.parse(c.source)
                except SyntaxError: yield b, c, 'a magic in an exported cell'
            if c.directives.get('eval', '').lower() == 'false':
                yield b, c, '`eval: false` on an exported cell'

@rule('stored output')
def _stored(books, root):
    """What is stored is what the reader sees: no errors, no stderr, no progress bars,
    nothing of a show_doc."""
    for b in books:
        for c in b.code:
            for o in c.outputs:
                if o.get('output_type') == 'error':
                    yield (b, c, f'a stored error: {o.get("ename")}: '
                           f'{brief(str(o.get("evalue")))}')
                elif o.get('name') == 'stderr':
                    yield b, c, f'stored stderr: {brief("".join(o.get("text", "")))}'
                elif '\r' in ''.join(o.get('text', '')).replace('\r\n', '\n'):
                    yield b, c, 'a stored progress bar (carriage returns)'
            if c.outputs and re.search(r'(?m)^show_doc\(', c.source):
                yield b, c, 'the output of show_doc holds line numbers: do not store it'

@rule('size')
def _size(books, root):
    "A notebook is at most 500 KB."
    for b in books:
        n = b.path.stat().st_size
        if n > MAX_BYTES:
            yield b, None, f'{n / 1000:.0f} KB, at most {MAX_BYTES // 1000}'

# -- imports ---------------------------------------------------------------------------

@rule('imports')
def _imports(books, root):
    """Building the site runs every cell that holds an import, so imports stand in cells
    of their own (exported cells excepted)."""
    for b in books:
        for c in b.code:
            t = c.tree()
            if (c.exported or t is None
                or c.directives.get('eval', '').lower() == 'false'):
                continue
            nodes = list(ast.walk(t))
            if (any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in nodes)
                and any(isinstance(n, (ast.Expr, ast.Assign)) for n in nodes)):
                yield (b, c, 'imports and other code in one cell (an import inside a '
                       'function counts): put the imports in a cell of their own')

def own_imports(tree, lib):
    "Modules of ours that a cell imports."
    for n in ast.walk(tree):
        if isinstance(n, ast.ImportFrom):
            m = n.module or ''
            if n.level == 1 and m:
                yield m
            elif m == lib or (n.level == 1 and not m):
                yield from (a.name for a in n.names)
            elif m.startswith(lib + '.'):
                yield m[len(lib) + 1:]
        elif isinstance(n, ast.Import):
            yield from (a.name[len(lib) + 1:] for a in n.names
                        if a.name.startswith(lib + '.'))

# Notebooks from this number on are the workshop (machinery); those below are the
# chapters of the book.
WORKSHOP = 80
# Modules of the workshop that bring the whole package together: they import what they
# like, and nothing but them imports them.
def top(module): return module == 'all' or module.split('.')[0] == 'cli'
# Chapters that the workshop may import: the units of data are a model's.
WORKSHOP_NEEDS = {'model'}

def refused(book, other):
    """Why an exported cell of a notebook must not import the module of another one;
    empty if it may."""
    if book.module == other.module: return ''
    # they can be lifted out
    if book.module == 'plots':
        return ('' if other.module == 'style'
                else 'plots imports nothing of ours but style')
    if book.module == 'style': return 'style imports nothing of ours'
    if top(other.module):
        return ('' if top(book.module)
                else 'which brings the whole package together: nothing imports it')
    if top(book.module) or other.number is None: return ''
    if book.number >= WORKSHOP > other.number:
        return ('' if other.module in WORKSHOP_NEEDS else 'which is chapter '
                f'{other.number:02d}: the workshop imports no chapter')
    if other.number < WORKSHOP and other.number > book.number:
        return f'which is chapter {other.number:02d}'
    return ''

def circle(imports, start):
    "The shortest way along imports from a module back to itself, if there is one."
    ways, seen = [[start]], set()
    for way in ways:
        for m in sorted(imports.get(way[-1], ())):
            if m == start: return [*way, m]
            if m not in seen: seen.add(m); ways.append([*way, m])

@rule('import order')
def _order(books, root):
    """Exported cells: a chapter imports the workshop and lower-numbered chapters; the
    workshop imports the workshop; nothing imports itself by detours."""
    lib, home = root_lib(root), {b.module: b for b in books if b.module}
    imports, where = {}, {}
    for b in books:
        if b.number is None: continue
        for c in b.code:
            t = c.tree() if c.exported else None
            for m in own_imports(t, lib) if t else ():
                if m not in home: continue
                why = refused(b, home[m])
                if why: yield b, c, f'imports {m}, {why}'
                if m != b.module:
                    imports.setdefault(b.module, set()).add(m)
                    where.setdefault((b.module, m), c)
    for m in imports:
        way = circle(imports, m)
        if way and m == min(way):
            yield (home[m], where[way[0], way[1]],
                   f'imports go in a circle: {" -> ".join(way)}')

def named(node):
    "Top modules that an import statement names; of any other node none."
    if isinstance(node, ast.Import): return {a.name.split('.')[0] for a in node.names}
    here = isinstance(node, ast.ImportFrom) and not node.level
    return {node.module.split('.')[0]} if here else set()

def root_lib(root):
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(Path(root)/'settings.ini', encoding='utf-8')
    return ini['DEFAULT'].get('lib_name', 'diffusion_nbdev')

ALIAS = {'sklearn': 'scikit-learn', 'PIL': 'pillow', 'yaml': 'pyyaml',
         'mpl_toolkits': 'matplotlib', 'IPython': 'nbdev', 'nbformat': 'nbclient'}

@rule('declared')
def _declared(books, root):
    """Whatever is imported is a requirement in settings.ini: of the package for
    exported cells, or of an extra for the others."""
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    def names(k):
        return {re.match(r'[\w.-]+', r)[0].lower().replace('_', '-')
                for r in ini['DEFAULT'].get(k, '').split()}
    lib = root_lib(root)
    run = names('requirements')
    dev = names('dev_requirements')
    mlflow = names('mlflow_requirements')
    for b in books:
        for c in b.code:
            for n in ast.walk(c.tree() or ast.Module([], [])):
                for m in named(n) - sys.stdlib_module_names - {lib}:
                    required = run | mlflow | (set() if c.exported else dev)
                    if ALIAS.get(m, m).lower().replace('_', '-') not in required:
                        yield (b, c, f'imports {m}, which settings.ini does not '
                               f'require{" at run time" * c.exported}')

# -- prose -----------------------------------------------------------------------------

@rule('title')
def _title(books, root):
    """The first cell is `# Title` and `> one sentence`, and nothing else: the site
    drops other prose there."""
    for b in books:
        c = b.cells[0] if b.cells else None
        ls = ([l for l in c.source.splitlines() if l.strip()]
              if c and c.kind == 'markdown' else [])
        if not ls or not re.match(r'# \S', ls[0]):
            yield b, c, 'the first cell must be `# Title` and `> one sentence`'
        elif len(ls) < 2 or any(not l.startswith('> ') for l in ls[1:]):
            yield (b, c, 'below the title the first cell holds `> one sentence` and '
                   'nothing else')

@rule('headings')
def _headings(books, root):
    "One title, and headings that go down one level at a time."
    for b in books:
        level = 1
        for c in b.prose:
            for l in plain(c.source).splitlines():
                m = re.match(r'(#{1,6}) +\S', l)
                if not m: continue
                n = len(m[1])
                if n == 1 and c.i > 0: yield b, c, f'a second title: `{brief(l)}`'
                if n > level + 1:
                    yield b, c, f'`{brief(l)}` skips a level (from {level} to {n})'
                level = n

@dataclass
class Equation:
    cell: Cell
    label: str
    step: bool
    text: str

def equations(c):
    "Displayed equations of a markdown cell."
    md = plain(c.source)
    below = r'((?:\n[ \t]*)*\n?[ \t]*<!--[ \t]*step[ \t]*-->)?'
    for m in re.finditer(r'\$\$(.*?)\$\$[ \t]*([^\n]*)' + below, md, flags=re.S):
        lab = re.match(r'\{#(eq-[A-Za-z0-9_-]+)\}', m[2])
        step = bool(m[3]) or bool(re.match(r'<!--\s*step\s*-->', m[2]))
        yield Equation(c, lab[1] if lab else '', step, brief(m[1], 40))

CHECKS = re.compile(r'#\s*checks\b(.*)')
ASSERTS = re.compile(r'\bassert|\btest_\w+|\braises?\b|\bclose\(|\bcheck\w*\(')

@rule('equation')
def _equation(books, root):
    """A displayed equation has a label and a checking cell below it, or is marked as a
    step of a derivation."""
    owner = {}
    for b in books:
        eqs = [e for c in b.prose for e in equations(c)]
        for c in b.prose:
            md = plain(c.source)
            if md.count('$$') % 2: yield b, c, 'an odd number of `$$`'
            if re.search(r'\\begin\{(equation|align|gather|multline)\*?\}|'
                         r'(?m:^\s*\\\[)', re.sub(r'\$\$.*?\$\$', '', md, flags=re.S)):
                yield b, c, 'write displayed equations between `$$` and `$$`'
        checked = {}
        for c in b.code:
            for _, _, t in comments(c.source):
                m = CHECKS.match(t)
                for l in re.findall(r'eq-[A-Za-z0-9_-]+', m[1]) if m else ():
                    if not ASSERTS.search(re.sub(r'#.*', '', c.source)):
                        yield (b, c,
                               f'`checks {l}`, but nothing is asserted in this cell')
                    elif c.skipped:
                        yield b, c, f'`checks {l}` in a cell that tests skip'
                    else:
                        checked.setdefault(l, []).append(c.i)
                    if l not in {e.label for e in eqs}:
                        yield (b, c, f'`checks {l}`: '
                               'no equation of this notebook has that label')
        for e in eqs:
            if e.label and e.step:
                yield (b, e.cell,
                       f'{e.label} has a label and is marked as a step: keep one')
            elif not e.label and not e.step:
                yield (b, e.cell, f'`{e.text}` has neither a label {{#eq-...}} nor '
                       '<!-- step --> right below it')
            elif e.label:
                if e.label in owner:
                    yield (b, e.cell,
                           f'the label {e.label} is already in {owner[e.label]}')
                owner[e.label] = b.name
                if not any(i > e.cell.i for i in checked.get(e.label, ())):
                    yield (b, e.cell, f'{e.label}: no cell below has the comment `# '
                           f'checks {e.label}` and asserts something')

@rule('figure')
def _figure(books, root):
    """A cell that draws has a label fig-..., a caption and an alt text; a picture in
    prose has an alt text."""
    owner = {}
    for b in books:
        for c in b.code:
            d = c.directives
            pages_of = (o.get('data', {}).get('text/html', '') for o in c.outputs)
            pics = pictures(c) or any('<img' in ''.join(html) for html in pages_of)
            if d.get('label', '').startswith('fig-'):
                l = d['label']
                if l in owner: yield b, c, f'the label {l} is already in {owner[l]}'
                owner[l] = b.name
                if not pics: yield b, c, f'{l}: no picture is stored'
            if pics and shown(c):
                lack = [f'`#| {k}: "..."`' for k in ('fig-cap', 'fig-alt')
                        if not d.get(k, '').strip('"\' ')]
                if not d.get('label', '').startswith('fig-'):
                    lack.insert(0, '`#| label: fig-...`')
                if lack: yield b, c, f'a picture without {", ".join(lack)}'
        for c in b.prose:
            md = plain(c.source)
            for m in re.finditer(r'!\[([^\]]*)\]\(([^)]*)\)(\{[^}]*\})?', md):
                # Quarto makes the words of such a picture its caption
                alone = (re.search(r'(?:^|\n)[ \t]*$', md[:m.start()])
                         and re.match(r'[ \t]*(?:\n|$)', md[m.end():]))
                caption = ', only a caption: {fig-alt=...}' if m[1].strip() else ''
                if 'fig-alt' not in (m[3] or '') and (alone or not caption):
                    yield (b, c, f'![{brief(m[1])}]({brief(m[2])}) '
                           f'has no alt text{caption}')
            for m in re.finditer(r'<img\b[^>]*>', md):
                if not re.search(r'\balt="[^"]+"', m[0]):
                    yield b, c, f'{brief(m[0])} has no alt text'

# -- links -----------------------------------------------------------------------------

def slug(h):
    "The anchor that Pandoc gives a heading."
    h = re.sub(r'\{[^}]*\}\s*$', '', h); h = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', h)
    h = re.sub(r'[^\w\s.-]', '', h.lower().replace('`', '').replace('*', ''))
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', h.strip()))

def anchors(b):
    "Everything on a notebook's page that a link may point at."
    a = set()
    for c in b.prose:
        prose = re.sub(r'(?ms)^```.*?^```', '', c.source)
        a |= set(re.findall(r'\{[^}\n]*#([A-Za-z][\w.:-]*)', c.source))
        a |= set(re.findall(r'\bid="([^"]+)"', c.source))
        a |= {slug(m[1]) for m in re.finditer(r'(?m)^#{1,6} +(.+)$', prose)}
    for c in b.code:
        if 'label' in c.directives: a.add(c.directives['label'])
        t = c.tree() if c.exported else None
        for n in t.body if t else ():
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)):
                a.add(n.name.lower())
    return a

XREF = re.compile(r'(?<![\w\\/.@])-?@([A-Za-z][\w:.-]*\w)')

@rule('reference')
def _reference(books, root):
    "Cross-references, citations, links and image paths lead somewhere."
    bib = root/'nbs'/'references.bib'
    keys = (set(re.findall(r'(?m)^@\w+\{([^,\s]+),', bib.read_text(encoding='utf-8')))
            if bib.exists() else set())
    here = {b.path.resolve(): anchors(b) for b in books}
    home = {a: b for b in books for a in here[b.path.resolve()]
            if re.match(r'(eq|fig|tbl|sec|lst)-', a)}
    others = list(pages(root))
    here.update({b.path.resolve(): anchors(b) for b in others})
    for b in books + others:
        for c in b.prose:
            md = plain(c.source)
            for m in XREF.finditer(
                no_math(re.sub(r'\]\([^)]*\)|<https?:[^>]*>|https?://\S+', ' ', md))
            ):
                k = m[1].rstrip('.:')
                if re.match(r'(eq|fig|tbl|sec|lst)-', k):
                    if k in here[b.path.resolve()]: continue
                    if k in home:
                        yield (b, c, f'@{k} is in another chapter, where `@` does not '
                               f'reach: write [text]({home[k].path.name}#{k})')
                    else:
                        yield b, c, f'@{k}: no such label'
                elif k not in keys: yield b, c, f'@{k} is not in references.bib'
            for m in re.finditer(r'(?<!\\)\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)',
                                 no_math(md)):
                link = m[1]
                if re.match(r'[a-z][a-z0-9+.-]*:', link): continue
                path, _, anchor = link.partition('#')
                p = (b.path.parent/path).resolve() if path else b.path.resolve()
                if path and path.endswith('.html'):
                    yield b, c, f'{link}: link to the notebook, not to its page'
                elif not p.exists():
                    yield b, c, f'{link}: no such file'
                elif anchor and p in here and anchor not in here[p]:
                    yield b, c, f'{link}: no such place in {p.name}'
            for m in re.finditer(r'<img\b[^>]*\bsrc="([^"]+)"', md):
                if (not re.match(r'[a-z][a-z0-9+.-]*:', m[1])
                    and not (b.path.parent/m[1]).exists()):
                    yield b, c, f'{m[1]}: no such file'

@rule('box')
def _box(books, root):
    "Every `:::` that opens a box is closed; one left open swallows the page below it."
    for b in books + list(pages(root)):
        opened = []
        for c in b.prose:
            for l in plain(c.source).splitlines():
                if re.match(r':{3,}\s*$', l):
                    if opened: opened.pop()
                    else: yield b, c, '`:::` closes a box that was not opened'
                elif re.match(r':{3,}', l): opened.append((c, l))
        for c, l in opened: yield b, c, f'`{brief(l)}` is never closed'

MAX_SHOWN, MAX_WORDS = 25, 3000

def in_sight(c):
    "Is the code of a cell on the page, and open?"
    if not c.is_code or not shown(c) or not c.source.strip(): return False
    hides = {'export', 'exporti', 'default_exp'} & set(c.directives)
    return (not hides and c.directives.get('echo') != 'false'
            and c.directives.get('code-fold') != 'true')

def words(b):
    "Words of a chapter's prose, without folded boxes, tables, equations and code"
    md = '\n'.join(c.source for c in b.prose)
    md = re.sub(r'(?ms)^(:{3,}) *\{[^}\n]*callout[^}\n]*\}.*?^\1 *$', ' ', md)
    md = re.sub(r'\$\$.*?\$\$', ' ', md, flags=re.S)
    md = re.sub(r'(?m)^\s*\|.*$|^#+ .*$|</?[a-zA-Z!][^>\n]*>|\]\([^)]*\)', ' ', md)
    # a formula in the text is one word
    md = re.sub(r'\$[^$\n]+\$', 'x', md)
    return len(re.findall(r"[\w'’-]+", md))

@rule('chapter size')
def _chapter_size(books, root):
    """A chapter shows at most 25 cells of code, has at most 3,000 words, and a picture
    in its first quarter."""
    for b in books:
        if b.number is None or b.number >= WORKSHOP or not b.prose: continue
        n, w = sum(map(in_sight, b.code)), words(b)
        if n > MAX_SHOWN:
            yield (b, None, f'{n} cells of code are in sight, at most {MAX_SHOWN}: '
                   'fold or hide some')
        if w > MAX_WORDS: yield b, None, f'{w} words, at most {MAX_WORDS}'
        page = [c for c in b.cells if not c.is_code or shown(c)]
        first = next((k for k, c in enumerate(page, 1)
                      if ('![' in c.source if not c.is_code else pictures(c))), None)
        # title and links do not count, nor do pages of a few cells
        if len(page) < 20: continue
        if first is None:
            yield b, None, 'no picture'
        elif first > len(page) / 4 + 2:
            yield (b, page[first - 1], f'the first picture is cell {first} of '
                   f'{len(page)} that are shown: it belongs into the first quarter')

def made_and_used(c):
    "Names that a cell of code makes, at any depth, and names that it reads"
    made, used = set(), set()
    for n in ast.walk(c.tree() or ast.Module([], [])):
        if isinstance(n, ast.Name):
            (made if isinstance(n.ctx, ast.Store) else used).add(n.id)
        elif isinstance(n, ast.arg):
            made.add(n.arg)
        elif isinstance(n, ast.alias):
            made.add((n.asname or n.name).split('.')[0])
        elif isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            made.add(n.name)
    return made, used

@rule('in sight')
def _in_sight(books, root):
    """What the code on a chapter's page uses is made on the page: no name comes from a
    hidden cell alone."""
    for b in books:
        if b.number is None or b.number >= WORKSHOP: continue
        seen, hidden = set(), {}
        for c in b.code:
            made, used = made_and_used(c)
            if not shown(c):
                hidden |= {n: c for n in made - seen - hidden.keys()}
                continue
            for n in sorted((used - made - seen) & hidden.keys()):
                yield (b, c, f'`{n}` comes from cell {hidden[n].i + 1}, '
                       'which the page does not show')
            seen |= made

@rule('chapter end')
def _chapter_end(books, root):
    """A chapter of the book ends with exercises whose solutions are folded, and with a
    link to the next one."""
    for b in books:
        if b.number is None or b.number >= WORKSHOP or not b.prose: continue
        if not any('collapse="true"' in c.source for c in b.prose):
            yield (b, b.prose[-1], 'no folded solution: `::: '
                   '{.callout-tip collapse="true" title="Solution"}`')
        if not any(re.search(r'\]\([\w/]+\.ipynb\)', c.source) for c in b.prose[-2:]):
            yield b, b.prose[-1], 'no link to the next chapter: `[next](04_ddpm.ipynb)`'

@rule('site files')
def _site_files(books, root):
    """Whatever `_quarto.yml` names (stylesheets, icon, pictures, bibliography,
    resources) lies in nbs/."""
    import yaml
    f, nbs = root/'_quarto.yml', root/'nbs'
    if not f.exists(): return
    q = yaml.safe_load(f.read_text(encoding='utf-8')) or {}
    html, site = (q.get('format') or {}).get('html') or {}, q.get('website') or {}
    many = lambda x: x if isinstance(x, list) else [x] if x else []
    theme = html.get('theme')
    names = many(html.get('css')) + many(q.get('bibliography'))
    names += [site.get('favicon'), site.get('image')]
    names += many((q.get('project') or {}).get('resources'))
    names += [n for t in (theme.values() if isinstance(theme, dict) else [theme])
              for n in many(t) if str(n).endswith('.scss')]
    for n in names:
        if n and not list(nbs.glob(n)): yield '_quarto.yml', None, f'{n} is not in nbs/'
    stub = nbs/'_quarto.yml'
    if stub.exists():
        for n in many((yaml.safe_load(stub.read_text(encoding='utf-8'))
                       or {}).get('metadata-files')):
            if not (nbs/n).exists(): yield 'nbs/_quarto.yml', None, f'{n}: no such file'

@rule('sidebar')
def _sidebar(books, root):
    """Every notebook and every page of the reference is in the sidebar, and every entry
    of the sidebar exists."""
    import yaml
    f = root/'_quarto.yml'
    if not f.exists(): yield '_quarto.yml', None, 'missing'; return
    def walk(x):
        if isinstance(x, str): yield x
        elif isinstance(x, dict):
            for k, v in x.items():
                if k in ('contents', 'href', 'file') or isinstance(v, (list, dict)):
                    yield from walk(v)
        elif isinstance(x, list):
            for v in x: yield from walk(v)
    site = yaml.safe_load(f.read_text(encoding='utf-8'))['website']
    listed = [p for p in walk(site.get('sidebar', {}))
              if re.search(r'\.(ipynb|qmd|md)$', p) and '://' not in p]
    have = {b.path.relative_to(root/'nbs').as_posix(): b
            for b in books + [b for b in pages(root) if b.stem != '404']}
    for p in listed:
        if not (root/'nbs'/p).exists():
            yield '_quarto.yml', None, f'{p} is in the sidebar, but not in nbs/'
        if listed.count(p) > 1 and p in have:
            yield '_quarto.yml', None, f'{p} is in the sidebar twice'
            listed = [q for q in listed if q != p]
    for p, b in have.items():
        if p not in listed: yield b, None, 'not in the sidebar of _quarto.yml'


if __name__ == '__main__':
    only = {Path(a).resolve().relative_to(ROOT).as_posix() for a in sys.argv[1:]}
    found = [f for fs in lint(only=only).values() for f in fs]
    for f in found: print(f)
    print(f'{len(found)} finding{"s" * (len(found) != 1)}, {len(RULES)} rules')
    sys.exit(bool(found))
