//! `/{provider}/{path}`: any operation of a provider in its own format. Body and query pass untouched; the credential is replaced, and the
//! answer is metered on its way if its format is known.

mod tap;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use events::RequestId;
use events::request::{Attempt, Outcome};
use futures_util::stream;
use http::{HeaderName, HeaderValue, Method, header};
use pricing::known_providers::ProviderFormat;
use tokio_util::sync::CancellationToken;
use wire::call::{Embeddings, Format, Head};
use wire::routing::Routing;

use crate::admission::rate_headers::RateHeaders;
use crate::admission::{Access, Admitted, End, Intent, Served};
use crate::attempt::connections::UpstreamResponse;
use crate::attempt::error::AttemptError;
use crate::edge;
use crate::error::{ErrorForm, GatewayError};
use crate::idempotency::Claim;
use crate::meter::{self, Measured};
use crate::passed_headers::{HOP_BY_HOP, upstream_headers};
use crate::request::Stages;
use crate::route::choice::{check_allowed, check_zdr};
use crate::route::{Endpoint, Operation, Plan};
use tap::Tap;

/// A call on its way to a provider.
struct Passed {
    endpoint: Arc<Endpoint>,
    /// The format of the answer; `None` if it cannot be metered.
    format: Option<Format>,
    head: Head,
    body: Bytes,
}

/// Handles any method at `/{provider}/{path}`.
pub async fn proxy(State(stages): State<Arc<Stages>>, Path((slug, path)): Path<(String, String)>, request: Request) -> Response {
    let id = stages.ids.request(&*stages.clock);
    let (form, rate) = (ErrorForm::of_path(request.uri().path()), Arc::default());
    let answer = stages.pass(&id, (&slug, &path), request, &rate).await;
    let mut response = answer.unwrap_or_else(|error| {
        stages.admission.counts.refused(error.code());
        error.into_response_of(form, Some(&id))
    });
    rate.write(response.headers_mut(), stages.clock.now_us());
    response
}

/// Returns the format of an operation by its path at a provider.
fn format_of(provider: ProviderFormat, method: &Method, path: &str) -> Option<Operation> {
    if method != Method::POST {
        return None;
    }
    match provider {
        ProviderFormat::OpenAi => {
            let known = [
                ("/chat/completions", Format::Chat),
                ("/text/chatcompletion_v2", Format::Chat),
                ("/responses", Format::Responses),
                ("/embeddings", Format::Embeddings(Embeddings::OpenAi)),
            ];
            known.into_iter().find(|(end, _)| path.ends_with(end)).map(|(_, format)| Operation::of(format))
        }
        ProviderFormat::Anthropic => path.ends_with("/messages").then_some(Operation::of(Format::Messages)),
        ProviderFormat::Gemini => {
            let (model, operation) = path.rsplit_once("/models/")?.1.rsplit_once(':')?;
            let format = match operation {
                "generateContent" | "streamGenerateContent" => Format::Generate,
                "embedContent" => Format::Embeddings(Embeddings::EmbedContent),
                "batchEmbedContents" => Format::Embeddings(Embeddings::BatchEmbedContents),
                _ => return None,
            };
            Some(Operation { stream: operation == "streamGenerateContent", ..Operation::at(format, model) })
        }
    }
}

fn attempt(endpoint: &Endpoint, result: Result<u16, &AttemptError>, since: Instant) -> Attempt {
    Attempt {
        provider: endpoint.provider.slug.clone(),
        model: endpoint.model.id.clone(),
        status: result.ok(),
        error: result.err().map(|error| error.code().to_owned()),
        duration_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        why: None,
        round: None,
    }
}

