# Everything here sets itself up: an environment of its own from the lock files, embedded Postgres and Valkey.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
BENCH := .venv/.bench-installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
FILE ?=

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# Any Python from 3.11 on will do. Each candidate is run, not only found: a launcher may be there and broken.
.venv/bin/python:
	@for candidate in python3 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    echo "setting up .venv with $$($$candidate --version)"; exec "$$candidate" -m venv .venv; fi; done; \
	echo "Agora needs Python 3.11, 3.12 or 3.13 with venv" >&2; exit 1

$(RUNTIME): requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing from requirements.lock"
	@$(PIP) --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "installing from requirements-dev.lock"
	@$(PIP) --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

$(BENCH): requirements-bench.lock $(DEV)
	@echo "installing from requirements-bench.lock"
	@$(PIP) --require-hashes --only-binary :all: -r requirements-bench.lock
	@touch $@

.PHONY: demo
demo: $(RUNTIME) ## run the main job on a real document, with everything embedded
	@$(BIN)/agora demo $(FILE)

.PHONY: up
up: $(RUNTIME) ## start the whole platform; Ctrl-C stops it
	@$(BIN)/agora up

.PHONY: lint
lint: $(DEV) ## style, types, imports, secrets
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy platform/agora workers api domains examples tools celeryconfig.py
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tools.secret_scan

.PHONY: test
test: lint ## lint, then every test that needs nothing but wheels
	@$(if $(ARGS),$(BIN)/python -m pytest -q -m "not extra" $(ARGS),tests/both.sh $(BIN))

.PHONY: test-extra
test-extra: $(DEV) ## tests that need more than wheels: a browser, RabbitMQ, PgBouncer, npm
	@tests/extra.sh $(BIN)

FUZZ_EXAMPLES ?= 500
.PHONY: fuzz
fuzz: $(DEV) ## hold the API against its OpenAPI document for a long while (FUZZ_EXAMPLES)
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -q --timeout 0 tests/integration/test_openapi.py $(ARGS)

.PHONY: audit
audit: $(DEV) ## ask for known weaknesses of every package of the lock files; one that cannot be checked is a failure
	@$(BIN)/python -m tools.audit $(ARGS)

JOBS ?= 1000
FAULTS ?= 60
SEED ?=
.PHONY: chaos
chaos: $(DEV) ## hurt a whole platform for a long while, judge it, and write docs/chaos-results.md (JOBS, FAULTS, SEED)
	@$(BIN)/python -m tests.chaos --jobs $(JOBS) --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) --report docs/chaos-results.md

.PHONY: bench
bench: $(BENCH) ## measure, beside peers
	@$(BIN)/python bench/run.py $(ARGS)

.PHONY: docs
docs: $(DEV) ## write docs/events.md and docs/errors.md again, from the catalogues
	@$(BIN)/agora event-types --markdown > docs/events.md
	@$(BIN)/python -m api.errors.markdown > docs/errors.md

.PHONY: golden
golden: $(DEV) ## record anew what the API promises; refuses to lose or to change anything
	@RECORD=1 $(BIN)/python -m pytest -q tests/unit/test_contract.py tests/integration/test_recorded_v1.py

.PHONY: lock
lock: .venv/bin/python ## make the lock files again
	@$(PIP) uv
	@$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --only-binary :all: --python-version 3.11 --no-header --no-annotate --no-emit-index-url --extra build pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --only-binary :all: --python-version 3.11 --no-header --no-annotate --no-emit-index-url --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --only-binary :all: --python-version 3.11 --no-header --no-annotate --no-emit-index-url --extra build --extra dev --extra bench -c requirements-dev.lock pyproject.toml -o requirements-bench.lock
	@! grep -nE 'https?://|index-url' requirements.lock requirements-dev.lock requirements-bench.lock
