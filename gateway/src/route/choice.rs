//! The choice of a request: the endpoints in the order of trial, by the rights of its key, the caller's preferences, and the health of the
//! endpoints.

use std::sync::Arc;

use events::control::Key;
use events::ids::Ids;
use events::request::{Guardrail, SkippedEndpoint};
use routing::names::Variants;
use routing::sticky::{Sticky, StickyKey, prefix_hash};
use routing::{Candidate, Modality, Needs, Preferences, Restrictions, Selection, Skip, Why, auto, select};
use wire::call::{Call, Format, Head};

use super::names;
use super::split::Split;
use super::table::{Endpoint, Model, Routes};
use super::variants::{self, looked_up};
use crate::error::GatewayError;

/// The bytes of a prompt from which on providers cache it: 1,024 tokens.
const CACHED_BYTES_MIN: u64 = 4_096;
/// The bytes of each part of a prompt that identify it.
const PREFIX_BYTES: usize = 2_048;
/// The bytes of text that one token stands for.
const BYTES_PER_TOKEN: u64 = 4;
/// The maximum number of endpoints that a choice of `auto` tries.
const AUTO_MODELS_MAX: usize = 5;

/// A request as routing sees it.
pub struct Asking<'a> {
    pub key: &'a Key,
    pub format: Format,
    pub call: &'a Call<'a>,
    /// The time in microseconds since 1970.
    pub now_us: i64,
    /// The source of the randomness by which endpoints are drawn; a request without a choice draws nothing.
    pub ids: &'a dyn Ids,
}

/// The endpoints of a request.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The endpoints in the order of trial, each with the reason for its place; at least one.
    pub endpoints: Vec<(Arc<Endpoint>, Why)>,
    /// The excluded endpoints.
    pub skipped: Vec<Skipped>,
    /// The prompt, if it is long enough for a provider's cache.
    pub prompt: Option<CachedPrompt>,
    /// The model with weighted variants that the request names.
    pub experiment: Option<Arc<Split>>,
}

/// An excluded endpoint.
#[derive(Debug, Clone)]
pub struct Skipped {
    pub endpoint: Arc<Endpoint>,
    pub reason: Skip,
}

impl Skipped {
    /// Returns the endpoint as events name it.
    #[must_use]
    pub fn recorded(&self) -> SkippedEndpoint {
        skipped(&self.endpoint, self.reason.as_str())
    }
}

/// Returns an endpoint that was not called, as events name it.
#[must_use]
pub fn skipped(endpoint: &Endpoint, reason: &str) -> SkippedEndpoint {
    SkippedEndpoint { provider: endpoint.provider.slug.clone(), model: endpoint.model.id.clone(), reason: reason.to_owned() }
}

/// A prompt that a provider may have in its cache.
#[derive(Debug, Clone)]
pub struct CachedPrompt {
    sticky: Arc<Sticky>,
    key: StickyKey,
}

impl CachedPrompt {
    fn endpoint(&self, now_us: i64) -> Option<u64> {
        self.sticky.find(now_us, self.key)
    }

    /// Notes the endpoint that has the prompt in its cache.
    pub fn is_at(&self, now_us: i64, endpoint: &Endpoint) {
        self.sticky.store(now_us, self.key, endpoint.number);
    }
}

/// A model that a request names.
struct Named<'a> {
    model: &'a Arc<Model>,
    variants: Variants,
    /// The model with weighted variants, if the request names one.
    split: Option<&'a Arc<Split>>,
}

