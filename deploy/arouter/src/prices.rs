//! `arouter prices import FILE`: reads a price list in LiteLLM's public format and writes it in ours.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use events::clock::{Clock, SystemClock, rfc3339};

#[derive(Args)]
pub struct PricesArgs {
    #[command(subcommand)]
    command: PricesCommand,
}

#[derive(Subcommand)]
enum PricesCommand {
    /// Converts a LiteLLM price list, and writes it to standard output or to a file.
    Import {
        /// Price list in LiteLLM's format.
        file: PathBuf,
        /// File to write; default: standard output.
        #[arg(long)]
        output: Option<PathBuf>,
        /// Version of the price list, which every charge names; default: today's date.
        #[arg(long)]
        version: Option<String>,
    },
}

/// Converts the price list, and reports the models that were left out on standard error.
pub fn run(args: &PricesArgs) -> Result<()> {
    let PricesCommand::Import { file, output, version } = &args.command;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let today = rfc3339(SystemClock.now_us())[..10].to_owned();
    let imported =
        pricing::import::litellm(&text, version.as_ref().unwrap_or(&today), "LiteLLM model_prices_and_context_window.json (MIT)")?;
    for skipped in &imported.skipped {
        eprintln!("left out: {skipped}");
    }
    eprintln!("{} models", imported.catalog.models.len());
    match output {
        Some(path) => std::fs::write(path, imported.catalog.to_text()).with_context(|| format!("cannot write {}", path.display()))?,
        None => print!("{}", imported.catalog.to_text()),
    }
    Ok(())
}
