//! `POST /api/v1/admin/quarantine/{event_id}/{release|discard}`: applies an event again, or gives it up.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::ask::{DecideAnswer, DecideQuarantine, Decision};
use http::HeaderMap;
use serde_json::json;

use crate::admin::{ASK_TIMEOUT, Admin};
use crate::error::GatewayError;

/// `{data: {event_id, decision}}`.
///
/// # Errors
/// 401 without the operator's token, 404 when no such event waits, 409 when it still cannot be applied, 503 when the ledger does
/// not answer.
pub async fn decide(
    State(admin): State<Admin>,
    Path((event_id, decision)): Path<(String, Decision)>,
    headers: HeaderMap,
) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    let command = DecideQuarantine { event_id, decision };
    match admin.ledger.ask(&command, ASK_TIMEOUT).await? {
        DecideAnswer::Done => Ok(Json(json!({"data": command})).into_response()),
        DecideAnswer::Unknown => Err(GatewayError::NotFound("No such event waits in quarantine.".to_owned())),
        DecideAnswer::Rejected { reason } => Err(GatewayError::Conflict(format!("It still cannot be applied: {reason}."))),
    }
}
