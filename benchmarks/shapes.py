"""Coloured shapes in ten minutes of two cores: a folder of pictures of one's own, from files to judged samples.

    python benchmarks/shapes.py                 draw, train a judge, train by the config `pictures`, evaluate; into shapes.json
    python benchmarks/shapes.py --quick         a minute, to see that it runs; give it another --out

2,000 pictures of 32 x 32 (circles, squares, triangles, stars; random colours, places, sizes and turns) are drawn by
Pillow into a folder. Every command is one of the shell's, and its seconds of processor time are stored: 1,200 of them
count as ten minutes of two cores.
"""
import argparse, importlib.metadata, json, math, os, platform, random, resource, subprocess, sys, time
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
    return [(x + a * math.cos(turn + 2 * math.pi * k / len(radii)), y + a * math.sin(turn + 2 * math.pi * k / len(radii))) for k, a in enumerate(radii)]

def drawn(kind, rng, side=SIDE):
    "One shape in one colour on white, drawn large and made smaller"
    r = side * rng.uniform(0.2, 0.4)
    x, y = (rng.uniform(r, side - r) for _ in 'xy')
    colour = f'hsv({rng.uniform(0, 360):.0f}, {rng.uniform(50, 100):.0f}%, {rng.uniform(40, 100):.0f}%)'
    large = Image.new('RGB', (side * FINE,) * 2, 'white')
    ImageDraw.Draw(large).polygon([(a * FINE, b * FINE) for a, b in outline(kind, x, y, r, rng.uniform(0, 2 * math.pi))], colour)
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
