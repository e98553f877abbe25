"""The digits: what each ingredient of the recipe is worth, how loss and samples relate
while training, and what the shipped weights score.

    python benchmarks/mnist.py --data DIR
        all parts, about three hours on one core, into benchmarks/mnist.json
    python benchmarks/mnist.py --parts quality guidance
        only some of: default ablation middle minutes ahead epochs choice report quality
        guidance; the last four need no data set
    python benchmarks/mnist.py --seconds 3 --n 100 ...
        a minute, to see that it runs; give it another --out

default   the configs `mnist_uncond` and `mnist_cond` as they stand, each trained to its
          end: what it took, its scores by the reporting judge, `--seeds` sets, and 64
          digits of the first in mnist_default.png
ablation  the packaged recipe with one ingredient changed at a time, each trained for
          the same processor time of one thread
middle    training times from the middle or spread evenly: as many images for one as for
          the other, three seeds
minutes   the recipe, a plain U-Net and diffusers' UNet2DModel after so many minutes of
          two cores: their processor time is counted, trainings and judging on one
          thread each
ahead     two minutes of two cores by the config `mnist_cond`, and ten by diffusers,
          before the reporting judge
epochs    validation loss of the averaged weights after each epoch of the packaged
          training, and what their samples score
quality   the shipped weights `mnist_cond`: samplers against network calls
guidance  the shipped weights: weight, interval and rescaling of guidance, 20 steps
choice    the shipped weights: samplers and grids, tried by the tuning judge, which has
          seen training images only
report    what was chosen, before the reporting judge and the test images, which had no
          part in it; `--seeds` sets of samples, and those that are there stay

DIR holds the data set, as `diffusion fit --data.data_dir` has it. All parts but
`default`, `ahead` and `report` compare one thing with another, and have samples
judged by the tuning judge.
"""
import argparse, contextlib, dataclasses, importlib.metadata, json, math, os, platform
import statistics, subprocess, sys, tempfile, time
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/'benchmarks')]
from peers import unet2d
from diffusion_nbdev import ddpm
from diffusion_nbdev.devices import bfloat16_pays
from diffusion_nbdev.judge import (
    JUDGES, beside_real, digit_features, frechet, load_extractor, score_images,
    separate_sets)
from diffusion_nbdev.pictures import MNISTData
from diffusion_nbdev.files import whole_file
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.schedules import cosine_schedule, linear_schedule
from diffusion_nbdev.callbacks import quiet
from diffusion_nbdev.training import LitDiffusion, TrainedGuidance, fit
from diffusion_nbdev.unet import UNet

KEPT = ('draws', 'frechet', 'frechet_floor', 'frechet_floor_std', 'frechet_excess',
        'frechet_excess_se', 'kid', 'kid_excess', 'kid_excess_se', 'precision',
        'precision_real', 'recall', 'recall_real', 'class_l1', 'class_l1_floor',
        'accuracy', 'accuracy_real')

def asked(judge, num, k):
    """The classes of the k-th set of real images that the floor is made of: how often
    each of them comes is then no difference between samples and real images"""
    sets = separate_sets(judge.held_out_labels, num)
    return sets[k % len(sets)]

def drawn(model, judge, sampler, n, num, seed=1, **options):
    "`num` samples, and their classes"
    c = asked(judge, num, seed - 1) if model.n_classes else None
    with torch.autocast('cpu', torch.bfloat16, enabled=bool(bfloat16_pays())):
        # as `diffusion sample` does
        x = model.generate(sampler, n=n, num=num, c=c, seed=seed, **options)
    return x.clamp(0, 1), c

def judged(model, sampler, n, num, **options):
    "One set, before the judge by which things are chosen"
    judge = load_extractor(JUDGES['tuning'])
    x, c = drawn(model, judge, sampler, n, num, **options)
    return dict(sampler=sampler, steps=n, calls=model.calls, num=num,
                **kept(score_images(x, c, judge)))

def kept(score):
    return {k: round(score[k], 5) for k in KEPT if score.get(k) is not None}

# -- the recipe, as configs/mnist_cond.yaml has it -------------------------------------

NET = dict(channels=(48, 96, 128), patch=2, n_classes=10)
PLAIN = dict(channels=(32, 64, 128), patch=1, blocks=2, n_classes=10, norm='batch',
             attention=False)
