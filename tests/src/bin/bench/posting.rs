//! `make bench-posting`: measures how many usage events per second the ledger alone posts, reading from a real NATS, on SQLite and
//! PostgreSQL. The log is filled first; then the ledger starts and is timed until the last event is in the books. Afterwards the sums are
//! checked, and the books are rebuilt from the log alone and compared.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::append::Outgoing;
use eventlog::digest::digest;
use eventlog::rpc::Handler;
use eventlog::{Access, Log, Store};
use events::clock::SystemClock;
use events::control::{Account, AccountCreated};
use events::ids::{Ids, SystemIds};
use events::request::{Format, Outcome};
use events::rpc::{CreditCommand, LeaseReply, LeaseRequest, PostCredit, Request};
use events::subject::{Stream, subject};
use events::usage_recorded::UsageRecorded;
use events::{Clock, CostStatus, Draft, Nanos, Provenance, Source, Tokens, UnitPrices};
use ledger::credit::billing::Billing;
use ledger::lease::Terms;
use ledger::{Ledger, LedgerConfig, MIGRATIONS};
use sqlx::{Any, Row};
use tests::postgres::Postgres;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::number;

/// The number of events; `BENCH_EVENTS` overrides it.
const EVENTS: u64 = 200_000;
/// The number of accounts that the events are spread over.
const ACCOUNTS: u64 = 50;
/// The name of every account.
const NAME: &str = "bench";
/// The cost of each event.
const COST: Nanos = Nanos(4_275_000);

struct Nats(Child);

