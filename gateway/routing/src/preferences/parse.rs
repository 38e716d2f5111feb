//! The JSON of the object `provider`. A null is an absent field; an unknown field or a wrong type is an error that names the field.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Cutoffs, DataCollection, Fallbacks, MaxPrice, Partition, Preferences, SortBy};
use crate::facts::Quantization;
use crate::provider::ProviderPattern;

/// A field that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{field}' {problem}.")]
pub struct PreferenceError {
    /// The path of the field, such as `provider.sort.by`.
    pub field: String,
    /// The problem, such as `must be a string`.
    pub problem: String,
}

/// Most providers in one list.
const PROVIDERS_MAX: usize = 256;
/// Most characters of a caller's name in an error.
const NAME_SHOWN_MAX: usize = 64;
/// Decimal places of the intermediate form, so that numbers computed with floats are rounded and not refused.
const FINE_PLACES: i32 = 24;

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// A field's name, path and JSON.
struct Field<'a> {
    name: String,
    path: String,
    json: &'a str,
}

impl Preferences {
    /// Parses the JSON of the object `provider`. Prices are USD per million tokens, and USD per request and per image.
    ///
    /// # Errors
    /// Fails with the first field that is not understood.
    pub fn parse(json: &str) -> Result<Self, PreferenceError> {
        let root = Field { name: "provider".to_owned(), path: "provider".to_owned(), json };
        let mut preferences = Self::default();
        for field in root.children()? {
            preferences.set(&field)?;
        }
        Ok(preferences)
    }

    fn set(&mut self, field: &Field<'_>) -> Result<(), PreferenceError> {
        match field.name.as_str() {
            "order" => self.order = field.providers()?,
            "only" => self.only = Some(field.providers()?),
            "ignore" => self.ignore = field.providers()?,
            "allow_fallbacks" => self.fallbacks = if field.boolean()? { Fallbacks::Allowed } else { Fallbacks::Off },
            "require_parameters" => self.require_parameters = field.boolean()?,
            "zdr" => self.zdr = field.boolean()?,
            "enforce_distillable_text" => self.enforce_distillable_text = field.boolean()?,
            "data_collection" => {
                self.data_collection = field.one_of(&[("allow", DataCollection::Allow), ("deny", DataCollection::Deny)])?;
            }
            "quantizations" => {
                let named = |name: &String| {
                    Quantization::named(name).ok_or_else(|| {
                        let shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
                        field.error(format!("has the unknown quantization '{shown}'"))
                    })
                };
                self.quantizations = Some(field.strings()?.iter().map(named).collect::<Result<_, _>>()?);
            }
            "sort" => self.set_sort(field)?,
            "preferred_min_throughput" => self.preferred_min_throughput_milli = field.cutoffs(3)?,
            "preferred_max_latency" => self.preferred_max_latency_us = field.cutoffs(6)?,
            "max_price" => self.max_price = field.max_price()?,
            _ => return Err(field.unknown()),
        }
        Ok(())
    }

    fn set_sort(&mut self, field: &Field<'_>) -> Result<(), PreferenceError> {
        let by = |field: &Field<'_>| {
            field.one_of(&[("price", SortBy::Price), ("throughput", SortBy::Throughput), ("latency", SortBy::Latency)]).map(Some)
        };
        if !field.is_object() {
            self.sort = by(field)?;
            return Ok(());
        }
        for child in field.children()? {
            match child.name.as_str() {
                "by" => self.sort = by(&child)?,
                "partition" => self.partition = child.one_of(&[("model", Partition::Model), ("none", Partition::None)])?,
                _ => return Err(child.unknown()),
            }
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    fn error(&self, problem: impl Into<String>) -> PreferenceError {
        PreferenceError { field: self.path.clone(), problem: problem.into() }
    }

    fn unknown(&self) -> PreferenceError {
        self.error("is not a known field")
    }

    fn is_object(&self) -> bool {
        self.json.trim_start().starts_with('{')
    }

    /// Returns the fields of an object that are not null.
    fn children(&self) -> Result<Vec<Field<'a>>, PreferenceError> {
        let fields: Fields<'a> = serde_json::from_str(self.json).map_err(|_| self.error("must be an object"))?;
        let child = |(name, value): (String, &'a RawValue)| {
            let shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
            Field { path: format!("{}.{shown}", self.path), name, json: value.get() }
        };
        Ok(fields.into_iter().filter(|(_, value)| value.get() != "null").map(child).collect())
    }

    fn boolean(&self) -> Result<bool, PreferenceError> {
        serde_json::from_str(self.json).map_err(|_| self.error("must be true or false"))
    }

    fn strings(&self) -> Result<Vec<String>, PreferenceError> {
        let strings: Vec<String> = serde_json::from_str(self.json).map_err(|_| self.error("must be an array of strings"))?;
        if strings.len() > PROVIDERS_MAX {
            return Err(self.error(format!("must have at most {PROVIDERS_MAX} items")));
        }
        Ok(strings)
    }

    fn providers(&self) -> Result<Vec<ProviderPattern>, PreferenceError> {
        Ok(self.strings()?.iter().map(|name| ProviderPattern::new(name)).collect())
    }

    fn one_of<T: Copy>(&self, values: &[(&str, T)]) -> Result<T, PreferenceError> {
        let text: Option<String> = serde_json::from_str(self.json).ok();
        let value = text.and_then(|text| values.iter().find(|(name, _)| *name == text)).map(|(_, value)| *value);
        value.ok_or_else(|| {
            let names: Vec<String> = values.iter().map(|(name, _)| format!("'{name}'")).collect();
            self.error(format!("must be one of {}", names.join(", ")))
        })
    }

    /// Returns `number × 10^places`, rounded half up. The number may be a decimal string.
    fn scaled(&self, places: i32) -> Result<u64, PreferenceError> {
        let text = serde_json::from_str::<String>(self.json).unwrap_or_else(|_| self.json.trim().to_owned());
        let wrong = || self.error("must be a number that is not negative");
        let fine = events::money::scaled(text.trim(), FINE_PLACES).map_err(|_| wrong())?;
        let unit = 10_i128.pow(FINE_PLACES.saturating_sub(places).unsigned_abs());
        let rounded = fine.checked_add(unit / 2).ok_or_else(wrong)? / unit;
        u64::try_from(rounded).ok().filter(|_| fine >= 0).ok_or_else(wrong)
    }

    fn cutoffs(&self, places: i32) -> Result<Cutoffs, PreferenceError> {
        let mut cutoffs = Cutoffs::default();
        if !self.is_object() {
            cutoffs.p50 = Some(self.scaled(places)?);
            return Ok(cutoffs);
        }
        for child in self.children()? {
            let place = match child.name.as_str() {
                "p50" => &mut cutoffs.p50,
                "p75" => &mut cutoffs.p75,
                "p90" => &mut cutoffs.p90,
                "p99" => &mut cutoffs.p99,
                _ => return Err(child.unknown()),
            };
            *place = Some(child.scaled(places)?);
        }
        Ok(cutoffs)
    }

    fn max_price(&self) -> Result<MaxPrice, PreferenceError> {
        let mut max = MaxPrice::default();
        for child in self.children()? {
            let (place, places) = match child.name.as_str() {
                "prompt" => (&mut max.prompt_picos, 6),
                "completion" => (&mut max.completion_picos, 6),
                "request" => (&mut max.request_picos, 12),
                "image" => (&mut max.image_picos, 12),
                _ => return Err(child.unknown()),
            };
            *place = Some(child.scaled(places)?);
        }
        Ok(max)
    }
}
