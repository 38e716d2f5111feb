//! Reads that the ledger and the projector answer. The gateway authenticates the caller and forwards the call, in this process or over HTTP
//! to another one.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use events::caller::{CALLER_HEADER, Caller, InternalSecret};
use events::clock::Clock;
use events::rpc::Peer;
use futures_util::StreamExt;
use http::{HeaderName, HeaderValue, StatusCode, header};
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::auth::Directory;
use crate::error::GatewayError;

/// The longest wait for the head of a response.
const PATIENCE: Duration = Duration::from_secs(5);

/// The header with which a client of a feed tells its place.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The process that answers reads.
#[derive(Clone)]
pub enum Reads {
    /// This process.
    Local(Router),
    /// Another process at this address.
    Remote(Url, reqwest::Client),
}

/// The forwarding of reads to one process.
#[derive(Clone)]
pub struct Forward {
    /// The process that answers.
    pub who: Peer,
    /// The directory that identifies the caller.
    pub directory: Arc<Directory>,
    pub reads: Reads,
    /// The secret with which the gateway signs the identity of the caller.
    pub secret: InternalSecret,
    pub clock: Arc<dyn Clock>,
    /// The token that ends responses without an end.
    pub stop: CancellationToken,
}

/// Identifies the caller and forwards the read under its canonical path.
///
/// # Errors
/// Returns 401 for the wrong credential, 503 if the process is unavailable.
pub async fn forward(State(forward): State<Forward>, request: Request) -> Result<Response, GatewayError> {
    let entry = forward.directory.identify(request.headers(), request.uri().query(), forward.clock.now_us())?;
    let caller = Caller { account: entry.key.account.clone(), key: entry.key.hash.clone(), kind: entry.key.kind };
    forward.send(caller, request).await
}

impl Forward {
    /// Forwards the read of a caller under its canonical path.
    ///
    /// # Errors
    /// Returns 503 if the process is unavailable.
    pub async fn send(&self, caller: Caller, mut request: Request) -> Result<Response, GatewayError> {
        let target = target(request.uri());
        let signature = self.secret.sign(caller, request.method().as_str(), &target, self.clock.now_us());
        let signature = HeaderValue::from_str(&signature).map_err(|_| GatewayError::Internal)?;
        match &self.reads {
            Reads::Local(router) => {
                *request.uri_mut() = target.parse().map_err(|_| GatewayError::Internal)?;
                request.headers_mut().insert(CALLER_HEADER, signature);
                // They have the path parameters of this router, which the other one would take for its own.
                request.extensions_mut().clear();
                let answered = tokio::time::timeout(PATIENCE, router.clone().oneshot(request)).await.map_err(|_| self.late())?;
                answered.map(|response| until_stop(response, &self.stop)).map_err(|never| match never {})
            }
            Reads::Remote(base, client) => {
                let url = base.join(&target).map_err(|_| GatewayError::Internal)?;
                let mut asking = client.request(request.method().clone(), url).header(CALLER_HEADER, signature);
                if let Some(place) = request.headers().get(LAST_EVENT_ID) {
                    asking = asking.header(LAST_EVENT_ID, place);
                }
                self.remote(asking).await
            }
        }
    }

    async fn remote(&self, asking: reqwest::RequestBuilder) -> Result<Response, GatewayError> {
        let answer = tokio::time::timeout(PATIENCE, asking.send()).await.map_err(|_| self.late())?.map_err(|error| {
            let error = error.without_url();
            tracing::warn!(%error, "a read was not answered: {error}");
            GatewayError::unavailable(self.who)
        })?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The caller is already authenticated here, so this is not the caller's fault.
            tracing::error!(who = self.who.as_str(), "the {} does not trust this gateway: internal.secret differs there", self.who);
            return Err(GatewayError::unavailable(self.who));
        }
        let mut response = Response::builder().status(answer.status());
        for name in ["content-type", "content-disposition", "x-as-of", "x-next-cursor"] {
            if let Some(value) = answer.headers().get(name) {
                response = response.header(name, value);
            }
        }
        let response = response.body(Body::from_stream(answer.bytes_stream())).map_err(|_| GatewayError::Internal)?;
        Ok(until_stop(response, &self.stop))
    }

    fn late(&self) -> GatewayError {
        tracing::warn!(who = self.who.as_str(), "the {} has not answered a read in time", self.who);
        GatewayError::unavailable(self.who)
    }
}

/// Ends a feed of events when the gateway stops; other responses end by themselves.
fn until_stop(response: Response, stop: &CancellationToken) -> Response {
    if response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != "text/event-stream") {
        return response;
    }
    let stopped = stop.clone().cancelled_owned();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(stopped)))
}

/// Maps `/v1/balance?key=…&limit=1` to `/api/v1/balance?limit=1`: the canonical path, without the credential.
fn target(uri: &http::Uri) -> String {
    let path = uri.path();
    let path = match path {
        "/v1/billing/transactions" | "/api/v1/billing/transactions" => "/api/v1/transactions".to_owned(),
        _ if path.starts_with("/api/") => path.to_owned(),
        _ => format!("/api{path}"),
    };
    let query: Vec<&str> = uri
        .query()
        .map(|query| query.split('&').filter(|pair| !pair.starts_with("key=") && !pair.is_empty()).collect())
        .unwrap_or_default();
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_lead_to_the_canonical_path_and_credentials_stay_here() {
        let of = |text: &str| text.parse().map(|uri| target(&uri)).unwrap_or_default();
        assert_eq!(of("/v1/balance?key=secret"), "/api/v1/balance");
        assert_eq!(of("/v1/billing/transactions?limit=1&key=secret&type=usage"), "/api/v1/transactions?limit=1&type=usage");
        assert_eq!(of("/api/v1/activity?period=1d"), "/api/v1/activity?period=1d");
    }
}
