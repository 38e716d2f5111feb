//! The detail of activity: one row a request, made while it is sent.
//!
//! The database returns a part of the table as one text. A row for each request, with fourteen columns each, would cost more than
//! to read the requests and to write the table together.

pub mod csv;
pub mod parquet;
mod request;

use axum::response::Response;
use read_api::{Http, ReadError};
use request::{READ, Request, Text};
use sqlx::{Any, AssertSqlSafe, Row};
use tokio::task::JoinSet;

use super::query::{Asked, DetailFormat};
use super::report::{KeyNames, key_names};
use crate::projections::generations::KEPT_US;

/// The requests of a period, read part by part.
struct Detail {
    http: Http,
    asked: Asked,
    keys: KeyNames,
    sql: String,
    text: Text,
    part_rows: usize,
    next: Next,
}

/// The next part.
enum Next {
    First,
    /// The task that reads the requests of the part. It ends with the table.
    Reading(JoinSet<Result<String, sqlx::Error>>),
    End,
}

/// Returns all requests of the period in the order of their admission.
///
/// # Errors
/// 400 for a period before the requests that are kept.
pub async fn respond(http: Http, asked: Asked, format: DetailFormat) -> Result<Response, ReadError> {
    let (from_us, _) = asked.period.bounds();
    if from_us < http.clock.now_us().saturating_sub(KEPT_US) {
        return Err(ReadError::bad("from", "single requests are kept for 90 days; the summary has all time"));
    }
    let as_of = http.as_of();
    let keys = key_names(&http.store.reads, &asked.selection.account).await?;
    let part_rows = match format {
        DetailFormat::Csv => csv::PART_ROWS,
        DetailFormat::Parquet => parquet::GROUP_ROWS,
    };
    let text = if http.store.is_sqlite() { Text::Json } else { Text::Lengths };
    let sql = sql(&asked, part_rows, text);
    let detail = Detail { http, asked, keys, sql, text, part_rows, next: Next::First };
    match format {
        DetailFormat::Csv => Ok(csv::respond(detail, &as_of)),
        DetailFormat::Parquet => parquet::respond(detail, &as_of),
    }
}

/// Returns the query of a part. Both databases aggregate an ordered subquery in its order; to sort again took a fifth of the time.
fn sql(asked: &Asked, part_rows: usize, text: Text) -> String {
    let filters = asked.selection.filters.keys().zip(5..).map(|(of, number)| format!(" AND {} = ${number}", of.column()));
    let filters = filters.collect::<Vec<_>>().concat();
    format!(
        "SELECT {} FROM (SELECT {READ} FROM generations
         WHERE account = $1 AND admitted_at_us >= $2 AND admitted_at_us < $3 AND (admitted_at_us > $2 OR request > $4){filters}
         ORDER BY admitted_at_us, request LIMIT {part_rows}) AS part",
        text.aggregate()
    )
}

impl Detail {
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

    /// Writes the next part while the database reads the one after it. Returns `None` at the end; the first part may be empty.
    async fn part<T>(&mut self, write: impl FnOnce(&Self, &[Request<'_>]) -> Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        let next = match std::mem::replace(&mut self.next, Next::End) {
            Next::First => self.read((self.asked.period.bounds().0, "")),
            next @ (Next::Reading(_) | Next::End) => next,
        };
        let Next::Reading(mut reading) = next else { return Ok(None) };
        let Some(read) = reading.join_next().await else { return Ok(None) };
        let text = read.map_err(|_| ReadError::Internal)??;
        let requests = self.text.parse(&text).ok_or_else(|| {
            tracing::error!("the database returned requests that cannot be read; the table ends");
            ReadError::Internal
        })?;
        if !requests.is_sorted_by_key(|request| request.admitted_at_us) {
            tracing::error!("the database returned requests in another order than asked for; the table ends");
            return Err(ReadError::Internal);
        }
        let last = requests.last().filter(|_| requests.len() == self.part_rows);
        self.next = last.map_or(Next::End, |last| self.read((last.admitted_at_us, &last.request)));
        write(self, &requests).map(Some)
    }

    fn key_label(&self, hash: &str) -> &str {
        self.keys.get(hash).map_or("", |key| key.label.as_str())
    }

    fn account(&self) -> &str {
        &self.asked.selection.account
    }
}
