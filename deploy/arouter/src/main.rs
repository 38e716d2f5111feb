//! `arouter`: the one command. Everything in one process with `up`, each process apart, and the tools of an operator.

mod config;
mod folder;
mod nats;
mod first_run;
mod simulated;
mod up;
mod apart;
mod admin;
mod verify;
mod doctor;
mod prices;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use libmimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(name = "arouter", version, about = "A gateway to many LLM providers, with prepaid credit")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What every process is told.
#[derive(Args, Clone)]
pub struct Settings {
    /// Configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder for everything that is kept.
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// Address and port for requests, such as 127.0.0.1:8080.
    #[arg(long)]
    listen: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on this machine: gateway, ledger, projector, nats-server, SQLite.
    Up(Settings),
    /// The gateway alone, against a given NATS.
    Gateway(Settings),
    /// The ledger alone, against a given NATS and database.
    Ledger(Settings),
    /// The projector alone, against a given NATS and database.
    Projector(Settings),
    /// Accounts, keys and credit, by the same commands as HTTP.
    Admin(admin::AdminArgs),
    /// Proves that the books are right.
    Verify(Settings),
    /// Looks for what is wrong with this installation.
    Doctor(Settings),
    /// Price lists.
    Prices(prices::PricesArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("AROUTER_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,sqlx=warn,hyper=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("arouter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(settings) => up::up(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Gateway(settings) => apart::gateway(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Ledger(settings) => apart::ledger(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Projector(settings) => apart::projector(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Admin(args) => admin::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Verify(settings) => verify::verify(&settings).await,
        Command::Doctor(settings) => doctor::doctor(&settings).await,
        Command::Prices(args) => prices::run(&args).map(|()| ExitCode::SUCCESS),
    }
}
