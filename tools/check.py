"""What `make test` runs.

    python tools/check.py                        everything but the cells flagged slow
    python tools/check.py nbs/04_ddpm.ipynb
        that notebook: its rules, then its cells
    python tools/check.py --slow
        the notebooks and tests that have slow parts, with those parts
    python tools/check.py --only lint sync
        some of: lint sync readme notebooks tests

Each notebook runs in a process of its own, so that no seed or default leaks from one to
the next; it is forked from one that has loaded the libraries, but nothing of this
package.
Every failure is one line: file, cell, rule. The last line is `N passed, N failed`.
"""
import argparse, functools, json, os, re, shutil, signal, subprocess, sys
import tempfile, threading, time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
import lint as rules
import readme
import warm

PARTS = 'lint sync readme notebooks tests'.split()
# Files of the package that no notebook exports, data files aside; tests/test_cli.py
# compares the table
HANDWRITTEN = {'__main__.py', 'py.typed', 'catalogue.json'}
DATA = ('configs/', 'weights/')
running = set()                             # processes to end when we are interrupted

class Tally:
    "Counts, and prints as things end."
    def __init__(self): self.passed = self.failed = 0
    def ok(self, text='', n=1):
        self.passed += n
        if text: print(text, flush=True)
    def bad(self, text, n=1):
        self.failed += n
        print('FAIL  ' + text, flush=True)

def environment(tmp):
    "One thread a process, no user profile, no display: the same on every machine."
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT),
               PYTHONUNBUFFERED='1', IPYTHONDIR=str(tmp))
    for k in ('IN_TEST', 'MPLBACKEND', 'JPY_PARENT_PID'): env.pop(k, None)
    return env

def run(cmd, timeout, env, cwd=ROOT):
    """Exit code (None when it ran out of time) and output of a process group that
    leaves nothing behind."""
    with tempfile.TemporaryFile() as f:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=f,
                             stderr=subprocess.STDOUT, env=env, cwd=cwd,
                             start_new_session=True)
        running.add(p)
        try: code = p.wait(timeout)
        except subprocess.TimeoutExpired: code = None
        finally:
            stop(p)
            running.discard(p)
        f.seek(0)
        return code, f.read().decode(errors='replace')

def stop(p):
    try: os.killpg(p.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError): pass
    p.wait()

# -- the package and the notebooks in step ---------------------------------------------

EXPORT = ('from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__(); '
          f'import sys; sys.path.insert(0, {str(ROOT/"tools")!r}); import docs; '
          'docs.write(".")')
CLEAN = 'from nbdev.clean import nbdev_clean; nbdev_clean.__wrapped__()'

def files_of(d, lib):
    return {p.relative_to(d).as_posix() for p in (d/lib).rglob('*')
            if p.is_file() and '__pycache__' not in p.parts}

def sync(tally, env, root=ROOT):
    "Clean and export a copy, and compare: the working tree is never touched."
    lib = rules.root_lib(root)
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/'project'
        (copy/lib).mkdir(parents=True)
        shutil.copy(root/'settings.ini', copy)
        shutil.copytree(root/'nbs', copy/'nbs',
                        ignore=shutil.ignore_patterns('.*', 'run', 'data'))
        env = dict(env, PYTHONPATH=str(copy))
        code, out = run([sys.executable, '-c', EXPORT], 300, env, copy)
        if code:
            return tally.bad(f'{lib}/: package in step: the export fails: {last(out)}')
        new = files_of(copy, lib)
        old = {f for f in files_of(root, lib) if not f[len(lib) + 1:].startswith(DATA)}
        bad = [f'{f}: package in step: no notebook exports it'
               for f in sorted(old - new) if f[len(lib) + 1:] not in HANDWRITTEN]
        bad += [f'{f}: package in step: missing; run make export'
                for f in sorted(new - old)]
        bad += [f'{f}: package in step: {where(copy/f, root/f)}; run make export'
                for f in sorted(new & old)
                if (copy/f).read_bytes() != (root/f).read_bytes()]
        bad += [f'{f}: package in step: not in git' for f in untracked(root, lib)]
        for b in bad: tally.bad(b)
        if not bad: tally.ok('ok    package in step with the notebooks')
        code, out = run([sys.executable, '-c', CLEAN], 300, env, copy)
        bad = [p for p in rules.notebooks(root)
               if p.path.read_bytes() != (copy/p.name).read_bytes()]
        for b in bad:
            tally.bad(f'{b.name}: clean notebook: nbdev_clean would change it')
        if code: tally.bad(f'nbs/: clean notebook: nbdev_clean fails: {last(out)}')
        elif not bad: tally.ok('ok    notebooks clean')

