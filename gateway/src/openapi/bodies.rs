//! The bodies of inference routes, as far as the gateway acts on them; all other fields of a vendor pass through.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use wire::openapi::Usd;

/// A request in the format of OpenAI Chat Completions.
#[derive(ToSchema)]
pub struct ChatRequest {
    /// The model, such as `openai/gpt-5.4`; a bare name is one of OpenAI.
    #[schema(example = "openai/gpt-5.4")]
    pub model: Option<String>,
    /// Further candidates, in order.
    pub models: Option<Vec<String>>,
    /// `fallback`, with `models`.
    pub route: Option<String>,
    /// The conversation.
    #[schema(min_items = 1)]
    pub messages: Vec<ChatMessage>,
    /// Whether the answer is a stream of events.
    pub stream: Option<bool>,
    /// The bound on the tokens of the answer.
    #[schema(minimum = 1)]
    pub max_tokens: Option<u64>,
    /// Another name of `max_tokens`.
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u64>,
    /// The number of choices.
    #[schema(minimum = 1, maximum = 128)]
    pub n: Option<u64>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// The end user, for reports.
    #[schema(max_length = 256)]
    pub user: Option<String>,
    /// OpenAI's tier: `auto`, `default`, `flex` or `priority`.
    pub service_tier: Option<String>,
}

/// A message of a conversation.
#[derive(ToSchema)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    #[schema(example = "user")]
    pub role: String,
    /// A text, or an array of parts.
    #[schema(example = "Say hello.")]
    pub content: Option<Value>,
}

/// An answer in the format of OpenAI Chat Completions.
#[derive(ToSchema)]
pub struct ChatAnswer {
    /// The id for `GET /api/v1/generation`.
    pub id: String,
    pub object: String,
    pub created: i64,
    /// The model that has answered.
    pub model: String,
    pub choices: Vec<Value>,
    pub usage: Option<Usage>,
}

/// The tokens and the cost of a request.
#[derive(ToSchema)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: Option<u64>,
    pub total_tokens: u64,
    /// Null if unknown.
    pub cost: Option<Usd>,
    /// Whether the account's own provider key was used; `cost` is then the fee.
    pub is_byok: Option<bool>,
    /// The list price, if the account's own provider key was used.
    pub cost_details: Option<CostDetails>,
}

/// The costs of a request with the account's own provider key.
#[derive(ToSchema)]
pub struct CostDetails {
    pub upstream_inference_cost: Usd,
}

/// The cost of a request, beside a vendor's own usage.
#[derive(ToSchema)]
pub struct Cost {
    /// Null if unknown.
    pub cost: Option<Usd>,
    pub generation_id: Option<String>,
    pub provider: Option<String>,
}

/// A request in the format of OpenAI Responses. Nothing is stored, so `store`, `previous_response_id`, `background` and `conversation` are refused.
#[derive(ToSchema)]
pub struct ResponsesRequest {
    #[schema(example = "openai/gpt-5.4")]
    pub model: Option<String>,
    /// A text, or an array of items.
    #[schema(example = "Say hello.")]
    pub input: Value,
    pub instructions: Option<String>,
    pub stream: Option<bool>,
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<u64>,
    pub tools: Option<Vec<Value>>,
    #[schema(max_length = 256)]
    pub user: Option<String>,
    pub service_tier: Option<String>,
}

/// An answer in the format of OpenAI Responses.
#[derive(ToSchema)]
pub struct ResponsesAnswer {
    pub id: String,
    pub object: String,
    pub status: Option<String>,
    pub model: String,
    pub output: Vec<Value>,
    pub usage: Option<Value>,
}

/// The tokens of a prompt.
#[derive(ToSchema)]
pub struct ResponsesTokens {
    pub object: String,
    pub input_tokens: u64,
}

/// A request in the format of Anthropic Messages.
#[derive(ToSchema)]
pub struct MessagesRequest {
    /// A bare name is one of Anthropic.
    #[schema(example = "anthropic/claude-sonnet-4.6")]
    pub model: String,
    #[schema(min_items = 1)]
    pub messages: Vec<ChatMessage>,
    #[schema(minimum = 1)]
    pub max_tokens: u64,
    pub system: Option<Value>,
    pub stream: Option<bool>,
    pub tools: Option<Vec<Value>>,
    /// `user_id` is the end user, for reports.
    pub metadata: Option<Value>,
}

/// A prompt in the format of Anthropic Messages.
#[derive(ToSchema)]
pub struct CountRequest {
    #[schema(example = "anthropic/claude-sonnet-4.6")]
    pub model: String,
    #[schema(min_items = 1)]
    pub messages: Vec<ChatMessage>,
    pub system: Option<Value>,
    pub tools: Option<Vec<Value>>,
}

