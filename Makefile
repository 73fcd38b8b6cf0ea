# All targets work from a fresh clone with Python 3.11 or newer; each sets up what it needs in .venv.
PYTHON ?= python3
CASES ?= ../shared/cases
BIN := .venv/bin
READY := .venv/ready
# Processes that run tests in parallel. Many tests wait most of the time: two processes leave two cores idle.
WORKERS ?= 4
# Each program that a test starts would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check suite nightly coverage soak structure cases pace bench oldest reference screenshot docs clean
help:
	@echo "make demo      harvest the sandbox and show the result (no account, no network)"
	@echo "make test      everything that CI runs: checks and tests"
	@echo "make check     ruff, mypy, layers"
	@echo "make coverage  the tests with line coverage (half as long again)"
	@echo "make nightly   all tests, with the cases that take long, and the long tests"
	@echo "make soak      the long tests: 50 kills, 20 power cuts, every fault, 100,000 items, listings of a million, 2,400 steps of histories, the worst answers (ONLY=kills …)"
	@echo "make structure the packages, and what each imports from"
	@echo "make cases     scripts that reproduce faults, if there are any (CASES=folder, ONLY=c15 …)"
	@echo "make pace      a run against the sandbox at 20 requests a second, compared with the lower bound"
	@echo "make bench     measure the program with its references; writes docs/explanation/performance.md (ONLY=cpu,files …)"
	@echo "make oldest    the tests with the oldest versions of the dependencies"
	@echo "make reference write the pages of docs/reference that are made from the code"
	@echo "make screenshot draw the screen of a run as docs/screenshot.svg, which README shows"
	@echo "make docs      build the documentation as a site in site/"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
	  { echo "Python's venv module is needed (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@# Python compiles at the first import: most modules of the large packages are never imported.
	@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --group dev --editable .
	@touch $(READY)

demo: $(READY)
	@BIN=$(BIN) sh docs/demo.sh

test: check suite

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_layers.py

suite: $(READY)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

nightly: check
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m "nightly or not nightly"
	$(MAKE) soak

coverage: $(READY)
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: $(READY)
	$(BIN)/python -m tests.support.soak $(ONLY)

structure: $(READY)
	@$(BIN)/python -m tests.support.structure

cases: $(READY)
	@$(BIN)/python -m tests.support.cases $(CASES) $(ONLY)

pace: $(READY)
	$(BIN)/python -m tests.support.pace

bench: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group bench
	$(BIN)/python -m bench $(ONLY)

oldest:
	@$(PYTHON) -m venv --clear .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --group dev --editable .
	.venv-oldest/bin/python -m pytest --quiet

reference: $(READY)
	$(BIN)/python -m tools.reference

screenshot: $(READY)
	$(BIN)/python -m tools.screenshot

docs: $(READY)
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean:
	rm -rf .venv .venv-oldest .coverage .coverage.* site demo build dist .mypy_cache .ruff_cache .pytest_cache
