//! One call to one provider: send, wait, and read far enough to know that it is an answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use wire::answer::{self, AnswerError, Frame};
use wire::call::Format;
use wire::reported::Reported;
use wire::sse::Parser;

use super::blame;
use super::connections::{Connections, SendError, UpstreamResponse};
use crate::coding::{CodingError, Decoder};
use crate::config::UpstreamConfig;
use crate::meter::Meter;
use crate::route::Provider;

/// Bytes of a provider's error that are kept.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a compressed stream may become.
const STREAM_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The client for all providers.
pub struct Upstream {
    connections: Arc<Connections>,
    config: UpstreamConfig,
}

/// One call to a provider.
pub struct UpstreamCall<'a> {
    /// Whom.
    pub provider: &'a Provider,
    /// The body.
    pub body: Vec<u8>,
    /// Tokens of the prompt, estimated.
    pub prompt_tokens: u64,
    /// Set once bytes of it may be on their way.
    pub sent: &'a AtomicBool,
}

/// A provider's answer.
pub enum Answer {
    /// All of it.
    Buffered {
        /// The body, which is a chat completion.
        body: Bytes,
        /// What it says.
        meter: Meter,
    },
    /// A stream that has said its first piece.
    Stream(Box<UpstreamStream>),
}

/// A stream that is being read.
pub struct UpstreamStream {
    /// None when nothing more is read.
    response: Option<UpstreamResponse>,
    decoder: Decoder,
    parser: Parser,
    /// The format that the provider speaks.
    pub format: Format,
    /// How long it may say nothing.
    pub idle: Duration,
    /// When bytes came last, comments included.
    pub heard_at: Instant,
    /// Frames that are read already.
    pub ready: Vec<Bytes>,
    /// What was said so far.
    pub meter: Meter,
}

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It refused the request itself: nobody else is asked.
    #[error("it refused the request with status {status}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it said.
        error: Box<Reported>,
    },
    /// It refused us, not the request: our credential, our account there, or how it is configured here. An alarm for the operator.
    #[error("it refused the gateway{}: correct its credential, quota, base_url or upstream_model", with_status(*status))]
    Operator {
        /// Its status.
        status: Option<StatusCode>,
        /// What it said.
        error: Box<Reported>,
    },
    /// It failed or is overloaded.
    #[error("it failed or is overloaded{}", with_status(*status))]
    Overloaded {
        /// Its status; none for an error within an answer.
        status: Option<StatusCode>,
        /// What it said.
        error: Box<Reported>,
        /// When to come again.
        retry_after: Option<HeaderValue>,
    },
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
    /// What came has a content coding that nobody asked for and that is not known.
    #[error("its answer cannot be decoded: {0}")]
    Coding(CodingError),
    /// What came is too large.
    #[error("its answer is too large")]
    TooLarge,
}

fn with_status(status: Option<StatusCode>) -> String {
    status.map(|status| format!(" with status {}", status.as_u16())).unwrap_or_default()
}

impl AttemptError {
    /// One word for the attempt's record.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Operator { .. } => "operator",
            Self::Overloaded { status: Some(_), .. } => "status",
            Self::Overloaded { status: None, .. } => "reported",
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Coding(_) => "coding",
            Self::TooLarge => "too_large",
        }
    }

    /// The provider's status, when it gave one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } | Self::Overloaded { status: Some(status), .. } => Some(*status),
            Self::Operator { status, .. } => *status,
            Self::Overloaded { status: None, .. } | Self::Malformed | Self::Coding(_) | Self::TooLarge => Some(StatusCode::OK),
            Self::Connect | Self::Cut | Self::Timeout => None,
        }
    }
}

impl From<SendError> for AttemptError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect => Self::Connect,
            SendError::Broken(_) => Self::Cut,
        }
    }
}

impl From<CodingError> for AttemptError {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::TooLarge(_) => Self::TooLarge,
            error @ (CodingError::Unknown(_) | CodingError::Malformed(_)) => Self::Coding(error),
        }
    }
}

