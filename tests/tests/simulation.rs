//! Thousands of seeded histories. A seed that fails is printed; run it alone with `AROUTER_TEST_SEED`. `AROUTER_TEST_SEEDS` histories from
//! `AROUTER_TEST_FIRST_SEED` on are run, 10,000 from 0 when not set.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use tests::simulation::run;

const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).and_then(|text| text.to_str()?.parse().ok())
}

#[test]
fn no_history_breaks_a_promise() {
    if let Some(seed) = number("AROUTER_TEST_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = number("AROUTER_TEST_SEEDS").unwrap_or(SEEDS);
    let first = number("AROUTER_TEST_FIRST_SEED").unwrap_or(0);
    let (next, requests, movements) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds || failed.len() > 3 {
                    return failed;
                }
                match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                    Ok(summary) => {
                        requests.fetch_add(summary.requests as u64, Ordering::Relaxed);
                        movements.fetch_add(summary.movements as u64, Ordering::Relaxed);
                    }
                    Err(_) => failed.push(seed),
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    println!("{seeds} histories, {requests:?} requests at providers, {movements:?} movements of money");
    assert!(failed.is_empty(), "histories that break a promise: AROUTER_TEST_SEED={failed:?}");
    assert!(requests.into_inner() > seeds * 10, "histories in which nothing happens prove nothing");
}
