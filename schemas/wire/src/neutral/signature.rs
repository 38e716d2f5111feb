//! Signatures of reasoning: opaque values that must return to their vendor byte for byte, and to no other vendor.

use super::Text;

/// The vendor that can read a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    Anthropic,
    Google,
    OpenAi,
    XAi,
}

/// A signature, or encrypted reasoning, of one vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    pub vendor: Vendor,
    pub data: Text<'a>,
}

/// The prefix of a foreign signature inside a field of another vendor's format.
const WRAPPED: &str = "arouter:";

impl Vendor {
    /// Every vendor.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::Google, Self::OpenAi, Self::XAi];

    /// Returns the name in `reasoning_details[].format` of Chat. Source: OpenRouter's API reference.
    #[must_use]
    pub const fn format(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic-claude-v1",
            Self::Google => "google-gemini-v1",
            Self::OpenAi => "openai-responses-v1",
            Self::XAi => "xai-responses-v1",
        }
    }

    /// Returns the vendor of a name in `reasoning_details[].format`.
    #[must_use]
    pub fn of_format(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.format() == name)
    }
}

impl<'a> Signature<'a> {
    /// Returns the text for a field whose own vendor is `native`: the bare signature of that vendor, or the wrapped one of another.
    #[must_use]
    pub fn wrapped(&self, native: Vendor) -> String {
        if self.vendor == native {
            return self.data.clone().into_owned();
        }
        format!("{WRAPPED}{}:{}", self.vendor.format(), self.data)
    }

    /// Reads a field whose own vendor is `native`: the reverse of [`Self::wrapped`].
    #[must_use]
    pub fn unwrapped(text: Text<'a>, native: Vendor) -> Self {
        let foreign = text.strip_prefix(WRAPPED).and_then(|rest| rest.split_once(':'));
        match foreign.and_then(|(format, data)| Some((Vendor::of_format(format)?, data.to_owned()))) {
            Some((vendor, data)) => Self { vendor, data: data.into() },
            None => Self { vendor: native, data: text },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_signature_survives_every_format() {
        for vendor in Vendor::ALL {
            let signature = Signature { vendor, data: "a:b+/=".into() };
            for native in Vendor::ALL {
                assert_eq!(Signature::unwrapped(signature.wrapped(native).into(), native), signature);
            }
        }
    }
}
