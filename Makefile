# make help lists the targets. Everything they make lies in .venv, .demo, .image, .test and the tools' caches.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
# How many test processes: each has its own registry and its own directories.
JOBS ?= 2
# What to hand to pytest: make test TESTS="tests/unit -k tar"
TESTS ?=
MADE := .demo .image .test .azurite .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist perf/work perf/results

.PHONY: help demo demo-batch image test check lint types format fast soak azurite perf setup clean demo-packages test-packages

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo .demo/base/index.json ## Build a real image from a real Debian base, and run what is in it
	@deploy/demo/demo.sh

# Two of its images do not come to be, on purpose.
demo-batch: .venv/.demo .demo/base/index.json ## Build twelve images at once, and show how a failure looks
	@deploy/demo/batch.sh || test $$? = 3

image: .venv/.demo .demo/base/index.json ## Build the executor image and its debug variant, to .image
	@deploy/image/build.sh .image

test: .venv/.dev test-packages ## Run every test; installs the servers and programs that they use
	$(PYTHON) -m pytest -n $(JOBS) $(TESTS)

check: lint types test ## Lint, types and every test: what must pass before a merge

lint: .venv/.dev ## Check format and style, changing nothing
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types: .venv/.dev ## Check the types of sources and tests
	$(PYTHON) -m mypy

format: .venv/.dev ## Rewrite the sources in the project's format
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .

fast: .venv/.dev ## Run the tests that need no server and no base image, in seconds
	$(PYTHON) -m pytest tests/unit tests/architecture

soak: .venv/.dev test-packages ## Kill builds while they write caches, and play 2,000 scripts of faults against pulls and pushes
	$(PYTHON) -m pytest -n 0 -s tests/soak/killed_writers.py
	$(PYTHON) -m tests.fault.registry.soak

azurite: .venv/.dev test-packages .azurite/package.json ## Read contexts from Azurite, the emulator of Azure's blobs; needs npm
	$(PYTHON) -m pytest -n 0 tests/integration/context/azurite.py

perf: .venv/.perf test-packages ## Measure whole builds; make perf ARGS=--help tells how
	$(PYTHON) -m perf $(ARGS)

setup: .venv/.dev ## Make .venv with the package and its development tools

# An ordinary user's .demo holds files of the ids that /etc/subuid lends: rm needs them too.
clean: ## Remove everything that the other targets made
	@rm -rf $(MADE) 2>/dev/null || unshare --map-root-user --map-auto rm -rf $(MADE)

demo-packages:
	@deploy/install-packages.sh demo

test-packages:
	@deploy/install-packages.sh demo test

.azurite/package.json:
	npm install --no-audit --no-fund --prefix .azurite azurite@3

# The dev group holds all that the demo needs, so the one stands in for the other.
.venv/.demo: pyproject.toml deploy/make-venv.sh | demo-packages
	@if [ -e .venv/.dev ] && [ .venv/.dev -nt pyproject.toml ]; then :; else deploy/make-venv.sh; fi
	@touch $@

.venv/.dev: pyproject.toml deploy/make-venv.sh | demo-packages
	@deploy/make-venv.sh dev
	@touch $@

.venv/.perf: pyproject.toml deploy/make-venv.sh | demo-packages
	@deploy/make-venv.sh perf
	@touch $@ .venv/.dev

.demo/base/index.json: deploy/demo/make_base.py | .venv/.demo
	@echo "Making a Debian base image with mmdebstrap (once; it stays in .demo/base)"
	@rm -rf .demo/base
	@$(PYTHON) deploy/demo/make_base.py .demo/base bookworm
