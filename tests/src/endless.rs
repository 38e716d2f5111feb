//! A provider whose answers do not end by themselves. It runs on a thread of its own, so that its work delays nobody else's.

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

/// `drip` says a few words every 100 ms for ever, `gush` 1 kB a thousand times a second, `flood` as much as is read, `think` answers after 3 s.
pub const MODELS: [&str; 4] = ["drip", "gush", "flood", "think"];
const DRIP: Duration = Duration::from_millis(100);
const GUSH: Duration = Duration::from_millis(10);
/// Pieces of a gush at a time, and words of each.
const GUSHING: (usize, usize) = (10, 64);
const THINK: Duration = Duration::from_secs(3);

/// A running provider.
pub struct Endless {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    _ends: DropGuard,
}

/// One answer that goes on.
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
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, open, end) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default(), CancellationToken::new());
        let router =
            Router::new().route("/v1/chat/completions", post(chat)).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&open));
        let ended = end.clone();
        std::thread::spawn(move || {
            // At low priority, so that a flood costs what it costs the gateway. Linux keeps the priority of each thread.
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

    /// The number of its answers that go on now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The configuration that makes it the provider `endless`; prices are 1 and 2 USD per million tokens.
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

/// A request for an answer of one of its models that goes on for long.
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
        // The answer counts as open for as long as its body exists.
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
