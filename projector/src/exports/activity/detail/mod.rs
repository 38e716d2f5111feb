//! The detail of activity as CSV: one row a request, made while it is sent.
//!
//! The database returns a part of the table as one JSON array. A row for each request, with fourteen columns each, would cost more than
//! to read the requests and to write the table together.

use std::borrow::Cow;

use axum::response::Response;
use events::Nanos;
use events::clock::rfc3339;
use futures_util::stream::try_unfold;
use read_api::csv::{self, Table, safe};
use read_api::{Http, ReadError};
use serde::Deserialize;
use sqlx::{Any, AssertSqlSafe, Row};
use tokio::task::JoinSet;

use super::query::{Asked, Group, SEPARATOR};
use super::report::{KeyNames, key_names};
use super::table::COLUMNS;
use crate::projections::generations::KEPT_US;

/// The columns after those of the summary.
const MORE_COLUMNS: [&str; 10] =
    ["model", "provider", "key_label", "creator", "user", "app", "request_id", "time", "status", "finish_reason"];
/// The number of requests in one part of the body.
const PART_ROWS: usize = 4_000;

/// The columns of a [`Request`], in its order.
const READ: &str =
    "request, admitted_at_us, cost_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, model, provider,
    key_hash, end_user, app, status, finish_reason";

/// A request as the database returns it.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    request: Cow<'a, str>,
    admitted_at_us: i64,
    cost_nanos: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    cached_tokens: i64,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    key_hash: Cow<'a, str>,
    #[serde(borrow)]
    end_user: Cow<'a, str>,
    #[serde(borrow)]
    app: Cow<'a, str>,
    status: Option<i64>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

/// A table that is being sent.
struct Sent {
    http: Http,
    asked: Asked,
    keys: KeyNames,
    sql: String,
    next: Next,
}

/// The next part of the table.
enum Next {
    First,
    /// The task that reads the requests of the part, as JSON. It ends with the table.
    Reading(JoinSet<Result<String, sqlx::Error>>),
    End,
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
    let sent = Sent { sql: sql(&asked, http.store.is_sqlite()), http, asked, keys, next: Next::First };
    Ok(csv::stream(try_unfold(sent, part), &as_of))
}

/// Returns the query of a part: an array with an array for each request. Both databases aggregate an ordered subquery in its order; to
/// sort again took a fifth of the time.
fn sql(asked: &Asked, is_sqlite: bool) -> String {
    let (of_rows, of_row) = if is_sqlite { ("json_group_array", "json_array") } else { ("json_agg", "json_build_array") };
    let filters = asked.selection.filters.keys().zip(5..).map(|(of, number)| format!(" AND {} = ${number}", of.column()));
    let filters = filters.collect::<Vec<_>>().concat();
    format!(
        "SELECT CAST(COALESCE({of_rows}({of_row}({READ})), '[]') AS TEXT) FROM (SELECT {READ} FROM generations
         WHERE account = $1 AND admitted_at_us >= $2 AND admitted_at_us < $3 AND (admitted_at_us > $2 OR request > $4){filters}
         ORDER BY admitted_at_us, request LIMIT {PART_ROWS}) AS part"
    )
}

impl Sent {
    /// Starts to read the requests after a time and an id.
    fn read(&self, (time_us, request): (i64, &str)) -> Next {
        let (reads, sql, request) = (self.http.store.reads.clone(), self.sql.clone(), request.to_owned());
        let (selection, end_us) = (self.asked.selection.clone(), self.asked.period.bounds().1);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let query = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(selection.account).bind(time_us).bind(end_us).bind(request);
            let query = selection.filters.into_values().fold(query, sqlx::query::Query::bind);
            query.fetch_one(&reads).await?.try_get(0)
        });
        Next::Reading(reading)
    }

    fn write(&self, requests: &[Request<'_>], is_first: bool) -> Result<Vec<u8>, ReadError> {
        let mut table = Table::new();
        if is_first {
            table.row(COLUMNS.iter().chain(&MORE_COLUMNS))?;
        }
        let mut bucket = Bucket::default();
        for request in requests {
            bucket.move_to(request.admitted_at_us, &self.asked);
            write(&mut table, request, &bucket, self)?;
        }
        table.into_bytes()
    }
}

/// Writes a part while the database reads the next one.
async fn part(mut sent: Sent) -> Result<Option<(Vec<u8>, Sent)>, ReadError> {
    let is_first = matches!(sent.next, Next::First);
    let next = if is_first { sent.read((sent.asked.period.bounds().0, "")) } else { std::mem::replace(&mut sent.next, Next::End) };
    let Next::Reading(mut reading) = next else { return Ok(None) };
    let Some(read) = reading.join_next().await else { return Ok(None) };
    let text = read.map_err(|_| ReadError::Internal)??;
    let requests: Vec<Request<'_>> = serde_json::from_str(&text).map_err(|error| {
        tracing::error!(%error, "the database returned requests that cannot be read: {error}");
        ReadError::Internal
    })?;
    if !requests.is_sorted_by_key(|request| request.admitted_at_us) {
        tracing::error!("the database returned requests in another order than asked for; the table ends");
        return Err(ReadError::Internal);
    }
    let last = requests.last().filter(|_| requests.len() == PART_ROWS);
    sent.next = last.map_or(Next::End, |last| sent.read((last.admitted_at_us, &last.request)));
    Ok(Some((sent.write(&requests, is_first)?, sent)))
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

fn write(table: &mut Table, request: &Request<'_>, bucket: &Bucket, sent: &Sent) -> Result<(), ReadError> {
    let account = sent.asked.selection.account.as_str();
    let Request { model, provider, key_hash, end_user, app, .. } = request;
    let of_group = |group: &Group| match group {
        Group::Model => model,
        Group::ApiKey => key_hash,
        Group::Creator => account,
        Group::User => end_user,
        Group::Provider => provider,
        Group::App => app,
    };
    let group = sent.asked.groups.iter().map(of_group).collect::<Vec<&str>>().join(SEPARATOR);
    let (prompt, completion) = (request.prompt_tokens, request.completion_tokens);
    let counts = [prompt, completion, request.reasoning_tokens, request.cached_tokens, prompt.saturating_add(completion)];
    let counts = counts.map(|count| count.to_string());
    let (spend, time) = (Nanos(request.cost_nanos).to_decimals(), rfc3339(request.admitted_at_us));
    let status = request.status.map(|status| status.to_string()).unwrap_or_default();
    let finish = request.finish_reason.as_deref().unwrap_or_default();
    let label = sent.keys.get(key_hash.as_ref()).map_or("", |key| key.label.as_str());
    let group = safe(&group);
    let texts = [model, provider, label, account, end_user, app, &request.request].map(safe);
    let head = [bucket.start.as_str(), bucket.end.as_str(), &group, &spend, "0.000000000", "1"];
    let cells = head.into_iter().chain(counts.iter().map(String::as_str)).chain(texts.iter().map(AsRef::as_ref));
    table.row(cells.chain([time.as_str(), status.as_str(), &safe(finish)]))
}
