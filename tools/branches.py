"""Run a notebook once, and its mutants from the cell where each first matters.

A run of the unchanged notebook, the trunk, leaves a sleeping fork of itself before
every cell, and notes which functions each cell calls. Up to the first cell that calls
a function, its mutant could change nothing: a fork of the process that sleeps there
puts the mutant in and runs the rest of the notebook, so the long cells before it, and
the imports, are run once for all. The files that stood below `root.parent` at that
moment are put back first.

A mutant in the body of a function goes into the living function, its own and the
package's. Any other, in a constant, a decorator or most defaults, starts before its
cell and before the package's module is imported. A cell that starts other processes
counts as one that calls everything. Figures are not drawn, as a figure that cannot be
drawn fails no cell. A function called in another thread alone is not seen.
"""
import ast, contextlib, cProfile, gc, json, os, resource, select, shutil, signal, sys
import tempfile, threading, time, traceback
from pathlib import Path
from types import CodeType, FunctionType

from mutants import planted, units

LEAST = 20, 120        # seconds of work and on the clock: a mutant may always take them
PATIENCE = 1500        # seconds for a trunk
SPAWNS = {'subprocess.Popen', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.system'}

# -- files, as they stood at some moment -----------------------------------------------

def stamps(folder):
    "Path -> (time, size) of all files below a folder; a folder has the stamp ()."
    found = {}
    for at, folders, files in os.walk(folder):
        for d in folders: found[os.path.join(at, d)] = ()
        for f in files:
            path = os.path.join(at, f)
            try: s = os.lstat(path)
            except OSError: continue
            found[path] = s.st_mtime_ns, s.st_size
    return found

def kept(folder, known, store):
    "Path -> (stamp, a copy): new copies of what is not `known`."
    now = {}
    for path, stamp in stamps(folder).items():
        if known.get(path, (None,))[0] == stamp: now[path] = known[path]
        elif stamp == (): now[path] = (), None
        else:
            copy = store/str(len(os.listdir(store)))
            shutil.copy2(path, copy, follow_symlinks=False)
            now[path] = stamp, copy
    return now

def put_back(folder, before):
    "Make a folder what it was."
    now = stamps(folder)
    for path in sorted(now.keys() - before.keys(), reverse=True):
        if os.path.isdir(path) and not os.path.islink(path): shutil.rmtree(path, True)
        else: Path(path).unlink(missing_ok=True)
    for path, (stamp, copy) in sorted(before.items()):
        if stamp == (): os.makedirs(path, exist_ok=True)
        elif now.get(path) != stamp:
            shutil.copy2(copy, path, follow_symlinks=False)

# -- a mutant in a living function -----------------------------------------------------

def first_line(node):
    "Where the code of a function starts: at its first decorator."
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])

def inside(function, mutant):
    """Whether a mutant can be put into a living function: it is in its body.

    Or it is in a default that no decorator and no class can have read."""
    node = function.node
    if not isinstance(node, ast.FunctionDef) or '#' in function.name: return False
    start = node.body[0].lineno - 1, node.body[0].col_offset
    plain = '.' not in function.name and not node.decorator_list
    return mutant.span[:2] >= start or (plain and mutant.kind == 'default')

def codes(code):
    for c in code.co_consts:
        if isinstance(c, CodeType):
            yield c
            yield from codes(c)

def code_of(text, name, line, file='cell'):
    "What the function of that name, in that line of a text, compiles to."
    for c in codes(compile(text, file, 'exec', dont_inherit=True)):
        if (c.co_name, c.co_firstlineno) == (name, line): return c

def node_of(text, name):
    return next((n for k, n in units(ast.parse(text).body) if k == name), None)

def living(code, file=None):
    "Functions of that code, in a file or in cells of a notebook."
    def same(c):
        there = c.co_filename == file if file else not os.path.exists(c.co_filename)
        if not there: return False
        parts = (c.co_name, c.co_firstlineno, c.co_code, c.co_names)
        return parts == (code.co_name, code.co_firstlineno, code.co_code, code.co_names)
    found = [o for o in gc.get_objects() if type(o) is FunctionType]
    return [f for f in found if same(f.__code__)]

