//! The processing of one request to a model, stage by stage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use events::clock::Clock;
use events::control::Key;
use events::ids::Ids;
use events::request::{Outcome, RequestRefused};
use events::{Draft, RequestId};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::answer::client_body;
use wire::call::{Call, Format, Head};
use wire::fields::quoted;

use crate::admission::in_flight_quota::{Quotas, Slot};
use crate::admission::rate_headers::RateHeaders;
use crate::admission::{Admission, Admitted, End, Served};
use crate::attempt::Reply;
use crate::attempt::upstream::{Answer, Upstream, UpstreamStream};
use crate::auth::{Directory, KeyEntry};
use crate::config::{OnDisconnect, ServerConfig};
use crate::edge;
use crate::error::{ErrorForm, GatewayError};
use crate::idempotency::{Claim, IdempotentCall};
use crate::meter::{Measured, Meter};
use crate::route::choice::{Asking, Choice};
use crate::route::own_keys::KeyRing;
use crate::route::{CurrentRoutes, Operation, Plan};
use crate::stream::{self, Relay, heartbeat};

/// The stages in order, and their shared parts.
pub struct Stages {
    /// The directory that identifies the caller.
    pub auth: Arc<Directory>,
    /// The models and their providers.
    pub routes: Arc<CurrentRoutes>,
    /// The provider keys of accounts.
    pub own_keys: Arc<KeyRing>,
    /// The quotas that limit each caller's share of common resources.
    pub quotas: Arc<Quotas>,
    /// The stage that holds credit for the request.
    pub admission: Arc<Admission>,
    /// The client that calls providers.
    pub attempts: Arc<Upstream>,
    /// The limits of a request.
    pub server: Arc<ServerConfig>,
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<dyn Ids>,
    /// A token that ends streams when the gateway must stop.
    pub abort_streams: CancellationToken,
    /// The tasks that read the rest of calls whose clients have disconnected.
    pub drains: TaskTracker,
}

/// The facts that a running request tells before its response.
struct Told {
    /// Whether the response will be a stream; set once the request is admitted.
    is_stream: Arc<AtomicBool>,
    rate: Arc<RateHeaders>,
}

/// Handles an operation on a model: returns an answer in the client's format, whole or streamed.
pub async fn answer(stages: Arc<Stages>, operation: Operation, request: Request) -> Response {
    let id = stages.ids.request(&*stages.clock);
    let generation = HeaderValue::from_str(id.as_str());
    let form = ErrorForm::at(request.uri().path(), operation.format);
    let (heartbeat, now_s) = (stages.attempts.heartbeat(), stages.clock.now_us() / 1_000_000);
    let is_stream = Arc::new(AtomicBool::new(false));
    let (counts, rate) = (stages.admission.counts.clone(), Arc::<RateHeaders>::default());
    let (own_id, told, clock) =
        (id.clone(), Told { is_stream: Arc::clone(&is_stream), rate: Arc::clone(&rate) }, Arc::clone(&stages.clock));
    // The future is large, so it is created directly on the heap.
    let running = Box::pin(async move {
        let answer = stages.run(own_id, operation, request, told).await;
        answer.inspect_err(|error| counts.refused(error.code()))
    });
    let mut response = heartbeat::in_time(form, running, is_stream, heartbeat, (id, now_s)).await;
    rate.write(response.headers_mut(), clock.now_us());
    if let Ok(id) = generation {
        response.headers_mut().entry(HeaderName::from_static("x-generation-id")).or_insert(id);
    }
    response
}

