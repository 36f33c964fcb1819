# Causeway's commands. `make demo` and `make test` need nothing but this clone: they install what is
# missing (see scripts/install-test-tools.sh), build, and start real servers on free ports.

CARGO ?= cargo
ARGS ?=
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help demo test conformance fmt fmt-check lint bench bench-peers tools clean-cache

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: tools ## The whole pipeline on this machine; options by ARGS="--seconds 20 --rows 200000"
	$(CARGO) build --release --workspace --bins
	@$(TARGET)/release/causeway-demo $(ARGS)

test: tools ## All tests, with real servers; ARGS="--test e2e -- snapshot" runs some
	$(CARGO) build --release --workspace --all-targets
	@scripts/test.sh $(ARGS)

conformance: tools ## The long tests: a million rows in bounded memory, stress, tiberius' own tests, all of Debezium's
	$(CARGO) build --release --workspace --all-targets
	@CAUSEWAY_MEMORY_ROWS=1000000 scripts/test.sh --test e2e -- memory --nocapture
	@scripts/test.sh --test reconcile --test peers --test sink --test e2e --test source -- --ignored
	@tests/tiberius-suite/run
	@SUITE_TEST_SECONDS=$${SUITE_TEST_SECONDS:-900} tests/debezium-suite/run all

fmt: ## Formats the code
	$(CARGO) fmt --all

fmt-check: ## Fails when the code is not formatted
	$(CARGO) fmt --all --check

lint: tools ## Clippy and rustdoc, no warning allowed
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --quiet

bench: tools ## Speed and memory, beside the raw limits; writes target/bench/latest.json
	$(CARGO) build --release --workspace --bins
	@$(TARGET)/release/causeway-benches $(ARGS)

bench-peers: tools ## Beside Debezium on the same servers; ARGS="--rows 500000"; writes target/bench/peers.json
	$(CARGO) build --release --workspace --bins
	@$(TARGET)/release/causeway-benches peers $(ARGS)

tools: ## Installs what tests and demo need (Debian packages, as root)
	@scripts/install-test-tools.sh

clean-cache: ## Removes what was fetched once (Kafka, registry, CI's build) from the user's cache
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/causeway"
