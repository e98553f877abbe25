"What the site is made of: contrast, pages made by tools, pictures, chapters' headers."
import json, re
from pathlib import Path

import pytest
import yaml
from PIL import Image

import book, header, lint, mathfont, pages
from test_lint import END, TITLE, md, project, py

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'

# -- colours ---------------------------------------------------------------------------

def luminance(colour):
    "Relative luminance of `#rrggbb`, as WCAG 2 defines it."
    v = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (x / 12.92 if x <= .04045 else ((x + .055) / 1.055) ** 2.4 for x in v)
    return .2126 * r + .7152 * g + .0722 * b

def contrast(a, b):
    hi, lo = sorted((luminance(a), luminance(b)), reverse=True)
    return (hi + .05) / (lo + .05)

# colours of the tokens in Quarto's highlighting style a11y, by theme
TOKENS = {
    'light': '#00769e #008000 #06287e #545454 #696969 #7928a1 #a55a00 #d91e18'.split(),
    'dark': '#00e0e0 #abe338 #d4d0ab #dcc6e0 #f5ab35 #f8f8f2 #ffa07a #ffd700'.split()
}

def scss(theme):
    return dict(re.findall(r'\$([\w-]+):\s*(#[0-9a-f]{6})',
                           (NBS/f'{theme}.scss').read_text()))

def css(theme):
    "The variables of styles.css: those of :root, and what the dark theme says instead."
    blocks = re.findall(r'(?:^|\n)(:root|body\.quarto-dark) \{([^}]*)\}',
                        (NBS/'styles.css').read_text())
    return {k: v for sel, body in blocks if sel == ':root' or theme == 'dark'
            for k, v in re.findall(r'--book-([\w-]+):\s*(#[0-9a-f]{6})', body)}

def pairs(theme):
    s, c = scss(theme), css(theme)
    ground, block = s['body-bg'], s['code-block-bg']
    yield from [('text', s['body-color'], ground), ('link', s['link-color'], ground),
                ('muted text', s['text-muted'], ground),
                ('muted text of styles.css', c['muted'], ground),
                ('inline code', s['code-color'], s['code-bg']),
                ('link in a tinted box', s['link-color'], s['code-bg']),
                ('text in code', s['body-color'], block),
                ('sidebar', s['sidebar-fg'], s['sidebar-bg']),
                ('active entry of the sidebar', s['link-color'], s['sidebar-bg']),
                ('footer', s['footer-fg'], s['footer-bg']),
                ('table of contents', s['toc-color'], ground),
                ('placeholder', s['input-placeholder-color'],
                 s.get('input-bg', ground))]
    for t in TOKENS[theme]:
        yield from [('code', t, block), ('code on the page', t, ground)]

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_contrast(theme):
    "WCAG AA: 4.5 for text, 3 for the ring that shows the keyboard's place."
    low = {(name, a, b): round(contrast(a, b), 2) for name, a, b in pairs(theme)
           if contrast(a, b) < 4.5}
    assert not low
    assert contrast(css(theme)['accent'], scss(theme)['body-bg']) >= 3
    assert css(theme)['muted'] == scss(theme)['text-muted']
    assert css(theme)['accent'] == scss(theme)['link-color']
    assert css(theme)['rule'] == scss(theme)['border-color']

def test_contrast_itself():
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    assert contrast('#777777', '#ffffff') == pytest.approx(4.48, abs=.005)

def test_nothing_is_fetched_from_elsewhere():
    for f in ('styles.css', 'light.scss', 'dark.scss'):
        text = (NBS/f).read_text()
        assert not re.search(r'https?:|//[a-z]+\.', text), f
        for url in re.findall(r'url\("([^"]+)"\)', text): assert (NBS/url).exists(), url
    for theme in ('light', 'dark'):
        # cosmo and darkly would load a font
        assert '$web-font-path: false' in (NBS/f'{theme}.scss').read_text()

# -- pictures --------------------------------------------------------------------------

def test_pictures():
    film, card, icon = (Image.open(NBS/'images'/n)
                        for n in ('noise-to-data.gif', 'preview.png', 'favicon.png'))
    assert film.n_frames > 20
    assert (NBS/'images'/'noise-to-data.gif').stat().st_size < 400_000
    assert card.size == (1200, 630) and icon.size[0] == icon.size[1] >= 32

