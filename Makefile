# Thin lines over the tools. `make sandbox` is all that a newcomer needs; .ci/run is what CI runs.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 4343
BIN = .venv/bin

.PHONY: install clients sandbox screenshots bench bench-load bench-peers bench-server bench-visible bench-web check test test-compiled faults breaks debian fuzz fuzz-targets fuzz-wire fuzz-replay mutants
.PHONY: schemas format lock clean help man coverage compiled container container-check deb release release-check pythons

help: # what each command does
	@sed -n 's/^\([a-z-]*\):[^#]*# \(.*\)/\1\t\2/p' Makefile | expand -t 16

install: .venv/installed # the command, into .venv

# Everything is installed from the lock file, with hashes; the build backend too, so that nothing is fetched unlocked.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whoisd needs Python 3.11 or later: make PYTHON=...")'
	@echo "installing into .venv; this takes a little while the first time"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# JavaScript clients that tests ask, from their lock file, with hashes.
CLIENTS = tests/clients/node_modules/.package-lock.json
clients: $(CLIENTS) # the JavaScript clients that tests ask

$(CLIENTS): tests/clients/package.json tests/clients/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: apt-get install nodejs npm" >&2; exit 1; }
	@npm ci --prefix tests/clients --loglevel=error
	@touch $@

sandbox: install # a server over a small registry, with a PostgreSQL of its own; HOST=, PORT=, ARGS=
	@$(BIN)/whoisd sandbox --host $(HOST) --port $(PORT) $(ARGS)

screenshots: install clients # a picture of each view of the pages, wide and narrow, light and dark, into .screenshots/
	$(BIN)/pytest tests/integration/test_page.py tests/integration/test_report_page.py --screenshots .screenshots

# What is measured is what a platform's package has: the compiled build, on the system's interpreter where there is one.
BENCH_PYTHON = $(firstword $(wildcard /usr/bin/python3) $(PYTHON))
bench-server: install # the compiled build in an environment of its own, for the next two
	rm -rf .venv/bench
	$(BENCH_PYTHON) tools/make_compiled.py .venv/bench/wheel
	$(BIN)/uv venv --quiet --allow-existing --python $(BENCH_PYTHON) .venv/bench
	$(BIN)/uv pip install --quiet --python .venv/bench/bin/python --require-hashes --requirement requirements-server.lock
	$(BIN)/uv pip install --quiet --python .venv/bench/bin/python --no-deps .venv/bench/wheel/*.whl

# What an answer costs, against the floor; some ten minutes, and five more the first time, which makes the registries.
bench: bench-server # what an answer costs, against a floor in C; ten minutes
	$(BIN)/python bench/cost.py --python .venv/bench/bin/python --results bench/results $(ARGS)

bench-peers: bench-server # what it costs two other servers, uwhoisd and whois42d, in the same run; five minutes
	$(BIN)/python bench/other_servers.py .venv/bench/bin/python $(ARGS)

# How long a load of the whole registry takes, and what it takes; some five minutes.
bench-load: install # how long it takes to load 1.3 million domains; five minutes
	$(BIN)/python bench/load.py $(ARGS)

# How soon a change in the database is visible on port 43, with and without load; a minute.
bench-visible: install # how soon a change is visible; a minute
	$(BIN)/python bench/visible.py $(ARGS)

# What an answer over HTTP costs, against a static one, and what HTTP's clients cost port 43; some four minutes.
bench-web: install # what REST and RDAP cost, against a static answer of uvicorn; four minutes
	$(BIN)/python bench/web.py $(ARGS)

check: install # ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two tests at a time, and at last, one by one, those that judge how soon something is done.
test: install $(if $(shell command -v npm),clients) # all tests but those that take minutes
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m "not alone"
	$(BIN)/pytest -m alone

test-compiled: install # the tests on the compiled build, in an environment of its own
	.ci/compiled

# What takes minutes: the server under load while everything around it fails.
faults: install # the server under load while everything around it fails; minutes
	$(BIN)/pytest tests/faults

# The server broken in one place at a time, in a copy: do the tests of faults notice? Some 25 minutes.
BREAKS =
breaks: install # breaks the server in one place at a time: do the tests of faults notice? BREAKS=
	PYTHONPATH=tests $(BIN)/python -m faults.run_breaks $(BREAKS)

# By the schemas that others publish, which are not ours to keep here. EPP: RFC 5730, RFC 5733 and the registry, all of them in
# a checkout of Punktum-dk/epp-xsd-files. RDAP: a checkout of icann/rdap-conformance-tool. What is not there is skipped.
SCHEMAS = ../epp-xsd-files
RDAP_SCHEMAS = ../rdap-conformance-tool
schemas: install # EPP frames and RDAP answers validated by the published schemas; SCHEMAS=, RDAP_SCHEMAS=
	$(BIN)/pytest tests/schemas $(if $(wildcard $(SCHEMAS)),--schemas $(SCHEMAS)) $(if $(wildcard $(RDAP_SCHEMAS)),--rdap-schemas $(RDAP_SCHEMAS))

# For Debian 12 and 13: dist/whoisd_VERSION_amd64.deb. Compiled for each of their Pythons that is here with its headers.
deb: install # the Debian package, into dist/
	$(BIN)/python tools/make_deb.py

# The package's life on Debian 12 and 13, and the manual's pages for operators typed at a Debian that is made for it; much of Debian's
# mirror.
debian: deb # the Debian package and the manual for operators, tried at Debians that it makes
	$(BIN)/pytest tests/operator

# The image, with podman or what CONTAINER says: Debian's image, Debian's packages and the lock file's are fetched.
CONTAINER ?= podman
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
container: # the container image, localhost/whoisd:VERSION; CONTAINER=
	$(CONTAINER) build --format docker --file container/Containerfile --tag localhost/whoisd:$(VERSION) --tag localhost/whoisd:latest .

container-check: .venv/container # the image and the compose file, on a Debian that it makes
	$(BIN)/pytest tests/container

# Each target of tests/fuzz for so many seconds, guided by coverage; then a great many odd clients at a running server.
SECONDS = 60
TARGETS =
CONNECTIONS = 100000
SEED = 0
fuzz: fuzz-targets fuzz-wire # both of the next two

fuzz-targets: .venv/fuzz # odd input, guided by coverage; SECONDS=, TARGETS=
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) --seed $(SEED) $(TARGETS)

fuzz-wire: install # odd clients at a running server; CONNECTIONS=, SEED=
	$(BIN)/pytest -s tests/faults/test_wire.py --connections $(CONNECTIONS) --seed $(SEED)

# What an input does to its target; needs nothing but what the tests need.
fuzz-replay: install # what an input does; FILE=
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --replay $(FILE)

# Each of these modules changed in one place at a time: do its tests notice? Minutes of one core for each.
MODULES =
mutants: .venv/mutation # changes the modules that decide: do their tests notice? MODULES=
	PYTHONPATH=tests $(BIN)/python -m mutation.run $(MODULES)

# What only these commands need, from a lock file of its own.
.venv/fuzz .venv/mutation .venv/container: .venv/%: .venv/installed tests/%/requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/$*/requirements.lock
	@touch $@

