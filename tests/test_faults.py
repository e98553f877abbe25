"Faults, injected: signals at any moment, a full disk, mutated files, two processes."
import ast, functools, json, os, random, signal, struct, subprocess, sys, time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import warm

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
       'TQDM_DISABLE': '1'}
FIT = ['-m', 'diffusion_nbdev', 'fit', '--config', 'swissroll', '--data.n_train',
       '20000', '--data.batch_size', '100', '--pictures', '0', '--checkpoint_steps',
       '20', '--model.net.width', '32']

def start(*args, cwd):
    return subprocess.Popen(
        [sys.executable, *args], cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=ENV, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )

def wait_for(p, path, seconds=200):
    until = time.time() + seconds
    while not path.exists() and time.time() < until and p.poll() is None:
        time.sleep(0.05)
    assert path.exists(), (p.communicate()[1] if p.poll() is not None
                           else f'no {path} after {seconds} s')

def test_killed_and_terminated_training_goes_on(tmp_path):
    "SIGKILL leaves a readable checkpoint, --resume goes on; SIGTERM ends in one line"
    from diffusion_nbdev.resume import newest_checkpoint, read_checkpoint
    checkpoints = tmp_path/'run'/'swissroll'/'version_0'/'checkpoints'
    last = checkpoints/'last.ckpt'
    p = warm.Started(FIT[2:], tmp_path)
    try:
        # two are there, and the next is being made
        wait_for(p, checkpoints/'previous.ckpt')
        time.sleep(random.random())
    finally: p.kill()
    p.communicate()
    assert read_checkpoint(newest_checkpoint(checkpoints))['global_step'] >= 20
    last.write_bytes(last.read_bytes()[:-100])
    # the one before, or the best one where that was written in between
    assert newest_checkpoint(checkpoints).name in ('previous.ckpt', 'best.ckpt')
    damaged = last.stat().st_mtime_ns
    p = warm.Started([*FIT[2:], '--resume'], tmp_path)
    try:
        # in the middle of training, however long that takes to come
        while last.stat().st_mtime_ns == damaged and p.poll() is None: time.sleep(0.05)
        p.send_signal(signal.SIGTERM)
        out, err = p.communicate()
    finally: p.kill()
    assert p.returncode == 130, (out, err)
    assert 'trying the one before' in err and 'going on from' in err
    assert err.rstrip().endswith('--resume') and 'Traceback' not in err
    assert read_checkpoint(last)['global_step'] >= 20
    assert not list(checkpoints.glob('.*'))

# -- the end asked for, at each moment -------------------------------------------------

STEP = ('on_train_batch_start on_before_zero_grad on_before_backward on_after_backward '
        'on_before_optimizer_step on_train_batch_end')
MOMENTS = {
    'before training': 'on_fit_start on_sanity_check_start on_sanity_check_end '
                       'on_train_start',
    'in a step': STEP,
    # lit's hooks come after those of all callbacks, so after the last look of a step
    'after a step': 'lit.on_train_batch_end',
    'between steps': 'lit.transfer_batch_to_device lit.lr_scheduler_step',
    'in a validation': 'on_validation_start on_validation_epoch_start '
                       'on_validation_batch_start on_validation_batch_end '
                       'lit.on_validation_batch_end on_validation_epoch_end '
                       'on_validation_end lit.on_validation_end',
    'while a checkpoint is written': 'on_save_checkpoint lit.on_save_checkpoint',
    'at an end of an epoch': 'on_train_epoch_start on_train_epoch_end '
                             'lit.on_train_epoch_end',
    'at the end': 'on_train_end lit.on_train_end on_fit_end lit.on_fit_end teardown',
}

def small_training():
    import torch
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.model import Model
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.training import LitDiffusion
    from diffusion_nbdev.unet import PointMLP
    torch.manual_seed(0)
    data = TensorData(torch.randn(40, 2), batch_size=16)
    model = Model(PointMLP(dim=2, width=8, depth=1), cosine_schedule(20),
                  data=data.units)
    return LitDiffusion(model), data