impl Routes {
    /// Chooses the endpoints of a request.
    ///
    /// # Errors
    /// Fails with 400 for an unknown model or a wrong preference, 403 if the key may use no endpoint, and 404 if none fits the request.
    pub fn choose(&self, asking: &Asking<'_>) -> Result<Choice, GatewayError> {
        let head = &asking.call.head;
        if let [name] = head.models.as_slice()
            && head.routing.provider.is_none()
            && !asking.key.enforce_zdr
            && let Some(model) = self.find_for(asking.format, name)
            && let [endpoint] = model.endpoints.as_slice()
        {
            return only(asking, endpoint);
        }
        let preferences = preferences(asking)?;
        let named = self.named(asking, &preferences)?;
        let preferences = named.iter().fold(preferences, |preferences, named| preferences.with_variants(named.variants));
        let endpoints = usable(asking, &named)?;
        let experiment = named.iter().find_map(|named| named.split).cloned();
        let prompt = prompt(asking).map(|key| CachedPrompt { sticky: Arc::clone(&self.sticky), key });
        let sticky = prompt.as_ref().and_then(|prompt| prompt.endpoint(asking.now_us));
        let sticky = endpoints.iter().position(|(_, endpoint)| Some(endpoint.number) == sticky);
        let selection = selected(asking, &endpoints, &preferences, sticky);
        let endpoint = |index: usize| endpoints.get(index).map(|(_, endpoint)| Arc::clone(endpoint));
        let skipped: Vec<Skipped> =
            selection.skipped.iter().filter_map(|(index, reason)| Some(Skipped { endpoint: endpoint(*index)?, reason: *reason })).collect();
        let chosen: Vec<_> = selection.order.iter().filter_map(|chosen| Some((endpoint(chosen.index)?, chosen.why))).collect();
        if chosen.is_empty() {
            return Err(GatewayError::NoEndpoint { models: head.models.clone(), skipped });
        }
        Ok(Choice { endpoints: chosen, skipped, prompt, experiment })
    }

    /// Returns the models that a request names, in its order; `auto` is replaced by those that fit it best, and a split by its variants.
    fn named(&self, asking: &Asking<'_>, preferences: &Preferences) -> Result<Vec<Named<'_>>, GatewayError> {
        let mut named = Vec::new();
        for name in &asking.call.head.models {
            if auto::is_auto(name) {
                let models = self.automatic(asking, preferences);
                named.extend(models.into_iter().map(|model| Named { model, variants: Variants::default(), split: None }));
            } else if let (Some(split), variants) = looked_up(name, |name| self.split_for(asking.format, name)) {
                let models = split.order(draw(asking, split)).into_iter().filter_map(|variant| self.find(&variant.model));
                named.extend(models.map(|model| Named { model, variants, split: Some(split) }));
            } else {
                let (model, variants) = self.resolve(asking.format, name)?;
                named.push(Named { model, variants, split: None });
            }
        }
        if named.is_empty() {
            return Err(GatewayError::NoEndpoint { models: asking.call.head.models.clone(), skipped: Vec::new() });
        }
        Ok(named)
    }

    /// Returns the best models for a request that leaves the choice to the gateway.
    fn automatic(&self, asking: &Asking<'_>, preferences: &Preferences) -> Vec<&Arc<Model>> {
        let models: Vec<&Arc<Model>> = self.all().filter(|model| is_model_allowed(asking.key, &model.name.id)).collect();
        let endpoints: Vec<(usize, &Arc<Endpoint>)> = models
            .iter()
            .enumerate()
            .flat_map(|(place, model)| model.endpoints.iter().map(move |endpoint| (place, endpoint)))
            .filter(|(_, endpoint)| endpoint.provider.format_for(asking.format, false).is_some())
            .collect();
        let candidates: Vec<Candidate<'_>> = endpoints.iter().map(|(place, endpoint)| candidate(endpoint, *place, asking.now_us)).collect();
        let patterns = asking.call.head.routing.auto_models.as_deref().unwrap_or_default();
        let ranked = auto::rank(&candidates, preferences, &needs(asking), patterns);
        ranked.into_iter().take(AUTO_MODELS_MAX).filter_map(|place| models.get(place).copied()).collect()
    }
}

/// Returns the choice for a model at one provider by a caller without preferences: it is tried whatever its health is.
fn only(asking: &Asking<'_>, endpoint: &Arc<Endpoint>) -> Result<Choice, GatewayError> {
    check_allowed(asking.key, endpoint)?;
    if endpoint.provider.format_for(asking.format, false).is_none() {
        return Err(no_operation(&asking.call.head));
    }
    Ok(Choice { endpoints: vec![(Arc::clone(endpoint), Why::Balanced)], skipped: Vec::new(), prompt: None, experiment: None })
}

fn preferences(asking: &Asking<'_>) -> Result<Preferences, GatewayError> {
    let given = asking.call.head.routing.provider.as_ref();
    let parsed = given.map(|provider| Preferences::parse(provider.get())).transpose();
    let parsed = parsed.map_err(|error| GatewayError::BadRequest { message: error.to_string(), param: Some(error.field.into()) })?;
    let restrictions = Restrictions {
        allowed_providers: asking.key.allowed_providers.clone(),
        enforce_zdr: asking.key.enforce_zdr,
        ..Restrictions::default()
    };
    Ok(parsed.unwrap_or_default().restricted_by(&restrictions))
}

/// Returns the endpoints of the models that the key may use and that have the operation, each with the place of its model.
fn usable(asking: &Asking<'_>, named: &[Named<'_>]) -> Result<Vec<(usize, Arc<Endpoint>)>, GatewayError> {
    let (mut endpoints, mut forbidden) = (Vec::new(), None);
    for (place, Named { model, variants, split }) in named.iter().enumerate() {
        for endpoint in variants::left(model, *variants) {
            match check_allowed_by(asking.key, split.map(|split| &**split), endpoint) {
                Ok(()) if endpoint.provider.format_for(asking.format, false).is_some() => endpoints.push((place, Arc::clone(endpoint))),
                Ok(()) => {}
                Err(error) => forbidden = forbidden.or(Some(error)),
            }
        }
    }
    // An endpoint that the key may not use is skipped while others remain.
    match forbidden {
        Some(error) if endpoints.is_empty() => Err(error),
        _ if endpoints.is_empty() => Err(no_operation(&asking.call.head)),
        Some(_) | None => Ok(endpoints),
    }
}

