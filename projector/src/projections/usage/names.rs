//! The texts in the keys of a batch's rows, as numbers.

use std::collections::HashMap;

/// The number of a text in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(usize);

/// The different texts of a batch. The key of a row has several texts of dozens of bytes that begin alike, and a charge is in dozens of
/// rows: rows are found by numbers in a fraction of the time.
#[derive(Default)]
pub struct Names<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, Name>,
}

impl<'a> Names<'a> {
    /// Returns the number of a text, which is the same each time.
    pub fn number(&mut self, text: &'a str) -> Name {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            Name(self.texts.len() - 1)
        })
    }

    /// Returns the text of a number.
    #[must_use]
    pub fn text(&self, Name(number): Name) -> &'a str {
        self.texts.get(number).copied().unwrap_or_default()
    }

    /// Returns the places of all numbers in the order of their texts.
    #[must_use]
    pub fn places(&self) -> Places {
        let mut ordered: Vec<usize> = (0..self.texts.len()).collect();
        ordered.sort_unstable_by_key(|number| self.texts.get(*number));
        let mut places = vec![0; ordered.len()];
        for (place, number) in (0..).zip(ordered) {
            places[number] = place;
        }
        Places(places)
    }
}

/// The place of each number in the order of the texts.
pub struct Places(Vec<i64>);

impl Places {
    #[must_use]
    pub fn of(&self, Name(number): Name) -> i64 {
        self.0.get(number).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_texts_and_places_are_in_their_order() {
        let mut names = Names::default();
        let numbers = ["b", "", "a", "b", "ab"].map(|text| names.number(text));
        assert_eq!(numbers.map(|number| names.text(number)), ["b", "", "a", "b", "ab"]);
        let places = names.places();
        assert_eq!(numbers.map(|number| places.of(number)), [3, 0, 1, 3, 2]);
    }
}
