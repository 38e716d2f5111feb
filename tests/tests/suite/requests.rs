//! One request from end to end: responses, streams, charges, reads, fallback. On SQLite and on PostgreSQL.

use events::subject::Stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::{JsonValue, nanos};
use tests::postgres::Postgres;
use tests::wait::until;
use tests::{Arouter, Provider, Storage};

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

fn ask_stream(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "hello"}]})
}

/// Returns the data of each frame of a streamed response.
async fn frames(arouter: &Arouter, body: Value) -> Vec<String> {
    let answer = arouter
        .http
        .post(format!("{}/v1/chat/completions", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = answer.text().await.expect("a whole stream");
    text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")).map(str::to_owned).collect()
}

async fn a_request_is_answered_charged_and_reported(storage: Storage) {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(storage, &provider.config()).await;
    let (status, body) = arouter.chat(ask("test/ok")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["model"], "test/ok");
    assert_eq!(body["system_fingerprint"], "fp_1", "foreign fields pass");
    assert_eq!(body["choices"][0]["message"]["content"], "one two three four five");
    // The usage is 10 prompt tokens at 1 USD and 5 completion tokens at 2 USD per million.
    assert_eq!(nanos(&body["usage"]["cost"]), 20_000);
    let asked = provider.asked();
    assert_eq!(asked[0].headers["authorization"], "Bearer upstream-secret", "the provider gets its own credential");
    assert_eq!(asked[0].body["model"], "ok");

    let rows = arouter.usage(1).await;
    assert_eq!((nanos(&rows[0]["amount"]), &rows[0]["generation_id"]), (-20_000, &body["id"]));
    assert_eq!(nanos(&arouter.balance().await["balance"]), 10_000_000_000 - 20_000);

    let id = body["id"].as_str().expect("an id");
    let generation = arouter.generation(id).await;
    assert_eq!((generation["model"].clone(), nanos(&generation["usage"]["cost"])), (json!("test/ok"), 20_000));
    until("the activity", || async {
        let activity = arouter.get("/v1/activity?period=1h&group_by=model").await;
        ((nanos(&activity["totals"]["spend_usd"]), &activity["totals"]["requests"]) == (20_000, &json!(1))).then_some(())
    })
    .await;
    let key = arouter.get("/api/v1/key").await;
    assert_eq!((nanos(&key["data"]["usage"]), nanos(&key["data"]["usage_daily"])), (20_000, 20_000));
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_request_is_answered_charged_and_reported_on_sqlite() {
    a_request_is_answered_charged_and_reported(Storage::Sqlite).await;
}

#[tokio::test]
async fn a_request_is_answered_charged_and_reported_on_postgresql() {
    a_request_is_answered_charged_and_reported(Storage::Postgres(Postgres::start())).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_usage_and_is_charged() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let frames = frames(&arouter, ask_stream("test/ok")).await;
    assert_eq!(frames.last().map(String::as_str), Some("[DONE]"));
    let usage: Value = serde_json::from_str(&frames[frames.len() - 2]).expect("JSON");
    assert_eq!((&usage["choices"], nanos(&usage["usage"]["cost"])), (&json!([]), 20_000));
    let pieces: Vec<Value> = frames[..frames.len() - 1].iter().map(|frame| serde_json::from_str(frame).expect("JSON")).collect();
    assert!(pieces.iter().all(|piece| piece["id"] == usage["id"] && piece["model"] == "test/ok"));
    let text: String = pieces.iter().filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "one two three four five");
    assert_eq!(provider.asked()[0].body["stream_options"]["include_usage"], true);
    assert_eq!(arouter.usage(1).await[0]["generation_id"], usage["id"]);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn connections_to_a_provider_are_kept_after_answers_and_streams() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    for _ in 0..10 {
        let (status, _) = arouter.chat(ask("test/ok")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(frames(&arouter, ask_stream("test/ok")).await.last().map(String::as_str), Some("[DONE]"));
    }
    // Each thread has its own connection, and the client may have been served by two threads.
    assert!(provider.connections() <= 2, "{} connections for 20 requests", provider.connections());
}

#[tokio::test]
async fn a_failing_candidate_gives_way_to_the_next() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    for failing in ["test/error-500", "test/error-429", "test/error-401", "test/html", "test/half"] {
        let (status, body) = arouter
            .chat(json!({"models": [failing, "test/ok"], "route": "fallback", "messages": [{"role": "user", "content": "x"}]}))
            .await;
        assert_eq!((status, &body["model"]), (StatusCode::OK, &json!("test/ok")), "{failing}");
    }
    for failing in ["test/in-band", "test/empty"] {
        let frames =
            frames(&arouter, json!({"models": [failing, "test/ok"], "stream": true, "messages": [{"role": "user", "content": "x"}]})).await;
        assert!(frames[0].contains("\"test/ok\""), "{failing}: {}", frames[0]);
    }
    let (status, body) =
        arouter.chat(json!({"models": ["test/error-400", "test/ok"], "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!(
        (status, &body["error"]["metadata"]["provider_name"]),
        (StatusCode::BAD_REQUEST, &json!("test")),
        "a refusal of the request itself goes straight back"
    );
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_model_is_tried_at_each_of_its_providers_and_at_those_alone_that_the_key_may_use() {
    let provider = Provider::start().await;
    let twice = |id: &str, second: &str| {
        let of = |slug: &str, upstream: &str| {
            format!(
                "[[models]]\nid = \"{id}\"\nprovider = \"{slug}\"\nupstream_model = \"{upstream}\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 1000\n"
            )
        };
        format!("{}{}", of("test", "error-500"), of("other", second))
    };
    let other = "[[providers]]\nslug = \"other\"\n";
    let config = format!("{}{other}base_url = \"http://{}/v1\"\n{}", provider.config(), provider.address, twice("shared/m", "ok"));
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let ask = json!({"model": "shared/m", "messages": [{"role": "user", "content": "x"}]});
    let (status, body) = arouter.chat(ask.clone()).await;
    assert_eq!((status, &body["model"]), (StatusCode::OK, &json!("shared/m")), "the second provider answers: {body}");
    arouter.usage(1).await;
    let recorded = arouter.recorded(Stream::Usage).await;
    assert_eq!(recorded[0]["data"]["provider"], "other", "{recorded:?}");
    let restrict = json!({"name": "narrow", "allowed_providers": ["other"]});
    let (_, made) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(restrict)).await;
    let key = made["key"].as_str().expect("a key").to_owned();
    let asked = provider.asked().len();
    let (status, _) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(ask)).await;
    assert_eq!((status, provider.asked().len()), (StatusCode::OK, asked + 1), "the first provider is skipped, not asked");
    let both = json!({"models": ["test/ok", "shared/m"], "messages": [{"role": "user", "content": "x"}]});
    let (status, body) = arouter.call(Method::POST, "/v1/chat/completions", &key, Some(both)).await;
    assert_eq!((status, &body["model"]), (StatusCode::OK, &json!("shared/m")), "a forbidden model is skipped: {body}");
    let none = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(arouter.call(Method::POST, "/v1/chat/completions", &key, Some(none)).await.0, StatusCode::FORBIDDEN);
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_pays_for_what_it_got() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let mut answer = arouter
        .http
        .post(format!("{}/v1/chat/completions", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .body(ask_stream("test/paced").to_string())
        .send()
        .await
        .expect("an answer");
    let first = answer.chunk().await.expect("a stream").expect("a piece");
    assert!(first.starts_with(b"data: "));
    drop(answer);
    let rows = arouter.usage(1).await;
    let paid = -nanos(&rows[0]["amount"]);
    assert!(paid > 0 && paid < 40_000, "{paid}");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn tools_pass_through_and_missing_usage_is_measured() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]);
    let (_, body) =
        arouter.chat(json!({"model": "test/tools", "tools": tools, "messages": [{"role": "user", "content": "weather?"}]})).await;
    assert_eq!(body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\":\"Oslo\"}");
    assert_eq!(provider.asked()[0].body["tools"], tools);
    let (_, body) = arouter.chat(ask("test/no-usage")).await;
    assert!(nanos(&body["usage"]["cost"]) > 0);
    let id = body["id"].as_str().expect("an id");
    let generation = arouter.generation(id).await;
    assert_eq!(generation["usage"]["provenance"], "measured");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn models_are_listed_in_both_shapes_and_reads_have_aliases() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let models = arouter.get("/v1/models").await;
    let model = models["data"].as_array().expect("a list").iter().find(|model| model["id"] == "test/ok").expect("the model").clone();
    assert_eq!(
        (&models["object"], &model["object"], &model["pricing"]["prompt"]),
        (&json!("list"), &json!("model"), &json!("0.000001000000"))
    );
    for path in ["/v1/balance", "/v1/transactions", "/v1/billing/transactions", "/v1/key", "/api/v1/models", "/v1/activity"] {
        arouter.get(path).await;
    }
    let answer = arouter
        .http
        .get(format!("{}/v1/balance?key={}", arouter.base, arouter.keys.live_key))
        .header("x-request-id", "mine-1")
        .send()
        .await
        .expect("an answer");
    assert_eq!((answer.status(), answer.headers()["x-request-id"].to_str().ok()), (StatusCode::OK, Some("mine-1")));
    let csv = arouter
        .http
        .get(format!("{}/v1/transactions?format=csv", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .send()
        .await
        .expect("an answer");
    assert!(csv.headers().contains_key("x-as-of"));
    let text = csv.text().await.expect("text");
    assert!(
        text.starts_with("id,type,amount,currency,description,created_at,balance_after,generation_id,key_hash\r\n")
            && text.contains(",grant,10.000000000,USD,"),
        "{text}"
    );
    let answer = arouter.http.get(format!("{}/nowhere", arouter.base)).send().await.expect("an answer");
    assert_eq!(
        (answer.status(), answer.json_value().await.expect("JSON")["error"]["type"].clone()),
        (StatusCode::NOT_FOUND, json!("not_found_error"))
    );
}