def put_in(was, now, name, file=None):
    "Change living functions; whether there was one and it took the change."
    old, new = (node_of(t, name) for t in (was, now))
    line, short = first_line(old), name.split('.')[-1]
    code, other = (code_of(t, short, line, file or 'cell') for t in (was, now))
    found = living(code, file) if code and other else []
    for f in found:
        if len(f.__code__.co_freevars) != len(other.co_freevars): return False
        if ast.dump(old.args) != ast.dump(new.args):
            new.decorator_list, there = [], dict(f.__globals__)
            body = ast.Module([new], [])
            exec(compile(body, file or 'cell', 'exec', dont_inherit=True), there)
            made = there[short]
            f.__defaults__, f.__kwdefaults__ = made.__defaults__, made.__kwdefaults__
        f.__code__ = other
    return bool(found)

# -- the trunk and its branches --------------------------------------------------------

class Trunk:
    "A run of a notebook that can be taken up again before each of its cells."
    def __init__(self, root, job, turns, said):
        self.root, self.of, self.turns, self.said = root, job, turns, said
        self.module = '.'.join(job.module.with_suffix('').parts)
        self.texts = {p: (root/p).read_text('utf-8') for p in (job.module, job.book)}
        self.number, self.cells, self.stands, self.files = None, [], set(), {}
        self.spawned, self.threads = False, set()
        self.store = root.parent.parent/'kept'
        self.store.mkdir()
        sys.addaudithook(self.heard)

    def heard(self, event, _):
        if event in SPAWNS: self.spawned = True

    def say(self, **what): os.write(self.said, (json.dumps(what) + '\n').encode())

    def cell(self, shell, cell, run):
        "Run one cell, for the trunk or for a mutant."
        number, of = cell.idx_ + 1, cell.get('id')
        shell.display_formatter.active = False
        if self.number is None: self.sleep(number)
        if self.number is None: self.note(number, of, cell, shell, run)
        else:
            if of == self.of.cell(self.number): cell.source = self.both(cell.source)[1]
            shell.showtraceback = lambda *a, **k: None
            run(shell, cell)
        if shell.exc is None: return
        self.say(failed=number)
        os._exit(1)

    def note(self, number, of, cell, shell, run):
        "Run a cell of the trunk, and note what it calls."
        profile, text, self.spawned = cProfile.Profile(), cell.source, False
        t0 = time.process_time()
        profile.enable(builtins=False)
        try: run(shell, cell)
        finally: profile.disable()
        called = [e.code for e in profile.getstats() if isinstance(e.code, CodeType)]
        file = str(self.root/self.of.module)
        here = {(c.co_name, c.co_firstlineno) for c in called if c.co_filename == file}
        own = {(c.co_name, c.co_firstlineno) for c in called
               if not os.path.exists(c.co_filename)}
        self.cells.append(dict(
            number=number, id=of, text=text, here=sorted(here), own=sorted(own),
            stands=number in self.stands, spawned=self.spawned,
            took=time.process_time() - t0,
            imported=self.module in sys.modules))

    def sleep(self, number):
        """Let a fork go on, and wait here for mutants; each gets a fork of its own.

        Threads do not survive a fork, so there is none while a cell's own are alive."""
        self.threads = self.threads or set(threading.enumerate())
        if set(threading.enumerate()) - self.threads: return
        self.stands.add(number)
        self.files = kept(self.root.parent, self.files, self.store)
        if not os.fork(): return
        with os.fdopen(self.turns[number]) as lines:
            for line in lines:
                order = json.loads(line)
                put_back(self.root.parent, self.files)
                pid = os.fork()
                if not pid: return self.become(**order)
                self.say(started=pid)
                self.say(done=ended(pid, order['wall'])[0])
        os._exit(0)

    def become(self, number, patch, cpu, wall):
        "Be the notebook with a mutant from here on."
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 9))
        self.number, files, done = number, self.of.files(number), []
        for path, text in files.items(): (self.root/path).write_text(text, 'utf-8')
        if not patch: return
        name, path = self.of.todo[number][0].name, self.of.module
        if self.module in sys.modules:
            texts = self.texts[path], files[path]
            done.append(put_in(*texts, name, str(self.root/path)))
        for c in self.cells:
            if c['id'] == self.of.cell(number):
                done.append(put_in(*self.both(c['text']), name))
        if not all(done): self.unknown()

    def both(self, text):
        "A cell, whose directives are gone before it runs, without and with the mutant."
        of, path = self.of.cell(self.number), self.of.book
        was, now = (source(json.loads(t[path]), of)
                    for t in (self.texts, self.of.files(self.number)))
        if not was.endswith(text): self.unknown()
        return text, now[len(was) - len(text):]

    def unknown(self):
        "Leave the mutant to another way of running it."
        self.say(unknown=True)
        os._exit(0)

