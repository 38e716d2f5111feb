//! One call to one provider: sends the request, and reads until it is certain that the response is an answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use routing::retry::RetryBudget;
use wire::answer::{self, AnswerError, Frame};
use wire::call::Format;
use wire::reported::Reported;
use wire::sse::Parser;

use super::blame;
use super::connections::{Connections, UpstreamResponse};
use super::egress::{Connector, EgressError};
use super::error::AttemptError;
use super::media::MediaClient;
use crate::config::{ProviderConfig, UpstreamConfig};
use crate::content_encoding::Decoder;
use crate::meter::Meter;
use crate::route::address::Address;
use crate::route::own_keys::OwnKey;
use crate::route::{Egress, Provider};

/// The maximum number of bytes kept of a provider's error.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// The maximum size of a stream after decompression, in bytes.
const STREAM_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The client for all providers.
pub struct Upstream {
    connections: Arc<Connections>,
    /// The connections to addresses that accounts have chosen.
    public_connections: Arc<Connections>,
    /// By place in the configuration: the connections to providers with a proxy or certificates of their own.
    own_connections: Vec<Option<Arc<Connections>>>,
    media: MediaClient,
    config: UpstreamConfig,
}

/// A client that cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("the client that fetches files: {0}")]
    Media(#[from] reqwest::Error),
}

/// One call to a provider.
pub struct UpstreamCall<'a> {
    pub headers: HeaderMap,
    /// The format of the request and its answer.
    pub format: Format,
    pub address: &'a Address,
    pub egress: Egress,
    pub body: Bytes,
    /// The estimated number of prompt tokens.
    pub prompt_tokens: u64,
    /// A flag that is set once bytes of the request may be on their way.
    pub sent: &'a AtomicBool,
}

/// A provider's answer.
pub enum Answer {
    /// A whole answer.
    Buffered {
        /// The body, which is an answer of the format.
        body: Bytes,
        format: Format,
        /// The meter, which has noted the body.
        meter: Meter,
    },
    /// A stream of which at least the first piece has been read.
    Stream(Box<UpstreamStream>),
}

/// A stream that is being read.
pub struct UpstreamStream {
    /// The response; `None` once nothing more is read.
    response: Option<UpstreamResponse>,
    decoder: Decoder,
    parser: Parser,
    /// The provider's format.
    pub format: Format,
    /// The maximum time without a byte from the provider.
    pub idle: Duration,
    /// The time at which the last bytes arrived, comments included.
    pub heard_at: Instant,
    /// Frames that have already been read.
    pub ready: Vec<Bytes>,
    /// The meter of the frames noted so far.
    pub meter: Meter,
}

impl Upstream {
    /// Creates a client that keeps connections.
    ///
    /// # Errors
    /// Fails if TLS, or the proxy or the certificates of a provider, cannot be set up.
    pub fn try_new(config: UpstreamConfig, providers: &[ProviderConfig]) -> Result<Self, UpstreamError> {
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
        let direct = |is_public_only| {
            let connector = Connector::direct(is_public_only).map_err(EgressError::from)?;
            Ok::<_, EgressError>(Connections::new(connector, connect_timeout))
        };
        let own = |provider| Ok(Connector::of_provider(provider)?.map(|connector| Connections::new(connector, connect_timeout)));
        Ok(Self {
            connections: direct(false)?,
            public_connections: direct(true)?,
            own_connections: providers.iter().map(own).collect::<Result<_, EgressError>>()?,
            media: MediaClient::try_new(config.media_from_private_addresses)?,
            config,
        })
    }

    fn connections(&self, egress: Egress) -> &Arc<Connections> {
        match egress {
            Egress::Direct => &self.connections,
            Egress::Public => &self.public_connections,
            Egress::Own(place) => self.own_connections.get(place).and_then(Option::as_ref).unwrap_or(&self.connections),
        }
    }

    /// Returns the client that fetches files by their address.
    #[must_use]
    pub const fn media(&self) -> &MediaClient {
        &self.media
    }

    /// Returns the budget of tries and time of one request.
    #[must_use]
    pub fn retry_budget(&self) -> RetryBudget {
        RetryBudget {
            rounds_max: self.config.retry_rounds_max,
            tries_max: self.config.retry_tries_max,
            total: Duration::from_millis(self.config.retry_within_ms),
            delay_min: Duration::from_millis(self.config.retry_delay_ms),
            ..RetryBudget::default()
        }
    }

