//! Activity in OpenRouter's shape: a row for each of the last 30 completed UTC days, each model and each provider.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use events::clock::at;
use read_api::{Http, ReadError, Usd};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::query::ActivityQuery;
use super::rows::{ActivityRow, Rows};
use super::selection::Selection;
use crate::exports::period::Period;
use crate::projections::usage::Dimension;
use crate::projections::usage::width::{DAY_US, Width};

/// The days that the answer covers.
const DAYS: i64 = 30;
/// The most rows of the answer, which has no pages.
const ROWS_MAX: usize = 100_000;

/// Sums of each day, model and provider, in OpenRouter's shape.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
pub struct ActivityByDate {
    data: Vec<ActivityOfDay>,
}

/// Sums of one day, model and provider.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct ActivityOfDay {
    date: String,
    model: String,
    model_permaslug: String,
    endpoint_id: String,
    provider_name: String,
    usage: Usd,
    byok_usage_inference: Usd,
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
}

/// Returns `{data: [{date, model, model_permaslug, endpoint_id, provider_name, usage, …}]}`.
///
/// # Errors
/// 400 for a date that is not one of the days, and for parameters that are not OpenRouter's.
pub async fn respond(http: &Http, account: &str, query: &ActivityQuery) -> Result<Response, ReadError> {
    if let Some(field) = query.own_field() {
        return Err(ReadError::bad(field, "it does not go with date, api_key_hash or user_id"));
    }
    let today_us = Width::Day.floor_us(http.clock.now_us());
    let first_us = today_us - DAYS * DAY_US;
    let (from_us, to_us) = match query.date.as_deref() {
        None => (first_us, today_us),
        Some(date) => {
            let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().filter(|_| date.len() == 10);
            let day_us = day.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
            let day_us = day_us.filter(|day_us| (first_us..today_us).contains(day_us));
            let day_us = day_us.ok_or_else(|| ReadError::bad("date", "it must be one of the last 30 completed UTC days, as YYYY-MM-DD"))?;
            (day_us, day_us + DAY_US)
        }
    };
    let filters = [(Dimension::Key, &query.api_key_hash), (Dimension::User, &query.user_id)];
    let filters = filters.into_iter().filter_map(|(of, value)| Some((of, value.clone().filter(|value| !value.is_empty())?))).collect();
    let selection = Selection { account: account.to_owned(), groups: vec![Dimension::Model, Dimension::Provider], filters };
    let period = Period::between(from_us, to_us, Some(Width::Day))?;
    let rows = Rows { reads: &http.store.reads, selection: &selection, period: &period }.page(None, ROWS_MAX).await?;
    let data: Vec<Value> = rows.iter().filter(|row| row.sums.requests > 0).filter_map(body).collect();
    Ok(Json(json!({"data": data})).into_response())
}

fn body(row: &ActivityRow) -> Option<Value> {
    let [model, provider] = row.values.as_slice() else { return None };
    let sums = &row.sums;
    Some(json!({
        "date": at(row.start_us).date_naive().to_string(),
        "model": model,
        "model_permaslug": model,
        "endpoint_id": format!("{provider}:{model}"),
        "provider_name": provider,
        "usage": sums.spend.to_json(),
        "byok_usage_inference": sums.byok_estimate.to_json(),
        "requests": sums.requests,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
    }))
}
