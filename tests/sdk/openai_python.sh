#!/usr/bin/env bash
# Runs the tests of the `openai` package itself, as its source archive has them, against a gateway with the simulated OpenAI behind it.
# Usage: openai_python.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}")
version=3.57.0
tools=.tools/openai-python
python=$PWD/$tools/venv/bin/python
# The mark is written last: an installation that was broken off, or of another version, is done again.
if [ "$(cat "$tools/installed" 2>/dev/null)" != "$version" ]; then
    rm -rf "$tools"
    # Debian keeps the module that makes environments in a package of its own.
    python3 -m venv "$tools/venv" || { . deploy/tools/debian.sh; install_packages python3-venv; python3 -m venv "$tools/venv"; }
    pip=("$python" -m pip --quiet --disable-pip-version-check)
    "${pip[@]}" install "openai[aiohttp]==$version" 'pytest>=9,<10' 'pytest-asyncio>=1.4,<2' 'rich>=13,<15' 'hatchling>=1,<2' 'hatch-fancy-pypi-readme>=25'
    "${pip[@]}" download --no-binary :all: --no-deps --no-build-isolation --dest "$tools" "openai==$version"
    tar -xzf "$tools/openai-$version.tar.gz" -C "$tools"
    # Their key is a constant.
    sed -i 's/^api_key = .*/api_key = os.environ["TEST_API_KEY"]/' "$tools/openai-$version/tests/conftest.py"
    grep -q TEST_API_KEY "$tools/openai-$version/tests/conftest.py"
    echo "$version" >"$tools/installed"
fi

. tests/sdk/processes.sh

PYTHONPATH=tests/sdk python3 -m vendors.main "$data/vendors.json" 2>"$data/vendors.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$data/vendors.json" ] && break; sleep 0.1; done

value() { python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])" "$data/$1" "$2"; }
cat >"$data/arouter.toml" <<TOML
[server]
listen = "127.0.0.1:0"

[bootstrap]
credit_usd = 1000

[[providers]]
slug = "openai"
responses = "preferred"
max_tokens_field = "max_completion_tokens"
base_url = "$(value vendors.json openai)/v1"
api_key = "secret"
TOML
# The names in their tests, and what the simulated OpenAI calls them.
for names in gpt-6-astra=gpt-5.4 model=gpt-4.1 text-embedding-3-small=text-embedding-3-small; do
    cat >>"$data/arouter.toml" <<TOML

[[models]]
id = "openai/${names%=*}"
provider = "openai"
upstream_model = "${names#*=}"
prompt_usd_per_mtok = "1"
completion_usd_per_mtok = "2"
context_length = 200000
max_output_tokens = 8192
TOML
done
"$program" up --config "$data/arouter.toml" --data "$data/gateway" >"$data/out.log" 2>"$data/err.log" &
pids+=($!)
for _ in $(seq 200); do [ -s "$data/gateway/running.json" ] && [ -s "$data/gateway/first-run.json" ] && break; kill -0 "${pids[1]}" 2>/dev/null || break; sleep 0.1; done
[ -s "$data/gateway/running.json" ] || { cat "$data/out.log" "$data/err.log"; exit 1; }

tests=(chat/test_completions.py test_responses.py responses/test_input_tokens.py test_embeddings.py test_models.py)
(
    cd "$tools/openai-$version"
    # 1 says that tests have failed; more, that they could not run.
    TEST_API_BASE_URL=$(value gateway/running.json base_url) TEST_API_KEY=$(value gateway/first-run.json live_key) "$python" -m pytest \
        -o addopts= -p no:cacheprovider --quiet --tb short --junit-xml "$data/report.xml" "${tests[@]/#/tests/api_resources/}" >"$data/pytest.log" || [ $? = 1 ]
) || { cat "$data/pytest.log"; exit 1; }
cat "$data/vendors.log"
python3 tests/sdk/openai_python.py "$data/report.xml"
