# The few commands of this repository. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
CODE := $(wildcard fleet_contract edge_agent fleet_server trainer firmware_configs hil benchmarks tools tests hatch_build.py)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what the demonstration needs, into .venv (done by the others when needed)
	@$(PYTHON) tools/setup.py demo

setup-dev:
	@$(PYTHON) tools/setup.py dev

demo: setup ## the whole story on this machine: train, sign, inspect, drift, retrain, roll back (HEADLESS=1: no browser)
	@$(BIN)/loupe-hil demo $(if $(PORT),--port $(PORT))

test: setup-dev ## all tests
	@$(BIN)/pytest

check: setup-dev ## format, lint, types, import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict $(CODE)
	@$(BIN)/pytest tests/house

bench: setup-dev ## measure on this machine, one program after another
	@set -e; for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program; done

clean: ## remove .venv and .venv-tflite, build outputs and caches
	rm -rf .venv .venv-tflite build dist node_modules fleet_server/console/static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
