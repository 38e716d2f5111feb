//! The routes of the gateway, grouped by caller.

use std::sync::Arc;

use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::admin::Admin;
use crate::admin::{account, catalog, credit, endpoint, key, provider_key, quarantine, user, webhook};
use crate::edge;
use crate::endpoints;
use crate::error::{ErrorForm, GatewayError};
use crate::forward::{Forward, forward};
use crate::health::{Health, ready};
use crate::inference::{chat, count_messages, count_responses, embeddings, generate, messages, responses};
use crate::models;
use crate::openapi::page;
use crate::proxy::proxy;
use crate::request::Stages;

/// The state of the routes.
pub struct AppState {
    /// The stages of model requests.
    pub stages: Arc<Stages>,
    /// The management calls.
    pub admin: Admin,
    /// The reads that the ledger answers.
    pub ledger: Forward,
    /// The reads that the projector answers.
    pub projector: Forward,
    pub health: Arc<Health>,
    /// The OpenAPI document.
    pub document: Bytes,
}

/// The routes without their state, for a comparison with the OpenAPI document.
#[derive(Debug)]
pub struct Routes {
    inference: Router<Arc<Stages>>,
    admin: Router<Admin>,
    ledger: Router<Forward>,
    projector: Router<Forward>,
    pages: Router<Bytes>,
    health: Router<Arc<Health>>,
}

/// Returns the routes. Management routes are also served at `/v1/…`, and inference routes at `/api/v1/…`; operator routes only at
/// `/api/v1/admin/…`.
#[must_use]
pub fn routes() -> Routes {
    let mut inference = Router::new();
    let mut admin = Router::new();
    let mut ledger = Router::new();
    let mut projector = Router::new();
    for prefix in ["/v1", "/api/v1"] {
        let at = |path: &str| format!("{prefix}{path}");
        inference = inference
            .route(&at("/chat/completions"), post(chat))
            .route(&at("/responses"), post(responses).get(upgrade))
            .route(&at("/responses/input_tokens"), post(count_responses))
            .route(&at("/messages"), post(messages))
            .route(&at("/messages/count_tokens"), post(count_messages))
            .route(&at("/embeddings"), post(embeddings))
            .route(&at("/models"), get(models::list))
            .route(&at("/models/count"), get(endpoints::count))
            .route(&at("/endpoints/zdr"), get(endpoints::zdr))
            .route(&at("/providers"), get(endpoints::providers))
            .route(&at("/models/{*id}"), get(models::retrieve).post(generate));
        admin = admin
            .route(&at("/key"), get(key::current::own))
            .route(&at("/auth/key"), get(key::current::own))
            .route(&at("/keys"), post(key::create::create).get(key::list::list))
            .route(&at("/keys/{hash}"), get(key::get::get).patch(key::update::update).delete(key::delete::delete))
            .route(&at("/keys/{hash}/rotate"), post(key::rotate::rotate))
            .route(&at("/account"), get(account::own::get).patch(account::own::update))
            .route(&at("/users/{user}"), delete(user::erase::erase));
        admin = admin
            .route(&at("/webhooks"), post(webhook::create::create).get(webhook::list::list))
            .route(&at("/webhooks/{id}"), get(webhook::get::get).patch(webhook::update::update).delete(webhook::delete::delete))
            .route(&at("/webhooks/{id}/rotate-secret"), post(webhook::rotate::rotate))
            .route(&at("/webhooks/{id}/test"), post(webhook::test::test))
            .route(&at("/webhooks/{id}/replay"), post(webhook::replay::replay))
            .route(&at("/provider-keys"), post(provider_key::create::create).get(provider_key::list::list))
            .route(
                &at("/provider-keys/{id}"),
                get(provider_key::get::get).patch(provider_key::update::update).delete(provider_key::delete::delete),
            )
            .route(&at("/provider-keys/{id}/test"), post(provider_key::test::test));
        ledger = ledger
            .route(&at("/balance"), get(forward))
            .route(&at("/credits"), get(forward))
            .route(&at("/transactions"), get(forward))
            .route(&at("/statements/{month}"), get(forward))
            .route(&at("/billing/transactions"), get(forward));
        projector = projector.route(&at("/generation"), get(forward)).route(&at("/activity"), get(forward));
        projector = projector.route(&at("/activity/latency"), get(forward));
        projector = projector.route(&at("/webhooks/{id}/deliveries"), get(forward)).route(&at("/events"), get(forward));
    }
    projector = projector.route("/api/usage/summary", get(forward)).route("/api/usage/timeseries", get(forward));
    inference = inference.route("/{provider}/{*path}", any(proxy));
    inference = inference.route("/v1beta/models", get(models::list)).route("/v1beta/models/{*id}", get(models::retrieve).post(generate));
    admin = admin
        .route("/api/webhooks/endpoints", post(webhook::create::create).get(webhook::list::list))
        .route("/api/webhooks/endpoints/{id}", get(webhook::get::get).patch(webhook::update::update).delete(webhook::delete::delete))
        .route("/api/webhooks/endpoints/{id}/rotate-secret", post(webhook::rotate::rotate))
        .route("/api/webhooks/test-connection", post(webhook::probe::probe))
        .route("/api/webhooks/test-event", post(webhook::test::test_event));
    let pages = Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/openapi.json", get(page::document))
        .route("/asyncapi.json", get(page::asyncapi))
        .route("/schemas/{file}", get(page::event_schema))
        .route("/docs", get(page::docs));
    let health = Router::new().route("/readyz", get(ready));
    Routes { inference, admin: admin.merge(operator()), ledger, projector, pages, health }
}

