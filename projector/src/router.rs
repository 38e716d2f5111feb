//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;

use crate::exports::feed::Feeds;
use crate::exports::{activity, deliveries, feed, generation};

pub fn router(http: Http, feeds: Feeds) -> Router {
    Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/activity", get(activity::activity))
        .route("/api/v1/webhooks/{id}/deliveries", get(deliveries::deliveries))
        .route("/api/v1/events", get(move |http, caller, headers, query| feed::feed(feeds.clone(), http, caller, headers, query)))
        .with_state(http)
}
