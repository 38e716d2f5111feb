//! A response of the built-in provider: it repeats the last user message, one word per chunk.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::ids::hex;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::Simulated;
use super::script::{ChatBody, Piece, Script};

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

    fn created(&self) -> i64 {
        self.clock.now_us() / 1_000_000
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
    let (script, id) = (body.script(), simulated.id());
    if body.stream {
        return streamed((&id, simulated.created()), &body.model, script, &manner);
    }
    let Script { pieces, finish_reason, usage } = script;
    let choices = json!([{"index": 0, "message": message(pieces), "finish_reason": finish_reason}]);
    let created = simulated.created();
    Json(json!({"id": id, "object": "chat.completion", "created": created, "model": body.model, "choices": choices, "usage": usage}))
        .into_response()
}

fn message(pieces: Vec<Piece>) -> Value {
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Reasoning(more) => reasoning.push_str(&more),
            Piece::Text(more) => text.push_str(&more),
            Piece::Call { id, name, arguments, .. } => {
                calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
            }
        }
    }
    let mut message = Map::from_iter([("role".to_owned(), json!("assistant")), ("content".to_owned(), json!(text))]);
    if !reasoning.is_empty() {
        message.insert("reasoning_content".to_owned(), json!(reasoning));
    }
    if !calls.is_empty() {
        message.insert("content".to_owned(), Value::Null);
        message.insert("tool_calls".to_owned(), json!(calls));
    }
    Value::Object(message)
}

fn delta(piece: Piece) -> Value {
    match piece {
        Piece::Reasoning(text) => json!({"reasoning_content": text}),
        Piece::Text(text) => json!({"content": text}),
        Piece::Call { index, id, name, arguments } => {
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
        }
    }
}

fn streamed((id, created): (&str, i64), model: &str, script: Script, manner: &Manner) -> Response {
    let Script { mut pieces, finish_reason, usage } = script;
    let frame = |rest: Value| {
        let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": model});
        if let (Some(chunk), Value::Object(rest)) = (chunk.as_object_mut(), rest) {
            chunk.extend(rest);
        }
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let mut frames = vec![frame(choice(json!({"role": "assistant", "content": ""}), Value::Null))];
    if manner.cut {
        pieces.truncate(pieces.len() / 2);
    }
    frames.extend(pieces.into_iter().map(|piece| frame(choice(delta(piece), Value::Null))));
    if !manner.cut {
        frames.push(frame(choice(json!({}), finish_reason.into())));
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
