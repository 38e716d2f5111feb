#!/usr/bin/env bash
# Starts `arouter up` on a temporary folder and runs the official SDKs and a plain NATS client against it.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
venv=.tools/sdk
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import openai, nats, jsonschema, standardwebhooks' 2>/dev/null; then
    # Debian keeps the module that makes environments in a package of its own.
    python3 -m venv "$venv" || { . deploy/tools/debian.sh; install_packages python3-venv; python3 -m venv "$venv"; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'openai>=3.50,<4' 'nats-py>=2.9,<3' 'jsonschema[format]>=4.20,<5' 'standardwebhooks>=1,<2'
fi

data=$(mktemp -d)
AROUTER_SERVER__LISTEN=127.0.0.1:0 AROUTER_PROJECTOR__WEBHOOKS_TO_PRIVATE_ADDRESSES=true "$program" up --data "$data" >"$data/out.log" 2>"$data/err.log" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null; wait $pid || true; rm -rf "$data"' EXIT
for _ in $(seq 200); do [ -s "$data/running.json" ] && grep -q 'Try it' "$data/out.log" && break; sleep 0.1; done

value() { "$venv/bin/python" -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/$1" "$2"; }
"$venv/bin/python" tests/sdk/openai_chat.py "$(value running.json base_url)" "$(value first-run.json live_key)" "$(value first-run.json management_key)"
"$venv/bin/python" tests/sdk/webhook.py "$(value running.json base_url)" "$(value first-run.json live_key)" "$(value first-run.json management_key)"
"$venv/bin/python" tests/sdk/events.py "$(value first-run.json nats_url)"
"$venv/bin/python" tests/sdk/reader.py "$(value first-run.json nats_url)"
"$program" verify --data "$data"
