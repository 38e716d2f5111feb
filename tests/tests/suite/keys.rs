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

#[tokio::test]
async fn settings_are_kept_and_shown_in_both_shapes() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let management = arouter.keys.management_key.clone();
    let rate_limit = json!({"requests_per_minute": 60, "requests_per_day": null, "tokens_per_minute": 9_000});
    let body = json!({"name": "full", "spending_limit": 2.5, "limit_reset": "never", "rate_limit": rate_limit, "enforce_zdr": true,
        "include_byok_in_limit": true});
    let (key, hash) = create(&arouter, body).await;
    let (_, body) = arouter.call(Method::GET, &format!("/api/v1/keys/{hash}"), &management, None).await;
    let data = &body["data"];
    assert_eq!(data["rate_limit"], rate_limit);
    assert_eq!((&data["enforce_zdr"], &data["include_byok_in_limit"], &data["limit"]), (&json!(true), &json!(true), &json!(2.5)));
    assert_eq!((&data["byok_usage"], &data["byok_usage_monthly"], &data["limit_reset"]), (&json!(0), &json!(0), &Value::Null));
    assert_eq!(data["workspace_id"], json!(arouter.keys.account));
    let changes = json!({"rate_limit": null, "enforce_zdr": false, "expires_at": "2199-01-01T00:00:00Z"});
    let (_, body) = arouter.call(Method::PATCH, &format!("/v1/keys/{hash}"), &management, Some(changes)).await;
    let data = &body["data"];
    assert_eq!((&data["rate_limit"], &data["enforce_zdr"], &data["include_byok_in_limit"]), (&Value::Null, &json!(false), &json!(true)));
    assert!(data["expires_at"].as_str().is_some_and(|at| at.starts_with("2199-01-01")), "{body}");
    for bad in [json!({"requests_per_minute": 0}), json!({"per_minute": 1}), json!({"tokens_per_minute": -1}), json!(5)] {
        let (status, body) = arouter.call(Method::POST, "/api/v1/keys", &management, Some(json!({"name": "n", "rate_limit": bad}))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {body}");
    }
    let (_, own) = arouter.call(Method::GET, "/api/v1/auth/key", &key, None).await;
    assert_eq!((&own["data"]["limit"], &own["data"]["is_management_key"]), (&json!(2.5), &json!(false)), "{own}");
    assert!(own["data"]["rate_limit"]["note"].is_string());

    let (_, before) = arouter.call(Method::GET, "/api/v1/balance", &key, None).await;
    let (_, answer) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask())).await;
    let cost = nanos(&answer["usage"]["cost"]);
    until("the charge", || async {
        let (_, body) = arouter.call(Method::GET, "/api/v1/credits", &key, None).await;
        let (credits, usage) = (nanos(&body["data"]["total_credits"]), nanos(&body["data"]["total_usage"]));
        (usage == cost && credits == nanos(&before["balance"])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_skip_and_repeat_nothing_while_keys_come_and_go() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let management = arouter.keys.management_key.clone();
    let mut hashes = Vec::new();
    for number in 0..6 {
        hashes.push(create(&arouter, json!({"name": format!("k{number}")})).await.1);
    }
    let page = async |query: &str| arouter.call(Method::GET, &format!("/api/v1/keys?{query}"), &management, None).await.1;
    let of = |body: &Value| -> Vec<String> {
        body["data"].as_array().expect("keys").iter().map(|key| key["hash"].as_str().expect("a hash").to_owned()).collect()
    };
    let first = page("page_size=4").await;
    let mut seen = of(&first);
    // Two keys of the first page go, and one comes, before the next page is read.
    for hash in &hashes[..2] {
        arouter.call(Method::DELETE, &format!("/api/v1/keys/{hash}"), &management, None).await;
    }
    hashes.push(create(&arouter, json!({"name": "late"})).await.1);
    let mut token = first["next_page_token"].as_str().map(str::to_owned);
    while let Some(at) = token {
        let next = page(&format!("page_size=2&page_token={at}")).await;
        seen.extend(of(&next));
        token = next["next_page_token"].as_str().map(str::to_owned);
    }
    assert!(hashes.iter().all(|hash| seen.iter().filter(|shown| *shown == hash).count() == 1), "{hashes:?} {seen:?}");
    arouter.call(Method::PATCH, &format!("/api/v1/keys/{}", hashes[3]), &management, Some(json!({"disabled": true}))).await;
    assert!(!of(&page("").await).contains(&hashes[3]) && of(&page("include_disabled=true").await).contains(&hashes[3]));
    assert_eq!(of(&page("offset=2&page_size=1").await), [of(&page("").await)[2].clone()]);
    let (status, _) = arouter.call(Method::GET, "/api/v1/keys?page_token=7", &management, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_rotated_key_has_the_same_settings_and_the_old_one_ends() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let management = arouter.keys.management_key.clone();
    let settings = json!({"name": "turning", "limit": 1, "allowed_models": ["test/ok"], "rate_limit": {"requests_per_minute": 100}});
    let (old, hash) = create(&arouter, settings).await;
    let rotate =
        async |hash: &str, body: Option<Value>| arouter.call(Method::POST, &format!("/api/v1/keys/{hash}/rotate"), &management, body).await;
    let (status, body) = rotate(&hash, None).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let data = &body["data"];
    assert_eq!((&data["name"], &data["limit"], &data["expires_at"]), (&json!("turning"), &json!(1), &Value::Null));
    assert_eq!((&data["allowed_models"], &data["rate_limit"]["requests_per_minute"]), (&json!(["test/ok"]), &json!(100)));
    let (new, new_hash) = (body["key"].as_str().expect("a secret").to_owned(), data["hash"].as_str().expect("a hash").to_owned());
    for key in [&old, &new] {
        let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", key, Some(ask())).await;
        assert_eq!(status, StatusCode::OK, "both work meanwhile");
    }
    let (_, shown) = arouter.call(Method::GET, &format!("/api/v1/keys/{hash}"), &management, None).await;
    assert!(shown["data"]["expires_at"].is_string(), "the old one ends within a day: {shown}");
    let (status, third) = rotate(&new_hash, Some(json!({"expires_old_in_seconds": 0}))).await;
    assert_eq!(status, StatusCode::CREATED, "{third}");
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &new, Some(ask())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "it ended at once");
    assert_eq!(rotate(&new_hash, None).await.0, StatusCode::CONFLICT);
    assert_eq!(rotate(&"0".repeat(64), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(rotate(&hash, Some(json!({"expires_old_in_seconds": 7_776_001}))).await.0, StatusCode::BAD_REQUEST);
    arouter.settle_and_verify().await;
}
