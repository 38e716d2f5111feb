//! A provider whose responses do not end by themselves. It runs on a thread of its own, so that its work delays no other task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use http::header;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The models. `drip` sends a few words every 100 ms for ever, `gush` 1 kB a thousand times a second, `flood` as much as is read. `think`
/// responds after 3 s.
pub const MODELS: [&str; 4] = ["drip", "gush", "flood", "think"];
const DRIP: Duration = Duration::from_millis(100);
const GUSH: Duration = Duration::from_millis(10);
/// The chunks of a gush that are sent at a time, and the words of each chunk.
const GUSHING: (usize, usize) = (10, 64);
const THINK: Duration = Duration::from_secs(3);

/// A running provider.
pub struct Endless {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    _ends: DropGuard,
}

/// A guard that counts a response as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endless {
    /// Starts a provider.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, open, end) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default(), CancellationToken::new());
        let router =
            Router::new().route("/v1/chat/completions", post(chat)).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&open));
        let ended = end.clone();
        std::thread::spawn(move || {
            // The priority is low, so that a flood costs only the work of the gateway. Linux has a priority for each thread.
            let _nicer = rustix::process::nice(10);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = ended.cancelled() => {}
                    served = axum::serve(listener, router) => served.unwrap(),
                }
            });
        });
        Self { address, open, _ends: end.drop_guard() }
    }

    /// Returns the number of responses that are still open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the configuration that makes it the provider `endless`. Prices are 1 and 2 USD per million tokens.
    #[must_use]
    pub fn config(&self) -> String {
        let mut text =
            format!("[[providers]]\nslug = \"endless\"\nbase_url = \"http://{}/v1\"\napi_key = \"upstream-secret\"\n", self.address);
        for model in MODELS {
            text.push_str(&model_config(model));
        }
        text
    }
}

fn model_config(model: &str) -> String {
    format!(
        "[[models]]\nid = \"endless/{model}\"\nprovider = \"endless\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\n\
         context_length = 20000000\nmax_output_tokens = 1000000\n"
    )
}

/// Returns a request for a long streamed response of one of its models.
#[must_use]
pub fn stream_of(model: &str) -> Value {
    json!({"model": format!("endless/{model}"), "stream": true, "max_tokens": 1_000_000, "messages": [{"role": "user", "content": "x"}]})
}

async fn chat(State(count): State<Arc<AtomicUsize>>, body: Bytes) -> Response {
    let open = Open::new(&count);
    let body: Value = serde_json::from_slice(&body).expect("the gateway sends JSON");
    if body["model"] == "think" {
        drop(body);
        tokio::time::sleep(THINK).await;
        let message = json!({"role": "assistant", "content": "yes"});
        return axum::Json(json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-name",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}))
        .into_response();
    }
    let (gap, (pieces, words)) = match body["model"].as_str() {
        Some("drip") => (DRIP, (1, 1)),
        Some("gush") => (GUSH, GUSHING),
        _ => (Duration::ZERO, (1, 1)),
    };
    let piece = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-name",
        "choices": [{"index": 0, "delta": {"content": "again and again ".repeat(words)}, "finish_reason": null}]});
    let piece = Bytes::from(format!("data: {piece}\n\n").repeat(pieces));
    let pieces = stream::repeat(piece).then(move |piece| {
        // The response counts as open for as long as its body exists.
        let _open = &open;
        async move {
            if !gap.is_zero() {
                tokio::time::sleep(gap).await;
            }
            Ok::<_, std::io::Error>(piece)
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}
