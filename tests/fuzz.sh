#!/usr/bin/env bash
# Runs every fuzz target, or those in FUZZ_TARGETS, for FUZZ_SECONDS (60 when not set), one after the other. `make fuzz`.
# What a target finds is kept in tests/fuzz/artifacts; the inputs it learned in tests/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
# The one toolchain is a stable one: this lets it build with a sanitizer.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
command -v cargo-fuzz > /dev/null || { [ -x .tools/bin/cargo-fuzz ] || cargo install cargo-fuzz --locked --root .tools; PATH="$PWD/.tools/bin:$PATH"; }
mkdir -p tests/fuzz/corpus/{envelope,payloads,sse,chat,responses,messages,generate}
printf ' data: a\r\ndata:b\r\r\n: c\n\ndata: [DONE]\n\n' > tests/fuzz/corpus/sse/lines
cp schemas/events/golden/*.json tests/fuzz/corpus/envelope/
for event in schemas/events/golden/*.json; do
    python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["data"], open(sys.argv[2], "w"))' "$event" "tests/fuzz/corpus/payloads/$(basename "$event")"
done
for fixture in schemas/wire/fixtures/*/*; do
    format=$(basename "$fixture" | cut -d. -f1) name=$(basename "$(dirname "$fixture")")-$(basename "$fixture")
    # A stream is fuzzed as the data of its frames, one a line.
    sed -n 's/^data: *//; /^event:/d; /./p' "$fixture" > "tests/fuzz/corpus/$format/$name"
done
cd tests
cargo fuzz build --fuzz-dir fuzz
for target in ${FUZZ_TARGETS:-$(cargo fuzz list --fuzz-dir fuzz)}; do
    log="fuzz/$target.log"
    if ! cargo fuzz run --fuzz-dir fuzz "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" > "$log" 2>&1; then
        grep -E 'panicked|ERROR|SUMMARY' -A 2 "$log" || tail -n 20 "$log"
        echo "$target found something: see tests/fuzz/artifacts/$target"
        exit 1
    fi
    echo "$target: $(grep '^Done' "$log")"
done
