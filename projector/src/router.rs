//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;

use crate::exports::{activity, deliveries, generation};

pub fn router(http: Http) -> Router {
    Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/activity", get(activity::activity))
        .route("/api/v1/webhooks/{id}/deliveries", get(deliveries::deliveries))
        .with_state(http)
}
