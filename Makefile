# The commands of the project. `make demo` and `make test` are the two that the
# README names; they install what the machine lacks, saying so first.

CARGO ?= cargo
# One target folder for every command.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

# What is run by clients, by systemd and through renewals: the binary that `make test` has built, or another one.
BINARY ?= $(CARGO_TARGET_DIR)/debug/corsac

.PHONY: help demo test lint core unit docs bench guard guard-update guard-allocations guard-core \
  guard-access-log valgrind fuzz loadtest loadtest-quick loadtest-builds loadtest-profile \
  loadtest-reload loadtest-upgrade loadtest-renewals loadtest-hold loadtest-soak loadtest-deps bare-release bare-release-pgo deny \
  release release-pgo pgo-deps deb tarball test-clients test-protocols test-tls clients-deps \
  test-systemd test-packages debug cargo-deb deps

help:
	@echo "make demo     start corsac on an example, send requests through it, show the answers"
	@echo "make test     everything that must hold: format, clippy, docs, all tests"
	@echo "make core     the pure core alone, without Pingora: seconds"
	@echo "make bench    the benches of the core"
	@echo "make guard    instructions and allocations against what is committed"
	@echo "make fuzz     every fuzz target for FUZZ_SECONDS (default 60) each"
	@echo "make loadtest  corsac under load, beside other proxies and itself: 30 minutes, and its builds"
	@echo "make loadtest-quick   a part of it, on plain builds: three minutes"
	@echo "make loadtest-builds  what a profile-guided build gives: ten minutes"
	@echo "make loadtest-profile where corsac's CPU goes beyond bare Pingora's: two minutes"
	@echo "make loadtest-reload  what a reload costs, under load"
	@echo "make loadtest-upgrade  an upgrade each second under load, and upgrades that fail or are given up"
	@echo "make loadtest-renewals  renewed certificates, and upgrades between them, under load over TLS: a minute"
	@echo "make loadtest-hold    thousands of hostile clients beside an honest one: 18 minutes"
	@echo "make loadtest-soak    every attack at once beside honest clients, for SOAK_SECONDS (default 600)"
	@echo "make deny     licences, bans and sources of the dependencies"
	@echo "make release  target/release/corsac, optimised"
	@echo "make release-pgo  target/release-pgo/corsac, optimised by a profile, as packages have it"
	@echo "make deb      a Debian package; make tarball: the same for elsewhere"
	@echo "make test-clients  answers before an upload's end, read by browsers, Node, curl, Python"
	@echo "make test-tls  what sslyze and testssl.sh find wrong: nothing; two minutes"
	@echo "make test-protocols  TLS and HTTP/2 by Chromium, Node, curl, Python, openssl, h2load"
	@echo "make test-systemd  install, reload, upgrade, crash, remove: on a real systemd"

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

# Counts, no times: the same on a machine that is busy. Each suite runs, even after one
# that fails. guard-update writes benches/guard/baseline anew.
GUARD ?= check
guard:
	@$(MAKE) --no-print-directory --keep-going guard-allocations guard-core guard-access-log

guard-update:
	@$(MAKE) --no-print-directory guard GUARD=update

# By the build that `make test` makes: optimising changes no count.
guard-allocations: deps
	$(CARGO) bench --quiet --profile dev --bench guard_allocations -- $(GUARD)

guard-core: deps valgrind
	$(CARGO) bench --quiet --no-default-features --bench guard_core -- $(GUARD)

# Apart, since it is built with Pingora: minutes.
guard-access-log: deps valgrind
	$(CARGO) bench --quiet --no-default-features --features server --bench guard_access_log -- $(GUARD)

valgrind:
	@scripts/install-deps valgrind

FUZZ_SECONDS ?= 60
FUZZ_TARGETS = origin acrh path route_table configuration request_head chunked proxy_header \
  forwarded http2_head http2_frames
fuzz:
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
	  echo "fuzz $$target for $(FUZZ_SECONDS) s"; \
	  mkdir -p fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --target-dir $(CARGO_TARGET_DIR)/fuzz $$target \
	    fuzz/corpus/$$target $$(ls -d fuzz/seeds/$$target 2>/dev/null) -- \
	    -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

