//! `PATCH /api/v1/keys/{hash}`: changes a key; disabling it takes effect at once.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::KeyHash;
use events::control::{Key, LimitReset};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wire::openapi::Usd;

use super::change::Change;
use super::object::{self, RateLimitBody};
use crate::admin::body::{present, read};
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::error::GatewayError;
use crate::openapi::Data;
use crate::openapi::refusals::Change as Refusals;

/// The fields to change; absent fields keep their value.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateKey)]
struct UpdateKeyBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    name: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
    /// The limit of spending; null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    limit: Option<Option<Box<RawValue>>>,
    /// Another name of `limit`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    limit_usd: Option<Option<Box<RawValue>>>,
    /// Another name of `limit`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Usd>)]
    spending_limit: Option<Option<Box<RawValue>>>,
    /// `daily`, `weekly`, `monthly`, or `never` for null.
    #[serde(default, deserialize_with = "object::reset")]
    #[schema(value_type = Option<String>)]
    limit_reset: Option<Option<LimitReset>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_providers: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<RateLimitBody>)]
    rate_limit: Option<Option<RateLimitBody>>,
    #[serde(default)]
    enforce_zdr: Option<bool>,
    #[serde(default)]
    include_byok_in_limit: Option<bool>,
    /// A future time in RFC 3339; null for never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
}

/// Returns `{data: key}` with the state after the change.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a key of another account, 429 for too many changes, 503 if
/// nothing can be recorded. Returns 409 if the change disables the account's last management key, or if concurrent changes do not stop.
#[utoipa::path(
    patch,
    path = "/api/v1/keys/{hash}",
    operation_id = "update_key",
    tag = "Keys",
    summary = "Change a key; absent fields keep their value",
    params(("hash" = String, Path, description = "The SHA-256 of the key, in hexadecimal.")),
    request_body = UpdateKeyBody,
    responses((status = 200, description = "The key after the change.", body = Data<object::KeyBody>), Refusals)
)]
pub async fn update(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(hash): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: UpdateKeyBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    let change = |before: &Key| {
        let key = changed(before, body.clone(), admin.clock.now_us())?;
        if !key.disabled || before.disabled {
            return Ok(Change::Update(key));
        }
        admin.keep_a_manager(before)?;
        Ok(Change::Disable(key))
    };
    let key = admin.change_key(&caller.key.account, &KeyHash::from(hash), change).await?;
    let data = admin.bodies(&[&key]).await?.pop();
    Ok(Json(json!({"data": data})).into_response())
}

fn changed(before: &Key, body: UpdateKeyBody, now_us: i64) -> Result<Key, GatewayError> {
    let limit = object::limit([("limit", &body.limit), ("limit_usd", &body.limit_usd), ("spending_limit", &body.spending_limit)])?;
    let expires_at_us = match &body.expires_at {
        None => before.expires_at_us,
        Some(text) => object::expires_at(text.as_deref(), now_us)?,
    };
    Ok(Key {
        name: body.name.map_or_else(|| Ok(before.name.clone()), text::name)?,
        disabled: body.disabled.unwrap_or(before.disabled),
        limit_nanos: limit.unwrap_or(before.limit_nanos),
        limit_reset: body.limit_reset.unwrap_or(before.limit_reset),
        allowed_providers: object::providers(body.allowed_providers.unwrap_or_else(|| before.allowed_providers.clone()))?,
        allowed_models: object::models(body.allowed_models.unwrap_or_else(|| before.allowed_models.clone()))?,
        rate_limit: body.rate_limit.map_or(Ok(before.rate_limit), RateLimitBody::bounds)?,
        enforce_zdr: body.enforce_zdr.unwrap_or(before.enforce_zdr),
        include_byok_in_limit: body.include_byok_in_limit.unwrap_or(before.include_byok_in_limit),
        expires_at_us,
        ..before.clone()
    })
}
