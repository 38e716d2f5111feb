//! The feed of events by HTTP: an account's own, from now on or after the last one that the client had.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::wait::until;
use tests::{Arouter, Keys, Provider, Storage};

async fn open(arouter: &Arouter, key: &str, types: &str, after: Option<&str>) -> Response {
    let mut request = arouter.http.get(format!("{}/api/v1/events?types={types}", arouter.base)).bearer_auth(key);
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    request.send().await.unwrap()
}

/// Reads frames until `count` events have come. Returns the last id, and the events.
async fn read(feed: &mut Response, count: usize) -> (String, Vec<Value>) {
    let (mut text, mut id, mut events) = (String::new(), String::new(), Vec::new());
    while events.len() < count || id.is_empty() {
        let chunk = tokio::time::timeout(Duration::from_secs(30), feed.chunk()).await.expect("events in time").unwrap().expect("no end");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((frame, rest)) = text.split_once("\n\n") {
            for line in frame.lines() {
                match line.split_once(": ") {
                    Some(("id", given)) => given.clone_into(&mut id),
                    Some(("data", data)) => events.push(serde_json::from_str(data).unwrap()),
                    _ => {}
                }
            }
            text = rest.to_owned();
        }
    }
    (id, events)
}

async fn chat(arouter: &Arouter, keys: &Keys) {
    let ask = json!({"model": "test/ok", "user": "alice", "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &keys.live_key, Some(ask)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

fn all_are_of(events: &[Value], keys: &Keys, kind: &str) -> bool {
    events.iter().all(|event| event["account"] == json!(keys.account) && event["type"] == json!(kind))
}

#[tokio::test]
async fn a_feed_goes_on_where_its_client_left_it_over_kills() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (tenant, keys) = (arouter.tenant(1).await, arouter.keys.clone());
    chat(&arouter, &keys).await;
    arouter.usage(1).await;
    let mut feed = open(&arouter, &keys.management_key, "usage", None).await;
    assert_eq!(feed.headers()["content-type"], "text/event-stream");
    let (start, _) = read(&mut feed, 0).await;
    for _ in 0..3 {
        chat(&arouter, &tenant).await;
        chat(&arouter, &keys).await;
    }
    let (place, first) = read(&mut feed, 3).await;
    let kind = "arouter.usage.recorded.v1";
    assert!(first.len() == 3 && all_are_of(&first, &keys, kind), "neither older nor foreign ones: {first:?}");
    drop(feed);
    chat(&arouter, &keys).await;
    arouter.usage(5).await;
    arouter.kill();
    arouter.launch().await;
    chat(&arouter, &keys).await;
    let mut feed = open(&arouter, &keys.management_key, "usage", Some(&place)).await;
    let (_, later) = read(&mut feed, 2).await;
    assert!(later.len() == 2 && all_are_of(&later, &keys, kind) && !first.contains(&later[0]), "{later:?}");
    let mut whole = open(&arouter, &keys.management_key, "usage", Some(&start)).await;
    assert_eq!(read(&mut whole, 5).await.1, [first, later].concat(), "all again from the start");
    let (_, erased) = arouter.call(Method::DELETE, "/api/v1/users/alice", &keys.management_key, None).await;
    until("the erasure", async || {
        let mut whole = open(&arouter, &keys.management_key, "usage", Some(&start)).await;
        let (_, events) = read(&mut whole, 5).await;
        events.iter().all(|event| event["data"]["user"] == erased["data"]["token"]).then_some(())
    })
    .await;
    let mut requests = open(&arouter, &tenant.management_key, "requests,keys", Some(&start)).await;
    let (_, events) = read(&mut requests, 6).await;
    assert!(events.iter().all(|event| event["account"] == json!(tenant.account) && event["type"] != json!(kind)));
    // An open feed does not hold a stop.
    let since = std::time::Instant::now();
    arouter.stop();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_feed_is_for_management_keys_and_bounded() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let (live, management) = (&arouter.keys.live_key, &arouter.keys.management_key);
    assert_eq!(open(&arouter, live, "usage", None).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(open(&arouter, "lr_mgmt_nobody", "usage", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(open(&arouter, management, "ledger", None).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(open(&arouter, management, "usage", Some("7")).await.status(), StatusCode::BAD_REQUEST);
    let mut feeds = Vec::new();
    for _ in 0..8 {
        let feed = open(&arouter, management, "usage", None).await;
        assert_eq!(feed.status(), StatusCode::OK);
        feeds.push(feed);
    }
    assert_eq!(open(&arouter, management, "usage", None).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let tenant = arouter.tenant(0).await;
    assert_eq!(open(&arouter, &tenant.management_key, "usage", None).await.status(), StatusCode::OK);
}
