//! Counting the tokens of a prompt: by the provider if it speaks the client's format, else by a known tokenizer or an estimate.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, header};
use serde_json::json;
use wire::call::{Call, Format, Target};

use crate::admission::rate_headers::RateHeaders;
use crate::attempt::error::AttemptError;
use crate::error::{ErrorForm, GatewayError};
use crate::meter;
use crate::request::Stages;
use crate::route::{Endpoint, Operation};

/// Answers `{input_tokens}` on Anthropic's route and OpenAI's, and `{totalTokens}` on Google's. A count costs nothing.
pub async fn count(stages: Arc<Stages>, operation: Operation, request: Request) -> Response {
    let form = ErrorForm::at(request.uri().path(), operation.format);
    let rate = Arc::default();
    let counted = Box::pin(stages.count(operation, request, &rate)).await;
    let mut response = counted.unwrap_or_else(|error| {
        stages.admission.counts.refused(error.code());
        error.into_response_of(form, None)
    });
    rate.write(response.headers_mut(), stages.clock.now_us());
    response
}

impl Stages {
    async fn count(&self, operation: Operation, request: Request, rate: &Arc<RateHeaders>) -> Result<Response, GatewayError> {
        let (parts, body) = request.into_parts();
        let (caller, slot, sent) = self.let_in(&self.ids.request(&*self.clock), &parts, body, rate).await?;
        let read = operation.read(&sent);
        let completed = self.completed(&operation, &caller, &sent, &read);
        let call = completed.as_ref().map_or(read, |body| operation.read(body))?;
        let choice = self.choose(&caller.key, &operation, &call)?;
        let Some((endpoint, _)) = choice.endpoints.first() else { return Err(GatewayError::Internal) };
        if endpoint.provider.format_for(operation.format, false) == Some(operation.format) {
            return self.counted_by_provider(endpoint, &operation, &call, &parts.headers).await;
        }
        let _counting = slot.count()?;
        let tokenizer = endpoint.tokenizer;
        let known = tokenizer.and_then(|tokenizer| call.prompt_tokens_counted(|text| tokenizer.count(text)));
        let tokens = known.unwrap_or_else(|| meter::tokens_of(call.head.prompt_text_bytes));
        Ok(Json(match operation.format {
            Format::Generate => json!({"totalTokens": tokens}),
            Format::Responses => json!({"object": "response.input_tokens", "input_tokens": tokens}),
            Format::Chat | Format::Messages | Format::Embeddings(_) => json!({"input_tokens": tokens}),
        })
        .into_response())
    }

    async fn counted_by_provider(
        &self,
        endpoint: &Endpoint,
        operation: &Operation,
        call: &Call<'_>,
        headers: &http::HeaderMap,
    ) -> Result<Response, GatewayError> {
        let provider = &endpoint.provider;
        let fault = |error: &AttemptError| GatewayError::of_provider(error, &provider.slug);
        let target = Target { model: &endpoint.upstream_model, cap: None, dialect: &provider.dialect };
        let body = call.count_body(&target)?;
        let address = provider.count_address(operation.format, &endpoint.upstream_model).ok_or(GatewayError::Internal)?;
        let credential = provider.one_credential(self.clock.now_us(), self.seed());
        let headers = provider.request_headers(Some(headers), credential);
        let answer = self.attempts.fetch(provider.egress, (Method::POST, &address), headers, body.into()).await;
        let answer = answer.map_err(|error| fault(&error))?;
        Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
    }
}
