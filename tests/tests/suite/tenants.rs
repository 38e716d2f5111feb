//! One tenant cannot block another: not by a character, a stream, a connection, a body, a list, a text or a refusal.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventlog::Outgoing;
use events::control::KeyCreated;
use events::subject::{Stream, subject};
use events::usage_recorded::UsageRecorded;
use events::{Clock, SystemClock};
use reqwest::{Method, Response, StatusCode};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tests::arouter::{JsonValue, nanos};
use tests::endless::{Endless, stream_of};
use tests::port;
use tests::postgres::Postgres;
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Arouter, Keys, Provider, Storage, process, raw};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const USAGE: &str = include_str!("../../../schemas/events/golden/usage.recorded.v1.json");
const CREATED: &str = include_str!("../../../schemas/events/golden/key.created.v1.json");
/// The number of requests that fill a spool of [`SMALL_SPOOL`] four times.
const FILLING: usize = 8_000;
const SMALL_SPOOL: &str = "[spool]\nsegment_bytes = 262144\nbytes_max = 6291456\n";

fn ask() -> Value {
    json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]})
}

/// Sends a chat request, and returns the response with its headers.
async fn send(arouter: &Arouter, key: &str, body: &Value) -> Response {
    let request = arouter.http.post(format!("{}/v1/chat/completions", arouter.base)).bearer_auth(key);
    request.body(body.to_string()).send().await.expect("an answer")
}

async fn status(arouter: &Arouter, key: &str, body: &Value) -> StatusCode {
    send(arouter, key, body).await.status()
}

/// Opens a stream, which stays open until the returned value is dropped.
async fn open_stream(arouter: &Arouter, key: &str, body: &Value) -> Response {
    let mut answer = send(arouter, key, body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    answer.chunk().await.expect("a piece").expect("it goes on");
    answer
}

/// Returns the usage transactions of a tenant, once there are `count` of them.
async fn usage_of(arouter: &Arouter, tenant: &Keys, count: usize) -> Vec<Value> {
    until("a tenant's postings", || async {
        let (_, body) = arouter.call(Method::GET, "/api/v1/transactions?type=usage&limit=1000", &tenant.live_key, None).await;
        let rows = body["transactions"].as_array()?.clone();
        (rows.len() == count).then_some(rows)
    })
    .await
}

async fn held(arouter: &Arouter, key: &str) -> Option<i64> {
    let (_, body) = arouter.call(Method::GET, "/api/v1/balance", key, None).await;
    body.get("held").map(nanos)
}

/// Waits until the reports of this key's account have this number of requests.
async fn reported(arouter: &Arouter, key: &str, requests: usize) {
    until(&format!("{requests} requests in the reports"), || async {
        let (_, body) = arouter.call(Method::GET, "/api/v1/activity?period=1d", key, None).await;
        (body["totals"]["requests"] == json!(requests)).then_some(())
    })
    .await;
}

/// Checks that a response is a refusal for an exceeded limit; returns the deviation as an error.
async fn budget(answer: Response, status: StatusCode, kind: &str, code: &str) -> Result<(), String> {
    let (found, retry) = (answer.status(), answer.headers().get("retry-after").cloned());
    let body = answer.json_value().await.unwrap_or_default();
    let error = &body["error"];
    let is_right = found == status
        && retry.as_ref().is_some_and(|value| value == "1")
        && error["type"] == kind
        && error["code"] == code
        && error["message"].as_str().is_some_and(|message| !message.is_empty());
    if is_right { Ok(()) } else { Err(format!("{found}, retry-after {retry:?}, {body} instead of {status} {kind} {code}")) }
}

// Control characters.

/// Returns every call that stores or looks up a text which contains the control character, and the field that the error must name.
fn texts(arouter: &Arouter, hash: &str, control: char) -> Vec<(Method, String, String, Option<Value>, &'static str)> {
    let (text, coded) = (format!("a{control}b"), format!("a%{:02x}b", u32::from(control)));
    let (live, management, operator) = (&arouter.keys.live_key, &arouter.keys.management_key, &arouter.operator_token());
    let messages = json!([{"role": "user", "content": "x"}]);
    let credit = json!({"account": arouter.keys.account, "kind": "grant", "amount": 1});
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    let mut calls = Vec::new();
    let mut add =
        |method: Method, path: String, key: &String, body: Option<Value>, field| calls.push((method, path, key.clone(), body, field));
    for (field, value) in
        [("user", json!(text)), ("model", json!(format!("test/ok{control}"))), ("models", json!([format!("test/ok{control}")]))]
    {
        let body = with(json!({"model": "test/ok", "messages": messages}), field, value);
        add(Method::POST, "/v1/chat/completions".to_owned(), live, Some(body), field);
    }
    for (field, value) in [("name", json!(text)), ("allowed_models", json!(["test/ok", text])), ("allowed_providers", json!([text]))] {
        add(Method::POST, "/api/v1/keys".to_owned(), management, Some(with(json!({"name": "x"}), field, value.clone())), field);
        add(Method::PATCH, format!("/api/v1/keys/{hash}"), management, Some(with(json!({}), field, value)), field);
    }
    add(Method::POST, "/api/v1/admin/accounts".to_owned(), operator, Some(json!({"name": text})), "name");
    for field in ["description", "id"] {
        add(Method::POST, "/api/v1/admin/credit".to_owned(), operator, Some(with(credit.clone(), field, json!(text))), field);
    }
    let refund = json!({"account": arouter.keys.account, "kind": "refund", "purchase": text});
    add(Method::POST, "/api/v1/admin/credit".to_owned(), operator, Some(refund), "purchase");
    for (path, field) in [
        (format!("/api/v1/activity?user={coded}"), "user"),
        (format!("/api/v1/activity?model={coded}"), "model"),
        (format!("/api/v1/activity?key_hash={coded}"), "key_hash"),
        (format!("/api/v1/generation?id={coded}"), "id"),
        (format!("/api/v1/transactions?key_hash={coded}"), "key_hash"),
        (format!("/api/v1/transactions?cursor={coded}"), "cursor"),
    ] {
        add(Method::GET, path, live, None, field);
    }
    for method in [Method::GET, Method::DELETE] {
        add(method, format!("/api/v1/keys/{coded}"), management, None, "");
    }
    add(Method::PATCH, format!("/api/v1/keys/{coded}"), management, Some(json!({"name": "x"})), "");
    add(Method::GET, format!("/api/v1/admin/quarantine/{coded}"), operator, None, "");
    add(Method::POST, format!("/api/v1/admin/quarantine/{coded}/discard"), operator, None, "");
    calls
}

/// Returns the calls with a control character that are not refused with 400 and the name of their field.
async fn taken(arouter: &Arouter) -> Vec<String> {
    let (_, own) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "own"}))).await;
    let hash = own["data"]["hash"].as_str().expect("a hash").to_owned();
    let mut taken = Vec::new();
    for control in ['\0', '\u{1}', '\u{7f}'] {
        for (method, path, key, body, field) in texts(arouter, &hash, control) {
            let (status, answer) = arouter.call(method.clone(), &path, &key, body.clone()).await;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            let names = answer["error"]["param"] == field || message.contains(&format!("'{field}'")) || field.is_empty();
            if status != StatusCode::BAD_REQUEST || answer["error"]["type"] != "invalid_request_error" || !names {
                taken.push(format!("{method} {path} {}: {status} {message}", body.unwrap_or_default()));
            }
        }
    }
    taken
}

