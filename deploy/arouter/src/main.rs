//! `arouter`: the program. `up` runs everything in one process, other commands run each process alone, and the rest are tools for
//! operators.

mod config;
mod environment;
mod data_dir;
mod nats;
mod metrics;
mod first_run;
mod simulated;
mod up;
mod standalone;
mod archive;
mod admin;
mod progress;
mod export;
mod scheduled;
mod verify;
mod doctor;
mod replay;
mod prices;
mod catalog;
mod shutdown;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
#[cfg(feature = "jemalloc")]
use tikv_jemallocator::Jemalloc;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing_subscriber::EnvFilter;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The messages that are logged unless `AROUTER_LOG` says otherwise. The text of a slow statement may have tens of thousands of characters.
const LOG_DEFAULT: &str = "info,async_nats=warn,sqlx=warn,sqlx::query=error,hyper=warn";
/// The umask: files and folders that the program creates are accessible to their owner only.
const OTHERS_NOTHING: u32 = 0o077;
/// The nice value of background threads.
const BACKGROUND_NICE: i32 = 10;

#[derive(Parser)]
#[command(name = "arouter", version, about = "A gateway to many LLM providers, with prepaid credit")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The settings that every process has.
#[derive(Args, Clone)]
pub struct Settings {
    /// Configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Data folder, which contains everything that is stored.
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// Address and port for requests, such as 127.0.0.1:8080.
    #[arg(long)]
    listen: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything on this machine: gateway, ledger, projector, nats-server and SQLite.
    Up(Settings),
    /// Runs only the gateway, against an existing NATS.
    Gateway(Settings),
    /// Runs only the ledger, against an existing NATS and database.
    Ledger(Settings),
    /// Runs only the projector, against an existing NATS and database.
    Projector(Settings),
    /// Manages accounts, keys, credit and quarantined events over HTTP.
    Admin(admin::AdminArgs),
    /// Writes a report of one account to standard output, over HTTP.
    Export(export::ExportArgs),
    /// Proves that the books are correct.
    Verify(verify::VerifyArgs),
    /// Rebuilds books and reports from the log, and compares them with the live ones.
    Replay(replay::ReplayArgs),
    /// Finds problems of this installation.
    Doctor(Settings),
    /// Imports price lists.
    Prices(prices::PricesArgs),
    /// Applies, shows and lists versions of the catalogue of models.
    Catalog(catalog::CatalogArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("AROUTER_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    rustix::process::umask(Mode::from_raw_mode(OTHERS_NOTHING));
    raise_file_limit();
    match runtimes()
        .map_err(Into::into)
        .and_then(|(foreground, background)| foreground.block_on(run(cli.command, background.handle().clone())))
    {
        Ok(code) => code,
        Err(error) => {
            eprintln!("arouter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard limit. Shells and service managers set it low, and each request in flight takes two.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is: {error}");
    }
}

/// Builds one runtime for requests, and one of lower priority for work that no request waits for: shipping, posting and projecting
/// events. Under load requests come first, and unshipped events wait in the spool.
fn runtimes() -> std::io::Result<(Runtime, Runtime)> {
    let foreground = Builder::new_multi_thread().enable_all().build()?;
    let lower = || {
        if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
            tracing::debug!(%error, "the priority of background work stays as it is");
        }
    };
    let background = Builder::new_multi_thread().enable_all().thread_name("background").on_thread_start(lower).build()?;
    Ok((foreground, background))
}

async fn run(command: Command, background: Handle) -> Result<ExitCode> {
    match command {
        Command::Up(settings) => Box::pin(up::up(&settings, background)).await.map(|()| ExitCode::SUCCESS),
        Command::Gateway(settings) => standalone::gateway(&settings, background).await.map(|()| ExitCode::SUCCESS),
        Command::Ledger(settings) => standalone::ledger(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Projector(settings) => standalone::projector(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Admin(args) => admin::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Export(args) => export::run(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Verify(args) => verify::verify(&args).await,
        Command::Replay(args) => replay::replay(&args).await,
        Command::Doctor(settings) => doctor::doctor(&settings).await,
        Command::Catalog(args) => catalog::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Prices(args) => prices::run(&args).map(|()| ExitCode::SUCCESS),
    }
}
