//! Quotes and costs against exact rationals: costs are exact to the nano-USD, and the quote is never below the cost.

use events::usage::{Tokens, UnitPrices};
use num_bigint::BigInt;
use num_rational::BigRational;
use pricing::price::PriceRow;
use pricing::{ModelPrices, Quote, ServiceTier, cost};
use proptest::prelude::*;

fn tokens() -> impl Strategy<Value = Tokens> {
    prop::array::uniform10(0_u64..2_000_000).prop_map(|n| Tokens {
        input: n[0],
        cache_read: n[1],
        cache_write_5m: n[2],
        cache_write_1h: n[3],
        output: n[4],
        reasoning: n[5],
        audio_input: n[6],
        audio_output: n[7],
        image_input: n[8],
        image_output: n[9],
    })
}

/// Generates prices of up to 1,000 USD per million tokens, in whole pico-USD.
fn row() -> impl Strategy<Value = PriceRow> {
    prop::array::uniform11(0_i64..1_000_000_000).prop_map(|picos| {
        let text = |pico: i64| format!("0.{pico:012}");
        PriceRow {
            prompt: text(picos[0]),
            completion: text(picos[1]),
            cache_read: Some(text(picos[2])),
            cache_write_5m: Some(text(picos[3])),
            cache_write_1h: Some(text(picos[4])),
            reasoning: Some(text(picos[5])),
            audio_input: Some(text(picos[6])),
            audio_output: Some(text(picos[7])),
            image_input: Some(text(picos[8])),
            image_output: Some(text(picos[9])),
            request: Some(text(picos[10])),
            ..PriceRow::default()
        }
    })
}

/// Computes the cost in nano-USD as a rational number, rounded half up.
fn exact(tokens: &Tokens, prices: &UnitPrices) -> BigInt {
    let classes = [
        (tokens.input, prices.input),
        (tokens.cache_read, prices.cache_read),
        (tokens.cache_write_5m, prices.cache_write_5m),
        (tokens.cache_write_1h, prices.cache_write_1h),
        (tokens.output, prices.output),
        (tokens.reasoning, prices.reasoning),
        (tokens.audio_input, prices.audio_input),
        (tokens.audio_output, prices.audio_output),
        (tokens.image_input, prices.image_input),
        (tokens.image_output, prices.image_output),
        (1, prices.request),
    ];
    let usd_per_pico = BigRational::new(BigInt::from(1), BigInt::from(10).pow(12));
    let usd: BigRational =
        classes.iter().map(|(count, pico)| BigRational::from(BigInt::from(*count) * BigInt::from(*pico)) * &usd_per_pico).sum();
    let half = BigRational::new(BigInt::from(1), BigInt::from(2));
    (usd * BigRational::from(BigInt::from(10).pow(9)) + half).floor().to_integer()
}

proptest! {
    #[test]
    fn cost_is_exact_to_the_nano(tokens in tokens(), row in row()) {
        let prices = ModelPrices::try_new(&[row])?;
        let unit = prices.at(tokens.prompt(), ServiceTier::Default);
        prop_assert_eq!(BigInt::from(cost(&tokens, unit).0), exact(&tokens, unit));
    }

    #[test]
    fn cost_never_exceeds_the_quote(tokens in tokens(), base in row(), long in row(), above in 1_u64..4_000_000) {
        let long = PriceRow { above_prompt_tokens: above, ..long };
        let prices = ModelPrices::try_new(&[base, long])?;
        let quote = Quote::new(&prices, ServiceTier::Default, tokens.prompt(), tokens.completion());
        prop_assert!(cost(&tokens, prices.at(tokens.prompt(), ServiceTier::Default)) <= quote.max_cost());
    }

    #[test]
    fn what_is_affordable_is_within_the_amount(row in row(), prompt in 0_u64..100_000, cap in 1_u64..100_000, amount in 0_i64..10_000_000_000) {
        let prices = ModelPrices::try_new(&[row])?;
        let quote = Quote::new(&prices, ServiceTier::Default, prompt, cap);
        match quote.output_for(events::Nanos(amount)) {
            Some(tokens) => {
                prop_assert!(quote.with_output(tokens).0 <= amount);
                prop_assert!(tokens == cap || quote.with_output(tokens + 1).0 > amount);
            }
            None => prop_assert!(quote.with_output(1).0 > amount),
        }
    }
}
