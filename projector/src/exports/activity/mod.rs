//! `GET /api/v1/activity`: spend, tokens and requests over time, by model, key, user, provider or application; JSON, CSV, PDF or Parquet.

pub mod selection;
pub mod summed_rows;
pub mod rows;
pub mod report;
pub mod query;
pub mod sums_body;
pub mod table;
pub mod detail;
pub mod paper;
pub mod by_date;
pub mod latency;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use by_date::ActivityByDate;
use query::{ActivityQuery, Asked, Group, Output};
use report::{ActivityReport, KeyNames};
use rows::ActivityRow;
use sums_body::{SumsBody, SumsShape};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivityRow)]
struct RowBody {
    period_start: String,
    period_end: String,
    /// The values of the groups in one text.
    group: String,
    /// The value of each group by its name; absent in an empty bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    groups: Option<Map<String, Value>>,
    /// The name and the label of the key, if keys are a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    key: Option<Value>,
    #[serde(flatten)]
    #[schema(value_type = SumsShape)]
    sums: SumsBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activity)]
struct ActivityBody {
    data: Vec<RowBody>,
    #[schema(value_type = SumsShape)]
    totals: SumsBody,
    next_cursor: Option<String>,
    as_of: AsOf,
}

/// An answer as JSON.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
enum ActivityAnswer {
    Report(ActivityBody),
    ByDate(ActivityByDate),
}

/// Returns `{data: [row], totals, next_cursor, as_of}`, in USD exact to 9 decimals. It has a row for each bucket and group; an empty bucket
/// has a row with an empty group. With `format=csv`, the same rows as a table, or with `detail=true` one row a request; with `format=pdf`, a report. With
/// OpenRouter's parameters `date`, `api_key_hash` or `user_id`, OpenRouter's answer.
///
/// # Errors
/// 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/v1/activity",
    tag = "Account",
    summary = "Spend, tokens and requests over time",
    params(ActivityQuery),
    responses(
        (
            status = 200,
            description = "A row for each bucket and group. A table has its state in `X-As-Of`.",
            content((ActivityAnswer = "application/json"), (String = "text/csv"), (String = "application/pdf"), (String = "application/vnd.apache.parquet"))
        ),
        Refusals
    )
)]
pub async fn activity(State(http): State<Http>, Signed(caller): Signed, Query(query): Query<ActivityQuery>) -> Result<Response, ReadError> {
    if query.is_by_date() {
        return by_date::respond(&http, caller.account.as_str(), &query).await;
    }
    let asked = query.parse(caller.account.as_str(), http.clock.now_us())?;
    match asked.output {
        Output::Json => {}
        Output::Csv => return table::respond(http, asked),
        Output::Detail(format) => return detail::respond(http, asked, format).await,
        Output::Paper(paper) => return paper::respond(&http, asked, paper).await,
    }
    let report = ActivityReport::read(&http, &asked).await?;
    let data = report.rows.iter().map(|row| body(row, &asked, &report.keys)).collect();
    let totals = SumsBody { sums: report.totals, metric: asked.metric };
    Ok(Json(ActivityBody { data, totals, next_cursor: report.next_cursor, as_of: report.as_of }).into_response())
}

fn body(row: &ActivityRow, asked: &Asked, keys: &KeyNames) -> RowBody {
    let values = asked.shown(&row.values);
    let is_empty = row.sums.requests == 0;
    let named = asked.groups.iter().zip(&values).map(|(group, value)| (group.name().to_owned(), Value::from(value.as_str()))).collect();
    let key = asked.groups.iter().zip(&row.values).find(|(group, _)| **group == Group::ApiKey).and_then(|(_, hash)| keys.get(hash));
    RowBody {
        period_start: rfc3339(row.start_us),
        period_end: rfc3339(row.end_us),
        group: if is_empty { String::new() } else { values.join(query::SEPARATOR) },
        groups: (!is_empty).then_some(named),
        key: key.map(|key| json!({"name": key.name, "label": key.label})),
        sums: SumsBody { sums: row.sums, metric: asked.metric },
    }
}
