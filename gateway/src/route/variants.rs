//! Names with variants: the model that a name means, and the endpoints of it that a variant leaves.

use std::sync::Arc;

use routing::names::{Variant, Variants, nearest, split};
use wire::call::Format;

use super::table::{Endpoint, Model, Routes};
use crate::error::GatewayError;

/// The capability of an endpoint that searches the web by itself.
const SEARCHES: &str = "web_search";

impl Routes {
    /// Returns a model by its name with or without variants, in any order. A name that is listed with a suffix is a model of its own.
    ///
    /// # Errors
    /// Fails with 400 for an unknown model or variant, or for a variant that no endpoint of the model has.
    pub fn resolve(&self, format: Format, name: &str) -> Result<(&Arc<Model>, Variants), GatewayError> {
        let (found, variants) = looked_up(name, |name| self.find_for(format, name));
        let model = found.ok_or_else(|| self.unknown(format, name))?;
        for variant in Variant::ALL.into_iter().filter(|variant| variants.has(*variant)) {
            if !model.endpoints.iter().any(|endpoint| leaves(variant, endpoint, longest(model))) {
                let message = format!("The model '{name}' does not exist: {}.", lack(variant));
                return Err(GatewayError::BadRequest { message, param: Some("model".into()) });
            }
        }
        Ok((model, variants))
    }

    /// Returns whether a name asks for a model with reasoning, by a variant that is no model of its own.
    #[must_use]
    pub fn asks_for_reasoning(&self, format: Format, name: &str) -> bool {
        name.contains(':') && looked_up(name, |name| self.find_for(format, name)).1.has(Variant::Thinking)
    }

    fn unknown(&self, format: Format, name: &str) -> GatewayError {
        if let Some((base, suffix)) = split(name).0.rsplit_once(':')
            && self.find_for(format, split(base).0).is_some()
        {
            let known: Vec<String> = Variant::ALL.iter().map(|variant| format!(":{}", variant.as_str())).collect();
            let message =
                format!("The model '{name}' does not exist: there is no variant ':{suffix}'; the variants are {}.", known.join(", "));
            return GatewayError::BadRequest { message, param: Some("model".into()) };
        }
        let ids = self.all().map(|model| model.name.id.as_str()).chain(self.splits().map(|split| split.name.id.as_str()));
        GatewayError::UnknownModel { name: name.to_owned(), nearest: nearest(name, ids).map(str::to_owned) }
    }
}

/// Looks a name up: as it is, then without its variants but with one of those that may be listed, then without all of them.
pub fn looked_up<T>(name: &str, find: impl Fn(&str) -> Option<T>) -> (Option<T>, Variants) {
    if let Some(found) = find(name) {
        return (Some(found), Variants::default());
    }
    let (base, variants) = split(name);
    for variant in Variant::ALL.into_iter().filter(|variant| variants.has(*variant)) {
        if let Some(found) = find(&format!("{base}:{}", variant.as_str())) {
            let others = Variant::ALL.into_iter().filter(|other| variants.has(*other) && *other != variant);
            return (Some(found), others.fold(Variants::default(), Variants::with));
        }
    }
    (find(base), variants)
}

/// Returns the endpoints of a model that its variants leave.
pub fn left(model: &Model, variants: Variants) -> impl Iterator<Item = &Arc<Endpoint>> {
    let is_left = move |endpoint: &&Arc<Endpoint>| {
        Variant::ALL.into_iter().all(|variant| !variants.has(variant) || leaves(variant, endpoint, longest(model)))
    };
    model.endpoints.iter().filter(is_left)
}

/// Returns whether a variant leaves an endpoint to a request.
fn leaves(variant: Variant, endpoint: &Endpoint, longest: u64) -> bool {
    match variant {
        Variant::Nitro | Variant::Floor => true,
        Variant::Free => endpoint.is_free(),
        // What nobody knows is tried.
        Variant::Thinking => endpoint.facts.supports("reasoning") != Some(false),
        Variant::Extended => endpoint.context_length >= longest,
        Variant::Online => endpoint.facts.supports(SEARCHES) == Some(true),
    }
}

fn longest(model: &Model) -> u64 {
    model.endpoints.iter().map(|endpoint| endpoint.context_length).max().unwrap_or_default()
}

/// Returns the reason why a variant leaves no endpoint.
const fn lack(variant: Variant) -> &'static str {
    match variant {
        Variant::Nitro | Variant::Floor | Variant::Extended => "no provider serves it",
        Variant::Free => "the model has no free instance",
        Variant::Thinking => "the model does not reason",
        Variant::Online => "web search is not available: the gateway searches nothing; ask a model that searches by its own tools",
    }
}
