//! `make bench-chaos`: five providers fail, each in another way, and heal; the figures tell what clients saw.
//!
//! `CHAOS_SECONDS` is the time for which they fail (300), `CHAOS_RATE` the number of requests a second (200).

use std::time::Duration;

use tests::chaos::{self, Plan};

use crate::number;

pub async fn run() {
    let down = Duration::from_secs(number("CHAOS_SECONDS", 300));
    let plan =
        Plan { down, healed: Duration::from_secs(10), requests_per_second: u32::try_from(number("CHAOS_RATE", 200)).expect("a rate") };
    let figures = chaos::run(plan).await;
    println!("{figures}");
    figures.failed.iter().take(5).for_each(|failure| println!("{failure}"));
    figures.check();
}
