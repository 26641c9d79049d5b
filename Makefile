# What each is for: CONTRIBUTING.md
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
ARGS ?=

.PHONY: install run test test-cluster lint format docs crds chart lock bench bench-quick clean

install: .venv/.installed

.venv/.installed: requirements/dev.txt pyproject.toml scripts/install
	scripts/install
	@touch $@

run: install
	$(PY) -m voke_cli demo $(ARGS)

test: install lint
	$(PY) -m pytest -n 3 --dist loadfile --ignore=tests/cluster $(ARGS)

# A real Kubernetes API and Helm, built from source at the first time: minutes, then seconds.
test-cluster: install
	$(PY) -m tests.cluster.binaries
	$(PY) -m pytest tests/cluster $(ARGS)

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
	$(PY) scripts/generate_docs.py

crds: install
	$(PY) scripts/generate_crds.py

chart: install
	$(PY) -m scripts.generate_chart

lock: install
	.venv/bin/uv pip compile pyproject.toml --extra operator --extra sim --group dev --group build --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 --quiet \
	    --output-file requirements/dev.txt
	.venv/bin/uv pip compile --group pyproject.toml:go --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 --quiet \
	    --output-file requirements/go.txt

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
