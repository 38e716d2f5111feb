//! One chat request, stage by stage.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::clock::Clock;
use events::ids::Ids;
use events::request::{Outcome, RequestRefused};
use events::{Draft, RequestId};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use tokio_util::sync::CancellationToken;
use wire::fields::quoted;
use wire::openai::request::ChatRequest;
use wire::openai::response::ChatResponse;

use crate::admission::{Admission, Admitted, End, Intent, Served};
use crate::attempt::Reply;
use crate::attempt::upstream::{Answer, Upstream};
use crate::auth::{Directory, KeyEntry};
use crate::config::ServerConfig;
use crate::edge;
use crate::error::GatewayError;
use crate::meter::{Measured, Meter};
use crate::route::{Plan, Routes, tokens};
use crate::stream::{Relay, usage};

/// Characters of an application's name that are kept.
const APP_CHARS_MAX: usize = 256;

/// The stages, in order.
pub struct Stages {
    /// Who calls.
    pub auth: Arc<Directory>,
    /// Which models.
    pub routes: Arc<Routes>,
    /// With which money.
    pub admission: Arc<Admission>,
    /// By which provider.
    pub attempts: Arc<Upstream>,
    /// Bounds of a request.
    pub server: Arc<ServerConfig>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn Ids>,
    /// Ends streams when the gateway must stop.
    pub cut: CancellationToken,
}

/// `POST /v1/chat/completions`: an OpenAI chat completion, whole or streamed.
pub async fn chat(State(stages): State<Arc<Stages>>, request: axum::extract::Request) -> Response {
    let id = stages.ids.request(&*stages.clock);
    let (parts, body) = request.into_parts();
    let mut response = match stages.run(&id, &parts, body).await {
        Ok(response) => response,
        Err(error) => error.into_openai(None),
    };
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HeaderName::from_static("x-generation-id"), id);
    }
    response
}

impl Stages {
    async fn run(&self, id: &RequestId, parts: &Parts, body: Body) -> Result<Response, GatewayError> {
        let caller = self.auth.identify_inference(&parts.headers, parts.uri.query(), self.clock.now_us())?;
        let body = edge::read_body(&parts.headers, body, &self.server).await?;
        let chat = ChatRequest::parse(&body)?;
        let admitted = self.admit(id, &caller, &parts.headers, (&body, &chat)).await;
        let (plan, mut admitted) = admitted.inspect_err(|error| self.refused(id, &caller, &chat, error))?;
        match self.attempts.send(&plan, &chat, &mut admitted).await {
            Ok(Reply { answer: Answer::Whole { body, meter }, served }) => whole(admitted, served, &meter, &body).await,
            Ok(Reply { answer: Answer::Stream(incoming), served }) => Ok(self.streamed(admitted, served, *incoming)),
            Err(error) => {
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
        }
    }

    async fn admit(
        &self,
        id: &RequestId,
        caller: &KeyEntry,
        headers: &HeaderMap,
        (body, chat): (&Bytes, &ChatRequest<'_>),
    ) -> Result<(Plan, Admitted), GatewayError> {
        let plan = self.routes.plan(&caller.key, chat)?;
        let admit = async |plan: &Plan| {
            let (request, key, user) = (id.clone(), &caller.key, chat.user.clone());
            self.admission.admit(Intent { request, key, plan, streamed: chat.stream, user, app: app(headers) }).await
        };
        match admit(&plan).await {
            Ok(admitted) if admitted.hold() >= plan.most() => Ok((plan, admitted)),
            // What is held is not enough for the whole answer: a smaller prompt leaves more of it for the answer.
            Ok(admitted) => {
                let counted = self.counted(caller, &plan, body, chat).await;
                Ok((counted.unwrap_or(plan), admitted))
            }
            Err(GatewayError::PaymentRequired { denial, needed }) if denial.has_money() => {
                let counted = self.counted(caller, &plan, body, chat).await.filter(|counted| counted.least() < needed);
                let Some(counted) = counted else { return Err(GatewayError::PaymentRequired { denial, needed }) };
                let admitted = admit(&counted).await?;
                Ok((counted, admitted))
            }
            Err(error) => Err(error),
        }
    }

    /// The plan with the prompt counted in tokens, which are a fraction of its bytes; `None` where no tokenizer is known.
    async fn counted(&self, caller: &KeyEntry, plan: &Plan, body: &Bytes, chat: &ChatRequest<'_>) -> Option<Plan> {
        let tokenizers = plan.tokenizers();
        if tokenizers.is_empty() {
            return None;
        }
        let body = body.clone();
        let counted = tokio::task::spawn_blocking(move || tokens::count(&body, tokenizers)).await.ok()?;
        self.routes.plan_counted(&caller.key, chat, &counted).ok()
    }

    fn streamed(&self, admitted: Admitted, served: Served, incoming: crate::attempt::upstream::Incoming) -> Response {
        let relay = Relay::new(admitted, served, incoming, self.cut.clone());
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (StatusCode::OK, headers, relay.into_body()).into_response()
    }

    /// A refusal for lack of money or rights is an event too; it reached no provider.
    fn refused(&self, id: &RequestId, caller: &KeyEntry, chat: &ChatRequest<'_>, error: &GatewayError) {
        if !matches!(error, GatewayError::PaymentRequired { .. } | GatewayError::Forbidden(_)) {
            return;
        }
        let now_us = self.clock.now_us();
        let refused = RequestRefused {
            request: id.clone(),
            key: caller.key.hash.clone(),
            model: chat.models.first().cloned().unwrap_or_default(),
            status: error.status().as_u16(),
            code: error.code().to_owned(),
            refused_at_us: now_us,
        };
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

/// A whole answer: recorded, then given to the client.
async fn whole(admitted: Admitted, served: Served, meter: &Meter, body: &Bytes) -> Result<Response, GatewayError> {
    let answer = ChatResponse::parse(body).map_err(|_| GatewayError::Internal)?;
    let id = quoted(admitted.request().as_str());
    let model = served.model.id_json.clone();
    let tier = meter.service_tier.as_deref().map_or(served.tier, |tier| pricing::ServiceTier::named(Some(tier)));
    let end = End {
        outcome: Outcome::Finished,
        status: Some(200),
        finish_reason: meter.finish_reason.clone(),
        served: Some(Served { tier, ..served }),
        measured: meter.measured(),
    };
    let charge = admitted.finish(&end).await;
    let body = answer.client_body(&id, &model, &usage(&charge));
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The calling application: its title, else its address.
fn app(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    text("x-title").or_else(|| text("http-referer")).or_else(|| text("referer")).map(|app| app.chars().take(APP_CHARS_MAX).collect())
}
