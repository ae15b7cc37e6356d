# Two commands: `make run` and `make test`. The rest is for those who change the project.
# Needs Python >= 3.11 and a package index; uses uv where it is on PATH, else venv and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPLAYS := gb_2019_08_09_typical gb_2019_08_09 continental_split_2021_01_08 ercot_2021_02_15 inverter_ride_through uvls_delayed_recovery ieee39_islanding
UV := $(shell command -v uv 2>/dev/null)

ifeq ($(UV),)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
else
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
endif

.PHONY: run test rehearsal lint bench replays clean help
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## run the quickstart scenario
	$(BIN)/python run_cosim.py run quickstart

test: $(VENV)/.test  ## run the tests
	$(BIN)/python -m pytest -n 3 --dist loadgroup  # two cores, and a third worker since tests of devices mostly wait

rehearsal: $(VENV)/.hil  ## a live run of the bench of real devices, with stand-ins in their place
	$(BIN)/python run_cosim.py run hil_bench --live --operator "rehearsal"

lint: $(VENV)/.test  ## ruff, mypy, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test  ## the speed figures
	$(BIN)/python -m tests.bench $(ARGS)

replays: $(VENV)/.test  ## replay real events, and judge each by what was published of it
	@failed=0; for name in $(REPLAYS); do $(BIN)/python run_cosim.py run $$name --quiet || failed=$$((failed + 1)); done; \
	  echo "$(words $(REPLAYS)) replays, $$failed failed"; test $$failed = 0

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist

$(VENV)/.made:
ifeq ($(UV),)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gridtandem needs Python 3.11 or newer; $(PYTHON) is older. Name another one: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)
else
	$(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
endif
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e .
	@touch $@

$(VENV)/.hil: $(VENV)/.run
	$(INSTALL) -c constraints.txt -e '.[hil]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(INSTALL) -c constraints.txt -e '.[test]'
	@touch $@
