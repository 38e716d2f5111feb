#!/usr/bin/env bash
# Starts `arouter up` on a temporary folder and lets schemathesis call every operation of its OpenAPI document, valid and invalid, with
# each kind of credential and without any: no 5xx, no status, content type or body that the document does not name.
# Usage: schemathesis.sh [PROGRAM]; AROUTER_TEST_EXAMPLES is the number of calls for each operation, AROUTER_TEST_OPENAPI_SECONDS the
# time for which each credential calls on.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
venv=.tools/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
    # Debian keeps the module that makes environments in a package of its own.
    python3 -m venv "$venv" || { . deploy/tools/debian.sh; install_packages python3-venv; python3 -m venv "$venv"; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4,<5' 'openapi-spec-validator>=0.7,<1'
fi
"$venv/bin/openapi-spec-validator" schemas/openapi.json

data=$(mktemp -d)
cat >"$data/arouter.toml" <<TOML
[server]
listen = "127.0.0.1:0"

[bootstrap]
credit_usd = 1000

[simulated]
latency_ms = 0
tokens_per_second = 100000
TOML
# The models that the document names in its examples.
for names in openai/gpt-5.4=echo anthropic/claude-sonnet-4.6=echo google/gemini-2.5-flash=echo openai/text-embedding-3-small=embed google/gemini-embedding-001=embed; do
    cat >>"$data/arouter.toml" <<TOML

[[models]]
id = "${names%=*}"
provider = "simulated"
upstream_model = "${names#*=}"
prompt_usd_per_mtok = "1"
completion_usd_per_mtok = "2"
context_length = 128000
max_output_tokens = 4096
TOML
done
"$program" up --config "$data/arouter.toml" --data "$data/gateway" >"$data/out.log" 2>"$data/err.log" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null; wait $pid || true; rm -rf "$data"' EXIT
for _ in $(seq 200); do [ -s "$data/gateway/running.json" ] && [ -s "$data/gateway/first-run.json" ] && break; kill -0 $pid 2>/dev/null || break; sleep 0.1; done
[ -s "$data/gateway/running.json" ] || { cat "$data/out.log" "$data/err.log"; exit 1; }

value() { "$venv/bin/python" -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/gateway/$1" "$2"; }
address=$(value running.json base_url)
address=${address%/v1}
result=0
run() {
    local name=$1
    shift
    echo "--- $name"
    [ -z "${AROUTER_TEST_OPENAPI_SECONDS:-}" ] || set -- --max-time "$AROUTER_TEST_OPENAPI_SECONDS" "$@"
    "$venv/bin/schemathesis" run "$address/openapi.json" --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --max-examples "${AROUTER_TEST_EXAMPLES:-20}" --workers 1 --no-color "$@" || result=$?
}
# Webhooks would send to other hosts, and the feed of events has no end. The provider's own operations are not the gateway's to describe.
callers=(--exclude-path '/{provider}/{path}' --exclude-tag Webhooks)
# Invented credentials beside a right one would end most calls with 401.
right=(--generation-with-security-parameters false)
live_key=$(value first-run.json live_key)
run "a live key" "${right[@]}" --header "Authorization: Bearer $live_key" "${callers[@]}"
run "a live key as Google's SDK sends it" "${right[@]}" --header "X-Goog-Api-Key: $live_key" --include-tag Models
run "a management key" "${right[@]}" --header "Authorization: Bearer $(value first-run.json management_key)" "${callers[@]}"
run "no credential" --exclude-path '/{provider}/{path}'
# Last, because it suspends accounts, revokes keys and replaces the catalogue.
run "the operator's token" "${right[@]}" --header "Authorization: Bearer $(<"$data/gateway/operator.token")" --include-tag Operator
exit "$result"
