//! Requests and replies between processes: in memory if both sides run in one process, else over NATS. The JSON is the same.
//!
//! Over NATS, messages carry a tag made with the secret that the processes share. The tag of a request covers its subject, time, nonce and
//! body, and each nonce is accepted once. The tag of a reply covers the request's nonce and the body.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use events::Clock;
use events::caller::{Distrust, InternalSecret, is_fresh};
use events::ids::Ids;
use events::rpc::{Peer, Request};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Log, LogError};
use crate::throttle::Throttle;

/// The number of requests that one process handles concurrently.
const CONCURRENT_MAX: usize = 256;

/// The headers of a request: its time, its nonce and its tag. A reply has only the tag.
const TIME: &str = "Arouter-Time";
const NONCE: &str = "Arouter-Nonce";
const TAG: &str = "Arouter-Tag";
/// The time for which nonces are remembered. It is longer than the time in which a request is fresh, before and after its own time.
const REMEMBERED: Duration = Duration::from_secs(90);
/// The maximum number of remembered nonces; further requests in that time are refused.
const NONCES_MAX: usize = 1_000_000;

/// The means to sign requests over NATS.
#[derive(Clone)]
pub struct Signer {
    pub secret: InternalSecret,
    pub clock: Arc<dyn Clock>,
    /// The source of nonces.
    pub ids: Arc<dyn Ids>,
}

/// The future of a reply: JSON, or one sentence with the reason of a failure.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<RawValue>, String>> + Send + 'a>>;

/// A service that answers requests.
pub trait Handler: Send + Sync {
    /// Returns the reply to the request of this name.
    fn handle<'a>(&'a self, name: &'a str, request: &'a [u8]) -> HandlerFuture<'a>;
}

/// Parses a request, answers it by `answer` and encodes the reply, as every arm of a [`Handler`] does.
///
/// # Errors
/// Fails if the request is malformed, or with the error of `answer`.
pub async fn handle<Q: Request, F: Future<Output = Result<Q::Reply, String>>>(
    request: &[u8],
    answer: impl FnOnce(Q) -> F,
) -> Result<Box<RawValue>, String> {
    let request = serde_json::from_slice(request).map_err(|error| format!("malformed request: {error}"))?;
    let answer = answer(request).await?;
    serde_json::value::to_raw_value(&answer).map_err(|error| error.to_string())
}

/// The reason why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No reply in time.
    #[error("the {0} does not answer")]
    Away(Peer),
    /// An error that the peer returned.
    #[error("the {0} answered: {1}")]
    Refused(Peer, String),
    /// A reply whose tag is not valid.
    #[error("an answer in the name of the {0} is not signed with internal.secret")]
    Forged(Peer),
}

impl RpcError {
    /// Returns the peer that was called.
    #[must_use]
    pub const fn who(&self) -> Peer {
        match self {
            Self::Away(who) | Self::Refused(who, _) | Self::Forged(who) => *who,
        }
    }
}

/// A client of one peer.
#[derive(Clone)]
pub struct Client {
    to: Peer,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Local(Arc<dyn Handler>),
    Remote(Box<(Log, Signer)>),
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ok: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<String>,
}

fn subject(to: Peer, name: &str) -> String {
    format!("arouter.v1.ask.{}.{name}", to.as_str())
}

impl Client {
    /// Creates a client of a handler in this process.
    #[must_use]
    pub fn local(to: Peer, handler: Arc<dyn Handler>) -> Self {
        Self { to, way: Way::Local(handler) }
    }

    /// Creates a client of a peer behind NATS.
    #[must_use]
    pub fn remote(to: Peer, log: &Log, signer: Signer) -> Self {
        Self { to, way: Way::Remote(Box::new((log.clone(), signer))) }
    }

