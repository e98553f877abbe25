"""Weights for the figures that run in the browser, from those that the package ships.

    python tools/live.py            write nbs/live/weights/
    python tools/live.py --check    say whether they are in step; exit 1 if not

Each is a safetensors file of 16-bit numbers whose card says how to build the net. The
first digits of a file's SHA-256 stand in its name's entry in weights.json, which the
page compares with what has arrived.
"""
import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = {'digits': 'mnist_cond', 'roll': 'swissroll'}  # on the page -> in the package
PLACE = 'nbs/live/weights'

def card(model):
    "What the page must know of a model"
    def part(recipe):
        return dict(kind=recipe['class_path'].split('.')[-1], **recipe['init_args'])
    sched = part(model.card['sched'])
    sched['kind'] = sched['kind'].removesuffix('_schedule')
    units = {k: model.card['data'][k] for k in ('shape', 'mean', 'std', 'clip')}
    return dict(net=part(model.card['net']), sched=sched, pred=model.pred, units=units)

def body(model):
    "A net's weights in 16 bits, and its card, as the bytes of a safetensors file"
    from safetensors.torch import save
    tensors = {k: v.half().contiguous() for k, v in model.net.state_dict().items()}
    return save(tensors, metadata=dict(card=json.dumps(card(model))))

def made():
    "Path -> bytes of everything that this tool writes"
    sys.path.insert(0, str(ROOT))
    from diffusion_nbdev.model import load
    files = {name: body(load(shipped)) for name, shipped in NAMES.items()}
    index = {name: dict(bytes=len(b), sha256=hashlib.sha256(b).hexdigest())
             for name, b in files.items()}
    out = {f'{PLACE}/{name}.safetensors': b for name, b in files.items()}
    text = json.dumps(index, indent=1) + '\n'
    return {**out, f'{PLACE}/weights.json': text.encode()}

def differences():
    "What is out of step, one line each"
    return [f'{p}: not what the shipped weights say' for p, b in made().items()
            if not (ROOT/p).exists() or (ROOT/p).read_bytes() != b]

def write():
    out = made()
    for p, b in out.items():
        (ROOT/p).parent.mkdir(parents=True, exist_ok=True)
        (ROOT/p).write_bytes(b)
    return list(out)

if __name__ == '__main__':
    if '--check' in sys.argv[1:]:
        bad = differences()
        for l in bad: print(f'{l}; run: python tools/live.py')
        sys.exit(bool(bad))
    print('wrote', ', '.join(write()))
