//! Lost data is restored: books from an older copy, deleted streams, deleted reports, and everything from the log alone.

use std::path::Path;
use std::sync::Arc;

use eventlog::{LogError, Outgoing};
use events::SigningKeys;
use events::ledger::UsagePosted;
use events::subject::Stream;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::Row;
use tests::load::read;
use tests::rows::{FACTS, REPORTS, TRANSACTIONS, rows};
use tests::wait::until;
use tests::{Acknowledged, Arouter, Provider, Storage};

async fn work(arouter: &Arouter, acknowledged: &Acknowledged, requests: usize) {
    let target = arouter.target();
    for number in 0..requests {
        acknowledged.chat(&target, number % 2, 0).await.expect("an answer");
        if number.is_multiple_of(10) {
            acknowledged.administer(&target).await;
        }
    }
    until("all credit", || acknowledged.all_credit_is_posted(&target)).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copied");
    for ending in ["-wal", "-shm"] {
        assert!(!from.with_extension(format!("db{ending}")).exists(), "a database that is closed has no {ending}");
    }
}

#[tokio::test]
async fn books_from_an_older_copy_catch_up_with_the_log_before_they_decide() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let acknowledged = Arc::<Acknowledged>::default();
    work(&arouter, &acknowledged, 30).await;
    arouter.stop();
    let (books, older) = (arouter.data().join("ledger.db"), arouter.data().join("older.db"));
    copy(&books, &older);
    arouter.launch().await;
    work(&arouter, &acknowledged, 60).await;
    arouter.usage(90).await;
    arouter.stop();
    let (transactions, facts) = (rows(&arouter, "ledger", TRANSACTIONS).await, rows(&arouter, "ledger", FACTS).await);
    std::fs::rename(&older, &books).expect("restored");
    let restored = rows(&arouter, "ledger", TRANSACTIONS).await;
    assert!(restored.len() < transactions.len(), "the copy is older");
    arouter.launch().await;
    work(&arouter, &acknowledged, 10).await;
    arouter.usage(100).await;
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
    assert!(rows(&arouter, "ledger", TRANSACTIONS).await.is_superset(&transactions), "the same transactions, to the byte");
    assert!(rows(&arouter, "ledger", FACTS).await.is_superset(&facts), "the same facts, to the byte");
}

#[tokio::test]
async fn books_of_another_story_are_refused_at_every_start_and_stay_as_they_are() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let acknowledged = Arc::<Acknowledged>::default();
    work(&arouter, &acknowledged, 10).await;
    arouter.stop();
    let (books, older) = (arouter.data().join("ledger.db"), arouter.data().join("older.db"));
    copy(&books, &older);
    arouter.launch().await;
    work(&arouter, &acknowledged, 20).await;
    arouter.usage(30).await;
    arouter.stop();
    std::fs::rename(&older, &books).expect("restored");
    read(&format!("sqlite://{}", books.display()), "UPDATE outbox SET event_id = 'another' WHERE sequence = 1").await;
    let before = rows(&arouter, "ledger", FACTS).await;
    for start in 1..=2 {
        let ended = tokio::process::Command::from(arouter.command("up")).kill_on_drop(true).output();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("it does not start").expect("it ran");
        let output = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && output.contains("tell different stories at fact 1"), "start {start}: {output}");
        assert_eq!(rows(&arouter, "ledger", FACTS).await, before, "start {start}");
    }
}

/// Publishes a fact that is signed with our key but missing in the books, as after a failover that lost it.
async fn with_a_foreign_fact() -> (Provider, Arouter) {
    let provider = Provider::start().await;
    let arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    work(&arouter, &Arc::default(), 10).await;
    arouter.usage(10).await;
    let last = read(&arouter.database("ledger"), "SELECT subject, payload FROM outbox ORDER BY sequence DESC LIMIT 1").await;
    let (subject, payload): (String, String) = (last[0].get("subject"), last[0].get("payload"));
    let mut fact: Value = serde_json::from_str(&payload).expect("a fact");
    fact["id"] = json!("another");
    fact.as_object_mut().and_then(|members| members.remove("mac")).expect("it is signed");
    let mut fact = fact.to_string().into_bytes();
    let keys = std::fs::read_to_string(arouter.data().join("ledger.signing_key")).expect("there are keys");
    SigningKeys::parse(&keys).expect("they are keys").sign(&mut fact);
    let log = arouter.connect_log().await;
    let foreign = Outgoing { stream: Stream::Ledger, subject, id: "another".to_owned(), payload: fact.into() };
    log.append(vec![foreign]).await.unwrap();
    log.close().await;
    (provider, arouter)
}

