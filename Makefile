# Every target works in .venv, which `make setup` makes; VENV=... names another environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup check test lint types demo bench crash chaos

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(BIN)/taskqueue ## Make the environment, with everything for development

$(BIN)/taskqueue: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

check: ## Run all that must pass before a change is accepted (.ci/run)
	PYTHON=$(PYTHON) .ci/run

test: setup ## Run the tests
	$(BIN)/pytest

lint: setup ## Check style, format and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## Check the types
	$(BIN)/mypy

demo: setup ## Watch 200 tasks of mixed priority go through a real server
	$(BIN)/taskqueue demo

bench: setup ## Run the benchmarks: a table, and JSON
	$(BIN)/python -m benchmarks

crash: setup ## Run the crash tests, the slow ones and the long runs under faults included
	$(BIN)/pytest tests/crash -m ''

chaos: setup ## Do every fault to a queue under load, and judge what comes of it
	$(BIN)/python -m tests.chaos
