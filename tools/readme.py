"""README.md from nbs/index.ipynb, without Quarto: prose, code and stored pictures.

    python tools/readme.py            write README.md and index_files/
    python tools/readme.py --check    say whether they are in step; exit 1 if not
"""
import base64, json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from lint import Cell

NOTE = ('<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook, '
        'not this file. -->')
KINDS = {'image/png': 'png', 'image/gif': 'gif', 'image/jpeg': 'jpg',
         'image/svg+xml': 'svg'}

def joined(x): return x if isinstance(x, str) else ''.join(x)
def unquote(s): return s.strip().strip('"').strip("'").replace('\\"', '"')

def bibliography(root):
    "Citation key -> (short name, address), from references.bib."
    f, out = root/'nbs'/'references.bib', {}
    text = f.read_text(encoding='utf-8') if f.exists() else ''
    for key, body in re.findall(r'(?ms)^@\w+\{([^,\s]+),(.*?)^\}', text):
        def field(n):
            m = re.search(rf'\b{n}\s*=\s*\{{(.*?)\}}\s*(?:,|$)', body, re.M)
            return m[1] if m else ''
        names = [a.split(',')[0].strip() for a in field('author').split(' and ')]
        who = ' and '.join(names) if len(names) < 3 else f'{names[0]} et al.'
        doi = f'https://doi.org/{field("doi")}' if field('doi') else ''
        out[key] = f'{who} {field("year")}', field('url') or doi
    return out

def outside_code(md, f):
    "Apply `f` to the lines of `md` that stand outside fenced code."
    parts = re.split(r'(?ms)(^[ \t]*```.*?^[ \t]*```[^\n]*$)', md)
    return ''.join(p if i % 2 else f(p) for i, p in enumerate(parts))

def prose(md, bib):
    "What only Quarto understands, said in plain Markdown; links lead into nbs/."
    def cite(m):
        done = [f'[{bib[k][0]}]({bib[k][1]})' if bib.get(k, ('', ''))[1] else bib[k][0]
                for k in re.findall(r'@([\w:-]+)', m[0]) if k in bib]
        return ('(' + '; '.join(done) + ')') if done else m[0]
    def path(m):
        p = m[2]
        if re.match(r'[a-z][a-z0-9+.-]*:|#|/', p): return m[0]
        return f'{m[1]}({p[3:] if p.startswith("../") else "nbs/" + p}{m[3] or ""})'
    def f(s):
        s = re.sub(r'\[[^\]\[]*@[\w:-]+[^\]\[]*\](?!\()', cite, s)
        s = re.sub(r'(\])\(\s*([^)\s]+)(\s+"[^"]*")?\s*\)(?:\{[^}\n]*\})?', path, s)
        s = re.sub(r'(<img\b[^>]*\bsrc=")(?![a-z]+:|/)(?:(\.\./)|)',
                   lambda m: m[1] + ('' if m[2] else 'nbs/'), s)
        s = re.sub(r'\$\$[ \t]*\{#[^}]*\}', '$$', s)
        s = re.sub(r'(?m)^(#{1,6} .*?)[ \t]*\{[#.][^}]*\}[ \t]*$', r'\1', s)
        s = re.sub(r'(?m)^[ \t]*<!--[ \t]*step[ \t]*-->[ \t]*\n?', '', s)
        # figures that only a page with scripts can move
        s = re.sub(r'(?ms)^::: \{[^}\n]*data-live=.*?^:::\n*', '', s)
        s = re.sub(r'(?m)^:{3,}[ \t]*\{[^}\n]*title="([^"]+)"[^}\n]*\}[ \t]*$',
                   r'**\1**', s)
        return re.sub(r'(?m)^:{3,}.*\n?', '', s)
    return outside_code(md, f).strip()

def convert(root=ROOT):
    "The text of README.md, and the pictures it needs: path -> bytes."
    root = Path(root)
    nb = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))
    bib, out, files = bibliography(root), [NOTE], {}
    for i, raw in enumerate(nb['cells']):
        c = Cell(i, raw)
        if c.kind == 'markdown': out.append(prose(c.source, bib))
        if not c.is_code: continue
        d = c.directives
        hidden = {'hide', 'default_exp', 'export', 'exporti'} & set(d)
        if hidden or d.get('include') == 'false': continue
        code = '\n'.join(l for l in c.source.splitlines()
                         if not re.match(r'\s*#\s*\|', l)).strip('\n')
        if code.strip() and d.get('echo') != 'false':
            out.append(f'```python\n{code}\n```')
        if d.get('output') == 'false': continue
        n = 0
        for o in c.outputs:
            data = o.get('data', {})
            pic = next((k for k in KINDS if k in data), None)
            if pic:
                n += 1
                number = '' if n == 1 else f'-{n}'
                name = f'index_files/{d.get("label") or c.id}{number}.{KINDS[pic]}'
                body = joined(data[pic])
                files[name] = (body.encode() if pic == 'image/svg+xml'
                               else base64.b64decode(body))
                out.append(f'![{unquote(d.get("fig-alt", ""))}]({name})')
                if d.get('fig-cap') and n == 1:
                    out.append(f'*{prose(unquote(d["fig-cap"]), bib)}*')
            elif 'text/markdown' in data:
                out.append(prose(joined(data['text/markdown']), bib))
            elif o.get('output_type') == 'stream' or 'text/plain' in data:
                text = joined(o.get('text') or data.get('text/plain', '')).rstrip('\n')
                if text: out.append('```text\n' + text + '\n```')
    return '\n\n'.join(p for p in out if p) + '\n', files

def differences(root=ROOT):
    "What is out of step, one line each."
    root = Path(root)
    if not (root/'nbs'/'index.ipynb').exists(): return ['nbs/index.ipynb is missing']
    text, files = convert(root)
    have = root/'README.md'
    bad = []
    if not have.exists(): bad.append('README.md is missing')
    elif have.read_text(encoding='utf-8') != text:
        a, b = have.read_text(encoding='utf-8').splitlines(), text.splitlines()
        k = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y),
                 min(len(a), len(b)))
        bad.append(f'README.md, line {k + 1}: not what nbs/index.ipynb says')
    for p, body in files.items():
        if not (root/p).exists():
            bad.append(f'{p} is missing')
        elif (root/p).read_bytes() != body:
            bad.append(f'{p}: not the picture stored in nbs/index.ipynb')
    bad += [f'index_files/{p.name} is in no cell of nbs/index.ipynb'
            for p in sorted((root/'index_files').glob('*'))
            if f'index_files/{p.name}' not in files]
    return bad

def write(root=ROOT):
    root = Path(root)
    text, files = convert(root)
    for p in (root/'index_files').glob('*'):
        if f'index_files/{p.name}' not in files: p.unlink()
    for p, body in files.items():
        (root/p).parent.mkdir(exist_ok=True)
        (root/p).write_bytes(body)
    (root/'README.md').write_text(text, encoding='utf-8')
    return ['README.md', *files]

if __name__ == '__main__':
    if '--check' in sys.argv[1:]:
        bad = differences()
        for l in bad: print(f'{l}; run: python tools/readme.py')
        sys.exit(bool(bad))
    print('wrote', ', '.join(write()))
