//! `POST /api/webhooks/test-connection`: sends one unsigned test event to an address that is no webhook yet.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::rpc::webhook::{ProbeAddress, ProbeReply};
use events::webhook::WebhookMethod;
use serde::Deserialize;

use super::object;
use crate::admin::Admin;
use crate::admin::body::read;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{ProbedAddress, refusals};

/// The longest wait for the projector, which waits 15 s for the address.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProbeAddress)]
struct ProbeBody {
    url: String,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    method: Option<WebhookMethod>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// Returns `{reachable, status_code, error}`.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 429 for too many calls, 503 if the projector does not reply.
#[utoipa::path(
    post,
    path = "/api/webhooks/test-connection",
    operation_id = "probe_address",
    tag = "Webhooks",
    summary = "Send one unsigned test event to an address that is no webhook yet",
    request_body = ProbeBody,
    responses((status = 200, description = "The outcome.", body = ProbedAddress), refusals::Change)
)]
pub async fn probe(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: ProbeBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    let probe = ProbeAddress {
        account: caller.key.account.clone(),
        url: object::url(body.url)?,
        method: body.method.unwrap_or_default(),
        headers: object::headers(body.headers.unwrap_or_default())?,
    };
    let reply: ProbeReply = admin.projector.call(&probe, PATIENCE).await?;
    Ok(Json(reply).into_response())
}
