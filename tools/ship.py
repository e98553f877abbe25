"""Train the weights that ship with the package, judge them, and write them with a card
that says all of it.

    python tools/ship.py swissroll
        train by the packaged config, judge, write
    python tools/ship.py swissroll --run FOLDER
        judge and write a training that is already done; one FOLDER for each of its
        stages, or weights that have some of them behind them
    python tools/ship.py mnist_cond --data DIR
        the same for digits, without scores; MNIST is in DIR, or goes there
    python benchmarks/mnist.py --parts choice report
    python tools/ship.py mnist_cond --scores
        choose samplers for digits by one judge, report by the other, and put the
        report into the card; of mnist_likelihood it is what benchmarks/likelihood.py
        has found
    python tools/ship.py tuning_judge --data DIR
    python tools/ship.py reporting_judge --data DIR
        train the classifier by which digits are chosen, or the one that reports
    python tools/ship.py noisy_digits --data DIR
        train the classifier of noisy digits that guides

Writes diffusion_nbdev/weights/NAME.safetensors and its card, for reading, as NAME.json
beside it.
"""
import argparse, json, math, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# what is drawn of the Swiss roll; of digits benchmarks/mnist.py has it
JUDGED = [('ddpm', 500), ('ddim', 50), ('ddim', 20), ('ddim', 10)]
# a second training that starts from the weights of the first
AGAIN = ['--model.lr', '3e-3', '--trainer.max_epochs', '22']
# a third and short one, with guidance trained in
AWAY = ['--model.objective', 'diffusion_nbdev.training.TrainedGuidance',
        '--model.objective.guide', 'mnist_weak', '--model.lr', '1e-3',
        '--trainer.max_epochs', '4', '--model.objective.w']
PLAIN = ['--model.objective', 'null']
# name -> what differs from the packaged config, in each training
STAGES = dict(
    swissroll=[[]],
    mnist_uncond=[['--model.times', 'uniform', '--trainer.max_epochs', '18'],
                  AGAIN, [*AWAY, '0.35']],
    mnist_cond=[['--model.times', 'uniform', '--trainer.max_epochs', '24', *PLAIN],
                [*AGAIN, *PLAIN], [*AWAY, '0.07', '--model.objective.w_from', '0']],
    mnist_weak=[['--model.net.channels', '[24, 48]', '--trainer.max_epochs', '2']],
    mnist_few=[['--ckpt_path', 'mnist_cond']],
    mnist_likelihood=[[]],
)
CONFIG = dict(mnist_weak='mnist_uncond') # where it isn't the name

def judge_points(model, draw, runs, n=50_000, seeds=3):
    "Sliced W2 with floor and excess, for each sampler and number of steps."
    from diffusion_nbdev.metrics import floor_of, score_points
    floor, out = floor_of('sliced_w2', draw, n), []
    for sampler, steps in runs:
        def made(num, seed):
            return model.generate(sampler, n=steps, num=num, seed=seed)
        score = score_points(made, draw, n, seeds=seeds, floor=floor)
        kept = {k: round(score[k], 8) for k in ('value', 'value_std', 'floor',
                                                'excess', 'excess_se')}
        out.append(dict(sampler=sampler, calls=model.calls, **kept, n=n, seeds=seeds))
        print(out[-1], flush=True)
    return out

def stored_bits(name, card):
    "What benchmarks/likelihood.py has found of these weights"
    found = json.loads((ROOT/'benchmarks'/'likelihood.json').read_text())[name]['bits']
    if found['weights'] != card['sha256'][:12]:
        raise SystemExit('benchmarks/likelihood.json: is of other weights than '
                         f'{name}: python benchmarks/likelihood.py --parts bits')
    names = ('bits', 'error', 'n', 'calls', 'probes', 'sigma_low', 'dequantisation')
    return [{k: found[k] for k in names}]

def stored_scores(name, card):
    """What benchmarks/mnist.py has found of these weights: samplers that the tuning
    judge has chosen, before the reporting one"""
    if name == 'mnist_likelihood': return stored_bits(name, card)
    file = 'few_digits' if name == 'mnist_few' else 'mnist'
    stored = json.loads((ROOT/'benchmarks'/f'{file}.json').read_text())['report']
    if stored['weights'].get(name) != card['sha256'][:12]:
        raise SystemExit(f'benchmarks/{file}.json: is of other weights than {name}: '
                         f'python benchmarks/{file}.py')
    return [{k: v for k, v in row.items() if k != 'weights'}
            for row in stored['summary'] if row['weights'] == name]

