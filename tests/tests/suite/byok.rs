//! Own provider keys: they are used first and within their limits, cost the fee to the nano, and are never shown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use events::subject::Stream;
use http::{HeaderMap, StatusCode, header};
use reqwest::Method;
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Arouter, Keys, Storage};

/// The list price of an answer in nano-USD: 10 tokens at 1 USD and 5 at 2 USD per million.
const LIST: i64 = 20_000;
/// A fee of 2.5 nano-USD for such an answer, which is rounded half up.
const FEE: &str = "[byok]\nfee_percent = \"0.0125\"\nfree_requests_per_month = ";
const FEE_NANOS: i64 = 3;
/// The operator's credential.
const PLATFORM: &str = "platform-credential";

/// A provider that answers by the credential: one that begins with `bad` is refused and repeated, and one that begins with `down` fails.
#[derive(Clone)]
struct ByKey {
    address: SocketAddr,
    used: Arc<Mutex<Vec<String>>>,
}

impl ByKey {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self { address: listener.local_addr().unwrap(), used: Arc::default() };
        let router =
            axum::Router::new().route("/v1/chat/completions", post(answer)).route("/v1/models", get(answer)).with_state(provider.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::task::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// Returns the credentials of the requests since the last call.
    fn used(&self) -> Vec<String> {
        std::mem::take(&mut self.used.lock().unwrap())
    }

    /// Returns the configuration of the provider `test` with two models, and of `own`, which has no credential of the operator.
    fn config(&self) -> String {
        let address = self.address;
        let models = [("test/ok", "test"), ("test/other", "test"), ("own/ok", "own")].map(|(id, provider)| {
            format!(
                "[[models]]\nid = \"{id}\"\nprovider = \"{provider}\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 100000\nmax_output_tokens = 1000\n"
            )
        });
        let provider = |slug: &str, more: &str| format!("[[providers]]\nslug = \"{slug}\"\nbase_url = \"http://{address}/v1\"\n{more}\n");
        provider("test", &format!("api_key = \"{PLATFORM}\"")) + &provider("own", "byok_only = true") + &models.concat()
    }
}

async fn answer(State(provider): State<ByKey>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = key.trim_start_matches("Bearer ").to_owned();
    provider.used.lock().unwrap().push(key.clone());
    let refused = |status| (status, axum::Json(json!({"error": {"message": format!("Incorrect key {key}"), "code": key}}))).into_response();
    if key.starts_with("bad") {
        return refused(StatusCode::UNAUTHORIZED);
    }
    if key.starts_with("wrong") {
        return refused(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if key.starts_with("down") {
        return refused(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if key.starts_with("cut") {
        let piece = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]});
        let text = format!("data: {piece}\n\ndata: {}\n\n", json!({"error": {"message": format!("Lost key {key}"), "code": key}}));
        return ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response();
    }
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if body["stream"] != json!(true) {
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"});
        return axum::Json(
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}),
        )
        .into_response();
    }
    let chunk = |choices: Value, usage: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, "usage": usage})
        )
    };
    let delta = json!([{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]);
    let text = chunk(delta, Value::Null) + &chunk(json!([]), usage) + "data: [DONE]\n\n";
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

fn ask(model: &str) -> Value {
    json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]})
}

async fn chat(arouter: &Arouter, keys: &Keys, model: &str) -> (StatusCode, Value) {
    arouter.call(Method::POST, "/v1/chat/completions", &keys.live_key, Some(ask(model))).await
}

/// Sends a request that must succeed, and returns its usage.
async fn served(arouter: &Arouter, keys: &Keys, model: &str) -> Value {
    let (status, body) = chat(arouter, keys, model).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["usage"].clone()
}

async fn manage(arouter: &Arouter, keys: &Keys, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    arouter.call(method, &format!("/api/v1/provider-keys{path}"), &keys.management_key, body).await
}

/// Makes a provider key and returns its id.
async fn create(arouter: &Arouter, keys: &Keys, key: &str, more: Value) -> String {
    let mut body = json!({"provider": "test", "key": key});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, made) = manage(arouter, keys, Method::POST, "", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["data"]["id"].as_str().unwrap().to_owned()
}

