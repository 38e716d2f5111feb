//! The plan of a request: the candidates in the order of trial, and an upper bound of the cost.

use std::sync::Arc;

use events::Nanos;
use events::request::Experiment;
use pricing::known_providers::ProviderFormat;
use pricing::{Fee, Quote, ServiceTier};
use routing::{Skip, Why};
use wire::call::Head;

use super::choice::{CachedPrompt, Choice, Skipped};
use super::own_keys::{AccountKeys, OwnKeys};
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
    /// The upper bound of the request's cost at this endpoint by the price list.
    pub quote: Quote,
    /// The account's own provider keys; `None` for the operator's credentials.
    pub own: Option<Arc<OwnKeys>>,
    /// The upper bound of the fee with an own key.
    fee_quote: Quote,
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
    /// Returns the plan of a choice: for each endpoint, the account's own keys and then the operator's credentials. There may be no candidate.
    #[must_use]
    pub fn new(choice: &Choice, head: &Head, keys: &AccountKeys<'_>, fee: Fee) -> Self {
        let tier = ServiceTier::named(head.service_tier.as_deref());
        let (mut candidates, mut skipped) = (Vec::new(), choice.skipped.clone());
        for (endpoint, why) in &choice.endpoints {
            let own = keys.at(endpoint);
            let has_platform = endpoint.provider.has_platform && !own.is_exclusive;
            let platform = Candidate::new((endpoint, *why), head, tier, &[]);
            if !own.keys.is_empty() {
                candidates.push(Candidate { fee_quote: platform.quote.of_fee(fee), own: Some(Arc::new(own)), ..platform.clone() });
            } else if !has_platform {
                skipped.push(Skipped { endpoint: Arc::clone(endpoint), reason: Skip::NoProviderKey });
            }
            if has_platform {
                candidates.push(platform);
            }
        }
        Self {
            candidates,
            skipped,
            prompt: choice.prompt.clone(),
            tier,
            is_capped: head.output_tokens_max.is_some(),
            choices: head.choices,
            experiment: choice.experiment.clone(),
        }
    }

    /// Returns the same plan with the prompt counted by some tokenizers.
    #[must_use]
    pub fn counted(&self, head: &Head, counted: &[(Tokenizer, u64)], fee: Fee) -> Self {
        let candidates = self.candidates.iter().map(|before| {
            let platform = Candidate::new((&before.endpoint, before.why), head, self.tier, counted);
            Candidate { fee_quote: platform.quote.of_fee(fee), own: before.own.clone(), ..platform }
        });
        let candidates = candidates.collect();
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

    /// Returns the plan without the candidates that use the operator's credentials; `None` if nothing else is left, or nothing is left out.
    #[must_use]
    pub fn own_only(&self) -> Option<Self> {
        let candidates: Vec<Candidate> = self.candidates.iter().filter(|candidate| candidate.own.is_some()).cloned().collect();
        let is_other = !candidates.is_empty() && candidates.len() < self.candidates.len();
        let (skipped, prompt, experiment) = (self.skipped.clone(), self.prompt.clone(), self.experiment.clone());
        is_other.then(|| Self { candidates, skipped, prompt, experiment, ..*self })
    }

    /// Returns whether an own provider key may be used.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.own.is_some())
    }

    /// Returns whether nothing but own provider keys may be used.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.own.is_some())
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

    /// Returns the amount to hold for the whole request: the bound of the most expensive candidate. `is_free` tells that own keys cost no
    /// fee.
    #[must_use]
    pub fn max_cost(&self, is_free: bool) -> Nanos {
        self.candidates.iter().map(|candidate| candidate.bound(is_free).max_cost()).max().unwrap_or(Nanos::ZERO)
    }

    /// Returns the least amount with which the request can proceed. If the caller bounded the answer, this is [`Self::max_cost`]; otherwise
    /// it covers the prompt and one token of each choice.
    #[must_use]
    pub fn min_cost(&self, is_free: bool) -> Nanos {
        if self.is_capped {
            return self.max_cost(is_free);
        }
        self.candidates.iter().map(|candidate| candidate.bound(is_free).with_output(self.choices)).max().unwrap_or(Nanos::ZERO)
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
        let output_max = is_bounded.then_some(each);
        Self { endpoint: Arc::clone(endpoint), why, quote, own: None, fee_quote: quote, output_max }
    }

    /// Returns the upper bound of the charge. `is_free` tells that own keys cost no fee.
    fn bound(&self, is_free: bool) -> Quote {
        match (&self.own, is_free) {
            (None, _) => self.quote,
            (Some(_), true) => self.quote.of_fee(Fee::NONE),
            (Some(_), false) => self.fee_quote,
        }
    }

    /// Returns the bound on each choice that is sent to the provider: the lowest of the caller's, the model's and the hold's. The
    /// provider's bill thus stays within the hold.
    #[must_use]
    pub fn cap(&self, hold: Nanos, choices: u64, is_free: bool) -> Option<u64> {
        let bound = self.bound(is_free);
        if bound.max_cost() <= hold {
            return self.output_max;
        }
        let affordable = (bound.output_for(hold).unwrap_or(choices) / choices.max(1)).max(1);
        Some(self.output_max.map_or(affordable, |most| most.min(affordable)))
    }
}

#[cfg(test)]
mod tests {
    use events::control::Key;
    use events::sealed::MasterKeys;
    use wire::call::{Addressed, Call, Format};

    use super::*;
    use crate::config::{ModelConfig, ProviderConfig};
    use crate::route::Routes;
    use crate::route::choice::Asking;
    use crate::route::own_keys::KeyRing;

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
            let ring = KeyRing::new(Arc::default(), Arc::new(MasterKeys::parse(&"k".repeat(32)).unwrap()), false);
            Plan::new(&routes().choose(&asking).unwrap(), &call.head, &ring.of(&key.account), Fee::NONE).max_cost(false)
        };
        // The cost is 50 tokens at 2 USD per million, for each answer.
        assert_eq!(most(8).0 - most(1).0, 7 * 50 * 2_000);
    }
}
