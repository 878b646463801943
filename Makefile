# Everything a user or a developer runs.  `make help` lists it.  Works with GNU make 3.81 (macOS).

PROFILE ?= mini
RUN ?= 1
LIMIT ?=
FORMAT ?=
WORKERS ?= 2
KILLS ?= 50
ARGS ?=

PYTHON_BIN := .venv/bin/python
STAMP := .venv/.bigain-installed

# One thread per process: two OpenMP threads on shared cores wait for each other.
# What runs here needs no network once it is installed, and must not look for one.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 WANDB_MODE=offline
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(OFFLINE)

ALL_TABLES := 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
PLAN_FLAGS := --profile $(PROFILE) $(if $(filter 0,$(RUN)),--no-run) $(if $(LIMIT),--limit $(LIMIT)) $(if $(GRID),--grid $(GRID)) $(ARGS)
TABLE_FLAGS := $(PLAN_FLAGS) $(if $(FORMAT),--format $(FORMAT))

.DEFAULT_GOAL := help
# Tables share runs: one after the other finds them done, two at once would meet at a lock.
.NOTPARALLEL:
.PHONY: help setup demo test test-slow slurm-check ray-check chaos lint format tables claims campaign figures report pareto dashboard bench bench-journal bench-unet bench-harness bench-workers gpu-check flops collect train-mini lock clean
.PHONY: $(addprefix table,$(ALL_TABLES))

help: ## list the targets
	@echo "usage: make TARGET [VARIABLE=value ...]"; echo
	@sed -n -e 's/^## \([^:]*\): /\1:## /p' -e '/^[a-z0-9-]*:.*## /p' Makefile \
	    | awk 'BEGIN {FS = ":.*## "} {printf "  %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  every target but help and clean sets .venv up first"

setup: $(STAMP) ## create .venv and install the exact versions of constraints.txt (nothing when up to date)

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	@sh scripts/setup.sh
	@touch $@

demo: $(STAMP) ## classify shipped images with five operators on both mini backbones: under 5 minutes, offline
	$(OFFLINE) $(PYTHON_BIN) -m bigain demo $(ARGS)

