//! The life cycle of one client request, as events of the stream `REQUESTS`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId, RequestId};
use crate::money::Nanos;
use crate::payload::payload;
use crate::usage::{Byok, Tokens, UnitPrices};

/// The wire format of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Google Gemini's `generateContent`.
    Generate,
    /// OpenAI embeddings.
    Embeddings,
}

/// The model with weighted variants that a request named, and the variant that it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Experiment {
    /// The id of the model with variants.
    pub model: String,
    /// The name of the variant.
    pub variant: String,
}

/// A request was admitted: money is held for it and it is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestStarted {
    /// The id of the request.
    pub request: RequestId,
    /// The account that pays.
    pub account: AccountId,
    /// The key that the request used.
    pub key: KeyHash,
    /// The lease that the hold is taken from.
    pub lease: LeaseId,
    /// The hold, nano-USD.
    pub hold_nanos: Nanos,
    /// The first candidate model, such as `openai/gpt-5.4`.
    pub model: String,
    /// The end user as the caller named it, at most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The calling application's name or URL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// The variant that was drawn; absent if the requested model has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub experiment: Option<Experiment>,
    /// The format of the client's request.
    pub format: Format,
    /// Whether the response is a stream.
    pub streamed: bool,
    /// The time of admission, microseconds since 1970. It decides to which spending windows the request belongs, except the window of a
    /// limited key, which is the lease's.
    pub admitted_at_us: i64,
}

/// A stream is still running; published at most once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestProgress {
    /// The id of the request.
    pub request: RequestId,
    /// The model that answers.
    pub model: String,
    /// The provider's slug.
    pub provider: String,
    /// The tokens relayed so far, counted by the gateway.
    pub tokens: Tokens,
    /// The version of the price list.
    pub price_version: String,
    /// The prices that apply, pico-USD per unit.
    pub unit_prices: UnitPrices,
    /// The cost of the tokens relayed so far, nano-USD; at most the hold.
    pub cost_nanos: Nanos,
    /// The use of the account's own provider key; absent if the operator's credential is used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub byok: Option<Byok>,
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The response is complete, or was ended at its hold with `finish_reason: "length"`.
    Finished,
    /// No candidate gave a complete response.
    Failed,
    /// The client left first.
    Cancelled,
    /// The gateway ended first, or the request was never sent.
    Aborted,
}

impl Outcome {
    /// Returns the word that events, tables and responses use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
        }
    }
}

/// One attempt at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The provider's slug.
    pub provider: String,
    /// The model's name in this router.
    pub model: String,
    /// The provider's HTTP status; absent if it gave none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The error as one word, such as `timeout`; absent if nothing went wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// The duration of the attempt, microseconds.
    pub duration_us: u64,
    /// The reason for the endpoint's place among the candidates, such as `sort` or `balanced`; `broken` if no other was left. Absent if there
    /// was no choice.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// The round of tries over all candidates; absent in the first one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub round: Option<u32>,
}

/// An endpoint that a request did not try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEndpoint {
    /// The provider's slug.
    pub provider: String,
    /// The model's name in this router.
    pub model: String,
    /// The reason as one word, such as `not_zdr` or `max_price`.
    pub reason: String,
}

/// A request ended: there is exactly one such event for each admitted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestFinished {
    /// The id of the request.
    pub request: RequestId,
    /// The key that the request used.
    pub key: KeyHash,
    /// The model that answered, or the last one tried.
    pub model: String,
    /// The outcome of the request.
    pub outcome: Outcome,
    /// The HTTP status that the client got; absent if the client was gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The provider's finish reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finish_reason: Option<String>,
    /// The time of admission, microseconds since 1970.
    pub admitted_at_us: i64,
    /// The time from admission to the end, microseconds.
    pub latency_us: u64,
    /// The time from admission to the first piece of the response, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttft_us: Option<u64>,
    /// The attempts in order, at most 20.
    pub attempts: Vec<Attempt>,
    /// The endpoints that did not fit the request, or that were left alone because they had failed (`broken`), at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub skipped: Vec<SkippedEndpoint>,
    /// The variant that answered, or else the drawn one; absent if the requested model has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub experiment: Option<Experiment>,
}

/// The rule of a key or account that a request breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guardrail {
    /// A bound on requests or tokens in a window.
    RateLimitExceeded,
    /// The key's list of models.
    ModelNotAllowed,
    /// The key's list of providers.
    ProviderNotAllowed,
    /// The key's spending limit.
    CreditLimitExceeded,
}

impl Guardrail {
    /// Returns the word in events and error bodies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::ProviderNotAllowed => "provider_not_allowed",
            Self::CreditLimitExceeded => "credit_limit_exceeded",
        }
    }
}

/// A request was refused before it was admitted; it cost nothing and reached no provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRefused {
    /// The id of the request.
    pub request: RequestId,
    /// The key that the request used.
    pub key: KeyHash,
    /// The requested model; empty if the request named none.
    pub model: String,
    /// The HTTP status that the client got.
    pub status: u16,
    /// The error's code, such as `insufficient_credits`.
    pub code: String,
    /// The rule that the request broke; absent if the reason is another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guardrail: Option<Guardrail>,
    /// The time of the refusal, microseconds since 1970.
    pub refused_at_us: i64,
    /// The number of refusals that this event stands for, if an account had too many to record each one; absent for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}

payload!(RequestStarted, Requests, "request", "started", "v1");
payload!(RequestProgress, Requests, "request", "progress", "v1");
payload!(RequestFinished, Requests, "request", "finished", "v1");
payload!(RequestRefused, Requests, "request", "refused", "v1");
