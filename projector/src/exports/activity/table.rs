//! The summary of activity as CSV, made while it is sent.

use axum::response::Response;
use events::clock::rfc3339;
use futures_util::stream::try_unfold;
use read_api::csv::{self, Table};
use read_api::{Http, ReadError};

use super::query::{Asked, SEPARATOR};
use super::rows::{ActivityRow, Rows};
use super::selection::Place;
use crate::projections::usage::sums::Sums;

/// The columns of the summary.
pub const COLUMNS: [&str; 11] = [
    "period_start",
    "period_end",
    "group",
    "spend_usd",
    "byok_spend_est_usd",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "total_tokens",
];

/// The number of rows in one part of the body.
const PART_ROWS: usize = 2_000;

/// The next part of the table: the first, with the header row, one after a place, or none.
enum Next {
    First,
    After(Place),
    End,
}

/// Returns all rows as a table; the order and the cells depend only on what was summed.
///
/// # Errors
/// Fails after the head of the answer if the database does.
pub fn respond(http: Http, asked: Asked) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let parts = try_unfold((http, asked, Next::First), async |(http, asked, next)| {
        let mut table = Table::new();
        let after = match next {
            Next::First => {
                table.row(COLUMNS)?;
                None
            }
            Next::After(place) => Some(place),
            Next::End => return Ok::<_, ReadError>(None),
        };
        let rows = Rows { reads: &http.store.reads, selection: &asked.selection, period: &asked.period };
        let page = rows.page(after.as_ref(), PART_ROWS).await?;
        for row in &page {
            table.row(cells(row, &asked))?;
        }
        let next = page.last().filter(|_| page.len() == PART_ROWS).map_or(Next::End, |last| Next::After(last.place()));
        Ok(Some((table.into_bytes()?, (http, asked, next))))
    });
    Ok(csv::stream(parts, &as_of))
}

fn cells(row: &ActivityRow, asked: &Asked) -> Vec<String> {
    let group = if row.sums.requests == 0 { String::new() } else { asked.shown(&row.values).join(SEPARATOR) };
    let mut cells = vec![rfc3339(row.start_us), rfc3339(row.end_us), csv::safe(&group).into_owned()];
    cells.extend(numbers(&row.sums));
    cells
}

/// Returns the cells of the metrics.
#[must_use]
pub fn numbers(sums: &Sums) -> [String; 8] {
    let count = |count: i64| count.to_string();
    [
        sums.spend.to_decimals(),
        sums.byok_estimate.to_decimals(),
        count(sums.requests),
        count(sums.prompt_tokens),
        count(sums.completion_tokens),
        count(sums.reasoning_tokens),
        count(sums.cached_tokens),
        count(sums.total_tokens()),
    ]
}
