"""The pages that nobody writes: the reference (nbs/reference/, one page a module) and
nbs/llms.txt.

    python tools/pages.py            write them
    python tools/pages.py --check    say what is out of step; exit 1 if something is

The reference is read off the package's source: signature, docstring, and the comment
beside each argument (docments). Nothing is imported or executed. llms.txt is the table
of contents for programs, from the sidebar.
"""
import ast, json, re, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from lint import anchors, comments, notebooks, root_lib

# -- reading a module ------------------------------------------------------------------

def public(tree):
    "The names of `__all__`, in order."
    for n in tree.body:
        names = [getattr(t, 'id', '') for t in getattr(n, 'targets', [])]
        if isinstance(n, ast.Assign) and '__all__' in names:
            return ast.literal_eval(n.value)
    return []

def text(node, src):
    "A piece of source on one line."
    return ' '.join(ast.get_source_segment(src, node).split()) if node else ''

def told(n):
    "Name -> meaning, from `Arguments` and `Returns` of a docstring (tools/docs.py)."
    doc, out = ast.get_docstring(n) or '', {}
    parts = re.split(r'(?:^|\n)(?=Arguments:|Returns:)', doc)[1:]
    for part in parts:
        if part.startswith('Returns:'):
            out['return'] = ' '.join(part[8:].split())
            continue
        for k, v in re.findall(r'(?m)^    (\w+): (.*(?:\n {8}.*)*)', part):
            out[k] = ' '.join(v.split())
    return out

def arguments(f, notes, method, src):
    "Name, type, default and meaning of each argument."
    said = told(f)
    a = f.args
    plain = a.posonlyargs + a.args
    pairs = list(zip(plain, [None] * (len(plain) - len(a.defaults)) + a.defaults))
    if a.vararg: pairs.append((a.vararg, None))
    pairs += list(zip(a.kwonlyargs, a.kw_defaults))
    if a.kwarg: pairs.append((a.kwarg, None))
    if method and pairs: pairs = pairs[1:]
    star = {id(a.vararg): '*', id(a.kwarg): '**'}
    for x, d in pairs:
        line = (d or x).end_lineno
        yield (star.get(id(x), '') + x.arg, text(x.annotation, src), text(d, src),
               said.get(x.arg) or ('' if line == f.lineno else notes.get(line, '')))

def docstring(n):
    "Without the part that repeats the comments beside the arguments (tools/docs.py)."
    doc = ast.get_docstring(n) or ''
    return ' '.join(re.split(r'\n\n(?:Arguments|Returns):|^Arguments:', doc)[0].split())

def function(f, notes, src, name=None, method=False):
    "What a page says about a function."
    args, ret = list(arguments(f, notes, method, src)), text(f.returns, src)
    beside = notes.get(f.returns.end_lineno, '') if f.returns else ''
    meaning = told(f).get('return') or beside
    in_one_line = f.returns and f.returns.end_lineno == f.lineno
    if args and args[-1][3] == meaning and in_one_line: meaning = ''
    return dict(name=name or f.name, args=args,
                ret=(ret, meaning) if ret or meaning else None, doc=docstring(f))

def hidden(name): return name.startswith('_')
def is_property(f):
    return any(getattr(d, 'id', '') == 'property' for d in f.decorator_list)

