//! Gateways, ledger and projector as processes of their own, against a NATS and a PostgreSQL of the test's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arouter::{JsonValue, program, repository};
use crate::postgres::Postgres;
use crate::wait::until;

/// Everything that runs; it ends with the test.
pub struct Apart {
    children: Vec<Child>,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
    _postgres: Postgres,
    /// Where the gateways listen.
    pub gateways: Vec<String>,
    /// Where the ledger answers reads of gateways.
    pub ledger: String,
    /// For calls.
    pub http: Client,
}

/// The pinned nats-server, or the one on PATH.
#[must_use]
pub fn nats_server() -> PathBuf {
    let pinned = repository().join(".tools/nats-server");
    if pinned.exists() { pinned } else { PathBuf::from("nats-server") }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Apart {
    /// Starts so many gateways, one ledger and one projector.
    pub async fn start(gateways: usize, config: &str) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let postgres = Postgres::start();
        let folder = tempfile::Builder::new().prefix("arouter-apart").tempdir().unwrap();
        std::fs::write(folder.path().join("arouter.toml"), config).unwrap();
        let (nats, ledger, projector) = (free_port(), free_port(), free_port());
        let settings = vec![
            ("AROUTER_NATS__URL", format!("nats://127.0.0.1:{nats}")),
            ("AROUTER_INTERNAL__SECRET", "a secret of at least thirty-two characters".to_owned()),
            ("AROUTER_OPERATOR__TOKEN", "operator".to_owned()),
            ("AROUTER_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("AROUTER_LEDGER__DATABASE_URL", postgres.url("ledger")),
            ("AROUTER_PROJECTOR__DATABASE_URL", postgres.url("projector")),
            ("AROUTER_LEDGER__LISTEN", format!("127.0.0.1:{ledger}")),
            ("AROUTER_PROJECTOR__LISTEN", format!("127.0.0.1:{projector}")),
            ("AROUTER_LEDGER__URL", format!("http://127.0.0.1:{ledger}")),
            ("AROUTER_PROJECTOR__URL", format!("http://127.0.0.1:{projector}")),
        ];
        let http = Client::builder().no_proxy().build().unwrap();
        let ledger = format!("http://127.0.0.1:{ledger}");
        let mut apart = Self { children: Vec::new(), settings, folder, _postgres: postgres, gateways: Vec::new(), ledger, http };
        let store = apart.folder.path().join("nats");
        apart.add(Command::new(nats_server()).args(["-a", "127.0.0.1", "-p", &nats.to_string(), "-js", "-sd"]).arg(store));
        apart.run("ledger", "ledger");
        apart.run("projector", "projector");
        for number in 0..gateways {
            apart.run("gateway", &format!("gateway-{number}"));
        }
        for number in 0..gateways {
            let base = apart.ready(&format!("gateway-{number}")).await;
            apart.gateways.push(base);
        }
        apart
    }

    fn add(&mut self, command: &mut Command) -> usize {
        self.children.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        self.children.len() - 1
    }

    /// A command on a folder of this name.
    fn command(&self, name: &str, folder: &str) -> Command {
        let mut command = Command::new(program());
        command.arg(name).arg("--data").arg(self.folder.path().join(folder)).arg("--config").arg(self.folder.path().join("arouter.toml"));
        command.env("AROUTER_NODE__NAME", folder).envs(self.settings.iter().map(|(key, value)| (*key, value)));
        command
    }

    /// Starts a process on a folder of this name; gives back its place among the children.
    pub fn run(&mut self, name: &str, folder: &str) -> usize {
        let mut command = self.command(name, folder);
        self.add(&mut command)
    }

    /// The place of the ledger that was started first.
    pub const LEDGER: usize = 1;

    /// Kills a child.
    pub fn kill(&mut self, at: usize) {
        let _gone = self.children[at].kill();
        let _ended = self.children[at].wait();
    }

    /// Whether a child runs.
    pub fn runs(&mut self, at: usize) -> bool {
        self.children[at].try_wait().unwrap().is_none()
    }

    async fn ready(&self, folder: &str) -> String {
        let running = self.folder.path().join(folder).join("running.json");
        until("a gateway", || async {
            let running: Value = serde_json::from_slice(&std::fs::read(&running).ok()?).ok()?;
            let base = running["base_url"].as_str()?.trim_end_matches("/v1").to_owned();
            self.http.get(format!("{base}/readyz")).send().await.ok().filter(|answer| answer.status().is_success())?;
            Some(base)
        })
        .await
    }

    /// Posts to the first gateway.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.http.post(format!("{}{path}", self.gateways[0])).bearer_auth(key).body(body.to_string()).send().await.unwrap();
        (answer.status(), answer.json_value().await.unwrap_or_default())
    }

    /// Gets from the first gateway.
    pub async fn get(&self, path: &str, key: &str) -> Option<Value> {
        self.http.get(format!("{}{path}", self.gateways[0])).bearer_auth(key).send().await.ok()?.json_value().await
    }

    /// A new account with credit: its management key.
    pub async fn account(&self, usd: Value) -> String {
        let (_, made) = self.post("/api/v1/admin/accounts", "operator", json!({"name": "apart"})).await;
        let credit = json!({"account": made["data"]["id"], "amount": usd, "kind": "grant"});
        let (status, answer) = self.post("/api/v1/admin/credit", "operator", credit).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        made["management_key"].as_str().unwrap().to_owned()
    }

    /// A new key; its secret.
    pub async fn key(&self, management: &str, body: Value) -> String {
        let (status, key) = self.post("/api/v1/keys", management, body).await;
        assert_eq!(status, StatusCode::CREATED, "{key}");
        key["key"].as_str().unwrap().to_owned()
    }

    /// Proves the books.
    pub fn verify(&self) {
        let verified = self.command("verify", "gateway-0").output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            let _ended = child.wait();
        }
    }
}
