# make demo | test | test-ray | check | bench | faults        everything runs inside .venv
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
BENCHMARKS ?= alignment inner_product vertical_training federated_training secure_sum large_table exchange_latency deployed_exchange fifty_nodes dp_sgd sweep simulation_grid federated_networks
PEER := .venv-openmined
RAY := .venv-ray
# Tests run side by side: threads of one process would wait for those of another.
test test-full: export OMP_NUM_THREADS = 1
PFL := .venv-pfl

.PHONY: demo test test-full test-ray faults check format bench clean

.venv/installed: pyproject.toml constraints.txt
	@echo "installing into .venv: two or three minutes"
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

# Simulations over Ray, which the development environment does without. Ray forgets its processes
# before they have ended, and Python says so when the tests are done.
test-ray: $(RAY)/installed
	$(RAY)/bin/python -m pytest -k ray -W ignore::pytest.PytestUnraisableExceptionWarning \
	  tests/contract/test_channel_contract.py tests/equivalence/test_backends.py \
	  tests/unit/test_transport_backends.py

faults: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m end_to_end.faults

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Peers to measure against, each in an environment of its own: they pin what we do not.
$(PEER)/installed:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet "openmined-psi==2.0.6"
	touch $(PEER)/installed

$(RAY)/installed:
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(RAY)/bin/python -m pip install --quiet --constraint constraints.txt --group dev \
	  --editable ".[simulation]"
	touch $(RAY)/installed

$(PFL)/installed:
	$(PYTHON) -m venv $(PFL)
	$(PFL)/bin/python -m pip install --quiet "pfl==0.6.0" "torch>=2.8,<2.14"
	touch $(PFL)/installed

bench: .venv/installed $(PEER)/installed $(RAY)/installed $(PFL)/installed
	for name in $(BENCHMARKS); do \
	  FEDMKT_OPENMINED_PYTHON=$(PEER)/bin/python FEDMKT_RAY_PYTHON=$(RAY)/bin/python \
	  FEDMKT_PFL_PYTHON=$(PFL)/bin/python \
	    $(BIN)/python benchmarks/$$name.py || exit 1; \
	done

clean:
	rm -rf .venv $(PEER) $(RAY) $(PFL) fedmkt-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