impl Stages {
    /// Processes one request from its credential to its response.
    async fn run(self: Arc<Self>, id: RequestId, operation: Operation, request: Request, told: Told) -> Result<Response, GatewayError> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(self.server.stream_timeout_ms);
        let (parts, body) = request.into_parts();
        let (caller, slot, sent) = self.let_in(&id, &parts, body, &told.rate).await?;
        let read = operation.read(&sent);
        let completed = self.completed(&operation, &caller, &sent, &read);
        let body = completed.as_ref().unwrap_or(&sent);
        let call = if completed.is_some() { operation.read(body) } else { read }?;
        let claim = self.claim(&id, &caller, &parts, &sent).await?;
        let admitted = self.admit(&id, &caller, &parts, (&operation, body, &call), slot).await;
        let (plan, admitted) = admitted.inspect_err(|error| self.refused(&id, &caller, call.head.models.first(), error))?;
        Claim::keep(claim);
        told.is_stream.store(call.head.stream, Ordering::Relaxed);
        self.admission.counts.added.observe(began.elapsed().as_secs_f64());
        let form = ErrorForm::at(parts.uri.path(), call.format());
        let drains = plan.candidates.iter().any(|candidate| candidate.endpoint.provider.on_disconnect == OnDisconnect::Drain);
        if drains {
            drop(call);
            return self.answer_to_the_end(plan, (operation, body.clone(), parts.headers, form), admitted, deadline).await;
        }
        self.answer(&plan, (&call, &parts.headers, form), admitted, deadline, &CancellationToken::new()).await
    }

    /// Identifies the caller, counts the request, takes a slot of the quotas, and reads the body. An unwanted body is discarded, so that its
    /// sender reads the refusal.
    ///
    /// # Errors
    /// Returns 401 or 403 for the credential, 429 or 503 for rate limits and quotas, and the errors of the body.
    pub async fn let_in(
        &self,
        id: &RequestId,
        parts: &Parts,
        body: Body,
        rate: &Arc<RateHeaders>,
    ) -> Result<(Arc<KeyEntry>, Slot, Bytes), GatewayError> {
        let let_in = async {
            let caller = self.auth.identify_inference(&parts.headers, parts.uri.query(), self.clock.now_us())?;
            let mut slot = self.quotas.request(&caller.key.account)?;
            slot.count_request(&caller.key, rate).await.inspect_err(|error| self.refused(id, &caller, None, error))?;
            Ok((slot, caller))
        };
        let (mut slot, caller) = match let_in.await {
            Ok(let_in) => let_in,
            Err(error) => {
                edge::discard(body, &self.server).await;
                return Err(error);
            }
        };
        let body = edge::read_body(&parts.headers, body, &self.server, Some(&mut slot)).await?;
        Ok((caller, slot, body))
    }

    /// Claims the request's idempotency key, if it has one.
    ///
    /// # Errors
    /// Returns 409 if the key was used, 400 if it is malformed, and 503 if the ledger does not reply.
    pub async fn claim(&self, id: &RequestId, caller: &KeyEntry, parts: &Parts, body: &[u8]) -> Result<Option<Claim>, GatewayError> {
        let call = IdempotentCall::read(&parts.headers, caller.key.account.as_str(), parts.uri.path(), body)?;
        match call.filter(|_| parts.method == Method::POST) {
            Some(call) => call.claim(id, &self.admission.ledger, &self.drains).await.map(Some),
            None => Ok(None),
        }
    }

    /// Calls providers and returns the response for the client. `left` is cancelled once the client has disconnected.
    async fn answer(
        &self,
        plan: &Plan,
        (call, headers, form): (&Call<'_>, &HeaderMap, ErrorForm),
        mut admitted: Admitted,
        deadline: Instant,
        left: &CancellationToken,
    ) -> Result<Response, GatewayError> {
        let asked = tokio::time::timeout_at(deadline.into(), self.attempts.send(plan, (call, headers), &mut admitted)).await;
        match asked {
            Ok(Ok(Reply { answer: Answer::Buffered { body, format, meter }, served })) => {
                whole(((format, call.format()), &call.head), admitted, served, (&meter, &body), left).await
            }
            Ok(Ok(Reply { answer: Answer::Stream(upstream), served })) => {
                Ok(self.streamed((call, form), admitted, served, *upstream, deadline))
            }
            Ok(Err(error)) => {
                let end = End {
                    outcome: Outcome::Failed,
                    status: Some(error.status().as_u16()),
                    finish_reason: None,
                    served: None,
                    measured: Measured::UNKNOWN,
                };
                admitted.finish(&end).await;
                Err(error)
            }
            Err(_) => {
                let error = GatewayError::TooLong(self.server.stream_timeout_ms / 1_000);
                admitted.abandon(Outcome::Aborted, Some(error.status().as_u16())).await;
                Err(error)
            }
        }
    }

    /// Does the same as [`Self::answer`] in a separate task. If the client disconnects, the task continues for a while to learn the billed
    /// usage.
    async fn answer_to_the_end(
        self: Arc<Self>,
        plan: Plan,
        (operation, body, headers, form): (Operation, Bytes, HeaderMap, ErrorForm),
        admitted: Admitted,
        deadline: Instant,
    ) -> Result<Response, GatewayError> {
        let patience = plan.candidates.iter().map(|candidate| candidate.endpoint.provider.drain_timeout).max().unwrap_or_default();
        let (left, abort_streams, drains) = (CancellationToken::new(), self.abort_streams.clone(), self.drains.clone());
        let leaving = left.clone().drop_guard();
        let task = drains.spawn(async move {
            let is_over = async {
                left.cancelled().await;
                // Usage that is unknown by then is estimated when the call is dropped.
                abort_streams.run_until_cancelled(tokio::time::sleep(patience)).await;
            };
            let answering = async {
                let call = operation.read(&body)?;
                self.answer(&plan, (&call, &headers, form), admitted, deadline, &left).await
            };
            tokio::select! {
                answer = answering => Some(answer),
                () = is_over => None,
            }
        });
        let answer = task.await.ok().flatten().ok_or(GatewayError::Internal)?;
        drop(leaving.disarm());
        answer
    }

    /// Chooses the endpoints of a request.
    ///
    /// # Errors
    /// Fails as [`Routes::choose`](crate::route::Routes::choose) does.
    pub fn choose(&self, key: &Key, operation: &Operation, call: &Call<'_>) -> Result<Choice, GatewayError> {
        let asking = Asking { key, format: operation.format, call, now_us: self.clock.now_us(), ids: &*self.ids };
        self.routes.now().choose(&asking)
    }

    /// Returns an unpredictable number.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.ids.seed()
    }

    fn streamed(
        &self,
        (call, form): (&Call<'_>, ErrorForm),
        mut admitted: Admitted,
        served: Served,
        upstream: UpstreamStream,
        deadline: Instant,
    ) -> Response {
        admitted.release_body();
        let terms = stream::Terms {
            form,
            is_translated: call.head.has_reasoning_object,
            abort_streams: self.abort_streams.clone(),
            drains: self.drains.clone(),
            heartbeat: self.attempts.heartbeat(),
            deadline,
            timeout: Duration::from_millis(self.server.stream_timeout_ms),
        };
        stream::answer(Relay::new(admitted, served, upstream, terms).into_body())
    }

    /// Records a refusal for lack of credit or by a guardrail as an event. Such a request reached no provider.
    pub fn refused(&self, id: &RequestId, caller: &KeyEntry, model: Option<&String>, error: &GatewayError) {
        if error.guardrail().is_none() && !matches!(error, GatewayError::PaymentRequired { .. }) {
            return;
        }
        let now_us = self.clock.now_us();
        let refused = || RequestRefused {
            request: id.clone(),
            key: caller.key.hash.clone(),
            model: model.cloned().unwrap_or_default(),
            status: error.status().as_u16(),
            code: error.code(),
            guardrail: error.guardrail(),
            refused_at_us: now_us,
            count: None,
        };
        if !self.quotas.refusal(&caller.key.account, refused) {
            return;
        }
        let refused = refused();
        let draft = Draft {
            id: self.ids.uuid(&*self.clock),
            time_us: now_us,
            account: caller.key.account.as_str(),
            subject: id.as_str(),
            traceparent: None,
            payload: &refused,
        };
        if let Err(error) = self.admission.spool.append(|batch| batch.push(&draft)) {
            tracing::warn!(%error, "a refusal is not recorded: {error}");
        }
    }
}

