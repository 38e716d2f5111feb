//! `arouter verify`: proves on live or stopped data that the books are correct, and returns a report and an exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use eventlog::checkpoint::checkpoint;
use eventlog::{Log, Record, Store, TailError};
use events::envelope::RawEnvelope;
use events::request::RequestFinished;
use events::subject::Stream;
use events::{Clock, Payload, SystemClock};
use ledger::statement::prove::Proof;
use ledger::verify::Check;
use projector::projections;
use sqlx::{Any, Row};

use crate::config::Config;
use crate::{Settings, data_dir, progress};

/// The longest time for activity and books to meet under load.
const TOTALS_PATIENCE: Duration = Duration::from_secs(10);
/// The time within which the readers must reach the current end of the log.
const PATIENCE: Duration = Duration::from_mins(1);
/// The time within which the end of a charged request must arrive.
const ENDS_PATIENCE: Duration = Duration::from_secs(5);
/// The maximum number of attempts to read a stream from its start.
const READ_TRIES: u32 = 5;

/// The settings, and a file for the results.
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    settings: Settings,
    /// File to which a gauge for each check is written, in Prometheus' text format. It is meant for the textfile collector of
    /// node_exporter.
    #[arg(long)]
    metrics: Option<PathBuf>,
    /// A monthly statement, as JSON or CSV, to prove against the books; nothing else is checked then.
    #[arg(long, value_name = "FILE", conflicts_with = "metrics")]
    statement: Option<PathBuf>,
}

/// Writes the gauges atomically.
fn write_metrics(path: &Path, checks: &[Check]) -> std::io::Result<()> {
    let label = |name: &str| name.replace([' ', '-'], "_").replace(['\'', ','], "");
    let mut text = "# HELP arouter_check_broken What breaks a check of arouter verify, counted up to 10; 0 is right.\n# TYPE arouter_check_broken gauge\n".to_owned();
    text.extend(checks.iter().map(|check| format!("arouter_check_broken{{check=\"{}\"}} {}\n", label(check.name), check.broken.len())));
    text.push_str("# HELP arouter_check_looked_at What a check looked at.\n# TYPE arouter_check_looked_at gauge\n");
    text.extend(checks.iter().map(|check| format!("arouter_check_looked_at{{check=\"{}\"}} {}\n", label(check.name), check.looked_at)));
    text.push_str("# HELP arouter_verified_at_seconds When, seconds since 1970.\n# TYPE arouter_verified_at_seconds gauge\n");
    text.extend([format!("arouter_verified_at_seconds {}\n", SystemClock.now_us() / 1_000_000)]);
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, path)
}

