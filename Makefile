# Every target sets up what it needs by itself; the second time that takes no time.
.PHONY: help evaluate test format check build site setup clean
SHELL := /bin/bash
PYTHON_VENV := .venv/bin/python
MARKERS ?= not slow and not gpu and not browser
# Processes that run tests, each with one thread: with several they would wait for one another.
WORKERS ?= 2

help:
	@echo "make evaluate  evaluate the shipped act_rtc policy on confuser_pick (ARGS='--episodes 10' adds flags)"
	@echo "make test      run the tests marked '$(MARKERS)' (MARKERS='slow' chooses others)"
	@echo "make format    format the code and apply safe fixes"
	@echo "make check     formatting, lint, types and who-may-import-whom, without changing anything"
	@echo "make build     build wheel and sdist into dist/ and try the wheel"
	@echo "make site      build the documentation into site/, strictly"
	@echo "make clean     remove build products and caches, not .venv and not results"

setup:
	@scripts/setup.sh

evaluate: setup
	@$(PYTHON_VENV) scripts/evaluate.py --policy act_rtc --env confuser_pick $(ARGS)

test:
	@scripts/setup.sh test
	@echo "tests marked: $(MARKERS)"
	@OMP_NUM_THREADS=1 $(PYTHON_VENV) -m pytest -q -n $(WORKERS) -m "$(MARKERS)" $(ARGS)

format:
	@scripts/setup.sh dev
	@$(PYTHON_VENV) -m ruff format .
	@$(PYTHON_VENV) -m ruff check --fix .

check:
	@scripts/setup.sh dev
	@$(PYTHON_VENV) -m ruff format --check .
	@$(PYTHON_VENV) -m ruff check .
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/pyright

build:
	@scripts/setup.sh test
	@rm -rf build dist
	@$(PYTHON_VENV) -m build --outdir dist . >/dev/null
	@ls -l dist
	@ACT_EVAL_DIST=dist $(PYTHON_VENV) -m pytest -q -m "" tests/packaging/test_wheel.py

site:
	@scripts/setup.sh test
	@NO_MKDOCS_2_WARNING=1 $(PYTHON_VENV) -m mkdocs build --strict --quiet
	@echo "site/index.html"

clean:
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
