"""Coloured shapes in ten minutes of two cores: pictures of one's own, from files to
judged samples.

    python benchmarks/shapes.py            draw, train a judge, train by the config
                                           `pictures`, evaluate; into shapes.json
    python benchmarks/shapes.py --quick    a minute, to see that it runs; give it
                                           another --out

2,000 pictures of 32 x 32 (circles, squares, triangles, stars; random colours, places,
sizes and turns) are drawn by Pillow into a folder. Every command is one of the shell's,
and its seconds of processor time are stored: 1,200 of them count as ten minutes of two
cores.
"""
import argparse, importlib.metadata, json, math, os, platform, random, resource
import subprocess, sys, time
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
SIDE, FINE = 32, 8
KINDS = dict(circle=None, square=4, star=None, triangle=3)

def outline(kind, x, y, r, turn):
    "The corners of a shape around (x, y)"
    if kind == 'star': radii = [r, 0.42 * r] * 5
    elif kind == 'circle': radii = [r] * 72
    else: radii = [r] * KINDS[kind]
    return [(x + a * math.cos(turn + 2 * math.pi * k / len(radii)),
             y + a * math.sin(turn + 2 * math.pi * k / len(radii)))
            for k, a in enumerate(radii)]

def drawn(kind, rng, side=SIDE):
    "One shape in one colour on white, drawn large and made smaller"
    r = side * rng.uniform(0.2, 0.4)
    x, y = (rng.uniform(r, side - r) for _ in 'xy')
    colour = (f'hsv({rng.uniform(0, 360):.0f}, {rng.uniform(50, 100):.0f}%, '
              f'{rng.uniform(40, 100):.0f}%)')
    large = Image.new('RGB', (side * FINE,) * 2, 'white')
    ImageDraw.Draw(large).polygon([(a * FINE, b * FINE) for a, b in outline(
        kind, x, y, r, rng.uniform(0, 2 * math.pi)
    )], colour)
    return large.resize((side, side), Image.Resampling.BOX)

def draw_folder(folder, n, side=SIDE, seed=0):
    "A folder of n pictures, one folder for each class"
    rng = random.Random(seed)
    for k in range(n):
        kind = sorted(KINDS)[k % len(KINDS)]
        path = folder/kind/f'{k:05d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(kind, rng, side).save(path)
    return folder

def diffusion(folder, seconds, threads, *line):
    "What one command of the shell prints; its processor time is added"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': str(threads),
           'CUDA_VISIBLE_DEVICES': '', 'TQDM_DISABLE': '1'}
    print('$ diffusion', *line, flush=True)
    p = subprocess.run([sys.executable, '-m', 'diffusion_nbdev', *line], cwd=folder,
                       env=env, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds[line[0]] = round(seconds.get(line[0], 0) + after.ru_utime - before.ru_utime
                             + after.ru_stime - before.ru_stime, 1)
    return p.stdout

def steps_of(run):
    "How many steps the run's weights have learnt for"
    from diffusion_nbdev.model import load
    return load(run).card['training']['steps']

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'shapes.json')
    p.add_argument('--folder', type=Path, default=Path('run')/'shapes',
                   help='where pictures, judge and run go')
    p.add_argument('--n', type=int, default=2000, help='pictures')
    p.add_argument('--side', type=int, default=SIDE)
    p.add_argument('--seed', type=int, default=1,
                   help='of the pictures; the settings were chosen on those of seed 0')
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--quick', action='store_true')
    args = p.parse_args()
    n, more = ((200, ['--trainer.max_steps', '8', '--pictures', '0']) if args.quick
               else (args.n, []))
    folder, seconds, start = args.folder.resolve(), {}, time.time()
    folder.mkdir(parents=True, exist_ok=True)
    draw_folder(folder/'shapes', n, args.side, args.seed)
    def shell(*line): return diffusion(folder, seconds, args.threads, *line)
    shell('judge', '--data', 'shapes', '--side', str(args.side), '--quiet',
          *(['--steps', '20'] if args.quick else []))
    shell('fit', '--config', 'pictures', '--data.folder', 'shapes', '--data.side',
          str(args.side), *more)
    run = max((folder/'run'/'pictures').iterdir(),
              key=lambda path: path.stat().st_mtime)
    about = ['evaluate', str(run), '--judge', 'judge.safetensors', '--steps', '20',
             *(['--n', '20', '--seeds', '1'] if args.quick
               else ['--n', '200', '--seeds', '5']), '--seed', '200']
    scores = {f'{sampler}, w = {w}': json.loads(shell(
        *about, '--sampler', sampler, '--quiet',
        *(['--w', w, '--class', 'all'] if w != '0' else [])))
        for sampler in ('ddim', 'dpmpp_2m_sde') for w in ('0', '1')}
    shell('sample', str(run), '--class', 'all', '--n', '40', '--steps', '20', '--out',
          'samples.png', '--quiet')
    for found in scores.values(): found['weights'] = run.name
    sys.path.insert(0, str(ROOT))
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    card = json.loads(shell('card', 'judge.safetensors'))
    out = dict(about=dict(command=' '.join(['python', 'benchmarks/shapes.py',
                                            *sys.argv[1:]]), commit=commit,
                          seconds=round(time.time() - start),
                          machine=f'{platform.machine()}, '
                          f'{args.threads} thread{"s" * (args.threads > 1)}',
                          versions={k: importlib.metadata.version(k)
                                    for k in ('torch', 'lightning', 'pillow')}),
               pictures=n, side=args.side, seed=args.seed, steps=steps_of(run),
               cpu_seconds=seconds,
               judge=card['metrics'], scores=scores)
    args.out.write_text(json.dumps(out, indent=1) + '\n')
    print(json.dumps({k: v['accuracy'] for k, v in scores.items()}), seconds)

if __name__ == '__main__': main()
