//! Figures as people read them.

/// Returns a decimal number with a comma after each thousand of its whole part: `-1234567.50` becomes `-1,234,567.50`.
#[must_use]
pub fn grouped(decimal: &str) -> String {
    let (whole, part) = decimal.split_at(decimal.find('.').unwrap_or(decimal.len()));
    let mut text = String::with_capacity(decimal.len() + whole.len() / 3);
    for (place, character) in whole.char_indices() {
        let is_after_digit = text.ends_with(|before: char| before.is_ascii_digit());
        if is_after_digit && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(character);
    }
    text + part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (decimal, shown) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-100", "-100"),
            ("-1234567.500000000", "-1,234,567.500000000"),
            ("123456.000000001", "123,456.000000001"),
            ("", ""),
        ] {
            assert_eq!(grouped(decimal), shown);
        }
    }
}
