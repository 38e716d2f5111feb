//! Everything that an activity report shows, whatever its form.

use std::collections::HashMap;

use read_api::{AsOf, Http, ReadError};
use sqlx::{Any, AnyPool, Row};

use super::query::{Asked, Group, cursor};
use super::rows::{ActivityRow, Rows};
use crate::projections::usage::sums::Sums;

/// The names of a key, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// The owner's name for the key; it may change.
    pub name: String,
    /// The part of the secret that is shown; it never changes.
    pub label: String,
}

/// The names of an account's keys by their hashes.
pub type KeyNames = HashMap<String, KeyName>;

/// One page of a report. Its periods, groups and account stand in the query, [`Asked`].
#[derive(Debug, Clone)]
pub struct ActivityReport {
    pub rows: Vec<ActivityRow>,
    /// The sums over the whole period, whatever the page.
    pub totals: Sums,
    /// The sums of each bucket over all groups: the series of each metric's chart. The rows have no values.
    pub series: Vec<ActivityRow>,
    pub keys: KeyNames,
    pub next_cursor: Option<String>,
    pub as_of: AsOf,
}

impl ActivityReport {
    /// Reads the page of a query.
    ///
    /// # Errors
    /// Fails if the database does.
    pub async fn read(http: &Http, asked: &Asked) -> Result<Self, ReadError> {
        let as_of = http.as_of();
        let reads = &http.store.reads;
        let whole = asked.selection.whole();
        let series = Rows { reads, selection: &whole, period: &asked.period }.page(None, asked.period.len()).await?;
        let mut totals = Sums::default();
        for bucket in &series {
            totals.add(&bucket.sums);
        }
        let rows = Rows { reads, selection: &asked.selection, period: &asked.period };
        let mut rows = rows.page(asked.after.as_ref(), asked.limit.saturating_add(1)).await?;
        let has_more = rows.len() > asked.limit;
        rows.truncate(asked.limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|row| cursor(&row.place()));
        let has_keys = asked.groups.contains(&Group::ApiKey);
        let keys = if has_keys { key_names(reads, &asked.selection.account).await? } else { KeyNames::new() };
        Ok(Self { rows, totals, series, keys, next_cursor, as_of })
    }
}

/// Returns the names of an account's keys.
pub async fn key_names(reads: &AnyPool, account: &str) -> Result<KeyNames, sqlx::Error> {
    let query = sqlx::query::<Any>("SELECT hash, name, label FROM key_names WHERE account = $1").bind(account.to_owned());
    let rows = query.fetch_all(reads).await?;
    let named = |row: &sqlx::any::AnyRow| Ok((row.try_get("hash")?, KeyName { name: row.try_get("name")?, label: row.try_get("label")? }));
    rows.iter().map(named).collect()
}
