//! Operations that share a handler with others: Google's, which stand behind a colon in one path segment, the proxy, and plain pages.

#![expect(dead_code, reason = "utoipa puts the description beside a function; these have none of their own")]

use super::bodies::{
    Data, EmbedAnswer, EmbedBatchAnswer, EmbedBatchRequest, EmbedRequest, GenerateAnswer, GenerateRequest, GoogleModel, GoogleModels,
    GoogleTokens, Liveness,
};
use super::management::{IdempotencyKey, ModelEndpoints};
use super::refusals::{Google, GoogleStream, Models, Named, OpenAi};

#[utoipa::path(
    post,
    path = "/v1beta/models/{model}:generateContent",
    tag = "Models",
    summary = "Google Gemini: an answer as a whole",
    params(("model" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-2.5-flash"), IdempotencyKey),
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "The answer, with the cost in `arouter`.", body = GenerateAnswer,
            headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))),
        Google
    )
)]
pub const fn generate_content() {}

#[utoipa::path(
    post,
    path = "/v1beta/models/{model}:streamGenerateContent",
    tag = "Models",
    summary = "Google Gemini: an answer as a stream",
    params(
        ("model" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-2.5-flash"),
        IdempotencyKey,
        ("alt" = Option<String>, Query, description = "`sse` for events; otherwise the frames are a JSON array.", example = "sse")
    ),
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "Events with `alt=sse`, otherwise an array of frames.",
            content((Vec<GenerateAnswer> = "application/json"), ("text/event-stream")),
            headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))),
        GoogleStream
    )
)]
pub const fn stream_generate_content() {}

#[utoipa::path(
    post,
    path = "/v1beta/models/{model}:countTokens",
    tag = "Models",
    summary = "Google Gemini: the tokens of a prompt; free of charge",
    params(("model" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-2.5-flash")),
    request_body = GenerateRequest,
    responses((status = 200, description = "The number of tokens.", body = GoogleTokens), Google)
)]
pub const fn count_tokens() {}

#[utoipa::path(
    post,
    path = "/v1beta/models/{model}:embedContent",
    tag = "Models",
    summary = "Google Gemini: the embedding of one text",
    params(("model" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-embedding-001"), IdempotencyKey),
    request_body = EmbedRequest,
    responses(
        (status = 200, description = "The embedding, with the cost in `arouter`.", body = EmbedAnswer,
            headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))),
        Google
    )
)]
pub const fn embed_content() {}

#[utoipa::path(
    post,
    path = "/v1beta/models/{model}:batchEmbedContents",
    tag = "Models",
    summary = "Google Gemini: the embeddings of several texts",
    params(("model" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-embedding-001"), IdempotencyKey),
    request_body = EmbedBatchRequest,
    responses(
        (status = 200, description = "The embeddings in the order of the texts, with the cost in `arouter`.", body = EmbedBatchAnswer,
            headers(("X-Generation-Id" = String, description = "The id for `GET /api/v1/generation`."))),
        Google
    )
)]
pub const fn batch_embed_contents() {}

#[utoipa::path(
    get,
    path = "/api/v1/models/{author}/{slug}/endpoints",
    operation_id = "list_model_endpoints",
    tag = "Models",
    summary = "The providers of one model, with their prices and their health",
    params(
        ("author" = String, Path, description = "The first part of the model's name.", example = "openai"),
        ("slug" = String, Path, description = "The rest of the model's name.", example = "gpt-5.4")
    ),
    responses((status = 200, description = "The model and the endpoints that the key may use.", body = Data<ModelEndpoints>), Models)
)]
pub const fn model_endpoints() {}

#[utoipa::path(
    get,
    path = "/v1beta/models",
    tag = "Models",
    summary = "The models that the key may use, in Google's shape",
    responses((status = 200, description = "The models.", body = GoogleModels), Models)
)]
pub const fn google_models() {}

#[utoipa::path(
    get,
    path = "/v1beta/models/{id}",
    tag = "Models",
    summary = "One model, in Google's shape",
    params(("id" = String, Path, description = "The model's name; it may contain slashes.", example = "google/gemini-2.5-flash")),
    responses((status = 200, description = "The model.", body = GoogleModel), Models)
)]
pub const fn google_model() {}

#[utoipa::path(
    get,
    path = "/{provider}/{path}",
    tag = "Provider",
    summary = "Any GET of a provider's own API",
    params(
        ("provider" = String, Path, description = "The provider's slug.", example = "openai"),
        ("path" = String, Path, description = "The path at the provider, with slashes.", example = "v1/models")
    ),
    responses((status = "2XX", description = "The provider's answer, untouched.", content(("*/*"))), OpenAi)
)]
pub const fn proxy_get() {}

#[utoipa::path(
    post,
    path = "/{provider}/{path}",
    tag = "Provider",
    summary = "Any POST of a provider's own API, metered if its format is known",
    description = "Without a known format the call is refused, unless the operator has set `proxy_unmetered = \"allow\"`.",
    params(
        ("provider" = String, Path, description = "The provider's slug.", example = "openai"),
        ("path" = String, Path, description = "The path at the provider, with slashes.", example = "v1/chat/completions"),
        IdempotencyKey
    ),
    request_body(content(("*/*")), description = "The provider's own body."),
    responses((status = "2XX", description = "The provider's answer, untouched.", content(("*/*"))), OpenAi)
)]
pub const fn proxy_post() {}

#[utoipa::path(
    put,
    path = "/{provider}/{path}",
    tag = "Provider",
    summary = "Any PUT of a provider's own API",
    params(("provider" = String, Path), ("path" = String, Path)),
    request_body(content(("*/*")), description = "The provider's own body."),
    responses((status = "2XX", description = "The provider's answer, untouched.", content(("*/*"))), OpenAi)
)]
pub const fn proxy_put() {}

#[utoipa::path(
    patch,
    path = "/{provider}/{path}",
    tag = "Provider",
    summary = "Any PATCH of a provider's own API",
    params(("provider" = String, Path), ("path" = String, Path)),
    request_body(content(("*/*")), description = "The provider's own body."),
    responses((status = "2XX", description = "The provider's answer, untouched.", content(("*/*"))), OpenAi)
)]
pub const fn proxy_patch() {}

#[utoipa::path(
    delete,
    path = "/{provider}/{path}",
    tag = "Provider",
    summary = "Any DELETE of a provider's own API",
    params(("provider" = String, Path), ("path" = String, Path)),
    responses((status = "2XX", description = "The provider's answer, untouched.", content(("*/*"))), OpenAi)
)]
pub const fn proxy_delete() {}

#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Health",
    summary = "Whether the process lives",
    security(()),
    responses((status = 200, description = "It does.", body = Liveness))
)]
pub const fn healthz() {}

#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Health",
    summary = "This document",
    security(()),
    responses((status = 200, description = "The document.", content(("application/json"))))
)]
pub const fn openapi_json() {}

#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "Health",
    summary = "The public events as AsyncAPI 3.0 document",
    security(()),
    responses((status = 200, description = "The document.", content(("application/json"))))
)]
pub const fn asyncapi_json() {}

#[utoipa::path(
    get,
    path = "/schemas/{file}",
    tag = "Health",
    summary = "The JSON Schema of an event",
    security(()),
    params(("file" = String, Path, description = "The event's `dataschema`.", example = "usage.recorded.v1.json")),
    responses((status = 200, description = "The schema.", content(("application/schema+json"))), Named)
)]
pub const fn event_schema() {}

#[utoipa::path(
    get,
    path = "/docs",
    tag = "Health",
    summary = "This document as a page",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub const fn docs() {}
