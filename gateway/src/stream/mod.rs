//! Relaying a stream: frames go on as they come, the end is recorded before the client sees it, and a client that leaves ends it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use events::request::Outcome;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::fields::quoted;
use wire::openai::response::{Ending, Frame};
use wire::openai::usage::{Timing, UsageBody};

use crate::admission::{Admitted, Charge, End, Served};
use crate::attempt::upstream::{Failure, Incoming};
use crate::error::GatewayError;
use crate::meter::{Measured, Meter};

/// Pieces that may wait for a slow client before the provider is not read any more.
pub const PIECES_WAITING: usize = 32;
/// How long a stream may be silent before a comment says that it lives.
const SILENCE: Duration = Duration::from_secs(15);
/// How often the cost of a running stream is recorded.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A stream on its way from a provider to a client.
pub struct Relay {
    /// Owns the money and the record.
    pub admitted: Admitted,
    /// Who answers.
    pub served: Served,
    /// The answer.
    pub incoming: Incoming,
    /// To the client.
    pub client: mpsc::Sender<Bytes>,
    /// Ends streams when the gateway must stop.
    pub cut: CancellationToken,
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

impl Relay {
    /// Relays until the end, records it, then tells the client.
    pub async fn run(mut self) {
        let id = quoted(self.admitted.request().as_str());
        let mut progress_at = Instant::now();
        let stopped = self.relay(&id, &mut progress_at).await;
        let Self { admitted, served, incoming, client, .. } = self;
        let created_s = admitted.admitted_at_us() / 1_000_000;
        let model = served.model.id_json.clone();
        // Before anything else: a provider whose client left must not go on.
        let meter = incoming.close();
        let end = end(&stopped, &meter, served);
        let charge = admitted.finish(&end).await;
        let ending = Ending { id: &id, model: &model, created_s };
        let mut last = Vec::with_capacity(512);
        match stopped {
            Stopped::Whole => last_pieces(&ending, &charge, &mut last),
            Stopped::AtHold => {
                ending.reason("length", &mut last);
                last_pieces(&ending, &charge, &mut last);
            }
            Stopped::Failed(failure) => ending.error(&GatewayError::from(failure).inner_text(), &mut last),
            Stopped::Cut => ending.error(&GatewayError::Upstream("the gateway is stopping".to_owned()).inner_text(), &mut last),
            Stopped::ClientLeft => return,
        }
        if client.send(Bytes::from(last)).await.is_err() {
            tracing::debug!(pieces = meter.has_said(), "the client left before the last piece");
        }
    }

    async fn relay(&mut self, id: &str, progress_at: &mut Instant) -> Stopped {
        let mut frames = std::mem::take(&mut self.incoming.ready);
        loop {
            let mut pieces = Vec::with_capacity(frames.iter().map(Bytes::len).sum::<usize>() + 128);
            let stopped = self.translate(&frames, id, &mut pieces);
            if !pieces.is_empty() && self.client.send(Bytes::from(pieces)).await.is_err() {
                return Stopped::ClientLeft;
            }
            if let Some(stopped) = stopped {
                return stopped;
            }
            if progress_at.elapsed() >= PROGRESS_EVERY {
                *progress_at = Instant::now();
                self.admitted.progress(&self.served, self.incoming.meter.relayed());
            }
            frames = match self.next().await {
                Ok(Some(frames)) => frames,
                // A finish reason was said: only the end mark is missing.
                Ok(None) if self.incoming.meter.finish_reason.is_some() => return Stopped::Whole,
                Ok(None) => return Stopped::Failed(Failure::Cut),
                Err(stopped) => return stopped,
            };
        }
    }

    /// The next frames; comments go to the client meanwhile.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Stopped> {
        loop {
            tokio::select! {
                frames = self.incoming.next() => return frames.map_err(Stopped::Failed),
                () = self.client.closed() => return Err(Stopped::ClientLeft),
                () = self.cut.cancelled() => return Err(Stopped::Cut),
                () = tokio::time::sleep(SILENCE) => {}
            }
            if self.client.send(Bytes::from_static(b": AROUTER PROCESSING\n\n")).await.is_err() {
                return Err(Stopped::ClientLeft);
            }
        }
    }

    /// Frames as the client gets them, and why nothing more comes, when so.
    fn translate(&mut self, frames: &[Bytes], id: &str, pieces: &mut Vec<u8>) -> Option<Stopped> {
        for frame in frames {
            let chunk = match Frame::parse(frame) {
                Ok(Frame::Chunk(chunk)) => chunk,
                Ok(Frame::Done) => return Some(Stopped::Whole),
                Ok(Frame::Error(message)) => return Some(Stopped::Failed(Failure::Reported(message))),
                Err(_) => return Some(Stopped::Failed(Failure::Malformed)),
            };
            self.incoming.meter.note(&chunk.said, chunk.usage, chunk.service_tier.clone());
            if chunk.has_choices {
                let (_, beyond) = self.admitted.cost(&self.served, &self.incoming.meter.relayed());
                if beyond.0 > 0 {
                    return Some(Stopped::AtHold);
                }
                chunk.write(id, &self.served.model.id_json, pieces);
            }
        }
        None
    }
}

fn end(stopped: &Stopped, meter: &Meter, served: Served) -> End {
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
    End { outcome, status, finish_reason, served: Some(Served { tier, ..served }), measured }
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