def klass(c, notes, src, extra):
    """What a page says about a class: how it is made, then its public methods; `extra`
    are methods given to it later."""
    init = next((f for f in c.body
                 if isinstance(f, ast.FunctionDef) and f.name == '__init__'), None)
    if init:
        d = function(init, notes, src, c.name, True)
    else:
        fields = [x for x in c.body
                  if isinstance(x, ast.AnnAssign) and not hidden(x.target.id)]
        d = dict(name=c.name)
        d['args'] = [(x.target.id, text(x.annotation, src), text(x.value, src),
                      notes.get(x.end_lineno, '')) for x in fields]
    d.update(doc=docstring(c), ret=None)
    def method(f):
        said = function(f, notes, src, f'{c.name}.{f.name}', True)
        return dict(said, prop=is_property(f))
    def plain(f):
        "One line that says what it gives"
        return (len(f.body) == 1 and isinstance(f.body[0], ast.Return)
                and f.name != 'forward')
    own = [(f, method(f)) for f in c.body
           if isinstance(f, ast.FunctionDef) and not hidden(f.name)]
    d['methods'] = [m for f, m in own
                    if m['doc'] or any(a[3] for a in m['args']) or plain(f)]
    d['methods'] += [function(f, notes, src, f'{c.name}.{n}', True) for n, f in extra]
    return d

def module(path):
    "Functions, classes and constants of a module, in the order of the source."
    src = path.read_text(encoding='utf-8')
    tree = ast.parse(src)
    notes = {i + 1: re.sub(r'^#+\s*', '', t).strip() for i, _, t in comments(src)}
    names = public(tree)
    funs = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    # class -> [(method, function)], from lines such as `Model.save = _save`
    given = {}
    for n in tree.body:
        if isinstance(n, ast.Assign) and len(n.targets) == 1:
            ts, vs = n.targets[0], n.value
            several = isinstance(ts, ast.Tuple) and isinstance(vs, ast.Tuple)
            for t, v in zip(ts.elts, vs.elts) if several else [(ts, vs)]:
                dotted = isinstance(t, ast.Attribute) and isinstance(t.value, ast.Name)
                ours = isinstance(v, ast.Name) and v.id in funs
                if dotted and ours and not hidden(t.attr):
                    given.setdefault(t.value.id, []).append((t.attr, funs[v.id]))
        marks = [getattr(d, 'id', '') for d in getattr(n, 'decorator_list', [])]
        if isinstance(n, ast.FunctionDef) and 'patch' in marks:
            owner = text(n.args.args[0].annotation, src)
            given.setdefault(owner, []).append((n.name, n))
    things, constants, methods = [], [], {id(f) for v in given.values() for _, f in v}
    for n in tree.body:
        if isinstance(n, ast.FunctionDef) and n.name in names and id(n) not in methods:
            things.append(function(n, notes, src))
        elif isinstance(n, ast.ClassDef) and n.name in names:
            things.append(klass(n, notes, src, given.pop(n.name, [])))
        elif isinstance(n, (ast.Assign, ast.AnnAssign)):
            for t in n.targets if isinstance(n, ast.Assign) else [n.target]:
                if getattr(t, 'id', '') in names:
                    note = notes.get(n.lineno) or notes.get(n.end_lineno, '')
                    constants.append((t.id, note))
    return dict(doc=docstring(tree), things=things, constants=constants,
                more=[function(f, notes, src, f'{c}.{n}', True)
                      for c, ms in sorted(given.items()) for n, f in ms])

# -- writing a page --------------------------------------------------------------------

def escaped(s):
    "Text as Markdown: what is not code or mathematics loses its special meaning."
    parts = re.split(r'(`[^`]*`|\$[^$\s](?:[^$]*[^$\s])?\$)', s)
    return ''.join(p if i % 2 else re.sub(r'([\\*_|<>\[\]~^@#$])', r'\\\1', p)
                   for i, p in enumerate(parts))

def code(s):
    ticks = '``' if '`' in s else '`'
    return f'{ticks}{s}{ticks}' if s else ''

def signature(d):
    args = [n + (f': {t}' if t else '') + ((' = ' if t else '=') + v if v else '')
            for n, t, v, _ in d['args']]
    ret = f' -> {d["ret"][0]}' if d['ret'] and d['ret'][0] else ''
    if d.get('prop'): return d['name'] + ret.replace(' -> ', ': ')
    line = f'{d["name"]}({", ".join(args)}){ret}'
    if len(line) <= 88: return line
    return f'{d["name"]}(\n' + ''.join(f'    {a},\n' for a in args) + f'){ret}'

