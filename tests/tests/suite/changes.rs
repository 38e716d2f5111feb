//! An acknowledged change is permanent: no concurrent change, other gateway or restart reverts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::JsonValue;
use tests::standalone::{OPERATOR, Standalone};
use tests::wait::until;
use tests::{Arouter, Provider, Storage, process};
use tokio::task::JoinSet;

/// The number of keys that are deleted, and the number that are disabled, one after the other.
const ROUNDS: usize = 10;
/// A limit so high that changes of keys are never refused for it.
const MANY_CHANGES: &str = "[limits]\nkey_changes_per_second = 100000\n";

fn ask() -> Value {
    json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]})
}

async fn create(arouter: &Arouter, management: &str, body: Value) -> (String, String) {
    let (status, body) = arouter.call(Method::POST, "/api/v1/keys", management, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    (body["key"].as_str().expect("a secret").to_owned(), body["data"]["hash"].as_str().expect("a hash").to_owned())
}

/// Clients that rename one key in a loop.
struct Renamers {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Renamers {
    /// Starts three clients, distributed over these gateways.
    fn start(http: &Client, gateways: &[String], management: &str, hash: &str) -> Self {
        let (stop, answers, mut tasks) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), JoinSet::new());
        for renamer in 0..3 {
            let url = format!("{}/api/v1/keys/{hash}", gateways[renamer % gateways.len()]);
            let (http, management, stop, answers) = (http.clone(), management.to_owned(), Arc::clone(&stop), Arc::clone(&answers));
            tasks.spawn(async move {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let body = json!({"name": format!("{renamer}-{number}")}).to_string();
                    http.patch(&url).bearer_auth(&management).body(body).send().await.expect("an answer");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, answers, tasks }
    }

    /// Waits until each client has sent a few more requests.
    async fn go_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        until("more renames", || async { (self.answers.load(Ordering::Relaxed) >= before + 12).then_some(()) }).await;
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a renamer ended at a surprise");
        }
    }
}

/// Repeats a change of a key until it succeeds with 200. A change that lost against concurrent ones is retried.
async fn changed(http: &Client, method: &Method, url: &str, management: &str, body: Option<&Value>) -> Value {
    until("the change", || async {
        let mut request = http.request(method.clone(), url).bearer_auth(management);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        assert!(status == StatusCode::OK || status == StatusCode::CONFLICT, "{method}: {status}");
        if status == StatusCode::OK { answer.json_value().await } else { None }
    })
    .await
}

