//! Rows onto the desk, and what changed back into the database.

use events::ask::AskLease;
use sqlx::AnyConnection;

use super::{Crowd, Desk, Fact};
use crate::key::repo::WindowId;
use crate::process::Ledger;
use crate::{account, books, grant, key, lease, outbox};

impl Desk {
    /// Loads what a question about a lease concerns.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn for_ask(connection: &mut AnyConnection, ask: &AskLease, now_us: i64) -> Result<Self, sqlx::Error> {
        let mut desk = Self::default();
        desk.load_account(connection, ask.account.as_str()).await?;
        let mut window = None;
        if let Some(hash) = &ask.key
            && let Some(row) = key::repo::find(connection, hash.as_str(), ask.account.as_str()).await?
        {
            window = Some((hash.to_string(), row.period, row.period.start_us(now_us)));
            desk.keys.insert(hash.to_string(), row);
        }
        desk.load_lease(connection, ask.lease.as_str()).await?;
        let of_lease = desk.leases.get(ask.lease.as_str()).map_or(window, |lease| lease.window.clone());
        if let Some(window) = &of_lease {
            desk.load_window(connection, window).await?;
        }
        let (account, lease) = (ask.account.as_str(), ask.lease.as_str());
        desk.crowd = Crowd {
            holders: lease::repo::other_holders(connection, account, &ask.holder).await?,
            unposted: lease::repo::unposted(connection, account, None, lease).await?,
            unposted_in_window: lease::repo::unposted(connection, account, of_lease.as_ref(), lease).await?,
        };
        Ok(desk)
    }

    /// Loads an account; gives back whether it is there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn load_account(&mut self, connection: &mut AnyConnection, id: &str) -> Result<bool, sqlx::Error> {
        if !self.accounts.contains_key(id)
            && let Some(account) = account::repo::find(connection, id).await?
        {
            self.accounts.insert(id.to_owned(), account);
        }
        Ok(self.accounts.contains_key(id))
    }

    /// Loads what is left of an account's grants.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn load_grants(&mut self, connection: &mut AnyConnection, account: &str) -> Result<(), sqlx::Error> {
        if !self.grants.contains_key(account) {
            let grants = grant::repo::of_account(connection, account).await?;
            self.grants.insert(account.to_owned(), grants);
        }
        Ok(())
    }

    /// Loads a lease if there is one.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn load_lease(&mut self, connection: &mut AnyConnection, id: &str) -> Result<(), sqlx::Error> {
        if !self.leases.contains_key(id)
            && let Some(lease) = lease::repo::find(connection, id).await?
        {
            self.leases.insert(id.to_owned(), lease);
        }
        Ok(())
    }

    async fn load_window(&mut self, connection: &mut AnyConnection, id: &WindowId) -> Result<(), sqlx::Error> {
        let window = key::repo::window(connection, id).await?;
        self.windows.insert(id.clone(), window);
        Ok(())
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// When the database is away, or somebody else moved an account meanwhile: nothing of it may stand then.
    pub async fn save(self, connection: &mut AnyConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
        let effects = &self.effects;
        for (id, before) in &effects.accounts {
            let account = self.accounts.get(id).ok_or(sqlx::Error::RowNotFound)?;
            account::repo::save(connection, account, *before).await?;
        }
        for (id, (spent, held)) in &effects.windows {
            key::repo::add(connection, id, *spent, *held).await?;
        }
        books::write(connection, &effects.movements).await?;
        for grant in effects.grants.values() {
            grant::repo::save(connection, grant).await?;
        }
        for id in &effects.leases {
            let lease = self.leases.get(id).ok_or(sqlx::Error::RowNotFound)?;
            lease::repo::save(connection, lease).await?;
        }
        for fact in &effects.facts {
            match fact {
                Fact::LeaseGranted(fact) => {
                    outbox::write(connection, ledger, fact.account.as_str(), fact.lease.as_str(), fact).await?;
                }
                Fact::LeaseClosed(fact) => {
                    outbox::write(connection, ledger, fact.account.as_str(), fact.lease.as_str(), fact).await?;
                }
                Fact::CreditPosted(fact) => outbox::write(connection, ledger, fact.account.as_str(), &fact.id, fact).await?,
            }
        }
        Ok(())
    }
}
