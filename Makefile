# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs/demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
NPM_STAMP := node_modules/.installed
QUIET := TF_CPP_MIN_LOG_LEVEL=2

.PHONY: demo install test test-slow lint bench clean

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

$(NPM_STAMP): package.json package-lock.json
	npm install --no-audit --no-fund --silent
	@touch $@

test: lint $(NPM_STAMP)  ## lint and all tests that are not slow
	$(QUIET) $(BIN)/python -m pytest -n 2

test-slow: $(DEV_STAMP) $(NPM_STAMP)  ## the tests that take minutes
	$(QUIET) $(BIN)/python -m pytest -m slow || test $$? -eq 5  # 5: there are none

lint: $(DEV_STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV_STAMP)  ## ratios against cleverhans, Foolbox, ART and the bare passes; survivors; reading; analysis
	$(BIN)/python benchmarks/attacks.py
	$(BIN)/python benchmarks/minimal_attacks.py
	$(BIN)/python benchmarks/auto_attack.py
	$(BIN)/python benchmarks/suite.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/analysis.py

clean:
	rm -rf $(VENV) node_modules build *.egg-info