# corsac under load, beside other proxies and itself: docs/performance.md. What packages
# have is measured, and plain builds beside it, in the main scenarios; MEASURED=release measures
# plain builds alone, which saves the profile-guided ones.
LOADTEST = $(CARGO_TARGET_DIR)/loadtest
MEASURED ?= release-pgo
BUILT = $(CARGO_TARGET_DIR)/$(1)
RUN_LOADTEST = loadtest/run.py --venv $(LOADTEST)/venv \
  --corsac $(call BUILT,$(1))/corsac --bare-pingora $(call BUILT,$(1))/bare-pingora
PLAIN_BUILDS = --plain-corsac $(call BUILT,release)/corsac --plain-bare-pingora $(call BUILT,release)/bare-pingora
# More arguments; `loadtest/run.py --help` has them.
LOADTEST_ARGS ?=
loadtest: loadtest-deps release bare-release $(MEASURED) bare-$(MEASURED)
	$(call RUN_LOADTEST,$(MEASURED)) $(if $(filter release,$(MEASURED)),,$(PLAIN_BUILDS)) \
	  --out $(LOADTEST)/results.json $(LOADTEST_ARGS)

# Of plain builds, which are there sooner.
loadtest-quick: loadtest-deps release bare-release
	$(call RUN_LOADTEST,release) --quick --out $(LOADTEST)/quick.json $(LOADTEST_ARGS)

# Profile-guided builds beside plain ones, in every scenario.
loadtest-builds: loadtest-deps release bare-release release-pgo bare-release-pgo
	$(call RUN_LOADTEST,release-pgo) $(PLAIN_BUILDS) --only scenarios \
	  --proxies corsac plain-corsac bare-pingora plain-bare-pingora --out $(LOADTEST)/builds.json $(LOADTEST_ARGS)

# Where corsac's CPU goes beyond bare Pingora's.
loadtest-profile: $(MEASURED) bare-$(MEASURED)
	@scripts/install-deps wrk perf=linux-perf llvm-symbolizer-19=llvm-19
	loadtest/cpu_profile.py --corsac $(call BUILT,$(MEASURED))/corsac \
	  --bare-pingora $(call BUILT,$(MEASURED))/bare-pingora $(LOADTEST_ARGS)

# What a reload costs.
loadtest-reload: $(MEASURED)
	@scripts/install-deps wrk
	loadtest/reload.py $(call BUILT,$(MEASURED))/corsac

# What an upgrade costs its clients: the table of docs/operations.md.
loadtest-upgrade: release
	@scripts/install-deps wrk
	loadtest/upgrade.py $(call BUILT,release)/corsac

# What renewed certificates and upgrades cost clients over TLS.
loadtest-renewals: $(if $(findstring /debug/,$(BINARY)),debug)
	@scripts/install-deps wrk h2load=nghttp2-client openssl
	loadtest/renewals.py $(BINARY)

# Clients that hold what they get, beside an honest one.
loadtest-hold: release
	@scripts/install-deps haproxy openssl
	@python3 -m unittest discover --quiet --start-directory loadtest
	loadtest/hold.py --corsac $(call BUILT,release)/corsac --out $(LOADTEST)/hold.json $(LOADTEST_ARGS)

# Every attack that is known, for a long time, beside honest clients.
SOAK_SECONDS ?= 600
loadtest-soak: release
	@scripts/install-deps openssl
	@python3 -m unittest discover --quiet --start-directory loadtest
	loadtest/soak.py --corsac $(call BUILT,release)/corsac --seconds $(SOAK_SECONDS) \
	  --out $(LOADTEST)/soak.json $(LOADTEST_ARGS)

loadtest-deps: deps
	@scripts/install-peers $(LOADTEST)/venv
	@python3 -m unittest discover --quiet --start-directory loadtest

# Pingora with nothing on top, built as corsac is.
bare-release: deps
	$(CARGO) build --release --quiet --manifest-path loadtest/bare-pingora/Cargo.toml