#[tokio::test]
async fn control_characters_are_refused_wherever_text_is_stored() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let taken = taken(&arouter).await;
    assert!(taken.is_empty(), "{} calls are not refused:\n{}", taken.len(), taken.join("\n"));
    assert!(provider.asked().is_empty(), "none of these reached a provider");
    let (status, answer) = arouter.call(Method::GET, "/api/v1/keys/%ff", &arouter.keys.management_key, None).await;
    assert_eq!((status, &answer["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("invalid_request_error")), "{answer}");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn reports_go_on_after_control_characters_on_postgresql() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Postgres(Postgres::start()), &provider.config()).await;
    let hostile = arouter.tenant(1).await;
    let mut named = ask();
    named["user"] = json!("a\0b");
    let refused = status(&arouter, &hostile.live_key, &named).await;
    let (unnamed, _) = arouter.call(Method::POST, "/api/v1/keys", &hostile.management_key, Some(json!({"name": "a\0b"}))).await;
    for _ in 0..6 {
        assert_eq!(arouter.chat(ask()).await.0, StatusCode::OK);
    }
    reported(&arouter, &arouter.keys.live_key, 6).await;
    assert_eq!((refused, unnamed), (StatusCode::BAD_REQUEST, StatusCode::BAD_REQUEST));
    let taken = taken(&arouter).await;
    assert!(taken.is_empty(), "{} calls are not refused:\n{}", taken.len(), taken.join("\n"));
    arouter.settle_and_verify().await;
}

/// Returns usage event number `number` of another gateway.
fn usage_event(account: &str, number: usize, change: impl FnOnce(&mut Value)) -> Outgoing {
    let mut event: Value = serde_json::from_str(USAGE).expect("JSON");
    let (id, request) = (format!("01920000-0000-7000-8000-{number:012}"), format!("gen-1767225600-{number:024}"));
    event["account"] = json!(account);
    (event["id"], event["subject"], event["data"]["request"]) = (json!(id), json!(request), json!(request));
    (event["source"], event["sequence"]) = (json!("/gateway/foreign/boot"), json!(number.to_string()));
    (event["data"]["cost_nanos"], event["data"]["admitted_at_us"]) = (json!(1_000), json!(SystemClock.now_us()));
    change(&mut event["data"]);
    Outgoing { stream: Stream::Usage, subject: subject::<UsageRecorded>(account, &request), id, payload: event.to_string().into() }
}

async fn quarantined(arouter: &Arouter) -> BTreeSet<String> {
    let (status, body) = arouter.call(Method::GET, "/api/v1/admin/quarantine", &arouter.operator_token(), None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let ids = body["data"].as_array().expect("a list").iter().filter_map(|event| event["event_id"].as_str());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_event_that_a_database_refuses_is_set_aside_alone() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Postgres(Postgres::start()), &provider.config()).await;
    let tenant = arouter.tenant(1).await;
    let account = &tenant.account;
    // The reports store the user's name, the books store the model's.
    let batch = vec![
        usage_event(account, 1, |_| ()),
        usage_event(account, 2, |data| data["user"] = json!("a\0b")),
        usage_event(account, 3, |_| ()),
        usage_event(account, 4, |data| data["model"] = json!("a\0b")),
        usage_event(account, 5, |_| ()),
    ];
    let refused: BTreeSet<String> = [&batch[1], &batch[3]].map(|event| event.id.clone()).into();
    arouter.connect_log().await.append(batch).await.expect("published");
    until("the events that are set aside", || async { (quarantined(&arouter).await == refused).then_some(()) }).await;
    for number in [1, 3, 5] {
        let path = format!("/api/v1/generation?id=gen-1767225600-{number:024}");
        until(&format!("event {number} of the same batch in the reports"), || async {
            (arouter.call(Method::GET, &path, &tenant.live_key, None).await.0 == StatusCode::OK).then_some(())
        })
        .await;
    }
    until("the charges of the same batch", || async {
        let (_, body) = arouter.call(Method::GET, "/api/v1/transactions?type=usage", &tenant.live_key, None).await;
        let charged: Vec<&str> = body["transactions"].as_array()?.iter().filter_map(|row| row["generation_id"].as_str()).collect();
        [1, 3, 5].iter().all(|number| charged.contains(&format!("gen-1767225600-{number:024}").as_str())).then_some(())
    })
    .await;
    // Other accounts are not affected.
    assert_eq!(arouter.chat(ask()).await.0, StatusCode::OK);
    arouter.usage(1).await;
    reported(&arouter, &arouter.keys.live_key, 1).await;
    for event in refused {
        let path = format!("/api/v1/admin/quarantine/{event}/discard");
        let (status, answer) = arouter.call(Method::POST, &path, &arouter.operator_token(), None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    until("the tenant's service", || async { (status(&arouter, &tenant.live_key, &ask()).await == StatusCode::OK).then_some(()) }).await;
}

#[tokio::test]
async fn a_key_event_that_a_database_refuses_is_set_aside_alone() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Postgres(Postgres::start()), &provider.config()).await;
    let tenant = arouter.tenant(1).await;
    let (hash, id) = ("ab".repeat(32), "01920000-0000-7000-8000-00000000000c".to_owned());
    let mut event: Value = serde_json::from_str(CREATED).expect("JSON");
    (event["id"], event["subject"], event["account"]) = (json!(id), json!(hash), json!(tenant.account));
    (event["source"], event["sequence"]) = (json!("/gateway/foreign/boot"), json!("1"));
    let key = &mut event["data"]["key"];
    (key["hash"], key["account"], key["name"]) = (json!(hash), json!(tenant.account), json!("a\0b"));
    let subject = subject::<KeyCreated>(&tenant.account, &hash);
    let outgoing = Outgoing { stream: Stream::Control, subject, id: id.clone(), payload: event.to_string().into() };
    arouter.connect_log().await.append(vec![outgoing]).await.expect("published");
    until("the event that is set aside", || async { quarantined(&arouter).await.contains(&id).then_some(()) }).await;
    // The ledger knows the next key and lends on its limit.
    let limited = json!({"name": "next", "limit": 0.5});
    let (_, made) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(limited)).await;
    let key = made["key"].as_str().expect("a secret");
    until("a lease of the next key", || async { (status(&arouter, key, &ask()).await == StatusCode::OK).then_some(()) }).await;
    reported(&arouter, key, 1).await;
}

// Streams that do not end.

/// Sends requests with four clients, and returns the responses that are not 200.
async fn fill(arouter: &Arouter, requests: usize) -> Vec<String> {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (http, url, key) = (arouter.http.clone(), format!("{}/v1/chat/completions", arouter.base), arouter.keys.live_key.clone());
        clients.spawn(async move {
            let mut refused = Vec::new();
            for number in 0..requests / 4 {
                let answer = http.post(&url).bearer_auth(&key).body(ask().to_string()).send().await.expect("an answer");
                if answer.status() != StatusCode::OK {
                    refused.push(format!("request {number}: {} {}", answer.status(), answer.text().await.unwrap_or_default()));
                    break;
                }
            }
            refused
        });
    }
    clients.join_all().await.concat()
}

