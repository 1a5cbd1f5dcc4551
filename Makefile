.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
# Tests mostly wait; each job has a PostgreSQL of its own.
TEST_JOBS ?= 3
VENV := .venv
INTEROP_VENV := .venv-interop
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/jobstatus/v1/*.proto)
# Where googleapis-common-protos keeps google/rpc/*.proto.
COMMON_PROTOS = $(shell $(BIN)/python -c 'import google.rpc, pathlib; print(pathlib.Path(google.rpc.__path__[0]).parents[1])')
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos -I$(COMMON_PROTOS)

.PHONY: help
help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

# The stamp is newer than what it was made from, so an install happens once.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Install the project and its tools into .venv.

.PHONY: proto
proto: install ## Generate the Python code of the protos.
	$(PROTOC) --python_out=protos --pyi_out=protos --grpc_python_out=protos $(PROTOS)

.PHONY: verify-proto
verify-proto: install ## Fail if the generated code is not what the protos say.
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(PROTOC) --python_out=$$tmp --pyi_out=$$tmp --grpc_python_out=$$tmp $(PROTOS) && \
	status=0; for made in $$tmp/jobstatus/v1/*; do diff -u "protos/$${made#$$tmp/}" "$$made" || status=1; done; \
	for kept in protos/jobstatus/v1/*_pb2*; do [ -e "$$tmp/$${kept#protos/}" ] || { echo "$$kept: no proto makes it"; status=1; }; done; \
	[ $$status = 0 ] || { echo 'The generated code differs from the protos: run make proto.'; exit 1; }

.PHONY: format
format: install .buf/googleapis ## Format the code.
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

# buf reads google/rpc/*.proto from a module of its own, which it does not lint.
.buf/googleapis: $(VENV)/.installed
	rm -rf $@ && mkdir -p $@/google
	cp -r $(COMMON_PROTOS)/google/rpc $@/google/rpc && find $@ -type f ! -name '*.proto' -delete
	@touch $@

.PHONY: lint
lint: install .buf/googleapis ## Check style, types and protos.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos

.PHONY: test
test: install ## Run the tests, on SQLite and on a PostgreSQL they start themselves.
	$(BIN)/pytest -n $(TEST_JOBS) --dist loadfile $(TEST)

.PHONY: test-faults
test-faults: install ## Fail servers, lines, databases, disks and clocks under load, and seed bugs; TEST=file for some of it.
	$(BIN)/pytest --full $(or $(TEST),tests/faults)

$(INTEROP_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(INTEROP_VENV)
	PIP_CONSTRAINT=constraints.txt $(INTEROP_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,interop]'
	@touch $@

.PHONY: test-interop
test-interop: $(INTEROP_VENV)/.installed ## Have the systems' own clients read what is written; installs them into .venv-interop.
	$(INTEROP_VENV)/bin/pytest --interop $(or $(TEST),tests/interop)

.PHONY: test-pooler
test-pooler: install ## Run the tests through Debian's PgBouncer in transaction mode; TEST=file for some of them.
	$(BIN)/pytest --pooler -n $(TEST_JOBS) --dist loadfile -k postgresql $(TEST)

.PHONY: bench
bench: install ## Measure the speed: ONLY=watch, reads, writes, growth, secure or sources, BENCH_SCALE=0.1 for a look, BENCH_JSON=file for the figures.
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m bench $(ONLY)

.PHONY: check
check: verify-proto lint test ## All that must hold before a commit.

.PHONY: audit
audit: install ## Look for known vulnerabilities of what is installed.
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

.PHONY: run
run: install ## Serve on 127.0.0.1:50051, on ./jobstatus.db, with a demonstration job.
	$(BIN)/jobstatus serve --listen 127.0.0.1:50051 --database-url sqlite:///jobstatus.db --demo

.PHONY: demo
demo: install ## Serve on 127.0.0.1:50051 and watch a demonstration job right here, until it ends.
	@data=$$(mktemp -d); \
	$(BIN)/jobstatus serve --listen 127.0.0.1:50051 --database-url sqlite:///$$data/jobstatus.db --demo --log-level error >/dev/null & \
	server=$$!; trap 'kill $$server 2>/dev/null; wait $$server; rm -rf $$data' EXIT; \
	until $(BIN)/jobstatus list --server 127.0.0.1:50051 >/dev/null 2>&1; do kill -0 $$server 2>/dev/null || exit 1; done; \
	kill -0 $$server 2>/dev/null && $(BIN)/jobstatus watch demo --wait-for-job --server 127.0.0.1:50051; [ $$? -le 1 ]

.PHONY: picture
picture: install ## Draw docs/live-view.svg: the live view of a real watch.
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python tests/picture.py docs/live-view.svg

.PHONY: clean
clean: ## Remove everything that was made here, the database of make run included.
	rm -rf $(VENV) $(INTEROP_VENV) .buf .mypy_cache .pytest_cache .ruff_cache .hypothesis jobstatus.db jobstatus.db-shm jobstatus.db-wal
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