def terminated_training(folder, at=-1, resume=None):
    """Two epochs of two steps, and the moments that passed, by name.

    SIGTERM comes at one of them, if it is asked for. How it ended is None if it came to
    its end."""
    import lightning.pytorch as L
    from lightning.pytorch.loggers import CSVLogger
    from diffusion_nbdev.training import fit
    passed, (lit, data) = [], small_training()

    def moment(name, then, *args, **kwargs):
        passed.append(name)
        if len(passed) - 1 == at: signal.raise_signal(signal.SIGTERM)
        return then(*args, **kwargs)
    everywhere = L.Callback()
    for name in ' '.join(MOMENTS.values()).split():
        owner = lit if name.startswith('lit.') else everywhere
        hook = name.removeprefix('lit.')
        setattr(owner, hook, functools.partial(moment, name, getattr(owner, hook)))
    how = None
    try:
        fit(lit, data, pictures=0, progress=False, ema=0.9, max_epochs=2,
            accelerator='cpu', logger=CSVLogger(folder, name='run', version='0'),
            resume=resume, callbacks=[everywhere])
    except BaseException as e:
        how = e
    return passed, how, lit

def numbers(folder):
    "Weights, averages and the optimiser's memory in the last checkpoint"
    from diffusion_nbdev.resume import read_checkpoint
    last = read_checkpoint(folder/'run'/'0'/'checkpoints'/'last.ckpt')
    adam = last['optimizer_states'][0]['state'].values()
    weights = *last['state_dict'].values(), *last['current_model_state'].values()
    return [*weights, *(x for state in adam for x in state.values())]

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    passed, how, _ = terminated_training(folder)
    assert how is None
    return passed, numbers(folder)

@pytest.fixture
def handler():
    "SIGTERM is an interruption before and after, as for the command"
    def interrupt(*_): raise KeyboardInterrupt
    before = signal.signal(signal.SIGTERM, interrupt)
    yield interrupt
    signal.signal(signal.SIGTERM, before)

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('when', MOMENTS)
def test_terminated_at_each_moment(when, undisturbed, handler, tmp_path):
    "An interruption, with weights and a checkpoint from which it goes on bit by bit"
    import torch
    from diffusion_nbdev.model import load
    from diffusion_nbdev.resume import read_checkpoint
    passed, want = undisturbed
    assert set(MOMENTS[when].split()) <= set(passed)
    for at, name in enumerate(passed):
        if name not in MOMENTS[when].split(): continue
        folder = tmp_path/str(at)
        _, how, lit = terminated_training(folder, at)
        assert type(how) is KeyboardInterrupt, (at, name, how)
        assert signal.getsignal(signal.SIGTERM) is handler
        last = folder/'run'/'0'/'checkpoints'/'last.ckpt'
        assert last.is_file() == (lit.global_step > 0), (at, name, lit.global_step)
        if not last.is_file(): continue
        model, averages = load(folder/'run'/'0'), read_checkpoint(last)['state_dict']
        assert all(torch.equal(w, averages[f'model.net.{k}'])
                   for k, w in model.net.state_dict().items())
        how = model.card['training']['how']
        assert (how == 'finished' or how == 'interrupted: KeyboardInterrupt'
                and when != 'at the end')
        _, how, _ = terminated_training(folder, resume=last)
        assert how is None
        got = numbers(folder)
        assert all(torch.equal(x, y)
                   for x, y in zip(got, want, strict=True)), (at, name)

def test_terminated_after_the_last_look_at_a_step(tmp_path):
    "The command's exit code, and the line that says how to go on"
    code = ("import functools, signal, sys\n"
            "from diffusion_nbdev import training\n"
            "from diffusion_nbdev.cli.main import main\n"
            "class Lit(training.LitDiffusion):\n"
            "    def on_train_batch_end(self, *args):\n"
            "        if self.global_step == 3: signal.raise_signal(signal.SIGTERM)\n"
            "training.LitDiffusion.on_train_batch_end = Lit.on_train_batch_end\n"
            "sys.exit(main(sys.argv[1:]))")
    p = warm.run([*FIT[2:], '--checkpoint_steps', '0'], tmp_path, code)
    run = Path('run', 'swissroll', 'version_0')
    assert p.returncode == 130, p.stdout + p.stderr
    assert p.stderr.splitlines() == ['diffusion: interrupted; go on with: diffusion '
                                     f'fit --config {run}/config.yaml --resume']
    from diffusion_nbdev.resume import read_checkpoint
    assert read_checkpoint(tmp_path/run/'checkpoints'/'last.ckpt')['global_step'] == 4
    assert (tmp_path/run/'model.safetensors').is_file()

