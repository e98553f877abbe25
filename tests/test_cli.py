"The command line in processes of its own: speed, imports, your own code, Ctrl-C."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import warm

ROOT = Path(__file__).resolve().parent.parent
HEAVY = 'torch', 'lightning', 'matplotlib', 'numpy', 'jsonargparse', 'scipy'
MATHEMATICS = ('schedules', 'oracles', 'embedding', 'unet', 'ddpm', 'ddim', 'metrics',
               'model')
TOY = """
from diffusion_nbdev.model import Model, Units
from diffusion_nbdev.schedules import cosine_schedule, Schedule, schedule_from_betas
from diffusion_nbdev.unet import PointMLP
toy = Model(PointMLP(width=16), cosine_schedule(50), data=Units([2], name='toy'))
toy.save('w.safetensors')
"""


def environment(**more):
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **more}


def python(*args, cwd=None, timeout=240, **env):
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, capture_output=True, text=True,
        timeout=timeout, stdin=subprocess.DEVNULL, env=environment(**env))


def diffusion(line, cwd):
    return warm.run(line.split(), cwd)


def cold(line, cwd):
    "In a fresh interpreter, which imports what the command needs, and nothing before"
    return python('-m', 'diffusion_nbdev', *line.split(), cwd=cwd, TQDM_DISABLE='1')


def imported(code):
    "Which of the heavy libraries a fresh interpreter holds after running this."
    held = f'print("HELD", *(m for m in {HEAVY!r} if m in sys.modules))'
    p = python('-c', f'import sys\n{code}\n{held}')
    assert p.returncode == 0, p.stderr
    return set(p.stdout.rpartition('HELD')[2].split())

# -- what is imported, and how fast -------------------------------------------


QUICK = ('--help', '--version', 'list', 'list samplers', 'init swissroll',
         'sample --help', 'sampel')


@pytest.mark.parametrize('line', QUICK)
def test_quick_answers_import_nothing_heavy(line):
    code = f'from diffusion_nbdev.cli.main import main; main({line.split()!r})'
    assert imported(code) == set()


def test_mathematics_imports_neither_lightning_nor_matplotlib():
    code = '\n'.join(f'import diffusion_nbdev.{m}' for m in MATHEMATICS)
    assert imported(code) <= {'torch', 'numpy'}


def test_package_itself_imports_nothing():
    code = 'import diffusion_nbdev; assert diffusion_nbdev.__version__'
    assert imported(code) == set()


def test_sampling_imports_no_lightning(tmp_path):
    code = (f'import os; os.chdir({str(tmp_path)!r})\n{TOY}\n'
            'from diffusion_nbdev.cli.main import main\n'
            'assert main("sample w.safetensors --n 10 --out x.pt".split()) == 0')
    assert not imported(code) & {'lightning', 'matplotlib', 'scipy'}