def scores_to_card(name):
    "Write the card of shipped weights again, with the scores that are stored"
    from diffusion_nbdev.files import (
        WEIGHTS, read_weights, whole_file, write_safetensors)
    path = WEIGHTS/f'{name}.safetensors'
    tensors, card = read_weights(path)
    card['metrics'] = stored_scores(name, card)
    card = write_safetensors(path, tensors, card)
    with whole_file(path.with_suffix('.json')) as beside:
        beside.write_text(json.dumps(card, indent=1) + '\n')
    return path

def commands(name):
    "One for each stage; a later one starts from the run of the one before"
    return [['fit', '--config', CONFIG.get(name, name), *extra,
             *(['--ckpt_path', f'run/{name}/version_{k - 1}'] if k else [])]
            for k, extra in enumerate(STAGES[name])]

def training_facts(models, name, data):
    "What the card says about all stages of the training, beyond what the last run says"
    from diffusion_nbdev.files import digest
    keys = ('steps', 'epochs', 'seconds')
    stages = [{k: s[k] for k in keys} for m in models
              for s in m.card['training'].get('stages', [m.card['training']])]
    if len(stages) != len(STAGES[name]):
        raise SystemExit(f'{name} is trained in {len(STAGES[name])} stages, '
                         f'--run names {len(stages)}')
    facts = {**models[-1].card['training'],
             **{k: sum(s[k] for s in stages) for k in keys},
             'command': '; '.join(' '.join(['diffusion', *c]) for c in commands(name))}
    if len(stages) > 1: facts['stages'] = stages
    if name == 'swissroll': return facts
    from diffusion_nbdev.pictures import MNISTData
    mnist = MNISTData(data_dir=data)
    mnist.setup()
    x, c = mnist._rows['train']
    return {**facts, 'images': facts['epochs'] * len(x),
            'data': 'mnist, training part, SHA-256 ' + digest(dict(x=x, c=c))[:16]}

# -- the classifier that judges digits -------------------------------------------------

def jolted(x, g, degrees=10, scale=0.1, pixels=2):
    "Images in [-1, 1], each turned, scaled and moved by a little, as `g` has it."
    import torch
    import torch.nn.functional as F
    most = torch.tensor([math.radians(degrees), scale, pixels / 14, pixels / 14])
    drawn = 2 * torch.rand(4, len(x), generator=g) - 1
    angle, size, dx, dy = drawn * most[:, None]
    cos, sin = (1 + size) * angle.cos(), (1 + size) * angle.sin()
    way = torch.stack([cos, -sin, dx, sin, cos, dy], 1).reshape(-1, 2, 3)
    grid = F.affine_grid(way, list(x.shape), align_corners=False)
    # what comes in is black
    return F.grid_sample(x + 1, grid, align_corners=False) - 1

