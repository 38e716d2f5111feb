//! `GET /api/v1/activity/latency`: quantiles of the times of requests, by model and provider.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed};
use serde::{Deserialize, Serialize};
use sqlx::{Any, AssertSqlSafe, Row};
use utoipa::{IntoParams, ToSchema};

use crate::exports::period::{Period, Segment};
use crate::projections::usage::latencies::{HOURS_KEPT_US, Kind, middle_us};
use crate::projections::usage::width::Width;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LatencyQuery {
    /// `1h`, `1d` (the default), `1mo` or `1y` up to now; or `from` and `to`.
    period: Option<String>,
    /// The start, RFC 3339. It is moved back to a full hour, day or month, and `to` is moved forward to one.
    from: Option<String>,
    /// The end, RFC 3339.
    to: Option<String>,
    /// `model` (the default), `provider`, or both with a comma between.
    group_by: Option<String>,
    model: Option<String>,
    provider: Option<String>,
}

/// Quantiles in milliseconds, each at most 1/32 off.
#[derive(Debug, Serialize, ToSchema)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
}

/// The times of one group.
#[derive(Debug, Serialize, ToSchema)]
struct LatencyRow {
    /// The value of each group by its name.
    groups: BTreeMap<&'static str, String>,
    requests: i64,
    /// From admission to the end of the answer.
    latency_ms: Option<Quantiles>,
    /// From admission to the first piece of the answer; null if no answer began.
    ttft_ms: Option<Quantiles>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Latencies {
    data: Vec<LatencyRow>,
    /// The start that was used.
    from: String,
    /// The end that was used.
    to: String,
    as_of: AsOf,
}

/// The counts of one group, by kind and bucket.
#[derive(Default)]
struct Histograms {
    whole: BTreeMap<i64, i64>,
    first_piece: BTreeMap<i64, i64>,
}

/// Returns `{data: [{groups, requests, latency_ms, ttft_ms}], from, to, as_of}`, with the group of the most requests first.
///
/// # Errors
/// 400 for a bad query.
#[utoipa::path(
    get,
    path = "/api/v1/activity/latency",
    tag = "Account",
    summary = "Quantiles of the times of requests",
    params(LatencyQuery),
    responses((status = 200, description = "A row for each group.", body = Latencies), Refusals)
)]
pub async fn latency(State(http): State<Http>, Signed(caller): Signed, Query(query): Query<LatencyQuery>) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let groups = groups(query.group_by.as_deref().unwrap_or("model"))?;
    let now_us = http.clock.now_us();
    let period = Period::try_new(query.period.as_deref(), query.from.as_deref(), query.to.as_deref(), now_us)?;
    let (width, from_us, to_us) = rows_of(&period, now_us);
    let columns = groups.join(", ");
    // The rows of a model are found by each start. A range would be read with all models.
    let is_of_model = query.model.as_ref().is_some_and(|model| !model.is_empty());
    let starts = Segment { width, from_us, to_us }.starts().filter(|_| is_of_model);
    let within = starts.map_or_else(|| format!("start_us >= {from_us} AND start_us < {to_us}"), |starts| format!("start_us IN ({starts})"));
    let model = if is_of_model { "AND model = $3" } else { "AND $3 = ''" };
    let sql = format!(
        "SELECT {columns}, kind, bucket, CAST(SUM(requests) AS BIGINT) AS requests FROM usage_latencies
         WHERE account = $1 AND width = $2 AND {within} {model} AND (provider = $4 OR $4 = '')
         GROUP BY {columns}, kind, bucket"
    );
    let rows = sqlx::query::<Any>(AssertSqlSafe(sql))
        .bind(caller.account.to_string())
        .bind(width.code())
        .bind(query.model.unwrap_or_default())
        .bind(query.provider.unwrap_or_default())
        .fetch_all(&http.store.reads)
        .await?;
    let mut by_group: BTreeMap<Vec<String>, Histograms> = BTreeMap::new();
    for row in rows {
        let values = (0..groups.len()).map(|place| row.try_get(place)).collect::<Result<Vec<String>, _>>()?;
        let of = by_group.entry(values).or_default();
        let is_whole = row.try_get::<i64, _>("kind")? == Kind::Whole.code();
        let counts = if is_whole { &mut of.whole } else { &mut of.first_piece };
        counts.insert(row.try_get("bucket")?, row.try_get("requests")?);
    }
    let shown = |(values, of): (Vec<String>, Histograms)| LatencyRow {
        groups: groups.iter().copied().zip(values).collect(),
        requests: of.whole.values().sum(),
        latency_ms: quantiles(&of.whole),
        ttft_ms: quantiles(&of.first_piece),
    };
    let mut data: Vec<LatencyRow> = by_group.into_iter().map(shown).collect();
    data.sort_by_key(|row| std::cmp::Reverse(row.requests));
    Ok(Json(Latencies { data, from: rfc3339(from_us), to: rfc3339(to_us), as_of }).into_response())
}

fn groups(names: &str) -> Result<Vec<&'static str>, ReadError> {
    let mut groups = Vec::new();
    for name in names.split(',') {
        let group = ["model", "provider"].into_iter().find(|group| *group == name.trim()).filter(|group| !groups.contains(group));
        groups.push(group.ok_or_else(|| ReadError::bad("group_by", "it must be model, provider, or both with a comma between"))?);
    }
    Ok(groups)
}

/// Returns the width of the rows that cover a period, and the start and the end of the cover, in microseconds since 1970.
fn rows_of(period: &Period, now_us: i64) -> (Width, i64, i64) {
    let (from_us, to_us) = period.bounds();
    let width = match period.width {
        Width::Minute | Width::Hour if from_us >= now_us - HOURS_KEPT_US => Width::Hour,
        Width::Minute | Width::Hour | Width::Day => Width::Day,
        Width::Month => Width::Month,
    };
    (width, width.floor_us(from_us), width.ceil_us(to_us))
}

/// Returns the quantiles of a histogram; `None` if it is empty.
fn quantiles(counts: &BTreeMap<i64, i64>) -> Option<Quantiles> {
    let total: i64 = counts.values().sum();
    let of = |percent: i64| {
        // The smallest time that so many percent of the requests do not exceed.
        let rank = (total * percent + 99) / 100;
        let mut seen = 0;
        let bucket = counts.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then_some(*bucket)
        });
        // Milliseconds with three decimals; a time that f64 cannot hold exactly is centuries long.
        bucket
            .and_then(|bucket| u32::try_from(middle_us(bucket) / 1_000).ok().map(|ms| (ms, middle_us(bucket) % 1_000)))
            .map(|(ms, us)| f64::from(ms) + f64::from(u16::try_from(us).unwrap_or_default()) / 1e3)
    };
    Some(Quantiles { p50: of(50).filter(|_| total > 0)?, p90: of(90)?, p95: of(95)?, p99: of(99)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projections::usage::latencies::bucket;

    #[test]
    fn quantiles_are_the_ranks_of_the_times() {
        let mut counts = BTreeMap::new();
        for ms in 1..=100_u64 {
            *counts.entry(bucket(ms * 1_000)).or_default() += 1;
        }
        let Quantiles { p50, p90, p95, p99 } = quantiles(&counts).unwrap();
        for (found, exact) in [(p50, 50.0), (p90, 90.0), (p95, 95.0), (p99, 99.0)] {
            assert!((found - exact).abs() <= exact / 32.0 + 1.0, "{found} for {exact}");
        }
        assert!(quantiles(&BTreeMap::new()).is_none());
    }
}
