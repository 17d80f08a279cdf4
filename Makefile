# Six targets; each sets up what it needs. Wants make and Python >= 3.11, nothing else.
#   PYTHON=python3.12 make venv               another interpreter
#   PIP_EXTRA_INDEX_URL=... make venv         where pip finds CPU wheels of torch
#   make test PYTEST_ARGS="-k codes -x"       a part of the tests, in one process

PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadfile

VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/proto-tools
PROTOS := $(wildcard proto/ribolex/v1/*.proto)
SERVICES := $(shell grep -l '^service ' $(PROTOS))
PIP := -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint proto bench

help:
	@echo "make demo    start a server on the bundled model, index real RNAs, search them"
	@echo "make test    run all tests"
	@echo "make lint    check contract, format, types and layers"
	@echo "make proto   generate the stubs from proto/"
	@echo "make bench   run every benchmark"
	@echo "make venv    only set up $(VENV); the others do it when needed"

venv: $(VENV)/.installed

demo: venv
	$(BIN)/ribolex demo

# Both processes must find the tests in the same order, those of sets too.
test: venv
	PYTHONHASHSEED=0 $(BIN)/pytest $(PYTEST_ARGS)

lint: venv proto
	git diff --exit-code proto
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	.ci/breaking $(BIN)/buf
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

# protoc writes beside the stubs in use, which are then replaced in one go.
proto: $(TOOLS)/.installed
	rm -rf $(TOOLS)/out && mkdir $(TOOLS)/out
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" python -m grpc_tools.protoc -Iproto \
	    --python_out=$(TOOLS)/out --mypy_out=quiet:$(TOOLS)/out $(PROTOS)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" python -m grpc_tools.protoc -Iproto \
	    --grpc_python_out=$(TOOLS)/out --mypy_grpc_out=quiet:$(TOOLS)/out $(SERVICES)
	rm -f proto/ribolex/v1/*_pb2.py* proto/ribolex/v1/*_pb2_grpc.py*
	mv $(TOOLS)/out/ribolex/v1/* proto/ribolex/v1/

bench: venv
	@for script in bench/*.py; do \
	    echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

# pip before 25.1 knows no dependency groups.
$(VENV)/.installed: pyproject.toml bundle/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "ribolex needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --upgrade 'pip>=25.1'
	$(BIN)/python $(PIP) -c constraints.txt -e bundle -e '.[server,trainer,otel]' --group dev
	touch $@

$(TOOLS)/.installed: $(VENV)/.installed
	test -x $(TOOLS)/bin/python || $(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/python $(PIP) --upgrade 'pip>=25.1'
	$(TOOLS)/bin/python $(PIP) --group proto
	touch $@
