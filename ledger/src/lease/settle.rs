//! Giving credit back: what a gateway returns, what a finished boot leaves, what a vanished gateway never used.

use events::Nanos;
use events::ledger::LeaseClosed;
use sqlx::AnyConnection;

use super::{FROZEN_US, Lease, State, repo};
use crate::account;
use crate::books::{self, Kind, Movement};
use crate::key;
use crate::outbox;
use crate::process::Ledger;

/// Leases looked at in one sweep.
const SWEEP_MAX: i64 = 200;

/// Books credit of a lease back to its account, and says so when the lease is closed. `lease` is already changed; `back` is what
/// that freed.
///
/// # Errors
/// When the database is away, or somebody else moved the account meanwhile.
pub async fn book(connection: &mut AnyConnection, ledger: &Ledger, lease: &Lease, back: Nanos) -> Result<(), sqlx::Error> {
    if back > Nanos::ZERO {
        let mut account = account::repo::find(connection, &lease.account).await?.ok_or(sqlx::Error::RowNotFound)?;
        let before = account.version;
        account.take_back(back);
        account::repo::save(connection, &account, before).await?;
        if let Some(window) = &lease.window {
            key::repo::add(connection, window, Nanos::ZERO, Nanos(-back.0)).await?;
        }
        let movement = Movement {
            id: ledger.ids.uuid(&*ledger.clock).to_string(),
            content_hash: String::new(),
            account: account.id.clone(),
            version: account.version,
            kind: Kind::LeaseReturned,
            amount: Nanos::ZERO,
            balance_after: account.balance(),
            description: String::new(),
            created_at_us: ledger.clock.now_us(),
            request: None,
            key_hash: None,
            lease: Some(lease.id.clone()),
            legs: vec![(books::held(&account.id), Nanos(-back.0)), (books::credit(&account.id), back)],
        };
        books::write(connection, &[movement]).await?;
    }
    repo::save(connection, lease).await?;
    if lease.state == State::Closed {
        announce_closed(connection, ledger, lease).await?;
    }
    Ok(())
}

/// Says that a lease is closed.
///
/// # Errors
/// When the database is away.
pub async fn announce_closed(connection: &mut AnyConnection, ledger: &Ledger, lease: &Lease) -> Result<(), sqlx::Error> {
    let closed = LeaseClosed {
        lease: lease.id.as_str().into(),
        account: lease.account.as_str().into(),
        granted_nanos: lease.granted,
        consumed_nanos: lease.consumed,
        returned_nanos: lease.returned,
    };
    outbox::write(connection, ledger, &lease.account, &lease.id, &closed).await
}

/// A boot of a gateway is over and all its usage up to `last_usage` is recorded: once that is posted, its leases are settled.
/// Gives back whether they are.
///
/// # Errors
/// When the database is away.
pub async fn close_source(ledger: &Ledger, source: &str, last_usage: u64) -> Result<bool, sqlx::Error> {
    let mut transaction = ledger.store.begin().await?;
    let posted = eventlog::sources::watermark(&mut transaction, source, events::subject::Stream::Usage).await?;
    if posted < last_usage {
        return Ok(false);
    }
    for mut lease in repo::of_holder(&mut transaction, source).await? {
        let back = lease.settle();
        book(&mut transaction, ledger, &lease, back).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Freezes leases whose gateway did not come back in time, and settles those that were frozen long enough.
///
/// # Errors
/// When the database is away.
pub async fn sweep(ledger: &Ledger) -> Result<(), sqlx::Error> {
    let now_us = ledger.clock.now_us();
    let mut transaction = ledger.store.begin().await?;
    for mut lease in repo::expired(&mut transaction, now_us, SWEEP_MAX).await? {
        if lease.state == State::Frozen {
            let back = lease.settle();
            tracing::warn!(
                lease = lease.id,
                account = lease.account,
                returned_nanos = back.0,
                "lease {} was frozen long enough: {back} USD go back",
                lease.id
            );
            book(&mut transaction, ledger, &lease, back).await?;
        } else {
            tracing::warn!(
                lease = lease.id,
                account = lease.account,
                holder = lease.holder,
                "lease {} ran out and is frozen: its gateway vanished",
                lease.id
            );
            lease.state = State::Frozen;
            lease.expires_at_us = now_us + FROZEN_US;
            repo::save(&mut transaction, &lease).await?;
        }
    }
    transaction.commit().await
}
