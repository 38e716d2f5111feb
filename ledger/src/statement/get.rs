//! `GET /api/v1/statements/{month}`: the statement of the caller's account for a month, as JSON, CSV or PDF.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use pdf::Paper;
use read_api::{Http, Query, ReadError, RefusalsOfOne, Signed};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Statement;
use super::compute::{StatementError, statement};
use super::month::Month;
use super::report::report;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// `json`, the default, `csv` or `pdf`.
    format: Option<String>,
    /// `a4`, the default, or `letter`.
    paper: Option<String>,
    /// A credential; used by the gateway, ignored here.
    #[serde(rename = "key")]
    #[param(ignore)]
    _key: Option<String>,
}

enum Form {
    Json,
    Csv,
    Pdf(Paper),
}

impl Form {
    fn try_new(query: &StatementQuery) -> Result<Self, ReadError> {
        let paper = match query.paper.as_deref() {
            None | Some("a4") => Paper::A4,
            Some("letter") => Paper::Letter,
            Some(_) => return Err(ReadError::bad("paper", "it must be a4 or letter")),
        };
        match query.format.as_deref() {
            None | Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some("pdf") => Ok(Self::Pdf(paper)),
            Some(_) => Err(ReadError::bad("format", "it must be json, csv or pdf")),
        }
    }
}

/// Returns the statement. A closed month has the same bytes at each call.
///
/// # Errors
/// 400 for a malformed month or query, 404 for a month in the future or before the account, 500 if the books contradict themselves.
#[utoipa::path(
    get,
    path = "/api/v1/statements/{month}",
    operation_id = "get_statement",
    tag = "Account",
    summary = "The statement of a month",
    params(("month" = String, Path, description = "The month in UTC.", example = "2026-01"), StatementQuery),
    responses(
        (
            status = 200,
            description = "The statement. That of a closed month never changes.",
            content((Statement = "application/json"), (String = "text/csv"), (String = "application/pdf"))
        ),
        RefusalsOfOne
    )
)]
pub async fn get(
    State(http): State<Http>,
    Signed(caller): Signed,
    Path(month): Path<String>,
    query: Query<StatementQuery>,
) -> Result<Response, ReadError> {
    let form = Form::try_new(&query.0)?;
    let month: Month = month.parse().map_err(|()| ReadError::bad("month", "it must be a month such as 2026-01"))?;
    if month.start_us() > http.clock.now_us() {
        return Err(ReadError::NotFound("This month has not begun."));
    }
    let mut snapshot = http.store.snapshot().await?;
    let statement = statement(&mut snapshot, caller.account.as_str(), month, None).await.map_err(refusal)?;
    drop(snapshot);
    let name = format!("statement-{month}");
    let (kind, ending, bytes) = match form {
        Form::Json => ("application/json", "json", serde_json::to_vec(&statement).map_err(|_| ReadError::Internal)?),
        Form::Csv => ("text/csv; charset=utf-8", "csv", statement.to_csv().map_err(|_| ReadError::Internal)?),
        Form::Pdf(paper) => {
            let writing = tokio::task::spawn_blocking(move || report(&statement, paper)).await.map_err(|_| ReadError::Internal)?;
            ("application/pdf", "pdf", writing.map_err(|error| internal(&error))?)
        }
    };
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, format!("inline; filename=\"{name}.{ending}\""))];
    Ok((headers, bytes).into_response())
}

fn refusal(error: StatementError) -> ReadError {
    match error {
        StatementError::Database(error) => ReadError::Database(error),
        StatementError::BeforeAccount => ReadError::NotFound("The account did not exist in this month."),
        StatementError::Broken { .. } => internal(&error),
    }
}

fn internal(error: &dyn std::error::Error) -> ReadError {
    tracing::error!(%error, "a statement was not written: {error}");
    ReadError::Internal
}
