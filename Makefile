# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
#
#   make demo                     run the main job: camera, node, recording, report in demo/
#   make demo SOURCE=video.mp4    the same on a real video
#   make test                     ruff, mypy, and every test that is not slow
#   make slow                     the slow tests
#   make campaign                 random inputs at the doors, signals, lifecycle cycles and a soak of ten minutes,
#                                 an hour and a half on two cores; MTL_PERCEPTION_SEED=S repeats a run
#   make docs                     the pages of docs/ and the API reference, in build/docs/html
#   make reference                the pages and the file of parameters that are made from tables, after a change there
#   make clean                    remove what make made

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?= street
OUTPUT ?= demo
DEMO_ARGUMENTS ?=
PYTEST_ARGUMENTS ?=

# Everything that pip copies: a change in one of them installs the package again, in seconds.
INSTALLED := setup.py setup.cfg pyproject.toml package.xml \
  $(shell find mtl_perception resource launch config scripts -type f -not -name '*.pyc')

export PYTHONNOUSERSITE := 1

.PHONY: demo test slow campaign docs reference clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed-demo
	@$(BIN)/mtl demo --source '$(SOURCE)' --output '$(OUTPUT)' $(DEMO_ARGUMENTS)

test: $(VENV)/installed-all
	@$(BIN)/ruff check . || { echo 'ruff found something: "$(BIN)/ruff check . --fix" mends most of it' >&2; exit 1; }
	@$(BIN)/mypy || { echo 'mypy found a type that does not fit: see the lines above' >&2; exit 1; }
	@$(BIN)/python -m pytest -m 'not slow and not gpu' $(PYTEST_ARGUMENTS)

slow: $(VENV)/installed-all
	@$(BIN)/python -m pytest -m 'slow and not gpu' --timeout 900 $(PYTEST_ARGUMENTS)
	@MTL_PERCEPTION_CAMPAIGN=1 $(BIN)/python -m pytest test/training/test_training_survives.py $(PYTEST_ARGUMENTS)

# Each test of test/campaign.py takes its share of this number; "make test" and "make slow" try a fiftieth.
campaign: $(VENV)/installed-all
	@MTL_PERCEPTION_EXAMPLES=$${MTL_PERCEPTION_EXAMPLES:-2000} $(BIN)/python -m pytest -m campaign --timeout 7200 $(PYTEST_ARGUMENTS)

# docs/api is made by Sphinx; pages of modules that are gone would stay in it and be a warning.
docs: $(VENV)/installed-all
	@rm -rf docs/api
	@$(BIN)/python -m sphinx -W --keep-going --quiet -j auto -d build/docs/cache docs build/docs/html
	@echo 'build/docs/html/index.html'

reference: $(VENV)/installed-all
	@for file in docs/parameters.md docs/topics.md config/camera.yaml; do \
	  $(BIN)/python -m mtl_perception.ros.reference $$file > $$file.new && mv $$file.new $$file || exit 1; done

clean:
	rm -rf $(VENV) build install log demo docs/api *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo 'Python 3.10 or newer is needed: install it, or name one with "make PYTHON=python3.12 $(MAKECMDGOALS)"' >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo 'the environment $(VENV) could not be made: on Debian and Ubuntu "sudo apt install python3-venv" brings what is missing' >&2; \
	  rm -rf $(VENV); exit 2; }

define install
	@echo 'installing mtl_perception[$(1)] into $(VENV); the first time that is $(2) and some minutes'
	@rm -rf build
	@$(BIN)/python -m pip install --quiet '.[$(1)]' || { \
	  echo 'the installation failed: check the network and the free disk space (about $(3)), then run make again; it goes on where it stopped' >&2; exit 2; }
	@touch $@
endef

$(VENV)/installed-demo: $(INSTALLED) | $(BIN)/python
	$(call install,ros-wheels$(comma)evaluate,0.7 GB,1 GB)

$(VENV)/installed-all: $(INSTALLED) | $(BIN)/python
	$(call install,all,7 GB$(comma) most of it torch$(comma),9 GB)
	@touch $(VENV)/installed-demo

comma := ,
