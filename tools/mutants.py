"""Mutants: the package with one small change in one function.

They are made from the syntax trees of the exported modules: arithmetic operators,
signs, bounds and comparisons, `and` for `or`, constants and defaults, keyword arguments
dropped, conditions negated, two alike arguments swapped, a call such as `.clamp()` or
`.detach()` left out, another variable returned, a statement or a context removed.
Docstrings, messages and annotations stay as they are. `tools/mutate.py` runs them.
"""
import ast, hashlib, json, os, re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import lint as rules

# -- one small change of a syntax tree ------------------------------------------------

FLIPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
           ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
           ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
BOUND = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
            ast.In: ast.NotIn, ast.NotIn: ast.In}
REMOVED = set('''clamp clip detach clone abs square sqrt exp expm1 log log1p sigmoid
    double float long round floor to cpu eval train requires_grad_ sort flip'''.split())
SYMMETRIC = {'isinstance', 'issubclass', 'min', 'max', 'minimum', 'maximum', 'gcd'}
GRAD = {'no_grad', 'inference_mode', 'enable_grad'}
NO_CODE = {'annotation', 'returns', 'type_params', 'decorator_list'}

def called(node):
    "The last part of the name of what a call, or a decorator, calls."
    f = node.func if isinstance(node, ast.Call) else node
    return getattr(f, 'attr', getattr(f, 'id', ''))

def copy_of(node, **fields):
    "A copy of a node with other fields."
    return type(node)(**{**{k: getattr(node, k, None) for k in node._fields}, **fields})

def number(x):
    "Another constant of the same type: off by one, doubled, or not small any more."
    if isinstance(x, bool): return not x
    if isinstance(x, int): return x - 1 if x > 1 else x + 1
    return 1. if x == 0 else 0. if abs(x) < 1e-4 else 2 * x

def is_text(node):
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, 'value', 0), str)

def swapped(items, i, item): return [*items[:i], item, *items[i + 1:]]

def negated(test): return ast.UnaryOp(ast.Not(), test)

def of_call(node):
    "The changes of a call."
    for i, k in enumerate(node.keywords):
        rest = node.keywords[:i] + node.keywords[i + 1:]
        if k.arg: yield 'keyword-dropped', node, copy_of(node, keywords=rest)
    a = node.args
    for i in range(len(a) - 1) if called(node) not in SYMMETRIC else ():
        alike = type(a[i]) is type(a[i + 1]) and not isinstance(a[i], ast.Constant)
        if alike and not isinstance(a[i], ast.Starred):
            other = swapped(swapped(a, i, a[i + 1]), i + 1, a[i])
            yield 'swapped', node, copy_of(node, args=other)
    if called(node) in REMOVED and isinstance(node.func, ast.Attribute):
        of = node.func.value
        library = getattr(of, 'id', '') in ('torch', 'np', 'math', 'F')
        if not library: yield 'call-removed', node, of
        elif a: yield 'call-removed', node, a[0]

