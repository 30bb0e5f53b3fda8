# Everything runs in .venv, which `make setup` builds from nothing. Names and arguments are described in README.md.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

SAE_RELEASE ?=
SAE_ID ?=
NEURONPEDIA_ID ?=
SAE_PATH ?=
ACTS ?=
DATA_DIR ?=
FEATURES ?=
OUT ?= features
DEVICE ?=
ARGS ?=
SAE_FLAGS = $(if $(SAE_RELEASE),--sae-release '$(SAE_RELEASE)') $(if $(SAE_ID),--sae-id '$(SAE_ID)')

.PHONY: setup demo download encode dashboard check test test-scale bench bench-scale clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo 'make demo       the whole product on this machine, no internet needed  [ARGS=--serve]'
	@echo 'make download   the labels of the default SAE  [SAE_RELEASE= SAE_ID= NEURONPEDIA_ID= ARGS=]'
	@echo 'make encode     ACTS=dir OUT=dir  activations to features  [SAE_RELEASE= SAE_ID= SAE_PATH= DEVICE= ARGS=]'
	@echo 'make dashboard  labels and features in the browser  [DATA_DIR= FEATURES= ARGS=]'
	@echo 'make test       every test         make check   ruff, mypy --strict, layers'
	@echo 'make test-scale the tests of --engine ray, on a cluster of processes   make bench-scale   its benchmarks'
	@echo 'make bench      the benchmarks     make setup   just the virtual environment'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'saefetch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python -m demo $(ARGS)

download: setup
	@$(BIN)/saefetch download $(SAE_FLAGS) $(if $(NEURONPEDIA_ID),--neuronpedia-id '$(NEURONPEDIA_ID)') $(ARGS)

encode: setup
	@test -n '$(ACTS)' || { echo "name the activations: make encode ACTS=dir OUT=dir" >&2; exit 2; }
	@$(BIN)/sae-encode run '$(ACTS)' --out '$(OUT)' $(SAE_FLAGS) $(if $(SAE_PATH),--sae-path '$(SAE_PATH)') \
		$(if $(DEVICE),--device '$(DEVICE)') $(ARGS)

dashboard: setup
	@$(BIN)/sae-dashboard $(if $(DATA_DIR),--data-dir '$(DATA_DIR)') $(if $(FEATURES),--features '$(FEATURES)') $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_layers.py

test: setup
	$(BIN)/pytest $(ARGS)

# Ray is not in .venv unless it is wanted: it is larger than most of the rest.
RAY := .venv/.ray-installed

$(RAY): $(STAMP)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[ray]'
	@touch $@

test-scale: setup $(RAY)
	$(BIN)/pytest -n0 -m scale tests/scale $(ARGS)

bench-scale: setup $(RAY)
	$(BIN)/python -m benchmarks.scale_store $(ARGS)
	$(BIN)/python -m benchmarks.scale_ray $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks.labels $(ARGS)
	$(BIN)/python -m benchmarks.start $(ARGS)
	$(BIN)/python -m benchmarks.encode $(ARGS)
	$(BIN)/python -m benchmarks.queue $(ARGS)
	$(BIN)/python -m benchmarks.many_saes $(ARGS)
	$(BIN)/python -m benchmarks.kernel $(ARGS)
	$(BIN)/python -m benchmarks.api $(ARGS)
	$(BIN)/python -m benchmarks.dashboard $(ARGS)
	$(BIN)/python -m benchmarks.serve $(ARGS)
	$(BIN)/python -m benchmarks.jobs $(ARGS)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