/// Returns whether a gateway refuses the key as unknown.
async fn is_dead(http: &Client, gateway: &str, key: &str) -> bool {
    let answer = http.get(format!("{gateway}/v1/models")).bearer_auth(key).send().await.expect("an answer");
    answer.status() == StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn a_key_that_was_deleted_or_disabled_stays_so_whatever_is_renamed_beside_it() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("{MANY_CHANGES}{}", provider.config())).await;
    let (http, gateways, management) = (arouter.http.clone(), vec![arouter.base.clone()], arouter.keys.management_key.clone());
    let (mut keys, mut alive) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let (key, hash) = create(&arouter, &management, json!({"name": "stolen"})).await;
        let (url, renamers) = (format!("{}/api/v1/keys/{hash}", arouter.base), Renamers::start(&http, &gateways, &management, &hash));
        renamers.go_on().await;
        let how = if round < ROUNDS {
            let answer = changed(&http, &Method::DELETE, &url, &management, None).await;
            assert_eq!(answer["data"]["deleted"], true, "{answer}");
            "deleted"
        } else {
            let answer = changed(&http, &Method::PATCH, &url, &management, Some(&json!({"disabled": true}))).await;
            assert_eq!(answer["data"]["disabled"], true, "{answer}");
            "disabled"
        };
        renamers.go_on().await;
        let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
        if status != StatusCode::UNAUTHORIZED {
            alive.push(format!("{how} in round {round}: chat {status}"));
        }
        renamers.end().await;
        keys.push(key);
    }
    assert!(alive.is_empty(), "{} of {} keys live on:\n{}", alive.len(), 2 * ROUNDS, alive.join("\n"));
    arouter.kill();
    arouter.launch().await;
    for (number, key) in keys.iter().enumerate() {
        assert!(is_dead(&http, &arouter.base, key).await, "key {number} lives again after a restart");
    }
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_key_that_was_deleted_at_one_gateway_is_dead_at_both_and_stays_so() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(2, &format!("{MANY_CHANGES}{}", provider.config())).await;
    let (_, management) = standalone.account(json!(1)).await;
    let (mut keys, mut alive) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let (_, made) = standalone.call(0, Method::POST, "/api/v1/keys", &management, Some(json!({"name": "stolen"}))).await;
        let (key, hash) = (made["key"].as_str().expect("a secret").to_owned(), made["data"]["hash"].as_str().expect("a hash").to_owned());
        standalone.knows(&key).await;
        let renamers = Renamers::start(&standalone.http, &standalone.gateways, &management, &hash);
        renamers.go_on().await;
        let url = format!("{}/api/v1/keys/{hash}", standalone.gateways[0]);
        if round % 2 == 0 {
            changed(&standalone.http, &Method::DELETE, &url, &management, None).await;
        } else {
            changed(&standalone.http, &Method::PATCH, &url, &management, Some(&json!({"disabled": true}))).await;
        }
        let since = Instant::now();
        for gateway in &standalone.gateways {
            while !is_dead(&standalone.http, gateway, &key).await && since.elapsed() < Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        renamers.go_on().await;
        renamers.end().await;
        for (number, gateway) in standalone.gateways.iter().enumerate() {
            if !is_dead(&standalone.http, gateway, &key).await {
                alive.push(format!("round {round} at gateway {number}"));
            }
        }
        keys.push(key);
    }
    assert!(alive.is_empty(), "keys live on a second after they were deleted (even rounds) or disabled: {alive:?}");
    for part in ["gateway-0", "gateway-1"] {
        standalone.kill(part);
        standalone.run(part);
    }
    standalone.ready().await;
    for (round, key) in keys.iter().enumerate() {
        for (number, gateway) in standalone.gateways.iter().enumerate() {
            assert!(is_dead(&standalone.http, gateway, key).await, "the key of round {round} lives again at gateway {number}");
        }
    }
    standalone.verify();
}

#[tokio::test]
async fn changes_of_keys_have_a_budget_for_each_account() {
    let arouter = Arouter::start(Storage::Sqlite, "[limits]\nkey_changes_per_second = 5\n").await;
    let tenant = arouter.tenant(0).await;
    let (_, hash) = create(&arouter, &tenant.management_key, json!({"name": "k"})).await;
    let path = format!("/api/v1/keys/{hash}");
    let mut answered = 0;
    let refused = loop {
        let request = arouter.http.patch(format!("{}{path}", arouter.base)).bearer_auth(&tenant.management_key);
        let answer = request.body("{\"name\": \"again\"}").send().await.expect("an answer");
        if answer.status() != StatusCode::OK {
            break answer;
        }
        answered += 1;
        assert!(answered < 100, "100 changes in a row are answered, with a budget of 5 a second");
    };
    let (status, retry) = (refused.status(), refused.headers().get("retry-after").cloned());
    let body = refused.json_value().await.expect("JSON");
    assert_eq!(
        (status, &body["error"]["type"], &body["error"]["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limit_error"), &json!("key_changes")),
        "{body}"
    );
    assert!(retry.is_some_and(|value| value == "1"), "Retry-After");
    assert!(answered >= 10, "a burst of four seconds' changes is taken, not {answered}");
    let (_, hash) = create(&arouter, &arouter.keys.management_key, json!({"name": "another account's"})).await;
    let (status, _) = arouter.call(Method::DELETE, &format!("/api/v1/keys/{hash}"), &arouter.keys.management_key, None).await;
    assert_eq!(status, StatusCode::OK, "another account's change");
    until("the budget", || async {
        let (status, _) = arouter.call(Method::PATCH, &path, &tenant.management_key, Some(json!({"name": "later"}))).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_an_account_are_bounded_and_deleted_ones_count() {
    let arouter = Arouter::start(Storage::Sqlite, "[limits]\nkeys_per_account_max = 6\n").await;
    // The tenant has a management key and a live key.
    let tenant = arouter.tenant(0).await;
    for _ in 0..4 {
        let (_, hash) = create(&arouter, &tenant.management_key, json!({"name": "k"})).await;
        let (status, _) = arouter.call(Method::DELETE, &format!("/api/v1/keys/{hash}"), &tenant.management_key, None).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (status, body) = arouter.call(Method::POST, "/api/v1/keys", &tenant.management_key, Some(json!({"name": "k"}))).await;
    assert_eq!(
        (status, &body["error"]["type"], &body["error"]["code"]),
        (StatusCode::CONFLICT, &json!("conflict_error"), &json!("keys_per_account")),
        "{body}"
    );
    let (status, body) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "k"}))).await;
    assert_eq!(status, StatusCode::CREATED, "another account's key: {body}");
}

