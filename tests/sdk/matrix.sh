#!/usr/bin/env bash
# Starts the simulated vendors and a gateway in front of them, and runs the official SDKs of three vendors through it.
# Usage: matrix.sh [PROGRAM [OPTIONS OF matrix.py]]; with PROGRAM "direct" the SDKs meet the simulated vendors without a gateway.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
shift || true
. tests/sdk/python.sh
"$python" -m pip list --disable-pip-version-check 2>/dev/null | grep -E '^(openai|anthropic|google-genai) '

. tests/sdk/processes.sh

PYTHONPATH=tests/sdk "$python" -m vendors.main "$data/vendors.json" 2>"$data/vendors.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$data/vendors.json" ] && break; sleep 0.1; done

if [ "$program" = direct ]; then
    "$python" tests/sdk/direct.py "$data/vendors.json" "$@"
    exit
fi

"$python" tests/sdk/providers.py "$data/vendors.json" >"$data/arouter.toml"
"$program" up --config "$data/arouter.toml" --data "$data/gateway" >"$data/out.log" 2>"$data/err.log" &
pids+=($!)
for _ in $(seq 200); do [ -s "$data/gateway/running.json" ] && [ -s "$data/gateway/first-run.json" ] && break; kill -0 "${pids[1]}" 2>/dev/null || break; sleep 0.1; done
[ -s "$data/gateway/running.json" ] || { cat "$data/out.log" "$data/err.log"; exit 1; }

value() { "$python" -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/gateway/$1" "$2"; }
result=0
"$python" tests/sdk/matrix.py "$(value running.json base_url)" "$(value first-run.json live_key)" \
    --management-key "$(value first-run.json management_key)" --vendors "$data/vendors.json" "$@" || result=$?
cat "$data/vendors.log"
exit "$result"
