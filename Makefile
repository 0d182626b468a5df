# `make help` lists what there is. Needed: Python 3.11 or newer, network for the first `make setup`.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

# uv builds the environment. A uv that is installed is used; else pip fetches one into .cache, where
# no system package manager minds.
UV ?= $(or $(shell command -v uv 2>/dev/null),$(wildcard .cache/uv/bin/uv),.cache/uv/bin/uv)

# The first of these that is new enough makes the environment; name another with PYTHON=...
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(if $(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print(1)' 2>/dev/null),$(name))))

# Real photos, where this checkout has them beside it: tests that need them skip elsewhere.
ifndef LEAFSCOUT_DATA
ifneq ($(wildcard ../shared/data/.),)
export LEAFSCOUT_DATA := $(abspath ../shared/data)
endif
endif

# Every process gets one thread: several that each take all cores slow each other down.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
test test-faults test-kills bench: export OMP_NUM_THREADS := 1

.PHONY: help setup demo test test-faults test-kills check bench docs requirements licences sbom
.PHONY: audit-dependencies

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r name what; do printf '%-20s %s\n' "$$name" "$$what"; done

setup: $(STAMP) ## Make the environment .venv from the pinned, hashed requirements

$(STAMP): requirements/dev.txt pyproject.toml | $(UV)
	@test -n "$(PYTHON)" || { \
		echo "LeafScout needs Python 3.11 or newer, and none was found." \
			"Install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(RUN)/python || $(UV) venv --quiet --python "$(PYTHON)" $(VENV)
	$(UV) pip sync --quiet --python $(RUN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(RUN)/python --no-deps --editable .
	@touch $@

.cache/uv/bin/uv:
	@echo "uv was not found: fetching it into .cache/uv"
	@test -n "$(PYTHON)" || { echo "LeafScout needs Python 3.11 or newer." >&2; exit 1; }
	@mkdir -p .cache
	@if "$(PYTHON)" -m venv .cache/uv >/dev/null 2>&1; then \
		.cache/uv/bin/python -m pip install --quiet uv; \
	else \
		rm -rf .cache/uv; "$(PYTHON)" -m pip install --quiet --target .cache/uv uv; \
	fi

demo: $(STAMP) ## Render a small field, train on it, diagnose, and write a report: about 4 minutes
	$(RUN)/leafscout demo

test: $(STAMP) ## Run all tests
	$(RUN)/python -m pytest -q -n $(JOBS)

test-faults: export LEAFSCOUT_FAULT_RESULTS := $(abspath benchmarks/results/reliability.json)
test-faults: $(STAMP) ## Run the long part of the fault tests, and write down what they measured
	$(RUN)/python -m pytest -q -m faults $(if $(CORPUS),--corpus $(CORPUS)) tests/faults

check: $(STAMP) ## Lint, format, types and the direction of imports
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

# Kills that are done are kept one by one: this can be stopped and gone on with.
KILLS ?= 200
test-kills: export LEAFSCOUT_FAULT_RESULTS := $(abspath benchmarks/results/reliability.json)
test-kills: $(STAMP) ## Kill small trainings at 200 moments, go on with them, compare: about half an hour
	@mkdir -p runs/kills
	$(RUN)/python tests/faults/kill_trainings.py --kills $(KILLS) --work runs/kills \
		--out runs/kills/kills.json --name "kills of trainings"

# What needs no photos, and no run, that this checkout does not render itself. QUICK=1 proves in some
# minutes that all of them work; its figures mean nothing and go to runs/speed/quick.
QUICK ?=
bench: $(STAMP) ## Run the benchmarks that need no data of their own: about an hour, or QUICK=1
	@mkdir -p runs/speed/quick
	$(RUN)/python benchmarks/synthetic_speed.py $(if $(QUICK),2)
	$(if $(QUICK),,$(RUN)/python benchmarks/synthetic_shortcut.py)
	$(RUN)/python benchmarks/promise_coverage.py $(if $(QUICK),--resamples 20 --out runs/speed/quick/promise_coverage.json)
	$(RUN)/python benchmarks/decode_speed.py $(if $(QUICK),--quick)
	$(RUN)/python benchmarks/zoo.py $(if $(QUICK),--quick --work runs/speed/quick/zoo,--again)
	$(RUN)/python benchmarks/file_to_diagnosis.py $(if $(QUICK),--quick)
	$(RUN)/python benchmarks/growth.py $(if $(QUICK),--quick)
	$(RUN)/python benchmarks/folder_throughput.py $(if $(QUICK),--quick)

docs: $(STAMP) ## Write the maps, tables and drawings anew, and check what the documents say
	$(RUN)/python docs/write_maps.py
	$(RUN)/python docs/write_tables.py
	$(RUN)/python docs/draw_method.py
	$(RUN)/python -m pytest -q tests/test_project.py tests/test_method_doc.py

# No machine's paths or hosts enter the files: they hold names, versions and hashes.
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml

requirements: | $(UV) ## Refresh requirements/*.txt to the newest releases that fit together
	$(UV) $(LOCK) --upgrade --extra train --extra export --extra openvino --group dev --output-file requirements/dev.txt
	$(UV) $(LOCK) --constraints requirements/dev.txt --extra train --output-file requirements/train.txt
	$(UV) $(LOCK) --constraints requirements/dev.txt --output-file requirements/base.txt

licences: $(STAMP) ## List the licences of all that is pinned, and refuse those not allowed
	$(RUN)/python requirements/check_licences.py

sbom: $(STAMP) ## Write bills of materials (CycloneDX) into build/sbom; needs the package index
	$(RUN)/python requirements/write_sbom.py

audit-dependencies: $(STAMP) ## Ask for known vulnerabilities; fails when nobody really answers
	$(RUN)/python requirements/audit_dependencies.py