# images in [0, 1] inside the net
BRIGHT = dict(mean=0., std=1., clip=1.)
# name -> what differs
VARIANTS = {
    'the recipe':                         {},
    'at full resolution':                 dict(net=dict(patch=1)),
    'float32':                            dict(precision='32-true'),
    'eps instead of v':                   dict(pred='eps'),
    'images in [0, 1]':                   dict(units=BRIGHT),
    'batch norm':                         dict(net=dict(norm='batch')),
    'times drawn one by one':             dict(times='independent'),
    'times spread evenly':                dict(lit=dict(times='uniform')),
    'no average of the weights':          dict(ema=None),
    'constant learning rate of 1e-3':     dict(lit=dict(lr=1e-3, decay='constant',
                                                        warmup=0)),
    'turned by up to 5 degrees':          dict(degrees=5.),
    'a plain U-Net and its usual recipe': dict(net=PLAIN, pred='eps', units=BRIGHT,
                                               batch=32, ema=None, times='independent',
                                               precision='32-true',
                                               lit=dict(lr=1e-3, decay='constant',
                                                        warmup=0, times='uniform')),
}

def drawn_one_by_one(T, B, u=None, times='uniform', device=None):
    return 1 + (T * ddpm.TIMES[times](torch.rand(B).double())).long().clamp(max=T - 1)

def train(data_dir, folder, steps, net={}, units=None, pred='v', batch=64, ema=0.999,
          degrees=0., times=None, precision=None, lit={}, seed=0):
    "The recipe with changes, for so many steps: the averaged model."
    data = MNISTData(data_dir=data_dir, batch_size=batch, degrees=degrees)
    if units: data.units = Units([1, 28, 28], n_classes=10, name='mnist', **units)
    torch.manual_seed(seed)
    model = Model(UNet(**(net if 'channels' in net else {**NET, **net})),
                  cosine_schedule(T=1000), pred, data.units)
    lit = LitDiffusion(model, **{**dict(lr=4e-3, warmup=200, times='logit_normal',
                                        seed=seed), **lit})
    precision = precision or ('bf16-mixed' if bfloat16_pays() else '32-true')
    with (mock.patch('diffusion_nbdev.training.draw_times', drawn_one_by_one) if times
          else contextlib.nullcontext()):
        fit(lit, data, folder, ema=ema, pictures=0, progress=False, max_steps=steps,
            precision=precision, limit_val_batches=0)
    return model

def train_for(seconds, data_dir, **changes):
    """The recipe with changes, for as many steps as fit into `seconds` of processor
    time: the averaged model, and what it took"""
    with tempfile.TemporaryDirectory() as tmp:
        cost = {}
        # what a step costs, in processor time
        for steps in (5, 25):
            start = time.process_time()
            train(data_dir, tmp, steps, **changes)
            cost[steps] = time.process_time() - start
        steps = max(1, round(seconds * 20 / (cost[25] - cost[5])))
        start, wall = time.process_time(), time.perf_counter()
        model = train(data_dir, tmp, steps, **changes)
        took, wall = time.process_time() - start, time.perf_counter() - wall
    return model, dict(updates=steps, images=steps * changes.get('batch', 64),
                       weights=sum(p.numel() for p in model.net.parameters()),
                       seconds=round(took, 1), wall=round(wall, 1))

def ablation(args, names=tuple(VARIANTS)):
    rows = []
    for name in names:
        if args.only and name not in args.only: continue
        model, cost = train_for(args.seconds, args.data, **VARIANTS[name])
        rows.append(dict(name=name, **cost, **judged(model, 'dpmpp_2m', 20, args.n)))
        print(json.dumps(rows[-1]), flush=True)
    return dict(seconds=args.seconds, rows=rows)

def middle(args):
    "Both from the same first weights, for the same number of images"
    rows = []
    for seed in range(3):
        for name in ('the recipe', 'times spread evenly'):
            with tempfile.TemporaryDirectory() as tmp:
                model = train(args.data, tmp, args.steps, seed=seed, **VARIANTS[name])
            found = judged(model, 'dpmpp_2m', 20, args.n)
            rows.append(dict(name=name, seed=seed, updates=args.steps,
                             images=64 * args.steps, **found))
            print(json.dumps(rows[-1]), flush=True)
    return dict(rows=rows)

# -- the config as it stands -----------------------------------------------------------

