//! Gateway, ledger and projector as processes of their own, against a given NATS and PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::Provider;
use tests::arouter::{JsonValue, nanos, program, repository};
use tests::postgres::Postgres;
use tests::wait::until;

/// Children that end with the test.
struct Children(Vec<Child>);

impl Children {
    fn add(&mut self, command: &mut Command) -> usize {
        self.0.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
        self.0.len() - 1
    }

    fn kill(&mut self, at: usize) {
        let _gone = self.0[at].kill();
        let _ended = self.0[at].wait();
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            let _ended = child.wait();
        }
    }
}

fn nats_server() -> PathBuf {
    let pinned = repository().join(".tools/nats-server");
    if pinned.exists() { pinned } else { PathBuf::from("nats-server") }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// The command of one process, with a folder of its own.
fn process(name: &str, folder: &Path, settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(program());
    command.arg(name).arg("--data").arg(folder.join(name)).arg("--config").arg(folder.join("arouter.toml"));
    command.envs(settings.iter().map(|(key, value)| (*key, value)));
    command
}

#[tokio::test]
async fn three_processes_serve_charge_and_survive_each_other() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let (provider, postgres) = (Provider::start().await, Postgres::start());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("arouter.toml"), provider.config()).expect("written");
    let nats_port = free_port();
    let (ledger_port, projector_port) = (free_port(), free_port());
    let mut children = Children(Vec::new());
    children.add(
        Command::new(nats_server()).args(["-a", "127.0.0.1", "-p", &nats_port.to_string(), "-js", "-sd"]).arg(folder.path().join("nats")),
    );
    let settings = [
        ("AROUTER_NATS__URL", format!("nats://127.0.0.1:{nats_port}")),
        ("AROUTER_INTERNAL__SECRET", "a secret of at least thirty-two characters".to_owned()),
        ("AROUTER_OPERATOR__TOKEN", "operator".to_owned()),
        ("AROUTER_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
        ("AROUTER_LEDGER__DATABASE_URL", postgres.url("ledger")),
        ("AROUTER_PROJECTOR__DATABASE_URL", postgres.url("projector")),
        ("AROUTER_LEDGER__LISTEN", format!("127.0.0.1:{ledger_port}")),
        ("AROUTER_PROJECTOR__LISTEN", format!("127.0.0.1:{projector_port}")),
        ("AROUTER_LEDGER__URL", format!("http://127.0.0.1:{ledger_port}")),
        ("AROUTER_PROJECTOR__URL", format!("http://127.0.0.1:{projector_port}")),
    ];
    let mut ledger = children.add(&mut process("ledger", folder.path(), &settings));
    children.add(&mut process("projector", folder.path(), &settings));
    children.add(&mut process("gateway", folder.path(), &settings));
    let http = Client::builder().no_proxy().build().expect("a client");
    let base = until("the gateway", || async {
        let running: Value = serde_json::from_slice(&std::fs::read(folder.path().join("gateway/running.json")).ok()?).ok()?;
        let base = running["base_url"].as_str()?.trim_end_matches("/v1").to_owned();
        http.get(format!("{base}/readyz")).send().await.ok().filter(|answer| answer.status().is_success())?;
        Some(base)
    })
    .await;
    let post = async |path: &str, key: &str, body: Value| {
        let answer = http.post(format!("{base}{path}")).bearer_auth(key).body(body.to_string()).send().await.expect("an answer");
        (answer.status(), answer.json_value().await.unwrap_or_default())
    };
    let (_, made) = post("/api/v1/admin/accounts", "operator", json!({"name": "apart"})).await;
    let (account, management) = (made["data"]["id"].clone(), made["management_key"].as_str().expect("a key").to_owned());
    let (status, answer) = post("/api/v1/admin/credit", "operator", json!({"account": account, "amount": 1, "kind": "grant"})).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let (_, key) = post("/api/v1/keys", &management, json!({"name": "k", "limit": 0.5})).await;
    let key = key["key"].as_str().expect("a secret").to_owned();
    let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..10 {
        let (status, answer) = post("/v1/chat/completions", &key, ask.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    // The ledger dies: a warm lease goes on, and a new ledger posts what was missed.
    children.kill(ledger);
    let (status, answer) = post("/v1/chat/completions", &key, ask.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    ledger = children.add(&mut process("ledger", folder.path(), &settings));
    until("all postings", || async {
        let answer = http.get(format!("{base}/api/v1/balance")).bearer_auth(&key).send().await.ok()?.json_value().await?;
        (nanos(answer.get("balance")?) == 1_000_000_000 - 11 * 20_000).then_some(())
    })
    .await;
    until("the activity", || async {
        let answer = http.get(format!("{base}/api/v1/activity?period=1h")).bearer_auth(&key).send().await.ok()?.json_value().await?;
        (answer["totals"]["requests"] == json!(11)).then_some(())
    })
    .await;
    let mut verify = Command::new(program());
    verify.arg("verify").arg("--data").arg(folder.path().join("gateway")).envs(settings.iter().map(|(key, value)| (*key, value)));
    let verified = verify.output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert!(children.0[ledger].try_wait().expect("a status").is_none(), "the ledger runs");
    let unsigned = http.get(format!("http://127.0.0.1:{ledger_port}/api/v1/balance")).send().await.expect("an answer");
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED, "reads are for the gateway only");
}
