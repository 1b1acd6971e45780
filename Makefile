# The commands of this repository. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

include tests/peers.mk

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## demo: Keepgate in front of two real servers, an agent that uses them, and the verified log (STAY=1 stays up, YES=1 approves)
.PHONY: demo
demo:
	cargo build --locked -p keepgate-cli -p keepgate-demo
	target/debug/keepgate-demo $(if $(STAY),--stay) $(if $(YES),--yes)

## test: every test, with real peers from npm and PyPI (into .peers/); skips are listed and fail it (ALLOW_SKIPS=1)
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export SKIPPED_TESTS := $(TARGET)/skipped.txt
# The gateway takes variables that begin so for its own configuration.
unexport KEEPGATE_PEERS_APT
.PHONY: test
test: peers deploy-tools system
	@mkdir -p $(TARGET) && rm -f $(SKIPPED_TESTS)
	# Some tests run the programs; built together with the tests, so that each crate is built once.
	cargo build --locked --workspace --bins --tests
	cargo test --locked --workspace --no-fail-fast || { tests/peers/skipped.sh; exit 1; }
	@tests/peers/skipped.sh

## shots: picture every page of the console, in both sizes and schemes, and renew those of docs/console.md
SHOTS := $(TARGET)/console-shots
.PHONY: shots
shots: peers
	cargo build --locked -p keepgate-cli -p keepgate-tests --bins
	SHOTS=$(SHOTS) cargo test --locked -p keepgate-tests --test it every_page_of_the_console
	cp $(addprefix $(SHOTS)/,$(notdir $(wildcard docs/console/*.png))) docs/console/

## golden: rewrite the golden files, to be read in review
.PHONY: golden
golden:
	UPDATE=1 UPDATE_EXPECT=1 cargo test --locked --workspace

## fmt: format
.PHONY: fmt
fmt:
	cargo fmt --all

## lint: formatting, clippy, docs
.PHONY: lint
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

## deny: licences, no second TLS stack, no wildcard, no git source
.PHONY: deny
deny: deploy-tools
	@if [ -x .peers/deploy/bin/cargo-deny ]; then \
		.peers/deploy/bin/cargo-deny --locked check bans licenses sources; \
	else \
		cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --version 0.20.2 --locked; \
		cargo deny --locked check bans licenses sources; \
	fi

## fuzz: every fuzz target for SECONDS_EACH (30), on the stable toolchain
SECONDS_EACH ?= 30
.PHONY: fuzz
fuzz:
	for target in fuzz/fuzz_targets/*.rs; do fuzz/run.sh $$(basename $$target .rs) $(SECONDS_EACH); done

## soak: what takes longer than CI has: ten minutes for each fuzz target, the whole benchmark, two thousand crashes and disk faults
.PHONY: soak
soak: peers system
	$(MAKE) fuzz SECONDS_EACH=600
	cargo build --locked --workspace --bins --tests
	SOAK=1 cargo test --locked -p keepgate-tests --test it crashes
	SOAK=1 cargo test --locked -p keepgate-tests --test it faults
	$(MAKE) bench

## bench: CPU per call beside a bare hyper proxy, interleaved in one run
.PHONY: bench
bench:
	cargo build --locked --release -p keepgate-cli -p keepgate-benches
	target/release/keepgate-bench

## bench-smoke: a few seconds of it, to see that it runs; the figures of this build mean nothing
.PHONY: bench-smoke
bench-smoke:
	cargo build --locked -p keepgate-cli -p keepgate-benches
	$(TARGET)/debug/keepgate-bench --quick

## ci: what CI runs
.PHONY: ci
ci: lint deny test
