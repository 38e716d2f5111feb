//! `DELETE /api/v1/keys/{hash}`: deletes a key for good.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::control::{Key, KeyDeleted};
use serde_json::json;

use crate::admin::Admin;
use crate::error::GatewayError;

/// `{data: {deleted: true}}`.
///
/// # Errors
/// 401 and 403 for the wrong credential, 404 for a key that is not the account's, 503 when nothing can be recorded.
pub async fn delete(State(admin): State<Admin>, Path(hash): Path<String>, request: Request) -> Result<Response, GatewayError> {
    let now_us = admin.clock.now_us();
    let caller = admin.directory.identify_management(request.headers(), request.uri().query(), now_us)?;
    let before = admin.key_of(&caller.key.account, hash)?;
    let key = Key { updated_at_us: Some(now_us), revision: before.key.revision + 1, ..before.key.clone() };
    admin.record(key.account.as_str(), key.hash.as_str(), &KeyDeleted { key: key.clone() }).await?;
    Ok(Json(json!({"data": {"deleted": true}})).into_response())
}