/// Records a whole answer, then returns it for the client. `formats` are the provider's and the client's; `head` is the request's.
async fn whole(
    (formats, head): ((Format, Format), &Head),
    admitted: Admitted,
    served: Served,
    (meter, body): (&Meter, &Bytes),
    left: &CancellationToken,
) -> Result<Response, GatewayError> {
    let (id, created_s, endpoint) = (admitted.request().clone(), admitted.admitted_at_us() / 1_000_000, Arc::clone(&served.endpoint));
    let tier = meter.service_tier.as_deref().map_or(served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
    let has_left = left.is_cancelled();
    let end = End {
        outcome: if has_left { Outcome::Cancelled } else { Outcome::Finished },
        status: (!has_left).then_some(200),
        finish_reason: meter.finish_reason.clone(),
        served: Some(Served { tier, ..served }),
        measured: meter.measured(),
    };
    if let Some(served) = end.served.as_ref().filter(|_| meter.is_inconsistent()) {
        stream::inconsistent(served);
    }
    let charge = admitted.finish(&end).await;
    let id_json = quoted(id.as_str());
    let names = stream::names((id.as_str(), &id_json), &endpoint, created_s);
    let body = client_body(formats, head, body, &names, &stream::billed(&charge)).map_err(|_| GatewayError::Internal)?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}