def train_digits(x, c, seed=0, epochs=10, batch=125, lr=4e-3, weight_decay=0.02,
                 net=None):
    """A classifier, a DigitNet if `net` makes no other, for bytes x, shape
    (N, 1, 28, 28), with labels c; and how it was trained."""
    import torch
    import torch.nn.functional as F
    from diffusion_nbdev.judge import DigitNet
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net, steps = (net or DigitNet)(), epochs * (len(x) // batch)
    opt = torch.optim.AdamW(net.parameters(), lr, weight_decay=weight_decay)
    # up along a cosine, then down along another to 0
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, lr, steps, pct_start=0.1)
    start, cpu = time.time(), time.process_time()
    for epoch in range(epochs):
        total = 0.
        for rows in torch.randperm(len(x), generator=g).split(batch)[:len(x) // batch]:
            with torch.autocast('cpu', torch.bfloat16):
                out = net(jolted(x[rows] / 127.5 - 1, g))
            loss = F.cross_entropy(out.float(), c[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            plan.step()
            total += loss.item()
        print(f'epoch {epoch + 1} of {epochs}: loss {total / (len(x) // batch):.4f}, '
              f'{time.time() - start:.0f} s', flush=True)
    settings = dict(
        batch_size=batch, lr=lr, decay='one cycle', weight_decay=weight_decay,
        augmentation='10 degrees, 10 % of size, 2 pixels',
        precision='bfloat16 autocast')
    return net.eval(), dict(
        seed=seed, epochs=epochs, steps=steps, images_seen=steps * batch,
        seconds=round(time.time() - start),
        cpu_seconds=round(time.process_time() - cpu), device='cpu',
        threads=torch.get_num_threads(), hyperparameters=settings)

# name -> how it is trained, what it is for, how it speaks of its parts
JUDGES = dict(
    tuning_judge=dict(seed=0, epochs=10, about=(
        'Classifier of digits for choosing: weights, guidance, samplers, grids. It has '
        'seen training images only. The reference are the 3,000 training images that '
        '`diffusion fit` keeps for validation, the floor 7,000 others that this net '
        'has not learnt from. It does not report.')),
    reporting_judge=dict(seed=7, epochs=4, about=(
        'Classifier of digits for reporting, with another net, another seed and other '
        'training images than the judge that chooses. The reference are the 10,000 '
        'test images, the floor 10,000 training images that this net has not learnt '
        'from. Nothing is chosen by it.')),
)

def judge_net(name):
    from diffusion_nbdev.classifier import PictureNet
    from diffusion_nbdev.judge import DigitNet
    return DigitNet() if name == 'tuning_judge' else PictureNet([1, 28, 28], 10)

def judge_parts(name, data):
    """Images and labels that a judge learns from, compares with, and has for floors;
    and how many training images there are of each class

    The 10,000 training images that the one has not learnt from are among those of the
    other, and of these the first 3,000 are what `MNISTData` keeps for validation."""
    import torch
    from diffusion_nbdev.pictures import MNISTData
    mnist = MNISTData(data_dir=data, held_out=1 / 6, seed=0)
    mnist.prepare_data()
    mnist.setup()
    (x, c), (kept, labels) = mnist._rows['train'], mnist._rows['val']
    counts = torch.bincount(torch.cat([c, labels]), minlength=10)
    if name == 'tuning_judge':
        return dict(train=(x, c), reference=(kept[:3000], labels[:3000]),
                    held_out=(kept[3000:], labels[3000:])), counts
    g = torch.Generator().manual_seed(JUDGES[name]['seed'])
    floor, rest = torch.randperm(len(x), generator=g).split([10_000, len(x) - 10_000])
    train = torch.cat([x[rest], kept]), torch.cat([c[rest], labels])
    return dict(train=train, reference=mnist._rows['test'],
                held_out=(x[floor], c[floor])), counts

def judge_tensors(net, parts, counts):
    "What the file of a judge holds: weights, features of real images, and their labels"
    import torch
    from diffusion_nbdev.judge import digit_features
    tensors = {f'net.{k}': v.half() if v.is_floating_point() else v
               for k, v in net.state_dict().items()}
    # features of the weights as they will be read
    net.half().float()
    for name, part in (('test', 'reference'), ('held_out', 'held_out')):
        images, labels = parts[part]
        tensors[name] = digit_features(net, images / 255).half()
        tensors[f'{name}_labels'] = labels.to(torch.uint8)
    return {**tensors, 'counts': counts}

def judge_metrics(ex):
    "How well a judge reads, and what real images score"
    floors = {}
    for n in (1000, 2000, 5000, 10_000):
        if n > len(ex.held_out): continue
        floors[n] = {m: sum(v) / len(v) for m, v in ex.floor(n).items()}
    return dict(accuracy=ex.accuracy(ex.test, ex.test_labels),
                accuracy_held_out=ex.accuracy(ex.held_out, ex.held_out_labels),
                floors=floors)

def judge_file(name, net, training, parts, counts):
    "Take features of real images, measure floors; all in one file"
    from diffusion_nbdev.files import WEIGHTS, digest, whole_file, write_safetensors
    from diffusion_nbdev.judge import from_tensors
    tensors = judge_tensors(net, parts, counts)
    digests = {part: digest(dict(x=a, c=b)) for part, (a, b) in parts.items()}
    sizes = {part: len(labels) for part, (_, labels) in parts.items()}
    card = dict(
        net=net.recipe, pred='the digit', about=JUDGES[name]['about'],
        data=dict(name='mnist', **sizes, sha256=digests),
        training=dict(training, command=f'python tools/ship.py {name}'),
        metrics=judge_metrics(from_tensors(net, tensors, {})))
    path = WEIGHTS/f'{name}.safetensors'
    card = write_safetensors(path, tensors, card)
    with whole_file(path.with_suffix('.json')) as beside:
        beside.write_text(json.dumps(card, indent=1) + '\n')
    print(json.dumps(card['metrics'], indent=1))
    return path

def trained_judge(name, data):
    "Train a judge, and write its file"
    import importlib.metadata
    how, (parts, counts) = JUDGES[name], judge_parts(name, data)
    net, training = train_digits(*parts['train'], how['seed'], how['epochs'],
                                 net=lambda: judge_net(name))
    training['versions'] = {k: importlib.metadata.version(k)
                            for k in ('torch', 'torchvision', 'numpy')}
    return judge_file(name, net, training, parts, counts)

# -- the classifier that guides --------------------------------------------------------

NOISY = dict(batch_size=128, lr=3e-3, decay='one cycle', weight_decay=0.02,
             times='uniform from 1 to 1000', schedule='cosine_schedule(1000)')

def noisy_batch(x, t, generator):
    "Digits with the noise of their times"
    import torch
    from diffusion_nbdev.schedules import cosine_schedule, diffuse
    x0 = 2 * x.float() / 255 - 1
    eps = torch.randn(x0.shape, generator=generator)
    return diffuse(cosine_schedule(1000), x0, t, eps)

def train_noisy(x, c, seed, steps):
    "A classifier of noisy digits"
    import torch
    from diffusion_nbdev.editing import NoisyDigitNet
    torch.manual_seed(seed)
    generator, net = torch.Generator().manual_seed(seed), NoisyDigitNet()
    opt = torch.optim.AdamW(net.parameters(), NOISY['lr'],
                            weight_decay=NOISY['weight_decay'])
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, NOISY['lr'], steps, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(x), (NOISY['batch_size'],), generator=generator)
        t = torch.randint(1, 1001, (len(rows),), generator=generator)
        out = net(noisy_batch(x[rows], t, generator), t)
        opt.zero_grad()
        torch.nn.functional.cross_entropy(out, c[rows]).backward()
        opt.step()
        plan.step()
    return net.eval()

def noisy_digits(data, seed=0, steps=2500):
    "Train, read held-out digits at several times, write"
    import torch
    from diffusion_nbdev.files import WEIGHTS, whole_file, write_safetensors
    from diffusion_nbdev.pictures import MNISTData
    mnist = MNISTData(data_dir=data, seed=seed)
    mnist.prepare_data()
    mnist.setup()
    (x, c), (held_out, labels) = (mnist._rows[part] for part in ('train', 'val'))
    net, right = train_noisy(x, c, seed, steps), {}
    generator = torch.Generator().manual_seed(1)
    for time in (10, 100, 250, 400, 500, 600, 700, 800, 900):
        t = torch.full((len(held_out),), time)
        with torch.no_grad():
            said = net(noisy_batch(held_out, t, generator), t).argmax(1)
        right[str(time)] = round((said == labels).double().mean().item(), 4)
    card = dict(
        net=net.recipe, pred='the digit under noise',
        about='Classifier of noisy digits, told the time, for guidance of models that '
              'know no classes; draws nothing itself.',
        data=dict(name='mnist', train=len(x), held_out=len(held_out), split_seed=seed),
        training=dict(seed=seed, steps=steps, images_seen=steps * NOISY['batch_size'],
                      device='cpu', threads=1, hyperparameters=NOISY,
                      command='python tools/ship.py noisy_digits --data DIR'),
        metrics=dict(accuracy_held_out=right))
    path = WEIGHTS/'noisy_digits.safetensors'
    halved = {k: v.half() for k, v in net.state_dict().items()}
    card = write_safetensors(path, halved, card)
    with whole_file(path.with_suffix('.json')) as beside:
        beside.write_text(json.dumps(card, indent=1) + '\n')
    return path

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('name', choices=[*STAGES, *JUDGES, 'noisy_digits'])
    p.add_argument('--run', nargs='+',
                   help='folders of a finished training, one for each stage')
    p.add_argument('--data',
                   help='folder of data sets; without it, as `diffusion fit` has it')
    p.add_argument('--scores', action='store_true',
                   help='of digits: only put the stored scores into the card')
    args = p.parse_args()
    if args.scores: return print(scores_to_card(args.name))
    if args.name in JUDGES: return print(trained_judge(args.name, args.data))
    if args.name == 'noisy_digits': return print(noisy_digits(args.data))
    from diffusion_nbdev import model
    from diffusion_nbdev.files import WEIGHTS, whole_file
    from diffusion_nbdev.cli.main import main as cli
    runs = args.run or []
    for line in commands(args.name) if args.run is None else []:
        if runs: line[-1] = str(runs[-1])
        cli.main([*line, *(['--data.data_dir', args.data] if args.data else [])])
        runs.append(max((ROOT/'run'/line[2]).glob('version_*'),
                        key=lambda p: p.stat().st_mtime))
    models = [model.load(run) for run in runs]
    m, half = models[-1], args.name.startswith('mnist')
    # as it will be read
    if half: m.net.half().float()
    from diffusion_nbdev.swissroll import swissroll
    scores = [] if half else judge_points(m, swissroll, JUDGED)
    path = m.save(WEIGHTS/f'{args.name}.safetensors', half=half,
                  training=training_facts(models, args.name, args.data), metrics=scores)
    with whole_file(path.with_suffix('.json')) as beside:
        beside.write_text(json.dumps(m.card, indent=1) + '\n')
    print(path)

if __name__ == '__main__': main()
