"""The glossary's promise: one meaning for each letter, in every formula of the book;
and one name for each chapter.

A rule is what a letter must not stand for. It reads formulas, so it can't know what a
sentence says: it finds the uses that were there once, or are usual elsewhere. A cell in
which a paper speaks its own language says so in a comment,
<!-- letters of the paper -->, and is left out.
"""
import ast, re
from pathlib import Path

import pytest
import yaml

import lint

ROOT = Path(__file__).resolve().parent.parent
PAPER = '<!-- letters of the paper -->'

# What a letter must not stand for: name -> (pattern, what to write, formulas that are
# found, formulas that are not)
RULES = {
    'sigma is the std of a reverse step: no data, no part of a mixture': (
        r'\\sigma_(?![tsk1\\{])|\\sigma_\{(?![tsk]\b|t[-_,]|s[-_,])|'
        r'\\sigma_\\(?:text|mathrm)',
        r'\mathrm{std}',
        [r'\sigma_{\mathrm{data}}', r'\sigma_\text{data}', r'\sigma_0^2', r'\sigma_g',
         r'\sigma_{data}', r'(\sigma_1-\sigma_2)^2'],
        [r'\sigma', r'\sigma_t^2', r'\sigma_{t-1}', r'\sigma_1', r'q_\sigma(x_s)',
         r'\sigma_\theta', r'\mathrm{std}_0']
    ),
    'sigma is no std of a Gaussian with mean mu': (
        r'\\mathcal\s*N\s*(?:\\!)?(?:\\left)?\(\s*\\mu\s*,\s*\\sigma',
        r'\mathcal N(\mu, \mathrm{std}^2)',
        [r'Z \sim \mathcal N(\mu, \sigma^2)'],
        [r'\mathcal N(\mu_t, \sigma_t^2)', r'\mathcal N(\mu, \mathrm{std}^2)']
    ),
    'sigma is no function': (
        r'(?<![_{])\\sigma\s*(?:\\[bB]igl?|\\left)?\(',
        r'\mathrm{sigmoid}',
        [r'\sigma(z) = 1 / (1 + e^{-z})', r'\sigma\bigl(\Phi^{-1}(u)\bigr)'],
        [r'\sigma\, z', r'q_\sigma(x)', r'\sigma = \eta\,(1 - r)']
    ),
    'lambda is half of log SNR': (
        r'\\lambda(?:_\{?\w\}?)?\s*=\s*(?:2\s*(?:\\,)?\s*)?\\log\s*'
        r'(?:\\frac\s*\{\s*(?:\\mathrm\{signal\}_?\w?\s*\^|\\bar\\alpha)|'
        r'\\mathrm\{SNR\}|\\bar\\alpha)|\\lambda(?:_\{?\w\}?)?\s*=\s*2\s*\\log',
        r'\log \mathrm{SNR}_t, or \tfrac12 \log \mathrm{SNR}_t = \lambda_t',
        [r'\lambda_t = \log \frac{\mathrm{signal}_t^2}{\mathrm{noise}_t^2}',
         r'\lambda_t = \log\frac{\bar\alpha_t}{1-\bar\alpha_t}',
         r'\lambda_t = \log\bar\alpha_t - x', r'\lambda_t = 2\log\frac{1-u}{u}',
         r'\lambda = \log \mathrm{SNR}_t'],
        [r'\lambda_t = \tfrac12 \log \mathrm{SNR}_t',
         r'\lambda = \log(\mathrm{signal}/\mathrm{noise})', r'\lambda = -3',
         r'\lambda_t = \log\frac{\mathrm{signal}_t}{\mathrm{noise}_t}',
         r'\log \mathrm{SNR}_t = 2 \lambda_t']
    ),
    'lambda is half of log SNR, also where it is used': (
        r'1\s*-\s*e\^\{\\lambda|expm1\}?\s*\\?,?\s*\(\\lambda|'
        r'sigmoid\}?\s*(?:\\left)?\(\s*-?\\lambda|'
        r'(?<!\^)\\lambda(?:_\w)?(?:\s*-\s*\\lambda(?:_\w)?\s*\))?\s*/\s*2|'
        r'e\^\\lambda\s*/\s*\(1',
        r'2 \lambda, or \log \mathrm{SNR}_t written out',
        [r'1 - e^{\lambda_t - \lambda_s}', r'-\mathrm{expm1}(\lambda_t - \lambda_s)',
         r'\mathrm{sigmoid}(-\lambda_t)',
         r'e^{(\lambda_t-\lambda_s)/2}', r'\ell = \lambda / 2',
         r'\bar\alpha = e^\lambda/(1+e^\lambda)'],
        [r'1 - e^{2(\lambda_t - \lambda_s)}', r'\mathrm{sigmoid}(2\lambda_t)',
         r'e^{-\lambda_s}', r'd^2 e^{2 \lambda} / 2', r'd\, e^\lambda / 2']
    ),
    'lambda is no eigenvalue': (
        r'\\lambda_(?:[ij]|\{[ij])', r'another letter, introduced in words',
        [r'\sum_i \lambda_i'], [r'\lambda_t', r'\lambda_{t_i}']
    ),
    'p and q are densities, no coefficients': (
        r'(?<![A-Za-z\\{}|_])[pq](?:_t)?(?:\^2)?\s*(?:\\[,;!]\s*)*(?:x_[0t]|\\hat x|'
        r'\\mathbb E x|\\(?:var)?epsilon)|'
        r'\\mathrm\{(?:signal|noise)\}(?:_t)?\s*(?:\\[,;!]\s*)*[pq](?:_t)?'
        r'(?![A-Za-z(])',
        r'k_x, k_\epsilon',
        [r'\mathrm{out} = p\, x_0 + q\, \epsilon', r'p_t\, x_0',
         r'\mathrm{signal}_t\, q_t - \mathrm{noise}_t\, p_t', r'q_t\,\varepsilon'],
        [r'p(x_0)', r'q(x_t \mid x_0)', r'p_\theta(x_0)',
         r'k_x x_0 + k_\epsilon \epsilon', r'\mathrm{signal}_t\, q(x)', r'E_q x_0']
    ),
    'r is the ratio of SNRs': (
        r'(?<![A-Za-z\\])r(?:_\w)?\s*=\s*(?:\\frac\s*\{\s*)?\\mathrm\{noise\}|'
        r'(?<![A-Za-z\\{])r_[kji]\b|\\lambda(?:_\w)?\s*=\s*\\log r\b',
        r'\mathrm{noise}/\mathrm{signal}, or another letter',
        [r'r_t = \mathrm{noise}_t / \mathrm{signal}_t', r'\sum_k r_k',
         r'\lambda = \log r'],
        [r'r = \mathrm{SNR}_t / \mathrm{SNR}_s', r'r\, x_t', r'1 - r', r'\log r']
    ),
    's is an earlier time, no std': (
        r'(?<![A-Za-z\\_{])s\^2', r'\mathrm{std}^2', [r'\mathcal N(0, s^2)', r's^2 I'],
        [r'\mathrm{noise}_s^2', r'\mathrm{signal}_{s}^2', r'x_s^2']
    ),
    'the ratio is SNR': (r'\\mathrm\{snr\}', r'\mathrm{SNR}', [r'\mathrm{snr}_t'],
                         [r'\mathrm{SNR}_t']),
    'the angle is \\varphi': (r'\\phi(?![a-z])', r'\varphi', [r'\phi_t', r'\cos\phi'],
                              [r'\varphi_t', r'\Phi^{-1}']),
    'the score is a gradient of log q': (
        r'\\nabla(?:_\{?\w+\}?)?\s*\\log\s*p|\\nabla_', r'\nabla \log q(x_t)',
        [r'\nabla \log p_t(x)', r'\nabla_{x_t} \log q(x_t)'],
        [r'\nabla \log q(x_t \mid c)', r'\nabla q / q']
    ),
    'the noise is \\epsilon': (r'\\varepsilon', r'\epsilon', [r'\hat\varepsilon'],
                               [r'\hat\epsilon']),
}


