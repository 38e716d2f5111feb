//! Requests and answers between processes: in memory when both live in one, over NATS when apart. The same JSON either way.
//!
//! Over NATS both carry a tag of the secret that the processes share: a request's is over subject, time, nonce and body, and each nonce is
//! taken once; an answer's is over the request's nonce and the body.

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

/// Requests answered at the same time by one process.
const CONCURRENT_MAX: usize = 256;

/// Headers of a request: when it was asked, its nonce, its tag; an answer has the tag alone.
const TIME: &str = "Arouter-Time";
const NONCE: &str = "Arouter-Nonce";
const TAG: &str = "Arouter-Tag";
/// How long nonces are remembered: longer than a request is fresh, both ways.
const REMEMBERED: Duration = Duration::from_secs(90);
/// Nonces remembered at the most; more requests in that time are refused.
const NONCES_MAX: usize = 1_000_000;

/// By what requests over NATS are signed.
#[derive(Clone)]
pub struct Signer {
    /// The secret that the processes share.
    pub secret: InternalSecret,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where nonces come from.
    pub ids: Arc<dyn Ids>,
}

/// The future of an answer: JSON, or one sentence that says why there is none.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<RawValue>, String>> + Send + 'a>>;

/// Whoever answers requests.
pub trait Handler: Send + Sync {
    /// The answer to the request of that name.
    fn handle<'a>(&'a self, name: &'a str, request: &'a [u8]) -> HandlerFuture<'a>;
}

/// Reads a request, answers it by `answer` and writes the answer: what every arm of an [`Handler`] does.
///
/// # Errors
/// When the request is malformed, or `answer` says so.
pub async fn handle<Q: Request, F: Future<Output = Result<Q::Reply, String>>>(
    request: &[u8],
    answer: impl FnOnce(Q) -> F,
) -> Result<Box<RawValue>, String> {
    let request = serde_json::from_slice(request).map_err(|error| format!("malformed request: {error}"))?;
    let answer = answer(request).await?;
    serde_json::value::to_raw_value(&answer).map_err(|error| error.to_string())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// Nobody answered in time.
    #[error("the {0} does not answer")]
    Away(Peer),
    /// It answered that it cannot.
    #[error("the {0} answered: {1}")]
    Refused(Peer, String),
    /// Somebody else answered.
    #[error("an answer in the name of the {0} is not signed with internal.secret")]
    Forged(Peer),
}

impl RpcError {
    /// Who was asked.
    #[must_use]
    pub const fn who(&self) -> Peer {
        match self {
            Self::Away(who) | Self::Refused(who, _) | Self::Forged(who) => *who,
        }
    }
}

/// Somebody to ask.
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
    /// Somebody in this process.
    #[must_use]
    pub fn local(to: Peer, handler: Arc<dyn Handler>) -> Self {
        Self { to, way: Way::Local(handler) }
    }

    /// Somebody behind NATS.
    #[must_use]
    pub fn remote(to: Peer, log: &Log, signer: Signer) -> Self {
        Self { to, way: Way::Remote(Box::new((log.clone(), signer))) }
    }

    /// Who it is.
    #[must_use]
    pub const fn who(&self) -> Peer {
        self.to
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When there is none in time, or it says no.
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
    fn sign(&self, subject: &str, body: &[u8]) -> (HeaderMap, String) {
        let (time, nonce) = (self.clock.now_us().to_string(), self.ids.uuid(&*self.clock).to_string());
        let mut headers = HeaderMap::new();
        headers.insert(TAG, self.secret.tag(&["request", subject, &time, &nonce], body));
        headers.insert(TIME, time);
        headers.insert(NONCE, nonce.as_str());
        (headers, nonce)
    }

    /// The nonce of a request that is signed, fresh and new.
    fn check(&self, message: &async_nats::Message, seen: &SeenNonces) -> Result<String, Distrust> {
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

/// Nonces of requests that were asked.
#[derive(Default)]
struct SeenNonces(Mutex<HashMap<String, Instant>>);

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
    ///
    /// # Errors
    /// When the connection is closed.
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
