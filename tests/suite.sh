#!/usr/bin/env bash
# Runs the tests by the front door, one module after another, so that a module has the machine for itself as far as its own tests go. All
# modules run, even after a failure. Names of modules as arguments: only those.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(cargo test --locked --workspace --test suite --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
program=$PWD/$program
modules=("$@")
[ ${#modules[@]} -gt 0 ] || mapfile -t modules < <(sed -n 's/^mod \(.*\);$/\1/p' tests/tests/suite/main.rs)
failed=()
cd tests
for module in "${modules[@]}"; do
    since=$SECONDS
    "$program" --quiet "$module::" || failed+=("$module")
    echo "$module: $((SECONDS - since)) s"
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