bare-release-pgo: pgo-deps
	scripts/release-pgo bare-pingora $(call BUILT,release-pgo)

deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check bans licenses sources

release: deps
	$(CARGO) build --release

# Guided by a profile: docs/performance.md. PROFILE is one of another run, to build the same again.
PROFILE ?=
release-pgo: pgo-deps
	scripts/release-pgo corsac $(CARGO_TARGET_DIR)/release-pgo $(PROFILE)

pgo-deps: deps
	@scripts/install-deps wrk h2load=nghttp2-client openssl llvm-profdata-19=llvm-19

# What is made of a binary: packages, below a folder that stands for `target`.
PACKAGES = $(CARGO_TARGET_DIR)/packages
CARGO_DEB = CARGO_TARGET_DIR=$(1) $(CARGO) deb --quiet --no-build --locked $(2)

# The build that is packaged; PACKAGED=release is one without a profile.
PACKAGED ?= release-pgo

deb: $(PACKAGED) cargo-deb
	packaging/stage $(CARGO_TARGET_DIR)/$(PACKAGED)/corsac $(PACKAGES)/release
	$(call CARGO_DEB,$(PACKAGES),--dbgsym)

tarball: $(PACKAGED)
	packaging/stage $(CARGO_TARGET_DIR)/$(PACKAGED)/corsac $(PACKAGES)/release
	packaging/tarball $(PACKAGES)/release $(PACKAGES)

# What real clients get: over TLS and HTTP/2, and before an upload's end. CLIENTS_ARGS are more arguments
# of the second: `tests/clients/uploads.py --help` has them.
CLIENTS_VENV = $(CARGO_TARGET_DIR)/test-clients/venv
CLIENTS_ARGS ?=
test-protocols: clients-deps
	@scripts/install-deps chromium node=nodejs openssl h2load=nghttp2-client
	$(CLIENTS_VENV)/bin/python tests/clients/protocols.py $(BINARY)

# Scanners of TLS.
test-tls: clients-deps
	@scripts/install-deps testssl=testssl.sh openssl
	@python3 -m unittest discover --quiet --start-directory tests/clients
	$(CLIENTS_VENV)/bin/python tests/clients/scan.py $(BINARY)

test-clients: $(if $(findstring /debug/,$(BINARY)),debug)
	@scripts/install-deps chromium firefox-esr node=nodejs
	@python3 -m unittest discover --quiet --start-directory tests/clients
	tests/clients/uploads.py $(BINARY) $(CLIENTS_ARGS)

clients-deps: $(if $(findstring /debug/,$(BINARY)),debug)
	@scripts/install-wheels $(CLIENTS_VENV) tests/clients/requirements.txt

# A package of BINARY, and not of a release, which takes minutes: what is tested here is how it
# is installed and run. SCENARIOS are some of those in tests/systemd/guest.
TESTED = $(CARGO_TARGET_DIR)/test-systemd
SYSTEMD_ROOTS = $(CARGO_TARGET_DIR)/systemd-roots
test-systemd: deps
	@if tests/systemd/run $(SYSTEMD_ROOTS); then \
	  $(MAKE) --no-print-directory test-packages && \
	  tests/systemd/run $(SYSTEMD_ROOTS) $(TESTED) $(SCENARIOS); \
	else [ $$? -eq 3 ]; fi

test-packages: cargo-deb $(if $(findstring /debug/,$(BINARY)),debug)
	packaging/stage $(BINARY) $(TESTED)/release
	$(call CARGO_DEB,$(TESTED),--fast --strip --output $(TESTED)/corsac.deb)
	$(call CARGO_DEB,$(TESTED),--fast --strip --output $(TESTED)/corsac-newer.deb --deb-revision 2)
	packaging/tarball $(TESTED)/release $(TESTED)
	mv $(TESTED)/corsac-*.tar.gz $(TESTED)/corsac.tar.gz

debug: deps
	$(CARGO) build --quiet

cargo-deb:
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb

deps:
	@scripts/install-deps