fn operator() -> Router<Admin> {
    Router::new()
        .route("/api/v1/admin/accounts", post(account::create::create))
        .route("/api/v1/admin/accounts/{id}", patch(account::update::update))
        .route("/api/v1/admin/accounts/{id}/management-keys", post(account::management_key::management_key))
        .route("/api/v1/admin/accounts/{id}/{standing}", post(account::suspend::suspend))
        .route("/api/v1/admin/keys/{hash}", delete(key::revoke::revoke))
        .route("/api/v1/admin/credit", post(credit::post::post))
        .route("/api/v1/admin/catalog", post(catalog::apply::apply).get(catalog::get::get))
        .route("/api/v1/admin/catalog/history", get(catalog::history::history))
        .route("/api/v1/admin/quarantine", get(quarantine::list::list))
        .route("/api/v1/admin/quarantine/{event_id}", get(quarantine::show::show))
        .route("/api/v1/admin/quarantine/{event_id}/{decision}", post(quarantine::decide::decide))
        .route("/api/v1/admin/endpoints", get(endpoint::list::list))
        .route("/api/v1/admin/endpoints/reset", post(endpoint::reset::reset))
}

/// Builds the router of one thread.
pub fn router(state: AppState) -> Router {
    let (ids, clock) = (Arc::clone(&state.stages.ids), Arc::clone(&state.stages.clock));
    let Routes { inference, admin, ledger, projector, pages, health } = routes();
    Router::new()
        .merge(inference.with_state(state.stages))
        .merge(admin.with_state(state.admin))
        .merge(ledger.with_state(state.ledger))
        .merge(projector.with_state(state.projector))
        .merge(pages.with_state(state.document))
        .merge(health.with_state(state.health))
        .fallback(nowhere)
        .method_not_allowed_fallback(method_not_allowed)
        // One layer serves all routes, because each layer costs every request a few allocations.
        .layer(middleware::from_fn(move |request, next| edge::enter(Arc::clone(&ids), Arc::clone(&clock), request, next)))
}

/// Refuses a WebSocket, which some clients of Responses ask for first.
async fn upgrade() -> Response {
    let message = "This gateway serves Responses over HTTP only: send POST /v1/responses.".to_owned();
    let mut response = GatewayError::BadRequest { message, param: None }.into_response();
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response.headers_mut().insert(http::header::UPGRADE, http::HeaderValue::from_static("HTTP/1.1"));
    response
}

async fn nowhere(uri: http::Uri) -> Response {
    let error = GatewayError::NotFound(format!("There is nothing at {}.", uri.path()));
    debug_assert_eq!(error.status(), StatusCode::NOT_FOUND);
    error.into_response_of(ErrorForm::of_path(uri.path()), None)
}

async fn method_not_allowed(uri: http::Uri) -> Response {
    GatewayError::MethodNotAllowed.into_response_of(ErrorForm::of_path(uri.path()), None)
}
