//! `GET /api/v1/admin/quarantine/{event_id}`: an event that waits for the operator's decision, as it came.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::ask::AskQuarantine;
use http::HeaderMap;
use serde_json::json;

use crate::admin::{ASK_TIMEOUT, Admin};
use crate::error::GatewayError;

/// `{data: {event_id, stream, sequence, reason, parks, quarantined_at, payload}}`; the payload is a text, since it may be no JSON.
///
/// # Errors
/// 401 without the operator's token, 404 when no such event waits, 503 when the ledger does not answer.
pub async fn show(State(admin): State<Admin>, Path(event_id): Path<String>, headers: HeaderMap) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    match admin.ledger.ask(&AskQuarantine { event_id: Some(event_id) }, ASK_TIMEOUT).await?.pop() {
        Some(event) => Ok(Json(json!({"data": event})).into_response()),
        None => Err(GatewayError::NotFound("No such event waits in quarantine.".to_owned())),
    }
}
