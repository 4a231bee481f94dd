# `make demo` shows four validators at work; `make test` runs everything that must hold. `make help` lists the rest.
# Every recipe builds with the one release profile, the same features and the same compiler settings, because whatever
# differs compiles RocksDB again, which takes minutes. `.ci/run` calls these targets and adds nothing of its own to them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(PATH):$(HOME)/.cargo/bin

# A continuous-integration machine keeps what it built outside the clone, which it throws away.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/quorate/target
else
export CARGO_TARGET_DIR ?= $(CURDIR)/target
endif

# With ccache, a change of Cargo's fingerprint costs RocksDB seconds instead of minutes.
ifneq ($(shell command -v ccache),)
ifeq ($(origin CC),default)
export CC := ccache gcc
endif
ifeq ($(origin CXX),default)
export CXX := ccache g++
endif
endif

export QUORATE_BIN := $(CARGO_TARGET_DIR)/release/quorate
SCENARIOS := $(CARGO_TARGET_DIR)/release/quorate-scenarios
CARGO_BUILD := cargo build --release --workspace --locked
CARGO_TEST := cargo test --release --workspace --locked

.PHONY: help setup build demo test scenarios lint fmt clippy doc purity bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing (Debian packages, by name; does nothing where nothing is)
	@scripts/setup.sh

build: setup ## Build everything that ships, and the scenario runner
	@if ! compgen -G "$(CARGO_TARGET_DIR)/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then \
	    echo "First build: RocksDB alone takes about 11 minutes on two cores; later builds take seconds." >&2; fi
	@$(CARGO_BUILD)

demo: build ## Four validators, signed transactions, a verified proof, a killed leader (KEEP=1 leaves them running)
	@KEEP="$(KEEP)" scripts/demo.sh

test: build ## The whole test suite, scenarios with real processes included
	@$(CARGO_TEST)

scenarios: build ## The long process-level scenarios, about twenty minutes (ONLY=name TIMES=n for one)
	@scripts/setup.sh scenarios
	@$(SCENARIOS) run $(or $(ONLY),--all) $(if $(TIMES),--times $(TIMES))

bench: build ## Micro-benchmarks (the load generator is `quorate bench`)
	@cargo bench --workspace --locked

lint: fmt clippy doc purity ## Everything below that reads and does not run

fmt: ## Is the code formatted?
	@cargo fmt --all -- --check

clippy: setup ## Warnings are errors, in tests too
	@cargo clippy --release --workspace --all-targets --locked -- -D warnings

doc: setup ## rustdoc without a warning
	@RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked

purity: setup ## Do the pure crates stay pure, and do dependencies point downwards only?
	@scripts/purity.sh

clean: ## Remove what was built here (not a cache outside the clone)
	@rm -rf "$(CURDIR)/target"