def source(book, cell):
    return next(''.join(c['source']) for c in book['cells'] if c.get('id') == cell)

def ended(pid, wall):
    "How a fork ended ('' for well), its group killed; and the seconds it worked."
    t0, done, wait = time.time(), 0, 0.002
    try:
        while not done and time.time() - t0 < wall:
            time.sleep(wait)
            wait = min(0.05, 1.5 * wait)
            done, status, usage = os.wait4(pid, os.WNOHANG)
    finally:
        kill(pid)
        if not done: _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    how = '' if code == 0 else 'failed' if code > 0 else f'signal {-code}'
    if not done or code == -signal.SIGXCPU: how = 'out of time'
    return how, usage.ru_utime + usage.ru_stime

def kill(pid):
    try: os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError): pass

def grow(trunk, run):
    "In a fork: run a notebook by `run`, as nbdev does; whether it fails."
    import matplotlib_inline.backend_inline as inline
    import tqdm
    from execnb.shell import CaptureShell
    tqdm.tqdm.monitor_interval = 0 # a thread
    plain = CaptureShell.cell
    def cell(self, c, **k): trunk.cell(self, c, lambda s, c: plain(s, c, **k))
    inline.display, CaptureShell.cell = (lambda *a, **k: None), cell
    try: bad = run()
    except BaseException: bad = traceback.print_exc() or True
    if trunk.number is None:
        for c in trunk.cells: trunk.say(**c)
        trunk.say(failed=0) if bad else trunk.say(end=True)
    return bad

# -- from outside ----------------------------------------------------------------------

class Jobs:
    "Mutants of one module and notebook, and where each starts in what is to be run."
    def __init__(self, todo, path, base, through=None):
        self.todo, self.path, self.base, self.made = todo, path, base, {}
        self.module, self.book = path.relative_to(base), todo[0][0].segment.book
        self.through = through or self.book

    def files(self, number):
        f, m = self.todo[number]
        if number not in self.made:
            self.made = {number: planted(f, m, self.path, self.base)}
        return self.made[number]

    def cell(self, number): return self.todo[number][0].segment.cell

    def start(self, number, cells):
        "(first cell to run, whether into a living function); None if none calls it."
        f, m = self.todo[number]
        if not inside(f, m): return self.whole(number, cells), False
        short, line = f.name.split('.')[-1], first_line(f.node)
        here, own = [short, line + f.segment.start], None
        for c in cells:
            if c['id'] == f.segment.cell:
                book = json.loads((self.base/self.book).read_text('utf-8'))
                was = source(book, c['id'])
                # directives are not run
                gone = was.count('\n') - c['text'].count('\n')
                node = node_of(was, f.name)
                own = [short, first_line(node) - gone] if node else None
            if c['spawned'] or here in c['here'] or own in c['own']:
                return c['number'], True
        return None, True

    def whole(self, number, cells):
        "Before the cell of the mutant, and before the package's module is imported."
        return next((c['number'] for c in cells
                     if c['imported'] or c['id'] == self.cell(number)), None)

class Lines:
    "Messages out of a pipe."
    def __init__(self, fd): self.fd, self.data = fd, b''
    def next(self, wait):
        "The next one; none when nothing comes in time."
        while b'\n' not in self.data:
            if not select.select([self.fd], [], [], wait)[0]: return {}
            more = os.read(self.fd, 1 << 16)
            if not more: return {}
            self.data += more
        line, self.data = self.data.split(b'\n', 1)
        return json.loads(line)

class UnchangedFails(Exception):
    "What the tests say of a package without any change."

