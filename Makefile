# make demo | test | check | bench        everything runs inside .venv
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
BENCHMARKS ?= federated_training secure_sum large_table exchange_latency

.PHONY: demo test test-full check format bench clean

.venv/installed: pyproject.toml constraints.txt
	@echo "installing into .venv: about a minute"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch .venv/installed

demo: .venv/installed
	$(BIN)/fedmkt demo

test: .venv/installed
	@echo "a few minutes; test-full adds the slow ones"
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" -rfE

test-full: .venv/installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf .venv fedmkt-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
