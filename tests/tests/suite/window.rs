//! A key's daily limit while the day turns, over several gateways: the limit of each day is spent, and not a nano-USD more.

use std::time::Duration;

use events::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::Row;
use tests::Provider;
use tests::arouter::JsonValue;
use tests::load::read;
use tests::standalone::Standalone;
use tests::wait::until;
use tokio::task::JoinSet;

const DAY_US: i64 = 86_400_000_000;
/// The time before the turn of the day at which the processes start.
const BEFORE_US: i64 = 30_000_000;
/// The time for which a gateway may repeat a denial of the previous day.
const DENIAL_LASTS_US: i64 = 1_000_000;
const GATEWAYS: usize = 8;

#[tokio::test]
async fn a_daily_limit_holds_on_both_sides_of_midnight_over_eight_gateways() {
    let provider = Provider::start().await;
    // The cost of 5 completion tokens at 20,000 USD per million is 0.10 USD a request.
    let dear = "[[models]]\nid = \"test/dear\"\nprovider = \"test\"\nprompt_usd_per_mtok = \"0\"\ncompletion_usd_per_mtok = \"20000\"\ncontext_length = 100000\n";
    let now_us = SystemClock.now_us();
    let shift = (DAY_US - BEFORE_US - now_us.rem_euclid(DAY_US)) / 1_000_000;
    let midnight_us = now_us - now_us.rem_euclid(DAY_US) + DAY_US - shift * 1_000_000;
    let shifted = vec![(events::clock::SHIFT_VARIABLE, shift.to_string())];
    let standalone = Standalone::start_with(GATEWAYS, &format!("{}{dear}", provider.config()), shifted).await;
    let (_, management) = standalone.account(json!(1_000)).await;
    let key = standalone.key(&management, json!({"name": "daily", "limit": 5, "limit_reset": "daily"})).await;
    standalone.knows(&key).await;
    assert!(SystemClock.now_us() < midnight_us, "the processes took too long to start for a day to turn under them");
    let mut racers = JoinSet::new();
    for number in 0..200 {
        let (http, base, key) = (standalone.http.clone(), standalone.gateways[number % GATEWAYS].clone(), key.clone());
        racers.spawn(async move {
            let body = json!({"model": "test/dear", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).to_string();
            let mut paid = 0;
            loop {
                let asked_us = SystemClock.now_us();
                let answer =
                    http.post(format!("{base}/v1/chat/completions")).bearer_auth(&key).body(body.clone()).send().await.expect("an answer");
                let (status, value) = (answer.status(), answer.json_value().await.expect("JSON"));
                match (status, value["error"]["code"].as_str()) {
                    (StatusCode::OK, _) => paid += 1,
                    // The new day's limit is spent too, so the test is over.
                    (StatusCode::PAYMENT_REQUIRED, Some("key_limit")) if asked_us > midnight_us + DENIAL_LASTS_US => return paid,
                    (StatusCode::PAYMENT_REQUIRED, Some("key_limit" | "in_flight_budget")) => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    other => unreachable!("{other:?}: {value}"),
                }
            }
        });
    }
    let paid: i64 =
        tokio::time::timeout(Duration::from_mins(2), racers.join_all()).await.expect("everybody gets an answer").into_iter().sum();
    let url = standalone.postgres.url("ledger");
    let spent = until("all postings", || async {
        let rows = read(&url, "SELECT spent_nanos FROM key_windows WHERE period = 'daily' AND spent_nanos > 0 ORDER BY starts_at_us").await;
        let spent: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        (spent.iter().sum::<i64>() == paid * 100_000_000).then_some(spent)
    })
    .await;
    println!("{paid} requests: {spent:?} nano-USD a day");
    assert_eq!(spent.len(), 2, "requests were made on both days: {spent:?}");
    assert!(spent.iter().all(|day| (4_900_000_000..=5_000_000_000).contains(day)), "{spent:?}");
    standalone.verify();
}
