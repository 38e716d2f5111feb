//! The endpoints behind the models: `GET /api/v1/models/{author}/{slug}/endpoints`, `/api/v1/endpoints/zdr`, `/api/v1/providers` and
//! `/api/v1/models/count`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::control::Key;
use routing::HealthView;
use routing::health::{BreakerState, Percentiles};
use serde_json::{Value, json};
use wire::call::Format;

use crate::error::GatewayError;
use crate::models::{inputs, openai, parameters, renamed};
use crate::openapi::refusals::Read;
use crate::openapi::{Data, EndpointBody, ModelCount, ProviderBody};
use crate::request::Stages;
use crate::route::choice::{check_allowed, check_allowed_by};
use crate::route::split::Split;
use crate::route::{Endpoint, Model};

/// Returns `{data: {id, name, …, endpoints: [endpoint]}}` of a model or of all variants of a split, with the endpoints that the key may use.
///
/// # Errors
/// Fails with 404 for a model without such an endpoint.
pub fn of_model(stages: &Stages, key: &Key, (split, models): (Option<&Split>, &[&Arc<Model>]), id: &str) -> Result<Response, GatewayError> {
    let all = models.iter().flat_map(|model| &model.endpoints);
    let endpoints: Vec<&Arc<Endpoint>> = all.filter(|endpoint| check_allowed_by(key, split, endpoint).is_ok()).collect();
    let first = endpoints.first().ok_or_else(|| {
        GatewayError::NotFound(format!("The model '{id}' has no endpoint for this key; GET /v1/models lists the models that have."))
    })?;
    let mut body = openai(first);
    if let Some(split) = split {
        body = renamed(Format::Chat, body, &split.name.id);
    }
    if let Some(body) = body.as_object_mut() {
        let now_us = stages.clock.now_us();
        body.insert("endpoints".to_owned(), endpoints.iter().map(|endpoint| object(endpoint, now_us)).collect());
    }
    Ok(Json(json!({"data": body})).into_response())
}

/// Lists the endpoints that retain nothing: `{data: [endpoint]}`. Answers 401 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/endpoints/zdr",
    operation_id = "list_zdr_endpoints",
    tag = "Models",
    summary = "The endpoints that retain nothing",
    responses((status = 200, description = "The endpoints that the key may use.", body = Data<Vec<EndpointBody>>), Read)
)]
pub async fn zdr(State(stages): State<Arc<Stages>>, request: Request) -> Result<Response, GatewayError> {
    let (key, now_us) = (identified(&stages, &request)?, stages.clock.now_us());
    let routes = stages.routes.now();
    let endpoints = routes.all().flat_map(|model| usable(&key, model)).filter(|endpoint| endpoint.facts.is_zdr);
    let data: Vec<Value> = endpoints.map(|endpoint| object(endpoint, now_us)).collect();
    Ok(Json(json!({"data": data})).into_response())
}

/// Lists the providers: `{data: [{id, name, slug, model_count, is_byok_supported, …}]}`. `id` and `slug` are both names for
/// `provider.order` and the like. Answers 401 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/providers",
    operation_id = "list_providers",
    tag = "Models",
    summary = "The providers whose models the key may use",
    responses((status = 200, description = "The providers.", body = Data<Vec<ProviderBody>>), Read)
)]
pub async fn providers(State(stages): State<Arc<Stages>>, request: Request) -> Result<Response, GatewayError> {
    let key = identified(&stages, &request)?;
    let mut providers: BTreeMap<String, (Arc<Endpoint>, u32)> = BTreeMap::new();
    let routes = stages.routes.now();
    for endpoint in routes.all().flat_map(|model| usable(&key, model)) {
        let (_, models) = providers.entry(endpoint.provider.slug.clone()).or_insert_with(|| (Arc::clone(endpoint), 0));
        *models += 1;
    }
    let shown = |(endpoint, models): &(Arc<Endpoint>, u32)| {
        let provider = &endpoint.provider;
        json!({
            "id": provider.name,
            "name": provider.name,
            "slug": provider.slug,
            "model_count": models,
            "is_byok_supported": true,
            "is_zdr": provider.policy.is_zdr,
            "collects_data": provider.policy.collects_data,
            "region": provider.policy.region,
        })
    };
    let data: Vec<Value> = providers.values().map(shown).collect();
    Ok(Json(json!({"data": data})).into_response())
}

