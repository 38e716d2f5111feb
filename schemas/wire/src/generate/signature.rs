//! Thought signatures. SDKs decode the field as bytes, so that a foreign signature is wrapped in base64 too.

use super::base64;
use crate::neutral::{Signature, Text, Vendor};

/// The beginning of a wrapped signature: `arouter` in base64, as far as whole letters go.
const WRAPPED: &str = "YXJvdXRl";
/// The mark of encrypted reasoning, which shares the field with signatures.
const ENCRYPTED: &str = "arouter-encrypted:";

/// The content of a `thoughtSignature`.
#[derive(Debug, PartialEq)]
pub enum Signed<'a> {
    Signature(Signature<'a>),
    /// Encrypted reasoning of another vendor.
    Encrypted(Signature<'a>),
}

/// Reads a `thoughtSignature`.
pub fn read(text: Text<'_>) -> Signed<'_> {
    let wrapped = if text.starts_with(WRAPPED) { base64::decode(&text).and_then(|bytes| String::from_utf8(bytes).ok()) } else { None };
    let foreign = wrapped.and_then(|wrapped| {
        let (encrypted, wrapped) = match wrapped.strip_prefix(ENCRYPTED) {
            Some(rest) => (true, rest.to_owned()),
            None => (false, wrapped),
        };
        let signature = Signature::unwrapped(wrapped.into(), Vendor::Google);
        (signature.vendor != Vendor::Google).then_some((encrypted, signature))
    });
    match foreign {
        None => Signed::Signature(Signature { vendor: Vendor::Google, data: text }),
        Some((false, signature)) => Signed::Signature(signature),
        Some((true, encrypted)) => Signed::Encrypted(encrypted),
    }
}

/// Returns Google's own signature for a request; a foreign one is left out.
pub fn native<'s>(signature: Option<&'s Signature<'_>>) -> Option<Text<'s>> {
    signature.filter(|signature| signature.vendor == Vendor::Google).map(|signature| Text::Borrowed(signature.data.as_ref()))
}

/// Returns the field of an answer: Google's signature as it is, a foreign one wrapped.
pub fn wrapped<'s>(signature: &'s Signature<'_>) -> Text<'s> {
    match signature.vendor {
        Vendor::Google => Text::Borrowed(signature.data.as_ref()),
        Vendor::Anthropic | Vendor::OpenAi | Vendor::XAi => base64::encode(signature.wrapped(Vendor::Google).as_bytes()).into(),
    }
}

/// Returns the field of an answer for encrypted reasoning.
pub fn encrypted<'s>(signature: &'s Signature<'_>) -> Text<'s> {
    match signature.vendor {
        Vendor::Google => Text::Borrowed(signature.data.as_ref()),
        Vendor::Anthropic | Vendor::OpenAi | Vendor::XAi => {
            base64::encode(format!("{ENCRYPTED}{}", signature.wrapped(Vendor::Google)).as_bytes()).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_return_to_their_vendor() {
        for vendor in Vendor::ALL {
            let signature = Signature { vendor, data: "a:b+/=?>".into() };
            assert_eq!(read(wrapped(&signature)), Signed::Signature(signature.clone()));
            let safe = wrapped(&signature).replace('+', "-").replace('/', "_");
            if vendor != Vendor::Google {
                assert_eq!(read(safe.into()), Signed::Signature(signature.clone()), "as an SDK sends it back");
                assert_eq!(read(encrypted(&signature)), Signed::Encrypted(signature.clone()));
            }
            assert_eq!(native(Some(&signature)).is_some(), vendor == Vendor::Google);
        }
        assert!(matches!(read("YXJvdXRlciE=".into()), Signed::Signature(Signature { vendor: Vendor::Google, .. })));
    }
}
