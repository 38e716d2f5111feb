//! How much a request used: what the provider reports, else what was relayed.

use events::{Provenance, Tokens};
use wire::openai::response::Said;

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
    pub const UNKNOWN: Self = Self {
        tokens: Tokens {
            input: 0,
            cache_read: 0,
            cache_write_5m: 0,
            cache_write_1h: 0,
            output: 0,
            reasoning: 0,
            audio_input: 0,
            audio_output: 0,
            image_input: 0,
            image_output: 0,
        },
        provenance: Provenance::Unknown,
    };
}

/// Counts an answer while it is relayed.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of the prompt.
    prompt_bytes: u64,
    reported: Option<Tokens>,
    pieces: u64,
    text_bytes: u64,
    /// The last finish reason.
    pub finish_reason: Option<String>,
    /// The tier that the provider named.
    pub service_tier: Option<String>,
}

impl Meter {
    /// For an answer to a prompt of that many bytes.
    #[must_use]
    pub fn new(prompt_bytes: u64) -> Self {
        Self { prompt_bytes, ..Self::default() }
    }

    /// Notes a piece of the answer. Usage is cumulative in this format: the last one holds.
    pub fn note(&mut self, said: &Said, usage: Option<Tokens>, service_tier: Option<String>) {
        if said.text_bytes > 0 {
            self.pieces += 1;
            self.text_bytes = self.text_bytes.saturating_add(said.text_bytes);
        }
        if said.finish_reason.is_some() {
            self.finish_reason.clone_from(&said.finish_reason);
        }
        self.reported = usage.or(self.reported);
        self.service_tier = service_tier.or(self.service_tier.take());
    }

    /// Whether anything of the answer was said.
    #[must_use]
    pub const fn has_said(&self) -> bool {
        self.pieces > 0
    }

    /// What was relayed so far, by our own count: a token for each piece at least, and for every four bytes.
    #[must_use]
    pub fn relayed(&self) -> Tokens {
        if self.pieces == 0 {
            return Tokens::default();
        }
        let output = self.text_bytes.div_ceil(BYTES_PER_TOKEN).max(self.pieces);
        Tokens { input: self.prompt_bytes.div_ceil(BYTES_PER_TOKEN), output, ..Tokens::default() }
    }

    /// What the request used: as reported, else as relayed.
    #[must_use]
    pub fn measured(&self) -> Measured {
        match self.reported {
            Some(tokens) => Measured { tokens, provenance: Provenance::Reported },
            None if self.pieces > 0 => Measured { tokens: self.relayed(), provenance: Provenance::Measured },
            None => Measured::UNKNOWN,
        }
    }
}
