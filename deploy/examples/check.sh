#!/usr/bin/env bash
# Proves that the example consumers write each usage event of their account once, while they and ARouter are killed in turn.
# A language that is not installed, or lacks its NATS client, is skipped with a message.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${AROUTER:-$here/../../target/debug/arouter}
python=${PYTHON:-python3}
data=$(mktemp -d)
arouter=
declare -A command address process=()
languages=()
trap 'kill -KILL $arouter "${process[@]}" 2>/dev/null || true; kill -KILL "$(cat "$data/nats/nats.pid")" 2>/dev/null || true; rm -rf "$data"' EXIT

start_arouter() {
    rm -f "$data/running.json"
    AROUTER_SERVER__LISTEN=127.0.0.1:0 "$program" up --data "$data" >"$data/out.log" 2>>"$data/err.log" &
    arouter=$!
    for _ in $(seq 600); do [ -s "$data/running.json" ] && [ -s "$data/first-run.json" ] && grep -q 'up at' "$data/out.log" && return; sleep 0.1; done
    echo "arouter does not start" >&2
    exit 1
}
field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
value() { field "$2" <"$data/$1"; }
add() {
    local language=$1
    shift
    command[$language]=$*
    languages+=("$language")
}
start_consumer() {
    # shellcheck disable=SC2086 # A command and its arguments.
    ${command[$1]} "${address[$1]}" "$data/$1.jsonl" 2>>"$data/$1.log" &
    process[$1]=$!
}
chat() {
    for _ in $(seq "$1"); do
        curl -sf -o /dev/null "$(value running.json base_url)/chat/completions" -H "authorization: Bearer $(value first-run.json live_key)" \
            -H 'content-type: application/json' -d '{"model":"simulated/echo","messages":[{"role":"user","content":"hi"}]}'
    done
    sent=$((sent + $1))
}

if "$python" -c 'import nats' 2>/dev/null; then add python "$python" "$here/python/usage.py"; else echo "skipped: python (pip install nats-py)"; fi
if [ -d "$here/node/node_modules" ]; then
    add node node --import "file://$here/node/node_modules/tsx/dist/loader.mjs" "$here/node/usage.ts"
else
    echo "skipped: node (npm install in deploy/examples/node)"
fi
# With GO111MODULE=off, Go takes the client from GOPATH, such as Debian's package of it.
if (cd "$here/go" && go build -o "$data/usage-go" usage.go) 2>"$data/go.log"; then add go "$data/usage-go"; else echo "skipped: go (go mod tidy in deploy/examples/go): $(head -1 "$data/go.log")"; fi
[ ${#languages[@]} -gt 0 ] || exit 1

sent=0
start_arouter
for language in "${languages[@]}"; do
    made=$("$program" admin consumer create "$language" --account "$(value first-run.json account)" --data "$data")
    address[$language]=$(field nats_url <<<"$made")
    start_consumer "$language"
done
for _ in 1 2 3; do
    chat 10
    for language in "${languages[@]}"; do kill -KILL "${process[$language]}"; wait "${process[$language]}" 2>/dev/null || true; done
    chat 10
    for language in "${languages[@]}"; do start_consumer "$language"; done
    chat 5
    kill -KILL $arouter "$(cat "$data/nats/nats.pid")"
    wait $arouter 2>/dev/null || true
    start_arouter
done
chat 5
# An event that a killed consumer had not acknowledged comes again after 30 s.
for language in "${languages[@]}"; do
    for _ in $(seq 900); do [ "$(wc -l <"$data/$language.jsonl")" -ge $sent ] && break; sleep 0.1; done
done
sleep 2
for language in "${languages[@]}"; do
    "$python" - "$language" "$data/$language.jsonl" $sent <<'PYTHON'
import json, sys
events = [json.loads(line) for line in open(sys.argv[2])]
ids, requests = {event["id"] for event in events}, {event["data"]["request"] for event in events}
assert len(events) == len(ids) == len(requests) == int(sys.argv[3]), (sys.argv[1], len(events), len(ids), len(requests), sys.argv[3])
print(f"{sys.argv[1]}: {len(ids)} events, each once, over 3 kills of the consumer and 3 of ARouter with its NATS")
PYTHON
done