# In dist/VERSION, from a commit that is tagged: both packages, the bill of what is in them, the lock file, the checksums.
release: install # sdist, wheel, CycloneDX bill and checksums of the tagged commit, the same bytes each time
	$(BIN)/python tools/make_release.py

# For the interpreter that PYTHON names and machines like this one; it takes a C compiler and that interpreter's headers.
compiled: # the wheel with the serving path compiled, into dist/; PYTHON=
	$(PYTHON) tools/make_compiled.py dist

# The packages, built twice, and tried by themselves.
release-check: install # builds sdist and wheel twice, and tries the wheel that came of the sdist in an empty environment
	$(BIN)/pytest -s tests/release

# Which branches of the code the tests take, in the server's processes and the commands too.
coverage: install # which lines and branches the tests reach; .coverage.d/ has it as HTML
	rm -rf .coverage.d && mkdir .coverage.d
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/coverage run -m pytest --numprocesses 2 --dist worksteal -m "not alone" || true
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(BIN)/coverage run -m pytest -m alone || true
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report

pythons: install # unit, property and golden tests on every other Python from 3.11 to 3.14 that can be had
	.ci/pythons

man: install # the reference from the code: settings, commands, man pages, the picture of the packages
	$(BIN)/python docs/reference.py

format: install # ruff's formatter and safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pin the newest versions that pyproject.toml admits: everything, of the same what serving needs, and for fuzzing, mutants and
# containers their tools.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url
lock: install # pins the newest versions that pyproject.toml admits, with hashes
	$(COMPILE) --extra dev --upgrade --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra build --constraint requirements.lock --no-annotate --output-file requirements-server.lock pyproject.toml
	$(COMPILE) --extra fuzz --constraint requirements.lock --no-annotate --upgrade-package atheris --output-file tests/fuzz/requirements.lock pyproject.toml
	$(COMPILE) --extra mutants --constraint requirements.lock --no-annotate --upgrade-package mutmut --output-file tests/mutation/requirements.lock pyproject.toml
	$(COMPILE) --extra container --constraint requirements.lock --no-annotate --upgrade-package podman-compose --output-file tests/container/requirements.lock pyproject.toml

clean: # removes what was installed
	rm -rf .venv tests/clients/node_modules
