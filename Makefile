# make setup: an environment in .venv; make demo: the whole workflow on synthetic radiographs (make demo-fast: smaller); make test: linter and quick tests; make test-slow: the others
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# is there while pip writes
UNFINISHED := $(VENV)/.unfinished
REPORT := $(VENV)/doctor.txt
SIZE := about 5 GB of disk, 5 to 15 minutes by the network
# that of Debian 12 is 23.0, which was not tried
PIP := 'pip>=25.1,<27'
INPUTS := setup.cfg pyproject.toml constraints.txt

# as a URL, because pip splits this variable at spaces; it also reaches the packages that pip builds from source
empty :=
export PIP_CONSTRAINT := file://$(subst $(empty) ,%20,$(CURDIR))/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo demo-fast test test-slow test-pacs lint docs clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

# pip installs all packages at the versions of constraints.txt, setup_api the Object Detection API, whose own requirements pip cannot use.
# What an installation that was killed has left is not trusted: pip takes a package of which it has written a part for a whole one. The stamp is
# written where doctor has no error.
$(STAMP): $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; say which by make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Set-up: an environment in $(VENV), $(SIZE). Only the first time."
	@if test -e $(UNFINISHED); then echo "An earlier set-up was stopped: beginning anew."; $(PYTHON) -m venv --clear $(VENV); fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $(UNFINISHED)
	@echo "1 of 4: pip"
	@$(BIN)/python -m pip install --quiet $(PIP)
	@echo "2 of 4: TensorFlow and about 180 other packages"
	@$(BIN)/python -m pip install --quiet -e '.[all,test]'
	@echo "3 of 4: the Object Detection API"
	@$(BIN)/python tools/setup_api.py
	@rm $(UNFINISHED)
	@echo "4 of 4: does it work?"
	@$(BIN)/python tools/doctor.py --extra all --extra test > $(REPORT) || \
	  { grep -A1 ERROR $(REPORT); echo "Not ready. What is above has to be fixed; then: make setup. Or begin anew: make clean setup"; exit 1; }
	@touch $(STAMP)
	@echo "Ready. Use it by: . $(VENV)/bin/activate"

demo: $(STAMP)
	$(BIN)/python tools/demo.py

# the same, smaller and less well trained, for a first look
demo-fast: $(STAMP)
	$(BIN)/python tools/demo.py --fast

# style, the rooms and the direction of imports, types
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

# the reference, from parsers and docstrings
docs: $(STAMP)
	$(BIN)/python docs/make_reference.py

# compiled files are kept even where the environment forbids it: 250 modules are imported by each worker and by every command that a test starts
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: lint
	$(PYTEST) -m "not slow"

# large architectures, several processes that train together, kill loops: what continuous integration runs beside
test-slow: $(STAMP)
	$(PYTEST) -m slow

# installs Orthanc (GPL, a program of its own; nothing of it is in the package) and its DICOMweb plug-in, and runs the round trip against it
test-pacs: $(STAMP)
	command -v Orthanc >/dev/null || { apt-get update && apt-get install -y --no-install-recommends orthanc orthanc-dicomweb dcmtk && service orthanc stop; }
	$(BIN)/python -m pytest -rs tests/apps/pacs tests/dicom/net

clean:
	rm -rf $(VENV) build *.egg-info tools/*.egg-info
