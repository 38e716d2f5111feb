//! `make bench-visible`: the time from the answer to a request until activity shows it, while `BENCH_RATE` requests a second are answered
//! (500) for `BENCH_SECONDS` (20). `BENCH_POSTGRES=1` measures PostgreSQL instead of SQLite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::postgres::Postgres;
use tests::{Arouter, Provider, Storage};
use tokio::task::JoinSet;

use crate::number;

/// One of so many requests is watched.
const WATCHED: u64 = 25;
/// The longest wait for a request to appear, before the measurement fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run() {
    let (rate, seconds) = (number("BENCH_RATE", 500), number("BENCH_SECONDS", 20));
    let storage = if number("BENCH_POSTGRES", 0) == 1 { Storage::Postgres(Postgres::start()) } else { Storage::Sqlite };
    let provider = Provider::start().await;
    let arouter = Arc::new(Arouter::start(storage, &provider.config()).await);
    let started = Instant::now();
    let mut requests = JoinSet::new();
    for sent in 0..rate * seconds {
        let due = started + Duration::from_secs(sent) / u32::try_from(rate).expect("a rate");
        tokio::time::sleep_until(due.into()).await;
        requests.spawn(answered(Arc::clone(&arouter), sent));
    }
    let mut delays: Vec<Duration> = requests.join_all().await.into_iter().flatten().collect();
    let took = started.elapsed();
    delays.sort_unstable();
    let ms = |quantile: f64| delays[((delays.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e3;
    println!(
        "{:.0} requests/s; visible in activity: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms of {} watched   target <= 250",
        (rate * seconds) as f64 / took.as_secs_f64(),
        ms(0.5),
        ms(0.99),
        ms(1.0),
        delays.len()
    );
}

/// Sends a request. Returns the time from its answer until activity has it, if it is watched.
async fn answered(arouter: Arc<Arouter>, number: u64) -> Option<Duration> {
    let user = format!("user-{number}");
    let body = json!({"model": "test/ok", "user": user, "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = arouter.chat(body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let since = Instant::now();
    if !number.is_multiple_of(WATCHED) {
        return None;
    }
    let path = format!("/api/v1/activity?period=1h&group_by=user&user={user}");
    loop {
        let (_, activity) = arouter.call(Method::GET, &path, &arouter.keys.management_key, None).await;
        if activity["totals"]["requests"] == json!(1) {
            return Some(since.elapsed());
        }
        assert!(since.elapsed() < PATIENCE, "activity does not show a request: {activity}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