/// An answer in the format of Anthropic Messages.
#[derive(ToSchema)]
pub struct MessagesAnswer {
    pub id: String,
    pub model: String,
    pub role: String,
    pub content: Vec<Value>,
    pub stop_reason: Option<String>,
    pub usage: Value,
    pub arouter: Option<Cost>,
}

/// The tokens of a prompt.
#[derive(ToSchema)]
pub struct MessagesTokens {
    pub input_tokens: u64,
}

/// A request in the format of Google's `generateContent`; names may also be written with underscores.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerateRequest {
    /// The conversation.
    #[schema(min_items = 1)]
    pub contents: Vec<Value>,
    pub system_instruction: Option<Value>,
    /// `maxOutputTokens` is the bound on the tokens of the answer.
    pub generation_config: Option<Value>,
    pub tools: Option<Vec<Value>>,
}

/// An answer, or a frame of one, in Google's format.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerateAnswer {
    pub candidates: Option<Vec<Value>>,
    pub usage_metadata: Option<Value>,
    pub model_version: Option<String>,
    pub arouter: Option<Cost>,
}

/// The tokens of a prompt.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleTokens {
    pub total_tokens: u64,
}

/// A text to embed, in Google's format.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmbedRequest {
    /// The text, in `parts`.
    pub content: Value,
    pub output_dimensionality: Option<u64>,
}

/// Texts to embed, in Google's format.
#[derive(ToSchema)]
pub struct EmbedBatchRequest {
    #[schema(min_items = 1)]
    pub requests: Vec<EmbedRequest>,
}

/// The embedding of a text, in Google's format.
#[derive(ToSchema)]
pub struct EmbedAnswer {
    pub embedding: Value,
    pub arouter: Option<Cost>,
}

/// The embeddings of texts, in Google's format.
#[derive(ToSchema)]
pub struct EmbedBatchAnswer {
    pub embeddings: Vec<Value>,
    pub arouter: Option<Cost>,
}

/// A model in Google's shape.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoogleModel {
    pub name: String,
    pub display_name: String,
    pub input_token_limit: u64,
    pub output_token_limit: Option<u64>,
    pub supported_generation_methods: Vec<String>,
}

/// Models in Google's shape.
#[derive(ToSchema)]
pub struct GoogleModels {
    pub models: Vec<GoogleModel>,
}

/// A request in the format of OpenAI embeddings.
#[derive(ToSchema)]
pub struct EmbeddingsRequest {
    #[schema(example = "openai/text-embedding-3-small")]
    pub model: String,
    /// A text, an array of texts, or tokens.
    #[schema(example = "A text.")]
    pub input: Value,
    #[schema(max_length = 256)]
    pub user: Option<String>,
}

/// An answer in the format of OpenAI embeddings.
#[derive(ToSchema)]
pub struct EmbeddingsAnswer {
    pub object: String,
    pub data: Vec<Value>,
    pub model: String,
    pub usage: Usage,
}

/// A model, in the union of OpenAI's and OpenRouter's shapes. Prices are decimals in USD per token.
#[derive(ToSchema)]
#[schema(as = Model)]
pub struct ModelBody {
    pub id: String,
    pub object: Option<String>,
    pub owned_by: Option<String>,
    pub context_length: Option<u64>,
    pub pricing: Option<BTreeMap<String, String>>,
    pub supported_parameters: Option<Vec<String>>,
}

/// A model in the shape of the SDK that asks: Anthropic's and OpenAI's have `id`, Google's has `name`.
#[derive(ToSchema)]
#[schema(as = AnyModel)]
#[serde(untagged)]
pub enum AnyModelBody {
    OpenAi(ModelBody),
    Google(GoogleModel),
}

/// Models. `anthropic-version` asks for Anthropic's shape, a key in `X-Goog-Api-Key` or `key` for Google's.
#[derive(ToSchema)]
#[schema(as = Models)]
pub struct ModelsBody {
    pub data: Option<Vec<ModelBody>>,
}

/// Liveness.
#[derive(ToSchema)]
pub struct Liveness {
    pub status: String,
}

/// An object below `data`.
#[derive(ToSchema)]
pub struct Data<T: ToSchema> {
    pub data: T,
}

/// A page of keys.
#[derive(ToSchema)]
pub struct KeyPage {
    pub data: Vec<crate::admin::key::object::KeyBody>,
    pub next_page_token: Option<String>,
}

/// The confirmation of a deletion.
#[derive(ToSchema)]
pub struct Deleted {
    pub deleted: bool,
}