# what `fit` prints, and what the tuning judge has chosen for the shipped weights
DEFAULT = [dict(sampler='ddim'), dict(sampler='dpmpp_2m_sde', times='visible')]

def finished(run):
    "The averaged model of a run, and how long it was trained"
    model = load(run)
    names = 'epochs', 'steps', 'seed', 'threads', 'seconds'
    facts = {k: model.card['training'][k] for k in names}
    return model, dict(facts, images=64 * facts['steps'])

def as_it_stands(name, data_dir, run):
    "The model of `diffusion fit --config NAME`, and what it took"
    from diffusion_nbdev.cli.main import main as cli
    if run: return finished(Path(run))
    data, here = str(Path(data_dir or '.').resolve()), Path.cwd()
    with tempfile.TemporaryDirectory() as tmp:
        # `fit` leaves its run where it is called
        os.chdir(tmp)
        start = time.process_time()
        failed = cli(['fit', '--config', name, '--data.data_dir', data])
        spent = round(time.process_time() - start)
        os.chdir(here)
        if failed: sys.exit(failed)
        model, facts = finished(Path(tmp)/'run'/name/'version_0')
    return model, dict(facts, cpu_seconds=spent)

def default(args):
    "Trainings by the config alone, before the judge that has not chosen"
    from diffusion_nbdev.plots import image_grid
    stored = json.loads(args.out.read_text()) if args.out.exists() else {}
    found = stored.get('default', {})
    judges = [load_extractor(JUDGES[name]) for name in ('reporting', 'tuning')]
    if args.run and len(args.only or ()) != 1:
        sys.exit('--run: of which config? --only must name it')
    for name in args.only or ('mnist_uncond', 'mnist_cond'):
        model, training = as_it_stands(name, args.data, args.run)
        rows = []
        for seed in range(REPORTING, REPORTING + args.seeds):
            for how in DEFAULT:
                run = dict(weights=name, steps=20, **how)
                rows.append(reported(run, seed, judges, args.n, model))
                print(json.dumps(rows[-1]), flush=True)
        found[name] = dict(training=training, judges=[j.card['sha256'][:12]
                                                      for j in judges],
                           **report_of(rows, judges, args.n))
        if name != 'mnist_uncond': continue
        # the same noise as the chapter's digits
        x = model.generate('ddim', n=20, num=64, seed=0)
        digits = image_grid(model.data.to_model(x), ncols=8, pad=0)[..., 0]
        Image.fromarray(digits.numpy()).save(ROOT/'benchmarks'/'mnist_default.png',
                                             optimize=True)
    return {k: v for k, v in found.items() if k.startswith('mnist_')}

# -- against others, trained equally long ----------------------------------------------

class Peer(torch.nn.Module):
    """diffusers' UNet2DModel, 2.5 million weights, with labels, as a net of ours: its
    times are 0 to T - 1"""
    n_classes = 10
    def __init__(self):
        super().__init__()
        self.net = unet2d(num_class_embeds=10)
    def forward(self, xt, t, c=None):
        return self.net(xt, (t - 1).expand(len(xt)), class_labels=c,
                        return_dict=False)[0]

def train_diffusers(seconds, data_dir, lr=1e-3, batch=64):
    """Its documented loop for `seconds` of processor time: DDPMScheduler, AdamW,
    warm-up and cosine, EMAModel, bfloat16"""
    import diffusers
    from diffusers.training_utils import EMAModel
    data = MNISTData(data_dir=data_dir, batch_size=batch)
    data.setup()
    torch.manual_seed(0)
    peer = Peer()
    noise = diffusers.DDPMScheduler(1000)
    n, used = 0, 0.
    start = time.process_time()
    wall = time.perf_counter()
    adam = torch.optim.AdamW(peer.parameters(), lr, weight_decay=1e-6)
    average = EMAModel(peer.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)
    while used < seconds:
        for x, c, *_ in data.train_dataloader():
            if (used := time.process_time() - start) >= seconds: break
            warm, cosine = min(1, (n + 1) / 200), 1 + math.cos(math.pi * used / seconds)
            for group in adam.param_groups: group['lr'] = lr * warm * 0.5 * cosine
            eps, t = torch.randn_like(x), torch.randint(0, 1000, (len(x),))
            with torch.autocast('cpu', torch.bfloat16, enabled=bool(bfloat16_pays())):
                out = peer.net(noise.add_noise(x, eps, t), t, class_labels=c,
                               return_dict=False)[0]
            torch.nn.functional.mse_loss(out.float(), eps).backward()
            torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.)
            adam.step()
            adam.zero_grad()
            average.step(peer.parameters())
            n += 1
    average.copy_to(peer.parameters())
    wall = time.perf_counter() - wall
    cost = dict(updates=n, images=n * batch,
                weights=sum(p.numel() for p in peer.parameters()),
                seconds=round(used, 1), wall=round(wall, 1), lr=lr)
    model = Model(peer.eval(), linear_schedule(T=1000), 'eps', data.units)
    return model, cost