/// Returns the number of spool files of all boots.
fn spool_files(arouter: &Arouter) -> usize {
    let boots = std::fs::read_dir(arouter.data().join("spool")).into_iter().flatten().flatten();
    boots.map(|boot| std::fs::read_dir(boot.path()).map_or(0, Iterator::count)).sum()
}

#[tokio::test]
async fn an_open_stream_pins_nothing_of_the_spool_and_is_settled_once_after_a_crash() {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let config = format!("{SMALL_SPOOL}{}{}", provider.config(), endless.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let tenant = arouter.tenant(5).await;
    let mut stream = open_stream(&arouter, &tenant.live_key, &stream_of("drip")).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&is_over);
    let reading = async move {
        while !stop.load(Ordering::Relaxed) {
            stream.chunk().await.expect("a piece").expect("it goes on");
        }
        stream
    };
    let filling = async {
        let refused = fill(&arouter, FILLING).await;
        is_over.store(true, Ordering::Relaxed);
        refused
    };
    let (stream, refused) = tokio::join!(reading, filling);
    assert!(refused.is_empty(), "beside one open stream: {refused:?}");
    // The spool has 6 MiB in files of 256 KiB.
    until("few files", || async { (spool_files(&arouter) <= 4).then_some(()) }).await;
    arouter.kill();
    drop(stream);
    arouter.launch().await;
    arouter.settled().await;
    let rows = usage_of(&arouter, &tenant, 1).await;
    assert!(nanos(&rows[0]["amount"]) < 0, "what was relayed is charged: {}", rows[0]);
    until("the tenant's hold", || async { (held(&arouter, &tenant.live_key).await? == 0).then_some(()) }).await;
    arouter.settle_and_verify().await;
    assert_eq!(usage_of(&arouter, &tenant, 1).await[0], rows[0], "another start charges nothing more");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_pays() {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let config = format!("[server]\nwrite_timeout_ms = 1000\n{}{}", provider.config(), endless.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let tenant = arouter.tenant(5).await;
    let unread = raw::chat_unread(&arouter.base, &tenant.live_key, &stream_of("flood").to_string()).await.expect("sent");
    until("the stream", || async { (endless.open() == 1).then_some(()) }).await;
    let since = Instant::now();
    until("the end of a stream that nobody reads", || async { (endless.open() == 0).then_some(()) }).await;
    assert!(since.elapsed() < Duration::from_secs(15), "it was cut after {:?}", since.elapsed());
    let rows = usage_of(&arouter, &tenant, 1).await;
    assert!(nanos(&rows[0]["amount"]) < 0, "what was relayed is charged: {}", rows[0]);
    until("the tenant's hold", || async { (held(&arouter, &tenant.live_key).await? == 0).then_some(()) }).await;
    drop(unread);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_stream_ends_at_its_longest_life() {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let config = format!("[server]\nstream_timeout_ms = 1500\n{}{}", provider.config(), endless.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let tenant = arouter.tenant(5).await;
    let answer = send(&arouter, &tenant.live_key, &stream_of("drip")).await;
    let _text = tokio::time::timeout(Duration::from_secs(10), answer.text()).await.expect("the stream goes on behind its longest life");
    until("the provider's end", || async { (endless.open() == 0).then_some(()) }).await;
    assert!(nanos(&usage_of(&arouter, &tenant, 1).await[0]["amount"]) < 0, "what was relayed is charged");
    arouter.settle_and_verify().await;
}

// Lists that are too large.

#[tokio::test]
async fn lists_and_names_are_bounded() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let management = &arouter.keys.management_key;
    let (_, made) = arouter.call(Method::POST, "/api/v1/keys", management, Some(json!({"name": "x"}))).await;
    let path = format!("/api/v1/keys/{}", made["data"]["hash"].as_str().expect("a hash"));
    let many = |count: usize| -> Vec<String> { (0..count).map(|number| format!("m{number}")).collect() };
    let mut taken = Vec::new();
    for (field, value) in [
        ("allowed_models", json!(many(300))),
        ("allowed_models", json!(["m".repeat(200)])),
        ("allowed_providers", json!(many(65))),
        ("allowed_providers", json!(["p".repeat(65)])),
        ("name", json!("n".repeat(257))),
    ] {
        for (method, path) in [(Method::POST, "/api/v1/keys"), (Method::PATCH, path.as_str())] {
            let mut body = json!({"name": "x"});
            body[field] = value.clone();
            let (status, answer) = arouter.call(method.clone(), path, management, Some(body)).await;
            if status != StatusCode::BAD_REQUEST || !answer["error"]["message"].as_str().is_some_and(|text| text.contains(field)) {
                taken.push(format!("{method} {field}: {status} {}", answer["error"]));
            }
        }
    }
    let body = json!({"name": "n".repeat(257)});
    let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/accounts", &arouter.operator_token(), Some(body)).await;
    if status != StatusCode::BAD_REQUEST {
        taken.push(format!("an account's name: {status} {answer}"));
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

/// Keys whose text is within the limits but long in JSON. A text that does not fit into the log is refused; the creation and deletion of
/// an accepted key are recorded.
#[tokio::test]
async fn a_key_that_is_taken_is_recorded_and_its_end_too() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let management = &arouter.keys.management_key;
    let mut deleted = BTreeSet::new();
    for letter in ["m", "\"", "\\", "\u{1f600}"] {
        let models: Vec<String> = (0..256).map(|_| letter.repeat(128 / letter.len())).collect();
        let providers: Vec<String> = (0..64).map(|_| letter.repeat(64 / letter.len())).collect();
        let body = json!({"name": letter.repeat(256), "allowed_models": models, "allowed_providers": providers});
        let (status, made) = arouter.call(Method::POST, "/api/v1/keys", management, Some(body)).await;
        if status != StatusCode::CREATED {
            assert!(status.is_client_error(), "{letter}: {status} {made}");
            continue;
        }
        let hash = made["data"]["hash"].as_str().expect("a hash").to_owned();
        let (status, answer) = arouter.call(Method::DELETE, &format!("/api/v1/keys/{hash}"), management, None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        deleted.insert(hash);
    }
    assert!(!deleted.is_empty(), "none of the keys is taken");
    until("every deletion in the log", || async {
        let events = arouter.recorded(Stream::Control).await;
        let of = |kind: &str| -> BTreeSet<String> {
            let events = events.iter().filter(|event| event["type"] == kind);
            events.filter_map(|event| Some(event["data"]["key"]["hash"].as_str()?.to_owned())).collect()
        };
        (of("arouter.key.created.v1").is_superset(&deleted) && of("arouter.key.deleted.v1") == deleted).then_some(())
    })
    .await;
}

// Limits of requests in flight.

#[tokio::test]
async fn requests_in_flight_are_bounded_for_each_account() {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let config = format!("[limits]\nrequests_in_flight_per_account_max = 3\n{}{}", provider.config(), endless.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let tenant = arouter.tenant(50).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(open_stream(&arouter, &tenant.live_key, &stream_of("drip")).await);
    }
    let answer = send(&arouter, &tenant.live_key, &ask()).await;
    budget(answer, StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "requests_in_flight").await.expect("a fourth request is refused");
    assert_eq!(arouter.chat(ask()).await.0, StatusCode::OK, "another account's request");
    open.pop();
    until("a place", || async { (status(&arouter, &tenant.live_key, &ask()).await == StatusCode::OK).then_some(()) }).await;
    drop(open);
    until("the end of the streams", || async { (endless.open() == 0).then_some(()) }).await;
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn requests_in_flight_are_bounded_for_the_process() {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let config = format!("[limits]\nrequests_in_flight_max = 3\n{}{}", provider.config(), endless.config());
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let tenant = arouter.tenant(5).await;
        open.push(open_stream(&arouter, &tenant.live_key, &stream_of("drip")).await);
    }
    let answer = send(&arouter, &arouter.keys.live_key, &ask()).await;
    budget(answer, StatusCode::SERVICE_UNAVAILABLE, "server_error", "requests_in_flight").await.expect("a fourth request is refused");
    assert_eq!(arouter.http.get(format!("{}/healthz", arouter.base)).send().await.expect("an answer").status(), StatusCode::OK);
    open.pop();
    until("a place", || async { (arouter.chat(ask()).await.0 == StatusCode::OK).then_some(()) }).await;
}

/// Returns a chat request of about this many bytes.
fn long_ask(model: &str, bytes: usize) -> Value {
    json!({"model": model, "stream": model != "test/ok", "max_tokens": 1_000, "messages": [{"role": "user", "content": "a ".repeat(bytes / 2)}]})
}

/// Checks the limit of body bytes in flight. A body of 800 kB that never arrives counts like one that a provider is processing, so
/// another one of 400 kB exceeds 1 MB.
async fn bodies_are_bounded(limit: &str, status_expected: StatusCode, kind: &str, is_per_account: bool) {
    let (provider, endless) = (Provider::start().await, Endless::start());
    let model = "[[models]]\nid = \"test/large\"\nprovider = \"test\"\nupstream_model = \"ok\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 2000000\n";
    let metrics = port::free();
    let listen = format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n");
    let config = format!("{listen}[limits]\n{limit} = 1000000\n{}{model}{}", provider.config(), endless.config());
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let (hostile, other) = (arouter.tenant(50).await, arouter.tenant(50).await);
    let second = if is_per_account { &hostile } else { &other };
    let large = long_ask("test/large", 400_000);
    assert_eq!(status(&arouter, &second.live_key, &large).await, StatusCode::OK, "alone it is served");

    let mut announced = raw::connect(&arouter.base).await.expect("a connection");
    announced.write_all((raw::chat_head(&hostile.live_key, 800_000) + "{").as_bytes()).await.expect("sent");
    // Of two bodies that arrive at once, either may be refused.
    until("the announced body", || async {
        let text = arouter.http.get(format!("http://127.0.0.1:{metrics}/metrics")).send().await.ok()?.text().await.ok()?;
        text.contains("arouter_body_bytes_in_flight 800000.0\n").then_some(())
    })
    .await;
    let answer = send(&arouter, &second.live_key, &large).await;
    budget(answer, status_expected, kind, "body_bytes_in_flight").await.expect("a refusal beside a body that is announced");
    if is_per_account {
        assert_eq!(status(&arouter, &other.live_key, &large).await, StatusCode::OK, "another account's body");
    }
    assert_eq!(status(&arouter, &second.live_key, &ask()).await, StatusCode::OK, "a small body fits");
    drop(announced);
    until("room", || async { (status(&arouter, &second.live_key, &large).await == StatusCode::OK).then_some(()) }).await;

    let mut thinking = long_ask("endless/think", 800_000);
    thinking["stream"] = json!(false);
    let thought = async { status(&arouter, &hostile.live_key, &thinking).await };
    let refused = async {
        until("the provider's work", || async { (endless.open() == 1).then_some(()) }).await;
        let answer = send(&arouter, &second.live_key, &large).await;
        budget(answer, status_expected, kind, "body_bytes_in_flight").await.expect("a refusal beside a body that a provider has");
    };
    let (thought, ()) = tokio::join!(thought, refused);
    assert_eq!(thought, StatusCode::OK);
    until("room", || async { (status(&arouter, &second.live_key, &large).await == StatusCode::OK).then_some(()) }).await;
}

#[tokio::test]
async fn bytes_of_bodies_are_bounded_for_each_account() {
    let limit = "body_bytes_in_flight_per_account_max";
    bodies_are_bounded(limit, StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", true).await;
}

#[tokio::test]
async fn bytes_of_bodies_are_bounded_for_the_process() {
    bodies_are_bounded("body_bytes_in_flight_max", StatusCode::SERVICE_UNAVAILABLE, "server_error", false).await;
}

#[tokio::test]
async fn counting_the_prompts_of_an_account_without_money_takes_little_memory() {
    let provider = Provider::start().await;
    let model = "[[models]]\nid = \"test/counted\"\nprovider = \"test\"\nupstream_model = \"ok\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 1000000\ntokenizer = \"o200k_base\"\n";
    let arouter = Arouter::start(Storage::Sqlite, &format!("{}{model}", provider.config())).await;
    let tenant = arouter.tenant(0).await;
    let credit = json!({"account": tenant.account, "kind": "grant", "amount": 0.01});
    let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &arouter.operator_token(), Some(credit)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let messages = vec!["{\"role\":\"\"}"; 800_000].join(",");
    let body = bytes::Bytes::from(format!("{{\"model\":\"test/counted\",\"messages\":[{messages}]}}"));
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let request = arouter.http.post(format!("{}/v1/chat/completions", arouter.base)).bearer_auth(&tenant.live_key).body(body.clone());
        asking.spawn(async move { request.send().await.expect("an answer").status() });
    }
    let statuses = asking.join_all().await;
    assert!(statuses.iter().all(|status| !status.is_success()), "{statuses:?}");
    let peak = process::memory_peak(arouter.pid()) / 1_000_000;
    assert!(peak < 600, "{peak} MB of memory for 8 requests of 9.6 MB that were refused: {statuses:?}");
}

// Connections.

/// Returns whether health and chat respond within five seconds over connections of their own.
async fn serves(arouter: &Arouter) -> bool {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().expect("a client");
    let health = client.get(format!("{}/healthz", arouter.base)).send().await;
    let chat = client.post(format!("{}/v1/chat/completions", arouter.base)).bearer_auth(&arouter.keys.live_key).body(ask().to_string());
    health.is_ok_and(|answer| answer.status() == StatusCode::OK) && chat.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// Opens this number of silent connections, as far as they are accepted. Only a few are opened at a time, so that the listener's queue
/// does not overflow.
async fn silent(arouter: &Arouter, count: usize) -> Vec<TcpStream> {
    let mut made = Vec::new();
    while made.len() < count {
        let connecting = (0..50).map(|_| tokio::time::timeout(Duration::from_secs(2), raw::connect(&arouter.base)));
        let before = made.len();
        made.extend(futures_util::future::join_all(connecting).await.into_iter().filter_map(|made| made.ok()?.ok()));
        if made.len() < before + 50 {
            break;
        }
    }
    made
}

#[tokio::test]
async fn idle_connections_beyond_the_limit_give_way() {
    let provider = Provider::start().await;
    let config = format!("[limits]\nconnections_max = 50\n{}", provider.config());
    let arouter = Arouter::start(Storage::Sqlite, &config).await;
    let (since, idle) = (Instant::now(), silent(&arouter, 200).await);
    assert_eq!(idle.len(), 200, "connections");
    assert!(serves(&arouter).await, "200 idle connections stop health or chat");
    until("the end of connections beyond the limit", || async {
        (idle.iter().filter(|stream| raw::is_closed(stream)).count() >= 150).then_some(())
    })
    .await;
    // This is much earlier than the end of a connection that is only slow.
    assert!(since.elapsed() < Duration::from_secs(15), "connections beyond the limit ended after {:?}", since.elapsed());
    assert!(serves(&arouter).await, "50 idle connections stop health or chat");
}

/// Returns the command with a soft limit of open files.
fn with_files(command: &Command, soft: u32) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -Sn {soft} && exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited.stdin(std::process::Stdio::null());
    limited
}

#[tokio::test]
async fn a_low_soft_limit_of_files_is_raised_and_silent_connections_stop_nobody() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    arouter.stop();
    let command = with_files(&arouter.command("up"), 256);
    arouter.launch_as(command).await;
    let (soft, hard) = process::files_max(arouter.pid());
    let silent = silent(&arouter, 400).await;
    assert!(serves(&arouter).await, "{} silent connections stop health or chat; files: {soft} of {hard}", silent.len());
    assert_eq!(soft, hard, "the soft limit of files");
    drop(silent);
    arouter.settle_and_verify().await;
}

// Texts of credit.

#[tokio::test]
async fn a_long_description_is_refused_and_the_ledgers_log_goes_on() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let operator = arouter.operator_token();
    let credit = |field: &str, text: String| {
        let mut body = json!({"account": arouter.keys.account, "kind": "grant", "amount": 1});
        body[field] = json!(text);
        body
    };
    let mut taken = Vec::new();
    for (field, text) in [
        ("description", "d".repeat(1_500_000)),
        ("description", "d".repeat(1_001)),
        ("id", "i".repeat(1_500_000)),
        ("id", "i".repeat(129)),
        ("id", "ä".to_owned()),
        ("id", "a b".to_owned()),
        ("id", String::new()),
    ] {
        let length = text.len();
        let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &operator, Some(credit(field, text))).await;
        if status != StatusCode::BAD_REQUEST || !answer["error"]["message"].as_str().is_some_and(|text| text.contains(field)) {
            taken.push(format!("{field} of {length} bytes: {status}"));
        }
    }
    let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &operator, Some(credit("id", "behind".to_owned()))).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let longest = credit("description", "\u{1f600}".repeat(1_000));
    let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &operator, Some(longest)).await;
    assert_eq!(status, StatusCode::CREATED, "a description of 1,000 characters: {answer}");
    until("the fact behind it in the ledger's log", || async {
        let facts = arouter.recorded(Stream::Ledger).await;
        facts.iter().any(|fact| fact.to_string().contains("\"behind\"")).then_some(())
    })
    .await;
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

// Recording of refusals.

#[tokio::test]
async fn refusals_in_numbers_are_recorded_in_few_events_with_their_count() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let poor = arouter.tenant(0).await;
    let since = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (http, url, key) = (arouter.http.clone(), format!("{}/v1/chat/completions", arouter.base), poor.live_key.clone());
        clients.spawn(async move {
            for _ in 0..25 {
                let answer = http.post(&url).bearer_auth(&key).body(ask().to_string()).send().await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED);
            }
        });
    }
    clients.join_all().await;
    let seconds = since.elapsed().as_secs() + 1;
    let counts = until("200 refusals in the log", || async {
        let events = arouter.recorded(Stream::Requests).await;
        let refused =
            events.iter().filter(|event| event["type"] == "arouter.request.refused.v1" && event["account"] == json!(poor.account));
        let counts: Vec<u64> = refused.map(|event| event["data"]["count"].as_u64().unwrap_or(1)).collect();
        (counts.iter().sum::<u64>() >= 200).then_some(counts)
    })
    .await;
    assert_eq!(counts.iter().sum::<u64>(), 200, "{counts:?}");
    // Ten refusals a second get events of their own, and one more event counts the rest.
    assert!(counts.len() as u64 <= 11 * (seconds + 1), "{} events for 200 refusals within {seconds} s", counts.len());
}

