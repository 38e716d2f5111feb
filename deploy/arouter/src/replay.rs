//! `arouter replay`: rebuilds books and reports from the log in another place, compares them with the live ones, and swaps them on
//! request.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use eventlog::checkpoint::checkpoint;
use eventlog::digest::{Table, digest};
use eventlog::{Log, Store};
use events::SystemClock;
use events::ids::{Ids, SystemIds, hex};
use events::sealed::MasterKeys;
use ledger::credit::billing::Billing;
use ledger::lease::Terms;
use ledger::{Ledger, LedgerConfig, outbox};
use projector::{Projector, ProjectorConfig, projections};
use sqlx::{Any, AnyConnection, Row};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Settings;
use crate::config::Config;
use crate::data_dir::{self, DataFolder, database};
use crate::progress;

/// The longest wait for the live ledger to publish its facts, and for rebuilt and live reports to reach the same place in the log.
const PATIENCE: Duration = Duration::from_mins(10);

/// The places of the rebuilt databases.
#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    settings: Settings,
    /// Folder that gets the rebuilt `ledger.db` and `projector.db`; it must not contain either of them.
    #[arg(long)]
    into: PathBuf,
    /// Address of an empty database for the rebuilt books, instead of a file.
    #[arg(long)]
    ledger_url: Option<String>,
    /// Address of an empty database for the rebuilt reports, instead of a file.
    #[arg(long)]
    projector_url: Option<String>,
    /// Rebuilds nothing. Replaces the live files by those that were rebuilt in the `--into` folder, and keeps the live ones beside them.
    /// Stop arouter first.
    #[arg(long)]
    swap: bool,
}

/// Rebuilds and compares, and prints the result. With `--swap`, replaces the live files instead.
pub async fn replay(args: &ReplayArgs) -> Result<ExitCode> {
    if args.swap {
        return swap(&args.settings.data, &args.into).map(|()| ExitCode::SUCCESS);
    }
    let config = Config::load(&args.settings)?;
    let data = args.settings.data.canonicalize().with_context(|| format!("there is no data folder {}", args.settings.data.display()))?;
    let access = data_dir::access(&config, &data)?.context("the log is needed: start arouter, or set nats.url")?;
    let log = Log::connect(&access, "tools").await?.with_archive(config.archive.open()?);
    std::fs::create_dir_all(&args.into).with_context(|| format!("cannot write to {}", args.into.display()))?;
    let into = args.into.canonicalize()?;
    let live = |configured: &Option<String>, name| configured.clone().unwrap_or_else(|| database(&data, name));
    let (ledger, projector) = (live(&config.ledger.database_url, "ledger"), live(&config.projector.database_url, "projector"));
    let new = |given: &Option<String>, name| given.clone().unwrap_or_else(|| database(&into, name));
    let signing_key = data_dir::signing_key(&data, &config);
    let books = books(&log, &ledger, &new(&args.ledger_url, "ledger"), signing_key).await?;
    let reports = reports(&log, &projector, &new(&args.projector_url, "projector")).await?;
    log.close().await;
    let is_same = books && reports;
    println!("{}", if is_same { "The log gives what is live, byte for byte." } else { "The log does NOT give what is live." });
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn books(log: &Log, live: &str, new: &str, signing_key: PathBuf) -> Result<bool> {
    ensure!(
        signing_key.exists(),
        "there is no {}: set ledger.signing_key_file to the key that the facts are signed with",
        signing_key.display()
    );
    let live = Store::open(live, ledger::MIGRATIONS).await?;
    let config = LedgerConfig {
        database_url: new.to_owned(),
        node: String::new(),
        terms: Terms::default(),
        billing: Billing::default(),
        signing_key,
    };
    let made = Ledger::open(&config, Arc::new(SystemClock), Arc::new(SystemIds)).await?;
    ensure!(written(&mut *made.store.reads.acquire().await?).await? == 0, "{new} has books already: choose an empty place");
    // The snapshot stays the same while the live ledger goes on writing.
    let mut snapshot = live.snapshot().await?;
    let until = written(&mut snapshot).await?;
    let since = Instant::now();
    while outbox::last_fact(&made, log).await?.0.map_or(0, |last| last.sequence) < until {
        ensure!(since.elapsed() < PATIENCE, "the live ledger does not publish what it did: does it run?");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let since = Instant::now();
    let position = async || written(&mut *made.store.reads.acquire().await.ok()?).await.ok();
    let work = Box::pin(ledger::replay::catch_up(&made, log, Some(until)));
    let facts = progress::follow(progress::bar("books", until), work, position).await?;
    let mut transaction = made.store.snapshot().await?;
    let transactions: i64 = sqlx::query::<Any>("SELECT COUNT(*) AS transactions FROM transactions")
        .fetch_one(&mut *transaction)
        .await?
        .try_get("transactions")?;
    let seconds = since.elapsed().as_secs_f64();
    println!(
        "books    {facts} facts, {transactions} transactions made again in {seconds:.1} s, {:.0} a second",
        f64::from(i32::try_from(transactions)?) / seconds
    );
    let is_same = compare(&mut snapshot, &mut transaction, ledger::TABLES).await?;
    drop((snapshot, transaction));
    made.store.close().await;
    live.close().await;
    Ok(is_same)
}

/// Returns the number of facts in the books.
async fn written(connection: &mut AnyConnection) -> Result<u64> {
    let row = sqlx::query::<Any>("SELECT written FROM outbox_state WHERE one = 1").fetch_optional(connection).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get::<i64, _>("written"))?.unsigned_abs())
}

