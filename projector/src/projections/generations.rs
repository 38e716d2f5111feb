//! One row per request that was sent to a provider: its usage, cost and outcome. All of it comes from `usage.recorded`.

use std::collections::BTreeMap;

use eventlog::store::{placeholders, portions};
use eventlog::{Applied, Event, Fold, Pace, ReaderId, Rejected};
use events::Payload;
use events::subject::Stream;
use events::usage_recorded::UsageRecorded;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

use super::{Projection, keys};
use crate::webhook::deliveries::WithDeliveries;

pub const COLUMNS: [&str; 23] = [
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
];

/// The projection of requests by their charge.
pub const PROJECTION: Projection = Projection {
    reader: ReaderId { name: "generations", stream: Stream::Usage },
    fold: &WithDeliveries(&Generations),
    tables: &[("generations", &COLUMNS)],
    pace: Pace::PROMPT,
    behind: Some(keys::READER),
};

/// The fold of `USAGE`.
pub struct Generations;

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
            let rows: Vec<(String, (&str, UsageRecorded))> = rows.into_iter().collect();
            for portion in portions(&rows) {
                write(connection, portion).await?;
            }
            Ok(rejected)
        })
    }
}

fn usage(event: &Event<'_>) -> Result<UsageRecorded, String> {
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
            .bind(number(tokens.cache_read));
    }
    query.execute(connection).await?;
    Ok(())
}
