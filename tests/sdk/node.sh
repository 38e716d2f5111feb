#!/usr/bin/env bash
# Starts the simulated vendors and a gateway in front of them, and runs the official SDKs for Node through it.
# Usage: node.sh [PROGRAM [OPTIONS OF matrix.mjs]]
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
shift || true
modules=.tools/sdk-node
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    . deploy/tools/debian.sh
    install_packages nodejs npm
fi
# The mark is written last: an installation that was broken off, or of other ranges, is done again.
if ! cmp -s tests/sdk/node/package.json "$modules/installed.json"; then
    rm -rf "$modules"
    mkdir -p "$modules"
    cp tests/sdk/node/package.json "$modules/package.json"
    npm install --prefix "$modules" --no-audit --no-fund --no-package-lock --ignore-scripts --silent
    cp "$modules/package.json" "$modules/installed.json"
fi
# Node looks for packages only in the folders above a module.
rm -rf "$modules/matrix"
cp -R tests/sdk/node "$modules/matrix"
npm ls --prefix "$modules" --depth 0 | grep -oE '[^ ]+@[0-9][^ ]*$'

. tests/sdk/processes.sh

PYTHONPATH=tests/sdk python3 -m vendors.main "$data/vendors.json" 2>"$data/vendors.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$data/vendors.json" ] && break; sleep 0.1; done

python3 tests/sdk/columns.py "$data/vendors.json" >"$data/columns.json"
python3 tests/sdk/providers.py "$data/vendors.json" >"$data/arouter.toml"
"$program" up --config "$data/arouter.toml" --data "$data/gateway" >"$data/out.log" 2>"$data/err.log" &
pids+=($!)
for _ in $(seq 200); do [ -s "$data/gateway/running.json" ] && [ -s "$data/gateway/first-run.json" ] && break; kill -0 "${pids[1]}" 2>/dev/null || break; sleep 0.1; done
[ -s "$data/gateway/running.json" ] || { cat "$data/out.log" "$data/err.log"; exit 1; }

value() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/gateway/$1" "$2"; }
result=0
node "$modules/matrix/matrix.mjs" "$(value running.json base_url)" "$(value first-run.json live_key)" --columns "$data/columns.json" \
    --management-key "$(value first-run.json management_key)" "$@" || result=$?
cat "$data/vendors.log"
exit "$result"
