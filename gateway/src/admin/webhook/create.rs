//! `POST /api/v1/webhooks`: makes a webhook; its secret appears in this reply and nowhere else.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::webhook::{Webhook, WebhookChanged, WebhookMethod};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::object;
use crate::admin::body::read;
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::error::GatewayError;
use crate::openapi::{CreatedWebhook, refusals};

/// The properties of the new webhook.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateWebhook)]
struct CreateWebhookBody {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// An address on a public host.
    #[schema(max_length = 2048, example = "https://example.com/hook")]
    url: String,
    /// `POST`, the default, or `PUT`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    method: Option<WebhookMethod>,
    /// Further headers of the deliveries.
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    /// Whether names of keys and reasons of failures are left out.
    #[serde(default)]
    privacy_mode: Option<bool>,
    /// The share of events that are delivered, from 0 to 1; absent and 0 mean all.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    sampling_rate: Option<Box<RawValue>>,
    /// The hashes of the keys whose events are delivered; none for all.
    #[serde(default)]
    api_key_ids: Option<Vec<String>>,
    /// The types that are delivered; none for all except `request.progress`.
    #[serde(default)]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// Returns 201 with `{data, secret}`, or `{endpoint, secret}` for the SDK.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 409 if the account has as many webhooks as it may, 429 for too many
/// changes, 503 if nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    operation_id = "create_webhook",
    tag = "Webhooks",
    summary = "Create a webhook; its secret is shown once",
    description = "Also at `/api/webhooks/endpoints`, where the answer has `endpoint` instead of `data`.",
    request_body = CreateWebhookBody,
    responses((status = 201, description = "The webhook and its secret.", body = CreatedWebhook), refusals::Change)
)]
pub async fn create(State(admin): State<Admin>, ManagementKey(caller): ManagementKey, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: CreateWebhookBody = read(&parts.headers, body, &admin.server).await?;
    let account = &caller.key.account;
    admin.quotas.change_key(account)?;
    let _alone = admin.lock_keys(account).await;
    let webhooks_max = admin.quotas.limits.webhooks_per_account_max;
    if admin.directory.webhooks_of(account).len() >= webhooks_max {
        return Err(GatewayError::Conflict(format!(
            "This account has {webhooks_max} webhooks, as many as it may (budget webhooks_per_account): delete one, or ask the operator."
        )));
    }
    let mut webhook = Webhook {
        id: format!("wh_{}", admin.ids.uuid(&*admin.clock).simple()),
        account: account.clone(),
        name: text::name(body.name)?,
        url: object::url(body.url)?,
        method: body.method.unwrap_or_default(),
        sealed_headers: None,
        sealed_secret: String::new(),
        previous_secret: None,
        privacy_mode: body.privacy_mode.unwrap_or(false),
        sampling_ppm: object::sampling(body.sampling_rate.as_deref())?,
        api_key_ids: object::keys(body.api_key_ids.unwrap_or_default())?,
        event_types: object::event_types(&body.event_types.unwrap_or_default())?,
        disabled: body.disabled.unwrap_or(false),
        disabled_reason: None,
        created_at_us: admin.clock.now_us(),
        updated_at_us: None,
        revision: 1,
    };
    let headers = object::headers(body.headers.unwrap_or_default())?;
    webhook.sealed_headers = admin.seal_headers(&webhook.headers_place(), &headers)?;
    let (secret, sealed) = admin.new_webhook_secret(&webhook.secret_place())?;
    webhook.sealed_secret = sealed;
    admin.record(account.as_str(), &webhook.id, &WebhookChanged { webhook: webhook.clone() }).await?;
    let data = admin.webhook_body(&webhook)?;
    let answer =
        if object::is_sdk(&parts.uri) { json!({"endpoint": data, "secret": secret}) } else { json!({"data": data, "secret": secret}) };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}
