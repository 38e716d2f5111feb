#!/usr/bin/env bash
# Runs the tests by the front door, one module after another, so that a module has the machine for itself as far as its own tests go. All
# modules run, even after a failure. Modules that only wait run side by side at the end. Names of modules as arguments: only those.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(cargo test --locked --workspace --test suite --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
program=$PWD/$program
modules=("$@")
[ ${#modules[@]} -gt 0 ] || mapfile -t modules < <(sed -n 's/^mod \(.*\);$/\1/p' tests/tests/suite/main.rs)
# Modules that wait for minutes to pass and take little of the machine meanwhile.
waiting=" rate_limits rate_shares window "
cd tests
run() {
    local since=$SECONDS result=0
    "$program" --quiet "$1::" || result=1
    echo "$1: $((SECONDS - since)) s"
    return $result
}
failed=() beside=() output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
for module in "${modules[@]}"; do
    case "$waiting" in *" $module "*) beside+=("$module"); continue ;; esac
    run "$module" || failed+=("$module")
done
for module in "${beside[@]}"; do
    run "$module" >"$output/$module" 2>&1 &
    jobs["$!"]=$module
done
for job in "${!jobs[@]}"; do
    wait "$job" || failed+=("${jobs[$job]}")
    cat "$output/${jobs[$job]}"
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