async fn reports(log: &Log, live: &str, new: &str) -> Result<bool> {
    let live = Store::open(live, projector::MIGRATIONS).await?;
    // It sends no webhooks, so it needs no key that opens their secrets.
    let mut random = [0_u8; 32];
    SystemIds.fill(&mut random);
    let config = ProjectorConfig {
        database_url: new.to_owned(),
        master_keys: Arc::new(MasterKeys::parse(&hex(&random))?),
        webhooks_to_private_addresses: false,
    };
    let made = Projector::open(&config, Arc::new(SystemClock), Arc::new(SystemIds)).await?;
    ensure!(
        checkpoint(&made.store, projections::generations::PROJECTION.reader).await?.is_none(),
        "{new} has reports already: choose an empty place"
    );
    let (tasks, stop, since) = (TaskTracker::new(), CancellationToken::new(), Instant::now());
    made.start(log, &tasks, &stop);
    // Both projectors keep reading the same log, so they are compared only in states that have the same checkpoints.
    let bar = progress::bar("reports", 0);
    let is_same = loop {
        ensure!(
            since.elapsed() < PATIENCE,
            "the new reports and the live ones were never at the same place of the log: try when less comes in"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (mut one, mut other) = (live.snapshot().await?, made.store.snapshot().await?);
        let (live_places, made_places) = (places(&mut one).await?, places(&mut other).await?);
        let sum = |places: &[(String, i64)]| places.iter().map(|(_, sequence)| sequence.unsigned_abs()).sum();
        bar.set_length(sum(&live_places));
        bar.set_position(sum(&made_places));
        if live_places == made_places {
            bar.finish_and_clear();
            println!("reports  made again in {:.1} s", since.elapsed().as_secs_f64());
            break compare(&mut one, &mut other, projections::ALL.iter().flat_map(|projection| projection.tables)).await?;
        }
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    made.store.close().await;
    live.close().await;
    Ok(is_same)
}

/// Returns the checkpoint of each projection.
async fn places(connection: &mut AnyConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query::<Any>("SELECT reader, sequence FROM checkpoints ORDER BY reader").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("reader")?, row.try_get("sequence")?))).collect()
}

async fn compare(live: &mut AnyConnection, made: &mut AnyConnection, tables: impl IntoIterator<Item = &'static Table>) -> Result<bool> {
    let mut is_same = true;
    for table in tables {
        let (live, made) = (digest(&mut *live, *table).await?, digest(&mut *made, *table).await?);
        let word = if live == made { "same   " } else { "DIFFERS" };
        println!("{word}  {}: {} rows live, {} made", table.name, live.rows, made.rows);
        is_same &= live == made;
    }
    Ok(is_same)
}

/// Replaces the live files by the rebuilt ones. The live files are kept with the suffix `before-replay`.
fn swap(data: &Path, from: &Path) -> Result<()> {
    let folder = DataFolder::open(data)?;
    for name in ["ledger.db", "projector.db"] {
        let (made, live) = (from.join(name), folder.path.join(name));
        if !made.exists() {
            bail!("there is no {}: run `arouter replay --into {}` first", made.display(), from.display());
        }
        for ending in ["", "-wal", "-shm"] {
            let old = folder.path.join(format!("{name}{ending}"));
            if old.exists() {
                std::fs::rename(&old, folder.path.join(format!("{name}.before-replay{ending}")))?;
            }
        }
        std::fs::rename(&made, &live).with_context(|| format!("cannot move {} to {}", made.display(), live.display()))?;
        println!("{} is in its place; the old one is {name}.before-replay", live.display());
    }
    Ok(())
}
