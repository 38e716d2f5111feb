//! A hostile account beside a friendly one. The hostile one shows every behaviour in turn that could block others, each bounded in count
//! and time. The friendly account's requests all succeed in time, memory stays bounded, and the books are correct.
//!
//! `AROUTER_TEST_HOSTILE_SECONDS` is the time of each behaviour, 2 if not set. Hostile clients and their provider run on threads of their
//! own at low priority, so that the figures measure the gateways and not the test.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use rustix::process::Pid;
use serde_json::{Value, json};
use tests::arouter::JsonValue;
use tests::endless::{Endless, stream_of};
use tests::standalone::{OPERATOR, Standalone};
use tests::wait::until;
use tests::{Arouter, Keys, Provider, Storage, process, raw};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// The maximum memory of a gateway, in bytes.
const MEMORY_MAX: u64 = 600_000_000;
/// The largest p99 relative to that of the quiet period.
const SLOWER_MAX: u32 = 3;
/// The smallest p99 assumed for the quiet period, in runs of less than a minute per behaviour. Machines are noisy, and a debug build
/// reads slowly.
const QUIET_FLOOR: Duration = Duration::from_millis(200);
const FRIENDS: usize = 4;
/// The pause of a hostile client after a refusal, and of a friendly one between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// A lock that makes the tests run one after the other, because they measure time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The gateways, providers and accounts of a test.
#[derive(Clone)]
struct World {
    gateways: Vec<String>,
    pids: Vec<Pid>,
    friend: Keys,
    hostile: Keys,
    /// A key that may use no model, and one whose account has no money.
    refused: [String; 2],
    /// The hash of a key that is renamed.
    renamed: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Quiet,
    EndlessStreams,
    NeverReads,
    IdleConnections,
    LargeBodies,
    FatKeys,
    Renames,
    Refusals,
    Controls,
}

const HOSTILE: [Behaviour; 8] = [
    Behaviour::EndlessStreams,
    Behaviour::NeverReads,
    Behaviour::IdleConnections,
    Behaviour::LargeBodies,
    Behaviour::FatKeys,
    Behaviour::Renames,
    Behaviour::Refusals,
    Behaviour::Controls,
];

impl Behaviour {
    const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::EndlessStreams => "endless streams",
            Self::NeverReads => "readers that never read",
            Self::IdleConnections => "2,000 idle connections",
            Self::LargeBodies => "100 bodies of 10 MB",
            Self::FatKeys => "430 fat keys",
            Self::Renames => "renames in a loop",
            Self::Refusals => "refusals in a loop",
            Self::Controls => "a NUL wherever text goes",
        }
    }

    /// Returns the number of clients, and the maximum number of turns of each.
    const fn clients(self) -> (usize, usize) {
        match self {
            Self::Quiet => (0, 0),
            Self::EndlessStreams => (8, 1_000),
            Self::NeverReads => (20, 100),
            Self::IdleConnections => (2_000, 100),
            Self::LargeBodies => (100, 1),
            Self::FatKeys => (4, 430 / 4 + 1),
            Self::Renames | Self::Refusals | Self::Controls => (8, 100_000),
        }
    }
}

/// The number of times that hostile clients got each response.
type Answers = BTreeMap<String, usize>;

/// A hostile client.
struct Enemy {
    world: Arc<World>,
    http: Client,
    number: usize,
    stop: Arc<AtomicBool>,
}

impl Enemy {
    fn gateway(&self) -> &str {
        &self.world.gateways[self.number % self.world.gateways.len()]
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn call(&self, method: Method, path: &str, key: &str, body: Option<String>) -> String {
        let mut request = self.http.request(method, format!("{}{path}", self.gateway())).bearer_auth(key);
        if let Some(body) = body {
            request = request.body(body);
        }
        match request.send().await {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) if error.is_timeout() => "timeout".to_owned(),
            Err(_) => "broken".to_owned(),
        }
    }

