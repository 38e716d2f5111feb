//! Notices among processes of one kind: signed messages that no stream stores. A notice may be lost or late, so it is only ever a hint.

use async_nats::Subscriber;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect::{Log, LogError};
use crate::rpc::{SeenNonces, Signer};
use crate::throttle::Throttle;

fn subject(name: &str) -> String {
    format!("arouter.v1.notice.{name}")
}

/// The notices of one name.
pub struct Notices {
    messages: Subscriber,
    signer: Signer,
    seen: SeenNonces,
    refusals: Throttle,
}

impl Log {
    /// Sends a notice to all processes that listen to its name, this one included.
    ///
    /// # Errors
    /// Fails if the notice cannot be encoded, or the connection is closed.
    pub async fn notify<N: Serialize + Sync>(&self, name: &str, notice: &N, signer: &Signer) -> Result<(), LogError> {
        let (subject, body) = (subject(name), serde_json::to_vec(notice).map_err(LogError::server)?);
        let (headers, _) = signer.sign(&subject, &body);
        self.client.publish_with_headers(subject, headers, body.into()).await.map_err(LogError::server)
    }

    /// Listens to the notices of a name.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn notices(&self, name: &str, signer: Signer) -> Result<Notices, LogError> {
        let messages = self.client.subscribe(subject(name)).await.map_err(LogError::server)?;
        Ok(Notices { messages, signer, seen: SeenNonces::default(), refusals: Throttle::new() })
    }
}

impl Notices {
    /// Returns the next notice that is signed, fresh and new; `None` once the connection is closed. Others are reported once a minute.
    pub async fn next<N: DeserializeOwned>(&mut self) -> Option<N> {
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
