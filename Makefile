# The commands of this repository. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

include tests/peers.mk

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## demo: Keepgate in front of two real servers, an agent that uses them, and the verified log (STAY=1 stays up)
.PHONY: demo
demo:
	cargo build --locked -p keepgate-cli -p keepgate-demo
	target/debug/keepgate-demo $(if $(STAY),--stay)

## test: every test, with real peers from npm and PyPI (installed into .peers/)
.PHONY: test
test: peers deploy-tools
	# Some tests run the programs; built together with the tests, so that each crate is built once.
	cargo build --locked --workspace --bins --tests
	cargo test --locked --workspace

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

## deny: licences, no second TLS stack, no wildcard, no git source (builds cargo-deny the first time)
.PHONY: deny
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --version 0.20.2 --locked
	cargo deny --locked check bans licenses sources

## fuzz: every fuzz target for SECONDS_EACH (30), on the stable toolchain
SECONDS_EACH ?= 30
.PHONY: fuzz
fuzz:
	for target in fuzz/fuzz_targets/*.rs; do fuzz/run.sh $$(basename $$target .rs) $(SECONDS_EACH); done

## bench: CPU per call beside a bare hyper proxy, interleaved in one run
.PHONY: bench
bench:
	cargo build --locked --release -p keepgate-cli -p keepgate-benches
	target/release/keepgate-bench

## bench-smoke: a few seconds of it, to see that it runs
.PHONY: bench-smoke
bench-smoke:
	cargo build --locked --release -p keepgate-cli -p keepgate-benches
	target/release/keepgate-bench --quick

## ci: what CI runs
.PHONY: ci
ci: lint deny test
