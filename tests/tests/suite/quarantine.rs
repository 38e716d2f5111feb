//! An event that the ledger cannot apply freezes its account, and no other, until the operator decides.

use eventlog::Outgoing;
use events::subject::Stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

const GOLDEN: &str = include_str!("../../../schemas/events/golden/usage.recorded.v1.json");

/// Returns the golden usage event, changed and for this account.
fn event(account: &str, id: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut event: Value = serde_json::from_str(GOLDEN).unwrap();
    (event["account"], event["id"]) = (json!(account), json!(id));
    event["source"] = json!("/gateway/foreign/boot");
    event["sequence"] = json!("1");
    event["data"]["cost_nanos"] = json!(1_000);
    change(&mut event);
    event.to_string()
}

async fn publish(arouter: &Arouter, account: &str, id: &str, payload: String) {
    let log = arouter.connect_log().await;
    let subject = events::subject::subject::<events::usage_recorded::UsageRecorded>(account, "gen-1767225600-000000000000000000000001");
    log.append(vec![Outgoing { stream: Stream::Usage, subject, id: id.to_owned(), payload: payload.into() }]).await.unwrap();
}

async fn operator(arouter: &Arouter, method: Method, path: &str) -> (StatusCode, Value) {
    let token = std::fs::read_to_string(arouter.data().join("operator.token")).unwrap();
    arouter.call(method, &format!("/api/v1/admin/quarantine{path}"), token.trim(), None).await
}

async fn waiting(arouter: &Arouter) -> Vec<Value> {
    let (status, body) = operator(arouter, Method::GET, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["data"].as_array().unwrap().clone()
}

fn verifies(arouter: &Arouter) -> bool {
    arouter.command("verify").arg("--metrics").arg(arouter.data().join("verify.prom")).output().unwrap().status.success()
}

#[tokio::test]
async fn an_event_that_is_not_understood_parks_its_account_until_it_is_given_up() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let account = arouter.keys.account.clone();
    let id = "01920000-0000-7000-8000-00000000000a";
    publish(&arouter, &account, id, event(&account, id, |event| event["data"]["tokens"] = json!("many"))).await;
    let found = until("all readers' quarantine", || async { <[Value; 3]>::try_from(waiting(&arouter).await).ok() }).await;
    for (found, (reader, freezes_account)) in
        found.iter().zip([("ledger", json!(account)), ("projector", Value::Null), ("projector", Value::Null)])
    {
        assert_eq!(
            (&found["reader"], &found["event_id"], &found["freezes_account"], &found["stream"]),
            (&json!(reader), &json!(id), &freezes_account, &json!("USAGE")),
            "{found}"
        );
        assert!(found.get("payload").is_none(), "a list says nothing of what is in them");
    }
    let (status, shown) = operator(&arouter, Method::GET, &format!("/{id}")).await;
    assert!(status == StatusCode::OK && shown["data"][1]["payload"].as_str().unwrap().contains("\"tokens\":\"many\""), "{shown}");
    let (status, _) = operator(&arouter, Method::GET, "/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(!verifies(&arouter), "verify must name it");
    let gauges = std::fs::read_to_string(arouter.data().join("verify.prom")).unwrap();
    assert!(gauges.contains("arouter_check_broken{check=\"no_event_that_was_set_aside_waits_for_a_decision\"} 1\n"), "{gauges}");
    assert!(gauges.contains("arouter_check_broken{check=\"the_postings_of_every_transaction_sum_to_zero\"} 0\n"), "{gauges}");

    let request = json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = arouter.chat(request.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("ledger_unavailable")), "{answer}");
    assert_eq!(provider.asked().len(), 0, "nothing reaches a provider");

    let (status, answer) = operator(&arouter, Method::POST, &format!("/{id}/release")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let (status, answer) = operator(&arouter, Method::POST, "/nothing/discard").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let (status, _) = arouter.call(Method::GET, "/api/v1/admin/quarantine", &arouter.keys.management_key, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "only the operator's");
    let (status, answer) = operator(&arouter, Method::POST, &format!("/{id}/discard")).await;
    assert_eq!((status, &answer["data"]["readers"]), (StatusCode::OK, &json!(["ledger", "projector"])), "{answer}");
    assert!(waiting(&arouter).await.is_empty());

    until("a lease", || async { (arouter.chat(request.clone()).await.0 == StatusCode::OK).then_some(()) }).await;
    let balance = arouter.balance().await;
    assert!(nanos(&balance["balance"]) > 0, "{balance}");
}

/// Quarantines an event in the way of an older version that did not understand it, although the current version does.
async fn set_aside(
    arouter: &Arouter,
    (database, reader): (&str, &str),
    steps: &[eventlog::store::Migration],
    id: &str,
    payload: String,
    freezes_account: Option<&str>,
) {
    let address = format!("sqlite://{}", arouter.data().join(database).display());
    let store = eventlog::Store::open(&address, steps).await.unwrap();
    let insert = sqlx::query::<sqlx::Any>(
        "INSERT INTO quarantine (reader, stream, sequence, event_id, reason, payload, quarantined_at_us, freezes_account) VALUES ($1, 'USAGE', 1, $2, 'unknown type', $3, 0, $4)",
    );
    let mut transaction = store.begin_exclusive().await.unwrap();
    insert
        .bind(reader.to_owned())
        .bind(id.to_owned())
        .bind(payload)
        .bind(freezes_account.map(str::to_owned))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_released_event_is_charged_and_reported_once() {
    let mut arouter = Arouter::start(Storage::Sqlite, "").await;
    let account = arouter.keys.account.clone();
    arouter.stop();
    let id = "01920000-0000-7000-8000-00000000000b";
    set_aside(&arouter, ("ledger.db", "postings"), ledger::MIGRATIONS, id, event(&account, id, |_| ()), Some(&account)).await;
    set_aside(&arouter, ("projector.db", "generations"), projector::MIGRATIONS, id, event(&account, id, |_| ()), None).await;
    arouter.launch().await;

    let before = nanos(&arouter.balance().await["balance"]);
    let (status, answer) = operator(&arouter, Method::POST, &format!("/{id}/release")).await;
    assert_eq!((status, &answer["data"]["readers"]), (StatusCode::OK, &json!(["ledger", "projector"])), "{answer}");
    assert_eq!(nanos(&arouter.balance().await["balance"]), before - 1_000);
    let request = serde_json::from_str::<Value>(&event(&account, id, |_| ())).unwrap()["subject"].clone();
    let report = arouter.get(&format!("/api/v1/generation?id={}", request.as_str().unwrap())).await;
    assert_eq!(nanos(&report["usage"]["cost"]), 1_000, "{report}");
    let (status, answer) = operator(&arouter, Method::POST, &format!("/{id}/release")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    assert_eq!(nanos(&arouter.balance().await["balance"]), before - 1_000);
}