impl Stages {
    async fn pass(
        self: &Arc<Self>,
        id: &RequestId,
        (slug, path): (&str, &str),
        request: Request,
        rate: &Arc<RateHeaders>,
    ) -> Result<Response, GatewayError> {
        let (parts, body) = request.into_parts();
        let Some(any) = self.routes.now().unmetered(slug).cloned() else {
            edge::discard(body, &self.server).await;
            return Err(GatewayError::NotFound(format!("There is nothing at {}.", parts.uri.path())));
        };
        // The body is passed on without its coding, since the gateway must read it too.
        let (caller, slot, body) = self.let_in(id, &parts, body, rate).await?;
        let passed = self.passed(&any, &parts.method, path, body)?;
        let refused = |error: &GatewayError| self.refused(id, &caller, Some(&passed.endpoint.model.id), error);
        check_allowed(&caller.key, &passed.endpoint).and_then(|()| check_zdr(&caller.key, &passed.endpoint)).inspect_err(refused)?;
        let target = path_and_query(path, parts.uri.query());
        let provider = Arc::clone(&passed.endpoint.provider);
        let address =
            provider.address_of_path(&target).ok_or_else(|| GatewayError::NotFound(format!("There is nothing at /{slug}/{path}.")))?;
        let plan = Plan::untouched(&passed.endpoint, &passed.head);
        let intent = Intent {
            request: id.clone(),
            key: &caller.key,
            plan: &plan,
            format: passed.format.unwrap_or(Format::Chat).recorded(),
            streamed: passed.head.stream,
            user: passed.head.user.clone(),
            app: edge::app(&parts.headers),
        };
        let claim = self.claim(id, &caller, &parts, &passed.body).await?;
        let mut admitted = self.admission.admit(intent, &mut Some(slot)).await.inspect_err(refused)?;
        Claim::keep(claim);
        let served = Served { endpoint: Arc::clone(&passed.endpoint), tier: plan.tier, own: None };
        let prompt_tokens = meter::tokens_of(passed.head.prompt_text_bytes).min(passed.endpoint.context_length);
        let sent = Arc::new(AtomicBool::new(false));
        admitted.start_attempt(served.clone(), prompt_tokens, Arc::clone(&sent), Access::Proxied);
        let headers = upstream_headers(&parts.headers, provider.one_credential(self.clock.now_us(), self.seed()));
        let since = Instant::now();
        let result = self.attempts.pass(provider.egress, (parts.method, &address), headers, passed.body, &sent).await;
        let status = result.as_ref().map(|response| response.status.as_u16());
        admitted.tried(attempt(&passed.endpoint, status, since), None);
        match result {
            Ok(response) => {
                admitted.first_piece();
                admitted.release_body();
                let tap = Tap::new(passed.format, &response, prompt_tokens);
                let left = response.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                let relay = Relay {
                    admitted: Some(admitted),
                    served,
                    tap,
                    idle: self.attempts.idle(),
                    abort: self.abort_streams.clone(),
                    response,
                    left,
                };
                Ok(relay.into_response(id))
            }
            Err(failure) => {
                let error = GatewayError::of_provider(&failure, &provider.slug);
                let status = Some(error.status().as_u16());
                admitted
                    .finish(&End { outcome: Outcome::Failed, status, finish_reason: None, served: None, measured: Measured::UNKNOWN })
                    .await;
                Err(error)
            }
        }
    }

    /// Reads a body as far as its operation is known.
    fn passed(&self, any: &Arc<Endpoint>, method: &Method, path: &str, body: Bytes) -> Result<Passed, GatewayError> {
        let provider = &any.provider;
        let Some(operation) = format_of(provider.format, method, path) else {
            if !provider.is_unmetered_allowed {
                let message = format!(
                    "The gateway cannot meter {method} /{path} of {}: its operator may allow such calls with proxy_unmetered = \"allow\"",
                    provider.slug
                );
                return Err(GatewayError::Forbidden(message));
            }
            return Ok(Passed { endpoint: Arc::clone(any), format: None, head: unmetered_head(&body), body });
        };
        let head = operation.read(&body)?.head;
        let model = head.models.first().cloned().unwrap_or_default();
        let endpoint = self
            .routes
            .now()
            .find_upstream(&provider.slug, &model)
            .cloned()
            .ok_or(GatewayError::UnknownModel { name: model, nearest: None })?;
        Ok(Passed { endpoint, format: Some(operation.format), head, body })
    }
}

fn unmetered_head(body: &Bytes) -> Head {
    Head {
        models: Vec::new(),
        stream: false,
        output_tokens_max: Some(0),
        choices: 1,
        user: None,
        service_tier: None,
        prompt_tokens_max: Some(0),
        images: 0,
        has_reasoning_object: false,
        has_base64_vectors: false,
        has_tools: false,
        prompt_text_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        routing: Routing::default(),
    }
}

/// Returns a path with its query, without the caller's key.
fn path_and_query(path: &str, query: Option<&str>) -> String {
    let escaped = percent_encoding::utf8_percent_encode(path, crate::route::provider::PATH_ESCAPES).to_string();
    let kept: Vec<&str> = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("key=")).collect();
    if kept.is_empty() { escaped } else { format!("{escaped}?{}", kept.join("&")) }
}

/// An answer on its way from a provider to a client.
struct Relay {
    /// The admitted request, which owns the hold and the record; `None` once the end is recorded.
    admitted: Option<Admitted>,
    served: Served,
    tap: Tap,
    idle: Duration,
    abort: CancellationToken,
    response: UpstreamResponse,
    /// The bytes that the answer still has, if the provider says how many: the server asks for nothing behind them.
    left: Option<u64>,
}

