"""How many small faults in the package do its tests notice?

    python tools/mutate.py                    all functions without a fresh score
    python tools/mutate.py schedules ddim     those of some modules
    python tools/mutate.py ddim --survivors   also what survived so far
    python tools/mutate.py ddim --quick       its notebook, short tests: a low score
    python tools/mutate.py ddim --alone       its notebook alone: a lower one
    python tools/mutate.py ddim --list        show the faults, run nothing

Each mutant of `tools/mutants.py` goes into a private copy of the project, both into the
module and into its notebook, because a chapter defines its own functions anew when it
runs. The notebook runs until a cell fails, from the cell where the mutant first matters
(`tools/branches.py`); then the module's own files in tests/. A mutant that nothing
notices has survived. One that runs out of time, in a run from the first cell, counts as
caught, and the score says so.

`tools/mutate.json` is written whole after every mutant, so an interrupted run goes on
where it was. A function is tried again when the hash of its syntax tree changes. Where
no test could see a difference, give the survivor a reason there, by hand, and it counts
no more: `"reason": "equivalent: ..."`.
"""
import argparse, ast, contextlib, gc, importlib, json, os, re, resource, shutil, signal
import sys, tempfile, time, traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import branches
import check
import lint as rules
from mutants import functions, modules, planted, segments, shares, shown

ROOT = check.ROOT
STORE = Path(__file__).with_suffix('.json')
MUTANTS = 40           # about so many a module
EACH = 2               # and at least so many a function, where there are as many
MEMORY = 12 * 2 ** 30  # bytes that a mutant may ask for
# Tests beside tests/test_<module>*.py: module -> how the names of their files go on.
TESTS = dict.fromkeys(['model', 'training', 'files', 'resume', 'ending'], ['faults'])
TESTS.update(dict.fromkeys('encoding cells columns tables'.split(), ['own_tables']))
TESTS.update(dict.fromkeys('labelling arrays starting'.split(), ['own_kinds']))
TESTS.update(dict.fromkeys(['multistep', 'stochastic'], ['samplers']))
TESTS.update(doubts=['points'], agreeing=['trainer'], straight=['flow'])
TESTS.update(dict.fromkeys(['compared', 'cli.real', 'cli.evaluate'], ['judge']))
# Notebooks beside a module's own: module, or the package that it is in -> their names.
BOOKS = dict(cli=['91_cli'])
# Those that take long: `--quick` leaves them out, and notebooks beside a module's own.
LONG = {'test_cli', 'test_faults', 'test_devices', 'test_own_kinds', 'test_own_tables'}

# -- one mutant ------------------------------------------------------------------------

def tests_of(module, root):
    "The files in tests/ that belong to a module, by their names and by `TESTS`."
    parts = module.split('.')
    names = {*parts, '_'.join(parts), *TESTS.get(module, ())}
    return sorted({p.relative_to(root).as_posix() for n in names
                   for p in (root/'tests').glob(f'test_{n}*.py')})

def books_of(module, root):
    "Notebooks that test a module beside its own, by `BOOKS`."
    names = BOOKS.get(module, BOOKS.get(module.split('.')[0], ()))
    return [p.relative_to(root) for n in names for p in (root/'nbs').glob(f'{n}.ipynb')]

def stems(root, *folders):
    return {p.stem for d in folders for p in (root/d).glob('*.py')}

def warm(base, books):
    "Import what others wrote, once for all mutants: it takes longer than most tests."
    # A fork of a process with more threads may wait for them for ever.
    os.environ['OMP_NUM_THREADS'] = '1'
    texts = ['import nbdev.test, pytest']
    for path in (*modules(base).values(), *(base/'tests').glob('*.py')):
        texts.append(path.read_text(encoding='utf-8'))
    for book in rules.notebooks(base):
        if Path(book.name) in books: texts += [c.source for c in book.code]
    own = {rules.root_lib(base), *stems(base, 'tools', 'tests')}
    for text in texts:
        try: tree = ast.parse(re.sub(r'(?m)^\s*[%!].*$', '', text))
        except SyntaxError: continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import): names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom): names = [node.module or '']
            else: continue
            for name in names:
                if getattr(node, 'level', 0): continue
                if name.split('.')[0] in own: continue
                try: importlib.import_module(name)
                except Exception: pass
    gc.freeze() # so that forks share what is there

