#!/usr/bin/env bash
# Brings about every status of a gateway with a scripted provider behind it, and checks what the official SDKs of three vendors make of it.
# Usage: statuses.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:-${CARGO_TARGET_DIR:-target}/debug/arouter}
. tests/sdk/python.sh
"$python" tests/sdk/statuses.py "$program"
