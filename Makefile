# Every target sets up what it needs: a fresh machine has to have only Python, make and pip.

PYTHON ?= python3
# What somebody gave on the command line is meant for the harm run, which may be an interpreter that cannot make .venv.
PYTHON_COMMAND := $(if $(filter command environment,$(firstword $(origin PYTHON))),$(PYTHON))
VENV_PYTHON := $(if $(filter harm,$(MAKECMDGOALS)),python3,$(PYTHON))

BIN := .venv/bin
SOURCES := $(shell find src -type f -not -name '*.pyc') monitor_auto.pth hatch_build.py pyproject.toml README.md LICENSE

# Stale bytecode would be compiled at every start of every child; a monitored make would monitor its own tests.
unexport PYTHONDONTWRITEBYTECODE MONITOR_ENDPOINT PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: help demo test test-libraries check wheel bench harm clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

demo: .venv/wheel-installed ## watch a small batch job that knows nothing of the monitor
	@$(BIN)/python examples/demo.py

test: check ## style, types and all tests
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal

test-libraries: .venv/tests-installed ## hooks with the oldest and newest version of each library, on every Python here
	$(BIN)/python -m pytest --numprocesses 2 -m libraries

check: .venv/tests-installed ## style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: dist/.built ## build the wheel into dist/

bench: .venv/tests-installed ## measure every row of the budget against the bare interpreter
	$(BIN)/python -m bench

harm: .venv/tests-installed ## run CPython's own tests bare and monitored (PYTHON='COMMAND' picks the interpreter)
	PYTHON='$(PYTHON_COMMAND)' $(BIN)/python tests/harm/run.py

clean: ## remove everything that was made
	rm -rf .venv build dist report.html .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Some systems package ensurepip apart; pip can still fill an environment from outside.
.venv/made:
	@echo "making .venv with $(VENV_PYTHON)"
	@$(VENV_PYTHON) -m venv --clear .venv || { \
	  $(VENV_PYTHON) -m venv --clear --without-pip .venv && \
	  $(VENV_PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@touch $@

dist/.built: $(SOURCES) | .venv/made
	@echo "building the wheel into dist/"
	@rm -rf dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@touch $@

# The second install is for a changed wheel of the same version, which pip would think installed already.
.venv/wheel-installed: dist/.built
	@echo "installing the wheel into .venv"
	@$(BIN)/python -m pip install --quiet dist/monitor_auto-*.whl
	@$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/monitor_auto-*.whl
	@touch $@

.venv/tests-installed: .venv/wheel-installed
	@echo "installing what the tests need into .venv"
	@$(BIN)/python -m pip install --quiet "$$(echo dist/monitor_auto-*.whl)[test]"
	@touch $@
