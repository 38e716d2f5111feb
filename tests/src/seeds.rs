//! Seeded histories on all cores. A failing seed is printed; run it alone with `AROUTER_TEST_SEED`. Otherwise `AROUTER_TEST_SEEDS`
//! histories run, from `AROUTER_TEST_FIRST_SEED` on.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).and_then(|text| text.to_str()?.parse().ok())
}

/// Runs the histories of `count` seeds, and returns their summaries.
///
/// # Panics
/// Panics with the seeds that failed, after the histories have run.
pub fn histories<S: Debug + Send>(count: u64, run: impl Fn(u64) -> S + Sync) -> Vec<S> {
    if let Some(seed) = number("AROUTER_TEST_SEED") {
        let summary = run(seed);
        println!("{summary:?}");
        return vec![summary];
    }
    let seeds = number("AROUTER_TEST_SEEDS").unwrap_or(count);
    let first = number("AROUTER_TEST_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let work = || {
        let (mut summaries, mut failed) = (Vec::new(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failed.len() > 3 {
                return (summaries, failed);
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(summary) => summaries.push(summary),
                Err(_) => failed.push(seed),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (summaries, failed): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread")).unzip()
    });
    let failed = failed.concat();
    assert!(failed.is_empty(), "histories that break a promise: AROUTER_TEST_SEED={failed:?}");
    summaries.into_iter().flatten().collect()
}
