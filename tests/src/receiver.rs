//! A receiver of webhooks that keeps what it gets, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use projector::webhook::signature;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::wait::until;

/// A delivery as it arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Delivery {
    /// Returns a header's value; empty if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns whether one of the signatures was made with this secret.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let timestamp: i64 = self.header("webhook-timestamp").parse().unwrap();
        let expected = signature::sign([secret], self.header("webhook-id"), timestamp, &self.body).unwrap();
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

/// A receiver on a free port of this machine.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// Starts a receiver that answers with this status; 0 means never.
    pub async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, status: Arc::new(AtomicU16::new(status)), got: Arc::default() };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::task::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// Returns the receiver's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Sets the status of later answers.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Returns the deliveries so far.
    #[must_use]
    pub fn got(&self) -> Vec<Delivery> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until at least `count` deliveries have come.
    pub async fn at_least(&self, count: usize) -> Vec<Delivery> {
        until(&format!("{count} deliveries"), || async { Some(self.got()).filter(|got| got.len() >= count) }).await
    }
}

async fn take(State(receiver): State<Receiver>, method: Method, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.got.lock().unwrap().push(Delivery { method, headers, body });
    match receiver.status.load(Ordering::SeqCst) {
        0 => std::future::pending().await,
        status => StatusCode::from_u16(status).unwrap(),
    }
}
