//! `POST /api/v1/keys/{hash}/rotate`: creates a key with the settings of another one, which expires some time later.
//!
//! Until then, both work. Each counts its own spending and requests, so the new key begins with its whole limits.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::KeyHash;
use events::control::Key;
use http::StatusCode;
use serde::Deserialize;

use super::change::Change;
use super::create::CreatedBody;
use super::object;
use crate::admin::Admin;
use crate::admin::body::{parse, present, read_bytes, wrong};
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::idempotency::IdempotentCall;
use crate::openapi::{IdempotencyKey, refusals};

/// The time for which the old key lives on if the call gives none: a day.
const OVERLAP_DEFAULT_S: u32 = 24 * 3_600;
/// The longest time for which the old key may live on: 90 days.
const OVERLAP_MAX_S: u32 = 90 * 24 * 3_600;

/// The body of the call, which may be empty.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateKey)]
struct RotateKeyBody {
    /// The time for which the old key lives on.
    #[schema(minimum = 0, maximum = 7_776_000, default = 86_400)]
    #[serde(default)]
    expires_old_in_seconds: Option<u32>,
    /// The expiry of the new key; absent = that of the old one, null = never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
}

/// Returns 201 with `{data, key}`, as the creation of a key does.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a key of another account, 429 for too many changes, 503 if
/// nothing can be recorded. Returns 409 for a disabled or expired key, and if the account has reached its maximum number of keys.
#[utoipa::path(
    post,
    path = "/api/v1/keys/{hash}/rotate",
    operation_id = "rotate_key",
    tag = "Keys",
    summary = "Create a key with the settings of another one, which expires some time later",
    params(("hash" = String, Path, description = "The SHA-256 of the key, in hexadecimal."), IdempotencyKey),
    request_body = Option<RotateKeyBody>,
    responses((status = 201, description = "The new key and its secret.", body = CreatedBody), refusals::Change)
)]
pub async fn rotate(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(hash): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let bytes = read_bytes(&parts.headers, body, &admin.server).await?;
    let body = if bytes.is_empty() { RotateKeyBody::default() } else { parse(&bytes)? };
    let overlap_s = body.expires_old_in_seconds.unwrap_or(OVERLAP_DEFAULT_S);
    if overlap_s > OVERLAP_MAX_S {
        return Err(wrong("expires_old_in_seconds", "it must be at most 7776000, which is 90 days"));
    }
    let call = IdempotentCall::read(&parts.headers, caller.key.account.as_str(), &format!("rotate {hash}"), &bytes)?;
    let (account, hash, now_us) = (&caller.key.account, KeyHash::from(hash), admin.clock.now_us());
    let old = admin.key_of(account, &hash)?;
    let expires_at_us = match &body.expires_at {
        None => old.key.expires_at_us,
        Some(text) => object::expires_at(text.as_deref(), now_us)?,
    };
    let new = Key {
        expires_at_us,
        created_by: Some(caller.key.hash.clone()),
        creating_call: None,
        created_at_us: now_us,
        updated_at_us: None,
        revision: 1,
        ..old.key.clone()
    };
    let is_repeated = admin.is_repeated(&new, call.as_ref());
    if !is_repeated && (old.key.disabled || old.key.expires_at_us.is_some_and(|expires| expires <= now_us)) {
        return Err(GatewayError::Conflict("This key is disabled or expired, so it cannot be rotated: create a new one.".to_owned()));
    }
    admin.take_place_for_key(&caller, is_repeated)?;
    let created = admin.add_key(new, call.as_ref()).await?;
    let ends_at_us = now_us + i64::from(overlap_s) * 1_000_000;
    let ending = |before: &Key| {
        let expires_at_us = Some(before.expires_at_us.map_or(ends_at_us, |expires| expires.min(ends_at_us)));
        Ok(Change::Update(Key { expires_at_us, ..before.clone() }))
    };
    admin.change_key(account, &hash, ending).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}
