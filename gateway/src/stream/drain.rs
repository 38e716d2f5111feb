//! Reading of a stream after its client has disconnected, within a time limit, to learn the billed usage.

use bytes::Bytes;
use events::request::Outcome;
use tokio_util::sync::CancellationToken;
use wire::answer::{Frame, read_frame};

use super::inconsistent;
use crate::admission::{Admitted, End, Served};
use crate::attempt::upstream::{UpstreamStream, readable};

/// The rest of a stream whose client has disconnected.
pub struct Drain {
    /// The admitted request, which owns the hold and records its own end.
    pub admitted: Admitted,
    pub served: Served,
    /// The rest of the provider's stream.
    pub upstream: UpstreamStream,
    /// A token that ends the drain when the gateway must stop.
    pub abort_streams: CancellationToken,
}

impl Drain {
    /// Reads until the end or until the provider's drain timeout, then records the end.
    pub async fn run(mut self) {
        let (abort_streams, patience) = (self.abort_streams.clone(), self.served.endpoint.provider.drain_timeout);
        // After the timeout or a stop of the gateway, the usage known so far is charged.
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

    /// Notes a frame. Returns whether it is the last one.
    fn note(&mut self, frame: &Bytes) -> bool {
        match read_frame(self.upstream.format, frame) {
            Ok(Frame::Chunk(chunk)) => {
                self.upstream.meter.note(&chunk.delta, chunk.usage, chunk.service_tier);
                chunk.is_last
            }
            Ok(Frame::Done) | Err(_) => true,
        }
    }
}
