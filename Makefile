# make app: opens the app (PORT=8501; THAW_HEADLESS=1 opens no browser). make demo: opens it with the demo under way.
# make test: lint, types, every test.
# make screenshots: the pictures of the guide, taken anew from the real app.
# make docs: the documentation site at http://127.0.0.1:8010, rebuilt as its files change. make site: builds it into site/.
# make bench: the speed scripts, each writing its section of docs/performance.md.
# make torture: what tries to make Thaw lose something, one after another, each writing its section of docs/reliability.md;
#   hours. TORTURE="kills fault_soak" takes those alone. One that finds something makes it fail, after the others.
PORT ?= 8501
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: app demo test docs site bench torture screenshots chromium faketime

TORTURE ?= torture_files fuzz long_line power_cuts kills fault_soak load

# Without the demo's dataset, as on a full disk, the app still opens and says so.
app: .venv/app.stamp
	-$(BIN)/python -m core demo --dataset-only
	$(BIN)/python -m core app --port $(PORT) $(if $(THAW_HEADLESS)$(CI),--headless)

demo: .venv/app.stamp
	$(BIN)/python -m core demo
	$(BIN)/python -m core app --port $(PORT) $(if $(THAW_HEADLESS)$(CI),--headless)

test: .venv/test.stamp chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Material for MkDocs announces its successor at every start.
docs site: export NO_MKDOCS_2_WARNING = 1

docs: .venv/test.stamp
	$(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8010

site: .venv/test.stamp
	$(BIN)/python -m mkdocs build --strict

bench: .venv/test.stamp chromium
	set -e; for script in $(sort $(basename $(notdir $(wildcard benchmarks/speed_*.py)))); do \
	  $(BIN)/python -m benchmarks.$$script; \
	done

torture: .venv/test.stamp chromium faketime
	@failed=; for script in $(TORTURE); do \
	  began=$$(date +%s); echo "== $$script"; \
	  $(BIN)/python -m benchmarks.$$script || failed="$$failed $$script"; \
	  echo "== $$script took $$(($$(date +%s) - began)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "Found something, or could not end:$$failed"; exit 1; fi

screenshots: .venv/test.stamp chromium
	$(BIN)/python -m assets.screenshots

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Thaw needs Python 3.11 or newer; \
	$(PYTHON) is {sys.version.split()[0]}. Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

# The stamps lie inside .venv, so that removing it starts over.
.venv/app.stamp: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@

.venv/test.stamp: requirements-dev.txt requirements-keras.txt requirements-signin.txt requirements-distributed.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $@ .venv/app.stamp

# The browser tests never skip: without Chromium this stops.
chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update && apt-get install -y --no-install-recommends chromium; \
	else \
	  echo "The browser tests need Chromium, and 'chromium' is not on the PATH. Install it (Debian: sudo apt-get install chromium)."; \
	  exit 1; \
	fi

# Sets the clock of the soak's processes; without it the soak leaves clock steps out, and says so.
faketime:
	-@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y --no-install-recommends libfaketime; }
