//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;

use crate::exports::{activity, generation};

pub fn router(http: Http) -> Router {
    Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/activity", get(activity::activity))
        .with_state(http)
}
