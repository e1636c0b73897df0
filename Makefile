# Vintner: what one does with a checkout. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps test-deps bench-deps build test torture soak checkpoints unit e2e contract lint format demo serve fuzz sanitize bench load separable results clean

FUZZ_SECONDS ?= 60

BINARY := .build/release/vintner
DATA ?= ./vintner-data
PORT ?= 8080

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /|/' | column -t -s '|'

deps: ## install the Debian packages that are missing
	@scripts/deps.sh

test-deps:
	@scripts/deps.sh test

bench-deps:
	@scripts/deps.sh
	@scripts/deps.sh bench

build: deps ## build the release binary
	swift build -c release --product vintner

demo: build ## train LeNet-5 over HTTP and show what came of it
	@scripts/demo.sh $(BINARY)

serve: build ## serve on 127.0.0.1:PORT with the data in DATA
	@exec $(BINARY) serve --data $(DATA) --port $(PORT)

test: test-deps lint unit e2e ## everything that must hold: style, unit tests, end-to-end tests
	@echo "make test: all passed"

unit: test-deps ## the unit tests alone
	@scripts/unit.sh

e2e: test-deps build ## the end-to-end tests alone, against the release binary
	python3 Tests/e2e/run.py $(BINARY)

torture: test-deps build ## kills, SIGTERMs and power cuts at random moments, memory against estimates; docs/reliability.md (40 min)
	swift build --product vintner
	Tests/torture/run.py --binary $(BINARY) --kills $(or $(KILLS),200) --each $(or $(EACH),20) --terms $(or $(TERMS),50) --document docs/reliability.md
	Tests/torture/powercut.py --binary $(BINARY) --cuts $(or $(CUTS),50) --document docs/reliability.md
	Tests/torture/memory.py --binary $(BINARY) --document docs/reliability.md

soak: build ## a steady load for HOURS (24), watched for growth; docs/reliability.md
	Tests/torture/soak.py --binary $(BINARY) --hours $(or $(HOURS),24) --document docs/reliability.md

checkpoints: build ## what checkpoints cost; docs/reliability.md
	Benchmarks/checkpoints.py --vintner $(BINARY) --document docs/reliability.md

contract: test-deps build ## hold the API against its OpenAPI description with schemathesis (installs it from PyPI once)
	@Tests/e2e/contract-python Tests/e2e/contract.py $(BINARY)

lint: ## check the formatting
	swift format lint --strict --parallel --recursive Package.swift Sources Tests

format: ## format the Swift sources in place
	swift format --in-place --parallel --recursive Package.swift Sources Tests

fuzz: deps ## feed every parser with anything for FUZZ_SECONDS each, under AddressSanitizer
	@scripts/fuzz.sh $(FUZZ_SECONDS)

sanitize: test-deps ## the unit tests under AddressSanitizer and ThreadSanitizer; docs/reliability.md (40 min)
	@scripts/sanitize.sh

bench: build bench-deps ## step time and memory side by side with PyTorch
	@Benchmarks/run.py --vintner $(BINARY) --require 0.8 --document docs/performance.md

load: build bench-deps ## what the server stands while two trainings run (docs/load.md)
	@Benchmarks/load.py --vintner $(BINARY)
	@Benchmarks/floor.py --vintner $(BINARY)

separable: build ## depthwise-separable against standard convolutions on Fashion-MNIST
	@Benchmarks/separable.py --vintner $(BINARY) --document docs/separable.md

results: build ## published results of compression, by jobs; MNIST from VINTNER_TEST_DATA (hours)
	@Benchmarks/results.py --vintner $(BINARY) --document docs/results.md

clean: ## remove what was built
	rm -rf .build
