//! A provider that responds like OpenAI, or misbehaves in the way that the model's name says. It records the requests that it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

/// The number of requests that are recorded.
const ASKED_KEPT: usize = 1_000;

/// A recorded request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The body.
    pub body: Value,
    /// The headers.
    pub headers: HeaderMap,
}

/// A running provider.
#[derive(Clone)]
pub struct Provider {
    /// The address that it listens on.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    users: Arc<Mutex<BTreeMap<String, u32>>>,
    peers: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

/// The models, each named after its behaviour.
pub const MODELS: [&str; 17] = [
    "ok",
    "tools",
    "html",
    "half",
    "cut3",
    "endless",
    "error-500",
    "error-429",
    "error-400",
    "error-401",
    "in-band",
    "no-usage",
    "overrun",
    "slow",
    "paced",
    "long",
    "empty",
];

impl Provider {
    /// Starts a provider.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider =
            Self { address: listener.local_addr().unwrap(), asked: Arc::default(), users: Arc::default(), peers: Arc::default() };
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .with_state(provider.clone())
            .into_make_service_with_connect_info::<SocketAddr>();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::task::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// Returns the requests so far, at most the first thousand.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the number of connections that requests came over.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.peers.lock().unwrap().len()
    }

    fn note(&self, asked: Asked) {
        if let Some(user) = asked.body["user"].as_str() {
            *self.users.lock().unwrap().entry(user.to_owned()).or_default() += 1;
        }
        let mut all = self.asked.lock().unwrap();
        if all.len() < ASKED_KEPT {
            all.push(asked);
        }
    }

    /// Returns the number of distinct `user` values in requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.lock().unwrap().len()
    }

    /// Returns the number of requests for each `user`.
    #[must_use]
    pub fn users(&self) -> BTreeMap<String, u32> {
        self.users.lock().unwrap().clone()
    }

    /// Returns the configuration that makes it the provider `test`. Prices are 1 and 2 USD per million tokens.
    #[must_use]
    pub fn config(&self) -> String {
        let mut text =
            format!("[[providers]]\nslug = \"test\"\nbase_url = \"http://{}/v1\"\napi_key = \"upstream-secret\"\n", self.address);
        for model in MODELS {
            text.push_str(&model_config(model));
        }
        text
    }
}

fn model_config(model: &str) -> String {
    format!(
        "[[models]]\nid = \"test/{model}\"\nprovider = \"test\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 100000\nmax_output_tokens = 1000\n"
    )
}

async fn chat(State(provider): State<Provider>, ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap, body: Bytes) -> Response {
    provider.peers.lock().unwrap().insert(peer);
    let body: Value = serde_json::from_slice(&body).expect("the gateway sends JSON");
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let is_stream = body["stream"].as_bool().unwrap_or(false);
    provider.note(Asked { body: body.clone(), headers });
    let error = |status: u16| {
        (StatusCode::from_u16(status).unwrap(), axum::Json(json!({"error": {"message": "upstream says no", "type": "x"}}))).into_response()
    };
    match model.as_str() {
        "error-500" => error(500),
        "error-429" => error(429),
        "error-400" => error(400),
        "error-401" => error(401),
        "html" => ([(header::CONTENT_TYPE, "text/html")], "<html><body>Bad Gateway</body></html>").into_response(),
        "half" => ([(header::CONTENT_TYPE, "application/json")], "{\"id\": \"x\", \"choices\": [{\"index\": 0, \"mess").into_response(),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            whole(&body)
        }
        _ if is_stream => streamed(&model, &body),
        _ => whole(&body),
    }
}

fn usage(body: &Value) -> Value {
    let completion = if body["model"] == "overrun" { 1_000_000 } else { body["max_tokens"].as_u64().unwrap_or(5).min(5) };
    json!({"prompt_tokens": 10, "completion_tokens": completion, "total_tokens": 10 + completion})
}

fn whole(body: &Value) -> Response {
    let message = if body["model"] == "tools" {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}]})
    } else {
        json!({"role": "assistant", "content": "one two three four five"})
    };
    let mut answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-name", "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage(body)});
    if body["model"] == "no-usage" {
        answer.as_object_mut().unwrap().remove("usage");
    }
    axum::Json(answer).into_response()
}

fn streamed(model: &str, body: &Value) -> Response {
    let chunk = |delta: Value, reason: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-name", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        )
    };
    let say = |word: &str| chunk(json!({"content": word}), Value::Null);
    let mut frames: Vec<String> = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    match model {
        "in-band" => frames = vec!["data: {\"error\": {\"message\": \"overloaded\"}}\n\n".to_owned()],
        "empty" => frames.clear(),
        "cut3" => frames.extend(["one ", "two ", "three"].map(say)),
        "endless" => {
            let body = Body::from_stream(stream::repeat_with(move || {
                Ok::<_, std::io::Error>(Bytes::from(
                    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"again and again \"},\"finish_reason\":null}]}\n\n",
                ))
            }));
            return ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
        }
        "long" => frames.extend((0..100).map(|_| say("again "))),
        _ => {
            frames.extend(["one ", "two ", "three ", "four ", "five"].map(say));
            frames.push(chunk(json!({}), "stop".into()));
            if model != "no-usage" {
                frames.push(format!("data: {}\n\n", json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-name", "choices": [], "usage": usage(body)})));
            }
            frames.push("data: [DONE]\n\n".to_owned());
        }
    }
    let gap = Duration::from_millis(if matches!(model, "paced" | "long") { 200 } else { 0 });
    let frames = stream::iter(frames).then(move |frame| async move {
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
        Ok::<_, std::io::Error>(Bytes::from(frame))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames)).into_response()
}
