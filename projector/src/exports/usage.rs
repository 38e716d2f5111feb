//! `GET /api/usage/summary` and `/api/usage/timeseries`: the same sums in the shapes that the SDKs for usage expect.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed, Usd};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::activity::rows::Rows;
use super::activity::selection::Selection;
use super::period::{Period, segments, time};
use crate::projections::usage::Dimension;
use crate::projections::usage::sums::Sums;
use crate::projections::usage::width::{DAY_US, Width};

/// The time that an answer covers without `start_time`.
const DEFAULT_US: i64 = 30 * DAY_US;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// The start, RFC 3339; 30 days before the end if absent.
    start_time: Option<String>,
    /// The end, RFC 3339; now if absent.
    end_time: Option<String>,
    provider_id: Option<String>,
    model: Option<String>,
    /// The hash of a key.
    key_id: Option<String>,
    /// `hourly`, `daily` (the default) or `monthly`.
    granularity: Option<String>,
}

/// Sums over the whole time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct UsageSummary {
    total_requests: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    total_tokens: u64,
    estimated_cost_usd: Usd,
    by_provider: Vec<UsageSums>,
    by_model: Vec<UsageSums>,
    as_of: AsOf,
}

/// Sums of one provider, of one model of a provider, or of one point in time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct UsageSums {
    provider_id: Option<String>,
    model: Option<String>,
    /// The start of the hour, day or month, RFC 3339.
    timestamp: Option<String>,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    estimated_cost_usd: Usd,
}

/// Sums over time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct UsageTimeseries {
    data_points: Vec<UsageSums>,
    as_of: AsOf,
}

impl UsageQuery {
    fn parse(self, account: &str, groups: Vec<Dimension>, now_us: i64) -> Result<(Period, Selection), ReadError> {
        let width = match self.granularity.as_deref() {
            Some("hourly") => Width::Hour,
            None | Some("daily") => Width::Day,
            Some("monthly") => Width::Month,
            Some(_) => return Err(ReadError::bad("granularity", "it must be hourly, daily or monthly")),
        };
        let to_us = self.end_time.as_deref().map_or(Ok(now_us), |text| time("end_time", text))?;
        let from_us = self.start_time.as_deref().map_or(Ok(to_us.saturating_sub(DEFAULT_US)), |text| time("start_time", text))?;
        if from_us >= to_us {
            return Err(ReadError::bad("end_time", "it must be later than start_time"));
        }
        let filters = [(Dimension::Provider, self.provider_id), (Dimension::Model, self.model), (Dimension::Key, self.key_id)];
        let filters = filters.into_iter().filter_map(|(of, value)| Some((of, value.filter(|value| !value.is_empty())?))).collect();
        Ok((Period::between(from_us, to_us, Some(width))?, Selection { account: account.to_owned(), groups, filters }))
    }
}

/// Returns the sums over the whole time, by provider and by model.
///
/// # Errors
/// 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/usage/summary",
    operation_id = "usage_summary",
    tag = "Account",
    summary = "Sums over a time, by provider and by model",
    params(UsageQuery),
    responses((status = 200, description = "The sums.", body = UsageSummary), Refusals)
)]
pub async fn summary(State(http): State<Http>, Signed(caller): Signed, Query(query): Query<UsageQuery>) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let groups = vec![Dimension::Provider, Dimension::Model];
    let (period, selection) = query.parse(caller.account.as_str(), groups, http.clock.now_us())?;
    let (from_us, to_us) = period.bounds();
    let mut by_model: BTreeMap<Vec<String>, Sums> = BTreeMap::new();
    for segment in segments(from_us, to_us, selection.widest()) {
        for (values, sums) in selection.grouped(&http.store.reads, segment).await? {
            by_model.entry(values).or_default().add(&sums);
        }
    }
    let (mut total, mut by_provider) = (Sums::default(), BTreeMap::<&str, Sums>::new());
    for (values, sums) in &by_model {
        total.add(sums);
        by_provider.entry(values.first().map_or("", String::as_str)).or_default().add(sums);
    }
    let providers = by_provider.iter().map(|(provider, sums)| body(&json!({"provider_id": provider}), sums));
    let models = by_model.iter().map(|(values, sums)| body(&json!({"provider_id": values.first(), "model": values.get(1)}), sums));
    Ok(Json(json!({
        "total_requests": total.requests,
        "total_input_tokens": total.prompt_tokens,
        "total_output_tokens": total.completion_tokens,
        "total_tokens": total.total_tokens(),
        "estimated_cost_usd": total.spend.to_json(),
        "by_provider": providers.collect::<Vec<_>>(),
        "by_model": models.collect::<Vec<_>>(),
        "as_of": as_of,
    }))
    .into_response())
}

/// Returns the sums of each hour, day or month.
///
/// # Errors
/// 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/usage/timeseries",
    operation_id = "usage_timeseries",
    tag = "Account",
    summary = "Sums of each hour, day or month",
    params(UsageQuery),
    responses((status = 200, description = "The sums, oldest first.", body = UsageTimeseries), Refusals)
)]
pub async fn timeseries(State(http): State<Http>, Signed(caller): Signed, Query(query): Query<UsageQuery>) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let (period, selection) = query.parse(caller.account.as_str(), Vec::new(), http.clock.now_us())?;
    let rows = Rows { reads: &http.store.reads, selection: &selection, period: &period }.page(None, period.len()).await?;
    let points = rows.iter().map(|row| body(&json!({"timestamp": rfc3339(row.start_us)}), &row.sums));
    Ok(Json(json!({"data_points": points.collect::<Vec<_>>(), "as_of": as_of})).into_response())
}

/// Adds the sums to an object that names what they are of.
fn body(named: &Value, sums: &Sums) -> Value {
    let mut object = named.clone();
    object["requests"] = json!(sums.requests);
    object["input_tokens"] = json!(sums.prompt_tokens);
    object["output_tokens"] = json!(sums.completion_tokens);
    object["estimated_cost_usd"] = json!(sums.spend.to_json());
    object
}
