"""Every sampler on exact denoisers, on the shipped Swiss roll, and against the clock;
the chapter 12f_choosing draws what this writes.

    python benchmarks/samplers.py
        all parts, under half an hour on one core, into benchmarks/samplers.json
    python benchmarks/samplers.py --parts net
        only some of: exact grids net overhead; the other parts of the file stay
    python benchmarks/samplers.py --only dpmpp_2s
        only this sampler's rows
    python benchmarks/samplers.py --n 2000 --quick
        a minute, to see that it runs; give it another --out

exact     excess over the floor and class shares, n samples: 20 calls for solvers of
          order two and more, 100 for the others. An excess is that of the squared
          distance of one set of samples, and may be negative; `floor_se` is the error
          that the floor alone leaves in it
grids     50 calls on every grid: for every schedule and data set the sliced W2 to the
          exact flow of 5,000 noises, which has no floor; then, where that is worst for
          a solver and a grid, the excess over the floor, n samples
net       the shipped weights `swissroll`: excess at 6, 10, 20 and 50 calls, default
          grids; the best three times
overhead  time outside the network as a share of the time inside, U-Net, batch 64 of
          28 x 28
"""
import argparse, importlib.metadata, json, math, platform, subprocess, sys, time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from diffusion_nbdev.metrics import excess, floor_of, sliced_w2, spread
from diffusion_nbdev.noise import SeededNoise
from diffusion_nbdev.oracles import ring_mixture, swissroll_oracle
from diffusion_nbdev.sampling import GRIDS, SAMPLERS, enter_all, last
from diffusion_nbdev.schedules import SCHEDULES

enter_all()
PROJ, ONLY = 64, []
# calls of the first step
START = dict(dpmpp_3m=2, deis=2, unipc3=3)
PLAIN = [k for k, s in SAMPLERS.items()
         if not s.stochastic and k not in ('ddim', 'ode')]
SLOW = [k for k, s in SAMPLERS.items() if s.stochastic or k == 'ddim']

def steps_for(name, calls):
    "The most steps that `calls` network calls pay for."
    s = SAMPLERS[name]
    return (calls + 1) // 2 if s.calls == 2 else calls - (START.get(name, 1) - 1)

def quick_oracle(mix):
    """The exact denoiser of round Gaussians of one size, in float32 and without the
    blocks that make `Mixture` bit-stable."""
    mu = mix.means.float()
    var = float(mix.stds[0] ** 2)
    log_w = mix.weights.log().float()
    mu_T, half = mu.T.contiguous(), (mu * mu).sum(1) / 2
    def f(x, t):
        signal, noise = mix.sched.signal(t).item(), mix.sched.noise(t).item()
        var_t = signal ** 2 * var + noise ** 2
        b = signal * var / var_t
        out = torch.empty_like(x)
        for rows, to in zip(x.split(4096), out.split(4096)):
            r = torch.addmm(log_w - half * (signal ** 2 / var_t), rows, mu_T,
                            alpha=signal / var_t).softmax(1)
            torch.add((1 - signal * b) * (r @ mu), rows, alpha=b, out=to)
        return out
    x = torch.randn(500, 2)
    for t in (1, 10, 200.5, 990):
        torch.testing.assert_close(f(x, t), mix(x, t), rtol=1e-3, atol=1e-3)
    return f

def data_sets(sched):
    return dict(mixture=ring_mixture(sched),
                swissroll=swissroll_oracle(sched, std=1.04))

def against(x, mix, n):
    "Sliced W2 to fresh data, root mean square over two sets."
    return math.sqrt(sum(sliced_w2(x, mix.sample(n, 1000 + i)[0], n_proj=PROJ) ** 2
                         for i in range(2)) / 2)

def above(value, floor):
    "The squared distance less the mean of the floor's squares"
    return excess([value ** 2], floor.squares).value

def of_floors(floors):
    "Root mean squares, and the standard error of the mean squares"
    return dict(floor={k: f.value for k, f in floors.items()},
                floor_se={k: spread(f.squares) / math.sqrt(len(f.draws))
                          for k, f in floors.items()})

