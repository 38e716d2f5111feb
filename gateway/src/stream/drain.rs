//! Reading on after the client has left: to learn what the provider bills, within a bound.

use bytes::Bytes;
use events::request::Outcome;
use tokio_util::sync::CancellationToken;
use wire::answer::{Frame, read_frame};

use super::inconsistent;
use crate::admission::{Admitted, End, Served};
use crate::attempt::upstream::{UpstreamStream, readable};

/// The rest of a stream that nobody reads.
pub struct Drain {
    /// Owns the money and the record.
    pub admitted: Admitted,
    /// Who answers.
    pub served: Served,
    /// What still comes.
    pub upstream: UpstreamStream,
    /// Ends it when the gateway must stop.
    pub abort_streams: CancellationToken,
}

impl Drain {
    /// Reads to the end, or as long as the provider is configured to be read, and records the end.
    pub async fn run(mut self) {
        let (abort_streams, patience) = (self.abort_streams.clone(), self.served.endpoint.provider.drain_timeout);
        // What is known when the time is over, or the gateway stops, is what is charged.
        let _read = abort_streams.run_until_cancelled(tokio::time::timeout(patience, self.read())).await;
        self.upstream.close();
        if self.upstream.meter.is_inconsistent() {
            inconsistent(&self.served);
        }
        let meter = &self.upstream.meter;
        let tier = meter.service_tier.as_deref().map_or(self.served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
        let end = End {
            outcome: Outcome::Cancelled,
            status: None,
            finish_reason: meter.finish_reason.clone(),
            measured: meter.abandoned(),
            served: Some(Served { tier, ..self.served }),
        };
        self.admitted.finish(&end).await;
    }

    async fn read(&mut self) {
        let mut frames = std::mem::take(&mut self.upstream.ready);
        loop {
            for frame in frames {
                if readable(self.upstream.format, frame).iter().any(|frame| self.note(frame)) {
                    return;
                }
            }
            match self.upstream.next().await {
                Ok(Some(next)) => frames = next,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Notes a frame; returns whether it is the last one.
    fn note(&mut self, frame: &Bytes) -> bool {
        match read_frame(self.upstream.format, frame) {
            Ok(Frame::Chunk(chunk)) => {
                self.upstream.meter.note(&chunk.delta, chunk.usage, chunk.service_tier);
                false
            }
            Ok(Frame::Done) | Err(_) => true,
        }
    }
}
