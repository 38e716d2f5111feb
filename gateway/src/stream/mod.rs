//! The relay of a stream: frames are forwarded as they arrive, the end is recorded before the client sees it, and a disconnect of the
//! client ends the stream.
//!
//! The relay is the body of the response. It runs in the task that writes the connection, without a task or queue between provider and
//! client. If the client disconnects, the body is dropped. That closes the provider's connection and records the end. If so configured, the
//! rest is read instead, to learn the billed usage.

pub mod heartbeat;
pub mod array;
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
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use wire::answer::{Billed, End as LastFrames, Frame, Names, read_frame};
use wire::fields::quoted;
use wire::output::{Output, heartbeat};

use crate::admission::{Admitted, Charge, End, Served};
use crate::attempt::error::AttemptError;
use crate::attempt::upstream::{UpstreamStream, readable};
use crate::config::OnDisconnect;
use crate::error::{ErrorForm, GatewayError};
use crate::meter::{Measured, Meter};
use crate::route::Endpoint;

/// The maximum time that a provider may take to end its response after the end mark.
const END_PATIENCE: Duration = Duration::from_millis(100);
/// The interval at which the cost of a running stream is recorded.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A stream on its way from a provider to a client.
pub struct Relay {
    /// The admitted request, which owns the hold and the record; `None` once the end is recorded.
    admitted: Option<Admitted>,
    served: Served,
    upstream: UpstreamStream,
    id: String,
    /// The id as a JSON string.
    id_json: String,
    terms: Terms,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The timer for silence and the deadline. It is reset only after it fires, not for each frame.
    alarm: Pin<Box<Sleep>>,
    frame_at: Instant,
    progress_at: Instant,
    /// The number of pieces that the client has requested.
    pieces: u64,
    /// The provider's `created`, which is the same in every piece of one answer.
    created_s: Option<i64>,
    /// The writer of the client's frames.
    output: Output,
}

/// The conditions under which a stream is relayed.
#[derive(Clone)]
pub struct Terms {
    /// The client's format, and the form of its errors.
    pub form: ErrorForm,
    /// Whether the stream goes through the neutral form even in one format.
    pub is_translated: bool,
    /// A token that ends streams when the gateway must stop.
    pub abort_streams: CancellationToken,
    /// The tasks that read the rest of calls whose clients have disconnected.
    pub drains: TaskTracker,
    /// The maximum time that a stream may be silent towards its client.
    pub heartbeat: Duration,
    /// The time at which the stream is ended, whatever it sends.
    pub deadline: Instant,
    /// The same bound as a duration from the start, for the error message.
    pub timeout: Duration,
}

/// Returns a streamed response, with headers that forbid proxies to buffer or change it.
#[must_use]
pub fn answer(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (StatusCode::OK, headers, body).into_response()
}

/// The reason why relaying ended.
enum Stopped {
    /// A complete answer of the provider.
    Completed,
    /// An answer that was cut because its cost would exceed the hold.
    AtHold,
    /// A failure of the provider.
    Failed(AttemptError),
    /// A client that disconnected.
    ClientLeft,
    /// A request that reached the time limit.
    Expired,
    /// A stop of the gateway.
    Cut,
}

/// The next event of a stream.
enum Next {
    Frames(Vec<Bytes>),
    Silence,
}

