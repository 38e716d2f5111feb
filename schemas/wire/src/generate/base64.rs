//! Base64 in both alphabets: Google's SDKs send the URL-safe one. Source: RFC 4648.

use crate::neutral::Text;

const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns bytes in the standard alphabet, padded.
pub fn encode(bytes: &[u8]) -> String {
    let letter = |group: u32, shift: u32| {
        let at = usize::try_from((group >> shift) & 63).unwrap_or(0);
        ALPHABET.get(at).copied().map_or('A', char::from)
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(letter(group, 18));
        text.push(letter(group, 12));
        text.push(if chunk.len() > 1 { letter(group, 6) } else { '=' });
        text.push(if chunk.len() > 2 { letter(group, 0) } else { '=' });
    }
    text
}

/// Reads a text in either alphabet, padded or not; `None` if it is neither.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut group = 0_u32;
        for at in 0..4 {
            group = group << 6 | chunk.get(at).map_or(Some(0), |digit| value(*digit))?;
        }
        let [_, first, second, third] = group.to_be_bytes();
        match chunk.len() {
            4 => bytes.extend([first, second, third]),
            3 => bytes.extend([first, second]),
            2 => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Returns a text in the standard alphabet, padded; unchanged if it is that already.
pub fn standard(text: Text<'_>) -> Text<'_> {
    if text.len().is_multiple_of(4) && !text.contains(['-', '_']) {
        return text;
    }
    let mut standard: String = text
        .chars()
        .map(|letter| {
            if letter == '-' {
                '+'
            } else if letter == '_' {
                '/'
            } else {
                letter
            }
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    Text::Owned(standard)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(standard("-_-_".into()), "+/+/");
        assert_eq!(standard("Zg".into()), "Zg==");
        assert_eq!(decode("a b"), None);
        assert_eq!(decode("A"), None);
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(&text), Some(bytes.clone()));
            let safe = text.replace('+', "-").replace('/', "_");
            prop_assert_eq!(decode(safe.trim_end_matches('=')), Some(bytes));
            prop_assert_eq!(standard(safe.trim_end_matches('=').into()), text);
        }
    }
}
