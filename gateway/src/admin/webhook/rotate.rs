//! `POST /api/v1/webhooks/{id}/rotate-secret`: replaces the secret. For a day, deliveries are signed with the old one too, so that receivers
//! can change without a gap.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use events::webhook::PreviousSecret;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::caller::ManagementKey;
use crate::error::GatewayError;
use crate::openapi::{WebhookSecret, refusals};

/// The time for which an old secret still signs.
const OVERLAP_US: i64 = 24 * 3_600 * 1_000_000;

/// Returns `{secret}`, shown once.
///
/// # Errors
/// Returns 401 or 403 for the wrong credential, 404 for a webhook of another account, 429 for too many changes, 503 if nothing can be
/// recorded.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "Webhooks",
    summary = "Replace the secret; for a day, the old one signs too",
    description = "Also at `/api/webhooks/endpoints/{id}/rotate-secret`.",
    params(("id" = String, Path, description = "The webhook's id.")),
    responses((status = 200, description = "The new secret, shown once.", body = WebhookSecret), refusals::Change)
)]
pub async fn rotate(
    State(admin): State<Admin>,
    ManagementKey(caller): ManagementKey,
    Path(id): Path<String>,
) -> Result<Response, GatewayError> {
    admin.quotas.change_key(&caller.key.account)?;
    let mut shown = String::new();
    let rotated = admin.change_webhook(&caller.key.account, &id, |webhook| {
        let (secret, sealed) = admin.new_webhook_secret(&webhook.secret_place())?;
        let old = std::mem::replace(&mut webhook.sealed_secret, sealed);
        webhook.previous_secret = Some(PreviousSecret { sealed: old, valid_until_us: admin.clock.now_us() + OVERLAP_US });
        shown = secret;
        Ok(())
    });
    rotated.await?;
    Ok(Json(json!({"secret": shown})).into_response())
}
