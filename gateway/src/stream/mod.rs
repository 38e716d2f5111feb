//! Relaying a stream: frames go on as they come, the end is recorded before the client sees it, and a client that leaves ends it.
//!
//! The relay is the body of the answer: it runs where the connection is written, without a task or a queue between provider and
//! client. When the client leaves, the body is dropped; that closes the provider's connection and records the end, or has the rest read
//! to learn what the provider bills, where that is configured.

pub mod late;
pub mod drain;

use std::convert::Infallible;
use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use events::request::Outcome;
use futures_util::{FutureExt, stream};
use http::{HeaderName, StatusCode, header};
use serde_json::value::RawValue;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use wire::answer::{Billed, Ending, Frame, heartbeat, read_frame, usage_text};
use wire::call::Format;
use wire::fields::quoted;

use crate::admission::{Admitted, Charge, End, Served};
use crate::attempt::upstream::{AttemptError, UpstreamStream, readable};
use crate::config::OnDisconnect;
use crate::error::GatewayError;
use crate::meter::{Measured, Meter};

/// How long a provider may take to end its answer after the end mark.
const END_PATIENCE: Duration = Duration::from_millis(100);
/// How often the cost of a running stream is recorded.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A stream on its way from a provider to a client.
pub struct Relay {
    /// Owns the money and the record, until the end is recorded.
    admitted: Option<Admitted>,
    served: Served,
    upstream: UpstreamStream,
    /// The request's id as a JSON string.
    id: String,
    terms: Terms,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Looks after silence and the deadline; set again only when it rings, not for each frame.
    alarm: Pin<Box<Sleep>>,
    frame_at: Instant,
    progress_at: Instant,
    /// How many pieces the client got.
    pieces: u64,
    /// The provider's `created`, which every piece of one answer has.
    created_s: Option<i64>,
    /// The provider's frame with the usage.
    usage_frame: Option<Bytes>,
}

/// What a stream is relayed under.
#[derive(Clone)]
pub struct Terms {
    /// The format that the client speaks.
    pub format: Format,
    /// Ends streams when the gateway must stop.
    pub abort_streams: CancellationToken,
    /// Runs the rest of calls whose clients have left.
    pub drains: TaskTracker,
    /// How long a stream may be silent towards its client.
    pub heartbeat: Duration,
    /// When it is ended, whatever it says.
    pub deadline: Instant,
    /// How long that is from the start, for the message.
    pub timeout: Duration,
}

/// The head and body of a streamed answer, which no proxy between may gather or change.
#[must_use]
pub fn answer(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (StatusCode::OK, headers, body).into_response()
}

/// How the relaying ended.
enum Stopped {
    /// The provider said everything.
    Completed,
    /// What was relayed reached the hold.
    AtHold,
    /// The provider failed.
    Failed(AttemptError),
    /// The client left.
    ClientLeft,
    /// It ran as long as a request may.
    Expired,
    /// The gateway stops.
    Cut,
}

/// What came next.
enum Next {
    Frames(Vec<Bytes>),
    Silence,
}

