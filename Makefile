# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the others.
#
# Everything lives in $(VENV); nothing needs to be active or installed beforehand but make and a Python >= 3.10.
# Files in $(VENV)/.done say what has been done, so that a second call is quick.

PYTHON ?=
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8080
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
DONE := $(VENV)/.done
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
METADATA := setup.cfg setup.py pyproject.toml
SOURCES := $(shell find aiohttp_rawws -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h')

# A version on PATH may lack the venv module or be a launcher with nothing behind it: the one that can really
# make an environment with a working pip is the one to take.
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)

.DELETE_ON_ERROR:
.PHONY: help demo test test-interop test-under-load test-pythons test-python lint ruff mypy compile codec autobahn autobahn-slice bench bench-quick \
        soak fuzz sanitize sanitize-slice clean distclean

help:
	@echo 'make demo        start the demo server (HOST=$(HOST) PORT=$(PORT))'
	@echo 'make test        run the suite, with the compiled core and without it, four minutes'
	@echo '                 (WORKERS=$(WORKERS) processes; PYTEST_ARGS="-k parser" to choose)'
	@echo 'make test-interop     with servers and browsers of others, and what memory it takes'
	@echo 'make test-under-load  make test, five times, on a machine that is kept busy'
	@echo 'make test-pythons     codecs and sessions on each Python of $(OTHERS) that is there'
	@echo 'make lint        ruff and mypy --strict'
	@echo 'make compile     build the compiled core again where its sources changed'
	@echo 'make autobahn    run the Autobahn suite, some 40 minutes, and write docs/conformance/autobahn.md'
	@echo '                 (make autobahn-slice: a part of it, a few minutes)'
	@echo 'make bench       measure against picows, aiohttp, websockets; writes docs/explanation/performance.md'
	@echo '                 (some 30 minutes; make bench-quick: two minutes, writes nothing. BENCH_ARGS="--rows tcp,64k")'
	@echo 'make soak        thousands of mixed sessions against a server process, checked byte by byte'
	@echo '                 (SECONDS=120, hours if you like; SESSIONS=50 at a time)'
	@echo 'make fuzz        fuzz what reads from the network (SECONDS=60 for each target), and run the tests of'
	@echo '                 Hypothesis with new inputs'
	@echo 'make sanitize    build the core with the address and undefined-behaviour sanitizers and test that, three minutes'
	@echo '                 (make sanitize-slice: codecs, state machines and raw sessions, a minute)'
	@echo 'make clean       remove what was built; make distclean removes $(VENV) too'
	@echo
	@echo 'PYTHON=python3.12 picks the interpreter $(VENV) is made with.'

demo: $(DONE)/core codec
	@exec $(BIN)/python -u -m demos --host '$(HOST)' --port '$(PORT)'

# Tests that the second run, on the Python core, need not repeat:
# - those of the codecs: the first run makes each of them with both codecs;
# - those of what stands before the first frame (routes, origins, handshake, options, extension headers), or beside the
#   product (its layers, pages, demos and the suite itself): they have one source, and no frame that matters.
# Where there is no compiled core, the one run has everything.
ONCE := $(addprefix tests/, test_wire_codec.py test_wire_codes.py test_wire_frames.py test_wire_limits.py \
    test_extensions_header.py test_extensions_negotiation.py test_web_routing.py test_web_origins.py \
    test_web_handshake.py test_options_named.py test_options_documented.py test_layering.py test_security_page.py \
    test_docs.py test_demos.py test_demos_rsv2_extension.py test_clock.py test_limits_of_tests.py)

test: $(DONE)/tools $(DONE)/core codec
	@$(call both,-m 'not interop',$(addprefix --ignore ,$(ONCE)))

# With servers and browsers of others, and with processes whose memory is measured.
test-interop: $(DONE)/tools $(DONE)/core codec
	@$(call both,-m interop)

# Both runs are made whatever the first one says, and both must pass. $(1): for both, $(2): for the second.
define both
status=0; once=; \
if $(BIN)/python -c 'from aiohttp_rawws._build import COMPILED as c; raise SystemExit(not c)'; then \
    echo '== tests, compiled core'; \
    $(BIN)/python -m pytest -n $(WORKERS) $(1) $(PYTEST_ARGS) || status=$$?; \
    once='$(2)'; \
elif [ -n "$$AIOHTTP_RAWWS_REQUIRE_COMPILED" ]; then \
    echo 'AIOHTTP_RAWWS_REQUIRE_COMPILED is set, and there is no compiled core' >&2; status=1; \
fi; \
echo '== tests, Python core'; \
AIOHTTP_RAWWS_NO_EXTENSIONS=1 $(BIN)/python -m pytest -n $(WORKERS) $(1) $$once $(PYTEST_ARGS) || status=$$?; \
exit $$status
endef

