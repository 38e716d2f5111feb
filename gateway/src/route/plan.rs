//! The plan of a request: the candidates in the order of trial, and an upper bound of the cost.

use std::sync::Arc;

use events::Nanos;
use events::request::Experiment;
use pricing::known_providers::ProviderFormat;
use pricing::{Quote, ServiceTier};
use routing::Why;
use wire::call::Head;

use super::choice::{CachedPrompt, Choice, Skipped};
use super::split::Split;
use super::table::Endpoint;
use super::tokens::Tokenizer;

/// The most tokens of the instructions that Anthropic adds to a prompt with tools. Source: Anthropic's guide "Tool use", section "Pricing".
const ANTHROPIC_TOOLS_TOKENS: u64 = 804;

/// A model at one provider that a request may try.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub endpoint: Arc<Endpoint>,
    /// The reason for its place.
    pub why: Why,
    /// The upper bound of the request's cost at this endpoint.
    pub quote: Quote,
    /// The most tokens that each choice may emit: the lower of the caller's bound and the model's own. `None` if the caller gave no bound
    /// and the model's answers may fill its context.
    pub output_max: Option<u64>,
}

/// The candidates of a request, and the facts that bound its cost.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The candidates in the order of trial; at least one.
    pub candidates: Vec<Candidate>,
    /// The endpoints that do not fit the request.
    pub skipped: Vec<Skipped>,
    /// The prompt, if it is long enough for a provider's cache.
    pub prompt: Option<CachedPrompt>,
    /// The service tier that the caller asked for.
    pub tier: ServiceTier,
    /// Whether the caller bounded the answer. If so, the answer is not cut to the affordable length.
    pub is_capped: bool,
    /// The number of answers that the caller asked for.
    pub choices: u64,
    /// The model with weighted variants that the request names.
    pub experiment: Option<Arc<Split>>,
}

impl Plan {
    /// Returns the plan of a choice, with the prompt counted by some tokenizers.
    #[must_use]
    pub fn new(choice: &Choice, head: &Head, counted: &[(Tokenizer, u64)]) -> Self {
        let tier = ServiceTier::named(head.service_tier.as_deref());
        Self {
            candidates: choice.endpoints.iter().map(|(endpoint, why)| Candidate::new((endpoint, *why), head, tier, counted)).collect(),
            skipped: choice.skipped.clone(),
            prompt: choice.prompt.clone(),
            tier,
            is_capped: head.output_tokens_max.is_some(),
            choices: head.choices,
            experiment: choice.experiment.clone(),
        }
    }

    /// Returns the same plan with the prompt counted by some tokenizers.
    #[must_use]
    pub fn counted(&self, head: &Head, counted: &[(Tokenizer, u64)]) -> Self {
        let candidates = self.candidates.iter();
        let candidates = candidates.map(|own| Candidate::new((&own.endpoint, own.why), head, self.tier, counted)).collect();
        Self { candidates, skipped: self.skipped.clone(), prompt: self.prompt.clone(), experiment: self.experiment.clone(), ..*self }
    }

    /// Returns the plan of a request that is passed to one endpoint as it is. It is for the longest answer of the model: no cap can be added,
    /// and the provider may know the caller's by another name.
    #[must_use]
    pub fn untouched(endpoint: &Arc<Endpoint>, head: &Head) -> Self {
        let tier = ServiceTier::named(head.service_tier.as_deref());
        let capped = Head { output_tokens_max: Some(u64::MAX), ..head.clone() };
        let candidate = Candidate::new((endpoint, Why::Balanced), &capped, tier, &[]);
        let (candidates, skipped) = (vec![candidate], Vec::new());
        Self { candidates, skipped, prompt: None, tier, is_capped: true, choices: head.choices, experiment: None }
    }

    /// Returns the variant of an experiment that an endpoint serves, as events name it.
    #[must_use]
    pub fn experiment_of(&self, endpoint: Option<&Endpoint>) -> Option<Experiment> {
        self.experiment.as_ref()?.experiment(&endpoint?.model.id)
    }

    /// Returns the tokenizers known for the candidates, each once.
    #[must_use]
    pub fn tokenizers(&self) -> Vec<Tokenizer> {
        let mut tokenizers: Vec<Tokenizer> = self.candidates.iter().filter_map(|candidate| candidate.endpoint.tokenizer).collect();
        tokenizers.sort_unstable();
        tokenizers.dedup();
        tokenizers
    }