impl Relay {
    /// Creates a relay of a stream whose first piece has been read.
    #[must_use]
    pub fn new(admitted: Admitted, served: Served, upstream: UpstreamStream, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            id: admitted.request().as_str().to_owned(),
            id_json: quoted(admitted.request().as_str()),
            alarm: Box::pin(tokio::time::sleep_until(terms.deadline.min(now + terms.heartbeat.min(upstream.idle)).into())),
            aborted: Box::pin(terms.abort_streams.clone().cancelled_owned()),
            output: if terms.is_translated {
                Output::translated(upstream.format, terms.form.format)
            } else {
                Output::new(upstream.format, terms.form.format)
            },
            admitted: Some(admitted),
            served,
            upstream,
            terms,
            frame_at: now,
            progress_at: now,
            pieces: 0,
            created_s: None,
        }
    }

    /// Converts the relay into the body of the response.
    pub fn into_body(self) -> Body {
        // Each piece moves the state, so only a pointer to it.
        Body::from_stream(stream::unfold(Box::new(self), async |mut relay| {
            relay.piece().await.map(|piece| (Ok::<_, Infallible>(piece), relay))
        }))
    }

    /// Returns the next bytes for the client; `None` after the last ones.
    async fn piece(&mut self) -> Option<Bytes> {
        self.pieces += 1;
        if self.pieces == 2 {
            // The server writes only if nothing more is ready. This yield sends the first piece at once, even if the provider sends the
            // next ones quickly.
            tokio::task::yield_now().await;
        }
        while self.admitted.is_some() {
            let frames = match self.next().await {
                Ok(Next::Frames(frames)) => frames,
                Ok(Next::Silence) => return Some(Bytes::from_static(heartbeat(self.terms.form.format))),
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
        // The client has everything. The provider gets a moment to end its response, so that its connection is kept.
        if tokio::time::timeout(END_PATIENCE, self.upstream.finish()).await.is_err() {
            tracing::debug!(provider = self.served.endpoint.provider.slug, "a provider did not end its stream after the end mark");
        }
        None
    }

    /// Records the end, and only then sends it to the client. `last` holds bytes that precede the end.
    async fn end(&mut self, stopped: &Stopped, mut last: Vec<u8>) -> Option<Bytes> {
        let admitted = self.admitted.take()?;
        // This comes first: a provider whose response is not read to its end must not continue.
        if !matches!(stopped, Stopped::Completed) || self.upstream.finish().now_or_never() == Some(false) {
            self.upstream.close();
        }
        let created_s = self.created_s.unwrap_or_else(|| admitted.admitted_at_us() / 1_000_000);
        self.tell_inconsistent();
        let charge = admitted.finish(&end(stopped, &self.upstream.meter, &self.served)).await;
        let billed = billed(&charge);
        let endpoint = &self.served.endpoint;
        let names = names((&self.id, &self.id_json), endpoint, created_s);
        let failure = match stopped {
            Stopped::Completed => {
                self.output.end(&LastFrames::Completed(&billed), &names, &mut last);
                return Some(Bytes::from(last));
            }
            Stopped::AtHold => {
                self.output.end(&LastFrames::Length(&billed), &names, &mut last);
                return Some(Bytes::from(last));
            }
            Stopped::Failed(failure) => GatewayError::of_provider(failure, &endpoint.provider.slug),
            Stopped::Expired => GatewayError::TooLong(self.terms.timeout.as_secs()),
            Stopped::Cut => GatewayError::Upstream("the gateway is stopping".to_owned()),
            Stopped::ClientLeft => return None,
        };
        failure.shown_to_client(self.terms.form, |error| self.output.end(&LastFrames::Error(error), &names, &mut last));
        Some(Bytes::from(last))
    }

    fn tell_inconsistent(&self) {
        if self.upstream.meter.is_inconsistent() {
            inconsistent(&self.served);
        }
    }

    /// Returns the next frames, or silence if none arrived for a heartbeat.
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

    /// Classifies a stream that breaks off. After a finish reason it is complete, because only the end mark or an odd trailer is wrong.
    fn broken(&self, failure: AttemptError) -> Stopped {
        if self.upstream.meter.finish_reason.is_some() { Stopped::Completed } else { Stopped::Failed(self.served.cleaned(failure)) }
    }

    /// Translates frames for the client. Returns the reason if nothing more follows.
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

    /// Relays a frame that cannot be read, as the frames that it may have meant.
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
        self.upstream.meter.note(&chunk.delta, chunk.usage, chunk.service_tier.clone());
        if self.created_s.is_none() {
            self.created_s = chunk.created_s();
        }
        let admitted = self.admitted.as_ref()?;
        if chunk.delta.text_bytes > 0 {
            let (_, beyond) = admitted.cost(&self.served, &self.upstream.meter.relayed());
            if beyond.0 > 0 {
                return Some(Stopped::AtHold);
            }
        }
        let created_s = self.created_s.unwrap_or_else(|| admitted.admitted_at_us() / 1_000_000);
        let names = names((&self.id, &self.id_json), &self.served.endpoint, created_s);
        if let Err(error) = self.output.relay(bytes, &chunk, &names, pieces) {
            return Some(self.broken(error.into()));
        }
        chunk.is_last.then_some(Stopped::Completed)
    }
}

/// Returns the names that a client reads. `id` is the request's id, plain and as a JSON string.
#[must_use]
pub fn names<'a>(id: (&'a str, &'a str), endpoint: &'a Endpoint, created_s: i64) -> Names<'a> {
    Names {
        id: id.0,
        id_json: id.1,
        model: &endpoint.model.id,
        model_json: &endpoint.model.json,
        provider: &endpoint.provider.slug,
        created_s,
    }
}

impl Drop for Relay {
    /// Handles a drop before the end: the client disconnected, or its connection was closed because the gateway stops.
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

/// Logs an error for the operator: a provider counts tokens in an unknown way, so its bill may differ from the charge.
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
        // The client has the pieces, but their token count was not reported, so the gateway's own count is charged.
        Stopped::AtHold => Measured { tokens: meter.relayed(), provenance: events::Provenance::Measured },
        Stopped::Completed | Stopped::Failed(_) => meter.measured(),
        Stopped::ClientLeft | Stopped::Cut | Stopped::Expired => meter.abandoned(),
    };
    let finish_reason = if matches!(stopped, Stopped::AtHold) { Some("length".to_owned()) } else { meter.finish_reason.clone() };
    let tier = meter.service_tier.as_deref().map_or(served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
    let status = (!matches!(stopped, Stopped::ClientLeft)).then_some(200);
    End { outcome, status, finish_reason, served: Some(Served { tier, ..served.clone() }), measured }
}

/// Returns the charge as a client is told.
#[must_use]
pub const fn billed(charge: &Charge) -> Billed {
    let Charge { tokens, status, cost, byok, latency_us, ttft_us, .. } = *charge;
    Billed { tokens, status, cost, byok, latency_us: Some(latency_us), ttft_us }
}