def entry(d, level, where, homes):
    "One function or class."
    anchor = d['name'].lower().replace('.', '-')
    out = [f'{"#" * level} {escaped(d["name"])} {{#{anchor}}}',
           f'```python\n{signature(d)}\n```']
    doc = prose(d['doc'], homes)
    if where:
        stop = '' if not doc or doc[-1] in '.:;!?' else '.'
        doc += f'{stop} [In the chapter.]({where})'
    if doc.strip(): out.append(doc.strip())
    rows = [(code(n), code(t), code(v), prose(m, homes)) for n, t, v, m in d['args']
            if m]
    if d['ret'] and d['ret'][1]:
        rows.append(('returns', code(d['ret'][0]), '', prose(d['ret'][1], homes)))
    head = '| argument | type | default | meaning |\n|:---|:---|:---|:-----|\n'
    if rows: out.append(head + '\n'.join('| ' + ' | '.join(r) + ' |' for r in rows))
    for m in d.get('methods', []): out += entry(m, level + 1, '', homes)
    return out

def prose(s, homes):
    "A docstring as Markdown; an equation or figure of a chapter becomes a link to it."
    held = []
    def ref(m):
        held.append(f'[{m[1]}]({homes[m[1]]}#{m[1]})' if m[1] in homes else m[1])
        return f'\0{len(held) - 1}\0'
    s = re.sub(r'@?\b((?:eq|fig|tbl|sec)-[\w-]*\w)', ref, s)
    return re.sub('\0(\\d+)\0', lambda m: held[int(m[1])], escaped(s))

def quoted(s): return json.dumps(s, ensure_ascii=False)   # a YAML string

def flat(s):
    "A sentence without Markdown, for front matter and plain text."
    s = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', s)
    s = re.sub(r'\[[^\]]*@[^\]]*\]', '', s)
    return ' '.join(re.sub(r'[`*$]', '', s).split())

def reference(root, books):
    "Path -> text of every page of the reference."
    lib, out = root_lib(root), {}
    homes = {a: f'../{b.path.relative_to(root/"nbs").as_posix()}' for b in books
             for a in anchors(b) if re.match(r'(eq|fig|tbl|sec)-', a)}
    for b in sorted((b for b in books if b.module), key=lambda b: b.path.name):
        place = b.module.replace('.', '/')
        src = root/lib/f'{place}.py'
        if not src.exists(): continue
        m = module(src)
        if not m['things'] and not m['constants']: continue
        chapter = f'../{b.path.relative_to(root/"nbs").as_posix()}'
        title = flat(b.cells[0].source.splitlines()[0].lstrip('# '))
        places = anchors(b)
        lines = [f'---\ntitle: {quoted(lib + "." + b.module)}\n'
                 f'description: {quoted(flat(m["doc"]))}\n---',
                 f'<!-- Made from {lib}/{place}.py by tools/pages.py: '
                 'edit the chapter, not this page. -->',
                 'Derived, tested and shown at work in the chapter '
                 f'[{escaped(title)}]({chapter}).']
        if m['things']:
            rows = [f'| [{code(d["name"])}](#{d["name"].lower()}) | '
                    f'{prose(d["doc"], homes)} |' for d in m['things']]
            lines.append('| name | what it is |\n|:---|:------|\n' + '\n'.join(rows))
        for d in m['things']:
            name = d['name'].lower()
            where = f'{chapter}#{name}' if name in places else ''
            lines += entry(d, 2, where, homes)
        for d in m['more']: lines += entry(d, 2, '', homes)
        if m['constants']:
            lines.append('## Constants')
            rows = [f'| {code(n)} | {prose(c, homes)} |' for n, c in m['constants']]
            lines.append('| name | meaning |\n|:---|:------|\n' + '\n'.join(rows))
        name = f'nbs/reference/api-{place.replace("/", "-")}.qmd'
        out[name] = '\n\n'.join(lines) + '\n'
    return out