def train_plain(seconds, data):
    return train_for(seconds, data, **VARIANTS['a plain U-Net and its usual recipe'])

TRAINERS = {'the recipe': train_for,
            'a plain U-Net and its usual recipe': train_plain,
            "diffusers' UNet2DModel": train_diffusers}

def minutes(args):
    rows = []
    for name, trainer in TRAINERS.items():
        if args.only and name not in args.only: continue
        for k in args.minutes:
            # two cores
            try:
                model, cost = trainer(120 * k, args.data)
            except ImportError as e:
                print(f"{name}: {e.name} is not installed (pip install -e '.[bench]'): "
                      "measuring the rest", file=sys.stderr)
                break
            rows.append(dict(name=name, minutes=k, **cost,
                             **judged(model, 'ddim', 50, args.n, eta=1.)))
            print(json.dumps(rows[-1]), flush=True)
    return dict(rows=rows)

AHEAD = {'the recipe': 2, 'the recipe, w = 0.5': 2, "diffusers' UNet2DModel": 10}

def train_guided(w):
    "The recipe with the objective of configs/mnist_cond.yaml, where w is 0.2"
    return lambda seconds, data: train_for(
        seconds, data, lit=dict(objective=TrainedGuidance(w, 0.7)))

def ahead(args):
    "So many minutes of two cores, before the judge that has not chosen"
    judge, rows = load_extractor(JUDGES['reporting']), []
    trainers = {**TRAINERS, 'the recipe': train_guided(0.2),
                'the recipe, w = 0.5': train_guided(0.5)}
    for name, k in AHEAD.items():
        if args.only and name not in args.only: continue
        model, cost = trainers[name](120 * k, args.data)
        seeds = range(REPORTING, REPORTING + args.seeds)
        how = dict(sampler='dpmpp_2m_sde', n=20)
        sets = [drawn(model, judge, num=args.n, seed=seed, **how, times='visible')
                for seed in seeds]
        x, c = zip(*sets)
        rows.append(dict(name=name, minutes=k, **cost, **how, num=args.n,
                         sets=args.seeds, **kept(score_images(x, c, judge))))
        print(json.dumps(rows[-1]), flush=True)
    return dict(judge=judge.card['sha256'][:12], rows=rows)

def epochs(args):
    "Scores of the weights that a training keeps after each epoch."
    from diffusion_nbdev.cli.main import main as cli
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        kept = Path(args.run) if args.run else Path(tmp)
        if not args.run:
            each = ['--trainer.callbacks+=ModelCheckpoint',
                    f'--trainer.callbacks.dirpath={tmp}',
                    '--trainer.callbacks.save_top_k=-1',
                    '--trainer.callbacks.filename={epoch}']
            if cli.main(['fit', '--config', 'mnist_cond', '--data.data_dir', args.data,
                         *each]):
                sys.exit(1)
        data = MNISTData(data_dir=args.data, batch_size=500)
        data.setup()
        model = Model(UNet(**NET), cosine_schedule(T=1000), 'v', data.units).eval()
        lit = LitDiffusion(model)
        import lightning.pytorch as L
        for path in sorted(kept.rglob('epoch=*.ckpt'),
                           key=lambda p: int(p.stem.partition('=')[2])):
            lit.load_state_dict(torch.load(path, map_location='cpu',
                                           weights_only=True)['state_dict'])
            with quiet():
                trainer = L.Trainer(logger=False, enable_progress_bar=False,
                                    enable_model_summary=False, accelerator='cpu')
                loss = trainer.validate(lit, data, verbose=False)[0]['val_loss']
            rows.append(dict(epoch=int(path.stem.partition('=')[2]) + 1, val_loss=loss,
                             **judged(model, 'dpmpp_2m', 20, args.n)))
            print(json.dumps(rows[-1]), flush=True)
    return dict(rows=rows)

