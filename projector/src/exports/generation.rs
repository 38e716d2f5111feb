//! `GET /api/v1/generation?id=gen-…`: one request.

#![expect(unused_qualifications, reason = "utoipa writes the type of a query that way")]

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::clock::rfc3339;
use events::request::{Attempt, SkippedEndpoint};
use events::{Nanos, Tokens, UnitPrices};
use read_api::{AsOf, Http, Query, ReadError, RefusalsOfOne, Signed, Usd};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Any, Row};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GenerationQuery {
    /// The id from `X-Generation-Id`.
    #[param(example = "gen-1767225600-000000000000000000000001")]
    id: String,
}

/// The answer, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct Generation {
    id: String,
    model: String,
    provider: String,
    created_at: String,
    latency_ms: i64,
    /// The time to the first piece of a stream.
    ttft_ms: Option<i64>,
    outcome: String,
    finish_reason: Option<String>,
    streamed: bool,
    key_hash: String,
    user: Option<String>,
    app: Option<String>,
    usage: GenerationUsage,
    /// The attempts at providers, in order; the last one answered, if any did.
    attempts: Vec<GenerationAttempt>,
    /// The endpoints that did not fit the request, or that were left alone because they had failed.
    skipped: Vec<GenerationSkipped>,
    /// The same attempts, as OpenRouter shows them.
    provider_responses: Vec<ProviderResponse>,
    /// The prices, in pico-USD per token.
    #[schema(value_type = std::collections::BTreeMap<String, i64>)]
    unit_prices_pico_usd: UnitPrices,
    as_of: AsOf,
}

/// An attempt at a provider, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct GenerationAttempt {
    provider: String,
    model: String,
    /// The provider's HTTP status; absent if it gave none.
    status: Option<u16>,
    /// The failure as one word, such as `timeout`; absent if nothing went wrong.
    error: Option<String>,
    duration_us: u64,
    /// The reason for the endpoint's place, such as `order` or `balanced`; absent if there was no choice.
    why: Option<String>,
    /// The round of tries over all candidates; absent in the first one.
    round: Option<u32>,
}

/// An endpoint that was left out, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct GenerationSkipped {
    provider: String,
    model: String,
    /// The reason as one word, such as `not_zdr`, `max_price` or `broken`.
    reason: String,
}

/// An attempt in OpenRouter's shape, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct ProviderResponse {
    provider_name: String,
    model_permaslug: String,
    /// Null if the provider gave none.
    status: Option<u16>,
    latency: u64,
}

/// The usage of a request, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct GenerationUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// Null if unknown.
    cost: Option<Usd>,
    cost_status: String,
    provenance: String,
    /// Whether the account's own provider key was used; `cost` is then the fee.
    is_byok: bool,
    cost_details: GenerationCosts,
    prompt_tokens_details: std::collections::BTreeMap<String, u64>,
    completion_tokens_details: std::collections::BTreeMap<String, u64>,
}

/// The costs of a request beside the charge, for OpenAPI.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape for OpenAPI")]
struct GenerationCosts {
    /// The list price, if the account's own provider key was used.
    upstream_inference_cost: Option<Usd>,
}

/// Returns `{id, model, provider, created_at, latency_ms, usage, …, as_of}`; money in USD.
///
/// # Errors
/// 404 if the request is unknown, not projected yet, or another account's.
#[utoipa::path(
    get,
    path = "/api/v1/generation",
    tag = "Account",
    summary = "One request to a model: its tokens, cost and end",
    params(GenerationQuery),
    responses((status = 200, description = "The request.", body = Generation), RefusalsOfOne)
)]
pub async fn generation(State(http): State<Http>, Signed(caller): Signed, query: Query<GenerationQuery>) -> Result<Response, ReadError> {
    let as_of = http.as_of();
    let sql =
        "SELECT request, key_hash, model, provider, end_user, app, outcome, finish_reason, streamed, admitted_at_us, latency_us, ttft_us,
               tokens, unit_prices, provenance, cost_status, cost_nanos, byok_nanos, attempts, skipped FROM generations WHERE request = $1 AND account = $2";
    let row = sqlx::query::<Any>(sql).bind(query.0.id).bind(caller.account.to_string()).fetch_optional(&http.store.reads).await?;
    let row = row.ok_or(ReadError::NotFound("No request of this account has that id, or it has not ended yet."))?;
    let tokens: Tokens = serde_json::from_str(row.try_get("tokens")?).unwrap_or_default();
    let prices: UnitPrices = serde_json::from_str(row.try_get("unit_prices")?).unwrap_or_default();
    let attempts: Vec<Attempt> = serde_json::from_str(row.try_get("attempts")?).unwrap_or_default();
    let skipped: Vec<SkippedEndpoint> = serde_json::from_str(row.try_get("skipped")?).unwrap_or_default();
    let cost = Nanos(row.try_get("cost_nanos")?);
    let cost_status: String = row.try_get("cost_status")?;
    let byok = row.try_get::<Option<i64>, _>("byok_nanos")?.map(Nanos);
    let known = cost_status != "unknown";
    let ms = |us: i64| us / 1_000;
    let text = |name| row.try_get::<String, _>(name).map(|text| Some(text).filter(|text| !text.is_empty()));
    let body = json!({
        "id": row.try_get::<String, _>("request")?,
        "model": row.try_get::<String, _>("model")?,
        "provider": row.try_get::<String, _>("provider")?,
        "created_at": rfc3339(row.try_get("admitted_at_us")?),
        "latency_ms": ms(row.try_get("latency_us")?),
        "ttft_ms": row.try_get::<Option<i64>, _>("ttft_us")?.map(ms),
        "outcome": row.try_get::<String, _>("outcome")?,
        "finish_reason": row.try_get::<Option<String>, _>("finish_reason")?,
        "streamed": row.try_get::<i64, _>("streamed")? == 1,
        "key_hash": row.try_get::<String, _>("key_hash")?,
        "user": text("end_user")?,
        "app": text("app")?,
        "usage": {
            "prompt_tokens": tokens.prompt(),
            "completion_tokens": tokens.completion(),
            "total_tokens": tokens.total(),
            "cost": known.then(|| cost.to_json()),
            "cost_status": cost_status,
            "provenance": row.try_get::<String, _>("provenance")?,
            "is_byok": byok.is_some(),
            "cost_details": {"upstream_inference_cost": byok.map(Nanos::to_json)},
            "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write()},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        },
        "attempts": attempts,
        "skipped": skipped,
        "provider_responses": attempts.iter().map(provider_response).collect::<Vec<_>>(),
        "unit_prices_pico_usd": prices,
        "as_of": as_of,
    });
    Ok(Json(body).into_response())
}

fn provider_response(attempt: &Attempt) -> Value {
    json!({
        "provider_name": attempt.provider,
        "model_permaslug": attempt.model,
        "status": attempt.status,
        "latency": attempt.duration_us / 1_000,
    })
}
