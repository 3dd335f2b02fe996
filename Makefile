# The two commands of a newcomer: `make repro` and `make test`. Both set the environment up first, when it is stale.
# `make PYTHON=/path/to/python3.12 repro` chooses the interpreter a new .venv is made with.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
# The first Python of at least 3.11 on PATH; looked for only when .venv has to be made.
PYTHON = $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

export PATH := $(CURDIR)/$(BIN):$(PATH)
export UV_NO_PROGRESS := 1

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup: $(STAMP)  ## only the environment, when it is stale

repro: $(STAMP)  ## the whole pipeline: only what is stale runs
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { \
		echo "make repro: DVC needs a git checkout: $(CURDIR) is none; clone the repository, or run 'git init' here" >&2; exit 1; }
	@dvc repro

test: $(STAMP)  ## all tests
	@pytest -n logical --maxprocesses=4 --dist loadfile

check: $(STAMP)  ## style, types, layers, tests
	@ruff check .
	@mypy
	@lint-imports --no-logo
	@pytest -n logical --maxprocesses=4 --dist loadfile

deps: $(STAMP)  ## write each stage's code dependencies into dvc.yaml
	@python tools/closure.py

lock: $(STAMP)  ## requirements.in -> requirements.lock (keeps versions; UPGRADE=1 takes the newest)
	@uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		$(if $(UPGRADE),--upgrade) requirements.in -o requirements.lock

ui: $(STAMP)  ## MLflow in the browser
	@kumulus ui

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" -o -x $(BIN)/python || { \
		echo "make: no Python of at least 3.11 on PATH: install one, or name it as PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up .venv from requirements.lock (once; minutes on a slow line)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	@test -x $(BIN)/uv || { sed -n '/^uv==/,/[^\\]$$/p' requirements.lock >.venv/uv.txt; \
		$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt; }
	@VIRTUAL_ENV="$(CURDIR)/.venv" uv pip sync -q --require-hashes requirements.lock
	@VIRTUAL_ENV="$(CURDIR)/.venv" uv pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help setup repro test check deps lock ui
