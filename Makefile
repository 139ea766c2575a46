# Everything that is done to this tree. Each target sets up what it needs itself: a virtual environment in .venv, the
# dependencies, the compiled modules. Stamp files make a second run quick. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check
JOBS := $(shell nproc 2>/dev/null || echo 2)
PYTEST := $(PY) -m pytest -p no:cacheprovider

# Where to find what is compiled. The stamps below are newer than all of it when nothing is to be done.
NATIVE := $(shell find dynomite_mp -name '*.pyx' -o -name '*.pxd' -o -name '*.h' 2>/dev/null)
COMPILED := $(subst /,.,$(patsubst %.pyx,%,$(shell find dynomite_mp -name '*.pyx' 2>/dev/null)))

ARGS ?=
TOPIC ?=
SECONDS ?= 1800
TESTS ?= tests/unit tests/property

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- set-up ----------------------------------------------------------------------------------------------------------

$(VENV)/.venv-made: .ci/python
	python="$$(.ci/python)"; "$$python" -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	@touch $@

$(VENV)/.installed: $(VENV)/.venv-made pyproject.toml setup.py
	$(PIP) install --quiet --upgrade 'setuptools>=80' 'Cython>=3.2,<4'
	DYNOMITE_MP_NO_EXTENSIONS=1 PYTHONWARNINGS=ignore \
		$(PIP) install --quiet --no-build-isolation --editable '.[store]'
	@touch $@

$(VENV)/.test-installed: $(VENV)/.venv-made pyproject.toml
	$(PIP) install --quiet --group test
	@touch $@

$(VENV)/.lint-installed: $(VENV)/.venv-made pyproject.toml
	$(PIP) install --quiet --group lint
	@touch $@

$(VENV)/.docs-installed: $(VENV)/.venv-made pyproject.toml
	$(PIP) install --quiet --group docs
	@touch $@

$(VENV)/.servers: .ci/servers
	.ci/servers
	@touch $@

build/.built: $(VENV)/.installed $(NATIVE) setup.py
	$(PY) setup.py --quiet build_ext --inplace --parallel $(JOBS)
	@mkdir -p build && touch $@

.PHONY: build
build: build/.built ## virtual environment, dependencies and compiled modules

# ---- use -------------------------------------------------------------------------------------------------------------

.PHONY: run
run: build ## start a node on 127.0.0.1:8102 with a datastore of its own; ARGS="--conf FILE" for another
	@exec $(BIN)/dynomite-mp start $(ARGS)

# ---- tests -----------------------------------------------------------------------------------------------------------

.PHONY: test
test: build $(VENV)/.test-installed $(VENV)/.servers ## all tests; installs redis-server and memcached when root
	$(PYTEST) -q tests/test_tidy.py tests/test_architecture.py
	$(PYTEST) -q -n 2 $(wildcard tests/unit tests/property tests/load tests/stress)
ifneq ($(wildcard tests/sim/test_*.py),)
	$(PYTEST) -q tests/sim
endif
ifneq ($(wildcard tests/e2e/test_*.py),)
	$(PYTEST) -q -n 4 tests/e2e  # they wait more than they work
endif

.PHONY: accept
accept: build $(VENV)/.test-installed $(VENV)/.servers ## measure what is promised; TOPIC="a b" picks some, ARGS are passed on
	$(PY) -m tests.accept $(TOPIC) $(if $(ARGS),-- $(ARGS))

.PHONY: check
check: build $(VENV)/.test-installed $(VENV)/.lint-installed ## linters, types, stubs against compiled modules, tree rules
	$(PY) -m ruff check .
	$(PY) -m mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint dynomite_mp
ifneq ($(COMPILED),)
	$(PY) -m mypy.stubtest --concise --ignore-disjoint-bases --allowlist .ci/stubtest-allow \
		--ignore-unused-allowlist $(COMPILED)
endif
	$(PYTEST) -q tests/test_tidy.py tests/test_architecture.py

.PHONY: bench
bench: build $(VENV)/.test-installed $(VENV)/.servers ## speed and CPU per request, beside the datastore itself; ARGS are passed on
	$(PY) -m tests.bench $(ARGS)

.PHONY: asan
asan: build $(VENV)/.test-installed $(VENV)/.servers ## unit, property and io tests with the address sanitizer; TESTS="..." picks others
	PYTHON=$(PY) JOBS=$(JOBS) .ci/asan $(TESTS) $(wildcard tests/e2e/test_io*.py)

.PHONY: fuzz
fuzz: build $(VENV)/.test-installed ## random input to the parsers, and to peer connections, for SECONDS (1800) each
	$(PY) -m tests.fuzz.fuzz_proto --seconds $(SECONDS) $(ARGS)
	$(PY) -m tests.fuzz.fuzz_peers --seconds $(SECONDS) $(ARGS)

# ---- the rest --------------------------------------------------------------------------------------------------------

.PHONY: docs
docs: build $(VENV)/.docs-installed ## HTML of docs/ in docs/_build/html
	$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html

.PHONY: clean
clean: ## remove everything that was built, the virtual environment too
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find dynomite_mp tests -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
