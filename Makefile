# Everything runs from .venv, which is made once and made again only when the requirements change.
# 3.11 is the Python that constraints.txt was tested with; without it, the newest that runs here, or one of uv's.
PYTHON ?= $(shell for version in 3.11 3.14 3.13 3.12; do \
	if python$$version -c "" 2> /dev/null; then echo python$$version; break; fi; done)
VENV := .venv
READY := $(VENV)/.ready

# Each of the many processes that tests start would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: ablation smoke test long coverage lint audit bench pictures docs

ablation: $(READY)
	$(VENV)/bin/python platform/run_sweep.py --space search_spaces/ablation.yaml

smoke: $(READY)
	$(VENV)/bin/python platform/run_sweep.py --space search_spaces/smoke.yaml

# Two processes, which keep two cores busy. The tests of a file, which may share a cluster, stay together, and the
# slowest files come first (tests/conftest.py).
test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

# Sweeps, measurements, packages and checks of a machine from end to end: half an hour more.
long: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

# `make test`, and the lines that it ran. Sweeps in processes of their own are not counted.
coverage: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" --cov --cov-report=term

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python .ci/identifiers.py
	$(VENV)/bin/mypy

# Known vulnerabilities of the pinned versions, by the network.
audit: $(READY)
	$(VENV)/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip --progress-spinner off

# Not chaos.py, which kills sweeps for an hour and has nothing to measure, nor gpu.py, which gpu.sh runs on a GPU.
bench: $(READY)
	for script in $(filter-out benchmarks/chaos.py benchmarks/gpu.py,$(sort $(wildcard benchmarks/[a-z]*.py))); do \
		PYTHONPATH=tests/helpers $(VENV)/bin/python "$$script" || exit 1; done

# The documentation as a site, its links checked: build/site/index.html
docs: $(READY)
	$(VENV)/bin/python docs/site.py

# Renews the pictures that open the README: make pictures RUN=results/NAME
pictures: $(READY)
	$(VENV)/bin/python docs/pictures.py $(RUN)

$(READY): requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || command -v uv > /dev/null || { \
		echo "make: no Python 3.11 to 3.14 here; install one, or uv, or name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(if $(PYTHON),$(PYTHON) -m venv $(VENV),uv venv --quiet --seed --python 3.11 $(VENV))
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt -c constraints.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