    /// Returns whether every candidate is free.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.endpoint.is_free())
    }

    /// Returns the most tokens of prompt and answers, whichever candidate serves.
    #[must_use]
    pub fn tokens_max(&self) -> u64 {
        let bound = |candidate: &Candidate| candidate.quote.prompt_tokens_max.saturating_add(candidate.quote.output_tokens_max);
        self.candidates.iter().map(bound).max().unwrap_or_default()
    }

    /// Returns the amount to hold for the whole request: the bound of the most expensive candidate.
    #[must_use]
    pub fn max_cost(&self) -> Nanos {
        self.candidates.iter().map(|candidate| candidate.quote.max_cost()).max().unwrap_or(Nanos::ZERO)
    }

    /// Returns the least amount with which the request can proceed. If the caller bounded the answer, this is [`Self::max_cost`]; otherwise
    /// it covers the prompt and one token of each choice.
    #[must_use]
    pub fn min_cost(&self) -> Nanos {
        if self.is_capped {
            return self.max_cost();
        }
        self.candidates.iter().map(|candidate| candidate.quote.with_output(self.choices)).max().unwrap_or(Nanos::ZERO)
    }
}

impl Candidate {
    fn new((endpoint, why): (&Arc<Endpoint>, Why), head: &Head, tier: ServiceTier, counted: &[(Tokenizer, u64)]) -> Self {
        let counted = counted.iter().find(|(tokenizer, _)| endpoint.tokenizer == Some(*tokenizer)).map(|(_, tokens)| *tokens);
        let context = endpoint.context_length;
        let images = if head.images == 0 { Some(0) } else { endpoint.image_tokens_max.map(|tokens| tokens.saturating_mul(head.images)) };
        let text = counted.or(head.prompt_tokens_max);
        let tools = if head.has_tools && endpoint.provider.format == ProviderFormat::Anthropic { ANTHROPIC_TOOLS_TOKENS } else { 0 };
        let prompt_max = text.zip(images).map_or(context, |(text, images)| text.saturating_add(images).saturating_add(tools).min(context));
        let each = head.output_tokens_max.unwrap_or(endpoint.max_output_tokens).min(endpoint.max_output_tokens.max(1));
        let quote = Quote::new(&endpoint.prices, tier, prompt_max, each.saturating_mul(head.choices));
        // If answers may fill the whole context, there is no bound to send: the provider would add the prompt to it and refuse the request.
        let is_bounded = head.output_tokens_max.is_some() || endpoint.max_output_tokens < context;
        Self { endpoint: Arc::clone(endpoint), why, quote, output_max: is_bounded.then_some(each) }
    }

    /// Returns the bound on each choice that is sent to the provider: the lowest of the caller's, the model's and the hold's. The
    /// provider's bill thus stays within the hold.
    #[must_use]
    pub fn cap(&self, hold: Nanos, choices: u64) -> Option<u64> {
        if self.quote.max_cost() <= hold {
            return self.output_max;
        }
        let affordable = (self.quote.output_for(hold).unwrap_or(choices) / choices.max(1)).max(1);
        Some(self.output_max.map_or(affordable, |most| most.min(affordable)))
    }
}

#[cfg(test)]
mod tests {
    use events::control::Key;
    use wire::call::{Addressed, Call, Format};

    use super::*;
    use crate::config::{ModelConfig, ProviderConfig};
    use crate::route::Routes;
    use crate::route::choice::Asking;

    fn routes() -> Routes {
        let provider = ProviderConfig::openai("test", "http://127.0.0.1:1/v1".into());
        let model = ModelConfig { max_output_tokens: Some(100), ..ModelConfig::priced("test/m".into(), "test", "1", "2", 1_000) };
        Routes::try_new(&pricing::Catalog { version: String::new(), source: String::new(), models: Vec::new() }, &[provider], &[model])
            .unwrap()
    }

    #[test]
    fn what_is_set_aside_covers_every_answer_that_is_asked_for() {
        let key = Key {
            hash: "k".into(),
            account: "a".into(),
            name: String::new(),
            label: String::new(),
            kind: events::ids::KeyKind::Regular,
            disabled: false,
            limit_nanos: None,
            limit_reset: None,
            rate_limit: events::control::RateLimit::default(),
            enforce_zdr: false,
            include_byok_in_limit: false,
            created_by: None,
            creating_call: None,
            expires_at_us: None,
            allowed_models: None,
            allowed_providers: None,
            created_at_us: 0,
            updated_at_us: None,
            revision: 1,
        };
        let most = |n: u64| {
            let body = format!(r#"{{"model":"test/m","n":{n},"max_tokens":50,"messages":[{{"role":"user","content":""}}]}}"#);
            let call = Call::read(Format::Chat, body.as_bytes(), &Addressed::default()).unwrap();
            let asking = Asking { key: &key, format: Format::Chat, call: &call, now_us: 0, ids: &events::ids::SystemIds };
            Plan::new(&routes().choose(&asking).unwrap(), &call.head, &[]).max_cost()
        };
        // The cost is 50 tokens at 2 USD per million, for each answer.
        assert_eq!(most(8).0 - most(1).0, 7 * 50 * 2_000);
    }
}
