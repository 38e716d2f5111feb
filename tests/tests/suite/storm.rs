//! The fault storm: every process is killed or stopped repeatedly under load; nothing is lost, and nothing happens twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Signal, kill_process};
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Acknowledged, Load, Provider};

/// The processes that faults hit.
const PARTS: [&str; 8] = ["gateway-0", "gateway-1", "gateway-2", "ledger", "ledger-1", "projector", "nats", "postgres"];
const GATEWAYS: usize = 3;

#[tokio::test]
async fn a_storm_of_faults_loses_nothing_and_charges_nothing_twice() {
    let seconds: u64 = std::env::var_os("AROUTER_TEST_STORM_SECONDS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20);
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(GATEWAYS, &format!("[spool]\nsegment_bytes = 4194304\n{}", provider.config())).await;
    standalone.run("ledger-1");
    let target = standalone.target(4).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let load = Load::start(&target, &acknowledged, 24);
    let mut dice = StdRng::seed_from_u64(seconds);
    let mut faults: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let since = Instant::now();
    while since.elapsed().as_secs() < seconds || faults.len() < 2 * PARTS.len() {
        // A fault occurs every one to two seconds. Every part is both killed and stopped, in random order.
        tokio::time::sleep(Duration::from_millis(dice.random_range(700..1_400))).await;
        let fewest = |part: &&str, how: &&str| faults.get(&(*part, *how)).copied().unwrap_or(0);
        let all = PARTS.iter().flat_map(|part| ["kill", "stop"].map(|how| (part, how)));
        let (part, how) = all.min_by_key(|(part, how)| (fewest(part, how), dice.random::<u32>())).unwrap();
        let pid = standalone.pid(part).unwrap();
        if how == "stop" {
            // A part that has just died and is not running yet cannot be stopped, so the next fault is chosen.
            if kill_process(pid, Signal::STOP).is_err() {
                standalone.supervise();
                continue;
            }
            tokio::time::sleep(Duration::from_millis(dice.random_range(300..3_000))).await;
            let _gone = kill_process(pid, Signal::CONT);
            standalone.postgres.resume();
        } else {
            let _gone = kill_process(pid, Signal::KILL);
        }
        *faults.entry((*part, how)).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        standalone.supervise();
    }
    load.end().await;
    standalone.ready().await;
    until("all credit", || {
        standalone.supervise();
        acknowledged.all_credit_is_posted(&target)
    })
    .await;
    // A new boot of every gateway takes over the spool of the previous boot.
    for number in 0..GATEWAYS {
        standalone.kill(&format!("gateway-{number}"));
        standalone.run(&format!("gateway-{number}"));
    }
    standalone.ready().await;
    standalone.spools_are_taken_over().await;
    println!(
        "{} requests reached the provider, {} answers, {} s: {faults:?}",
        provider.count(),
        acknowledged.answers(),
        since.elapsed().as_secs()
    );
    assert!(acknowledged.answers() > 1_000, "{} answers are too few to prove anything", acknowledged.answers());
    acknowledged.prove(&standalone.postgres.url("ledger"), &standalone.postgres.url("projector"), &provider).await;
    standalone.verify();
    standalone.is_rebuilt_the_same();
}