// Management keys, and the operator's control over them.

/// Returns the hash of the only management key of an account.
async fn own_hash(arouter: &Arouter, management: &str) -> String {
    let (_, body) = arouter.call(Method::GET, "/api/v1/keys", management, None).await;
    let found = body["data"].as_array().expect("keys").iter().find(|key| key["key_type"] == "management").expect("a management key");
    found["hash"].as_str().expect("a hash").to_owned()
}

#[tokio::test]
async fn the_last_management_key_neither_disables_nor_deletes_itself() {
    let arouter = Arouter::start(Storage::Sqlite, MANY_CHANGES).await;
    let first = arouter.tenant(0).await.management_key;
    let first_path = format!("/api/v1/keys/{}", own_hash(&arouter, &first).await);
    let tries = async |key: &str, path: &str| {
        let (disabled, answer) = arouter.call(Method::PATCH, path, key, Some(json!({"disabled": true}))).await;
        let (deleted, _) = arouter.call(Method::DELETE, path, key, None).await;
        (disabled, deleted, answer["error"]["type"].clone())
    };
    let refused = (StatusCode::CONFLICT, StatusCode::CONFLICT, json!("conflict_error"));
    assert_eq!(tries(&first, &first_path).await, refused);
    let (status, _) = arouter.call(Method::PATCH, &first_path, &first, Some(json!({"name": "renamed"}))).await;
    assert_eq!(status, StatusCode::OK, "it can still be renamed");

    let (second, second_hash) = create(&arouter, &first, json!({"name": "second", "key_type": "management"})).await;
    let (status, _) = arouter.call(Method::DELETE, &first_path, &first, None).await;
    assert_eq!(status, StatusCode::OK, "there is another one");
    assert_eq!(tries(&second, &format!("/api/v1/keys/{second_hash}")).await, refused);
    // A disabled management key does not count as another one.
    let (_, third) = create(&arouter, &second, json!({"name": "third", "key_type": "management"})).await;
    let (status, _) = arouter.call(Method::PATCH, &format!("/api/v1/keys/{third}"), &second, Some(json!({"disabled": true}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(tries(&second, &format!("/api/v1/keys/{second_hash}")).await, refused);
}

#[tokio::test]
async fn two_management_keys_that_delete_each_other_leave_one() {
    let arouter = Arouter::start(Storage::Sqlite, MANY_CHANGES).await;
    for round in 0..ROUNDS {
        let one = arouter.tenant(0).await.management_key;
        let one_path = format!("/api/v1/keys/{}", own_hash(&arouter, &one).await);
        let (other, other_hash) = create(&arouter, &one, json!({"name": "other", "key_type": "management"})).await;
        let other_path = format!("/api/v1/keys/{other_hash}");
        tokio::join!(
            arouter.call(Method::DELETE, &other_path, &one, None),
            arouter.call(Method::PATCH, &one_path, &other, Some(json!({"disabled": true}))),
        );
        let dead = [is_dead(&arouter.http, &arouter.base, &one).await, is_dead(&arouter.http, &arouter.base, &other).await];
        assert!(dead.contains(&false), "round {round}: nobody can manage the account any more");
    }
}

fn admin(arouter: &Arouter, args: &[&str]) -> Value {
    let mut command = std::process::Command::new(tests::arouter::program());
    let output = command.arg("admin").args(args).arg("--data").arg(arouter.data()).output().expect("it runs");
    assert!(output.status.success(), "admin {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn the_operator_suspends_accounts_revokes_keys_and_makes_management_keys() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let tenant = arouter.tenant(1).await;
    let operator = arouter.operator_token();
    let (_, own) = arouter.call(Method::GET, "/api/v1/key", &tenant.live_key, None).await;
    let hash = own["data"]["hash"].as_str().expect("a hash").to_owned();
    let account = format!("/api/v1/admin/accounts/{}", tenant.account);
    for (method, path) in [
        (Method::POST, format!("{account}/suspend")),
        (Method::POST, format!("{account}/resume")),
        (Method::POST, format!("{account}/management-keys")),
        (Method::DELETE, format!("/api/v1/admin/keys/{hash}")),
    ] {
        let body = (method == Method::POST).then(|| json!({"name": "x"}));
        let (status, answer) = arouter.call(method.clone(), &path, &tenant.management_key, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with a tenant's key: {answer}");
    }
    let (status, answer) = arouter.call(Method::POST, &format!("{account}/suspend"), &operator, None).await;
    assert_eq!(
        (status, &answer["data"]["id"], &answer["data"]["suspended"]),
        (StatusCode::OK, &json!(tenant.account), &json!(true)),
        "{answer}"
    );
    let refused = async |arouter: &Arouter| {
        let (chat, answer) = arouter.call(Method::POST, "/v1/chat/completions", &tenant.live_key, Some(ask())).await;
        let (keys, listed) = arouter.call(Method::GET, "/api/v1/keys", &tenant.management_key, None).await;
        (chat, answer["error"]["code"].clone(), keys, listed["error"]["code"].clone())
    };
    let suspended = (StatusCode::FORBIDDEN, json!("account_suspended"), StatusCode::FORBIDDEN, json!("account_suspended"));
    assert_eq!(refused(&arouter).await, suspended);
    assert_eq!(arouter.chat(ask()).await.0, StatusCode::OK, "another account");
    arouter.kill();
    arouter.launch().await;
    assert_eq!(refused(&arouter).await, suspended, "after a crash");
    admin(&arouter, &["account", "resume", &tenant.account]);
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &tenant.live_key, Some(ask())).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    admin(&arouter, &["account", "suspend", &tenant.account]);
    assert_eq!(refused(&arouter).await, suspended, "by the command");
    let (status, answer) = arouter.call(Method::POST, &format!("{account}/resume"), &operator, None).await;
    assert_eq!((status, &answer["data"]["suspended"]), (StatusCode::OK, &json!(false)), "{answer}");

    let (status, answer) = arouter.call(Method::DELETE, &format!("/api/v1/admin/keys/{hash}"), &operator, None).await;
    assert_eq!((status, &answer["data"]["deleted"]), (StatusCode::OK, &json!(true)), "{answer}");
    assert!(is_dead(&arouter.http, &arouter.base, &tenant.live_key).await, "a revoked key");
    let (status, made) = arouter.call(Method::POST, &format!("{account}/management-keys"), &operator, Some(json!({"name": "new"}))).await;
    assert_eq!((status, &made["data"]["key_type"]), (StatusCode::CREATED, &json!("management")), "{made}");
    let (key, hash) = create(&arouter, made["key"].as_str().expect("a secret"), json!({"name": "live"})).await;
    admin(&arouter, &["key", "revoke", &hash]);
    assert!(is_dead(&arouter.http, &arouter.base, &key).await, "a key revoked by the command");
    let made = admin(&arouter, &["account", "management-key", &tenant.account]);
    let (status, _) = arouter.call(Method::GET, "/api/v1/keys", made["key"].as_str().expect("a secret"), None).await;
    assert_eq!(status, StatusCode::OK, "a management key by the command");
    // A thief who has deleted all other management keys is locked out, because the operator may delete any key.
    let last = own_hash(&arouter, &tenant.management_key).await;
    let (status, answer) = arouter.call(Method::DELETE, &format!("/api/v1/admin/keys/{last}"), &operator, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for path in ["/api/v1/admin/accounts/acc_00000000000000000000000000000009/suspend", "/api/v1/admin/accounts/nobody/resume"] {
        let (status, answer) = arouter.call(Method::POST, path, &operator, None).await;
        assert!(
            [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST].contains(&status) && answer["error"]["type"].is_string(),
            "{path}: {answer}"
        );
    }
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn what_the_operator_does_at_one_gateway_acts_at_the_other() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(2, &provider.config()).await;
    let (account, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    standalone.knows(&key).await;
    let chat = async |standalone: &Standalone, gateway: usize| {
        standalone.call(gateway, Method::POST, "/v1/chat/completions", &key, Some(ask())).await
    };
    let path = |verb: &str| format!("/api/v1/admin/accounts/{account}/{verb}");
    let (status, answer) = standalone.call(0, Method::POST, &path("suspend"), OPERATOR, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until("the suspension at the other gateway", || async {
        let (status, answer) = chat(&standalone, 1).await;
        (status == StatusCode::FORBIDDEN && answer["error"]["code"] == "account_suspended").then_some(())
    })
    .await;
    for part in ["gateway-0", "gateway-1"] {
        standalone.kill(part);
        standalone.run(part);
    }
    standalone.ready().await;
    for gateway in 0..2 {
        assert_eq!(chat(&standalone, gateway).await.0, StatusCode::FORBIDDEN, "gateway {gateway} after its restart");
    }
    let (status, answer) = standalone.call(1, Method::POST, &path("resume"), OPERATOR, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for gateway in 0..2 {
        until("service", || async { (chat(&standalone, gateway).await.0 == StatusCode::OK).then_some(()) }).await;
    }
    let (_, own) = standalone.call(0, Method::GET, "/api/v1/key", &key, None).await;
    let revoke = format!("/api/v1/admin/keys/{}", own["data"]["hash"].as_str().expect("a hash"));
    let (status, answer) = standalone.call(1, Method::DELETE, &revoke, OPERATOR, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for gateway in &standalone.gateways {
        until("the end of the key", || async { is_dead(&standalone.http, gateway, &key).await.then_some(()) }).await;
    }
    let made = standalone.call(0, Method::POST, &path("management-keys"), OPERATOR, Some(json!({"name": "new"}))).await.1;
    let new = made["key"].as_str().expect("a secret");
    until("the new management key at the other gateway", || async {
        (standalone.call(1, Method::GET, "/api/v1/keys", new, None).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    standalone.verify();
}

// The cost of a change in a large directory.

/// Creates `count` keys with 16 clients, and returns their secrets.
async fn make_keys(http: &Client, gateway: &str, management: &str, count: usize) -> Vec<String> {
    let (mut clients, left) = (JoinSet::new(), Arc::new(AtomicUsize::new(count)));
    for _ in 0..16 {
        let (http, url, management, left) = (http.clone(), format!("{gateway}/api/v1/keys"), management.to_owned(), Arc::clone(&left));
        clients.spawn(async move {
            let mut made = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let answer = http.post(&url).bearer_auth(&management).body("{\"name\": \"one of many\"}").send().await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::CREATED);
                let body = answer.json_value().await.expect("JSON");
                made.push(body["key"].as_str().expect("a secret").to_owned());
            }
            made
        });
    }
    clients.join_all().await.concat()
}

/// Returns the median time of a change in milliseconds, and the median number of bytes that the process writes for it.
async fn change(arouter: &Arouter, path: &str) -> (f64, u64) {
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let (since, written) = (Instant::now(), process::written(arouter.pid()));
        let body = json!({"name": format!("change {number}")});
        let (status, answer) = arouter.call(Method::PATCH, path, &arouter.keys.management_key, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        times.push(since.elapsed());
        bytes.push(process::written(arouter.pid()) - written);
    }
    times.sort();
    bytes.sort_unstable();
    (times[times.len() / 2].as_secs_f64() * 1_000.0, bytes[bytes.len() / 2])
}

#[tokio::test]
async fn a_change_costs_the_same_however_many_keys_there_are() {
    let arouter = Arouter::start(Storage::Sqlite, MANY_CHANGES).await;
    let (_, hash) = create(&arouter, &arouter.keys.management_key, json!({"name": "changed"})).await;
    let path = format!("/api/v1/keys/{hash}");
    let tenant = arouter.tenant(0).await;
    make_keys(&arouter.http, &arouter.base, &tenant.management_key, 100).await;
    let (few_ms, few_bytes) = change(&arouter, &path).await;
    make_keys(&arouter.http, &arouter.base, &tenant.management_key, 1_900).await;
    let (many_ms, many_bytes) = change(&arouter, &path).await;
    let found =
        format!("a change takes {few_ms:.2} ms and {few_bytes} bytes with 100 keys, {many_ms:.2} ms and {many_bytes} bytes with 2,000");
    println!("{found}");
    // Most of the time is spent waiting for the disk, so the bytes show whether the cost grows.
    assert!(many_ms <= 3.0 * few_ms && many_bytes <= 3 * few_bytes, "{found}");
}

#[tokio::test]
async fn keys_are_known_although_the_log_has_lost_them() {
    let mut arouter = Arouter::start(Storage::Sqlite, MANY_CHANGES).await;
    let management = arouter.keys.management_key.clone();
    let keys = make_keys(&arouter.http, &arouter.base, &management, 300).await;
    let (doomed, hash) = create(&arouter, &management, json!({"name": "doomed"})).await;
    let url = format!("{}/api/v1/keys/{hash}", arouter.base);
    changed(&arouter.http, &Method::DELETE, &url, &management, None).await;
    arouter.kill();
    let streams = std::fs::read_dir(arouter.data().join("nats/jetstream")).expect("streams").flatten();
    let mut lost = streams.map(|account| account.path().join("streams/CONTROL")).filter(|stream| stream.exists());
    std::fs::remove_dir_all(lost.next().expect("a stream of keys")).expect("removed");
    arouter.launch().await;
    for (number, key) in keys.iter().enumerate() {
        assert!(!is_dead(&arouter.http, &arouter.base, key).await, "key {number} is lost");
    }
    assert!(is_dead(&arouter.http, &arouter.base, &doomed).await, "a deleted key lives again");
}

#[tokio::test]
async fn what_is_changed_while_nats_is_unavailable_survives_a_crash() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(2, &format!("{MANY_CHANGES}{}", provider.config())).await;
    let (_, management) = standalone.account(json!(1)).await;
    let (_, doomed) = standalone.post("/api/v1/keys", &management, json!({"name": "doomed"})).await;
    let (secret, hash) = (doomed["key"].as_str().expect("a secret"), doomed["data"]["hash"].as_str().expect("a hash"));
    standalone.knows(secret).await;
    let base = standalone.gateways[0].clone();
    // Without NATS, the deletion is stored only on this gateway's disk.
    standalone.kill("nats");
    changed(&standalone.http, &Method::DELETE, &format!("{base}/api/v1/keys/{hash}"), &management, None).await;
    let made = make_keys(&standalone.http, &base, &management, 20).await;
    standalone.kill("gateway-0");
    for part in ["nats", "gateway-0"] {
        standalone.run(part);
    }
    standalone.ready().await;
    assert!(is_dead(&standalone.http, &base, secret).await, "a deleted key lives again");
    for key in &made {
        assert!(!is_dead(&standalone.http, &base, key).await, "a key is lost");
        standalone.knows(key).await;
    }
    let other = &standalone.gateways[1];
    until("the deletion at the other gateway", || async { is_dead(&standalone.http, other, secret).await.then_some(()) }).await;
    standalone.verify();
}

// The cost of the revisions of a key that are kept.

/// Returns the processor time and the number of sleeps in one second without requests.
async fn idle(arouter: &Arouter) -> (Duration, u64) {
    let pid = arouter.pid();
    let before = (process::busy(pid), process::sleeps(pid));
    tokio::time::sleep(Duration::from_secs(1)).await;
    (process::busy(pid).saturating_sub(before.0), process::sleeps(pid).saturating_sub(before.1))
}

#[tokio::test]
async fn revisions_of_limited_keys_cost_nothing_once_they_are_idle() {
    let provider = Provider::start().await;
    let config = format!("[leases]\nttl_seconds = 3\n{MANY_CHANGES}{}", provider.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let (key, hash) = create(&arouter, &arouter.keys.management_key, json!({"name": "limited", "limit": 5})).await;
    let path = format!("/api/v1/keys/{hash}");
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let before = idle(&arouter).await;
    for number in 0..300 {
        let body = json!({"limit": format!("5.{number:03}")});
        let (status, answer) = arouter.call(Method::PATCH, &path, &arouter.keys.management_key, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        until("a lease", || async {
            (arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await.0 == StatusCode::OK).then_some(())
        })
        .await;
    }
    // One timer of 200 ms for each of 300 revisions would wake the process 1,500 times a second, some of them together. A revision that
    // is idle for longer than a lease has no timer.
    let since = Instant::now();
    let mut after = idle(&arouter).await;
    while (after.1 > before.1 * 3 / 2 + 50 || after.0 > before.0 + Duration::from_millis(170)) && since.elapsed() < Duration::from_secs(30)
    {
        after = idle(&arouter).await;
    }
    println!("idle for a second: {before:?} before, {after:?} after 300 revisions");
    assert!(
        after.1 <= before.1 * 3 / 2 + 50 && after.0 <= before.0 + Duration::from_millis(170),
        "idle for a second: {before:?} before, {after:?} half a minute after 300 revisions"
    );
    arouter.settle_and_verify().await;
}