async fn ended_because_of_the_foreign_fact(mut arouter: Arouter) {
    arouter.failed().await;
    let output = arouter.log();
    assert!(output.contains("stream LEDGER ends with another, which the books do not have"), "{output}");
    let started = tokio::process::Command::from(arouter.command("up")).kill_on_drop(true).output();
    let started = tokio::time::timeout(std::time::Duration::from_secs(30), started).await.expect("it does not start").expect("it ran");
    let output = String::from_utf8_lossy(&started.stderr);
    assert!(!started.status.success() && output.contains("tell different stories"), "{output}");
}

#[tokio::test]
async fn a_fact_in_the_log_that_the_books_lack_ends_the_process_at_the_next_connection() {
    let (_provider, arouter) = with_a_foreign_fact().await;
    arouter.kill_nats();
    ended_because_of_the_foreign_fact(arouter).await;
}

#[tokio::test]
async fn no_fact_is_told_behind_one_that_the_books_lack() {
    let (_provider, arouter) = with_a_foreign_fact().await;
    let target = arouter.target();
    let credit = json!({"id": "behind", "account": target.account, "kind": "grant", "amount": 1});
    let (status, answer) = arouter.call(reqwest::Method::POST, "/api/v1/admin/credit", &target.operator_token, Some(credit)).await;
    assert!(status.is_success(), "{answer}");
    ended_because_of_the_foreign_fact(arouter).await;
}

#[tokio::test]
async fn a_row_of_facts_is_stored_right_behind_the_streams_last_one_or_not_at_all() {
    let arouter = Arouter::start(Storage::Sqlite, "").await;
    let log = arouter.connect_log().await;
    until("the first fact", || async { (log.last_sequence(Stream::Ledger).await.ok()? > 0).then_some(()) }).await;
    // Nothing else writes from now on.
    arouter.signal(Signal::STOP);
    let subject = events::subject::subject::<UsagePosted>("many", "many");
    let row = |ids: [&str; 2]| {
        let fact = |id: &str| Outgoing { stream: Stream::Ledger, subject: subject.clone(), id: id.to_owned(), payload: "{}".into() };
        ids.map(fact).to_vec()
    };
    let end = log.last_sequence(Stream::Ledger).await.unwrap();
    // The sequence number that the second writer expects is already the end of the stream.
    let refused = log.append_behind(end - 1, row(["a", "b"])).await;
    assert!(matches!(refused, Err(LogError::Tail { .. })), "{refused:?}");
    assert_eq!(log.last_sequence(Stream::Ledger).await.unwrap(), end);
    assert_eq!(log.append_behind(end, row(["a", "b"])).await.unwrap(), end + 2);
    for late in [["a", "b"], ["c", "d"]] {
        let refused = log.append_behind(end, row(late)).await;
        assert!(matches!(refused, Err(LogError::Tail { .. })), "{refused:?}");
        assert_eq!(log.last_sequence(Stream::Ledger).await.unwrap(), end + 2, "{late:?}");
    }
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_made_anew_and_no_book_or_report_changes() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let acknowledged = Arc::<Acknowledged>::default();
    work(&arouter, &acknowledged, 30).await;
    for (number, stream) in (1..).zip(["USAGE", "LEDGER", "CONTROL"]) {
        arouter.usage(30 * number).await;
        arouter.stop();
        let (transactions, facts) = (rows(&arouter, "ledger", TRANSACTIONS).await, rows(&arouter, "ledger", FACTS).await);
        let reports = rows(&arouter, "projector", REPORTS).await;
        std::fs::remove_dir_all(arouter.data().join("nats/jetstream/AROUTER/streams").join(stream)).expect("there is such a stream");
        arouter.launch().await;
        work(&arouter, &acknowledged, 30).await;
        arouter.usage(30 * (number + 1)).await;
        arouter.settle_and_verify().await;
        assert!(rows(&arouter, "ledger", TRANSACTIONS).await.is_superset(&transactions), "{stream}: the same transactions");
        assert!(rows(&arouter, "ledger", FACTS).await.is_superset(&facts), "{stream}: the same facts");
        assert!(rows(&arouter, "projector", REPORTS).await.is_superset(&reports), "{stream}: the same reports");
    }
    arouter.prove(&acknowledged, &provider).await;
}

