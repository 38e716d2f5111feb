//! `GET /api/v1/keys/{hash}`: shows one key.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::{AccountId, KeyHash};
use serde_json::json;
use std::sync::Arc;

use super::object::KeyBody;
use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::auth::KeyEntry;
use crate::error::GatewayError;
use crate::openapi::Data;
use crate::openapi::refusals::Management;

/// Returns `{data: key}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a key of another account, 503 if the ledger does not reply.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{hash}",
    operation_id = "get_key",
    tag = "Keys",
    summary = "One key",
    params(("hash" = String, Path, description = "The SHA-256 of the key, in hexadecimal.")),
    responses((status = 200, description = "The key.", body = Data<KeyBody>), Management)
)]
pub async fn get(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(hash): Path<String>,
) -> Result<Response, GatewayError> {
    let entry = admin.key_of(&caller.key.account, &KeyHash::from(hash))?;
    let data = admin.bodies(&[&entry.key]).await?.pop();
    Ok(Json(json!({"data": data})).into_response())
}

impl Admin {
    /// Returns a key of an account.
    ///
    /// # Errors
    /// Returns 404 if there is no such key, or if it belongs to another account.
    pub fn key_of(&self, account: &AccountId, hash: &KeyHash) -> Result<Arc<KeyEntry>, GatewayError> {
        let entry = self.directory.find(hash).filter(|entry| entry.key.account == *account);
        entry.ok_or_else(|| GatewayError::NotFound("No key of this account has that hash.".to_owned()))
    }
}
