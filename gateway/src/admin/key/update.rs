//! `PATCH /api/v1/keys/{hash}`: changes a key; switching it off acts at once.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::control::{Key, KeyDisabled, KeyUpdated, LimitReset};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::object;
use crate::admin::Admin;
use crate::admin::body::{present, read};
use crate::error::GatewayError;

/// What shall change; absent fields stay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateKeyBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<Option<Box<RawValue>>>,
    #[serde(default, deserialize_with = "present")]
    limit_usd: Option<Option<Box<RawValue>>>,
    #[serde(default, deserialize_with = "present")]
    spending_limit: Option<Option<Box<RawValue>>>,
    #[serde(default, deserialize_with = "object::reset")]
    limit_reset: Option<Option<LimitReset>>,
    #[serde(default, deserialize_with = "present")]
    allowed_providers: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    allowed_models: Option<Option<Vec<String>>>,
}

/// `{data: key}` after the change.
///
/// # Errors
/// 400 for a bad body, 401 and 403 for the wrong credential, 404 for a key that is not the account's, 503 when nothing can be recorded.
pub async fn update(State(admin): State<Admin>, Path(hash): Path<String>, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let caller = admin.directory.identify_management(&parts.headers, parts.uri.query(), admin.clock.now_us())?;
    let body: UpdateKeyBody = read(&parts.headers, body, &admin.server).await?;
    let before = admin.key_of(&caller.key.account, hash)?.key.clone();
    let key = changed(&before, body, admin.clock.now_us())?;
    let (account, subject) = (key.account.to_string(), key.hash.to_string());
    if key.disabled && !before.disabled {
        admin.record(&account, &subject, &KeyDisabled { key: key.clone() }).await?;
    } else {
        admin.record(&account, &subject, &KeyUpdated { key: key.clone() }).await?;
    }
    let data = admin.bodies(&[&key]).await?.pop();
    Ok(Json(json!({"data": data})).into_response())
}

fn changed(before: &Key, body: UpdateKeyBody, now_us: i64) -> Result<Key, GatewayError> {
    let limit = object::limit([("limit", &body.limit), ("limit_usd", &body.limit_usd), ("spending_limit", &body.spending_limit)])?;
    Ok(Key {
        name: body.name.map_or_else(|| Ok(before.name.clone()), object::name)?,
        disabled: body.disabled.unwrap_or(before.disabled),
        limit_nanos: limit.unwrap_or(before.limit_nanos),
        limit_reset: body.limit_reset.unwrap_or(before.limit_reset),
        allowed_providers: body.allowed_providers.unwrap_or_else(|| before.allowed_providers.clone()),
        allowed_models: body.allowed_models.unwrap_or_else(|| before.allowed_models.clone()),
        updated_at_us: Some(now_us),
        revision: before.revision + 1,
        ..before.clone()
    })
}
