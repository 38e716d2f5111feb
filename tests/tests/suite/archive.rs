//! The archive outlives the streams: reports and books are rebuilt from archive and streams, and every change to an archived file is
//! detected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventlog::LogError;
use events::subject::Stream;
use tests::load::read;
use tests::postgres::Postgres;
use tests::rows::{FACTS, REPORTS, TRANSACTIONS, rows};
use tests::wait::until;
use tests::{Acknowledged, Arouter, Provider, Storage};

async fn work(arouter: &Arouter, acknowledged: &Acknowledged, requests: usize) {
    let target = arouter.target();
    for number in 0..requests {
        acknowledged.chat(&target, number % 2, 0).await.expect("an answer");
    }
    acknowledged.administer(&target).await;
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
}

/// Returns the manifests of a stream, in order.
fn manifests(archive: &Path, stream: &str) -> Vec<serde_json::Value> {
    let Ok(files) = std::fs::read_dir(archive.join(stream)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|of| of == "json")).collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON")).collect()
}

/// Returns the number of archived events of a stream.
fn archived(archive: &Path, stream: &str) -> u64 {
    manifests(archive, stream).iter().map(|manifest| manifest["count"].as_u64().expect("a count")).sum()
}

fn run(arouter: &Arouter, command: &str, more: &[&Path]) -> (bool, String) {
    let output = arouter.command(command).args(more).output().expect("it runs");
    (output.status.success(), [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

#[tokio::test]
async fn streams_that_are_gone_are_read_from_the_archive() {
    let provider = Provider::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let mut arouter =
        Arouter::start(Storage::Sqlite, &format!("[archive]\nurl = \"{}\"\nevery_seconds = 1\n{}", archive.display(), provider.config()))
            .await;
    let acknowledged = Arc::<Acknowledged>::default();
    work(&arouter, &acknowledged, 40).await;
    arouter.usage(40).await;
    until("the archive", || async { (archived(&archive, "USAGE") >= 40 && archived(&archive, "REQUESTS") >= 80).then_some(()) }).await;
    arouter.settle_and_verify().await;

    // The events of requests and usage are deleted, so only the archive still has them.
    arouter.stop();
    for stream in ["REQUESTS", "USAGE"] {
        std::fs::remove_dir_all(arouter.data().join("nats/jetstream/AROUTER/streams").join(stream)).expect("there is such a stream");
    }
    let before = rows(&arouter, "projector", REPORTS).await;
    arouter.launch().await;
    work(&arouter, &acknowledged, 20).await;
    arouter.usage(60).await;
    arouter.settle_and_verify().await;
    assert!(rows(&arouter, "projector", REPORTS).await.is_superset(&before));
    let made = arouter.data().join("made");
    let (is_same, text) = run(&arouter, "replay", &[Path::new("--into"), &made]);
    assert!(is_same, "{text}");

    // New reports are built from the archive and the streams.
    arouter.stop();
    let before = rows(&arouter, "projector", REPORTS).await;
    assert_eq!(before.len(), 60);
    std::fs::remove_file(arouter.data().join("projector.db")).expect("deleted");
    arouter.launch().await;
    arouter.verify();
    assert_eq!(rows(&arouter, "projector", REPORTS).await, before, "reports from archive and streams");

    // A change to an archived file is detected.
    let first = manifests(&archive, "USAGE").swap_remove(0);
    let damaged = archive.join("USAGE").join(first["file"].as_str().expect("a file"));
    let mut bytes = std::fs::read(&damaged).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    let (is_right, text) = run(&arouter, "verify", &[]);
    assert!(!is_right && text.contains("the archive is damaged at"), "{text}");
}

/// Returns the number of events that a stream has received and the number that have left it. If any have left, it can be read from its
/// start only with the archive.
async fn came_and_left(arouter: &Arouter, stream: Stream) -> (u64, u64) {
    let log = arouter.connect_log().await;
    let left = match log.tail(stream, None).await {
        Ok(_) => 0,
        Err(LogError::Aged { first, .. }) => first - 1,
        Err(error) => panic!("{error}"),
    };
    (log.last_sequence(stream).await.expect("a stream"), left)
}

/// Returns the complete contents of books and reports.
async fn told_by(arouter: &Arouter) -> [std::collections::BTreeSet<String>; 3] {
    [rows(arouter, "ledger", TRANSACTIONS).await, rows(arouter, "ledger", FACTS).await, rows(arouter, "projector", REPORTS).await]
}

/// Lets archived events leave the streams, loses books, reports or both, and checks that they are rebuilt.
async fn events_leave(storage: Storage, forget: impl AsyncFn(&Arouter, &str)) {
    let provider = Provider::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "[archive]\nurl = \"{}\"\nevery_seconds = 1\nkeep_days = 0.00001\n{}",
        folder.path().join("archive").display(),
        provider.config()
    );
    let mut arouter = Arouter::start(storage, &config).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let mut requests = 0;
    for lost in [&["projector"][..], &["ledger"], &["ledger", "projector"], &["nats", "ledger"]] {
        work(&arouter, &acknowledged, 30).await;
        requests += 30;
        arouter.usage(requests).await;
        arouter.settle_and_verify().await;
        for stream in [Stream::Usage, Stream::Requests, Stream::Ledger] {
            until("the streams to be empty", || async {
                let (came, left) = came_and_left(&arouter, stream).await;
                (came > 0 && left == came).then_some(())
            })
            .await;
        }
        assert_eq!(came_and_left(&arouter, Stream::Control).await.1, 0, "gateways read it from its start");
        let (is_same, text) = run(&arouter, "replay", &[Path::new("--into"), &arouter.data().join(format!("made-{requests}"))]);
        assert!(is_same, "{text}");
        arouter.stop();
        let before = told_by(&arouter).await;
        assert_eq!(before[2].len(), requests);
        for what in lost {
            if *what == "nats" {
                std::fs::remove_dir_all(arouter.data().join("nats/jetstream")).expect("deleted");
            } else {
                forget(&arouter, what).await;
            }
        }
        arouter.launch().await;
        arouter.settle_and_verify().await;
        let after = told_by(&arouter).await;
        for (before, after) in before.iter().zip(&after) {
            assert!(after.is_superset(before), "{lost:?} was lost: {:?}", before.difference(after).next());
        }
    }
    work(&arouter, &acknowledged, 10).await;
    arouter.usage(requests + 10).await;
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
}

#[tokio::test]
async fn events_leave_the_streams_and_nothing_is_missing() {
    events_leave(Storage::Sqlite, async |arouter, name| {
        std::fs::remove_file(arouter.data().join(name).with_extension("db")).expect("deleted");
    })
    .await;
}

#[tokio::test]
async fn events_leave_the_streams_and_nothing_is_missing_on_postgresql() {
    events_leave(Storage::Postgres(Postgres::start()), async |arouter, name| {
        read(&arouter.database(name), "DROP SCHEMA public CASCADE").await;
        read(&arouter.database(name), "CREATE SCHEMA public").await;
    })
    .await;
}
