# Every target works from a fresh clone: the virtual environments are made on the way.
VENV ?= .venv
PY := $(VENV)/bin/python
# The thread counts of the libraries under test; the engines get theirs from the device files.
export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: help demo test lint types contracts unit bench package clean

help:
	@echo "make demo      compile, calibrate and run the packaged model (installs no torch)"
	@echo "make test      ruff, mypy, import contracts and all tests"
	@echo "make bench     the benchmarks of docs/, written to docs/"
	@echo "make package   sdist, wheel from the sdist, and the demo from that wheel"
	@echo "make lint      ruff, mypy and import contracts only"

demo: $(VENV)/.demo
	$(VENV)/bin/edgeexit demo

test: lint unit

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy -p edgeexit
	$(VENV)/bin/lint-imports

unit: $(VENV)/.dev
	$(PY) -m pytest

bench: $(VENV)/.dev
	$(PY) -m tests.benchmarks

package: $(VENV)/.dev
	sh .ci/package $(VENV)

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# What the demo needs and no more; where the dev environment stands, it has all of that.
$(VENV)/.demo: pyproject.toml constraints.txt
	@sh .ci/venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e ".[openvino,onnxruntime,compile]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@sh .ci/venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo
