//! `make bench-activity`: measures the projector with a generated year of one account: events folded a second, latency of activity by
//! period and grouping, and rows a second and memory of the detailed table.
//!
//! `BENCH_EVENTS` sets the number of events (1,000,000), and `BENCH_YEAR` the number of a whole year, if only its end is folded.
//! `BENCH_POSTGRES=1` measures PostgreSQL instead of SQLite; `BENCH_DATABASE` names a database that lasts; with `BENCH_EVENTS=0` only its
//! queries are measured. `BENCH_KEEP` names a folder for the reports on paper.

mod year;

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlog::Event;
use events::caller::{CALLER_HEADER, Caller, InternalSecret};
use events::envelope::RawEnvelope;
use events::ids::KeyKind;
use events::ids::SystemIds;
use events::sealed::MasterKeys;
use events::{Clock, SystemClock};
use projector::{Projector, ProjectorConfig, projections};
use tests::postgres::Postgres;
use tokio::task::JoinSet;

use self::year::Year;
use crate::{number, setting};

const EVENTS: u64 = 1_000_000;
/// The number of times that each query is repeated.
const RUNS: usize = 200;
/// The queries: periods and groupings, then filters, several groups, and tables of one page.
const QUERIES: [&str; 33] = [
    "period=1h",
    "period=1h&group_by=user",
    "period=1d",
    "period=1d&group_by=api_key",
    "period=1d&group_by=user",
    "period=1mo",
    "period=1mo&group_by=api_key",
    "period=1mo&group_by=user",
    "period=1mo&group_by=app",
    "period=1y",
    "period=1y&group_by=api_key",
    "period=1y&group_by=user",
    "period=1y&group_by=provider",
    "period=1y&group_by=creator",
    "period=1y&group_by=model,api_key",
    "period=1mo&group_by=model,api_key",
    "period=1d&group_by=model,api_key",
    "period=1y&model=author/model-1&group_by=api_key",
    "period=1mo&model=author/model-1&group_by=api_key",
    "period=1y&user=user-100&group_by=model",
    "period=1mo&user=user-100&group_by=model",
    "period=1y&app=app-7&group_by=model",
    "period=1y&app=app-7&group_by=api_key",
    "period=1mo&app=app-7&group_by=api_key",
    "period=1mo&provider=provider-3&group_by=app",
    "period=1mo&model=author/model-1&app=app-7&group_by=api_key",
    "period=1y&provider=provider-3&app=app-7&group_by=api_key",
    "period=1y&key_hash=0000000000000000000000000000000000000000000000000000000000000063&group_by=model",
    "period=1mo&key_hash=0000000000000000000000000000000000000000000000000000000000000063&group_by=model",
    "period=1mo&key_hash=0000000000000000000000000000000000000000000000000000000000000063&group_by=provider",
    "period=1mo&provider=provider-3&group_by=model,api_key",
    "period=1y&user=user-100&model=author/model-1",
    "period=1d&group_by=user,model",
];

/// Returns a figure of this process's memory in MB.
fn memory_mb(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1_024
}

pub async fn run() {
    let folder = tempfile::Builder::new().prefix("arouter-activity").tempdir().expect("a folder");
    let lasting = setting("BENCH_DATABASE");
    let postgres = (number("BENCH_POSTGRES", 0) == 1 && lasting.is_none()).then(Postgres::start);
    let sqlite = format!("sqlite://{}", folder.path().join("projector.db").display());
    let database_url = lasting.unwrap_or_else(|| postgres.as_ref().map_or(sqlite, |postgres| postgres.url("projector")));
    let events = number("BENCH_EVENTS", EVENTS);
    let master_keys = Arc::new(MasterKeys::parse(&"k".repeat(64)).expect("a key"));
    let config = ProjectorConfig { database_url, master_keys, webhooks_to_private_addresses: false };
    let projector = Projector::open(&config, Arc::new(SystemClock), Arc::new(SystemIds)).await.expect("a database");
    let year = Year { events: number("BENCH_YEAR", events), now_us: SystemClock.now_us() };
    println!("{events} events of a year on {}", if projector.store.is_sqlite() { "SQLite" } else { "PostgreSQL" });
    for projection in [projections::usage::PROJECTION, projections::generations::PROJECTION] {
        let took = fold(&projector, &projection, &year, events).await;
        println!("fold {:<12} {:>9.0} events/s", projection.reader.name, events as f64 / took.as_secs_f64());
    }
    let secret = InternalSecret(vec![7; 32]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let mut server = JoinSet::new();
    server.spawn(axum::serve(listener, projector.reports(&secret)).into_future());
    let client = Client { base, secret, http: reqwest::Client::builder().no_proxy().build().expect("a client") };
    for query in QUERIES {
        let mut times = Vec::with_capacity(RUNS);
        let mut bytes = 0;
        for _ in 0..RUNS {
            let since = Instant::now();
            bytes = client.read(query).await.0;
            times.push(since.elapsed());
        }
        times.sort();
        println!("{query:<50} p50 {:>8.2?}  p99 {:>8.2?}  {bytes} bytes", times[RUNS / 2], times[RUNS * 99 / 100]);
    }
    for limit in [500, 2_500, 5_000] {
        let query = format!("period=1y&group_by=model,api_key&format=pdf&limit={limit}");
        let since = Instant::now();
        let report = client.whole(&query).await;
        println!("{query:<50} {:.2?}  {} bytes", since.elapsed(), report.len());
        if let Some(folder) = setting("BENCH_KEEP") {
            std::fs::write(format!("{folder}/activity-{limit}.pdf"), report).expect("a file in BENCH_KEEP");
        }
    }
    let idle = memory_mb("VmRSS");
    // The high-water mark starts over here.
    let _not_allowed = std::fs::write("/proc/self/clear_refs", "5");
    let mut requests = 0;
    let queries = ["period=1mo&format=csv&detail=true", "period=1mo&format=parquet&detail=true", "period=1mo&group_by=user&format=csv"];
    for query in queries {
        let since = Instant::now();
        let (bytes, mut lines) = client.read(query).await;
        // A Parquet file has no lines. It has the same requests as the table before it.
        if query.contains("parquet") {
            lines = requests;
        }
        requests = lines;
        let rate = lines as f64 / since.elapsed().as_secs_f64();
        println!(
            "{query:<50} {lines} rows, {bytes} bytes, {rate:.0} rows/s, peak {} MB above {idle} MB",
            memory_mb("VmHWM").saturating_sub(idle)
        );
    }
}

/// Folds the last events of a year in batches, as the reader does, and returns the time without their generation.
async fn fold(projector: &Projector, projection: &projections::Projection, year: &Year, events: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut next = year.events.saturating_sub(events);
    while next < year.events {
        let to = year.events.min(next + projection.pace.batch_max as u64);
        let records: Vec<_> = (next..to).map(|number| year.record(number)).collect();
        let since = Instant::now();
        let events: Vec<_> = records.iter().map(event).collect();
        let mut transaction = projector.store.begin_exclusive().await.expect("a transaction");
        let rejected = projection.fold.apply(&mut transaction, &events).await.expect("rows");
        assert!(rejected.is_empty(), "{rejected:?}");
        transaction.commit().await.expect("a commit");
        took += since.elapsed();
        next = to;
    }
    took
}

fn event(record: &eventlog::Record) -> Event<'_> {
    Event { envelope: RawEnvelope::parse(&record.payload).expect("an event"), record, is_repeat: false }
}

struct Client {
    base: String,
    secret: InternalSecret,
    http: reqwest::Client,
}

impl Client {
    async fn ask(&self, query: &str) -> reqwest::Response {
        let target = format!("/api/v1/activity?{}", query.replace(',', "%2C"));
        let caller = Caller { account: year::ACCOUNT.into(), key: "k".into(), kind: KeyKind::Regular };
        let signed = self.secret.sign(caller, "GET", &target, SystemClock.now_us());
        let answer = self.http.get(format!("{}{target}", self.base)).header(CALLER_HEADER, signed).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{query}: {}", answer.status());
        answer
    }

    async fn whole(&self, query: &str) -> Vec<u8> {
        self.ask(query).await.bytes().await.expect("a whole answer").to_vec()
    }

    /// Reads a whole answer piece by piece, and returns its bytes and its lines.
    async fn read(&self, query: &str) -> (usize, usize) {
        let mut answer = self.ask(query).await;
        let (mut bytes, mut lines) = (0, 0);
        while let Some(chunk) = answer.chunk().await.expect("a whole answer") {
            bytes += chunk.len();
            lines += chunk.split(|byte| *byte == b'\n').count() - 1;
        }
        (bytes, lines)
    }
}