STEPS = dict(ddim=(5, 10, 20, 50), ddpm=(10, 20, 50), dpmpp_2m=(5, 10, 20, 50),
             unipc2=(5, 10, 20), dpmpp_2m_sde=(10, 20, 50))

def quality(args):
    rows = []
    model = load('mnist_cond')
    for sampler, steps in STEPS.items():
        if args.only and sampler not in args.only: continue
        for n in steps:
            rows.append(judged(model, sampler, n, args.n))
            print(json.dumps(rows[-1]), flush=True)
    return dict(rows=rows)

GUIDANCE = [dict(w=w) for w in (0., 0.25, 0.5, 1., 2., 4.)] + [
    dict(w=4., interval=(100, 700)), dict(w=4., rescale=0.7)
]

def guidance(args):
    rows, model = [], load('mnist_cond')
    for options in GUIDANCE:
        rows.append(dict(**options, **judged(model, 'dpmpp_2m', 20, args.n, **options)))
        print(json.dumps(rows[-1]), flush=True)
    return dict(rows=rows)

# -- who chooses and who reports -------------------------------------------------------

# with none, with half and with all of the noise that the stochastic ones add
NONE = [dict(sampler='dpmpp_2m', times='balanced')]
HALF = [dict(sampler='sde', churn=0.5, times=k) for k in ('visible', 'balanced')]
ALL = [dict(sampler='dpmpp_2m_sde', times=k) for k in ('visible', 'balanced')]
# weights, network calls -> what the tuning judge may choose from
CHOICES = {('mnist_cond', 10): NONE + HALF + ALL,
           # on the grid that was better with 10 calls
           ('mnist_cond', 20): NONE + HALF[:1] + ALL[:1],
           ('mnist_uncond', 20): HALF[:1] + ALL[:1]}
# seeds for choosing, the second of them for the first two only; others for reporting
CHOOSING, REPORTING = {10: (1000, 1001), 20: (1000,)}, 1

def features_seen(model, judges, num, seed, sampler, n, **options):
    "A set of samples in the features of each judge, and the classes asked for"
    x, c = drawn(model, judges[0], sampler, n, num, seed, **options)
    return [digit_features(judge.net, x) for judge in judges], c

def chooser():
    """The tuning judge with all that its net has not learnt from as the reference:
    what compares samples with samples needs no floor"""
    judge = load_extractor(JUDGES['tuning'])
    return dataclasses.replace(judge, floors={},
                               test=torch.cat([judge.test, judge.held_out]))

def choice(args):
    "Samplers and grids, tried by the judge that has seen training images only"
    judge = chooser()
    rows, made = resumed(args, 'choice', judges=[judge.card['sha256'][:12]],
                         reference=len(judge.test))
    for (name, calls), candidates in CHOICES.items():
        for seed in CHOOSING[calls]:
            for options in candidates:
                what = dict(weights=name, steps=calls, **options, num=args.n, seed=seed)
                if any(what.items() <= r.items() for r in rows): continue
                rows.append(tried(judge, what))
                print(json.dumps(rows[-1]), flush=True)
                write_part(args, 'choice', dict(made, **chosen(rows)))
            candidates = sorted(candidates, key=lambda o: next(
                r['frechet'] for r in rows
                if dict(o, weights=name, steps=calls, seed=seed).items() <= r.items()
            ))[:2]
    return dict(made, **chosen(rows))

def tried(judge, what):
    "One set of samples before the judge that chooses"
    how = {k: v for k, v in what.items() if k not in ('weights', 'steps', 'num')}
    model = load(what['weights'])
    (f,), c = features_seen(model, [judge], what['num'], n=what['steps'], **how)
    found = {k: round(v, 5) for k, v in judge.measure(f).items()}
    if c is not None: found['accuracy'] = round(judge.accuracy(f, c), 5)
    return dict(what, calls=model.calls, **found)

def resumed(args, part, **made):
    "The rows that are there already, of these judges and weights; and who these are"
    made['weights'] = {name: load(name).card['sha256'][:12]
                       for name in ('mnist_cond', 'mnist_uncond', 'mnist_weak')}
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    old = found.get(part, {})
    return old['rows'] if old and {**old, **made} == old else [], made

OPTIONS = 'sampler', 'times', 'eta', 'churn'

