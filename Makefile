# Everything runs from a bare clone with Python 3.10 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where the sets of faces lie, for `make records`: folders or zips in their publishers' layout.
CELEBA ?= data/celeba
LFW ?= data/lfw
FFHQ ?= data/ffhq

.PHONY: help demo test fuzz check bench records report format clean

help:
	@echo "make demo    protect a portrait and draw what a deepfake makes of it (no torch)"
	@echo "make test    run all tests (installs torch)"
	@echo "make fuzz    thousands of damaged files (UNMORPH_FUZZ of each format)"
	@echo "make check   formatter, linter and type checker"
	@echo "make bench   how fast photos are protected, by stage"
	@echo "make records the paper's whole experiment: hours (CELEBA=, LFW=, FFHQ= name the faces)"
	@echo "make report  docs/evaluation.md from the records in results/"
	@echo "make format  put the code into shape"

demo: $(VENV)/base
	$(BIN)/unmorph demo --refine 10 --out demo/unmorph-demo.png --overwrite

test: $(VENV)/dev
	$(BIN)/pytest

fuzz: $(VENV)/dev
	UNMORPH_FUZZ=$${UNMORPH_FUZZ:-5000} $(BIN)/pytest -m fuzz

check: $(VENV)/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/base
	$(BIN)/python scripts/bench.py

records: $(VENV)/dev
	for plan in paper internet; do \
		$(BIN)/unmorph experiment configs/experiments/$$plan.toml --data celeba=$(CELEBA) \
			--data lfw=$(LFW) --data ffhq=$(FFHQ) || exit 1; \
	done
	$(MAKE) report

report: $(VENV)/dev
	$(BIN)/unmorph figure heatmap $(wildcard results/channels/*.json results/crops/*.json) \
		$(wildcard results/photos/*.json) \
		-o docs/images/channels.png
	$(BIN)/unmorph report results/celeba-test.json results/lfw.json results/ffhq.json \
		$(wildcard results/framed/*.json) \
		$(wildcard results/paper-200/*.json results/paper-200/*/*.json) \
		$(wildcard results/paper/*.json results/deepfakes/*.json) \
		$(wildcard results/channels/*.json results/crops/*.json results/photos/*.json) \
		--picture docs/images/channels.png \
		$(addprefix --picture ,$(wildcard results/paper/*.png results/channels/*.png)) \
		-o docs/evaluation.md

format: $(VENV)/dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) demo

# Stamps: what is installed is renewed only when its list changes.
$(VENV)/base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/base
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[train,dev]"
	touch $@ $(VENV)/base
