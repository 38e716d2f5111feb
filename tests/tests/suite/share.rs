//! Two ledgers on one database share the partitions of the log, and take over from each other within ten seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use sqlx::Row;
use tests::load::read;
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Acknowledged, Load, Provider};

/// The time within which a dead ledger's partitions must be taken over.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(10);

/// Returns the number of partitions of each ledger.
async fn shares(standalone: &Standalone) -> BTreeMap<String, i64> {
    let rows = read(
        &standalone.postgres.url("ledger"),
        "SELECT COALESCE(m.node, '') AS node, COUNT(*) AS partitions FROM partitions p LEFT JOIN members m ON m.member = p.owner GROUP BY 1",
    )
    .await;
    rows.iter().map(|row| (row.get("node"), row.get("partitions"))).collect()
}

async fn are(standalone: &Standalone, wanted: &[(&str, i64)]) -> Duration {
    let wanted: BTreeMap<String, i64> = wanted.iter().map(|(node, partitions)| ((*node).to_owned(), *partitions)).collect();
    let since = Instant::now();
    until("the partitions to be shared", || async { (shares(standalone).await == wanted).then_some(()) }).await;
    since.elapsed()
}

/// Returns the number of charges in the books.
async fn charges(standalone: &Standalone) -> i64 {
    let rows = read(&standalone.postgres.url("ledger"), "SELECT COUNT(*) AS charges FROM transactions WHERE kind = 'usage'").await;
    rows[0].get("charges")
}

#[tokio::test]
async fn ledgers_share_the_partitions_and_take_over_from_each_other() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(1, &provider.config()).await;
    are(&standalone, &[("ledger", 64)]).await;
    let target = standalone.target(8).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let load = Load::start(&target, &acknowledged, 8);
    standalone.run("ledger-1");
    are(&standalone, &[("ledger", 32), ("ledger-1", 32)]).await;

    standalone.kill("ledger");
    let killed = are(&standalone, &[("ledger-1", 64)]).await;
    assert!(killed < TAKEN_OVER_WITHIN, "it took {killed:?} to take over from a ledger that was killed");
    let before = charges(&standalone).await;
    until("more charges", || async { (charges(&standalone).await > before + 100).then_some(()) }).await;

    // A ledger that starts on the machine of a dead one need not wait for a timeout: the living ledger releases half of the partitions to
    // it.
    standalone.run("ledger");
    are(&standalone, &[("ledger", 32), ("ledger-1", 32)]).await;
    let paused = standalone.pid("ledger-1").unwrap();
    kill_process(paused, Signal::STOP).unwrap();
    let stopped = are(&standalone, &[("ledger", 64)]).await;
    assert!(stopped < TAKEN_OVER_WITHIN, "it took {stopped:?} to take over from a ledger that was stopped");
    let before = charges(&standalone).await;
    until("more charges", || async { (charges(&standalone).await > before + 100).then_some(()) }).await;
    // The resumed ledger believes that it still owns its partitions. It learns that it does not, and gets a share again.
    kill_process(paused, Signal::CONT).unwrap();
    are(&standalone, &[("ledger", 32), ("ledger-1", 32)]).await;

    load.end().await;
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
    until("all charges", || async { (charges(&standalone).await as usize >= acknowledged.answers()).then_some(()) }).await;
    println!("taken over after {killed:?} (killed) and {stopped:?} (stopped); {} answers", acknowledged.answers());
    // The last requests that the provider received are posted after the gateway has restarted.
    standalone.kill("gateway-0");
    standalone.run("gateway-0");
    standalone.ready().await;
    standalone.spools_are_taken_over().await;
    acknowledged.prove(&standalone.postgres.url("ledger"), &standalone.postgres.url("projector"), &provider).await;
    standalone.verify();
}
