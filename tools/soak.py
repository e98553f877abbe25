"""Kill a small training at random moments, resume it, and compare with one left alone.

    python tools/soak.py
        200 kill/resume cycles, seed 0; writes tools/soak.json
    python tools/soak.py --cycles 20 --seed 1 --out /tmp/soak.json

Two of three kills are SIGKILL, one is SIGTERM. After each, the newest readable
checkpoint is looked for, and none that lies under its final name may be unreadable; a
SIGTERM never ends with the exit code of success. In the end weights, averages and the
optimiser's memory must equal those of the undisturbed training bit for bit.
"""
import argparse, json, os, random, signal, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def train(folder, resume, epochs):
    import torch
    from diffusion_nbdev.data import TensorData
    from diffusion_nbdev.model import Model
    from diffusion_nbdev.schedules import cosine_schedule
    from diffusion_nbdev.training import LitDiffusion, fit
    from diffusion_nbdev.unet import PointMLP
    from lightning.pytorch.loggers import CSVLogger
    torch.manual_seed(0)
    c = torch.arange(1000) % 2
    data = TensorData(torch.randn(1000, 2) + 3 * c[:, None], c, batch_size=100)
    net = PointMLP(dim=2, width=32, n_classes=2)
    lit = LitDiffusion(Model(net, cosine_schedule(100), data=data.units), lr=3e-3,
                       warmup=10)
    fit(lit, data, ema=0.98, pictures=0, progress=False, resume=resume,
        checkpoint_steps=3, max_epochs=epochs, val_check_interval=3, accelerator='cpu',
        logger=CSVLogger(str(folder), name='soak', version='run'))


def child(folder, resume, epochs):
    "The process number of a copy of this one that trains"
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        train(folder, resume, epochs)
        code = 0
    finally: os._exit(code)


def to_the_end(folder, resume, epochs):
    "Whether a training that nobody disturbs ends well"
    _, status = os.waitpid(child(folder, resume, epochs), 0)
    return status == 0


def newest(folder):
    "The checkpoint to go on from; None to begin anew"
    from diffusion_nbdev.resume import newest_checkpoint
    try: return newest_checkpoint(folder/'soak', lambda _: None)
    except OSError: return None


def numbers(folder):
    "Weights, averages and the optimiser's memory at the end, and the step"
    from diffusion_nbdev.resume import read_checkpoint
    last = read_checkpoint(folder/'soak'/'run'/'checkpoints'/'last.ckpt')
    adam = last['optimizer_states'][0]['state'].values()
    weights = *last['state_dict'].values(), *last['current_model_state'].values()
    return [*weights, *(x for s in adam for x in s.values())], last['global_step']


class Soak:
    "Counts of what was done to a training, and of what came of it"
    def __init__(self, folder, epochs, r):
        self.folder, self.epochs, self.r = folder, epochs, r
        self.kills, self.steps = dict(SIGKILL=0, SIGTERM=0), []
        self.damaged, self.empty, self.silent, self.slowest = 0, 0, 0, 0.

    def cycle(self):
        "Start or go on, kill after a while; whether training was over before"
        resume = newest(self.folder)
        self.empty += resume is None
        pid = child(self.folder, resume, self.epochs)
        name = self.r.choice(('SIGKILL', 'SIGKILL', 'SIGTERM'))
        time.sleep(self.r.uniform(0.1, 2.))
        done, status = os.waitpid(pid, os.WNOHANG)
        if done: return True
        asked = time.time()
        os.kill(pid, getattr(signal, name))
        _, status = os.waitpid(pid, 0)
        self.kills[name] += 1
        if name == 'SIGTERM':
            self.slowest = max(self.slowest, time.time() - asked)
            self.silent += status == 0
        self.look()
        return False

    def look(self):
        "Read every checkpoint that has its final name"
        from diffusion_nbdev.resume import read_checkpoint
        for path in self.folder.rglob('[!.]*.ckpt'):
            try: self.steps.append(read_checkpoint(path)['global_step'])
            except OSError: self.damaged += 1


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--cycles', type=int, default=200)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--epochs', type=int, help='of the training '
                   '(default: fifteen a cycle, more than one gets through)')
    p.add_argument('--minutes', type=float, default=60,
                   help='no new kill after this time')
    p.add_argument('--out', default=str(ROOT/'tools'/'soak.json'))
    return p.parse_args()


def main():
    a = arguments()
    import torch
    # imported once, for all copies
    import diffusion_nbdev.training, diffusion_nbdev.unet  # noqa: F401
    import lightning.pytorch.loggers  # noqa: F401
    torch.set_num_threads(1)
    begun, home = time.time(), Path(tempfile.mkdtemp())
    soak = Soak(home/'disturbed', a.epochs or 15 * a.cycles, random.Random(a.seed))
    over = False
    while (not over and sum(soak.kills.values()) < a.cycles
           and time.time() - begun < 60 * a.minutes):
        over = soak.cycle()
    finished = to_the_end(soak.folder, newest(soak.folder), soak.epochs)
    undisturbed = to_the_end(home/'undisturbed', None, soak.epochs)
    (x, k), (y, n) = numbers(soak.folder), numbers(home/'undisturbed')
    equal = all(torch.equal(u, v) for u, v in zip(x, y, strict=True))
    equal = finished and undisturbed and k == n and equal
    result = dict(
        cycles=sum(soak.kills.values()), **soak.kills, seed=a.seed, steps=n,
        stopped_at_steps=len(set(soak.steps)), unreadable_checkpoints=soak.damaged,
        starts_without_a_checkpoint=soak.empty,
        slowest_sigterm_seconds=round(soak.slowest, 2),
        sigterms_that_looked_like_success=soak.silent, equal=equal,
        minutes=round((time.time() - begun) / 60, 1),
        versions=dict(torch=str(torch.__version__), python=sys.version.split()[0])
    )
    Path(a.out).write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps(result, indent=1))
    return int(not equal or soak.damaged > 0 or soak.silent > 0)


if __name__ == '__main__': sys.exit(main())
