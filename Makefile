# The Cost Lab. `make book` builds the book, `make test` runs every check; `make help` lists the rest.
# All that is needed beforehand is Python 3.11; with another name for it: make PYTHON=/path/to/python3.11 …

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PY := $(BIN)/python
STAGE := $(PY) tools/stage.py
REPORT = --junitxml=_build/reports/$(1).xml
# One thread for torch in each of a few workers: oversubscribed cores make everything slow.
WORKERS := OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadscope
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install book test lint unit wheel check-notebooks check-book browser \
        lab serve notebooks experiments soak lock clean distclean \
        student instructor pdf slides workshop-kit

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(INSTALLED): requirements.txt pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py
	@touch $@

install: $(INSTALLED) ## create .venv with the pinned packages and costlab, editable

book: $(INSTALLED) ## build the book; nothing is executed, the outputs are committed
	@$(PY) tools/book.py

test: $(INSTALLED) ## every check, whatever fails: style, tests, notebooks, book, browser
	@$(STAGE) --start
	@failed=0; \
	$(MAKE) --no-print-directory --keep-going lint unit wheel check-notebooks check-book browser || failed=1; \
	$(STAGE) --sum && exit $$failed

lint: $(INSTALLED)
	@$(STAGE) format $(PY) -m ruff format --check .
	@$(STAGE) lint $(PY) -m ruff check .
	@$(STAGE) spelling $(BIN)/codespell book costlab experiments notebooks tests tools *.md

unit: $(INSTALLED) ## the tests alone, without notebooks, book and browser
	@$(STAGE) --show "unit tests" env $(WORKERS) -m "not soak and not browser" $(call REPORT,unit)

wheel: $(INSTALLED)
	@$(STAGE) wheel $(PY) tools/wheel.py

check-notebooks: wheel
	@$(STAGE) --show notebooks $(PY) tools/notebooks.py --check

check-book: $(INSTALLED)
	@$(STAGE) book $(PY) tools/book.py --force

browser: book
	@$(STAGE) --show browser $(PY) -m pytest -n 2 --dist loadfile -m browser $(call REPORT,browser)

notebooks: $(INSTALLED) ## execute the notebooks and save their outputs; REPO=https://github.com/you/fork moves them
ifdef REPO
	@$(PY) tools/repo.py $(REPO)
endif
	@$(PY) tools/notebooks.py --execute

experiments: $(INSTALLED) ## the longer runs behind costlab/results, one after the other
	@for file in experiments/[a-z]*.py; do \
	  [ -e "$$file" ] || { echo "There is no experiment yet."; break; }; \
	  $(STAGE) --show "$$file" $(PY) "$$file" || exit 1; \
	done

soak: $(INSTALLED) ## the long tests: timings alone, then kills, audits, editions
	@failed=0; \
	$(STAGE) --show benchmarks env OMP_NUM_THREADS=1 $(PY) -m pytest -m soak --timeout 3600 tests/benchmarks $(call REPORT,benchmarks) || failed=1; \
	$(STAGE) --show "soak tests" env $(WORKERS) -m soak --timeout 3600 --ignore tests/benchmarks $(call REPORT,soak) || failed=1; \
	$(STAGE) --sum && exit $$failed

lab: $(INSTALLED) ## open JupyterLab on the notebooks
	@$(BIN)/jupyter-lab notebooks

serve: book ## serve the built book on this machine, port 8000 (PORT=… for another)
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(or $(PORT),8000)

student: $(INSTALLED) ## notebooks for a class: stubs, no solutions, no outputs
	@$(PY) tools/editions.py student

instructor: $(INSTALLED) ## notebooks to teach from: solutions, teaching notes, minutes
	@$(PY) tools/editions.py instructor

pdf: book ## the whole book as one PDF, by Chromium or Chrome
	@$(PY) tools/pdf.py

slides: $(INSTALLED) ## a deck for every chapter, offline, with speaker notes
	@$(PY) tools/slides.py

workshop-kit: book ## one zip for a room without a network
	@$(PY) tools/kit.py

lock: $(INSTALLED) ## pin in requirements.txt what .venv holds now
	@$(PY) tools/lock.py

clean: ## remove everything built; the environment stays
	rm -rf .venv-wheel _build dist .pytest_cache .ruff_cache .hypothesis

distclean: clean ## remove the environment too
	rm -rf .venv
