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
# For `make bench` and `make gpu-check`: where figures go; a folder with npm's modules of benchmarks/peers/package.json.
BENCH ?= runs/bench
HUMAN ?=
# For `make gpu-pack`: where the pack goes, and the weights that its runs start from.
PACK ?= build/gpu/pack
LITE0 ?= build/gpu/lite0.pth
MOBILENET ?= ../shared/init/mobilenet_v2_imagenet.npz
COMMA := ,
# Two environments, so that whoever only serves does not download PyTorch.
BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
OURS = $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
# What builds a Dockerfile where there is no Docker engine; see docs/deployment.md.
BUILD_IMAGE ?= ../shared/tools/build-image
IMAGE ?= face-liveness:cpu
SBOM ?= sbom.json

.DEFAULT_GOAL := help
.PHONY: help serve test check docs format web bench gpu-check gpu-pack evaluate lock platforms sbom image image-test secrets kubernetes-rules clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# A stamp is older than what it depends on once a version or a dependency changes, and the install runs again.
$(VENV)/.installed: pyproject.toml constraints.txt $(addprefix requirements/,install installer.txt build.txt dev.txt) Makefile
	@echo 'installing into $(VENV), a minute or more the first time'
	$(PYTHON) -m venv $(VENV)
	requirements/install $(BIN)/python requirements/build.txt requirements/dev.txt
# By version only: the index has one file of PyTorch, with CUDA, and other places one for the CPU.
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt torch
	$(BIN)/python $(OURS)
	@touch $@

$(SERVE_VENV)/.installed: pyproject.toml $(addprefix requirements/,install installer.txt build.txt service-cpu.txt) Makefile
	@echo 'installing into $(SERVE_VENV), up to a minute the first time'
	$(PYTHON) -m venv $(SERVE_VENV)
	requirements/install $(SERVE_VENV)/bin/python requirements/build.txt requirements/service-cpu.txt
	$(SERVE_VENV)/bin/python $(OURS)
	@touch $@

serve: $(SERVE_VENV)/.installed  ## serve the API on port 8000 (PORT=… changes it)
	exec $(SERVE_VENV)/bin/liveness serve --port $(PORT)

test: $(VENV)/.installed  ## run the tests except the slow ones (SLOW=1 adds them) in WORKERS=… processes, PASS=together or alone
	PYTHON=$(BIN)/python SLOW=$(SLOW) WORKERS=$(WORKERS) TESTS='$(TESTS)' tests/run $(PASS)

check: $(VENV)/.installed  ## lint, format, types, import rules, links of the guide
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/build.py build/guide

docs: $(VENV)/.installed  ## build the guide as a site in build/guide/site, strictly (SHOW=1 also serves it on port 8001)
	$(BIN)/python docs/build.py build/guide
	$(if $(SHOW),$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/guide/site 8001)

format: $(VENV)/.installed  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The page's files are committed, so that `make serve` needs no node. A test compares them with what this makes.
web: $(VENV)/.installed  ## make the page's files anew, and the npm package in clients/web/dist (needs node)
	cd clients/web && npm ci --ignore-scripts --no-progress
	$(BIN)/python clients/web/openapi.py clients/web/build/openapi.json
	$(BIN)/python clients/web/weights.py service/liveness_service/web/yunet.bin
	cd clients/web && npm run --silent api && npm run --silent types && npm run --silent build && npm run --silent page

bench: $(VENV)/.installed  ## measure stages, encoder, service and others' services; figures to BENCH=runs/bench (needs wrk)
	mkdir -p $(BENCH)
	$(BIN)/python benchmarks/service_overhead.py
	$(BIN)/python benchmarks/encoders.py --out $(BENCH)/encoders.json
	$(BIN)/python benchmarks/services.py --megapixels 0.3,2,12 --connections 1,4,16,64 --seconds 3 --rounds 2 --clips \
		--peers $(PEERS) --with before,simple$(if $(HUMAN),$(COMMA)human --human $(HUMAN)) --out $(BENCH)/services.json
	$(BIN)/python benchmarks/under_load.py --out $(BENCH)/under_load.json
	$(BIN)/python benchmarks/workers_overhead.py
	$(BIN)/python benchmarks/clip_overhead.py
	$(BIN)/python benchmarks/memory.py

gpu-check: $(VENV)/.installed  ## check and measure CUDA and TensorRT in ten minutes; figures to BENCH=…/gpu_check.json
	mkdir -p $(BENCH)
	$(BIN)/python benchmarks/gpu_check.py --out $(BENCH)/gpu_check.json

build/gpu/lite0.pth: | $(VENV)/.installed
	mkdir -p build/gpu
	$(BIN)/liveness-train fetch-init efficientnet_lite0 --out $@

gpu-pack: $(VENV)/.installed $(LITE0)  ## pack the faces of DATA, runs and weights for training on a machine with a GPU; says what to run
	$(BIN)/python recipes/gpu/pack.py $(DATA) $(PACK) --init efficientnet_lite0=$(LITE0) --init mobilenet_v2=$(MOBILENET)

evaluate: $(VENV)/.installed  ## error rates of the default bundle on DATA, through the service (PEERS=, HELD_OUT= add to it)
	$(BIN)/python recipes/default/evaluate.py $(DATA) --out $(OUT) \
		$(if $(wildcard $(PEERS)),--peer $(PEERS)) \
		$(foreach bundle,$(wildcard $(HELD_OUT)/bundles/without-*),--held-out $(patsubst without-%,%,$(notdir $(bundle)))=$(bundle))

lock: $(VENV)/.installed  ## write requirements/*.txt anew, after a change of versions or dependencies
	UV=$(BIN)/uv requirements/lock

platforms: $(VENV)/.installed  ## for which systems and versions of Python each pinned package has a wheel
	UV=$(BIN)/uv requirements/platforms

sbom: $(VENV)/.installed $(SERVE_VENV)/.installed  ## list what the service is made of, as CycloneDX, in sbom.json (SBOM=… names it)
	$(BIN)/python requirements/sbom.py --python $(SERVE_VENV)/bin/python --out $(SBOM)

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
	rm -rf $(VENV) $(SERVE_VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