impl Relay {
    /// A stream that has said its first piece.
    #[must_use]
    pub fn new(admitted: Admitted, served: Served, upstream: UpstreamStream, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            id: quoted(admitted.request().as_str()),
            alarm: Box::pin(tokio::time::sleep_until(terms.deadline.min(now + terms.heartbeat.min(upstream.idle)).into())),
            aborted: Box::pin(terms.abort_streams.clone().cancelled_owned()),
            admitted: Some(admitted),
            served,
            upstream,
            terms,
            frame_at: now,
            progress_at: now,
            pieces: 0,
            created_s: None,
            usage_frame: None,
        }
    }

    /// The body of the answer.
    pub fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut relay| relay.piece().await.map(|piece| (Ok::<_, Infallible>(piece), relay))))
    }

    /// The next bytes for the client; `None` behind the last ones.
    async fn piece(&mut self) -> Option<Bytes> {
        self.pieces += 1;
        if self.pieces == 2 {
            // The server writes when nothing more is ready: the first piece must not wait for a provider that says the next ones quickly.
            tokio::task::yield_now().await;
        }
        while self.admitted.is_some() {
            let frames = match self.next().await {
                Ok(Next::Frames(frames)) => frames,
                Ok(Next::Silence) => return Some(Bytes::from_static(heartbeat(self.terms.format))),
                Err(stopped) => return self.end(&stopped, Vec::with_capacity(512)).await,
            };
            let mut pieces = Vec::with_capacity(frames.iter().map(Bytes::len).sum::<usize>() + 128);
            if let Some(stopped) = self.translate(&frames, &mut pieces) {
                return self.end(&stopped, pieces).await;
            }
            if self.progress_at.elapsed() >= PROGRESS_EVERY {
                self.progress_at = Instant::now();
                if let Some(admitted) = &self.admitted {
                    admitted.progress(&self.served, self.upstream.meter.relayed());
                }
            }
            if !pieces.is_empty() {
                return Some(Bytes::from(pieces));
            }
        }
        // The client has everything; a provider that has still to end its answer gets a moment, so that its connection is kept.
        if tokio::time::timeout(END_PATIENCE, self.upstream.finish()).await.is_err() {
            tracing::debug!(provider = self.served.endpoint.provider.slug, "a provider did not end its stream after the end mark");
        }
        None
    }

    /// Records the end, and tells the client then; `last` are bytes that come before.
    async fn end(&mut self, stopped: &Stopped, mut last: Vec<u8>) -> Option<Bytes> {
        let admitted = self.admitted.take()?;
        // Before anything else: a provider that is not read to its end must not go on.
        if !matches!(stopped, Stopped::Completed) || self.upstream.finish().now_or_never() == Some(false) {
            self.upstream.close();
        }
        let created_s = self.created_s.unwrap_or_else(|| admitted.admitted_at_us() / 1_000_000);
        self.tell_inconsistent();
        let charge = admitted.finish(&end(stopped, &self.upstream.meter, &self.served)).await;
        let ending = Ending { format: self.terms.format, id: &self.id, model: &self.served.endpoint.model.json, created_s };
        match stopped {
            Stopped::Completed => self.last_pieces(&ending, &charge, &mut last),
            Stopped::AtHold => {
                ending.length(&mut last);
                self.last_pieces(&ending, &charge, &mut last);
            }
            Stopped::Failed(failure) => {
                ending
                    .error(&GatewayError::of_provider(failure, &self.served.endpoint.provider.slug).in_frame(self.terms.format), &mut last);
            }
            Stopped::Expired => ending.error(&GatewayError::TooLong(self.terms.timeout.as_secs()).in_frame(self.terms.format), &mut last),
            Stopped::Cut => {
                ending.error(&GatewayError::Upstream("the gateway is stopping".to_owned()).in_frame(self.terms.format), &mut last);
            }
            Stopped::ClientLeft => return None,
        }
        Some(Bytes::from(last))
    }

    fn last_pieces(&self, ending: &Ending<'_>, charge: &Charge, into: &mut Vec<u8>) {
        ending.usage(self.usage_frame.as_ref(), |provider| usage(self.terms.format, charge, provider), into);
    }

    fn tell_inconsistent(&self) {
        if self.upstream.meter.is_inconsistent() {
            inconsistent(&self.served);
        }
    }

    /// The next frames, or that nothing came for a while.
    async fn next(&mut self) -> Result<Next, Stopped> {
        loop {
            if !self.upstream.ready.is_empty() {
                return Ok(Next::Frames(std::mem::take(&mut self.upstream.ready)));
            }
            tokio::select! {
                biased;
                frames = self.upstream.next() => {
                    self.frame_at = Instant::now();
                    return match frames {
                        Ok(Some(frames)) => Ok(Next::Frames(frames)),
                        Ok(None) => Err(self.broken(AttemptError::Cut)),
                        Err(failure) => Err(self.broken(failure)),
                    };
                }
                () = &mut self.aborted => return Err(Stopped::Cut),
                () = &mut self.alarm => {}
            }
            let (now, heartbeat) = (Instant::now(), self.terms.heartbeat);
            if now >= self.terms.deadline {
                return Err(Stopped::Expired);
            }
            let dies_at = self.upstream.heard_at + self.upstream.idle;
            if now >= dies_at {
                return Err(self.broken(AttemptError::Timeout));
            }
            let is_silent = self.frame_at.elapsed() >= heartbeat;
            let beats_at = if is_silent { now + heartbeat } else { self.frame_at + heartbeat };
            self.alarm.as_mut().reset(beats_at.min(dies_at).min(self.terms.deadline).into());
            if is_silent {
                return Ok(Next::Silence);
            }
        }
    }

    /// How a stream ends that breaks off: whole, when a finish reason was said and only the end mark or an odd trailer is wrong.
    fn broken(&self, failure: AttemptError) -> Stopped {
        if self.upstream.meter.finish_reason.is_some() { Stopped::Completed } else { Stopped::Failed(failure) }
    }

    /// Frames as the client gets them, and why nothing more comes, when so.
    fn translate(&mut self, frames: &[Bytes], pieces: &mut Vec<u8>) -> Option<Stopped> {
        for frame in frames {
            let stopped = match read_frame(self.upstream.format, frame) {
                Ok(frame_read) => self.relay(frame, frame_read, pieces),
                Err(error) => self.relay_mended(frame, error.into(), pieces),
            };
            if stopped.is_some() {
                return stopped;
            }
        }
        None
    }

    /// A frame that cannot be read as it is, as the frames that it may have meant.
    fn relay_mended(&mut self, frame: &Bytes, failure: AttemptError, pieces: &mut Vec<u8>) -> Option<Stopped> {
        let mended = if matches!(failure, AttemptError::Malformed) { readable(self.upstream.format, frame.clone()) } else { Vec::new() };
        if mended.is_empty() || mended[..] == [frame.clone()] {
            return Some(self.broken(failure));
        }
        mended.iter().find_map(|frame| match read_frame(self.upstream.format, frame) {
            Ok(frame_read) => self.relay(frame, frame_read, pieces),
            Err(error) => Some(self.broken(error.into())),
        })
    }

    fn relay(&mut self, bytes: &Bytes, frame: Frame<'_>, pieces: &mut Vec<u8>) -> Option<Stopped> {
        let chunk = match frame {
            Frame::Chunk(chunk) => chunk,
            Frame::Done => return Some(Stopped::Completed),
        };
        if chunk.usage.is_some() {
            self.usage_frame = Some(bytes.clone());
        }
        self.upstream.meter.note(&chunk.delta, chunk.usage, chunk.service_tier.clone());
        if chunk.is_relayed {
            if self.created_s.is_none() {
                self.created_s = chunk.created_s();
            }
            let (_, beyond) = self.admitted.as_ref()?.cost(&self.served, &self.upstream.meter.relayed());
            if beyond.0 > 0 {
                return Some(Stopped::AtHold);
            }
            chunk.write(&self.id, &self.served.endpoint.model.json, pieces);
        }
        None
    }
}

