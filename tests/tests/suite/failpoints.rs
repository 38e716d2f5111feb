//! The process dies at each named failpoint around the handling of money, under load: nothing is lost, nothing is charged or credited
//! twice.

use std::sync::Arc;

use events::Failpoint;
use tests::wait::until;
use tests::{Acknowledged, Arouter, Load, Provider, Storage};

/// Returns how many passes of a failpoint the process may survive; higher for points that are passed more often.
const fn reach(point: Failpoint) -> u64 {
    match point {
        Failpoint::RequestReserved
        | Failpoint::RequestHeld
        | Failpoint::StartRecorded
        | Failpoint::StartWritten
        | Failpoint::ProviderAnswered
        | Failpoint::EndRecorded
        | Failpoint::EndWritten
        | Failpoint::SpoolHalfWritten => 200,
        Failpoint::ReaderBegun
        | Failpoint::ReaderApplied
        | Failpoint::ReaderMoved
        | Failpoint::ReaderCommitted
        | Failpoint::SpoolSent
        | Failpoint::LeaseSaved
        | Failpoint::LeaseCommitted => 12,
        Failpoint::CreditSaved | Failpoint::CreditCommitted | Failpoint::ControlRecorded | Failpoint::OutboxSent => 4,
        Failpoint::ProgressWritten
        | Failpoint::SegmentMade
        | Failpoint::SegmentForgotten
        | Failpoint::RecoverySettled
        | Failpoint::RecoveryTakenOver
        | Failpoint::SourceClosed => 1,
    }
}

#[tokio::test]
async fn dies_at_every_named_instruction() {
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1000\n[spool]\nsegment_bytes = 262144\n{}", provider.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let rounds: u64 = std::env::var_os("AROUTER_TEST_KILL_ROUNDS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        for (number, point) in (0_u64..).zip(Failpoint::ALL) {
            // Every failpoint is tested on the spool of an earlier boot that died under load.
            let before = provider.count();
            let load = Load::start(&arouter.target(), &acknowledged, 16);
            until("requests in flight", || async { (provider.count() >= before + 32).then_some(()) }).await;
            arouter.kill();
            load.end().await;
            let times = 1 + (round * 7_919 + number * 104_729) % reach(*point);
            if arouter.launch_to_die(*point, times).await {
                let load = Load::start(&arouter.target(), &acknowledged, 16);
                arouter.death(*point).await;
                load.end().await;
            } else {
                arouter.death(*point).await;
            }
            // In every other round nats-server survives, and the next start must find and end it.
            if (round + number).is_multiple_of(2) {
                arouter.kill_nats();
            }
            arouter.launch().await;
        }
    }
    let target = arouter.target();
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
    arouter.settle_and_verify().await;
    println!(
        "{} requests reached the provider, {} answers, {rounds} times each of {} points",
        provider.count(),
        acknowledged.answers(),
        Failpoint::ALL.len()
    );
    arouter.prove(&acknowledged, &provider).await;
    let rebuilt = arouter.command("replay").arg("--into").arg(arouter.data().join("rebuilt")).output().unwrap();
    let texts = [rebuilt.stdout, rebuilt.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(rebuilt.status.success(), "the rebuilt books or reports are others: {}", texts.concat());
}
