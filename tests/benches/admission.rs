//! `make bench-admission`: measures the delay of a request before it may be sent, while its account's lease is warm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use events::request::{Format, RequestStarted};
use events::{Draft, Nanos, Source, SystemClock};
use gateway::admission::budget::{Budget, Scope};
use gateway::admission::local_lease::{LocalLease, Moment};
use gateway::config::SpoolConfig;
use gateway::spool::Spool;

fn warm_purse() -> Budget {
    let local_lease = LocalLease::new("lease".into(), Instant::now());
    local_lease.grant(Nanos(i64::MAX / 4), Instant::now(), Duration::from_hours(1), None);
    let budget = Budget::new(Scope { account: "acc_1".into(), key: None });
    budget.replace(Some(Arc::new(local_lease)));
    budget
}

fn holds(criterion: &mut Criterion) {
    let budget = warm_purse();
    criterion.bench_function("a hold is taken from a warm lease and settled", |bencher| {
        bencher.iter(|| {
            let hold = budget.hold_now(Nanos(1_000), Moment::now(&SystemClock)).expect("a warm lease");
            hold.settle(Nanos(1_000));
        });
    });
}

/// The number of requests between two syncs. Another thread syncs and no request waits for it, so syncs are not measured.
const SYNC_EVERY: u64 = 10_000;

fn starts(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::create(
        std::sync::Arc::new(gateway::spool::FileSystem),
        folder.path().join("boot"),
        Source::gateway("bench", "boot"),
        SpoolConfig::default(),
    )
    .expect("a spool");
    let budget = warm_purse();
    let started = RequestStarted {
        request: "gen-1767225600-000000000000000000000001".into(),
        account: "acc_00000000000000000000000000000001".into(),
        key: "k".into(),
        lease: "01920000-0000-7000-8000-000000000002".into(),
        hold_nanos: Nanos(1_000),
        model: "openai/gpt-5.4".into(),
        user: None,
        app: None,
        experiment: None,
        format: Format::Chat,
        streamed: false,
        admitted_at_us: 0,
    };
    let id = uuid::Uuid::from_u128(1);
    let (account, subject) = (started.account.as_str(), started.request.as_str());
    let draft = Draft { id, time_us: 1_767_225_600_000_000, account, subject, traceparent: None, payload: &started };
    criterion.bench_function("the same with a reservation in the spool and the start on its way to the disk", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let portion = left.min(SYNC_EVERY);
                let since = Instant::now();
                for _ in 0..portion {
                    let mut reservation = spool.reserve().expect("a reservation");
                    let hold = budget.hold_now(Nanos(1_000), Moment::now(&SystemClock)).expect("a warm lease");
                    let position = reservation.start(&draft).unwrap();
                    hold.settle(Nanos(1_000));
                    spool.flush(reservation.end(|_| {}).max(position)).expect("written");
                }
                took += since.elapsed();
                left -= portion;
                spool.sync().expect("synced");
                spool.truncate(&[u64::MAX; 4]).expect("forgotten");
            }
            took
        });
    });
}

criterion_group!(admission, holds, starts);
criterion_main!(admission);
