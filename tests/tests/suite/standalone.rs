//! Gateways, ledger and projector as processes of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::rpc::Signer;
use events::KeyHash;
use events::caller::InternalSecret;
use events::clock::SystemClock;
use events::ids::SystemIds;
use reqwest::{Method, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;
use tests::arouter::{JsonValue, nanos};
use tests::plain_nats::PlainNats;
use tests::scripted::{reply, usage, whole};
use tests::standalone::{OPERATOR, SECRET, Standalone};
use tests::wait::until;
use tests::{Provider, Scripted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn three_processes_serve_charge_and_survive_each_other() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(1, &provider.config()).await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k", "limit": 0.5})).await;
    let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..10 {
        let (status, answer) = standalone.post("/v1/chat/completions", &key, ask.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    // While the ledger is dead, a warm lease still serves requests; a new ledger posts the missed events.
    standalone.kill("ledger");
    let (status, answer) = standalone.post("/v1/chat/completions", &key, ask.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    standalone.run("ledger");
    until("all postings", || async {
        let answer = standalone.get("/api/v1/balance", &key).await?;
        (nanos(answer.get("balance")?) == 1_000_000_000 - 11 * 20_000).then_some(())
    })
    .await;
    until("the activity", || async {
        let answer = standalone.get("/api/v1/activity?period=1h", &key).await?;
        (answer["totals"]["requests"] == json!(11)).then_some(())
    })
    .await;
    standalone.verify();
    assert!(standalone.runs("ledger"), "the ledger runs");
    let unsigned = standalone.http.get(format!("{}/api/v1/balance", standalone.ledger)).send().await.expect("an answer");
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED, "reads are for the gateway only");
}

/// A gateway dies in the middle of a response and never comes back. Its lease is frozen, its request is charged by the last progress
/// event, and the rest is returned. If the gateway comes back later, nothing is charged twice.
#[tokio::test]
async fn a_gateway_that_never_comes_back_leaves_nothing_held_and_is_charged_for_what_it_relayed() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(2, &format!("[leases]\nttl_seconds = 3\nfrozen_seconds = 3\n{}", provider.config())).await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    standalone.knows(&key).await;
    let body = json!({"model": "test/long", "stream": true, "max_tokens": 200, "messages": [{"role": "user", "content": "x"}]});
    let url = format!("{}/v1/chat/completions", standalone.gateways[1]);
    let mut answer = standalone.http.post(&url).bearer_auth(&key).body(body.to_string()).send().await.expect("an answer");
    // The gateway dies between its second and third progress event; one is sent every second.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(2_700) {
        answer.chunk().await.expect("a piece").expect("it goes on");
    }
    standalone.kill("gateway-1");
    let charged = until("the charge", || async {
        let answer = standalone.get("/api/v1/transactions?type=usage", &key).await?;
        let amount = -nanos(answer["transactions"].as_array()?.first()?.get("amount")?);
        let balance = standalone.get("/api/v1/balance", &key).await?;
        (nanos(balance.get("held")?) == 0 && nanos(balance.get("balance")?) == 1_000_000_000 - amount).then_some(amount)
    })
    .await;
    // The charge covers about two seconds with a chunk of one token every 200 ms, at 2,000 nano-USD each. A prompt of at most 31 tokens,
    // one per byte, is added.
    assert!((10_000..60_000).contains(&charged), "{charged}");
    standalone.verify();
    standalone.run("gateway-1");
    standalone.ready().await;
    standalone.spools_are_taken_over().await;
    let listed = until("what it says too late", || async {
        let listed = standalone.get("/api/v1/admin/quarantine", tests::standalone::OPERATOR).await?;
        (listed["data"].as_array()?.len() == 1).then_some(listed)
    })
    .await;
    assert!(listed["data"][0]["reason"].as_str().expect("a reason").contains("was charged before"), "{listed}");
    let balance = standalone.get("/api/v1/balance", &key).await.expect("a balance");
    assert_eq!((nanos(&balance["balance"]), nanos(&balance["held"])), (1_000_000_000 - charged, 0));
    let event = listed["data"][0]["event_id"].as_str().expect("an id");
    let (status, answer) =
        standalone.post(&format!("/api/v1/admin/quarantine/{event}/discard"), tests::standalone::OPERATOR, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    standalone.verify();
}

/// A breaker that opens at one gateway opens at the other one for a short time. A report without a signature does nothing.
#[tokio::test]
async fn gateways_tell_each_other_which_endpoint_fails() {
    let provider = Scripted::start().await;
    let standalone = Standalone::start(2, &provider.config()).await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    standalone.knows(&key).await;
    let breaker = async |gateway| {
        let (status, body) = standalone.call(gateway, Method::GET, "/api/v1/admin/endpoints", OPERATOR, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let endpoints = body["data"].as_array().expect("a list").iter();
        let mut shown =
            endpoints.filter(|endpoint| endpoint["model"] == "fake/m").map(|shown| (shown["breaker"].clone(), shown["cause"].clone()));
        shown.next_back().expect("the endpoint")
    };
    let forged = json!({"gateway": "x", "provider": "fake", "model": "fake/m", "open_ms": 9000}).to_string();
    let mut nats = PlainNats::connect(&standalone.nats_address("gateway")).await.expect("a connection");
    nats.publish("arouter.v1.notice.breaker", None, &[], forged.as_bytes()).await.expect("the right to publish");
    nats.flush().await.expect("it has arrived");
    provider.answer(reply("429 Wait", "retry-after: 20\r\n", "{}"));
    let ask = json!({"model": "fake/m", "messages": [{"role": "user", "content": "x"}]});
    let (status, answer) = standalone.post("/v1/chat/completions", &key, ask.clone()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert_eq!(breaker(0).await, (json!("open"), json!("rate_limited")), "the forged report came first, and opened nothing");
    until("the report", || async { (breaker(1).await == (json!("open"), json!("other_gateway"))).then_some(()) }).await;
    provider.answer(reply("200 OK", "", whole("one", &usage()).to_string()));
    until("the end of the hint, and the answer to the other gateway's own request", || async {
        let (status, _) = standalone.call(1, Method::POST, "/v1/chat/completions", &key, Some(ask.clone())).await;
        (status == StatusCode::OK && breaker(1).await.0 == json!("closed")).then_some(())
    })
    .await;
    until("the recovery at the first one", || async { (breaker(0).await.0 == json!("closed")).then_some(()) }).await;
}

/// A change of a key is announced to the other gateways, and takes effect there before it comes from the log. An announcement that is not
/// signed does nothing.
#[tokio::test]
async fn a_disabled_key_is_refused_by_a_gateway_that_only_hears_of_it() {
    let standalone = Standalone::start(1, "").await;
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    standalone.knows(&key).await;
    let status = async || standalone.call(0, Method::GET, "/api/v1/key", &key, None).await.0;
    let (log, clock) = (standalone.log("gateway").await, Arc::new(SystemClock));
    let signer =
        |secret: &str| Signer { secret: InternalSecret(secret.as_bytes().to_vec()), clock: clock.clone(), ids: Arc::new(SystemIds) };
    // This test is another gateway: what it announces is in no stream.
    let (tell, mut told) = mpsc::channel::<Box<RawValue>>(1);
    let (heard, mut all) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let mut exchanges = JoinSet::new();
    let (own, stopped) = (signer(SECRET), stop.clone());
    let listening = log.clone();
    exchanges.spawn(async move {
        let hear = |event: Box<RawValue>| drop(heard.try_send(event.get().to_owned()));
        listening.exchange("control", &own, &mut told, hear, &stopped).await;
    });
    let updated = async || {
        let (status, answer) = standalone
            .call(0, Method::PATCH, &format!("/api/v1/keys/{}", KeyHash::of_secret(&key)), &management, Some(json!({"name": "new"})))
            .await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    updated().await;
    let event = tokio::time::timeout(Duration::from_secs(10), all.recv()).await.expect("an announcement").expect("an event");
    let mut event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!((&event["type"], &event["data"]["key"]["name"]), (&json!("arouter.key.updated.v1"), &json!("new")));
    (event["source"], event["data"]["key"]["disabled"]) = (json!("/gateway/other/boot"), json!(true));
    event["data"]["key"]["revision"] = json!(9);
    let event = RawValue::from_string(event.to_string()).expect("JSON");
    let (forge, mut forged) = mpsc::channel(1);
    let (stranger, stopped, other) = (signer("another secret of thirty-two characters"), stop.clone(), log.clone());
    forge.send(event.clone()).await.expect("a place");
    exchanges.spawn(async move { other.exchange("control", &stranger, &mut forged, |_: Box<RawValue>| (), &stopped).await });
    until("the refusal of the forged announcement", || async {
        standalone.log_of("gateway-0").contains("arouter.v1.notice.control is refused").then_some(())
    })
    .await;
    assert_eq!(status().await, StatusCode::OK, "a forged announcement has no effect");
    tell.send(event).await.expect("a place");
    until("the effect of the announcement", || async { (status().await == StatusCode::UNAUTHORIZED).then_some(()) }).await;
    stop.cancel();
    exchanges.join_all().await;
}

/// Sends 1,000 concurrent requests of 0.10 USD over eight gateways, on 5 USD: 50 of them fit, not one more and hardly one less.
#[tokio::test]
async fn a_thousand_racers_over_eight_gateways_never_spend_more_than_there_is() {
    let provider = Provider::start().await;
    // A request costs 5 completion tokens at 20,000 USD per million.
    let dear = "[[models]]\nid = \"test/dear\"\nprovider = \"test\"\nprompt_usd_per_mtok = \"0\"\ncompletion_usd_per_mtok = \"20000\"\ncontext_length = 100000\n";
    let standalone = Standalone::start(8, &format!("{}{dear}", provider.config())).await;
    let (_, management) = standalone.account(json!(5)).await;
    let key = standalone.key(&management, json!({"name": "racer"})).await;
    let known = standalone.gateways.clone();
    let shared = Arc::new((standalone.http.clone(), known, key.clone()));
    standalone.knows(&key).await;
    let mut racers = JoinSet::new();
    for number in 0..1_000 {
        let shared = Arc::clone(&shared);
        racers.spawn(async move {
            let (http, gateways, key) = &*shared;
            let url = format!("{}/v1/chat/completions", gateways[number % gateways.len()]);
            let body = json!({"model": "test/dear", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).to_string();
            loop {
                let answer = http.post(&url).bearer_auth(key).body(body.clone()).send().await.expect("an answer");
                let status = answer.status();
                let value = answer.json_value().await.expect("JSON");
                match (status, value["error"]["code"].as_str()) {
                    (StatusCode::OK, _) => return nanos(&value["usage"]["cost"]),
                    // The money exists but is held, so the response tells the client to retry.
                    (StatusCode::PAYMENT_REQUIRED, Some("in_flight_budget")) => tokio::time::sleep(Duration::from_millis(200)).await,
                    (StatusCode::PAYMENT_REQUIRED, Some("insufficient_credits")) => return 0,
                    other => unreachable!("{other:?}: {value}"),
                }
            }
        });
    }
    let paid: i64 =
        tokio::time::timeout(Duration::from_secs(90), racers.join_all()).await.expect("everybody gets an answer").into_iter().sum();
    assert!(paid <= 5_000_000_000, "{paid} nano-USD were spent of 5 USD");
    assert!(paid >= 4_900_000_000, "only {paid} nano-USD of 5 USD could be spent");
    until("all postings", || async {
        let answer = standalone.get("/api/v1/balance", &key).await?;
        (nanos(answer.get("balance")?) == 5_000_000_000 - paid && nanos(answer.get("held")?) == 0).then_some(())
    })
    .await;
    standalone.verify();
}
