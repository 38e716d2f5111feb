//! The life of one client request, as events of the stream `REQUESTS`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, KeyHash, LeaseId, RequestId};
use crate::money::Nanos;
use crate::payload::payload;
use crate::usage::{Tokens, UnitPrices};

/// The wire format a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// OpenAI Chat Completions.
    Chat,
}

/// A request was admitted: money is set aside for it and it is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestStarted {
    /// The request.
    pub request: RequestId,
    /// Whose money.
    pub account: AccountId,
    /// The credential.
    pub key: KeyHash,
    /// The lease that the hold is taken from.
    pub lease: LeaseId,
    /// Money set aside, nano-USD.
    pub hold_nanos: Nanos,
    /// The first candidate, such as `openai/gpt-5.4`.
    pub model: String,
    /// The end user as the caller named it, at most 256 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The calling application's name or URL.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// The format of the client's request.
    pub format: Format,
    /// Whether the answer is a stream.
    pub streamed: bool,
    /// When it was admitted, microseconds since 1970. Decides the window of spending it belongs to, but for a limited key's own: that is
    /// the lease's.
    pub admitted_at_us: i64,
}

/// A stream is still running; at most one a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestProgress {
    /// The request.
    pub request: RequestId,
    /// The model that answers.
    pub model: String,
    /// The provider's slug.
    pub provider: String,
    /// What was relayed so far, counted by the gateway.
    pub tokens: Tokens,
    /// The price list's version.
    pub price_version: String,
    /// The prices that apply, pico-USD per unit.
    pub unit_prices: UnitPrices,
    /// Cost of what was relayed so far, nano-USD, at most the hold.
    pub cost_nanos: Nanos,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer is complete, or was ended at its hold with `finish_reason: "length"`.
    Finished,
    /// No candidate gave a whole answer.
    Failed,
    /// The client left first.
    Cancelled,
    /// The gateway ended first, or the request was never sent.
    Aborted,
}

impl Outcome {
    /// The word that events, tables and answers use.
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

/// One try at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The provider's slug.
    pub provider: String,
    /// The model as we name it.
    pub model: String,
    /// The provider's HTTP status; absent when it gave none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// What went wrong, one word such as `timeout`; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// How long it took, microseconds.
    pub duration_us: u64,
}

/// The terminal event: exactly one for each admitted request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestFinished {
    /// The request.
    pub request: RequestId,
    /// The credential.
    pub key: KeyHash,
    /// The model that answered, or the last one tried.
    pub model: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that the client got; absent when it was gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The provider's finish reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finish_reason: Option<String>,
    /// When it was admitted, microseconds since 1970.
    pub admitted_at_us: i64,
    /// From admission to the end, microseconds.
    pub latency_us: u64,
    /// From admission to the first piece of the answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttft_us: Option<u64>,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
}

/// A request was refused before it was admitted; it cost nothing and reached no provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRefused {
    /// The request.
    pub request: RequestId,
    /// The credential.
    pub key: KeyHash,
    /// The model asked for; empty when none was named.
    pub model: String,
    /// The HTTP status that the client got.
    pub status: u16,
    /// The error's code, such as `insufficient_credits`.
    pub code: String,
    /// When, microseconds since 1970.
    pub refused_at_us: i64,
    /// How many refusals this one stands for, where an account had so many that they are not recorded one by one; absent for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}

payload!(RequestStarted, Requests, "request", "started", "v1");
payload!(RequestProgress, Requests, "request", "progress", "v1");
payload!(RequestFinished, Requests, "request", "finished", "v1");
payload!(RequestRefused, Requests, "request", "refused", "v1");
