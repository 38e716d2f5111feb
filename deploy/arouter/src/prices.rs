//! `arouter prices import FILE`: reads LiteLLM's public price format and writes a list in ours.

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
    /// Writes the list to standard output, or to a file.
    Import {
        /// A file in LiteLLM's format.
        file: PathBuf,
        /// Where to write it.
        #[arg(long)]
        output: Option<PathBuf>,
        /// The name of the list on every charge; default: today.
        #[arg(long)]
        version: Option<String>,
    },
}

/// Imports.
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
