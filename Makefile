# `make` alone lists what there is. Everything is installed into .venv, with Python, pip and make only.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
OLDER_AND_NEWER := 3.12 3.13

.PHONY: help quickstart test test-all test-prism test-pythons test-parity test-ray test-jumpstart \
  bench-data bench-evaluation bench-training check format docs freeze clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TuneBridge needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TuneBridge with the local trainer (PyTorch, about 1.2 GB) into $(VENV) ..."
	$(PIP) --editable ".[local]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing TuneBridge with everything for development (about 1.3 GB) into $(VENV) ..."
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.local

quickstart: $(VENV)/.local  ## Tune the shipped model on real rows and see by how much it got better (3 minutes)
	$(BIN)/tunebridge quickstart --yes

test: $(VENV)/.dev  ## Run the tests
	$(BIN)/python -m pytest

test-all: $(VENV)/.dev  ## Run the tests, the slow ones too
	$(BIN)/python -m pytest -m "not live and not prism"

test-prism: $(VENV)/.dev  ## Hold the openai backend's requests against the OpenAPI document OPENAPI=FILE (needs npm)
	npm install --silent --no-audit --no-fund --prefix $(VENV)/prism @stoplight/prism-cli@5.14.2
	TUNEBRIDGE_OPENAPI=$(abspath $(OPENAPI)) TUNEBRIDGE_PRISM=$(abspath $(VENV)/prism/node_modules/.bin/prism) \
	  $(BIN)/python -m pytest -m prism tests/contract

test-pythons: $(addprefix test-python-,$(OLDER_AND_NEWER))  ## Run the core's tests, without torch, on each Python that is installed

test-python-%:
	@for python in python$* $(HOME)/.pyenv/versions/$*.*/bin/python; do \
	  if $$python -c '' 2>/dev/null; then break; else python=; fi; done; \
	if [ -z "$$python" ]; then echo "Python $* is not installed here: skipped"; exit 0; fi; \
	$$python -m venv $(VENV)-$* && \
	$(VENV)-$*/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  --editable . hypothesis jsonschema pytest pytest-timeout hatchling && \
	$(VENV)-$*/bin/python -m pytest -m "not torch and not slow and not live and not prism"

$(VENV)-parity/.done: pyproject.toml constraints.txt
	@echo "Installing TuneBridge beside TRL into $(VENV)-parity ..."
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable ".[dev,parity]"
	@touch $@

test-parity: $(VENV)-parity/.done  ## Train the same jobs with TRL and compare losses and weights (about 1.5 GB)
	$(VENV)-parity/bin/python -m pytest tests/parity -m "not live"

$(VENV)-ray/.done: pyproject.toml constraints.txt
	@echo "Installing TuneBridge with Ray into $(VENV)-ray (about 1.7 GB) ..."
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable ".[dev,ray]"
	@touch $@

test-ray: $(VENV)-ray/.done  ## Run jobs on a Ray cluster of this machine, with workers that die (its own environment)
	$(VENV)-ray/bin/python -m pytest tests/plugins/test_ray.py -m "not live"

$(VENV)-jumpstart/.done: pyproject.toml
	@echo "Installing TuneBridge beside the SageMaker SDK into $(VENV)-jumpstart ..."
	$(PYTHON) -m venv $(VENV)-jumpstart
	$(VENV)-jumpstart/bin/pip --disable-pip-version-check install --quiet --editable ".[local,jumpstart]" pytest pytest-timeout
	@touch $@

test-jumpstart: $(VENV)-jumpstart/.done  ## Submit models of SageMaker's catalogue by the unchanged SageMaker SDK (about 2.2 GB)
	$(VENV)-jumpstart/bin/python -m pytest tests/plugins/test_jumpstart.py -m "not live"

bench-training: $(VENV)-parity/.done  ## Train beside TRL and transformers and print the ratios (an hour on two cores)
	$(VENV)-parity/bin/python -m benchmarks.training

check: $(VENV)/.dev  ## Format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

format: $(VENV)/.dev  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## Write the generated reference again
	$(BIN)/python -m tools.reference

bench-evaluation: $(VENV)/.dev  ## Measure how fast an endpoint is asked, beside the OpenAI SDK
	$(BIN)/python -m benchmarks.evaluation

bench-data:  ## Measure how fast rows are checked and converted, beside others (10 minutes, its own environment)
	@test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip --disable-pip-version-check install --quiet --editable . "datasets>=5.2"
	$(VENV)-bench/bin/python -m benchmarks.data

freeze: $(VENV)/.dev  ## Write the installed versions into constraints.txt
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' | sort -f; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## Remove what make installed and what tests left
	rm -rf $(VENV) $(addprefix $(VENV)-,$(OLDER_AND_NEWER) parity ray jumpstart bench) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
