//! Webhooks: events of an account arrive at its endpoints, signed, in spite of outages, and nobody else's do.

use std::collections::BTreeSet;

use events::subject::Stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::receiver::Delivery;
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Arouter, Keys, Provider, Receiver, Storage};

async fn start(provider: &Provider) -> Arouter {
    let config = format!("[projector]\nwebhooks_to_private_addresses = true\n{}", provider.config());
    Arouter::start(Storage::Sqlite, &config).await
}

/// Makes a webhook and returns its id and secret.
async fn create(arouter: &Arouter, keys: &Keys, receiver: &Receiver, more: Value) -> (String, String) {
    let mut body = json!({"name": "hook", "url": receiver.url()});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, made) = arouter.call(Method::POST, "/api/v1/webhooks", &keys.management_key, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    (made["data"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

async fn chat(arouter: &Arouter, keys: &Keys) {
    let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]});
    let (status, answer) = arouter.call(Method::POST, "/v1/chat/completions", &keys.live_key, Some(ask)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

async fn manage(arouter: &Arouter, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    arouter.call(method, path, &arouter.keys.management_key, body).await
}

async fn deliveries(arouter: &Arouter, id: &str) -> Vec<Value> {
    until("the endpoint in the projector", || async {
        let (status, body) = manage(arouter, Method::GET, &format!("/api/v1/webhooks/{id}/deliveries"), None).await;
        (status == StatusCode::OK).then(|| body["data"].as_array().unwrap().clone())
    })
    .await
}

fn ids(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries.iter().map(|delivery| delivery.header("webhook-id").to_owned()).collect()
}

#[tokio::test]
async fn events_arrive_signed_from_the_first_request_on() {
    let (provider, receiver) = (Provider::start().await, Receiver::start(204).await);
    let arouter = start(&provider).await;
    chat(&arouter, &arouter.keys).await;
    let more = json!({"method": "PUT", "headers": {"X-Token": "t-0k3n"}});
    let (id, secret) = create(&arouter, &arouter.keys, &receiver, more).await;
    chat(&arouter, &arouter.keys).await;
    let got = receiver.at_least(3).await;
    let types: BTreeSet<String> = got.iter().map(|delivery| delivery.event()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["arouter.request.finished.v1", "arouter.request.started.v1", "arouter.usage.recorded.v1"].map(str::to_owned).into());
    for delivery in &got {
        assert_eq!((&delivery.method, delivery.header("x-token")), (&Method::PUT, "t-0k3n"));
        assert_eq!(delivery.event()["id"], json!(delivery.header("webhook-id")));
        assert_eq!(delivery.event()["account"], json!(arouter.keys.account));
        assert_eq!(delivery.header("svix-signature"), delivery.header("webhook-signature"));
        assert!(delivery.is_signed_with(&secret) && !delivery.is_signed_with("whsec_AAAA"));
    }
    // The event is byte for byte that of the log.
    let usage = arouter.recorded(Stream::Usage).await;
    let delivered = got.iter().map(Delivery::event).find(|event| event["type"] == json!("arouter.usage.recorded.v1"));
    assert_eq!(delivered, usage.last().cloned());
    let log = until("the log", || async {
        let rows = deliveries(&arouter, &id).await;
        rows.iter().all(|row| row["status"] == json!("delivered")).then_some(rows)
    })
    .await;
    assert!(log.len() == 3 && log.iter().all(|row| row["attempts"] == json!(1) && row["last_status_code"] == json!(204)), "{log:?}");
    let control = serde_json::to_string(&arouter.recorded(Stream::Control).await).unwrap();
    assert!(control.contains(&id) && !control.contains(&secret) && !control.contains("t-0k3n"), "secrets are sealed on the log");

    // While a secret is replaced, both sign.
    let (status, rotated) = manage(&arouter, Method::POST, &format!("/api/v1/webhooks/{id}/rotate-secret"), None).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    let (status, test) = manage(&arouter, Method::POST, &format!("/api/v1/webhooks/{id}/test"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{test}");
    let tested = receiver.at_least(4).await.pop().unwrap();
    assert_eq!((&tested.event()["type"], &tested.event()["id"]), (&json!("arouter.webhook.test.v1"), &test["event_id"]));
    assert!(tested.is_signed_with(&secret), "the old one still signs");
    until("both signatures", || async {
        manage(&arouter, Method::POST, &format!("/api/v1/webhooks/{id}/test"), None).await;
        let last = receiver.got().pop()?;
        [&secret, rotated["secret"].as_str().unwrap()].iter().all(|secret| last.is_signed_with(secret)).then_some(())
    })
    .await;
    arouter.verify();
}

#[tokio::test]
async fn outages_and_a_killed_process_lose_nothing() {
    let (provider, receiver) = (Provider::start().await, Receiver::start(503).await);
    let mut arouter = start(&provider).await;
    let (id, secret) = create(&arouter, &arouter.keys, &receiver, json!({"event_types": ["usage"]})).await;
    for _ in 0..4 {
        chat(&arouter, &arouter.keys).await;
    }
    receiver.at_least(4).await;
    arouter.kill();
    receiver.answer(200);
    arouter.launch().await;
    for _ in 0..3 {
        chat(&arouter, &arouter.keys).await;
    }
    let rows = until("all deliveries", || async {
        let rows = deliveries(&arouter, &id).await;
        (rows.len() == 7 && rows.iter().all(|row| row["status"] == json!("delivered"))).then_some(rows)
    })
    .await;
    let usage: BTreeSet<String> =
        arouter.recorded(Stream::Usage).await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let got = receiver.got();
    assert!(ids(&got) == usage && got.iter().all(|delivery| delivery.is_signed_with(&secret)));
    assert_eq!(rows.iter().filter(|row| row["attempts"].as_i64() >= Some(2)).count(), 4, "{rows:?}");

    // Events that were delivered come again on request, under the same id.
    let (count, first) = (receiver.got().len(), rows.last().unwrap());
    let replay = format!("/api/v1/webhooks/{id}/replay");
    let (status, body) = manage(&arouter, Method::POST, &replay, Some(json!({"delivery_id": first["id"]}))).await;
    assert_eq!((status, &body["replayed"]), (StatusCode::ACCEPTED, &json!(1)), "{body}");
    let again = receiver.at_least(count + 1).await;
    assert_eq!(json!(again.last().unwrap().header("webhook-id")), first["event_id"]);
    let settled = || async { deliveries(&arouter, &id).await.iter().all(|row| row["status"] == json!("delivered")).then_some(()) };
    until("the replay", settled).await;
    let (status, body) = manage(&arouter, Method::POST, &replay, Some(json!({"since": rows[2]["event_time"]}))).await;
    assert_eq!((status, &body["replayed"]), (StatusCode::ACCEPTED, &json!(3)), "{body}");
    receiver.at_least(count + 4).await;
    for bad in [json!({}), json!({"since": "yesterday"}), json!({"since": "2026-01-01T00:00:00Z", "delivery_id": "x"})] {
        assert_eq!(manage(&arouter, Method::POST, &replay, Some(bad)).await.0, StatusCode::BAD_REQUEST);
    }
    assert_eq!(manage(&arouter, Method::POST, &replay, Some(json!({"delivery_id": "x"}))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_account_sees_its_own_and_filters_hold() {
    let (provider, own, others, filtered) =
        (Provider::start().await, Receiver::start(200).await, Receiver::start(200).await, Receiver::start(200).await);
    let arouter = start(&provider).await;
    let tenant = arouter.tenant(1).await;
    let (id, _) = create(&arouter, &arouter.keys, &own, json!({"event_types": ["usage"]})).await;
    create(&arouter, &tenant, &others, json!({"event_types": ["usage.recorded"]})).await;
    let (status, key) = manage(&arouter, Method::POST, "/api/v1/keys", Some(json!({"name": "second"}))).await;
    assert_eq!(status, StatusCode::CREATED);
    let more = json!({"event_types": ["usage", "key"], "api_key_ids": [key["data"]["hash"]], "privacy_mode": true});
    create(&arouter, &arouter.keys, &filtered, more).await;
    chat(&arouter, &arouter.keys).await;
    chat(&arouter, &tenant).await;
    let second = Keys { live_key: key["key"].as_str().unwrap().to_owned(), ..arouter.keys.clone() };
    chat(&arouter, &second).await;
    let hash = key["data"]["hash"].as_str().unwrap();
    manage(&arouter, Method::PATCH, &format!("/api/v1/keys/{hash}"), Some(json!({"name": "renamed"}))).await;
    let (got, got_by_others, got_filtered) = (own.at_least(2).await, others.at_least(1).await, filtered.at_least(2).await);
    assert!(got.iter().all(|delivery| delivery.event()["account"] == json!(arouter.keys.account)));
    assert!(got_by_others.iter().all(|delivery| delivery.event()["account"] == json!(tenant.account)));
    for event in got_filtered.iter().map(Delivery::event) {
        let is_usage = event["type"] == json!("arouter.usage.recorded.v1") && event["data"]["key"] == json!(hash);
        let is_update = event["type"] == json!("arouter.key.updated.v1") && event["data"]["key"]["name"] == json!("");
        assert!(is_usage || is_update, "{event}");
    }
    assert_eq!((own.got().len(), others.got().len(), filtered.got().len()), (2, 1, 2));

    for (method, path) in [
        (Method::GET, String::new()),
        (Method::PATCH, String::new()),
        (Method::DELETE, String::new()),
        (Method::GET, "/deliveries".to_owned()),
        (Method::POST, "/rotate-secret".to_owned()),
        (Method::POST, "/test".to_owned()),
    ] {
        let path = format!("/api/v1/webhooks/{id}{path}");
        let body = (method == Method::PATCH).then(|| json!({"name": "stolen"}));
        let (status, answer) = arouter.call(method.clone(), &path, &tenant.management_key, body.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        let (status, answer) = arouter.call(method.clone(), &path, &arouter.keys.live_key, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {answer}");
    }
    let (_, list) = arouter.call(Method::GET, "/api/v1/webhooks", &tenant.management_key, None).await;
    assert!(list["data"].as_array().unwrap().len() == 1 && !list.to_string().contains(&id), "{list}");
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_only_itself_and_one_that_is_gone_is_disabled() {
    let (provider, hanging, gone, quick) =
        (Provider::start().await, Receiver::start(0).await, Receiver::start(410).await, Receiver::start(200).await);
    let arouter = start(&provider).await;
    let usage = json!({"event_types": ["usage"]});
    create(&arouter, &arouter.keys, &hanging, usage.clone()).await;
    let (id, _) = create(&arouter, &arouter.keys, &gone, usage.clone()).await;
    create(&arouter, &arouter.keys, &quick, usage).await;
    let since = std::time::Instant::now();
    for _ in 0..10 {
        chat(&arouter, &arouter.keys).await;
    }
    quick.at_least(10).await;
    assert!(since.elapsed().as_secs() < 14, "the hanging one would hold the others for 15 s: {:?}", since.elapsed());
    let path = format!("/api/v1/webhooks/{id}");
    let disabled = until("the end of the one that is gone", || async {
        let (_, body) = manage(&arouter, Method::GET, &path, None).await;
        (body["data"]["disabled"] == json!(true)).then_some(body)
    })
    .await;
    assert!(disabled["data"]["disabled_reason"].as_str().unwrap().contains("410"), "{disabled}");
    let attempts = gone.got().len();
    chat(&arouter, &arouter.keys).await;
    quick.at_least(11).await;
    assert_eq!(gone.got().len(), attempts, "it gets nothing more");
    gone.answer(200);
    let (status, body) = manage(&arouter, Method::PATCH, &path, Some(json!({"disabled": false}))).await;
    assert!(status == StatusCode::OK && body["data"]["disabled_reason"].is_null(), "{body}");
    chat(&arouter, &arouter.keys).await;
    gone.at_least(attempts + 1).await;
}

#[tokio::test]
async fn private_addresses_are_refused_and_the_sdk_gets_its_shapes() {
    let (provider, receiver) = (Provider::start().await, Receiver::start(200).await);
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let body = json!({"name": "sdk", "url": receiver.url(), "sampling_rate": 0.5});
    let (status, made) = manage(&arouter, Method::POST, "/api/webhooks/endpoints", Some(body)).await;
    assert!(status == StatusCode::CREATED && made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    let id = made["endpoint"]["id"].as_str().unwrap();
    assert_eq!((&made["endpoint"]["method"], &made["endpoint"]["sampling_rate"]), (&json!("POST"), &json!(0.5)));
    let path = format!("/api/webhooks/endpoints/{id}");
    let (status, changed) = manage(&arouter, Method::PATCH, &path, Some(json!({"name": "new", "sampling_rate": 0}))).await;
    assert!(status == StatusCode::OK && changed["name"] == json!("new") && changed["sampling_rate"] == json!(1.0), "{changed}");
    let (status, _) = manage(&arouter, Method::POST, "/api/webhooks/test-event", Some(json!({"endpoint_id": id}))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let row = until("the refusal", || async { deliveries(&arouter, id).await.into_iter().find(|row| row["last_error"].is_string()) }).await;
    assert!(row["last_error"].as_str().unwrap().contains("public") && row["next_attempt_at"].is_string(), "{row}");
    for url in [receiver.url(), receiver.url().replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest".to_owned()] {
        let (status, probe) = manage(&arouter, Method::POST, "/api/webhooks/test-connection", Some(json!({"url": url}))).await;
        assert!(status == StatusCode::OK && probe["reachable"] == json!(false), "{url}: {probe}");
    }
    assert!(receiver.got().is_empty());
    for bad in
        [json!({"name": "x"}), json!({"name": "x", "url": "ftp://x"}), json!({"name": "x", "url": "https://x", "event_types": ["?"]})]
    {
        assert_eq!(manage(&arouter, Method::POST, "/api/v1/webhooks", Some(bad)).await.0, StatusCode::BAD_REQUEST);
    }
    assert_eq!(manage(&arouter, Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(manage(&arouter, Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
}

/// Starts again with a clock that is ahead.
async fn launch_later(arouter: &mut Arouter, seconds: i64) {
    arouter.stop();
    let mut command = arouter.command("up");
    command.env(events::clock::SHIFT_VARIABLE, seconds.to_string());
    arouter.launch_as(command).await;
}

#[tokio::test]
async fn a_receiver_that_is_down_for_three_days_is_disabled_and_a_replay_brings_everything() {
    let (provider, receiver) = (Provider::start().await, Receiver::start(503).await);
    let mut arouter = start(&provider).await;
    let (id, secret) = create(&arouter, &arouter.keys, &receiver, json!({"event_types": ["usage"]})).await;
    let path = format!("/api/v1/webhooks/{id}");
    for _ in 0..3 {
        chat(&arouter, &arouter.keys).await;
    }
    let attempts = async |arouter: &Arouter, count: i64| {
        until("the attempts", || async {
            let rows = deliveries(arouter, &id).await;
            (rows.len() == 3 && rows.iter().all(|row| row["attempts"] == json!(count))).then_some(())
        })
        .await;
    };
    attempts(&arouter, 2).await;
    // The longest delay before each attempt, with what is added at random, one after the other.
    let mut ahead = 0;
    for (count, delay) in (3..).zip([330, 1_980, 7_920, 19_800, 39_600, 55_440, 79_200, 95_040]) {
        let (_, shown) = manage(&arouter, Method::GET, &path, None).await;
        assert_eq!(shown["data"]["disabled"], json!(false), "after {} attempts", count - 1);
        ahead += delay + 30;
        launch_later(&mut arouter, ahead).await;
        attempts(&arouter, count).await;
    }
    assert!((3 * 86_400..4 * 86_400).contains(&ahead), "{ahead}");
    until("its end", || async {
        let (_, shown) = manage(&arouter, Method::GET, &path, None).await;
        (shown["data"]["disabled"] == json!(true) && shown["data"]["disabled_reason"].is_string()).then_some(())
    })
    .await;
    chat(&arouter, &arouter.keys).await;
    assert_eq!(receiver.got().len(), 30, "three events, ten times each");

    receiver.answer(200);
    let (status, shown) = manage(&arouter, Method::PATCH, &path, Some(json!({"disabled": false}))).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    let events: BTreeSet<String> =
        arouter.recorded(Stream::Usage).await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let since = deliveries(&arouter, &id).await.last().unwrap()["event_time"].clone();
    let (status, body) = manage(&arouter, Method::POST, &format!("{path}/replay"), Some(json!({"since": since}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let got = until("every event", || async {
        let got = receiver.got().split_off(30);
        (ids(&got).len() == events.len()).then_some(got)
    })
    .await;
    assert!(events.len() == 4 && ids(&got) == events && got.iter().all(|delivery| delivery.is_signed_with(&secret)));
}

/// Two projectors share a database. Each event is sent once, whichever of them sends it, and one goes on alone.
#[tokio::test]
async fn two_projectors_send_each_event_once() {
    let (provider, receiver) = (Provider::start().await, Receiver::start(204).await);
    let master_key = "0123456789abcdef0123456789abcdef";
    let config =
        format!("[secrets]\nmaster_key = \"{master_key}\"\n[projector]\nwebhooks_to_private_addresses = true\n{}", provider.config());
    let mut standalone = Standalone::start(1, &config).await;
    standalone.run("projector-1");
    let (_, management) = standalone.account(json!(1)).await;
    let key = standalone.key(&management, json!({"name": "k"})).await;
    let hook = json!({"name": "hook", "url": receiver.url(), "event_types": ["usage"]});
    let (status, made) = standalone.post("/api/v1/webhooks", &management, hook).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let log = format!("/api/v1/webhooks/{}/deliveries?limit=100", made["data"]["id"].as_str().unwrap());
    let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..60 {
        let (status, answer) = standalone.post("/v1/chat/completions", &key, ask.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let rows = until("all deliveries", || async {
        let rows = standalone.get(&log, &management).await?["data"].as_array()?.clone();
        (rows.len() == 60 && rows.iter().all(|row| row["status"] == json!("delivered"))).then_some(rows)
    })
    .await;
    assert!(rows.iter().all(|row| row["attempts"] == json!(1)), "{rows:?}");
    let got = receiver.got();
    assert_eq!((got.len(), ids(&got).len()), (60, 60), "each event came once");
    standalone.kill("projector");
    for _ in 0..5 {
        let (status, answer) = standalone.post("/v1/chat/completions", &key, ask.clone()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert_eq!(ids(&receiver.at_least(65).await).len(), 65);
}
