//! What the ledger answers to other processes.

use std::future::Future;
use std::sync::Arc;

use eventlog::Throttle;
use eventlog::ask::{Answerer, Answering, answer};
use events::ask::{
    AskKeySpend, AskLease, AskQuarantine, AskWatermarks, ClaimRevision, CloseSource, CountAccounts, DecideQuarantine, PostCredit,
    ProbeWrite, Question,
};
use sqlx::{Any, Row};

use crate::process::Ledger;
use crate::{credit, key, lease, quarantine};

/// How often a transaction that met another one is tried.
const TRIES: u32 = 5;

/// Answers for the ledger.
pub struct Answers(pub Arc<Ledger>);

impl Answerer for Answers {
    fn answer<'a>(&'a self, name: &'a str, question: &'a [u8]) -> Answering<'a> {
        let ledger = &*self.0;
        Box::pin(async move {
            match name {
                AskLease::NAME => {
                    answer(question, async |ask: AskLease| {
                        quarantine::refuse_parked(ledger, &ask).await?;
                        again(|| lease::ask::ask(ledger, &ask)).await
                    })
                    .await
                }
                AskQuarantine::NAME => {
                    answer(question, async |ask: AskQuarantine| {
                        said(eventlog::quarantine::list(&ledger.store, ask.event_id.as_deref()).await)
                    })
                    .await
                }
                DecideQuarantine::NAME => {
                    answer(question, async |command: DecideQuarantine| again(|| quarantine::decide(&self.0, &command)).await).await
                }
                PostCredit::NAME => answer(question, async |command: PostCredit| again(|| credit::post(ledger, &command)).await).await,
                CloseSource::NAME => {
                    answer(question, async |ask: CloseSource| {
                        again(|| lease::settle::close_source(ledger, &ask.source, ask.last_usage)).await
                    })
                    .await
                }
                AskKeySpend::NAME => {
                    answer(question, async |ask: AskKeySpend| {
                        said(key::repo::spending(&ledger.store.reads, &ask.keys, ledger.clock.now_us()).await)
                    })
                    .await
                }
                AskWatermarks::NAME => {
                    answer(question, async |ask: AskWatermarks| said(eventlog::sources::watermarks(&ledger.store.reads, &ask.source).await))
                        .await
                }
                ClaimRevision::NAME => answer(question, async |ask: ClaimRevision| again(|| key::claim::claim(ledger, &ask)).await).await,
                ProbeWrite::NAME => answer(question, async |_: ProbeWrite| said(probe(ledger).await)).await,
                CountAccounts::NAME => answer(question, async |_: CountAccounts| said(count_accounts(ledger).await)).await,
                other => Err(format!("no such question: {other}")),
            }
        })
    }
}

/// Writes something, as a lease would.
async fn probe(ledger: &Ledger) -> Result<bool, sqlx::Error> {
    let mut transaction = ledger.store.begin().await?;
    sqlx::query::<Any>(
        "INSERT INTO probes (one, probed_at_us) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET probed_at_us = excluded.probed_at_us",
    )
    .bind(ledger.clock.now_us())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

async fn count_accounts(ledger: &Ledger) -> Result<u64, sqlx::Error> {
    let row = sqlx::query::<Any>("SELECT COUNT(*) AS accounts FROM accounts").fetch_one(&ledger.store.reads).await?;
    Ok(u64::try_from(row.try_get::<i64, _>("accounts")?).unwrap_or_default())
}

/// Runs a transaction again when another one moved the same rows; nothing of the failed one stands.
async fn again<T, F: Future<Output = Result<T, sqlx::Error>>>(run: impl Fn() -> F) -> Result<T, String> {
    let mut tries = 0;
    loop {
        tries += 1;
        match run().await {
            Ok(done) => return Ok(done),
            Err(sqlx::Error::RowNotFound) if tries < TRIES => {}
            Err(error) => return said(Err(error)),
        }
    }
}

pub(crate) fn said<T>(result: Result<T, sqlx::Error>) -> Result<T, String> {
    static TROUBLES: Throttle = Throttle::new();
    result.map_err(|error| {
        if let (_, Some(unsaid)) = TROUBLES.failed() {
            tracing::error!(%error, unsaid, "the ledger's database failed: {error}");
        }
        "the ledger's database failed".to_owned()
    })
}
