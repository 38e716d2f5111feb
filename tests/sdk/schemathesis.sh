#!/usr/bin/env bash
# Starts `arouter up` on a temporary folder and lets schemathesis call every operation of its OpenAPI document, valid and invalid, with
# each kind of credential: no 5xx, no status, content type or body that the document does not name.
# Usage: schemathesis.sh [PROGRAM]; AROUTER_TEST_EXAMPLES is the number of calls for each operation.
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
AROUTER_SERVER__LISTEN=127.0.0.1:0 "$program" up --data "$data" >"$data/out.log" 2>"$data/err.log" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null; wait $pid || true; rm -rf "$data"' EXIT
for _ in $(seq 200); do [ -s "$data/running.json" ] && [ -s "$data/first-run.json" ] && break; sleep 0.1; done

value() { "$venv/bin/python" -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/$1" "$2"; }
address=$(value running.json base_url)
address=${address%/v1}
# Webhooks would send to other hosts, and the feed of events has no end.
result=0
for key in live_key management_key; do
    "$venv/bin/schemathesis" run "$address/openapi.json" --header "Authorization: Bearer $(value first-run.json "$key")" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --max-examples "${AROUTER_TEST_EXAMPLES:-20}" --exclude-path '/{provider}/{path}' --exclude-tag Webhooks --workers 1 --no-color || result=$?
done
exit "$result"