def enter(root):
    "Make this process see the project at `root` and no other."
    own = {rules.root_lib(root), *stems(ROOT, 'tools')}
    for name in list(sys.modules):
        if name.split('.')[0] in own: del sys.modules[name]
    other = {'', *map(str, (ROOT, ROOT/'tools'))}
    sys.path[:] = [str(root), *(p for p in sys.path if p not in other)]
    env = check.environment(root.parent)
    os.environ.clear()
    os.environ.update(env, PYTHONPATH=str(root), TMPDIR=str(root.parent))
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    sys.dont_write_bytecode, tempfile.tempdir = True, None
    os.chdir(root)

def fails(root, name):
    "Whether a notebook, by nbdev's own runner, or a file of tests fails here."
    if not name.endswith('.ipynb'):
        import pytest
        code = pytest.main(['-xq', '-p', 'no:cacheprovider', '-m', 'not slow', name])
        return code != 5 and code # 5: all of them are slow
    from nbdev.test import test_nb
    flags = check.flags().split()
    return not test_nb(root/name, skip_flags=flags, force_flags=[], basepath=root)[0]

def child(root, what, out, cpu):
    "What a fork does: `what` happens in the project, and it ends."
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd in 1, 2: os.dup2(out.fileno(), fd)
        sys.stdout, sys.stderr = (open(fd, 'w', closefd=False) for fd in (1, 2))
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 9))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        enter(root)
        code = int(what())
    except BaseException: traceback.print_exc()
    finally:
        for f in sys.stdout, sys.stderr: f.flush()
        os._exit(code)

def forked(root, name, out, cpu=3600, wall=3600):
    "What went wrong in a fork ('' for nothing), and the seconds of work it took."
    pid = os.fork()
    if not pid: child(root, lambda: fails(root, name), out, cpu)
    return branches.ended(pid, wall)

def attempt(base, names, limits, files=()):
    """Who notices a mutant: the first notebook or file of tests that fails, or ''.

    Without changed `files`, learn how long each takes, and show what fails."""
    with tempfile.TemporaryDirectory() as tmp, open(f'{tmp}/out', 'w+b') as out:
        root = Path(tmp).resolve()/'project'
        shutil.copytree(base, root)
        for file, text in dict(files).items():
            (root/file).write_text(text, encoding='utf-8')
        for name in names:
            how, took = forked(root, name, out, *limits.get(name, ()))
            if not files: limits[name] = 3 * took + 20, 20 * took + 120
            if not how: continue
            out.seek(0)
            said = out.read().decode(errors='replace')
            if not files: print('\n'.join(said.splitlines()[-25:]), file=sys.stderr)
            if how != 'failed' or not name.endswith('.ipynb'): return f'{name}: {how}'
            cell = re.findall(r'While Executing Cell #(\d+)', said)
            # Not a cell but the runner: no test has shown anything.
            if not cell: raise OSError(f'{name} cannot be run: {check.last(said)}')
            return f'{Path(name).stem}, cell {cell[-1]}'
    return ''

def judged(todo, path, base, module, late, lived=(), quick=False, alone=False):
    """(function, mutant, who notices it) for all of them, while there is time.

    The notebook comes first, and then the files of tests; but these come first for what
    has `lived` so far in a chapter, as they are what changes most then."""
    lived = {m.id for f, m in todo if m.id in lived and f.segment.book.name < '80'}
    limits, tests = {}, tests_of(module, base)
    others = books_of(module, base)
    if quick: tests, others = [t for t in tests if Path(t).stem not in LONG], []
    if alone: tests, others = [], []
    def tried(f, m, names):
        if not names: return ''
        bad = '' if limits.keys() >= {*names} else attempt(base, names, limits)
        if bad: raise branches.UnchangedFails(bad)
        return attempt(base, names, limits, planted(f, m, path, base))
    def through_tests(some):
        if not (some and tests): return [(f, m, '') for f, m in some]
        found = branches.tested(some, path, base, child, fails, late, tests)
        return ((f, m, tried(f, m, tests) if by is None else by) for f, m, by in found)
    rest = [(f, m) for f, m in todo if m.id not in lived]
    for f, m, by in through_tests([(f, m) for f, m in todo if m.id in lived]):
        if by: yield f, m, by
        else: rest.append((f, m))
    for book in sorted({f.segment.book for f, _ in rest}):
        left = [(f, m) for f, m in rest if f.segment.book == book]
        for way in [book, *others]:
            run = branches.branched(left, path, base, child, fails, late, way)
            left = []
            with contextlib.closing(run):
                for f, m, cell in run:
                    by = f'{way.stem}, cell {cell}' if cell else ''
                    # Only a run that starts afresh may say that time runs out.
                    if cell is None: by = tried(f, m, [way.as_posix()])
                    if by: yield f, m, by
                    else: left.append((f, m))
            if not left: break
        if time.time() > late: return
        yield from ((f, m, '') for f, m in left if m.id in lived)
        yield from through_tests([(f, m) for f, m in left if m.id not in lived])

