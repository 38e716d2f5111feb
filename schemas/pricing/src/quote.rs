//! The upper bound before a request and the exact cost after it. Both use integers, `i128` inside, and round once: the bound up, the cost
//! half up.

use events::Nanos;
use events::usage::{TokenClass, Tokens, UnitPrices};

use crate::fee::{Fee, WHOLE};
use crate::price::{ModelPrices, ServiceTier};

/// Pico-USD per nano-USD.
const PICOS_PER_NANO: i128 = 1_000;

/// The upper bound of a request's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The bound for the prompt and the request itself, in pico-USD.
    fixed_picos: i128,
    /// The bound for each completion token, in pico-USD.
    per_output_picos: i128,
    /// The most prompt tokens.
    pub prompt_tokens_max: u64,
    /// The most completion tokens, over all choices.
    pub output_tokens_max: u64,
}

impl Quote {
    /// Computes the bound for a prompt of at most `prompt_tokens_max` tokens and a response of at most `output_tokens_max`.
    #[must_use]
    pub fn new(prices: &ModelPrices, tier: ServiceTier, prompt_tokens_max: u64, output_tokens_max: u64) -> Self {
        let mut quote = Self { fixed_picos: 0, per_output_picos: 0, prompt_tokens_max, output_tokens_max };
        for row in prices.possible(prompt_tokens_max, tier) {
            let fixed = i128::from(prompt_tokens_max) * i128::from(dearest(row, true)) + i128::from(row.request);
            quote.fixed_picos = quote.fixed_picos.max(fixed);
            quote.per_output_picos = quote.per_output_picos.max(i128::from(dearest(row, false)));
        }
        quote
    }

    /// Returns the bound for the whole request.
    #[must_use]
    pub fn max_cost(&self) -> Nanos {
        self.with_output(self.output_tokens_max)
    }

    /// Returns the bound with at most that many completion tokens, rounded up.
    #[must_use]
    pub fn with_output(&self, output_tokens: u64) -> Nanos {
        rounded_up(self.fixed_picos + i128::from(output_tokens) * self.per_output_picos)
    }

    /// Returns the bound of the fee for the request.
    #[must_use]
    pub fn of_fee(&self, fee: Fee) -> Self {
        let share = |picos: i128| (picos.saturating_mul(fee.share()).saturating_add(WHOLE - 1)) / WHOLE;
        Self { fixed_picos: share(self.fixed_picos), per_output_picos: share(self.per_output_picos), ..*self }
    }

    /// Returns how many completion tokens an amount covers, at most `output_tokens_max`; `None` if it covers not even one.
    #[must_use]
    pub fn output_for(&self, amount: Nanos) -> Option<u64> {
        let left = i128::from(amount.0) * PICOS_PER_NANO - self.fixed_picos;
        if left < self.per_output_picos {
            return None;
        }
        if self.per_output_picos == 0 {
            return Some(self.output_tokens_max);
        }
        let tokens = u64::try_from(left / self.per_output_picos).unwrap_or(u64::MAX);
        Some(tokens.min(self.output_tokens_max))
    }
}

/// Returns the highest price per token of the prompt, or of the completion.
fn dearest(prices: &UnitPrices, is_prompt: bool) -> i64 {
    TokenClass::ALL.into_iter().filter(|class| class.is_prompt() == is_prompt).map(|class| prices.get(class)).fold(0, i64::max)
}

/// Computes the cost of used tokens at these prices, rounded half up.
#[must_use]
pub fn cost(tokens: &Tokens, prices: &UnitPrices) -> Nanos {
    half_up(picos(tokens, prices), PICOS_PER_NANO)
}

/// Computes the fee for used tokens at these prices: a share of the list price, rounded half up.
#[must_use]
pub fn fee(tokens: &Tokens, prices: &UnitPrices, fee: Fee) -> Nanos {
    half_up(picos(tokens, prices).saturating_mul(fee.share()), PICOS_PER_NANO * WHOLE)
}

fn picos(tokens: &Tokens, prices: &UnitPrices) -> i128 {
    let of_class = |class| i128::from(tokens.get(class)) * i128::from(prices.get(class));
    TokenClass::ALL.into_iter().map(of_class).fold(i128::from(prices.request), i128::saturating_add)
}

fn half_up(value: i128, divisor: i128) -> Nanos {
    nanos(value.saturating_add(divisor / 2) / divisor)
}

fn rounded_up(picos: i128) -> Nanos {
    nanos((picos + PICOS_PER_NANO - 1) / PICOS_PER_NANO)
}

fn nanos(value: i128) -> Nanos {
    Nanos(i64::try_from(value).unwrap_or(i64::MAX))
}
