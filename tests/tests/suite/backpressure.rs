//! A gateway that is busier than its readers slows requests down and refuses none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::Row;
use tests::Provider;
use tests::load::read;
use tests::port;
use tests::standalone::Standalone;
use tests::wait::until;
use tokio::task::JoinSet;

/// A spool that the clients fill in seconds.
const SMALL_SPOOL: &str = "[spool]\nsegment_bytes = 262144\nbytes_max = 4194304\n";
const CLIENTS: usize = 12;
const LASTING: Duration = Duration::from_secs(12);

/// Lets a process run for an eighth of the time, until `is_over`.
async fn slow_down(pid: Pid, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        for (signal, ms) in [(Signal::STOP, 700), (Signal::CONT, 100)] {
            kill_process(pid, signal).expect("it runs");
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_slow_reader_and_none_is_refused() {
    let (provider, metrics) = (Provider::start().await, port::free());
    let listen = format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n");
    let standalone = Standalone::start(1, &format!("{SMALL_SPOOL}{listen}{}", provider.config())).await;
    let target = standalone.target(1).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut slow = JoinSet::new();
    slow.spawn(slow_down(standalone.pid("projector").expect("it runs"), Arc::clone(&is_over)));
    let since = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (http, url, key) = (target.http.clone(), format!("{}/v1/chat/completions", target.gateways[0]), target.live_keys[0].clone());
        clients.spawn(async move {
            let (mut served, mut longest) = (0_i64, Duration::ZERO);
            while since.elapsed() < LASTING {
                let ask = json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]});
                let asked = Instant::now();
                let answer = http.post(&url).bearer_auth(&key).body(ask.to_string()).send().await.expect("an answer");
                let status = answer.status();
                assert_eq!(status, StatusCode::OK, "after {:?}: {}", since.elapsed(), answer.text().await.unwrap_or_default());
                (served, longest) = (served + 1, longest.max(asked.elapsed()));
            }
            (served, longest)
        });
    }
    let mut waits = Vec::new();
    while since.elapsed() < LASTING {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let text =
            target.http.get(format!("http://127.0.0.1:{metrics}/metrics")).send().await.expect("metrics").text().await.expect("text");
        let wait = text.lines().find_map(|line| line.strip_prefix("arouter_spool_backpressure_seconds ")).expect("the wait");
        waits.push(wait.parse::<f64>().expect("seconds"));
    }
    let served = clients.join_all().await;
    is_over.store(true, Ordering::Relaxed);
    slow.join_all().await;
    println!("requests and longest wait of each client: {served:?}");
    println!("backpressure over time, in seconds: {waits:?}");
    assert!(waits.iter().any(|wait| *wait > 0.0), "the spool never filled");
    let sum: i64 = served.iter().map(|(served, _)| served).sum();
    until("every charge", || async {
        let rows = read(&standalone.postgres.url("ledger"), "SELECT COUNT(*) FROM transactions WHERE kind = 'usage'").await;
        (rows[0].get::<i64, _>(0) == sum).then_some(())
    })
    .await;
    standalone.verify();
}
