//! Loads rows into the state and saves its changes to the database.

use events::rpc::LeaseRequest;
use sqlx::AnyConnection;

use super::{OtherLeases, State};
use crate::key::repo::WindowId;
use crate::process::Ledger;
use crate::{account, byok, grant, journal, key, lease, outbox};

impl State {
    /// Loads the rows that a lease request concerns.
    pub async fn load_lease_request(
        &mut self,
        connection: &mut AnyConnection,
        request: &LeaseRequest,
        now_us: i64,
    ) -> Result<(), sqlx::Error> {
        self.load_account(connection, request.account.as_str()).await?;
        let mut window = None;
        if let Some(hash) = &request.key
            && let Some(row) = key::repo::find(connection, hash.as_str(), request.account.as_str()).await?
        {
            window = Some((hash.to_string(), row.period, row.period.start_us(now_us)));
            self.keys.insert(hash.to_string(), row);
        }
        self.load_leases(connection, &[request.lease.as_str()]).await?;
        let of_lease = self.leases.get(request.lease.as_str()).map_or(window, |lease| lease.window.clone());
        if let Some(window) = &of_lease {
            self.load_window(connection, window).await?;
        }
        let (account, lease) = (request.account.as_str(), request.lease.as_str());
        self.other_leases = OtherLeases {
            holders: lease::repo::other_holders(connection, account, &request.holder).await?,
            unposted: lease::repo::unposted(connection, account, None, lease).await?,
            unposted_in_window: lease::repo::unposted(connection, account, of_lease.as_ref(), lease).await?,
        };
        Ok(())
    }

    /// Loads and locks an account; returns whether it exists.
    pub async fn load_account(&mut self, connection: &mut AnyConnection, id: &str) -> Result<bool, sqlx::Error> {
        self.load_accounts(connection, &[id]).await?;
        Ok(self.accounts.contains_key(id))
    }

    /// Loads and locks those of the given accounts that exist. The ids must be sorted.
    pub async fn load_accounts(&mut self, connection: &mut AnyConnection, ids: &[&str]) -> Result<(), sqlx::Error> {
        let missing: Vec<&str> = ids.iter().copied().filter(|id| !self.accounts.contains_key(*id)).collect();
        for account in account::repo::lock_all(connection, &missing).await? {
            self.accounts.insert(account.id.clone(), account);
        }
        Ok(())
    }

    /// Loads the remaining grants of accounts; none of them may be loaded already.
    pub async fn load_grants(&mut self, connection: &mut AnyConnection, accounts: &[&str]) -> Result<(), sqlx::Error> {
        for grant in grant::repo::of_accounts(connection, accounts).await? {
            self.grants.entry(grant.account.clone()).or_default().add(grant);
        }
        Ok(())
    }

    /// Loads those of the given leases that exist.
    pub async fn load_leases(&mut self, connection: &mut AnyConnection, ids: &[&str]) -> Result<(), sqlx::Error> {
        for lease in lease::repo::find_all(connection, ids).await? {
            self.leases.insert(lease.id.clone(), lease);
        }
        Ok(())
    }

    async fn load_window(&mut self, connection: &mut AnyConnection, id: &WindowId) -> Result<(), sqlx::Error> {
        let window = key::repo::window(connection, id).await?;
        self.windows.insert(id.clone(), window);
        Ok(())
    }

    /// Writes the changed rows, and their facts to the outbox.
    ///
    /// # Errors
    /// Returns `RowNotFound` if another process changed an account concurrently; the caller must roll back and retry.
    pub async fn save(self, connection: &mut AnyConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
        self.save_rows(connection).await?;
        outbox::write(connection, ledger, &self.effects.facts().collect::<Vec<_>>()).await
    }

    /// Writes the changed rows.
    ///
    /// # Errors
    /// Returns `RowNotFound` if another process changed an account concurrently; the caller must roll back and retry.
    pub async fn save_rows(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let effects = &self.effects;
        let accounts: Option<Vec<_>> = effects.accounts.iter().map(|(id, read_at)| Some((self.accounts.get(id)?, *read_at))).collect();
        account::repo::save(connection, &accounts.ok_or(sqlx::Error::RowNotFound)?).await?;
        let windows: Vec<_> = effects.windows.iter().map(|(id, more)| (id, *more)).collect();
        key::repo::add(connection, &windows).await?;
        byok::add(connection, &effects.byok_months).await?;
        journal::write(connection, &effects.transactions).await?;
        grant::repo::save(connection, &effects.grants.values().collect::<Vec<_>>()).await?;
        let leases: Option<Vec<_>> = effects.leases.iter().map(|id| self.leases.get(id)).collect();
        lease::repo::save(connection, &leases.ok_or(sqlx::Error::RowNotFound)?).await
    }
}
