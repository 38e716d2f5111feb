//! PostgreSQL fails over to a standby that is behind, under load. Ledgers and projector stop before they decide anything on it, and the
//! missing rows are restored from the log. The second test keeps the standby unpromoted, or lets the server hang.

use std::sync::Arc;

use eventlog::Store;
use rustix::process::Signal;
use sqlx::Row;
use tests::load::read;
use tests::postgres::Postgres;
use tests::standalone::Standalone;
use tests::wait::until;
use tests::{Acknowledged, Arouter, Load, Provider, Storage};

/// A query for the facts that are in the log too.
const FACTS: &str =
    "SELECT sequence, event_id, payload FROM outbox WHERE sequence <= (SELECT published FROM outbox_state WHERE one = 1) ORDER BY sequence";

/// Returns the ledger's facts, in order.
async fn facts(standalone: &Standalone) -> Vec<(i64, String, String)> {
    let rows = read(&standalone.postgres.url("ledger"), FACTS).await;
    rows.iter().map(|row| (row.get("sequence"), row.get("event_id"), row.get("payload"))).collect()
}

/// Waits until all charges are in the books and all facts are published.
async fn quiet(standalone: &Standalone, acknowledged: &Acknowledged) {
    until("all charges in the books, and all facts in the log", || async {
        let charges = read(&standalone.postgres.url("ledger"), "SELECT COUNT(*) AS charges FROM transactions WHERE kind = 'usage'").await;
        let waiting = read(&standalone.postgres.url("ledger"), "SELECT written - published AS waiting FROM outbox_state").await;
        let charges = charges.first()?.get::<i64, _>("charges");
        (usize::try_from(charges).ok()? >= acknowledged.answers() && waiting.first()?.get::<i64, _>("waiting") == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_promoted_standby_lacks_comes_back_from_the_log_before_anything_is_decided() {
    let provider = Provider::start().await;
    let mut standalone = Standalone::start(2, &provider.config()).await;
    standalone.run("ledger-1");
    let target = standalone.target(4).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let load = Load::start(&target, &acknowledged, 8);
    until("some answers", || async { (acknowledged.answers() > 200).then_some(()) }).await;
    standalone.postgres.copy();
    until("more answers", || async { (acknowledged.answers() > 1_000).then_some(()) }).await;
    load.end().await;
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
    quiet(&standalone, &acknowledged).await;
    let before = facts(&standalone).await;

    // The gateways continue with the leases that they have. No credit is posted and no keys are created, because the last of these
    // commands would not be in the log yet.
    let load = Load::of_requests(&target, &acknowledged, 8);
    standalone.postgres.fail_over();
    for part in ["ledger", "ledger-1", "projector"] {
        until("the end of those who used the old one", || {
            let has_ended = !standalone.runs(part);
            async move { has_ended.then_some(()) }
        })
        .await;
        let output = standalone.log_of(part);
        assert!(output.contains("the database has lost what this process decided on"), "{part}: {output}");
    }
    assert!(facts(&standalone).await.len() < before.len(), "the standby was behind");
    standalone.supervise();
    standalone.ready().await;
    let answers = acknowledged.answers();
    until("answers behind the failover", || async { (acknowledged.answers() > answers + 500).then_some(()) }).await;
    load.end().await;
    quiet(&standalone, &acknowledged).await;
    let after = facts(&standalone).await;
    assert_eq!(after.get(..before.len()), Some(before.as_slice()), "the same facts, to the byte");
    for number in 0..2 {
        standalone.kill(&format!("gateway-{number}"));
        standalone.run(&format!("gateway-{number}"));
    }
    standalone.ready().await;
    standalone.spools_are_taken_over().await;
    acknowledged.prove(&standalone.postgres.url("ledger"), &standalone.postgres.url("projector"), &provider).await;
    standalone.verify();
}

#[tokio::test]
async fn a_standby_is_no_database_to_start_with() {
    let mut postgres = Postgres::start();
    postgres.copy();
    postgres.stand_by();
    let Err(refused) = Store::open(&postgres.url("ledger"), ledger::MIGRATIONS).await else { panic!("it opened a standby") };
    assert!(refused.to_string().contains("the server is a standby: promote it"), "{refused}");
}

#[tokio::test]
async fn a_process_whose_database_hangs_ends_when_it_is_told_to_and_loses_nothing() {
    let provider = Provider::start().await;
    let config = format!("{}\n[server]\ndrain_timeout_ms = 1000\n", provider.config());
    let mut arouter = Arouter::start(Storage::Postgres(Postgres::start()), &config).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let target = arouter.target();
    let load = Load::of_requests(&target, &acknowledged, 8);
    until("some answers", || async { (acknowledged.answers() > 200).then_some(()) }).await;
    arouter.postgres().hang();
    arouter.signal(Signal::TERM);
    arouter.ended().await;
    load.end().await;
    arouter.postgres().resume();
    arouter.launch().await;
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
}
