//! `make bench-keys`: two gateways with 100,000 keys: the time of a cold start, memory and lookup of a key, and the time after which a
//! change of a key takes effect in both while 1,000 keys change in each second.
//!
//! `BENCH_KEYS` sets the number of keys, `BENCH_CHANGES` the changes a second, `BENCH_SECONDS` their duration (10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::append::Outgoing;
use events::clock::SystemClock;
use events::control::{Key, KeyCreated, RateLimit};
use events::ids::{KeyKind, SystemIds, label, secret_of};
use events::subject::{Stream, subject};
use events::{AccountId, Clock, Draft, Ids, KeyHash, Source};
use gateway::auth::{Directory, KeyEntry};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use tests::standalone::Standalone;
use tokio::task::JoinSet;

use crate::number;

const KEYS: u64 = 100_000;
const CHANGES_PER_SECOND: u64 = 1_000;
/// The accounts that the keys belong to. Changes of one account are made one after the other.
const ACCOUNTS: u64 = 64;
/// The callers that change keys at the same time.
const CALLERS: u64 = 64;
/// One of so many changes is watched at both gateways.
const WATCHED: u64 = 50;
/// The longest wait for a change to take effect, before the measurement fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn secret(number: u64) -> String {
    let mut bits = [7; 32];
    bits[..8].copy_from_slice(&number.to_be_bytes());
    secret_of(KeyKind::Regular, bits)
}

fn key(number: u64, account: &AccountId, now_us: i64) -> Key {
    let secret = secret(number);
    Key {
        hash: KeyHash::of_secret(&secret),
        account: account.clone(),
        kind: KeyKind::Regular,
        name: format!("key {number}"),
        label: label(&secret),
        disabled: false,
        limit_nanos: None,
        limit_reset: None,
        allowed_models: None,
        allowed_providers: None,
        rate_limit: RateLimit::default(),
        enforce_zdr: false,
        include_byok_in_limit: false,
        created_by: None,
        creating_call: None,
        expires_at_us: None,
        created_at_us: now_us,
        updated_at_us: None,
        revision: 1,
    }
}

pub async fn run() {
    let keys = number("BENCH_KEYS", KEYS);
    lookup(keys);
    let mut standalone = Standalone::start(2, "[limits]\nkey_changes_per_second = 100000\n").await;
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        accounts.push(standalone.account(json!(1)).await);
    }
    let empty_mb = memory_mb(&standalone);
    fill(&standalone, keys, &accounts).await;
    let last = secret(keys - 1);
    standalone.knows(&last).await;
    // The second gateway starts again on its folder, and then with an empty one.
    for empties in [false, true] {
        standalone.kill("gateway-1");
        if empties {
            std::fs::remove_dir_all(standalone.folder_of("gateway-1")).expect("its folder");
        }
        let since = Instant::now();
        standalone.run("gateway-1");
        while !is_accepted(&standalone.http, &standalone.gateways[1], &last).await {
            assert!(since.elapsed() < Duration::from_mins(2), "the gateway does not know its keys");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let from = if empties { "the log" } else { "its folder" };
        println!("start with {keys} keys from {from:<12} {:>8.2} s          target <= 5", since.elapsed().as_secs_f64());
        let bytes = (memory_mb(&standalone) - empty_mb) * 1_048_576.0 / keys as f64;
        println!("memory of a key after it                 {bytes:>8.0} bytes      target <= 1024");
    }
    changes(&standalone, keys, &accounts).await;
}

/// Measures the lookup of a random key by its hash, and by its secret.
fn lookup(keys: u64) {
    let (directory, account) = (Directory::default(), AccountId::from("acc_00000000000000000000000000000001"));
    let all: Vec<(String, Key)> = (0..keys).map(|number| (secret(number), key(number, &account, 0))).collect();
    for (_, key) in &all {
        directory.put_key(KeyEntry { key: key.clone(), deleted: false });
    }
    let order: Vec<usize> = (0..all.len()).map(|index| index.wrapping_mul(7_919) % all.len()).collect();
    let since = Instant::now();
    let found = order.iter().filter(|index| directory.find(&all[**index].1.hash).is_some()).count();
    let by_hash = since.elapsed();
    let since = Instant::now();
    let found = found + order.iter().filter(|index| directory.find_secret(&all[**index].0).is_some()).count();
    let by_secret = since.elapsed();
    assert_eq!(found, 2 * all.len(), "every key is found");
    let each = |total: Duration| total.as_nanos() as f64 / keys as f64;
    println!(
        "lookup among {keys} keys                 {:>8.0} ns         target <= 1000 (with the hash of the secret {:.0} ns)",
        each(by_hash),
        each(by_secret)
    );
}

