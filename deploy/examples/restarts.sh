#!/usr/bin/env bash
# Proves that an example consumer writes each usage event once, while it and ARouter are killed in turn.
#
# Usage: restarts.sh COMMAND...      one process, which gets the address of NATS and the file as last arguments
set -euo pipefail
program=${AROUTER:-target/debug/arouter}
data=$(mktemp -d)
arouter= consumer=
trap 'kill -KILL $arouter $consumer 2>/dev/null || true; kill -KILL "$(cat "$data/nats/nats.pid")" 2>/dev/null || true; rm -rf "$data"' EXIT

start_arouter() {
    rm -f "$data/running.json"
    AROUTER_SERVER__LISTEN=127.0.0.1:0 "$program" up --data "$data" >"$data/out.log" 2>>"$data/err.log" &
    arouter=$!
    for _ in $(seq 600); do [ -s "$data/running.json" ] && [ -s "$data/first-run.json" ] && grep -q 'up at' "$data/out.log" && return; sleep 0.1; done
    echo "arouter does not start" >&2
    exit 1
}
value() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/$1" "$2"; }
start_consumer() {
    "${command[@]}" "$(value first-run.json nats_url)" "$data/usage.jsonl" 2>>"$data/consumer.log" &
    consumer=$!
}
chat() {
    for _ in $(seq "$1"); do
        curl -sf -o /dev/null "$(value running.json base_url)/chat/completions" -H "authorization: Bearer $(value first-run.json live_key)" \
            -H 'content-type: application/json' -d '{"model":"simulated/echo","messages":[{"role":"user","content":"hi"}]}'
    done
}

command=("$@")
start_arouter
start_consumer
sent=0
for round in 1 2 3; do
    chat 10
    kill -KILL $consumer
    wait $consumer 2>/dev/null || true
    chat 10
    start_consumer
    chat 5
    kill -KILL $arouter "$(cat "$data/nats/nats.pid")"
    wait $arouter 2>/dev/null || true
    start_arouter
    sent=$((sent + 25))
done
chat 5
sent=$((sent + 5))
lines() { wc -l <"$data/usage.jsonl"; }
for _ in $(seq 600); do [ "$(lines)" -ge $sent ] && break; sleep 0.1; done
sleep 2
python3 - "$data/usage.jsonl" $sent <<'PYTHON'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
ids = [row["event"]["id"] for row in rows]
requests = {row["event"]["data"]["request"] for row in rows}
assert len(ids) == len(set(ids)) == len(requests) == int(sys.argv[2]), (len(ids), len(set(ids)), len(requests), sys.argv[2])
print(f"{len(ids)} events, each once, over 3 kills of the consumer and 3 of ARouter with its NATS")
PYTHON
