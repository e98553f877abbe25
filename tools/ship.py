"""Train the weights that ship with the package, judge them, and write them with a card that says all of it.

    python tools/ship.py swissroll                train by the packaged config, judge, write
    python tools/ship.py swissroll --run FOLDER   judge and write a training that is already done

Writes diffusion_nbdev/weights/NAME.safetensors and its card, for reading, as NAME.json beside it.
"""
import argparse, json, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

JUDGED = dict(swissroll=[('ddpm', 500), ('ddim', 50), ('ddim', 20), ('ddim', 10)]) # name -> (sampler, steps)

def judge_points(model, draw, runs, n=50_000, seeds=3):
    "Sliced W2 with floor and excess, for each sampler and number of steps."
    from diffusion_nbdev.metrics import floor_of, score_points
    floor, out = floor_of('sliced_w2', draw, n), []
    for sampler, steps in runs:
        score = score_points(lambda num, seed: model.generate(sampler, n=steps, num=num, seed=seed), draw, n, seeds=seeds, floor=floor)
        out.append(dict(sampler=sampler, calls=model.calls, **{k: round(score[k], 5) for k in ('value', 'value_std', 'floor', 'excess')}, n=n, seeds=seeds))
        print(out[-1], flush=True)
    return out

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('name', choices=list(JUDGED))
    p.add_argument('--run', help='folder of a finished training')
    args = p.parse_args()
    from diffusion_nbdev import cli, model
    run = args.run
    if run is None:
        cli.main(['fit', '--config', args.name])
        run = max((ROOT/'run'/args.name).glob('version_*'), key=lambda p: p.stat().st_mtime)
    m = model.load(run)
    from diffusion_nbdev.swissroll import swissroll
    training = {**m.card['training'], 'command': f'diffusion fit --config {args.name}'}
    path = m.save(model.WEIGHTS/f'{args.name}.safetensors', training=training, metrics=judge_points(m, swissroll, JUDGED[args.name]))
    with model.whole_file(path.with_suffix('.json')) as beside: beside.write_text(json.dumps(m.card, indent=1) + '\n')
    print(path)

if __name__ == '__main__': main()
