//! The detail of activity as CSV: one row a request, made while it is sent.

use axum::response::Response;
use events::Nanos;
use events::clock::rfc3339;
use futures_util::stream::try_unfold;
use read_api::csv::{self, Table, safe};
use read_api::{Http, ReadError};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row};

use super::query::{Asked, Group, SEPARATOR};
use super::report::{KeyNames, key_names};
use super::table::COLUMNS;
use crate::projections::generations::KEPT_US;

/// The columns after those of the summary.
const MORE_COLUMNS: [&str; 10] =
    ["model", "provider", "key_label", "creator", "user", "app", "request_id", "time", "status", "finish_reason"];
/// The number of requests in one part of the body.
const PART_ROWS: usize = 4_000;

/// A table that is being sent.
struct Sent {
    http: Http,
    asked: Asked,
    keys: KeyNames,
    sql: String,
    /// The time and the id of the last request of the part before.
    after: (i64, String),
    is_first: bool,
    is_complete: bool,
}

/// Returns all requests of the period in the order of their admission.
///
/// # Errors
/// 400 for a period before the requests that are kept.
pub async fn respond(http: Http, asked: Asked) -> Result<Response, ReadError> {
    let (from_us, _) = asked.period.bounds();
    if from_us < http.clock.now_us().saturating_sub(KEPT_US) {
        return Err(ReadError::bad("from", "single requests are kept for 90 days; the summary has all time"));
    }
    let as_of = http.as_of();
    let keys = key_names(&http.store.reads, &asked.selection.account).await?;
    let filters = asked.selection.filters.keys().zip(5..).map(|(of, number)| format!(" AND {} = ${number}", of.column()));
    let filters = filters.collect::<Vec<_>>().concat();
    let sql = format!(
        "SELECT request, admitted_at_us, cost_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, model, provider,
         key_hash, end_user, app, status, finish_reason FROM generations
         WHERE account = $1 AND admitted_at_us >= $2 AND admitted_at_us < $3 AND (admitted_at_us > $2 OR request > $4){filters}
         ORDER BY admitted_at_us, request LIMIT {PART_ROWS}"
    );
    let sent = Sent { http, asked, keys, sql, after: (from_us, String::new()), is_first: true, is_complete: false };
    Ok(csv::stream(try_unfold(sent, part), &as_of))
}

async fn part(mut sent: Sent) -> Result<Option<(Vec<u8>, Sent)>, ReadError> {
    if sent.is_complete {
        return Ok(None);
    }
    let mut table = Table::new();
    if sent.is_first {
        table.row(COLUMNS.iter().chain(&MORE_COLUMNS))?;
    }
    let selection = &sent.asked.selection;
    let query = sqlx::query::<Any>(AssertSqlSafe(sent.sql.clone()))
        .bind(selection.account.clone())
        .bind(sent.after.0)
        .bind(sent.asked.period.bounds().1)
        .bind(sent.after.1.clone());
    let query = selection.filters.values().fold(query, |query, value| query.bind(value.clone()));
    let rows = query.fetch_all(&sent.http.store.reads).await?;
    let mut bucket = Bucket::default();
    for row in &rows {
        bucket.move_to(row.try_get(1)?, &sent.asked);
        write(&mut table, row, &bucket, &sent)?;
    }
    if let Some(last) = rows.last() {
        sent.after = (last.try_get(1)?, last.try_get(0)?);
    }
    sent.is_complete = rows.len() < PART_ROWS;
    sent.is_first = false;
    Ok(Some((table.into_bytes()?, sent)))
}

/// The texts of the bucket that contains a request; the next request is usually in the same one.
#[derive(Default)]
struct Bucket {
    start_us: i64,
    end_us: i64,
    start: String,
    end: String,
}

impl Bucket {
    fn move_to(&mut self, time_us: i64, asked: &Asked) {
        if (self.start_us..self.end_us).contains(&time_us) {
            return;
        }
        if let Some((start_us, end_us)) = asked.period.bucket(asked.period.index(time_us)) {
            *self = Self { start_us, end_us, start: rfc3339(start_us), end: rfc3339(end_us) };
        }
    }
}

fn write(table: &mut Table, row: &AnyRow, bucket: &Bucket, sent: &Sent) -> Result<(), ReadError> {
    let text = |column: usize| row.try_get::<&str, _>(column);
    let number = |column: usize| row.try_get::<i64, _>(column);
    let (model, provider, key, user, app) = (text(7)?, text(8)?, text(9)?, text(10)?, text(11)?);
    let account = sent.asked.selection.account.as_str();
    let of_group = |group: &Group| match group {
        Group::Model => model,
        Group::ApiKey => key,
        Group::Creator => account,
        Group::User => user,
        Group::Provider => provider,
        Group::App => app,
    };
    let group = sent.asked.groups.iter().map(of_group).collect::<Vec<_>>().join(SEPARATOR);
    let (prompt, completion) = (number(3)?, number(4)?);
    let counts = [prompt, completion, number(5)?, number(6)?, prompt.saturating_add(completion)].map(|count| count.to_string());
    let (spend, time) = (Nanos(number(2)?).to_decimals(), rfc3339(number(1)?));
    let status = row.try_get::<Option<i64>, _>(12)?.map(|status| status.to_string()).unwrap_or_default();
    let finish = row.try_get::<Option<&str>, _>(13)?.unwrap_or_default();
    let label = sent.keys.get(key).map_or("", |key| key.label.as_str());
    let group = safe(&group);
    let texts = [model, provider, label, account, user, app, text(0)?].map(safe);
    let head = [bucket.start.as_str(), bucket.end.as_str(), &group, &spend, "0.000000000", "1"];
    let cells = head.into_iter().chain(counts.iter().map(String::as_str)).chain(texts.iter().map(AsRef::as_ref));
    table.row(cells.chain([time.as_str(), status.as_str(), &safe(finish)]))
}
