//! The fault storm: every process is killed or stopped again and again while clients ask; nothing is lost, nothing happens twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::json;
use tests::apart::Apart;
use tests::wait::until;
use tests::{Load, Provider, Target, Told};

/// Whom faults hit; gateways as often as all others.
const PARTS: [&str; 8] = ["gateway-0", "ledger", "gateway-1", "projector", "gateway-2", "nats", "gateway-0", "postgres"];
const GATEWAYS: usize = 3;

#[tokio::test]
async fn a_storm_of_faults_loses_nothing_and_charges_nothing_twice() {
    let seconds: u64 = std::env::var_os("AROUTER_TEST_STORM_SECONDS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20);
    let provider = Provider::start().await;
    let mut apart = Apart::start(GATEWAYS, &format!("[spool]\nsegment_bytes = 4194304\n{}", provider.config())).await;
    let target = target(&apart).await;
    let told = Arc::<Told>::default();
    let load = Load::start(&target, &told, 24);
    let since = Instant::now();
    let mut faults = 0_u64;
    while since.elapsed().as_secs() < seconds {
        // A fault every one to two seconds; what varies is who, how and for how long.
        let dice = faults.wrapping_mul(2_654_435_761) >> 7;
        tokio::time::sleep(Duration::from_millis(700 + dice % 700)).await;
        let part = PARTS[faults as usize % PARTS.len()];
        let pid = apart.pid(part).unwrap();
        if dice.is_multiple_of(3) {
            kill_process(pid, Signal::STOP).unwrap();
            tokio::time::sleep(Duration::from_millis(300 + dice % 3_000)).await;
            kill_process(pid, Signal::CONT).unwrap();
        } else {
            let _gone = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        apart.supervise();
        faults += 1;
    }
    load.end().await;
    apart.ready().await;
    until("all credit", || {
        apart.supervise();
        told.all_credit_is_posted(&target)
    })
    .await;
    // A new boot of every gateway takes over what the last one left.
    for number in 0..GATEWAYS {
        apart.kill(&format!("gateway-{number}"));
        apart.run(&format!("gateway-{number}"));
    }
    apart.ready().await;
    apart.spools_are_taken_over().await;
    println!("{} requests reached the provider, {} answers, {faults} faults in {seconds} s", provider.count(), told.answers());
    told.prove(&apart.postgres.url("ledger"), &apart.postgres.url("projector"), &provider).await;
    apart.verify();
}

/// An account with credit and a key that every gateway knows.
async fn target(apart: &Apart) -> Target {
    let (account, management_key) = apart.account(json!(1_000)).await;
    let live_key = apart.key(&management_key, json!({"name": "storm"})).await;
    apart.knows(&live_key).await;
    Target {
        gateways: apart.gateways.clone(),
        http: apart.http.clone(),
        live_key,
        management_key,
        operator_token: "operator".to_owned(),
        account,
    }
}
