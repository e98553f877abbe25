"""Code in processes of its own, without the seconds that importing takes each time.

An interpreter that has loaded the libraries waits for work and forks for each piece:
the child has its own folder, memory, output and exit code, as if a shell had started
it.

    p = warm.run('sample swissroll --n 10'.split(), folder)
    assert p.returncode == 0, p.stderr

What depends on a fresh interpreter must not be asked here: what is imported, and how
fast. Some commands of each kind are run without this by the tests.
"""
import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = '''diffusion_nbdev.all diffusion_nbdev.cli.main diffusion_nbdev.cli.sample
diffusion_nbdev.cli.evaluate diffusion_nbdev.cli.fit diffusion_nbdev.cli.experiment'''
COMMAND = 'import sys; from diffusion_nbdev.cli.main import main; sys.exit(main())'
# a job in the background inherits a SIGINT that is ignored
INTERRUPTED = ('import signal; '
               'signal.signal(signal.SIGINT, signal.default_int_handler)\n')


class Interpreter:
    "One that has loaded some modules, and runs one piece of work at a time"
    def __init__(self, modules, env):
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules.split()], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        atexit.register(self.process.communicate)

    def run(self, args, cwd, code, timeout=600, errors='err', begun=lambda child: None):
        """As `subprocess.run` would answer; `returncode` is None after the timeout

        With `errors='out'` they go where the output goes; `begun` is told the number of
        the process."""
        with tempfile.TemporaryDirectory() as folder:
            ask = dict(args=args, cwd=str(cwd), code=code, folder=folder, errors=errors)
            print(json.dumps(ask), file=self.process.stdin, flush=True)
            child, late = int(self.process.stdout.readline()), threading.Event()
            begun(child)
            timer = threading.Timer(timeout, lambda: (late.set(), end(child)))
            timer.start()
            returncode = int(self.process.stdout.readline())
            timer.cancel()
            # nor does it leave anything behind
            end(child)
            texts = [(Path(folder)/name).read_bytes() for name in ('out', errors)]
        out, err = (text.decode(errors='replace') for text in texts)
        returncode = None if late.is_set() else returncode
        return subprocess.CompletedProcess(args, returncode, out, err)


def end(child):
    "A process and those that it has started"
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


package = []  # the interpreter that has loaded the package, once it is needed


def run(args, cwd, code=COMMAND, **more):
    "The command `diffusion`, or other code, with the package loaded already"
    if not package:
        env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1',
                   TQDM_DISABLE='1')
        package.append(Interpreter(PACKAGE, env))
    return package[0].run(args, cwd, code, **more)


class Started:
    """The same, while it goes on: what a test asks of a `subprocess.Popen`

    Nothing else can be run before it has ended."""
    def __init__(self, args, cwd, code=COMMAND):
        began = threading.Event()

        def begun(child):
            self.child = child
            began.set()

        def work(): self.done = run(args, cwd, INTERRUPTED + code, begun=begun)
        self.done, self.thread = None, threading.Thread(target=work)
        self.thread.start()
        began.wait()

    def poll(self): return None if self.done is None else self.done.returncode

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError): os.kill(self.child, number)

    def kill(self): end(self.child)

    def communicate(self, timeout=None):
        self.thread.join(timeout)
        if self.done is None: raise subprocess.TimeoutExpired('diffusion', timeout)
        return self.done.stdout, self.done.stderr

    @property
    def returncode(self): return self.poll()

# -- the other side --------------------------------------------------------------------


def become(ask):
    "From here on this process is the one that was asked for"
    os.setsid()
    os.chdir(ask['cwd'])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in (1, 'out'), (2, ask['errors']):
        path = os.path.join(ask['folder'], name)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv, sys.path[0] = ['-c', *ask['args']], ask['cwd']
    code = 1
    try:
        exec(ask['code'], {'__name__': '__main__'})
        code = 0
    except SystemExit as e:
        code = e.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # to clear away what the parent has loaded would take a second
    os._exit(code)


def serve(modules):
    # what a library prints when it is loaded is no answer
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for name in modules:
        importlib.import_module(name)
    # what is there already need not be looked through, and so not copied, by a child
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        print(child, file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == '__main__':
    serve(sys.argv[1:])
