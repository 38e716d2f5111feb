//! The real binary as a child process on a temporary folder.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use eventlog::Log;
use events::failpoint::{self, Failpoint};
use events::subject::Stream;
use reqwest::{Client, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::{self, Acknowledged, Target};
use crate::postgres::Postgres;
use crate::provider::Provider;
use crate::wait::until;

/// The place of the tables of ledger and projector.
pub enum Storage {
    /// Files in the data folder.
    Sqlite,
    /// A server of the test's own.
    Postgres(Postgres),
}

/// The output of the first start.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Keys {
    /// The account's id.
    pub account: String,
    /// The key for requests to models.
    pub live_key: String,
    /// The key that manages keys.
    pub management_key: String,
}

/// A process `arouter up` on a folder of its own.
pub struct Arouter {
    child: Option<Child>,
    folder: TempDir,
    storage: Storage,
    config: String,
    /// The base address of the gateway.
    pub base: String,
    /// The first account's keys.
    pub keys: Keys,
    /// An HTTP client for calls.
    pub http: Client,
}

/// Returns the path of the program, which is built into the same folder as the tests.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().find(|path| path.join("arouter").is_file()).expect("run `cargo build -p arouter` first");
    folder.join("arouter")
}

/// Returns the folder of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Arouter {
    /// Starts with this configuration in addition to the usual one.
    pub async fn start(storage: Storage, config: &str) -> Self {
        Self::start_in(&std::env::temp_dir(), storage, config).await
    }

    /// Starts as [`Arouter::start`] does, but writes all files below this folder.
    pub async fn start_in(parent: &Path, storage: Storage, config: &str) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("arouter").tempdir_in(parent).unwrap();
        // The timeout makes the test fail if the process hangs.
        let http = Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        let keys = Keys { account: String::new(), live_key: String::new(), management_key: String::new() };
        let mut arouter = Self { child: None, folder, storage, config: config.to_owned(), base: String::new(), keys, http };
        arouter.launch().await;
        let first = std::fs::read(arouter.data().join("first-run.json")).unwrap();
        arouter.keys = serde_json::from_slice(&first).unwrap();
        arouter
    }

    /// Returns the data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the read-only address of the database `ledger` or `projector`.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        match &self.storage {
            Storage::Sqlite => load::file(&self.data().join(name).with_extension("db")),
            Storage::Postgres(postgres) => postgres.url(name),
        }
    }

    /// Returns the server that has its databases.
    ///
    /// # Panics
    /// Panics if the databases are files.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        match &self.storage {
            Storage::Sqlite => panic!("its databases are files"),
            Storage::Postgres(postgres) => postgres,
        }
    }

    /// Returns a command of the program, with the arguments and environment for this folder.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let file = self.folder.path().join("arouter.toml");
        std::fs::write(&file, &self.config).unwrap();
        let mut command = Command::new(program());
        command.arg(name).arg("--config").arg(file).arg("--data").arg(self.data()).current_dir(repository());
        if let Storage::Postgres(postgres) = &self.storage {
            command
                .env("AROUTER_LEDGER__DATABASE_URL", postgres.url("ledger"))
                .env("AROUTER_PROJECTOR__DATABASE_URL", postgres.url("projector"));
        }
        command.env("AROUTER_SERVER__LISTEN", "127.0.0.1:0").stdin(Stdio::null());
        command
    }

    /// Adds to the configuration of later starts.
    pub fn configure(&mut self, more: &str) {
        self.config.push_str(more);
    }

    fn spawn(&mut self, command: &mut Command) {
        assert!(self.child.is_none(), "it runs");
        let _gone = std::fs::remove_file(self.data().join("running.json"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("arouter.log")).unwrap();
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Restarts the process on the same folder, to die after it has reached this failpoint `times` times. Returns whether it became ready
    /// before.
    pub async fn launch_to_die(&mut self, point: Failpoint, times: u64) -> bool {
        let mut command = self.command("up");
        self.spawn(command.env(failpoint::VARIABLE, format!("{}:{times}", point.name())));
        let (running, http) = (self.data().join("running.json"), self.http.clone());
        until("readiness or death", || {
            let is_dead = self.is_dead();
            let running = std::fs::read(&running).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            if let Some(running) = &running {
                self.base = running["base_url"].as_str().unwrap().trim_end_matches("/v1").into();
            }
            let ready = http.get(format!("{}/readyz", self.base)).send();
            async move {
                if is_dead {
                    return Some(false);
                }
                running?;
                ready.await.ok()?.status().is_success().then_some(true)
            }
        })
        .await
    }

    /// Waits until the process has died at its failpoint.
    pub async fn death(&mut self, point: Failpoint) {
        until(&format!("the death at {}", point.name()), || {
            let is_dead = self.is_dead();
            async move { is_dead.then_some(()) }
        })
        .await;
        let status = self.child.take().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{} ended the process another way: {status}", point.name());
    }

    fn is_dead(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Restarts the process on the same folder.
    pub async fn launch(&mut self) {
        let command = self.command("up");
        self.launch_as(command).await;
    }

    /// Starts the process by this command, which must run that of [`Arouter::command`], and waits until it is ready.
    pub async fn launch_as(&mut self, mut command: Command) {
        self.spawn(&mut command);
        let data = self.data();
        let running: Value = until("the start", || {
            assert!(!self.is_dead(), "it ended at its start: {}", self.log());
            let text = std::fs::read(data.join("running.json")).ok();
            async move { serde_json::from_slice(&text?).ok() }
        })
        .await;
        self.base = running["base_url"].as_str().unwrap().trim_end_matches("/v1").into();
        let (http, ready) = (self.http.clone(), format!("{}/readyz", self.base));
        until("readiness", || async { http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success()) }).await;
        let data = self.data();
        until("the first keys", || async { data.join("first-run.json").exists().then_some(()) }).await;
        if !self.keys.live_key.is_empty() {
            return;
        }
        let first: Keys = serde_json::from_slice(&std::fs::read(self.data().join("first-run.json")).unwrap()).unwrap();
        let balance = format!("{}/api/v1/balance", self.base);
        until("the first credit", || async {
            let answer = http.get(&balance).bearer_auth(&first.live_key).send().await.ok()?;
            let body: Value = answer.json_value().await?;
            (body["balance"].as_f64()? > 0.0 || self.config.contains("credit_usd = 0\n")).then_some(())
        })
        .await;
    }

    /// Returns the addresses and credentials that clients need.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            gateways: vec![self.base.clone()],
            http: self.http.clone(),
            live_keys: vec![self.keys.live_key.clone()],
            management_key: self.keys.management_key.clone(),
            operator_token: self.operator_token(),
            account: self.keys.account.clone(),
        }
    }

    /// Proves that nothing was lost and nothing happened twice, once everything has settled.
    pub async fn prove(&self, acknowledged: &Acknowledged, provider: &Provider) {
        acknowledged.prove(&self.database("ledger"), &self.database("projector"), provider).await;
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?)).expect("it runs")
    }

    /// Returns the operator's token.
    #[must_use]
    pub fn operator_token(&self) -> String {
        std::fs::read_to_string(self.data().join("operator.token")).unwrap().trim().to_owned()
    }

    /// Creates another account with this credit, and a key for models.
    pub async fn tenant(&self, usd: u32) -> Keys {
        let operator = self.operator_token();
        let (status, made) = self.call(Method::POST, "/api/v1/admin/accounts", &operator, Some(json!({"name": "tenant"}))).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (account, management_key) = (text(&made["data"]["id"]), text(&made["management_key"]));
        if usd > 0 {
            let credit = json!({"account": account, "kind": "grant", "amount": usd});
            let (status, answer) = self.call(Method::POST, "/api/v1/admin/credit", &operator, Some(credit)).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
        }
        let (status, key) = self.call(Method::POST, "/api/v1/keys", &management_key, Some(json!({"name": "live"}))).await;
        assert_eq!(status, StatusCode::CREATED, "{key}");
        Keys { account, live_key: text(&key["key"]), management_key }
    }

    /// Returns every event that a stream of its log contains now.
    pub async fn recorded(&self, stream: Stream) -> Vec<Value> {
        let log = self.connect_log().await;
        let last = log.last_sequence(stream).await.unwrap();
        let mut tail = log.tail(stream, None).await.unwrap();
        let mut events = Vec::new();
        while !tail.has_read(last) {
            for record in tail.next_batch(1_000, Duration::from_millis(20)).await.unwrap() {
                events.push(serde_json::from_slice(&record.payload).unwrap());
            }
        }
        events
    }

    /// Connects to its log, as another process would.
    pub async fn connect_log(&self) -> Log {
        let running: Value = serde_json::from_slice(&std::fs::read(self.data().join("running.json")).unwrap()).unwrap();
        Log::connect(&running["nats_url"].as_str().unwrap().parse().unwrap(), "test").await.unwrap()
    }

    /// Returns the process id of its nats-server.
    #[must_use]
    pub fn nats_pid(&self) -> Option<Pid> {
        std::fs::read_to_string(self.data().join("nats/nats.pid")).ok()?.trim().parse().ok().and_then(Pid::from_raw)
    }

    /// Kills the process and its nats-server with SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.kill_nats();
        self.child.take().unwrap().wait().unwrap();
    }

    /// Kills only its nats-server with SIGKILL.
    pub fn kill_nats(&self) {
        if let Some(pid) = self.nats_pid() {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }

    /// Sends SIGTERM and waits for the end, which must be clean.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.child.take().unwrap().wait().unwrap();
        assert!(status.success(), "the process ended with {status}, signal {:?}: {}", status.signal(), self.log());
    }

    /// Waits until the process has ended by itself, which must be with an error.
    pub async fn failed(&mut self) {
        let status = self.ended().await;
        assert!(status.code().is_some_and(|code| code != 0), "the process ended with {status}: {}", self.log());
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the end of the process", || {
            let is_dead = self.is_dead();
            async move { is_dead.then_some(()) }
        })
        .await;
        self.child.take().unwrap().wait().unwrap()
    }

    /// Returns its log output.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("arouter.log")).unwrap_or_default()
    }

    /// Runs `arouter verify`, which must succeed.
    pub fn verify(&self) {
        let output = self.command("verify").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "verify: {text}\n{}", self.log());
    }

    /// Ends the boot and starts another. Waits until neither spools nor holds of the old boot are left, then runs `arouter verify`.
    pub async fn settle_and_verify(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        self.launch().await;
        self.settled().await;
        self.verify();
    }

    /// Waits until every earlier boot is taken over and no money is held.
    pub async fn settled(&self) {
        let spool = self.data().join("spool");
        until("the spools of earlier boots", || async { (std::fs::read_dir(&spool).ok()?.count() == 1).then_some(()) }).await;
        until("the money held", || async { (self.balance().await["held"] == json!(0)).then_some(()) }).await;
    }

    /// Sends a request with a credential, and returns status and body.
    pub async fn call(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json_value().await.unwrap_or(Value::Null))
    }

    /// Sends a chat request with the first key.
    pub async fn chat(&self, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, "/v1/chat/completions", &self.keys.live_key, Some(body)).await
    }

    /// Sends a GET request with the first key. The response must be a success.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, &self.keys.live_key, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Returns the balance.
    pub async fn balance(&self) -> Value {
        self.get("/api/v1/balance").await
    }

    /// Returns the report of a request, once the projector has its end. The ledger may have it before.
    pub async fn generation(&self, id: &str) -> Value {
        until("the report of a request", || async {
            let (status, body) = self.call(Method::GET, &format!("/api/v1/generation?id={id}"), &self.keys.live_key, None).await;
            (status == StatusCode::OK).then_some(body)
        })
        .await
    }

    /// Returns the usage transactions, newest first, once there are `count` of them.
    pub async fn usage(&self, count: usize) -> Vec<Value> {
        until("postings", || async {
            let body = self.get("/api/v1/transactions?type=usage&limit=1000").await;
            let rows = body["transactions"].as_array()?.clone();
            assert!(rows.len() <= count, "{} postings instead of {count}", rows.len());
            (rows.len() == count).then_some(rows)
        })
        .await
    }
}

impl Drop for Arouter {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        } else {
            self.kill_nats();
        }
        if std::thread::panicking() {
            eprintln!("--- log of arouter\n{}", self.log());
        }
    }
}

/// Parsing of a response body as JSON.
pub trait JsonValue {
    /// Returns the body; `None` if it is no JSON.
    fn json_value(self) -> impl Future<Output = Option<Value>>;
}

impl JsonValue for reqwest::Response {
    async fn json_value(self) -> Option<Value> {
        serde_json::from_slice(&self.bytes().await.ok()?).ok()
    }
}

/// Converts an amount of the API to nano-USD, from its exact text.
#[must_use]
pub fn nanos(value: &Value) -> i64 {
    events::Nanos::from_usd(&value.to_string()).unwrap_or_else(|error| panic!("{value}: {error}")).0
}
