# What users and CI run. Settings are M5_* variables (docs/settings.md); everything kept on this machine is in $(M5_HOME).
# `m5`, `dagster` and `dg` in .venv/bin need no make: they use the same home and the same weeks.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export M5_HOME ?= $(CURDIR)/.m5

DEMO_ITEMS ?= 30
DEMO_WEEKS ?= 58
DEMO_SCORED ?= 2016-04-18
DEMO_WEEK ?= 2016-05-16
BACKFILL_FROM ?= 2015-05-25

.PHONY: help install dev demo ui dashboard benchmark-dashboard benchmark-features test test-all lint prose check-stacks docs docs-site constraints clean benchmark-faults benchmark-chaos benchmark-backfill benchmark-weekly benchmark-load benchmark-chaos-load benchmark-growth images images-check compose-up compose-upgrade compose-down

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

# Each file is verified against its hash in constraints.txt, build tools included. The project itself needs no hash.
define install_project
	$(BIN)/python docker/requirements.py $(1) > $(VENV)/requirements.txt
	PYTHON=$(BIN)/python docker/install.sh constraints.txt torch --requirement $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

install: $(VENV)/.installed ## The environment in .venv, at the tested versions, all files verified by hash
$(VENV)/.installed: pyproject.toml constraints.txt docker/install.sh docker/requirements.py
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed; set PYTHON=python3.11" >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(call install_project)
	touch $@

dev: $(VENV)/.developed
$(VENV)/.developed: $(VENV)/.installed
	$(call install_project,dev)
	touch $@

# The weeks are four apart, so at the default cadence the second would train again: once is enough to see how it works.
demo: export M5_CADENCE_WEEKS ?= 8
demo: install ## A generated sample, two weeks' forecasts, their accuracy
	$(BIN)/m5 sample $(M5_HOME)/landing --items $(DEMO_ITEMS) --weeks $(DEMO_WEEKS) --seed 1
	$(BIN)/m5 forecast --week $(DEMO_SCORED)
	$(BIN)/m5 forecast --week $(DEMO_WEEK)
	$(BIN)/m5 score --week $(DEMO_SCORED)
	$(BIN)/m5 summary --week $(DEMO_WEEK) --scored $(DEMO_SCORED)

ui: install ## Dagster's webserver and daemon on http://127.0.0.1:3000
	$(BIN)/m5 ui

dashboard: install ## The planner's pages on http://127.0.0.1:8050
	$(BIN)/m5 dashboard

benchmark-dashboard: dev ## How long each dashboard page takes, with the data in the database
	$(BIN)/python benchmarks/dashboard_pages.py

# Peers have an environment of their own, because their dependencies are not the platform's.
PEERS := $(M5_HOME)/peers
$(PEERS)/.installed: Makefile
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check mlforecast==1.1.0
	touch $@

benchmark-features: install $(PEERS)/.installed ## Features against mlforecast: time, memory, equality
	$(BIN)/python benchmarks/features_vs_mlforecast.py --peer $(PEERS)/bin/python --landing $(M5_HOME)/landing

# By file: weeks, services and browsers are built once per file.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: dev ## The tests, but for the long ones; those of the dashboard need chromium and chromium-driver
	$(PYTEST) -m 'not aws and not long'

test-all: dev ## All tests: also whole platforms, power cuts, benchmarks
	$(PYTEST)

