//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;
use utoipa::OpenApi;

use crate::exports::{activity, generation};

/// The OpenAPI document of the read routes.
#[derive(OpenApi)]
#[openapi(paths(generation::generation, activity::activity))]
struct Document;

/// Returns the OpenAPI document of the read routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub fn router(http: Http) -> Router {
    Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/activity", get(activity::activity))
        .with_state(http)
}
