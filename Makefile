# One page: what can be done here.
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto
DATA ?= ./data

.PHONY: up build tools test-tools bench-tools test test-node test-cli test-openapi test-openai-python check audit bench bench-posting bench-activity bench-visible bench-keys bench-chaos bench-admission bench-formats mutants fuzz fmt schemas

up: tools ## builds and starts everything on this machine
	cargo build --profile up --locked -p arouter --no-default-features
	./target/up/arouter up --data $(DATA) $(ARGS)

build:
	cargo build --locked --workspace

tools: ## nats-server, when there is none
	./deploy/tools/nats-server.sh

test-tools: tools ## what the tests need besides: PostgreSQL
	./deploy/tools/postgresql.sh

bench-tools: tools ## what the benchmark needs besides: nginx
	./deploy/tools/nginx.sh

test: test-tools ## the whole test suite
	cargo build --locked --workspace --bins --tests
	cargo test --locked --workspace --lib --bins --test contract --test exact --test house_rules
	./tests/suite.sh
	./tests/sdk/run.sh
	./tests/sdk/matrix.sh
	./tests/sdk/statuses.sh

test-openapi: tools ## every operation of the OpenAPI document, called with valid and invalid parameters
	cargo build --locked -p arouter
	./tests/sdk/schemathesis.sh

test-node: test-tools ## the official SDKs for Node, 20 or newer, through the gateway
	cargo build --locked -p arouter
	./tests/sdk/node.sh

test-cli: tools ## Claude Code, Codex and Gemini CLI through the gateway, with a scripted model; needs npm
	cargo build --locked -p arouter
	./tests/sdk/cli.sh

test-openai-python: tools ## the tests of the package openai itself, through the gateway
	cargo build --locked -p arouter
	./tests/sdk/openai_python.sh

check: ## formatting, lints, documentation, unused dependencies and the other rules of the house
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	cargo test --locked --quiet --workspace --test house_rules

audit: ## licences, sources and known weaknesses of what this is built from
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

bench: bench-tools ## requests a second, latency, CPU and memory, beside nginx in the same run
	cargo build --release --locked -p arouter -p tests
	./target/release/bench

bench-posting: test-tools ## usage events a second that the ledger alone posts, on SQLite and on PostgreSQL
	cargo build --release --locked -p tests --bin bench
	./target/release/bench posting

bench-activity: ## events a second that the projector folds, and the latency of activity over a generated year
	cargo build --release --locked -p tests --bin bench
	./target/release/bench activity

bench-visible: test-tools ## the time until activity shows a request, while 500 requests a second are answered
	cargo build --release --locked -p arouter -p tests --bin arouter --bin bench
	./target/release/bench visible

bench-keys: test-tools ## start, memory and lookup with 100,000 keys, and the delay of changes of keys in two gateways
	cargo build --release --locked -p arouter -p tests --bin arouter --bin bench
	./target/release/bench keys

bench-chaos: tools ## what clients see while five of six providers fail for CHAOS_SECONDS, 300 when not set
	cargo build --release --locked -p arouter -p tests --bin arouter --bin bench
	./target/release/bench chaos

bench-admission: ## nanoseconds that a request waits for before it may be sent
	cargo bench --locked -p tests --bench admission

bench-formats: ## microseconds of a translation from one format to another
	cargo bench --locked -p tests --bench formats

mutants: test-tools ## takes away what the promises stand on, one thing at a time: a test must go red each time
	./tests/mutants.sh

fuzz: ## every fuzz target for FUZZ_SECONDS, 60 when not set
	./tests/fuzz.sh

fmt:
	cargo fmt --all

schemas: ## accepts a change of the public contract
	UPDATE_SCHEMAS=1 cargo test --locked --workspace --test contract
	UPDATE_SCHEMAS=1 cargo test --locked --workspace --test suite openapi::the_document_in_git
