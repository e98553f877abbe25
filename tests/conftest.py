"""Shared by the ordinary tests: what must not be a notebook cell (fresh processes,
broken samples, the tools)."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/'tools'))

def pytest_configure(config):
    config.addinivalue_line('markers',
                            'slow: left out by `make test`, run by `make slow`')
