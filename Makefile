# The commands of the project. `make demo` and `make test` are the two that the
# README names; they install what the machine lacks, saying so first.

CARGO ?= cargo
# One target folder for every command.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

.PHONY: help demo test lint core unit docs bench fuzz \
  loadtest loadtest-quick loadtest-reload loadtest-deps deny release deps

help:
	@echo "make demo     start corsac on an example, send requests through it, show the answers"
	@echo "make test     everything that must hold: format, clippy, docs, all tests"
	@echo "make core     the pure core alone, without Pingora: seconds"
	@echo "make bench    the benches of the core"
	@echo "make fuzz     every fuzz target for FUZZ_SECONDS (default 60) each"
	@echo "make loadtest  corsac under load, beside other proxies and itself: 40 minutes"
	@echo "make loadtest-quick   a part of it, in under five minutes"
	@echo "make loadtest-reload  what a reload and the access log cost, under load"
	@echo "make deny     licences, bans and sources of the dependencies"
	@echo "make release  target/release/corsac, optimised"

demo: deps
	$(CARGO) run --quiet -- demo --tour

test: deps lint docs unit

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings

unit: deps
	$(CARGO) test --quiet

core:
	$(CARGO) test --quiet --no-default-features --lib

docs: deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet --document-private-items

bench: deps
	$(CARGO) bench --no-default-features

FUZZ_SECONDS ?= 60
FUZZ_TARGETS = origin acrh path route_table configuration
fuzz:
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
	  echo "fuzz $$target for $(FUZZ_SECONDS) s"; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --target-dir $(CARGO_TARGET_DIR)/fuzz $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

# corsac under load, beside other proxies and itself: docs/performance.md.
LOADTEST = $(CARGO_TARGET_DIR)/loadtest
RUN_LOADTEST = loadtest/run.py --corsac $(CARGO_TARGET_DIR)/release/corsac \
  --bare-pingora $(CARGO_TARGET_DIR)/release/bare-pingora --venv $(LOADTEST)/venv
# More arguments; `loadtest/run.py --help` has them.
LOADTEST_ARGS ?=
loadtest: release loadtest-deps
	$(RUN_LOADTEST) --out $(LOADTEST)/results.json $(LOADTEST_ARGS)

loadtest-quick: release loadtest-deps
	$(RUN_LOADTEST) --quick --out $(LOADTEST)/quick.json $(LOADTEST_ARGS)

# What a reload and what the access log cost.
loadtest-reload: release
	@scripts/install-deps wrk
	loadtest/reload.py $(CARGO_TARGET_DIR)/release/corsac
	$(RUN_LOADTEST) --out $(LOADTEST)/log.json --proxies corsac --only pair-log

loadtest-deps: deps
	@scripts/install-peers $(LOADTEST)/venv
	@python3 -m unittest discover --quiet --start-directory loadtest
	$(CARGO) build --release --quiet --manifest-path loadtest/bare-pingora/Cargo.toml

deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check bans licenses sources

release: deps
	$(CARGO) build --release

deps:
	@scripts/install-deps
