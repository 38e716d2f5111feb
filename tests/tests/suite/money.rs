//! No account spends more than it has, regardless of the number of concurrent requests.

use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::json;
use tests::arouter::nanos;
use tests::postgres::Postgres;
use tests::{Arouter, Provider, Storage};
use tokio::task::JoinSet;

/// Sends 200 concurrent requests on 0.05 USD, each with a worst case of about 0.001 USD.
async fn two_hundred_at_once(storage: Storage) {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(storage, &format!("[bootstrap]\ncredit_usd = 0.05\n{}", provider.config())).await;
    // The cost of 5 completion tokens at 2 USD and 10 prompt tokens at 1 USD per million is 20,000 nano-USD. The hold covers 470 output
    // tokens.
    let body = json!({"model": "test/ok", "max_tokens": 470, "messages": [{"role": "user", "content": "a".repeat(20)}]});
    let shared =
        Arc::new((arouter.http.clone(), format!("{}/v1/chat/completions", arouter.base), arouter.keys.live_key.clone(), body.to_string()));
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let shared = Arc::clone(&shared);
        clients.spawn(async move {
            let (http, url, key, body) = &*shared;
            let (mut paid, mut refused) = (0, 0);
            for _ in 0..20 {
                let answer = http.post(url).bearer_auth(key).body(body.clone()).send().await.expect("an answer");
                let status = answer.status();
                let value: serde_json::Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
                match status {
                    StatusCode::OK => paid += nanos(&value["usage"]["cost"]),
                    StatusCode::PAYMENT_REQUIRED => {
                        assert!(matches!(value["error"]["code"].as_str(), Some("in_flight_budget" | "insufficient_credits")), "{value}");
                        refused += 1;
                    }
                    other => unreachable!("{other}: {value}"),
                }
            }
            (paid, refused)
        });
    }
    let (mut paid, mut refused) = (0, 0);
    while let Some(done) = clients.join_next().await {
        let (its_paid, its_refused) = done.expect("a client");
        paid += its_paid;
        refused += its_refused;
    }
    assert!(paid <= 50_000_000, "{paid} nano-USD were spent of 50,000,000");
    assert!(refused > 0 && paid >= 20_000_000, "paid {paid}, refused {refused}");
    arouter.settled().await;
    assert_eq!(nanos(&arouter.balance().await["balance"]), 50_000_000 - paid, "the books have what the clients were acknowledged");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn two_hundred_clients_on_five_cents_on_sqlite() {
    two_hundred_at_once(Storage::Sqlite).await;
}

#[tokio::test]
async fn two_hundred_clients_on_five_cents_on_postgresql() {
    two_hundred_at_once(Storage::Postgres(Postgres::start())).await;
}

#[tokio::test]
async fn the_last_cents_are_spent_one_request_at_a_time() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("[bootstrap]\ncredit_usd = 0.0002\n{}", provider.config())).await;
    let body = json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]});
    // Without max_tokens, the response is capped to the remaining credit.
    let (status, answer) = arouter.chat(body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let cap = provider.asked()[0].body["max_tokens"].as_u64().expect("a cap is sent along");
    assert!((1..100).contains(&cap), "{cap}");
    let refused = loop {
        let (status, answer) = arouter.chat(body.clone()).await;
        if status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(refused["error"]["code"], "insufficient_credits", "{refused}");
    let metadata = &refused["error"]["metadata"];
    assert!(nanos(&metadata["needed_usd"]) > 0 && metadata["limit_source"] == "credits", "{metadata}");
    assert!(nanos(&arouter.balance().await["balance"]) >= 0);
    arouter.settle_and_verify().await;
}
