//! `POST /api/v1/admin/quarantine/{event_id}/{release|discard}`: applies a quarantined event again, or discards it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::rpc::{DecideQuarantine, DecideReply, Decision};
use serde_json::json;

use crate::admin::caller::Operator;
use crate::admin::{Admin, RPC_TIMEOUT};
use crate::error::GatewayError;
use crate::openapi::{Data, DecidedQuarantine, refusals};

/// Returns `{data: {event_id, decision, readers}}`; `readers` are those that had quarantined the event. Each reader executes the decision
/// on its own, and repeating the call is harmless.
///
/// # Errors
/// Returns 400 for another decision, 401 without the operator's token, 404 if no such event is in quarantine, 409 if a reader still cannot apply it. Returns 503 if
/// the ledger or the projector does not reply.
#[utoipa::path(
    post,
    path = "/api/v1/admin/quarantine/{event_id}/{decision}",
    operation_id = "decide_quarantine",
    tag = "Operator",
    summary = "Apply an event in quarantine again, or discard it",
    security(("operator" = [])),
    params(("event_id" = String, Path), ("decision" = String, Path, description = "`release` or `discard`.", example = "release")),
    responses((status = 200, description = "The decision.", body = Data<DecidedQuarantine>), refusals::Operator)
)]
pub async fn decide(
    State(admin): State<Admin>,
    _: Operator,
    path: Result<Path<(String, Decision)>, PathRejection>,
) -> Result<Response, GatewayError> {
    let Path((event_id, decision)) = path.map_err(|error| GatewayError::BadRequest { message: error.body_text(), param: None })?;
    let command = DecideQuarantine { event_id, decision };
    let (mut done, mut still) = (Vec::new(), Vec::new());
    for reader in admin.readers() {
        match reader.call(&command, RPC_TIMEOUT).await? {
            DecideReply::Done => done.push(reader.who().as_str()),
            DecideReply::Unknown => {}
            DecideReply::Rejected { reason } => still.push(format!("the {} still cannot apply it: {reason}", reader.who())),
        }
    }
    if !still.is_empty() {
        return Err(GatewayError::Conflict(format!("{}.", still.join("; "))));
    }
    if done.is_empty() {
        return Err(GatewayError::NotFound("No such event waits in quarantine.".to_owned()));
    }
    Ok(Json(json!({"data": {"event_id": command.event_id, "decision": command.decision, "readers": done}})).into_response())
}
