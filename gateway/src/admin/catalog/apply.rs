//! `POST /api/v1/admin/catalog`: replaces the catalogue of models by a new version; for the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use events::AccountId;
use events::catalog::{CatalogChanged, CatalogVersion, OWNER, SUBJECT};
use events::rpc::{CLAIM_LASTS, ClaimRevision, RevisionClaim};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::admin::body::{read, wrong};
use crate::admin::caller::Operator;
use crate::admin::{Admin, RPC_TIMEOUT, text};
use crate::error::GatewayError;
use crate::openapi::{Data, refusals};
use crate::route::diff::Changes;
use crate::route::document::{Document, DocumentError};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApplyCatalog)]
struct ApplyBody {
    /// The version that the new one is made of; 0 for the first one.
    version: u64,
    /// All models and splits of the new version, with the fields of `[[models]]` in the configuration.
    #[schema(value_type = Vec<Object>)]
    models: Vec<Value>,
    /// A remark for the history.
    #[serde(default)]
    #[schema(max_length = 1000)]
    comment: Option<String>,
    /// Whether the version is only checked and compared.
    #[serde(default)]
    dry_run: bool,
}

/// The outcome of a change.
#[derive(Serialize, ToSchema)]
#[schema(as = AppliedCatalog)]
struct AppliedBody {
    /// The version in use now.
    version: u64,
    /// Whether this call made the version.
    is_applied: bool,
    changes: Changes,
}

/// Returns `{data: {version, is_applied, changes}}`. Nothing is applied if nothing changes, or with `dry_run`.
///
/// # Errors
/// Returns 400 for a bad body or a model that cannot be served, 401 without the operator's token, 409 if the catalogue has another version
/// than `version`, 503 if the ledger does not reply or nothing can be recorded.
#[utoipa::path(
    post,
    path = "/api/v1/admin/catalog",
    operation_id = "apply_catalog",
    tag = "Operator",
    summary = "Replace the catalogue of models by a new version",
    security(("operator" = [])),
    request_body = ApplyBody,
    responses((status = 200, description = "The version in use, and the differences.", body = Data<AppliedBody>), refusals::Operator)
)]
pub async fn apply(State(admin): State<Admin>, _: Operator, request: Request) -> Result<Response, GatewayError> {
    let (parts, body) = request.into_parts();
    let body: ApplyBody = read(&parts.headers, body, &admin.server).await?;
    let document = Document::parse(&body.models)?;
    let models = document.normalized()?;
    let comment = body.comment.map(text::description).transpose()?;
    admin.routes.check(&document).map_err(|error| wrong("models", &error.to_string()))?;
    let _alone = admin.lock_keys(&AccountId::from(OWNER)).await;
    let before = admin.directory.catalogs.newest();
    let known = before.as_ref().map_or(0, |before| before.version);
    let changes = Changes::between(before.as_ref().map_or(&[], |before| &before.models), &models);
    let answer = |version, is_applied| Json(json!({"data": AppliedBody { version, is_applied, changes: changes.clone() }})).into_response();
    if changes.is_empty() {
        return Ok(answer(known, false));
    }
    if body.version != known {
        return Err(GatewayError::Conflict(format!(
            "The catalogue has version {known}, and this change was made of version {}: read it and change it again.",
            body.version
        )));
    }
    if body.dry_run {
        return Ok(answer(known, false));
    }
    let version = admin.claim_catalog(known).await?;
    admin.record_catalog(CatalogVersion { version, models, comment, applied_at_us: admin.clock.now_us() }).await?;
    Ok(answer(version, true))
}

impl Admin {
    /// Claims the next version at the ledger: of two changes of one version, one is granted it.
    async fn claim_catalog(&self, known: u64) -> Result<u64, GatewayError> {
        let claimed = Instant::now();
        match self.ledger.call(&ClaimRevision { key: SUBJECT.into(), known, wins: false }, RPC_TIMEOUT).await? {
            // A claim that took longer may already have been granted to another gateway.
            RevisionClaim::Granted { revision } if claimed.elapsed() < CLAIM_LASTS => Ok(revision),
            RevisionClaim::Granted { .. } | RevisionClaim::Behind => Err(GatewayError::Conflict(
                "Another change of the catalogue came first: read the catalogue and change it again.".to_owned(),
            )),
        }
    }

    async fn record_catalog(&self, catalog: CatalogVersion) -> Result<(), GatewayError> {
        let catalog = Arc::new(catalog);
        self.record(OWNER, SUBJECT, &CatalogChanged { catalog: (*catalog).clone() }).await?;
        self.routes.apply(&catalog);
        Ok(())
    }
}

impl From<DocumentError> for GatewayError {
    fn from(error: DocumentError) -> Self {
        wrong("models", &error.to_string())
    }
}