impl Drop for Relay {
    /// Dropped before its end: the client left, or its connection was closed because the gateway stops.
    fn drop(&mut self) {
        let Some(admitted) = self.admitted.take() else { return };
        let is_cut = self.terms.abort_streams.is_cancelled();
        let drains = self.served.endpoint.provider.on_disconnect == OnDisconnect::Drain && self.upstream.is_open() && !is_cut;
        if drains && tokio::runtime::Handle::try_current().is_ok() {
            let drain = drain::Drain {
                admitted,
                served: self.served.clone(),
                upstream: self.upstream.take(),
                abort_streams: self.terms.abort_streams.clone(),
            };
            self.terms.drains.spawn(drain.run());
            return;
        }
        self.upstream.close();
        self.tell_inconsistent();
        let stopped = if is_cut { Stopped::Cut } else { Stopped::ClientLeft };
        admitted.finish_now(&end(&stopped, &self.upstream.meter, &self.served));
    }
}

/// Tells the operator that a provider counts in a way that is not known here: what it bills may not be what is charged.
pub fn inconsistent(served: &Served) {
    let (provider, model) = (served.endpoint.provider.slug.as_str(), served.endpoint.model.id.as_str());
    tracing::error!(provider, model, "{provider} reports a total for {model} that its parts do not sum to: check how it counts tokens");
}

fn end(stopped: &Stopped, meter: &Meter, served: &Served) -> End {
    let outcome = match stopped {
        Stopped::Completed | Stopped::AtHold => Outcome::Finished,
        Stopped::Failed(_) => Outcome::Failed,
        Stopped::ClientLeft => Outcome::Cancelled,
        Stopped::Cut | Stopped::Expired => Outcome::Aborted,
    };
    let measured = match stopped {
        // The client has the pieces; nobody has told their number, which is what they are charged by.
        Stopped::AtHold => Measured { tokens: meter.relayed(), provenance: events::Provenance::Measured },
        Stopped::Completed | Stopped::Failed(_) => meter.measured(),
        Stopped::ClientLeft | Stopped::Cut | Stopped::Expired => meter.abandoned(),
    };
    let finish_reason = if matches!(stopped, Stopped::AtHold) { Some("length".to_owned()) } else { meter.finish_reason.clone() };
    let tier = meter.service_tier.as_deref().map_or(served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
    let status = (!matches!(stopped, Stopped::ClientLeft)).then_some(200);
    End { outcome, status, finish_reason, served: Some(Served { tier, ..served.clone() }), measured }
}

/// The usage object that a client gets, over the provider's own.
#[must_use]
pub fn usage(format: Format, charge: &Charge, provider: Option<&RawValue>) -> String {
    let Charge { tokens, status, cost, latency_us, ttft_us, .. } = *charge;
    usage_text(format, &Billed { tokens, status, cost, latency_us: Some(latency_us), ttft_us }, provider)
}
