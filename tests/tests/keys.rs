//! Keys: permissions, limits, restrictions, revocation.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

fn ask() -> Value {
    json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]})
}

async fn create(arouter: &Arouter, body: Value) -> (String, String) {
    let (status, body) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    (body["key"].as_str().expect("a secret").to_owned(), body["data"]["hash"].as_str().expect("a hash").to_owned())
}

#[tokio::test]
async fn each_kind_of_key_does_its_own_part_only() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (status, body) = arouter.call(Method::POST, "/v1/chat/completions", &arouter.keys.management_key, Some(ask())).await;
    assert_eq!((status, &body["error"]["type"]), (StatusCode::FORBIDDEN, &json!("permission_error")));
    let (status, _) = arouter.call(Method::GET, "/api/v1/keys", &arouter.keys.live_key, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for key in ["", "lr_live_nobody", "sk-other"] {
        let (status, body) = arouter.call(Method::POST, "/v1/chat/completions", key, Some(ask())).await;
        assert_eq!((status, &body["error"]["type"]), (StatusCode::UNAUTHORIZED, &json!("authentication_error")));
    }
    let (status, body) =
        arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "x", "limt": 1}))).await;
    assert!(status == StatusCode::BAD_REQUEST && body["error"]["message"].as_str().is_some_and(|text| text.contains("limt")), "{body}");
    for path in ["/api/v1/balance", "/api/v1/transactions", "/api/v1/activity"] {
        let (status, _) = arouter.call(Method::GET, path, &arouter.keys.management_key, None).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_limit_is_never_passed_and_says_so() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (key, hash) = create(&arouter, json!({"name": "small", "limit": 0.0005, "limit_reset": "daily"})).await;
    let mut paid = 0;
    let refused = loop {
        let (status, body) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
        if status != StatusCode::OK {
            break (status, body);
        }
        paid += nanos(&body["usage"]["cost"]);
        assert!(paid <= 500_000);
    };
    assert_eq!((refused.0, &refused.1["error"]["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("key_limit")), "{}", refused.1);
    assert!(refused.1["error"]["metadata"]["resets_at"].is_string());
    assert!(paid >= 300_000, "something could be spent: {paid}");
    let path = format!("/api/v1/keys/{hash}");
    until("the key's spending", || async {
        let (_, body) = arouter.call(Method::GET, &path, &arouter.keys.management_key, None).await;
        (nanos(&body["data"]["usage"]) == paid && nanos(&body["data"]["limit_remaining"]) == 500_000 - paid).then_some(())
    })
    .await;
    let (status, body) = arouter.call(Method::PATCH, &path, &arouter.keys.management_key, Some(json!({"limit": null}))).await;
    assert_eq!((status, &body["data"]["limit"]), (StatusCode::OK, &Value::Null));
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::OK, "without a limit it goes on");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn restrictions_and_revocation_act_at_once_and_survive_a_restart() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (key, hash) = create(&arouter, json!({"name": "narrow", "allowed_models": ["test/no-usage"]})).await;
    let (status, body) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert!(status == StatusCode::FORBIDDEN && body["error"]["message"].as_str().is_some_and(|text| text.contains("test/ok")), "{body}");
    let path = format!("/api/v1/keys/{hash}");
    let (status, _) =
        arouter.call(Method::PATCH, &path, &arouter.keys.management_key, Some(json!({"allowed_models": null, "disabled": true}))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    arouter.kill();
    arouter.launch().await;
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "still disabled after a crash");
    arouter.call(Method::PATCH, &path, &arouter.keys.management_key, Some(json!({"disabled": false}))).await;
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    assert_eq!(status, StatusCode::OK);
    let (_, body) = arouter.call(Method::DELETE, &path, &arouter.keys.management_key, None).await;
    assert_eq!(body["data"]["deleted"], true);
    let (status, _) = arouter.call(Method::GET, &path, &arouter.keys.management_key, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn the_operator_makes_accounts_and_posts_credit_once() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let run = |args: &[&str]| {
        let output = std::process::Command::new(tests::arouter::program())
            .arg("admin")
            .args(args)
            .arg("--data")
            .arg(arouter.data())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let made = run(&["account", "create", "second"]);
    let account = made["data"]["id"].as_str().expect("an id");
    let management = made["management_key"].as_str().expect("a key");
    assert_eq!(run(&["credit", "grant", account, "1.5"])["data"]["balance"], json!(1.5));
    assert_eq!(nanos(&run(&["credit", "adjust", account, "-0.5"])["data"]["balance"]), 1_000_000_000);
    let key = run(&["key", "create", "k", "--management-key", management, "--limit", "0.5"]);
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", key["key"].as_str().expect("a secret"), Some(ask())).await;
    assert_eq!(status, StatusCode::OK);
    let token = std::fs::read_to_string(arouter.data().join("operator.token")).expect("a token");
    let grant = |amount: &str| json!({"id": "once", "account": account, "amount": amount, "kind": "grant"});
    for (amount, expected) in [("2", StatusCode::CREATED), ("2", StatusCode::CREATED), ("3", StatusCode::CONFLICT)] {
        let (status, body) = arouter.call(Method::POST, "/api/v1/admin/credit", token.trim(), Some(grant(amount))).await;
        assert_eq!(status, expected, "{body}");
    }
    let (status, _) = arouter.call(Method::POST, "/api/v1/admin/credit", &arouter.keys.management_key, Some(grant("1"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    arouter.settle_and_verify().await;
}
