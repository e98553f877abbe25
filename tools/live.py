"""Weights for the figures that run in the browser, from those that the package ships.

    python tools/live.py            write nbs/live/weights/
    python tools/live.py --check    say whether they are in step; exit 1 if not
    python tools/live.py --stills   draw nbs/images/live-*.png (needs a Chromium)

Each is a safetensors file of 16-bit numbers whose card says how to build the net. The
page compares its SHA-256 with the one in weights.json. The still pictures are what the
figures of the page *Play* draw when they are opened.
"""
import base64
import hashlib
import io
import json
import re
import sys
import tempfile
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

def stills():
    "One picture of each figure, as a page without scripts shows it"
    import browser
    from PIL import Image
    with tempfile.TemporaryDirectory() as tmp:
        site = Path(tmp)/'site'
        site.mkdir()
        browser.harness(site, ['play.qmd'])
        text = (ROOT/'nbs'/'play.qmd').read_text(encoding='utf-8')
        with browser.served(site) as address, browser.tab() as tab:
            for name in re.findall('data-live="([a-z]+)"', text):
                tab.open(f'{address}/play.html?figure={name}')
                here = f"document.querySelector('[data-live={name}]')"
                tab.until(f"{here}.ariaBusy === 'false'", 60)
                url = tab.ask(f"{here}.querySelector('canvas').toDataURL()")
                path = ROOT/'nbs'/'images'/f'live-{name}.png'
                picture = Image.open(io.BytesIO(base64.b64decode(url.split(',')[1])))
                few = picture.quantize(256, method=Image.Quantize.FASTOCTREE)
                few.save(path, optimize=True)
                yield path.name

if __name__ == '__main__':
    if '--check' in sys.argv[1:]:
        bad = differences()
        for l in bad: print(f'{l}; run: python tools/live.py')
        sys.exit(bool(bad))
    print('wrote', ', '.join(stills() if '--stills' in sys.argv[1:] else write()))
