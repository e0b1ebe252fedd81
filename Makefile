# The two commands of the README: `make demo` and `make test`. Both make the environment if need be.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/quickstart

.PHONY: demo test lint bench clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("rfmodel needs Python 3.11 or newer; found " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/.ready
	$(BIN)/rfmodel run quickstart --out $(OUT)
	$(BIN)/rfmodel report $(OUT)

# Two processes of one thread each: half the time of one with two, since most tests are too small to be shared.
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.ready
	$(BIN)/rfmodel bench train
	$(BIN)/rfmodel bench fields

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
