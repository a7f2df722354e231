# One entry point for everything; continuous integration runs `make test` and
# nothing else. The work is in scripts/, so that each step also runs by itself.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup check test test-long demo bench doc fmt clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
	  | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Install what is missing, and say what that is
	@scripts/setup.sh --checks

check: ## Format, lints, licences, tidiness, documentation
	@scripts/setup.sh --checks --quiet
	@scripts/check.sh

test: ## Everything a change must pass: setup, check, all tests
	@scripts/test.sh

test-long: ## The same, with the tests that take minutes
	@REELMILL_TEST_LONG=1 scripts/test.sh

demo: ## Convert a film on a small farm on this machine: make demo INPUT=film.mkv
	@scripts/setup.sh --quiet
	@scripts/demo.sh $(if $(INPUT),"$(INPUT)")

bench: ## Measure chunked encoding against plain FFmpeg, the coordinator, scanning
	@scripts/setup.sh --quiet
	@scripts/bench.sh
	@scripts/bench-service.sh
	@scripts/bench-library.sh
	@scripts/bench-dv.sh

doc: ## Build the code's documentation
	@cargo doc --workspace --no-deps --locked
	@echo "target/doc/reelmill_core/index.html"

fmt: ## Format the code
	@cargo fmt --all

clean: ## Remove what was built (the tools in .tools stay)
	@cargo clean
