"""Kill a small training at random moments, resume it, and compare with one that was never disturbed.

    python tools/soak.py                     200 kill/resume cycles, seed 0; writes tools/soak.json
    python tools/soak.py --cycles 20 --seed 1 --out /tmp/soak.json

Two of three kills are SIGKILL, one is SIGTERM. After each, the newest readable checkpoint is looked for, and
none that lies under its final name may be unreadable. In the end weights, averages and the optimiser's memory
must equal those of the undisturbed training bit for bit.
"""
import argparse, json, os, random, signal, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

def train(folder, resume, epochs):
    import torch
    from diffusion_nbdev.model import Model
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.training import LitDiffusion, fit
    from diffusion_nbdev.unet import PointMLP
    from lightning.pytorch.loggers import CSVLogger
    torch.manual_seed(0)
    c = torch.arange(1000) % 2
    data = TensorData(torch.randn(1000, 2) + 3 * c[:, None], c, batch_size=100)
    lit = LitDiffusion(Model(PointMLP(dim=2, width=32, n_classes=2), cosine_schedule(100), data=data.units), lr=3e-3, warmup=10)
    fit(lit, data, ema=0.98, pictures=0, progress=False, resume=resume, checkpoint_steps=3, max_epochs=epochs, val_check_interval=3,
        logger=CSVLogger(str(folder), name='soak', version='run'), accelerator='cpu')

def child(folder, resume, epochs):
    "The process number of a copy of this one that trains"
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1); os.dup2(null, 2)
        train(folder, resume, epochs)
        code = 0
    finally: os._exit(code)

def numbers(path):
    from diffusion_nbdev.resume import read_checkpoint
    last = read_checkpoint(path)
    return [*last['state_dict'].values(), *last['current_model_state'].values(), *(x for s in last['optimizer_states'][0]['state'].values() for x in s.values())], last['global_step']

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--cycles', type=int, default=200)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--epochs', type=int, help='of the training (default: fifteen a cycle, more than a cycle gets through)')
    p.add_argument('--minutes', type=float, default=60, help='no new kill after this time')
    p.add_argument('--out', default=str(ROOT/'tools'/'soak.json'))
    a = p.parse_args()
    import torch
    from diffusion_nbdev.resume import newest_checkpoint, read_checkpoint
    import lightning.pytorch.loggers, diffusion_nbdev.unet # imported once, for all copies
    torch.set_num_threads(1)
    r, begun, home = random.Random(a.seed), time.time(), Path(tempfile.mkdtemp())
    epochs = a.epochs or 15 * a.cycles
    kills, damaged, empty, slowest, steps = dict(SIGKILL=0, SIGTERM=0), 0, 0, 0., []
    folder, finished = home/'disturbed', False
    while sum(kills.values()) < a.cycles and time.time() - begun < 60 * a.minutes:
        try: resume = newest_checkpoint(folder/'soak', lambda _: None)
        except OSError: resume, empty = None, empty + 1
        pid, name = child(folder, resume, epochs), r.choice(('SIGKILL', 'SIGKILL', 'SIGTERM'))
        time.sleep(r.uniform(0.1, 2.))
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            finished = status == 0
            break
        asked = time.time()
        os.kill(pid, getattr(signal, name))
        os.waitpid(pid, 0)
        if name == 'SIGTERM': slowest = max(slowest, time.time() - asked)
        kills[name] += 1
        for path in folder.rglob('[!.]*.ckpt'):
            try: steps.append(read_checkpoint(path)['global_step'])
            except OSError: damaged += 1
    if not finished:
        try: resume = newest_checkpoint(folder/'soak', lambda _: None)
        except OSError: resume = None
        finished = os.waitpid(child(folder, resume, epochs), 0)[1] == 0
    undisturbed = os.waitpid(child(home/'undisturbed', None, epochs), 0)[1] == 0
    (x, k), (y, n) = (numbers(f/'soak'/'run'/'checkpoints'/'last.ckpt') for f in (folder, home/'undisturbed'))
    equal = finished and undisturbed and k == n and all(torch.equal(u, v) for u, v in zip(x, y, strict=True))
    result = dict(cycles=sum(kills.values()), **kills, seed=a.seed, steps=n, stopped_at_steps=len(set(steps)), unreadable_checkpoints=damaged, starts_without_a_checkpoint=empty,
                  slowest_sigterm_seconds=round(slowest, 2), equal=equal, minutes=round((time.time() - begun) / 60, 1), versions=dict(torch=str(torch.__version__), python=sys.version.split()[0]))
    Path(a.out).write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result, indent=1))
    return int(not equal or damaged > 0)

if __name__ == '__main__': sys.exit(main())
