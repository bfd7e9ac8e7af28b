# Two commands do everything: `make demo` and `make test`. Each first sets up .venv (once).
#   PYTHON=python3.12   another interpreter, 3.11 to 3.13
#   JOBS=4              processes of `make test`
#   GPU=1               the GPU build of FBGEMM; needs an NVIDIA driver (a CUDA build of torch alone does not)

PYTHON ?= python3
VENV ?= .venv
GPU ?= 0
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready-gpu$(GPU)
DOCS := .venv-docs

.PHONY: setup demo test lint test-slow test-gpu bench bench-check bench-gpu bench-peers reproduce-frappe docs clean

setup: $(READY)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	  sys.exit(0 if ok else "ctrgate needs Python 3.11 to 3.13, this is %d.%d; run make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock torch==2.13.0
ifeq ($(GPU),1)
	sed 's/^fbgemm-gpu-cpu==/fbgemm-gpu==/' requirements.lock > $(VENV)/requirements.lock
else
	cp requirements.lock $(VENV)/requirements.lock
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $(VENV)/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup
	$(BIN)/python -m pipelines.demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Files of tests are spread over processes, which hold some GiB each.
test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

# One after the other: many kill something while it works, and need the cores that it needs.
test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu"

# Needs a GPU and its build of FBGEMM (make setup GPU=1).
test-gpu: setup
	$(BIN)/python -m pytest -m gpu

# An hour, a table for each: every stage beside the common way and the machine's limit (whose figures are
# kept in benchmarks/figures), forms of scoring, the scan of Mamba, what a step costs as tables grow, what rows cost as
# rows, fields and histories grow, training in workers.
bench: setup
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.scan
	$(BIN)/python -m benchmarks.vocabulary
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.workers

# Some minutes: fails where a ratio of `make bench` is a fifth below the one kept for such a CPU.
bench-check: setup
	$(BIN)/python -m benchmarks.speed --check --turns 3 --stages prepare read train evaluate score auc

# Two minutes on a GPU (after make setup GPU=1): training beside its limit, the scan beside a loop and the kernel of mamba-ssm.
bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m benchmarks.scan --device cuda

# Half an hour; installs FuxiCTR, DeepCTR-Torch and RecBole from the package index, each into an environment of its own
# under .peers, and lets them take turns with ctrgate on the same rows. For Frappe_x1, CTRGATE_DATA says where it lies.
bench-peers: setup
	$(BIN)/python -m benchmarks.peers

# Hours on two cores: every Frappe run file over three seeds; prints the table of docs/reproductions.md.
reproduce-frappe: setup
	$(BIN)/python -m benchmarks.reproduce_frappe

# build/docs/site/index.html: the pages of docs/ with a reference made of the code. Packages come from the index once;
# building and reading ask for no network.
docs: setup $(DOCS)/.ready
	$(BIN)/python -m docs.site
	PYTHONPATH=$(CURDIR) $(DOCS)/bin/zensical build --strict --config-file build/docs/mkdocs.yml
	@echo build/docs/site/index.html

$(DOCS)/.ready: docs/site/requirements.lock
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

clean:
	rm -rf $(VENV) $(DOCS) .peers build demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