# -- scores ----------------------------------------------------------------------------

def read(store=STORE):
    if not store.exists(): return dict(modules={})
    return json.loads(store.read_text(encoding='utf-8'))

def is_open(survivor): return not survivor.get('reason', '').startswith('equivalent: ')

def tally(entry):
    "How many mutants of a function were caught, of how many that could have been."
    caught = len(entry['caught'])
    return caught, caught + sum(map(is_open, entry['survivors'].values()))

def save(scores, store):
    for entries in scores['modules'].values():
        for e in entries.values(): e['score'] = '{} of {}'.format(*tally(e))
    part = store.with_suffix('.part')
    text = json.dumps(scores, indent=1, ensure_ascii=False) + '\n'
    part.write_text(text, encoding='utf-8')
    os.replace(part, store)

def is_fresh(entry, function):
    "Whether a score is finished, and of this code."
    if not entry or entry['fingerprint'] != function.fingerprint: return False
    return len(entry['caught']) + len(entry['survivors']) >= entry['planned']

def stale(root=ROOT, store=STORE):
    "Functions without a fresh score; and the number of all."
    known, old, n = read(store)['modules'], [], 0
    for module, path in modules(root).items():
        found = functions(path, root)
        has = known.get(module, {})
        old += [f'{module}.{f.name}' for f in found if not is_fresh(has.get(f.name), f)]
        n += len(found)
    return old, n

def reasons(entry):
    "Mutant -> (fingerprint, reason), also from a score that is being made anew."
    now = {i: s['reason'] for i, s in entry['survivors'].items() if s.get('reason')}
    now = {i: (entry['fingerprint'], r) for i, r in now.items()}
    return {**entry.get('before', {}), **now}

def plan(entries, found, n=None, seed=0, survivors=False):
    "The functions and mutants to try; code that changed gets a new entry."
    share = shares(found, n or MUTANTS)
    for f in found:
        e = entries.get(f.name)
        if not e or e['fingerprint'] != f.fingerprint:
            before = reasons(e) if e else {}
            e = dict(fingerprint=f.fingerprint, before=before, caught={}, survivors={})
            e['planned'] = max(EACH, share[f.name])
        elif n: e['planned'] = max(e['planned'], share[f.name])
        again = {i for i, s in e['survivors'].items() if survivors and is_open(s)}
        if is_fresh(e, f) and not again: continue
        entries[f.name], order = e, f.order(seed)
        e['planned'] = min(e['planned'], len(order))
        tried = (e['caught'].keys() | e['survivors'].keys()) - again
        chosen = {m.id for m in order[:e['planned']]} | again
        yield from ((f, m) for m in order if m.id in chosen - tried)

def record(entry, function, mutant, by, known):
    "Keep what happened to a mutant; a reason given for other code is to be looked at."
    entry['survivors'].pop(mutant.id, None)
    if by: entry['caught'][mutant.id] = by
    else:
        was, now = shown(function, mutant)
        survivor = dict(kind=mutant.kind, was=was, now=now)
        entry['survivors'][mutant.id] = survivor
        fingerprint, reason = known.get(mutant.id, ('', ''))
        if reason and fingerprint != function.fingerprint:
            reason = 'look again: ' + reason.removeprefix('look again: ')
        if reason: survivor['reason'] = reason
    if is_fresh(entry, function): entry.pop('before', None)

