//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;
use utoipa::OpenApi;

use crate::exports::{activity, deliveries, generation, usage};

/// The OpenAPI document of the read routes.
#[derive(OpenApi)]
#[openapi(paths(generation::generation, activity::activity, usage::summary, usage::timeseries, deliveries::deliveries))]
struct Document;

/// Returns the OpenAPI document of the read routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Builds the router. Each part of it has the progress of the reader whose rows it reads.
pub fn router(requests: Http, sums: Http) -> Router {
    let requests = Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/webhooks/{id}/deliveries", get(deliveries::deliveries))
        .with_state(requests);
    let sums = Router::new()
        .route("/api/v1/activity", get(activity::activity))
        .route("/api/usage/summary", get(usage::summary))
        .route("/api/usage/timeseries", get(usage::timeseries))
        .with_state(sums);
    requests.merge(sums)
}