    /// Returns whether the peer runs in this process, which is then the only one of its kind.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.way, Way::Local(_))
    }

    /// Returns the peer that this client calls.
    #[must_use]
    pub const fn who(&self) -> Peer {
        self.to
    }

    /// Sends a request and waits for the reply.
    ///
    /// # Errors
    /// Fails if there is no reply in time, its tag is not valid, or the peer returned an error.
    pub async fn call<Q: Request>(&self, request: &Q, within: Duration) -> Result<Q::Reply, RpcError> {
        let who = self.who();
        let bytes = serde_json::to_vec(request).map_err(|error| RpcError::Refused(who, error.to_string()))?;
        let reply = match &self.way {
            Way::Local(handler) => tokio::time::timeout(within, handler.handle(Q::NAME, &bytes)).await.map_err(|_| RpcError::Away(who))?,
            Way::Remote(way) => {
                let (log, signer) = &**way;
                let subject = subject(self.to, Q::NAME);
                let (headers, nonce) = signer.sign(&subject, &bytes);
                let request = log.client.request_with_headers(subject, headers, bytes.into());
                let message =
                    tokio::time::timeout(within, request).await.map_err(|_| RpcError::Away(who))?.map_err(|_| RpcError::Away(who))?;
                let tag = header(message.headers.as_ref(), TAG);
                signer.secret.check(&["answer", &nonce], &message.payload, tag).map_err(|_| RpcError::Forged(who))?;
                let reply: Envelope =
                    serde_json::from_slice(&message.payload).map_err(|error| RpcError::Refused(who, error.to_string()))?;
                reply.ok.ok_or_else(|| reply.error.unwrap_or_default())
            }
        };
        let answer = reply.map_err(|error| RpcError::Refused(who, error))?;
        serde_json::from_str(answer.get()).map_err(|error| RpcError::Refused(who, error.to_string()))
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str).unwrap_or_default()
}

impl Signer {
    /// Returns the headers of a message, and its nonce.
    pub(crate) fn sign(&self, subject: &str, body: &[u8]) -> (HeaderMap, String) {
        let (time, nonce) = (self.clock.now_us().to_string(), self.ids.uuid(&*self.clock).to_string());
        let mut headers = HeaderMap::new();
        headers.insert(TAG, self.secret.tag(&["request", subject, &time, &nonce], body));
        headers.insert(TIME, time);
        headers.insert(NONCE, nonce.as_str());
        (headers, nonce)
    }

    /// Returns the nonce of a request or notice that is signed, fresh and new.
    pub(crate) fn check(&self, message: &async_nats::Message, seen: &SeenNonces) -> Result<String, Distrust> {
        let headers = message.headers.as_ref();
        let (time, nonce) = (header(headers, TIME), header(headers, NONCE));
        self.secret.check(&["request", message.subject.as_str(), time, nonce], &message.payload, header(headers, TAG))?;
        let asked_at_us = time.parse().map_err(|_| Distrust::Forged)?;
        if !is_fresh(asked_at_us, self.clock.now_us()) || !seen.is_new(nonce) {
            return Err(Distrust::Time);
        }
        Ok(nonce.to_owned())
    }
}

/// Nonces of requests that were received.
#[derive(Default)]
pub(crate) struct SeenNonces(Mutex<HashMap<String, Instant>>);

impl SeenNonces {
    fn is_new(&self, nonce: &str) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= seen.capacity().min(NONCES_MAX) {
            seen.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        seen.len() < NONCES_MAX && seen.insert(nonce.to_owned(), Instant::now()).is_none()
    }
}

impl Log {
    /// Answers signed requests from other processes until `stop`.
    pub async fn serve(&self, to: Peer, handler: Arc<dyn Handler>, signer: Signer, stop: CancellationToken) -> Result<(), LogError> {
        let all = subject(to, "*");
        let mut requests = self.client.queue_subscribe(all, to.as_str().to_owned()).await.map_err(LogError::server)?;
        let (tasks, seen, refusals) = (TaskTracker::new(), SeenNonces::default(), Throttle::new());
        let places = Arc::new(tokio::sync::Semaphore::new(CONCURRENT_MAX));
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => break,
                message = requests.next() => message.ok_or_else(|| LogError::server("closed"))?,
            };
            let Some(back) = message.reply.clone() else { continue };
            let nonce = match signer.check(&message, &seen) {
                Ok(nonce) => nonce,
                Err(distrust) => {
                    if let (_, Some(unsaid)) = refusals.failed() {
                        let name = message.subject.as_str();
                        tracing::error!(name, unsaid, "a request on {name} is refused, since {distrust}");
                    }
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let (handler, client, secret) = (Arc::clone(&handler), self.client.clone(), signer.secret.clone());
            tasks.spawn(async move {
                let name = message.subject.as_str().rsplit('.').next().unwrap_or_default();
                let reply = match handler.handle(name, &message.payload).await {
                    Ok(answer) => Envelope { ok: Some(answer), error: None },
                    Err(error) => Envelope { ok: None, error: Some(error) },
                };
                let bytes = serde_json::to_vec(&reply).unwrap_or_default();
                let mut headers = HeaderMap::new();
                headers.insert(TAG, secret.tag(&["answer", &nonce], &bytes));
                if let Err(error) = client.publish_with_headers(back, headers, bytes.into()).await {
                    tracing::warn!(%error, "an answer could not be sent: {error}");
                }
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}
