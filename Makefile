# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs/demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
DOCS_STAMP := $(VENV)/.installed-docs
NPM_STAMP := node_modules/.installed
QUIET := TF_CPP_MIN_LOG_LEVEL=2
# The ends of the range of versions that setup.py admits, each with pins of its own in requirements/.
OLDEST_PYTHON ?= python3.10
NEWEST_PYTHON ?= python3.13
VENVS := .venvs
# Folder of MNIST's files for `make bench`; without it, TFDS is asked.
MNIST_DIR ?=
# The part of the tests that tells soonest whether versions fit.
MATRIX_TESTS := imports packaging config kept_arrays persistence ops losses networks golden_networks golden_losses \
  models stream readme

.PHONY: demo install test test-slow faults fuzz soak test-oldest test-newest lint bench bench-torch bench-all docs clean

demo: $(STAMP)  ## train UM, AT and TLA on the embedded digits, judge and analyse them, export one, write a report
	$(BIN)/tla-train-digits --method=um --output_dir=$(RUNS)/um
	$(BIN)/tla-train-digits --method=at --output_dir=$(RUNS)/at
	$(BIN)/tla-train-digits --method=tla --output_dir=$(RUNS)/tla
	$(BIN)/tla-evaluate --run_dir=$(RUNS)/um $(RUNS)/at $(RUNS)/tla --suite=quick --compare_dir=$(RUNS)
	$(BIN)/tla-analyze --run_dir=$(RUNS)/um $(RUNS)/at $(RUNS)/tla --compare_dir=$(RUNS)
	test -d $(RUNS)/tla/saved_model || $(BIN)/tla-export --run_dir=$(RUNS)/tla
	$(BIN)/tla-report --run_dir=$(RUNS)/um $(RUNS)/at $(RUNS)/tla --output=$(RUNS)/report.html
	@echo
	@echo "Done. Look at:"
	@echo "  report       $(RUNS)/report.html (one page, no network; report.md says the same)"
	@echo "  tables       $(RUNS)/table.md, $(RUNS)/analysis.md"
	@echo "  figures      $(RUNS)/*.png, $(RUNS)/*/figures/"
	@echo "  TensorBoard  $(BIN)/tensorboard --logdir $(RUNS)"
	@echo "  SavedModel   $(RUNS)/tla/saved_model"

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/pip install --quiet -e ".[dev]"
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet -e ".[docs]"
	@touch $@

$(NPM_STAMP): package.json package-lock.json
	npm install --no-audit --no-fund --silent
	@touch $@

test: lint $(NPM_STAMP)  ## lint and all tests that are not slow
	@# In two goes: a worker keeps what XLA has compiled until it ends.
	$(QUIET) $(BIN)/python -m pytest -n 2 --dist loadfile tests/[a-e]*_test.py
	$(QUIET) $(BIN)/python -m pytest -n 2 --dist loadfile tests/[f-z]*_test.py

test-slow: $(DEV_STAMP) $(NPM_STAMP)  ## the tests that take minutes
	$(QUIET) $(BIN)/python -m pytest -m slow || test $$? -eq 5  # 5: there are none

fuzz: $(DEV_STAMP)  ## 10,000 mutated files into every reader: a table of outcomes, build/fuzz.json; an hour or less
	@mkdir -p build
	$(QUIET) PYTHONPATH=tests $(BIN)/python -m campaigns.fuzz --output=build/fuzz.json --keep=build/fuzz

test-oldest test-newest: test-%: $(VENVS)/%/.installed  ## a fast part, with the oldest or newest versions admitted
	$(QUIET) $(<D)/bin/python -m pytest $(MATRIX_TESTS:%=tests/%_test.py)
	rm -rf $(<D)/run
	$(<D)/bin/tla-train-digits --preset=digits --network=mlp_16 --train_steps=100 --output_dir=$(<D)/run
	$(<D)/bin/tla-evaluate --run_dir=$(<D)/run --suite=quick --num_examples=50
	$(<D)/bin/tla-export --run_dir=$(<D)/run
	$(<D)/bin/tla-report --run_dir=$(<D)/run --output=$(<D)/run/report.html

$(VENVS)/oldest/.installed: python = $(OLDEST_PYTHON)
$(VENVS)/newest/.installed: python = $(NEWEST_PYTHON)
$(VENVS)/%/.installed: requirements/%.txt setup.py pyproject.toml
	$(python) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --upgrade pip
	$(@D)/bin/pip install --quiet --constraint $< --editable . hypothesis protobuf pytest
	@touch $@

faults: $(DEV_STAMP)  ## kills, two processes on one folder, full disks and cut power, over the tools: hours (docs/reliability.md)
	$(QUIET) PYTHONPATH=tests $(BIN)/python -m campaigns.faults --json=build/faults.json

soak: $(DEV_STAMP)  ## an hour of training, 200 evaluations and 100 trainings in one process: its memory, build/soak.json and .png
	$(QUIET) PYTHONPATH=tests $(BIN)/python -m campaigns.soak --json=build/soak.json --plot=build/soak.png

lint: $(DEV_STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV_STAMP)  ## the table of targets, build/bench.json: about 20 minutes on a quiet machine of 2 cores
	$(BIN)/python benchmarks/targets.py --json=build/bench.json --data_dir=$(MNIST_DIR)

bench-torch: $(DEV_STAMP) $(VENVS)/torch/.installed  ## PGD of torchattacks on the same networks: rows that `make bench` reads
	$(BIN)/python benchmarks/against_torch.py --torch_python=$(VENVS)/torch/bin/python --json=build/bench_torch.json

bench-all: bench $(DEV_STAMP)  ## all other comparisons, too
	$(BIN)/python benchmarks/attacks.py
	$(BIN)/python benchmarks/minimal_attacks.py
	$(BIN)/python benchmarks/auto_attack.py
	$(BIN)/python benchmarks/suite.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/cost_model.py

$(VENVS)/torch/.installed:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet torch torchvision scipy tqdm requests
	$(@D)/bin/pip install --quiet --no-deps torchattacks  # it pins others that its PGD does not need
	@touch $@

docs: $(DOCS_STAMP)  ## notebooks from their pages; pages and the reference of the library as a site, build/docs; links are checked
	$(BIN)/python docs/make_notebooks.py
	$(BIN)/python docs/build_site.py

clean:
	rm -rf $(VENV) $(VENVS) node_modules build *.egg-info
