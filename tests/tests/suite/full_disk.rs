//! The disk is full for a while. Requests that cannot be recorded are refused before they are sent, readiness reports it, and everything
//! continues by itself once there is room again.
//!
//! `AROUTER_TEST_FULL_SECONDS` is the time that the disk is full; 5 if not set. Only root may mount the small file system that this test
//! needs.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tests::wait::until;
use tests::{Acknowledged, Arouter, Load, Provider, Storage};

/// The time within which requests must be served again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A file system of a few megabytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts it; `None` if that is not allowed.
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("arouter-small").tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output().ok()?;
        mounted.status.success().then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills all of its space.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("fill")).expect("a file");
        let piece = vec![1; 4096];
        while file.write_all(&piece).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("fill")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount lets files that are still open be closed at the end of the test.
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_full_needs_nobody_afterwards() {
    let Some(disk) = SmallDisk::mount(320) else {
        println!("SKIPPED: this test mounts a small file system; run it as root, where mounting is allowed");
        return;
    };
    let seconds: u64 = std::env::var_os("AROUTER_TEST_FULL_SECONDS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    let provider = Provider::start().await;
    let config = format!("[bootstrap]\ncredit_usd = 1000\n[spool]\nsegment_bytes = 4194304\nbytes_max = 67108864\n{}", provider.config());
    let mut arouter = Arouter::start_in(disk.path(), Storage::Sqlite, &config).await;
    let (target, acknowledged) = (arouter.target(), Arc::<Acknowledged>::default());
    let load = Load::of_requests(&target, &acknowledged, 8);
    until("the first answers", || async { (acknowledged.answers() > 200).then_some(()) }).await;
    disk.fill();
    let (since, mut unready, mut answers) = (Instant::now(), 0, BTreeSet::new());
    let probe =
        |number: u128| json!({"model": "test/ok", "user": format!("probe-{number}"), "messages": [{"role": "user", "content": "x"}]});
    while since.elapsed() < Duration::from_secs(seconds) {
        let ready = arouter.http.get(format!("{}/readyz", arouter.base)).send().await.expect("it answers");
        unready += u32::from(ready.status() == StatusCode::SERVICE_UNAVAILABLE);
        let asked = Instant::now();
        let (status, answer) = arouter.chat(probe(since.elapsed().as_nanos())).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "{status} after {:?}", asked.elapsed());
        answers.insert(format!("{status} {}", answer["error"]["code"]));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let served = acknowledged.answers();
    disk.free();
    let freed = Instant::now();
    until("an answer", || async { (acknowledged.answers() > served).then_some(()) }).await;
    let back = freed.elapsed();
    let health = || async {
        let ready = arouter.http.get(format!("{}/readyz", arouter.base)).send().await.ok()?;
        (ready.status() == StatusCode::OK).then_some(())
    };
    until("readiness", health).await;
    let ready = freed.elapsed();
    // Keys and credit recover by themselves too.
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
    load.end().await;
    println!(
        "full for {seconds} s: answers {answers:?}, {unready} times not ready; after there was room: served in {back:?}, ready in {ready:?}, {} answers in all",
        acknowledged.answers()
    );
    assert!(answers.iter().all(|answer| answer.starts_with("200") || answer.starts_with("503")), "{answers:?}");
    assert!(unready > 0, "nobody could see that the disk is full");
    assert!(back < BACK_WITHIN, "served again only after {back:?}");
    let (status, _) = arouter.call(Method::POST, "/api/v1/keys", &target.management_key, Some(json!({"name": "after"}))).await;
    assert_eq!(status, StatusCode::CREATED);
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
}
