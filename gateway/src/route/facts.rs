//! The facts of an endpoint by which requests choose, from the catalogue and the configuration.

use pricing::known_providers::ProviderFormat;
use pricing::{ModelPrices, ServiceTier};
use routing::{EndpointFacts, Modality, Price, Quantization};

use super::provider::Provider;
use super::table::RouteError;
use crate::config::ModelConfig;

/// The usual factor of an endpoint's share of requests, in percent.
const WEIGHT: u32 = 100;
/// Parameters that every API has.
const COMMON: [&str; 5] = ["max_tokens", "stop", "stream", "temperature", "top_p"];
/// Parameters that come with a capability.
const IMPLIED: [(&str, &str); 4] = [
    ("tools", "tool_choice"),
    ("structured_outputs", "response_format"),
    ("reasoning", "include_reasoning"),
    ("reasoning", "reasoning_effort"),
];

/// Returns the parameters that the API of a provider has for every model. Source: the API references of the three vendors.
const fn parameters_of(format: ProviderFormat) -> &'static [&'static str] {
    match format {
        ProviderFormat::OpenAi => {
            &["frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "response_format", "seed", "top_logprobs"]
        }
        ProviderFormat::Anthropic => &["top_k"],
        ProviderFormat::Gemini => {
            &["frequency_penalty", "logprobs", "presence_penalty", "response_format", "seed", "top_k", "top_logprobs"]
        }
    }
}

/// Returns the parameters of model lists that a model with these capabilities supports at a provider.
#[must_use]
pub fn parameters(format: ProviderFormat, capabilities: &[String]) -> Vec<String> {
    let has = |capability: &str| capabilities.iter().any(|own| own == capability);
    let implied = IMPLIED.iter().filter(|(capability, _)| has(capability)).map(|(_, parameter)| *parameter);
    let common = COMMON.iter().chain(parameters_of(format)).copied();
    let mut all: Vec<String> = common.chain(implied).chain(capabilities.iter().map(String::as_str)).map(str::to_owned).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn modalities(capabilities: &[String]) -> Vec<Modality> {
    let has = |capability: &str| capabilities.iter().any(|own| own == capability);
    let known = [
        (Modality::Text, true),
        (Modality::Image, has("vision")),
        (Modality::Audio, has("audio_input")),
        (Modality::File, has("pdf_input")),
    ];
    known.into_iter().filter(|(_, has)| *has).map(|(modality, _)| modality).collect()
}

/// Returns the facts of a model at a provider. `capabilities` is `None` if they are unknown.
#[must_use]
pub fn of(
    provider: &Provider,
    model: &str,
    capabilities: Option<&[String]>,
    prices: &ModelPrices,
    (context_length, max_output_tokens): (u64, u64),
) -> EndpointFacts {
    let units = prices.at(0, ServiceTier::Default);
    let picos = |price: i64| u64::try_from(price).unwrap_or(0);
    EndpointFacts {
        model: model.to_owned(),
        provider: provider.slug.clone(),
        provider_name: provider.name.clone(),
        price: Price {
            prompt_picos: picos(units.input),
            completion_picos: picos(units.output),
            request_picos: picos(units.request),
            image_picos: picos(units.image_input),
        },
        context_length: Some(context_length),
        max_output_tokens: Some(max_output_tokens),
        quantization: Quantization::Unknown,
        input_modalities: capabilities.map(modalities),
        supported_parameters: capabilities.map(|capabilities| parameters(provider.format, capabilities)),
        is_zdr: provider.policy.is_zdr,
        collects_data: provider.policy.collects_data,
        allows_distillation: false,
        region: provider.policy.region.clone(),
        weight: WEIGHT,
    }
}

/// Returns the facts with what the operator says of the model.
///
/// # Errors
/// Fails for an unknown quantization.
pub fn configured(facts: EndpointFacts, config: &ModelConfig) -> Result<EndpointFacts, RouteError> {
    let named = |name: &String| {
        Quantization::named(name).ok_or_else(|| RouteError::Quantization { model: config.id.clone(), quantization: name.clone() })
    };
    Ok(EndpointFacts {
        quantization: config.quantization.as_ref().map(named).transpose()?.unwrap_or_default(),
        is_zdr: config.zdr.unwrap_or(facts.is_zdr),
        collects_data: config.collects_data.unwrap_or(facts.collects_data),
        region: config.region.clone().or(facts.region),
        weight: config.weight.unwrap_or(WEIGHT),
        ..facts
    })
}
