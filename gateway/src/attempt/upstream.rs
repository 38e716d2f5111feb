//! One call to one provider: send, wait, and read far enough to know that it is an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use wire::openai::response::{ChatResponse, Frame};
use wire::sse::Parser;

use super::connections::{Connections, Exchange, ExchangeError};
use crate::config::UpstreamConfig;
use crate::meter::Meter;
use crate::route::Provider;

/// Bytes of a provider's error that are kept.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The client for all providers.
pub struct Upstream {
    connections: Arc<Connections>,
    config: UpstreamConfig,
}

/// A provider's answer.
pub enum Answer {
    /// All of it.
    Whole {
        /// The body, which is a chat completion.
        body: Bytes,
        /// What it says.
        meter: Meter,
    },
    /// A stream that has said its first piece.
    Stream(Box<Incoming>),
}

/// A stream that is being read.
pub struct Incoming {
    /// None when nothing more is read.
    exchange: Option<Exchange>,
    parser: Parser,
    /// How long it may say nothing.
    pub idle: Duration,
    /// Frames that are read already.
    pub ready: Vec<Bytes>,
    /// What was said so far.
    pub meter: Meter,
}

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It refused the request itself: nobody else is asked.
    #[error("it refused the request with status {status}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: Bytes,
    },
    /// It refused our credential: an alarm for the operator.
    #[error("it refused our credential with status {0}; correct its api_key")]
    Credential(StatusCode),
    /// It failed or is overloaded.
    #[error("it answered with status {0}")]
    Status(StatusCode),
    /// It said so within the stream.
    #[error("it reported: {0}")]
    Reported(String),
    /// No connection.
    #[error("no connection to it")]
    Connect,
    /// The connection ended before the answer did.
    #[error("the connection ended before its answer did")]
    Cut,
    /// Nothing came in time.
    #[error("it did not answer in time")]
    Timeout,
    /// What came is no chat completion.
    #[error("its answer is not a chat completion")]
    Malformed,
    /// What came is too large.
    #[error("its answer is too large")]
    TooLarge,
}

impl Failure {
    /// One word for the attempt's record.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Credential(_) => "credential",
            Self::Status(_) => "status",
            Self::Reported(_) => "reported",
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }

    /// The provider's status, when it gave one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } | Self::Credential(status) | Self::Status(status) => Some(*status),
            Self::Reported(_) | Self::Malformed | Self::TooLarge => Some(StatusCode::OK),
            Self::Connect | Self::Cut | Self::Timeout => None,
        }
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Connect => Self::Connect,
            ExchangeError::Broken(_) => Self::Cut,
        }
    }
}

impl Upstream {
    /// A client that keeps connections and goes straight to providers.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn try_new(config: UpstreamConfig) -> Result<Self, rustls::Error> {
        Ok(Self { connections: Connections::try_new(Duration::from_millis(config.connect_timeout_ms))?, config })
    }

    async fn post(&self, provider: &Provider, body: Vec<u8>) -> Result<Exchange, Failure> {
        let wait = Duration::from_millis(self.config.first_byte_timeout_ms);
        let sending = self.connections.post(&provider.chat, &provider.headers, body.into());
        let exchange = tokio::time::timeout(wait, sending).await.map_err(|_| Failure::Timeout)??;
        let status = exchange.status;
        match status {
            StatusCode::OK => Ok(exchange),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                tracing::error!(
                    provider = provider.slug,
                    status = status.as_u16(),
                    "{} refuses our credential: correct its api_key",
                    provider.slug
                );
                Err(Failure::Credential(status))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(Failure::Status(status)),
            status if status.is_client_error() => {
                let body = self.read(exchange, ERROR_BYTES_MAX).await.unwrap_or_default();
                Err(Failure::Refused { status, body })
            }
            status => Err(Failure::Status(status)),
        }
    }

    /// Asks for a whole answer.
    ///
    /// # Errors
    /// When none comes.
    pub async fn whole(&self, provider: &Provider, body: Vec<u8>, prompt_bytes: Option<u64>) -> Result<Answer, Failure> {
        let exchange = self.post(provider, body).await?;
        let body = self.read(exchange, self.config.body_bytes_max).await?;
        let mut meter = Meter::new(prompt_bytes.unwrap_or_default());
        let answer = ChatResponse::parse(&body).map_err(|_| Failure::Malformed)?;
        meter.note(&answer.said, answer.usage, answer.service_tier);
        Ok(Answer::Whole { body, meter })
    }

    async fn read(&self, mut exchange: Exchange, most: usize) -> Result<Bytes, Failure> {
        let idle = Duration::from_millis(self.config.idle_timeout_ms);
        let mut next = async || tokio::time::timeout(idle, exchange.chunk()).await.map_err(|_| Failure::Timeout)?.map_err(|_| Failure::Cut);
        let Some(first) = next().await? else { return Ok(Bytes::new()) };
        let mut all: Option<BytesMut> = None;
        while let Some(piece) = next().await? {
            let all = all.get_or_insert_with(|| BytesMut::from(&first[..]));
            if all.len() + piece.len() > most {
                return Err(Failure::TooLarge);
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.map_or(first, BytesMut::freeze))
    }

    /// Asks for a stream and reads it up to its first piece, so that anything before that can still go to another provider.
    ///
    /// # Errors
    /// When no piece comes.
    pub async fn stream(&self, provider: &Provider, body: Vec<u8>, prompt_bytes: Option<u64>) -> Result<Answer, Failure> {
        let exchange = self.post(provider, body).await?;
        let mut incoming = Incoming {
            exchange: Some(exchange),
            parser: Parser::default(),
            idle: Duration::from_millis(self.config.idle_timeout_ms),
            ready: Vec::new(),
            meter: Meter::new(prompt_bytes.unwrap_or_default()),
        };
        loop {
            let frames = tokio::time::timeout(incoming.idle, incoming.next()).await.map_err(|_| Failure::Timeout)??;
            let Some(frames) = frames else { return Err(Failure::Cut) };
            let mut has_begun = false;
            for frame in &frames {
                match Frame::parse(frame).map_err(|_| Failure::Malformed)? {
                    Frame::Chunk(chunk) => has_begun |= chunk.said.text_bytes > 0 || chunk.said.finish_reason.is_some(),
                    Frame::Error(message) => return Err(Failure::Reported(message)),
                    Frame::Done => has_begun = true,
                }
            }
            incoming.ready.extend(frames);
            if has_begun {
                return Ok(Answer::Stream(Box::new(incoming)));
            }
        }
    }
}

impl Incoming {
    /// Reads nothing more: a connection whose answer is not over is closed.
    pub fn close(&mut self) {
        self.exchange = None;
    }

    /// Reads the end of an answer that has said everything, so that its connection is kept. Gives back whether it is there.
    pub async fn finish(&mut self) -> bool {
        let Some(exchange) = &mut self.exchange else { return true };
        let is_over = matches!(exchange.chunk().await, Ok(None));
        self.exchange = None;
        is_over
    }

    /// The frames that come next, together as they came; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks or is no stream.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        loop {
            let mut frames = Vec::new();
            while let Some(frame) = self.parser.next_frame().map_err(|_| Failure::TooLarge)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                return Ok(Some(frames));
            }
            let Some(exchange) = &mut self.exchange else { return Ok(None) };
            if let Some(bytes) = exchange.chunk().await.map_err(|_| Failure::Cut)? {
                self.parser.push(&bytes);
                continue;
            }
            self.exchange = None;
            if let Some(frame) = self.parser.finish() {
                return Ok(Some(vec![frame]));
            }
        }
    }
}
