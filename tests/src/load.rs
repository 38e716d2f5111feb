//! Load from many clients, a record of the responses that they got, and the proof that nothing was lost and nothing happened twice.

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

/// The pause before a client that got no response sends its next request.
const PAUSE: Duration = Duration::from_millis(50);

/// The gateways and credentials that clients use.
#[derive(Debug, Clone)]
pub struct Target {
    /// The gateways, without a path.
    pub gateways: Vec<String>,
    /// An HTTP client for calls.
    pub http: Client,
    /// The keys for requests to models. Clients use them in turn.
    pub live_keys: Vec<String>,
    /// The key that manages keys.
    pub management_key: String,
    /// The token that posts credit.
    pub operator_token: String,
    /// The account that gets the credit.
    pub account: String,
}

/// The results that were acknowledged to clients.
#[derive(Debug, Default)]
pub struct Acknowledged {
    users: AtomicU64,
    /// The charge of every complete response in nano-USD, by request.
    charges: Mutex<BTreeMap<String, i64>>,
    /// Grants of one nano-USD, by command id, and whether each was acknowledged. Those that were not are posted again.
    credit: Mutex<BTreeMap<String, bool>>,
    /// The hashes of created keys.
    keys: Mutex<BTreeSet<String>>,
}

/// Clients that send requests until they are stopped.
pub struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts this number of clients, half of which request streams, and one more that posts credit and creates keys.
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

    /// Starts this number of clients, half of which request streams.
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

    /// Lets every client complete its current request, and waits for all of them.
    pub async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client stopped at a surprise");
        }
    }
}

impl Acknowledged {
    /// Returns the number of complete responses.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.charges.lock().unwrap().len()
    }

    /// Sends one request with a unique `user`. Every eighth client requests streams that take over a second. Returns `None` if no
    /// complete response came.
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

    /// Posts the credit that is not acknowledged yet and some more, and creates a key.
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

    /// Posts the credit that is not acknowledged yet. Returns `None` while some of it is not.
    pub async fn all_credit_is_posted(&self, target: &Target) -> Option<()> {
        self.administer(target).await;
        self.credit.lock().unwrap().values().all(|is_posted| *is_posted).then_some(())
    }

    /// Proves that every response has its charge, that every request of the provider is known once, and that every command was carried
    /// out once.
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

/// Returns id and cost of a complete response, streamed or not.
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

/// Returns the read-only address of a SQLite file.
#[must_use]
pub fn file(path: &Path) -> String {
    format!("sqlite://{}?mode=ro", path.display())
}

/// Returns the rows of a query.
pub async fn read(url: &str, sql: &'static str) -> Vec<AnyRow> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let rows = sqlx::query::<Any>(sql).fetch_all(&pool).await.unwrap();
    pool.close().await;
    rows
}
