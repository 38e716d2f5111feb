//! What the projector answers to other processes.

use eventlog::Store;
use eventlog::ask::{Answerer, Answering, answer};
use events::ask::{AskProjectorWatermarks, Question};

/// Answers for the projector.
pub struct Answers(pub Store);

impl Answerer for Answers {
    fn answer<'a>(&'a self, name: &'a str, question: &'a [u8]) -> Answering<'a> {
        Box::pin(async move {
            match name {
                AskProjectorWatermarks::NAME => {
                    answer(question, async |ask: AskProjectorWatermarks| {
                        eventlog::sources::watermarks(&self.0.reads, &ask.source).await.map_err(|error| {
                            tracing::error!(%error, "the projector's database failed: {error}");
                            "the projector's database failed".to_owned()
                        })
                    })
                    .await
                }
                other => Err(format!("no such question: {other}")),
            }
        })
    }
}
