//! Sums of usage by account and period: `usage_sums` by one dimension, `usage_pairs` by two, `usage_mixes` and `usage_details` by all,
//! and `usage_latencies` with histograms of times.
//!
//! Reports read rows that are summed already, so their time does not depend on the number of requests. With thousands of end users,
//! a row for each combination of all dimensions is a row for nearly each request; reading a year of them takes seconds. So each single
//! dimension has rows of its own for minutes, hours, days and months; the user for days and months. Combinations without the user are
//! few: they have days and months, and so has each pair of dimensions, or an application's month would be found among the rows of all.
//! Combinations with the user are found by a short time, or by the user and each of the days or hours: they have minutes, hours and days.
//! An index by user would be written in as many places as there are users. PostgreSQL has indexes of the combinations without the user.
//!
//! Sums cannot be inserted twice without harm. An event is counted if its reader has not committed its source and sequence before, and if
//! `usage_counted` lacks its request, which a ledger may have charged already in the place of a lost gateway.

pub mod names;
pub mod latencies;
pub mod pair;
pub mod sums;
pub mod width;

mod batch;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use eventlog::digest::Table;
use eventlog::store::{placeholders, portions};
use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::subject::Stream;
use events::usage_recorded::UsageRecorded;
use events::{Clock, SystemClock};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::Projection;
use super::erasures::Pseudonyms;
use super::generations::usage;
use super::retention::{AccountRetention, Retention};
use latencies::HOURS_KEPT_US;
use sums::with_sums;
use width::{DAY_US, Width};

/// The time for which sums of minutes are kept.
pub const MINUTES_KEPT_US: i64 = 3 * DAY_US;
/// The time for which requests are remembered, so that a second charge of the same request is recognised.
const COUNTED_KEPT_US: i64 = 7 * DAY_US;
/// Large batches of old events are cheaper, because they share rows.
const PACE: Pace = Pace { batch_max: 10_000, ..Pace::VISIBLE };

/// The keys of the tables of sums, in the order of their columns.
const SUMS_KEY: [&str; 5] = ["account", "width", "dimension", "start_us", "value"];
const PAIRS_KEY: [&str; 6] = ["account", "width", "pair", "start_us", "first", "second"];
const MIXES_KEY: [&str; 7] = ["account", "width", "start_us", "model", "key_hash", "provider", "app"];
const DETAILS_KEY: [&str; 8] = ["account", "width", "start_us", "end_user", "model", "provider", "key_hash", "app"];

/// The projection of usage by period.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "usage", stream: Stream::Usage },
    fold: &Usage { clock: &SystemClock },
    tables: &[
        Table::new("usage_counted", &["admitted_at_us", "request", "is_kept"])
            .kept("is_kept = 1 OR admitted_at_us >= (SELECT MAX(admitted_at_us) FROM usage_counted WHERE is_kept = 0) - 604800000000"),
        Table::new("usage_sums", &with_sums::<5, 14>(SUMS_KEY))
            .kept("width > 0 OR start_us >= (SELECT MAX(start_us) FROM usage_sums WHERE width = 0) - 259140000000"),
        Table::new("usage_pairs", &with_sums::<6, 15>(PAIRS_KEY)),
        Table::new("usage_mixes", &with_sums::<7, 16>(MIXES_KEY)),
        Table::new("usage_details", &with_sums::<8, 17>(DETAILS_KEY))
            .kept("width > 0 OR start_us >= (SELECT MAX(start_us) FROM usage_details WHERE width = 0) - 259140000000"),
        Table::new("usage_latencies", &["account", "width", "start_us", "model", "provider", "kind", "bucket", "requests"])
            .kept("width > 1 OR start_us >= (SELECT MAX(start_us) FROM usage_latencies WHERE width = 1) - 255600000000"),
    ],
    pace: PACE,
    behind: None,
};

const COUNTED: Retention = Retention { table: "usage_counted", column: "admitted_at_us", ages: "is_kept = 0", kept_us: COUNTED_KEPT_US };
const AGED: [AccountRetention; 3] = [
    AccountRetention {
        table: "usage_sums",
        key: "account, width, dimension, start_us, value",
        ages: "width = 0 AND dimension IN (0, 1, 2, 3, 5)",
        kept_us: MINUTES_KEPT_US,
    },
    AccountRetention {
        table: "usage_details",
        key: "account, width, start_us, end_user, model, provider, key_hash, app",
        ages: "width = 0",
        kept_us: MINUTES_KEPT_US,
    },
    AccountRetention {
        table: "usage_latencies",
        key: "account, width, start_us, model, provider, kind, bucket",
        ages: "width = 1",
        kept_us: HOURS_KEPT_US,
    },
];
/// The least time whose rows a batch deletes.
const TRIMMED_US: i64 = DAY_US / 4;

/// A dimension by which usage is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    All,
    Model,
    Provider,
    Key,
    User,
    App,
}

impl Dimension {
    pub const ALL: [Self; 6] = [Self::All, Self::Model, Self::Provider, Self::Key, Self::User, Self::App];

