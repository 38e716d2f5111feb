//! `POST /api/v1/webhooks/{id}/test`: delivers a signed test event.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::rpc::webhook::TestWebhook;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::admin::body::read;
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, RPC_TIMEOUT};
use crate::error::GatewayError;
use crate::openapi::{TestedWebhook, refusals};

/// The pause between two calls while the projector has not read the webhook yet.
const RETRY: Duration = Duration::from_millis(50);

/// Returns 202 with `{delivery_id, event_id}`.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a webhook of another account, 429 for too many calls, 503 if the projector does not
/// reply.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/test",
    operation_id = "test_webhook",
    tag = "Webhooks",
    summary = "Deliver a signed test event",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 202, description = "The delivery begins.", body = TestedWebhook), refusals::Change)
)]
pub async fn test(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    deliver(&admin, &caller.key.account, id).await
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TestEvent)]
struct TestEventBody {
    endpoint_id: String,
}

/// Does the same for `POST /api/webhooks/test-event` with `{endpoint_id}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a webhook of another account, 429 for too many calls, 503 if
/// the projector does not reply.
#[utoipa::path(
    post,
    path = "/api/webhooks/test-event",
    operation_id = "test_webhook_of_body",
    tag = "Webhooks",
    summary = "Deliver a signed test event, as the SDK asks for it",
    request_body = TestEventBody,
    responses((status = 202, description = "The delivery begins.", body = TestedWebhook), refusals::Change)
)]
pub async fn test_event(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: TestEventBody = read(&parts.headers, body, &admin.server).await?;
    deliver(&admin, &caller.key.account, body.endpoint_id).await
}

async fn deliver(admin: &Admin, account: &AccountId, id: String) -> Result<Response, GatewayError> {
    admin.quotas.change_key(account)?;
    admin.webhook_of(account, &id)?;
    let event_id = admin.ids.uuid(&*admin.clock).to_string();
    let test = TestWebhook { account: account.clone(), webhook: id, event_id: event_id.clone() };
    let since = Instant::now();
    loop {
        if let Some(delivery_id) = admin.projector.call(&test, RPC_TIMEOUT).await? {
            return Ok((StatusCode::ACCEPTED, Json(json!({"delivery_id": delivery_id, "event_id": event_id}))).into_response());
        }
        if since.elapsed() > RPC_TIMEOUT {
            return Err(GatewayError::ProjectorUnavailable);
        }
        tokio::time::sleep(RETRY).await;
    }
}