impl From<AnswerError> for AttemptError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Malformed => Self::Malformed,
            AnswerError::Reported(error) => blame::of_report(*error),
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

    /// How long a stream may be silent towards its client.
    #[must_use]
    pub const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.config.heartbeat_ms)
    }

    /// Closes idle connections to providers that are of no use any more.
    pub fn reap(&self) {
        self.connections.reap();
    }

    const fn idle(&self) -> Duration {
        Duration::from_millis(self.config.idle_timeout_ms)
    }

    async fn post(&self, call: UpstreamCall<'_>) -> Result<UpstreamResponse, AttemptError> {
        let wait = Duration::from_millis(self.config.first_byte_timeout_ms);
        let sending = self.connections.post(&call.provider.completions, call.provider.request_headers(), call.body.into(), call.sent);
        let response = tokio::time::timeout(wait, sending).await.map_err(|_| AttemptError::Timeout)??;
        let status = response.status;
        if status == StatusCode::OK {
            return Ok(response);
        }
        let retry_after = blame::retry_after(response.headers.get(header::RETRY_AFTER));
        let body = self.read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(blame::of_status(status, Reported::read(&body), retry_after))
    }

    /// Asks for a whole answer.
    ///
    /// # Errors
    /// When none comes.
    pub async fn whole(&self, call: UpstreamCall<'_>) -> Result<Answer, AttemptError> {
        let (format, mut meter) = (call.provider.format, Meter::new(call.prompt_tokens));
        let response = self.post(call).await?;
        let body = self.read(response, self.config.body_bytes_max).await?;
        let mut note = |body: &Bytes| answer::read(format, body).map(|answer| meter.note(&answer.delta, answer.usage, answer.service_tier));
        let body = match note(&body) {
            Ok(()) => body,
            Err(AnswerError::Malformed) => {
                // A byte order mark, or text in a wrong encoding.
                let mended = answer::repaired(format, &body).into_iter().next().ok_or(AttemptError::Malformed)?;
                note(&mended)?;
                mended
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Answer::Buffered { body, meter })
    }

    async fn read(&self, mut response: UpstreamResponse, most: usize) -> Result<Bytes, AttemptError> {
        let mut decoder = Decoder::new(&response.headers, most)?;
        let mut next = async || {
            tokio::time::timeout(self.idle(), response.chunk()).await.map_err(|_| AttemptError::Timeout)?.map_err(|_| AttemptError::Cut)
        };
        let Some(first) = next().await? else { return Ok(Bytes::new()) };
        let first = decoder.push(first, most)?;
        let mut all: Option<BytesMut> = None;
        while let Some(piece) = next().await? {
            let piece = decoder.push(piece, most)?;
            let all = all.get_or_insert_with(|| BytesMut::from(&first[..]));
            if all.len() + piece.len() > most {
                return Err(AttemptError::TooLarge);
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.map_or(first, BytesMut::freeze))
    }

    /// Asks for a stream and reads it up to its first piece, so that anything before that can still go to another provider.
    ///
    /// # Errors
    /// When no piece comes.
    pub async fn stream(&self, call: UpstreamCall<'_>) -> Result<Answer, AttemptError> {
        let (format, meter) = (call.provider.format, Meter::new(call.prompt_tokens));
        let response = self.post(call).await?;
        let is_json = response.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            // No stream: an error, in most cases.
            let body = self.read(response, self.config.body_bytes_max).await?;
            return Err(answer::read(format, &body).err().map_or(AttemptError::Malformed, AttemptError::from));
        }
        let mut upstream = UpstreamStream {
            decoder: Decoder::new(&response.headers, STREAM_BYTES_MAX)?,
            response: Some(response),
            parser: Parser::default(),
            format,
            idle: self.idle(),
            heard_at: Instant::now(),
            ready: Vec::new(),
            meter,
        };
        loop {
            let Some(frames) = upstream.next_within_idle().await? else { return Err(AttemptError::Cut) };
            let mut has_begun = false;
            for frame in frames {
                for frame in readable(format, frame) {
                    match answer::read_frame(format, &frame) {
                        Ok(Frame::Chunk(chunk)) => has_begun |= chunk.delta.text_bytes > 0 || chunk.delta.finish_reason.is_some(),
                        Ok(Frame::Done) => has_begun = true,
                        // What is wrong behind the first piece is for the relay to judge.
                        Err(_) if has_begun => {}
                        Err(error) => return Err(error.into()),
                    }
                    upstream.ready.push(frame);
                }
            }
            if has_begun {
                return Ok(Answer::Stream(Box::new(upstream)));
            }
        }
    }
}

/// The frames that a frame may have meant; itself when it reads as it is.
#[must_use]
pub fn readable(format: Format, frame: Bytes) -> Vec<Bytes> {
    if answer::read_frame(format, &frame).is_err_and(|error| error == AnswerError::Malformed) {
        let mended = answer::repaired(format, &frame);
        if !mended.is_empty() {
            return mended;
        }
    }
    vec![frame]
}

impl UpstreamStream {
    /// A stream of which nothing is read any more.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            response: self.response.take(),
            decoder: std::mem::replace(&mut self.decoder, Decoder::identity()),
            parser: std::mem::take(&mut self.parser),
            format: self.format,
            idle: self.idle,
            heard_at: self.heard_at,
            ready: std::mem::take(&mut self.ready),
            meter: std::mem::take(&mut self.meter),
        }
    }

    /// Whether the provider may still send something.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.response.is_some()
    }

    /// Reads nothing more: a connection whose answer is not over is closed.
    pub fn close(&mut self) {
        self.response = None;
    }

    /// Reads the end of an answer that has said everything, so that its connection is kept. Gives back whether it is there.
    pub async fn finish(&mut self) -> bool {
        let Some(response) = &mut self.response else { return true };
        let is_over = matches!(response.chunk().await, Ok(None));
        self.response = None;
        is_over
    }

    /// The frames that come next, together as they came; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks or is no stream.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, AttemptError> {
        loop {
            let mut frames = Vec::new();
            while let Some(frame) = self.parser.next_frame().map_err(|_| AttemptError::TooLarge)? {
                frames.push(frame);
            }
            if !frames.is_empty() {
                return Ok(Some(frames));
            }
            let Some(response) = &mut self.response else { return Ok(None) };
            if let Some(bytes) = response.chunk().await.map_err(|_| AttemptError::Cut)? {
                self.heard_at = Instant::now();
                self.parser.push(&self.decoder.push(bytes, STREAM_BYTES_MAX)?);
                continue;
            }
            self.response = None;
            if let Some(frame) = self.parser.finish() {
                return Ok(Some(vec![frame]));
            }
        }
    }

    /// The same; fails when no byte comes for as long as it may say nothing.
    async fn next_within_idle(&mut self) -> Result<Option<Vec<Bytes>>, AttemptError> {
        loop {
            let until = self.heard_at + self.idle;
            match tokio::time::timeout_at(until.into(), self.next()).await {
                Ok(frames) => return frames,
                // Comments came meanwhile.
                Err(_) if self.heard_at + self.idle > until => {}
                Err(_) => return Err(AttemptError::Timeout),
            }
        }
    }
}