/// Returns the number by which a variant is drawn. It is the same for all requests of one end user, or else of one conversation.
fn draw(asking: &Asking<'_>, split: &Split) -> u64 {
    let head = &asking.call.head;
    let Some(who) = head.user.as_ref().or(head.routing.session.as_ref()) else { return asking.ids.seed() };
    prefix_hash([asking.key.account.as_str().as_bytes(), split.name.id.as_bytes(), who.as_bytes()].into_iter())
}

fn no_operation(head: &Head) -> GatewayError {
    let message = format!("No provider of '{}' has this operation.", head.models.join("', '"));
    GatewayError::BadRequest { message, param: Some("model".into()) }
}

fn candidate(endpoint: &Endpoint, model: usize, now_us: i64) -> Candidate<'_> {
    Candidate { facts: &endpoint.facts, health: endpoint.health.view(now_us), model }
}

/// Selects among endpoints. The abilities that a catalogue lists may be incomplete: if nobody has them all, the provider decides.
fn selected(asking: &Asking<'_>, endpoints: &[(usize, Arc<Endpoint>)], preferences: &Preferences, sticky: Option<usize>) -> Selection {
    let candidates: Vec<Candidate<'_>> = endpoints.iter().map(|(place, endpoint)| candidate(endpoint, *place, asking.now_us)).collect();
    let (needs, seed) = (needs(asking), if candidates.len() > 1 { asking.ids.seed() } else { 0 });
    let selection = select(&candidates, preferences, &needs, sticky, seed);
    let is_ability = |reason: Skip| match reason {
        Skip::Context | Skip::OutputCap | Skip::Modality | Skip::Tools | Skip::StructuredOutput => true,
        Skip::NotAllowed
        | Skip::NotInOnly
        | Skip::Ignored
        | Skip::NotInOrder
        | Skip::NotFirst
        | Skip::NotZdr
        | Skip::CollectsData
        | Skip::NotDistillable
        | Skip::Quantization
        | Skip::Parameters
        | Skip::MaxPrice
        | Skip::NoProviderKey => false,
    };
    if selection.order.is_empty() && selection.skipped.iter().any(|(_, reason)| is_ability(*reason)) {
        let needs = Needs { parameters: needs.parameters, ..Needs::default() };
        return select(&candidates, preferences, &needs, sticky, seed);
    }
    selection
}

