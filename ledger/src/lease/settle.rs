//! Returns of credit: from boots that have ended and from gateways that vanished.

use super::{Lease, State, orphans, repo};
use std::collections::BTreeSet;

use eventlog::Log;

use crate::decide::{self, Command};
use crate::process::Ledger;
use crate::readers;
use events::{Failpoint, Nanos, failpoint};

/// The most leases that one sweep handles.
const SWEEP_MAX: i64 = 200;

/// Settles the leases of a finished boot once its usage up to `last_usage` is posted; returns whether they are settled.
pub async fn close_source(ledger: &Ledger, source: &str, last_usage: u64) -> Result<bool, sqlx::Error> {
    let mut transaction = ledger.store.begin_exclusive().await?;
    let posted = eventlog::sources::watermark(&mut transaction, source, readers::POSTINGS).await?;
    if posted < last_usage {
        return Ok(false);
    }
    let leases = repo::of_holder(&mut transaction, source).await?;
    settle(transaction, ledger, leases, &Command::Close).await?;
    failpoint(Failpoint::SourceClosed);
    Ok(true)
}

/// Freezes leases whose gateway did not renew them in time. Settles those that have been frozen long enough and whose requests have all
/// ended.
pub async fn sweep(ledger: &Ledger, log: &Log) -> Result<(), sqlx::Error> {
    let due = repo::expired(&mut *ledger.store.reads.acquire().await?, ledger.clock.now_us(), SWEEP_MAX).await?;
    let mut settled = BTreeSet::new();
    for lease in due.iter().filter(|lease| lease.state == State::Frozen) {
        match orphans::are_settled(ledger, log, lease).await {
            Ok(true) => {
                settled.insert(lease.id.clone());
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, lease = lease.id, "lease {} stays frozen: {error}", lease.id),
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    let mut transaction = ledger.store.begin_exclusive().await?;
    let mut leases: Vec<Lease> = repo::expired(&mut transaction, ledger.clock.now_us(), SWEEP_MAX).await?;
    leases.retain(|lease| lease.state != State::Frozen || settled.contains(&lease.id));
    settle(transaction, ledger, leases, &Command::Sweep).await
}

async fn settle(
    mut transaction: sqlx::Transaction<'static, sqlx::Any>,
    ledger: &Ledger,
    leases: Vec<Lease>,
    command: &Command,
) -> Result<(), sqlx::Error> {
    let mut state = ledger.state();
    for lease in leases {
        state.load_account(&mut transaction, &lease.account).await?;
        state.leases.insert(lease.id.clone(), lease);
    }
    state.apply(command, ledger.clock.now_us());
    state.save(&mut transaction, ledger).await?;
    transaction.commit().await
}

impl decide::State {
    pub(crate) fn close(&mut self, now_us: i64) {
        for mut lease in self.leases.clone().into_values().filter(|lease| lease.state != State::Closed) {
            let back = lease.settle();
            self.move_to_lease(&lease, Nanos(-back.0), now_us);
            self.put_lease(lease);
        }
    }

    pub(crate) fn sweep(&mut self, now_us: i64) {
        for mut lease in self.leases.clone().into_values().filter(|lease| lease.expires_at_us < now_us) {
            match lease.state {
                State::Open | State::Closing => {
                    tracing::warn!(
                        lease = lease.id,
                        account = lease.account,
                        holder = lease.holder,
                        "lease {} ran out and is frozen: its gateway vanished",
                        lease.id
                    );
                    lease.state = State::Frozen;
                    lease.expires_at_us = now_us + self.terms.frozen_us();
                }
                State::Frozen => {
                    let back = lease.settle();
                    tracing::warn!(
                        lease = lease.id,
                        account = lease.account,
                        returned_nanos = back.0,
                        "lease {} was frozen long enough: {back} USD go back",
                        lease.id
                    );
                    self.move_to_lease(&lease, Nanos(-back.0), now_us);
                }
                State::Closed => continue,
            }
            self.put_lease(lease);
        }
    }
}
