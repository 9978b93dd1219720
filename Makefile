# make demo and make test need nothing but Python 3.10+ and make: each builds its own virtual environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYVER  := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
READY  := $(VENV)/ready-$(PYVER)

export MPLBACKEND = Agg

.PHONY: help setup demo test bench notebooks readme clean

help:
	@echo "make setup      build $(VENV) with everything for development (PYTHON=python3.12 chooses the interpreter)"
	@echo "make demo       train on the Adult data with an AUROC column, check it, draw roc.png"
	@echo "make test       style, exported modules, notebooks and all tests"
	@echo "make bench      time and check the scorers beside other libraries, some minutes (BENCH=--quick: one or two); writes benchmarks/results"
	@echo "make notebooks  run the notebooks and save their outputs"
	@echo "make readme     write README.md from nbs/index.ipynb"
	@echo "make clean      remove $(VENV) and whatever else was built"

setup: $(READY)

$(READY): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("fastai_auroc needs Python 3.10 or newer, this is %s: make PYTHON=python3.12 ..." % sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	@[ "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(PYVER)" ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python examples/adult.py

test: setup
	$(BIN)/chkstyle
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/scorers.py $(BENCH)

notebooks: setup
	$(BIN)/nbdev-export
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONWARNINGS=ignore $(BIN)/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace nbs/*.ipynb
	$(BIN)/nbdev-clean

readme: setup
	$(BIN)/python docs/readme.py

clean:
	rm -rf $(VENV) build dist *.egg-info _proc .pytest_cache .hypothesis models roc.png history.csv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
