//! Five of six providers fail, each in another way, and heal: clients see hardly anything of it, and the books are right.

use std::time::Duration;

use tests::chaos::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_answers_while_five_of_six_providers_fail() {
    let plan = Plan { down: Duration::from_secs(10), healed: Duration::from_secs(5), requests_per_second: 100 };
    let figures = chaos::run(plan).await;
    println!("{figures}");
    figures.check();
    let [p50, _, _] = figures.added;
    assert!(p50 < Duration::from_millis(10), "{figures}");
}