def test_a_request_that_nobody_answers(handler):
    "A step that takes too long is ended; so is one when the end is asked for twice"
    from diffusion_nbdev.ending import EndRequest
    request = EndRequest(patience=0.01)
    request.listen()
    request.running = True
    try:
        with pytest.raises(KeyboardInterrupt, match='by SIGTERM'):
            signal.raise_signal(signal.SIGTERM)
            # until the alarm
            while True: signal.pause()
        # not SIGINT: a process in the background may have to ignore that
        with pytest.raises(KeyboardInterrupt): signal.raise_signal(signal.SIGTERM)
    finally: request.restore()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

# -- what is private to Lightning ------------------------------------------------------

COUNTS = 'ready started processed completed'
LIGHTNING = {
    'fit_loop': 'restarting _restarting _restart_stage _data_fetcher _combined_loader',
    'fit_loop.epoch_progress.total': COUNTS,
    'fit_loop.epoch_progress.current': COUNTS,
    'fit_loop.epoch_loop': '_restarting _restart_stage _batches_that_stepped '
                           '_should_check_val_fx _should_accumulate '
                           '_num_ready_batches_reached',
    'fit_loop.epoch_loop.batch_progress': 'is_last_batch',
    'fit_loop.epoch_loop.batch_progress.total': COUNTS,
    'fit_loop.epoch_loop.batch_progress.current': COUNTS,
    'fit_loop.epoch_loop.val_loop': '_restarting _restart_stage _has_run',
    '_logger_connector': 'should_update_logs'
}
AVERAGING = '_average_model _latest_update_step _swap_models _device'
STAGES = {'fit_loop': 'NONE RESTARTED_MID_EPOCH',
          'training_epoch_loop': 'NONE RESTARTED_ON_LAST',
          'evaluation_loop': 'NONE RESTARTED_MID_EVALUATION'}

def test_lightning_has_what_we_touch():
    "One line for each name that is gone: look through `go_to` and its like then"
    import importlib
    import lightning.pytorch as L
    from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator='cpu')
    gone = []
    for path, names in LIGHTNING.items():
        owner = trainer
        for name in path.split('.'): owner = getattr(owner, name, None)
        gone += [f'Trainer.{path}.{name}' for name in names.split()
                 if not hasattr(owner, name)]
    for module, names in STAGES.items():
        loop = importlib.import_module(f'lightning.pytorch.loops.{module}')
        stage = loop.RestartStage
        gone += [f'{module}.{name}' for name in names.split()
                 if getattr(stage, name, None) != name.lower()]
    if not hasattr(ModelCheckpoint, '_save_checkpoint'):
        gone.append('ModelCheckpoint._save_checkpoint')
    for name in AVERAGING.split():
        if not hasattr(WeightAveraging(), name): gone.append(f'WeightAveraging.{name}')
    assert not gone, (f'lightning {L.__version__} has not, but diffusion_nbdev needs: '
                      f'{", ".join(gone)}')

def test_the_list_of_what_we_touch_is_complete():
    "Every private name in these modules is Lightning's and on the list, or ours"
    known = {n for names in (*LIGHTNING, *LIGHTNING.values(), AVERAGING)
             for n in names.replace('.', ' ').split()}
    ours = {'_batch', '_last_loss', '_swapped', '_weights', '_buffers',
            '_save_checkpoint'}
    for module in ('resume', 'ending', 'finite', 'callbacks'):
        path = ROOT/'diffusion_nbdev'/f'{module}.py'
        tree = ast.parse(path.read_text(encoding='utf-8'))
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
                and n.attr.startswith('_') and not n.attr.startswith('__')}
        assert used <= known | ours, used - known - ours

def test_only_tried_versions_of_lightning_are_allowed():
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    assert 'lightning>=2.6,<2.7' in ini['DEFAULT']['requirements'].split()