def of_expression(node, default):
    "(kind, node, what stands there instead) for one expression, without its parts."
    if isinstance(node, ast.BinOp) and type(node.op) in FLIPPED:
        if is_text(node.left) or is_text(node.right): return
        yield 'operator', node, copy_of(node, op=FLIPPED[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield 'sign', node, node.operand
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            kind = 'bound' if type(op) in BOUND else 'comparison'
            other = {**BOUND, **OPPOSITE}[type(op)]()
            yield kind, node, copy_of(node, ops=swapped(node.ops, i, other))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield 'logic', node, copy_of(node, op=other())
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        kind = 'default' if default else 'constant'
        yield kind, node, ast.Constant(number(node.value))
    elif isinstance(node, ast.Constant) and default and is_text(node):
        yield 'default', node, ast.Constant('')
    elif isinstance(node, ast.Call): yield from of_call(node)
    if isinstance(node, ast.IfExp): yield 'condition', node.test, negated(node.test)
    for test in getattr(node, 'ifs', ()): yield 'condition', test, negated(test)

def of_statement(node, names):
    "The same for one statement; `names`: what the function has bound so far, in order."
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    gone = (ast.Raise, ast.AugAssign, ast.Continue, ast.Break)
    if call or isinstance(node, gone): yield 'removed', node, ast.Pass()
    elif isinstance(node, (ast.If, ast.While)):
        yield 'condition', node.test, negated(node.test)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Name):
        near = [n for n in names if n not in (node.value.id, 'self', 'cls')]
        if near: yield 'neighbour', node.value, ast.Name(near[-1])
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        parts = node.value.elts
        if len(parts) == 2 and not any(isinstance(p, ast.Starred) for p in parts):
            yield 'neighbour', node.value, ast.Tuple(parts[::-1], ast.Load())
    elif isinstance(node, ast.With):
        nothing = ast.parse("__import__('contextlib').nullcontext()").body[0].value
        for i in node.items:
            if i.optional_vars is None: yield 'context-dropped', i.context_expr, nothing

def bound(f):
    "The names that a function binds, in the order of the text."
    own = [n for n in ast.walk(f) if isinstance(n, (ast.arg, ast.Name))]
    own = [n for n in own if isinstance(getattr(n, 'ctx', ast.Store()), ast.Store)]
    own.sort(key=place)
    return [(place(n), getattr(n, 'arg', getattr(n, 'id', ''))) for n in own]

def place(node): return node.lineno, node.col_offset

def changes(node, names=(), default=False):
    "Every change below a node; no docstring, message or annotation is touched."
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        names = bound(node)
        for d in node.decorator_list:
            if called(d) in GRAD: yield 'removed', d, None
            else: yield from changes(d)
    if isinstance(node, ast.expr): yield from of_expression(node, default)
    elif isinstance(node, ast.stmt):
        yield from of_statement(node, [n for at, n in names if at < place(node)])
    said = isinstance(node, ast.Expr) and called(node.value) in ('print', 'warn')
    if said or isinstance(node, (ast.JoinedStr, ast.Raise)): return
    for field, value in ast.iter_fields(node):
        if field in NO_CODE: continue
        inside = field in ('defaults', 'kw_defaults')
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST): yield from changes(child, names, inside)

# -- the functions of a module, and where they stand in a notebook ---------------------

def normal(node):
    "A syntax tree without places, docstrings and annotations; the same in any Python."
    if isinstance(node, list): return [normal(n) for n in node if not is_note(n)]
    if not isinstance(node, ast.AST): return repr(node)
    skip = NO_CODE - {'decorator_list'} | {'kind', 'type_comment', 'ctx'}
    parts = {k: v for k, v in ast.iter_fields(node) if k not in skip}
    there = {k: normal(v) for k, v in sorted(parts.items()) if v not in (None, [])}
    return [type(node).__name__, there]

def is_note(node): return isinstance(node, ast.Expr) and is_text(node.value)

def digest(*parts, n=8):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:n]

@dataclass
class Segment:
    "What one exported cell has put into a module."
    start: int  # its first line in the module, from 0
    lines: list
    book: Path  # below the root
    cell: str   # id

@dataclass
class Mutant:
    id: str
    kind: str
    span: tuple  # line and column of start and end in the segment, columns in bytes
    text: str    # what comes there

@dataclass
class Function:
    "A function, a method, or a constant of a module or class."
    name: str
    node: ast.AST
    segment: Segment
    @property
    def fingerprint(self): return digest(normal(self.node), n=16)
    def order(self, seed):
        "All mutants, in the order in which a seed takes them."
        found = mutants(self.name, self.node, self.segment)
        return sorted(found, key=lambda m: digest(seed, m.id))

def segments(path, root):
    "The exported cells of a module, by the lines that nbdev writes above them."
    lines = path.read_text(encoding='utf-8').split('\n')
    heads = [i for i, l in enumerate(lines) if re.match(r'# %% (auto|\S+\.ipynb) #', l)]
    for start, end in zip(heads, [*heads[1:], len(lines)]):
        _, _, name, cell = lines[start].split()
        if name == 'auto': continue
        book = Path(os.path.normpath(path.parent/name)).relative_to(root)
        own = '\n'.join(lines[start + 1:end]).rstrip().split('\n')
        yield Segment(start + 1, own, book, cell.removeprefix('#'))

