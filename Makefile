# One command each, by the same names here and in CI. Everything goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS := -c constraints.txt
PLUGINS := $(wildcard plugins/*)
# A worker of the tests each core, one thread each; nothing is looked for on a hub.
TESTS_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo test lint types docs bench format clean

help:
	@echo "make demo    the demo: trains, swaps knowledge, answers (minutes, offline once installed)"
	@echo "make test    all tests"
	@echo "make lint    format, style, layers     make types   mypy, strict"
	@echo "make docs    the site, strict          make bench   ragkit against transformers"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that the build that the constraints name is taken.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install $(CONSTRAINTS) torch
	$(PIP) install $(CONSTRAINTS) -e .
	@touch $@

# All plugin packages as well: they use the public API alone and are tested beside it.
$(VENV)/.test: $(VENV)/.installed $(wildcard plugins/*/pyproject.toml)
	$(PIP) install $(CONSTRAINTS) -e ".[test]" hatchling
	$(PIP) install $(CONSTRAINTS) $(foreach plugin,$(PLUGINS),-e "$(plugin)[test]")
	@touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(PIP) install $(CONSTRAINTS) -e ".[test,lint]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) install $(CONSTRAINTS) -e ".[docs]"
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/ragkit demo

test: $(VENV)/.test
	$(TESTS_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal -q tests $(PLUGINS)

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.lint $(VENV)/.test
	$(BIN)/mypy
	for plugin in $(PLUGINS); do (cd $$plugin && ../../$(BIN)/mypy --no-error-summary) || exit 1; done

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/against_transformers.py

format: $(VENV)/.lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) site build dist