def score(module, scores, base, store, minutes=25., quick=False, alone=False, **choice):
    "Try what a module has no fresh score for; whether that was finished."
    path, t0, known = modules(base)[module], time.time(), {}
    found, entries = functions(path, base), scores['modules'].setdefault(module, {})
    # From all modules, because a function may have moved.
    for es in scores['modules'].values():
        for e in es.values(): known.update(reasons(e))
    lived = {i for e in entries.values() for i in e['survivors']}
    todo, late, i = list(plan(entries, found, **choice)), t0 + 60 * minutes, 0
    results = judged(todo, path, base, module, late, lived, quick, alone)
    try:
        with contextlib.closing(results):
            for i, (f, m, by) in enumerate(results, 1):
                record(entries[f.name], f, m, by, known)
                save(scores, store)
                say(f'caught by {by}' if by else 'SURVIVED', module, f, m)
            if i < len(todo):
                left = len(todo) - i
                print(f'{module}: {left} mutants left after {minutes:g} minutes')
                return False
    except branches.UnchangedFails as e:
        print(f'{module}: {e}, without any change', file=sys.stderr)
        return False
    both = [tally(entries[f.name]) for f in found]
    caught, of = (sum(t[i] for t in both) for i in (0, 1))
    by = [b for f in found for b in entries[f.name]['caught'].values()]
    slow = sum('out of time' in b for b in by)
    print(f'{module}: {caught} of {of} caught ({slow} by running out of time); '
          f'{len(todo)} tried now in {time.time() - t0:.0f} s', flush=True)
    return True

def say(what, module, f, m):
    was, now = (s.replace('\n', '\n      ') for s in shown(f, m))
    print(f'{what}: {module}.{f.name}: {m.kind}\n    - {was}\n    + {now}', flush=True)

def run(names=(), root=ROOT, store=STORE, **how):
    "Score modules, all by default, in a copy of the project; whether all are done."
    made = '.* __pycache__ *.egg-info run data _docs _proc build dist'.split()
    with tempfile.TemporaryDirectory() as tmp:
        base, scores = Path(tmp).resolve()/'base', read(store)
        shutil.copytree(root, base, ignore=shutil.ignore_patterns(*made))
        there = modules(base)
        unknown = [n for n in names if n not in there]
        if unknown: raise ValueError(f'no module {unknown[0]}: {", ".join(there)}')
        warm(base, {s.book for n in names or there for s in segments(there[n], base)})
        done = [score(n, scores, base, store, **how) for n in names or there]
        if names: return all(done)
        # What no module has any more goes, when all were looked at.
        now = {n: {f.name for f in functions(p, base)} for n, p in there.items()}
        scores['modules'] = {n: {k: e for k, e in es.items() if k in now[n]}
                             for n, es in scores['modules'].items() if now.get(n)}
        save(scores, store)
    return all(done)

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('modules', nargs='*', help='only these')
    p.add_argument('--mutants', type=int, help='about so many a module (default 40)')
    p.add_argument('--seed', type=int, default=0, help='another choice of mutants')
    p.add_argument('--minutes', type=float, default=25., help='at most, for a module')
    p.add_argument('--survivors', action='store_true', help='try survivors again')
    p.add_argument('--quick', action='store_true', help='own notebook and short tests')
    p.add_argument('--alone', action='store_true', help='own notebook and no tests')
    p.add_argument('--list', action='store_true', help='show the mutants, run nothing')
    a = p.parse_args(argv)
    choice, there = dict(n=a.mutants, seed=a.seed), modules(ROOT)
    try:
        if not a.list:
            how = dict(minutes=a.minutes, survivors=a.survivors)
            how.update(quick=a.quick, alone=a.alone)
            return int(not run(a.modules, **how, **choice))
        for name in a.modules or there:
            for f, m in plan({}, functions(there[name], ROOT), **choice):
                say(m.id, name, f, m)
    except (ValueError, KeyError, OSError) as e: p.error(str(e))

if __name__ == '__main__':
    signal.signal(signal.SIGTERM, check.interrupt)
    try: sys.exit(main())
    except KeyboardInterrupt: print('interrupted', file=sys.stderr); sys.exit(130)