def units(body, of=''):
    "(name, node) of everything below the top level that can be scored by itself."
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from units(node.body, f'{of}{node.name}.')
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            patch = [a for d in node.decorator_list if called(d) == 'patch'
                     for a in node.args.args[:1] if a.annotation]
            owner = f'{ast.unparse(patch[0].annotation)}.' if patch else of
            yield owner + node.name, node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) != '__all__': yield of + ast.unparse(target), node

def replaced(lines, span, text):
    "Lines with another text from one place to another."
    l0, c0, l1, c1 = span
    a, b = (lines[l].encode()[s] for l, s in ((l0, slice(c0)), (l1, slice(c1, None))))
    return [*lines[:l0], *(a + text.encode() + b).decode().split('\n'), *lines[l1 + 1:]]

def mutants(name, node, segment):
    "The mutants of one function that are sound Python, each another program."
    seen, before = Counter(), normal(ast.parse('\n'.join(segment.lines)))
    for kind, at, new in changes(node):
        span = (at.lineno - 1, at.col_offset, at.end_lineno - 1, at.end_col_offset)
        if new is None: span, text = (span[0], span[1] - 1, *span[2:]), ''
        else: text = ast.unparse(new)
        said = ast.unparse(at), text
        plain = (ast.Constant, ast.Name, ast.Call)
        if isinstance(new, ast.expr) and not isinstance(new, plain): text = f'({text})'
        try: after = normal(ast.parse('\n'.join(replaced(segment.lines, span, text))))
        except SyntaxError: continue
        if after == before: continue
        seen[kind, said] += 1
        yield Mutant(digest(name, kind, said, seen[kind, said]), kind, span, text)

def shown(function, mutant):
    "The changed lines, before and after."
    lines, (l0, _, l1, _) = function.segment.lines, mutant.span
    after = replaced(lines, mutant.span, mutant.text)
    end = len(after) - (len(lines) - l1 - 1)
    both = lines[l0:l1 + 1], after[l0:end]
    return tuple('\n'.join(l.strip() for l in part) for part in both)

def functions(path, root):
    "Everything in a module that can be mutated."
    found, count = [], Counter()
    for s in segments(path, root):
        for name, node in units(ast.parse('\n'.join(s.lines)).body):
            count[name] += 1
            if count[name] > 1: name = f'{name}#{count[name]}'
            if any(changes(node)): found.append(Function(name, node, s))
    return found

def modules(root):
    "Name -> path of every module that a notebook exports."
    lib = Path(root)/rules.root_lib(root)
    files = [p for p in sorted(lib.rglob('*.py')) if any(segments(p, root))]
    return {'.'.join(p.relative_to(lib).with_suffix('').parts): p for p in files}

def shares(found, n):
    "Function name -> how many of about `n` mutants a module it gets, at least one."
    count = {f.name: sum(1 for _ in changes(f.node)) for f in found}
    return {k: max(1, round(n * c / sum(count.values()))) for k, c in count.items()}

def in_cell(function, mutant, lines):
    "The same mutant in the cell of the notebook; None if it is not there."
    segment = Segment(0, lines, function.segment.book, function.segment.cell)
    for name, node in units(ast.parse('\n'.join(lines)).body):
        if name != function.name.split('#')[0]: continue
        for other in mutants(function.name, node, segment):
            if other.id == mutant.id: return other

def planted(function, mutant, path, root):
    "The changed files of a mutant, path below the root -> text: module and notebook."
    s, (l0, c0, l1, c1) = function.segment, mutant.span
    module = path.read_text(encoding='utf-8').split('\n')
    there = l0 + s.start, c0, l1 + s.start, c1
    nb = json.loads((root/s.book).read_text(encoding='utf-8'))
    cell = next((c for c in nb['cells'] if c.get('id') == s.cell), None)
    # The module's docstrings say more than the cell's, so lines stand elsewhere.
    lines = ''.join(cell['source']).split('\n') if cell else []
    other = in_cell(function, mutant, lines)
    if other is None:
        raise ValueError(f'{s.book}, cell {s.cell}: not what {path.name} holds')
    text = '\n'.join(replaced(lines, other.span, other.text))
    cell['source'] = text.splitlines(keepends=True)
    book = json.dumps(nb, ensure_ascii=False)
    return {path.relative_to(root): '\n'.join(replaced(module, there, mutant.text)),
            s.book: book}