fn needs(asking: &Asking<'_>) -> Needs {
    let head = &asking.call.head;
    let parameters: Vec<String> = asking.call.parameters().into_iter().map(str::to_owned).collect();
    let has = |parameter: &str| parameters.iter().any(|used| used == parameter);
    Needs {
        prompt_tokens: head.prompt_text_bytes / BYTES_PER_TOKEN,
        output_tokens: head.output_tokens_max,
        modalities: if head.images > 0 { vec![Modality::Text, Modality::Image] } else { vec![Modality::Text] },
        has_tools: head.has_tools,
        has_structured_output: has("structured_outputs"),
        has_reasoning: has("reasoning"),
        parameters,
    }
}

/// Returns the identity of a prompt that providers cache.
fn prompt(asking: &Asking<'_>) -> Option<StickyKey> {
    if asking.call.head.prompt_text_bytes < CACHED_BYTES_MIN {
        return None;
    }
    let models = asking.call.head.models.iter().map(String::as_bytes);
    let parts = asking.call.prompt_parts().into_iter().map(|part| part.get(..PREFIX_BYTES).unwrap_or(part));
    let account = prefix_hash(std::iter::once(asking.key.account.as_str().as_bytes()));
    Some(StickyKey { account: account.into(), prefix: prefix_hash(models.chain(parts)) })
}

/// Checks that a key may use a model at a provider.
///
/// # Errors
/// Fails with 403 if it may not.
pub fn check_allowed(key: &Key, endpoint: &Endpoint) -> Result<(), GatewayError> {
    let id = &endpoint.model.id;
    if !is_model_allowed(key, id) {
        let message = format!("model '{id}' is not allowed for this API key");
        return Err(GatewayError::NotAllowed { guardrail: Guardrail::ModelNotAllowed, message });
    }
    check_provider(key, endpoint)
}

fn check_provider(key: &Key, endpoint: &Endpoint) -> Result<(), GatewayError> {
    let provider = &endpoint.provider.slug;
    if key.allowed_providers.as_ref().is_some_and(|allowed| !allowed.iter().any(|slug| names::author_of(slug) == *provider)) {
        let message = format!("provider '{provider}' is not allowed for this API key");
        return Err(GatewayError::NotAllowed { guardrail: Guardrail::ProviderNotAllowed, message });
    }
    Ok(())
}

/// Checks the same for a model behind a split: a key that may use the split may use the models behind it.
///
/// # Errors
/// Fails with 403 if it may not.
pub fn check_allowed_by(key: &Key, split: Option<&Split>, endpoint: &Endpoint) -> Result<(), GatewayError> {
    let is_allowed = split.is_some_and(|split| is_model_allowed(key, &split.name.id));
    if is_allowed { check_provider(key, endpoint) } else { check_allowed(key, endpoint) }
}

/// Checks that a key that demands zero data retention gets it.
///
/// # Errors
/// Fails with 404 if it does not.
pub fn check_zdr(key: &Key, endpoint: &Arc<Endpoint>) -> Result<(), GatewayError> {
    if !key.enforce_zdr || endpoint.facts.is_zdr {
        return Ok(());
    }
    let skipped = vec![Skipped { endpoint: Arc::clone(endpoint), reason: Skip::NotZdr }];
    Err(GatewayError::NoEndpoint { models: vec![endpoint.model.id.clone()], skipped })
}

fn is_model_allowed(key: &Key, id: &str) -> bool {
    let Some(allowed) = &key.allowed_models else { return true };
    let name = names::canonical(id);
    allowed.iter().any(|pattern| names::allows(pattern, &name))
}
