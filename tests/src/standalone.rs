//! Gateways, ledger and projector as processes of their own, against a NATS and a PostgreSQL of the test's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eventlog::{Access, Credentials, Log};
use reqwest::{Client, Method, StatusCode};
use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arouter::{JsonValue, program, repository};
use crate::load::Target;
use crate::plain_nats::Address;
use crate::port;
use crate::postgres::Postgres;
use crate::wait::until;

/// All processes of an installation; they end with the test.
pub struct Standalone {
    children: BTreeMap<String, Child>,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
    nats: u16,
    /// The database server.
    pub postgres: Postgres,
    /// The base addresses of the gateways.
    pub gateways: Vec<String>,
    /// The address at which the ledger serves reads of gateways.
    pub ledger: String,
    /// An HTTP client for calls.
    pub http: Client,
}

/// Returns the path of the pinned nats-server, or else of the one on PATH.
#[must_use]
pub fn nats_server() -> PathBuf {
    let pinned = repository().join(".tools/nats-server");
    if pinned.exists() { pinned } else { PathBuf::from("nats-server") }
}

/// The operator's token.
pub const OPERATOR: &str = "the operator's token";
/// The secret that the parts share.
pub const SECRET: &str = "a secret of at least thirty-two characters";

/// The users of `deploy/nats/nats.conf`.
const NATS_USERS: [&str; 5] = ["gateway", "ledger", "projector", "tools", "reader"];

fn variable(user: &str) -> String {
    format!("{}_PASSWORD", user.to_uppercase())
}

fn password(user: &str) -> String {
    format!("the{user}s")
}

impl Standalone {
    /// Starts this number of gateways, one ledger and one projector.
    pub async fn start(gateways: usize, config: &str) -> Self {
        Self::start_with(gateways, config, Vec::new()).await
    }

