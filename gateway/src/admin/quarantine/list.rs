//! `GET /api/v1/admin/quarantine`: what waits for the operator's decision.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::ask::AskQuarantine;
use http::HeaderMap;
use serde_json::json;

use crate::admin::{ASK_TIMEOUT, Admin};
use crate::error::GatewayError;

/// `{data: [{event_id, stream, sequence, reason, parks, quarantined_at}]}`, oldest first.
///
/// # Errors
/// 401 without the operator's token, 503 when the ledger does not answer.
pub async fn list(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    let waiting = admin.ledger.ask(&AskQuarantine { event_id: None }, ASK_TIMEOUT).await?;
    Ok(Json(json!({"data": waiting})).into_response())
}
