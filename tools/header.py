"""The links below a chapter's title, and the cell that installs the package on Colab.

    python tools/header.py
        insert or renew both in every chapter; nothing else of a file changes
    python tools/header.py --check
        say which chapters lack them or hold old ones; exit 1 if any
    python tools/header.py --measure
        run the chapters one by one first, and note their times in tools/times.json
    python tools/header.py nbs/04_ddpm.ipynb
        (with any of the above) that chapter only

The install cell is hidden on the site, skipped by tests and does nothing outside Colab.
"""
import json, math, resource, subprocess, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
from lint import Cell, notebooks

TIMES = Path('tools')/'times.json'
LINKS, INSTALL = '<div class="chapter-links">', "'google.colab' in sys.modules"

def times(root=ROOT):
    f = Path(root)/TIMES
    return json.loads(f.read_text(encoding='utf-8')) if f.exists() else {}

def spoken(seconds):
    "A time that does not change with every run: 5 s, then tens, then minutes."
    if seconds <= 5: return '5 seconds'
    if seconds <= 90: return f'{10 * math.ceil(seconds / 10)} seconds'
    return f'{math.ceil(seconds / 60)} minutes'

def dump(nb): return json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + '\n'

def cells(book, seconds, root):
    "The two cells of a chapter."
    ini = ConfigParser(delimiters=['='])
    ini.read(Path(root)/'settings.ini', encoding='utf-8')
    git, branch = ini['DEFAULT']['git_url'], ini['DEFAULT'].get('branch', 'main')
    place = git.split('github.com/')[1]
    run = f'runs in about {spoken(seconds)} on one CPU core' if seconds else ''
    if run and any('slow' in c.directives for c in book.code):
        run += ', cells flagged slow not counted'
    colab = f'https://colab.research.google.com/github/{place}/blob/{branch}'
    raw = f'https://raw.githubusercontent.com/{place}/{branch}'
    links = [f'[Open in Colab]({colab}/{book.name})',
             f'[download the notebook]({raw}/{book.name})']
    if run: links.append(run)
    md = f'{LINKS}\n\n{" · ".join(links)}\n\n</div>'
    py = (f"#| hide\n#| eval: false\nimport sys\nif {INSTALL}: # on Colab: "
          f"the package that the chapters export\n    %pip install -q git+{git}")
    return [{'cell_type': 'markdown', 'id': 'chapter-links', 'metadata': {},
             'source': md.splitlines(keepends=True)},
            {'cell_type': 'code', 'execution_count': None, 'id': 'colab-install',
             'metadata': {}, 'outputs': [], 'source': py.splitlines(keepends=True)}]

def ours(raw):
    "Is this a cell that the tool wrote, at whatever time?"
    s = Cell(0, raw).source
    return s.startswith(LINKS) or (raw.get('cell_type') == 'code' and INSTALL in s)

def renewed(book, seconds, root=ROOT):
    "The text of a notebook with both cells in place, straight after the title."
    nb = json.loads(book.path.read_text(encoding='utf-8'))
    rest = [c for c in nb['cells'] if not ours(c)]
    nb['cells'] = rest[:1] + cells(book, seconds, root) + rest[1:]
    return dump(nb)

def chapters(root=ROOT, only=()):
    "The numbered notebooks."
    return [b for b in notebooks(root)
            if b.number is not None and (not only or b.name in only)]

def differences(root=ROOT, only=()):
    "What is out of step, one line each."
    took = times(root)
    for b in chapters(root, only):
        if b.stem not in took:
            yield (f'{b.name}: no time in {TIMES}; run: '
                   f'python tools/header.py --measure {b.name}')
        if b.path.read_text(encoding='utf-8') != renewed(b, took.get(b.stem), root):
            yield f'{b.name}: header not in step; run: python tools/header.py'

def write(root=ROOT, only=()):
    "Renew the headers; the names of the files that changed."
    took, done = times(root), []
    for b in chapters(root, only):
        old = b.path.read_text(encoding='utf-8')
        new = renewed(b, took.get(b.stem), root)
        if dump(json.loads(old)) != old:
            raise ValueError(f'{b.name}: not as nbdev_clean writes it: '
                             'run nbdev_clean first')
        if new != old: b.path.write_text(new, encoding='utf-8'); done.append(b.name)
    return done

def measure(root=ROOT, only=()):
    """Seconds of one core for each chapter, imports counted: processor time, so that a
    busy machine measures the same."""
    took = times(root)
    for b in chapters(root, only):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        p = subprocess.run([sys.executable, 'tools/check.py', '--only', 'notebooks',
                            '--workers', '1', '--', b.name], cwd=root,
                           capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if p.returncode:
            why = p.stdout.strip().splitlines()[-1:] or p.stderr.strip()[-200:]
            raise RuntimeError(f'{b.name} does not run: {why}')
        took[b.stem] = round(after.ru_utime + after.ru_stime
                             - before.ru_utime - before.ru_stime, 1)
        print(f'{took[b.stem]:6.1f} s  {b.name}', flush=True)
    have = {b.stem for b in chapters(root)}
    took = {k: v for k, v in sorted(took.items()) if k in have}
    (Path(root)/TIMES).write_text(json.dumps(took, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__':
    only = {Path(a).resolve().relative_to(ROOT).as_posix() for a in sys.argv[1:]
            if not a.startswith('--')}
    if '--measure' in sys.argv: measure(only=only)
    if '--check' in sys.argv:
        bad = list(differences(only=only))
        for l in bad: print(l)
        sys.exit(bool(bad))
    print('changed', ', '.join(write(only=only)) or 'nothing')
