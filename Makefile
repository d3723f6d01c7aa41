# `make run` shows it, `make test` proves it. Nothing else is needed, and nothing else is different in CI.

CARGO ?= cargo
# What to hand to the program: make run ARGS='--pricing.file=my-prices.yaml'
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo test fmt lint bless bench scale sbom gpu-check tools

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

run: ## Build and serve http://localhost:8080: this machine's GPUs, or a demo where no NVIDIA driver is found
	$(CARGO) run --release --locked -- --demo=auto $(ARGS)

demo: ## Build and serve a simulated node on http://localhost:8080
	$(CARGO) run --release --locked -- --demo $(ARGS)

test: ## Run everything that CI runs; installs what the tests need
	scripts/test.sh

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check formatting, lints, documentation, licences and dependencies
	scripts/lint.sh

bless: ## Rewrite the golden files of the tests with what the program says now
	UPDATE_EXPECT=1 $(CARGO) test --workspace --locked

bench: ## Measure what the program costs, and compare it with what is written down
	scripts/bench.sh

sbom: ## Write what the program is made of to target/sbom.cdx.json (CycloneDX)
	@mkdir -p target
	python3 scripts/sbom.py target/sbom.cdx.json

gpu-check: ## Compare a minute of measurements with the real driver's; needs an NVIDIA GPU
	scripts/gpu-check.sh

scale: ## Measure what a hundred nodes cost to watch, and write it into docs/scale.md; takes half an hour
	$(CARGO) build --release --locked
	.tools/venv/bin/python3 -B benches/scale/measure.py target/release/gpu-cost-exporter --write $(ARGS)
	.tools/venv/bin/python3 -B benches/scale/tables.py

tools: ## Install what the tests need, without running them
	scripts/install-test-tools.sh