@contextlib.contextmanager
def grown(jobs, child, n, what):
    """A trunk in a fork, with places to sleep 0 ... n: messages, order(number, cells).

    `child(root, what, out, cpu)` is what a fork does."""
    with tempfile.TemporaryDirectory() as tmp, open(f'{tmp}/out', 'w+b') as out:
        root = Path(tmp).resolve()/'run'/'project'
        shutil.copytree(jobs.base, root)
        turns, (ear, mouth) = [os.pipe() for _ in range(n + 1)], os.pipe()
        pid = os.fork()
        if not pid:
            for fd in (ear, *(w for _, w in turns)): os.close(fd)
            def grows(): return what(Trunk(root, jobs, [r for r, _ in turns], mouth))
            child(root, grows, out, 3600)
        for fd in (mouth, *(r for r, _ in turns)): os.close(fd)
        said, running = Lines(ear), []
        def judge(i, cells): return verdict(jobs, i, cells, turns, said, running)
        try: yield said, out, judge
        finally:
            for p in (*running, pid): kill(p)
            for fd in (ear, *(w for _, w in turns)): os.close(fd)
            os.waitpid(pid, 0)

def branched(todo, path, base, child, run, late, through=None):
    """(function, mutant, cell that fails) for each; '' if none, None if not known.

    `run(root, name)` runs a notebook: the mutants' own, or another one that they shall
    go `through`. No mutant starts after the time `late`."""
    jobs = Jobs(todo, path, base, through)
    book = jobs.through
    def what(trunk): return grow(trunk, lambda: run(trunk.root, book.as_posix()))
    n = len(json.loads((base/book).read_text('utf-8'))['cells'])
    with grown(jobs, child, n, what) as (said, out, judge):
        cells = trunk_of(said, out, book.stem)
        for number in order(jobs, cells):
            if time.time() > late: return
            yield *todo[number], judge(number, cells)

def tested(todo, path, base, child, run, late, tests):
    "The same for files of tests, after a run without any change in the same process."
    jobs = Jobs(todo, path, base)
    def what(trunk):
        t0 = time.process_time()
        bad = next((t for t in tests if run(trunk.root, t)), '')
        if not bad: trunk.sleep(0)
        if trunk.number is None:
            took = time.process_time() - t0
            return trunk.say(failed=bad) if bad else trunk.say(end=True, took=took)
        bad = next((t for t in tests if run(trunk.root, t)), '')
        if bad: trunk.say(failed=f'{bad}: failed')
        return bool(bad)
    with grown(jobs, child, 0, what) as (said, out, judge):
        trunk_of(said, out, tests[0])
        # whatever they call, they call it here
        one = dict(number=0, id=None, text='', here=[], own=[], took=10., stands=True)
        cells = [dict(one, spawned=True, imported=False)]
        for number in range(len(todo)):
            if time.time() > late: return
            yield *todo[number], judge(number, cells)

def trunk_of(said, out, name):
    "The cells of a trunk that passes."
    cells, m = [], said.next(PATIENCE)
    while 'id' in m: cells, m = [*cells, m], said.next(PATIENCE)
    if 'end' in m: return cells
    out.seek(0)
    text = out.read().decode(errors='replace').splitlines()
    print('\n'.join(text[-25:]), file=sys.stderr)
    where = m.get('failed', 'it has no end')
    if isinstance(where, int): where = f'{name}, cell {where}'
    raise UnchangedFails(where)

def order(jobs, cells):
    "First those that start first."
    starts = [(jobs.start(i, cells)[0] or 0, i) for i in range(len(jobs.todo))]
    return [i for _, i in sorted(starts)]

def verdict(jobs, number, cells, turns, said, running):
    "The number of the cell that fails with a mutant, '' or None."
    ways = jobs.start(number, cells), (jobs.whole(number, cells), False)
    for start, patch in ways:
        if start is None: return '' if patch else None
        start = max(c['number'] for c in cells if c['number'] <= start and c['stands'])
        took = sum(c['took'] for c in cells if c['number'] >= start)
        cpu, wall = 3 * took + LEAST[0], 20 * took + LEAST[1]
        line = dict(number=number, patch=patch, cpu=cpu, wall=wall)
        try: os.write(turns[start][1], (json.dumps(line) + '\n').encode())
        except BrokenPipeError: return None
        heard = {}
        while 'done' not in heard:
            m = said.next(wall + 60)
            if not m: return None
            heard.update(m)
            running[:] = [heard['started']] if 'started' in heard else []
        running.clear()
        if 'unknown' in heard: continue
        if heard['done'] == '': return ''
        return heard.get('failed') if heard['done'] == 'failed' else None
    return None