def exact(n, quick):
    rows = []
    for k, (schedule, make) in enumerate(SCHEDULES.items()):
        if quick and schedule != 'cosine': continue
        sched = make(1000)
        for data, mix in data_sets(sched).items():
            f, z = quick_oracle(mix), SeededNoise(0)(torch.empty(n, 2), 0)
            if k == 0 or quick:
                floors = floors if data == 'swissroll' else {}
                floors[data] = floor_of(
                    'sliced_w2', lambda m, seed: mix.sample(m, seed)[0], n, n_proj=PROJ
                )
            for label in [*PLAIN, *SLOW, 'ddpm trailing', 'ode']:
                name, *grid = label.split()
                if ONLY and name not in ONLY: continue
                calls = 20 if name in PLAIN else 100
                steps = dict(n=steps_for(name, calls)) if name != 'ode' else {}
                if grid: steps['times'] = grid[0]
                run = SAMPLERS[name](f, sched, z, noise=1, **steps)
                x = last(run)
                value = against(x, mix, n)
                row = dict(data=data, schedule=schedule, sampler=label,
                           steps=len(run.times) - 1, calls=run.calls, value=value,
                           excess=above(value, floors[data]))
                if data == 'mixture':
                    own = torch.cdist(x.double(), mix.means).argmin(1)
                    row['share_off'] = (torch.bincount(own, minlength=4) / n
                                        - mix.weights).abs().max().item()
                rows.append(row)
                print(json.dumps(row), flush=True)
    return dict(n=n, **of_floors(floors), rows=rows)

def exact_flow(f, sched, z):
    """The end of the exact flow from noises z: UniPC-2 with 400 steps to lambda = 7,
    where no data is left to resolve."""
    lam = torch.linspace(sched.table[-1].item() / 2, 7, 400, dtype=torch.float64)
    times = [sched.T, *sched.t_at(2 * lam[1:]).tolist(), 0]
    return last(SAMPLERS['unipc2'](f, sched, z, times=times))

def grids(n, quick):
    paired, few, worst, floors, rows = [], min(n, 5_000), {}, {}, []
    for schedule, make in SCHEDULES.items():
        if quick and schedule != 'cosine': continue
        sched = make(1000)
        for data, mix in data_sets(sched).items():
            f, z = quick_oracle(mix), SeededNoise(0)(torch.empty(few, 2), 0)
            ref = exact_flow(f, sched, z)
            for name in PLAIN:
                for grid in GRIDS if not ONLY or name in ONLY else ():
                    x = last(SAMPLERS[name](f, sched, z, n=steps_for(name, 50),
                                            times=grid))
                    row = dict(data=data, schedule=schedule, sampler=name, grid=grid,
                               distance=sliced_w2(x, ref, n_proj=PROJ))
                    worst[name, grid] = max(row, worst.get((name, grid), row),
                                            key=lambda r: r['distance'])
                    paired.append(row)
            print('grids', schedule, data, flush=True)
    for row in worst.values():
        sched = SCHEDULES[row['schedule']](1000)
        mix = data_sets(sched)[row['data']]
        if row['data'] not in floors:
            floors[row['data']] = floor_of(
                'sliced_w2', lambda m, seed: mix.sample(m, seed)[0], n, n_proj=PROJ
            )
        z = SeededNoise(0)(torch.empty(n, 2), 0)
        run = SAMPLERS[row['sampler']](quick_oracle(mix), sched, z, times=row['grid'],
                                       n=steps_for(row['sampler'], 50))
        value = against(last(run), mix, n)
        rows.append(dict(row, calls=run.calls, value=value,
                         excess=above(value, floors[row['data']])))
        print(json.dumps(rows[-1]), flush=True)
    return dict(n=n, n_paired=few, **of_floors(floors), paired=paired, rows=rows)

