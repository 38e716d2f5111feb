#!/usr/bin/env bash
# Takes away what the promises stand on, one thing at a time, and demands that a test goes red each time. `make mutants`.
# Works on a copy of the sources and builds in a folder of its own: what was built without a promise must never pass for the tree's.
# ONLY=WORDS takes those whose name has them.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/mutants"
git ls-files -z --cached --others --exclude-standard | xargs -0 tar cf - | tar xmf - -C "$copy"
green=0
declare -A whole
# Tests through the front door start it, and it starts NATS.
ln -s "$PWD/.tools" "$copy/.tools"
(cd "$copy" && cargo build --quiet --locked --workspace --bin arouter --test suite)

# mutant NAME FILE OLD NEW TEST...: OLD must stand in FILE once.
mutant() {
    local name=$1 file=$2 old=$3 new=$4
    shift 4
    [[ $name == *"${ONLY:-}"* ]] || return 0
    # A test that is red anyway, for want of a program say, shows nothing.
    if [[ -z ${whole[$*]:-} ]]; then
        (cd "$copy" && cargo build --quiet --locked --workspace --bin arouter --test suite && cargo test --quiet --locked "$@") >/dev/null 2>&1 || {
            echo "BROKEN cargo test $*: red before anything was taken away"
            exit 1
        }
        whole[$*]=1
    fi
    python3 - "$copy/$file" "$old" "$new" <<'P'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
assert text.count(old) == 1, f"{path}: {old!r} stands there {text.count(old)} times"
open(path, "w").write(text.replace(old, new))
P
    local said
    # Tests through the front door start the program, which their own build does not make.
    if said=$(cd "$copy" && cargo build --quiet --locked --workspace --bin arouter --test suite 2>&1 && RUST_BACKTRACE=0 cargo test --quiet --locked "$@" 2>&1); then
        echo "GREEN  without $name: nobody noticed"
        green=1
    elif grep -q 'could not compile' <<<"$said"; then
        echo "BROKEN without $name: it does not compile"
        grep -m 3 '^error' <<<"$said"
        green=1
    else
        echo "red    without $name: $(grep -m 1 -A 1 'panicked at' <<<"$said" | tail -n 1 | cut -c 1-140)"
    fi
    cp "$file" "$copy/$file"
}

mutant "the memory of what is posted" ledger/src/posting/post_usage.rs \
    '        if let Some(other) = self.event_of_request.get(request) {' '        if let Some(other) = self.event_of_request.get("") {' \
    -p ledger
mutant "the unique key of the books" ledger/migrations/0002_books.sql \
    '    id TEXT PRIMARY KEY,
    content_hash' '    id TEXT,
    content_hash' -p ledger
mutant "the checkpoint's compare-and-set" schemas/eventlog/src/checkpoint.rs \
    'WHERE reader = $4 AND identity = $5 AND sequence = $6 AND event_id = $7' \
    'WHERE reader = $4 AND $5 IS NOT NULL AND $6 IS NOT NULL AND $7 IS NOT NULL' -p eventlog
mutant "the freeze of a vanished gateway's lease" ledger/src/lease/settle.rs \
    '                    lease.state = State::Frozen;' '                    let back = lease.settle();
                    self.move_to_lease(&lease, Nanos(-back.0), now_us);' --workspace --test suite simulation::
mutant "the checksum of spool records" gateway/src/spool/record.rs \
    'if crc32fast::hash(body) != checksum {' 'if false && crc32fast::hash(body) != checksum {' -p gateway --lib
mutant "the hold on n > 1" gateway/src/route/plan.rs \
    '.saturating_mul(head.choices))' ')' -p gateway --lib
mutant "the burning of grants" ledger/src/posting/charge.rs \
    '        self.burn(&charge.account, charged);' '        self.burn(&charge.account, Nanos::ZERO);' --workspace --test suite simulation::
mutant "the window that the money was lent in" ledger/src/posting/charge.rs \
    '|(key, of, _)| *of == period && key.as_str()' '|(key, of, _)| *of == period && key.is_empty() && key.as_str()' --workspace --test suite simulation::
mutant "the word to the log of what leases gave back" ledger/src/decide/mod.rs \
    '(lease.state, lease.granted, lease.returned)' '(lease.state, lease.granted)' --workspace --test suite simulation::
mutant "the chain that tells one history of the log from another" schemas/eventlog/src/share/frontier.rs \
    '.chain_update(self.0)' '.chain_update([0; 16])' -p eventlog
mutant "the look at those who are further" schemas/eventlog/src/share/frontier.rs \
    'if !positions.iter().all(|position| self.saw(position)) {' \
    'if !positions.iter().filter(|position| position.sequence <= self.position().sequence).all(|position| self.saw(position)) {' \
    --workspace --test suite simulation::
mutant "the sync of what a killed process left" gateway/src/spool/writer.rs \
    '            segment.file.sync()?;
            segment.lasts' '            segment.lasts' --workspace --test suite spooling::
mutant "the starts that are kept until their ends are synced" gateway/src/spool/reservation.rs \
    'queue.ended.extend(self.open.map(|open| (open, position)));' \
    'self.open.iter().for_each(|open| drop(queue.open.remove(open)));' \
    --workspace --test suite spooling::
mutant "the numbers that a file's header says were given out before it" gateway/src/spool/recover.rs \
    '*last = before.max(*last);' '*last = before.min(*last).max(*last);' -p gateway --lib
mutant "the look at what is behind a torn write" gateway/src/spool/segment.rs \
    '.all(|byte| *byte == 0)' '.all(|byte| *byte < u8::MAX)' -p gateway --lib
mutant "the timeline of the database" schemas/eventlog/src/timeline.rs \
    'if *first != now {' 'if *first != now && now.is_empty() {' -p eventlog
mutant "the number that a fact of the ledger must get" schemas/eventlog/src/append.rs \
    '.expected_last_sequence(behind)' '' --workspace --test suite recovery::row_of_facts
mutant "the fact that one must come behind" schemas/eventlog/src/append.rs \
    'message = message.expected_last_message_id(before);' 'drop(before);' --workspace --test suite recovery::row_of_facts
mutant "the signature of the ledger's facts" ledger/src/outbox.rs \
    'keys.accepts(&record.payload, sequence).then_some(envelope)' 'Some(envelope).filter(|_| sequence > 0)' \
    --workspace --test suite log_access::what_the_ledger_did_not_write
mutant "the nonce that a request is good for once" schemas/eventlog/src/rpc.rs \
    'seen.insert(nonce.to_owned(), Instant::now()).is_none()' 'seen.insert(nonce.to_owned(), Instant::now()).is_none_or(|_| true)' \
    --workspace --test suite log_access::a_question_that_is
mutant "the records of a request that runs long" gateway/src/spool/carry.rs \
    'let Some(oldest) = self.oldest_kept_open(taken_over) else' \
    'let Some(oldest) = self.oldest_kept_open(taken_over).filter(|_| taken_over.is_empty()) else' \
    --workspace --test suite tenants::an_open_stream_pins
mutant "the revision that the first change has claimed" ledger/src/key/claim.rs \
    '(is_newest || is_abandoned || wins)' '(is_newest || is_abandoned || wins || known >= applied)' -p ledger --lib
mutant "an account's own share of a budget" gateway/src/admission/in_flight_quota.rs \
    'limits.body_bytes_in_flight_per_account_max);' 'limits.body_bytes_in_flight_max);' \
    --workspace --test suite tenants::bytes_of_bodies_are_bounded_for_each_account
exit $green
