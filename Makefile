# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the others.
#
# Everything is installed into $(VENV). Only make and a Python >= 3.10 must be there beforehand.
# A file in $(VENV)/.done says that a step is done, so that a second call is quick.

PYTHON ?=
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8080
WORKERS ?= 4
OTHERS ?= 3.10 3.12 3.13
SESSIONS ?= 50
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
DONE := $(VENV)/.done
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
SOURCES := $(shell find aiohttp_rawws -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
TARGET := ^\([a-z-]*\):[^\#]*\#\# \(.*\)

include .ci/tests.mk
.DELETE_ON_ERROR:
.PHONY: $(shell sed -n 's/$(TARGET)/\1/p' Makefile) codec

help: ## list the targets
	@sed -n 's/$(TARGET)/\1|\2/p' Makefile | while IFS='|' read -r t what; do printf 'make %-16s %s\n' "$$t" "$$what"; done
	@echo; echo 'PYTHON=python3.12 chooses the Python that $(VENV) is made with, VENV=folder another environment.'

demo: $(DONE)/core codec ## start the demo server (HOST=127.0.0.1 PORT=8080)
	@exec $(BIN)/python -u -m demos --host '$(HOST)' --port '$(PORT)'

test: $(DONE)/tools $(DONE)/core codec ## run the tests with and without the core (PYTEST_ARGS="-k parser")
	@.ci/test $(BIN)/python '$(ONCE)' -n $(WORKERS) -m 'not interop' $(PYTEST_ARGS)

test-interop: $(DONE)/tools $(DONE)/core codec ## run the tests that need other programs: clients, browsers, a compiler
	@.ci/test $(BIN)/python '$(ONCE)' -n $(WORKERS) -m interop $(PYTEST_ARGS)

test-under-load: $(DONE)/tools $(DONE)/core codec ## run `make test` five times on a busy machine
	@.ci/under-load $(BIN)/python $(MAKE) --no-print-directory test

test-pythons: $(BIN)/python ## run a part of the tests on each Python that is found (OTHERS="3.10 3.12 3.13")
	@.ci/each-python '$(VENV)' '$(OTHERS)' $(MAKE) --no-print-directory test-python
test-python: $(DONE)/slice $(DONE)/core codec ## the same on one Python (PYTHON=python3.12 VENV=.venv-3.12)
	@.ci/test $(BIN)/python '$(ONCE)' -n $(WORKERS) $(SLICE) $(PYTEST_ARGS)

lint: ruff mypy shellcheck ## check style, layout, types and shell scripts
ruff: $(DONE)/tools ## check style and layout (`ruff format .` in .venv/bin lays out)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
mypy: $(DONE)/tools $(DONE)/package ## check types
	$(BIN)/python -m mypy
shellcheck: $(DONE)/tools ## check shell scripts, if there is a shellcheck for this system
	@if [ -x $(BIN)/shellcheck ]; then $(BIN)/shellcheck $$(grep -l '^#!.*bash' .ci/*); fi

compile: $(DONE)/core codec ## build the compiled core if its sources changed

dist: $(DONE)/dist ## build the sdist and the wheel into dist/
	@.ci/dist $(BIN)
test-dist: dist ## check the sdist and the wheel, and test each in a new environment
	@.ci/test-dist $(BIN)

autobahn: $(DONE)/tools $(DONE)/core codec ## run the Autobahn suite (two hours) and write docs/conformance/autobahn.md
	@.ci/autobahn $(BIN)/python --save
autobahn-slice: $(DONE)/tools $(DONE)/core codec ## run a part of the Autobahn suite (a few minutes)
	@.ci/autobahn $(BIN)/python --slice

clients: $(DONE)/tools $(DONE)/core codec ## run clients against the misbehaving server, write docs/conformance/clients.md
	@$(BIN)/python -m tests.clients.table

bench: $(DONE)/peers $(DONE)/core codec ## measure for 30 minutes, write docs/explanation/performance.md
	@$(BIN)/python tests/benchmarks/run.py --plots all --docs $(BENCH_ARGS)
bench-quick: $(DONE)/peers $(DONE)/core codec ## measure for two minutes, write nothing (BENCH_ARGS="--rows tcp,64k")
	@$(BIN)/python tests/benchmarks/run.py --quick $(BENCH_ARGS)

soak: SECONDS ?= 120
soak: PUMPS ?= 100000
soak: $(DONE)/tools $(DONE)/core codec ## mixed sessions, streams and pumps for long, check each byte (SECONDS=120 SESSIONS=50 PUMPS=100000)
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) --sessions $(SESSIONS)
	@$(BIN)/python -m tests.soak.pumps --sessions $(PUMPS)

fuzz: SECONDS ?= 60
fuzz: $(DONE)/tools $(DONE)/core codec ## fuzz what reads from the network (SECONDS=60 for each target)
	@.ci/fuzz $(BIN)/python $(SECONDS) $(WORKERS)

sanitize: $(DONE)/tools $(DONE)/package ## test the core with the sanitizers of gcc (5 minutes)
	@.ci/sanitize $(BIN)/python $(WORKERS) all
sanitize-slice: $(DONE)/tools $(DONE)/package ## the same for codecs, state machines and raw sessions (2 minutes)
	@.ci/sanitize $(BIN)/python $(WORKERS) slice

clean: ## remove what was built
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)*/.done/core
	find aiohttp_rawws -name '*.so' -delete -o -name '*.c' -delete
	find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +
distclean: clean ## remove the environments too
	rm -rf '$(VENV)' '$(VENV)'-3.*

codec:
	@$(BIN)/python -c 'from aiohttp_rawws._build import COMPILED as c; \
	    print("aiohttp_rawws: using the", "compiled core" if c else "Python core (none was compiled)")'

$(BIN)/python:
	@.ci/make-venv '$(VENV)' $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)

# Editable, and without the core: the next rule builds only what changed.
$(DONE)/package: setup.cfg setup.py pyproject.toml | $(BIN)/python
	@echo 'installing aiohttp_rawws into $(VENV)' && mkdir -p $(DONE)
	@$(BIN)/python .ci/build_requires.py >$(DONE)/build-requires.txt && $(PIP) install -r $(DONE)/build-requires.txt
	@AIOHTTP_RAWWS_NO_EXTENSIONS=1 $(PIP) install --no-build-isolation --editable .
	@touch $@

$(DONE)/core: $(SOURCES) $(DONE)/package
	@echo 'building the compiled core'
	@$(BIN)/python setup.py -q build_ext --inplace >$(DONE)/build.log 2>&1 || { tail -n 5 $(DONE)/build.log; exit 1; }
	@grep 'no compiled core' $(DONE)/build.log || true
	@touch $@

$(DONE)/slice: tests/requirements.txt
$(DONE)/tools: requirements-dev.txt tests/requirements.txt
$(DONE)/peers: tests/benchmarks/requirements.txt
$(DONE)/dist: .ci/requirements-dist.txt
$(DONE)/slice $(DONE)/tools $(DONE)/peers $(DONE)/dist: | $(BIN)/python
	@echo 'installing $< into $(VENV)' && mkdir -p $(DONE)
	@$(PIP) install -r $<
	@touch $@