def test_a_write_that_fails_leaves_no_half_file(tmp_path):
    code = ('import resource, signal, sys, torch\n'
            'from diffusion_nbdev.resume import WholeCheckpoints\n'
            'signal.signal(signal.SIGXFSZ, signal.SIG_IGN); io = WholeCheckpoints()\n'
            'io.save_checkpoint(dict(a=1), "last.ckpt")\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
            'try: io.save_checkpoint(dict(a=torch.zeros(10**6)), "last.ckpt")\n'
            'except OSError as e: print(e)\n'
            'print(torch.load("last.ckpt", weights_only=True))')
    p = warm.run([], tmp_path, code)
    assert 'cannot write last.ckpt' in p.stdout, p.stdout + p.stderr
    assert "{'a': 1}" in p.stdout, p.stdout + p.stderr
    assert [f.name for f in tmp_path.iterdir()] == ['last.ckpt']

# -- mutated files ---------------------------------------------------------------------

def good_weights(folder):
    import torch
    from diffusion_nbdev.model import Model, Units
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.unet import PointMLP
    torch.manual_seed(0)
    return Model(PointMLP(dim=2, width=8, depth=2), cosine_schedule(50),
                 data=Units([2])).save(folder/'good.safetensors').read_bytes()

def rebuilt(header, body):
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + body

WILD = (None, -1, 0, 1, 3, 10 ** 6, 10 ** 12, 1e308, float('nan'), float('inf'), '',
        'x', 'os.system', [], [1], {}, True, 'F8_E4M3', 'F64', 'I32', 'BOOL', 'F16')

