# Every target works from a bare clone: it makes .venv and installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow sweep fuzz kill endurance lint format bench results docs wheel clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/installed ## Train and evaluate a Tensor-Train GRU on the built-in clips, with a report
	$(BIN)/python -m experiments.ucf11 --tt --maxlen 450

test: lint ## Lint, then the test suite (minutes)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--durations 15

test-slow: $(VENV)/installed-test ## The long tests
	$(BIN)/python -m pytest -m slow

sweep: $(VENV)/installed-test ## Videos of 90 kinds, and real ones, in every command against ffmpeg (minutes)
	$(BIN)/python -m tests.sweep

fuzz: $(VENV)/installed-test ## Some thousand damaged videos and other files through everything that reads them (half an hour)
	$(BIN)/python -m tests.fuzzing

kill: $(VENV)/installed-test ## 50 SIGKILLs each in extraction, training, classification and rendering (an hour and a half)
	$(BIN)/python -m tests.killing

endurance: $(VENV)/installed-test ## An hour of classification and one of training: memory and open files
	$(BIN)/python -m tests.endurance --subject classification
	$(BIN)/python -m tests.endurance --subject training

lint: $(VENV)/installed-test ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-test ## Mend what can be mended of the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed ## Frames/s: extraction against a bare OpenCV loop, training against the published order, classification
	$(BIN)/python -m preprocess demo data/demo/videos
	$(BIN)/python -m preprocess.benchmark data/demo/videos
	$(BIN)/python -m experiments.bench_tt
	$(BIN)/python -m experiments.bench_classify
	$(BIN)/python -m experiments.bench_ucf101
	$(BIN)/python -m experiments.bench_timesformer

results: $(VENV)/installed ## docs/results.md and the README's table, from experiments/results.csv
	$(BIN)/python -m experiments.results

docs: $(VENV)/installed-docs ## The documentation site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheel: $(VENV)/installed-test ## The wheel and the source archive, in dist/
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m build --no-isolation

clean: ## Remove .venv and caches (data/ and runs/ stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed: setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, but $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
