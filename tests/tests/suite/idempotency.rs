//! `Idempotency-Key`: a repeated POST has no second effect, on any gateway and after a restart.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::nanos;
use tests::standalone::{OPERATOR, Standalone};
use tests::wait::until;
use tests::{Answer, Arouter, Provider, Storage};

fn ask(text: &str) -> Value {
    json!({"model": "test/ok", "max_tokens": 5, "messages": [{"role": "user", "content": text}]})
}

/// Sends a POST with an idempotency key.
async fn post(http: &reqwest::Client, base: &str, path: &str, key: &str, (idempotency_key, body): (&str, &Value)) -> Answer {
    let request = http.post(format!("{base}{path}")).bearer_auth(key).header("idempotency-key", idempotency_key);
    Answer::read(request.body(body.to_string()).send().await.expect("an answer")).await
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_model_request_is_sent_once_whatever_happens() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let live = arouter.keys.live_key.clone();
    let send = async |arouter: &Arouter, key: &str, body: Value| post(&arouter.http, &arouter.base, CHAT, &live, (key, &body)).await;
    let answers = futures_util::future::join_all((0..10).map(|_| send(&arouter, "once", ask("hello")))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!((passed.len(), refused.len(), provider.asked().len()), (1, 9, 1));
    let (generation, cost) = (passed[0].header("x-generation-id"), passed[0].cost());
    for answer in refused {
        let error = answer.error();
        assert_eq!((answer.status, &error["type"]), (StatusCode::CONFLICT, &json!("conflict_error")), "{answer:?}");
        assert_eq!((&error["metadata"]["generation_id"], answer.header("x-generation-id")), (&json!(generation), generation));
        assert_eq!(answer.header("x-should-retry"), "false");
    }
    until("the end of the first", || async {
        let error = send(&arouter, "once", ask("hello")).await.error();
        (error["metadata"]["state"] == "finished" && nanos(&error["metadata"]["cost"]) == cost).then_some(())
    })
    .await;
    let other = send(&arouter, "once", ask("something else")).await;
    assert_eq!((other.status, other.header("x-should-retry")), (StatusCode::CONFLICT, "false"));
    assert_eq!(other.error()["metadata"], json!({}), "nothing is told of another content");

    arouter.kill();
    arouter.launch().await;
    assert_eq!(send(&arouter, "once", ask("hello")).await.status, StatusCode::CONFLICT, "a crash forgets nothing");
    assert_eq!(provider.asked().len(), 1);

    // Another account has keys of its own, and a refused request returns its key.
    let (_, made) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(json!({"name": "x", "limit": 0}))).await;
    let poor = made["key"].as_str().expect("a secret");
    for _ in 0..2 {
        let answer = post(&arouter.http, &arouter.base, CHAT, poor, ("twice", &ask("hello"))).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
    }
    until("the key to be returned", || async { (send(&arouter, "twice", ask("hello")).await.status == StatusCode::OK).then_some(()) })
        .await;
    for bad in ["", &"k".repeat(256)] {
        assert_eq!(send(&arouter, bad, ask("hello")).await.status, StatusCode::BAD_REQUEST);
    }
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_management_call_has_one_effect_and_one_answer() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let management = arouter.keys.management_key.clone();
    let send =
        async |arouter: &Arouter, path: &str, body: Value| post(&arouter.http, &arouter.base, path, &management, ("a key", &body)).await;
    let body = json!({"name": "once", "limit": 1});
    let first = send(&arouter, "/api/v1/keys", body.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!(send(&arouter, "/api/v1/keys", body.clone()).await.text, first.text);
    arouter.kill();
    arouter.launch().await;
    let hash = first.json()["data"]["hash"].as_str().expect("a hash").to_owned();
    arouter.call(Method::PATCH, &format!("/api/v1/keys/{hash}"), &management, Some(json!({"name": "renamed"}))).await;
    assert_eq!(send(&arouter, "/api/v1/keys", body.clone()).await.text, first.text, "after a crash and a change");
    for (path, body) in [("/api/v1/keys", json!({"name": "other"})), (&*format!("/api/v1/keys/{hash}/rotate"), json!({}))] {
        assert_eq!(send(&arouter, path, body).await.status, StatusCode::CONFLICT);
    }
    let secret = first.json()["key"].as_str().expect("a secret").to_owned();
    let (status, _) = arouter.call(Method::POST, CHAT, &secret, Some(ask("hello"))).await;
    assert_eq!(status, StatusCode::OK);

    let rotate = async || {
        let path = format!("/api/v1/keys/{hash}/rotate");
        post(&arouter.http, &arouter.base, &path, &management, ("turn", &json!({"expires_old_in_seconds": 0}))).await
    };
    let rotated = rotate().await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{rotated:?}");
    assert_eq!(rotate().await.text, rotated.text);
    let (_, listed) = arouter.call(Method::GET, "/api/v1/keys", &management, None).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2 + 2), "the first two, this one and its successor: {listed}");

    let token = std::fs::read_to_string(arouter.data().join("operator.token")).expect("a token").trim().to_owned();
    let operate = async |path: &str, body: Value| post(&arouter.http, &arouter.base, path, &token, ("op", &body)).await;
    let account = operate("/api/v1/admin/accounts", json!({"name": "second"})).await;
    assert_eq!(account.status, StatusCode::CREATED, "{account:?}");
    assert_eq!(operate("/api/v1/admin/accounts", json!({"name": "second"})).await.text, account.text);
    assert_eq!(operate("/api/v1/admin/accounts", json!({"name": "third"})).await.status, StatusCode::CONFLICT);
    let credit = |amount: &str| json!({"account": account.json()["data"]["id"], "kind": "grant", "amount": amount});
    let granted = operate("/api/v1/admin/credit", credit("2")).await;
    assert_eq!(granted.status, StatusCode::CREATED, "{granted:?}");
    assert_eq!(operate("/api/v1/admin/credit", credit("2")).await.text, granted.text);
    assert_eq!(operate("/api/v1/admin/credit", credit("3")).await.status, StatusCode::CONFLICT);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn several_gateways_are_one() {
    let provider = Provider::start().await;
    let standalone = Standalone::start(2, &provider.config()).await;
    let (account, management) = standalone.account(json!(10)).await;
    let live = standalone.key(&management, json!({"name": "live"})).await;
    standalone.knows(&live).await;
    let bases: Vec<&String> = (0..10).map(|number| &standalone.gateways[number % 2]).collect();
    let answers =
        bases.iter().map(|base| async { post(&standalone.http, base, CHAT, &live, ("once", &ask("hello"))).await }).collect::<Vec<_>>();
    let answers = futures_util::future::join_all(answers).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    let conflicts = answers.iter().filter(|answer| answer.status == StatusCode::CONFLICT).count();
    assert_eq!((passed, conflicts, provider.asked().len()), (1, 9, 1));
    let body = json!({"name": "made once"});
    let calls = bases.iter().map(|base| async { post(&standalone.http, base, "/api/v1/keys", &management, ("make", &body)).await });
    let made = futures_util::future::join_all(calls).await;
    assert!(made.iter().all(|answer| answer.status == StatusCode::CREATED && answer.text == made[0].text), "{made:?}");
    let path = format!("/api/v1/admin/accounts/{account}/management-keys");
    let calls = bases.iter().map(|base| async { post(&standalone.http, base, &path, OPERATOR, ("make", &body)).await });
    let made = futures_util::future::join_all(calls).await;
    assert!(made.iter().all(|answer| answer.status == StatusCode::CREATED && answer.text == made[0].text), "{made:?}");
}