async fn change(arouter: &Arouter, keys: &Keys, id: &str, body: Value) {
    let (status, changed) = manage(arouter, keys, Method::PATCH, &format!("/{id}"), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
}

fn cost(usage: &Value) -> i64 {
    nanos(&usage["cost"])
}

#[tokio::test]
async fn own_keys_come_first_and_the_operators_credential_after_them_unless_forbidden() {
    let provider = ByKey::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let keys = &arouter.keys;
    let usage = served(&arouter, keys, "test/ok").await;
    assert_eq!((&usage["is_byok"], cost(&usage), provider.used()), (&json!(false), LIST, vec![PLATFORM.to_owned()]));
    assert_eq!(chat(&arouter, keys, "own/ok").await.0, StatusCode::NOT_FOUND, "no credential at all");

    let good = create(&arouter, keys, "good-1", json!({"label": "ours", "models": ["test/ok"]})).await;
    let usage = served(&arouter, keys, "test/ok").await;
    assert_eq!((&usage["is_byok"], cost(&usage)), (&json!(true), 0), "{usage}");
    assert_eq!(nanos(&usage["cost_details"]["upstream_inference_cost"]), LIST);
    assert_eq!(provider.used(), ["good-1"]);
    assert_eq!(served(&arouter, keys, "test/other").await["is_byok"], json!(false), "a model that the key does not serve");
    change(&arouter, keys, &good, json!({"disabled": true, "models": null})).await;
    served(&arouter, keys, "test/ok").await;
    assert_eq!(provider.used(), [PLATFORM, PLATFORM]);
    let other = arouter.tenant(1).await;
    change(&arouter, keys, &good, json!({"disabled": false})).await;
    served(&arouter, &other, "test/ok").await;
    assert_eq!(provider.used(), [PLATFORM], "another account has no part in it");
    assert_eq!(manage(&arouter, &other, Method::GET, &format!("/{good}"), None).await.0, StatusCode::NOT_FOUND);

    // A key that the provider refuses rests, and is not tried again.
    let (status, _) = manage(&arouter, keys, Method::DELETE, &format!("/{good}"), None).await;
    assert_eq!(status, StatusCode::OK);
    let bad = create(&arouter, keys, "bad-1", json!({"label": "stale"})).await;
    let usage = served(&arouter, keys, "test/ok").await;
    assert_eq!((&usage["is_byok"], cost(&usage), provider.used()), (&json!(false), LIST, vec!["bad-1".to_owned(), PLATFORM.to_owned()]));
    served(&arouter, keys, "test/ok").await;
    assert_eq!(provider.used(), [PLATFORM]);
    // A change ends the rest, and forbids the operator's credential.
    change(&arouter, keys, &bad, json!({"always_use": true})).await;
    let (status, body) = chat(&arouter, keys, "test/ok").await;
    assert_eq!((status, provider.used()), (StatusCode::BAD_GATEWAY, vec!["bad-1".to_owned()]), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("'stale'"), "{body}");
    change(&arouter, keys, &bad, json!({"key": "good-2"})).await;
    assert_eq!(served(&arouter, keys, "test/ok").await["is_byok"], json!(true));
    // A provider that fails is tried with the operator's credential.
    change(&arouter, keys, &bad, json!({"key": "down-1", "always_use": false})).await;
    assert_eq!(served(&arouter, keys, "test/ok").await["is_byok"], json!(false));
    assert_eq!(provider.used(), ["good-2", "down-1", PLATFORM]);

    create(&arouter, keys, "good-3", json!({"provider": "own"})).await;
    assert_eq!(served(&arouter, keys, "own/ok").await["is_byok"], json!(true), "a provider without the operator's credential");
}

#[tokio::test]
async fn keys_are_drawn_by_weight_and_keep_their_rate_and_their_budget() {
    let provider = ByKey::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let keys = &arouter.keys;
    let heavy = create(&arouter, keys, "heavy", json!({"weight": 9})).await;
    let light = create(&arouter, keys, "light", json!({})).await;
    for _ in 0..60 {
        served(&arouter, keys, "test/ok").await;
    }
    let mut counts = BTreeMap::new();
    provider.used().into_iter().for_each(|key| *counts.entry(key).or_insert(0) += 1);
    assert!(counts["heavy"] > 40 && counts.get("light").is_some_and(|light| *light > 0), "{counts:?}");
    for id in [&heavy, &light] {
        assert_eq!(manage(&arouter, keys, Method::DELETE, &format!("/{id}"), None).await.0, StatusCode::OK);
    }

    let limited = create(&arouter, keys, "slow", json!({"rpm_limit": 2})).await;
    for _ in 0..3 {
        served(&arouter, keys, "test/ok").await;
    }
    assert_eq!(provider.used(), ["slow", "slow", PLATFORM]);
    assert_eq!(manage(&arouter, keys, Method::DELETE, &format!("/{limited}"), None).await.0, StatusCode::OK);

    // The budget counts the list price: the second request reaches it.
    let daily = create(&arouter, keys, "thrifty", json!({"daily_budget_usd": 0.000_04, "always_use": true})).await;
    served(&arouter, keys, "test/ok").await;
    served(&arouter, keys, "test/ok").await;
    let (status, body) = chat(&arouter, keys, "test/ok").await;
    assert_eq!((status, provider.used()), (StatusCode::BAD_GATEWAY, vec!["thrifty".to_owned(); 2]), "{body}");
    change(&arouter, keys, &daily, json!({"daily_budget_usd": null, "monthly_budget_usd": "0.00006"})).await;
    served(&arouter, keys, "test/ok").await;
    assert_eq!(chat(&arouter, keys, "test/ok").await.0, StatusCode::BAD_GATEWAY, "the month's budget");
}

#[tokio::test]
async fn beyond_the_free_requests_of_a_month_the_fee_is_exact_to_the_nano() {
    let provider = ByKey::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("{FEE}3\n{}", provider.config())).await;
    let poor = arouter.tenant(0).await;
    create(&arouter, &poor, "good-1", json!({})).await;
    for number in 1..=3 {
        let usage = served(&arouter, &poor, "test/ok").await;
        assert_eq!((cost(&usage), &usage["is_byok"]), (0, &json!(true)), "free request {number} of an account without credit");
    }
    let (status, body) = chat(&arouter, &poor, "test/ok").await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("insufficient_credits")));
    assert_eq!(provider.used(), ["good-1"; 3]);

    let keys = arouter.keys.clone();
    create(&arouter, &keys, "good-2", json!({})).await;
    let mut costs = Vec::new();
    for _ in 0..4 {
        costs.push(cost(&served(&arouter, &keys, "test/ok").await));
    }
    assert_eq!(costs, [0, 0, 0, FEE_NANOS]);
    let mut streamed = ask("test/ok");
    streamed["stream"] = json!(true);
    let answer = arouter.http.post(format!("{}/v1/chat/completions", arouter.base)).bearer_auth(&keys.live_key);
    let text = answer.header("content-type", "application/json").body(streamed.to_string()).send().await.unwrap().text().await.unwrap();
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok()).unwrap();
    assert_eq!((cost(&last["usage"]), &last["usage"]["is_byok"]), (FEE_NANOS, &json!(true)), "{text}");

    let rows = arouter.usage(5).await;
    assert_eq!(rows.iter().map(|row| -nanos(&row["amount"])).sum::<i64>(), 2 * FEE_NANOS);
    let own = arouter.get("/api/v1/key").await;
    assert_eq!((nanos(&own["data"]["byok_usage"]), nanos(&own["data"]["usage"])), (5 * LIST, 2 * FEE_NANOS));
    let events = arouter.recorded(Stream::Usage).await;
    let last = &events.last().unwrap()["data"];
    assert_eq!((&last["is_byok"], &last["cost_nanos"]), (&json!(true), &json!(FEE_NANOS)));
    assert_eq!((&last["byok"]["list_cost_nanos"], &last["byok"]["fee_nanos"]), (&json!(LIST), &json!(FEE_NANOS)));
    let id = last["request"].as_str().unwrap();
    let activity = until("the reports", || async {
        let body = arouter.get("/api/v1/activity?period=1d").await;
        (body["totals"]["requests"] == json!(5)).then_some(body)
    })
    .await;
    assert_eq!((nanos(&activity["totals"]["byok_spend_est_usd"]), nanos(&activity["totals"]["spend_usd"])), (5 * LIST, 2 * FEE_NANOS));
    let generation = arouter.generation(id).await;
    assert_eq!(generation["usage"]["is_byok"], json!(true));
    assert_eq!(nanos(&generation["usage"]["cost_details"]["upstream_inference_cost"]), LIST);
    // The count outlives the process, and a rebuild of the books makes the same one.
    arouter.settle_and_verify().await;
    assert_eq!(cost(&served(&arouter, &keys, "test/ok").await), FEE_NANOS);
}

