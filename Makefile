# Everything that a developer does. `make run` and `make test` set up what they need on a bare machine with Rust.

CARGO ?= cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
BINARY = $(TARGET)/release/stockroom
WEB_SOURCES = $(wildcard web/graphiql/*) web/package.json web/package-lock.json web/vite.config.ts web/tsconfig.json

.PHONY: run test build lint it clients attack oracle bench fuzz schema web setup setup-test setup-bench fmt clean

## Serves GraphiQL and the API with demo data on http://127.0.0.1:8000
run: build
	@exec $(BINARY) serve $(ARGS)

build: setup web
	$(CARGO) build --release

## Every check and every test
test: setup-test web clients lint it

it: clients
	$(CARGO) test

## Every attack on a server of its own, and what an honest client notices of it
attack: build
	node tests/attacks/attack.mjs $(BINARY) $(ARGS)

## A hundred thousand random questions between random writes, each compared with the truth
oracle:
	ORACLE_CASES=100000 $(CARGO) test --release --test it oracle -- --nocapture

## The whole server beside what no GraphQL server can beat; `make bench ARGS="--products=10000 --rounds=1"` is shorter
bench: setup-bench build
	$(CARGO) build --release --example limits
	node benches/load/bench.mjs $(abspath $(BINARY)) $(abspath $(TARGET)/release/examples/limits) $(ARGS)

FUZZ_SECONDS ?= 300
FUZZED = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
HOST = $(shell rustc --print host-tuple)

## Five minutes of whatever a fuzzer thinks of, at the front door; needs a C++ compiler
fuzz:
	RUSTFLAGS="$(FUZZED)" $(CARGO) build --release --manifest-path fuzz/Cargo.toml --target $(HOST) \
		--target-dir $(TARGET)/fuzz
	mkdir -p fuzz/corpus/door
	cd fuzz && $(abspath $(TARGET)/fuzz/$(HOST)/release/door) corpus/door seeds/door \
		-max_total_time=$(FUZZ_SECONDS) -max_len=16500 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1

## The clients that the tests run the server with
clients: tests/clients/node_modules/.package-lock.json

tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json
	cd tests/clients && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

fmt:
	$(CARGO) fmt

## Writes schema.graphql anew, for a change of the API
schema:
	$(CARGO) run --quiet -- schema > schema.graphql.new
	mv schema.graphql.new schema.graphql

## GraphiQL's bundle; without a fit Node.js the page comes from a CDN instead
web: web/dist/.built

web/dist/.built: $(WEB_SOURCES)
	@sh .ci/web

setup:
	@sh .ci/setup postgres

setup-test:
	@sh .ci/setup postgres redis node

setup-bench:
	@sh .ci/setup postgres node wrk

clean:
	$(CARGO) clean
	rm -rf tests/clients/node_modules web/node_modules web/dist/assets web/dist/graphiql web/dist/.built