def where(new, old):
    "The first cell in which an exported file differs."
    a = new.read_text(encoding='utf-8').splitlines()
    b = old.read_text(encoding='utf-8').splitlines()
    cell = 'the head of the file'
    for i in range(max(len(a), len(b))):
        x, y = a[i] if i < len(a) else None, b[i] if i < len(b) else None
        m = re.match(r'# %% (\S+) #(\w+)', x or '')
        if m: cell = f'{Path(m[1]).name} cell {m[2]}'
        if x != y: return f'line {i + 1} ({cell}) is not what the notebook says'
    return 'line endings or the last newline differ'

def untracked(root, lib):
    "Files of the package that a clone would not have."
    if not (root/'.git').exists() or not shutil.which('git'): return []
    p = subprocess.run(['git', 'ls-files', '--others', '--', lib], cwd=root,
                       capture_output=True, text=True)
    if p.returncode: return []
    return [f for f in p.stdout.splitlines()
            if not re.search(r'__pycache__|\.py[co]$|(^|/)\.', f)]

def last(out):
    lines = [l.strip() for l in out.splitlines() if l.strip()]
    return lines[-1] if lines else 'no output'

# -- notebooks and tests ---------------------------------------------------------------

RUN = '''import sys; from pathlib import Path; from nbdev.test import test_nb
path, skip, force, base = sys.argv[1:]
ok, _ = test_nb(Path(path), skip_flags=skip.split(), force_flags=force.split(),
                basepath=base)
sys.exit(not ok)'''

LIBRARIES = '''nbdev.test matplotlib.pyplot lightning.pytorch scipy.stats
sklearn.datasets'''

@functools.cache
def interpreter(thread, env):
    "One for each of our threads, since it does one thing at a time"
    return warm.Interpreter(LIBRARIES, dict(env))

class Child:
    "A process for which somebody else waits"
    def __init__(self, pid): self.pid = pid
    def wait(self): pass

def flags():
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return ini['DEFAULT'].get('tst_flags', 'notest')

def execute(path, timeout, env, root=ROOT, force=''):
    """Run a notebook's cells until one fails: exit code (None when it ran out of time),
    output, number of the cell that failed, from 1."""
    children, args = [], [str(path), flags(), force, str(root)]
    def begun(pid):
        children.append(Child(pid))
        running.update(children)
    python = interpreter(threading.get_ident(), tuple(sorted(env.items())))
    p = python.run(args, path.parent, RUN, timeout, 'out', begun)
    running.difference_update(children)
    code, out = p.returncode, p.stdout
    m = re.findall(r'While Executing Cell #(\d+)', out)
    return code, out, int(m[-1]) if m else None

def notebook(tally, book, timeout, env, force):
    t0 = time.time()
    code, out, i = execute(book.path, timeout, env, force=force)
    took = f'{time.time() - t0:6.1f} s  {book.name}'
    if code == 0: return tally.ok('ok  ' + took)
    cell = f', cell {i}' if i else ''
    if code is None:
        tally.bad(f'{book.name}: notebook runs: not done after {timeout} s')
    else:
        tally.bad(f'{book.name}{cell}: notebook runs: {last(out)}')
    if code is not None:
        print('\n'.join('      | ' + l for l in out.splitlines()[-40:]), flush=True)

