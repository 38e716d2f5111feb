//! Questions and answers between processes: in memory when both live in one, over NATS when apart. The same JSON either way.
//!
//! Over NATS both carry a tag of the secret that the processes share: a question's is over subject, time, number and body, and each number is
//! taken once; an answer's is over the question's number and the body.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use events::Clock;
use events::ask::{Answers, Question};
use events::caller::{Distrust, InternalSecret, is_fresh};
use events::ids::Ids;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Log, LogError};
use crate::throttle::Throttle;

/// Questions answered at the same time by one process.
const CONCURRENT_MAX: usize = 256;

/// Headers of a question: when it was asked, its number, its tag; an answer has the tag alone.
const TIME: &str = "Arouter-Time";
const NUMBER: &str = "Arouter-Number";
const TAG: &str = "Arouter-Tag";
/// How long numbers are remembered: longer than a question is fresh, both ways.
const REMEMBERED: Duration = Duration::from_secs(90);
/// Numbers remembered at the most; more questions in that time are refused.
const NUMBERS_MAX: usize = 1_000_000;

/// By what questions over NATS are signed.
#[derive(Clone)]
pub struct Signer {
    /// The secret that the processes share.
    pub secret: InternalSecret,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where numbers come from.
    pub ids: Arc<dyn Ids>,
}

/// The future of an answer: JSON, or one sentence that says why there is none.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Box<RawValue>, String>> + Send + 'a>>;

/// Whoever answers questions.
pub trait Answerer: Send + Sync {
    /// The answer to the question of that name.
    fn answer<'a>(&'a self, name: &'a str, question: &'a [u8]) -> Answering<'a>;
}

/// Reads a question, answers it by `answer` and writes the answer: what every arm of an [`Answerer`] does.
///
/// # Errors
/// When the question is malformed, or `answer` says so.
pub async fn answer<Q: Question, F: Future<Output = Result<Q::Answer, String>>>(
    question: &[u8],
    answer: impl FnOnce(Q) -> F,
) -> Result<Box<RawValue>, String> {
    let question = serde_json::from_slice(question).map_err(|error| format!("malformed question: {error}"))?;
    let answer = answer(question).await?;
    serde_json::value::to_raw_value(&answer).map_err(|error| error.to_string())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answered in time.
    #[error("the {0} does not answer")]
    Away(Answers),
    /// It answered that it cannot.
    #[error("the {0} answered: {1}")]
    Refused(Answers, String),
    /// Somebody else answered.
    #[error("an answer in the name of the {0} is not signed with internal.secret")]
    Forged(Answers),
}

impl AskError {
    /// Who was asked.
    #[must_use]
    pub const fn who(&self) -> Answers {
        match self {
            Self::Away(who) | Self::Refused(who, _) | Self::Forged(who) => *who,
        }
    }
}

/// Somebody to ask.
#[derive(Clone)]
pub struct Asker {
    to: Answers,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Local(Arc<dyn Answerer>),
    Remote(Box<(Log, Signer)>),
}

#[derive(Serialize, Deserialize)]
struct Reply {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ok: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<String>,
}

fn subject(to: Answers, name: &str) -> String {
    format!("arouter.v1.ask.{}.{name}", to.as_str())
}

impl Asker {
    /// Somebody in this process.
    #[must_use]
    pub fn local(to: Answers, answerer: Arc<dyn Answerer>) -> Self {
        Self { to, way: Way::Local(answerer) }
    }

    /// Somebody behind NATS.
    #[must_use]
    pub fn remote(to: Answers, log: &Log, signer: Signer) -> Self {
        Self { to, way: Way::Remote(Box::new((log.clone(), signer))) }
    }

