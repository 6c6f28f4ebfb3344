# Everything runs from a bare clone with Python 3.10 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test fuzz check bench report format clean

help:
	@echo "make demo    protect a portrait and draw what a deepfake makes of it (no torch)"
	@echo "make test    run all tests (installs torch)"
	@echo "make fuzz    thousands of damaged files (UNMORPH_FUZZ of each format)"
	@echo "make check   formatter, linter and type checker"
	@echo "make bench   how fast photos are protected, by stage"
	@echo "make report  docs/evaluation.md from the records in results/"
	@echo "make format  put the code into shape"

demo: $(VENV)/base
	$(BIN)/unmorph demo --refine 10 --out demo/unmorph-demo.png

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

report: $(VENV)/dev
	$(BIN)/unmorph figure heatmap results/channels/*.json results/photos/*.json \
		-o docs/images/channels.png
	$(BIN)/unmorph report results/celeba-*.json results/lfw.json results/ffhq.json \
		results/channels/*.json results/photos/*.json \
		--picture docs/images/channels.png -o docs/evaluation.md

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
