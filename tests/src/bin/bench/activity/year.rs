//! A generated year of usage: 40 models, 200 keys, 5,000 users and 20 applications of one account. An application has keys of its own.
//! The same numbers give the same events.

use eventlog::Record;
use events::request::{Format, Outcome};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Nanos, Provenance, Source, Tokens, UnitPrices};

pub const ACCOUNT: &str = "acc_00000000000000000000000000000001";
const YEAR_US: i64 = 365 * 86_400_000_000;

/// A year of events up to a time.
pub struct Year {
    pub events: u64,
    pub now_us: i64,
}

/// Returns a number that looks random (splitmix64).
const fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Year {
    /// Returns an event of the log.
    pub fn record(&self, number: u64) -> Record {
        let usage = self.usage(number);
        let request = usage.request.to_string();
        let id = uuid(number);
        let draft = Draft { id, time_us: usage.admitted_at_us, account: ACCOUNT, subject: &request, traceparent: None, payload: &usage };
        let mut payload = Vec::new();
        draft.write(&Source::gateway("bench", "boot"), number + 1, &mut payload).expect("an event");
        Record { sequence: number + 1, id: id.to_string(), payload: payload.into() }
    }

    fn usage(&self, number: u64) -> UsageRecorded {
        let random = scrambled(number);
        let pick = |shift: u32, of: u64| (random >> shift) % of;
        let (model, key) = (pick(0, 40), pick(8, 200));
        // Most are near the shortest time, and a few take a hundred times as long.
        let latency_us = 80_000 + 8_000_000 / (1 + pick(40, 97));
        let since_us = YEAR_US as f64 * (number as f64 / self.events as f64);
        let admitted_at_us = self.now_us - YEAR_US + since_us as i64;
        UsageRecorded {
            request: format!("gen-{}-{random:024x}", admitted_at_us / 1_000_000).as_str().into(),
            key: format!("{key:064x}").as_str().into(),
            lease: "01920000-0000-7000-8000-000000000002".into(),
            model: format!("author/model-{model}"),
            provider: format!("provider-{}", model % 8),
            user: Some(format!("user-{}", pick(20, 5_000))),
            app: Some(format!("app-{}", key % 20)),
            experiment: None,
            format: Format::Chat,
            streamed: true,
            outcome: if pick(44, 50) == 0 { Outcome::Failed } else { Outcome::Finished },
            status: Some(200),
            finish_reason: Some("stop".to_owned()),
            tokens: Tokens { input: 500 + pick(5, 900), cache_read: 100, output: 180, reasoning: 20, ..Tokens::default() },
            provenance: Provenance::Reported,
            price_version: "2026-01-01".to_owned(),
            unit_prices: UnitPrices { input: 2_500_000, output: 15_000_000, ..UnitPrices::default() },
            cost_status: CostStatus::Priced,
            cost_nanos: Nanos(1_000_000 + pick(3, 9_000_000) as i64),
            beyond_hold_nanos: Nanos::ZERO,
            is_byok: false,
            byok: None,
            admitted_at_us,
            latency_us,
            ttft_us: Some(latency_us / 3),
            attempts: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

fn uuid(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u64_pair(0x0192_0000_0000_7000 | (number >> 62), 0x8000_0000_0000_0000 | number)
}
