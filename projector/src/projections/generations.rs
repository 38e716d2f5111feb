//! One row per request that was sent to a provider: its usage, cost and outcome. All of it comes from `usage.recorded`. Requests of the last
//! 90 days are kept.

use std::collections::BTreeMap;

use eventlog::digest::Table;
use eventlog::store::{placeholders, portions};
use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::subject::Stream;
use events::usage_recorded::UsageRecorded;
use events::{Clock, Payload, SystemClock};
use sqlx::{Any, AnyConnection, AssertSqlSafe};

use super::erasures::Pseudonyms;
use super::retention::Retention;
use super::usage::width::DAY_US;
use super::{Projection, keys};
use crate::webhook::deliveries::WithDeliveries;

pub const COLUMNS: [&str; 26] = [
    "request",
    "account",
    "key_hash",
    "model",
    "provider",
    "end_user",
    "app",
    "outcome",
    "finish_reason",
    "status",
    "streamed",
    "admitted_at_us",
    "latency_us",
    "ttft_us",
    "tokens",
    "unit_prices",
    "provenance",
    "cost_status",
    "cost_nanos",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "attempts",
    "skipped",
    "byok_nanos",
];

/// The projection of requests by their charge.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "generations", stream: Stream::Usage },
    fold: &WithDeliveries(&Generations { clock: &SystemClock }),
    tables: &[Table::new("generations", &COLUMNS).kept("admitted_at_us >= (SELECT MAX(admitted_at_us) FROM generations) - 7776000000000")],
    pace: Pace::VISIBLE,
    behind: Some(keys::READER),
};

/// The time for which requests are kept.
pub const KEPT_US: i64 = 90 * DAY_US;

const RETENTION: Retention = Retention { table: "generations", column: "admitted_at_us", ages: "1 = 1", kept_us: KEPT_US };

/// The fold of `USAGE`.
pub struct Generations {
    /// The clock that limits the effect of an event from the future.
    pub clock: &'static dyn Clock,
}

impl Fold for Generations {
    fn apply<'a, 'e: 'a>(&'a self, connection: &'a mut AnyConnection, events: &'e [Event<'e>]) -> Applied<'a, 'e> {
        Box::pin(async move {
            let mut rejected = Vec::new();
            let mut rows: BTreeMap<String, (&str, UsageRecorded)> = BTreeMap::new();
            for event in events {
                match usage(event) {
                    Ok(usage) => {
                        rows.entry(usage.request.to_string()).or_insert((event.envelope.account, usage));
                    }
                    Err(reason) => rejected.push(Rejected { record: event.record, reason, freezes_account: None }),
                }
            }
            let newest_us = rows.values().map(|(_, usage)| usage.admitted_at_us).max().unwrap_or(i64::MIN);
            let horizon_us = RETENTION.horizon_us(connection, self.clock, newest_us).await?;
            let pseudonyms = Pseudonyms::load(connection).await?;
            rows.retain(|_, (_, usage)| usage.admitted_at_us >= horizon_us);
            for (account, usage) in rows.values_mut() {
                pseudonyms.replace(account, &mut usage.user);
            }
            let rows: Vec<(String, (&str, UsageRecorded))> = rows.into_iter().collect();
            for portion in portions(&rows) {
                write(connection, portion).await?;
            }
            RETENTION.trim(connection, horizon_us).await?;
            Ok(rejected)
        })
    }
}

/// Reads the payload of an event of `USAGE`.
///
/// # Errors
/// Returns the reason as one sentence.
pub fn usage(event: &Event<'_>) -> Result<UsageRecorded, String> {
    match event.envelope.kind {
        UsageRecorded::KIND => event.envelope.payload().map_err(|error| error.to_string()),
        other => Err(format!("unknown type {other}")),
    }
}

async fn write(connection: &mut AnyConnection, rows: &[(String, (&str, UsageRecorded))]) -> Result<(), sqlx::Error> {
    // The ledger charges a request once, by the event that came first; this table does the same.
    let sql = format!(
        "INSERT INTO generations ({}) VALUES {} ON CONFLICT (request) DO NOTHING",
        COLUMNS.join(", "),
        placeholders(connection, rows.len(), COLUMNS.len()),
    );
    // Counts come from providers: one that no provider can mean must not keep a charge out of the reports.
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
    for (request, (account, usage)) in rows {
        let tokens = &usage.tokens;
        query = query
            .bind(request.clone())
            .bind((*account).to_owned())
            .bind(usage.key.to_string())
            .bind(usage.model.clone())
            .bind(usage.provider.clone())
            .bind(usage.user.clone().unwrap_or_default())
            .bind(usage.app.clone().unwrap_or_default())
            .bind(usage.outcome.as_str())
            .bind(usage.finish_reason.clone())
            .bind(usage.status.map(i64::from))
            .bind(i64::from(usage.streamed))
            .bind(usage.admitted_at_us)
            .bind(number(usage.latency_us))
            .bind(usage.ttft_us.map(number))
            .bind(serde_json::to_string(tokens).unwrap_or_default())
            .bind(serde_json::to_string(&usage.unit_prices).unwrap_or_default())
            .bind(usage.provenance.as_str())
            .bind(usage.cost_status.as_str())
            .bind(usage.cost_nanos.0)
            .bind(number(tokens.prompt()))
            .bind(number(tokens.completion()))
            .bind(number(tokens.reasoning))
            .bind(number(tokens.cache_read))
            .bind(serde_json::to_string(&usage.attempts).unwrap_or_default())
            .bind(serde_json::to_string(&usage.skipped).unwrap_or_default())
            .bind(usage.byok.as_ref().map(|byok| byok.list_cost_nanos.0));
    }
    query.execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_compares_the_rows_that_are_kept() {
        assert!(PROJECTION.tables[0].kept.ends_with(&format!("- {KEPT_US}")));
    }
}