    /// Starts as [`Standalone::start`] does, with further environment variables.
    pub async fn start_with(gateways: usize, config: &str, more: Vec<(&'static str, String)>) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let postgres = Postgres::start();
        let folder = tempfile::Builder::new().prefix("arouter-apart").tempdir().unwrap();
        std::fs::write(folder.path().join("arouter.toml"), config).unwrap();
        let (nats, ledger, projector) = (port::free(), port::free(), port::free());
        let mut settings = vec![
            ("AROUTER_NATS__URL", format!("nats://127.0.0.1:{nats}")),
            ("AROUTER_INTERNAL__SECRET", SECRET.to_owned()),
            ("AROUTER_OPERATOR__TOKEN", OPERATOR.to_owned()),
            ("AROUTER_LEDGER__SIGNING_KEY_FILE", folder.path().join("ledger.signing_key").display().to_string()),
            ("AROUTER_LEDGER__DATABASE_URL", postgres.url("ledger")),
            ("AROUTER_PROJECTOR__DATABASE_URL", postgres.url("projector")),
            ("AROUTER_LEDGER__LISTEN", format!("127.0.0.1:{ledger}")),
            ("AROUTER_PROJECTOR__LISTEN", format!("127.0.0.1:{projector}")),
            ("AROUTER_LEDGER__URL", format!("http://127.0.0.1:{ledger}")),
            ("AROUTER_PROJECTOR__URL", format!("http://127.0.0.1:{projector}")),
        ];
        settings.extend(more);
        // A gateway in trouble may respond late or never, and a client must not wait for ever.
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let ledger = format!("http://127.0.0.1:{ledger}");
        let (children, listen) = (BTreeMap::new(), Vec::new());
        let mut standalone = Self { children, settings, folder, nats, postgres, gateways: listen, ledger, http };
        standalone.gateways = (0..gateways).map(|_| format!("http://127.0.0.1:{}", port::free())).collect();
        for name in ["nats", "ledger", "projector"] {
            standalone.run(name);
        }
        for number in 0..gateways {
            standalone.run(&format!("gateway-{number}"));
        }
        standalone.ready().await;
        standalone
    }

    /// Returns the command line of a part.
    fn command(&self, part: &str) -> Command {
        if part == "nats" {
            let mut command = Command::new(nats_server());
            command.arg("-c").arg(repository().join("deploy/nats/nats.conf")).args(["-a", "127.0.0.1", "-p", &self.nats.to_string()]);
            command.env("NATS_STORE_DIR", self.folder.path().join("nats")).envs(NATS_USERS.map(|user| (variable(user), password(user))));
            return command;
        }
        let (kind, number) = part.split_once('-').unwrap_or((part, ""));
        self.on(kind, part, number.parse().ok().and_then(|number: usize| self.gateways.get(number)))
    }

    /// Returns a command of the program on the folder of a part.
    fn on(&self, kind: &str, part: &str, listen: Option<&String>) -> Command {
        let mut command = Command::new(program());
        command.arg(kind).arg("--data").arg(self.folder.path().join(part)).arg("--config").arg(self.folder.path().join("arouter.toml"));
        command.env("AROUTER_NODE__NAME", part).envs(self.settings.iter().map(|(key, value)| (*key, value)));
        // Verify, replay and other tools of the operator run as user `tools`.
        let user = NATS_USERS.into_iter().find(|user| *user == kind).unwrap_or("tools");
        command.env("AROUTER_NATS__USER", user).env("AROUTER_NATS__PASSWORD_ENV", variable(user)).env(variable(user), password(user));
        match kind {
            "ledger" if part != kind => drop(command.env("AROUTER_LEDGER__LISTEN", "127.0.0.1:0")),
            "projector" if part != kind => drop(command.env("AROUTER_PROJECTOR__LISTEN", "127.0.0.1:0")),
            _ => {}
        }
        command.env("AROUTER_SERVER__LISTEN", listen.map_or("127.0.0.1:0", |url| url.trim_start_matches("http://")));
        command
    }

    /// Returns the address of its NATS for a user of `deploy/nats/nats.conf`.
    #[must_use]
    pub fn nats_address(&self, user: &str) -> Address {
        Address { user: Some(user.to_owned()), password: Some(password(user)), host: format!("127.0.0.1:{}", self.nats) }
    }

    /// Connects to its NATS as a user of `deploy/nats/nats.conf`.
    pub async fn log(&self, user: &str) -> Log {
        let address = self.nats_address(user);
        let credentials = Credentials::Password(address.user.unwrap(), address.password.unwrap());
        let access = Access { servers: vec![format!("nats://{}", address.host)], credentials, ..Access::default() };
        Log::connect(&access, user).await.unwrap()
    }

    /// Starts a part: `nats`, `ledger`, another `ledger-N`, `projector`, another `projector-N`, `gateway-N`.
    pub fn run(&mut self, part: &str) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join(format!("{part}.log"))).unwrap();
        let child = self.command(part).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        assert!(self.children.insert(part.to_owned(), child).is_none(), "{part} runs");
    }

    /// Kills a part.
    pub fn kill(&mut self, part: &str) {
        let mut child = self.children.remove(part).unwrap();
        let _gone = child.kill();
        let _ended = child.wait();
    }

    /// Returns whether a part is running.
    pub fn runs(&mut self, part: &str) -> bool {
        self.children.get_mut(part).is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Returns the data folder of a part.
    #[must_use]
    pub fn folder_of(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Returns the log output of a part.
    #[must_use]
    pub fn log_of(&self, part: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{part}.log"))).unwrap_or_default()
    }

    /// Restarts every part that has ended, as a supervisor would.
    pub fn supervise(&mut self) {
        self.postgres.supervise();
        let ended: Vec<String> =
            self.children.iter_mut().filter_map(|(part, child)| child.try_wait().unwrap().map(|_| part.clone())).collect();
        for part in ended {
            self.children.remove(&part);
            self.run(&part);
        }
    }

    /// Returns the process id of a part, or of `postgres`.
    #[must_use]
    pub fn pid(&self, part: &str) -> Option<Pid> {
        if part == "postgres" {
            return self.postgres.pid();
        }
        self.children.get(part).and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Waits until every gateway serves. Parts that end meanwhile are restarted.
    pub async fn ready(&mut self) {
        for base in self.gateways.clone() {
            until("a gateway", || {
                self.supervise();
                let ready = self.http.get(format!("{base}/readyz")).send();
                async move { ready.await.ok()?.status().is_success().then_some(()) }
            })
            .await;
        }
    }

    /// Waits until nothing of earlier boots is left in the spools.
    pub async fn spools_are_taken_over(&mut self) {
        let spools: Vec<PathBuf> =
            (0..self.gateways.len()).map(|number| self.folder.path().join(format!("gateway-{number}/spool"))).collect();
        for spool in spools {
            until("the spools of earlier boots", || {
                self.supervise();
                let boots = std::fs::read_dir(&spool).map_or(0, Iterator::count);
                async move { (boots == 1).then_some(()) }
            })
            .await;
        }
    }

    /// Sends a request to one of the gateways, and returns status and body.
    pub async fn call(&self, gateway: usize, method: Method, path: &str, key: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.gateways[gateway])).bearer_auth(key);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json_value().await.unwrap_or_default())
    }

    /// Sends a POST request to the first gateway.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.http.post(format!("{}{path}", self.gateways[0])).bearer_auth(key).body(body.to_string()).send().await.unwrap();
        (answer.status(), answer.json_value().await.unwrap_or_default())
    }

    /// Sends a GET request to the first gateway.
    pub async fn get(&self, path: &str, key: &str) -> Option<Value> {
        self.http.get(format!("{}{path}", self.gateways[0])).bearer_auth(key).send().await.ok()?.json_value().await
    }

    /// Creates an account with credit, and returns its id and management key.
    pub async fn account(&self, usd: Value) -> (String, String) {
        let (_, made) = self.post("/api/v1/admin/accounts", OPERATOR, json!({"name": "apart"})).await;
        let credit = json!({"account": made["data"]["id"], "amount": usd, "kind": "grant"});
        let (status, answer) = self.post("/api/v1/admin/credit", OPERATOR, credit).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&made["data"]["id"]), text(&made["management_key"]))
    }

    /// Creates a key, and returns its secret.
    pub async fn key(&self, management: &str, body: Value) -> String {
        let (status, key) = self.post("/api/v1/keys", management, body).await;
        assert_eq!(status, StatusCode::CREATED, "{key}");
        key["key"].as_str().unwrap().to_owned()
    }

    /// Waits until every gateway knows a key, which reaches them through the log.
    pub async fn knows(&self, key: &str) {
        for base in &self.gateways {
            until("the key", || async {
                let answer = self.http.get(format!("{base}/v1/models")).bearer_auth(key).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// Creates accounts with credit, each with a key that every gateway knows.
    pub async fn target(&self, accounts: usize) -> Target {
        let (account, management_key) = self.account(json!(1_000)).await;
        let mut live_keys = vec![self.key(&management_key, json!({"name": "live"})).await];
        for _ in 1..accounts {
            let (_, management) = self.account(json!(1_000)).await;
            live_keys.push(self.key(&management, json!({"name": "live"})).await);
        }
        for key in &live_keys {
            self.knows(key).await;
        }
        let (gateways, http) = (self.gateways.clone(), self.http.clone());
        Target { gateways, http, live_keys, management_key, operator_token: OPERATOR.to_owned(), account }
    }

    /// Runs `arouter verify`, which must succeed.
    pub fn verify(&self) {
        let verified = self.on("verify", "gateway-0", None).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }

    /// Rebuilds books and reports from the log in other databases; they must be those that the processes have made.
    pub fn is_rebuilt_the_same(&self) {
        let rebuilt = self.on("replay", "gateway-0", None).arg("--into").arg(self.folder.path().join("rebuilt")).output().unwrap();
        let texts = [rebuilt.stdout, rebuilt.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(rebuilt.status.success(), "{}", texts.concat());
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _gone = child.kill();
            let _ended = child.wait();
        }
        if std::thread::panicking() {
            for part in self.children.keys() {
                let log = self.log_of(part);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- the end of the log of {part}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}
