//! `GET` and `PATCH /api/v1/account`: the account of a management key, read and changed by its owner.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::unknown;
use super::update::{UpdateAccountBody, shown};
use crate::admin::Admin;
use crate::admin::body::read;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::refusals::{Change, Management};
use crate::openapi::{AccountBody, Data};

/// Returns `{data: {id, name, suspended, default_model}}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential.
#[utoipa::path(
    get,
    path = "/api/v1/account",
    operation_id = "get_account",
    tag = "Keys",
    summary = "The account of the management key",
    responses((status = 200, description = "The account.", body = Data<AccountBody>), Management)
)]
pub async fn get(State(admin): State<Admin>, ManagementKey(caller): ManagementKey) -> Result<Response, GatewayError> {
    let account = admin.directory.account(&caller.key.account).ok_or_else(unknown)?;
    Ok(Json(json!({"data": shown(&account)})).into_response())
}

/// Returns `{data: {id, name, suspended, default_model}}`.
///
/// # Errors
/// Returns 400 for a bad body or an unknown model, 401 or 403 for the wrong credential, 409 if concurrent changes do not stop, 429 for too
/// many changes, 503 if nothing can be recorded or the ledger does not reply.
#[utoipa::path(
    patch,
    path = "/api/v1/account",
    operation_id = "update_own_account",
    tag = "Keys",
    summary = "Change the account of the management key; absent fields keep their value",
    request_body = UpdateAccountBody,
    responses((status = 200, description = "The account after the change.", body = Data<AccountBody>), Change)
)]
pub async fn update(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: UpdateAccountBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    let account = admin.update_account(&caller.key.account, body).await?;
    Ok(Json(json!({"data": shown(&account)})).into_response())
}