def work(*args):
    "Seconds of processor time that Python takes for this, whoever else works"
    p = subprocess.Popen([sys.executable, *args], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    assert p.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize('line', ['--help', 'list'])
def test_help_is_fast(line):
    "A few times what Python and its parser of arguments take; torch alone is 50 times"
    both = [(work('-m', 'diffusion_nbdev', line),
             work('-c', 'import argparse, json, logging, tempfile')) for _ in range(4)]
    ours, parsing = map(min, zip(*both))
    assert ours < 4 * parsing + 0.05


def test_the_catalogue_is_in_step():
    tool = str(ROOT/'tools'/'catalogue.py')
    code = f"import runpy; runpy.run_path({tool!r}, run_name='__main__')"
    p = warm.run(['--check'], ROOT, code)
    assert p.returncode == 0, p.stderr

# -- what is printed ----------------------------------------------------------


def test_only_json_on_standard_output(tmp_path):
    assert warm.run([], tmp_path, TOY).returncode == 0
    rows = [f'{i % 7},{i % 5}' for i in range(100)]
    (tmp_path/'real.csv').write_text('\n'.join(rows))
    line = 'evaluate w.safetensors --data real.csv --steps 3 --seeds 1 --pairs 2'
    p = python('-m', 'diffusion_nbdev', *line.split(), cwd=tmp_path)
    assert p.returncode == 0, p.stderr
    result = json.loads(p.stdout)
    assert result['calls'] == 3 and result['n'] == 50
    assert {'floor', 'excess', 'value'} <= set(result)
    assert 'ddim' in p.stderr # the progress bar


def test_a_mistake_is_one_line(tmp_path):
    one_line(diffusion('sample swissroll --sampler dimm', tmp_path), 'dimm')
    p = diffusion('sample swissroll --sampler dimm --traceback', tmp_path)
    assert p.returncode == 1 and 'Traceback' in p.stderr


def one_line(p, message):
    "Exit code 2, nothing on standard output, one line that says so"
    assert p.returncode == 2 and p.stdout == '', p.stderr
    assert p.stderr.startswith('diffusion: ') and p.stderr.count('\n') == 1, p.stderr
    assert message in p.stderr, p.stderr


def test_a_closed_pipe_is_no_error():
    line = f'{sys.executable} -m diffusion_nbdev list samplers | head -1'
    p = subprocess.run(line, shell=True, capture_output=True, text=True,
                       env=environment())
    assert p.stdout.count('\n') == 1 and p.stderr == ''

# -- your own -----------------------------------------------------------------


MINE = """
import torch
from torch import nn
from diffusion_nbdev.recipes import recorded
from diffusion_nbdev.sampling import sampler
from diffusion_nbdev.schedules import Schedule, schedule_from_betas

@sampler(n=7)
def jump(f, sched, x, times,
    pull:float=1., # how far each step goes
):
    "Straight on"
    yield x
    for t, s in zip(times, times[1:]):
        x = x + pull * (f(x, t) - x)
        yield x

@recorded
def steep(T:int=100) -> Schedule:
    return schedule_from_betas(torch.linspace(0.001, 0.2, T, dtype=torch.float64))

@recorded
class Plain(nn.Module):
    def __init__(self, width:int=32):
        super().__init__()
        self.a, self.b = nn.Linear(3, width), nn.Linear(width, 2)
    def forward(self, xt, t, c=None):
        t = (t / 100).to(xt).expand(len(xt))
        return self.b(torch.relu(self.a(torch.cat([xt, t[:, None]], 1))))

def cubes(model, x0, c, t, eps):
    "The cube of the error, so that a training can be told from the usual one"
    xt = model.sched.signal(t)[:, None] * x0 + model.sched.noise(t)[:, None] * eps
    return (model.net(xt.float(), t) - eps).abs().pow(3).flatten(1).mean(1)
"""
DATA = """
data: {class_path: diffusion_nbdev.swissroll.SwissRollData, init_args: {n_train: 900}}
trainer: {max_epochs: 1}
pictures: 0
"""
PLAIN = 'class_path: diffusion_nbdev.unet.PointMLP, init_args: {width: 8}'
COSINE = 'class_path: diffusion_nbdev.schedules.cosine_schedule, init_args: {T: 50}'


@pytest.fixture
def home(tmp_path):
    (tmp_path/'mine.py').write_text(MINE)
    return tmp_path


def config(home, net=PLAIN, sched=COSINE, more=''):
    text = f'model:\n  net: {{{net}}}\n  sched: {{{sched}}}\n{more}'
    (home/'my.yaml').write_text(text + DATA)


def test_own_sampler(home):
    line = 'sample swissroll --sampler mine.jump --out a.pt --n 20'
    p = cold(f'{line} --pull 0.5 --trust', home)
    assert p.returncode == 0 and '20 samples by mine.jump, 7 network calls' in p.stdout
    one_line(diffusion(line, home), 'refused unless you --trust it')
    one_line(diffusion(f'{line} --trust --pul 1', home), "did you mean '--pull'")
    for name, message in (('nowhere.jump', "there is no module 'nowhere'"),
                          ('mine.jmp', "did you mean 'jump'"),
                          ('mine.Plain', 'must be a generator function')):
        line = f'sample swissroll --sampler {name} --trust'
        one_line(diffusion(line, home), message)


def refused_and_trained(home, trained=diffusion):
    "A config with something of your own trains only if it is trusted"
    one_line(diffusion('fit --config my.yaml', home), 'refused unless you --trust')
    p = trained('fit --config my.yaml --trust', home)
    assert p.returncode == 0 and 'next:' in p.stdout, p.stderr
    return p.stdout


def test_own_net(home):
    config(home, net='class_path: mine.Plain, init_args: {width: 24}')
    out = refused_and_trained(home)
    line = 'sample run/my/version_0 --sampler ddim --steps 20'
    assert f'diffusion {line} --trust' in out
    one_line(diffusion(line, home), 'refused unless trusted')
    p = diffusion(f'{line} --trust', home)
    assert p.returncode == 0, p.stderr
    run = 'run/my/version_0'
    line = f'validate --config {run}/config.yaml --ckpt_path {run} --trust'
    p = diffusion(line, home)
    assert p.returncode == 0 and json.loads(p.stdout)['val_loss'] > 0, p.stderr
    config(home, net='class_path: nowhere.Plain')
    one_line(diffusion('fit --config my.yaml --trust', home), 'nowhere')


def test_own_schedule(home):
    config(home, sched='class_path: mine.steep, init_args: {T: 40}')
    refused_and_trained(home, cold)
    p = diffusion('sample run/my --sampler ddpm --n 9 --out a.pt --trust', home)
    assert p.returncode == 0 and '40 network calls each' in p.stdout, p.stderr


def test_own_objective(home):
    config(home, more='  pred: eps\n')
    assert diffusion('fit --config my.yaml', home).returncode == 0
    config(home, more='  pred: eps\n  objective: mine.cubes\n')
    refused_and_trained(home)
    # the weights need no trust, and another loss made others
    cards = [diffusion(f'card run/my/version_{k}', home).stdout for k in (0, 1)]
    assert len({json.loads(card)['sha256'] for card in cards}) == 2
    p = diffusion('sample run/my/version_1 --n 9 --out a.pt', home)
    assert p.returncode == 0, p.stderr

# -- interrupted --------------------------------------------------------------


def begun(line, folder):
    "A training that is under way: it has written a checkpoint"
    p = warm.Started(line.split(), folder)
    until = time.time() + 200
    last = folder/'run'/'swissroll'/'version_0'/'checkpoints'/'last.ckpt'
    while not last.exists() and time.time() < until and p.poll() is None:
        time.sleep(0.2)
    return p


def test_interrupted_training(tmp_path):
    p = begun('fit --config swissroll --data.n_train 2000 --pictures 0', tmp_path)
    try:
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
    finally:
        p.kill()
    assert p.returncode == 130, err
    told = 'interrupted; go on with: diffusion '
    assert err.count('\n') == 1 and f'{told}fit' in err, err
    run = tmp_path/'run'/'swissroll'/'version_0'
    assert (run/'model.safetensors').is_file() and (run/'config.yaml').is_file()
    epochs = torch.load(run/'checkpoints'/'last.ckpt', weights_only=True)['epoch']
    line = err.partition(told)[2].strip()
    again = diffusion(f'{line} --trainer.max_epochs {epochs + 2}', tmp_path)
    assert again.returncode == 0 and 'next:' in again.stdout, again.stderr