# Five times in a row, with four processes beside it that only count.
test-under-load: $(DONE)/tools $(DONE)/core codec
	@busy=; \
	trap 'kill $$busy 2>/dev/null' EXIT; \
	trap 'exit 1' INT TERM HUP; \
	for process in 1 2 3 4; do \
	    $(BIN)/python -c 'import os; p = os.getppid(); any(os.getppid() != p for _ in iter(int, 1))' & \
	    busy="$$busy $$!"; \
	done; \
	for run in 1 2 3 4 5; do \
	    echo "== under load, run $$run of 5"; \
	    $(MAKE) --no-print-directory test || exit 1; \
	done

# The codecs, the state machines and the sessions on every other Python that is there, on PATH or by pyenv: each in an
# environment of its own, the compiled core of each beside that of the others (their names differ).
OTHERS ?= 3.10 3.12 3.13
SLICE := tests/test_clock.py tests/test_codec_parity.py tests/test_state_machines.py tests/test_extensions_deflate.py \
    $(wildcard tests/test_wire_*.py tests/test_session_*.py)

test-pythons: $(BIN)/python
	@status=0; \
	for version in $(OTHERS); do \
	    [ "$$version" != "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ] || continue; \
	    found=; \
	    for python in "python$$version" \
	        "$${PYENV_ROOT:-$$(pyenv root 2>/dev/null || echo "$$HOME/.pyenv")}"/versions/"$$version".*/bin/python; do \
	        if "$$python" -c '' >/dev/null 2>&1; then found="$$python"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "== Python $$version is not here, on PATH or by pyenv: left out (pyenv install $$version)"; continue; \
	    fi; \
	    echo "== Python $$version"; \
	    $(MAKE) --no-print-directory test-python PYTHON="$$found" VENV="$(VENV)-$$version" || status=$$?; \
	done; \
	exit $$status

# make test-python PYTHON=python3.12 VENV=.venv-3.12
test-python: $(DONE)/slice $(DONE)/core codec
	@$(call both,$(SLICE),$(addprefix --ignore ,$(ONCE)))

lint: ruff mypy

ruff: $(DONE)/tools
	$(BIN)/python -m ruff check .

mypy: $(DONE)/tools $(DONE)/package
	$(BIN)/python -m mypy

compile: $(DONE)/core codec

codec:
	@$(BIN)/python -c 'from aiohttp_rawws._build import COMPILED as c; \
	    print("aiohttp_rawws: using the", "compiled core" if c else "Python core (none was compiled)")'

# Both sessions on both codecs, whatever the first runs say. See docs/conformance/autobahn.md for what it needs.
autobahn: $(DONE)/tools $(DONE)/core codec
	@$(call conformance,--save)

autobahn-slice: $(DONE)/tools $(DONE)/core codec
	@$(call conformance,--slice)

define conformance
status=0; \
for server in managed raw; do for codec in compiled python; do \
    $(BIN)/python -m tests.autobahn.run $$server --codec $$codec $(1) || status=$$?; \
done; done; \
exit $$status
endef

# The machine should do nothing else meanwhile. The peers go into the environment with everything else.
bench: $(DONE)/peers $(DONE)/core codec
	@$(BIN)/python tests/benchmarks/run.py --plots all --docs $(BENCH_ARGS)

bench-quick: $(DONE)/peers $(DONE)/core codec
	@$(BIN)/python tests/benchmarks/run.py --quick $(BENCH_ARGS)

soak: SECONDS ?= 120
soak: SESSIONS ?= 50
soak: $(DONE)/tools $(DONE)/core codec
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) --sessions $(SESSIONS)

# What breaks a promise is kept in build/fuzz, and in build/hypothesis, from where it is tried again first.
fuzz: SECONDS ?= 60
fuzz: $(DONE)/tools $(DONE)/core codec
	@status=0; \
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) || status=$$?; \
	until=$$(($$(date +%s) + $(SECONDS))); \
	while $(BIN)/python -m pytest -q -n $(WORKERS) --timeout 600 -m hypothesis --hypothesis-profile fuzz \
	    || { status=1; false; }; do \
	    [ $$(date +%s) -lt $$until ] || break; \
	done; \
	exit $$status

# A copy of its own, so that the core in use stays as it is. Leaks are not looked for: Python itself has some at exit.
# Nor are the limits tested that are fractions of a second: everything is a few times slower here.
SANITIZED := build/sanitize
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZED_SLICE := tests/test_codec_parity.py tests/test_state_machines.py tests/test_session_raw.py \
    tests/test_session_tcp.py tests/test_session_wake.py $(wildcard tests/test_wire_*.py)
