# Two commands: `make study` and `make test`. Each sets everything up on its first call.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup study demo report check test chaos lint docs site clean bench

CONFIG ?= config.yaml
CORES ?= all
PROFILE ?= local
ARGS ?=
FORMAT ?= html
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
VENV_BENCH := .venv-bench
READY_BENCH := $(VENV_BENCH)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip install --quiet

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | column -t -s '|'

# The environment is made again when the lock or the project's metadata change.
$(READY): requirements.lock pyproject.toml
	@python=$$(for candidate in python3.13 python3.12 python3.11 python3 python; do \
	    if "$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$candidate"; break; fi; done); \
	if [ -z "$$python" ]; then \
	    echo "Error: no Python 3.11 or newer (with venv) was found; install one and run make again." >&2; exit 1; fi; \
	echo "Setting up $(VENV) with $$($$python --version) (once; torch is large)"; \
	"$$python" -m venv "$(VENV)"
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch "$@"

$(READY_DEV): $(READY) requirements-dev.lock
	@$(PIP) -r requirements-dev.lock
	@touch "$@"

setup: $(READY) ## Set up .venv from requirements.lock

study: $(READY) ## Run the study of CONFIG (default config.yaml) and make its report; PROFILE=slurm on a cluster
	@workflow/run.sh "$(BIN)" "$(CONFIG)" "$(CORES)" "$(PROFILE)" $(ARGS)

demo: ## A study of a few runs, in half a minute
	@$(MAKE) --no-print-directory study CONFIG=workflow/studies/demo.yaml

report: $(READY) ## Make Snakemake's own report of CONFIG (rules, code, provenance); FORMAT=zip for a zip
	@name=$$($(BIN)/vae-ablation study-name "$(CONFIG)"); new="results/$$name/snakemake-report.new.$(FORMAT)"; \
	$(BIN)/snakemake --configfile "$(CONFIG)" --report "$$new" 2>"results/$$name/snakemake-report.log"; \
	mv "$$new" "results/$$name/snakemake-report.$(FORMAT)"; \
	echo "Snakemake's report: $$PWD/results/$$name/snakemake-report.$(FORMAT)"

# A worker per core, up to four; each computes on one thread, since threads of busy workers wait for one another.
test: $(READY_DEV) ## Run the whole test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
	    --no-loadscope-reorder --durations 40 $(ARGS)

check: lint ## Check style and types, and run the tests that take no more than seconds each
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
	    -m "not workflow and not slurm and not browser and not chaos" --quiet \
	    tests/common tests/models tests/store tests/tables tests/jobs tests/report/findings tests/test_cli.py $(ARGS)

chaos: $(READY_DEV) ## Try every fault, also those that take minutes: 200 kills in training, the whole of tests/slurm
	@OMP_NUM_THREADS=1 VAE_ABLATION_KILLS=200 $(BIN)/python -m pytest -m "chaos or not chaos" \
	    tests/training/test_checkpoint.py tests/jobs/test_forkserver.py tests/report/test_embedding.py tests/workflow/test_kills.py \
	    tests/workflow/test_interruptions.py tests/workflow/test_missing.py tests/faults tests/slurm $(ARGS)

lint: $(READY_DEV) ## Check style, types and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

docs: $(READY) ## Write config/README.md from the schema and docs/catalogue.md from the parts
	@mkdir -p config docs; $(BIN)/python -c "from vae_ablation.study.config_reference import reference; print(reference(), end='')" > config/README.md
	@$(BIN)/python -c "from vae_ablation.jobs.catalogue import catalogue; print(catalogue(), end='')" > docs/catalogue.md

site: $(READY_DEV) ## Build the documentation as pages that open offline: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet; echo "Documentation: $$PWD/site/index.html"

# Peers have requirements of their own, and an environment apart.
$(READY_BENCH): pyproject.toml $(READY)
	@$(BIN)/python -m venv "$(VENV_BENCH)"
	@$(VENV_BENCH)/bin/python -m pip install --quiet -e ".[bench]"
	@touch "$@"

bench: $(READY_BENCH) ## Measure against peers, in .venv-bench (see benchmarks/RESULTS.md; takes half an hour)
	$(VENV_BENCH)/bin/python benchmarks/training.py --repeats 3 --figure benchmarks/training.png
	$(VENV_BENCH)/bin/python benchmarks/cells.py --datasets simulated --likelihoods negative_binomial --seeds 3 --no-grid
	$(VENV_BENCH)/bin/python benchmarks/study.py --no-single
	$(VENV_BENCH)/bin/python benchmarks/study.py --config benchmarks/gaussian.yaml

clean: ## Delete a study's results: make clean STUDY=default (asks first)
	@if [ -z "$(STUDY)" ]; then echo "Error: say which study: make clean STUDY=default" >&2; exit 1; fi; \
	case "$(STUDY)" in */*|.*) echo "Error: STUDY is '$(STUDY)'; allowed: the name of a folder in results/." >&2; exit 1;; esac; \
	if [ ! -d "results/$(STUDY)" ]; then echo "Error: there is no results/$(STUDY)." >&2; exit 1; fi; \
	read -r -p "Delete results/$(STUDY) ($$(du -sh "results/$(STUDY)" | cut -f1))? Type the study's name: " answer || true; \
	if [ "$$answer" != "$(STUDY)" ]; then echo "Nothing was deleted."; exit 1; fi; \
	rm -rf "results/$(STUDY)"; echo "Deleted results/$(STUDY)."