# -- llms.txt --------------------------------------------------------------------------

def page(p):
    stem = p.rsplit('.', 1)[0].lower()
    return re.sub(r'(^|/)\d+[a-zA-Z0-9]*_', r'\1', stem) + '.html'

def said(path, texts):
    "Title and one sentence of a page."
    if path.suffix == '.ipynb':
        first = json.loads(path.read_text(encoding='utf-8'))['cells'][0]
        ls = [l for l in ''.join(first['source']).splitlines() if l.strip()]
        return flat(ls[0].lstrip('# ')), flat(' '.join(l.lstrip('> ') for l in ls[1:]))
    text = texts.get(path.name) or path.read_text(encoding='utf-8')
    def field(k):
        m = re.search(rf'(?m)^{k}:\s*(.+)$', text)
        return m[1].strip().strip('"').replace('\\"', '"') if m else ''
    return flat(field('title')), flat(field('description'))

def llms(root, texts):
    import yaml
    q = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))['website']
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    names = {Path(p).name: t for p, t in texts.items()}
    description = q.get('description', ini['DEFAULT'].get('description', ''))
    out = [f'# {q["title"]}', f'> {description}.']
    out.append('Every chapter is a notebook that derives, '
               'tests and exports one module of a PyTorch package. '
               f'Sources: {q["repo-url"]} (notebooks in nbs/, one page each below).')
    def line(p):
        f = root/'nbs'/p
        if not f.exists() and Path(p).name not in names: return
        title, one = said(f, names)
        return f'- [{title}]({q["site-url"].rstrip("/")}/{page(p)}): {one}'
    def section(name, contents):
        "Its pages under its name, then the sections in it"
        inner = [c for c in contents if 'section' in c and not isinstance(c, str)]
        pages = [c if isinstance(c, str) else c['href'] for c in contents
                 if c not in inner]
        out.append(f'## {name}\n\n' + '\n'.join(l for l in map(line, pages) if l))
        for c in inner: section(c['section'], c['contents'])
    loose = []
    for s in q['sidebar']['contents']:
        if isinstance(s, str): loose.append(line(s))
        elif 'section' in s: section(s['section'], s['contents'])
        else: loose.append(line(s.get('href', '')))
    if any(loose): out.insert(3, '\n'.join(l for l in loose if l))
    return '\n\n'.join(out) + '\n'

# -- in step ---------------------------------------------------------------------------

def made(root=ROOT):
    "Path -> text of everything that this tool writes."
    root = Path(root)
    out = reference(root, notebooks(root))
    return {**out, 'nbs/llms.txt': llms(root, out)}

def differences(root=ROOT):
    "What is out of step, one line each."
    root, want = Path(root), made(root)
    bad = [f'{p}: {"not what the sources say" if (root/p).exists() else "missing"}'
           for p, t in want.items()
           if not (root/p).exists() or (root/p).read_text(encoding='utf-8') != t]
    have = sorted(p.relative_to(root).as_posix()
                  for p in (root/'nbs'/'reference').glob('api-*.qmd'))
    return bad + [f'{f}: no module of the package belongs to it'
                  for f in have if f not in want]

def write(root=ROOT):
    root, want = Path(root), made(root)
    for f in (root/'nbs'/'reference').glob('api-*.qmd'):
        if f.relative_to(root).as_posix() not in want: f.unlink()
    for p, t in want.items():
        (root/p).parent.mkdir(parents=True, exist_ok=True)
        (root/p).write_text(t, encoding='utf-8')
    return list(want)

if __name__ == '__main__':
    if '--check' in sys.argv[1:]:
        bad = differences()
        for l in bad: print(f'{l}; run: python tools/pages.py')
        sys.exit(bool(bad))
    print('wrote', ', '.join(write()))
