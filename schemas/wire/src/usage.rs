//! The usage that a provider reports, as it accumulates over the frames of a stream.

use events::usage::{TokenClass, Tokens};

/// The usage that a provider reports. Reports are cumulative: a later one replaces an earlier one, class by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The token counts in disjoint classes.
    pub tokens: Tokens,
    /// Whether the provider's total differs from the sum of its parts, and no known way of counting explains it. It is a signal for the
    /// operator.
    pub is_inconsistent: bool,
    /// The classes that the report does not speak of.
    pub(crate) omitted: Omitted,
}

/// The parts of a usage that a report leaves out. Only Messages spreads a usage over several frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a class that a report may leave out")]
pub(crate) struct Omitted {
    /// Fresh input.
    pub input: bool,
    pub cache_read: bool,
    /// Everything that was written to a cache.
    pub cache_write: bool,
    /// The lifetimes of the written tokens: all are reported as the shorter one.
    pub cache_lifetimes: bool,
    /// The part of the output that is reasoning.
    pub reasoning: bool,
}

impl Usage {
    /// Creates a complete report.
    #[must_use]
    pub fn complete(tokens: Tokens) -> Self {
        Self { tokens, is_inconsistent: false, omitted: Omitted::default() }
    }

    /// Returns this report over an earlier one: what this one leaves out is taken from there.
    #[must_use]
    pub fn after(mut self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let before = earlier.tokens;
        if self.omitted.input {
            self.tokens.input = before.input;
        }
        if self.omitted.cache_read {
            self.tokens.cache_read = before.cache_read;
        }
        let is_same_write = self.omitted.cache_lifetimes && self.tokens.cache_write() == before.cache_write();
        if self.omitted.cache_write || is_same_write {
            (self.tokens.cache_write_5m, self.tokens.cache_write_1h) = (before.cache_write_5m, before.cache_write_1h);
        }
        if self.omitted.reasoning && before.get(TokenClass::Reasoning) > 0 {
            let reasoning = before.reasoning.min(self.tokens.output);
            (self.tokens.reasoning, self.tokens.output) = (reasoning, self.tokens.output - reasoning);
        }
        self.omitted = Omitted::default();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_report_replaces_only_what_it_says() {
        let first = Usage::complete(Tokens { input: 10, cache_write_5m: 3, cache_write_1h: 4, output: 1, ..Tokens::ZERO });
        let last = Usage {
            tokens: Tokens { cache_write_5m: 7, output: 50, ..Tokens::ZERO },
            is_inconsistent: false,
            omitted: Omitted { input: true, cache_read: true, cache_lifetimes: true, ..Omitted::default() },
        };
        let sum = last.after(Some(first)).tokens;
        assert_eq!((sum.input, sum.cache_write_5m, sum.cache_write_1h, sum.output), (10, 3, 4, 50));
    }
}
