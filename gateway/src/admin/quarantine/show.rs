//! `GET /api/v1/admin/quarantine/{event_id}`: an event that waits for the operator's decision, as it came.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::json;

use super::waiting;
use crate::admin::Admin;
use crate::error::GatewayError;

/// `{data: [{reader, event_id, stream, sequence, reason, freezes_account, quarantined_at, payload}]}`, once for each reader that set it aside; the
/// payload is a text, since it may be no JSON.
///
/// # Errors
/// 401 without the operator's token, 404 when no such event waits, 503 when the ledger or the projector does not answer.
pub async fn show(State(admin): State<Admin>, Path(event_id): Path<String>, headers: HeaderMap) -> Result<Response, GatewayError> {
    admin.operator(&headers)?;
    let found = waiting(&admin, Some(event_id)).await?;
    if found.is_empty() {
        return Err(GatewayError::NotFound("No such event waits in quarantine.".to_owned()));
    }
    Ok(Json(json!({"data": found})).into_response())
}
