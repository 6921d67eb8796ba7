# Sparsegate. `make help` lists what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
INFERENCE ?= triton

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format protos serve bench bench-serving bench-search clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## Make the environment in .venv from the lock of exact versions

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sparsegate needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY) ## Find a film by meaning, through every real part (INFERENCE=onnx: without Triton)
	@$(BIN)/python examples/movies/demo.py --inference $(INFERENCE)

test: $(READY) ## Run all tests, a real Triton included
	@$(BIN)/python -m pytest

check: $(READY) ## Lint, types, direction of imports, contract, generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against protos/released.binpb
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/unasync.py --check

format: $(READY) ## Format the code and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/buf format --write protos

protos: $(READY) ## Generate the stubs from protos/, and the sync client from the asyncio one
	$(BIN)/python tools/protos.py
	$(BIN)/python tools/unasync.py

serve: $(READY) ## Serve splade-tiny in process on 127.0.0.1:50051
	@$(BIN)/sparsegate-server model export splade-tiny
	@$(BIN)/sparsegate-server serve --model splade-tiny --log-format text

bench: bench-serving

bench-serving: $(READY) ## Measure every bar of model serving: DATA=folder of BEIR folders, PYTHON_PEERS=… for the peer
	@test -n "$(DATA)" || { echo "Say where scifact and cranfield are: make bench-serving DATA=/path/to/data"; exit 1; }
	@$(BIN)/python -m bench.serving --data "$(DATA)" \
		$(if $(PYTHON_PEERS),--python-peers "$(PYTHON_PEERS)") $(BENCH)

bench-search: $(READY) ## Measure every bar of search: DATA=wiki200k, PEERS=… PYTHON_PEERS=… for peers
	@test -n "$(DATA)" || { echo "Say where the data is: make bench-search DATA=/path/to/wiki200k"; exit 1; }
	@$(BIN)/python -m bench.search --data "$(DATA)" $(if $(PEERS),--peers "$(PEERS)") \
		$(if $(PYTHON_PEERS),--python-peers "$(PYTHON_PEERS)") $(BENCH)

clean: ## Remove the environment and all caches of the tools; models in the user's cache stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
