"""The site's pictures, drawn by the package itself from the weights that ship with it.

    python tools/artwork.py
        writes nbs/images/noise-to-data.gif, preview.png and favicon.png
    python tools/artwork.py noise-to-data.gif
        that one only

The animation follows the same samples from noise to data: points, and beside them
digits of all ten classes. Run it again whenever weights change.
"""
import math, sys
from pathlib import Path

import matplotlib
matplotlib.use('Agg')
import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from diffusion_nbdev.ddim import ddim, quadratic_times
from diffusion_nbdev.files import shipped
from diffusion_nbdev.model import load
from diffusion_nbdev.plots import image_grid
from diffusion_nbdev.style import SCALE
from diffusion_nbdev.noise import SeededNoise

IMAGES = ROOT/'nbs'/'images'
# the site's colours: nbs/light.scss, nbs/styles.css
PAPER, INK, MUTED = '#ffffff', '#24282c', '#596168'
# the digits' weights, their guidance, shades of grey
DIGITS, W, SHADES = 'mnist_cond', 0.5, 6
# drawn this many times larger, then reduced: smooth edges
FINE = 3

def states(name, num, n, **options):
    """All states of `n` deterministic steps, from noise to data; the samples depend on
    nothing but a seed."""
    model = load(name)
    z = SeededNoise(0)(torch.empty(num, *model.data.shape), 0)
    return [x.clone() for x in ddim(model.denoiser(**options), model.sched, z,
                                    times=quadratic_times(model.sched, n))]

def digits(num, n):
    """States of digits, the ten classes in turn, in few shades of grey: noise in many
    would make a large file."""
    seen = states(DIGITS, num, n, c=torch.arange(num) % 10, w=W)
    return [((x.clamp(-1, 1) + 1) * (SHADES - 1) / 2).round() * 2 / (SHADES - 1) - 1
            for x in seen]

def colours(x0):
    """A colour for each point, by its distance from the middle: neighbours on the roll
    keep together."""
    r = x0.norm(dim=1)
    return [tuple(round(255 * v) for v in SCALE(float(u))[:3])
            for u in ((r - r.min()) / (r.max() - r.min()) * 9).round() / 9]

def scatter(x, fill, side, reach=2.9, dot=1.7):
    "A square picture of points."
    big = Image.new('RGB', (side * FINE, side * FINE), PAPER)
    draw = ImageDraw.Draw(big)
    for (a, b), c in zip(x.tolist(), fill):
        u, v = (a / reach + 1) / 2 * side * FINE, (1 - b / reach) / 2 * side * FINE
        draw.ellipse((u - dot * FINE, v - dot * FINE, u + dot * FINE, v + dot * FINE),
                     fill=c)
    return big.resize((side, side), Image.LANCZOS)

def tiles(x, side):
    "A square picture of a grid of images."
    g = Image.fromarray(image_grid(x, pad=2).numpy())
    return g.resize((side, side), Image.NEAREST)

def animation(path, side=280, frames=24, hold=25):
    "Noise becoming a Swiss roll, and digits: one panel for each, side by side."
    roll = states('swissroll', 1200, frames - 1)
    fill = colours(roll[-1])
    panels = [[scatter(x, fill, side) for x in roll]]
    if DIGITS in shipped():
        panels.append([tiles(x, side) for x in digits(16, frames - 1)])
    width = side * len(panels) + 16 * (len(panels) - 1)
    film = []
    for row in zip(*panels):
        frame = Image.new('RGB', (width, side), PAPER)
        for k, p in enumerate(row): frame.paste(p, (k * (side + 16), 0))
        film.append(frame)
    # one palette for all frames, so that a colour does not flicker
    palette = Image.new('RGB', (width, side * 3))
    for k, i in enumerate((0, len(film) // 2, -1)):
        palette.paste(film[i], (0, k * side))
    palette = palette.quantize(24, method=Image.Quantize.MEDIANCUT,
                               dither=Image.Dither.NONE)
    table = palette.getpalette()
    palest = max(range(0, len(table), 3), key=lambda k: sum(table[k:k + 3]))
    # the ground stays white
    table[palest:palest + 3] = [255, 255, 255]
    palette = Image.new('P', (1, 1))
    palette.putpalette(table)
    film = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in film]
    times = [700] + [100] * (len(film) - 2) + [hold * 100]
    film[0].save(path, save_all=True, append_images=film[1:], duration=times, loop=0,
                 optimize=True, disposal=1)

def font(size, bold=False):
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(Path(matplotlib.get_data_path())/'fonts'/'ttf'/name, size)

def preview(path):
    "What a link to the site looks like elsewhere: 1200 x 630."
    roll = states('swissroll', 1800, 50)
    fill, side = colours(roll[-1]), 224
    card = Image.new('RGB', (1200, 630), PAPER)
    draw = ImageDraw.Draw(card)
    draw.text((60, 80), 'diffusion_nbdev', fill=INK, font=font(76, bold=True))
    draw.text((62, 190), 'denoising diffusion as a book that runs', fill=MUTED,
              font=font(36))
    for k, i in enumerate((0, 15, 27, 38, 50)):
        card.paste(scatter(roll[i], fill, side, dot=1.5), (40 + k * side, 310))
    card.quantize(128, method=Image.Quantize.MEDIANCUT,
                  dither=Image.Dither.NONE).save(path, optimize=True)

def favicon(path, side=64):
    "The roll itself, as a thick curve on a transparent ground."
    big = Image.new('RGBA', (side * 8, side * 8), (0, 0, 0, 0))
    draw = ImageDraw.Draw(big)
    for k in range(1200):
        u = k / 1199
        angle = 1.5 * math.pi * (1 + 2 * u)
        r = side * 8 * .43 * angle / (4.5 * math.pi)
        a, b = side * 4 + r * math.cos(angle), side * 4 - r * math.sin(angle)
        w = side * 8 * .055
        draw.ellipse((a - w, b - w, a + w, b + w),
                     fill=tuple(round(255 * v) for v in SCALE(u)))
    big.resize((side, side), Image.LANCZOS).save(path, optimize=True)

if __name__ == '__main__':
    IMAGES.mkdir(exist_ok=True)
    wanted = set(sys.argv[1:]) or {'noise-to-data.gif', 'preview.png', 'favicon.png'}
    for draw, name in ((animation, 'noise-to-data.gif'), (preview, 'preview.png'),
                       (favicon, 'favicon.png')):
        if name not in wanted: continue
        draw(IMAGES/name)
        kb = (IMAGES/name).stat().st_size / 1000
        print(f'{(IMAGES/name).relative_to(ROOT)}: {kb:.0f} KB')
        if kb >= 400:
            sys.exit(f'{name}: {kb:.0f} KB, must be under 400: fewer frames, '
                     'digits or shades')
