//! Credit as customers see it: grants that expire, purchases with a fee, refunds, corrections, and the balance at a given time.

use events::Clock;
use events::clock::{SystemClock, rfc3339};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::postgres::Postgres;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

const USD: i64 = 1_000_000_000;

/// Posts credit as the operator.
async fn credit(arouter: &Arouter, body: Value) -> (StatusCode, Value) {
    let token = std::fs::read_to_string(arouter.data().join("operator.token")).unwrap();
    arouter.call(Method::POST, "/api/v1/admin/credit", token.trim(), Some(body)).await
}

async fn kinds(arouter: &Arouter) -> Vec<(String, i64)> {
    let body = arouter.get("/api/v1/transactions?limit=1000").await;
    let rows = body["transactions"].as_array().unwrap();
    rows.iter().map(|row| (row["type"].as_str().unwrap().to_owned(), nanos(&row["amount"]))).collect()
}

fn now_plus(ms: i64) -> String {
    rfc3339(SystemClock.now_us() + ms * 1_000)
}

async fn credit_comes_and_goes(storage: Storage) {
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1\n[billing]\nfee_basis_points = 550\n{}", provider.config());
    let mut arouter = Arouter::start(storage, &config).await;
    let account = arouter.keys.account.clone();

    let (status, bought) = credit(&arouter, json!({"account": account, "kind": "credit", "amount": "20", "id": "order-1"})).await;
    assert_eq!((status, nanos(&bought["data"]["balance"])), (StatusCode::CREATED, 21 * USD), "{bought}");
    let before_the_rest = now_plus(0);
    let soon = now_plus(1_500);
    let (status, given) =
        credit(&arouter, json!({"account": account, "kind": "grant", "amount": 5, "priority": 1, "expires_at": soon})).await;
    assert_eq!(status, StatusCode::CREATED, "{given}");
    let (status, body) = credit(&arouter, json!({"account": account, "kind": "adjustment", "amount": "-0.25"})).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");

    // The correction took from the grant that is spent first. The fee of 5.5 % was charged on top of the purchase and was refunded with
    // it.
    let balance = arouter.balance().await;
    assert_eq!(nanos(&balance["balance"]), 25 * USD + 3 * USD / 4, "{balance}");
    let left: Vec<i64> = balance["grants"].as_array().unwrap().iter().map(|grant| nanos(&grant["remaining"])).collect();
    assert_eq!(left, [19 * USD / 4, 20 * USD, USD], "{balance}");
    let at = arouter.get(&format!("/api/v1/balance?at={before_the_rest}")).await;
    assert_eq!(nanos(&at["balance"]), 21 * USD, "{at}");

    until("the expiry", || async { kinds(&arouter).await.iter().any(|(kind, _)| kind == "expiry").then_some(()) }).await;
    let (status, answer) = arouter.chat(json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let cost = nanos(&answer["usage"]["cost"]);
    arouter.usage(1).await;
    arouter.settle_and_verify().await;

    let (status, back) = credit(&arouter, json!({"account": account, "kind": "refund", "purchase": "txn_order-1"})).await;
    assert_eq!((status, nanos(&back["data"]["amount"])), (StatusCode::CREATED, -20 * USD + cost), "{back}");
    assert_eq!(nanos(&back["data"]["balance"]), USD, "the purchase expires first and was spent first");
    let (status, again) = credit(&arouter, json!({"account": account, "kind": "refund", "purchase": "order-1"})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{again}");

    let expected = [
        ("refund", -20 * USD + cost),
        ("usage", -cost),
        ("expiry", -19 * USD / 4),
        ("adjustment", -USD / 4),
        ("grant", 5 * USD),
        ("fee", -11 * USD / 10),
        ("credit", 211 * USD / 10),
        ("grant", USD),
    ];
    let found = kinds(&arouter).await;
    assert_eq!(found, expected.map(|(kind, amount)| (kind.to_owned(), amount)));
    assert_eq!(found.iter().map(|(_, amount)| amount).sum::<i64>(), nanos(&arouter.balance().await["balance"]));
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn credit_comes_and_goes_on_sqlite() {
    credit_comes_and_goes(Storage::Sqlite).await;
}

#[tokio::test]
async fn credit_comes_and_goes_on_postgresql() {
    credit_comes_and_goes(Storage::Postgres(Postgres::start())).await;
}

#[tokio::test]
async fn a_credit_command_that_makes_no_sense_is_refused_by_its_field() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let account = arouter.keys.account.clone();
    for (body, word) in [
        (json!({"account": account, "kind": "grant", "amount": -1}), "amount"),
        (json!({"account": account, "kind": "grant"}), "amount"),
        (json!({"account": account, "kind": "adjustment", "amount": 0}), "amount"),
        (json!({"account": account, "kind": "adjustment", "amount": -1_000}), "amount"),
        (json!({"account": account, "kind": "adjustment", "amount": 1, "priority": 1}), "priority"),
        (json!({"account": account, "kind": "credit", "amount": 1, "purchase": "x"}), "purchase"),
        (json!({"account": account, "kind": "grant", "amount": 1, "expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        (json!({"account": account, "kind": "grant", "amount": 1, "expires_at": "soon"}), "expires_at"),
        (json!({"account": account, "kind": "refund"}), "purchase"),
        (json!({"account": account, "kind": "expiry"}), "kind"),
        (json!({"account": account, "kind": "gift", "amount": 1}), "gift"),
    ] {
        let (status, answer) = credit(&arouter, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(word), "{body}: {status} {answer}");
    }
    let (status, answer) = credit(&arouter, json!({"account": "nobody", "kind": "grant", "amount": 1})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let (status, _) = arouter.call(Method::GET, "/api/v1/balance?at=yesterday", &arouter.keys.live_key, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