SANITIZED_REST := tests/test_takeover.py tests/test_faults.py tests/test_differential.py tests/test_fuzz_smoke.py \
    tests/test_web_managed.py $(filter-out %_limits.py,$(wildcard tests/test_session_*.py))
sanitize: SANITIZED_TESTS := $(sort $(SANITIZED_SLICE) $(SANITIZED_REST))
sanitize-slice: SANITIZED_TESTS := $(SANITIZED_SLICE)
sanitize sanitize-slice: $(SANITIZED)/.done
	@rm -rf $(SANITIZED)/tests && cp -r tests $(SANITIZED)
	@cd $(SANITIZED) && LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    AIOHTTP_RAWWS_REQUIRE_COMPILED=1 $(abspath $(BIN))/python -m pytest -q -n $(WORKERS) --timeout 0 \
	    $(SANITIZED_TESTS)

$(SANITIZED)/.done: $(SOURCES) setup.py setup.cfg | $(DONE)/tools $(DONE)/package
	@for library in libasan.so libubsan.so; do case "$$($(CC) -print-file-name=$$library)" in \
	    /*) ;; *) echo "$(CC) has no $$library: it comes with gcc, which CC=gcc picks" >&2; exit 1;; \
	esac; done
	@echo 'building the compiled core with sanitizers'
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@cp -r aiohttp_rawws setup.py setup.cfg pyproject.toml README.md $(SANITIZED)
	@find $(SANITIZED) -name '*.so' -delete
	@cd $(SANITIZED) && CC=$(CC) CFLAGS='$(SANITIZERS) -fno-omit-frame-pointer -g' LDFLAGS='$(SANITIZERS)' \
	    $(abspath $(BIN))/python setup.py -q build_ext --inplace --parallel 2 >build.log 2>&1 \
	    && ! grep 'no compiled core' build.log \
	    || { echo 'it could not be built, see $(SANITIZED)/build.log' >&2; exit 1; }
	@touch $@

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 || continue; \
	    "$$python" -m venv --clear '$(VENV)' >/dev/null 2>&1 || continue; \
	    $(BIN)/python -m pip --version >/dev/null 2>&1 || continue; \
	    echo "$(VENV): $$($(BIN)/python --version) of $$python"; \
	    exit 0; \
	done; \
	rm -rf '$(VENV)'; \
	echo 'No Python >= 3.10 that can make a virtual environment was found (tried: $(CANDIDATES)).' >&2; \
	echo 'On Debian: apt-get install python3-venv. Elsewhere: make ... PYTHON=/path/to/python3' >&2; \
	exit 1

# The package itself, editable, with the tools its build asks for. The extensions are left to the next rule,
# which builds only what changed.
$(DONE)/package: $(METADATA) | $(BIN)/python
	@echo 'installing aiohttp_rawws into $(VENV)'
	@sed -n 's/^requires *= *\[\(.*\)\]/\1/p' pyproject.toml | tr -d , | xargs $(PIP) install
	@AIOHTTP_RAWWS_NO_EXTENSIONS=1 $(PIP) install --no-build-isolation --editable .
	@mkdir -p $(DONE) && touch $@

# setup.py goes on without a compiler; then there must be no compiled core at all: one of older sources would be
# picked up silently.
$(DONE)/core: $(SOURCES) $(DONE)/package
	@echo 'building the compiled core'
	@$(BIN)/python setup.py -q build_ext --inplace --parallel 2 >$(DONE)/build.log 2>&1 \
	    && ! grep -q 'no compiled core' $(DONE)/build.log \
	    || { find aiohttp_rawws -name "*$$($(BIN)/python -c \
	        'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')" -delete; \
	        echo 'it could not be built, see $(DONE)/build.log'; }
	@touch $@

$(DONE)/slice: tests/requirements.txt | $(BIN)/python
	@echo 'installing what the tests need into $(VENV)'
	@$(PIP) install -r tests/requirements.txt
	@mkdir -p $(DONE) && touch $@

$(DONE)/tools: requirements-dev.txt tests/requirements.txt | $(BIN)/python
	@echo 'installing the development requirements into $(VENV)'
	@$(PIP) install -r requirements-dev.txt
	@mkdir -p $(DONE) && touch $@

$(DONE)/peers: tests/benchmarks/requirements.txt $(DONE)/package
	@echo 'installing what is measured against into $(VENV)'
	@$(PIP) install -r tests/benchmarks/requirements.txt
	@mkdir -p $(DONE) && touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)*/.done/core
	find aiohttp_rawws -name '*.so' -delete -o -name '*.c' -delete
	find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf '$(VENV)' '$(VENV)'-3.*
