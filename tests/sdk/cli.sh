#!/usr/bin/env bash
# Runs Claude Code, Codex and Gemini CLI through a gateway: each asks a scripted model, runs the shell command that it wants, and says the result.
# Usage: cli.sh [PROGRAM [AGENT ...]]; the agents are claude, codex and gemini.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}")
shift || true
agents=("${@:-claude codex gemini}")
tools=$PWD/.tools/cli
packages=('@anthropic-ai/claude-code' '@openai/codex' '@google/gemini-cli')
mkdir -p "$tools"
[ -x "$tools/node_modules/.bin/gemini" ] || (cd "$tools" && npm install --no-audit --no-fund --silent "${packages[@]}")

. tests/sdk/processes.sh

mkdir -p "$data/work" "$data/home/.gemini"
# What Gemini CLI's own dialogue writes after the choice of a key.
echo '{"security": {"auth": {"selectedType": "gemini-api-key"}}}' >"$data/home/.gemini/settings.json"
echo "the tea is in the blue tin" >"$data/work/note.txt"
python3 tests/sdk/coder.py "$data/port" "$data/work/note.txt" >"$data/coder.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$data/port" ] && break; sleep 0.1; done
cat >"$data/arouter.toml" <<TOML
[server]
listen = "127.0.0.1:0"

[[providers]]
slug = "scripted"
base_url = "http://127.0.0.1:$(cat "$data/port")/v1"

[[models]]
id = "scripted/coder"
provider = "scripted"
free = true
context_length = 1000000
max_output_tokens = 64000
TOML
"$program" up --config "$data/arouter.toml" --data "$data/gateway" >"$data/out.log" 2>"$data/err.log" &
pids+=($!)
for _ in $(seq 200); do [ -s "$data/gateway/running.json" ] && [ -s "$data/gateway/first-run.json" ] && break; kill -0 "${pids[1]}" 2>/dev/null || break; sleep 0.1; done
[ -s "$data/gateway/running.json" ] || { cat "$data/out.log" "$data/err.log"; exit 1; }

value() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/gateway/$1" "$2"; }
url=$(value running.json base_url)
root=${url%/v1}
root=${root%/api}
key=$(value first-run.json live_key)
export HOME=$data/home PATH=$tools/node_modules/.bin:$PATH
prompt="What does note.txt say?"

claude_code() {
    ANTHROPIC_BASE_URL=$root ANTHROPIC_AUTH_TOKEN=$key ANTHROPIC_MODEL=scripted/coder ANTHROPIC_DEFAULT_HAIKU_MODEL=scripted/coder \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 claude -p "$prompt" --allowedTools Bash
}

codex_cli() {
    AROUTER_KEY=$key codex exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -m scripted/coder \
        -c model_provider=arouter -c "model_providers.arouter={name=\"ARouter\", base_url=\"$root/v1\", env_key=\"AROUTER_KEY\", wire_api=\"responses\"}" \
        -c features.multi_agent=false -c 'web_search="disabled"' "$prompt"
}

gemini_cli() {
    GEMINI_API_KEY=$key GOOGLE_GEMINI_BASE_URL=$root gemini --skip-trust -m scripted/coder --approval-mode yolo -p "$prompt"
}

declare -A runs=([claude]=claude_code [codex]=codex_cli [gemini]=gemini_cli)
failed=0
cd "$data/work"
for agent in ${agents[*]}; do
    said=$(timeout 120 bash -c "$(declare -f claude_code codex_cli gemini_cli); root='$root' key='$key' prompt='$prompt'; ${runs[$agent]}" 2>"$data/$agent.log" </dev/null) || true
    if grep -q "The note says: .*the tea is in the blue tin" <<<"$(tr '\n' ' ' <<<"$said")"; then
        echo "ok    $agent"
    else
        echo "FAIL  $agent: $said"
        tail -n 30 "$data/$agent.log" "$data/err.log"
        failed=1
    fi
done
cat "$data/coder.log"
exit $failed
