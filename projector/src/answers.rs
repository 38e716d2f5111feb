//! What the projector answers to other processes.

use std::sync::Arc;

use eventlog::ask::{Answerer, Answering, answer};
use eventlog::{Store, Throttle, quarantine};
use events::Clock;
use events::ask::{AskQuarantine, AskWatermarks, DecideAnswer, DecideQuarantine, Question};
use events::subject::Stream;

use crate::projections::arrivals::Arrivals;
use crate::projections::generations::Generations;
use crate::projections::keys::KeyNames;

/// Answers for the projector.
pub struct Answers {
    /// Its database.
    pub store: Store,
    /// The time, for decisions.
    pub clock: Arc<dyn Clock>,
}

impl Answerer for Answers {
    fn answer<'a>(&'a self, name: &'a str, question: &'a [u8]) -> Answering<'a> {
        Box::pin(async move {
            match name {
                AskWatermarks::NAME => {
                    answer(question, async |ask: AskWatermarks| said(eventlog::sources::watermarks(&self.store.reads, &ask.source).await))
                        .await
                }
                AskQuarantine::NAME => {
                    answer(question, async |ask: AskQuarantine| said(quarantine::list(&self.store, ask.event_id.as_deref()).await)).await
                }
                DecideQuarantine::NAME => answer(question, async |command: DecideQuarantine| said(self.decide(&command).await)).await,
                other => Err(format!("no such question: {other}")),
            }
        })
    }
}

impl Answers {
    async fn decide(&self, command: &DecideQuarantine) -> Result<DecideAnswer, sqlx::Error> {
        let (store, now_us) = (&self.store, self.clock.now_us());
        quarantine::decide(store, command, now_us, async |event| {
            if event.stream == Stream::Usage.name() {
                quarantine::release(store, &Generations, event, now_us).await
            } else if event.stream == Stream::Control.name() {
                quarantine::release(store, &KeyNames, event, now_us).await
            } else {
                quarantine::release(store, &Arrivals, event, now_us).await
            }
        })
        .await
    }
}

fn said<T>(result: Result<T, sqlx::Error>) -> Result<T, String> {
    static TROUBLES: Throttle = Throttle::new();
    result.map_err(|error| {
        if let (_, Some(unsaid)) = TROUBLES.failed() {
            tracing::error!(%error, unsaid, "the projector's database failed: {error}");
        }
        "the projector's database failed".to_owned()
    })
}
