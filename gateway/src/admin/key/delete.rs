//! `DELETE /api/v1/keys/{hash}`: deletes a key for good.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::KeyHash;
use serde_json::json;

use super::change::Change;
use crate::admin::Admin;
use crate::error::GatewayError;

/// `{data: {deleted: true}}`.
///
/// # Errors
/// 401 and 403 for the wrong credential, 404 for a key that is not the account's, 409 for its last management key, 429 for too many
/// changes, 503 when nothing can be recorded.
pub async fn delete(State(admin): State<Admin>, Path(hash): Path<String>, request: Request) -> Result<Response, GatewayError> {
    let now_us = admin.clock.now_us();
    let caller = admin.directory.identify_management(request.headers(), request.uri().query(), now_us)?;
    admin.quotas.change_key(&caller.key.account)?;
    let deleted = |before: &events::control::Key| {
        admin.keep_a_manager(before)?;
        Ok(Change::Delete(before.clone()))
    };
    admin.change_key(&caller.key.account, &KeyHash::from(hash), deleted).await?;
    Ok(Json(json!({"data": {"deleted": true}})).into_response())
}
