"""The table of samplers and grids that the command line reads instead of importing torch.

    python tools/catalogue.py            write diffusion_nbdev/catalogue.json
    python tools/catalogue.py --check    say whether it is in step; exit 1 if not
"""
import inspect
import io
import json
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diffusion_nbdev.cli.catalogue import (
    CATALOGUE, imported_catalogue, write_catalogue)


def meanings(f):
    "Argument -> the comment beside it."
    source = inspect.getsource(inspect.unwrap(f))
    lines = source.splitlines()
    params, found = inspect.signature(f).parameters, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            name = lines[token.start[0] - 1].partition(':')[0].strip()
            if name in params:
                found.setdefault(name, token.string.lstrip('# '))
    return found


def in_step():
    "Does the table say what the package does?"
    have = CATALOGUE.read_text(encoding='utf-8') if CATALOGUE.exists() else '{}'
    return json.loads(have) == imported_catalogue(meanings)


if __name__ == '__main__':
    if '--check' not in sys.argv[1:]:
        print('wrote', write_catalogue(meanings).relative_to(ROOT))
    elif not in_step():
        sys.exit('diffusion_nbdev/catalogue.json is not what the samplers say: '
                 'run: python tools/catalogue.py')