    /// Returns the maximum time that a stream may be silent towards its client.
    #[must_use]
    pub const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.config.heartbeat_ms)
    }

    /// Closes idle connections to providers that are no longer usable.
    pub fn reap(&self) {
        self.connections.reap();
        self.public_connections.reap();
        self.own_connections.iter().flatten().for_each(|connections| connections.reap());
    }

    /// Returns the maximum time without a byte from a provider.
    #[must_use]
    pub const fn idle(&self) -> Duration {
        Duration::from_millis(self.config.idle_timeout_ms)
    }

    /// Returns the time for a sign of life from a provider, if another one can take the request.
    #[must_use]
    pub const fn patience(&self, stream: bool) -> Option<Duration> {
        let ms = if stream { self.config.fallback_after_ms } else { self.config.fallback_after_whole_ms };
        if ms == 0 { None } else { Some(Duration::from_millis(ms)) }
    }

    async fn post(&self, call: UpstreamCall<'_>) -> Result<UpstreamResponse, AttemptError> {
        let response = self.pass(call.egress, (Method::POST, call.address), call.headers, call.body, call.sent).await?;
        self.accepted(response).await
    }

    /// Sends a request and returns the body of its answer, which must have status 200.
    pub async fn fetch(&self, egress: Egress, to: (Method, &Address), headers: HeaderMap, body: Bytes) -> Result<Bytes, AttemptError> {
        let sent = AtomicBool::new(false);
        let response = self.accepted(self.pass(egress, to, headers, body, &sent).await?).await?;
        self.read(response, self.config.body_bytes_max).await
    }

    /// Sends a request with an account's own key, and returns the body of its answer, which must have status 200.
    ///
    /// # Errors
    /// Fails as a call to a model does. The failure does not contain the key.
    pub async fn probe(&self, own: &OwnKey, provider: &Provider) -> Result<Bytes, AttemptError> {
        let provider = own.provider.as_ref().unwrap_or(provider);
        let address = provider.models_address().ok_or(AttemptError::Connect)?;
        let headers = provider.request_headers(None, Some(&own.credential));
        let answered = self.fetch(provider.egress, (Method::GET, &address), headers, Bytes::new()).await;
        answered.map_err(|failure| failure.without(own.secret()))
    }

    /// Returns a response of status 200; any other one becomes an error.
    async fn accepted(&self, response: UpstreamResponse) -> Result<UpstreamResponse, AttemptError> {
        let status = response.status;
        if status == StatusCode::OK {
            return Ok(response);
        }
        let retry_after = blame::retry_after(response.headers.get(header::RETRY_AFTER));
        let body = self.read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(blame::of_status(status, Reported::read(&body), retry_after))
    }

    /// Sends a request, and returns the response with whatever status it has.
    pub async fn pass(
        &self,
        egress: Egress,
        to: (Method, &Address),
        headers: HeaderMap,
        body: Bytes,
        sent: &AtomicBool,
    ) -> Result<UpstreamResponse, AttemptError> {
        let wait = Duration::from_millis(self.config.first_byte_timeout_ms);
        let sending = self.connections(egress).send(to, headers, body, sent);
        tokio::time::timeout(wait, sending).await.map_err(|_| AttemptError::Timeout)?.map_err(AttemptError::from)
    }

    /// Sends a request and reads the whole answer.
    pub async fn whole(&self, call: UpstreamCall<'_>) -> Result<Answer, AttemptError> {
        let (format, mut meter) = (call.format, Meter::of(call.format, call.prompt_tokens));
        let response = self.post(call).await?;
        let body = self.read(response, self.config.body_bytes_max).await?;
        let mut note = |body: &Bytes| answer::read(format, body).map(|answer| meter.note(&answer.delta, answer.usage, answer.service_tier));
        let body = match note(&body) {
            Ok(()) => body,
            Err(AnswerError::Malformed) => {
                // The body has a byte order mark, or text in a wrong encoding.
                let mended = answer::repaired(&body).into_iter().next().ok_or(AttemptError::Malformed)?;
                note(&mended)?;
                mended
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Answer::Buffered { body, format, meter })
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

    /// Sends a request and reads its stream up to the first piece. Any failure before that piece can still be retried at another provider.
    pub async fn stream(&self, call: UpstreamCall<'_>) -> Result<Answer, AttemptError> {
        let (format, meter) = (call.format, Meter::of(call.format, call.prompt_tokens));
        let response = self.post(call).await?;
        let is_json = response.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            // The response is not a stream; in most cases it is an error.
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
                        // An error after the first piece is left to the relay.
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

/// Returns the frames that a malformed frame may have meant. Returns the frame itself if it is readable or cannot be repaired.
#[must_use]
pub fn readable(format: Format, frame: Bytes) -> Vec<Bytes> {
    if answer::read_frame(format, &frame).is_err_and(|error| error == AnswerError::Malformed) {
        let mended = answer::repaired(&frame);
        if !mended.is_empty() {
            return mended;
        }
    }
    vec![frame]
}

impl UpstreamStream {
    /// Moves the stream out, and leaves one of which nothing more is read.
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

    /// Returns whether the provider may still send something.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.response.is_some()
    }

    /// Stops reading. If the response has not ended, its connection is closed.
    pub fn close(&mut self) {
        self.response = None;
    }

    /// Reads the end of a response whose content is complete, so that its connection is kept. Returns whether the response has ended.
    pub async fn finish(&mut self) -> bool {
        let Some(response) = &mut self.response else { return true };
        let is_over = matches!(response.chunk().await, Ok(None));
        self.response = None;
        is_over
    }

    /// Returns the next frames, grouped as they arrived; `None` at the end.
    ///
    /// # Errors
    /// Fails if the stream breaks, exceeds a size limit, or cannot be decoded.
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

    /// Returns the same as [`Self::next`], but fails if no byte arrives within the idle time.
    async fn next_within_idle(&mut self) -> Result<Option<Vec<Bytes>>, AttemptError> {
        loop {
            let until = self.heard_at + self.idle;
            match tokio::time::timeout_at(until.into(), self.next()).await {
                Ok(frames) => return frames,
                // Comments arrived meanwhile.
                Err(_) if self.heard_at + self.idle > until => {}
                Err(_) => return Err(AttemptError::Timeout),
            }
        }
    }
}
