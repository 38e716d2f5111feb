//! The names of a request's fields in the format that the caller wrote it in.

use crate::call::Format;

/// A field of a request.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    Conversation,
    Tools,
    ToolChoice,
    Temperature,
    TopP,
    TopK,
    Stop,
    FrequencyPenalty,
    PresencePenalty,
    Seed,
    Choices,
    Logprobs,
    Output,
    Verbosity,
    Reasoning,
    ServiceTier,
}

impl Field {
    /// Returns the field's name in a format; a name of OpenAI's if the format has no such field.
    pub const fn of(self, source: Format) -> &'static str {
        let [chat, responses, messages, generate] = self.names();
        match source {
            Format::Chat | Format::Embeddings(_) => chat,
            Format::Responses => responses,
            Format::Messages => messages,
            Format::Generate => generate,
        }
    }

    /// Returns the names in Chat, Responses, Messages and Generate.
    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::Conversation => ["messages", "input", "messages", "contents"],
            Self::Tools => ["tools"; 4],
            Self::ToolChoice => ["tool_choice", "tool_choice", "tool_choice", "toolConfig"],
            Self::Temperature => ["temperature", "temperature", "temperature", "generationConfig.temperature"],
            Self::TopP => ["top_p", "top_p", "top_p", "generationConfig.topP"],
            Self::TopK => ["top_k", "top_k", "top_k", "generationConfig.topK"],
            Self::Stop => ["stop", "stop", "stop_sequences", "generationConfig.stopSequences"],
            Self::FrequencyPenalty => ["frequency_penalty", "frequency_penalty", "frequency_penalty", "generationConfig.frequencyPenalty"],
            Self::PresencePenalty => ["presence_penalty", "presence_penalty", "presence_penalty", "generationConfig.presencePenalty"],
            Self::Seed => ["seed", "seed", "seed", "generationConfig.seed"],
            Self::Choices => ["n", "n", "n", "generationConfig.candidateCount"],
            Self::Logprobs => ["logprobs", "top_logprobs", "logprobs", "generationConfig.responseLogprobs"],
            Self::Output => ["response_format", "text.format", "output_config.format", "generationConfig.responseSchema"],
            Self::Verbosity => ["verbosity", "text.verbosity", "verbosity", "verbosity"],
            Self::Reasoning => ["reasoning_effort", "reasoning", "thinking", "generationConfig.thinkingConfig"],
            Self::ServiceTier => ["service_tier", "service_tier", "service_tier", "serviceTier"],
        }
    }
}
