//! Rate limits over several gateways: the ledger keeps who holds which share of a limit.

pub mod shares;
mod repo;

use events::rpc::{RenewShares, SharesRenewed};

use crate::process::Ledger;
use shares::Shares;

/// Renews the shares of a gateway, and changes those that it names.
///
/// # Errors
/// Fails if the database does.
pub async fn renew(ledger: &Ledger, call: &RenewShares) -> Result<SharesRenewed, sqlx::Error> {
    let now_us = ledger.clock.now_us();
    // Grants exclude each other; a mere renewal writes one row of its own.
    let begin = async || if call.asks.is_empty() { ledger.store.begin_shared().await } else { ledger.store.begin_exclusive().await };
    let mut transaction = begin().await?;
    let mut state = Shares::default();
    if let Some(own) = repo::holder(&mut transaction, &call.holder).await? {
        state.holders.insert(call.holder.clone(), own);
    }
    for ask in &call.asks {
        repo::load(&mut transaction, &mut state, &ask.limit).await?;
    }
    let before = state.clone();
    let mut reply = state.renew(call, now_us);
    if reply.is_applied {
        repo::save(&mut transaction, &call.holder, &before, &state).await?;
        let asked = |limit: &String| call.asks.iter().any(|ask| ask.limit == *limit);
        reply.contended = repo::contended(&mut transaction, &call.holder, now_us).await?;
        reply.contended.retain(|limit| !asked(limit));
    }
    transaction.commit().await?;
    Ok(reply)
}

/// Deletes the shares of gateways that cannot have passed anything within the window any more.
///
/// # Errors
/// Fails if the database does.
pub async fn sweep(ledger: &Ledger) -> Result<(), sqlx::Error> {
    let now_us = ledger.clock.now_us();
    for holder in &repo::silent(&ledger.store.reads, shares::over_if_renewed_before_us(now_us, 0)).await? {
        if !repo::is_over(&ledger.store.reads, holder, now_us).await? {
            continue;
        }
        let mut transaction = ledger.store.begin_exclusive().await?;
        repo::delete_over(&mut transaction, holder, now_us).await?;
        transaction.commit().await?;
    }
    Ok(())
}
