//! Load from many clients, what they were told, and the proof that nothing was lost and nothing happened twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{Any, Row};
use tokio::task::JoinSet;

use crate::Provider;
use crate::arouter::{JsonValue, nanos};

/// How long a client waits before it asks again where it got no answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Whom clients ask.
#[derive(Debug, Clone)]
pub struct Target {
    /// The gateways, without a path.
    pub gateways: Vec<String>,
    /// For calls.
    pub http: Client,
    /// For models: clients take them in turn.
    pub live_keys: Vec<String>,
    /// For keys.
    pub management_key: String,
    /// For credit.
    pub operator_token: String,
    /// Whose credit.
    pub account: String,
}

/// What clients were told.
#[derive(Debug, Default)]
pub struct Acknowledged {
    users: AtomicU64,
    /// The charge of every whole answer, nano-USD, by request.
    charges: Mutex<BTreeMap<String, i64>>,
    /// Credit of a nano each, by command id, and whether it was said to be posted; what was not is posted again.
    credit: Mutex<BTreeMap<String, bool>>,
    /// Keys that were made.
    keys: Mutex<BTreeSet<String>>,
}

/// Clients that ask until told to stop.
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts so many clients, half of which ask for streams, and one more that posts credit and makes keys.
    #[must_use]
    pub fn start(target: &Target, acknowledged: &Arc<Acknowledged>, clients: usize) -> Self {
        let mut load = Self::of_requests(target, acknowledged, clients);
        let (target, acknowledged, stopped) = (target.clone(), Arc::clone(acknowledged), Arc::clone(&load.stop));
        load.clients.spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                acknowledged.administer(&target).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        load
    }

    /// Starts so many clients, half of which ask for streams.
    #[must_use]
    pub fn of_requests(target: &Target, acknowledged: &Arc<Acknowledged>, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let (target, acknowledged, stop) = (target.clone(), Arc::clone(acknowledged), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut at = client;
                while !stop.load(Ordering::Relaxed) {
                    at += 1;
                    if acknowledged.chat(&target, client, at).await.is_none() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        Self { clients: tasks, stop }
    }

    /// Lets every client end what it does, and waits.
    pub async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client stopped at a surprise");
        }
    }
}

impl Acknowledged {
    /// How many whole answers came.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.charges.lock().unwrap().len()
    }

    /// One request with a `user` of its own; every eighth client asks for streams that take over a second. `None` when no whole answer came.
    pub async fn chat(&self, target: &Target, client: usize, at: usize) -> Option<()> {
        let user = format!("u{}", self.users.fetch_add(1, Ordering::Relaxed));
        let model = if client % 8 == 2 { "test/paced" } else { "test/ok" };
        let body = json!({"model": model, "user": user, "stream": client.is_multiple_of(2), "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
        let url = format!("{}/v1/chat/completions", target.gateways[at % target.gateways.len()]);
        let key = &target.live_keys[client % target.live_keys.len()];
        let answer = target.http.post(&url).bearer_auth(key).body(body.to_string()).send().await.ok()?;
        let (id, cost) = charge(&answer.text().await.ok()?)?;
        self.charges.lock().unwrap().insert(id, cost);
        Some(())
    }

    /// Posts what credit is not known to be posted, some more, and makes a key.
    pub async fn administer(&self, target: &Target) {
        let gateway = &target.gateways[self.users.load(Ordering::Relaxed) as usize % target.gateways.len()];
        let waiting: Vec<String> = {
            let mut credit = self.credit.lock().unwrap();
            let next = format!("credit-{}", credit.len());
            credit.insert(next, false);
            credit.iter().filter(|(_, is_posted)| !**is_posted).map(|(id, _)| id.clone()).collect()
        };
        for id in waiting {
            let body = json!({"id": id, "account": target.account, "kind": "grant", "amount": 1e-9}).to_string();
            let url = format!("{gateway}/api/v1/admin/credit");
            let answer = target.http.post(&url).bearer_auth(&target.operator_token).body(body).send().await;
            let Ok(answer) = answer else { break };
            if answer.status().is_success() {
                self.credit.lock().unwrap().insert(id, true);
            }
        }
        let url = format!("{gateway}/api/v1/keys");
        if let Ok(answer) = target.http.post(&url).bearer_auth(&target.management_key).body("{\"name\": \"k\"}").send().await
            && let Some(body) = answer.json_value().await
            && let Some(hash) = body["data"]["hash"].as_str()
        {
            self.keys.lock().unwrap().insert(hash.to_owned());
        }
    }

    /// Whether all credit is known to be posted; posts what is not.
    pub async fn all_credit_is_posted(&self, target: &Target) -> Option<()> {
        self.administer(target).await;
        self.credit.lock().unwrap().values().all(|is_posted| *is_posted).then_some(())
    }

    /// Every answer has its charge, every request that reached the provider is known once, every command was carried out once.
    pub async fn prove(&self, ledger: &str, projector: &str, provider: &Provider) {
        let rows = read(ledger, "SELECT request, amount_nanos FROM transactions WHERE kind = 'usage'").await;
        let all: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), -row.get::<i64, _>(1))).collect();
        let postings: BTreeMap<String, i64> = all.iter().cloned().collect();
        assert_eq!(all.len(), postings.len(), "a request is posted twice");
        for (request, cost) in self.charges.lock().unwrap().iter() {
            assert_eq!(postings.get(request), Some(cost), "{request}: the client was told another charge");
        }
        let rows = read(projector, "SELECT end_user, COUNT(*) FROM generations GROUP BY end_user").await;
        let known: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (user, times) in provider.users() {
            let of_user = known.get(&user);
            assert_eq!((times, of_user), (1, Some(&1)), "{user} reached the provider {times} times and is known {of_user:?} times");
        }
        let rows = read(ledger, "SELECT id FROM transactions WHERE id LIKE 'credit-%'").await;
        let posted: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(
            posted,
            self.credit.lock().unwrap().keys().cloned().collect(),
            "credit that was posted, and credit that is in the books"
        );
        let rows = read(ledger, "SELECT hash FROM keys").await;
        let keys: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let lost: Vec<String> = self.keys.lock().unwrap().difference(&keys).cloned().collect();
        assert!(lost.is_empty(), "keys that were made are not known: {lost:?}");
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

/// The address of a SQLite file that is only read.
#[must_use]
pub fn file(path: &Path) -> String {
    format!("sqlite://{}?mode=ro", path.display())
}

/// Rows of a database.
pub async fn read(url: &str, sql: &'static str) -> Vec<AnyRow> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let rows = sqlx::query::<Any>(sql).fetch_all(&pool).await.unwrap();
    pool.close().await;
    rows
}