// Reads between processes.

#[tokio::test]
async fn reads_of_a_process_that_hangs_end_in_time() {
    let provider = Provider::start().await;
    let standalone = Standalone::start(1, &provider.config()).await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    for (part, path, code) in
        [("ledger", "/api/v1/balance", "ledger_unavailable"), ("projector", "/api/v1/activity", "projector_unavailable")]
    {
        let pid = standalone.pid(part).expect("it runs");
        let url = format!("{}{path}", standalone.gateways[0]);
        until("a read", || async { standalone.http.get(&url).bearer_auth(&key).send().await.ok()?.status().is_success().then_some(()) })
            .await;
        kill_process(pid, Signal::STOP).expect("stopped");
        let since = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(7), standalone.http.get(&url).bearer_auth(&key).send()).await;
        kill_process(pid, Signal::CONT).expect("it goes on");
        let answer = answer.unwrap_or_else(|_| panic!("{path} hangs for 7 s with the {part} stopped")).expect("an answer");
        let (status, retry) = (answer.status(), answer.headers().get("retry-after").cloned());
        let body = answer.json_value().await.unwrap_or_default();
        assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(code)), "{body}");
        assert!(retry.is_some(), "{path}: no Retry-After after {:?}", since.elapsed());
        until("a read again", || async {
            standalone.http.get(&url).bearer_auth(&key).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
    }
    standalone.verify();
}

