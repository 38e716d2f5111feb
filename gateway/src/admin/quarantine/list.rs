//! `GET /api/v1/admin/quarantine`: lists the events that need the operator's decision.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::waiting;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, QuarantinedEvent, refusals};

/// Returns `{data: [{reader, event_id, stream, sequence, reason, freezes_account, quarantined_at}]}`, grouped by reader (`ledger`, then
/// `projector`), oldest first.
///
/// # Errors
/// Returns 401 without the operator's token, 503 if the ledger or the projector does not reply.
#[utoipa::path(
    get,
    path = "/api/v1/admin/quarantine",
    operation_id = "list_quarantine",
    tag = "Operator",
    summary = "The events that need a decision",
    security(("operator" = [])),
    responses((status = 200, description = "The events, by reader, oldest first.", body = Data<Vec<QuarantinedEvent>>), refusals::Operator)
)]
pub async fn list(State(admin): State<Admin>, _: Operator) -> Result<Response, GatewayError> {
    Ok(Json(json!({"data": waiting(&admin, None).await?})).into_response())
}
