# Everything a developer or a new user runs. Each target makes what it needs: `make serve` and `make test` work on a
# fresh clone with Python 3.11 or newer and nothing else set up.

PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv
SERVE_VENV ?= .venv-serve
# For `make evaluate`: labelled pictures, the reference's networks, the runs of recipes/default/train.sh, where figures go.
DATA ?= ../shared/pad-data
PEERS ?= ../shared/peers
HELD_OUT ?= runs/default
OUT ?= recipes/default/evaluation
# Two environments, so that whoever only serves does not download PyTorch.
BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSIGHTFACE := insightface==2.1
# What builds a Dockerfile where there is no Docker engine; see docs/deployment.md.
BUILD_IMAGE ?= ../shared/tools/build-image
IMAGE ?= face-liveness:cpu

.DEFAULT_GOAL := help
.PHONY: help serve test check format bench evaluate image image-test secrets kubernetes-rules clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# A stamp is older than what it depends on once a pinned version or a dependency changes, and the install runs again.
$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	@echo 'installing into $(VENV), a few minutes the first time'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --editable '.[service,s3,redis,tracing,insightface,training,dev]'
	$(BIN)/python $(PIP_INSTALL) --no-deps $(INSIGHTFACE)
	@touch $@

$(SERVE_VENV)/.installed: pyproject.toml constraints.txt Makefile
	@echo 'installing into $(SERVE_VENV), a minute the first time'
	$(PYTHON) -m venv $(SERVE_VENV)
	$(SERVE_VENV)/bin/python $(PIP_INSTALL) --editable '.[service]'
	@touch $@

serve: $(SERVE_VENV)/.installed  ## serve the API on port 8000 (PORT=… changes it)
	exec $(SERVE_VENV)/bin/liveness serve --port $(PORT)

test: $(VENV)/.installed  ## run the tests except the slow ones (SLOW=1 adds them) on all cores (WORKERS=… on so many)
	PYTHON=$(BIN)/python SLOW=$(SLOW) WORKERS=$(WORKERS) tests/run

check: $(VENV)/.installed  ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed  ## measure the service: throughput and latency as ratios, memory
	$(BIN)/python benchmarks/service_overhead.py
	$(BIN)/python benchmarks/workers_overhead.py
	$(BIN)/python benchmarks/clip_overhead.py
	$(BIN)/python benchmarks/memory.py

evaluate: $(VENV)/.installed  ## error rates of the default bundle on DATA, through the service (PEERS=, HELD_OUT= add to it)
	$(BIN)/python recipes/default/evaluate.py $(DATA) --out $(OUT) \
		$(if $(wildcard $(PEERS)),--peer $(PEERS)) \
		$(foreach bundle,$(wildcard $(HELD_OUT)/bundles/without-*),--held-out $(patsubst without-%,%,$(notdir $(bundle)))=$(bundle))

image:  ## build the service's CPU image (IMAGE=… names it)
	BUILD_IMAGE=$(BUILD_IMAGE) docker/build.sh service-cpu $(IMAGE)

image-test: $(VENV)/.installed  ## build the CPU image from a clean clone, run it and ask it for a verdict
	IMAGE_TEST=1 BUILD_IMAGE=$(BUILD_IMAGE) $(BIN)/python -m pytest tests/deploy/test_image.py -rA

secrets:  ## make the keys and the password that docker compose mounts, in docker/secrets/
	docker compose build liveness
	docker/secrets.sh docker run --rm --network none face-liveness:cpu

kubernetes-rules: $(VENV)/.installed  ## the rules of docker/prometheus as an object for the Prometheus operator
	$(BIN)/python kubernetes/prometheus_rule.py

clean:  ## remove environments and caches
	rm -rf $(VENV) $(SERVE_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
