//! What the streams held outlives them: reports and books are made again from archive and streams, and nothing in it changes unseen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::Row;
use tests::load::{file, read};
use tests::wait::until;
use tests::{Arouter, Provider, Storage, Told};

const REPORTS: &str = "SELECT request || '|' || account || '|' || model || '|' || outcome || '|' || CAST(admitted_at_us AS TEXT) || '|' ||
    CAST(latency_us AS TEXT) || '|' || tokens || '|' || CAST(cost_nanos AS TEXT) FROM generations";

async fn reports(arouter: &Arouter) -> BTreeSet<String> {
    read(&file(&arouter.data().join("projector.db")), REPORTS).await.iter().map(|row| row.get(0)).collect()
}

async fn work(arouter: &Arouter, told: &Told, requests: usize) {
    let target = arouter.target();
    for number in 0..requests {
        told.chat(&target, number % 2, 0).await.expect("an answer");
    }
    told.administer(&target).await;
    until("all credit", || told.all_credit_is_posted(&target)).await;
}

/// The manifests of a stream, in order.
fn manifests(archive: &Path, stream: &str) -> Vec<serde_json::Value> {
    let Ok(files) = std::fs::read_dir(archive.join(stream)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|of| of == "json")).collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON")).collect()
}

/// How many events of a stream are archived.
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
    let told = Arc::<Told>::default();
    work(&arouter, &told, 40).await;
    arouter.usage(40).await;
    until("the archive", || async { (archived(&archive, "USAGE") >= 40 && archived(&archive, "REQUESTS") >= 80).then_some(()) }).await;
    arouter.settle_and_verify().await;

    // Requests and usage are deleted: their history is in the archive only.
    arouter.stop();
    for stream in ["REQUESTS", "USAGE"] {
        std::fs::remove_dir_all(arouter.data().join("nats/jetstream/$G/streams").join(stream)).expect("there is such a stream");
    }
    let before = reports(&arouter).await;
    arouter.launch().await;
    work(&arouter, &told, 20).await;
    arouter.usage(60).await;
    arouter.settle_and_verify().await;
    assert!(reports(&arouter).await.is_superset(&before));
    let made = arouter.data().join("made");
    let (is_same, text) = run(&arouter, "replay", &[Path::new("--into"), &made]);
    assert!(is_same, "{text}");

    // New reports come from the archive and the streams.
    arouter.stop();
    let before = reports(&arouter).await;
    assert_eq!(before.len(), 60);
    std::fs::remove_file(arouter.data().join("projector.db")).expect("deleted");
    arouter.launch().await;
    arouter.verify();
    assert_eq!(reports(&arouter).await, before, "reports from archive and streams");

    // Nothing in it changes unseen.
    let first = manifests(&archive, "USAGE").swap_remove(0);
    let damaged = archive.join("USAGE").join(first["file"].as_str().expect("a file"));
    let mut bytes = std::fs::read(&damaged).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    let (is_right, text) = run(&arouter, "verify", &[]);
    assert!(!is_right && text.contains("the archive is damaged at"), "{text}");
}
