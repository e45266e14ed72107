# Everything that a developer does. `make run` and `make test` set up what they need on a bare machine with Rust.

CARGO ?= cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
BINARY = $(TARGET)/release/stockroom
WEB_SOURCES = $(shell find web/graphiql web/kit web/shop -type f -not -path '*/gql/*') \
	$(addprefix web/,codegen.ts package.json package-lock.json vite.config.ts tsconfig.json) schema.graphql

.PHONY: run test build lint it clients chart browser attack timing races oracle plans replicas bench scale steps fuzz faults overload soak schema supergraph web setup setup-test setup-bench fmt clean

## Serves the shop, GraphiQL and the API with demo data on http://127.0.0.1:8000
run: build
	@exec $(BINARY) serve $(ARGS)

build: setup web
	$(CARGO) build --release

## Every check and every test
test: setup-test web clients lint chart it faults

# What holds of accounts and catalogue holds where they are two services.
BEHIND_A_GATEWAY = accounts:: api_keys:: audit:: catalog:: events:: idempotency:: paging:: passwords:: permissions:: sessions:: \
	$(addprefix --skip ,$(OF_THE_GATEWAY))
# A gateway shows what it is composed of to whom it likes.
OF_THE_GATEWAY = the_schema_is_shown_to_the_staff_alone

# A browser has the machine to itself.
it: web clients
	$(CARGO) test -- --skip browser::
	SHAPE=services $(CARGO) test --test it -- $(BEHIND_A_GATEWAY)
	$(CARGO) test --test it -- browser::

## Every attack on a server of its own, and what an honest client notices of it
attack: build
	node tests/attacks/attack.mjs $(BINARY) $(ARGS)

## What clients of three instances see while PostgreSQL, Redis, the ways to them, and the instances fail
faults: setup-test web
	$(CARGO) build
	node tests/faults/faults.mjs $(TARGET)/debug/stockroom $(ARGS)

## How much is still served when three times as much is asked for
overload: setup-test build
	node tests/faults/faults.mjs $(BINARY) --only=overload $(ARGS)

MINUTES ?= 60

## The same at random, for as long as one likes
soak: setup-test build
	node tests/faults/faults.mjs $(BINARY) --only=random --minutes=$(MINUTES) $(ARGS)

## Whether anybody can tell by the clock if an address has an account
timing: build
	node tests/attacks/timing.mjs $(BINARY) $(ARGS)

## 200 rounds of 50 who refresh one token at once, and 1,000 races of refresh against revoke
races:
	RACES=200 $(CARGO) test --release --test it -- sessions::of_a_session sessions::fifty --nocapture

## A hundred thousand random questions between random writes, each compared with the truth
oracle:
	ORACLE_CASES=100000 $(CARGO) test --release --test it oracle -- --nocapture

## How a million products are read: what PostgreSQL looks at for a page
plans:
	PLANS_PRODUCTS=1000000 $(CARGO) test --release --test it -- plans --nocapture

## A hundred thousand reads of what was just written, from two replicas of which one is five seconds late
replicas:
	TOKENS=100000 $(CARGO) test --release --test it -- replicas::no_read --nocapture

## The whole server beside what no GraphQL server can beat; `make bench ARGS="--products=10000 --rounds=1"` is shorter
bench: setup-bench build
	$(CARGO) build --release --example limits
	node benches/load/bench.mjs $(abspath $(BINARY)) $(abspath $(TARGET)/release/examples/limits) $(ARGS)

## How the cost of a request grows from ten thousand products to a million
scale: setup-bench build
	node benches/load/scale.mjs $(abspath $(BINARY)) $(ARGS)

## What each step of a request costs, without HTTP and without a database
steps:
	$(CARGO) bench --bench steps

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

## The clients that the tests run the server with, and what drives a browser
clients: tests/clients/node_modules/.package-lock.json tests/browser/node_modules/.package-lock.json

## The Helm chart as it is installed, against the schemas of Kubernetes; the compose files, against their specification
chart:
	@sh .ci/setup python
	@sh .ci/chart $(TARGET)/chart

## The pages in a real browser, as customers and the staff use them
browser: setup-test web clients
	$(CARGO) test --test it -- browser:: --nocapture

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

fmt:
	$(CARGO) fmt

## Writes schema.graphql and web/kit anew, for a change of the API or the kit
schema:
	$(CARGO) run --quiet -- schema > schema.graphql.new
	mv schema.graphql.new schema.graphql
	$(CARGO) run --quiet -- client-kit --force web/kit

## deploy/supergraph.graphql, for a gateway before the two services
supergraph: build tests/clients/node_modules/.package-lock.json
	for service in accounts catalog; do $(BINARY) schema --services $$service > $(TARGET)/$$service.graphql || exit; done
	node tests/clients/supergraph.mjs $(TARGET)/accounts.graphql $(TARGET)/catalog.graphql > deploy/supergraph.graphql

## The shop and GraphiQL; without a fit Node.js GraphiQL comes from a CDN, and there is no shop
web: web/dist/.built

web/dist/.built: $(WEB_SOURCES)
	@sh .ci/web

setup:
	@sh .ci/setup postgres

setup-test:
	@sh .ci/setup postgres pgbouncer redis openssl node chromium nginx haproxy promtool faketime

setup-bench:
	@sh .ci/setup postgres node wrk

clean:
	$(CARGO) clean
	rm -rf tests/clients/node_modules tests/browser/node_modules web/node_modules web/shop/gql \
		web/dist/assets web/dist/graphiql web/dist/shop web/dist/.built
