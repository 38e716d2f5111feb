//! `POST /api/v1/admin/accounts/{id}/management-keys`: makes a management key of an account that has none any more; for the operator.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use http::{HeaderMap, StatusCode};

use super::unknown;
use crate::admin::Admin;
use crate::admin::key::create::CreateKeyBody;
use crate::error::GatewayError;

/// 201 with `{data, key}`.
///
/// # Errors
/// 401 without the operator's token, 404 for an unknown account, 503 when nothing can be recorded.
pub async fn management_key(State(admin): State<Admin>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    let account = AccountId::from(id);
    if !admin.directory.has_account(&account) {
        return Err(unknown());
    }
    let created = admin.create_key(&account, CreateKeyBody::management("made by the operator")).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}
