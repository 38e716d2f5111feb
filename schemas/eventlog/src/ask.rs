//! Questions and answers between processes: in memory when both live in one, over NATS when apart. The same JSON either way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::ask::{Answers, Question};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Log, LogError};

/// Questions answered at the same time by one process.
const CONCURRENT_MAX: usize = 256;

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
}

impl AskError {
    /// Who was asked.
    #[must_use]
    pub const fn who(&self) -> Answers {
        match self {
            Self::Away(who) | Self::Refused(who, _) => *who,
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
    Remote(Box<Log>),
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
    pub fn remote(to: Answers, log: &Log) -> Self {
        Self { to, way: Way::Remote(Box::new(log.clone())) }
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
            Way::Remote(log) => {
                let request = log.client.request(subject(self.to, Q::NAME), bytes.into());
                let message =
                    tokio::time::timeout(within, request).await.map_err(|_| AskError::Away(who))?.map_err(|_| AskError::Away(who))?;
                let reply: Reply = serde_json::from_slice(&message.payload).map_err(|error| AskError::Refused(who, error.to_string()))?;
                reply.ok.ok_or_else(|| reply.error.unwrap_or_default())
            }
        };
        let answer = reply.map_err(|error| AskError::Refused(who, error))?;
        serde_json::from_str(answer.get()).map_err(|error| AskError::Refused(who, error.to_string()))
    }
}

impl Log {
    /// Answers questions from other processes until `stop`.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn serve(&self, to: Answers, answerer: Arc<dyn Answerer>, stop: CancellationToken) -> Result<(), LogError> {
        let all = subject(to, "*");
        let mut questions = self.client.queue_subscribe(all, to.as_str().to_owned()).await.map_err(LogError::server)?;
        let tasks = TaskTracker::new();
        let places = Arc::new(tokio::sync::Semaphore::new(CONCURRENT_MAX));
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => break,
                message = questions.next() => message.ok_or_else(|| LogError::server("closed"))?,
            };
            let Some(back) = message.reply else { continue };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let (answerer, client) = (Arc::clone(&answerer), self.client.clone());
            tasks.spawn(async move {
                let name = message.subject.as_str().rsplit('.').next().unwrap_or_default();
                let reply = match answerer.answer(name, &message.payload).await {
                    Ok(answer) => Reply { ok: Some(answer), error: None },
                    Err(error) => Reply { ok: None, error: Some(error) },
                };
                let bytes = serde_json::to_vec(&reply).unwrap_or_default();
                if let Err(error) = client.publish(back, bytes.into()).await {
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