impl Relay {
    fn into_response(self, id: &RequestId) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.response.status;
        let is_passed = |name: &HeaderName| !HOP_BY_HOP.contains(&name.as_str());
        let headers = self.response.headers.iter().filter(|(name, _)| is_passed(name));
        response.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(HeaderName::from_static("x-generation-id"), id);
        }
        let pieces = stream::unfold(self, async |mut relay| relay.piece().await.map(|piece| (Ok::<_, Infallible>(piece), relay)));
        *response.body_mut() = Body::from_stream(pieces);
        response
    }

    async fn piece(&mut self) -> Option<Bytes> {
        let admitted = self.admitted.as_ref()?;
        let next = self.abort.run_until_cancelled(tokio::time::timeout(self.idle, self.response.chunk())).await;
        let result = match next {
            Some(Ok(Ok(Some(bytes)))) => {
                self.tap.note(&bytes);
                self.left = self.left.map(|left| left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
                let (_, beyond) = admitted.cost(&self.served, &self.tap.meter.relayed());
                if beyond.0 > 0 {
                    self.record(Outcome::Finished).await;
                    return None;
                }
                if self.left == Some(0) {
                    // The provider's response is over too, so its connection is kept.
                    let _end = self.response.chunk().await;
                    self.record(self.complete()).await;
                }
                return Some(bytes);
            }
            Some(Ok(Ok(None))) => self.complete(),
            Some(Ok(Err(_)) | Err(_)) => Outcome::Failed,
            None => Outcome::Aborted,
        };
        self.record(result).await;
        None
    }

    /// Returns the outcome of a response that is complete.
    fn complete(&self) -> Outcome {
        if self.response.status.is_success() { Outcome::Finished } else { Outcome::Failed }
    }

    async fn record(&mut self, outcome: Outcome) {
        self.tap.finish(outcome == Outcome::Finished);
        let end = self.end(outcome);
        if let Some(admitted) = self.admitted.take() {
            admitted.finish(&end).await;
        }
    }

    fn end(&self, outcome: Outcome) -> End {
        let meter = &self.tap.meter;
        let measured = match outcome {
            Outcome::Finished | Outcome::Failed => meter.measured(),
            Outcome::Cancelled | Outcome::Aborted => meter.abandoned(),
        };
        let tier = meter.service_tier.as_deref().map_or(self.served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
        End {
            outcome,
            status: (outcome != Outcome::Cancelled).then_some(self.response.status.as_u16()),
            finish_reason: meter.finish_reason.clone(),
            served: Some(Served { tier, ..self.served.clone() }),
            measured,
        }
    }
}

impl Drop for Relay {
    /// Handles a client that disconnected, and a response without a body, of which nobody asks for a piece.
    fn drop(&mut self) {
        let outcome = match self.left {
            Some(0) => self.complete(),
            _ if !self.response.status.is_success() => Outcome::Failed,
            _ if self.abort.is_cancelled() => Outcome::Aborted,
            _ => Outcome::Cancelled,
        };
        let end = self.end(outcome);
        if let Some(admitted) = self.admitted.take() {
            admitted.finish_now(&end);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn operations_are_known_by_their_path() {
        let of = |format, path: &str| format_of(format, &Method::POST, path).map(|operation| (operation.format, operation.stream));
        assert_eq!(of(ProviderFormat::OpenAi, "v1/chat/completions"), Some((Format::Chat, false)));
        assert_eq!(of(ProviderFormat::OpenAi, "v1/files"), None);
        assert_eq!(of(ProviderFormat::Anthropic, "v1/messages/batches"), None);
        assert_eq!(of(ProviderFormat::Gemini, "v1beta/models/g:streamGenerateContent"), Some((Format::Generate, true)));
        assert_eq!(of(ProviderFormat::Gemini, "v1beta/models/g:embedContent"), Some((Format::Embeddings(Embeddings::EmbedContent), false)));
        assert!(format_of(ProviderFormat::OpenAi, &Method::GET, "v1/responses").is_none());
    }

    #[test]
    fn the_callers_credential_stays_here() {
        let mut client = HeaderMap::new();
        for name in ["authorization", "x-api-key", "x-goog-api-key", "cookie", "connection", "host"] {
            client.insert(name, HeaderValue::from_static("ours"));
        }
        client.insert("openai-beta", HeaderValue::from_static("x"));
        let credential = (HeaderName::from_static("x-api-key"), HeaderValue::from_static("theirs"));
        let headers = upstream_headers(&client, Some(&credential));
        assert!(!headers.values().any(|value| value == "ours"), "{headers:?}");
        assert!(headers.get("x-api-key").unwrap() == "theirs" && headers.get("openai-beta").unwrap() == "x");
        assert_eq!(path_and_query("v1/x y", Some("alt=sse&key=secret")), "v1/x%20y?alt=sse");
    }
}
