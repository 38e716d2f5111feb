//! `make bench-chaos`: five providers fail, each in another way, and heal; the figures tell what clients saw.
//!
//! `CHAOS_SECONDS` is the time for which they fail (300), `CHAOS_RATE` the number of requests a second (200).

use std::time::Duration;

use tests::chaos::{self, Plan};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark has no configuration file")]
    let number = |name: &str, usual: u32| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let down = Duration::from_secs(number("CHAOS_SECONDS", 300).into());
    let plan = Plan { down, healed: Duration::from_secs(10), requests_per_second: number("CHAOS_RATE", 200) };
    let figures = chaos::run(plan).await;
    println!("{figures}");
    figures.failed.iter().take(5).for_each(|failure| println!("{failure}"));
    figures.check();
}
