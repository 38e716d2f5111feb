//! Relaying a stream: frames go on as they come, the end is recorded before the client sees it, and a client that leaves ends it.
//!
//! The relay is the body of the answer: it runs where the connection is written, without a task or a queue between provider and
//! client. When the client leaves, the body is dropped; that closes the provider's connection and records the end.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use events::request::Outcome;
use futures_util::{FutureExt, stream};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wire::fields::quoted;
use wire::openai::response::{Ending, Frame};
use wire::openai::usage::{Timing, UsageBody};

use crate::admission::{Admitted, Charge, End, Served};
use crate::attempt::upstream::{Failure, Incoming};
use crate::error::GatewayError;
use crate::meter::{Measured, Meter};

/// How long a stream may be silent before a comment says that it lives.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a provider may take to end its answer after the end mark.
const END_PATIENCE: Duration = Duration::from_millis(100);
/// How often the cost of a running stream is recorded.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A stream on its way from a provider to a client.
pub struct Relay {
    /// Owns the money and the record, until the end is recorded.
    admitted: Option<Admitted>,
    served: Served,
    incoming: Incoming,
    /// The request's id as a JSON string.
    id: String,
    /// Ends streams when the gateway must stop.
    cut: CancellationToken,
    cutting: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Looks after silence; set again only when it rings, not for each frame.
    alarm: Pin<Box<Sleep>>,
    frame_at: Instant,
    progress_at: Instant,
    /// How many pieces the client got.
    pieces: u64,
}

/// How the relaying ended.
enum Stopped {
    /// The provider said everything.
    Whole,
    /// What was relayed reached the hold.
    AtHold,
    /// The provider failed.
    Failed(Failure),
    /// The client left.
    ClientLeft,
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
    pub fn new(admitted: Admitted, served: Served, incoming: Incoming, cut: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            id: quoted(admitted.request().as_str()),
            alarm: Box::pin(tokio::time::sleep(SILENCE.min(incoming.idle))),
            cutting: Box::pin(cut.clone().cancelled_owned()),
            admitted: Some(admitted),
            served,
            incoming,
            cut,
            frame_at: now,
            progress_at: now,
            pieces: 0,
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
                Ok(Next::Silence) => return Some(Bytes::from_static(b": AROUTER PROCESSING\n\n")),
                Err(stopped) => return self.end(&stopped, Vec::with_capacity(512)).await,
            };
            let mut pieces = Vec::with_capacity(frames.iter().map(Bytes::len).sum::<usize>() + 128);
            if let Some(stopped) = self.translate(&frames, &mut pieces) {
                return self.end(&stopped, pieces).await;
            }
            if self.progress_at.elapsed() >= PROGRESS_EVERY {
                self.progress_at = Instant::now();
                if let Some(admitted) = &self.admitted {
                    admitted.progress(&self.served, self.incoming.meter.relayed());
                }
            }
            if !pieces.is_empty() {
                return Some(Bytes::from(pieces));
            }
        }
        // The client has everything; a provider that has still to end its answer gets a moment, so that its connection is kept.
        if tokio::time::timeout(END_PATIENCE, self.incoming.finish()).await.is_err() {
            tracing::debug!(provider = self.served.model.provider.slug, "a provider did not end its stream after the end mark");
        }
        None
    }

    /// Records the end, and tells the client then; `last` are bytes that come before.
    async fn end(&mut self, stopped: &Stopped, mut last: Vec<u8>) -> Option<Bytes> {
        let admitted = self.admitted.take()?;
        // Before anything else: a provider that is not read to its end must not go on.
        if !matches!(stopped, Stopped::Whole) || self.incoming.finish().now_or_never() == Some(false) {
            self.incoming.close();
        }
        let created_s = admitted.admitted_at_us() / 1_000_000;
        let charge = admitted.finish(&end(stopped, &self.incoming.meter, &self.served)).await;
        let ending = Ending { id: &self.id, model: &self.served.model.id_json, created_s };
        match stopped {
            Stopped::Whole => last_pieces(&ending, &charge, &mut last),
            Stopped::AtHold => {
                ending.reason("length", &mut last);
                last_pieces(&ending, &charge, &mut last);
            }
            Stopped::Failed(failure) => ending.error(&GatewayError::from(failure).inner_text(), &mut last),
            Stopped::Cut => ending.error(&GatewayError::Upstream("the gateway is stopping".to_owned()).inner_text(), &mut last),
            Stopped::ClientLeft => return None,
        }
        Some(Bytes::from(last))
    }

    /// The next frames, or that nothing came for a while.
    async fn next(&mut self) -> Result<Next, Stopped> {
        loop {
            if !self.incoming.ready.is_empty() {
                return Ok(Next::Frames(std::mem::take(&mut self.incoming.ready)));
            }
            tokio::select! {
                biased;
                frames = self.incoming.next() => {
                    self.frame_at = Instant::now();
                    return match frames {
                        Ok(Some(frames)) => Ok(Next::Frames(frames)),
                        // A finish reason was said: only the end mark is missing.
                        Ok(None) if self.incoming.meter.finish_reason.is_some() => Err(Stopped::Whole),
                        Ok(None) => Err(Stopped::Failed(Failure::Cut)),
                        Err(failure) => Err(Stopped::Failed(failure)),
                    };
                }
                () = &mut self.cutting => return Err(Stopped::Cut),
                () = &mut self.alarm => {}
            }
            let (silent, every) = (self.frame_at.elapsed(), SILENCE.min(self.incoming.idle));
            if silent >= self.incoming.idle {
                return Err(Stopped::Failed(Failure::Timeout));
            }
            let is_silent = silent >= every;
            let until =
                if is_silent { Instant::now() + every.min(self.incoming.idle.saturating_sub(silent)) } else { self.frame_at + every };
            self.alarm.as_mut().reset(until.into());
            if is_silent {
                return Ok(Next::Silence);
            }
        }
    }

    /// Frames as the client gets them, and why nothing more comes, when so.
    fn translate(&mut self, frames: &[Bytes], pieces: &mut Vec<u8>) -> Option<Stopped> {
        let admitted = self.admitted.as_ref()?;
        for frame in frames {
            let chunk = match Frame::parse(frame) {
                Ok(Frame::Chunk(chunk)) => chunk,
                Ok(Frame::Done) => return Some(Stopped::Whole),
                Ok(Frame::Error(message)) => return Some(Stopped::Failed(Failure::Reported(message))),
                Err(_) => return Some(Stopped::Failed(Failure::Malformed)),
            };
            self.incoming.meter.note(&chunk.said, chunk.usage, chunk.service_tier.clone());
            if chunk.has_choices {
                let (_, beyond) = admitted.cost(&self.served, &self.incoming.meter.relayed());
                if beyond.0 > 0 {
                    return Some(Stopped::AtHold);
                }
                chunk.write(&self.id, &self.served.model.id_json, pieces);
            }
        }
        None
    }
}

