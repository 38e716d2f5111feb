//! Reasoning and signatures inside the blocks `thinking` and `redacted_thinking`.
//!
//! Anthropic's own values stand there as they are, those of other vendors wrapped. A wrapped `redacted_thinking` is the signature of the
//! text or call that follows. OpenAI and xAI only have encrypted reasoning, which a wrapped `thinking.signature` carries behind its id.

use crate::neutral::{Reasoning, Signature, Text, Vendor};

/// The content of a block `redacted_thinking`.
#[derive(Debug)]
pub enum Redacted<'a> {
    /// Anthropic's encrypted reasoning.
    Reasoning(Reasoning<'a>),
    /// The signature of the next text or call.
    Next(Signature<'a>),
}

/// A signature of a block `thinking`.
#[derive(Debug, PartialEq)]
pub enum Proof<'a> {
    Signature(Signature<'a>),
    /// The encrypted form, and OpenAI's id of the item.
    Encrypted(Signature<'a>, Option<Text<'a>>),
}

/// Reads a signature of a block `thinking`; `None` for an empty one.
pub fn proof(signature: Text<'_>) -> Option<Proof<'_>> {
    if signature.is_empty() {
        return None;
    }
    let signature = Signature::unwrapped(signature, Vendor::Anthropic);
    Some(match signature.vendor {
        Vendor::Anthropic | Vendor::Google => Proof::Signature(signature),
        Vendor::OpenAi | Vendor::XAi => {
            let (id, data) = match signature.data.split_once(':') {
                None => (None, signature.data),
                Some((id, data)) => (Some(id.to_owned()).filter(|id| !id.is_empty()).map(Text::Owned), Text::Owned(data.to_owned())),
            };
            Proof::Encrypted(Signature { vendor: signature.vendor, data }, id)
        }
    })
}

/// Reads a block `thinking`.
pub fn thinking<'a>(text: Text<'a>, signature: Text<'a>) -> Reasoning<'a> {
    let reasoning = Reasoning { text, ..Reasoning::default() };
    match proof(signature) {
        None => reasoning,
        Some(Proof::Signature(signature)) => Reasoning { signature: Some(signature), ..reasoning },
        Some(Proof::Encrypted(encrypted, id)) => {
            Reasoning { is_summary: encrypted.vendor == Vendor::OpenAi, encrypted: Some(encrypted), id, ..reasoning }
        }
    }
}

/// Reads a block `redacted_thinking`.
pub fn redacted(data: Text<'_>) -> Redacted<'_> {
    let data = Signature::unwrapped(data, Vendor::Anthropic);
    match data.vendor {
        Vendor::Anthropic => Redacted::Reasoning(Reasoning { encrypted: Some(data), ..Reasoning::default() }),
        Vendor::Google | Vendor::OpenAi | Vendor::XAi => Redacted::Next(data),
    }
}

/// Returns the signature of a block `thinking` that carries another vendor's encrypted reasoning.
pub fn wrapped(encrypted: &Signature<'_>, id: Option<&str>) -> String {
    let id = id.filter(|id| !id.contains(':')).unwrap_or_default();
    let data = Text::Owned(format!("{id}:{}", encrypted.data));
    Signature { vendor: encrypted.vendor, data }.wrapped(Vendor::Anthropic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_reasoning_of_openai_survives_with_its_id() {
        for id in [None, Some("rs_1")] {
            let encrypted = Signature { vendor: Vendor::OpenAi, data: "gAAA=:x".into() };
            let text = wrapped(&encrypted, id);
            assert!(text.starts_with("arouter:openai-responses-v1:"), "{text}");
            let reasoning = thinking("so".into(), text.into());
            assert_eq!((reasoning.encrypted, reasoning.id.as_deref(), reasoning.signature), (Some(encrypted), id, None));
            assert!(reasoning.is_summary);
        }
    }

    #[test]
    fn own_values_stay_bare_and_empty_ones_are_none() {
        let own = Signature { vendor: Vendor::Anthropic, data: "c2ln".into() };
        assert_eq!(proof("c2ln".into()), Some(Proof::Signature(own.clone())));
        assert_eq!(proof("".into()), None);
        assert!(matches!(redacted("c2ln".into()), Redacted::Reasoning(reasoning) if reasoning.encrypted == Some(own)));
        assert!(matches!(redacted("arouter:google-gemini-v1:s".into()), Redacted::Next(signature) if signature.data == "s"));
    }
}
