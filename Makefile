# A few commands and nothing beyond them: each sets up what it needs, in .venv, on a machine that has
# Python 3.11 or later, pip, make and git.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN := .venv/bin
PROJECT := pyproject.toml
# Not uv's default of hard links: a checkout on another disk than the cache must work without a warning.
export UV_LINK_MODE ?= copy

# At a terminal uv shows what it downloads; elsewhere one line a step is enough.
QUIET := $(shell test -t 2 || echo --quiet)

.PHONY: docs docs-serve lab demo test check lint format bounds bench attack cluster film screenshot clean all-tests quick-tests tools environments

lab: .venv/.lab  ## open the tutorial in JupyterLab
	$(BIN)/dnworker lab notebooks/01-quickstart.ipynb

demo: .venv/.demo  ## the tutorial without a screen: run, export, run the export
	$(BIN)/python scripts/demo.py

test:  ## install what tests need, and run all of them
	@$(MAKE) --no-print-directory -j2 .venv/.test tools
	@$(MAKE) --no-print-directory -j3 lint environments all-tests

check: .venv/.test  ## what answers within a minute: lint, types and the unit tests that are quick
	@$(MAKE) --no-print-directory -j2 lint quick-tests

all-tests: .venv/.test  ## four processes on two cores: many of these tests wait for other processes
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

quick-tests: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow' tests/unit

tools:
	$(PYTHON) scripts/test_tools.py

environments: .venv/.test
	$(BIN)/python -m tests.environments

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/front.py

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python scripts/front.py --write

bounds: .venv/.test  ## unit and kernel tests with the oldest versions that the project allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-bounds
	$(BIN)/uv pip install --quiet --python .venv-bounds/bin/python --resolution lowest-direct \
		--editable '.[jupyter]' --group test --group lab
	.venv-bounds/bin/python -m pytest tests/unit tests/kernel -n 2

bench: .venv/.test  ## measure beside the bare thing, and write docs/performance.md; ONLY=publish measures one program
	$(BIN)/python benchmarks/run.py $(if $(ONLY),--only "$(ONLY)")

SERVERS ?= 1
cluster: .venv/.cluster  ## a NATS server (three with SERVERS=3), three nodes and the panel; Ctrl-C ends all of it
	$(BIN)/python scripts/cluster.py --servers $(SERVERS)

attack: .venv/.test  ## attack the runtime with real processes, for some minutes, and print what held
	$(BIN)/python -m tests.attack

docs: .venv/.docs  ## build the documentation into .build/site: tutorials run, links and spelling are checked
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m scripts.website build

docs-serve: .venv/.docs  ## show the documentation at http://127.0.0.1:8000, and follow changes
	$(BIN)/python -m scripts.website serve

screenshot: .venv/.test  ## take the pictures of the docs again
	$(BIN)/python scripts/screenshot.py

film: .venv/.test  ## take the film of the docs again, light and dark
	$(BIN)/python scripts/film.py

clean:
	rm -rf .venv .build dist

.venv/.base:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later was found; install one, or name it: make PYTHON=..."; exit 1; }
	@echo "making .venv with $(PYTHON), and installing uv in it"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5.10'
	@touch $@

.venv/.demo: .venv/.base $(PROJECT)
	@echo "installing dnworker and IPython into .venv; the first time takes up to a minute"
	@$(BIN)/uv pip install $(QUIET) --python $(BIN)/python --editable '.[jupyter]' --group demo
	@touch $@

.venv/.cluster: .venv/.base $(PROJECT)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[runtime,cluster]' --group cluster
	@touch $@

.venv/.lab: .venv/.demo $(PROJECT)
	@echo "installing JupyterLab into .venv; the first time takes up to a minute"
	@$(BIN)/uv pip install $(QUIET) --python $(BIN)/python --group lab
	@touch $@

.venv/.docs: .venv/.demo $(PROJECT)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group docs
	@touch $@

.venv/.test: .venv/.lab .venv/.docs $(PROJECT)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group test
	@touch $@
