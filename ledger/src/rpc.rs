//! The ledger's RPC handlers for other processes.

use std::future::Future;
use std::sync::Arc;

use eventlog::Throttle;
use eventlog::rpc::{Handler, HandlerFuture, handle};
use eventlog::store::from_db;
use events::rpc::{
    ClaimIdempotencyKey, ClaimRevision, CloseSource, CountAccounts, DecideQuarantine, GetKeySpend, GetPurchased, GetWatermarks,
    LeaseRequest, ListQuarantine, PostCredit, ProbeWrite, ReleaseIdempotencyKey, RenewShares, Request,
};
use sqlx::{Any, Row};

use crate::process::Ledger;
use crate::{credit, grant, idempotency, key, lease, quarantine, rate, readers};

/// The most attempts of a transaction that conflicts with others.
const TRIES: u32 = 5;

/// The handler of the ledger's RPC requests.
pub struct RpcHandler(pub Arc<Ledger>);

impl Handler for RpcHandler {
    fn handle<'a>(&'a self, name: &'a str, request: &'a [u8]) -> HandlerFuture<'a> {
        let ledger = &*self.0;
        Box::pin(async move {
            match name {
                LeaseRequest::NAME => {
                    handle(request, async |request: LeaseRequest| {
                        quarantine::refuse_frozen(ledger, &request).await?;
                        retry_on_conflict(|| lease::grant::grant(ledger, &request)).await
                    })
                    .await
                }
                ListQuarantine::NAME => {
                    handle(request, async |request: ListQuarantine| {
                        database_error(eventlog::quarantine::list(&ledger.store, request.event_id.as_deref()).await)
                    })
                    .await
                }
                DecideQuarantine::NAME => {
                    handle(request, async |command: DecideQuarantine| retry_on_conflict(|| quarantine::decide(&self.0, &command)).await)
                        .await
                }
                PostCredit::NAME => {
                    handle(request, async |command: PostCredit| retry_on_conflict(|| credit::post(ledger, &command)).await).await
                }
                CloseSource::NAME => {
                    handle(request, async |request: CloseSource| {
                        retry_on_conflict(|| lease::settle::close_source(ledger, &request.source, request.last_usage)).await
                    })
                    .await
                }
                GetKeySpend::NAME => {
                    handle(request, async |request: GetKeySpend| {
                        database_error(key::repo::spending(&ledger.store.reads, &request.keys, ledger.clock.now_us()).await)
                    })
                    .await
                }
                GetPurchased::NAME => {
                    handle(request, async |request: GetPurchased| {
                        database_error(grant::repo::purchased(&ledger.store.reads, request.account.as_str()).await)
                    })
                    .await
                }
                GetWatermarks::NAME => {
                    handle(request, async |request: GetWatermarks| {
                        database_error(eventlog::sources::watermarks(&ledger.store.reads, &request.source, &readers::ALL).await)
                    })
                    .await
                }
                ClaimRevision::NAME => {
                    handle(request, async |request: ClaimRevision| retry_on_conflict(|| key::claim::claim(ledger, &request)).await).await
                }
                ClaimIdempotencyKey::NAME => {
                    handle(request, async |request: ClaimIdempotencyKey| retry_on_conflict(|| idempotency::claim(ledger, &request)).await)
                        .await
                }
                ReleaseIdempotencyKey::NAME => {
                    handle(request, async |request: ReleaseIdempotencyKey| {
                        retry_on_conflict(|| idempotency::release(ledger, &request)).await
                    })
                    .await
                }
                RenewShares::NAME => {
                    handle(request, async |request: RenewShares| retry_on_conflict(|| rate::renew(ledger, &request)).await).await
                }
                ProbeWrite::NAME => handle(request, async |_: ProbeWrite| database_error(probe(ledger).await)).await,
                CountAccounts::NAME => handle(request, async |_: CountAccounts| database_error(count_accounts(ledger).await)).await,
                other => Err(format!("no such request: {other}")),
            }
        })
    }
}

/// Writes a row, as a lease request would, to check that the database accepts writes.
async fn probe(ledger: &Ledger) -> Result<bool, sqlx::Error> {
    let mut transaction = ledger.store.begin_exclusive().await?;
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
    from_db(row.try_get("accounts")?)
}

/// Retries a transaction if another one changed the same rows concurrently; the failed one is rolled back.
async fn retry_on_conflict<T, F: Future<Output = Result<T, sqlx::Error>>>(run: impl Fn() -> F) -> Result<T, String> {
    let mut tries = 0;
    loop {
        tries += 1;
        match run().await {
            Ok(done) => return Ok(done),
            Err(sqlx::Error::RowNotFound) if tries < TRIES => {}
            Err(error) => return database_error(Err(error)),
        }
    }
}

pub(crate) fn database_error<T>(result: Result<T, sqlx::Error>) -> Result<T, String> {
    static TROUBLES: Throttle = Throttle::new();
    result.map_err(|error| {
        if let (_, Some(unsaid)) = TROUBLES.failed() {
            tracing::error!(%error, unsaid, "the ledger's database failed: {error}");
        }
        "the ledger's database failed".to_owned()
    })
}