/// Runs all checks.
pub async fn verify(VerifyArgs { settings, metrics, statement }: &VerifyArgs) -> Result<ExitCode> {
    let config = Config::load(settings)?;
    let data = settings.data.canonicalize().with_context(|| format!("there is no data folder {}", settings.data.display()))?;
    let open = |configured: Option<String>, name| configured.unwrap_or_else(|| data_dir::database(&data, name));
    let ledger = Store::open(&open(config.ledger.database_url.clone(), "ledger"), ledger::MIGRATIONS).await?;
    if let Some(path) = statement {
        return prove(&ledger, path).await;
    }
    let projector = Store::open(&open(config.projector.database_url.clone(), "projector"), projector::MIGRATIONS).await?;
    let archive = config.archive.open()?;
    let log = match data_dir::access(&config, &data)? {
        Some(access) => Log::connect(&access, "tools").await.ok().map(|log| log.with_archive(archive.clone())),
        None => None,
    };
    let mut checks = Vec::new();
    let bar = progress::steps("verify");
    bar.set_message("the log");
    if let Some(log) = &log {
        checks.push(caught_up(log, &ledger, &projector).await?);
        checks.extend(of_log(log, &ledger).await?);
        checks.push(facts(log, &ledger, &data_dir::signing_key(&data, &config)).await?);
    }
    if let Some(archive) = &archive {
        bar.set_message("the archive");
        let (looked_at, broken) = crate::archive::check(archive).await;
        checks.push(Check { name: "the archive's chain holds and its files are what was written", looked_at, broken });
    }
    bar.set_message("the books");
    checks.extend(ledger::verify::checks(&ledger).await?);
    bar.set_message("the reports");
    checks.extend(of_projector(&projector).await?);
    checks.push(totals(&ledger, &projector).await?);
    bar.finish_and_clear();
    let mut is_right = true;
    for check in &checks {
        let word = if check.broken.is_empty() { "ok    " } else { "BROKEN" };
        println!("{word}  {} ({} looked at)", check.name, check.looked_at);
        check.broken.iter().for_each(|row| println!("          {row}"));
        is_right &= check.broken.is_empty();
    }
    if let Some(path) = metrics {
        write_metrics(path, &checks).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if log.is_none() {
        println!("note    NATS does not answer: the log itself was not compared");
    }
    println!("{}", if is_right { "The books are right." } else { "The books are NOT right." });
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Proves a statement against the books.
async fn prove(ledger: &Store, path: &Path) -> Result<ExitCode> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    match ledger::statement::prove::prove(ledger, &file).await? {
        Proof::Proved { account, month, transactions } => {
            println!("proved: the statement of {account} for {month} with {transactions} transactions is what the books say");
            Ok(ExitCode::SUCCESS)
        }
        Proof::Differs { field, stated, books } => {
            println!("NOT proved: {field} is {stated} in the statement and {books} in the books");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Waits until every reader has reached the current end of the log.
async fn caught_up(log: &Log, ledger: &Store, projector: &Store) -> Result<Check> {
    let mut broken = Vec::new();
    let since = Instant::now();
    let of_ledger = ledger::readers::ALL.into_iter().map(|reader| (ledger, reader));
    let readers: Vec<_> = of_ledger.chain(projections::ALL.map(|projection| (projector, projection.reader))).collect();
    for (store, reader) in &readers {
        let end = log.last_sequence(reader.stream).await?;
        loop {
            let at = checkpoint(store, *reader).await?.map_or(0, |checkpoint| checkpoint.sequence);
            if at >= end {
                break;
            }
            if since.elapsed() > PATIENCE {
                broken.push(format!("{} is at {at} of {end} in {}", reader.name, reader.stream.name()));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(Check {
        name: "ledger and projector have read what the log has",
        looked_at: i64::try_from(readers.len()).unwrap_or(i64::MAX),
        broken,
    })
}

/// Checks that every signed fact in the log is one that the books published. All readers skip events of stream LEDGER that none of our
/// keys signed.
async fn facts(log: &Log, ledger: &Store, key_file: &Path) -> Result<Check> {
    let name = "every signed fact in the log is one of the books";
    let Some(keys) = ledger::signing_keys::read(key_file)? else {
        let broken = vec![format!("there is no {}: set ledger.signing_key_file", key_file.display())];
        return Ok(Check { name, looked_at: 0, broken });
    };
    let rows = sqlx::query::<Any>("SELECT event_id, payload FROM outbox").fetch_all(&ledger.reads).await?;
    let known = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<BTreeMap<String, String>, sqlx::Error>>()?;
    let (mut ours, mut foreign, mut broken) = (0_i64, 0_u64, Vec::new());
    each_record(log, Stream::Ledger, |record| match ledger::outbox::envelope(&keys, record) {
        None => foreign += 1,
        Some(envelope) => {
            ours += 1;
            if known.get(envelope.id).is_none_or(|payload| payload.as_bytes() != record.payload) {
                broken.push(format!("{} is not what the books have", envelope.id));
            }
        }
    })
    .await?;
    if foreign > 0 {
        println!("note    {foreign} foreign events in stream LEDGER, signed by no ledger of ours, were skipped: find out who wrote them");
    }
    broken.truncate(10);
    Ok(Check { name, looked_at: ours, broken })
}

/// Checks that every usage event in the log has its posting, and that its request has exactly one end.
async fn of_log(log: &Log, ledger: &Store) -> Result<[Check; 2]> {
    let (mut usage, mut charged) = (BTreeSet::new(), BTreeSet::new());
    each(log, Stream::Usage, |envelope| {
        usage.insert(envelope.id.to_owned());
        charged.insert(envelope.subject.to_owned());
    })
    .await?;
    let since = Instant::now();
    let (without, twice) = loop {
        let (mut ended, mut by_gateway, mut twice) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        each(log, Stream::Requests, |envelope| {
            if envelope.kind != RequestFinished::KIND {
                return;
            }
            ended.insert(envelope.subject.to_owned());
            // The ledger may end a request by a rule, and the gateway may come back and end it too. The gateway's end then has no effect,
            // and is no duplicate.
            if !envelope.source.starts_with("/ledger/")
                && by_gateway.insert(envelope.subject.to_owned(), envelope.id.to_owned()).is_some_and(|before| before != envelope.id)
            {
                twice.push(envelope.subject.to_owned());
            }
        })
        .await?;
        let without: Vec<String> = charged.difference(&ended).cloned().collect();
        // An end is recorded together with its charge but travels in another stream, so it may arrive later.
        if without.is_empty() || since.elapsed() > ENDS_PATIENCE {
            break (without, twice);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let rows = sqlx::query::<Any>("SELECT id FROM transactions WHERE kind = 'usage' UNION ALL SELECT event_id AS id FROM quarantine")
        .fetch_all(&ledger.reads)
        .await?;
    let posted = rows.iter().map(|row| row.try_get("id")).collect::<Result<BTreeSet<String>, _>>()?;
    let count = |of: &BTreeSet<String>| i64::try_from(of.len()).unwrap_or(i64::MAX);
    Ok([
        Check {
            name: "every usage event in the log is posted or was set aside",
            looked_at: count(&usage),
            broken: usage.difference(&posted).take(10).cloned().collect(),
        },
        Check {
            name: "every request that was charged has its one end",
            looked_at: count(&charged),
            broken: without.into_iter().chain(twice).take(10).collect(),
        },
    ])
}

async fn each(log: &Log, stream: Stream, mut see: impl FnMut(&RawEnvelope<'_>)) -> Result<()> {
    each_record(log, stream, |record| {
        if let Ok(envelope) = RawEnvelope::parse(&record.payload) {
            see(&envelope);
        }
    })
    .await
}

/// Calls `see` for every event of a stream, from the archive and the stream. Some events are seen twice if events leave the stream
/// meanwhile.
async fn each_record(log: &Log, stream: Stream, mut see: impl FnMut(&Record)) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match read(log, stream, &mut see).await {
            Err(TailError::Gap | TailError::Reconnected) if tries < READ_TRIES => {}
            done => return Ok(done?),
        }
    }
}

async fn read(log: &Log, stream: Stream, see: &mut impl FnMut(&Record)) -> Result<(), TailError> {
    let end = log.last_sequence(stream).await?;
    if end == 0 {
        return Ok(());
    }
    let mut tail = log.tail(stream, None).await?;
    while !tail.has_read(end) {
        tail.next_batch(2_000, Duration::from_millis(5)).await?.iter().for_each(&mut *see);
    }
    Ok(())
}

async fn of_projector(projector: &Store) -> Result<Vec<Check>> {
    let count = async |sql: &'static str| -> Result<i64> { Ok(sqlx::query::<Any>(sql).fetch_one(&projector.reads).await?.try_get(0)?) };
    let texts = async |sql: &'static str| -> Result<Vec<String>> {
        let rows = sqlx::query::<Any>(sql).fetch_all(&projector.reads).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    };
    Ok(vec![
        Check {
            name: "every source of the projector is gapless",
            looked_at: count("SELECT COUNT(*) FROM sources").await?,
            broken: texts(
                "SELECT source || ' after ' || reader || ' ' || CAST(watermark AS TEXT) FROM sources WHERE beyond <> '[]' LIMIT 10",
            )
            .await?,
        },
        Check {
            name: "no event that the projector set aside waits for a decision",
            looked_at: count("SELECT COUNT(*) FROM quarantine").await?,
            broken: texts("SELECT event_id || ': ' || reason FROM quarantine WHERE decision IS NULL LIMIT 10").await?,
        },
    ])
}

/// Returns the sum that every account was charged, and the number of its requests.
async fn sums(store: &Store, sql: &'static str) -> Result<BTreeSet<(String, i64, i64)>> {
    let rows = sqlx::query::<Any>(sql).fetch_all(&store.reads).await?;
    rows.iter().map(|row| Ok((row.try_get("account")?, row.try_get("total")?, row.try_get("requests")?))).collect()
}

/// Checks that activity and books have the same sum and the same number of requests for every account. Both are read again until
/// they meet, since under load they are read at different moments.
async fn totals(ledger: &Store, projector: &Store) -> Result<Check> {
    let books =
        "SELECT account, CAST(SUM(CASE WHEN book LIKE 'revenue:%' THEN book_nanos ELSE 0 END) AS BIGINT) AS total, COUNT(*) AS requests
         FROM transactions WHERE kind = 'usage' GROUP BY account";
    // Months by no dimension.
    let activity = "SELECT account, CAST(SUM(spend_nanos) AS BIGINT) AS total, CAST(SUM(requests) AS BIGINT) AS requests
         FROM usage_sums WHERE width = 3 AND dimension = 0 GROUP BY account";
    let since = Instant::now();
    let (books, activity) = loop {
        let both = (sums(ledger, books).await?, sums(projector, activity).await?);
        if both.0 == both.1 || since.elapsed() > TOTALS_PATIENCE {
            break both;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let broken = books
        .symmetric_difference(&activity)
        .map(|(account, total, requests)| format!("{account}: {total} nano-USD in {requests} requests"))
        .collect();
    Ok(Check { name: "activity equals the books to the nano", looked_at: i64::try_from(books.len()).unwrap_or(i64::MAX), broken })
}
