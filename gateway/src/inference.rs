//! The routes of models, one for each format.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use wire::call::{Embeddings, Format};

use crate::count::count;
use crate::error::GatewayError;
use crate::openapi::refusals::{Anthropic, OpenAi};
use crate::openapi::{
    ChatAnswer, ChatRequest, CountRequest, EmbeddingsAnswer, EmbeddingsRequest, IdempotencyKey, MessagesAnswer, MessagesRequest,
    MessagesTokens, ResponsesAnswer, ResponsesRequest, ResponsesTokens,
};
use crate::request::{Stages, answer};
use crate::route::Operation;

/// Handles `POST /v1/chat/completions`.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "Models",
    summary = "OpenAI Chat Completions",
    params(IdempotencyKey),
    request_body = ChatRequest,
    responses((status = 200, description = "The answer as a whole, or with `stream` as events that end with `[DONE]`; the last chunk has the usage and the cost.", content((ChatAnswer = "application/json"), ("text/event-stream")), headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))), OpenAi)
)]
pub async fn chat(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    answer(stages, Operation::of(Format::Chat), request).await
}

/// Handles `POST /v1/responses`.
#[utoipa::path(
    post,
    path = "/v1/responses",
    tag = "Models",
    summary = "OpenAI Responses",
    params(IdempotencyKey),
    request_body = ResponsesRequest,
    responses((status = 200, description = "The answer as a whole, or with `stream` as events.", content((ResponsesAnswer = "application/json"), ("text/event-stream")), headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))), OpenAi)
)]
pub async fn responses(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    answer(stages, Operation::of(Format::Responses), request).await
}

/// Handles `POST /v1/responses/input_tokens`.
#[utoipa::path(
    post,
    path = "/v1/responses/input_tokens",
    tag = "Models",
    summary = "OpenAI Responses: the tokens of a prompt; free of charge",
    request_body = ResponsesRequest,
    responses((status = 200, description = "The number of tokens.", body = ResponsesTokens), OpenAi)
)]
pub async fn count_responses(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    count(stages, Operation { is_count: true, ..Operation::of(Format::Responses) }, request).await
}

/// Handles `POST /v1/messages`.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "Models",
    summary = "Anthropic Messages",
    params(IdempotencyKey),
    request_body = MessagesRequest,
    responses((status = 200, description = "The answer as a whole, or with `stream` as events.", content((MessagesAnswer = "application/json"), ("text/event-stream")), headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))), Anthropic)
)]
pub async fn messages(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    answer(stages, Operation::of(Format::Messages), request).await
}

/// Handles `POST /v1/messages/count_tokens`.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    tag = "Models",
    summary = "Anthropic Messages: the tokens of a prompt; free of charge",
    request_body = CountRequest,
    responses((status = 200, description = "The number of tokens.", body = MessagesTokens), Anthropic)
)]
pub async fn count_messages(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    count(stages, Operation { is_count: true, ..Operation::of(Format::Messages) }, request).await
}

/// Handles `POST /v1/embeddings`.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "Models",
    summary = "OpenAI embeddings",
    params(IdempotencyKey),
    request_body = EmbeddingsRequest,
    responses((status = 200, description = "The embeddings.", body = EmbeddingsAnswer, headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))), OpenAi)
)]
pub async fn embeddings(State(stages): State<Arc<Stages>>, request: Request) -> Response {
    answer(stages, Operation::of(Format::Embeddings(Embeddings::OpenAi)), request).await
}

/// Handles `POST /v1beta/models/{model}:{operation}`. The model's name may contain slashes.
pub async fn generate(State(stages): State<Arc<Stages>>, Path(path): Path<String>, request: Request) -> Response {
    let unknown = || {
        let message = format!("There is no operation at /v1beta/models/{path}.");
        GatewayError::NotFound(message).into_response_of(Format::Generate, None)
    };
    let Some((model, name)) = path.rsplit_once(':') else { return unknown() };
    let operation = |format| Operation::at(format, model);
    match name {
        "generateContent" => answer(stages, operation(Format::Generate), request).await,
        "streamGenerateContent" => {
            let is_sse = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
            let response = answer(stages, Operation { stream: true, ..operation(Format::Generate) }, request).await;
            if is_sse { response } else { crate::stream::array::of_frames(response) }
        }
        "countTokens" => count(stages, Operation { is_count: true, ..operation(Format::Generate) }, request).await,
        "embedContent" => answer(stages, operation(Format::Embeddings(Embeddings::EmbedContent)), request).await,
        "batchEmbedContents" => answer(stages, operation(Format::Embeddings(Embeddings::BatchEmbedContents)), request).await,
        "batchGenerateContent" | "asyncBatchEmbedContent" => {
            let message = format!("Jobs that answer later, like :{name}, are not served here: send each request by itself.");
            GatewayError::NotFound(message).into_response_of(Format::Generate, None)
        }
        _ => unknown(),
    }
}
