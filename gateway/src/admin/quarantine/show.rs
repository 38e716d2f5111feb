//! `GET /api/v1/admin/quarantine/{event_id}`: shows an event that needs the operator's decision, with its payload as received.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::waiting;
use crate::admin::Admin;
use crate::admin::caller::Operator;
use crate::error::GatewayError;
use crate::openapi::{Data, QuarantinedEvent, refusals};

/// Returns `{data: [{reader, event_id, stream, sequence, reason, freezes_account, quarantined_at, payload}]}`, once per reader that
/// quarantined it. The payload is a string, because it may not be valid JSON.
///
/// # Errors
/// Returns 401 without the operator's token, 404 if no such event is in quarantine. Returns 503 if the ledger or the projector does not
/// reply.
#[utoipa::path(
    get,
    path = "/api/v1/admin/quarantine/{event_id}",
    operation_id = "show_quarantine",
    tag = "Operator",
    summary = "One event that needs a decision, with its payload",
    security(("operator" = [])),
    params(("event_id" = String, Path)),
    responses((status = 200, description = "The event, once for each reader that has set it aside.", body = Data<Vec<QuarantinedEvent>>), refusals::Operator)
)]
pub async fn show(State(admin): State<Admin>, _: Operator, Path(event_id): Path<String>) -> Result<Response, GatewayError> {
    let found = waiting(&admin, Some(event_id)).await?;
    if found.is_empty() {
        return Err(GatewayError::NotFound("No such event waits in quarantine.".to_owned()));
    }
    Ok(Json(json!({"data": found})).into_response())
}
