"""Commands in processes of their own, without the seconds that importing takes each time.

An interpreter that has loaded the package waits for commands and forks for each: the
child has its own folder, memory, output and exit code, as if a shell had started it.

    p = warm.run('sample swissroll --n 10'.split(), folder)
    assert p.returncode == 0, p.stderr

What depends on a fresh interpreter must not be asked here: what is imported, and how
fast. Some commands of each kind are still run without this.
"""
import atexit
import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADED = '''diffusion_nbdev.all diffusion_nbdev.cli.main diffusion_nbdev.cli.sample
diffusion_nbdev.cli.evaluate diffusion_nbdev.cli.fit diffusion_nbdev.cli.experiment'''
CODE = 'import sys; from diffusion_nbdev.cli.main import main; sys.exit(main())'


@functools.cache
def interpreter():
    "The one that waits; it ends with this process"
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
           'TQDM_DISABLE': '1'}
    p = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True, env=env)
    atexit.register(p.communicate)
    return p


def run(args, cwd, code=CODE):
    "The command `diffusion`, or other code, as `subprocess.run` would answer"
    p = interpreter()
    with tempfile.TemporaryDirectory() as folder:
        ask = dict(args=args, cwd=str(cwd), code=code, folder=folder)
        print(json.dumps(ask), file=p.stdin, flush=True)
        returncode = int(p.stdout.readline())
        out, err = ((Path(folder)/name).read_text() for name in ('out', 'err'))
    return subprocess.CompletedProcess(args, returncode, out, err)


def become(ask):
    "From here on this process is the command"
    os.chdir(ask['cwd'])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in (1, 'out'), (2, 'err'):
        path = os.path.join(ask['folder'], name)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv, sys.path[0] = ['diffusion', *ask['args']], ask['cwd']
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


def serve():
    for name in LOADED.split():
        __import__(name)
    # what is there already need not be looked through, and so not copied, by a child
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
    serve()