    /// Takes one turn; returns the status or the fate of the connection.
    async fn act(&self, behaviour: Behaviour, turn: usize, large: &bytes::Bytes) -> String {
        let hostile = &self.world.hostile;
        match behaviour {
            Behaviour::Quiet => String::new(),
            Behaviour::EndlessStreams => self.read_endless(if self.number.is_multiple_of(2) { "drip" } else { "gush" }).await,
            Behaviour::NeverReads => {
                let sent = raw::chat_unread(self.gateway(), &hostile.live_key, &stream_of("gush").to_string()).await;
                let Ok(_unread) = sent else { return "refused".to_owned() };
                while !self.is_over() {
                    tokio::time::sleep(PAUSE * 20).await;
                }
                "held".to_owned()
            }
            Behaviour::IdleConnections => self.hold(raw::connect(self.gateway()).await).await,
            Behaviour::LargeBodies => {
                let url = format!("{}/v1/chat/completions", self.gateway());
                let answer = self.http.post(url).bearer_auth(&hostile.live_key).body(large.clone()).send().await;
                answer.map_or_else(|_| "broken".to_owned(), |answer| answer.status().as_u16().to_string())
            }
            Behaviour::FatKeys => {
                // The lists alternate between one far beyond the limit and one exactly at it.
                let (entries, bytes) = if turn.is_multiple_of(2) { (500, 120) } else { (256, 128) };
                let models: Vec<String> = (0..entries).map(|entry| format!("{entry:0bytes$}")).collect();
                let body = json!({"name": "fat", "allowed_models": models}).to_string();
                self.call(Method::POST, "/api/v1/keys", &hostile.management_key, Some(body)).await
            }
            Behaviour::Renames => {
                let (path, body) = (format!("/api/v1/keys/{}", self.world.renamed), json!({"name": format!("{turn}")}).to_string());
                self.call(Method::PATCH, &path, &hostile.management_key, Some(body)).await
            }
            Behaviour::Refusals => {
                let body = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]}).to_string();
                self.call(Method::POST, "/v1/chat/completions", &self.world.refused[turn % 2], Some(body)).await
            }
            Behaviour::Controls => self.control(turn).await,
        }
    }

    /// Reads an endless stream until it ends or the test does.
    async fn read_endless(&self, model: &str) -> String {
        let request = self.http.post(format!("{}/v1/chat/completions", self.gateway())).bearer_auth(&self.world.hostile.live_key);
        let Ok(mut answer) = request.body(stream_of(model).to_string()).send().await else { return "broken".to_owned() };
        while answer.status() == StatusCode::OK && !self.is_over() {
            if !matches!(answer.chunk().await, Ok(Some(_))) {
                return "200, ended".to_owned();
            }
        }
        answer.status().as_u16().to_string()
    }

    /// Keeps a silent connection open until the other side closes it or the test ends.
    async fn hold(&self, connection: std::io::Result<tokio::net::TcpStream>) -> String {
        let Ok(connection) = connection else { return "refused".to_owned() };
        while !self.is_over() {
            if raw::is_closed(&connection) {
                return "closed".to_owned();
            }
            tokio::time::sleep(PAUSE * 20).await;
        }
        "held".to_owned()
    }

    /// Sends a NUL character in one of the fields that are stored.
    async fn control(&self, turn: usize) -> String {
        let (hostile, text) = (&self.world.hostile, "a\0b");
        let message = json!([{"role": "user", "content": "x"}]);
        let (method, path, key, body) = match turn % 8 {
            0 => (Method::POST, "/v1/chat/completions", &hostile.live_key, json!({"model": "test/ok", "user": text, "messages": message})),
            1 => (Method::POST, "/v1/chat/completions", &hostile.live_key, json!({"model": text, "messages": message})),
            2 => (Method::POST, "/api/v1/keys", &hostile.management_key, json!({"name": text})),
            3 => (Method::POST, "/api/v1/keys", &hostile.management_key, json!({"name": "x", "allowed_models": [text]})),
            4 => (Method::GET, "/api/v1/activity?user=a%00b", &hostile.live_key, Value::Null),
            5 => (Method::GET, "/api/v1/generation?id=%00", &hostile.live_key, Value::Null),
            6 => (Method::GET, "/api/v1/keys/%00", &hostile.management_key, Value::Null),
            _ => (Method::GET, "/api/v1/transactions?key_hash=%00", &hostile.live_key, Value::Null),
        };
        self.call(method, path, key, (!body.is_null()).then(|| body.to_string())).await
    }
}

/// Runs the hostile clients of one behaviour on a thread of their own, until `stop`.
fn hostile(world: &Arc<World>, behaviour: Behaviour, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Answers> {
    let (world, stop) = (Arc::clone(world), Arc::clone(stop));
    std::thread::spawn(move || {
        // Linux has a priority for each thread, so this lowers only the priority of this one.
        let _nicer = rustix::process::nice(10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let http = Client::builder().no_proxy().timeout(Duration::from_secs(90)).build().expect("a client");
            let mut large = json!({"model": "endless/think", "max_tokens": 5, "messages": [{"role": "user", "content": ""}]});
            if behaviour == Behaviour::LargeBodies {
                large["messages"][0]["content"] = json!("a ".repeat(4_999_000));
            }
            let (large, (clients, turns)) = (bytes::Bytes::from(large.to_string()), behaviour.clients());
            let mut tasks = JoinSet::new();
            for number in 0..clients {
                let (client, large) =
                    (Enemy { world: Arc::clone(&world), http: http.clone(), number, stop: Arc::clone(&stop) }, large.clone());
                tasks.spawn(async move {
                    let mut answers = Answers::new();
                    for turn in 0..turns {
                        if client.is_over() {
                            break;
                        }
                        let answer = client.act(behaviour, turn, &large).await;
                        if !answer.starts_with('2') {
                            tokio::time::sleep(PAUSE).await;
                        }
                        *answers.entry(answer).or_default() += 1;
                    }
                    answers
                });
            }
            let mut all = Answers::new();
            for (answer, count) in tasks.join_all().await.into_iter().flatten() {
                *all.entry(answer).or_default() += count;
            }
            all
        })
    })
}

