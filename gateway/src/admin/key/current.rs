//! `GET /api/v1/key`: the state of the key that makes the call.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::ids::KeyKind;
use serde_json::{Value, json};

use super::object::KeyBody;
use crate::admin::Admin;
use crate::admin::caller::AnyKey;
use crate::error::GatewayError;
use crate::openapi::Data;
use crate::openapi::refusals::Management;

/// Returns `{data: {label, limit, limit_remaining, limit_reset, usage…, is_free_tier, is_management_key, rate_limit}}`.
///
/// # Errors
/// Returns 401 for the wrong credential, 503 if the ledger does not reply.
#[utoipa::path(
    get,
    path = "/api/v1/key",
    operation_id = "own_key",
    tag = "Account",
    summary = "The state of the key that makes the call",
    responses((status = 200, description = "The key.", body = Data<KeyBody>), Management)
)]
pub async fn own(State(admin): State<Admin>, AnyKey(caller): AnyKey) -> Result<Response, GatewayError> {
    let body = admin.bodies(&[&caller.key]).await?.pop().ok_or(GatewayError::Internal)?;
    let mut data = serde_json::to_value(body).map_err(|_| GatewayError::Internal)?;
    if let Value::Object(fields) = &mut data {
        let is_management = caller.key.kind == KeyKind::Management;
        fields.insert("is_management_key".to_owned(), is_management.into());
        fields.insert("is_provisioning_key".to_owned(), is_management.into());
        fields.insert("is_free_tier".to_owned(), false.into());
        fields.insert("include_byok_in_limit".to_owned(), false.into());
    }
    Ok(Json(json!({"data": data})).into_response())
}