#[tokio::test]
async fn a_fee_counts_towards_a_keys_limit_only_if_the_key_says_so() {
    let provider = ByKey::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &format!("{FEE}0\n{}", provider.config())).await;
    create(&arouter, &arouter.keys, "good-1", json!({})).await;
    for (is_included, statuses) in [(false, [StatusCode::OK; 2]), (true, [StatusCode::OK, StatusCode::PAYMENT_REQUIRED])] {
        let body = json!({"name": "k", "limit": 0.000_000_015, "include_byok_in_limit": is_included});
        let (status, made) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let live = Keys { live_key: made["key"].as_str().unwrap().to_owned(), ..arouter.keys.clone() };
        let hash = made["data"]["hash"].as_str().unwrap();
        for expected in statuses {
            let (status, body) = chat(&arouter, &live, "test/ok").await;
            assert_eq!(status, expected, "{is_included}: {body}");
            let left = if is_included { 15 - FEE_NANOS } else { 15 };
            until("the posting", || async {
                let (_, key) = arouter.call(Method::GET, &format!("/api/v1/keys/{hash}"), &arouter.keys.management_key, None).await;
                let is_posted = nanos(&key["data"]["byok_usage"]) > 0;
                (is_posted && nanos(&key["data"]["limit_remaining"]) == left).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn two_gateways_see_a_change_at_once() {
    let provider = ByKey::start().await;
    let standalone = Standalone::start(2, &provider.config()).await;
    let (_, management) = standalone.account(json!(1)).await;
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        let body = json!({"provider": "test", "key": format!("good-{round}"), "label": format!("round {round}")});
        let (status, made) = standalone.call(0, Method::POST, "/api/v1/provider-keys", &management, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let (began, path) = (Instant::now(), format!("/api/v1/provider-keys/{}", made["data"]["id"].as_str().unwrap()));
        until("the change at the other gateway", || async {
            let (status, _) = standalone.call(1, Method::GET, &path, &management, None).await;
            (status == StatusCode::OK).then_some(())
        })
        .await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test]
async fn keys_outlive_a_restart_and_a_change_of_the_master_key() {
    let provider = ByKey::start().await;
    let (old, new) = ("old-0123456789abcdef0123456789abcdef", "new-0123456789abcdef0123456789abcdef");
    let config = format!("[secrets]\nmaster_key = \"{old}\"\n{}", provider.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let keys = arouter.keys.clone();
    let id = create(&arouter, &keys, "good-1", json!({"always_use": true})).await;
    for (master, is_usable) in [(format!("{new} {old}"), true), (new.to_owned(), false), (old.to_owned(), true)] {
        arouter.stop();
        let mut command = arouter.command("up");
        command.env("AROUTER_SECRETS__MASTER_KEY", &master);
        arouter.launch_as(command).await;
        let (status, _) = chat(&arouter, &keys, "test/ok").await;
        assert_eq!(status, if is_usable { StatusCode::OK } else { StatusCode::NOT_FOUND });
        let (status, tested) = manage(&arouter, &keys, Method::POST, &format!("/{id}/test"), None).await;
        let is_right = if is_usable { tested["data"]["ok"] == json!(true) } else { status == StatusCode::CONFLICT };
        assert!(is_right && (is_usable || tested.to_string().contains("secrets.master_key")), "{tested}");
    }
    assert_eq!(provider.used(), ["good-1"; 4]);
}

#[tokio::test]
async fn bad_provider_keys_are_refused() {
    let provider = ByKey::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let keys = &arouter.keys;
    let id = create(&arouter, keys, "good-1", json!({})).await;
    for (more, field) in [
        (json!({"provider": "nobody"}), "provider"),
        (json!({"key": "a b"}), "key"),
        (json!({"key": ""}), "key"),
        (json!({"label": ""}), "label"),
        (json!({"weight": 0}), "weight"),
        (json!({"rpm_limit": 0}), "rpm_limit"),
        (json!({"daily_budget_usd": -1}), "daily_budget_usd"),
        (json!({"base_url": "http://127.0.0.1:1/v1"}), "base_url"),
        (json!({"base_url": "https://u:p@example.com"}), "base_url"),
        (json!({"key": "secret-in-sight", "label": "secret-in-sight"}), "key"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let mut body = json!({"provider": "test", "key": "good-2"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, refused) = manage(&arouter, keys, Method::POST, "", Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{more}: {refused}");
        assert!(refused.to_string().contains(field), "{more}: {refused}");
    }
    // Nobody who lacks the credential can have it sent elsewhere.
    let elsewhere = json!({"base_url": "https://example.com/v1"});
    let (status, refused) = manage(&arouter, keys, Method::PATCH, &format!("/{id}"), Some(elsewhere)).await;
    assert_eq!((status, &refused["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("base_url")));
    let (status, _) = arouter.call(Method::GET, "/api/v1/provider-keys", &keys.live_key, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    // A name is checked again when it is resolved for the connection.
    let local = create(&arouter, keys, "good-3", json!({"base_url": format!("http://localhost:{}/v1", provider.address.port())})).await;
    let (_, tested) = manage(&arouter, keys, Method::POST, &format!("/{local}/test"), None).await;
    assert_eq!((&tested["data"]["ok"], &tested["data"]["message"]), (&json!(false), &json!("connect")), "{tested}");
    assert!(provider.used().is_empty());
}

/// Fails if a file below a folder contains a text.
fn assert_absent(folder: &Path, text: &str) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            assert_absent(&entry.path(), text);
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{} contains it", entry.path().display());
        }
    }
}

#[tokio::test]
async fn the_credential_stands_in_clear_nowhere() {
    let provider = ByKey::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("[byok]\nbase_url_at_private_addresses = true\n{}", provider.config());
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let keys = &arouter.keys;
    let canaries =
        ["bad-canary-4f1c77a0b2", "wrong-canary-9d02be61aa", "down-canary-77e3c4d5f1", "gone-canary-0b6a1d2e3c", "cut-canary-61c0f2a9d7"];
    let mut answers = Vec::new();
    for canary in canaries {
        let mut body = json!({"provider": "test", "key": canary, "always_use": true});
        if canary.starts_with("gone") {
            body["base_url"] = json!(format!("http://{closed}/v1"));
        }
        let (status, made) = manage(&arouter, keys, Method::POST, "", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let id = made["data"]["id"].as_str().unwrap().to_owned();
        answers.push(made.to_string());
        let (status, refused) = chat(&arouter, keys, "test/ok").await;
        assert!(!status.is_success(), "{refused}");
        answers.push(refused.to_string());
        answers.push(streamed(&arouter, keys).await);
        for (method, path) in [(Method::POST, format!("/{id}/test")), (Method::GET, format!("/{id}")), (Method::GET, String::new())] {
            let (status, answer) = manage(&arouter, keys, method, &path, None).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            answers.push(answer.to_string());
        }
        change(&arouter, keys, &id, json!({"disabled": true})).await;
    }
    let tested = answers.iter().filter(|answer| answer.contains("[removed]")).count();
    assert!(tested >= 4, "what the provider repeats is removed: {answers:?}");
    assert!(answers.iter().any(|answer| answer.contains("data: ") && answer.contains("[removed]")), "in a stream too: {answers:?}");
    let mut texts = answers.join("\n") + &arouter.log();
    for stream in [Stream::Requests, Stream::Usage, Stream::Control, Stream::Ledger] {
        texts += &serde_json::to_string(&arouter.recorded(stream).await).unwrap();
    }
    for canary in canaries {
        assert!(!texts.contains(canary), "{canary} stands in an answer, the log or an event");
        assert_absent(&arouter.data(), canary);
    }
    assert!(provider.used().iter().any(|key| key == canaries[0]), "the provider has it");
}

/// Returns the text of a stream.
async fn streamed(arouter: &Arouter, keys: &Keys) -> String {
    let mut body = ask("test/ok");
    body["stream"] = json!(true);
    let request = arouter.http.post(format!("{}/v1/chat/completions", arouter.base)).bearer_auth(&keys.live_key);
    request.body(body.to_string()).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_operators_credential_stands_in_no_error() {
    for canary in ["wrong-operator-3f9a0c", "down-operator-b81e77", "cut-operator-5be13a"] {
        let provider = ByKey::start().await;
        let arouter = Arouter::start(Storage::Sqlite, &provider.config().replace(PLATFORM, canary)).await;
        let (_, refused) = chat(&arouter, &arouter.keys, "test/ok").await;
        let text = refused.to_string() + &streamed(&arouter, &arouter.keys).await;
        assert!(text.contains("[removed]") && !text.contains(canary), "{text}");
    }
}