/// The friendly account's view of a period.
struct Period {
    behaviour: Behaviour,
    times: Vec<Duration>,
    failed: Vec<String>,
    memory: u64,
    answers: Answers,
}

impl Period {
    fn percentile(&self, hundredths: usize) -> Duration {
        let at = (self.times.len() * hundredths / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).copied().unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (name, answered, failed) = (self.behaviour.name(), self.times.len(), self.failed.len());
        let (p50, p99, worst) = (ms(self.percentile(50)), ms(self.percentile(99)), ms(self.percentile(100)));
        let (memory, answers) = (self.memory / 1_000_000, &self.answers);
        write!(to, "{name:26} | {answered:6} | {failed:6} | {p50:8.1} | {p99:8.1} | {worst:8.1} | {memory:6} | {answers:?}")
    }
}

/// Sends one friendly request. The error is the text that came instead of a complete response.
async fn friendly(http: &Client, world: &World, number: usize) -> Result<Duration, String> {
    let is_stream = number.is_multiple_of(2);
    let body = json!({"model": "test/ok", "stream": is_stream, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]});
    let url = format!("{}/v1/chat/completions", world.gateways[number / 2 % world.gateways.len()]);
    let since = Instant::now();
    let answer =
        http.post(url).bearer_auth(&world.friend.live_key).body(body.to_string()).send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
    let is_whole = if is_stream { text.ends_with("data: [DONE]\n\n") } else { text.contains("\"finish_reason\"") };
    if status == StatusCode::OK && is_whole { Ok(since.elapsed()) } else { Err(format!("{status} {text}")) }
}

/// Sends requests of the friendly account for `length` while the hostile account shows a behaviour.
async fn period(world: &Arc<World>, behaviour: Behaviour, length: Duration) -> Period {
    let stop = Arc::<AtomicBool>::default();
    let hostile = hostile(world, behaviour, &stop);
    let since = Instant::now();
    let mut friends = JoinSet::new();
    for friend in 0..FRIENDS {
        let world = Arc::clone(world);
        friends.spawn(async move {
            let http = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
            let (mut times, mut failed) = (Vec::new(), Vec::new());
            let mut number = friend;
            while since.elapsed() < length {
                match friendly(&http, &world, number).await {
                    Ok(time) => times.push(time),
                    Err(error) => failed.push(error),
                }
                number += 1;
                tokio::time::sleep(PAUSE).await;
            }
            (times, failed)
        });
    }
    let mut memory = 0;
    while since.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(50)).await;
        memory = world.pids.iter().map(|pid| process::memory(*pid)).max().unwrap_or_default().max(memory);
    }
    let seen = friends.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let answers = tokio::task::spawn_blocking(move || hostile.join().expect("hostile clients end by themselves")).await.expect("joined");
    let (times, failed): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let (mut times, failed) = (times.concat(), failed.concat());
    times.sort();
    Period { behaviour, times, failed, memory, answers }
}

