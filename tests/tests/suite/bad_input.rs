//! Bad clients and bad providers: each gets its documented error, each admitted request has one terminal event, and no money stays held.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::arouter::{JsonValue, nanos};
use tests::{Arouter, Provider, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn post(arouter: &Arouter, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let answer = arouter
        .http
        .post(format!("{}/v1/chat/completions", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .body(body)
        .send()
        .await
        .expect("an answer");
    let status = answer.status();
    (status, answer.json_value().await.unwrap_or_default())
}

/// Sends bytes over a plain connection, and returns the response.
async fn raw(arouter: &Arouter, bytes: &[u8]) -> String {
    let address = arouter.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut text = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await.expect("an end").expect("read");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_documented_error() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("[server]\nread_timeout_ms = 1500\n{}", provider.config())).await;
    let bad = [
        ("{", "JSON"),
        ("[]", "JSON"),
        (r#"{"model":"test/ok"}"#, "messages"),
        (r#"{"model":"test/ok","messages":[]}"#, "messages"),
        (r#"{"model":"test/nothing","messages":[{"role":"user","content":"x"}]}"#, "test/nothing"),
        (r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"max_tokens":-1}"#, "max_tokens"),
        (r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"n":1000000}"#, "'n'"),
        (r#"{"model":"test/ok","model":"test/slow","messages":[{"role":"user","content":"x"}]}"#, "twice"),
        (r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"provider":{"odrer":["x"]}}"#, "provider.odrer"),
        (r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"plugins":[{"id":"web"}]}"#, "'web' is not supported"),
        (
            r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"transforms":["middle-out"]}"#,
            "'transforms': it is not supported",
        ),
    ];
    for (body, says) in bad {
        let (status, answer) = post(&arouter, body).await;
        assert!(
            status == StatusCode::BAD_REQUEST && answer["error"]["message"].as_str().is_some_and(|text| text.contains(says)),
            "{body}: {status} {answer}"
        );
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    let (status, _) = post(&arouter, b"{\"model\":\"test/ok\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "invalid UTF-8");
    let (status, _) = post(&arouter, vec![b' '; 10 * 1024 * 1024 + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let headers: String = (0..1_000).map(|number| format!("x-h{number}: 1\r\n")).collect();
    assert!(raw(&arouter, format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await.starts_with("HTTP/1.1 431"));
    let key = &arouter.keys.live_key;
    let slow = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: 100\r\n\r\n{{"
    );
    assert!(raw(&arouter, slow.as_bytes()).await.starts_with("HTTP/1.1 408"), "a body that drips");
    let three = arouter
        .http
        .post(format!("{}/v1/chat/completions?key=lr_live_other", arouter.base))
        .bearer_auth(key)
        .header("x-api-key", "lr_live_third")
        .body("{}");
    assert_eq!(three.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    assert!(provider.asked().is_empty(), "none of these reached a provider");
    arouter.settle_and_verify().await;
    assert_eq!(nanos(&arouter.balance().await["balance"]), 10_000_000_000);
    let empty = r#"{"model":"test/ok","messages":[{"role":"user","content":"x"}],"provider":{ },"plugins":[],"transforms":null}"#;
    assert_eq!(post(&arouter, empty).await.0, StatusCode::OK, "fields that ask for nothing");
}

#[tokio::test]
async fn bad_providers_cost_nothing_and_leave_nothing_held() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    for (model, expected) in [("html", 502), ("half", 502), ("error-500", 503), ("error-429", 429), ("error-401", 502), ("error-400", 400)]
    {
        let (status, body) =
            post(&arouter, json!({"model": format!("test/{model}"), "messages": [{"role": "user", "content": "x"}]}).to_string()).await;
        assert_eq!(status.as_u16(), expected, "{model}: {body}");
    }
    let stream = json!({"model": "test/cut3", "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let answer = arouter
        .http
        .post(format!("{}/v1/chat/completions", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .body(stream.to_string())
        .send()
        .await
        .expect("an answer");
    let text = answer.text().await.expect("a stream");
    assert!(text.contains("three") && text.contains("\"finish_reason\":\"error\"") && !text.contains("[DONE]"), "{text}");
    let rows = arouter.usage(7).await;
    assert!(rows.iter().all(|row| nanos(&row["amount"]) == 0), "a provider that failed is not paid for");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn an_endless_stream_is_cut_at_its_hold_and_an_overrun_is_not_charged() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let stream = json!({"model": "test/endless", "stream": true, "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
    let answer = arouter
        .http
        .post(format!("{}/v1/chat/completions", arouter.base))
        .bearer_auth(&arouter.keys.live_key)
        .body(stream.to_string())
        .send()
        .await
        .expect("an answer");
    let text = answer.text().await.expect("it ends");
    assert!(text.contains("\"finish_reason\":\"length\"") && text.ends_with("data: [DONE]\n\n"));
    // The hold covers one token per byte, 64 tokens for the chat template, and the cap.
    let hold = 1_000 * ("[{\"content\":\"x\",\"role\":\"user\"}]".len() as i64 + 64) + 50 * 2_000;
    let paid = -nanos(&arouter.usage(1).await[0]["amount"]);
    assert!(paid > hold / 2 && paid <= hold, "{paid} of {hold}");
    let (_, body) =
        post(&arouter, json!({"model": "test/overrun", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}).to_string())
            .await;
    assert_eq!(nanos(&body["usage"]["cost"]), hold, "a provider's million tokens are charged up to the hold");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn management_bodies_are_read_strictly() {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x", "limit": -1}),
        json!({"name": "x", "limit": "many"}),
        json!({"name": "x", "limit": 1, "limit_usd": 2}),
        json!({"name": "x", "limit_reset": "hourly"}),
        json!({"name": "x", "expires_at": "yesterday"}),
    ] {
        let (status, answer) = arouter.call(Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(body.clone())).await;
        assert_eq!((status, &answer["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("invalid_request_error")), "{body}: {answer}");
    }
    for path in [
        "/v1/transactions?limit=0",
        "/v1/transactions?type=x",
        "/v1/transactions?nonsense=1",
        "/v1/activity?period=2w",
        "/v1/activity?group_by=x",
        "/v1/generation",
    ] {
        let (status, answer) = arouter.call(Method::GET, path, &arouter.keys.live_key, None).await;
        assert_eq!((status, &answer["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("invalid_request_error")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_code_of_an_error_is_the_status_for_clients_of_openrouter_and_a_word_for_others() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let unknown = json!({"model": "test/nothing", "messages": [{"role": "user", "content": "x"}]});
    let key = arouter.keys.live_key.clone();
    for (method, path, key, body, code) in [
        (Method::POST, "/api/v1/chat/completions", &*key, Some(unknown.clone()), json!(400)),
        (Method::POST, "/api/v1/chat/completions", "lr_live_no", Some(unknown.clone()), json!(401)),
        (Method::GET, "/api/v1/models/no/model", &*key, None, json!(404)),
        (Method::GET, "/api/v1/models?supported_parameters=%00", &*key, None, json!(400)),
        (Method::POST, "/v1/chat/completions", &*key, Some(unknown), json!("model_not_found")),
        (Method::GET, "/api/v1/keys", &*key, None, json!("permission_denied")),
    ] {
        let (status, answer) = arouter.call(method, path, key, body).await;
        assert_eq!(answer["error"]["code"], code, "{path}: {status} {answer}");
    }
    arouter.settle_and_verify().await;
}