/// Puts the keys into the log, as a gateway would.
async fn fill(standalone: &Standalone, keys: u64, accounts: &[(String, String)]) {
    let log = standalone.log("gateway").await;
    let (ids, clock, source) = (SystemIds, SystemClock, Source::gateway("bench", "boot"));
    let mut batch = Vec::new();
    for (number, (account, _)) in (0..keys).zip(accounts.iter().cycle()) {
        let created = KeyCreated { key: key(number, &account.as_str().into(), clock.now_us()) };
        let (id, of) = (ids.uuid(&clock), created.key.hash.to_string());
        let draft = Draft { id, time_us: clock.now_us(), account, subject: &of, traceparent: None, payload: &created };
        let mut payload = Vec::new();
        draft.write(&source, number + 1, &mut payload).expect("an event");
        batch.push(Outgoing {
            stream: Stream::Control,
            subject: subject::<KeyCreated>(account, &of),
            id: id.to_string(),
            payload: payload.into(),
        });
        if batch.len() == 1_000 || number + 1 == keys {
            log.send(std::mem::take(&mut batch)).await.expect("stored");
        }
    }
}

/// Returns the resident memory of the second gateway.
fn memory_mb(standalone: &Standalone) -> f64 {
    let pid = standalone.pid("gateway-1").expect("it runs").as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1_024.0
}

async fn is_accepted(http: &Client, gateway: &str, secret: &str) -> bool {
    // The cheapest request with a key: there is no such model.
    let answer = http.get(format!("{gateway}/v1/models/none")).bearer_auth(secret).send().await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::NOT_FOUND)
}

/// Disables keys at the first gateway, and measures the time from each answer to the key's refusal by both.
async fn changes(standalone: &Standalone, keys: u64, accounts: &[(String, String)]) {
    let rate = number("BENCH_CHANGES", CHANGES_PER_SECOND);
    let changed = (rate * number("BENCH_SECONDS", 10)).min(keys);
    let gateways: Arc<[String]> = standalone.gateways.clone().into();
    let since = Instant::now();
    let mut callers = JoinSet::new();
    for (caller, (_, management)) in (0..CALLERS).zip(accounts.iter().cycle()) {
        let (http, gateways, management) = (standalone.http.clone(), Arc::clone(&gateways), management.clone());
        callers.spawn(async move {
            let mut watchers = JoinSet::new();
            for number in (caller..changed).step_by(usize::try_from(CALLERS).expect("few")) {
                tokio::time::sleep_until((since + Duration::from_secs(number) / u32::try_from(rate).expect("a rate")).into()).await;
                let secret = secret(number);
                let url = format!("{}/api/v1/keys/{}", gateways[0], KeyHash::of_secret(&secret));
                let answer = http.request(Method::PATCH, url).bearer_auth(&management).body(r#"{"disabled":true}"#).send().await;
                assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
                if number % WATCHED == 0 {
                    watchers.spawn(refused(http.clone(), Arc::clone(&gateways), secret, Instant::now()));
                }
            }
            let done = since.elapsed();
            (done, watchers.join_all().await)
        });
    }
    let (mut last, mut delays) = (Duration::ZERO, Vec::new());
    for (done, watched) in callers.join_all().await {
        last = last.max(done);
        delays.extend(watched);
    }
    delays.sort_unstable();
    let ms = |quantile: f64| delays[((delays.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e3;
    println!("changes of keys                          {:>8.0} a second   asked for {rate}", changed as f64 / last.as_secs_f64());
    println!(
        "in effect in both gateways: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms of {} watched   target <= 100",
        ms(0.5),
        ms(0.99),
        ms(1.0),
        delays.len()
    );
}

/// Returns the time from `since` until both gateways refuse the key.
async fn refused(http: Client, gateways: Arc<[String]>, secret: String, since: Instant) -> Duration {
    for gateway in gateways.iter() {
        while is_accepted(&http, gateway, &secret).await {
            assert!(since.elapsed() < PATIENCE, "a disabled key is still accepted");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    since.elapsed()
}
