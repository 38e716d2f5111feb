//! Money: text converts to nano-USD and back exactly, a quote is never below a cost, and the affordable amount stays within the limit.
#![no_main]

use events::usage::Tokens;
use events::Nanos;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pricing::price::PriceRow;
use pricing::{ModelPrices, Quote, ServiceTier, cost};

#[derive(Arbitrary, Debug)]
struct Input {
    text: String,
    nanos: i64,
    prices: [String; 4],
    above: u64,
    counts: [u32; 10],
    amount: i64,
}

fuzz_target!(|input: Input| {
    if let Ok(amount) = Nanos::from_usd(&input.text) {
        assert_eq!(Nanos::from_usd(&amount.to_decimals()), Ok(amount), "{:?}", input.text);
    }
    let amount = Nanos(input.nanos);
    assert_eq!(Nanos::from_usd(&amount.to_decimals()), Ok(amount));
    assert_eq!(Nanos::from_usd(amount.to_json().get()), Ok(amount));
    let [prompt, completion, cached, long] = input.prices;
    let base = PriceRow { prompt, completion, cache_read: Some(cached), ..PriceRow::default() };
    let above = PriceRow { prompt: long.clone(), completion: long, above_prompt_tokens: input.above, ..PriceRow::default() };
    let Ok(prices) = ModelPrices::try_new(&[base, above]) else { return };
    let n = input.counts.map(u64::from);
    let tokens = Tokens {
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
    };
    let quote = Quote::new(&prices, ServiceTier::Default, tokens.prompt(), tokens.completion());
    assert!(cost(&tokens, prices.at(tokens.prompt(), ServiceTier::Default)) <= quote.max_cost());
    if let Some(affordable) = quote.output_for(Nanos(input.amount)) {
        assert!(quote.with_output(affordable).0 <= input.amount);
    }
});