impl Drop for Nats {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

pub async fn run() {
    let folder = tempfile::Builder::new().prefix("arouter-posting").tempdir().expect("a folder");
    let postgres = Postgres::start();
    let sqlite = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let events = number("BENCH_EVENTS", EVENTS);
    measure("SQLite", ">= 15000", events, &sqlite("ledger.db"), &sqlite("again.db")).await;
    measure("PostgreSQL", ">= 20000", events, &postgres.url("ledger"), &postgres.url("projector")).await;
}

/// Fills a log, posts it into one database, and rebuilds the books in another.
async fn measure(name: &str, target: &str, events: u64, database_url: &str, again_url: &str) {
    let folder = tempfile::Builder::new().prefix("arouter-posting-log").tempdir().expect("a folder");
    let port = tests::port::free();
    let mut command = Command::new(tests::standalone::nats_server());
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
    let _nats = Nats(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server"));
    let access = Access { servers: vec![format!("nats://127.0.0.1:{port}")], allow_unauthenticated: true, ..Access::default() };
    let log = tests::wait::until("NATS", || async { Log::connect(&access, "posting").await.ok() }).await;
    log.prepare(1).await.expect("streams");
    let filled = Instant::now();
    fill(&log, events).await;
    println!("{events} usage events of {ACCOUNTS} accounts in the log after {:.1} s", filled.elapsed().as_secs_f64());
    let key = folder.path().join("signing_key");
    let posted = post(&log, database_url, &key, events).await;
    println!("posted on {name:<16} {:>10.0} events/s  target {target}", events as f64 / posted.as_secs_f64());
    let again = post_again(&log, [database_url, again_url], &key).await;
    println!("made again on {name:<12} {:>10.0} events/s  the same books, byte for byte", events as f64 / again.as_secs_f64());
    log.close().await;
}

fn account(number: u64) -> String {
    format!("acc_{number:032}")
}

fn lease(number: u64) -> String {
    format!("0192{number:04}-0000-7000-8000-000000000002")
}

async fn fill(log: &Log, events: u64) {
    let (ids, clock, source) = (SystemIds, SystemClock, Source::gateway("bench", "boot"));
    let mut accounts = Vec::new();
    for (of, sequence) in (0..ACCOUNTS).zip(1..) {
        let created = AccountCreated {
            account: Account {
                id: account(of).as_str().into(),
                name: NAME.to_owned(),
                created_at_us: 0,
                revision: 1,
                suspended: false,
                default_model: None,
            },
        };
        let (id, owner) = (ids.uuid(&clock), account(of));
        let draft = Draft { id, time_us: clock.now_us(), account: &owner, subject: &owner, traceparent: None, payload: &created };
        let mut payload = Vec::new();
        draft.write(&source, sequence, &mut payload).expect("an event");
        accounts.push(Outgoing {
            stream: Stream::Control,
            subject: subject::<AccountCreated>(&owner, &owner),
            id: id.to_string(),
            payload: payload.into(),
        });
    }
    log.send(accounts).await.expect("stored");
    let mut batch = Vec::with_capacity(1_000);
    for event in 0..events {
        let of = event % ACCOUNTS;
        let usage = usage(event, of, clock.now_us());
        let (id, owner) = (ids.uuid(&clock), account(of));
        let request = usage.request.to_string();
        let draft = Draft { id, time_us: clock.now_us(), account: &owner, subject: &request, traceparent: None, payload: &usage };
        let mut payload = Vec::new();
        draft.write(&source, event + 1, &mut payload).expect("an event");
        let subject = subject::<UsageRecorded>(&owner, &request);
        batch.push(Outgoing { stream: Stream::Usage, subject, id: id.to_string(), payload: payload.into() });
        if batch.len() == batch.capacity() || event + 1 == events {
            log.send(std::mem::replace(&mut batch, Vec::with_capacity(1_000))).await.expect("stored");
        }
    }
}

fn usage(event: u64, of: u64, now_us: i64) -> UsageRecorded {
    UsageRecorded {
        request: format!("gen-1767225600-{event:024x}").as_str().into(),
        key: format!("{of:064x}").as_str().into(),
        lease: lease(of).as_str().into(),
        model: "openai/gpt-5.4".to_owned(),
        provider: "openai".to_owned(),
        user: Some("user-7".to_owned()),
        app: None,
        experiment: None,
        format: Format::Chat,
        streamed: true,
        outcome: Outcome::Finished,
        status: Some(200),
        finish_reason: Some("stop".to_owned()),
        tokens: Tokens { input: 500, cache_read: 100, output: 180, reasoning: 20, ..Tokens::default() },
        provenance: Provenance::Reported,
        price_version: "2026-01-01".to_owned(),
        unit_prices: UnitPrices {
            input: 2_500_000,
            cache_read: 250_000,
            output: 15_000_000,
            reasoning: 15_000_000,
            ..UnitPrices::default()
        },
        cost_status: CostStatus::Priced,
        cost_nanos: COST,
        beyond_hold_nanos: Nanos::ZERO,
        is_byok: false,
        byok: None,
        admitted_at_us: now_us,
        latency_us: 120_000,
        ttft_us: Some(40_000),
        attempts: Vec::new(),
        skipped: Vec::new(),
    }
}

/// Creates credit and a lease for each account, then posts the whole log. Returns the time that the posting took.
async fn post(log: &Log, database_url: &str, key: &Path, events: u64) -> Duration {
    let store = Store::open(database_url, MIGRATIONS).await.expect("a database");
    for of in 0..ACCOUNTS {
        let mut transaction = store.begin_exclusive().await.expect("a transaction");
        ledger::account::repo::upsert(&mut transaction, &account(of), NAME, 0, 1).await.expect("an account");
        transaction.commit().await.expect("a commit");
    }
    store.close().await;
    let ledger = open(database_url, key).await;
    let all = Nanos(COST.0 * i64::try_from(events).expect("not so many"));
    for of in 0..ACCOUNTS {
        lend(&ledger, of, all).await;
    }
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let since = Instant::now();
    ledger.start(log, &tasks, &stop);
    let took = loop {
        let row =
            sqlx::query::<Any>("SELECT sequence FROM checkpoints WHERE reader = 'postings'").fetch_optional(&ledger.store.reads).await;
        let at: i64 = row.expect("the database").map_or(0, |row| row.get("sequence"));
        if at.unsigned_abs() >= events {
            break since.elapsed();
        }
        assert!(since.elapsed() < Duration::from_secs(60 + events / 1_000), "{at} of {events} events are posted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let spent = sqlx::query::<Any>("SELECT CAST(SUM(spent_nanos) AS BIGINT) AS spent FROM accounts").fetch_one(&ledger.store.reads).await;
    assert_eq!(Nanos(spent.expect("the database").get("spent")), all, "not everything was charged");
    for check in ledger::verify::checks(&ledger.store).await.expect("the proofs") {
        assert!(check.broken.is_empty(), "{}: {:?}", check.name, check.broken);
    }
    ledger.store.close().await;
    took
}

async fn open(database_url: &str, key: &Path) -> Arc<Ledger> {
    let (database_url, signing_key) = (database_url.to_owned(), key.to_owned());
    let config = LedgerConfig { database_url, node: "bench".to_owned(), terms: Terms::default(), billing: Billing::default(), signing_key };
    Ledger::open(&config, Arc::new(SystemClock), Arc::new(SystemIds)).await.expect("a ledger")
}

/// Rebuilds the books from the log in an empty database. Returns the time that this took.
async fn post_again(log: &Log, [database_url, again_url]: [&str; 2], key: &Path) -> Duration {
    let (live, made) = (open(database_url, key).await, open(again_url, key).await);
    let since = Instant::now();
    ledger::replay::catch_up(&made, log, None).await.expect("books");
    let took = since.elapsed();
    for table in ledger::TABLES {
        let (mut one, mut other) = (live.store.snapshot().await.expect("books"), made.store.snapshot().await.expect("books"));
        let held = (digest(&mut one, *table).await.expect("rows"), digest(&mut other, *table).await.expect("rows"));
        assert_eq!(held.0, held.1, "{}", table.name);
    }
    live.store.close().await;
    made.store.close().await;
    took
}

async fn lend(ledger: &Arc<Ledger>, of: u64, amount_nanos: Nanos) {
    let grant = CreditCommand::Grant { amount_nanos, priority: None, expires_at_us: None };
    let command =
        PostCredit { id: format!("credit-{of}"), account: account(of).as_str().into(), command: grant, description: String::new() };
    ledger::credit::post(ledger, &command).await.expect("credit");
    let ask = LeaseRequest {
        lease: lease(of).as_str().into(),
        account: account(of).as_str().into(),
        key: None,
        key_revision: 0,
        holder: "/gateway/bench/boot".to_owned(),
        free_nanos: Nanos::ZERO,
        needed_nanos: amount_nanos,
        preferred_nanos: amount_nanos,
        wanted_nanos: amount_nanos,
        returned_nanos: Nanos::ZERO,
        spent_nanos: Nanos::ZERO,
        closing: false,
    };
    let request = serde_json::to_vec(&ask).expect("a request");
    let answer = ledger.rpc_handler().handle(LeaseRequest::NAME, &request).await.expect("an answer");
    let answer: LeaseReply = serde_json::from_str(answer.get()).expect("a lease");
    assert_eq!(answer.granted_nanos, amount_nanos);
}
