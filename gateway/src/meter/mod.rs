//! Measurement of the tokens that a request used: as reported by the provider, else as counted while relaying.

use events::{Provenance, Tokens};
use wire::answer::Delta;
use wire::call::Format;
use wire::usage::Usage;

/// The estimated number of text bytes per token, used if the provider does not count.
const BYTES_PER_TOKEN: u64 = 4;

/// The token counts of a request, with their provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    pub tokens: Tokens,
    pub provenance: Provenance,
}

impl Measured {
    /// The measurement of a request whose usage is unknown.
    pub const UNKNOWN: Self = Self { tokens: Tokens::ZERO, provenance: Provenance::Unknown };
}

/// Estimates the tokens of a text from its bytes.
#[must_use]
pub const fn tokens_of(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(BYTES_PER_TOKEN)
}

/// A counter for an answer while it is relayed.
#[derive(Debug, Default)]
pub struct Meter {
    /// The estimated number of prompt tokens.
    prompt_tokens: u64,
    /// Whether the answer has no tokens, like vectors.
    is_without_output: bool,
    reported: Option<Usage>,
    pieces: u64,
    text_bytes: u64,
    /// The last finish reason.
    pub finish_reason: Option<String>,
    /// The service tier that the provider named.
    pub service_tier: Option<String>,
}

impl Meter {
    /// Creates a meter for the answer to a prompt of about so many tokens.
    #[must_use]
    pub fn new(prompt_tokens: u64) -> Self {
        Self { prompt_tokens, ..Self::default() }
    }

    /// Creates a meter for an answer of a format to a prompt of about so many tokens.
    #[must_use]
    pub fn of(format: Format, prompt_tokens: u64) -> Self {
        Self { is_without_output: matches!(format, Format::Embeddings(_)), ..Self::new(prompt_tokens) }
    }

    /// Notes a piece of the answer. Usage is cumulative in every format, so a later report replaces an earlier one.
    pub fn note(&mut self, delta: &Delta, usage: Option<Usage>, service_tier: Option<String>) {
        if delta.text_bytes > 0 {
            self.pieces += 1;
            self.text_bytes = self.text_bytes.saturating_add(delta.text_bytes);
        }
        if delta.finish_reason.is_some() {
            self.finish_reason.clone_from(&delta.finish_reason);
        }
        self.reported = usage.map(|usage| usage.after(self.reported)).or(self.reported);
        self.service_tier = service_tier.or(self.service_tier.take());
    }

    /// Returns whether the provider reported a total that differs from the sum of its parts.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.reported.is_some_and(|usage| usage.is_inconsistent)
    }

    /// Returns the tokens relayed so far by the gateway's own count: at least one for each piece, and one for every four bytes.
    #[must_use]
    pub fn relayed(&self) -> Tokens {
        if self.pieces == 0 { Tokens::default() } else { self.counted() }
    }

    fn counted(&self) -> Tokens {
        let output = if self.is_without_output { 0 } else { tokens_of(self.text_bytes).max(self.pieces) };
        Tokens { input: self.prompt_tokens, output, ..Tokens::default() }
    }

    /// Returns the usage of an answered request: as reported, else as counted while relaying.
    #[must_use]
    pub fn measured(&self) -> Measured {
        match self.reported {
            Some(Usage { tokens, .. }) => Measured { tokens, provenance: Provenance::Reported },
            None if self.pieces > 0 => Measured { tokens: self.counted(), provenance: Provenance::Measured },
            None => Measured::UNKNOWN,
        }
    }

    /// Returns the usage of a request whose answer was abandoned: as reported, else the estimated prompt and the relayed part.
    #[must_use]
    pub fn abandoned(&self) -> Measured {
        let estimated = || Measured { tokens: self.counted(), provenance: Provenance::Estimated };
        self.reported.map_or_else(estimated, |Usage { tokens, .. }| Measured { tokens, provenance: Provenance::Reported })
    }
}
