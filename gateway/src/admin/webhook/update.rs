//! `PATCH /api/v1/webhooks/{id}`: changes a webhook. Enabling one that was given up lets its waiting deliveries go on.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use events::webhook::{Webhook, WebhookMethod};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::object::{self, WebhookBody, is_sdk};
use crate::admin::body::{present, read};
use crate::admin::caller::ManagementKey;
use crate::admin::{Admin, text};
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};

/// The fields to change; absent fields keep their value.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateWebhook)]
struct UpdateWebhookBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    method: Option<WebhookMethod>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<Option<BTreeMap<String, String>>>,
    #[serde(default)]
    privacy_mode: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<f64>)]
    sampling_rate: Option<Option<Box<RawValue>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    api_key_ids: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    event_types: Option<Option<Vec<String>>>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// Returns `{data: webhook}` with the state after the change, or the webhook alone for the SDK.
///
/// # Errors
/// Returns 400 for a bad body, 401 or 403 for the wrong credential, 404 for a webhook of another account, 429 for too many changes, 503 if
/// nothing can be recorded.
#[utoipa::path(
    patch,
    path = "/api/v1/webhooks/{id}",
    operation_id = "update_webhook",
    tag = "Webhooks",
    summary = "Change a webhook; absent fields keep their value",
    description = "Also at `/api/webhooks/endpoints/{id}`, where the answer is the webhook without `data`.",
    params(("id" = String, Path, description = "The webhook's id.")),
    request_body = UpdateWebhookBody,
    responses((status = 200, description = "The webhook after the change.", body = Data<WebhookBody>), refusals::Change)
)]
pub async fn update(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: UpdateWebhookBody = read(&parts.headers, body, &admin.server).await?;
    admin.quotas.change_key(&caller.key.account)?;
    let webhook = admin.change_webhook(&caller.key.account, &id, |webhook| change(&admin, webhook, body)).await?;
    let data = admin.webhook_body(&webhook)?;
    Ok(if is_sdk(&parts.uri) { Json(json!(data)).into_response() } else { Json(json!({"data": data})).into_response() })
}

fn change(admin: &Admin, webhook: &mut Webhook, body: UpdateWebhookBody) -> Result<(), GatewayError> {
    if let Some(name) = body.name {
        webhook.name = text::name(name)?;
    }
    if let Some(url) = body.url {
        webhook.url = object::url(url)?;
    }
    if let Some(headers) = body.headers {
        let headers = object::headers(headers.unwrap_or_default())?;
        webhook.sealed_headers = admin.seal_headers(&webhook.headers_place(), &headers)?;
    }
    if let Some(rate) = body.sampling_rate {
        webhook.sampling_ppm = object::sampling(rate.as_deref())?;
    }
    if let Some(list) = body.api_key_ids {
        webhook.api_key_ids = object::keys(list.unwrap_or_default())?;
    }
    if let Some(list) = body.event_types {
        webhook.event_types = object::event_types(&list.unwrap_or_default())?;
    }
    webhook.method = body.method.unwrap_or(webhook.method);
    webhook.privacy_mode = body.privacy_mode.unwrap_or(webhook.privacy_mode);
    if let Some(disabled) = body.disabled {
        (webhook.disabled, webhook.disabled_reason) = (disabled, None);
    }
    Ok(())
}