#[tokio::test]
async fn the_same_credit_id_with_other_terms_is_a_conflict() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let operator = arouter.operator_token();
    let terms = json!({"expires_at": "2099-01-01T00:00:00Z", "priority": 5});
    let mut wrong = Vec::new();
    for (id, kind, expected, changed) in [
        ("a", "grant", 201, json!({})),
        ("a", "grant", 409, json!({"expires_at": "2099-01-02T00:00:00Z"})),
        ("a", "grant", 409, json!({"expires_at": null})),
        ("a", "grant", 409, json!({"priority": 6})),
        ("a", "grant", 409, json!({"priority": null})),
        ("a", "grant", 409, json!({"amount": 2})),
        ("a", "grant", 201, json!({})),
        ("b", "credit", 201, json!({"priority": null})),
        ("b", "credit", 409, json!({"priority": null, "expires_at": "2099-01-02T00:00:00Z"})),
        ("b", "credit", 201, json!({"priority": null})),
    ] {
        let mut body = json!({"account": arouter.keys.account, "id": id, "kind": kind, "amount": 1});
        for (field, value) in terms.as_object().expect("terms").iter().chain(changed.as_object().expect("changes")) {
            body[field] = value.clone();
        }
        let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &operator, Some(body.clone())).await;
        if status.as_u16() != expected {
            wrong.push(format!("{body}: {status} instead of {expected}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    arouter.verify();
}

/// Returns the text of a CSV export.
async fn csv(arouter: &Arouter, path: &str) -> String {
    let answer = arouter.http.get(format!("{}{path}", arouter.base)).bearer_auth(&arouter.keys.live_key).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.expect("text")
}

#[tokio::test]
async fn no_cell_of_a_table_begins_as_a_formula() {
    const BEGINNINGS: [&str; 12] = ["=", "+", "-", "@", "\u{ff1d}", "\u{ff0b}", "\u{ff0d}", "\u{ff20}", "\t", "\r", "\n", "\0"];
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let account = arouter.keys.account.clone();
    // The gateway refuses control characters, but events of older gateways may contain them.
    let users = BEGINNINGS.iter().enumerate();
    let batch =
        users.map(|(number, begins)| usage_event(&account, number + 1, |data| data["user"] = json!(format!("{begins}1+1")))).collect();
    arouter.connect_log().await.append(batch).await.expect("published");
    reported(&arouter, &arouter.keys.live_key, BEGINNINGS.len()).await;
    for begins in &BEGINNINGS[..8] {
        let credit = json!({"account": account, "kind": "grant", "amount": 1, "description": format!("{begins}1+1")});
        let (status, answer) = arouter.call(Method::POST, "/api/v1/admin/credit", &arouter.operator_token(), Some(credit)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }
    let activity = csv(&arouter, "/api/v1/activity?period=1h&group_by=user&format=csv").await;
    let transactions = csv(&arouter, "/api/v1/transactions?type=grant&format=csv").await;
    let is_live = |table: &str, begins: &str| !table.contains(&format!("'{begins}1+1"));
    let mut live: Vec<String> =
        BEGINNINGS.iter().filter(|begins| is_live(&activity, begins)).map(|begins| format!("a user that begins with {begins:?}")).collect();
    let descriptions = BEGINNINGS[..8].iter().filter(|begins| is_live(&transactions, begins));
    live.extend(descriptions.map(|begins| format!("a description that begins with {begins:?}")));
    assert!(live.is_empty(), "{}\n{activity}\n{transactions}", live.join("\n"));
}
