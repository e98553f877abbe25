"""What `help` shows: the comments beside arguments, as docstrings of the modules.

    python tools/docs.py     after nbdev_export (`make export` does both)

In a notebook the meaning of an argument stands beside it, as a comment. `help`, editors
and type checkers read docstrings only, so an exported function gets an `Arguments`
part, and its signature is set without the comments.
"""
import ast, re, sys, textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from lint import comments, root_lib


def meanings(f, notes, method):
    "(name, meaning) of each argument that has a comment beside it, and of the result"
    a = f.args
    plain = a.posonlyargs + a.args
    defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
    pairs = [*zip(plain, defaults), (a.vararg, None), *zip(a.kwonlyargs, a.kw_defaults),
             (a.kwarg, None)]
    pairs = [(x, d) for x, d in pairs if x][int(method):]
    lines = {(d or x).end_lineno for x, d in pairs}
    for x, d in pairs:
        line = (d or x).end_lineno
        if line != f.lineno and notes.get(line): yield x.arg, notes[line]
    if not f.returns: return
    line = f.returns.end_lineno
    if notes.get(line) and line not in lines: yield 'returns', notes[line]


def described(c, notes):
    "(name, meaning) of each field of a dataclass that has a comment beside it"
    if not any('dataclass' in ast.unparse(d) for d in c.decorator_list): return
    for x in c.body:
        if isinstance(x, ast.AnnAssign) and notes.get(x.end_lineno):
            yield ast.unparse(x.target), notes[x.end_lineno]


def part(rows, indent):
    "The lines of the `Arguments` part"
    out = ['Arguments:'] if rows[0][0] != 'returns' else []
    for name, meaning in rows:
        if name == 'returns':
            text, lead = f'Returns: {meaning}', ''
        else:
            text, lead = f'{name}: {meaning}', '    '
        width = 88 - len(indent)
        out += textwrap.wrap(text, width, initial_indent=lead,
                             subsequent_indent=lead + '    ')
    return [indent + l for l in out]


def documented(text):
    "The source of a module, with the meaning of arguments in its docstrings"
    notes = {i + 1: re.sub(r'^#+\s*', '', t).strip() for i, _, t in comments(text)}
    lines, changes = text.splitlines(), []
    def visit(node, method):
        for f in node.body:
            if isinstance(f, ast.ClassDef):
                fields = list(described(f, notes))
                if fields: changes.append((f, fields))
                visit(f, True)
            if not isinstance(f, ast.FunctionDef): continue
            if f.name.startswith('_') and f.name not in ('__init__', '__call__'):
                continue
            rows = list(meanings(f, notes, method and not static(f)))
            if rows and f.body[0].lineno > f.lineno: changes.append((f, rows))
    visit(ast.parse(text), False)
    for f, rows in sorted(changes, key=lambda change: -change[0].lineno):
        if put(lines, f.body[0], rows) and isinstance(f, ast.FunctionDef):
            bare(lines, f)
    return '\n'.join(lines) + '\n'


def static(f):
    return any(getattr(d, 'id', '') == 'staticmethod' for d in f.decorator_list)


def put(lines, first, rows):
    "Into the docstring that stands first in a function; or a new one"
    at, indent = first.lineno - 1, ' ' * first.col_offset
    before = lines[at][:first.col_offset]
    # behind the signature, in its line: no room
    if before.strip(): return False
    doc = (isinstance(first, ast.Expr)
           and isinstance(getattr(first.value, 'value', None), str))
    if not doc:
        below = [f'{indent}"""', *part(rows, indent), f'{indent}"""']
        lines[at:at] = below
        return True
    end = first.end_lineno
    old = '\n'.join(lines[at:end])
    m = re.fullmatch(r'(\s*[rR]?)("""|\'\'\'|"|\')(.*)\2\s*', old, flags=re.S)
    # a docstring of several literals, or with code behind it: left alone
    if not m: return False
    body = m[3].rstrip()
    # there already
    if re.search(r'(\n\n|^\s*)\s*(Arguments|Returns):', body): return False
    if m[2] == "'": body = body.replace('"""', "'''")
    lines[at:end] = [f'{m[1]}"""{body}', '', *part(rows, indent), f'{indent}"""']
    return True


def argument(x, default, lead=''):
    "An argument as it stands in a signature"
    typed = f': {ast.unparse(x.annotation)}' if x.annotation else ''
    equals = ' = ' if typed else '='
    return lead + x.arg + typed + (equals + ast.unparse(default) if default else '')


def inside(a):
    "What stands between the brackets of a signature, piece by piece"
    plain = a.posonlyargs + a.args
    defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
    out = [argument(x, d) for x, d in zip(plain, defaults)]
    if a.posonlyargs: out.insert(len(a.posonlyargs), '/')
    if a.vararg: out.append(argument(a.vararg, None, '*'))
    elif a.kwonlyargs: out.append('*')
    out += [argument(x, d) for x, d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg: out.append(argument(a.kwarg, None, '**'))
    return out


def bare(lines, f):
    "The signature of f without comments, in as few lines as fit"
    indent = ' ' * f.col_offset
    head = f'{indent}def {f.name}('
    end = f') -> {ast.unparse(f.returns)}:' if f.returns else '):'
    body = ', '.join(inside(f.args))
    if len(head + body + end) <= 88:
        new = [head + body + end]
    else:
        rows = ['']
        for piece in inside(f.args):
            added = f'{rows[-1]} {piece},'.lstrip()
            if rows[-1] and len(indent) + 4 + len(added) > 88: rows.append(piece + ',')
            else: rows[-1] = added
        rows = [f'{indent}    {row}' for row in rows]
        new = [head, *rows, indent + end]
    # from `def` to the line before the docstring, which `put` may just have written
    stop = f.body[0].lineno - 1
    lines[f.lineno - 1:stop] = new


def write(root=ROOT):
    "Every module of the package"
    for path in sorted((Path(root)/root_lib(root)).rglob('*.py')):
        text = path.read_text(encoding='utf-8')
        if (not text.splitlines()[:1] or 'AUTOGENERATED' not in text
            or path.name == '_modidx.py'):
            continue
        path.write_text(documented(text), encoding='utf-8')


if __name__ == '__main__': write(Path(sys.argv[1]) if sys.argv[1:] else ROOT)
