# The verbs. Each makes .venv and installs what it needs first; Python 3.11 or newer and make are all it takes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo open lab gallery test test-fast test-slow test-browser test-ray bench bench-gpu lint nbval figures clean
RUN ?= runs/demo
PROFILE ?= demo

help:
	@echo "make demo     render the embedded films, run all notebooks on them, end with runs/demo/report.html"
	@echo "make open     your own films: reads and encodes a folder (DIR=films), then shows them as a page on this machine"
	@echo "make test     lint, tests, and every notebook under nbval"
	@echo "make test-slow  what takes longer: whole runs, killed runs, every notebook run again by hand"
	@echo "make lab      JupyterLab on the same environment, on this machine only, with a token"
	@echo "make gallery  films, pairs, search and map of a finished run as a page, on this machine only, with a token (RUN=runs/demo)"
	@echo "make figures  tables and figures named by the paper's numbers, in runs/demo/paper (PROFILE=paper: of that finished run)"
	@echo "make test-browser  the live screens and the page in a real browser; needs Chromium"
	@echo "make test-ray installs Ray as well and runs the tests of the cluster engine, on this machine"
	@echo "make bench    each hot path against what others run, as ratios, in runs/bench/bench.json (make bench-gpu: on CUDA)"
	@echo "make lint     ruff, on the library, the tests and the notebooks"
	@echo "make clean    remove runs and caches (not .venv)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

$(INSTALLED)-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,browser]"
	@touch $@

$(INSTALLED)-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,ray]"
	@touch $@

$(INSTALLED)-bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[test,bench]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/m2s run demo

# Of another finished run only 09 runs again, whatever its other stages were told.
figures: $(INSTALLED)
	$(BIN)/m2s run $(PROFILE) $(if $(filter demo,$(PROFILE)),,--only 09)

# DIR=folder: your own films, read, encoded, and shown as a page.
open: $(INSTALLED)-browser
	$(BIN)/m2s open $(DIR)

lab: $(INSTALLED)
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=. $(if $(filter 0,$(shell id -u)),--allow-root)

gallery: $(INSTALLED)-browser
	$(BIN)/python -m m2s_lib.runs.report.gallery_page $(RUN)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In this order: one after the other, and nbval once where both are asked for (make test test-slow).
.NOTPARALLEL:
test: lint test-fast nbval

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not ray and not browser"

# Whole runs, killed processes, several processes: what takes more than ten seconds each.
test-slow: nbval
	$(BIN)/python -m tests.helpers.run_again runs/nbval/notebooks runs/nbval/run
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not ray and not browser"

# Every notebook in order, as papermill prepares it with the smoke profile.
nbval: $(INSTALLED)
	rm -rf runs/nbval
	$(BIN)/m2s prepare smoke --out runs/nbval/notebooks --run-dir runs/nbval/run
	$(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=120 -p no:xdist runs/nbval/notebooks

test-browser: $(INSTALLED)-browser
	M2S_NEED_BROWSER=1 $(BIN)/python -m pytest -n 0 -s tests/browser

test-ray: $(INSTALLED)-ray
	$(BIN)/python -m pytest -n 0 -m ray

bench: $(INSTALLED)-bench
	$(BIN)/python -m benchmarks

bench-gpu: $(INSTALLED)-bench
	$(BIN)/python -m benchmarks --device cuda --out runs/bench-gpu

clean:
	rm -rf runs .pytest_cache .ruff_cache .hypothesis
