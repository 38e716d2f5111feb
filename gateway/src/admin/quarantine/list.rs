//! `GET /api/v1/admin/quarantine`: what waits for the operator's decision.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::json;

use super::waiting;
use crate::admin::Admin;
use crate::error::GatewayError;

/// `{data: [{reader, event_id, stream, sequence, reason, freezes_account, quarantined_at}]}`; of each reader, `ledger` or `projector`, oldest first.
///
/// # Errors
/// 401 without the operator's token, 503 when the ledger or the projector does not answer.
pub async fn list(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    Ok(Json(json!({"data": waiting(&admin, None).await?})).into_response())
}
