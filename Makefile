# Each target is a thin line over a real tool. `make demo` and `make test` are all that a newcomer needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SERVE := .venv/.serve
DEV := .venv/.dev
TOOLS := .venv/.tools
RUN := work/pipeline
# The repository's own version of a tool is the one in the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo pipeline test check format bench proto chart clean

help: ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | column -t -s '|'

demo: $(SERVE) ## Serve the bundled model and translate three drawings; ONCE=1 stops afterwards
	@python -m service.demo $(if $(filter 1,$(ONCE)),--once)

pipeline: $(DEV) ## Drawings → training → export → service → translations, in about six minutes
	rm -rf $(RUN)
	lapis-pairs openmoji --output $(RUN)/openmoji --size 128
	lapis-train $(RUN)/openmoji --output $(RUN)/run --netG unet_128 --ngf 32 --ndf 32 --load-size 143 --crop-size 128 \
	  --batch-size 4 --n-epochs 2 --n-epochs-decay 2
	lapis-export $(RUN)/run/latest --output $(RUN)/models/emoji/1
	lapis-serve --models $(RUN)/models --port 50061 --http-port 0 & trap "kill $$!" EXIT; \
	  lapis-translate $(RUN)/openmoji/test/A --server 127.0.0.1:50061 --output $(RUN)/translations
	lapis-pairs grid $(RUN)/openmoji/test --translations $(RUN)/translations --output $(RUN)/grid.png

test: $(DEV) $(TOOLS) ## Run all tests
	pytest

check: $(DEV) $(TOOLS) ## Lint and type-check everything; see that what is generated is fresh
	ruff check
	ruff format --check
	mypy
	cd protos && buf lint
	python protos/generate.py --check
	hadolint deploy/docker/*.Dockerfile deploy/ray/*.Dockerfile
	python -m deploy.helm.reference --check
	python -m deploy.dashboard --check
	for values in deploy/helm/lapis/values*.yaml; do helm lint --strict --quiet --kube-version 1.33 deploy/helm/lapis --values $$values || exit; done

format: $(DEV) ## Format the code and fix what can be fixed
	ruff check --fix
	ruff format

bench: $(DEV) ## Measure; figures go to bench/results
	python -m bench.train_step
	python -m bench.service_throughput
	for claim in saturation overload latency cancellation priority overhead restart versions; do \
	  python -m bench.proof $$claim || exit; done

proto: $(DEV) ## Generate the stubs from the protos
	python protos/generate.py

chart: $(DEV) $(TOOLS) ## Generate what follows from the chart's values, and its dashboard
	python -m deploy.helm.reference
	python -m deploy.dashboard

clean: ## Remove what was made, the environment too
	rm -rf .venv work

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lapis needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv .venv

$(SERVE): .venv/bin/python pyproject.toml protos/pyproject.toml constraints.txt
	pip install --quiet --constraint constraints.txt --editable ./protos --editable .
	@touch $@

$(DEV): .venv/bin/python pyproject.toml protos/pyproject.toml constraints.txt
	pip install --quiet --constraint constraints.txt --editable ./protos --editable '.[dev]'
	@touch $@ $(SERVE)

$(TOOLS): $(DEV) deploy/tools.py
	python deploy/tools.py
	@touch $@