#[tokio::test]
async fn reports_that_were_deleted_are_made_again_byte_for_byte() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let acknowledged = Arc::<Acknowledged>::default();
    work(&arouter, &acknowledged, 60).await;
    arouter.settle_and_verify().await;
    arouter.stop();
    let reports = rows(&arouter, "projector", REPORTS).await;
    assert_eq!(reports.len(), 60);
    std::fs::remove_file(arouter.data().join("projector.db")).expect("deleted");
    arouter.launch().await;
    // `verify` waits until the new reports have read the log.
    arouter.verify();
    assert_eq!(rows(&arouter, "projector", REPORTS).await, reports);
}

/// Runs `arouter replay`, and returns whether it succeeded and its output.
fn replay(arouter: &Arouter, into: &Path, more: &[&str]) -> (bool, String) {
    let output = arouter.command("replay").arg("--into").arg(into).args(more).output().expect("it runs");
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), texts.concat())
}

#[tokio::test]
async fn the_log_alone_gives_the_same_books_and_reports_which_can_take_their_place() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    let acknowledged = Arc::<Acknowledged>::default();
    let limited = json!({"name": "limited", "limit": 1, "limit_reset": "daily"});
    let (_, key) = arouter.call(reqwest::Method::POST, "/api/v1/keys", &arouter.keys.management_key, Some(limited)).await;
    for _ in 0..10 {
        let ask = json!({"model": "test/ok", "messages": [{"role": "user", "content": "x"}]});
        let (status, answer) =
            arouter.call(reqwest::Method::POST, "/v1/chat/completions", key["key"].as_str().expect("a key"), Some(ask)).await;
        assert!(status.is_success(), "{answer}");
    }
    work(&arouter, &acknowledged, 60).await;
    arouter.settle_and_verify().await;
    let made = arouter.data().join("made");
    let (is_same, text) = replay(&arouter, &made, &[]);
    assert!(is_same, "{text}");
    let (again, text) = replay(&arouter, &made, &[]);
    assert!(!again && text.contains("has books already"), "{text}");
    // A row is changed without the ledger; the log still has the correct data.
    arouter.stop();
    let books = arouter.data().join("ledger.db");
    read(&format!("sqlite://{}", books.display()), "UPDATE grants SET amount_nanos = amount_nanos + 1 WHERE id LIKE 'bootstrap%'").await;
    arouter.launch().await;
    let (is_same, text) = replay(&arouter, &arouter.data().join("second"), &[]);
    assert!(!is_same && text.contains("DIFFERS  grants"), "{text}");
    let (swapped, text) = replay(&arouter, &made, &["--swap"]);
    assert!(!swapped && text.contains("another arouter uses"), "{text}");
    arouter.stop();
    let (swapped, text) = replay(&arouter, &made, &["--swap"]);
    assert!(swapped, "{text}");
    arouter.launch().await;
    work(&arouter, &acknowledged, 20).await;
    arouter.settle_and_verify().await;
    arouter.prove(&acknowledged, &provider).await;
    let (is_same, text) = replay(&arouter, &arouter.data().join("third"), &[]);
    assert!(is_same, "{text}");
}
