# Thin lines over the tools. `make sandbox` is all that a newcomer needs; `make check test` is what CI runs.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 4343
BIN = .venv/bin

.PHONY: install sandbox check test format lock clean

install: .venv/installed

# Everything is installed from the lock file, with hashes; the build backend too, so that nothing is fetched unlocked.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whoisd needs Python 3.11 or later: make PYTHON=...")'
	@echo "installing into .venv; this takes a little while the first time"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

sandbox: install
	@$(BIN)/whoisd sandbox --host $(HOST) --port $(PORT) $(ARGS)

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install
	$(BIN)/pytest

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pin the newest versions that pyproject.toml admits.
lock: install
	$(BIN)/uv pip compile --quiet --universal --all-extras --generate-hashes --no-header --no-emit-index-url \
	    --upgrade --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv
