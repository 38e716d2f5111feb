//! Checks of the texts and lists that callers submit and the system stores: bounded, and without control characters.

use super::body::wrong;
use crate::error::GatewayError;

const NAME_CHARS_MAX: usize = 256;
const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// The maximum bytes of an id that a caller supplies.
const ID_BYTES_MAX: usize = 128;

/// Returns whether a text is free of control characters, which could cause trouble in a database or a terminal.
#[must_use]
pub fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Checks a name: 1 to 256 characters.
///
/// # Errors
/// Returns 400 if it is empty, too long, or has control characters.
pub fn name(name: String) -> Result<String, GatewayError> {
    let is_right = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && is_clean(&name);
    if is_right { Ok(name) } else { Err(wrong("name", "it must have 1 to 256 characters, and no control characters")) }
}

/// Checks a human-readable description.
///
/// # Errors
/// Returns 400 if it is too long or has control characters.
pub fn description(text: String) -> Result<String, GatewayError> {
    let is_right = text.chars().count() <= DESCRIPTION_CHARS_MAX && is_clean(&text);
    if is_right { Ok(text) } else { Err(wrong("description", "it must have at most 1000 characters, and no control characters")) }
}

/// Checks an id that a caller supplies to make a repeated call harmless.
///
/// # Errors
/// Returns 400 unless it has 1 to 128 visible ASCII characters.
pub fn id(field: &'static str, id: String) -> Result<String, GatewayError> {
    let is_right = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_right { Ok(id) } else { Err(wrong(field, "it must have 1 to 128 visible ASCII characters")) }
}

/// Checks a list against the maximum number of entries and the maximum bytes of each.
///
/// # Errors
/// Returns 400 if it has more entries, or if one is not a valid name.
pub fn list(field: &'static str, list: Vec<String>, (entries_max, bytes_max): (usize, usize)) -> Result<Vec<String>, GatewayError> {
    let is_name = |entry: &String| (1..=bytes_max).contains(&entry.len()) && is_clean(entry) && !entry.contains(['"', '\\']);
    if list.len() <= entries_max && list.iter().all(is_name) {
        return Ok(list);
    }
    Err(wrong(field, &format!("it must have at most {entries_max} names of 1 to {bytes_max} bytes, without control characters and quotes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_kept_is_taken() {
        assert!(name("Büro 7".to_owned()).is_ok());
        for bad in [String::new(), "a\0b".to_owned(), "a\nb".to_owned(), "\u{7f}".to_owned(), "n".repeat(257)] {
            assert!(name(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(id("id", "credit-1".to_owned()).is_ok() && id("id", "a b".to_owned()).is_err() && id("id", "i".repeat(129)).is_err());
        assert!(description("d".repeat(1_000)).is_ok() && description("d".repeat(1_001)).is_err());
        assert!(list("l", vec!["a/*".to_owned(); 3], (3, 3)).is_ok());
        assert!(list("l", vec!["a".to_owned(); 4], (3, 3)).is_err() && list("l", vec!["abcd".to_owned()], (3, 3)).is_err());
    }
}
