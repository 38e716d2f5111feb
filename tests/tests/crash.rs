//! `kill -9` of everything at any moment, and a store that NATS rolls back: nothing is lost, nothing is charged twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Any, Row};
use tests::arouter::nanos;
use tests::{Arouter, Provider, Storage};
use tokio::task::JoinSet;

/// What clients were told: the charge of every whole answer, by request.
type Told = Arc<Mutex<BTreeMap<String, i64>>>;

/// Clients that ask until told to stop, each request with a `user` of its own.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(arouter: &Arouter, told: &Told, counter: &Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..16 {
            let (http, url, key) = (arouter.http.clone(), format!("{}/v1/chat/completions", arouter.base), arouter.keys.live_key.clone());
            let (told, counter, stop) = (Arc::clone(told), Arc::clone(counter), Arc::clone(&stop));
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let user = format!("u{}", counter.fetch_add(1, Ordering::Relaxed));
                    let body = json!({"model": "test/ok", "user": user, "stream": client % 2 == 0, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
                    let Ok(answer) = http.post(&url).bearer_auth(&key).body(body.to_string()).send().await else { return };
                    let Ok(text) = answer.text().await else { return };
                    if let Some((id, cost)) = charge(&text) {
                        told.lock().expect("unpoisoned").insert(id, cost);
                    }
                }
            });
        }
        Self { clients, stop }
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
    }
}

/// Id and cost of a whole answer, streamed or not.
fn charge(text: &str) -> Option<(String, i64)> {
    let value: Value = if text.starts_with("data: ") {
        let frames: Vec<&str> = text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")).collect();
        let at = frames.iter().position(|frame| *frame == "[DONE]")?;
        serde_json::from_str(frames.get(at.checked_sub(1)?)?).ok()?
    } else {
        serde_json::from_str(text).ok()?
    };
    Some((value["id"].as_str()?.to_owned(), nanos(value.get("usage")?.get("cost")?)))
}

/// The amounts of all postings by request.
async fn postings(arouter: &Arouter) -> BTreeMap<String, i64> {
    let rows = read(&arouter.data().join("ledger.db"), "SELECT request, amount_nanos FROM transactions WHERE kind = 'usage'").await;
    let all: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), -row.get::<i64, _>(1))).collect();
    let by_request: BTreeMap<String, i64> = all.iter().cloned().collect();
    assert_eq!(all.len(), by_request.len(), "a request is posted twice");
    by_request
}

async fn read(path: &Path, sql: &'static str) -> Vec<sqlx::any::AnyRow> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}?mode=ro", path.display())).await.expect("a database");
    let rows = sqlx::query::<Any>(sql).fetch_all(&pool).await.expect("rows");
    pool.close().await;
    rows
}

/// Every answer has its charge, every request that reached the provider is known once.
async fn nothing_is_lost_or_doubled(arouter: &Arouter, provider: &Provider, told: &Told) {
    let postings = postings(arouter).await;
    for (request, cost) in told.lock().expect("unpoisoned").iter() {
        assert_eq!(postings.get(request), Some(cost), "{request}: the client was told another charge");
    }
    let rows = read(&arouter.data().join("projector.db"), "SELECT end_user, COUNT(*) FROM generations GROUP BY end_user").await;
    let known: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (user, times) in provider.users() {
        assert_eq!(
            (times, known.get(&user)),
            (1, Some(&1)),
            "{user} reached the provider {times} times and is known {:?} times",
            known.get(&user)
        );
    }
}

#[tokio::test]
async fn killed_again_and_again_under_load() {
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1000\n[spool]\nsegment_bytes = 1048576\n{}", provider.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let (told, counter) = (Told::default(), Arc::<AtomicU64>::default());
    let rounds: u64 = std::env::var_os("AROUTER_TEST_KILLS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    for round in 0..rounds {
        let load = Load::start(&arouter, &told, &counter);
        // The moment is what varies; there is no condition to wait for.
        tokio::time::sleep(Duration::from_millis(150 + (round * 7919) % 900)).await;
        arouter.kill();
        load.end().await;
        arouter.launch().await;
    }
    arouter.settle_and_verify().await;
    let told_count = told.lock().expect("unpoisoned").len();
    assert!(told_count > 100, "{told_count} answers are too few to prove anything");
    println!("{} requests reached the provider, {told_count} answers, {rounds} kills", provider.users().len());
    nothing_is_lost_or_doubled(&arouter, &provider, &told).await;
}

#[tokio::test]
async fn a_nats_store_rolled_back_is_noticed_and_refilled() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("[bootstrap]\ncredit_usd = 1000\n{}", provider.config())).await;
    let (told, counter) = (Told::default(), Arc::<AtomicU64>::default());
    let ask = async |count: usize, arouter: &Arouter| {
        for _ in 0..count {
            let body = json!({"model": "test/ok", "user": format!("u{}", counter.fetch_add(1, Ordering::Relaxed)), "messages": [{"role": "user", "content": "x"}]});
            let (_, answer) = arouter.chat(body).await;
            told.lock().expect("unpoisoned").insert(answer["id"].as_str().expect("an id").to_owned(), nanos(&answer["usage"]["cost"]));
        }
    };
    ask(100, &arouter).await;
    arouter.usage(100).await;
    arouter.stop();
    let (store, copy) = (arouter.data().join("nats/jetstream"), arouter.data().join("older"));
    duplicate(&store, &copy);
    arouter.launch().await;
    ask(150, &arouter).await;
    arouter.usage(250).await;
    arouter.kill();
    std::fs::remove_dir_all(&store).expect("removed");
    std::fs::rename(&copy, &store).expect("rolled back");
    arouter.launch().await;
    // New events take the sequence numbers of lost ones.
    ask(120, &arouter).await;
    arouter.usage(370).await;
    arouter.settle_and_verify().await;
    nothing_is_lost_or_doubled(&arouter, &provider, &told).await;
}

fn duplicate(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(done.success());
}

#[tokio::test]
async fn a_dead_nats_server_is_started_again_and_nothing_waits_for_it() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let body = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..5 {
        arouter.kill_nats();
        let (status, answer) = arouter.chat(body.clone()).await;
        assert!(status.is_success(), "{answer}");
    }
    assert_eq!(arouter.usage(5).await.len(), 5);
    arouter.settle_and_verify().await;
}