def said(row, keys=('weights', 'steps', *OPTIONS)):
    "What a row says of how it was made"
    return {k: row[k] for k in keys if k in row}

def chosen(rows):
    """For each of the weights and calls, what has the smallest Fréchet distance on
    average over its sets, of those that have most of them; with 50 calls, which are
    dear, what was best with 20"""
    tried, compared, found = {}, [], []
    for r in rows: tried.setdefault(json.dumps(said(r)), []).append(r)
    for v in tried.values():
        means = {m: round(statistics.mean(r[m] for r in v), 5)
                 for m in ('frechet', 'recall', 'accuracy') if m in v[0]}
        compared.append(dict(said(v[0]), sets=len(v), **means))
    place = lambda r: (r['weights'], r['steps'], -r['sets'], r['frechet'])
    compared.sort(key=place)
    for r in compared:
        if any(said(r, ('weights', 'steps')).items() <= f.items() for f in found):
            continue
        found.append(said(r))
    found += [dict(run, steps=50) for run in found if run['steps'] == 20]
    return dict(rows=rows, compared=compared, chosen=found)

# not chosen, and shown beside: the guide of others, alone
ALONE = [dict(weights='mnist_weak', steps=20, sampler='ddim')]

def report(args):
    "What was chosen, before the judge that has not chosen, seed by seed"
    stored = json.loads(args.out.read_text())
    judges = [load_extractor(JUDGES[name]) for name in ('reporting', 'tuning')]
    rows, made = resumed(args, 'report', judges=[j.card['sha256'][:12] for j in judges])
    runs = [r for r in stored['choice']['chosen'] + ALONE
            if not args.only or f"{r['weights']}:{r['steps']}" in args.only]
    for seed in range(REPORTING, REPORTING + args.seeds):
        for run in runs:
            if any(dict(run, seed=seed).items() <= r.items() for r in rows): continue
            rows.append(reported(run, seed, judges, args.n))
            print(json.dumps(rows[-1]), flush=True)
            write_part(args, 'report', dict(made, **report_of(rows, judges, args.n)))
    return dict(made, **report_of(rows, judges, args.n))

def reported(run, seed, judges, num, model=None):
    "A set of samples before both judges; of these weights, or of another model"
    name, n, how = run['weights'], run['steps'], dict(run)
    for key in ('weights', 'steps'): del how[key]
    model = load(name) if model is None else model
    both, c = features_seen(model, judges, num, seed, n=n, **how)
    found = {k: round(v, 5) for k, v in judges[0].measure(both[0]).items()}
    read = judges[0].classes(both[0])
    if c is not None: found['accuracy'] = (read == c).double().mean().item()
    return dict(run, calls=model.calls, num=num, seed=seed, **found,
                counts=torch.bincount(read, minlength=10).tolist(),
                frechet_tuning=round(frechet(both[1], judges[1].test), 5))

def excess_se(rows, real, std):
    """Standard error of the mean excess. With fewer sets of samples than of real images
    the samples are taken to scatter as the real ones, or more where they are seen to.
    With more, and with labels, each set has the classes of a real one: what counts is
    how the differences scatter over the real sets. Else None: each side by itself"""
    m, found = len(real), {}
    if len(rows) < m:
        seen = statistics.stdev(r['frechet'] for r in rows) if len(rows) > 1 else 0.
        return (max(std, seen) ** 2 / len(rows) + std ** 2 / m) ** 0.5
    if 'accuracy' not in rows[0]: return None
    for r in rows:
        found.setdefault((r['seed'] - REPORTING) % m, []).append(r['frechet'])
    gaps = [statistics.mean(v) - real[k] for k, v in found.items()]
    return statistics.stdev(gaps) / m ** 0.5

def class_chance(share, num):
    "What |share - its mean| of so many draws from the classes sums up to, about"
    return (2 * share * (1 - share) / (math.pi * num)).sqrt().sum().item()