impl Drop for Relay {
    /// Dropped before its end: the client left, or its connection was closed because the gateway stops.
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.incoming.close();
            let stopped = if self.cut.is_cancelled() { Stopped::Cut } else { Stopped::ClientLeft };
            admitted.finish_now(&end(&stopped, &self.incoming.meter, &self.served));
        }
    }
}

fn end(stopped: &Stopped, meter: &Meter, served: &Served) -> End {
    let outcome = match stopped {
        Stopped::Whole | Stopped::AtHold => Outcome::Finished,
        Stopped::Failed(_) => Outcome::Failed,
        Stopped::ClientLeft => Outcome::Cancelled,
        Stopped::Cut => Outcome::Aborted,
    };
    let measured = match stopped {
        // The client has the pieces; nobody has told their number, which is what they are charged by.
        Stopped::AtHold => Measured { tokens: meter.relayed(), provenance: events::Provenance::Measured },
        Stopped::Whole | Stopped::Failed(_) | Stopped::ClientLeft | Stopped::Cut => meter.measured(),
    };
    let finish_reason = if matches!(stopped, Stopped::AtHold) { Some("length".to_owned()) } else { meter.finish_reason.clone() };
    let tier = meter.service_tier.as_deref().map_or(served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
    let status = (!matches!(stopped, Stopped::ClientLeft)).then_some(200);
    End { outcome, status, finish_reason, served: Some(Served { tier, ..served.clone() }), measured }
}

fn last_pieces(ending: &Ending<'_>, charge: &Charge, into: &mut Vec<u8>) {
    ending.usage(&usage(charge), into);
    Ending::done(into);
}

/// The usage object that a client gets.
#[must_use]
pub fn usage(charge: &Charge) -> String {
    let timing = Timing { latency_us: Some(charge.latency_us), ttft_us: charge.ttft_us };
    UsageBody::new(&charge.tokens, charge.status, charge.cost, timing).to_text()
}