def formulas(text):
    "What stands between dollars, displayed or not"
    return re.findall(r'\$\$.*?\$\$|\$[^$\n]+\$', text, flags=re.S)


def math_of(cell):
    "Formulas of prose, and of the docstrings of code"
    if not cell.is_code: return formulas(re.sub(r'(?ms)^```.*?^```', '', cell.source))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [ast.get_docstring(n) or ''
            for n in ast.walk(cell.tree() or ast.Module([], []))
            if isinstance(n, kinds)]
    return formulas('\n\n'.join(docs))


def broken(formula):
    return [name for name, (pattern, *_) in RULES.items()
            if re.search(pattern, formula)]


def found(books):
    """One line for each use of a letter that is not the glossary's: file, cell, rule,
    formula, what to write"""
    for book in books:
        if book.stem == 'glossary': continue
        for cell in book.cells:
            if PAPER in cell.source: continue
            for formula in math_of(cell):
                for name in broken(formula):
                    yield (f'{book.name}, cell {cell.i + 1} (id {cell.id}): {name}: '
                           f'{lint.brief(formula, 90)}  write {RULES[name][1]}')
            # in code, lam is half of the logarithm
            for line in cell.source.splitlines() if cell.is_code else ():
                whole = re.match(r'\s*lam\w*\s*=.*log_snr', line)
                if whole and not re.search(r'/ ?2|\.5', line):
                    yield (f'{book.name}, cell {cell.i + 1} (id {cell.id}): '
                           f'lam is half of log SNR: {line.strip()}')


@pytest.mark.parametrize('name', RULES)
def test_rule(name):
    "Finds what it is for, and leaves alone what is right"
    _, _, bad, good = RULES[name]
    assert [f for f in bad if name not in broken(f)] == []
    assert [f for f in good if name in broken(f)] == []


def test_letters_have_one_meaning():
    lines = list(found(lint.notebooks(ROOT)))
    assert not lines, (f'{len(lines)} formulas use a letter for something else:\n'
                       + '\n'.join(lines))


def glossary(): return next(b for b in lint.notebooks(ROOT) if b.stem == 'glossary')


