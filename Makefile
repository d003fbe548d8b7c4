# make app: opens the app (PORT=8501; THAW_HEADLESS=1 opens no browser). make demo: opens it with the demo under way.
# make test: lint, types, every test.
# make screenshots: the pictures of the guide, taken anew from the real app.
# make bench: the speed scripts, each writing its section of docs/performance.md.
PORT ?= 8501
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: app demo test bench screenshots chromium

# Without the demo's dataset, as on a full disk, the app still opens and says so.
app: .venv/app.stamp
	-$(BIN)/python -m core.demo
	$(BIN)/streamlit run app.py --server.port $(PORT) $(if $(THAW_HEADLESS)$(CI),--server.headless true)

demo: .venv/app.stamp
	$(BIN)/python -m core.demo --run
	$(BIN)/streamlit run app.py --server.port $(PORT) $(if $(THAW_HEADLESS)$(CI),--server.headless true)

test: .venv/test.stamp chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

bench: .venv/test.stamp chromium
	set -e; for script in $(sort $(basename $(notdir $(wildcard benchmarks/speed_*.py)))); do \
	  $(BIN)/python -m benchmarks.$$script; \
	done

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

.venv/test.stamp: requirements-dev.txt requirements-keras.txt requirements-signin.txt requirements.txt | .venv/bin/python
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