/// Returns the number of models that the key may use: `{data: {count}}`. Answers 401 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/models/count",
    operation_id = "count_models",
    tag = "Models",
    summary = "The number of models that the key may use",
    responses((status = 200, description = "The number.", body = Data<ModelCount>), Read)
)]
pub async fn count(State(stages): State<Arc<Stages>>, request: Request) -> Result<Response, GatewayError> {
    let key = identified(&stages, &request)?;
    let count = stages.routes.now().all().filter(|model| usable(&key, model).next().is_some()).count();
    Ok(Json(json!({"data": {"count": count}})).into_response())
}

fn identified(stages: &Stages, request: &Request) -> Result<Key, GatewayError> {
    let caller = stages.auth.identify(request.headers(), request.uri().query(), stages.clock.now_us())?;
    Ok(caller.key.clone())
}

/// Returns the endpoints of a model that a key may use.
fn usable<'a>(key: &'a Key, model: &'a Model) -> impl Iterator<Item = &'a Arc<Endpoint>> {
    model.endpoints.iter().filter(move |endpoint| check_allowed(key, endpoint).is_ok())
}

/// Returns an endpoint with ARouter's and OpenRouter's fields. Prices are numbers in USD per token; times are milliseconds.
fn object(endpoint: &Endpoint, now_us: i64) -> Value {
    let (facts, health) = (&endpoint.facts, endpoint.health.view(now_us));
    let price = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let prices = &endpoint.shown_prices;
    json!({
        "provider_id": endpoint.provider.slug,
        "provider_name": endpoint.provider.name,
        "name": format!("{} | {}", endpoint.provider.name, endpoint.model.id),
        "tag": endpoint.provider.slug,
        "model": endpoint.model.id,
        "model_id": endpoint.model.id,
        "model_name": endpoint.display_name,
        "context_length": endpoint.context_length,
        "max_completion_tokens": endpoint.max_output_tokens,
        "max_prompt_tokens": null,
        "pricing": {
            "prompt": price(&prices.prompt),
            "completion": price(&prices.completion),
            "input_cache_read": prices.cache_read.as_deref().map(price),
            "input_cache_write": prices.cache_write_5m.as_deref().map(price),
        },
        "price_version": endpoint.price_version,
        "quantization": facts.quantization.as_str(),
        "input_modalities": inputs(endpoint),
        "supported_parameters": parameters(endpoint),
        "is_zdr": facts.is_zdr,
        "collects_data": facts.collects_data,
        "region": facts.region,
        "supports_implicit_caching": prices.cache_read.is_some(),
        "status": status(&health),
        "uptime_last_5m": uptime(health.uptime_5m_bp),
        "uptime_last_30m": uptime(health.uptime_30m_bp),
        "uptime_last_1d": uptime(health.uptime_1d_bp),
        "latency_last_30m": health.ttft_us.or(health.latency_us).map(thousandths),
        "throughput_last_30m": health.throughput_milli.map(thousandths),
    })
}

/// Returns OpenRouter's status of an endpoint: 0 if it answers, negative if it is degraded or left alone.
const fn status(health: &HealthView) -> i32 {
    match health.breaker {
        BreakerState::Open { .. } | BreakerState::Probing => -2,
        BreakerState::HalfOpen => -1,
        BreakerState::Closed if health.has_outage => -1,
        BreakerState::Closed => 0,
    }
}

/// Returns a share of successes in percent.
fn uptime(basis_points: Option<u32>) -> Option<f64> {
    basis_points.map(|points| f64::from(points) / 100.0)
}

/// Returns percentiles in thousands: milliseconds of microseconds, or tokens a second of thousandths.
fn thousandths(percentiles: Percentiles) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let of = |value: u64| value as f64 / 1_000.0;
    json!({"p50": of(percentiles.p50), "p75": of(percentiles.p75), "p90": of(percentiles.p90), "p99": of(percentiles.p99)})
}