    /// Returns the number that `usage_sums` contains.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::All => 0,
            Self::Model => 1,
            Self::Provider => 2,
            Self::Key => 3,
            Self::User => 4,
            Self::App => 5,
        }
    }

    /// Returns whether `usage_sums` has rows of this dimension and width. A user has one row in a minute or hour of `usage_details`, as a
    /// rule: a second one would be no sum.
    #[must_use]
    pub fn has_sums(self, width: Width) -> bool {
        self != Self::User || matches!(width, Width::Day | Width::Month)
    }

    /// Returns whether an account has dozens of values at most, as a rule.
    #[must_use]
    pub const fn has_few_values(self) -> bool {
        match self {
            Self::All | Self::Model | Self::Provider | Self::App => true,
            Self::Key | Self::User => false,
        }
    }

    /// Returns the column of the other tables; `''` for [`Dimension::All`].
    #[must_use]
    pub const fn column(self) -> &'static str {
        match self {
            Self::All => "''",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Key => "key_hash",
            Self::User => "end_user",
            Self::App => "app",
        }
    }
}

/// A charge that is counted, with the names that its rows have.
struct Charge<'a> {
    account: &'a str,
    usage: UsageRecorded,
    by_ledger: bool,
}

impl Charge<'_> {
    fn value(&self, dimension: Dimension) -> &str {
        match dimension {
            Dimension::All => "",
            Dimension::Model => &self.usage.model,
            Dimension::Provider => &self.usage.provider,
            Dimension::Key => self.usage.key.as_str(),
            Dimension::User => self.usage.user.as_deref().unwrap_or_default(),
            Dimension::App => self.usage.app.as_deref().unwrap_or_default(),
        }
    }
}

/// The fold of `USAGE`.
pub struct Usage {
    /// The clock that limits the effect of an event from the future.
    pub clock: &'static dyn Clock,
}

impl Fold for Usage {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            let mut charges: BTreeMap<(i64, String), Charge<'_>> = BTreeMap::new();
            for event in events.iter().filter(|event| !event.is_repeat) {
                match usage(event) {
                    Ok(usage) => {
                        let by_ledger = event.envelope.source.starts_with("/ledger/");
                        let key = (usage.admitted_at_us, usage.request.to_string());
                        charges.entry(key).or_insert(Charge { account: event.envelope.account, usage, by_ledger });
                    }
                    Err(reason) => rejected.push(Rejected { record: event.record, reason, freezes_account: None }),
                }
            }
            if charges.is_empty() {
                return Ok(rejected);
            }
            let counted = count(connection, &charges).await?;
            charges.retain(|(_, request), _| counted.contains(request));
            let pseudonyms = Pseudonyms::load(connection).await?;
            for charge in charges.values_mut() {
                pseudonyms.replace(charge.account, &mut charge.usage.user);
            }
            let by_gateways = charges.values().filter(|charge| !charge.by_ledger);
            let newest_us = by_gateways.map(|charge| charge.usage.admitted_at_us).max().unwrap_or(i64::MIN);
            let horizon_us = COUNTED.horizon_us(connection, self.clock, newest_us).await?;
            let minutes_us = horizon_us.saturating_add(COUNTED_KEPT_US - MINUTES_KEPT_US);
            let charges: Vec<Charge<'_>> = charges.into_values().collect();
            batch::write(connection, &charges, minutes_us).await?;
            COUNTED.trim(connection, horizon_us).await?;
            let accounts: Vec<&str> = charges.iter().map(|charge| charge.account).collect::<BTreeSet<_>>().into_iter().collect();
            // Old events come in batches that cover more time than their rows are deleted with.
            let covered_us =
                charges.first().zip(charges.last()).map_or(0, |(first, last)| last.usage.admitted_at_us - first.usage.admitted_at_us);
            for aged in AGED {
                let end_us = horizon_us.saturating_add(COUNTED_KEPT_US - aged.kept_us);
                let trimmed_us = TRIMMED_US.max(covered_us.saturating_mul(2));
                aged.trim(connection, &accounts, end_us.saturating_sub(trimmed_us)..end_us).await?;
            }
            Ok(rejected)
        })
    }
}

/// Remembers requests, and returns those that were not remembered yet.
async fn count(connection: &mut AnyConnection, charges: &BTreeMap<(i64, String), Charge<'_>>) -> Result<HashSet<String>, sqlx::Error> {
    let mut counted = HashSet::with_capacity(charges.len());
    let rows: Vec<_> = charges.iter().collect();
    for portion in portions(&rows) {
        let sql = format!(
            "INSERT INTO usage_counted (admitted_at_us, request, is_kept) VALUES {} ON CONFLICT DO NOTHING RETURNING request",
            placeholders(connection, portion.len(), 3)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for ((admitted_at_us, request), charge) in portion {
            query = query.bind(*admitted_at_us).bind(request.clone()).bind(i64::from(charge.by_ledger));
        }
        for row in query.fetch_all(&mut *connection).await? {
            counted.insert(row.try_get("request")?);
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_compares_the_rows_that_are_kept() {
        let kept = |table: usize| PROJECTION.tables[table].kept.to_owned();
        assert!(kept(0).ends_with(&format!("- {COUNTED_KEPT_US}")));
        // A minute begins up to a minute before its newest request.
        let minutes_us = MINUTES_KEPT_US - 60_000_000;
        assert!(kept(1).ends_with(&format!("- {minutes_us}")) && kept(4).ends_with(&format!("- {minutes_us}")));
        assert!(kept(5).ends_with(&format!("- {}", latencies::HOURS_COMPARED_US)));
    }
}
