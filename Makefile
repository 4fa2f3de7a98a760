# The commands of the README and of CONTRIBUTING.md. Nothing is needed beside Python 3.11+, make and a package index.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MINUTES ?= 2

.PHONY: demo test quick lint reference site docs-check tutorial parity golden bench soak clean

demo: $(VENV)/.installed
	@test -f corpora/shakespeare.txt || $(BIN)/charrnn corpus build shakespeare
	@run=checkpoints/demo; n=2; while [ -e $$run ]; do run=checkpoints/demo-$$n; n=$$((n+1)); done; \
	$(BIN)/charrnn train corpora/shakespeare.txt --minutes $(MINUTES) -o $$run && \
	printf '\n--- a sample at temperature 0.8 ---\n' && \
	$(BIN)/charrnn sample $$run --length 600 --temperature 0.8 --seed 1 && \
	printf '\n\nWhat to try next:\n  %s\n  %s\n  %s\n  %s\n  %s\n' \
	  "source $(BIN)/activate" \
	  "charrnn sample $$run --prime 'ROMEO:' --temperature 0.5" \
	  "charrnn cells $$run --highlight" \
	  "charrnn info $$run" \
	  "charrnn train your-own-text.txt"

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# A cross-section of every room: under a minute on two cores once the kernels are compiled.
quick: $(VENV)/.tested
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not (slow or browser or torch)'

lint: $(VENV)/.linted
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

# The reference of each command in docs/commands/, from what the commands say of themselves.
reference: $(VENV)/.installed
	$(BIN)/python pages/reference.py

# The site, into site/: open site/index.html. It fails where a link leads nowhere or a page is in no menu.
site: $(VENV)/.sited
	$(BIN)/python pages/reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# The commands and programs of README.md and docs/, run in small, and the pages that programs write. QUICK=--quick leaves
# out what is there twice, and the commands of measurements.
docs-check: $(VENV)/.tested
	$(BIN)/python pages/check.py $(QUICK)
	$(BIN)/python pages/tutorial.py --short

# The tests that run PyTorch beside charrnn; `make test` skips them where it is not installed.
parity: $(VENV)/.tested
	@$(BIN)/python -c 'import torch' || { echo "these tests need PyTorch: $(BIN)/python -m pip install torch==2.13.0" >&2; exit 1; }
	$(BIN)/python -m pytest -m torch

# Every command of the tutorial, run again; what they print goes into its pages. CHAPTER=docs/tutorial/3* runs one.
tutorial: $(VENV)/.installed
	$(BIN)/python pages/tutorial.py $(CHAPTER)

golden: $(VENV)/.installed
	@test -n "$(OLD)" || { echo "name the commit to compare this tree with, as in: make golden OLD=HEAD~1" >&2; exit 2; }
	$(BIN)/python tests/golden.py run --old "$(OLD)"

bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python benchmarks/torch_parity.py
	$(BIN)/python benchmarks/run.py

soak: $(VENV)/.tested
	$(BIN)/python soak/soak.py

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "charrnn needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": name another with make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

# Pyright reads what is imported, also what only the tests need.
$(VENV)/.linted: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lint]'
	@touch $@

$(VENV)/.sited: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[site]'
	@touch $@

clean:
	rm -rf $(VENV) build site *.egg-info
