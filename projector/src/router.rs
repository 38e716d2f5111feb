//! The projector's read routes. They accept only callers that the gateway vouches for.

use axum::Router;
use axum::routing::get;
use read_api::Http;
use utoipa::OpenApi;

use crate::exports::feed::Feeds;
use crate::exports::{activity, deliveries, feed, generation, usage};

/// The OpenAPI document of the read routes.
#[derive(OpenApi)]
#[openapi(paths(
    generation::generation,
    activity::activity,
    activity::latency::latency,
    usage::summary,
    usage::timeseries,
    deliveries::deliveries,
    feed::feed
))]
struct Document;

/// Returns the OpenAPI document of the read routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Builds the routes of reports. Each part of them has the progress of the reader whose rows it reads.
pub fn reports(requests: Http, sums: Http) -> Router {
    let requests = Router::new()
        .route("/api/v1/generation", get(generation::generation))
        .route("/api/v1/webhooks/{id}/deliveries", get(deliveries::deliveries))
        .with_state(requests);
    let sums = Router::new()
        .route("/api/v1/activity", get(activity::activity))
        .route("/api/v1/activity/latency", get(activity::latency::latency))
        .route("/api/usage/summary", get(usage::summary))
        .route("/api/usage/timeseries", get(usage::timeseries))
        .with_state(sums);
    requests.merge(sums)
}

/// Builds the route of the feed of events.
pub fn events(http: Http, feeds: Feeds) -> Router {
    let feed = get(move |http, caller, headers, query| feed::feed(feeds.clone(), http, caller, headers, query));
    Router::new().route("/api/v1/events", feed).with_state(http)
}
