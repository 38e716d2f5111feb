#!/usr/bin/env bash
# Starts `arouter up` on a temporary folder and runs the official SDKs and a plain NATS client against it.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
. tests/sdk/python.sh

data=$(mktemp -d)
AROUTER_SERVER__LISTEN=127.0.0.1:0 AROUTER_PROJECTOR__WEBHOOKS_TO_PRIVATE_ADDRESSES=true "$program" up --data "$data" >"$data/out.log" 2>"$data/err.log" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null; wait $pid || true; rm -rf "$data"' EXIT
for _ in $(seq 200); do [ -s "$data/running.json" ] && grep -q 'Try it' "$data/out.log" && break; sleep 0.1; done

value() { "$python" -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/$1" "$2"; }
"$python" tests/sdk/openai_chat.py "$(value running.json base_url)" "$(value first-run.json live_key)" "$(value first-run.json management_key)"
"$python" tests/sdk/webhook.py "$(value running.json base_url)" "$(value first-run.json live_key)" "$(value first-run.json management_key)"
"$python" tests/sdk/events.py "$(value first-run.json nats_url)"
"$python" tests/sdk/reader.py "$(value first-run.json nats_url)"
"$program" verify --data "$data"
