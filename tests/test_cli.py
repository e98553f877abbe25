"The command line in processes of its own: what is imported, how fast it answers, what Ctrl-C leaves."
import json, os, signal, subprocess, sys, time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ('torch', 'lightning', 'matplotlib', 'numpy', 'jsonargparse', 'scipy')
MATHEMATICS = ('schedules', 'oracles', 'unet', 'ddpm', 'ddim', 'metrics', 'model')

def python(*args, cwd=None, timeout=240, **env):
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **env})

def imported(code):
    "Which of the heavy libraries a fresh interpreter holds after running this."
    p = python('-c', f'import sys\n{code}\nprint("HELD", *(m for m in {HEAVY!r} if m in sys.modules))')
    assert p.returncode == 0, p.stderr
    return set(p.stdout.rpartition('HELD')[2].split())

@pytest.mark.parametrize('line', [['--help'], ['--version'], ['list'], ['list', 'samplers'], ['init', 'swissroll'], ['sample', '--help'], ['sampel']])
def test_quick_answers_import_nothing_heavy(line):
    assert imported(f'from diffusion_nbdev.cli.main import main; main({line!r})') == set()

def test_mathematics_imports_neither_lightning_nor_matplotlib():
    code = '\n'.join(f'import diffusion_nbdev.{m}' for m in MATHEMATICS)
    assert imported(code) <= {'torch', 'numpy'}

def test_package_itself_imports_nothing():
    assert imported('import diffusion_nbdev; assert diffusion_nbdev.__version__') == set()

def test_sampling_imports_no_lightning(tmp_path):
    make = ('from diffusion_nbdev.model import Model, Units; from diffusion_nbdev.unet import PointMLP; from diffusion_nbdev.schedules import cosine_schedule\n'
            'Model(PointMLP(width=16), cosine_schedule(50), data=Units([2], name="toy")).save("w.safetensors")\n'
            'from diffusion_nbdev.cli.main import main\nassert main("sample w.safetensors --n 10 --out x.pt".split()) == 0')
    assert not imported(f'import os; os.chdir({str(tmp_path)!r})\n{make}') & {'lightning', 'matplotlib', 'scipy'}

def test_help_is_fast():
    fastest = lambda *args: min(seconds(*args) for _ in range(5))
    def seconds(*args):
        start = time.perf_counter()
        assert python(*args).returncode == 0
        return time.perf_counter() - start
    parsing = fastest('-c', 'import argparse, json, tempfile, ast')
    for line in (['--help'], ['list']): assert fastest('-m', 'diffusion_nbdev', *line) < 1.3 * parsing + 0.2

def test_only_json_on_standard_output(tmp_path):
    p = python('-c', 'from diffusion_nbdev.model import Model, Units; from diffusion_nbdev.unet import PointMLP; from diffusion_nbdev.schedules import cosine_schedule\n'
                     'Model(PointMLP(width=16), cosine_schedule(50), data=Units([2], name="toy")).save("w.safetensors")', cwd=tmp_path)
    assert p.returncode == 0, p.stderr
    (tmp_path/'real.csv').write_text('\n'.join(f'{i % 7},{i % 5}' for i in range(100)))
    p = python('-m', 'diffusion_nbdev', 'evaluate', 'w.safetensors', '--data', 'real.csv', '--steps', '3', '--seeds', '1', '--pairs', '2', cwd=tmp_path)
    assert p.returncode == 0, p.stderr
    result = json.loads(p.stdout)
    assert result['calls'] == 3 and result['n'] == 50 and {'floor', 'excess', 'value'} <= set(result)
    assert 'ddim' in p.stderr # the progress bar

def test_a_mistake_is_one_line():
    p = python('-m', 'diffusion_nbdev', 'sample', 'swissroll', '--sampler', 'dimm')
    assert p.returncode == 2 and p.stdout == '' and p.stderr.count('\n') == 1 and p.stderr.startswith('diffusion: ')
    p = python('-m', 'diffusion_nbdev', 'sample', 'swissroll', '--sampler', 'dimm', '--traceback')
    assert p.returncode == 1 and 'Traceback' in p.stderr

def test_a_closed_pipe_is_no_error():
    p = subprocess.run(f'{sys.executable} -m diffusion_nbdev list samplers | head -1', shell=True, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert p.stdout.count('\n') == 1 and p.stderr == ''

def test_interrupted_training(tmp_path):
    p = subprocess.Popen([sys.executable, '-m', 'diffusion_nbdev', 'fit', '--config', 'swissroll', '--data.n_train', '2000', '--pictures', '0'], cwd=tmp_path, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1'}, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # a job in the background inherits a SIGINT that is ignored
    try:
        until = time.time() + 200
        while not list(tmp_path.glob('run/swissroll/version_0/checkpoints/last.ckpt')) and time.time() < until and p.poll() is None: time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
    finally: p.kill()
    assert p.returncode == 130, err
    assert err.count('\n') == 1 and 'interrupted; go on with: diffusion fit' in err, err
    run = tmp_path/'run'/'swissroll'/'version_0'
    assert (run/'model.safetensors').is_file() and (run/'config.yaml').is_file()
    line = err.partition('go on with: diffusion ')[2].split()
    epochs = python('-c', f'import torch; print(torch.load({str(run/"checkpoints"/"last.ckpt")!r}, weights_only=True)["epoch"])').stdout
    again = python('-m', 'diffusion_nbdev', *line, '--trainer.max_epochs', str(int(epochs) + 2), cwd=tmp_path)
    assert again.returncode == 0 and 'next:' in again.stdout, again.stderr
