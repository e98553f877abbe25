"""The chapters of the story as one PDF, for paper: _book/out/diffusion_nbdev.pdf.

    python tools/book.py            write the chapters into _book/, let Quarto set them
    python tools/book.py --write    only write them

The order is that of the sidebar. Folded code stays on the site, what it prints and
draws comes along; links to chapters lead to the site. Quarto 1.9 or newer sets the book
with its own Typst, an older one needs a TeX.

Tried: the chapters through Pandoc 3.9 and Typst 0.14 alone, which set all of them. Not
tried: Quarto itself, so how its numbers, boxes and figures look on paper; nor a TeX.
(Typst 0.15 no longer knows the name that Pandoc 3.9 gives to a dot in a circle.)
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from header import LINKS
from lint import WORKSHOP
from pages import page

BOOK, NAME = '_book', 'diffusion_nbdev'
TEX = 'lualatex', 'xelatex'
LINK = re.compile(r'\]\(([\w/-]+\.(?:ipynb|qmd))(#[\w-]+)?\)')
PREFACE = """# About this book {{.unnumbered}}

{description}. The chapters are notebooks that run; here is what they say, and what
they draw. Code that the site folds away is left out. The whole of it, with the package
that the chapters export: <{site}>.
"""


def parts(config):
    "Title of a part -> its chapters, in the order of the sidebar"
    out = {}
    for entry in config['website']['sidebar']['contents']:
        inside = [c for c in entry.get('contents', []) if isinstance(c, dict)]
        names = [c['href'] for c in inside if 'href' in c]
        story = [n for n in names if n[:2].isdigit() and int(n[:2]) < WORKSHOP]
        if story:
            out[entry['section']] = story
    return out


def on_paper(nb, site):
    "A processed notebook: without the links below its title and without folded code"
    cells = []
    for cell in nb.cells:
        if cell.cell_type != 'code':
            # nothing moves on paper
            if LINKS in cell.source or 'data-live=' in cell.source:
                continue
            def there(m):
                return f']({site}/{page(m[1])}{m[2] or ""})'
            cell.source = LINK.sub(there, cell.source)
        elif '#| code-fold: true' in cell.source:
            if not cell.get('outputs'):
                continue
            cell.source = cell.source.replace('#| code-fold: true', '#| echo: false')
        cells.append(cell)
    nb.cells = cells
    return nb


def settings(config, form):
    "The project file of the book"
    chapters = [dict(part=title, chapters=names)
                for title, names in parts(config).items()]
    book = dict(title=NAME, subtitle=config['website']['description'],
                author='The diffusion_nbdev authors', chapters=['index.qmd', *chapters])
    book['output-file'] = NAME
    # 88 columns of code in the width of a page
    small = (r'\DefineVerbatimEnvironment{Highlighting}{Verbatim}'
             r'{fontsize=\small,commandchars=\\\{\}}')
    forms = {'typst': {'papersize': 'a4', 'toc': True, 'toc-depth': 2,
                       'citeproc': True},
             'pdf': {'documentclass': 'scrbook', 'papersize': 'a4', 'toc': True,
                     'toc-depth': 1, 'pdf-engine': 'lualatex',
                     'include-in-header': {'text': small}}}
    return {'project': {'type': 'book', 'output-dir': 'out'}, 'book': book,
            'lang': config['lang'], 'bibliography': config['bibliography'],
            'execute': {'enabled': False}, 'number-sections': False,
            'format': {form: forms[form]}}


def write(folder, form='typst', root=ROOT):
    "The book's own project: chapters, references, pictures, settings"
    from execnb.nbio import read_nb, write_nb
    from nbdev.processors import FilterDefaults
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))
    site = config['website']['site-url']
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in [n for names in parts(config).values() for n in names]:
        nb = read_nb(root/'nbs'/name)
        FilterDefaults()(nb)
        write_nb(on_paper(nb, site), folder/name)
    shutil.copy(root/'nbs'/config['bibliography'], folder)
    shutil.copytree(root/'nbs'/'images', folder/'images')
    preface = PREFACE.format(description=config['website']['description'], site=site)
    (folder/'index.qmd').write_text(preface, encoding='utf-8')
    text = yaml.safe_dump(settings(config, form), sort_keys=False, allow_unicode=True)
    (folder/'_quarto.yml').write_text(text, encoding='utf-8')


def typesetter():
    "`typst` or `pdf`: what can set a book here; one line and an end if nothing can"
    if not shutil.which('quarto'):
        sys.exit('make pdf: Quarto is needed and is not installed here: get version '
                 '1.9 or newer from https://quarto.org/docs/get-started/')
    asked = subprocess.run(['quarto', '--version'], capture_output=True, text=True)
    said = asked.stdout
    version = tuple(map(int, re.findall(r'\d+', said)[:2]))
    if version >= (1, 9):
        return 'typst'
    if any(map(shutil.which, TEX)):
        return 'pdf'
    sys.exit(f'make pdf: Quarto {said.strip()} needs a TeX for a book (lualatex): '
             'quarto install tinytex; or Quarto 1.9 or newer, which brings Typst')


def main(args):
    folder = ROOT/BOOK
    if '--write' in args:
        return write(folder)
    form = typesetter()
    write(folder, form)
    subprocess.run(['quarto', 'render', '--to', form], cwd=folder, check=True)
    print(f'the book is {BOOK}/out/{NAME}.pdf')


if __name__ == '__main__':
    main(sys.argv[1:])