lint: dev prose check-stacks ## Style, strict types, imports between packages, plain English, the AWS stacks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# checkov pins a hundred packages that are not the platform's: an environment of its own, verified like the first.
CHECKOV := $(M5_HOME)/checkov
$(CHECKOV)/.installed: .ci/checkov.txt
	$(PYTHON) -m venv --clear $(CHECKOV)
	$(CHECKOV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement .ci/checkov.txt
	touch $@

check-stacks: $(CHECKOV)/.installed ## The AWS stacks against checkov's rules; exceptions: infrastructure/checkov.yaml
	$(CHECKOV)/bin/checkov --config-file infrastructure/checkov.yaml

# The text that is read for phrases to avoid.
PROSE ?= README.md CONTRIBUTING.md CHANGELOG.md docs libraries m5_assets m5_assets_tests benchmarks infrastructure docker
PHRASES := .ci/plain-english.txt

prose: dev ## Spelling, and the phrases of our word list
	$(BIN)/codespell $(PROSE)
	$(BIN)/codespell --dictionary $(PHRASES) --regex "(?i)\b($$(sed 's/->.*//' $(PHRASES) | paste -sd'|'))\b" $(PROSE)

docs: install ## The docs that are generated from the code
	$(BIN)/m5 features --markdown > docs/features.md
	$(BIN)/m5 features --json > m5_assets/assets/feature_catalogue.json

$(VENV)/.documented: $(VENV)/.installed
	$(call install_project,docs)
	touch $@

docs-site: $(VENV)/.documented ## The documentation site in site/; needs graphviz (apt-get install graphviz)
	$(BIN)/import-linter drawgraph m5_assets | tred \
	  | dot -Tsvg -Nshape=box -Nstyle=rounded -o docs/images/rooms.svg # the imports that no other path implies
	$(BIN)/zensical build --strict --clean

# uv reads the hashes of all files of a version from the index, for every platform at once. It keeps the versions that
# constraints.txt has; a newer one: make constraints UPGRADE='--upgrade-package NAME', or --upgrade for all.
LOCKER := $(M5_HOME)/locker
$(LOCKER)/.installed: Makefile
	$(PYTHON) -m venv $(LOCKER)
	$(LOCKER)/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	touch $@

LOCK := $(LOCKER)/bin/uv pip compile --quiet --universal --python-version 3.11.5 --generate-hashes --no-annotate --no-header
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl: a CPU build, which PyPI's list of hashes does not have.
TORCH_CPU := sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
UPGRADE ?=

constraints: $(LOCKER)/.installed ## Write constraints.txt (versions and hashes) for pyproject.toml, and checkov's
	cp constraints.txt constraints.tmp
	$(LOCK) $(UPGRADE) --all-extras --group install --output-file constraints.tmp pyproject.toml
	head -2 constraints.txt > constraints.new.tmp
	sed -e '/$(TORCH_CPU)/d' -e 's/ ;.*\\$$/ \\/' -e '/^torch==/a\    --hash=$(TORCH_CPU) \\' constraints.tmp >> constraints.new.tmp # pip asks for what it needs: no markers
	mv constraints.new.tmp constraints.txt
	cp .ci/checkov.txt checkov.tmp
	echo "checkov>=3.3" | $(LOCK) $(UPGRADE) --output-file checkov.tmp -
	{ head -1 .ci/checkov.txt; cat checkov.tmp; } > checkov.new.tmp
	mv checkov.new.tmp .ci/checkov.txt
	rm constraints.tmp checkov.tmp

clean: ## Remove the environment; M5_HOME stays
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .cache site

benchmark-faults: install ## Each fault of SageMaker and of its orchestrator, 20 times; the overhead of following a job
	$(BIN)/python benchmarks/sagemaker_faults.py --trials 20
	$(BIN)/python benchmarks/sagemaker_overhead.py

benchmark-chaos: dev ## Weeks under kill -9, a full disk, a failing S3; 20 times each; needs root; takes hours, resumes
	$(BIN)/python benchmarks/chaos.py --times 20 --together 3 --trials $(M5_HOME)/chaos-trials.jsonl --output docs/chaos.md

benchmark-weekly: install ## Where the time of the newest weekly run went: its steps, and Dagster
	$(BIN)/python benchmarks/weekly_split.py

benchmark-load: install ## A week's load compared with a bare COPY of the same rows
	$(BIN)/python benchmarks/postgres_load.py

benchmark-chaos-load: install ## kill -9 of the loader and of PostgreSQL during a load, 20 times each
	$(BIN)/python benchmarks/postgres_chaos.py

benchmark-growth: install ## Time and memory of a week's stages at 3,049, 30,490 and 304,900 series: an hour, 12 GB of disk
	$(BIN)/python benchmarks/growth.py --folder $(M5_HOME)/growth --figure docs/growth.png

images: ## The images, by docker: the platform's and one per job kind
	for name in platform features gbm lstm totals; do docker build --file docker/Dockerfile.$$name --tag m5-$$name .; done

images-check: dev ## Build and use images and the Compose stack without a Docker engine; root, Debian 12, 20 minutes
	m5_assets_tests/support/docker/images_check.sh

COMPOSE := docker compose --file docker/compose.yaml

compose-up: ## The whole platform on this host by Compose, docs/docker.md
	docker/passwords.sh
	! docker volume inspect m5_database > /dev/null 2>&1 || docker volume inspect m5_database18 > /dev/null 2>&1 \
	  || { echo "the database is one of PostgreSQL 16: run make compose-upgrade once" >&2; exit 1; }
	$(COMPOSE) up --detach --build --wait

compose-upgrade: ## Copy the databases of an earlier version's PostgreSQL 16, once; the old volume stays
	docker/passwords.sh
	$(COMPOSE) down
	! docker volume inspect m5_database18 > /dev/null 2>&1 \
	  || { echo "the volume m5_database18 exists: the databases are copied already" >&2; exit 1; }
	$(COMPOSE) --profile upgrade up --detach --wait postgres postgres16
	$(COMPOSE) exec -T postgres16 pg_dumpall --username m5 | $(COMPOSE) exec -T postgres psql --username m5 --dbname postgres --quiet
	$(COMPOSE) --profile upgrade rm --stop --force postgres16
	$(COMPOSE) up --detach --build --wait

compose-down: ## Stop it and keep its volumes
	$(COMPOSE) down