def tests(tally, timeout, env, slow):
    xml = Path(env['IPYTHONDIR'])/'tests.xml'
    t0 = time.time()
    marked = 'slow' if slow else 'not slow'
    code, out = run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                     '-m', marked, f'--junitxml={xml}', 'tests'], timeout, env)
    if code == 5: return   # none selected
    cases = list(ET.parse(xml).getroot().iter('testcase')) if xml.exists() else []
    good = 0
    for c in cases:
        f = [e for e in c if e.tag in ('failure', 'error')]
        if f:
            file = c.get('classname', '').replace('.', '/')
            why = ' '.join((f[0].get('message') or '').split())[:200]
            tally.bad(f'{file}.py, {c.get("name")}: test: {why}')
        elif not [e for e in c if e.tag == 'skipped']:
            good += 1
    if good: tally.ok(f'ok  {time.time() - t0:6.1f} s  tests/ ({good} tests)', good)
    if code is None:
        tally.bad(f'tests/: test: not done after {timeout} s')
    elif code and not any(e.tag in ('failure', 'error') for c in cases for e in c):
        tally.bad(f'tests/: test: {last(out)}')
    if code:
        print('\n'.join('      | ' + l for l in out.splitlines()[-60:]), flush=True)

def has_slow(book): return any('slow' in c.directives for c in book.code)

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('notebooks', nargs='*', help='only these')
    p.add_argument('--only', nargs='+', choices=PARTS, help='only these parts')
    p.add_argument('--slow', action='store_true',
                   help='run what is flagged slow as well')
    p.add_argument('--workers', type=int, default=2)
    p.add_argument('--timeout', type=int,
                   help='seconds for one notebook (default 300; with --slow 7200)')
    a = p.parse_args(argv)
    if a.workers < 1: p.error(f'--workers must be at least 1, not {a.workers}')
    tally, t0 = Tally(), time.time()
    books = rules.notebooks(ROOT)
    only = {Path(n).resolve().relative_to(ROOT).as_posix() for n in a.notebooks}
    unknown = only - {b.name for b in books}
    if unknown: p.error(f'no such notebook: {", ".join(sorted(unknown))}')
    usual = ['lint', 'notebooks'] if only else PARTS
    parts = a.only or (['notebooks', 'tests'] if a.slow and not only else usual)
    if only: books = [b for b in books if b.name in only]
    with tempfile.TemporaryDirectory() as tmp:
        env = environment(tmp)
        if 'lint' in parts:
            res = rules.lint(ROOT, only=only)
            for fs in res.values():
                for f in fs: tally.bad(str(f))
            good = sum(not fs for fs in res.values())
            tally.ok(f'ok    {good} of {len(res)} rules on {len(books)} notebooks',
                     good)
        if 'readme' in parts:
            bad = readme.differences(ROOT)
            for b in bad: tally.bad(f'{b}: readme in step; run: python tools/readme.py')
            if not bad: tally.ok('ok    README.md in step with nbs/index.ipynb')
        jobs = []
        if 'sync' in parts: jobs.append((sync, tally, env))
        timeout = a.timeout or (7200 if a.slow else 300)
        if 'tests' in parts and any((ROOT/'tests').glob('test_*.py')):
            jobs.append((tests, tally, timeout * 4, env, a.slow))
        if 'notebooks' in parts:
            chosen = [b for b in books if not a.slow or only or has_slow(b)]
            # the longest first: none of them is left for one worker alone
            took = json.loads((ROOT/'tools'/'times.json').read_text(encoding='utf-8'))
            chosen.sort(key=lambda b: -took.get(Path(b.name).stem, 0))
            if not a.slow and not chosen:
                tally.bad('nbs/: notebook runs: there are no notebooks')
            jobs += [(notebook, tally, b, timeout, env, 'slow' if a.slow else '')
                     for b in chosen]
        with ThreadPoolExecutor(a.workers) as pool:
            futures = [pool.submit(f, *args) for f, *args in jobs]
            try:
                for f in as_completed(futures): f.result()
            except BaseException:
                for f in futures: f.cancel()
                for q in list(running): stop(q)
                raise
    print(f'{time.time() - t0:.0f} s in all', flush=True)
    print(f'{tally.passed} passed, {tally.failed} failed', flush=True)
    return int(bool(tally.failed or not tally.passed))

def interrupt(*_): raise KeyboardInterrupt

if __name__ == '__main__':
    signal.signal(signal.SIGTERM, interrupt)
    try: sys.exit(main())
    except KeyboardInterrupt: print('interrupted', file=sys.stderr); sys.exit(130)
