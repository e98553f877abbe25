"""The font of the site's equations, nbs/fonts/math.woff2: what they need of Latin
Modern Math.

    python tools/mathfont.py latinmodern-math.otf
        make it anew (needs `pip install brotli`)
    python tools/mathfont.py
        are there characters that it lacks? exit 1 if so

Equations are MathML, and a browser without a mathematics font draws brackets and sums
too small. The whole font has 700 KB; the equations' characters with their larger forms,
60.
"""
import html
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FONT = ROOT/'nbs'/'fonts'/'math.woff2'
DISPLAYED = re.compile(r'\$\$(.+?)\$\$', flags=re.S)
INLINE = re.compile(r'(?<![\\$])\$(?! )((?:[^$\\]|\\.)+?)(?<! )\$(?!\d)')
# letters, digits and signs that an equation may use tomorrow
ALWAYS = ''.join(map(chr, range(0x20, 0x7f))) + (
    'αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϵϕ∂∇∫∑∏√∞≈≤≥≠≡±∓×·∈∉∪∩→←↦∼∝∥⟨⟩|‖−…⋯⊤′″')
SLANTED = {'ϵ': '\U0001d716', 'ϕ': '\U0001d719', '∂': '\U0001d715'}
OVERLINE, MACRON = 0x203e, 0xaf


def equations(root=ROOT):
    "(page, equation in TeX, is it displayed?) of all pages"
    for path in sorted((Path(root)/'nbs').glob('*.ipynb')):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        for cell in cells:
            if cell['cell_type'] != 'markdown': continue
            text = re.sub(r'```.*?```', '', ''.join(cell['source']), flags=re.S)
            text = re.sub(r'`[^`]*`', '', text)
            for tex in DISPLAYED.findall(text): yield path.name, tex, True
            for tex in INLINE.findall(DISPLAYED.sub('', text)):
                yield path.name, tex, False


def as_mathml(found):
    "The equations as one page of MathML, and what pandoc says of unknown ones"
    import subprocess
    import pypandoc
    text = '\n\n'.join(f'$${tex}$$' if shown else f'${tex}$' for _, tex, shown in found)
    command = [pypandoc.get_pandoc_path(), '-f', 'markdown', '-t', 'html', '--mathml']
    done = subprocess.run(command, input=text, capture_output=True, text=True,
                          check=True)
    return done.stdout, done.stderr


def characters(page):
    "What stands between the tags of the page's mathematics"
    texts = re.findall(r'<m(?:i|n|o|text)\b[^>]*>(.*?)</m', page, flags=re.S)
    return set(html.unescape(re.sub(r'<[^>]+>', '', ''.join(texts)))) - set('\n')


def italics(chars):
    "Letters as a browser sets a single one in <mi>: in mathematical italics"
    out = set()
    for c in chars:
        if 'a' <= c <= 'z':
            out.add('ℎ' if c == 'h' else chr(0x1d44e + ord(c) - ord('a')))
        if 'A' <= c <= 'Z': out.add(chr(0x1d434 + ord(c) - ord('A')))
        if 'α' <= c <= 'ω': out.add(chr(0x1d6fc + ord(c) - ord('α')))
        if 'Α' <= c <= 'Ω': out.add(chr(0x1d6e2 + ord(c) - ord('Α')))
        if c in SLANTED: out.add(SLANTED[c])
    return out


def needed(root=ROOT):
    "All characters that the font must have"
    chars = characters(as_mathml(list(equations(root)))[0]) | set(ALWAYS)
    return chars | italics(chars)


def make(source):
    "Write the font"
    from fontTools import subset
    options = subset.Options(flavor='woff2', layout_features=['*'], notdef_outline=True)
    font = subset.load_font(source, options)
    # the bar of \bar\alpha: browsers ask for the overline, which the font calls macron
    for table in font['cmap'].tables:
        if table.isUnicode(): table.cmap[OVERLINE] = table.cmap[MACRON]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=map(ord, needed()))
    cutter.subset(font)
    # a changed font may not keep its name (GUST font licence)
    for record in font['name'].names:
        if record.nameID in (1, 3, 4, 6, 16): record.string = 'DiffusionBookMath'
    FONT.parent.mkdir(exist_ok=True)
    subset.save_font(font, str(FONT), options)
    print(f'wrote {FONT.relative_to(ROOT)}, {FONT.stat().st_size / 1024:.0f} KB')


def lacking(source=FONT, root=ROOT):
    "Characters of equations that the font lacks"
    from fontTools.ttLib import TTFont
    used = characters(as_mathml(list(equations(root)))[0])
    return sorted(used - set(map(chr, TTFont(source).getBestCmap())))


if __name__ == '__main__':
    if sys.argv[1:]:
        make(sys.argv[1])
    elif lacking():
        sys.exit(f'nbs/fonts/math.woff2 lacks {" ".join(lacking())}: make it anew')
