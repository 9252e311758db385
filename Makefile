# Every habit of the project. `make help` lists them; CI calls these and nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

PIP_FLAGS := --quiet --disable-pip-version-check
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	--custom-compile-command 'make lock' pyproject.toml

# OpenMP threads that spin while they wait starve each other as soon as two processes share the cores.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup setup-locked lock demo demo-compare serve test quick compose-test tour openapi check fmt clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Python packages into $(VENV) (PyTorch is large: a minute or a few) ..."
	@$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[dev,demo]'
	@touch $@

setup: $(READY) ## make the virtual environment, once

setup-locked: ## the same with exactly the versions that are tested, each file by its hash
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the tested Python packages into $(VENV) (PyTorch is large: a minute or a few) ..."
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --editable .
	@touch $(READY)

lock: $(READY) ## write the tested versions; `make lock UPGRADE=--upgrade` takes the newest
	$(LOCK) --all-extras --output-file requirements-dev.lock
	$(LOCK) --extra mqtt --extra s3 --constraints requirements-dev.lock --output-file requirements.lock

demo: $(READY) ## learn real images in five tasks, predict, show the accuracy matrix and the dashboard
	@$(BIN)/filopodia demo

demo-compare: $(READY) ## the same images learned by artsy, simplecil and finetune, side by side
	@$(BIN)/filopodia demo-compare

serve: $(READY) ## run the service here, database and worker included
	@$(BIN)/filopodia serve

test: $(READY) ## all tests but those that need a GPU; REPORTS=folder keeps reports of JUnit
	$(BIN)/python -m tests.suite $(if $(REPORTS),--reports $(REPORTS))

quick: $(READY) ## the tests that take seconds
	$(BIN)/python -m tests.suite --quick

compose-test: $(READY) ## run the compose file for real (needs Docker)
	$(BIN)/python -m tests.compose.run

tour: $(READY) ## make docs/tour.md and its pictures anew, from a real run (needs Chromium)
	$(BIN)/python -m tests.tour

openapi: $(READY) ## write the HTTP contract: docs/openapi.json and the client's typed replies
	$(BIN)/python -m service.contract

check: $(READY) ## ruff, mypy --strict, import-linter, the contract's files, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m service.contract --check
	$(BIN)/python .ci/audit

fmt: $(READY) ## format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment, caches and the demo's data
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache build *.egg-info
