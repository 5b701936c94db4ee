# `make run` and `make test` do everything on a machine with Python 3.11 or newer. The rest is for development.
PYTHON ?= python3
CORES ?= $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
BIN := .venv/bin
READY := .venv/ready
MUTANTS := .venv/mutants/bin/python
COUNT ?= 150
SEED ?= 0

.PHONY: run test check compiled system lint types docs nano bench mutants scaling lock format clean help

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: $(READY) ## set everything up and run the quickstart study
	@echo "Running the study in config.yaml on $(CORES) cores: about 6 minutes on 2 cores the first time, seconds when nothing has changed."
	@$(BIN)/snakemake --cores $(CORES) --rerun-incomplete --quiet rules host

test: $(READY) ## set everything up and run all checks and tests
	@echo "Checking and testing: about 15 minutes on 2 cores."
	@$(MAKE) --no-print-directory --jobs 2 lint types system compiled
	@# Four workers, also on two cores: those of SLURM, for one, mostly wait.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

check: $(READY) ## lint, types and the quick tests of what differs from origin/main, or from SINCE: about a minute
	@$(MAKE) --no-print-directory --jobs 2 lint types
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.changed $(SINCE)

compiled: # by one process, and not by each of the thousand to come, where Python is told to keep nothing that it compiles
	@$(BIN)/python -m compileall -q --invalidation-mode checked-hash methods workflow
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --collect-only -q > /dev/null || true

system: # what some tests need, beside Python: as root on Debian
	@tests/install.sh slurm browser latex

lint: $(READY) ## style of Python and Snakemake files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

types: $(READY) ## the type checker
	$(BIN)/mypy

format: $(READY) ## rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

docs: $(READY) ## docs/methods.md from the declarations, the table of rooms in docs/architecture.md
	$(BIN)/python -m methods page > docs/methods.md
	$(BIN)/python -m tests.doors

nano: $(READY) ## train the embedded backbone anew: about an hour on 2 cores
	$(BIN)/python -m workflow.scripts.train_nano --out workflow/assets/nano

bench: $(READY) ## speed of extraction, of the engine and of towers in the loop, as ratios; what these cost a GPU, on paper
	$(BIN)/python -m benchmarks.extraction
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.cached
	$(BIN)/python -m benchmarks.towers
	$(BIN)/python -m benchmarks.adapted
	$(BIN)/python -m benchmarks.cost

mutants: $(READY) ## how many of COUNT small mistakes, drawn with SEED, the tests notice: about half an hour on 2 cores
	@test -x $(MUTANTS) || $(PYTHON) -m venv .venv/mutants
	@$(MUTANTS) -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/mutants.lock
	@$(MUTANTS) -m tests.mutants $(COUNT) $(SEED)

scaling: $(READY) ## memory and time of the jobs at ImageNet's size: about 5 minutes and 6 GB of disk
	$(BIN)/python -m benchmarks.scaling

lock: ## resolve pyproject.toml into requirements.lock, and what `make mutants` needs into tests/mutants.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra onnx --extra test --no-header -q pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q tests/mutants.in -o tests/mutants.lock

clean: ## remove what studies have made, but not the datasets
	rm -rf results features .snakemake

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv from requirements.lock: about 3 minutes and 7 GB, once. torch is the large part."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -c 'import workflow.lib.engine.steps' # compiled now, they are there when the first cell wants them
	@touch $(READY)
