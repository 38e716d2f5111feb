//! `POST /api/v1/webhooks/{id}/replay`: sends ended deliveries of the last days again.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::clock::parse_rfc3339;
use events::rpc::webhook::{ReplayPart, ReplayWebhook};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::body::{read, wrong};
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, RPC_TIMEOUT};
use crate::error::GatewayError;
use crate::openapi::{ReplayedWebhook, refusals};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayWebhook)]
struct ReplayBody {
    /// The time of the first event, RFC 3339; or else `delivery_id`.
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    delivery_id: Option<String>,
}

/// Returns 202 with `{replayed}`, the number of deliveries.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a webhook or delivery of another account, 429 for too many
/// calls, 503 if the projector does not reply.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/replay",
    operation_id = "replay_webhook",
    tag = "Webhooks",
    summary = "Send ended deliveries again: one, or all since a time",
    params(("id" = String, Path, description = "The webhook's id.")),
    request_body = ReplayBody,
    responses((status = 202, description = "The number of deliveries that are sent again.", body = ReplayedWebhook), refusals::Change)
)]
pub async fn replay(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: ReplayBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    admin.webhook_of(&caller.key.account, &id)?;
    let is_single = body.delivery_id.is_some();
    let part = match (body.since, body.delivery_id) {
        (Some(since), None) => {
            ReplayPart::Since(parse_rfc3339(&since).ok_or_else(|| wrong("since", "it must be a time such as 2026-12-31T00:00:00Z"))?)
        }
        (None, Some(delivery)) => ReplayPart::Delivery(delivery),
        (None, None) | (Some(_), Some(_)) => return Err(wrong("since", "give either since or delivery_id")),
    };
    let replayed = admin.projector.call(&ReplayWebhook { account: caller.key.account.clone(), webhook: id, part }, RPC_TIMEOUT).await?;
    if is_single && replayed == 0 {
        return Err(GatewayError::NotFound("No ended delivery of this webhook has that id.".to_owned()));
    }
    Ok((StatusCode::ACCEPTED, Json(json!({"replayed": replayed}))).into_response())
}