def mutated_weights(data, r):
    "A weights file with one thing changed, at a depth where digests no longer help"
    from diffusion_nbdev.files import digest
    import safetensors.torch, torch
    kind = r.choice('bits cut length json dtype shape offsets nan card deep'.split())
    n = struct.unpack('<Q', data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    name = r.choice([k for k in header if k != '__metadata__'])
    if kind == 'bits':
        out = bytearray(data)
        for _ in range(r.choice((1, 1, 8))):
            out[r.randrange(len(out))] ^= 1 << r.randrange(8)
        return kind, bytes(out)
    if kind == 'cut': return kind, data[:r.randrange(len(data))]
    if kind == 'length':
        n = r.choice((0, n - 1, n + 1, 2 ** 40, 2 ** 63, r.randrange(2 * n)))
        return kind, struct.pack('<Q', n) + data[8:]
    if kind == 'json':
        at = r.randrange(8, 8 + n)
        return kind, data[:at] + bytes([r.randrange(256)]) + data[at + 1:]
    if kind == 'dtype': header[name]['dtype'] = r.choice(WILD)
    if kind == 'shape':
        turned = header[name]['shape'][::-1]
        header[name]['shape'] = r.choice(
            ([], [0], [-1], [10 ** 12], [2 ** 62, 4], 'x', turned))
    if kind == 'offsets':
        header[name]['data_offsets'] = r.choice(
            ([0, 0], [4, 0], [0, 10 ** 12], [-1, 4], [0], 'x'))
    if kind in ('nan', 'card', 'deep'):
        tensors = safetensors.torch.load(data)
        card = json.loads(header['__metadata__']['card'])
        if kind == 'nan':
            x = tensors[name].clone()
            x.view(-1)[r.randrange(x.numel())] = r.choice((float('nan'), float('inf')))
            tensors[name] = x
        where = card
        for _ in range(1 if kind == 'card' else 2):
            where = r.choice([v for v in where.values() if isinstance(v, dict) and v]
                             or [where])
        if kind != 'nan': where[r.choice(list(where))] = r.choice(WILD)
        if isinstance(card.get('sha256'), str): card['sha256'] = digest(tensors)
        metadata = dict(card=json.dumps(card))
        return kind, safetensors.torch.save(tensors, metadata=metadata)
    return kind, rebuilt(header, body)

def mutated_text(text, r):
    out = bytearray(text.encode())
    for _ in range(r.choice((1, 3, 20))):
        at = r.randrange(len(out))
        how = r.randrange(3)
        if how == 0:
            out[at] = r.randrange(256)
        elif how == 1:
            del out[at:at + r.randrange(1, 30)]
        else:
            out[at:at] = r.choice((b'nan', b',', b'"', b'1e999', b'\n', b'[', b'{',
                                   b'!!python/object/apply:os.system ["false"]',
                                   b'class_path: os.system\n', b'\xff'))
        if not out: break
    return bytes(out)

CHECKS = {'not a whole': 'container', 'no such': 'container', 'card is not': 'card',
          'carries no card': 'card', 'its card has no': 'card', 'its format': 'card',
          'damaged or': 'digest', 'not finite': 'values', 'which no net': 'values',
          'no net that can': 'building', 'describes no net': 'building',
          'units of its data': 'units', 'weights of another': 'shapes'}

def weights(r, folder):
    from diffusion_nbdev.model import load
    if not (folder/'good.safetensors').is_file(): good_weights(folder)
    kind, data = mutated_weights((folder/'good.safetensors').read_bytes(), r)
    path = folder/'mutated.safetensors'
    path.write_bytes(data)
    try: load(path)
    except (ValueError, OSError) as e:
        assert '\n' not in str(e), (kind, str(e))
        return next((v for k, v in CHECKS.items() if k in str(e)), 'other')
    return 'accepted'

def tables(r, folder):
    import io
    import numpy as np, torch
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.points import read_points
    ending, packed = r.choice(('csv', 'npz', 'pt')), io.BytesIO()
    if ending == 'npz':
        np.savez(packed, x=np.linspace(-1, 1, 60).reshape(30, 2), c=np.arange(30) % 3)
    if ending == 'pt':
        torch.save(dict(x=torch.linspace(-1, 1, 60).reshape(30, 2),
                        c=torch.arange(30) % 3), packed)
    data = bytearray(packed.getvalue())
    if ending == 'csv':
        rows = [f'{i}.5,{i * i},{i % 3}' for i in range(30)]
        data = mutated_text('\n'.join(['a,b,kind', *rows]), r)
    else:
        for _ in range(r.choice((1, 10))):
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    path = folder/f'mutated.{ending}'
    path.write_bytes(bytes(data))
    try: TensorData(*read_points(path, 'kind' if ending == 'csv' else None))
    except (ValueError, OSError) as e: return f'{ending}: {type(e).__name__}'
    return f'{ending}: accepted'

def config_files(r, folder):
    from diffusion_nbdev.cli.catalogue import configs
    from diffusion_nbdev.cli.fit import checked_classes
    path = folder/'mutated.yaml'
    text = configs()['swissroll'].read_text(encoding='utf-8')
    path.write_bytes(mutated_text(text, r))
    try: checked_classes([str(path)])
    except (ValueError, OSError) as e: return 'YAML' if 'YAML' in str(e) else 'class'
    return 'passed on'

def idx_files(r, folder):
    "Bytes flipped, cut, put in or the header overwritten, plain and packed"
    import gzip
    from diffusion_nbdev.pictures import read_idx
    whole = (bytes([0, 0, 8, 3]) + b''.join(k.to_bytes(4, 'big') for k in (5, 28, 28))
             + random.Random(0).randbytes(5 * 28 * 28))
    packed = r.random() < 0.5
    data = bytearray(gzip.compress(whole) if packed else whole)
    for _ in range(r.randint(1, 3)):
        k = r.randrange(min(len(data), r.choice((4, 16, len(data))))) if data else 0
        how = r.choice(('flip', 'cut', 'put', 'big'))
        if how == 'flip' and data:
            data[k] ^= 1 << r.randrange(8)
        elif how == 'cut':
            del data[k:]
        elif how == 'put':
            data[k:k] = bytes(r.randrange(256) for _ in range(r.randint(1, 8)))
        else:
            data[k:k + 4] = b'\xff' * 4
    path = folder/('mutated.gz' if packed else 'mutated')
    path.write_bytes(data)
    try: x = read_idx(path)
    except OSError as e:
        assert str(path) in str(e) and '\n' not in str(e)
        says = ('not an IDX', 'promises', 'its header says', 'damaged', 'not a gzip')
        return next((k for k in says if k in str(e)), 'other')
    assert x.numel() <= 2 ** 30
    return 'accepted'

def thrown(case, count, folder): # what was reached -> how often
    reached = Counter()
    case(random.Random(0), folder) # imports are not to be timed
    @settings(max_examples=count, deadline=20_000, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def throw(r): reached[case(r, folder)] += 1
    throw()
    n = sum(reached.values())
    shares = ', '.join(f'{k} {v / n:.1%}' for k, v in reached.most_common())
    print(case.__name__, shares, f'of {n}')
    return reached

FILES = [weights, tables, config_files, idx_files]

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', FILES)
def test_mutated_files(case, tmp_path, count=60):
    reached = thrown(case, count, tmp_path)
    assert sum(reached.values()) >= count and len(reached) >= 2

@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', FILES)
def test_many_mutated_files(case, tmp_path):
    import resource
    test_mutated_files(case, tmp_path, 1000)
    # KB: with torch itself, under 1 GB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 ** 20

# -- several processes -----------------------------------------------------------------

@pytest.mark.slow
def test_two_processes(tmp_path):
    "One of two processes killed ends the other within 60 s, with an error"
    two = [*FIT, '--trainer.accelerator', 'cpu', '--trainer.strategy', 'ddp',
           '--trainer.devices', '2']
    p = start(*two, cwd=tmp_path)
    try:
        run = tmp_path/'run'/'swissroll'/'version_0'
        wait_for(p, run/'checkpoints'/'previous.ckpt')
        children = Path(f'/proc/{p.pid}/task/{p.pid}/children').read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        begun = time.time()
        _, err = p.communicate(timeout=60)
        assert p.returncode != 0 and err and time.time() - begun < 60
    finally:
        try: os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError: pass

def test_validation_of_two_processes_is_that_of_one(tmp_path):
    "Noise by row number; sums and counts reduced, not means of means"
    values = []
    # 150 rows in batches of 64: the last one is smaller
    line = ['validate', '--config', 'swissroll', '--data.n_train', '1501',
            '--data.batch_size', '64', '--trainer.accelerator', 'cpu']
    for more in ([], ['--trainer.strategy', 'ddp', '--trainer.devices', '2']):
        if more:
            # the second process is started by the same command line
            p = start('-m', 'diffusion_nbdev', *line, *more, cwd=tmp_path)
            out, err = p.communicate(timeout=240)
        else:
            p = warm.run(line, tmp_path)
            out, err = p.stdout, p.stderr
        assert p.returncode == 0, err
        values.append(json.loads(out)['val_loss'])
    assert abs(values[0] - values[1]) < 1e-6, values

# -- another logger --------------------------------------------------------------------

@pytest.mark.slow
def test_mlflow_twice_in_the_same_place(tmp_path):
    "By config alone; a second run keeps the first; config and pictures are logged"
    book = json.loads((ROOT/'nbs'/'91_cli.ipynb').read_text(encoding='utf-8'))
    prose = (''.join(c['source']) for c in book['cells']
             if c['cell_type'] == 'markdown')
    text = next(s for s in prose if 'MLFlowLogger' in s)
    block = text.partition('```yaml\n')[2].partition('```')[0]
    (tmp_path/'mlflow.yaml').write_text(block)
    for _ in range(2):
        p = start('-m', 'diffusion_nbdev', 'fit', '--config', 'swissroll', '--config',
                  'mlflow.yaml', '--trainer.max_epochs', '2', '--data.n_train', '2000',
                  '--pictures', '1', cwd=tmp_path)
        out, err = p.communicate(timeout=240)
        assert p.returncode == 0, out + err
        assert 'mlflow server' in out, out + err
        assert 'tensorboard' not in out, out + err
    def found(pattern):
        return sorted(f.relative_to(tmp_path).as_posix()
                      for f in tmp_path.rglob(pattern))
    assert len(found('last.ckpt')) == len(found('best.ckpt')) == 2
    assert len(found('model.safetensors')) == 2
    assert len(found('samples/*.png')) == 4
    assert len([f for f in found('config.yaml') if 'artifacts' in f]) == 2
    assert {f.name for f in tmp_path.iterdir()} == {'run', 'mlflow.yaml'}