    /// Who it is.
    #[must_use]
    pub const fn who(&self) -> Answers {
        self.to
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When there is none in time, or it says no.
    pub async fn ask<Q: Question>(&self, question: &Q, within: Duration) -> Result<Q::Answer, AskError> {
        let who = self.who();
        let bytes = serde_json::to_vec(question).map_err(|error| AskError::Refused(who, error.to_string()))?;
        let reply = match &self.way {
            Way::Local(answerer) => {
                tokio::time::timeout(within, answerer.answer(Q::NAME, &bytes)).await.map_err(|_| AskError::Away(who))?
            }
            Way::Remote(way) => {
                let (log, signer) = &**way;
                let subject = subject(self.to, Q::NAME);
                let (headers, number) = signer.sign(&subject, &bytes);
                let request = log.client.request_with_headers(subject, headers, bytes.into());
                let message =
                    tokio::time::timeout(within, request).await.map_err(|_| AskError::Away(who))?.map_err(|_| AskError::Away(who))?;
                let tag = header(message.headers.as_ref(), TAG);
                signer.secret.check(&["answer", &number], &message.payload, tag).map_err(|_| AskError::Forged(who))?;
                let reply: Reply = serde_json::from_slice(&message.payload).map_err(|error| AskError::Refused(who, error.to_string()))?;
                reply.ok.ok_or_else(|| reply.error.unwrap_or_default())
            }
        };
        let answer = reply.map_err(|error| AskError::Refused(who, error))?;
        serde_json::from_str(answer.get()).map_err(|error| AskError::Refused(who, error.to_string()))
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str).unwrap_or_default()
}

impl Signer {
    fn sign(&self, subject: &str, body: &[u8]) -> (HeaderMap, String) {
        let (time, number) = (self.clock.now_us().to_string(), self.ids.uuid(&*self.clock).to_string());
        let mut headers = HeaderMap::new();
        headers.insert(TAG, self.secret.tag(&["question", subject, &time, &number], body));
        headers.insert(TIME, time);
        headers.insert(NUMBER, number.as_str());
        (headers, number)
    }

    /// The number of a question that is signed, fresh and new.
    fn check(&self, message: &async_nats::Message, seen: &Seen) -> Result<String, Distrust> {
        let headers = message.headers.as_ref();
        let (time, number) = (header(headers, TIME), header(headers, NUMBER));
        self.secret.check(&["question", message.subject.as_str(), time, number], &message.payload, header(headers, TAG))?;
        let asked_at_us = time.parse().map_err(|_| Distrust::Forged)?;
        if !is_fresh(asked_at_us, self.clock.now_us()) || !seen.is_new(number) {
            return Err(Distrust::Time);
        }
        Ok(number.to_owned())
    }
}

/// Numbers of questions that were asked.
#[derive(Default)]
struct Seen(Mutex<HashMap<String, Instant>>);

impl Seen {
    fn is_new(&self, number: &str) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= seen.capacity().min(NUMBERS_MAX) {
            seen.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        seen.len() < NUMBERS_MAX && seen.insert(number.to_owned(), Instant::now()).is_none()
    }
}

impl Log {
    /// Answers signed questions from other processes until `stop`.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn serve(&self, to: Answers, answerer: Arc<dyn Answerer>, signer: Signer, stop: CancellationToken) -> Result<(), LogError> {
        let all = subject(to, "*");
        let mut questions = self.client.queue_subscribe(all, to.as_str().to_owned()).await.map_err(LogError::server)?;
        let (tasks, seen, refusals) = (TaskTracker::new(), Seen::default(), Throttle::new());
        let places = Arc::new(tokio::sync::Semaphore::new(CONCURRENT_MAX));
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => break,
                message = questions.next() => message.ok_or_else(|| LogError::server("closed"))?,
            };
            let Some(back) = message.reply.clone() else { continue };
            let number = match signer.check(&message, &seen) {
                Ok(number) => number,
                Err(distrust) => {
                    if let (_, Some(unsaid)) = refusals.failed() {
                        let name = message.subject.as_str();
                        tracing::error!(name, unsaid, "a question on {name} is refused, since {distrust}");
                    }
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let (answerer, client, secret) = (Arc::clone(&answerer), self.client.clone(), signer.secret.clone());
            tasks.spawn(async move {
                let name = message.subject.as_str().rsplit('.').next().unwrap_or_default();
                let reply = match answerer.answer(name, &message.payload).await {
                    Ok(answer) => Reply { ok: Some(answer), error: None },
                    Err(error) => Reply { ok: None, error: Some(error) },
                };
                let bytes = serde_json::to_vec(&reply).unwrap_or_default();
                let mut headers = HeaderMap::new();
                headers.insert(TAG, secret.tag(&["answer", &number], &bytes));
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
