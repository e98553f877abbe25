"""The lower bounds of the runtime requirements in settings.ini, as pip constraints.

    python tools/lowest.py > lowest.txt
    PIP_CONSTRAINT=$PWD/lowest.txt make test
"""
import re
from configparser import ConfigParser
from pathlib import Path

def lowest(root=Path(__file__).resolve().parent.parent):
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    for r in ini['DEFAULT']['requirements'].split():
        m = re.fullmatch(r'([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)(,.*)?', r)
        if not m: raise SystemExit(f'{r}: no lower bound')
        yield f'{m[1]}=={m[2]}' + ('.*' if m[2].count('.') == 1 else '')

if __name__ == '__main__': print('\n'.join(lowest()))
