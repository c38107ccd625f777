# `make demo` and `make test` set everything up by themselves: a virtual environment in .venv, and the package in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo demo-sb3 test check format clean

help:  ## show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(READY)  ## make .venv and install the package into it, editable

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jade-env needs Python 3.11 or newer; say which with make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) (a few minutes, once)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## one small language model learns every role, and shows what it learned
	@$(BIN)/python benchmarks/demo.py

demo-sb3: $(READY)  ## the same team as Stable-Baselines3 networks over numbered candidates
	@$(BIN)/python benchmarks/demo_sb3.py

test: $(READY)  ## run the whole test suite
	@$(BIN)/python -m pytest

check: $(READY)  ## lint, format and types
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

format: $(READY)  ## mend what the linter and formatter can mend
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

clean:  ## remove the virtual environment, builds and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
