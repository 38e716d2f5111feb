//! `arouter export`: a report of one account on standard output, over the HTTP API.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Client, Url};
use serde_json::Value;

use crate::{data_dir, progress};

/// The address of a gateway, the key of the account, and the report.
#[derive(Args)]
pub struct ExportArgs {
    /// Data folder of the gateway, from which its address is read.
    #[arg(long, default_value = "./data", global = true)]
    data: PathBuf,
    /// Address of the gateway, such as http://10.0.0.4:8080; default: read from the data folder.
    #[arg(long, global = true)]
    url: Option<String>,
    /// Management key of the account; --management-key or AROUTER_MANAGEMENT_KEY.
    #[arg(long, env = "AROUTER_MANAGEMENT_KEY", hide_env_values = true, global = true, default_value = "")]
    management_key: String,
    #[command(subcommand)]
    report: Report,
}

#[derive(Clone, Copy, ValueEnum)]
enum ExportFormat {
    Json,
    Csv,
    Pdf,
    /// Single requests: with --detail.
    Parquet,
}

impl ExportFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Pdf => "pdf",
            Self::Parquet => "parquet",
        }
    }
}

#[derive(Subcommand)]
enum Report {
    /// Spend, tokens and requests over time.
    Activity {
        /// Start, such as 2026-01-01T00:00:00Z.
        #[arg(long)]
        from: String,
        /// End, such as 2026-02-01T00:00:00Z.
        #[arg(long)]
        to: String,
        #[arg(long, value_enum, default_value = "csv")]
        format: ExportFormat,
        /// One row for each request, of the last 90 days; CSV and Parquet only.
        #[arg(long)]
        detail: bool,
        /// model, api_key, creator, user, provider or app; several with commas between.
        #[arg(long, default_value = "model")]
        group_by: String,
    },
    /// The statement of a month.
    Statement {
        /// Month, such as 2026-01.
        month: String,
        #[arg(long, value_enum, default_value = "csv")]
        format: ExportFormat,
    },
}

impl Report {
    /// Returns the path and the query.
    fn target(&self) -> (String, Vec<(&'static str, &str)>) {
        match self {
            Self::Activity { from, to, format, detail, group_by } => {
                let mut query = vec![("from", from.as_str()), ("to", to), ("format", format.name()), ("group_by", group_by)];
                if *detail {
                    query.push(("detail", "true"));
                }
                ("/api/v1/activity".to_owned(), query)
            }
            Self::Statement { month, format } => (format!("/api/v1/statements/{month}"), vec![("format", format.name())]),
        }
    }
}

/// Writes the report to standard output.
pub async fn run(args: &ExportArgs) -> Result<()> {
    let base = data_dir::gateway_url(args.url.as_deref(), &args.data)?;
    if args.management_key.is_empty() {
        bail!("a key is needed: set AROUTER_MANAGEMENT_KEY, or --management-key");
    }
    let (path, query) = args.report.target();
    let mut url = Url::parse(&format!("{base}{path}")).with_context(|| format!("{base}{path} is no address"))?;
    url.query_pairs_mut().extend_pairs(query);
    let request = Client::builder().no_proxy().build()?.get(url).header("authorization", format!("Bearer {}", args.management_key));
    let mut answer = request.send().await.with_context(|| format!("the gateway does not answer at {base}: is it running?"))?;
    if !answer.status().is_success() {
        let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        bail!("{}", body.pointer("/error/message").and_then(Value::as_str).unwrap_or("the gateway refused"));
    }
    let bar = progress::bytes("export");
    let mut out = std::io::stdout().lock();
    while let Some(part) = answer.chunk().await.context("the report is not complete: the gateway ended it")? {
        out.write_all(&part).context("standard output")?;
        bar.inc(u64::try_from(part.len()).unwrap_or_default());
    }
    out.flush().context("standard output")?;
    bar.finish_and_clear();
    Ok(())
}