test: $(STAMP) ## all fast tests, offline; WORKERS=2 processes, ARGS="tests/operators -x"
	$(TEST_ENV) $(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-slow: $(STAMP) ## the tests that compute for minutes; those with pdflatex and chromium, if they are here
	$(TEST_ENV) $(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal -m slow $(ARGS)

slurm-check: $(STAMP) ## sweeps on a real Slurm of two nodes on this machine, with tasks killed: minutes; Debian: apt-get install slurm-wlm munge
	@scripts/slurm_local.sh start
	@status=0; eval "$$(scripts/slurm_local.sh env)"; \
	    $(TEST_ENV) $(PYTHON_BIN) scripts/check_sweeps.py slurm $(ARGS) || status=$$?; \
	    scripts/slurm_local.sh stop; exit $$status

ray-check: $(STAMP) ## sweeps on Ray with two workers, one killed: minutes; needs the extra ray (400 MB)
	$(TEST_ENV) $(PYTHON_BIN) scripts/check_sweeps.py ray $(ARGS)

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict, import-linter
	$(PYTHON_BIN) -m ruff check
	$(PYTHON_BIN) -m ruff format --check
	$(PYTHON_BIN) -m mypy
	.venv/bin/lint-imports

format: $(STAMP) ## let ruff repair and format the code
	$(PYTHON_BIN) -m ruff check --fix
	$(PYTHON_BIN) -m ruff format

## tableN: N = 1 ... 19: make its missing runs, render it; PROFILE=mini|paper RUN=0 (only render) FORMAT=tex,html (these too) LIMIT=20 (images) GRID=full (the paper's columns)
$(addprefix table,$(ALL_TABLES)): table%: $(STAMP)
	$(PYTHON_BIN) -m bigain table $* $(TABLE_FLAGS)

tables: $(STAMP) ## all 19, each run once; RUN=0 renders the finished runs; FORMAT=tex,html writes these too
	$(PYTHON_BIN) -m bigain table all $(TABLE_FLAGS)

campaign: $(STAMP) ## every missing run of all tables, with an estimate first; goes on where it stopped
	$(PYTHON_BIN) -m bigain table all $(PLAN_FLAGS) --dry-run | tail -n 1
	@status=0; $(PYTHON_BIN) -m bigain table all $(TABLE_FLAGS) || status=$$?; \
	    $(MAKE) claims figures report ARGS= || status=$$?; exit $$status

claims: $(STAMP) ## the paper's claims, from the committed runs: results/mini/claims.*, docs/results.md, README.md; starts no run
	$(OFFLINE) $(PYTHON_BIN) scripts/claims.py $(ARGS)

figures: $(STAMP) ## Figures 2-6 from what was measured; starts no run; ARGS="5 6"
	$(OFFLINE) $(PYTHON_BIN) -m bigain figures --profile $(PROFILE) $(ARGS)

report: $(STAMP) ## results/<profile>/report.html: tables, figures, runs, where they ran; PROFILE=mini|paper
	$(OFFLINE) $(PYTHON_BIN) -m bigain report --profile $(PROFILE) $(ARGS)

pareto: $(STAMP) ## results/<profile>/pareto.html and figures/pareto.png: quality against cost of every finished run; PROFILE=mini|paper
	$(OFFLINE) $(PYTHON_BIN) -m bigain pareto --profile $(PROFILE) $(ARGS)

dashboard: $(STAMP) ## the finished runs on a local page, without an account, until Ctrl-C; ARGS="--table 4 --port 7860"
	$(OFFLINE) $(PYTHON_BIN) -m bigain dashboard --profile $(PROFILE) $(ARGS)

chaos: $(STAMP) ## kill runs and sweeps at random moments, restart, compare with runs without a kill; KILLS=50
	$(TEST_ENV) $(PYTHON_BIN) scripts/chaos.py --kills $(KILLS) $(ARGS)

bench: $(STAMP) ## all benchmarks and their page, into results/benchmarks: over an hour on two idle cores; ARGS="--only engine operators", ARGS=--quick
	$(TEST_ENV) $(PYTHON_BIN) benchmarks/bench.py $(ARGS)

bench-journal: $(STAMP) ## opening, appending and counting journals of many records: minutes
	$(PYTHON_BIN) benchmarks/journal.py $(ARGS)

bench-unet: $(STAMP) ## time of the whole U-Net of SD-2.0 with each operator, random weights: minutes
	$(PYTHON_BIN) benchmarks/unet.py $(ARGS)

bench-harness: $(STAMP) ## what a mini run costs beside its denoiser, by part, into results/benchmarks
	$(TEST_ENV) $(PYTHON_BIN) benchmarks/harness.py --csv results/benchmarks/harness.csv $(ARGS)

bench-workers: $(STAMP) ## images per second of two workers over one, into results/benchmarks; idle cores, minutes
	$(TEST_ENV) $(PYTHON_BIN) benchmarks/workers.py --csv results/benchmarks/workers.csv $(ARGS)

gpu-check: $(STAMP) ## what only a GPU shows, without weights or network, into results/gpu: 8 minutes; no GPU: exit code 3; ARGS="--only correct"
	$(OFFLINE) $(PYTHON_BIN) benchmarks/gpu.py $(ARGS)

flops: $(STAMP) ## FLOPs of every operator; ARGS="--backbone dit_xl2_512 --format markdown"
	$(OFFLINE) $(PYTHON_BIN) -m bigain flops $(ARGS)

collect: $(STAMP) ## put the metrics of all finished runs into results/<profile>/runs.csv; ARGS=--check compares what is published
	$(PYTHON_BIN) -m bigain collect $(ARGS)

train-mini: $(STAMP) ## train both mini backbones from nothing (hours; resumes); needs the full Fashion-MNIST
	$(PYTHON_BIN) scripts/train_mini.py training=mini_unet $(ARGS)
	$(PYTHON_BIN) scripts/train_mini.py training=mini_dit $(ARGS)

lock: $(STAMP) ## write the versions installed in .venv to constraints.txt
	@{ grep '^#' constraints.txt; $(PYTHON_BIN) -m pip freeze --all --exclude-editable \
	    | grep -vE '^(pip|nvidia-.*|cuda-.*|triton)=='; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@touch $(STAMP)

clean: ## remove caches and what was built; .venv, results and trained weights stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis outputs multirun
	find bigain scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