/// Runs all behaviours and prints their table. Returns every violated limit, and the number of friendly requests.
async fn run(world: &Arc<World>, title: &str) -> (Vec<String>, usize) {
    let seconds: u64 = std::env::var_os("AROUTER_TEST_HOSTILE_SECONDS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(2);
    let length = Duration::from_secs(seconds);
    // The first requests open connections and leases, so they are not measured.
    let warm = period(world, Behaviour::Quiet, Duration::from_millis(500)).await;
    let quiet = period(world, Behaviour::Quiet, length).await;
    let floor = if seconds < 60 { QUIET_FLOOR } else { Duration::ZERO };
    let slowest = quiet.percentile(99).max(floor) * SLOWER_MAX;
    let mut requests = warm.times.len() + quiet.times.len();
    println!(
        "{title}, {seconds} s each; p99 at most {slowest:?}\nbehaviour                  |  whole | failed |   p50 ms |   p99 ms | worst ms |     MB | hostile answers\n{quiet}"
    );
    let mut broken: Vec<String> = warm.failed.iter().chain(&quiet.failed).map(|error| format!("quiet: {error}")).collect();
    for behaviour in HOSTILE {
        let seen = period(world, behaviour, length).await;
        println!("{seen}");
        let name = behaviour.name();
        requests += seen.times.len();
        if let Some(first) = seen.failed.first() {
            broken.push(format!("{name}: {} requests failed, first {first}", seen.failed.len()));
        }
        if seen.times.is_empty() || seen.percentile(99) > slowest {
            broken.push(format!("{name}: p99 {:?} instead of at most {slowest:?}", seen.percentile(99)));
        }
    }
    for (gateway, pid) in world.pids.iter().enumerate() {
        let peak = process::memory_peak(*pid);
        println!("gateway {gateway} used {} MB at the most", peak / 1_000_000);
        if peak >= MEMORY_MAX {
            broken.push(format!("gateway {gateway} used {} MB", peak / 1_000_000));
        }
    }
    (broken, requests)
}

/// Waits until the friendly account's reports have all its requests. Returns an error text if some are missing.
async fn reports(http: &Client, world: &World, requests: usize) -> Option<String> {
    let since = Instant::now();
    let mut found = Value::Null;
    while since.elapsed() < Duration::from_secs(20) {
        let url = format!("{}/api/v1/activity?period=1d", world.gateways[0]);
        let answer = http.get(url).bearer_auth(&world.friend.live_key).send().await.ok()?;
        found = answer.json_value().await.unwrap_or_default()["totals"]["requests"].clone();
        if found.as_u64().is_some_and(|found| found >= requests as u64) {
            return None;
        }
        tokio::time::sleep(PAUSE * 20).await;
    }
    Some(format!("the reports have {found} of {requests} requests"))
}

fn config(provider: &Provider, endless: &Endless) -> String {
    format!("{}{}", provider.config(), endless.config())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_account_stops_nobody_on_sqlite() {
    let _alone = ALONE.lock().await;
    let (provider, endless) = (Provider::start().await, Endless::start());
    let mut arouter = Arouter::start(Storage::Sqlite, &config(&provider, &endless)).await;
    process::raise_files_max();
    let (friend, hostile, poor) = (arouter.tenant(1_000).await, arouter.tenant(100_000).await, arouter.tenant(0).await);
    let narrow = json!({"name": "narrow", "allowed_models": ["nobody/nothing"]});
    let (_, narrow) = arouter.call(Method::POST, "/api/v1/keys", &hostile.management_key, Some(narrow)).await;
    let world = Arc::new(World {
        gateways: vec![arouter.base.clone()],
        pids: vec![arouter.pid()],
        friend,
        hostile,
        refused: [text(&narrow["key"]), poor.live_key],
        renamed: text(&narrow["data"]["hash"]),
    });
    let (mut broken, requests) = run(&world, "arouter up, SQLite").await;
    broken.extend(reports(&arouter.http, &world, requests).await);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    until("the end of every stream", || async { (endless.open() == 0).then_some(()) }).await;
    arouter.settle_and_verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_account_stops_nobody_over_two_gateways_on_postgresql() {
    let _alone = ALONE.lock().await;
    let (provider, endless) = (Provider::start().await, Endless::start());
    let mut standalone = Standalone::start(2, &config(&provider, &endless)).await;
    process::raise_files_max();
    let mut tenants = Vec::new();
    for credit in [1_000, 100_000, 1] {
        let (account, management_key) = standalone.account(json!(credit)).await;
        let live_key = standalone.key(&management_key, json!({"name": "live"})).await;
        standalone.knows(&live_key).await;
        tenants.push(Keys { account, live_key, management_key });
    }
    let [friend, hostile, poor] = <[Keys; 3]>::try_from(tenants).expect("three");
    // The third account's only credit is taken back, so that it has no money, like an account that never paid.
    let credit = json!({"account": poor.account, "amount": -1, "kind": "adjustment"});
    let (status, answer) = standalone.post("/api/v1/admin/credit", OPERATOR, credit).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let narrow = json!({"name": "narrow", "allowed_models": ["nobody/nothing"]});
    let (_, narrow) = standalone.post("/api/v1/keys", &hostile.management_key, narrow).await;
    let refused = [text(&narrow["key"]), poor.live_key];
    standalone.knows(&refused[0]).await;
    let world = Arc::new(World {
        gateways: standalone.gateways.clone(),
        pids: ["gateway-0", "gateway-1"].map(|part| standalone.pid(part).expect("it runs")).to_vec(),
        friend,
        hostile,
        refused,
        renamed: text(&narrow["data"]["hash"]),
    });
    let (mut broken, requests) = run(&world, "two gateways, PostgreSQL").await;
    broken.extend(reports(&standalone.http, &world, requests).await);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    until("the end of every stream", || async { (endless.open() == 0).then_some(()) }).await;
    for part in ["gateway-0", "gateway-1"] {
        standalone.kill(part);
        standalone.run(part);
    }
    standalone.ready().await;
    standalone.spools_are_taken_over().await;
    standalone.verify();
}
