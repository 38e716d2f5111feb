//! How much a request used: what the provider reports, else what was relayed.

use events::{Provenance, Tokens};
use wire::answer::{Delta, Usage};

/// Bytes of text that make about one token, when the provider does not count.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request used and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Token counts.
    pub tokens: Tokens,
    /// How they are known.
    pub provenance: Provenance,
}

impl Measured {
    /// Nobody knows.
    pub const UNKNOWN: Self = Self { tokens: Tokens::ZERO, provenance: Provenance::Unknown };
}

/// Tokens of so many bytes of text, when nobody counts them.
#[must_use]
pub const fn tokens_of(text_bytes: u64) -> u64 {
    text_bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Counts an answer while it is relayed.
#[derive(Debug, Default)]
pub struct Meter {
    /// Tokens of the prompt, estimated.
    prompt_tokens: u64,
    reported: Option<Usage>,
    pieces: u64,
    text_bytes: u64,
    /// The last finish reason.
    pub finish_reason: Option<String>,
    /// The tier that the provider named.
    pub service_tier: Option<String>,
}

impl Meter {
    /// For an answer to a prompt of about so many tokens.
    #[must_use]
    pub fn new(prompt_tokens: u64) -> Self {
        Self { prompt_tokens, ..Self::default() }
    }

    /// Notes a piece of the answer. Usage is cumulative in this format: the last one holds.
    pub fn note(&mut self, delta: &Delta, usage: Option<Usage>, service_tier: Option<String>) {
        if delta.text_bytes > 0 {
            self.pieces += 1;
            self.text_bytes = self.text_bytes.saturating_add(delta.text_bytes);
        }
        if delta.finish_reason.is_some() {
            self.finish_reason.clone_from(&delta.finish_reason);
        }
        self.reported = usage.or(self.reported);
        self.service_tier = service_tier.or(self.service_tier.take());
    }

    /// Whether the provider reported a total that is not what its parts sum to.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.reported.is_some_and(|usage| usage.is_inconsistent)
    }

    /// The tokens that were relayed so far, by our own count: one for each piece at least, and one for every four bytes.
    #[must_use]
    pub fn relayed(&self) -> Tokens {
        if self.pieces == 0 { Tokens::default() } else { self.counted() }
    }

    fn counted(&self) -> Tokens {
        Tokens { input: self.prompt_tokens, output: tokens_of(self.text_bytes).max(self.pieces), ..Tokens::default() }
    }

    /// The use of a request that was answered: as reported, else as relayed.
    #[must_use]
    pub fn measured(&self) -> Measured {
        match self.reported {
            Some(Usage { tokens, .. }) => Measured { tokens, provenance: Provenance::Reported },
            None if self.pieces > 0 => Measured { tokens: self.counted(), provenance: Provenance::Measured },
            None => Measured::UNKNOWN,
        }
    }

    /// The use of a request that was sent and whose answer nobody waited for: as reported, else the prompt and what was relayed.
    #[must_use]
    pub fn abandoned(&self) -> Measured {
        let estimated = || Measured { tokens: self.counted(), provenance: Provenance::Estimated };
        self.reported.map_or_else(estimated, |Usage { tokens, .. }| Measured { tokens, provenance: Provenance::Reported })
    }
}
