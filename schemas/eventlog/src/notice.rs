//! Notices among processes of one kind: signed messages that no stream stores. A notice may be lost or late, so it is only ever a hint.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connect::{Log, LogError};
use crate::rpc::{SeenNonces, Signer};
use crate::throttle::Throttle;

/// The pause before another subscription is tried.
const PAUSE: Duration = Duration::from_secs(1);

fn subject(name: &str) -> String {
    format!("arouter.v1.notice.{name}")
}

/// The notices of one name.
struct Notices<'a> {
    messages: Subscriber,
    signer: &'a Signer,
    seen: SeenNonces,
    refusals: Throttle,
}

impl Log {
    /// Sends each of `told` to all processes that exchange notices of this name, and passes each of theirs to `apply`, until `stop`. The
    /// sender's own notices come back too. A notice that cannot be sent is dropped.
    pub async fn exchange<N: Serialize + DeserializeOwned + Sync>(
        &self,
        name: &'static str,
        signer: &Signer,
        told: &mut mpsc::Receiver<N>,
        apply: impl Fn(N),
        stop: &CancellationToken,
    ) {
        loop {
            let mut notices = match self.notices(name, signer).await {
                Ok(notices) => notices,
                Err(error) => {
                    tracing::warn!(name, %error, "notices of others on {name} are not read: {error}");
                    match stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await {
                        Some(()) => continue,
                        None => return,
                    }
                }
            };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(notice) = told.recv() => if let Err(error) = self.notify(name, &notice, signer).await {
                        tracing::debug!(name, %error, "a notice on {name} is not sent: {error}");
                    },
                    notice = notices.next() => match notice {
                        Some(notice) => apply(notice),
                        None => break,
                    },
                }
            }
        }
    }

    async fn notify<N: Serialize + Sync>(&self, name: &str, notice: &N, signer: &Signer) -> Result<(), LogError> {
        let (subject, body) = (subject(name), serde_json::to_vec(notice).map_err(LogError::server)?);
        let (headers, _) = signer.sign(&subject, &body);
        self.client.publish_with_headers(subject, headers, body.into()).await.map_err(LogError::server)
    }

    async fn notices<'a>(&self, name: &str, signer: &'a Signer) -> Result<Notices<'a>, LogError> {
        let messages = self.client.subscribe(subject(name)).await.map_err(LogError::server)?;
        Ok(Notices { messages, signer, seen: SeenNonces::default(), refusals: Throttle::new() })
    }
}

impl Notices<'_> {
    /// Returns the next notice that is signed, fresh and new; `None` once the connection is closed. Others are reported once a minute.
    async fn next<N: DeserializeOwned>(&mut self) -> Option<N> {
        loop {
            let message = self.messages.next().await?;
            let problem = match self.signer.check(&message, &self.seen) {
                Err(distrust) => distrust.to_string(),
                Ok(_) => match serde_json::from_slice(&message.payload) {
                    Ok(notice) => return Some(notice),
                    Err(error) => error.to_string(),
                },
            };
            if let (_, Some(unsaid)) = self.refusals.failed() {
                let name = message.subject.as_str();
                tracing::error!(name, unsaid, "a notice on {name} is refused, since {problem}");
            }
        }
    }
}
