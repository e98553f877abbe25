"""The table of samplers and grids that the command line reads, without torch.

    python tools/catalogue.py            write diffusion_nbdev/catalogue.json
    python tools/catalogue.py --check    say whether it is in step; exit 1 if not
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diffusion_nbdev.cli.catalogue import (
    CATALOGUE, imported_catalogue, write_catalogue)
from diffusion_nbdev.sampling import meanings


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
