//! One row a request: what it used and cost from `usage.recorded`, how it ended from `request.finished`, whichever comes first.

use std::collections::BTreeMap;

use eventlog::store::placeholders;
use eventlog::{Event, Fold, Rejected};
use events::Payload;
use events::request::{RequestFinished, RequestProgress, RequestRefused, RequestStarted};
use events::usage_recorded::UsageRecorded;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

const COLUMNS: [&str; 25] = [
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
    "has_usage",
    "has_end",
];
/// Columns that only usage knows; an end leaves them alone.
const OF_USAGE: [&str; 17] = [
    "account",
    "key_hash",
    "model",
    "provider",
    "end_user",
    "app",
    "streamed",
    "tokens",
    "unit_prices",
    "provenance",
    "cost_status",
    "cost_nanos",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "has_usage",
];
/// Columns that only the end knows; usage leaves them alone.
const OF_END: [&str; 3] = ["finish_reason", "status", "has_end"];
/// Rows in one statement.
const ROWS_MAX: usize = 100;

/// What is known of one request.
#[derive(Debug, Clone, Default)]
struct Row {
    account: String,
    usage: Option<UsageRecorded>,
    end: Option<RequestFinished>,
}

/// The fold of `USAGE` and `REQUESTS`.
pub struct Generations;

impl Fold for Generations {
    async fn apply<'e>(&self, connection: &mut AnyConnection, events: &'e [Event<'e>]) -> Result<Vec<Rejected<'e>>, sqlx::Error> {
        let mut rejected = Vec::new();
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for event in events {
            if let Err(reason) = note(event, &mut rows) {
                rejected.push(Rejected { record: event.record, reason });
            }
        }
        let rows: Vec<(String, Row)> = rows.into_iter().collect();
        // A row of each kind of statement: usage alone, end alone, both.
        for (with_usage, with_end) in [(true, true), (true, false), (false, true)] {
            let same: Vec<&(String, Row)> =
                rows.iter().filter(|(_, row)| row.usage.is_some() == with_usage && row.end.is_some() == with_end).collect();
            for chunk in same.chunks(ROWS_MAX) {
                write(connection, chunk, with_usage, with_end).await?;
            }
        }
        Ok(rejected)
    }
}

fn note(event: &Event<'_>, rows: &mut BTreeMap<String, Row>) -> Result<(), String> {
    let envelope = &event.envelope;
    match envelope.kind {
        RequestStarted::KIND | RequestProgress::KIND | RequestRefused::KIND => {}
        UsageRecorded::KIND => {
            let usage: UsageRecorded = envelope.payload().map_err(|error| error.to_string())?;
            let row = rows.entry(usage.request.to_string()).or_default();
            envelope.account.clone_into(&mut row.account);
            row.usage = Some(usage);
        }
        RequestFinished::KIND => {
            let end: RequestFinished = envelope.payload().map_err(|error| error.to_string())?;
            let row = rows.entry(end.request.to_string()).or_default();
            envelope.account.clone_into(&mut row.account);
            row.end = Some(end);
        }
        other => return Err(format!("unknown type {other}")),
    }
    Ok(())
}

async fn write(connection: &mut AnyConnection, rows: &[&(String, Row)], with_usage: bool, with_end: bool) -> Result<(), sqlx::Error> {
    let updates: Vec<String> = COLUMNS[1..]
        .iter()
        .filter(|column| (with_usage || !OF_USAGE.contains(column)) && (with_end || !OF_END.contains(column)))
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let sql = format!(
        "INSERT INTO generations ({}) VALUES {} ON CONFLICT (request) DO UPDATE SET {}",
        COLUMNS.join(", "),
        placeholders(connection, rows.len(), COLUMNS.len()),
        updates.join(", ")
    );
    let mut query = sqlx::query::<Any>(AssertSqlSafe(sql)).persistent(rows.len() == ROWS_MAX);
    for (request, row) in rows {
        let (usage, end) = (row.usage.as_ref(), row.end.as_ref());
        let tokens = usage.map(|usage| usage.tokens).unwrap_or_default();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let key = usage.map(|usage| &usage.key).or(end.map(|end| &end.key));
        let outcome = end.map(|end| end.outcome).or(usage.map(|usage| usage.outcome));
        let latency = usage.map(|usage| usage.latency_us).or(end.map(|end| end.latency_us)).unwrap_or_default();
        let ttft = usage.and_then(|usage| usage.ttft_us).or(end.and_then(|end| end.ttft_us));
        query = query
            .bind(request.clone())
            .bind(row.account.clone())
            .bind(key.map(ToString::to_string).unwrap_or_default())
            .bind(usage.map(|usage| usage.model.clone()).or(end.map(|end| end.model.clone())).unwrap_or_default())
            .bind(usage.map(|usage| usage.provider.clone()).unwrap_or_default())
            .bind(usage.and_then(|usage| usage.user.clone()).unwrap_or_default())
            .bind(usage.and_then(|usage| usage.app.clone()).unwrap_or_default())
            .bind(outcome.map(events::request::Outcome::as_str).unwrap_or_default())
            .bind(end.and_then(|end| end.finish_reason.clone()))
            .bind(end.and_then(|end| end.status).map(i64::from))
            .bind(i64::from(usage.is_some_and(|usage| usage.streamed)))
            .bind(usage.map(|usage| usage.admitted_at_us).or(end.map(|end| end.admitted_at_us)).unwrap_or_default())
            .bind(number(latency))
            .bind(ttft.map(number))
            .bind(serde_json::to_string(&tokens).unwrap_or_default())
            .bind(usage.map(|usage| serde_json::to_string(&usage.unit_prices).unwrap_or_default()).unwrap_or_default())
            .bind(usage.map_or("unknown", |usage| usage.provenance.as_str()))
            .bind(usage.map_or("unknown", |usage| usage.cost_status.as_str()))
            .bind(usage.map_or(0, |usage| usage.cost_nanos.0))
            .bind(number(tokens.prompt()))
            .bind(number(tokens.completion()))
            .bind(number(tokens.reasoning))
            .bind(number(tokens.cache_read))
            .bind(i64::from(usage.is_some()))
            .bind(i64::from(end.is_some()));
    }
    query.execute(connection).await?;
    Ok(())
}
