//! A response of the built-in provider: it repeats the last user message, one word per chunk.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::ids::hex;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulated;

#[derive(Debug, Deserialize)]
pub struct ChatBody {
    model: String,
    messages: Vec<Value>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
}

/// The behaviour of one model.
struct Manner {
    latency: Duration,
    gap: Duration,
    fails: bool,
    cut: bool,
}

impl Simulated {
    fn manner(&self, model: &str) -> Manner {
        let gap = |per_second: u64| Duration::from_micros(1_000_000_u64.checked_div(per_second).unwrap_or(0));
        let config = &self.config;
        let (latency_ms, per_second, errors, cuts) = match model {
            "slow" => (2_000, 5, 0, 0),
            "flaky" => (config.latency_ms, config.tokens_per_second, 30, 20),
            _ => (config.latency_ms, config.tokens_per_second, config.error_percent, config.cut_percent),
        };
        let mut dice = [0_u8; 8];
        self.ids.fill(&mut dice);
        let percent = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| (sum * 256 + u32::from(*byte)) % 100);
        Manner {
            latency: Duration::from_millis(latency_ms),
            gap: gap(per_second),
            fails: percent(&dice[..4]) < u32::from(errors),
            cut: percent(&dice[4..]) < u32::from(cuts),
        }
    }

    fn id(&self) -> String {
        let mut bytes = [0_u8; 12];
        self.ids.fill(&mut bytes);
        format!("chatcmpl-{}", hex(&bytes))
    }
}

/// Serves `POST /v1/chat/completions`.
pub async fn chat(State(simulated): State<Simulated>, Json(body): Json<ChatBody>) -> Response {
    let manner = simulated.manner(&body.model);
    tokio::time::sleep(manner.latency).await;
    if manner.fails {
        let error = json!({"error": {"message": "the simulated provider fails now and then", "type": "server_error", "code": "simulated"}});
        return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response();
    }
    let most = body.max_completion_tokens.or(body.max_tokens).unwrap_or(usize::MAX);
    let text = last_user_text(&body.messages);
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    let reason = if words.len() > most { "length" } else { "stop" };
    let words: Vec<String> = words.into_iter().take(most).collect();
    let prompt_bytes: usize = body.messages.iter().map(|message| content_text(message).len()).sum();
    let usage = json!({"prompt_tokens": prompt_bytes.div_ceil(4), "completion_tokens": words.len(), "total_tokens": prompt_bytes.div_ceil(4) + words.len()});
    let id = simulated.id();
    if body.stream {
        return streamed(&id, &body.model, words, reason, &usage, &manner);
    }
    let message = json!({"role": "assistant", "content": words.concat()});
    let choices = json!([{"index": 0, "message": message, "finish_reason": reason}]);
    Json(json!({"id": id, "object": "chat.completion", "created": 0, "model": body.model, "choices": choices, "usage": usage}))
        .into_response()
}

fn streamed(id: &str, model: &str, words: Vec<String>, reason: &str, usage: &Value, manner: &Manner) -> Response {
    let frame = |rest: Value| {
        let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": 0, "model": model});
        if let (Some(chunk), Value::Object(rest)) = (chunk.as_object_mut(), rest) {
            chunk.extend(rest);
        }
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let mut frames = vec![frame(choice(json!({"role": "assistant", "content": ""}), Value::Null))];
    let keep = if manner.cut { words.len() / 2 } else { words.len() };
    frames.extend(words.into_iter().take(keep).map(|word| frame(choice(json!({"content": word}), Value::Null))));
    if !manner.cut {
        frames.push(frame(choice(json!({}), reason.into())));
        frames.push(frame(json!({"choices": [], "usage": usage})));
        frames.push("data: [DONE]\n\n".to_owned());
    }
    let gap = manner.gap;
    let body = stream::iter(frames).then(move |frame| async move {
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
        Ok::<Bytes, std::convert::Infallible>(Bytes::from(frame))
    });
    ([(axum::http::header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

fn last_user_text(messages: &[Value]) -> String {
    messages.iter().rev().find(|message| message["role"] == "user").map(content_text).unwrap_or_default()
}

fn content_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}
