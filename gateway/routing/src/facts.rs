//! Facts of an endpoint (a model at one provider), and the needs of a request.

/// Prices in pico-USD (10⁻¹² USD). One USD per million tokens is 1,000,000 pico-USD per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    pub prompt_picos: u64,
    pub completion_picos: u64,
    pub request_picos: u64,
    pub image_picos: u64,
}

/// Tokens of a typical request: prompts are three times as long as answers.
const TYPICAL_PROMPT_TOKENS: u64 = 3_000;
const TYPICAL_COMPLETION_TOKENS: u64 = 1_000;

impl Price {
    /// Returns the price by which endpoints are compared: that of a request with 3,000 prompt tokens and 1,000 completion tokens.
    #[must_use]
    pub fn typical_picos(&self) -> u64 {
        let prompt = self.prompt_picos.saturating_mul(TYPICAL_PROMPT_TOKENS);
        let completion = self.completion_picos.saturating_mul(TYPICAL_COMPLETION_TOKENS);
        prompt.saturating_add(completion).saturating_add(self.request_picos)
    }
}

/// The number format of a model's weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    Int4,
    Int8,
    Fp4,
    Fp6,
    Fp8,
    Fp16,
    Bf16,
    Fp32,
    #[default]
    Unknown,
}

impl Quantization {
    const ALL: [Self; 9] = [Self::Int4, Self::Int8, Self::Fp4, Self::Fp6, Self::Fp8, Self::Fp16, Self::Bf16, Self::Fp32, Self::Unknown];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Fp4 => "fp4",
            Self::Fp6 => "fp6",
            Self::Fp8 => "fp8",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
            Self::Unknown => "unknown",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantization| quantization.as_str().eq_ignore_ascii_case(name))
    }
}

/// A kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modality {
    Text,
    Image,
    Audio,
    Video,
    File,
}

/// Facts of a model at one provider. The default is an endpoint of which nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointFacts {
    /// The model's id, `author/slug`.
    pub model: String,
    /// The provider's slug.
    pub provider: String,
    /// The provider's display name.
    pub provider_name: String,
    pub price: Price,
    /// The most tokens of prompt and answer together; `None` if unknown.
    pub context_length: Option<u64>,
    /// The most tokens of an answer; `None` if unknown.
    pub max_output_tokens: Option<u64>,
    pub quantization: Quantization,
    /// The kinds of input; `None` if unknown.
    pub input_modalities: Option<Vec<Modality>>,
    /// The parameters by name, with `tools`, `structured_outputs` and `reasoning`; `None` if unknown.
    pub supported_parameters: Option<Vec<String>>,
    /// Whether the provider retains nothing. Unknown is `false`.
    pub is_zdr: bool,
    /// Whether the provider keeps prompts or trains on them. Unknown is `true`.
    pub collects_data: bool,
    /// Whether answers may be used to train models. Unknown is `false`.
    pub allows_distillation: bool,
    pub region: Option<String>,
    /// The operator's factor of the endpoint's share of requests; 100 is usual. An endpoint of weight 0 is drawn after all others.
    pub weight: u32,
}

impl EndpointFacts {
    /// Returns whether a parameter is supported; `None` if unknown.
    #[must_use]
    pub fn supports(&self, parameter: &str) -> Option<bool> {
        self.supported_parameters.as_ref().map(|names| names.iter().any(|name| name == parameter))
    }
}

/// The needs of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// An upper bound of the prompt's tokens, or a good estimate.
    pub prompt_tokens: u64,
    /// The tokens of the answer that the caller asked for.
    pub output_tokens: Option<u64>,
    /// The names of the optional parameters in the request.
    pub parameters: Vec<String>,
    pub modalities: Vec<Modality>,
    pub has_tools: bool,
    pub has_structured_output: bool,
    pub has_reasoning: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_price_counts_prompts_three_times() {
        let price = Price { prompt_picos: 2, completion_picos: 10, request_picos: 5, image_picos: 9 };
        assert_eq!(price.typical_picos(), 16_005);
        assert_eq!(Price { prompt_picos: u64::MAX, ..price }.typical_picos(), u64::MAX);
    }

    #[test]
    fn quantizations_have_names() {
        assert!(Quantization::ALL.into_iter().all(|one| Quantization::named(&one.as_str().to_uppercase()) == Some(one)));
        assert_eq!(Quantization::named("int3"), None);
    }
}
