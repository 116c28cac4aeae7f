# Every target sets up what it needs in .venv. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
# The tests wait more than they compute; those of a file stay together.
PARALLEL := -n 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo demo-django test check lint types docs docs-serve wheel release-check matrix matrix-new \
	matrix-django soak reliability hosts upgrade bench fleet format clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: $(VENV)/with-nothing  ## Deliver a day of events through outages to a local server
	$(BIN)/whisperr demo

demo-django: $(VENV)/with-test,django-test  ## Run the Django example against a local server, with real requests
	$(BIN)/python examples/django/demo.py

test: $(VENV)/with-test,django-test,integrations,hosts,browser,docs  ## Run the tests and measure what they cover
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(PARALLEL)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: DOCS := --if-possible
check: lint types test docs release-check  ## Everything that must pass before a change lands

lint: $(VENV)/with-dev  ## Check style, spelling, the words of the project, and the workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/python -m scripts.prose
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet --persona auditor --strict-collection .github .pre-commit-config.yaml

types: $(VENV)/with-dev
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src
	cd examples/django && ../../$(BIN)/mypy .
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes whisperr --ignoreexternal

docs: $(VENV)/with-docs  ## Build the site of the documentation in build/docs/html; a warning is an error
	$(BIN)/python -m scripts.documentation $(DOCS)

docs-serve: $(VENV)/with-docs  ## Build the site and serve it on http://127.0.0.1:8000/ (DOCS=--port 8001)
	$(BIN)/python -m scripts.documentation --serve $(DOCS)

wheel: $(VENV)/with-dev  ## Build the wheel and try it in an empty environment
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(BIN)/python scripts/smoke.py dist/*.whl

release-check: export TAG := $(TAG)
release-check: wheel  ## Check the version, both packages and their page (TAG=v1.2.0: all that the tag needs)
	$(BIN)/python -m scripts.release_check $(if $(TAG),--tag "$$TAG")

matrix:  ## Run the tests on Python 3.10 to 3.13, as far as they are installed
	$(PYTHON) -m scripts.matrix $(MATRIX)
	$(MAKE) matrix-django

matrix-new:  ## Run the tests on Python 3.14, 3.15 and PyPy, in a Debian testing root
	$(PYTHON) -m scripts.matrix --new $(MATRIX)

soak: $(VENV)/with-test  ## Track through random faults, of servers and of stores (WHISPERR_SOAK_SECONDS, _SEED)
	$(BIN)/python -m tests.faults.soak --seconds $(or $(WHISPERR_SOAK_SECONDS),60) --seed $(or $(WHISPERR_SOAK_SEED),1)
	$(BIN)/python -m tests.faults.store_soak --seconds $(or $(WHISPERR_SOAK_SECONDS),60) --seed $(or $(WHISPERR_SOAK_SEED),1)

reliability: $(VENV)/with-test,hosts  ## Run every scenario of docs/about/reliability.md and write the results
	$(BIN)/python -m scripts.reliability

hosts: $(VENV)/with-test  ## End every host of docs/delivery/processes.md while an event waits, and write its table (HOSTS=--only uvicorn)
	$(BIN)/python -m scripts.hosts $(HOSTS)

matrix-django:  ## Run the tests of the Django integration on every Django that it supports
	$(PYTHON) -m scripts.django_matrix

upgrade: $(VENV)/with-nothing  ## Compare with the published 0.2.1, run its tests, and write docs/start/upgrade.md
	$(BIN)/python -m scripts.upgrade --write
	$(BIN)/python -m scripts.upgrade.suite

bench: $(VENV)/with-nothing  ## Measure beside other packages and write docs/about/performance.md (BENCH=--quick for a look)
	$(BIN)/python -m benchmarks $(BENCH)

fleet: $(VENV)/with-nothing  ## Simulate 10,000 processes through outages and draw docs/operations
	$(BIN)/python -m benchmarks.fleet --write

format: $(VENV)/with-dev  ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove everything that can be made again
	rm -rf $(VENV) .venvs build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The build backend is pinned and installed first, so that no build fetches one of its own.
$(VENV)/with-nothing: pyproject.toml constraints.txt
	$(PYTHON) scripts/new_enough.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) hatchling hatch-fancy-pypi-readme editables
	$(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/with-%: $(VENV)/with-nothing
	$(PIP) --no-build-isolation --editable '.[$*]'
	touch $@
