//! `kill -9` of everything at any moment, and a store that NATS rolls back: nothing is lost, and nothing is charged twice.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tests::wait::until;
use tests::{Acknowledged, Arouter, Load, Provider, Storage};

#[tokio::test]
async fn killed_again_and_again_under_load() {
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1000\n[spool]\nsegment_bytes = 1048576\n{}", provider.config());
    let mut arouter = Arouter::start(Storage::Sqlite, &config).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let rounds: u64 = std::env::var_os("AROUTER_TEST_KILLS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    for round in 0..rounds {
        let load = Load::start(&arouter.target(), &acknowledged, 16);
        // The time of the kill must vary, and there is no condition to wait for.
        tokio::time::sleep(Duration::from_millis(150 + (round * 7919) % 900)).await;
        arouter.kill();
        load.end().await;
        arouter.launch().await;
    }
    let target = arouter.target();
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
    arouter.settle_and_verify().await;
    let answers = acknowledged.answers();
    assert!(answers > 100, "{answers} answers are too few to prove anything");
    println!("{} requests reached the provider, {answers} answers, {rounds} kills", provider.count());
    arouter.prove(&acknowledged, &provider).await;
}

#[tokio::test]
async fn a_nats_store_rolled_back_is_noticed_and_refilled() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("[bootstrap]\ncredit_usd = 1000\n{}", provider.config())).await;
    let acknowledged = Acknowledged::default();
    let ask = async |count: usize, arouter: &Arouter| {
        for _ in 0..count {
            acknowledged.chat(&arouter.target(), 1, 0).await.expect("an answer");
        }
    };
    ask(100, &arouter).await;
    arouter.usage(100).await;
    arouter.stop();
    let (store, copy) = (arouter.data().join("nats/jetstream"), arouter.data().join("older"));
    duplicate(&store, &copy);
    arouter.launch().await;
    ask(150, &arouter).await;
    arouter.usage(250).await;
    arouter.kill();
    std::fs::remove_dir_all(&store).expect("removed");
    std::fs::rename(&copy, &store).expect("rolled back");
    arouter.launch().await;
    // New events get the sequence numbers of lost ones.
    ask(120, &arouter).await;
    arouter.usage(370).await;
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
}

fn duplicate(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(done.success());
}

#[tokio::test]
async fn a_dead_nats_server_is_started_again_and_nothing_waits_for_it() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let body = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..5 {
        let killed = arouter.nats_pid();
        arouter.kill_nats();
        let (status, answer) = arouter.chat(body.clone()).await;
        assert!(status.is_success(), "{answer}");
        until("another nats-server", || async { (arouter.nats_pid() != killed).then_some(()) }).await;
    }
    assert_eq!(arouter.usage(5).await.len(), 5);
    arouter.settle_and_verify().await;
}