@pytest.mark.parametrize('word', ['ELBO', 'score function', 'Langevin', 'autoguidance',
                                  'Runge-Kutta', 'reparameterisation', 'sinusoidal',
                                  'why does DDIM explode'])
def test_other_words_lead_to_a_chapter(word):
    "The site's search finds them: a row of the glossary says where"
    rows = [l for c in glossary().prose for l in c.source.splitlines()
            if l.startswith('|') and word in l]
    assert rows and all(re.search(r'\]\(\d\w*\.ipynb', l) for l in rows)


def test_letters_of_the_glossary_are_there():
    text = '\n'.join(c.source for c in glossary().prose)
    for s in (r'| $\lambda_t$ | `lam` |', r'| $k_x$, $k_\epsilon$ | `kx`, `keps` |',
              r'| $r$ | `r` |', r'| $u$ | `u` |', r'| $k$ | `k` |',
              r'| $\mathrm{std}$ | `std` |', r'| $\sigma$ | `sigma` |',
              r'| $s$ | `s` |', r'| $\varphi_t$ | `phi` |', r'| $h$ | `h` |'):
        assert s in text, s


def table(heading):
    "Rows of a table of the glossary, as lists of cells"
    text = next(c.source for c in glossary().prose
                if c.source.startswith(f'## {heading}'))
    rows = [l for l in text.splitlines() if l.startswith('| ')][1:]
    return [[x.strip() for x in re.split(r'(?<!\\)\|', l)[1:-1]] for l in rows]


def linked(text):
    "The notebooks that a text links to"
    books = {b.path.name: b for b in lint.notebooks(ROOT)}
    return [books[f] for f in re.findall(r'\]\((\w+\.ipynb)', text)]


@pytest.mark.parametrize('row', table('Words'), ids=lambda row: row[0])
def test_words_are_used_where_the_glossary_says(row):
    for book in linked(row[2]):
        text = '\n'.join(c.source for c in book.cells).lower()
        words = row[0].lower().split(', ')
        assert any(w in text for w in words), f'{row[0]} is not in {book.name}'


@pytest.mark.parametrize('row', table('Letters of one chapter'), ids=lambda row: row[0])
def test_letters_are_used_where_the_glossary_says(row):
    letters = [x.strip('$ ') for x in row[0].split(',')]
    for book in linked(row[1]):
        maths = '\n'.join(f for c in book.cells for f in math_of(c))
        patterns = [re.escape(x) + '(?![a-z])' if '\\' in x
                    else r'(?<![A-Za-z\\])' + x + '(?![A-Za-z])' for x in letters]
        found = [p for p in patterns if re.search(p, maths)]
        assert found, f'{row[0]} is not in {book.name}'


# -- one name for a chapter ------------------------------------------------------------

def sidebar(contents):
    "File -> text of its entry"
    out = {}
    for c in contents:
        if isinstance(c, str): out[c] = None
        elif 'section' in c: out |= sidebar(c['contents'])
        else: out[c['href']] = c.get('text')
    return out


# where a file's number is that of another chapter
CALLED = {'00_start.ipynb': 'Start:', '03_unet.ipynb': '03b'}


def named():
    "File -> (number, title) of numbered notebooks"
    out = {}
    for b in lint.notebooks(ROOT):
        if b.number is not None:
            number = CALLED.get(b.path.name) or re.match(r'\d+[a-z]*', b.stem)[0]
            title = b.cells[0].source.splitlines()[0].lstrip('# ').strip()
            out[b.path.name] = number, title
    return out


def test_no_number_is_given_twice():
    numbers = [n for n, _ in named().values()]
    assert len(set(numbers)) == len(numbers) > 50


def test_sidebar_has_number_and_title():
    site = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))['website']
    entries = sidebar(site['sidebar']['contents'])
    want = {f: f'{n} {title}' for f, (n, title) in named().items()}
    assert {f: entries.get(f) for f in want} == want


def test_home_page_names_every_notebook():
    "Chapters by number and title, in a row of their own; the workshop by number"
    text = '\n'.join(c.source for b in lint.notebooks(ROOT) if b.stem == 'index'
                     for c in b.prose)
    lost = []
    for f, (n, title) in named().items():
        story = lint.WORKSHOP > int(f[:2]) or f == '91_cli.ipynb'
        row = rf'\| {n.rstrip(":")} \| \[{re.escape(title)}\]\({f}\) \|'
        link = rf'\b{n} \[[^\]]+\]\({f}\)'
        if not re.search(row if story else link, text):
            lost.append(f'{n} {title} ({f})')
    assert not lost, f'the tables of nbs/index.ipynb lack {lost}'


def test_workshop_is_outside_the_story():
    site = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))['website']
    story = [f for s in site['sidebar']['contents'] if 'section' in s
             for f in s['contents'] if isinstance(f, dict) and 'href' in f]
    assert all(int(e['href'][:2]) < lint.WORKSHOP or e['href'] == '91_cli.ipynb'
               for e in story)
    assert len(story) == sum(int(f[:2]) < lint.WORKSHOP for f in named()) + 1