def weight(book):
    "About how many bytes a page has of its own: its text as HTML, and its pictures"
    shown = [c.source for c in book.prose]
    shown += [c.source for c in book.code if lint.shown(c)]
    data = [o.get('data', {}) for c in book.code for o in c.outputs]
    stored = [v for d in data for k, v in d.items() if k.startswith('image/')]
    names = [re.findall(r'\]\((images/[^)]+)\)', c.source) for c in book.prose]
    linked = [(NBS/name).stat().st_size for found in names for name in found]
    # text grows less than sixfold on its way to MathML and coloured code; the sidebar
    text = 6 * sum(len(s.encode()) for s in shown) + 45_000
    return text + sum(len(v) * 3 // 4 for v in stored) + sum(linked)


def test_pages_are_light():
    heavy = {b.name: weight(b) for b in lint.notebooks(ROOT) if weight(b) > 700_000}
    assert not heavy, f'over 700 KB: fewer colours, or two pages: {heavy}'

# -- pages that tools write ------------------------------------------------------------

def test_pages_in_step():
    assert [f'{d}; run: python tools/pages.py' for d in pages.differences(ROOT)] == []

SOURCE = '''"""A module for `tests` of $x_t$."""
__all__ = ['LIMIT', 'f', 'Box', 'g']
LIMIT = 3 # at most so many
def f(
    x:int|str,   # what goes in, shape (B, *)
    *rest:float, # more_of_it
    n:int=2,     # how often, eq-a-b
) -> list[int]: # what comes out
    "Gives `x` back, @eq-a-b"
    return x
class Box:
    "Holds things"
    def __init__(self,
        a:int=1, # the first
    ): self.a = a
    def _hidden(self): pass
    def on_event(self, trainer): print(trainer)
    def twice(self) -> int:
        "Two of them"
        return 2
def _put(self:Box,
    y:int, # the thing
) -> None:
    "Puts it in"
Box.put = _put
def g(x): return x
'''

def sample(tmp):
    root = project(tmp, {'04_a': [md('# A, `tested`\n\n> One *fine* sentence.'),
                                  py('#| default_exp a'), py('#| export\n' + SOURCE),
                                  md('$$\nx\n$$ {#eq-a-b}'), END]})
    (root/'diffusion_nbdev').mkdir()
    (root/'diffusion_nbdev'/'a.py').write_text(SOURCE)
    (root/'settings.ini').write_text('[DEFAULT]\nlib_name = diffusion_nbdev\ngit_url = '
                                     'https://github.com/who/it\nbranch = main\n')
    (root/'_quarto.yml').write_text(
        'website:\n  title: it\n  description: A thing\n'
        '  site-url: https://who.github.io/it\n  repo-url: https://github.com/who/it\n'
        '  sidebar:\n    contents:\n      - section: Chapters\n        contents:\n'
        '          - 04_a.ipynb\n          - reference/api-a.qmd\n'
    )
    return root

def test_reference(tmp_path):
    root = sample(tmp_path)
    gone = [d.split(':')[1] for d in pages.differences(root)]
    assert gone == [' missing', ' missing']
    pages.write(root)
    assert pages.differences(root) == []
    text = (root/'nbs'/'reference'/'api-a.qmd').read_text()
    for s in ('title: "diffusion_nbdev.a"', '[A, tested](../04_a.ipynb)',
              'f(x: int|str, *rest: float, n: int = 2) -> list[int]',
              '| `x` | `int|str` |  | what goes in, shape (B, \\*) |',
              '| `*rest` | `float` |  | more\\_of\\_it |',
              '| `n` | `int` | `2` | how often, [eq-a-b](../04_a.ipynb#eq-a-b) |',
              '| returns | `list[int]` |  | what comes out |',
              '[In the chapter.](../04_a.ipynb#f)', '## Box {#box}',
              '| `a` | `int` | `1` | the first |', '### Box.twice {#box-twice}',
              '### Box.put {#box-put}', '| `y` | `int` |  | the thing |', '## g {#g}',
              '| `LIMIT` | at most so many |'):
        assert s in text, s
    assert '_hidden' not in text
    assert 'on\\_event' not in text
    assert '_put' not in text.replace('{#box-put}', '')
    llms = (root/'nbs'/'llms.txt').read_text()
    assert llms.startswith('# it\n\n> A thing.\n')
    assert '- [A, tested](https://who.github.io/it/a.html): One fine sentence.' in llms
    assert ('- [diffusion_nbdev.a](https://who.github.io/it/reference/api-a.html): '
            'A module for tests of x_t.' in llms)
    rules = ['reference', 'sidebar', 'box']
    assert [str(f) for fs in lint.lint(root, rules).values() for f in fs] == []
    (root/'diffusion_nbdev'/'a.py').write_text(SOURCE.replace('the first', 'the 1st'))
    (root/'nbs'/'reference'/'api-gone.qmd').write_text('')
    assert [d.split('/')[-1] for d in pages.differences(root)] == [
        'api-a.qmd: not what the sources say',
        'api-gone.qmd: no module of the package belongs to it']

# -- the book on paper -----------------------------------------------------------------

def test_book(tmp_path):
    "The story in the sidebar's order; no folded code, no link that paper does not have"
    made = tmp_path/'b'
    book.write(made)
    config = yaml.safe_load((made/'_quarto.yml').read_text())
    assert config['project']['type'] == 'book' and set(config['format']) == {'typst'}
    named = [c for part in config['book']['chapters'][1:] for c in part['chapters']]
    numbered = [b for b in lint.notebooks(ROOT) if b.number is not None]
    story = [b.path.name for b in numbered if b.number < lint.WORKSHOP]
    assert sorted(named) == sorted(story)
    assert (named[0], named[-1]) == ('00_start.ipynb', '20_bridge.ipynb')
    texts = {}
    for name in named:
        cells = json.loads((made/name).read_text())['cells']
        texts[name] = text = '\n'.join(''.join(c['source']) for c in cells)
        assert header.LINKS not in text and not book.LINK.search(text), name
        assert 'data-live' not in text, name
        assert 'code-fold: true' not in text, name
    there = 'https://diffusion-nbdev.github.io/diffusion_nbdev/theory.html#eq-theory-'
    assert there in texts['00b_ways_back.ipynb']


def test_book_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit, match='make pdf: Quarto is needed'):
        book.typesetter()
    quarto, tex = tmp_path/'quarto', tmp_path/'lualatex'
    def answers(version):
        quarto.write_text(f'#!/bin/sh\necho {version}\n')
        quarto.chmod(0o755)
        return book.typesetter()
    assert answers('1.9.20') == answers('1.10.1') == 'typst'
    with pytest.raises(SystemExit, match='make pdf: Quarto 1.7.31 needs a TeX'):
        answers('1.7.31')
    tex.symlink_to(quarto)
    assert answers('1.7.31') == 'pdf'

