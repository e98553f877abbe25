# make demo    train a Swiss roll from scratch, sample it, draw it (pictures under run/)
# make test    every notebook, every rule, every test; ends with "N passed, N failed"
# make slow    the cells and tests flagged slow
# make soak    kill and resume a small training at random moments, 200 times
# make mutate  small faults in functions that changed: do the tests notice (MODULES='ddim ddpm' for some)
# make bench   speed beside other libraries, into benchmarks/speed.json (half an hour, nothing else running)
# make outputs run chapters and store what they show (NB='04_ddpm 05_ddim')
# make export  write the package from the notebooks, clean them, write README.md and the reference
# make site    build the site into _docs/ (needs Quarto)
# make site-test  its moving figures in a headless Chromium; without a built site, on pages made for it
# make pdf     typeset the chapters as one PDF in _book/ (needs Quarto; one older than 1.9 a TeX, too)
# make clean   remove what building leaves (.venv and run/ stay)
#
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install -qq --prefer-binary
SETUP  := settings.ini setup.py pyproject.toml

.PHONY: help demo test site-test slow soak mutate bench outputs export site docs pdf quarto clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.installed
	@$(BIN)/python -m diffusion_nbdev demo

test: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tools/check.py

site-test: $(VENV)/.installed-dev
	@$(BIN)/python tools/browser.py
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s tests/test_live_pages.py

slow: $(VENV)/.installed-slow
	@OMP_NUM_THREADS=1 $(BIN)/python tools/check.py --slow

soak: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tools/soak.py

mutate: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tools/mutate.py $(MODULES) $(if $(SURVIVORS),--survivors)

bench: $(VENV)/.installed-bench
	@$(BIN)/python benchmarks/speed.py

outputs: $(VENV)/.installed-dev
	@$(BIN)/python tools/outputs.py $(NB)

export: $(VENV)/.installed-dev
	@$(BIN)/nbdev_clean
	@$(BIN)/nbdev_export
	@$(BIN)/python tools/docs.py
	@$(BIN)/python tools/catalogue.py
	@$(BIN)/python tools/readme.py
	@$(BIN)/python tools/pages.py
	@$(BIN)/python tools/live.py

# README.md comes from tools/readme.py; touched, so that nbdev_docs does not write its own.
# _proc is a cache by modification time and goes stale: it is made anew.
site docs: quarto $(VENV)/.installed-dev
	@rm -rf _proc _docs
	@touch README.md
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nbdev_docs
	@echo "the site is in _docs/: open _docs/index.html"

pdf: quarto $(VENV)/.installed-dev
	@$(BIN)/python tools/book.py

quarto:
	@command -v quarto >/dev/null 2>&1 || { echo "make $(MAKECMDGOALS): Quarto is needed and is not installed here: get version 1.7 or newer (1.9 for a PDF without TeX) from https://quarto.org/docs/get-started/ and run it again" >&2; exit 1; }

clean:
	@rm -rf _proc _docs _book build dist *.egg-info .pytest_cache .hypothesis nbs/nbdev.yml nbs/.last_checked
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# An install leaves a stamp, so that a second run installs nothing; a change of the requirements does it again.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: $(PYTHON) is not installed: Python 3.10 or newer is needed (another one: make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("make: $(PYTHON) is Python %d.%d, and 3.10 or newer is needed (another one: make PYTHON=python3.12 ...)" % v[:2] if v < (3, 10) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) -m venv failed: on Debian or Ubuntu install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(SETUP) | $(VENV)/.made
	@echo "Installing into $(VENV) (some minutes, the first time only) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(SETUP) | $(VENV)/.made
	@echo "Installing into $(VENV), with the tools for development (some minutes, the first time only) ..."
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@echo "Installing the libraries to compare with into $(VENV) ..."
	@$(PIP) -e '.[dev,bench]'
	@touch $@

$(VENV)/.installed-slow: $(VENV)/.installed-dev
	@echo "Installing MLflow into $(VENV) ..."
	@$(PIP) -e '.[dev,mlflow]'
	@touch $@