def net(n, quick):
    from diffusion_nbdev.model import load
    from diffusion_nbdev.swissroll import swissroll
    model = load('swissroll')
    model.net.requires_grad_(False)
    floor = floor_of('sliced_w2', swissroll, n, n_proj=256)
    rows = []
    def one(name, calls, seed=0, **options):
        # small batches stay in the processor's cache
        x = model.generate(name, n=steps_for(name, calls) if name != 'ode' else None,
                           num=n, seed=seed, batch_size=4096 if name != 'ode' else None,
                           **options)
        value = math.sqrt(sum(sliced_w2(x, swissroll(n, 5000 + 10 * seed + i),
                                        n_proj=256) ** 2 for i in range(2)) / 2)
        rows.append(dict(sampler=name, grid=options.get('times'), calls=model.calls,
                         seed=seed, value=value, excess=above(value, floor)))
        print(json.dumps(rows[-1]), flush=True)
    # that is ddpm
    for name in [k for k in (*PLAIN, *SLOW)
                 if k != 'euler_ancestral' and (not ONLY or k in ONLY)]:
        for calls in ((6, 10) if quick else (6, 10, 20, 50)): one(name, calls)
    if not quick and not ONLY:
        one('ode', None)
        for name, grid in (('unipc2', 'angle'), ('dpmpp_2m', 'balanced')):
            for calls in (6, 10, 20):
                for seed in (1, 2, 3): one(name, calls, seed, times=grid)
    found = {k: v['net'] for k, v in of_floors(dict(net=floor)).items()}
    return dict(n=n, **found, card=model.card.get('sha256'), rows=rows)

def overhead(n, quick):
    from diffusion_nbdev.guidance import denoiser
    from diffusion_nbdev.unet import UNet
    sched, unet = SCHEDULES['cosine'](1000), UNet().eval()
    f, inside, rows = denoiser(unet, sched, clip=1.), [0.], []
    def timed(x, t):
        start = time.perf_counter()
        try: return f(x, t)
        finally: inside[0] += time.perf_counter() - start
    z = torch.randn(2 if quick else 64, 1, 28, 28)
    for name, s in SAMPLERS.items():
        for noise in ((None, 0) if s.stochastic else (None,)):
            # the first warms up; of the others the larger counts
            shares = []
            for rep in range(2 if quick else 3):
                inside[0], start = 0., time.perf_counter()
                last(s(timed, sched, z, noise=noise,
                       **(dict(n=6) if name != 'ode' else dict(rtol=0.3, atol=0.3))))
                shares.append((time.perf_counter() - start - inside[0]) / inside[0])
            rows.append(dict(sampler=name, seeded=noise is not None,
                             share=sorted(shares[1:])[len(shares[1:]) // 2]))
            print(json.dumps(rows[-1]), flush=True)
    return dict(batch=len(z), parameters=sum(p.numel() for p in unet.parameters()),
                rows=rows)

PARTS = dict(exact=exact, grids=grids, net=net, overhead=overhead)

def joined(old, new, about):
    """Rows of the samplers that were measured again, in the places of the old ones; the
    file says which, and when"""
    keep = lambda row: row['sampler'].split()[0] not in ONLY
    for key in ('rows', 'paired'):
        if key in old:
            again = iter(new[key])
            new[key] = [row if keep(row) else next(again) for row in old[key]]
    return {**old, **{k: new[k] for k in ('rows', 'paired') if k in new},
            'about': {**old['about'], 'again': {**old['about'].get('again', {}),
                                                **{name: about for name in ONLY}}}}

def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'samplers.json')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    p.add_argument('--n', type=int, default=50_000, help='samples')
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--quick', action='store_true')
    p.add_argument('--only', nargs='+', default=[], choices=SAMPLERS,
                   help='measure only these again, '
                   'and leave the other rows as they are (exact grids net)')
    args = p.parse_args()
    ONLY[:] = args.only
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    for part in args.parts:
        start = time.perf_counter()
        with torch.no_grad(): result = PARTS[part](args.n, args.quick)
        commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT,
                                capture_output=True, text=True).stdout.strip()
        command = ' '.join(['python', 'benchmarks/samplers.py', *sys.argv[1:]])
        about = dict(command=command, commit=commit, seed=0,
                     seconds=round(time.perf_counter() - start),
                     machine=f'{platform.machine()}, {args.threads} thread',
                     versions={k: importlib.metadata.version(k)
                               for k in ('torch', 'numpy', 'scipy')})
        # another process may have written its part meanwhile
        found = json.loads(args.out.read_text()) if args.out.exists() else {}
        found[part] = (joined(found[part], result, about) if ONLY
                       else dict(about=about, **result))
        args.out.write_text(json.dumps(found, indent=1) + '\n')

if __name__ == '__main__': main()
