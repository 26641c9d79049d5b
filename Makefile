# What each is for: CONTRIBUTING.md
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
ARGS ?=

IMAGE_BUILDER ?= docker
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

.PHONY: install run test test-cluster cluster cluster-down image lint format docs crds chart lock bench bench-quick clean

install: .venv/.installed

.venv/.installed: requirements/dev.txt pyproject.toml scripts/install
	scripts/install
	@touch $@

run: install
	$(PY) -m voke_cli demo $(ARGS)

test: install lint
	$(PY) -m pytest -n 3 --dist loadfile --ignore=tests/cluster $(ARGS)

# A real Kubernetes API, Helm and CoreDNS, built from source at the first time: minutes, then seconds. Root also gets the images.
test-cluster: install
	$(PY) -m tests.cluster.binaries
	if [[ $$(id -u) == 0 ]]; then scripts/install-node && $(PY) -m tests.cluster.image; fi
	$(PY) -m pytest tests/cluster -n 2 --dist loadgroup $(ARGS)

# A cluster on this computer to try things in, as root: docs/try.md
cluster: install
	scripts/install-node
	$(PY) -m tests.cluster.by_hand up

cluster-down:
	$(PY) -m tests.cluster.by_hand down

# Both images, by IMAGE_BUILDER=docker or podman; ARGS="--platform linux/arm64", and so on: docs/image.md
image:
	for half in gateway operator; do \
	    $(IMAGE_BUILDER) build --target $$half --tag voke-fleet-$$half:$(VERSION) --build-arg VERSION=$(VERSION) \
	        --build-arg REVISION=$$(git rev-parse HEAD) $(ARGS) . || exit; \
	done

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: install
	$(PY) -m bench $(ARGS)

bench-quick: install
	$(PY) -m bench --quick $(ARGS)

docs: install
	$(PY) -m scripts.generate_docs

crds: install
	$(PY) scripts/generate_crds.py

chart: install
	$(PY) -m scripts.generate_chart

COMPILE := .venv/bin/uv pip compile --generate-hashes --no-emit-index-url --no-annotate --no-header --universal \
    --python-version 3.11 --quiet

lock: install
	$(COMPILE) pyproject.toml --extra operator --extra sim --group dev --group build --output-file requirements/dev.txt
	$(COMPILE) --group pyproject.toml:go --output-file requirements/go.txt
	$(COMPILE) --group pyproject.toml:build -c requirements/dev.txt --output-file requirements/build.txt
	$(COMPILE) --group pyproject.toml:gateway-image -c requirements/dev.txt --output-file requirements/gateway.txt
	$(COMPILE) --group pyproject.toml:operator-image -c requirements/dev.txt --output-file requirements/operator.txt

clean:
	if [[ -e build/cluster/pid ]]; then $(MAKE) cluster-down; fi
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