def report_of(rows, judges, num):
    "Each run's means over its sets, beside real images"
    real, others = (judge.floor(num) for judge in judges)
    share, summary = judges[0].counts / judges[0].counts.sum(), []
    right = judges[0].accuracy(judges[0].test, judges[0].test_labels)
    how = lambda r: said(r, ('weights', 'calls', *OPTIONS))
    for run in {json.dumps(how(r)): how(r) for r in rows}.values():
        mine = [r for r in rows if how(r) == run]
        seen, labelled = beside_real(mine, real), 'accuracy' in mine[0]
        se = excess_se(mine, real['frechet'], seen['frechet_floor_std'])
        if se is not None: seen['frechet_excess_se'] = se
        also = beside_real([dict(frechet=r['frechet_tuning']) for r in mine],
                           dict(frechet=others['frechet']))
        seen |= {f'tuning_{k}': also[f'frechet_{k}']
                 for k in ('floor', 'excess', 'excess_se')}
        counts = torch.tensor([r['counts'] for r in mine]).sum(0)
        pooled = int(counts.sum())
        seen |= dict(class_l1_pooled=(counts / pooled - share).abs().sum().item(),
                     class_l1_chance=class_chance(share, pooled))
        if labelled:
            seen |= dict(accuracy=statistics.mean(r['accuracy'] for r in mine),
                         accuracy_real=right)
        found = {k: v if v is None else round(v, 5) for k, v in seen.items()}
        summary.append(dict(run, num=num, sets=len(mine), **found, pooled=pooled))
    return dict(draws=[len(f['frechet']) for f in (real, others)], rows=rows,
                summary=summary)

PARTS = dict(default=default, ablation=ablation, middle=middle, minutes=minutes,
             ahead=ahead, epochs=epochs, choice=choice, report=report, quality=quality,
             guidance=guidance)
TRAINED = 'default', 'ablation', 'middle', 'minutes', 'ahead', 'epochs'
COUNTED = 'default', 'ahead', 'report' # sets of samples

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', help='folder of the data set')
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'mnist.json')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    p.add_argument('--only', nargs='+',
                   help='default, ablation, minutes, ahead, quality: only these; '
                   'report: weights:calls')
    p.add_argument('--seeds', type=int, default=4,
                   help='default, ahead, report: sets of samples')
    p.add_argument('--minutes', nargs='+', type=float, default=[1, 2, 5, 10],
                   help='minutes: of two cores')
    p.add_argument('--run', help='epochs: folder of a training that kept a checkpoint '
                   'of each epoch; default, with --only: of a finished one')
    p.add_argument('--steps', type=int, default=600,
                   help='middle: updates of each training')
    p.add_argument('--seconds', type=float, default=600,
                   help='ablation: processor time of each training')
    p.add_argument('--n', type=int, default=2000, help='samples')
    p.add_argument('--threads', type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    for part in args.parts:
        args.start = time.perf_counter()
        write_part(args, part, PARTS[part](args))

def about_part(args, part):
    "How a part was made"
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT,
                            capture_output=True, text=True).stdout.strip()
    command = ['python', 'benchmarks/mnist.py', '--parts', part,
               *(['--seconds', f'{args.seconds:g}'] if part == 'ablation' else []),
               *(['--seeds', str(args.seeds)] if part in COUNTED else []),
               *(['--data', 'DIR'] if part in TRAINED else []),
               '--n', str(args.n)]
    return dict(command=' '.join(command), seed=0, commit=commit,
                seconds=round(time.perf_counter() - args.start),
                machine=f'{platform.machine()}, {args.threads} thread, '
                f'{bfloat16_pays() or "no fast bfloat16"}',
                versions={k: importlib.metadata.version(k)
                          for k in ('torch', 'lightning', 'numpy')})

def write_part(args, part, result):
    "A part into the file, beside what another process may have written meanwhile"
    about = about_part(args, part)
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    # these rows are long in the making: those of other nets and times are kept
    if part == 'minutes':
        new = {(r['name'], r['minutes']) for r in result['rows']}
        old = found.get(part, dict(rows=[]))['rows']
        kept_rows = [r for r in old if (r['name'], r['minutes']) not in new]
        place = lambda r: (list(TRAINERS).index(r['name']), r['minutes'])
        result['rows'] = sorted([*kept_rows, *result['rows']], key=place)
    # the rows of other samplers stay, and what is said of them
    if part == 'quality' and args.only:
        result['rows'] = [*(r for r in found[part]['rows']
                            if r['sampler'] not in args.only), *result['rows']]
        about = dict(found[part]['about'],
                     again={**found[part]['about'].get('again', {}),
                            **{k: about for k in args.only}})
    found[part] = dict(about=about, **result)
    with whole_file(args.out) as beside:
        beside.write_text(json.dumps(found, indent=1) + '\n')

if __name__ == '__main__': main()
