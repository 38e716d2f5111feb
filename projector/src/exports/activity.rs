//! `GET /api/v1/activity`: spend, tokens and requests over time, by model, key, user, provider or application; JSON or CSV.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::Nanos;
use events::clock::rfc3339;
use read_api::{AsOf, Http, Query, ReadError, Refusals, Signed, Usd, csv};
use serde::{Deserialize, Serialize};
use sqlx::{Any, AssertSqlSafe, Row};
use utoipa::{IntoParams, ToSchema};

use super::period::Period;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActivityQuery {
    /// `1h`, `1d` (the default), `1mo` or `1y` up to now; or `from` and `to`.
    period: Option<String>,
    /// The start, RFC 3339.
    from: Option<String>,
    /// The end, RFC 3339.
    to: Option<String>,
    /// `model` (the default), `api_key`, `user`, `provider` or `app`.
    group_by: Option<String>,
    user: Option<String>,
    model: Option<String>,
    key_hash: Option<String>,
    /// `json`, the default, or `csv`.
    format: Option<String>,
}

/// Sums over one bucket and group.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ActivitySums)]
struct Sums {
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    spend_usd: Nanos,
    #[serde(serialize_with = "events::money::as_usd")]
    #[schema(value_type = Usd)]
    byok_spend_est_usd: Nanos,
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    cached_tokens: i64,
    total_tokens: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivityRow)]
struct RowBody {
    period_start: String,
    period_end: String,
    group: String,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Debug, Serialize, ToSchema)]
struct ActivityBody {
    data: Vec<RowBody>,
    totals: Sums,
    as_of: AsOf,
}

/// Returns the column for a value of `group_by`.
fn column(group_by: Option<&str>) -> Result<&'static str, ReadError> {
    match group_by {
        None | Some("model") => Ok("model"),
        Some("api_key") => Ok("key_hash"),
        Some("user") => Ok("end_user"),
        Some("provider") => Ok("provider"),
        Some("app") => Ok("app"),
        Some(_) => Err(ReadError::bad("group_by", "it must be model, api_key, user, provider or app")),
    }
}

/// Returns `{data: [row], totals, as_of}`, in USD exact to 9 decimals. It has a row for each bucket and group; empty buckets have an empty
/// group.
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
            content((ActivityBody = "application/json"), (String = "text/csv"))
        ),
        Refusals
    )
)]
pub async fn activity(State(http): State<Http>, Signed(caller): Signed, Query(query): Query<ActivityQuery>) -> Result<Response, ReadError> {
    let csv = match query.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(ReadError::bad("format", "it must be json or csv")),
    };
    let period = Period::try_new(query.period.as_deref(), query.from.as_deref(), query.to.as_deref(), http.clock.now_us())?;
    let as_of = http.as_of();
    let buckets = sums(&http, caller.account.as_str(), &period, &query).await?;
    let mut rows = Vec::new();
    let mut totals = Sums::default();
    for (index, (start, end)) in period.buckets().enumerate() {
        let empty = BTreeMap::from([(String::new(), Sums::default())]);
        for (group, sums) in buckets.get(&index).unwrap_or(&empty) {
            add(&mut totals, sums);
            rows.push(RowBody { period_start: rfc3339(start), period_end: rfc3339(end), group: group.clone(), sums: sums.clone() });
        }
    }
    if csv { as_csv(&rows, &as_of) } else { Ok(Json(ActivityBody { data: rows, totals, as_of }).into_response()) }
}

type Buckets = BTreeMap<usize, BTreeMap<String, Sums>>;

async fn sums(http: &Http, account: &str, period: &Period, query: &ActivityQuery) -> Result<Buckets, ReadError> {
    let column = column(query.group_by.as_deref())?;
    let (from, to) = period.bounds();
    // The database sums by minute. All bucket edges fall on full minutes, except freely chosen bounds; the query cuts those to the
    // microsecond.
    let sql = format!(
        "SELECT {column} AS grp, admitted_at_us / 60000000 AS minute, COUNT(*) AS requests, CAST(SUM(cost_nanos) AS BIGINT) AS cost,
         CAST(SUM(prompt_tokens) AS BIGINT) AS prompt, CAST(SUM(completion_tokens) AS BIGINT) AS completion,
         CAST(SUM(reasoning_tokens) AS BIGINT) AS reasoning, CAST(SUM(cached_tokens) AS BIGINT) AS cached FROM generations
         WHERE account = $1 AND admitted_at_us >= $2 AND admitted_at_us < $3
         AND ($4 = '' OR end_user = $4) AND ($5 = '' OR model = $5) AND ($6 = '' OR key_hash = $6) GROUP BY 1, 2"
    );
    let rows = sqlx::query::<Any>(AssertSqlSafe(sql))
        .bind(account.to_owned())
        .bind(from)
        .bind(to)
        .bind(query.user.clone().unwrap_or_default())
        .bind(query.model.clone().unwrap_or_default())
        .bind(query.key_hash.clone().unwrap_or_default())
        .fetch_all(&http.store.reads)
        .await?;
    let mut buckets = Buckets::new();
    for row in rows {
        let minute_us = row.try_get::<i64, _>("minute")? * 60_000_000;
        let index = period.edges_us.partition_point(|edge| *edge <= minute_us.max(from)).saturating_sub(1);
        let (prompt, completion): (i64, i64) = (row.try_get("prompt")?, row.try_get("completion")?);
        let sums = Sums {
            spend_usd: Nanos(row.try_get("cost")?),
            byok_spend_est_usd: Nanos::ZERO,
            requests: row.try_get("requests")?,
            prompt_tokens: prompt,
            completion_tokens: completion,
            reasoning_tokens: row.try_get("reasoning")?,
            cached_tokens: row.try_get("cached")?,
            total_tokens: prompt + completion,
        };
        add(buckets.entry(index).or_default().entry(row.try_get("grp")?).or_default(), &sums);
    }
    Ok(buckets)
}

fn add(to: &mut Sums, more: &Sums) {
    to.spend_usd = to.spend_usd.saturating_add(more.spend_usd);
    to.byok_spend_est_usd = to.byok_spend_est_usd.saturating_add(more.byok_spend_est_usd);
    to.requests += more.requests;
    to.prompt_tokens += more.prompt_tokens;
    to.completion_tokens += more.completion_tokens;
    to.reasoning_tokens += more.reasoning_tokens;
    to.cached_tokens += more.cached_tokens;
    to.total_tokens += more.total_tokens;
}

fn as_csv(rows: &[RowBody], as_of: &AsOf) -> Result<Response, ReadError> {
    let header = [
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
    let cells = rows.iter().map(|row| {
        let sums = &row.sums;
        let counts =
            [sums.requests, sums.prompt_tokens, sums.completion_tokens, sums.reasoning_tokens, sums.cached_tokens, sums.total_tokens];
        let mut cells = vec![row.period_start.clone(), row.period_end.clone(), csv::safe(&row.group).into_owned()];
        cells.extend([sums.spend_usd.to_decimals(), sums.byok_spend_est_usd.to_decimals()]);
        cells.extend(counts.map(|count| count.to_string()));
        cells
    });
    csv::respond(&header, cells, as_of, None)
}