# -- headers of the chapters -----------------------------------------------------------

def test_header(tmp_path):
    """Links, time and the install cell come straight after the title; twice changes
    nothing; the rest stays byte for byte."""
    root = sample(tmp_path)
    f = root/'nbs'/'04_a.ipynb'
    old = f.read_text()
    (root/'tools').mkdir()
    (root/'tools'/'times.json').write_text('{"04_a": 12.3}')
    said = [d.split(':')[1] for d in header.differences(root)]
    assert said == [' header not in step; run']
    assert header.write(root) == ['nbs/04_a.ipynb']
    assert header.write(root) == []
    assert list(header.differences(root)) == []
    nb = json.loads(f.read_text())
    links, install = (''.join(c['source']) for c in nb['cells'][1:3])
    assert 'colab.research.google.com/github/who/it/blob/main/nbs/04_a.ipynb' in links
    assert 'raw.githubusercontent.com/who/it/main/nbs/04_a.ipynb' in links
    assert 'about 20 seconds' in links
    c = lint.notebooks(root)[0].cells[2]
    assert c.skipped
    assert set(c.directives) == {'hide', 'eval'}
    assert '%pip install -q git+https://github.com/who/it' in install
    del nb['cells'][1:3]
    assert header.dump(nb) == old
    rules = ['directive', 'imports', 'lines', 'ids', 'title', 'declared']
    assert [str(x) for fs in lint.lint(root, rules).values() for x in fs] == []
    # a new time renews the line, wherever the cells stand and whatever their ids
    (root/'tools'/'times.json').write_text('{"04_a": 100}')
    nb = json.loads(f.read_text())
    nb['cells'].append(nb['cells'].pop(1))
    nb['cells'][-1]['id'] = 'other'
    f.write_text(header.dump(nb))
    header.write(root)
    nb = json.loads(f.read_text())
    assert 'about 2 minutes' in ''.join(nb['cells'][1]['source'])
    assert sum(header.ours(c) for c in nb['cells']) == 2
    (root/'tools'/'times.json').unlink()
    assert 'no time' in list(header.differences(root))[0]

@pytest.mark.parametrize('s, says', [(.1, '5 seconds'), (5.1, '10 seconds'),
                                     (20, '20 seconds'), (90, '90 seconds'),
                                     (91, '2 minutes')])
def test_spoken(s, says): assert header.spoken(s) == says


@pytest.fixture(scope='module')
def pages_made():
    "Module -> the text of its page, as nbdev hands it to Quarto"
    from execnb.nbio import read_nb
    from nbdev.processors import FilterDefaults
    out = {}
    for path in sorted(NBS.glob('*.ipynb')):
        nb = read_nb(path)
        FilterDefaults()(nb)
        out[path.name] = '\n'.join(c.source for c in nb.cells)
    return out


def test_every_definition_has_an_anchor(pages_made):
    "Where nbdev's links to it lead: once, in its own chapter"
    from diffusion_nbdev._modidx import d
    lost = []
    for names in d['syms'].values():
        for name, (where, _) in names.items():
            page, anchor = where.split('#')
            name = page.replace('.html', '.ipynb')
            text = '\n'.join(t for p, t in pages_made.items()
                             if re.sub(r'^\d+[a-zA-Z0-9]*_', '', p) == name)
            if text.count(f'<a id="{anchor}">') != 1: lost.append(name)
    assert not lost, lost


def test_a_link_is_one_link(pages_made):
    # that notebook holds a sample of what it puts right
    others = {p: t for p, t in pages_made.items() if p != '89_pages.ipynb'}
    assert len(others) > 30
    assert [p for p, t in others.items() if '[[`' in t or '__main__.' in t] == []


def test_equations_are_known_to_pandoc():
    "The pandoc of Quarto 1.7 makes MathML of each; characters are in the site's font"
    found = list(mathfont.equations())
    assert len(found) > 500
    said = mathfont.as_mathml(found)[1]
    assert 'Could not convert' not in said, said
    assert 'Could not convert' in mathfont.as_mathml([('', r'\Bigl( x', True)])[1]
    assert mathfont.lacking() == []
