//! A model with weighted variants: one name whose requests are spread over several models.

use std::collections::BTreeSet;
use std::sync::Arc;

use events::request::Experiment;

use super::names;
use super::table::{ModelName, RouteError, Routes};
use crate::config::SplitConfig;

/// The most variants of a split.
const VARIANTS_MAX: usize = 16;

/// A model with weighted variants.
#[derive(Debug)]
pub struct Split {
    pub name: Arc<ModelName>,
    /// The variants in the order of the catalogue; at least one.
    pub variants: Vec<Variant>,
}

/// A variant of a split.
#[derive(Debug)]
pub struct Variant {
    /// The name in events.
    pub name: String,
    /// The id of the model that serves it.
    pub model: String,
    weight: u32,
}

impl Split {
    /// Builds a split over the models of a table.
    ///
    /// # Errors
    /// Fails if a variant's model is not served, if names repeat, or if no variant has a weight.
    pub fn try_new(config: &SplitConfig, routes: &Routes) -> Result<Self, RouteError> {
        let wrong = |problem: String| RouteError::Split { split: config.id.clone(), problem };
        if config.id.is_empty() || routes.find(&config.id).is_some() {
            return Err(wrong("a model has this name: give the split another one".to_owned()));
        }
        if config.split.is_empty() || config.split.len() > VARIANTS_MAX {
            return Err(wrong(format!("it must have 1 to {VARIANTS_MAX} variants")));
        }
        let (mut seen, mut variants) = (BTreeSet::new(), Vec::new());
        for variant in &config.split {
            let model = routes.find(&variant.model).ok_or_else(|| wrong(format!("there is no model {:?}", variant.model)))?;
            let is_new = seen.insert(format!("model {}", model.name.id)) && seen.insert(format!("name {}", variant.name));
            if !is_new || variant.name.is_empty() {
                return Err(wrong("each variant needs a name and a model of its own".to_owned()));
            }
            variants.push(Variant { name: variant.name.clone(), model: model.name.id.clone(), weight: variant.weight });
        }
        if variants.iter().all(|variant| variant.weight == 0) {
            return Err(wrong("one of its weights must be above 0".to_owned()));
        }
        let id = if config.id.contains('/') { config.id.clone() } else { names::canonical(&config.id) };
        Ok(Self { name: ModelName::new(id), variants })
    }

    /// Returns the variants in the order of trial: the one that `draw` chooses by weight, then the others in the order of the catalogue.
    /// Those of weight 0 only stand in for others.
    #[must_use]
    pub fn order(&self, draw: u64) -> Vec<&Variant> {
        let total: u64 = self.variants.iter().map(|variant| u64::from(variant.weight)).sum();
        let mut left = draw % total.max(1);
        let chosen = self.variants.iter().position(|variant| {
            let weight = u64::from(variant.weight);
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        });
        let mut order: Vec<&Variant> = self.variants.iter().collect();
        if let Some(front) = order.get_mut(..=chosen.unwrap_or(0)) {
            front.rotate_right(1);
        }
        order
    }

    /// Returns the variant that a model serves, as events name it; `None` if it serves none.
    #[must_use]
    pub fn experiment(&self, model: &str) -> Option<Experiment> {
        let variant = self.variants.iter().find(|variant| variant.model == model)?;
        Some(Experiment { model: self.name.id.clone(), variant: variant.name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[u32]) -> Split {
        let variant = |(place, weight): (usize, &u32)| Variant { name: format!("v{place}"), model: format!("a/m{place}"), weight: *weight };
        Split { name: ModelName::new("acme/chat".to_owned()), variants: weights.iter().enumerate().map(variant).collect() }
    }

    #[test]
    fn each_variant_is_drawn_by_its_weight_and_the_others_stand_in_for_it() {
        let split = split(&[90, 0, 10]);
        let mut drawn = [0; 3];
        for draw in 0..1_000 {
            let order = split.order(draw);
            let place = |variant: &Variant| variant.name[1..].parse::<usize>().unwrap();
            drawn[place(order[0])] += 1;
            let mut all: Vec<usize> = order.into_iter().map(place).collect();
            assert!(all[1..].is_sorted(), "{all:?}");
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
        assert_eq!(drawn, [900, 0, 100]);
        assert_eq!(split.experiment("a/m2").unwrap().variant, "v2");
    }
}
