# drifttrigger: every target makes what it needs by itself.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 3
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-header --quiet

.PHONY: help
help: ## Show this help.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("drifttrigger needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	@echo "== making $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: install
install: $(STAMP) ## Make .venv with everything in it; the CLI is then .venv/bin/drifttrigger.

.PHONY: binaries
binaries: $(STAMP) ## Find or build the control plane's binaries (ten minutes once).
	@$(BIN)/drifttrigger cluster binaries
	@$(BIN)/python tools/install_tools.py

.PHONY: demo
demo: $(STAMP) ## See drift make one retraining Job, on a real control plane and a real Prometheus.
	@$(BIN)/drifttrigger demo $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check style, types and the import rule.
	@echo "== ruff"; $(BIN)/ruff check operator tests tools
	@$(BIN)/ruff format --check operator tests tools
	@echo "== mypy"; $(BIN)/mypy
	@echo "== import-linter"; $(BIN)/lint-imports

.PHONY: unit
unit: $(STAMP) ## Run the tests that need no cluster.
	@echo "== unit tests"; $(BIN)/pytest -n $(WORKERS) -m "not e2e" --ignore=tests/browser

.PHONY: e2e
e2e: $(STAMP) binaries ## Run the tests on the real control plane.
	@echo "== end-to-end tests"; $(BIN)/pytest -n $(WORKERS) --dist loadgroup -m e2e

.PHONY: browser
browser: $(STAMP) ## Test the HTML reports in a real browser (Chromium on PATH, or PyQt6-WebEngine).
	@echo "== browser tests"; $(BIN)/pytest -n 0 tests/browser

.PHONY: docs-images
docs-images: $(STAMP) binaries ## Make the pictures of the docs from real runs (needs Chromium).
	@PYTHONPATH=tests $(BIN)/python tools/docs_images.py

.PHONY: chaos
chaos: $(STAMP) binaries ## Faults, kills and mass events on a control plane of its own (SEED=, FAULTS=).
	@PYTHONPATH=tests $(BIN)/python -m chaos

.PHONY: bench
bench: $(STAMP) binaries ## Measure every target of performance (ARGS="--triggers 100,1000").
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

.PHONY: soak
soak: $(STAMP) binaries ## Run 2,000 triggers with edits, deletes and Jobs for half an hour (ARGS=--help).
	@PYTHONPATH=tests $(BIN)/python -m bench.soak $(ARGS)

.PHONY: explore
explore: $(STAMP) ## Explore every interleaving of the protocol (MUTANT=… for a broken one).
	@PYTHONPATH=tests $(BIN)/python -m explore

.PHONY: test
test: lint unit e2e ## Run everything that must pass.

.PHONY: format
format: $(STAMP) ## Format the code.
	@$(BIN)/ruff check --fix --quiet operator tests tools; $(BIN)/ruff format operator tests tools

.PHONY: docs
docs: $(STAMP) ## Generate the reference.
	@for page in api cli events metrics; do $(BIN)/python tools/reference.py $$page > docs/reference/$$page.md; done
	@$(BIN)/python tools/dashboard.py
	@$(BIN)/python tools/argocd.py > manifests/argocd/argocd-cm.yaml

.PHONY: dist
dist: binaries ## Write dist/install.yaml and the packaged chart (IMAGE=registry/name:tag).
	@$(BIN)/python tools/dist.py $(if $(IMAGE),--image $(IMAGE))

.PHONY: release
release: $(STAMP) binaries ## Try a release: versions, changelog, tree; builds into a temporary folder.
	@$(BIN)/python tools/release.py

.PHONY: lock
lock: ## Pin the dependencies again, with hashes and without hosts.
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV); $(BIN)/python -m pip install --quiet uv; }
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --extra dev pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile $(LOCK_FLAGS) -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile $(LOCK_FLAGS) -c requirements/dev.txt requirements/build.in -o requirements/build.txt

.PHONY: clean
clean: ## Remove what was made here (not the cache of binaries).
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
