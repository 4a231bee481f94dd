# `make demo` shows four validators at work; `make test` runs everything that must hold. `make help` lists the rest.
# Every recipe but `dist` builds with the one release profile, the same features and the same compiler settings, because
# whatever differs compiles RocksDB again, which takes minutes. `.ci/run` calls these targets and adds nothing of its own to them.

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
DIST_BIN := $(CARGO_TARGET_DIR)/dist/quorate
CARGO_BUILD := cargo build --release --workspace --locked
CARGO_TEST := cargo test --release --workspace --locked

.PHONY: help setup build dist demo test mutants rule-deletion model fuzz chaos soak scenarios lint fmt clippy doc purity bench scale links endurance microbench profile clean
.PHONY: api-test metrics-test rules-test explorer-test docs-test book deploy-check deb

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { \
	    line = sprintf("  make %-13s", $$1); count = split($$2, words, " "); \
	    for (i = 1; i <= count; i++) { \
	        if (length(line) + 1 + length(words[i]) > 80) { print line; line = sprintf("%20s", "") } \
	        line = line " " words[i]; \
	    } \
	    print line }' $(MAKEFILE_LIST)

setup: ## Install what is missing (Debian packages, by name; does nothing where nothing is)
	@scripts/setup.sh

build: setup ## Build everything, for use here and for the tests
	@if ! compgen -G "$(CARGO_TARGET_DIR)/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then \
	    echo "First build: RocksDB alone takes 10 to 40 minutes on two cores; later builds take seconds." >&2; fi
	@$(CARGO_BUILD)

# The RocksDB that `build` made serves here too: nothing of it is compiled again.
dist: build ## What ships: the same code, optimised across crates, in target/dist (about five minutes)
	@if [ -z "$${ROCKSDB_LIB_DIR:-}" ]; then built=$$(scripts/rocksdb-built.sh); export ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR="$$built"; fi; \
	    cargo build --profile dist --locked -p quorate-node --bin quorate -p quorate-benches --bin etcd_load \
	        -p quorate-crypto --example throughput
	@scripts/no-mutants.sh "$(DIST_BIN)"

demo: build ## Four validators, signed transactions, a verified proof, a killed leader (KEEP=1 leaves them running)
	@KEEP="$(KEEP)" scripts/demo.sh

test: build ## The whole test suite, scenarios with real processes included
	@scripts/no-mutants.sh "$(QUORATE_BIN)"
	@$(CARGO_TEST)
	@$(MAKE) api-test rules-test metrics-test explorer-test docs-test

# The checks of what other programs see, on a running testnet, with the ecosystem's own clients. CHECKS is their Python.
CHECKS = $$(scripts/checks/venv.sh)/bin/python scripts/checks

api-test: build ## schemathesis against a testnet: is every answer one that /openapi.json describes?
	@scripts/setup.sh checks
	@$(CHECKS)/api.py

rules-test: ## promtool on the alert and recording rules: each alert fires where it should, and is silent else
	@scripts/setup.sh prometheus
	@cd deploy/prometheus && promtool check rules alerts.yml recording.yml && promtool test rules tests.yml
	@scripts/checks/alerts.py

metrics-test: build ## Debian's prometheus scrapes a testnet: every metric, every panel of the dashboard, no false alarm
	@scripts/setup.sh prometheus
	@python3 scripts/checks/metrics.py

deploy-check: build ## Everything in deploy/ through the linters of its kind
	@scripts/setup.sh deploy
	@scripts/checks/deploy.sh
	@scripts/checks/broken.sh

deb: export QUORATE_BIN := $(DIST_BIN)
deb: dist ## The Debian package (CHECK=1: also install, run, upgrade and remove it in a copy of this machine, as root)
	@package=$$(deploy/debian/build.sh); echo "$$package"; $(if $(CHECK),scripts/checks/debian.sh "$$package")

explorer-test: build ## The explorer in a headless Chromium, with axe; screenshots in the target directory
	@scripts/setup.sh explorer
	@$(CHECKS)/explorer.py

