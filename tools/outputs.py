"""Run chapters and store what they show: pictures at 2x in few colours, no warnings.

    python tools/outputs.py nbs/04_ddpm.ipynb ...
        or `make outputs NB='04_ddpm 05_ddim'`

Cells that are flagged slow, or that are never run, keep what they have.
"""
import base64
import io
import json
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
COLOURS = 128
SETTINGS = "c = get_config()\nc.InlineBackend.figure_formats = {'retina'}\n"


def kept(cell):
    "Is the cell left as it is?"
    top = [line for line in cell.source.splitlines() if line.startswith('#|')]
    flags = {line[2:].strip() for line in top}
    return bool(flags & {'slow', 'gpu', 'notest', 'eval: false'})


def small(png):
    "The picture with a palette; as it is if that is no smaller"
    picture = Image.open(io.BytesIO(png)).convert('RGBA')
    few = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, 'png', optimize=True)
    return min(png, out.getvalue(), key=len)


def tidy(outputs):
    "Without warnings, printed lines in one piece, pictures with a palette"
    out = []
    for o in outputs:
        if o.get('name') == 'stderr': continue
        if out and o['output_type'] == 'stream' and out[-1].get('name') == o['name']:
            out[-1]['text'] += o['text']
            continue
        data = o.get('data', {})
        if 'image/png' in data:
            png = small(base64.b64decode(data['image/png']))
            data['image/png'] = base64.b64encode(png).decode() + '\n'
        out.append(o)
    return out


def run(path):
    "Run a notebook and write it back with its outputs"
    import nbformat
    from nbclient import NotebookClient
    book = nbformat.read(path, as_version=4)
    copy = nbformat.from_dict(json.loads(json.dumps(book)))
    for cell in copy.cells:
        if cell.cell_type == 'code' and kept(cell): cell.source = ''
    here = {'metadata': {'path': path.parent}}
    NotebookClient(copy, timeout=1800, resources=here).execute()
    for cell, ran in zip(book.cells, copy.cells):
        if cell.cell_type == 'code' and not kept(cell): cell.outputs = tidy(ran.outputs)
    nbformat.write(book, path)


def main(names):
    "Run each notebook, in an environment that no user has changed"
    from nbdev.clean import nbdev_clean
    with tempfile.TemporaryDirectory() as home:
        profile = Path(home)/'profile_default'
        profile.mkdir()
        (profile/'ipython_kernel_config.py').write_text(SETTINGS)
        os.environ.update(IPYTHONDIR=home, MPLCONFIGDIR=home, OMP_NUM_THREADS='1',
                          PYTHONPATH=str(ROOT), PYTHONWARNINGS='ignore')
        for name in names:
            path = ROOT/'nbs'/f'{Path(name).stem}.ipynb'
            run(path)
            nbdev_clean(fname=str(path))
            print(f'{path.name}: {path.stat().st_size / 1024:.0f} KB', flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