docs-test: ## Does every link and anchor of the documentation lead somewhere, and has the book every page?
	@scripts/checks/links.py --test
	@scripts/checks/links.py

book: ## The documentation as a book with a search, in target/book (mdBook comes from PyPI into the target directory)
	@scripts/setup.sh checks
	@"$$(scripts/checks/venv.sh book)/bin/mdbook" build --dest-dir "$(CARGO_TARGET_DIR)/book"
	@echo "$(CARGO_TARGET_DIR)/book/index.html"

mutants: ## Tests the tests: who notices each deliberate mistake, and after how many worlds
	@cargo build --release --package quorate-sim --features mutants --locked --target-dir "$(CARGO_TARGET_DIR)/mutants"
	@scripts/no-mutants.sh --special "$(CARGO_TARGET_DIR)/mutants/release/quorate-sim"
	@"$(CARGO_TARGET_DIR)/mutants/release/quorate-sim" mutants

rule-deletion: ## Deletes one rule after the other from a copy, and shows that tests fail each time
	@scripts/rule-deletion.py

model: ## The protocol's rules, explored exhaustively (a few minutes; the tests explore small instances)
	@cargo run --release --locked --package quorate-model

scenarios: build ## The long process-level scenarios, an hour or more (ONLY=name TIMES=n for one)
	@scripts/setup.sh scenarios
	@$(SCENARIOS) run $(or $(ONLY),--all) $(if $(TIMES),--times $(TIMES))

fuzz: setup ## Any bytes to every decoder, the engine and recovery (TIME=seconds a target, SEED=n, ONLY=target, COVERAGE=1)
ifdef COVERAGE
	@scripts/fuzz-coverage.sh $(or $(TIME),60) $(ONLY)
else
	@cargo run --release --locked -p quorate-fuzz -- run --time $(or $(TIME),60) \
	    $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))
endif

soak: setup ## Simulated worlds without end (TIME=seconds, FROM=seed, STATE=file to go on from)
	@cargo run --profile soak --locked -p quorate-sim -- --soak $(if $(TIME),--time $(TIME)) \
	    $(if $(FROM),--seeds $(FROM)..$$(($(FROM)+1))) $(if $(STATE),--state $(STATE))

chaos: build ## Real validators under faults, then an audit (SECONDS=60 SEED=n FAULTS=kill,power DENSE=1, or SERVED=transactions between two)
	@scripts/setup.sh chaos
	@$(SCENARIOS) chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) \
	    $(if $(FAULTS),--faults $(FAULTS)) $(if $(DENSE),--dense) $(if $(SERVED),--served $(SERVED))

# What is measured is what ships.
bench scale links endurance profile: export QUORATE_BIN := $(DIST_BIN)

bench: dist ## The table of docs/BENCHMARKS.md: loads, faults, etcd beside it; under 20 minutes (QUICK=1: does it work?)
	@scripts/setup.sh bench
	@scripts/bench/main.py $(if $(QUICK),--quick)

scale: dist ## The same load on 4, 7, 10 and 16 validators: rates, and where the time goes (docs/BENCHMARKS.md)
	@scripts/bench/scale.py

links: dist ## What slow, lossy and narrow links do, under each congestion control (docs/BENCHMARKS.md)
	@scripts/bench/network.py

endurance: dist ## Minutes of full load: stalls, memory, bytes written (MINUTES=10)
	@scripts/bench/endurance.py $(if $(MINUTES),--minutes $(MINUTES))

profile: dist ## Where a transaction's microseconds go, by thread, from perf (CLIENTS=256 AFTER=seconds of load)
	@scripts/setup.sh profile
	@scripts/bench/profile.py $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(AFTER),--after $(AFTER))

microbench: setup ## Parts, with criterion: certificates, a vote, execution, the codec, proofs, storage (ONLY=name)
	@cargo bench --locked --workspace --bench parts -- $(ONLY)
	@$(if $(ONLY),,scripts/bench/parts.py)

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
